//! What a replica must not forget beside its log: its term, whom it voted for, who votes. A file of its own
//! in the shard's folder, `raft`: written and synced before any message that relies on it leaves.
//!
//! Two copies of one page each; the one with the higher generation holds, and the next is written over the
//! other, as in the manifest.
//!
//! `docs/log-format.md` has the layout.

use std::io;

use super::configuration::Configuration;
use super::directory::Directory;
use super::record::{u32_at, u64_at};
use super::segment::{DirectoryId, NUMBERS_END};
use crate::limits::NODES_MAX;
use crate::types::{LogIndex, NodeId, ShardId, Term};

/// Name of the file in the shard's folder.
pub const HARD_STATE_NAME: &str = "raft";
/// Its name until it holds a whole copy.
const NEW_NAME: &str = "raft.new";
/// Bytes of one copy.
pub const HARD_STATE_COPY_BYTES: usize = 4096;
const MAGIC: &[u8; 8] = b"RINGRFT1";
const NODES_AT: usize = 128;
/// Terms that a replica which goes on alone is ahead of all others.
const ALONE_TERMS: u64 = 1 << 20;

const _: () = assert!(NODES_AT + 2 * 8 * NODES_MAX <= HARD_STATE_COPY_BYTES);

/// A replica's hard state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardState {
    /// Whose log it belongs to.
    pub shard: ShardId,
    /// The data directory.
    pub directory: DirectoryId,
    /// The node whose replica it is.
    pub node: NodeId,
    /// One more than the copy before.
    pub generation: u64,
    /// The current term.
    pub term: Term,
    /// Whom this replica voted for in it, if anybody.
    pub vote: Option<NodeId>,
    /// How far the log was known to be committed; it may be further.
    pub commit: LogIndex,
    /// Whether the replica was stopped cleanly and has not been started since: then it has all that it had told
    /// others. A start says that it has been before the replica says anything else.
    pub is_clean: bool,
    /// Whether the replica has ever had all that it might have promised to anybody: until then it can't tell a new shard
    /// from a lost disk.
    pub has_begun: bool,
    /// Who takes part.
    pub configuration: Configuration,
}

impl HardState {
    /// That of a replica that begins, of a shard on which these nodes vote; none if it is not known yet.
    pub fn first(
        (shard, directory): (ShardId, DirectoryId),
        node: NodeId,
        voters: Vec<NodeId>,
    ) -> Self {
        Self {
            shard,
            directory,
            node,
            generation: 0,
            term: Term(0),
            vote: None,
            commit: LogIndex(0),
            is_clean: false,
            has_begun: false,
            configuration: Configuration::first(voters),
        }
    }

    /// That of a replica which goes on alone, without those that it had voted with: what it has, up to the entry `last`,
    /// is what there is from now on. The configuration is of a term that no election comes to, so that it is newer than
    /// any other that is known somewhere, or is in the log and not committed.
    pub fn alone(&self, (last, of_last): (LogIndex, Term)) -> Self {
        let term = Term(self.term.max(of_last).0 + ALONE_TERMS);
        let alone = Configuration::first(vec![self.node]);
        Self {
            generation: self.generation + 1,
            term,
            vote: None,
            has_begun: true,
            configuration: Configuration { version: (term, last), ..alone },
            ..self.clone()
        }
    }

