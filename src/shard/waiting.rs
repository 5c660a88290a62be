//! Who waits for which keys of a shard: clients in blocking commands, first come, first served.
//!
//! ```text
//! blocking command, nothing there ─► wait_for ─► queue of each key ── the key changes: a note
//!                                                    │                     │
//!                 timeout, unblock, disconnect ─► forget ◄── served ◄── first_to_serve
//! ```
//!
//! A client that waits for several keys, on several shards, stands in the queue of each of them with the same
//! [`Wait`]. Whoever ends it serves the client, and nobody else does ([`ClientWait`](crate::node::ClientWait)); so a
//! queue may hold waits that are over. A key with a queue is observed (`cache::observe`), so that whoever changes it
//! learns of it. A key that holds something of another type serves nobody, and they wait on.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Call, Shard};
use crate::cache::Observer;
use crate::collection::Value;
use crate::command::blocking::{narrow, waited_keys};
use crate::command::{Group, Keys};
use crate::node::ClientInfo;
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::types::{DbIndex, Key, ShardId, SlotMap, UnixMs, key_slot};

/// A command that waits for its keys: an owned copy, as its request is long gone.
#[derive(Debug)]
pub struct Wait {
    /// The client. It is on the same core for as long as it waits.
    pub client: Arc<ClientInfo>,
    /// The wait's number among the client's.
    pub number: u64,
    /// The command.
    pub call: Call,
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
    /// Positions of the keys that it waits for, each once.
    keys: Vec<usize>,
    /// Whether its core has been asked to run it again.
    is_called: AtomicBool,
}

impl Wait {
    /// The wait of a client that has just begun it.
    pub fn new(client: Arc<ClientInfo>, number: u64, call: &Call, args: &Args<'_>) -> Self {
        let (bytes, ranges) = args.to_owned_parts();
        let keys = waited_keys(call.entry, args);
        Self { client, number, call: *call, bytes, ranges, keys, is_called: AtomicBool::new(false) }
    }

    /// The arguments.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }

    /// The keys that it waits for, each once.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|at| self.args().at(*at))
    }

    /// The shards of the keys that it waits for, each once, in order.
    pub fn waited_shards(&self, slots: SlotMap) -> Vec<ShardId> {
        in_order(self.keys().map(|key| slots.shard_of(key_slot(key))))
    }

    /// The shards of all its keys, each once, in order.
    pub fn all_shards(&self, slots: SlotMap) -> Vec<ShardId> {
        let positions = self.call.entry.command.keys.positions(&self.args());
        in_order(positions.map(|at| slots.shard_of(key_slot(self.args().at(at)))))
    }

    /// Whether it can be served from a key on `shard` by whoever holds that shard alone: it does not move an element
    /// to another one.
    pub fn is_served_on(&self, shard: ShardId, slots: SlotMap) -> bool {
        self.call.entry.command.keys != Keys::TWO || self.all_shards(slots) == [shard]
    }

    /// The command as it is served from `key` alone, and its arguments.
    pub fn narrowed(&self, key: &[u8]) -> (Call, Vec<u8>, Vec<ArgRange>) {
        let at = self.keys.iter().copied().find(|at| self.args().at(*at) == key);
        let mut bytes = self.bytes.clone();
        let ranges = narrow(self.call.entry, at.unwrap_or_default(), &mut bytes, &self.ranges);
        (Call { slot: key_slot(key), ..self.call }, bytes, ranges)
    }

    /// Ends it; false if it was over.
    pub fn end(&self) -> bool {
        self.client.wait.end(self.number)
    }

    /// Whether it has not been ended.
    pub fn goes_on(&self) -> bool {
        self.client.wait.goes_on(self.number)
    }

    /// Notes that its core is asked to run it again; false if it has been already.
    pub fn call_core(&self) -> bool {
        !self.is_called.swap(true, Ordering::AcqRel)
    }

    /// Its core is about to run it again.
    pub fn answer_call(&self) {
        self.is_called.store(false, Ordering::Release);
    }

    /// Bytes of memory that it takes, queues included.
    pub fn memory_bytes(&self) -> usize {
        let of_keys: usize = self.keys().map(<[u8]>::len).sum();
        let each = size_of::<usize>() + size_of::<Arc<Self>>() + size_of::<Name>();
        size_of::<Self>()
            + self.bytes.capacity()
            + self.ranges.capacity() * size_of::<ArgRange>()
            + of_keys
            + self.keys.len() * each
    }
}

