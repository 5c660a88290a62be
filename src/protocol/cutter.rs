//! Where replies end, in bytes that come bit by bit: for who passes them on without looking into them.

use super::client::{Element, NotAReply, read_element};

/// Finds the ends of replies one after another. What it has seen of a reply it does not look at again when more
/// comes.
#[derive(Debug, Default)]
pub struct ReplyCutter {
    /// How much of the reply that has begun has been looked at.
    at: usize,
    /// Elements of it that are still to come; 0 if none has begun.
    pending: usize,
}

/// A whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that it takes.
    pub length: usize,
    /// Whether it is a push message, and so no reply to any request.
    pub is_push: bool,
    /// Whether it is an error.
    pub is_error: bool,
}

impl ReplyCutter {
    /// The reply at the start of `bytes`, once it is whole. Until then `bytes` begins with it every time.
    ///
    /// # Errors
    /// When no RESP2 or RESP3 reply starts so.
    pub fn next(&mut self, bytes: &[u8]) -> Result<Option<Cut>, NotAReply> {
        if self.pending == 0 {
            (self.at, self.pending) = (0, 1);
        }
        while self.pending > 0 {
            let Some((element, length)) = read_element(&bytes[self.at..])? else {
                return Ok(None);
            };
            self.at += length;
            self.pending -= 1;
            if let Element::Aggregate { count, .. } = element {
                self.pending = self.pending.saturating_add(count);
            }
        }
        let length = std::mem::take(&mut self.at);
        let is_error = matches!(bytes[0], b'-' | b'!');
        Ok(Some(Cut { length, is_push: bytes[0] == b'>', is_error }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cut, ReplyCutter};

    const REPLIES: [&[u8]; 8] = [
        b"+OK\r\n",
        b"$3\r\na\r\n\r\n",
        b"*-1\r\n",
        b"*2\r\n%1\r\n+a\r\n*0\r\n$3\r\nxyz\r\n",
        b"-ERR no\r\n",
        b">2\r\n+invalidate\r\n_\r\n",
        b"*0\r\n",
        b"_\r\n",
    ];

    /// However the bytes are cut on their way, the replies are the same.
    #[test]
    fn replies_end_where_they_end() {
        let all = REPLIES.concat();
        for piece in 1..=all.len() {
            let (mut cutter, mut input, mut found) =
                (ReplyCutter::default(), Vec::new(), Vec::new());
            for piece in all.chunks(piece) {
                input.extend_from_slice(piece);
                while let Some(cut) = cutter.next(&input).unwrap() {
                    found.push(input.drain(..cut.length).collect::<Vec<u8>>());
                    assert_eq!(cut.is_push, found.len() == 6);
                    assert_eq!(cut.is_error, found.len() == 5);
                }
            }
            assert_eq!(found, REPLIES);
            assert!(input.is_empty());
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        assert!(ReplyCutter::default().next(b"GET /\r\n").is_err());
        let mut cutter = ReplyCutter::default();
        assert_eq!(cutter.next(b"*2\r\n:1\r\n"), Ok(None));
        assert!(cutter.next(b"*2\r\n:1\r\nx\r\n").is_err());
        let cut = Cut { length: 5, is_push: false, is_error: false };
        assert_eq!(ReplyCutter::default().next(b"+OK\r\n"), Ok(Some(cut)));
    }
}
