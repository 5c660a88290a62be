//! Random operations against a model: a sorted map and a list in order of use.

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use crate::cache::{Access, EvictionPolicy, Expiry, Keyspace, KeyspaceOptions};
use crate::types::{DbIndex, Key, UnixMs};

const DATABASES: u8 = 3;

#[derive(Clone, Debug)]
enum Op {
    Get(u8, u16, bool),
    Set(u8, u16, usize, Option<u64>),
    SetKeep(u8, u16, usize),
    Edit(u8, u16, usize),
    Remove(u8, u16),
    Expire(u8, u16, Option<u64>),
    Many(u8, u16, u16),
    RemoveMany(u8, u16, u16),
    Evict(EvictionPolicy),
    Wait(u64),
    ExpireDue(usize),
    Maintain(u8),
    Flush(u8),
    Swap(u8, u8),
    Scan(u8, usize),
    RandomKey(u8),
}

fn value_length() -> impl Strategy<Value = usize> {
    prop_oneof![
        8 => 0..300usize,
        2 => 300..20_000usize,
        1 => 20_000..200_000usize,
        1 => Just(1_100_000usize),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let db = || 0..DATABASES;
    let key = || 0..60u16;
    let ttl = || prop::option::of(1..400_000u64);
    let policy = prop_oneof![
        Just(EvictionPolicy::AllKeysLru),
        Just(EvictionPolicy::VolatileLru),
        Just(EvictionPolicy::AllKeysRandom),
        Just(EvictionPolicy::VolatileRandom),
        Just(EvictionPolicy::VolatileTtl),
        Just(EvictionPolicy::NoEviction),
    ];
    prop_oneof![
        6 => (db(), key(), any::<bool>()).prop_map(|(d, k, touch)| Op::Get(d, k, touch)),
        8 => (db(), key(), value_length(), ttl()).prop_map(|(d, k, v, t)| Op::Set(d, k, v, t)),
        3 => (db(), key(), value_length()).prop_map(|(d, k, v)| Op::SetKeep(d, k, v)),
        5 => (db(), key(), value_length()).prop_map(|(d, k, v)| Op::Edit(d, k, v)),
        3 => (db(), key()).prop_map(|(d, k)| Op::Remove(d, k)),
        4 => (db(), key(), ttl()).prop_map(|(d, k, t)| Op::Expire(d, k, t)),
        2 => (db(), 100..900u16, 1..900u16).prop_map(|(d, k, n)| Op::Many(d, k, n)),
        1 => (db(), 100..900u16, 1..900u16).prop_map(|(d, k, n)| Op::RemoveMany(d, k, n)),
        4 => policy.prop_map(Op::Evict),
        3 => (0..3_000_000u64).prop_map(Op::Wait),
        3 => (0..200usize).prop_map(Op::ExpireDue),
        3 => (0..20u8).prop_map(Op::Maintain),
        1 => db().prop_map(Op::Flush),
        1 => (db(), db()).prop_map(|(a, b)| Op::Swap(a, b)),
        2 => (db(), 1..50usize).prop_map(|(d, n)| Op::Scan(d, n)),
        2 => db().prop_map(Op::RandomKey),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Value {
    bytes: Vec<u8>,
    expires_at: Option<u64>,
    modified: bool,
    /// When it was last used; larger is later.
    used: u64,
}

/// What a keyspace should be.
struct Model {
    keyspace: Keyspace,
    databases: [BTreeMap<Vec<u8>, Value>; DATABASES as usize],
    now: u64,
    uses: u64,
    fill: u8,
}

/// Keys of many lengths, all of the shape `name` or `{tag}name`, so that some slots have many.
fn key_bytes(number: u16) -> Vec<u8> {
    let mut key = if number >= 100 { b"{many}".to_vec() } else { Vec::new() };
    key.extend(number.to_string().into_bytes());
    match number {
        30..40 => key.resize(200 + usize::from(number) * 10, b'x'),
        40..45 => key.resize(1_000 * usize::from(number - 39), b'x'),
        45..48 => key.resize(15_000 * usize::from(number - 44), b'x'),
        0 => key.clear(),
        _ => {}
    }
    key
}

impl Model {
    fn new() -> Self {
        let options = KeyspaceOptions { slots: 0..16_384, seed: 7, sequence: 0 };
        Self {
            keyspace: Keyspace::new(options),
            databases: Default::default(),
            now: 1_700_000_000_000,
            uses: 0,
            fill: 0,
        }
    }

    fn now(&self) -> UnixMs {
        UnixMs(self.now)
    }

    fn is_live(&self, value: &Value) -> bool {
        value.expires_at.is_none_or(|at| at >= self.now)
    }

    /// Drops what has expired under this key, as every access does.
    fn prune(&mut self, db: u8, key: &[u8]) {
        let now = self.now;
        let map = &mut self.databases[usize::from(db)];
        if map.get(key).and_then(|value| value.expires_at).is_some_and(|at| at < now) {
            map.remove(key);
        }
    }

    fn used(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Get(db, key, touch) => self.get(db, &key_bytes(key), touch),
            Op::Set(db, key, length, ttl) => {
                let expiry = ttl.map_or(Expiry::Clear, |ttl| Expiry::At(UnixMs(self.now + ttl)));
                self.set(db, &key_bytes(key), length, expiry);
            }
            Op::SetKeep(db, key, length) => self.set(db, &key_bytes(key), length, Expiry::Keep),
            Op::Edit(db, key, length) => self.edit(db, &key_bytes(key), length),
            Op::Remove(db, key) => self.remove(db, &key_bytes(key)),
            Op::Expire(db, key, ttl) => self.expire(db, &key_bytes(key), ttl),
            Op::Many(db, first, count) => {
                for key in first..first + count {
                    self.set(db, &key_bytes(key), usize::from(key) % 90, Expiry::Clear);
                }
            }
            Op::RemoveMany(db, first, count) => {
                for key in first..first + count {
                    self.remove(db, &key_bytes(key));
                }
            }
            Op::Evict(policy) => self.evict(policy),
            Op::Wait(ms) => self.now += ms,
            Op::ExpireDue(budget) => self.expire_due(budget),
            Op::Maintain(steps) => {
                for _ in 0..steps {
                    self.keyspace.maintain();
                }
            }
            Op::Flush(db) => {
                self.keyspace.flush(DbIndex(db));
                self.databases[usize::from(db)].clear();
            }
            Op::Swap(a, b) => {
                self.keyspace.swap_databases(DbIndex(a), DbIndex(b), self.now());
                self.databases.swap(usize::from(a), usize::from(b));
            }
            Op::Scan(db, count) => self.scan(db, count),
            Op::RandomKey(db) => self.random_key(db),
        }
    }

    fn get(&mut self, db: u8, key: &[u8], touch: bool) {
        self.prune(db, key);
        let (uses, now) = (self.used(), self.now());
        let access = if touch { Access::Read } else { Access::ReadNoTouch };
        let found = self.keyspace.get(Key::new(DbIndex(db), key), now, access);
        let expected = self.databases[usize::from(db)].get_mut(key);
        assert_eq!(found.is_some(), expected.is_some());
        if let (Some(found), Some(expected)) = (found, expected) {
            assert_eq!(found.key, key);
            assert!(found.string() == Ok(&expected.bytes[..]));
            assert_eq!(found.expires_at.map(|at| at.0), expected.expires_at);
            assert_eq!(found.modified_in_place, expected.modified);
            assert!(
                found.accessed_at.0 <= now.0 && now.0 % 1000 + found.accessed_at.0 % 1000 < 1000
            );
            assert!(found.memory_bytes > found.key.len() + expected.bytes.len());
            if touch {
                expected.used = uses;
            }
        }
    }

    fn set(&mut self, db: u8, key: &[u8], length: usize, expiry: Expiry) {
        self.prune(db, key);
        self.fill = self.fill.wrapping_add(1);
        let value = vec![self.fill; length];
        let now = self.now();
        self.keyspace.set(Key::new(DbIndex(db), key), &value, expiry, now);
        let used = self.used();
        let map = &mut self.databases[usize::from(db)];
        let kept = map.get(key).and_then(|value| value.expires_at);
        let expires_at = match expiry {
            Expiry::Clear => None,
            Expiry::Keep => kept,
            Expiry::At(at) => Some(at.0),
        };
        map.insert(key.to_vec(), Value { bytes: value, expires_at, modified: false, used });
    }

    fn edit(&mut self, db: u8, key: &[u8], length: usize) {
        self.prune(db, key);
        self.fill = self.fill.wrapping_add(1);
        let (used, fill, now) = (self.used(), self.fill, self.now());
        let map = &mut self.databases[usize::from(db)];
        let new = Value { bytes: Vec::new(), expires_at: None, modified: true, used };
        let expected = map.entry(key.to_vec()).or_insert(new);
        let old = expected.bytes.len();
        expected.bytes.resize(length, 0);
        (expected.used, expected.modified) = (used, true);
        self.keyspace.edit(Key::new(DbIndex(db), key), length, 0..length, now, |bytes| {
            assert!(bytes == expected.bytes, "{old} to {length}");
            bytes[length / 2..].fill(fill);
        });
        expected.bytes[length / 2..].fill(fill);
    }

    fn remove(&mut self, db: u8, key: &[u8]) {
        self.prune(db, key);
        let now = self.now();
        let removed = self.keyspace.remove(Key::new(DbIndex(db), key), now);
        assert_eq!(removed, self.databases[usize::from(db)].remove(key).is_some());
    }

    fn expire(&mut self, db: u8, key: &[u8], ttl: Option<u64>) {
        self.prune(db, key);
        let (used, now) = (self.used(), self.now());
        let at = ttl.map(|ttl| self.now - 1000 + ttl);
        let map = &mut self.databases[usize::from(db)];
        let found = self.keyspace.set_expiry(Key::new(DbIndex(db), key), at.map(UnixMs), now);
        assert_eq!(found, map.contains_key(key));
        if at.is_some_and(|at| at <= now.0) {
            map.remove(key);
        } else if let Some(value) = map.get_mut(key) {
            (value.expires_at, value.used) = (at, used);
        }
    }

    /// Evicts one key and finds out which; the LRU policies must take exactly the oldest.
    fn evict(&mut self, policy: EvictionPolicy) {
        while self.keyspace.has_something_to_give_back() {
            assert!(self.keyspace.evict(policy, self.now()));
        }
        let before = self.count();
        let volatile = matches!(
            policy,
            EvictionPolicy::VolatileLru
                | EvictionPolicy::VolatileRandom
                | EvictionPolicy::VolatileTtl
        );
        let all = self.databases.iter().enumerate();
        let candidates = all
            .flat_map(|(db, map)| map.iter().map(move |(key, value)| (db, key, value)))
            .filter(|(_, _, value)| !volatile || value.expires_at.is_some());
        let oldest = candidates
            .clone()
            .min_by_key(|(_, _, value)| value.used)
            .map(|(db, key, _)| (db, key.clone()));
        let none = policy == EvictionPolicy::NoEviction || oldest.is_none();
        assert!(none || self.keyspace.evictable(policy));
        // A call may also pass what does not expire, or move entries to gain a page.
        for _ in 0..10_000 {
            let removed = self.keyspace.evict(policy, self.now());
            if self.len() < before || !removed && none {
                break;
            }
        }
        if none {
            assert_eq!(self.len(), before);
            return;
        }
        assert_eq!(self.len(), before - 1);
        match policy {
            EvictionPolicy::AllKeysLru | EvictionPolicy::VolatileLru => {
                if let Some((db, key)) = oldest {
                    self.databases[db].remove(&key);
                    assert!(!self.has(db, &key), "not the least recently used was evicted");
                }
            }
            _ => self.forget_missing(volatile),
        }
    }

    fn expire_due(&mut self, budget: usize) {
        let before = self.keyspace.counts().expired;
        let more = self.keyspace.expire_due(self.now(), budget);
        assert!(self.keyspace.counts().expired - before <= budget as u64);
        let now = self.now;
        for db in 0..usize::from(DATABASES) {
            let dead: Vec<_> = self.databases[db]
                .iter()
                .filter(|(_, value)| value.expires_at.is_some_and(|at| at < now))
                .map(|(key, value)| (key.clone(), value.expires_at))
                .collect();
            for (key, at) in dead {
                let due = at.is_some_and(|at| at >> 7 < now >> 7);
                assert!(more || !due || !self.has(db, &key), "{key:?} is still there");
                if !self.has(db, &key) {
                    self.databases[db].remove(&key);
                }
            }
        }
    }

    fn scan(&mut self, db: u8, count: usize) {
        let (mut cursor, mut seen) = (0, BTreeMap::new());
        loop {
            cursor = self.keyspace.scan(DbIndex(db), cursor, count, self.now(), |entry| {
                seen.insert(entry.key.to_vec(), entry.string().expect("a string").len());
            });
            assert!(cursor < 1 << 48);
            if cursor == 0 {
                break;
            }
        }
        let live = self.databases[usize::from(db)].iter().filter(|(_, value)| self.is_live(value));
        let live: BTreeMap<_, _> =
            live.map(|(key, value)| (key.clone(), value.bytes.len())).collect();
        assert!(seen == live);
    }

    fn random_key(&mut self, db: u8) {
        let mut key = Vec::new();
        let found = self.keyspace.random_key(DbIndex(db), self.now(), &mut key);
        let map = &self.databases[usize::from(db)];
        let expected = map.values().any(|value| self.is_live(value));
        assert_eq!(found, expected);
        assert!(!found || map.get(&key).is_some_and(|value| self.is_live(value)));
        self.forget_missing(true);
    }

    /// Drops from the model what is not in the keyspace any more. Only what expires may be missing
    /// if `volatile`.
    fn forget_missing(&mut self, volatile: bool) {
        for db in 0..usize::from(DATABASES) {
            let keys: Vec<_> = self.databases[db].keys().cloned().collect();
            for key in keys {
                if !self.has(db, &key) {
                    let value = self.databases[db].remove(&key);
                    assert!(!volatile || value.is_some_and(|value| value.expires_at.is_some()));
                }
            }
        }
    }

    /// Whether the key is there, expired or not.
    fn has(&mut self, db: usize, key: &[u8]) -> bool {
        let db = DbIndex(u8::try_from(db).expect("few"));
        self.keyspace.contains(Key::new(db, key), UnixMs(0), Access::Peek)
    }

    fn len(&self) -> usize {
        (0..DATABASES).map(|db| self.keyspace.len(DbIndex(db))).sum()
    }

    fn count(&self) -> usize {
        self.databases.iter().map(BTreeMap::len).sum()
    }

    fn check(&self) {
        self.keyspace.check();
        for db in 0..DATABASES {
            let map = &self.databases[usize::from(db)];
            assert_eq!(self.keyspace.len(DbIndex(db)), map.len());
            let expiring = map.values().filter(|value| value.expires_at.is_some()).count();
            assert_eq!(self.keyspace.expiring_len(DbIndex(db)), expiring);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_sorted_map(ops in prop::collection::vec(op(), 1..150)) {
        let mut model = Model::new();
        for (round, op) in ops.iter().enumerate() {
            model.run(op);
            if round % 10 == 0 {
                model.check();
            }
        }
        model.check();
    }
}
