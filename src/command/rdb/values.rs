//! Values of every type in the RDB format: written in the plain forms, which all versions read, and read in all
//! forms that Redis up to 7.4 writes.
//!
//! ```text
//! list        1   count  element …                      10 ziplist    14 count  ziplist …
//!                                                        18 count  (1 element | 2 listpack) …
//! set         2   count  member …                       11 intset     20 listpack
//! sorted set  3   count  (member  score as text) …      12 ziplist    17 listpack
//!             5   count  (member  f64) …
//! hash        4   count  (field  value) …                9 zipmap     13 ziplist    16 listpack
//!             22  count  (time  field  value) …         23 listpack of field, value, time
//!             24  earliest  count  (ttl  field  value) …  25 earliest  listpack of field, value, time
//! ```
//!
//! Counts are lengths, all else are strings in the RDB format but for `earliest`, a time in milliseconds of 8
//! bytes. Time 0 is none; a `ttl` of more is one more than what is to be added to `earliest`.

use super::forms::{intset, listpack, ziplist, zipmap};
use super::{Source, put_length, put_string};
use crate::collection::{Digits, Element, Value, hash};
use crate::types::UnixMs;

const STRING: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const SORTED_SET_TEXT: u8 = 3;
const HASH: u8 = 4;
const SORTED_SET: u8 = 5;
const ZIPMAP: u8 = 9;
const LIST_ZIPLIST: u8 = 10;
const INTSET: u8 = 11;
const SORTED_SET_ZIPLIST: u8 = 12;
const HASH_ZIPLIST: u8 = 13;
const QUICKLIST: u8 = 14;
const HASH_LISTPACK: u8 = 16;
const SORTED_SET_LISTPACK: u8 = 17;
const QUICKLIST_2: u8 = 18;
const SET_LISTPACK: u8 = 20;
const HASH_TIMED_EARLY: u8 = 22;
const HASH_TIMED_LISTPACK_EARLY: u8 = 23;
const HASH_TIMED: u8 = 24;
const HASH_TIMED_LISTPACK: u8 = 25;

/// The form of a node of a list: an element for itself, or a listpack.
const NODE_PLAIN: usize = 1;
const NODE_PACKED: usize = 2;

/// The version that reads strings, lists, sets and hashes as they are written here, and scores.
const VERSION: u16 = 10;
/// The version that reads hashes whose fields expire.
const VERSION_TIMED: u16 = 12;

/// A field of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) expires_at: Option<UnixMs>,
}

/// A value that was read. Collections have an element at least, and none twice where that makes no sense.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Restored {
    String(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(Vec<Vec<u8>>),
    SortedSet(Vec<(Vec<u8>, f64)>),
    Hash(Vec<Field>),
}

// --- writing -------------------------------------------------------------------------------------

/// Appends a value's type and the value; answers the version that reads it.
pub(super) fn put(out: &mut Vec<u8>, value: &Value<'_>) -> u16 {
    match value {
        Value::String(value) => {
            out.push(STRING);
            put_string(out, value);
        }
        Value::List(list) => {
            put_head(out, LIST, list.len());
            list.visit(0, list.len(), |element| put_element(out, element));
        }
        Value::Set(set) => {
            put_head(out, SET, set.len());
            set.iter().for_each(|member| put_element(out, member));
        }
        Value::SortedSet(set) => {
            put_head(out, SORTED_SET, set.len());
            // From the greatest to the least, as Redis does: it is quicker to load.
            for (member, score) in set.elements(0..set.len()).rev() {
                put_element(out, member);
                out.extend_from_slice(&score.to_le_bytes());
            }
        }
        Value::Hash(hash) => return put_hash(out, *hash),
    }
    VERSION
}

fn put_head(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.push(kind);
    put_length(out, count);
}

fn put_element(out: &mut Vec<u8>, element: Element<'_>) {
    put_string(out, element.bytes(&mut Digits::new()));
}

/// A hash with all its fields, those included whose time has come.
fn put_hash(out: &mut Vec<u8>, hash: hash::View<'_>) -> u16 {
    const EVER: UnixMs = UnixMs(0);
    let Some(earliest) = hash.soonest_expiry() else {
        put_head(out, HASH, hash.len());
        for field in hash.live(EVER) {
            put_element(out, field.field);
            put_element(out, field.value);
        }
        return VERSION;
    };
    out.push(HASH_TIMED);
    out.extend_from_slice(&earliest.0.to_le_bytes());
    put_length(out, hash.len());
    for field in hash.live(EVER) {
        let ttl = field.expires_at.map_or(0, |at| at.0 - earliest.0 + 1);
        put_length(out, usize::try_from(ttl).unwrap_or(usize::MAX));
        put_element(out, field.field);
        put_element(out, field.value);
    }
    VERSION_TIMED
}

