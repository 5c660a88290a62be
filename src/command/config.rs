//! `CONFIG`: the parameters of the running server. The table of parameters does the work; what a
//! change does to the machine, and the writing of the file, is behind `config::Host`.

use super::glob::{self, Case};
use super::{Action, Command, Error, Flags, Group, Handler, Keys, SessionCx, SessionHandler};
use crate::config::parameter::{PARAMETERS, Parameter};
use crate::config::set::set_all;
use crate::config::{Durability, Live};
use crate::protocol::{Args, Reply};

/// The rows of this file.
pub const COMMANDS: &[Command] = &[Command {
    name: "config",
    arity: -2,
    flags: Flags::empty(),
    keys: Keys::None,
    handler: Handler::Container(&[
        row("get", -3, get, "Answers the parameters whose names match.", "2.0.0", O_PARAMETERS),
        row("set", -4, set, "Changes parameters, all of them or none.", "2.0.0", O_PARAMETERS),
        row("resetstat", 2, reset_stat, "Sets the statistics back to zero.", "2.0.0", "O(1)"),
        row("rewrite", 2, rewrite, "Writes the parameters to the file.", "2.8.0", "O(1)"),
        Command {
            flags: Flags::LOADING.union(Flags::STALE),
            ..row("help", 2, help, "Tells how the subcommands are used.", "5.0.0", "O(1)")
        },
    ]),
    group: Group::Server,
    summary: "Holds the commands on the server's parameters.",
    since: "2.0.0",
    steps: None,
    complexity: "Depends on subcommand.",
}];

const O_PARAMETERS: &str = "O(N) with N the number of parameters named";

const FLAGS: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const fn row(
    name: &'static str,
    arity: i8,
    handler: SessionHandler,
    summary: &'static str,
    since: &'static str,
    complexity: &'static str,
) -> Command {
    Command {
        name,
        arity,
        flags: FLAGS,
        keys: Keys::None,
        handler: Handler::Session(handler),
        group: Group::Server,
        summary,
        since,
        steps: None,
        complexity,
    }
}

fn get(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    show(&cx.node.config, args, reply);
    Ok(())
}

/// Answers the parameters that the patterns from argument 2 on match, each once.
fn show(live: &Live, args: &Args<'_>, reply: &mut Reply<'_>) {
    let config = live.load();
    let mut found: Vec<(&[u8], &Parameter)> = Vec::new();
    for pattern in args.from(2) {
        for (name, row) in matching(pattern) {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name, row));
            }
        }
    }
    reply.map(found.len());
    for (name, row) in found {
        reply.bulk(name);
        reply.bulk(row.get(&config).as_bytes());
    }
}

/// The parameters that `pattern` names. A name without a wildcard is answered as it was written.
fn matching(pattern: &[u8]) -> Vec<(&[u8], &'static Parameter)> {
    if pattern.iter().any(|byte| b"*?[".contains(byte)) {
        let names = PARAMETERS.iter().flat_map(|row| row.names().map(move |name| (name, row)));
        let matches = |name: &str| glob::matches(pattern, name.as_bytes(), Case::Insensitive);
        names.filter(|(name, _)| matches(name)).map(|(name, row)| (name.as_bytes(), row)).collect()
    } else {
        let row = str::from_utf8(pattern).ok().and_then(Parameter::find);
        row.map(|row| (pattern, row)).into_iter().collect()
    }
}

fn set(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    change(&cx.node.config, args)?;
    cx.actions.push(Action::ConfigChanged);
    let mut positions = (2..args.len()).step_by(2);
    let named = positions.rfind(|name| args.at(*name).eq_ignore_ascii_case(b"durability"));
    if let Some(asked) = named.and_then(|name| Durability::from_name(args.at(name + 1))) {
        // The runtime answers when it holds.
        cx.actions.push(Action::AwaitDurability(asked));
    } else {
        reply.ok();
    }
    Ok(())
}

/// Sets the pairs of name and value from argument 2 on.
fn change(live: &Live, args: &Args<'_>) -> Result<(), Error> {
    if !args.len().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    let pairs = args.from(2).step_by(2).zip(args.from(3).step_by(2));
    live.try_update(|config| set_all(config, pairs))
        .map_err(|error| Error::Text(format!("ERR {error}")))
}

fn reset_stat(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    cx.node.reset_stats();
    reply.ok();
    Ok(())
}

