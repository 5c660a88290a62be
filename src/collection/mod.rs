//! Values that have elements: hashes, lists, sets and sorted sets.
//!
//! A collection knows neither its key nor the time nor where it is kept. While it is small it is one block of
//! bytes, which the cache keeps as it keeps a string ([`packed`]); once it exceeds a threshold of
//! [`Thresholds`] it becomes a structure of its own in the heap ([`Collection::Large`]), and stays one.
//!
//! Every change is made through an [`Edit`], which notes it as an operation: the same operations made again on
//! the same collection come to the same elements, and made again on a collection that has seen some of them
//! already they come to the same elements too, lists excepted. What is random or a matter of time is decided
//! before an operation is noted.

pub mod edit;
pub mod element;
pub mod hash;
pub mod heap;
pub mod list;
pub mod packed;
pub mod set;
pub mod sorted_set;
pub mod table;

pub use edit::{Edit, OpReader};
pub use element::{Digits, Element};
pub use hash::Hash;
pub use list::List;
pub use set::Set;
pub use sorted_set::SortedSet;

use crate::types::UnixMs;

/// What kind of collection, by Redis's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// `list`
    List = 1,
    /// `set`
    Set = 2,
    /// `zset`
    SortedSet = 3,
    /// `hash`
    Hash = 4,
}

impl Kind {
    /// What `TYPE` answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Set => "set",
            Self::SortedSet => "zset",
            Self::Hash => "hash",
        }
    }
}

/// The first byte of what the cache keeps for a collection: its kind in the lower half, its form in the upper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub u8);

impl Tag {
    const LARGE: u8 = 0xf0;

    /// A block; `variant` tells blocks of one kind apart and is less than 15.
    pub const fn block(kind: Kind, variant: u8) -> Self {
        assert!(variant < 15);
        Self(kind as u8 | variant << 4)
    }

    /// In place of a structure in the heap.
    pub const fn large(kind: Kind) -> Self {
        Self(kind as u8 | Self::LARGE)
    }

    /// The kind, if there is one of that number.
    pub const fn kind(self) -> Option<Kind> {
        match self.0 & 0xf {
            1 => Some(Kind::List),
            2 => Some(Kind::Set),
            3 => Some(Kind::SortedSet),
            4 => Some(Kind::Hash),
            _ => None,
        }
    }

    /// Which of a kind's blocks it is.
    pub fn variant(self) -> u8 {
        self.0 >> 4
    }

    /// Whether it stands for a structure in the heap.
    pub fn is_large(self) -> bool {
        self.0 & Self::LARGE == Self::LARGE
    }
}

/// Up to which size collections are blocks. Redis's settings and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// `hash-max-listpack-entries`
    pub hash_entries: usize,
    /// `hash-max-listpack-value`, in bytes.
    pub hash_value_bytes: usize,
    /// `list-max-listpack-size`: elements, or if negative a number of [`LIST_BYTES`].
    pub list_size: i64,
    /// `set-max-intset-entries`
    pub set_intset_entries: usize,
    /// `set-max-listpack-entries`
    pub set_entries: usize,
    /// `set-max-listpack-value`, in bytes.
    pub set_value_bytes: usize,
    /// `zset-max-listpack-entries`
    pub zset_entries: usize,
    /// `zset-max-listpack-value`, in bytes.
    pub zset_value_bytes: usize,
}

/// Bytes of a list's block for a `list-max-listpack-size` of -1 to -5.
pub const LIST_BYTES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            hash_entries: 512,
            hash_value_bytes: 64,
            list_size: -2,
            set_intset_entries: 512,
            set_entries: 128,
            set_value_bytes: 64,
            zset_entries: 128,
            zset_value_bytes: 64,
        }
    }
}

/// The bytes are no collection, or no operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the elements make no sense")]
pub struct Nonsense;

/// What the cache keeps of a collection between two commands.
#[derive(Debug)]
pub enum Form<L> {
    /// A block, its [`Tag`] first.
    Block(Vec<u8>),
    /// A structure in the heap.
    Large(Box<L>),
}

/// A collection in the hands of a command that changes it.
pub trait Collection: Sized {
    /// Its kind.
    const KIND: Kind;
    /// What it is once it is large.
    type Large: Large;
    /// All that readers see of it; see [`Collection::view`].
    type View<'a>
    where
        Self: 'a;

    /// An empty one, in memory that is used again.
    fn empty(memory: Vec<u8>) -> Self;
    /// One as it was kept. A block is one that [`Collection::into_form`] gave out or
    /// [`Collection::check`] found good.
    fn of(form: Form<Self::Large>) -> Self;
    /// What is to be kept of it.
    fn into_form(self) -> Form<Self::Large>;
    /// Whether a block from outside is one of this kind, and good.
    fn check(block: &[u8]) -> bool;
    /// How many elements (fields, members) it has.
    fn len(&self) -> usize;
    /// Whether it has none: then its key is to go.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// When the first of its elements expires, if any does.
    #[inline]
    fn soonest_expiry(&self) -> Option<UnixMs> {
        None
    }
    /// What a block that is kept holds.
    fn view_block(block: &[u8]) -> Self::View<'_>;
    /// What a structure holds.
    fn view_large(large: &Self::Large) -> Self::View<'_>;
    /// What it holds.
    fn view(&self) -> Self::View<'_>;
    /// Makes operations again that an [`Edit`] noted; with this edit they are noted again.
    ///
    /// # Errors
    /// If they make no sense; those before are made.
    fn replay(&mut self, ops: &mut OpReader<'_>, edit: &mut Edit<'_>) -> Result<(), Nonsense>;
}

