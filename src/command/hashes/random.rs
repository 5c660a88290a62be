//! `HRANDFIELD`: fields chosen at random.

use std::collections::HashSet;

use crate::cache::Random;
use crate::collection::hash::{Entry, View};
use crate::collection::{Element, Garbage, Hash};
use crate::command::drawing::{Drawing, Source, are_many};
use crate::command::elements::{random_count, reply_element};
use crate::command::steps::{self, Progress, Steps};
use crate::command::{Error, Exec};
use crate::limits::RANDOM_REPEATS_MAX;
use crate::protocol::{Args, Proto, Reply};
use crate::types::UnixMs;

pub(super) fn hrandfield(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let (key, now) = (exec.key(args.at(1)), exec.now.unix);
    if args.len() == 2 {
        let mut random = exec.random(key);
        let hash = exec.read::<Hash>(key)?;
        match hash.and_then(|hash| hash.choose(now, |bound| random.below(bound))) {
            Some(entry) => reply_element(reply, entry.field),
            None => reply.null(),
        }
        return Ok(());
    }
    let wanted = Wanted::parse(args)?;
    let random = exec.random(key);
    match exec.read::<Hash>(key)? {
        Some(hash) if are_many(wanted.count) => {
            let there = hash.live_len(now);
            let most = if wanted.may_repeat && there > 0 { wanted.count } else { there };
            let count = wanted.count.min(most);
            wanted.write_head(count, reply);
            let drawing = Drawing::new(count, there, wanted.may_repeat, random);
            return steps::run(exec, args, reply, Fields { wanted, drawing });
        }
        Some(hash) if wanted.count > 0 => wanted.write(hash, now, random, reply),
        Some(_) | None => reply.array(0),
    }
    Ok(())
}

/// Very many fields that are being chosen.
#[derive(Debug)]
struct Fields {
    wanted: Wanted,
    drawing: Drawing,
}

/// The fields of a hash that are there at some moment.
#[derive(Clone, Copy, Debug)]
struct Live<'a>(View<'a>, UnixMs);

impl<'a> Source for Live<'a> {
    type Item = Entry<'a>;

    fn any(self, below: impl FnMut(usize) -> usize) -> Option<Self::Item> {
        self.0.choose(self.1, below)
    }

    fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Self::Item)) -> u64 {
        self.0.scan(cursor, count, |entry| {
            if entry.is_live(self.1) {
                visit(entry);
            }
        })
    }

    fn name(item: &Self::Item) -> Element<'_> {
        item.field
    }
}

impl Steps for Fields {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let now = exec.now.unix;
        let Some(hash) = exec.peek::<Hash>(exec.key(args.at(1))) else {
            return Ok(Progress::Done);
        };
        let Self { wanted, drawing } = self;
        Ok(drawing.step(Live(hash, now), |entry| wanted.write_entry(entry, reply)))
    }

    fn take_garbage(&mut self) -> Vec<Box<dyn Garbage>> {
        self.drawing.take_garbage()
    }
}

/// What a `HRANDFIELD` with a count asks for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    count: usize,
    may_repeat: bool,
    with_values: bool,
}

impl Wanted {
    fn parse(args: &Args<'_>) -> Result<Self, Error> {
        let count = random_count(args.at(2))?;
        let with_values = args.get(3).is_some();
        if args.get(3).is_some_and(|word| !word.eq_ignore_ascii_case(b"withvalues"))
            || args.len() > 4
        {
            return Err(Error::Syntax);
        }
        const OUT_OF_RANGE: Error = Error::Static("ERR value is out of range");
        if with_values && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
            return Err(OUT_OF_RANGE);
        }
        let may_repeat = count < 0;
        let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        if may_repeat && count > RANDOM_REPEATS_MAX {
            return Err(OUT_OF_RANGE);
        }
        Ok(Self { count, may_repeat, with_values })
    }

    fn write(self, hash: View<'_>, now: UnixMs, mut random: Random, reply: &mut Reply<'_>) {
        let there = hash.live_len(now);
        if self.may_repeat {
            let count = if there == 0 { 0 } else { self.count };
            self.write_head(count, reply);
            let chosen = (0..count).filter_map(|_| hash.choose(now, |bound| random.below(bound)));
            chosen.for_each(|entry| self.write_entry(entry, reply));
            return;
        }
        /// Share of the fields from which on they are all walked over.
        const FEW: usize = 3;
        let count = self.count.min(there);
        self.write_head(count, reply);
        if count < there / FEW {
            self.write_few(hash, now, random, reply);
            return;
        }
        // Of the fields still to come, as many are taken as are still wanted, each with the same chance.
        let (mut wanted, mut left) = (count, there);
        for entry in hash.live(now) {
            if random.below(left) < wanted {
                self.write_entry(entry, reply);
                wanted -= 1;
            }
            left -= 1;
        }
    }

    /// Writes fields chosen one by one, none of them twice. They are few among many.
    fn write_few(self, hash: View<'_>, now: UnixMs, mut random: Random, reply: &mut Reply<'_>) {
        let mut chosen = HashSet::with_capacity(self.count);
        while chosen.len() < self.count {
            let Some(entry) = hash.choose(now, |bound| random.below(bound)) else { return };
            if chosen.insert(entry.field.to_vec()) {
                self.write_entry(entry, reply);
            }
        }
    }

    fn write_head(self, count: usize, reply: &mut Reply<'_>) {
        let is_flat = self.with_values && reply.proto() == Proto::Resp2;
        reply.array(if is_flat { 2 * count } else { count });
    }

    fn write_entry(self, entry: Entry<'_>, reply: &mut Reply<'_>) {
        if self.with_values && reply.proto() == Proto::Resp3 {
            reply.array(2);
        }
        reply_element(reply, entry.field);
        if self.with_values {
            reply_element(reply, entry.value);
        }
    }
}
