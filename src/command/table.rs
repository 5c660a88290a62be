//! The command table: every row of every group, found by name.
//!
//! Built once from the groups' `COMMANDS` slices and never changed. A name is found by packing its
//! bytes, lower-cased, into two words and probing a small open-addressing index, which costs a few
//! nanoseconds; subcommands are few and searched in order. An entry's id is its place in the table,
//! by which metrics are indexed.

use std::ops::Range;
use std::sync::OnceLock;

use super::events::Event;
use super::{Command, Error, Flags, Handler};
use crate::limits::COMMANDS_MAX;
use crate::protocol::Args;

pub use crate::metrics::CommandId;

/// The groups, in the order in which `COMMAND` lists them.
const GROUPS: &[&[Command]] = &[
    super::connection::COMMANDS,
    super::blocking::COMMANDS,
    super::client::COMMANDS,
    super::strings::COMMANDS,
    super::counters::COMMANDS,
    super::lcs::COMMANDS,
    super::sets::COMMANDS,
    super::sorted_sets::COMMANDS,
    super::bitmap::COMMANDS,
    super::lists::COMMANDS,
    super::hashes::COMMANDS,
    super::keys::COMMANDS,
    super::sort::COMMANDS,
    super::expire::COMMANDS,
    super::scan::COMMANDS,
    super::databases::COMMANDS,
    super::object::COMMANDS,
    super::dump::COMMANDS,
    super::server::COMMANDS,
    super::persistence::COMMANDS,
    super::info::COMMANDS,
    super::config::COMMANDS,
    super::memory::COMMANDS,
    super::slowlog::COMMANDS,
    super::latency::COMMANDS,
    super::introspect::COMMANDS,
    super::acl::COMMANDS,
    super::cluster::COMMANDS,
    super::shard::COMMANDS,
    super::transactions::COMMANDS,
    super::pubsub::COMMANDS,
];

/// Containers that Redis implements as one command: their subcommands are not listed, and a wrong
/// one answers with another text.
const UNLISTED: &[&str] = &["debug"];

/// Longest name of a command that is not a subcommand.
const NAME_BYTES_MAX: usize = 16;
/// Slots of the index; a power of two, several times the number of commands.
const INDEX_SLOTS: usize = 512;
/// Most bytes of what the client sent that an error repeats, each of name and arguments.
const ECHO_BYTES_MAX: usize = 128;
/// Marks a free slot of the index.
const FREE: u16 = u16::MAX;

/// One command or subcommand.
#[derive(Debug)]
pub struct Entry {
    /// Its row.
    pub command: &'static Command,
    /// Its place in the table.
    pub id: CommandId,
    /// Its name as Redis shows it: `get`, `client|list`.
    pub full_name: &'static str,
    /// The container it belongs to, if it is a subcommand.
    pub parent: Option<CommandId>,
    /// What it tells of its first key, if it has changed it.
    pub event: Option<Event>,
    /// The name by which it is found; none of a subcommand.
    name: Option<Packed>,
    subcommands: Range<usize>,
}

/// All commands.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    index: Box<[IndexSlot; INDEX_SLOTS]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packed {
    low: u64,
    high: u64,
    length: u16,
}

#[derive(Clone, Copy, Debug)]
struct IndexSlot {
    name: Packed,
    entry: u16,
}

