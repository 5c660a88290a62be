//! A command rendered in advance: its bytes, with gaps where keys, values and TTLs go.
//!
//! Whatever has the same length each time stands in one text, which is copied at once and has its digits, and
//! short values of a fixed length, patched; other values and TTLs are put between such copies. Writing a
//! request allocates nothing, if the output has room.

use super::mix::{Piece, Words};
use super::random::Random;
use super::values::Values;
use super::{Digits, Op};

/// Digits of a key's number, as redis-benchmark has them.
pub(super) const KEY_DIGITS: usize = 12;

/// Longest key, in bytes.
pub(super) const KEY_BYTES_MAX: usize = 512;

/// Longest command without its values, in bytes.
const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// What all commands of a workload have in common.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style<'a> {
    /// What the names of keys begin with.
    pub(super) prefix: &'a str,
    pub(super) digits: Digits,
    /// The length of values, if all have the same, are short and consist of random bytes.
    pub(super) value_bytes: Option<u32>,
}

/// How words are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Framing {
    /// A RESP request.
    #[default]
    Resp,
    /// A list of the binary protocol: their number and the length of each in four bytes.
    List,
    /// Nothing between them.
    Bare,
}

/// A command, or a part of one, to be written.
#[derive(Clone, Debug)]
pub(super) struct Template {
    text: Box<[u8]>,
    patches: Box<[Patch]>,
    parts: Box<[Part]>,
    key_name: Option<KeyName>,
    /// How many keys a request has.
    pub(super) keys: usize,
    pub(super) has_value: bool,
    pub(super) has_ttl: bool,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// `text[start..end]`, patched by `patches[first..last]`.
    Text {
        start: u32,
        end: u32,
        first: u32,
        last: u32,
    },
    /// `$length`, where `around` bytes stand around the gap.
    Length {
        gap: Gap,
        around: u32,
    },
    /// The same in four bytes.
    Length32 {
        gap: Gap,
        around: u32,
    },
    Gap(Gap),
}

/// What has another length each time.
#[derive(Clone, Copy, Debug)]
enum Gap {
    /// The value of which key.
    Value(u16),
    TtlS,
    TtlMs,
    /// The digits of a trace's key, after a prefix of so many bytes.
    Key {
        prefix: u32,
    },
}

/// What is written over an offset of the text.
#[derive(Clone, Copy, Debug)]
struct Patch {
    at: u32,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// Twelve digits: the number of which key.
    Key(u16),
    /// Twelve digits.
    Random,
    /// The value, of the fixed length, of which key.
    Value { key: u16, bytes: u32 },
}

/// The name of the first key by itself.
#[derive(Clone, Debug)]
enum KeyName {
    /// Digits at offsets of a text.
    Patched { text: Box<[u8]>, offsets: Box<[usize]> },
    /// A prefix and the digits of a trace's key.
    Traced { prefix: Box<[u8]> },
}

/// What a request is written with.
pub(super) struct Ink<'a> {
    pub(super) values: &'a Values,
    pub(super) random: &'a mut Random,
    /// `{random}` is below it.
    pub(super) random_below: u64,
}

impl Template {
    /// Renders a command as a RESP request.
    pub(super) fn new(words: &Words, style: Style<'_>) -> Result<Self, String> {
        let key_name = key_name(words, style.prefix, style.digits)?;
        Ok(Self { key_name, ..Self::part(words, style, Framing::Resp)? })
    }

    /// Renders some words of a command, which has been rendered as a whole before.
    pub(super) fn part(
        words: &[Vec<Piece>],
        style: Style<'_>,
        framing: Framing,
    ) -> Result<Self, String> {
        let mut builder = Builder { style, framing, ..Builder::default() };
        builder.begin(words.len());
        for word in words {
            builder.word(word)?;
        }
        builder.end_text();
        if builder.text.len() > TEXT_BYTES_MAX {
            return Err(format!("longer than {TEXT_BYTES_MAX} bytes without its values"));
        }
        let pieces = || words.iter().flatten();
        let keys = pieces().filter(|piece| matches!(piece, Piece::Key(_))).count();
        Ok(Self {
            text: builder.text.into(),
            patches: builder.patches.into(),
            parts: builder.parts.into(),
            key_name: None,
            keys,
            has_value: pieces().any(|piece| *piece == Piece::Value),
            has_ttl: pieces().any(|piece| matches!(piece, Piece::TtlS | Piece::TtlMs)),
        })
    }

