//! Which pictures a report has: made from outcomes, drawn elsewhere.

use super::chart::{Axis, Chart, Level, Point, Scale, Series, Style};
use super::outcome::{Outcome, Second, per_second, whole_seconds};
use super::{QUANTILES, units};
use crate::search::slo::{Figure, Limit, Slo};
use crate::search::{Search, Step};

/// Percentiles that the curve of a search always shows.
const SEARCH_QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];
/// Most points of a line over time; a longer run shows several seconds in one.
const POINTS_MAX: usize = 400;
/// Steps in each halving of the distance to 100 % on the percentile curve.
const TICKS_PER_HALF: u32 = 8;
/// Nines at which the percentile curve ends at the latest.
const NINES_MAX: f64 = 7.0;

/// Every picture of these runs that has something to show.
pub(crate) fn all(runs: &[Outcome], search: Option<&Search>) -> Vec<Chart> {
    let mut charts = Vec::new();
    charts.extend(search.map(rate_curve));
    if !runs.is_empty() {
        charts.push(percentiles(runs));
    }
    if let [run] = runs
        && run.used_commands().len() > 1
    {
        charts.push(percentiles_by_command(run));
    }
    if runs.iter().any(|run| run.seconds.len() > 1) {
        charts.push(throughput(runs));
        charts.push(match runs {
            [run] => latency_over_time(run),
            runs => latencies_over_time(runs),
        });
    }
    charts.retain(|chart| chart.series.iter().any(|series| !series.points.is_empty()));
    charts
}

/// Latency by percentile, one line a run; the x axis gives each further nine the same room.
pub(crate) fn percentiles(runs: &[Outcome]) -> Chart {
    let series = runs
        .iter()
        .enumerate()
        .map(|(i, run)| line(&name(run, i), i, percentile_points(&run.total())));
    percentile_chart("Latency by percentile", series.collect())
}

fn percentiles_by_command(run: &Outcome) -> Chart {
    let used = run.used_commands();
    let series = used
        .iter()
        .enumerate()
        .map(|(i, command)| line(&command.name, i, percentile_points(&command.latencies)));
    percentile_chart("Latency by percentile, each command", series.collect())
}

fn percentile_chart(title: &str, series: Vec<Series>) -> Chart {
    let nines = series.iter().flat_map(|s| &s.points).map(|p| p.x).fold(1.0, f64::max);
    let scale = Scale::Linear { min: 0.0, max: nines };
    let percentiles = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %", "99.9999 %"];
    let ticks = (0_u8..).map(f64::from).zip(percentiles).filter(|(n, _)| *n <= nines);
    let ticks = ticks.map(|(n, name)| (scale.position(n), name.to_owned())).collect();
    Chart {
        title: title.to_owned(),
        caption: "Each step to the right is another nine. Lower is better.".to_owned(),
        x: Axis { title: "percentile".to_owned(), scale, ticks },
        y: latency_axis(series.iter()),
        series,
        levels: Vec::new(),
    }
}

fn percentile_points(latencies: &hdrhistogram::Histogram<u64>) -> Vec<Point> {
    if latencies.is_empty() {
        return Vec::new();
    }
    // The last value stands where its share of all requests puts it, not at infinity.
    let last = (latencies.len() as f64).log10().clamp(1.0, NINES_MAX);
    let nines = |quantile: f64| -(1.0 - quantile).max(f64::MIN_POSITIVE).log10();
    let point = |quantile: f64, ns: u64| {
        let ns = ns.min(latencies.max()) as f64;
        let x = nines(quantile).min(last);
        Point { x, y: ns, at: percentile_name(quantile), value: units::latency(ns) }
    };
    let steps = latencies.iter_quantiles(TICKS_PER_HALF);
    let steps = steps.map(|step| point(step.quantile_iterated_to(), step.value_iterated_to()));
    // The percentiles that people ask for are on the curve too, so that they can be pointed at.
    let named = QUANTILES.iter().filter(|quantile| nines(**quantile) <= last);
    let named = named.map(|quantile| point(*quantile, latencies.value_at_quantile(*quantile)));
    let mut points: Vec<Point> = steps.chain(named).collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    points
}

/// With no more digits than the next nine has.
fn percentile_name(quantile: f64) -> String {
    if quantile >= 1.0 {
        return "max".to_owned();
    }
    let scale = [1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];
    let digits = scale.into_iter().find(|scale| (1.0 - quantile) * scale >= 0.999).unwrap_or(1e8);
    format!("p{}", (quantile * 100.0 * digits).round() / digits)
}

