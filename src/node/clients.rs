//! The registry of connected clients: what `CLIENT LIST` shows and `CLIENT KILL` chooses from.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use hashbrown::HashMap;

use super::tracking::{TrackingCell, TrackingMode};
use super::{ClientTransaction, ClientWait};
use crate::metrics::{CommandId, lock};
use crate::protocol::Proto;
use crate::types::{ClientId, CoreId, DbIndex, MonoUs};

/// Parts of the registry, each behind a lock of its own; clients are spread over them by id.
const STRIPES: usize = 64;
/// Stands for "no command yet" in `last_command`.
const NO_COMMAND: u16 = u16::MAX;

bitflags::bitflags! {
    /// States of a client that `CLIENT LIST` shows as letters.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ClientFlags: u32 {
        /// `O`: gets every command the server runs.
        const MONITOR = 1 << 0;
        /// `b`: waits in a blocking command, or is held back by a pause.
        const BLOCKED = 1 << 1;
        /// `c`: is closed once its replies are sent.
        const CLOSE_AFTER_REPLY = 1 << 2;
        /// `A`: is closed as soon as possible.
        const CLOSE_ASAP = 1 << 3;
        /// `e`: is not closed when memory is short.
        const NO_EVICT = 1 << 4;
        /// `T`: does not count as a user of keys.
        const NO_TOUCH = 1 << 5;
        /// `y`: is told of every new topology.
        const TOPOLOGY = 1 << 6;
        /// `x`: in a transaction.
        const MULTI = 1 << 7;
        /// `d`: watches keys of which one has changed.
        const DIRTY = 1 << 9;
        /// `P`: listens to channels.
        const PUBSUB = 1 << 8;
        /// `t`: is told of keys that change.
        const TRACKING = 1 << 10;
        /// `R`: somebody else was to be told for it, and is gone.
        const TRACKING_BROKEN = 1 << 11;
        /// `B`: is told of all keys with some prefix.
        const BROADCAST = 1 << 12;
    }
}

/// What a connection starts with.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// The client's id, from [`Clients::admit`].
    pub id: ClientId,
    /// The client's address.
    pub addr: SocketAddr,
    /// The address it connected to.
    pub laddr: SocketAddr,
    /// File descriptor of the socket.
    pub fd: i32,
    /// The core it is on.
    pub core: CoreId,
    /// The time now.
    pub now: MonoUs,
    /// Whether another node of the cluster brings the commands of a client of its own.
    pub is_guest: bool,
}

/// What other connections may see of a client. Its own core writes, anyone reads.
#[derive(Debug)]
pub struct ClientInfo {
    /// The client's id.
    pub id: ClientId,
    /// The client's address.
    pub addr: SocketAddr,
    /// The address it connected to.
    pub laddr: SocketAddr,
    /// File descriptor of its socket.
    pub fd: i32,
    /// When it connected.
    pub created: MonoUs,
    /// Whether another node of the cluster brings the commands of a client of its own. Only there it counts as a
    /// client (`maxclients`).
    pub is_guest: bool,
    /// Its transaction and what it watches.
    pub transaction: ClientTransaction,
    /// Whether it waits in a blocking command.
    pub wait: ClientWait,
    /// What it is told of keys that change.
    pub tracking: TrackingCell,
    core: AtomicU16,
    last_interaction: AtomicU64,
    db: AtomicU8,
    resp: AtomicU8,
    flags: AtomicU32,
    last_command: AtomicU16,
    buffers: [AtomicU64; ClientBuffers::FIELDS],
    commands: AtomicU64,
    subscriptions: [AtomicUsize; 3],
    names: Mutex<ClientNames>,
}

/// The names a client gave itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientNames {
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub lib_name: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub lib_ver: String,
}

/// Bytes held for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientBuffers {
    /// Requests that wait for their end or their turn.
    pub query: u64,
    /// Free space behind them.
    pub query_free: u64,
    /// What is known of the arguments of an unfinished request.
    pub arguments: u64,
    /// The buffer for replies.
    pub reply: u64,
    /// The most that was in it lately.
    pub reply_peak: u64,
    /// Replies that wait to be sent.
    pub output: u64,
    /// Queued commands and watched keys.
    pub transaction: u64,
    /// All its memory.
    pub total: u64,
}

impl ClientBuffers {
    const FIELDS: usize = 8;

    fn fields(self) -> [u64; Self::FIELDS] {
        let Self { query, query_free, arguments, reply, reply_peak, .. } = self;
        let Self { output, transaction, total, .. } = self;
        [query, query_free, arguments, reply, reply_peak, output, transaction, total]
    }