    /// Appends the request `op`, whose keys are `keys`.
    pub(super) fn write(&self, op: &Op, keys: &[u64], ink: &mut Ink<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match *part {
                Part::Text { start, end, first, last } => {
                    let at = out.len();
                    out.extend_from_slice(&self.text[start as usize..end as usize]);
                    for patch in &self.patches[first as usize..last as usize] {
                        let out = &mut out[at + (patch.at - start) as usize..];
                        match patch.what {
                            What::Key(index) => write_digits(out, keys[usize::from(index)]),
                            What::Random => write_digits(out, ink.random.below(ink.random_below)),
                            What::Value { key, bytes } => {
                                let key = keys[usize::from(key)];
                                ink.values.fill(key, &mut out[..bytes as usize]);
                            }
                        }
                    }
                }
                Part::Length { gap, around } => {
                    out.push(b'$');
                    let length = around as usize + gap.length(op);
                    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                    out.extend_from_slice(b"\r\n");
                }
                Part::Length32 { gap, around } => {
                    let length = around as usize + gap.length(op);
                    out.extend_from_slice(&narrow(length).to_le_bytes());
                }
                Part::Gap(gap) => match gap {
                    Gap::Value(index) => {
                        let key = keys[usize::from(index)];
                        ink.values.append(key, op.version, op.value_bytes, out);
                    }
                    Gap::TtlS | Gap::TtlMs => {
                        out.extend_from_slice(itoa::Buffer::new().format(gap.ttl(op)).as_bytes());
                    }
                    Gap::Key { .. } => append_digits(op.key, gap.length(op), out),
                },
            }
        }
    }

    /// How many bytes [`Template::write`] appends for `op`, if they are no RESP request.
    pub(super) fn bytes(&self, op: &Op) -> usize {
        let bytes = |part: &Part| match *part {
            Part::Text { start, end, .. } => (end - start) as usize,
            Part::Length { .. } => unreachable!("only in RESP"),
            Part::Length32 { .. } => size_of::<u32>(),
            Part::Gap(gap) => gap.length(op),
        };
        self.parts.iter().map(bytes).sum()
    }

    /// Appends the name of the first key; nothing if the command has none.
    pub(super) fn write_key(&self, op: &Op, out: &mut Vec<u8>) {
        match &self.key_name {
            Some(KeyName::Patched { text, offsets }) => {
                let start = out.len();
                out.extend_from_slice(text);
                for offset in offsets {
                    let at = start + offset;
                    write_digits(&mut out[at..], op.key);
                }
            }
            Some(KeyName::Traced { prefix }) => {
                out.extend_from_slice(prefix);
                append_digits(op.key, trace_digits(op, prefix.len()), out);
            }
            None => {}
        }
    }

    /// Whether nothing is ever written.
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether the command names a key.
    pub(super) fn has_key(&self) -> bool {
        self.key_name.is_some()
    }
}

impl Gap {
    fn length(self, op: &Op) -> usize {
        match self {
            Self::Value(_) => op.value_bytes as usize,
            Self::TtlS | Self::TtlMs => itoa::Buffer::new().format(self.ttl(op)).len(),
            Self::Key { prefix } => trace_digits(op, prefix as usize),
        }
    }

    fn ttl(self, op: &Op) -> u32 {
        if matches!(self, Self::TtlS) { op.ttl_ms.div_ceil(1_000) } else { op.ttl_ms }
    }
}

/// How many digits a trace's key has after a prefix: so many that it is as long as in the trace, but all that
/// its number needs, and twelve where the trace does not say.
fn trace_digits(op: &Op, prefix: usize) -> usize {
    let needed = op.key.checked_ilog10().map_or(1, |log| log as usize + 1);
    match op.key_bytes {
        0 => needed.max(KEY_DIGITS),
        bytes => needed.max(usize::from(bytes).saturating_sub(prefix)),
    }
}

fn append_digits(number: u64, digits: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    out.resize(out.len() + digits.saturating_sub(text.len()), b'0');
    out.extend_from_slice(text);
}

/// Writes `number`, which is below 10^12, in twelve digits at the start of `out`: two at a time, from three
/// independent groups of four.
fn write_digits(out: &mut [u8], number: u64) {
    let out = out.first_chunk_mut::<KEY_DIGITS>().expect("there is room for them");
    let (high, rest) = (number / 100_000_000, number % 100_000_000);
    for (group, at) in [(high, 0), (rest / 10_000, 4), (rest % 10_000, 8)] {
        out[at..at + 2].copy_from_slice(&PAIRS[usize::try_from(group / 100).unwrap_or_default()]);
        out[at + 2..at + 4]
            .copy_from_slice(&PAIRS[usize::try_from(group % 100).unwrap_or_default()]);
    }
}

