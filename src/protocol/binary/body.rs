//! What is inside the bodies of the requests and replies that carry more than a key and a value.
//!
//! A list of byte strings is a count and, for each, a length and its bytes, all lengths `u32`.

use super::frame::{FrameLimits, u16_at, u32_at, u64_at};
use crate::limits::ARGS_MAX;
use crate::protocol::args::ArgRange;
use crate::types::{CoreId, ShardId};

/// A body that is not what its opcode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("BADREQUEST {0}")]
pub struct Malformed(pub &'static str);

const SHORT: Malformed = Malformed("the body is shorter than its contents");
const LONG: Malformed = Malformed("the body is longer than its contents");
const TOO_MANY: Malformed = Malformed("the list is longer than its body or than is taken");
const NO_TEXT: Malformed = Malformed("a text is not UTF-8");

/// Reads a body from its start.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When there are not as many.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(SHORT)?;
        self.at = end;
        Ok(taken)
    }

    /// The next byte.
    ///
    /// # Errors
    /// When there is none.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.bytes(1)?[0])
    }

    /// The next two bytes as a number.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16_at(self.bytes(2)?, 0))
    }

    /// The next four bytes as a number.
    ///
    /// # Errors
    /// When there are not as many.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32_at(self.bytes(4)?, 0))
    }

    /// The next eight bytes as a number.
    ///
    /// # Errors
    /// When there are not as many.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64_at(self.bytes(8)?, 0))
    }

    /// The next byte string: its length and its bytes.
    ///
    /// # Errors
    /// When it is not all there.
    #[inline]
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }

    /// The next byte string, which is text.
    ///
    /// # Errors
    /// When it is not all there or no UTF-8.
    pub fn text(&mut self) -> Result<String, Malformed> {
        let bytes = self.string()?;
        str::from_utf8(bytes).map(str::to_owned).map_err(|_| NO_TEXT)
    }

    /// A count of items that have at least `bytes_min` bytes each: one that the body can't hold is
    /// refused before room is made for it.
    ///
    /// # Errors
    /// When it is not there or too great.
    pub fn count(&mut self, bytes_min: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        let rest = self.bytes.len() - self.at;
        if count > ARGS_MAX || count > rest / bytes_min { Err(TOO_MANY) } else { Ok(count) }
    }

    /// # Errors
    /// When bytes are left over.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(LONG) }
    }
}

/// Appends a byte string.
///
/// # Panics
/// If it is 4 GiB or longer.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("strings are bounded");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Bytes that a list of these strings takes.
pub fn list_bytes<T: AsRef<[u8]>>(strings: &[T]) -> usize {
    4 + strings.iter().map(|string| 4 + string.as_ref().len()).sum::<usize>()
}

/// Appends a list of byte strings: `get-many`, `set-many` and `command` carry one.
///
/// # Panics
/// If there are 2^32 or more of them.
pub fn write_list<T: AsRef<[u8]>>(out: &mut Vec<u8>, strings: &[T]) {
    let count = u32::try_from(strings.len()).expect("lists are bounded");
    out.extend_from_slice(&count.to_le_bytes());
    for string in strings {
        write_string(out, string.as_ref());
    }
}

/// The byte strings of a list that is the whole of `bytes`.
///
/// # Errors
/// When it is something else.
pub fn read_list(bytes: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut ranges = Vec::new();
    list_ranges(bytes, 0, &mut ranges)?;
    let slice = |range: ArgRange| &bytes[range.start as usize..][..range.length as usize];
    Ok(ranges.into_iter().map(slice).collect())
}

/// Appends where the strings of the list that is the whole of `bytes` lie, `start` bytes further on.
///
/// # Errors
/// When it is something else; what was appended then means nothing.
pub fn list_ranges(
    bytes: &[u8],
    start: usize,
    ranges: &mut Vec<ArgRange>,
) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.count(4)?;
    ranges.reserve(count);
    for _ in 0..count {
        let length = cursor.u32()?;
        let at = u32::try_from(start + cursor.at).map_err(|_| TOO_MANY)?;
        cursor.bytes(length as usize)?;
        ranges.push(ArgRange { start: at, length });
    }
    cursor.finish()
}

/// How far a shard had come: what a write answers, and a later read names to see that write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The shard.
    pub shard: ShardId,
    /// Its sequence.
    pub sequence: u64,
}

impl Token {
    /// Bytes of a token.
    pub const BYTES: usize = 16;

    /// Reads a token from the start of `bytes`.
    ///
    /// # Panics
    /// If there are fewer than [`Token::BYTES`].
    pub fn read(bytes: &[u8]) -> Self {
        Self { sequence: u64_at(bytes, 0), shard: ShardId(u16_at(bytes, 8)) }
    }

