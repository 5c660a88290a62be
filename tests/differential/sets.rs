//! Requests about sets.

use super::{AROUND_COLLECTIONS, Generator, Stream, compare};

/// Besides the words of all: `e` is a member, mostly one of a few, `n` a number of keys and `c` a count that is 0 or
/// as many as there may be, so that nothing is left to chance.
const SHAPES: &[&str] = &[
    "SADD k e",
    "SADD k e e e",
    "SADD k e e e e e e e e",
    "SADD k i i i i",
    "SREM k e ?e ?e",
    "SCARD k",
    "SISMEMBER k e",
    "SMISMEMBER k e e ?e",
    "SMEMBERS k",
    "SMOVE k k e",
    "SPOP k c",
    "SRANDMEMBER k c",
    "SINTER k ?k ?k",
    "SUNION k ?k ?k",
    "SDIFF k ?k ?k",
    "SINTERCARD n k k ?LIMIT ?i",
    "SINTERSTORE/SUNIONSTORE/SDIFFSTORE k k ?k ?k",
    "SUNIONSTORE k k k k k",
    "SSCAN k 0 COUNT 1000",
    "SSCAN k 0 MATCH *1* COUNT 1000",
    "SSCAN k 0 MATCH/COUNT i",
];

static SETS: Stream = Stream {
    shapes: SHAPES,
    around: AROUND_COLLECTIONS,
    word: |generator, word| match word {
        "e" => Some(member(generator)),
        "n" => Some(
            generator
                .random
                .pick(&["2", "2", "2", "2", "1", "3", "0", "-1", "x"])
                .as_bytes()
                .to_vec(),
        ),
        "c" => {
            Some(generator.random.pick(&["0", "100000", "100000", "-0", "x"]).as_bytes().to_vec())
        }
        _ => None,
    },
    is_beyond_comparison: |args| {
        let is = |name: &str| args[0].eq_ignore_ascii_case(name.as_bytes());
        let asks_for = |count: &[u8]| args.get(2).is_some_and(|arg| arg == count);
        let is_drawn = is("SPOP") || is("SRANDMEMBER");
        // A count below the number of members is a matter of chance, and Redis 7.0 has no small sets that a walk
        // answers at once.
        let is_walked_at_once = asks_for(b"0") && args.iter().any(|arg| arg == b"1000");
        (is_drawn && !asks_for(b"0") && !asks_for(b"100000") && !asks_for(b"x"))
            || (is("SSCAN") && args.len() > 2 && !is_walked_at_once)
    },
    unordered: &["SMEMBERS", "SPOP", "SRANDMEMBER", "SINTER", "SUNION", "SDIFF", "SSCAN"],
};

fn member(generator: &mut Generator) -> Vec<u8> {
    let below = *generator.random.pick(&[10, 10, 150, 700]);
    let number = generator.random.below(below);
    match generator.random.below(8) {
        0..4 => number.to_string().into_bytes(),
        4..6 => format!("m{number}").into_bytes(),
        6 => generator.integer().into_bytes(),
        _ => generator.value(),
    }
}

#[test]
fn replies_about_sets_are_redis_s() {
    compare(&SETS, 3, false);
    compare(&SETS, 2, true);
}
