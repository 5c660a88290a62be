//! Flags and file to a [`Config`]. Flags win over the file, the file over the defaults.
//!
//! Both are reduced to pairs of a row of the table and text; the row reads the text.

use std::collections::HashSet;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use toml_edit::{Document, Item, Key, Value};

use super::Config;
use super::parameter::{Form, PARAMETERS, Parameter};
use super::table::absolute;

/// Why there is no [`Config`]. `Display` is one sentence that says what to do, but for `Usage`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The flags can't be read, or they ask for help or the version: clap's own text.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A flag with a value that its parameter does not take.
    #[error("--{name} can't be '{value}': it takes {accepts}.")]
    Flag {
        /// The parameter.
        name: &'static str,
        /// The value, as given.
        value: String,
        /// What it takes instead.
        accepts: String,
    },
    /// The file can't be read.
    #[error("The file '{}' after --config can't be read ({error}): name a TOML file that is there \
             and that this user may read.", path.display())]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{place} is not TOML: {reason}; lines look like 'maxmemory = \"100mb\"'.")]
    FileSyntax {
        /// Where.
        place: Place,
        /// What the parser says.
        reason: String,
    },
    /// A key that is not a parameter.
    #[error("{place}: there is no parameter '{key}'; {hint}.")]
    FileUnknownKey {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// What to do.
        hint: String,
    },
    /// Two keys for one parameter.
    #[error(
        "{place}: '{key}' is another name of '{name}', which is set already: keep one of them."
    )]
    FileKeyTwice {
        /// Where.
        place: Place,
        /// The second key.
        key: String,
        /// The parameter.
        name: &'static str,
    },
    /// A key with a value that its parameter does not take.
    #[error("{place}: {name} can't be {value}: it takes {accepts}.")]
    FileValue {
        /// Where.
        place: Place,
        /// The parameter.
        name: &'static str,
        /// The value, as written in the file.
        value: String,
        /// What it takes instead.
        accepts: String,
    },
}

impl ConfigError {
    /// What the process exits with: 0 if only help or the version was asked for, else 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(error) if !error.use_stderr() => 0,
            _ => 2,
        }
    }

    /// Tells the user: help goes to the standard output, errors to the standard error.
    pub fn print(&self) {
        match self {
            // Nothing is left to tell if the terminal is gone.
            Self::Usage(error) => drop(error.print()),
            error => eprintln!("ringmain: {error}"),
        }
    }
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ", line {line}"))
    }
}

/// Reads the command line `args` (the program's name first) and the file it names, if any.
pub fn load<I, A>(args: I) -> Result<Config, ConfigError>
where
    I: IntoIterator<Item = A>,
    A: Into<OsString> + Clone,
{
    read(&command_line().try_get_matches_from(args)?)
}

/// Reads `flags`, which [`command_line`] took, and the file they name, if any.
pub fn read(flags: &ArgMatches) -> Result<Config, ConfigError> {
    let mut loader = Loader { config: Config::default(), given: HashSet::new() };
    if let Some(path) = flags.get_one::<PathBuf>(FILE_FLAG) {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::FileUnreadable { path: path.clone(), error })?;
        loader.read_file(path, text)?;
        loader.config.file = absolute(path);
    }
    loader.read_flags(flags)?;
    Ok(loader.finish())
}

/// The one flag that is no parameter.
const FILE_FLAG: &str = "config";

/// A [`Config`] in the making, and the parameters that were given a value so far.
struct Loader {
    config: Config,
    given: HashSet<&'static str>,
}

