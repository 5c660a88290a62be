//! What lists, sets, hashes and sorted sets mean, in the simplest form. Any command may meet a key of any type.

use super::hashes::Field;
use super::model::{Expect, Step, error, flag, integer, ok};
use crate::harness::random::Random;
use crate::harness::value::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

const KEYS: u64 = 10;
const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

pub(crate) type Bytes = Vec<u8>;
type Place = (u8, Bytes);

/// What a key holds.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    List(VecDeque<Bytes>),
    Set(BTreeSet<Bytes>),
    Hash(BTreeMap<Bytes, Field>),
    SortedSet(BTreeMap<Bytes, i64>),
}

impl Held {
    fn type_name(&self) -> &'static str {
        match self {
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Hash(_) => "hash",
            Self::SortedSet(_) => "zset",
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many elements it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::List(list) => list.len(),
            Self::Set(set) => set.len(),
            Self::Hash(hash) => hash.len(),
            Self::SortedSet(set) => set.len(),
        }
    }

    /// A command that shows all of it, and what must be answered.
    pub(crate) fn shown(&self, key: &[u8]) -> Step {
        match self {
            Self::List(list) => step("LRANGE", &[key, b"0", b"-1"], all(list)),
            Self::Set(set) => step("SMEMBERS", &[key], unordered(set)),
            Self::Hash(hash) => step("HGETALL", &[key], pairs(hash)),
            Self::SortedSet(set) => {
                let elements = ranked(set).into_iter();
                let flat = elements.flat_map(|(score, member)| [member, score.to_string().into()]);
                let flat: Vec<Bytes> = flat.collect();
                step("ZRANGE", &[key, b"0", b"-1", b"WITHSCORES"], all(&flat))
            }
        }
    }
}

/// The collections of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Collections {
    prefix: String,
    pub(crate) random: Random,
    database: u8,
    keys: HashMap<Place, Held>,
    /// What is left of hashes when the fields are gone that are about to expire.
    fading: BTreeMap<Place, Held>,
    /// Whether no command may wait.
    pub(crate) is_in_transaction: bool,
}

/// A collection of one type at a key: there, not there, or the key holds another type.
pub(crate) enum At<'a, T> {
    Here(&'a mut T),
    Other,
}

pub(crate) fn step(name: &str, args: &[impl AsRef<[u8]>], expect: Expect) -> Step {
    let args = args.iter().map(|arg| arg.as_ref().to_vec());
    Step { args: std::iter::once(name.into()).chain(args).collect(), expect }
}

/// The key holds another type.
#[derive(Debug, PartialEq)]
pub(crate) struct Other;

impl<'a, T> At<'a, T> {
    fn here(self) -> Result<&'a mut T, Other> {
        match self {
            At::Here(held) => Ok(held),
            At::Other => Err(Other),
        }
    }
}

pub(crate) fn bulk(value: Option<&Bytes>) -> Expect {
    Expect::Exactly(value.map_or(Value::NullBulk, Value::bulk))
}

pub(crate) fn array<'a>(elements: impl IntoIterator<Item = &'a Bytes>) -> Value {
    Value::Array(elements.into_iter().map(Value::bulk).collect())
}

fn all<'a>(elements: impl IntoIterator<Item = &'a Bytes>) -> Expect {
    Expect::Exactly(array(elements))
}

fn unordered<'a>(elements: impl IntoIterator<Item = &'a Bytes>) -> Expect {
    Expect::Unordered(elements.into_iter().map(|element| vec![Value::bulk(element)]).collect())
}

fn pairs(hash: &BTreeMap<Bytes, Field>) -> Expect {
    let pair = |(field, held): (&Bytes, &Field)| vec![Value::bulk(field), Value::bulk(&held.value)];
    Expect::Unordered(hash.iter().map(pair).collect())
}

/// The members of a sorted set in order.
fn ranked(set: &BTreeMap<Bytes, i64>) -> Vec<(i64, Bytes)> {
    let mut all: Vec<_> = set.iter().map(|(member, score)| (*score, member.clone())).collect();
    all.sort();
    all
}

pub(crate) fn wrong_type() -> Expect {
    error(WRONG_TYPE)
}

/// The positions that an inclusive range of a list selects.
fn range(length: usize, start: i64, end: i64) -> std::ops::Range<usize> {
    let length = i64::try_from(length).expect("short");
    let from_end = |index: i64| if index < 0 { length + index } else { index };
    let (start, end) = (from_end(start).max(0), from_end(end).min(length - 1));
    if start > end {
        return 0..0;
    }
    let index = |number: i64| usize::try_from(number).expect("not negative");
    index(start)..index(end) + 1
}

