//! The keyspace events of commands, by Redis's names.
//!
//! Most commands change one key in one way: what they tell stands in a table here, and whoever runs them tells it
//! if they have changed anything ([`Event::of`]). The others tell it themselves ([`Exec::tell`]), in Redis's order.

use super::Exec;
use super::exec::Keyspaces;
use super::table::Entry;
use crate::cache::{Access, EventClasses};
use crate::protocol::Args;
use crate::types::Key;

/// What a command tells of a key it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    class: EventClasses,
    name: &'static str,
    gone: Gone,
}

/// What is told of a key that has gone with the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// The event, then `del`.
    Both,
    /// `del` instead.
    Del,
    /// The event says it.
    Event,
}

impl Event {
    const fn new(class: EventClasses, name: &'static str) -> Self {
        Self { class, name, gone: Gone::Both }
    }

    /// The same, but of a key that has gone only `del` is told.
    const fn unless_gone(self) -> Self {
        Self { gone: Gone::Del, ..self }
    }

    /// The same for an event that says that the key has gone.
    const fn of_the_gone(self) -> Self {
        Self { gone: Gone::Event, ..self }
    }

    /// What a command tells of its first key, if that is all there is to tell.
    pub(super) fn of(command: &str) -> Option<Self> {
        TABLE.iter().find(|(name, _)| *name == command).map(|(_, event)| *event)
    }
}

const fn generic(name: &'static str) -> Event {
    Event::new(EventClasses::GENERIC, name)
}

const fn string(name: &'static str) -> Event {
    Event::new(EventClasses::STRING, name)
}

const fn list(name: &'static str) -> Event {
    Event::new(EventClasses::LIST, name)
}

const fn set(name: &'static str) -> Event {
    Event::new(EventClasses::SET, name)
}

const fn hash(name: &'static str) -> Event {
    Event::new(EventClasses::HASH, name)
}

const fn sorted_set(name: &'static str) -> Event {
    Event::new(EventClasses::SORTED_SET, name)
}

/// A key was removed.
pub(super) const DEL: Event = generic("del").of_the_gone();
/// A key has an expiry.
pub(super) const EXPIRE: Event = generic("expire").unless_gone();
/// A key has none any more.
pub(super) const PERSIST: Event = generic("persist");
/// A key has gone by a rename.
pub(super) const RENAME_FROM: Event = generic("rename_from").of_the_gone();
/// A key has come by a rename.
pub(super) const RENAME_TO: Event = generic("rename_to");
/// A key has gone to another database.
pub(super) const MOVE_FROM: Event = generic("move_from").of_the_gone();
/// A key has come from another database.
pub(super) const MOVE_TO: Event = generic("move_to");
/// A key was copied here.
pub(super) const COPY_TO: Event = generic("copy_to");
/// A string was set.
pub(super) const SET: Event = string("set");
/// Bytes were added to a string.
pub(super) const APPEND: Event = string("append");
/// A number was added to a string's.
pub(super) const INCRBY: Event = string("incrby");
/// An element was added at the left end, or taken from there; the same at the right end.
pub(super) const LPUSH: Event = list("lpush");
/// See [`LPUSH`].
pub(super) const RPUSH: Event = list("rpush");
/// See [`LPUSH`].
pub(super) const LPOP: Event = list("lpop");
/// See [`LPUSH`].
pub(super) const RPOP: Event = list("rpop");
/// An element was put into a list beside another.
pub(super) const LINSERT: Event = list("linsert");
/// Elements were removed from a list that are equal to one.
pub(super) const LREM: Event = list("lrem");
/// A list was cut to a range.
pub(super) const LTRIM: Event = list("ltrim");
/// What was sorted is stored.
pub(super) const SORTSTORE: Event = list("sortstore").unless_gone();
/// A member was added to a set.
pub(super) const SADD: Event = set("sadd");
/// A member was removed from a set.
pub(super) const SREM: Event = set("srem");
/// Members were taken from a set at random.
pub(super) const SPOP: Event = set("spop");
/// Fields were removed from a hash.
pub(super) const HDEL: Event = hash("hdel");
/// Fields of a hash have an expiry.
pub(super) const HEXPIRE: Event = hash("hexpire");
/// A sorted set got members, or scores.
pub(super) const ZADD: Event = sorted_set("zadd");
/// A number was added to a score.
pub(super) const ZINCR: Event = sorted_set("zincr");
/// The members with the lowest scores were removed.
pub(super) const ZPOPMIN: Event = sorted_set("zpopmin");
/// The members with the highest scores were removed.
pub(super) const ZPOPMAX: Event = sorted_set("zpopmax");

