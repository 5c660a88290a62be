//! What strings, counters, bits and expiry mean, in the simplest form: a map and plain code.
//!
//! [`Model::step`] makes up a command, applies it to the map and says what the reply must be. Times are
//! kept as ranges, as the server's clock is read at another moment; a key that gets a short time to live
//! is left alone until it is gone.

use crate::harness::random::Random;
use crate::harness::value::Value;
use std::collections::{BTreeSet, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

/// Databases that are used.
pub(crate) const DATABASES: u8 = 2;
const KEYS: u64 = 24;
const HOUR_MS: u64 = 3_600_000;
/// How much later than planned a command may run.
const SLACK_MS: u64 = 120_000;
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

/// A request and what its reply must be.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) args: Vec<Vec<u8>>,
    pub(crate) expect: Expect,
}

/// What a reply must be.
#[derive(Debug)]
pub(crate) enum Expect {
    Exactly(Value),
    /// An array of these, a few elements each, in any order.
    Unordered(Vec<Vec<Value>>),
    /// An array of which each element is as it must be.
    Each(Vec<Expect>),
    /// An integer in a range.
    Between(i64, i64),
    /// The time left until a moment in this range of milliseconds, in units of so many milliseconds.
    Left {
        low_ms: u64,
        high_ms: u64,
        unit_ms: u64,
    },
}

impl Expect {
    pub(crate) fn holds_for(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Exactly(expected), value) => expected == value,
            (Self::Unordered(expected), Value::Array(got)) => {
                let width = expected.first().map_or(1, Vec::len);
                let sorted = |mut all: Vec<Vec<Value>>| {
                    all.sort_by_cached_key(|group| format!("{group:?}"));
                    all
                };
                let got = got.chunks(width).map(<[Value]>::to_vec).collect();
                sorted(expected.clone()) == sorted(got)
            }
            (Self::Each(expected), Value::Array(got)) => {
                expected.len() == got.len()
                    && expected.iter().zip(got).all(|(expected, got)| expected.holds_for(got))
            }
            (Self::Between(low, high), Value::Integer(got)) => (low..=high).contains(&got),
            (Self::Left { low_ms, high_ms, unit_ms }, Value::Integer(got)) => {
                let Ok(left) = u64::try_from(*got) else { return false };
                let at = now_ms() + left * unit_ms;
                // A second is rounded, and the reply was on its way for a while.
                (low_ms.saturating_sub(1_000)..=high_ms + SLACK_MS).contains(&at)
            }
            _ => false,
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the year 500 million")
}

/// When a key or a field expires: some time in this range, which is a single moment if the client named it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expiry {
    pub(crate) low_ms: u64,
    pub(crate) high_ms: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    value: Vec<u8>,
    expiry: Option<Expiry>,
}

type Place = (u8, Vec<u8>);

/// The keys of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    prefix: String,
    random: Random,
    database: u8,
    entries: HashMap<Place, Entry>,
    fading: BTreeSet<Place>,
}

/// What a command says about a new time to live.
pub(crate) enum NewExpiry {
    Gone,
    At(Expiry),
    Fading,
}

/// A moment far away, in the past or very soon, as seconds or milliseconds, absolute or not.
pub(crate) fn moment(random: &mut Random, absolute: bool, unit_ms: u64) -> (u64, NewExpiry) {
    let now = now_ms();
    match random.below(8) {
        0 if absolute => (now / unit_ms - random.below(1_000) - 10_000, NewExpiry::Gone),
        1 if !absolute && unit_ms == 1 => (1 + random.below(40), NewExpiry::Fading),
        _ => {
            let hours = 2 + random.below(500);
            let from_now = hours * HOUR_MS / unit_ms;
            if absolute {
                let at = now / unit_ms + from_now;
                let at_ms = at * unit_ms;
                (at, NewExpiry::At(Expiry { low_ms: at_ms, high_ms: at_ms }))
            } else {
                let at = now + from_now * unit_ms;
                let expiry = Expiry { low_ms: at, high_ms: at + SLACK_MS };
                (from_now, NewExpiry::At(expiry))
            }
        }
    }
}

pub(crate) fn ok() -> Expect {
    Expect::Exactly(Value::ok())
}

pub(crate) fn integer(value: usize) -> Expect {
    Expect::Exactly(Value::Integer(i64::try_from(value).expect("small")))
}

