//! `SORT` and `SORT_RO`: the elements of a list, a set or a sorted set in another order.
//!
//! Elements are ordered by themselves or by what other keys hold (`BY`), and answered as they are or as what other
//! keys hold (`GET`): each pattern names a key for each element. The row can't tell these keys, so that with
//! patterns the command holds all shards. Nothing is copied until the answer is known: elements and weights are
//! looked at where they lie.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::elements::reply_element;
use super::events;
use super::exec::Exec;
use super::numbers::integer;
use super::strings::reply_length;
use super::{Command, DataHandler, Error, Flags, Group, Handler, Keys};
use crate::cache::Access;
use crate::collection::list::End;
use crate::collection::{Digits, Element, List, Value};
use crate::double;
use crate::protocol::{Args, Reply};
use crate::types::{Key, Slot, key_slot};

type Answer = Result<(), Error>;

/// The commands of this group.
pub const COMMANDS: &[Command] = &[
    Command {
        flags: Flags::WRITE.union(Flags::DENYOOM).union(COMMON),
        keys: Keys::FirstAndStore,
        ..row("sort", sort)
    }
    .doc(
        "1.0.0",
        "Answers the elements of a list, a set or a sorted set in order, or stores them.",
    ),
    Command { flags: Flags::READONLY.union(COMMON), ..row("sort_ro", sort_ro) }
        .doc("7.0.0", "Answers the elements of a list, a set or a sorted set in order."),
];

const COMMON: Flags = Flags::MOVABLE_KEYS.union(Flags::DANGEROUS).union(Flags::LONG);

const fn row(name: &'static str, handler: DataHandler) -> Command {
    Command {
        name,
        arity: -2,
        flags: Flags::empty(),
        keys: Keys::ONE,
        handler: Handler::KeyedOrAll(handler, names_patterns),
        group: Group::Generic,
        summary: "",
        since: "",
        complexity: "O(N * log(N) + M) with the number of elements and the number of those answered",
    }
}

/// Options with a number of arguments of their own.
const OPTIONS: [(&[u8], usize); 4] = [(b"LIMIT", 2), (b"STORE", 1), (b"BY", 1), (b"GET", 1)];

/// Whether a request looks at keys that it does not name.
fn names_patterns(args: &Args<'_>) -> bool {
    let mut names = false;
    each_option(args, |option, at| {
        let is_pattern = args.get(at + 1).is_some_and(|pattern| pattern.contains(&b'*'));
        names |= matches!(option, b"BY" | b"GET") && is_pattern;
    });
    names
}

/// Where the key stands that the answer is stored at, if it is.
pub(super) fn store_position(args: &Args<'_>) -> Option<usize> {
    let mut position = None;
    each_option(args, |option, at| {
        if option == b"STORE" && at + 1 < args.len() {
            position = Some(at + 1);
        }
    });
    position
}

/// Calls `visit` with each option that takes arguments, and where it stands.
fn each_option(args: &Args<'_>, mut visit: impl FnMut(&[u8], usize)) {
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let option = OPTIONS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        if let Some((name, taken)) = option {
            visit(name, at);
            at += taken;
        }
        at += 1;
    }
}

/// What follows the key.
#[derive(Debug)]
struct Options<'a> {
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    store: Option<&'a [u8]>,
    /// How many elements are left out, and how many are answered at most; all if that is negative.
    limit: (i64, i64),
    descending: bool,
    alpha: bool,
}

