//! What is asked of a core, which looks at it at its next tick: each thing once, and not too many.

use std::sync::Mutex;

use crate::metrics::lock;

/// Requests that wait for a look.
#[derive(Debug)]
pub(super) struct Inbox<T, const MOST: usize> {
    waiting: Mutex<Vec<T>>,
}

impl<T, const MOST: usize> Default for Inbox<T, MOST> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Vec::new()) }
    }
}

impl<T: PartialEq, const MOST: usize> Inbox<T, MOST> {
    /// Asks for something. False if there are too many.
    pub(super) fn ask(&self, request: T) -> bool {
        let mut waiting = lock(&self.waiting);
        let has_room = waiting.len() < MOST;
        if has_room && !waiting.contains(&request) {
            waiting.push(request);
        }
        has_room
    }

    /// What has been asked since the last look.
    pub(super) fn take(&self) -> Vec<T> {
        std::mem::take(&mut lock(&self.waiting))
    }
}
