//! Commands on keys as such, whatever they hold: removing, counting, renaming, copying, moving (`transfer`).

mod transfer;

use super::{Command, Error, Exec, Flags, Group, Handler, Keys, Stepwise, events, numbers};
use crate::cache::Access;
use crate::limits::DATABASES;
use crate::protocol::{Args, Reply};
use crate::types::DbIndex;
use transfer::{copy, move_to_db, rename, renamenx};

/// The rows of this group.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "del",
        arity: -2,
        flags: Flags::WRITE,
        keys: Keys::ALL,
        handler: Handler::Keyed(del),
        group: Group::Generic,
        summary: "Remove keys and say how many there were",
        since: "1.0.0",
        steps: None,
        complexity: "O(N) over the keys; long values are given back later, in steps",
    },
    Command {
        name: "unlink",
        arity: -2,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ALL,
        handler: Handler::Keyed(del),
        group: Group::Generic,
        summary: "Remove keys without waiting for their memory to come back",
        since: "4.0.0",
        steps: None,
        complexity: "O(N) over the keys",
    },
    Command {
        name: "exists",
        arity: -2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ALL,
        handler: Handler::Keyed(exists),
        group: Group::Generic,
        summary: "Count how many of the named keys are there",
        since: "1.0.0",
        steps: None,
        complexity: "O(N) over the keys",
    },
    Command {
        name: "type",
        arity: 2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: Handler::Keyed(type_of),
        group: Group::Generic,
        summary: "Name the type of a key's value",
        since: "1.0.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "touch",
        arity: -2,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ALL,
        handler: Handler::Keyed(touch),
        group: Group::Generic,
        summary: "Mark keys as just used and count those that are there",
        since: "3.2.1",
        steps: None,
        complexity: "O(N) over the keys",
    },
    Command {
        name: "rename",
        arity: 3,
        flags: Flags::WRITE.union(Flags::STEPWISE),
        keys: Keys::TWO,
        handler: Handler::Keyed(rename),
        group: Group::Generic,
        summary: "Give a key another name, replacing what had that name",
        since: "1.0.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(N) in the length of the value",
    },
    Command {
        name: "renamenx",
        arity: 3,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::STEPWISE),
        keys: Keys::TWO,
        handler: Handler::Keyed(renamenx),
        group: Group::Generic,
        summary: "Give a key another name unless that name is taken",
        since: "1.0.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(N) in the length of the value",
    },
    Command {
        name: "copy",
        arity: -3,
        flags: Flags::WRITE.union(Flags::DENYOOM).union(Flags::STEPWISE),
        keys: Keys::TWO,
        handler: Handler::Keyed(copy),
        group: Group::Generic,
        summary: "Copy a key's value and expiry to another key or database",
        since: "6.2.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(N) in the length of the value",
    },
    Command {
        name: "move",
        arity: 3,
        flags: Flags::WRITE.union(Flags::FAST).union(Flags::STEPWISE),
        keys: Keys::ONE,
        handler: Handler::Keyed(move_to_db),
        group: Group::Generic,
        summary: "Move a key to another database",
        since: "1.0.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(N) in the length of the value",
    },
];

/// The database that an argument names.
pub(crate) fn db_argument(arg: &[u8]) -> Result<DbIndex, Error> {
    let index = i32::try_from(numbers::integer(arg)?).map_err(|_| {
        Error::Static("ERR value is out of range, value must between -2147483648 and 2147483647")
    })?;
    u8::try_from(index).ok().filter(|&db| db < DATABASES).map(DbIndex).ok_or(Error::DbIndex)
}

fn del(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut removed = 0;
    exec.for_each_key(args.from(1).map(|name| (name, ())), |exec, key, ()| {
        if exec.delete(key) {
            removed += 1;
            exec.tell(key, events::DEL);
        }
    });
    reply.integer(removed);
    Ok(())
}

fn exists(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    count_present(exec, args, reply, Access::ReadNoTouch);
    Ok(())
}

/// Counts as use even for a client that asked not to (`CLIENT NO-TOUCH`): use is what it is for.
fn touch(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    count_present(exec, args, reply, Access::Read);
    Ok(())
}

fn count_present(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>, access: Access) {
    let now = exec.now.unix;
    let mut present = 0;
    exec.for_each_key(args.from(1).map(|name| (name, ())), |exec, key, ()| {
        present += i64::from(exec.keyspace(key).contains(key, now, access));
    });
    reply.integer(present);
}

