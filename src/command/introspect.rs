//! `COMMAND`: what the table knows, in the forms that clients read.

use super::details::{Categories, Find, KeySpec, categories, flag_names, key_specs, tips};
use super::glob::{self, Case};
use super::row::write_help;
use super::table::{Entry, Table};
use super::{Command, Error, Flags, Group, Handler, Keys, SessionCx, arguments};
use crate::protocol::{Args, Reply};

const PLAIN: Flags = Flags::LOADING.union(Flags::STALE);

/// The rows of this file.
pub const COMMANDS: &[Command] = &[Command {
    arity: -1,
    flags: PLAIN,
    ..Command::container("command", Group::Server, ROWS, "2.8.13", "Commands on commands.")
}];

const ROWS: &[Command] = &[
    row("", 1, all).cost("O(N) in the number of commands"),
    row("count", 2, count).doc("2.8.13", "Answers the number of commands."),
    row("docs", -2, docs).doc("7.0.0", "Documents commands.").cost("O(N) in the commands named"),
    row("getkeys", -4, getkeys)
        .doc("2.8.13", "Answers the keys of a request.")
        .cost("O(N) in the number of arguments"),
    row("getkeysandflags", -4, getkeysandflags)
        .doc("7.0.0", "Answers the keys of a request and what would be done with them.")
        .cost("O(N) in the number of arguments"),
    row("help", 2, help).doc("5.0.0", "Tells what the subcommands do."),
    row("info", -2, info).doc("2.8.13", "Describes commands.").cost("O(N) in the commands named"),
    row("list", -2, list).doc("7.0.0", "Names commands.").cost("O(N) in the number of commands"),
];

const fn row(name: &'static str, arity: i8, handler: super::SessionHandler) -> Command {
    Command::session(name, arity, Group::Server, handler).with(PLAIN)
}

const HELP_LINES: &[&str] = &[
    "(no subcommand)",
    "    Everything about all commands, as INFO tells it.",
    "COUNT",
    "    Number of commands.",
    "DOCS [<command-name> ...]",
    "    What commands are for; all commands if none is named.",
    "GETKEYS <full-command>",
    "    The keys of a request.",
    "GETKEYSANDFLAGS <full-command>",
    "    The keys of a request and what it does with them.",
    "INFO [<command-name> ...]",
    "    Arity, flags, keys and categories of commands; of all commands if none is named.",
    "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
    "    Names of commands.",
];

type Answer = Result<(), Error>;

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    write_help("COMMAND", HELP_LINES, reply);
    Ok(())
}

fn count(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    reply.integer(i64::try_from(Table::get().commands().count()).unwrap_or(i64::MAX));
    Ok(())
}

// --- COMMAND and COMMAND INFO --------------------------------------------------------------------

fn all(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let table = Table::get();
    reply.array(table.commands().count());
    table.commands().for_each(|entry| write_info(table, entry, reply));
    Ok(())
}

fn info(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    if args.len() == 2 {
        return all(cx, args, reply);
    }
    let table = Table::get();
    reply.array(args.len() - 2);
    for name in args.from(2) {
        match table.find_full_name(name) {
            Some(entry) => write_info(table, entry, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

fn write_info(table: &Table, entry: &Entry, reply: &mut Reply<'_>) {
    let (first, last, step) = entry.command.keys.range();
    let (first, last, step) = (i64::from(first), i64::from(last), i64::from(step));
    reply.array(10);
    reply.bulk(entry.full_name.as_bytes());
    reply.integer(i64::from(entry.command.arity));
    write_names(&flag_names(entry), reply);
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories = categories(entry);
    let order = Categories::ORDER.iter().filter(|(category, _)| categories.includes(*category));
    let names: Vec<String> = order.map(|(_, name)| format!("@{name}")).collect();
    write_names(&names, reply);
    let tips = tips(entry);
    reply.set(tips.len());
    tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    let specs = key_specs(entry);
    reply.set(specs.len());
    specs.iter().for_each(|spec| write_key_spec(spec, reply));
    let subcommands = table.listed_subcommands(entry);
    if subcommands.len() == 0 {
        reply.set(0);
    } else {
        reply.array(subcommands.len());
        subcommands.for_each(|entry| write_info(table, entry, reply));
    }
}

fn write_names<S: AsRef<str>>(names: &[S], reply: &mut Reply<'_>) {
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(name.as_ref()));
}

fn write_key_spec(spec: &KeySpec, reply: &mut Reply<'_>) {
    reply.map(3 + usize::from(spec.notes.is_some()));
    if let Some(notes) = spec.notes {
        reply.bulk(b"notes");
        reply.bulk(notes.as_bytes());
    }
    reply.bulk(b"flags");
    write_names(spec.flags, reply);
    let first = ("index", &[("index", spec.first)][..]);
    let (begin, find) = match spec.find {
        Find::Unknown => (("unknown", &[][..]), ("unknown", &[][..])),
        Find::Counted => {
            (first, ("keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", spec.step)][..]))
        }
        Find::Range => {
            (first, ("range", &[("lastkey", spec.last), ("keystep", spec.step), ("limit", 0)][..]))
        }
    };
    reply.bulk(b"begin_search");
    write_search(begin, reply);
    reply.bulk(b"find_keys");
    write_search(find, reply);
}

fn write_search((kind, spec): (&str, &[(&str, i64)]), reply: &mut Reply<'_>) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(spec.len());
    for (name, value) in spec {
        reply.bulk(name.as_bytes());
        reply.integer(*value);
    }
}

// --- COMMAND DOCS --------------------------------------------------------------------------------

fn docs(_: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let table = Table::get();
    let entries: Vec<&Entry> = if args.len() == 2 {
        table.commands().collect()
    } else {
        args.from(2).filter_map(|name| table.find_full_name(name)).collect()
    };
    write_docs(table, &entries, reply);
    Ok(())
}

fn write_docs(table: &Table, entries: &[&Entry], reply: &mut Reply<'_>) {
    reply.map(entries.len());
    for entry in entries {
        let command = entry.command;
        let subcommands: Vec<&Entry> = table.listed_subcommands(entry).collect();
        reply.bulk(entry.full_name.as_bytes());
        let has_arguments = arguments::are_known(entry.full_name);
        reply.map(4 + usize::from(has_arguments) + usize::from(!subcommands.is_empty()));
        for (name, text) in [
            ("summary", command.summary),
            ("since", command.since),
            ("group", group_name(command.group)),
            ("complexity", command.complexity),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(text.as_bytes());
        }
        if has_arguments {
            reply.bulk(b"arguments");
            arguments::write(entry.full_name, reply);
        }
        if !subcommands.is_empty() {
            reply.bulk(b"subcommands");
            write_docs(table, &subcommands, reply);
        }
    }
}

fn group_name(group: Group) -> &'static str {
    match group {
        Group::String => "string",
        Group::Bitmap => "bitmap",
        Group::List => "list",
        Group::Set => "set",
        Group::SortedSet => "sorted-set",
        Group::Hash => "hash",
        Group::Generic => "generic",
        Group::Connection => "connection",
        Group::Server => "server",
        Group::Cluster => "cluster",
        Group::Transactions => "transactions",
        Group::PubSub => "pubsub",
    }
}