// --- reading -------------------------------------------------------------------------------------

/// The value of a payload's body, its type first. What stands behind it is not looked at, as in Redis.
pub(super) fn get(body: &[u8]) -> Option<Restored> {
    let (kind, rest) = body.split_first()?;
    let mut source = Source::of(rest);
    let restored = match *kind {
        STRING => return source.string().map(Restored::String),
        LIST | LIST_ZIPLIST | QUICKLIST | QUICKLIST_2 => list(*kind, &mut source)?,
        SET => Restored::Set(source.strings()?),
        INTSET => Restored::Set(intset(&source.string()?)?),
        SET_LISTPACK => Restored::Set(listpack(&source.string()?)?),
        SORTED_SET | SORTED_SET_TEXT => Restored::SortedSet(scored(*kind, &mut source)?),
        SORTED_SET_ZIPLIST => Restored::SortedSet(scored_pairs(ziplist(&source.string()?)?)?),
        SORTED_SET_LISTPACK => Restored::SortedSet(scored_pairs(listpack(&source.string()?)?)?),
        HASH => Restored::Hash(pairs(source.strings_of(2)?)?),
        ZIPMAP => Restored::Hash(pairs(zipmap(&source.string()?)?)?),
        HASH_ZIPLIST => Restored::Hash(pairs(ziplist(&source.string()?)?)?),
        HASH_LISTPACK => Restored::Hash(pairs(listpack(&source.string()?)?)?),
        HASH_TIMED_EARLY | HASH_TIMED => Restored::Hash(timed(*kind, &mut source)?),
        HASH_TIMED_LISTPACK_EARLY => Restored::Hash(timed_triples(listpack(&source.string()?)?)?),
        HASH_TIMED_LISTPACK => {
            source.fixed()?;
            Restored::Hash(timed_triples(listpack(&source.string()?)?)?)
        }
        _ => return None,
    };
    is_whole(&restored).then_some(restored)
}

/// Whether there are elements, and none twice where that makes no sense.
fn is_whole(restored: &Restored) -> bool {
    fn differ<'a>(names: impl Iterator<Item = &'a [u8]>) -> bool {
        let mut seen = std::collections::HashSet::new();
        let mut count = 0;
        names.inspect(|_| count += 1).all(|name| seen.insert(name)) && count > 0
    }
    match restored {
        Restored::String(_) => true,
        Restored::List(elements) => !elements.is_empty(),
        Restored::Set(members) => differ(members.iter().map(Vec::as_slice)),
        Restored::SortedSet(members) => {
            members.iter().all(|(_, score)| !score.is_nan())
                && differ(members.iter().map(|(member, _)| member.as_slice()))
        }
        Restored::Hash(fields) => differ(fields.iter().map(|field| field.name.as_slice())),
    }
}

fn list(kind: u8, source: &mut Source<'_>) -> Option<Restored> {
    if kind == LIST {
        return source.strings().map(Restored::List);
    }
    if kind == LIST_ZIPLIST {
        return ziplist(&source.string()?).map(Restored::List);
    }
    let mut elements = Vec::new();
    for _ in 0..source.length()? {
        let form = if kind == QUICKLIST_2 { source.length()? } else { 0 };
        let node = source.string()?;
        match (kind, form) {
            (QUICKLIST, _) => elements.extend(ziplist(&node)?),
            (_, NODE_PLAIN) => elements.push(node),
            (_, NODE_PACKED) => elements.extend(listpack(&node)?),
            _ => return None,
        }
    }
    Some(Restored::List(elements))
}

fn scored(kind: u8, source: &mut Source<'_>) -> Option<Vec<(Vec<u8>, f64)>> {
    let mut members = Vec::new();
    for _ in 0..source.length()? {
        let member = source.string()?;
        let score = match kind {
            SORTED_SET => f64::from_bits(source.fixed()?),
            _ => source.score()?,
        };
        members.push((member, score));
    }
    Some(members)
}

fn scored_pairs(elements: Vec<Vec<u8>>) -> Option<Vec<(Vec<u8>, f64)>> {
    let mut elements = elements.into_iter();
    let mut members = Vec::new();
    while let Some(member) = elements.next() {
        members.push((member, std::str::from_utf8(&elements.next()?).ok()?.parse().ok()?));
    }
    Some(members)
}