    fn of(fields: [u64; Self::FIELDS]) -> Self {
        let [query, query_free, arguments, reply, reply_peak, output, transaction, total] = fields;
        Self { query, query_free, arguments, reply, reply_peak, output, transaction, total }
    }
}

impl ClientInfo {
    /// A client that has just connected.
    pub fn new(options: ClientOptions) -> Self {
        Self {
            id: options.id,
            addr: options.addr,
            laddr: options.laddr,
            fd: options.fd,
            created: options.now,
            is_guest: options.is_guest,
            transaction: ClientTransaction::default(),
            wait: ClientWait::default(),
            tracking: TrackingCell::default(),
            core: AtomicU16::new(options.core.0),
            last_interaction: AtomicU64::new(options.now.0),
            db: AtomicU8::new(0),
            resp: AtomicU8::new(2),
            flags: AtomicU32::new(0),
            last_command: AtomicU16::new(NO_COMMAND),
            buffers: Default::default(),
            commands: AtomicU64::new(0),
            subscriptions: Default::default(),
            names: Mutex::default(),
        }
    }

    /// The core it is on.
    pub fn core(&self) -> CoreId {
        CoreId(self.core.load(Ordering::Relaxed))
    }

    /// It moved to another core.
    pub fn set_core(&self, core: CoreId) {
        self.core.store(core.0, Ordering::Relaxed);
    }

    /// When bytes last came from it.
    pub fn last_interaction(&self) -> MonoUs {
        MonoUs(self.last_interaction.load(Ordering::Relaxed))
    }

    /// Bytes came from it; `command` is the last command it asked for and `commands` their number in
    /// this batch.
    #[inline]
    pub fn touch(&self, now: MonoUs, command: CommandId, commands: u64) {
        self.last_interaction.store(now.0, Ordering::Relaxed);
        self.last_command.store(command.0, Ordering::Relaxed);
        let total = self.commands.load(Ordering::Relaxed) + commands;
        self.commands.store(total, Ordering::Relaxed);
    }

    /// The last command it asked for.
    pub fn last_command(&self) -> Option<CommandId> {
        let id = self.last_command.load(Ordering::Relaxed);
        (id != NO_COMMAND).then_some(CommandId(id))
    }

    /// Commands it asked for.
    pub fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// The selected database.
    pub fn db(&self) -> DbIndex {
        DbIndex(self.db.load(Ordering::Relaxed))
    }

    /// It selected another database.
    pub fn set_db(&self, db: DbIndex) {
        self.db.store(db.0, Ordering::Relaxed);
    }

    /// The protocol version, 2 or 3.
    pub fn resp(&self) -> u8 {
        self.resp.load(Ordering::Relaxed)
    }

    /// It chose a protocol version.
    pub fn set_proto(&self, proto: Proto) {
        let resp = match proto {
            Proto::Resp2 => 2,
            Proto::Resp3 => 3,
        };
        self.resp.store(resp, Ordering::Relaxed);
    }

    /// Its states.
    pub fn flags(&self) -> ClientFlags {
        let mut all = self.own_flags();
        all.set(ClientFlags::MULTI, self.transaction.queued() >= 0);
        all |= if self.wait.is_waiting() { ClientFlags::BLOCKED } else { ClientFlags::empty() };
        all.set(ClientFlags::DIRTY, self.transaction.is_touched());
        if let Some(tracking) = self.tracking.get() {
            all |= ClientFlags::TRACKING;
            all.set(ClientFlags::TRACKING_BROKEN, tracking.is_broken);
            all.set(ClientFlags::BROADCAST, tracking.mode == TrackingMode::Broadcast);
        }
        all
    }

