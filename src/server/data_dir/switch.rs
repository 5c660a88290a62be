//! Another number of shards in the place of the ones that a directory has, in steps that any crash survives.
//!
//! ```text
//! DIR/reshard/shard-0000/   the new shards: a copy, made by `ringmain reshard`
//! DIR/reshard/ready         the layout of the copy, once all of it is on disk
//! DIR/reshard/old-0000/     the old shards, out of the way
//! ```
//!
//! Without `ready` the copy is not whole and thrown away; with it the switch is made, whoever opens the
//! directory: the old shards go out of the way, `layout` is replaced, the new shards come in, `ready`
//! goes. Which step is next can be seen from what is there, so each is done once, or again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{
    DataDirError, LAYOUT_NAME, Layout, LayoutFault, io_error, manifest_in, read_layout_file,
    sync_folder, write_layout, write_layout_file,
};
use crate::runtime::shard_folder;
use crate::types::ShardId;

pub(super) const COPY_NAME: &str = "reshard";
const READY_NAME: &str = "ready";
pub(super) const SHARD_PREFIX: &str = "shard-";
const OLD_PREFIX: &str = "old-";

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The copy is not whole, or has nothing in it any more that is needed.
    Discard,
    /// This old shard goes out of the way.
    SetAside(String),
    /// The old shards are out of the way: the layout is the copy's from now on.
    Replace(Layout),
    /// This new shard comes in.
    MoveIn(String),
    /// All new shards are in: the copy is not needed any more.
    Forget,
}

/// Makes an empty folder for a copy.
pub(super) fn begin(path: &Path) -> io::Result<PathBuf> {
    let copy = path.join(COPY_NAME);
    fs::create_dir(&copy)?;
    sync_folder(path)?;
    Ok(copy)
}

/// Notes that the copy is whole: from here on it is what counts.
pub(super) fn make_ready(path: &Path, layout: &Layout) -> io::Result<()> {
    let copy = path.join(COPY_NAME);
    sync_folder(&copy)?;
    write_layout_file(&copy, READY_NAME, layout)
}

/// Finishes what was begun, or throws it away.
pub(super) fn settle(path: &Path) -> Result<(), DataDirError> {
    let mut is_told = false;
    while let Some(step) = next_step(path)? {
        if step != Step::Discard && !is_told {
            is_told = true;
            tracing::info!("the shards of '{}' are being replaced by their copy", path.display());
        }
        perform(path, &step).map_err(io_error(path))?;
    }
    Ok(())
}

fn next_step(path: &Path) -> Result<Option<Step>, DataDirError> {
    let copy = path.join(COPY_NAME);
    if !copy.exists() {
        return Ok(None);
    }
    let ready = match read_layout_file(&copy.join(READY_NAME)) {
        Err(DataDirError::Layout { path, fault }) => {
            let reason = format!(
                "{fault}, and no reshard leaves it so. If the shards in '{}' are those that are wanted, remove \
                 '{}'",
                copy.parent().unwrap_or(&copy).display(),
                copy.display()
            );
            return Err(DataDirError::Layout { path, fault: LayoutFault::Lost(reason) });
        }
        found => found?,
    };
    let Some(ready) = ready else { return Ok(Some(Step::Discard)) };
    if let Some(shard) = missing_shard(path, &ready) {
        let reason = format!(
            "shard {} of the copy in '{}' is not there: nothing is switched. Put it back, or remove '{}' if the \
             shards beside it are those that are wanted and all there",
            shard.0,
            copy.display(),
            copy.display()
        );
        let path = copy.join(READY_NAME);
        return Err(DataDirError::Layout { path, fault: LayoutFault::Lost(reason) });
    }
    let of = |folder: &Path| first_shard(folder).map_err(io_error(folder));
    if read_layout_file(&path.join(LAYOUT_NAME))? != Some(ready) {
        return Ok(Some(of(path)?.map_or(Step::Replace(ready), Step::SetAside)));
    }
    Ok(Some(of(&copy)?.map_or(Step::Forget, Step::MoveIn)))
}

/// A shard of the copy that has neither stayed nor moved in, if there is one: without it the old ones must not go.
fn missing_shard(path: &Path, ready: &Layout) -> Option<ShardId> {
    let is_in = |folder: &Path, shard: ShardId| {
        manifest_in(&shard_folder(folder, shard)).is_some_and(|manifest| {
            (manifest.directory, manifest.shard, manifest.shard_count)
                == (ready.id, shard, ready.shards)
        })
    };
    let copy = path.join(COPY_NAME);
    (0..ready.shards).map(ShardId).find(|shard| !is_in(&copy, *shard) && !is_in(path, *shard))
}

