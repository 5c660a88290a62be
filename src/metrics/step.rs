//! What a core was doing in the step that took longest.

use std::sync::atomic::{AtomicU32, Ordering};

use super::CommandId;

/// A kind of step of a core's loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// What lies between two of the others: bytes in and out, mail.
    #[default]
    Other,
    /// A command.
    Command(CommandId),
    /// A piece of maintenance: keys that expire or are evicted, memory that is given back.
    Maintenance,
    /// A write to the log, or what came of one.
    Log,
    /// A part of a snapshot.
    Snapshot,
    /// Reading the log at the start.
    Recovery,
}

const OTHER: u32 = 0;
const MAINTENANCE: u32 = 1;
const LOG: u32 = 2;
const SNAPSHOT: u32 = 3;
const RECOVERY: u32 = 4;
const FIRST_COMMAND: u32 = 8;

/// A kind of step that one thread writes and anyone reads.
#[derive(Debug, Default)]
pub struct StepCell(AtomicU32);

impl StepCell {
    /// Sets it.
    pub fn set(&self, step: Step) {
        let number = match step {
            Step::Other => OTHER,
            Step::Maintenance => MAINTENANCE,
            Step::Log => LOG,
            Step::Snapshot => SNAPSHOT,
            Step::Recovery => RECOVERY,
            Step::Command(id) => FIRST_COMMAND + u32::from(id.0),
        };
        self.0.store(number, Ordering::Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> Step {
        match self.0.load(Ordering::Relaxed) {
            MAINTENANCE => Step::Maintenance,
            LOG => Step::Log,
            SNAPSHOT => Step::Snapshot,
            RECOVERY => Step::Recovery,
            number => {
                let id = number.checked_sub(FIRST_COMMAND).and_then(|id| u16::try_from(id).ok());
                id.map_or(Step::Other, |id| Step::Command(CommandId(id)))
            }
        }
    }
}
