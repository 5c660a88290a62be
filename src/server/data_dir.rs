//! The data directory: whose it is, how many shards it holds, and that one server at a time has it open.
//!
//! ```text
//! DIR/lock              locked while a server or a tool uses the directory
//! DIR/layout            TOML: format, id, shards; written once, replaced by `ringmain reshard`
//! DIR/layout.begun      the same until the shards' folders are made
//! DIR/nodes             of a node of a cluster: the nodes that it knows of, see `nodes_file`
//! DIR/shard-0000/       one folder a shard: see `crate::log`
//! DIR/reshard/          while the data is rewritten into another number of shards: see `switch`
//! ```
//!
//! Where there is a layout all shards have been made. So one whose folder or manifest is missing is lost, and
//! never taken for one that is new.

mod lost;
mod switch;

pub use lost::LostLayout;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, value};

use crate::log::{DirectoryId, MANIFEST_NAME, Manifest, create};
use crate::runtime::Folder;
use crate::types::ShardId;

/// The one format there is.
const FORMAT: i64 = 1;
const LAYOUT_NAME: &str = "layout";
const BEGUN_NAME: &str = "layout.begun";
const LOCK_NAME: &str = "lock";

/// A data directory that nobody else has open.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    layout: Layout,
    /// Locked as long as it is open.
    _lock: File,
}

/// What a data directory says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Names the directory.
    pub id: DirectoryId,
    /// Its shards.
    pub shards: u16,
}

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system said no.
    #[error("The data directory '{}' can't be used ({error}): see to it that this user may write there, \
             or name another one with --dir.", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("The data directory '{}' is in use by another server or tool: stop that one, or name another \
             directory with --dir.", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// There is no such directory.
    #[error("There is no directory '{}'.", path.display())]
    NoDirectory {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is none.
    #[error("'{}' is no data directory: there is no '{LAYOUT_NAME}' in it.", path.display())]
    None {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The layout can't be read.
    #[error("'{}' does not say what the data directory holds ({fault}): restore it, {}or name another \
             directory with --dir.", path.display(), fault.other_mend(path))]
    Layout {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: LayoutFault,
    },
    /// It holds another number of shards.
    #[error("The data in '{}' is in {found} shards, not {asked}: start with --shards {found}, or run \
             'ringmain reshard {0} --shards {asked}' first.", path.display())]
    Shards {
        /// The directory.
        path: PathBuf,
        /// What it holds.
        found: u16,
        /// What was asked for.
        asked: u16,
    },
}

/// What is wrong with a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutFault {
    /// There are shards, but no layout.
    #[error("it is missing, and there are shards")]
    Missing,
    /// It is nothing that was written as one.
    #[error("it {0}")]
    Damaged(&'static str),
    /// It was written by another version.
    #[error("its format is {0}, and {FORMAT} is known")]
    Format(i64),
    /// It can't be made again from what the shards say, or must not be followed.
    #[error("{0}")]
    Lost(String),
}

impl LayoutFault {
    /// Whether it may be made again from what the shards say.
    fn can_be_mended(&self) -> bool {
        matches!(self, Self::Missing | Self::Damaged(_))
    }

    /// What else than restoring it can be done.
    fn other_mend(&self, path: &Path) -> String {
        let dir = path.parent().unwrap_or(path).display();
        let sentence = format!("have 'ringmain log repair {dir}' make it again from its shards, ");
        if self.can_be_mended() { sentence } else { String::new() }
    }
}

impl DataDir {
    /// Opens the directory at `path`, which is there. A new one is made for `shards` shards.
    ///
    /// # Errors
    /// Why it can't be used.
    pub fn open(path: &Path, shards: u16) -> Result<Self, DataDirError> {
        let lock = lock(path)?;
        switch::settle(path)?;
        let layout = match read_layout(path)? {
            Some(layout) => layout,
            None => begin(path, shards)?,
        };
        Ok(Self { path: path.to_owned(), layout, _lock: lock })
    }

    /// Opens the directory at `path`, which must have been made before.
    ///
    /// # Errors
    /// Why it can't be used.
    pub fn open_existing(path: &Path) -> Result<Self, DataDirError> {
        must_exist(path)?;
        let none = || DataDirError::None { path: path.to_owned() };
        // Nothing is made in a directory that is somebody else's.
        read_layout(path)?.ok_or_else(none)?;
        let lock = lock(path)?;
        switch::settle(path)?;
        let layout = read_layout(path)?.ok_or_else(none)?;
        Ok(Self { path: path.to_owned(), layout, _lock: lock })
    }

    /// Makes a folder inside for a copy of the data in `shards` shards, and answers it with the layout of
    /// that copy. Until [`Self::switch`], whoever opens the directory throws the folder away.
    ///
    /// # Errors
    /// The system's.
    pub fn begin_copy(&self, shards: u16) -> Result<(PathBuf, Layout), DataDirError> {
        let copy = switch::begin(&self.path).map_err(io_error(&self.path))?;
        // A name of its own: no file of the old shards can be taken for one of the new.
        Ok((copy, Layout { id: new_id(&self.path)?, shards }))
    }

    /// Throws the copy away that was begun.
    ///
    /// # Errors
    /// The system's.
    pub fn discard_copy(&self) -> Result<(), DataDirError> {
        switch::settle(&self.path)
    }

    /// Puts the copy, which is whole and on disk, in the place of the shards that the directory has. From
    /// here on whoever opens the directory finishes that, whatever happens to this process.
    ///
    /// # Errors
    /// The system's.
    pub fn switch(&mut self, copy: Layout) -> Result<(), DataDirError> {
        switch::make_ready(&self.path, &copy).map_err(io_error(&self.path))?;
        switch::settle(&self.path)?;
        self.layout = copy;
        Ok(())
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Refuses another number of shards than the directory has.
    ///
    /// # Errors
    /// [`DataDirError::Shards`].
    pub fn check_shards(&self, asked: u16) -> Result<(), DataDirError> {
        let found = self.layout.shards;
        if found == asked {
            return Ok(());
        }
        Err(DataDirError::Shards { path: self.path.clone(), found, asked })
    }
}

/// The manifest in a shard's folder, if there is one that can be read.
fn manifest_in(folder: &Path) -> Option<Manifest> {
    Manifest::decode(&fs::read(folder.join(MANIFEST_NAME)).ok()?)
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> DataDirError + '_ {
    |error| DataDirError::Io { path: path.to_owned(), error }
}

fn must_exist(path: &Path) -> Result<(), DataDirError> {
    if path.is_dir() { Ok(()) } else { Err(DataDirError::NoDirectory { path: path.to_owned() }) }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let name = path.join(LOCK_NAME);
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&name);
    let file = file.map_err(io_error(&name))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(DataDirError::Locked { path: path.to_owned() }),
        Err(fs::TryLockError::Error(error)) => Err(io_error(&name)(error)),
    }
}

