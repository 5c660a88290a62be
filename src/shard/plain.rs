//! What pipelines are made of: requests that ask nothing of a shard but to be run, one after another.
//!
//! [`InTurn`] runs commands, for which all that they have in common is asked and put together once. Bursts of the binary
//! protocol are gets and sets without conditions: the same work as the commands', with the key looked for once.

use super::{Around, Call, Keyspaces, Room, Shard, handle, routed, surroundings};
use crate::cache::{Access, EntryRef, Place, SharedBytes, WrongSlot};
use crate::command::table::Entry;
use crate::command::{Error, Exec, Flags};
use crate::config::Durability;
use crate::protocol::Args;
use crate::types::{Key, Now};

/// A shard in the hands of one client whose commands nobody else is to be told of.
#[derive(Debug)]
pub struct InTurn<'a> {
    exec: Exec<'a>,
    room: Room,
}

impl InTurn<'_> {
    /// Whether something is to be seen to before a command: it needs memory that is short, or so many changes wait that
    /// they are a record by themselves.
    #[inline]
    pub fn must_end_before(&self, entry: &Entry) -> bool {
        let Keyspaces::One(_, keyspace) = &self.exec.keyspaces else { return true };
        keyspace.has_many_changes()
            || entry.command.flags.contains(Flags::DENYOOM) && self.room.is_exceeded_by(keyspace)
    }
}

impl<'a> InTurn<'a> {
    /// Runs the next command, which differs from the others in what it is and in its slot alone.
    ///
    /// # Errors
    /// What is to be answered instead.
    #[inline]
    pub fn execute(
        &mut self,
        call: &Call,
        args: &Args<'a>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.exec.routed = routed(call, args);
        handle(&mut self.exec, call, args, out)
    }

    /// A long value that is the reply to the command that has just run.
    pub fn take_reply(&mut self) -> Option<SharedBytes> {
        self.exec.handover.reply.take()
    }
}

impl Shard {
    /// Whether commands that have all but themselves and their slot in common with `call` may run in turn: none has to be
    /// asked for itself whether it may run, and nobody waits for what it does.
    pub fn runs_in_turn(&self, call: &Call) -> bool {
        !self.is_replicated()
            && call.tracker == 0
            && self.check_log(call.durability).is_ok()
            && self.keyspace.is_unobserved()
    }

    /// The shard for such commands.
    pub fn in_turn<'a>(&'a mut self, call: &Call, around: Around<'a>) -> InTurn<'a> {
        self.keyspace.cut_changes();
        let keyspaces = Keyspaces::One(self.id, &mut self.keyspace);
        let (none, room) = (Args::new(&[], &[]), self.room);
        InTurn { exec: surroundings(call, &none, around, room.policy, keyspaces), room }
    }
}

impl Shard {
    /// Whether a write needs no room made for it first, and can be given `durability`, if any is asked for.
    #[inline]
    pub fn has_room(&self, durability: Option<Durability>) -> bool {
        self.is_serving() && !self.is_over_limit() && self.check_log(durability).is_ok()
    }

    /// What `get` of the binary protocol finds.
    ///
    /// # Errors
    /// When the key is in another slot than was named.
    #[inline]
    pub fn get_plain(
        &mut self,
        place: Place,
        key: Key<'_>,
        now: Now,
        access: Access,
    ) -> Result<Option<EntryRef<'_>>, WrongSlot> {
        self.keyspace.get_at(place, key, now.unix, access)
    }

    /// What `set` of the binary protocol does, where there [is room](Self::has_room). Answers the key's
    /// version.
    ///
    /// # Errors
    /// When the key is in another slot than was named. Nothing has changed then.
    #[inline]
    pub fn set_plain(
        &mut self,
        place: Place,
        key: Key<'_>,
        value: &[u8],
        now: Now,
    ) -> Result<u64, WrongSlot> {
        let version = self.keyspace.set_at(place, key, value, now.unix)?;
        self.keyspace.count_change();
        Ok(version)
    }
}
