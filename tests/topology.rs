//! Shards move between cores while the server runs: every view of the topology follows at once, no client
//! notices more than a redirection, and the new owner does what an owner does.
//!
//! `RINGMAIN_TOPOLOGY_SECONDS=60` lets shards move under load for longer than two seconds.

mod harness;

use harness::client::{Client, encode_words, info_number, scan, wait_for_reply};
use harness::random::Random;
use harness::server::{Launch, Server, skip_on_other_server};
use harness::slots::{keys_over_shards, shard, slot};
use harness::topology::{check_topology, connect, port_of};
use harness::value::Value;
use harness::{Raise, number_from_env, skip, wait_until};
use redis::cluster::ClusterClient;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SHARDS: u16 = 4;

/// A server with cores to move shards between, if the machine has more than one.
fn start(launch: &Launch) -> Option<Server> {
    if skip_on_other_server() {
        return None;
    }
    let server = launch.start();
    if cores(&server) < 2 {
        skip("shards move between cores, and this machine has one");
        return None;
    }
    Some(server)
}

fn cores(server: &Server) -> u64 {
    info_number(&mut server.client(), "ringmain", "cores")
}

fn core_client(server: &Server, core: u16) -> Client {
    connect(server.port() + 1 + core)
}

fn epoch(client: &mut Client) -> u64 {
    info_number(client, "ringmain", "topology_epoch")
}

/// The core of each shard.
fn owners(client: &mut Client) -> Vec<i64> {
    let shards = client.words("SHARD LIST");
    shards.elements().iter().map(|shard| shard.field("core").integer()).collect()
}

/// Gives all shards to core `core`.
fn gather(client: &mut Client, core: u16) {
    (0..SHARDS).for_each(|shard| client.ok(&format!("SHARD MOVE {shard} {core}")));
}

#[test]
fn every_view_follows_a_move_at_once() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let mut common = server.client();
    let mut ports: Vec<Client> = (0..2).map(|core| core_client(&server, core)).collect();
    for key in keys_over_shards("key", SHARDS, 200) {
        common.ok(&format!("SET {key} v"));
    }
    gather(&mut common, 0);
    let moves = [(2, 3, 50), (0, 4, 100), (1, 2, 150), (3, 1, 200)];
    for (before, (shard, runs, keys)) in (epoch(&mut common)..).zip(moves) {
        common.ok(&format!("SHARD MOVE {shard} 1"));
        let expected = check_topology(&mut common);
        assert_eq!(expected.len(), runs, "neighbours are merged: {expected:?}");
        for client in &mut ports {
            assert_eq!(check_topology(client), expected);
            assert_eq!(epoch(client), before + 1);
            let info = client.words("CLUSTER INFO").text();
            assert!(info.contains(&format!("cluster_current_epoch:{}\r\n", before + 1)), "{info}");
        }
        let info = ports[1].words("CLUSTER INFO").text();
        assert!(info.contains(&format!("cluster_my_epoch:{}\r\n", before + 1)), "{info}");
        // Whoever asks a core for all keys is given those of its shards.
        let seen: Vec<i64> = ports.iter_mut().map(|c| c.words("DBSIZE").integer()).collect();
        assert_eq!(seen, [200 - keys, keys]);
        for (client, seen) in ports.iter_mut().zip(seen) {
            let count = usize::try_from(seen).expect("few");
            assert_eq!(client.words("KEYS *").elements().len(), count);
            assert_eq!(scan(client, "COUNT 7").len(), count);
            assert_eq!(client.words("RANDOMKEY").is_null(), count == 0);
            let keyspace = client.words("INFO keyspace").text();
            assert_eq!(keyspace.contains(&format!("db0:keys={seen},")), seen > 0, "{keyspace}");
        }
        assert_eq!(common.words("DBSIZE"), Value::Integer(200));
        assert_eq!(scan(&mut common, "COUNT 7").len(), 200);
        let line = common.words("INFO ringmain").text();
        let line = line.lines().find(|line| line.starts_with("core_1:")).expect("a line a core");
        assert!(line.contains(&format!(",shards={},slots=", keys / 50)), "{line}");
        assert!(line.contains(&format!(",keys={keys},")), "{line}");
    }
    assert_eq!(owners(&mut common), [1; SHARDS as usize]);
    let nodes = common.words("CLUSTER INFO").text();
    assert!(nodes.contains("cluster_size:1\r\n"), "{nodes}");
    // A core without shards serves its port all the same.
    ports[0].ok("SET there v");
    ports[0].ok("FLUSHALL");
    assert_eq!(common.words("DBSIZE"), Value::Integer(201));
    ports[1].ok("FLUSHALL");
    assert_eq!(common.words("DBSIZE"), Value::Integer(0));
}

