//! Scores and members in order, in a B+ tree that counts: position to element and element to position take
//! logarithmic time, and so do insertion and removal.
//!
//! Leaves are [`Run`]s of about [`LEAF_BYTES`]. An inner node has for each child a separator and the number of
//! elements below it. A separator is the shortest element, not one of the set mostly, that comes behind all
//! that are left of the child and not behind any of the child's. That of a node's first child stands for
//! nothing.
//!
//! No leaf and no inner node is empty, the root of an empty tree excepted; all leaves are at one depth.

use super::Edge;
use super::run::{LEAF_BYTES, Run};
use crate::collection::heap::vec_bytes;

/// Children of an inner node beyond which it is split.
const CHILDREN: usize = 64;
/// Bytes of an inner node's separators beyond which it is split too, if it has more children than
/// [`CHILDREN_MIN`].
const SEPARATOR_BYTES: usize = 64 << 10;
const CHILDREN_MIN: usize = 3;

/// Elements in order.
#[derive(Debug, Default)]
pub(super) struct Tree {
    root: Inner,
    len: usize,
    memory_bytes: usize,
}

#[derive(Debug, Default)]
struct Inner {
    separators: Run,
    /// Elements below each child.
    counts: Vec<usize>,
    children: Children,
}

#[derive(Debug)]
enum Children {
    Leaves(Vec<Run>),
    Inners(Vec<Inner>),
}

impl Default for Children {
    fn default() -> Self {
        Self::Leaves(Vec::new())
    }
}

/// An element to be put in, and where memory is accounted for.
struct Insertion<'a> {
    score: f64,
    member: &'a [u8],
    memory_bytes: &'a mut usize,
}

/// Which element is to be removed.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// The one with this score and member.
    Element(f64, &'a [u8]),
    /// The one at this position.
    At(usize),
}

impl Tree {
    /// How many elements.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that it holds beside itself.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// How many elements come before an edge.
    pub(super) fn rank(&self, edge: Edge<'_>) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            let at = node.child_before(edge);
            rank += node.counts[..at].iter().sum::<usize>();
            match &node.children {
                Children::Leaves(leaves) => {
                    return rank + leaves.get(at).map_or(0, |leaf| leaf.partition(0, edge));
                }
                Children::Inners(inners) => node = &inners[at],
            }
        }
    }

    /// The leaf with the element at a position, and its position there.
    pub(super) fn leaf(&self, rank: usize) -> Option<(&Run, usize)> {
        if rank >= self.len {
            return None;
        }
        let (mut node, mut rank) = (&self.root, rank);
        loop {
            let at = node.child_with(&mut rank);
            match &node.children {
                Children::Leaves(leaves) => return Some((&leaves[at], rank)),
                Children::Inners(inners) => node = &inners[at],
            }
        }
    }

    /// Puts in an element that is not there.
    pub(super) fn insert(&mut self, score: f64, member: &[u8]) {
        let memory_bytes = &mut self.memory_bytes;
        let mut insertion = Insertion { score, member, memory_bytes };
        if let Some((separator, right)) = self.root.insert(&mut insertion) {
            let left = std::mem::take(&mut self.root);
            self.root = Inner::above(left, separator, right);
            self.memory_bytes += self.root.own_bytes();
        }
        self.len += 1;
    }

    /// Removes an element that is there.
    pub(super) fn remove(&mut self, score: f64, member: &[u8]) {
        self.remove_target(Target::Element(score, member));
    }

    /// Removes the element at a position, where one is.
    pub(super) fn remove_at(&mut self, rank: usize) {
        debug_assert!(rank < self.len);
        self.remove_target(Target::At(rank));
    }

    fn remove_target(&mut self, target: Target<'_>) {
        self.root.remove(target, &mut self.memory_bytes);
        self.len -= 1;
        while let Some(only) = self.root.take_only_inner() {
            self.memory_bytes -= self.root.own_bytes();
            self.root = only;
        }
    }

    /// Drops the last leaves with about so many elements together; true once none are left.
    pub(super) fn free_some(&mut self, elements: usize) -> bool {
        let mut freed = 0;
        while freed < elements.max(1) && self.len > 0 {
            let count = self.root.drop_last_leaf(&mut self.memory_bytes);
            self.len -= count;
            freed += count;
        }
        self.len == 0
    }
}

impl Inner {
    fn above(left: Self, separator: Separator, right: Self) -> Self {
        let mut node = Self {
            separators: Run::default(),
            counts: vec![left.count(), right.count()],
            children: Children::Inners(vec![left, right]),
        };
        node.separators.insert(0, f64::NEG_INFINITY, b"");
        node.separators.insert(1, separator.score, &separator.member);
        node
    }

