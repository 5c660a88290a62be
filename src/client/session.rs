//! Reading one's own writes: what a session has written, per shard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::binary::Token;
use crate::types::ShardId;

/// Remembers how far the shards had come with the writes made in it, and has reads wait for that.
///
/// Give the same session to writes and to the reads that must see them, with
/// [`Request::session`](super::Request::session). It is cheap to clone, clones are the same session,
/// and it may outlive the client. A read that the key's owner answers sees all acknowledged writes anyway;
/// from a follower ([`Request::from_follower`](super::Request::from_follower)) it does so only in a session.
///
/// ```
/// use ringmain::client::Session;
///
/// let session = Session::new();
/// assert!(session.is_empty());
/// let same = session.clone();
/// same.clear();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Session {
    sequences: Arc<Mutex<BTreeMap<ShardId, u64>>>,
}

impl Session {
    /// A session that has written nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was written in it.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Forgets what was written. Needed when reads are answered
    /// [`TokenExpired`](super::Status::TokenExpired): the server has started anew, and what was written
    /// before may be lost.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The token for a read from `shard`.
    pub(super) fn token(&self, shard: ShardId) -> Option<Token> {
        self.lock().get(&shard).map(|&sequence| Token { shard, sequence })
    }

    /// Takes note of a write. Writes may be noted in another order than they were done.
    pub(super) fn note(&self, token: Token) {
        let mut sequences = self.lock();
        let sequence = sequences.entry(token.shard).or_default();
        *sequence = token.sequence.max(*sequence);
    }

    /// A panic elsewhere can't leave a map of numbers half written.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, u64>> {
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Session;
    use crate::protocol::binary::Token;
    use crate::types::ShardId;

    #[test]
    fn the_furthest_write_of_each_shard_counts() {
        let session = Session::new();
        for (shard, sequence) in [(1, 7), (2, 3), (1, 5)] {
            session.note(Token { shard: ShardId(shard), sequence });
        }
        assert_eq!(session.token(ShardId(1)).unwrap().sequence, 7);
        assert_eq!(session.clone().token(ShardId(2)).unwrap().sequence, 3);
        assert_eq!(session.token(ShardId(3)), None);
        session.clear();
        assert!(session.is_empty());
    }
}
