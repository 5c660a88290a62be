//! The bytes of an RDB file: where we are, their checksum, and the forms of lengths and strings.
//!
//! Nothing is allocated by a length that the file declares: memory grows with the bytes that are there.

use std::io::{BufRead, ErrorKind};

use crc::{Digest, Table};

use super::RdbError;
use crate::command::lzf;
use crate::command::rdb::{
    CRC64, INT8, INT16, INT32, LENGTH_14_BITS, LENGTH_32_BITS, LENGTH_64_BITS, LZF,
};
use crate::limits::BULK_BYTES_MAX;

/// Bytes of a file, read once from its start to its end.
pub(super) struct Source<R> {
    input: R,
    at: u64,
    digest: Digest<'static, u64, Table<16>>,
    /// While it is there, what is read is kept as well.
    copy: Option<Vec<u8>>,
}

/// The longest value that can be written to a server, and the longest that is kept.
const VALUE_BYTES_MAX: u64 = BULK_BYTES_MAX as u64;

impl<R: BufRead> Source<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, at: 0, digest: CRC64.digest(), copy: None }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The checksum of all bytes read so far.
    pub(super) fn checksum(&self) -> u64 {
        self.digest.clone().finalize()
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&mut self) -> Result<bool, RdbError> {
        Ok(self.buffer()?.is_empty())
    }

    /// From here on keeps what is read, behind `start`.
    pub(super) fn keep(&mut self, start: Vec<u8>) {
        self.copy = Some(start);
    }

    /// What was read since [`Self::keep`]; `None` if it is longer than any value may be.
    pub(super) fn kept(&mut self) -> Option<Vec<u8>> {
        self.copy.take()
    }

    pub(super) fn byte(&mut self) -> Result<u8, RdbError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut array = [0; N];
        let mut filled = 0;
        self.pieces(N as u64, |piece| {
            array[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        })?;
        Ok(array)
    }

    pub(super) fn skip(&mut self, bytes: u64) -> Result<(), RdbError> {
        self.pieces(bytes, |_| ())
    }

    /// A length, or a number written as one.
    pub(super) fn length(&mut self) -> Result<u64, RdbError> {
        let at = self.at;
        match self.head()? {
            Head::Length(length) => Ok(length),
            Head::Form(_) => Err(RdbError::Format { at, what: "a string where a length belongs" }),
        }
    }

    /// A string; `None` if it is longer than any server takes, and was passed over.
    pub(super) fn string(&mut self) -> Result<Option<Vec<u8>>, RdbError> {
        let at = self.at;
        let value = match self.head()? {
            Head::Length(length) if length <= VALUE_BYTES_MAX => self.bytes(length)?,
            Head::Length(length) => {
                self.skip(length)?;
                return Ok(None);
            }
            Head::Form(INT8) => i8::from_le_bytes(self.array()?).to_string().into_bytes(),
            Head::Form(INT16) => i16::from_le_bytes(self.array()?).to_string().into_bytes(),
            Head::Form(INT32) => i32::from_le_bytes(self.array()?).to_string().into_bytes(),
            Head::Form(LZF) => {
                let (packed, length) = (self.length()?, self.length()?);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if packed > VALUE_BYTES_MAX || length > BULK_BYTES_MAX {
                    self.skip(packed)?;
                    return Ok(None);
                }
                let what = "a compressed string that does not have the length it should";
                let stream = self.bytes(packed)?;
                lzf::decompress(&stream, length).ok_or(RdbError::Format { at, what })?
            }
            Head::Form(_) => return Err(unknown_form(at)),
        };
        Ok(Some(value))
    }

    pub(super) fn skip_string(&mut self) -> Result<(), RdbError> {
        let at = self.at;
        let length = match self.head()? {
            Head::Length(length) => length,
            Head::Form(INT8) => 1,
            Head::Form(INT16) => 2,
            Head::Form(INT32) => 4,
            Head::Form(LZF) => {
                let packed = self.length()?;
                self.length()?;
                packed
            }
            Head::Form(_) => return Err(unknown_form(at)),
        };
        self.skip(length)
    }

    fn head(&mut self) -> Result<Head, RdbError> {
        let at = self.at;
        Ok(match self.byte()? {
            length @ 0..LENGTH_14_BITS => Head::Length(length.into()),
            high @ LENGTH_14_BITS..LENGTH_32_BITS => {
                let low = self.byte()?;
                Head::Length(u64::from(high & 0x3f) << 8 | u64::from(low))
            }
            LENGTH_32_BITS => Head::Length(u32::from_be_bytes(self.array()?).into()),
            LENGTH_64_BITS => Head::Length(u64::from_be_bytes(self.array()?)),
            form @ INT8.. => Head::Form(form),
            _ => return Err(RdbError::Format { at, what: "a byte that starts no length" }),
        })
    }

    /// So many bytes, which the caller has compared with a limit.
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, RdbError> {
        let mut bytes = Vec::new();
        self.pieces(length, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    fn pieces(&mut self, length: u64, mut take: impl FnMut(&[u8])) -> Result<(), RdbError> {
        let mut left = length;
        while left > 0 {
            let at = self.at;
            let available = self.buffer()?.len();
            if available == 0 {
                return Err(RdbError::Truncated { at });
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(available);
            // The same bytes, borrowed from the input alone.
            let buffer = self.input.fill_buf().map_err(|error| RdbError::Io { at, error })?;
            let piece = &buffer[..count];
            self.digest.update(piece);
            if let Some(copy) = &mut self.copy {
                if copy.len() + count <= BULK_BYTES_MAX {
                    copy.extend_from_slice(piece);
                } else {
                    self.copy = None;
                }
            }
            take(piece);
            self.input.consume(count);
            self.at += count as u64;
            left -= count as u64;
        }
        Ok(())
    }

    /// Bytes that are there to be read; none at the end.
    fn buffer(&mut self) -> Result<&[u8], RdbError> {
        loop {
            match self.input.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(RdbError::Io { at: self.at, error }),
            }
        }
        self.input.fill_buf().map_err(|error| RdbError::Io { at: self.at, error })
    }
}

/// What the first byte of a string says.
enum Head {
    /// So many bytes follow.
    Length(u64),
    /// An integer or a compressed string follows, by this byte.
    Form(u8),
}

fn unknown_form(at: u64) -> RdbError {
    RdbError::Format { at, what: "a string in an unknown form" }
}
