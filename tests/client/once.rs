//! Writes with numbers: what is said of one that is sent again, what its answer is worth, and where numbers come from.

use std::future::IntoFuture;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmain::client::{Cause, Client, Error, Outcome, Status, Version};
use ringmain::protocol::binary::RequestFlags;
use ringmain::protocol::binary::body::Features;

use crate::fake::{Asked, Fake, Manner};

const LONG: Duration = Duration::from_secs(20);

async fn start(cores: u16) -> (Fake, Client) {
    let features = Features::TOPOLOGY_PUSH | Features::ONCE;
    let fake = Fake::with(cores, Manner { features, ..Manner::default() }).await;
    let builder = Client::builder().timeout(LONG);
    let client = builder.connect(&fake.address()).await.expect("the fake answers");
    (fake, client)
}

fn is_again(asked: &Asked) -> bool {
    asked.head.flags.contains(RequestFlags::AGAIN)
}

/// Loses the first sending of a write, and answers the second.
async fn lose_one(fake: &mut Fake, status: Status, version: u64, body: &[u8]) {
    let first = fake.next_for("k").await;
    assert!(!is_again(&first) && first.extras.sequence.is_some());
    first.close();
    let second = fake.next_for("k").await;
    assert!(is_again(&second));
    assert_eq!(second.extras.client, first.extras.client);
    assert_eq!(second.extras.sequence, first.extras.sequence);
    second.reply(status, version, body).await;
}

#[tokio::test]
async fn what_a_retry_is_answered_is_believed() {
    let (mut fake, client) = start(1).await;
    let set = client.set("k", "v").if_absent().into_future();
    let (outcome, ()) = tokio::join!(set, lose_one(&mut fake, Status::Exists, 8, b""));
    assert_eq!(outcome.unwrap(), Outcome::Exists(Version(8)));
    let swap = client.compare_and_swap("k", "v", Version(5)).into_future();
    let (outcome, ()) = tokio::join!(swap, lose_one(&mut fake, Status::VersionMismatch, 9, b""));
    assert_eq!(outcome.unwrap(), Outcome::VersionMismatch(Version(9)));
    for status in [Status::WrongType, Status::NotANumber, Status::Overflow, Status::TooLarge] {
        let add = client.increment("k", 1).into_future();
        let (result, ()) = tokio::join!(add, lose_one(&mut fake, status, 0, b"ERR no"));
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Rejected { status: of, .. } if of == status), "{error}");
        assert!(error.is_not_done());
    }
}

/// What only says that the retry could not be done says nothing of what was sent before.
#[tokio::test]
async fn what_a_retry_is_refused_for_says_nothing_of_the_first() {
    let (mut fake, client) = start(1).await;
    for status in
        [Status::OutOfMemory, Status::Forgotten, Status::BadRequest, Status::DeadlineExceeded]
    {
        let add = client.increment("k", 1).into_future();
        let (result, ()) = tokio::join!(add, lose_one(&mut fake, status, 0, b"ERR no"));
        let error = result.unwrap_err();
        assert!(matches!(error, Error::UnknownFate { cause: Cause::Closed, .. }), "{error}");
    }
}

/// What was refused before it could be done is not on its way any more.
#[tokio::test]
async fn a_write_that_was_refused_is_not_said_to_be_sent_again() {
    let (mut fake, client) = start(1).await;
    let (sum, ()) = tokio::join!(client.increment("k", 1).into_future(), async {
        fake.next_for("k").await.reply(Status::NoLeader, 0, b"CLUSTERDOWN").await;
        let second = fake.next_for("k").await;
        assert!(!is_again(&second));
        second.close();
        let third = fake.next_for("k").await;
        assert!(is_again(&third));
        third.reply(Status::NoLeader, 0, b"CLUSTERDOWN").await;
        let fourth = fake.next_for("k").await;
        assert!(is_again(&fourth), "the second may still be on its way");
        fourth.ok(1_i64.to_le_bytes()).await;
    });
    assert_eq!(sum.unwrap().value, 1);
}

/// A shard without a leader does not have others keep what was answered long ago.
#[tokio::test]
async fn each_shard_is_told_what_was_answered_of_its_own() {
    let (mut fake, client) = start(2).await;
    // The slots of these keys are in the upper half and in the lower.
    let (upper, lower) = ("foo", "bar");
    let open = tokio::spawn(client.increment(upper, 1).into_future());
    let owed = fake.next_for(upper).await;
    for _ in 0..3 {
        let (sum, ()) = tokio::join!(client.increment(lower, 1).into_future(), async {
            let asked = fake.next_for(lower).await;
            assert_eq!(asked.extras.answered, asked.extras.sequence);
            asked.ok(1_i64.to_le_bytes()).await;
        });
        sum.unwrap();
    }
    let (sum, ()) = tokio::join!(client.append(upper, "x").into_future(), async {
        let asked = fake.next_for(upper).await;
        assert_eq!(asked.extras.answered, owed.extras.sequence);
        asked.ok(1_u64.to_le_bytes()).await;
    });
    sum.unwrap();
    owed.ok(1_i64.to_le_bytes()).await;
    assert_eq!(open.await.unwrap().unwrap().value, 1);
}

/// Only the first write is refused because of the clock.
#[tokio::test]
async fn a_clock_that_is_ahead_costs_one_write_its_number() {
    let (mut fake, client) = start(1).await;
    let servers_us = 1_700_000_000_000_000_u64;
    let (sum, refused) = tokio::join!(client.increment("k", 1).into_future(), async {
        let asked = fake.next_for("k").await;
        let text = format!("CLOCKAHEAD {servers_us} the sequence is a time that has not come");
        asked.reply(Status::BadRequest, 0, text.as_bytes()).await;
        let second = fake.next_for("k").await;
        assert_eq!(second.extras.sequence, None);
        second.ok(1_i64.to_le_bytes()).await;
        asked
    });
    assert_eq!(sum.unwrap().value, 1);
    let (sum, ()) = tokio::join!(client.increment("k", 1).into_future(), async {
        let asked = fake.next_for("k").await;
        assert_ne!(asked.extras.client, refused.extras.client);
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let passed = u64::try_from(now_us).unwrap() - refused.extras.sequence.unwrap();
        let ahead_us = asked.extras.sequence.unwrap() - servers_us;
        assert!(ahead_us <= passed, "{ahead_us} us, and {passed} have passed");
        assert_eq!(asked.extras.answered, asked.extras.sequence);
        asked.ok(2_i64.to_le_bytes()).await;
    });
    assert_eq!(sum.unwrap().value, 2);
    assert_eq!(client.activity().retries, 1);
}
