//! A reader of RDB files, versions 1 to 12 (Redis up to 8.0, Valkey up to 8): from first byte to last, one key at a time.
//!
//! ```text
//! file     =  "REDIS" version (4 digits)  item …  ff  CRC-64 of all before (8 bytes, from version 5 on)
//! item     =  fe number                     further keys are of this database
//!          |  [fc ms (8)] [f8 idle | f9 freq] type key value
//!          |  fa name value                 who wrote the file, and when
//!          |  fb keys expires               sizes of the database
//!          |  f4 | f5 | f7 …                slots, functions, modules' own
//! ```
//!
//! Strings and lengths are those of `crate::command::rdb`. Values of other types are not decoded: their
//! end is found by their shape, and whoever wants one gets it as a payload for `RESTORE`.
//!
//! Why not a crate: `rdb` 0.4.0 is kept up and knows all types, but it does not compare the checksum,
//! leaves out streams and modules' values so that nobody can count them, can't say where in a file the
//! fault is, gives no values for `RESTORE`, and falls over some bytes: a compressed string's declared
//! length is allocated unseen, and a product of a stream's declared lengths overflows.

mod error;
mod shape;
mod source;

pub use super::kind::Kind;
pub use error::RdbError;

use std::io::BufRead;

use crate::command::rdb::seal;
use shape::{Part, Shape};
use source::Source;

/// The newest version of the format that is read.
pub const VERSION_MAX: u16 = 12;
/// From this version on there is a checksum.
const VERSION_WITH_CHECKSUM: u16 = 5;
/// Longest text of who wrote the file that is kept, in bytes.
const WRITER_BYTES_MAX: usize = 64;

const SLOT_INFO: u8 = 0xf4;
const FUNCTION: u8 = 0xf5;
const FUNCTION_PRE_RELEASE: u8 = 0xf6;
const MODULE_AUX: u8 = 0xf7;
const IDLE: u8 = 0xf8;
const FREQUENCY: u8 = 0xf9;
const AUX: u8 = 0xfa;
const RESIZE: u8 = 0xfb;
const EXPIRES_MS: u8 = 0xfc;
const EXPIRES_S: u8 = 0xfd;
const SELECT: u8 = 0xfe;
const END: u8 = 0xff;

/// A key of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its database.
    pub database: u64,
    /// Its name.
    pub key: Vec<u8>,
    /// When it expires, in milliseconds since the Unix epoch; may have passed.
    pub expires_at_ms: Option<u64>,
    /// The type of its value.
    pub kind: Kind,
    /// Its value.
    pub value: Value,
}

/// A value as far as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nobody wanted it.
    Skipped,
    /// It is longer than any server takes.
    TooLong,
    /// A string.
    String(Vec<u8>),
    /// A value of another type, as `RESTORE` takes it from any server that knows the type.
    Payload(Vec<u8>),
}

/// The reader.
pub struct Reader<R> {
    source: Source<R>,
    version: u16,
    writer: Option<String>,
    functions: u64,
    database: u64,
    has_checksum: bool,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first bytes.
    ///
    /// # Errors
    /// When this is no RDB file, or one of a version that is not known.
    pub fn new(input: R) -> Result<Self, RdbError> {
        let mut source = Source::new(input);
        let magic = match source.array::<9>() {
            Ok(magic) => magic,
            Err(RdbError::Truncated { .. }) => return Err(RdbError::NotRdb),
            Err(error) => return Err(error),
        };
        let digits =
            magic.strip_prefix(b"REDIS").filter(|rest| rest.iter().all(u8::is_ascii_digit));
        let digits = digits.ok_or(RdbError::NotRdb)?;
        let version = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        if !(1..=VERSION_MAX).contains(&version) {
            return Err(RdbError::Version { version, newest: VERSION_MAX });
        }
        Ok(Self {
            source,
            version,
            writer: None,
            functions: 0,
            database: 0,
            has_checksum: false,
            ended: false,
        })
    }

    /// The version of the format.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Who wrote the file, if it has said so: `redis 7.0.15`.
    pub fn writer(&self) -> Option<&str> {
        self.writer.as_deref()
    }

    /// Libraries of functions that were passed over so far.
    pub fn functions(&self) -> u64 {
        self.functions
    }

    /// Whether the file has a checksum, once it has been read to its end: `rdbchecksum no` leaves it out.
    pub fn has_checksum(&self) -> bool {
        self.has_checksum
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.source.at()
    }

