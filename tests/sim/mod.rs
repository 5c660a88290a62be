//! One shard and its log, driven by one seed (of several nodes: `cluster`): no threads, no real time, no real disk.
//!
//! A shard changes its keys, of all types; its log's effects are performed on a fake disk in any order, some of them late;
//! the power fails at any moment, or the process alone is killed, in the midst of a job too; the disk runs
//! full, fails, stalls for seconds, and loses, tears and reorders what was not synced. At the end it may flip
//! bits, serve a block as it was before it was written, or write one where another is. After each start the
//! keyspace must be what it was after some record: not before the last one that was acknowledged as synced,
//! not before what the log said of how far behind it was, and to the byte, versions included.
//!
//! ```sh
//! cargo test --lib sim                                  # a few hundred seeds
//! RINGMAIN_SIM_SEEDS=5000 cargo test --lib sim          # more
//! RINGMAIN_SIM_SEED=17 cargo test --lib sim             # one of them
//! ```

mod begins;
mod cluster;
mod disk;
mod values;

use std::collections::BTreeMap;

use crate::cache::EvictionPolicy;
use crate::cache::{Access, Expiry, KeyspaceOptions, SaveCursor, Saved, SavedEntries, SavedWhat};
use crate::collection::Thresholds;
use crate::log::{
    AlignedBuffer, BLOCK_BYTES, DiskError, Effect, Job, Manifest, Record, RecordSeed, Recovery,
    SEGMENT_HEADER_BYTES, SegmentFile, Stream, StreamOptions, create,
};
use crate::plant::{Fault, plant};
use crate::shard::{Room, Shard, SnapshotPolicy};
use crate::types::{ByteOffset, DbIndex, Key, LogIndex, MonoUs, Now, ShardId, UnixMs, key_slot};
use disk::Disk;

const ID: [u8; 16] = *b"a data directory";
const SHARD: ShardId = ShardId(3);
const SHARDS: u16 = 7;
/// Seeds of every test run.
const SEEDS: u64 = 300;
/// Crashes of one seed.
const LIVES: usize = 8;
const KEYS: usize = 24;
/// Segments that are made ready, at most, until one is written: the usual one, one for a long record, one more
/// where changes came in heaps meanwhile, and a snapshot's.
const PREPARED_MAX: usize = 4;

/// Numbers that follow from a seed (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// What a keyspace holds: value, expiry and version by database and key. What is known of clients' writes is in a database
/// of its own.
type Content = BTreeMap<(u8, Vec<u8>), (Vec<u8>, Option<UnixMs>, u64)>;

fn content(shard: &Shard) -> Content {
    let (mut content, mut saved) = (Content::new(), Saved::default());
    let mut at = SaveCursor::default();
    while !at.is_done() {
        // At this time nothing has expired.
        at = shard.keyspace().save_entries(at, 1 << 20, UnixMs(0), &mut saved);
    }
    let bytes: Vec<u8> = saved.bytes().expect("no value is long").to_vec();
    for entry in SavedEntries::of(&bytes) {
        let entry = entry.expect("what was just written");
        if entry.what == SavedWhat::More {
            continue;
        }
        if !entry.what.has_slot() {
            let value = (entry.value.to_vec(), None, entry.version);
            content.insert((u8::MAX, entry.key.to_vec()), value);
            continue;
        }
        let held = shard.keyspace().peek(Key::new(entry.db, entry.key), UnixMs(0));
        let held = held.expect("it was just saved").canonical();
        let value = (held, entry.expires_at, entry.version);
        content.insert((entry.db.0, entry.key.to_vec()), value);
    }
    content
}

