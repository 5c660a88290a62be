//! The commands on sorted sets: their rows. The handlers are in modules of their own by what they do.

mod algebra;
mod bounds;
mod lookup;
mod made;
mod pop;
mod random;
mod range;
#[cfg(test)]
pub(crate) mod tests;
mod update;
mod weighing;

use super::{Command, Flags, Group, Handler, Keys, Stepwise, drawing};
use crate::collection::{Digits, Element};
use crate::protocol::{Proto, Reply};

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.union(Flags::FAST);
const READ_STEPWISE: Flags = READ.union(Flags::STEPWISE);
const READ_KEYS: Flags = READ_STEPWISE.union(Flags::MOVABLE_KEYS).union(Flags::LONG);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.union(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const BLOCK: Flags = Flags::WRITE.union(Flags::BLOCKING);
const BLOCK_FAST: Flags = BLOCK.union(Flags::NOSCRIPT).union(Flags::FAST);
const STORE: Flags = GROW.union(Flags::MOVABLE_KEYS).union(Flags::LONG).union(Flags::STEPWISE);

/// The number of keys is the first argument.
const COUNTED: Keys = Keys::Counted { count: 1 };

/// The commands of this group, all of them by name.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "bzmpop",
        arity: -5,
        flags: BLOCK.union(Flags::MOVABLE_KEYS),
        keys: Keys::Counted { count: 2 },
        handler: Handler::Keyed(pop::bzmpop),
        group: Group::SortedSet,
        summary: "Removes and answers members as ZMPOP does, waiting for one if there is none.",
        since: "7.0.0",
        steps: None,
        complexity: "O(K) + O(M*log(N)) with the keys K, the members removed M and the members there N",
    },
    Command {
        name: "bzpopmax",
        arity: -3,
        flags: BLOCK_FAST,
        keys: Keys::BUT_LAST,
        handler: Handler::Keyed(pop::bzpopmax),
        group: Group::SortedSet,
        summary: "Removes and answers the member with the highest score of the first sorted set that has \
                  any, or waits for one.",
        since: "5.0.0",
        steps: None,
        complexity: "O(log(N)) with the members there N",
    },
    Command {
        name: "bzpopmin",
        arity: -3,
        flags: BLOCK_FAST,
        keys: Keys::BUT_LAST,
        handler: Handler::Keyed(pop::bzpopmin),
        group: Group::SortedSet,
        summary: "Removes and answers the member with the lowest score of the first sorted set that has \
                  any, or waits for one.",
        since: "5.0.0",
        steps: None,
        complexity: "O(log(N)) with the members there N",
    },
    Command {
        name: "zadd",
        arity: -4,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(update::zadd),
        group: Group::SortedSet,
        summary: "Gives members scores, under conditions if asked to.",
        since: "1.2.0",
        steps: None,
        complexity: "O(log(N)) for each member, with N the members there are",
    },
    Command {
        name: "zcard",
        arity: 2,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(lookup::zcard),
        group: Group::SortedSet,
        summary: "Counts the members of a sorted set.",
        since: "1.2.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "zcount",
        arity: 4,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(lookup::zcount),
        group: Group::SortedSet,
        summary: "Counts the members with scores in a range.",
        since: "2.0.0",
        steps: None,
        complexity: "O(log(N)) with the number of members",
    },
    Command {
        name: "zdiff",
        arity: -3,
        flags: READ_KEYS,
        keys: COUNTED,
        handler: Handler::Keyed(algebra::zdiff),
        group: Group::SortedSet,
        summary: "Answers the members of the first sorted set that are in none of the others.",
        since: "6.2.0",
        steps: Some(Stepwise::SORTING),
        complexity: "O(L + N*K + M*log(M)) with the members of all L, of the first N, the number of sets K \
                     and of members answered M",
    },
    Command {
        name: "zdiffstore",
        arity: -4,
        flags: STORE,
        keys: Keys::StoreCounted,
        handler: Handler::Keyed(algebra::zdiffstore),
        group: Group::SortedSet,
        summary: "Keeps in a key the members of the first sorted set that are in none of the others.",
        since: "6.2.0",
        steps: Some(Stepwise::SORTING),
        complexity: "O(L + N*K + M*log(M)) with the members of all L, of the first N, the number of sets K \
                     and of members kept M",
    },
    Command {
        name: "zincrby",
        arity: 4,
        flags: GROW_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(update::zincrby),
        group: Group::SortedSet,
        summary: "Adds to the score of a member, or sets it where there is none.",
        since: "1.2.0",
        steps: None,
        complexity: "O(log(N)) with the number of members",
    },
    Command {
        name: "zinter",
        arity: -3,
        flags: READ_KEYS,
        keys: COUNTED,
        handler: Handler::Keyed(algebra::zinter),
        group: Group::SortedSet,
        summary: "Answers the members that all of several sorted sets have, with their scores combined.",
        since: "6.2.0",
        steps: Some(Stepwise::SORTING),
        complexity: "O(N*K + M*log(M)) with the members of the smallest N, the number of sets K and of \
                     members answered M",
    },
    Command {
        name: "zintercard",
        arity: -3,
        flags: READ_KEYS,
        keys: COUNTED,
        handler: Handler::Keyed(algebra::zintercard),
        group: Group::SortedSet,
        summary: "Counts the members that all of several sorted sets have, up to a limit.",
        since: "7.0.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(N*K) with the members of the smallest set N and the number of sets K",
    },
    Command {
        name: "zinterstore",
        arity: -4,
        flags: STORE,
        keys: Keys::StoreCounted,
        handler: Handler::Keyed(algebra::zinterstore),
        group: Group::SortedSet,
        summary: "Keeps in a key the members that all of several sorted sets have, with their scores \
                  combined.",
        since: "2.0.0",
        steps: Some(Stepwise::SORTING),
        complexity: "O(N*K + M*log(M)) with the members of the smallest N, the number of sets K and of \
                     members kept M",
    },
    Command {
        name: "zlexcount",
        arity: 4,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(lookup::zlexcount),
        group: Group::SortedSet,
        summary: "Counts the members in a range, of a sorted set whose members have one score.",
        since: "2.8.9",
        steps: None,
        complexity: "O(log(N)) with the number of members",
    },
    Command {
        name: "zmpop",
        arity: -4,
        flags: Flags::WRITE.union(Flags::MOVABLE_KEYS).union(Flags::STEPWISE),
        keys: COUNTED,
        handler: Handler::Keyed(pop::zmpop),
        group: Group::SortedSet,
        summary: "Removes and answers members with the lowest or highest scores of the first of several \
                  sorted sets that has any.",
        since: "7.0.0",
        steps: Some(pop::POPPED_OF_SEVERAL),
        complexity: "O(K + M*log(N)) with the number of sets K, of members removed M and of members there N",
    },
    Command {
        name: "zmscore",
        arity: -3,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(lookup::zmscore),
        group: Group::SortedSet,
        summary: "Answers the scores of several members.",
        since: "6.2.0",
        steps: None,
        complexity: "O(N) with the number of members asked for",
    },
    Command {
        name: "zpopmax",
        arity: -2,
        flags: WRITE_FAST.union(Flags::STEPWISE),
        keys: Keys::ONE,
        handler: Handler::Keyed(pop::zpopmax),
        group: Group::SortedSet,
        summary: "Removes and answers the members with the highest scores.",
        since: "5.0.0",
        steps: Some(pop::POPPED),
        complexity: "O(M*log(N)) with the members removed M and the members there N",
    },
    Command {
        name: "zpopmin",
        arity: -2,
        flags: WRITE_FAST.union(Flags::STEPWISE),
        keys: Keys::ONE,
        handler: Handler::Keyed(pop::zpopmin),
        group: Group::SortedSet,
        summary: "Removes and answers the members with the lowest scores.",
        since: "5.0.0",
        steps: Some(pop::POPPED),
        complexity: "O(M*log(N)) with the members removed M and the members there N",
    },
    Command {
        name: "zrandmember",
        arity: -2,
        flags: READ_STEPWISE,
        keys: Keys::ONE,
        handler: Handler::Keyed(random::zrandmember),
        group: Group::SortedSet,
        summary: "Answers members chosen at random.",
        since: "6.2.0",
        steps: Some(drawing::STEPS),
        complexity: "O(M*log(N)) with the members answered M and the members there N",
    },
    Command {
        name: "zrange",
        arity: -4,
        flags: READ_STEPWISE,
        keys: Keys::ONE,
        handler: Handler::Keyed(range::zrange),
        group: Group::SortedSet,
        summary: "Answers the members in a range of ranks, scores or names.",
        since: "1.2.0",
        steps: Some(range::RANKS),
        complexity: "O(log(N) + M) with the members there N and the members answered M",
    },
    Command {
        name: "zrangebylex",
        arity: -4,
        flags: READ_STEPWISE,
        keys: Keys::ONE,
        handler: Handler::Keyed(range::zrangebylex),
        group: Group::SortedSet,
        summary: "Answers the members in a range of names, of a sorted set whose members have one score.",
        since: "2.8.9",
        steps: Some(range::EDGES),
        complexity: "O(log(N) + M) with the members there N and the members answered M",
    },
    Command {
        name: "zrangebyscore",
        arity: -4,
        flags: READ_STEPWISE,
        keys: Keys::ONE,
        handler: Handler::Keyed(range::zrangebyscore),
        group: Group::SortedSet,
        summary: "Answers the members with scores in a range.",
        since: "1.0.5",
        steps: Some(range::EDGES),
        complexity: "O(log(N) + M) with the members there N and the members answered M",
    },
    Command {
        name: "zrangestore",
        arity: -5,
        flags: GROW.union(Flags::STEPWISE),
        keys: Keys::TWO,
        handler: Handler::Keyed(range::zrangestore),
        group: Group::SortedSet,
        summary: "Keeps in a key the members in a range of another.",
        since: "6.2.0",
        steps: Some(range::STORED),
        complexity: "O(log(N) + M*log(M)) with the members there N and the members kept M",
    },
    Command {
        name: "zrank",
        arity: -3,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(lookup::zrank),
        group: Group::SortedSet,
        summary: "Answers at which place a member stands, from the lowest score up.",
        since: "2.0.0",
        steps: None,
        complexity: "O(log(N)) with the number of members",
    },
    Command {
        name: "zrem",
        arity: -3,
        flags: WRITE_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(update::zrem),
        group: Group::SortedSet,
        summary: "Removes members from a sorted set.",
        since: "1.2.0",
        steps: None,
        complexity: "O(M*log(N)) with the members removed M and the members there N",
    },
    Command {
        name: "zremrangebylex",
        arity: 4,
        flags: Flags::WRITE.union(Flags::STEPWISE),
        keys: Keys::ONE,
        handler: Handler::Keyed(range::zremrangebylex),
        group: Group::SortedSet,
        summary: "Removes the members in a range of names, of a sorted set whose members have one score.",
        since: "2.8.9",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(M*log(N)) with the members removed M and the members there N",
    },
    Command {
        name: "zremrangebyrank",
        arity: 4,
        flags: Flags::WRITE.union(Flags::STEPWISE),
        keys: Keys::ONE,
        handler: Handler::Keyed(range::zremrangebyrank),
        group: Group::SortedSet,
        summary: "Removes the members in a range of ranks.",
        since: "2.0.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(M*log(N)) with the members removed M and the members there N",
    },
    Command {
        name: "zremrangebyscore",
        arity: 4,
        flags: Flags::WRITE.union(Flags::STEPWISE),
        keys: Keys::ONE,
        handler: Handler::Keyed(range::zremrangebyscore),
        group: Group::SortedSet,
        summary: "Removes the members with scores in a range.",
        since: "1.2.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(M*log(N)) with the members removed M and the members there N",
    },
    Command {
        name: "zrevrange",
        arity: -4,
        flags: READ_STEPWISE,
        keys: Keys::ONE,
        handler: Handler::Keyed(range::zrevrange),
        group: Group::SortedSet,
        summary: "Answers the members in a range of ranks, from the highest score down.",
        since: "1.2.0",
        steps: Some(range::RANKS),
        complexity: "O(log(N) + M) with the members there N and the members answered M",
    },
    Command {
        name: "zrevrangebylex",
        arity: -4,
        flags: READ_STEPWISE,
        keys: Keys::ONE,
        handler: Handler::Keyed(range::zrevrangebylex),
        group: Group::SortedSet,
        summary: "Answers the members in a range of names from the last to the first, of a sorted set \
                  whose members have one score.",
        since: "2.8.9",
        steps: Some(range::EDGES),
        complexity: "O(log(N) + M) with the members there N and the members answered M",
    },
    Command {
        name: "zrevrangebyscore",
        arity: -4,
        flags: READ_STEPWISE,
        keys: Keys::ONE,
        handler: Handler::Keyed(range::zrevrangebyscore),
        group: Group::SortedSet,
        summary: "Answers the members with scores in a range, from the highest score down.",
        since: "2.2.0",
        steps: Some(range::EDGES),
        complexity: "O(log(N) + M) with the members there N and the members answered M",
    },
    Command {
        name: "zrevrank",
        arity: -3,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(lookup::zrevrank),
        group: Group::SortedSet,
        summary: "Answers at which place a member stands, from the highest score down.",
        since: "2.0.0",
        steps: None,
        complexity: "O(log(N)) with the number of members",
    },
    Command {
        name: "zscan",
        arity: -3,
        flags: READ,
        keys: Keys::ONE,
        handler: Handler::Keyed(lookup::zscan),
        group: Group::SortedSet,
        summary: "Walks over the members of a sorted set, a few at a time.",
        since: "2.8.0",
        steps: None,
        complexity: "O(COUNT) a call, O(N) over the members for a whole walk",
    },
    Command {
        name: "zscore",
        arity: 3,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(lookup::zscore),
        group: Group::SortedSet,
        summary: "Answers the score of a member.",
        since: "1.2.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "zunion",
        arity: -3,
        flags: READ_KEYS,
        keys: COUNTED,
        handler: Handler::Keyed(algebra::zunion),
        group: Group::SortedSet,
        summary: "Answers the members of several sorted sets, with their scores combined.",
        since: "6.2.0",
        steps: Some(Stepwise::SORTING),
        complexity: "O(N + M*log(M)) with the members of all sets N and of members answered M",
    },
    Command {
        name: "zunionstore",
        arity: -4,
        flags: STORE,
        keys: Keys::StoreCounted,
        handler: Handler::Keyed(algebra::zunionstore),
        group: Group::SortedSet,
        summary: "Keeps in a key the members of several sorted sets, with their scores combined.",
        since: "2.0.0",
        steps: Some(Stepwise::SORTING),
        complexity: "O(N + M*log(M)) with the members of all sets N and of members kept M",
    },
];

/// How elements are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Members only.
    Members,
    /// Members and scores by turns.
    Flat,
    /// An array of a member and its score for each.
    Pairs,
}

impl Shape {
    /// How `WITHSCORES` has them answered, or its absence.
    fn of(with_scores: bool, proto: Proto) -> Self {
        match (with_scores, proto) {
            (false, _) => Self::Members,
            (true, Proto::Resp2) => Self::Flat,
            (true, Proto::Resp3) => Self::Pairs,
        }
    }

    /// Writes the head of an array of so many elements.
    fn write_head(self, count: usize, reply: &mut Reply<'_>) {
        reply.array(if self == Self::Flat { 2 * count } else { count });
    }

    fn write(self, member: &[u8], score: f64, reply: &mut Reply<'_>) {
        if self == Self::Pairs {
            reply.array(2);
        }
        reply.bulk(member);
        if self != Self::Members {
            reply.double(score);
        }
    }

    fn write_element(self, (member, score): (Element<'_>, f64), reply: &mut Reply<'_>) {
        self.write(member.bytes(&mut Digits::new()), score, reply);
    }
}
