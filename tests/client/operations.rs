//! Every operation against the server, and that it has nothing to forward.

use std::collections::{BTreeSet, HashMap};
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringmain::client::{Bytes, Client, Durability, Error, Outcome, Resp, Session, Status, Version};

use crate::harness::client::info_number;
use crate::harness::server::{Launch, Server, skip_on_other_server};
use crate::harness::slots::keys_over_shards;
use crate::harness::{skip, wait_until};

#[path = "../../examples/client.rs"]
#[expect(dead_code, reason = "the example's own start is not needed")]
mod example;

const LONG: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);

/// A server with so many shards; none where another than Ringmain is under test.
fn server(shards: u16) -> Option<Server> {
    start(&Launch::shards(shards).core_ports().binary())
}

fn start(launch: &Launch) -> Option<Server> {
    if skip_on_other_server() { None } else { Some(launch.start()) }
}

async fn client(server: &Server) -> Client {
    let address = server.binary_address().to_string();
    let builder = Client::builder().timeout(LONG).name("test");
    builder.connect(&address).await.expect("the server answers")
}

#[tokio::test]
async fn values_and_their_versions() {
    let Some(server) = server(2) else { return };
    let client = client(&server).await;
    assert_eq!(client.get("k").await.unwrap(), None);
    let first = client.set("k", "one").await.unwrap();
    let value = client.get("k").await.unwrap().unwrap();
    assert_eq!((value.text(), value.version), (Some("one"), first));
    let second = client.set("k", vec![0, 1, 255]).await.unwrap();
    assert!(second > first);
    assert_eq!(client.get("k").await.unwrap().unwrap().bytes, Bytes::from_static(&[0, 1, 255]));
    let removed = client.delete("k").await.unwrap().unwrap();
    assert!(removed > second);
    assert_eq!(client.delete("k").await.unwrap(), None);
    // Keys and values may be empty, and anything.
    client.set("", "").await.unwrap();
    assert_eq!(client.get("").await.unwrap().unwrap(), "");
    let key: Vec<u8> = (0..=255).collect();
    client.set(&key, "any").await.unwrap();
    assert_eq!(client.get(&key).await.unwrap().unwrap(), "any");
}

#[tokio::test]
async fn conditions() {
    let Some(server) = server(2) else { return };
    let client = client(&server).await;
    assert_eq!(client.set("k", "x").if_present().await.unwrap(), Outcome::NotFound);
    let Outcome::Done(first) = client.set("k", "1").if_absent().await.unwrap() else { panic!() };
    assert_eq!(client.set("k", "2").if_absent().await.unwrap(), Outcome::Exists(first));
    let Outcome::Done(second) = client.set("k", "2").if_present().await.unwrap() else { panic!() };
    let mismatch = Outcome::VersionMismatch(second);
    assert_eq!(client.set("k", "3").if_version(first).await.unwrap(), mismatch);
    assert_eq!(client.compare_and_swap("k", "3", first).await.unwrap(), mismatch);
    let swapped = client.compare_and_swap("k", "3", second).await.unwrap();
    let Outcome::Done(third) = swapped else { panic!("{swapped:?}") };
    assert!(swapped.is_done() && third > second);
    assert_eq!(client.get("k").await.unwrap().unwrap(), "3");
    assert_eq!(
        client.delete("k").if_version(second).await.unwrap(),
        Outcome::VersionMismatch(third)
    );
    assert!(client.delete("k").if_version(third).await.unwrap().is_done());
    assert_eq!(client.delete("k").if_version(third).await.unwrap(), Outcome::NotFound);
    assert_eq!(client.compare_and_swap("k", "4", third).await.unwrap(), Outcome::NotFound);
    let none = Version(0);
    assert!(client.compare_and_swap("k", "4", none).await.unwrap().is_done());
    assert!(!client.compare_and_swap("k", "5", none).await.unwrap().is_done());
}

