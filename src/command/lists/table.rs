//! The rows of the list commands.

use super::blocking::{blmove, blmpop, blpop, brpop, brpoplpush};
use super::search::lpos;
use super::{
    POPPED, POPPED_OF_SEVERAL, lindex, linsert, llen, lmove, lmpop, lpop, lpush, lpushx, lrange,
    lrem, lset, ltrim, rpop, rpoplpush, rpush, rpushx,
};
use crate::command::elements::covers_much;
use crate::command::{Command, DataHandler, Flags, Group, Keys, Stepwise};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.union(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.union(Flags::FAST);
/// Looks at many elements, maybe at all.
const LONG: Flags = Flags::LONG.union(Flags::STEPWISE);
const BLOCK: Flags = Flags::WRITE.union(Flags::BLOCKING);
const BLOCK_NOSCRIPT: Flags = BLOCK.union(Flags::NOSCRIPT);
const BLOCK_GROW: Flags = BLOCK_NOSCRIPT.union(Flags::DENYOOM);

/// The commands of this group, all of them by name.
pub const COMMANDS: &[Command] = &[
    row("blmove", 6, BLOCK_GROW, blmove)
        .on(Keys::TWO)
        .doc("6.2.0", "Moves an element as LMOVE does, waiting for one if there is none."),
    row("blmpop", -5, BLOCK.union(Flags::MOVABLE_KEYS), blmpop)
        .on(Keys::Counted { count: 2 })
        .doc("7.0.0", "Removes elements as LMPOP does, waiting for one if there is none.")
        .cost("O(N + M) with the number of keys and the number of elements answered"),
    row("blpop", -3, BLOCK_NOSCRIPT, blpop)
        .on(Keys::BUT_LAST)
        .doc("2.0.0", "Removes the first element of the first list that has any, or waits for one.")
        .cost("O(N) with the number of keys"),
    row("brpop", -3, BLOCK_NOSCRIPT, brpop)
        .on(Keys::BUT_LAST)
        .doc("2.0.0", "Removes the last element of the first list that has any, or waits for one.")
        .cost("O(N) with the number of keys"),
    row("brpoplpush", 4, BLOCK_GROW, brpoplpush)
        .on(Keys::TWO)
        .doc("2.2.0", "Moves an element as RPOPLPUSH does, waiting for one if there is none."),
    row("lindex", 3, READ, lindex)
        .doc("1.0.0", "Answers the element at a position.")
        .cost("O(N) with the number of elements to skip, in large steps"),
    row("linsert", 5, GROW.union(LONG), linsert)
        .doc("2.2.0", "Puts an element in before or after another.")
        .cost("O(N) with the number of elements before that other"),
    row("llen", 2, READ_FAST, llen).doc("1.0.0", "Answers the number of elements."),
    row("lmove", 5, GROW, lmove)
        .on(Keys::TWO)
        .doc("6.2.0", "Moves an element from one end of a list to an end of another, and answers it."),
    row("lmpop", -4, Flags::WRITE.union(Flags::MOVABLE_KEYS), lmpop)
        .on(Keys::Counted { count: 1 })
        .in_steps(POPPED_OF_SEVERAL)
        .doc("7.0.0", "Removes elements from an end of the first list that has any, and answers them.")
        .cost("O(N + M) with the number of keys and the number of elements answered"),
    row("lpop", -2, WRITE_FAST, lpop)
        .in_steps(POPPED)
        .doc("1.0.0", "Removes the first elements and answers them.")
        .cost("O(N) with the number of elements answered"),
    row("lpos", -3, READ.union(LONG), lpos)
        .doc("6.0.6", "Answers where elements stand that are equal to one.")
        .cost("O(N) with the number of elements compared"),
    row("lpush", -3, GROW_FAST, lpush)
        .doc("1.0.0", "Puts elements in front, making the list if there is none.")
        .cost("O(1) for each element"),
    row("lpushx", -3, GROW_FAST, lpushx)
        .doc("2.2.0", "Puts elements in front if the list is there.")
        .cost("O(1) for each element"),
    row("lrange", 4, READ, lrange)
        .in_steps(Stepwise::if_asked(covers_much))
        .doc("1.0.0", "Answers the elements between two positions.")
        .cost("O(S + N) with the distance from the nearer end, in large steps, and the elements answered"),
    row("lrem", 4, Flags::WRITE.union(LONG), lrem)
        .doc("1.0.0", "Removes elements that are equal to one, the first or the last of them or all.")
        .cost("O(N) with the number of elements"),
    row("lset", 4, GROW, lset)
        .doc("1.0.0", "Puts an element in place of the one at a position.")
        .cost("O(N) with the number of elements to skip, in large steps"),
    row("ltrim", 4, Flags::WRITE, ltrim)
        .doc("1.0.0", "Removes all elements but those between two positions.")
        .cost("O(N) with the number of elements removed, in large steps"),
    row("rpop", -2, WRITE_FAST, rpop)
        .in_steps(POPPED)
        .doc("1.0.0", "Removes the last elements and answers them.")
        .cost("O(N) with the number of elements answered"),
    row("rpoplpush", 3, GROW, rpoplpush)
        .on(Keys::TWO)
        .doc("1.2.0", "Moves the last element of a list to the front of another, and answers it."),
    row("rpush", -3, GROW_FAST, rpush)
        .doc("1.0.0", "Puts elements at the end, making the list if there is none.")
        .cost("O(1) for each element"),
    row("rpushx", -3, GROW_FAST, rpushx)
        .doc("2.2.0", "Puts elements at the end if the list is there.")
        .cost("O(1) for each element"),
];

const fn row(name: &'static str, arity: i8, flags: Flags, handler: DataHandler) -> Command {
    Command::keyed(name, arity, Group::List, handler).with(flags)
}
