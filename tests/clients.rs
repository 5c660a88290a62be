//! Programs and libraries that people have, and what they ask of a server beside data: `MONITOR`,
//! `CLIENT`, `SLOWLOG`, `LATENCY`, `INFO`, `CONFIG`, and a clean end.
//!
//! redis-cli, redis-benchmark and redis-py are used where they are on the machine; without them their
//! tests say so and pass.

mod harness;

use harness::client::{Client, info, info_number};
use harness::server::{Launch, Server, is_other_server, skip_on_other_server};
use harness::slots::keys_over_shards;
use harness::topology::check_no_hops;
use harness::value::Value;
use harness::{end_of, output_of, skip, wait_until};
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SHARDS: u16 = 4;

fn is_on_path(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        skip(&format!("{program} is not on this machine"));
    }
    found
}

/// Standard output of a run that succeeded and complained of nothing.
fn text_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(errors, "", "{text}");
    text
}

/// The same of a program that is on the machine, and reads nothing.
fn run(command: &mut Command) -> String {
    text_of(&output_of(command.stdin(Stdio::null())).expect("run it"))
}

fn redis_cli(server: &Server, args: &[&str]) -> String {
    let port = server.port().to_string();
    run(Command::new("redis-cli").args(["-p", &port]).args(args))
}

