//! What a command has made is put under a key, in place of whatever that holds.
//!
//! All of it has to be written down in the journal, in steps (`steps`) where it is much. The key is as it was until the
//! last of them, and stays so if it is more than the journal takes. The journal is not looked at meanwhile either, so
//! that it is one change to the log.

use super::events::Event;
use super::steps::Progress;
use super::strings::reply_length;
use super::{Error, Exec};
use crate::cache::{Putting, Whole};
use crate::collection::{Collection, Garbage};
use crate::limits::STEP_BYTES;
use crate::protocol::{Args, Reply};
use crate::types::Key;

/// A collection on its way under the key that an argument names.
#[derive(Debug)]
pub(super) struct Storing {
    name: usize,
    event: Event,
    /// How many elements it has.
    count: usize,
    /// Nothing if it has none: then the key goes.
    putting: Option<Putting>,
}

impl Storing {
    /// `made` is put under the key that argument `name` names, and `event` told of that.
    pub(super) fn new<C: Collection>(
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        (name, event): (usize, Event),
        made: C,
    ) -> Self {
        let (key, now, count) = (exec.key(args.at(name)), exec.now.unix, made.len());
        let put = || exec.keyspace(key).begin_put(key, Whole::of(made), None, now);
        let putting = (count > 0).then(put);
        Self { name, event, count, putting }
    }

    /// Writes some of it down, or puts it there and answers how many elements it has.
    pub(super) fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let key = exec.key(args.at(self.name));
        if let Some(putting) = &mut self.putting
            && !write_some(exec, key, putting)?
        {
            return Ok(Progress::Begun);
        }
        let changes = match self.putting.take() {
            Some(putting) => {
                end(exec, key, putting);
                true
            }
            None => exec.delete(key),
        };
        if changes {
            exec.tell(key, self.event);
        }
        reply_length(reply, self.count);
        Ok(Progress::Done)
    }

    /// What is not to be put any more.
    pub(super) fn garbage(&mut self) -> Option<Box<dyn Garbage>> {
        self.putting.take()?.into_whole().into_garbage()
    }
}

/// Writes down some of what is to be put under `key`; true once that was all.
///
/// # Errors
/// If it is too much; all is as it was.
pub(super) fn write_some(
    exec: &mut Exec<'_>,
    key: Key<'_>,
    putting: &mut Putting,
) -> Result<bool, Error> {
    let written = exec.keyspace(key).write_down_some(key, putting, STEP_BYTES);
    Ok(written?)
}

/// Puts under `key` what has been written down.
pub(super) fn end(exec: &mut Exec<'_>, key: Key<'_>, putting: Putting) {
    let (now, keyspace) = (exec.now.unix, exec.keyspace(key));
    keyspace.end_put(key, putting, now);
    keyspace.count_change();
}

#[cfg(test)]
mod tests {
    use crate::command::replay::{Peer, Shards};

    /// A set, a sorted set, a list and a hash, all large, in one shard whose journal takes less than any of them.
    fn large() -> Shards {
        let mut shards = Shards::new(1);
        for number in 0..9000 {
            for command in ["SADD set {}", "ZADD zset 1 {}", "RPUSH list {}", "HSET hash {} x"] {
                shards.line(&command.replace("{}", &format!("{number:020}")));
            }
        }
        shards.line("SET to x");
        let keyspace = &mut shards.keyspaces[0];
        keyspace.set_journal(true);
        keyspace.set_changes_bytes_max(100_000);
        shards
    }

    #[test]
    fn what_is_too_much_for_the_log_is_refused_and_all_is_as_it_was() {
        let mut shards = large();
        let sequence = shards.keyspaces[0].sequence();
        for line in [
            "SUNIONSTORE to set set",
            "SINTERSTORE set set",
            "SDIFFSTORE new set",
            "ZUNIONSTORE to 1 set",
            "ZINTERSTORE zset 2 zset set",
            "ZRANGESTORE zset zset 1 -1",
            "SORT list STORE list",
            "SORT set ALPHA STORE to",
            "COPY list to REPLACE",
            "COPY hash new",
            "RENAME set to",
            "RENAME hash new",
            "RENAMENX zset new",
            "MOVE list 3",
        ] {
            let reply = shards.line(line);
            assert!(reply.starts_with("-ERR the change is too large"), "{line}: {reply}");
            let keyspace = &shards.keyspaces[0];
            assert_eq!((keyspace.changes_len(), keyspace.sequence()), (0, sequence), "{line}");
        }
        for (line, reply) in [
            ("SCARD set", ":9000"),
            ("ZCARD zset", ":9000"),
            ("LLEN list", ":9000"),
            ("HLEN hash", ":9000"),
            ("GET to", "$1⏎x"),
            ("EXISTS new", ":0"),
        ] {
            assert_eq!(shards.line(line), reply, "{line}");
        }
        shards.keyspaces[0].check();
    }

    /// What a command has gathered when it fails, or does not need when it is done.
    #[test]
    fn what_was_gathered_is_freed_little_by_little() {
        let mut shards = large();
        shards.keyspaces[0].set_changes_bytes_max(usize::MAX);
        shards.line("RPUSH list x");
        // One after another they leave no more than one.
        let mut follow = |count: usize| {
            (0..count).for_each(|_| drop(shards.line("SORT set ALPHA LIMIT 0 1")));
            (0..1000).take_while(|_| shards.keyspaces[0].maintain()).count()
        };
        assert_eq!(follow(1), follow(20));
        let mut maintain = |line: &str| {
            let reply = shards.line(line);
            let keyspace = &mut shards.keyspaces[0];
            let before = keyspace.memory().total_bytes();
            let steps = (0..1000).take_while(|_| keyspace.maintain()).count();
            // It was never counted.
            assert!(keyspace.memory().total_bytes() <= before, "{line}");
            (reply, steps)
        };
        let (reply, steps) = maintain("SORT list");
        assert!(reply.starts_with("-ERR One or more scores can't"), "{reply}");
        assert!(steps > 3, "{steps} steps");
        for line in ["SORT set LIMIT 0 1", "SUNION set zset2 set", "ZUNIONSTORE to 2 set zset"] {
            let (_, steps) = maintain(line);
            assert!(steps > 3, "{line}: {steps} steps");
        }
        let (_, steps) = maintain("SUNION small small");
        assert_eq!(steps, 0, "little is freed at once");
        shards.keyspaces[0].check();
    }
}