#[tokio::test]
async fn numbers_and_bytes_at_the_end() {
    let Some(server) = server(2) else { return };
    let client = client(&server).await;
    let sum = client.increment("n", 40).await.unwrap();
    let next = client.increment("n", -2).await.unwrap();
    assert_eq!((sum.value, next.value), (40, 38));
    assert!(next.version > sum.version);
    client.set("text", "abc").await.unwrap();
    let error = client.increment("text", 1).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::NotANumber));
    assert!(error.is_not_done());
    client.set("n", i64::MAX.to_string()).await.unwrap();
    assert_eq!(client.increment("n", 1).await.unwrap_err().status(), Some(Status::Overflow));
    let length = client.append("text", "def").await.unwrap();
    assert_eq!(length.bytes, 6);
    assert_eq!(client.append("new", "x").await.unwrap().bytes, 1);
    let text = client.get("text").await.unwrap().unwrap();
    assert_eq!((text.text(), text.version), (Some("abcdef"), length.version));
}

#[tokio::test]
async fn expiry() {
    let Some(server) = server(2) else { return };
    let client = client(&server).await;
    let ttl = async |key: &str| {
        let reply = client.command(["PTTL", key]).key(key).read_only().await.unwrap();
        reply.integer().unwrap()
    };
    client.set("k", "v").ttl(HOUR).await.unwrap();
    assert!((3_500_000..=3_600_000).contains(&ttl("k").await));
    client.set("k", "w").keep_ttl().await.unwrap();
    assert!(ttl("k").await > 0);
    let version = client.get("k").await.unwrap().unwrap().version;
    let persisted = client.persist("k").await.unwrap().unwrap();
    assert!(persisted > version, "a change of the expiry is a change");
    assert_eq!(ttl("k").await, -1);
    client.expire("k", 2 * HOUR).await.unwrap().unwrap();
    assert!(ttl("k").await > 3_600_000);
    client.expire_at("k", std::time::SystemTime::now() + HOUR).await.unwrap().unwrap();
    assert!((3_500_000..=3_610_000).contains(&ttl("k").await));
    assert!(client.touch("k").await.unwrap().is_some());
    assert_eq!(client.touch("none").await.unwrap(), None);
    assert_eq!(client.expire("none", HOUR).await.unwrap(), None);
    // A time that has passed removes it.
    client.expire_at("k", std::time::UNIX_EPOCH + HOUR).await.unwrap();
    assert_eq!(client.get("k").await.unwrap(), None);
    client.set("short", "v").ttl(Duration::from_millis(1)).await.unwrap();
    let waited = tokio::time::timeout(LONG, async {
        while client.get("short").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it expires");
}

#[tokio::test]
async fn many_keys_at_once() {
    let Some(server) = server(4) else { return };
    let client = client(&server).await;
    let keys = keys_over_shards("many:", 4, 3_000);
    client.set_many(keys.iter().map(|key| (key, format!("value of {key}")))).await.unwrap();
    let mut asked = keys.clone();
    asked.insert(7, "none".into());
    let values = client.get_many(&asked).await.unwrap();
    for (key, value) in asked.iter().zip(&values) {
        match value {
            None => assert_eq!(key, "none"),
            Some(value) => assert_eq!(value, &format!("value of {key}").as_str()),
        }
    }
    let version = client.get(&keys[0]).await.unwrap().unwrap().version;
    assert_eq!(values[0].as_ref().unwrap().version, version);
    client.set_many([("a", "1"), ("b", "2")]).ttl(HOUR).repeatable().await.unwrap();
    let reply = client.command(["TTL", "b"]).read_only().await.unwrap();
    assert!(reply.integer().unwrap() > 3_500);
    // Large ones, of which several make a request too long for others to wait behind.
    let large = "x".repeat(300_000);
    let pairs: Vec<_> = (0..20).map(|index| (format!("large:{index}"), large.clone())).collect();
    client.set_many(pairs.clone()).await.unwrap();
    let values = client.get_many(pairs.iter().map(|(key, _)| key)).await.unwrap();
    assert!(values.into_iter().flatten().filter(|value| value == large.as_str()).count() == 20);
}

#[tokio::test]
async fn a_scan_meets_every_key() {
    let Some(server) = server(3) else { return };
    let client = client(&server).await;
    let keys = keys_over_shards("scan:", 3, 500);
    client.set_many(keys.iter().map(|key| (key, "v"))).await.unwrap();
    client.set("other", "v").await.unwrap();
    let mut met = BTreeSet::new();
    let mut scan = client.scan().pattern("scan:*").count(50).timeout(LONG);
    while let Some(key) = scan.next().await.unwrap() {
        met.insert(String::from_utf8(key.to_vec()).unwrap());
    }
    assert_eq!(met, keys.into_iter().collect());
    assert_eq!(scan.next().await.unwrap(), None, "the end is the end");
    let mut all = client.scan();
    let mut count = 0;
    while all.next().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 501);
}

#[tokio::test]
async fn commands_and_what_the_server_says_of_itself() {
    let Some(server) = server(2) else { return };
    let client = client(&server).await;
    client.ping().await.unwrap();
    let stats = client.stats("server").await.unwrap();
    assert!(stats.contains("redis_version:"), "{stats}");
    assert!(client.activity().server.starts_with("ringmain"), "{:?}", client.activity());
    let list = client.command(["CLIENT", "LIST"]).read_only().await.unwrap();
    assert!(list.text().unwrap().contains("name=test"), "{list:?}");

    client.command(["MSET", "a", "1", "b", "2"]).await.unwrap();
    let reply = client.command(["MGET", "a", "b", "c"]).read_only().await.unwrap();
    let bytes = |text: &'static str| Resp::Bytes(Bytes::from(text));
    assert_eq!(reply, Resp::Array(vec![bytes("1"), bytes("2"), Resp::Null]));
    let size = client.command(["DBSIZE"]).read_only().await.unwrap();
    assert_eq!(size.integer(), Some(2), "of all cores");
    let config = client.command(["CONFIG", "GET", "maxmemory"]).read_only().await.unwrap();
    assert!(config.field("maxmemory").is_some(), "{config:?}");
    let error = client.command(["NOSUCH"]).await.unwrap_err();
    let Error::Rejected { operation: "command", status: Status::Error, message, .. } = &error
    else {
        panic!("{error}")
    };
    assert!(message.starts_with("ERR unknown command"), "{message}");
    let error = client.command(["MONITOR"]).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::NotAllowed));
    client.command(["FLUSHALL"]).await.unwrap();
    assert_eq!(client.get_many(["a", "b"]).await.unwrap(), vec![None, None]);
}

