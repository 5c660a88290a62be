//! Latencies as people read them.

/// A latency with three digits and the unit that fits: `850 ns`, `12.3 us`, `1.25 s`.
pub(super) fn latency(ns: f64) -> String {
    const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    // A figure that would be rounded to a thousand has the next unit.
    let fits = |unit: &&(&str, f64)| ns / unit.1 < 999.5;
    let (name, scale) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
    let value = ns / scale;
    let digits = match value {
        _ if *scale == 1.0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {name}")
}

#[cfg(test)]
mod tests {
    use super::latency;

    #[test]
    fn latencies_have_three_digits() {
        for (ns, text) in [
            (0.0, "0 ns"),
            (999.0, "999 ns"),
            (999.6, "1.00 us"),
            (1_234.0, "1.23 us"),
            (12_345.0, "12.3 us"),
            (99_960.0, "100 us"),
            (999_499.0, "999 us"),
            (5e8, "500 ms"),
            (1.5e9, "1.50 s"),
            (3.6e12, "3600 s"),
        ] {
            assert_eq!(latency(ns), text);
        }
    }
}
