//! How far we are: a bar on a terminal, now and then a line elsewhere. On the standard error, so that
//! data can go to the standard output.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::style::TemplateError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle};

use super::tally::{grouped, seconds};

/// Time between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Times a second that the bar is drawn.
const BAR_HZ: u8 = 10;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Keys,
    Bytes,
}

/// The bar, or the lines.
pub(super) struct Progress {
    doing: &'static str,
    unit: Unit,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    started: Instant,
    told: Instant,
}

impl Progress {
    /// Begins at nothing of `total`, which may be an estimate. `doing` is the first word of a line.
    pub(super) fn new(doing: &'static str, unit: Unit, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(doing, unit, total));
        let now = Instant::now();
        Self { doing, unit, total, done: 0, bar, started: now, told: now }
    }

    /// So many more are done.
    pub(super) fn add(&mut self, count: u64) {
        self.at(self.done + count);
    }

    /// So many are done.
    pub(super) fn at(&mut self, done: u64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.told.elapsed() >= LINE_INTERVAL {
            self.told = Instant::now();
            eprintln!("{}", self.line());
        }
    }

    /// Takes the bar away. Answers how long it took.
    pub(super) fn finish(self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.started.elapsed()
    }

    fn line(&self) -> String {
        let elapsed = self.started.elapsed();
        let percent = self.done.saturating_mul(100) / self.total.max(1);
        let amounts = match self.unit {
            Unit::Keys => format!("{} of {} keys", grouped(self.done), grouped(self.total)),
            Unit::Bytes => {
                format!("{} of {} MiB", grouped(self.done >> 20), grouped(self.total >> 20))
            }
        };
        format!("{}: {amounts} ({} %) in {}", self.doing, percent.min(100), seconds(elapsed))
    }
}

fn bar(doing: &'static str, unit: Unit, total: u64) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(BAR_HZ);
    let bar = ProgressBar::with_draw_target(Some(total), target);
    // One that is dropped on the way has not arrived: it goes, and makes room for the sentence.
    let bar = bar.with_finish(ProgressFinish::AndClear).with_message(doing);
    match style(unit) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn style(unit: Unit) -> Result<ProgressStyle, TemplateError> {
    let template = match unit {
        Unit::Keys => "{msg} {bar:32} {human_pos} of {human_len} keys, {rate}, {eta} left",
        Unit::Bytes => "{msg} {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
    };
    ProgressStyle::with_template(template).map(|style| style.with_key("rate", write_rate))
}

fn write_rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // The bar's own buffer takes everything.
    let _ = write!(out, "{:.0}/s", state.per_sec());
}

#[cfg(test)]
mod tests {
    use super::{Progress, Unit, style};

    #[test]
    fn lines_where_there_is_no_terminal() {
        for (unit, total, done, expect) in [
            (
                Unit::Keys,
                3_000_000,
                1_200_000,
                "doing: 1,200,000 of 3,000,000 keys (40 %) in 0.0 s",
            ),
            (Unit::Bytes, 5 << 30, 1 << 30, "doing: 1,024 of 5,120 MiB (20 %) in 0.0 s"),
            // The total was an estimate.
            (Unit::Keys, 0, 5, "doing: 5 of 0 keys (100 %) in 0.0 s"),
        ] {
            let mut progress = Progress::new("doing", unit, total);
            progress.at(done);
            assert_eq!(progress.line(), expect);
        }
    }

    #[test]
    fn bars_are_well_formed() {
        for unit in [Unit::Keys, Unit::Bytes] {
            assert!(style(unit).is_ok());
        }
    }
}
