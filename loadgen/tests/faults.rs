//! Against a server that errs, answers wrongly, closes, stalls and splits its replies: the report says so,
//! the run goes on, and nothing that failed counts as a success.

mod harness;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::fake::{Fake, Say, Store, Which, bulk, is_work};
use harness::tool::{Ran, Tool, kill};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn fault(ran: &Ran, name: &str) -> u64 {
    ran.report["outcome"]["faults"][name].as_u64().expect("a number")
}

fn requests(ran: &Ran) -> u64 {
    ran.report["summary"]["requests"].as_u64().expect("a number")
}

fn errors(ran: &Ran) -> u64 {
    ran.report["summary"]["errors"].as_u64().expect("a number")
}

fn latency_ms(ran: &Ran, quantile: &str) -> f64 {
    ran.report["summary"]["latency_us"][quantile].as_f64().expect("a number") / 1000.0
}

/// How late the tool was itself at worst.
fn most_late_ms(ran: &Ran) -> u64 {
    let text = ran.report["outcome"]["lateness"].as_str().expect("a histogram");
    let bytes = STANDARD.decode(text).expect("base64");
    let lateness: Histogram<u64> =
        Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
    lateness.max() / 1_000_000
}

/// A server that answers every request as it should, unless `odd` says otherwise about the number of a
/// request of the workload.
fn server(odd: impl Fn(usize) -> Option<Say> + Send + Sync + 'static) -> Fake {
    let store = Store::default();
    Fake::start(move |Which { number, .. }, args| {
        // The first request of all is the tool's PING.
        let said = is_work(args).then(|| odd(number - 1)).flatten();
        said.unwrap_or_else(|| Say::Bytes(store.answer(args)))
    })
}

#[test]
fn errors_are_counted_by_code_and_never_as_successes() {
    let fake = server(|number| match number % 10 {
        3 => Some(Say::Bytes(b"-OOM command not allowed\r\n".to_vec())),
        5 => Some(Say::Bytes(b"-LOADING wait\r\n".to_vec())),
        7 => Some(Say::Bytes(b"!7\r\nBUSY me\r\n".to_vec())),
        _ => None,
    });
    let ran = Tool::at(fake.port(), &["-c", "3", "-P", "4", "-n", "1000", "--fill-on-miss"]).run();
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert_eq!((requests(&ran), errors(&ran)), (700, 300));
    for code in ["OOM", "LOADING", "BUSY"] {
        let commands = ran.report["outcome"]["commands"].as_array().expect("commands");
        let counts = commands.iter().filter_map(|command| command["errors"][code].as_u64());
        assert_eq!(counts.sum::<u64>(), 100, "{code}");
        assert!(ran.stdout.contains(code), "{}", ran.stdout);
    }
    assert_eq!(fault(&ran, "unanswered") + fault(&ran, "wrong") + fault(&ran, "reconnects"), 0);
}

#[test]
fn wrong_types_are_told_and_not_counted() {
    let fake = server(|number| (number % 4 == 1).then(|| Say::Bytes(b":7\r\n".to_vec())));
    let ran = Tool::at(fake.port(), &["-n", "400", "-c", "2", "-P", "2"]).run();
    assert_eq!(ran.status, Some(1));
    assert_eq!((requests(&ran), errors(&ran), fault(&ran, "wrong")), (300, 0, 100));
    assert!(ran.stdout.contains("wrong"), "{}", ran.stdout);
}

#[test]
fn a_server_that_loses_confuses_or_damages_values_is_found_out() {
    type Lie = fn(&Store, &[Vec<u8>]) -> Option<Vec<u8>>;
    let cases: [(&str, Lie); 4] = [
        // A write is acknowledged and forgotten, and with it what was there.
        ("lost", |_, args| (args[0] == b"get").then(|| b"$-1\r\n".to_vec())),
        // A write is acknowledged and not done. Of a key never written before, it would be lost.
        ("stale", |store, args| {
            (args[0] == b"set" && store.has(&args[1])).then(|| b"+OK\r\n".to_vec())
        }),
        // A read finds what was written to another key.
        ("foreign", |store, args| {
            let other = b"verify:000000000000".to_vec();
            let lies = args[0] == b"get" && args[1] != other && store.has(&other);
            lies.then(|| store.answer(&[b"GET".to_vec(), other]))
        }),
        ("wrong", |store, args| {
            let is_there = args[0] == b"get" && store.has(&args[1]);
            let mut reply = is_there.then(|| store.answer(args))?;
            let last = reply.len() - 3;
            reply[last] ^= 1;
            Some(reply)
        }),
    ];
    for (fault_name, lie) in cases {
        let store = Store::default();
        let fake = Fake::start(move |Which { number, .. }, args| {
            let told = (number > 500 && is_work(args)).then(|| lie(&store, args)).flatten();
            Say::Bytes(told.unwrap_or_else(|| store.answer(args)))
        });
        let args = ["--verify", "-n", "2000", "-c", "2", "-P", "3", "--keys", "20"];
        let ran = Tool::at(fake.port(), &[&args[..], &["--mix", "get=1,set=1"]].concat()).run();
        assert_eq!(ran.status, Some(1), "{fault_name}: {}", ran.stdout);
        assert!(fault(&ran, fault_name) > 100, "{fault_name}: {}", ran.stdout);
        let all: u64 = ["lost", "stale", "foreign", "wrong"].iter().map(|f| fault(&ran, f)).sum();
        assert_eq!(all, fault(&ran, fault_name), "nothing else: {}", ran.stdout);
        assert_eq!(requests(&ran) + all, 2000);
    }
}

