//! Identifiers that every layer shares, and the map from keys to slots to shards to cores.
//!
//! Each identifier is a type of its own, so that a slot can't be passed where a shard is meant.

/// Number of hash slots, as in Redis Cluster.
pub const SLOT_COUNT: u16 = 16_384;

/// A hash slot: CRC16 of a key's hash tag, modulo [`SLOT_COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// A shard: one keyspace, owned by one core. Fixed when the server starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// A core: one pinned thread with its rings. Runs one shard or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

/// A node of a cluster, unique in it for good; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u64);

/// A logical database, chosen with `SELECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DbIndex(pub u8);

/// A client connection, unique while the process lives; what `CLIENT ID` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A file of a shard's log, or a snapshot. A shard never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

/// The place of a record in a shard's log; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogIndex(pub u64);

/// A term of Raft; 0 in a log that is not replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

/// A place in a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteOffset(pub u64);

/// Wall-clock time in milliseconds since the Unix epoch; what expiry is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMs(pub u64);

/// Monotonic time in microseconds since the process started; what durations are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoUs(pub u64);

/// Both clocks, read once a turn by the runtime and passed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// Wall clock, for expiry.
    pub unix: UnixMs,
    /// The same in microseconds, for those who are shown the time.
    pub unix_us: u64,
    /// Monotonic clock, for durations.
    pub mono: MonoUs,
}

impl Now {
    /// The moment `unix` after the Unix epoch, `mono` after the start of the process.
    pub fn new(unix: std::time::Duration, mono: MonoUs) -> Self {
        let unix_us = u64::try_from(unix.as_micros()).unwrap_or(u64::MAX);
        Self { unix: UnixMs(unix_us / 1000), unix_us, mono }
    }

    /// Where the sequences of changes of a server begin that starts now: nanoseconds since the Unix
    /// epoch. A shard makes fewer changes than one a nanosecond, so the next start begins higher, unless
    /// the clock has been set back.
    pub fn first_sequence(&self) -> u64 {
        self.unix_us.saturating_mul(1000)
    }
}

/// A key as the layers below the protocol see it: its database, its slot and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// The logical database.
    pub db: DbIndex,
    /// The slot of `bytes`; computed once, where the command is routed.
    pub slot: Slot,
    /// The key itself.
    pub bytes: &'a [u8],
}

impl<'a> Key<'a> {
    /// Computes the slot of `bytes`.
    pub fn new(db: DbIndex, bytes: &'a [u8]) -> Self {
        Self { db, slot: key_slot(bytes), bytes }
    }
}

/// The slot of a key, hash tags included: if the key holds `{tag}` with a non-empty tag, only the
/// first such tag is hashed (Redis Cluster specification, "Hash tags").
pub fn key_slot(key: &[u8]) -> Slot {
    Slot(crc16(hash_tag(key)) % SLOT_COUNT)
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = find_brace(key) else { return key };
    let after = &key[open + 1..];
    match memchr::memchr(b'}', after) {
        Some(length) if length > 0 => &after[..length],
        _ => key,
    }
}

/// The first `{`, eight bytes a step: keys are short, and calling a search routine costs more.
fn find_brace(key: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const BRACES: u64 = u64::from_ne_bytes([b'{'; 8]);
    let (words, rest) = key.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let zero_where_brace = u64::from_ne_bytes(*word) ^ BRACES;
        if zero_where_brace.wrapping_sub(ONES) & !zero_where_brace & HIGHS != 0 {
            return key[index * 8..].iter().position(|byte| *byte == b'{').map(|at| index * 8 + at);
        }
    }
    rest.iter().position(|byte| *byte == b'{').map(|at| words.len() * 8 + at)
}

/// CRC16/XMODEM (polynomial 0x1021, no reflection, initial value 0), eight bytes a step.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let high = (crc >> 8) as u8 ^ word[0];
        let low = (crc & 0xff) as u8 ^ word[1];
        crc = CRC16[7][high as usize]
            ^ CRC16[6][low as usize]
            ^ CRC16[5][word[2] as usize]
            ^ CRC16[4][word[3] as usize]
            ^ CRC16[3][word[4] as usize]
            ^ CRC16[2][word[5] as usize]
            ^ CRC16[1][word[6] as usize]
            ^ CRC16[0][word[7] as usize];
    }
    for &byte in rest {
        crc = (crc << 8) ^ CRC16[0][((crc >> 8) as u8 ^ byte) as usize];
    }
    crc
}

