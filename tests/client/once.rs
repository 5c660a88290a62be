//! Writes with numbers: what is said of one that is sent again, what its answer is worth, and where numbers come from.

use std::future::IntoFuture;
use std::time::Duration;

use ringmain::client::Client;
use ringmain::protocol::binary::body::Features;

use crate::fake::{Fake, Manner};

const LONG: Duration = Duration::from_secs(20);

async fn start(cores: u16) -> (Fake, Client) {
    let features = Features::TOPOLOGY_PUSH | Features::ONCE;
    let fake = Fake::with(cores, Manner { features, ..Manner::default() }).await;
    let builder = Client::builder().timeout(LONG);
    let client = builder.connect(&fake.address()).await.expect("the fake answers");
    (fake, client)
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
