//! What cores tell one another, and how a core that sleeps is woken for it.
//!
//! Mailboxes are unbounded channels, but what is in them is bounded: what a connection has left to
//! other cores is (`limits`), it waits for one grant at a time, a client that waits for its keys is served
//! once, and everything else is sent once per command of an administrator. Messages that clients publish, keyspace
//! events and what clients that keep copies are told have inboxes of their own, which are looked into before anything
//! else; publishers, and writers where they make others hear of their writes, wait when there is too much in them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use super::batch::Batch;
use super::connection::Connection;
use super::gate::Gate;
use super::token::Grant;
use super::tracking::Told;
use crate::log::DiskError;
use crate::metrics::lock;
use crate::node::channels::Message as Publication;
use crate::replica::ShardMessage;
use crate::shard::Wait;
use crate::types::{ClientId, CoreId, NodeId, ShardId};

/// A message from one core to another.
#[derive(Debug)]
pub(crate) enum Message {
    /// A batch with long commands for a shard of this core.
    Run(Box<Batch>),
    /// A batch that this core left in a shard's queue has been run.
    Done(Box<Batch>),
    /// A shard's token that this core claimed.
    Granted {
        /// The shard.
        shard: ShardId,
        /// The claim.
        ticket: u64,
        /// The token.
        grant: Grant,
    },
    /// Whoever held a shard that this core has waited for has come to it.
    Back {
        /// The shard.
        shard: ShardId,
    },
    /// A connection that belongs on this core.
    Adopt(Box<Connection>),
    /// A client of this core that waited has been served.
    Served {
        /// What it waited for.
        wait: Arc<Wait>,
        /// Its reply.
        reply: Vec<u8>,
        /// What the reply has to wait for.
        gate: Gate,
    },
    /// A client of this core that waits can be served by whoever holds all shards that its command needs.
    Called(Arc<Wait>),
    /// The wait of a client of this core has been ended on demand.
    Unblocked {
        /// The client.
        client: ClientId,
        /// The wait's number among the client's.
        number: u64,
        /// Whether it is answered with an error.
        with_error: bool,
    },
    /// More of a log is on disk, which a connection of this core may wait for.
    Durable,
    /// A client waits for changes to a shard of this core to be on disk.
    Flush,
    /// A job on the folder of a shard is done.
    LogJobDone {
        /// The shard.
        shard: ShardId,
        /// What came of it.
        result: Result<(), DiskError>,
    },
    /// A node has said something to a replica of a shard of this core.
    FromNode {
        /// The node.
        from: NodeId,
        /// What it said.
        message: Box<ShardMessage>,
    },
    /// The hard state of a replica of this core has been saved, or could not be.
    HardStateSaved {
        /// The shard.
        shard: ShardId,
        /// Whether it has.
        is_saved: bool,
    },
    /// Close these clients.
    Kill(Arc<[ClientId]>),
    /// A line for the clients that monitor.
    Monitored(Arc<[u8]>),
    /// The configuration, the pause or the owners of shards changed: look again.
    Refresh,
    /// Stop serving.
    Stop,
}

/// A core's mailbox as others see it.
#[derive(Debug)]
pub(crate) struct Peer {
    mail: flume::Sender<Message>,
    inbox: flume::Receiver<Message>,
    published: Mutex<Vec<Arc<Publication>>>,
    has_published: AtomicBool,
    told: Mutex<Vec<Told>>,
    has_told: AtomicBool,
    asleep: AtomicBool,
    ring: AtomicI32,
    event: OwnedFd,
}

impl Peer {
    /// An empty mailbox.
    pub(crate) fn new() -> io::Result<Self> {
        let (mail, inbox) = flume::unbounded();
        // SAFETY: a plain system call; the descriptor it answers belongs to nobody else.
        let event = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        let (asleep, ring) = (AtomicBool::new(false), AtomicI32::new(-1));
        let (published, has_published) = (Mutex::default(), AtomicBool::new(false));
        let (told, has_told) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { mail, inbox, published, has_published, told, has_told, asleep, ring, event })
    }

    /// Sends from a thread that is no core.
    pub(crate) fn post_from_outside(&self, message: Message) {
        // The mailbox holds its own receiver, so it is never closed.
        let _ = self.mail.send(message);
        let one = 1u64;
        // SAFETY: eight bytes are read from a live u64; the descriptor is ours.
        unsafe {
            libc::write(self.event.as_raw_fd(), (&raw const one).cast(), size_of::<u64>());
        }
    }

    /// Empties the eventfd after it has woken its core.
    pub(crate) fn drain_event(&self) {
        let mut count = 0u64;
        // SAFETY: eight bytes are written to a live u64; the descriptor is ours.
        unsafe {
            libc::read(self.event.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>());
        }
    }

    /// The ring to ring, if the core sleeps.
    fn wake_if_asleep(&self) -> Option<RawFd> {
        let asleep = self.asleep.swap(false, Ordering::SeqCst);
        asleep.then(|| self.ring.load(Ordering::Acquire))
    }

    /// The descriptor that [`Peer::post_from_outside`] makes readable.
    pub(crate) fn event(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

/// One core's end: its own mailbox and the others'.
pub(crate) struct Mail<'a> {
    me: CoreId,
    peers: &'a [Peer],
    /// Messages to oneself.
    local: VecDeque<Message>,
}

