//! One shard: its keyspace, its share of the memory limit, and how commands run on it.
//!
//! Synchronous and without I/O: the time comes in, replies go out. Whoever holds the shard's token
//! calls it (see `runtime::token`); the shard neither knows nor cares which core that is.

mod durable;
mod once;
mod plain;
mod rebuild;
mod records;
mod replicated;
mod waiting;

use crate::cache::{Access, EvictionPolicy, Held, Keyspace, KeyspaceOptions};
use crate::command::binary::{Answer, DataOperation, Failure, Native, Operations, Request, Run};
use crate::command::exec::{Keyspaces, RoutedKey};
use crate::command::steps::{Progress, Steps, take_one};
use crate::command::table::Entry;
use crate::command::{Error, Exec, Flags, Handler, Handover, Keys, View};
use crate::config::Durability;
use crate::limits::{EVICT_BUDGET, EXPIRE_BUDGET, SHORT_PRODUCT_BYTES_MAX, SHORT_WORK_BYTES_MAX};
use crate::node::Owners;
use crate::node::replica_stats::Freshness;
use crate::protocol::binary::{Status, Token};
use crate::protocol::{Args, Proto, Reply};
use crate::types::{DbIndex, Key, Now, ShardId, Slot, SlotMap};
use durable::Durable;
pub use durable::SnapshotPolicy;
pub(crate) use durable::payload;
pub use rebuild::Rebuilt;
pub use replicated::Awaited;
use replicated::Replicated;
pub use waiting::Wait;
use waiting::Waiting;

/// A command and what it needs to know of the client that sent it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The command.
    pub entry: &'static Entry,
    /// The client's database.
    pub db: DbIndex,
    /// The client's protocol version.
    pub proto: Proto,
    /// Whether its reads don't count as use.
    pub no_touch: bool,
    /// The slot of its first key, if it names one.
    pub slot: Slot,
    /// What the client sees of the server.
    pub view: View,
    /// The request, if it is one of the binary protocol.
    pub native: Option<Native>,
    /// What its reply is to survive, if the client chose; else it is the server's `durability`.
    pub durability: Option<Durability>,
    /// The number under which the client is registered with keys that it reads; 0 if it is not.
    pub tracker: u64,
    /// Whether there is memory for it.
    pub admission: Admission,
    /// How fresh a follower must be for it, if it is a read that one may answer.
    pub follower: Option<Freshness>,
}

impl Call {
    /// The same as a request of the binary protocol, which may choose a durability of its own.
    pub fn with_native(self, native: Native) -> Self {
        let durability = chosen(native.head.durability).or(self.durability);
        Self { native: Some(native), durability, ..self }
    }

    /// Whether it is an operation of the binary protocol, rather than a RESP command in either protocol.
    pub fn is_operation(&self) -> bool {
        self.native.is_some_and(|native| native.is_operation())
    }
}

/// What has been seen to of a command's need for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// Nothing.
    #[default]
    Unasked,
    /// It was asked whether it [must wait](Shard::must_wait).
    Waited,
    /// All: it is one of a transaction, which may run as a whole.
    Granted,
}

/// The durability that a request's head names by number; none for the default.
fn chosen(level: u8) -> Option<Durability> {
    match level {
        1 => Some(Durability::Memory),
        2 => Some(Durability::Async),
        3 => Some(Durability::Sync),
        _ => None,
    }
}

/// How much memory a shard may use and what gives way when it is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Most bytes the keyspace may hold; `usize::MAX` for no limit.
    pub limit_bytes: usize,
    /// What is evicted.
    pub policy: EvictionPolicy,
}

impl Room {
    #[inline]
    fn is_exceeded_by(&self, keyspace: &Keyspace) -> bool {
        self.limit_bytes != usize::MAX && keyspace.memory().total_bytes() > self.limit_bytes
    }
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    keyspace: Keyspace,
    room: Room,
    /// Bytes given back while over the limit, less what was written meanwhile.
    earned_bytes: usize,
    log: Option<Box<Durable>>,
    /// Its part in the cluster, if it is replicated.
    replicated: Option<Box<Replicated>>,
    waiting: Waiting,
}

