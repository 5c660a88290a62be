//! What a picture shows, apart from how it is drawn: axes, series and marks, in values.
//!
//! Positions on an axis run from 0 to 1. A point brings the words that say what it is, so that
//! whoever draws it need not know units.

/// One picture.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What the reader should see in it, in a sentence.
    pub(crate) caption: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
    /// A level to compare with, such as an objective.
    pub(crate) levels: Vec<Level>,
}

#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) scale: Scale,
    /// Positions and their words, least first.
    pub(crate) ticks: Vec<(f64, String)>,
}

/// From values to positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    Linear { min: f64, max: f64 },
    Log { min: f64, max: f64 },
}

/// A line through points, or marks alone.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Which of the colours.
    pub(crate) color: usize,
    pub(crate) style: Style,
    pub(crate) points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Line,
    Dashed,
    /// A line with a mark at every point.
    Marked,
    /// A cross at every point, and no line.
    Crosses,
}

#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// Where it is, as a tool tip says it: `p99.9`, `12.0 s`.
    pub(crate) at: String,
    /// What it is: `1.25 ms`.
    pub(crate) value: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) y: f64,
    pub(crate) name: String,
}

/// About how many ticks an axis gets.
const TICKS: f64 = 5.0;
/// Decades from which a logarithmic axis shows only powers of ten.
const DECADES_OF_STEPS_MAX: f64 = 2.3;

impl Scale {
    pub(crate) fn position(self, value: f64) -> f64 {
        let (value, min, max) = match self {
            Scale::Linear { min, max } => (value, min, max),
            Scale::Log { min, max } => (value.max(min).ln(), min.ln(), max.ln()),
        };
        ((value - min) / (max - min)).clamp(0.0, 1.0)
    }
}

impl Axis {
    /// From zero to a round number at or above `max`.
    pub(crate) fn linear(title: &str, max: f64, name: impl Fn(f64) -> String) -> Self {
        let max = if max > 0.0 && max.is_finite() { max } else { 1.0 };
        let step = round_step(max / TICKS);
        let steps = (max / step - 1e-9).ceil().max(1.0);
        let scale = Scale::Linear { min: 0.0, max: step * steps };
        let values = std::iter::successors(Some(0.0), |i| Some(i + 1.0)).map(|i| i * step);
        let values = values.take_while(|value| *value <= step * (steps + 0.5));
        let ticks = values.map(|value| (scale.position(value), name(value))).collect();
        Self { title: title.to_owned(), scale, ticks }
    }

    /// Logarithmic, over round numbers that hold all values; values of zero or less don't count.
    pub(crate) fn log(
        title: &str,
        values: impl Iterator<Item = f64>,
        name: impl Fn(f64) -> String,
    ) -> Self {
        let (min, max) = values
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::INFINITY, 0.0_f64), |(min, max), v| (min.min(v), max.max(v)));
        let (min, max) = if max > 0.0 { (min, max) } else { (1.0, 10.0) };
        let steps: Vec<f64> = one_two_five(min, max);
        let (first, last) = (steps[0], steps[steps.len() - 1]);
        let scale = Scale::Log { min: first, max: last };
        let is_wide = (last / first).log10() > DECADES_OF_STEPS_MAX;
        let is_shown = |value: &f64| !is_wide || is_power_of_ten(*value);
        let ticks = steps.into_iter().filter(is_shown);
        let ticks = ticks.map(|value| (scale.position(value), name(value))).collect();
        Self { title: title.to_owned(), scale, ticks }
    }
}

/// 1, 2 or 5 times a power of ten, at or above the number.
fn round_step(x: f64) -> f64 {
    let power = 10_f64.powf(x.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= x * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// 1, 2 and 5 times powers of ten, from the last at or below `min` to the first at or above `max`,
/// at least two.
fn one_two_five(min: f64, max: f64) -> Vec<f64> {
    let mut power = 10_f64.powf(min.log10().floor());
    let mut steps = Vec::new();
    loop {
        for factor in [1.0, 2.0, 5.0] {
            let value = factor * power;
            if value <= min * (1.0 + 1e-9) {
                steps.clear();
            }
            steps.push(value);
            if value >= max * (1.0 - 1e-9) && steps.len() > 1 {
                return steps;
            }
        }
        power *= 10.0;
    }
}

fn is_power_of_ten(x: f64) -> bool {
    let log = x.log10();
    (log - log.round()).abs() < 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn axes_have_round_ticks_that_hold_the_data() {
        let axis = Axis::linear("", 123_000.0, |v| format!("{v}"));
        assert_eq!(names(&axis), ["0", "50000", "100000", "150000"]);
        assert!((axis.scale.position(75_000.0) - 0.5).abs() < 1e-9);
        assert_eq!(names(&Axis::linear("", 0.0, |v| format!("{v:.1}"))).len(), 6);
        let axis = Axis::log("", [30.0, 900.0, 0.0].into_iter(), |v| format!("{v}"));
        assert_eq!(names(&axis), ["20", "50", "100", "200", "500", "1000"]);
        let axis = Axis::log("", [3.0, 1e6].into_iter(), |v| format!("{v}"));
        assert_eq!(names(&axis), ["10", "100", "1000", "10000", "100000", "1000000"]);
        assert_eq!(axis.scale, Scale::Log { min: 2.0, max: 1e6 });
        let axis = Axis::log("", [100.0].into_iter(), |v| format!("{v}"));
        assert_eq!(names(&axis), ["100", "200"]);
        assert_eq!(Axis::log("", std::iter::empty(), |v| format!("{v}")).ticks.len(), 4);
    }

    #[test]
    fn positions_stay_on_the_axis() {
        let scale = Scale::Log { min: 1.0, max: 100.0 };
        assert_eq!(scale.position(0.0), 0.0);
        assert!((scale.position(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(scale.position(1e9), 1.0);
    }
}
