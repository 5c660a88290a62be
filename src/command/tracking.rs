//! `CLIENT TRACKING` and its like: clients that keep copies of values are told when keys change.
//!
//! What a client chose stands with what others see of it (`node::tracking`); what the commands themselves
//! need at every read is in its session. Shards are told by the runtime.

use std::sync::Arc;

use super::numbers::integer;
use super::{Action, Error, Session, SessionCx};
use crate::cache::Tracker;
use crate::node::tracking::{ClientTracking, TrackingMode};
use crate::protocol::{Args, Reply};
use crate::types::ClientId;

type Answer = Result<(), Error>;

/// The tracking of a connection as its own commands need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTracking {
    serial: u64,
    mode: TrackingMode,
    /// Whether `CLIENT CACHING` was given for what comes next.
    is_caching_given: bool,
}

impl SessionTracking {
    /// The number under which keys that are read now are to be registered; 0 if they are not.
    #[inline]
    pub fn serial_for_reads(&self) -> u64 {
        let is_wanted = match self.mode {
            TrackingMode::Read => true,
            TrackingMode::OptIn => self.is_caching_given,
            TrackingMode::OptOut => !self.is_caching_given,
            TrackingMode::Broadcast => false,
        };
        if is_wanted { self.serial } else { 0 }
    }

    /// Whether the next command differs from those after it.
    #[inline]
    pub fn is_caching_given(&self) -> bool {
        self.is_caching_given
    }

    /// A command has ended that `CLIENT CACHING` may have been given for.
    pub fn end_caching(&mut self) {
        self.is_caching_given = false;
    }
}

/// What follows `ON` or `OFF`.
#[derive(Default)]
struct Options<'a> {
    redirect: Option<ClientId>,
    is_broadcast: bool,
    is_opt_in: bool,
    is_opt_out: bool,
    is_no_loop: bool,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(cx: &SessionCx<'_>, args: &Args<'a>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut index = 3;
        while let Some(word) = args.get(index) {
            match (word.to_ascii_lowercase().as_slice(), args.get(index + 1)) {
                (b"redirect", Some(id)) => {
                    options.set_redirect(cx, id)?;
                    index += 1;
                }
                (b"prefix", Some(prefix)) => {
                    options.prefixes.push(prefix);
                    index += 1;
                }
                (b"bcast", _) => options.is_broadcast = true,
                (b"optin", _) => options.is_opt_in = true,
                (b"optout", _) => options.is_opt_out = true,
                (b"noloop", _) => options.is_no_loop = true,
                _ => return Err(Error::Syntax),
            }
            index += 1;
        }
        Ok(options)
    }

    fn set_redirect(&mut self, cx: &SessionCx<'_>, id: &[u8]) -> Answer {
        if self.redirect.is_some() {
            return Err(Error::Static("ERR A client can only redirect to a single other client"));
        }
        let id = u64::try_from(integer(id)?).ok().map(ClientId);
        let id = id.filter(|id| cx.node.clients.get(*id).is_some());
        self.redirect =
            Some(id.ok_or(Error::Static("ERR The client ID you want redirect to does not exist"))?);
        Ok(())
    }

    fn mode(&self) -> TrackingMode {
        match (self.is_broadcast, self.is_opt_in, self.is_opt_out) {
            (true, ..) => TrackingMode::Broadcast,
            (_, true, _) => TrackingMode::OptIn,
            (_, _, true) => TrackingMode::OptOut,
            _ => TrackingMode::Read,
        }
    }

    /// Whether the options go together, and with what the client has chosen before.
    fn check(&self, before: Option<&ClientTracking>) -> Answer {
        if !self.is_broadcast && !self.prefixes.is_empty() {
            return Err(Error::Static("ERR PREFIX option requires BCAST mode to be enabled"));
        }
        let old = before.map(|before| before.mode);
        if old.is_some_and(|old| (old == TrackingMode::Broadcast) != self.is_broadcast) {
            return Err(Error::Static(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            ));
        }
        if self.is_broadcast && (self.is_opt_in || self.is_opt_out) {
            return Err(Error::Static("ERR OPTIN and OPTOUT are not compatible with BCAST"));
        }
        if self.is_opt_in && self.is_opt_out {
            return Err(Error::Static("ERR You can't specify both OPTIN mode and OPTOUT mode"));
        }
        let switches = match old {
            Some(TrackingMode::OptIn) => self.is_opt_out,
            Some(TrackingMode::OptOut) => self.is_opt_in,
            Some(TrackingMode::Read | TrackingMode::Broadcast) | None => false,
        };
        if switches {
            return Err(Error::Static(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            ));
        }
        let old = before.map_or(&[][..], |before| &before.prefixes);
        self.check_prefixes(old)
    }

    fn check_prefixes(&self, old: &[Arc<[u8]>]) -> Answer {
        if let (Some(first), true) = (self.prefixes.first(), old.iter().any(|old| old.is_empty())) {
            return Err(overlapping(first, "an existing prefix", b""));
        }
        // In order, what begins with another stands right behind it, or behind others that do. What was there
        // before has no place among those given.
        let new = self.prefixes.iter().enumerate().map(|(place, prefix)| (*prefix, Some(place)));
        let mut all: Vec<(&[u8], Option<usize>)> =
            old.iter().map(|prefix| (&**prefix, None)).chain(new).collect();
        all.sort_unstable();
        for pair in all.windows(2) {
            let [shorter, longer] = [pair[0], pair[1]];
            if !longer.0.starts_with(shorter.0) {
                continue;
            }
            let [first, second] =
                if shorter.1 < longer.1 { [shorter, longer] } else { [longer, shorter] };
            return Err(match (first.1, second.1) {
                (None, None) => continue,
                (None, Some(_)) => overlapping(second.0, "an existing prefix", first.0),
                _ => overlapping(first.0, "another provided prefix", second.0),
            });
        }
        Ok(())
    }
}

