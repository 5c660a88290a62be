//! What the server tells about its latencies is what happened: stages, commands, percentiles, resets,
//! and `ringmain latency`, which shows them.
//!
//! No test says how fast anything has to be. Where one has to happen while another is under way, it is
//! tried until it did.

mod harness;

use harness::binary::{BinaryClient, Request};
use harness::client::{Client, encode_words, info};
use harness::server::{Launch, Server, skip_on_other_server};
use harness::slots::keys_over_shards;
use harness::value::Value;
use harness::{output_of, skip, wait_until};
use ringmain::protocol::binary::{Opcode, Status};
use std::collections::HashMap;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a histogram with two digits may say instead of `ns`: at most a 128th more.
fn within_a_step(ns: u64) -> u64 {
    ns + ns / 128 + 1
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a short time")
}

/// `LATENCY STAGES`: the figures of each stage.
struct Stages(Value);

impl Stages {
    fn of(client: &mut Client) -> Self {
        Self(client.words("LATENCY STAGES"))
    }

    fn of_core(client: &mut Client, core: usize) -> Self {
        Self(client.words(&format!("LATENCY STAGES CORE {core}")))
    }

    fn get(&self, stage: &str, figure: &str) -> u64 {
        let figure = self.0.field(stage).field(figure).integer();
        u64::try_from(figure).expect("no figure is negative")
    }

    fn count(&self, stage: &str) -> u64 {
        self.get(stage, "count")
    }
}

fn reset(client: &mut Client) {
    client.ok("LATENCY STAGES RESET");
}

/// Two clients of a server of one core, the second of which looks.
fn one_core() -> (Server, Client, Client) {
    let server = Launch::shards(1).debug().start();
    let (client, watcher) = (server.client(), server.client());
    (server, client, watcher)
}

#[test]
fn every_request_goes_through_the_stages() {
    if skip_on_other_server() {
        return;
    }
    let (_server, mut client, mut watcher) = one_core();
    client.ok("SET k v");
    watcher.words("PING");
    reset(&mut watcher);
    for _ in 0..10 {
        client.send(encode_words("GET k").repeat(16));
        for _ in 0..16 {
            assert_eq!(client.read(), Ok(Value::bulk("v")));
        }
    }
    let stages = Stages::of(&mut watcher);
    // The watcher's own request has not been answered yet.
    for stage in ["batch", "reply", "total", "execute"] {
        let count = stages.count(stage);
        // The reset, too, was answered after it was done.
        assert!((160..=161).contains(&count), "{stage}: {count}");
    }
    assert_eq!(stages.count("ring") + stages.count("held"), stages.count("batch"));
    assert!(stages.count("send") >= 160);
    assert_eq!((stages.count("hop"), stages.count("gather")), (0, 0));
    for stage in ["batch", "reply", "total", "execute"] {
        let figures = ["min_ns", "p50_ns", "p90_ns", "p99_ns", "p99.9_ns", "max_ns"];
        let figures = figures.map(|figure| stages.get(stage, figure));
        assert!(figures.is_sorted() && figures[5] > 0, "{stage}: {figures:?}");
    }
    // A batch takes longer than a command of it, and the whole longer than a batch.
    let mean = |stage| stages.get(stage, "mean_ns");
    assert!(mean("execute") < mean("batch") && mean("batch") < mean("total"));
}

#[test]
fn requests_without_a_reply_are_in_no_total() {
    if skip_on_other_server() {
        return;
    }
    let (_server, mut client, mut watcher) = one_core();
    client.request(&["CLIENT", "REPLY", "OFF"]);
    client.send(encode_words("SET k v").repeat(50));
    wait_until("the sets have run", || watcher.words("GET k") == Value::bulk("v"));
    reset(&mut watcher);
    client.send(encode_words("SET k w").repeat(50));
    wait_until("the sets have run", || watcher.words("GET k") == Value::bulk("w"));
    let commands = watcher.words("LATENCY HISTOGRAM get").field("get").field("calls").integer();
    let stages = Stages::of(&mut watcher);
    assert!(stages.count("batch") >= 50);
    let asked = u64::try_from(commands).expect("a count") + 1;
    assert!(stages.count("total") <= asked + 1, "{} and {asked}", stages.count("total"));
}

