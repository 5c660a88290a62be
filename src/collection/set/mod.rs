//! Sets: different strings in no order.
//!
//! As long as all members are integers and not too many, a set is a block of them in order (`ints.rs`, Redis's
//! intset); as long as it is small otherwise, a block of its members (`packed.rs`, Redis's listpack); else a hash
//! table (`table.rs`). It goes from the first to the last and never back, at the sizes at which Redis does.

mod ints;
#[cfg(test)]
mod tests;
mod view;

pub use ints::Ints;
pub use view::View;

use super::element::{Element, canonical_integer};
use super::heap::heap_bytes;
use super::packed::{BLOCK_BYTES_MAX, HEADER_BYTES, Packed, PackedBuf};
use super::table::{Nothing, Table};
use super::{Collection, Edit, Form, Kind, Large, Nonsense, OpReader, Tag, Thresholds, edit::Op};
use ints::IntsBuf;

const PACKED_VARIANT: u8 = 0;
const INTS_VARIANT: u8 = 1;
const PACKED_TAG: Tag = Tag::block(Kind::Set, PACKED_VARIANT);
const INTS_TAG: Tag = Tag::block(Kind::Set, INTS_VARIANT);
/// Most integers of a block, whatever the threshold.
const INTS_MAX: usize = BLOCK_BYTES_MAX / size_of::<i64>();

/// Operation: a member that is put in.
const ADD: u8 = 1;
/// Operation: a member that is taken out.
const REMOVE: u8 = 2;

/// Different strings, its members.
#[derive(Debug)]
pub struct Set {
    form: Inner,
}

#[derive(Debug)]
enum Inner {
    Ints(IntsBuf),
    Packed(PackedBuf),
    Large(Box<LargeSet>),
}

/// A set that is a structure in the heap.
#[derive(Debug)]
pub struct LargeSet {
    members: Table<Nothing>,
}

impl Set {
    /// Foresees that `count` members are about to be put in, `first` first: so many that a block will not do are
    /// not put into one to begin with, as in Redis.
    pub fn prepare(&mut self, count: usize, first: &[u8], edit: &Edit<'_>) {
        let thresholds = &edit.thresholds;
        let most = match &self.form {
            Inner::Ints(ints) if ints.view().is_empty() => {
                let is_int = canonical_integer(first).is_some();
                if is_int && count <= thresholds.set_intset_entries {
                    return;
                }
                self.leave_ints(thresholds, edit.seed);
                thresholds.set_entries
            }
            Inner::Ints(_) => thresholds.set_intset_entries,
            Inner::Packed(_) => thresholds.set_entries,
            Inner::Large(_) => return,
        };
        if count > most {
            self.become_large(edit.seed);
        }
    }

    /// Puts `member` in; tells whether it is new.
    #[inline]
    pub fn add(&mut self, member: &[u8], edit: &mut Edit<'_>) -> bool {
        let is_new = match &mut self.form {
            Inner::Large(large) => large.members.insert_new(member, ()),
            Inner::Ints(_) | Inner::Packed(_) => {
                self.add_to_block(member, false, &edit.thresholds, edit.seed)
            }
        };
        if is_new && let Some(mut op) = edit.note(ADD) {
            op.bytes(member);
        }
        is_new
    }

