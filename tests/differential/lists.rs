//! Requests on lists.
//!
//! `SORT` is asked for what does not depend on the locale and on numbers out of range, after which Redis 7.0 takes
//! no number for one.

use super::{AROUND_COLLECTIONS, Generator, Stream, compare};

/// Besides the words of all streams `e` is an element, `p` a position, `n` a small number.
static LISTS: Stream = Stream {
    shapes: &[
        "LPUSH/RPUSH k e ?e ?e ?e",
        "LPUSH/RPUSH k e e e e e e e e e e e e",
        "LPUSHX/RPUSHX k e ?e",
        "LPOP/RPOP k",
        "LPOP/RPOP k n",
        "LPOP/RPOP k i",
        "LLEN k",
        "LINDEX k p",
        "LINDEX k i",
        "LRANGE k p p",
        "LRANGE k 0 -1",
        "LRANGE k i i",
        "LSET k p e",
        "LINSERT k BEFORE/AFTER e e",
        "LREM k p e",
        "LREM k 0 e",
        "LTRIM k p p",
        "LTRIM k 0 i",
        "LPOS k e",
        "LPOS k e COUNT n",
        "LPOS k e RANK p COUNT n MAXLEN n",
        "LPOS k e RANK i",
        "LMOVE k k LEFT/RIGHT LEFT/RIGHT",
        "RPOPLPUSH k k",
        "LMPOP 1 k LEFT/RIGHT",
        "LMPOP 2 k k LEFT/RIGHT COUNT n",
        "SORT k ALPHA STORE k",
        "SORT k ALPHA DESC LIMIT p p STORE k",
        "SORT k BY nosort ?DESC GET # GET key*",
        "SORT_RO k BY nosort LIMIT p p",
    ],
    around: AROUND_COLLECTIONS,
    word,
    is_beyond_comparison,
    unordered: &[],
};

fn word(generator: &mut Generator, word: &str) -> Option<Vec<u8>> {
    let random = &mut generator.random;
    Some(match word {
        "e" if random.one_in(3) => return Some(generator.value()),
        "e" => random.pick(&["a", "b", "", "7", "-1", "07", "128", "element"]).as_bytes().to_vec(),
        "p" => random.between(-12, 12).to_string().into_bytes(),
        "#" => b"#".to_vec(),
        "n" => random.below(7).to_string().into_bytes(),
        _ => return None,
    })
}

/// What Redis 7.0 counts with beyond the range of its numbers.
fn is_beyond_comparison(args: &[Vec<u8>]) -> bool {
    let is = |name: &str| args[0].eq_ignore_ascii_case(name.as_bytes());
    let least = i64::MIN.to_string().into_bytes();
    let negates = (is("LREM") || is("LPOS")) && args.contains(&least);
    let counts = is("LMPOP") && args.get(1).is_some_and(|count| count.len() > 2);
    // A request that was spoilt may compare by the locale, or as numbers.
    let word = |name: &str| args.iter().any(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
    // The members of a set that is not sorted come in any order.
    let sorts = is("SORT") || is("SORT_RO");
    negates || counts || sorts && !(word("ALPHA") && word("STORE"))
}

#[test]
fn replies_on_lists_are_redis_s() {
    compare(&LISTS, 3, false);
    compare(&LISTS, 1, true);
}
