//! `--mix`: commands, their placeholders and their weights, as text.
//!
//! ```text
//! get=90,set=10
//! get {key}=90,set {key} {value} ex {ttl}=10
//! hset user:{n} name {value}; hget user:{n} name
//! ```
//!
//! Entries are separated by commas or semicolons; an entry's weight stands after its last `=`, and is 1 if
//! there is none. A single word is a built-in command ([`super::command::BUILT_IN`]); anything else is a
//! command as one would type it, its words separated by spaces. Where a word contains a separator or `=`,
//! quotes hold it together: "…" with placeholders, `\"` and `\\` inside, '…' exactly as it stands. `{{` and
//! `}}` are braces.
//!
//! | placeholder | stands for |
//! |---|---|
//! | `{key}` | a key's name: the prefix and twelve digits; each `{key}` of a command is another key |
//! | `{n}` | the twelve digits of the key before it (of the first key, if there is none before) |
//! | `{=NAME}` | NAME, and says that this key is meant to be always the same |
//! | `{value}` | a value of `--value-bytes` |
//! | `{ttl}`, `{ttl_ms}` | a time from `--ttl`, in seconds or milliseconds |
//! | `{random}` | twelve digits of a number below `--keys` that has nothing to do with the key |

use super::sizes::weight;

/// Most words of a command, its name included.
pub(super) const WORDS_MAX: usize = 4_096;

/// Most keys of a command.
pub(super) const KEYS_PER_COMMAND_MAX: usize = 1_024;

/// Most commands of a mix.
pub(super) const COMMANDS_MAX: usize = 256;

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Vec<u8>),
    /// `{=NAME}`.
    Constant(Vec<u8>),
    /// `{key}`: which of the command's keys, from 0.
    Key(usize),
    /// `{n}`: the digits of which key.
    Number(usize),
    Value,
    TtlS,
    TtlMs,
    Random,
}

impl Piece {
    /// Whether it has another length each time.
    pub(super) fn varies(&self) -> bool {
        match self {
            Self::Value | Self::TtlS | Self::TtlMs => true,
            Self::Text(_) | Self::Constant(_) | Self::Key(_) | Self::Number(_) | Self::Random => {
                false
            }
        }
    }
}

/// A command with its placeholders, word by word.
pub(super) type Words = Vec<Vec<Piece>>;

/// One entry of a mix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// As the user wrote it.
    pub(super) text: String,
    pub(super) words: Words,
    pub(super) weight: f64,
}

/// Understands all occurrences of `--mix`.
pub(super) fn parse(texts: &[String]) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for text in texts {
        for entry in split(text)? {
            entries.push(entry_of(entry).map_err(|why| format!("--mix `{}`: {why}", entry.text))?);
        }
    }
    match entries.len() {
        0 => Err("--mix names no command".to_owned()),
        1..=COMMANDS_MAX => Ok(entries),
        count => Err(format!("--mix: {count} commands are more than {COMMANDS_MAX}")),
    }
}

/// An entry as it stands: the command, and what follows its last `=`.
#[derive(Clone, Copy)]
struct Raw<'a> {
    text: &'a str,
    command: &'a str,
    weight: Option<&'a str>,
}

/// Cuts a mix into its entries.
fn split(text: &str) -> Result<Vec<Raw<'_>>, String> {
    let mut entries = Vec::new();
    let (mut start, mut equals) = (0, None);
    let mut scan = Scan::default();
    for (at, byte) in text.bytes().enumerate().chain([(text.len(), b',')]) {
        if at < text.len() && scan.is_inside(byte) {
            continue;
        }
        match byte {
            b'=' => equals = Some(at),
            b',' | b';' => {
                let whole = text[start..at].trim();
                if !whole.is_empty() {
                    entries.push(Raw {
                        text: whole,
                        command: text[start..equals.unwrap_or(at)].trim(),
                        weight: equals.map(|equals| text[equals + 1..at].trim()),
                    });
                }
                (start, equals) = (at + 1, None);
            }
            _ => {}
        }
    }
    match scan.open {
        Some(b'{') => Err(format!("--mix `{text}`: a `{{` has no `}}`")),
        Some(quote) => Err(format!("--mix `{text}`: a {} is not closed", quote as char)),
        None => Ok(entries),
    }
}

/// Where quotes and braces begin and end.
#[derive(Default)]
struct Scan {
    /// The quote or brace that is open.
    open: Option<u8>,
    escaped: bool,
}

