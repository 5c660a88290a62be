//! Lists against a deque of strings, over all sizes and limits.

use std::collections::VecDeque;

use super::{End, LargeList, LargeListSnapshot, List, View};
use crate::collection::{
    Collection, Edit, Element, Form, Large, OpReader, SaveElements, Thresholds,
};

type Model = VecDeque<Vec<u8>>;

/// What is done to a list. Positions and counts are taken modulo what there is.
enum Step {
    Push(End, Vec<Vec<u8>>),
    Pop(End, usize),
    Set(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    RemoveEqual(End, usize, usize),
    Trim(usize, usize),
    Snapshot,
}

/// Random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn end(&mut self) -> End {
        [End::Left, End::Right][self.below(2)]
    }

    fn element(&mut self) -> Vec<u8> {
        match self.below(13) {
            0..4 => (self.below(6) as i64 - 3).to_string().into_bytes(),
            4..6 => (self.next().cast_signed() >> self.below(64)).to_string().into_bytes(),
            6..10 => (0..self.below(80)).map(|_| self.next().to_le_bytes()[0]).collect(),
            10..12 => vec![b'x'; self.below(3_000)],
            _ => vec![b'y'; 8_000 + self.below(12_000)],
        }
    }

    fn elements(&mut self) -> Vec<Vec<u8>> {
        match self.below(8) {
            0 => (0..50 + self.below(350)).map(|_| self.element()).collect(),
            1 => vec![self.element(); 1 + self.below(40)],
            _ => (0..=self.below(3)).map(|_| self.element()).collect(),
        }
    }

    fn step(&mut self) -> Step {
        match self.below(20) {
            0..6 => Step::Push(self.end(), self.elements()),
            6..9 => Step::Pop(self.end(), self.below(5)),
            9 => Step::Pop(self.end(), self.below(500)),
            10..13 => Step::Set(self.below(usize::MAX), self.element()),
            13..16 => Step::Insert(self.below(usize::MAX), self.element()),
            16 => Step::Trim(self.below(60), self.below(60)),
            17 => Step::Snapshot,
            _ => {
                let most = [1, 2, usize::MAX][self.below(3)];
                Step::RemoveEqual(self.end(), self.below(usize::MAX), most)
            }
        }
    }
}

fn apply_to_model(model: &mut Model, step: &Step) {
    let length = model.len();
    match step {
        Step::Push(End::Left, all) => all.iter().for_each(|one| model.push_front(one.clone())),
        Step::Push(End::Right, all) => model.extend(all.iter().cloned()),
        Step::Pop(End::Left, count) => drop(model.drain(..length.min(*count))),
        Step::Pop(End::Right, count) => model.truncate(length.saturating_sub(*count)),
        Step::Set(index, element) if length > 0 => model[index % length].clone_from(element),
        Step::Insert(index, element) => model.insert(index % (length + 1), element.clone()),
        Step::RemoveEqual(end, which, most) if length > 0 => {
            let wanted = model[which % length].clone();
            let mut left = *most;
            let mut keep = |element: &Vec<u8>| {
                let goes = *element == wanted && left > 0;
                left -= usize::from(goes);
                !goes
            };
            match end {
                End::Left => model.retain(keep),
                End::Right => {
                    let kept: Vec<_> = model.drain(..).rev().filter(|one| keep(one)).collect();
                    model.extend(kept.into_iter().rev());
                }
            }
        }
        Step::Trim(left, right) => {
            model.truncate(length.saturating_sub(*right));
            model.drain(..(*left).min(model.len()));
        }
        Step::Set(..) | Step::RemoveEqual(..) | Step::Snapshot => {}
    }
}

fn apply(list: &mut List, step: &Step, edit: &mut Edit<'_>) {
    let length = list.len();
    match step {
        Step::Push(end, all) => list.push(*end, all.iter().map(Vec::as_slice), edit),
        Step::Pop(end, count) => list.pop(*end, *count, edit),
        Step::Set(index, element) if length > 0 => {
            assert!(list.set(index % length, element, edit));
        }
        Step::Insert(index, element) => {
            assert!(list.insert(index % (length + 1), element, edit));
        }
        Step::RemoveEqual(end, which, most) if length > 0 => {
            let wanted = list.view().get(which % length).expect("there").to_vec();
            let removed = list.remove_equal(&wanted, *end, *most, edit);
            assert_eq!(removed, length - list.len());
            assert!(removed > 0);
        }
        Step::Trim(left, right) => {
            list.trim(*left, length.saturating_sub(left + right), edit);
        }
        Step::Set(..) | Step::RemoveEqual(..) | Step::Snapshot => {}
    }
}

fn contents(view: View<'_>) -> Vec<Vec<u8>> {
    view.iter().map(|element| element.to_vec()).collect()
}

