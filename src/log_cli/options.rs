//! The flags of `ringmain log`.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, FromArgMatches as _, Subcommand};

use super::Failure;
use crate::types::{LogIndex, ShardId};

/// Whose logs.
#[derive(Clone, Debug, Args)]
pub(super) struct Which {
    /// The data directory; no server may have it open
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// This shard alone
    #[arg(long, value_name = "NUMBER")]
    shard: Option<u16>,
}

impl Which {
    /// The shards that are meant, of a directory with so many.
    pub(super) fn shards(&self, count: u16) -> Result<Vec<ShardId>, Failure> {
        match self.shard {
            None => Ok((0..count).map(ShardId).collect()),
            Some(shard) if shard < count => Ok(vec![ShardId(shard)]),
            Some(shard) => Err(Failure::Nonsense(format!(
                "--shard can't be {shard}: '{}' has the shards 0 to {}.",
                self.dir.display(),
                count - 1
            ))),
        }
    }
}

/// What is to be shown.
#[derive(Clone, Debug, Args)]
pub(super) struct Shown {
    #[command(flatten)]
    pub(super) which: Which,
    /// One JSON object a line, values whole
    #[arg(long)]
    pub(super) json: bool,
    /// From this record of the log on, without the snapshot
    #[arg(long, value_name = "INDEX", value_parser = |text: &str| text.parse().map(LogIndex))]
    pub(super) from: Option<LogIndex>,
    /// Keys that match this glob pattern alone, and what concerns whole databases
    #[arg(long, value_name = "PATTERN")]
    pub(super) key: Option<String>,
}

/// What is to be mended.
#[derive(Clone, Debug, Args)]
pub(super) struct Mended {
    #[command(flatten)]
    pub(super) which: Which,
    /// Do it; without, only what would be done is told
    #[arg(long)]
    pub(super) yes: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Task {
    /// Reads everything and tells what is whole, torn or damaged
    ///
    /// The exit status is 0 if all is well (a torn tail, which a crash leaves and nobody was promised, is
    /// well), 1 if something is damaged, 2 if nothing could be looked at.
    Verify(Which),
    /// Prints entries of snapshots and changes of logs
    ///
    /// One line an entry or change: the record's index (or 'snapshot'), the time, the sequence, the
    /// database, what was done, the key, the value, the expiry.
    Dump(Shown),
    /// Tells what can be done about damage, and with --yes does it
    ///
    /// A log that is damaged in the middle can be cut before that place: all changes after it are lost, and
    /// kept in files named '*.cut-OFFSET' beside.
    Repair(Mended),
}

#[derive(Debug, Args)]
struct Flags {
    #[command(subcommand)]
    task: Task,
}

/// `ringmain log` as clap knows it.
pub fn command() -> Command {
    // The description of the flags would take the place of one given before.
    Flags::augment_args(Command::new("log").disable_help_subcommand(true))
        .about("Shows and mends the logs in a data directory that no server has open")
}

impl Task {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        // The flags were taken by `command`, so they are there.
        let flags = Flags::from_arg_matches(matches)
            .map_err(|error| Failure::Nonsense(error.to_string()))?;
        Ok(flags.task)
    }
}

#[cfg(test)]
mod tests {
    use super::{Task, command};
    use crate::types::{LogIndex, ShardId};

    fn read(flags: &[&str]) -> Result<Task, String> {
        let matches = command()
            .try_get_matches_from(std::iter::once("log").chain(flags.iter().copied()))
            .map_err(|error| error.to_string())?;
        Task::read(&matches).map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
        for flags in [&[][..], &["verify"], &["show", "d"], &["dump", "d", "--from", "x"]] {
            assert!(read(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn flags_are_read() {
        let Ok(Task::Dump(shown)) = read(&["dump", "d", "--from", "7", "--key", "a*", "--json"])
        else {
            panic!("a dump");
        };
        assert_eq!((shown.from, shown.key.as_deref()), (Some(LogIndex(7)), Some("a*")));
        assert_eq!(shown.which.shards(2).unwrap(), [ShardId(0), ShardId(1)]);
        let Ok(Task::Repair(mended)) = read(&["repair", "d", "--shard", "2", "--yes"]) else {
            panic!("a repair");
        };
        assert!(mended.yes);
        assert_eq!(mended.which.shards(3).unwrap(), [ShardId(2)]);
        let error = mended.which.shards(2).unwrap_err().to_string();
        assert_eq!(error, "--shard can't be 2: 'd' has the shards 0 to 1.");
    }
}
