//! One connection: opening it, and moving bytes between the kernel and [`Wire`] until it is lost.
//!
//! One task owns it. In each turn it reads what has arrived, answers callers, takes the requests that have
//! queued up meanwhile into one frame, and writes; then it sleeps until there is something to read, to
//! send or to look after.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use super::builder::Settings;
use super::error::Cause;
use super::hub::Surroundings;
use super::link::Intake;
use super::wire::Wire;
use crate::limits::CLIENT_READS_PER_TURN;
use crate::protocol::binary::{
    Extras, FrameLimits, Frames, Greeting, Hello, Next, Opcode, ReplyHead, RequestFrame,
    RequestHead, Status,
};

/// Where a server, or a core of it, is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Address {
    /// Reads `host:port` or `[v6 address]:port`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if host.is_empty() || (inner.is_none() && host.contains(':')) {
            return None;
        }
        let port = port.parse().ok().filter(|port| *port != 0)?;
        Some(Self { host: inner.unwrap_or(host).to_owned(), port })
    }
}

/// A connection behind its handshake.
#[derive(Debug)]
pub(super) struct Opened {
    stream: TcpStream,
    pub(super) greeting: Greeting,
    /// The host that was reached.
    pub(super) host: String,
    rest: BytesMut,
}

/// Connects and shakes hands.
pub(super) async fn open(address: &Address, settings: &Settings) -> Result<Opened, Cause> {
    let limit = settings.connect_timeout;
    timeout(limit, try_open(address, settings)).await.unwrap_or(Err(Cause::ConnectTimeout(limit)))
}

async fn try_open(address: &Address, settings: &Settings) -> Result<Opened, Cause> {
    let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&hello_frame(settings)).await?;
    let mut input = BytesMut::with_capacity(4096);
    let mut frames = Frames::<ReplyHead>::default();
    let limits = FrameLimits { value_bytes_max: settings.reply_bytes_max, ..FrameLimits::WIDEST };
    let item = loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(Cause::Closed);
        }
        match frames.next(&input, 0, &limits) {
            Ok(Next::Item(item)) => break item,
            Ok(Next::Incomplete { .. }) => {}
            Err(error) => return Err(Cause::Protocol(error.to_string())),
        }
    };
    let body = &input[item.start..item.end];
    let status = item.head.status().unwrap_or(Status::Error);
    if status.is_error() {
        let message = String::from_utf8_lossy(body).into_owned();
        return Err(Cause::Refused { status, message });
    }
    if item.head.opcode != Opcode::Hello.number() || !frames.is_idle() {
        return Err(Cause::Protocol("the first frame is not the reply to hello alone".into()));
    }
    let greeting = Greeting::read(body).map_err(|error| Cause::Protocol(error.to_string()))?;
    let rest = input.split_off(item.end);
    Ok(Opened { stream, greeting, host: address.host.clone(), rest })
}

fn hello_frame(settings: &Settings) -> Vec<u8> {
    let hello = Hello {
        user: settings.user.clone(),
        password: settings.password.clone(),
        name: settings.name.clone(),
        ..Hello::this_version()
    };
    let mut value = Vec::new();
    hello.write(&mut value);
    let (mut frame, mut out) = (RequestFrame::default(), Vec::new());
    let head = RequestHead::new(1, Opcode::Hello);
    // Names and passwords are bounded where they are given, far below what a frame takes.
    let fits = frame.push(head, &Extras::default(), b"", &value);
    debug_assert!(fits.is_ok());
    frame.finish(&mut out);
    out
}

/// A connection in use.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    host: String,
    life: u64,
    wire: Wire,
    ticks: Interval,
    silence_max: Duration,
    keep_alive: Duration,
    around: Surroundings,
    is_follower: bool,
}

