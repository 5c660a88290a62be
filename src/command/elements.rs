//! What commands on collections of several kinds have in common: how an element is answered, how many are
//! to be chosen at random, and the arguments of walks: `SCAN`, `HSCAN`, `SSCAN` and `ZSCAN`.

use super::scan::{Pattern, parse_cursor};
use super::{Error, numbers};
use crate::collection::{Digits, Element};
use crate::limits::{SCAN_COUNT_MAX, STEP_ELEMENTS};
use crate::protocol::{Args, Reply};

/// Answers an element.
#[inline]
pub(super) fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Bytes(bytes) => reply.bulk(bytes),
        Element::Int(number) => reply.bulk(Digits::new().format(number).as_bytes()),
    }
}

/// How many elements chosen at random are wanted; a negative number lets one come several times.
pub(super) fn random_count(arg: &[u8]) -> Result<i64, Error> {
    let count = numbers::integer(arg)?;
    if count == i64::MIN {
        let most = i64::MAX;
        let text = format!("ERR value is out of range, value must between -{most} and {most}");
        return Err(Error::Text(text));
    }
    Ok(count)
}

/// Whether a range of positions, from argument 2 to argument 3, may cover many elements, if there are as many.
pub(super) fn covers_much(args: &Args<'_>) -> bool {
    match (args.get(2).and_then(numbers::parse_i64), args.get(3).and_then(numbers::parse_i64)) {
        (Some(start), Some(end)) => {
            let is_counted_alike = (start < 0) == (end < 0);
            !(is_counted_alike && end.saturating_sub(start) < STEP_ELEMENTS as i64)
        }
        _ => false,
    }
}

/// What a command walks over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// All keys: `SCAN`.
    Keys,
    /// The fields of a hash: `HSCAN`.
    Fields,
    /// Members: `SSCAN`, `ZSCAN`.
    Members,
}

impl Walk {
    /// Where the cursor stands; the options are behind it.
    fn cursor_at(self) -> usize {
        match self {
            Self::Keys => 1,
            Self::Fields | Self::Members => 2,
        }
    }
}

/// The options of a walk.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    /// Which keys or elements are answered.
    pub(super) pattern: Pattern<'a>,
    /// About how many are looked at.
    pub(super) count: usize,
    /// Of which type keys are.
    pub(super) type_name: Option<&'a [u8]>,
    /// Whether a hash's values are left out.
    pub(super) no_values: bool,
}

impl<'a> Scan<'a> {
    /// The cursor. It is read before a key is looked up, the options after that: if there is no such key, nobody
    /// complains of them.
    pub(super) fn cursor(args: &Args<'_>, walk: Walk) -> Result<u64, Error> {
        parse_cursor(args.at(walk.cursor_at())).ok_or(Error::Static("ERR invalid cursor"))
    }

    /// The options behind it.
    pub(super) fn parse(args: &Args<'a>, walk: Walk) -> Result<Self, Error> {
        let mut options =
            Self { pattern: Pattern::All, count: 10, type_name: None, no_values: false };
        let mut rest = args.from(walk.cursor_at() + 1);
        while let Some(option) = rest.next() {
            if option.eq_ignore_ascii_case(b"novalues") {
                if walk != Walk::Fields {
                    let refused = "ERR NOVALUES option can only be used in HSCAN";
                    return Err(Error::Static(refused));
                }
                options.no_values = true;
                continue;
            }
            let value = rest.next().ok_or(Error::Syntax)?;
            if option.eq_ignore_ascii_case(b"match") {
                options.pattern = Pattern::new(value);
            } else if option.eq_ignore_ascii_case(b"count") {
                options.count = parse_count(value)?;
            } else if option.eq_ignore_ascii_case(b"type") && walk == Walk::Keys {
                options.type_name = Some(value);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }
}

/// About how many entries or elements a step of a walk is to look at.
fn parse_count(value: &[u8]) -> Result<usize, Error> {
    let count = numbers::integer(value)?;
    if count < 1 {
        return Err(Error::Syntax);
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX).min(SCAN_COUNT_MAX))
}
