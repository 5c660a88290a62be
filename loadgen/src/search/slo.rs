//! Objectives: `p99.9<1ms`, `max<50ms`, several joined by commas.

use std::fmt;
use std::str::FromStr;

use hdrhistogram::Histogram;

use crate::report::units;

/// Most limits in one objective.
const LIMITS_MAX: usize = 16;
/// The outermost percentile an objective may name.
const PERCENTILE_MAX: f64 = 99.999;

/// All of them must hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slo {
    pub(crate) limits: Vec<Limit>,
}

/// One figure of the latencies and what it must stay under.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Limit {
    pub(crate) figure: Figure,
    pub(crate) limit_ns: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Figure {
    Quantile(f64),
    Mean,
    Max,
}

impl Figure {
    pub(crate) fn of(self, latencies: &Histogram<u64>) -> f64 {
        match self {
            Figure::Quantile(quantile) => latencies.value_at_quantile(quantile) as f64,
            Figure::Mean => latencies.mean(),
            Figure::Max => latencies.max() as f64,
        }
    }
}

impl Slo {
    /// The first limit that does not hold, and what the figure was instead.
    pub(crate) fn missed_by(&self, latencies: &Histogram<u64>) -> Option<(Limit, f64)> {
        let figures = self.limits.iter().map(|limit| (*limit, limit.figure.of(latencies)));
        figures.into_iter().find(|(limit, ns)| *ns >= limit.limit_ns)
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let limits: Vec<Limit> = text.split(',').map(limit).collect::<Result<_, _>>()?;
        if limits.len() > LIMITS_MAX {
            return Err(format!("an objective has at most {LIMITS_MAX} limits"));
        }
        Ok(Self { limits })
    }
}

fn limit(text: &str) -> Result<Limit, String> {
    let text = text.trim();
    let (figure, duration) = text
        .split_once('<')
        .ok_or_else(|| format!("\"{text}\" is no objective; one looks like p99.9<1ms"))?;
    Ok(Limit {
        figure: parse_figure(figure.trim())?,
        limit_ns: parse_duration_ns(duration.trim_start_matches('=').trim())?,
    })
}

fn parse_figure(text: &str) -> Result<Figure, String> {
    match text {
        "max" => return Ok(Figure::Max),
        "mean" => return Ok(Figure::Mean),
        _ => {}
    }
    let wrong = || format!("\"{text}\" is none of p50 to p99.999, max and mean");
    let digits = text.strip_prefix('p').ok_or_else(wrong)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(wrong());
    }
    let percentile: f64 = digits.parse().map_err(|_| wrong())?;
    if percentile > 0.0 && percentile <= PERCENTILE_MAX {
        Ok(Figure::Quantile(percentile / 100.0))
    } else {
        Err(wrong())
    }
}

fn parse_duration_ns(text: &str) -> Result<f64, String> {
    let wrong = || format!("\"{text}\" is no latency; one looks like 500us, 1ms or 0.5s");
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let ns = match unit.trim() {
        "us" | "µs" | "μs" => number * 1e3,
        "ms" => number * 1e6,
        "s" => number * 1e9,
        _ => return Err(wrong()),
    };
    if ns > 0.0 && ns.is_finite() { Ok(ns) } else { Err(wrong()) }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figure::Quantile(quantile) => write!(f, "{}", units::quantile_name(*quantile)),
            Figure::Mean => write!(f, "mean"),
            Figure::Max => write!(f, "max"),
        }
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Limit { figure, limit_ns }) in self.limits.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{figure} < {}", units::latency(*limit_ns))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::histogram;

    #[test]
    fn objectives_are_read() {
        let cases = [
            ("p99.9<1ms", vec![(Figure::Quantile(0.999), 1e6)]),
            ("p50<=80us", vec![(Figure::Quantile(0.5), 8e4)]),
            (" p99.999 < 0.5 s ", vec![(Figure::Quantile(0.99999), 5e8)]),
            ("max<50ms,mean<200us", vec![(Figure::Max, 5e7), (Figure::Mean, 2e5)]),
            ("p99<1.5µs", vec![(Figure::Quantile(0.99), 1500.0)]),
        ];
        for (text, limits) in cases {
            let slo: Slo = text.parse().unwrap();
            assert_eq!(slo.limits.len(), limits.len(), "{text}");
            for (limit, (figure, ns)) in slo.limits.iter().zip(limits) {
                assert!((limit.limit_ns - ns).abs() < 1e-6, "{text}: {limit:?}");
                assert_eq!(limit.figure.to_string(), figure.to_string(), "{text}");
            }
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let cases = [
            ("", "\"\" is no objective"),
            ("p99", "\"p99\" is no objective"),
            ("p99<1ms,", "\"\" is no objective"),
            ("p0<1ms", "\"p0\" is none of p50 to p99.999"),
            ("p100<1ms", "\"p100\" is none of"),
            ("p99.9999<1ms", "is none of"),
            ("pinf<1ms", "is none of"),
            ("p-1<1ms", "is none of"),
            ("p1e1<1ms", "is none of"),
            ("p<1ms", "is none of"),
            ("average<1ms", "\"average\" is none of"),
            ("p99<1", "\"1\" is no latency"),
            ("p99<ms", "\"ms\" is no latency"),
            ("p99<0ms", "\"0ms\" is no latency"),
            ("p99<-1ms", "\"-1ms\" is no latency"),
            ("p99<1.2.3ms", "is no latency"),
            ("p99<1min", "is no latency"),
            ("p99<<1ms", "is no latency"),
        ];
        for (text, why) in cases {
            let error = text.parse::<Slo>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        let many = vec!["p99<1ms"; LIMITS_MAX + 1].join(",");
        assert!(many.parse::<Slo>().is_err());
    }

    #[test]
    fn the_first_limit_that_does_not_hold_is_named() {
        let mut latencies = histogram::new();
        latencies.record_n(100_000, 999).unwrap();
        latencies.record_n(7_000_000, 1).unwrap();
        let missed = |text: &str| {
            let slo: Slo = text.parse().unwrap();
            slo.missed_by(&latencies).map(|(limit, _)| limit.figure.to_string())
        };
        assert_eq!(missed("p99<101us,max<8ms"), None);
        assert_eq!(missed("p99<101us,max<7ms"), Some("max".to_owned()));
        assert_eq!(missed("mean<100us,max<1ms"), Some("mean".to_owned()));
    }
}
