//! The commands between `MULTI` and `EXEC`. Lives with its connection.

use std::sync::Arc;

use crate::cache::Extent;
use crate::command::Flags;
use crate::command::table::Entry;
use crate::protocol::Args;
use crate::protocol::args::ArgRange;
use crate::types::Slot;

/// The commands of a transaction, in order: owned copies, as the connection's input goes on.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(super) commands: Vec<Command>,
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
    /// Bytes of long requests, which stay where they were received.
    long_bytes: usize,
    /// All flags of its commands together.
    pub(super) flags: Flags,
    /// Whether any is on the session or the server rather than on data.
    pub(super) has_session: bool,
}

/// A queued command.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) entry: &'static Entry,
    pub(super) slot: Slot,
    /// Where its arguments are named among the queue's ranges.
    ranges: (usize, usize),
    /// What the arguments lie in, and from where on, where they were too long to be copied.
    pub(super) request: Option<(Arc<Extent>, usize)>,
}

impl Queue {
    pub(super) fn push(&mut self, entry: &'static Entry, slot: Slot, args: &Args<'_>) {
        let first = self.ranges.len();
        args.append_to(&mut self.bytes, &mut self.ranges);
        self.add((entry, slot), first, None);
    }

    pub(super) fn push_long(
        &mut self,
        command: (&'static Entry, Slot),
        args: &Args<'_>,
        (request, start): (Arc<Extent>, usize),
    ) {
        let first = self.ranges.len();
        self.ranges.extend_from_slice(args.ranges());
        self.long_bytes += args.from(0).map(<[u8]>::len).sum::<usize>();
        self.add(command, first, Some((request, start)));
    }

    fn add(
        &mut self,
        (entry, slot): (&'static Entry, Slot),
        first: usize,
        request: Option<(Arc<Extent>, usize)>,
    ) {
        self.flags |= entry.command.flags;
        self.has_session |= entry.is_on_session();
        self.commands.push(Command { entry, slot, ranges: (first, self.ranges.len()), request });
    }

    pub(super) fn args<'a>(&'a self, command: &'a Command) -> Args<'a> {
        let bytes = match &command.request {
            Some((extent, start)) => &extent.written()[*start..],
            None => &self.bytes,
        };
        Args::new(bytes, &self.ranges[command.ranges.0..command.ranges.1])
    }

    /// All commands with their arguments.
    pub(in crate::runtime) fn all(
        &self,
    ) -> impl Iterator<Item = (&'static Entry, Args<'_>)> + Clone {
        self.commands.iter().map(|command| (command.entry, self.args(command)))
    }

    /// Bytes of its arguments.
    pub(super) fn arguments_bytes(&self) -> usize {
        self.bytes.len() + self.long_bytes
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.long_bytes
            + self.bytes.capacity()
            + self.ranges.capacity() * size_of::<ArgRange>()
            + self.commands.capacity() * size_of::<Command>()
    }

    pub(super) fn clear(&mut self) {
        self.commands.clear();
        self.bytes.clear();
        self.ranges.clear();
        (self.long_bytes, self.flags, self.has_session) = (0, Flags::empty(), false);
    }
}
