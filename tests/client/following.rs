//! Topologies that change: pushed, asked for, learned from an answer; in mid-load nothing fails.

use std::collections::HashMap;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringmain::client::{Client, Status};
use ringmain::protocol::binary::Opcode;
use ringmain::protocol::binary::body::Features;
use tokio::time::timeout;

use crate::fake::{Asked, Fake, Manner};
use crate::harness::PATIENCE;
use crate::harness::slots::keys_over_shards;

const LONG: Duration = Duration::from_secs(20);

async fn client(fake: &Fake) -> Client {
    let builder = Client::builder().timeout(LONG);
    builder.connect(&fake.address()).await.expect("the fake answers")
}

/// Asks for `key`, and gives the port that was asked.
async fn port_of(client: &Client, fake: &mut Fake, key: &str) -> usize {
    let (value, port) = tokio::join!(client.get(key).into_future(), async {
        let asked = fake.next_for(key).await;
        asked.ok("").await;
        asked.port()
    });
    value.expect("it was answered");
    port
}

async fn wait_for_epoch(client: &Client, epoch: u64) {
    timeout(PATIENCE, async {
        while client.activity().epoch != epoch {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the epoch comes");
}

#[tokio::test]
async fn each_key_goes_to_its_owner() {
    let mut fake = Fake::start(3).await;
    let client = client(&fake).await;
    for (index, key) in keys_over_shards("k:", 3, 30).iter().enumerate() {
        assert_eq!(port_of(&client, &mut fake, key).await, 1 + index % 3, "{key}");
    }
    // What is about no key, or all, goes to the front.
    let (_, port) = tokio::join!(client.stats("server").into_future(), async {
        let asked = fake.next().await;
        asked.ok("").await;
        asked.port()
    });
    assert_eq!(port, 0);
    // The owner of a command's key is known if it is named.
    let keys = keys_over_shards("k:", 3, 3);
    for (index, key) in keys.iter().enumerate() {
        let (_, port) = tokio::join!(client.command(["TYPE", key]).key(key).into_future(), async {
            let asked = fake.next().await;
            asked.ok("+string\r\n").await;
            asked.port()
        });
        assert_eq!(port, 1 + index);
    }
}

#[tokio::test]
async fn a_pushed_topology_is_followed() {
    let mut fake = Fake::start(2).await;
    let client = client(&fake).await;
    let keys = keys_over_shards("k:", 2, 2);
    assert_eq!(port_of(&client, &mut fake, &keys[0]).await, 1);
    assert_eq!(port_of(&client, &mut fake, &keys[1]).await, 2);
    fake.push(fake.all_on(1)).await;
    wait_for_epoch(&client, 2).await;
    for key in &keys {
        assert_eq!(port_of(&client, &mut fake, key).await, 2);
    }
    // An older one, and one that makes no sense, change nothing.
    let mut old = fake.topology();
    old.ranges.iter_mut().for_each(|range| range.core.0 = 0);
    old.epoch = 1;
    let mut broken = fake.all_on(0);
    broken.ranges.pop();
    let newest = fake.topology();
    fake.push(old).await;
    fake.push(broken).await;
    fake.push(newest).await;
    for key in &keys {
        assert_eq!(port_of(&client, &mut fake, key).await, 2);
    }
    assert_eq!(client.activity().topologies, 2);
    assert_eq!(fake.accepted(), 3, "no connection was lost over it");
}

#[tokio::test]
async fn a_server_that_does_not_push_is_asked_when_a_frame_names_another_epoch() {
    let manner = Manner { features: Features::empty(), ..Manner::default() };
    let mut fake = Fake::with(2, manner).await;
    let client = client(&fake).await;
    let keys = keys_over_shards("k:", 2, 2);
    assert_eq!(port_of(&client, &mut fake, &keys[0]).await, 1);
    fake.set_topology(fake.all_on(1));
    assert_eq!(port_of(&client, &mut fake, &keys[0]).await, 1);
    wait_for_epoch(&client, 2).await;
    assert_eq!(port_of(&client, &mut fake, &keys[0]).await, 2);
}

#[tokio::test]
async fn who_is_sent_on_asks_where_to_and_goes_there() {
    let manner = Manner { features: Features::CLUSTER, ..Manner::default() };
    let mut fake = Fake::with(2, manner).await;
    let client = client(&fake).await;
    let key = &keys_over_shards("k:", 2, 1)[0];
    let (sum, ()) = tokio::join!(client.increment(key, 1).into_future(), async {
        let asked = fake.next_for(key).await;
        assert_eq!(asked.port(), 1);
        fake.set_topology(fake.all_on(1));
        asked.reply(Status::Moved, 0, b"MOVED 1 127.0.0.1:1").await;
        let asked = loop {
            let asked = fake.next_for(key).await;
            if asked.port() == 2 {
                break asked;
            }
            asked.reply(Status::Moved, 0, b"MOVED 1 127.0.0.1:1").await;
        };
        asked.ok(5_i64.to_le_bytes()).await;
    });
    assert_eq!(sum.unwrap().value, 5);
}

#[tokio::test]
async fn a_server_that_always_sends_on_is_given_up() {
    let mut fake = Fake::start(1).await;
    let ms = Duration::from_millis;
    let client = Client::builder()
        .timeout(LONG)
        .backoff(ms(1), ms(2))
        .connect(&fake.address())
        .await
        .unwrap();
    let answer = async {
        loop {
            fake.next_for("k").await.reply(Status::Moved, 0, b"MOVED 1 127.0.0.1:1").await;
        }
    };
    let error = tokio::select! {
        result = client.get("k").into_future() => result.unwrap_err(),
        () = answer => unreachable!("it answers for ever"),
    };
    assert_eq!(error.status(), Some(Status::Moved), "{error}");
}

#[tokio::test]
async fn many_keys_are_asked_of_their_owners_at_the_same_time() {
    let mut fake = Fake::start(2).await;
    let client = client(&fake).await;
    let keys = keys_over_shards("k:", 2, 7);
    let task = tokio::spawn(client.get_many(&keys).into_future());
    let (first, second) = (fake.next().await, fake.next().await);
    assert_ne!(first.port(), second.port());
    for asked in [second, first] {
        asked.ok(values_like_keys(&asked)).await;
    }
    let values = task.await.unwrap().unwrap();
    assert_eq!(values.len(), 7);
    for (key, value) in keys.iter().zip(values) {
        assert_eq!(value.unwrap(), key.as_str());
    }
    // One that fails fails the whole, when all have ended.
    let task = tokio::spawn(client.get_many(&keys).into_future());
    let (first, second) = (fake.next().await, fake.next().await);
    first.reply(Status::OutOfMemory, 0, b"OOM no").await;
    second.ok(values_like_keys(&second)).await;
    assert_eq!(task.await.unwrap().unwrap_err().status(), Some(Status::OutOfMemory));
    assert_eq!(client.get_many::<&str>([]).await.unwrap(), vec![]);
    client.set_many::<&str, &str>([]).await.unwrap();
}

/// The reply to a get-many in which each key has itself as its value.
fn values_like_keys(asked: &Asked) -> Vec<u8> {
    use ringmain::protocol::binary::body::{Found, read_list, write_value};
    assert_eq!(asked.opcode(), Opcode::GetMany);
    let keys = read_list(&asked.value).expect("a list");
    let mut body = u32::try_from(keys.len()).expect("few keys").to_le_bytes().to_vec();
    keys.iter().for_each(|key| write_value(&mut body, Some(Found { version: 1, value: key })));
    body
}

#[tokio::test]
async fn in_cluster_mode_a_request_names_keys_of_one_slot() {
    let manner = Manner { features: Features::CLUSTER, ..Manner::default() };
    let mut fake = Fake::with(1, manner).await;
    let client = client(&fake).await;
    let task = tokio::spawn(client.get_many(["{a}1", "{b}1", "{a}2"]).into_future());
    let (first, second) = (fake.next().await, fake.next().await);
    assert_ne!(first.head.slot, second.head.slot);
    for asked in [first, second] {
        asked.ok(values_like_keys(&asked)).await;
    }
    let values = task.await.unwrap().unwrap();
    assert_eq!(values[1].as_ref().unwrap(), &"{b}1");
    assert_eq!(values[2].as_ref().unwrap(), &"{a}2");
}

/// A key-value store behind the fake's ports: every port serves every key, as the server does.
fn store(count: Arc<Mutex<HashMap<Vec<u8>, i64>>>) -> impl Fn(Asked) + Send {
    move |asked| {
        let reply = {
            let mut count = count.lock().expect("no task has panicked");
            match asked.opcode() {
                Opcode::Increment => {
                    let sum = count.entry(asked.key.clone()).or_default();
                    *sum += i64::from_le_bytes(asked.value.clone().try_into().expect("a number"));
                    sum.to_le_bytes().to_vec()
                }
                Opcode::Get => count.get(&asked.key).copied().unwrap_or(0).to_string().into_bytes(),
                other => panic!("{other:?}"),
            }
        };
        tokio::spawn(async move { asked.ok(reply).await });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topologies_pushed_in_mid_load_fail_nothing() {
    let fake = Fake::start(3).await;
    let client = client(&fake).await;
    let counts = Arc::new(Mutex::new(HashMap::new()));
    let fake = fake.answer_all(store(counts.clone()));
    let keys = Arc::new(keys_over_shards("k:", 3, 12));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (client, keys, stop) = (client.clone(), keys.clone(), stop.clone());
            tokio::spawn(async move {
                let mut done = 0_i64;
                while !stop.load(Ordering::Relaxed) {
                    let key = &keys[usize::try_from(done).unwrap() * 5 % keys.len()];
                    client
                        .increment(key, 1)
                        .await
                        .unwrap_or_else(|error| panic!("{task}: {error}"));
                    client.get(key).await.unwrap().unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    for round in 0..20_u16 {
        let before = client.activity().requests;
        fake.push_all_on(round % 3).await;
        wait_for_epoch(&client, u64::from(round) + 2).await;
        timeout(PATIENCE, async {
            while client.activity().requests < before + 50 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("requests go on");
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    assert_eq!(counts.lock().unwrap().values().sum::<i64>(), done, "each was done once");
    let activity = client.activity();
    assert_eq!((activity.topologies, activity.retries), (21, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_leaves_gives_its_requests_to_the_others() {
    let fake = Fake::start(2).await;
    let client = client(&fake).await;
    let mut alone = fake.all_on(0);
    alone.cores.truncate(1);
    let counts = Arc::new(Mutex::new(HashMap::new()));
    // Core 1 accepts no longer: what waits for it must not wait until its time is up.
    fake.wait_for_connections(3).await;
    fake.set_mute(true);
    fake.close_all();
    fake.wait_for_accepted(6).await;
    let keys = keys_over_shards("k:", 2, 10);
    let tasks: Vec<_> =
        keys.iter().map(|key| tokio::spawn(client.increment(key, 1).into_future())).collect();
    fake.set_topology(alone);
    fake.set_mute(false);
    let fake = fake.answer_all(store(counts.clone()));
    fake.close_all();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().value, 1);
    }
    assert_eq!(client.activity().cores, 1);
    assert_eq!(counts.lock().unwrap().len(), 10);
}

#[tokio::test]
async fn a_server_that_has_started_anew_is_followed_though_its_epochs_begin_anew() {
    let mut fake = Fake::start(2).await;
    let client = client(&fake).await;
    let key = &keys_over_shards("k:", 2, 1)[0];
    let mut first = fake.topology();
    for core in [1, 0, 1, 0] {
        fake.push(fake.all_on(core)).await;
    }
    wait_for_epoch(&client, 5).await;
    assert_eq!(port_of(&client, &mut fake, key).await, 1);
    first.ranges.iter_mut().for_each(|range| range.core.0 = 1);
    fake.restart(first);
    wait_for_epoch(&client, 1).await;
    assert_eq!(port_of(&client, &mut fake, key).await, 2);
}