/// `CRC16[n][b]`: the checksum of byte `b` followed by `n` zero bytes.
static CRC16: [[u16; 256]; 8] = crc16_tables();

const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// Which shard owns a slot, for good: shards own equal, contiguous runs of slots. How many cores run
/// them is fixed too; which core runs which shard is not (see `node::Owners`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMap {
    shard_count: u16,
    core_count: u16,
}

impl SlotMap {
    /// A map over `shard_count` shards on `core_count` cores.
    ///
    /// # Panics
    /// If either count is zero, if there are more cores than shards or more shards than slots.
    pub fn new(shard_count: u16, core_count: u16) -> Self {
        assert!(core_count > 0 && core_count <= shard_count && shard_count <= SLOT_COUNT);
        Self { shard_count, core_count }
    }

    /// Number of shards.
    pub fn shard_count(&self) -> u16 {
        self.shard_count
    }

    /// Number of cores.
    pub fn core_count(&self) -> u16 {
        self.core_count
    }

    /// The shard that owns `slot`.
    #[expect(clippy::cast_possible_truncation, reason = "the quotient is below shard_count")]
    pub fn shard_of(&self, slot: Slot) -> ShardId {
        ShardId((u32::from(slot.0) * u32::from(self.shard_count) / u32::from(SLOT_COUNT)) as u16)
    }

    /// The core that runs `shard` when the server starts: cores begin with equal, contiguous runs of
    /// shards.
    #[expect(clippy::cast_possible_truncation, reason = "the quotient is below core_count")]
    pub fn first_core_of(&self, shard: ShardId) -> CoreId {
        let quotient =
            u32::from(shard.0) * u32::from(self.core_count) / u32::from(self.shard_count);
        CoreId(quotient as u16)
    }

    /// The slots that `shard` owns.
    pub fn slots_of(&self, shard: ShardId) -> std::ops::Range<u16> {
        first_of(shard.0, self.shard_count, SLOT_COUNT)
            ..first_of(shard.0 + 1, self.shard_count, SLOT_COUNT)
    }
}

/// The first of `items` that part `part` of `parts` holds when item `i` belongs to part
/// `i * parts / items`.
#[expect(clippy::cast_possible_truncation, reason = "the quotient is at most items")]
fn first_of(part: u16, parts: u16, items: u16) -> u16 {
    (u32::from(part) * u32::from(items)).div_ceil(u32::from(parts)) as u16
}

#[cfg(test)]
mod tests {
    use super::{SLOT_COUNT, ShardId, Slot, SlotMap, crc16, key_slot};

    #[test]
    fn crc16_matches_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn slots_match_redis() {
        // As `CLUSTER KEYSLOT` of Redis 7.0 answers.
        for (key, slot) in [
            ("", 0),
            ("foo", 12182),
            ("somekey", 11058),
            ("foo{hash_tag}", 2515),
            ("bar{hash_tag}", 2515),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{bar}{zap}", 5061),
        ] {
            assert_eq!(key_slot(key.as_bytes()), Slot(slot), "{key}");
        }
    }

    #[test]
    fn every_slot_has_one_shard_and_every_shard_a_core() {
        for (shards, cores) in [(1, 1), (2, 2), (3, 2), (7, 3), (16, 5), (1000, 64)] {
            let map = SlotMap::new(shards, cores);
            for slot in 0..SLOT_COUNT {
                let shard = map.shard_of(Slot(slot));
                assert!(map.slots_of(shard).contains(&slot), "{slot} of {shards}");
            }
            let slots = (0..shards).map(|shard| map.slots_of(ShardId(shard)).len());
            assert_eq!(slots.sum::<usize>(), usize::from(SLOT_COUNT));
            let mut owners: Vec<u16> =
                (0..shards).map(|shard| map.first_core_of(ShardId(shard)).0).collect();
            assert!(owners.is_sorted());
            owners.dedup();
            assert_eq!(owners, (0..cores).collect::<Vec<_>>());
        }
    }
}
