//! Replies that come over an upstream: where each ends, and whose it is.

use bytes::Buf;

use super::super::batch::BatchReplies;
use super::super::ring::Token;
use super::upstream::{Expected, Phase, Upstream};
use crate::types::NodeId;

/// Replies for a client, and what has become of their upstream.
pub(super) struct Delivery {
    pub(super) client: Token,
    pub(super) upstream: Token,
    pub(super) to: NodeId,
    /// By ticket, in order.
    pub(super) replies: Vec<(u64, BatchReplies)>,
    /// Tokens of what the client has written, as text.
    pub(super) tokens: Vec<Vec<u8>>,
    /// Whether there is no telling any more what it has written by this way.
    pub(super) has_lost_token: bool,
    /// Whether the client is owed nothing more by this upstream.
    pub(super) is_idle: bool,
    /// Whether it is gone.
    pub(super) has_ended: bool,
}

impl Delivery {
    /// Nothing yet.
    pub(super) fn of(upstream: &Upstream) -> Self {
        let Upstream { client, token, to, .. } = *upstream;
        let (replies, tokens) = (Vec::new(), Vec::new());
        let (has_lost_token, is_idle, has_ended) = (false, false, false);
        Self { client, upstream: token, to, replies, tokens, has_lost_token, is_idle, has_ended }
    }

    /// Adds one.
    pub(super) fn push(&mut self, ticket: u64, reply: &[u8]) {
        match self.replies.last_mut() {
            Some((last, replies)) if *last == ticket => {
                replies.bytes.extend_from_slice(reply);
                replies.lengths.push(reply.len());
            }
            _ => {
                let (bytes, lengths) = (reply.to_vec(), vec![reply.len()]);
                self.replies.push((ticket, BatchReplies { bytes, lengths, values: Vec::new() }));
            }
        }
    }
}

/// Takes in what has come. True if the upstream was being made, and its requests can leave now.
pub(super) fn read_upstream(
    upstream: &mut Upstream,
    bytes: &[u8],
    delivery: &mut Delivery,
) -> Result<bool, ()> {
    if let Phase::Dialing(dialing) = &upstream.phase {
        upstream.input.extend_from_slice(bytes);
        let Some(welcomed) = dialing.read(&upstream.input).map_err(drop)? else {
            return Ok(false);
        };
        upstream.input.advance(welcomed.length);
        let mut writer = welcomed.writer;
        let mut frame = Vec::new();
        writer.ping();
        writer.take(&mut frame);
        upstream.open(frame);
        return Ok(true);
    }
    if !upstream.input.is_empty() {
        upstream.input.extend_from_slice(bytes);
        let mut input = std::mem::take(&mut upstream.input);
        let read = read_replies(upstream, &input, delivery);
        input.advance(*read.as_ref().unwrap_or(&0));
        upstream.input = input;
        return read.map(|_| false);
    }
    let read = read_replies(upstream, bytes, delivery)?;
    upstream.input.extend_from_slice(&bytes[read..]);
    Ok(false)
}

/// Takes the replies that are whole from the start of `bytes`; answers how many bytes they took.
fn read_replies(
    upstream: &mut Upstream,
    bytes: &[u8],
    delivery: &mut Delivery,
) -> Result<usize, ()> {
    let mut read = 0;
    while let Some(cut) = upstream.cutter.next(&bytes[read..]).map_err(drop)? {
        let reply = &bytes[read..read + cut.length];
        read += cut.length;
        if cut.is_push {
            continue;
        }
        match upstream.expected.pop_front() {
            Some(Expected::Reply(ticket)) => {
                upstream.owed -= 1;
                delivery.push(ticket, reply);
            }
            Some(Expected::Token) => {
                upstream.owed -= 1;
                delivery.tokens.push(bulk(reply).ok_or(())?.to_vec());
            }
            Some(Expected::Any) => {}
            Some(Expected::Success) if !cut.is_error => {}
            Some(Expected::Success) | None => return Err(()),
        }
    }
    Ok(read)
}

/// What is in a bulk string, if that is what a reply is.
fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', reply)?;
    reply.strip_prefix(b"$")?.get(end..)?.strip_suffix(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::super::upstream::tests::upstream;
    use super::{Delivery, Expected, read_upstream};

    #[test]
    fn replies_go_to_who_has_asked() {
        let mut upstream = upstream();
        upstream.open(Vec::new());
        for expected in [Expected::Success, Expected::Any, Expected::Reply(7), Expected::Reply(8)] {
            upstream.say(&[b"X"], expected);
        }
        upstream.owed = 2;
        let said = b"+OK\r\n-ERR no\r\n>1\r\n+push\r\n$1\r\na\r\n*1\r\n:2\r\n";
        let mut delivery = Delivery::of(&upstream);
        for piece in said.chunks(3) {
            assert_eq!(read_upstream(&mut upstream, piece, &mut delivery), Ok(false));
        }
        let replies: Vec<(u64, &[u8])> = delivery
            .replies
            .iter()
            .map(|(ticket, replies)| (*ticket, &replies.bytes[..]))
            .collect();
        assert_eq!(replies, [(7, &b"$1\r\na\r\n"[..]), (8, b"*1\r\n:2\r\n")]);
        assert_eq!(upstream.owed, 0);
        // A token is the way's, not the client's; an error is none.
        upstream.ask_token();
        assert_eq!(read_upstream(&mut upstream, b"$4\r\nr1::\r\n", &mut delivery), Ok(false));
        assert_eq!((upstream.owed, &delivery.tokens), (0, &vec![b"r1::".to_vec()]));
        assert_eq!(delivery.replies.len(), 2);
        upstream.ask_token();
        assert_eq!(read_upstream(&mut upstream, b"-ERR no\r\n", &mut delivery), Err(()));
        // What nobody has asked for, or an error where all depends on success, is no way to go on.
        assert_eq!(read_upstream(&mut upstream, b"+OK\r\n", &mut delivery), Err(()));
        upstream.say(&[b"SELECT", b"1"], Expected::Success);
        assert_eq!(read_upstream(&mut upstream, b"-ERR no\r\n", &mut delivery), Err(()));
    }
}
