//! A row a second, for spreadsheets and plotting scripts.

use std::fmt::Write as _;

use super::outcome::{Outcome, Second, per_second, whole_seconds};

const HEADER: &str = "at_s,requests,rate,errors,p50_us,p99_us,p999_us,max_us,intended_rate\n";

/// The whole file. `rate` is over the row's own time, which for the last may be short.
pub(crate) fn render(outcome: &Outcome) -> String {
    let mut text = HEADER.to_owned();
    for (second, length_s) in whole_seconds(&outcome.seconds) {
        let Second { at_s, requests, errors, .. } = &second;
        let rate = per_second(*requests, length_s);
        let _ = write!(text, "{at_s:.3},{requests},{rate:.1},{errors}");
        for ns in [second.p50_ns, second.p99_ns, second.p999_ns, second.max_ns] {
            let _ = write!(text, ",{:.3}", ns as f64 / 1000.0);
        }
        let _ = match second.intended_rate {
            Some(rate) => writeln!(text, ",{rate:.1}"),
            None => writeln!(text, ","),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_a_second_under_a_header() {
        let full = Second {
            at_s: 1.0,
            requests: 1000,
            errors: 2,
            p50_ns: 41_000,
            p99_ns: 120_500,
            p999_ns: 1_000_000,
            max_ns: 2_500_001,
            intended_rate: Some(1200.0),
        };
        let half = Second { at_s: 1.5, requests: 250, ..Second::default() };
        let outcome = Outcome { seconds: vec![full, half], ..Outcome::default() };
        assert_eq!(
            render(&outcome),
            "at_s,requests,rate,errors,p50_us,p99_us,p999_us,max_us,intended_rate\n\
             1.000,1000,1000.0,2,41.000,120.500,1000.000,2500.001,1200.0\n\
             1.500,250,500.0,0,0.000,0.000,0.000,0.000,\n"
        );
    }
}