#[test]
fn redis_cli_talks_to_it() {
    if !is_on_path("redis-cli") {
        return;
    }
    let server = Launch::shards(SHARDS).start();
    assert_eq!(redis_cli(&server, &["SET", "k", "v"]), "OK\n");
    assert_eq!(redis_cli(&server, &["GET", "k"]), "v\n");
    assert_eq!(redis_cli(&server, &["-3", "GET", "k"]), "v\n");
    assert_eq!(redis_cli(&server, &["-n", "3", "DBSIZE"]), "0\n");
    assert_eq!(redis_cli(&server, &["MSET", "a", "1", "b", "2"]), "OK\n");
    assert_eq!(redis_cli(&server, &["--no-raw", "MGET", "a", "none"]), "1) \"1\"\n2) (nil)\n");
    let mut keys: Vec<String> =
        redis_cli(&server, &["--scan"]).lines().map(str::to_owned).collect();
    keys.sort();
    assert_eq!(keys, ["a", "b", "k"]);
    assert_eq!(redis_cli(&server, &["--scan", "--pattern", "k*"]), "k\n");
    let bigkeys = redis_cli(&server, &["--bigkeys"]);
    assert!(bigkeys.contains("Sampled 3 keys in the keyspace!"), "{bigkeys}");
    assert!(redis_cli(&server, &["INFO", "server"]).contains("redis_version:"));
    // Mass insertion: requests as they are, and an ECHO at their end.
    let mut child = Command::new("redis-cli")
        .args(["-p", &server.port().to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run redis-cli");
    let requests: String = (0..5_000).map(|index| format!("SET pipe{index} {index}\r\n")).collect();
    child.stdin.take().expect("its input").write_all(requests.as_bytes()).expect("write");
    let text = text_of(&end_of(child));
    assert!(text.contains("errors: 0, replies: 5000"), "{text}");
    assert_eq!(redis_cli(&server, &["DBSIZE"]), "5003\n");
}

fn redis_benchmark(port: u16, args: &[&str]) -> String {
    let port = port.to_string();
    run(Command::new("redis-benchmark").args(["-p", &port, "--csv"]).args(args))
}

#[test]
fn redis_benchmark_runs_against_it() {
    if !is_on_path("redis-benchmark") {
        return;
    }
    let server = Launch::shards(SHARDS).core_ports().start();
    for args in [
        &["-t", "ping,set,get,incr,mset", "-n", "10000", "-c", "20", "-r", "10000"][..],
        &["-t", "set,get", "-n", "50000", "-P", "64", "-r", "100000", "-d", "300"],
        &["-t", "set,get", "-n", "20000", "-P", "16", "-r", "1000", "--threads", "2"],
    ] {
        let table = redis_benchmark(server.port(), args);
        let tests = table.lines().filter(|line| line.starts_with('"')).count() - 1;
        let asked = args[1].split(',').count();
        assert!(tests >= asked, "{table}");
        assert!(!table.contains("ERR"), "{table}");
    }
    assert!(server.client().words("DBSIZE").integer() > 1_000);
}

/// What redis-benchmark 7.0 runs when it is not told what, in its order.
const WHOLE_BENCHMARK: &[&str] = &[
    "PING_INLINE",
    "PING_MBULK",
    "SET",
    "GET",
    "INCR",
    "LPUSH",
    "RPUSH",
    "LPOP",
    "RPOP",
    "SADD",
    "HSET",
    "SPOP",
    "ZADD",
    "ZPOPMIN",
    "LPUSH (needed to benchmark LRANGE)",
    "LRANGE_100 (first 100 elements)",
    "LRANGE_300 (first 300 elements)",
    "LRANGE_500 (first 500 elements)",
    "LRANGE_600 (first 600 elements)",
    "MSET (10 keys)",
];

/// It stops at the first error, so that its end says that there was none. Later versions know more commands,
/// streams among them.
#[test]
fn redis_benchmark_runs_to_its_end_when_it_is_not_told_what_to_run() {
    if !is_on_path("redis-benchmark") {
        return;
    }
    if !run(Command::new("redis-benchmark").arg("--version")).contains(" 7.0.") {
        return skip("redis-benchmark is not that of Redis 7.0");
    }
    let server = Launch::shards(SHARDS).start();
    let table = redis_benchmark(server.port(), &["-q", "-n", "400", "-P", "4"]);
    let names: Vec<&str> = table.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(names[0], "test", "{table}");
    assert_eq!(&names[1..], WHOLE_BENCHMARK, "{table}");
    assert!(!table.to_lowercase().contains("err"), "{table}");
    assert_eq!(info_number(&mut server.client(), "stats", "total_error_replies"), 0);
}

#[test]
fn redis_benchmark_knows_the_cluster() {
    if !is_on_path("redis-benchmark") {
        return;
    }
    let server = Launch::shards(SHARDS).cluster().start();
    if server.client().words("CLUSTER SLOTS").elements().len() < 2 {
        return skip("redis-benchmark wants a cluster of two nodes, and here is one");
    }
    let args = ["--cluster", "-t", "set,get", "-n", "20000", "-P", "8", "-r", "10000"];
    // It takes the node that it asks for one at the very port that it asked, so that is a core's.
    let port = if is_other_server() { server.port() } else { server.core_address(0).port() };
    let table = redis_benchmark(port, &args);
    assert!(table.contains("\"SET\"") && table.contains("\"GET\""), "{table}");
    check_no_hops(&server, 2 * 20_000 / 8);
    assert_eq!(info_number(&mut server.client(), "stats", "total_error_replies"), 0);
    assert!(server.client().words("DBSIZE").integer() > 1_000);
}

#[test]
fn memtier_knows_the_cluster() {
    if !is_on_path("memtier_benchmark") {
        return;
    }
    let server = Launch::shards(SHARDS).core_ports().start();
    let port = server.port().to_string();
    let args =
        ["-p", &port, "--cluster-mode", "-t", "1", "-c", "4", "-n", "1000", "--ratio", "1:1"];
    let mut command = Command::new("memtier_benchmark");
    let command = command.args(args).arg("--hide-histogram").stdin(Stdio::null());
    let output = output_of(command).expect("run memtier_benchmark");
    assert!(output.status.success(), "{output:?}");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("Sets") && table.contains("Totals"), "{table}");
    check_no_hops(&server, 4 * 1_000);
    assert_eq!(info_number(&mut server.client(), "stats", "total_error_replies"), 0);
}

/// Runs a program in Python that uses redis-py; false if there is none.
fn python(program: &str, args: &[String]) -> bool {
    let mut command = Command::new("python3");
    let has_library = output_of(command.args(["-c", "import redis"]).stdin(Stdio::null()));
    if !has_library.is_ok_and(|output| output.status.success()) {
        skip("redis-py is not on this machine");
        return false;
    }
    run(Command::new("python3").args(["-c", program]).args(args));
    true
}

#[test]
fn redis_py_talks_to_it() {
    let server = Launch::shards(SHARDS).start();
    python(
        r#"
import sys, redis
for protocol in (2, 3):
    r = redis.Redis(port=int(sys.argv[1]), protocol=protocol, decode_responses=True)
    r.flushall()
    assert r.ping()
    assert r.set("k", "v", ex=100) and r.get("k") == "v" and 98 <= r.ttl("k") <= 100
    assert r.set("k", "w", get=True) == "v"
    assert r.set("k", "x", nx=True) is None
    assert r.mset({"a": 1, "b": 2, "c": 3})
    assert r.mget("a", "b", "c", "none") == ["1", "2", "3", None]
    assert r.incrbyfloat("a", 0.5) == 1.5
    assert sorted(r.scan_iter(count=1)) == ["a", "b", "c", "k"]
    assert r.rename("a", "a2") and r.copy("b", "b2") and r.exists("a", "a2", "b", "b2") == 3
    p = r.pipeline(transaction=False)
    for i in range(1000):
        p.set(f"p{i}", i)
    for i in range(1000):
        p.get(f"p{i}")
    replies = p.execute()
    assert replies[:1000] == [True] * 1000 and replies[1000:] == [str(i) for i in range(1000)]
    assert r.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
    assert r.info("server")["redis_version"] and r.info()["db0"]["keys"] == r.dbsize()
    assert r.client_setname("me") and r.client_getname() == "me"
    assert any(c["name"] == "me" for c in r.client_list())
    assert r.object("encoding", "k") == "embstr"
    assert r.command_count() > 80 and "get" in r.command()
    assert r.bitfield("bits").set("u8", 0, 255).incrby("u8", 0, 1).execute() == [0, 0]
    r.slowlog_get(), r.memory_usage("k"), r.time()
    try:
        r.incr("k")
        raise SystemExit("INCR of text must fail")
    except redis.ResponseError as error:
        assert "not an integer" in str(error)
"#,
        &[server.port().to_string()],
    );
}

#[test]
fn redis_py_knows_the_cluster() {
    let server = Launch::shards(SHARDS).cluster().start();
    let has_run = python(
        r#"
import sys, redis
r = redis.RedisCluster(host="127.0.0.1", port=int(sys.argv[1]), decode_responses=True)
for i in range(500):
    r.set(f"k{i}", i)
assert [r.get(f"k{i}") for i in range(500)] == [str(i) for i in range(500)]
assert r.mset_nonatomic({f"k{i}": i + 1 for i in range(100)})
assert r.mget_nonatomic([f"k{i}" for i in range(100)]) == [str(i + 1) for i in range(100)]
p = r.pipeline()
for i in range(100):
    p.incr(f"n{i}")
assert p.execute() == [1] * 100
assert sorted(set(r.scan_iter("n*"))) == sorted(f"n{i}" for i in range(100))
"#,
        &[server.port().to_string()],
    );
    if has_run {
        check_no_hops(&server, 2 * 500);
    }
}

#[test]
fn the_redis_crate_s_plain_client() -> redis::RedisResult<()> {
    let server = Launch::shards(SHARDS).start();
    for protocol in ["", "?protocol=resp3"] {
        let address = format!("redis://127.0.0.1:{}/{protocol}", server.port());
        let mut connection = redis::Client::open(address)?.get_connection()?;
        let () = redis::cmd("FLUSHALL").query(&mut connection)?;
        let () = redis::cmd("SET").arg("k").arg(42).query(&mut connection)?;
        assert_eq!(redis::cmd("GET").arg("k").query::<i64>(&mut connection)?, 42);
        let (first, second): (i64, Option<String>) = redis::pipe()
            .cmd("INCR")
            .arg("k")
            .cmd("SET")
            .arg("other")
            .arg("v")
            .ignore()
            .cmd("GET")
            .arg("none")
            .query(&mut connection)?;
        assert_eq!((first, second), (43, None));
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection)?;
        assert_eq!(keys.len(), 2);
        let failed = redis::cmd("INCR").arg("other").query::<i64>(&mut connection);
        assert!(failed.is_err());
    }
    Ok(())
}

