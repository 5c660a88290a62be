//! Commands on whole databases: emptying and exchanging them. Each takes constant time per shard;
//! the memory comes back through the keyspaces' maintenance, so `SYNC` has nothing to wait for.

use super::{Command, Error, Exec, Flags, Group, Handler, Keys, keys, numbers};
use crate::limits::DATABASES;
use crate::protocol::{Args, Reply};
use crate::types::DbIndex;

const FLUSH: Command = Command {
    name: "flushdb",
    arity: -1,
    flags: Flags::WRITE.union(Flags::DANGEROUS),
    keys: Keys::None,
    handler: Handler::AllShards(flushdb),
    group: Group::Server,
    summary: "Remove all keys of the selected database",
    since: "1.0.0",
    steps: None,
    complexity: "O(S) over the shards; memory is given back later, in steps",
};

/// The rows of this group.
pub const COMMANDS: &[Command] = &[
    FLUSH,
    Command {
        name: "flushall",
        handler: Handler::AllShards(flushall),
        summary: "Remove all keys of all databases",
        ..FLUSH
    },
    Command {
        name: "swapdb",
        arity: 3,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::DANGEROUS),
        handler: Handler::AllShards(swapdb),
        summary: "Exchange the contents of two databases",
        since: "4.0.0",
        steps: None,
        complexity: "O(S) over the shards",
        ..FLUSH
    },
];

fn flushdb(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    check_mode(args)?;
    let db = exec.db;
    flush(exec, std::iter::once(db));
    reply.ok();
    Ok(())
}

fn flushall(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    check_mode(args)?;
    flush(exec, (0..DATABASES).map(DbIndex));
    reply.ok();
    Ok(())
}

fn check_mode(args: &Args<'_>) -> Result<(), Error> {
    let known =
        |mode: &[u8]| mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync");
    let valid = args.len() <= 2 && args.get(1).is_none_or(known);
    if valid { Ok(()) } else { Err(Error::Syntax) }
}

fn flush(exec: &mut Exec<'_>, dbs: impl Iterator<Item = DbIndex> + Clone) {
    for (_, keyspace) in exec.each() {
        for db in dbs.clone() {
            let had_keys = keyspace.len(db) > 0;
            // Clients that keep copies are told even of an empty one.
            keyspace.flush(db);
            if had_keys {
                keyspace.count_change();
            }
        }
    }
}

fn swapdb(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    // Where other nodes lead shards of their own, this one could exchange only a part of the two.
    if exec.view.cluster || exec.owners.are_shared() {
        return Err(Error::Static("ERR SWAPDB is not allowed in cluster mode"));
    }
    // A number that is no index at all has a text of its own, for either argument, and comes first.
    let number = |arg: usize, error: Error| {
        numbers::parse_i64(args.at(arg)).filter(|&n| i32::try_from(n).is_ok()).ok_or(error)
    };
    number(1, Error::Static("ERR invalid first DB index"))?;
    number(2, Error::Static("ERR invalid second DB index"))?;
    let (a, b) = (keys::db_argument(args.at(1))?, keys::db_argument(args.at(2))?);
    let now = exec.now.unix;
    for (_, keyspace) in exec.each() {
        if a != b && keyspace.len(a) + keyspace.len(b) > 0 {
            keyspace.swap_databases(a, b, now);
            keyspace.count_change();
        }
    }
    reply.ok();
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::command::replay::check;

    pub(crate) const SCRIPT: &[(&str, &str)] = &[
        ("SET a 1", "+OK"),
        ("SET b 2", "+OK"),
        ("SET c 3", "+OK"),
        ("SELECT 1", "+OK"),
        ("SET d 4", "+OK"),
        ("SELECT 2", "+OK"),
        ("SET e 5 PX 100000", "+OK"),
        // SWAPDB
        ("SWAPDB 0", "-ERR wrong number of arguments for 'swapdb' command"),
        ("SWAPDB x 1", "-ERR invalid first DB index"),
        ("SWAPDB x y", "-ERR invalid first DB index"),
        ("SWAPDB 0 y", "-ERR invalid second DB index"),
        ("SWAPDB 99 y", "-ERR invalid second DB index"),
        ("SWAPDB 2147483648 0", "-ERR invalid first DB index"),
        ("SWAPDB 0 16", "-ERR DB index is out of range"),
        ("SWAPDB -1 0", "-ERR DB index is out of range"),
        ("SWAPDB 0 0", "+OK"),
        ("SWAPDB 0 2", "+OK"),
        ("DBSIZE", ":3"),
        ("~KEYS *", "a b c"),
        ("SELECT 0", "+OK"),
        ("~KEYS *", "e"),
        ("TTL e", ":100"),
        ("SWAPDB 2 0", "+OK"),
        ("DBSIZE", ":3"),
        // FLUSHDB, FLUSHALL
        ("FLUSHDB foo", "-ERR syntax error"),
        ("FLUSHDB ASYNC SYNC", "-ERR syntax error"),
        ("FLUSHALL foo", "-ERR syntax error"),
        ("FLUSHALL SYNC SYNC", "-ERR syntax error"),
        ("DBSIZE", ":3"),
        ("FLUSHDB", "+OK"),
        ("DBSIZE", ":0"),
        ("EXISTS a b c", ":0"),
        ("SET a 1", "+OK"),
        ("FLUSHDB async", "+OK"),
        ("EXISTS a", ":0"),
        ("SET a 1", "+OK"),
        ("SELECT 1", "+OK"),
        ("GET d", "$1⏎4"),
        ("FLUSHDB SYNC", "+OK"),
        ("DBSIZE", ":0"),
        ("SET d 4", "+OK"),
        ("FLUSHALL", "+OK"),
        ("DBSIZE", ":0"),
        ("SELECT 0", "+OK"),
        ("DBSIZE", ":0"),
        ("SELECT 2", "+OK"),
        ("DBSIZE", ":0"),
        ("FLUSHALL ASYNC", "+OK"),
        ("FLUSHALL sync", "+OK"),
    ];

    #[test]
    fn script() {
        check(SCRIPT);
    }
}