impl Shard {
    /// An empty shard without a memory limit.
    pub fn new(id: ShardId, options: KeyspaceOptions) -> Self {
        let room = Room { limit_bytes: usize::MAX, policy: EvictionPolicy::NoEviction };
        Self {
            id,
            keyspace: Keyspace::new(options),
            room,
            earned_bytes: 0,
            log: None,
            replicated: None,
            waiting: Waiting::default(),
        }
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The data.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The data, to be changed.
    pub fn keyspace_mut(&mut self) -> &mut Keyspace {
        &mut self.keyspace
    }

    /// Sets the share of the memory limit; holds from the next command on.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
    }

    /// One bounded step of what the shard does unasked: removes expired keys, frees what was deleted,
    /// makes room if it is over its limit. True while there is more to do.
    pub fn maintain(&mut self, now: Now, expire: bool) -> bool {
        let freeing = self.keyspace.maintain();
        if !self.is_serving() {
            // What expires or has to give way is the leader's to say.
            return freeing;
        }
        let expiring = expire && self.keyspace.expire_due(now.unix, EXPIRE_BUDGET);
        let evicting = self.evict_some(now);
        expiring | freeing | evicting
    }

    /// Whether the shard holds more than it may.
    #[inline]
    pub fn is_over_limit(&self) -> bool {
        self.room.is_exceeded_by(&self.keyspace)
    }

    /// Whether a write that needs memory is refused: the shard is over its limit, and nothing can be evicted.
    pub fn refuses_writes(&self) -> bool {
        self.is_over_limit() && !self.keyspace.evictable(self.room.policy)
    }

    /// Evicts a little if the shard is over its limit, as after a `CONFIG SET maxmemory`. True if it
    /// still is and there may be more to evict.
    fn evict_some(&mut self, now: Now) -> bool {
        if !self.is_serving() {
            return false;
        }
        let mut left = EVICT_BUDGET;
        let before = self.keyspace.memory().total_bytes();
        while self.is_over_limit() && left > 0 {
            let Some(work) = self.keyspace.evict_one(self.room.policy, now.unix) else {
                return false;
            };
            // A name may be long.
            self.keyspace.cut_changes();
            left = left.saturating_sub(work);
        }
        let after = self.keyspace.memory().total_bytes();
        self.earned_bytes = (self.earned_bytes + before).saturating_sub(after);
        let is_over = self.is_over_limit();
        if !is_over {
            self.earned_bytes = 0;
        }
        is_over
    }

    /// Whether a write that brings `bytes` must wait for its turn: the shard is over its limit and has
    /// not given back as much as this write and the latest before it bring. Evicts a little on the way,
    /// so that whoever asks again at its next turn gets there: memory shrinks while writes go on.
    pub fn must_wait(&mut self, now: Now, bytes: usize) -> bool {
        if self.evict_some(now) && self.earned_bytes < bytes {
            return self.keyspace.evictable(self.room.policy);
        }
        self.earned_bytes = self.earned_bytes.saturating_sub(bytes);
        false
    }

    /// Sees to it that a command may run: that there is memory, and a log to write to.
    #[inline]
    fn admit(&mut self, call: &Call, args: &Args<'_>, now: Now) -> Result<(), Error> {
        let flags = call.entry.command.flags;
        if !self.is_serving() && call.follower.is_some() && flags.contains(Flags::READONLY) {
            return self.check_readable();
        }
        // It is about what this node holds, and says nothing of what the slot's keys are.
        if let Handler::Slot(..) = call.entry.command.handler {
            return Ok(());
        }
        self.check_serving()?;
        if self.keyspace.has_many_changes() {
            self.bound_record(call, args)?;
        }
        if flags.contains(Flags::WRITE) {
            self.check_log(call.durability)?;
        }
        if !flags.contains(Flags::DENYOOM) || !self.is_over_limit() {
            return Ok(());
        }
        match call.admission {
            Admission::Unasked => self.make_room(args.from(0).map(<[u8]>::len).sum(), now),
            Admission::Waited => self.make_room(0, now),
            Admission::Granted => Ok(()),
        }
    }

    /// The same for all commands of a transaction together, which have these flags and bring so many
    /// bytes to this shard. What has begun is not refused then.
    ///
    /// # Errors
    /// As for a command.
    pub fn admit_transaction(
        &mut self,
        flags: Flags,
        bytes: usize,
        durability: Option<Durability>,
        now: Now,
    ) -> Result<(), Error> {
        self.check_serving()?;
        self.keyspace.cut_changes();
        if flags.contains(Flags::WRITE) {
            self.check_log(durability)?;
        }
        if flags.contains(Flags::DENYOOM) { self.make_room(bytes, now) } else { Ok(()) }
    }

