//! `ringmain log repair`: what can be done about damage, and doing it.

use std::io::Write;
use std::path::Path;

use super::Failure;
use super::survey::{FileSeen, HardStateSeen, ManifestState, Part, Survey};
use super::text::count;
use super::verify::begins;
use crate::cache::NO_CHANGES;
use crate::log::{
    BLOCK_BYTES, Fill, Manifest, OpenError, Repair, SegmentFile, SegmentHeader, SegmentKind,
    give_up_replica,
};
use crate::runtime::Folder;
use crate::server::data_dir::{DataDir, LostLayout};
use crate::types::{ByteOffset, LogIndex, SegmentId, ShardId, UnixMs};

/// What there is to do for one shard.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Nothing.
    Nothing,
    /// This, which the sentence tells.
    Do(Box<Repair>, String),
    /// Give the log up, so that other replicas send it again, which the sentence tells.
    GiveUp(String),
    /// Nothing can be done, which the sentence explains.
    Impossible(String),
}

/// Makes the directory's layout again, if it is lost.
pub(super) fn layout(dir: &Path, do_it: bool, out: &mut impl Write) -> Result<(), Failure> {
    let Some(lost) = LostLayout::find(dir)? else { return Ok(()) };
    let shards = lost.layout().shards;
    writeln!(
        out,
        "layout: it is missing, damaged or another directory's. Write it again as {} of {} has it.",
        count(lost.said_by().len() as u64, "manifest", "manifests"),
        count(shards.into(), "shard", "shards"),
    )?;
    out.flush()?;
    if do_it { Ok(lost.write()?) } else { Err(nothing_changed()) }
}

fn nothing_changed() -> Failure {
    Failure::Damaged("Nothing was changed: with --yes this is done.".to_owned())
}

pub(super) fn run(
    data: &DataDir,
    shards: &[ShardId],
    do_it: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (mut planned, mut impossible) = (0, 0);
    for shard in shards {
        let mut survey = Survey::of(data, *shard)?;
        loop {
            match plan(&survey, data).for_replica(&survey) {
                Plan::GiveUp(what) => {
                    planned += 1;
                    writeln!(out, "shard {}: {what}", shard.0)?;
                    if do_it {
                        give_up(data, &survey, out)?;
                    }
                }
                Plan::Nothing => writeln!(out, "shard {}: nothing to repair", shard.0)?,
                Plan::Impossible(why) => {
                    impossible += 1;
                    writeln!(out, "shard {}: {why}", shard.0)?;
                }
                Plan::Do(repair, what) => {
                    planned += 1;
                    writeln!(out, "shard {}: {what}", shard.0)?;
                    if do_it {
                        survey = perform(data, &survey, &repair, out)?;
                        // A log that was cut may end before what its snapshot has seen: that comes next.
                        if !survey.is_well() {
                            continue;
                        }
                    }
                }
            }
            break;
        }
        out.flush()?;
    }
    if impossible > 0 {
        return Err(Failure::Damaged(format!(
            "{} can't be repaired: see above.",
            count(impossible, "shard", "shards")
        )));
    }
    if planned > 0 && !do_it {
        return Err(nothing_changed());
    }
    Ok(())
}

impl Plan {
    /// What is to be done if the shard is a replica. Entries that others have counted on must not be cut, nor others put
    /// in their place: the leader has them all.
    fn for_replica(self, survey: &Survey) -> Self {
        if !survey.is_replica() {
            return self;
        }
        let damage = match (&self, &survey.hard_state) {
            (_, HardStateSeen::Damaged(why)) => format!("{why}. What it has voted for is lost"),
            // Of the manifest alone, or nothing.
            _ if survey.fault.is_none() && survey.manifest.manifest().is_some() => return self,
            _ => survey.fault.as_ref().map_or("the log is lost".to_owned(), ToString::to_string),
        };
        Self::GiveUp(format!(
            "{damage}. Its leader has all that it had: give up what is here, so that it is sent all of it again when \
             the node is started. It votes only when it has that. What is given up is kept beside."
        ))
    }
}

/// Gives up a replica's log.
fn give_up(data: &DataDir, survey: &Survey, out: &mut impl Write) -> Result<(), Failure> {
    let layout = data.layout();
    let mut folder = Folder::open(data.path(), survey.shard)?;
    let fresh = Manifest::new(survey.shard, layout.shards, layout.id);
    for name in give_up_replica(&mut folder, &fresh)? {
        writeln!(out, "  kept: {}", survey.folder.join(name).display())?;
    }
    writeln!(out, "  given up: the shard is empty until its leader has sent it again")?;
    Ok(())
}