impl<'a> Options<'a> {
    fn parse(exec: &Exec<'_>, args: &Args<'a>, may_store: bool) -> Result<Self, Error> {
        let slot = exec.view.cluster.then(|| key_slot(args.at(1)));
        let (mut descending, mut alpha, mut limit) = (false, false, (0, -1));
        let (mut by, mut get, mut store) = (None, Vec::new(), None);
        let mut rest = args.from(2);
        while let Some(word) = rest.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"ASC") || is(b"DESC") {
                descending = is(b"DESC");
                continue;
            } else if is(b"ALPHA") {
                alpha = true;
                continue;
            }
            let argument = rest.next().ok_or(Error::Syntax)?;
            if is(b"LIMIT") {
                let count = rest.next().ok_or(Error::Syntax)?;
                limit = (integer(argument)?, integer(count)?);
            } else if is(b"STORE") && may_store {
                store = Some(argument);
            } else if is(b"BY") {
                if argument.contains(&b'*') && slot.is_some_and(|slot| !stays_in(argument, slot)) {
                    return Err(denied("BY"));
                }
                by = Some(argument);
            } else if is(b"GET") {
                if argument != b"#" && slot.is_some_and(|slot| !stays_in(argument, slot)) {
                    return Err(denied("GET"));
                }
                get.push(argument);
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(Self { by, get, store, limit, descending, alpha })
    }

    /// Which of `length` elements are answered.
    fn window(&self, length: usize) -> std::ops::Range<usize> {
        let at_most = |number: i64| usize::try_from(number).map_or(length, |it| it.min(length));
        let start = at_most(self.limit.0.max(0));
        start..start + at_most(self.limit.1).min(length - start)
    }
}

#[cold]
fn denied(option: &str) -> Error {
    Error::Text(format!(
        "ERR {option} option of SORT denied in cluster mode when keys formed by the pattern may be in different \
         slots."
    ))
}

/// Whether all keys that a pattern can name are of this slot: it has a hash tag before anything that is replaced, or
/// nothing is.
fn stays_in(pattern: &[u8], slot: Slot) -> bool {
    let fixed = pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
    match fixed {
        None => key_slot(pattern) == slot,
        Some(end) => {
            let before = &pattern[..end];
            let tag = before.iter().position(|byte| *byte == b'{').map(|open| &before[open + 1..]);
            // `{}` is no tag: the whole key is hashed.
            tag.and_then(|tag| tag.iter().position(|byte| *byte == b'}')).is_some_and(|at| at > 0)
                && key_slot(before) == slot
        }
    }
}

// --- the commands --------------------------------------------------------------------------------

fn sort(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let options = Options::parse(exec, args, true)?;
    run(exec, args.at(1), &options, reply)
}

fn sort_ro(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let options = Options::parse(exec, args, false)?;
    run(exec, args.at(1), &options, reply)
}

fn run(exec: &mut Exec<'_>, name: &[u8], options: &Options<'_>, reply: &mut Reply<'_>) -> Answer {
    let (key, now, access) = (exec.key(name), exec.now.unix, exec.read_access());
    // Counts as a lookup.
    exec.keyspace(key).contains(key, now, access);
    let elements = ordered(exec, key, options)?;
    let window = &elements[options.window(elements.len())];
    let Some(store) = options.store else {
        answer(exec, window, &options.get, reply);
        return Ok(());
    };
    let stored = results(exec, window, &options.get);
    let key = exec.key(store);
    let changes = !stored.is_empty() || exec.keyspace(key).contains(key, now, Access::Peek);
    exec.replace(key, |list: &mut List, edit| {
        list.push(End::Right, stored.iter().map(|element| &**element), edit);
    });
    if changes {
        exec.tell(key, events::SORTSTORE);
    }
    reply_length(reply, stored.len());
    Ok(())
}

/// Answers elements, or what patterns get for them.
fn answer(exec: &Exec<'_>, elements: &[Element<'_>], get: &[&[u8]], reply: &mut Reply<'_>) {
    reply.array(elements.len() * get.len().max(1));
    for element in elements {
        if get.is_empty() {
            reply_element(reply, *element);
        }
        for pattern in get {
            match look_up(exec, pattern, *element) {
                Some(value) => reply.bulk(&value),
                None => reply.null(),
            }
        }
    }
}

/// The same, to be stored: nothing is no bytes there.
fn results(exec: &Exec<'_>, elements: &[Element<'_>], get: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut results = Vec::with_capacity(elements.len() * get.len().max(1));
    for element in elements {
        if get.is_empty() {
            results.push(element.to_vec());
        }
        let values = get.iter().map(|pattern| look_up(exec, pattern, *element));
        results.extend(values.map(|value| value.unwrap_or_default().into_owned()));
    }
    results
}

