//! What happens to requests when the server, or the way to it, fails: which are sent again, which are not,
//! and what the caller is told.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use ringmain::client::{Cause, Client, Error, Outcome, Status, Version};
use ringmain::protocol::binary::{Opcode, ReplyFrame, ReplyHead};
use tokio::time::timeout;

use crate::fake::{Fake, Manner};
use crate::harness::PATIENCE;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(60);

async fn client(fake: &Fake) -> Client {
    let builder = Client::builder().timeout(LONG);
    builder.connect(&fake.address()).await.expect("the fake answers")
}

#[tokio::test]
async fn replies_in_any_order_reach_their_callers() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let keys: Vec<String> = (0..20).map(|index| format!("key:{index}")).collect();
    let tasks: Vec<_> =
        keys.iter().map(|key| tokio::spawn(client.get(key).into_future())).collect();
    let mut asked = Vec::new();
    for _ in &keys {
        asked.push(fake.next().await);
    }
    for asked in asked.iter().rev() {
        asked.ok(&asked.key).await;
    }
    for (task, key) in tasks.into_iter().zip(&keys) {
        assert_eq!(task.await.unwrap().unwrap().unwrap(), key.as_str());
    }
}

#[tokio::test]
async fn a_read_that_is_not_answered_times_out_and_its_late_reply_harms_nobody() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let error = client.get("slow").timeout(SHORT).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { operation: "get", waited: SHORT, .. }), "{error}");
    assert!(error.is_not_done() && error.is_transient());
    let late = fake.next_for("slow").await;
    let task = tokio::spawn(client.get("next").into_future());
    let asked = fake.next_for("next").await;
    late.ok("late").await;
    asked.ok("in time").await;
    assert_eq!(task.await.unwrap().unwrap().unwrap(), "in time");
    assert_eq!(fake.accepted(), 2, "front and core: the same connections");
}

#[tokio::test]
async fn a_write_that_is_not_answered_is_of_unknown_fate() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    for (name, error) in [
        ("set", client.set("k", "v").timeout(SHORT).await.unwrap_err()),
        ("increment", client.increment("k", 1).timeout(SHORT).await.unwrap_err()),
        ("append", client.append("k", "v").timeout(SHORT).await.unwrap_err()),
        ("delete", client.delete("k").timeout(SHORT).await.unwrap_err()),
        ("set-many", client.set_many([("k", "v")]).timeout(SHORT).await.unwrap_err()),
        ("command", client.command(["LPUSH", "k", "v"]).timeout(SHORT).await.unwrap_err()),
    ] {
        let Error::UnknownFate { operation, cause, .. } = &error else { panic!("{error}") };
        assert_eq!((*operation, cause), (name, &Cause::NoReply(SHORT)));
        assert!(!error.is_not_done() && error.is_transient());
        fake.next().await;
    }
    assert!(fake.is_quiet(), "nothing was sent again");
}

#[tokio::test]
async fn a_read_is_sent_again_when_the_connection_closes_in_the_middle_of_its_reply() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let task = tokio::spawn(client.get("k").into_future());
    let asked = fake.next_for("k").await;
    let reply = asked.reply_bytes(Status::Ok, 5, b"value");
    asked.raw(&reply[..reply.len() - 2]).await;
    asked.close();
    fake.next_for("k").await.ok("value").await;
    assert_eq!(task.await.unwrap().unwrap().unwrap(), "value");
    assert_eq!(client.activity().retries, 1);
}

#[tokio::test]
async fn a_write_that_was_sent_is_not_sent_again_when_the_connection_closes() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let client = &client;
    let writes: [(&str, Request); 5] = [
        ("increment", Box::pin(async { client.increment("k", 1).await.map(drop) })),
        ("append", Box::pin(async { client.append("k", "v").await.map(drop) })),
        ("set", Box::pin(async { client.set("k", "v").await.map(drop) })),
        ("set", Box::pin(async { client.set("k", "v").if_absent().await.map(drop) })),
        ("delete", Box::pin(async { client.delete("k").await.map(drop) })),
    ];
    for (name, write) in writes {
        let ((), result) = tokio::join!(async { fake.next_for("k").await.close() }, write);
        let error = result.unwrap_err();
        let Error::UnknownFate { operation, cause, address } = &error else { panic!("{error}") };
        assert_eq!((*operation, cause), (name, &Cause::Closed));
        assert!(address.starts_with("127.0.0.1:"));
        assert!(error.to_string().contains("unknown whether"), "{error}");
    }
    assert!(fake.is_quiet(), "nothing was sent again");
    // The connection is a new one, and works.
    let ((), sum) = tokio::join!(
        async { fake.next_for("k").await.ok(7_i64.to_le_bytes()).await },
        client.increment("k", 1).into_future(),
    );
    assert_eq!(sum.unwrap().value, 7);
    assert_eq!(client.activity().retries, 0);
}

