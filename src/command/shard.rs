//! `SHARD`: which core runs which shard, and how busy it is. Redis has no such command, because a Redis
//! process is one shard on one core; `CLUSTER` tells the same in Redis's words, slots on nodes.

use super::numbers::{integer, parse_i64};
use super::row::write_help;
use super::{Action, Command, Error, Flags, Group, SessionCx};
use crate::limits::DATABASES;
use crate::protocol::{Args, Reply};
use crate::types::{CoreId, DbIndex, ShardId};

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

/// The rows of this file.
pub const COMMANDS: &[Command] = &[Command::container(
    "shard",
    Group::Server,
    ROWS,
    "0.1.0",
    "Commands on shards and the cores that run them.",
)];

const ROWS: &[Command] = &[
    Command::session("help", 2, Group::Server, help)
        .with(Flags::LOADING.union(Flags::STALE))
        .doc("0.1.0", "Tells what the subcommands do."),
    Command::session("list", 2, Group::Server, list)
        .with(ADMIN)
        .doc("0.1.0", "Lists the shards with their cores, slots and load.")
        .cost("O(N) in the number of shards"),
    Command::session("move", 4, Group::Server, move_shard)
        .with(ADMIN)
        .doc("0.1.0", "Makes another core the owner of a shard.")
        .cost("O(N) in the number of shards"),
];

const HELP_LINES: &[&str] = &[
    "LIST",
    "    The shards: core, slots, keys, bytes, commands run on them and the time these took.",
    "MOVE <shard> <core>",
    "    Let another core run a shard. No data moves and no request fails; the topology's epoch",
    "    rises, unless the core runs the shard already.",
];

type Answer = Result<(), Error>;

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    write_help("SHARD", HELP_LINES, reply);
    Ok(())
}

