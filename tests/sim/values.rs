//! Values of all types, changed at random.

use super::Dice;
use crate::cache::{Keyspace, Missing};
use crate::collection::list::End;
use crate::collection::{Collection, Edit, Hash, List, Set, SortedSet, Thresholds};
use crate::types::{DbIndex, Key, UnixMs};

/// Most elements of one change, now and then.
const ELEMENTS_MAX: usize = 300;

/// Few elements, so that collections become structures, or the usual numbers.
pub(super) fn thresholds(dice: &mut Dice) -> Thresholds {
    let usual = Thresholds::default();
    if dice.one_in(3) {
        return usual;
    }
    Thresholds {
        hash_entries: 6,
        list_size: 6,
        set_intset_entries: 6,
        set_entries: 9,
        zset_entries: 6,
        ..usual
    }
}

fn element(dice: &mut Dice) -> Vec<u8> {
    let number = dice.below(400).to_string();
    match dice.below(20) {
        0 => format!("{number:>80}").into_bytes(),
        1..8 => format!("e{number}").into_bytes(),
        _ => number.into_bytes(),
    }
}

fn count(dice: &mut Dice) -> usize {
    if dice.one_in(20) { dice.below(ELEMENTS_MAX) } else { 1 + dice.below(5) }
}

fn missing(dice: &mut Dice) -> Missing {
    if dice.one_in(3) { Missing::Skip } else { Missing::Create }
}

/// Changes the collection of a key, if it holds one of a type that is drawn, or none.
pub(super) fn change(keyspace: &mut Keyspace, key: Key<'_>, now: UnixMs, dice: &mut Dice) {
    let missing = missing(dice);
    // A key of another type stays as it is.
    let _ = match dice.below(4) {
        0 => keyspace.change(key, missing, now, |list, edit| change_list(list, edit, dice)),
        1 => keyspace.change(key, missing, now, |set, edit| change_set(set, edit, dice)),
        2 => keyspace.change(key, missing, now, |hash, edit| change_hash(hash, edit, now, dice)),
        _ => keyspace.change(key, missing, now, |set, edit| change_sorted_set(set, edit, dice)),
    };
}

fn end(dice: &mut Dice) -> End {
    if dice.one_in(2) { End::Left } else { End::Right }
}

fn change_list(list: &mut List, edit: &mut Edit<'_>, dice: &mut Dice) {
    let length = list.view().len();
    match dice.below(8) {
        0..4 => {
            let elements: Vec<_> = (0..count(dice)).map(|_| element(dice)).collect();
            list.push(end(dice), elements.iter().map(Vec::as_slice), edit);
        }
        4 | 5 => list.pop(end(dice), count(dice).min(length), edit),
        6 if length > 0 => {
            let index = dice.below(length);
            if dice.one_in(2) {
                list.set(index, &element(dice), edit);
            } else {
                list.insert(index, &element(dice), edit);
            }
        }
        _ => {
            let start = dice.below(length / 4 + 1);
            list.trim(start, length - start - dice.below((length - start) / 4 + 1), edit);
        }
    }
}

fn change_set(set: &mut Set, edit: &mut Edit<'_>, dice: &mut Dice) {
    for _ in 0..count(dice) {
        if dice.one_in(3) {
            set.remove(&element(dice), edit);
        } else {
            set.add(&element(dice), edit);
        }
    }
}

fn change_hash(hash: &mut Hash, edit: &mut Edit<'_>, now: UnixMs, dice: &mut Dice) {
    for _ in 0..count(dice) {
        let field = element(dice);
        match dice.below(8) {
            0..4 => {
                hash.set(&field, &element(dice), now, edit);
            }
            4 => hash.update(&field, &element(dice), now, edit),
            5 => {
                hash.remove(&field, now, edit);
            }
            _ => {
                let at = UnixMs(now.0 + 1 + dice.below(5_000) as u64);
                hash.set_expiry(&field, (!dice.one_in(4)).then_some(at), edit);
            }
        }
    }
}

fn change_sorted_set(set: &mut SortedSet, edit: &mut Edit<'_>, dice: &mut Dice) {
    for _ in 0..count(dice) {
        let length = set.view().len();
        match dice.below(6) {
            0..4 => {
                let score = dice.below(50) as f64 / 4.0 - 3.0;
                set.put(&element(dice), score, edit);
            }
            4 => {
                set.remove(&element(dice), edit);
            }
            _ => {
                let start = dice.below(length + 1);
                let end = start + dice.below((length - start).min(4) + 1);
                set.remove_ranks(start..end, edit, |_, _| {});
            }
        }
    }
}

/// Gives what one key holds to another, as `RENAME` and `COPY` do.
pub(super) fn transfer(keyspace: &mut Keyspace, key: Key<'_>, now: UnixMs, dice: &mut Dice) {
    let name = format!("{{t}}key{}", dice.below(super::KEYS));
    let to = Key { db: DbIndex(0), slot: key.slot, bytes: name.as_bytes() };
    if to == key {
        return;
    }
    let whole = if dice.one_in(2) {
        keyspace.copy_collection(key, now)
    } else {
        keyspace.take_collection_of(key, now)
    };
    if let Some(whole) = whole {
        let at = dice.one_in(3).then(|| UnixMs(now.0 + 1 + dice.below(5_000) as u64));
        keyspace.put_collection(to, whole, at, now).expect("little enough");
    }
}