pub(crate) fn flag(value: bool) -> Expect {
    Expect::Exactly(Value::Integer(i64::from(value)))
}

pub(crate) fn error(text: &str) -> Expect {
    Expect::Exactly(Value::Error(text.to_owned()))
}

fn bulk(value: Option<&[u8]>) -> Expect {
    Expect::Exactly(value.map_or(Value::NullBulk, Value::bulk))
}

/// An integer as Redis accepts it: no sign `+`, no leading zeros or blanks.
pub(crate) fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value: i64 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

/// The bytes of `value` that the inclusive range selects, by Redis's rules for negative indexes.
fn slice(length: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    let length = i64::try_from(length).expect("small");
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let from_end = |index: i64| if index < 0 { (length + index).max(0) } else { index };
    let start = from_end(start);
    let end = from_end(end).min(length - 1);
    if start > end || length == 0 {
        return 0..0;
    }
    let index = |value: i64| usize::try_from(value).expect("not negative");
    index(start)..index(end) + 1
}

fn get_bit(value: &[u8], offset: usize) -> bool {
    value.get(offset / 8).is_some_and(|byte| byte >> (7 - offset % 8) & 1 == 1)
}

impl Model {
    pub(crate) fn new(prefix: &str, random: Random) -> Self {
        Self {
            prefix: prefix.to_owned(),
            random,
            database: 0,
            entries: HashMap::new(),
            fading: BTreeSet::new(),
        }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn database(&self) -> u8 {
        self.database
    }

    /// The keys that `database` holds, but for those that are about to expire.
    pub(crate) fn keys(&self, database: u8) -> impl Iterator<Item = Vec<u8>> {
        self.entries.keys().filter(move |place| place.0 == database).map(|place| place.1.clone())
    }

    pub(crate) fn value(&self, database: u8, key: &[u8]) -> &[u8] {
        &self.entries[&(database, key.to_vec())].value
    }

    /// The keys that expire within a moment and were not used since.
    pub(crate) fn take_fading(&mut self) -> BTreeSet<Place> {
        std::mem::take(&mut self.fading)
    }

    /// Takes back what was made up since `before`, but for the dice.
    pub(crate) fn go_back(&mut self, before: Self) {
        let random = self.random.clone();
        *self = Self { random, ..before };
    }

    /// Watches a key, and changes it then if asked to.
    pub(crate) fn watch(&mut self, then_change: bool) -> Vec<Step> {
        let key = self.key();
        let mut steps = vec![self.step_of(&["WATCH"], &key, ok())];
        if then_change {
            let value = self.new_value();
            self.put(&key, value.clone());
            steps.push(Step { args: vec![b"SET".to_vec(), key, value], expect: ok() });
        }
        steps
    }

    /// Makes up a command and its reply.
    pub(crate) fn step(&mut self) -> Step {
        match self.random.below(20) {
            0..=3 => self.set(),
            4 | 5 => self.get(),
            6 => self.replace(),
            7 | 8 => self.count(),
            9 => self.ranges(),
            10 | 11 => self.bits(),
            12 | 13 => self.set_expiry(),
            14 => self.ask_expiry(),
            15 | 16 => self.many(),
            17 => self.move_key(),
            18 => self.remove(),
            _ => self.others(),
        }
    }

    /// A key of the current database that is not about to expire.
    fn key(&mut self) -> Vec<u8> {
        self.key_in(self.database)
    }

    fn key_in(&mut self, database: u8) -> Vec<u8> {
        loop {
            let number = self.random.below(KEYS);
            let key = match number {
                0..=3 => format!("{}{{same}}{number}", self.prefix),
                _ => format!("{}{number}", self.prefix),
            };
            let key = key.into_bytes();
            if !self.fading.contains(&(database, key.clone())) {
                return key;
            }
            if self.random.one_in(100) {
                // Nearly all of them are: a name that was never used.
                return format!("{}{}", self.prefix, self.random.next()).into_bytes();
            }
        }
    }

    fn new_value(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0..=4 => self.random.between(-1_000, 1_000).to_string().into_bytes(),
            5 => self.random.pick(&[i64::MAX, i64::MIN, i64::MAX - 1]).to_string().into_bytes(),
            6 => Vec::new(),
            7 => b"1.5".to_vec(),
            8..=10 => {
                let length = self.random.index(80);
                self.random.bytes(length)
            }
            _ => {
                let length = self.random.index(20_000);
                self.random.bytes(length)
            }
        }
    }

