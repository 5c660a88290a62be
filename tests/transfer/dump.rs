//! `DUMP` and `RESTORE` of every type in every form it has: here, and between here and a Redis. (That fields expire
//! Redis 7.0 does not know.)

use crate::harness::client::Client;
use crate::harness::server::{Launch, skip_on_other_server};
use crate::harness::value::Value;
use crate::{redis, whole};

/// A key of each type in each form, with its name and what the form is called here.
const FORMS: &[(&str, &str)] = &[
    ("string:int", "int"),
    ("string:embstr", "embstr"),
    ("string:raw", "raw"),
    ("list:small", "listpack"),
    ("list:large", "quicklist"),
    ("list:long", "quicklist"),
    ("set:ints", "intset"),
    ("set:small", "listpack"),
    ("set:large", "hashtable"),
    ("zset:small", "listpack"),
    ("zset:large", "skiplist"),
    ("hash:small", "listpack"),
    ("hash:large", "hashtable"),
];

/// Elements of all kinds that formats tell apart: integers of each width, nothing, bytes that are no text, long and
/// very long ones.
fn elements() -> Vec<Vec<u8>> {
    let numbers = ["0", "12", "127", "-128", "4095", "-4096", "32767", "-32768", "8388607"];
    let large =
        ["-8388608", "2147483647", "-2147483648", "9223372036854775807", "007", "-0", "1.5"];
    let texts = [&b""[..], b"\r\n", b"\x00\xff\xfe", &[b'x'; 63]];
    let digits = numbers.iter().chain(&large).map(|digits| digits.as_bytes());
    digits.chain(texts).map(<[u8]>::to_vec).collect()
}

fn names(count: usize) -> impl Iterator<Item = Vec<u8>> {
    elements()
        .into_iter()
        .chain((0..).map(|number| format!("name:{number}").into_bytes()))
        .take(count)
}

fn scores() -> impl Iterator<Item = Vec<u8>> {
    let few = ["1", "-1", "0.5", "inf", "-inf", "1048576", "4294967296", "-0.25"];
    few.into_iter().cycle().map(|score| score.as_bytes().to_vec())
}

/// Each pair's two parts in turn.
fn pairs(
    first: impl Iterator<Item = Vec<u8>>,
    second: impl Iterator<Item = Vec<u8>>,
) -> Vec<Vec<u8>> {
    first.zip(second).flat_map(|(first, second)| [first, second]).collect()
}

/// Makes all of [`FORMS`].
fn make(client: &mut Client) {
    client.ok("FLUSHALL");
    const LARGE: usize = 3000;
    let long = vec![b"l".repeat(20_000), b"ab".repeat(10_000), b"m".to_vec()];
    let ints = || (-40..40).map(|number: i64| (number * number * number).to_string().into_bytes());
    let made: Vec<(&str, &str, Vec<Vec<u8>>)> = vec![
        ("SET", "string:int", vec![b"-12345".to_vec()]),
        ("SET", "string:embstr", vec![b"a \x00 text".to_vec()]),
        ("SET", "string:raw", vec![b"abc".repeat(5_000)]),
        ("RPUSH", "list:small", elements()),
        ("RPUSH", "list:large", names(LARGE).collect()),
        ("RPUSH", "list:long", long),
        ("SADD", "set:ints", ints().collect()),
        ("SADD", "set:small", elements()),
        ("SADD", "set:large", names(LARGE).collect()),
        ("ZADD", "zset:small", pairs(scores(), elements().into_iter())),
        ("ZADD", "zset:large", pairs(scores(), names(LARGE))),
        ("HSET", "hash:small", pairs(elements().into_iter(), elements().into_iter().rev())),
        ("HSET", "hash:large", pairs(names(LARGE), names(LARGE))),
    ];
    for (name, key, args) in made {
        let mut request = vec![name.as_bytes().to_vec(), key.as_bytes().to_vec()];
        request.extend(args);
        let reply = client.command(&request);
        assert!(!matches!(reply, Value::Error(_)), "{name} {key}: {reply:?}");
    }
}

