//! Stands in for a kind of collection until the kind itself is there: no command makes one.

use super::{Collection, Edit, Form, Kind, Large, Nonsense, OpReader, Tag};

/// A collection that is always empty.
#[derive(Debug)]
pub struct Absent<const KIND: u8>(Vec<u8>);

/// What there is to be read of it.
#[derive(Clone, Copy, Debug)]
pub struct AbsentView<'a>(pub &'a [u8]);

impl AbsentView<'_> {
    /// How it is kept.
    pub fn encoding(&self) -> &'static str {
        "none"
    }
}

/// What it would be if it were large.
#[derive(Debug)]
pub struct AbsentLarge;

impl Large for AbsentLarge {
    fn memory_bytes(&self) -> usize {
        0
    }

    fn free_some(&mut self, _: usize) -> bool {
        true
    }

    fn save(&self, _: u64, _: usize, _: &mut Vec<u8>) -> u64 {
        0
    }
}

impl<const KIND: u8> Collection for Absent<KIND> {
    const KIND: Kind = match Tag(KIND).kind() {
        Some(kind) => kind,
        None => Kind::List,
    };
    type Large = AbsentLarge;
    type View<'a> = AbsentView<'a>;

    fn empty(mut memory: Vec<u8>) -> Self {
        memory.clear();
        memory.extend_from_slice(&[KIND, 0, 0]);
        Self(memory)
    }

    fn of(form: Form<AbsentLarge>) -> Self {
        match form {
            Form::Block(block) => Self(block),
            Form::Large(_) => Self::empty(Vec::new()),
        }
    }

    fn into_form(self) -> Form<AbsentLarge> {
        Form::Block(self.0)
    }

    fn check(_: &[u8]) -> bool {
        false
    }

    fn len(&self) -> usize {
        0
    }

    fn view_block(block: &[u8]) -> AbsentView<'_> {
        AbsentView(block)
    }

    fn view_large(_: &AbsentLarge) -> AbsentView<'_> {
        AbsentView(&[])
    }

    fn view(&self) -> AbsentView<'_> {
        AbsentView(&self.0)
    }

    fn replay(&mut self, _: &mut OpReader<'_>, _: &mut Edit<'_>) -> Result<(), Nonsense> {
        Err(Nonsense)
    }
}

pub mod hash {
    //! Hashes.

    /// A hash.
    pub type Hash = super::Absent<4>;
    pub use super::AbsentView as View;
}