    /// Takes `member` out; tells whether it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8], edit: &mut Edit<'_>) -> bool {
        let was_there = match &mut self.form {
            Inner::Large(large) => large.members.remove(member),
            Inner::Ints(ints) => {
                canonical_integer(member).is_some_and(|number| ints.remove(number))
            }
            Inner::Packed(packed) => {
                let found = packed.view().find(Element::of(member), 1).map(|p| p.start..p.end);
                let was_there = found.is_some();
                if let Some(range) = found {
                    packed.remove(range, 1);
                }
                was_there
            }
        };
        if was_there {
            note_removal(member, edit);
        }
        was_there
    }

    /// Takes out `count` members at random, or all if there are no more, and shows each to `visit`. `below` answers
    /// a random number below the one it is given.
    pub fn pop(
        &mut self,
        count: usize,
        mut below: impl FnMut(usize) -> usize,
        edit: &mut Edit<'_>,
        mut visit: impl FnMut(&[u8]),
    ) {
        let len = self.len();
        let mut draw = Draw::new(count, len);
        let mut take = |element: Element<'_>| {
            let mut digits = super::Digits::new();
            let member = element.bytes(&mut digits);
            note_removal(member, edit);
            visit(member);
        };
        match &mut self.form {
            Inner::Ints(ints) if count == 1 && len > 0 => {
                let index = below(len);
                take(Element::Int(ints.view().at(index)));
                ints.remove_at(index);
            }
            Inner::Ints(ints) => ints.retain(|number| {
                let is_drawn = draw.takes(&mut below);
                if is_drawn {
                    take(Element::Int(number));
                }
                !is_drawn
            }),
            Inner::Packed(packed) if count == 1 && len > 0 => {
                let placed = packed.view().nth(below(len)).expect("less than there are");
                let range = placed.start..placed.end;
                take(placed.element);
                packed.remove(range, 1);
            }
            Inner::Packed(packed) => {
                let mut at = HEADER_BYTES;
                while draw.is_on() {
                    let placed = packed.view().at(at);
                    let end = placed.end;
                    if draw.takes(&mut below) {
                        take(placed.element);
                        packed.remove(at..end, 1);
                    } else {
                        at = end;
                    }
                }
            }
            Inner::Large(large) => {
                for _ in 0..count.min(len) {
                    let Some(spot) = large.members.random(&mut below) else { break };
                    take(Element::Bytes(large.members.entry(spot).0));
                    large.members.remove_at(spot);
                }
            }
        }
    }

    /// A set of these members.
    pub fn of_members(members: Table<Nothing>, thresholds: &Thresholds, seed: u64) -> Self {
        if members.len() > thresholds.set_entries.max(thresholds.set_intset_entries) {
            return Self { form: Inner::Large(Box::new(LargeSet { members })) };
        }
        let mut set = Self::empty(Vec::new());
        for (member, ()) in members.iter() {
            set.add_to_block(member, true, thresholds, seed);
        }
        set
    }

    /// Puts `member` into a block, which may become large by it; tells whether it is new, which may be known.
    fn add_to_block(
        &mut self,
        member: &[u8],
        is_known_to_be_new: bool,
        thresholds: &Thresholds,
        seed: u64,
    ) -> bool {
        if let Inner::Ints(ints) = &mut self.form {
            let may_begin = thresholds.set_intset_entries > 0 || !ints.view().is_empty();
            if let Some(number) = canonical_integer(member).filter(|_| may_begin) {
                let is_new = ints.insert(number);
                if is_new && ints.view().len() > thresholds.set_intset_entries.min(INTS_MAX) {
                    self.become_large(seed);
                }
                return is_new;
            }
            self.leave_ints(thresholds, seed);
        }
        if let Inner::Packed(packed) = &mut self.form {
            let element = Element::of(member);
            if !is_known_to_be_new && packed.view().find(element, 1).is_some() {
                return false;
            }
            if packed.view().count() < thresholds.set_entries
                && member.len() <= thresholds.set_value_bytes
                && packed.takes(1, member.len())
            {
                packed.push(element);
                return true;
            }
            self.become_large(seed);
        }
        match &mut self.form {
            Inner::Large(large) => large.members.insert_new(member, ()),
            Inner::Ints(_) | Inner::Packed(_) => unreachable!("just made large"),
        }
    }

    /// A member comes that is no integer.
    #[cold]
    fn leave_ints(&mut self, thresholds: &Thresholds, seed: u64) {
        let Inner::Ints(ints) = &self.form else { return };
        let ints = ints.view();
        let ends = [ints.iter().next(), ints.iter().next_back()];
        let longest = ends.iter().flatten().map(|number| Element::Int(*number).len()).max();
        if ints.len() >= thresholds.set_entries
            || longest.is_some_and(|digits| digits > thresholds.set_value_bytes)
        {
            return self.become_large(seed);
        }
        let mut packed = PackedBuf::new(PACKED_TAG.0, Vec::new());
        ints.iter().for_each(|number| packed.push(Element::Int(number)));
        self.form = Inner::Packed(packed);
    }

    #[cold]
    fn become_large(&mut self, seed: u64) {
        let mut members = Table::new(seed);
        for element in self.view().iter() {
            members.insert_new(element.bytes(&mut super::Digits::new()), ());
        }
        self.form = Inner::Large(Box::new(LargeSet { members }));
    }
}

/// Chooses some of the items that pass by, each as likely as any other (Knuth's algorithm S).
#[derive(Clone, Copy, Debug)]
struct Draw {
    wanted: usize,
    left: usize,
}

