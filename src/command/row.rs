//! A short way to write rows of commands that take no keys (connection, server, cluster) or one.

use super::{Command, DataHandler, Error, Flags, Group, Handler, Keys, SessionHandler, Stepwise};
use crate::protocol::{Args, Reply};

impl Command {
    /// A command on the session without flags or keys.
    pub(super) const fn session(
        name: &'static str,
        arity: i8,
        group: Group,
        handler: SessionHandler,
    ) -> Self {
        Self {
            name,
            arity,
            flags: Flags::empty(),
            keys: Keys::None,
            handler: Handler::Session(handler),
            group,
            summary: "",
            since: "1.0.0",
            steps: None,
            complexity: "O(1)",
        }
    }

    /// A command on the key that is its first argument, without flags.
    pub(super) const fn keyed(
        name: &'static str,
        arity: i8,
        group: Group,
        handler: DataHandler,
    ) -> Self {
        Self {
            name,
            arity,
            flags: Flags::empty(),
            keys: Keys::ONE,
            handler: Handler::Keyed(handler),
            group,
            summary: "",
            since: "1.0.0",
            steps: None,
            complexity: "O(1)",
        }
    }

    /// A command that leads to others.
    pub(super) const fn container(
        name: &'static str,
        group: Group,
        rows: &'static [Self],
        since: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            name,
            arity: -2,
            flags: Flags::empty(),
            keys: Keys::None,
            handler: Handler::Container(rows),
            group,
            summary,
            since,
            steps: None,
            complexity: "Depends on the subcommand.",
        }
    }

    /// The same with these flags; what can be run in steps is whatever a request asks for.
    pub(super) const fn with(self, flags: Flags) -> Self {
        let is_stepwise = flags.contains(Flags::STEPWISE);
        Self { flags, steps: if is_stepwise { Some(Stepwise::ALWAYS) } else { None }, ..self }
    }

    /// The same, run in steps.
    pub(super) const fn in_steps(self, steps: Stepwise) -> Self {
        Self { flags: self.flags.union(Flags::STEPWISE), steps: Some(steps), ..self }
    }

    /// The same with its keys elsewhere.
    pub(super) const fn on(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// The same with the version that introduced it and what it does.
    pub(super) const fn doc(self, since: &'static str, summary: &'static str) -> Self {
        Self { since, summary, ..self }
    }

    /// The same with another cost than `O(1)`.
    pub(super) const fn cost(self, complexity: &'static str) -> Self {
        Self { complexity, ..self }
    }
}

/// What Redis answers when a subcommand has more arguments than its arity forbids but than it takes.
#[cold]
pub(super) fn subcommand_syntax(args: &Args<'_>) -> Error {
    let upper = String::from_utf8_lossy(args.at(0)).to_ascii_uppercase();
    let name = String::from_utf8_lossy(args.get(1).unwrap_or_default());
    Error::Text(format!(
        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try {upper} HELP."
    ))
}

/// Answers the `HELP` of a container: its usage, `lines`, and `HELP` itself.
pub(super) fn write_help(container: &str, lines: &[&str], reply: &mut Reply<'_>) {
    reply.array(lines.len() + 3);
    reply.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Prints this help.");
}
