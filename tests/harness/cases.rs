//! Case files: requests and the replies they must get, one line each.
//!
//! ```text
//! # A comment.
//! == a scenario, which starts with an empty server and new connections
//! SET k "a b" => OK
//! GET k => "a b"
//! b: GET k => "a b"                  another connection; without a name it is `a`
//! eventually EXISTS k => 0           asked again until it holds
//! DUMP k => $payload                 captured, and then used as an argument
//! RESTORE other 0 $payload => OK
//! ```
//! A line that starts with a blank continues the one before. Arguments are quoted as in redis-cli;
//! `"x"*1000` is a thousand times `x`. In a scenario's title `[resp2]`, `[resp3]`, `[ringmain]` and
//! `[one shard]` restrict where it runs; otherwise it runs in both protocols, and what an expectation describes is
//! written as each protocol has it:
//!
//! | expectation | RESP2 | RESP3 |
//! |---|---|---|
//! | `OK`, `+text`, `-ERR text`, `12`, `"bytes"`, `[1, "a"]` | the same | the same |
//! | `nil`, `nil-array` | `$-1`, `*-1` | `_` |
//! | `{"a": 1}` | an array of keys and values | a map |
//! | `~["a"]` | an array | a set |
//! | `>["a"]` | an array | a push |
//! | `,1.5`, `#t`, `txt"…"` | bulk string, `:1`, bulk string | double, boolean, verbatim string |
//!
//! `_` is any reply, `3..5` an integer in that range, `glob"*a*"` a string that the glob matches (`txt-glob`
//! a verbatim one), `error"ERR *"` an error that it matches, `any-order[…]` an array or set in any order, `...` at the
//! end of an array any further elements, `nothing` no reply to this request, `closed` that the server
//! closes the connection.

use super::client::{Client, NoReply, encode};
use super::server::{Launch, Server, is_other_server};
use super::value::{Value, quoted};
use super::wait_until;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

/// The protocol that a run of the cases speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resp {
    Two,
    Three,
}

/// What a reply must be.
#[derive(Clone, Debug)]
enum Expect {
    Any,
    Nothing,
    Closed,
    Simple(String),
    Error(String),
    ErrorGlob(String),
    Integer(i64),
    Range(i64, i64),
    Bulk(Vec<u8>),
    Glob(String),
    Nil,
    NilArray,
    Array { items: Vec<Expect>, open: bool },
    AnyOrder(Vec<Expect>),
    Map(Vec<(Expect, Expect)>),
    Set(Vec<Expect>),
    Push(Vec<Expect>),
    Double(String),
    Boolean(bool),
    Verbatim(Vec<u8>),
    VerbatimGlob(String),
    Capture(String),
}

#[derive(Clone, Debug)]
enum Arg {
    Bytes(Vec<u8>),
    Captured(String),
}

#[derive(Debug)]
struct Step {
    line: usize,
    text: String,
    connection: String,
    eventually: bool,
    args: Vec<Arg>,
    expect: Expect,
}

#[derive(Debug)]
struct Scenario {
    title: String,
    steps: Vec<Step>,
}

/// The scenarios of one file.
#[derive(Debug)]
pub(crate) struct Cases {
    file: String,
    scenarios: Vec<Scenario>,
}

impl Cases {
    /// Reads a case file.
    ///
    /// # Panics
    /// With file and line, if it is not in the form described above.
    pub(crate) fn read(path: &Path) -> Self {
        let file = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a case file");
        let mut scenarios: Vec<Scenario> = Vec::new();
        for (line, text) in joined_lines(&text) {
            if let Some(title) = text.strip_prefix("== ") {
                scenarios.push(Scenario { title: title.to_owned(), steps: Vec::new() });
            } else {
                let step = parse_step(line, &text).unwrap_or_else(|problem| {
                    panic!("{file}:{line}: {problem}: {text}");
                });
                scenarios.last_mut().expect("a scenario has a title").steps.push(step);
            }
        }
        Self { file, scenarios }
    }

    /// Runs every scenario; gives what failed, at most one step per scenario, and the number of steps
    /// that held. After a failure the rest meets a new server, as this one's settings may have changed.
    pub(crate) fn run(&self, launch: &Launch, resp: Resp) -> (Vec<String>, usize) {
        let mut server = launch.start();
        let mut failures = Vec::new();
        let mut held = 0;
        for scenario in &self.scenarios {
            let skipped = (is_other_server() && scenario.title.contains("[ringmain]"))
                || (launch.shard_count() > 1 && scenario.title.contains("[one shard]"))
                || (resp == Resp::Two && scenario.title.contains("[resp3]"))
                || (resp == Resp::Three && scenario.title.contains("[resp2]"));
            if skipped {
                continue;
            }
            match Run::new(&server, resp).scenario(scenario) {
                Ok(()) => held += scenario.steps.len(),
                Err(failure) => {
                    failures.push(format!(
                        "{}:{failure}\n  in \"{}\", {resp:?}",
                        self.file, scenario.title
                    ));
                    server = launch.start();
                }
            }
        }
        (failures, held)
    }
}

