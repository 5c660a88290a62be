//! One thread's clients: which request goes out when and on which connection, and what the replies mean.
//! Decides and counts; does no I/O and reads no clock. [`super::worker`] moves the bytes.
//!
//! A client ([`Lane`]) draws its requests from a source of its own and has up to `depth` of them on the
//! way, on one connection ([`Link`]), or in a cluster on one to each node.

mod binary;

use ringmain::protocol::client::Element;

use super::book::Book;
use super::link::{Link, Pending, Role, State, UNSENT};
use super::pace::{Budget, Pace};
use crate::wire::cluster::{Node, Redirect, SlotMap};
use crate::wire::greeting::{Dialect, Greeting, refusal};
use crate::wire::resp::Framer;
use crate::work::{Op, Reply, Source, Tally};

/// How often one request is sent on to another node before its redirect counts as an error.
const REDIRECTS_MAX: u8 = 5;
/// How long after asking for the slots they are not asked for again.
const REFRESH_NS: u64 = 100_000_000;
/// No connection to that node yet.
const NO_LINK: u32 = u32::MAX;

/// One client.
struct Lane {
    source: Source,
    /// By node.
    links: Vec<u32>,
    in_flight: u32,
    /// Whether the pace knows that it can take a request.
    is_free: bool,
    /// When it last came free.
    free_since_ns: u64,
    /// Whether its source has come to its end.
    is_ended: bool,
}

/// What bounds a run.
pub(super) struct Bounds {
    pub(super) depth: u32,
    /// When the measured part starts.
    pub(super) from_ns: u64,
    /// When the last request may start, if time is what ends the run.
    pub(super) until_ns: u64,
    /// How many requests there are, if their number is what ends it.
    pub(super) budget: Option<Budget>,
}

/// One thread's clients and their connections.
pub(super) struct Traffic {
    lanes: Vec<Lane>,
    links: Vec<Link>,
    slots: SlotMap,
    is_cluster: bool,
    host: String,
    greeting: Greeting,
    pace: Pace,
    bounds: Bounds,
    pub(super) book: Book,
    /// Links that have something to send.
    dirty: Vec<u32>,
    /// Links that want to be connected.
    wanted: Vec<u32>,
    in_flight: u64,
    ended: usize,
    may_refresh_at_ns: u64,
    last_reply_ns: u64,
}

impl Traffic {
    pub(super) fn new(
        sources: Vec<Source>,
        slots: SlotMap,
        is_cluster: bool,
        greeting: Greeting,
        pace: Pace,
        bounds: Bounds,
        book: Book,
    ) -> Self {
        let host = slots.address(Node(0)).0.to_owned();
        let lane = |source| Lane {
            source,
            links: Vec::new(),
            in_flight: 0,
            is_free: false,
            free_since_ns: 0,
            is_ended: false,
        };
        let mut traffic = Self {
            lanes: sources.into_iter().map(lane).collect(),
            links: Vec::new(),
            slots,
            is_cluster,
            host,
            greeting,
            pace,
            bounds,
            book,
            dirty: Vec::new(),
            wanted: Vec::new(),
            in_flight: 0,
            ended: 0,
            may_refresh_at_ns: 0,
            last_reply_ns: 0,
        };
        for node in traffic.slots.nodes() {
            for lane in 0..traffic.lanes.len() {
                traffic.link_to(lane, node);
            }
        }
        traffic
    }

    // Connections, as the worker tells.

    /// Links that want to be connected since the last call.
    pub(super) fn wanted(&mut self, to: &mut Vec<u32>) {
        to.append(&mut self.wanted);
    }

    /// Host and port of the node that a link leads to.
    pub(super) fn address(&self, link: u32) -> (&str, u16) {
        self.slots.address(self.links[link as usize].node)
    }

    /// How many links there are.
    pub(super) fn links(&self) -> usize {
        self.links.len()
    }

    /// Whether a link has been greeted and may carry requests.
    pub(super) fn is_open(&self, link: u32) -> bool {
        self.links[link as usize].state == State::Open
    }

