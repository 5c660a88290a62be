//! Scripts for the list commands. The replies are those of Redis 7.0.15.

use crate::command::replay::{Peer, Shards, check};
use crate::protocol::Proto;

pub(crate) const SCRIPT: &[(&str, &str)] = &[
    // Arity.
    ("LPUSH a", "-ERR wrong number of arguments for 'lpush' command"),
    ("RPUSHX a", "-ERR wrong number of arguments for 'rpushx' command"),
    ("LPOP", "-ERR wrong number of arguments for 'lpop' command"),
    ("LPOP a 1 2", "-ERR wrong number of arguments for 'lpop' command"),
    ("RPOP a 1 2", "-ERR wrong number of arguments for 'rpop' command"),
    ("LRANGE a 0", "-ERR wrong number of arguments for 'lrange' command"),
    ("LMPOP 1 a", "-ERR wrong number of arguments for 'lmpop' command"),
    ("LPOS a", "-ERR wrong number of arguments for 'lpos' command"),
    // Pushing and popping.
    ("LPUSH a 1", ":1"),
    ("LPUSH a two 3", ":3"),
    ("RPUSH a \"\" 05 -6", ":6"),
    ("LRANGE a 0 -1", "*6⏎$1⏎3⏎$3⏎two⏎$1⏎1⏎$0⏎⏎$2⏎05⏎$2⏎-6"),
    ("LLEN a", ":6"),
    ("LLEN b", ":0"),
    ("TYPE a", "+list"),
    ("LPUSHX b 1", ":0"),
    ("RPUSHX b 1", ":0"),
    ("EXISTS b", ":0"),
    ("LPUSHX a 1 2", ":8"),
    ("RPUSHX a 1 2", ":10"),
    ("LPOP a", "$1⏎2"),
    ("RPOP a", "$1⏎2"),
    ("LPOP a 0", "*0"),
    ("LPOP a 2", "*2⏎$1⏎1⏎$1⏎3"),
    ("RPOP a 2", "*2⏎$1⏎1⏎$2⏎-6"),
    ("LPOP a -1", "-ERR value is out of range, must be positive"),
    ("LPOP a x", "-ERR value is out of range, must be positive"),
    ("RPOP a 9223372036854775808", "-ERR value is out of range, must be positive"),
    ("LPOP b x", "-ERR value is out of range, must be positive"),
    ("LPOP b", "$-1"),
    ("LPOP b 0", "*-1"),
    ("RPOP b 3", "*-1"),
    ("RPOP a 100", "*4⏎$2⏎05⏎$0⏎⏎$1⏎1⏎$3⏎two"),
    ("EXISTS a", ":0"),
    // Another type.
    ("SET s string", "+OK"),
    ("LPUSH s 1", WRONG_TYPE),
    ("RPUSHX s 1", WRONG_TYPE),
    ("LPOP s", WRONG_TYPE),
    ("LPOP s 0", WRONG_TYPE),
    ("LLEN s", WRONG_TYPE),
    ("LINDEX s x", WRONG_TYPE),
    ("LRANGE s 0 1", WRONG_TYPE),
    ("LSET s 0 1", WRONG_TYPE),
    ("LINSERT s BEFORE 1 2", WRONG_TYPE),
    ("LREM s 0 1", WRONG_TYPE),
    ("LTRIM s 0 1", WRONG_TYPE),
    ("LPOS s 1", WRONG_TYPE),
    ("LMOVE s a LEFT LEFT", WRONG_TYPE),
    ("RPOPLPUSH a s", "$-1"),
    ("LMPOP 2 a s LEFT", WRONG_TYPE),
    ("RPUSH a 1", ":1"),
    ("GET a", WRONG_TYPE),
    ("RPOPLPUSH a s", WRONG_TYPE),
    ("LMPOP 2 a s LEFT", "*2⏎$1⏎a⏎*1⏎$1⏎1"),
    // LINDEX, LRANGE
    ("RPUSH a 0 1 2 3 4", ":5"),
    ("LINDEX a 0", "$1⏎0"),
    ("LINDEX a 4", "$1⏎4"),
    ("LINDEX a 5", "$-1"),
    ("LINDEX a -1", "$1⏎4"),
    ("LINDEX a -5", "$1⏎0"),
    ("LINDEX a -6", "$-1"),
    ("LINDEX a 9223372036854775807", "$-1"),
    ("LINDEX a -9223372036854775808", "$-1"),
    ("LINDEX a x", "-ERR value is not an integer or out of range"),
    ("LINDEX b x", "$-1"),
    ("LRANGE a 1 2", "*2⏎$1⏎1⏎$1⏎2"),
    ("LRANGE a -2 -1", "*2⏎$1⏎3⏎$1⏎4"),
    ("LRANGE a -100 0", "*1⏎$1⏎0"),
    ("LRANGE a -100 -90", "*0"),
    ("LRANGE a 4 100", "*1⏎$1⏎4"),
    ("LRANGE a 3 2", "*0"),
    ("LRANGE a 5 9", "*0"),
    ("LRANGE a 0 9223372036854775807", "*5⏎$1⏎0⏎$1⏎1⏎$1⏎2⏎$1⏎3⏎$1⏎4"),
    ("LRANGE a -9223372036854775808 0", "*1⏎$1⏎0"),
    ("LRANGE a x 0", "-ERR value is not an integer or out of range"),
    ("LRANGE b 0 x", "-ERR value is not an integer or out of range"),
    ("LRANGE b 0 -1", "*0"),
    // LSET
    ("LSET a 1 one", "+OK"),
    ("LSET a -1 last", "+OK"),
    ("LSET a 5 x", "-ERR index out of range"),
    ("LSET a -6 x", "-ERR index out of range"),
    ("LSET a x x", "-ERR value is not an integer or out of range"),
    ("LSET b 0 x", "-ERR no such key"),
    ("LSET b x x", "-ERR no such key"),
    ("LRANGE a 0 -1", "*5⏎$1⏎0⏎$3⏎one⏎$1⏎2⏎$1⏎3⏎$4⏎last"),
    // LINSERT
    ("LINSERT a before one half", ":6"),
    ("LINSERT a AFTER last end", ":7"),
    ("LINSERT a BEFORE 0 start", ":8"),
    ("LINSERT a AFTER none x", ":-1"),
    ("LINSERT b AFTER none x", ":0"),
    ("LINSERT a BESIDE one x", "-ERR syntax error"),
    ("LINSERT s BESIDE one x", "-ERR syntax error"),
    ("LRANGE a 0 -1", "*8⏎$5⏎start⏎$1⏎0⏎$4⏎half⏎$3⏎one⏎$1⏎2⏎$1⏎3⏎$4⏎last⏎$3⏎end"),
    // LTRIM
    ("LTRIM a 1 -2", "+OK"),
    ("LTRIM a 0 100", "+OK"),
    ("LTRIM a -100 2", "+OK"),
    ("LRANGE a 0 -1", "*3⏎$1⏎0⏎$4⏎half⏎$3⏎one"),
    ("LTRIM a x 1", "-ERR value is not an integer or out of range"),
    ("LTRIM b 0 1", "+OK"),
    ("LTRIM a 2 1", "+OK"),
    ("EXISTS a", ":0"),
    // LREM
    ("RPUSH a x y x 7 x y x", ":7"),
    ("LREM a 1 x", ":1"),
    ("LREM a -2 x", ":2"),
    ("LRANGE a 0 -1", "*4⏎$1⏎y⏎$1⏎x⏎$1⏎7⏎$1⏎y"),
    ("LREM a 0 y", ":2"),
    ("LREM a 0 07", ":0"),
    ("LREM a 5 7", ":1"),
    ("LREM a y 7", "-ERR value is not an integer or out of range"),
    ("LREM b 0 x", ":0"),
    ("LREM a 9223372036854775807 x", ":1"),
    ("EXISTS a", ":0"),
    // LPOS
    ("RPUSH a a b c 1 2 3 c c", ":8"),
    ("LPOS a c", ":2"),
    ("LPOS a 2", ":4"),
    ("LPOS a z", "$-1"),
    ("LPOS a c RANK 2", ":6"),
    ("LPOS a c RANK -1", ":7"),
    ("LPOS a c RANK -4", "$-1"),
    ("LPOS a c COUNT 2", "*2⏎:2⏎:6"),
    ("LPOS a c COUNT 0", "*3⏎:2⏎:6⏎:7"),
    ("LPOS a c RANK -1 COUNT 2", "*2⏎:7⏎:6"),
    ("LPOS a c RANK 2 COUNT 0", "*2⏎:6⏎:7"),
    ("LPOS a c COUNT 0 MAXLEN 7", "*2⏎:2⏎:6"),
    ("LPOS a c MAXLEN 2", "$-1"),
    ("LPOS a c rank -1 maxlen 1 count 0", "*1⏎:7"),
    ("LPOS a z COUNT 1", "*0"),
    ("LPOS b z", "$-1"),
    ("LPOS b z COUNT 1", "*0"),
    ("LPOS a c RANK", "-ERR syntax error"),
    ("LPOS a c FOO 1", "-ERR syntax error"),
    (
        "LPOS a c RANK 0",
        "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
         negative to start from the end of the list",
    ),
    ("LPOS a c RANK x", "-ERR value is not an integer or out of range"),
    ("LPOS a c COUNT -1", "-ERR COUNT can't be negative"),
    ("LPOS a c COUNT x", "-ERR COUNT can't be negative"),
    ("LPOS a c MAXLEN -1", "-ERR MAXLEN can't be negative"),
    ("LPOS b c MAXLEN -1", "-ERR MAXLEN can't be negative"),
    ("DEL a", ":1"),
    // LMOVE, RPOPLPUSH
    ("RPUSH a 1 2 3", ":3"),
    ("RPOPLPUSH a b", "$1⏎3"),
    ("LMOVE a b LEFT RIGHT", "$1⏎1"),
    ("LMOVE a b right left", "$1⏎2"),
    ("EXISTS a", ":0"),
    ("LRANGE b 0 -1", "*3⏎$1⏎2⏎$1⏎3⏎$1⏎1"),
    ("LMOVE a b LEFT LEFT", "$-1"),
    ("LMOVE a s LEFT LEFT", "$-1"),
    ("LMOVE a b UP LEFT", "-ERR syntax error"),
    ("LMOVE a b LEFT UP", "-ERR syntax error"),
    ("RPOPLPUSH b b", "$1⏎1"),
    ("LMOVE b b LEFT LEFT", "$1⏎1"),
    ("LRANGE b 0 -1", "*3⏎$1⏎1⏎$1⏎2⏎$1⏎3"),
    ("LTRIM b 0 0", "+OK"),
    ("EXPIRE b 100", ":1"),
    ("RPOPLPUSH b b", "$1⏎1"),
    ("TTL b", ":100"),
    ("LPUSH b 0", ":2"),
    ("TTL b", ":100"),
    ("LPOP b 2", "*2⏎$1⏎0⏎$1⏎1"),
    ("LPUSH b 0", ":1"),
    ("TTL b", ":-1"),
    // LMPOP
    ("RPUSH a 1 2 3", ":3"),
    ("LMPOP 2 c a LEFT", "*2⏎$1⏎a⏎*1⏎$1⏎1"),
    ("LMPOP 2 a b RIGHT COUNT 5", "*2⏎$1⏎a⏎*2⏎$1⏎3⏎$1⏎2"),
    ("LMPOP 2 a b right count 1", "*2⏎$1⏎b⏎*1⏎$1⏎0"),
    ("LMPOP 2 a b LEFT", "*-1"),
    ("LMPOP 0 a LEFT", "-ERR numkeys should be greater than 0"),
    ("LMPOP x a LEFT", "-ERR numkeys should be greater than 0"),
    ("LMPOP 2 a LEFT", "-ERR syntax error"),
    ("LMPOP 3 a LEFT", "-ERR syntax error"),
    ("LMPOP 1 a UP", "-ERR syntax error"),
    ("LMPOP 1 a LEFT COUNT", "-ERR syntax error"),
    ("LMPOP 1 a LEFT FOO 1", "-ERR syntax error"),
    ("LMPOP 1 a LEFT COUNT 0", "-ERR count should be greater than 0"),
    ("LMPOP 1 a LEFT COUNT x", "-ERR count should be greater than 0"),
    ("LMPOP 1 a LEFT COUNT 1 COUNT 1", "-ERR syntax error"),
];

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn script() {
    check(SCRIPT);
}

