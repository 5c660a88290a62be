//! Bytes in, bytes out: RESP2, RESP3 and inline requests, however they are cut; and what a client that
//! breaks the rules gets, while another client notices nothing.

mod harness;

use harness::client::{Client, encode, encode_words, info_number};
use harness::random::Random;
use harness::server::{Launch, Server, skip_on_other_server};
use harness::value::{Value, quoted};
use harness::{skip, wait_until};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A connection of its own sends `input` and must get `expected`, no more, and stay open.
fn check(server: &Server, input: &[u8], expected: &[u8]) {
    println!("{}", quoted(input));
    let mut client = server.client();
    client.send(input);
    client.expect_bytes(expected);
    // Whatever came too much would come before this.
    client.send(encode_words("ECHO end"));
    client.expect_bytes("$3\r\nend\r\n");
}

/// As [`check`], where the server closes the connection after `expected`.
fn check_closes(server: &Server, input: &[u8], expected: &[u8]) {
    println!("{}", quoted(input));
    let mut client = server.client();
    // It may close before all is sent.
    let _ = client.try_send(input);
    let got = client.read_to_close();
    assert!(got == expected, "expected {}\n     got {}", quoted(expected), quoted(&got));
}

#[test]
fn resp2_replies() {
    let server = Launch::shards(2).start();
    for (input, expected) in [
        ("*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
        ("*2\r\n$4\r\nPING\r\n$0\r\n\r\n", "$0\r\n\r\n"),
        ("*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n", "$4\r\n\r\n\r\n\r\n"),
        ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n", "+OK\r\n"),
        ("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$1\r\nv\r\n"),
        ("*2\r\n$3\r\nGET\r\n$7\r\nmissing\r\n", "$-1\r\n"),
        ("*3\r\n$4\r\nMGET\r\n$1\r\nk\r\n$7\r\nmissing\r\n", "*2\r\n$1\r\nv\r\n$-1\r\n"),
        ("*2\r\n$6\r\nEXISTS\r\n$1\r\nk\r\n", ":1\r\n"),
        ("*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n", "-ERR value is not an integer or out of range\r\n"),
        ("*1\r\n$3\r\nGET\r\n", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("*1\r\n$3\r\nfoo\r\n", "-ERR unknown command 'foo', with args beginning with: \r\n"),
        ("*2\r\n$4\r\nKEYS\r\n$4\r\nnone\r\n", "*0\r\n"),
        ("*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$4\r\nsave\r\n", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("*2\r\n$6\r\nCLIENT\r\n$7\r\nGETNAME\r\n", "$-1\r\n"),
        ("*2\r\n$6\r\nSELECT\r\n$2\r\n99\r\n", "-ERR DB index is out of range\r\n"),
        // Nothing to do, nothing to say.
        ("*0\r\n", ""),
        ("*-1\r\n", ""),
        ("*-10\r\n*1\r\n$4\r\nPING\r\n", "+PONG\r\n"),
        ("\r\n", ""),
        ("\r\n\r\n*0\r\n\r\n*1\r\n$4\r\nPING\r\n\r\n", "+PONG\r\n"),
        ("*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", "+PONG\r\n+PONG\r\n"),
    ] {
        check(&server, input.as_bytes(), expected.as_bytes());
    }
}

#[test]
fn inline_requests() {
    let server = Launch::shards(2).start();
    for (input, expected) in [
        ("PING\r\n", "+PONG\r\n"),
        ("PING\n", "+PONG\r\n"),
        ("  PING  \r\n", "+PONG\r\n"),
        ("ECHO hello\r\n", "$5\r\nhello\r\n"),
        ("ECHO \"hello world\"\r\n", "$11\r\nhello world\r\n"),
        ("ECHO 'it\\'s'\r\n", "$4\r\nit's\r\n"),
        ("ECHO \"\\x41\\n\\t\\\"\\\\\"\r\n", "$5\r\nA\n\t\"\\\r\n"),
        ("ECHO \"\"\r\n", "$0\r\n\r\n"),
        ("ECHO\ta\r\n", "$1\r\na\r\n"),
        ("SET k v\r\nGET k\r\n", "+OK\r\n$1\r\nv\r\n"),
        ("SET k \"\\xff\\x00\"\r\nGET k\r\n", "+OK\r\n$2\r\n\u{0}\r\n"),
        ("GET k k\r\n", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n", "+PONG\r\n+PONG\r\n+PONG\r\n"),
        (
            "foo 'bar baz'\r\n",
            "-ERR unknown command 'foo', with args beginning with: 'bar baz' \r\n",
        ),
    ] {
        // The one reply that is not text.
        let expected: Vec<u8> = match input.contains("xff") {
            true => b"+OK\r\n$2\r\n\xff\x00\r\n".to_vec(),
            false => expected.as_bytes().to_vec(),
        };
        check(&server, input.as_bytes(), &expected);
    }
}

#[test]
fn resp3_replies() {
    let server = Launch::shards(2).start();
    for (request, expected) in [
        ("GET missing", "_\r\n"),
        ("MGET missing none", "*2\r\n_\r\n_\r\n"),
        ("SET missing v XX", "_\r\n"),
        ("CONFIG GET save", "%1\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        ("CONFIG GET none", "%0\r\n"),
        ("INCRBYFLOAT f 1.5", "$3\r\n1.5\r\n"),
        ("CLIENT LIST TYPE pubsub", "=4\r\ntxt:\r\n"),
        ("LCS a b IDX", "%2\r\n$7\r\nmatches\r\n*0\r\n$3\r\nlen\r\n:0\r\n"),
        ("BITFIELD n OVERFLOW FAIL INCRBY u1 0 2", "*1\r\n_\r\n"),
        ("COMMAND INFO none", "*1\r\n_\r\n"),
        ("OBJECT ENCODING missing", "_\r\n"),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
    ] {
        println!("{request}");
        let mut client = server.client_resp3();
        client.send(encode_words(request));
        client.expect_bytes(expected);
        client.send(encode_words("ECHO end"));
        client.expect_bytes("$3\r\nend\r\n");
    }
}

#[test]
fn hello_switches_both_ways() {
    let server = Launch::shards(2).start();
    let mut client = server.client();
    client.send(encode_words("GET none"));
    client.expect_bytes("$-1\r\n");
    let greeting = client.words("HELLO 3 SETNAME me");
    assert!(matches!(greeting, Value::Map(_)), "{greeting:?}");
    client.send("GET none\r\n");
    client.expect_bytes("_\r\n");
    // A refused version changes nothing.
    assert_eq!(client.words("HELLO 5").error(), "NOPROTO unsupported protocol version");
    client.send("GET none\r\n");
    client.expect_bytes("_\r\n");
    let greeting = client.words("HELLO 2");
    assert!(matches!(greeting, Value::Array(_)), "{greeting:?}");
    client.send("GET none\r\n");
    client.expect_bytes("$-1\r\n");
    assert_eq!(client.words("CLIENT GETNAME"), Value::bulk("me"));
    // Both in one pipeline: each reply in the protocol of its time.
    client.send("HELLO 3\r\nGET none\r\nHELLO 2\r\nGET none\r\n");
    assert!(matches!(client.read(), Ok(Value::Map(_))));
    client.expect_bytes("_\r\n");
    assert!(matches!(client.read(), Ok(Value::Array(_))));
    client.expect_bytes("$-1\r\n");
}

#[test]
fn a_deep_pipeline_is_answered_in_order() {
    const REQUESTS: usize = 30_000;
    let server = Launch::shards(5).start();
    let mut random = Random::new(1);
    let mut input = Vec::new();
    let mut expected = Vec::new();
    // One counter per key tells whether the commands of a key kept their order; the replies of all
    // keys, local and foreign, single, failing and over several shards, must keep theirs.
    let mut counters = [0u64; 100];
    for index in 0..REQUESTS {
        let key = random.index(counters.len());
        match random.below(6) {
            0..=2 => {
                counters[key] += 1;
                input.extend(encode_words(&format!("INCR k{key}")));
                expected.extend(format!(":{}\r\n", counters[key]).into_bytes());
            }
            3 => {
                input.extend(encode_words(&format!("ECHO {index}")));
                let text = index.to_string();
                expected.extend(format!("${}\r\n{text}\r\n", text.len()).into_bytes());
            }
            4 => {
                let other = random.index(counters.len());
                input.extend(encode_words(&format!("MGET k{key} k{other}")));
                expected.extend(b"*2\r\n");
                for count in [counters[key], counters[other]] {
                    let text = count.to_string();
                    expected.extend(match count {
                        0 => b"$-1\r\n".to_vec(),
                        _ => format!("${}\r\n{text}\r\n", text.len()).into_bytes(),
                    });
                }
            }
            _ => {
                input.extend(encode_words(&format!("GET k{key} {index}")));
                expected.extend(b"-ERR wrong number of arguments for 'get' command\r\n");
            }
        }
    }
    let mut client = server.client();
    let mut sender = client.stream().try_clone().expect("a second handle");
    let sending = std::thread::spawn(move || sender.write_all(&input).expect("send"));
    client.expect_bytes(expected);
    sending.join().expect("sending");
}

#[test]
fn a_client_that_does_not_read_gets_little_run_and_all_of_it_later() {
    const BYTES: usize = 1024 * 1024;
    const GETS: usize = 300;
    let server = Launch::shards(2).start();
    let mut client = server.client();
    let mut watcher = server.client();
    // Keys of both shards, and a counter on each, so that work is left to the other core as well.
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let value = Random::new(2).bytes(BYTES);
    for key in keys {
        assert_eq!(client.command(&[b"SET".as_slice(), key.as_bytes(), &value]), Value::ok());
    }
    let mut input = Vec::new();
    for index in 0..GETS {
        let key = keys[index % keys.len()];
        input.extend(encode_words(&format!("GET {key}")));
        input.extend(encode_words(&format!("INCR count:{key}")));
    }
    client.send(&input);
    // The sockets' buffers and a few values, not hundreds.
    let commands = |watcher: &mut Client| info_number(watcher, "stats", "total_commands_processed");
    let mut before = commands(&mut watcher);
    wait_until("the server holds back", || {
        let now = commands(&mut watcher);
        std::mem::replace(&mut before, now) + 1 == now
    });
    let held = info_number(&mut watcher, "memory", "mem_clients_normal");
    assert!(held < 40 * BYTES as u64, "{held} bytes are held for clients");
    for index in 0..GETS {
        assert!(client.read() == Ok(Value::bulk(&value)), "reply {index}");
        let count = (index / keys.len() + 1) as i64;
        assert_eq!(client.read(), Ok(Value::Integer(count)), "reply {index}");
    }
}

#[test]
fn replies_larger_than_any_buffer() {
    const BYTES: usize = 20 * 1024 * 1024;
    let server = Launch::shards(2).start();
    let mut client = server.client();
    let value = Random::new(2).bytes(BYTES);
    assert_eq!(client.command(&[b"SET".as_slice(), b"big", &value]), Value::ok());
    // Several times in one pipeline, so that replies queue up behind one another.
    client.send("GET big\r\nGET big\r\nSTRLEN big\r\nGETRANGE big 0 4\r\n");
    for _ in 0..2 {
        assert!(client.read() == Ok(Value::bulk(&value)));
    }
    assert_eq!(client.read(), Ok(Value::Integer(BYTES as i64)));
    assert_eq!(client.read(), Ok(Value::bulk(&value[..5])));
}

/// Requests of every kind and their replies, and an end that leaves nothing behind.
fn script() -> (Vec<u8>, Vec<u8>) {
    let steps: [(&[u8], &[u8]); 13] = [
        (b"*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$5\r\nhello\r\n", b"+OK\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n", b"$5\r\nhello\r\n"),
        (b"SET k2 'a \\'b'\r\n", b"+OK\r\n"),
        (b"GET k2\r\n", b"$4\r\na 'b\r\n"),
        (b"\r\n", b""),
        (b"*5\r\n$4\r\nMSET\r\n$2\r\nk3\r\n$2\r\n\r\n\r\n$2\r\nk4\r\n$0\r\n\r\n", b"+OK\r\n"),
        (b"*3\r\n$4\r\nMGET\r\n$2\r\nk3\r\n$2\r\nk4\r\n", b"*2\r\n$2\r\n\r\n\r\n$0\r\n\r\n"),
        (b"*1\r\n$3\r\nGET\r\n", b"-ERR wrong number of arguments for 'get' command\r\n"),
        (b"*0\r\n", b""),
        (b"*2\r\n$4\r\nINCR\r\n$2\r\nk5\r\n", b":1\r\n"),
        (b"DEL k1 k2 k3 k4 k5\n", b":5\r\n"),
        (
            b"*2\r\n$6\r\nSELECT\r\n$2\r\nxx\r\n",
            b"-ERR value is not an integer or out of range\r\n",
        ),
        (b"*2\r\n$4\r\nECHO\r\n$12\r\n*1\r\n$4\r\nPING\r\n", b"$12\r\n*1\r\n$4\r\nPING\r\n"),
    ];
    let input = steps.iter().flat_map(|(input, _)| input.iter().copied()).collect();
    let output = steps.iter().flat_map(|(_, output)| output.iter().copied()).collect();
    (input, output)
}

#[test]
fn requests_split_at_every_byte() {
    let server = Launch::shards(3).start();
    let (input, expected) = script();
    let mut other = server.client();
    let mut client = server.client();
    for at in 0..=input.len() {
        client.send(&input[..at]);
        // A round trip on another connection lets the server meet the first part by itself.
        assert_eq!(other.words("PING"), Value::Simple("PONG".into()));
        client.send(&input[at..]);
        client.expect_bytes(&expected);
    }
}

#[test]
fn requests_sent_byte_by_byte() {
    let server = Launch::shards(3).start();
    let (input, expected) = script();
    let mut other = server.client();
    let mut client = server.client();
    for byte in &input {
        client.send([*byte]);
        assert_eq!(other.words("PING"), Value::Simple("PONG".into()));
    }
    client.expect_bytes(&expected);
}

#[test]
fn requests_split_at_random() {
    let server = Launch::shards(3).start();
    let mut random = Random::new(3);
    let mut client = server.client();
    let value = random.bytes(300_000);
    let mut input = Vec::new();
    let mut expected = Vec::new();
    for round in 0..20 {
        let length = random.index(value.len());
        input.extend(encode(&[b"SET".as_slice(), b"k", &value[..length]]));
        input.extend(encode_words(&format!("STRLEN k {round}")));
        input.extend(encode_words("STRLEN k"));
        expected.extend(b"+OK\r\n");
        expected.extend(b"-ERR wrong number of arguments for 'strlen' command\r\n");
        expected.extend(format!(":{length}\r\n").into_bytes());
    }
    let mut rest = input.as_slice();
    while !rest.is_empty() {
        let most = rest.len().min(if random.one_in(2) { 40 } else { 100_000 });
        let (part, left) = rest.split_at(1 + random.index(most));
        client.send(part);
        rest = left;
    }
    client.expect_bytes(expected);
}

/// A client that asks for much at once gets it, while others are served in between.
#[test]
fn a_pipeline_of_slow_commands_keeps_nobody_waiting() {
    const COUNT: usize = 600;
    let server = Launch::shards(1).start();
    let mut slow = server.client();
    slow.command(&["SETBIT", "bits", "33554431", "1"]);
    let started = Instant::now();
    assert_eq!(slow.words("BITCOUNT bits"), Value::Integer(1));
    let one = started.elapsed();
    let pipeline = encode(&["BITCOUNT", "bits"]).repeat(COUNT);
    let started = Instant::now();
    slow.send(pipeline);
    let mut other = server.client();
    let (mut longest, mut rounds) = (Duration::ZERO, 0);
    let reader = std::thread::spawn(move || {
        for _ in 0..COUNT {
            assert_eq!(slow.read(), Ok(Value::Integer(1)));
        }
        started.elapsed()
    });
    while !reader.is_finished() {
        let asked = Instant::now();
        assert_eq!(other.words("PING"), Value::Simple("PONG".into()));
        longest = longest.max(asked.elapsed());
        rounds += 1;
    }
    let whole = reader.join().expect("all replies");
    println!(
        "{COUNT} commands of {one:?} took {whole:?}, others waited {longest:?}, {rounds} times"
    );
    assert!(longest < whole / 4, "a PING took {longest:?} of {whole:?}");
}

/// A client that pings all the time while something hostile goes on, and fails the test if a reply is
/// wrong or takes seconds.
struct Bystander {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Bystander {
    fn watch(server: &Server, password: Option<&str>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        let mut client = server.client();
        if let Some(password) = password {
            client.ok(&format!("AUTH {password}"));
        }
        let thread = std::thread::spawn(move || {
            let mut rounds = 0;
            loop {
                let key = format!("bystander{}", rounds % 10);
                let started = Instant::now();
                client.ok(&format!("SET {key} {rounds}"));
                assert_eq!(client.words(&format!("GET {key}")), Value::bulk(rounds.to_string()));
                assert!(started.elapsed() < Duration::from_secs(5), "a request took seconds");
                rounds += 1;
                if seen.load(Ordering::Relaxed) {
                    return rounds;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { done, thread: Some(thread) }
    }

    /// Stops and checks that it was served all the time.
    fn finish(mut self) {
        self.done.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        let rounds = thread.join().expect("the bystander was served");
        assert!(rounds > 0, "the bystander never got a reply");
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

#[test]
fn broken_requests_get_the_error_and_are_closed() {
    let server = Launch::shards(2).start();
    let bystander = Bystander::watch(&server, None);
    // Just too long: a server that closes with much left unread takes its own error away again.
    let long_line = "x".repeat(64 * 1024 + 10);
    for (input, expected) in [
        ("*abc\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*1x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*99999999999999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*1\r\n+PING\r\n", "-ERR Protocol error: expected '$', got '+'\r\n"),
        ("*1\r\nPING\r\n", "-ERR Protocol error: expected '$', got 'P'\r\n"),
        ("*1\r\n*1\r\n", "-ERR Protocol error: expected '$', got '*'\r\n"),
        ("*1\r\n$abc\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*1\r\n$99999999999999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("SET k 'unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        ("SET k \"unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        ("SET k 'a'b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        (&long_line, "-ERR Protocol error: too big inline request\r\n"),
        (&format!("*{long_line}"), "-ERR Protocol error: too big mbulk count string\r\n"),
        (&format!("*1\r\n${long_line}"), "-ERR Protocol error: too big bulk count string\r\n"),
        // What came before is answered; what comes after is not.
        ("PING\r\n*1\r\n:1\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n"),
        (
            "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$-5\r\n",
            "+PONG\r\n-ERR Protocol error: invalid bulk length\r\n",
        ),
    ] {
        check_closes(&server, input.as_bytes(), expected.as_bytes());
    }
    bystander.finish();
}

/// Redis takes as many as 2^31 arguments; here a request may have a million.
#[test]
fn too_many_arguments_are_refused_at_once() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).start();
    check_closes(&server, b"*1048577\r\n", b"-ERR Protocol error: invalid multibulk length\r\n");
    // As many as are allowed do work.
    let mut args = vec![b"EXISTS".to_vec()];
    args.extend((1..1_048_576).map(|index| format!("k{index}").into_bytes()));
    assert_eq!(server.client().command(&args), Value::Integer(0));
}

#[test]
fn declared_lengths_cost_nothing_until_the_bytes_come() {
    const CONNECTIONS: usize = 100;
    let server = Launch::shards(2).start();
    let mut client = server.client();
    client.ok("SET k v");
    let before = server.resident_bytes();
    let bystander = Bystander::watch(&server, None);
    let mut hostile = Vec::new();
    for index in 0..CONNECTIONS {
        let mut connection = server.client();
        connection.send(match index % 3 {
            0 => "*1000000\r\n$3\r\nDEL\r\n".to_owned(),
            1 => "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc".to_owned(),
            _ => format!("*1000000\r\n${}\r\n{}", 536_870_912, "x".repeat(100)),
        });
        hostile.push(connection);
    }
    assert_eq!(client.words("GET k"), Value::bulk("v"));
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{CONNECTIONS} half requests took {grown} bytes");
    drop(hostile);
    bystander.finish();
    assert_eq!(client.words("GET k"), Value::bulk("v"));
}

#[test]
fn before_auth_little_is_taken() {
    let server = Launch::shards(2).flag("--requirepass", "secret").start();
    let bystander = Bystander::watch(&server, Some("secret"));
    let long = "x".repeat(20_000);
    for (input, expected) in [
        ("*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        ("*2\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"),
        ("*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    ] {
        check_closes(&server, input.as_bytes(), expected.as_bytes());
    }
    let mut client = server.client();
    for request in ["PING", "GET k", "SET k v", "INFO", "FLUSHALL", "CONFIG GET *", "CLIENT LIST"] {
        assert_eq!(client.words(request).error(), "NOAUTH Authentication required.", "{request}");
    }
    assert!(client.words("HELLO 3").error().starts_with("NOAUTH HELLO must be called"));
    // An unknown command and a wrong count are told even to strangers, as Redis does.
    assert!(client.words("FOO").error().starts_with("ERR unknown command"));
    assert!(client.words("GET").error().starts_with("ERR wrong number of arguments"));
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    for password in ["wrong", "secre", "secret2", "SECRET", long.get(..1_000).expect("a long text")]
    {
        assert_eq!(client.words(&format!("AUTH {password}")).error(), wrong);
        assert_eq!(client.words(&format!("AUTH default {password}")).error(), wrong);
        assert_eq!(client.words(&format!("HELLO 3 AUTH default {password}")).error(), wrong);
    }
    assert_eq!(client.words("AUTH someone secret").error(), wrong);
    assert_eq!(client.words("GET k").error(), "NOAUTH Authentication required.");
    client.ok("AUTH secret");
    // Now the wider limits hold.
    assert_eq!(client.words(&format!("SET k {long}")), Value::ok());
    assert_eq!(client.words("EXISTS k a b c d e f g h i j k l m"), Value::Integer(2));
    let mut second = server.client();
    let greeting = second.words("HELLO 3 AUTH default secret SETNAME me");
    assert_eq!(greeting.field("proto"), Value::Integer(3));
    assert_eq!(second.words("CLIENT GETNAME"), Value::bulk("me"));
    bystander.finish();
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    const VALUE_BYTES: usize = 100_000;
    let server = Launch::shards(2).start();
    let mut client = server.client();
    // Below what a client may leave unread before its requests wait: 512 KiB.
    let limit = ["CONFIG", "SET", "client-output-buffer-limit", "normal 256kb 0 0"];
    assert_eq!(client.command(&limit), Value::ok());
    client.command(&[b"SET".as_slice(), b"big", &vec![b'x'; VALUE_BYTES]]);
    let before = server.resident_bytes();
    let bystander = Bystander::watch(&server, None);
    let mut slow = server.client();
    slow.ok("CLIENT SETNAME slow");
    let mut sender = slow.stream().try_clone().expect("a second handle");
    let sending = std::thread::spawn(move || {
        // A gigabyte of replies, of which the kernel's buffers hold a few megabytes.
        let requests = b"GET big\r\n".repeat(100);
        for _ in 0..100 {
            if sender.write_all(&requests).is_err() {
                return;
            }
        }
    });
    wait_until("the slow reader is disconnected", || {
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "the replies nobody reads took {grown} bytes");
        !client.words("CLIENT LIST").text().contains("name=slow")
    });
    drop(slow);
    sending.join().expect("sending");
    bystander.finish();
}

#[test]
fn idle_clients_are_closed_after_the_timeout() {
    let server = Launch::shards(2).flag("--timeout", "1").start();
    let started = Instant::now();
    let mut idle = server.client();
    idle.ok("SET k v");
    let mut half = server.client();
    half.send("*2\r\n$3\r\nGET\r\n");
    let mut silent = server.client();
    idle.expect_close();
    half.expect_close();
    silent.expect_close();
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(900), "closed after {took:?} already");
    // One that keeps asking stays.
    let mut busy = server.client();
    while started.elapsed() < took + Duration::from_millis(1_800) {
        assert_eq!(busy.words("GET k"), Value::bulk("v"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn half_sent_requests_are_closed_and_idle_clients_are_not() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).flag("--request-timeout", "1").start();
    let mut idle = server.client();
    idle.ok("SET k v");
    let bystander = Bystander::watch(&server, None);
    let started = Instant::now();
    for part in
        ["*2\r\n$3\r\nGET\r\n", "*2\r\n$3\r\nSET\r\n$100\r\nabc", "GET k", "*", "*1\r\n$4\r\nPI"]
    {
        let mut half = server.client();
        half.send(part);
        half.expect_close();
    }
    assert!(started.elapsed() >= Duration::from_millis(4_000), "one was closed too early");
    assert_eq!(idle.words("GET k"), Value::bulk("v"));
    bystander.finish();
}

/// `DEBUG` is for those whom `enable-debug-command` names.
#[test]
fn debug_is_refused_unless_it_is_enabled() {
    const REFUSED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \
                           \"local\", you can run it from a local connection, otherwise you need to \
                           set this option in the configuration file, and then restart the server.";
    let server = Launch::shards(2).start();
    let mut client = server.client();
    for request in ["DEBUG SLEEP 0", "DEBUG OBJECT key", "DEBUG NONE", "DEBUG HELP"] {
        assert_eq!(client.words(request).error(), REFUSED, "{request}");
    }
    let arity = client.words("DEBUG");
    assert_eq!(arity.error(), "ERR wrong number of arguments for 'debug' command");
    let refused = client.words("CONFIG SET enable-debug-command yes");
    assert!(refused.error().contains("can't set immutable config"), "{refused:?}");
    for access in ["yes", "local"] {
        let server = Launch::shards(2).flag("--enable-debug-command", access).start();
        server.client().ok("DEBUG SLEEP 0");
    }
}

/// A byte now and then does not keep a half-sent request alive; an upload that is slow but steady goes
/// on, and so does a pipeline that always ends in the middle of a request.
#[test]
fn a_request_is_judged_by_its_first_byte_and_its_pace() {
    const PIECE: usize = 4 * 1024;
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).flag("--request-timeout", "1").start();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut dripping = server.client();
            let started = Instant::now();
            dripping.send("*3\r\n$3\r\nSET\r\n$1\r\nd\r\n$5000\r\n");
            while dripping.try_send("x").is_ok() {
                assert!(
                    started.elapsed() < harness::PATIENCE,
                    "a byte now and then keeps it alive"
                );
                std::thread::sleep(Duration::from_millis(50));
            }
            assert!(started.elapsed() >= Duration::from_millis(950), "closed too early");
        });
        scope.spawn(|| {
            let mut steady = server.client();
            let value = [b'v'; 16 * PIECE];
            steady.send(format!("*3\r\n$3\r\nSET\r\n$1\r\ns\r\n${}\r\n", value.len()));
            for piece in value.chunks(PIECE) {
                std::thread::sleep(Duration::from_millis(200));
                steady.send(piece);
            }
            steady.send("\r\n");
            assert_eq!(steady.read(), Ok(Value::ok()));
        });
        let mut halves = server.client();
        let started = Instant::now();
        halves.send("PI");
        while started.elapsed() < Duration::from_millis(3_000) {
            halves.send("NG\r\nPI");
            assert_eq!(halves.read(), Ok(Value::Simple("PONG".into())));
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn more_clients_than_allowed_are_refused() {
    const MOST: usize = 5;
    let server = Launch::shards(2).flag("--maxclients", &MOST.to_string()).start();
    let mut clients = vec![server.client()];
    wait_until("the connection that looked for the server is gone", || {
        info_number(&mut clients[0], "clients", "connected_clients") == 1
    });
    for _ in 1..MOST {
        let mut client = server.client();
        assert_eq!(client.words("PING"), Value::Simple("PONG".into()));
        clients.push(client);
    }
    for _ in 0..3 {
        let mut refused = server.client();
        assert_eq!(refused.read_to_close(), b"-ERR max number of clients reached\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.words("PING"), Value::Simple("PONG".into()));
    }
    clients.pop();
    wait_until("the place of a client that left is free", || {
        let mut client = server.client();
        client.request(&["PING"]);
        client.read() == Ok(Value::Simple("PONG".into()))
    });
    clients[0].ok(&format!("CONFIG SET maxclients {}", MOST + 1));
    clients.push(server.client());
    clients.push(server.client());
    for client in &mut clients {
        assert_eq!(client.words("PING"), Value::Simple("PONG".into()));
    }
    assert!(info_number(&mut clients[0], "stats", "rejected_connections") >= 3);
}

#[test]
fn a_browser_is_closed_without_a_word() {
    let server = Launch::shards(2).start();
    let bystander = Bystander::watch(&server, None);
    let mut client = server.client();
    client.ok("SET k v");
    for input in [
        "POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET k hacked\r\n",
        "post / HTTP/1.1\r\n\r\nSET k hacked\r\n",
        "Host: localhost\r\nSET k hacked\r\n",
    ] {
        check_closes(&server, input.as_bytes(), b"");
    }
    // A browser's GET is answered as a wrong one before Host: ends it, if there is still time.
    let mut browser = server.client();
    browser.send("GET / HTTP/1.1\r\nHost: localhost\r\nSET k hacked\r\n");
    let answer = browser.read_to_close();
    assert!(
        answer.is_empty() || answer == b"-ERR wrong number of arguments for 'get' command\r\n",
        "{}",
        quoted(&answer)
    );
    assert_eq!(client.words("GET k"), Value::bulk("v"));
    wait_until("the server says so", || {
        server.output().contains("SECURITY ATTACK") || server.output().contains("POST")
    });
    bystander.finish();
}

#[test]
fn connections_that_end_in_mid_request() {
    let server = Launch::shards(3).start();
    let bystander = Bystander::watch(&server, None);
    let mut client = server.client();
    client.ok("SET k v");
    let request = encode_words("MSET k1 changed k2 changed k changed");
    for at in 0..request.len() {
        let mut cut = server.client();
        cut.send(&request[..at]);
        drop(cut);
    }
    // Cut while a deep pipeline of replies is under way.
    for _ in 0..20 {
        let mut cut = server.client();
        cut.send(b"GET k\r\nMGET k k1 k2\r\nKEYS *\r\n".repeat(500));
        drop(cut);
    }
    assert_eq!(client.words("MGET k k1 k2"), client.words("MGET k none none"));
    assert_eq!(client.words("GET k"), Value::bulk("v"));
    wait_until("all of them are gone", || {
        info_number(&mut client, "clients", "connected_clients") == 2
    });
    bystander.finish();
}

#[test]
fn what_was_asked_before_the_client_stops_sending_is_answered() {
    let server = Launch::shards(3).start();
    let mut client = server.client();
    client.send("SET a 1\r\nSET b 2\r\nSET c 3\r\nMGET a b c\r\n");
    client.end_sending();
    client.expect_bytes("+OK\r\n+OK\r\n+OK\r\n*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    client.expect_close();
}

#[test]
fn noise_harms_nobody() {
    let server = Launch::shards(2).start();
    let bystander = Bystander::watch(&server, None);
    let mut random = Random::new(4);
    let pieces: [&[u8]; 14] = [
        b"*",
        b"$",
        b"\r\n",
        b"3",
        b"-1",
        b"SET",
        b"GET",
        b" ",
        b"k",
        b"\"",
        b"'",
        b"\0",
        b"\xff",
        b"PING\r\n",
    ];
    for _ in 0..300 {
        let mut noisy = server.client();
        let mut noise = Vec::new();
        for _ in 0..random.below(60) {
            match random.below(8) {
                0 => {
                    let length = random.index(40);
                    noise.extend(random.bytes(length));
                }
                _ => noise.extend(*random.pick(&pieces)),
            }
        }
        let _ = noisy.try_send(&noise);
        // Whatever the replies are, they are RESP up to where the connection ends.
        let _ = noisy.is_readable_within(Duration::from_millis(1));
    }
    let mut client = server.client();
    client.ok("SET k v");
    assert_eq!(client.words("GET k"), Value::bulk("v"));
    bystander.finish();
}

#[test]
fn many_connections_come_and_go() {
    let server = Launch::shards(3).start();
    let mut kept: Vec<Client> = (0..200).map(|_| server.client()).collect();
    for round in 0..3 {
        for (index, client) in kept.iter_mut().enumerate() {
            client.request(&["SET", &format!("k{index}"), &round.to_string()]);
        }
        for client in &mut kept {
            assert_eq!(client.read(), Ok(Value::ok()));
        }
        for index in (0..kept.len()).step_by(3) {
            kept[index] = server.client();
        }
    }
    let mut client = server.client();
    wait_until("only those that stayed are left", || {
        info_number(&mut client, "clients", "connected_clients") == 201
    });
    assert_eq!(client.words("DBSIZE"), Value::Integer(200));
}

/// An address of this machine that is not loopback; no packet is sent.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[test]
fn strangers_are_refused_in_protected_mode() {
    let Some(address) = outer_address() else {
        return skip("this machine has no address but loopback");
    };
    let server = Launch::shards(2).bind("0.0.0.0").start();
    let outside = SocketAddr::new(address, server.port());
    let mut stranger = Client::connect(outside);
    let answer = stranger.read_to_close();
    assert!(answer.starts_with(b"-DENIED "), "{}", quoted(&answer));
    let mut local = server.client();
    assert_eq!(local.words("PING"), Value::Simple("PONG".into()));
    // A password is protection enough.
    local.ok("CONFIG SET requirepass secret");
    let mut stranger = Client::connect(outside);
    assert_eq!(stranger.words("PING").error(), "NOAUTH Authentication required.");
    stranger.ok("AUTH secret");
    assert_eq!(stranger.words("PING"), Value::Simple("PONG".into()));
    local.ok("AUTH secret");
    assert_eq!(local.command(&["CONFIG", "SET", "requirepass", ""]), Value::ok());
    local.ok("CONFIG SET protected-mode no");
    let mut stranger = Client::connect(outside);
    assert_eq!(stranger.words("PING"), Value::Simple("PONG".into()));
}
