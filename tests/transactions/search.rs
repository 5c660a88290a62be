//! Whether there is an order of transactions, each between its request and its reply, in which a single copy of the data
//! would have answered the same: whether the history is strictly serializable, whatever commands it has.
//!
//! The search is that of Wing and Gong (1993), with Lowe's memory (2017): what was done, and the data that it left, are
//! not gone on from twice.

use super::data::{Data, in_order, is_read};
use super::harness::value::Value;
use super::recorder::{Call, Command, Transaction};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many places in orders are tried for each transaction. Histories that are recorded take two or three.
const PLACES_PER_TRANSACTION_MAX: usize = 200;

/// A transaction whose replies can be compared.
struct Item<'a> {
    transaction: &'a Transaction,
    /// Whether all of its commands only read.
    is_read: bool,
    calls: Vec<(&'a Command, Value)>,
}

impl<'a> Item<'a> {
    fn of(transaction: &'a Transaction) -> Self {
        let comparable = |call: &'a Call| (&call.command, in_order(&call.command, &call.reply));
        let is_read = transaction.calls.iter().all(|call| is_read(&call.command));
        Self { transaction, is_read, calls: transaction.calls.iter().map(comparable).collect() }
    }

    /// The data behind it, if this is what it would have been answered.
    fn run(&self, before: &Data) -> Option<Data> {
        let mut data = before.clone();
        let is_right = self.calls.iter().all(|(command, reply)| data.run(command) == *reply);
        is_right.then_some(data)
    }
}

/// A place in an order.
struct Place {
    data: Data,
    /// All before this one are done.
    first: usize,
    /// The next to try here.
    next: usize,
    /// Nobody whose request came later can be the next.
    bound: u64,
    /// Who follows, in the order that is looked at.
    chosen: usize,
}

struct Search<'a> {
    /// By when they began.
    items: Vec<Item<'a>>,
    is_done: Vec<bool>,
    places: Vec<Place>,
    /// Hashes of who is done and of the data: to take two for one could only hide a failure, once in 2^64.
    known: HashSet<u64>,
}

impl Search<'_> {
    /// Goes on behind those that are done; false if that has been tried.
    fn enter(&mut self, data: Data, first: usize) -> bool {
        let is_done = &self.is_done;
        let first = (first..is_done.len()).find(|at| !is_done[*at]).unwrap_or(is_done.len());
        let mut hasher = DefaultHasher::new();
        let mut bound = u64::MAX;
        first.hash(&mut hasher);
        data.hash(&mut hasher);
        for (at, item) in self.items.iter().enumerate().skip(first) {
            if is_done[at] {
                at.hash(&mut hasher);
            } else if item.transaction.began > bound {
                // Nobody behind it can be done either.
                break;
            } else {
                bound = bound.min(item.transaction.ended);
            }
        }
        let is_new = self.known.insert(hasher.finish());
        if is_new {
            self.places.push(Place { data, first, next: first, bound, chosen: first });
        }
        is_new
    }

    /// Finds the next who can follow at the last place, and goes on there; false if there is none.
    fn go_on(&mut self) -> bool {
        while let Some(place) = self.places.last_mut()
            && let Some(item) = self.items.get(place.next)
            && item.transaction.began <= place.bound
        {
            let at = place.next;
            place.next += 1;
            if self.is_done[at] {
                continue;
            }
            let Some(data) = item.run(&place.data) else { continue };
            if item.is_read {
                // If it may come now, nothing is won by having it come later.
                place.next = usize::MAX;
            }
            (place.chosen, self.is_done[at]) = (at, true);
            let first = place.first;
            if self.enter(data, first) {
                return true;
            }
            self.is_done[at] = false;
        }
        false
    }

    /// Those that could be next at the last place if they were answered otherwise.
    fn stuck(&self) -> String {
        let place = self.places.last().expect("a place");
        let left = self.items.iter().enumerate().skip(place.first);
        let left = left.take_while(|(_, item)| item.transaction.began <= place.bound);
        let left = left.filter(|(at, _)| !self.is_done[*at]);
        let left: Vec<String> = left.map(|(_, item)| format!("{:?}", item.transaction)).collect();
        format!("{:?}\nand of these none fits:\n{}", place.data, left.join("\n"))
    }
}

/// What is said where the search was given up: that is no proof of anything.
pub(crate) const UNDECIDED: &str = "there are too many orders to try";

