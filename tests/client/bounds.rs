//! What is bounded, and what callers who give up leave behind.

use std::future::{IntoFuture, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ringmain::client::{Bytes, Cause, Client, Error, Session, Status};
use ringmain::protocol::binary::body::{Token, write_list};
use ringmain::protocol::binary::{Durability, FrameLimits, Opcode, RequestFlags};
use ringmain::types::ShardId;

use crate::fake::{Fake, Manner};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(60);

/// Polls a future once.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

#[tokio::test]
async fn requests_beyond_the_bound_wait_for_their_turn() {
    let mut fake = Fake::start(1).await;
    let client =
        Client::builder().timeout(LONG).in_flight(2).connect(&fake.address()).await.unwrap();
    let tasks: Vec<_> =
        (0..3).map(|index| tokio::spawn(client.get(format!("{index}")).into_future())).collect();
    let first = fake.next_for("0").await;
    let second = fake.next_for("1").await;
    assert_eq!(client.activity().in_flight, 2);
    // A fourth gives up before it is its turn, and is never sent.
    let error = client.increment("never", 1).timeout(SHORT).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }) && error.is_not_done(), "{error}");
    assert!(fake.is_quiet());
    second.ok("one").await;
    let third = fake.next_for("2").await;
    first.ok("zero").await;
    third.ok("two").await;
    for (task, value) in tasks.into_iter().zip(["zero", "one", "two"]) {
        assert_eq!(task.await.unwrap().unwrap().unwrap(), value);
    }
    assert_eq!(client.activity().in_flight, 0);
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_behind() {
    let mut fake = Fake::start(1).await;
    let client =
        Client::builder().timeout(LONG).in_flight(2).connect(&fake.address()).await.unwrap();
    // Never awaited: never sent.
    drop(client.increment("unawaited", 1).into_future());
    // Dropped once it was sent: its reply goes nowhere, and its place is free again.
    {
        let mut request = pin!(client.increment("sent", 1).into_future());
        assert!(poll_once(request.as_mut()).await.is_pending());
        let asked = fake.next_for("sent").await;
        let other = tokio::spawn(client.get("other").into_future());
        let other_asked = fake.next_for("other").await;
        // Dropped while it waits for its turn.
        let mut waiting = Box::pin(client.increment("waiting", 1).into_future());
        assert!(poll_once(waiting.as_mut()).await.is_pending());
        drop(waiting);
        assert_eq!(client.activity().in_flight, 2);
        asked.ok(1_i64.to_le_bytes()).await;
        other_asked.ok("value").await;
        assert_eq!(other.await.unwrap().unwrap().unwrap(), "value");
    }
    assert_eq!(client.activity().in_flight, 0);
    for index in 0..10 {
        let key = format!("{index}");
        let (value, ()) = tokio::join!(client.get(&key).into_future(), async {
            fake.next_for(&key).await.ok(&key).await;
        });
        assert_eq!(value.unwrap().unwrap(), key.as_str());
    }
    assert!(fake.is_quiet());
}

#[tokio::test]
async fn a_future_dropped_before_its_connection_took_it_is_never_sent() {
    let mut fake = Fake::start(1).await;
    let client = Client::builder().timeout(LONG).connect(&fake.address()).await.unwrap();
    fake.wait_for_connections(2).await;
    {
        // On one thread nobody takes it before this task waits.
        let mut request = pin!(client.increment("dropped", 1).into_future());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(request.as_mut().poll(&mut cx).is_pending());
    }
    let (_, ()) = tokio::join!(client.get("next").into_future(), async {
        fake.next_for("next").await.ok("").await;
    });
    assert!(fake.is_quiet());
}