    /// Appends sequence, shard, and six bytes of zeros.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.shard.0.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
    }

    /// The tokens that a `set-many` answers: a count and the tokens.
    ///
    /// # Errors
    /// When the body is something else.
    pub fn read_all(body: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut cursor = Cursor::new(body);
        let count = cursor.count(Self::BYTES)?;
        let tokens = (0..count).map(|_| cursor.bytes(Self::BYTES).map(Self::read)).collect();
        cursor.finish()?;
        tokens
    }
}

/// The value of one key in the reply to a `get-many`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The key's version.
    pub version: u64,
    /// The value.
    pub value: &'a [u8],
}

/// Stands for the length of a value that is not there.
pub const ABSENT: u32 = u32::MAX;

/// The values in the reply to a `get-many`, in the order of the keys; `None` where there is no key.
///
/// # Errors
/// When the body is something else.
pub fn read_values(body: &[u8]) -> Result<Vec<Option<Found<'_>>>, Malformed> {
    let mut cursor = Cursor::new(body);
    let count = cursor.count(12)?;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let version = cursor.u64()?;
        let length = cursor.u32()?;
        values.push(match length {
            ABSENT => None,
            length => Some(Found { version, value: cursor.bytes(length as usize)? }),
        });
    }
    cursor.finish()?;
    Ok(values)
}

/// Appends one value of a `get-many`.
///
/// # Panics
/// If it is 4 GiB or longer.
pub fn write_value(out: &mut Vec<u8>, found: Option<Found<'_>>) {
    match found {
        None => {
            out.extend_from_slice(&0u64.to_le_bytes());
            out.extend_from_slice(&ABSENT.to_le_bytes());
        }
        Some(Found { version, value }) => {
            out.extend_from_slice(&version.to_le_bytes());
            write_string(out, value);
        }
    }
}

/// The value of a `scan`: where to go on, about how many keys to look at (0: as the server likes); the
/// pattern is the request's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ScanStep {
    /// 0 at the start, then what the last reply said.
    pub cursor: u64,
    /// About how many keys to look at.
    pub count: u32,
}

impl ScanStep {
    /// Bytes of a step.
    pub const BYTES: usize = 12;

    /// Appends cursor and count.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.cursor.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
    }

    /// # Errors
    /// When the value is something else.
    pub fn read(value: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(value);
        let step = Self { cursor: cursor.u64()?, count: cursor.u32()? };
        cursor.finish().map(|()| step)
    }
}

/// The keys in the reply to a `scan`, and where to go on; 0 at the end.
///
/// # Errors
/// When the body is something else.
pub fn read_scanned(body: &[u8]) -> Result<(u64, Vec<&[u8]>), Malformed> {
    let cursor = Cursor::new(body).u64()?;
    Ok((cursor, read_list(&body[8..])?))
}

/// The value of a `hello`: the client's side of the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Hello {
    /// Oldest version the client speaks.
    pub oldest: u8,
    /// Newest version the client speaks.
    pub newest: u8,
    /// User, if the client authenticates; empty for the default one.
    pub user: String,
    /// Password; empty if the client does not authenticate.
    pub password: String,
    /// A name for `CLIENT LIST`; empty for none.
    pub name: String,
}

impl Hello {
    /// Of a client that speaks this version only.
    pub fn this_version() -> Self {
        Self { oldest: super::VERSION, newest: super::VERSION, ..Self::default() }
    }

    /// Appends versions, two bytes of zeros, and user, password and name.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.oldest, self.newest, 0, 0]);
        for text in [&self.user, &self.password, &self.name] {
            write_string(out, text.as_bytes());
        }
    }

    /// # Errors
    /// When the value is something else.
    pub fn read(value: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(value);
        let (oldest, newest) = (cursor.u8()?, cursor.u8()?);
        if cursor.u16()? != 0 {
            return Err(Malformed("the reserved bytes of a hello are not zero"));
        }
        let (user, password, name) = (cursor.text()?, cursor.text()?, cursor.text()?);
        cursor.finish().map(|()| Self { oldest, newest, user, password, name })
    }
}

bitflags::bitflags! {
    /// What a server can do beyond what its version of the protocol requires.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Features: u32 {
        /// `durability` async is given.
        const DURABILITY_ASYNC = 1 << 0;
        /// `durability` sync is given.
        const DURABILITY_SYNC = 1 << 1;
        /// New topologies are pushed to who subscribed.
        const TOPOLOGY_PUSH = 1 << 2;
        /// Cluster mode: a request at a core's own port for a slot of another core is answered `moved`.
        const CLUSTER = 1 << 3;
        /// The server is one of several nodes: its topology names the cores of all of them.
        const NODES = 1 << 4;
        /// Writes that name their client and a sequence may be sent again, and are done once.
        const ONCE = 1 << 5;
        const _ = !0;
    }
}