#[tokio::test]
async fn durability_and_sessions() {
    let Some(server) = server(2) else { return };
    let client = client(&server).await;
    client.set("k", "v").durability(Durability::Memory).await.unwrap();
    let error = client.set("k", "w").durability(Durability::Sync).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::DurabilityUnavailable));
    assert_eq!(client.get("k").await.unwrap().unwrap(), "v");
    let session = Session::new();
    client.set("k", "x").session(&session).await.unwrap();
    client.set_many([("a", "1"), ("b", "2"), ("c", "3")]).session(&session).await.unwrap();
    assert!(!session.is_empty());
    assert_eq!(client.get("k").session(&session).await.unwrap().unwrap(), "x");
    let values = client.get_many(["a", "k", "b", "c"]).session(&session).await.unwrap();
    assert!(values.iter().all(Option::is_some));
    // The server that takes this one's place knows that it can't know.
    drop(server);
    let server = self::server(2).expect("as before");
    let client = self::client(&server).await;
    let error = client.get("k").session(&session).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::TokenExpired), "{error}");
}

#[tokio::test]
async fn a_password_is_given_on_every_connection() {
    let launch = Launch::shards(2).core_ports().binary().flag("--requirepass", "secret");
    let Some(server) = start(&launch) else { return };
    let address = server.binary_address().to_string();
    let builder = Client::builder().timeout(LONG);
    for (builder, status) in [
        (builder.clone(), Status::AuthRequired),
        (builder.clone().password("wrong"), Status::AuthFailed),
    ] {
        let error = builder.connect(&address).await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error}");
        assert!(error.to_string().contains("refused the connection"), "{status:?}: {error}");
    }
    let client = builder.password("secret").connect(&address).await.unwrap();
    for key in keys_over_shards("k:", 2, 10) {
        client.set(&key, "v").await.unwrap();
    }
}

