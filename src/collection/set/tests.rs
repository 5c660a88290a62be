//! Sets against ordered sets of the standard library, at every size and form.

use super::{LargeSet, Set, View};
use crate::collection::table::{Nothing, Table};
use crate::collection::{Collection, Edit, Element, Form, Large, Nonsense, OpReader, Thresholds};
use std::collections::BTreeSet;

type Model = BTreeSet<Vec<u8>>;

const SMALL: Thresholds = Thresholds {
    hash_entries: 0,
    hash_value_bytes: 0,
    list_size: 0,
    set_intset_entries: 8,
    set_entries: 12,
    set_value_bytes: 20,
    zset_entries: 0,
    zset_value_bytes: 0,
};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn member(&mut self, kinds: usize, range: usize) -> Vec<u8> {
        let number = self.below(range);
        match self.below(kinds) {
            0 => number.to_string().into_bytes(),
            1 => format!("-{}", (number as u64) << (number % 50)).into_bytes(),
            2 => format!("m{number}").into_bytes(),
            3 => format!("0{number}").into_bytes(),
            4 => vec![b'x'; number % 40],
            _ => [b"long".repeat(100), number.to_string().into_bytes()].concat(),
        }
    }
}

fn members(view: View<'_>) -> Model {
    let all: Vec<_> = view.iter().map(|member| member.to_vec()).collect();
    assert_eq!(all.len(), view.len());
    all.into_iter().collect()
}

/// A set with these members, and how it is kept.
fn set_of(words: &[&str], thresholds: Thresholds) -> (Set, &'static str) {
    let mut set = Set::empty(Vec::new());
    for word in words {
        set.add(word.as_bytes(), &mut Edit::new(thresholds, 1, None));
    }
    let encoding = set.view().encoding();
    (set, encoding)
}

#[test]
fn a_set_is_kept_as_redis_keeps_it() {
    let numbers: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let with = |extra: &'static str, count: usize| [&numbers[..count], &[extra]].concat();
    let long = "a member of more than twenty bytes";
    let cases: [(Vec<&str>, &str); 10] = [
        (vec!["1", "2", "3"], "intset"),
        (vec!["a", "1", "2"], "listpack"),
        (vec!["1", "2", "a"], "listpack"),
        (numbers[..8].to_vec(), "intset"),
        (numbers[..9].to_vec(), "hashtable"),
        (with("a", 8), "listpack"),
        (vec![long], "hashtable"),
        (vec!["1", long], "hashtable"),
        (vec!["01"], "listpack"),
        (vec!["-9223372036854775808"], "intset"),
    ];
    for (words, encoding) in cases {
        assert_eq!(set_of(&words, SMALL).1, encoding, "{words:?}");
    }
    let none = Thresholds { set_intset_entries: 0, ..SMALL };
    assert_eq!(set_of(&["1"], none).1, "listpack");
    assert_eq!(set_of(&["1"], Thresholds { set_entries: 0, ..none }).1, "hashtable");
    let short = Thresholds { set_value_bytes: 2, ..SMALL };
    assert_eq!(set_of(&["100", "a"], short).1, "hashtable");
    assert_eq!(set_of(&["1", "2", "a"], Thresholds { set_entries: 2, ..SMALL }).1, "hashtable");
}

#[test]
fn what_is_foreseen_to_be_large_is_large_from_the_start() {
    let cases = [
        (8, "1", "intset"),
        (9, "1", "listpack"),
        (9, "a", "listpack"),
        (12, "a", "listpack"),
        (13, "a", "hashtable"),
        (13, "1", "hashtable"),
    ];
    for (count, first, encoding) in cases {
        let mut set = Set::empty(Vec::new());
        let mut edit = Edit::new(SMALL, 1, None);
        set.prepare(count, first.as_bytes(), &edit);
        set.add(first.as_bytes(), &mut edit);
        assert_eq!(set.view().encoding(), encoding, "{count} {first}");
    }
    let (mut set, _) = set_of(&["1", "2"], SMALL);
    set.prepare(9, b"3", &Edit::new(SMALL, 1, None));
    assert_eq!((set.view().encoding(), set.len()), ("hashtable", 2));
}

