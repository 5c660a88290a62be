//! What a client has sent that has not been run.
//!
//! Usually a few bytes: the start of a request whose end has not come. A request that declares itself
//! to be long is received into an extent instead, by the kernel itself once what is missing is worth it,
//! and the cache may keep a very long value where it lies.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::cache::Extent;
use crate::limits::{
    DIRECT_BYTES_MAX, DIRECT_BYTES_MIN, LONG_BYTES_MIN, RECEIVE_BUFFER_BYTES, SPARE_INPUT_BYTES_MAX,
};

/// Extents that requests of a core are received into one after another: memory that is there already
/// costs less than new memory.
#[derive(Debug, Default)]
pub(crate) struct SpareInput {
    /// For requests of which the cache keeps nothing as it lies.
    passing: Option<Extent>,
    /// The memory of a value that was overwritten, for one that the cache may keep.
    freed: Option<Extent>,
}

impl SpareInput {
    /// An extent for a request of `wanted` bytes.
    fn take(&mut self, wanted: usize) -> Extent {
        let room = wanted + RECEIVE_BUFFER_BYTES;
        let spare = if wanted <= LONG_BYTES_MIN {
            self.passing.take_if(|spare| spare.capacity() >= room)
        } else {
            self.freed.take_if(|spare| spare.capacity() >= room && spare.is_for(wanted))
        };
        spare.unwrap_or_else(|| Extent::with_capacity(room))
    }

    /// Keeps an extent for the next request, if it is of use; answers one that is to be given back.
    pub(crate) fn keep(&mut self, mut extent: Extent) -> Option<Extent> {
        let held = self.passing.as_ref().map_or(0, Extent::capacity);
        if extent.capacity() <= held || extent.capacity() > SPARE_INPUT_BYTES_MAX {
            return Some(extent);
        }
        extent.empty();
        self.passing.replace(extent)
    }

    /// Keeps the memory of a value that was overwritten for the next; answers what is to be given back instead.
    pub(crate) fn keep_freed(&mut self, mut extent: Extent) -> Option<Extent> {
        extent.empty();
        self.freed.replace(extent)
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.passing.iter().chain(&self.freed).map(Extent::memory_bytes).sum()
    }
}

/// Bytes of a client, from the start of a request on.
#[derive(Debug)]
pub(crate) enum Input {
    /// Few, or none.
    Short(Vec<u8>),
    /// The start of a long request, and perhaps a little of what follows it.
    Long(Extent),
}

impl Default for Input {
    fn default() -> Self {
        Self::Short(Vec::new())
    }
}

