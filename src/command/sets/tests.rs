//! Scripts for the commands on sets. The replies are those of Redis 7.0.15, and of 7.4 where it came later.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::replay::{Peer, Shards, bulks, check};
use crate::protocol::Proto;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

pub(crate) const SCRIPT: &[(&str, &str)] = &[
    // Arity.
    ("SADD a", "-ERR wrong number of arguments for 'sadd' command"),
    ("SREM a", "-ERR wrong number of arguments for 'srem' command"),
    ("SCARD", "-ERR wrong number of arguments for 'scard' command"),
    ("SISMEMBER a", "-ERR wrong number of arguments for 'sismember' command"),
    ("SMISMEMBER a", "-ERR wrong number of arguments for 'smismember' command"),
    ("SMEMBERS a b", "-ERR wrong number of arguments for 'smembers' command"),
    ("SMOVE a b", "-ERR wrong number of arguments for 'smove' command"),
    ("SPOP", "-ERR wrong number of arguments for 'spop' command"),
    ("SRANDMEMBER", "-ERR wrong number of arguments for 'srandmember' command"),
    ("SINTER", "-ERR wrong number of arguments for 'sinter' command"),
    ("SINTERCARD 1", "-ERR wrong number of arguments for 'sintercard' command"),
    ("SINTERSTORE a", "-ERR wrong number of arguments for 'sinterstore' command"),
    ("SUNION", "-ERR wrong number of arguments for 'sunion' command"),
    ("SUNIONSTORE a", "-ERR wrong number of arguments for 'sunionstore' command"),
    ("SDIFF", "-ERR wrong number of arguments for 'sdiff' command"),
    ("SDIFFSTORE a", "-ERR wrong number of arguments for 'sdiffstore' command"),
    ("SSCAN a", "-ERR wrong number of arguments for 'sscan' command"),
    // Members come and go.
    ("SADD a x", ":1"),
    ("SADD a x y x", ":1"),
    ("SADD a 1 01 -1 1", ":3"),
    (r#"SADD a "" "x\x00\x0d\x0ay""#, ":2"),
    ("SCARD a", ":7"),
    ("TYPE a", "+set"),
    ("~SMEMBERS a", r" -1 01 1 x x\x00\r\ny y"),
    ("SISMEMBER a x", ":1"),
    ("SISMEMBER a 1", ":1"),
    ("SISMEMBER a 001", ":0"),
    (r#"SISMEMBER a """#, ":1"),
    ("SMISMEMBER a x z 1 01 2", "*5⏎:1⏎:0⏎:1⏎:1⏎:0"),
    ("SREM a z", ":0"),
    ("SREM a x x z 1", ":2"),
    (r#"SREM a "" "x\x00\x0d\x0ay" 01 y"#, ":4"),
    ("SMEMBERS a", "*1⏎$2⏎-1"),
    ("SREM a -1 -1", ":1"),
    ("EXISTS a", ":0"),
    ("SCARD a", ":0"),
    ("SISMEMBER a x", ":0"),
    ("SMISMEMBER a x y", "*2⏎:0⏎:0"),
    ("SMEMBERS a", "*0"),
    ("SREM a x", ":0"),
    // An expiry stays as long as the key.
    ("SADD a 1", ":1"),
    ("EXPIRE a 100", ":1"),
    ("SADD a 2", ":1"),
    ("TTL a", ":100"),
    ("SREM a 1 2", ":2"),
    ("SADD a 1", ":1"),
    ("TTL a", ":-1"),
    // Keys of another type.
    ("SET s text", "+OK"),
    ("SADD s x", WRONG_TYPE),
    ("SREM s x", WRONG_TYPE),
    ("SCARD s", WRONG_TYPE),
    ("SISMEMBER s x", WRONG_TYPE),
    ("SMISMEMBER s x", WRONG_TYPE),
    ("SMEMBERS s", WRONG_TYPE),
    ("SPOP s", WRONG_TYPE),
    ("SPOP s 1", WRONG_TYPE),
    ("SPOP s 0", WRONG_TYPE),
    ("SRANDMEMBER s", WRONG_TYPE),
    ("SRANDMEMBER s 0", WRONG_TYPE),
    ("SSCAN s 0", WRONG_TYPE),
    ("SINTER a s", WRONG_TYPE),
    ("SINTER none s", WRONG_TYPE),
    ("SUNION none s", WRONG_TYPE),
    ("SDIFF none s", WRONG_TYPE),
    ("SINTERCARD 2 none s", WRONG_TYPE),
    ("SINTERSTORE t a s", WRONG_TYPE),
    ("GET a", WRONG_TYPE),
    ("APPEND a x", WRONG_TYPE),
    // From one set to another.
    ("DEL a", ":1"),
    ("SADD a x y 1", ":3"),
    ("SMOVE a b x", ":1"),
    ("SMOVE a b x", ":0"),
    ("~SMEMBERS a", "1 y"),
    ("SMEMBERS b", "*1⏎$1⏎x"),
    ("SADD b y", ":1"),
    ("SMOVE a b y", ":1"),
    ("~SMEMBERS b", "x y"),
    ("SMOVE a a 1", ":1"),
    ("SMOVE a a 2", ":0"),
    ("SMOVE a b 1", ":1"),
    ("EXISTS a", ":0"),
    ("SMOVE a b 1", ":0"),
    ("SMOVE none s x", ":0"),
    ("SMOVE b s x", WRONG_TYPE),
    ("SMOVE b s none", WRONG_TYPE),
    ("SMOVE s b x", WRONG_TYPE),
    ("SMOVE b t none", ":0"),
    ("EXISTS t", ":0"),
    // Of several sets.
    ("SADD a 1 2 3 x", ":4"),
    ("DEL b", ":1"),
    ("SADD b 2 3 4 y", ":4"),
    ("SADD c 3 x y z", ":4"),
    ("~SINTER a", "1 2 3 x"),
    ("~SINTER a b", "2 3"),
    ("~SINTER a b c", "3"),
    ("~SINTER a a b b", "2 3"),
    ("SINTER a none", "*0"),
    ("SINTER none", "*0"),
    ("~SUNION a", "1 2 3 x"),
    ("~SUNION a b c", "1 2 3 4 x y z"),
    ("~SUNION none a none c", "1 2 3 x y z"),
    ("SUNION none none2", "*0"),
    ("~SDIFF a", "1 2 3 x"),
    ("~SDIFF a b", "1 x"),
    ("~SDIFF a none c b", "1"),
    ("SDIFF a b a", "*0"),
    ("SDIFF none a", "*0"),
    ("~SDIFF a none", "1 2 3 x"),
    ("SINTERCARD 1 a", ":4"),
    ("SINTERCARD 2 a b", ":2"),
    ("SINTERCARD 2 a b LIMIT 1", ":1"),
    ("SINTERCARD 2 a b limit 0", ":2"),
    ("SINTERCARD 2 a b LIMIT 1 LIMIT 5", ":2"),
    ("SINTERCARD 2 a none", ":0"),
    ("SINTERCARD 0 a", "-ERR numkeys should be greater than 0"),
    ("SINTERCARD -1 a", "-ERR numkeys should be greater than 0"),
    ("SINTERCARD x a", "-ERR numkeys should be greater than 0"),
    ("SINTERCARD 2 a", "-ERR Number of keys can't be greater than number of args"),
    ("SINTERCARD 1 a b", "-ERR syntax error"),
    ("SINTERCARD 1 a LIMIT", "-ERR syntax error"),
    ("SINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative"),
    ("SINTERCARD 1 a LIMIT x", "-ERR LIMIT can't be negative"),
    ("SINTERSTORE t a b", ":2"),
    ("~SMEMBERS t", "2 3"),
    ("SUNIONSTORE t a b c", ":7"),
    ("~SMEMBERS t", "1 2 3 4 x y z"),
    ("SDIFFSTORE t a b", ":2"),
    ("~SMEMBERS t", "1 x"),
    ("EXPIRE t 100", ":1"),
    ("SUNIONSTORE t t c", ":5"),
    ("~SMEMBERS t", "1 3 x y z"),
    ("TTL t", ":-1"),
    ("SDIFFSTORE t t c none", ":1"),
    ("SMEMBERS t", "*1⏎$1⏎1"),
    ("SINTERSTORE t a none", ":0"),
    ("EXISTS t", ":0"),
    ("SINTERSTORE s a b", ":2"),
    ("TYPE s", "+set"),
    ("SET s text", "+OK"),
    ("SDIFFSTORE s none", ":0"),
    ("EXISTS s", ":0"),
    // At random.
    ("SADD one x", ":1"),
    ("SRANDMEMBER one", "$1⏎x"),
    ("SRANDMEMBER one 5", "*1⏎$1⏎x"),
    ("SRANDMEMBER one -3", "*3⏎$1⏎x⏎$1⏎x⏎$1⏎x"),
    ("SRANDMEMBER one 0", "*0"),
    ("SRANDMEMBER none", "$-1"),
    ("SRANDMEMBER none 2", "*0"),
    ("SRANDMEMBER none -2", "*0"),
    ("SRANDMEMBER one x", "-ERR value is not an integer or out of range"),
    ("SRANDMEMBER one 9223372036854775808", "-ERR value is not an integer or out of range"),
    (
        "SRANDMEMBER one -9223372036854775808",
        "-ERR value is out of range, value must between -9223372036854775807 and \
         9223372036854775807",
    ),
    ("~SRANDMEMBER a 9223372036854775807", "1 2 3 x"),
    ("SRANDMEMBER one 1 2", "-ERR syntax error"),
    ("SPOP one x", "-ERR value is out of range, must be positive"),
    ("SPOP one -1", "-ERR value is out of range, must be positive"),
    ("SPOP one 1 2", "-ERR syntax error"),
    ("SPOP one 0", "*0"),
    ("SPOP one", "$1⏎x"),
    ("EXISTS one", ":0"),
    ("SPOP one", "$-1"),
    ("SPOP one 1", "*0"),
    ("SPOP one 0", "*0"),
    ("~SPOP a 4", "1 2 3 x"),
    ("EXISTS a", ":0"),
    ("~SPOP b 1000", "2 3 4 y"),
    ("EXISTS b", ":0"),
    // Step by step: small sets at once, whatever the cursor and the count.
    ("SADD a 1 2 30 x", ":4"),
    ("SSCAN none 0", "*2⏎$1⏎0⏎*0"),
    ("SSCAN none 0 COUNT 0", "*2⏎$1⏎0⏎*0"),
    ("~SSCAN a 0", "0 1 2 30 x"),
    ("~SSCAN a 17 COUNT 1", "0 1 2 30 x"),
    ("~SSCAN a 0 MATCH 3*", "0 30"),
    ("~SSCAN a 0 match [1x] count 100", "0 1 x"),
    ("SSCAN a x", "-ERR invalid cursor"),
    ("SSCAN none x", "-ERR invalid cursor"),
    ("SSCAN a 0 COUNT 0", "-ERR syntax error"),
    ("SSCAN a 0 COUNT x", "-ERR value is not an integer or out of range"),
    ("SSCAN a 0 MATCH", "-ERR syntax error"),
    ("SSCAN a 0 TYPE string", "-ERR syntax error"),
    ("SSCAN a 0 NOVALUES", "-ERR NOVALUES option can only be used in HSCAN"),
    ("SSCAN a 0 COUNT 1 novalues x", "-ERR NOVALUES option can only be used in HSCAN"),
    ("SSCAN a 0 MATCH NOVALUES", "*2⏎$1⏎0⏎*0"),
    ("SSCAN none 0 NOVALUES", "*2⏎$1⏎0⏎*0"),
];

#[test]
fn scripts_give_redis_replies() {
    check(SCRIPT);
}

#[test]
fn resp3_has_sets() {
    let mut shards = Shards::new(3);
    shards.proto = Proto::Resp3;
    for (line, expect) in [
        ("SADD a x", ":1"),
        ("SMEMBERS a", "~1⏎$1⏎x"),
        ("SMEMBERS none", "~0"),
        ("SINTER a a", "~1⏎$1⏎x"),
        ("SUNION a none", "~1⏎$1⏎x"),
        ("SUNION a a", "~1⏎$1⏎x"),
        ("SDIFF a none", "~1⏎$1⏎x"),
        ("SDIFF none", "~0"),
        ("SRANDMEMBER a 2", "*1⏎$1⏎x"),
        ("SRANDMEMBER none 2", "*0"),
        ("SRANDMEMBER none", "_"),
        ("SSCAN a 0", "*2⏎$1⏎0⏎*1⏎$1⏎x"),
        ("SMISMEMBER a x", "*1⏎:1"),
        ("SPOP none", "_"),
        ("SPOP none 2", "~0"),
        ("SPOP a 0", "~0"),
        ("SPOP a 2", "~1⏎$1⏎x"),
    ] {
        assert_eq!(shards.line(line), expect, "{line}");
    }
}

#[test]
fn encodings_are_redis_s() {
    let mut shards = Shards::new(2);
    let numbers = |range: std::ops::Range<usize>| {
        range.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
    };
    let long = "x".repeat(65);
    for (members, encoding) in [
        ("1 2 3".to_owned(), "intset"),
        (numbers(0..512), "intset"),
        (numbers(0..513), "hashtable"),
        ("1 a".to_owned(), "listpack"),
        (format!("{} a", numbers(0..127)), "listpack"),
        (format!("{} a", numbers(0..128)), "hashtable"),
        (long, "hashtable"),
    ] {
        shards.line("DEL a");
        for member in members.split(' ') {
            shards.line(&format!("SADD a {member}"));
        }
        assert_eq!(shards.line("OBJECT ENCODING a"), format!("${}⏎{encoding}", encoding.len()));
    }
    // All at once, many equal ones are too many for a block.
    shards.line(&format!("SADD b {}", ["x"; 129].join(" ")));
    assert_eq!(shards.line("OBJECT ENCODING b"), "$9⏎hashtable");
}

/// Sets of all forms, large ones in all places.
#[test]
fn set_operations_are_those_of_models() {
    let mut shards = Shards::new(3);
    let mut models: Vec<BTreeSet<String>> = Vec::new();
    let sizes = [3, 90, 200, 2000, 700];
    for (key, size) in sizes.into_iter().enumerate() {
        let number = |index: usize| index * (key + 1) % 2500;
        let names = ["", "m"];
        let member = |index| format!("{}{}", names[key % 2 * (index % 2)], number(index));
        let members: BTreeSet<String> = (0..size).map(member).collect();
        let words: Vec<_> = members.iter().map(String::as_str).collect();
        assert_eq!(
            shards.line(&format!("SADD k{key} {}", words.join(" "))),
            format!(":{}", members.len())
        );
        models.push(members);
    }
    for (one, two, three) in (0..125).map(|n| (n / 25, n / 5 % 5, n % 5)) {
        let keys = format!("k{one} k{two} k{three}");
        let (first, others) = (&models[one], [&models[two], &models[three]]);
        let union: BTreeSet<_> = first.iter().chain(others[0]).chain(others[1]).cloned().collect();
        let in_all = |member: &&String| others.iter().all(|other| other.contains(*member));
        let in_none = |member: &&String| others.iter().all(|other| !other.contains(*member));
        let intersection: BTreeSet<_> = first.iter().filter(in_all).cloned().collect();
        let difference: BTreeSet<_> = first.iter().filter(in_none).cloned().collect();
        for (name, expected) in
            [("SUNION", &union), ("SINTER", &intersection), ("SDIFF", &difference)]
        {
            let words: Vec<_> = expected.iter().map(String::as_str).collect();
            assert_eq!(shards.line(&format!("~{name} {keys}")), words.join(" "), "{name} {keys}");
            let length = format!(":{}", expected.len());
            assert_eq!(shards.line(&format!("{name}STORE to {keys}")), length);
            assert_eq!(shards.line("~SMEMBERS to"), words.join(" "), "{name}STORE {keys}");
            assert_eq!(shards.line("SCARD to"), length);
        }
        let length = format!(":{}", intersection.len());
        assert_eq!(shards.line(&format!("SINTERCARD 3 {keys}")), length);
    }
}

#[test]
fn popping_takes_each_once_and_the_key_with_the_last() {
    for (size, step) in [(40, 7), (40, 1), (300, 7), (300, 299), (300, 1)] {
        let mut shards = Shards::new(1);
        let all: BTreeSet<Vec<u8>> = (0..size).map(|n| format!("m{n}").into_bytes()).collect();
        for member in &all {
            shards.run(&[b"SADD".to_vec(), b"a".to_vec(), member.clone()]);
        }
        let mut popped = BTreeSet::new();
        while shards.line("EXISTS a") == ":1" {
            let reply = shards.run(&[b"SPOP".to_vec(), b"a".to_vec(), step.to_string().into()]);
            let members = bulks(&reply);
            assert_eq!(members.len(), step.min(size - popped.len()));
            assert!(members.into_iter().all(|member| popped.insert(member)));
            assert_eq!(shards.line("SCARD a"), format!(":{}", size - popped.len()));
        }
        assert_eq!(popped, all);
    }
}

#[test]
fn members_are_chosen_alike() {
    for size in [30, 300] {
        let mut shards = Shards::new(1);
        (0..size).for_each(|n| drop(shards.line(&format!("SADD a m{n}"))));
        let mut hits: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for count in ["-10", "10", "200"] {
            for _ in 0..size {
                let reply = shards.run(&[b"SRANDMEMBER".to_vec(), b"a".to_vec(), count.into()]);
                let members = bulks(&reply);
                let different: BTreeSet<_> = members.iter().collect();
                let expected = count.parse::<i64>().expect("a number");
                match usize::try_from(expected) {
                    Ok(count) => assert_eq!(different.len(), count.min(size)),
                    Err(_) => assert_eq!(members.len(), 10),
                }
                members.into_iter().for_each(|member| *hits.entry(member).or_default() += 1);
            }
        }
        // Ten times by each of the first two, and the share of each of the third.
        let expected = 20 + size.min(200);
        assert_eq!(hits.len(), size);
        for (member, hits) in hits {
            assert!(
                hits.abs_diff(expected) < 8 * expected.isqrt(),
                "{} {hits} of {expected}",
                member.escape_ascii()
            );
        }
    }
    let mut shards = Shards::new(1);
    shards.line("SADD a x");
    assert_eq!(shards.line("SRANDMEMBER a -1048577"), "-ERR value is out of range");
}

#[test]
fn a_walk_meets_all_that_stay_while_others_come_and_go() {
    let mut shards = Shards::new(2);
    (0..1000).for_each(|n| drop(shards.line(&format!("SADD a stays:{n} goes:{n}"))));
    let (mut found, mut cursor, mut turn) = (BTreeSet::new(), "0".to_owned(), 0);
    loop {
        let line = format!("SSCAN a {cursor} COUNT 50 MATCH stays*");
        let words: Vec<_> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let mut members = bulks(&shards.run(&words));
        cursor = String::from_utf8(members.remove(0)).expect("digits");
        assert!(members.len() < 300);
        found.extend(members);
        if cursor == "0" {
            break;
        }
        for n in turn * 40..turn * 40 + 40 {
            shards.line(&format!("SREM a goes:{n}"));
            shards.line(&format!("SADD a comes:{}", n % 700));
        }
        turn += 1;
        assert!(turn < 1000);
    }
    assert!(turn > 5, "{turn}");
    assert!((0..1000).all(|n| found.contains(format!("stays:{n}").as_bytes())));
}

/// Changes, hits and misses, as `INFO` of Redis counts lookups.
#[test]
fn hits_and_misses_are_counted() {
    let mut shards = Shards::new(2);
    for (line, expect) in [
        ("SADD a 1", [1, 0, 0]),
        ("SADD a 1", [0, 0, 0]),
        ("SREM a 2", [0, 0, 0]),
        ("SCARD a", [0, 1, 0]),
        ("SISMEMBER b 1", [0, 0, 1]),
        ("SINTER a b a", [0, 2, 1]),
        ("SUNIONSTORE b a a", [1, 2, 0]),
        ("SINTERSTORE c a none", [0, 1, 1]),
        ("SRANDMEMBER b", [0, 1, 0]),
        ("SMOVE a b 3", [0, 0, 0]),
        ("SPOP b 0", [0, 0, 0]),
        ("SPOP b", [1, 0, 0]),
        ("SPOP b", [0, 0, 0]),
        ("SREM a 1", [1, 0, 0]),
    ] {
        assert_eq!(shards.counted(line), expect, "{line}");
    }
}
