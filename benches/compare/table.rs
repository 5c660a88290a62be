//! Figures of several rounds, and tables of them.

use std::fmt;

/// The rounds of one figure.
#[derive(Clone, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// This figure over `base`, round by round.
    pub(crate) fn over(&self, base: &Self) -> Self {
        Self(self.0.iter().zip(&base.0).map(|(value, base)| value / base).collect())
    }

    pub(crate) fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            length if length % 2 == 1 => Some(sorted[middle]),
            _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        }
    }

    /// The median as `show` writes it, a dash if there is none.
    pub(crate) fn median_as(&self, show: impl Fn(f64) -> String) -> String {
        self.median().map_or_else(|| "-".to_owned(), show)
    }

    /// The median, and in brackets the least and the greatest.
    pub(crate) fn spread(&self) -> String {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        self.median_as(|median| format!("{median:.2} ({least:.2}-{greatest:.2})"))
    }
}

/// `1234567.8` as `1,234,568`.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub(crate) struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    is_markdown: bool,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, head: &[&str], is_markdown: bool) -> Self {
        let head = head.iter().map(|&cell| cell.to_owned()).collect();
        Self { title: title.into(), head, rows: Vec::new(), is_markdown }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.head.len(), "every row has every column");
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| lines().map(|cells| cells[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let [start, between, end] =
            if self.is_markdown { ["| ", " | ", " |"] } else { ["", "  ", ""] };
        writeln!(f, "{}\n", self.title)?;
        for (number, cells) in lines().enumerate() {
            let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            let line = padded.collect::<Vec<_>>().join(between);
            writeln!(f, "{}", format!("{start}{line}{end}").trim_end())?;
            if number == 0 {
                let rule = widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>();
                writeln!(f, "{start}{}{end}", rule.join(between))?;
            }
        }
        Ok(())
    }
}
