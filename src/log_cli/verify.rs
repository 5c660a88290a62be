//! `ringmain log verify`: a line a file, and what a server would say to it.

use std::io::Write;

use super::Failure;
use super::survey::{FileSeen, HardStateSeen, ManifestState, Part, Survey};
use super::text::{count, grouped};
use crate::log::{HARD_STATE_NAME, Manifest, OpenError, SegmentKind};
use crate::server::data_dir::DataDir;
use crate::types::{LogIndex, ShardId};

/// Columns of a file's name.
const NAME_COLUMNS: usize = 30;

pub(super) fn run(data: &DataDir, shards: &[ShardId], out: &mut impl Write) -> Result<(), Failure> {
    let (layout, dir) = (data.layout(), data.path().display());
    let id = u128::from_be_bytes(layout.id);
    writeln!(out, "{dir}: {}, id {id:032x}", count(layout.shards.into(), "shard", "shards"))?;
    let mut damaged = Vec::new();
    for shard in shards {
        let survey = Survey::of(data, *shard)?;
        show(&survey, out)?;
        if !survey.is_well() {
            damaged.push(shard.0);
        }
        out.flush()?;
    }
    if damaged.is_empty() {
        return Ok(());
    }
    Err(Failure::Damaged(format!(
        "{} damaged: 'ringmain log repair {dir}' tells what can be done.",
        match &damaged[..] {
            [one] => format!("Shard {one} is"),
            all => {
                let all: Vec<String> = all.iter().map(u16::to_string).collect();
                format!("Shards {} are", all.join(", "))
            }
        }
    )))
}

fn show(survey: &Survey, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "\nshard {} in {}", survey.shard.0, survey.folder.display())?;
    let mut line = |name: &str, text: String| writeln!(out, "  {name:<NAME_COLUMNS$}  {text}");
    line("manifest", manifest_text(&survey.manifest))?;
    if let Some(text) = hard_state_text(&survey.hard_state) {
        line(HARD_STATE_NAME, text)?;
    }
    for seen in &survey.files {
        line(&seen.file.name(), file_text(seen, survey))?;
    }
    writeln!(out, "  {}", verdict(survey))
}

fn manifest_text(state: &ManifestState) -> String {
    match state {
        ManifestState::Whole(manifest) => {
            // A shard that was never written to has one copy.
            let copies = if manifest.generation == 0 { "whole" } else { "both copies whole" };
            format!("{copies}, {}", says(manifest))
        }
        ManifestState::OneCopy(manifest) => {
            format!("DAMAGED: one copy; the other, {}", says(manifest))
        }
        ManifestState::Outdated(manifest) => format!(
            "DAMAGED: one copy, and the other names files that are gone; the files show: {}",
            begins(manifest)
        ),
        ManifestState::Rebuilt(manifest) => {
            format!("DAMAGED or missing, both copies; the files show: {}", begins(manifest))
        }
        ManifestState::Lost(reason) => format!("DAMAGED or missing, both copies: {reason}"),
        ManifestState::Nothing => "missing, and so is everything else".to_owned(),
    }
}

fn hard_state_text(seen: &HardStateSeen) -> Option<String> {
    match seen {
        HardStateSeen::None => None,
        HardStateSeen::Damaged(why) => Some(format!("DAMAGED: {why}")),
        HardStateSeen::Whole(state) => {
            let vote = state.vote.map_or("nobody".to_owned(), |node| format!("node {}", node.0));
            let voters = &state.configuration.voters;
            let voters: Vec<String> = voters.iter().map(|node| node.0.to_string()).collect();
            let voters = if voters.is_empty() { "none".to_owned() } else { voters.join(", ") };
            Some(format!(
                "node {}, term {}, voted for {vote}, committed up to record {}; voters: {voters}",
                state.node.0, state.term.0, state.commit.0
            ))
        }
    }
}

fn says(manifest: &Manifest) -> String {
    let clean = match manifest.clean_index {
        Some(index) => format!("; stopped cleanly after record {}", index.0),
        None => String::new(),
    };
    format!("generation {}: {}{clean}", manifest.generation, begins(manifest))
}

/// Where the data begins.
pub(super) fn begins(manifest: &Manifest) -> String {
    let (index, segment) = (manifest.first_index.0, manifest.first_segment.0);
    match manifest.snapshot {
        Some(id) => {
            format!("snapshot {:x}, then the log from record {index} in segment {segment:x}", id.0)
        }
        None => format!("no snapshot, the log from record {index} in segment {segment:x}"),
    }
}