type Request<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

#[tokio::test]
async fn what_may_be_done_twice_is_sent_again() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let (version, ()) = tokio::join!(client.set("k", "v").repeatable().into_future(), async {
        fake.next_for("k").await.close();
        fake.next_for("k").await.reply(Status::Ok, 9, b"").await;
    });
    assert_eq!(version.unwrap(), Version(9));
    // What is still not known at the end is said to be unknown.
    let request = client.set("k", "v").repeatable().timeout(Duration::from_millis(300));
    let (result, ()) = tokio::join!(request.into_future(), async {
        fake.next_for("k").await.close();
        fake.next_for("k").await;
    });
    assert!(matches!(result, Err(Error::UnknownFate { .. })), "{result:?}");
    let command = client.command(["EXISTS", "k"]).read_only();
    let (reply, ()) = tokio::join!(command.into_future(), async {
        fake.next().await.close();
        fake.next().await.ok(":1\r\n").await;
    });
    assert_eq!(reply.unwrap().integer(), Some(1));
}

#[tokio::test]
async fn a_write_that_names_a_version_is_sent_again_and_done_once() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    // It had not been done.
    let (outcome, ()) =
        tokio::join!(client.compare_and_swap("k", "v", Version(5)).into_future(), async {
            fake.next_for("k").await.close();
            let again = fake.next_for("k").await;
            assert_eq!((again.opcode(), again.extras.version), (Opcode::CompareAndSwap, Some(5)));
            again.reply(Status::Ok, 6, b"").await;
        });
    assert_eq!(outcome.unwrap(), Outcome::Done(Version(6)));
    // It may have been done, or somebody else was faster.
    for status in [Status::VersionMismatch, Status::NotFound] {
        let request = client.set("k", "v").if_version(Version(5)).into_future();
        let (outcome, ()) = tokio::join!(request, async {
            fake.next_for("k").await.close();
            fake.next_for("k").await.reply(status, 8, b"").await;
        });
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::UnknownFate { cause: Cause::Changed, .. }), "{error}");
    }
    // Without a lost connection a mismatch is an ordinary answer.
    let request = client.delete("k").if_version(Version(5)).into_future();
    let (outcome, ()) = tokio::join!(request, async {
        fake.next_for("k").await.reply(Status::VersionMismatch, 8, b"").await;
    });
    assert_eq!(outcome.unwrap(), Outcome::VersionMismatch(Version(8)));
}

#[tokio::test]
async fn what_was_not_sent_waits_for_the_next_connection() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let (_, ()) = tokio::join!(client.get("k").into_future(), async {
        fake.next_for("k").await.ok("").await;
    });
    // Connections are accepted and shown no greeting; then they close, and the next gets one.
    fake.set_mute(true);
    fake.close_all();
    fake.wait_for_accepted(4).await;
    let tasks: Vec<_> =
        (0..5).map(|_| tokio::spawn(client.increment("n", 1).into_future())).collect();
    tokio::task::yield_now().await;
    assert!(fake.is_quiet());
    fake.set_mute(false);
    fake.close_all();
    for value in 1..=5_i64 {
        fake.next_for("n").await.ok(value.to_le_bytes()).await;
    }
    let mut sums = Vec::new();
    for task in tasks {
        sums.push(task.await.unwrap().unwrap().value);
    }
    sums.sort_unstable();
    assert_eq!(sums, [1, 2, 3, 4, 5]);
    assert!(fake.is_quiet(), "each was sent once");
    assert_eq!(client.activity().retries, 0);
}

#[tokio::test]
async fn without_a_connection_requests_fail_as_not_done() {
    let fake = Fake::start(1).await;
    let client = client(&fake).await;
    fake.wait_for_connections(2).await;
    fake.set_mute(true);
    fake.close_all();
    fake.wait_for_accepted(4).await;
    let error = client.increment("n", 1).timeout(SHORT).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { cause: Cause::Closed, .. }), "{error}");
    assert!(error.is_not_done() && error.is_transient());
}