#[test]
fn what_changes_nothing_is_no_change() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let mut client = server.client();
    let before = (owners(&mut client), epoch(&mut client));
    for (shard, core) in before.0.iter().enumerate() {
        client.ok(&format!("SHARD MOVE {shard} {core}"));
    }
    let cores = cores(&server);
    for nonsense in
        ["4 0".to_owned(), format!("0 {cores}"), "-1 0".into(), "x 0".into(), "0 ".into()]
    {
        let reply = client.words(&format!("SHARD MOVE {nonsense}"));
        assert!(reply.error().starts_with("ERR "), "{nonsense}: {reply:?}");
    }
    assert_eq!((owners(&mut client), epoch(&mut client)), before);
}

#[test]
fn a_key_is_redirected_to_its_shard_s_new_core() {
    let Some(server) = start(&Launch::shards(SHARDS).cluster()) else { return };
    let mut common = server.client();
    gather(&mut common, 0);
    let keys = keys_over_shards("key", SHARDS, 4 * usize::from(SHARDS));
    let mut ports: Vec<Client> = (0..2).map(|core| core_client(&server, core)).collect();
    for key in &keys {
        ports[0].ok(&format!("SET {key} 1"));
    }
    for turn in 0..40 {
        let moved = turn % SHARDS;
        let to = 1 - turn / SHARDS % 2;
        common.ok(&format!("SHARD MOVE {moved} {to}"));
        let ranges = check_topology(&mut common);
        for key in keys.iter().filter(|key| shard(key, SHARDS) == moved) {
            let home = port_of(&ranges, key);
            assert_eq!(home, server.port() + 1 + to);
            let wrong = &mut ports[usize::from(1 - to)];
            let redirection = format!("MOVED {} 127.0.0.1:{home}", slot(key));
            assert_eq!(wrong.words(&format!("INCR {key}")).error(), redirection);
            let count = i64::from(turn / SHARDS) + 2;
            let right = ports[usize::from(to)].words(&format!("INCR {key}"));
            assert_eq!(right, Value::Integer(count), "{key} at turn {turn}");
            let slot = slot(key);
            let counted = ports[0].words(&format!("CLUSTER COUNTKEYSINSLOT {slot}"));
            assert!(counted.integer() > 0, "{key}");
        }
    }
}

/// While the core that had the shard does nothing at all, its keys expire and make room.
#[test]
fn the_new_owner_expires_and_evicts() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports().debug()) else { return };
    let (mut old, mut new) = (core_client(&server, 0), core_client(&server, 1));
    new.ok("CONFIG SET maxmemory-policy allkeys-lru");
    gather(&mut old, 0);
    // Shard 1 gets a time to live for each of its keys, shard 2 is filled.
    let (mut fading, mut filled) = (0, 0);
    let value = "v".repeat(1_000);
    for index in 0..20_000 {
        let key = format!("key{index}");
        match shard(&key, SHARDS) {
            1 if fading < 300 => {
                old.send(encode_words(&format!("SET {key} v PX {}", 1_500 + index % 100)));
                fading += 1;
            }
            2 => {
                old.send(encode_words(&format!("SET {key} {value}")));
                filled += 1;
            }
            _ => {}
        }
    }
    (0..fading + filled).for_each(|_| assert_eq!(old.read(), Ok(Value::ok())));
    old.ok("SHARD MOVE 1 1");
    old.ok("SHARD MOVE 2 1");
    old.send(encode_words("DEBUG SLEEP 25"));
    let at_most = |client: &mut Client, count| client.words("DBSIZE").integer() <= count;
    wait_until("the keys expire", || at_most(&mut new, filled));
    let used = info_number(&mut new, "memory", "used_memory");
    new.ok(&format!("CONFIG SET maxmemory {}", used - 2_000_000));
    wait_until("there is room", || at_most(&mut new, filled - 1_000));
    assert!(!old.is_readable_within(Duration::from_millis(1)), "the old owner was awake");
}

