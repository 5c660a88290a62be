//! What a client has sent that has not been run.
//!
//! Usually a few bytes: the start of a request whose end has not come. A request that declares itself
//! to be long is received into an extent instead, which the cache may keep as it is.

use std::sync::Arc;

use crate::cache::Extent;
use crate::limits::{LONG_BYTES_MIN, RECEIVE_BUFFER_BYTES};

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
            Self::Long(extent) => extent.written().len(),
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
    pub(crate) fn append(&mut self, bytes: &[u8], wanted: usize) {
        if let Self::Short(start) = self
            && wanted > LONG_BYTES_MIN
        {
            let mut extent = Extent::with_capacity(wanted + RECEIVE_BUFFER_BYTES);
            extent.append(start);
            *self = Self::Long(extent);
        }
        match self {
            Self::Short(start) => start.extend_from_slice(bytes),
            Self::Long(extent) => extent.append(bytes),
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

    /// Gives back the memory of an input that is empty.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Input, LONG_BYTES_MIN};

    #[test]
    fn a_long_request_is_kept_in_an_extent() {
        let wanted = LONG_BYTES_MIN + 1;
        let mut input = Input::default();
        input.append(b"*3", 0);
        input.append(&vec![b'x'; wanted], wanted);
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
        let mut input = Input::default();
        input.append(b"*3", LONG_BYTES_MIN);
        assert!(matches!(&input, Input::Short(bytes) if bytes == b"*3"));
        input.shrink();
        assert!(!input.is_empty());
    }
}
