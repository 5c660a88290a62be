//! Commands over collections of very many elements give the core back between their steps: other clients are served, and
//! what comes out is nevertheless what the collections held at one moment.
//!
//! A client that sees the number of steps grow has been served between two of them.

#[path = "../harness/mod.rs"]
mod harness;

mod bitmaps;
mod collections;
mod copying;
mod drawing;
mod lists;
mod removing;
mod sorting;
mod storing;
mod turns;

use harness::client::{Client, encode, info_number};
use harness::server::{Launch, Server};
use harness::value::Value;
use harness::wait_until;
use std::collections::BTreeSet;
use std::ops::Range;

/// Enough for many turns, even where each takes all of its time.
const MANY: usize = 60_000;

fn member(number: usize) -> String {
    format!("member:{number:020}")
}

/// Puts a member for each number into a set.
fn fill(client: &mut Client, key: &str, numbers: Range<usize>) {
    let names: Vec<String> = numbers.map(member).collect();
    let requests = names.chunks(1000);
    for names in requests.clone() {
        let words: Vec<&str> =
            ["SADD", key].into_iter().chain(names.iter().map(String::as_str)).collect();
        client.send(encode(&words));
    }
    for names in requests {
        assert_eq!(client.read().expect("a reply"), Value::Integer(names.len() as i64));
    }
}

fn steps(client: &mut Client) -> u64 {
    info_number(client, "ringmain", "command_steps")
}

/// Sends a command, and answers how many steps have been taken once some have: its client is then waiting for the rest.
fn begin(client: &mut Client, other: &mut Client, line: &str) -> u64 {
    let before = steps(other);
    client.request(&line.split(' ').collect::<Vec<_>>());
    let mut seen = before;
    wait_until("a step is taken", || {
        seen = steps(other);
        seen > before
    });
    seen
}

fn members(reply: &Value) -> BTreeSet<String> {
    reply.elements().iter().map(Value::text).collect()
}

fn start(shards: u16) -> Server {
    Launch::shards(shards).start()
}

/// Sends a command until another client has been served between its steps; answers its reply.
fn interrupted(client: &mut Client, other: &mut Client, line: &str) -> Value {
    let mut reply = None;
    wait_until(&format!("somebody is served between the steps of {line}"), || {
        let seen = begin(client, other, line);
        let read = client.read().expect("a reply");
        // A set has no order.
        let is_same = |reply: &Value| *reply == read || members(reply) == members(&read);
        assert!(reply.as_ref().is_none_or(is_same), "{line}: another reply");
        reply = Some(read);
        steps(other) > seen
    });
    reply.expect("it was answered")
}