macro_rules! at {
    ($name:ident, $kind:ident, $type:ty) => {
        pub(crate) fn $name(&mut self, key: &[u8]) -> At<'_, $type> {
            let place = (self.database, key.to_vec());
            match self.keys.entry(place).or_insert_with(|| Held::$kind(Default::default())) {
                Held::$kind(held) => At::Here(held),
                _ => At::Other,
            }
        }
    };
}

impl Collections {
    pub(crate) fn new(prefix: &str, random: Random) -> Self {
        Self {
            prefix: prefix.to_owned(),
            random,
            database: 0,
            keys: HashMap::new(),
            fading: BTreeMap::new(),
            is_in_transaction: false,
        }
    }

    /// Takes back what was made up since `before`, but for the dice.
    pub(crate) fn go_back(&mut self, before: Self) {
        let random = self.random.clone();
        *self = Self { random, ..before };
    }

    /// Leaves a hash alone until fields that are about to expire, and that it has no more, are gone.
    pub(crate) fn leave_alone(&mut self, key: &Bytes) {
        let place = self.place(key);
        if let Some((place, held)) = self.keys.remove_entry(&place) {
            self.fading.insert(place, held);
        }
    }

    /// The hashes with fields that expire within a moment, and how many others each has. They are to be used again.
    pub(crate) fn take_fading(&mut self) -> Vec<(Place, usize)> {
        let fading = std::mem::take(&mut self.fading);
        let left = fading.iter().map(|(place, held)| (place.clone(), held.len())).collect();
        self.keys.extend(fading.into_iter().filter(|(_, held)| !held.is_empty()));
        left
    }

    fn place(&self, key: &Bytes) -> Place {
        (self.database, key.clone())
    }

    pub(crate) fn is_there(&self, key: &Bytes) -> bool {
        self.keys.contains_key(&self.place(key))
    }

    /// All that is there in a database.
    pub(crate) fn all(&self, database: u8) -> impl Iterator<Item = (&Bytes, &Held)> {
        self.keys
            .iter()
            .filter(move |((db, _), _)| *db == database)
            .map(|((_, key), held)| (key, held))
    }

    at!(list, List, VecDeque<Bytes>);
    at!(set, Set, BTreeSet<Bytes>);
    at!(hash, Hash, BTreeMap<Bytes, Field>);
    at!(sorted_set, SortedSet, BTreeMap<Bytes, i64>);

    /// Makes up a command and its reply.
    pub(crate) fn step(&mut self, database: u8) -> Step {
        self.database = database;
        let step = match self.random.below(17) {
            0..=3 => self.step_of_list(),
            4..=6 => self.step_of_set(),
            7..=9 => self.step_of_hash(),
            10..=12 => self.step_of_sorted_set(),
            13 => self.step_of_sets(),
            14 => self.step_of_wait(),
            _ => self.step_of_key(),
        };
        // A key without elements is none.
        self.keys.retain(|_, held| !held.is_empty());
        step
    }

    /// A key that is not left alone.
    pub(crate) fn key(&mut self) -> Bytes {
        loop {
            let key = format!("{}{}", self.prefix, self.random.below(KEYS)).into_bytes();
            if !self.fading.contains_key(&self.place(&key)) {
                return key;
            }
            if self.random.one_in(100) {
                // Nearly all of them are: a name that was never used.
                return format!("{}{}", self.prefix, self.random.next()).into_bytes();
            }
        }
    }

    pub(crate) fn element(&mut self) -> Bytes {
        match self.random.below(10) {
            0..=5 => self.random.below(40).to_string().into_bytes(),
            6..=8 => format!("e{}", self.random.below(40)).into_bytes(),
            _ => {
                let length = self.random.index(100);
                self.random.bytes(length)
            }
        }
    }

    /// A key, mostly one that holds what is wanted.
    pub(crate) fn key_of(&mut self, is_wanted: impl Fn(&Held) -> bool) -> Bytes {
        for _ in 0..8 {
            let key = self.key();
            if self.keys.get(&self.place(&key)).is_some_and(&is_wanted) {
                return key;
            }
        }
        self.key()
    }

    /// A few elements, or many.
    pub(crate) fn elements(&mut self) -> Vec<Bytes> {
        let most = if self.random.one_in(30) { 200 } else { 6 };
        (0..=self.random.index(most)).map(|_| self.element()).collect()
    }