#[test]
fn who_waits_behind_a_sleep_waits_in_the_ring() {
    const SLEEP: Duration = Duration::from_millis(150);
    if skip_on_other_server() {
        return;
    }
    let (server, mut client, mut watcher) = one_core();
    let mut behind = server.client();
    behind.words("PING");
    let sleep_ns = nanoseconds(SLEEP);
    wait_until("a request comes while the core sleeps", || {
        reset(&mut watcher);
        let sent = Instant::now();
        client.send(encode_words("DEBUG SLEEP 0.15"));
        behind.send(encode_words("PING").repeat(3));
        let came_in_time = sent.elapsed() < SLEEP / 3;
        assert_eq!(client.read(), Ok(Value::ok()));
        let slept = nanoseconds(sent.elapsed());
        for _ in 0..3 {
            assert_eq!(behind.read(), Ok(Value::Simple("PONG".to_owned())));
        }
        let all = nanoseconds(sent.elapsed());
        let stages = Stages::of(&mut watcher);
        let executing = stages.get("execute", "max_ns");
        assert!((sleep_ns..=within_a_step(slept)).contains(&executing), "{executing} of {slept}");
        // The three waited for nearly all of it, and no longer than their client; the sleeping command
        // itself may have been waited for by nobody.
        let waited = stages.get("ring", "max_ns");
        assert!(waited <= within_a_step(all), "{waited} of {all}");
        let total = stages.get("total", "p50_ns");
        came_in_time && waited >= sleep_ns / 2 && total >= sleep_ns / 2
    });
}

#[test]
fn percentiles_are_those_of_what_happened() {
    if skip_on_other_server() {
        return;
    }
    let (_server, mut client, mut watcher) = one_core();
    client.ok("CONFIG SET latency-tracking-info-percentiles 50");
    client.ok("CONFIG RESETSTAT");
    let mut sleep = |seconds: &str| {
        let started = Instant::now();
        client.ok(&format!("DEBUG SLEEP {seconds}"));
        nanoseconds(started.elapsed())
    };
    let short: Vec<u64> = (0..19).map(|_| sleep("0.002")).collect();
    let long = sleep("0.1");
    let longest_short = short.iter().copied().max().expect("nineteen of them");
    let text = watcher.words("LATENCY EXPORT COMMANDS debug|sleep").field("debug|sleep").text();
    let summary = Stages::of(&mut watcher);
    assert!(text.starts_with("HIST"), "HdrHistogram's V2 encoding in base64: {text}");
    let fields = info(&mut watcher, "latencystats");
    let micros = |percentile: &str| percentile.parse::<f64>().expect("a number") * 1e3;
    let p50 = micros(&fields["latency_percentiles_usec_debug|sleep"]["p50=".len()..]);
    assert!(p50 >= 2e6 && p50 <= within_a_step(longest_short) as f64, "{p50}");
    watcher.ok("CONFIG SET latency-tracking-info-percentiles 99");
    let fields = info(&mut watcher, "latencystats");
    let p99 = micros(&fields["latency_percentiles_usec_debug|sleep"]["p99=".len()..]);
    assert!(p99 >= 100e6 && p99 <= within_a_step(long) as f64, "{p99} of {long}");
    let longest = summary.get("execute", "max_ns");
    assert!(longest >= 100_000_000 && longest <= within_a_step(long), "{longest} of {long}");
}

/// Two cores, each with a port of its own; `None` where there is one CPU only.
fn two_cores() -> Option<Server> {
    let server = Launch::shards(2).core_ports().debug().start();
    if info(&mut server.client(), "ringmain")["cores"] == "2" {
        return Some(server);
    }
    skip("this machine has one CPU");
    None
}

#[test]
fn what_another_core_did_is_a_hop() {
    if skip_on_other_server() {
        return;
    }
    let Some(server) = two_cores() else { return };
    let key = &keys_over_shards("key", 2, 2)[1];
    let mut client = Client::connect(server.core_address(0));
    let mut watcher = server.client();
    client.ok(&format!("SET {key} {}", "v".repeat(100_000)));
    watcher.words("PING");
    reset(&mut watcher);
    // It takes long, so it is left to the owner of its shard.
    client.send(encode_words(&format!("BITCOUNT {key}")).repeat(3));
    for _ in 0..3 {
        assert_eq!(client.read(), Ok(Value::Integer(500_000)));
    }
    let (here, there) = (Stages::of_core(&mut watcher, 0), Stages::of_core(&mut watcher, 1));
    assert_eq!((here.count("hop"), there.count("hop")), (3, 0));
    // Each is executed where its shard is, and answered where its client is.
    assert!(there.count("execute") >= 3 && here.count("total") >= 3);
    let [hop, reply, total] = ["hop", "reply", "total"].map(|stage| here.get(stage, "max_ns"));
    assert!(hop <= within_a_step(reply) && reply <= within_a_step(total), "{hop} {reply} {total}");
    let both = Stages::of(&mut watcher);
    assert_eq!(both.count("hop"), 3);
    assert!(both.count("execute") >= here.count("execute") + there.count("execute"));
}

