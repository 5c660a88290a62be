//! A connection that writes, and knows what each of its keys must hold.
//!
//! Its keys are its own, so the state after each of its commands is known, every reply is checked, and
//! after a crash what is found is compared with all states there have been: per shard there must be one
//! moment in the order of the commands at which all keys were as they are found, no earlier than what
//! was promised. Values name their key and the command that wrote them, with a checksum.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::harness::client::{Client, NoReply, encode};
use crate::harness::random::Random;
use crate::harness::slots::shard;
use crate::harness::value::{Value, quoted};

const STRINGS: usize = 40;
const COUNTERS: usize = 8;
/// A value that has become longer than this is set anew.
const LONG: usize = 100_000;
/// Commands of one batch.
const BATCH_MAX: u64 = 40;
/// A clock is not read at the same time here and in the server.
const CLOCK_SLACK_S: u64 = 60;

/// A key's value and when it expires, in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    value: Vec<u8>,
    expires_s: Option<u64>,
}

/// What a key may hold.
type State = Option<Entry>;

/// A command; keys are indices.
#[derive(Clone, Debug)]
enum Op {
    Get(usize),
    Set { key: usize, length: usize, expires_s: Option<u64> },
    Append { key: usize, length: usize },
    SetRange { key: usize, offset: usize, length: usize },
    Incr(usize),
    Delete(usize),
    Expire { key: usize, expires_s: u64 },
    MultiSet(Vec<usize>),
}

/// One connection's keys and all that it has sent since the last start of the server.
#[derive(Debug)]
pub(crate) struct Writer {
    keys: Vec<String>,
    random: Random,
    /// Of the next command.
    sequence: u64,
    /// What the keys hold, as far as the commands have come.
    states: Vec<State>,
    /// What they held when the server was started.
    base: Vec<State>,
    sent: Vec<Op>,
    /// Commands that have been answered.
    acknowledged: usize,
    /// When how many had been.
    times: Vec<(Instant, usize)>,
}

impl Writer {
    /// A connection whose keys start with `name`.
    pub(crate) fn new(name: &str, random: Random) -> Self {
        let keys = (0..STRINGS).map(|index| format!("{name}:s{index}"));
        let keys: Vec<String> =
            keys.chain((0..COUNTERS).map(|index| format!("{name}:n{index}"))).collect();
        let states = vec![None; keys.len()];
        Self {
            keys,
            random,
            sequence: 0,
            base: states.clone(),
            states,
            sent: Vec::new(),
            acknowledged: 0,
            times: Vec::new(),
        }
    }

    /// Commands that have been answered since the start.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Commands that had been answered `age` before `now`.
    pub(crate) fn acknowledged_before(&self, now: Instant, age: Duration) -> usize {
        let times = self.times.iter().rev();
        let found = times.into_iter().find(|(at, _)| now.duration_since(*at) >= age);
        found.map_or(0, |(_, count)| *count)
    }

    // --- writing -----------------------------------------------------------------------------

    /// Writes until the server is gone; `acknowledged` counts along. Every reply must be the one there
    /// can be.
    pub(crate) fn write(&mut self, client: &mut Client, acknowledged: &AtomicUsize) {
        loop {
            let count = 1 + self.random.below(BATCH_MAX);
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for _ in 0..count {
                let op = self.draw();
                bytes.extend_from_slice(&encode(&self.words(&op, self.sequence)));
                expected.push(self.expected(&op));
                let Self { keys, states, sequence, .. } = self;
                apply(&op, *sequence, keys, |key, change| change(&mut states[key]));
                if let Op::Get(key) = op {
                    let value = states[key].as_ref().map(|entry| entry.value.clone());
                    *expected.last_mut().expect("one") = value.map_or(Value::NullBulk, Value::Bulk);
                }
                self.sent.push(op);
                self.sequence += 1;
            }
            // What was not sent because the server was gone may yet have been received.
            let _ = client.try_send(&bytes);
            for expected in expected {
                match client.read() {
                    Ok(reply) => {
                        assert_eq!(reply, expected, "to {:?}", self.sent[self.acknowledged]);
                        self.acknowledged += 1;
                        acknowledged.fetch_add(1, Ordering::Release);
                    }
                    Err(NoReply::Closed) => return,
                    Err(NoReply::Late) => panic!("no reply"),
                }
            }
            self.times.push((Instant::now(), self.acknowledged));
        }
    }