/// The entries that the one has and the other has not, in words.
fn beyond(one: &Content, other: &Content) -> String {
    let missing = one.iter().filter(|(key, value)| other.get(*key) != Some(value));
    let words = missing.map(|((db, key), (value, at, version))| {
        let (key, length) = (key.escape_ascii(), value.len());
        format!("{db}:{key} ({length} bytes, until {at:?}, version {version})")
    });
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

/// What is under way on the disk.
#[derive(Debug)]
enum UnderWay {
    Write { file: SegmentFile, offset: ByteOffset, buffer: AlignedBuffer, sync: bool },
    Sync(SegmentFile),
    Job(Job),
}

/// One run of one seed.
struct Run {
    dice: Dice,
    disk: Disk,
    shard: Shard,
    now: Now,
    under_way: Vec<UnderWay>,
    /// What the keyspace held after each change, the record that holds the change, and when it was made.
    history: Vec<(LogIndex, MonoUs, Content)>,
    /// Since when changes were not on disk when the last life ended, as the log said.
    behind_since: MonoUs,
    /// The last record that the last start has found.
    found: LogIndex,
    /// Until when the disk does nothing.
    stalled_until: MonoUs,
    /// Records whose writers wait for them to be on disk.
    waiting: Vec<LogIndex>,
    /// The last record that a writer was told is on disk.
    acknowledged: LogIndex,
    trace: u64,
    /// Segments made ready since the last write, without the disk being full.
    prepared: usize,
    options: StreamOptions,
    thresholds: Thresholds,
    has_faults: bool,
}

type Outcome<T = ()> = Result<T, String>;

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let segment_bytes = 16_384 << dice.below(3);
        let align_bytes = if dice.one_in(4) { 4096 } else { 512 };
        Self {
            options: StreamOptions { segment_bytes, align_bytes, fill: dice.one_in(2) },
            thresholds: values::thresholds(&mut dice),
            has_faults: dice.one_in(3),
            dice,
            disk: Disk::default(),
            shard: new_shard(SHARD, seed),
            now: at(1_000_000),
            under_way: Vec::new(),
            history: vec![(LogIndex(0), MonoUs(0), Content::new())],
            behind_since: MonoUs(0),
            found: LogIndex(0),
            stalled_until: MonoUs(0),
            waiting: Vec::new(),
            acknowledged: LogIndex(0),
            trace: seed,
            prepared: 0,
        }
    }

    fn note(&mut self, what: &str) {
        for byte in what.bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Reads what the disk has, and goes on from there.
    fn open(&mut self) -> Outcome<Result<(), String>> {
        self.shard = new_shard(SHARD, self.dice.next());
        self.shard.keyspace_mut().set_thresholds(self.thresholds);
        // What many a change is one record by itself with.
        self.shard.keyspace_mut().set_changes_bytes_max(256 * 1024);
        let mut recovery = match Recovery::open(&mut self.disk, SHARD, SHARDS, ID) {
            Ok(recovery) => recovery,
            Err(error) => return Ok(Err(error.to_string())),
        };
        loop {
            match recovery.step(|item| self.shard.recover(item)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        let resume = recovery.finish();
        let last = resume.last_index;
        self.found = last;
        self.note(&format!("opened at {}", last.0));
        if last < self.acknowledged {
            return Err(format!(
                "record {} was acknowledged, {} is the last",
                self.acknowledged.0, last.0
            ));
        }
        // What has expired may be there or not: nobody sees it.
        let now = self.now.unix;
        let visible = |content: &Content| -> Content {
            let is_visible = |at: &Option<UnixMs>| at.is_none_or(|at| at > now);
            let all = content.iter().filter(|(_, (_, at, _))| is_visible(at));
            all.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let found = visible(&content(&self.shard));
        let lost = self.history.iter().find(|(index, ..)| *index > last);
        if let Some((index, made, _)) = lost.filter(|(_, made, _)| *made < self.behind_since) {
            return Err(format!(
                "record {} of {} us is lost, though all before {} us was said to be on disk",
                index.0, made.0, self.behind_since.0
            ));
        }
        let expected = self.history.iter().rev().find(|(index, ..)| *index <= last);
        let Some((index, _, expected)) = expected else { return Err("no such history".to_owned()) };
        let expected = &visible(expected);
        if found != *expected {
            return Err(format!(
                "after record {} (change of {}) there was {} and there is {}",
                last.0,
                index.0,
                beyond(expected, &found),
                beyond(&found, expected),
            ));
        }
        // What came later never was.
        self.history.retain(|(index, ..)| *index <= last);
        self.shard.keyspace_mut().raise_sequence(self.now.first_sequence());
        self.shard.start_log(Stream::new(resume, self.options), false);
        self.shard.set_snapshot_policy(SnapshotPolicy {
            log_bytes_max: self.options.segment_bytes * 3,
            growth_percent: 0,
            growth_bytes_min: 0,
        });
        self.prepared = 0;
        self.waiting.clear();
        // Somebody who has read what was found asks whether it is on disk.
        self.waiting.push(last);
        Ok(Ok(()))
    }

    // --- changes -----------------------------------------------------------------------------

    fn change(&mut self) {
        let state = self.shard.log_state().expect("it has a log");
        if state.refusal.is_some() || self.shard.is_behind() {
            return;
        }
        let limit = if self.dice.one_in(50) { 20_000 } else { usize::MAX };
        let policy = EvictionPolicy::AllKeysLru;
        self.shard.set_room(Room { limit_bytes: limit.max(200_000), policy });
        self.shard.keyspace_mut().cut_changes();
        let before = (self.shard.keyspace().changes_len(), self.shard.keyspace().sequence());
        self.change_once();
        let changed =
            before != (self.shard.keyspace().changes_len(), self.shard.keyspace().sequence());
        if changed {
            let index = self.shard.log_state().expect("it has a log").last;
            self.history.push((index, self.now.mono, content(&self.shard)));
            // As at the end of the turn.
            self.shard.wants_log_step(self.now);
            if self.dice.one_in(3) {
                self.waiting.extend(self.shard.want_sync());
            }
        }
    }

    fn change_once(&mut self) {
        let now = self.now.unix;
        let name = format!("{{t}}key{}", self.dice.below(KEYS));
        let db = DbIndex(u8::try_from(self.dice.below(3)).expect("small"));
        let key = Key { db, slot: key_slot(b"{t}"), bytes: name.as_bytes() };
        let later = UnixMs(now.0 + 1 + self.dice.below(5_000) as u64);
        let length = match self.dice.below(40) {
            0 => self.dice.below(60_000),
            1..5 => self.dice.below(4_000),
            _ => self.dice.below(100),
        };
        let fill = u8::try_from(self.dice.below(256)).expect("a byte");
        let keyspace = self.shard.keyspace_mut();
        match self.dice.below(60) {
            40..56 => values::change(keyspace, key, now, &mut self.dice),
            56..60 => values::transfer(keyspace, key, now, &mut self.dice),
            0..16 => {
                let expiry = match self.dice.below(4) {
                    0 => Expiry::At(later),
                    1 => Expiry::Keep,
                    _ => Expiry::Clear,
                };
                keyspace.set(key, &vec![fill; length], expiry, now);
            }
            16..22 => {
                let old = keyspace.get(key, now, Access::Peek).map(|entry| entry.string());
                let Ok(old) = old.transpose().map(|value| value.map_or(0, <[u8]>::len)) else {
                    return;
                };
                let start = self.dice.below(old + 1);
                let end = start + length.min(3_000);
                keyspace.edit(key, old.max(end), start..end, now, |value| {
                    value[start..end].fill(fill);
                });
            }
            22..27 => {
                keyspace.remove(key, now);
            }
            27..30 => {
                let at = [None, Some(later), Some(UnixMs(now.0 - 1))][self.dice.below(3)];
                keyspace.set_expiry(key, at, now);
            }
            30..34 => {
                // A look removes what has expired.
                keyspace.get(key, now, Access::Read);
            }
            34..36 => {
                keyspace.expire_due(now, 10);
            }
            36 => {
                keyspace.evict(EvictionPolicy::AllKeysLru, now);
            }
            37 if self.dice.one_in(8) => keyspace.flush(db),
            38 if self.dice.one_in(8) => keyspace.swap_databases(db, DbIndex(0), now),
            _ => {
                keyspace.maintain();
            }
        }
    }

    // --- the disk ----------------------------------------------------------------------------

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.note(format!("{effect:?}").split("memory").next().unwrap_or_default());
            match effect {
                Effect::Write { file, offset, buffer, sync } => {
                    self.prepared = 0;
                    self.under_way.push(UnderWay::Write { file, offset, buffer, sync });
                }
                Effect::Sync(file) => self.under_way.push(UnderWay::Sync(file)),
                Effect::Job(job) => self.under_way.push(UnderWay::Job(job)),
                Effect::Close(_) => {}
                Effect::SaveHardState(_) | Effect::StartOver(..) | Effect::ReadAgain(_) => {
                    unreachable!("this shard is not replicated")
                }
            }
        }
    }

    /// Does one of the things that are under way, and tells the shard.
    fn perform_one(&mut self) {
        if self.under_way.is_empty() || self.now.mono < self.stalled_until {
            return;
        }
        let index = self.dice.below(self.under_way.len());
        let it = self.under_way.swap_remove(index);
        let is_segment = matches!(it, UnderWay::Job(Job::Prepare { .. }));
        let (effects, is_done) = perform(it, &mut self.disk, &mut self.shard, self.now);
        self.prepared += usize::from(is_segment && is_done);
        self.take(effects);
    }

    /// The power fails, or the process alone is killed: some of what is under way is done, or part of it.
    fn crash(&mut self) {
        let state = self.shard.log_state().expect("it has a log");
        let since = state.unsynced_since.unwrap_or(MonoUs(u64::MAX));
        // What was found at the start and is not on disk yet is as old as it was.
        let is_settled = state.durable >= self.found;
        self.behind_since = if is_settled { since } else { since.min(self.behind_since) };
        self.stalled_until = MonoUs(0);
        leave_half_done(std::mem::take(&mut self.under_way), &mut self.disk, &mut self.dice);
        if self.dice.one_in(3) {
            self.disk.kill(&mut self.dice);
            self.note("kill");
        } else {
            self.disk.crash(&mut self.dice);
            self.note("crash");
        }
    }

    fn step(&mut self) {
        let mut effects = Vec::new();
        if self.dice.one_in(4) {
            self.shard.check_log_size();
        }
        if self.dice.one_in(200) {
            self.shard.ask_for_snapshot();
        }
        self.shard.step_log(self.now, &mut effects);
        self.take(effects);
        let durable = self.shard.log_state().expect("it has a log").durable;
        let acknowledged = self.waiting.iter().filter(|index| **index <= durable).max();
        self.acknowledged = self.acknowledged.max(acknowledged.copied().unwrap_or_default());
        self.waiting.retain(|index| *index > durable);
    }

    fn live(&mut self) -> Outcome {
        // Now and then there is no room from the start.
        self.disk.is_full = self.has_faults && self.dice.one_in(3);
        // Some hardly begin.
        let turns = if self.dice.one_in(3) { 6 } else { 600 };
        for _ in 0..self.dice.below(turns) {
            match self.dice.below(10) {
                0..4 => self.change(),
                4..6 => self.step(),
                6..9 => self.perform_one(),
                _ => {
                    let us = if self.dice.one_in(20) { 2_000_000 } else { self.dice.below(20_000) };
                    self.now = at(self.now.mono.0 + us as u64);
                }
            }
            if self.prepared > PREPARED_MAX {
                return Err("segments are made and not written".to_owned());
            }
            if self.dice.one_in(500) {
                self.stalled_until = MonoUs(self.now.mono.0 + self.dice.below(4_000_000) as u64);
            }
            if self.has_faults && self.dice.one_in(300) {
                match self.dice.below(3) {
                    0 => self.disk.is_full = !self.disk.is_full,
                    1 => self.disk.fail_next = self.dice.one_in(4),
                    _ => self.disk.is_full = false,
                }
            }
        }
        // Now and then the server stops in good order.
        if self.dice.one_in(5) { self.stop() } else { Ok(()) }
    }

    /// Once the disk has room all writes get there, and nothing is missing afterwards.
    fn stop(&mut self) -> Outcome {
        self.disk.is_full = false;
        for _ in 0..4_000 {
            let mut effects = Vec::new();
            let is_closed = self.shard.close_log(self.now, &mut effects);
            self.take(effects);
            let state = self.shard.log_state().expect("it has a log");
            if is_closed {
                if state.refusal == Some(crate::log::Refusal::Stopping) {
                    self.acknowledged = self.acknowledged.max(state.last);
                }
                self.note("stopped");
                return Ok(());
            }
            self.perform_one();
            self.now = at(self.now.mono.0 + 10_000);
        }
        Err("the log does not come to rest".to_owned())
    }

    fn go(&mut self) -> Outcome<u64> {
        let made = create(&mut self.disk, &Manifest::new(SHARD, SHARDS, ID));
        made.map_err(|error| format!("a new log can't be made: {error}"))?;
        self.open()?.map_err(|error| format!("a new log can't be opened: {error}"))?;
        for _ in 0..LIVES {
            self.live()?;
            self.crash();
            if self.dice.one_in(12) {
                return self.damage().map(|()| self.trace);
            }
            self.open()?.map_err(|error| format!("refused after a crash: {error}"))?;
        }
        Ok(self.trace)
    }

    /// A bit of what is on disk is another, or two at a segment's head; or a block is what it was before it was
    /// written, or that of another place: that is said, or it does not matter.
    fn damage(&mut self) -> Outcome {
        // What nobody was promised to be on disk may go with the damage.
        self.acknowledged = self.acknowledged.min(self.promised());
        self.behind_since = MonoUs(0);
        let damaged = match self.dice.below(8) {
            0 => self.disk.flip_bit("snapshot-", &mut self.dice),
            1 => self.disk.flip_head(SEGMENT_HEADER_BYTES, &mut self.dice),
            2 | 3 => self.disk.serve_stale(&mut self.dice),
            4 | 5 => {
                let hit = self.disk.misdirect(&mut self.dice);
                // Several blocks may take a promise with what it was about.
                self.acknowledged = self.acknowledged.min(self.promised());
                hit
            }
            _ => self.disk.flip_bit("log-", &mut self.dice),
        };
        let Some(name) = damaged else { return Ok(()) };
        match self.open() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.contains(".seg") || error.contains("'manifest'") => Ok(()),
            Ok(Err(error)) => Err(format!("damage of {name} is told without a name: {error}")),
            Err(error) => Err(format!("damage of {name} is not seen: {error}")),
        }
    }

    /// The last record that another one says is on disk.
    fn promised(&self) -> LogIndex {
        let mut promised = LogIndex(0);
        for (name, bytes) in self.disk.segments() {
            let Some(file) = SegmentFile::parse(name) else { continue };
            for at in (0..bytes.len()).step_by(BLOCK_BYTES) {
                if let Ok(record) = Record::decode(&bytes[at..], RecordSeed::of(&ID))
                    && record.header.segment == file.id
                {
                    promised = promised.max(record.header.synced);
                }
            }
        }
        promised
    }
}

