//! What happens on upstreams: they are made and end, requests leave, replies come in. Whoever has taken an upstream
//! out of the core's table hands it to [`Core::settle_upstream`] at last, and only then lets its client go on, who
//! may need it again.

use std::net::SocketAddr;

use socket2::SockAddr;

use super::super::connection::{Block, Connection, State};
use super::super::core::Core;
use super::super::link::{new_socket, watch_over};
use super::super::link_traffic::dialing_nonce;
use super::super::ring::{Completion, Token, is_passing};
use super::replies::{Delivery, read_upstream};
use super::upstream::{End, Phase, Upstream};
use super::{Forwards, leader_of};
use crate::command::session_token::SessionToken;
use crate::limits::{
    FORWARD_HANDSHAKE_MS, FORWARD_IDLE_MS, FORWARDS_MADE_MAX, PENDING_OUTPUT_BYTES_MAX, TICK_MS,
};
use crate::protocol::{Proto, Reply};
use crate::replica::link::{Dialing, Purpose};
use crate::types::{CoreId, MonoUs, NodeId, ShardId};

/// What a client is answered whose command can't have been carried out.
const NOT_SENT: &str = "CLUSTERDOWN The node that leads the hash slot can't be reached";
/// What a client is answered whose command may have been.
const FATE_UNKNOWN: &str = "CLUSTERDOWN The node that leads the hash slot was lost: whether this command has been \
                            carried out is not known";

impl Forwards {
    /// Takes one out, to be put back or dropped.
    pub(super) fn take(&mut self, token: Token) -> Option<Box<Upstream>> {
        self.all.remove(&token)
    }

    fn put(&mut self, upstream: Box<Upstream>) {
        self.all.insert(upstream.token, upstream);
    }

    /// One of them.
    pub(super) fn get(&self, token: Token) -> Option<&Upstream> {
        self.all.get(&token).map(|upstream| &**upstream)
    }

    /// One that is about to get something to send.
    pub(super) fn get_to_send(&mut self, token: Token) -> Option<&mut Upstream> {
        if self.unsent.last() != Some(&token) {
            self.unsent.push(token);
        }
        self.all.get_mut(&token).map(|upstream| &mut **upstream)
    }

    /// Bytes of memory held for them.
    pub(in crate::runtime) fn memory_bytes(&self) -> usize {
        self.all.values().map(|upstream| upstream.memory_bytes()).sum()
    }

    fn next_token(&mut self) -> Token {
        self.last_token = self.last_token.wrapping_add(1);
        Token { index: self.last_token, generation: 0 }
    }
}