fn throughput(runs: &[Outcome]) -> Chart {
    let mut series = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let seconds = condensed(&run.seconds);
        let rates = seconds.iter().map(|(second, length_s)| {
            let rate = per_second(second.requests, *length_s);
            let value = format!("{}/s", units::rate(rate));
            Point { x: second.at_s, y: rate, at: at(second), value }
        });
        series.push(line(&name(run, i), i, rates.collect()));
        // Lines of several runs are enough to tell apart without what was asked of each.
        let asked: Vec<Point> = seconds
            .iter()
            .filter(|_| runs.len() == 1)
            .filter_map(|(second, _)| Some((second, second.intended_rate?)))
            .map(|(second, rate)| {
                let value = format!("{}/s", units::rate(rate));
                Point { x: second.at_s, y: rate, at: at(second), value }
            })
            .collect();
        if !asked.is_empty() {
            let name = format!("{}, asked", name(run, i));
            series.push(Series { name, color: i, style: Style::Dashed, points: asked });
        }
    }
    let most = series.iter().flat_map(|s| &s.points).map(|p| p.y).fold(0.0, f64::max);
    Chart {
        title: "Throughput over time".to_owned(),
        caption: "Right replies a second.".to_owned(),
        x: time_axis(&series),
        y: Axis::linear("requests/s", most, units::short_rate),
        series,
        levels: Vec::new(),
    }
}

