//! The files of all shards' logs: opened for the rings to write to, and a thread that does what takes
//! long or blocks: making, renaming, removing and reading files.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use memmap2::Mmap;

use crate::config::{Config, Durability};
use crate::limits::LOG_BUFFER_BYTES;
use crate::log::{
    ALIGN_BYTES, AlignedBuffer, BLOCK_BYTES, Directory, DirectoryId, DiskError, HardState, Job,
    OpenError, Recovery, Resume, SegmentFile, StreamOptions, start_over,
};
use crate::metrics::lock;
use crate::types::{LogIndex, ShardId, Term};

/// The folder of a shard in a data directory.
pub(crate) fn shard_folder(dir: &Path, shard: ShardId) -> PathBuf {
    dir.join(format!("shard-{:04}", shard.0))
}

/// The folder of one shard.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// A file's content, mapped; empty files are not.
#[derive(Debug)]
pub(crate) struct Content(Option<Mmap>);

impl std::ops::Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Folder {
    /// The folder at `path`, which is there.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The folder of a shard, made if it is not there.
    pub(crate) fn open(dir: &Path, shard: ShardId) -> io::Result<Self> {
        let path = shard_folder(dir, shard);
        if !path.is_dir() {
            fs::create_dir(&path)?;
            File::open(dir)?.sync_all()?;
        }
        Ok(Self { path })
    }
}

impl Directory for Folder {
    type Content = Content;

    fn list(&mut self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name()));
        let names: io::Result<Vec<_>> = names.collect();
        Ok(names?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    fn read(&mut self, name: &str) -> io::Result<Content> {
        let file = File::open(self.path.join(name))?;
        if file.metadata()?.len() == 0 {
            return Ok(Content(None));
        }
        // SAFETY: the directory is locked, so nobody but this process changes its files, and this one
        // writes no file that it is still reading.
        let map = unsafe { Mmap::map(&file)? };
        let _ = map.advise(memmap2::Advice::Sequential);
        Ok(Content(Some(map)))
    }

    fn create(&mut self, name: &str, bytes: u64, fill: bool) -> io::Result<()> {
        let path = self.path.join(name);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        let length = file.metadata()?.len();
        if length > bytes {
            file.set_len(bytes)?;
        } else if bytes > 0 {
            allocate(&file, bytes)?;
        }
        if fill && length < bytes {
            fill_with_zeros(&path, bytes)?;
        }
        Ok(())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.path.join(name))?;
        file.write_all_at(bytes, offset)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path.join(name))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Allocates `bytes` bytes of a file on the disk, so that there is room when they are written.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: a plain system call on a file that is open.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) };
    if result == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // A file system that can't: its writes may find the disk full, and are tried again then.
        error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => file.set_len(bytes),
        error => Err(error),
    }
}

fn fill_with_zeros(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = open_direct(path)?;
    let mut zeros = AlignedBuffer::with_capacity(4 * LOG_BUFFER_BYTES);
    zeros.append(&vec![0; zeros.room()]);
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left >= ALIGN_BYTES {
        let piece = left.min(zeros.len()) / ALIGN_BYTES * ALIGN_BYTES;
        file.write_all(&zeros.bytes()[..piece])?;
        left -= piece;
    }
    Ok(())
}

/// Opens a file to be written past the page cache, where the file system lets one.
fn open_direct(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_DIRECT);
    match options.open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            OpenOptions::new().write(true).open(path)
        }
        result => result,
    }
}

/// What direct writes to files of a folder must be multiples of.
pub(crate) fn direct_align_bytes(folder: &Path) -> usize {
    let probe = folder.join(".align");
    let align = File::create(&probe).ok().and_then(|file| dio_offset_align(&file));
    let _ = fs::remove_file(&probe);
    align.unwrap_or(ALIGN_BYTES).clamp(BLOCK_BYTES, ALIGN_BYTES)
}

/// Bytes that this user may still write to the file system of a folder.
pub(crate) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(folder.as_os_str().as_encoded_bytes())?;
    // SAFETY: all-zero bytes are a value of this plain struct of numbers.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, and the answer goes to a live struct.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn dio_offset_align(file: &File) -> Option<usize> {
    // SAFETY: all-zero bytes are a value of this plain struct of numbers.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    // SAFETY: the path is empty and static, the descriptor open, and the answer goes to a live struct.
    let result = unsafe {
        libc::statx(
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_DIOALIGN,
            &raw mut stat,
        )
    };
    let is_told = result == 0 && stat.stx_mask & libc::STATX_DIOALIGN != 0;
    let align = usize::try_from(stat.stx_dio_offset_align).ok()?;
    (is_told && align > 0).then_some(align)
}

/// The files of all shards that are open, whichever core writes to them.
#[derive(Debug)]
pub(crate) struct LogFiles {
    dir: PathBuf,
    /// The directory's, once it was opened.
    id: Mutex<Option<DirectoryId>>,
    open: Mutex<HashMap<(ShardId, SegmentFile), Arc<File>>>,
    jobs: flume::Sender<KeeperJob>,
    hard_states: flume::Sender<SaveHardState>,
}

/// A hard state to be saved, and whom to tell whether it was.
struct SaveHardState {
    shard: ShardId,
    state: Box<HardState>,
    answer: Box<dyn FnOnce(bool) + Send>,
}

