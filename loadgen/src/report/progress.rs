//! The live line: how the run goes while it runs.
//!
//! On a terminal one line is written over and over; elsewhere (a log, a pipe) a line is added every
//! few seconds. The line covers the time since the last one, not the whole run, so that a stall is
//! seen when it happens.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::{histogram, units};

/// Between two lines on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);
/// Between two lines elsewhere.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// Width taken when the terminal does not tell its own.
const COLUMNS: usize = 80;

/// What the run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Writing every key once.
    Fill,
    /// Under load, not counted.
    WarmUp,
    /// Under load, counted.
    Measure,
}

/// How far a run has come. Counts are of this phase alone.
#[derive(Clone, Debug)]
pub(crate) struct Progress<'a> {
    pub(crate) phase: Phase,
    /// Since the start of the phase.
    pub(crate) elapsed: Duration,
    /// How much of the phase is done, 0 to 1, where that is known.
    pub(crate) fraction: Option<f64>,
    /// Right replies.
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// Open loop: requests due a second now.
    pub(crate) intended_rate: Option<f64>,
    /// Latencies since the last call, of all threads.
    pub(crate) recent: &'a Histogram<u64>,
}

/// Told how the run goes.
pub(crate) trait Watch {
    /// About ten times a second.
    fn second(&mut self, progress: &Progress<'_>);
    /// The measured part starts now.
    fn measure_begins(&mut self) {}
    /// The measured part has just ended.
    fn measure_ends(&mut self) {}
}

/// Shows nothing.
pub(crate) struct Silent;

impl Watch for Silent {
    fn second(&mut self, _: &Progress<'_>) {}
}

/// The line on standard error.
pub(crate) struct LiveLine<W: Write> {
    out: W,
    /// Where the line is written over: the terminal's width.
    columns: Option<usize>,
    /// What stands in front of the line: which step of a search, which server of a comparison.
    prefix: String,
    phase: Option<Phase>,
    /// When the last line was written, and what there was then.
    shown_at: Duration,
    shown_requests: u64,
    /// Latencies since the last line.
    window: Histogram<u64>,
    is_line_open: bool,
}

impl LiveLine<io::Stderr> {
    pub(crate) fn stderr(prefix: &str) -> Self {
        let err = io::stderr();
        let columns = err.is_terminal().then(|| {
            rustix::termios::tcgetwinsize(&err)
                .ok()
                .filter(|size| size.ws_col > 0)
                .map_or(COLUMNS, |size| usize::from(size.ws_col))
        });
        Self::new(err, columns, prefix)
    }
}

impl<W: Write> LiveLine<W> {
    fn new(out: W, columns: Option<usize>, prefix: &str) -> Self {
        Self {
            out,
            columns,
            prefix: prefix.to_owned(),
            phase: None,
            shown_at: Duration::ZERO,
            shown_requests: 0,
            window: histogram::new(),
            is_line_open: false,
        }
    }

    fn line(&self, progress: &Progress<'_>) -> String {
        let window_s = progress.elapsed.saturating_sub(self.shown_at).as_secs_f64();
        let requests = progress.requests.saturating_sub(self.shown_requests);
        let rate = super::outcome::per_second(requests, window_s);
        let name = match progress.phase {
            Phase::Fill => "fill",
            Phase::WarmUp => "warm-up",
            Phase::Measure => "run",
        };
        let mut line =
            format!("{}{name} {}", self.prefix, units::span(progress.elapsed.as_secs_f64()));
        line.push_str(&format!("  {}/s", units::rate(rate)));
        if let Some(intended) = progress.intended_rate {
            line.push_str(&format!(" of {}", units::rate(intended)));
        }
        for quantile in [0.5, 0.99, 0.999] {
            let ns = self.window.value_at_quantile(quantile) as f64;
            line.push_str(&format!("  {} {}", units::quantile_name(quantile), units::latency(ns)));
        }
        line.push_str(&format!("  errors {}", units::count(progress.errors)));
        if let Some(left) = time_left(progress) {
            line.push_str(&format!("  {} left", units::span(left)));
        }
        line
    }