    /// A link has its connection.
    pub(super) fn connected(&mut self, index: u32) {
        let link = &mut self.links[index as usize];
        assert_eq!(link.state, State::Closed, "a link is connected once");
        link.state = if self.greeting.replies > 0 { State::Connected } else { State::Open };
        match &mut link.dialogue {
            Some(dialogue) => dialogue.greetings = self.greeting.replies,
            None => {
                for _ in 0..self.greeting.replies {
                    link.pending.push_front(Pending::own(Role::Greeting));
                }
            }
        }
        mark(&mut self.dirty, link, index);
    }

    /// A link has lost its connection, or failed to get one.
    pub(super) fn broken(&mut self, index: u32, now_ns: u64) {
        let link = &mut self.links[index as usize];
        let was_open = link.state == State::Open;
        let mut gone = link.forget();
        if self.is_cluster && !was_open {
            // The node may be gone for good: others may own its slots by now.
            gone.extend(link.give_up());
            self.refresh(now_ns);
        }
        if was_open {
            self.book.reconnects();
        }
        let lane = self.links[index as usize].lane;
        for pending in gone {
            if matches!(pending.role, Role::Asked { .. }) {
                self.book.unanswered(pending.is_counted);
                self.answered(lane, now_ns);
            }
        }
    }

    /// Links that have something to send since the last call.
    pub(super) fn dirty(&mut self, to: &mut Vec<u32>) {
        to.append(&mut self.dirty);
    }

    /// What a link has to send; stays in place until [`Traffic::sent`].
    pub(super) fn load(&mut self, index: u32, now_ns: u64) -> Option<&[u8]> {
        let link = &mut self.links[index as usize];
        link.is_dirty = false;
        let bytes = link.load(&self.greeting, now_ns)?;
        self.book.wrote(bytes.len());
        Some(bytes)
    }

    /// The kernel has let go of what was sent.
    pub(super) fn sent(&mut self, index: u32) {
        let link = &mut self.links[index as usize];
        link.sent();
        if link.has_output() {
            mark(&mut self.dirty, link, index);
        }
    }

    /// Bytes came from the server.
    ///
    /// # Errors
    /// One sentence if the connection is of no use any more.
    pub(super) fn received(&mut self, index: u32, bytes: &[u8], now_ns: u64) -> Result<(), String> {
        self.book.received(bytes.len());
        let link = &mut self.links[index as usize];
        if link.dialogue.is_some() {
            return self.received_frames(index, bytes, now_ns);
        }
        let mut framer = link.framer;
        if link.input.is_empty() {
            let taken = self.replies(index, &mut framer, bytes, now_ns)?;
            let link = &mut self.links[index as usize];
            link.input.extend_from_slice(&bytes[taken..]);
        } else {
            let mut input = std::mem::take(&mut link.input);
            input.extend_from_slice(bytes);
            let taken = self.replies(index, &mut framer, &input, now_ns)?;
            input.drain(..taken);
            self.links[index as usize].input = input;
        }
        self.links[index as usize].framer = framer;
        Ok(())
    }

    /// Takes every whole reply; how many bytes that were.
    fn replies(
        &mut self,
        index: u32,
        framer: &mut Framer,
        input: &[u8],
        now_ns: u64,
    ) -> Result<usize, String> {
        let mut taken = 0;
        loop {
            match framer.next(&input[taken..]) {
                Ok(Some(framed)) => {
                    taken += framed.consumed;
                    if !framed.is_push() {
                        self.reply(index, &framed.reply, now_ns)?;
                    }
                }
                Ok(None) => return Ok(taken),
                Err(error) => {
                    self.book.wrong();
                    return Err(error.to_string());
                }
            }
        }
    }