impl Table {
    /// The table of this server; built at the first call.
    pub fn get() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| Self::build(GROUPS))
    }

    /// # Panics
    /// If two commands share a name, a name is too long or there are more than `COMMANDS_MAX`: all are
    /// bugs in the rows.
    fn build(groups: &[&'static [Command]]) -> Self {
        let free = IndexSlot { name: Packed { low: 0, high: 0, length: 0 }, entry: FREE };
        let mut table = Self { entries: Vec::new(), index: Box::new([free; INDEX_SLOTS]) };
        for command in groups.iter().flat_map(|group| group.iter()) {
            table.add(command);
        }
        assert!(table.entries.len() <= COMMANDS_MAX);
        table
    }

    fn add(&mut self, command: &'static Command) {
        assert_eq!(command.flags.contains(Flags::STEPWISE), command.steps.is_some());
        let id = self.next_id();
        let first = self.entries.len() + 1;
        let rows = match command.handler {
            Handler::Container(rows) => rows,
            Handler::Session(_)
            | Handler::Keyed(_)
            | Handler::Slot(..)
            | Handler::Cursor(..)
            | Handler::AllShards(_)
            | Handler::KeyedOrAll(..) => &[],
        };
        self.entries.push(Entry {
            command,
            id,
            full_name: command.name,
            parent: None,
            event: Event::of(command.name),
            name: pack(command.name.as_bytes()),
            subcommands: first..first + rows.len(),
        });
        for row in rows {
            let full_name = if row.name.is_empty() {
                command.name
            } else {
                String::leak(format!("{}|{}", command.name, row.name))
            };
            let entry = Entry {
                command: row,
                id: self.next_id(),
                full_name,
                parent: Some(id),
                event: None,
                name: None,
                subcommands: 0..0,
            };
            self.entries.push(entry);
        }
        self.insert(command.name, id);
    }

    fn next_id(&self) -> CommandId {
        CommandId(u16::try_from(self.entries.len()).expect("the table is small"))
    }

    fn insert(&mut self, name: &str, id: CommandId) {
        let packed = pack(name.as_bytes()).expect("names of commands are short");
        let mut at = packed.hash();
        while self.index[at].entry != FREE {
            assert_ne!(self.index[at].name, packed, "two commands are called {name}");
            at = (at + 1) % INDEX_SLOTS;
        }
        self.index[at] = IndexSlot { name: packed, entry: id.0 };
        assert!(self.entries.len() < INDEX_SLOTS, "the index is full");
    }

    /// The command called `name`, in any case. Containers are found, their subcommands are not.
    pub fn lookup(&self, name: &[u8]) -> Option<&Entry> {
        let packed = pack(name)?;
        let mut at = packed.hash();
        loop {
            let slot = &self.index[at];
            if slot.name == packed && slot.entry != FREE {
                return Some(&self.entries[usize::from(slot.entry)]);
            }
            if slot.entry == FREE {
                return None;
            }
            at = (at + 1) % INDEX_SLOTS;
        }
    }

    /// The command that `args` asks for, which is a subcommand where the name is a container's; or
    /// the error that Redis answers when there is none or the number of arguments is not one it takes.
    pub fn resolve(&self, args: &Args<'_>) -> Result<&Entry, Error> {
        let Some(entry) = self.lookup(args.at(0)) else { return Err(unknown_command(args)) };
        let entry = match entry.command.handler {
            Handler::Container(_) => self.resolve_subcommand(entry, args)?,
            Handler::Session(_)
            | Handler::Keyed(_)
            | Handler::Slot(..)
            | Handler::Cursor(..)
            | Handler::AllShards(_)
            | Handler::KeyedOrAll(..) => entry,
        };
        if entry.command.takes(args.len()) { Ok(entry) } else { Err(self.wrong_arity(entry, args)) }
    }

    fn resolve_subcommand(&self, container: &Entry, args: &Args<'_>) -> Result<&Entry, Error> {
        let name = args.get(1).unwrap_or(b"");
        let found =
            self.subcommand(container, name).filter(|_| args.len() == 1 || !name.is_empty());
        match (found, args.get(1)) {
            (Some(entry), _) => Ok(entry),
            (None, Some(name)) => Err(unknown_subcommand(container, name)),
            (None, None) => Err(Error::Arity(container.full_name.to_owned())),
        }
    }

    #[cold]
    fn wrong_arity(&self, entry: &Entry, args: &Args<'_>) -> Error {
        let container = entry.parent.and_then(|parent| self.entry(parent));
        match container.filter(|container| UNLISTED.contains(&container.full_name)) {
            Some(container) => unknown_subcommand(container, args.get(1).unwrap_or(b"")),
            None => Error::Arity(entry.full_name.to_owned()),
        }
    }

    /// The subcommand of `container` called `name`, in any case.
    pub fn subcommand(&self, container: &Entry, name: &[u8]) -> Option<&Entry> {
        let rows = &self.entries[container.subcommands.clone()];
        rows.iter().find(|row| row.command.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The command with this full name (`client|list`), in any case; what `COMMAND INFO` looks for.
    pub fn find_full_name(&self, name: &[u8]) -> Option<&Entry> {
        match memchr::memchr(b'|', name) {
            None => self.lookup(name),
            Some(bar) => {
                let (container, rest) = (self.lookup(&name[..bar])?, &name[bar + 1..]);
                self.listed_subcommands(container)
                    .find(|entry| entry.command.name.as_bytes().eq_ignore_ascii_case(rest))
            }
        }
    }

    /// The entry with this id.
    pub fn entry(&self, id: CommandId) -> Option<&Entry> {
        self.entries.get(usize::from(id.0))
    }

    /// Number of entries, subcommands included: ids are below it.
    pub fn id_count(&self) -> usize {
        self.entries.len()
    }

    /// All entries, in the order of their ids.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// All subcommands of `entry`, its own handler included; none if it is not a container.
    pub fn subcommands(&self, entry: &Entry) -> impl Iterator<Item = &Entry> {
        self.entries[entry.subcommands.clone()].iter()
    }

    /// The commands that are not subcommands.
    pub fn commands(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.parent.is_none())
    }

    /// The commands and the subcommands that `COMMAND` shows, each command before its own.
    pub fn listed(&self) -> impl Iterator<Item = &Entry> {
        self.commands()
            .flat_map(|entry| std::iter::once(entry).chain(self.listed_subcommands(entry)))
    }

    /// The subcommands of `entry` that `COMMAND` shows; none if it is not a container.
    pub fn listed_subcommands(
        &self,
        entry: &Entry,
    ) -> impl ExactSizeIterator<Item = &Entry> + Clone {
        let listed =
            if UNLISTED.contains(&entry.full_name) { 0..0 } else { entry.subcommands.clone() };
        // A container's own handler, if it has one, is its first row and has no name.
        let rows = &self.entries[listed];
        let own = rows.iter().take_while(|row| row.command.name.is_empty()).count();
        rows[own..].iter()
    }
}

impl Entry {
    /// Whether a request names this command, which is no subcommand, with as many arguments as it takes.
    #[inline]
    pub fn is_called_by(&self, args: &Args<'_>) -> bool {
        self.name.is_some() && self.name == pack(args.at(0)) && self.command.takes(args.len())
    }

    /// Whether it works on the session or the server, rather than on data.
    pub fn is_on_session(&self) -> bool {
        matches!(self.command.handler, Handler::Session(_) | Handler::Container(_))
    }

    /// Whether a request with these arguments names a key that decides where it runs.
    pub fn names_key(&self, args: &Args<'_>) -> bool {
        let first = self.command.keys.first();
        matches!(self.command.handler, Handler::Keyed(_))
            && first.is_some_and(|first| first < args.len())
    }

    /// Whether it only leads to subcommands.
    pub fn is_container(&self) -> bool {
        !self.subcommands.is_empty()
    }
}

impl Packed {
    #[expect(clippy::cast_possible_truncation, reason = "below INDEX_SLOTS")]
    fn hash(self) -> usize {
        let mixed = (self.low ^ self.high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - INDEX_SLOTS.trailing_zeros())) as usize
    }
}