fn type_of(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    let entry = exec.keyspace(key).get(key, now, Access::ReadNoTouch);
    reply.simple(entry.map_or("none", |entry| entry.type_name()));
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::command::replay::{Peer, Shards, check};

    pub(crate) const SCRIPT: &[(&str, &str)] = &[
        // DEL, UNLINK, EXISTS, TOUCH, TYPE
        ("SET a 1", "+OK"),
        ("SET b 2", "+OK"),
        ("SET c 3", "+OK"),
        ("EXISTS a b c d", ":3"),
        ("EXISTS a a a", ":3"),
        ("TOUCH a a d", ":2"),
        ("TYPE a", "+string"),
        ("TYPE d", "+none"),
        ("DEL a a d", ":1"),
        ("UNLINK b c b", ":2"),
        ("EXISTS a b c d", ":0"),
        ("TOUCH a", ":0"),
        ("DEL", "-ERR wrong number of arguments for 'del' command"),
        ("EXISTS", "-ERR wrong number of arguments for 'exists' command"),
        ("TYPE a b", "-ERR wrong number of arguments for 'type' command"),
        ("SET \"\" empty", "+OK"),
        ("EXISTS \"\"", ":1"),
        ("DEL \"\"", ":1"),
        // Keys whose time has come are not there.
        ("SET a 1 PX 20", "+OK"),
        ("SET b 1 PX 20", "+OK"),
        ("EXISTS a b", ":2"),
        ("@sleep 30", ""),
        ("EXISTS a b", ":0"),
        ("TYPE a", "+none"),
        ("DEL a b", ":0"),
        // RENAME, RENAMENX
        ("RENAME a b", "-ERR no such key"),
        ("RENAME a a", "-ERR no such key"),
        ("RENAMENX a b", "-ERR no such key"),
        ("RENAME a", "-ERR wrong number of arguments for 'rename' command"),
        ("RENAME a b c", "-ERR wrong number of arguments for 'rename' command"),
        ("SET a one", "+OK"),
        ("RENAME a a", "+OK"),
        ("RENAMENX a a", ":0"),
        ("RENAME a b", "+OK"),
        ("GET b", "$3⏎one"),
        ("EXISTS a", ":0"),
        ("SET a two PX 100000", "+OK"),
        ("RENAMENX a b", ":0"),
        ("GET b", "$3⏎one"),
        ("TTL a", ":100"),
        ("RENAME a b", "+OK"),
        ("GET b", "$3⏎two"),
        ("TTL b", ":100"),
        ("RENAMENX b a", ":1"),
        ("TTL a", ":100"),
        ("EXISTS b", ":0"),
        ("SET b plain", "+OK"),
        ("RENAME b a", "+OK"),
        ("TTL a", ":-1"),
        ("SET b gone PX 10", "+OK"),
        ("@sleep 20", ""),
        ("RENAMENX a b", ":1"),
        ("GET b", "$5⏎plain"),
        ("TTL b", ":-1"),
        ("DEL b", ":1"),
        ("SET {t}a 1", "+OK"),
        ("RENAME {t}a {t}b", "+OK"),
        ("GET {t}b", "$1⏎1"),
        ("APPEND {t}b 2", ":2"),
        ("OBJECT ENCODING {t}b", "$3⏎raw"),
        ("RENAME {t}b other", "+OK"),
        ("OBJECT ENCODING other", "$3⏎raw"),
        ("COPY other another", ":1"),
        ("OBJECT ENCODING another", "$3⏎raw"),
        ("DEL other another", ":2"),
        // COPY
        ("COPY a", "-ERR wrong number of arguments for 'copy' command"),
        ("COPY a b", ":0"),
        ("COPY a a", "-ERR source and destination objects are the same"),
        ("COPY a a DB 0", "-ERR source and destination objects are the same"),
        ("COPY a a DB 1", ":0"),
        ("COPY a b foo", "-ERR syntax error"),
        ("COPY a b DB", "-ERR syntax error"),
        ("COPY a b REPLACE DB", "-ERR syntax error"),
        ("COPY a b DB x", "-ERR value is not an integer or out of range"),
        ("COPY a b DB 16", "-ERR DB index is out of range"),
        ("COPY a b DB -1", "-ERR DB index is out of range"),
        ("COPY a b DB 16 foo", "-ERR DB index is out of range"),
        (
            "COPY a b DB 2147483648",
            "-ERR value is out of range, value must between -2147483648 and 2147483647",
        ),
        ("COPY a a DB 9223372036854775808", "-ERR value is not an integer or out of range"),
        ("SET a 1 PX 100000", "+OK"),
        ("COPY a b", ":1"),
        ("GET b", "$1⏎1"),
        ("TTL b", ":100"),
        ("SET a 2", "+OK"),
        ("COPY a b", ":0"),
        ("GET b", "$1⏎1"),
        ("COPY a b REPLACE", ":1"),
        ("GET b", "$1⏎2"),
        ("TTL b", ":-1"),
        ("COPY a a DB 3", ":1"),
        ("COPY a a DB 3", ":0"),
        ("SET a 3", "+OK"),
        ("COPY a a DB 5 db 3 replace REPLACE", ":1"),
        ("SELECT 3", "+OK"),
        ("GET a", "$1⏎3"),
        ("COPY a z DB 0", ":1"),
        ("COPY a a", "-ERR source and destination objects are the same"),
        ("SELECT 0", "+OK"),
        ("GET z", "$1⏎3"),
        ("DEL a b z", ":3"),
        // MOVE
        ("MOVE a", "-ERR wrong number of arguments for 'move' command"),
        ("MOVE a 1 2", "-ERR wrong number of arguments for 'move' command"),
        ("MOVE a x", "-ERR value is not an integer or out of range"),
        ("MOVE a 16", "-ERR DB index is out of range"),
        ("MOVE a -1", "-ERR DB index is out of range"),
        (
            "MOVE a -2147483649",
            "-ERR value is out of range, value must between -2147483648 and 2147483647",
        ),
        ("MOVE a 0", "-ERR source and destination objects are the same"),
        ("MOVE a 1", ":0"),
        ("SET a 1 PX 100000", "+OK"),
        ("MOVE a 3", ":0"),
        ("MOVE a 1", ":1"),
        ("EXISTS a", ":0"),
        ("SELECT 1", "+OK"),
        ("GET a", "$1⏎1"),
        ("TTL a", ":100"),
        ("MOVE a 1", "-ERR source and destination objects are the same"),
        ("MOVE a 15", ":1"),
        ("SELECT 15", "+OK"),
        ("GET a", "$1⏎1"),
    ];

    #[test]
    fn script() {
        check(SCRIPT);
    }

    #[test]
    fn a_client_that_does_not_touch_is_no_user_of_keys() {
        let mut shards = Shards::new(2);
        shards.line("SET a 1");
        shards.line("SET b 1");
        shards.sleep(100_000);
        shards.no_touch = true;
        for line in ["GET a", "EXISTS a", "TYPE a", "COPY a c", "DUMP a", "TTL a"] {
            shards.line(line);
            assert_eq!(shards.line("OBJECT IDLETIME a"), ":100", "{line}");
        }
        assert_eq!(shards.line("TOUCH a b"), ":2");
        assert_eq!(shards.line("OBJECT IDLETIME a"), ":0");
        assert_eq!(shards.line("OBJECT IDLETIME b"), ":0");
    }

    #[test]
    fn changes_hits_and_misses_are_counted() {
        let mut shards = Shards::new(1);
        shards.line("SET a 1");
        for (line, changes, hits, misses) in [
            ("EXISTS a b", 0, 1, 1),
            ("TOUCH a b b", 0, 1, 2),
            ("TYPE b", 0, 0, 1),
            ("RENAME a b", 1, 0, 0),
            ("RENAME b b", 0, 0, 0),
            ("COPY b c", 1, 1, 0),
            ("COPY a c", 0, 0, 1),
            ("COPY b c", 0, 1, 0),
            ("MOVE c 1", 1, 0, 0),
            ("MOVE c 1", 0, 0, 0),
            ("EXPIRE b 100", 1, 0, 0),
            ("EXPIRE b 10 GT", 0, 0, 0),
            ("TTL b", 0, 1, 0),
            ("PERSIST b", 1, 0, 0),
            ("PERSIST b", 0, 0, 0),
            ("OBJECT ENCODING b", 0, 1, 0),
            ("DUMP a", 0, 0, 1),
            ("EXPIRE b -1", 1, 0, 0),
            ("DEL a b", 0, 0, 0),
        ] {
            shards.keyspaces[0].reset_counts();
            shards.line(line);
            let counts = shards.keyspaces[0].counts();
            let actual = (counts.changes, counts.hits, counts.misses);
            assert_eq!(actual, (changes, hits, misses), "{line}: changes, hits, misses");
        }
    }
}