/// What Redis 7.4 answers, where it is not what 7.0 does.
#[test]
fn script_of_later_versions() {
    const OUT_OF_RANGE: &str = "-ERR value is out of range, value must between \
                                -9223372036854775807 and 9223372036854775807";
    check(&[
        ("RPUSH a 1 2 3", ":3"),
        ("OBJECT ENCODING a", "$8⏎listpack"),
        ("LREM a -9223372036854775808 1", OUT_OF_RANGE),
        ("LPOS a 1 RANK -9223372036854775808", OUT_OF_RANGE),
    ]);
}

#[test]
fn nothing_is_told_by_one_sign_in_the_newer_protocol() {
    let mut shards = Shards::new(2);
    shards.proto = Proto::Resp3;
    for line in ["LPOP a", "LPOP a 1", "LINDEX a 0", "LPOS a x", "RPOPLPUSH a b", "LMPOP 1 a LEFT"]
    {
        assert_eq!(shards.line(line), "_", "{line}");
    }
}

#[test]
fn large_lists_are_lists_too() {
    let mut shards = Shards::new(2);
    let numbers = |range: std::ops::Range<usize>| {
        range.map(|number| format!(" element:{number:05}")).collect::<String>()
    };
    for start in (0..20_000).step_by(1000) {
        let line = format!("RPUSH a{}", numbers(start..start + 1000));
        assert_eq!(shards.line(&line), format!(":{}", start + 1000));
    }
    for (line, reply) in [
        ("OBJECT ENCODING a", "$9⏎quicklist"),
        ("LINDEX a 12345", "$13⏎element:12345"),
        ("LINDEX a -2", "$13⏎element:19998"),
        ("LSET a 777 new", "+OK"),
        ("LPOS a new", ":777"),
        ("LPOS a new RANK -1", ":777"),
        ("LINSERT a BEFORE new newer", ":20001"),
        ("LRANGE a 776 779", "*4⏎$13⏎element:00776⏎$5⏎newer⏎$3⏎new⏎$13⏎element:00778"),
        ("LREM a 0 newer", ":1"),
        ("LMOVE a b RIGHT LEFT", "$13⏎element:19999"),
        ("RENAME a c", "+OK"),
        ("COPY c a", ":1"),
        ("LTRIM c 10000 10001", "+OK"),
        ("OBJECT ENCODING c", "$8⏎listpack"),
        ("LRANGE c 0 -1", "*2⏎$13⏎element:10000⏎$13⏎element:10001"),
        ("LLEN a", ":19999"),
        ("LPOP a 0", "*0"),
        ("DEL a", ":1"),
        ("LLEN a", ":0"),
    ] {
        assert_eq!(shards.line(line), reply, "{line}");
        shards.keyspaces.iter().for_each(crate::cache::Keyspace::check);
    }
}

/// What a list loses is counted until it is freed, bit by bit.
#[test]
fn what_is_trimmed_off_is_freed_later() {
    let mut shards = Shards::new(1);
    let elements = " element".repeat(1000);
    (0..400).for_each(|_| drop(shards.line(&format!("RPUSH a{elements}"))));
    let heap_bytes = |shards: &Shards| shards.keyspaces[0].memory().heap_bytes;
    let before = heap_bytes(&shards);
    assert_eq!(shards.line("LTRIM a 199990 200009"), "+OK");
    assert_eq!(shards.line("LLEN a"), ":20");
    assert!(heap_bytes(&shards) > before / 2);
    loop {
        let left = heap_bytes(&shards);
        let is_at_it = shards.keyspaces[0].maintain();
        shards.keyspaces[0].check();
        assert!(left - heap_bytes(&shards) < before / 10);
        if !is_at_it {
            break;
        }
    }
    assert!(heap_bytes(&shards) < before / 10);
    assert_eq!(shards.line("LINDEX a -1"), "$7⏎element");
}