fn in_order(shards: impl Iterator<Item = ShardId>) -> Vec<ShardId> {
    let mut shards: Vec<ShardId> = shards.collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

type Name = (DbIndex, Box<[u8]>);

/// All queues of a shard, none of them empty.
#[derive(Debug, Default)]
pub(super) struct Waiting(HashMap<Name, VecDeque<Arc<Wait>>>);

impl Shard {
    /// Number of keys that clients wait for.
    pub fn waited_keys(&self) -> usize {
        self.waiting.0.len()
    }

    /// Puts a client at the end of the queue of each of its keys that lie here.
    pub fn wait_for(&mut self, wait: &Arc<Wait>, slots: SlotMap, now: UnixMs) {
        let (db, me) = (wait.call.db, self.id);
        for key in wait.keys().filter(|key| slots.shard_of(key_slot(key)) == me) {
            self.waiting.0.entry((db, key.into())).or_default().push_back(wait.clone());
            self.observe_waited(Key::new(db, key), now);
        }
    }

    /// Has the next change of a key noted if somebody waits for it.
    pub fn observe_waited(&mut self, key: Key<'_>, now: UnixMs) {
        if self.waiting.0.contains_key(&(key.db, key.bytes.into())) {
            self.keyspace.observe(key, Observer::Waiting, now);
        }
    }

    /// The first in the queue of a key who waits for what the key holds now.
    pub fn first_to_serve(&self, key: Key<'_>, now: UnixMs) -> Option<Arc<Wait>> {
        let queue = self.waiting.0.get(&(key.db, key.bytes.into()))?;
        let group = match self.keyspace.peek(key, now)? {
            Value::List(_) => Group::List,
            Value::SortedSet(_) => Group::SortedSet,
            Value::String(_) | Value::Set(_) | Value::Hash(_) => return None,
        };
        let is_first = |wait: &&Arc<Wait>| wait.call.entry.command.group == group && wait.goes_on();
        queue.iter().find(is_first).cloned()
    }

    /// Takes a client whose wait is over out of all queues here. Answers the keys that others wait for still.
    pub fn forget(&mut self, wait: &Arc<Wait>) -> Vec<Box<[u8]>> {
        let mut left = Vec::new();
        for key in wait.keys() {
            let name = (wait.call.db, Box::from(key));
            let Some(queue) = self.waiting.0.get_mut(&name) else { continue };
            // Who has been served, or has waited for longest, stands in front.
            if let Some(at) = queue.iter().position(|other| Arc::ptr_eq(other, wait)) {
                queue.remove(at);
            }
            if queue.is_empty() {
                self.waiting.0.remove(&name);
                self.keyspace.stop_observing((name.0, key), Observer::Waiting);
            } else {
                left.push(name.1);
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Shard, Wait};
    use crate::cache::{Expiry, KeyspaceOptions, Missing};
    use crate::collection::list::End;
    use crate::collection::{Edit, List, SortedSet};
    use crate::node::{ClientInfo, ClientOptions};
    use crate::protocol::Args;
    use crate::shard::tests::{call, joined};
    use crate::types::{
        ClientId, CoreId, DbIndex, Key, MonoUs, ShardId, SlotMap, UnixMs, key_slot,
    };

    const NOW: UnixMs = UnixMs(1);
    const DB: DbIndex = DbIndex(0);

    fn shard() -> Shard {
        Shard::new(ShardId(0), KeyspaceOptions { slots: 0..16_384, seed: 7, sequence: 0 })
    }

    fn slots() -> SlotMap {
        SlotMap::new(1, 1)
    }

    fn wait(id: u64, line: &str) -> Arc<Wait> {
        let addr = ([127, 0, 0, 1], 1000).into();
        let (core, now) = (CoreId(0), MonoUs(0));
        let options = ClientOptions {
            id: ClientId(id),
            addr,
            laddr: addr,
            fd: 0,
            core,
            now,
            is_guest: false,
        };
        let client = Arc::new(ClientInfo::new(options));
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let (bytes, ranges) = joined(&words);
        let args = Args::new(&bytes, &ranges);
        let call = call(&args);
        let number = client.wait.begin();
        Arc::new(Wait::new(client, number, &call, &args))
    }

    fn push(shard: &mut Shard, key: &[u8]) {
        let change = |list: &mut List, edit: &mut Edit<'_>| {
            list.push(End::Right, std::iter::once(b"x".as_slice()), edit);
        };
        let keyspace = shard.keyspace_mut();
        keyspace.change(Key::new(DB, key), Missing::Create, NOW, change).unwrap();
    }

    fn first(shard: &Shard, key: &[u8]) -> Option<u64> {
        shard.first_to_serve(Key::new(DB, key), NOW).map(|wait| wait.client.id.0)
    }

    #[test]
    fn the_first_is_who_came_first_for_that_type_and_waits_still() {
        let mut shard = shard();
        let all = ["bzpopmin a 0", "blpop b a 0", "brpop a 0", "blmpop 0 1 a left"];
        let all: Vec<_> = (1..).zip(all).map(|(id, line)| wait(id, line)).collect();
        all.iter().for_each(|wait| shard.wait_for(wait, slots(), NOW));
        assert_eq!((shard.waited_keys(), first(&shard, b"a")), (2, None));
        push(&mut shard, b"a");
        assert!(shard.keyspace().has_news());
        assert_eq!(first(&shard, b"a"), Some(2));
        assert!(all[1].end() && !all[1].end());
        assert_eq!(first(&shard, b"a"), Some(3));
        assert_eq!(shard.forget(&all[2]), [Box::from(b"a".as_slice())]);
        assert_eq!(first(&shard, b"a"), Some(4));
        shard.keyspace_mut().remove(Key::new(DB, b"a"), NOW);
        let set = |set: &mut SortedSet, edit: &mut Edit<'_>| {
            set.put(b"m", 1.0, edit);
        };
        shard.keyspace_mut().change(Key::new(DB, b"a"), Missing::Create, NOW, set).unwrap();
        assert_eq!(first(&shard, b"a"), Some(1));
        shard.keyspace_mut().set(Key::new(DB, b"a"), b"s", Expiry::Clear, NOW);
        assert_eq!(first(&shard, b"a"), None);
    }

    #[test]
    fn who_is_forgotten_leaves_nothing_behind() {
        let mut shard = shard();
        let (one, two) = (wait(1, "blpop a b a c 0"), wait(2, "blpop a 0"));
        shard.wait_for(&one, slots(), NOW);
        shard.wait_for(&two, slots(), NOW);
        assert_eq!(shard.waited_keys(), 3);
        assert_eq!(shard.forget(&one), [Box::from(b"a".as_slice())]);
        assert_eq!((shard.waited_keys(), shard.forget(&two).len()), (1, 0));
        assert_eq!(shard.waited_keys(), 0);
        // Nor is any key observed.
        [b"a", b"b", b"c"].iter().for_each(|key| push(&mut shard, *key));
        assert!(!shard.keyspace().has_news());
    }

    #[test]
    fn what_moves_to_another_shard_needs_both() {
        let slots = SlotMap::new(4, 4);
        let keys: Vec<String> = (0..100).map(|index| format!("key{index}")).collect();
        let shard_of = |key: &String| slots.shard_of(key_slot(key.as_bytes()));
        let (from, here) = (&keys[0], shard_of(&keys[0]));
        let to = keys.iter().find(|key| shard_of(key) != here).unwrap();
        let moving = wait(1, &format!("blmove {from} {to} left left 0"));
        assert_eq!(moving.waited_shards(slots), [here]);
        assert_eq!(moving.all_shards(slots).len(), 2);
        assert!(!moving.is_served_on(here, slots));
        assert!(wait(1, &format!("blmove {from} {from} left left 0")).is_served_on(here, slots));
        let popping = wait(1, &format!("blpop {from} {to} 0"));
        assert!(popping.is_served_on(here, slots) && popping.is_served_on(shard_of(to), slots));
        assert_eq!(popping.waited_shards(slots), popping.all_shards(slots));
        assert!(moving.call_core() && !moving.call_core());
        moving.answer_call();
        assert!(moving.call_core());
    }
}