#[tokio::test]
async fn what_callers_ask_at_the_same_moment_leaves_in_one_frame() {
    let mut fake = Fake::start(1).await;
    let client = Client::builder().timeout(LONG).connect(&fake.address()).await.unwrap();
    let (_, ()) = tokio::join!(client.get("first").into_future(), async {
        fake.next_for("first").await.ok("").await;
    });
    let before = client.activity();
    let tasks: Vec<_> =
        (0..50).map(|index| tokio::spawn(client.get(format!("{index}")).into_future())).collect();
    let mut frames = Vec::new();
    for _ in 0..50 {
        let asked = fake.next().await;
        frames.push(asked.frame);
        asked.ok("").await;
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let after = client.activity();
    frames.dedup();
    assert_eq!(frames.len(), 1);
    assert_eq!(after.frames_sent - before.frames_sent, 1);
    assert_eq!(after.requests_sent - before.requests_sent, 50);
}

#[tokio::test]
async fn a_frame_holds_no_more_than_the_server_takes() {
    let limits = FrameLimits { items_max: 7, body_bytes_max: 5_000, value_bytes_max: 1_000 };
    let manner = Manner { limits, key_bytes_max: 100, ..Manner::default() };
    let mut fake = Fake::with(1, manner).await;
    let client = Client::builder().timeout(LONG).connect(&fake.address()).await.unwrap();
    let long = |bytes: usize| "x".repeat(bytes);
    for (error, what, bytes_max) in [
        (client.get(long(101)).await.unwrap_err(), "key", 100),
        (client.set("k", long(1_001)).await.unwrap_err(), "value", 1_000),
    ] {
        let Error::TooLong { what: is, bytes_max: most, .. } = &error else { panic!("{error}") };
        assert_eq!((*is, *most), (what, bytes_max));
        assert!(error.is_not_done());
    }
    let sets: Vec<_> = (0..20)
        .map(|index| tokio::spawn(client.set(format!("{index}"), long(1_000)).into_future()))
        .collect();
    let gets: Vec<_> =
        (0..20).map(|index| tokio::spawn(client.get(format!("{index}")).into_future())).collect();
    let mut frames = std::collections::BTreeMap::<usize, (usize, usize)>::new();
    for _ in 0..40 {
        let asked = fake.next().await;
        let (items, bytes) = frames.entry(asked.frame).or_default();
        *items += 1;
        *bytes += asked.head.flags.extras_bytes() + asked.key.len() + asked.value.len();
        asked.ok("").await;
    }
    for task in sets {
        task.await.unwrap().unwrap();
    }
    for task in gets {
        task.await.unwrap().unwrap();
    }
    assert!(frames.values().all(|(items, bytes)| *items <= 7 && *bytes <= 5_000), "{frames:?}");
    assert_eq!(fake.accepted(), 2);
}

#[tokio::test]
async fn large_values_go_both_ways() {
    let mut fake = Fake::start(1).await;
    let client = Client::builder().timeout(LONG).connect(&fake.address()).await.unwrap();
    let large: Vec<u8> = (0..20_000_000_u32).map(|index| index.to_le_bytes()[1]).collect();
    let (version, small, ()) = tokio::join!(
        client.set("large", large.clone()).into_future(),
        client.set("small", "s").into_future(),
        async {
            let asked = fake.next_for("large").await;
            assert!(asked.value == large);
            asked.ok("").await;
            fake.next_for("small").await.ok("").await;
        }
    );
    assert!(version.is_ok() && small.is_ok());
    let (value, ()) = tokio::join!(client.get("large").into_future(), async {
        fake.next_for("large").await.ok(&large).await;
    });
    assert!(value.unwrap().unwrap().bytes == large);
}

#[tokio::test]
async fn a_reply_beyond_the_bound_is_not_taken() {
    let mut fake = Fake::start(1).await;
    let client = Client::builder()
        .timeout(LONG)
        .reply_bytes_max(1_000)
        .connect(&fake.address())
        .await
        .unwrap();
    let (reply, ()) = tokio::join!(client.command(["X"]).into_future(), async {
        fake.next().await.ok([b'x'; 1_001]).await;
    });
    let error = reply.unwrap_err();
    assert!(matches!(&error, Error::UnknownFate { cause: Cause::Protocol(_), .. }), "{error}");
    assert!(error.to_string().contains("a value of 1001 bytes: 1000 are taken"), "{error}");
}

#[tokio::test]
async fn connections_end_with_the_last_clone() {
    let fake = Fake::start(3).await;
    let client = Client::builder().connections_per_core(2).connect(&fake.address()).await.unwrap();
    fake.wait_for_connections(1 + 3 * 2).await;
    let clone = client.clone();
    drop(client);
    assert_eq!(clone.activity().cores, 3);
    drop(clone);
    fake.wait_for_connections(0).await;
}

#[tokio::test]
async fn requests_for_one_key_take_one_connection_in_order() {
    let mut fake = Fake::start(2).await;
    let client = Client::builder()
        .timeout(LONG)
        .connections_per_core(3)
        .connect(&fake.address())
        .await
        .unwrap();
    let appends: Vec<_> = (0..30)
        .map(|index| tokio::spawn(client.append("log", format!("{index} ")).into_future()))
        .collect();
    let mut value = Vec::new();
    for _ in 0..30 {
        let asked = fake.next_for("log").await;
        value.extend_from_slice(&asked.value);
        asked.ok((value.len() as u64).to_le_bytes()).await;
    }
    for append in appends {
        append.await.unwrap().unwrap();
    }
    let expect: String = (0..30).map(|index| format!("{index} ")).collect();
    assert_eq!(value, expect.as_bytes());
}

#[tokio::test]
async fn durability_goes_with_writes_and_is_never_lowered() {
    let mut fake = Fake::start(1).await;
    let client = Client::builder()
        .timeout(LONG)
        .durability(Durability::Async)
        .connect(&fake.address())
        .await
        .unwrap();
    let (_, durability) = tokio::join!(client.set("k", "v").into_future(), async {
        let asked = fake.next_for("k").await;
        asked.ok("").await;
        asked.head.durability
    });
    assert_eq!(durability, Durability::Async as u8);
    let (result, ()) =
        tokio::join!(client.set("k", "v").durability(Durability::Sync).into_future(), async {
            let asked = fake.next_for("k").await;
            assert_eq!(asked.head.durability, Durability::Sync as u8);
            asked.reply(Status::DurabilityUnavailable, 0, b"NODURABILITY no log").await;
        });
    let error = result.unwrap_err();
    assert_eq!(error.status(), Some(Status::DurabilityUnavailable));
    assert!(error.is_not_done() && !error.is_transient());
    assert!(fake.is_quiet());
    let (_, durability) = tokio::join!(client.get("k").into_future(), async {
        let asked = fake.next_for("k").await;
        asked.ok("").await;
        asked.head.durability
    });
    assert_eq!(durability, Durability::Default as u8);
}

#[tokio::test]
async fn a_session_takes_tokens_from_writes_to_reads() {
    let mut fake = Fake::start(1).await;
    let client = Client::builder().timeout(LONG).connect(&fake.address()).await.unwrap();
    let session = Session::new();
    let token_of_read = async |fake: &mut Fake| {
        let (_, token) = tokio::join!(client.get("k").session(&session).into_future(), async {
            let asked = fake.next_for("k").await;
            asked.ok("").await;
            asked.extras.token
        });
        token
    };
    assert_eq!(token_of_read(&mut fake).await, None);
    let (_, ()) = tokio::join!(client.set("k", "v").session(&session).into_future(), async {
        fake.next_for("k").await.reply(Status::Ok, 77, b"").await;
    });
    let token = |sequence| Some(Token { shard: ShardId(0), sequence });
    assert_eq!(token_of_read(&mut fake).await, token(77));
    // A refused write has written nothing.
    let (_, ()) =
        tokio::join!(client.set("k", "v").if_absent().session(&session).into_future(), async {
            fake.next_for("k").await.reply(Status::Exists, 99, b"").await
        });
    assert_eq!(token_of_read(&mut fake).await, token(77));
    let mut tokens = 1_u32.to_le_bytes().to_vec();
    Token { shard: ShardId(0), sequence: 80 }.write(&mut tokens);
    let (result, ()) =
        tokio::join!(client.set_many([("k", "v")]).session(&session).into_future(), async {
            fake.next().await.reply(Status::Ok, 80, &tokens).await;
        });
    result.unwrap();
    let (_, many) = tokio::join!(client.get_many(["k"]).session(&session).into_future(), async {
        let asked = fake.next().await;
        asked.ok([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]).await;
        asked.extras.token
    });
    assert_eq!(many, token(80));
    // A follower that is behind is asked again.
    let (value, ()) = tokio::join!(client.get("k").session(&session).into_future(), async {
        fake.next_for("k").await.reply(Status::TokenNotReached, 0, b"TOKENNOTREACHED").await;
        fake.next_for("k").await.ok("v").await;
    });
    assert_eq!(value.unwrap().unwrap(), "v");
    // After a restart the session says so, until it is cleared.
    let (value, ()) = tokio::join!(client.get("k").session(&session).into_future(), async {
        fake.next_for("k").await.reply(Status::TokenExpired, 0, b"TOKENEXPIRED").await;
    });
    assert_eq!(value.unwrap_err().status(), Some(Status::TokenExpired));
    session.clear();
    assert_eq!(token_of_read(&mut fake).await, None);
}

#[tokio::test]
async fn requests_say_what_was_asked_for() {
    let mut fake = Fake::start(1).await;
    let client = Client::builder().timeout(LONG).connect(&fake.address()).await.unwrap();
    let ms = Duration::from_millis;
    let set = || client.set("k", "v");
    let time = std::time::UNIX_EPOCH + ms(1_900_000_000_123);
    let cases = [
        (spawn(set().ttl(ms(1_500))), RequestFlags::empty(), Some(1_500)),
        (spawn(set().ttl(Duration::from_micros(10))), RequestFlags::empty(), Some(1)),
        (spawn(set().expire_at(time)), RequestFlags::TTL_IS_TIME, Some(1_900_000_000_123)),
        (spawn(set().ttl(ms(5)).keep_ttl()), RequestFlags::KEEP_TTL, None),
        (spawn(set().keep_ttl().ttl(ms(5))), RequestFlags::empty(), Some(5)),
        (spawn(set().if_absent().ttl(ms(5))), RequestFlags::IF_ABSENT, Some(5)),
        (spawn(set().if_present()), RequestFlags::IF_PRESENT, None),
        (spawn(client.expire("k", ms(7))), RequestFlags::empty(), Some(7)),
        (spawn(client.expire_at("k", time)), RequestFlags::TTL_IS_TIME, Some(1_900_000_000_123)),
        (spawn(client.persist("k")), RequestFlags::empty(), None),
    ];
    const EXTRAS: RequestFlags = RequestFlags::TTL.union(RequestFlags::DEADLINE);
    for (task, flags, ttl_ms) in cases {
        let asked = fake.next_for("k").await;
        assert_eq!((asked.head.flags - EXTRAS, asked.extras.ttl_ms), (flags, ttl_ms));
        asked.ok("").await;
        task.await.unwrap();
    }
    let (_, ()) =
        tokio::join!(client.set_many([("k", Bytes::from("v"))]).ttl(ms(9)).into_future(), async {
            let asked = fake.next().await;
            let mut list = Vec::new();
            write_list(&mut list, &["k", "v"]);
            assert_eq!((asked.opcode(), asked.value.clone()), (Opcode::SetMany, list));
            assert_eq!(asked.extras.ttl_ms, Some(9));
            asked.ok([0; 4]).await;
        });
}

fn spawn<O: ringmain::client::operation::Operation>(
    request: ringmain::client::Request<O>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        request.await.expect("it is answered");
    })
}
