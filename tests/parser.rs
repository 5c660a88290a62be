//! The request parser as a client meets it: bytes in, arguments or an error out, however the bytes
//! were cut. Expectations are what Redis 7.0.15 does with the same bytes, unless a row says otherwise.

use proptest::collection::vec;
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use ringmain::limits;
use ringmain::protocol::resp::{likely_key, usual_request};
use ringmain::protocol::{Limits, Parsed, Parser};

mod feed;

use feed::{Outcome, Request, check_invariants, encode, feed};

/// Checks one input whole, cut in two at every byte and byte by byte.
#[track_caller]
fn check_with(input: &[u8], limits: &Limits, expected: &Outcome) {
    let shown = String::from_utf8_lossy(&input[..input.len().min(100)]);
    assert_eq!(&feed(input, [], limits), expected, "{shown:?} whole");
    let byte_by_byte = feed(input, 0..input.len(), limits);
    assert_eq!(&byte_by_byte, expected, "{shown:?} byte by byte");
    let step = (input.len() / 500).max(1);
    for cut in (0..input.len()).step_by(step) {
        assert_eq!(&feed(input, [cut], limits), expected, "{shown:?} cut at {cut}");
    }
}

fn requests(expected: &[&[&[u8]]]) -> Vec<Request> {
    expected.iter().map(|args| args.iter().map(|arg| arg.to_vec()).collect()).collect()
}

/// `input` is these requests and `left` bytes of another one.
#[track_caller]
fn check(input: &[u8], expected: &[&[&[u8]]], left: usize) {
    let expected = Outcome { requests: requests(expected), end: Ok(left) };
    check_with(input, &Limits::authenticated(), &expected);
}

/// `input` is refused with this text.
#[track_caller]
fn check_error(input: &[u8], limits: &Limits, text: &str) {
    let end = feed(input, [], limits).end;
    let error = end.expect_err("the input breaks the protocol");
    assert_eq!(error.to_string(), format!("Protocol error: {text}"));
    check_with(input, limits, &Outcome { requests: vec![], end: Err(error) });
}

