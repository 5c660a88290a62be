//! Blocking commands, seen by clients: who is served what and when, on one shard and over several, what ends a wait,
//! and that nothing is lost or given twice.
//!
//! Scripts hold for Redis as well, where one is on the machine.

#[path = "../harness/mod.rs"]
mod harness;
mod outcomes;
mod scripts;
mod stress;

use harness::binary::{BinaryClient, Request};
use harness::client::{Client, encode_words, info, info_number};
use harness::server::{Launch, Server, is_other_server, skip_on_other_server};
use harness::slots::keys_over_shards;
use harness::value::Value;
use harness::wait_until;

/// A reply as a word or a list of words.
fn show(value: &Value) -> String {
    match value {
        Value::Simple(text) => format!("+{text}"),
        Value::Error(text) => format!("-{text}"),
        Value::Integer(number) => format!(":{number}"),
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::NullBulk => "$-1".to_owned(),
        Value::NullArray => "*-1".to_owned(),
        Value::Null => "_".to_owned(),
        Value::Double(text) => format!(",{text}"),
        Value::Array(all) => {
            format!("[{}]", all.iter().map(show).collect::<Vec<_>>().join(" "))
        }
        other => format!("{other:?}"),
    }
}

/// A client and its id.
struct Player {
    client: Client,
    id: i64,
}

impl Player {
    fn of(mut client: Client) -> Self {
        let id = client.words("CLIENT ID").integer();
        Self { client, id }
    }
}

/// Whether a client waits in a blocking command, as another sees it.
fn is_blocked(observer: &mut Client, id: i64) -> bool {
    let line = observer.words(&format!("CLIENT LIST ID {id}")).text();
    let flags = line.split(' ').find_map(|field| field.strip_prefix("flags="));
    flags.is_some_and(|flags| flags.contains('b'))
}

/// Plays a script with as many clients as it names. A line is a client's number and what it does:
///
/// * `0: REQUEST => REPLY` asks and is answered,
/// * `0~ REQUEST` asks and waits,
/// * `0> REQUEST` asks and does not look what comes,
/// * `0= REPLY` is answered,
/// * `0~` waits still.
///
/// `K0`, `K1`, … are keys, on different shards by turns.
fn play(server: &Server, shards: u16, script: &str) {
    let keys = keys_over_shards("k", shards, 8);
    let mut observer = server.client();
    observer.ok("FLUSHALL");
    let mut players: Vec<Player> = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = (0..8)
            .fold(line.to_owned(), |line, index| line.replace(&format!("K{index}"), &keys[index]));
        let (who, rest) = line.split_at(1);
        let who: usize = who.parse().unwrap_or_else(|_| panic!("{line}"));
        let (kind, rest) = rest.split_at(1);
        let rest = rest.trim();
        while players.len() <= who {
            players.push(Player::of(server.client()));
        }
        let Player { client, id } = &mut players[who];
        match kind {
            ":" => {
                let (request, reply) = rest.split_once(" => ").unwrap_or_else(|| panic!("{line}"));
                assert_eq!(show(&client.words(request)), reply, "{shards} shards, {line}");
            }
            "=" => {
                let reply = client.read().unwrap_or_else(|none| panic!("{line}: {none:?}"));
                assert_eq!(show(&reply), rest, "{shards} shards, {line}");
            }
            "~" if rest.is_empty() => assert!(is_blocked(&mut observer, *id), "{line}"),
            "~" => {
                client.send(encode_words(rest));
                wait_until(&line, || is_blocked(&mut observer, *id));
            }
            ">" => client.send(encode_words(rest)),
            _ => panic!("{line}"),
        }
    }
}

fn check(script: &str) {
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        play(&server, shards, script);
    }
}

// --- what others see -----------------------------------------------------------------------------