/// In the binary protocol nothing waits for what another core does: each reply counts when it leaves.
#[test]
fn what_another_core_answers_in_any_order_counts_when_it_leaves() {
    if skip_on_other_server() {
        return;
    }
    let Some(server) = two_cores() else { return };
    let keys = keys_over_shards("key", 2, 2);
    let mut watcher = server.client();
    watcher.words(&format!("SET {} {}", keys[1], "v".repeat(100_000)));
    let mut client = BinaryClient::connect(server.core_address(0));
    client.set(&keys[0], "v");
    let mut sleeper = Client::connect(server.core_address(1));
    let least = nanoseconds(Duration::from_millis(100));
    let long = Request::command(&format!("BITCOUNT {}", keys[1]));
    let short = Request::keyed(Opcode::Get, &keys[0], "");
    // The second core is to sleep over what is left to it, while what runs here is answered.
    for attempt in 0.. {
        assert!(attempt < 20, "the second core was never asleep in time");
        watcher.words("PING");
        reset(&mut watcher);
        sleeper.send(encode_words("DEBUG SLEEP 0.3"));
        std::thread::sleep(Duration::from_millis(20));
        let replies = client.all(&[short.clone(), long.clone(), long.clone(), short.clone()]);
        assert!(replies.iter().all(|reply| reply.status() == Status::Ok));
        assert_eq!(sleeper.read(), Ok(Value::ok()));
        let here = Stages::of_core(&mut watcher, 0);
        assert_eq!((here.count("hop"), here.count("total"), here.count("reply")), (2, 4, 4));
        let [half, most] = ["p50_ns", "max_ns"].map(|figure| here.get("total", figure));
        assert!(here.get("hop", "max_ns") <= within_a_step(most));
        if half < least && most >= least {
            break;
        }
    }
}

#[test]
fn commands_over_several_shards_wait_for_their_tokens() {
    if skip_on_other_server() {
        return;
    }
    let Some(server) = two_cores() else { return };
    let keys = keys_over_shards("key", 2, 2);
    let mut client = Client::connect(server.core_address(0));
    let mut sleeper = Client::connect(server.core_address(1));
    let mut watcher = Client::connect(server.core_address(0));
    let line = format!("MSET {} a {} b", keys[0], keys[1]);
    client.ok(&line);
    wait_until("the other core sleeps with its token", || {
        reset(&mut watcher);
        let sent = Instant::now();
        sleeper.send(encode_words("DEBUG SLEEP 0.05"));
        client.send(encode_words("PING").repeat(2));
        client.ok_after_two_pings(&line);
        let waited = nanoseconds(sent.elapsed());
        assert_eq!(sleeper.read(), Ok(Value::ok()));
        let stages = Stages::of_core(&mut watcher, 0);
        if stages.count("gather") == 0 {
            // The token was free: there was nothing to wait for.
            return false;
        }
        assert_eq!(stages.count("gather"), 1);
        let gathered = stages.get("gather", "max_ns");
        assert!(gathered <= within_a_step(waited), "{gathered} of {waited}");
        assert!(gathered <= within_a_step(stages.get("total", "max_ns")));
        true
    });
}

trait AfterPings {
    fn ok_after_two_pings(&mut self, line: &str);
}

impl AfterPings for Client {
    /// Sends a request behind two pings that were sent before, and reads all three replies.
    fn ok_after_two_pings(&mut self, line: &str) {
        self.send(encode_words(line));
        for _ in 0..2 {
            assert_eq!(self.read(), Ok(Value::Simple("PONG".to_owned())));
        }
        assert_eq!(self.read(), Ok(Value::ok()));
    }
}