impl Core<'_> {
    // --- they are made ---------------------------------------------------------------------------

    /// A connection's upstream to a node, made if there is none. None if there is no room for one more.
    pub(super) fn upstream_for(
        &mut self,
        connection: &mut Connection,
        to: NodeId,
        shards: &[ShardId],
    ) -> Option<Token> {
        // From now on its core is this one.
        connection.placed = true;
        let now = self.engine.now.mono;
        let token = connection.forward.as_ref().and_then(|forward| forward.to(to));
        if let Some(token) = token
            && let Some(upstream) = self.forwards.all.get_mut(&token)
        {
            upstream.used_at = now;
            return Some(token);
        }
        let address = self.address_of(to, shards.first().copied())?;
        if !self.node.forwards.admit() {
            return None;
        }
        let socket = match new_socket(address) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!("no connection to another node can be made: {error}");
                self.node.forwards.leave();
                return None;
            }
        };
        watch_over(&socket);
        let token = self.forwards.next_token();
        let socket = (socket, SockAddr::from(address));
        let upstream = Box::new(Upstream::new(token, connection.token, to, socket, now));
        connection.forward.get_or_insert_default().upstreams.push((to, token));
        self.forwards.waiting.push_back(token);
        self.forwards.put(upstream);
        Some(token)
    }

    /// Where a node takes links on the core that runs a shard.
    fn address_of(&self, node: NodeId, shard: Option<ShardId>) -> Option<SocketAddr> {
        let member = self.node.members.find_server(node)?;
        let core = shard.and_then(|shard| member.owners.get(usize::from(shard.0)).copied());
        let core = core.unwrap_or(CoreId(0));
        Some(SocketAddr::new(member.ip?, member.cluster_port.checked_add(core.0)?))
    }

    /// Begins to make those whose turn it is.
    fn dial_upstreams(&mut self) {
        while self.forwards.dialing < FORWARDS_MADE_MAX
            && let Some(token) = self.forwards.waiting.pop_front()
        {
            let Some(mut upstream) = self.forwards.take(token) else { continue };
            if !upstream.is_closing && matches!(upstream.phase, Phase::Waiting) {
                self.dial_upstream(&mut upstream);
            }
            self.settle_upstream(upstream);
        }
    }

    fn dial_upstream(&mut self, upstream: &mut Upstream) {
        let Some(links) = &self.links else { return };
        let options = &links.options;
        // Without randomness it is given up when its time is over.
        let Ok(nonce) = dialing_nonce(options) else { return };
        let dialing = Dialing::new(&options.secret, (options.me, self.id), upstream.to, nonce);
        upstream.phase = Phase::Dialing(Box::new(dialing.with_purpose(Purpose::Commands)));
        upstream.is_connecting = true;
        self.forwards.dialing += 1;
        self.ring.connect_forward(&upstream.socket, upstream.token, &upstream.address);
    }

    /// An upstream is connected, or is not.
    pub(in crate::runtime) fn forward_connected(&mut self, completion: Completion) {
        let Some(mut upstream) = self.take_upstream_of(completion.token) else { return };
        upstream.is_connecting = false;
        if completion.result < 0 {
            return self.end_upstream(upstream, End::Unreachable);
        }
        if let Phase::Dialing(dialing) = &upstream.phase {
            upstream.sending.extend_from_slice(&dialing.hello());
            upstream.is_sending = true;
            self.ring.send_forward(&upstream.socket, upstream.token, &upstream.sending);
        }
        self.settle_upstream(upstream);
    }

    // --- requests leave --------------------------------------------------------------------------

    /// Lets all requests leave that wait for it.
    #[inline]
    pub(in crate::runtime) fn send_forwards(&mut self) {
        if !self.forwards.unsent.is_empty() {
            self.send_unsent_forwards();
        }
    }

    fn send_unsent_forwards(&mut self) {
        self.dial_upstreams();
        for token in std::mem::take(&mut self.forwards.unsent) {
            if let Some(upstream) = self.forwards.all.get_mut(&token)
                && upstream.start_send()
            {
                self.ring.send_forward(&upstream.socket, token, &upstream.sending);
            }
        }
    }

    /// Requests have left, or could not.
    pub(in crate::runtime) fn forward_sent(&mut self, completion: Completion) {
        let Some(mut upstream) = self.take_upstream_of(completion.token) else { return };
        match usize::try_from(completion.result) {
            Ok(count) if !upstream.is_closing => {
                self.engine.metrics.link_output_bytes.add(count as u64);
                if !upstream.note_sent(count) {
                    let rest = &upstream.sending[upstream.sent..];
                    self.ring.send_forward(&upstream.socket, upstream.token, rest);
                    return self.forwards.put(upstream);
                }
                // What has gathered meanwhile leaves at the end of the turn.
                self.settle_or_send(upstream);
            }
            Ok(_) => {
                upstream.is_sending = false;
                self.settle_upstream(upstream);
            }
            Err(_) => {
                upstream.is_sending = false;
                self.end_upstream(upstream, End::Lost);
            }
        }
    }

    // --- replies come ----------------------------------------------------------------------------

    /// Replies have come, or none will come any more.
    pub(in crate::runtime) fn forward_received(&mut self, completion: Completion, bytes: &[u8]) {
        let Some(mut upstream) = self.take_upstream_of(completion.token) else { return };
        if !completion.more {
            upstream.is_receiving = false;
        }
        if upstream.is_closing {
            return self.settle_upstream(upstream);
        }
        match completion.result {
            1.. => self.engine.metrics.link_input_bytes.add(bytes.len() as u64),
            0 => return self.end_upstream(upstream, End::Lost),
            errno if is_passing(-errno) => return self.settle_upstream(upstream),
            _ => return self.end_upstream(upstream, End::Lost),
        }
        let mut delivery = Delivery::of(&upstream);
        let read = read_upstream(&mut upstream, bytes, &mut delivery);
        if read == Ok(true) {
            self.forwards.dialing -= 1;
        }
        delivery.is_idle = upstream.owed == 0;
        if read.is_ok() {
            self.settle_or_send(upstream);
            self.deliver_forwarded(delivery);
        } else {
            // What came before holds.
            self.forwards.put(upstream);
            let token = delivery.upstream;
            self.deliver_forwarded(delivery);
            if let Some(upstream) = self.forwards.take(token) {
                self.end_upstream(upstream, End::Lost);
            }
        }
    }

    fn settle_or_send(&mut self, upstream: Box<Upstream>) {
        let token = upstream.token;
        self.settle_upstream(upstream);
        self.forwards.unsent.push(token);
    }

    /// Gives a client replies that have come from another node, and lets it go on.
    fn deliver_forwarded(&mut self, delivery: Delivery) {
        let Some(mut connection) = self.connections.take(delivery.client) else { return };
        if !connection.output.has_ended() {
            for (ticket, replies) in delivery.replies {
                connection.output.fill(ticket, replies);
            }
        }
        let shard_count = self.node.slots.shard_count();
        let mut has_lost_token = delivery.has_lost_token;
        for text in delivery.tokens {
            match SessionToken::parse(&text, shard_count) {
                Ok(token) => connection.session.depend_on(&token),
                Err(_) => has_lost_token = true,
            }
        }
        if let Some(forward) = &mut connection.forward {
            forward.has_lost_token |= has_lost_token;
            if delivery.is_idle || delivery.has_ended {
                forward.under_way.retain(|(_, to)| *to != delivery.to);
            }
            if delivery.has_ended {
                forward.upstreams.retain(|(_, token)| *token != delivery.upstream);
            }
        }
        if !connection.is_waiting() {
            connection.left_bytes = 0;
            if connection.is_blocked_by(Block::Replies)
                || connection.is_blocked_by(Block::Forwarding)
            {
                connection.state = State::Running;
                self.resume(&mut connection);
            }
        }
        self.mark_dirty(&mut connection);
        self.connections.put(connection);
    }

    /// Receives for a connection only what its client reads, but for what all else waits behind.
    #[inline]
    pub(in crate::runtime) fn pace_upstreams(&mut self, connection: &Connection) {
        if connection.has_upstreams() {
            self.pace_upstreams_of(connection);
        }
    }

    fn pace_upstreams_of(&mut self, connection: &Connection) {
        let Some(forward) = &connection.forward else { return };
        let output = &connection.output;
        let (has_much, can_send) =
            (output.pending_bytes() > PENDING_OUTPUT_BYTES_MAX, output.can_send());
        for (_, token) in &forward.upstreams {
            let Some(upstream) = self.forwards.all.get_mut(token) else { continue };
            // What is being made has a time to be made in.
            let pauses = has_much
                && matches!(upstream.phase, Phase::Open)
                && (can_send || !upstream.brings(output.oldest_ticket()));
            if upstream.is_paused != pauses {
                upstream.is_paused = pauses;
                if pauses && upstream.is_receiving {
                    self.ring.cancel_forward_receive(*token);
                } else if !pauses && let Some(upstream) = self.forwards.take(*token) {
                    self.settle_upstream(upstream);
                }
            }
        }
    }

    // --- they end --------------------------------------------------------------------------------

    fn take_upstream_of(&mut self, token: Token) -> Option<Box<Upstream>> {
        let upstream = self.forwards.take(token);
        if upstream.is_none() {
            self.engine.metrics.stale_completions.increment();
        }
        upstream
    }

    /// Ends an upstream. Its client is answered whatever it is still owed.
    fn end_upstream(&mut self, mut upstream: Box<Upstream>, end: End) {
        if upstream.is_closing {
            return self.settle_upstream(upstream);
        }
        let mut delivery = Delivery::of(&upstream);
        delivery.has_ended = true;
        let has_carried = matches!(upstream.phase, Phase::Open);
        delivery.has_lost_token = has_carried && (upstream.has_untold || upstream.owes_token());
        let proto = Proto::Resp2;
        for (ticket, was_sent) in upstream.take_owed() {
            let text = if was_sent { FATE_UNKNOWN } else { NOT_SENT };
            let mut reply = Vec::new();
            Reply::new(&mut reply, proto).error(text);
            delivery.push(ticket, &reply);
            self.engine.metrics.forwards_failed.increment();
            self.engine.metrics.count_error(text);
        }
        if end != End::Unused {
            tracing::debug!(node = upstream.to.0, ?end, "a way to another node ends");
        }
        self.close_upstream(upstream);
        self.deliver_forwarded(delivery);
    }

    fn close_upstream(&mut self, mut upstream: Box<Upstream>) {
        if upstream.is_dialing() {
            self.forwards.dialing -= 1;
            upstream.phase = Phase::Waiting;
        }
        upstream.shut_down();
        self.settle_upstream(upstream);
    }

    /// Ends the upstreams of a connection that is about to go.
    #[inline]
    pub(in crate::runtime) fn end_upstreams(&mut self, connection: &mut Connection) {
        let Some(forward) = connection.forward.take() else { return };
        for (_, token) in forward.upstreams {
            if let Some(upstream) = self.forwards.take(token) {
                if upstream.is_closing {
                    self.forwards.put(upstream);
                } else {
                    self.close_upstream(upstream);
                }
            }
        }
    }

    /// Starts what the upstream needs next and puts it back, or lets it go.
    fn settle_upstream(&mut self, mut upstream: Box<Upstream>) {
        if upstream.is_closing {
            if upstream.is_at_rest() {
                self.node.forwards.leave();
                return;
            }
            self.ring.cancel_forward(upstream.token);
            return self.forwards.put(upstream);
        }
        let may_receive = !upstream.is_connecting && !matches!(upstream.phase, Phase::Waiting);
        if may_receive && !upstream.is_receiving && !upstream.is_paused {
            upstream.is_receiving = true;
            self.ring.receive_forward(&upstream.socket, upstream.token);
        }
        self.forwards.put(upstream);
    }

    // --- time ------------------------------------------------------------------------------------

    /// Ten times a second: what takes too long ends, and so does what nobody uses.
    pub(in crate::runtime) fn tick_forwards(&mut self) {
        self.forwards.has_news = !self.forwards.leaderless.is_empty();
        if self.forwards.all.is_empty() {
            return;
        }
        let now = self.engine.now.mono;
        let since_tick = now.0.saturating_sub(self.forwards.ticked_at.0);
        self.forwards.ticked_at = now;
        // A process that was stopped has not looked either.
        let was_stopped = since_tick > u64::from(5 * TICK_MS) * 1000;
        let mut ended = Vec::new();
        let Forwards { all, silent, unsent, .. } = &mut self.forwards;
        let doubt_us = self.config.election_timeout_ms * 1000;
        for upstream in all.values_mut().filter(|upstream| !upstream.is_closing) {
            if was_stopped {
                (upstream.begun_at, upstream.doubted_since) = (now, None);
            }
            upstream.shrink();
            let connection = self.connections.get_mut(upstream.client);
            let forward = connection.and_then(|connection| connection.forward.as_deref());
            let is_up = !silent.contains(&upstream.to);
            let leads = |shard| leader_of(self.node, shard) == Some(upstream.to);
            let leads = forward.is_some_and(|forward| forward.all_led(upstream.to, leads));
            let leads = leads && is_up;
            let watches = forward.is_some_and(|forward| forward.watches_by(upstream.token));
            // What was written by a way that ends is told first.
            if upstream.has_untold && is_unused(upstream, now) {
                upstream.ask_token();
                unsent.push(upstream.token);
            }
            if let Some(end) = reason_to_end(upstream, (leads, watches), now, doubt_us) {
                ended.push((upstream.token, end));
            }
        }
        for (token, end) in ended {
            if let Some(upstream) = self.forwards.take(token) {
                self.end_upstream(upstream, end);
            }
        }
        self.dial_upstreams();
    }
}