    fn draw(&mut self) -> Op {
        let random = &mut self.random;
        if random.one_in(6) {
            let key = STRINGS + random.index(COUNTERS);
            return match random.below(20) {
                0 => Op::Delete(key),
                1 => Op::Expire { key, expires_s: expiry(self.sequence) },
                2..=4 => Op::Get(key),
                _ => Op::Incr(key),
            };
        }
        let key = random.index(STRINGS);
        let length = match random.below(400) {
            0 => 1_200_000,
            1..=8 => 30_000 + random.index(40_000),
            _ => random.index(300),
        };
        let held = self.states[key].as_ref().map_or(0, |entry| entry.value.len());
        match random.below(20) {
            0..=3 if held < LONG => Op::Append { key, length },
            4..=6 if held < LONG => {
                Op::SetRange { key, offset: random.index(held + 50), length: 1 + length }
            }
            7 | 8 => Op::Delete(key),
            9 | 10 => Op::Expire { key, expires_s: expiry(self.sequence) },
            11 | 12 => {
                let count = 2 + random.index(6);
                Op::MultiSet((0..count).map(|_| random.index(STRINGS)).collect())
            }
            13 | 14 => Op::Get(key),
            15 => Op::Set { key, length, expires_s: Some(expiry(self.sequence)) },
            _ => Op::Set { key, length, expires_s: None },
        }
    }

    fn words(&self, op: &Op, sequence: u64) -> Vec<Vec<u8>> {
        let key = |key: &usize| self.keys[*key].clone().into_bytes();
        let seconds = |at: &u64| at.saturating_sub(unix_s()).to_string().into_bytes();
        match op {
            Op::Get(of) => vec![b"GET".into(), key(of)],
            Op::Set { key: of, length, expires_s } => {
                let mut words = vec![b"SET".into(), key(of), value(&key(of), sequence, *length)];
                if let Some(at) = expires_s {
                    words.extend([b"EX".into(), seconds(at)]);
                }
                words
            }
            Op::Append { key: of, length } => {
                vec![b"APPEND".into(), key(of), value(&key(of), sequence, *length)]
            }
            Op::SetRange { key: of, offset, length } => vec![
                b"SETRANGE".into(),
                key(of),
                offset.to_string().into(),
                value(&key(of), sequence, *length),
            ],
            Op::Incr(of) => vec![b"INCR".into(), key(of)],
            Op::Delete(of) => vec![b"DEL".into(), key(of)],
            Op::Expire { key: of, expires_s } => {
                vec![b"EXPIRE".into(), key(of), seconds(expires_s)]
            }
            Op::MultiSet(keys) => {
                let pairs = keys.iter().flat_map(|of| [key(of), value(&key(of), sequence, 20)]);
                std::iter::once(b"MSET".into()).chain(pairs).collect()
            }
        }
    }

    /// The reply, before the command is applied; that of a `GET` is filled in later.
    fn expected(&self, op: &Op) -> Value {
        let length = |key: usize| self.states[key].as_ref().map_or(0, |entry| entry.value.len());
        let number = |length: usize| Value::Integer(i64::try_from(length).expect("short"));
        let is_there = |key: usize| Value::Integer(i64::from(self.states[key].is_some()));
        let written = |key: usize, least| value(self.keys[key].as_bytes(), self.sequence, least);
        match op {
            Op::Get(_) => Value::NullBulk,
            Op::Set { .. } | Op::MultiSet(_) => Value::ok(),
            Op::Append { key, length: least } => number(length(*key) + written(*key, *least).len()),
            Op::SetRange { key, offset, length: least } => {
                number(length(*key).max(offset + written(*key, *least).len()))
            }
            Op::Incr(key) => {
                let held = self.states[*key].as_ref().map_or(0, count_in);
                Value::Integer(held + 1)
            }
            Op::Delete(key) | Op::Expire { key, .. } => is_there(*key),
        }
    }

