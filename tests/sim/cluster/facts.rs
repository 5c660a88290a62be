//! What has been seen of all replicas, and must agree with what is seen later.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::limits::{REPLICA_ENTRY_WINDOW, REPLICA_PINNED_BYTES_MAX};
use crate::node::replica_stats::{ReplicaState, Role};
use crate::replica::NO_CHANGES;
use crate::shard::Shard;
use crate::sim::{Outcome, content};
use crate::types::{LogIndex, NodeId, Term};

/// What is true for good.
#[derive(Debug, Default)]
pub(super) struct Facts {
    leaders: BTreeMap<Term, NodeId>,
    /// What entries are, by index and term.
    entries: BTreeMap<(LogIndex, Term), u64>,
    /// The terms of entries that stay.
    fixed: BTreeMap<LogIndex, Term>,
    /// What a keyspace is that has seen all up to an entry, and who was the first.
    states: BTreeMap<(LogIndex, Term), (u64, NodeId)>,
    /// How much of each node has been looked at.
    looked: BTreeMap<NodeId, Looked>,
}

#[derive(Debug, Default)]
struct Looked {
    /// The terms of its last entries.
    terms: BTreeMap<LogIndex, Term>,
    committed: LogIndex,
    kept: LogIndex,
    state: Option<(LogIndex, Term)>,
}

impl Facts {
    /// A node has been started anew.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.looked.remove(&node);
    }

    /// The last entry that stays.
    pub(super) fn last_fixed(&self) -> LogIndex {
        self.fixed.last_key_value().map_or(LogIndex(0), |(index, _)| *index)
    }

    /// Looks at a replica; what it says to be committed stays if `is_kept`, else what a quorum has on disk.
    pub(super) fn look(&mut self, node: NodeId, shard: &Shard, is_kept: bool) -> Outcome {
        let Some(replica) = shard.replica() else { return Ok(()) };
        let published = shard.replica_published(true).ok_or("it publishes nothing")?;
        let state = published.state.ok_or("it publishes no state")?;
        self.look_at_role(node, &state)?;
        self.look_at_entries(node, shard, &state)?;
        let kept = if is_kept { state.committed } else { published.synced };
        let looked = self.looked.entry(node).or_default();
        if is_kept && state.committed < looked.committed {
            return Err(format!("node {} takes back what was committed", node.0));
        }
        self.look_at_commit(node, shard, (state.committed, kept))?;
        self.look_at_keyspace(node, shard)?;
        let ahead = state.last.0 - state.committed.0;
        if published.reign % 2 == 1 && ahead > 10 * REPLICA_ENTRY_WINDOW {
            return Err(format!("node {} has {ahead} entries that are not committed", node.0));
        }
        if replica.memory_bytes() > REPLICA_PINNED_BYTES_MAX {
            return Err(format!("node {} keeps {} bytes", node.0, replica.memory_bytes()));
        }
        if let Some(what) = replica.outgrown() {
            return Err(format!("node {} has {what}", node.0));
        }
        Ok(())
    }

    fn look_at_role(&mut self, node: NodeId, state: &ReplicaState) -> Outcome {
        if !matches!(state.role, Role::Leader | Role::Elected) {
            return Ok(());
        }
        let first = *self.leaders.entry(state.term).or_insert(node);
        if first == node {
            return Ok(());
        }
        Err(format!("nodes {} and {} both lead term {}", first.0, node.0, state.term.0))
    }

    fn look_at_entries(&mut self, node: NodeId, shard: &Shard, state: &ReplicaState) -> Outcome {
        let Some(replica) = shard.replica() else { return Ok(()) };
        let looked = self.looked.entry(node).or_default();
        looked.terms.retain(|index, _| *index <= state.last);
        for index in (1..=state.last.0).rev().map(LogIndex) {
            let Some((term, data)) = replica.entry(index) else { break };
            if looked.terms.insert(index, term) == Some(term) {
                break;
            }
            let mut hasher = DefaultHasher::new();
            // That of an election is empty until it is read from a disk.
            if data.is_empty() { &NO_CHANGES[..] } else { &data[..] }.hash(&mut hasher);
            let hash = hasher.finish();
            if *self.entries.entry((index, term)).or_insert(hash) != hash {
                return Err(format!(
                    "node {} has another entry {} of term {}",
                    node.0, index.0, term.0
                ));
            }
        }
        Ok(())
    }

    fn look_at_commit(
        &mut self,
        node: NodeId,
        shard: &Shard,
        (committed, kept): (LogIndex, LogIndex),
    ) -> Outcome {
        let Some(replica) = shard.replica() else { return Ok(()) };
        let looked = self.looked.entry(node).or_default();
        let new = (looked.committed.0 + 1..=committed.0).chain(looked.kept.0 + 1..=kept.0);
        for index in new.map(LogIndex) {
            let Some((term, _)) = replica.entry(index) else { continue };
            let fixed = match index <= kept {
                true => *self.fixed.entry(index).or_insert(term),
                false => self.fixed.get(&index).copied().unwrap_or(term),
            };
            if fixed != term {
                return Err(format!(
                    "entry {} is that of term {} on node {}, and was that of {}",
                    index.0, term.0, node.0, fixed.0
                ));
            }
        }
        (looked.committed, looked.kept) = (committed, kept.max(looked.kept));
        Ok(())
    }

    fn look_at_keyspace(&mut self, node: NodeId, shard: &Shard) -> Outcome {
        let seen = shard.replica().and_then(|replica| replica.seen_by_keyspace());
        let Some(seen) = seen.filter(|_| shard.keyspace().changes_len() == 0) else {
            return Ok(());
        };
        let looked = self.looked.entry(node).or_default();
        if looked.state.replace(seen) == Some(seen) {
            return Ok(());
        }
        let hash = hash_of(shard);
        let (first, by) = *self.states.entry(seen).or_insert((hash, node));
        if first == hash {
            return Ok(());
        }
        Err(format!(
            "after entry {} of term {} the keyspaces of nodes {} and {} differ",
            seen.0.0, seen.1.0, by.0, node.0
        ))
    }
}

/// Stands for all that is in a keyspace, versions included.
pub(super) fn hash_of(shard: &Shard) -> u64 {
    let mut hasher = DefaultHasher::new();
    content(shard).hash(&mut hasher);
    hasher.finish()
}
