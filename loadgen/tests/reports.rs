//! What a run leaves behind: files that agree with one another, searches, and comparisons that leave no
//! server running.

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use harness::fake::{Fake, Say, Store, is_work};
use harness::ringmain::{Server, program};
use harness::tool::{Tool, kill};
use harness::wait_until;
use serde_json::Value;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

fn folder() -> TempDir {
    TempDir::with_prefix("loadgen-test-").expect("a temporary folder")
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&text(path)).expect("a report is JSON")
}

/// A server's command that leaves its process id in a file.
fn command(name: &str, pid_file: &Path) -> String {
    let (pid_file, program) = (pid_file.display(), program().display());
    let server =
        format!("{program} --port {{port}} --shards 1 --shard-port-base 0 --durability memory");
    format!("{name}=sh -c 'echo $$ >> {pid_file}; exec {server}'")
}

fn pids(path: &Path) -> Vec<u32> {
    text(path).lines().map(|line| line.parse().expect("a process id")).collect()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn every_file_tells_of_the_same_run() {
    let server = Server::start(1, &[]);
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let files = ["html", "svg", "hgrm", "csv"].map(|kind| (format!("--{kind}"), path(kind)));
    let args = ["-n", "20000", "--label", "a <run>", "--mix", "get=1,set=1"];
    let tool = files
        .iter()
        .fold(Tool::at(server.port(), &args), |tool, (flag, path)| tool.arg(flag).arg(path));
    let ran = tool.run();
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.starts_with("a <run>\n20,000 requests in "), "{}", ran.stdout);
    assert_eq!(ran.report["summary"]["requests"], 20_000);
    let hgrm = text(&path("hgrm"));
    assert!(hgrm.contains("Total count    =        20000]"), "{hgrm}");
    let rows = text(&path("csv"));
    let counts = rows.lines().skip(1).map(|row| row.split(',').nth(1).expect("a column"));
    let counts = counts.map(|count| count.parse::<u64>().expect("a number"));
    assert_eq!(counts.sum::<u64>(), 20_000, "{rows}");
    let page = text(&path("html"));
    assert!(page.contains("<h1>a &lt;run&gt;</h1>") && page.contains("20,000 requests in "));
    assert!(!page.contains("src=") && !page.contains("href="));
    assert!(text(&path("svg")).contains("Latency by percentile"));
}

#[test]
fn reports_of_several_runs_lie_over_one_another() {
    let server = Server::start(1, &[]);
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    for (name, requests) in [("few.json", "1000"), ("many.json", "3000")] {
        let port = server.port().to_string();
        let tool = Tool::with(&["--port", &port, "--cpus", "any", "-q", "-n", requests, "--json"]);
        let ran = tool.arg(path(name)).run();
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    }
    let tool = Tool::with(&["report", "--label", "few", "--label", "many", "--html"]);
    let tool = tool.arg(path("both.html")).arg("--json").arg(path("both.json"));
    let ran = tool.arg(path("few.json")).arg(path("many.json")).run();
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let head: Vec<&str> = ran.stdout.lines().next().expect("a table").split_whitespace().collect();
    assert_eq!(head, ["few", "many", "ratio"]);
    assert!(text(&path("both.html")).contains("<h1>few, many</h1>"));
    let both = json(&path("both.json"));
    let requests = both["runs"].as_array().expect("runs").iter();
    let requests: Vec<&Value> = requests.map(|run| &run["summary"]["requests"]).collect();
    assert_eq!(requests, [1000, 3000]);
}

/// The server takes at least a millisecond for each request, one after the other.
#[test]
fn a_search_never_finds_more_than_the_server_can_do() {
    let store = Store::default();
    let server = Fake::start(move |_, args| {
        let reply = store.answer(args);
        if is_work(args) { Say::Late(Duration::from_millis(1), reply) } else { Say::Bytes(reply) }
    });
    let folder = folder();
    let page = folder.path().join("search.html");
    let args = ["-c", "1", "-P", "10000", "--search-slo", "p50<500ms", "--search-from", "100"];
    let tool = Tool::at(server.port(), &args).arg("--duration").arg("500ms");
    let ran = tool.arg("--html").arg(&page).run();
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("requests/s is the highest rate that meets p50 < 500 ms"));
    let rate = ran.report["summary"]["requests_per_s"].as_f64().expect("a rate");
    assert!((50.0..=1010.0).contains(&rate), "{}", ran.stdout);
    assert!(text(&page).contains("Latency by rate"));
}

