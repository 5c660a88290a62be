//! A directory whose `layout` is lost: what it said stands in the manifests of its shards as well.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::switch::{COPY_NAME, SHARD_PREFIX};
use super::{
    DataDirError, LAYOUT_NAME, Layout, LayoutFault, io_error, lock, must_exist, read_layout,
};
use crate::log::{MANIFEST_NAME, Manifest};
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
    /// Looks for what the layout of the directory at `path` said; nothing if it is there.
    ///
    /// # Errors
    /// If the directory can't be used, or its shards do not tell.
    pub fn find(path: &Path) -> Result<Option<Self>, DataDirError> {
        must_exist(path)?;
        match read_layout(path) {
            Err(DataDirError::Layout { fault, .. }) if fault.can_be_mended() => {}
            other => return other.map(|_| None),
        }
        let lock = lock(path)?;
        let lost = |reason: String| {
            let fault = LayoutFault::Lost(reason);
            DataDirError::Layout { path: path.join(LAYOUT_NAME), fault }
        };
        if path.join(COPY_NAME).exists() {
            return Err(lost(format!("there is a '{COPY_NAME}' that was under way")));
        }
        let mut found: Vec<Manifest> = Vec::new();
        for entry in fs::read_dir(path).map_err(io_error(path))? {
            let name = entry.map_err(io_error(path))?.file_name();
            let is_shard = name.to_str().is_some_and(|name| name.starts_with(SHARD_PREFIX));
            let manifest = path.join(&name).join(MANIFEST_NAME);
            found.extend(
                fs::read(manifest).ok().filter(|_| is_shard).and_then(|it| Manifest::decode(&it)),
            );
        }
        let layout_of = |it: &Manifest| Layout { id: it.directory, shards: it.shard_count };
        let Some(layout) = found.first().map(layout_of) else {
            return Err(lost("no shard has a manifest that can be read".to_owned()));
        };
        if found.iter().any(|manifest| layout_of(manifest) != layout) {
            return Err(lost("there are shards of more than one directory".to_owned()));
        }
        let mut said_by: Vec<_> = found.iter().map(|manifest| manifest.shard).collect();
        said_by.sort_unstable();
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