/// Does one of the things that are under way, and tells the shard; answers what the shard wants done then, and
/// whether the disk did it.
fn perform(it: UnderWay, disk: &mut Disk, shard: &mut Shard, now: Now) -> (Vec<Effect>, bool) {
    let mut effects = Vec::new();
    let result = match it {
        UnderWay::Write { file, offset, buffer, sync } => {
            let result = disk.write_direct(&file.name(), offset.0, buffer.bytes(), sync);
            shard.log_written(file, buffer, result, now, &mut effects);
            result
        }
        UnderWay::Sync(file) => {
            let result = errno(crate::log::Directory::sync(disk, &file.name()));
            shard.log_synced(file, result, &mut effects);
            result
        }
        UnderWay::Job(job) => {
            let result = errno(job.perform(disk));
            match job {
                Job::SaveHardState(_) => shard.hard_state_saved(result.is_ok()),
                Job::Prepare { .. } | Job::Settle(_) | Job::SaveManifest(_) | Job::Remove(_) => {
                    shard.log_job_done(result, now, &mut effects);
                }
            }
            result
        }
    };
    (effects, result.is_ok())
}

/// The process ends: some of what is under way is done, or part of it.
fn leave_half_done(mut under_way: Vec<UnderWay>, disk: &mut Disk, dice: &mut Dice) {
    if !dice.one_in(2) {
        return;
    }
    let cut = dice.below(under_way.len() + 1);
    for _ in 0..cut {
        match under_way.pop() {
            // It was on its way: some of it may be there.
            Some(UnderWay::Write { file, offset, buffer, .. }) => {
                let _ = disk.write_direct(&file.name(), offset.0, buffer.bytes(), false);
            }
            Some(UnderWay::Job(job)) => {
                disk.steps_left = Some(dice.below(4));
                let _ = job.perform(disk);
                disk.steps_left = None;
            }
            Some(UnderWay::Sync(_)) | None => {}
        }
    }
}