/// "00" to "99".
static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    let mut digits = [b'0'; 2];
    while number < 100 {
        pairs[number] = digits;
        digits[1] += 1;
        if digits[1] > b'9' {
            digits = [digits[0] + 1, b'0'];
        }
        number += 1;
    }
    pairs
};

#[derive(Default)]
struct Builder<'a> {
    style: Style<'a>,
    framing: Framing,
    text: Vec<u8>,
    patches: Vec<Patch>,
    parts: Vec<Part>,
    /// Where the text and the patches that are in no part yet begin.
    text_start: usize,
    first_patch: usize,
    /// The key that a value belongs to: the one named last.
    key: u16,
}

impl Builder<'_> {
    fn begin(&mut self, words: usize) {
        match self.framing {
            Framing::Resp => self.text.extend_from_slice(format!("*{words}\r\n").as_bytes()),
            Framing::List => self.text.extend_from_slice(&narrow(words).to_le_bytes()),
            Framing::Bare => {}
        }
    }

    fn word(&mut self, word: &[Piece]) -> Result<(), String> {
        if word.iter().filter(|piece| piece.varies()).count() > 1 {
            return Err(
                "an argument can hold only one of {value}, {ttl} and {ttl_ms}, and only once"
                    .to_owned(),
            );
        }
        let gaps = word.iter().filter(|piece| self.is_gap(piece)).count();
        let fixed: usize = word.iter().map(|piece| self.fixed_bytes(piece)).sum();
        match gaps {
            0 => match self.framing {
                Framing::Resp => self.text.extend_from_slice(format!("${fixed}\r\n").as_bytes()),
                Framing::List => self.text.extend_from_slice(&narrow(fixed).to_le_bytes()),
                Framing::Bare => {}
            },
            1 => {
                self.end_text();
                let (gap, around) = (self.gap_of(word), narrow(fixed));
                match self.framing {
                    Framing::Resp => self.parts.push(Part::Length { gap, around }),
                    Framing::List => self.parts.push(Part::Length32 { gap, around }),
                    Framing::Bare => {}
                }
            }
            _ => return Err("a trace's key can't share an argument with others".to_owned()),
        }
        for piece in word {
            self.piece(piece);
        }
        if self.framing == Framing::Resp {
            self.text.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    fn piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Text(text) | Piece::Constant(text) => self.text.extend_from_slice(text),
            Piece::Key(index) => {
                self.key = index_of(*index);
                self.text.extend_from_slice(self.style.prefix.as_bytes());
                match self.style.digits {
                    Digits::Twelve => self.patch(What::Key(index_of(*index)), KEY_DIGITS),
                    Digits::Traced => self.gap(piece),
                }
            }
            Piece::Number(index) => self.patch(What::Key(index_of(*index)), KEY_DIGITS),
            Piece::Random => self.patch(What::Random, KEY_DIGITS),
            Piece::Value => match self.style.value_bytes {
                Some(bytes) => self.patch(What::Value { key: self.key, bytes }, bytes as usize),
                None => self.gap(piece),
            },
            Piece::TtlS | Piece::TtlMs => self.gap(piece),
        }
    }

    fn patch(&mut self, what: What, bytes: usize) {
        self.patches.push(Patch { at: narrow(self.text.len()), what });
        self.text.resize(self.text.len() + bytes, b'0');
    }

    fn gap(&mut self, piece: &Piece) {
        self.end_text();
        let gap = self.gap_of(std::slice::from_ref(piece));
        self.parts.push(Part::Gap(gap));
    }

    /// The gap among `pieces`, of which one is a gap.
    fn gap_of(&self, pieces: &[Piece]) -> Gap {
        let key = || Gap::Key { prefix: narrow(self.style.prefix.len()) };
        pieces
            .iter()
            .find_map(|piece| match piece {
                Piece::Value => Some(Gap::Value(self.key)),
                Piece::TtlS => Some(Gap::TtlS),
                Piece::TtlMs => Some(Gap::TtlMs),
                Piece::Key(_) => Some(key()),
                Piece::Text(_) | Piece::Constant(_) | Piece::Number(_) | Piece::Random => None,
            })
            .unwrap_or_else(key)
    }

    fn is_gap(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Value => self.style.value_bytes.is_none(),
            Piece::Key(_) => self.style.digits == Digits::Traced,
            _ => piece.varies(),
        }
    }

    /// How many bytes of the piece are the same in number each time.
    fn fixed_bytes(&self, piece: &Piece) -> usize {
        let Style { prefix, digits, value_bytes } = self.style;
        match (piece, digits) {
            (Piece::Text(text) | Piece::Constant(text), _) => text.len(),
            (Piece::Key(_), Digits::Twelve) => prefix.len() + KEY_DIGITS,
            (Piece::Key(_), Digits::Traced) => prefix.len(),
            (Piece::Number(_) | Piece::Random, _) => KEY_DIGITS,
            (Piece::Value, _) => value_bytes.unwrap_or_default() as usize,
            (Piece::TtlS | Piece::TtlMs, _) => 0,
        }
    }

    fn end_text(&mut self) {
        if self.text.len() > self.text_start {
            self.parts.push(Part::Text {
                start: narrow(self.text_start),
                end: narrow(self.text.len()),
                first: narrow(self.first_patch),
                last: narrow(self.patches.len()),
            });
        }
        (self.text_start, self.first_patch) = (self.text.len(), self.patches.len());
    }
}