/// Everything that a reader can ask answers as the model does.
fn assert_same(list: &List, model: &Model, at: &str) {
    let view = list.view();
    assert_eq!(view.len(), model.len(), "{at}");
    assert!(contents(view).iter().eq(model.iter()), "{at}");
    let backwards: Vec<_> = view.iter().rev().map(|element| element.to_vec()).collect();
    assert!(backwards.iter().eq(model.iter().rev()), "{at}");
    let get = |index: usize| view.get(index).map(|element| element.to_vec());
    for index in [0, 1, model.len() / 3, model.len() / 2, model.len().saturating_sub(1)] {
        assert!(get(index).as_ref() == model.get(index), "{at}, {index}");
        let mut visited = Vec::new();
        view.visit(index, 7, |element| visited.push(element.to_vec()));
        assert!(visited.iter().eq(model.iter().skip(index).take(7)), "{at}, {index}");
    }
    assert_eq!(get(model.len()), None, "{at}");
    let peek = |end| view.peek(end).map(|element| element.to_vec());
    assert!(peek(End::Left).as_ref() == model.front(), "{at}");
    assert!(peek(End::Right).as_ref() == model.back(), "{at}");
    assert!(view.iter().all(|element| element == Element::of(&element.to_vec())), "{at}");
}

/// All that a snapshot saves, in pieces, made again.
fn loaded(snapshot: &LargeListSnapshot) -> Vec<Vec<u8>> {
    let (mut ops, mut from) = (Vec::new(), 0);
    loop {
        let before = ops.len();
        from = snapshot.save(from, 500, &mut ops);
        assert!(ops.len() > before);
        if from == 0 {
            break;
        }
    }
    let mut list = List::empty(Vec::new());
    let mut edit = Edit::new(Thresholds::default(), 0, None);
    list.replay(&mut OpReader::of(&ops), &mut edit).expect("sense");
    contents(list.view())
}

fn run(list_size: i64, seed: u64) {
    let mut random = Random(seed);
    let thresholds = Thresholds { list_size, ..Thresholds::default() };
    let (mut model, mut list) = (Model::new(), List::empty(Vec::new()));
    let mut copy = List::empty(Vec::new());
    let mut snapshot: Option<(LargeListSnapshot, Model)> = None;
    for nth in 0..60 {
        let step = random.step();
        let at = format!("limit {list_size}, seed {seed}, step {nth}");
        let mut ops = Vec::new();
        let mut edit = Edit::new(thresholds, 0, Some(&mut ops));
        let before = model.clone();
        apply_to_model(&mut model, &step);
        apply(&mut list, &step, &mut edit);
        assert_eq!(edit.has_changed(), !ops.is_empty(), "{at}");
        assert!(model == before || !ops.is_empty(), "{at}");
        assert_same(&list, &model, &at);
        let mut again = Vec::new();
        let mut edit = Edit::new(thresholds, 0, Some(&mut again));
        copy.replay(&mut OpReader::of(&ops), &mut edit).expect("sense");
        assert!(again == ops, "{at}");
        assert!(contents(copy.view()).iter().eq(model.iter()), "{at}");
        if let (Step::Snapshot, List::Large(large)) = (step, &list) {
            snapshot = Some((large.snapshot(), model.clone()));
        }
    }
    if let Some((snapshot, model)) = snapshot {
        assert!(loaded(&snapshot).iter().eq(model.iter()), "limit {list_size}, seed {seed}");
    }
    check_form(list, &model);
}

/// What is kept of a list is a list, and a large one knows its size and can be freed in steps.
fn check_form(list: List, model: &Model) {
    match list.into_form() {
        Form::Block(block) => {
            assert!(List::check(&block));
            assert!(!List::check(&block[..block.len() - 1]));
            assert!(contents(List::view_block(&block)).iter().eq(model.iter()));
        }
        Form::Large(mut large) => {
            large.check_totals();
            let mut steps = 1;
            let mut left = large.memory_bytes();
            while !large.free_some(10) {
                assert!(large.memory_bytes() < left);
                left = large.memory_bytes();
                steps += 1;
            }
            assert!(steps >= model.len() / 3_000);
            assert!(large.runs().next().is_none());
        }
    }
}

#[test]
fn a_list_is_what_a_deque_is() {
    for list_size in [-2, -1, -5, 0, 1, 3, 128] {
        (0..3).for_each(|seed| run(list_size, seed));
    }
}

fn list_of(count: usize, length: usize) -> LargeList {
    let mut list = List::empty(Vec::new());
    let mut edit = Edit::new(Thresholds::default(), 0, None);
    for number in 0..count {
        let element = format!("{number:0length$}x").into_bytes();
        list.push(End::Left, [element.as_slice()].into_iter(), &mut edit);
    }
    let List::Large(large) = list else { panic!("{count} elements are many") };
    *large
}

