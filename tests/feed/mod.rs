//! A connection without a socket: bytes in pieces, requests out. The tests of the parser and the fuzz
//! target share it.

use ringmain::protocol::resp::{likely_key, usual_request};
use ringmain::protocol::{Limits, Parsed, Parser, ProtocolError};

/// A request's arguments.
pub(crate) type Request = Vec<Vec<u8>>;

/// What a connection's bytes come to: its requests, then an error or how many bytes are left over.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) requests: Vec<Request>,
    pub(crate) end: Result<usize, ProtocolError>,
}

/// Plays a connection: takes `input` in pieces that end at `cuts` and parses after each.
pub(crate) fn feed(
    input: &[u8],
    cuts: impl IntoIterator<Item = usize>,
    limits: &Limits,
) -> Outcome {
    let mut parser = Parser::default();
    let mut requests = Vec::new();
    let mut start = 0;
    for cut in cuts.into_iter().chain([input.len()]) {
        loop {
            let bytes = &input[start..cut];
            let likely_key = likely_key(bytes);
            let mut ranges = Vec::new();
            let usual = usual_request(bytes, limits, &mut ranges).filter(|_| parser.is_idle());
            match parser.parse(bytes, limits) {
                Ok(Parsed::Request { consumed }) => {
                    assert!(consumed > 0 && consumed <= bytes.len(), "{consumed} bytes");
                    assert!(parser.is_idle());
                    if let Some(usual) = usual {
                        assert_eq!((usual, &ranges[..]), (consumed, parser.ranges()));
                    }
                    let args: Request = parser.args(bytes).from(0).map(<[u8]>::to_vec).collect();
                    if let (Some(key), [_, second, ..]) = (likely_key, &args[..]) {
                        assert_eq!(key, second);
                    }
                    requests.push(args);
                    start += consumed;
                }
                other if usual.is_some() => panic!("{usual:?} or {other:?}?"),
                Ok(Parsed::Nothing { consumed }) => {
                    assert!(consumed > 0 && consumed <= bytes.len(), "{consumed} bytes");
                    assert!(parser.is_idle());
                    start += consumed;
                }
                Ok(Parsed::Incomplete { total_hint }) => {
                    assert!(total_hint == 0 || total_hint > bytes.len(), "hint {total_hint}");
                    assert_eq!(parser.is_idle(), bytes.is_empty());
                    break;
                }
                Err(error) => return Outcome { requests, end: Err(error) },
            }
        }
    }
    Outcome { requests, end: Ok(input.len() - start) }
}

/// Limits small enough for short inputs to meet them.
const TIGHT: [Limits; 2] = [
    Limits { args_max: 4, bulk_bytes_max: 16, line_bytes_max: 32, authenticated: true },
    Limits { args_max: 2, bulk_bytes_max: 8, line_bytes_max: 24, authenticated: false },
];

/// What must hold for any bytes: the parser does not panic, takes no byte twice, finds the same
/// requests and error however the bytes are cut, keeps to its limits, and reads back what it found.
pub(crate) fn check_invariants(input: &[u8]) {
    for limits in [Limits::authenticated(), Limits::before_auth(), TIGHT[0], TIGHT[1]] {
        let whole = feed(input, [], &limits);
        assert_eq!(feed(input, 0..input.len(), &limits), whole, "byte by byte");
        // Cuts at places that the bytes themselves choose.
        let mut cuts: Vec<usize> = input.iter().map(|&byte| usize::from(byte)).collect();
        cuts.retain(|&cut| cut <= input.len());
        cuts.sort_unstable();
        assert_eq!(feed(input, cuts, &limits), whole, "cut in pieces");

        let encoded = whole.requests.iter().flat_map(|args| encode(args)).collect::<Vec<_>>();
        let again = feed(&encoded, [], &Limits::authenticated());
        assert_eq!(again, Outcome { requests: whole.requests, end: Ok(0) }, "read back");
        for args in again.requests {
            let argument_bytes_max = limits.bulk_bytes_max.max(limits.line_bytes_max);
            assert!(args.iter().all(|arg| arg.len() <= argument_bytes_max));
            assert!(args.len() <= limits.args_max.max(limits.line_bytes_max));
        }
    }
}

/// A request as a client library writes it.
pub(crate) fn encode(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}
