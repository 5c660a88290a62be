//! Commands of one connection for one shard, on their way to whoever holds the shard's token, and
//! their replies on the way back.

use std::sync::Arc;

use super::ring::Token;
use crate::node::ClientInfo;
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::shard::Call;
use crate::types::{CoreId, ShardId};

/// A batch: an owned copy of its requests, so that the connection may go on reading.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The core that waits for the replies.
    pub(crate) origin: CoreId,
    /// The connection, on that core.
    pub(crate) connection: Token,
    /// Names the batch among those of its connection.
    pub(crate) ticket: u64,
    /// The shard all its commands are for.
    pub(crate) shard: ShardId,
    /// Whether it is for the shard's owner, because a command in it may take long.
    pub(crate) for_owner: bool,
    /// The client, for the slow log.
    pub(crate) client: Arc<ClientInfo>,
    calls: Vec<(Call, u32)>,
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
    /// The replies, one after another.
    pub(crate) replies: Vec<u8>,
    /// The length of each reply.
    pub(crate) lengths: Vec<usize>,
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new(
        origin: CoreId,
        connection: Token,
        ticket: u64,
        shard: ShardId,
        client: Arc<ClientInfo>,
    ) -> Self {
        Self {
            origin,
            connection,
            ticket,
            shard,
            for_owner: false,
            client,
            calls: Vec::new(),
            bytes: Vec::new(),
            ranges: Vec::new(),
            replies: Vec::new(),
            lengths: Vec::new(),
        }
    }

    /// Adds a command; answers how many bytes the batch grew by.
    pub(crate) fn push(&mut self, call: Call, args: &Args<'_>) -> usize {
        let before = self.bytes.len();
        args.append_to(&mut self.bytes, &mut self.ranges);
        let count = u32::try_from(args.len()).expect("arguments are bounded in number");
        self.calls.push((call, count));
        self.bytes.len() - before
    }

    /// Runs every command with `run`, which appends a reply.
    pub(crate) fn run(&mut self, mut run: impl FnMut(&Call, &Args<'_>, &mut Vec<u8>)) {
        let mut first = 0;
        for (call, count) in &self.calls {
            let end = first + *count as usize;
            let args = Args::new(&self.bytes, &self.ranges[first..end]);
            first = end;
            let start = self.replies.len();
            run(call, &args, &mut self.replies);
            self.lengths.push(self.replies.len() - start);
        }
    }
}
