//! Commands that may take very long, run a bounded step at a time.
//!
//! A handler makes its work into [`Steps`] and hands them to `run`. Whoever runs the command may have said that it
//! will see to them ([`Handover::may_pause`](super::Handover::may_pause)): then they are left to it, which holds the
//! command's shards from the first step to the last and does other things in between. For everybody else, all of it
//! is one step: what comes of it is the same.

use super::table::Entry;
use super::{Error, Exec, Flags, lists};
use crate::protocol::{Args, Reply};

/// Elements that a step looks at, or a few more.
pub(super) const STEP_ELEMENTS: usize = 4096;

/// How far a command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There are steps left.
    Begun,
    /// It has answered.
    Done,
}

impl Progress {
    /// Of a walk that has come to `cursor`, which is 0 at the end.
    pub(super) fn at(cursor: u64) -> Self {
        if cursor == 0 { Self::Done } else { Self::Begun }
    }
}

/// The rest of a command. Nobody else touches what its keys hold before it is done.
pub trait Steps: std::fmt::Debug + Send {
    /// Takes the next step. The reply may be written little by little.
    fn step(&mut self, exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Progress;
}

/// Whether a request can be run in steps, and asks for so much that this may be worth it.
#[inline]
pub fn asks_for_much(entry: &Entry, args: &Args<'_>) -> bool {
    entry.command.flags.contains(Flags::STEPWISE)
        && (entry.full_name != "lrange" || lists::covers_much(args))
}

/// Takes all steps, or leaves them to whoever runs the command.
pub(super) fn run(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    mut steps: impl Steps + 'static,
) -> Result<(), Error> {
    if exec.handover.may_pause {
        exec.handover.steps = Some(Box::new(steps));
        return Ok(());
    }
    while steps.step(exec, args, reply) == Progress::Begun {}
    Ok(())
}