/// A connection on the common port goes where its first key lives, and goes along when that moves.
#[test]
fn a_connection_follows_its_shard() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let mut operator = core_client(&server, 0);
    gather(&mut operator, 0);
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    let count = i64::try_from(clients.len()).expect("few");
    let key = &keys_over_shards("key", SHARDS, 1)[0];
    clients.iter_mut().for_each(|client| client.ok(&format!("SET {key} 0")));
    let commands = |operator: &mut Client, core| {
        let info = operator.words("INFO ringmain").text();
        let line = info.lines().find(|line| line.starts_with(&format!("core_{core}:")));
        let field = line.and_then(|line| line.split(',').find_map(|f| f.strip_prefix("commands=")));
        field.expect("a number of commands").parse::<i64>().expect("a number")
    };
    let mut incremented = 0;
    for home in [1, 0, 1] {
        operator.ok(&format!("SHARD MOVE 0 {home}"));
        wait_until("the clients follow", || {
            let before = commands(&mut operator, home);
            for client in &mut clients {
                incremented += 1;
                assert_eq!(client.words(&format!("INCR {key}")), Value::Integer(incremented));
            }
            commands(&mut operator, home) - before >= count
        });
    }
    // Half a request is kept on the way, and one that monitors stays where it is.
    let mut monitor = server.client();
    monitor.ok(&format!("SET {key}{{{key}}} v"));
    monitor.ok("MONITOR");
    let request = encode_words(&format!("INCR {key}"));
    clients.iter_mut().for_each(|client| client.send(&request[..9]));
    operator.ok("SHARD MOVE 0 0");
    // Clients are looked at once a second: that has happened when this one has moved.
    let mut whole = clients.pop().expect("a client");
    whole.send(&request[9..]);
    let moves = |operator: &mut Client| info_number(operator, "ringmain", "moved_connections");
    let before = moves(&mut operator);
    incremented += 1;
    assert_eq!(whole.read(), Ok(Value::Integer(incremented)));
    wait_until("a client follows", || {
        incremented += 1;
        assert_eq!(whole.words(&format!("INCR {key}")), Value::Integer(incremented));
        moves(&mut operator) > before
    });
    for client in &mut clients {
        client.send(&request[9..]);
        incremented += 1;
        assert_eq!(client.read(), Ok(Value::Integer(incremented)));
    }
    for _ in 0..clients.len() {
        wait_until("the monitor shows a command", || {
            monitor.read().expect("a line in time").text().contains("INCR")
        });
    }
}

/// Moves random shards until told to stop; gives how many moves were asked for.
fn stir(server: &Server, stop: &AtomicBool, pause: Duration) -> u64 {
    let (mut client, cores) = (server.client(), cores(server));
    let (mut random, mut moves) = (Random::new(7), 0);
    while !stop.load(Ordering::Relaxed) {
        let (shard, core) = (random.below(SHARDS.into()), random.below(cores));
        client.ok(&format!("SHARD MOVE {shard} {core}"));
        moves += 1;
        std::thread::sleep(pause);
    }
    moves
}

fn load_time() -> Duration {
    Duration::from_secs(number_from_env("RINGMAIN_TOPOLOGY_SECONDS").unwrap_or(2))
}

/// What a client does for as long as it is told to go on.
type Load<'a> = dyn Fn(&dyn Fn() -> bool) + Sync + 'a;

