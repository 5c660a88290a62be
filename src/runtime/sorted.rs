//! Requests of one window on several shards, run shard by shard.
//!
//! A token is held for as long as the requests of the window that need it take, no longer: another core
//! with a batch for the same shard finds it free more often, and what it does not find free it asks for
//! again when the other shards are done. Only then is the work left to the holder. Requests for
//! different shards may overtake one another so; their replies are put back into order, where the
//! protocol knows an order.
//!
//! This is for plain requests (`plain`). With the first request that is not plain the usual way goes on
//! (`dispatch`).

use super::connection::Connection;
use super::core::Core;
use super::window::InHand;
use crate::cache::SharedBytes;
use crate::limits::{PENDING_OUTPUT_BYTES_MAX, TOKEN_TRIES};
use crate::shard::Call;
use crate::types::{Key, ShardId};

/// What a window is sorted with; kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// The plain requests, in order.
    requests: Vec<Plain>,
    /// The shards whose requests have not been run, each once.
    left: Vec<ShardId>,
    /// Replies in the order in which they came about.
    replies: Vec<u8>,
    /// Whether replies go where they belong at once: there is no order to be restored.
    is_direct: bool,
}

#[derive(Debug)]
struct Plain {
    call: Call,
    shard: ShardId,
    reply: Answer,
}

/// What has become of a request.
#[derive(Debug)]
enum Answer {
    /// It has not been run.
    None,
    /// Its reply lies here among the replies.
    At(usize, usize),
    /// Its reply is this long value.
    Value(SharedBytes),
    /// Its reply is where it belongs.
    Given,
}

impl Sorted {
    fn clear(&mut self) {
        self.requests.clear();
        self.left.clear();
        self.replies.clear();
        if self.replies.capacity() > PENDING_OUTPUT_BYTES_MAX {
            self.replies = Vec::new();
        }
    }

    fn add(&mut self, call: Call, shard: ShardId) {
        self.requests.push(Plain { call, shard, reply: Answer::None });
        if !self.left.contains(&shard) {
            self.left.push(shard);
        }
    }
}

impl Core<'_> {
    /// Runs the plain requests that the window of a connection that may bring such begins with. Answers how many
    /// there are.
    pub(super) fn run_sorted(
        &mut self,
        connection: &mut Connection,
        requests: &InHand<'_>,
        sorted: &mut Sorted,
    ) -> usize {
        sorted.clear();
        for request in &requests.window.requests {
            let shard = self.node.slots.shard_of(request.slot);
            let Some(call) = self.plain_call(connection, request, requests) else { break };
            if !self.serves(shard) || connection.is_forwarding(shard) {
                break;
            }
            sorted.add(call, shard);
        }
        let mut left = std::mem::take(&mut sorted.left);
        sorted.is_direct = left.len() == 1 || connection.binary.is_some();
        // What follows commands that were left to others goes their way.
        left.retain(|shard| !self.shards.is_refused(*shard) && !connection.has_outstanding(*shard));
        for _ in 0..TOKEN_TRIES {
            left.retain(|shard| !self.run_on_shard(connection, requests, sorted, *shard));
            if left.is_empty() {
                break;
            }
            std::hint::spin_loop();
        }
        left.clear();
        sorted.left = left;
        self.answer_in_order(connection, requests, sorted);
        sorted.requests.len()
    }

    /// Runs the requests for one shard if its token is free; what exceeds the bound on replies or time
    /// stays without a reply.
    fn run_on_shard(
        &mut self,
        connection: &mut Connection,
        requests: &InHand<'_>,
        sorted: &mut Sorted,
        id: ShardId,
    ) -> bool {
        let Some(shard) = self.shards.borrow_again(id) else { return false };
        let Connection { output, session, binary, .. } = connection;
        let window = &requests.window.requests;
        let of_shard = window.iter().zip(&sorted.requests).filter(|(_, plain)| plain.shard == id);
        shard.keyspace().prefetch_all(of_shard.filter_map(|(request, _)| {
            Some(Key { db: session.db, slot: request.slot, bytes: requests.first_key(request)? })
        }));
        self.engine.start_command();
        let Sorted { requests: plain, replies, is_direct, .. } = sorted;
        let mut bytes = 0;
        let of_shard = window.iter().zip(plain).filter(|(_, plain)| plain.shard == id);
        for (request, plain) in of_shard {
            if bytes > PENDING_OUTPUT_BYTES_MAX || self.engine.slice_is_over() {
                break;
            }
            let out = if *is_direct { output.tail() } else { &mut *replies };
            let start = out.len();
            let args = requests.args(request);
            let head = self.engine.run_any(shard, &session.info, &plain.call, &args, out);
            if let (Some(head), Some(binary)) = (head, binary.as_mut()) {
                binary.push(out, head, self.engine.owners.epoch());
            }
            bytes += out.len() - start;
            plain.reply = if *is_direct { Answer::Given } else { Answer::At(start, out.len()) };
            if let Some(value) = self.engine.handover.reply.take() {
                bytes += value.len();
                match *is_direct {
                    true => output.push_value(value),
                    false => plain.reply = Answer::Value(value),
                }
            }
        }
        if let Some(holder) = self.shards.end_borrow(id) {
            self.give_back(holder);
        }
        true
    }

    /// Hands the replies to the connection; requests that have not been run are left to whoever holds
    /// their shard.
    fn answer_in_order(
        &mut self,
        connection: &mut Connection,
        requests: &InHand<'_>,
        sorted: &mut Sorted,
    ) {
        let Sorted { requests: all, replies, .. } = sorted;
        for (request, plain) in requests.window.requests.iter().zip(all) {
            match std::mem::replace(&mut plain.reply, Answer::Given) {
                Answer::Given => {}
                Answer::At(start, end) => {
                    connection.output.tail().extend_from_slice(&replies[start..end]);
                }
                Answer::Value(value) => connection.output.push_value(value),
                Answer::None => {
                    self.shards.note_refused(plain.shard);
                    let args = requests.args(request);
                    self.leave(connection, &plain.call, &args, plain.shard, false);
                }
            }
        }
    }
}