/// The folder of a shard in `folder`, if there is any left.
pub(super) fn first_shard(folder: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().into_string().ok();
        if let Some(name) = name.filter(|name| name.starts_with(SHARD_PREFIX)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn perform(path: &Path, step: &Step) -> io::Result<()> {
    let copy = path.join(COPY_NAME);
    match step {
        Step::Discard => {
            fs::remove_dir_all(&copy)?;
            sync_folder(path)
        }
        Step::SetAside(name) => {
            let old = name.replace(SHARD_PREFIX, OLD_PREFIX);
            fs::rename(path.join(name), copy.join(old))
        }
        // What was moved has to be on disk as moved before the next stage.
        Step::Replace(layout) => {
            sync_folder(&copy)?;
            sync_folder(path)?;
            write_layout(path, layout)
        }
        Step::MoveIn(name) => fs::rename(copy.join(name), path.join(name)),
        Step::Forget => {
            sync_folder(path)?;
            sync_folder(&copy)?;
            fs::remove_file(copy.join(READY_NAME))?;
            sync_folder(&copy)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::{DataDir, Layout, read_layout};
    use super::{COPY_NAME, READY_NAME, ShardId, next_step, perform, shard_folder};
    use crate::log::{Manifest, create};
    use crate::runtime::Folder;

    const NEW: Layout = Layout { id: [9; 16], shards: 3 };

    /// The first `count` shards of a directory that is as `layout` says.
    fn make_shards(folder: &Path, count: u16, layout: Layout, content: &str) {
        for shard in (0..count).map(ShardId) {
            let manifest = Manifest::new(shard, layout.shards, layout.id);
            create(&mut Folder::open(folder, shard).unwrap(), &manifest).unwrap();
            fs::write(shard_folder(folder, shard).join("content"), content).unwrap();
        }
    }

    fn contents(folder: &Path) -> Vec<String> {
        let shards = (0..).map(|shard: u16| folder.join(format!("shard-{shard:04}")));
        let read = |shard: std::path::PathBuf| fs::read_to_string(shard.join("content")).ok();
        shards.map_while(read).collect()
    }

    #[test]
    fn a_switch_is_finished_wherever_it_was_interrupted() {
        let mut steps = 0;
        loop {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            let data = DataDir::open(path, 2).unwrap();
            make_shards(path, 2, data.layout(), "old");
            let (copy, _) = data.begin_copy(3).unwrap();
            make_shards(&copy, 3, NEW, "new");
            super::make_ready(path, &NEW).unwrap();
            drop(data);
            let mut done = 0;
            while done < steps {
                let Some(step) = next_step(path).unwrap() else { break };
                perform(path, &step).unwrap();
                done += 1;
            }
            let data = DataDir::open(path, 1).unwrap();
            assert_eq!(data.layout(), NEW, "after {steps} steps");
            assert_eq!(contents(path), ["new"; 3], "after {steps} steps");
            assert!(!copy.exists());
            if done < steps {
                // Two shards out, three in, and what is around them.
                assert_eq!(done, 8);
                return;
            }
            steps += 1;
        }
    }

    #[test]
    fn a_copy_that_is_not_whole_is_thrown_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let data = DataDir::open(path, 2).unwrap();
        let layout = data.layout();
        make_shards(path, 2, layout, "old");
        let (copy, new) = data.begin_copy(3).unwrap();
        assert!(new.id != layout.id && new.shards == 3);
        make_shards(&copy, 2, new, "new");
        drop(data);
        let data = DataDir::open_existing(path).unwrap();
        assert_eq!((data.layout(), copy.exists()), (layout, false));
        assert_eq!(contents(path), ["old"; 2]);
        assert_eq!(read_layout(path).unwrap(), Some(layout));
    }

    /// As a copy by hand may leave it, from which something is missing.
    #[test]
    fn shards_do_not_go_for_a_copy_that_is_not_there() {
        for (made, ready) in [(0, None), (2, None), (3, Some("what"))] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            let data = DataDir::open(path, 2).unwrap();
            make_shards(path, 2, data.layout(), "old");
            let (copy, _) = data.begin_copy(3).unwrap();
            make_shards(&copy, made, NEW, "new");
            super::make_ready(path, &NEW).unwrap();
            if let Some(text) = ready {
                fs::write(copy.join(READY_NAME), text).unwrap();
            }
            drop(data);
            for _ in 0..2 {
                let error = DataDir::open_existing(path).unwrap_err().to_string();
                assert!(error.contains(&format!("{COPY_NAME}'")), "{error}");
                assert!(!error.contains("log repair"), "{error}");
                assert_eq!(
                    (contents(path), contents(&copy).len()),
                    (vec!["old".to_owned(); 2], made.into())
                );
            }
            fs::remove_dir_all(copy).unwrap();
            assert_eq!(DataDir::open_existing(path).unwrap().layout().shards, 2);
        }
    }
}