#[test]
fn it_is_a_block_by_the_limits_of_redis() {
    // Bytes of a listpack are those of its elements and seven.
    let encoding = |list_size, count: usize, length: usize| {
        let mut list = List::empty(Vec::new());
        let thresholds = Thresholds { list_size, ..Thresholds::default() };
        let mut edit = Edit::new(thresholds, 0, None);
        for _ in 0..count {
            list.push(End::Right, [vec![b'x'; length].as_slice()].into_iter(), &mut edit);
        }
        list.view().encoding()
    };
    for (list_size, count, length, expect) in [
        (-2, 1, 8185, "listpack"),
        (-2, 1, 8186, "quicklist"),
        // 64 + 3 bytes each, and the last one counts without what is around it.
        (-2, 122, 64, "listpack"),
        (-2, 123, 64, "quicklist"),
        (-1, 1, 4090, "quicklist"),
        (-5, 1, 65_529, "listpack"),
        (-5, 1, 65_530, "quicklist"),
        (-9, 1, 65_530, "quicklist"),
        (3, 3, 10, "listpack"),
        (3, 4, 10, "quicklist"),
        (1000, 1, 8186, "quicklist"),
        (0, 1, 1, "listpack"),
        (0, 2, 1, "quicklist"),
    ] {
        assert_eq!(encoding(list_size, count, length), expect, "{list_size} {count} {length}");
    }
}

#[test]
fn a_list_that_has_become_small_is_a_block_again() {
    let mut list = List::Large(Box::new(list_of(1_000, 60)));
    let mut edit = Edit::new(Thresholds::default(), 0, None);
    let bytes_each = 63;
    let mut left = 1_000;
    while list.view().encoding() == "quicklist" {
        list.pop(End::Right, 1, &mut edit);
        left -= 1;
    }
    assert!(left * bytes_each <= 4096 && left * bytes_each > 2048, "{left}");
    assert_eq!(list.view().len(), left);
}

#[test]
fn bytes_that_are_no_operations_are_refused() {
    let cases: [&[u8]; 9] = [
        &[0],
        &[8],
        &[1],
        &[1, 2, b'a'],
        // One element more than there is.
        &[1, 1, b'a', 3, 2],
        &[1, 1, b'a', 3, 0],
        &[1, 1, b'a', 5, 1, 1, b'b'],
        &[1, 1, b'a', 6, 2, 1, b'b'],
        &[1, 1, b'a', 7, 0, 2],
    ];
    for ops in cases {
        let mut edit = Edit::new(Thresholds::default(), 0, None);
        let result = List::empty(Vec::new()).replay(&mut OpReader::of(ops), &mut edit);
        assert!(result.is_err(), "{ops:?}");
    }
}

#[test]
fn blocks_of_another_kind_are_refused() {
    let Form::Block(mut block) = List::empty(Vec::new()).into_form() else { panic!() };
    assert!(List::check(&block));
    block[0] = 2;
    assert!(!List::check(&block));
    assert!(!List::check(&[]));
}

#[test]
fn the_memory_of_a_list_is_little_more_than_its_elements() {
    for (count, length) in [(40_000, 8), (20_000, 64), (1_000, 1_000), (200, 9_000)] {
        let mut large = list_of(count, length - 1);
        let written = count * (length + 2);
        let bytes = large.memory_bytes();
        assert!(bytes > written && bytes < written + written / 20, "{bytes} for {written}");
        // Pushing at the other end and taking away from both does not lose count.
        drop(large.pop(End::Left, count / 2));
        drop(large.pop(End::Right, count / 4));
        large.check_totals();
        let (bytes, written) = (large.memory_bytes(), written / 4);
        assert!(
            bytes > written && bytes < written + written / 10 + 20_000,
            "{bytes} for {written}"
        );
    }
}

#[test]
fn a_snapshot_costs_a_list_that_is_changed_little() {
    let mut large = list_of(60_000, 20);
    let before: Vec<_> = contents(View::Large(&large));
    let snapshot = large.snapshot();
    let limits = super::limits::Limits::of(-2);
    for index in [0, 10, 30_000, 59_999] {
        large.set(index, Element::of(b"changed"), limits);
    }
    let mut gone = large.pop(End::Left, 20_000);
    gone.check_totals();
    assert!(gone.free_some(usize::MAX));
    large.push(End::Right, Element::of(b"new"), limits);
    large.check_totals();
    assert_eq!(loaded(&snapshot), before);
    assert!(large.free_some(usize::MAX));
    assert_eq!(loaded(&snapshot), before);
}
