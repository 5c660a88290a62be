//! `LATENCY`: how long commands take, and when something took too long.

mod histograms;

use std::fmt::Write as _;

pub(super) use histograms::{command_stats, stage_latencies};

use super::row::write_help;
use super::{Command, Error, Flags, Group, SessionCx};
use crate::node::latency::{EventHistory, Spike};
use crate::protocol::{Args, Reply};

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

/// The rows of this file.
pub const COMMANDS: &[Command] = &[Command::container(
    "latency",
    Group::Server,
    ROWS,
    "2.8.13",
    "Commands on the time that commands take.",
)];

const ROWS: &[Command] = &[
    row("doctor", 2, doctor).doc("2.8.13", "Looks at latency spikes and tells what it finds."),
    row("export", -3, histograms::export)
        .doc("7.0.0", "Answers histograms of stages or commands as HdrHistogram writes them.")
        .cost("O(N) in the number of histograms"),
    row("graph", 3, graph).doc("2.8.13", "Draws the spikes of an event."),
    row("help", 2, help)
        .with(Flags::LOADING.union(Flags::STALE))
        .doc("2.8.13", "Tells what the subcommands do."),
    row("histogram", -2, histograms::histogram)
        .doc("7.0.0", "Answers how the latencies of commands are distributed.")
        .cost("O(N) in the number of commands"),
    row("history", 3, history).doc("2.8.13", "Answers the spikes of an event."),
    row("latest", 2, latest).doc("2.8.13", "Answers the latest spike of each event."),
    row("reset", -2, reset).doc("2.8.13", "Forgets the spikes of events."),
    row("stages", -2, histograms::stages)
        .doc("7.0.0", "Answers where the time of requests goes, or forgets it.")
        .cost("O(N) in the number of cores"),
];

const fn row(name: &'static str, arity: i8, handler: super::SessionHandler) -> Command {
    Command::session(name, arity, Group::Server, handler).with(ADMIN)
}

const HELP_LINES: &[&str] = &[
    "DOCTOR",
    "    What the spikes seen so far tell, in words.",
    "EXPORT (STAGES|COMMANDS) [CORE <core>] [<name> ...]",
    "    Histograms of these stages or commands, or of all, in nanoseconds, in HdrHistogram's encoding",
    "    (V2) in base64; of all cores together, or of one.",
    "GRAPH <event>",
    "    The spikes of an event, drawn.",
    "HISTOGRAM [<command> ...]",
    "    How many calls took how long, for these commands or for all, each figure with those below.",
    "HISTORY <event>",
    "    Time and length of the spikes of an event.",
    "LATEST",
    "    The latest spike of each event, and the longest.",
    "RESET [<event> ...]",
    "    Forget the spikes of these events, or of all.",
    "STAGES [CORE <core>]",
    "    Where the time of requests goes, in nanoseconds; on all cores together, or on one.",
    "STAGES RESET",
    "    Forget it.",
];

type Answer = Result<(), Error>;

fn help(_: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    write_help("LATENCY", HELP_LINES, reply);
    Ok(())
}

fn integer(value: u64, reply: &mut Reply<'_>) {
    reply.integer(i64::try_from(value).unwrap_or(i64::MAX));
}

// --- spikes --------------------------------------------------------------------------------------

fn latest(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let events = cx.node.latency_events.all();
    let latest: Vec<(&str, Spike, u64)> = events
        .iter()
        .filter_map(|(event, history)| Some((*event, *history.spikes.last()?, history.max_ms)))
        .collect();
    reply.array(latest.len());
    for (event, spike, max_ms) in latest {
        reply.array(4);
        reply.bulk(event.as_bytes());
        integer(spike.at_seconds, reply);
        integer(spike.latency_ms, reply);
        integer(max_ms, reply);
    }
    Ok(())
}

fn history(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let history = cx.node.latency_events.history(args.at(2)).unwrap_or_default();
    reply.array(history.spikes.len());
    for spike in history.spikes {
        reply.array(2);
        integer(spike.at_seconds, reply);
        integer(spike.latency_ms, reply);
    }
    Ok(())
}

fn reset(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let all = args.len() == 2;
    let count = cx
        .node
        .latency_events
        .reset(|event| all || args.from(2).any(|name| name.eq_ignore_ascii_case(event.as_bytes())));
    integer(count as u64, reply);
    Ok(())
}

/// Rows of a drawing.
const GRAPH_ROWS: u64 = 4;

fn graph(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let event = args.at(2);
    let history = cx.node.latency_events.history(event).filter(|found| !found.spikes.is_empty());
    let event = String::from_utf8_lossy(event);
    let history = history
        .ok_or_else(|| Error::Text(format!("ERR No samples available for event '{event}'")))?;
    reply.verbatim(&draw(&event, &history, cx.now.unix.0 / 1000));
    Ok(())
}

