//! A disk that keeps what was synced, and of the rest what it likes.

use std::collections::BTreeMap;
use std::io;

use super::Dice;
use crate::log::{Directory, DiskError, HARD_STATE_NAME};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    /// What a crash leaves for sure.
    durable: Vec<u8>,
    /// What readers see.
    now: Vec<u8>,
    /// Writes that no sync has covered.
    pending: Vec<(usize, Vec<u8>)>,
    /// What sectors held before they were last written over.
    before: BTreeMap<usize, Vec<u8>>,
}

impl File {
    fn put(bytes: &mut Vec<u8>, offset: usize, piece: &[u8]) {
        let end = offset + piece.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset..end].copy_from_slice(piece);
    }

    /// Remembers what a write is about to write over.
    fn remember(&mut self, offset: usize, piece: &[u8]) {
        for start in (offset..offset + piece.len()).step_by(SECTOR_BYTES) {
            let old = self.now.get(start..start + SECTOR_BYTES);
            if let Some(old) = old.filter(|old| old.iter().any(|byte| *byte != 0)) {
                self.before.insert(start, old.to_vec());
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Entry {
    Added(String, usize),
    Renamed(String, String),
    Removed(String),
}

/// The disk of one shard's folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names that no sync of the folder has covered.
    pending: Vec<Entry>,
    /// Whether there is no room for new files.
    pub(super) is_full: bool,
    /// Fails the next write, or sync, that comes.
    pub(super) fail_next: bool,
    /// Whether no hard state can be synced.
    pub(super) fails_hard_states: bool,
    /// Steps of a job until its process ends, if it does.
    pub(super) steps_left: Option<usize>,
    /// Whether a sync has failed: readers see what is not on the disk and never will be.
    has_lost: bool,
}

impl Disk {
    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        let number = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.files[*number])
    }

    /// A step of a job.
    fn walk(&mut self) -> io::Result<()> {
        match &mut self.steps_left {
            Some(0) => return Err(io::Error::from_raw_os_error(libc::EINTR)),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn fails(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.fail_next) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }

    /// A write of the log's, past the caches.
    pub(super) fn write_direct(
        &mut self,
        name: &str,
        offset: u64,
        bytes: &[u8],
        sync: bool,
    ) -> Result<(), DiskError> {
        assert!(bytes.len().is_multiple_of(SECTOR_BYTES) && offset.is_multiple_of(512));
        let result = self.fails().and_then(|()| {
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            let is_full = self.is_full;
            let file = self.file(name)?;
            if is_full && offset + bytes.len() > file.now.len() {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            file.remember(offset, bytes);
            File::put(&mut file.now, offset, bytes);
            if sync {
                // It vouches for itself only.
                File::put(&mut file.durable, offset, bytes);
            } else {
                file.pending.push((offset, bytes.to_vec()));
            }
            Ok(())
        });
        result.map_err(|error| DiskError { errno: error.raw_os_error().unwrap_or(libc::EIO) })
    }

    /// The process is killed: readers see what it has written, synced or not. Where a sync has failed the
    /// power does too, since nothing that a process does makes up for that.
    pub(super) fn kill(&mut self, dice: &mut Dice) {
        if self.has_lost {
            return self.crash(dice);
        }
        self.mend();
    }

    /// An operator has seen to it.
    pub(super) fn mend(&mut self) {
        (self.is_full, self.fail_next, self.fails_hard_states) = (false, false, false);
    }

    /// The power fails: of what was not synced, some stays, in pieces.
    pub(super) fn crash(&mut self, dice: &mut Dice) {
        let kept = dice.below(self.pending.len() + 1);
        for entry in self.pending.drain(..).take(kept) {
            apply(&mut self.durable_names, entry);
        }
        for file in &mut self.files {
            let mut pending = std::mem::take(&mut file.pending);
            // Later writes may be there and earlier ones not.
            while !pending.is_empty() {
                let (offset, bytes) = pending.swap_remove(dice.below(pending.len()));
                match dice.below(4) {
                    0 => {}
                    1 => {
                        for (number, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                            if dice.below(2) == 0 {
                                File::put(
                                    &mut file.durable,
                                    offset + number * SECTOR_BYTES,
                                    sector,
                                );
                            }
                        }
                    }
                    _ => File::put(&mut file.durable, offset, &bytes),
                }
            }
            file.now = file.durable.clone();
        }
        self.names = self.durable_names.clone();
        self.mend();
        self.has_lost = false;
    }

    /// Flips a bit of a file of this kind, if there is one long enough; answers its name.
    pub(super) fn flip_bit(&mut self, kind: &str, dice: &mut Dice) -> Option<String> {
        let names: Vec<String> =
            self.names.keys().filter(|name| name.starts_with(kind)).cloned().collect();
        let name = names.get(dice.below(names.len().max(1)))?.clone();
        let file = self.file(&name).ok()?;
        let used = file.now.iter().rposition(|byte| *byte != 0)?;
        let at = dice.below(used + 1);
        file.now[at] ^= 1 << dice.below(8);
        file.durable = file.now.clone();
        Some(name)
    }

    /// Flips a bit of a segment's header and one of its first record, if there is a segment; answers its name.
    pub(super) fn flip_head(&mut self, record_at: usize, dice: &mut Dice) -> Option<String> {
        let begun = self.segments().filter(|(_, bytes)| bytes.get(record_at) != Some(&0));
        let names: Vec<String> = begun.map(|(name, _)| name.clone()).collect();
        let name = names.get(dice.below(names.len().max(1)))?.clone();
        let file = self.file(&name).ok()?;
        for at in [dice.below(80), record_at + dice.below(48)] {
            *file.now.get_mut(at)? ^= 1 << dice.below(8);
        }
        file.durable = file.now.clone();
        Some(name)
    }

    /// Gives a sector of a segment what it held before it was last written, if there is such a one; answers
    /// the segment's name.
    pub(super) fn serve_stale(&mut self, dice: &mut Dice) -> Option<String> {
        let all: Vec<(String, usize)> = self
            .segments()
            .flat_map(|(name, _)| {
                let file = &self.files[self.names[name]];
                file.before.keys().map(|start| (name.clone(), *start))
            })
            .collect();
        let (name, start) = all.get(dice.below(all.len().max(1)))?.clone();
        let file = self.file(&name).ok()?;
        let stale = file.before.get(&start)?.clone();
        File::put(&mut file.now, start, &stale);
        file.durable = file.now.clone();
        Some(name)
    }

    /// Writes some sectors of one segment over others, of the same or of another; answers the name of the
    /// segment that is hit.
    pub(super) fn misdirect(&mut self, dice: &mut Dice) -> Option<String> {
        let names: Vec<String> = self.segments().map(|(name, _)| name.clone()).collect();
        let from = names.get(dice.below(names.len().max(1)))?;
        let to = names.get(dice.below(names.len()))?.clone();
        let sectors = 1 + dice.below(8);
        let start = |file: &File, dice: &mut Dice| {
            let used = file.now.iter().rposition(|byte| *byte != 0)? / SECTOR_BYTES + 1;
            Some(dice.below(used) * SECTOR_BYTES)
        };
        let source = self.file(from).ok()?;
        let at = start(source, dice)?;
        let end = source.now.len().min(at + sectors * SECTOR_BYTES);
        let bytes = source.now[at..end].to_vec();
        let target = self.file(&to).ok()?;
        let at = start(target, dice)?;
        let length = bytes.len().min(target.now.len() - at);
        File::put(&mut target.now, at, &bytes[..length]);
        target.durable = target.now.clone();
        Some(to)
    }

    /// All bytes of the log's segments.
    pub(super) fn segments(&self) -> impl Iterator<Item = (&String, &[u8])> {
        let segments = self.names.iter().filter(|(name, _)| name.starts_with("log-"));
        segments.map(|(name, number)| (name, &self.files[*number].now[..]))
    }
}

fn apply(names: &mut BTreeMap<String, usize>, entry: Entry) {
    match entry {
        Entry::Added(name, number) => {
            names.insert(name, number);
        }
        Entry::Renamed(from, to) => {
            if let Some(number) = names.remove(&from) {
                names.insert(to, number);
            }
        }
        Entry::Removed(name) => {
            names.remove(&name);
        }
    }
}

impl Directory for Disk {
    type Content = Vec<u8>;

    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.names.keys().cloned().collect())
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.file(name)?.now.clone())
    }

    fn create(&mut self, name: &str, bytes: u64, _: bool) -> io::Result<()> {
        self.walk()?;
        if self.is_full {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        if !self.names.contains_key(name) {
            self.files.push(File::default());
            let entry = Entry::Added(name.to_owned(), self.files.len() - 1);
            self.pending.push(entry.clone());
            apply(&mut self.names, entry);
        }
        let file = self.file(name)?;
        // Which bytes are allocated is not lost here: what is read from them is zeros either way.
        file.now.resize(bytes.max(file.now.len()), 0);
        file.durable.resize(file.now.len(), 0);
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.walk()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let file = self.file(name)?;
        File::put(&mut file.now, offset, bytes);
        file.pending.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.walk()?;
        let is_hard_state = name.starts_with(HARD_STATE_NAME);
        let failed = match self.fails_hard_states && is_hard_state {
            true => Err(io::Error::from_raw_os_error(libc::EIO)),
            false => self.fails(),
        };
        self.has_lost |= failed.is_err();
        let file = self.file(name)?;
        let pending = std::mem::take(&mut file.pending);
        // After a failure nobody knows what is there: here nothing is.
        failed?;
        for (offset, bytes) in pending {
            File::put(&mut file.durable, offset, &bytes);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.walk()?;
        self.file(from)?;
        let entry = Entry::Renamed(from.to_owned(), to.to_owned());
        self.pending.push(entry.clone());
        apply(&mut self.names, entry);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.walk()?;
        self.file(name)?;
        let entry = Entry::Removed(name.to_owned());
        self.pending.push(entry.clone());
        apply(&mut self.names, entry);
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.walk()?;
        for entry in self.pending.drain(..) {
            apply(&mut self.durable_names, entry);
        }
        Ok(())
    }
}