/// Runs `clients` until the time is up, each with its number, while shards move; gives the moves.
fn under_moves(server: &Server, clients: &[&Load<'_>]) -> u64 {
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let goes_on = || started.elapsed() < load_time();
    std::thread::scope(|scope| {
        let mover = scope.spawn(|| stir(server, &stop, Duration::from_millis(2)));
        let _stops = Raise(&stop);
        let threads: Vec<_> =
            clients.iter().map(|client| scope.spawn(|| client(&goes_on))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("a client"));
        stop.store(true, Ordering::Relaxed);
        mover.join().expect("the operator")
    })
}

/// Counts, appends and sets bits in keys of its own through pipelines that mix shards and commands that
/// go to the owner; every reply is known beforehand, so nothing may be lost, repeated or overtaken.
fn play(mut client: Client, name: &str, goes_on: &dyn Fn() -> bool) {
    let keys = keys_over_shards(name, SHARDS, 2 * usize::from(SHARDS));
    let mut random = Random::new(u64::from(slot(name)));
    let mut counts = vec![0; keys.len()];
    while goes_on() {
        let (mut requests, mut expected) = (Vec::new(), Vec::new());
        // Long ones arrive in several pieces, the later ones while the earlier are still under way.
        for _ in 0..*random.pick(&[1, 20, 800]) {
            let index = random.index(keys.len());
            let (key, count) = (&keys[index], &mut counts[index]);
            requests.extend(encode_words(&format!("SETBIT {{{key}}}bits {count} 1")));
            expected.push(0);
            *count += 1;
            if random.one_in(2) {
                // A command that may be long: it goes to the owner of its shard.
                requests.extend(encode_words(&format!("BITCOUNT {{{key}}}bits")));
                expected.push(*count);
            }
            requests.extend(encode_words(&format!("INCR {key}")));
            expected.push(*count);
        }
        client.send(requests);
        for expected in expected {
            assert_eq!(client.read(), Ok(Value::Integer(expected)), "{name}");
        }
    }
    for (key, count) in keys.iter().zip(counts) {
        let text = if count == 0 { None } else { Some(count.to_string()) };
        let stored = client.words(&format!("GET {key}"));
        assert_eq!(if stored.is_null() { None } else { Some(stored.text()) }, text, "{key}");
    }
}

/// Sets the same value in all shards at once, and never sees two.
fn set_all(mut client: Client, goes_on: &dyn Fn() -> bool) {
    let keys = keys_over_shards("all", SHARDS, SHARDS.into());
    for value in 0.. {
        if !goes_on() {
            break;
        }
        let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {value}")).collect();
        client.send(encode_words(&format!("MSET {}", pairs.join(" "))));
        client.send(encode_words(&format!("MGET {}", keys.join(" "))));
        assert_eq!(client.read(), Ok(Value::ok()));
        let all = client.read().expect("a reply");
        assert!(all.elements().windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    }
}

fn cluster_client(server: &Server, name: &str, goes_on: &dyn Fn() -> bool) {
    let client = ClusterClient::new(vec![format!("redis://127.0.0.1:{}/", server.port())]);
    let mut connection = client.expect("a client").get_connection().expect("a connection");
    let keys = keys_over_shards(name, SHARDS, 2 * usize::from(SHARDS));
    for count in 1_i64.. {
        if !goes_on() {
            break;
        }
        for key in &keys {
            let got: i64 = redis::cmd("INCR").arg(key).query(&mut connection).expect("INCR");
            assert_eq!(got, count, "{key}");
        }
    }
}

#[test]
fn clients_notice_nothing_while_shards_move() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let moves = under_moves(
        &server,
        &[
            &|goes_on| play(server.client(), "a", goes_on),
            &|goes_on| play(server.client(), "b", goes_on),
            &|goes_on| play(core_client(&server, 0), "c", goes_on),
            &|goes_on| play(core_client(&server, 1), "d", goes_on),
            &|goes_on| set_all(server.client(), goes_on),
            &|goes_on| set_all(core_client(&server, 1), goes_on),
            &|goes_on| cluster_client(&server, "e", goes_on),
        ],
    );
    println!("{moves} moves, {:?}", owners(&mut server.client()));
    assert!(moves > 20, "{moves} moves");
}

#[test]
fn cluster_clients_are_redirected_while_shards_move() {
    let Some(server) = start(&Launch::shards(SHARDS).cluster()) else { return };
    let moves = under_moves(
        &server,
        &[
            &|goes_on| cluster_client(&server, "a", goes_on),
            &|goes_on| cluster_client(&server, "b", goes_on),
            &|goes_on| play(server.client(), "c", goes_on),
        ],
    );
    assert!(moves > 20, "{moves} moves");
    let errors = info_number(&mut server.client(), "stats", "total_error_replies");
    assert!(errors > 0, "nobody was redirected");
}

/// Redis's guarantee for `SCAN`: what is there from the first call to the last is found.
#[test]
fn a_walk_over_all_shards_is_whole_while_they_move() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let mut client = server.client();
    let mut keys: Vec<String> = (0..500).map(|index| format!("key{index}")).collect();
    keys.sort();
    keys.iter().for_each(|key| client.ok(&format!("SET {key} v")));
    let whole = |goes_on: &dyn Fn() -> bool| {
        let mut client = server.client();
        while goes_on() {
            let mut found = scan(&mut client, "COUNT 5");
            found.sort();
            assert_eq!(found, keys);
        }
    };
    // On a core's own port a walk may miss a shard that comes or goes, but it ends, and names no key
    // that is not there.
    let bounded = |goes_on: &dyn Fn() -> bool| {
        let mut client = core_client(&server, 1);
        while goes_on() {
            let found = scan(&mut client, "COUNT 5");
            assert!(found.iter().all(|key| keys.binary_search(key).is_ok()));
        }
    };
    under_moves(&server, &[&whole, &bounded]);
}

