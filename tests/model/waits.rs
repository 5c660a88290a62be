//! Commands that wait for an element if there is none, and those of the same form that do not. Nobody else writes the keys,
//! so that a wait is in vain: it has an end, unless there is something or the command is in a transaction.

use super::collections::{At, Bytes, Collections, Held, array, step, wrong_type};
use super::model::{Expect, Step};
use crate::harness::value::Value;

/// Seconds that pass where there is nothing.
const SHORT: &str = "0.001";

/// What a command pops of a key, or that it must not.
enum Popped {
    Nothing,
    Elements(Bytes, Vec<Vec<Bytes>>),
    WrongType,
}

impl Collections {
    /// A command that pops of the first of some keys that is there.
    pub(super) fn step_of_wait(&mut self) -> Step {
        if self.random.one_in(4) {
            return self.wait_and_move();
        }
        let (is_list, is_first) = (self.random.one_in(2), self.random.one_in(2));
        let is_wanted = |held: &Held| match held {
            Held::List(_) => is_list,
            Held::SortedSet(_) => !is_list,
            Held::Set(_) | Held::Hash(_) => false,
        };
        let count = 1 + self.random.index(3);
        let keys: Vec<Bytes> = match self.random.one_in(2) {
            true => (0..count).map(|_| self.key()).collect(),
            false => (0..count).map(|_| self.key_of(is_wanted)).collect(),
        };
        let end = match (is_list, is_first) {
            (true, true) => "LEFT",
            (true, false) => "RIGHT",
            (false, true) => "MIN",
            (false, false) => "MAX",
        };
        let (is_many, waits) = (self.random.one_in(2), self.random.one_in(2));
        let count = if is_many { 1 + self.random.index(3) } else { 1 };
        let popped = self.pop(&keys, (is_list, is_first), count);
        let timeout: Bytes = self.timeout(matches!(popped, Popped::Nothing)).into();
        let mut args = Vec::new();
        if is_many && waits {
            args.push(timeout.clone());
        }
        if is_many {
            args.push(keys.len().to_string().into());
        }
        args.extend(keys);
        if is_many {
            args.extend([end.into(), b"COUNT".to_vec(), count.to_string().into()]);
        } else {
            args.push(timeout);
        }
        let name = match (is_many, is_list, waits) {
            (true, true, true) => "BLMPOP",
            (true, true, false) => "LMPOP",
            (true, false, true) => "BZMPOP",
            (true, false, false) => "ZMPOP",
            (false, true, _) => ["BRPOP", "BLPOP"][usize::from(is_first)],
            (false, false, _) => ["BZPOPMAX", "BZPOPMIN"][usize::from(is_first)],
        };
        step(name, &args, shown(popped, is_list, is_many))
    }

    /// A timeout for a command that waits, in vain or not at all.
    fn timeout(&mut self, is_vain: bool) -> &'static str {
        match is_vain && !self.is_in_transaction {
            true => SHORT,
            false => ["0", "0.5", "100"][self.random.index(3)],
        }
    }

    fn pop(&mut self, keys: &[Bytes], (is_list, is_first): (bool, bool), count: usize) -> Popped {
        let Some(key) = keys.iter().find(|key| self.is_there(key)) else { return Popped::Nothing };
        let popped = if is_list {
            let At::Here(list) = self.list(key) else { return Popped::WrongType };
            let mut pop = || if is_first { list.pop_front() } else { list.pop_back() };
            (0..count).map_while(|_| Some(vec![pop()?])).collect()
        } else {
            let At::Here(set) = self.sorted_set(key) else { return Popped::WrongType };
            let mut pop = || {
                let by_score = |(member, score): &(&Bytes, &i64)| (**score, (*member).clone());
                let end = match is_first {
                    true => set.iter().min_by_key(by_score),
                    false => set.iter().max_by_key(by_score),
                };
                let (member, score) = end.map(|(member, score)| (member.clone(), *score))?;
                set.remove(&member);
                Some(vec![member, score.to_string().into()])
            };
            (0..count).map_while(|_| pop()).collect()
        };
        Popped::Elements(key.clone(), popped)
    }

    fn wait_and_move(&mut self) -> Step {
        let is_list = |held: &Held| matches!(held, Held::List(_));
        let [from, to] = [self.key_of(is_list), self.key_of(is_list)];
        let moved = self.move_element(&from, &to);
        let is_vain = moved == Ok(None);
        let timeout = self.timeout(is_vain);
        let expect = match moved {
            Err(_) => wrong_type(),
            Ok(Some(element)) => Expect::Exactly(Value::Bulk(element)),
            Ok(None) if self.is_in_transaction => Expect::Exactly(Value::NullBulk),
            Ok(None) => Expect::Exactly(Value::NullArray),
        };
        step("BLMOVE", &[&from[..], &to, b"LEFT", b"RIGHT", timeout.as_bytes()], expect)
    }
}

/// The reply to a command that pops.
fn shown(popped: Popped, is_list: bool, is_many: bool) -> Expect {
    let (key, elements) = match popped {
        Popped::Nothing => return Expect::Exactly(Value::NullArray),
        Popped::WrongType => return wrong_type(),
        Popped::Elements(key, elements) => (key, elements),
    };
    let elements = match (is_list, is_many) {
        (false, true) => vec![Value::Array(elements.iter().map(array).collect())],
        (true, true) => vec![array(elements.iter().flatten())],
        (_, false) => elements.into_iter().flatten().map(Value::Bulk).collect(),
    };
    Expect::Exactly(Value::Array([vec![Value::Bulk(key)], elements].concat()))
}