/// One column for each spike, as high as it was long, with its age below.
fn draw(event: &str, history: &EventHistory, now_seconds: u64) -> String {
    let lengths = || history.spikes.iter().map(|spike| spike.latency_ms);
    let (least, most) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
    let mut text = format!(
        "{event} - high {most} ms, low {least} ms (all time high {} ms)\n{}\n",
        history.max_ms,
        "-".repeat(80)
    );
    let level = |ms: u64| (ms - least) * (GRAPH_ROWS - 1) / (most - least).max(1);
    for row in (0..GRAPH_ROWS).rev() {
        let columns: String = lengths()
            .map(|ms| match level(ms).cmp(&row) {
                std::cmp::Ordering::Less => ' ',
                std::cmp::Ordering::Equal => '#',
                std::cmp::Ordering::Greater => '|',
            })
            .collect();
        text.push_str(columns.trim_end());
        text.push('\n');
    }
    text.push('\n');
    let ages: Vec<Vec<char>> = history
        .spikes
        .iter()
        .map(|spike| age(now_seconds.saturating_sub(spike.at_seconds)).chars().collect())
        .collect();
    for row in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
        let letters: String = ages.iter().map(|age| age.get(row).unwrap_or(&' ')).collect();
        text.push_str(letters.trim_end());
        text.push('\n');
    }
    text
}

/// A time span in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

// --- DOCTOR --------------------------------------------------------------------------------------

fn doctor(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let threshold = cx.node.config.load().latency_monitor_threshold_ms;
    let events = cx.node.latency_events.all();
    reply.verbatim(&diagnose(&events, threshold));
    Ok(())
}

fn diagnose(events: &[(&'static str, EventHistory)], threshold_ms: u64) -> String {
    if threshold_ms == 0 && events.is_empty() {
        return "Latency spikes are not recorded. \"CONFIG SET latency-monitor-threshold \
                <milliseconds>\" starts it.\n"
            .to_owned();
    }
    if events.is_empty() {
        return format!("No event has taken {threshold_ms} ms or longer yet.\n");
    }
    let mut text = format!("Events that took {threshold_ms} ms or longer:\n\n");
    for (event, history) in events {
        let count = history.spikes.len() as u64;
        let sum: u64 = history.spikes.iter().map(|spike| spike.latency_ms).sum();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{event}: {count} spikes, {} ms on average, {} ms at worst.",
            sum / count.max(1),
            history.max_ms,
        );
    }
    text.push('\n');
    for (event, _) in events {
        // Writing to a string does not fail.
        let _ = writeln!(text, "* {event}: {}", advice(event));
    }
    text
}

fn advice(event: &str) -> &'static str {
    match event {
        "command" => {
            "a command took long. SLOWLOG GET shows which, and LATENCY HISTOGRAM how often; commands \
             over many keys or long values are the usual ones."
        }
        "fast-command" => {
            "a command that is always short took long, so the core was kept from running: look for \
             other programs on its CPU, for swapping, and at the hypervisor."
        }
        "expire-cycle" => "many keys expired at once. Spread their times to live.",
        "eviction-cycle" => "maxmemory is reached and keys are evicted. Raise it, or store less.",
        _ => "see when it happened with LATENCY HISTORY, and what else ran then.",
    }
}

#[cfg(test)]
mod tests {
    use super::{EventHistory, Spike, draw};
    use crate::command::testing::{Client, node};
    use crate::types::UnixMs;

    #[test]
    fn spikes_are_told_and_forgotten() {
        let node = node();
        let mut client = Client::new(&node, 6379);
        let doctor = client.run("LATENCY DOCTOR");
        assert!(doctor.contains("CONFIG SET latency-monitor-threshold"), "{doctor}");
        node.latency_events.record("command", 30, UnixMs(5_000));
        node.latency_events.record("command", 20, UnixMs(6_000));
        node.latency_events.record("fork", 7, UnixMs(6_000));
        client.check(&[
            ("LATENCY LATEST", "*2⏎*4⏎$7⏎command⏎:6⏎:20⏎:30⏎*4⏎$4⏎fork⏎:6⏎:7⏎:7"),
            ("LATENCY HISTORY command", "*2⏎*2⏎:5⏎:30⏎*2⏎:6⏎:20"),
            ("LATENCY HISTORY nope", "*0"),
            ("LATENCY GRAPH nope", "-ERR No samples available for event 'nope'"),
            ("LATENCY RESET nope fork", ":1"),
            ("LATENCY RESET", ":1"),
            ("LATENCY LATEST", "*0"),
            ("LATENCY x", "-ERR unknown subcommand 'x'. Try LATENCY HELP."),
        ]);
    }

    #[test]
    fn columns_are_as_high_as_spikes_are_long() {
        let spike = |at_seconds, latency_ms| Spike { at_seconds, latency_ms };
        let spikes = vec![spike(0, 10), spike(9_000, 40), spike(9_990, 20)];
        let drawing = draw("command", &EventHistory { max_ms: 50, spikes }, 10_000);
        let lines: Vec<&str> = drawing.lines().collect();
        assert_eq!(lines[0], "command - high 40 ms, low 10 ms (all time high 50 ms)");
        assert_eq!(lines[2..], [" #", " |", " |#", "#||", "", "211", "h60", " ms"]);
    }
}
