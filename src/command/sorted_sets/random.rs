//! `ZRANDMEMBER`.

use super::Shape;
use crate::cache::Random;
use crate::collection::sorted_set::View;
use crate::collection::{Element, Garbage, SortedSet};
use crate::command::drawing::{Drawing, Source, are_many};
use crate::command::elements::random_count;
use crate::command::steps::{self, Progress, Steps};
use crate::command::{Error, Exec};
use crate::limits::RANDOM_REPEATS_MAX;
use crate::protocol::{Args, Reply};
use std::collections::BTreeSet;

/// A sample of more than this part of the members is drawn by walking over all of them.
const SAMPLE_PART: usize = 3;

/// What a `ZRANDMEMBER` with a count asks for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    count: usize,
    /// Of which a negative number tells.
    may_repeat: bool,
    with_scores: bool,
}

const OUT_OF_RANGE: Error = Error::Static("ERR value is out of range");

impl Wanted {
    fn parse(args: &Args<'_>) -> Result<Self, Error> {
        let count = random_count(args.at(2))?;
        let with_scores = match args.get(3) {
            None => false,
            Some(word) if word.eq_ignore_ascii_case(b"withscores") && args.len() == 4 => true,
            Some(_) => return Err(Error::Syntax),
        };
        if with_scores && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
            return Err(OUT_OF_RANGE);
        }
        let may_repeat = count < 0;
        let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        Ok(Self { count, may_repeat, with_scores })
    }

    fn write(self, set: View<'_>, mut random: Random, reply: &mut Reply<'_>) -> Result<(), Error> {
        let shape = Shape::of(self.with_scores, reply.proto());
        let there = set.len();
        let write_at = |rank: usize, reply: &mut Reply<'_>| {
            set.elements(rank..rank + 1).for_each(|element| shape.write_element(element, reply));
        };
        if self.may_repeat {
            if self.count > RANDOM_REPEATS_MAX {
                return Err(OUT_OF_RANGE);
            }
            shape.write_head(self.count, reply);
            (0..self.count).for_each(|_| write_at(random.below(there), reply));
            return Ok(());
        }
        let count = self.count.min(there);
        shape.write_head(count, reply);
        if count > there / SAMPLE_PART {
            // Each element is chosen with the odds that leave as many as are wanted.
            let mut wanted = count;
            for (element, left) in set.elements(0..there).zip((1..=there).rev()) {
                if random.below(left) < wanted {
                    wanted -= 1;
                    shape.write_element(element, reply);
                }
            }
            return Ok(());
        }
        let mut chosen = BTreeSet::new();
        while chosen.len() < count {
            let rank = random.below(there);
            if chosen.insert(rank) {
                write_at(rank, reply);
            }
        }
        Ok(())
    }
}

pub(super) fn zrandmember(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let wanted = if args.len() > 2 { Some(Wanted::parse(args)?) } else { None };
    let mut random = exec.random(key);
    let set = exec.read::<SortedSet>(key)?.filter(|set| !set.is_empty());
    match (set, wanted) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(set), Some(wanted)) if are_many(wanted.count) => {
            if wanted.may_repeat && wanted.count > RANDOM_REPEATS_MAX {
                return Err(OUT_OF_RANGE);
            }
            let there = set.len();
            let count = if wanted.may_repeat { wanted.count } else { wanted.count.min(there) };
            let shape = Shape::of(wanted.with_scores, reply.proto());
            shape.write_head(count, reply);
            let drawing = Drawing::new(count, there, wanted.may_repeat, random);
            return steps::run(exec, args, reply, Members { shape, drawing });
        }
        (Some(set), Some(wanted)) => return wanted.write(set, random, reply),
        (Some(set), None) => {
            let rank = random.below(set.len());
            let chosen = set.elements(rank..rank + 1);
            chosen.for_each(|element| Shape::Members.write_element(element, reply));
        }
    }
    Ok(())
}

/// Very many members that are being chosen.
#[derive(Debug)]
struct Members {
    shape: Shape,
    drawing: Drawing,
}

impl<'a> Source for View<'a> {
    type Item = (Element<'a>, f64);

    fn any(self, mut below: impl FnMut(usize) -> usize) -> Option<Self::Item> {
        let rank = below(self.len());
        self.elements(rank..rank + 1).next()
    }

    fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Self::Item)) -> u64 {
        self.scan(cursor, count, |member, score| visit((member, score)))
    }

    fn name(item: &Self::Item) -> Element<'_> {
        item.0
    }
}

impl Steps for Members {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let Some(set) = exec.peek::<SortedSet>(exec.key(args.at(1))) else {
            return Ok(Progress::Done);
        };
        let Self { shape, drawing } = self;
        Ok(drawing.step(set, |element| shape.write_element(element, reply)))
    }

    fn take_garbage(&mut self) -> Vec<Box<dyn Garbage>> {
        self.drawing.take_garbage()
    }
}
