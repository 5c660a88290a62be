//! The flags of `ringmain import` and `ringmain export`.

use std::path::PathBuf;

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};

use super::Failure;
use super::endpoint::{Endpoint, FROM_FLAGS, HOST_FLAGS};
use crate::config::Secret;

// The server that both talk to. No doc comment: clap would take it for the commands' own text.
#[derive(Debug, clap::Args)]
struct ServerFlags {
    /// Address or name of the server
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Its port
    #[arg(long, default_value_t = 6379)]
    port: u16,
    /// The user, if the server has users
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The password, if the server asks for one; the variable REDISCLI_AUTH does as well
    #[arg(long, value_name = "TEXT", visible_alias = "auth")]
    password: Option<String>,
    /// Only these databases
    #[arg(long = "db", value_name = "NUMBER", num_args = 1.., value_delimiter = ',')]
    databases: Vec<u64>,
}

#[derive(Debug, clap::Args)]
struct ImportFlags {
    /// Read this RDB file, which SAVE or BGSAVE of a Redis server wrote
    #[arg(long, value_name = "FILE", conflicts_with = "from", required_unless_present = "from")]
    from_rdb: Option<PathBuf>,
    /// Read this running server, or all of the cluster that it is part of
    #[arg(long, value_name = "HOST:PORT")]
    from: Option<String>,
    /// The user at --from, if that server has users
    #[arg(long, value_name = "NAME", conflicts_with = "from_rdb")]
    from_user: Option<String>,
    /// The password at --from; the variable RINGMAIN_FROM_AUTH does as well
    #[arg(long, value_name = "TEXT", visible_alias = "from-auth", conflicts_with = "from_rdb")]
    from_password: Option<String>,
    #[command(flatten)]
    server: ServerFlags,
    /// Overwrite keys that are there already, instead of keeping them
    #[arg(long)]
    replace: bool,
    /// End with status 0 although keys were left out because the target does not know their type
    #[arg(long)]
    skip_unsupported: bool,
}

#[derive(Debug, clap::Args)]
struct ExportFlags {
    #[command(flatten)]
    server: ServerFlags,
    /// Write to this file; '-' is the standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

const AFTER_IMPORT: &str = "\
Keys keep their values, their times to live and their databases. Keys that are in the target already stay
as they are, unless --replace is given. Keys of a type that the target does not know are left out, counted
and named at the end. A file is checked from end to end before anything of it is written.

The exit status is 0 if all is well, 1 if the import broke off, 2 if nothing was done, and 3 if keys were
left out. docs/moving.md tells more.

Examples:
  ringmain import --from-rdb dump.rdb
  ringmain import --from-rdb dump.rdb --host 10.0.0.5 --port 6379 --db 0 3 --replace
  RINGMAIN_FROM_AUTH=secret ringmain import --from redis.example:6379 --skip-unsupported";

const AFTER_EXPORT: &str = "\
Writes SELECT, SET and RESTORE commands as Redis's protocol has them, with times to live as points in time;
what it has to say goes to the standard error. Whoever runs them overwrites keys of the same names.

The exit status is 0 if all is well, 1 if the export broke off, 2 if nothing was done, and 3 if keys were
left out. docs/moving.md tells more.

Examples:
  ringmain export --port 6379 | redis-cli -h redis.example --pipe
  ringmain export --db 0 --output keys.resp";

/// `ringmain import` as clap knows it.
pub fn import_command() -> Command {
    let command = Command::new("import")
        .about("Copies the keys of an RDB file, or of another server, into a running server")
        .after_help(AFTER_IMPORT);
    ImportFlags::augment_args(command)
}

/// `ringmain export` as clap knows it.
pub fn export_command() -> Command {
    let command = Command::new("export")
        .about("Writes a running server's keys as commands for redis-cli --pipe")
        .after_help(AFTER_EXPORT);
    ExportFlags::augment_args(command)
}

/// Where an import reads.
#[derive(Debug)]
pub(super) enum ImportFrom {
    File(PathBuf),
    Server(Endpoint),
}

/// What an import is asked for.
#[derive(Debug)]
pub(super) struct ImportOptions {
    pub(super) from: ImportFrom,
    pub(super) target: Endpoint,
    /// All, if there are none.
    pub(super) databases: Vec<u64>,
    pub(super) replace: bool,
    pub(super) skip_unsupported: bool,
}

/// What an export is asked for.
#[derive(Debug)]
pub(super) struct ExportOptions {
    pub(super) source: Endpoint,
    /// All, if there are none.
    pub(super) databases: Vec<u64>,
    pub(super) output: PathBuf,
}

impl ImportOptions {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        // The flags were taken by `import_command`, so they are there.
        let flags = ImportFlags::from_arg_matches(matches)
            .map_err(|error| Failure::Nonsense(error.to_string()))?;
        let from = match (flags.from_rdb, flags.from) {
            (Some(path), _) => ImportFrom::File(path),
            (None, text) => {
                let (host, port) = read_address(&text.unwrap_or_default())?;
                let password = secret(flags.from_password, "RINGMAIN_FROM_AUTH");
                let user = flags.from_user;
                let endpoint = Endpoint { host, port, user, password, flags: FROM_FLAGS };
                ImportFrom::Server(known(endpoint)?)
            }
        };
        let (target, databases) = server(flags.server)?;
        let ImportFlags { replace, skip_unsupported, .. } = flags;
        Ok(Self { from, target, databases, replace, skip_unsupported })
    }
}