/// Why an upstream ends, if it does: `leads` says whether the other node leads what it was asked for, as far as is
/// known, `watches` whether the client watches keys there.
fn reason_to_end(
    upstream: &mut Upstream,
    (leads, watches): (bool, bool),
    now: MonoUs,
    doubt_us: u64,
) -> Option<End> {
    let since = |then: MonoUs| now.0.saturating_sub(then.0);
    if !matches!(upstream.phase, Phase::Open) {
        let is_late = since(upstream.begun_at) >= FORWARD_HANDSHAKE_MS * 1000;
        return is_late.then_some(End::Unreachable);
    }
    if upstream.owed == 0 {
        upstream.doubted_since = None;
        return (is_unused(upstream, now) && !watches).then_some(End::Unused);
    }
    upstream.used_at = now;
    if leads {
        upstream.doubted_since = None;
        return None;
    }
    let doubted_since = *upstream.doubted_since.get_or_insert(now);
    (since(doubted_since) >= doubt_us).then_some(End::Deposed)
}

/// Whether nothing has gone by a way for long.
fn is_unused(upstream: &Upstream, now: MonoUs) -> bool {
    let is_long_ago = now.0.saturating_sub(upstream.used_at.0) >= FORWARD_IDLE_MS * 1000;
    is_long_ago && matches!(upstream.phase, Phase::Open) && upstream.expected.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::upstream::Expected;
    use super::super::upstream::tests::upstream;
    use super::{End, FORWARD_HANDSHAKE_MS, FORWARD_IDLE_MS, MonoUs, reason_to_end};

    const DOUBT_US: u64 = 300_000;
    const LEADS: (bool, bool) = (true, false);
    const DOES_NOT: (bool, bool) = (false, false);

    #[test]
    fn what_is_not_made_in_time_is_given_up() {
        let mut upstream = upstream();
        let late = FORWARD_HANDSHAKE_MS * 1000;
        assert_eq!(reason_to_end(&mut upstream, LEADS, MonoUs(late - 1), DOUBT_US), None);
        let end = reason_to_end(&mut upstream, LEADS, MonoUs(late), DOUBT_US);
        assert_eq!(end, Some(End::Unreachable));
    }

    #[test]
    fn what_nobody_uses_ends_unless_it_watches() {
        let mut upstream = upstream();
        upstream.open(Vec::new());
        let idle = MonoUs(FORWARD_IDLE_MS * 1000);
        assert_eq!(reason_to_end(&mut upstream, DOES_NOT, MonoUs(idle.0 - 1), DOUBT_US), None);
        assert_eq!(reason_to_end(&mut upstream, (true, true), idle, DOUBT_US), None);
        let end = reason_to_end(&mut upstream, DOES_NOT, idle, DOUBT_US);
        assert_eq!(end, Some(End::Unused));
        // While a reply is owed it is used.
        upstream.say(&[b"GET", b"k"], Expected::Reply(1));
        upstream.owed = 1;
        assert_eq!(reason_to_end(&mut upstream, LEADS, idle, DOUBT_US), None);
        assert_eq!(upstream.used_at, idle);
    }

    /// A node may lead no more for as long as it takes to say so.
    #[test]
    fn who_leads_no_more_is_waited_for_a_while() {
        let mut upstream = upstream();
        upstream.open(Vec::new());
        upstream.owed = 1;
        let mut at = |now, leads| reason_to_end(&mut upstream, leads, MonoUs(now), DOUBT_US);
        assert_eq!(at(1_000, DOES_NOT), None);
        assert_eq!(at(DOUBT_US, DOES_NOT), None);
        assert_eq!(at(DOUBT_US + 500, LEADS), None);
        assert_eq!(at(DOUBT_US + 1_000, DOES_NOT), None);
        assert_eq!(at(2 * DOUBT_US + 1_000, DOES_NOT), Some(End::Deposed));
    }
}
