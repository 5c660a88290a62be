//! Random transactions on a few strings, checked by who must have come before whom: `history`.

use super::harness::random::seed;
use super::harness::slots::keys_over_shards;
use super::harness::value::Value;
use super::history::{Op, Transaction, check};
use super::recorder::{self, Call, Command, Recorder, check_both, command};
use super::{SHARDS, number};

/// Few, so that clients meet.
const KEYS: usize = 6;

fn get(key: &str) -> Command {
    command(["GET", key])
}

/// Reads, then writes.
fn swap(key: &str, value: u64) -> Command {
    command(["SET", key, &value.to_string(), "GET"])
}

fn turn(recorder: &mut Recorder<'_>, keys: &[String]) {
    match recorder.random.below(8) {
        0 => {
            let keys = recorder.some(keys, KEYS);
            recorder.alone(command([&["MGET"], &keys[..]].concat()));
        }
        1 => {
            let key = recorder.random.index(KEYS);
            recorder.alone(swap(&keys[key], recorder.new_value()));
        }
        2 | 3 => {
            let keys = recorder.some(keys, KEYS);
            recorder.run(keys.into_iter().map(get).collect(), Vec::new());
        }
        4 | 5 => {
            let mut commands = Vec::new();
            for key in recorder.some(keys, 4) {
                commands.push(match recorder.random.below(3) {
                    0 => get(key),
                    _ => swap(key, recorder.new_value()),
                });
                if recorder.random.one_in(3) {
                    commands.push(get(key));
                }
            }
            recorder.run(commands, Vec::new());
        }
        _ => guarded(recorder, keys),
    }
}

/// Reads keys that are watched, and writes some of them and another.
fn guarded(recorder: &mut Recorder<'_>, keys: &[String]) {
    let watched = recorder.some(keys, 3);
    let before = recorder.watch(&watched, watched.iter().map(|key| get(key)).collect());
    let mut commands = Vec::new();
    for key in watched {
        if recorder.random.one_in(2) {
            commands.push(command(["SET", key, &recorder.new_value().to_string()]));
        }
    }
    let other = recorder.random.index(KEYS);
    commands.push(swap(&keys[other], recorder.new_value()));
    recorder.run(commands, before);
}

/// What a call has read and written.
fn ops(call: &Call, keys: &[String]) -> Vec<Op> {
    let at = |name: &String| keys.iter().position(|key| key == name).expect("one of the keys");
    let words: Vec<&str> = call.command.iter().map(String::as_str).collect();
    match words[..] {
        ["MGET", ..] => {
            let named = call.command[1..].iter().map(at);
            named.zip(call.reply.elements()).map(|(key, it)| Op::Read(key, number(it))).collect()
        }
        ["GET", _] => vec![Op::Read(at(&call.command[1]), number(&call.reply))],
        ["SET", _, value, ref get @ ..] => {
            let (key, value) = (at(&call.command[1]), value.parse().expect("a number"));
            if get.is_empty() {
                assert_eq!(call.reply, Value::ok());
                return vec![Op::Write(key, value)];
            }
            vec![Op::Read(key, number(&call.reply)), Op::Write(key, value)]
        }
        _ => panic!("{words:?}"),
    }
}

#[test]
fn transactions_are_strictly_serializable() {
    let keys = keys_over_shards("k", SHARDS, KEYS);
    let of_ops = |transaction: &recorder::Transaction| Transaction {
        began: transaction.began,
        ended: transaction.ended,
        ops: transaction.calls.iter().flat_map(|call| ops(call, &keys)).collect(),
    };
    check_both(
        seed("RINGMAIN_TRANSACTIONS_SEED"),
        |recorder| turn(recorder, &keys),
        |history| check(&history.iter().map(of_ops).collect::<Vec<_>>()),
    );
}