    // --- what a crash has left ---------------------------------------------------------------

    /// What the server holds of this connection's keys.
    pub(crate) fn look(&self, client: &mut Client) -> Vec<State> {
        for key in &self.keys {
            client.request(&["GET", key]);
            client.request(&["EXPIRETIME", key]);
        }
        let mut found = Vec::new();
        for key in &self.keys {
            let value = client.read().unwrap_or_else(|none| panic!("GET {key}: {none:?}"));
            let time = client.read().unwrap_or_else(|none| panic!("EXPIRETIME {key}: {none:?}"));
            found.push(match value {
                Value::Bulk(value) => {
                    Some(Entry { value, expires_s: u64::try_from(time.integer()).ok() })
                }
                other => {
                    assert!(other.is_null() && time == Value::Integer(-2), "{key}: {other:?}");
                    None
                }
            });
        }
        found
    }

    /// Checks that what was found in each of `shards` is what there was at one moment, and that at least
    /// the first `promised` commands had been done then. The connection goes on from there.
    pub(crate) fn check(&mut self, found: Vec<State>, shards: u16, promised: usize) {
        for id in 0..shards {
            let of_shard = |key: usize| shard(&self.keys[key], shards) == id;
            let last = self.last_moment(&found, of_shard);
            if last.is_none_or(|last| last < promised) {
                panic!(
                    "shard {id} holds what it never did: the last moment it could be is {last:?}, {promised} \
                     commands were promised, {} answered, {} sent.\n{}",
                    self.acknowledged,
                    self.sent.len(),
                    self.explain(&found, of_shard)
                );
            }
        }
        self.base.clone_from(&found);
        self.states = found;
        self.sent.clear();
        self.times.clear();
        self.acknowledged = 0;
    }

    /// How many commands had been done when all keys of a shard last were as they were found.
    fn last_moment(&self, found: &[State], of_shard: impl Fn(usize) -> bool) -> Option<usize> {
        let mut states = self.base.clone();
        let is_so = |states: &[State], key: usize| is_same(&states[key], &found[key]);
        let keys = || (0..self.keys.len()).filter(|key| of_shard(*key));
        let mut wrong = keys().filter(|key| !is_so(&states, *key)).count();
        let mut last = (wrong == 0).then_some(0);
        for (done, op, sequence) in self.numbered() {
            apply(op, sequence, &self.keys, |key, change| {
                let was_so = is_so(&states, key);
                change(&mut states[key]);
                if of_shard(key) {
                    wrong = wrong + usize::from(was_so) - usize::from(is_so(&states, key));
                }
            });
            if wrong == 0 {
                last = Some(done);
            }
        }
        last
    }

    /// All commands since the start: how many have been done with it, the command, its number.
    fn numbered(&self) -> impl Iterator<Item = (usize, &Op, u64)> {
        let first = self.sequence - self.sent.len() as u64;
        self.sent.iter().enumerate().map(move |(index, op)| (index + 1, op, first + index as u64))
    }