#[tokio::test]
async fn a_server_that_sends_what_is_no_reply_is_left() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    type Nonsense = fn(&crate::fake::Asked) -> Vec<u8>;
    let cases: [(&str, Nonsense); 5] = [
        ("a frame starts with byte", |_| b"+OK\r\n".to_vec()),
        ("checksum", |asked| {
            let mut bytes = asked.reply_bytes(Status::Ok, 1, b"value");
            bytes[12] ^= 1;
            bytes
        }),
        ("to no request", |asked| {
            let mut bytes = Vec::new();
            let head = ReplyHead::new(asked.head.id ^ 0x10, asked.head.opcode, Status::Ok);
            ReplyFrame::single(&mut bytes, head, b"", 1);
            bytes
        }),
        ("to another operation", |asked| {
            let mut bytes = Vec::new();
            let head = ReplyHead::new(asked.head.id, Opcode::Touch.number(), Status::Ok);
            ReplyFrame::single(&mut bytes, head, b"", 1);
            bytes
        }),
        ("BADFRAME what", |_| {
            let mut bytes = Vec::new();
            let head = ReplyHead::new(0, 0, Status::BadFrame);
            ReplyFrame::single(&mut bytes, head, b"BADFRAME what", 1);
            bytes
        }),
    ];
    for (problem, nonsense) in cases {
        // A read gets its value all the same, from the next connection.
        let (value, ()) = tokio::join!(client.get("k").into_future(), async {
            let asked = fake.next_for("k").await;
            asked.raw(&nonsense(&asked)).await;
            fake.next_for("k").await.ok("value").await;
        });
        assert_eq!(value.unwrap().unwrap(), "value", "{problem}");
        // A write can't know.
        let (sum, ()) = tokio::join!(client.increment("k", 1).into_future(), async {
            let asked = fake.next_for("k").await;
            asked.raw(&nonsense(&asked)).await;
        });
        let error = sum.unwrap_err();
        assert!(matches!(error, Error::UnknownFate { .. }), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
    assert!(fake.is_quiet());
}

#[tokio::test]
async fn a_second_reply_is_not_taken_for_another_request() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let (value, ()) = tokio::join!(client.get("a").into_future(), async {
        let asked = fake.next_for("a").await;
        let twice =
            [asked.reply_bytes(Status::Ok, 1, b"1"), asked.reply_bytes(Status::Ok, 1, b"x")];
        asked.raw(&twice.concat()).await;
    });
    assert_eq!(value.unwrap().unwrap(), "1");
    let (value, ()) = tokio::join!(client.get("b").into_future(), async {
        fake.next_for("b").await.ok("2").await;
    });
    assert_eq!(value.unwrap().unwrap(), "2");
}

#[tokio::test]
async fn replies_that_say_nonsense_are_errors_of_their_own() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let (sum, ()) = tokio::join!(client.increment("k", 1).into_future(), async {
        fake.next_for("k").await.ok("123").await;
    });
    let error = sum.unwrap_err();
    assert!(matches!(error, Error::BadReply { .. }) && !error.is_not_done(), "{error}");
    let (values, ()) = tokio::join!(client.get_many(["k"]).into_future(), async {
        fake.next().await.ok([0, 0, 0, 0]).await;
    });
    assert!(values.unwrap_err().to_string().contains("0 values for 1 keys"));
    let (reply, ()) = tokio::join!(client.command(["GET", "k"]).into_future(), async {
        fake.next().await.ok("$5\r\nab").await;
    });
    assert!(reply.unwrap_err().to_string().contains("ends too early"));
    // A status from a later version is an error.
    let (value, ()) = tokio::join!(client.get("k").into_future(), async {
        let asked = fake.next_for("k").await;
        let mut bytes = Vec::new();
        let head = ReplyHead { status: 0x2f, ..ReplyHead::new(asked.head.id, 0x10, Status::Ok) };
        ReplyFrame::single(&mut bytes, head, b"NEWS of the day", 1);
        asked.raw(&bytes).await;
    });
    let error = value.unwrap_err();
    assert_eq!(error.status(), Some(Status::Error));
    assert!(error.to_string().ends_with("answered: NEWS of the day"), "{error}");
}

#[tokio::test]
async fn the_server_is_told_how_much_time_is_left_and_may_refuse() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let request = client.increment("k", 1).timeout(Duration::from_secs(10));
    let (sum, ()) = tokio::join!(request.into_future(), async {
        let asked = fake.next_for("k").await;
        let deadline_us = asked.extras.deadline_us.unwrap();
        assert!((1_000_000..=10_000_000).contains(&deadline_us), "{deadline_us} us");
        asked.reply(Status::DeadlineExceeded, 0, b"DEADLINE the deadline passed").await;
    });
    let error = sum.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }) && error.is_not_done(), "{error}");
    let past = std::time::Instant::now();
    let error = client.get("k").deadline(past).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(fake.is_quiet(), "what can't be in time is not sent");
}

