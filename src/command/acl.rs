//! The little of `ACL` that a server with one user has to say.

use super::connection::DEFAULT_USER;
use super::details::{Categories, categories};
use super::row::{subcommand_syntax, write_help};
use super::table::Table;
use super::{Command, Error, Flags, Group, SessionCx};
use crate::protocol::{Args, Reply};

const PLAIN: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);

/// The rows of this file.
pub const COMMANDS: &[Command] = &[Command::container(
    "acl",
    Group::Server,
    ROWS,
    "6.0.0",
    "Commands on users and permissions.",
)];

const ROWS: &[Command] = &[
    Command::session("cat", -2, Group::Server, cat)
        .with(PLAIN)
        .doc("6.0.0", "Lists the categories of commands, or the commands of one.")
        .cost("O(N) in the number of commands"),
    Command::session("help", 2, Group::Server, help)
        .with(Flags::LOADING.union(Flags::STALE))
        .doc("6.0.0", "Tells what the subcommands do."),
    Command::session("users", 2, Group::Server, users)
        .with(PLAIN.union(Flags::ADMIN))
        .doc("6.0.0", "Lists the users."),
    Command::session("whoami", 2, Group::Server, whoami)
        .with(PLAIN)
        .doc("6.0.0", "Answers who this client is."),
];

const HELP_LINES: &[&str] = &[
    "CAT [<category>]",
    "    The categories of commands, or the commands of one category.",
    "USERS",
    "    The users: there is only one.",
    "WHOAMI",
    "    The user of this connection.",
];

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    write_help("ACL", HELP_LINES, reply);
    Ok(())
}

fn whoami(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.bulk(DEFAULT_USER.as_bytes());
    Ok(())
}

fn users(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(1);
    reply.bulk(DEFAULT_USER.as_bytes());
    Ok(())
}

fn cat(_: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let Some(name) = args.get(2) else {
        reply.array(Categories::ORDER.len());
        Categories::ORDER.iter().for_each(|(_, name)| reply.bulk(name.as_bytes()));
        return Ok(());
    };
    if args.len() > 3 {
        return Err(subcommand_syntax(args));
    }
    let Some(category) = Categories::named(name) else {
        let name = String::from_utf8_lossy(name);
        return Err(Error::Text(format!("ERR Unknown category '{name}'")));
    };
    let table = Table::get();
    let members: Vec<&str> = table
        .listed()
        .filter(|entry| categories(entry).includes(category))
        .map(|entry| entry.full_name)
        .collect();
    reply.array(members.len());
    members.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Client, node};

    #[test]
    fn there_is_one_user_and_all_categories() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        client.check(&[
            ("ACL WHOAMI", "$7⏎default"),
            ("ACL USERS", "*1⏎$7⏎default"),
            ("ACL CAT x", "-ERR Unknown category 'x'"),
            ("ACL CAT geo", "*0"),
            (
                "ACL CAT string x",
                "-ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.",
            ),
        ]);
        assert!(client.run("ACL CAT").starts_with("*21⏎$8⏎keyspace⏎"));
        let connection = client.run("ACL CAT connection");
        for name in ["ping", "client|kill", "command", "command|docs", "readonly"] {
            assert!(connection.contains(&format!("${}⏎{name}⏎", name.len())), "{name}");
        }
        assert!(!connection.contains("⏎client⏎"));
    }
}
