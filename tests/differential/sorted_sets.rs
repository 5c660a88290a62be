//! Requests of sorted sets: `g` is a member, `e` a score, `<` an end of a range of scores, `[` one of members, `n` a
//! small number of keys or elements. `l`-keys have members of one score, since only then ranges of members mean
//! something.

use super::{AROUND_COLLECTIONS, Generator, Stream, compare};

static SORTED_SETS: Stream = Stream {
    shapes: &[
        "ZADD k e g",
        "ZADD k e g e g e g e g",
        "ZADD k ?NX/XX ?GT/LT ?CH e g e g",
        "ZADD k INCR ?NX/XX/GT/LT e g",
        "ZADD k e g e g e g e g e g e g e g e g e g e g e g e g e g e g e g e g e g e g e g e g",
        "ZINCRBY k e g",
        "ZREM k g ?g ?g",
        "ZCARD k",
        "ZSCORE k g",
        "ZMSCORE k g ?g g",
        "ZCOUNT k < <",
        "ZRANK/ZREVRANK k g",
        "ZRANGE k n n ?REV ?WITHSCORES",
        "ZRANGE k < < BYSCORE ?REV ?WITHSCORES",
        "ZRANGE k < < BYSCORE ?REV LIMIT n n ?WITHSCORES",
        "ZRANGESTORE k k n n ?REV",
        "ZRANGESTORE k k < < BYSCORE ?REV LIMIT n n",
        "ZREVRANGE k n n ?WITHSCORES",
        "ZRANGEBYSCORE/ZREVRANGEBYSCORE k < < ?WITHSCORES",
        "ZRANGEBYSCORE/ZREVRANGEBYSCORE k < < LIMIT n n",
        "ZADD l 0 g 0 g 0 g",
        "ZREM l g g",
        "ZRANGE l [ [ BYLEX ?REV",
        "ZRANGE l [ [ BYLEX ?REV LIMIT n n",
        "ZRANGEBYLEX/ZREVRANGEBYLEX l [ [",
        "ZLEXCOUNT l [ [",
        "ZREMRANGEBYLEX l [ [",
        "ZREMRANGEBYRANK k n n",
        "ZREMRANGEBYSCORE k < <",
        "ZPOPMIN/ZPOPMAX k ?n",
        "ZMPOP 2 k k MIN/MAX",
        "ZMPOP 1 k MIN/MAX COUNT n",
        "ZUNION/ZINTER 2 k k ?WITHSCORES",
        "ZUNION/ZINTER 3 k k k AGGREGATE SUM/MIN/MAX ?WITHSCORES",
        "ZUNION/ZINTER 2 k k WEIGHTS e e ?WITHSCORES",
        "ZDIFF 2 k k ?WITHSCORES",
        "ZDIFF 3 k k k",
        "ZUNIONSTORE/ZINTERSTORE k 2 k k WEIGHTS e e AGGREGATE SUM/MIN/MAX",
        "ZDIFFSTORE k 2 k k",
        "ZINTERCARD 2 k k ?LIMIT ?n",
        "ZRANDMEMBER none ?n",
        "ZSCAN k 0 COUNT 1000",
        "OBJECT ENCODING k",
    ],
    around: AROUND_COLLECTIONS,
    word,
    is_beyond_comparison,
    unordered: &["ZSCAN"],
};

fn word(generator: &mut Generator, word: &str) -> Option<Vec<u8>> {
    let random = &mut generator.random;
    let word = match word {
        "g" => match random.below(20) {
            0 => String::new(),
            1 => "x".repeat(random.index(90)),
            2..8 => random.between(-5, 200).to_string(),
            _ => format!("member:{}", random.below(200)),
        },
        "e" => score(generator),
        "<" => {
            let bracket = *random.pick(&["", "", "("]);
            match random.below(8) {
                0 => "-inf".into(),
                1 => "+inf".into(),
                2 => random.pick(&["(", "nan", "", " 1", "1e400", "[1"]).to_string(),
                _ => format!("{bracket}{}", score(generator)),
            }
        }
        "[" => match random.below(10) {
            0 => random.pick(&["(", "[", "+x", "", "5", "-"]).to_string(),
            1..3 => "-".into(),
            3..5 => "+".into(),
            _ => {
                let bracket = *random.pick(&["(", "["]);
                format!("{bracket}member:{}", random.below(200))
            }
        },
        "n" => match random.below(20) {
            0 => generator.integer(),
            1..5 => random.between(-8, 0).to_string(),
            _ => random.between(0, 12).to_string(),
        },
        "k" => format!("key{}", random.below(8)),
        "l" => format!("keyl{}", random.below(3)),
        _ => return None,
    };
    Some(word.into_bytes())
}

fn score(generator: &mut Generator) -> String {
    let random = &mut generator.random;
    match random.below(16) {
        0 => {
            random.pick(&["inf", "-inf", "+inf", "-0", "0x1p4", ".5", "1e20", "-1e300"]).to_string()
        }
        1 => random.pick(&["nan", "", "x", " 1", "1e400", "(1", "1,5"]).to_string(),
        2..5 => format!("{}.{}", random.between(-20, 20), random.below(1000)),
        _ => random.between(-20, 20).to_string(),
    }
}

/// Ranges of members where scores differ, and what would have them differ in keys that are for these.
fn is_beyond_comparison(args: &[Vec<u8>]) -> bool {
    let is = |arg: &[u8], name: &str| arg.eq_ignore_ascii_case(name.as_bytes());
    let is_lex = |arg: &[u8]| {
        is(arg, "bylex")
            || is(arg, "zlexcount")
            || arg.to_ascii_lowercase().ends_with(b"rangebylex")
    };
    // `WITHSCORE` came after Redis 7.0.
    if args.len() > 3 && (is(&args[0], "zrank") || is(&args[0], "zrevrank")) {
        return true;
    }
    if is(&args[0], "zrandmember") && args.get(1).is_some_and(|key| key != b"none") {
        return true;
    }
    let of_one_score = args.get(1).is_some_and(|key| key.starts_with(b"keyl"));
    if of_one_score {
        return is(&args[0], "zadd") && args[2..].iter().step_by(2).any(|score| score != b"0");
    }
    args.iter().any(|arg| is_lex(arg))
}

#[test]
fn replies_of_sorted_sets_are_redis_s_in_resp2() {
    compare(&SORTED_SETS, 3, false);
}

#[test]
fn replies_of_sorted_sets_are_redis_s_in_resp3() {
    compare(&SORTED_SETS, 2, true);
}
