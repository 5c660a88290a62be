//! What a parameter is: everything that speaks of parameters comes from the rows of `table`.
//!
//! A row knows its names, the values it takes, where in a [`Config`] its value stands and whether it
//! changes while the server runs. Values travel as text, in Redis's form, so that a flag, a key of
//! the file and `CONFIG SET` are read by the same code. What is refused is refused in Redis's words.

use super::Config;
pub use super::table::PARAMETERS;
use super::value::parse_memory;

/// When a parameter may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At any time, with `CONFIG SET`.
    Live,
    /// Only when the server starts.
    AtStart,
}

/// The values that a parameter takes, and where in a [`Config`] it stands.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A decimal number within bounds.
    Integer(Bounds<i64>, fn(&Config) -> i64, fn(&mut Config, i64)),
    /// A size in bytes within bounds.
    Memory(Bounds<u64>, fn(&Config) -> u64, fn(&mut Config, u64)),
    /// `yes` or `no`.
    YesNo(fn(&Config) -> bool, fn(&mut Config, bool)),
    /// One of these names, in any case; getter and setter speak of the name's index.
    Choice(&'static [&'static str], fn(&Config) -> usize, fn(&mut Config, usize)),
    /// Text in a form of its own, described as the end of "it takes …".
    Text(&'static str, fn(&Config) -> String, SetText),
    /// As `Text`, with items that spaces or commas separate: in the file also an array.
    List(&'static str, fn(&Config) -> String, SetText),
    /// This value and no other: a setting of Redis's whose answer is always the same here.
    Fixed(&'static str),
}

/// Reads text into a [`Config`]; an error is in Redis's words and leaves the [`Config`] as it was.
pub type SetText = fn(&mut Config, &str) -> Result<(), &'static str>;

/// The least and the greatest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<T>(pub T, pub T);

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// The name of the flag, of the key in the file and of the parameter of `CONFIG`.
    pub name: &'static str,
    /// Another name that is accepted for it.
    pub alias: Option<&'static str>,
    /// The values it takes.
    pub form: Form,
    /// When it may change.
    pub change: Change,
    /// What it does, for `--help` and the manual.
    pub doc: &'static str,
}

/// Why a value was refused, in Redis's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a number.
    #[error("argument couldn't be parsed into an integer")]
    NotAnInteger,
    /// Not a size.
    #[error("argument must be a memory value")]
    NotAMemoryValue,
    /// Out of these bounds.
    #[error("argument must be between {0} and {1} inclusive")]
    OutOfRange(i128, i128),
    /// Neither `yes` nor `no`.
    #[error("argument must be 'yes' or 'no'")]
    NotYesNo,
    /// None of these names.
    #[error("argument(s) must be one of the following: {}", .0.join(", "))]
    NotAChoice(&'static [&'static str]),
    /// A value that never changes.
    #[error("can't set immutable config")]
    Immutable,
    /// Any other reason.
    #[error("{0}")]
    Text(&'static str),
}

impl Parameter {
    /// The row of `name` or of the parameter it is an alias of, in any case.
    pub fn find(name: &str) -> Option<&'static Self> {
        PARAMETERS.iter().find(|row| row.names().any(|known| known.eq_ignore_ascii_case(name)))
    }

    /// The name and the alias.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.alias)
    }

    /// What holds if nothing is said, in words where it follows from something else.
    pub fn default_words(&self) -> String {
        let followed = FOLLOWED.iter().find(|(name, _)| *name == self.name);
        let default = || match self.get(&Config::default()) {
            value if value.is_empty() => "empty".to_owned(),
            value => value,
        };
        followed.map_or_else(default, |(_, words)| (*words).to_owned())
    }

    /// The value that stands in `config`, as `CONFIG GET` answers it.
    pub fn get(&self, config: &Config) -> String {
        match self.form {
            Form::Integer(_, get, _) => get(config).to_string(),
            Form::Memory(_, get, _) => get(config).to_string(),
            Form::YesNo(get, _) => if get(config) { "yes" } else { "no" }.to_owned(),
            Form::Choice(names, get, _) => names[get(config)].to_owned(),
            Form::Text(_, get, _) | Form::List(_, get, _) => get(config),
            Form::Fixed(value) => value.to_owned(),
        }
    }

    /// Sets the value in `config`, whether or not the parameter may change at run time. On an error
    /// `config` is as it was.
    pub fn set(&self, config: &mut Config, value: &str) -> Result<(), ValueError> {
        match self.form {
            Form::Integer(bounds, _, set) => {
                set(config, bounds.check(parse_integer(value).ok_or(ValueError::NotAnInteger)?)?);
            }
            Form::Memory(bounds, _, set) => {
                set(config, bounds.check(parse_memory(value).ok_or(ValueError::NotAMemoryValue)?)?);
            }
            Form::YesNo(_, set) => set(config, parse_yes_no(value).ok_or(ValueError::NotYesNo)?),
            Form::Choice(names, _, set) => {
                let index = names.iter().position(|name| name.eq_ignore_ascii_case(value));
                set(config, index.ok_or(ValueError::NotAChoice(names))?);
            }
            Form::Text(_, _, set) | Form::List(_, _, set) => {
                set(config, value).map_err(ValueError::Text)?;
            }
            Form::Fixed(only) if only.eq_ignore_ascii_case(value) => {}
            Form::Fixed(_) => return Err(ValueError::Immutable),
        }
        Ok(())
    }

    /// What it takes, as the end of "it takes …".
    pub fn accepts(&self) -> String {
        match self.form {
            Form::Integer(Bounds(min, i64::MAX), ..) => format!("a number from {min} up"),
            Form::Integer(Bounds(min, max), ..) => format!("a number from {min} to {max}"),
            Form::Memory(Bounds(0, u64::MAX), ..) => "a size such as 100mb or 1gb".to_owned(),
            Form::Memory(Bounds(min, SIZE_MAX), ..) => {
                format!("a size such as 100mb or 1gb, from {min} bytes up")
            }
            Form::Memory(Bounds(min, max), ..) => {
                format!("a size such as 100mb or 1gb, from {min} to {max} bytes")
            }
            Form::YesNo(..) => "yes or no".to_owned(),
            Form::Choice(names, ..) => format!("one of {}", names.join(", ")),
            Form::Text(accepts, ..) | Form::List(accepts, ..) => accepts.to_owned(),
            Form::Fixed("") => "the empty text only".to_owned(),
            Form::Fixed(value) => format!("{value} only"),
        }
    }
}

