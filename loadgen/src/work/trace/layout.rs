//! How a trace's lines are laid out, and what one of them asks for.
//!
//! | `--trace-format` | columns |
//! |---|---|
//! | `ringmain` | `timestamp,operation,key[,size[,ttl]]` |
//! | `twitter` | `timestamp,anonymized key,key size,value size,client id,operation,TTL` |
//! | `libcachesim` | `time,obj_id,obj_size[,…]`, or `obj_id` alone |
//! | `time-col=2,obj-id-col=5,obj-size-col=4,…` | libCacheSim's own way to name columns, from 1 |
//! | `auto` | by a header line that names the columns, or else by what the first line looks like |
//!
//! Columns of the last but one form are also `op-col`, `ttl-col`, `key-size-col`; beside them may stand
//! `delimiter=…` and `has-header=true`. Timestamps and TTLs are in seconds, with decimals if need be, and
//! any origin; sizes in bytes. Operations are memcached's and Redis's (`get`, `gets`, `set`, `add`,
//! `replace`, `cas`, `append`, `prepend`, `delete`, `incr`, `decr`, `touch`, …) and SCSI's codes for read and
//! write; without an operation a line is a read. Delimiters are found out: comma, tab, semicolon, bar or
//! spaces. A key with a delimiter in it keeps it; quotes around a key are taken off.
//!
//! A key that is a number without leading zeros is the key of that number, any other the number that xxh3
//! makes of it: in 64 bits, ten million keys meet by accident once in 370,000 traces.

use memchr::memchr_iter;
use xxhash_rust::xxh3::xxh3_64;

use crate::work::sizes::VALUE_BYTES_MAX;
use crate::work::template::KEY_BYTES_MAX;

/// Most columns that are looked at.
const COLUMNS_MAX: usize = 64;

const SECOND_NS: u64 = 1_000_000_000;

/// What a line asks for; also the index of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Set,
    Add,
    Replace,
    Append,
    Delete,
    Incr,
    Decr,
    Touch,
}

impl Verb {
    fn new(name: &[u8]) -> Option<Self> {
        let mut lower = [0; 16];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"get" | b"gets" | b"read" | b"gat" | b"mget" | b"get_lease" | b"28" | b"88"
            | b"08" | b"a8" => Self::Get,
            b"set" | b"cas" | b"write" | b"put" | b"set_lease" | b"2a" | b"8a" | b"0a" | b"aa" => {
                Self::Set
            }
            b"add" | b"setnx" => Self::Add,
            b"replace" => Self::Replace,
            b"append" | b"prepend" => Self::Append,
            b"delete" | b"del" | b"unlink" | b"remove" => Self::Delete,
            b"incr" => Self::Incr,
            b"decr" => Self::Decr,
            b"touch" | b"expire" => Self::Touch,
            _ => return None,
        })
    }
}

/// One line, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at_ns: u64,
    pub(super) verb: Verb,
    pub(super) key: u64,
    /// 0 if the trace does not say.
    pub(super) key_bytes: u16,
    pub(super) value_bytes: u32,
    pub(super) ttl_ms: u32,
}

/// Where the columns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    name: &'static str,
    delimiter: u8,
    has_header: bool,
    /// Columns that a line has; more delimiters than that belong to its key.
    columns: usize,
    time: Option<usize>,
    key: usize,
    key_bytes: Option<usize>,
    value_bytes: Option<usize>,
    verb: Option<usize>,
    ttl: Option<usize>,
}