    fn step_of_list(&mut self) -> Step {
        let key = self.key();
        let (elements, element, other) = (self.elements(), self.element(), self.element());
        let (index, last) = (self.random.between(-8, 8), self.random.between(-8, 8));
        let (choice, is_left) = (self.random.below(11), self.random.one_in(2));
        let At::Here(list) = self.list(&key) else {
            return step("LPUSH", &[key, element], wrong_type());
        };
        let end = |left, right| if is_left { left } else { right };
        match choice {
            0 | 1 => {
                for element in &elements {
                    if is_left {
                        list.push_front(element.clone())
                    } else {
                        list.push_back(element.clone())
                    }
                }
                let expect = integer(list.len());
                step(end("LPUSH", "RPUSH"), &[vec![key], elements].concat(), expect)
            }
            2 => {
                let popped = if is_left { list.pop_front() } else { list.pop_back() };
                step(end("LPOP", "RPOP"), &[key], bulk(popped.as_ref()))
            }
            3 => {
                let count = elements.len().min(list.len());
                let args = [key, elements.len().to_string().into()];
                if list.is_empty() {
                    return step("LPOP", &args, Expect::Exactly(Value::NullArray));
                }
                let popped: Vec<Bytes> = list.drain(..count).collect();
                step("LPOP", &args, all(&popped))
            }
            4 => {
                let selected = range(list.len(), index, last);
                let expect = all(list.range(selected));
                step("LRANGE", &[key, index.to_string().into(), last.to_string().into()], expect)
            }
            5 => {
                let at = range(list.len(), index, index);
                let expect = bulk(list.range(at).next());
                step("LINDEX", &[key, index.to_string().into()], expect)
            }
            6 => {
                let at = range(list.len(), index, index);
                let expect = match (list.is_empty(), at.is_empty()) {
                    (true, _) => error("ERR no such key"),
                    (false, true) => error("ERR index out of range"),
                    (false, false) => {
                        list[at.start].clone_from(&element);
                        ok()
                    }
                };
                step("LSET", &[key, index.to_string().into(), element], expect)
            }
            7 => {
                let at = list.iter().position(|present| *present == other);
                let expect = match at {
                    _ if list.is_empty() => integer(0),
                    None => Expect::Exactly(Value::Integer(-1)),
                    Some(at) => {
                        list.insert(at + usize::from(!is_left), element.clone());
                        integer(list.len())
                    }
                };
                step("LINSERT", &[key, end("BEFORE", "AFTER").into(), other, element], expect)
            }
            8 => {
                let before = list.len();
                list.retain(|present| *present != element);
                let expect = integer(before - list.len());
                step("LREM", &[key, b"0".to_vec(), element], expect)
            }
            9 => {
                let kept = range(list.len(), index, last);
                *list = list.range(kept).cloned().collect();
                step("LTRIM", &[key, index.to_string().into(), last.to_string().into()], ok())
            }
            _ => {
                let expect = integer(list.len());
                step("LLEN", &[key], expect)
            }
        }
    }

    fn step_of_set(&mut self) -> Step {
        let key = self.key();
        let (elements, element) = (self.elements(), self.element());
        let choice = self.random.below(7);
        let At::Here(set) = self.set(&key) else {
            return step("SADD", &[key, element], wrong_type());
        };
        match choice {
            0..=2 => {
                let before = set.len();
                set.extend(elements.iter().cloned());
                let expect = integer(set.len() - before);
                step("SADD", &[vec![key], elements].concat(), expect)
            }
            3 => {
                let before = set.len();
                set.retain(|member| !elements.contains(member));
                let expect = integer(before - set.len());
                step("SREM", &[vec![key], elements].concat(), expect)
            }
            4 => {
                let expect = flag(set.contains(&element));
                step("SISMEMBER", &[key, element], expect)
            }
            5 => {
                let expect = integer(set.len());
                step("SCARD", &[key], expect)
            }
            _ => {
                let popped = std::mem::take(set);
                step("SPOP", &[key, b"1000000".to_vec()], unordered(&popped))
            }
        }
    }