impl Draw {
    /// Of `len` items, `count` are to be chosen, or all if there are no more.
    fn new(count: usize, len: usize) -> Self {
        Self { wanted: count.min(len), left: len }
    }

    /// Whether there are any still to be chosen.
    fn is_on(self) -> bool {
        self.wanted > 0
    }

    /// Whether the next item is one of them.
    fn takes(&mut self, below: &mut impl FnMut(usize) -> usize) -> bool {
        let is_drawn = self.is_on() && below(self.left) < self.wanted;
        self.left -= 1;
        self.wanted -= usize::from(is_drawn);
        is_drawn
    }
}

fn note_removal(member: &[u8], edit: &mut Edit<'_>) {
    if let Some(mut op) = edit.note(REMOVE) {
        op.bytes(member);
    }
}

/// Whether the elements of a block are all different.
fn are_different(packed: Packed<'_>) -> bool {
    let mut keys: Vec<(Option<i64>, &[u8])> = packed
        .iter()
        .map(|placed| match placed.element {
            Element::Int(number) => (Some(number), &[][..]),
            Element::Bytes(bytes) => (None, bytes),
        })
        .collect();
    keys.sort_unstable();
    keys.is_sorted_by(|one, next| one < next)
}

impl Collection for Set {
    const KIND: Kind = Kind::Set;
    type Large = LargeSet;
    type View<'a> = View<'a>;

    fn empty(memory: Vec<u8>) -> Self {
        Self { form: Inner::Ints(IntsBuf::new(INTS_TAG.0, memory)) }
    }

    fn of(form: Form<LargeSet>) -> Self {
        let form = match form {
            Form::Block(block) if Tag(block[0]).variant() == INTS_VARIANT => {
                Inner::Ints(IntsBuf::of(block))
            }
            Form::Block(block) => Inner::Packed(PackedBuf::of(block)),
            Form::Large(large) => Inner::Large(large),
        };
        Self { form }
    }

    fn into_form(self) -> Form<LargeSet> {
        match self.form {
            Inner::Ints(ints) => Form::Block(ints.into_block()),
            Inner::Packed(packed) => Form::Block(packed.into_block()),
            Inner::Large(large) => Form::Large(large),
        }
    }

    fn check(block: &[u8]) -> bool {
        match block.first() {
            Some(&tag) if tag == INTS_TAG.0 => Ints::check(block).is_some(),
            Some(&tag) if tag == PACKED_TAG.0 => Packed::check(block, 1).is_some_and(are_different),
            _ => false,
        }
    }

    #[inline]
    fn len(&self) -> usize {
        self.view().len()
    }

    #[inline]
    fn view_block(block: &[u8]) -> View<'_> {
        match Tag(block[0]).variant() {
            INTS_VARIANT => View::Ints(Ints::new(block)),
            _ => View::Packed(Packed::new(block)),
        }
    }

    #[inline]
    fn view_large(large: &LargeSet) -> View<'_> {
        View::Large(large)
    }

    #[inline]
    fn view(&self) -> View<'_> {
        match &self.form {
            Inner::Ints(ints) => View::Ints(ints.view()),
            Inner::Packed(packed) => View::Packed(packed.view()),
            Inner::Large(large) => View::Large(large),
        }
    }

    fn replay(&mut self, ops: &mut OpReader<'_>, edit: &mut Edit<'_>) -> Result<(), Nonsense> {
        while let Some(code) = ops.next() {
            let member = ops.bytes()?;
            match code {
                ADD => self.add(member, edit),
                REMOVE => self.remove(member, edit),
                _ => return Err(Nonsense),
            };
        }
        Ok(())
    }
}

impl Large for LargeSet {
    fn memory_bytes(&self) -> usize {
        heap_bytes(size_of::<Self>()) + self.members.memory_bytes()
    }

    fn free_some(&mut self, elements: usize) -> bool {
        self.members.free_some(elements)
    }

    fn save(&self, from: u64, bytes: usize, out: &mut Vec<u8>) -> u64 {
        let end = out.len().saturating_add(bytes);
        let mut cursor = from;
        loop {
            cursor = self.members.scan(cursor, 1, |member, ()| {
                Op::append_to(out, ADD).bytes(member);
            });
            if cursor == 0 || out.len() >= end {
                return cursor;
            }
        }
    }
}