#[test]
fn who_is_paused_is_held() {
    if skip_on_other_server() {
        return;
    }
    let (_server, mut client, mut watcher) = one_core();
    client.ok("SET k v");
    watcher.words("PING");
    reset(&mut watcher);
    watcher.ok("CLIENT PAUSE 10000 WRITE");
    let sent = Instant::now();
    client.send(encode_words("SET k w").repeat(2));
    wait_until("it is held", || info(&mut watcher, "clients")["blocked_clients"] == "1");
    let held_for = Instant::now();
    assert!(!client.is_readable_within(Duration::from_millis(20)));
    let least = nanoseconds(held_for.elapsed());
    watcher.ok("CLIENT UNPAUSE");
    assert_eq!((client.read(), client.read()), (Ok(Value::ok()), Ok(Value::ok())));
    let most = nanoseconds(sent.elapsed());
    let stages = Stages::of(&mut watcher);
    assert_eq!(stages.count("held"), 2);
    let held = stages.get("held", "max_ns");
    assert!((least..=within_a_step(most)).contains(&held), "{least} {held} {most}");
}

#[test]
fn resets_forget_what_they_say_and_no_more() {
    if skip_on_other_server() {
        return;
    }
    let (_server, mut client, mut watcher) = one_core();
    let calls = |watcher: &mut Client| {
        let found = watcher.words("LATENCY HISTOGRAM set");
        found.pairs().first().map_or(0, |(_, set)| set.field("calls").integer())
    };
    for _ in 0..100 {
        client.ok("SET k v");
    }
    watcher.ok("CONFIG SET latency-monitor-threshold 1");
    watcher.ok("DEBUG SLEEP 0.01");
    assert!(Stages::of(&mut watcher).count("total") >= 100);
    // Redis's LATENCY RESET is about spikes.
    assert_eq!(watcher.words("LATENCY RESET"), Value::Integer(1));
    assert!(Stages::of(&mut watcher).count("total") >= 100 && calls(&mut watcher) == 100);
    reset(&mut watcher);
    let stages = Stages::of(&mut watcher);
    assert!(stages.count("total") <= 3 && stages.count("execute") <= 3);
    assert_eq!(calls(&mut watcher), 100);
    client.ok("SET k v");
    assert_eq!(calls(&mut watcher), 101);
    watcher.ok("CONFIG RESETSTAT");
    assert_eq!(calls(&mut watcher), 0);
    let stages = Stages::of(&mut watcher);
    assert!(stages.count("total") <= 3 && stages.get("execute", "max_ns") < 10_000_000);
    client.ok("SET k v");
    assert_eq!(calls(&mut watcher), 1);
}

#[test]
fn info_latencystats_reads_as_redis_s() {
    // Runs against Redis as well: `RINGMAIN_TEST_SERVER=redis-server`.
    let server = Launch::shards(1).debug().start();
    let mut client = server.client();
    client.ok("CONFIG RESETSTAT");
    for _ in 0..10 {
        client.ok("SET k v");
    }
    client.words("CLIENT GETNAME");
    let stats = |client: &mut Client| -> HashMap<String, Vec<(String, f64)>> {
        let fields = info(client, "latencystats");
        let field = |(name, value): (String, String)| {
            let parts = value.split(',').filter(|part| !part.is_empty()).map(|part| {
                let (percentile, micros) = part.split_once('=').expect("a percentile and a value");
                let decimals = micros.split_once('.').expect("a fraction").1;
                assert_eq!(decimals.len(), 3, "{part}");
                (percentile.to_owned(), micros.parse().expect("a number"))
            });
            (name, parts.collect())
        };
        fields.into_iter().map(field).collect()
    };
    let names = |found: &[(String, f64)]| -> Vec<String> {
        found.iter().map(|(percentile, _)| percentile.clone()).collect()
    };
    let found = stats(&mut client);
    for command in ["set", "client|getname", "config|resetstat"] {
        let values = &found[&format!("latency_percentiles_usec_{command}")];
        assert_eq!(names(values), ["p50", "p99", "p99.9"], "{command}");
        let micros: Vec<f64> = values.iter().map(|(_, micros)| *micros).collect();
        assert!(micros.is_sorted() && micros[0] > 0.0, "{command}: {micros:?}");
    }
    assert!(!found.contains_key("latency_percentiles_usec_get"));
    let set = |client: &mut Client, value: &str| {
        client.command(&["CONFIG", "SET", "latency-tracking-info-percentiles", value])
    };
    assert_eq!(set(&mut client, "0 99.99 100"), Value::ok());
    let values = &stats(&mut client)["latency_percentiles_usec_set"];
    assert_eq!(names(values), ["p0", "p99.99", "p100"]);
    assert_eq!(set(&mut client, ""), Value::ok());
    assert!(stats(&mut client)["latency_percentiles_usec_set"].is_empty());
    assert!(
        set(&mut client, "50 x")
            .error()
            .ends_with("Invalid latency-tracking-info-percentiles parameters")
    );
    // Without tracking there is nothing new, and nothing in INFO; what was recorded stays.
    client.ok("CONFIG SET latency-tracking no");
    client.ok("SET k v");
    assert!(stats(&mut client).is_empty());
    let calls = |client: &mut Client| {
        client.words("LATENCY HISTOGRAM set").field("set").field("calls").integer()
    };
    assert_eq!(calls(&mut client), 10);
    client.ok("CONFIG SET latency-tracking yes");
    client.ok("SET k v");
    assert_eq!(calls(&mut client), 11);
}

