//! Who watches which keys: `WATCH`, and how what is watched comes to `EXEC`.
//!
//! A client is registered with the shard of each key, under its token (`cache::observe`). A change is noted
//! there, and whoever holds the shard tells the clients before the token goes to somebody else
//! (`attend`): so who holds the tokens of all watched keys has been told of all changes. Clients
//! that watch no longer are taken out of the registers by whoever holds them, since nobody waits for that.

use std::collections::HashSet;

use super::super::connection::Connection;
use super::super::core::Core;
use super::super::dispatch::Flow;
use super::super::shards::Queued;
use crate::cache::{Access, Observer};
use crate::protocol::Args;
use crate::shard::{Call, Shard};
use crate::types::{DbIndex, Key};

/// Keys that a client watched on one shard and watches no longer.
#[derive(Debug)]
pub(crate) struct Unwatched {
    keys: HashSet<(DbIndex, Box<[u8]>)>,
    observer: Observer,
}

impl Unwatched {
    /// Takes the client out of the shard's register.
    pub(in crate::runtime) fn forget(&self, shard: &mut Shard) {
        for (db, key) in &self.keys {
            shard.keyspace_mut().stop_observing((*db, key), self.observer);
        }
    }
}

fn observer(connection: &Connection) -> Observer {
    let session = &connection.session;
    Observer::Transaction { client: session.id, serial: session.info.transaction.serial() }
}

impl Core<'_> {
    /// Registers a client with the shards of keys.
    pub(super) fn watch(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        args: &Args<'_>,
    ) -> Flow {
        let route = match self.route_keys(connection, call.entry, args, call.slot) {
            Ok(route) => route,
            Err(error) => return self.forward_watch(connection, call, args, &error),
        };
        if let Some(shard) = route.first()
            && !connection.placed
            && self.place(connection, shard) == Flow::Left
        {
            return Flow::Left;
        }
        // Its reply tells that it watches, so it waits its turn, and then has all tokens.
        if self.wait_for_replies(connection) == Flow::Left
            || self.hold_shards(connection, &route.shards()) == Flow::Left
        {
            return Flow::Left;
        }
        self.run_session(connection, call, args)
    }

    /// Has the shards of all keys that the connection watches know of it; their tokens are at hand, but
    /// for those that knew before.
    pub(in crate::runtime) fn register_watches(&mut self, connection: &mut Connection) {
        let (observer, now) = (observer(connection), self.engine.now.unix);
        for (shard, keys) in &connection.session.transaction.watches {
            let Some(shard) = self.shards.held(*shard) else { continue };
            for (db, key) in keys {
                shard.keyspace_mut().observe(Key::new(*db, key), observer, now);
            }
        }
    }

    /// Ends a watch, here and at other nodes. Shards whose tokens are not at hand are told by whoever holds them.
    pub(in crate::runtime) fn unwatch(&mut self, connection: &mut Connection) {
        self.forward_unwatch(connection);
        let observer = observer(connection);
        let transaction = &mut connection.session.transaction;
        let watches = std::mem::take(&mut transaction.watches);
        transaction.watched_bytes = 0;
        if watches.is_empty() {
            return;
        }
        connection.session.info.transaction.end_watch();
        for (id, keys) in watches {
            let unwatched = Unwatched { keys, observer };
            if let Some(shard) = self.shards.held(id) {
                unwatched.forget(shard);
            } else {
                self.leave_in_queue(id, Queued::Unwatch(unwatched));
            }
        }
    }

    /// Whether a watched key has changed, or gone by its time. All tokens are at hand.
    pub(super) fn has_changed(&mut self, connection: &Connection) -> bool {
        let now = self.engine.now.unix;
        for (id, keys) in &connection.session.transaction.watches {
            let Some(shard) = self.shards.held(*id) else { continue };
            for (db, key) in keys {
                shard.keyspace_mut().contains(Key::new(*db, key), now, Access::Peek);
            }
            self.engine.attend(shard);
        }
        connection.session.info.transaction.is_touched()
    }
}
