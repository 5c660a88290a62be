//! A directory whose `layout` is lost, or another's: what it said stands in the manifests of its shards as well.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::switch::{COPY_NAME, SHARD_PREFIX};
use super::{
    DataDirError, LAYOUT_NAME, Layout, LayoutFault, io_error, lock, manifest_in, must_exist,
    read_layout,
};
use crate::log::Manifest;
use crate::types::ShardId;

/// What a lost layout said, as the shards have it. Nobody else opens the directory meanwhile.
#[derive(Debug)]
pub struct LostLayout {
    path: PathBuf,
    layout: Layout,
    said_by: Vec<ShardId>,
    _lock: File,
}

impl LostLayout {
    /// Looks for what the layout of the directory at `path` said, if it is lost, or if the shards are all there
    /// and say something else; nothing if all is well.
    ///
    /// # Errors
    /// If the directory can't be used, or the layout is lost and its shards do not tell what it said.
    pub fn find(path: &Path) -> Result<Option<Self>, DataDirError> {
        must_exist(path)?;
        let there = match read_layout(path) {
            Err(DataDirError::Layout { fault, .. }) if fault.can_be_mended() => None,
            Ok(Some(layout)) => Some(layout),
            other => return other.map(|_| None),
        };
        let lock = lock(path)?;
        let said = if path.join(COPY_NAME).exists() {
            Err(format!("there is a '{COPY_NAME}' that was under way"))
        } else {
            what_shards_say(path)?
        };
        let (layout, said_by) = match (said, there) {
            (Ok((layout, said_by)), None) => (layout, said_by),
            (Ok((layout, said_by)), Some(there))
                if layout != there && said_by.len() == usize::from(layout.shards) =>
            {
                (layout, said_by)
            }
            (_, Some(_)) => return Ok(None),
            (Err(reason), None) => {
                let fault =
                    LayoutFault::Lost(format!("it is lost, and can't be made again: {reason}"));
                return Err(DataDirError::Layout { path: path.join(LAYOUT_NAME), fault });
            }
        };
        Ok(Some(Self { path: path.to_owned(), layout, said_by, _lock: lock }))
    }

    /// What it said.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The shards whose manifests say so.
    pub fn said_by(&self) -> &[ShardId] {
        &self.said_by
    }

    /// Writes it again.
    ///
    /// # Errors
    /// The system's.
    pub fn write(self) -> Result<(), DataDirError> {
        super::write_layout(&self.path, &self.layout).map_err(io_error(&self.path))
    }
}

type Said = Result<(Layout, Vec<ShardId>), String>;

/// The layout that all manifests name which can be read, and the shards whose they are.
fn what_shards_say(path: &Path) -> Result<Said, DataDirError> {
    let mut found: Vec<Manifest> = Vec::new();
    let mut is_in_place = true;
    for entry in fs::read_dir(path).map_err(io_error(path))? {
        let name = entry.map_err(io_error(path))?.file_name();
        let Some(shard) = name.to_str().and_then(|name| name.strip_prefix(SHARD_PREFIX)) else {
            continue;
        };
        let manifest = manifest_in(&path.join(&name));
        is_in_place &= manifest.is_none_or(|manifest| shard.parse() == Ok(manifest.shard.0));
        found.extend(manifest);
    }
    let layout_of = |it: &Manifest| Layout { id: it.directory, shards: it.shard_count };
    let Some(layout) = found.first().map(layout_of) else {
        return Ok(Err("no shard has a manifest that can be read".to_owned()));
    };
    if found.iter().any(|manifest| layout_of(manifest) != layout) {
        return Ok(Err("there are shards of more than one directory".to_owned()));
    }
    if !is_in_place {
        return Ok(Err("there is a shard in the folder of another".to_owned()));
    }
    let mut said_by: Vec<_> = found.iter().map(|manifest| manifest.shard).collect();
    said_by.sort_unstable();
    Ok(Ok((layout, said_by)))
}