#[test]
fn operators_at_once() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let cores = cores(&server);
    let before = epoch(&mut server.client());
    let highest = AtomicU64::new(before);
    std::thread::scope(|scope| {
        for operator in 0..4 {
            let (server, highest) = (&server, &highest);
            scope.spawn(move || {
                let mut client = core_client(server, operator % 2);
                let mut random = Random::new(operator.into());
                for _ in 0..200 {
                    let (shard, core) = (random.below(SHARDS.into()), random.below(cores));
                    let seen = highest.load(Ordering::Acquire);
                    client.ok(&format!("SHARD MOVE {shard} {core}"));
                    let epoch = epoch(&mut client);
                    assert!(epoch >= seen, "epoch {epoch} after {seen}");
                    highest.fetch_max(epoch, Ordering::AcqRel);
                }
            });
        }
    });
    let mut client = server.client();
    let changes = epoch(&mut client) - before;
    assert!((1..=800).contains(&changes), "{changes} changes");
    assert_eq!(epoch(&mut client), highest.into_inner());
    // All agree in the end, and each shard is where the table says.
    let ranges = check_topology(&mut client);
    for (shard, core) in owners(&mut client).into_iter().enumerate() {
        let key = keys_over_shards("key", SHARDS, shard + 1).pop().expect("a key");
        assert_eq!(i64::from(port_of(&ranges, &key)), i64::from(server.port()) + 1 + core);
    }
}

/// Which shard is hot is seen in `SHARD LIST`.
#[test]
fn a_shard_s_load_is_counted() {
    let Some(server) = start(&Launch::shards(SHARDS).core_ports()) else { return };
    let mut client = server.client();
    let keys = keys_over_shards("key", SHARDS, 2);
    let figures = |client: &mut Client, name: &str| {
        let shards = client.words("SHARD LIST");
        shards.elements().iter().map(|shard| shard.field(name).integer()).collect::<Vec<_>>()
    };
    for turn in 1..=3 {
        (0..100).for_each(|_| client.ok(&format!("SET {} v", keys[1])));
        client.words(&format!("MGET {} {}", keys[0], keys[1]));
        wait_until("the commands are counted", || {
            figures(&mut client, "commands") == [turn, 101 * turn, 0, 0]
        });
        // Where it runs does not matter.
        client.ok(&format!("SHARD MOVE 1 {}", turn % 2));
    }
    let busy = figures(&mut client, "busy_us");
    assert!(busy[1] > busy[2], "{busy:?}");
    assert_eq!(figures(&mut client, "keys"), [0, 1, 0, 0]);
    client.ok("CONFIG RESETSTAT");
    assert_eq!(figures(&mut client, "commands"), [0; 4]);
    wait_for_reply(&mut client, &format!("EXISTS {}", keys[1]), &Value::Integer(1));
}
