//! The arguments of one request: ranges into the bytes it was parsed from, nothing copied.

use std::ops::Index;

/// Where one argument lies in the bytes of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgRange {
    /// Offset of the first byte.
    pub start: u32,
    /// Length in bytes.
    pub length: u32,
}

impl ArgRange {
    /// The argument, in the bytes of its request.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &bytes[start..start + self.length as usize]
    }
}

/// The arguments of one request; argument 0 is the command's name.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// Arguments that lie in `bytes` at `ranges`.
    ///
    /// Every range must lie inside `bytes`; indexing panics otherwise.
    pub fn new(bytes: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        Self { bytes, ranges }
    }

    /// Number of arguments, the command's name included.
    #[expect(clippy::len_without_is_empty, reason = "a request has at least one argument")]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The argument at `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.ranges.get(index).map(|range| self.slice(range))
    }

    /// The argument at `index`, for as long as the request lives.
    ///
    /// # Panics
    /// If there are not as many. A handler may rely on its command's arity.
    pub fn at(&self, index: usize) -> &'a [u8] {
        self.slice(&self.ranges[index])
    }

    /// Where the arguments lie in the bytes of the request.
    pub fn ranges(&self) -> &'a [ArgRange] {
        self.ranges
    }

    /// Whether the request lies in `bytes`.
    pub fn lie_in(&self, bytes: &[u8]) -> bool {
        bytes.as_ptr_range().contains(&self.bytes.as_ptr())
    }

    /// The bytes that the request lies in, from its first on.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All arguments from `first` on.
    pub fn from(&self, first: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let bytes = self.bytes;
        let ranges = self.ranges.get(first..).unwrap_or(&[]);
        ranges.iter().map(move |range| range.of(bytes))
    }

    /// An owned copy: the bytes of all arguments and where each lies in them.
    pub fn to_owned_parts(&self) -> (Vec<u8>, Vec<ArgRange>) {
        let mut bytes = Vec::with_capacity(self.ranges.iter().map(|r| r.length as usize).sum());
        let mut ranges = Vec::with_capacity(self.ranges.len());
        self.append_to(&mut bytes, &mut ranges);
        (bytes, ranges)
    }

    /// Appends a copy of all arguments to `bytes` and where each lies in them to `ranges`.
    ///
    /// # Panics
    /// If `bytes` grows beyond 4 GiB.
    pub fn append_to(&self, bytes: &mut Vec<u8>, ranges: &mut Vec<ArgRange>) {
        for range in self.ranges {
            let start = u32::try_from(bytes.len()).expect("arguments are bounded below 4 GiB");
            ranges.push(ArgRange { start, length: range.length });
            bytes.extend_from_slice(self.slice(range));
        }
    }

    fn slice(&self, range: &ArgRange) -> &'a [u8] {
        range.of(self.bytes)
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}
