//! The percentiles that `INFO latencystats` shows (`latency-tracking-info-percentiles`), in Redis's
//! syntax: numbers from 0 to 100, single spaces between them, or nothing at all.

use std::fmt;

/// A percentile in millionths of a percent: as exact as Redis shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentile(u32);

/// Millionths of one percent.
const UNIT: f64 = 1e6;

impl Percentile {
    /// As a part of one.
    pub fn quantile(self) -> f64 {
        f64::from(self.0) / (100.0 * UNIT)
    }
}

/// `99.9` without zeros at the end.
impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / UNIT)
    }
}

/// Some percentiles, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Percentiles(Vec<Percentile>);

impl Percentiles {
    /// Reads numbers with single spaces between them; an error is in Redis's words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        text.split(' ').map(parse_one).collect::<Result<_, _>>().map(Self)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Percentile> + '_ {
        self.0.iter().copied()
    }
}

fn parse_one(word: &str) -> Result<Percentile, &'static str> {
    match word.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to 100 million"
            )]
            Ok(Percentile((percent * UNIT).round() as u32))
        }
        Ok(number) if !number.is_nan() => {
            Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
        }
        _ => Err("Invalid latency-tracking-info-percentiles parameters"),
    }
}

impl Default for Percentiles {
    /// Redis's: the median, the worst of a hundred and the worst of a thousand.
    fn default() -> Self {
        Self([50_000_000, 99_000_000, 99_900_000].map(Percentile).into())
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.iter().map(|percentile| percentile.to_string()).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::Percentiles;

    #[test]
    fn percentiles_are_read_and_shown_as_redis_does() {
        for (text, shown) in [
            ("", ""),
            ("50 99 99.9", "50 99 99.9"),
            ("0 100 0.001 99.90", "0 100 0.001 99.9"),
            ("50 50", "50 50"),
            ("99.9999999", "100"),
            ("1e1", "10"),
        ] {
            assert_eq!(Percentiles::parse(text).unwrap().to_string(), shown, "{text:?}");
        }
        for text in ["abc", "50  99", " 50", "50,99", "nan", "50 "] {
            let reason = Percentiles::parse(text).unwrap_err();
            assert_eq!(reason, "Invalid latency-tracking-info-percentiles parameters", "{text:?}");
        }
        for text in ["101", "-1", "inf", "50 100.1"] {
            assert!(Percentiles::parse(text).unwrap_err().ends_with("[0.0,100.0]"), "{text:?}");
        }
    }

    #[test]
    fn quantiles_are_parts_of_one() {
        let quantiles: Vec<f64> = Percentiles::default().iter().map(|p| p.quantile()).collect();
        assert_eq!(quantiles, [0.5, 0.99, 0.999]);
    }
}
