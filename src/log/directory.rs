//! The folder of one shard's log, as a trait, and what is done with it beside appending: files come and
//! go, and the manifest is replaced. Each job is a few blocking steps in an order that any crash
//! survives; the runtime runs them on a thread of their own, the simulator on its disk.

use std::io;
use std::ops::Deref;

use super::hard_state::HardState;
use super::manifest::{MANIFEST_NAME, Manifest};
use super::segment::SegmentFile;
use crate::plant::{Fault, is_planted};

/// A folder. Nothing is promised to survive a crash before it was synced; that a file is there at all,
/// not before the folder was.
pub trait Directory {
    /// A file's content.
    type Content: Deref<Target = [u8]>;

    /// The names of the files in it.
    ///
    /// # Errors
    /// The system's.
    fn list(&mut self) -> io::Result<Vec<String>>;

    /// The content of a file.
    ///
    /// # Errors
    /// The system's; `NotFound` if there is none.
    fn read(&mut self, name: &str) -> io::Result<Self::Content>;

    /// Makes a file of `bytes` bytes, allocated on the disk; one that is there keeps its content and gets
    /// that length. With `fill` every byte is written once, so that the disk need not note later which
    /// parts were: that makes synced writes a third faster.
    ///
    /// # Errors
    /// The system's.
    fn create(&mut self, name: &str, bytes: u64, fill: bool) -> io::Result<()>;

    /// Writes to a file.
    ///
    /// # Errors
    /// The system's.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Syncs a file's content.
    ///
    /// # Errors
    /// The system's. What was written before may be lost then, and another sync would not tell.
    fn sync(&mut self, name: &str) -> io::Result<()>;

    /// Gives a file another name, in place of the file that has it.
    ///
    /// # Errors
    /// The system's.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Syncs which files there are.
    ///
    /// # Errors
    /// The system's.
    fn sync_directory(&mut self) -> io::Result<()>;
}

/// Something to be done with the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Makes a segment ready to be written.
    Prepare {
        /// Its name.
        file: SegmentFile,
        /// Its length.
        bytes: u64,
        /// A file that is no longer needed and of that length, to be renamed.
        recycled: Option<SegmentFile>,
        /// Whether its bytes are to be written once, ahead of use.
        fill: bool,
    },
    /// Syncs what was found at the start, the manifest and the segment that was written last: the process
    /// that wrote them may have ended before it did.
    Settle(Option<SegmentFile>),
    /// Replaces the manifest.
    SaveManifest(Manifest),
    /// Removes files that no manifest names.
    Remove(Vec<SegmentFile>),
    /// Replaces a replica's hard state.
    SaveHardState(Box<HardState>),
}

impl Job {
    /// Does it.
    ///
    /// # Errors
    /// The first error of the system's: what came after it was not done.
    pub fn perform(&self, directory: &mut impl Directory) -> io::Result<()> {
        match self {
            Self::Prepare { file, bytes, recycled, fill } => {
                if let Some(old) = recycled {
                    directory.rename(&old.name(), &file.name())?;
                } else {
                    directory.create(&file.name(), *bytes, *fill)?;
                    directory.sync(&file.name())?;
                }
                if is_planted(Fault::ForgetDirectorySync) {
                    return Ok(());
                }
                directory.sync_directory()
            }
            Self::Settle(_) if is_planted(Fault::TrustWhatWasFound) => Ok(()),
            Self::Settle(segment) => {
                directory.sync(MANIFEST_NAME)?;
                if let Some(segment) = segment {
                    directory.sync(&segment.name())?;
                }
                directory.sync_directory()
            }
            Self::SaveManifest(manifest) => save_manifest(directory, manifest),
            Self::SaveHardState(state) => state.save(directory),
            Self::Remove(files) => {
                files.iter().try_for_each(|file| match directory.remove(&file.name()) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                })
            }
        }
    }
}

/// Writes a manifest over the older of the two copies.
///
/// # Errors
/// The system's.
pub fn save_manifest(directory: &mut impl Directory, manifest: &Manifest) -> io::Result<()> {
    let (offset, page) = manifest.encode();
    directory.write(MANIFEST_NAME, offset, &page)?;
    directory.sync(MANIFEST_NAME)
}