// --- the order -----------------------------------------------------------------------------------

/// What an element is ordered by.
enum Weight<'e> {
    Number(f64),
    /// None is before all others.
    Text(Option<Cow<'e, [u8]>>),
}

/// The elements of a key in the order that is asked for.
fn ordered<'e>(
    exec: &'e Exec<'_>,
    key: Key<'_>,
    options: &Options<'_>,
) -> Result<Vec<Element<'e>>, Error> {
    let (by, mut alpha) = (options.by.filter(|by| by.contains(&b'*')), options.alpha);
    let mut is_sorted = options.by.is_none() || by.is_some();
    let is_backwards = options.descending && !is_sorted;
    let mut elements: Vec<Element<'e>> = match exec.peek_value(key) {
        None => Vec::new(),
        Some(Value::List(view)) if is_backwards => view.iter().rev().collect(),
        Some(Value::List(view)) => view.iter().collect(),
        Some(Value::Set(view)) => {
            if !is_sorted && options.store.is_some() {
                // What is stored must not depend on where members happen to lie.
                (is_sorted, alpha) = (true, true);
            }
            view.iter().collect()
        }
        Some(Value::SortedSet(view)) => {
            let members = view.elements(0..view.len()).map(|(member, _)| member);
            if is_backwards { members.rev().collect() } else { members.collect() }
        }
        Some(Value::String(_) | Value::Hash(_)) => return Err(Error::WrongType),
    };
    if !is_sorted {
        return Ok(elements);
    }
    let weight = |element: &Element<'e>| weight(exec, *element, by, alpha);
    let weights = elements.iter().map(weight).collect::<Result<Vec<_>, _>>()?;
    let mut weighed: Vec<_> = weights.into_iter().zip(elements.drain(..)).collect();
    weighed.sort_by(|one, other| {
        let order = compare(one, other);
        if options.descending { order.reverse() } else { order }
    });
    Ok(weighed.into_iter().map(|(_, element)| element).collect())
}

fn weight<'e>(
    exec: &'e Exec<'_>,
    element: Element<'e>,
    by: Option<&[u8]>,
    alpha: bool,
) -> Result<Weight<'e>, Error> {
    const NO_NUMBER: Error = Error::Static("ERR One or more scores can't be converted into double");
    let value = match by {
        None if alpha => Some(bytes_of(element)),
        None => return number(element).map(Weight::Number).ok_or(NO_NUMBER),
        Some(pattern) => look_up(exec, pattern, element),
    };
    if alpha {
        return Ok(Weight::Text(value));
    }
    let number = value.map_or(Some(0.0), |value| parse_number(&value));
    number.map(Weight::Number).ok_or(NO_NUMBER)
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

fn compare(one: &(Weight<'_>, Element<'_>), other: &(Weight<'_>, Element<'_>)) -> Ordering {
    match (&one.0, &other.0) {
        (Weight::Number(a), Weight::Number(b)) => {
            let by_number = a.partial_cmp(b).unwrap_or(Ordering::Equal);
            by_number.then_with(|| bytes_of(one.1).cmp(&bytes_of(other.1)))
        }
        (Weight::Text(a), Weight::Text(b)) => a.cmp(b),
        (Weight::Number(_), Weight::Text(_)) | (Weight::Text(_), Weight::Number(_)) => {
            unreachable!("all are weighed alike")
        }
    }
}

fn bytes_of(element: Element<'_>) -> Cow<'_, [u8]> {
    match element {
        Element::Bytes(bytes) => Cow::Borrowed(bytes),
        Element::Int(_) => Cow::Owned(element.to_vec()),
    }
}

// --- what patterns name --------------------------------------------------------------------------

/// What a pattern gets for an element: `#` the element itself, `key*` the value of the key with the element in place of the
/// star, `key*->field` a field of the hash there.
fn look_up<'e>(exec: &'e Exec<'_>, pattern: &[u8], element: Element<'e>) -> Option<Cow<'e, [u8]>> {
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

#[cfg(test)]
pub(crate) mod tests;
