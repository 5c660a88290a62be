//! The file `nodes` in the data directory of a node of a cluster: the nodes that it knows of, as [`Directory`] has them.
//! Written by one thread of the server that runs, or by a tool that has locked the directory.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::node::Directory;

/// Its name.
const FILE_NAME: &str = "nodes";
/// Its name until it is whole.
const NEW_NAME: &str = "nodes.new";

/// Where it is.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE_NAME)
}

/// What the file in `dir` says; nothing at the first start.
///
/// # Errors
/// Why it can't be read, as one sentence.
pub(crate) fn read(dir: &Path) -> Result<Directory, String> {
    let path = path(dir);
    let failed = |why: String| {
        format!(
            "The cluster's nodes can't be read from '{}' ({why}): restore it, or remove it to begin with \
             --cluster-peers or --cluster-seed again.",
            path.display()
        )
    };
    match fs::read_to_string(&path) {
        Ok(text) => Directory::parse(&text).map_err(|fault| failed(fault.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Directory::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Replaces it; whenever this ends, there is the old one or the new.
///
/// # Errors
/// The system's.
pub(crate) fn write(dir: &Path, text: &str) -> io::Result<()> {
    let new = dir.join(NEW_NAME);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path(dir))?;
    File::open(dir)?.sync_all()
}