impl<'a> Mail<'a> {
    /// The end of core `me`, which sleeps on `ring`.
    pub(crate) fn new(me: CoreId, peers: &'a [Peer], ring: RawFd) -> Self {
        let mail = Self { me, peers, local: VecDeque::new() };
        mail.own().ring.store(ring, Ordering::Release);
        mail
    }

    fn own(&self) -> &'a Peer {
        &self.peers[usize::from(self.me.0)]
    }

    /// Sends `message`; answers the ring to ring if its core sleeps.
    pub(crate) fn post(&mut self, to: CoreId, message: Message) -> Option<RawFd> {
        if to == self.me {
            self.local.push_back(message);
            return None;
        }
        let peer = &self.peers[usize::from(to.0)];
        let _ = peer.mail.send(message);
        peer.wake_if_asleep()
    }

    /// Sends all of `messages` to another core's subscribers; answers the ring to ring if it sleeps.
    pub(crate) fn publish(
        &mut self,
        to: CoreId,
        messages: &mut Vec<Arc<Publication>>,
    ) -> Option<RawFd> {
        let peer = &self.peers[usize::from(to.0)];
        lock(&peer.published).append(messages);
        // Whoever falls asleep says so before he looks here for the last time, so one of the two sees it.
        peer.has_published.store(true, Ordering::SeqCst);
        peer.wake_if_asleep()
    }

    /// Whether other cores have published something for this core's subscribers.
    #[inline]
    pub(crate) fn has_published(&self) -> bool {
        self.own().has_published.load(Ordering::SeqCst)
    }

    /// Exchanges what they have published for `empty`.
    pub(crate) fn take_published(&mut self, empty: &mut Vec<Arc<Publication>>) {
        let own = self.own();
        own.has_published.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *lock(&own.published), empty);
    }

    /// Has another core tell its clients of keys that have changed; answers the ring to ring if it sleeps.
    pub(crate) fn tell(&mut self, to: CoreId, told: Vec<Told>) -> Option<RawFd> {
        let peer = &self.peers[usize::from(to.0)];
        lock(&peer.told).extend(told);
        // As in `publish`.
        peer.has_told.store(true, Ordering::SeqCst);
        peer.wake_if_asleep()
    }

    /// Whether other cores have something to tell this core's clients.
    #[inline]
    pub(crate) fn has_told(&self) -> bool {
        self.own().has_told.load(Ordering::SeqCst)
    }

    /// What they have to tell.
    pub(crate) fn take_told(&mut self) -> Vec<Told> {
        let own = self.own();
        own.has_told.store(false, Ordering::SeqCst);
        std::mem::take(&mut *lock(&own.told))
    }

    /// The next message.
    pub(crate) fn take(&mut self) -> Option<Message> {
        self.local.pop_front().or_else(|| self.own().inbox.try_recv().ok())
    }

    /// Says that this core is about to sleep; false if there is mail, so that it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        let own = self.own();
        own.asleep.store(true, Ordering::SeqCst);
        self.local.is_empty() && own.inbox.is_empty() && !self.has_published() && !self.has_told()
    }

    /// Says that this core is awake.
    pub(crate) fn wake_up(&self) {
        self.own().asleep.store(false, Ordering::SeqCst);
    }

    /// The other cores.
    pub(crate) fn others(&self) -> impl Iterator<Item = CoreId> + use<> {
        let me = self.me;
        (0..self.peers.len())
            .filter_map(|core| u16::try_from(core).ok().map(CoreId))
            .filter(move |core| *core != me)
    }
}