    #[inline]
    fn reply(&mut self, index: u32, reply: &Reply<'_>, now_ns: u64) -> Result<(), String> {
        let link = &mut self.links[index as usize];
        let Some(pending) = link.pending.front() else {
            self.book.wrong();
            let said = refusal(reply.first).map_or(String::new(), |text| format!(": {text}"));
            return Err(format!("the server said something that nothing had asked for{said}"));
        };
        if !matches!(pending.role, Role::Asked { .. }) {
            return self.reply_to_own(index, reply);
        }
        self.last_reply_ns = now_ns;
        if self.is_cluster && self.redirected(index, reply, now_ns) {
            return Ok(());
        }
        let link = &mut self.links[index as usize];
        let Some(pending) = link.pending.front() else { return Ok(()) };
        let verdict = self.lanes[link.lane as usize].source.judge(&pending.op, reply);
        let latency_ns = now_ns.saturating_sub(pending.start_ns);
        self.book.judged(pending.op.command, latency_ns, verdict, pending.is_counted);
        let lane = link.lane;
        link.pending.pop_front();
        self.answered(lane, now_ns);
        Ok(())
    }

    /// Takes the reply to a request that the workload knows nothing of.
    #[cold]
    fn reply_to_own(&mut self, index: u32, reply: &Reply<'_>) -> Result<(), String> {
        let link = &mut self.links[index as usize];
        match link.pending.pop_front().map(|pending| pending.role) {
            Some(Role::Greeting) => {
                if let Some(text) = refusal(reply.first) {
                    return Err(format!("the server answers {text}"));
                }
                if link.pending.front().is_none_or(|next| next.role != Role::Greeting) {
                    link.state = State::Open;
                    mark(&mut self.dirty, link, index);
                }
            }
            Some(Role::Slots) => {
                // An error, or nonsense, leaves what is known; the next redirect asks again.
                let _ = self.slots.update(reply.bytes, &self.host);
            }
            Some(Role::Asking | Role::Asked { .. }) | None => {}
        }
        Ok(())
    }

    // Clusters.

    /// Sends a request on if the reply says where to; whether that could be done.
    fn redirected(&mut self, from: u32, reply: &Reply<'_>, now_ns: u64) -> bool {
        let Element::Error(text) = reply.first else { return false };
        let Some(redirect) = Redirect::of(text) else { return false };
        self.book.redirected(redirect.is_ask);
        let Ok(node) = self.slots.moved(&redirect, &self.host) else { return false };
        let pending = &mut self.links[from as usize].pending;
        let Some(&Pending { role: Role::Asked { redirects }, .. }) = pending.front() else {
            return false;
        };
        if redirects >= REDIRECTS_MAX {
            return false;
        }
        let Some(pending) = pending.pop_front() else { return false };
        if !redirect.is_ask {
            self.refresh(now_ns);
        }
        let lane = self.links[from as usize].lane;
        let index = self.link_to(lane as usize, node);
        let source = &mut self.lanes[lane as usize].source;
        let link = &mut self.links[index as usize];
        if redirect.is_ask {
            ringmain::protocol::client::write_request(&mut link.out, &[b"ASKING"]);
            link.push(Pending::own(Role::Asking));
        }
        let op = source.again(&pending.op);
        source.write_resp(&op, &mut link.out);
        link.push(Pending { op, role: Role::Asked { redirects: redirects + 1 }, ..pending });
        mark(&mut self.dirty, link, index);
        true
    }

    /// Asks some node who owns what by now.
    fn refresh(&mut self, now_ns: u64) {
        if self.greeting.dialect != Dialect::Resp {
            return self.refresh_by_topology(now_ns);
        }
        if now_ns < self.may_refresh_at_ns {
            return;
        }
        let open = self.links.iter().position(|link| link.state == State::Open);
        if let Some(index) = open {
            let link = &mut self.links[index];
            ringmain::protocol::client::write_request(&mut link.out, &[b"CLUSTER", b"SLOTS"]);
            link.push(Pending::own(Role::Slots));
            mark(&mut self.dirty, link, u32::try_from(index).unwrap_or(NO_LINK));
            self.may_refresh_at_ns = now_ns + REFRESH_NS;
        }
    }

    /// The connection of a client to a node; a new one if there is none.
    fn link_to(&mut self, lane: usize, node: Node) -> u32 {
        let links = &mut self.lanes[lane].links;
        let at = usize::from(node.0);
        if links.len() <= at {
            links.resize(at + 1, NO_LINK);
        }
        if links[at] == NO_LINK {
            links[at] = u32::try_from(self.links.len()).unwrap_or(NO_LINK);
            self.wanted.push(links[at]);
            let lane = u32::try_from(lane).unwrap_or(NO_LINK);
            let (depth, dialect) = (self.bounds.depth as usize, self.greeting.dialect);
            self.links.push(Link::new(lane, node, depth, dialect));
        }
        links[at]
    }

