//! Transactions of one connection: what they hold is answered when they are run, and if they are not, nothing has happened.

use super::Player;
use super::collections::Collections;
use super::model::{Expect, Model, Step, error, ok};
use crate::harness::value::Value;

const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// What both models hold.
struct Saved(Model, Collections);

fn step(line: &str, expect: Expect) -> Step {
    Step { args: line.split(' ').map(|word| word.as_bytes().to_vec()).collect(), expect }
}

/// Whether a request is refused before it gets into the queue.
fn is_malformed(step: &Step) -> bool {
    matches!(&step.args[..], [get] if get == b"GET") || step.args[0] == b"NONSENSE"
}

impl Player {
    fn save(&self) -> Saved {
        Saved(self.model.clone(), self.collections.clone())
    }

    /// What was made up since has not happened.
    fn go_back(&mut self, Saved(model, collections): Saved) {
        self.model.go_back(model);
        self.collections.go_back(collections);
    }

    /// A transaction of up to `most` commands, with what comes before it and its end.
    pub(super) fn transaction(&mut self, most: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        let is_watched = self.random.one_in(3);
        let has_changed = is_watched && self.random.one_in(2);
        if is_watched {
            steps.extend(self.model.watch(has_changed));
        }
        steps.push(step("MULTI", ok()));
        let saved = self.save();
        self.collections.is_in_transaction = true;
        let inner: Vec<Step> = (0..=self.random.index(most)).map(|_| self.step()).collect();
        self.collections.is_in_transaction = false;
        let is_refused = inner.iter().any(is_malformed);
        let mut replies = Vec::new();
        for Step { args, expect } in inner {
            let queued = Expect::Exactly(Value::Simple("QUEUED".into()));
            let mut step = Step { args, expect };
            if !is_malformed(&step) {
                replies.push(std::mem::replace(&mut step.expect, queued));
            }
            steps.push(step);
        }
        let (end, expect) = match (self.random.one_in(8), is_refused, has_changed) {
            (true, _, _) => ("DISCARD", ok()),
            (false, true, _) => ("EXEC", error(ABORTED)),
            (false, false, true) => ("EXEC", Expect::Exactly(Value::NullArray)),
            (false, false, false) => {
                steps.push(step("EXEC", Expect::Each(replies)));
                return steps;
            }
        };
        self.go_back(saved);
        steps.push(step(end, expect));
        steps
    }
}