/// Random changes to a set and a model, with everything that readers can ask.
fn compare_with_model(seed: u64, kinds: usize, range: usize, thresholds: Thresholds) {
    let mut random = Random(seed);
    let (mut set, mut model) = (Set::empty(Vec::new()), Model::new());
    let mut ops = Vec::new();
    for round in 0..1500 {
        let mut edit = Edit::new(thresholds, seed, Some(&mut ops));
        let member = random.member(kinds, range);
        match random.below(if round / 300 % 2 == 0 { 10 } else { 20 }) {
            0..8 => assert_eq!(set.add(&member, &mut edit), model.insert(member)),
            8..16 => assert_eq!(set.remove(&member, &mut edit), model.remove(&member)),
            _ => {
                let count = random.below(4);
                let expected = count.min(model.len());
                let mut popped = Vec::new();
                let pop = |member: &[u8]| popped.push(member.to_vec());
                set.pop(count, |bound| random.below(bound), &mut edit, pop);
                assert!(popped.iter().all(|member| model.remove(member)), "{popped:?}");
                assert_eq!(popped.len(), expected);
            }
        }
        let other = random.member(kinds, range);
        assert_eq!(set.view().contains(Element::Bytes(&other)), model.contains(&other));
        assert_eq!(set.view().contains(Element::of(&other)), model.contains(&other));
        assert_eq!(set.len(), model.len());
        let form = set.into_form();
        if let Form::Block(block) = &form {
            assert!(round % 8 != 0 || Set::check(block));
            assert!(round % 8 != 0 || members(Set::view_block(block)) == model);
        }
        set = Set::of(form);
        if set.is_empty() {
            set = Set::empty(Vec::new());
        }
    }
    assert_eq!(members(set.view()), model);
    // The same again from nothing, and over what is there already.
    let mut again = Set::empty(Vec::new());
    for _ in 0..2 {
        let edit = &mut Edit::new(thresholds, 9, None);
        assert_eq!(again.replay(&mut OpReader::of(&ops), edit), Ok(()));
        assert_eq!(members(again.view()), model);
    }
}

#[test]
fn a_set_is_what_a_set_is() {
    for seed in 0..4 {
        compare_with_model(seed, 1, 10, SMALL);
        compare_with_model(seed, 2, 40, SMALL);
        compare_with_model(seed, 5, 5, SMALL);
        compare_with_model(seed, 6, 60, SMALL);
        compare_with_model(seed, 6, 300, Thresholds::default());
    }
}

