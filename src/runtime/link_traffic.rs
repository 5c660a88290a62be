//! What happens on links: they are dialed and accepted, made, and end; messages come in. Whoever has taken a
//! link out of the core's list hands it to [`Core::settle_link`] at last.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use bytes::Buf;
use socket2::{SockAddr, Socket};

use super::core::Core;
use super::link::{Link, LinkEnd, Phase, new_socket, prepare};
use super::links::{LinkOptions, announcement, note_member, note_silence};
use super::meetings::take_in;
use super::ring::{Completion, Token, is_passing};
use crate::limits::LINKS_UNKNOWN_MAX;
use crate::node::Member;
use crate::node::channels::Kind;
use crate::replica::link::{
    Announcement, Dialing, Farewell, HELLO_BYTES, Hello, Item, LinkFault, NONCE_BYTES, Nonce,
    Purpose, Welcomed, farewell, hello_nonce, welcome,
};
use crate::replica::{Fault, ShardMessage};
use crate::types::{CoreId, NodeId};

impl Core<'_> {
    // --- links come ------------------------------------------------------------------------------

    /// Starts to accept on a listener for links.
    pub(super) fn arm_link_listener(&mut self, index: usize) {
        let Some(links) = &self.links else { return };
        let token = Token { index: u32::try_from(index).unwrap_or(u32::MAX), generation: 0 };
        self.ring.accept_links(links.listeners[index].as_raw_fd(), token);
    }

    /// Somebody has connected to a port for links, or accepting failed.
    pub(super) fn link_accepted(&mut self, completion: Completion) {
        let index = completion.token.index as usize;
        if completion.result >= 0 {
            // SAFETY: the completion hands us a new descriptor that nobody else knows.
            let socket = unsafe { OwnedFd::from_raw_fd(completion.result) };
            self.take_link(Socket::from(socket));
        } else {
            let error = std::io::Error::from_raw_os_error(-completion.result);
            tracing::warn!("could not accept a link: {error}");
        }
        if completion.more {
            return;
        }
        if completion.result >= 0 {
            self.arm_link_listener(index);
        } else if let Some(links) = self.links.as_deref_mut() {
            links.resting.push(index);
        }
    }

    fn take_link(&mut self, socket: Socket) {
        // Who is gone already has no address any more.
        let Ok(address) = socket.peer_addr() else { return };
        self.make_room_for_unknown();
        let Some(links) = self.links.as_deref_mut() else { return };
        prepare(&socket);
        let token = links.next_token();
        let now = self.engine.now.mono;
        let link = Link::new(token, (socket, address), Phase::Accepted, now);
        self.settle_link(Box::new(link));
    }

    /// Lets go of who has been there longest without saying who he is, if there are too many: the nodes of
    /// the cluster do so at once.
    fn make_room_for_unknown(&mut self) {
        let Some(links) = &self.links else { return };
        let unknown =
            || links.iter().filter(|it| it.is_incoming() && !it.is_known() && !it.is_closing);
        if unknown().count() >= LINKS_UNKNOWN_MAX {
            let oldest = unknown().min_by_key(|link| link.token.index).map(|link| link.token);
            oldest.into_iter().for_each(|token| self.end_link_of(token, LinkEnd::Crowd));
        }
    }

    /// Begins a link to another node.
    pub(super) fn dial(&mut self, to: NodeId) {
        let now = self.engine.now.mono;
        let member = self.node.members.get(to);
        let Some(links) = self.links.as_deref_mut() else { return };
        let (options, token) = (links.options.clone(), links.next_token());
        let Some(route) = links.route_mut(to) else { return };
        let (me, core) = ((options.me, self.id), route.core(self.id));
        let address = member.and_then(|member| {
            Some(SocketAddr::new(member.ip?, member.cluster_port.checked_add(core.0)?))
        });
        let Some(address) = address else {
            // Its name has not been resolved, or its ports end before that core's.
            route.cores = 0;
            return route.back_off(me, now);
        };
        let (socket, nonce) =
            match new_socket(address).and_then(|it| Ok((it, dialing_nonce(&options)?))) {
                Ok(both) => both,
                Err(error) => {
                    tracing::warn!("could not begin a link: {error}");
                    return route.back_off(me, now);
                }
            };
        route.link = Some(token);
        let dialing = Box::new(Dialing::new(&options.secret, me, to, nonce));
        let phase = Phase::Dialing { to, core, dialing };
        let mut link = Box::new(Link::new(token, (socket, SockAddr::from(address)), phase, now));
        link.is_connecting = true;
        self.ring.connect_link(&link.socket, token, &link.address);
        links.put(link);
    }

    /// A link that was dialed is connected, or is not.
    pub(super) fn link_connected(&mut self, completion: Completion) {
        let Some(mut link) = self.take_link_of(completion.token) else { return };
        link.is_connecting = false;
        if completion.result < 0 {
            let error = std::io::Error::from_raw_os_error(-completion.result);
            self.end_link(&mut link, &error.into());
        } else if let Phase::Dialing { dialing, .. } = &link.phase {
            link.sending.extend_from_slice(&dialing.hello());
        }
        self.settle_link(link);
    }

    // --- bytes -----------------------------------------------------------------------------------

    /// Bytes have come over a link, or none will come any more.
    pub(super) fn link_received(&mut self, completion: Completion, bytes: &[u8]) {
        let Some(mut link) = self.take_link_of(completion.token) else { return };
        if !completion.more {
            link.is_receiving = false;
        }
        if !link.is_closing {
            let read = match completion.result {
                0 => Err(LinkEnd::Closed),
                1.. => {
                    link.heard_at = self.engine.now.mono;
                    self.engine.metrics.link_input_bytes.add(bytes.len() as u64);
                    link.input.extend_from_slice(bytes);
                    self.read_link(&mut link)
                }
                errno if is_passing(-errno) => Ok(()),
                errno => Err(std::io::Error::from_raw_os_error(-errno).into()),
            };
            if let Err(end) = read {
                self.end_link(&mut link, &end);
            }
        }
        let opened = match link.phase {
            Phase::Open { to, .. } if !link.is_closing => link.opened.take().map(|it| (to, it)),
            Phase::Open { .. }
            | Phase::Dialing { .. }
            | Phase::Accepted
            | Phase::Heard { .. }
            | Phase::Greeted { .. }
            | Phase::Guest { .. } => None,
        };
        self.settle_link(link);
        // From now on something can be said there.
        if let Some((to, incarnation)) = opened {
            self.node_is_up(to, incarnation);
        }
    }

    /// Bytes have left over a link, or could not.
    pub(super) fn link_sent(&mut self, completion: Completion) {
        let Some(mut link) = self.take_link_of(completion.token) else { return };
        match usize::try_from(completion.result) {
            Ok(count) if !link.is_closing => {
                self.engine.metrics.link_output_bytes.add(count as u64);
                if !link.note_sent(count) {
                    self.ring.send_link(&link.socket, link.token, &link.sending[link.sent..]);
                } else if let (Phase::Open { .. }, Some(links)) =
                    (&link.phase, self.links.as_deref_mut())
                {
                    // What has gathered meanwhile leaves at the end of the turn.
                    links.has_unsent = true;
                }
            }
            Ok(_) => link.is_sending = false,
            Err(_) => {
                link.is_sending = false;
                let error = std::io::Error::from_raw_os_error(-completion.result);
                self.end_link(&mut link, &error.into());
            }
        }
        self.settle_link(link);
    }

    fn read_link(&mut self, link: &mut Link) -> Result<(), LinkEnd> {
        loop {
            match &mut link.phase {
                Phase::Dialing { dialing, .. } => {
                    let Some(welcomed) = dialing.read(&link.input).map_err(LinkEnd::Fault)? else {
                        break;
                    };
                    link.input.advance(welcomed.length);
                    self.link_is_open(link, welcomed)?;
                }
                Phase::Open { .. } if link.input.is_empty() => break,
                // Nothing comes this way.
                Phase::Open { .. } => return Err(LinkEnd::Fault(Fault::Length.into())),
                Phase::Accepted => {
                    let Some(options) = self.links.as_deref().map(|links| &links.options) else {
                        break;
                    };
                    let hello = Hello::read(&options.secret, options.me, &link.input)?;
                    let Some(hello) = hello else { break };
                    link.input.advance(HELLO_BYTES);
                    self.welcome_link(link, &hello)?;
                }
                Phase::Greeted { from, reader } => {
                    let from = *from;
                    if !reader.confirm(&mut link.input)? {
                        break;
                    }
                    link.phase = Phase::Guest { from };
                }
                // Requests, for whom it becomes.
                Phase::Guest { .. } => break,
                Phase::Heard { from, core, reader, is_announced } => {
                    let (from, core, was_announced) = (*from, *core, *is_announced);
                    match reader.next(&mut link.input)? {
                        Some(Item::Announcement(told)) => {
                            let ip = link.address.as_socket().map(|address| address.ip());
                            self.node_announced((from, core), &told, ip)?;
                            // Who is refused was never there, and is not missed: another may go by its number.
                            *is_announced = true;
                            if !was_announced {
                                self.replace_link(from, core);
                            }
                        }
                        Some(Item::Nodes(list)) if was_announced => {
                            self.node.members.merge(&list.nodes);
                            if list.leaders.len() == self.node.replicas.len() {
                                self.node.members.hear_leaders(&list.leaders);
                            }
                            self.node.members.take_report(from, list.heard);
                        }
                        Some(Item::Message(message)) if was_announced => {
                            self.take_message(from, message)?;
                        }
                        Some(Item::News(news)) if was_announced => {
                            self.take_news(Kind::Channel, &news);
                        }
                        Some(Item::ShardNews(news)) if was_announced => {
                            self.take_news(Kind::Shard, &news);
                        }
                        Some(
                            Item::Nodes(_) | Item::Message(_) | Item::News(_) | Item::ShardNews(_),
                        ) => {
                            return Err(LinkEnd::Fault(Fault::Field.into()));
                        }
                        None => break,
                    }
                }
            }
        }
        Ok(())
    }

    // --- links are made --------------------------------------------------------------------------

    /// The node that was dialed has shown that it is that.
    fn link_is_open(&mut self, link: &mut Link, welcomed: Welcomed) -> Result<(), LinkEnd> {
        let Phase::Dialing { to, core, .. } = link.phase else { return Ok(()) };
        let Welcomed { from, announcement: told, mut writer, .. } = welcomed;
        self.check_shards(from, &told)?;
        if to == NodeId(0) {
            return Err(self.met(from, link, &told));
        }
        self.check_is_alone(from, &told)?;
        let Some(links) = self.links.as_deref_mut() else { return Ok(()) };
        let own = announcement(self.node, &links.options);
        let Some(route) = links.route_mut(to) else { return Err(LinkEnd::Left) };
        route.cores = told.cores;
        if route.core(self.id) != core {
            return Err(LinkEnd::Elsewhere);
        }
        route.tries = 0;
        links.note_welcome();
        writer.announcement(&own);
        if self.id == CoreId(0) {
            writer.nodes(&links.told);
        }
        link.phase = Phase::Open { to, writer: Box::new(writer) };
        links.has_unsent = true;
        link.opened = Some(told.incarnation);
        tracing::info!("node {} is linked to, at {}", to.0, link.peer());
        Ok(())
    }

    /// Somebody who knows the secret wants a link.
    fn welcome_link(&mut self, link: &mut Link, hello: &Hello) -> Result<(), LinkEnd> {
        let (from, core) = (hello.from(), hello.core());
        let Some(links) = self.links.as_deref() else { return Ok(()) };
        let (secret, me) = (&links.options.secret, links.options.me);
        let nonce = random_nonce()?;
        if self.node.members.is_removed(me) {
            return Err(LinkEnd::Removed(me));
        }
        let is_other = |it: Member| it.is_other(hello.incarnation());
        let refusal = if self.node.members.is_removed(from) {
            Some(Farewell::Removed)
        } else if self.node.members.get(from).is_some_and(is_other) {
            Some(Farewell::Double)
        } else {
            None
        };
        if let Some(why) = refusal {
            // It closes when it has read that.
            farewell(secret, (me, hello), nonce, why, &mut link.sending);
            return Ok(());
        }
        let own = announcement(self.node, &links.options);
        let reader = welcome(secret, (me, hello), nonce, &own, &mut link.sending);
        let reader = Box::new(reader);
        link.phase = match hello.purpose() {
            Purpose::Messages => Phase::Heard { from, core, reader, is_announced: false },
            Purpose::Commands => Phase::Greeted { from, reader },
        };
        Ok(())
    }

    fn check_shards(&self, node: NodeId, told: &Announcement) -> Result<(), LinkEnd> {
        let (theirs, ours) = (told.shards(), usize::from(self.node.slots.shard_count()));
        if theirs == ours { Ok(()) } else { Err(LinkEnd::Shards { node, theirs, ours }) }
    }

    /// Two processes with one number would take turns in being that node: the one that is heard from stays.
    fn check_is_alone(&self, node: NodeId, told: &Announcement) -> Result<(), LinkEnd> {
        let is_other = |it: Member| it.is_other(told.incarnation);
        if self.node.members.get(node).is_some_and(is_other) {
            return Err(LinkEnd::Double(node));
        }
        Ok(())
    }

    /// This node is told that another process has its number. One that is welcome nowhere for that is no use, and ends.
    fn note_double(&mut self) {
        let now = self.engine.now.mono;
        let Some(links) = self.links.as_deref_mut() else { return };
        if links.note_double(now) {
            self.node.fail(format!(
                "Another process is node {}, and the other nodes hear from that one: give every node a --node-id of \
                 its own, or stop the other first.",
                links.options.me.0
            ));
            self.ask_to_stop();
        }
    }

    /// Another node has told of itself: it is there.
    fn node_announced(
        &mut self,
        (from, core): (NodeId, CoreId),
        told: &Announcement,
        ip: Option<IpAddr>,
    ) -> Result<(), LinkEnd> {
        self.check_shards(from, told)?;
        self.check_is_alone(from, told)?;
        if self.node.members.get(from).is_none() {
            // It knows the secret, and has shown that it is there.
            take_in(self.node, from, told, ip)?;
        }
        if (self.id, core) == (CoreId(0), CoreId(0)) {
            note_member(self.node, from, told, self.engine.now.unix);
        }
        // Whoever has just come can be dialed.
        let route = self.links.as_deref_mut().and_then(|links| links.route_mut(from));
        if route.is_some_and(|route| route.link.is_none()) {
            self.dial(from);
        }
        Ok(())
    }

    /// A core of another node has made a new link: an older one, if there is one, is dead. The new one is not in
    /// the list.
    fn replace_link(&mut self, from: NodeId, core: CoreId) {
        let Some(links) = &self.links else { return };
        let is_old = |link: &&Link| {
            let Phase::Heard { from: node, core: its, reader, .. } = &link.phase else {
                return false;
            };
            (*node, *its) == (from, core) && reader.is_confirmed() && !link.is_closing
        };
        let old: Vec<Token> = links.iter().filter(is_old).map(|link| link.token).collect();
        old.into_iter().for_each(|token| self.end_link_of(token, LinkEnd::Replaced));
    }

    fn take_message(&mut self, from: NodeId, message: ShardMessage) -> Result<(), LinkEnd> {
        let me = self.node.id.unwrap_or_default();
        let is_there = message.shard.0 < self.node.slots.shard_count();
        if !is_there || !message.is_between(from, me) {
            return Err(LinkEnd::Stray(message.shard));
        }
        self.peer_message(from, message);
        Ok(())
    }

    // --- links end -------------------------------------------------------------------------------

    fn take_link_of(&mut self, token: Token) -> Option<Box<Link>> {
        let link = self.links.as_deref_mut().and_then(|links| links.take(token));
        if link.is_none() {
            self.engine.metrics.stale_completions.increment();
        }
        link
    }

    /// Ends a link that is in the list.
    pub(super) fn end_link_of(&mut self, token: Token, end: LinkEnd) {
        let link = self.links.as_deref_mut().and_then(|links| links.take(token));
        if let Some(mut link) = link {
            self.end_link(&mut link, &end);
            self.settle_link(link);
        }
    }

    /// Ends a link, once.
    fn end_link(&mut self, link: &mut Link, end: &LinkEnd) {
        if link.is_closing {
            return;
        }
        self.log_end(link, end);
        link.shut_down();
        if let LinkEnd::Fault(LinkFault::Removed) = end {
            // Whoever says so knows the secret.
            self.node.members.remove(self.node.id.unwrap_or_default());
        }
        if let LinkEnd::Fault(LinkFault::Double) = end {
            self.note_double();
        }
        match link.phase {
            Phase::Dialing { to: NodeId(0), .. } => self.meeting_is_over(link.token, end),
            Phase::Dialing { to, .. } => self.route_is_free(to, link.token, end),
            Phase::Open { to, .. } => {
                self.route_is_free(to, link.token, end);
                self.node_is_down(to);
            }
            Phase::Heard { from, core, is_announced, .. } => {
                let is_told = (self.id, core) == (CoreId(0), CoreId(0)) && is_announced;
                if is_told && !matches!(end, LinkEnd::Replaced) {
                    note_silence(self.node, from);
                }
            }
            Phase::Accepted | Phase::Greeted { .. } | Phase::Guest { .. } => {}
        }
    }

    fn route_is_free(&mut self, to: NodeId, token: Token, end: &LinkEnd) {
        let (now, id) = (self.engine.now.mono, self.id);
        let Some(links) = self.links.as_deref_mut() else { return };
        let me = links.options.me;
        let Some(route) = links.route_mut(to).filter(|route| route.link == Some(token)) else {
            return;
        };
        route.link = None;
        if matches!(end, LinkEnd::Elsewhere) {
            return self.dial(to);
        }
        // That core may be gone for good, if the node came back with fewer.
        route.cores = 0;
        route.back_off((me, id), now);
    }

    fn log_end(&mut self, link: &Link, end: &LinkEnd) {
        let now = self.engine.now.mono;
        let Some(links) = self.links.as_deref_mut() else { return };
        let peer = link.peer();
        let is_news = match (&link.phase, end) {
            // Of a crowd, those who stay too long are enough.
            (
                _,
                LinkEnd::Elsewhere
                | LinkEnd::Replaced
                | LinkEnd::Left
                | LinkEnd::Crowd
                | LinkEnd::Met(_),
            ) => false,
            (
                Phase::Dialing { to: NodeId(0), .. },
                LinkEnd::Io(_) | LinkEnd::Closed | LinkEnd::Handshake,
            ) => links.is_first_try(link.token),
            // One line for each time that a node is gone, unless there is more to say than that.
            (Phase::Dialing { to, .. }, LinkEnd::Io(_) | LinkEnd::Closed | LinkEnd::Handshake) => {
                links.route_mut(*to).is_some_and(|route| route.tries == 0)
            }
            // The other direction tells.
            (Phase::Heard { .. }, LinkEnd::Closed | LinkEnd::Io(_)) => false,
            (Phase::Accepted, LinkEnd::Closed) => false,
            // Its client may well have gone.
            (Phase::Greeted { .. } | Phase::Guest { .. }, LinkEnd::Closed | LinkEnd::Io(_)) => {
                false
            }
            (
                Phase::Dialing { .. }
                | Phase::Open { .. }
                | Phase::Accepted
                | Phase::Heard { .. }
                | Phase::Greeted { .. }
                | Phase::Guest { .. },
                _,
            ) => true,
        };
        if link.is_incoming() && (is_news || matches!(end, LinkEnd::Crowd)) {
            self.engine.metrics.links_cut.increment();
        }
        if !is_news {
            return tracing::debug!("a link with {peer} ends: {end}");
        }
        let Some(unheard) = links.complaints.next(now) else { return };
        let others = match unheard {
            0 => String::new(),
            count => format!(" ({count} more are not told of)"),
        };
        match &link.phase {
            Phase::Dialing { to: NodeId(0), .. } => {
                tracing::warn!("no node can be met at {peer}: {end}{others}");
            }
            Phase::Dialing { to, .. } => {
                tracing::warn!("node {} can't be linked to at {peer}: {end}{others}", to.0);
            }
            Phase::Open { to, .. } => {
                tracing::warn!("the link to node {} at {peer} is lost: {end}{others}", to.0);
            }
            Phase::Accepted => tracing::warn!("a link from {peer} is cut off: {end}{others}"),
            Phase::Heard { from, .. } | Phase::Greeted { from, .. } | Phase::Guest { from } => {
                tracing::warn!("a link from node {} at {peer} is cut off: {end}{others}", from.0);
            }
        }
    }

    /// Starts what the link needs next and puts it back, or lets it go.
    fn settle_link(&mut self, mut link: Box<Link>) {
        let Some(links) = self.links.as_deref_mut() else { return };
        if link.is_closing {
            if link.is_at_rest() {
                return;
            }
            self.ring.cancel_link(link.token);
            return links.put(link);
        }
        if let Phase::Guest { from } = link.phase {
            if link.is_at_rest() {
                return self.take_guest(*link, from);
            }
            // What is under way would bring its requests here.
            if link.is_receiving {
                self.ring.cancel_link_receive(link.token);
            }
            return links.put(link);
        }
        if !link.is_sending && !link.sending.is_empty() {
            (link.is_sending, link.said_at) = (true, self.engine.now.mono);
            self.ring.send_link(&link.socket, link.token, &link.sending);
        }
        if !link.is_receiving && !link.is_connecting {
            link.is_receiving = true;
            self.ring.receive_link(&link.socket, link.token);
        }
        links.put(link);
    }
}

/// A nonce to say hello with.
pub(super) fn dialing_nonce(options: &LinkOptions) -> std::io::Result<Nonce> {
    Ok(hello_nonce(options.incarnation, random_nonce()?))
}

pub(super) fn random_nonce() -> std::io::Result<Nonce> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(nonce)
}