#[test]
fn monitor_shows_what_others_do() {
    let server = Launch::shards(SHARDS).start();
    let mut monitor = server.client();
    monitor.ok("MONITOR");
    let mut client = server.client();
    client.ok("SELECT 3");
    let keys = keys_over_shards("key", SHARDS, 8);
    for key in &keys {
        client.ok(&format!("SET {key} v"));
    }
    client.command(&["ECHO", "a \"b\"\r\n\u{1}"]);
    client.send("GET k\r\nMGET a b\r\n");
    assert_eq!(client.read(), Ok(Value::NullBulk));
    assert!(client.read().is_ok());
    let mut lines: Vec<String> = Vec::new();
    while lines.len() < keys.len() + 4 {
        lines.push(monitor.read().expect("a line").text());
    }
    let address = client.local_address();
    for line in &lines {
        let (time, rest) = line.split_once(' ').expect("a time");
        assert!(time.parse::<f64>().is_ok_and(|time| time > 1.7e9), "{line}");
        assert!(rest.starts_with(&format!("[3 {address}] ")), "{line}");
    }
    let commands: Vec<&str> =
        lines.iter().map(|line| line.split_once("] ").expect("a command").1).collect();
    assert_eq!(commands[0], "\"SELECT\" \"3\"");
    for (command, key) in commands[1..].iter().zip(&keys) {
        assert_eq!(*command, format!("\"SET\" \"{key}\" \"v\""));
    }
    let rest = &commands[1 + keys.len()..];
    let escaped = "\"ECHO\" \"a \\\"b\\\"\\r\\n\\x01\"";
    assert_eq!(rest, [escaped, "\"GET\" \"k\"", "\"MGET\" \"a\" \"b\""]);
    // After RESET it is a client like others.
    monitor.send("RESET\r\n");
    let reset = Value::Simple("RESET".into());
    wait_until("the monitor is reset", || monitor.read() == Ok(reset.clone()));
    client.ok("SET k v");
    assert_eq!(monitor.words("GET none"), Value::NullBulk);
}