    /// When each of a shard's keys was as it was found.
    fn explain(&self, found: &[State], of_shard: impl Fn(usize) -> bool) -> String {
        let mut text = String::new();
        for key in (0..self.keys.len()).filter(|key| of_shard(*key)) {
            let mut states = self.base.clone();
            let mut is_so = is_same(&states[key], &found[key]);
            let mut spans = if is_so { "0".to_owned() } else { String::new() };
            let mut last_op = None;
            for (done, op, sequence) in self.numbered() {
                apply(op, sequence, &self.keys, |changed, change| {
                    change(&mut states[changed]);
                    if changed == key {
                        last_op = Some(done);
                    }
                });
                let is_now = is_same(&states[key], &found[key]);
                if is_now != is_so {
                    is_so = is_now;
                    let _ = if is_now {
                        write!(spans, " {done}")
                    } else {
                        write!(spans, "-{}", done - 1)
                    };
                }
            }
            if is_so {
                spans.push('-');
            }
            let shown = found[key].as_ref().map(|entry| {
                let end = entry.value.len().min(80);
                (quoted(&entry.value[..end]), entry.value.len(), entry.expires_s)
            });
            let _ = writeln!(
                text,
                "{}: as found at moments [{spans}], last changed by {last_op:?}; found {shown:?}",
                self.keys[key]
            );
        }
        text
    }
}

/// Does to the keys what a command does; `each` is given a key and what becomes of it.
fn apply(
    op: &Op,
    sequence: u64,
    keys: &[String],
    mut each: impl FnMut(usize, &mut dyn FnMut(&mut State)),
) {
    let written = |key: usize, length| value(keys[key].as_bytes(), sequence, length);
    match op {
        Op::Get(_) => {}
        Op::Set { key, length, expires_s } => each(*key, &mut |state| {
            *state = Some(Entry { value: written(*key, *length), expires_s: *expires_s });
        }),
        Op::Append { key, length } => each(*key, &mut |state| {
            entry_of(state).value.extend_from_slice(&written(*key, *length));
        }),
        Op::SetRange { key, offset, length } => each(*key, &mut |state| {
            let (held, bytes) = (&mut entry_of(state).value, written(*key, *length));
            let end = offset + bytes.len();
            held.resize(held.len().max(end), 0);
            held[*offset..end].copy_from_slice(&bytes);
        }),
        Op::Incr(key) => each(*key, &mut |state| {
            let entry = entry_of(state);
            entry.value = (count_in(entry) + 1).to_string().into_bytes();
        }),
        Op::Delete(key) => each(*key, &mut |state| *state = None),
        Op::Expire { key, expires_s } => each(*key, &mut |state| {
            if let Some(entry) = state {
                entry.expires_s = Some(*expires_s);
            }
        }),
        Op::MultiSet(of) => {
            for key in of {
                each(*key, &mut |state| {
                    *state = Some(Entry { value: written(*key, 20), expires_s: None });
                });
            }
        }
    }
}

fn entry_of(state: &mut State) -> &mut Entry {
    state.get_or_insert_with(|| Entry { value: Vec::new(), expires_s: None })
}

fn count_in(entry: &Entry) -> i64 {
    let text = std::str::from_utf8(&entry.value).expect("a number");
    if text.is_empty() { 0 } else { text.parse().expect("a number") }
}

fn is_same(one: &State, other: &State) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            let times = match (one.expires_s, other.expires_s) {
                (None, None) => true,
                (Some(one), Some(other)) => one.abs_diff(other) <= CLOCK_SLACK_S,
                (None, Some(_)) | (Some(_), None) => false,
            };
            times && one.value == other.value
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// A value that says whose it is and which command wrote it.
fn value(key: &[u8], sequence: u64, length: usize) -> Vec<u8> {
    let mut value = key.to_vec();
    value.extend_from_slice(format!("|{sequence}|").as_bytes());
    let fill = b'a' + u8::try_from(sequence % 26).expect("a letter");
    value.resize(value.len() + length, fill);
    let checksum = crc32c::crc32c(&value);
    value.extend_from_slice(format!("|{checksum:08x};").as_bytes());
    value
}

/// A time that is far off, and far from that of other commands.
fn expiry(sequence: u64) -> u64 {
    const DAY_S: u64 = 24 * 3600;
    unix_s() + DAY_S + (sequence % 1000) * 4 * CLOCK_SLACK_S
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
