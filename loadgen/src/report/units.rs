//! Numbers as people read them: durations, rates, counts and bytes with their units.

/// A latency with three significant digits and the unit that suits it: `41.2 us`, `1.25 s`.
pub(crate) fn latency(ns: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "us")];
    // A value that would round up to a thousand of its unit is shown as one of the next.
    match units.into_iter().find(|(size, _)| ns >= size * 0.9995) {
        Some((size, unit)) => format!("{} {unit}", three_digits(ns / size)),
        None => format!("{ns:.0} ns"),
    }
}

/// A count with its thousands set apart: `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, without its unit: whole above a hundred, else with three significant digits.
pub(crate) fn rate(per_s: f64) -> String {
    if per_s >= 99.95 { count(whole(per_s)) } else { three_digits(per_s) }
}

/// A rate in little room: `123 k`, `1.25 M`.
pub(crate) fn short_rate(per_s: f64) -> String {
    match per_s {
        r if r >= 999_500.0 => format!("{} M", trimmed(r / 1e6)),
        r if r >= 999.5 => format!("{} k", trimmed(r / 1e3)),
        r => trimmed(r),
    }
}

/// Bytes a second: `12.3 MB/s`, with powers of a thousand.
pub(crate) fn bytes_per_s(per_s: f64) -> String {
    let units = [(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")];
    match units.into_iter().find(|(size, _)| per_s >= size * 0.9995) {
        Some((size, unit)) => format!("{} {unit}", three_digits(per_s / size)),
        None => format!("{per_s:.0} B/s"),
    }
}

/// Seconds as a clock would say them: `12.3 s`, `4 min 05 s`, `2 h 03 min`.
pub(crate) fn span(seconds: f64) -> String {
    let s = whole(seconds);
    match s {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

/// A share of one as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", trimmed((share * 1e4).round() / 100.0))
}

/// The name of a quantile: `p99.9`.
pub(crate) fn quantile_name(quantile: f64) -> String {
    // Eight digits hide what binary fractions add: 0.999 * 100 is 99.9, not 99.90000000000001.
    let percentile = (quantile * 1e10).round() / 1e8;
    format!("p{percentile}")
}

/// Three significant digits; from a thousand on, every whole digit.
pub(crate) fn three_digits(x: f64) -> String {
    let digits = match x.abs() {
        a if a >= 99.95 => 0,
        a if a >= 9.995 => 1,
        _ => 2,
    };
    format!("{x:.digits$}")
}

/// Three significant digits without zeros at the end.
fn trimmed(x: f64) -> String {
    let text = three_digits(x);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The nearest whole number; zero for a negative one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates here")]
pub(crate) fn whole(x: f64) -> u64 {
    x.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_the_unit_that_suits_them() {
        let cases = [
            (0.0, "0 ns"),
            (812.0, "812 ns"),
            (999.6, "1.00 us"),
            (41_216.0, "41.2 us"),
            (123_456.0, "123 us"),
            (999_800.0, "1.00 ms"),
            (1_250_000_000.0, "1.25 s"),
            (3_600e9, "3600 s"),
        ];
        cases.iter().for_each(|(ns, text)| assert_eq!(latency(*ns), *text));
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(rate(123_456.7), "123,457");
        assert_eq!(rate(12.34), "12.3");
        assert_eq!(short_rate(150_000.0), "150 k");
        assert_eq!(short_rate(1_250_000.0), "1.25 M");
        assert_eq!(bytes_per_s(12_340_000.0), "12.3 MB/s");
        assert_eq!(span(12.34), "12.3 s");
        assert_eq!(span(245.0), "4 min 05 s");
        assert_eq!(span(7_400.0), "2 h 03 min");
        assert_eq!(percent(0.98765), "98.8 %");
        assert_eq!(quantile_name(0.999), "p99.9");
        assert_eq!(quantile_name(0.99999), "p99.999");
        assert_eq!(quantile_name(0.5), "p50");
    }
}
