//! How a value of each type is laid out in an RDB file: enough to find its end without decoding it.
//!
//! After Redis's `rdb.h` and `rdbLoadObject` in `rdb.c`, versions 1 to 12.

use super::Kind;

/// A piece of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// So many bytes.
    Bytes(u64),
    /// A length, or a number written as one.
    Length,
    /// A string in any of its forms.
    String,
    /// A score as text: a byte tells its length, or that it is infinite or no number.
    Score,
    /// A length, and so many times these parts.
    Times(&'static [Part]),
    /// A module's number, then its values, each with its type in front, and an end.
    Module,
}

/// A type byte, and what follows the key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The byte.
    pub(super) byte: u8,
    /// The type that users know.
    pub(super) kind: Kind,
    /// The RDB version that brought it: servers from then on can read it.
    pub(super) since: u16,
    /// The value.
    pub(super) parts: &'static [Part],
}

/// The type byte of a string.
pub(super) const STRING: u8 = 0;
/// The type byte of a module's value as release candidates of Redis 4.0 wrote it: its end can't be found.
pub(super) const MODULE_PRE_RELEASE: u8 = 6;

const BLOB: &[Part] = &[Part::String];
const BLOBS: &[Part] = &[Part::Times(&[Part::String])];
const PAIRS: &[Part] = &[Part::Times(&[Part::String, Part::String])];

/// Entries pending for a group: the entry's id and the time of its delivery, then how often.
const PENDING: Part = Part::Times(&[Part::Bytes(24), Part::Length]);
/// Ids of entries pending for a consumer.
const CONSUMER_PENDING: Part = Part::Times(&[Part::Bytes(16)]);
/// Nodes: an id and a listpack of entries.
const NODES: Part = Part::Times(&[Part::String, Part::String]);

/// Nodes; length and last id; groups of a name, a last id, what is pending, and consumers.
const STREAM: &[Part] = &[
    NODES,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Times(&[
        Part::String,
        Part::Length,
        Part::Length,
        PENDING,
        Part::Times(&[Part::String, Part::Bytes(8), CONSUMER_PENDING]),
    ]),
];
/// Further the first id, the greatest deleted id, the entries ever added; groups with entries read.
const STREAM_2: &[Part] = &[
    NODES,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Times(&[
        Part::String,
        Part::Length,
        Part::Length,
        Part::Length,
        PENDING,
        Part::Times(&[Part::String, Part::Bytes(8), CONSUMER_PENDING]),
    ]),
];
/// Further the time at which a consumer was active.
const STREAM_3: &[Part] = &[
    NODES,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Length,
    Part::Times(&[
        Part::String,
        Part::Length,
        Part::Length,
        Part::Length,
        PENDING,
        Part::Times(&[Part::String, Part::Bytes(16), CONSUMER_PENDING]),
    ]),
];

/// Fields with a time to live each.
const FIELDS_WITH_TTL: Part = Part::Times(&[Part::Length, Part::String, Part::String]);

#[rustfmt::skip]
const SHAPES: &[Shape] = &[
    Shape { byte: STRING, kind: Kind::String, since: 1, parts: BLOB },
    Shape { byte: 1, kind: Kind::List, since: 1, parts: BLOBS },
    Shape { byte: 2, kind: Kind::Set, since: 1, parts: BLOBS },
    Shape { byte: 3, kind: Kind::SortedSet, since: 1, parts: &[Part::Times(&[Part::String, Part::Score])] },
    Shape { byte: 4, kind: Kind::Hash, since: 1, parts: PAIRS },
    // Scores as binary numbers.
    Shape { byte: 5, kind: Kind::SortedSet, since: 8, parts: &[Part::Times(&[Part::String, Part::Bytes(8)])] },
    Shape { byte: 7, kind: Kind::Module, since: 8, parts: &[Part::Module] },
    // A zipmap, three ziplists with an intset between them, all inside a string.
    Shape { byte: 9, kind: Kind::Hash, since: 2, parts: BLOB },
    Shape { byte: 10, kind: Kind::List, since: 2, parts: BLOB },
    Shape { byte: 11, kind: Kind::Set, since: 2, parts: BLOB },
    Shape { byte: 12, kind: Kind::SortedSet, since: 2, parts: BLOB },
    Shape { byte: 13, kind: Kind::Hash, since: 4, parts: BLOB },
    // A list of ziplists.
    Shape { byte: 14, kind: Kind::List, since: 7, parts: BLOBS },
    Shape { byte: 15, kind: Kind::Stream, since: 9, parts: STREAM },
    // Listpacks inside a string; a list of listpacks, each with the form it is in.
    Shape { byte: 16, kind: Kind::Hash, since: 10, parts: BLOB },
    Shape { byte: 17, kind: Kind::SortedSet, since: 10, parts: BLOB },
    Shape { byte: 18, kind: Kind::List, since: 10, parts: &[Part::Times(&[Part::Length, Part::String])] },
    Shape { byte: 19, kind: Kind::Stream, since: 10, parts: STREAM_2 },
    Shape { byte: 20, kind: Kind::Set, since: 11, parts: BLOB },
    Shape { byte: 21, kind: Kind::Stream, since: 11, parts: STREAM_3 },
    // Hashes whose fields expire, before and after the release of Redis 7.4: then with the earliest
    // time of all in front.
    Shape { byte: 22, kind: Kind::Hash, since: 12, parts: &[FIELDS_WITH_TTL] },
    Shape { byte: 23, kind: Kind::Hash, since: 12, parts: BLOB },
    Shape { byte: 24, kind: Kind::Hash, since: 12, parts: &[Part::Bytes(8), FIELDS_WITH_TTL] },
    Shape { byte: 25, kind: Kind::Hash, since: 12, parts: &[Part::Bytes(8), Part::String] },
];

/// The shape that a type byte announces.
pub(super) fn find(byte: u8) -> Option<&'static Shape> {
    SHAPES.iter().find(|shape| shape.byte == byte)
}
