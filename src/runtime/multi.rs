//! Commands over several shards, when not all tokens are at hand.
//!
//! The tokens are taken one after another in shard order, so that no two such commands ever wait for
//! each other in a circle. A token that is taken is claimed: the claim waits in the shard's queue like
//! any work, and the holder hands the token over when the claim's turn comes, so nobody starves.
//! Meanwhile the connection waits, and the tokens taken so far stay with the command, from one turn of
//! the core to the next: what comes for those shards queues up and is served when it is done.

use std::sync::Arc;

use super::attend::Ran;
use super::connection::{Block, Connection, State};
use super::core::Core;
use super::dispatch::Flow;
use super::gate::Gate;
use super::ring::Token;
use super::shards::{Queued, ShardHolder};
use super::steps::is_much_over;
use super::token::Grant;
use crate::metrics::Stage;
use crate::node::{ClientInfo, Node};
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::protocol::binary::ReplyHead;
use crate::shard::{Call, Shard, Wait};
use crate::types::ShardId;

/// A command that is gathering its tokens.
pub(crate) struct Multi<'a> {
    ticket: u64,
    /// When it began, in ticks of the core's clock.
    since: u64,
    connection: Token,
    work: Work,
    /// In shard order.
    needed: Vec<ShardId>,
    /// The tokens of the first shards of `needed`.
    holders: Vec<ShardHolder<'a>>,
}

/// What is to be done with them.
enum Work {
    /// This command is run, whether its client is still there or not.
    Command(Command),
    /// The connection's next request is dispatched again.
    Request,
    /// The connection waits, and may be served.
    Wait(Arc<Wait>),
    /// The connection's request has been run, and is answered.
    Answer(Gathered),
}

impl Work {
    /// Whether it is the end of a command that its connection is blocked by.
    fn ends_command(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Answer(_))
    }
}

/// An owned copy of a command.
pub(super) struct Command {
    client: Arc<ClientInfo>,
    call: Call,
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
    muted: bool,
}

/// What came of a command that was run with all its tokens, or is answered behind all that came before.
pub(super) struct Gathered {
    /// Of a reply of the binary protocol.
    head: Option<ReplyHead>,
    /// The reply, or the body of one; nothing if nobody wants it.
    reply: Vec<u8>,
    /// What it has to wait for.
    gate: Gate,
}

impl Command {
    pub(super) fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }

    pub(super) fn ran<'r>(&'r self, args: &'r Args<'r>) -> Ran<'r> {
        Ran { client: &self.client, call: &self.call, args }
    }

    /// What has come of it.
    pub(super) fn answered(&self, head: Option<ReplyHead>, reply: Vec<u8>, gate: Gate) -> Gathered {
        let reply = if self.muted { Vec::new() } else { reply };
        Gathered { head, reply, gate }
    }
}

impl Gathered {
    /// A reply that waits for nothing else.
    pub(super) fn answer(head: Option<ReplyHead>, reply: Vec<u8>) -> Self {
        Self { head, reply, gate: Gate::default() }
    }
}

impl<'a> Core<'a> {
    /// Starts to gather the tokens for a command, and blocks its connection until it has run.
    pub(super) fn claim(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
        needed: Vec<ShardId>,
        muted: bool,
    ) {
        let (bytes, ranges) = args.to_owned_parts();
        let (client, call) = (connection.session.info.clone(), *call);
        let command = Command { client, call, bytes, ranges, muted };
        self.block_for(connection, needed, Work::Command(command));
    }

    /// Answers a request that has been run when all that is done which was under way on any shard by then.
    pub(super) fn answer_behind_all(&mut self, connection: &mut Connection, gathered: Gathered) {
        let all = self.all_shards();
        self.block_for(connection, all, Work::Answer(gathered));
    }

    /// All shards there are.
    pub(super) fn all_shards(&self) -> Vec<ShardId> {
        (0..self.node.slots.shard_count()).map(ShardId).collect()
    }