impl Scan {
    /// Whether the next byte belongs to a quoted or braced part, its delimiters included.
    fn is_inside(&mut self, byte: u8) -> bool {
        match self.open {
            Some(_) if self.escaped => self.escaped = false,
            Some(b'"') if byte == b'\\' => self.escaped = true,
            // `{{` is a brace that opens nothing.
            Some(b'{') if byte == b'{' => self.open = None,
            Some(b'{') if byte == b'}' => self.open = None,
            Some(quote) if quote == byte => self.open = None,
            Some(_) => {}
            None if matches!(byte, b'"' | b'\'' | b'{') => self.open = Some(byte),
            None => return false,
        }
        true
    }
}

fn entry_of(raw: Raw<'_>) -> Result<Entry, String> {
    let weight = raw
        .weight
        .map_or(Ok(1.0), weight)
        .map_err(|why| format!("{why}; an argument that contains = belongs in quotes"))?;
    Ok(Entry { text: raw.command.to_owned(), words: words(raw.command)?, weight })
}

/// Understands a command.
pub(super) fn words(command: &str) -> Result<Words, String> {
    let mut reader = Reader { rest: command, keys: 0 };
    let mut words = Vec::new();
    while let Some(word) = reader.word()? {
        words.push(word);
        if words.len() > WORDS_MAX {
            return Err(format!("more than {WORDS_MAX} words"));
        }
    }
    if reader.keys > KEYS_PER_COMMAND_MAX {
        return Err(format!("more than {KEYS_PER_COMMAND_MAX} keys"));
    }
    match words.first().map(Vec::as_slice) {
        Some([Piece::Text(_)]) => Ok(words),
        Some(_) => Err("the command's name can't be a placeholder".to_owned()),
        None => Err("there is no command".to_owned()),
    }
}

struct Reader<'a> {
    rest: &'a str,
    /// Keys named so far.
    keys: usize,
}

