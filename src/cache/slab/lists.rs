//! Pages by how full they are, and the page that is being drained.

#![expect(clippy::cast_possible_truncation, reason = "a page has at most 8,192 units")]

use super::{
    CLASS_BYTES, CLASS_CAPACITY, CLASSES, Class, DRAINING, Drain, Effort, FREE_MARK, GROUPS,
    Handle, NO_PAGE, Page, Slab, TABLE_SHIFT, UNIT_BYTES, handle_at,
};

impl Slab {
    /// Puts a page in the list that its use calls for.
    #[inline]
    pub(super) fn regroup(&mut self, number: u32) {
        let page = &self.pages[number as usize];
        let capacity = u32::from(CLASS_CAPACITY[usize::from(page.class)]);
        let group = (u32::from(page.used) * u32::from(GROUPS) / capacity) as u8;
        if group != page.group {
            if page.group < GROUPS {
                self.unlink(number);
            }
            self.pages[number as usize].group = group;
            if group < GROUPS {
                self.link(number);
            }
        }
    }

    fn link(&mut self, number: u32) {
        let page = &mut self.pages[number as usize];
        let class = &mut self.classes[usize::from(page.class)];
        let head = &mut class.heads[usize::from(page.group)];
        page.previous = NO_PAGE;
        page.next = *head;
        class.filled |= 1 << page.group;
        let next = std::mem::replace(head, number);
        if next != NO_PAGE {
            self.pages[next as usize].previous = number;
        }
    }

    pub(super) fn unlink(&mut self, number: u32) {
        let Page { class, group, previous, next, .. } = self.pages[number as usize];
        if next != NO_PAGE {
            self.pages[next as usize].previous = previous;
        }
        if previous != NO_PAGE {
            self.pages[previous as usize].next = next;
            return;
        }
        let class = &mut self.classes[usize::from(class)];
        class.heads[usize::from(group)] = next;
        if next == NO_PAGE {
            class.filled &= !(1 << group);
        }
    }

    // --- draining ----------------------------------------------------------------------------

    /// Chooses a page to drain, unless one is being drained: the sparsest of `class`, if `effort`
    /// finds it worth it.
    pub(in crate::cache) fn start_drain(&mut self, class: usize, effort: Effort) -> bool {
        if self.drain.is_some() {
            return true;
        }
        if !self.is_sparse(class, effort) {
            return false;
        }
        let group = self.classes[class].filled.trailing_zeros() as usize;
        let number = self.classes[class].heads[group];
        self.unlink(number);
        self.pages[number as usize].group = DRAINING;
        self.drain = Some(Drain { page: number as usize, unit: 0 });
        true
    }

    /// Chooses a page to drain in any class.
    pub(in crate::cache) fn start_any_drain(&mut self, effort: Effort) -> bool {
        (0..CLASSES).any(|class| self.start_drain(class, effort))
    }

    fn is_sparse(&self, class: usize, effort: Effort) -> bool {
        let Class { filled, pages, carved, used, .. } = self.classes[class];
        let capacity = usize::from(CLASS_CAPACITY[class]);
        // The other pages must be able to take all that is moved, and have room left after.
        if pages * capacity - used < capacity + capacity / 8 || filled == 0 {
            return false;
        }
        effort == Effort::Pressing || (carved - used) * 32 >= carved
    }

    /// The next object that is to be moved out of the page being drained. When the last has been
    /// freed the page is free, and there is none.
    pub(in crate::cache) fn next_to_drain(&mut self) -> Option<Handle> {
        let drain = self.drain.as_mut()?;
        let page = &self.pages[drain.page];
        let units = CLASS_BYTES[usize::from(page.class)] / UNIT_BYTES as u16;
        while drain.unit < page.carved {
            let handle = handle_at(drain.page as u32, drain.unit);
            drain.unit += units;
            if self.region.slice::<u32>()[handle.word() + 3] >> TABLE_SHIFT
                != FREE_MARK >> TABLE_SHIFT
            {
                return Some(handle);
            }
        }
        debug_assert!(false, "a page without objects is still being drained");
        None
    }

    /// Whether a page is being drained.
    pub(in crate::cache) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Stops draining; the page is used like any other again.
    pub(in crate::cache) fn stop_drain(&mut self) {
        if let Some(drain) = self.drain.take() {
            self.regroup(drain.page as u32);
        }
    }
}

impl Class {
    #[inline]
    pub(super) fn fullest(&self) -> Option<u32> {
        let group = self.filled.checked_ilog2()?;
        Some(self.heads[group as usize])
    }
}
