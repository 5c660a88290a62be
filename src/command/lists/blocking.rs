//! `BLPOP`, `BRPOP`, `BLMPOP`, `BLMOVE`, `BRPOPLPUSH`: as the commands without `B`, but the client may wait for an element.

use super::{Answer, End, end_named, lmpop_options, move_between, pop_from_first, popped_from};
use crate::cache::Missing;
use crate::collection::{Collection, Edit, List};
use crate::command::blocking::timeout_ms;
use crate::command::elements::reply_element;
use crate::command::exec::Exec;
use crate::protocol::{Args, Reply};

pub(super) fn blpop(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    pop_one(exec, args, reply, End::Left)
}

pub(super) fn brpop(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    pop_one(exec, args, reply, End::Right)
}

/// Pops one element of the first list that has any.
fn pop_one(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>, end: End) -> Answer {
    let last = args.len() - 1;
    let wait_ms = timeout_ms(args.at(last))?;
    for name in args.from(1).take(last - 1) {
        let key = exec.key(name);
        let popped = exec.change(key, Missing::Skip, |list: &mut List, edit: &mut Edit<'_>| {
            reply.array(2);
            reply.bulk(name);
            if let Some(element) = list.view().peek(end) {
                reply_element(reply, element);
            }
            list.pop(end, 1, edit);
        })?;
        if popped.is_some() {
            exec.tell(key, popped_from(end));
            return Ok(());
        }
    }
    exec.handover.wait_ms = Some(wait_ms);
    reply.null_array();
    Ok(())
}

pub(super) fn blmpop(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let (keys, end, count) = lmpop_options(args, 2)?;
    let wait_ms = timeout_ms(args.at(1))?;
    if !pop_from_first(exec, args, 3..3 + keys, (end, count), reply)? {
        exec.handover.wait_ms = Some(wait_ms);
        reply.null_array();
    }
    Ok(())
}

pub(super) fn blmove(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let ends = (end_named(args.at(3))?, end_named(args.at(4))?);
    let wait_ms = timeout_ms(args.at(5))?;
    move_or_wait(exec, args, reply, (ends, wait_ms))
}

pub(super) fn brpoplpush(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let wait_ms = timeout_ms(args.at(3))?;
    move_or_wait(exec, args, reply, ((End::Right, End::Left), wait_ms))
}

fn move_or_wait(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    (ends, wait_ms): ((End, End), u64),
) -> Answer {
    if !move_between(exec, args, reply, ends)? {
        exec.handover.wait_ms = Some(wait_ms);
        reply.null();
    }
    Ok(())
}