impl Layout {
    /// Understands `--trace-format` with the help of the trace's first line.
    pub(super) fn new(format: &str, first_line: &[u8]) -> Result<Self, String> {
        let delimiter = delimiter(first_line);
        let fields: Vec<&[u8]> = split(first_line, delimiter).take(COLUMNS_MAX).collect();
        match format {
            "auto" => Self::by_header(delimiter, &fields)
                .or_else(|| Self::by_looks(delimiter, &fields))
                .ok_or_else(|| {
                    format!(
                        "its first line `{}` looks like no known layout; name one with --trace-format",
                        excerpt(first_line)
                    )
                }),
            "ringmain" => Ok(Self::by_header(delimiter, &fields).unwrap_or(Self::ringmain(delimiter))),
            "twitter" => Ok(Self::twitter(delimiter)),
            "libcachesim" => Ok(Self::by_header(delimiter, &fields)
                .unwrap_or(Self::lib_cache_sim(delimiter, fields.len()))),
            columns if columns.contains('=') => {
                Self::by_columns(columns, delimiter, &fields).map_err(|why| format!("--trace-format {why}"))
            }
            _ => Err(format!(
                "--trace-format {format}: must be auto, ringmain, twitter, libcachesim or columns like \
                 time-col=1,obj-id-col=2,obj-size-col=3"
            )),
        }
    }