fn list(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let node = cx.node;
    let owners = node.owners.load();
    reply.array(node.shards.len());
    for (shard, stats) in (0..).map(ShardId).zip(&node.shards) {
        let slots = node.slots.slots_of(shard);
        let keys: u64 = (0..DATABASES).map(|db| stats.keys(DbIndex(db)).0).sum();
        let load = node.loads[usize::from(shard.0)].get();
        reply.map(7);
        reply.bulk(b"shard");
        reply.integer(shard.0.into());
        reply.bulk(b"core");
        reply.integer(owners.core_of(shard).0.into());
        reply.bulk(b"slots");
        reply.array(2);
        reply.integer(slots.start.into());
        reply.integer(i64::from(slots.end - 1));
        for (name, value) in [
            ("keys", keys),
            ("data_bytes", stats.memory().total_bytes() as u64),
            ("commands", load.commands),
            ("busy_us", load.busy_ns / 1000),
        ] {
            reply.bulk(name.as_bytes());
            reply.integer(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
    Ok(())
}

fn move_shard(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (shards, cores) = (cx.node.slots.shard_count(), cx.node.slots.core_count());
    integer(args.at(2))?;
    integer(args.at(3))?;
    let shard = below(args.at(2), shards)
        .ok_or_else(|| Error::Text(format!("ERR Invalid shard, there are 0 to {}", shards - 1)))?;
    let core = below(args.at(3), cores)
        .ok_or_else(|| Error::Text(format!("ERR Invalid core, there are 0 to {}", cores - 1)))?;
    if cx.node.owners.set_owner(ShardId(shard), CoreId(core)) {
        let (client, epoch) = (cx.session.id.0, cx.node.owners.epoch());
        tracing::info!(shard, core, client, epoch, "a shard moves to another core");
        cx.actions.push(Action::OwnersChanged);
    }
    reply.ok();
    Ok(())
}

/// A number below `count`.
fn below(arg: &[u8], count: u16) -> Option<u16> {
    u16::try_from(parse_i64(arg)?).ok().filter(|number| *number < count)
}

#[cfg(test)]
mod tests {
    use crate::cache::{KeyspaceCounts, MemoryUse};
    use crate::command::Action;
    use crate::command::testing::{Client, node};
    use crate::node::ShardLoad;
    use crate::types::{CoreId, ShardId};

    #[test]
    fn a_move_is_a_new_epoch_unless_nothing_moves() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        let owner = |shard| node.owners.load().core_of(ShardId(shard));
        assert_eq!((node.owners.epoch(), owner(0), owner(2)), (2, CoreId(0), CoreId(1)));
        client.check(&[("SHARD MOVE 0 1", "+OK")]);
        assert_eq!(client.actions, [Action::OwnersChanged]);
        assert_eq!((node.owners.epoch(), owner(0)), (3, CoreId(1)));
        for request in ["SHARD MOVE 0 1", "shard move 2 1"] {
            client.check(&[(request, "+OK")]);
            assert!(client.actions.is_empty(), "{request}");
        }
        const NUMBER: &str = "-ERR value is not an integer or out of range";
        const SHARD: &str = "-ERR Invalid shard, there are 0 to 2";
        const CORE: &str = "-ERR Invalid core, there are 0 to 1";
        client.check(&[
            ("SHARD MOVE 3 0", SHARD),
            ("SHARD MOVE -1 0", SHARD),
            ("SHARD MOVE 65536 0", SHARD),
            ("SHARD MOVE 9223372036854775807 9", SHARD),
            ("SHARD MOVE 0 2", CORE),
            ("SHARD MOVE 0 -1", CORE),
            ("SHARD MOVE x 0", NUMBER),
            ("SHARD MOVE 0 x", NUMBER),
            ("SHARD MOVE 00 0", NUMBER),
            ("SHARD MOVE '' 0", NUMBER),
            ("SHARD MOVE 0 1.5", NUMBER),
            ("SHARD MOVE 0 9223372036854775808", NUMBER),
            ("SHARD MOVE 0", "-ERR wrong number of arguments for 'shard|move' command"),
            ("SHARD MOVE 0 0 0", "-ERR wrong number of arguments for 'shard|move' command"),
            ("SHARD LIST 0", "-ERR wrong number of arguments for 'shard|list' command"),
            ("SHARD", "-ERR wrong number of arguments for 'shard' command"),
            ("SHARD x", "-ERR unknown subcommand 'x'. Try SHARD HELP."),
        ]);
        assert_eq!((node.owners.epoch(), owner(0)), (3, CoreId(1)));
        assert!(client.run("SHARD HELP").contains("+MOVE <shard> <core>⏎"));
    }

    #[test]
    fn shards_are_listed_with_their_load() {
        let node = node();
        let memory =
            MemoryUse { entries_bytes: 1000, large_bytes: 100, heap_bytes: 0, index_bytes: 10 };
        node.shards[1].set_for_tests((5, 2), memory, KeyspaceCounts::default());
        node.loads[1].add(ShardLoad { commands: 7, busy_ns: 12_345 });
        let mut client = Client::new(&node, 6379);
        client.run("HELLO 3");
        let line = |shard, core, first, last, rest| {
            format!(
                "%7⏎$5⏎shard⏎:{shard}⏎$4⏎core⏎:{core}⏎$5⏎slots⏎*2⏎:{first}⏎:{last}⏎{}",
                ["keys", "data_bytes", "commands", "busy_us"]
                    .iter()
                    .zip::<[u64; 4]>(rest)
                    .map(|(name, value)| format!("${}⏎{name}⏎:{value}", name.len()))
                    .collect::<Vec<_>>()
                    .join("⏎")
            )
        };
        let lines = [
            line(0, 0, 0, 5461, [0; 4]),
            line(1, 0, 5462, 10922, [5, 1110, 7, 12]),
            line(2, 1, 10923, 16383, [0; 4]),
        ];
        client.check(&[("SHARD LIST", &format!("*3⏎{}", lines.join("⏎")))]);
        node.reset_stats();
        let reply = client.run("SHARD LIST");
        assert!(reply.contains("$4⏎keys⏎:5⏎") && !reply.contains("commands⏎:7"), "{reply}");
    }
}
