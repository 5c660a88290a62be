//! A single copy of the data, which runs one command after another: what values of all types mean, in the simplest form.

use super::harness::value::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Held {
    Text(String),
    List(VecDeque<String>),
    Set(BTreeSet<String>),
    Hash(BTreeMap<String, String>),
    SortedSet(BTreeMap<String, i64>),
}

impl Held {
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::List(list) => list.is_empty(),
            Self::Set(set) => set.is_empty(),
            Self::Hash(hash) => hash.is_empty(),
            Self::SortedSet(set) => set.is_empty(),
        }
    }
}

/// All keys. Each holds values of one type only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Data(BTreeMap<String, Held>);

macro_rules! at {
    ($name:ident, $kind:ident, $type:ty) => {
        fn $name(&mut self, key: &str) -> &mut $type {
            match self.0.entry(key.to_owned()).or_insert_with(|| Held::$kind(Default::default())) {
                Held::$kind(held) => held,
                other => panic!("{key} holds {other:?}"),
            }
        }
    };
}

fn flag(value: bool) -> Value {
    Value::Integer(i64::from(value))
}

fn count(value: usize) -> Value {
    Value::Integer(i64::try_from(value).expect("small"))
}

fn bulk(value: Option<impl AsRef<[u8]>>) -> Value {
    value.map_or(Value::NullBulk, Value::bulk)
}