/// The body of the reply to a `hello`: the server's side of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The version that both speak.
    pub version: u8,
    /// What the server can do.
    pub features: Features,
    /// The client's id (`CLIENT ID`).
    pub client: u64,
    /// Sequences of this life of the server are greater: a token that is not is from an earlier one.
    pub life: u64,
    /// What a frame of requests may hold. Values may be shorter, if the server is configured so.
    pub limits: FrameLimits,
    /// Longest key, in bytes.
    pub key_bytes_max: u32,
    /// What serves: name and version.
    pub server: String,
    /// Which core serves which slots.
    pub topology: Topology,
}

impl Greeting {
    /// Appends the body.
    ///
    /// # Panics
    /// If a bound or text does not fit its field.
    pub fn write(&self, out: &mut Vec<u8>) {
        let word =
            |bound: usize| u32::try_from(bound).expect("bounds are below 4 GiB").to_le_bytes();
        out.extend_from_slice(&[self.version, 0, 0, 0]);
        out.extend_from_slice(&self.features.bits().to_le_bytes());
        out.extend_from_slice(&self.client.to_le_bytes());
        out.extend_from_slice(&self.life.to_le_bytes());
        out.extend_from_slice(&word(self.limits.items_max));
        out.extend_from_slice(&word(self.limits.body_bytes_max));
        out.extend_from_slice(&word(self.limits.value_bytes_max));
        out.extend_from_slice(&self.key_bytes_max.to_le_bytes());
        write_string(out, self.server.as_bytes());
        self.topology.write(out);
    }

    /// # Errors
    /// When the body is something else. What a later version may append is not looked at.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let version = cursor.u8()?;
        cursor.bytes(3)?;
        Ok(Self {
            version,
            features: Features::from_bits_retain(cursor.u32()?),
            client: cursor.u64()?,
            life: cursor.u64()?,
            limits: FrameLimits {
                items_max: cursor.u32()? as usize,
                body_bytes_max: cursor.u32()? as usize,
                value_bytes_max: cursor.u32()? as usize,
            },
            key_bytes_max: cursor.u32()?,
            server: cursor.text()?,
            topology: Topology::read_from(&mut cursor)?,
        })
    }
}

/// Which core serves which slots, and where each core is reached.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Topology {
    /// Rises with every change.
    pub epoch: u64,
    /// Number of shards.
    pub shard_count: u16,
    /// Where the cores are reached.
    pub cores: Vec<Address>,
    /// Which slots are whose, ascending and without gaps.
    pub ranges: Vec<SlotRange>,
}

/// Where a core is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The core.
    pub core: CoreId,
    /// Its own port, or the common one if cores have none.
    pub port: u16,
    /// IP address or name.
    pub host: String,
}

/// Slots of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// First slot.
    pub first: u16,
    /// Last slot.
    pub last: u16,
    /// The shard they belong to.
    pub shard: ShardId,
    /// The core that serves it.
    pub core: CoreId,
}

impl Topology {
    const ADDRESS_BYTES_MIN: usize = 8;
    const RANGE_BYTES: usize = 8;

    /// Appends the body of a reply to `topology` or `subscribe-topology`, or of a push.
    ///
    /// # Panics
    /// If there are 2^32 cores or ranges or more.
    pub fn write(&self, out: &mut Vec<u8>) {
        let count =
            |count: usize| u32::try_from(count).expect("bounded by the slots").to_le_bytes();
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&u32::from(self.shard_count).to_le_bytes());
        out.extend_from_slice(&count(self.cores.len()));
        for core in &self.cores {
            out.extend_from_slice(&core.core.0.to_le_bytes());
            out.extend_from_slice(&core.port.to_le_bytes());
            write_string(out, core.host.as_bytes());
        }
        out.extend_from_slice(&count(self.ranges.len()));
        for range in &self.ranges {
            for number in [range.first, range.last, range.shard.0, range.core.0] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    /// # Errors
    /// When the body is something else.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let topology = Self::read_from(&mut cursor)?;
        cursor.finish().map(|()| topology)
    }

    fn read_from(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let epoch = cursor.u64()?;
        let shard_count = u16::try_from(cursor.u32()?).map_err(|_| TOO_MANY)?;
        let cores = (0..cursor.count(Self::ADDRESS_BYTES_MIN)?)
            .map(|_| {
                let (core, port) = (CoreId(cursor.u16()?), cursor.u16()?);
                Ok(Address { core, port, host: cursor.text()? })
            })
            .collect::<Result<_, Malformed>>()?;
        let ranges = (0..cursor.count(Self::RANGE_BYTES)?)
            .map(|_| {
                let (first, last) = (cursor.u16()?, cursor.u16()?);
                let (shard, core) = (ShardId(cursor.u16()?), CoreId(cursor.u16()?));
                Ok(SlotRange { first, last, shard, core })
            })
            .collect::<Result<_, Malformed>>()?;
        Ok(Self { epoch, shard_count, cores, ranges })
    }
}