/// A monitoring client is shown its own commands behind their replies, and data is not for it.
#[test]
fn monitor_shows_a_client_its_own_commands() {
    let server = Launch::shards(SHARDS).start();
    let mut monitor = server.client();
    monitor.ok("MONITOR");
    assert_eq!(monitor.words("PING"), Value::Simple("PONG".into()));
    let line = monitor.read().expect("a line").text();
    let address = monitor.local_address();
    assert!(line.ends_with(&format!(" [0 {address}] \"PING\"")), "{line}");
    for request in ["GET k", "SET k v", "MGET a b c", "DEL k"] {
        let refused = monitor.words(request);
        assert_eq!(refused.error(), "ERR Replica can't interact with the keyspace", "{request}");
    }
    assert_eq!(monitor.words("RESET"), Value::Simple("RESET".into()));
    assert_eq!(monitor.words("GET k"), Value::NullBulk);
}

#[test]
fn monitor_shows_no_secrets() {
    let server = Launch::shards(SHARDS).start();
    let mut monitor = server.client();
    monitor.ok("MONITOR");
    let mut client = server.client();
    assert!(client.words("AUTH hush").error().starts_with("ERR"));
    client.ok("AUTH default hush");
    client.words("HELLO 2 AUTH default hush");
    client.words("ECHO end");
    let mut shown = Vec::new();
    for _ in 0..4 {
        let line = monitor.read().expect("a line").text();
        shown.push(line.split_once("] ").expect("a command").1.to_owned());
    }
    let hidden = "\"(redacted)\"";
    assert_eq!(shown[0], format!("\"AUTH\" {hidden}"));
    assert_eq!(shown[1], format!("\"AUTH\" {hidden} {hidden}"));
    assert_eq!(shown[2], format!("\"HELLO\" \"2\" \"AUTH\" {hidden} {hidden}"));
    assert_eq!(shown[3], "\"ECHO\" \"end\"");
}

#[test]
fn a_monitor_that_does_not_read_is_closed() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(SHARDS).start();
    let mut monitor = server.client();
    monitor.ok("MONITOR");
    let mut client = server.client();
    let value = "v".repeat(256 * 1024);
    let closes = |client: &mut Client| info_number(client, "ringmain", "output_limit_closes");
    let mut sent_mib = 0;
    while closes(&mut client) == 0 {
        // The limit is 32 MiB, and the kernel takes some.
        assert!(sent_mib < 128, "{sent_mib} MiB wait for a client that does not read");
        for _ in 0..4 {
            assert_eq!(client.command(&["SET", "key", &value]), Value::ok());
        }
        sent_mib += 1;
    }
    assert!(sent_mib > 16, "closed after {sent_mib} MiB");
    monitor.read_to_close();
    wait_until("it is gone", || !client.words("CLIENT LIST").text().contains("flags=O"));
}

/// One value of a client's line in `CLIENT LIST`.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let found = line.split(' ').filter_map(|pair| pair.split_once('='));
    let found = found.into_iter().find(|(key, _)| *key == name);
    found.unwrap_or_else(|| panic!("no {name} in {line}")).1
}