impl Connection {
    /// What `opened` becomes. Of a follower all is read that it has.
    pub(super) fn new(opened: Opened, around: Surroundings, is_follower: bool) -> Self {
        let Opened { stream, greeting, host, rest } = opened;
        let settings = &around.settings;
        let silence_max = settings.silence_max;
        let keep_alive = settings.keep_alive;
        let mut ticks = interval(silence_max.min(keep_alive) / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        let mut wire = Wire::new(&greeting, settings.reply_bytes_max, rest, now);
        if is_follower {
            wire.read_only(now);
        }
        let life = greeting.life;
        Self { stream, host, life, wire, ticks, silence_max, keep_alive, around, is_follower }
    }

    /// Serves requests until the connection is lost or no longer needed, and says why; everyone who
    /// still waits has been told then.
    pub(super) async fn run(mut self, intake: &mut Intake) -> Cause {
        let cause = poll_fn(|cx| self.poll_turn(cx, intake)).await;
        self.wire.fail(&cause);
        cause
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, intake: &mut Intake) -> Poll<Cause> {
        let now = Instant::now();
        if let Err(cause) = self.poll_look_after(cx, now).and_then(|()| self.poll_read(cx, now)) {
            return Poll::Ready(cause);
        }
        if let Some(topology) = self.wire.take_topology()
            && !self.is_follower
            && let Some(hub) = self.around.hub.upgrade()
        {
            hub.follow(self.life, &topology, &self.host);
        }
        loop {
            let more = self.feed(cx, intake, now);
            self.wire.close_frame();
            self.count();
            match self.poll_write(cx) {
                Poll::Ready(Err(cause)) => return Poll::Ready(cause),
                Poll::Ready(Ok(())) if more => {}
                Poll::Ready(Ok(())) | Poll::Pending => break,
            }
        }
        if intake.is_over() && self.wire.is_idle() {
            return Poll::Ready(Cause::Retired);
        }
        Poll::Pending
    }

    /// Takes requests while there is room for them; true if some may be left.
    fn feed(&mut self, cx: &mut Context<'_>, intake: &mut Intake, now: Instant) -> bool {
        while self.wire.has_room() {
            match intake.poll_next(cx) {
                Poll::Ready(Some(attempt)) => self.wire.take(attempt, now),
                Poll::Ready(None) | Poll::Pending => {
                    if intake.take_refresh() {
                        self.wire.ask_topology(now);
                    }
                    return false;
                }
            }
        }
        true
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Cause> {
        for _ in 0..CLIENT_READS_PER_TURN {
            // The future holds nothing: what it has read is in the buffer.
            match pin!(self.stream.read_buf(self.wire.input())).poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(Cause::Closed),
                Poll::Ready(Ok(_)) => self.wire.received(now)?,
                Poll::Ready(Err(error)) => return Err(error.into()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Writes until all is written, which is `Ready`, or the kernel takes no more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        while !self.wire.output().is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, self.wire.output())) {
                Ok(0) => return Poll::Ready(Err(Cause::Closed)),
                Ok(count) => self.wire.wrote(count),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Finds out about a server that is gone without a word.
    fn poll_look_after(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), Cause> {
        while self.ticks.poll_tick(cx).is_ready() {
            let silent = now.saturating_duration_since(self.wire.silent_since());
            if !self.wire.is_idle() && silent >= self.silence_max {
                return Err(Cause::Silent(self.silence_max));
            }
            if self.wire.is_idle() && silent >= self.keep_alive {
                self.wire.ping(now);
            }
        }
        Ok(())
    }

    fn count(&mut self) {
        let activity = &self.around.activity;
        activity.frames_sent.add(std::mem::take(&mut self.wire.frames_sent));
        activity.requests_sent.add(std::mem::take(&mut self.wire.requests_sent));
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses() {
        for (text, host) in [
            ("127.0.0.1:6380", "127.0.0.1"),
            ("cache.example:1", "cache.example"),
            ("[::1]:6380", "::1"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.host, host);
            assert_eq!(address.to_string(), text);
        }
        for text in ["", "localhost", ":6380", "a:", "a:x", "a:0", "a:65536", "::1:6380", "[::1]"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