/// The state of one scenario's run.
struct Run<'a> {
    server: &'a Server,
    resp: Resp,
    connections: HashMap<String, Client>,
    captured: HashMap<String, Vec<u8>>,
}

impl<'a> Run<'a> {
    fn new(server: &'a Server, resp: Resp) -> Self {
        Self { server, resp, connections: HashMap::new(), captured: HashMap::new() }
    }

    fn scenario(&mut self, scenario: &Scenario) -> Result<(), String> {
        self.server.client().ok("FLUSHALL");
        for step in &scenario.steps {
            self.step(step)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let request = self.arguments(step);
        let mut last = self.ask(step, &request);
        if step.eventually && last.is_err() {
            wait_until(&step.text, || {
                last = self.ask(step, &request);
                last.is_ok()
            });
        }
        last.map_err(|got| format!("{}: {}\n  got {got}", step.line, step.text))
    }

    fn arguments(&self, step: &Step) -> Vec<Vec<u8>> {
        let bytes_of = |arg: &Arg| match arg {
            Arg::Bytes(bytes) => bytes.clone(),
            Arg::Captured(name) => self.captured[name].clone(),
        };
        step.args.iter().map(bytes_of).collect()
    }

    fn ask(&mut self, step: &Step, request: &[Vec<u8>]) -> Result<(), String> {
        let resp = self.resp;
        let server = self.server;
        let client =
            self.connections.entry(step.connection.clone()).or_insert_with(|| match resp {
                Resp::Two => server.client(),
                Resp::Three => server.client_resp3(),
            });
        if !request.is_empty() {
            // The server may have closed the connection, which the reply then shows.
            let _ = client.try_send(encode(request));
        }
        let reply = match step.expect {
            Expect::Nothing => return Ok(()),
            _ => client.read(),
        };
        let matched = match (&step.expect, &reply) {
            (Expect::Closed, reply) => *reply == Err(NoReply::Closed),
            (Expect::Capture(name), Ok(value)) => {
                let bytes = match value {
                    Value::Bulk(bytes) => bytes.clone(),
                    Value::Integer(number) => number.to_string().into_bytes(),
                    _ => return Err(format!("{value:?}, which cannot be captured")),
                };
                self.captured.insert(name.clone(), bytes);
                true
            }
            (expect, Ok(value)) => expect.matches(value, resp),
            (_, Err(_)) => false,
        };
        match reply {
            _ if matched => Ok(()),
            Ok(value) => Err(format!("{value:?}")),
            Err(none) => Err(format!("no reply: {none:?}")),
        }
    }
}

impl Expect {
    fn matches(&self, value: &Value, resp: Resp) -> bool {
        let all = |expected: &[Self], got: &[Value]| {
            expected.len() == got.len()
                && expected.iter().zip(got).all(|(expect, item)| expect.matches(item, resp))
        };
        let three = resp == Resp::Three;
        match (self, value) {
            (Self::Any, _) => true,
            (Self::Simple(text), Value::Simple(got)) => text == got,
            (Self::Error(text), Value::Error(got)) => text == got,
            (Self::ErrorGlob(glob), Value::Error(got)) => glob_matches(glob, got),
            (Self::Integer(number), Value::Integer(got)) => number == got,
            (Self::Range(first, last), Value::Integer(got)) => (first..=last).contains(&got),
            (Self::Bulk(bytes), Value::Bulk(got)) => bytes == got,
            (Self::Glob(glob), Value::Bulk(_) | Value::Simple(_) | Value::Verbatim(_)) => {
                glob_matches(glob, &value.text())
            }
            (Self::Nil | Self::NilArray, Value::Null) => three,
            (Self::Nil, Value::NullBulk) | (Self::NilArray, Value::NullArray) => !three,
            (Self::Array { items, open }, Value::Array(got)) => {
                let shown = if *open { got.len().min(items.len()) } else { got.len() };
                all(items, &got[..shown])
            }
            (Self::AnyOrder(items), Value::Array(got) | Value::Set(got)) => {
                any_order(items, got, resp)
            }
            (Self::Map(pairs), Value::Map(got)) if three => {
                pairs.len() == got.len()
                    && pairs.iter().zip(got).all(|((key, expect), (got_key, got_value))| {
                        key.matches(got_key, resp) && expect.matches(got_value, resp)
                    })
            }
            (Self::Map(pairs), Value::Array(got)) if !three => {
                let flat: Vec<Self> =
                    pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect();
                all(&flat, got)
            }
            (Self::Set(items), Value::Set(got)) if three => all(items, got),
            (Self::Set(items), Value::Array(got)) if !three => all(items, got),
            (Self::Push(items), Value::Push(got)) if three => all(items, got),
            (Self::Push(items), Value::Array(got)) if !three => all(items, got),
            (Self::Double(text), Value::Double(got)) => three && text == got,
            (Self::Double(text), Value::Bulk(got)) => !three && text.as_bytes() == got,
            (Self::Boolean(truth), Value::Boolean(got)) => three && truth == got,
            (Self::Boolean(truth), Value::Integer(got)) => !three && i64::from(*truth) == *got,
            (Self::Verbatim(text), Value::Verbatim(got)) => three && text == &got.as_bytes()[4..],
            (Self::Verbatim(text), Value::Bulk(got)) => !three && text == got,
            (Self::VerbatimGlob(glob), Value::Verbatim(_)) => {
                three && glob_matches(glob, &value.text())
            }
            (Self::VerbatimGlob(glob), Value::Bulk(_)) => {
                !three && glob_matches(glob, &value.text())
            }
            _ => false,
        }
    }
}

/// Whether each of `items` matches an element of its own. Greedy, which suffices for exact items.
fn any_order(items: &[Expect], got: &[Value], resp: Resp) -> bool {
    let mut left: Vec<&Value> = got.iter().collect();
    items.len() == got.len()
        && items.iter().all(|item| {
            let found = left.iter().position(|value| item.matches(value, resp));
            found.map(|index| left.swap_remove(index)).is_some()
        })
}

/// `*` matches any text, all else itself.
fn glob_matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// Lines with their numbers: comments and blank lines left out, continuations joined.
fn joined_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some((_, last)) if line.starts_with(' ') => {
                write!(last, " {}", line.trim()).expect("writing to a string");
            }
            _ => lines.push((index + 1, line.trim_end().to_owned())),
        }
    }
    lines
}

