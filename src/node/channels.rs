//! Who is subscribed to what, as far as all cores have to know it: how many clients of which core listen
//! to a channel, a pattern or a shard channel. From it `PUBLISH` tells how many receive a message and
//! learns which cores to send it to; which clients of a core they are, that core alone knows.
//!
//! Names are spread over parts, each behind a lock of its own, so that cores that publish seldom meet.
//! Patterns are few and all of them are looked at for every message: they lie together, and a counter
//! says when there are none.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ahash::RandomState;
use hashbrown::HashMap;

use crate::protocol::{Proto, Reply};
use crate::types::CoreId;

/// Parts of the names of one kind.
const STRIPES: usize = 64;

/// A name that all who have to do with it share.
pub type Name = Arc<[u8]>;

/// What a subscription is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A channel.
    Channel,
    /// All channels that a pattern matches.
    Pattern,
    /// A channel with a slot (`SSUBSCRIBE`); those without know nothing of it.
    Shard,
}

/// The clients that listen to one name, counted by core.
#[derive(Debug, Default)]
struct Listeners(Vec<(CoreId, usize)>);

impl Listeners {
    fn add(&mut self, core: CoreId) {
        match self.0.iter_mut().find(|(of, _)| *of == core) {
            Some((_, count)) => *count += 1,
            None => self.0.push((core, 1)),
        }
    }

    /// False if nobody is left.
    fn remove(&mut self, core: CoreId) -> bool {
        if let Some(index) = self.0.iter().position(|(of, _)| *of == core) {
            self.0[index].1 -= 1;
            if self.0[index].1 == 0 {
                self.0.swap_remove(index);
            }
        }
        !self.0.is_empty()
    }

