//! A connection of the binary protocol without a socket: bytes in pieces, requests out. The tests of the
//! reader and the fuzz target share it.

use ringmain::command::binary::Operations;
use ringmain::protocol::binary::frame::checksum;
use ringmain::protocol::binary::{
    Extras, FrameError, FrameLimits, Frames, Greeting, Hello, Next, REQUEST_MAGIC, ReplyHead,
    RequestFrame, RequestHead, Token, Topology, body,
};

/// A request: its head and its body.
type Request = (RequestHead, Vec<u8>);

/// What a connection's bytes come to: its requests, then an error or how many bytes are left over.
#[derive(Debug, PartialEq)]
struct Outcome {
    requests: Vec<Request>,
    end: Result<usize, FrameError>,
}

/// Plays a connection: takes `input` in pieces that end at `cuts` and reads after each. Every third item
/// is read twice, as a server does that can't go on.
fn feed(input: &[u8], cuts: impl IntoIterator<Item = usize>, limits: &FrameLimits) -> Outcome {
    let mut frames = Frames::<RequestHead>::default();
    let mut requests = Vec::new();
    let mut start = 0;
    for cut in cuts.into_iter().chain([input.len()]) {
        let bytes = &input[start..cut];
        let mut at = 0;
        frames.forget();
        loop {
            match frames.next(bytes, at, limits) {
                Ok(Next::Item(item)) => {
                    assert!(item.start >= at && item.end >= item.start && item.end <= bytes.len());
                    if requests.len() % 3 == 2 {
                        // An item further on may be read, and then neither has been.
                        let _ = frames.next(bytes, item.end, limits);
                        frames.rewind(item.index);
                        let again = frames.next(bytes, item.start, limits);
                        assert_eq!(again, Ok(Next::Item(item)));
                    }
                    requests.push((item.head, bytes[item.start..item.end].to_vec()));
                    at = item.end;
                }
                Ok(Next::Incomplete { needed }) => {
                    assert!(needed > bytes.len() - at, "{needed} of {}", bytes.len() - at);
                    break;
                }
                Err(error) => return Outcome { requests, end: Err(error) },
            }
        }
        start += at;
    }
    Outcome { requests, end: Ok(input.len() - start) }
}

const TIGHT: FrameLimits = FrameLimits { items_max: 3, body_bytes_max: 64, value_bytes_max: 16 };

/// What must hold for any bytes: nothing panics, no byte is taken twice, the same requests and error are
/// found however the bytes are cut, limits are kept to, and what was found survives being written again.
pub(crate) fn check_invariants(input: &[u8]) {
    for limits in [FrameLimits::requests(1 << 20), FrameLimits::before_auth(), TIGHT] {
        let whole = feed(input, [], &limits);
        let in_pieces = feed(input, (0..input.len()).step_by(7), &limits);
        assert_eq!(whole, in_pieces);
        if input.len() <= 256 {
            assert_eq!(whole, feed(input, 0..input.len(), &limits));
        }
        for (head, bytes) in &whole.requests {
            assert!(head.value_bytes as usize <= limits.value_bytes_max);
            check_request(head, bytes);
        }
    }
    check_bodies(input);
    // A client's reader takes no more harm than a server's.
    let mut frames = Frames::<ReplyHead>::default();
    let mut at = 0;
    while let Ok(Next::Item(item)) = frames.next(input, at, &FrameLimits::WIDEST) {
        assert!(item.end <= input.len());
        at = item.end;
    }
}

/// A request that was read can be looked at, and written again if it has no flags that nobody knows.
fn check_request(head: &RequestHead, bytes: &[u8]) {
    let mut ranges = Vec::new();
    if Operations::get().read(head, bytes, &mut ranges).is_ok() {
        for range in &ranges {
            assert!(range.start as usize + range.length as usize <= bytes.len());
        }
    }
    let extras_bytes = head.flags.extras_bytes();
    let extras = Extras::read(head.flags, bytes);
    let mut written = Vec::new();
    extras.write(&mut written);
    if written.len() < extras_bytes || (extras.token.is_some() && written != bytes[..extras_bytes])
    {
        return;
    }
    let (key, value) = bytes[extras_bytes..].split_at(usize::from(head.key_bytes));
    let (mut frame, mut again) = (RequestFrame::default(), Vec::new());
    frame.push(*head, &extras, key, value).expect("it was in a frame");
    frame.finish(&mut again);
    let outcome = feed(&again, [], &FrameLimits::WIDEST);
    assert_eq!(outcome, Outcome { requests: vec![(*head, bytes.to_vec())], end: Ok(0) });
}

/// Bodies are read without panics, and what is one is written as it was.
fn check_bodies(input: &[u8]) {
    let rewritten = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    };
    if let Ok(list) = body::read_list(input) {
        assert_eq!(rewritten(&|out| body::write_list(out, &list)), input);
    }
    if let Ok(hello) = Hello::read(input) {
        assert_eq!(rewritten(&|out| hello.write(out)), input);
    }
    if let Ok(topology) = Topology::read(input) {
        assert_eq!(rewritten(&|out| topology.write(out)), input);
    }
    if let Ok(greeting) = Greeting::read(input) {
        let again = rewritten(&|out| greeting.write(out));
        assert_eq!(Greeting::read(&again), Ok(greeting));
    }
    drop((body::read_values(input), body::read_scanned(input), Token::read_all(input)));
}

/// Puts the right checksum into a frame that starts at the start of `input`, so that chance gets further
/// than the header.
pub(crate) fn seal(input: &mut [u8]) {
    let Some(header) = input.first_chunk::<16>() else { return };
    let count = usize::from(u16::from_le_bytes([header[2], header[3]]));
    let heads_end = 16 + count * 16;
    if header[0] != REQUEST_MAGIC || heads_end > input.len() {
        return;
    }
    let checksum = checksum(&input[..12], &input[16..heads_end]);
    input[12..16].copy_from_slice(&checksum.to_le_bytes());
}