fn parse_step(line: usize, text: &str) -> Result<Step, String> {
    let (mut request, expect) = match text.rsplit_once(" => ") {
        Some(parts) => parts,
        None => return Err("no \" => \"".into()),
    };
    let mut connection = "a";
    if let Some((name, rest)) = request.split_once(':')
        && !name.is_empty()
        && name.chars().all(|letter| letter.is_ascii_lowercase())
    {
        connection = name;
        request = rest.trim_start();
    }
    let rest = request.strip_prefix("eventually ");
    let mut parser = Parser { rest: rest.unwrap_or(request).as_bytes() };
    let args = parser.arguments()?;
    let mut parser = Parser { rest: expect.as_bytes() };
    let expect = parser.expectation(true)?;
    parser.skip_blanks();
    if !parser.rest.is_empty() {
        return Err(format!("left over: {}", quoted(parser.rest)));
    }
    let text = text.to_owned();
    let connection = connection.to_owned();
    Ok(Step { line, text, connection, eventually: rest.is_some(), args, expect })
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token.as_bytes());
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The longest run of bytes that `stop` does not hold for.
    fn until(&mut self, stop: impl Fn(u8) -> bool) -> String {
        let length = self.rest.iter().position(|&byte| stop(byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        String::from_utf8_lossy(word).into_owned()
    }

    fn arguments(&mut self) -> Result<Vec<Arg>, String> {
        let mut args = Vec::new();
        loop {
            self.skip_blanks();
            match self.rest.first() {
                None => return Ok(args),
                Some(b'"' | b'\'') => args.push(Arg::Bytes(self.string()?)),
                Some(b'$') => {
                    self.rest = &self.rest[1..];
                    args.push(Arg::Captured(self.until(|byte| byte == b' ')));
                }
                Some(_) => args.push(Arg::Bytes(self.until(|byte| byte == b' ').into_bytes())),
            }
        }
    }

    /// A quoted string, and how often it is repeated.
    fn string(&mut self) -> Result<Vec<u8>, String> {
        let quote = self.rest[0];
        self.rest = &self.rest[1..];
        let mut bytes = Vec::new();
        loop {
            let (&byte, rest) = self.rest.split_first().ok_or("a quote is not closed")?;
            self.rest = rest;
            match byte {
                _ if byte == quote => break,
                b'\\' => bytes.push(self.escape(quote)?),
                _ => bytes.push(byte),
            }
        }
        if self.take("*") {
            let times = self.until(|byte| !byte.is_ascii_digit());
            let times = times.parse().map_err(|_| format!("{times:?} is no repeat count"))?;
            bytes = bytes.repeat(times);
        }
        Ok(bytes)
    }

    fn escape(&mut self, quote: u8) -> Result<u8, String> {
        let (&byte, rest) = self.rest.split_first().ok_or("a backslash ends the line")?;
        self.rest = rest;
        Ok(match byte {
            _ if quote == b'\'' && byte != b'\'' => return Err("only \\' in single quotes".into()),
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'x' => {
                let digits = self.rest.get(..2).ok_or("\\x takes two digits")?;
                let digits = std::str::from_utf8(digits).map_err(|error| error.to_string())?;
                self.rest = &self.rest[2..];
                u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?
            }
            other => other,
        })
    }

    /// `whole`: not inside of brackets, so that text may go on to the end of the line.
    fn expectation(&mut self, whole: bool) -> Result<Expect, String> {
        self.skip_blanks();
        let ends = |byte: u8| !whole && matches!(byte, b',' | b']' | b'}');
        let first = *self.rest.first().ok_or("an expectation is missing")?;
        let second = self.rest.get(1).copied().unwrap_or(b' ');
        if first.is_ascii_digit() || (first == b'-' && second.is_ascii_digit()) {
            return self.number();
        }
        Ok(match first {
            b'+' => Expect::Simple(self.until(ends)[1..].to_owned()),
            b'-' => Expect::Error(self.until(ends)[1..].to_owned()),
            b'"' | b'\'' => Expect::Bulk(self.string()?),
            b'$' => Expect::Capture(self.until(ends)[1..].to_owned()),
            b'[' => {
                let (items, open) = self.list()?;
                Expect::Array { items, open }
            }
            b'{' => self.map()?,
            b'~' => {
                self.rest = &self.rest[1..];
                Expect::Set(self.list()?.0)
            }
            b'>' => {
                self.rest = &self.rest[1..];
                Expect::Push(self.list()?.0)
            }
            b',' => {
                self.rest = &self.rest[1..];
                Expect::Double(self.until(ends))
            }
            _ => return self.word(),
        })
    }

    fn number(&mut self) -> Result<Expect, String> {
        let text = self.until(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'.'));
        let parse = |text: &str| text.parse::<i64>().map_err(|_| format!("{text:?} is no number"));
        Ok(match text.split_once("..") {
            Some((first, last)) => Expect::Range(parse(first)?, parse(last)?),
            None => Expect::Integer(parse(&text)?),
        })
    }

    fn word(&mut self) -> Result<Expect, String> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| error.to_string());
        if self.take("glob") {
            return Ok(Expect::Glob(text(self.string()?)?));
        }
        if self.take("error") {
            return Ok(Expect::ErrorGlob(text(self.string()?)?));
        }
        if self.take("txt-glob") {
            return Ok(Expect::VerbatimGlob(text(self.string()?)?));
        }
        if self.take("txt") {
            return Ok(Expect::Verbatim(self.string()?));
        }
        if self.take("any-order") {
            return Ok(Expect::AnyOrder(self.list()?.0));
        }
        let word = self.until(|byte| !(byte.is_ascii_alphabetic() || b"-_#".contains(&byte)));
        Ok(match word.as_str() {
            "OK" => Expect::Simple("OK".into()),
            "_" => Expect::Any,
            "nil" => Expect::Nil,
            "nil-array" => Expect::NilArray,
            "nothing" => Expect::Nothing,
            "closed" => Expect::Closed,
            "#t" => Expect::Boolean(true),
            "#f" => Expect::Boolean(false),
            _ => return Err(format!("{word:?} means nothing here")),
        })
    }

    /// A bracketed list, and whether it ends in `...`.
    fn list(&mut self) -> Result<(Vec<Expect>, bool), String> {
        if !self.take("[") {
            return Err("a list starts with [".into());
        }
        let mut items = Vec::new();
        loop {
            self.skip_blanks();
            if self.take("]") {
                return Ok((items, false));
            }
            if self.take("...]") {
                return Ok((items, true));
            }
            items.push(self.expectation(false)?);
            self.skip_blanks();
            let _ = self.take(",");
        }
    }

    fn map(&mut self) -> Result<Expect, String> {
        self.rest = &self.rest[1..];
        let mut pairs = Vec::new();
        loop {
            self.skip_blanks();
            if self.take("}") {
                return Ok(Expect::Map(pairs));
            }
            let key = self.expectation(false)?;
            self.skip_blanks();
            if !self.take(":") {
                return Err("a map's key is followed by a colon".into());
            }
            pairs.push((key, self.expectation(false)?));
            self.skip_blanks();
            let _ = self.take(",");
        }
    }
}
