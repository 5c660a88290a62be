//! Percentile curves in characters: how long the slowest part of the requests takes, the part growing
//! ten times smaller with every step to the right, the latency ten times longer with every decade up.

use hdrhistogram::Histogram;

use super::figures::latency;
use super::report::Series;

/// A glyph for each curve.
const GLYPHS: [char; 3] = ['·', 'o', '●'];
/// Columns left of the axis.
const MARGIN: usize = 8;
/// Fewest columns of a drawing.
const COLUMNS_MIN: usize = 20;
/// The least and the most decades of the horizontal axis: up to 99 %, up to 99.9999 %.
const NINES: std::ops::RangeInclusive<u32> = 2..=6;

/// The lines of a plot in `columns` columns with `rows` rows of drawing.
pub(super) fn render(curves: &[&Series], columns: usize, rows: usize) -> Vec<String> {
    let curves: Vec<&Series> =
        curves.iter().copied().filter(|series| !series.latencies.is_empty()).collect();
    let Some(axes) = Axes::over(&curves, columns, rows) else {
        return vec!["Nothing has been recorded yet.".to_owned()];
    };
    let mut drawing = vec![vec![' '; axes.columns]; rows];
    for (series, glyph) in curves.iter().zip(GLYPHS.iter().cycle()) {
        for column in 0..axes.columns {
            let row = axes.row_of(axes.value_at(&series.latencies, column));
            if let Some(cell) = drawing[row].get_mut(column) {
                *cell = *glyph;
            }
        }
    }
    let mut lines: Vec<String> = drawing
        .iter()
        .enumerate()
        .rev()
        .map(|(row, cells)| {
            let label = axes.label_of(row).unwrap_or_default();
            let line = format!("{label:>MARGIN$} │{}", cells.iter().collect::<String>());
            line.trim_end().to_owned()
        })
        .collect();
    lines.extend(axes.below());
    let names = curves.iter().zip(GLYPHS.iter().cycle());
    let legend: Vec<String> =
        names.map(|(series, glyph)| format!("{glyph} {}", series.name)).collect();
    lines.push(format!("{:MARGIN$}  {}", "", legend.join("   ")));
    lines
}

/// Both axes, logarithmic.
struct Axes {
    columns: usize,
    rows: usize,
    /// The horizontal axis ends at the percentile with so many nines.
    nines: u32,
    /// The vertical axis goes from the `low`th power of ten, in nanoseconds, to the `high`th.
    low: u32,
    high: u32,
}

impl Axes {
    fn over(curves: &[&Series], columns: usize, rows: usize) -> Option<Self> {
        let latencies = || curves.iter().map(|series| &series.latencies);
        let count = latencies().map(Histogram::len).max()?;
        let least = latencies().map(|latencies| latencies.value_at_quantile(0.0)).min()?;
        let most = latencies().map(Histogram::max).max()?;
        let low = least.max(1).ilog10();
        // Nothing is known of percentiles beyond the number of requests.
        let nines = count.max(1).ilog10().clamp(*NINES.start(), *NINES.end());
        let high = (most.max(1).ilog10() + 1).max(low + 1);
        let columns = columns.saturating_sub(MARGIN + 3).max(COLUMNS_MIN);
        Some(Self { columns, rows, nines, low, high })
    }

    fn value_at(&self, latencies: &Histogram<u64>, column: usize) -> u64 {
        let part = column as f64 / (self.columns - 1) as f64;
        latencies.value_at_quantile(1.0 - 10_f64.powf(-part * f64::from(self.nines)))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the rows")]
    fn row_of(&self, ns: u64) -> usize {
        let height = (ns.max(1) as f64).log10() - f64::from(self.low);
        let row = height / f64::from(self.high - self.low) * (self.rows - 1) as f64;
        (row.round().max(0.0) as usize).min(self.rows - 1)
    }

    /// The power of ten that stands at a row, if one does.
    fn label_of(&self, row: usize) -> Option<String> {
        let power = (self.low..=self.high).find(|power| self.row_of(10_u64.pow(*power)) == row)?;
        let text = latency(10_f64.powi(i32::try_from(power).ok()?));
        Some(text.replace(".00", "").replace(".0", ""))
    }

    /// The horizontal axis and its labels.
    fn below(&self) -> [String; 2] {
        let mut axis: Vec<char> = vec!['─'; self.columns];
        let mut labels = vec![' '; self.columns + MARGIN];
        for nines in 0..=self.nines {
            let column = (self.columns - 1) * nines as usize / self.nines as usize;
            axis[column] = '┴';
            let label = percent(nines);
            // The last one ends under its mark.
            let start = if nines == self.nines { column + 1 - label.len() } else { column };
            let is_free =
                labels[start.saturating_sub(1)..][..label.len()].iter().all(|c| *c == ' ');
            if is_free {
                labels.splice(start..start + label.len(), label.chars());
            }
        }
        let axis: String = axis.into_iter().collect();
        let labels: String = labels.into_iter().collect();
        [format!("{:MARGIN$} └{axis}", ""), format!("{:MARGIN$}  {}", "", labels.trim_end())]
    }
}

/// `0 %`, `90 %`, `99 %`, `99.9 %`, ….
fn percent(nines: u32) -> String {
    match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more as usize - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Series, render};
    use crate::metrics::latencies::empty_histogram;

    #[test]
    fn a_curve_climbs_where_requests_are_slower() {
        let mut latencies = empty_histogram();
        for (ns, count) in [(1_000, 900), (10_000, 90), (100_000, 10)] {
            latencies.record_n(ns, count).unwrap();
        }
        let series = Series { name: "get".to_owned(), latencies };
        let lines = render(&[&series], 42, 4);
        assert_eq!(
            lines,
            [
                "    1 ms │",
                "  100 us │                     ··········",
                "   10 us │           ··········",
                "    1 us │···········",
                "         └┴─────────┴─────────┴─────────┴",
                "          0 %       90 %      99 % 99.9 %",
                "          · get",
            ]
        );
    }

    #[test]
    fn nothing_recorded_is_said() {
        let series = Series { name: "get".to_owned(), latencies: empty_histogram() };
        assert_eq!(render(&[&series], 80, 10), ["Nothing has been recorded yet."]);
        assert_eq!(render(&[], 80, 10), ["Nothing has been recorded yet."]);
    }

    #[test]
    fn any_size_can_be_drawn_in() {
        let mut latencies = empty_histogram();
        latencies.record_n(0, 1).unwrap();
        latencies.record_n(3_600_000_000_000, 10_000_000).unwrap();
        let series = Series { name: "get".to_owned(), latencies };
        for (columns, rows) in [(0, 1), (1, 2), (40, 3), (300, 90)] {
            assert_eq!(render(&[&series, &series], columns, rows).len(), rows + 3);
        }
    }
}
