//! `--protocol binary`: against a scripted server that answers in any order, errs, lies, closes and moves its
//! slots, and against Ringmain.

mod harness;

use harness::frames::{Asked, Fake, Say, Setup, Store};
use harness::ringmain::{Server, program};
use harness::tool::{Ran, Tool};
use ringmain::protocol::binary::{Opcode, ReplyHead, Status};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

fn fault(ran: &Ran, name: &str) -> u64 {
    ran.report["outcome"]["faults"][name].as_u64().expect("a number")
}

fn outcome(ran: &Ran, name: &str) -> u64 {
    ran.report["outcome"][name].as_u64().expect("a number")
}

fn requests(ran: &Ran) -> u64 {
    ran.report["summary"]["requests"].as_u64().expect("a number")
}

fn latency_ms(ran: &Ran, quantile: &str) -> f64 {
    ran.report["summary"]["latency_us"][quantile].as_f64().expect("a number") / 1000.0
}

fn tool(port: u16, args: &[&str]) -> Tool {
    Tool::at(port, &[&["--protocol", "binary"], args].concat())
}

fn clean(port: u16, args: &[&str]) -> Ran {
    let ran = tool(port, args).run();
    assert_eq!(ran.status, Some(0), "{args:?}: {}{}", ran.stdout, ran.stderr);
    ran
}

/// A server that answers every request as it should, unless `odd` says otherwise.
fn server(odd: impl Fn(&Asked) -> Option<Say> + Send + Sync + 'static) -> Fake {
    let store = Store::default();
    Fake::start(move |asked| odd(asked).unwrap_or_else(|| store.answer(asked)))
}

#[test]
fn replies_are_matched_by_id_in_any_order_and_any_pieces() {
    for drips in [false, true] {
        let store = Store::default();
        let setup = Setup { drips, ..Setup::default() };
        let fake = Fake::set_up(setup, move |asked| store.answer(asked));
        // Were a reply taken for another request's, values would be foreign.
        let args = ["--verify", "-n", "2000", "-c", "3", "-P", "7", "--keys", "50"];
        let ran = clean(fake.port(), &[&args[..], &["--mix", "get=1,set=1"]].concat());
        assert_eq!(requests(&ran), 2000);
    }
}

#[test]
fn a_closed_loop_sends_its_requests_in_one_frame() {
    let fake = server(|_| None);
    assert_eq!(requests(&clean(fake.port(), &["-n", "1600", "-c", "2", "-P", "16"])), 1600);
    // And a handshake on each connection, and on the one that looks whether there is a server.
    assert_eq!(fake.frames(), 1600 / 16 + 3);
}

#[test]
fn a_frame_has_no_more_requests_than_the_server_takes() {
    let store = Store::default();
    let setup = Setup { items_max: 5, ..Setup::default() };
    let fake = Fake::set_up(setup, move |asked| store.answer(asked));
    assert_eq!(requests(&clean(fake.port(), &["-n", "1600", "-c", "2", "-P", "16"])), 1600);
    assert_eq!(fake.frames(), 1600 / 16 * 4 + 3);
}

#[test]
fn errors_are_counted_by_code_and_never_as_successes() {
    let text = |status, text: &str| Some(Say::Reply(status, text.as_bytes().to_vec()));
    let fake = server(move |asked| match asked.number % 10 {
        3 => text(Status::OutOfMemory, "OOM command not allowed"),
        5 => text(Status::DeadlineExceeded, "DEADLINE too late"),
        7 => text(Status::Error, "BUSY me"),
        _ => None,
    });
    let ran = tool(fake.port(), &["-c", "3", "-P", "4", "-n", "1000"]).run();
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert_eq!((requests(&ran), ran.report["summary"]["errors"].as_u64()), (700, Some(300)));
    for code in ["OOM", "DEADLINE", "BUSY"] {
        let commands = ran.report["outcome"]["commands"].as_array().expect("commands");
        let counts = commands.iter().filter_map(|command| command["errors"][code].as_u64());
        assert_eq!(counts.sum::<u64>(), 100, "{code}");
        assert!(ran.stdout.contains(code), "{}", ran.stdout);
    }
    assert_eq!(fault(&ran, "unanswered") + fault(&ran, "wrong") + fault(&ran, "reconnects"), 0);
}

