//! `LPOS`: where in a list elements are that are equal to one.

use std::collections::VecDeque;

use super::{Answer, not_least};
use crate::collection::list::{End, View};
use crate::collection::{Element, List};
use crate::command::steps::{self, Progress, Steps};
use crate::command::strings::reply_length;
use crate::command::{Error, Exec, numbers::integer};
use crate::limits::STEP_ELEMENTS;
use crate::protocol::{Args, Reply};

const NO_RANK: Error = Error::Static(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative \
     to start from the end of the list",
);

/// What follows key and element.
#[derive(Debug)]
struct Options {
    /// The first match that counts, from 0 on.
    rank: usize,
    from_end: bool,
    /// How many matches are asked for; one, answered alone, if nothing is said.
    count: Option<usize>,
    /// How many elements are compared.
    compared: usize,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Self, Error> {
        let mut options = Self { rank: 0, from_end: false, count: None, compared: usize::MAX };
        let mut rest = args.from(3);
        while let Some(word) = rest.next() {
            let argument = rest.next().ok_or(Error::Syntax)?;
            if word.eq_ignore_ascii_case(b"RANK") {
                let rank = not_least(argument)?;
                options.from_end = rank < 0;
                let rank = usize::try_from(rank.unsigned_abs()).unwrap_or(usize::MAX);
                options.rank = rank.checked_sub(1).ok_or(NO_RANK)?;
            } else if word.eq_ignore_ascii_case(b"COUNT") {
                options.count = Some(none_for_all(argument, "ERR COUNT can't be negative")?);
            } else if word.eq_ignore_ascii_case(b"MAXLEN") {
                options.compared = none_for_all(argument, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(Error::Syntax);
            }
        }
        Ok(options)
    }
}

/// A number, where 0 stands for all there are.
fn none_for_all(text: &[u8], error: &'static str) -> Result<usize, Error> {
    match integer(text).map(usize::try_from) {
        Ok(Ok(0)) => Ok(usize::MAX),
        Ok(Ok(number)) => Ok(number),
        _ => Err(Error::Static(error)),
    }
}

pub(super) fn lpos(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let options = Options::parse(args)?;
    exec.meet::<List>(exec.key(args.at(1)))?;
    let searching = Searching {
        options,
        compared: 0,
        met: 0,
        found: VecDeque::new(),
        count: 0,
        is_over: false,
    };
    steps::run(exec, args, reply, searching)
}

/// Elements that are being searched.
#[derive(Debug)]
struct Searching {
    options: Options,
    /// How many elements have been compared.
    compared: usize,
    /// How many of them match.
    met: usize,
    /// Where those are that are asked for, a part for each step.
    found: VecDeque<Vec<usize>>,
    count: usize,
    /// Whether none are searched any more.
    is_over: bool,
}

impl Steps for Searching {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        if !self.is_over {
            let view = exec.peek::<List>(exec.key(args.at(1)));
            self.is_over = view.is_none_or(|view| self.search_some(view, Element::of(args.at(2))));
            if self.is_over && self.options.count.is_some() {
                reply.array(self.count);
            }
            return Ok(Progress::Begun);
        }
        let part = self.found.pop_front().unwrap_or_default();
        part.iter().for_each(|position| reply_length(reply, *position));
        if self.options.count.is_none() && self.count == 0 {
            reply.null();
        }
        Ok(Progress::done_if(self.found.is_empty()))
    }
}

impl Searching {
    /// Compares some elements; whether these were the last.
    fn search_some(&mut self, view: View<'_>, wanted: Element<'_>) -> bool {
        let compared = self.options.compared.min(view.len());
        let asked = self.options.count.unwrap_or(1);
        let end = if self.options.from_end { End::Right } else { End::Left };
        let (count, mut found) = ((compared - self.compared).min(STEP_ELEMENTS), Vec::new());
        view.visit_from((end, self.compared), count, |position, element| {
            if element == wanted {
                self.met += 1;
                if self.met > self.options.rank {
                    found.push(position);
                }
            }
            self.count + found.len() == asked
        });
        self.compared += count;
        self.count += found.len();
        if !found.is_empty() {
            self.found.push_back(found);
        }
        self.compared == compared || self.count == asked
    }
}