impl Loader {
    fn read_flags(&mut self, flags: &ArgMatches) -> Result<(), ConfigError> {
        for row in PARAMETERS {
            let Some(values) = flags.get_many::<String>(row.name) else { continue };
            let value = values.map(String::as_str).collect::<Vec<_>>().join(" ");
            let refused = |_| ConfigError::Flag {
                name: row.name,
                value: value.clone(),
                accepts: row.accepts(),
            };
            row.set(&mut self.config, &value).map_err(refused)?;
            self.given.insert(row.name);
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, text: String) -> Result<(), ConfigError> {
        let place = |text: &str, span: Option<Range<usize>>| Place {
            path: path.to_owned(),
            line: span
                .and_then(|span| text.get(..span.start))
                .map(|text| text.matches('\n').count() + 1),
        };
        let document = Document::parse(text.as_str()).map_err(|error| ConfigError::FileSyntax {
            place: place(&text, error.span()),
            reason: error.message().split_whitespace().collect::<Vec<_>>().join(" "),
        })?;
        for (key, item) in document.iter() {
            let span = document.key(key).and_then(Key::span).or(item.span());
            self.read_key(place(&text, span), key, item)?;
        }
        Ok(())
    }

    fn read_key(&mut self, place: Place, key: &str, item: &Item) -> Result<(), ConfigError> {
        let Some(row) = PARAMETERS.iter().find(|row| row.names().any(|name| name == key)) else {
            return Err(ConfigError::FileUnknownKey {
                place,
                key: key.to_owned(),
                hint: hint(key),
            });
        };
        if !self.given.insert(row.name) {
            return Err(ConfigError::FileKeyTwice { place, key: key.to_owned(), name: row.name });
        }
        let text = value_text(row, item);
        match text.map(|text| row.set(&mut self.config, &text)) {
            Some(Ok(())) => Ok(()),
            None | Some(Err(_)) => Err(ConfigError::FileValue {
                place,
                name: row.name,
                value: shown(item),
                accepts: row.accepts(),
            }),
        }
    }

    /// The [`Config`], after the parameters that follow others have followed.
    fn finish(mut self) -> Config {
        self.config.shards_given = self.given.contains("shards");
        if !self.config.shards_given {
            self.config.shards = self.config.defaults_beside().shards;
        }
        // By now the number of cores is known.
        if !self.given.contains("shard-port-base") {
            self.config.shard_ports = self.config.defaults_beside().shard_ports;
        }
        if self.config.cluster_port == 0 {
            self.config.cluster_port = self.config.defaults_beside().cluster_port;
        }
        self.config
    }
}

/// The text that a row reads, from a value of the file; `None` for a type that no row takes.
pub(super) fn value_text(row: &Parameter, item: &Item) -> Option<String> {
    let is_list = matches!(row.form, Form::List(..));
    match item.as_value()? {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Boolean(yes) => Some(if *yes.value() { "yes" } else { "no" }.to_owned()),
        Value::Array(items) if is_list => {
            let texts: Option<Vec<String>> = items.iter().map(list_item_text).collect();
            Some(texts?.join(" "))
        }
        Value::Array(_) | Value::Float(_) | Value::Datetime(_) | Value::InlineTable(_) => None,
    }
}

fn list_item_text(value: &Value) -> Option<String> {
    let number = || value.as_integer().map(|n| n.to_string());
    let fraction = || value.as_float().map(|n| n.to_string());
    value.as_str().map(str::to_owned).or_else(number).or_else(fraction)
}

/// A value of the file as its writer sees it, on one line.
fn shown(item: &Item) -> String {
    if item.is_table() || item.is_array_of_tables() {
        return "a table".to_owned();
    }
    item.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How alike two names must be (Jaro similarity, 0 to 1) for one to be a likely slip for the other.
const ALIKE_MIN: f64 = 0.8;

/// What to do about a key that is not a parameter.
fn hint(key: &str) -> String {
    let alike = PARAMETERS
        .iter()
        .flat_map(Parameter::names)
        .map(|name| (strsim::jaro(name, key), name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match alike {
        Some((likeness, name)) if likeness >= ALIKE_MIN => format!("did you mean '{name}'"),
        _ => "'ringmain --help' lists all parameters".to_owned(),
    }
}

/// The command line: `--config` and a flag per row.
pub fn command_line() -> Command {
    let file = Arg::new(FILE_FLAG)
        .long(FILE_FLAG)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("TOML file with the same names as the flags, which win over it");
    Command::new("ringmain")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .arg(file)
        .args(PARAMETERS.iter().map(flag))
}

fn flag(row: &'static Parameter) -> Arg {
    let help = format!("{}; takes {} [default: {}]", row.doc, row.accepts(), row.default_words());
    let is_list = matches!(row.form, Form::List(..));
    Arg::new(row.name)
        .long(row.name)
        .visible_aliases(row.alias)
        .value_name(value_name(row))
        .help(help)
        .hide(matches!(row.form, Form::Fixed(_)))
        .action(if is_list { ArgAction::Append } else { ArgAction::Set })
        // Values may begin with a minus: `--bind -::1`, `--slowlog-log-slower-than -1`.
        .allow_hyphen_values(is_list)
        .allow_negative_numbers(!is_list)
}

fn value_name(row: &Parameter) -> &'static str {
    match row.form {
        Form::Integer(..) => "NUMBER",
        Form::Memory(..) => "SIZE",
        Form::YesNo(..) => "YES|NO",
        Form::Choice(..) => "NAME",
        Form::Text(..) | Form::Fixed(_) => "TEXT",
        Form::List(..) => "LIST",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::super::value::{Secret, ShardPorts, available_cpus};
    use super::{Config, ConfigError, command_line, load};

    fn with_flags(flags: &[&str]) -> Result<Config, ConfigError> {
        load(std::iter::once("ringmain").chain(flags.iter().copied()))
    }

    /// Loads a file of `text` and `flags`; errors name the file as `FILE`.
    fn with_file(text: &str, flags: &[&str]) -> Result<Config, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        with_flags(&[&["--config", path], flags].concat())
            .map_err(|error| error.to_string().replace(path, "FILE"))
    }

    #[test]
    fn the_command_line_is_sound() {
        command_line().debug_assert();
    }

    #[test]
    fn nothing_said_gives_the_defaults() {
        let config = with_flags(&[]).unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.port, 6379);
        assert_eq!(config.shard_ports, ShardPorts::From(16379));
        assert!(config.binds_loopback_only());
        assert!(config.core_count() >= 1);
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = "latency-tracking-info-percentiles = [50, 99.99]\n\
                    # cache\nport = 7000\nmaxmemory = \"100mb\"\ncluster-enabled = true\n\
                    bind = [\"127.0.0.1\", \"-::1\"]\ncpus = [0, \"2-3\"]\nloglevel = 'debug'\n";
        let config = with_file(text, &["--port", "7001", "--requirepass", "x"]).unwrap();
        assert_eq!(config.port, 7001);
        assert_eq!(config.latency_percentiles.to_string(), "50 99.99");
        assert_eq!(config.shard_ports, ShardPorts::From(17001));
        assert_eq!(config.maxmemory_bytes, 100 << 20);
        assert!(config.cluster_enabled);
        assert_eq!(config.bind.len(), 2);
        assert_eq!(config.cpus, [0, 2, 3]);
        assert_eq!(config.shards, 3);
        assert_eq!(config.log_level, super::super::LogLevel::Debug);
        assert_eq!(config.requirepass, Some(Secret("x".to_owned())));
        assert!(config.file.is_some_and(|file| file.is_absolute()));
    }

    #[test]
    fn values_may_begin_with_a_minus() {
        let config = with_flags(&[
            "--bind",
            "127.0.0.1",
            "--bind",
            "-::1",
            "--slowlog-log-slower-than",
            "-1",
        ])
        .unwrap();
        assert_eq!(config.bind.len(), 2);
        assert_eq!(config.slowlog_log_slower_than_us, -1);
    }

    #[test]
    fn shards_and_ports_follow_what_was_said() {
        for (flags, shards, cores, ports) in [
            (&["--cpus", "0-3"][..], 4, 4, ShardPorts::From(16379)),
            (&["--cpus", "0-3", "--shards", "2"], 2, 2, ShardPorts::From(16379)),
            (&["--cpus", "1", "--shards", "8"], 8, 1, ShardPorts::From(16379)),
            (&["--cpus", "0", "--port", "0"], 1, 1, ShardPorts::OsChosen),
            (&["--cpus", "0", "--shard-port-base", "0"], 1, 1, ShardPorts::Off),
            (&["--cpus", "0", "--shard-port-base", "9"], 1, 1, ShardPorts::From(9)),
            (&["--cpus", "0", "--port", "60000"], 1, 1, ShardPorts::From(50_000)),
        ] {
            let config = with_flags(flags).unwrap();
            assert_eq!(
                (config.shards, config.core_count(), config.shard_ports),
                (shards, cores, ports),
                "{flags:?}"
            );
            assert_eq!(config.core_cpus().len(), usize::from(cores));
        }
        assert_eq!(with_flags(&[]).unwrap().cpus, available_cpus());
    }

    #[test]
    fn links_are_taken_where_the_peers_expect_them() {
        const PEERS: &str = "1@10.0.0.1:7000 2@cache.example:7000@9000,3@[::1]:60000";
        for (flags, port) in [
            (&["--node-id", "1"][..], 27_000),
            (&["--node-id", "2"], 9000),
            (&["--node-id", "3"], 40_000),
            (&["--node-id", "3", "--cluster-port", "9"], 9),
            (&["--node-id", "4"], 0),
            (&[], 0),
        ] {
            let config = with_flags(&[&["--cluster-peers", PEERS], flags].concat()).unwrap();
            assert_eq!(config.cluster_port, port, "{flags:?}");
        }
    }

    #[test]
    fn redis_s_own_flags_are_taken_where_they_are_true() {
        assert_eq!(
            with_flags(&["--save", "", "--appendonly", "no", "--loglevel", "notice"]).unwrap(),
            Config::default()
        );
    }

    #[test]
    fn a_wrong_flag_says_what_it_takes() {
        for (flags, message) in [
            (["--port", "70000"], "--port can't be '70000': it takes a number from 0 to 65535."),
            (["--port", "abc"], "--port can't be 'abc': it takes a number from 0 to 65535."),
            (["--shards", "0"], "--shards can't be '0': it takes a number from 1 to 1024."),
            (["--shards", "1025"], "--shards can't be '1025': it takes a number from 1 to 1024."),
            (["--cpus", "a"], "--cpus can't be 'a': it takes a list of CPUs such as 0-3,6."),
            (
                ["--maxmemory", "50%"],
                "--maxmemory can't be '50%': it takes a size such as 100mb or 1gb.",
            ),
            (
                ["--maxmemory-policy", "allkeys-lfu"],
                "--maxmemory-policy can't be 'allkeys-lfu': it takes one of volatile-lru, \
                 volatile-random, volatile-ttl, allkeys-lru, allkeys-random, noeviction.",
            ),
            (
                ["--durability", "always"],
                "--durability can't be 'always': it takes one of memory, async, sync.",
            ),
            (
                ["--cluster-peers", "1@10.0.0.1"],
                "--cluster-peers can't be '1@10.0.0.1': it takes nodes as ID@HOST:PORT or \
                 ID@HOST:PORT@CLUSTER-PORT, separated by spaces.",
            ),
            (["--appendonly", "yes"], "--appendonly can't be 'yes': it takes no only."),
            (["--save", "60 1"], "--save can't be '60 1': it takes the empty text only."),
            (
                ["--bind", "nowhere"],
                "--bind can't be 'nowhere': it takes IP addresses separated by spaces, `*` or `::*` \
                 for all of them, with a `-` before those that may be missing.",
            ),
        ] {
            let error = with_flags(&flags).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.exit_code()), (message, 2));
        }
    }

