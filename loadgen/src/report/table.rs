//! Tables of text: aligned for a terminal, or as Markdown.
//!
//! What is put in may come from anywhere: control characters are taken out, so that a label or an
//! error text can't move the cursor or colour the terminal.

use std::fmt;

/// Rows under a header; the first column stands left, the others right.
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<S: AsRef<str>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(|cell| clean(cell.as_ref())).collect(), rows: vec![] }
    }

    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(|cell| clean(cell.as_ref())).collect());
    }

    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    pub(crate) fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The same as a Markdown table.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<_> =
            (0..self.header.len()).map(|i| if i == 0 { "---" } else { "---:" }).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}|{}|\n{rows}", line(&self.header), rule.join("|"))
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.header.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let mut line = String::new();
            for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if i == 0 {
                    line.push_str(&format!("{cell:<width$}"));
                } else {
                    line.push_str(&format!("  {cell:>width$}"));
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The text without control characters.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["run", "rate"]);
        table.row(["a|b", "1,000"]);
        table.row(["a long \x1b[31mname", "7"]);
        table
    }

    #[test]
    fn columns_stand_under_one_another_and_control_characters_are_gone() {
        assert_eq!(
            table().to_string(),
            "run                rate\na|b               1,000\na long \u{fffd}[31mname      7\n"
        );
    }

    #[test]
    fn markdown_escapes_what_would_break_a_row() {
        assert_eq!(
            table().markdown(),
            "| run | rate |\n|---|---:|\n| a\\|b | 1,000 |\n| a long \u{fffd}[31mname | 7 |\n"
        );
    }
}