    fn place(&self, key: &[u8]) -> Place {
        (self.database, key.to_vec())
    }

    fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(&self.place(key))
    }

    fn bytes(&self, key: &[u8]) -> Option<&[u8]> {
        self.entry(key).map(|entry| entry.value.as_slice())
    }

    /// A new value that forgets the time to live, as `SET` gives.
    fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.entries.insert(self.place(key), Entry { value, expiry: None });
    }

    /// A changed value that keeps the time to live, as `APPEND` gives.
    fn change(&mut self, key: &[u8], value: Vec<u8>) {
        let place = self.place(key);
        let expiry = self.entries.get(&place).and_then(|entry| entry.expiry);
        self.entries.insert(place, Entry { value, expiry });
    }

    fn expire(&mut self, key: &[u8], expiry: NewExpiry) {
        let place = self.place(key);
        match expiry {
            NewExpiry::Gone => {
                self.entries.remove(&place);
            }
            NewExpiry::Fading => {
                self.entries.remove(&place);
                self.fading.insert(place);
            }
            NewExpiry::At(expiry) => {
                if let Some(entry) = self.entries.get_mut(&place) {
                    entry.expiry = Some(expiry);
                }
            }
        }
    }

    fn set(&mut self) -> Step {
        let key = self.key();
        let value = self.new_value();
        let mut args = vec![b"SET".to_vec(), key.clone(), value.clone()];
        let old = self.entry(&key).cloned();
        let condition = self.random.below(6);
        match condition {
            0 => args.push(b"NX".to_vec()),
            1 => args.push(b"XX".to_vec()),
            _ => {}
        }
        let get = self.random.one_in(6);
        if get {
            args.push(b"GET".to_vec());
        }
        let mut expiry = None;
        let mut keep = false;
        match self.random.below(8) {
            0 => {
                let (name, absolute, unit_ms) = *self.random.pick(&[
                    ("EX", false, 1_000),
                    ("PX", false, 1),
                    ("EXAT", true, 1_000),
                    ("pxat", true, 1),
                ]);
                let (number, new) = moment(&mut self.random, absolute, unit_ms);
                args.extend([name.into(), number.to_string().into_bytes()]);
                expiry = Some(new);
            }
            1 => {
                args.push(b"KEEPTTL".to_vec());
                keep = true;
            }
            _ => {}
        }
        let done = match condition {
            0 => old.is_none(),
            1 => old.is_some(),
            _ => true,
        };
        if done {
            if keep {
                self.change(&key, value)
            } else {
                self.put(&key, value)
            }
            if let Some(expiry) = expiry {
                self.expire(&key, expiry);
            }
        }
        let expect = match (get, done) {
            (true, _) => bulk(old.as_ref().map(|entry| entry.value.as_slice())),
            (false, true) => ok(),
            (false, false) => bulk(None),
        };
        Step { args, expect }
    }

    fn get(&mut self) -> Step {
        let key = self.key();
        match self.random.below(4) {
            0 => self.step_of(&["STRLEN"], &key, integer(self.bytes(&key).map_or(0, <[u8]>::len))),
            1 => {
                let kind = if self.entry(&key).is_some() { "string" } else { "none" };
                self.step_of(&["TYPE"], &key, Expect::Exactly(Value::Simple(kind.into())))
            }
            _ => self.step_of(&["GET"], &key, bulk(self.bytes(&key))),
        }
    }

    /// `name key more…`, where `name` is the first of `words` and the rest of them follow the key.
    fn step_of(&self, words: &[&str], key: &[u8], expect: Expect) -> Step {
        let mut args = vec![words[0].as_bytes().to_vec(), key.to_vec()];
        args.extend(words[1..].iter().map(|word| word.as_bytes().to_vec()));
        Step { args, expect }
    }

    /// Commands that read and write a whole value.
    fn replace(&mut self) -> Step {
        let key = self.key();
        let value = self.new_value();
        let old = self.bytes(&key).map(<[u8]>::to_vec);
        let with_value = |name: &str, value: &[u8]| vec![name.into(), key.clone(), value.to_vec()];
        match self.random.below(5) {
            0 => {
                let args = with_value("GETSET", &value);
                self.put(&key, value);
                Step { args, expect: bulk(old.as_deref()) }
            }
            1 => {
                let expect = bulk(old.as_deref());
                self.entries.remove(&self.place(&key));
                self.step_of(&["GETDEL"], &key, expect)
            }
            2 => {
                let args = with_value("SETNX", &value);
                if old.is_none() {
                    self.put(&key, value);
                }
                Step { args, expect: flag(old.is_none()) }
            }
            3 => {
                let (name, unit_ms) = *self.random.pick(&[("SETEX", 1_000), ("PSETEX", 1)]);
                let (number, expiry) = moment(&mut self.random, false, unit_ms);
                let number = number.to_string().into_bytes();
                let args = vec![name.into(), key.clone(), number, value.clone()];
                self.put(&key, value);
                self.expire(&key, expiry);
                Step { args, expect: ok() }
            }
            _ => {
                let args = with_value("APPEND", &value);
                let joined = [old.unwrap_or_default(), value].concat();
                let expect = integer(joined.len());
                self.change(&key, joined);
                Step { args, expect }
            }
        }
    }

    fn count(&mut self) -> Step {
        let key = self.key();
        if self.random.one_in(4) {
            return self.count_quarters(&key);
        }
        let by = match self.random.below(4) {
            0 => *self.random.pick(&[i64::MAX, i64::MIN, 1 << 62]),
            _ => self.random.between(-100, 100),
        };
        let (args, change) = match self.random.below(4) {
            0 => (vec![b"INCR".to_vec(), key.clone()], 1i128),
            1 => (vec![b"DECR".to_vec(), key.clone()], -1),
            2 => (vec![b"INCRBY".to_vec(), key.clone(), by.to_string().into_bytes()], by.into()),
            _ => (
                vec![b"DECRBY".to_vec(), key.clone(), by.to_string().into_bytes()],
                -i128::from(by),
            ),
        };
        if args[0] == b"DECRBY" && by == i64::MIN {
            return Step { args, expect: error("ERR decrement would overflow") };
        }
        let Some(old) = self.bytes(&key).map_or(Some(0), parse_integer) else {
            return Step { args, expect: error(NOT_AN_INTEGER) };
        };
        match i64::try_from(i128::from(old) + change) {
            Ok(new) => {
                self.change(&key, new.to_string().into_bytes());
                Step { args, expect: Expect::Exactly(Value::Integer(new)) }
            }
            Err(_) => Step { args, expect: error("ERR increment or decrement would overflow") },
        }
    }

    /// `INCRBYFLOAT` by quarters, which every floating-point format holds exactly.
    fn count_quarters(&mut self, key: &[u8]) -> Step {
        let text = self.bytes(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let old = match text.as_deref() {
            None => Some(0.0),
            Some(text) if text.len() < 12 && !text.starts_with(['+', ' ']) => {
                let plain = text.chars().all(|letter| "-.0123456789".contains(letter));
                text.parse::<f64>().ok().filter(|_| plain)
            }
            Some(_) => None,
        };
        let Some(old) = old.filter(|old| (old * 4.0).fract() == 0.0) else { return self.get() };
        let quarters = self.random.between(-40, 40);
        let by = i32::try_from(quarters).map(f64::from).expect("small") / 4.0;
        let new = old + by;
        // Rust prints the shortest form, which for quarters is the exact one.
        let new = if new == 0.0 { "0".to_owned() } else { new.to_string() };
        self.change(key, new.clone().into_bytes());
        self.step_of(&["INCRBYFLOAT", &by.to_string()], key, bulk(Some(new.as_bytes())))
    }

    fn ranges(&mut self) -> Step {
        let key = self.key();
        let old = self.bytes(&key).unwrap_or_default().to_vec();
        if self.random.one_in(2) {
            let start = self.random.between(-30, 30);
            let end = self.random.between(-30, 100);
            let expect = bulk(Some(&old[slice(old.len(), start, end)]));
            let name = *self.random.pick(&["GETRANGE", "SUBSTR"]);
            return self.step_of(&[name, &start.to_string(), &end.to_string()], &key, expect);
        }
        let far = self.random.one_in(10);
        let offset = self.random.index(if far { 10_000 } else { 40 });
        let length = self.random.index(10);
        let part = self.random.bytes(length);
        let args =
            vec![b"SETRANGE".to_vec(), key.clone(), offset.to_string().into_bytes(), part.clone()];
        let mut new = old;
        if !part.is_empty() {
            new.resize(new.len().max(offset + part.len()), 0);
            new[offset..offset + part.len()].copy_from_slice(&part);
            self.change(&key, new.clone());
        }
        Step { args, expect: integer(new.len()) }
    }

    fn bits(&mut self) -> Step {
        let key = self.key();
        let value = self.bytes(&key).unwrap_or_default().to_vec();
        match self.random.below(6) {
            0 | 1 => {
                let far = self.random.one_in(10);
                let offset = self.random.index(if far { 50_000 } else { 200 });
                let bit = self.random.one_in(2);
                let was = get_bit(&value, offset);
                let mut new = value;
                new.resize(new.len().max(offset / 8 + 1), 0);
                let mask = 1 << (7 - offset % 8);
                new[offset / 8] = (new[offset / 8] & !mask) | (u8::from(bit) * mask);
                self.change(&key, new);
                let words = ["SETBIT", &offset.to_string(), if bit { "1" } else { "0" }];
                self.step_of(&words, &key, flag(was))
            }
            2 => {
                let offset = self.random.index(300);
                let expect = flag(get_bit(&value, offset));
                self.step_of(&["GETBIT", &offset.to_string()], &key, expect)
            }
            3 => self.count_bits(&key, &value),
            4 => self.find_bit(&key, &value),
            _ => self.combine_bits(),
        }
    }

    fn count_bits(&mut self, key: &[u8], value: &[u8]) -> Step {
        let ones = |bits: &mut dyn Iterator<Item = usize>| {
            integer(bits.filter(|&offset| get_bit(value, offset)).count())
        };
        if self.random.one_in(3) {
            return self.step_of(&["BITCOUNT"], key, ones(&mut (0..value.len() * 8)));
        }
        let start = self.random.between(-40, 40);
        let end = self.random.between(-40, 100);
        let (unit, range) = match self.random.one_in(2) {
            true => ("BIT", slice(value.len() * 8, start, end)),
            false => {
                let bytes = slice(value.len(), start, end);
                ("BYTE", bytes.start * 8..bytes.end * 8)
            }
        };
        let words = ["BITCOUNT", &start.to_string(), &end.to_string(), unit];
        let expect = ones(&mut range.clone());
        self.step_of(&words, key, expect)
    }

    /// `BITPOS` without a range: a 0 is also found just behind the value.
    fn find_bit(&mut self, key: &[u8], value: &[u8]) -> Step {
        let bit = self.random.one_in(2);
        let found = (0..value.len() * 8).find(|&offset| get_bit(value, offset) == bit);
        let position = match found {
            Some(offset) => i64::try_from(offset).expect("small"),
            None if bit || self.entry(key).is_some_and(|entry| entry.value.is_empty()) => -1,
            None => i64::try_from(value.len() * 8).expect("small"),
        };
        let word = if bit { "1" } else { "0" };
        self.step_of(&["BITPOS", word], key, Expect::Exactly(Value::Integer(position)))
    }

    fn combine_bits(&mut self) -> Step {
        let name = *self.random.pick(&["AND", "OR", "XOR", "NOT"]);
        let count = if name == "NOT" { 1 } else { 1 + self.random.index(3) };
        let target = self.key();
        let sources: Vec<Vec<u8>> = (0..count).map(|_| self.key()).collect();
        let values: Vec<Vec<u8>> =
            sources.iter().map(|key| self.bytes(key).unwrap_or_default().to_vec()).collect();
        let length = values.iter().map(Vec::len).max().unwrap_or_default();
        let byte = |index: usize| {
            let mut bytes = values.iter().map(|value| value.get(index).copied().unwrap_or(0));
            match name {
                "AND" => bytes.fold(0xff, |all, byte| all & byte),
                "OR" => bytes.fold(0, |all, byte| all | byte),
                "XOR" => bytes.fold(0, |all, byte| all ^ byte),
                _ => !bytes.next().expect("one source"),
            }
        };
        let result: Vec<u8> = (0..length).map(byte).collect();
        if result.is_empty() {
            self.entries.remove(&self.place(&target));
        } else {
            self.put(&target, result);
        }
        let mut args = vec![b"BITOP".to_vec(), name.into(), target];
        args.extend(sources);
        Step { args, expect: integer(length) }
    }

    fn set_expiry(&mut self) -> Step {
        let key = self.key();
        if self.random.one_in(6) {
            let place = self.place(&key);
            let had = self.entries.get_mut(&place).and_then(|entry| entry.expiry.take()).is_some();
            return self.step_of(&["PERSIST"], &key, flag(had));
        }
        if self.random.one_in(5) {
            return self.get_and_expire(&key);
        }
        let (name, absolute, unit_ms) = *self.random.pick(&[
            ("EXPIRE", false, 1_000),
            ("PEXPIRE", false, 1),
            ("EXPIREAT", true, 1_000),
            ("PEXPIREAT", true, 1),
        ]);
        let (number, new) = moment(&mut self.random, absolute, unit_ms);
        let old = self.entry(&key).map(|entry| entry.expiry);
        let mut words = vec![name.to_owned(), number.to_string()];
        let mut done = old.is_some();
        if let (NewExpiry::At(at), true) = (&new, self.random.one_in(2)) {
            let old = old.flatten();
            let far_apart =
                old.is_none_or(|old| old.high_ms < at.low_ms || at.high_ms < old.low_ms);
            let option = *self.random.pick(&["NX", "XX", "GT", "LT"]);
            if far_apart || matches!(option, "NX" | "XX") {
                words.push(option.to_owned());
                done &= match option {
                    "NX" => old.is_none(),
                    "XX" => old.is_some(),
                    "GT" => old.is_some_and(|old| at.low_ms > old.high_ms),
                    _ => old.is_none_or(|old| at.high_ms < old.low_ms),
                };
            }
        }
        if done {
            self.expire(&key, new);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.step_of(&words, &key, flag(done))
    }

    fn get_and_expire(&mut self, key: &[u8]) -> Step {
        let expect = bulk(self.bytes(key));
        let place = self.place(key);
        match self.random.below(3) {
            0 => self.step_of(&["GETEX"], key, expect),
            1 => {
                if let Some(entry) = self.entries.get_mut(&place) {
                    entry.expiry = None;
                }
                self.step_of(&["GETEX", "PERSIST"], key, expect)
            }
            _ => {
                let (name, absolute, unit_ms) = *self.random.pick(&[
                    ("EX", false, 1_000),
                    ("PX", false, 1),
                    ("EXAT", true, 1_000),
                    ("PXAT", true, 1),
                ]);
                let (number, new) = moment(&mut self.random, absolute, unit_ms);
                if self.entries.contains_key(&place) {
                    self.expire(key, new);
                }
                self.step_of(&["GETEX", name, &number.to_string()], key, expect)
            }
        }
    }

    fn ask_expiry(&mut self) -> Step {
        let key = self.key();
        let name = *self.random.pick(&["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"]);
        let unit_ms = if name.starts_with('P') { 1 } else { 1_000 };
        let expect = match self.entry(&key).map(|entry| entry.expiry) {
            None => Expect::Exactly(Value::Integer(-2)),
            Some(None) => Expect::Exactly(Value::Integer(-1)),
            Some(Some(Expiry { low_ms, high_ms })) if name.ends_with("TTL") => {
                Expect::Left { low_ms, high_ms, unit_ms }
            }
            Some(Some(Expiry { low_ms, high_ms })) => {
                // Redis rounds to the next second where the time is not a whole one.
                let time = |ms: u64| i64::try_from((ms + unit_ms / 2) / unit_ms).expect("small");
                Expect::Between(time(low_ms), time(high_ms))
            }
        };
        self.step_of(&[name], &key, expect)
    }

    fn many(&mut self) -> Step {
        let count = 1 + self.random.index(8);
        let keys: Vec<Vec<u8>> = (0..count).map(|_| self.key()).collect();
        match self.random.below(5) {
            0 | 1 => {
                let values =
                    keys.iter().map(|key| self.bytes(key).map_or(Value::NullBulk, Value::bulk));
                let expect = Expect::Exactly(Value::Array(values.collect()));
                Step { args: [vec![b"MGET".to_vec()], keys].concat(), expect }
            }
            2 => {
                let name = *self.random.pick(&["EXISTS", "TOUCH"]);
                let expect = integer(keys.iter().filter(|key| self.entry(key).is_some()).count());
                Step { args: [vec![name.into()], keys].concat(), expect }
            }
            kind => {
                let values: Vec<Vec<u8>> = keys.iter().map(|_| self.new_value()).collect();
                let done = kind == 3 || keys.iter().all(|key| self.entry(key).is_none());
                let name = if kind == 3 { "MSET" } else { "MSETNX" };
                let mut args = vec![name.as_bytes().to_vec()];
                for (key, value) in keys.into_iter().zip(values) {
                    args.extend([key.clone(), value.clone()]);
                    if done {
                        self.put(&key, value);
                    }
                }
                Step { args, expect: if kind == 3 { ok() } else { flag(done) } }
            }
        }
    }

    fn move_key(&mut self) -> Step {
        let from = self.key();
        let to = self.key();
        let source = self.entry(&from).cloned();
        let target_free = self.entry(&to).is_none();
        let two = |name: &str| vec![name.into(), from.clone(), to.clone()];
        match self.random.below(5) {
            0 => {
                let args = two("RENAME");
                let Some(entry) = source else {
                    return Step { args, expect: error("ERR no such key") };
                };
                self.entries.remove(&self.place(&from));
                self.entries.insert(self.place(&to), entry);
                Step { args, expect: ok() }
            }
            1 => {
                let args = two("RENAMENX");
                let Some(entry) = source else {
                    return Step { args, expect: error("ERR no such key") };
                };
                if target_free {
                    self.entries.remove(&self.place(&from));
                    self.entries.insert(self.place(&to), entry);
                }
                Step { args, expect: flag(target_free) }
            }
            2 => {
                let other = 1 - self.database;
                let args = vec![b"MOVE".to_vec(), from.clone(), other.to_string().into_bytes()];
                let target = (other, from.clone());
                if self.fading.contains(&target) {
                    return self.get();
                }
                let done = source.is_some() && !self.entries.contains_key(&target);
                if let (true, Some(entry)) = (done, source) {
                    self.entries.remove(&self.place(&from));
                    self.entries.insert(target, entry);
                }
                Step { args, expect: flag(done) }
            }
            _ => self.copy_key(from, source),
        }
    }

    fn copy_key(&mut self, from: Vec<u8>, source: Option<Entry>) -> Step {
        let database = if self.random.one_in(2) { 1 - self.database } else { self.database };
        let to = self.key_in(database);
        let replace = self.random.one_in(2);
        let mut args = vec![b"COPY".to_vec(), from.clone(), to.clone()];
        if database != self.database {
            args.extend([b"DB".to_vec(), database.to_string().into_bytes()]);
        }
        if replace {
            args.push(b"REPLACE".to_vec());
        }
        if database == self.database && from == to {
            return Step { args, expect: error("ERR source and destination objects are the same") };
        }
        let target = (database, to);
        let done = source.is_some() && (replace || !self.entries.contains_key(&target));
        if let (true, Some(entry)) = (done, source) {
            self.entries.insert(target, entry);
        }
        Step { args, expect: flag(done) }
    }

    fn remove(&mut self) -> Step {
        let name = *self.random.pick(&["DEL", "UNLINK"]);
        let keys: Vec<Vec<u8>> = (0..=self.random.index(4)).map(|_| self.key()).collect();
        let mut removed = 0;
        for key in &keys {
            removed += usize::from(self.entries.remove(&self.place(key)).is_some());
        }
        Step { args: [vec![name.into()], keys].concat(), expect: integer(removed) }
    }

    /// Commands without a key, and mistakes.
    fn others(&mut self) -> Step {
        let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let (args, expect): (Vec<Vec<u8>>, Expect) = match self.random.below(8) {
            0 | 1 => {
                self.database = 1 - self.database;
                (words(&format!("SELECT {}", self.database)), ok())
            }
            2 => (words("PING"), Expect::Exactly(Value::Simple("PONG".into()))),
            3 => (words("ECHO text"), bulk(Some(b"text"))),
            4 => (words("GET"), error("ERR wrong number of arguments for 'get' command")),
            5 => (words("MSET a b c"), error("ERR wrong number of arguments for 'mset' command")),
            6 => (
                words("NONSENSE a"),
                error("ERR unknown command 'NONSENSE', with args beginning with: 'a' "),
            ),
            _ => {
                let key = self.key();
                return self.step_of(&["INCRBY", "x"], &key, error(NOT_AN_INTEGER));
            }
        };
        Step { args, expect }
    }
}
