//! `COMMAND` against Redis 7.0's replies, and the table against Redis's own.

use super::super::details::{Categories, Find, categories, flag_names, key_specs, tips};
use super::super::table::{Entry, Table};
use crate::command::testing::{Client, node};

/// What Redis 7.0.15 says of each command, a line each, in the form of [`described`].
const REDIS: &str = include_str!("redis-7.0.15.txt");
/// Commands that came after Redis 7.0.
const LATER: &[&str] = &[
    "client|no-touch",
    "client|setinfo",
    "cluster|myshardid",
    "hexpire",
    "hexpireat",
    "hexpiretime",
    "hpersist",
    "hpexpire",
    "hpexpireat",
    "hpexpiretime",
    "hpttl",
    "httl",
];
/// Commands that Redis does not have, or has with other arguments than in 7.0, described as Redis would.
const OWN: &str = "\
    client|durability -2 | noscript loading stale | 0 0 0 | @slow @connection | |
    client|token 2 | noscript loading stale | 0 0 0 | @slow @connection | |
    client|topology 3 | noscript loading stale | 0 0 0 | @slow @connection | |
    client|waittoken -3 | noscript loading stale | 0 0 0 | @slow @connection | |
    cluster|found -3 | admin stale no_async_loading | 0 0 0 | @admin @slow @dangerous | |
    cluster|shard 5 | admin stale no_async_loading | 0 0 0 | @admin @slow @dangerous | |
    latency|export -3 | admin noscript loading stale | 0 0 0 | @admin @slow @dangerous | |
    latency|stages -2 | admin noscript loading stale | 0 0 0 | @admin @slow @dangerous | |
    readonly -1 | loading stale fast | 0 0 0 | @fast @connection | |
    shard -2 | | 0 0 0 | @slow | |
    shard|help 2 | loading stale | 0 0 0 | @slow | |
    shard|list 2 | admin noscript loading stale | 0 0 0 | @admin @slow @dangerous | nondeterministic_output |
    shard|move 4 | admin noscript loading stale | 0 0 0 | @admin @slow @dangerous | |
    zrank -3 | readonly fast | 1 1 1 | @read @sortedset @fast | | 1 0 1 RO access
    zrevrank -3 | readonly fast | 1 1 1 | @read @sortedset @fast | | 1 0 1 RO access
";

/// Name and arity, flags, key positions, categories, tips and key specs of a command.
fn described(entry: &Entry) -> String {
    let (first, last, step) = entry.command.keys.range();
    let all = categories(entry);
    let categories: Vec<String> = Categories::ORDER
        .iter()
        .filter(|(category, _)| all.includes(*category))
        .map(|(_, name)| format!("@{name}"))
        .collect();
    let specs: Vec<String> = key_specs(entry)
        .iter()
        .map(|spec| match spec.find {
            Find::Unknown => format!("unknown {}", spec.flags.join(" ")),
            Find::Counted | Find::Range => {
                format!("{} {} {} {}", spec.first, spec.last, spec.step, spec.flags.join(" "))
            }
        })
        .collect();
    let parts = [
        format!("{} {}", entry.full_name, entry.command.arity),
        flag_names(entry).join(" "),
        format!("{first} {last} {step}"),
        categories.join(" "),
        tips(entry).join(" "),
        specs.join(", "),
    ];
    let words: Vec<&str> = parts
        .iter()
        .flat_map(|part| ["|"].into_iter().chain(part.split(' ')))
        .filter(|word| !word.is_empty())
        .skip(1)
        .collect();
    words.join(" ")
}

#[test]
fn every_command_is_described_as_redis_describes_it() {
    let known: std::collections::HashMap<&str, &str> = REDIS
        .lines()
        .chain(OWN.lines().map(str::trim))
        .filter_map(|line| Some((line.split(' ').next()?, line)))
        .collect();
    for entry in Table::get().listed() {
        match known.get(entry.full_name) {
            Some(line) => assert_eq!(described(entry), *line),
            None => assert!(LATER.contains(&entry.full_name), "{}", entry.full_name),
        }
    }
    assert_eq!(Table::get().listed().count(), known.len() + LATER.len());
}

#[test]
fn every_command_is_documented() {
    for entry in Table::get().listed() {
        let command = entry.command;
        let texts = [command.summary, command.since, command.complexity];
        assert!(texts.iter().all(|text| !text.is_empty()), "{}", entry.full_name);
    }
}