#[test]
fn multi_bulk_requests() {
    check(b"", &[], 0);
    check(b"*1\r\n$4\r\nPING\r\n", &[&[b"PING"]], 0);
    check(
        b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$12\r\nhello\r\nworld\r\n",
        &[&[b"SET", b"key", b"hello\r\nworld"]],
        0,
    );
    check(b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", &[&[b"ECHO", b""]], 0);
    check(b"*1\r\n$0\r\n\r\n", &[&[b""]], 0);
    check(b"*2\r\n$1\r\n\0\r\n$3\r\n\xff\r\n\r\n", &[&[b"\0", b"\xff\r\n"]], 0);
    let twelve = [b"*12\r\n".to_vec(), b"$1\r\nx\r\n".repeat(12)].concat();
    check(&twelve, &[&[&b"x"[..]; 12]], 0);
    // Pipelines, and what is left of the next request.
    check(b"*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n*1\r\n$1\r\n", &[&[b"a"], &[b"b"]], 8);
    check(b"*1\r\n$1\r\na\r\nPING\r\n*1\r\n$1\r\nb\r\n", &[&[b"a"], &[b"PING"], &[b"b"]], 0);
    // Nothing to do.
    check(b"*0\r\nPING\r\n", &[&[b"PING"]], 0);
    check(b"*-1\r\n*1\r\n$4\r\nPING\r\n", &[&[b"PING"]], 0);
    check(b"*-9223372036854775808\r\n", &[], 0);
    // Redis looks for `\r` and skips the byte after it, and skips two bytes after an argument.
    check(b"*1\rx$4\rxPINGxx*1\r\n$1\r\na\r\n", &[&[b"PING"], &[b"a"]], 0);
    // A first byte other than `$` is noticed when its line is whole.
    check(b"*1\r\nx", &[], 5);
    check(b"*1\r\n$5\r\nPIN", &[], 11);
    check(b"*1", &[], 2);
}

#[test]
fn long_arguments() {
    for length in [99, 100, 999, 1000, 9_999, 10_000, 99_999, 100_000, 999_999, 1_000_000] {
        let argument = vec![b'x'; length];
        let input = [format!("*1\r\n${length}\r\n").as_bytes(), &argument, b"\r\n"].concat();
        let limits = Limits::authenticated();
        let whole = feed(&input, [], &limits);
        assert_eq!(whole, Outcome { requests: vec![vec![argument]], end: Ok(0) });
        assert_eq!(feed(&input, [3, 5, 6, 9, 20, length], &limits), whole);
    }
}

#[test]
fn the_hint_is_what_the_request_needs_next() {
    let mut parser = Parser::default();
    let limits = Limits::authenticated();
    let mut hint = |input: &[u8]| parser.parse(input, &limits);
    assert_eq!(hint(b""), Ok(Parsed::Incomplete { total_hint: 0 }));
    assert_eq!(hint(b"*2\r\n$3\r"), Ok(Parsed::Incomplete { total_hint: 0 }));
    assert_eq!(hint(b"*2\r\n$3\r\n"), Ok(Parsed::Incomplete { total_hint: 13 }));
    assert_eq!(
        hint(b"*2\r\n$3\r\nGET\r\n$1000\r\n"),
        Ok(Parsed::Incomplete { total_hint: 20 + 1000 + 2 })
    );
}

#[test]
fn broken_multi_bulk_requests() {
    let limits = Limits::authenticated();
    for count in [
        "",
        "x",
        "1x",
        " 1",
        "1 ",
        "+1",
        "01",
        "00",
        "-0",
        "-01",
        "-",
        "--1",
        "1\n",
        "0x1",
        "1.0",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999",
        "2147483648",
        // Redis 7.0 takes up to 2,147,483,647 arguments.
        "1048577",
        "2147483647",
    ] {
        let input = format!("*{count}\r\n");
        check_error(input.as_bytes(), &limits, "invalid multibulk length");
    }
    check_error(b"*1\n$4\nPING\n\r\n", &limits, "invalid multibulk length");
    for length in [
        "",
        "x",
        "1x",
        "-1",
        "-0",
        "01",
        " 1",
        "+1",
        "536870913",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
    ] {
        let input = format!("*1\r\n${length}\r\n");
        check_error(input.as_bytes(), &limits, "invalid bulk length");
        let input = format!("*2\r\n$3\r\nGET\r\n${length}\r\n");
        check_error(input.as_bytes(), &limits, "invalid bulk length");
    }
    check_error(b"*1\r\nfoo\r\n", &limits, "expected '$', got 'f'");
    check_error(b"*2\r\n$1\r\na\r\n:1\r\n", &limits, "expected '$', got ':'");
    check_error(b"*1\r\n*1\r\n", &limits, "expected '$', got '*'");
    check_error(b"*1\r\n\r\n", &limits, "expected '$', got ' '");
    check_error(b"*1\r\n\n\r\n", &limits, "expected '$', got ' '");
}

#[test]
fn limits_before_authentication() {
    let limits = Limits::before_auth();
    check_error(b"*11\r\n", &limits, "unauthenticated multibulk length");
    check_error(b"*1048576\r\n", &limits, "unauthenticated multibulk length");
    check_error(b"*2147483648\r\n", &limits, "invalid multibulk length");
    check_error(b"*2\r\n$16385\r\n", &limits, "unauthenticated bulk length");
    check_error(b"*2\r\n$536870912\r\n", &limits, "unauthenticated bulk length");
    check_error(b"*2\r\n$536870913\r\n", &limits, "invalid bulk length");
    let most = [b"*10\r\n".to_vec(), b"$1\r\nx\r\n".repeat(10)].concat();
    check_with(&most, &limits, &Outcome { requests: requests(&[&[&b"x"[..]; 10]]), end: Ok(0) });
    let open = Outcome { requests: vec![], end: Ok(b"*2\r\n$16384\r\n".len()) };
    check_with(b"*2\r\n$16384\r\n", &limits, &open);
    // Inline requests are bounded by their line, as in Redis.
    let words = Outcome { requests: requests(&[&[&b"x"[..]; 11]]), end: Ok(0) };
    check_with(b"x x x x x x x x x x x\r\n", &limits, &words);
}

#[test]
fn lines_have_a_longest_length() {
    let limits = Limits { line_bytes_max: 100, ..Limits::authenticated() };
    let line = |first: &str, length: usize| [first, &"1".repeat(length - first.len())].concat();
    for (first, before, text) in [
        ("*", "", "too big mbulk count string"),
        ("$", "*1\r\n", "too big bulk count string"),
        ("x", "*1\r\n", "too big bulk count string"),
        ("P", "", "too big inline request"),
    ] {
        let short = format!("{before}{}", line(first, 100));
        let open = Outcome { requests: vec![], end: Ok(short.len()) };
        check_with(short.as_bytes(), &limits, &open);
        let long = format!("{before}{}", line(first, 101));
        check_error(long.as_bytes(), &limits, text);
        let whole = format!("{before}{}\r\n", line(first, 101));
        check_error(whole.as_bytes(), &limits, text);
    }
    assert_eq!(Limits::authenticated().line_bytes_max, limits::LINE_BYTES_MAX);
}

#[test]
fn inline_requests() {
    check(b"PING\r\n", &[&[b"PING"]], 0);
    check(b"PING\n", &[&[b"PING"]], 0);
    check(b"PING", &[], 4);
    check(b"PING\r", &[], 5);
    check(b"\r\nPING\r\n\n\nGET a\n", &[&[b"PING"], &[b"GET", b"a"]], 0);
    check(b"   \r\n \t\x0b\x0c\r\nPING\r\n", &[&[b"PING"]], 0);
    check(b"  SET \t key   value  \r\n", &[&[b"SET", b"key", b"value"]], 0);
    check(b"$4\r\nPING\r\n", &[&[b"$4"], &[b"PING"]], 0);
    check(
        b"POST / HTTP/1.1\r\nHost: x\r\n",
        &[&[b"POST", b"/", b"HTTP/1.1"], &[b"Host:", b"x"]],
        0,
    );
    // A carriage return inside a line separates words; vertical tab and form feed only before one.
    check(b"PING a\rb\r\n", &[&[b"PING", b"a", b"b"]], 0);
    check(b"PING a\r\r\n", &[&[b"PING", b"a"]], 0);
    check(b"PING\ta\x0b\r\n", &[&[b"PING", b"a\x0b"]], 0);
    check(b"PING \x0ba\r\n", &[&[b"PING", b"a"]], 0);
    check(b"PING \xff\xfe\r\n", &[&[b"PING", b"\xff\xfe"]], 0);
    // Redis never finds the end of a line that holds a zero byte.
    check(b"PING \0a\r\n", &[&[b"PING", b"\0a"]], 0);
}

#[test]
fn inline_requests_with_quotes() {
    check(br#"PING "a b""#, &[], 10);
    for (words, expected) in [
        (&br#"PING "a b""#[..], &[&b"PING"[..], b"a b"][..]),
        (br#"PING """#, &[b"PING", b""]),
        (br#""""#, &[b""]),
        (br#"''"#, &[b""]),
        (br#""PING" x"#, &[b"PING", b"x"]),
        (br#"PING x"y z""#, &[b"PING", b"xy z"]),
        (br#"PING x'y z'"#, &[b"PING", b"xy z"]),
        (br#"PING "a'b""#, &[b"PING", b"a'b"]),
        (br#"PING 'a"b'"#, &[b"PING", b"a\"b"]),
        (br#"PING "\x41\xfF\x00\n\r\t\b\a\q\\\"""#, &[b"PING", b"A\xff\x00\n\r\t\x08\x07q\\\""]),
        (br#"PING "\x4" "\xzz" "\x" "\x4g""#, &[b"PING", b"x4", b"xzz", b"x", b"x4g"]),
        (br#"PING 'it\'s \n \\ '"#, &[b"PING", br"it's \n \\ "]),
        (br#"PING \n\"#, &[b"PING", br"\n\"]),
        (b"PING \"a\"\x0bb", &[b"PING", b"a", b"b"]),
        (b"PING \"a\tb\"\t'c'", &[b"PING", b"a\tb", b"c"]),
        (b"PING \"a\rb\"", &[b"PING", b"a\rb"]),
    ] {
        let line = [words, b"\r\n"].concat();
        check(&line, &[expected], 0);
        // What follows a line with quotes is found in the input again, not among its words.
        let more = [&line[..], b"GET k\r\n*1\r\n$1\r\na\r\n", &line].concat();
        check(&more, &[expected, &[b"GET", b"k"], &[b"a"], expected], 0);
    }
    for words in [
        r#"PING "x"#,
        r#"PING 'x"#,
        r#"PING ""#,
        "PING '",
        r#"PING "x"y"#,
        r#"PING 'x'y"#,
        r#"PING x"y"z"#,
        r#"PING ""''"#,
        r#"PING "a\"#,
        r#"PING "a\""#,
        r"PING 'a\'",
        r"PING 'a\\'",
    ] {
        let line = format!("{words}\r\n");
        check_error(line.as_bytes(), &Limits::authenticated(), "unbalanced quotes in request");
    }
}

#[test]
fn many_arguments_in_small_pieces_take_linear_time() {
    let count = limits::ARGS_MAX;
    let input = [format!("*{count}\r\n").into_bytes(), b"$1\r\nx\r\n".repeat(count)].concat();
    let outcome = feed(&input, (0..input.len()).step_by(10), &Limits::authenticated());
    assert_eq!(outcome.end, Ok(0));
    assert_eq!(outcome.requests.len(), 1);
    assert_eq!(outcome.requests[0].len(), count);
}

#[test]
fn a_parser_gives_memory_back_when_idle() {
    let limits = Limits::authenticated();
    let mut parser = Parser::default();
    let large = [b"*1000\r\n".to_vec(), b"$1\r\nx\r\n".repeat(1000)].concat();
    assert_eq!(parser.parse(&large, &limits), Ok(Parsed::Request { consumed: large.len() }));
    parser.shrink();
    let part = b"*2\r\n$1\r\na\r\n";
    assert_eq!(parser.parse(part, &limits), Ok(Parsed::Incomplete { total_hint: 0 }));
    parser.shrink();
    let whole = b"*2\r\n$1\r\na\r\n$1\r\nb\r\n";
    assert_eq!(parser.parse(whole, &limits), Ok(Parsed::Request { consumed: whole.len() }));
    assert_eq!(&parser.args(whole)[0], b"a");
    assert_eq!(&parser.args(whole)[1], b"b");
}

proptest! {
    #[test]
    fn what_is_encoded_is_parsed(
        requests in vec(vec(vec(any::<u8>(), 0..200), 1..20), 1..8),
        cuts in vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let input: Vec<u8> = requests.iter().flat_map(|args| encode(args)).collect();
        prop_assert_eq!(likely_key(&input), requests[0].get(1).map(Vec::as_slice));
        let limits = Limits::authenticated();
        prop_assert_eq!(usual_request(&input, &limits, &mut Vec::new()).is_some(), requests[0].len() <= 8);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let outcome = feed(&input, cuts, &limits);
        prop_assert_eq!(outcome, Outcome { requests, end: Ok(0) });
    }

    #[test]
    fn anything_keeps_the_invariants(
        input in vec(prop::sample::select(b"*$0123456789-\r\n\r\n\r\n \"'\\xaPING\0\xff".to_vec()), 0..200),
    ) {
        check_invariants(&input);
    }
}
