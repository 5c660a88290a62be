//! What became of the keys, and how that is told.

use std::time::Duration;

use super::kind::Kind;

/// Counts of keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Written.
    pub(super) written: u64,
    /// Left as they were, because there was one of this name already.
    pub(super) kept: u64,
    /// Left out, because their time had passed.
    pub(super) expired: u64,
    /// Gone before their value could be read.
    pub(super) vanished: u64,
    /// Left out, because the server does not know their type.
    unknown: [u64; Kind::COUNT],
    /// Left out, because they are longer than any value may be.
    pub(super) too_long: u64,
    /// Refused for another reason.
    pub(super) refused: u64,
    first_refusal: Option<String>,
}

impl Tally {
    /// Counts a key whose type is not known.
    pub(super) fn unknown(&mut self, kind: Kind) {
        self.unknown[kind.index()] += 1;
    }

    /// Counts a key that a server refused, and remembers the first.
    pub(super) fn refuse(&mut self, key: &[u8], error: &str) {
        const KEY_BYTES_SHOWN: usize = 100;
        self.refused += 1;
        self.first_refusal.get_or_insert_with(|| {
            let shown = &key[..key.len().min(KEY_BYTES_SHOWN)];
            format!("'{}' ({error})", shown.escape_ascii())
        });
    }

    /// Adds another's counts.
    pub(super) fn add(&mut self, other: &Self) {
        self.written += other.written;
        self.kept += other.kept;
        self.expired += other.expired;
        self.vanished += other.vanished;
        self.too_long += other.too_long;
        self.refused += other.refused;
        for (count, more) in self.unknown.iter_mut().zip(other.unknown) {
            *count += more;
        }
        if self.first_refusal.is_none() {
            self.first_refusal.clone_from(&other.first_refusal);
        }
    }

    /// Keys left out because their type is not known.
    pub(super) fn unknown_count(&self) -> u64 {
        self.unknown.iter().sum()
    }

    /// Those, by type: `2 lists and 1 hash`.
    pub(super) fn unknown_words(&self) -> String {
        let kinds = Kind::ALL.into_iter().map(|kind| (kind, self.unknown[kind.index()]));
        let words: Vec<_> = kinds
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| kind.counted(count))
            .collect();
        match words.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
            None => "none".to_owned(),
        }
    }

    /// A line for each thing that happened to a key other than being written. `to` is the server that
    /// they went to.
    pub(super) fn lines(&self, to: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = |count: u64, text: &str| {
            if count > 0 {
                lines.push(format!("  {} {text}", keys(count)));
            }
        };
        line(self.kept, "kept as they were in the target: --replace overwrites them");
        line(self.expired, "left out, because their time had passed");
        line(self.vanished, "deleted or expired at the source meanwhile");
        let unknown =
            format!("left out, because {to} does not take their type: {}", self.unknown_words());
        line(self.unknown_count(), &unknown);
        line(self.too_long, "left out, because they are longer than 512 MiB");
        let first = self.first_refusal.as_deref().unwrap_or("");
        line(self.refused, &format!("refused, the first of them {first}"));
        lines
    }

    /// What makes the copy incomplete, as the end of a sentence; `None` if nothing does. What has expired
    /// or is kept on purpose is not missed.
    pub(super) fn missing(&self, skip_unsupported: bool) -> Option<String> {
        let unknown = if skip_unsupported { 0 } else { self.unknown_count() };
        if self.too_long + self.refused > 0 {
            let others = self.too_long + self.refused;
            let at = if unknown > 0 { ", and others of types that it does not take" } else { "" };
            Some(format!("{} could not be written{at}: the lines above say why", keys(others)))
        } else if unknown > 0 {
            Some(format!(
                "{} left out for the type ({}): give --skip-unsupported if that is what you want",
                keys(unknown),
                self.unknown_words()
            ))
        } else {
            None
        }
    }
}

/// `count` keys, in words.
pub(super) fn keys(count: u64) -> String {
    match count {
        1 => "1 key".to_owned(),
        count => format!("{} keys", grouped(count)),
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Seconds, with a digit that tells short runs apart.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{Kind, Tally, grouped};

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut tally = Tally { kept: 2, expired: 1, ..Tally::default() };
        assert_eq!(tally.missing(false), None);
        tally.unknown(Kind::Hash);
        tally.unknown(Kind::List);
        tally.unknown(Kind::List);
        assert_eq!(tally.unknown_words(), "2 lists and 1 hash");
        assert!(
            tally.missing(false).is_some_and(|text| text.contains("3 keys left out for the type"))
        );
        assert_eq!(tally.missing(true), None);
        tally.refuse(b"a\0b", "ERR no");
        assert!(tally.missing(true).is_some_and(|text| text.starts_with("1 key could not")));
        let lines = tally.lines("the target");
        assert_eq!(lines.last().unwrap(), "  1 key refused, the first of them 'a\\x00b' (ERR no)");
    }
}
