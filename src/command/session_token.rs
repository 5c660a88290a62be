//! Session tokens: how far a session's writes have come in the logs of their shards, as short printable text that a
//! client takes to another node, where reads wait until that node has come as far.
//!
//! ```text
//! r1:0.120,3.77:1dea3fd9      entry 120 of shard 0, entry 77 of shard 3, CRC32C of what stands before
//! ```
//!
//! A client has a token only once a quorum has the entries that it names, so they stay, and whoever leads a shard
//! later has them too: shard and index are enough, and no term is needed. If a quorum is lost with all that it held,
//! an index may lie beyond the log until others are written; then a wait for it ends with an error.

use std::collections::BTreeMap;
use std::fmt;

use super::Error;
use crate::limits::SHARDS_MAX;
use crate::types::{LogIndex, ShardId};

/// What a token begins with: the form, and its version.
const HEAD: &str = "r1:";
/// Longest text of an entry: a shard, a dot, an index, a comma.
const ENTRY_BYTES_MAX: usize = 27;
/// Longest text of a token.
const BYTES_MAX: usize = SHARDS_MAX as usize * ENTRY_BYTES_MAX + 16;

const INVALID: Error = Error::Static("ERR Invalid session token");
const OF_ANOTHER_CLUSTER: Error = Error::Static(
    "ERR The session token names a shard that is not here: it is of a cluster with other shards",
);

/// The last entry of each shard that a session depends on; none for shards that it has not written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionToken {
    entries: BTreeMap<ShardId, LogIndex>,
}

impl SessionToken {
    /// The token that `text` is, of a server with so many shards.
    ///
    /// # Errors
    /// If it is none, or names a shard that is not there.
    pub fn parse(text: &[u8], shard_count: u16) -> Result<Self, Error> {
        let text = Some(text).filter(|text| text.len() <= BYTES_MAX);
        let text = text.and_then(|text| std::str::from_utf8(text).ok()).ok_or(INVALID)?;
        let (content, check) = text.rsplit_once(':').ok_or(INVALID)?;
        let list = content.strip_prefix(HEAD).ok_or(INVALID)?;
        if check != check_of(content) {
            return Err(INVALID);
        }
        let mut token = Self::default();
        for entry in list.split(',').filter(|_| !list.is_empty()) {
            let (shard, index) = entry.split_once('.').ok_or(INVALID)?;
            let (shard, index) = (number(shard)?, number(index)?);
            let shard = u16::try_from(shard).ok().filter(|shard| *shard < shard_count);
            token.note(ShardId(shard.ok_or(OF_ANOTHER_CLUSTER)?), LogIndex(index));
        }
        // There is one text for each token.
        if token.to_string() == text { Ok(token) } else { Err(INVALID) }
    }

    /// The session depends on this entry too, and on all before it.
    pub fn note(&mut self, shard: ShardId, index: LogIndex) {
        if index.0 > 0 {
            let last = self.entries.entry(shard).or_default();
            *last = index.max(*last);
        }
    }

    /// It depends on all that `other` does.
    pub fn merge(&mut self, other: &Self) {
        other.entries().for_each(|(shard, index)| self.note(shard, index));
    }

    /// The last entry of a shard that it depends on; 0 for none.
    pub fn index_of(&self, shard: ShardId) -> LogIndex {
        self.entries.get(&shard).copied().unwrap_or_default()
    }

    /// The shards that it depends on, each with the last entry.
    pub fn entries(&self) -> impl Iterator<Item = (ShardId, LogIndex)> + '_ {
        self.entries.iter().map(|(shard, index)| (*shard, *index))
    }
}

impl fmt::Display for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = |(shard, index): (ShardId, LogIndex)| format!("{}.{}", shard.0, index.0);
        let list: Vec<String> = self.entries().map(entry).collect();
        let content = format!("{HEAD}{}", list.join(","));
        write!(f, "{content}:{}", check_of(&content))
    }
}

fn check_of(content: &str) -> String {
    format!("{:08x}", crc32c::crc32c(content.as_bytes()))
}

fn number(text: &str) -> Result<u64, Error> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain).ok_or(INVALID)
}

#[cfg(test)]
mod tests {
    use super::{Error, INVALID, OF_ANOTHER_CLUSTER, SessionToken, check_of};
    use crate::types::{LogIndex, ShardId};

    fn token(entries: &[(u16, u64)]) -> SessionToken {
        let mut token = SessionToken::default();
        entries.iter().for_each(|(shard, index)| token.note(ShardId(*shard), LogIndex(*index)));
        token
    }

    fn parse(text: &str) -> Result<SessionToken, Error> {
        SessionToken::parse(text.as_bytes(), 8)
    }

    #[test]
    fn a_token_is_text_and_back() {
        assert_eq!(token(&[]).to_string(), "r1::71651c4d");
        assert_eq!(token(&[(3, 77), (0, 120), (3, 5)]).to_string(), "r1:0.120,3.77:1dea3fd9");
        for entries in [&[][..], &[(7, u64::MAX)], &[(0, 1), (1, 2), (7, 3)]] {
            let text = token(entries).to_string();
            assert_eq!(parse(&text).unwrap(), token(entries), "{text}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let checked = |content: &str| format!("{content}:{}", check_of(content));
        assert!(parse(&checked("r1:0.1")).is_ok());
        for text in [
            String::new(),
            "r1".to_owned(),
            "r1:0.1:00000000".to_owned(),
            checked("r2:0.1"),
            checked("r1:0"),
            checked("r1:0.1,"),
            checked("r1:0.x"),
            checked("r1:0.+1"),
            checked("r1:0.01"),
            checked("r1:0.0"),
            checked("r1:1.1,0.1"),
            checked("r1:0.1,0.2"),
            checked("r1:0.99999999999999999999"),
            "r".repeat(100_000),
        ] {
            assert_eq!(parse(&text).unwrap_err().to_string(), INVALID.to_string(), "{text}");
        }
        let other = parse(&checked("r1:8.1")).unwrap_err();
        assert_eq!(other.to_string(), OF_ANOTHER_CLUSTER.to_string());
    }

    #[test]
    fn tokens_are_merged_by_their_greatest_entries() {
        let mut merged = token(&[(0, 5), (1, 9)]);
        merged.merge(&token(&[(1, 4), (2, 3)]));
        assert_eq!(merged, token(&[(0, 5), (1, 9), (2, 3)]));
        assert_eq!(merged.index_of(ShardId(1)), LogIndex(9));
        assert_eq!(merged.index_of(ShardId(3)), LogIndex(0));
    }
}