#[test]
fn waits_are_counted() {
    if skip_on_other_server() {
        return;
    }
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        let (mut one, mut two) = (Player::of(server.client()), Player::of(server.client()));
        let mut other = server.client();
        one.client.send(encode_words("BLPOP a b c 0"));
        two.client.send(encode_words("BZPOPMIN c d 0"));
        let numbers = |other: &mut Client| {
            ["blocked_clients", "total_blocking_keys", "total_blocking_keys_on_nokey"]
                .map(|field| info_number(other, "clients", field))
        };
        wait_until("two wait for four keys", || numbers(&mut other) == [2, 4, 0]);
        assert!(is_blocked(&mut other, one.id) && is_blocked(&mut other, two.id));
        let timed = |other: &mut Client| info_number(other, "clients", "clients_in_timeout_table");
        assert_eq!(timed(&mut other), 0);
        let mut three = server.client();
        three.send(encode_words("BLPOP a 0.5"));
        wait_until("one has a timeout", || timed(&mut other) == 1);
        assert_eq!(three.read(), Ok(Value::NullArray));
        wait_until("none has", || timed(&mut other) == 0);
        other.words("RPUSH b x");
        assert_eq!(show(&one.client.read().expect("it is served")), "[b x]");
        wait_until("one waits for two keys", || numbers(&mut other) == [1, 2, 0]);
        assert!(!is_blocked(&mut other, one.id));
        other.words("ZADD c 1 x");
        two.client.read().expect("it is served");
        wait_until("nobody waits", || numbers(&mut other) == [0, 0, 0]);
        // A command that has waited is one command.
        let stats = info(&mut other, "commandstats");
        assert!(stats["cmdstat_blpop"].starts_with("calls=2,"), "{}", stats["cmdstat_blpop"]);
        assert!(stats["cmdstat_bzpopmin"].starts_with("calls=1,"));
        assert_eq!(one.client.words("BLPOP a 0.001"), Value::NullArray);
        let stats = info(&mut other, "commandstats");
        assert!(stats["cmdstat_blpop"].starts_with("calls=3,"), "{}", stats["cmdstat_blpop"]);
    }
}

#[test]
fn a_pause_holds_blocking_commands_back() {
    check(
        "1: CLIENT PAUSE 100000 WRITE => +OK
         0~ BLPOP K0 0
         1: CLIENT UNPAUSE => +OK
         1: RPUSH K0 x => :1
         0= [K0 x]",
    );
    let server = Launch::shards(1).start();
    let (mut one, mut other) = (Player::of(server.client()), server.client());
    other.ok("CLIENT PAUSE 100000 WRITE");
    one.client.send(encode_words("RPUSH a x"));
    wait_until("it is held back", || is_blocked(&mut other, one.id));
    assert_eq!(info_number(&mut other, "clients", "blocked_clients"), 1);
    // Its wait is not one that can be ended. Redis 7.0 does not survive being asked to.
    if !is_other_server() {
        assert_eq!(other.words(&format!("CLIENT UNBLOCK {}", one.id)), Value::Integer(0));
    }
    other.ok("CLIENT UNPAUSE");
    assert_eq!(one.client.read(), Ok(Value::Integer(1)));
    assert!(!is_blocked(&mut other, one.id));
}

#[test]
fn no_reply_is_no_reply() {
    check(
        "0> CLIENT REPLY SKIP
         0~ BLPOP K0 0
         0> PING
         1: RPUSH K0 x => :1
         0= +PONG
         1: EXISTS K0 => :0",
    );
}

#[test]
fn a_watched_key_that_serves_has_changed() {
    check(
        "0~ BLPOP K0 0
         1: WATCH K0 => +OK
         2: RPUSH K0 x => :1
         0= [K0 x]
         1: MULTI => +OK
         1: PING => +QUEUED
         1: EXEC => *-1",
    );
}

#[test]
fn a_subscriber_gets_messages_while_it_waits() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(4).start();
    let (mut one, mut other) = (Player::of(server.client_resp3()), server.client());
    one.client.words("SUBSCRIBE c");
    one.client.send(encode_words("BLPOP a 0"));
    wait_until("it waits", || is_blocked(&mut other, one.id));
    assert_eq!(other.words("PUBLISH c m"), Value::Integer(1));
    let message = one.client.read().expect("a message");
    assert!(matches!(message, Value::Push(_)), "{message:?}");
    other.words("RPUSH a x");
    assert_eq!(show(&one.client.read().expect("it is served")), "[a x]");
}

#[test]
fn the_binary_protocol_is_answered_at_once() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(4).binary().start();
    let mut binary = BinaryClient::connect(server.binary_address());
    let mut client = server.client();
    for request in ["BLPOP a b 0", "BLMOVE a b LEFT LEFT 0", "BZPOPMIN a 0", "WAIT 1 0"] {
        let reply = binary.one(Request::command(request)).ok();
        let expected = if request.starts_with("WAIT") { ":0\r\n" } else { "_\r\n" };
        assert_eq!(reply.text(), expected, "{request}");
    }
    client.words("RPUSH b x");
    let reply = binary.one(Request::command("BLPOP a b 0")).ok();
    assert_eq!(reply.text(), "*2\r\n$1\r\nb\r\n$1\r\nx\r\n");
}

