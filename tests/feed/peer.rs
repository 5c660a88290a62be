//! Bytes from a peer, as the tests and the fuzz target try them.

#![allow(dead_code, reason = "no test or target uses all of it")]

use bytes::Bytes;
use ringmain::replica::link::{News, NodeList};
use ringmain::replica::{Fault, ShardMessage};

/// What must hold for any bytes: they are the one message that is written so, or none.
pub(crate) fn check_message(bytes: &[u8]) -> Result<ShardMessage, Fault> {
    let message = ShardMessage::decode(&Bytes::copy_from_slice(bytes))?;
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again, bytes, "{message:?}");
    Ok(message)
}

/// The same of a list of nodes.
pub(crate) fn check_nodes(bytes: &[u8]) -> Result<NodeList, Fault> {
    let list = NodeList::decode(&Bytes::copy_from_slice(bytes))?;
    let mut again = Vec::new();
    list.encode(&mut again);
    assert_eq!(again, bytes, "{list:?}");
    Ok(list)
}

/// The same of what was published.
pub(crate) fn check_news(bytes: &[u8]) -> Result<News, Fault> {
    let news = News::decode(&Bytes::copy_from_slice(bytes))?;
    let mut again = Vec::new();
    News::encode(&news.channel, &news.text, &mut again);
    assert_eq!(again, bytes, "{news:?}");
    Ok(news)
}

/// A block of bytes of `docs/peer-protocol.md`.
pub(crate) fn block(name: &str) -> Vec<u8> {
    let page = include_str!("../../docs/peer-protocol.md");
    let start = format!("```golden {name}\n");
    let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("there is no block {name}"));
    let (lines, _) = rest.split_once("```").expect("the block ends");
    let digits = lines.lines().filter_map(|line| line.split('#').next());
    let bytes = digits.flat_map(str::split_whitespace);
    bytes.map(|byte| u8::from_str_radix(byte, 16).expect("two hexadecimal digits")).collect()
}