/// Makes a new directory, or goes on where a crash has ended that.
fn begin(path: &Path, shards: u16) -> Result<Layout, DataDirError> {
    let layout = match read_layout_file(&path.join(BEGUN_NAME))? {
        Some(layout) => layout,
        None => {
            let layout = Layout { id: new_id(path)?, shards };
            write_layout_file(path, BEGUN_NAME, &layout).map_err(io_error(path))?;
            layout
        }
    };
    make_shards(path, &layout).map_err(io_error(path))?;
    Ok(layout)
}

/// Nobody has used them yet: what a crash has left of them is written over.
fn make_shards(path: &Path, layout: &Layout) -> io::Result<()> {
    for shard in (0..layout.shards).map(ShardId) {
        let manifest = Manifest::new(shard, layout.shards, layout.id);
        create(&mut Folder::open(path, shard)?, &manifest)?;
    }
    fs::rename(path.join(BEGUN_NAME), path.join(LAYOUT_NAME))?;
    sync_folder(path)
}

fn new_id(path: &Path) -> Result<DirectoryId, DataDirError> {
    let mut id = DirectoryId::default();
    let random = getrandom::fill(&mut id);
    random.map_err(|error| io_error(path)(io::Error::other(error.to_string())))?;
    Ok(id)
}

/// What the directory at `path` says of itself; nothing if it is new.
///
/// # Errors
/// If it can't be read.
pub fn read_layout(path: &Path) -> Result<Option<Layout>, DataDirError> {
    let name = path.join(LAYOUT_NAME);
    if let Some(layout) = read_layout_file(&name)? {
        return Ok(Some(layout));
    }
    // Which of the shards may be lost as well.
    if switch::first_shard(path).map_err(io_error(path))?.is_some()
        && !path.join(BEGUN_NAME).exists()
    {
        return Err(DataDirError::Layout { path: name, fault: LayoutFault::Missing });
    }
    Ok(None)
}

fn read_layout_file(name: &Path) -> Result<Option<Layout>, DataDirError> {
    match fs::read_to_string(name) {
        Ok(text) => parse_layout(&text)
            .map(Some)
            .map_err(|fault| DataDirError::Layout { path: name.to_owned(), fault }),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let fault = LayoutFault::Damaged("is no text");
            Err(DataDirError::Layout { path: name.to_owned(), fault })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(name)(error)),
    }
}

