//! What the binary protocol does otherwise: replies come in frames and in any order, and tell of a new
//! topology by the epoch in the frame's header.

use ringmain::protocol::binary::{
    Extras, FrameLimits, Greeting as Answer, Next, Opcode, ReplyHead, RequestFrame, RequestHead,
    Status, Topology,
};

use super::{REDIRECTS_MAX, REFRESH_NS, Traffic, mark};
use crate::engine::dialogue::OWN_ID;
use crate::engine::link::{Pending, Role, State};
use crate::wire::cluster::Redirect;
use crate::wire::greeting::HELLO_ID;
use crate::work::Op;

/// The id under which the topology is asked for.
const TOPOLOGY_ID: u32 = OWN_ID | 0xff;

impl Traffic {
    /// Bytes came from the server.
    pub(super) fn received_frames(
        &mut self,
        index: u32,
        bytes: &[u8],
        now_ns: u64,
    ) -> Result<(), String> {
        let link = &mut self.links[index as usize];
        if link.input.is_empty() {
            let taken = self.frames(index, bytes, now_ns)?;
            self.links[index as usize].input.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        let mut input = std::mem::take(&mut link.input);
        input.extend_from_slice(bytes);
        let taken = self.frames(index, &input, now_ns)?;
        input.drain(..taken);
        self.links[index as usize].input = input;
        Ok(())
    }

    /// Takes every whole reply; how many bytes that were.
    fn frames(&mut self, index: u32, input: &[u8], now_ns: u64) -> Result<usize, String> {
        let Some(dialogue) = &mut self.links[index as usize].dialogue else { return Ok(0) };
        if input.len() < dialogue.needed {
            return Ok(0);
        }
        let mut frames = std::mem::take(&mut dialogue.frames);
        let mut taken = 0;
        let needed = loop {
            match frames.next(input, taken, &FrameLimits::WIDEST) {
                Ok(Next::Item(item)) => {
                    taken = item.end;
                    let body = &input[item.start..item.end];
                    self.reply_by_id(index, &item.head, body, now_ns)?;
                }
                Ok(Next::Incomplete { needed }) => break needed,
                Err(error) => {
                    self.book.wrong();
                    return Err(error.to_string());
                }
            }
        };
        frames.forget();
        let epoch = frames.epoch();
        if let Some(dialogue) = &mut self.links[index as usize].dialogue {
            (dialogue.frames, dialogue.needed) = (frames, needed);
        }
        if self.is_cluster && self.slots.is_older_than(epoch) {
            self.refresh_by_topology(now_ns);
        }
        Ok(taken)
    }

    #[inline]
    fn reply_by_id(
        &mut self,
        index: u32,
        head: &ReplyHead,
        body: &[u8],
        now_ns: u64,
    ) -> Result<(), String> {
        let link = &mut self.links[index as usize];
        let awaited = link.dialogue.as_mut().and_then(|dialogue| dialogue.take(head.id));
        let Some(pending) = awaited else { return self.reply_to_nothing(index, head, body) };
        let lane = link.lane;
        self.last_reply_ns = now_ns;
        let is_moved = head.status() == Some(Status::Moved);
        if self.is_cluster && is_moved && self.send_on(lane, &pending, body) {
            return Ok(());
        }
        let verdict = self.lanes[lane as usize].source.judge_binary(&pending.op, head, body);
        let latency_ns = now_ns.saturating_sub(pending.start_ns);
        self.book.judged(pending.op.command, latency_ns, verdict, pending.is_counted);
        self.answered(lane, now_ns);
        Ok(())
    }

    /// Takes a reply that no request of the workload waits for.
    #[cold]
    fn reply_to_nothing(
        &mut self,
        index: u32,
        head: &ReplyHead,
        body: &[u8],
    ) -> Result<(), String> {
        if head.opcode & Opcode::PUSH != 0 {
            return Ok(());
        }
        let is_error = head.status().is_none_or(Status::is_error);
        if head.id == TOPOLOGY_ID {
            // An error, or nonsense, leaves what is known; the next frame's epoch asks again.
            if let Ok(topology) = Topology::read(body) {
                let _ = self.slots.follow(None, &topology, &self.host);
            }
            return Ok(());
        }
        let link = &mut self.links[index as usize];
        let is_greeting = link.state == State::Greeting && head.id >= OWN_ID;
        let Some(dialogue) = link.dialogue.as_mut().filter(|_| is_greeting) else {
            self.book.wrong();
            let said = if is_error { format!(": {}", body.escape_ascii()) } else { String::new() };
            return Err(format!("the server said something that nothing had asked for{said}"));
        };
        if is_error {
            return Err(format!("the server answers {}", body.escape_ascii()));
        }
        if head.id == HELLO_ID && self.is_cluster {
            let answer = Answer::read(body).map_err(|error| format!("hello: {error}"))?;
            // After a new start of the server it may be another one.
            let _ = self.slots.follow(Some(answer.life), &answer.topology, &self.host);
        }
        dialogue.greetings = dialogue.greetings.saturating_sub(1);
        if dialogue.greetings == 0 {
            link.state = State::Open;
            mark(&mut self.dirty, link, index);
        }
        Ok(())
    }

    /// Sends a request on to the node that a reply names; whether that could be done.
    fn send_on(&mut self, lane: u32, pending: &Pending, text: &[u8]) -> bool {
        let Role::Asked { redirects } = pending.role else { return false };
        let Some(redirect) = Redirect::of(text) else { return false };
        self.book.redirected(false);
        let Ok(node) = self.slots.moved(&redirect, &self.host) else { return false };
        if redirects >= REDIRECTS_MAX {
            return false;
        }
        let index = self.link_to(lane as usize, node);
        let op = self.lanes[lane as usize].source.again(&pending.op);
        let role = Role::Asked { redirects: redirects + 1 };
        self.write_binary(lane, index, &op, Pending { op, role, ..*pending });
        true
    }

    /// Adds a request to what a connection sends next.
    pub(super) fn write_binary(&mut self, lane: u32, index: u32, op: &Op, pending: Pending) {
        let source = &mut self.lanes[lane as usize].source;
        let link = &mut self.links[index as usize];
        if let Some(dialogue) = &mut link.dialogue {
            let write = |id, frame: &mut RequestFrame| source.write_binary(op, id, frame);
            dialogue.push(pending, &mut link.out, write);
        }
        mark(&mut self.dirty, link, index);
    }

    /// Asks some core which serves what by now.
    pub(super) fn refresh_by_topology(&mut self, now_ns: u64) {
        if now_ns < self.may_refresh_at_ns {
            return;
        }
        self.may_refresh_at_ns = now_ns + REFRESH_NS;
        let open = self.links.iter_mut().zip(0..).find(|(link, _)| link.state == State::Open);
        let Some((link, index)) = open else { return };
        let mut frame = RequestFrame::default();
        let head = RequestHead::new(TOPOLOGY_ID, Opcode::Topology);
        frame.push(head, &Extras::default(), &[], &[]).expect("an empty frame has room");
        frame.finish(&mut link.out);
        mark(&mut self.dirty, link, index);
    }
}