fn dump(client: &mut Client, key: &str) -> Vec<u8> {
    match client.command(&["DUMP", key]) {
        Value::Bulk(dump) => dump,
        other => panic!("{key}: {other:?} is no dump"),
    }
}

fn restore(client: &mut Client, key: &str, dump: &[u8]) {
    let reply = client.command(&[b"RESTORE", key.as_bytes(), b"0", dump]);
    assert_eq!(reply, Value::ok(), "{key}");
}

fn encoding(client: &mut Client, key: &str) -> String {
    client.command(&["OBJECT", "ENCODING", key]).text()
}

#[test]
fn what_is_dumped_is_restored_in_every_form() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).start();
    let mut client = server.client();
    make(&mut client);
    for (key, form) in FORMS {
        assert_eq!(encoding(&mut client, key), *form, "{key}");
        let copy = format!("copy of {key}");
        let dumped = dump(&mut client, key);
        restore(&mut client, &copy, &dumped);
        assert!(whole(&mut client, key.as_bytes()) == whole(&mut client, copy.as_bytes()), "{key}");
        assert_eq!(encoding(&mut client, &copy), *form, "{copy}");
        // It is as good as the first to all who come next.
        let again = format!("copy of {copy}");
        let dumped = dump(&mut client, &copy);
        restore(&mut client, &again, &dumped);
        assert!(
            whole(&mut client, key.as_bytes()) == whole(&mut client, again.as_bytes()),
            "{again}"
        );
    }
}

/// Fields of a small and of a large hash, a third of which expire: their times go with them.
#[test]
fn fields_keep_their_times_in_a_dump() {
    const FAR_MS: u64 = 33_177_117_420_000;
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).start();
    let mut client = server.client();
    for (key, count) in [("small", 30), ("large", 3000)] {
        let fields: Vec<String> = (0..count).map(|number| format!("field:{number}")).collect();
        let of_all = |head: &[&str]| {
            let fields = fields.iter().map(String::as_str);
            let request: Vec<&str> = head.iter().copied().chain(fields).collect();
            request.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
        };
        for (number, field) in fields.iter().enumerate() {
            client.command(&["HSET", key, field, &number.to_string()]);
            if number % 3 == 0 {
                let time = (FAR_MS + number as u64).to_string();
                let set = client.command(&["HPEXPIREAT", key, &time, "FIELDS", "1", field]);
                assert_eq!(set, Value::Array(vec![Value::Integer(1)]));
            }
        }
        let dumped = dump(&mut client, key);
        let copy = format!("copy of {key}");
        restore(&mut client, &copy, &dumped);
        assert!(whole(&mut client, key.as_bytes()) == whole(&mut client, copy.as_bytes()), "{key}");
        assert_eq!(encoding(&mut client, key), encoding(&mut client, &copy));
        let [times, copied] = [key, &copy].map(|key| {
            client.command(&of_all(&["HPEXPIRETIME", key, "FIELDS", &count.to_string()]))
        });
        let with_time = times.elements().iter().filter(|time| time.integer() > 0).count();
        assert_eq!(with_time, count / 3);
        assert!(times == copied, "{key}");
    }
}

/// Lets `to` have all that `from` has made.
fn hand_over(from: &mut Client, to: &mut Client) {
    make(from);
    to.ok("FLUSHALL");
    for (key, _) in FORMS {
        let dumped = dump(from, key);
        restore(to, key, &dumped);
        assert!(whole(from, key.as_bytes()) == whole(to, key.as_bytes()), "{key}");
    }
}

#[test]
fn dumps_are_exchanged_with_redis() {
    if skip_on_other_server() {
        return;
    }
    let Some(there) = redis() else { return };
    let here = Launch::shards(2).start();
    let (mut here, mut there) = (here.client(), there.client());
    hand_over(&mut here, &mut there);
    hand_over(&mut there, &mut here);
    // What comes from there has the form that it would have had from the first.
    for (key, form) in FORMS {
        assert_eq!(encoding(&mut here, key), *form, "{key}");
    }
}