    /// What users know the layout by.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn has_header(&self) -> bool {
        self.has_header
    }

    pub(super) fn has_time(&self) -> bool {
        self.time.is_some()
    }

    fn plain(name: &'static str, delimiter: u8, columns: usize) -> Self {
        Self {
            name,
            delimiter,
            has_header: false,
            columns,
            time: None,
            key: 0,
            key_bytes: None,
            value_bytes: None,
            verb: None,
            ttl: None,
        }
    }

    fn ringmain(delimiter: u8) -> Self {
        Self {
            time: Some(0),
            verb: Some(1),
            key: 2,
            value_bytes: Some(3),
            ttl: Some(4),
            ..Self::plain("ringmain", delimiter, 5)
        }
    }

    fn twitter(delimiter: u8) -> Self {
        Self {
            time: Some(0),
            key: 1,
            key_bytes: Some(2),
            value_bytes: Some(3),
            verb: Some(5),
            ttl: Some(6),
            ..Self::plain("twitter", delimiter, 7)
        }
    }

    fn lib_cache_sim(delimiter: u8, columns: usize) -> Self {
        let plain = Self::plain("libcachesim", delimiter, columns.max(1));
        match columns {
            0 | 1 => plain,
            2 => Self { time: Some(0), key: 1, ..plain },
            _ => Self { time: Some(0), key: 1, value_bytes: Some(2), ..plain },
        }
    }

    /// By a first line that names its columns.
    fn by_header(delimiter: u8, fields: &[&[u8]]) -> Option<Self> {
        let names: Vec<String> = fields.iter().map(|field| column_name(field)).collect();
        let find = |known: &[&str]| {
            known.iter().find_map(|known| names.iter().position(|name| name == known))
        };
        let key =
            find(&["key", "anonymizedkey", "objid", "objectid", "obj", "object", "id", "lbn"])?;
        Some(Self {
            has_header: true,
            time: find(&["timestamp", "time", "realtime", "clocktime", "ts"]),
            key,
            key_bytes: find(&["keysize", "keybytes"]),
            value_bytes: find(&[
                "valuesize",
                "valuebytes",
                "objsize",
                "objectsize",
                "size",
                "bytes",
            ]),
            verb: find(&["operation", "op", "optype", "command", "cmd"]),
            ttl: find(&["ttl"]),
            ..Self::plain("named columns", delimiter, names.len())
        })
    }

    /// By what the first line's fields are.
    fn by_looks(delimiter: u8, fields: &[&[u8]]) -> Option<Self> {
        let is_number = |at: usize| fields.get(at).is_some_and(|field| decimal_ns(field).is_some());
        let is_verb = |at: usize| {
            fields.get(at).is_some_and(|field| Verb::new(field).is_some() && !is_number(at))
        };
        if fields.len() >= 7 && is_number(0) && is_verb(fields.len() - 2) {
            return Some(Self::twitter(delimiter));
        }
        if fields.len() >= 3 && is_number(0) && is_verb(1) {
            return Some(Self::ringmain(delimiter));
        }
        let is_plain = match fields.len() {
            1 => !fields[0].is_empty(),
            2 => is_number(0),
            _ => is_number(0) && is_number(2),
        };
        is_plain.then(|| Self::lib_cache_sim(delimiter, fields.len()))
    }

    /// By libCacheSim's parameters.
    fn by_columns(text: &str, delimiter: u8, fields: &[&[u8]]) -> Result<Self, String> {
        let mut layout = Self::plain("columns", delimiter, 1);
        let mut key = None;
        // `delimiter=,` leaves an empty part behind its comma.
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (name, value) = part
                .trim()
                .split_once('=')
                .ok_or_else(|| format!("{text}: `{part}` is no NAME=VALUE"))?;
            let column = || match value.parse::<usize>() {
                Ok(column) if (1..=COLUMNS_MAX).contains(&column) => Ok(Some(column - 1)),
                _ => Err(format!("{text}: `{value}` is no column from 1 to {COLUMNS_MAX}")),
            };
            match name {
                "time-col" => layout.time = column()?,
                "obj-id-col" | "key-col" => key = column()?,
                "obj-size-col" | "size-col" => layout.value_bytes = column()?,
                "op-col" | "op-type-col" => layout.verb = column()?,
                "ttl-col" => layout.ttl = column()?,
                "key-size-col" => layout.key_bytes = column()?,
                "has-header" => layout.has_header = matches!(value, "true" | "1"),
                "delimiter" => layout.delimiter = named_delimiter(value)?,
                // Whether ids are numbers shows.
                "obj-id-is-num" => {}
                _ => return Err(format!("{text}: `{name}` is not known")),
            }
        }
        layout.key = key.ok_or_else(|| format!("{text}: obj-id-col is missing"))?;
        let needed = layout.needed().max().unwrap_or_default() + 1;
        // With its own delimiter the first line may have another number of columns than was counted.
        let counted = if layout.delimiter == delimiter { fields.len() } else { 0 };
        layout.columns = counted.max(needed);
        Ok(layout)
    }

    fn needed(&self) -> impl Iterator<Item = usize> {
        let optional = [self.time, self.key_bytes, self.value_bytes, self.verb, self.ttl];
        optional.into_iter().flatten().chain([self.key])
    }

    /// What a line asks for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(&self, line: &[u8]) -> Result<Line, String> {
        let fields = Fields::new(line, self);
        let number = |column: Option<usize>, what: &str, max: u64| match fields.get(column) {
            None => Ok(0),
            Some(text) => whole(text)
                .filter(|number| *number <= max)
                .ok_or_else(|| format!("`{}` is no {what} from 0 to {max}", excerpt(text))),
        };
        let time = fields.get(self.time);
        if self.time.is_some() && time.is_none() {
            return Err("there is no timestamp".to_owned());
        }
        let at_ns = time.map_or(Some(0), decimal_ns).ok_or_else(|| {
            format!("`{}` is no timestamp in seconds", excerpt(time.unwrap_or_default()))
        })?;
        let verb = match fields.get(self.verb) {
            None if self.verb.is_some() => return Err("there is no operation".to_owned()),
            None => Verb::Get,
            Some(name) => Verb::new(name)
                .ok_or_else(|| format!("`{}` is no known operation", excerpt(name)))?,
        };
        let key = fields.get(Some(self.key)).map(unquote).ok_or("there is no key")?;
        let key_bytes = number(self.key_bytes, "key size", KEY_BYTES_MAX as u64)?;
        let value_bytes = number(self.value_bytes, "size", u64::from(VALUE_BYTES_MAX))?;
        let ttl_ns = match fields.get(self.ttl) {
            None => 0,
            Some(text) => decimal_ns(text)
                .ok_or_else(|| format!("`{}` is no TTL in seconds", excerpt(text)))?,
        };
        Ok(Line {
            at_ns,
            verb,
            key: number_of(key),
            key_bytes: u16::try_from(key_bytes).unwrap_or(u16::MAX),
            value_bytes: u32::try_from(value_bytes).unwrap_or(u32::MAX),
            // Longer than 49 days is for ever, as far as a replay goes.
            ttl_ms: u32::try_from(ttl_ns.div_ceil(1_000_000)).unwrap_or(u32::MAX),
        })
    }
}