    /// The next key, with its value if `wanted` says so of its database and type; `None` once the end has
    /// been reached and all bytes have the checksum that stands there.
    ///
    /// # Errors
    /// When the file can't be read, or is not well formed. There is no sense in going on then.
    pub fn next(&mut self, wanted: impl Fn(u64, Kind) -> bool) -> Result<Option<Entry>, RdbError> {
        let mut expires_at_ms = None;
        while !self.ended {
            let at = self.source.at();
            match self.source.byte()? {
                SELECT => self.database = self.source.length()?,
                EXPIRES_MS => {
                    let ms = i64::from_le_bytes(self.source.array()?);
                    expires_at_ms = Some(u64::try_from(ms).unwrap_or(0));
                }
                EXPIRES_S => {
                    let seconds = i32::from_le_bytes(self.source.array()?);
                    expires_at_ms = Some(u64::try_from(seconds).unwrap_or(0) * 1000);
                }
                IDLE => self.walk(&[Part::Length])?,
                FREQUENCY => self.walk(&[Part::Bytes(1)])?,
                RESIZE => self.walk(&[Part::Length, Part::Length])?,
                SLOT_INFO => self.walk(&[Part::Length, Part::Length, Part::Length])?,
                AUX => self.aux()?,
                FUNCTION => {
                    self.functions += 1;
                    self.walk(&[Part::String])?;
                }
                MODULE_AUX => self.module_aux()?,
                FUNCTION_PRE_RELEASE => {
                    let what = "a function as only release candidates of Redis 7.0 wrote it";
                    return Err(RdbError::Format { at, what });
                }
                END => self.end()?,
                byte => {
                    let shape = self.shape(at, byte)?;
                    return self.entry(shape, expires_at_ms, wanted).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn shape(&self, at: u64, byte: u8) -> Result<&'static Shape, RdbError> {
        if byte == shape::MODULE_PRE_RELEASE {
            let what = "a module's value as only release candidates of Redis 4.0 wrote it";
            return Err(RdbError::Format { at, what });
        }
        shape::find(byte).ok_or(RdbError::UnknownType { at, byte })
    }

    fn entry(
        &mut self,
        shape: &Shape,
        expires_at_ms: Option<u64>,
        wanted: impl Fn(u64, Kind) -> bool,
    ) -> Result<Entry, RdbError> {
        let at = self.source.at();
        let what = "a key longer than 512 MiB";
        let key = self.source.string()?.ok_or(RdbError::Format { at, what })?;
        let value = if !wanted(self.database, shape.kind) {
            self.walk(shape.parts)?;
            Value::Skipped
        } else if shape.byte == shape::STRING {
            self.source.string()?.map_or(Value::TooLong, Value::String)
        } else {
            self.source.keep(vec![shape.byte]);
            self.walk(shape.parts)?;
            self.source.kept().map_or(Value::TooLong, |mut payload| {
                seal(&mut payload, shape.since);
                Value::Payload(payload)
            })
        };
        Ok(Entry { database: self.database, key, expires_at_ms, kind: shape.kind, value })
    }

    /// Passes over `parts`. Their lists are as deep as `shape`'s table, whatever the file holds.
    fn walk(&mut self, parts: &[Part]) -> Result<(), RdbError> {
        for part in parts {
            match part {
                Part::Bytes(count) => self.source.skip(*count)?,
                Part::Length => drop(self.source.length()?),
                Part::String => self.source.skip_string()?,
                Part::Score => self.score()?,
                Part::Times(parts) => {
                    // Every round takes at least a byte, so that the file's end ends it.
                    for _ in 0..self.source.length()? {
                        self.walk(parts)?;
                    }
                }
                Part::Module => {
                    self.source.length()?;
                    self.module_values()?;
                }
            }
        }
        Ok(())
    }

    fn score(&mut self) -> Result<(), RdbError> {
        match self.source.byte()? {
            // No number, and both infinities.
            253.. => Ok(()),
            length => self.source.skip(length.into()),
        }
    }

    fn module_aux(&mut self) -> Result<(), RdbError> {
        // The module's number, then when it is to be loaded, as a module's value: its type and itself.
        self.walk(&[Part::Length, Part::Length, Part::Length])?;
        self.module_values()
    }

    /// A module's values, each with its type in front, up to their end.
    fn module_values(&mut self) -> Result<(), RdbError> {
        loop {
            let at = self.source.at();
            match self.source.length()? {
                0 => return Ok(()),
                1 | 2 => drop(self.source.length()?),
                3 => self.source.skip(4)?,
                4 => self.source.skip(8)?,
                5 => self.source.skip_string()?,
                _ => {
                    let what = "a module's value of an unknown type";
                    return Err(RdbError::Format { at, what });
                }
            }
        }
    }

    fn aux(&mut self) -> Result<(), RdbError> {
        let (name, value) = (self.source.string()?, self.source.string()?);
        let (Some(name), Some(value)) = (name, value) else { return Ok(()) };
        if let Some(program) = name.strip_suffix(b"-ver")
            && program.len() + value.len() < WRITER_BYTES_MAX
        {
            let text = [program, b" ", &value].concat();
            self.writer = Some(text.escape_ascii().to_string());
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), RdbError> {
        if self.version >= VERSION_WITH_CHECKSUM {
            let (at, computed) = (self.source.at(), self.source.checksum());
            let stored = u64::from_le_bytes(self.source.array()?);
            self.has_checksum = stored != 0;
            if self.has_checksum && stored != computed {
                return Err(RdbError::Checksum { at, stored, computed });
            }
        }
        self.ended = true;
        if self.source.is_at_end()? {
            Ok(())
        } else {
            Err(RdbError::Trailing { at: self.source.at() })
        }
    }
}
