//! Quantities as they are written on the command line: times, rates, ramps, lists of CPUs.

use std::time::Duration;

use crate::engine::plan::Cpus;
use crate::schedule::Curve;

/// Most requests a second that anyone may ask for.
const RATE_MAX: f64 = 1e9;
/// Longest time, in seconds.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;
/// Highest number of a CPU.
const CPU_MAX: usize = 1023;

/// `30s`, `500ms`, `5m`, `1h`, or seconds without a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{unit}' is no unit of time: us, ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| "not a time like 30s or 500ms".to_owned())?;
    let seconds = number * scale;
    if !(seconds > 0.0 && seconds <= SECONDS_MAX) {
        return Err("a time has to be above zero and at most a year".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Requests a second: `50000`, `50k`, `1.5M`.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate = scaled(text).ok_or("not a rate like 50000 or 50k")?;
    if !(rate > 0.0 && rate <= RATE_MAX) {
        return Err(format!("a rate has to be above zero and at most {RATE_MAX:e}"));
    }
    Ok(rate)
}

fn scaled(text: &str) -> Option<f64> {
    let (number, scale) = match text.char_indices().last()? {
        (end, 'k' | 'K') => (&text[..end], 1e3),
        (end, 'm' | 'M') => (&text[..end], 1e6),
        _ => (text, 1.0),
    };
    number.parse::<f64>().ok().map(|number| number * scale)
}

/// `FROM:TO:TIME`; one of the rates may be zero.
pub(crate) fn ramp(text: &str) -> Result<Curve, String> {
    let mut parts = text.split(':');
    let (Some(from), Some(to), Some(time), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("not of the form FROM:TO:TIME, like 1k:100k:60s".to_owned());
    };
    let end = |text| if scaled(text) == Some(0.0) { Ok(0.0) } else { rate(text) };
    let (from, to) = (end(from)?, end(to)?);
    if from + to <= 0.0 {
        return Err("a ramp from zero to zero asks nothing".to_owned());
    }
    Ok(Curve::ramp(from, to, duration(time)?))
}

/// `RATE,RATE,..:TIME`.
pub(crate) fn steps(text: &str) -> Result<Curve, String> {
    let (rates, time) =
        text.split_once(':').ok_or("not of the form RATE,RATE,..:TIME, like 10k,20k:10s")?;
    let rates = rates.split(',').map(rate).collect::<Result<Vec<f64>, _>>()?;
    Ok(Curve::steps(&rates, duration(time)?))
}

/// How many times as fast.
pub(crate) fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().map_err(|_| "not a number".to_owned())?;
    if factor > 0.0 && factor <= RATE_MAX {
        Ok(factor)
    } else {
        Err("has to be above zero".to_owned())
    }
}

/// `2,3`, `4-7`, `any`.
pub(crate) fn cpus(text: &str) -> Result<Cpus, String> {
    if text == "any" {
        return Ok(Cpus::Any);
    }
    let no_list = || format!("not a list of CPUs up to {CPU_MAX}, like 2,3 or 4-7");
    let mut list = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse().ok().filter(|&cpu: &usize| cpu <= CPU_MAX);
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err(no_list());
        };
        if first > last {
            return Err(no_list());
        }
        list.extend(first..=last);
    }
    Ok(Cpus::List(list))
}

#[cfg(test)]
mod tests {
    use super::{cpus, duration, factor, ramp, rate, steps};
    use crate::engine::plan::Cpus;
    use crate::schedule::Curve;
    use std::time::Duration;

    #[test]
    fn times() {
        for (text, expected) in [
            ("30", Duration::from_secs(30)),
            ("1.5s", Duration::from_millis(1500)),
            ("500ms", Duration::from_millis(500)),
            ("250us", Duration::from_micros(250)),
            ("2m", Duration::from_secs(120)),
            ("1h", Duration::from_secs(3600)),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "0s", "-1s", "s", "1 s", "1d", "nan", "inf", "1e99", "1000000h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("50000"), Ok(50_000.0));
        assert_eq!(rate("50k"), Ok(50_000.0));
        assert_eq!(rate("1.5M"), Ok(1_500_000.0));
        for text in ["", "0", "0k", "-1", "k", "x", "nan", "inf", "1e10"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn curves() {
        let ramped = Curve::ramp(0.0, 2000.0, Duration::from_secs(60));
        assert_eq!(ramp("0:2k:60s"), Ok(ramped));
        let stepped = Curve::steps(&[10_000.0, 20_000.0], Duration::from_secs(5));
        assert_eq!(steps("10k,20k:5s"), Ok(stepped));
        for text in ["", "1:2", "1:2:3:4", "0:0:1s", "1:2:0s", "-1:2:3s", "a:2:3s"] {
            assert!(ramp(text).is_err(), "{text}");
        }
        for text in ["", "1,2", ":1s", "1,:1s", "0:1s", "1,2:0s"] {
            assert!(steps(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_and_factors() {
        assert_eq!(cpus("any"), Ok(Cpus::Any));
        assert_eq!(cpus("3,0-2"), Ok(Cpus::List(vec![3, 0, 1, 2])));
        for text in ["", ",", "a", "2-1", "1-", "1024", "0-99999999999"] {
            assert!(cpus(text).is_err(), "{text}");
        }
        assert_eq!(factor("2.5"), Ok(2.5));
        for text in ["0", "-1", "x", "nan"] {
            assert!(factor(text).is_err(), "{text}");
        }
    }
}