#[test]
fn wrong_replies_are_told_and_not_counted() {
    let fake = server(|asked| {
        let other = |opcode: Opcode| ReplyHead::new(asked.head.id, opcode.number(), Status::Ok);
        let mut unknown = other(asked.opcode());
        unknown.status = 0x7e;
        match asked.number % 10 {
            // A body where there is none, the reply to another operation, and statuses that the
            // operation, or nobody, knows.
            1 => Some(Say::Reply(Status::Ok, b"what".to_vec())),
            3 => Some(Say::As(other(Opcode::Append), 7_u64.to_le_bytes().to_vec())),
            5 => Some(Say::Reply(Status::VersionMismatch, Vec::new())),
            7 => Some(Say::As(unknown, Vec::new())),
            _ => None,
        }
    });
    let ran = tool(fake.port(), &["-n", "1000", "-c", "2", "-P", "2", "--mix", "set=1"]).run();
    assert_eq!(ran.status, Some(1));
    assert_eq!((requests(&ran), fault(&ran, "wrong"), fault(&ran, "reconnects")), (600, 400, 0));
    assert!(ran.stdout.contains("wrong"), "{}", ran.stdout);
}

#[test]
fn what_can_not_be_matched_ends_its_connection_only() {
    let stray = |id| ReplyHead::new(id, Opcode::Set.number(), Status::Ok);
    let checksum = ReplyHead::new(0, 0, Status::BadChecksum);
    type Odd = fn(ReplyHead) -> Say;
    let cases: [(ReplyHead, Odd); 4] = [
        (stray(0), |head| Say::As(head, Vec::new())),
        (stray(77), |head| Say::As(head, Vec::new())),
        (checksum, |head| Say::As(head, b"BADCHECKSUM no".to_vec())),
        (stray(0), |_| {
            Say::Bytes(b"\xb2\x01\x01\x00 that is no frame, whatever it may be".to_vec())
        }),
    ];
    for (head, odd) in cases {
        let fake = server(move |asked| (asked.number == 100).then(|| odd(head)));
        let ran = tool(fake.port(), &["-n", "500", "-c", "5", "--mix", "set=1"]).run();
        assert_eq!(ran.status, Some(1));
        assert_eq!((fault(&ran, "wrong"), fault(&ran, "reconnects")), (1, 1), "{head:?}");
        assert_eq!(requests(&ran) + fault(&ran, "unanswered"), 500);
    }
    // The second of two replies is that of a request that no longer waits.
    let fake = server(|asked| (asked.number == 100).then(|| Say::Twice(Status::Ok, Vec::new())));
    let ran = tool(fake.port(), &["-n", "500", "-c", "1", "--mix", "set=1"]).run();
    assert_eq!((ran.status, fault(&ran, "wrong")), (Some(1), 1), "{}", ran.stdout);
}