    // Pace.

    /// The run starts.
    pub(super) fn begin(&mut self, now_ns: u64) {
        for lane in 0..self.lanes.len() {
            self.offer(u32::try_from(lane).unwrap_or(NO_LINK), now_ns);
        }
    }

    /// One request of a client less is on the way.
    fn answered(&mut self, lane: u32, now_ns: u64) {
        self.in_flight -= 1;
        self.lanes[lane as usize].in_flight -= 1;
        self.offer(lane, now_ns);
    }

    /// Has a client send what it may, or lets the pace know that it can.
    fn offer(&mut self, index: u32, now_ns: u64) {
        let lane = &mut self.lanes[index as usize];
        if lane.is_ended || lane.is_free {
            return;
        }
        lane.free_since_ns = now_ns;
        match &mut self.pace {
            Pace::Closed => {
                if lane.in_flight == 0 {
                    self.batch(index, now_ns);
                }
            }
            Pace::Open(open) => {
                lane.is_free = true;
                open.free(index, now_ns);
            }
            Pace::Replay(replay) => {
                let due = lane
                    .source
                    .due()
                    .map_or(now_ns, |due| u64::try_from(due.as_nanos()).unwrap_or(u64::MAX));
                if due < self.bounds.until_ns {
                    lane.is_free = true;
                    replay.free(index, due);
                }
            }
        }
    }

    /// A client of a closed loop sends its next requests together.
    fn batch(&mut self, lane: u32, now_ns: u64) {
        if now_ns >= self.bounds.until_ns {
            return;
        }
        for _ in 0..self.bounds.depth {
            if !self.issue(lane, UNSENT, now_ns >= self.bounds.from_ns) {
                break;
            }
        }
    }

    /// The tool did nothing for so long.
    pub(super) fn stood_still(&mut self, ns: u64) {
        match &mut self.pace {
            Pace::Closed => {}
            Pace::Open(open) => open.lateness.stood_still(ns),
            Pace::Replay(replay) => replay.lateness.stood_still(ns),
        }
    }

    /// Sends what is due.
    pub(super) fn advance(&mut self, now_ns: u64) {
        match self.pace {
            Pace::Closed => {}
            Pace::Open(_) => while self.advance_open(now_ns) {},
            Pace::Replay(_) => while self.advance_replay(now_ns) {},
        }
    }

    fn advance_open(&mut self, now_ns: u64) -> bool {
        let Pace::Open(open) = &mut self.pace else { return false };
        let due = open.schedule.due_ns();
        if due > now_ns || due >= self.bounds.until_ns {
            return false;
        }
        let Some(index) = open.take() else { return false };
        let lateness = open.lateness_ns(now_ns);
        self.lanes[index as usize].is_free = false;
        // A client that has nothing to send is asked again when it gets a reply.
        if self.issue(index, due, due >= self.bounds.from_ns) {
            self.book.late(lateness);
            if let Pace::Open(open) = &mut self.pace {
                open.schedule.advance();
            }
            if self.lanes[index as usize].in_flight < self.bounds.depth {
                self.offer(index, now_ns);
            }
        }
        !self.is_spent()
    }

    fn advance_replay(&mut self, now_ns: u64) -> bool {
        let Pace::Replay(replay) = &mut self.pace else { return false };
        let Some((due, index)) = replay.take(now_ns) else { return false };
        let lane = &mut self.lanes[index as usize];
        lane.is_free = false;
        let free_since = lane.free_since_ns;
        if self.issue(index, due, due >= self.bounds.from_ns) {
            if let Pace::Replay(replay) = &mut self.pace {
                self.book.late(replay.lateness.of(due, free_since, now_ns));
            }
            if self.lanes[index as usize].in_flight < self.bounds.depth {
                self.offer(index, now_ns);
            }
        }
        true
    }

