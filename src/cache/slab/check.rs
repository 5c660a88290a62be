//! Whether pages, lists and counts agree. For tests.

#![expect(clippy::cast_possible_truncation, reason = "a page has at most 8,192 units")]

use super::{
    CLASS_BYTES, Class, FIRST_INDEX_CLASS, FREE_MARK, GROUPS, HEAD_PAGES, NO_PAGE, NO_UNIT, Page,
    Slab, UNIT_BYTES, UNUSED, handle_at, low16,
};

impl Slab {
    /// Panics unless pages, lists and counts agree; answers how many entries and segments there are.
    pub(in crate::cache) fn check(&self) -> (usize, usize) {
        let (mut entries, mut segments, mut touched) = (0, 0, (0, 0));
        for (number, page) in self.pages.iter().enumerate().skip(HEAD_PAGES) {
            let class = usize::from(page.class);
            if page.group == UNUSED {
                continue;
            }
            let is_entries = class < FIRST_INDEX_CLASS;
            *(if is_entries { &mut touched.0 } else { &mut touched.1 }) +=
                usize::from(page.touched);
            *(if is_entries { &mut entries } else { &mut segments }) += usize::from(page.used);
            let carved = page.carved / (CLASS_BYTES[class] / UNIT_BYTES as u16);
            let free = self.free_in(number as u32, page).count();
            assert_eq!(free + usize::from(page.used), usize::from(carved), "page {number}");
        }
        assert_eq!(touched, (self.touched_entries, self.touched_index));
        for (number, class) in self.classes.iter().enumerate() {
            let pages = || {
                self.pages.iter().filter(|p| p.group != UNUSED && usize::from(p.class) == number)
            };
            assert_eq!(pages().count(), class.pages);
            assert_eq!(pages().map(|page| usize::from(page.used)).sum::<usize>(), class.used);
            let listed: usize = (0..GROUPS).map(|group| self.listed(class, group).count()).sum();
            assert_eq!(pages().filter(|page| page.group < GROUPS).count(), listed);
        }
        (entries, segments)
    }

    fn free_in(&self, number: u32, page: &Page) -> impl Iterator<Item = u16> {
        let words = self.region.slice::<u32>();
        let first = (page.free != NO_UNIT).then_some(page.free);
        std::iter::successors(first, move |unit| {
            let handle = handle_at(number, *unit);
            assert_eq!(words[handle.word() + 3], FREE_MARK);
            let next = low16(words[handle.word()]);
            (next != NO_UNIT).then_some(next)
        })
    }

    fn listed(&self, class: &Class, group: u8) -> impl Iterator<Item = u32> {
        let head = class.heads[usize::from(group)];
        assert_eq!(class.filled >> group & 1 == 1, head != NO_PAGE);
        std::iter::successors((head != NO_PAGE).then_some(head), |number| {
            let next = self.pages[*number as usize].next;
            (next != NO_PAGE).then_some(next)
        })
    }

    /// Bytes of its reservation that the system holds memory for.
    #[cfg(test)]
    pub(in crate::cache) fn resident_bytes(&self) -> usize {
        self.region.resident_bytes(0..self.pages.len() * super::PAGE_BYTES)
    }
}
