//! `ZADD`, `ZINCRBY`, `ZREM`.

use crate::cache::Missing;
use crate::collection::{Edit, SortedSet};
use crate::command::strings::reply_length;
use crate::command::{Error, Exec, events};
use crate::double;
use crate::protocol::{Args, Reply};

bitflags::bitflags! {
    /// What may stand before the scores of a `ZADD`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Options: u8 {
        /// Only members that are not there.
        const NX = 1 << 0;
        /// Only members that are there.
        const XX = 1 << 1;
        /// Those that are there only if their score gets greater.
        const GT = 1 << 2;
        /// Those that are there only if their score gets less.
        const LT = 1 << 3;
        /// Members with another score are counted too.
        const CH = 1 << 4;
        /// The score is added to the one there is.
        const INCR = 1 << 5;
    }
}

impl Options {
    const NAMES: [(&'static str, Self); 6] = [
        ("NX", Self::NX),
        ("XX", Self::XX),
        ("GT", Self::GT),
        ("LT", Self::LT),
        ("CH", Self::CH),
        ("INCR", Self::INCR),
    ];

    fn named(word: &[u8]) -> Option<Self> {
        // A score begins with no letter, but for infinity.
        if !word.first().is_some_and(u8::is_ascii_alphabetic) {
            return None;
        }
        let mut names = Self::NAMES.iter();
        names.find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, flag)| *flag)
    }

    /// Whether they make sense together, and with so many members.
    fn check(self, pairs: usize) -> Result<(), Error> {
        if self.contains(Self::NX | Self::XX) {
            let text = "ERR XX and NX options at the same time are not compatible";
            return Err(Error::Static(text));
        }
        if (self & (Self::NX | Self::GT | Self::LT)).bits().count_ones() > 1 {
            let text = "ERR GT, LT, and/or NX options at the same time are not compatible";
            return Err(Error::Static(text));
        }
        if self.contains(Self::INCR) && pairs > 1 {
            let text = "ERR INCR option supports a single increment-element pair";
            return Err(Error::Static(text));
        }
        Ok(())
    }

    /// What `amount` makes of a member's score.
    fn decide(self, before: Option<f64>, amount: f64) -> Verdict {
        let Some(before) = before else {
            return if self.contains(Self::XX) { Verdict::Leave } else { Verdict::Put(amount) };
        };
        if self.contains(Self::NX) {
            return Verdict::Leave;
        }
        let score = if self.contains(Self::INCR) { before + amount } else { amount };
        if score.is_nan() {
            return Verdict::NotANumber;
        }
        let is_barred = (self.contains(Self::LT) && score >= before)
            || (self.contains(Self::GT) && score <= before);
        if is_barred { Verdict::Leave } else { Verdict::Put(score) }
    }
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Put(f64),
    Leave,
    NotANumber,
}

pub(super) fn zadd(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    add(exec, args, Options::empty(), reply)
}

pub(super) fn zincrby(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    add(exec, args, Options::INCR, reply)
}

fn add(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    mut options: Options,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let mut first = 2;
    while let Some(option) = args.get(first).and_then(Options::named) {
        options |= option;
        first += 1;
    }
    let count = args.len() - first;
    if count == 0 || !count.is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    options.check(count / 2)?;
    // All scores are looked at before anything is done.
    let is_score = |at: usize| double::parse(args.at(at)).is_some();
    if !(first..args.len()).step_by(2).all(is_score) {
        return Err(Error::NotAFloat);
    }
    let missing = if options.contains(Options::XX) { Missing::Skip } else { Missing::Create };
    let key = exec.key(args.at(1));
    let added = exec.change(key, missing, |set: &mut SortedSet, edit: &mut Edit<'_>| {
        let mut added = Added::default();
        for at in (first..args.len()).step_by(2) {
            let amount = double::parse(args.at(at)).unwrap_or(0.0);
            added.add(set, edit, (args.at(at + 1), amount), options);
        }
        added
    })?;
    let added = added.unwrap_or_default();
    if added.added + added.moved > 0 {
        let is_sum = options.contains(Options::INCR);
        exec.tell(key, if is_sum { events::ZINCR } else { events::ZADD });
    }
    added.write(options, reply)
}

/// What has come of a `ZADD`.
#[derive(Debug, Default)]
struct Added {
    added: usize,
    moved: usize,
    /// The last score, unless the options left the member as it was.
    score: Option<f64>,
    is_not_a_number: bool,
}

impl Added {
    #[inline]
    fn add(
        &mut self,
        set: &mut SortedSet,
        edit: &mut Edit<'_>,
        (member, amount): (&[u8], f64),
        options: Options,
    ) {
        let update = set.update(member, edit, |before| match options.decide(before, amount) {
            Verdict::Put(score) => {
                self.score = Some(score);
                Some(score)
            }
            Verdict::Leave => None,
            Verdict::NotANumber => {
                self.is_not_a_number = true;
                None
            }
        });
        self.added += usize::from(update.is_added());
        self.moved += usize::from(update.is_moved());
    }

    fn write(self, options: Options, reply: &mut Reply<'_>) -> Result<(), Error> {
        if self.is_not_a_number {
            return Err(Error::Static("ERR resulting score is not a number (NaN)"));
        }
        if options.contains(Options::INCR) {
            match self.score {
                Some(score) => reply.double(score),
                None => reply.null(),
            }
            return Ok(());
        }
        let moved = if options.contains(Options::CH) { self.moved } else { 0 };
        reply_length(reply, self.added + moved);
        Ok(())
    }
}

pub(super) fn zrem(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let removed = exec.change(key, Missing::Skip, |set: &mut SortedSet, edit: &mut Edit<'_>| {
        args.from(2).filter(|member| set.remove(member, edit)).count()
    })?;
    reply_length(reply, removed.unwrap_or(0));
    Ok(())
}