    /// Those states that are kept as such.
    fn own_flags(&self) -> ClientFlags {
        ClientFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Enters or leaves states. Only the client's own core may call it.
    pub fn set_flags(&self, flags: ClientFlags, value: bool) {
        let mut all = self.own_flags();
        all.set(flags, value);
        self.flags.store(all.bits(), Ordering::Relaxed);
    }

    /// How many channels, patterns and shard channels it listens to.
    pub fn subscriptions(&self) -> [usize; 3] {
        self.subscriptions.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// It listens to so many now.
    pub fn set_subscriptions(&self, counts: [usize; 3]) {
        for (shown, count) in self.subscriptions.iter().zip(counts) {
            shown.store(count, Ordering::Relaxed);
        }
    }

    /// The bytes held for it.
    pub fn buffers(&self) -> ClientBuffers {
        ClientBuffers::of(self.buffers.each_ref().map(|bytes| bytes.load(Ordering::Relaxed)))
    }

    /// Tells the bytes held for it. Need not be called more often than once a turn in which they
    /// changed.
    pub fn set_buffers(&self, buffers: ClientBuffers) {
        for (shown, bytes) in self.buffers.iter().zip(buffers.fields()) {
            shown.store(bytes, Ordering::Relaxed);
        }
    }

    /// The names it gave itself; the lock is held for as long as the guard lives.
    pub fn names(&self) -> MutexGuard<'_, ClientNames> {
        lock(&self.names)
    }
}

/// Some of the clients.
type Stripe = HashMap<ClientId, Arc<ClientInfo>>;

/// All connected clients.
#[derive(Debug)]
pub struct Clients {
    next_id: AtomicU64,
    connected: AtomicUsize,
    stripes: Box<[Mutex<Stripe>]>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            next_id: AtomicU64::new(1),
            connected: AtomicUsize::new(0),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Clients {
    /// An id for a new client, unless there are `max` already (`maxclients`). Who gets one inserts
    /// the client, or gives its place back with [`withdraw`](Self::withdraw).
    pub fn admit(&self, max: usize) -> Option<ClientId> {
        let more = |connected| (connected < max).then_some(connected + 1);
        self.connected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(ClientId(self.next_id.fetch_add(1, Ordering::Relaxed)))
    }

    /// An id for a guest, who takes no client's place.
    pub fn admit_guest(&self) -> ClientId {
        ClientId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives back the place of an admitted client that never was inserted.
    pub fn withdraw(&self) {
        self.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// Enters an admitted client.
    pub fn insert(&self, client: Arc<ClientInfo>) {
        self.stripe(client.id).insert(client.id, client);
    }

    /// Removes a client that is gone.
    pub fn remove(&self, id: ClientId) {
        if self.stripe(id).remove(&id).is_some_and(|client| !client.is_guest) {
            self.withdraw();
        }
    }

    /// The client with this id.
    pub fn get(&self, id: ClientId) -> Option<Arc<ClientInfo>> {
        self.stripe(id).get(&id).cloned()
    }

    /// Number of clients, those admitted but not yet entered included, guests not.
    pub fn count(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// All clients, oldest first.
    pub fn all(&self) -> Vec<Arc<ClientInfo>> {
        let mut all = Vec::with_capacity(self.count());
        for stripe in &self.stripes {
            all.extend(lock(stripe).values().cloned());
        }
        all.sort_unstable_by_key(|client| client.id);
        all
    }

    fn stripe(&self, id: ClientId) -> MutexGuard<'_, Stripe> {
        let index = id.0 % self.stripes.len() as u64;
        lock(&self.stripes[usize::try_from(index).expect("below the number of stripes")])
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, ClientFlags, ClientId, ClientInfo, ClientOptions, Clients};
    use crate::types::{CoreId, MonoUs};

    fn client(id: ClientId) -> Arc<ClientInfo> {
        Arc::new(ClientInfo::new(ClientOptions {
            id,
            addr: ([127, 0, 0, 1], 1000).into(),
            laddr: ([127, 0, 0, 1], 6379).into(),
            fd: 9,
            core: CoreId(0),
            now: MonoUs(0),
            is_guest: id.0 >= 100,
        }))
    }

    #[test]
    fn guests_take_no_place() {
        let clients = Clients::default();
        assert!(clients.admit(1).is_some_and(|id| id == ClientId(1)));
        assert_eq!(clients.admit_guest(), ClientId(2));
        let guest = client(ClientId(102));
        clients.insert(guest.clone());
        assert_eq!((clients.count(), clients.all().len()), (1, 1));
        clients.remove(guest.id);
        assert_eq!((clients.count(), clients.all().len()), (1, 0));
    }

    #[test]
    fn no_more_clients_than_allowed() {
        let clients = Clients::default();
        let ids: Vec<_> = (0..3).filter_map(|_| clients.admit(2)).collect();
        assert_eq!(ids, [ClientId(1), ClientId(2)]);
        for id in ids.iter().rev() {
            clients.insert(client(*id));
        }
        assert_eq!(clients.all().iter().map(|client| client.id).collect::<Vec<_>>(), ids);
        clients.remove(ClientId(1));
        clients.remove(ClientId(1));
        assert_eq!(clients.count(), 1);
        assert_eq!(clients.admit(2), Some(ClientId(3)));
        clients.withdraw();
        assert!(clients.get(ClientId(3)).is_none());
        assert_eq!(clients.count(), 1);
    }

    #[test]
    fn flags_are_set_and_cleared() {
        let client = client(ClientId(1));
        client.set_flags(ClientFlags::MONITOR | ClientFlags::NO_EVICT, true);
        client.set_flags(ClientFlags::MONITOR, false);
        assert_eq!(client.flags(), ClientFlags::NO_EVICT);
        assert_eq!(client.last_command(), None);
    }
}