fn rewrite(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    // The core waits for the disk here, as Redis does: whoever asks wants to know the outcome.
    cx.node.config.rewrite().map_err(|reason| Error::Text(format!("ERR {reason}")))?;
    reply.ok();
    Ok(())
}

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    reply.array(HELP.len());
    HELP.iter().for_each(|line| reply.simple(line));
    Ok(())
}

const HELP: &[&str] = &[
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern> [<pattern> ...]",
    "    Answer the parameters that match a glob-like <pattern>, with their values.",
    "SET <parameter> <value> [<parameter> <value> ...]",
    "    Change each <parameter> to its <value>; if one is refused, none is changed.",
    "RESETSTAT",
    "    Set the statistics that INFO shows back to zero.",
    "REWRITE",
    "    Write the parameters to the file that the server was started with.",
    "HELP",
    "    Print this help.",
];

#[cfg(test)]
mod tests {
    use super::{Error, Live, change, show};
    use crate::config::{Config, Host, Refusal};
    use crate::protocol::args::ArgRange;
    use crate::protocol::{Args, Proto, Reply};

    /// A machine that has a hundred file descriptors.
    #[derive(Debug)]
    struct Small;

    impl Host for Small {
        fn apply(&self, _: &Config, new: &Config) -> Result<(), Refusal> {
            if new.maxclients <= 100 {
                return Ok(());
            }
            Err(Refusal { parameter: "maxclients", reason: "try with 100".to_owned() })
        }

        fn rewrite(&self, _: &Config) -> Result<(), String> {
            Ok(())
        }
    }

    fn live() -> Live {
        let config = Config { maxclients: 100, port: 6379, ..Config::default() };
        Live::with_host(config, Box::new(Small))
    }

