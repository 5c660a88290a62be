//! Writing the configuration back to its file (`CONFIG REWRITE`).
//!
//! The file keeps its comments, its order and every value that still means what is in force. What is
//! in force and neither in the file nor the default is added at its end. The file is replaced in one
//! step: whoever reads it, also after a crash, finds the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Value};

use super::Config;
use super::load::value_text;
use super::parameter::{Form, PARAMETERS, Parameter};

/// Why the file was not written. `Display` is Redis's text, without its code.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// The server was started without `--config`.
    #[error("The server is running without a config file")]
    NoFile,
    /// Reading or writing failed.
    #[error("Rewriting config file: {}", reason(.0))]
    Io(#[from] io::Error),
    /// Somebody has broken the file since the server read it.
    #[error("Rewriting config file: it is not TOML any more")]
    NotToml,
}

/// What the operating system says, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Stands before what was added.
const ADDED: &str = "\n# Added by CONFIG REWRITE\n";

/// Writes `config` to the file that it came from.
///
/// # Errors
/// If there is no file, or if it can't be read and replaced; then it is as it was.
pub fn rewrite(config: &Config) -> Result<(), RewriteError> {
    let path = config.file.as_ref().ok_or(RewriteError::NoFile)?;
    // A link stays a link: what it points to is replaced.
    let path = fs::canonicalize(path)?;
    let old = fs::read_to_string(&path)?;
    let new = rewritten(&old, config).ok_or(RewriteError::NotToml)?;
    if new != old {
        replace(&path, new.as_bytes())?;
    }
    Ok(())
}

/// The text of the file `old` after `config` was written to it; `None` if `old` is not TOML.
fn rewritten(old: &str, config: &Config) -> Option<String> {
    let mut document: DocumentMut = old.parse().ok()?;
    let defaults = config.defaults_beside();
    let mut marker = if old.contains(ADDED.trim()) { "" } else { ADDED };
    for row in PARAMETERS.iter().filter(|row| !matches!(row.form, Form::Fixed(_))) {
        let key = row.names().find(|name| document.contains_key(name));
        if let Some(item) = key.and_then(|key| document.get_mut(key)) {
            update(row, item, config);
        } else if row.get(config) != row.get(&defaults) {
            document.insert(row.name, Item::Value(value(row, config)));
            if let Some(mut key) = document.key_mut(row.name) {
                key.leaf_decor_mut().set_prefix(std::mem::take(&mut marker));
            }
        }
    }
    Some(document.to_string())
}

/// Changes the value of a key that is in the file, unless it says what is in force.
fn update(row: &Parameter, item: &mut Item, config: &Config) {
    let mut written = config.clone();
    let says_it = value_text(row, item).is_some_and(|text| {
        row.set(&mut written, &text).is_ok() && row.get(&written) == row.get(config)
    });
    if says_it {
        return;
    }
    let mut new = value(row, config);
    if let Some(old) = item.as_value() {
        *new.decor_mut() = old.decor().clone();
    }
    *item = Item::Value(new);
}

/// The value of a row as a TOML value.
fn value(row: &Parameter, config: &Config) -> Value {
    match row.form {
        Form::Integer(_, get, _) => Value::from(get(config)),
        Form::Memory(_, get, _) => Value::from(format_memory(get(config))),
        Form::YesNo(get, _) => Value::from(get(config)),
        Form::Choice(..) | Form::Text(..) | Form::List(..) | Form::Fixed(_) => {
            Value::from(row.get(config))
        }
    }
}

/// A size in the largest unit that fits it.
fn format_memory(bytes: u64) -> String {
    let units = [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")];
    match units.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Replaces the file at `path` in one step. The new one has the rights of the old one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let rights = fs::metadata(path)?.permissions();
    let beside = beside(path);
    let write = || -> io::Result<()> {
        // It may hold a password: nobody else reads it before it has the rights of the old file.
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.set_permissions(rights)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // The error that is told is the first one.
        let _ = fs::remove_file(&beside);
    })?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory)?.sync_all()
}

/// A name of this process's own in the directory of `path`.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{ADDED, Config, RewriteError, format_memory, fs, rewrite, rewritten};
    use crate::config::load;

    fn loaded(path: &std::path::Path) -> Config {
        load(["ringmain", "--config", path.to_str().unwrap()]).unwrap()
    }

    #[test]
    fn what_is_in_force_is_written_and_the_rest_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ringmain.toml");
        let text = "# A cache.\nport=7000 # here\n\nmaxmemory = \"100mb\"  # plenty\n\
                    protected-mode = \"yes\"\nloglevel = 'notice'\n# The end.\n";
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let mut config = loaded(&path);
        rewrite(&config).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "nothing changed");

        config.maxmemory_bytes = 3 << 30;
        config.protected_mode = false;
        config.log_level = crate::config::LogLevel::Debug;
        config.timeout_s = 5;
        config.requirepass = Some(crate::config::Secret("it's \"x\"".to_owned()));
        rewrite(&config).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        let (kept, added) = written.split_once(ADDED).unwrap();
        assert_eq!(
            kept,
            "# A cache.\nport=7000 # here\n\nmaxmemory = \"3gb\"  # plenty\n\
             protected-mode = false\nloglevel = \"debug\"\n"
        );
        assert!(added.starts_with("timeout = 5\nrequirepass = "), "{added}");
        assert!(added.ends_with("# The end.\n"), "{added}");
        assert_eq!(loaded(&path), config);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no file is left behind");

        config.timeout_s = 6;
        config.latency_tracking = false;
        rewrite(&config).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert_eq!(written.matches(ADDED.trim()).count(), 1, "{written}");
        assert_eq!(loaded(&path), config);
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("real.toml"), directory.path().join("link.toml"));
        fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut config = loaded(&link);
        config.timeout_s = 9;
        rewrite(&config).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(loaded(&path).timeout_s, 9);
    }

    #[test]
    fn what_cannot_be_written_is_told_as_redis_does() {
        let config = Config::default();
        assert_eq!(
            rewrite(&config).unwrap_err().to_string(),
            "The server is running without a config file"
        );
        let gone = Config { file: Some("/nowhere/ringmain.toml".into()), ..config.clone() };
        assert_eq!(
            rewrite(&gone).unwrap_err().to_string(),
            "Rewriting config file: No such file or directory"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broken.toml");
        fs::write(&path, "port 6379").unwrap();
        let broken = Config { file: Some(path.clone()), ..config };
        assert!(matches!(rewrite(&broken), Err(RewriteError::NotToml)));
        assert_eq!(fs::read_to_string(path).unwrap(), "port 6379");
    }

    #[test]
    fn what_follows_the_machine_is_not_pinned_down() {
        let mut config = load(["ringmain", "--port", "7000"]).unwrap();
        config.timeout_s = 1;
        let written = rewritten("", &config).unwrap();
        assert_eq!(written, format!("{ADDED}port = 7000\ntimeout = 1\n"));
    }

    #[test]
    fn sizes_are_written_in_the_largest_unit() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1 << 10, "1kb"),
            (100 << 20, "100mb"),
            (1 << 30, "1gb"),
            (1500, "1500"),
        ] {
            assert_eq!(format_memory(bytes), text);
        }
    }
}
