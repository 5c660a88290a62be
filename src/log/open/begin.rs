//! Folders of logs that begin: of an empty shard, or of one whose log is not needed any more.

use std::io;

use super::super::directory::{Directory, save_manifest};
use super::super::manifest::{MANIFEST_COPY_BYTES, MANIFEST_NAME, Manifest};
use super::super::segment::{DirectoryId, SegmentFile};
use super::super::stream::Resume;
use crate::types::{LogIndex, SegmentId, ShardId, Term};

/// Makes the folder of an empty shard: a manifest and nothing else.
///
/// # Errors
/// The system's.
pub fn create(directory: &mut impl Directory, manifest: &Manifest) -> io::Result<()> {
    directory.create(MANIFEST_NAME, 2 * MANIFEST_COPY_BYTES as u64, false)?;
    save_manifest(directory, manifest)?;
    directory.sync_directory()
}

/// Makes a folder, whatever is in it, that of a log that begins anew: what it held is not needed any more.
///
/// # Errors
/// The system's.
pub fn start_over(
    directory: &mut impl Directory,
    shard: ShardId,
    shard_count: u16,
    id: DirectoryId,
) -> io::Result<Resume> {
    let names = directory.list()?;
    let leftovers: Vec<SegmentFile> =
        names.iter().filter_map(|name| SegmentFile::parse(name)).collect();
    let last_id = leftovers.iter().map(|file| file.id).max().unwrap_or(SegmentId(0));
    let mut manifest = Manifest::new(shard, shard_count, id);
    if let Ok(content) = directory.read(MANIFEST_NAME)
        && let Some(old) = Manifest::decode(&content)
    {
        manifest.generation = old.generation + 1;
    }
    manifest.first_segment = SegmentId(last_id.0 + 1);
    // What the keyspace holds already is in no record: until a snapshot has it, the log means nothing.
    manifest.base_missing = true;
    // From here on the files that are there belong to nothing.
    create(directory, &manifest)?;
    let (last_index, last_term, segments) = (LogIndex(0), Term(0), Vec::new());
    Ok(Resume { manifest, last_index, last_term, segments, last_id, leftovers })
}