    /// Calls `run` with `words` as the arguments of a request.
    fn with_args<R>(words: &[&[u8]], run: impl FnOnce(&Args<'_>) -> R) -> R {
        let bytes = words.concat();
        let mut start = 0;
        let mut ranges = Vec::new();
        for word in words {
            let length = u32::try_from(word.len()).unwrap();
            ranges.push(ArgRange { start, length });
            start += length;
        }
        run(&Args::new(&bytes, &ranges))
    }

    /// What `CONFIG SET` with `words` answers.
    fn set_bytes(live: &Live, words: &[&[u8]]) -> String {
        let answer =
            with_args(&[&[&b"config"[..], b"set"], words].concat(), |args| change(live, args));
        answer.map_or_else(|error: Error| error.to_string(), |()| "OK".to_owned())
    }

    /// As `set_bytes`, with words separated by spaces.
    fn set(live: &Live, words: &str) -> String {
        set_bytes(live, &words.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// The lines of what `CONFIG GET` with `patterns` answers.
    fn get(live: &Live, patterns: &str) -> String {
        let words = ["config", "get"].into_iter().chain(patterns.split(' '));
        let words: Vec<&[u8]> = words.map(str::as_bytes).collect();
        let mut out = Vec::new();
        with_args(&words, |args| show(live, args, &mut Reply::new(&mut out, Proto::Resp2)));
        String::from_utf8(out).unwrap().replace("\r\n", " ").trim_end().to_owned()
    }

    #[test]
    fn get_answers_what_the_patterns_match() {
        let live = live();
        for (patterns, answer) in [
            ("port", "*2 $4 port $4 6379"),
            ("PoRt", "*2 $4 PoRt $4 6379"),
            ("nosuch", "*0"),
            ("save appendonly", "*4 $4 save $0  $10 appendonly $2 no"),
            ("maxmemory-p* MAXMEMORY-POLICY", "*2 $16 maxmemory-policy $10 noeviction"),
            ("port p?rt [p]ort PORT", "*2 $4 port $4 6379"),
            ("loglevel", "*2 $8 loglevel $6 notice"),
            ("*loglevel *log-level", "*4 $8 loglevel $6 notice $9 log-level $6 notice"),
        ] {
            assert_eq!(get(&live, patterns), answer, "{patterns}");
        }
        assert!(get(&live, "*").contains(" requirepass $0 "));
    }

    #[test]
    fn set_takes_all_or_nothing() {
        let live = live();
        assert_eq!(set(&live, "maxmemory 1Gb TIMEOUT 5"), "OK");
        assert_eq!((live.load().maxmemory_bytes, live.load().timeout_s), (1 << 30, 5));
        let generation = live.generation();
        for words in ["timeout 6 maxmemory lots", "timeout 6 nosuch 1", "timeout 6 maxclients 101"]
        {
            assert_ne!(set(&live, words), "OK");
            assert_eq!((live.load().timeout_s, live.generation()), (5, generation), "{words}");
        }
    }

    #[test]
    fn set_refuses_in_redis_s_words() {
        let failed = |name: &str, reason: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
        };
        let integer = "argument couldn't be parsed into an integer";
        let memory = "argument must be a memory value";
        let immutable = "can't set immutable config";
        let duplicate = "duplicate parameter";
        for (words, answer) in [
            ("a 1 b", "ERR syntax error".to_owned()),
            (
                "nosuch 1",
                "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'".into(),
            ),
            (
                "bar 8 foo 9 databases 9",
                "ERR Unknown option or number of arguments for CONFIG SET - 'bar'".into(),
            ),
            ("maxmemory abc", failed("maxmemory", memory)),
            ("MAXMEMORY -1", failed("maxmemory", memory)),
            ("maxmemory 10mb maxmemory 20mb", failed("maxmemory", duplicate)),
            ("TIMEOUT 2 Timeout 3", failed("Timeout", duplicate)),
            ("loglevel debug log-level debug", failed("log-level", duplicate)),
            ("tcp-backlog 3", failed("tcp-backlog", immutable)),
            ("tcp-backlog 511", failed("tcp-backlog", immutable)),
            ("port 1 maxclients x tcp-backlog 3", failed("port", immutable)),
            ("databases 4", failed("databases", immutable)),
            ("save 1", failed("save", immutable)),
            (
                "maxmemory-policy allkeys-lfu",
                failed(
                    "maxmemory-policy",
                    "argument(s) must be one of the following: volatile-lru, volatile-random, \
                     volatile-ttl, allkeys-lru, allkeys-random, noeviction",
                ),
            ),
            (
                "maxclients 0",
                failed("maxclients", "argument must be between 1 and 4294967295 inclusive"),
            ),
            ("maxclients abc", failed("maxclients", integer)),
            ("maxclients 101", failed("maxclients", "try with 100")),
            (
                "timeout -1",
                failed("timeout", "argument must be between 0 and 2147483647 inclusive"),
            ),
            ("timeout 5x", failed("timeout", integer)),
            ("timeout +5", failed("timeout", integer)),
            ("timeout ", failed("timeout", integer)),
            (
                "loglevel foo",
                failed(
                    "loglevel",
                    "argument(s) must be one of the following: debug, verbose, notice, warning",
                ),
            ),
            ("protected-mode maybe", failed("protected-mode", "argument must be 'yes' or 'no'")),
            (
                "slowlog-log-slower-than -2",
                failed(
                    "slowlog-log-slower-than",
                    "argument must be between -1 and 9223372036854775807 inclusive",
                ),
            ),
            (
                "client-query-buffer-limit 1",
                failed(
                    "client-query-buffer-limit",
                    "argument must be between 1048576 and 9223372036854775807 inclusive",
                ),
            ),
            (
                "latency-tracking-info-percentiles 50,99",
                failed(
                    "latency-tracking-info-percentiles",
                    "Invalid latency-tracking-info-percentiles parameters",
                ),
            ),
            (
                "latency-tracking-info-percentiles 101",
                failed(
                    "latency-tracking-info-percentiles",
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
                ),
            ),
            (
                "client-output-buffer-limit foo",
                failed(
                    "client-output-buffer-limit",
                    "Wrong number of arguments in buffer limit configuration.",
                ),
            ),
        ] {
            assert_eq!(set(&live(), words), answer, "{words}");
        }
        assert_eq!(
            set_bytes(&live(), &[b"requirepass", b"\xff"]),
            failed("requirepass", "argument must be UTF-8 text")
        );
    }

    #[test]
    fn set_takes_what_redis_s_tools_send() {
        for words in [
            "save ",
            "appendonly no",
            "databases 16",
            "protected-mode NO",
            "maxmemory-policy ALLKEYS-LRU",
            "slowlog-log-slower-than -1",
            "requirepass ",
        ] {
            assert_eq!(set(&live(), words), "OK", "{words}");
        }
        let live = live();
        assert_eq!(set_bytes(&live, &[b"client-output-buffer-limit", b"normal 1mb 2mb 60"]), "OK");
        assert_eq!(
            get(&live, "client-output-buffer-limit"),
            "*2 $26 client-output-buffer-limit $80 normal 1048576 2097152 60 slave 268435456 67108864 60 \
             pubsub 33554432 8388608 60"
        );
    }
}
