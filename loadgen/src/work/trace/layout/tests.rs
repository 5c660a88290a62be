//! Layouts and lines, whole and broken.

use super::{Layout, Line, Verb, number_of};

fn line(at_ns: u64, verb: Verb, key: u64, key_bytes: u16, value_bytes: u32, ttl_ms: u32) -> Line {
    Line { at_ns, verb, key, key_bytes, value_bytes, ttl_ms }
}

#[test]
fn layouts_are_found_out_from_the_first_line() {
    for (first_line, name, has_header) in [
        ("12.5,get,user:1,100,0", "ringmain", false),
        ("0,SET,5", "ringmain", false),
        ("timestamp,operation,key,size,ttl", "named columns", true),
        ("0,nz:u:eeW511W3dcH3de3d15ec,22,304,1,get,0", "twitter", false),
        ("0,a,b,22,304,1,get,0", "twitter", false),
        ("1,2,512", "libcachesim", false),
        ("1,2,512,-1", "libcachesim", false),
        ("1\tabc\t512", "libcachesim", false),
        ("1 2", "libcachesim", false),
        ("12345", "libcachesim", false),
        ("time,obj_id,obj_size", "named columns", true),
        ("version,time,op,size,lbn", "named columns", true),
        ("key,op,size,op_count,key_size", "named columns", true),
    ] {
        let layout = Layout::new("auto", first_line.as_bytes()).unwrap();
        assert_eq!((layout.name(), layout.has_header()), (name, has_header), "{first_line}");
    }
    for first_line in ["a,b,c", "hello world", "1,2,x"] {
        let error = Layout::new("auto", first_line.as_bytes()).err().unwrap();
        assert!(error.contains("looks like no known layout"), "{error}");
    }
}

#[test]
fn our_own_layout_is_read() {
    let hash = number_of(b"user:1");
    for (text, expected) in [
        ("12.5,get,user:1,100,0", line(12_500_000_000, Verb::Get, hash, 0, 100, 0)),
        ("0,SET,7,64,1.5", line(0, Verb::Set, 7, 0, 64, 1_500)),
        ("0, delete , 7", line(0, Verb::Delete, 7, 0, 0, 0)),
        ("0,incr,\"user:1\",,", line(0, Verb::Incr, hash, 0, 0, 0)),
        ("3,touch,7,,60", line(3_000_000_000, Verb::Touch, 7, 0, 0, 60_000)),
        ("3,set,7,1,9000000000", line(3_000_000_000, Verb::Set, 7, 0, 1, u32::MAX)),
        ("1.123456789123,add,7", line(1_123_456_789, Verb::Add, 7, 0, 0, 0)),
    ] {
        let layout = Layout::new("ringmain", text.as_bytes()).unwrap();
        assert_eq!(layout.parse(text.as_bytes()), Ok(expected), "{text}");
    }
    let comma = Layout::new("ringmain", b"").unwrap().parse(b"0,get,\"a,b\",5,0").unwrap();
    assert_eq!(comma.key, number_of(b"a,b"));
    assert_eq!(comma.value_bytes, 5);
}

#[test]
fn twitters_layout_is_read() {
    let layout = Layout::new("twitter", b"").unwrap();
    for (text, expected) in [
        (
            "0,nz:u:eeW511W3dcH3de3d15ec,22,304,1,get,0",
            line(0, Verb::Get, number_of(b"nz:u:eeW511W3dcH3de3d15ec"), 22, 304, 0),
        ),
        (
            "86399,k,40,12,88,set,2592000",
            line(86_399_000_000_000, Verb::Set, number_of(b"k"), 40, 12, 2_592_000_000),
        ),
        (
            "5,a,b,c,9,0,7,prepend,0",
            line(5_000_000_000, Verb::Append, number_of(b"a,b,c"), 9, 0, 0),
        ),
        ("5,k,9,3,7,cas,10", line(5_000_000_000, Verb::Set, number_of(b"k"), 9, 3, 10_000)),
        ("5,k,9,3,7,gets,0", line(5_000_000_000, Verb::Get, number_of(b"k"), 9, 3, 0)),
    ] {
        assert_eq!(layout.parse(text.as_bytes()), Ok(expected), "{text}");
    }
}