#[test]
fn samples_are_different_members_each_as_likely() {
    for (count, thresholds) in [(8, SMALL), (60, Thresholds::default()), (60, SMALL)] {
        let words: Vec<String> = (0..count).map(|number| format!("{number}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (set, _) = set_of(&words, thresholds);
        let mut random = Random(1);
        for size in [0, 1, count / 4, count / 2, count - 1, count, count + 5] {
            let mut hits = vec![0; count];
            for _ in 0..800 {
                let mut drawn = BTreeSet::new();
                let visit = |member: Element<'_>| assert!(drawn.insert(member.to_vec()));
                set.view().sample(size, |bound| random.below(bound), visit);
                assert_eq!(drawn.len(), size.min(count));
                for member in drawn {
                    let text = String::from_utf8(member).expect("digits");
                    hits[text.parse::<usize>().expect("a number")] += 1;
                }
            }
            let expected = 800 * size.min(count) / count;
            let far = 5 * expected.isqrt();
            let close = expected.saturating_sub(far)..=expected + far;
            assert!(hits.iter().all(|hits| close.contains(hits)), "{size} of {count}: {hits:?}");
        }
        let drawn: BTreeSet<_> = (0..60 * count)
            .filter_map(|_| set.view().random(|bound| random.below(bound)))
            .map(|member| member.to_vec())
            .collect();
        assert_eq!(drawn.len(), count);
    }
    assert_eq!(Set::empty(Vec::new()).view().random(|_| 0), None);
}

#[test]
fn a_set_is_filled_in_the_form_that_fits() {
    let cases: [(&[&str], &str); 4] = [
        (&["3", "1", "2"], "intset"),
        (&["3", "a", "2"], "listpack"),
        (&["3", "a member of more than twenty bytes"], "hashtable"),
        (&["1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d"], "hashtable"),
    ];
    for (words, encoding) in cases {
        let mut table = Table::<Nothing>::new(1);
        words.iter().for_each(|word| assert!(table.insert(word.as_bytes(), ())));
        let set = Set::of_members(table, &SMALL, 1);
        assert_eq!((set.view().encoding(), set.len()), (encoding, words.len()));
        let expected: BTreeSet<_> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        assert_eq!(members(set.view()), expected);
    }
}

fn large(count: usize) -> Box<LargeSet> {
    let mut set = Set::empty(Vec::new());
    for number in 0..count {
        set.add(format!("member:{number}").as_bytes(), &mut Edit::new(SMALL, 1, None));
    }
    match set.into_form() {
        Form::Large(large) => large,
        Form::Block(_) => panic!("{count} members are many"),
    }
}

#[test]
fn what_is_saved_while_it_is_changed_comes_out_the_same_with_the_changes() {
    let mut random = Random(5);
    let mut kept = large(3000);
    let (mut saved, mut cursor, mut steps) = (Vec::new(), 0, 0);
    loop {
        let before = saved.len();
        cursor = kept.save(cursor, 1000, &mut saved);
        assert!(saved.len() - before < 6000 && (cursor == 0 || saved.len() - before >= 1000));
        if cursor == 0 {
            break;
        }
        steps += 1;
        // What is noted meanwhile comes behind what is saved so far.
        let mut set = Set::of(Form::Large(kept));
        let mut edit = Edit::new(SMALL, 1, Some(&mut saved));
        for _ in 0..20 {
            let member = format!("member:{}", random.below(4000));
            if random.below(2) == 0 {
                set.add(member.as_bytes(), &mut edit);
            } else {
                set.remove(member.as_bytes(), &mut edit);
            }
        }
        let Form::Large(after) = set.into_form() else { panic!("it was large") };
        kept = after;
    }
    assert!(steps > 10);
    let mut again = Set::empty(Vec::new());
    again.replay(&mut OpReader::of(&saved), &mut Edit::new(SMALL, 3, None)).expect("good");
    assert_eq!(members(again.view()), members(Set::view_large(&kept)));
}

#[test]
fn a_large_set_is_freed_step_by_step() {
    let mut large = large(3000);
    let full = large.memory_bytes();
    assert!((3000 * 12..3000 * 17).contains(&full), "{full}");
    assert!(!large.free_some(100) && large.memory_bytes() < full);
    while !large.free_some(100) {}
    assert!(large.memory_bytes() < 200);
}

#[test]
fn bytes_that_are_no_set_are_refused() {
    for words in [&["a", "b", "1"][..], &["1", "2", "70000"]] {
        let Form::Block(good) = set_of(words, SMALL).0.into_form() else { panic!("small") };
        assert!(Set::check(&good));
        for cut in 0..good.len() {
            let is_shorter_ints = good[0] >> 4 == 1 && cut > 1 && (cut - 2) % 4 == 0;
            assert_eq!(Set::check(&good[..cut]), is_shorter_ints, "{cut}");
        }
        let mut twice = good.clone();
        twice.extend_from_slice(&good[good.len() - 2..]);
        twice[1] += u8::from(good[0] >> 4 == 0);
        assert!(!Set::check(&twice));
        let mut other = good;
        other[0] ^= 1;
        assert!(!Set::check(&other));
    }
    assert!(!Set::check(&[]));
    let mut set = Set::empty(Vec::new());
    for ops in [&[3, 1, b'a'][..], &[1], &[1, 2, b'a'], &[0, 0]] {
        let edit = &mut Edit::new(SMALL, 1, None);
        assert_eq!(set.replay(&mut OpReader::of(ops), edit), Err(Nonsense), "{ops:?}");
    }
}
