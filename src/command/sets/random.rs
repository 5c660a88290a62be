//! `SPOP` and `SRANDMEMBER`: members chosen at random.

use super::set_at;
use crate::cache::{Missing, Random};
use crate::collection::set::View;
use crate::collection::{Element, Garbage, Set};
use crate::command::drawing::{Drawing, Source, are_many};
use crate::command::elements::{self, reply_element};
use crate::command::numbers::parse_i64;
use crate::command::steps::{self, Progress, Steps};
use crate::command::weighing::Room;
use crate::command::{Error, Exec, Stepwise, events};
use crate::limits::{RANDOM_REPEATS_MAX, STEP_ELEMENTS, STEP_LONG_ELEMENTS};
use crate::protocol::{Args, Reply};
use crate::types::Key;

pub(super) fn spop(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let Some(count) = args.get(2) else { return pop_one(exec, key, reply) };
    let count = parse_i64(count).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(Error::Static("ERR value is out of range, must be positive"))?;
    pop_many(exec, args, count, reply)
}

fn pop_one(exec: &mut Exec<'_>, key: Key<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let mut random = exec.random(key);
    let popped = exec.change::<Set, _>(key, Missing::Skip, |set, edit| {
        set.pop(1, |bound| random.below(bound), edit, |member| reply.bulk(member));
    })?;
    match popped {
        Some(()) => exec.tell(key, events::SPOP),
        None => reply.null(),
    }
    Ok(())
}

/// If a request asks for many.
pub(super) const POPPED: Stepwise =
    Stepwise::if_asked_for_more_than::<{ STEP_LONG_ELEMENTS as i64 }>(3);

fn pop_many(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    count: usize,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let Some(set) = set_at(exec, key)?.filter(|_| count > 0) else {
        reply.set(0);
        return Ok(());
    };
    let (length, bytes_max) = (set.len(), set.names_bytes_max());
    reply.set(count.min(length));
    if count >= length {
        return steps::run(exec, args, reply, PoppingAll { cursor: 0 });
    }
    let room = Room::of(exec, key, count.div_ceil(STEP_LONG_ELEMENTS))?;
    let has_room = room.takes(count, bytes_max);
    let weighing = (!has_room).then_some(Weighing { room, cursor: 0, longest: 0 });
    let random = exec.random(key);
    steps::run(exec, args, reply, Popping { weighing, left: count, random })
}

/// Members that are looked at before some of them are taken out, which may be the longest.
#[derive(Debug)]
struct Weighing {
    room: Room,
    cursor: u64,
    /// Bytes of the longest so far.
    longest: usize,
}

impl Weighing {
    /// Looks at some; whether there are others.
    fn goes_on(&mut self, set: View<'_>, count: usize) -> Result<bool, Error> {
        let Self { room, cursor, longest } = self;
        *cursor = set.scan(*cursor, STEP_ELEMENTS, |member| *longest = member.len().max(*longest));
        room.check(count, longest.saturating_mul(count))?;
        Ok(*cursor != 0)
    }
}

/// All members, which are answered and then go.
#[derive(Debug)]
struct PoppingAll {
    cursor: u64,
}

impl Steps for PoppingAll {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let key = exec.key(args.at(1));
        let visit = |member: Element<'_>| reply_element(reply, member);
        let set = exec.peek::<Set>(key);
        self.cursor = set.map_or(0, |set| set.scan(self.cursor, STEP_ELEMENTS, visit));
        if self.cursor == 0 && exec.delete(key) {
            exec.tell(key, events::SPOP);
        }
        Ok(Progress::done_if(self.cursor == 0))
    }
}

/// Members that are being taken out.
#[derive(Debug)]
struct Popping {
    /// Before any is.
    weighing: Option<Weighing>,
    left: usize,
    random: Random,
}

impl Steps for Popping {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let (key, count) = (exec.key(args.at(1)), self.left.min(STEP_LONG_ELEMENTS));
        if let Some(weighing) = &mut self.weighing {
            let set = exec.peek::<Set>(key);
            if !set.map_or(Ok(false), |set| weighing.goes_on(set, self.left))? {
                self.weighing = None;
            }
            return Ok(Progress::Begun);
        }
        exec.change::<Set, _>(key, Missing::Skip, |set, edit| {
            set.pop(count, |bound| self.random.below(bound), edit, |member| reply.bulk(member));
        })?;
        self.left -= count;
        if self.left == 0 {
            exec.tell(key, events::SPOP);
        }
        Ok(Progress::done_if(self.left == 0))
    }
}

pub(super) fn srandmember(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    if args.len() > 3 {
        return Err(Error::Syntax);
    }
    let mut random = exec.random(key);
    let mut below = |bound| random.below(bound);
    let Some(count) = args.get(2) else {
        match exec.read::<Set>(key)?.and_then(|set| set.random(below)) {
            Some(member) => reply_element(reply, member),
            None => reply.null(),
        }
        return Ok(());
    };
    let (count, may_repeat) = random_count(count)?;
    let Some(set) = exec.read::<Set>(key)? else {
        reply.array(0);
        return Ok(());
    };
    let (there, count) = (set.len(), if may_repeat { count } else { count.min(set.len()) });
    if are_many(count) {
        reply.array(count);
        let drawing = Drawing::new(count, there, may_repeat, random);
        return steps::run(exec, args, reply, Members(drawing));
    }
    if may_repeat {
        reply.array(count);
        let drawn = (0..count).filter_map(|_| set.random(&mut below));
        drawn.for_each(|member| reply_element(reply, member));
    } else {
        reply.array(count);
        set.sample(count, below, |member| reply_element(reply, member));
    }
    Ok(())
}

/// Very many members that are being chosen.
#[derive(Debug)]
struct Members(Drawing);

impl<'a> Source for View<'a> {
    type Item = Element<'a>;

    fn any(self, below: impl FnMut(usize) -> usize) -> Option<Self::Item> {
        self.random(below)
    }

    fn scan(self, cursor: u64, count: usize, visit: impl FnMut(Self::Item)) -> u64 {
        self.scan(cursor, count, visit)
    }

    fn name(item: &Self::Item) -> Element<'_> {
        *item
    }
}

impl Steps for Members {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let Some(set) = exec.peek::<Set>(exec.key(args.at(1))) else { return Ok(Progress::Done) };
        Ok(self.0.step(set, |member| reply_element(reply, member)))
    }

    fn take_garbage(&mut self) -> Vec<Box<dyn Garbage>> {
        self.0.take_garbage()
    }
}

/// How many members are wanted, and whether one may come several times: of which a negative number tells.
fn random_count(arg: &[u8]) -> Result<(usize, bool), Error> {
    let count = elements::random_count(arg)?;
    let may_repeat = count < 0;
    let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if may_repeat && count > RANDOM_REPEATS_MAX {
        return Err(Error::Static("ERR value is out of range"));
    }
    Ok((count, may_repeat))
}
