//! What several sets have in common, have together, or have and others have not: answered, counted or kept.

use crate::collection::set::View;
use crate::collection::table::{Nothing, Table};
use crate::collection::{Digits, Element, Set};
use crate::command::elements::reply_element;
use crate::command::numbers::parse_i64;
use crate::command::strings::reply_length;
use crate::command::{Error, Exec};
use crate::protocol::{Args, Reply};

/// How a set is made of several, the first of them apart; absent ones are none. The seed is for a table that it
/// may take.
type Operation = for<'a> fn(&[Option<View<'a>>], u64) -> Members<'a>;

/// The members that came out.
#[derive(Debug)]
enum Members<'a> {
    /// Those of a set that were chosen, each once.
    Chosen(Vec<Element<'a>>),
    /// Those of several sets.
    Collected(Table<Nothing>),
}

impl Members<'_> {
    fn write(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Chosen(members) => {
                reply.set(members.len());
                members.iter().for_each(|member| reply_element(reply, *member));
            }
            Self::Collected(table) => {
                reply.set(table.len());
                table.iter().for_each(|(member, ())| reply.bulk(member));
            }
        }
    }

    fn into_table(self, seed: u64) -> Table<Nothing> {
        match self {
            Self::Chosen(members) => {
                let mut table = Table::new(seed);
                members.into_iter().for_each(|member| insert(&mut table, member));
                table
            }
            Self::Collected(table) => table,
        }
    }
}

fn insert(table: &mut Table<Nothing>, member: Element<'_>) {
    table.insert(member.bytes(&mut Digits::new()), ());
}

// --- commands ------------------------------------------------------------------------------------

pub(super) fn sinter(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, reply, intersection)
}

pub(super) fn sunion(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, reply, union)
}

pub(super) fn sdiff(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    answer(exec, args, reply, difference)
}

pub(super) fn sinterstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    store(exec, args, reply, intersection)
}

pub(super) fn sunionstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    store(exec, args, reply, union)
}

pub(super) fn sdiffstore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    store(exec, args, reply, difference)
}

pub(super) fn sintercard(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    const NO_COUNT: Error = Error::Static("ERR numkeys should be greater than 0");
    const TOO_MANY: Error =
        Error::Static("ERR Number of keys can't be greater than number of args");
    let number = |arg| parse_i64(arg).and_then(|number| usize::try_from(number).ok());
    let key_count = number(args.at(1)).filter(|&count| count > 0).ok_or(NO_COUNT)?;
    if key_count > args.len() - 2 {
        return Err(TOO_MANY);
    }
    let mut limit = 0;
    let mut options = args.from(2 + key_count);
    while let Some(option) = options.next() {
        if !option.eq_ignore_ascii_case(b"limit") {
            return Err(Error::Syntax);
        }
        let most = options.next().ok_or(Error::Syntax)?;
        limit = number(most).ok_or(Error::Static("ERR LIMIT can't be negative"))?;
    }
    let sets = meet_all(exec, args.from(2).take(key_count))?;
    let limit = if limit == 0 { usize::MAX } else { limit };
    reply_length(reply, common(&sets).into_iter().flatten().take(limit).count());
    Ok(())
}

fn answer(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    operation: Operation,
) -> Result<(), Error> {
    let seed = exec.random(exec.key(args.at(1))).next();
    let sets = meet_all(exec, args.from(1))?;
    operation(&sets, seed).write(reply);
    Ok(())
}

fn store(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    operation: Operation,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let seed = exec.random(key).next();
    let members = operation(&meet_all(exec, args.from(2))?, seed).into_table(seed);
    reply_length(reply, members.len());
    exec.replace::<Set, _>(key, |set, edit| set.fill(members, edit));
    Ok(())
}

/// The sets of several keys, absent ones as none.
fn meet_all<'e, 'k>(
    exec: &'e mut Exec<'_>,
    names: impl Iterator<Item = &'k [u8]> + Clone,
) -> Result<Vec<Option<View<'e>>>, Error> {
    for name in names.clone() {
        exec.meet::<Set>(exec.key(name))?;
    }
    Ok(names.map(|name| exec.peek::<Set>(exec.key(name))).collect())
}

// --- operations ----------------------------------------------------------------------------------

fn intersection<'a>(sets: &[Option<View<'a>>], _: u64) -> Members<'a> {
    Members::Chosen(common(sets).into_iter().flatten().collect())
}

/// The members that all sets have, which are looked for from the smallest set on; none if a set is absent.
fn common<'a>(sets: &[Option<View<'a>>]) -> Option<impl Iterator<Item = Element<'a>> + use<'a>> {
    let mut sets: Vec<_> = sets.iter().copied().collect::<Option<_>>()?;
    sets.sort_by_key(|set| set.len());
    let others = sets.split_off(1);
    let smallest = sets.pop()?;
    Some(smallest.iter().filter(move |member| others.iter().all(|other| other.contains(*member))))
}

fn union<'a>(sets: &[Option<View<'a>>], seed: u64) -> Members<'a> {
    let mut sets = sets.iter().flatten();
    let (first, second) = (sets.next(), sets.next());
    let Some(second) = second else {
        return Members::Chosen(first.into_iter().flat_map(|set| set.iter()).collect());
    };
    let mut table = Table::new(seed);
    for set in first.into_iter().chain([second]).chain(sets) {
        set.iter().for_each(|member| insert(&mut table, member));
    }
    Members::Collected(table)
}

/// As Redis, either looks for each member of the first set in the others, the largest of them first, or takes the
/// members of the others out of a copy of the first, whichever seems to be less work.
fn difference<'a>(sets: &[Option<View<'a>>], seed: u64) -> Members<'a> {
    let Some((Some(first), others)) = sets.split_first() else {
        return Members::Chosen(Vec::new());
    };
    let mut others: Vec<_> = others.iter().flatten().copied().collect();
    let looks = first.len() * (1 + others.len()) / 2;
    let removals = first.len() + others.iter().map(|other| other.len()).sum::<usize>();
    if looks <= removals {
        others.sort_by_key(|other| std::cmp::Reverse(other.len()));
        let is_left = |member: &Element<'_>| !others.iter().any(|other| other.contains(*member));
        return Members::Chosen(first.iter().filter(is_left).collect());
    }
    let mut table = Table::new(seed);
    first.iter().for_each(|member| insert(&mut table, member));
    for member in others.iter().flat_map(|other| other.iter()) {
        table.remove(member.bytes(&mut Digits::new()));
        if table.is_empty() {
            break;
        }
    }
    Members::Collected(table)
}
