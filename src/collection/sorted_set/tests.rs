//! Sorted sets against a model: a map from member to score, sorted when its order is asked for.

use super::{Edge, SortedSet, View};
use crate::collection::edit::{Edit, OpReader};
use crate::collection::{Collection, Digits, Element, Form, Large, Nonsense, Tag, Thresholds};
use std::collections::BTreeMap;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((u128::from(mixed ^ mixed >> 31) * bound as u128) >> 64).unwrap()
    }

    fn score(&mut self) -> f64 {
        const ODD: [f64; 8] =
            [f64::INFINITY, f64::NEG_INFINITY, 0.1, -1e-7, 1e300, 5e-324, 4e18, 1e19];
        match self.below(4) {
            0 => ODD[self.below(8)],
            1 => self.below(5) as f64,
            2 => self.below(100_000) as f64 - 50_000.0,
            _ => self.below(1000) as f64 / 7.0,
        }
    }
}

type Elements = Vec<(Vec<u8>, f64)>;

#[derive(Default)]
struct Model {
    scores: BTreeMap<Vec<u8>, f64>,
}

impl Model {
    fn elements(&self) -> Elements {
        let mut elements: Elements = self.scores.iter().map(|(m, s)| (m.clone(), *s)).collect();
        elements.sort_by(|(a, s), (b, t)| s.partial_cmp(t).unwrap().then(a.cmp(b)));
        elements
    }
}