/// A range of a sorted set was removed.
pub(super) const ZREMRANGEBYLEX: Event = sorted_set("zremrangebylex");
/// See [`ZREMRANGEBYLEX`].
pub(super) const ZREMRANGEBYRANK: Event = sorted_set("zremrangebyrank");
/// See [`ZREMRANGEBYLEX`].
pub(super) const ZREMRANGEBYSCORE: Event = sorted_set("zremrangebyscore");
/// A set was stored by the command of this name.
pub(super) const fn stored_set(name: &'static str) -> Event {
    set(name).unless_gone()
}

/// A sorted set was stored by the command of this name.
pub(super) const fn stored_sorted_set(name: &'static str) -> Event {
    sorted_set(name).unless_gone()
}

/// Commands that change their first key, and only that, and always in the same way: at once, not in steps.
const TABLE: &[(&str, Event)] = &[
    ("bitfield", string("setbit")),
    ("bitop", SET.unless_gone()),
    ("expire", EXPIRE),
    ("expireat", EXPIRE),
    ("getdel", DEL),
    ("hdel", HDEL),
    ("hincrby", hash("hincrby")),
    ("hincrbyfloat", hash("hincrbyfloat")),
    ("hmset", hash("hset")),
    ("hpersist", hash("hpersist")),
    ("hset", hash("hset")),
    ("hsetnx", hash("hset")),
    ("incrbyfloat", string("incrbyfloat")),
    ("lpop", LPOP),
    ("lpush", LPUSH),
    ("lpushx", LPUSH),
    ("lset", list("lset")),
    ("persist", PERSIST),
    ("pexpire", EXPIRE),
    ("pexpireat", EXPIRE),
    ("restore", generic("restore").unless_gone()),
    ("rpop", RPOP),
    ("rpush", RPUSH),
    ("rpushx", RPUSH),
    ("sadd", SADD),
    ("setbit", string("setbit")),
    ("setrange", string("setrange")),
    ("srem", SREM),
    ("zpopmax", ZPOPMAX),
    ("zpopmin", ZPOPMIN),
    ("zrem", sorted_set("zrem")),
];

/// A command that is being run, and what it is to tell if it changes its first key.
#[derive(Debug)]
pub struct Change<'a> {
    key: Key<'a>,
    event: Event,
    before: u64,
}

impl Exec<'_> {
    /// What there is to tell if the command that comes next changes its first key; nothing if nobody wants to know.
    #[inline]
    pub fn start_of_change<'a>(&mut self, entry: &Entry, args: &Args<'a>) -> Option<Change<'a>> {
        if self.wants_events() { self.begin_change(entry, args) } else { None }
    }

    #[cold]
    fn begin_change<'a>(&mut self, entry: &Entry, args: &Args<'a>) -> Option<Change<'a>> {
        let event = entry.event?;
        let key = self.key(args.get(entry.command.keys.first()?)?);
        Some(Change { key, event, before: self.keyspace(key).sequence() })
    }

    /// Whether somebody wants to know of changes, on whichever shard.
    #[inline]
    fn wants_events(&self) -> bool {
        match &self.keyspaces {
            Keyspaces::One(_, keyspace) => keyspace.wants_events(),
            Keyspaces::Many(all) => all.iter().flatten().any(|keyspace| keyspace.wants_events()),
        }
    }

    /// Tells it, if the key has changed.
    #[cold]
    pub fn tell_of(&mut self, change: &Change<'_>) {
        if self.keyspace(change.key).sequence() != change.before {
            self.tell_change(change.key, change.event);
        }
    }

    /// Tells that `key` has changed, and of a key that has gone with it that it is deleted.
    #[inline]
    pub(super) fn tell(&mut self, key: Key<'_>, event: Event) {
        if self.keyspace(key).wants_events() {
            self.tell_change(key, event);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_change(&mut self, key: Key<'_>, event: Event) {
        let (now, keyspace) = (self.now.unix, self.keyspace(key));
        let is_gone = event.gone != Gone::Event && !keyspace.contains(key, now, Access::Peek);
        // In one place, whose keys they may be: so they stay in order.
        let Some((_, keyspace)) = self.each().next() else { return };
        if !is_gone || event.gone == Gone::Both {
            keyspace.tell(event.class, event.name, key);
        }
        if is_gone {
            keyspace.tell(DEL.class, DEL.name, key);
        }
    }
}