/// A job, and whom to tell what came of it.
pub(crate) struct KeeperJob {
    shard: ShardId,
    job: Job,
    answer: Box<dyn FnOnce(ShardId, Result<(), DiskError>) + Send>,
}

impl LogFiles {
    /// The files in `dir`, and the thread that keeps them.
    pub(crate) fn start(dir: PathBuf) -> io::Result<Self> {
        let (jobs, queue) = flume::unbounded::<KeeperJob>();
        let keeper = dir.clone();
        std::thread::Builder::new().name("log-files".to_owned()).spawn(move || {
            // Ends when nobody can ask any more.
            for KeeperJob { shard, job, answer } in queue {
                let result = Folder::open(&keeper, shard)
                    .and_then(|mut folder| job.perform(&mut folder))
                    .map_err(|error| disk_error(&error));
                answer(shard, result);
            }
        })?;
        let hard_states = start_saver(dir.clone())?;
        Ok(Self { dir, id: Mutex::default(), open: Mutex::default(), jobs, hard_states })
    }

    /// Notes whose directory it is: it has been opened and locked.
    pub(crate) fn set_id(&self, id: DirectoryId) {
        *lock(&self.id) = Some(id);
    }

    /// How streams are to write here.
    pub(crate) fn options(&self, config: &Config) -> StreamOptions {
        StreamOptions {
            segment_bytes: config.segment_bytes,
            align_bytes: direct_align_bytes(&self.dir),
            fill: config.durability == Durability::Sync,
        }
    }

    /// Begins a shard's log anew, behind a record `last`; what its folder holds counts until the new one does.
    pub(crate) fn start_over(
        &self,
        shard: ShardId,
        shard_count: u16,
        (last, term): (LogIndex, Term),
    ) -> io::Result<Resume> {
        let id = lock(&self.id).ok_or_else(|| io::Error::other("the directory is not open"))?;
        // A file that comes may have the name of one that was removed, and must not be taken for it.
        lock(&self.open).retain(|(owner, _), _| *owner != shard);
        let mut folder = Folder::open(&self.dir, shard)?;
        Ok(start_over(&mut folder, shard, shard_count, id)?.behind(last, term))
    }

    /// Opens the log of a shard, to be recovered.
    pub(crate) fn recover(
        &self,
        shard: ShardId,
        shard_count: u16,
    ) -> Result<Recovery<Content>, OpenError> {
        let id = lock(&self.id).unwrap_or_default();
        let mut folder = Folder::at(shard_folder(&self.dir, shard));
        Recovery::open(&mut folder, shard, shard_count, id)
    }

    /// Has a job done; `answer` is called on the keeper's thread.
    pub(crate) fn ask(
        &self,
        shard: ShardId,
        job: Job,
        answer: impl FnOnce(ShardId, Result<(), DiskError>) + Send + 'static,
    ) {
        let job = KeeperJob { shard, job, answer: Box::new(answer) };
        // The keeper ends when this sender does.
        let _ = self.jobs.send(job);
    }

    /// Has a replica's hard state saved. Nothing that takes long is in its way: elections wait for it.
    pub(crate) fn save_hard_state(
        &self,
        shard: ShardId,
        state: Box<HardState>,
        answer: impl FnOnce(bool) + Send + 'static,
    ) {
        let _ = self.hard_states.send(SaveHardState { shard, state, answer: Box::new(answer) });
    }

    /// The hard state of a replica; none where none has been.
    pub(crate) fn read_hard_state(&self, shard: ShardId) -> io::Result<Option<HardState>> {
        HardState::read(&mut Folder::at(shard_folder(&self.dir, shard)))
    }

    /// A file, open to be written to past the page cache.
    pub(crate) fn open(&self, shard: ShardId, file: SegmentFile) -> io::Result<Arc<File>> {
        let mut open = lock(&self.open);
        if let Some(found) = open.get(&(shard, file)) {
            return Ok(found.clone());
        }
        let path = shard_folder(&self.dir, shard).join(file.name());
        let opened = Arc::new(open_direct(&path)?);
        open.insert((shard, file), opened.clone());
        Ok(opened)
    }

    /// Closes a file as soon as no operation on it is under way.
    pub(crate) fn close(&self, shard: ShardId, file: SegmentFile) {
        lock(&self.open).remove(&(shard, file));
    }
}

/// The thread that saves hard states.
fn start_saver(dir: PathBuf) -> io::Result<flume::Sender<SaveHardState>> {
    let (saves, queue) = flume::unbounded::<SaveHardState>();
    std::thread::Builder::new().name("hard-states".to_owned()).spawn(move || {
        for SaveHardState { shard, state, answer } in queue {
            let result = Folder::open(&dir, shard).and_then(|mut folder| state.save(&mut folder));
            if let Err(error) = &result {
                tracing::error!(shard = shard.0, "the hard state can't be saved: {error}");
            }
            answer(result.is_ok());
        }
    })?;
    Ok(saves)
}

/// An error of the system's as the log knows it.
pub(crate) fn disk_error(error: &io::Error) -> DiskError {
    DiskError { errno: error.raw_os_error().unwrap_or(libc::EIO) }
}

/// The descriptor of a file that stays open until its operation has completed.
pub(crate) fn descriptor(file: &Arc<File>) -> RawFd {
    file.as_raw_fd()
}