#[test]
fn in_a_cluster_keys_of_one_wait_lie_in_one_slot() {
    let server = Launch::shards(4).cluster().start();
    let mut client = server.client();
    let reply = client.words("BLPOP a b 0.01");
    assert!(show(&reply).starts_with("-CROSSSLOT"), "{reply:?}");
    assert_eq!(client.words("BLPOP {a}1 {a}2 0.01"), Value::NullArray);
    if is_other_server() {
        return;
    }
    let cores = info_number(&mut client, "ringmain", "cores");
    let replies: Vec<String> = (0..cores)
        .map(|core| {
            let core = u16::try_from(core).expect("few cores");
            show(&Client::connect(server.core_address(core)).words("BLPOP a 0.01"))
        })
        .collect();
    let moved = replies.iter().filter(|reply| reply.starts_with("-MOVED ")).count() as u64;
    assert_eq!(moved, cores - 1, "{replies:?}");
    assert_eq!(replies.iter().filter(|reply| *reply == "*-1").count(), 1, "{replies:?}");
}

/// Many clients wait for one key; each gets the element of its turn.
#[test]
fn many_wait_in_line() {
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        let mut other = server.client();
        let mut players: Vec<Player> = (0..40).map(|_| Player::of(server.client())).collect();
        for player in &mut players {
            player.client.send(encode_words("BLPOP a q b 0"));
            wait_until("it waits", || is_blocked(&mut other, player.id));
        }
        let items: Vec<String> = (0..40).map(|item| item.to_string()).collect();
        let (first, rest) = items.split_at(15);
        other.words(&format!("RPUSH q {}", first.join(" ")));
        rest.iter().for_each(|item| drop(other.words(&format!("RPUSH q {item}"))));
        for (player, item) in players.iter_mut().zip(&items) {
            assert_eq!(show(&player.client.read().expect("its turn")), format!("[q {item}]"));
        }
    }
}

/// What was served is written down as popped, and where that is asked for it is on disk before the client hears of it.
#[test]
fn what_was_served_is_gone_after_a_crash() {
    if skip_on_other_server() {
        return;
    }
    for (shards, durability) in [(1, "sync"), (4, "sync")] {
        let dir = tempfile::TempDir::with_prefix("ringmain-test-").expect("a temporary folder");
        let launch = Launch::shards(shards).durable(durability).dir(dir.path());
        let mut server = launch.start();
        let keys = keys_over_shards("k", shards, 4);
        let mut other = server.client();
        let mut players: Vec<Player> = (0..3).map(|_| Player::of(server.client())).collect();
        let requests = [
            format!("BLPOP {} {} 0", keys[1], keys[0]),
            format!("BLMOVE {} {} LEFT LEFT 0", keys[0], keys[2]),
            format!("BZPOPMIN {} 0", keys[3]),
        ];
        for (player, request) in players.iter_mut().zip(&requests) {
            player.client.send(encode_words(request));
            wait_until("it waits", || is_blocked(&mut other, player.id));
        }
        other.words(&format!("RPUSH {} a b c", keys[0]));
        other.words(&format!("ZADD {} 1 x 2 y", keys[3]));
        let replies: Vec<String> = players
            .iter_mut()
            .map(|player| show(&player.client.read().expect("it is served")))
            .collect();
        assert_eq!(replies, [format!("[{} a]", keys[0]), "b".into(), format!("[{} x 1]", keys[3])]);
        server.kill();
        drop(server);
        let server = launch.start();
        let mut client = server.client();
        let list =
            |client: &mut Client, key: &str| show(&client.words(&format!("LRANGE {key} 0 -1")));
        assert_eq!(list(&mut client, &keys[0]), "[c]");
        assert_eq!(list(&mut client, &keys[2]), "[b]");
        assert_eq!(show(&client.words(&format!("ZRANGE {} 0 -1", keys[3]))), "[y]");
    }
}

