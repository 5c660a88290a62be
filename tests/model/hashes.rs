//! Hashes, whose fields may expire. One with fields that are about to is left alone until they are gone.

use super::collections::{At, Bytes, Collections, Held, bulk, step, wrong_type};
use super::model::{Expect, Expiry, NewExpiry, Step, error, flag, integer, moment, parse_integer};
use crate::harness::server::is_other_server;
use crate::harness::value::Value;
use std::collections::BTreeMap;

/// What a field of a hash holds, and when it expires.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) value: Bytes,
    pub(crate) expiry: Option<Expiry>,
}

impl From<Bytes> for Field {
    fn from(value: Bytes) -> Self {
        Self { value, expiry: None }
    }
}

const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const REFUSED: i64 = 0;
const DONE: i64 = 1;
const REMOVED: i64 = 2;

fn number(number: i64) -> Expect {
    Expect::Exactly(Value::Integer(number))
}

/// `name key before… FIELDS count fields…`
fn on_fields(
    name: &str,
    key: Bytes,
    before: &[String],
    fields: Vec<Bytes>,
    expect: Expect,
) -> Step {
    let mut args = vec![key];
    args.extend(before.iter().map(|word| word.clone().into_bytes()));
    args.extend([b"FIELDS".to_vec(), fields.len().to_string().into()]);
    args.extend(fields);
    step(name, &args, expect)
}

/// Whether a condition allows a new time; none if that depends on how long something took.
fn allows(option: &str, old: Option<Expiry>, new: &NewExpiry) -> Option<bool> {
    let is_later = |old: Expiry| match new {
        NewExpiry::Gone => Some(false),
        NewExpiry::Fading => None,
        NewExpiry::At(new) if new.low_ms > old.high_ms => Some(true),
        NewExpiry::At(new) if new.high_ms < old.low_ms => Some(false),
        NewExpiry::At(_) => None,
    };
    match (option, old) {
        ("", _) | ("LT", None) => Some(true),
        ("NX", old) => Some(old.is_none()),
        ("XX", old) => Some(old.is_some()),
        ("GT", None) => Some(false),
        ("GT", Some(old)) => is_later(old),
        (_, Some(old)) => is_later(old).map(|is_later| !is_later),
        (_, None) => panic!("{option}"),
    }
}

impl Collections {
    pub(super) fn step_of_hash(&mut self) -> Step {
        // Redis has known times of fields since 7.4.
        if self.random.one_in(4) && !is_other_server() {
            return self.step_of_fields();
        }
        let key = self.key();
        let (fields, field, value) = (self.elements(), self.element(), self.element());
        let by = self.random.between(-50, 50);
        let choice = self.random.below(8);
        let At::Here(hash) = self.hash(&key) else {
            return step("HSET", &[key, field, value], wrong_type());
        };
        match choice {
            0..=2 => {
                let before = hash.len();
                let mut args = vec![key];
                for field in fields {
                    args.extend([field.clone(), value.clone()]);
                    hash.insert(field, value.clone().into());
                }
                step("HSET", &args, integer(hash.len() - before))
            }
            3 => {
                let before = hash.len();
                hash.retain(|field, _| !fields.contains(field));
                let expect = integer(before - hash.len());
                step("HDEL", &[vec![key], fields].concat(), expect)
            }
            4 => {
                let expect = bulk(hash.get(&field).map(|held| &held.value));
                step("HGET", &[key, field], expect)
            }
            5 => {
                let is_new = !hash.contains_key(&field);
                if is_new {
                    hash.insert(field.clone(), value.clone().into());
                }
                step("HSETNX", &[key, field, value], flag(is_new))
            }
            6 => {
                let args = [key, field.clone(), by.to_string().into()];
                let old = hash.get(&field);
                let Some(old) = old.map_or(Some(0), |held| parse_integer(&held.value)) else {
                    return step("HINCRBY", &args, error("ERR hash value is not an integer"));
                };
                // It counts on, and expires as it did.
                let held = hash.entry(field).or_insert_with(|| Vec::new().into());
                held.value = (old + by).to_string().into_bytes();
                step("HINCRBY", &args, Expect::Exactly(Value::Integer(old + by)))
            }
            _ => {
                let expect = integer(hash.len());
                step("HLEN", &[key], expect)
            }
        }
    }