#[test]
fn clients_are_listed_and_killed_on_every_core() {
    let server = Launch::shards(SHARDS).start();
    let mut client = server.client();
    let mut others: Vec<Client> = (0..8).map(|_| server.client()).collect();
    for (index, other) in others.iter_mut().enumerate() {
        other.ok(&format!("CLIENT SETNAME other{index}"));
        // Each goes to the core of its key.
        other.ok(&format!("SET key{index} v"));
        other.ok(&format!("SELECT {index}"));
    }
    let list = client.words("CLIENT LIST").text();
    for (index, other) in others.iter().enumerate() {
        let named = list.lines().find(|line| field(line, "name") == format!("other{index}"));
        let line = named.unwrap_or_else(|| panic!("other{index} is not in {list}"));
        assert_eq!(field(line, "addr"), other.local_address().to_string());
        assert_eq!(field(line, "laddr"), server.address().to_string());
        assert_eq!(field(line, "db"), index.to_string());
        assert_eq!(field(line, "cmd"), "select");
        assert_eq!(field(line, "user"), "default");
    }
    let me = list.lines().find(|line| field(line, "cmd") == "client|list").expect("this client");
    assert_eq!(client.words("CLIENT ID").integer().to_string(), field(me, "id"));
    // By address, by id, and all that are left at once.
    let address = others[0].local_address().to_string();
    assert_eq!(client.words(&format!("CLIENT KILL ADDR {address}")), Value::Integer(1));
    others[0].expect_close();
    let address = others[1].local_address().to_string();
    assert_eq!(client.words(&format!("CLIENT KILL {address}")), Value::ok());
    others[1].expect_close();
    let id = others[2].words("CLIENT ID").integer();
    assert_eq!(client.words(&format!("CLIENT KILL ID {id}")), Value::Integer(1));
    others[2].expect_close();
    let killed = client.words("CLIENT KILL TYPE normal SKIPME yes").integer();
    assert!(killed >= 5, "{killed}");
    for other in &mut others[3..] {
        other.expect_close();
    }
    assert_eq!(client.words("PING"), Value::Simple("PONG".into()));
    wait_until("nobody else is listed", || client.words("CLIENT LIST").text().lines().count() == 1);
}

#[test]
fn pause_holds_all_clients_back_on_every_core() {
    const PAUSE_MS: u64 = 400;
    let server = Launch::shards(SHARDS).start();
    let mut client = server.client();
    let keys = keys_over_shards("key", SHARDS, 8);
    let mut others: Vec<Client> = keys.iter().map(|_| server.client()).collect();
    for (other, key) in others.iter_mut().zip(&keys) {
        other.ok(&format!("SET {key} before"));
    }
    let started = Instant::now();
    client.ok(&format!("CLIENT PAUSE {PAUSE_MS}"));
    for (other, key) in others.iter_mut().zip(&keys) {
        other.request(&["GET", key]);
    }
    for other in &mut others {
        assert_eq!(other.read(), Ok(Value::bulk("before")));
        let waited = started.elapsed();
        assert!(waited >= Duration::from_millis(PAUSE_MS - 20), "answered after {waited:?}");
    }
    // Writes alone are held back until somebody ends it.
    client.ok("CLIENT PAUSE 60000 WRITE");
    for (other, key) in others.iter_mut().zip(&keys) {
        assert_eq!(other.words(&format!("GET {key}")), Value::bulk("before"));
        other.request(&["SET", key, "after"]);
    }
    for key in &keys {
        assert_eq!(client.words(&format!("GET {key}")), Value::bulk("before"));
    }
    client.ok("CLIENT UNPAUSE");
    for other in &mut others {
        assert_eq!(other.read(), Ok(Value::ok()));
    }
    for key in &keys {
        assert_eq!(client.words(&format!("GET {key}")), Value::bulk("after"));
    }
}

