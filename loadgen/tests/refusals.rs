//! What makes no sense is refused in one sentence, with exit status 2, before any load.

mod harness;

use harness::fake::{Fake, Say};
use harness::tool::Tool;
use std::net::TcpListener;

/// The arguments, and words that the sentence must have.
const NONSENSE: &[(&[&str], &[&str])] = &[
    (&["--rate", "0"], &["--rate", "above zero"]),
    (&["--rate=-5"], &["--rate"]),
    (&["--rate", "fast"], &["--rate", "not a rate"]),
    (&["--ramp", "1k:2k"], &["--ramp", "FROM:TO:TIME"]),
    (&["--steps", "1k,0:5s"], &["--steps", "above zero"]),
    (&["--rate", "1k", "--ramp", "1:2:3s"], &["--rate", "--ramp"]),
    (&["--duration", "0s"], &["--duration", "above zero"]),
    (&["--duration", "5s", "--requests", "5"], &["--duration", "--requests"]),
    (&["--requests", "0"], &["--requests"]),
    (&["--connections", "0"], &["--connections"]),
    (&["--depth", "0"], &["--depth"]),
    (&["--threads", "0"], &["--threads"]),
    (&["--cpus", "1-0"], &["--cpus", "list of CPUs"]),
    (&["--port", "0"], &["--port"]),
    (&["--keys", "0"], &["--keys"]),
    (&["--user", "me"], &["--auth"]),
    (&["--protocol", "resp4"], &["--protocol"]),
    (&["--mix", "set {value}=1"], &["{key}"]),
    (&["--mix", "get=0"], &["get"]),
    (&["--mix", "get=x"], &["get"]),
    (&["--key-dist", "zipfian:x"], &["zipfian"]),
    (&["--key-dist", "normal"], &["normal"]),
    (&["--value-bytes", "x"], &["--value-bytes"]),
    (&["--ttl", "never"], &["--ttl"]),
    (&["--trace", "/nowhere/trace.csv"], &["/nowhere/trace.csv"]),
    (&["--trace-speed", "2"], &["--trace"]),
    (&["--verify", "--keys", "10"], &["--verify", "--keys"]),
    (&["--search-slo", "p99"], &["--search-slo"]),
    (&["--search-slo", "p99<1ms", "--rate", "5"], &["--search-slo", "--rate"]),
    (&["--json", "/nowhere/report.json"], &["/nowhere/report.json"]),
    (&["report"], &["FILE"]),
    (&["report", "/nowhere/report.json"], &["/nowhere/report.json"]),
    (&["compare"], &["--server"]),
    (&["compare", "--server", "a=b"], &["{port}"]),
    (&["no-such-thing"], &["no-such-thing"]),
];

#[test]
fn nonsense() {
    for (args, words) in NONSENSE {
        let ran = Tool::with(args).run();
        assert_eq!(ran.status, Some(2), "{args:?}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
        for word in *words {
            assert!(ran.stderr.contains(word), "{args:?} does not say {word}: {}", ran.stderr);
        }
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("loadgen: "), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_server_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    drop(listener);
    let ran = Tool::at(port, &[]).run();
    let expected = format!("loadgen: no server at 127.0.0.1:{port}: Connection refused");
    assert_eq!(ran.status, Some(2));
    assert!(ran.stderr.starts_with(&expected) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    let ran = Tool::with(&["--host", "no-such-host.invalid"]).run();
    assert_eq!(ran.status, Some(2));
    assert!(ran.stderr.contains("no-such-host.invalid"), "{}", ran.stderr);
}

#[test]
fn a_server_that_will_not_have_us() {
    for (reply, args, words) in [
        (&b"-NOAUTH Authentication required.\r\n"[..], &[][..], "NOAUTH"),
        (b"-WRONGPASS invalid\r\n", &["--auth", "x"], "WRONGPASS"),
        (b"-ERR unknown command 'HELLO'\r\n", &["--protocol", "resp3"], "HELLO"),
        (b"-ERR DB index is out of range\r\n", &["--db", "99"], "DB index"),
        (b"-ERR max number of clients reached\r\n", &[], "max number of clients"),
        (b"HTTP/1.1 400 Bad Request\r\n", &[], "no reply"),
        (b"-ERR This instance has cluster support disabled\r\n", &["--cluster"], "cluster"),
    ] {
        let fake = Fake::start(move |_, _| Say::Bytes(reply.to_vec()));
        let ran = Tool::at(fake.port(), args).run();
        assert_eq!(ran.status, Some(2), "{words}: {}", ran.stderr);
        assert!(ran.stderr.contains(words) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
        assert!(ran.stderr.contains(&fake.port().to_string()), "{}", ran.stderr);
    }
    let fake = Fake::start(|_, _| Say::Close(Vec::new()));
    let ran = Tool::at(fake.port(), &[]).run();
    assert_eq!(ran.status, Some(2));
    assert!(ran.stderr.contains("closes the connection"), "{}", ran.stderr);
}

#[test]
fn help_shows_every_name_and_examples() {
    let ran = Tool::with(&["--help"]).run();
    assert_eq!(ran.status, Some(0));
    for name in [
        "--host",
        "--port",
        "--connections",
        "--depth",
        "--threads",
        "--requests",
        "--duration",
        "--rate",
        "--keys",
        "--key-dist",
        "--value-bytes",
        "--mix",
        "--ttl",
        "--seed",
        "--protocol",
        "--cluster",
        "--auth",
        "--search-slo",
        "--warmup",
        "--verify",
        "--trace",
        "--json",
        "--hgrm",
        "--csv",
        "--html",
        "Examples:",
        "127.0.0.1",
        "6379",
        "resp3",
        "binary",
    ] {
        assert!(ran.stdout.contains(name), "{name} is not in\n{}", ran.stdout);
    }
}