fn overlapping(prefix: &[u8], what: &str, other: &[u8]) -> Error {
    let [prefix, other] = [prefix, other].map(String::from_utf8_lossy);
    Error::Text(format!(
        "ERR Prefix '{prefix}' overlaps with {what} '{other}'. Prefixes for a single client must not \
         overlap."
    ))
}

// --- commands ------------------------------------------------------------------------------------

pub(super) fn tracking(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let options = Options::parse(cx, args)?;
    let switch = args.at(2);
    if switch.eq_ignore_ascii_case(b"on") {
        begin(cx, &options)?;
    } else if switch.eq_ignore_ascii_case(b"off") {
        end(cx);
    } else {
        return Err(Error::Syntax);
    }
    reply.ok();
    Ok(())
}

fn begin(cx: &mut SessionCx<'_>, options: &Options<'_>) -> Answer {
    let before = cx.session.info.tracking.get();
    options.check(before.as_ref())?;
    let mode = options.mode();
    let mut new: Vec<Arc<[u8]>> = options.prefixes.iter().map(|prefix| (*prefix).into()).collect();
    let is_for_all = mode == TrackingMode::Broadcast && new.is_empty();
    let mut prefixes = match before {
        Some(before) => before.prefixes,
        None => {
            cx.node.tracking.add_client();
            Vec::new()
        }
    };
    // Redis does not look for an overlap of this one.
    if is_for_all && !prefixes.iter().any(|prefix| prefix.is_empty()) {
        new.push(Arc::default());
    }
    new.iter().for_each(|prefix| cx.node.tracking.add_prefix(prefix));
    prefixes.extend(new.iter().cloned());
    let (redirect, no_loop) = (options.redirect, options.is_no_loop);
    let tracking = ClientTracking { mode, no_loop, redirect, is_broken: false, prefixes };
    let serial = cx.session.info.tracking.set(tracking);
    let is_caching_given = cx.session.tracking.is_some_and(|tracking| tracking.is_caching_given);
    cx.session.tracking = Some(SessionTracking { serial, mode, is_caching_given });
    cx.actions.push(Action::Track(new));
    Ok(())
}

fn end(cx: &mut SessionCx<'_>) {
    if let Some(observer) = cx.session.end_tracking(cx.node) {
        cx.actions.push(Action::EndTracking(observer));
    }
}

/// Ends what `CLIENT TRACKING ON` began (`RESET`).
pub(super) fn end_tracking(cx: &mut SessionCx<'_>) {
    end(cx);
}

impl Session {
    /// As whom shards know the connection, if it tracks.
    pub fn tracker(&self) -> Option<Tracker> {
        self.tracking.map(|tracking| Tracker { client: self.id, serial: tracking.serial })
    }

    /// Ends tracking; answers as whom shards know the connection that has given them prefixes.
    pub fn end_tracking(&mut self, node: &crate::node::Node) -> Option<Tracker> {
        let tracker = self.tracker();
        let is_broadcast = self.tracking.take()?.mode == TrackingMode::Broadcast;
        if let Some(tracking) = self.info.tracking.clear() {
            node.tracking.remove(&tracking);
        }
        tracker.filter(|_| is_broadcast)
    }
}

pub(super) fn caching(cx: &mut SessionCx<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let Some(tracking) = &mut cx.session.tracking else {
        return Err(Error::Static(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
             OPTOUT mode enabled",
        ));
    };
    let word = args.at(2);
    if word.eq_ignore_ascii_case(b"yes") {
        if tracking.mode != TrackingMode::OptIn {
            return Err(Error::Static(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
    } else if word.eq_ignore_ascii_case(b"no") {
        if tracking.mode != TrackingMode::OptOut {
            return Err(Error::Static(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
    } else {
        return Err(Error::Syntax);
    }
    tracking.is_caching_given = true;
    reply.ok();
    Ok(())
}

/// Who gets the messages, as Redis has it: -1 without tracking, 0 for the client itself.
pub(super) fn redirect(tracking: Option<&ClientTracking>) -> i64 {
    match tracking.map(|tracking| tracking.redirect) {
        None => -1,
        Some(None) => 0,
        Some(Some(id)) => i64::try_from(id.0).unwrap_or(i64::MAX),
    }
}

pub(super) fn getredir(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    reply.integer(redirect(cx.session.info.tracking.get().as_ref()));
    Ok(())
}

pub(super) fn trackinginfo(cx: &mut SessionCx<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Answer {
    let tracking = cx.session.info.tracking.get();
    let is_caching_given = cx.session.tracking.is_some_and(|tracking| tracking.is_caching_given);
    let mut flags = Vec::new();
    match &tracking {
        None => flags.push("off"),
        Some(tracking) => {
            flags.push("on");
            flags.extend(match (tracking.mode, is_caching_given) {
                (TrackingMode::Read, _) => &[][..],
                (TrackingMode::Broadcast, _) => &["bcast"],
                (TrackingMode::OptIn, false) => &["optin"],
                (TrackingMode::OptIn, true) => &["optin", "caching-yes"],
                (TrackingMode::OptOut, false) => &["optout"],
                (TrackingMode::OptOut, true) => &["optout", "caching-no"],
            });
            flags.extend(tracking.no_loop.then_some("noloop"));
            flags.extend(tracking.is_broken.then_some("broken_redirect"));
        }
    }
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirect(tracking.as_ref()));
    reply.bulk(b"prefixes");
    let mut prefixes = tracking.map_or(Vec::new(), |tracking| tracking.prefixes);
    prefixes.sort();
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