    fn block_for(&mut self, connection: &mut Connection, needed: Vec<ShardId>, work: Work) {
        connection.state = State::Blocked(Block::Shards);
        let multi = self.new_multi(connection.token, needed, work);
        if let Some(multi) = self.gather(multi)
            && let Some((gathered, holders)) = self.run_gathered(multi)
        {
            self.answer_gathered(connection, gathered);
            connection.state = State::Running;
            self.give_back_gathered(holders);
        }
    }

    /// Sees to it that the tokens of all `needed` shards are at hand for the request that is being
    /// dispatched; else it is left, and dispatched again when they are. In order.
    pub(super) fn hold_shards(&mut self, connection: &mut Connection, needed: &[ShardId]) -> Flow {
        let at_hand = needed.iter().all(|shard| {
            !connection.has_outstanding(*shard) && self.shards.borrow(*shard).is_some()
        });
        if at_hand {
            return Flow::Taken;
        }
        // Commands for these shards may be under way, which it must not overtake.
        if self.wait_for_replies(connection) == Flow::Left {
            return Flow::Left;
        }
        self.claim_for_request(connection, needed)
    }

    /// The same for all shards: what the request changes holds for every command after its reply.
    pub(super) fn hold_all_shards(&mut self, connection: &mut Connection) -> Flow {
        let all = self.all_shards();
        if self.wait_for_replies(connection) == Flow::Left {
            return Flow::Left;
        }
        self.hold_shards(connection, &all)
    }

    /// Gathers the tokens for the request that is being dispatched; if not all are free it is left, and
    /// dispatched again when they are here.
    fn claim_for_request(&mut self, connection: &mut Connection, needed: &[ShardId]) -> Flow {
        let multi = self.new_multi(connection.token, needed.to_vec(), Work::Request);
        let Some(multi) = self.gather(multi) else {
            connection.state = State::Blocked(Block::Tokens);
            return Flow::Left;
        };
        self.attach(multi);
        Flow::Taken
    }

    /// Gathers the tokens for the command of a connection that waits, and serves it when they are here.
    pub(super) fn claim_for_wait(&mut self, connection: Token, wait: Arc<Wait>) {
        let needed = wait.all_shards(self.node.slots);
        let multi = self.new_multi(connection, needed, Work::Wait(wait));
        if let Some(multi) = self.gather(multi) {
            self.serve_gathered(multi);
        }
    }

    /// Has the tokens at hand for the batch that is being run. Answers whose they are, and what for.
    fn attach(&mut self, multi: Multi<'a>) -> (Token, Vec<ShardId>, Work) {
        let Multi { since, connection, work, needed, holders, .. } = multi;
        self.engine.start_command();
        self.engine.record_stage(Stage::Gather, since, self.engine.mark(), 1);
        for (shard, holder) in needed.iter().zip(holders) {
            self.shards.attach(*shard, holder);
        }
        (connection, needed, work)
    }

    /// Lets the connection go on that needed the tokens.
    fn serve_gathered(&mut self, multi: Multi<'a>) {
        let (token, needed, work) = self.attach(multi);
        match work {
            Work::Wait(wait) => self.serve_called(&wait, &needed),
            Work::Command(_) | Work::Answer(_) | Work::Request => {
                self.unblock(token, Block::Tokens);
                // Where the request was not run after all, nobody has given them back.
                self.give_back_borrowed();
            }
        }
    }