impl<T: Copy + PartialOrd + Into<i128>> Bounds<T> {
    fn check(self, value: T) -> Result<T, ValueError> {
        if value < self.0 || value > self.1 {
            return Err(ValueError::OutOfRange(self.0.into(), self.1.into()));
        }
        Ok(value)
    }
}

/// Digits with at most a minus sign before them, as Redis reads numbers.
fn parse_integer(text: &str) -> Option<i64> {
    if text.starts_with('+') { None } else { text.parse().ok() }
}

fn parse_yes_no(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// The defaults that follow from the machine or from another parameter.
const FOLLOWED: &[(&str, &str)] = &[
    ("shard-port-base", "port + 10000"),
    ("shards", "one per CPU"),
    ("cpus", "all that the process may use"),
    ("cluster-port", "port + 20000 on a node of a cluster"),
    ("dir", "ringmain-data in the current directory"),
];

/// The greatest size that Redis takes where it does not take all 64 bits.
pub(super) const SIZE_MAX: u64 = i64::MAX as u64;

#[cfg(test)]
mod tests {
    use super::{Bounds, Config, Form, PARAMETERS, Parameter};

    #[test]
    fn names_are_unique() {
        let names: Vec<_> = PARAMETERS.iter().flat_map(Parameter::names).collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
            assert_eq!(name.to_ascii_lowercase(), *name);
        }
    }

    #[test]
    fn every_row_takes_what_it_shows() {
        let default = Config::default();
        for row in PARAMETERS {
            let mut config = default.clone();
            assert_eq!(row.set(&mut config, &row.get(&default)), Ok(()), "{}", row.name);
            assert_eq!(config, default, "{}", row.name);
        }
    }

    #[test]
    fn every_row_s_bounds_fit_its_field() {
        for row in PARAMETERS {
            let bounds = match row.form {
                Form::Integer(Bounds(min, max), ..) => [min.to_string(), max.to_string()],
                Form::Memory(Bounds(min, max), ..) => [min.to_string(), max.to_string()],
                Form::YesNo(..) => ["yes".to_owned(), "no".to_owned()],
                Form::Choice(names, ..) => [names[0].to_owned(), names[names.len() - 1].to_owned()],
                Form::Text(..) | Form::List(..) | Form::Fixed(_) => continue,
            };
            for bound in bounds {
                let mut config = Config::default();
                assert_eq!(row.set(&mut config, &bound), Ok(()), "{} {bound}", row.name);
                assert_eq!(row.get(&config), bound, "{}", row.name);
            }
        }
    }

    /// The rows of the manual's tables, as they stand in `docs/configuration.md`.
    fn manual_rows() -> Vec<String> {
        let cell = |text: &str| text.replace('|', "\\|");
        PARAMETERS
            .iter()
            .map(|row| {
                let names: Vec<_> = row.names().map(|name| format!("`{name}`")).collect();
                let (name, doc) = (names.join(", "), cell(row.doc));
                let change = match row.change {
                    super::Change::Live => "yes",
                    super::Change::AtStart => "no",
                };
                match row.form {
                    Form::Fixed("") => format!("| {name} | empty | {doc} |"),
                    Form::Fixed(value) => format!("| {name} | `{value}` | {doc} |"),
                    _ => format!(
                        "| {name} | {} | {} | {change} | {doc} |",
                        cell(&row.default_words()),
                        cell(&row.accepts()),
                    ),
                }
            })
            .collect()
    }

    #[test]
    fn the_manual_says_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let manual = std::fs::read_to_string(path).unwrap_or_default();
        let found: Vec<&str> = manual.lines().filter(|line| line.starts_with("| `")).collect();
        let rows = manual_rows();
        assert!(found == rows, "{path} must hold these rows:\n{}", rows.join("\n"));
    }
}