/// One trace against servers with as much memory that evict by different policies: the table tells which of
/// them keeps what is asked for again.
#[test]
fn eviction_policies_are_compared_by_a_trace() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    // Half of the reads are of 1,000 keys, in turns; of the others each is of a key of its own.
    let lines = (0..12_000).flat_map(|at| [at % 1_000, 1_000_000 + at]);
    let lines = lines.enumerate().map(|(at, key)| format!("{at},get,{key},1000\n"));
    let trace = format!("timestamp,operation,key,size\n{}", lines.collect::<String>());
    std::fs::write(path("trace"), trace).expect("a trace");
    let server = |policy: &str| {
        format!(
            "{policy}={} --port {{port}} --shard-port-base 0 --binary-port 0 --shards 1 --durability memory \
             --maxmemory 6mb --maxmemory-policy {policy}",
            program().display()
        )
    };
    let args = ["compare", "--rounds", "1", "-c", "1", "--fill-on-miss", "--cpus", "any"];
    let mut tool =
        Tool::with(&args).arg("--server-cpus").arg("0").arg("--trace").arg(path("trace"));
    for policy in ["allkeys-lru", "allkeys-random"] {
        tool = tool.arg("--server").arg(server(policy));
    }
    let ran = tool.arg("--json").arg(path("json")).run();
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("\nhits "), "{}", ran.stdout);
    let report = json(&path("json"));
    let ratio = |server: usize, name: &str| {
        let round = &report["comparison"]["servers"][server]["rounds"][0];
        round[name].as_f64().expect("a ratio")
    };
    for name in ["hit_ratio", "byte_hit_ratio"] {
        let (lru, random) = (ratio(0, name), ratio(1, name));
        // What is read again within the memory stays with the one, and goes by chance with the other.
        assert!((0.45..0.5).contains(&lru), "{name}: {lru}, {}", ran.stdout);
        assert!(random < lru - 0.02 && random > 0.1, "{name}: {random} and {lru}");
    }
}

#[test]
fn servers_are_compared_and_stopped() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let servers = ["one", "two"].map(|name| command(name, &path(name)));
    let args = ["compare", "-n", "20000", "--fill", "--keys", "1000", "--rounds", "2"];
    let mut tool = Tool::with(&args).arg("--server-cpus").arg("0").arg("--cpus").arg("any");
    for server in &servers {
        tool = tool.arg("--server").arg(server);
    }
    let outputs: Vec<(&str, PathBuf)> =
        ["json", "html", "markdown"].map(|kind| (kind, path(kind))).to_vec();
    for (kind, path) in &outputs {
        tool = tool.arg(format!("--{kind}")).arg(path);
    }
    let ran = tool.run();
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("server CPU a request"), "{}", ran.stdout);
    assert_eq!(
        ran.stderr.lines().filter(|line| line.contains("/2  ")).count(),
        4,
        "{}",
        ran.stderr
    );
    let report = json(&path("json"));
    for server in report["comparison"]["servers"].as_array().expect("servers") {
        let rounds = server["rounds"].as_array().expect("rounds");
        assert_eq!(rounds.len(), 2);
        assert!(rounds.iter().all(|round| round["server_cpu_us_per_request"].is_number()));
    }
    assert!(
        report["runs"].as_array().expect("runs").iter().all(|run| {
            run["summary"]["requests"] == 40_000 && run["summary"]["hit_ratio"] == 1.0
        })
    );
    assert!(text(&path("markdown")).starts_with("|  | one | two | ratio |\n"));
    assert!(text(&path("html")).contains("Servers side by side"));
    for name in ["one", "two"] {
        let pids = pids(&path(name));
        assert_eq!(pids.len(), 2, "{name} is started once a round");
        assert!(!pids.into_iter().any(is_alive), "{name} is stopped");
    }
}

/// Whatever ends the tool, its server ends with it.
#[test]
fn a_server_never_outlives_the_tool() {
    for (signal, status) in [("INT", Some(130)), ("TERM", Some(130)), ("KILL", None)] {
        let folder = folder();
        let pid_file = folder.path().join("pid");
        let args = ["compare", "--duration", "60s", "--rounds", "1", "--cpus", "any", "--server"];
        let ran = Tool::with(&args).arg(command("only", &pid_file)).run_while(|tool| {
            let pid = || fs::read_to_string(&pid_file).unwrap_or_default();
            wait_until("the server has started", || pid().ends_with('\n'));
            // Sometimes it is hit while the server starts and sometimes under load: both must do.
            thread::sleep(Duration::from_millis(100));
            kill(tool.id(), signal);
        });
        assert_eq!(ran.status, status, "{signal}: {}", ran.stderr);
        let pid = pids(&pid_file)[0];
        wait_until("the server has ended", || !is_alive(pid));
    }
}