impl ExportOptions {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let flags = ExportFlags::from_arg_matches(matches)
            .map_err(|error| Failure::Nonsense(error.to_string()))?;
        let (source, databases) = server(flags.server)?;
        Ok(Self { source, databases, output: flags.output })
    }
}

fn server(flags: ServerFlags) -> Result<(Endpoint, Vec<u64>), Failure> {
    let ServerFlags { host, port, user, password, databases } = flags;
    let password = secret(password, "REDISCLI_AUTH");
    let endpoint = known(Endpoint { host, port, user, password, flags: HOST_FLAGS })?;
    Ok((endpoint, databases))
}

/// The same, if whoever gives a user gives a password too: `AUTH` takes no user alone.
fn known(endpoint: Endpoint) -> Result<Endpoint, Failure> {
    match (&endpoint.user, &endpoint.password) {
        (Some(user), None) => Err(Failure::Nonsense(format!(
            "The user '{user}' has no password: give it {}.",
            endpoint.flags.password
        ))),
        _ => Ok(endpoint),
    }
}

/// A password from its flag, or else from its variable.
fn secret(flag: Option<String>, variable: &str) -> Option<Secret> {
    let text = flag.or_else(|| std::env::var(variable).ok());
    text.filter(|text| !text.is_empty()).map(Secret)
}

fn read_address(text: &str) -> Result<(String, u16), Failure> {
    let address = text.rsplit_once(':').and_then(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_sound = !host.is_empty() && (bare.is_some() || !host.contains(':'));
        let port = port.parse().ok().filter(|&port| port != 0)?;
        is_sound.then(|| (bare.unwrap_or(host).to_owned(), port))
    });
    address.ok_or_else(|| {
        Failure::Nonsense(format!(
            "--from can't be '{text}': it takes a host and a port, such as redis.example:6379 or \
             [::1]:6379."
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::{ImportFrom, ImportOptions, export_command, import_command, read_address};

    #[test]
    fn the_command_lines_are_sound() {
        import_command().debug_assert();
        export_command().debug_assert();
    }

    fn import(flags: &[&str]) -> Result<ImportOptions, String> {
        let matches = import_command()
            .try_get_matches_from(std::iter::once("import").chain(flags.iter().copied()))
            .map_err(|error| error.to_string())?;
        ImportOptions::read(&matches).map_err(|failure| failure.to_string())
    }

    #[test]
    fn flags_are_read() {
        let options = import(&["--from-rdb", "a.rdb", "--db", "1", "2", "--db", "5,6"]).unwrap();
        assert!(matches!(&options.from, ImportFrom::File(path) if path.as_os_str() == "a.rdb"));
        assert_eq!(options.target.name(), "127.0.0.1:6379");
        assert_eq!(options.databases, [1, 2, 5, 6]);
        let flags =
            ["--from", "[::1]:7", "--from-auth", "secret", "--auth", "other", "--user", "me"];
        let options = import(&flags).unwrap();
        assert!(matches!(&options.from, ImportFrom::Server(from) if from.name() == "[::1]:7"));
        assert!(!format!("{options:?}").contains("secret"));
        for flags in [
            &[][..],
            &["--from-rdb", "a.rdb", "--from", "h:1"],
            &["--from-rdb", "a.rdb", "--from-password", "x"],
            &["--from-rdb", "a.rdb", "--user", "me"],
            &["--from-rdb", "a.rdb", "--db", "x"],
            &["a.rdb"],
        ] {
            assert!(import(flags).is_err(), "{flags:?}");
        }
    }

    #[test]
    fn addresses() {
        let found = |host: &str, port| Some((host.to_owned(), port));
        for (text, expect) in [
            ("redis.example:6379", found("redis.example", 6379)),
            ("[::1]:1", found("::1", 1)),
            ("::1", None),
            ("host", None),
            (":6379", None),
            ("host:0", None),
            ("host:65536", None),
            ("", None),
        ] {
            assert_eq!(read_address(text).ok(), expect, "{text}");
        }
    }
}