/// The bytes of `name` in lower case in two words, which overlap; `None` if it is empty, too long or
/// not ASCII.
#[inline]
fn pack(name: &[u8]) -> Option<Packed> {
    let length = name.len();
    let (low, high) = match length {
        8..=NAME_BYTES_MAX => (load_u64(&name[..8])?, load_u64(&name[length - 8..])?),
        4..=7 => (load_u32(&name[..4])?, load_u32(&name[length - 4..])?),
        1..=3 => {
            let middle = u64::from(name[length / 2]) << 8;
            (u64::from(name[0]) | middle, u64::from(name[length - 1]))
        }
        _ => return None,
    };
    if (low | high) & HIGH_BITS != 0 {
        return None;
    }
    Some(Packed { low: lower(low), high: lower(high), length: u16::try_from(length).ok()? })
}

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

fn load_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

fn load_u32(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(|bytes| u64::from(u32::from_le_bytes(bytes)))
}

/// Lower-cases eight ASCII bytes at once: bit 7 of each sum tells whether the byte is at least `A`,
/// and whether it is beyond `Z`.
fn lower(word: u64) -> u64 {
    const fn repeat(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let from_a = word + repeat(0x80 - b'A');
    let beyond_z = word + repeat(0x80 - b'Z' - 1);
    let upper = (from_a ^ beyond_z) & HIGH_BITS;
    word | (upper >> 2)
}

#[cold]
fn unknown_command(args: &Args<'_>) -> Error {
    let mut echoed = String::new();
    for argument in args.from(1) {
        if echoed.len() >= ECHO_BYTES_MAX {
            break;
        }
        let kept = &argument[..argument.len().min(ECHO_BYTES_MAX - echoed.len())];
        echoed.push('\'');
        echoed.push_str(&String::from_utf8_lossy(kept));
        echoed.push_str("' ");
    }
    let name = echo(args.at(0));
    Error::Text(format!("ERR unknown command '{name}', with args beginning with: {echoed}"))
}

#[cold]
fn unknown_subcommand(container: &Entry, name: &[u8]) -> Error {
    let (name, upper) = (echo(name), container.full_name.to_ascii_uppercase());
    Error::Text(if UNLISTED.contains(&container.full_name) {
        format!(
            "ERR unknown subcommand or wrong number of arguments for '{name}'. Try {upper} HELP."
        )
    } else {
        format!("ERR unknown subcommand '{name}'. Try {upper} HELP.")
    })
}

/// The start of `bytes` as far as an error repeats it.
fn echo(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(ECHO_BYTES_MAX)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Entry, GROUPS, Table, pack};
    use crate::command::{Command, Error, Flags, Group, Handler, Keys, SessionCx};
    use crate::protocol::args::ArgRange;
    use crate::protocol::{Args, Reply};

    fn run(_: &mut SessionCx<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> Result<(), Error> {
        Ok(())
    }

    const fn row(name: &'static str, arity: i8, handler: Handler) -> Command {
        Command {
            name,
            arity,
            flags: Flags::FAST,
            keys: Keys::None,
            handler,
            group: Group::Server,
            summary: "",
            since: "1.0.0",
            steps: None,
            complexity: "O(1)",
        }
    }

    const PLAIN: Handler = Handler::Session(run);
    const ROWS: &[Command] = &[
        row("get", 2, PLAIN),
        row("bitfield_ro", -2, PLAIN),
        row("client", -2, Handler::Container(&[row("list", -2, PLAIN), row("kill", -3, PLAIN)])),
        row("command", -1, Handler::Container(&[row("", 1, PLAIN), row("count", 2, PLAIN)])),
        row("debug", -2, Handler::Container(&[row("sleep", 3, PLAIN)])),
    ];

    fn resolve(words: &[&[u8]]) -> Result<&'static str, String> {
        let table = Table::build(&[ROWS]);
        let mut bytes = Vec::new();
        let mut ranges = Vec::new();
        for word in words {
            let start = u32::try_from(bytes.len()).unwrap();
            ranges.push(ArgRange { start, length: u32::try_from(word.len()).unwrap() });
            bytes.extend_from_slice(word);
        }
        let entry = table.resolve(&Args::new(&bytes, &ranges));
        entry.map(|entry| entry.full_name).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_found_in_any_case() {
        let ok: &[(&[&[u8]], &str)] = &[
            (&[b"get", b"k"], "get"),
            (&[b"GeT", b"k"], "get"),
            (&[b"BITFIELD_RO", b"k"], "bitfield_ro"),
            (&[b"CLIENT", b"LIST"], "client|list"),
            (&[b"client", b"kill", b"x"], "client|kill"),
            (&[b"command"], "command"),
            (&[b"command", b"count"], "command|count"),
            (&[b"debug", b"sleep", b"1"], "debug|sleep"),
        ];
        for (words, expected) in ok {
            assert_eq!(resolve(words).as_deref(), Ok(*expected));
        }
    }

    #[test]
    fn errors_are_those_of_redis() {
        let long = [b'x'; 300];
        let text = |count| "x".repeat(count);
        let cases: &[(&[&[u8]], String)] = &[
            (&[b"foo"], "ERR unknown command 'foo', with args beginning with: ".into()),
            (
                &[b"foo", b"bar", b"baz"],
                "ERR unknown command 'foo', with args beginning with: 'bar' 'baz' ".into(),
            ),
            (
                &[&long, b"a", &long, b"b"],
                format!(
                    "ERR unknown command '{}', with args beginning with: 'a' '{}' ",
                    text(128),
                    text(124)
                ),
            ),
            (&[b""], "ERR unknown command '', with args beginning with: ".into()),
            (&[b"get"], "ERR wrong number of arguments for 'get' command".into()),
            (&[b"client"], "ERR wrong number of arguments for 'client' command".into()),
            (
                &[b"client", b"kill"],
                "ERR wrong number of arguments for 'client|kill' command".into(),
            ),
            (&[b"client", b"nope"], "ERR unknown subcommand 'nope'. Try CLIENT HELP.".into()),
            (&[b"client", b""], "ERR unknown subcommand ''. Try CLIENT HELP.".into()),
            (&[b"command", b""], "ERR unknown subcommand ''. Try COMMAND HELP.".into()),
            (
                &[b"command", &long],
                format!("ERR unknown subcommand '{}'. Try COMMAND HELP.", text(128)),
            ),
            (&[b"debug"], "ERR wrong number of arguments for 'debug' command".into()),
            (
                &[b"debug", b"sleep"],
                "ERR unknown subcommand or wrong number of arguments for 'sleep'. Try DEBUG HELP."
                    .into(),
            ),
        ];
        for (words, expected) in cases {
            assert_eq!(resolve(words).unwrap_err(), *expected);
        }
    }

    #[test]
    fn containers_list_their_subcommands_but_not_their_own_handler() {
        let table = Table::build(&[ROWS]);
        let listed = |name: &[u8]| {
            let entry = table.lookup(name).unwrap();
            table.listed_subcommands(entry).map(|entry| entry.full_name).collect::<Vec<_>>()
        };
        assert_eq!(listed(b"client"), ["client|list", "client|kill"]);
        assert_eq!(listed(b"command"), ["command|count"]);
        assert!(listed(b"get").is_empty() && listed(b"debug").is_empty());
        assert_eq!(table.find_full_name(b"Client|LIST").map(|e| e.full_name), Some("client|list"));
        assert!(table.find_full_name(b"client|nope").is_none());
    }

    #[test]
    fn every_command_is_found_and_nothing_like_it() {
        let table = Table::get();
        assert_eq!(table.commands().count(), GROUPS.iter().map(|group| group.len()).sum::<usize>());
        for entry in table.commands() {
            let name = entry.full_name;
            let found = |name: &[u8]| table.lookup(name).map(|entry: &Entry| entry.full_name);
            assert_eq!(found(name.to_uppercase().as_bytes()), Some(name));
            assert_eq!(table.entry(entry.id).map(|entry| entry.full_name), Some(name));
            // Bytes that differ from letters in the case bit alone are other names.
            for at in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                other[at] ^= 0x20;
                let same = other.eq_ignore_ascii_case(name.as_bytes());
                assert_eq!(found(&other).is_some(), same, "{other:?}");
                other[at] ^= 0xa0;
                assert_eq!(found(&other), None);
            }
            assert_eq!(found(&[name.as_bytes(), b"\0"].concat()), None);
        }
    }

    #[test]
    fn names_of_one_letter_repeated_pack_apart() {
        for length in 1..=16 {
            for other in 1..=16 {
                let same = pack(&vec![b'a'; length]) == pack(&vec![b'a'; other]);
                assert_eq!(same, length == other);
            }
        }
        assert_eq!(pack(&[b'a'; 17]), None);
        assert_eq!(pack(b""), None);
    }
}