fn owned((member, score): (Element<'_>, f64)) -> (Vec<u8>, f64) {
    (member.to_vec(), score)
}

fn elements(view: View<'_>) -> Elements {
    view.elements(0..usize::MAX).map(owned).collect()
}

fn verify(set: &SortedSet) {
    match set {
        SortedSet::Small(block) => {
            assert!(SortedSet::check(block.view().block()))
        }
        SortedSet::Large(large) => {
            large.tree.verify();
            assert_eq!(large.table.len(), large.tree.len());
        }
    }
}

/// Compares everything that readers can ask.
fn compare(set: &SortedSet, model: &Model, random: &mut Random) {
    verify(set);
    let (view, expected) = (set.view(), model.elements());
    assert_eq!((view.len(), elements(view)), (expected.len(), expected.clone()));
    let backwards: Elements = view.elements(0..expected.len()).rev().map(owned).collect();
    assert!(backwards.iter().eq(expected.iter().rev()));
    for _ in 0..20 {
        let start = random.below(expected.len() + 2);
        let end = start + random.below(expected.len() + 2);
        let ranks = start.min(expected.len())..end.min(expected.len());
        let found: Elements = view.elements(start..end).map(owned).collect();
        assert_eq!(found, expected[ranks.clone()]);
        let mut both = view.elements(start..end);
        for rank in ranks.clone().take(3) {
            assert_eq!(both.next().map(owned).as_ref(), Some(&expected[rank]));
        }
        for rank in ranks.skip(3).rev() {
            assert_eq!(both.next_back().map(owned).as_ref(), Some(&expected[rank]));
        }
        assert!(both.next().is_none() && both.next_back().is_none());
    }
    for (rank, (member, score)) in expected.iter().enumerate().step_by(1 + expected.len() / 200) {
        assert_eq!(view.find(member), Some((rank, *score)));
        assert_eq!(view.score(member), Some(*score));
        let count =
            |is_before: &dyn Fn(f64) -> bool| expected.iter().filter(|e| is_before(e.1)).count();
        assert_eq!(view.rank(Edge::BeforeScore(*score)), count(&|other| other < *score));
        assert_eq!(view.rank(Edge::AfterScore(*score)), count(&|other| other <= *score));
        assert_eq!(view.rank(Edge::AfterElement(*score, member)), rank + 1);
    }
    assert_eq!(view.between(Edge::Start, Edge::End), 0..expected.len());
    assert_eq!(view.between(Edge::AfterScore(3.0), Edge::BeforeScore(3.0)).len(), 0);
    assert_eq!(view.find(b"not there"), None);
}

fn thresholds(entries: usize) -> Thresholds {
    Thresholds { zset_entries: entries, ..Thresholds::default() }
}

/// One random change of both; operations go to `ops`.
fn change(
    set: &mut SortedSet,
    model: &mut Model,
    members: usize,
    random: &mut Random,
    edit: &mut Edit<'_>,
) {
    let number = random.below(members);
    // Integers, and long members with much in common.
    let member = match number % 3 {
        0 => number.to_string(),
        1 => format!("element:{number:012}"),
        _ => format!("{}{number}", "x".repeat(number % 90)),
    };
    let member = member.as_bytes();
    match random.below(10) {
        0..6 => {
            let score = random.score();
            let update = set.put(member, score, edit);
            assert_eq!(update.before, model.scores.insert(member.to_vec(), score));
            assert_eq!(update.after, Some(score));
        }
        6..9 => assert_eq!(set.remove(member, edit), model.scores.remove(member).is_some()),
        _ => {
            let start = random.below(set.len() + 1);
            let end = (start + random.below(4)).min(set.len());
            let expected = model.elements()[start..end].to_vec();
            let mut removed = Vec::new();
            set.remove_ranks(start..end, edit, |member, score| {
                removed.push(owned((member, score)))
            });
            assert_eq!(removed, expected);
            for (member, _) in &removed {
                model.scores.remove(member);
            }
        }
    }
}

#[test]
fn sorted_sets_are_what_the_model_is() {
    for (seed, members, entries, rounds) in
        [(1, 30, 128, 1000), (2, 300, 128, 2000), (3, 300, 0, 1000), (4, 1000, 128, 4000)]
    {
        let mut random = Random(seed);
        let (mut set, mut model) = (SortedSet::empty(Vec::new()), Model::default());
        let mut ops = Vec::new();
        let mut edit = Edit::new(thresholds(entries), 7, Some(&mut ops));
        for round in 0..rounds {
            change(&mut set, &mut model, members, &mut random, &mut edit);
            if round % (rounds / 20) == 0 {
                compare(&set, &model, &mut random);
            }
        }
        compare(&set, &model, &mut random);
        let mut again = SortedSet::empty(Vec::new());
        // Once, and then again on what has come of it.
        for _ in 0..2 {
            let mut edit = Edit::new(thresholds(entries), 7, None);
            assert_eq!(again.replay(&mut OpReader::of(&ops), &mut edit), Ok(()));
            compare(&again, &model, &mut random);
        }
        while !set.is_empty() {
            let rank = random.below(set.len());
            set.remove_ranks(
                rank..rank + 1,
                &mut Edit::new(thresholds(entries), 7, None),
                |_, _| {},
            );
        }
        verify(&set);
    }
}

/// Up, down, to and fro, and out again: the tree has three levels and stays as full as it should be.
#[test]
fn the_tree_is_sound_in_every_order_of_coming_and_going() {
    const COUNT: usize = 8000;
    let member = |number: usize| format!("{number:0>60}").into_bytes();
    let mut random = Random(9);
    let mut shuffled: Vec<usize> = (0..COUNT).collect();
    for at in 1..COUNT {
        shuffled.swap(at, random.below(at + 1));
    }
    let up: Vec<usize> = (0..COUNT).collect();
    let down: Vec<usize> = (0..COUNT).rev().collect();
    for (coming, going) in
        [(&up, &down), (&down, &up), (&shuffled, &up), (&up, &shuffled), (&up, &up)]
    {
        for scores in [0, 1] {
            let mut set = SortedSet::empty(Vec::new());
            let mut edit = Edit::new(thresholds(0), 7, None);
            for number in coming {
                set.put(&member(*number), (scores * number) as f64, &mut edit);
            }
            let SortedSet::Large(large) = &set else { panic!("too many for a block") };
            large.tree.verify();
            let bytes = COUNT * (60 + 12);
            assert!(large.tree.memory_bytes() < bytes * 3 / 2, "{}", large.tree.memory_bytes());
            for (gone, number) in going.iter().enumerate() {
                assert!(set.remove(&member(*number), &mut edit));
                if gone % 3999 == 0 {
                    verify(&set);
                }
            }
            verify(&set);
            assert!(set.is_empty());
            set.put(b"a", 1.0, &mut edit);
            verify(&set);
        }
    }
}

#[test]
fn long_members_are_leaves_of_their_own() {
    let mut set = SortedSet::empty(Vec::new());
    let mut edit = Edit::new(Thresholds::default(), 7, None);
    let member = |number: usize| [&vec![b'x'; 30_000][..], number.to_string().as_bytes()].concat();
    for number in 0..300 {
        set.put(&member(number * 7 % 300), 0.0, &mut edit);
    }
    verify(&set);
    for number in 0..300 {
        assert!(set.view().find(&member(number)).is_some());
        set.remove(&member(number), &mut edit);
        verify(&set);
    }
}

#[test]
fn blocks_are_those_of_redis() {
    let mut set = SortedSet::empty(Vec::new());
    let mut edit = Edit::new(Thresholds::default(), 7, None);
    for (member, score) in
        [("b", 1.0), ("a", 1.0), ("17", 0.1), ("c", f64::INFINITY), ("d", -0.0), ("e", 1e17)]
    {
        set.put(member.as_bytes(), score, &mut edit);
    }
    // `DUMP` of the same set in Redis 7.0.15.
    let body: &[u8] = b"\x81d\x02\x00\x01\x11\x01\x930.10000000000000001\x14\x81a\x02\x01\x01\
        \x81b\x02\x01\x01\x81e\x02\xf4\x00\x00\x8a\x5d\x78\x45\x63\x01\x09\x81c\x02\x83inf\x04";
    let Form::Block(block) = set.into_form() else { panic!("it is small") };
    assert_eq!(block, [&[0x03, 12, 0][..], body].concat());
    assert!(SortedSet::check(&block));
}

#[test]
fn a_sorted_set_becomes_large_where_redis_s_does() {
    for (members, length, encoding) in
        [(128, 10, "listpack"), (129, 10, "skiplist"), (1, 64, "listpack"), (1, 65, "skiplist")]
    {
        let mut set = SortedSet::empty(Vec::new());
        let mut edit = Edit::new(Thresholds::default(), 7, None);
        for number in 0..members {
            set.put(format!("{number:0>length$}").as_bytes(), 1.0, &mut edit);
        }
        assert_eq!((set.view().encoding(), set.len()), (encoding, members));
    }
}

#[test]
fn blocks_that_make_no_sense_are_refused() {
    let mut set = SortedSet::empty(Vec::new());
    let mut edit = Edit::new(Thresholds::default(), 7, None);
    for (member, score) in [("a", 1.0), ("b", 0.5), ("12", 1e9)] {
        set.put(member.as_bytes(), score, &mut edit);
    }
    let Form::Block(good) = set.into_form() else { panic!("it is small") };
    assert!(SortedSet::check(&good));
    for cut in 0..good.len() {
        assert!(!SortedSet::check(&good[..cut]), "{cut}");
    }
    let tag = Tag::block(crate::collection::Kind::SortedSet, 0).0;
    let bad: [(&str, &[u8]); 6] = [
        ("another kind", &[tag ^ 1, 2, 0, 0x81, b'a', 2, 1, 1]),
        ("no score", &[tag, 1, 0, 0x81, b'a', 2]),
        ("a score of letters", &[tag, 2, 0, 0x81, b'a', 2, 0x81, b'x', 2]),
        ("not a number", &[tag, 2, 0, 0x81, b'a', 2, 0x83, b'n', b'a', b'n', 4]),
        ("the wrong order", &[tag, 4, 0, 0x81, b'b', 2, 1, 1, 0x81, b'a', 2, 1, 1]),
        ("a member twice", &[tag, 4, 0, 0x81, b'a', 2, 1, 1, 0x81, b'a', 2, 2, 1]),
    ];
    for (what, block) in bad {
        assert!(!SortedSet::check(block), "{what}");
    }
}

#[test]
fn operations_that_make_no_sense_are_refused() {
    let nan = [&[1, 1, b'a'][..], &f64::NAN.to_bits().to_le_bytes()].concat();
    let bad: [&[u8]; 4] = [&nan, &[3, 1, b'a'], &[1, 1, b'a', 0], &[2, 5, b'a']];
    for ops in bad {
        let mut set = SortedSet::empty(Vec::new());
        let mut edit = Edit::new(Thresholds::default(), 7, None);
        assert_eq!(set.replay(&mut OpReader::of(ops), &mut edit), Err(Nonsense), "{ops:?}");
        assert!(set.is_empty() && !edit.has_changed());
    }
}

#[test]
fn what_changes_nothing_is_not_noted() {
    for entries in [0, 128] {
        let mut set = SortedSet::empty(Vec::new());
        set.put(b"a", 1.0, &mut Edit::new(thresholds(entries), 7, None));
        let mut edit = Edit::new(thresholds(entries), 7, None);
        set.put(b"a", 1.0, &mut edit);
        set.remove(b"b", &mut edit);
        set.update(b"a", &mut edit, |score| score.filter(|score| *score > 1.0));
        set.update(b"b", &mut edit, |_| None);
        set.remove_ranks(1..1, &mut edit, |_, _| panic!("there is nothing"));
        assert!(!edit.has_changed());
        assert_eq!(elements(set.view()), [(b"a".to_vec(), 1.0)]);
    }
}

/// What is saved in steps while the set is changed, with the changes after, comes to the same set.
#[test]
fn saving_goes_on_under_changes() {
    let mut random = Random(5);
    let (mut set, mut model) = (SortedSet::empty(Vec::new()), Model::default());
    for _ in 0..3000 {
        let mut edit = Edit::new(thresholds(0), 7, None);
        change(&mut set, &mut model, 1500, &mut random, &mut edit);
    }
    let (mut saved, mut journal, mut cursor) = (Vec::new(), Vec::new(), 0);
    loop {
        let SortedSet::Large(large) = &set else { panic!("it is large") };
        cursor = large.save(cursor, 500, &mut saved);
        if cursor == 0 {
            break;
        }
        for _ in 0..50 {
            let mut edit = Edit::new(thresholds(0), 7, Some(&mut journal));
            change(&mut set, &mut model, 1500, &mut random, &mut edit);
        }
    }
    let mut again = SortedSet::empty(Vec::new());
    for ops in [&saved, &journal] {
        let mut edit = Edit::new(thresholds(128), 7, None);
        again.replay(&mut OpReader::of(ops), &mut edit).unwrap();
    }
    compare(&again, &model, &mut random);
}

#[test]
fn scans_meet_all_and_freeing_ends() {
    let mut set = SortedSet::empty(Vec::new());
    let mut edit = Edit::new(Thresholds::default(), 7, None);
    let (mut seen, mut cursor, mut steps) = (BTreeMap::new(), 0, 0);
    for number in 0..5000 {
        set.put(number.to_string().as_bytes(), number as f64, &mut edit);
    }
    loop {
        let visit = |member: Element<'_>, score: f64| {
            seen.insert(member.bytes(&mut Digits::new()).to_vec(), score);
        };
        cursor = set.view().scan(cursor, 10, visit);
        steps += 1;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), 5000);
    assert!(seen.iter().all(|(member, score)| score.to_string().as_bytes() == member));
    assert!(steps > 20);
    let SortedSet::Large(mut large) = set else { panic!("it is large") };
    let (mut steps, empty) = (0, 1000);
    while !large.free_some(100) {
        steps += 1;
    }
    assert!((50..200).contains(&steps), "{steps}");
    assert!(large.memory_bytes() < empty, "{}", large.memory_bytes());
}