#[test]
fn replies_may_come_in_any_pieces() {
    for protocol in ["resp2", "resp3"] {
        let store = Store::default();
        let fake = Fake::start(move |_, args| {
            let mut reply = store.answer(args);
            if args[0] == b"GET" || args[0] == b"get" {
                // What RESP3 servers put in between: messages nobody asked for, and attributes.
                let push = b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n|1\r\n+ttl\r\n:3\r\n";
                reply = [&push[..], &bulk(b"some\r\nvalue")].concat();
            }
            Say::Drip(reply)
        });
        let args = ["-n", "300", "-c", "3", "-P", "5", "--protocol", protocol];
        let ran = Tool::at(fake.port(), &args).run();
        assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(requests(&ran), 300);
    }
}

#[test]
fn a_connection_that_is_closed_is_opened_again_and_what_was_on_it_counted() {
    // In the middle of a reply, between replies, and before any.
    for last in [&b"$10\r\nhal"[..], b"", b"+OK\r\n"] {
        let fake = server(move |number| (number % 50 == 20).then(|| Say::Close(last.to_vec())));
        let ran =
            Tool::at(fake.port(), &["-n", "1000", "-c", "4", "-P", "3", "--mix", "set=1"]).run();
        assert_eq!(ran.status, Some(1), "{}{}", ran.stdout, ran.stderr);
        let (good, lost) = (requests(&ran), fault(&ran, "unanswered"));
        assert_eq!(good + lost + fault(&ran, "wrong"), 1000, "{}", ran.stdout);
        assert!((10..=100).contains(&lost) || last == b"+OK\r\n", "{lost} unanswered");
        assert!((10..=30).contains(&fault(&ran, "reconnects")), "{}", ran.stdout);
        assert!(ran.stdout.contains("reconnects"), "{}", ran.stdout);
    }
}

#[test]
fn what_is_no_reply_ends_its_connection_only() {
    let fake = server(|number| (number == 100).then(|| Say::Bytes(b"?what\r\n".to_vec())));
    let ran = Tool::at(fake.port(), &["-n", "500", "-c", "5"]).run();
    assert_eq!(ran.status, Some(1));
    assert_eq!((fault(&ran, "wrong"), fault(&ran, "reconnects")), (1, 1));
    assert_eq!(requests(&ran) + fault(&ran, "unanswered"), 500);
}

#[test]
fn a_reply_too_many_is_no_success_either() {
    let fake =
        server(|number| (number % 100 == 50).then(|| Say::Bytes(b"+OK\r\n+OK\r\n".to_vec())));
    let ran = Tool::at(fake.port(), &["-n", "1000", "-c", "1", "--mix", "set=1"]).run();
    assert_eq!(ran.status, Some(1));
    assert!(fault(&ran, "wrong") + fault(&ran, "unanswered") > 0, "{}", ran.stdout);
}

#[test]
fn an_open_loop_charges_a_stall_to_all_that_was_due() {
    let stalled = AtomicBool::new(false);
    let store = Store::default();
    let fake = Fake::start(move |Which { number, .. }, args| {
        let reply = store.answer(args);
        if number > 700 && !stalled.swap(true, Ordering::Relaxed) {
            return Say::Late(Duration::from_millis(600), reply);
        }
        Say::Bytes(reply)
    });
    // One connection: while it waits, a thousand a second are due.
    let args = ["-c", "1", "--rate", "1k", "--duration", "2s"];
    let ran = Tool::at(fake.port(), &args).run();
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(requests(&ran), 2000);
    // 600 of 2,000 were due in the stall, and waited 0 to 600 ms, evenly.
    let (p80, p95) = (latency_ms(&ran, "p90"), latency_ms(&ran, "p95"));
    assert!((320.0..600.0).contains(&p80), "p90 {p80} ms");
    assert!((430.0..700.0).contains(&p95), "p95 {p95} ms");
    assert!(latency_ms(&ran, "max") >= 595.0);
}