impl Reader<'_> {
    /// The next word; an empty one only if it was quoted.
    fn word(&mut self) -> Result<Option<Vec<Piece>>, String> {
        self.rest = self.rest.trim_start();
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut pieces = Vec::new();
        let mut quoted = false;
        while let Some(c) = self.rest.chars().next() {
            match c {
                '"' => quoted = !quoted,
                '\'' if !quoted => {
                    let (text, rest) =
                        self.rest[1..].split_once('\'').ok_or("a ' is not closed")?;
                    push_text(&mut pieces, text);
                    self.rest = rest;
                    continue;
                }
                '\\' if quoted => {
                    let escaped = self.rest[1..].chars().next().ok_or("a \" is not closed")?;
                    push_text(&mut pieces, escaped.encode_utf8(&mut [0; 4]));
                    self.rest = &self.rest[1 + escaped.len_utf8()..];
                    continue;
                }
                '{' | '}' => {
                    self.brace(&mut pieces)?;
                    continue;
                }
                c if c.is_whitespace() && !quoted => break,
                c => push_text(&mut pieces, c.encode_utf8(&mut [0; 4])),
            }
            self.rest = &self.rest[c.len_utf8()..];
        }
        if quoted {
            return Err("a \" is not closed".to_owned());
        }
        if pieces.is_empty() {
            pieces.push(Piece::Text(Vec::new()));
        }
        Ok(Some(pieces))
    }

    /// A placeholder or a doubled brace.
    fn brace(&mut self, pieces: &mut Vec<Piece>) -> Result<(), String> {
        for double in ["{{", "}}"] {
            if let Some(rest) = self.rest.strip_prefix(double) {
                push_text(pieces, &double[..1]);
                self.rest = rest;
                return Ok(());
            }
        }
        let Some(inside) = self.rest.strip_prefix('{') else {
            return Err("a `}` stands alone; `}}` is a brace".to_owned());
        };
        let (name, rest) = inside.split_once('}').ok_or("a `{` has no `}`")?;
        self.rest = rest;
        pieces.push(self.placeholder(name)?);
        Ok(())
    }

    fn placeholder(&mut self, name: &str) -> Result<Piece, String> {
        if let Some(constant) = name.strip_prefix('=') {
            return Ok(Piece::Constant(constant.as_bytes().to_vec()));
        }
        Ok(match name {
            "key" => {
                self.keys += 1;
                Piece::Key(self.keys - 1)
            }
            "n" => Piece::Number(self.keys.saturating_sub(1)),
            "value" => Piece::Value,
            "ttl" => Piece::TtlS,
            "ttl_ms" => Piece::TtlMs,
            "random" => Piece::Random,
            _ => {
                return Err(format!(
                    "{{{name}}} is no placeholder; there are {{key}}, {{n}}, {{=NAME}}, {{value}}, \
                     {{ttl}}, {{ttl_ms}} and {{random}}"
                ));
            }
        })
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if let Some(Piece::Text(before)) = pieces.last_mut() {
        before.extend_from_slice(text.as_bytes());
    } else {
        pieces.push(Piece::Text(text.as_bytes().to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, parse, words};

    fn text(text: &str) -> Piece {
        Piece::Text(text.as_bytes().to_vec())
    }

    fn entries(mix: &str) -> Vec<(String, f64)> {
        parse(&[mix.to_owned()])
            .unwrap()
            .into_iter()
            .map(|entry| (entry.text, entry.weight))
            .collect()
    }

    fn error(mix: &str) -> String {
        parse(&[mix.to_owned()]).err().unwrap()
    }

    #[test]
    fn a_mix_is_cut_into_commands_and_weights() {
        for (mix, expected) in [
            ("get", &[("get", 1.0)][..]),
            ("get=90,set=10", &[("get", 90.0), ("set", 10.0)]),
            (" get = 90 ; set = 0.5 ,", &[("get", 90.0), ("set", 0.5)]),
            (
                "get {key}=90,set {key} {value} ex {ttl}=10",
                &[("get {key}", 90.0), ("set {key} {value} ex {ttl}", 10.0)],
            ),
            ("set {key} \"a=b,c\"=3", &[("set {key} \"a=b,c\"", 3.0)]),
            ("set {key} 'a;\"b'", &[("set {key} 'a;\"b'", 1.0)]),
            ("set {key} \"a\\\",=b\"=2,ping", &[("set {key} \"a\\\",=b\"", 2.0), ("ping", 1.0)]),
            ("set {key} a=b=2", &[("set {key} a=b", 2.0)]),
            ("rpop {=a,b=c}", &[("rpop {=a,b=c}", 1.0)]),
            ("get {{,a}}=4", &[("get {{", 1.0), ("a}}", 4.0)]),
        ] {
            let expected: Vec<(String, f64)> =
                expected.iter().map(|(text, weight)| ((*text).to_owned(), *weight)).collect();
            assert_eq!(entries(mix), expected, "{mix}");
        }
        let both = parse(&["get=1".to_owned(), "set=2".to_owned()]).unwrap();
        assert_eq!(both.len(), 2, "occurrences add up");
    }

    #[test]
    fn words_and_placeholders_are_told_apart() {
        for (command, expected) in [
            ("PING", vec![vec![text("PING")]]),
            ("get {key}", vec![vec![text("get")], vec![Piece::Key(0)]]),
            (
                "hset a:{n}:b {n} \"x {value}\"",
                vec![
                    vec![text("hset")],
                    vec![text("a:"), Piece::Number(0), text(":b")],
                    vec![Piece::Number(0)],
                    vec![text("x "), Piece::Value],
                ],
            ),
            (
                "m {key} {n} {key} {n}",
                vec![
                    vec![text("m")],
                    vec![Piece::Key(0)],
                    vec![Piece::Number(0)],
                    vec![Piece::Key(1)],
                    vec![Piece::Number(1)],
                ],
            ),
            (
                "x '{key} \\' \"\\\"{{a}}\" '' {ttl} {ttl_ms} {random} {=m l}",
                vec![
                    vec![text("x")],
                    vec![text("{key} \\")],
                    vec![text("\"{a}")],
                    vec![text("")],
                    vec![Piece::TtlS],
                    vec![Piece::TtlMs],
                    vec![Piece::Random],
                    vec![Piece::Constant(b"m l".to_vec())],
                ],
            ),
            ("get {{ü}}:{key}", vec![vec![text("get")], vec![text("{ü}:"), Piece::Key(0)]]),
        ] {
            assert_eq!(words(command), Ok(expected), "{command}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_a_sentence() {
        for (mix, part) in [
            ("", "--mix names no command"),
            (" , ;", "--mix names no command"),
            ("get=0", "--mix `get=0`: `0` is no weight, which is a number above 0"),
            ("get=-5", "`-5` is no weight"),
            ("get=NaN", "`NaN` is no weight"),
            ("get=inf", "`inf` is no weight"),
            ("get=", "`` is no weight"),
            (
                "set {key} a=b",
                "`b` is no weight, which is a number above 0; an argument that contains =",
            ),
            ("=5", "there is no command"),
            ("get {kye}=5", "{kye} is no placeholder; there are {key}"),
            ("get {}", "{} is no placeholder"),
            ("get {key", "a `{` has no `}`"),
            ("get key}", "a `}` stands alone"),
            ("get \"a", "a \" is not closed"),
            ("get 'a", "a ' is not closed"),
            ("{key} a", "the command's name can't be a placeholder"),
        ] {
            assert!(error(mix).contains(part), "{mix}: {}", error(mix));
        }
        let many = vec!["get {key}"; 257].join(",");
        assert!(error(&many).contains("257 commands are more than 256"));
        let keys = format!("mget {}", "{key} ".repeat(1_025));
        assert!(error(&keys).contains("more than 1024 keys"));
        let long = format!("mget {}", "a ".repeat(4_096));
        assert!(error(&long).contains("more than 4096 words"));
    }
}