fn array(values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Value {
    Value::Array(values.into_iter().map(Value::bulk).collect())
}

fn integer(text: &str) -> i64 {
    text.parse().expect("a number")
}

/// A reply as [`Data::run`] gives it, where the order says nothing.
pub(crate) fn in_order(command: &[String], reply: &Value) -> Value {
    let width = match command[0].as_str() {
        "SMEMBERS" | "SUNION" => 1,
        "HGETALL" => 2,
        _ => return reply.clone(),
    };
    let mut groups: Vec<&[Value]> = reply.elements().chunks(width).collect();
    groups.sort_by_cached_key(|group| group[0].text());
    Value::Array(groups.concat())
}

/// Whether a command changes nothing, whatever is there.
pub(crate) fn is_read(command: &[String]) -> bool {
    const READS: [&str; 8] =
        ["GET", "MGET", "EXISTS", "LRANGE", "SMEMBERS", "SUNION", "HGETALL", "ZRANGE"];
    READS.contains(&command[0].as_str())
}

impl Data {
    at!(list, List, VecDeque<String>);
    at!(set, Set, BTreeSet<String>);
    at!(hash, Hash, BTreeMap<String, String>);
    at!(sorted_set, SortedSet, BTreeMap<String, i64>);

    fn text(&self, key: &str) -> Option<&String> {
        match self.0.get(key) {
            Some(Held::Text(text)) => Some(text),
            _ => None,
        }
    }

    fn put_text(&mut self, key: &str, text: impl ToString) {
        self.0.insert(key.to_owned(), Held::Text(text.to_string()));
    }

    /// Runs a command.
    ///
    /// # Panics
    /// If it is none of those that are known here.
    pub(crate) fn run(&mut self, command: &[String]) -> Value {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let known = self.run_on_key(&words).or_else(|| self.run_on_keys(&words));
        // A key without elements is none.
        self.0.retain(|_, held| !held.is_empty());
        known.unwrap_or_else(|| panic!("{words:?}"))
    }

    fn run_on_key(&mut self, words: &[&str]) -> Option<Value> {
        Some(match *words {
            ["GET", key] => bulk(self.text(key)),
            ["SET", key, value] => {
                self.put_text(key, value);
                Value::ok()
            }
            ["INCR", key] => {
                let number = 1 + self.text(key).map_or(0, |text| integer(text));
                self.put_text(key, number);
                Value::Integer(number)
            }
            ["RPUSH", key, ref values @ ..] => {
                let list = self.list(key);
                list.extend(values.iter().map(|value| (*value).to_owned()));
                count(list.len())
            }
            ["LPOP", key] => bulk(self.list(key).pop_front()),
            ["LRANGE", key, "0", "-1"] => array(self.list(key)),
            ["HSET", key, field, value] => {
                flag(self.hash(key).insert(field.to_owned(), value.to_owned()).is_none())
            }
            ["HDEL", key, field] => flag(self.hash(key).remove(field).is_some()),
            ["HINCRBY", key, field, by] => {
                let hash = self.hash(key);
                let number = integer(by) + hash.get(field).map_or(0, |text| integer(text));
                hash.insert(field.to_owned(), number.to_string());
                Value::Integer(number)
            }
            ["HGETALL", key] => array(self.hash(key).iter().flat_map(|(field, it)| [field, it])),
            ["SADD", key, member] => flag(self.set(key).insert(member.to_owned())),
            ["SREM", key, member] => flag(self.set(key).remove(member)),
            ["SMEMBERS", key] => array(self.set(key).iter()),
            ["ZADD", key, score, member] => {
                let old = self.sorted_set(key).insert(member.to_owned(), integer(score));
                flag(old.is_none())
            }
            ["ZINCRBY", key, by, member] => {
                let score = self.sorted_set(key).entry(member.to_owned()).or_default();
                *score += integer(by);
                bulk(Some(score.to_string()))
            }
            ["ZPOPMIN", key] => {
                let set = self.sorted_set(key);
                let first = set.iter().min_by_key(|(member, score)| (**score, *member));
                let first = first.map(|(member, score)| (member.clone(), *score));
                if let Some((member, _)) = &first {
                    set.remove(member);
                }
                array(first.into_iter().flat_map(|(member, score)| [member, score.to_string()]))
            }
            ["ZRANGE", key, "0", "-1", "WITHSCORES"] => {
                let mut all: Vec<_> = self.sorted_set(key).iter().collect();
                all.sort_by_key(|(member, score)| (**score, *member));
                array(all.into_iter().flat_map(|(member, it)| [member.clone(), it.to_string()]))
            }
            _ => return None,
        })
    }

    /// Commands over several keys, which mostly lie in several shards.
    fn run_on_keys(&mut self, words: &[&str]) -> Option<Value> {
        Some(match *words {
            ["MGET", ref keys @ ..] => {
                Value::Array(keys.iter().map(|key| bulk(self.text(key))).collect())
            }
            ["MSET", ref pairs @ ..] => {
                pairs.chunks(2).for_each(|pair| self.put_text(pair[0], pair[1]));
                Value::ok()
            }
            ["DEL", ref keys @ ..] => {
                count(keys.iter().filter(|key| self.0.remove(**key).is_some()).count())
            }
            ["EXISTS", ref keys @ ..] => {
                count(keys.iter().filter(|key| self.0.contains_key(**key)).count())
            }
            ["RENAME", from, to] => match self.0.remove(from) {
                None => Value::Error("ERR no such key".into()),
                Some(held) => {
                    self.0.insert(to.to_owned(), held);
                    Value::ok()
                }
            },
            ["COPY", from, to, "REPLACE"] => {
                let held = self.0.get(from).cloned();
                let is_there = held.is_some();
                self.0.extend(held.map(|held| (to.to_owned(), held)));
                flag(is_there)
            }
            ["LMOVE", from, to, "LEFT", "RIGHT"] => {
                let moved = self.list(from).pop_front();
                self.list(to).extend(moved.clone());
                bulk(moved)
            }
            ["SMOVE", from, to, member] => {
                let moved = self.set(from).take(member);
                let is_there = moved.is_some();
                self.set(to).extend(moved);
                flag(is_there)
            }
            ["SUNION", ref keys @ ..] => array(self.united(keys)),
            ["SUNIONSTORE", to, ref keys @ ..] => {
                let result = self.united(keys);
                self.store(to, Held::Set(result.clone()), result.len())
            }
            ["SINTERSTORE", to, one, other] => {
                let (one, other) = (self.set(one).clone(), self.set(other).clone());
                let result: BTreeSet<String> = one.intersection(&other).cloned().collect();
                self.store(to, Held::Set(result.clone()), result.len())
            }
            ["ZUNIONSTORE", to, "2", one, other] => {
                let mut result = self.sorted_set(one).clone();
                for (member, score) in self.sorted_set(other).clone() {
                    *result.entry(member).or_default() += score;
                }
                let members = result.len();
                self.store(to, Held::SortedSet(result), members)
            }
            _ => return None,
        })
    }

    fn united(&mut self, keys: &[&str]) -> BTreeSet<String> {
        keys.iter().flat_map(|key| self.set(key).clone()).collect()
    }

    fn store(&mut self, to: &str, held: Held, elements: usize) -> Value {
        self.0.insert(to.to_owned(), held);
        count(elements)
    }
}
