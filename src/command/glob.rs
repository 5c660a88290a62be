//! Glob patterns as `KEYS`, `SCAN`, `CONFIG GET` and others take them, with Redis's exact reading of
//! the odd cases:
//!
//! - `*` any run, `?` any byte, `[a-z]` and `[^a-z]` classes, `\x` the byte `x`;
//! - a class that is not closed ends with the pattern, `[]` matches nothing and `[^]` any byte;
//! - a range is ordered by *signed* bytes and may be written backwards;
//! - the empty text matches only the empty pattern, so even `*` does not match it (commands that
//!   take `*` as "all" say so themselves).

/// Whether letters of different case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// They differ.
    Sensitive,
    /// ASCII letters are compared without regard to case.
    Insensitive,
}

impl Case {
    fn fold(self, byte: u8) -> u8 {
        match self {
            Self::Sensitive => byte,
            Self::Insensitive => byte.to_ascii_lowercase(),
        }
    }
}

/// Whether `pattern` matches all of `text`.
///
/// Takes at most time in the product of their lengths: every part of a pattern but `*` stands for
/// exactly one byte, so on a mismatch only the last `*` met can be given one byte more.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut rest, mut at) = (pattern, 0);
    // What follows the last `*`, and where in the text it is tried.
    let mut retry: Option<(&[u8], usize)> = None;
    loop {
        if let [b'*', after @ ..] = rest {
            if after.is_empty() {
                return true;
            }
            rest = after;
            retry = Some((after, at));
            continue;
        }
        let taken = match text.get(at) {
            Some(&byte) => match_one(rest, byte, case),
            None if rest.is_empty() => return true,
            None => return false,
        };
        match (taken, &mut retry) {
            (Some(after), _) => {
                rest = after;
                at += 1;
            }
            (None, Some((after, from))) => {
                *from += 1;
                (rest, at) = (*after, *from);
            }
            (None, None) => return false,
        }
    }
}

/// Matches `byte` against the first part of `pattern`, which is no `*`; what follows that part if it
/// matches.
fn match_one(pattern: &[u8], byte: u8, case: Case) -> Option<&[u8]> {
    let (literal, after) = match pattern {
        [] => return None,
        [b'?', after @ ..] => return Some(after),
        [b'[', class @ ..] => return match_class(class, byte, case),
        [b'\\', literal, after @ ..] | [literal, after @ ..] => (*literal, after),
    };
    (case.fold(literal) == case.fold(byte)).then_some(after)
}

/// Matches `byte` against the class whose `[` has been read; what follows its `]` if it matches.
fn match_class(class: &[u8], byte: u8, case: Case) -> Option<&[u8]> {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    let after = loop {
        match rest {
            // An escaped byte stands for itself alone, whatever the case rule.
            [b'\\', literal, after @ ..] => {
                found |= *literal == byte;
                rest = after;
            }
            [b']', after @ ..] => break after,
            [] => break rest,
            [low, b'-', high, after @ ..] => {
                found |= in_range(*low, *high, byte, case);
                rest = after;
            }
            [literal, after @ ..] => {
                found |= case.fold(*literal) == case.fold(byte);
                rest = after;
            }
        }
    };
    (found != negated).then_some(after)
}

fn in_range(one: u8, other: u8, byte: u8, case: Case) -> bool {
    let signed = |byte: u8| case.fold(byte).cast_signed();
    let (low, high) =
        if one.cast_signed() <= other.cast_signed() { (one, other) } else { (other, one) };
    (signed(low)..=signed(high)).contains(&signed(byte))
}

#[cfg(test)]
mod tests {
    use super::{Case, matches};

    /// What Redis 7.0.15 answers to `KEYS pattern` over a key `text`.
    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expect) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
            ("**", "", false),
            ("?", "", false),
            ("*", "abc", true),
            ("**", "abc", true),
            ("***c", "abc", true),
            ("a*", "a", true),
            ("a**", "a", true),
            ("a*b", "a", false),
            ("*b*", "abc", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxaxxcxxbxx", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a[a-c]c", "abc", true),
            ("a[c-a]c", "abc", true),
            ("a[^b]c", "abc", false),
            ("a[^b]c", "a-c", true),
            ("a[^b]c", "a\\c", true),
            ("a[", "a[", false),
            ("a[", "a", false),
            ("[^", "x", true),
            ("[^]", "x", true),
            ("[]", "]", false),
            ("[a", "a", true),
            ("[a", "b", false),
            ("[ab", "b", true),
            ("[a-", "-", true),
            ("[a-]", "^", true),
            ("[\\a]bc", "abc", true),
            ("[\\]]", "]", true),
            ("[\\", "\\", true),
            ("a[a-", "a-", true),
            ("a[b-]c", "abc", false),
            ("A]", "A]", true),
            ("a\\", "a\\", true),
            ("a\\", "a", false),
            ("a\\\\c", "a\\c", true),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("*\\?", "what?", true),
            ("*[0-9]", "key:17", true),
            ("*[0-9]x", "key:17", false),
            ("h?llo*", "hello world", true),
        ] {
            let (p, t) = (pattern.as_bytes(), text.as_bytes());
            assert_eq!(matches(p, t, Case::Sensitive), expect, "{pattern:?} over {text:?}");
        }
    }

    #[test]
    fn ranges_are_ordered_by_signed_bytes() {
        assert!(matches(b"[a-\xff]", b"\xff", Case::Sensitive));
        assert!(matches(b"[a-\xff]", b"A", Case::Sensitive));
        assert!(!matches(b"[a-\xff]", b"b", Case::Sensitive));
        assert!(matches(b"[\x80-\xff]", b"\x90", Case::Sensitive));
    }

    #[test]
    fn case_can_be_ignored() {
        for (pattern, text, expect) in [
            ("MaxMemory*", "maxmemory-policy", true),
            ("[A-Z]x", "bX", true),
            ("\\ABC", "abc", true),
            ("[\\A]", "a", false),
            ("[AB]", "b", true),
        ] {
            let (p, t) = (pattern.as_bytes(), text.as_bytes());
            assert_eq!(matches(p, t, Case::Insensitive), expect, "{pattern:?} over {text:?}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_the_product() {
        let pattern = [b"a*".repeat(5_000), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &vec![b'a'; 20_000], Case::Sensitive));
    }
}
