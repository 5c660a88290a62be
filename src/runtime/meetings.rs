//! How nodes come to know each other that did not from the start: core 0 dials an address without knowing which node
//! is there, is told, and hangs up. From then on that node is one to be linked to, and by that link it comes to know
//! this one.
//!
//! ```text
//! this node                              the other
//!   hello to node 0 ─────────────────►
//!   ◄───────────────── welcome: I am node 4
//!   notes node 4, and where it is
//!   hello to node 4 ─────────────────►
//!   announcement, all nodes ─────────►   notes this node and the others, and dials them
//! ```

use std::net::{IpAddr, SocketAddr};

use socket2::{SockAddr, Socket};

use super::core::Core;
use super::link::{Link, LinkEnd, Phase, new_socket};
use super::link_traffic::dialing_nonce;
use super::links::Links;
use super::ring::Token;
use crate::limits::{LINK_RETRY_MS_MAX, MEETING_MS, MEETINGS_MAX};
use crate::node::Node;
use crate::replica::link::{Announcement, Dialing, LinkFault, NodePlace, Nonce};
use crate::types::{CoreId, MonoUs, NodeId};

/// An address at which a node is that is to be met.
#[derive(Debug)]
pub(super) struct Meeting {
    address: SocketAddr,
    /// The link that is being made.
    link: Option<Token>,
    tries: u32,
    retry_at: MonoUs,
    /// When it is given up.
    until: MonoUs,
}

impl Links {
    fn meeting_mut(&mut self, token: Token) -> Option<&mut Meeting> {
        self.meetings.iter_mut().find(|meeting| meeting.link == Some(token))
    }

    /// Whether this is the first try of a meeting.
    pub(super) fn is_first_try(&mut self, token: Token) -> bool {
        self.meeting_mut(token).is_some_and(|meeting| meeting.tries <= 1)
    }
}

impl Core<'_> {
    /// Dials those who are to be met, as long as that takes.
    pub(super) fn attend_meetings(&mut self) {
        let now = self.engine.now.mono;
        if self.id != CoreId(0) {
            return;
        }
        let Some(links) = self.links.as_deref_mut() else { return };
        for address in self.node.members.take_meetings() {
            let is_known = links.meetings.iter().any(|meeting| meeting.address == address);
            if !is_known && links.meetings.len() < MEETINGS_MAX {
                let until = MonoUs(now.0 + MEETING_MS * 1000);
                let (link, tries, retry_at) = (None, 0, now);
                links.meetings.push(Meeting { address, link, tries, retry_at, until });
            }
        }
        links.meetings.retain(|meeting| meeting.link.is_some() || now < meeting.until);
        let is_due = |meeting: &&Meeting| meeting.link.is_none() && meeting.retry_at <= now;
        let due: Vec<SocketAddr> =
            links.meetings.iter().filter(is_due).map(|meeting| meeting.address).collect();
        due.into_iter().for_each(|address| self.dial_anyone(address));
    }

    /// Begins a link to whichever node is at an address.
    fn dial_anyone(&mut self, address: SocketAddr) {
        let now = self.engine.now.mono;
        let Some(links) = self.links.as_deref_mut() else { return };
        let (options, token) = (links.options.clone(), links.next_token());
        let begun: std::io::Result<(Socket, Nonce)> =
            new_socket(address).and_then(|socket| Ok((socket, dialing_nonce(&options)?)));
        let Some(meeting) = links.meetings.iter_mut().find(|it| it.address == address) else {
            return;
        };
        meeting.tries += 1;
        meeting.retry_at = MonoUs(now.0 + LINK_RETRY_MS_MAX * 1000);
        let (socket, nonce) = match begun {
            Ok(both) => both,
            Err(error) => return tracing::warn!("could not begin a link: {error}"),
        };
        meeting.link = Some(token);
        let (to, core) = (NodeId(0), CoreId(0));
        let dialing = Dialing::new(&options.secret, (options.me, self.id), to, nonce);
        let phase = Phase::Dialing { to, core, dialing: Box::new(dialing) };
        let mut link = Box::new(Link::new(token, (socket, SockAddr::from(address)), phase, now));
        link.is_connecting = true;
        self.ring.connect_link(&link.socket, token, &link.address);
        links.put(link);
    }

    /// It has been found out who is there: why the link ends by which it was.
    pub(super) fn met(&mut self, node: NodeId, link: &Link, told: &Announcement) -> LinkEnd {
        let Some(ip) = link.address.as_socket().map(|address| address.ip()) else {
            return LinkEnd::Closed;
        };
        // There may be another with the number of one that is linked to.
        if self.node.members.get(node).is_some_and(|it| it.is_other(told.incarnation)) {
            return LinkEnd::Double(node);
        }
        match take_in(self.node, node, told, Some(ip)) {
            Ok(()) => LinkEnd::Met(node),
            Err(end) => end,
        }
    }

    /// The link of a meeting ends. Who does not speak this protocol, or has another secret, may be asked to mend that:
    /// it is tried again until it is given up.
    pub(super) fn meeting_is_over(&mut self, token: Token, end: &LinkEnd) {
        let Some(links) = self.links.as_deref_mut() else { return };
        if let LinkEnd::Met(_)
        | LinkEnd::Removed(_)
        | LinkEnd::Fault(LinkFault::Removed)
        | LinkEnd::Double(_)
        | LinkEnd::Full(_) = end
        {
            links.meetings.retain(|meeting| meeting.link != Some(token));
        } else if let Some(meeting) = links.meeting_mut(token) {
            meeting.link = None;
        }
    }
}

/// A node that knows the secret is one of the cluster from now on, at its ports and this address.
pub(super) fn take_in(
    node: &Node,
    id: NodeId,
    told: &Announcement,
    ip: Option<IpAddr>,
) -> Result<(), LinkEnd> {
    if node.members.is_removed(id) {
        return Err(LinkEnd::Removed(id));
    }
    let Some(ip) = ip else { return Ok(()) };
    if node.members.get(id).is_some_and(|member| member.is_up) {
        return Ok(());
    }
    let host = ip.to_canonical().to_string();
    let place = NodePlace { host, port: told.port, link_port: told.cluster_port };
    let is_new = node.members.get(id).is_none();
    node.members.take_seen(id, place).map_err(|_| LinkEnd::Full(id))?;
    if is_new {
        tracing::info!("node {} has come, from {ip}", id.0);
    }
    Ok(())
}