#[test]
fn info_has_the_ten_elements_of_redis() {
    let node = node();
    let mut client = Client::new(&node, 6379);
    let spec = "*6⏎$5⏎flags⏎*2⏎+RO⏎+access⏎$12⏎begin_search⏎*4⏎$4⏎type⏎$5⏎index⏎$4⏎spec⏎*2⏎\
                $5⏎index⏎:1⏎$9⏎find_keys⏎*4⏎$4⏎type⏎$5⏎range⏎$4⏎spec⏎*6⏎$7⏎lastkey⏎:0⏎\
                $7⏎keystep⏎:1⏎$5⏎limit⏎:0";
    client.check(&[
        (
            "COMMAND INFO get nope",
            &format!(
                "*2⏎*10⏎$3⏎get⏎:2⏎*2⏎+readonly⏎+fast⏎:1⏎:1⏎:1⏎*3⏎+@read⏎+@string⏎+@fast⏎*0⏎\
                 *1⏎{spec}⏎*0⏎$-1"
            ),
        ),
        (
            "COMMAND INFO client|list",
            "*1⏎*10⏎$11⏎client|list⏎:-2⏎*4⏎+admin⏎+noscript⏎+loading⏎+stale⏎:0⏎:0⏎:0⏎*4⏎\
             +@admin⏎+@slow⏎+@dangerous⏎+@connection⏎*1⏎$23⏎nondeterministic_output⏎*0⏎*0",
        ),
    ]);
    client.run("HELLO 3");
    client.check(&[(
        "COMMAND INFO select",
        "*1⏎*10⏎$6⏎select⏎:2⏎~3⏎+loading⏎+stale⏎+fast⏎:0⏎:0⏎:0⏎~2⏎+@fast⏎+@connection⏎~0⏎~0⏎~0",
    )]);
    let all = client.run("COMMAND");
    assert_eq!(all, client.run("COMMAND INFO"));
    let count = client.run("COMMAND COUNT");
    assert!(all.starts_with(&count.replace(':', "*")), "{count}");
}

#[test]
fn docs_are_maps_of_maps() {
    let node = node();
    let mut client = Client::new(&node, 6379);
    client.run("HELLO 3");
    client.check(&[
        ("COMMAND DOCS nope", "%0"),
        (
            "COMMAND DOCS echo nope",
            "%1⏎$4⏎echo⏎%5⏎$7⏎summary⏎$21⏎Answers its argument.⏎$5⏎since⏎$5⏎1.0.0⏎$5⏎group⏎\
             $10⏎connection⏎$10⏎complexity⏎$4⏎O(1)⏎$9⏎arguments⏎*1⏎%2⏎$4⏎name⏎$7⏎message⏎$4⏎type⏎\
             $6⏎string",
        ),
    ]);
    let client_docs = client.run("COMMAND DOCS client");
    assert!(client_docs.contains("$11⏎subcommands⏎%22⏎$14⏎client|caching⏎%5⏎"));
}

#[test]
fn lists_are_filtered() {
    let node = node();
    Client::new(&node, 6379).check(&[
        ("COMMAND LIST FILTERBY PATTERN sel*", "*1⏎$6⏎select"),
        ("COMMAND LIST FILTERBY PATTERN SLOWLOG|L*", "*1⏎$11⏎slowlog|len"),
        ("COMMAND LIST FILTERBY MODULE x", "*0"),
        ("COMMAND LIST FILTERBY ACLCAT x", "*0"),
        ("COMMAND LIST FILTERBY ACLCAT geo", "*0"),
        ("COMMAND LIST FILTERBY x y", "-ERR syntax error"),
        ("COMMAND LIST x", "-ERR syntax error"),
        ("COMMAND x", "-ERR unknown subcommand 'x'. Try COMMAND HELP."),
        ("COMMAND COUNT x", "-ERR wrong number of arguments for 'command|count' command"),
    ]);
}

#[test]
fn keys_are_found_in_requests() {
    let node = node();
    let flags = |key: &str, flags: &[&str]| {
        let flags: String = flags.iter().map(|flag| format!("⏎+{flag}")).collect();
        format!("⏎*2⏎$1⏎{key}⏎*{}{flags}", flags.matches('+').count())
    };
    let take = flags("a", &["RW", "access", "delete"]);
    let set = flags("a", &["OW", "update"]);
    let set_get = flags("a", &["RW", "access", "update"]);
    let read = flags("a", &["RO", "access"]);
    Client::new(&node, 6379).check(&[
        ("COMMAND GETKEYS set a b", "*1⏎$1⏎a"),
        ("COMMAND GETKEYS mset a 1 b 2", "*2⏎$1⏎a⏎$1⏎b"),
        ("COMMAND GETKEYS object encoding k", "*1⏎$1⏎k"),
        ("COMMAND GETKEYS lmpop 2 a b left", "*2⏎$1⏎a⏎$1⏎b"),
        ("COMMAND GETKEYS sort a", "*1⏎$1⏎a"),
        ("COMMAND GETKEYS sort a by store get store store b limit 0 store", "*2⏎$1⏎a⏎$1⏎b"),
        ("COMMAND GETKEYS sort a store b store c store", "*2⏎$1⏎a⏎$1⏎c"),
        ("COMMAND GETKEYS nope x", "-ERR Invalid command specified"),
        ("COMMAND GETKEYS ping x", "-ERR The command has no key arguments"),
        ("COMMAND GETKEYS spublish a b", "-ERR The command has no key arguments"),
        ("COMMAND GETKEYS get a b", "-ERR Invalid number of arguments specified for command"),
        (
            "COMMAND GETKEYSANDFLAGS rename a b",
            &format!("*2{take}{}", flags("b", &["OW", "update"])),
        ),
        (
            "COMMAND GETKEYSANDFLAGS sort a store b",
            &format!("*2{read}{}", flags("b", &["OW", "update"])),
        ),
        ("COMMAND GETKEYSANDFLAGS set a b", &format!("*1{set}")),
        ("COMMAND GETKEYSANDFLAGS set a b get", &format!("*1{set_get}")),
        ("COMMAND GETKEYSANDFLAGS bitfield a get u8 0", &format!("*1{read}")),
        ("COMMAND GETKEYSANDFLAGS bitfield a set u8 0 1", &format!("*1{set_get}")),
    ]);
}