fn latency_over_time(run: &Outcome) -> Chart {
    type Figure = (&'static str, fn(&Second) -> u64);
    let figures: [Figure; 4] = [
        ("p50", |s| s.p50_ns),
        ("p99", |s| s.p99_ns),
        ("p99.9", |s| s.p999_ns),
        ("max", |s| s.max_ns),
    ];
    let seconds = condensed(&run.seconds);
    let series =
        figures.iter().enumerate().map(|(i, (name, of))| line(name, i, over_time(&seconds, of)));
    time_chart("Latency over time", "Percentiles of each second.", series.collect())
}

fn latencies_over_time(runs: &[Outcome]) -> Chart {
    let series = runs
        .iter()
        .enumerate()
        .map(|(i, run)| line(&name(run, i), i, over_time(&condensed(&run.seconds), |s| s.p99_ns)));
    time_chart("p99 over time", "The 99th percentile of each second.", series.collect())
}

fn time_chart(title: &str, caption: &str, series: Vec<Series>) -> Chart {
    Chart {
        title: title.to_owned(),
        caption: caption.to_owned(),
        x: time_axis(&series),
        y: latency_axis(series.iter()),
        series,
        levels: Vec::new(),
    }
}

/// The curve of a search: latency by rate, and where the objective was missed.
fn rate_curve(search: &Search) -> Chart {
    let steps: Vec<&Step> = search.by_rate().collect();
    let limits = search.objective.parse::<Slo>().map_or_else(|_| Vec::new(), |slo| slo.limits);
    let mut series: Vec<Series> = Vec::new();
    let mut line = |name: String, of: &dyn Fn(&Step) -> Option<f64>| {
        let points = steps.iter().filter_map(|step| {
            let ns = of(step)?;
            Some(rate_point(step, ns, units::latency(ns)))
        });
        let (color, points) = (series.len(), points.collect());
        series.push(Series { name, color, style: Style::Marked, points });
    };
    for quantile in SEARCH_QUANTILES {
        line(units::quantile_name(quantile), &|step| quantile_ns(step, quantile));
    }
    // What the objective bounds is shown too, if it is something else.
    for (index, limit) in limits.iter().enumerate() {
        let is_drawn = |limit: &Limit| match limit.figure {
            Figure::Quantile(bounded) => SEARCH_QUANTILES.iter().any(|q| is_same(*q, bounded)),
            Figure::Mean | Figure::Max => false,
        };
        let is_first = !limits[..index].iter().any(|earlier| earlier.figure == limit.figure);
        if is_first && !is_drawn(limit) {
            line(limit.figure.to_string(), &|step| step.figures_ns.get(index).copied());
        }
    }
    let missed = steps.iter().filter_map(|step| {
        let why = step.missed.as_ref()?;
        Some(rate_point(step, missed_ns(step, &limits)?, why.clone()))
    });
    let missed: Vec<Point> = missed.collect();
    if !missed.is_empty() {
        let name = "objective missed".to_owned();
        series.push(Series { name, color: 7, style: Style::Crosses, points: missed });
    }
    let levels: Vec<Level> = limits
        .iter()
        .map(|limit| Level {
            y: limit.limit_ns,
            name: format!("{} < {}", limit.figure, units::latency(limit.limit_ns)),
        })
        .collect();
    let most = steps.iter().map(|step| step.asked).fold(0.0, f64::max);
    let values =
        series.iter().flat_map(|s| &s.points).map(|p| p.y).chain(levels.iter().map(|l| l.y));
    Chart {
        title: "Latency by rate".to_owned(),
        caption: search.answer(),
        x: Axis::linear("requests/s asked", most, units::short_rate),
        y: Axis::log("latency", values, latency_tick),
        series,
        levels,
    }
}

/// Whether two quantiles are one, though one of them was written in percent.
fn is_same(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

fn quantile_ns(step: &Step, quantile: f64) -> Option<f64> {
    let index = QUANTILES.iter().position(|q| is_same(*q, quantile))?;
    step.quantiles_ns.get(index).map(|ns| *ns as f64)
}

/// Where a step that missed its objective is marked: at the figure that was too high, or if none was (it
/// fell behind, or there were errors) at the first that is bounded.
fn missed_ns(step: &Step, limits: &[Limit]) -> Option<f64> {
    let figures = || step.figures_ns.iter().zip(limits);
    let too_high = figures().find(|(ns, limit)| **ns >= limit.limit_ns);
    // Reports of earlier versions don't say what their figures were.
    let marked = too_high.or(figures().next()).map(|(ns, _)| *ns);
    marked.or_else(|| quantile_ns(step, 0.999))
}

fn rate_point(step: &Step, ns: f64, value: String) -> Point {
    Point { x: step.asked, y: ns, at: format!("{}/s", units::rate(step.asked)), value }
}

fn over_time(seconds: &[(Second, f64)], of: impl Fn(&Second) -> u64) -> Vec<Point> {
    // A second without a reply has no latency: the line passes over it, throughput shows it.
    let answered = seconds.iter().map(|(second, _)| second).filter(|s| s.requests > 0);
    answered
        .map(|second| {
            let ns = of(second) as f64;
            Point { x: second.at_s, y: ns, at: at(second), value: units::latency(ns) }
        })
        .collect()
}

/// No more seconds than can be told apart, each with its length.
fn condensed(seconds: &[Second]) -> Vec<(Second, f64)> {
    let seconds = whole_seconds(seconds);
    let size = seconds.len().div_ceil(POINTS_MAX).max(1);
    let join = |chunk: &[(Second, f64)]| {
        let mut joined = Second { at_s: chunk[chunk.len() - 1].0.at_s, ..Second::default() };
        chunk.iter().for_each(|(second, _)| joined.add(second));
        let rates: Vec<f64> = chunk.iter().filter_map(|(s, _)| s.intended_rate).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        joined.intended_rate = (!rates.is_empty()).then_some(mean);
        (joined, chunk.iter().map(|(_, length_s)| length_s).sum())
    };
    seconds.chunks(size).map(join).collect()
}

fn line(name: &str, color: usize, points: Vec<Point>) -> Series {
    Series { name: name.to_owned(), color, style: Style::Line, points }
}

fn name(run: &Outcome, i: usize) -> String {
    if run.label.is_empty() { format!("run {}", i + 1) } else { run.label.clone() }
}

fn at(second: &Second) -> String {
    format!("{:.1} s", second.at_s)
}

fn time_axis(series: &[Series]) -> Axis {
    let end = series.iter().flat_map(|s| &s.points).map(|p| p.x).fold(0.0, f64::max);
    let mut axis = Axis::linear("seconds", end, |s| format!("{}", (s * 1000.0).round() / 1000.0));
    // Time ends where the run does: a round number behind it would be empty space.
    let scale = Scale::Linear { min: 0.0, max: end.max(f64::MIN_POSITIVE) };
    let whole = axis.scale;
    axis.ticks.retain_mut(|(position, _)| {
        let Scale::Linear { max, .. } = whole else { return true };
        let value = *position * max;
        *position = scale.position(value);
        value <= end * (1.0 + 1e-9)
    });
    axis.scale = scale;
    axis
}

fn latency_axis<'a>(series: impl Iterator<Item = &'a Series>) -> Axis {
    Axis::log("latency", series.flat_map(|s| &s.points).map(|p| p.y), latency_tick)
}

/// Ticks are round, so they need no decimals.
fn latency_tick(ns: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")];
    let (size, unit) =
        units.into_iter().find(|(size, _)| ns >= size * 0.999).unwrap_or((1.0, "ns"));
    format!("{} {unit}", (ns / size * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::histogram;
    use crate::report::outcome::CommandOutcome;

    fn run(label: &str, seconds: usize) -> Outcome {
        let mut get = CommandOutcome::new("get");
        (1..=100_000_u64).for_each(|i| get.latencies.record(40_000 + i).unwrap());
        let second = |i: usize| Second {
            at_s: i as f64,
            requests: 1000,
            p50_ns: 40_000,
            p99_ns: 90_000 + i as u64,
            p999_ns: 100_000,
            max_ns: 140_000,
            ..Second::default()
        };
        let seconds = (1..=seconds).map(second).collect();
        Outcome { label: label.to_owned(), commands: vec![get], seconds, ..Outcome::default() }
    }

    #[test]
    fn the_percentile_curve_has_a_step_for_every_nine() {
        let chart = percentiles(&[run("a", 3)]);
        let ticks: Vec<_> = chart.x.ticks.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(ticks, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
        let points = &chart.series[0].points;
        assert!(points.windows(2).all(|w| w[0].x <= w[1].x && w[0].y <= w[1].y));
        let last = points.last().unwrap();
        assert_eq!((last.at.as_str(), last.x), ("max", 5.0));
        let p99 = points.iter().find(|p| p.at == "p99").unwrap();
        assert!((139_000.0..=139_100.0).contains(&p99.y), "{p99:?}");
        assert!((p99.x - 2.0).abs() < 1e-9, "{p99:?}");
        assert_eq!(percentile_name(0.99945068), "p99.9451");
        assert_eq!(percentile_name(0.5), "p50");
        assert_eq!(percentile_name(0.99999), "p99.999");
    }

    #[test]
    fn each_run_is_in_each_picture() {
        let charts = all(&[run("a", 3), run("b", 5)], None);
        let titles: Vec<_> = charts.iter().map(|chart| chart.title.as_str()).collect();
        assert_eq!(titles, ["Latency by percentile", "Throughput over time", "p99 over time"]);
        for chart in &charts {
            let names: Vec<_> = chart.series.iter().map(|s| s.name.as_str()).collect();
            assert_eq!(names, ["a", "b"], "{}", chart.title);
        }
        assert_eq!(all(&[Outcome::default()], None).len(), 0, "nothing to show");
    }

    #[test]
    fn a_long_run_is_condensed_and_keeps_its_peaks() {
        let mut long = run("a", 3_601);
        long.seconds[1234].max_ns = 77_000_000;
        let chart = latency_over_time(&long);
        assert!(chart.series.iter().all(|s| s.points.len() <= POINTS_MAX));
        let greatest = chart.series[3].points.iter().map(|p| p.y).fold(0.0, f64::max);
        assert!((greatest - 77e6).abs() < 1.0);
        assert!((chart.x.ticks.last().unwrap().0 - 3000.0 / 3601.0).abs() < 1e-6);
    }

    #[test]
    fn a_miss_is_marked_at_the_figure_that_the_objective_bounds() {
        let step = |asked: f64, figures_ns: &[f64], missed: Option<&str>| Step {
            asked,
            quantiles_ns: QUANTILES.map(|q| if q == 0.999 { 9_000_000 } else { 70_000 }).to_vec(),
            figures_ns: figures_ns.to_vec(),
            missed: missed.map(str::to_owned),
            ..Step::default()
        };
        let steps = vec![
            step(1000.0, &[80_000.0, 300_000.0], None),
            step(2000.0, &[120_000.0, 300_000.0], Some("p95 120 us")),
            step(3000.0, &[90_000.0, 800_000.0], Some("max 800 us")),
            step(4000.0, &[60_000.0, 200_000.0], Some("1 errors")),
            step(5000.0, &[], Some("of an earlier version")),
        ];
        let objective = "p95 < 100 us, max < 500 us".to_owned();
        let chart = rate_curve(&Search { objective, steps, ..Search::default() });
        let names: Vec<_> = chart.series.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["p50", "p99", "p99.9", "p95", "max", "objective missed"]);
        let crosses: Vec<f64> = chart.series[5].points.iter().map(|point| point.y).collect();
        assert_eq!(crosses, [120_000.0, 800_000.0, 60_000.0, 9_000_000.0]);
        assert_eq!(chart.series[3].points.len(), 4);
    }

    #[test]
    fn an_empty_histogram_has_no_curve() {
        assert!(percentile_points(&histogram::new()).is_empty());
    }
}
