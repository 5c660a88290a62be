//! `ringmain log dump`: entries and changes as text or JSON, and what can be read behind damage.

use std::fmt::Display;
use std::io::{self, Write};

use super::Failure;
use super::options::Shown;
use super::survey::{ManifestState, Part, Survey, count_items, salvaged};
use super::text::{json_member, quoted, shortened, time};
use crate::cache::{Change, Changes, Outcome, SavedEntries, SavedEntry, SavedWhat};
use crate::command::glob::{Case, matches};
use crate::log::{Configuration, Directory as _, Item, OpenError, Place, RecordKind, Recovery};
use crate::runtime::{Folder, shard_folder};
use crate::server::data_dir::DataDir;
use crate::types::{DbIndex, NodeId, ShardId, UnixMs};

pub(super) fn run(
    data: &DataDir,
    shards: &[ShardId],
    shown: &Shown,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut damaged = Vec::new();
    for shard in shards {
        let mut dump = Dump { shard: *shard, shown, out: &mut *out };
        if let Some(fault) = dump.shard(data)? {
            damaged.push(format!("Shard {} is damaged: {fault}.", shard.0));
        }
    }
    if damaged.is_empty() { Ok(()) } else { Err(Failure::Damaged(damaged.join(" "))) }
}

/// A shard that is being printed.
struct Dump<'a, W> {
    shard: ShardId,
    shown: &'a Shown,
    out: &'a mut W,
}