    /// A command on the times at which fields expire.
    fn step_of_fields(&mut self) -> Step {
        let key = self.key_of(|held| matches!(held, Held::Hash(_)));
        let mut fields = self.elements();
        fields.sort();
        fields.dedup();
        match self.random.below(4) {
            0 => self.ask_for_times(key, fields),
            1 => self.persist_fields(key, fields),
            _ => self.expire_fields(key, fields),
        }
    }

    fn expire_fields(&mut self, key: Bytes, fields: Vec<Bytes>) -> Step {
        let (name, is_absolute, unit_ms) = *self.random.pick(&[
            ("HEXPIRE", false, 1_000),
            ("HPEXPIRE", false, 1),
            ("HEXPIREAT", true, 1_000),
            ("HPEXPIREAT", true, 1),
        ]);
        let (time, new) = moment(&mut self.random, is_absolute, unit_ms);
        let mut option = *self.random.pick(&["", "", "NX", "XX", "GT", "LT"]);
        let At::Here(hash) = self.hash(&key) else {
            return on_fields(name, key, &[time.to_string()], fields, wrong_type());
        };
        let allowed = |option: &str, hash: &BTreeMap<Bytes, Field>| {
            let of =
                |field| hash.get(field).map_or(Some(false), |it| allows(option, it.expiry, &new));
            fields.iter().map(of).collect::<Option<Vec<bool>>>()
        };
        let allowed = allowed(option, hash).unwrap_or_else(|| {
            option = "";
            allowed(option, hash).expect("what has no condition is allowed")
        });
        let mut replies = Vec::new();
        let mut is_fading = false;
        for (field, is_allowed) in fields.iter().zip(allowed) {
            let Some(held) = hash.get_mut(field) else {
                replies.push(number(NO_FIELD));
                continue;
            };
            replies.push(number(match (is_allowed, &new) {
                (false, _) => REFUSED,
                (true, NewExpiry::Gone) => {
                    hash.remove(field);
                    REMOVED
                }
                (true, NewExpiry::Fading) => {
                    hash.remove(field);
                    is_fading = true;
                    DONE
                }
                (true, NewExpiry::At(at)) => {
                    held.expiry = Some(*at);
                    DONE
                }
            }));
        }
        if is_fading {
            self.leave_alone(&key);
        }
        let mut words = vec![time.to_string()];
        words.extend((!option.is_empty()).then(|| option.to_owned()));
        on_fields(name, key, &words, fields, Expect::Each(replies))
    }

    fn persist_fields(&mut self, key: Bytes, fields: Vec<Bytes>) -> Step {
        let At::Here(hash) = self.hash(&key) else {
            return on_fields("HPERSIST", key, &[], fields, wrong_type());
        };
        let persist = |field| match hash.get_mut(field).map(|held| held.expiry.take()) {
            None => number(NO_FIELD),
            Some(None) => number(NO_EXPIRY),
            Some(Some(_)) => number(DONE),
        };
        let expect = Expect::Each(fields.iter().map(persist).collect());
        on_fields("HPERSIST", key, &[], fields, expect)
    }

    fn ask_for_times(&mut self, key: Bytes, fields: Vec<Bytes>) -> Step {
        let (name, unit_ms) = *self.random.pick(&[
            ("HTTL", 1_000),
            ("HPTTL", 1),
            ("HEXPIRETIME", 1_000),
            ("HPEXPIRETIME", 1),
        ]);
        let At::Here(hash) = self.hash(&key) else {
            return on_fields(name, key, &[], fields, wrong_type());
        };
        let time = |ms: u64| i64::try_from(ms.div_ceil(unit_ms)).expect("small");
        let told = |field| match hash.get(field).map(|held| held.expiry) {
            None => number(NO_FIELD),
            Some(None) => number(NO_EXPIRY),
            Some(Some(Expiry { low_ms, high_ms })) if name.ends_with("TTL") => {
                Expect::Left { low_ms, high_ms, unit_ms }
            }
            Some(Some(Expiry { low_ms, high_ms })) => Expect::Between(time(low_ms), time(high_ms)),
        };
        let expect = Expect::Each(fields.iter().map(told).collect());
        on_fields(name, key, &[], fields, expect)
    }
}