fn parse_layout(text: &str) -> Result<Layout, LayoutFault> {
    let document: DocumentMut = text.parse().map_err(|_| LayoutFault::Damaged("is no TOML"))?;
    let number = |key: &str| document.get(key).and_then(toml_edit::Item::as_integer);
    match number("format") {
        Some(FORMAT) => {}
        Some(other) => return Err(LayoutFault::Format(other)),
        None => return Err(LayoutFault::Damaged("names no format")),
    }
    let shards = number("shards").and_then(|shards| u16::try_from(shards).ok());
    let shards = shards.filter(|shards| (1..=crate::limits::SHARDS_MAX).contains(shards));
    let id = document.get("id").and_then(toml_edit::Item::as_str).and_then(parse_id);
    match (shards, id) {
        (Some(shards), Some(id)) => Ok(Layout { id, shards }),
        (None, _) => Err(LayoutFault::Damaged("names no number of shards")),
        (_, None) => Err(LayoutFault::Damaged("names no id")),
    }
}

fn parse_id(text: &str) -> Option<DirectoryId> {
    let number = u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)?;
    Some(number.to_be_bytes())
}

/// Writes the layout in one step: it is there whole, or as it was.
///
/// # Errors
/// The system's.
pub fn write_layout(path: &Path, layout: &Layout) -> io::Result<()> {
    write_layout_file(path, LAYOUT_NAME, layout)
}

fn write_layout_file(folder: &Path, name: &str, layout: &Layout) -> io::Result<()> {
    let mut document = DocumentMut::new();
    document["format"] = value(FORMAT);
    document["id"] = value(format!("{:032x}", u128::from_be_bytes(layout.id)));
    document["shards"] = value(i64::from(layout.shards));
    let new = folder.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(document.to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))?;
    sync_folder(folder)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::{
        BEGUN_NAME, DataDir, DataDirError, Folder, LAYOUT_NAME, Layout, Manifest, ShardId, create,
        parse_layout, read_layout, write_layout_file,
    };

    #[test]
    fn a_directory_is_open_once_and_keeps_its_shards() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::open(folder.path(), 3).unwrap();
        assert!(matches!(DataDir::open(folder.path(), 3), Err(DataDirError::Locked { .. })));
        let layout = first.layout();
        drop(first);
        let again = DataDir::open(folder.path(), 5).unwrap();
        assert_eq!(again.layout(), layout);
        assert!(again.check_shards(3).is_ok());
        let error = again.check_shards(5).unwrap_err().to_string();
        assert!(error.contains("in 3 shards, not 5") && error.contains("reshard"), "{error}");
    }

    /// As a crash leaves it, after each shard's folder, with a manifest or without.
    #[test]
    fn a_directory_whose_making_was_interrupted_is_made() {
        for made in 0..=3 {
            for has_manifest in [true, false] {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path();
                let layout = Layout { id: [5; 16], shards: 3 };
                write_layout_file(path, BEGUN_NAME, &layout).unwrap();
                for shard in (0..made).map(ShardId) {
                    let mut shard_folder = Folder::open(path, shard).unwrap();
                    if has_manifest || shard.0 + 1 < made {
                        create(&mut shard_folder, &Manifest::new(shard, 3, layout.id)).unwrap();
                    }
                }
                assert_eq!(read_layout(path).unwrap(), None);
                let data = DataDir::open(path, 5).unwrap();
                assert_eq!((data.layout(), read_layout(path).unwrap()), (layout, Some(layout)));
                assert!(!path.join(BEGUN_NAME).exists());
                for shard in (0..3).map(ShardId) {
                    let manifest = path.join(format!("shard-{:04}/manifest", shard.0));
                    let manifest = Manifest::decode(&std::fs::read(manifest).unwrap());
                    assert_eq!(manifest, Some(Manifest::new(shard, 3, layout.id)));
                }
            }
        }
        // Without either, shards are somebody's, also if not all are left.
        let folder = tempfile::tempdir().unwrap();
        drop(DataDir::open(folder.path(), 2).unwrap());
        std::fs::remove_file(folder.path().join(LAYOUT_NAME)).unwrap();
        std::fs::remove_dir_all(folder.path().join("shard-0000")).unwrap();
        let error = DataDir::open(folder.path(), 2).unwrap_err();
        assert!(matches!(error, DataDirError::Layout { .. }), "{error}");
    }

    #[test]
    fn a_layout_that_says_nothing_is_refused() {
        let id = "0123456789abcdef0123456789abcdef";
        assert!(parse_layout(&format!("format = 1\nid = \"{id}\"\nshards = 2\n")).is_ok());
        for (text, reason) in [
            ("shards = ".to_owned(), "it is no TOML"),
            ("shards = 2".to_owned(), "it names no format"),
            ("format = 2".to_owned(), "its format is 2, and 1 is known"),
            (format!("format = 1\nid = \"{id}\"\nshards = 0"), "it names no number of shards"),
            ("format = 1\nid = \"1\"\nshards = 2".to_owned(), "it names no id"),
        ] {
            assert_eq!(
                parse_layout(&text).map_err(|it| it.to_string()),
                Err(reason.to_owned()),
                "{text}"
            );
        }
    }
}
