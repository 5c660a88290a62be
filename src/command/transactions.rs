//! Transactions: what a connection has begun with `MULTI` and `WATCH`.
//!
//! The commands decide here; the queue itself and the shards' registers of who watches what are the
//! runtime's (`runtime::transaction`), which also runs `EXEC` where there is something to run.

use std::collections::{BTreeMap, HashSet};

use super::{Action, Command, Error, Flags, Group, Keys, SessionCx};
use crate::protocol::{Args, Reply};
use crate::types::{DbIndex, ShardId, key_slot};

const ANYTIME: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const QUICK: Flags = ANYTIME.union(Flags::FAST);

/// The rows of this file.
pub const COMMANDS: &[Command] = &[
    Command::session("multi", 1, Group::Transactions, multi)
        .with(QUICK)
        .doc("1.2.0", "Begins a transaction."),
    Command::session("exec", 1, Group::Transactions, exec)
        .with(ANYTIME.union(Flags::SKIP_SLOWLOG))
        .doc("1.2.0", "Runs the commands of a transaction.")
        .cost("Depends on the commands in the transaction"),
    Command::session("discard", 1, Group::Transactions, discard)
        .with(QUICK)
        .doc("2.0.0", "Forgets the commands of a transaction.")
        .cost("O(N) in the number of queued commands"),
    Command {
        keys: Keys::ALL,
        ..Command::session("watch", -2, Group::Transactions, watch)
            .with(QUICK)
            .doc("2.2.0", "Lets the next transaction run only if these keys have not changed.")
            .cost("O(1) for every key")
    },
    Command::session("unwatch", 1, Group::Transactions, unwatch)
        .with(QUICK)
        .doc("2.2.0", "Forgets all watched keys."),
];

/// Why a transaction is not run: a command was refused when it was queued.
pub const EXEC_ABORT: Error =
    Error::Static("EXECABORT Transaction discarded because of previous errors.");
/// What a command answers that must not be queued.
pub const NOT_IN_TRANSACTION: Error = Error::Static("ERR Command not allowed inside a transaction");

/// Keys that a connection watches, by shard.
pub type Watches = BTreeMap<ShardId, HashSet<(DbIndex, Box<[u8]>)>>;

/// What a connection has begun.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Between `MULTI` and `EXEC`: commands are queued.
    pub is_open: bool,
    /// A command was refused: `EXEC` will be too.
    pub is_refused: bool,
    /// `EXEC` is running. What would block the client must not: it does at once what it does when it has
    /// waited for long enough.
    pub is_running: bool,
    /// The keys it watches.
    pub watches: Watches,
    /// Bytes that they take here.
    pub watched_bytes: usize,
}

type Answer = Result<(), Error>;

fn multi(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if cx.session.transaction.is_open {
        return Err(Error::Static("ERR MULTI calls can not be nested"));
    }
    cx.session.transaction.is_open = true;
    cx.session.info.transaction.set_queued(Some(0));
    reply.ok();
    Ok(())
}

/// In a transaction the runtime does not come here.
fn exec(_: &mut SessionCx<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> Answer {
    Err(Error::Static("ERR EXEC without MULTI"))
}

fn discard(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if !cx.session.transaction.is_open {
        return Err(Error::Static("ERR DISCARD without MULTI"));
    }
    cx.actions.push(Action::EndTransaction);
    reply.ok();
    Ok(())
}

/// The shards of the keys are at hand, and the runtime has them register the client.
fn watch(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if cx.session.transaction.is_open {
        return Err(Error::Static("ERR WATCH inside MULTI is not allowed"));
    }
    reply.ok();
    let (info, db) = (cx.session.info.clone(), cx.session.db);
    // One key that has changed is enough.
    if info.transaction.is_touched() {
        return Ok(());
    }
    let transaction = &mut cx.session.transaction;
    for key in args.from(1) {
        let shard = cx.node.slots.shard_of(key_slot(key));
        if transaction.watches.entry(shard).or_default().insert((db, key.into())) {
            transaction.watched_bytes += key.len() + WATCH_BYTES;
        }
    }
    info.transaction.set_watched(transaction.watches.values().map(HashSet::len).sum());
    cx.actions.push(Action::Watch);
    Ok(())
}

/// About what a watched key takes beside its bytes.
const WATCH_BYTES: usize = size_of::<(DbIndex, Box<[u8]>)>();

fn unwatch(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    cx.actions.push(Action::Unwatch);
    reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::Action;
    use crate::command::testing::{Client, node};

    #[test]
    fn a_transaction_is_open_from_multi_on() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        client.check(&[
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", "+OK"),
            ("MULTI", "-ERR MULTI calls can not be nested"),
            ("WATCH k", "-ERR WATCH inside MULTI is not allowed"),
        ]);
        assert!(client.session.transaction.is_open && !client.session.transaction.is_refused);
        assert_eq!(client.session.info.transaction.queued(), 0);
        client.check(&[("DISCARD", "+OK")]);
        assert_eq!(client.actions, [Action::EndTransaction]);
    }

    #[test]
    fn keys_are_watched_once_in_each_database() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        client.check(&[("WATCH a b a", "+OK"), ("SELECT 1", "+OK"), ("WATCH a", "+OK")]);
        assert_eq!(client.actions, [Action::Watch]);
        let watched = &client.session.info.transaction;
        assert_eq!(watched.watched(), 3);
        // Who can't win any more need not watch more.
        watched.touch(watched.serial());
        client.check(&[("WATCH c", "+OK")]);
        assert!(client.actions.is_empty());
        client.check(&[("UNWATCH", "+OK")]);
        assert_eq!(client.actions, [Action::Unwatch]);
    }
}