#[test]
fn a_connection_that_is_closed_is_opened_again_and_what_was_on_it_counted() {
    for last in [&b""[..], b"\xb2\x01\x01\x00\x00"] {
        let odd = move |asked: &Asked| (asked.number % 50 == 20).then(|| Say::Close(last.to_vec()));
        let fake = server(odd);
        let ran = tool(fake.port(), &["-n", "1000", "-c", "4", "-P", "3"]).run();
        assert_eq!(ran.status, Some(1), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(requests(&ran) + fault(&ran, "unanswered"), 1000, "{}", ran.stdout);
        assert!((10..=100).contains(&fault(&ran, "unanswered")), "{}", ran.stdout);
        assert!((10..=30).contains(&fault(&ran, "reconnects")), "{}", ran.stdout);
    }
}

#[test]
fn an_open_loop_charges_a_stall_to_all_that_was_due() {
    let stalled = AtomicBool::new(false);
    let fake = server(move |asked| {
        let stalls = asked.number > 700 && !stalled.swap(true, Ordering::Relaxed);
        stalls.then(|| Say::Late(Duration::from_millis(600), Status::Ok, Vec::new()))
    });
    let args = ["-c", "1", "-P", "5", "--rate", "1k", "--duration", "2s", "--mix", "set=1"];
    let ran = clean(fake.port(), &args);
    assert_eq!(requests(&ran), 2000);
    let p95 = latency_ms(&ran, "p95");
    assert!((430.0..700.0).contains(&p95) && latency_ms(&ran, "max") >= 595.0, "p95 {p95} ms");
}

#[test]
fn replies_that_never_come_are_charged_and_do_not_hold_up_others() {
    let fake = server(|asked| (asked.number == 100).then_some(Say::Nothing));
    let args = ["-c", "1", "-P", "2", "--rate", "500", "--duration", "2s", "--mix", "set=1"];
    let ran = tool(fake.port(), &args).run();
    assert_eq!(ran.status, Some(1));
    assert_eq!((requests(&ran), fault(&ran, "unanswered")), (999, 1), "{}", ran.stdout);
}

/// Two cores; all slots go from one to the other in mid-load, without and with being refused.
#[test]
fn a_new_topology_is_followed() {
    for refuses in [false, true] {
        let store = Store::default();
        let second = Arc::new(std::sync::OnceLock::new());
        let (moved, port) = (Arc::new(AtomicBool::new(false)), second.clone());
        let has_moved = moved.clone();
        let refused = Arc::new(AtomicBool::new(false));
        let has_refused = refused.clone();
        let setup = Setup { cores: 2, ..Setup::default() };
        let fake = Arc::new(Fake::set_up(setup, move |asked| {
            let other = *port.get().expect("both listen");
            if refuses && has_moved.load(Ordering::SeqCst) && asked.port != other {
                has_refused.store(true, Ordering::SeqCst);
                let text = format!("MOVED {} 127.0.0.1:{other}", asked.head.slot.0);
                return Say::Reply(Status::Moved, text.into_bytes());
            }
            thread::sleep(Duration::from_micros(100));
            store.answer(asked)
        }));
        second.set(fake.port_of(1)).expect("set once");
        let watched = fake.clone();
        let mover = thread::spawn(move || {
            harness::wait_until("half of it", || watched.requests() > 1000);
            moved.store(true, Ordering::SeqCst);
            // Any reply with the new epoch would already tell where to ask.
            harness::wait_until("a refusal", || !refuses || refused.load(Ordering::SeqCst));
            watched.move_to(1);
        });
        let args = ["--cluster", "-n", "3000", "-c", "2", "-P", "4", "--rate", "2k"];
        let ran = clean(fake.port(), &args);
        mover.join().expect("it moved");
        assert_eq!(requests(&ran), 3000);
        assert_eq!(outcome(&ran, "moved") > 0, refuses, "{}", ran.stdout);
        assert!(outcome(&ran, "moved") < 100, "only until the new topology is known");
    }
}

#[test]
fn a_server_that_will_not_have_us_is_told_of_in_a_sentence() {
    let refuse = |bytes: &'static [u8]| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let _ = stream.read(&mut [0; 256])?;
            stream.write_all(bytes)
        });
        port
    };
    let resp = refuse(b"-ERR Protocol error\r\n");
    let silent = refuse(b"");
    for (port, args, words) in [
        (resp, &[][..], "does not speak the binary protocol"),
        (silent, &[], "closes the connection"),
    ] {
        let ran = tool(port, args).run();
        assert_eq!(ran.status, Some(2), "{words}: {}", ran.stderr);
        assert!(ran.stderr.contains(words) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    }
    let server = Server::start(1, &["--requirepass", "pass word"]);
    for (args, words) in [
        (&[][..], "NOAUTH"),
        (&["--auth", "other"], "WRONGPASS"),
        (&["--auth", "pass word", "--db", "99"], "DB index"),
    ] {
        let ran = tool(server.port(), args).run();
        assert_eq!(ran.status, Some(2), "{words}: {}", ran.stderr);
        assert!(ran.stderr.contains(words) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    }
    clean(server.port(), &["-n", "500", "--auth", "pass word", "--db", "3"]);
}

// Ringmain itself.

#[test]
fn every_request_is_made_and_answered() {
    let server = Server::start(2, &[]);
    for (args, expected) in [
        (&["-n", "1", "-c", "1"][..], 1),
        (&["-n", "10001", "-c", "50"], 10_001),
        (&["-n", "10001", "-c", "5", "-P", "16", "--cluster"], 10_001),
        (&["-n", "10000", "-c", "3", "-P", "3000"], 10_000),
        (&["-n", "20000", "-c", "9", "-P", "2", "--threads", "3"], 20_000),
        (&["-n", "3000", "-c", "2", "--value-bytes", "100000", "--mix", "set=1,get=1"], 3_000),
        (&["-n", "5000", "--rate", "20k", "--arrivals", "poisson", "--cluster"], 5_000),
    ] {
        assert_eq!(requests(&clean(server.port(), args)), expected, "{args:?}");
    }
    // The common port, the binary port, and a core's own.
    let own = server.port() + 1;
    assert_eq!(requests(&clean(own, &["-n", "1000", "-P", "4"])), 1000);
}

#[test]
fn every_command_of_a_mix_is_answered_with_its_type() {
    let server = Server::start(2, &[]);
    let mix = "get,set,setnx,mget,mset,incr,decr,append,strlen,getrange,exists,ttl,touch,expire,del,unlink,\
               ping,set {key} {value} ex {ttl},set {key} {value} xx keepttl,incrby n:{n} 5,dbsize";
    let args = ["--mix", mix, "--ttl", "60", "-n", "20000", "-c", "4", "-P", "8", "-r", "500"];
    let ran = clean(server.port(), &[&args[..], &["--fill"]].concat());
    assert_eq!(requests(&ran), 20_000);
    assert!(ran.report["summary"]["hit_ratio"].as_f64() > Some(0.1), "{}", ran.stdout);
}

#[test]
fn every_acknowledged_write_is_there() {
    let server = Server::start(2, &[]);
    let args = ["--verify", "-n", "20000", "-c", "8", "-P", "4", "--keys", "200", "--cluster"];
    for more in [&["--mix", "get=1,set=1"][..], &["--mix", "get=1,mget=1,set=1", "--fill"]] {
        let ran = clean(server.port(), &[&args[..], more].concat());
        assert_eq!(requests(&ran), 20_000);
    }
}

#[test]
fn keys_expire_and_what_is_missing_is_filled() {
    let server = Server::start(1, &[]);
    let args = ["--ttl", "1ms", "--mix", "get=1", "-n", "2000", "-r", "10", "--fill-on-miss"];
    let ran = clean(server.port(), &args);
    let ratio = ran.report["summary"]["hit_ratio"].as_f64().expect("a ratio");
    assert!(ratio < 1.0 && ran.stdout.contains("fill"), "{}", ran.stdout);
    let ran = clean(server.port(), &["--mix", "get=1", "-n", "2000", "-r", "50", "--fill"]);
    assert_eq!(ran.report["summary"]["hit_ratio"], 1.0);
}

#[test]
fn a_trace_is_replayed() {
    let server = Server::start(1, &[]);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("trace.csv");
    let verbs = ["set", "get", "append", "delete", "add", "replace", "touch", "get"];
    let line = |i: usize| format!("{},{},{},20,{}\n", i / 100, verbs[i % 8], i / 8 % 7, i % 3 * 60);
    std::fs::write(&path, (0..2000).map(line).collect::<String>()).expect("a trace");
    let path = path.to_str().expect("a path");
    let binary = clean(server.port(), &["--trace", path, "-c", "1"]);
    assert_eq!(requests(&binary), 2000);
    // The same trace meets the same hits, whichever protocol asks.
    let resp = Tool::at(server.port(), &["--trace", path, "-c", "1", "--key-prefix", "r:"]).run();
    assert_eq!(resp.status, Some(0), "{}", resp.stdout);
    assert_eq!(binary.report["outcome"]["hits"], resp.report["outcome"]["hits"]);
    assert_eq!(binary.report["outcome"]["misses"], resp.report["outcome"]["misses"]);
}

#[test]
fn a_shard_that_moves_is_followed_and_nothing_fails() {
    for cluster in ["no", "yes"] {
        let server = Server::start(2, &["--cluster-enabled", cluster]);
        let port = server.port();
        let args = ["--cluster", "--duration", "2s", "-c", "4", "-P", "4", "--verify", "-r", "400"];
        let ran = tool(port, &[&args[..], &["--mix", "get=1,set=1"]].concat()).run_while(|_| {
            thread::sleep(Duration::from_millis(700));
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it serves");
            stream.write_all(b"SHARD MOVE 0 1\r\n").expect("a request");
            let mut reply = [0; 5];
            stream.read_exact(&mut reply).expect("a reply");
            assert_eq!(&reply, b"+OK\r\n");
        });
        assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
        assert!(outcome(&ran, "moved") < 200, "followed at once: {}", ran.stdout);
        assert!(requests(&ran) > 1000);
    }
}

#[test]
fn servers_are_compared() {
    let server = format!("{} --port {{port}} --shards 1 --shard-port-base 0", program().display());
    let args = ["compare", "--protocol", "binary", "-n", "2000", "--rounds", "1", "--fill"];
    let tool = Tool::with(&args).arg("--cpus").arg("any").arg("--keys").arg("100");
    let ran = tool.arg("--server").arg(format!("one={server}")).run();
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("server CPU a request"), "{}", ran.stdout);
}