    fn show(&mut self, line: &str) {
        // Nobody is served by a run that ends because its live line could not be written.
        let _ = match self.columns {
            Some(columns) => {
                // A line as wide as the terminal would wrap, and then not be written over.
                let line: String = line.chars().take(columns.saturating_sub(1)).collect();
                self.is_line_open = true;
                write!(self.out, "\r{line}\x1b[K").and_then(|()| self.out.flush())
            }
            None => writeln!(self.out, "{line}"),
        };
    }
}

impl<W: Write> Watch for LiveLine<W> {
    fn second(&mut self, progress: &Progress<'_>) {
        if self.phase.replace(progress.phase) != Some(progress.phase) {
            self.shown_at = Duration::ZERO;
            self.shown_requests = 0;
            self.window.reset();
        }
        histogram::add(&mut self.window, progress.recent);
        let interval = if self.columns.is_some() { TERMINAL_INTERVAL } else { LOG_INTERVAL };
        if progress.elapsed.saturating_sub(self.shown_at) < interval {
            return;
        }
        let line = self.line(progress);
        self.show(&line);
        self.shown_at = progress.elapsed;
        self.shown_requests = progress.requests;
        self.window.reset();
    }
}

/// The line makes room for what comes after it.
impl<W: Write> Drop for LiveLine<W> {
    fn drop(&mut self) {
        if self.is_line_open {
            let _ = write!(self.out, "\r\x1b[K").and_then(|()| self.out.flush());
        }
    }
}

/// Seconds left if the rest goes as what is done.
fn time_left(progress: &Progress<'_>) -> Option<f64> {
    let done = progress.fraction.filter(|done| *done > 0.0)?;
    Some((progress.elapsed.as_secs_f64() * (1.0 - done) / done).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(columns: Option<usize>, progress: &[Progress<'_>]) -> String {
        let mut out = Vec::new();
        let mut live = LiveLine::new(&mut out, columns, "");
        progress.iter().for_each(|p| live.second(p));
        drop(live);
        String::from_utf8(out).unwrap()
    }

    fn at<'a>(ms: u64, requests: u64, recent: &'a Histogram<u64>) -> Progress<'a> {
        Progress {
            phase: Phase::Measure,
            elapsed: Duration::from_millis(ms),
            fraction: Some(ms as f64 / 10_000.0),
            requests,
            errors: 3,
            intended_rate: Some(2000.0),
            recent,
        }
    }

    fn of_40_us() -> Histogram<u64> {
        let mut recent = histogram::new();
        recent.record_n(40_000, 1000).unwrap();
        recent
    }

    #[test]
    fn a_terminal_sees_the_last_second_written_over() {
        let recent = of_40_us();
        let text = lines(
            Some(200),
            &[at(500, 900, &recent), at(1000, 1800, &recent), at(2000, 2800, &recent)],
        );
        assert_eq!(
            text,
            "\rrun 1.0 s  1,800/s of 2,000  p50 40.0 us  p99 40.0 us  p99.9 40.0 us  errors 3  \
             9.0 s left\x1b[K\
             \rrun 2.0 s  1,000/s of 2,000  p50 40.0 us  p99 40.0 us  p99.9 40.0 us  errors 3  \
             8.0 s left\x1b[K\r\x1b[K"
        );
    }

    #[test]
    fn a_narrow_terminal_gets_a_line_that_does_not_wrap() {
        let recent = of_40_us();
        let text = lines(Some(20), &[at(1000, 1800, &recent)]);
        assert_eq!(text, "\rrun 1.0 s  1,800/s \x1b[K\r\x1b[K");
    }

    #[test]
    fn a_log_gets_a_line_every_few_seconds() {
        let recent = of_40_us();
        let progress: Vec<_> = (1..=100).map(|i| at(i * 100, i * 200, &recent)).collect();
        let text = lines(None, &progress);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with("run 5.0 s  2,000/s of 2,000 "), "{text}");
    }
}
