//! Commands of one connection for one shard, on their way to whoever holds the shard's token, and
//! their replies on the way back.

use std::sync::Arc;

use super::frames::Replies;
use super::gate::Gate;
use super::ring::Token;
use crate::cache::{Extent, SharedBytes};
use crate::limits::PENDING_OUTPUT_BYTES_MAX;
use crate::node::ClientInfo;
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::protocol::binary::ReplyHead;
use crate::shard::Call;
use crate::types::{CoreId, ShardId};

/// A batch: an owned copy of its requests, so that the connection may go on reading. Of a long
/// request it holds what the request lies in.
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
    /// The earliest instant at which its requests can have come, in ticks of the clock that all cores
    /// share.
    pub(crate) arrived: u64,
    /// When it left, in the same ticks.
    pub(crate) left_at: u64,
    /// The client, for the slow log.
    pub(crate) client: Arc<ClientInfo>,
    calls: Vec<Queued>,
    /// How many of its commands the last run ran.
    pub(crate) ran: usize,
    /// How many of its commands, and of their arguments, are done with.
    done: (usize, usize),
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
    /// The replies of the last run.
    pub(crate) replies: BatchReplies,
    /// What they have to wait for.
    pub(crate) gate: Gate,
}

/// A command of a batch.
#[derive(Debug)]
struct Queued {
    call: Call,
    /// Arguments.
    count: u32,
    /// What the arguments lie in, and from where on, where they were too long to be copied.
    request: Option<(Arc<Extent>, usize)>,
}

/// What came of a command.
pub(crate) struct Ran {
    /// The head of its reply, if it was one of the binary protocol: the body was appended.
    pub(crate) head: Option<ReplyHead>,
    /// The reply, if it is one long value: then nothing was appended.
    pub(crate) value: Option<SharedBytes>,
    /// Whether there is time for more.
    pub(crate) has_time: bool,
}

/// The replies to the commands of a batch.
#[derive(Debug, Default)]
pub(crate) struct BatchReplies {
    /// All but the long ones, one after another; of the binary protocol, frames of them.
    pub(crate) bytes: Vec<u8>,
    /// The length of each reply in `bytes`; none of the binary protocol's.
    pub(crate) lengths: Vec<usize>,
    /// Long values, each the whole reply to the command of this index.
    pub(crate) values: Vec<(usize, SharedBytes)>,
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
            arrived: 0,
            left_at: 0,
            client,
            calls: Vec::new(),
            ran: 0,
            done: (0, 0),
            bytes: Vec::new(),
            ranges: Vec::new(),
            replies: BatchReplies::default(),
            gate: Gate::default(),
        }
    }

    /// Adds a command; answers how many bytes the batch grew by.
    pub(crate) fn push(&mut self, call: Call, args: &Args<'_>) -> usize {
        let before = self.bytes.len();
        args.append_to(&mut self.bytes, &mut self.ranges);
        self.calls.push(Queued { call, count: count(args), request: None });
        self.bytes.len() - before
    }

    /// Adds a command whose arguments stay in `request`, where they lie from `start` on.
    pub(crate) fn push_long(
        &mut self,
        call: Call,
        args: &Args<'_>,
        request: Arc<Extent>,
        start: usize,
    ) {
        self.ranges.extend_from_slice(args.ranges());
        self.calls.push(Queued { call, count: count(args), request: Some((request, start)) });
    }

    /// Runs its commands with `run`, which is given what a long request lies in, and answers nothing if it has left a
    /// command as it is. Ends early there, if there is no time for more, or with more replies than a client should
    /// have waiting. `epoch` is the topology's.
    pub(crate) fn run(
        &mut self,
        epoch: u64,
        mut run: impl FnMut(Option<Arc<Extent>>, &Call, &Args<'_>, &mut Vec<u8>) -> Option<Ran>,
    ) {
        self.replies = BatchReplies::default();
        let (done_calls, mut first) = self.done;
        let calls = &mut self.calls[done_calls..];
        let is_native = calls.first().is_some_and(|queued| queued.call.native.is_some());
        let mut frames = is_native.then(|| Replies::begin(&mut self.replies.bytes, calls.len()));
        let mut value_bytes = 0;
        self.ran = 0;
        for Queued { call, count, request } in calls {
            let end = first + *count as usize;
            let lies_in = request.take();
            let args = arguments(&lies_in, &self.bytes, &self.ranges[first..end]);
            let replies = &mut self.replies;
            let start = replies.bytes.len();
            let extent = lies_in.as_ref().map(|(extent, _)| extent.clone());
            let Some(Ran { head, value, has_time }) = run(extent, call, &args, &mut replies.bytes)
            else {
                *request = lies_in;
                break;
            };
            first = end;
            if let Some(value) = value {
                value_bytes += value.len();
                replies.values.push((replies.lengths.len(), value));
            }
            match (&mut frames, head) {
                (Some(frames), Some(head)) => frames.push(&mut replies.bytes, head, epoch),
                _ => replies.lengths.push(replies.bytes.len() - start),
            }
            self.ran += 1;
            if !has_time || replies.bytes.len() + value_bytes > PENDING_OUTPUT_BYTES_MAX {
                break;
            }
        }
        if let Some(frames) = frames {
            frames.finish(&mut self.replies.bytes, epoch);
        }
        self.done = (done_calls + self.ran, first);
    }

    /// The command that is the next to be run, and its arguments.
    pub(crate) fn next(&self) -> Option<(&Call, Args<'_>)> {
        let (done_calls, first) = self.done;
        let Queued { call, count, request } = self.calls.get(done_calls)?;
        let ranges = &self.ranges[first..first + *count as usize];
        Some((call, arguments(request, &self.bytes, ranges)))
    }

    /// The next command has been run by itself, and this is its reply.
    pub(crate) fn answer_next(&mut self, epoch: u64, head: Option<ReplyHead>, reply: Vec<u8>) {
        let mut reply = Some(reply);
        self.run(epoch, |_, _, _, out| {
            out.append(&mut reply.take()?);
            Some(Ran { head, value: None, has_time: false })
        });
    }

    /// Whether all its commands have been run.
    pub(crate) fn is_done(&self) -> bool {
        self.done.0 == self.calls.len()
    }
}

/// The arguments of a command: they lie in its request, or else in `bytes`.
fn arguments<'b>(
    request: &'b Option<(Arc<Extent>, usize)>,
    bytes: &'b [u8],
    ranges: &'b [ArgRange],
) -> Args<'b> {
    match request {
        Some((extent, start)) => Args::new(&extent.written()[*start..], ranges),
        None => Args::new(bytes, ranges),
    }
}

fn count(args: &Args<'_>) -> u32 {
    u32::try_from(args.len()).expect("arguments are bounded in number")
}