    /// Writes a client's next request; whether there was one.
    fn issue(&mut self, index: u32, start_ns: u64, is_counted: bool) -> bool {
        if is_counted && self.bounds.budget.as_mut().is_some_and(|budget| !budget.take()) {
            return false;
        }
        let lane = &mut self.lanes[index as usize];
        let Some(op) = lane.source.next() else {
            if is_counted && let Some(budget) = &mut self.bounds.budget {
                budget.give_back();
            }
            // With requests on the way their replies may still bring more (see `Source::next`).
            if lane.in_flight == 0 && !lane.is_ended {
                lane.is_ended = true;
                self.ended += 1;
            }
            return false;
        };
        self.write(index, &op, start_ns, is_counted);
        true
    }

    fn write(&mut self, index: u32, op: &Op, start_ns: u64, is_counted: bool) {
        let link = if self.is_cluster {
            let node = self.slots.owner(self.lanes[index as usize].source.slot(op));
            self.link_to(index as usize, node)
        } else {
            self.lanes[index as usize].links[0]
        };
        let lane = &mut self.lanes[index as usize];
        lane.in_flight += 1;
        self.in_flight += 1;
        self.book.sent(op.command, is_counted);
        let role = Role::Asked { redirects: 0 };
        let pending = Pending { op: *op, start_ns, role, is_counted };
        let to = &mut self.links[link as usize];
        if to.dialogue.is_some() {
            return self.write_binary(index, link, op, pending);
        }
        lane.source.write_resp(op, &mut to.out);
        to.push(pending);
        mark(&mut self.dirty, to, link);
    }

    /// When something is to be done though nothing has come.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let due = match &self.pace {
            Pace::Closed => None,
            Pace::Open(open) => open.due_ns(),
            Pace::Replay(replay) => replay.due_ns(),
        };
        due.filter(|&due| due < self.bounds.until_ns && !self.is_spent())
    }

    fn is_spent(&self) -> bool {
        self.bounds.budget.as_ref().is_some_and(Budget::is_spent)
    }

    /// Whether no request will start any more.
    fn has_sent_all(&self, now_ns: u64) -> bool {
        let is_over = match &self.pace {
            Pace::Closed => now_ns >= self.bounds.until_ns,
            Pace::Open(open) => open.schedule.due_ns() >= self.bounds.until_ns,
            Pace::Replay(replay) => replay.due_ns().is_none_or(|due| due >= self.bounds.until_ns),
        };
        is_over || self.is_spent() || self.ended == self.lanes.len()
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self, now_ns: u64) -> bool {
        self.in_flight == 0 && self.has_sent_all(now_ns)
    }

    /// When the last reply came.
    pub(super) fn last_reply_ns(&self) -> u64 {
        self.last_reply_ns
    }

    /// What reads have found so far.
    pub(super) fn tally(&self) -> Tally {
        let tallies = self.lanes.iter().map(|lane| lane.source.tally());
        tallies.fold(Tally::default(), |sum, one| sum.and(&one))
    }

    /// The run is over, whatever is still on the way; an open loop owes what was due by then.
    pub(super) fn close(&mut self, now_ns: u64, is_interrupted: bool) {
        let is_charged = !is_interrupted && !matches!(self.pace, Pace::Closed);
        for pending in self.links.iter().flat_map(Link::waiting) {
            if pending.is_counted && matches!(pending.role, Role::Asked { .. }) {
                if !is_interrupted {
                    self.book.unanswered(true);
                }
                if is_charged {
                    self.book.overdue(now_ns.saturating_sub(pending.start_ns));
                }
            }
        }
        let Pace::Open(open) = &mut self.pace else { return };
        while is_charged && open.schedule.due_ns() < self.bounds.until_ns.min(now_ns) {
            if self.bounds.budget.as_mut().is_some_and(|budget| !budget.take()) {
                break;
            }
            let due = open.schedule.due_ns();
            self.book.overdue(now_ns.saturating_sub(due));
            open.schedule.advance();
        }
    }
}

/// Notes that a link has something to send.
fn mark(dirty: &mut Vec<u32>, link: &mut Link, index: u32) {
    if !link.is_dirty {
        link.is_dirty = true;
        dirty.push(index);
    }
}