#[test]
fn replies_can_be_turned_off() {
    let server = Launch::shards(SHARDS).start();
    let mut client = server.client();
    let keys = keys_over_shards("key", SHARDS, 8);
    client.send("CLIENT REPLY OFF\r\n");
    for key in &keys {
        client.request(&["SET", key, "v"]);
        client.request(&["NONSENSE"]);
    }
    client.request(&[vec!["MGET"], keys.iter().map(String::as_str).collect()].concat());
    client.send("CLIENT REPLY ON\r\n");
    client.expect_bytes("+OK\r\n");
    // Skipped ones among others keep their places, also for keys of other shards.
    for key in &keys {
        client.request(&["GET", key]);
        client.send("CLIENT REPLY SKIP\r\n");
        client.request(&["GET", key]);
    }
    client.send("PING\r\n");
    for _ in &keys {
        assert_eq!(client.read(), Ok(Value::bulk("v")));
    }
    assert_eq!(client.read(), Ok(Value::Simple("PONG".into())));
}

#[test]
fn the_slow_log_and_latencies_of_all_cores() {
    let server = Launch::shards(SHARDS).flag("--slowlog-log-slower-than", "0").start();
    let mut client = server.client();
    client.ok("SLOWLOG RESET");
    client.ok("CONFIG RESETSTAT");
    let keys = keys_over_shards("key", SHARDS, 40);
    for key in &keys {
        client.ok(&format!("SET {key} v"));
    }
    let log = client.words("SLOWLOG GET 1000");
    for key in &keys {
        let logged = log
            .elements()
            .iter()
            .filter(|entry| entry.elements()[3].elements().get(1) == Some(&Value::bulk(key)));
        assert_eq!(logged.count(), 1, "{key} in {log:?}");
    }
    let histogram = client.words("LATENCY HISTOGRAM set").field("set");
    assert_eq!(histogram.field("calls"), Value::Integer(40));
    let buckets = histogram.field("histogram_usec").pairs();
    assert_eq!(buckets.last().map(|(_, count)| count.integer()), Some(40), "{buckets:?}");
    let stats = info(&mut client, "commandstats");
    assert!(stats["cmdstat_set"].starts_with("calls=40,usec="), "{stats:?}");
    assert!(stats["cmdstat_set"].contains("rejected_calls=0,failed_calls=0"), "{stats:?}");
    client.words(&format!("INCR {}", keys[0]));
    client.words("GET");
    client.words("NONSENSE");
    let stats = info(&mut client, "all");
    assert!(
        stats["cmdstat_get"].contains("calls=0")
            && stats["cmdstat_get"].contains("rejected_calls=1")
    );
    assert_eq!(stats["errorstat_ERR"], "count=3");
    assert_eq!(stats["total_error_replies"], "3");
    assert!(stats["latency_percentiles_usec_set"].starts_with("p50="), "{stats:?}");
    client.ok("CONFIG RESETSTAT");
    assert!(!info(&mut client, "commandstats").contains_key("cmdstat_set"));
}

#[test]
fn info_tells_the_truth() {
    let mut server = Launch::shards(SHARDS).start();
    let mut client = server.client();
    let keys = keys_over_shards("key", SHARDS, 100);
    for (index, key) in keys.iter().enumerate() {
        client.ok(&format!("SET {key} v{}", if index < 30 { " EX 1000" } else { "" }));
    }
    client.ok("SELECT 5");
    client.ok("SET other v");
    for key in ["other", "other", "none"] {
        client.words(&format!("GET {key}"));
    }
    let all = info(&mut client, "everything");
    let number = |name: &str| {
        let text = all.get(name).unwrap_or_else(|| panic!("no {name}"));
        text.parse::<u64>().unwrap_or_else(|_| panic!("{name}:{text}"))
    };
    assert!(all["db0"].starts_with("keys=100,expires=30,avg_ttl="), "{}", all["db0"]);
    assert!(all["db5"].starts_with("keys=1,expires=0,avg_ttl=0"), "{}", all["db5"]);
    assert!(!all.contains_key("db1"));
    assert_eq!(number("process_id"), u64::from(server.pid()));
    assert_eq!(number("tcp_port"), u64::from(server.port()));
    assert_eq!(number("connected_clients"), 1);
    assert_eq!((number("keyspace_hits"), number("keyspace_misses")), (2, 1));
    assert!(number("total_commands_processed") >= 105);
    assert!(number("total_connections_received") >= 1);
    assert!(number("total_net_input_bytes") > 3_000);
    assert!(number("total_net_output_bytes") > 500);
    assert!(number("used_memory") > 1_000);
    assert!(number("uptime_in_seconds") < 600);
    let resident = server.resident_bytes();
    assert!(number("used_memory_rss").abs_diff(resident) < resident / 2, "{resident}");
    assert_eq!((all["role"].as_str(), all["redis_mode"].as_str()), ("master", "standalone"));
    for name in
        ["redis_version", "run_id", "os", "arch_bits", "maxmemory_policy", "used_memory_human"]
    {
        assert!(!all[name].is_empty(), "{name}");
    }
    // Sections by name, several at once, and none that does not exist.
    let text = client.words("INFO keyspace clients").text();
    assert!(text.contains("# Keyspace\r\n") && text.contains("# Clients\r\n"), "{text}");
    assert!(!text.contains("# Server"), "{text}");
    assert_eq!(client.words("INFO nonsense").text(), "");
    if !is_other_server() {
        assert_eq!(number("shards"), u64::from(SHARDS));
        for name in [
            "moved_connections",
            "batches_local",
            "batches_borrowed",
            "batches_by_message",
            "wake_ups",
        ] {
            number(name);
        }
    }
    assert!(server.is_running());
}

