//! Requests on hashes. Field expiry is not among them: Redis 7.0 has none.

use super::{AROUND_COLLECTIONS, Generator, Stream, compare};

/// `n` is the name of a field; the rest is as in [`super::SHAPES`].
static HASHES: Stream = Stream {
    shapes: &[
        "HSET k n v",
        "HSET k n v n i n f",
        "HSET k n i",
        "HMSET k n v n v",
        "HSETNX k n v",
        "HGET/HEXISTS/HSTRLEN k n",
        "HMGET k n ?n ?n",
        "HGETALL/HKEYS/HVALS/HLEN k",
        "HGETALL/HKEYS/HVALS k",
        "HDEL k n ?n ?n",
        "HDEL k n",
        "HINCRBY k n i",
        "HINCRBYFLOAT k n f",
        "HRANDFIELD k 0/1000/-9223372036854775808 ?WITHVALUES",
        "HSCAN k 0 COUNT 10000 ?MATCH ?*/f*/*[0-9]",
    ],
    around: AROUND_COLLECTIONS,
    word: |generator, word| (word == "n").then(|| field(generator)),
    is_beyond_comparison: |args| {
        // Which fields a random choice meets is chance, and where a part of a walk ends no promise.
        let is = |name: &str| args[0].eq_ignore_ascii_case(name.as_bytes());
        let is_all = |arg: &Vec<u8>| matches!(&arg[..], b"0" | b"1000" | b"-9223372036854775808");
        is("HRANDFIELD") && !args.get(2).is_some_and(is_all)
            || is("HSCAN") && (args.get(2).is_none_or(|at| at != b"0") || !has(args, b"10000"))
    },
    unordered: &["HGETALL", "HKEYS", "HVALS", "HRANDFIELD", "HSCAN", "KEYS"],
};

fn has(args: &[Vec<u8>], word: &[u8]) -> bool {
    args.iter().any(|arg| arg == word)
}

/// Mostly one of a few, so that they are met again; sometimes one that takes a hash out of its listpack.
fn field(generator: &mut Generator) -> Vec<u8> {
    let random = &mut generator.random;
    match random.below(40) {
        0 => vec![b'l'; 60 + random.index(10)],
        1 => Vec::new(),
        2..10 => random.between(-3, 140).to_string().into_bytes(),
        _ => format!("f{}", random.below(9)).into_bytes(),
    }
}

#[test]
fn replies_on_hashes_are_redis_s_in_resp2() {
    compare(&HASHES, 3, false);
}

#[test]
fn replies_on_hashes_are_redis_s_in_resp3() {
    compare(&HASHES, 2, true);
}
