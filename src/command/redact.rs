//! Which arguments are secrets, so that neither `SLOWLOG` nor `MONITOR` shows them.

use super::table::Entry;
use crate::protocol::Args;

/// What is shown instead.
const SHOWN: &[u8] = b"(redacted)";
/// Parameters of `CONFIG SET` whose values are secrets.
const SECRET_PARAMETERS: &[&str] = &["requirepass", "masterauth", "masteruser"];

/// The arguments of a request for `entry` as others may see them. An operation of the binary protocol
/// has extras where the name should be, and in a `hello` everything else is one.
pub fn shown<'a>(
    entry: &'static Entry,
    args: &Args<'a>,
    is_operation: bool,
) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
    let secrets = match entry.full_name {
        "hello" if is_operation => std::iter::once(1..args.len()).collect(),
        _ if is_operation => Vec::new(),
        _ => secrets(entry, args),
    };
    args.from(0).enumerate().map(move |(index, arg)| {
        if index == 0 && is_operation {
            entry.full_name.as_bytes()
        } else if secrets.iter().any(|secret| secret.contains(&index)) {
            SHOWN
        } else {
            arg
        }
    })
}

/// Ranges of argument indexes that hold secrets.
fn secrets(entry: &Entry, args: &Args<'_>) -> Vec<std::ops::Range<usize>> {
    match entry.full_name {
        "auth" => std::iter::once(1..args.len()).collect(),
        "hello" => (2..args.len())
            .filter(|index| args.at(*index).eq_ignore_ascii_case(b"auth"))
            .map(|index| index + 1..index + 3)
            .collect(),
        "config|set" => (2..args.len())
            .step_by(2)
            .filter(|index| {
                let named = |name: &&str| args.at(*index).eq_ignore_ascii_case(name.as_bytes());
                SECRET_PARAMETERS.iter().any(named)
            })
            .map(|index| index + 1..index + 2)
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;
    use crate::command::table::Table;
    use crate::command::testing::with_args;

    fn check(request: &str, expected: &str) {
        with_args(request, |args| {
            let entry = Table::get().resolve(args).unwrap();
            let shown: Vec<_> = shown(entry, args, false)
                .map(|arg| String::from_utf8_lossy(arg).into_owned())
                .collect();
            assert_eq!(shown.join(" "), expected);
        });
    }

    #[test]
    fn secrets_are_not_shown() {
        check("GET auth", "GET auth");
        check("AUTH hush", "AUTH (redacted)");
        check("auth me hush", "auth (redacted) (redacted)");
        check("HELLO 3 AUTH me hush SETNAME x", "HELLO 3 AUTH (redacted) (redacted) SETNAME x");
        check(
            "CONFIG SET maxmemory 0 RequirePass hush",
            "CONFIG SET maxmemory 0 RequirePass (redacted)",
        );
    }
}