#[test]
fn lib_cache_sims_layouts_are_read() {
    for (format, first_line, text, expected) in [
        ("auto", "1,2,512", "1,2,512", line(1_000_000_000, Verb::Get, 2, 0, 512, 0)),
        ("auto", "time,obj_id,obj_size", "1,2,512", line(1_000_000_000, Verb::Get, 2, 0, 512, 0)),
        (
            "auto",
            "version,time,op,size,lbn",
            "1,33898,2a,512,42932745",
            line(33_898_000_000_000, Verb::Set, 42_932_745, 0, 512, 0),
        ),
        (
            "time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,, has-header=true,obj-id-is-num=1",
            "version,time,op,size,lbn",
            "1,33898,2a,512,42932745",
            line(33_898_000_000_000, Verb::Get, 42_932_745, 0, 512, 0),
        ),
        (
            "obj-id-col=1,op-col=2,ttl-col=3,delimiter=;",
            "a,b",
            "9;DEL;2",
            line(0, Verb::Delete, 9, 0, 0, 2_000),
        ),
        ("libcachesim", "77", "77", line(0, Verb::Get, 77, 0, 0, 0)),
        ("auto", "1  2   3", "10  20   30", line(10_000_000_000, Verb::Get, 20, 0, 30, 0)),
        (
            "auto",
            "key,op,size,op_count,key_size",
            "81,GET,100,3,20",
            line(0, Verb::Get, 81, 20, 100, 0),
        ),
    ] {
        let layout = Layout::new(format, first_line.as_bytes()).unwrap();
        assert_eq!(layout.parse(text.as_bytes()), Ok(expected), "{format} {text}");
    }
}

#[test]
fn broken_lines_say_what_is_wrong() {
    let twitter = Layout::new("twitter", b"").unwrap();
    let own = Layout::new("ringmain", b"").unwrap();
    for (layout, text, part) in [
        (own, "", "there is no timestamp"),
        (own, "x,get,7", "`x` is no timestamp in seconds"),
        (own, "-1,get,7", "`-1` is no timestamp"),
        (own, "99999999999999,get,7", "is no timestamp"),
        (own, "1,,7", "there is no operation"),
        (own, "1,frob,7", "`frob` is no known operation"),
        (own, "1,get,", "there is no key"),
        (own, "1,get", "there is no key"),
        (own, "1,set,7,-5", "`-5` is no size from 0 to 536870912"),
        (own, "1,set,7,536870913", "is no size"),
        (own, "1,set,7,5,soon", "`soon` is no TTL in seconds"),
        (twitter, "1,k,999,5,1,get,0", "`999` is no key size from 0 to 512"),
        (twitter, "1,k,9,5,1", "there is no operation"),
        (twitter, "\0\u{1}", "`??` is no timestamp"),
    ] {
        let error = layout.parse(text.as_bytes()).err().unwrap();
        assert!(error.contains(part), "{text}: {error}");
    }
    let wide = vec!["1"; 500].join(",");
    assert!(own.parse(wide.as_bytes()).is_err());
}

#[test]
fn formats_that_make_no_sense_are_refused() {
    for (format, part) in [
        ("csv", "--trace-format csv: must be auto, ringmain, twitter, libcachesim or columns"),
        ("time-col=1", "obj-id-col is missing"),
        ("obj-id-col=0", "`0` is no column from 1 to 64"),
        ("obj-id-col=x", "`x` is no column"),
        ("obj-id-col=1,colour=2", "`colour` is not known"),
        ("obj-id-col=1,x", "`x` is no NAME=VALUE"),
        ("obj-id-col=1,delimiter=ab", "`ab` is no delimiter"),
    ] {
        let error = Layout::new(format, b"1,2,3").err().unwrap();
        assert!(error.contains(part), "{format}: {error}");
    }
}

#[test]
fn keys_that_are_numbers_keep_them() {
    assert_eq!(number_of(b"0"), 0);
    assert_eq!(number_of(b"18446744073709551615"), u64::MAX);
    assert_ne!(number_of(b"07"), 7);
    assert_ne!(number_of(b"18446744073709551616"), number_of(b"18446744073709551617"));
}
