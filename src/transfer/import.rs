//! `ringmain import`: from a file, or from a running server.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Instant;

use super::Failure;
use super::endpoint::Endpoint;
use super::options::{ImportFrom, ImportOptions};
use super::origin::Origin;
use super::progress::{Progress, Unit};
use super::rdb::{Kind, RdbError, Reader};
use super::record::{Expiry, Record, Sink as _};
use super::tally::{Tally, keys, seconds};
use super::target::Target;
use super::walk;

/// Bytes of a file that are read at once.
const FILE_BUFFER_BYTES: usize = 256 * 1024;

/// Does what the flags say.
pub(super) fn run(options: &ImportOptions) -> Result<(), Failure> {
    let started = Instant::now();
    let to = options.target.name();
    let (from, mut lines, tally) = match &options.from {
        ImportFrom::File(path) => from_file(path, options)?,
        ImportFrom::Server(endpoint) => from_server(endpoint, options)?,
    };
    let time = seconds(started.elapsed());
    lines.insert(0, format!("{} imported from {from} into {to} in {time}", keys(tally.written)));
    lines.extend(tally.lines(&to));
    super::print(&lines)?;
    match tally.missing(options.skip_unsupported) {
        None => Ok(()),
        Some(what) => Err(Failure::Incomplete(format!("The copy is not complete: {what}."))),
    }
}

/// Where it came from, lines about that, and what became of the keys.
type Outcome = (String, Vec<String>, Tally);

/// Reads the file twice: first to see that it is whole, so that nothing of a damaged file is written.
fn from_file(path: &Path, options: &ImportOptions) -> Result<Outcome, Failure> {
    // Asked before the file is read, as that can take long, and again after, as it may tire of waiting.
    drop(Target::open(&options.target, options.replace)?);
    let facts = check(path).map_err(|error| Failure::Nonsense(error.sentence(path)))?;
    let mut target = Target::open(&options.target, options.replace)?;
    let (mut reader, length) = open(path).map_err(|error| Failure::Lost(error.sentence(path)))?;
    let mut progress = Progress::new("importing", Unit::Bytes, length);
    let chosen =
        |database: u64| options.databases.is_empty() || options.databases.contains(&database);
    loop {
        let next = reader.next(|database, kind| chosen(database) && target.wants(kind));
        let next = next.map_err(|error| Failure::Lost(FileError::from(error).sentence(path)))?;
        let Some(entry) = next else { break };
        progress.at(reader.position());
        if chosen(entry.database) {
            target.select(entry.database)?;
            let expiry = entry.expires_at_ms.map_or(Expiry::Never, Expiry::At);
            target.put(Record { key: entry.key, kind: entry.kind, expiry, value: entry.value })?;
        }
    }
    target.finish()?;
    progress.finish();
    Ok((facts.source(path), facts.lines(), target.tally))
}

/// What a file says of itself.
struct Facts {
    version: u16,
    writer: Option<String>,
    has_checksum: bool,
    functions: u64,
}

impl Facts {
    fn source(&self, path: &Path) -> String {
        let writer = self.writer.as_ref().map(|writer| format!(", written by {writer}"));
        format!("{} (RDB version {}{})", path.display(), self.version, writer.unwrap_or_default())
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.has_checksum {
            lines.push(
                "  the file has no checksum, so damage to it may have gone unseen".to_owned(),
            );
        }
        match self.functions {
            0 => {}
            1 => lines.push("  1 library of functions left out".to_owned()),
            many => lines.push(format!("  {many} libraries of functions left out")),
        }
        lines
    }
}

/// Reads the file to its end.
fn check(path: &Path) -> Result<Facts, FileError> {
    let (mut reader, length) = open(path)?;
    let mut progress = Progress::new("checking", Unit::Bytes, length);
    // Strings are decoded, as that finds damage where there is no checksum.
    while reader.next(|_, kind| kind == Kind::String)?.is_some() {
        progress.at(reader.position());
    }
    progress.finish();
    Ok(Facts {
        version: reader.version(),
        writer: reader.writer().map(str::to_owned),
        has_checksum: reader.has_checksum(),
        functions: reader.functions(),
    })
}

/// The file and its length.
fn open(path: &Path) -> Result<(Reader<BufReader<File>>, u64), FileError> {
    let file = File::open(path).map_err(FileError::Unreadable)?;
    let length = file.metadata().map_err(FileError::Unreadable)?.len();
    let reader = Reader::new(BufReader::with_capacity(FILE_BUFFER_BYTES, file))?;
    Ok((reader, length))
}

enum FileError {
    Unreadable(std::io::Error),
    Rdb(RdbError),
}

impl From<RdbError> for FileError {
    fn from(error: RdbError) -> Self {
        Self::Rdb(error)
    }
}

impl FileError {
    fn sentence(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Unreadable(error) => format!(
                "The file '{path}' after --from-rdb can't be read ({error}): name one that is there and \
                 that this user may read."
            ),
            Self::Rdb(error) => {
                format!(
                    "The file '{path}' after --from-rdb can't be imported: {error}; {}.",
                    error.mend()
                )
            }
        }
    }
}

fn from_server(endpoint: &Endpoint, options: &ImportOptions) -> Result<Outcome, Failure> {
    let mut target = Target::open(&options.target, options.replace)?;
    let mut origins = Origin::open_all(endpoint)?;
    let plan = walk::Plan::make(&mut origins, &options.databases).map_err(Failure::before)?;
    let mut progress = Progress::new("importing", Unit::Keys, plan.keys());
    let mut tally = Tally::default();
    plan.run(&mut origins, &mut tally, &mut progress, &mut target)?;
    target.finish()?;
    progress.finish();
    target.tally.add(&tally);
    Ok((endpoint.name(), Vec::new(), target.tally))
}