    fn new_multi(&mut self, connection: Token, needed: Vec<ShardId>, work: Work) -> Multi<'a> {
        self.last_claim += 1;
        let (ticket, since) = (self.last_claim, self.engine.mark());
        Multi { ticket, since, connection, work, needed, holders: Vec::new() }
    }

    /// Takes tokens as far as they are free. Answers the command once it has them all; else the first
    /// token that is taken is claimed and the command kept.
    fn gather(&mut self, mut multi: Multi<'a>) -> Option<Multi<'a>> {
        while let Some(shard) = multi.needed.get(multi.holders.len()).copied() {
            let cell = self.shards.cell(shard);
            if let Some(holder) = self.shards.detach(shard).or_else(|| cell.try_take()) {
                multi.holders.push(holder);
                continue;
            }
            let ticket = multi.ticket;
            self.multis.push(multi);
            // Should it have become free meanwhile, our own claim waits in its queue.
            self.leave_in_queue(shard, Queued::Claim { core: self.id, ticket });
            return None;
        }
        Some(multi)
    }

    /// A claimed token is here.
    pub(super) fn granted(&mut self, shard: ShardId, ticket: u64, grant: Grant) {
        let holder = self.shards.cell(shard).accept(grant);
        let index = self.multis.iter().position(|multi| multi.ticket == ticket);
        let mut multi = self.multis.swap_remove(index.expect("a claim is kept until granted"));
        multi.holders.push(holder);
        let Some(multi) = self.gather(multi) else { return };
        if !multi.work.ends_command() {
            return self.serve_gathered(multi);
        }
        let token = multi.connection;
        if let Some((gathered, holders)) = self.run_gathered(multi) {
            self.end_gathered(token, gathered, holders);
        }
    }

    /// Answers a command that has run later than it was asked for, and gives its tokens back.
    pub(super) fn end_gathered(
        &mut self,
        token: Token,
        gathered: Gathered,
        holders: Vec<ShardHolder<'a>>,
    ) {
        // The client may be gone; its command was run all the same.
        if let Some(mut connection) = self.connections.take(token) {
            self.answer_gathered(&mut connection, gathered);
            connection.timeline.gathered();
            connection.active_at = self.engine.now.mono;
            self.connections.put(connection);
        }
        self.give_back_gathered(holders);
        self.unblock(token, Block::Shards);
    }

    /// Gives a connection the reply to its command. It has it before the tokens go on, and with them the news
    /// that what it has read has changed.
    fn answer_gathered(&mut self, connection: &mut Connection, gathered: Gathered) {
        let Gathered { head, reply, gate } = gathered;
        match head {
            None => connection.output.append(reply),
            Some(head) => self.deliver(connection, head, &reply),
        }
        self.gate_connection(connection, gate);
    }

    fn give_back_gathered(&mut self, holders: Vec<ShardHolder<'a>>) {
        self.spread_news();
        for holder in holders {
            self.give_back(holder);
        }
    }

    /// Runs a command that holds all it needs; nothing is answered if it goes on later.
    fn run_gathered(&mut self, multi: Multi<'a>) -> Option<(Gathered, Vec<ShardHolder<'a>>)> {
        let Multi { since, connection, work, mut holders, .. } = multi;
        let command = match work {
            Work::Command(command) => command,
            Work::Answer(gathered) => return Some((gathered, holders)),
            Work::Request | Work::Wait(_) => {
                unreachable!("whatever else holds its tokens is dispatched again")
            }
        };
        self.engine.start_command();
        self.engine.record_stage(Stage::Gather, since, self.engine.mark(), 1);
        let (mut reply, args) = (Vec::new(), command.args());
        let mut shards = held_by(self.node, &mut holders);
        if is_much_over(&mut shards, &command.call, &args, (self.node.slots, self.engine.now)) {
            return self.begin_steps(connection, command, holders);
        }
        let (client, call) = (&command.client, &command.call);
        let before = std::mem::take(&mut self.engine.gate);
        let head = self.engine.run_any_over(&mut shards, client, call, &args, &mut reply);
        let gate = std::mem::replace(&mut self.engine.gate, before);
        Some((command.answered(head, reply, gate), holders))
    }
}

/// The shards whose tokens these are, indexed by shard.
pub(super) fn held_by<'s>(
    node: &Node,
    holders: &'s mut [ShardHolder<'_>],
) -> Vec<Option<&'s mut Shard>> {
    let count = usize::from(node.slots.shard_count());
    let mut shards: Vec<_> = std::iter::repeat_with(|| None).take(count).collect();
    for holder in holders {
        let shard = holder.value();
        let index = usize::from(shard.id().0);
        shards[index] = Some(shard);
    }
    shards
}
