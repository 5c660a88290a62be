//! A shopping cart in a few lines: `cargo run --features client --example client -- 127.0.0.1:6380`.
//!
//! It shows values with their versions, a change that no other change may slip into, many requests at
//! once, and what to do when it is unknown whether a write was done.

use std::time::Duration;

use ringmain::client::{Client, Error, Outcome};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:6380".into());
    let client = Client::builder().name("example").connect(&address).await?;
    println!("{}", shop(&client, "example").await?);
    Ok(())
}

/// Fills a cart, and gives what the customer is told.
pub(crate) async fn shop(client: &Client, customer: &str) -> Result<String, Error> {
    let hour = Duration::from_secs(3600);
    let cart = format!("cart:{{{customer}}}");
    client.set(&cart, "").ttl(hour).await?;

    // Many at once: they leave in one frame for each core.
    let articles = ["apples", "bread", "cheese"];
    client.set_many(articles.map(|article| (format!("stock:{article}"), "3"))).await?;
    let stock = client.get_many(articles.map(|article| format!("stock:{article}"))).await?;
    assert!(stock.iter().flatten().all(|count| *count == "3"));

    for article in articles {
        put(client, &cart, article).await?;
    }
    let visits = visit(client, customer).await?;
    let content = client.get(&cart).await?;
    let content = content.as_ref().and_then(|value| value.text()).unwrap_or("nothing");
    client.delete(&cart).await?;
    Ok(format!("visit {visits}: {content}"))
}

/// Adds to a list of words. Somebody else may change it at the same time: then it is read again.
async fn put(client: &Client, cart: &str, article: &str) -> Result<(), Error> {
    loop {
        let Some(value) = client.get(cart).await? else {
            return Ok(()); // It has expired meanwhile.
        };
        let text = value.text().unwrap_or_default();
        let longer = if text.is_empty() { article.into() } else { format!("{text} {article}") };
        match client.compare_and_swap(cart, longer, value.version).keep_ttl().await? {
            Outcome::Done(_) | Outcome::NotFound => return Ok(()),
            Outcome::VersionMismatch(_) | Outcome::Exists(_) => {}
        }
    }
}

/// Counts a visit. A lost connection may leave it unknown whether the visit was counted; counting it
/// again could count it twice, so the number is read instead.
async fn visit(client: &Client, customer: &str) -> Result<i64, Error> {
    let key = format!("visits:{customer}");
    match client.increment(&key, 1).await {
        Ok(sum) => Ok(sum.value),
        Err(Error::UnknownFate { .. }) => {
            let value = client.get(&key).await?;
            Ok(value.and_then(|value| value.text()?.parse().ok()).unwrap_or(0))
        }
        Err(error) => Err(error),
    }
}