#[tokio::test]
async fn the_example_runs() {
    let Some(server) = server(2) else { return };
    let client = client(&server).await;
    assert_eq!(example::shop(&client, "ada").await.unwrap(), "visit 1: apples bread cheese");
    assert_eq!(example::shop(&client, "ada").await.unwrap(), "visit 2: apples bread cheese");
}

/// Batches that were run with a shard borrowed from another core, and that were sent to one.
fn foreign_batches(server: &Server) -> [u64; 2] {
    let mut admin = server.client();
    ["batches_borrowed", "batches_by_message"].map(|name| info_number(&mut admin, "ringmain", name))
}

#[tokio::test]
async fn the_server_has_nothing_to_forward() {
    let Some(server) = server(2) else { return };
    let client = client(&server).await;
    if client.activity().cores < 2 {
        return skip("it takes two cores");
    }
    let keys = keys_over_shards("k:", 2, 100);
    let before = foreign_batches(&server);
    let mut tasks = Vec::new();
    for key in &keys {
        tasks.push(tokio::spawn(client.set(key, "v").into_future()));
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    for key in &keys {
        client.get(key).await.unwrap().unwrap();
        client.increment(format!("{{{key}}}n"), 1).await.unwrap();
    }
    client.get_many(&keys).await.unwrap();
    client.set_many(keys.iter().map(|key| (key, "w"))).await.unwrap();
    assert_eq!(foreign_batches(&server), before, "nothing was done for another core");
    // The counters would show it: here the server is asked for keys of both cores at once.
    let mget: Vec<String> = ["MGET".to_owned()].into_iter().chain(keys).collect();
    client.command(mget).read_only().await.unwrap();
    assert_ne!(foreign_batches(&server), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_move_in_mid_load_fail_nothing() {
    let Some(server) = server(4) else { return };
    let client = client(&server).await;
    let cores = u16::try_from(client.activity().cores).unwrap();
    if cores < 2 {
        return skip("it takes two cores");
    }
    let keys = Arc::new(keys_over_shards("k:", 4, 16));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (client, keys, stop) = (client.clone(), keys.clone(), stop.clone());
            tokio::spawn(async move {
                let mut done = HashMap::<String, i64>::new();
                let mut at = 0;
                while !stop.load(Ordering::Relaxed) {
                    let key = &keys[at % keys.len()];
                    client.increment(key, 1).await.unwrap();
                    let value = client.get(key).await.unwrap().unwrap();
                    assert!(value.text().unwrap().parse::<i64>().unwrap() > 0);
                    *done.entry(key.clone()).or_default() += 1;
                    at += 1;
                }
                done
            })
        })
        .collect();
    let mut admin = server.client();
    for round in 0..24_u16 {
        let (shard, core) = (round % 4, (round / 4 + round) % cores);
        let before = client.activity();
        admin.ok(&format!("SHARD MOVE {shard} {core}"));
        tokio::task::block_in_place(|| {
            wait_until("requests go on", || client.activity().requests > before.requests + 40);
        });
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = HashMap::<String, i64>::new();
    for task in tasks {
        for (key, count) in task.await.unwrap() {
            *done.entry(key).or_default() += count;
        }
    }
    for (key, count) in &done {
        let value = client.get(key).await.unwrap().unwrap();
        assert_eq!(value, count.to_string().as_str(), "{key}");
    }
    let activity = client.activity();
    assert!(activity.topologies > 10, "{activity:?}");
    assert_eq!(activity.retries, 0, "{activity:?}");
    // The last topology is followed: nothing is forwarded any more.
    let epoch = info_number(&mut admin, "ringmain", "topology_epoch");
    tokio::task::block_in_place(|| {
        wait_until("the last epoch", || client.activity().epoch == epoch);
    });
    let before = foreign_batches(&server);
    for key in keys.iter() {
        client.get(key).await.unwrap();
    }
    assert_eq!(foreign_batches(&server), before);
}