#[test]
fn settings_change_while_it_runs() {
    let server = Launch::shards(SHARDS).start();
    let mut client = server.client();
    client.ok("CONFIG SET requirepass secret");
    let mut stranger = server.client();
    assert_eq!(stranger.words("PING").error(), "NOAUTH Authentication required.");
    stranger.ok("AUTH secret");
    client.command(&["CONFIG", "SET", "requirepass", ""]);
    assert_eq!(server.client().words("PING"), Value::Simple("PONG".into()));
    // A setting that all cores must learn.
    client.ok("CONFIG SET timeout 1");
    let mut idle: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for (index, other) in idle.iter_mut().enumerate() {
        other.ok(&format!("SET key{index} v"));
    }
    for other in &mut idle {
        other.expect_close();
    }
    let mut client = server.client();
    client.ok("CONFIG SET timeout 0 maxmemory 1mb maxmemory-policy noeviction");
    let value = "v".repeat(10_000);
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    wait_until("writes are refused", || {
        (0..100).any(|index| match client.words(&format!("SET key{index} {value}")) {
            Value::Error(text) => text == oom,
            _ => false,
        })
    });
    client.ok("CONFIG SET maxmemory 0");
    client.ok(&format!("SET k {value}"));
}

#[test]
fn config_rewrite_keeps_what_was_set() {
    if skip_on_other_server() {
        return;
    }
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    std::fs::write(file.path(), "# Mine\nmaxclients = 500\ntimeout = 3\n").expect("write");
    let path = file.path().to_str().expect("a path of text");
    let launch = Launch::shards(2).flag("--config", path);
    let server = launch.start();
    let mut client = server.client();
    assert_eq!(client.words("CONFIG GET maxclients").field("maxclients").text(), "500");
    client.ok("CONFIG SET timeout 7 maxmemory 100mb");
    client.ok("CONFIG REWRITE");
    drop(server);
    let server = launch.start();
    let mut client = server.client();
    for (name, value) in [("maxclients", "500"), ("timeout", "7"), ("maxmemory", "104857600")] {
        assert_eq!(client.words(&format!("CONFIG GET {name}")).field(name).text(), value);
    }
    let text = std::fs::read_to_string(path).expect("the file");
    assert!(text.contains("# Mine"), "{text}");
    // Without a file there is nothing to write to.
    let reply = Launch::shards(1).start().client().words("CONFIG REWRITE");
    assert_eq!(reply.error(), "ERR The server is running without a config file");
}

#[test]
fn signals_and_shutdown_end_it_cleanly() {
    for way in ["TERM", "INT", "SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN NOW FORCE"] {
        println!("{way}");
        let mut server = Launch::shards(SHARDS).start();
        let mut clients: Vec<Client> = (0..10).map(|_| server.client()).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.ok(&format!("SET key{index} v"));
        }
        if way.starts_with("SHUTDOWN") {
            clients[0].send(format!("{way}\r\n"));
        } else {
            server.signal(way);
        }
        let status = server.wait_for_exit();
        assert!(status.success(), "{way}: {status}");
        for client in &mut clients {
            client.expect_close();
        }
        assert!(Client::try_connect(server.address()).is_err(), "{way}: it still listens");
        assert!(!server.output().contains("panicked"), "{}", server.output());
    }
}