#[test]
fn a_shard_that_moves_takes_its_queues_along() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(4).start();
    let mut other = server.client();
    let cores = info_number(&mut other, "ringmain", "cores");
    if cores < 2 {
        return harness::skip("there is one core");
    }
    let keys = keys_over_shards("k", 4, 4);
    for round in 0..8 {
        let mut one = Player::of(server.client());
        one.client.send(encode_words(&format!("BLPOP {} 0", keys.join(" "))));
        wait_until("it waits", || is_blocked(&mut other, one.id));
        let shard = round % 4;
        other.ok(&format!("SHARD MOVE {shard} {}", round / 4));
        assert_eq!(other.words(&format!("RPUSH {} x", keys[shard])), Value::Integer(1));
        let reply = show(&one.client.read().expect("it is served"));
        assert_eq!(reply, format!("[{} x]", keys[shard]));
        // And it goes on, wherever it is.
        assert_eq!(other.words(&format!("RPUSH {} y", keys[shard])), Value::Integer(1));
        let again = one.client.words(&format!("BLPOP {} 0", keys[shard]));
        assert_eq!(show(&again), format!("[{} y]", keys[shard]));
    }
}

#[test]
fn in_a_cluster_who_waits_is_told_where_a_slot_has_gone() {
    if skip_on_other_server() {
        return;
    }
    let server = Launch::shards(2).cluster().start();
    let mut other = server.client();
    if info_number(&mut other, "ringmain", "cores") < 2 {
        return harness::skip("there is one core");
    }
    let key = &keys_over_shards("k", 2, 1)[0];
    let request = format!("BLPOP {key} 0");
    let mut one = Player::of(Client::connect(server.core_address(0)));
    let mut common = Player::of(server.client());
    for player in [&mut one, &mut common] {
        player.client.send(encode_words(&request));
        wait_until("it waits", || is_blocked(&mut other, player.id));
    }
    other.ok("SHARD MOVE 0 1");
    let moved = one.client.read().expect("it is told").error().to_owned();
    assert!(moved.starts_with("MOVED "), "{moved}");
    assert!(moved.ends_with(&server.core_address(1).to_string()), "{moved}");
    assert_eq!(other.words(&format!("RPUSH {key} x")), Value::Integer(1));
    assert_eq!(show(&common.client.read().expect("it is served")), format!("[{key} x]"));
    assert_eq!(one.client.words("PING"), Value::Simple("PONG".into()));
}

// --- what must not happen ------------------------------------------------------------------------

#[test]
fn a_kill_in_a_transaction_serves_nobody_in_the_midst_of_it() {
    for shards in [1, 4] {
        let server = Launch::shards(shards).start();
        let [mut first, mut second] = [(); 2].map(|()| Player::of(server.client()));
        let mut client = server.client();
        for waiting in [&mut first, &mut second] {
            waiting.client.send("BLPOP q 0\r\n");
            let id = waiting.id;
            wait_until("it waits", || is_blocked(&mut client, id));
        }
        client.ok("MULTI");
        client.words("RPUSH q v");
        client.words(&format!("CLIENT KILL ID {}", first.id));
        client.words("DEL q");
        assert_eq!(show(&client.words("EXEC")), "[:1 :1 :1]");
        first.client.expect_close();
        assert!(is_blocked(&mut client, second.id), "it was served what was deleted");
        client.words("RPUSH q w");
        assert_eq!(show(&second.client.read().expect("a reply")), "[q w]");
    }
}

#[test]
fn a_client_that_is_gone_is_given_nothing_however_much_it_had_sent() {
    let server = Launch::shards(2).start();
    let mut client = server.client();
    let mut gone = Player::of(server.client());
    let sent = ["BLPOP q 0\r\n".to_owned(), "PING\r\n".repeat(120_000)].concat();
    gone.client.send(sent);
    wait_until("it waits", || is_blocked(&mut client, gone.id));
    drop(gone);
    wait_until("it is seen to be gone", || {
        info_number(&mut client, "clients", "blocked_clients") == 0
    });
    assert_eq!(client.words("RPUSH q v").integer(), 1);
    assert_eq!(client.words("LLEN q").integer(), 1);
}

#[test]
fn a_wait_for_very_many_keys_holds_nobody_up() {
    let server = Launch::shards(2).start();
    let mut client = server.client();
    let mut waiting = Player::of(server.client());
    let keys: Vec<String> = (0..200_000).map(|number| format!("key:{number}")).collect();
    let words = ["BLPOP"].into_iter().chain(keys.iter().map(String::as_str)).chain(["0"]);
    waiting.client.request(&words.collect::<Vec<_>>());
    wait_until("it waits", || is_blocked(&mut client, waiting.id));
    client.words("RPUSH key:150000 v");
    assert_eq!(show(&waiting.client.read().expect("a reply")), "[key:150000 v]");
}