/// Repairs it; answers what it is like then: well, or with a log that ends before what its snapshot has seen.
fn perform(
    data: &DataDir,
    survey: &Survey,
    repair: &Repair,
    out: &mut impl Write,
) -> Result<Survey, Failure> {
    let mut folder = Folder::open(data.path(), survey.shard)?;
    let kept = repair.perform(&mut folder)?;
    for name in kept {
        writeln!(out, "  kept: {}", survey.folder.join(name).display())?;
    }
    let after = Survey::of(data, survey.shard)?;
    if after.is_well() {
        writeln!(out, "  repaired: the shard goes on after record {}", after.last_index.0)?;
        return Ok(after);
    }
    let shard = survey.shard.0;
    match &after.fault {
        Some(OpenError::Behind { .. }) if repair.fill.is_none() => Ok(after),
        Some(fault) => Err(Failure::Damaged(format!("Shard {shard} is still damaged: {fault}."))),
        None => Err(Failure::Damaged(format!("Shard {shard} is still damaged."))),
    }
}

fn plan(survey: &Survey, data: &DataDir) -> Plan {
    let manifest = match &survey.manifest {
        ManifestState::Nothing => return begin_empty(survey, data),
        ManifestState::Lost(reason) => {
            return Plan::Impossible(format!(
                "both copies of the manifest are damaged or missing, and it can't be made again: \
                 {reason}. {}",
                what_is_left(survey, data)
            ));
        }
        ManifestState::Whole(manifest)
        | ManifestState::OneCopy(manifest)
        | ManifestState::Outdated(manifest)
        | ManifestState::Rebuilt(manifest) => manifest,
    };
    let of_manifest = manifest_sentence(&survey.manifest);
    let Some(fault) = &survey.fault else {
        return match of_manifest {
            Some(sentence) => Plan::Do(
                Box::new(Repair { manifest: Some(*manifest), ..Repair::default() }),
                sentence,
            ),
            None => Plan::Nothing,
        };
    };
    let (mut repair, what) = match fault {
        OpenError::Damaged { at, .. } | OpenError::Content { at, .. } => {
            match survey.files.iter().find(|seen| survey.fault_in == Some(seen.file)) {
                Some(seen) if seen.file.kind == SegmentKind::Log => {
                    cut(survey, seen, *at, manifest)
                }
                Some(_) | None => return snapshot_is_lost(survey, data, fault),
            }
        }
        OpenError::Segment { file, .. }
            if SegmentFile::parse(file).is_some_and(|file| file.kind == SegmentKind::Log) =>
        {
            (Repair { set_aside: behind(survey), ..Repair::default() }, end_before(survey, fault))
        }
        OpenError::Short { found, expected, .. } => (
            Repair::default(),
            format!(
                "the records {} to {} are in no file. The log can end before them: note in the manifest \
                 that record {} is the last.",
                found.0 + 1,
                expected.0,
                found.0
            ),
        ),
        OpenError::Behind { expected, .. } => {
            return catch_up(survey, data, manifest, *expected, of_manifest);
        }
        OpenError::Segment { .. } | OpenError::Io { .. } => {
            return snapshot_is_lost(survey, data, fault);
        }
        OpenError::Gone | OpenError::NoManifest | OpenError::Foreign { .. } => {
            return Plan::Impossible(format!(
                "{fault}: put back the folder that belongs here. {}",
                what_is_left(survey, data)
            ));
        }
    };
    let must_be_written = of_manifest.is_some() || manifest.clean_index.is_some();
    repair.manifest = must_be_written.then_some(Manifest { clean_index: None, ..*manifest });
    let sentences: Vec<String> = of_manifest.into_iter().chain([what]).collect();
    Plan::Do(Box::new(repair), sentences.join(" "))
}

/// A shard of which nothing is left begins empty.
fn begin_empty(survey: &Survey, data: &DataDir) -> Plan {
    let layout = data.layout();
    let manifest = Some(Manifest::new(survey.shard, layout.shards, layout.id));
    let what = format!("{}. Or go on without its data: the shard begins empty.", OpenError::Gone);
    Plan::Do(Box::new(Repair { manifest, ..Repair::default() }), what)
}

/// What is to be done about the manifest, if anything.
fn manifest_sentence(state: &ManifestState) -> Option<String> {
    match state {
        ManifestState::OneCopy(manifest) => Some(format!(
            "one copy of the manifest is damaged. Write it again from the other, of generation {}.",
            manifest.generation
        )),
        ManifestState::Outdated(manifest) => Some(format!(
            "one copy of the manifest is damaged, and the other names files that are gone. {}",
            as_files_show(manifest)
        )),
        ManifestState::Rebuilt(manifest) => Some(format!(
            "both copies of the manifest are damaged or missing. {}",
            as_files_show(manifest)
        )),
        ManifestState::Whole(_) | ManifestState::Lost(_) | ManifestState::Nothing => None,
    }
}

fn as_files_show(manifest: &Manifest) -> String {
    format!(
        "Write them again as the files show: {}. Whether the log once went on behind its last record, they \
         do not tell.",
        begins(manifest)
    )
}