    /// One copy.
    ///
    /// # Panics
    /// If there are more nodes than a cluster may have.
    pub fn encode(&self) -> [u8; HARD_STATE_COPY_BYTES] {
        let Configuration { version: (of_term, index), voters, learners, heir } =
            &self.configuration;
        assert!(voters.len().max(learners.len()) <= NODES_MAX);
        let count = |nodes: &[NodeId]| u8::try_from(nodes.len()).unwrap_or(u8::MAX);
        let mut page = [0; HARD_STATE_COPY_BYTES];
        page[..8].copy_from_slice(MAGIC);
        page[12..14].copy_from_slice(&self.shard.0.to_le_bytes());
        (page[14], page[15]) = (count(voters), count(learners));
        let vote = self.vote.map_or(0, |node| node.0);
        let words = [self.generation, self.node.0, self.term.0, vote, self.commit.0];
        for (bytes, word) in page[16..56].chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        (page[56], page[57]) = (u8::from(self.is_clean), u8::from(self.has_begun));
        page[64..80].copy_from_slice(&self.directory);
        page[80..88].copy_from_slice(&index.0.to_le_bytes());
        page[88..96].copy_from_slice(&heir.map_or(0, |heir| heir.0).to_le_bytes());
        page[96..104].copy_from_slice(&of_term.0.to_le_bytes());
        let nodes = voters.iter().chain(learners);
        for (bytes, node) in page[NODES_AT..].chunks_exact_mut(8).zip(nodes) {
            bytes.copy_from_slice(&node.0.to_le_bytes());
        }
        let crc = crc32c::crc32c(&page[12..]);
        page[8..12].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Where the next copy goes: not over the one that counts.
    fn next_offset(bytes: &[u8]) -> u64 {
        let copies = bytes.chunks_exact(HARD_STATE_COPY_BYTES).map(Self::decode_copy);
        let newest = copies.enumerate().filter_map(|(at, copy)| Some((copy?.generation, at))).max();
        if matches!(newest, Some((_, 0))) { HARD_STATE_COPY_BYTES as u64 } else { 0 }
    }

    /// The newer of the whole copies in the bytes of the file; none if there is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let copies = bytes.chunks_exact(HARD_STATE_COPY_BYTES).filter_map(Self::decode_copy);
        copies.max_by_key(|state| state.generation)
    }

    fn decode_copy(page: &[u8]) -> Option<Self> {
        if page[..8] != *MAGIC || crc32c::crc32c(&page[12..]) != u32_at(page, 8) {
            return None;
        }
        let word = |index: usize| u64_at(page, 16 + index * 8);
        let (voters, learners) = (usize::from(page[14]), usize::from(page[15]));
        if voters.max(learners) > NODES_MAX {
            return None;
        }
        let nodes = page[NODES_AT..].chunks_exact(8).map(|bytes| NodeId(u64_at(bytes, 0)));
        let nodes: Vec<NodeId> = nodes.take(voters + learners).collect();
        let state = Self {
            shard: ShardId(u16::from_le_bytes([page[12], page[13]])),
            directory: *page[64..].first_chunk()?,
            generation: word(0),
            node: NodeId(word(1)),
            term: Term(word(2)),
            vote: Some(NodeId(word(3))).filter(|node| node.0 > 0),
            commit: LogIndex(word(4)),
            is_clean: page[56] == 1,
            has_begun: page[57] == 1,
            configuration: Configuration {
                version: (Term(u64_at(page, 96)), LogIndex(u64_at(page, 80))),
                voters: nodes[..voters].to_vec(),
                learners: nodes[voters..].to_vec(),
                heir: Some(NodeId(u64_at(page, 88))).filter(|heir| heir.0 > 0),
            },
        };
        let (of_term, index) = state.configuration.version;
        let numbers = [state.generation, state.term.0, state.commit.0, of_term.0, index.0];
        let is_possible = state.node.0 > 0
            && state.configuration.is_possible()
            && numbers.iter().all(|it| *it < NUMBERS_END);
        (state.encode()[..] == *page && is_possible).then_some(state)
    }

    /// The hard state in a folder; none if no replica has been there.
    ///
    /// # Errors
    /// The system's, or if there is a file that can't be read.
    pub fn read(directory: &mut impl Directory) -> io::Result<Option<Self>> {
        match directory.read(HARD_STATE_NAME) {
            Ok(content) => Self::decode(&content).map(Some).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the hard state is damaged")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it over the older of the two copies, and makes the file if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn save(&self, directory: &mut impl Directory) -> io::Result<()> {
        let (is_new, offset) = match directory.read(HARD_STATE_NAME) {
            Ok(content) => (content.len() < 2 * HARD_STATE_COPY_BYTES, Self::next_offset(&content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (true, 0),
            Err(error) => return Err(error),
        };
        // A file without a whole copy is damage, so it gets its name when it has one.
        let name = if is_new { NEW_NAME } else { HARD_STATE_NAME };
        if is_new {
            directory.create(name, 2 * HARD_STATE_COPY_BYTES as u64, false)?;
        }
        let offset = if is_new { 0 } else { offset };
        directory.write(name, offset, &self.encode())?;
        directory.sync(name)?;
        if !is_new {
            return Ok(());
        }
        directory.rename(name, HARD_STATE_NAME)?;
        directory.sync_directory()
    }
}
