//! Commands that may take very long, run a bounded step at a time.
//!
//! A handler makes its work into [`Steps`] and hands them to `run`. Whoever runs the command may have said that it
//! will see to them ([`Handover::may_pause`](super::Handover::may_pause)): then they are left to it, which holds the
//! command's shards from the first step to the last and does other things in between. For everybody else, all of it
//! is one step: what comes of it is the same.

use super::table::Entry;
use super::{Error, Exec, Flags, Stepwise};
use crate::collection::Garbage;
use crate::limits::STEP_ELEMENTS;
use crate::protocol::{Args, Reply};

/// How far a command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There are steps left.
    Begun,
    /// It has answered.
    Done,
}

impl Progress {
    /// Done or not.
    pub(super) fn done_if(is_done: bool) -> Self {
        if is_done { Self::Done } else { Self::Begun }
    }
}

/// The rest of a command. Nobody else touches what its keys hold before it is done.
pub trait Steps: std::fmt::Debug + Send {
    /// Takes the next step. The reply may be written little by little.
    ///
    /// # Errors
    /// What is answered instead of the reply; nothing has been changed then.
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error>;

    /// What has been gathered and may be too much to be freed at once; asked for when there are no steps left, or one
    /// has failed.
    fn take_garbage(&mut self) -> Vec<Box<dyn Garbage>> {
        Vec::new()
    }
}

/// How many bytes the keys of a request have to hold, or more, for it to be run in steps; nothing if it can't be, or asks
/// for little whatever they hold.
#[inline]
pub fn worth_from_bytes(entry: &Entry, args: &Args<'_>) -> Option<usize> {
    if !entry.command.flags.contains(Flags::STEPWISE) {
        return None;
    }
    let steps = entry.command.steps.as_ref()?;
    if args.len() < steps.args_min { None } else { stepwise_from_bytes(steps, args) }
}

fn stepwise_from_bytes(steps: &Stepwise, args: &Args<'_>) -> Option<usize> {
    (steps.asks_for_much)(args).then_some(steps.from_bytes)
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
    while take_one(&mut steps, exec, args, reply)? == Progress::Begun {}
    Ok(())
}

/// Takes the next step, and after the last leaves what is too much to be freed at once to be freed later: before the steps
/// of the next command, if not earlier, so that it does not pile up where one command follows another.
///
/// # Errors
/// As [`Steps::step`].
pub fn take_one(
    steps: &mut dyn Steps,
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<Progress, Error> {
    exec.each().for_each(|(_, keyspace)| keyspace.free_discarded(STEP_ELEMENTS));
    let progress = steps.step(exec, args, reply);
    if progress.as_ref().is_ok_and(|progress| *progress == Progress::Begun) {
        return progress;
    }
    let mut garbage = steps.take_garbage();
    garbage.retain_mut(|garbage| !garbage.free_some(STEP_ELEMENTS));
    if let Some((_, keyspace)) = exec.each().next() {
        keyspace.discard(garbage);
    }
    progress
}