    fn count(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

/// A table by name.
pub type NameMap<V> = HashMap<Name, V, RandomState>;

/// Hashes that nobody outside can foresee, so that nobody can choose names that collide.
pub fn random_hasher() -> RandomState {
    let random = std::hash::RandomState::new();
    let [a, b, c, d] = [0, 1, 2, 3].map(|number| random.hash_one(number));
    RandomState::with_seeds(a, b, c, d)
}

type Stripe = NameMap<Listeners>;

/// All names of one kind, found by their hash.
#[derive(Debug)]
struct Names {
    stripes: Box<[RwLock<Stripe>]>,
    hasher: RandomState,
    count: AtomicUsize,
}

impl Default for Names {
    fn default() -> Self {
        let hasher = random_hasher();
        let stripe = |_| RwLock::new(Stripe::with_hasher(hasher.clone()));
        Self { stripes: (0..STRIPES).map(stripe).collect(), hasher, count: AtomicUsize::new(0) }
    }
}

impl Names {
    fn stripe(&self, name: &[u8]) -> &RwLock<Stripe> {
        // A table goes by the lowest and the highest bits.
        let index = (self.hasher.hash_one(name) >> 32) % STRIPES as u64;
        &self.stripes[usize::try_from(index).expect("below the number of stripes")]
    }

    fn add(&self, name: &[u8], core: CoreId) -> Name {
        let mut stripe = write(self.stripe(name));
        if let Some((known, _)) = stripe.get_key_value(name) {
            let known = known.clone();
            stripe.entry(known.clone()).or_default().add(core);
            return known;
        }
        let new = Name::from(name);
        stripe.entry(new.clone()).or_default().add(core);
        self.count.fetch_add(1, Ordering::Relaxed);
        new
    }

    fn remove(&self, name: &[u8], core: CoreId) {
        let mut stripe = write(self.stripe(name));
        let is_last = stripe.get_mut(name).is_some_and(|listeners| !listeners.remove(core));
        if is_last {
            stripe.remove(name);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn add_to(&self, audience: &mut Audience, name: &[u8]) {
        if let Some(listeners) = read(self.stripe(name)).get(name) {
            audience.add(listeners);
        }
    }

    fn listeners(&self, name: &[u8]) -> usize {
        read(self.stripe(name)).get(name).map_or(0, Listeners::count)
    }

    fn names(&self, mut accepts: impl FnMut(&[u8]) -> bool) -> Vec<Name> {
        let mut names = Vec::new();
        for stripe in &self.stripes {
            names.extend(read(stripe).keys().filter(|name| accepts(name)).cloned());
        }
        names
    }
}

/// Who is to have a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// How many clients; one that listens to the channel and to patterns counts as often.
    pub receivers: usize,
    /// Their cores, each once.
    pub cores: Vec<CoreId>,
    /// The patterns by which some of them get it.
    pub patterns: Vec<Name>,
}

impl Audience {
    fn add(&mut self, listeners: &Listeners) {
        for (core, count) in &listeners.0 {
            self.receivers += count;
            if !self.cores.contains(core) {
                self.cores.push(*core);
            }
        }
    }
}

/// The subscriptions of all clients.
#[derive(Debug, Default)]
pub struct Channels {
    channels: Names,
    shard_channels: Names,
    patterns: RwLock<BTreeMap<Name, Listeners>>,
    pattern_count: AtomicUsize,
    subscribers: AtomicUsize,
    undelivered_bytes: AtomicUsize,
}

impl Channels {
    fn of(&self, kind: Kind) -> Option<&Names> {
        match kind {
            Kind::Channel => Some(&self.channels),
            Kind::Shard => Some(&self.shard_channels),
            Kind::Pattern => None,
        }
    }

    /// One more client of `core` listens to `name`. Answers the name as all share it.
    pub fn add(&self, kind: Kind, name: &[u8], core: CoreId) -> Name {
        if let Some(names) = self.of(kind) {
            return names.add(name, core);
        }
        let mut patterns = write(&self.patterns);
        let known = patterns.get_key_value(name).map(|(known, _)| known.clone());
        let name = known.unwrap_or_else(|| Name::from(name));
        patterns.entry(name.clone()).or_default().add(core);
        self.pattern_count.store(patterns.len(), Ordering::Release);
        name
    }

    /// One client of `core` less listens to `name`.
    pub fn remove(&self, kind: Kind, name: &[u8], core: CoreId) {
        if let Some(names) = self.of(kind) {
            return names.remove(name, core);
        }
        let mut patterns = write(&self.patterns);
        if patterns.get_mut(name).is_some_and(|listeners| !listeners.remove(core)) {
            patterns.remove(name);
        }
        self.pattern_count.store(patterns.len(), Ordering::Release);
    }

    /// Who is to have a message on `channel`. `matches` tells whether a pattern matches it; shard channels
    /// are not asked about.
    pub fn audience(
        &self,
        kind: Kind,
        channel: &[u8],
        matches: impl Fn(&[u8]) -> bool,
    ) -> Audience {
        let mut audience = Audience::default();
        if let Some(names) = self.of(kind) {
            names.add_to(&mut audience, channel);
        }
        if kind == Kind::Shard || self.pattern_count.load(Ordering::Acquire) == 0 {
            return audience;
        }
        for (pattern, listeners) in read(&self.patterns).iter().filter(|(name, _)| matches(name)) {
            audience.add(listeners);
            audience.patterns.push(pattern.clone());
        }
        audience
    }

    /// How many names of this kind anybody listens to.
    pub fn count(&self, kind: Kind) -> usize {
        let names = self.of(kind).map(|names| &names.count);
        names.unwrap_or(&self.pattern_count).load(Ordering::Acquire)
    }

    /// How many clients listen to this very name.
    pub fn listeners(&self, kind: Kind, name: &[u8]) -> usize {
        match self.of(kind) {
            Some(names) => names.listeners(name),
            None => read(&self.patterns).get(name).map_or(0, Listeners::count),
        }
    }

    /// The channels, or shard channels, that `accepts` accepts; in no order.
    pub fn names(&self, kind: Kind, accepts: impl FnMut(&[u8]) -> bool) -> Vec<Name> {
        self.of(kind).map_or_else(Vec::new, |names| names.names(accepts))
    }

    /// Clients that listen to anything.
    pub fn subscribers(&self) -> usize {
        self.subscribers.load(Ordering::Relaxed)
    }

    /// A client listens to something now that listened to nothing before, or the other way round.
    pub fn count_subscriber(&self, listens: bool) {
        if listens {
            self.subscribers.fetch_add(1, Ordering::Relaxed);
        } else {
            self.subscribers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Bytes of messages that cores have been sent and have not looked at, over all cores.
    pub fn undelivered_bytes(&self) -> usize {
        self.undelivered_bytes.load(Ordering::Relaxed)
    }

    /// Messages of so many bytes are on their way to a core.
    pub fn note_sent(&self, bytes: usize) {
        self.undelivered_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// They have arrived.
    pub fn note_arrived(&self, bytes: usize) {
        self.undelivered_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// A published message as clients get it, encoded once for all of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    kind: Kind,
    /// `[message, channel, payload]` in RESP2. RESP3 has another first byte.
    bytes: Vec<u8>,
    /// Where the channel's and the payload's bulk strings begin.
    body: usize,
    channel: std::ops::Range<usize>,
    payload: std::ops::Range<usize>,
    patterns: Vec<Name>,
}

impl Message {
    /// The message `payload` on `channel`, for those who listen to it and to `patterns`.
    pub fn new(kind: Kind, channel: &[u8], payload: &[u8], patterns: Vec<Name>) -> Self {
        let word: &[u8] = if kind == Kind::Shard { b"smessage" } else { b"message" };
        let mut bytes = Vec::with_capacity(64 + channel.len() + payload.len());
        Reply::new(&mut bytes, Proto::Resp2).push(3);
        Reply::new(&mut bytes, Proto::Resp2).bulk(word);
        let body = bytes.len();
        Reply::new(&mut bytes, Proto::Resp2).bulk(channel);
        let channel = end_of(&bytes, channel);
        Reply::new(&mut bytes, Proto::Resp2).bulk(payload);
        let payload = end_of(&bytes, payload);
        Self { kind, bytes, body, channel, payload, patterns }
    }

    /// What its channel is: never a pattern.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its channel.
    pub fn channel(&self) -> &[u8] {
        &self.bytes[self.channel.clone()]
    }

    /// What was published there.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload.clone()]
    }

    /// The patterns that match its channel.
    pub fn patterns(&self) -> &[Name] {
        &self.patterns
    }

    /// What those who listen to the channel get, in RESP2.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What those who listen to `pattern` get, in RESP2.
    pub fn bytes_for(&self, pattern: &[u8]) -> Vec<u8> {
        let body = &self.bytes[self.body..];
        let mut bytes = Vec::with_capacity(64 + pattern.len() + body.len());
        let mut reply = Reply::new(&mut bytes, Proto::Resp2);
        reply.push(4);
        reply.bulk(b"pmessage");
        reply.bulk(pattern);
        reply.raw(body);
        bytes
    }
}

/// Where a bulk string that was just written lies.
fn end_of(bytes: &[u8], bulk: &[u8]) -> std::ops::Range<usize> {
    let end = bytes.len() - b"\r\n".len();
    end - bulk.len()..end
}

#[cfg(test)]
mod tests {
    use super::{Audience, Channels, Kind, Message, Name};
    use crate::types::CoreId;

    const NEVER: fn(&[u8]) -> bool = |_| false;

    #[test]
    fn listeners_are_counted_by_core() {
        let channels = Channels::default();
        for (core, kind) in
            [(0, Kind::Channel), (2, Kind::Channel), (2, Kind::Channel), (1, Kind::Shard)]
        {
            channels.add(kind, b"news", CoreId(core));
        }
        let audience = channels.audience(Kind::Channel, b"news", NEVER);
        let cores = vec![CoreId(0), CoreId(2)];
        assert_eq!(audience, Audience { receivers: 3, cores, patterns: Vec::new() });
        assert_eq!(channels.audience(Kind::Shard, b"news", NEVER).cores, [CoreId(1)]);
        assert_eq!(channels.audience(Kind::Channel, b"new", NEVER), Audience::default());
        for (core, left) in [(2, 2), (2, 1), (0, 0)] {
            channels.remove(Kind::Channel, b"news", CoreId(core));
            assert_eq!(channels.listeners(Kind::Channel, b"news"), left);
        }
        assert_eq!((channels.count(Kind::Channel), channels.count(Kind::Shard)), (0, 1));
        // Who was never there takes nobody away.
        channels.remove(Kind::Shard, b"news", CoreId(5));
        assert_eq!(channels.listeners(Kind::Shard, b"news"), 1);
        assert_eq!(channels.names(Kind::Shard, |_| true), [Name::from(*b"news")]);
    }

    #[test]
    fn patterns_add_to_the_audience_of_channels_only() {
        let channels = Channels::default();
        channels.add(Kind::Channel, b"news", CoreId(0));
        for pattern in [b"n*", b"x*"] {
            channels.add(Kind::Pattern, pattern, CoreId(0));
            channels.add(Kind::Pattern, pattern, CoreId(1));
        }
        let starts_with_n = |pattern: &[u8]| pattern.first() == Some(&b'n');
        let audience = channels.audience(Kind::Channel, b"news", starts_with_n);
        assert_eq!((audience.receivers, audience.cores.len()), (3, 2));
        assert_eq!(audience.patterns, [Name::from(*b"n*")]);
        assert_eq!(channels.audience(Kind::Shard, b"news", |_| true), Audience::default());
        assert_eq!(channels.count(Kind::Pattern), 2);
        for pattern in [b"n*", b"x*"] {
            channels.remove(Kind::Pattern, pattern, CoreId(0));
            channels.remove(Kind::Pattern, pattern, CoreId(1));
        }
        assert_eq!(channels.count(Kind::Pattern), 0);
    }

    #[test]
    fn names_are_shared() {
        let channels = Channels::default();
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            let first = channels.add(kind, b"name", CoreId(0));
            let second = channels.add(kind, b"name", CoreId(1));
            assert!(Name::ptr_eq(&first, &second), "{kind:?}");
        }
    }

    #[test]
    fn messages_are_bytes_for_each_who_listens() {
        let message = Message::new(Kind::Channel, b"news", b"hello", Vec::new());
        let text = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
        assert_eq!((message.bytes(), message.channel()), (&text[..], &b"news"[..]));
        assert_eq!(message.payload(), b"hello");
        let text = b"*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
        assert_eq!(message.bytes_for(b"n*"), text);
        let message = Message::new(Kind::Shard, b"", b"", Vec::new());
        let text = b"*3\r\n$8\r\nsmessage\r\n$0\r\n\r\n$0\r\n\r\n";
        assert_eq!((message.bytes(), message.channel()), (&text[..], &b""[..]));
        assert_eq!(message.payload(), b"");
    }
}