#[tokio::test]
async fn a_silent_server_is_left_for_a_new_connection() {
    let mut fake = Fake::start(1).await;
    let client = Client::builder()
        .timeout(LONG)
        .silence_max(Duration::from_millis(200))
        .connect(&fake.address())
        .await
        .unwrap();
    let (value, ()) = tokio::join!(client.get("k").into_future(), async {
        fake.next_for("k").await;
        // On another connection, after a while, again.
        fake.next_for("k").await.ok("value").await;
    });
    assert_eq!(value.unwrap().unwrap(), "value");
    let (sum, asked) = tokio::join!(client.increment("k", 1).into_future(), fake.next_for("k"));
    let error = sum.unwrap_err();
    assert!(matches!(error, Error::UnknownFate { cause: Cause::Silent(_), .. }), "{error}");
    drop(asked);
}

#[tokio::test]
async fn an_idle_connection_is_looked_after() {
    let fake = Fake::start(1).await;
    let client = Client::builder()
        .keep_alive(Duration::from_millis(20))
        .connect(&fake.address())
        .await
        .unwrap();
    let sent = || client.activity().requests_sent;
    let before = sent();
    timeout(PATIENCE, async {
        while sent() < before + 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("pings are sent");
    assert_eq!(fake.accepted(), 2);
}

#[tokio::test]
async fn connecting_says_what_is_wrong() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::connect(&closed.to_string()).await.unwrap_err();
    assert!(matches!(&error, Error::Connect { cause: Cause::Io(_), .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("no server at {closed}: ")), "{error}");

    let manner = Manner { password: Some("secret"), ..Manner::default() };
    let fake = Fake::with(1, manner).await;
    let error = Client::builder().password("wrong").connect(&fake.address()).await.unwrap_err();
    let Error::Connect { cause: Cause::Refused { status, .. }, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*status, Status::AuthFailed);
    Client::builder().password("secret").connect(&fake.address()).await.unwrap();

    // The first that answers is taken.
    let addresses = [closed.to_string(), fake.address()];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    Client::builder().password("secret").connect_any(&addresses).await.unwrap();

    fake.set_mute(true);
    let error =
        Client::builder().connect_timeout(SHORT).connect(&fake.address()).await.unwrap_err();
    assert!(matches!(error, Error::Connect { cause: Cause::ConnectTimeout(SHORT), .. }), "{error}");
}

#[tokio::test]
async fn a_topology_that_makes_no_sense_is_refused() {
    let fake = Fake::start(1).await;
    let mut topology = fake.topology();
    topology.ranges.clear();
    fake.set_topology(topology);
    let error = Client::connect(&fake.address()).await.unwrap_err();
    assert!(error.to_string().contains("0 slots"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_close_in_mid_load_lose_nothing_that_was_promised() {
    let fake = Fake::start(2).await;
    let ms = Duration::from_millis;
    let builder = Client::builder().timeout(LONG).backoff(ms(1), ms(5));
    let client = builder.connect(&fake.address()).await.unwrap();
    let count = Arc::new(AtomicI64::new(0));
    let counted = count.clone();
    let fake = fake.answer_all(move |asked| {
        let reply = match asked.opcode() {
            Opcode::Increment => {
                (counted.fetch_add(1, Ordering::SeqCst) + 1).to_le_bytes().to_vec()
            }
            _ => b"value".to_vec(),
        };
        tokio::spawn(async move { asked.ok(reply).await });
    });
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (client, stop) = (client.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut done, mut unknown) = (0_i64, 0);
                while !stop.load(Ordering::Relaxed) {
                    match client.increment(format!("{task}"), 1).await {
                        Ok(_) => done += 1,
                        Err(Error::UnknownFate { .. }) => unknown += 1,
                        Err(error) => panic!("{error}"),
                    }
                    // A read never fails for it.
                    assert_eq!(client.get(format!("{done}")).await.unwrap().unwrap(), "value");
                }
                (done, unknown)
            })
        })
        .collect();
    for _ in 0..20 {
        let before = client.activity().requests;
        fake.close_all();
        timeout(PATIENCE, async {
            while client.activity().requests < before + 50 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("requests go on");
    }
    stop.store(true, Ordering::Relaxed);
    let (mut done, mut unknown) = (0, 0);
    for task in tasks {
        let (more_done, more_unknown) = task.await.unwrap();
        done += more_done;
        unknown += more_unknown;
    }
    let count = count.load(Ordering::SeqCst);
    assert!((done..=done + unknown).contains(&count), "{done} done, {unknown} unknown: {count}");
    assert!(client.activity().connects > 20);
}

#[tokio::test]
async fn a_time_beyond_all_clocks_is_for_ever() {
    let mut fake = Fake::start(1).await;
    let client = client(&fake).await;
    let (value, ()) = tokio::join!(client.get("k").timeout(Duration::MAX).into_future(), async {
        fake.next_for("k").await.ok("v").await;
    });
    assert_eq!(value.unwrap().unwrap(), "v");
}