/// The name of the command's first key: of the first word that holds `{key}` or `{=NAME}`, or else `{n}`.
fn key_name(words: &Words, prefix: &str, digits: Digits) -> Result<Option<KeyName>, String> {
    let first = |wanted: fn(&Piece) -> bool| words.iter().find(|word| word.iter().any(wanted));
    let word = first(|piece| matches!(piece, Piece::Key(_) | Piece::Constant(_)))
        .or_else(|| first(|piece| matches!(piece, Piece::Number(_))));
    let Some(word) = word else { return Ok(None) };
    if digits == Digits::Traced {
        return Ok(Some(KeyName::Traced { prefix: prefix.as_bytes().into() }));
    }
    let (mut text, mut offsets) = (Vec::new(), Vec::new());
    for piece in word {
        match piece {
            Piece::Text(literal) | Piece::Constant(literal) => text.extend_from_slice(literal),
            Piece::Key(_) | Piece::Number(_) => {
                if matches!(piece, Piece::Key(_)) {
                    text.extend_from_slice(prefix.as_bytes());
                }
                offsets.push(text.len());
                text.extend_from_slice(&[b'0'; KEY_DIGITS]);
            }
            Piece::Value | Piece::TtlS | Piece::TtlMs | Piece::Random => {
                return Err(
                    "a key's name can't hold {value}, {ttl}, {ttl_ms} or {random}".to_owned()
                );
            }
        }
    }
    if text.len() > KEY_BYTES_MAX {
        return Err(format!("a key's name is longer than {KEY_BYTES_MAX} bytes"));
    }
    Ok(Some(KeyName::Patched { text: text.into(), offsets: offsets.into() }))
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("command lines are shorter than 4 GiB")
}

fn index_of(index: usize) -> u16 {
    u16::try_from(index).expect("below KEYS_PER_COMMAND_MAX")
}

#[cfg(test)]
mod tests {
    use super::{Digits, Ink, KEY_DIGITS, Op, Style, Template, write_digits};
    use crate::work::mix::words;
    use crate::work::random::Random;
    use crate::work::values::{Content, Values};

    fn template(command: &str, digits: Digits) -> Template {
        let style = Style { prefix: "key:", digits, value_bytes: None };
        Template::new(&words(command).unwrap(), style).unwrap()
    }

    fn write(template: &Template, op: &Op, keys: &[u64]) -> String {
        let values = Values::new(1, Content::Plain);
        let mut ink = Ink { values: &values, random: &mut Random::new(1, 1), random_below: 1 };
        let mut out = b"|".to_vec();
        template.write(op, keys, &mut ink, &mut out);
        String::from_utf8(out.split_off(1)).unwrap()
    }

