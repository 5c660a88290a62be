//! `CONFIG SET`: several parameters at once, all or none, refused in Redis's order and words.

use super::parameter::{Change, Form, Parameter, ValueError};
use super::{Config, Refusal};

/// Why nothing was set. `Display` is Redis's text, without its code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No such parameter.
    #[error("Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    /// A parameter could not be set.
    #[error("CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Failed {
        /// Its name.
        name: String,
        /// What Redis says about it.
        reason: String,
    },
}

impl SetError {
    fn failed(name: &str, reason: impl ToString) -> Self {
        Self::Failed { name: name.to_owned(), reason: reason.to_string() }
    }
}

impl From<Refusal> for SetError {
    fn from(refusal: Refusal) -> Self {
        Self::failed(refusal.parameter, refusal.reason)
    }
}

/// Sets each name to its value. On an error `config` may be half changed: give it a copy.
///
/// Names are judged before any value: unknown, immutable and repeated ones are found first.
pub fn set_all<'a>(
    config: &mut Config,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> Result<(), SetError> {
    let mut rows: Vec<&Parameter> = Vec::new();
    for (name, _) in pairs.clone() {
        let row = settable(name)?;
        if rows.iter().any(|earlier| earlier.name == row.name) {
            return Err(SetError::failed(&String::from_utf8_lossy(name), "duplicate parameter"));
        }
        rows.push(row);
    }
    for (row, (name, value)) in rows.into_iter().zip(pairs) {
        let set = match str::from_utf8(value) {
            Ok(value) => row.set(config, value),
            Err(_) => Err(ValueError::Text("argument must be UTF-8 text")),
        };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        set.map_err(|reason| SetError::failed(&name, reason))?;
    }
    Ok(())
}

/// The row of `name`, if it is one that `CONFIG SET` may set. A fixed parameter may be set to the
/// value that it has.
fn settable(name: &[u8]) -> Result<&'static Parameter, SetError> {
    let name = String::from_utf8_lossy(name);
    let row = Parameter::find(&name).ok_or_else(|| SetError::Unknown(name.clone().into_owned()))?;
    match (row.change, row.form) {
        (Change::Live, _) | (Change::AtStart, Form::Fixed(_)) => Ok(row),
        (Change::AtStart, _) => Err(SetError::failed(&name, ValueError::Immutable)),
    }
}