fn errno(result: std::io::Result<()>) -> Result<(), DiskError> {
    result.map_err(|error| DiskError { errno: error.raw_os_error().unwrap_or(libc::EIO) })
}

fn at(us: u64) -> Now {
    Now::new(std::time::Duration::from_micros(1_700_000_000_000_000 + us), MonoUs(us))
}

fn new_shard(id: ShardId, seed: u64) -> Shard {
    let slot = key_slot(b"{t}").0;
    Shard::new(id, KeyspaceOptions { slots: slot..slot + 1, seed, sequence: 0 })
}

fn run(seed: u64) -> Outcome<u64> {
    Run::new(seed).go()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_else_appears() {
    if let Some(seed) = number("RINGMAIN_SIM_SEED") {
        run(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        return;
    }
    let seeds = number("RINGMAIN_SIM_SEEDS").unwrap_or(SEEDS);
    for seed in 0..seeds {
        let again = format!("RINGMAIN_SIM_SEED={seed} cargo test --lib sim");
        match std::panic::catch_unwind(|| run(seed)) {
            Ok(Ok(_)) => {}
            Ok(Err(what)) => panic!("{what}\n{again}"),
            Err(panicked) => {
                eprintln!("{again}");
                std::panic::resume_unwind(panicked);
            }
        }
    }
}

#[test]
fn a_seed_tells_all() {
    for seed in 1000..1010 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

fn is_caught(fault: Fault) {
    plant(Some(fault));
    let caught = (0..SEEDS).any(|seed| {
        let result = std::panic::catch_unwind(|| run(seed));
        !matches!(result, Ok(Ok(_)))
    });
    plant(None);
    assert!(caught, "{fault:?} goes unseen");
}

#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    is_caught(Fault::AcknowledgeBeforeSync);
}

#[test]
fn an_unchecked_checksum_is_caught() {
    is_caught(Fault::SkipChecksum);
}

#[test]
fn a_forgotten_sync_of_the_folder_is_caught() {
    is_caught(Fault::ForgetDirectorySync);
}

#[test]
fn damage_that_is_cut_away_is_caught() {
    is_caught(Fault::CutDamage);
}

#[test]
fn a_snapshot_without_its_log_is_caught() {
    is_caught(Fault::SnapshotBeforeLog);
}

#[test]
fn a_start_that_syncs_nothing_is_caught() {
    is_caught(Fault::TrustWhatWasFound);
}

#[test]
fn a_start_that_vouches_for_what_it_reads_is_caught() {
    is_caught(Fault::CountWhatWasFound);
}