    #[test]
    fn an_unknown_flag_is_a_usage_error_and_help_is_none() {
        for (flags, exit_code) in [
            (&["--prot", "1"][..], 2),
            (&["--port"], 2),
            (&["--port", "1", "--port", "2"], 2),
            (&["stray"], 2),
            (&["--help"], 0),
            (&["--version"], 0),
        ] {
            assert_eq!(with_flags(flags).unwrap_err().exit_code(), exit_code, "{flags:?}");
        }
    }

    #[test]
    fn a_wrong_file_says_where_and_what_it_takes() {
        for (text, message) in [
            (
                "port = 6379\n\nmaxcleints = 3\n",
                "FILE, line 3: there is no parameter 'maxcleints'; did you mean 'maxclients'.",
            ),
            (
                "[server]\nport = 1\n",
                "FILE, line 1: there is no parameter 'server'; 'ringmain --help' lists all parameters.",
            ),
            ("port = true", "FILE, line 1: port can't be true: it takes a number from 0 to 65535."),
            ("port = 1.5", "FILE, line 1: port can't be 1.5: it takes a number from 0 to 65535."),
            ("port = [1]", "FILE, line 1: port can't be [1]: it takes a number from 0 to 65535."),
            (
                "port.x = 1",
                "FILE, line 1: port can't be a table: it takes a number from 0 to 65535.",
            ),
            (
                "\nmaxmemory = \"lots\" # so much",
                "FILE, line 2: maxmemory can't be \"lots\": it takes a size such as 100mb or 1gb.",
            ),
            (
                "log-level = \"debug\"\nloglevel = \"debug\"",
                "FILE, line 2: 'loglevel' is another name of 'log-level', which is set already: keep \
                 one of them.",
            ),
        ] {
            assert_eq!(with_file(text, &[]).unwrap_err(), message);
        }
        for text in ["port 6379\n", "port = \n", "port = 1\nport = 2\n"] {
            let message = with_file(text, &[]).unwrap_err();
            assert!(
                message.starts_with("FILE, line ") && message.contains(" is not TOML: "),
                "{message}"
            );
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = with_flags(&["--config", "/nowhere/ringmain.toml"]).unwrap_err();
        assert!(matches!(&error, ConfigError::FileUnreadable { path, .. }
            if path == Path::new("/nowhere/ringmain.toml")));
        assert_eq!(error.exit_code(), 2);
    }
}
