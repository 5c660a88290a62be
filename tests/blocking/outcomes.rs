//! What ends a wait.

use std::time::{Duration, Instant};

use super::harness::client::{encode_words, info_number};
use super::harness::server::{Launch, is_other_server};
use super::harness::slots::keys_over_shards;
use super::harness::value::Value;
use super::harness::wait_until;
use super::{Player, check, is_blocked, show};

#[test]
fn a_wait_ends_at_its_timeout_and_not_before() {
    let server = Launch::shards(4).start();
    let mut client = server.client();
    for request in ["BLPOP a b 0.25", "BLMOVE a b LEFT LEFT 0.25", "BZPOPMIN a 0.25", "WAIT 1 250"]
    {
        let since = Instant::now();
        let reply = client.words(request);
        let took = since.elapsed();
        let expected =
            if request.starts_with("WAIT") { Value::Integer(0) } else { Value::NullArray };
        assert_eq!(reply, expected, "{request}");
        assert!(took >= Duration::from_millis(249), "{request}: {took:?}");
        assert!(took < Duration::from_secs(10), "{request}: {took:?}");
    }
    // One that ends late does not hold up one that ends early, whichever came first.
    let mut late = server.client();
    late.send(encode_words("BLPOP a 60"));
    let since = Instant::now();
    assert_eq!(client.words("BLPOP a 0.02"), Value::NullArray);
    assert!(since.elapsed() < Duration::from_secs(10));
    assert_eq!(info_number(&mut client, "clients", "blocked_clients"), 1);
}

#[test]
fn wait_counts_no_replicas() {
    check(
        "0: WAIT 0 0 => :0
         0: WAIT -1 0 => :0
         0: WAIT 1 10 => :0
         0: WAIT 1 -1 => -ERR timeout is negative
         0: WAIT x 1 => -ERR value is not an integer or out of range
         0: WAIT 1 x => -ERR timeout is not an integer or out of range
         0~ WAIT 1 0
         0> PING
         0~",
    );
}

#[test]
fn clients_are_unblocked() {
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        let (mut one, mut other) = (Player::of(server.client()), server.client());
        let id = one.id;
        assert_eq!(other.words(&format!("CLIENT UNBLOCK {id}")), Value::Integer(0));
        for (request, how, reply) in [
            ("BLPOP a b c 0", "", "*-1"),
            ("BLPOP a b c 0", " TIMEOUT", "*-1"),
            ("BLPOP a b c 100", " ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
            ("BLMOVE a b LEFT LEFT 0", "", "*-1"),
            ("BZMPOP 0 2 a b MIN", " error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
        ] {
            one.client.send([encode_words(request), encode_words("PING")].concat());
            wait_until(request, || is_blocked(&mut other, id));
            let unblock = format!("CLIENT UNBLOCK {id}{how}");
            assert_eq!(other.words(&unblock), Value::Integer(1), "{request}");
            assert_eq!(show(&one.client.read().expect("a reply")), reply, "{request}");
            assert_eq!(show(&one.client.read().expect("a reply")), "+PONG", "{request}");
            assert_eq!(other.words(&unblock), Value::Integer(0));
            // It is given nothing any more.
            assert_eq!(other.words("RPUSH a x"), Value::Integer(1));
            assert_eq!(other.words("DEL a"), Value::Integer(1));
        }
        if !is_other_server() {
            assert_eq!(info_number(&mut other, "clients", "total_blocking_keys"), 0);
        }
    }
}

#[test]
fn who_is_gone_is_given_nothing() {
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        let mut other = server.client();
        for how in ["close", "half", "kill", "kill and push at once"] {
            let mut one = Player::of(server.client());
            one.client.send(encode_words("BLPOP a b c 0"));
            let mut next = Player::of(server.client());
            wait_until("it waits", || is_blocked(&mut other, one.id));
            next.client.send(encode_words("BLPOP c 0"));
            wait_until("it waits", || is_blocked(&mut other, next.id));
            let kill = format!("CLIENT KILL ID {}", one.id);
            match how {
                "close" => drop(one),
                "half" => {
                    one.client.end_sending();
                    one.client.expect_close();
                }
                "kill" => {
                    assert_eq!(other.words(&kill), Value::Integer(1));
                    one.client.expect_close();
                }
                _ => {
                    other.send([encode_words(&kill), encode_words("RPUSH a x")].concat());
                    assert_eq!(other.read(), Ok(Value::Integer(1)));
                    assert_eq!(other.read(), Ok(Value::Integer(1)));
                    assert_eq!(other.words("LPOP a"), Value::bulk("x"), "{how}");
                }
            }
            wait_until("one waits", || info_number(&mut other, "clients", "blocked_clients") == 1);
            assert_eq!(other.words("RPUSH c x"), Value::Integer(1));
            assert_eq!(show(&next.client.read().expect("it is served")), "[c x]", "{how}");
            assert_eq!(info_number(&mut other, "clients", "blocked_clients"), 0);
        }
    }
}

#[test]
fn a_first_in_line_that_goes_lets_the_next_go_on() {
    let shards = 4;
    let server = Launch::shards(shards).start();
    let keys = keys_over_shards("k", shards, 2);
    let mut other = server.client();
    for round in 0..20 {
        let (mut one, mut two) = (Player::of(server.client()), Player::of(server.client()));
        one.client.send(encode_words(&format!("BLMOVE {} {} LEFT LEFT 0", keys[0], keys[1])));
        wait_until("it waits", || is_blocked(&mut other, one.id));
        two.client.send(encode_words(&format!("BLPOP {} 0", keys[0])));
        wait_until("it waits", || is_blocked(&mut other, two.id));
        let mut requests = [
            encode_words(&format!("CLIENT UNBLOCK {}", one.id)),
            encode_words(&format!("RPUSH {} a", keys[0])),
        ];
        if round % 2 == 1 {
            requests.swap(0, 1);
        }
        other.send(requests.concat());
        let replies = [other.read().unwrap(), other.read().unwrap()];
        assert!(replies.contains(&Value::Integer(1)));
        let first = one.client.read().expect("a reply");
        if first == Value::NullArray {
            assert_eq!(show(&two.client.read().expect("a reply")), format!("[{} a]", keys[0]));
        } else {
            assert_eq!(first, Value::bulk("a"));
            assert_eq!(other.words(&format!("LPOP {}", keys[1])), Value::bulk("a"));
            other.words(&format!("RPUSH {} b", keys[0]));
            assert_eq!(show(&two.client.read().expect("a reply")), format!("[{} b]", keys[0]));
        }
    }
}