impl<W: Write> Dump<'_, W> {
    /// Prints it; answers what is wrong with it, if anything.
    fn shard(&mut self, data: &DataDir) -> io::Result<Option<String>> {
        if !self.shown.json {
            writeln!(self.out, "# shard {}", self.shard.0)?;
        }
        if self.whole(data)? {
            return Ok(None);
        }
        let survey = Survey::of(data, self.shard)?;
        self.behind(&survey, &mut Folder::at(survey.folder.clone()))?;
        Ok(match &survey.fault {
            Some(fault) => Some(fault.to_string()),
            None if survey.is_well() => None,
            None if survey.manifest == ManifestState::Nothing => Some(OpenError::Gone.to_string()),
            None => Some("its manifest is not whole".to_owned()),
        })
    }

    /// Prints what a server would read; whether that is all there was to read.
    fn whole(&mut self, data: &DataDir) -> io::Result<bool> {
        let layout = data.layout();
        let mut folder = Folder::at(shard_folder(data.path(), self.shard));
        let state = ManifestState::of(&mut folder, self.shard, &layout)?;
        let Some(manifest) = state.manifest() else { return Ok(false) };
        let opened =
            Recovery::inspect(&mut folder, *manifest, self.shard, layout.shards, layout.id);
        let Ok(mut recovery) = opened else { return Ok(false) };
        let mut printed = Ok(());
        loop {
            let step = recovery.step_in_place(|place, item| {
                printed = self.item(place, &item);
                count_items(self.shard, layout.shards, &item)
            });
            std::mem::replace(&mut printed, Ok(()))?;
            match step {
                Ok(true) => {}
                Ok(false) => return Ok(matches!(state, ManifestState::Whole(_))),
                Err(_) => return Ok(false),
            }
        }
    }

    /// Prints what can be read behind the damage.
    fn behind(&mut self, survey: &Survey, folder: &mut Folder) -> io::Result<()> {
        if survey.behind().records == 0 {
            return Ok(());
        }
        if !self.shown.json {
            writeln!(self.out, "# behind the damage")?;
        }
        for seen in survey.files.iter().filter(|seen| seen.behind.records > 0) {
            let content = folder.read(&seen.file.name())?;
            let from = if seen.part == Part::Read { seen.end } else { Default::default() };
            for (place, payload) in salvaged(&content, (self.shard, survey.seed), seen.file, from) {
                let item = match place.header.kind {
                    RecordKind::Configuration => {
                        Item::Configuration { payload, overlaps_snapshot: false }
                    }
                    _ => Item::Changes { payload, overlaps_snapshot: false },
                };
                self.item(&place, &item)?;
            }
        }
        Ok(())
    }

    fn item(&mut self, place: &Place, item: &Item<'_>) -> io::Result<()> {
        match item {
            Item::Part(payload) if self.shown.from.is_none() => {
                for entry in SavedEntries::of(payload).flatten() {
                    if self.wants(Some(entry.key)) {
                        self.entry(&entry)?;
                    }
                }
                Ok(())
            }
            Item::Part(_) => Ok(()),
            Item::Changes { .. } | Item::Configuration { .. }
                if self.shown.from.is_some_and(|it| place.header.index < it) =>
            {
                Ok(())
            }
            Item::Changes { payload, .. } => self.changes(place, payload),
            Item::Configuration { payload, .. } => self.configuration(place, payload),
        }
    }

    fn changes(&mut self, place: &Place, payload: &[u8]) -> io::Result<()> {
        let Ok(changes) = Changes::of(payload) else { return Ok(()) };
        let at = changes.time();
        for changed in changes.flatten() {
            if self.wants(changed.change.key()) {
                let line = Line {
                    index: Some(place.header.index.0),
                    at,
                    sequence: changed.sequence,
                    db: changed.db,
                };
                self.change(line, &changed.change)?;
            }
        }
        Ok(())
    }

    /// Who takes part in a replicated shard from here on.
    fn configuration(&mut self, place: &Place, payload: &[u8]) -> io::Result<()> {
        let index = place.header.index;
        let Some(new) =
            Configuration::decode((place.header.term, index), payload).filter(|_| self.wants(None))
        else {
            return Ok(());
        };
        let line = Line { index: Some(index.0), at: UnixMs(0), sequence: 0, db: DbIndex(0) };
        let ids = |nodes: &[NodeId], separator: &str| {
            nodes.iter().map(|node| node.0.to_string()).collect::<Vec<_>>().join(separator)
        };
        if self.shown.json {
            let (voters, learners) = (ids(&new.voters, ","), ids(&new.learners, ","));
            let content = format_args!("\"voters\":[{voters}],\"learners\":[{learners}]");
            return self.json(line, "configuration", content);
        }
        let (voters, learners) = (ids(&new.voters, "/"), ids(&new.learners, "/"));
        self.text(line, "configuration", format_args!("voters {voters}, learners {learners}"))
    }

    fn wants(&self, key: Option<&[u8]>) -> bool {
        let (Some(pattern), Some(key)) = (&self.shown.key, key) else { return true };
        pattern == "*" || matches(pattern.as_bytes(), key, Case::Sensitive)
    }

    fn entry(&mut self, entry: &SavedEntry<'_>) -> io::Result<()> {
        let SavedEntry { db, key, value, expires_at, version, accessed_at, .. } = *entry;
        let (kind, modified_in_place) = (entry_kind(entry.what), entry.modified_in_place);
        let line = Line { index: None, at: accessed_at, sequence: version, db };
        if self.shown.json {
            let (key, value) = (json_member("key", key), json_member("value", value));
            let expiry = json_expiry(expires_at);
            return self.json(
                line,
                kind,
                format_args!("{key},{value},{expiry},\"modified_in_place\":{modified_in_place}"),
            );
        }
        self.text(
            line,
            kind,
            format_args!("{} {}{}", quoted(key), shortened(value), expiry(expires_at)),
        )
    }

    fn change(&mut self, line: Line, change: &Change<'_>) -> io::Result<()> {
        if self.shown.json {
            return self.change_as_json(line, change);
        }
        match *change {
            Change::Set { key, value, expires_at } => self.text(
                line,
                "set",
                format_args!("{} {}{}", quoted(key), shortened(value), expiry(expires_at)),
            ),
            Change::Edit { key, length, offset, bytes } => self.text(
                line,
                "edit",
                format_args!("{} length {length}, at {offset} {}", quoted(key), shortened(bytes)),
            ),
            Change::Expire { key, expires_at } => {
                let never = if expires_at.is_none() { " never" } else { "" };
                let at = expiry(expires_at);
                self.text(line, "expire", format_args!("{}{at}{never}", quoted(key)))
            }
            Change::Put { key, block } => {
                self.text(line, "put", format_args!("{} {}", quoted(key), shortened(block)))
            }
            Change::Elements { key, kind, operations, .. } => self.text(
                line,
                "elements",
                format_args!("{} of a {} {}", quoted(key), kind.name(), shortened(operations)),
            ),
            Change::Remove { key } => self.text(line, "remove", quoted(key)),
            Change::Flush => self.text(line, "flush", ""),
            Change::Swap { with } => self.text(line, "swap", format_args!("with db {}", with.0)),
            Change::Outcome { client, sequence, floor, outcome } => {
                let status = match outcome.status {
                    0 => String::new(),
                    status => format!(", not done: status {status:#04x}"),
                };
                let write = format_args!("of client {client:016x} write {sequence}");
                self.text(line, "outcome", format_args!("{write}, floor {floor}{status}"))
            }
            Change::Forget { client, horizon } => {
                self.text(line, "forget", format_args!("client {client:016x}, horizon {horizon}"))
            }
            Change::Floor { client, floor } => {
                self.text(line, "floor", format_args!("of client {client:016x} {floor}"))
            }
        }
    }

    fn change_as_json(&mut self, line: Line, change: &Change<'_>) -> io::Result<()> {
        match *change {
            Change::Set { key, value, expires_at } => {
                let (key, value) = (json_member("key", key), json_member("value", value));
                self.json(line, "set", format_args!("{key},{value},{}", json_expiry(expires_at)))
            }
            Change::Edit { key, length, offset, bytes } => {
                let (key, bytes) = (json_member("key", key), json_member("bytes", bytes));
                let place = format_args!("\"length\":{length},\"offset\":{offset}");
                self.json(line, "edit", format_args!("{key},{place},{bytes}"))
            }
            Change::Expire { key, expires_at } => {
                let key = json_member("key", key);
                self.json(line, "expire", format_args!("{key},{}", json_expiry(expires_at)))
            }
            Change::Put { key, block } => {
                let (key, block) = (json_member("key", key), json_member("block", block));
                self.json(line, "put", format_args!("{key},{block}"))
            }
            Change::Elements { key, kind, operations, .. } => {
                let (key, bytes) = (json_member("key", key), json_member("operations", operations));
                self.json(
                    line,
                    "elements",
                    format_args!("{key},\"type\":\"{}\",{bytes}", kind.name()),
                )
            }
            Change::Remove { key } => self.json(line, "remove", json_member("key", key)),
            Change::Flush => self.json(line, "flush", ""),
            Change::Swap { with } => self.json(line, "swap", format_args!("\"with\":{}", with.0)),
            Change::Outcome { client, sequence, floor, outcome } => {
                let Outcome { version, status, body } = outcome;
                let numbers = format_args!(
                    "\"client\":\"{client:016x}\",\"write\":{sequence},\"floor\":{floor},\
                     \"status\":{status},\"version\":{version}"
                );
                let body = json_member("body", body.as_ref().map_or(&[][..], |body| body));
                self.json(line, "outcome", format_args!("{numbers},{body}"))
            }
            Change::Forget { client, horizon } => self.json(
                line,
                "forget",
                format_args!("\"client\":\"{client:016x}\",\"horizon\":{horizon}"),
            ),
            Change::Floor { client, floor } => self.json(
                line,
                "floor",
                format_args!("\"client\":\"{client:016x}\",\"floor\":{floor}"),
            ),
        }
    }

    fn text(&mut self, line: Line, kind: &str, rest: impl Display) -> io::Result<()> {
        let Line { index, at, sequence, db } = line;
        let index = index.map_or("snapshot".to_owned(), |index| index.to_string());
        let line = format!("{index} {} {sequence} db{} {kind} {rest}", time(at), db.0);
        writeln!(self.out, "{}", line.trim_end())
    }

    fn json(&mut self, line: Line, kind: &str, members: impl Display) -> io::Result<()> {
        let Line { index, at, sequence, db } = line;
        let members = members.to_string();
        let comma = if members.is_empty() { "" } else { "," };
        let index = index.map_or("null".to_owned(), |index| index.to_string());
        writeln!(
            self.out,
            "{{\"shard\":{},\"index\":{index},\"time_ms\":{},\"sequence\":{sequence},\"db\":{},\
             \"kind\":\"{kind}\"{comma}{members}}}",
            self.shard.0, at.0, db.0
        )
    }
}

/// What every line begins with: the time is when a change was made, or an entry last used.
#[derive(Clone, Copy, Debug)]
struct Line {
    index: Option<u64>,
    at: UnixMs,
    sequence: u64,
    db: DbIndex,
}

fn expiry(at: Option<UnixMs>) -> String {
    at.map_or(String::new(), |at| format!(" expires {}", time(at)))
}

fn json_expiry(at: Option<UnixMs>) -> String {
    let at = at.map_or("null".to_owned(), |at| at.0.to_string());
    format!("\"expires_at_ms\":{at}")
}

/// What an entry of a snapshot is called.
fn entry_kind(what: SavedWhat) -> &'static str {
    match what {
        SavedWhat::String => "entry",
        SavedWhat::Collection => "collection",
        SavedWhat::More => "more",
        SavedWhat::Outcomes => "outcomes",
        SavedWhat::Horizon => "horizon",
    }
}
