//! Scripts for `SORT`. The replies are those of Redis 7.0.15.

use crate::command::View;
use crate::command::replay::{Peer, Shards, check};

pub(crate) const SCRIPT: &[(&str, &str)] = &[
    ("SORT", "-ERR wrong number of arguments for 'sort' command"),
    ("SORT_RO", "-ERR wrong number of arguments for 'sort_ro' command"),
    ("SORT a", "*0"),
    ("SET s 1", "+OK"),
    ("SORT s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("SORT s LIMIT 0", "-ERR syntax error"),
    ("RPUSH a 3 10 2.5 -1 1e2", ":5"),
    ("SORT a", "*5⏎$2⏎-1⏎$3⏎2.5⏎$1⏎3⏎$2⏎10⏎$3⏎1e2"),
    ("SORT_RO a DESC", "*5⏎$3⏎1e2⏎$2⏎10⏎$1⏎3⏎$3⏎2.5⏎$2⏎-1"),
    ("SORT a desc asc", "*5⏎$2⏎-1⏎$3⏎2.5⏎$1⏎3⏎$2⏎10⏎$3⏎1e2"),
    ("SORT a ALPHA", "*5⏎$2⏎-1⏎$2⏎10⏎$3⏎1e2⏎$3⏎2.5⏎$1⏎3"),
    ("SORT a alpha desc", "*5⏎$1⏎3⏎$3⏎2.5⏎$3⏎1e2⏎$2⏎10⏎$2⏎-1"),
    // LIMIT
    ("SORT a LIMIT 1 2", "*2⏎$3⏎2.5⏎$1⏎3"),
    ("SORT a LIMIT 3 -1", "*2⏎$2⏎10⏎$3⏎1e2"),
    ("SORT a LIMIT -5 1", "*1⏎$2⏎-1"),
    ("SORT a LIMIT 5 1", "*0"),
    ("SORT a LIMIT 0 0", "*0"),
    ("SORT a LIMIT 9223372036854775807 9223372036854775807", "*0"),
    ("SORT a LIMIT 0 9223372036854775807 DESC", "*5⏎$3⏎1e2⏎$2⏎10⏎$1⏎3⏎$3⏎2.5⏎$2⏎-1"),
    ("SORT a LIMIT x 1", "-ERR value is not an integer or out of range"),
    ("SORT a LIMIT 1 x", "-ERR value is not an integer or out of range"),
    ("SORT b LIMIT 1 x", "-ERR value is not an integer or out of range"),
    ("SORT a LIMIT 1", "-ERR syntax error"),
    ("SORT a FOO", "-ERR syntax error"),
    ("SORT a FOO 1", "-ERR syntax error"),
    ("SORT a BY", "-ERR syntax error"),
    ("SORT a GET", "-ERR syntax error"),
    ("SORT a STORE", "-ERR syntax error"),
    // What is no number.
    ("RPUSH b 1 x", ":2"),
    ("SORT b", "-ERR One or more scores can't be converted into double"),
    ("SORT b STORE c", "-ERR One or more scores can't be converted into double"),
    ("SORT b ALPHA", "*2⏎$1⏎1⏎$1⏎x"),
    ("DEL b", ":1"),
    ("RPUSH b \"\" \" 1\" \"2\\x00x\" inf -inf 0x10", ":6"),
    ("SORT b", "*6⏎$4⏎-inf⏎$0⏎⏎$2⏎ 1⏎$3⏎2\\x00x⏎$4⏎0x10⏎$3⏎inf"),
    ("DEL b", ":1"),
    ("RPUSH b nan", ":1"),
    ("SORT b", "-ERR One or more scores can't be converted into double"),
    ("LSET b 0 \"1 \"", "+OK"),
    ("SORT b", "-ERR One or more scores can't be converted into double"),
    ("DEL b", ":1"),
    // What is equal is ordered by its bytes.
    ("RPUSH b 1.0 1 01 1.00 +1", ":5"),
    ("SORT b", "*5⏎$2⏎+1⏎$2⏎01⏎$1⏎1⏎$3⏎1.0⏎$4⏎1.00"),
    ("SORT b DESC", "*5⏎$4⏎1.00⏎$3⏎1.0⏎$1⏎1⏎$2⏎01⏎$2⏎+1"),
    ("DEL b", ":1"),
    // BY
    ("RPUSH b x y z", ":3"),
    ("MSET w_x 3 w_y 1 w_z 2 n_x Xen n_y Yak", "+OK"),
    ("SORT b BY w_*", "*3⏎$1⏎y⏎$1⏎z⏎$1⏎x"),
    ("SORT b BY w_* DESC LIMIT 0 2", "*2⏎$1⏎x⏎$1⏎z"),
    ("SORT b BY *", "*3⏎$1⏎x⏎$1⏎y⏎$1⏎z"),
    ("SORT b BY none_*", "*3⏎$1⏎x⏎$1⏎y⏎$1⏎z"),
    ("SORT b BY n_*", "-ERR One or more scores can't be converted into double"),
    ("SORT b BY n_* ALPHA", "*3⏎$1⏎z⏎$1⏎x⏎$1⏎y"),
    ("SORT b BY n_* ALPHA DESC", "*3⏎$1⏎y⏎$1⏎x⏎$1⏎z"),
    ("SORT b BY nosort", "*3⏎$1⏎x⏎$1⏎y⏎$1⏎z"),
    ("SORT b BY nosort DESC", "*3⏎$1⏎z⏎$1⏎y⏎$1⏎x"),
    ("SORT b BY nosort DESC LIMIT 0 1", "*1⏎$1⏎z"),
    ("SORT b BY nosort LIMIT 1 1", "*1⏎$1⏎y"),
    ("SORT b BY w_* BY nosort", "*3⏎$1⏎x⏎$1⏎y⏎$1⏎z"),
    ("SORT b", "-ERR One or more scores can't be converted into double"),
    // GET
    ("SORT b BY w_* GET n_*", "*3⏎$3⏎Yak⏎$-1⏎$3⏎Xen"),
    ("SORT b BY w_* GET # GET w_* GET none", "*9⏎$1⏎y⏎$1⏎1⏎$-1⏎$1⏎z⏎$1⏎2⏎$-1⏎$1⏎x⏎$1⏎3⏎$-1"),
    ("SORT b BY nosort GET b*", "*3⏎$-1⏎$-1⏎$-1"),
    ("SORT b BY nosort GET w_*->f GET w_*->", "*6⏎$-1⏎$-1⏎$-1⏎$-1⏎$-1⏎$-1"),
    ("SET w_x-> arrow", "+OK"),
    ("SORT b BY nosort LIMIT 0 1 GET w_*->", "*1⏎$5⏎arrow"),
    ("HSET h_x f 1 g 30", ":2"),
    ("HSET h_y f 0 g text", ":2"),
    ("SORT b BY h_*->f", "*3⏎$1⏎y⏎$1⏎z⏎$1⏎x"),
    ("SORT b BY h_*->f DESC GET h_*->g GET h_*", "*6⏎$2⏎30⏎$-1⏎$-1⏎$-1⏎$4⏎text⏎$-1"),
    ("SORT b BY h_*->g", "-ERR One or more scores can't be converted into double"),
    ("SORT b BY w_*->f GET #", "*3⏎$1⏎x⏎$1⏎y⏎$1⏎z"),
    ("SORT h_x", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    // STORE
    ("SORT b BY w_* STORE c", ":3"),
    ("LRANGE c 0 -1", "*3⏎$1⏎y⏎$1⏎z⏎$1⏎x"),
    ("SORT b ALPHA DESC STORE c STORE b", ":3"),
    ("LRANGE b 0 -1", "*3⏎$1⏎z⏎$1⏎y⏎$1⏎x"),
    ("EXPIRE s 100", ":1"),
    ("SORT b BY w_* GET n_* GET # STORE s", ":6"),
    ("LRANGE s 0 -1", "*6⏎$3⏎Yak⏎$1⏎y⏎$0⏎⏎$1⏎z⏎$3⏎Xen⏎$1⏎x"),
    ("TTL s", ":-1"),
    ("SORT nothing STORE s", ":0"),
    ("EXISTS s", ":0"),
    ("SORT_RO b ALPHA STORE c", "-ERR syntax error"),
    // Sets and sorted sets.
    ("SADD m 10 9 -3", ":3"),
    ("SORT m DESC LIMIT 0 2", "*2⏎$2⏎10⏎$1⏎9"),
    ("SADD m x", ":1"),
    ("SORT m", "-ERR One or more scores can't be converted into double"),
    ("SORT m ALPHA", "*4⏎$2⏎-3⏎$2⏎10⏎$1⏎9⏎$1⏎x"),
    ("SORT m BY nosort STORE c", ":4"),
    ("LRANGE c 0 -1", "*4⏎$2⏎-3⏎$2⏎10⏎$1⏎9⏎$1⏎x"),
    ("ZADD z 1 c 2 b 3 a", ":3"),
    ("SORT z ALPHA", "*3⏎$1⏎a⏎$1⏎b⏎$1⏎c"),
    ("SORT z", "-ERR One or more scores can't be converted into double"),
    ("SORT z BY nosort", "*3⏎$1⏎c⏎$1⏎b⏎$1⏎a"),
    ("SORT z BY nosort DESC LIMIT 0 2", "*2⏎$1⏎a⏎$1⏎b"),
    ("SORT z BY nosort LIMIT 1 -1 STORE m", ":2"),
    ("LRANGE m 0 -1", "*2⏎$1⏎b⏎$1⏎a"),
];

#[test]
fn script() {
    check(SCRIPT);
}

/// Redis 7.0 refuses all numbers once it has met one of these.
#[test]
fn numbers_out_of_range_are_none() {
    check(&[
        ("RPUSH a 1e400", ":1"),
        ("SORT a", "-ERR One or more scores can't be converted into double"),
        ("LSET a 0 1e-400", "+OK"),
        ("SORT a", "-ERR One or more scores can't be converted into double"),
        ("LSET a 0 1", "+OK"),
        ("SORT a", "*1⏎$1⏎1"),
    ]);
}

#[test]
fn in_a_cluster_patterns_stay_in_one_slot() {
    let mut shards = Shards::new(3);
    shards.view = View { cluster: true, ..View::default() };
    let denied = |option: &str| {
        format!(
            "-ERR {option} option of SORT denied in cluster mode when keys formed by the pattern may be in \
             different slots."
        )
    };
    let cases = [
        ("RPUSH {a}l x y", ":2".to_owned()),
        ("MSET {a}w_x 2 {a}w_y 1", "+OK".to_owned()),
        ("SORT {a}l BY {a}w_*", "*2⏎$1⏎y⏎$1⏎x".to_owned()),
        ("SORT {a}l BY nosort GET {a}w_* GET #", "*4⏎$1⏎2⏎$1⏎x⏎$1⏎1⏎$1⏎y".to_owned()),
        ("SORT {a}l BY {b}w_*", denied("BY")),
        ("SORT {a}l BY *{a}", denied("BY")),
        ("SORT {a}l BY {}a*", denied("BY")),
        ("SORT {a}l BY nosort GET w_*", denied("GET")),
        ("SORT {a}l BY nosort GET b", denied("GET")),
    ];
    for (line, reply) in cases {
        assert_eq!(shards.line(line), reply, "{line}");
    }
}