    fn step_of_sorted_set(&mut self) -> Step {
        let key = self.key();
        let (members, member) = (self.elements(), self.element());
        let (by, low) = (self.random.between(-20, 20), self.random.between(-20, 20));
        let high = low + self.random.between(0, 10);
        let choice = self.random.below(11);
        let At::Here(set) = self.sorted_set(&key) else {
            return step("ZADD", &[key, b"1".to_vec(), member], wrong_type());
        };
        match choice {
            0..=2 => {
                let before = set.len();
                let mut args = vec![key];
                for (place, member) in (low..).zip(members) {
                    args.extend([place.to_string().into(), member.clone()]);
                    set.insert(member, place);
                }
                step("ZADD", &args, integer(set.len() - before))
            }
            3 => {
                let before = set.len();
                set.retain(|member, _| !members.contains(member));
                let expect = integer(before - set.len());
                step("ZREM", &[vec![key], members].concat(), expect)
            }
            4 => {
                let score = set.get(&member).map(|score| score.to_string().into_bytes());
                step("ZSCORE", &[key, member], bulk(score.as_ref()))
            }
            5 => {
                let rank = ranked(set).iter().position(|(_, present)| *present == member);
                let expect = rank.map_or(Expect::Exactly(Value::NullBulk), integer);
                step("ZRANK", &[key, member], expect)
            }
            6 => {
                let score = set.entry(member.clone()).or_default();
                *score += by;
                let expect = bulk(Some(&score.to_string().into_bytes()));
                step("ZINCRBY", &[key, by.to_string().into(), member], expect)
            }
            7 => {
                let is_in = |(score, _): &&(i64, Bytes)| (low..=high).contains(score);
                let ranked = ranked(set);
                let expect = all(ranked.iter().filter(is_in).map(|(_, member)| member));
                let bounds = [low, high].map(|bound| bound.to_string().into_bytes());
                step("ZRANGEBYSCORE", &[vec![key], bounds.to_vec()].concat(), expect)
            }
            8 => {
                let before = set.len();
                set.retain(|_, score| !(low..=high).contains(score));
                let expect = integer(before - set.len());
                let bounds = [low, high].map(|bound| bound.to_string().into_bytes());
                step("ZREMRANGEBYSCORE", &[vec![key], bounds.to_vec()].concat(), expect)
            }
            9 => {
                let first = ranked(set).into_iter().next();
                let popped = first.map(|(score, member)| [member, score.to_string().into_bytes()]);
                if let Some([member, _]) = &popped {
                    set.remove(member);
                }
                step("ZPOPMIN", &[key], all(popped.iter().flatten()))
            }
            _ => {
                let expect = integer(set.len());
                step("ZCARD", &[key], expect)
            }
        }
    }

    /// What a key holds as a set; nothing if it is of another type.
    fn as_set(&self, key: &[u8]) -> Option<BTreeSet<Bytes>> {
        match self.keys.get(&(self.database, key.to_vec())) {
            None => Some(BTreeSet::new()),
            Some(Held::Set(set)) => Some(set.clone()),
            Some(_) => None,
        }
    }

    /// Commands on several keys, which mostly lie on several shards.
    fn step_of_sets(&mut self) -> Step {
        let [target, one, other] = [self.key(), self.key(), self.key()];
        let (Some(a), Some(b)) = (self.as_set(&one), self.as_set(&other)) else {
            return self.step_of_lists(one, other);
        };
        let (name, result): (_, BTreeSet<Bytes>) = match self.random.below(3) {
            0 => ("SINTERSTORE", a.intersection(&b).cloned().collect()),
            1 => ("SUNIONSTORE", a.union(&b).cloned().collect()),
            _ => ("SDIFFSTORE", a.difference(&b).cloned().collect()),
        };
        let expect = integer(result.len());
        self.keys.insert((self.database, target.clone()), Held::Set(result));
        step(name, &[target, one, other], expect)
    }

    fn step_of_lists(&mut self, one: Bytes, other: Bytes) -> Step {
        let expect = match self.move_element(&one, &other) {
            Ok(moved) => bulk(moved.as_ref()),
            Err(_) => wrong_type(),
        };
        step("LMOVE", &[&one[..], &other, b"LEFT", b"RIGHT"], expect)
    }

    /// Moves the first element of a list to the end of another, if there is one.
    pub(crate) fn move_element(
        &mut self,
        from: &Bytes,
        to: &Bytes,
    ) -> Result<Option<Bytes>, Other> {
        if !self.is_there(from) {
            return Ok(None);
        }
        let source = self.list(from).here()?.front().cloned();
        self.list(to).here()?.extend(source.clone());
        // Where both are one it is the first still.
        self.list(from).here()?.pop_front();
        Ok(source)
    }

    fn step_of_key(&mut self) -> Step {
        let [from, to] = [self.key(), self.key()];
        let (from_place, to_place) = (self.place(&from), self.place(&to));
        let held = self.keys.get(&from_place).cloned();
        match self.random.below(5) {
            0 => {
                let name = held.as_ref().map_or("none", Held::type_name);
                step("TYPE", &[from], Expect::Exactly(Value::Simple(name.into())))
            }
            1 => step("DEL", &[from], flag(self.keys.remove(&from_place).is_some())),
            2 => {
                let Some(held) = held else {
                    return step("RENAME", &[from, to], error("ERR no such key"));
                };
                self.keys.remove(&from_place);
                self.keys.insert(to_place, held);
                step("RENAME", &[from, to], ok())
            }
            3 if from != to => {
                let expect = flag(held.is_some());
                if let Some(held) = held {
                    self.keys.insert(to_place, held);
                }
                step("COPY", &[from, to, b"REPLACE".to_vec()], expect)
            }
            _ => match held {
                Some(held) => held.shown(&from),
                None => step("EXISTS", &[from], integer(0)),
            },
        }
    }
}