    fn key(template: &Template, op: &Op) -> String {
        let mut out = Vec::new();
        template.write_key(op, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_are_written_byte_for_byte() {
        let op = Op { key: 42, ttl_ms: 1_500, ..Op::default() };
        for (command, keys, expected, name) in [
            ("PING", &[42][..], "*1\r\n$4\r\nPING\r\n", ""),
            (
                "get {key}",
                &[42],
                "*2\r\n$3\r\nget\r\n$16\r\nkey:000000000042\r\n",
                "key:000000000042",
            ),
            (
                "set {key} {value} ex {ttl}",
                &[42],
                "*5\r\n$3\r\nset\r\n$16\r\nkey:000000000042\r\n$0\r\n\r\n$2\r\nex\r\n$1\r\n2\r\n",
                "key:000000000042",
            ),
            (
                "set a:{n}:b x{value}y{n} px {ttl_ms}",
                &[42],
                "*5\r\n$3\r\nset\r\n$16\r\na:000000000042:b\r\n$14\r\nxy000000000042\r\n$2\r\npx\r\n$4\r\n1500\r\n",
                "a:000000000042:b",
            ),
            (
                "mget {key} {key} {n}",
                &[42, 999_999_999_999],
                "*4\r\n$4\r\nmget\r\n$16\r\nkey:000000000042\r\n$16\r\nkey:999999999999\r\n$12\r\n999999999999\r\n",
                "key:000000000042",
            ),
            (
                "hset {=h} f:{n} \"{value}\" {random}",
                &[42],
                "*5\r\n$4\r\nhset\r\n$1\r\nh\r\n$14\r\nf:000000000042\r\n$0\r\n\r\n$12\r\n000000000000\r\n",
                "h",
            ),
        ] {
            let template = template(command, Digits::Twelve);
            assert_eq!(write(&template, &op, keys), expected, "{command}");
            assert_eq!(key(&template, &op), name, "{command}");
            assert_eq!(template.has_key(), !name.is_empty());
        }
    }

    #[test]
    fn values_stand_where_their_placeholder_does() {
        let template = template("mset {key} {value} {key} <{value}>", Digits::Twelve);
        let values = Values::new(1, Content::Plain);
        let mut ink = Ink { values: &values, random: &mut Random::new(1, 1), random_below: 1 };
        let (mut out, mut first, mut second) = (Vec::new(), Vec::new(), Vec::new());
        let op = Op { key: 7, value_bytes: 100, ..Op::default() };
        template.write(&op, &[7, 8], &mut ink, &mut out);
        values.append(7, 0, 100, &mut first);
        values.append(8, 0, 100, &mut second);
        let expected = [
            b"*5\r\n$4\r\nmset\r\n$16\r\nkey:000000000007\r\n$100\r\n",
            &first[..],
            b"\r\n$16\r\nkey:000000000008\r\n$102\r\n<",
            &second[..],
            b">\r\n",
        ]
        .concat();
        assert_eq!(out, expected);
    }

    /// Rendered in advance or put together, a request is the same.
    #[test]
    fn values_of_a_fixed_length_are_those_that_any_length_has() {
        for command in
            ["set {key} {value}", "mset {key} <{value}> {key} {value} px {ttl_ms}", "echo {value}"]
        {
            for bytes in [0, 1, 64, 200] {
                let values = Values::new(1, Content::Plain);
                let written = |value_bytes| {
                    let style = Style { prefix: "key:", value_bytes, ..Style::default() };
                    let template = Template::new(&words(command).unwrap(), style).unwrap();
                    let random = &mut Random::new(1, 1);
                    let mut ink = Ink { values: &values, random, random_below: 1 };
                    let mut out = Vec::new();
                    for key in 0..300 {
                        let op = Op { key, value_bytes: bytes, ttl_ms: 70, ..Op::default() };
                        template.write(&op, &[key, key + 1], &mut ink, &mut out);
                    }
                    out
                };
                assert!(written(None) == written(Some(bytes)), "{command}, {bytes}");
            }
        }
    }

    #[test]
    fn a_traces_keys_are_as_long_as_in_the_trace() {
        let template = template("get {key}", Digits::Traced);
        for (number, key_bytes, expected) in [
            (42, 0, "key:000000000042"),
            (u64::MAX, 0, "key:18446744073709551615"),
            (42, 10, "key:000042"),
            (123_456, 3, "key:123456"),
            (0, 5, "key:0"),
        ] {
            let op = Op { key: number, key_bytes, ..Op::default() };
            assert_eq!(key(&template, &op), expected);
            let request = format!("*2\r\n$3\r\nget\r\n${}\r\n{expected}\r\n", expected.len());
            assert_eq!(write(&template, &op, &[number]), request);
        }
    }

    #[test]
    fn digits_are_decimal() {
        let mut random = Random::new(1, 1);
        for number in (0..1_000).chain((0..1_000).map(|_| random.below(1_000_000_000_000))) {
            let mut out = [b'x'; KEY_DIGITS];
            write_digits(&mut out, number);
            assert_eq!(str::from_utf8(&out).unwrap(), format!("{number:012}"));
        }
    }

    #[test]
    fn what_cannot_be_rendered_is_refused() {
        for (command, part) in [
            ("set {key} {value}{value}", "an argument can hold only one of {value}"),
            ("set {key}{ttl} 1", "a key's name can't hold {value}"),
            (&format!("get {}{{key}}", "a".repeat(500)), "a key's name is longer than 512 bytes"),
        ] {
            for value_bytes in [None, Some(3)] {
                let style = Style { prefix: "key:", value_bytes, ..Style::default() };
                let error = Template::new(&words(command).unwrap(), style).err().unwrap();
                assert!(error.contains(part), "{error}");
            }
        }
    }
}