/// Cuts the log in a file that is damaged at `at`.
fn cut(survey: &Survey, seen: &FileSeen, at: ByteOffset, manifest: &Manifest) -> (Repair, String) {
    let mut set_aside = behind(survey);
    let next = LogIndex(seen.first_index.0 + seen.records);
    // A file with nothing left in it, or with nothing that is not in the snapshot, is no part of the log.
    let is_needed = seen.records > 0 && next >= manifest.first_index;
    let cut = is_needed.then_some((seen.file, at));
    if !is_needed {
        set_aside.insert(0, seen.file);
    }
    let fault = survey.fault.as_ref().map(ToString::to_string).unwrap_or_default();
    (Repair { set_aside, cut, ..Repair::default() }, end_before(survey, &fault))
}

/// Lets the log go on behind what the snapshot has seen, though records before that are missing.
fn catch_up(
    survey: &Survey,
    data: &DataDir,
    manifest: &Manifest,
    last: LogIndex,
    of_manifest: Option<String>,
) -> Plan {
    let first_index = LogIndex(survey.last_index.0 + 1);
    let is_read_log =
        |seen: &&FileSeen| seen.part == Part::Read && seen.file.kind == SegmentKind::Log;
    let newest = survey.files.iter().rfind(is_read_log);
    let previous = newest.map(|seen| {
        let end = seen.end.0.next_multiple_of(BLOCK_BYTES as u64).min(seen.file_bytes);
        (seen.file.id, ByteOffset(end))
    });
    let used = survey.files.iter().map(|seen| seen.file.id.0).max().unwrap_or(0);
    let id = SegmentId(used.max(manifest.first_segment.0) + 1);
    let header = SegmentHeader {
        file: SegmentFile::log(id),
        shard: survey.shard,
        first_index,
        previous,
        previous_term: manifest.base_term,
        created: now(),
        directory: data.layout().id,
    };
    let fill = Some(Fill { header, last, payload: &NO_CHANGES });
    // Where no segment is left the manifest has to name this one.
    let manifest = match previous {
        None => Some(Manifest { first_segment: id, clean_index: None, ..*manifest }),
        Some(_) if of_manifest.is_some() || manifest.clean_index.is_some() => {
            Some(Manifest { clean_index: None, ..*manifest })
        }
        Some(_) => None,
    };
    let fault = survey.fault.as_ref().map(ToString::to_string).unwrap_or_default();
    let what = format!(
        "{fault}. The records {} to {} are in no file. Keep what the snapshot has seen of them and go without \
         the rest: keys may be as they were at different moments. Empty records take their places, so that \
         the log goes on after record {}.",
        first_index.0, last.0, last.0
    );
    let sentences: Vec<String> = of_manifest.into_iter().chain([what]).collect();
    let repair = Box::new(Repair { manifest, fill, ..Repair::default() });
    Plan::Do(repair, sentences.join(" "))
}

fn now() -> UnixMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMs(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

/// The files that come after the damage.
fn behind(survey: &Survey) -> Vec<SegmentFile> {
    let seen = survey.files.iter().filter(|seen| seen.part == Part::Behind);
    seen.map(|seen| seen.file).collect()
}

/// That the log is to end before the damage, and what that loses.
fn end_before(survey: &Survey, fault: impl std::fmt::Display) -> String {
    let lost = survey.behind();
    let last = survey.last_index.0;
    let losing = match lost.records {
        0 => "no later record can be read".to_owned(),
        records => format!(
            "{} that can still be read, with {}, {} lost by that",
            count(records, "later record", "later records"),
            count(lost.changes, "change", "changes"),
            if records == 1 { "is" } else { "are" }
        ),
    };
    let mixed = match survey.snapshot_end.is_some_and(|end| end.last_index > survey.last_index) {
        true => {
            " The snapshot was still being taken then: keys may be as they were at different moments, and \
             empty records take the places of those that it has seen."
        }
        false => "",
    };
    let end = match last {
        0 => "before its first record: the shard will be empty".to_owned(),
        last => format!("after record {last}, the last good one"),
    };
    format!("{fault}. Cut the log {end}; {losing}. What is cut away is kept beside.{mixed}")
}

fn snapshot_is_lost(survey: &Survey, data: &DataDir, fault: &OpenError) -> Plan {
    Plan::Impossible(format!(
        "{fault}. A snapshot holds the data from before the log, which is nowhere else: it can't be \
         repaired. {}",
        what_is_left(survey, data)
    ))
}

/// What an operator can do where a repair is impossible.
fn what_is_left(survey: &Survey, data: &DataDir) -> String {
    let (dir, folder, shard) = (data.path().display(), survey.folder.display(), survey.shard.0);
    format!(
        "Restore '{folder}' from a copy. 'ringmain log dump {dir} --shard {shard}' prints what can still \
         be read. To go on without this shard's data, move '{folder}' away: another 'ringmain log repair \
         {dir} --shard {shard} --yes' has the shard begin empty then."
    )
}