    /// Evicts a little if the shard is over its limit; a write that could not wait for its turn evicts
    /// as much as it brings.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if nothing is left to evict by the policy.
    fn make_room(&mut self, bytes: usize, now: Now) -> Result<(), Error> {
        if !self.is_over_limit() {
            return Ok(());
        }
        while self.must_wait(now, bytes) {}
        // Where a bounded search found nothing this time, the next write searches on.
        if self.refuses_writes() { Err(Error::OutOfMemory) } else { Ok(()) }
    }

    /// Whether a command that may take long will: because its values are long, or because it visits
    /// all keys.
    pub fn takes_long(&mut self, call: &Call, args: &Args<'_>, now: Now) -> bool {
        let command = call.entry.command;
        if command.keys == Keys::None {
            return true;
        }
        if !self.is_serving() && call.follower.is_none() {
            // It is refused.
            return false;
        }
        let keys = command.keys.positions(args).map(|at| Key::new(call.db, args.at(at)));
        let bytes: usize = keys.map(|key| self.bytes_of(key, now)).sum();
        // The one command that takes time by the product of two lengths.
        let is_product = call.entry.full_name == "lcs";
        bytes > if is_product { SHORT_PRODUCT_BYTES_MAX } else { SHORT_WORK_BYTES_MAX }
    }

    /// How much the values hold of those keys of a command that lie here; of one that looks at all keys, how much there
    /// is.
    pub fn bytes_named(&mut self, call: &Call, args: &Args<'_>, slots: SlotMap, now: Now) -> usize {
        if call.entry.command.keys == Keys::None {
            return self.keyspace.memory().total_bytes();
        }
        let keys = call.entry.command.keys.positions(args);
        let keys = keys.map(|at| Key::new(call.db, args.at(at)));
        let id = self.id;
        let here = keys.filter(|key| slots.shard_of(key.slot) == id);
        here.map(|key| self.bytes_of(key, now)).sum()
    }

    fn bytes_of(&mut self, key: Key<'_>, now: Now) -> usize {
        let entry = self.keyspace.get(key, now.unix, Access::Peek);
        entry.map_or(0, |entry| match entry.value {
            Held::String(value) => value.len(),
            Held::Collection(_) => entry.memory_bytes,
        })
    }

    /// Runs one command whose keys all lie here.
    #[inline]
    pub fn execute(
        &mut self,
        call: &Call,
        args: &Args<'_>,
        around: Around<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.admit(call, args, around.now)?;
        let policy = self.room.policy;
        run(call, args, around, policy, Keyspaces::One(self.id, &mut self.keyspace), out)
    }
}

