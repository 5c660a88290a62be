//! Random transactions and single commands on values of all types over several shards, checked by the search for an order
//! that explains all replies: `search`.

use super::SHARDS;
use super::harness::random::seed;
use super::harness::slots::keys_over_shards;
use super::recorder::{Command, Recorder, check_both, command};
use super::search::check;

/// Prefixes of keys, by what they hold.
const KINDS: [&str; 5] = ["text", "list", "set", "hash", "sorted"];
/// Of each type: few, so that clients meet.
const KEYS: usize = 3;

/// The keys of each type. Not all types miss the same shard.
fn all_keys() -> Vec<Vec<String>> {
    let of_kind = |(at, kind)| {
        let mut keys = keys_over_shards(kind, SHARDS, SHARDS.into());
        keys.rotate_left(at % usize::from(SHARDS));
        keys.truncate(KEYS);
        keys
    };
    KINDS.iter().copied().enumerate().map(of_kind).collect()
}

/// A command that shows all of a key.
fn show(key: &str) -> Command {
    let (name, rest): (_, &[&str]) = match KINDS.iter().position(|kind| key.starts_with(kind)) {
        Some(0) => ("GET", &[]),
        Some(1) => ("LRANGE", &["0", "-1"]),
        Some(2) => ("SMEMBERS", &[]),
        Some(3) => ("HGETALL", &[]),
        _ => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
    };
    command([&[name, key], rest].concat())
}

/// A command that reads several keys of one type, or one.
fn read(recorder: &mut Recorder<'_>, keys: &[Vec<String>]) -> Command {
    let kind = recorder.random.index(KINDS.len());
    let some = recorder.some(&keys[kind], KEYS);
    match (recorder.random.below(4), KINDS[kind]) {
        (0, _) => command([&["EXISTS"], &some[..]].concat()),
        (1, "text") => command([&["MGET"], &some[..]].concat()),
        (1, "set") => command([&["SUNION"], &some[..]].concat()),
        _ => show(some[0]),
    }
}

/// A command that changes keys of one type, if what it wants is there.
fn write(recorder: &mut Recorder<'_>, keys: &[Vec<String>]) -> Command {
    let kind = recorder.random.index(KINDS.len());
    let all = recorder.shuffled(&keys[kind]);
    let (a, b, c) = (all[0], all[1], all[2]);
    let (value, other) = (&*recorder.new_value().to_string(), &*recorder.new_value().to_string());
    let element = &*format!("e{}", recorder.random.below(4));
    match recorder.random.below(12) {
        0 => return command(["RENAME", a, b]),
        1 => return command(["COPY", a, b, "REPLACE"]),
        2 if recorder.random.one_in(2) => return command(["DEL", a, b]),
        _ => {}
    }
    let choices: &[&[&str]] = match KINDS[kind] {
        "text" => &[&["SET", a, value], &["INCR", a], &["MSET", a, value, b, other, c, value]],
        "list" => &[
            &["RPUSH", a, value, other],
            &["LPOP", a],
            &["LMOVE", a, b, "LEFT", "RIGHT"],
            &["LMOVE", b, c, "LEFT", "RIGHT"],
        ],
        "set" => &[
            &["SADD", a, element],
            &["SADD", a, value],
            &["SREM", a, element],
            &["SMOVE", a, b, element],
            &["SUNIONSTORE", a, b, c],
            &["SINTERSTORE", a, b, c],
        ],
        "hash" => {
            &[&["HSET", a, element, value], &["HDEL", a, element], &["HINCRBY", a, "number", "1"]]
        }
        _ => &[
            &["ZADD", a, value, element],
            &["ZINCRBY", a, "1", element],
            &["ZPOPMIN", a],
            &["ZUNIONSTORE", a, "2", b, c],
        ],
    };
    command(recorder.random.pick(choices).iter())
}

fn turn(recorder: &mut Recorder<'_>, keys: &[Vec<String>]) {
    match recorder.random.below(8) {
        0 | 1 => {
            let write = write(recorder, keys);
            recorder.alone(write);
        }
        2 => {
            let read = read(recorder, keys);
            recorder.alone(read);
        }
        3 | 4 => {
            let length = 2 + recorder.random.index(4);
            let commands = (0..length).map(|_| match recorder.random.below(3) {
                0 => read(recorder, keys),
                _ => write(recorder, keys),
            });
            let commands = commands.collect();
            recorder.run(commands, Vec::new());
        }
        5 | 6 => {
            let commands = keys.iter().flatten().filter(|_| recorder.random.one_in(2));
            let commands: Vec<Command> = commands.map(|key| show(key)).collect();
            recorder.run(commands, Vec::new());
        }
        _ => guarded(recorder, keys),
    }
}

/// Looks at keys that are watched, and changes some keys then.
fn guarded(recorder: &mut Recorder<'_>, keys: &[Vec<String>]) {
    let [one, other] = [0, 1].map(|_| {
        let kind = recorder.random.index(KINDS.len());
        recorder.some(&keys[kind], 1)[0]
    });
    let before = recorder.watch(&[one, other], vec![show(one), show(other)]);
    let commands = (0..3).map(|_| write(recorder, keys)).collect();
    recorder.run(commands, before);
}

#[test]
fn transactions_over_all_types_are_strictly_serializable() {
    let keys = all_keys();
    check_both(seed("RINGMAIN_TRANSACTIONS_SEED"), |recorder| turn(recorder, &keys), check);
}