impl Input {
    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Short(bytes) => bytes.len(),
            Self::Long(extent) => extent.len(),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Short(bytes) => bytes.capacity(),
            Self::Long(extent) => extent.memory_bytes(),
        }
    }

    /// Appends `bytes`; the request at the start is known to be at least `wanted` bytes long.
    pub(crate) fn append(&mut self, bytes: &[u8], wanted: usize, spare: &mut SpareInput) {
        if wanted >= self.len() + bytes.len() + DIRECT_BYTES_MIN {
            self.lengthen(wanted, spare);
        }
        match self {
            Self::Short(start) => start.extend_from_slice(bytes),
            Self::Long(extent) => extent.append(bytes),
        }
    }

    fn lengthen(&mut self, wanted: usize, spare: &mut SpareInput) {
        if let Self::Short(start) = self {
            let mut extent = spare.take(wanted);
            extent.append(start);
            *self = Self::Long(extent);
        }
    }

    /// Whether so much is missing of the request at the start, `wanted` bytes long, that the kernel is to
    /// write it where it belongs. Once it has begun to, it does so to the end.
    pub(crate) fn is_direct(&self, wanted: usize) -> bool {
        let missing = wanted.saturating_sub(self.len());
        missing >= DIRECT_BYTES_MIN || (missing > 0 && matches!(self, Self::Long(_)))
    }

    /// Where the kernel is to write the next of `wanted` bytes, and how many. Nothing may be done with the
    /// input until [`fill`](Self::fill) has been told what came of it.
    pub(crate) fn room(&mut self, wanted: usize, spare: &mut SpareInput) -> (NonNull<u8>, usize) {
        self.lengthen(wanted, spare);
        let Self::Long(extent) = self else { unreachable!("it was made long") };
        extent.reserve(wanted);
        extent.room(wanted.min(extent.len() + DIRECT_BYTES_MAX))
    }

    /// Notes that the kernel has written `count` bytes to the room.
    pub(crate) fn fill(&mut self, count: usize) {
        match self {
            Self::Short(_) => debug_assert_eq!(count, 0, "there was no room"),
            Self::Long(extent) => extent.fill(count),
        }
    }

    /// What is left of `extent` when `consumed` bytes have been run; and the extent, if nobody has
    /// kept it and it is not what is left.
    pub(crate) fn rest_of(extent: Arc<Extent>, consumed: usize) -> (Self, Option<Extent>) {
        if consumed > 0 {
            let rest = extent.written()[consumed..].to_vec();
            return (Self::Short(rest), Arc::into_inner(extent));
        }
        match Arc::try_unwrap(extent) {
            Ok(extent) => (Self::Long(extent), None),
            Err(extent) => (Self::Short(extent.written().to_vec()), None),
        }
    }

    /// Ends the input; answers the extent, to be given back in pieces.
    pub(crate) fn into_extent(self) -> Option<Extent> {
        match self {
            Self::Short(_) => None,
            Self::Long(extent) => Some(extent),
        }
    }

    /// Gives back the memory of an input that is empty, but for what the kernel may be writing to.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && matches!(self, Self::Short(_)) {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Arc, DIRECT_BYTES_MAX, DIRECT_BYTES_MIN, Input, LONG_BYTES_MIN, SPARE_INPUT_BYTES_MAX,
        SpareInput,
    };

    #[test]
    fn a_long_request_is_kept_in_an_extent() {
        let wanted = LONG_BYTES_MIN + 1;
        let (mut input, mut spare) = (Input::default(), SpareInput::default());
        input.append(b"*3", wanted, &mut spare);
        assert!(input.is_direct(wanted));
        input.append(&vec![b'x'; wanted], wanted, &mut spare);
        assert!(!input.is_direct(wanted));
        assert_eq!(input.len(), wanted + 2);
        let Input::Long(extent) = input else { panic!("it is long") };
        // Nothing was run: all of it stays where it is.
        let (input, left) = Input::rest_of(Arc::new(extent), 0);
        let Input::Long(extent) = input else { panic!("it is long still") };
        assert!(left.is_none() && extent.written().starts_with(b"*3xx"));
        let (input, left) = Input::rest_of(Arc::new(extent), wanted);
        assert!(matches!(input, Input::Short(rest) if rest == b"xx"));
        assert!(left.is_some());
    }

    #[test]
    fn a_short_request_is_not() {
        let (mut input, mut spare) = (Input::default(), SpareInput::default());
        input.append(b"*3", DIRECT_BYTES_MIN, &mut spare);
        assert!(matches!(&input, Input::Short(bytes) if bytes == b"*3"));
        assert!(!input.is_direct(DIRECT_BYTES_MIN) && input.is_direct(DIRECT_BYTES_MIN + 2));
        input.shrink();
        assert!(!input.is_empty());
    }

    #[test]
    fn the_kernel_is_given_room_up_to_the_end_of_the_request() {
        let wanted = DIRECT_BYTES_MAX + DIRECT_BYTES_MIN;
        let (mut input, mut spare) = (Input::Short(b"*3".to_vec()), SpareInput::default());
        for expected in [DIRECT_BYTES_MAX, DIRECT_BYTES_MIN - 2] {
            assert!(input.is_direct(wanted));
            let (_, length) = input.room(wanted, &mut spare);
            assert_eq!(length, expected);
            input.fill(length);
        }
        assert!(!input.is_direct(wanted));
        assert_eq!(input.len(), wanted);
    }

    #[test]
    fn the_memory_of_one_request_serves_the_next() {
        let (mut input, mut spare) = (Input::default(), SpareInput::default());
        let wanted = LONG_BYTES_MIN;
        input.append(b"*3", wanted, &mut spare);
        let Some(extent) = input.into_extent() else { panic!("it is long") };
        let start = extent.written().as_ptr();
        assert!(spare.keep(extent).is_none() && spare.memory_bytes() > 0);
        let mut next = Input::default();
        next.append(b"*2", wanted, &mut spare);
        assert_eq!((next.len(), spare.memory_bytes()), (2, 0));
        let Some(extent) = next.into_extent() else { panic!("it is long") };
        assert_eq!(extent.written().as_ptr(), start);
        assert!(spare.keep(extent).is_none());
        // What the cache may keep is new, or was such a value itself, as long as this one.
        let mut long = Input::default();
        long.append(b"*2", 2 * wanted, &mut spare);
        assert!(spare.memory_bytes() > 0);
        let Some(mut extent) = long.into_extent() else { panic!("it is long") };
        extent.append(&vec![b'x'; 2 * wanted]);
        assert!(spare.keep_freed(extent).is_none());
        for (length, is_reused) in
            [(3 * wanted / 2, false), (2 * wanted, true), (2 * wanted, false)]
        {
            let before = spare.memory_bytes();
            Input::default().append(b"*2", length, &mut spare);
            assert_eq!(spare.memory_bytes() < before, is_reused, "{length}");
        }
        let large = crate::cache::Extent::with_capacity(SPARE_INPUT_BYTES_MAX + 1);
        assert!(spare.keep(large).is_some());
    }
}
