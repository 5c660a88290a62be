//! Stages and commands as a table: a row each, their percentiles as columns.

use std::time::Duration;

use super::figures::latency;
use super::report::Series;

/// The columns that are quantiles.
const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

/// The lines of the table. With an `interval`, which the latencies are from, a column shows how many
/// there were in a second.
pub(super) fn render(rows: &[&Series], interval: Option<Duration>) -> Vec<String> {
    let mut heads = vec!["", "count"];
    heads.extend(interval.map(|_| "per s"));
    heads.push("mean");
    heads.extend(QUANTILES.map(|(name, _)| name));
    let mut cells: Vec<Vec<String>> = vec![heads.into_iter().map(str::to_owned).collect()];
    cells.extend(rows.iter().map(|series| row(series, interval)));
    let columns = cells[0].len();
    let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    cells.iter().map(|row| line(row, &widths)).collect()
}

fn row(series: &Series, interval: Option<Duration>) -> Vec<String> {
    let Series { name, latencies } = series;
    let count = latencies.len();
    let mut cells = vec![name.clone(), count.to_string()];
    cells.extend(interval.map(|time| format!("{:.0}", count as f64 / time.as_secs_f64())));
    if count == 0 {
        // Nothing happened, which is not the same as nothing lasting 0 ns.
        cells.extend(std::iter::repeat_n("-".to_owned(), 1 + QUANTILES.len()));
        return cells;
    }
    cells.push(latency(latencies.mean()));
    cells.extend(QUANTILES.map(|(_, q)| latency(latencies.value_at_quantile(q) as f64)));
    cells
}

/// The name to the left, the figures to the right.
fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = format!("{:<width$}", cells[0], width = widths[0]);
    for (cell, width) in cells.iter().zip(widths).skip(1) {
        line.push_str(&format!("  {cell:>width$}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{Series, render};
    use crate::metrics::latencies::empty_histogram;
    use std::time::Duration;

    #[test]
    fn a_row_is_a_series() {
        let mut latencies = empty_histogram();
        latencies.record_n(1_000, 98).unwrap();
        latencies.record_n(2_000_000, 2).unwrap();
        let ring = Series { name: "ring".to_owned(), latencies };
        let held = Series { name: "held".to_owned(), latencies: empty_histogram() };
        let lines = render(&[&ring, &held], None);
        assert_eq!(
            lines,
            [
                "      count     mean      p50      p90      p99    p99.9   p99.99      max",
                "ring    100  41.0 us  1.00 us  1.00 us  2.01 ms  2.01 ms  2.01 ms  2.01 ms",
                "held      0        -        -        -        -        -        -        -",
            ]
        );
        let lines = render(&[&ring], Some(Duration::from_secs(2)));
        assert!(lines[1].starts_with("ring    100     50  41.0 us"), "{}", lines[1]);
    }
}
