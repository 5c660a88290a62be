//! `LPOS`: where in a list elements are that are equal to one.

use super::{Answer, not_least};
use crate::collection::list::View;
use crate::collection::{Element, List};
use crate::command::strings::reply_length;
use crate::command::{Error, Exec, numbers::integer};
use crate::protocol::{Args, Reply};

const NO_RANK: Error = Error::Static(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative \
     to start from the end of the list",
);

/// What follows key and element.
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

    /// Calls `found` with the position of each match that is asked for.
    fn search(&self, view: View<'_>, wanted: Element<'_>, found: impl FnMut(usize)) {
        let length = view.len();
        let is_wanted = |(at, element): (usize, Element<'_>)| (element == wanted).then_some(at);
        let compared = self.compared.min(length);
        let asked = self.count.unwrap_or(1);
        if self.from_end {
            let backwards = (0..length).rev().zip(view.iter().rev()).take(compared);
            backwards.filter_map(is_wanted).skip(self.rank).take(asked).for_each(found);
        } else {
            let forwards = view.iter().enumerate().take(compared);
            forwards.filter_map(is_wanted).skip(self.rank).take(asked).for_each(found);
        }
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
    let key = exec.key(args.at(1));
    let view = exec.read::<List>(key)?;
    let mut positions = Vec::new();
    if let Some(view) = view {
        options.search(view, Element::of(args.at(2)), |position| positions.push(position));
    }
    match (options.count, positions.first()) {
        (Some(_), _) => {
            reply.array(positions.len());
            positions.iter().for_each(|position| reply_length(reply, *position));
        }
        (None, Some(position)) => reply_length(reply, *position),
        (None, None) => reply.null(),
    }
    Ok(())
}
