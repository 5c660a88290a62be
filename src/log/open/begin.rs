//! Folders of logs that begin: of an empty shard, or of one whose log another is to take the place of.

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

/// Begins a log anew in a folder, whatever is in it. What a log before has left there stays, and counts, until
/// the new one's first snapshot does: a folder without any gets a manifest that says that nothing counts yet.
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
    let files: Vec<SegmentFile> =
        names.iter().filter_map(|name| SegmentFile::parse(name)).collect();
    let old = directory.read(MANIFEST_NAME).ok().and_then(|content| Manifest::decode(&content));
    let is_ours = |old: &Manifest| {
        (old.shard, old.shard_count, old.directory) == (shard, shard_count, id) && !old.base_missing
    };
    let (counts, old) = (
        old.is_some_and(|old| is_ours(&old)),
        old.unwrap_or(Manifest::new(shard, shard_count, id)),
    );
    let last_id = files.iter().map(|file| file.id).max().unwrap_or(SegmentId(0));
    // No file of the new log has a number that the old one could name.
    let last_id = if counts { last_id.max(old.first_segment) } else { last_id };
    let mut manifest = Manifest::new(shard, shard_count, id);
    manifest.generation = old.generation;
    manifest.first_segment = SegmentId(last_id.0 + 1);
    // What the keyspace holds already is in no record: until a snapshot has it, the log means nothing.
    manifest.base_missing = true;
    let (before, leftovers) = if counts { (files, Vec::new()) } else { (Vec::new(), files) };
    if !counts {
        manifest.generation += 1;
        create(directory, &manifest)?;
    }
    let (last_index, last_term, segments) = (LogIndex(0), Term(0), Vec::new());
    Ok(Resume { manifest, last_index, last_term, segments, last_id, leftovers, before })
}