fn pairs(elements: Vec<Vec<u8>>) -> Option<Vec<Field>> {
    let mut elements = elements.into_iter();
    let mut fields = Vec::new();
    while let Some(name) = elements.next() {
        fields.push(Field { name, value: elements.next()?, expires_at: None });
    }
    Some(fields)
}

fn timed(kind: u8, source: &mut Source<'_>) -> Option<Vec<Field>> {
    let earliest = if kind == HASH_TIMED { source.fixed()? } else { 1 };
    let mut fields = Vec::new();
    for _ in 0..source.length()? {
        let ttl = source.number()?;
        let expires_at = match ttl {
            0 => None,
            ttl => Some(UnixMs(earliest.checked_add(ttl - 1)?)),
        };
        fields.push(Field { name: source.string()?, value: source.string()?, expires_at });
    }
    Some(fields)
}

fn timed_triples(elements: Vec<Vec<u8>>) -> Option<Vec<Field>> {
    let mut elements = elements.into_iter();
    let mut fields = Vec::new();
    while let Some(name) = elements.next() {
        let value = elements.next()?;
        let at: u64 = std::str::from_utf8(&elements.next()?).ok()?.parse().ok()?;
        fields.push(Field { name, value, expires_at: (at > 0).then_some(UnixMs(at)) });
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::super::{PayloadError, restore, seal};
    use super::{Field, Restored, UnixMs};

    fn bytes(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    fn fields(triples: &[(&str, &str, u64)]) -> Restored {
        let field = |(name, value, at): &(&str, &str, u64)| Field {
            name: name.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
            expires_at: (*at > 0).then_some(UnixMs(*at)),
        };
        Restored::Hash(triples.iter().map(field).collect())
    }

    fn scores(pairs: &[(&str, f64)]) -> Restored {
        Restored::SortedSet(pairs.iter().map(|(m, s)| (m.as_bytes().to_vec(), *s)).collect())
    }

    /// What Redis 7.0.15 dumps of collections, small and large.
    #[test]
    fn payloads_of_redis_are_read() {
        let rows: [(&[u8], Restored); 8] = [
            (b"\x12\x01\x02\x11\x11\x00\x00\x00\x04\x00\x81a\x02\x01\x01\xde\xd4\x02\x80\x01\xff\x0a\x00\xb5\xe6\xc2sC\xc6\xc7\xaa",
             Restored::List(bytes(&["a", "1", "-300", ""]))),
            (b"\x12\x02\x02\x0e\x0e\x00\x00\x00\x01\x00\x85xxxxx\x06\xff\x02\x0a\x0a\x00\x00\x00\x01\x00\x81y\x02\xff\x0a\x00B\x89\x12\xc9\xfa\xcf\x16Q",
             Restored::List(bytes(&["xxxxx", "y"]))),
            (b"\x0b\x14\x04\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00p\x11\x01\x00\x0a\x00I\x93@\xedT\xefJ\xfa",
             Restored::Set(bytes(&["1", "3", "70000"]))),
            (b"\x02\x03\x01b\x01a\xc0\x01\x0a\x00\x17\xa8\x9f4\x071\xc3\xde",
             Restored::Set(bytes(&["b", "a", "1"]))),
            (b"\x11\x1d\x1d\x00\x00\x00\x06\x00\x81c\x02\xdf\xfe\x02\x81a\x02\x831.5\x04\x81b\x02\x83inf\x04\xff\x0a\x00m\x8e\xa4j\xd5\xa7\xed\x90",
             scores(&[("c", -2.0), ("a", 1.5), ("b", f64::INFINITY)])),
            (b"\x05\x03\x01b\x00\x00\x00\x00\x00\x00\xf0\x7f\x01a\x00\x00\x00\x00\x00\x00\xf8?\x01c\x00\x00\x00\x00\x00\x00\x00\xc0\x0a\x00}\xc2\x7f\x02\xe7\x8a\x19q",
             scores(&[("b", f64::INFINITY), ("a", 1.5), ("c", -2.0)])),
            (b"\x10\x12\x12\x00\x00\x00\x04\x00\x81f\x02\x81v\x02\x81n\x02\x0c\x01\xff\x0a\x00\x016\x94\x81\xd3[\x89t",
             fields(&[("f", "v", 0), ("n", "12", 0)])),
            (b"\x04\x02\x01n\xc0\x0c\x01f\x01v\x0a\x00Q\xa9iH\xd7\xae\xf9\x81",
             fields(&[("n", "12", 0), ("f", "v", 0)])),
        ];
        for (payload, expected) in rows {
            assert_eq!(restore(payload), Ok(expected), "{}", payload.escape_ascii());
        }
    }

    fn read(body: &[u8], version: u16) -> Result<Restored, PayloadError> {
        let mut payload = body.to_vec();
        seal(&mut payload, version);
        restore(&payload)
    }

    /// The forms of versions before and after, by their layouts.
    #[test]
    fn other_forms_are_read() {
        let ziplist = b"\x1c\x1c\0\0\0\x16\0\0\0\x05\0\0\x01a\x03\xf3\x02\xfe\x80\x03\xc0\x39\x30\x04\xf0\x40\x42\x0f\xff";
        let list = Restored::List(bytes(&["a", "2", "-128", "12345", "1000000"]));
        let rows: Vec<(Vec<u8>, Restored)> = vec![
            ([&b"\x0a"[..], ziplist].concat(), list.clone()),
            ([&b"\x0e\x01"[..], ziplist].concat(), list),
            (b"\x01\x02\x01a\xc0\x05".to_vec(), Restored::List(bytes(&["a", "5"]))),
            (b"\x12\x01\x01\x03abc".to_vec(), Restored::List(bytes(&["abc"]))),
            (
                b"\x14\x0c\x0c\0\0\0\x02\0\x81a\x02\x05\x01\xff".to_vec(),
                Restored::Set(bytes(&["a", "5"])),
            ),
            (
                b"\x03\x02\x01a\x031.5\x01b\xff".to_vec(),
                scores(&[("a", 1.5), ("b", f64::NEG_INFINITY)]),
            ),
            (
                b"\x0c\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf3\xff".to_vec(),
                scores(&[("a", 2.0)]),
            ),
            (
                b"\x0d\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf3\xff".to_vec(),
                fields(&[("a", "2", 0)]),
            ),
            (
                b"\x09\x0d\x02\x01a\x02\x01xyz\x01b\x00\x00\xff".to_vec(),
                fields(&[("a", "xy", 0), ("b", "", 0)]),
            ),
            (
                b"\x16\x02\x81\0\0\0\0\0\0\x03\xe9\x01a\x01x\x00\x01b\x01y".to_vec(),
                fields(&[("a", "x", 1001), ("b", "y", 0)]),
            ),
            (
                b"\x18\xe8\x03\0\0\0\0\0\0\x03\x01\x01a\x01x\x0b\x01c\x01z\x00\x01b\x01y".to_vec(),
                fields(&[("a", "x", 1000), ("c", "z", 1010), ("b", "y", 0)]),
            ),
            (
                b"\x17\x10\x10\0\0\0\x03\0\x81a\x02\x81x\x02\xc3\xe8\x02\xff".to_vec(),
                fields(&[("a", "x", 1000)]),
            ),
            (
                b"\x19\xe8\x03\0\0\0\0\0\0\x10\x10\0\0\0\x03\0\x81a\x02\x81x\x02\xc3\xe8\x02\xff"
                    .to_vec(),
                fields(&[("a", "x", 1000)]),
            ),
        ];
        for (body, expected) in rows {
            assert_eq!(read(&body, 12), Ok(expected), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let rows: [&[u8]; 16] = [
            // Nothing in it.
            b"\x01\x00",
            b"\x02\x00",
            b"\x04\x00",
            b"\x05\x00",
            b"\x12\x00",
            // Twice the same.
            b"\x02\x02\x01a\x01a",
            b"\x04\x02\x01a\x01x\x01a\x01y",
            b"\x05\x02\x01a\0\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\0",
            // No number, half a pair, no node of a list, lengths that don't fit.
            b"\x03\x01\x01a\xfd",
            b"\x10\x0b\x0b\0\0\0\x01\0\x83abc\x04\xff",
            b"\x12\x01\x03\x03abc",
            b"\x14\x0b\x0c\0\0\0\x02\0\x81a\x02\x05\x01\xff",
            b"\x0b\x0c\x02\0\0\0\x03\0\0\0\x01\0\x02\0",
            b"\x0a\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x3fa\x03\xf3\xff",
            b"\x09\x05\x01\x09a\x00\xff",
            b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x01a\x01x",
        ];
        for body in rows {
            assert_eq!(read(body, 12), Err(PayloadError::Format), "{}", body.escape_ascii());
        }
        // A count that nothing stands behind takes no memory.
        assert_eq!(read(b"\x02\x80\x1f\xff\xff\xff\x01a", 12), Err(PayloadError::Format));
    }
}