impl Shard {
    /// Runs one request of the binary protocol whose keys all lie here; its body is appended to `out`.
    ///
    /// # Errors
    /// What is to be answered instead; nothing of the body is left behind.
    #[inline]
    pub fn execute_native(
        &mut self,
        call: &Call,
        native: &Native,
        args: &Args<'_>,
        mut around: Around<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Answer, Failure> {
        if let Some(token) = native.token {
            self.check_token(token)?;
        }
        let Some(operation) = data_operation(native) else {
            self.execute(call, args, around.reborrow(), out)?;
            around.append_value(out);
            return Ok(answer_over(&[Some(self)]));
        };
        if native.is_numbered() {
            return self.execute_once(operation, (call, native), args, around, out);
        }
        self.execute_operation(operation, (call, native), args, around, out)
    }

    #[inline]
    fn execute_operation(
        &mut self,
        operation: DataOperation,
        (call, native): (&Call, &Native),
        args: &Args<'_>,
        around: Around<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Answer, Failure> {
        self.admit(call, args, around.now)?;
        let policy = self.room.policy;
        let keyspaces = Keyspaces::One(self.id, &mut self.keyspace);
        let mut exec = surroundings(call, args, around, policy, keyspaces);
        run_native(operation, &mut exec, native, args, out)
    }

    /// Whether this shard has reached the session token of a request, if the token is one of its own. Where there are
    /// replicas it has, whatever the number says: who leads has all that was acknowledged, and a follower answers only as
    /// of a moment after the request came.
    #[cold]
    fn check_token(&self, token: Token) -> Result<(), Failure> {
        if token.shard != self.id || self.is_replicated() {
            return Ok(());
        }
        if token.sequence <= self.keyspace.first_sequence() {
            return Err(TOKEN_EXPIRED);
        }
        if token.sequence > self.keyspace.sequence() { Err(TOKEN_NOT_REACHED) } else { Ok(()) }
    }
}

const TOKEN_EXPIRED: Failure = Failure::new(
    Status::TokenExpired,
    "TOKENEXPIRED the session token is from an earlier life of the server",
);
const TOKEN_NOT_REACHED: Failure = Failure::new(
    Status::TokenNotReached,
    "TOKENNOTREACHED the shard has not come as far as the session token says",
);

/// Runs one request of the binary protocol over several shards, as [`execute_over`] does.
///
/// # Errors
/// What is to be answered instead; nothing of the body is left behind.
pub fn execute_native_over(
    shards: &mut [Option<&mut Shard>],
    call: &Call,
    native: &Native,
    args: &Args<'_>,
    mut around: Around<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    check_token_over(shards, native)?;
    let Some(operation) = data_operation(native) else {
        execute_over(shards, call, args, around.reborrow(), out)?;
        around.append_value(out);
        return Ok(answer_over(shards));
    };
    let policy = make_room_in(shards, call, args, around.now)?;
    let mut keyspaces = keyspaces_of(shards);
    let keyspaces = Keyspaces::Many(&mut keyspaces);
    let mut exec = surroundings(call, args, around, policy, keyspaces);
    run_native(operation, &mut exec, native, args, out)
}

/// Whether shards have reached the session token of a request, if it has one.
///
/// # Errors
/// If they have not.
pub fn check_token_over(shards: &[Option<&mut Shard>], native: &Native) -> Result<(), Failure> {
    native.token.map_or(Ok(()), |token| {
        shards.iter().flatten().try_for_each(|shard| shard.check_token(token))
    })
}

/// The answer to a RESP command in the binary protocol that has run over shards: of a single one it says how far that
/// is.
pub fn answer_over(shards: &[Option<&mut Shard>]) -> Answer {
    let mut held = shards.iter().flatten();
    match (held.next(), held.next()) {
        (Some(shard), None) => {
            Answer { shard: shard.id, version: shard.keyspace.sequence(), ..Answer::DONE }
        }
        _ => Answer::DONE,
    }
}

/// The operation of a request that is not a RESP command's.
#[inline]
fn data_operation(native: &Native) -> Option<DataOperation> {
    match Operations::get().find(native.head.opcode)?.run() {
        Run::Data(operation) => Some(operation),
        Run::Command | Run::Session(_) => None,
    }
}

#[inline]
fn run_native(
    operation: DataOperation,
    exec: &mut Exec<'_>,
    native: &Native,
    args: &Args<'_>,
    out: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    let start = out.len();
    let request = Request { head: &native.head, args: *args };
    let result = operation(exec, &request, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// What the holder of a shard brings along for a command.
#[derive(Debug)]
pub struct Around<'a> {
    /// Both clocks.
    pub now: Now,
    /// Slots to shards, and shards to cores.
    pub owners: &'a Owners,
    /// `proto-max-bulk-len`.
    pub value_bytes_max: usize,
    /// Long values that come and go.
    pub handover: &'a mut Handover,
}

impl Around<'_> {
    fn reborrow(&mut self) -> Around<'_> {
        Around { handover: self.handover, ..*self }
    }

    /// Copies a long value that is the reply to where replies are written, for a protocol that wants it
    /// there.
    fn append_value(&mut self, out: &mut Vec<u8>) {
        if let Some(value) = self.handover.reply.take() {
            Reply::new(out, Proto::Resp3).bulk(value.bytes());
        }
    }
}

/// Runs one command over several shards; `shards` is indexed by shard and lacks those not needed.
pub fn execute_over(
    shards: &mut [Option<&mut Shard>],
    call: &Call,
    args: &Args<'_>,
    around: Around<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let policy = make_room_in(shards, call, args, around.now)?;
    let mut keyspaces = keyspaces_of(shards);
    run(call, args, around, policy, Keyspaces::Many(&mut keyspaces), out)
}

/// Takes the next step of a command over shards that were held since it [began](execute_over). What it changes in steps
/// it tells itself.
///
/// # Errors
/// What is to be answered instead of all that was so far.
pub fn step_over(
    shards: &mut [Option<&mut Shard>],
    steps: &mut dyn Steps,
    (call, args): (&Call, &Args<'_>),
    around: Around<'_>,
    out: &mut Vec<u8>,
) -> Result<Progress, Error> {
    let policy = shards.iter().flatten().next().map(|shard| shard.room.policy);
    let mut keyspaces = keyspaces_of(shards);
    let keyspaces = Keyspaces::Many(&mut keyspaces);
    let mut exec = surroundings(call, args, around, policy.unwrap_or_default(), keyspaces);
    take_one(steps, &mut exec, args, &mut Reply::new(out, call.proto))
}

/// Makes room in all shards for a command that may need it; answers what is evicted.
fn make_room_in(
    shards: &mut [Option<&mut Shard>],
    call: &Call,
    args: &Args<'_>,
    now: Now,
) -> Result<EvictionPolicy, Error> {
    let mut policy = EvictionPolicy::default();
    for shard in shards.iter_mut().flatten() {
        policy = shard.room.policy;
        shard.admit(call, args, now)?;
    }
    Ok(policy)
}

fn keyspaces_of<'a>(shards: &'a mut [Option<&mut Shard>]) -> Vec<Option<&'a mut Keyspace>> {
    shards.iter_mut().map(|shard| shard.as_mut().map(|shard| &mut shard.keyspace)).collect()
}

