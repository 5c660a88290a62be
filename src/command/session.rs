//! What a command on the connection or the server works with.

use std::sync::Arc;

use super::View;
use super::pubsub::{Published, Subscriptions};
use super::session_token::SessionToken;
use super::tracking::SessionTracking;
use super::transactions::Transaction;
use crate::cache::Tracker;
use crate::config::Durability;
use crate::node::channels::{Kind, Name};
use crate::node::{ClientInfo, Node};
use crate::protocol::Proto;
use crate::types::{ClientId, CoreId, DbIndex, Now};

/// Whether a client gets replies (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReplyMode {
    /// It does.
    #[default]
    On,
    /// It does not, until told otherwise.
    Off,
    /// The next reply is left out; the command that set this already is.
    SkipNext,
    /// This reply is left out, unless the command turns replies on.
    Skip,
}

/// The state of one connection that commands can see and change. Lives on the connection's core.
#[derive(Debug)]
pub struct Session {
    /// The client's id.
    pub id: ClientId,
    /// What it sees of the server; never changes.
    pub view: View,
    /// The selected database.
    pub db: DbIndex,
    /// The protocol version chosen with `HELLO`.
    pub proto: Proto,
    /// Whether the client may run commands that need authentication.
    pub authenticated: bool,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// `CLIENT NO-EVICT`.
    pub no_evict: bool,
    /// `READONLY`: it would have what a follower has, which may be behind.
    pub reads_followers: bool,
    /// What its reads must see: its own writes, and what it was given tokens of; none so far if there is none.
    pub depends_on: Option<Box<SessionToken>>,
    /// `CLIENT REPLY`.
    pub reply_mode: ReplyMode,
    /// In `MONITOR` mode.
    pub monitor: bool,
    /// Subscribed to the topology (`CLIENT TOPOLOGY`): the last epoch it was told of, 0 for none.
    pub topology_told: Option<u64>,
    /// What it listens to, if it listens to anything.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// What its writes are to survive before they are acknowledged (`CLIENT DURABILITY`), if it chose.
    pub durability: Option<Durability>,
    /// What it has begun with `MULTI` and `WATCH`.
    pub transaction: Transaction,
    /// Whether it is told of keys that change, and of which (`CLIENT TRACKING`).
    pub tracking: Option<SessionTracking>,
    /// What other connections may see of this one (`CLIENT LIST`).
    pub info: Arc<ClientInfo>,
}

impl Session {
    /// Its reads must see all that this token stands for.
    pub fn depend_on(&mut self, token: &SessionToken) {
        self.depends_on.get_or_insert_default().merge(token);
    }
}

/// What a session command asks the runtime to do after its reply is written. In order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Close this connection once its output is sent.
    CloseAfterReply,
    /// Close these other connections, wherever they are.
    Kill(Vec<ClientId>),
    /// Block this core for so long (`DEBUG SLEEP`).
    Sleep(std::time::Duration),
    /// Stop the server.
    Shutdown,
    /// Answer when all shards have finished a snapshot (`SAVE`).
    AwaitSnapshots,
    /// Answer when the logs of all shards have begun or ended as this durability, just set, has it.
    AwaitDurability(Durability),
    /// Have this connection wait until so many other replicas have all that the node's shards hold by now, but no longer
    /// than so many milliseconds, 0 for ever (`WAIT` on a node of a cluster).
    AwaitReplicas(usize, u64),
    /// This connection now gets every command that the server runs (`MONITOR`).
    Monitor,
    /// This connection does not any more (`RESET`).
    EndMonitor,
    /// This connection now gets the messages of a channel, of those that a pattern matches, or of a shard
    /// channel.
    Listen(Kind, Name),
    /// It does not any more.
    Leave(Kind, Name),
    /// Clients are to have a message.
    Publish(Published),
    /// The shared configuration changed: every core reads it again.
    ConfigChanged,
    /// A shard has a new owner: every core looks, this one at its next turn.
    OwnersChanged,
    /// Have this connection wait for so many milliseconds, or for ever if 0, before it is answered (`WAIT`).
    Wait(u64),
    /// The wait of this client, which has been ended, is to be answered: with an error if so asked
    /// (`CLIENT UNBLOCK`).
    Unblock(ClientId, u64, bool),
    /// Register this connection with the shards of all keys that it watches (`WATCH`).
    Watch,
    /// Forget the keys that this connection watches (`UNWATCH`).
    Unwatch,
    /// Forget its transaction, and the keys that it watches (`DISCARD`).
    EndTransaction,
    /// This connection is now told of keys that change; of those with these prefixes, each time.
    Track(Vec<Arc<[u8]>>),
    /// The client that shards knew as this one is not any more.
    EndTracking(Tracker),
    /// `CLIENT PAUSE` or `UNPAUSE` changed the node's pause: every core looks at it again.
    PauseChanged,
}

/// The surroundings of one session command.
#[derive(Debug)]
pub struct SessionCx<'a> {
    /// Both clocks.
    pub now: Now,
    /// The core the connection is on.
    pub core: CoreId,
    /// The connection.
    pub session: &'a mut Session,
    /// What all cores share.
    pub node: &'a Node,
    /// What to do after the reply.
    pub actions: &'a mut Vec<Action>,
}
