//! The subcommands of `CLUSTER` that look at the keys of a slot. They run on the slot's shard.

use super::scan::KeyList;
use super::{Command, Error, Exec, Flags, Group, Handler, Keys, numbers};
use crate::protocol::{Args, Reply};
use crate::types::{Key, SLOT_COUNT, Slot};

/// `CLUSTER COUNTKEYSINSLOT slot`, for the container.
pub const COUNTKEYSINSLOT: Command = Command {
    name: "countkeysinslot",
    arity: 3,
    flags: Flags::STALE,
    keys: Keys::None,
    handler: Handler::Slot(countkeysinslot, 2),
    group: Group::Cluster,
    summary: "Count the keys of a slot",
    since: "3.0.0",
    steps: None,
    complexity: "O(1)",
};

/// `CLUSTER GETKEYSINSLOT slot count`, for the container.
pub const GETKEYSINSLOT: Command = Command {
    name: "getkeysinslot",
    arity: 4,
    handler: Handler::Slot(getkeysinslot, 2),
    summary: "Name keys of a slot",
    steps: None,
    complexity: "O(N) over the keys asked for",
    ..COUNTKEYSINSLOT
};

/// The slot that an argument names; `None` if it names none. The router needs it to find the shard;
/// for an argument that names none, the handlers give the error on whatever shard they run.
pub fn slot_argument(arg: &[u8]) -> Option<Slot> {
    let slot = u16::try_from(numbers::parse_i64(arg)?).ok()?;
    (slot < SLOT_COUNT).then_some(Slot(slot))
}

fn countkeysinslot(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    numbers::integer(args.at(2))?;
    let slot = slot_argument(args.at(2)).ok_or(Error::Static("ERR Invalid slot"))?;
    let db = exec.db;
    let count = exec.keyspace(Key { db, slot, bytes: b"" }).slot_len(db, slot);
    reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(())
}

fn getkeysinslot(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    numbers::integer(args.at(2))?;
    let count = usize::try_from(numbers::integer(args.at(3))?);
    let (Some(slot), Ok(count)) = (slot_argument(args.at(2)), count) else {
        return Err(Error::Static("ERR Invalid slot or number of keys"));
    };
    let (db, now) = (exec.db, exec.now.unix);
    let mut found = KeyList::new(reply.proto());
    let keyspace = exec.keyspace(Key { db, slot, bytes: b"" });
    keyspace.slot_keys(db, slot, count, now, |key| found.push(key));
    found.write(reply);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::slot_argument;
    use crate::command::replay::check;
    use crate::types::Slot;

    #[test]
    fn slots_are_numbers_below_16384() {
        for (text, expect) in [
            ("0", Some(Slot(0))),
            ("16383", Some(Slot(16383))),
            ("16384", None),
            ("-1", None),
            ("65536", None),
            ("x", None),
            ("01", None),
            ("", None),
        ] {
            assert_eq!(slot_argument(text.as_bytes()), expect, "{text:?}");
        }
    }

    /// As a Redis 7.0.15 with `--cluster-enabled yes` answers.
    #[test]
    fn script() {
        check(&[
            ("CLUSTER COUNTKEYSINSLOT 12182", ":0"),
            ("CLUSTER GETKEYSINSLOT 12182 10", "*0"),
            ("SET foo 1", "+OK"),
            ("SET {foo}2 2", "+OK"),
            ("SET {foo}3 3", "+OK"),
            ("SET bar 1", "+OK"),
            ("CLUSTER COUNTKEYSINSLOT 12182", ":3"),
            ("CLUSTER COUNTKEYSINSLOT 5061", ":1"),
            ("~CLUSTER GETKEYSINSLOT 12182 10", "foo {foo}2 {foo}3"),
            ("CLUSTER GETKEYSINSLOT 5061 10", "*1⏎$3⏎bar"),
            ("CLUSTER GETKEYSINSLOT 12182 0", "*0"),
            ("DEL {foo}2 {foo}3", ":2"),
            ("CLUSTER GETKEYSINSLOT 12182 2", "*1⏎$3⏎foo"),
            ("CLUSTER COUNTKEYSINSLOT 16384", "-ERR Invalid slot"),
            ("CLUSTER COUNTKEYSINSLOT -1", "-ERR Invalid slot"),
            ("CLUSTER COUNTKEYSINSLOT x", "-ERR value is not an integer or out of range"),
            ("CLUSTER GETKEYSINSLOT x 1", "-ERR value is not an integer or out of range"),
            ("CLUSTER GETKEYSINSLOT 1 x", "-ERR value is not an integer or out of range"),
            ("CLUSTER GETKEYSINSLOT 16384 1", "-ERR Invalid slot or number of keys"),
            ("CLUSTER GETKEYSINSLOT -1 1", "-ERR Invalid slot or number of keys"),
            ("CLUSTER GETKEYSINSLOT 1 -1", "-ERR Invalid slot or number of keys"),
            (
                "CLUSTER COUNTKEYSINSLOT",
                "-ERR wrong number of arguments for 'cluster|countkeysinslot' command",
            ),
        ]);
    }
}