/// What the handler of a command works with.
#[inline]
fn surroundings<'a>(
    call: &Call,
    args: &Args<'a>,
    around: Around<'a>,
    policy: EvictionPolicy,
    keyspaces: Keyspaces<'a>,
) -> Exec<'a> {
    let Call { db, no_touch, view, .. } = *call;
    let Around { now, owners, value_bytes_max, handover } = around;
    let routed = routed(call, args);
    Exec { now, db, no_touch, policy, owners, view, value_bytes_max, routed, keyspaces, handover }
}

/// The first key of a command.
#[inline]
fn routed<'a>(call: &Call, args: &Args<'a>) -> RoutedKey<'a> {
    let first = call.entry.command.keys.first().and_then(|first| args.get(first));
    RoutedKey { bytes: first.unwrap_or_default(), slot: call.slot }
}

#[inline]
fn run<'a>(
    call: &Call,
    args: &Args<'a>,
    around: Around<'a>,
    policy: EvictionPolicy,
    keyspaces: Keyspaces<'a>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    handle(&mut surroundings(call, args, around, policy, keyspaces), call, args, out)
}

/// Runs the handler; an error leaves nothing of its reply behind.
#[inline]
fn handle(
    exec: &mut Exec<'_>,
    call: &Call,
    args: &Args<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = out.len();
    let handler = match call.entry.command.handler {
        Handler::Keyed(handler)
        | Handler::Slot(handler, _)
        | Handler::Cursor(handler, _)
        | Handler::AllShards(handler)
        | Handler::KeyedOrAll(handler, _) => handler,
        Handler::Session(_) | Handler::Container(_) => {
            unreachable!("not a command on data: {}", call.entry.full_name)
        }
    };
    let change = exec.start_of_change(call.entry, args);
    let result = handler(exec, args, &mut Reply::new(out, call.proto));
    if let Some(change) = change {
        exec.tell_of(&change);
    }
    if result.is_err() {
        out.truncate(start);
        exec.handover.reply = None;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::{
        Admission, Args, Call, EVICT_BUDGET, EvictionPolicy, KeyspaceOptions, Now, Room, Shard,
        ShardId,
    };
    use crate::cache::Expiry;
    use crate::command::View;
    use crate::command::table::Table;
    use crate::protocol::Proto;
    use crate::protocol::args::ArgRange;
    use crate::types::{DbIndex, Key, key_slot};

    /// Words as the bytes of a request, and where in them each lies.
    pub(super) fn joined(words: &[&[u8]]) -> (Vec<u8>, Vec<ArgRange>) {
        let (mut ranges, mut start) = (Vec::new(), 0);
        for word in words {
            let length = u32::try_from(word.len()).unwrap();
            ranges.push(ArgRange { start, length });
            start += length;
        }
        (words.concat(), ranges)
    }

    /// A client's call without anything special about it.
    pub(super) fn call(args: &Args<'_>) -> Call {
        Call {
            entry: Table::get().resolve(args).unwrap(),
            db: DbIndex(0),
            proto: Proto::Resp2,
            no_touch: false,
            slot: key_slot(args.at(1)),
            view: View::default(),
            native: None,
            durability: None,
            admission: Admission::default(),
            follower: None,
            tracker: 0,
        }
    }

    #[test]
    fn a_shard_over_its_limit_evicts_a_bounded_number_of_keys_a_step() {
        const KEYS: usize = 20_000;
        let (db, now) = (DbIndex(0), Now::default());
        let mut shard =
            Shard::new(ShardId(0), KeyspaceOptions { slots: 0..16_384, seed: 7, sequence: 0 });
        for index in 0..KEYS {
            let key = format!("key{index}");
            let key = Key::new(db, key.as_bytes());
            shard.keyspace.set(key, &[b'v'; 1000], Expiry::Clear, now.unix);
        }
        let limit_bytes = shard.keyspace.memory().total_bytes() / 2;
        shard.set_room(Room { limit_bytes, policy: EvictionPolicy::NoEviction });
        while shard.maintain(now, true) {}
        assert_eq!(shard.keyspace.len(db), KEYS);
        shard.set_room(Room { limit_bytes, policy: EvictionPolicy::AllKeysLru });
        let (mut before, mut steps) = (KEYS, 0);
        while shard.maintain(now, true) {
            let left = shard.keyspace.len(db);
            assert!(before - left <= EVICT_BUDGET, "{before} keys, then {left}");
            (before, steps) = (left, steps + 1);
        }
        assert!(shard.keyspace.memory().total_bytes() <= limit_bytes);
        assert!(steps > KEYS / 4 / EVICT_BUDGET, "{steps} steps");
        assert!(shard.keyspace.len(db) > KEYS / 4, "{} keys left", shard.keyspace.len(db));
    }

    /// After the limit has fallen writes wait or pay for themselves: no step is long, and memory never
    /// grows.
    #[test]
    fn a_write_over_the_limit_waits_until_as_much_is_evicted() {
        const KEYS: usize = 20_000;
        let (db, now) = (DbIndex(0), Now::default());
        let options = KeyspaceOptions { slots: 0..16_384, seed: 7, sequence: 0 };
        let mut shard = Shard::new(ShardId(0), options);
        for index in 0..KEYS {
            let key = format!("key{index}");
            shard.keyspace.set(Key::new(db, key.as_bytes()), &[b'v'; 200], Expiry::Clear, now.unix);
        }
        assert!(!shard.must_wait(now, 1 << 30));
        let full = shard.keyspace.memory().total_bytes();
        shard.set_room(Room { limit_bytes: full / 2, policy: EvictionPolicy::AllKeysLru });
        // A value as long as many keys together: it has to wait, and for no longer than that.
        let (mut waits, value) = (0, vec![b'v'; 500_000]);
        while shard.must_wait(now, value.len()) {
            waits += 1;
        }
        assert!(waits > 0 && shard.keyspace.len(db) > KEYS / 2, "{waits} waits");
        shard.keyspace.set(Key::new(db, b"long"), &value, Expiry::Clear, now.unix);
        assert!(shard.keyspace.memory().total_bytes() < full + 16 * 1024);
        // Short ones hardly wait, and while they come the shard gets to its limit.
        let (mut writes, mut waits) = (0, 0);
        while shard.is_over_limit() {
            let before = (shard.keyspace.len(db), shard.keyspace.memory().total_bytes());
            if shard.must_wait(now, 210) {
                waits += 1;
            } else {
                let key = format!("new{writes}");
                let key = Key::new(db, key.as_bytes());
                shard.keyspace.set(key, &[b'v'; 200], Expiry::Clear, now.unix);
                writes += 1;
            }
            assert!(before.0.saturating_sub(shard.keyspace.len(db)) <= EVICT_BUDGET);
            assert!(shard.keyspace.memory().total_bytes() <= before.1 + 4096);
        }
        assert!(waits < 40 && writes < 200, "{waits} waits, {writes} writes");
        // Where nothing can be evicted nobody waits: the write is refused.
        shard.set_room(Room { limit_bytes: 1, policy: EvictionPolicy::NoEviction });
        assert!(!shard.must_wait(now, 210));
    }
}
