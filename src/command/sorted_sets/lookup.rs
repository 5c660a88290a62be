//! Commands that ask for members by name, or only count.

use super::bounds;
use crate::collection::Digits;
use crate::collection::SortedSet;
use crate::collection::sorted_set::Edge;
use crate::command::elements::{Scan, Walk};
use crate::command::scan::KeyList;
use crate::command::strings::reply_length;
use crate::command::{Error, Exec};
use crate::double;
use crate::protocol::{Args, Reply};

pub(super) fn zcard(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    reply_length(reply, exec.read::<SortedSet>(key)?.map_or(0, |set| set.len()));
    Ok(())
}

pub(super) fn zscore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let set = exec.read::<SortedSet>(key)?;
    reply_score(reply, set.and_then(|set| set.score(args.at(2))));
    Ok(())
}

pub(super) fn zmscore(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let set = exec.read::<SortedSet>(key)?;
    let members = args.from(2);
    reply.array(members.len());
    for member in members {
        reply_score(reply, set.and_then(|set| set.score(member)));
    }
    Ok(())
}

fn reply_score(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

pub(super) fn zcount(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    count(exec, args, bounds::scores(args.at(2), args.at(3))?, reply)
}

pub(super) fn zlexcount(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    count(exec, args, bounds::members(args.at(2), args.at(3))?, reply)
}

fn count(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    (from, to): (Edge<'_>, Edge<'_>),
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let set = exec.read::<SortedSet>(key)?;
    reply_length(reply, set.map_or(0, |set| set.between(from, to).len()));
    Ok(())
}

pub(super) fn zrank(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    rank(exec, args, false, reply)
}

pub(super) fn zrevrank(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    rank(exec, args, true, reply)
}

fn rank(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reverse: bool,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let with_score = match args.get(3) {
        None => false,
        Some(_) if args.len() > 4 => {
            let name = if reverse { "zrevrank" } else { "zrank" };
            return Err(Error::Arity(name.to_owned()));
        }
        Some(word) if word.eq_ignore_ascii_case(b"withscore") => true,
        Some(_) => return Err(Error::Syntax),
    };
    let key = exec.key(args.at(1));
    let found = exec.read::<SortedSet>(key)?.and_then(|set| {
        let (rank, score) = set.find(args.at(2))?;
        Some((if reverse { set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        None if with_score => reply.null_array(),
        None => reply.null(),
        Some((rank, _)) if !with_score => reply_length(reply, rank),
        Some((rank, score)) => {
            reply.array(2);
            reply_length(reply, rank);
            reply.double(score);
        }
    }
    Ok(())
}

pub(super) fn zscan(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let (key, cursor) = (exec.key(args.at(1)), Scan::cursor(args, Walk::Members)?);
    let mut found = KeyList::new(reply.proto());
    let mut next = 0;
    if let Some(set) = exec.read::<SortedSet>(key)? {
        let options = Scan::parse(args, Walk::Members)?;
        next = set.scan(cursor, options.count, |member, score| {
            let mut digits = Digits::new();
            let member = member.bytes(&mut digits);
            if options.pattern.matches(member) {
                found.push(member);
                found.push(double::Text::of(score).as_bytes());
            }
        });
    }
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    found.write(reply);
    Ok(())
}