/// A line's fields.
struct Fields<'a> {
    line: &'a [u8],
    /// Where delimiters are.
    ends: [u32; COLUMNS_MAX],
    count: usize,
    key: usize,
    /// Delimiters that belong to the key.
    extra: usize,
}

impl<'a> Fields<'a> {
    fn new(line: &'a [u8], layout: &Layout) -> Self {
        let mut fields = Self { line, ends: [0; COLUMNS_MAX], count: 0, key: layout.key, extra: 0 };
        let mut last = None;
        for at in memchr_iter(layout.delimiter, line) {
            // Spaces in a row are one.
            if layout.delimiter == b' ' && last.is_some_and(|last| last + 1 == at) {
                fields.count -= 1;
            }
            if fields.count == COLUMNS_MAX - 1 {
                break;
            }
            fields.ends[fields.count] = u32::try_from(at).unwrap_or(u32::MAX);
            fields.count += 1;
            last = Some(at);
        }
        fields.ends[fields.count] = u32::try_from(line.len()).unwrap_or(u32::MAX);
        fields.count += 1;
        fields.extra = fields.count.saturating_sub(layout.columns);
        fields
    }

    /// A field without spaces around it; `None` if there is none or it is empty.
    fn get(&self, column: Option<usize>) -> Option<&'a [u8]> {
        let column = column?;
        let first = if column > self.key { column + self.extra } else { column };
        let last = if column == self.key { column + self.extra } else { first };
        let end = *self.ends[..self.count].get(last)? as usize;
        let start = if first == 0 { 0 } else { self.ends[first - 1] as usize + 1 };
        let field = self.line.get(start..end)?.trim_ascii();
        (!field.is_empty()).then_some(field)
    }
}

/// A line's delimiter: the first that it contains, in the order of how sure a sign it is.
fn delimiter(line: &[u8]) -> u8 {
    *b",\t;| ".iter().find(|delimiter| line.trim_ascii().contains(delimiter)).unwrap_or(&b',')
}

fn named_delimiter(name: &str) -> Result<u8, String> {
    match name.as_bytes() {
        b"" => Ok(b','),
        b"\\t" => Ok(b'\t'),
        [one] => Ok(*one),
        _ => Err(format!("`{name}` is no delimiter of one character")),
    }
}

fn split(line: &[u8], delimiter: u8) -> impl Iterator<Item = &[u8]> {
    line.split(move |byte| *byte == delimiter)
        .map(<[u8]>::trim_ascii)
        .filter(move |field| delimiter != b' ' || !field.is_empty())
}

/// A column's name without case and punctuation.
fn column_name(field: &[u8]) -> String {
    field
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect()
}

fn unquote(key: &[u8]) -> &[u8] {
    match key {
        [b'"', inside @ .., b'"'] if !inside.is_empty() => inside,
        _ => key,
    }
}

fn number_of(key: &[u8]) -> u64 {
    let is_plain = key == b"0" || key[0] != b'0';
    whole(key).filter(|_| is_plain).unwrap_or_else(|| xxh3_64(key))
}

/// A number without a sign.
fn whole(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Seconds with up to nine decimals (more are cut off), in nanoseconds.
fn decimal_ns(text: &[u8]) -> Option<u64> {
    let point = text.iter().position(|byte| *byte == b'.').unwrap_or(text.len());
    let (seconds, rest) = text.split_at(point);
    let seconds = if seconds.is_empty() && rest.len() > 1 { 0 } else { whole(seconds)? };
    let decimals = rest.get(1..).unwrap_or_default();
    if !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let scale = [SECOND_NS / 10, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    let fraction: u64 =
        decimals.iter().zip(scale).map(|(digit, scale)| u64::from(digit - b'0') * scale).sum();
    seconds.checked_mul(SECOND_NS)?.checked_add(fraction)
}

/// The beginning of a text from outside, fit to be shown.
pub(super) fn excerpt(text: &[u8]) -> String {
    const SHOWN_MAX: usize = 60;
    let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN_MAX)]).into_owned();
    let shown: String = shown.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.len() > SHOWN_MAX { shown + "…" } else { shown }
}

#[cfg(test)]
mod tests;