#[test]
fn a_tool_that_is_late_says_so() {
    // The tool itself is stopped: what it did not send is not the server's doing, whether its connections
    // were free then or, as they mostly are with a server that takes its time, all had a request on the way.
    for delay in [Duration::ZERO, Duration::from_micros(1500)] {
        let fake = server(move |_| Some(Say::Late(delay, b"+OK\r\n".to_vec())));
        let args = ["-c", "2", "--rate", "1k", "--duration", "3s", "--mix", "set=1"];
        let ran = Tool::at(fake.port(), &args).run_while(|tool| {
            std::thread::sleep(Duration::from_millis(1500));
            kill(tool.id(), "STOP");
            std::thread::sleep(Duration::from_millis(400));
            kill(tool.id(), "CONT");
        });
        assert_eq!((ran.status, requests(&ran)), (Some(0), 3000), "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("The load generator was itself late: "), "{}", ran.stdout);
        assert!(most_late_ms(&ran) >= 350, "{}", ran.stdout);
    }
    // A stall of the server is none of the tool. On a machine that has no CPU to spare the tool is late too,
    // and right to say so, but not by as much.
    let stalled = AtomicBool::new(false);
    let fake = server(move |number| {
        let stalls = number > 700 && !stalled.swap(true, Ordering::Relaxed);
        stalls.then(|| Say::Late(Duration::from_secs(1), b"+OK\r\n".to_vec()))
    });
    let args = ["-c", "1", "--rate", "1k", "--duration", "2s", "--mix", "set=1"];
    let ran = Tool::at(fake.port(), &args).run();
    assert_eq!(requests(&ran), 2000);
    assert!(latency_ms(&ran, "max") >= 995.0, "{}", ran.stdout);
    assert!(most_late_ms(&ran) < 500, "{}", ran.stdout);
}

#[test]
fn a_latency_is_never_clipped() {
    // Tools are known that show no more than 3 s.
    let fake = server(|number| {
        (number == 50).then(|| Say::Late(Duration::from_millis(3500), b"+OK\r\n".to_vec()))
    });
    let ran = Tool::at(fake.port(), &["-c", "1", "-n", "100", "--mix", "set=1"]).run();
    assert_eq!(requests(&ran), 100);
    assert!(latency_ms(&ran, "max") >= 3495.0, "{}", ran.stdout);
}

#[test]
fn a_server_that_never_comes_back_is_charged_for_what_was_due() {
    let fake = server(|number| (number >= 500).then_some(Say::Nothing));
    let args = ["-c", "2", "--rate", "500", "--duration", "2s"];
    let ran = Tool::at(fake.port(), &args).run();
    assert_eq!(ran.status, Some(1));
    assert_eq!((requests(&ran), fault(&ran, "unanswered")), (500, 2), "{}", ran.stdout);
    // Half of what was due was never answered, and had waited for seconds when the tool gave up.
    assert!(latency_ms(&ran, "p90") > 5_000.0, "{}", ran.stdout);
}

#[test]
fn a_cluster_that_moves_slots_is_followed() {
    // Two nodes; the first owns everything, until it says of a third of the keys that they moved.
    let store = std::sync::Arc::new(Store::default());
    let (first_store, second_store) = (store.clone(), store);
    let second = Fake::start(move |_, args| {
        Say::Bytes(match args[0].to_ascii_uppercase().as_slice() {
            b"CLUSTER" => b"-ERR ask the other\r\n".to_vec(),
            b"ASKING" => b"+OK\r\n".to_vec(),
            _ => second_store.answer(args),
        })
    });
    let other = second.port();
    let own_port = std::sync::Arc::new(std::sync::OnceLock::new());
    let port = own_port.clone();
    let first = Fake::start(move |Which { number, .. }, args| {
        let own = args[0].to_ascii_uppercase();
        if own == b"CLUSTER" {
            // Leaves the host out, as a node does that does not know its own.
            let port = port.get().expect("it listens");
            let reply = format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:{port}\r\n");
            return Say::Bytes(reply.into());
        }
        if is_work(args) {
            let slot = crc16(&args[1]) % 16_384;
            match slot % 3 {
                0 => return Say::Bytes(format!("-MOVED {slot} 127.0.0.1:{other}\r\n").into()),
                1 if number % 7 == 0 => {
                    return Say::Bytes(format!("-ASK {slot} 127.0.0.1:{other}\r\n").into());
                }
                _ => {}
            }
        }
        Say::Bytes(first_store.answer(args))
    });
    own_port.set(first.port()).expect("set once");
    let args = ["--cluster", "-n", "2000", "-c", "4", "-P", "3", "--keys", "500", "--fill"];
    let ran = Tool::at(first.port(), &args).run();
    assert_eq!(ran.status, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(requests(&ran), 2000);
    let count = |name: &str| ran.report["outcome"][name].as_u64().expect("a number");
    assert!(count("moved") > 0 && count("asked") > 0, "{}", ran.stdout);
    assert_eq!(ran.report["summary"]["hit_ratio"], 1.0, "{}", ran.stdout);
    assert!(second.requests() > 500, "{}", second.requests());
}

/// CRC16 as Redis Cluster has it (XMODEM), bit by bit.
fn crc16(key: &[u8]) -> u16 {
    key.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 }
        })
    })
}