// --- ringmain latency ----------------------------------------------------------------------------

fn latency(server: &Server, flags: &[&str]) -> Output {
    let port = server.port().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
    command.args(["latency", "--port", &port]).args(flags).stdin(Stdio::null());
    output_of(command.env_remove("REDISCLI_AUTH")).expect("run ringmain latency")
}

fn printed(output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// The one sentence that it fails with, and the exit status.
fn refused(output: &Output) -> (String, Option<i32>) {
    assert!(output.stdout.is_empty());
    let sentence = String::from_utf8(output.stderr.clone()).expect("text");
    (sentence.trim_end().to_owned(), output.status.code())
}

#[test]
fn the_table_and_the_plot_are_printed_where_there_is_no_terminal() {
    if skip_on_other_server() {
        return;
    }
    let (server, mut client, _) = one_core();
    for _ in 0..200 {
        client.ok("SET k v");
    }
    let page = printed(latency(&server, &[]));
    let heading = format!("127.0.0.1:{}, all cores, since the last reset", server.port());
    assert_eq!(page.lines().next(), Some(heading.as_str()));
    let row = |name: &str| -> Vec<&str> {
        let line = page.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("no row {name} in {page}")).split_whitespace().collect()
    };
    assert_eq!(row("set")[1], "200");
    for stage in ["ring", "batch", "execute", "reply", "send", "total"] {
        assert!(row(stage)[1].parse::<u64>().expect("a count") >= 200, "{stage} in {page}");
    }
    assert_eq!(row("hop")[1..3], ["0", "-"]);
    for part in ["p99.99", "● total", "90 %", "└┴"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let page = printed(latency(&server, &["--command", "SET", "--core", "0", "--once"]));
    assert!(page.contains(", core 0, ") && page.contains("· set"), "{page}");
    assert!(!page.contains("ring"), "{page}");
}

#[test]
fn the_exported_distribution_adds_up() {
    if skip_on_other_server() {
        return;
    }
    let (server, mut client, mut watcher) = one_core();
    for _ in 0..500 {
        client.ok("SET k v");
    }
    client.ok("DEBUG SLEEP 0.03");
    let check = |text: &str, total: u64| -> f64 {
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().expect("a heading").split_whitespace().collect();
        assert_eq!(head, ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        let rows: Vec<Vec<f64>> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().expect(line)).collect())
            .collect();
        for column in 0..3 {
            assert!(rows.iter().map(|row| row[column]).is_sorted(), "column {column} of {text}");
        }
        let last = rows.last().expect("a row");
        assert_eq!((last[1], last[2], last.len()), (1.0, total as f64, 3));
        let total = format!("Total count    = {total:12}]");
        assert!(text.contains(&total), "{total} in {text}");
        last[0]
    };
    check(&printed(latency(&server, &["--command", "set", "--hgrm", "-"])), 500);
    let longest =
        check(&printed(latency(&server, &["--command", "debug|sleep", "--hgrm", "-"])), 1);
    assert!(longest >= 30_000.0, "microseconds: {longest}");
    let file = server.dir().join("total.hgrm");
    let path = file.to_str().expect("a name");
    let said = printed(latency(&server, &["--stage", "execute", "--hgrm", path]));
    let count = said.split(' ').next().and_then(|word| word.parse().ok()).expect("a count");
    assert!(said.contains("latencies of 'execute', in microseconds") && count > 501, "{said}");
    check(&std::fs::read_to_string(&file).expect("the file"), count);
    assert!(Stages::of(&mut watcher).count("execute") > count);
}