/// What is freed a little at a time.
pub trait Garbage: std::fmt::Debug + Send {
    /// As [`Large::memory_bytes`].
    fn memory_bytes(&self) -> usize;
    /// As [`Large::free_some`].
    fn free_some(&mut self, elements: usize) -> bool;
}

impl<L: Large> Garbage for L {
    fn memory_bytes(&self) -> usize {
        Large::memory_bytes(self)
    }

    fn free_some(&mut self, elements: usize) -> bool {
        Large::free_some(self, elements)
    }
}

/// A collection that is a structure in the heap.
pub trait Large: std::fmt::Debug + Send + Sized + 'static {
    /// Bytes of heap memory that it takes, itself included, about as the allocator counts them. At once.
    fn memory_bytes(&self) -> usize;
    /// Frees about `elements` of its elements, which nobody looks for any more; true once there is nothing left
    /// to free.
    fn free_some(&mut self, elements: usize) -> bool;
    /// Appends operations that make these elements, from `from` on (0 for the first), until `bytes` are there or a
    /// little more; answers where to go on, 0 at the end. Each element that is there from the first call to the
    /// last is among them, whatever is changed in between.
    ///
    /// Where [`Large::copy_to_save`] answers something nothing is changed in between.
    fn save(&self, from: u64, bytes: usize, out: &mut Vec<u8>) -> u64;
    /// What is to be saved in its place, bit by bit while it is changed: all that it holds now. For a kind whose
    /// operations can't be made twice; made at once, whatever its size.
    fn copy_to_save(&self) -> Option<Box<dyn SaveElements>> {
        None
    }
}

/// What is to be done with a collection whose kind is known only when the program runs.
pub trait KindVisitor {
    /// What comes of it.
    type Answer;

    /// Does it.
    fn visit<C: Collection>(self) -> Self::Answer;
}

/// Does what is to be done with a collection of this kind.
pub fn visit_kind<V: KindVisitor>(kind: Kind, visitor: V) -> V::Answer {
    match kind {
        Kind::List => visitor.visit::<List>(),
        Kind::Set => visitor.visit::<Set>(),
        Kind::SortedSet => visitor.visit::<SortedSet>(),
        Kind::Hash => visitor.visit::<Hash>(),
    }
}

/// What a key holds, for readers.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A string.
    String(&'a [u8]),
    /// A list.
    List(list::View<'a>),
    /// A set.
    Set(set::View<'a>),
    /// A sorted set.
    SortedSet(sorted_set::View<'a>),
    /// A hash.
    Hash(hash::View<'a>),
}

impl Value<'_> {
    /// What `TYPE` answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
            Self::List(_) => Kind::List.name(),
            Self::Set(_) => Kind::Set.name(),
            Self::SortedSet(_) => Kind::SortedSet.name(),
            Self::Hash(_) => Kind::Hash.name(),
        }
    }

    /// What `OBJECT ENCODING` answers for a collection; for a string it depends on how it came about.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::String(_) => "raw",
            Self::List(view) => view.encoding(),
            Self::Set(view) => view.encoding(),
            Self::SortedSet(view) => view.encoding(),
            Self::Hash(view) => view.encoding(),
        }
    }

    /// All that it holds, in an order that does not depend on how it lies in memory: to be compared with another.
    pub fn canonical(&self) -> Vec<u8> {
        let mut elements: Vec<Vec<u8>> = match self {
            Self::String(value) => return value.to_vec(),
            Self::List(list) => list.iter().map(|element| element.to_vec()).collect(),
            Self::Set(set) => set.iter().map(|member| member.to_vec()).collect(),
            Self::SortedSet(set) => {
                let element = |(member, score): (Element<'_>, f64)| {
                    [&member.to_vec()[..], &score.to_bits().to_le_bytes()].concat()
                };
                set.elements(0..set.len()).map(element).collect()
            }
            Self::Hash(hash) => {
                // At this time nothing has expired.
                let fields = hash.live(UnixMs(0));
                let text = |field: hash::Entry<'_>| {
                    let [name, value] = [field.field, field.value].map(|element| element.to_vec());
                    format!("{name:?} {value:?} {:?}", field.expires_at).into_bytes()
                };
                fields.map(text).collect()
            }
        };
        if matches!(self, Self::Set(_) | Self::Hash(_)) {
            elements.sort();
        }
        let head = format!("{} {}", self.type_name(), elements.len()).into_bytes();
        elements.insert(0, head);
        elements.join(&b'\n')
    }
}

/// Elements that are saved bit by bit.
pub trait SaveElements: std::fmt::Debug + Send {
    /// As [`Large::save`].
    fn save(&self, from: u64, bytes: usize, out: &mut Vec<u8>) -> u64;
}