fn file_text(seen: &FileSeen, survey: &Survey) -> String {
    let bytes = grouped(seen.file_bytes);
    match seen.part {
        Part::Ready => format!("ready to be written, not begun; {bytes} bytes"),
        Part::Leftover => {
            format!("not needed: a server removes it when it starts; {bytes} bytes")
        }
        Part::Behind => {
            let changes = count(seen.behind.changes, "change", "changes");
            format!(
                "behind the damage: {} with {changes} can be read; {bytes} bytes",
                count(seen.behind.records, "record", "records")
            )
        }
        Part::Read => format!("{}{}", read_text(seen, survey), end_text(seen, survey)),
    }
}

fn read_text(seen: &FileSeen, survey: &Survey) -> String {
    let bytes = format!("{} of {} bytes", grouped(seen.end.0), grouped(seen.file_bytes));
    if seen.file.kind == SegmentKind::Snapshot {
        let parts = count(seen.records, "record", "records");
        return format!("{parts}, {}; {bytes}", count(seen.items, "entry", "entries"));
    }
    let changes = count(seen.items, "change", "changes");
    let records = match seen.records {
        0 => "no records".to_owned(),
        records => {
            let last = seen.first_index.0 + records - 1;
            format!("records {} to {last}", seen.first_index.0)
        }
    };
    let first = survey.manifest.manifest().map_or(LogIndex(0), |manifest| manifest.first_index);
    let in_snapshot = match seen.first_index < first {
        true => format!(" (before {}: in the snapshot)", first.0),
        false => String::new(),
    };
    format!("{records}{in_snapshot}, {changes}; {bytes}")
}

/// Where a file ends too early.
fn end_text(seen: &FileSeen, survey: &Survey) -> String {
    let name = seen.file.name();
    if let Some(cut) = survey.cut.as_ref().filter(|cut| cut.file == name) {
        return format!("; torn at byte {}: {}", cut.at.0, cut.fault);
    }
    if survey.fault_in != Some(seen.file) {
        return String::new();
    }
    let what = match &survey.fault {
        Some(OpenError::Damaged { at, fault, .. }) => format!("at byte {}: {fault}", at.0),
        Some(OpenError::Content { at, .. }) => {
            format!("at byte {}: the content makes no sense, though its checksum is right", at.0)
        }
        Some(other) => other.to_string(),
        None => return String::new(),
    };
    let behind = match seen.behind.records {
        0 => "no record can be read behind it".to_owned(),
        records => format!("{} can be read behind it", count(records, "record", "records")),
    };
    format!("; DAMAGED {what}; {behind}")
}

/// The last line of a shard.
fn verdict(survey: &Survey) -> String {
    let sum = |kind: SegmentKind, of: fn(&FileSeen) -> u64| -> u64 {
        let read = survey.files.iter().filter(|seen| seen.part == Part::Read);
        read.filter(|seen| seen.file.kind == kind).map(of).sum()
    };
    let entries = count(sum(SegmentKind::Snapshot, |seen| seen.items), "entry", "entries");
    let changes = count(sum(SegmentKind::Log, |seen| seen.items), "change", "changes");
    let records = count(sum(SegmentKind::Log, |seen| seen.records), "record", "records");
    let bytes =
        sum(SegmentKind::Log, |seen| seen.end.0) + sum(SegmentKind::Snapshot, |it| it.end.0);
    let content = format!(
        "{entries} in the snapshot, {changes} in {records}, up to record {}; {} bytes",
        survey.last_index.0,
        grouped(bytes)
    );
    let manifest_is_whole = matches!(survey.manifest, ManifestState::Whole(_));
    if let (None, HardStateSeen::Damaged(why)) = (&survey.fault, &survey.hard_state) {
        return format!("DAMAGED: {why}. {content}.");
    }
    match (&survey.fault, &survey.manifest) {
        (Some(fault), _) => format!("DAMAGED: {fault}. Readable before that: {content}."),
        (None, ManifestState::Nothing) => format!("DAMAGED: {}.", OpenError::Gone),
        (None, ManifestState::Lost(_)) => {
            format!("DAMAGED: {}.", OpenError::NoManifest)
        }
        (None, _) if !manifest_is_whole => format!("DAMAGED: the manifest alone. {content}."),
        (None, _) => match &survey.cut {
            Some(cut) => format!(
                "well: {content}. The log ends in a torn tail at byte {} of {}, as a crash leaves it: what \
                 stood there was never promised to be on disk.",
                cut.at.0, cut.file
            ),
            None => format!("well: {content}. The log ends where nothing was written any more."),
        },
    }
}