#[test]
fn nonsense_is_refused_in_a_sentence() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(1).flag("--requirepass", "secret").debug().start();
    let at = format!("127.0.0.1:{}", server.port());
    let password = ["--password", "secret"];
    let with = |flags: &[&'static str]| [&password, flags].concat();
    for (flags, sentence) in [
        (
            vec![],
            format!(
                "The server at {at} asks for a password: give it with --password or in REDISCLI_AUTH."
            ),
        ),
        (
            vec!["--password", "wrong"],
            format!(
                "The server at {at} refused the password (WRONGPASS invalid username-password pair or \
                 user is disabled.): give the right one with --password or in REDISCLI_AUTH."
            ),
        ),
        (
            with(&["--core", "7"]),
            "--core can't be '7': it takes the number of a core, from 0 to 0.".to_owned(),
        ),
        (
            with(&["--command", "nope"]),
            format!(
                "The server at {at} has recorded no call of 'nope': name a command as its INFO \
                 latencystats does, such as 'get' or 'config|get'."
            ),
        ),
        (
            with(&["--watch", "0"]),
            "--watch can't be '0': it takes a number of seconds from 0.1 to 86400.".to_owned(),
        ),
    ] {
        let (said, code) = refused(&latency(&server, &flags));
        assert_eq!((said, code), (format!("ringmain: {sentence}"), Some(2)), "{flags:?}");
    }
    let (said, code) = refused(&latency(&server, &with(&["--hgrm", "/nowhere/x.hgrm"])));
    assert!(said.contains("The file '/nowhere/x.hgrm' after --hgrm can't be written"), "{said}");
    assert_eq!(code, Some(2));
    for flags in [&["--port", "x"][..], &["--nope"], &["stray"]] {
        let output = latency(&server, flags);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{flags:?}");
    }
    // The password, both ways.
    assert!(printed(latency(&server, &password)).contains("auth"));
    let port = server.port().to_string();
    let by_environment = Command::new(env!("CARGO_BIN_EXE_ringmain"))
        .args(["latency", "--port", &port])
        .env("REDISCLI_AUTH", "secret")
        .output();
    assert!(printed(by_environment.expect("run it")).contains("total"));
    drop(server);
    let nobody = Command::new(env!("CARGO_BIN_EXE_ringmain"))
        .args(["latency", "--host", "127.0.0.1", "--port", "1"])
        .output();
    let (said, code) = refused(&nobody.expect("run it"));
    assert!(said.starts_with("ringmain: There is no server at 127.0.0.1:1 ("), "{said}");
    assert_eq!(code, Some(2));
}

#[test]
fn a_server_that_goes_away_is_told() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(1).debug().start();
    let port = server.port().to_string();
    let mut watching = Command::new(env!("CARGO_BIN_EXE_ringmain"))
        .args(["latency", "--port", &port, "--watch", "0.1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run ringmain latency");
    let mut client = server.client();
    let mut exports = 0;
    wait_until("it has looked twice", || {
        let found = client.words("LATENCY HISTOGRAM latency|export");
        exports = found.pairs().first().map_or(0, |(_, row)| row.field("calls").integer());
        exports >= 4
    });
    drop(server);
    wait_until("it ends", || watching.try_wait().expect("look at it").is_some());
    let output = watching.wait_with_output().expect("its output");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains(" gave no answer (") && said.trim_end().lines().count() == 1, "{said}");
    assert_eq!(output.status.code(), Some(1));
    let pages = String::from_utf8(output.stdout).expect("text");
    assert!(pages.matches("since the last reset").count() >= 2, "{pages}");
}

#[test]
fn on_a_terminal_it_refreshes_until_a_key_ends_it() {
    if skip_on_other_server() {
        return;
    }
    if Command::new("script").arg("--version").output().is_err() {
        return skip("there is no `script` on this machine, which makes a terminal");
    }
    let (server, _client, mut watcher) = one_core();
    let line = format!(
        "stty rows 40 cols 120; {} latency --port {} --watch 0.1",
        env!("CARGO_BIN_EXE_ringmain"),
        server.port()
    );
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run script");
    wait_until("it has looked three times", || {
        let found = watcher.words("LATENCY HISTOGRAM latency|export");
        found.pairs().first().map_or(0, |(_, row)| row.field("calls").integer()) >= 6
    });
    let mut keys = terminal.stdin.take().expect("its input");
    std::io::Write::write_all(&mut keys, b"q").expect("press q");
    wait_until("it ends", || terminal.try_wait().expect("look at it").is_some());
    let output = terminal.wait_with_output().expect("its output");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("the last 0.") && shown.contains("per s"), "{shown}");
    // The other screen is left, and the cursor is back.
    assert!(shown.contains("\u{1b}[?1049h") && shown.contains("\u{1b}[?1049l"), "{shown}");
    assert!(shown.contains("\u{1b}[?25h"), "{shown}");
}
