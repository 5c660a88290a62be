//! How long values are and how long they live.
//!
//! | `--value-bytes` | lengths |
//! |---|---|
//! | `N` | all the same |
//! | `uniform:A-B` | from A to B, each as likely as the others |
//! | `lognormal:MEDIAN:SIGMA[:MAX]` | log-normal, at most MAX (1 MiB if not given) |
//! | `64=70,512=20,4096=10` | from a list with weights |
//!
//! `--ttl` is a duration (`60`, `60s`, `500ms`, `5m`, `1h`) or a range of them (`10-60s`, `500ms-2s`), from
//! which each write draws to the millisecond.

use super::choice::{CHOICES_MAX, Choice};
use super::random::Random;

/// Longest value: what Redis takes by default.
pub(super) const VALUE_BYTES_MAX: u32 = 512 * 1024 * 1024;

/// Longest value of a log-normal distribution, unless it says so itself: its tail has no end.
const LOGNORMAL_BYTES_MAX: u32 = 1024 * 1024;

/// Broadest log-normal distribution that makes sense: e^10 is a factor of 22,000 for each deviation.
const SIGMA_MAX: f64 = 10.0;

/// The lengths of values.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    shape: Shape,
    /// No value is shorter; log-normal ones are lengthened to it.
    least: u32,
}

#[derive(Clone, Debug)]
enum Shape {
    Fixed(u32),
    Uniform { low: u32, high: u32 },
    LogNormal { log_median: f64, sigma: f64, high: u32 },
    List { sizes: Vec<u32>, choice: Choice },
}

impl Sizes {
    /// Understands `--value-bytes`; `least` is the length below which `--verify` has no room.
    pub(super) fn new(text: &str, least: u32) -> Result<Self, String> {
        let sizes = Shape::new(text)
            .map(|shape| Self { shape, least })
            .map_err(|why| format!("--value-bytes {text}: {why}"))?;
        if sizes.shape.shortest().is_some_and(|shortest| shortest < least) {
            return Err(format!(
                "--value-bytes {text}: values need at least {least} bytes with --verify, which writes \
                 their key, version and checksum into them"
            ));
        }
        Ok(sizes)
    }

    /// The length of every value, if there is but one.
    pub(super) fn fixed(&self) -> Option<u32> {
        match self.shape {
            Shape::Fixed(size) => Some(size),
            Shape::Uniform { .. } | Shape::LogNormal { .. } | Shape::List { .. } => None,
        }
    }

    /// No value is longer.
    pub(super) fn longest(&self) -> u32 {
        match &self.shape {
            Shape::Fixed(size) => *size,
            Shape::Uniform { high, .. } => *high,
            Shape::LogNormal { high, .. } => (*high).max(self.least),
            Shape::List { sizes, .. } => sizes.iter().copied().max().unwrap_or_default(),
        }
    }

    pub(super) fn draw(&self, random: &mut Random) -> u32 {
        match &self.shape {
            Shape::Fixed(size) => *size,
            Shape::Uniform { low, high } => {
                let span = u64::from(high - low) + 1;
                low + u32::try_from(random.below(span)).unwrap_or_default()
            }
            Shape::LogNormal { log_median, sigma, high } => {
                let size = (log_median + sigma * random.normal()).exp().round();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped to what fits"
                )]
                let size = size.clamp(0.0, f64::from(*high)) as u32;
                size.max(self.least)
            }
            Shape::List { sizes, choice } => sizes[choice.draw(random)],
        }
    }
}

impl Shape {
    fn new(text: &str) -> Result<Self, String> {
        if let Some(range) = text.strip_prefix("uniform:") {
            let (low, high) =
                range.split_once('-').ok_or("must be uniform:FROM-TO, as in uniform:10-100")?;
            let (low, high) = (size(low)?, size(high)?);
            if low > high {
                return Err(format!("{low} is more than {high}"));
            }
            return Ok(Self::Uniform { low, high });
        }
        if let Some(numbers) = text.strip_prefix("lognormal:") {
            return Self::log_normal(&numbers.split(':').collect::<Vec<_>>());
        }
        if text.contains('=') {
            return Self::list(text);
        }
        size(text).map(Self::Fixed)
    }

