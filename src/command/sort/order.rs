//! What elements are ordered by: themselves, or what patterns get for them.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::Order;
use crate::collection::{Digits, Element, Value};
use crate::command::{Error, Exec};
use crate::double;
use crate::protocol::Args;

/// An element, and what it is ordered by.
#[derive(Debug)]
pub(super) struct Weighed {
    pub(super) weight: Weight,
    pub(super) element: Vec<u8>,
}

/// What an element is ordered by.
#[derive(Debug)]
pub(super) enum Weight {
    /// Nothing.
    None,
    Number(f64),
    /// The element's own bytes.
    Itself,
    /// None is before all others.
    Text(Option<Vec<u8>>),
}

impl Weight {
    pub(super) fn of(
        exec: &Exec<'_>,
        args: &Args<'_>,
        element: Element<'_>,
        order: Order,
    ) -> Result<Self, Error> {
        const NO_NUMBER: Error =
            Error::Static("ERR One or more scores can't be converted into double");
        let look_up = |by| look_up(exec, args.at(by), element);
        let number = match order {
            Order::None | Order::Backwards => return Ok(Self::None),
            Order::Texts(None) => return Ok(Self::Itself),
            Order::Texts(Some(by)) => return Ok(Self::Text(look_up(by).map(Cow::into_owned))),
            Order::Numbers(None) => number(element),
            Order::Numbers(Some(by)) => look_up(by).map_or(Some(0.0), |value| parse_number(&value)),
        };
        number.map(Self::Number).ok_or(NO_NUMBER)
    }
}

/// The order of elements that are all weighed alike.
pub(super) fn ascending(one: &Weighed, other: &Weighed) -> Ordering {
    match (&one.weight, &other.weight) {
        (Weight::None, Weight::None) => Ordering::Equal,
        (Weight::Itself, Weight::Itself) => one.element.cmp(&other.element),
        (Weight::Text(a), Weight::Text(b)) => a.cmp(b),
        (Weight::Number(a), Weight::Number(b)) => {
            let by_number = a.partial_cmp(b).unwrap_or(Ordering::Equal);
            by_number.then_with(|| one.element.cmp(&other.element))
        }
        _ => unreachable!("all are weighed alike"),
    }
}

/// The opposite.
pub(super) fn descending(one: &Weighed, other: &Weighed) -> Ordering {
    ascending(one, other).reverse()
}

#[expect(clippy::cast_precision_loss, reason = "as Redis compares")]
fn number(element: Element<'_>) -> Option<f64> {
    match element {
        Element::Int(number) => Some(number as f64),
        Element::Bytes(bytes) => parse_number(bytes),
    }
}

/// The number at the start of a text that has nothing else in it: blanks may stand before, a zero byte ends it, and no
/// text at all is zero.
fn parse_number(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next()?;
    if text.is_empty() {
        return Some(0.0);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let blanks = text.iter().take_while(|byte| is_blank(byte)).count();
    double::parse(&text[blanks..])
}

fn bytes_of(element: Element<'_>) -> Cow<'_, [u8]> {
    match element {
        Element::Bytes(bytes) => Cow::Borrowed(bytes),
        Element::Int(_) => Cow::Owned(element.to_vec()),
    }
}

/// What a pattern gets for an element: `#` the element itself, `key*` the value of the key with the element in place of the
/// star, `key*->field` a field of the hash there.
pub(super) fn look_up<'e>(
    exec: &'e Exec<'_>,
    pattern: &[u8],
    element: Element<'e>,
) -> Option<Cow<'e, [u8]>> {
    if pattern == b"#" {
        return Some(bytes_of(element));
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let (before, behind) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = behind.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < behind.len());
    let (behind, field) = match arrow {
        Some(at) => (&behind[..at], Some(&behind[at + 2..])),
        None => (behind, None),
    };
    let name = [before, element.bytes(&mut Digits::new()), behind].concat();
    match (exec.peek_value(exec.key(&name))?, field) {
        (Value::String(value), None) => Some(Cow::Borrowed(value)),
        (Value::Hash(view), Some(field)) => {
            view.get(field, exec.now.unix).map(|entry| bytes_of(entry.value))
        }
        _ => None,
    }
}
