//! Long values are counted, searched and combined in steps (`steps`).

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Operation, count_ones, first_bit};
use crate::cache::{Expiry, Extent, SharedBytes};
use crate::collection::Value;
use crate::command::events;
use crate::command::steps::{Progress, Steps};
use crate::command::strings::{count_change, reply_length};
use crate::command::{Error, Exec};
use crate::limits::STEP_SCANNED_BYTES;
use crate::protocol::{Args, Reply};
use crate::types::Key;

/// Whether so many bits take more than a step.
pub(super) fn are_many(bits: &RangeInclusive<usize>) -> bool {
    bits.end() - bits.start() > STEP_SCANNED_BYTES * 8
}

/// The string of a key.
pub(super) fn string<'e>(exec: &'e Exec<'_>, key: Key<'_>) -> &'e [u8] {
    match exec.peek_value(key) {
        Some(Value::String(value)) => value,
        _ => &[],
    }
}

/// The bits of a value that are to be looked at yet.
#[derive(Debug)]
struct Rest {
    first: usize,
    last: usize,
}

impl Rest {
    fn of(bits: RangeInclusive<usize>) -> Self {
        Self { first: *bits.start(), last: *bits.end() }
    }

    /// Those of the next step.
    fn next(&mut self) -> RangeInclusive<usize> {
        let end = self.last.min((self.first / 8 + STEP_SCANNED_BYTES) * 8 - 1);
        let bits = self.first..=end;
        self.first = end + 1;
        bits
    }

    fn is_over(&self) -> bool {
        self.first > self.last
    }
}

/// Bits that are being counted.
#[derive(Debug)]
pub(super) struct Counting {
    rest: Rest,
    ones: usize,
}

impl Counting {
    pub(super) fn new(bits: RangeInclusive<usize>) -> Self {
        Self { rest: Rest::of(bits), ones: 0 }
    }
}

impl Steps for Counting {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let value = string(exec, exec.key(args.at(1)));
        self.ones += count_ones(value, self.rest.next());
        if self.rest.is_over() {
            reply_length(reply, self.ones);
        }
        Ok(Progress::done_if(self.rest.is_over()))
    }
}

/// A bit that is being searched.
#[derive(Debug)]
pub(super) struct Searching {
    rest: Rest,
    bit: bool,
    /// What is answered where there is none.
    otherwise: i64,
}

impl Searching {
    pub(super) fn new(bits: RangeInclusive<usize>, bit: bool, otherwise: i64) -> Self {
        Self { rest: Rest::of(bits), bit, otherwise }
    }
}

impl Steps for Searching {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let value = string(exec, exec.key(args.at(1)));
        let found = first_bit(value, self.bit, self.rest.next());
        match found {
            Some(position) => reply_length(reply, position),
            None if self.rest.is_over() => reply.integer(self.otherwise),
            None => return Ok(Progress::Begun),
        }
        Ok(Progress::Done)
    }
}

/// Values that are being combined.
#[derive(Debug)]
pub(super) struct Combining {
    operation: Operation,
    /// Bytes of the longest of them.
    length: usize,
    /// What comes of them, as far as they have been combined.
    made: Extent,
    /// Whether it is to be told that it is set.
    tells: bool,
}

impl Combining {
    pub(super) fn new(operation: Operation, length: usize, tells: bool) -> Self {
        Self { operation, length, made: Extent::with_capacity(length), tells }
    }
}

impl Steps for Combining {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        const LEAST: usize = 4096;
        let (start, keys) = (self.made.len(), args.from(3));
        let end = self.length.min(start + (STEP_SCANNED_BYTES / keys.len()).max(LEAST));
        let of = |key| {
            let value = string(exec, exec.key(key));
            &value[start.min(value.len())..end.min(value.len())]
        };
        let mut part = self.operation.of_all(keys.map(of));
        part.resize(end - start, 0);
        self.made.append(&part);
        if end < self.length {
            return Ok(Progress::Begun);
        }
        let made = Arc::new(std::mem::replace(&mut self.made, Extent::with_capacity(0)));
        let (key, now) = (exec.key(args.at(2)), exec.now.unix);
        match SharedBytes::of(&made, made.written()) {
            Some(made) => exec.keyspace(key).set_shared(key, made, Expiry::Clear, now),
            None => exec.keyspace(key).set(key, made.written(), Expiry::Clear, now),
        }
        count_change(exec, key);
        if self.tells {
            exec.tell(key, events::SET);
        }
        reply_length(reply, self.length);
        Ok(Progress::Done)
    }
}