    fn log_normal(numbers: &[&str]) -> Result<Self, String> {
        let (median, sigma, high) = match numbers {
            [median, sigma] => (size(median)?, sigma, LOGNORMAL_BYTES_MAX),
            [median, sigma, high] => (size(median)?, sigma, size(high)?),
            _ => return Err("must be lognormal:MEDIAN:SIGMA[:MAX]".to_owned()),
        };
        if !(1..=high).contains(&median) {
            return Err(format!("the median must be from 1 to {high} bytes, not {median}"));
        }
        match sigma.parse() {
            Ok(sigma) if (0.0..=SIGMA_MAX).contains(&sigma) => {
                Ok(Self::LogNormal { log_median: f64::from(median).ln(), sigma, high })
            }
            _ => Err(format!("sigma must be from 0 to {SIGMA_MAX}, not `{sigma}`")),
        }
    }

    fn list(text: &str) -> Result<Self, String> {
        let (mut sizes, mut weights) = (Vec::new(), Vec::new());
        for entry in text.split(',') {
            let (bytes, weight_text) = entry
                .split_once('=')
                .ok_or_else(|| format!("`{entry}` is no BYTES=WEIGHT, as in 64=70,512=30"))?;
            sizes.push(size(bytes)?);
            weights.push(weight(weight_text)?);
        }
        if sizes.len() > CHOICES_MAX {
            return Err(format!("{} lengths are more than {CHOICES_MAX}", sizes.len()));
        }
        Ok(Self::List { sizes, choice: Choice::new(&weights) })
    }

    /// The shortest value, where the user has said how long it is.
    fn shortest(&self) -> Option<u32> {
        match self {
            Self::Fixed(size) => Some(*size),
            Self::Uniform { low, .. } => Some(*low),
            // The median is what was asked for; the short tail is no mistake.
            Self::LogNormal { high, .. } => Some(*high),
            Self::List { sizes, .. } => sizes.iter().copied().min(),
        }
    }
}

fn size(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(size) if size <= VALUE_BYTES_MAX => Ok(size),
        _ => Err(format!("`{text}` is no length from 0 to {VALUE_BYTES_MAX} bytes")),
    }
}

/// A weight of a mix or list: a number above 0.
pub(super) fn weight(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight > 0.0 => Ok(weight),
        _ => Err(format!("`{}` is no weight, which is a number above 0", text.trim())),
    }
}

/// How long what is written lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ttl {
    low_ms: u32,
    high_ms: u32,
}

impl Ttl {
    /// Understands `--ttl`.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|why| format!("--ttl {text}: {why}"))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let high_ms = duration_ms(high)?;
        // In `10-60s` the unit is meant for both.
        let is_number = low.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let unit = high.trim().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let low_ms = if is_number {
            duration_ms(&format!("{}{unit}", low.trim()))?
        } else {
            duration_ms(low)?
        };
        if low_ms > high_ms {
            return Err(format!("{low} is more than {high}"));
        }
        Ok(Self { low_ms, high_ms })
    }

    pub(super) fn draw_ms(&self, random: &mut Random) -> u32 {
        if self.low_ms == self.high_ms {
            return self.low_ms;
        }
        let span = u64::from(self.high_ms - self.low_ms) + 1;
        self.low_ms + u32::try_from(random.below(span)).unwrap_or_default()
    }
}

fn duration_ms(text: &str) -> Result<u32, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1.0,
        "" | "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return Err(format!("`{text}` has no unit of ms, s, m or h")),
    };
    let amount: f64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is no duration, as 60, 60s, 500ms or 1h are"))?;
    let ms = (amount * unit_ms).round();
    if !(1.0..=f64::from(u32::MAX)).contains(&ms) {
        return Err(format!("`{text}` is not from 1ms to 1193h"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "just checked")]
    Ok(ms as u32)
}

#[cfg(test)]
mod tests {
    use super::{Random, Sizes, Ttl};

    fn draws(text: &str, least: u32) -> Vec<u32> {
        let sizes = Sizes::new(text, least).unwrap();
        let mut random = Random::new(3, 0);
        (0..100_000).map(|_| sizes.draw(&mut random)).collect()
    }

    #[test]
    fn lengths_are_fixed_or_even() {
        assert!(draws("0", 0).iter().all(|size| *size == 0));
        assert!(draws("64", 0).iter().all(|size| *size == 64));
        let sizes = draws("uniform:10-19", 0);
        for size in 10..=19 {
            let count = sizes.iter().filter(|drawn| **drawn == size).count();
            assert!((9_500..10_500).contains(&count), "{size}: {count}");
        }
        assert!(draws("uniform:7-7", 0).iter().all(|size| *size == 7));
    }

