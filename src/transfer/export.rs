//! `ringmain export`: a running server's keys as commands, in the form that `redis-cli --pipe` sends on.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Failure;
use super::connection::write_args;
use super::kind::Kind;
use super::options::ExportOptions;
use super::origin::Origin;
use super::progress::{Progress, Unit};
use super::rdb::Value;
use super::record::{Expiry, Record, Sink, now_ms};
use super::tally::{Tally, keys, seconds};
use super::walk::Plan;

/// Bytes of commands that are gathered before they are written.
const OUTPUT_BYTES: usize = 256 * 1024;
/// What the name of a file ends in until all of it is there.
const PARTIAL_SUFFIX: &str = ".partial";

/// Does what the flags say.
pub(super) fn run(options: &ExportOptions) -> Result<(), Failure> {
    let started = Instant::now();
    let mut origins = Origin::open_all(&options.source)?;
    let plan = Plan::make(&mut origins, &options.databases).map_err(Failure::before)?;
    let output = Output::open(&options.output).map_err(Failure::before)?;
    let mut progress = Progress::new("exporting", Unit::Keys, plan.keys());
    let mut tally = Tally::default();
    let mut commands = Commands { output, database: None, tally: Tally::default() };
    let outcome = plan.run(&mut origins, &mut tally, &mut progress, &mut commands);
    progress.finish();
    let Commands { output, tally: written, .. } = commands;
    outcome.and_then(|()| output.close())?;
    tally.add(&written);
    let from = options.source.name();
    eprintln!("{} exported from {from} in {}", keys(tally.written), seconds(started.elapsed()));
    for line in tally.lines(&from) {
        eprintln!("{line}");
    }
    match tally.missing(false) {
        None => Ok(()),
        Some(what) => Err(Failure::Incomplete(format!("The export is not complete: {what}."))),
    }
}

/// Records as commands.
struct Commands {
    output: Output,
    /// The last that was selected.
    database: Option<u64>,
    tally: Tally,
}

impl Sink for Commands {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn select(&mut self, database: u64) -> Result<(), Failure> {
        if self.database == Some(database) {
            return Ok(());
        }
        self.database = Some(database);
        self.output.write(&[b"SELECT", database.to_string().as_bytes()])
    }

    fn put(&mut self, record: Record) -> Result<(), Failure> {
        let expires_at_ms = match record.expiry {
            Expiry::Never => None,
            Expiry::At(ms) => Some(ms),
            Expiry::In(ms) => Some(now_ms().saturating_add(ms)),
        };
        let mut digits = itoa::Buffer::new();
        let time = digits.format(expires_at_ms.unwrap_or(0)).as_bytes();
        let mut args: Vec<&[u8]> = Vec::with_capacity(6);
        match &record.value {
            Value::String(value) => {
                args.extend([&b"SET"[..], &record.key, value]);
                if expires_at_ms.is_some() {
                    args.extend([&b"PXAT"[..], time]);
                }
            }
            Value::Payload(payload) => {
                args.extend([&b"RESTORE"[..], &record.key, time, payload, b"REPLACE"]);
                args.extend(expires_at_ms.map(|_| &b"ABSTTL"[..]));
            }
            Value::Skipped | Value::TooLong => {
                self.tally.too_long += 1;
                return Ok(());
            }
        }
        self.output.write(&args)?;
        self.tally.written += 1;
        Ok(())
    }
}

/// Where commands are written. A file has its name only once it is whole.
struct Output {
    writer: BufWriter<Box<dyn Write>>,
    /// The name of the file, and the one it has until then.
    rename: Option<(PathBuf, PathBuf)>,
    name: String,
}

impl Output {
    /// Opens a file, or the standard output for `-`.
    fn open(path: &Path) -> Result<Self, Failure> {
        let (name, rename) = if path.as_os_str() == "-" {
            ("the standard output".to_owned(), None)
        } else {
            // A pipe or a device is written to as it is.
            let is_new = path.metadata().is_ok_and(|found| !found.is_file());
            let rename = (!is_new).then(|| (path.to_owned(), partial(path)));
            (format!("the file '{}'", path.display()), rename)
        };
        let file = match &rename {
            Some((_, partial)) => File::create(partial).map(Some),
            None if path.as_os_str() == "-" => Ok(None),
            None => File::options().write(true).open(path).map(Some),
        };
        let writer: Box<dyn Write> = match file {
            Ok(Some(file)) => Box::new(file),
            Ok(None) => Box::new(std::io::stdout()),
            Err(error) => {
                return Err(Failure::Lost(format!(
                    "{} after --output can't be written ({error}): name one that can, or - for the \
                     standard output.",
                    capital(&name)
                )));
            }
        };
        Ok(Self { writer: BufWriter::with_capacity(OUTPUT_BYTES, writer), rename, name })
    }

    fn write(&mut self, args: &[&[u8]]) -> Result<(), Failure> {
        write_args(&mut self.writer, args).map_err(|error| self.failed(&error))
    }

    /// Writes what is left, and gives a file its name.
    fn close(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| self.failed(&error))?;
        if let Some((path, partial)) = self.rename.take() {
            std::fs::rename(&partial, &path).map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        let name = capital(&self.name);
        Failure::Lost(match error.kind() {
            ErrorKind::BrokenPipe => {
                "The export ended early, because nobody reads the standard output any more."
                    .to_owned()
            }
            ErrorKind::StorageFull => format!(
                "{name} can't be written further, because the disk is full: make room, or name a file \
                 elsewhere with --output."
            ),
            _ => format!(
                "{name} can't be written further ({error}): mend that, or name another file."
            ),
        })
    }
}

impl Drop for Output {
    /// What is left of a file that did not become whole is of no use.
    fn drop(&mut self) {
        if let Some((_, partial)) = &self.rename {
            // If it can't be removed, it still does not look like a whole one.
            let _ = std::fs::remove_file(partial);
        }
    }
}

fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL_SUFFIX);
    PathBuf::from(name)
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