#[test]
fn a_server_under_load_ends_cleanly_too() {
    let mut server = Launch::shards(SHARDS).start();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.client();
            std::thread::spawn(move || {
                let requests = b"SET a 1\r\nMSET a 1 b 2 c 3 d 4\r\nGET b\r\n".repeat(100);
                while client.try_send(&requests).is_ok() {
                    for _ in 0..300 {
                        if client.read().is_err() {
                            return;
                        }
                    }
                }
            })
        })
        .collect();
    let mut client = server.client();
    wait_until("there is load", || {
        info_number(&mut client, "stats", "total_commands_processed") > 10_000
    });
    server.signal("TERM");
    assert!(server.wait_for_exit().success(), "{}", server.output());
    for thread in threads {
        thread.join().expect("a client");
    }
    assert!(!server.output().contains("panicked"), "{}", server.output());
}

/// What redis-cli's hints, dashboards and `redis-cli --memkeys` read.
#[test]
fn descriptions_and_memory_figures() {
    let server = Launch::shards(SHARDS).start();
    for mut client in [server.client(), server.client_resp3()] {
        let docs = client.words("COMMAND DOCS get SET nothing");
        assert_eq!(docs.pairs().len(), 2, "{docs:?}");
        let get = docs.field("get");
        assert_eq!(get.field("since").text(), "1.0.0");
        assert_eq!(get.field("group").text(), "string");
        assert_eq!(get.field("complexity").text(), "O(1)");
        assert!(get.field("summary").text().len() > 10);
        assert_eq!(docs.field("set").field("group").text(), "string");
        let count = client.words("COMMAND COUNT").integer();
        assert_eq!(client.words("COMMAND DOCS").pairs().len().to_string(), count.to_string());
        assert_eq!(client.words("COMMAND").elements().len().to_string(), count.to_string());
        let names: Vec<String> =
            client.words("COMMAND LIST").elements().iter().map(Value::text).collect();
        for name in ["get", "set", "client", "config|get", "cluster|slots", "memory|usage"] {
            assert!(names.iter().any(|listed| listed == name), "{name} in {names:?}");
        }
        client.ok(&format!("SET k {}", "v".repeat(50_000)));
        let stats = client.words("MEMORY STATS");
        assert_eq!(stats.field("keys.count"), Value::Integer(1));
        let number = |name: &str| stats.field(name).integer();
        assert!(number("total.allocated") > 50_000);
        assert!(number("peak.allocated") >= number("total.allocated"));
        assert!(number("dataset.bytes") > 40_000);
        let usage = client.words("MEMORY USAGE k").integer();
        assert!((50_000..70_000).contains(&usage), "{usage}");
    }
}

/// Nobody can know from one server where another puts its keys.
#[test]
fn keys_are_hashed_with_a_seed_of_each_servers_own() {
    let order = || {
        let server = Launch::shards(1).start();
        let mut client = server.client();
        (0..50).for_each(|key| client.ok(&format!("SET {{t}}{key} v")));
        client.words("SCAN 0 COUNT 1000").elements()[1].clone()
    };
    let (first, second) = (order(), order());
    assert_eq!(first.elements().len(), 50);
    assert_ne!(first, second);
}

/// Whether the kernel keeps a timer for keepalive on the server's side of the connections to its port.
fn keepalive_timers(server: &Server) -> Vec<bool> {
    let port = format!(":{:04X}", server.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Local address, remote address, state (1: established), and two on the timer's kind (2: keepalive).
    let ours = fields.filter(|it| it.len() > 5 && it[1].ends_with(&port) && it[3] == "01");
    ours.map(|it| it[5].starts_with("02:")).collect()
}

#[test]
fn connections_are_kept_alive_as_configured() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(1).flag("--tcp-keepalive", "100").start();
    let mut client = server.client();
    client.ok("SET k v");
    let kept = || keepalive_timers(&server).into_iter().filter(|is_kept| *is_kept).count();
    wait_until("the connection is kept alive", || kept() == 1);
    client.ok("CONFIG SET tcp-keepalive 0");
    let mut other = server.client();
    other.ok("SET k w");
    wait_until("both are there", || keepalive_timers(&server).len() >= 2);
    wait_until("the new one is not", || kept() == 1);
    client.ok("CONFIG SET tcp-keepalive 300");
    let mut third = server.client();
    third.ok("SET k x");
    wait_until("the next one is again", || kept() == 2);
}