    /// Elements below it.
    fn count(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Children.
    fn len(&self) -> usize {
        self.counts.len()
    }

    fn is_full(&self) -> bool {
        let has_long = self.separators.len_bytes() > SEPARATOR_BYTES;
        self.len() > CHILDREN || (has_long && self.len() > CHILDREN_MIN)
    }

    /// Bytes of memory that it holds beside itself and beside what its children hold.
    fn own_bytes(&self) -> usize {
        let children = match &self.children {
            Children::Leaves(leaves) => vec_bytes(leaves),
            Children::Inners(inners) => vec_bytes(inners),
        };
        self.separators.memory_bytes() + vec_bytes(&self.counts) + children
    }

    /// The child in which an edge falls, or at the end of which.
    #[inline]
    fn child_before(&self, edge: Edge<'_>) -> usize {
        self.separators.partition(1.min(self.len()), edge).saturating_sub(1)
    }

    /// The child in which an element is, or would be.
    #[inline]
    fn child_for(&self, score: f64, member: &[u8]) -> usize {
        self.child_before(Edge::AfterElement(score, member))
    }

    /// The child with the element at a position of this node, which becomes one of the child.
    fn child_with(&self, rank: &mut usize) -> usize {
        for (at, count) in self.counts.iter().enumerate() {
            if *rank < *count {
                return at;
            }
            *rank -= count;
        }
        unreachable!("a position is less than the number of elements");
    }

    /// Puts an element in. If the node becomes too large, its right half is for the node above.
    fn insert(&mut self, insertion: &mut Insertion<'_>) -> Option<(Separator, Self)> {
        let at = self.child_for(insertion.score, insertion.member);
        let Children::Inners(inners) = &mut self.children else {
            self.insert_into_leaf(at, insertion);
            return self.split_if_full(insertion.memory_bytes);
        };
        self.counts[at] += 1;
        let (separator, right) = inners[at].insert(insertion)?;
        *insertion.memory_bytes -= self.own_bytes();
        self.counts[at] -= right.count();
        self.counts.insert(at + 1, right.count());
        self.separators.insert(at + 1, separator.score, &separator.member);
        if let Children::Inners(inners) = &mut self.children {
            inners.insert(at + 1, right);
        }
        *insertion.memory_bytes += self.own_bytes();
        self.split_if_full(insertion.memory_bytes)
    }

    fn insert_into_leaf(&mut self, at: usize, insertion: &mut Insertion<'_>) {
        let (score, member) = (insertion.score, insertion.member);
        let Children::Leaves(leaves) = &mut self.children else { return };
        let Some(leaf) = leaves.get_mut(at) else {
            return self.insert_first_leaf(insertion);
        };
        let index = leaf.partition(0, Edge::BeforeElement(score, member));
        if leaf.len_bytes() + Run::element_bytes(member) > LEAF_BYTES {
            return self.split_leaf(at, index, insertion);
        }
        *insertion.memory_bytes -= leaf.memory_bytes();
        leaf.insert(index, score, member);
        *insertion.memory_bytes += leaf.memory_bytes();
        self.counts[at] += 1;
    }

    fn insert_first_leaf(&mut self, insertion: &mut Insertion<'_>) {
        *insertion.memory_bytes -= self.own_bytes();
        let mut leaf = Run::default();
        leaf.insert(0, insertion.score, insertion.member);
        *insertion.memory_bytes += leaf.memory_bytes();
        self.separators.insert(0, f64::NEG_INFINITY, b"");
        self.counts.push(1);
        self.children = Children::Leaves(vec![leaf]);
        *insertion.memory_bytes += self.own_bytes();
    }

    /// Makes two leaves of the one `at` and puts the element in, which has its place there at `index`.
    fn split_leaf(&mut self, at: usize, index: usize, insertion: &mut Insertion<'_>) {
        let (score, member) = (insertion.score, insertion.member);
        *insertion.memory_bytes -= self.own_bytes();
        let is_last = at + 1 == self.len();
        let Children::Leaves(leaves) = &mut self.children else { return };
        let left = &mut leaves[at];
        *insertion.memory_bytes -= left.memory_bytes();
        // What comes in order fills leaf after leaf.
        let grows_up = is_last && index == left.count();
        let grows_down = at == 0 && index == 0;
        let middle =
            if grows_up || grows_down || left.count() == 1 { index } else { left.middle() };
        let mut right = left.split_off(middle);
        if index < middle || middle == 0 {
            left.insert(index, score, member);
        } else {
            right.insert(index - middle, score, member);
        }
        *insertion.memory_bytes += left.memory_bytes() + right.memory_bytes();
        let separator = Separator::between(left, &right);
        self.separators.insert(at + 1, separator.score, &separator.member);
        self.counts[at] = left.count();
        self.counts.insert(at + 1, right.count());
        leaves.insert(at + 1, right);
        *insertion.memory_bytes += self.own_bytes();
    }

    fn split_if_full(&mut self, memory_bytes: &mut usize) -> Option<(Separator, Self)> {
        if !self.is_full() {
            return None;
        }
        *memory_bytes -= self.own_bytes();
        let half = self.len() / 2;
        let separators = self.separators.split_off(half);
        let counts = self.counts.split_off(half);
        let children = match &mut self.children {
            Children::Leaves(leaves) => Children::Leaves(leaves.split_off(half)),
            Children::Inners(inners) => Children::Inners(inners.split_off(half)),
        };
        self.counts.shrink_to_fit();
        match &mut self.children {
            Children::Leaves(leaves) => leaves.shrink_to_fit(),
            Children::Inners(inners) => inners.shrink_to_fit(),
        }
        let separator = Separator::of(separators.get(0));
        let right = Self { separators, counts, children };
        *memory_bytes += self.own_bytes() + right.own_bytes();
        Some((separator, right))
    }

    fn remove(&mut self, target: Target<'_>, memory_bytes: &mut usize) {
        let (at, target) = match target {
            Target::Element(score, member) => (self.child_for(score, member), target),
            Target::At(mut rank) => (self.child_with(&mut rank), Target::At(rank)),
        };
        self.counts[at] -= 1;
        match &mut self.children {
            Children::Inners(inners) => inners[at].remove(target, memory_bytes),
            Children::Leaves(leaves) => {
                let leaf = &mut leaves[at];
                let index = match target {
                    Target::Element(score, member) => {
                        leaf.partition(0, Edge::BeforeElement(score, member))
                    }
                    Target::At(rank) => rank,
                };
                *memory_bytes -= leaf.memory_bytes();
                leaf.remove(index);
                *memory_bytes += leaf.memory_bytes();
            }
        }
        self.mend(at, memory_bytes);
    }

    /// Removes the child `at` if it is empty, or makes one of it and its neighbour if both are small.
    fn mend(&mut self, at: usize, memory_bytes: &mut usize) {
        if self.counts[at] == 0 {
            return self.remove_child(at, memory_bytes);
        }
        let is_small = match &self.children {
            Children::Leaves(leaves) => leaves[at].len_bytes() < LEAF_BYTES / 4,
            Children::Inners(inners) => inners[at].len() < CHILDREN / 4,
        };
        if !is_small {
            return;
        }
        let left = [at, at.wrapping_sub(1)].into_iter().find(|&left| self.fit_in_one(left));
        if let Some(left) = left {
            self.merge(left, memory_bytes);
        }
    }

    /// Whether the child `left` and the next one are a good one together: with room to grow.
    fn fit_in_one(&self, left: usize) -> bool {
        let Some(right) = left.checked_add(1).filter(|right| *right < self.len()) else {
            return false;
        };
        match &self.children {
            Children::Leaves(leaves) => {
                leaves[left].len_bytes() + leaves[right].len_bytes() <= LEAF_BYTES * 3 / 4
            }
            Children::Inners(inners) => {
                let (left, right) = (&inners[left], &inners[right]);
                let bytes = left.separators.len_bytes() + right.separators.len_bytes();
                left.len() + right.len() <= CHILDREN * 3 / 4 && bytes <= SEPARATOR_BYTES / 2
            }
        }
    }

    /// Makes one of the child `left` and the next one.
    fn merge(&mut self, left: usize, memory_bytes: &mut usize) {
        let right = left + 1;
        match &mut self.children {
            Children::Leaves(leaves) => {
                let after = leaves.remove(right);
                let leaf = &mut leaves[left];
                *memory_bytes -= leaf.memory_bytes() + after.memory_bytes();
                leaf.append(&after, 0);
                *memory_bytes += leaf.memory_bytes();
            }
            Children::Inners(inners) => {
                let mut after = inners.remove(right);
                let inner = &mut inners[left];
                *memory_bytes -= inner.own_bytes() + after.own_bytes();
                let (score, member) = self.separators.get(right);
                after.separators.replace(0, score, member);
                inner.append(after);
                *memory_bytes += inner.own_bytes();
            }
        }
        *memory_bytes -= self.separators.memory_bytes();
        self.separators.remove(right);
        *memory_bytes += self.separators.memory_bytes();
        self.counts[left] += self.counts.remove(right);
    }

    /// Adds the children of the next node.
    fn append(&mut self, mut right: Self) {
        self.separators.append(&right.separators, 0);
        self.counts.append(&mut right.counts);
        match (&mut self.children, &mut right.children) {
            (Children::Leaves(left), Children::Leaves(right)) => left.append(right),
            (Children::Inners(left), Children::Inners(right)) => left.append(right),
            _ => unreachable!("all leaves are at one depth"),
        }
    }

    fn remove_child(&mut self, at: usize, memory_bytes: &mut usize) {
        *memory_bytes -= self.own_bytes();
        match &mut self.children {
            Children::Leaves(leaves) => *memory_bytes -= leaves.remove(at).memory_bytes(),
            Children::Inners(inners) => *memory_bytes -= inners.remove(at).own_bytes(),
        }
        self.separators.remove(at);
        self.counts.remove(at);
        *memory_bytes += self.own_bytes();
    }

    /// The only child, if it is an inner node.
    fn take_only_inner(&mut self) -> Option<Self> {
        match &mut self.children {
            Children::Inners(inners) if inners.len() == 1 => inners.pop(),
            Children::Inners(_) | Children::Leaves(_) => None,
        }
    }

    /// Drops the last leaf and what becomes empty; answers how many elements it had.
    fn drop_last_leaf(&mut self, memory_bytes: &mut usize) -> usize {
        let last = self.len() - 1;
        let dropped = match &mut self.children {
            Children::Leaves(_) => self.counts[last],
            Children::Inners(inners) => inners[last].drop_last_leaf(memory_bytes),
        };
        self.counts[last] -= dropped;
        if self.counts[last] == 0 {
            self.remove_child(last, memory_bytes);
        }
        dropped
    }
}

/// Where the elements of one child end and those of the next begin.
struct Separator {
    score: f64,
    member: Vec<u8>,
}

impl Separator {
    fn of((score, member): (f64, &[u8])) -> Self {
        Self { score, member: member.to_vec() }
    }