    #[test]
    fn log_normal_lengths_have_the_median_and_the_spread() {
        let mut sizes = draws("lognormal:300:1.2:100000", 0);
        sizes.sort_unstable();
        let at = |quantile: usize| f64::from(sizes[sizes.len() * quantile / 1_000]);
        // Quantiles of the log-normal: median * e^(z sigma), z = 0, 1, -1.
        assert!((at(500) / 300.0 - 1.0).abs() < 0.03, "{}", at(500));
        assert!((at(841) / (300.0 * 1.2_f64.exp()) - 1.0).abs() < 0.04, "{}", at(841));
        assert!((at(159) / (300.0 * (-1.2_f64).exp()) - 1.0).abs() < 0.04, "{}", at(159));
        assert!(*sizes.last().unwrap() <= 100_000);
        assert!(draws("lognormal:100:3:200", 0).iter().all(|size| *size <= 200));
        assert!(draws("lognormal:30:1", 24).iter().all(|size| *size >= 24));
        assert!(draws("lognormal:30:0", 0).iter().all(|size| *size == 30));
    }

    #[test]
    fn lengths_from_a_list_have_their_shares() {
        let sizes = draws("64=70, 512=20,4096=10", 0);
        for (size, expected) in [(64, 70_000), (512, 20_000), (4_096, 10_000)] {
            let count = sizes.iter().filter(|drawn| **drawn == size).count();
            assert!(count.abs_diff(expected) < 700, "{size}: {count}");
        }
    }

    #[test]
    fn lengths_that_make_no_sense_are_refused() {
        for (text, part) in [
            ("", "`` is no length"),
            ("-1", "`-1` is no length"),
            ("536870913", "`536870913` is no length from 0 to 536870912 bytes"),
            ("1.5", "`1.5` is no length"),
            ("uniform:5", "must be uniform:FROM-TO"),
            ("uniform:9-5", "9 is more than 5"),
            ("uniform:a-b", "`a` is no length"),
            ("lognormal:10", "must be lognormal:MEDIAN:SIGMA[:MAX]"),
            ("lognormal:10:x", "sigma must be from 0 to 10, not `x`"),
            ("lognormal:10:-1", "sigma must be"),
            ("lognormal:10:NaN", "sigma must be"),
            ("lognormal:0:1", "the median must be from 1"),
            ("lognormal:10:1:5", "the median must be from 1 to 5 bytes, not 10"),
            ("64=70,512", "`512` is no BYTES=WEIGHT"),
            ("64=70,512=0", "`0` is no weight"),
            ("64=70,512=-2", "`-2` is no weight"),
            ("64=70,512=NaN", "`NaN` is no weight"),
            ("64=70,512=inf", "`inf` is no weight"),
            ("=70", "`` is no length"),
        ] {
            let error = Sizes::new(text, 0).err().unwrap();
            assert!(error.starts_with(&format!("--value-bytes {text}: ")), "{error}");
            assert!(error.contains(part), "{text}: {error}");
        }
        for text in ["23", "uniform:23-90", "64=1,8=1", "lognormal:9:1:20"] {
            let error = Sizes::new(text, 24).err().unwrap();
            assert!(error.contains("at least 24 bytes with --verify"), "{error}");
        }
        assert!(Sizes::new("24", 24).is_ok());
    }

    #[test]
    fn ttls_are_durations_and_ranges() {
        for (text, low_ms, high_ms) in [
            ("60", 60_000, 60_000),
            ("1.5s", 1_500, 1_500),
            ("250ms", 250, 250),
            ("2m", 120_000, 120_000),
            ("1h", 3_600_000, 3_600_000),
            ("10-60s", 10_000, 60_000),
            ("500ms-2s", 500, 2_000),
            ("100-200ms", 100, 200),
            ("1-2", 1_000, 2_000),
        ] {
            assert_eq!(Ttl::new(text), Ok(Ttl { low_ms, high_ms }), "{text}");
        }
        let (ttl, mut random) = (Ttl::new("1-2s").unwrap(), Random::new(1, 1));
        let drawn: Vec<u32> = (0..10_000).map(|_| ttl.draw_ms(&mut random)).collect();
        assert!(drawn.iter().all(|ms| (1_000..=2_000).contains(ms)));
        assert!(drawn.contains(&1_000) && drawn.contains(&2_000));
        for (text, part) in [
            ("", "`` is no duration"),
            ("0", "`0` is not from 1ms"),
            ("-5", "is no duration"),
            ("5y", "`5y` has no unit of ms, s, m or h"),
            ("2000h", "`2000h` is not from 1ms to 1193h"),
            ("9-3s", "9 is more than 3s"),
            ("NaN", "`NaN` has no unit"),
        ] {
            let error = Ttl::new(text).err().unwrap();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