// --- COMMAND LIST --------------------------------------------------------------------------------

fn list(_: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let table = Table::get();
    let names: Vec<&str> = match args.len() {
        2 => table.listed().map(|entry| entry.full_name).collect(),
        5 if args.at(2).eq_ignore_ascii_case(b"filterby") => {
            let filter = Filter::parse(args.at(3), args.at(4))?;
            table.listed().filter(|entry| filter.accepts(entry)).map(|e| e.full_name).collect()
        }
        _ => return Err(Error::Syntax),
    };
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

/// Which commands `COMMAND LIST` names.
enum Filter<'a> {
    /// None: what was asked for has no commands.
    Nothing,
    Category(Categories),
    Pattern(&'a [u8]),
}

impl<'a> Filter<'a> {
    fn parse(kind: &[u8], value: &'a [u8]) -> Result<Self, Error> {
        if kind.eq_ignore_ascii_case(b"module") {
            Ok(Self::Nothing)
        } else if kind.eq_ignore_ascii_case(b"aclcat") {
            Ok(Categories::named(value).map_or(Self::Nothing, Self::Category))
        } else if kind.eq_ignore_ascii_case(b"pattern") {
            Ok(Self::Pattern(value))
        } else {
            Err(Error::Syntax)
        }
    }

    fn accepts(&self, entry: &Entry) -> bool {
        match self {
            Self::Nothing => false,
            Self::Category(category) => categories(entry).includes(*category),
            Self::Pattern(pattern) => {
                glob::matches(pattern, entry.full_name.as_bytes(), Case::Insensitive)
            }
        }
    }
}

// --- COMMAND GETKEYS -----------------------------------------------------------------------------

/// How many arguments stand before the request that `GETKEYS` is asked about.
const PREFIX: usize = 2;

fn getkeys(_: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (_, positions) = find_keys(args)?;
    reply.array(positions.len());
    positions.iter().for_each(|position| reply.bulk(args.at(*position)));
    Ok(())
}

fn getkeysandflags(_: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (entry, positions) = find_keys(args)?;
    let specs = key_specs(entry);
    reply.array(positions.len());
    for position in positions {
        let index = i64::try_from(position - PREFIX).unwrap_or(i64::MAX);
        // Specs are in order of position, so the last one that has begun is the key's.
        let spec = specs.iter().rev().find(|spec| spec.first <= index);
        let flags = spec.map_or(&[][..], |spec| spec.flags_in(args.from(PREFIX)));
        reply.array(2);
        reply.bulk(args.at(position));
        write_names(flags, reply);
    }
    Ok(())
}

/// The command that a request asks for, and where its keys stand among all arguments.
fn find_keys(args: &Args<'_>) -> Result<(&'static Entry, Vec<usize>), Error> {
    const INVALID: Error = Error::Static("ERR Invalid command specified");
    let table = Table::get();
    let mut entry = table.lookup(args.at(PREFIX)).ok_or(INVALID)?;
    if let Handler::Container(_) = entry.command.handler {
        let name = args.get(PREFIX + 1).ok_or(INVALID)?;
        entry = table.subcommand(entry, name).ok_or(INVALID)?;
    }
    let count = args.len() - PREFIX;
    // What has a slot only so that it is found by it is no key.
    if entry.command.keys == Keys::None || entry.command.group == Group::PubSub {
        return Err(Error::Static("ERR The command has no key arguments"));
    }
    if !entry.command.takes(count) {
        return Err(Error::Static("ERR Invalid number of arguments specified for command"));
    }
    let asked = Args::new(args.bytes(), &args.ranges()[PREFIX..]);
    let positions = entry.command.keys.positions(&asked).map(|position| position + PREFIX);
    Ok((entry, positions.collect()))
}

#[cfg(test)]
mod tests;