/// Whether the transactions can have run one after another, on data that was empty at first.
///
/// # Errors
/// Where the longest order ends; or that it can't be told, for all the orders there are.
pub(crate) fn check(history: &[Transaction]) -> Result<(), String> {
    let mut items: Vec<Item<'_>> = history.iter().map(Item::of).collect();
    items.sort_by_key(|item| item.transaction.began);
    let is_done = vec![false; items.len()];
    let mut search = Search { items, is_done, places: Vec::new(), known: HashSet::new() };
    search.enter(Data::default(), 0);
    let (mut longest, mut stuck) = (0, String::new());
    while search.places.len() <= history.len() {
        if search.go_on() {
            continue;
        }
        if search.places.len() > longest {
            (longest, stuck) = (search.places.len(), search.stuck());
        }
        search.places.pop();
        let Some(place) = search.places.last() else {
            return Err(format!("behind {} of {}: {stuck}", longest - 1, history.len()));
        };
        search.is_done[place.chosen] = false;
        if search.known.len() > PLACES_PER_TRANSACTION_MAX * history.len() {
            return Err(UNDECIDED.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::harness::value::Value;
    use crate::recorder::{Call, Transaction, command};

    /// A reply: a number, `nil`, `OK`, elements in brackets, or else text, if need be in quotes.
    fn value(text: &str) -> Value {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').expect("a bracket");
            return Value::Array(inner.split_whitespace().map(Value::bulk).collect());
        }
        match (text, text.parse()) {
            ("nil", _) => Value::NullBulk,
            ("OK", _) => Value::ok(),
            (_, Ok(number)) => Value::Integer(number),
            (_, Err(_)) => Value::bulk(text.trim_matches('\'')),
        }
    }

    /// Transactions, a line each: `began-ended REQUEST => REPLY; REQUEST => REPLY`.
    fn history(lines: &str) -> Vec<Transaction> {
        let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let (times, calls) = line.split_once(' ').expect("times");
                let (began, ended) = times.split_once('-').expect("two times");
                let time = |text: &str| text.parse().expect("a time");
                let call = |call: &str| {
                    let (request, reply) = call.split_once(" => ").expect("a reply");
                    Call { command: command(request.split(' ')), reply: value(reply) }
                };
                let calls = calls.split("; ").map(call).collect();
                Transaction { began: time(began), ended: time(ended), calls }
            })
            .collect()
    }

    #[test]
    fn what_can_have_been_is_accepted() {
        for lines in [
            "",
            "0-9 LPOP l => nil",
            // Who was under way at the same time may have been before or after, whoever began first.
            "0-9 RPUSH l a => 1
             1-8 LMOVE l m LEFT RIGHT => a
             2-7 LRANGE l 0 -1 => [a]; LRANGE m 0 -1 => []",
            "0-9 SADD s a => 1; SADD t b => 1
             1-8 SUNION s t => [b a]
             2-7 SUNION s t => []",
            "0-1 HSET h f 1 => 1; ZADD z 2 m => 1; SET x 5 => OK
             2-3 COPY h i REPLACE => 1; RENAME z y => OK; INCR x => 6
             4-5 HGETALL i => [f 1]; ZRANGE y 0 -1 WITHSCORES => [m 2]; EXISTS h i z y => 3",
            "0-9 INCR x => 2
             1-8 INCR x => 1",
            // A write that would change nothing if it came at once may have come later.
            "0-1 SET x 5 => OK
             2-9 SET x 5 => OK
             3-8 SET x 6 => OK
             10-11 GET x => '5'",
        ] {
            assert_eq!(check(&history(lines)), Ok(()), "{lines}");
        }
    }

    #[test]
    fn what_can_not_have_been_is_rejected() {
        for (name, lines) in [
            (
                "an element on its way between lists",
                "0-1 RPUSH l a => 1
                 2-9 LMOVE l m LEFT RIGHT => a
                 3-8 LRANGE l 0 -1 => []; LRANGE m 0 -1 => []",
            ),
            (
                "a member in two sets",
                "0-1 SADD s a => 1
                 2-9 SMOVE s t a => 1
                 3-8 SMEMBERS s => [a]; SMEMBERS t => [a]",
            ),
            (
                "a key in two places",
                "0-1 HSET h f 1 => 1
                 2-9 RENAME h i => OK
                 3-8 EXISTS h i => 2",
            ),
            (
                "half of a transaction, to a command over several keys",
                "0-9 SADD s a => 1; SADD t b => 1
                 1-8 SUNION s t => [a]",
            ),
            (
                "half of a transaction, stored",
                "0-1 ZADD y 1 m => 1; ZADD z 1 m => 1
                 2-9 ZINCRBY y 1 m => 2; ZINCRBY z 1 m => 2
                 3-8 ZUNIONSTORE x 2 y z => 1
                 10-11 ZRANGE x 0 -1 WITHSCORES => [m 3]",
            ),
            (
                "one element given to two",
                "0-1 RPUSH l a b => 2
                 2-9 LPOP l => a
                 3-8 LMOVE l m LEFT RIGHT => a",
            ),
            (
                "a lost increment",
                "0-1 HINCRBY h f 1 => 1
                 2-9 HINCRBY h f 1 => 2; INCR x => 1
                 3-8 HINCRBY h f 1 => 2; INCR x => 2",
            ),
            (
                "a transaction that was run though a watched key had changed",
                "0-1 RPUSH l a => 1
                 2-3 LPOP l => a
                 4-5 LRANGE l 0 -1 => [a]; RPUSH m b => 1",
            ),
            (
                "a copy of an old value",
                "0-1 MSET a 1 b 1 => OK
                 2-3 MSET a 2 b 2 => OK
                 4-5 COPY a b REPLACE => 1
                 6-7 MGET a b => [2 1]",
            ),
            (
                "two readers in different orders",
                "0-99 SADD s a => 1
                 0-99 HSET h f 1 => 1
                 0-99 SMEMBERS s => [a]; HGETALL h => []
                 0-99 SMEMBERS s => []; HGETALL h => [f 1]",
            ),
            (
                "a reader that is behind the clock",
                "0-1 ZADD z 1 m => 1
                 2-3 ZPOPMIN z => []",
            ),
        ] {
            assert!(check(&history(lines)).is_err(), "{name}");
        }
    }
}