    /// The shortest between two leaves.
    fn between(left: &Run, right: &Run) -> Self {
        let (last_score, last) = left.get(left.count() - 1);
        let (score, first) = right.get(0);
        if last_score < score {
            return Self { score, member: Vec::new() };
        }
        let same = last.iter().zip(first).take_while(|(a, b)| a == b).count();
        Self { score, member: first[..=same].to_vec() }
    }
}

#[cfg(test)]
impl Tree {
    /// # Panics
    /// If the tree is not as the top of this file says.
    pub(super) fn verify(&self) {
        let mut last = None;
        let (count, memory, _) = self.root.verify(None, &mut last);
        assert_eq!((count, memory), (self.len, self.memory_bytes));
    }
}

#[cfg(test)]
impl Inner {
    /// Elements, bytes of memory and depth. `last` is the last element seen.
    fn verify(
        &self,
        low: Option<(f64, &[u8])>,
        last: &mut Option<(f64, Vec<u8>)>,
    ) -> (usize, usize, usize) {
        assert!(!self.is_full());
        assert_eq!(self.separators.count(), self.len());
        let (mut memory, mut depths) = (self.own_bytes(), Vec::new());
        for at in 0..self.len() {
            let low = if at == 0 { low } else { Some(self.separators.get(at)) };
            if let (Some((score, member)), Some((last_score, last))) = (low, &last) {
                assert!(Edge::BeforeElement(score, member).is_behind(*last_score, last));
            }
            let count = match &self.children {
                Children::Leaves(leaves) => {
                    let leaf = &leaves[at];
                    for (score, member) in (0..leaf.count()).map(|index| leaf.get(index)) {
                        let here = Edge::BeforeElement(score, member);
                        let is_behind =
                            |(score, member): &(f64, Vec<u8>)| here.is_behind(*score, member);
                        assert!(last.as_ref().is_none_or(is_behind));
                        let behind = Edge::AfterElement(score, member);
                        assert!(low.is_none_or(|(score, member)| behind.is_behind(score, member)));
                        *last = Some((score, member.to_vec()));
                    }
                    memory += leaf.memory_bytes();
                    depths.push(0);
                    leaf.count()
                }
                Children::Inners(inners) => {
                    let (count, bytes, depth) = inners[at].verify(low, last);
                    memory += bytes;
                    depths.push(depth + 1);
                    count
                }
            };
            assert!(count > 0 && count == self.counts[at]);
        }
        assert!(depths.windows(2).all(|pair| pair[0] == pair[1]));
        (self.count(), memory, depths.first().copied().unwrap_or(0))
    }
}
