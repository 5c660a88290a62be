//! `--search-slo`: the highest rate that meets an objective.
//!
//! Doubles the rate of an open loop until the objective is missed, then halves the gap between the
//! highest rate that met it and the lowest that did not, until the gap is small. How a step is run is
//! a closure's business, so that a test can put a model of a server there.
//!
//! A step meets the objective only if every request was answered without an error, and the rate
//! achieved was the rate asked for: a server that falls behind has no latency worth the name.

use serde::{Deserialize, Serialize};

use crate::report::outcome::Outcome;
use crate::report::table::Table;
use crate::report::{QUANTILES, summary, units, warnings};

pub(crate) mod slo;

pub(crate) use slo::Slo;

/// Most steps of one search; enough for a factor of 2^20 and a gap of a thousandth.
const STEPS_MAX: usize = 40;
/// How far the achieved rate may stay behind the asked one.
const SHORTFALL_MAX: f64 = 0.02;
/// Below this rate the search gives up.
const RATE_MIN: f64 = 1.0;
/// Standard deviations of a Poisson count by which a short step may fall short.
const DEVIATIONS: f64 = 3.0;

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// The first rate tried.
    pub(crate) from: f64,
    /// The highest rate tried.
    pub(crate) to: f64,
    /// The search ends when the gap is less than this share of the rate.
    pub(crate) precision: f64,
}

impl Default for Range {
    fn default() -> Self {
        Self { from: 1000.0, to: 100e6, precision: 0.02 }
    }
}

/// What a search came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Search {
    pub(crate) objective: String,
    /// In the order they were run.
    pub(crate) steps: Vec<Step>,
    /// Which step had the highest rate that met the objective.
    pub(crate) best: Option<usize>,
    pub(crate) interrupted: bool,
}

/// One rate that was tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Step {
    /// Requests a second asked for.
    pub(crate) asked: f64,
    pub(crate) achieved: f64,
    /// By [`QUANTILES`].
    pub(crate) quantiles_ns: Vec<u64>,
    pub(crate) mean_ns: f64,
    pub(crate) max_ns: u64,
    /// What each limit of the objective bounds, in their order.
    pub(crate) figures_ns: Vec<f64>,
    /// Why the objective was missed; none if it was met.
    pub(crate) missed: Option<String>,
    /// The tool itself may have been what was too slow.
    pub(crate) limited_by_tool: bool,
}

impl Step {
    fn of(asked: f64, outcome: &Outcome, slo: &Slo) -> Self {
        let total = outcome.total();
        Self {
            asked,
            achieved: outcome.rate(),
            quantiles_ns: QUANTILES.map(|q| total.value_at_quantile(q)).to_vec(),
            mean_ns: total.mean(),
            max_ns: total.max(),
            figures_ns: slo.limits.iter().map(|limit| limit.figure.of(&total)).collect(),
            missed: missed(asked, outcome, slo),
            limited_by_tool: warnings::is_limited_by_tool(outcome),
        }
    }

    pub(crate) fn is_met(&self) -> bool {
        self.missed.is_none()
    }

    /// A row of the table that goes with [`header`].
    pub(crate) fn row(&self) -> Vec<String> {
        let mut cells = vec![units::rate(self.asked), units::rate(self.achieved)];
        cells.extend(self.quantiles_ns.iter().map(|ns| units::latency(*ns as f64)));
        cells.push(units::latency(self.max_ns as f64));
        let tool = if self.limited_by_tool { "; the tool was the bottleneck" } else { "" };
        cells.push(match &self.missed {
            None => format!("met{tool}"),
            Some(why) => format!("{why}{tool}"),
        });
        cells
    }
}

/// The names of a step's columns.
pub(crate) fn header() -> Vec<String> {
    let mut cells = vec!["asked/s".to_owned(), "achieved/s".to_owned()];
    cells.extend(QUANTILES.iter().map(|q| units::quantile_name(*q)));
    cells.extend(["max".to_owned(), "objective".to_owned()]);
    cells
}

impl Search {
    /// The highest rate that met the objective.
    pub(crate) fn best_step(&self) -> Option<&Step> {
        self.best.and_then(|best| self.steps.get(best))
    }

    /// Every step by rate, and the answer.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(header());
        self.by_rate().for_each(|step| table.row(step.row()));
        table
    }

    /// The steps from the lowest rate to the highest.
    pub(crate) fn by_rate(&self) -> impl Iterator<Item = &Step> {
        let mut steps: Vec<&Step> = self.steps.iter().collect();
        steps.sort_by(|a, b| a.asked.total_cmp(&b.asked));
        steps.into_iter()
    }

    /// The answer in a sentence.
    pub(crate) fn answer(&self) -> String {
        let ended =
            if self.interrupted { ", as far as it came before it was interrupted" } else { "" };
        let answer = match self.best_step() {
            Some(step) => format!(
                "{} requests/s is the highest rate that meets {}{ended}.",
                units::rate(step.asked),
                self.objective
            ),
            None => format!("No rate tried meets {}{ended}.", self.objective),
        };
        let lowest_miss = self.by_rate().find(|step| !step.is_met());
        if lowest_miss.is_some_and(|step| step.limited_by_tool) {
            format!(
                "{answer} The load generator was itself the bottleneck above it: the server may \
                 serve more."
            )
        } else {
            answer
        }
    }
}

/// Searches; `run` puts one rate on the server, `tell` hears of each step when it is done. Also
/// returns the outcome of the best step.
pub(crate) fn search<E>(
    slo: &Slo,
    range: Range,
    run: &mut dyn FnMut(f64) -> Result<Outcome, E>,
    tell: &mut dyn FnMut(&Step),
) -> Result<(Search, Option<Outcome>), E> {
    let mut searcher = Searcher {
        slo,
        run,
        tell,
        search: Search { objective: slo.to_string(), ..Search::default() },
        best: None,
    };
    searcher.find(range)?;
    Ok((searcher.search, searcher.best))
}

struct Searcher<'a, E> {
    slo: &'a Slo,
    run: &'a mut dyn FnMut(f64) -> Result<Outcome, E>,
    tell: &'a mut dyn FnMut(&Step),
    search: Search,
    best: Option<Outcome>,
}

impl<E> Searcher<'_, E> {
    fn find(&mut self, range: Range) -> Result<(), E> {
        let mut rate = range.from.clamp(RATE_MIN, range.to);
        let (mut met, mut missed) = (None, None);
        // Outward: up while the objective is met, down while it never was.
        while !self.is_over() && (met.is_none() || missed.is_none()) {
            // One bad moment of the machine must not end the way up: its miss is tried once more.
            let is_way_up = missed.is_none();
            if self.step(rate)? || (is_way_up && !self.is_over() && self.step(rate)?) {
                met = Some(rate);
                if rate >= range.to {
                    return Ok(());
                }
                rate = (rate * 2.0).min(range.to);
            } else {
                missed = Some(rate);
                if rate <= RATE_MIN {
                    return Ok(());
                }
                rate = (rate / 2.0).max(RATE_MIN);
            }
        }
        let (Some(mut met), Some(mut missed)) = (met, missed) else { return Ok(()) };
        while !self.is_over() && missed - met > met * range.precision {
            let middle = f64::midpoint(met, missed);
            if self.step(middle)? {
                met = middle;
            } else {
                missed = middle;
            }
        }
        Ok(())
    }

    /// Runs one rate; whether it met the objective.
    fn step(&mut self, rate: f64) -> Result<bool, E> {
        let outcome = (self.run)(rate)?;
        let step = Step::of(rate, &outcome, self.slo);
        (self.tell)(&step);
        self.search.interrupted |= outcome.interrupted;
        let is_met = step.is_met();
        let best_rate = self.search.best_step().map_or(0.0, |best| best.asked);
        if is_met && rate > best_rate {
            self.search.best = Some(self.search.steps.len());
            self.best = Some(outcome);
        }
        self.search.steps.push(step);
        Ok(is_met)
    }

    fn is_over(&self) -> bool {
        self.search.interrupted || self.search.steps.len() >= STEPS_MAX
    }
}

/// Why a run at this rate does not meet the objective.
fn missed(asked: f64, outcome: &Outcome, slo: &Slo) -> Option<String> {
    if outcome.interrupted {
        return Some("interrupted".to_owned());
    }
    if outcome.errors() > 0 {
        return Some(format!("{} errors", units::count(outcome.errors())));
    }
    let faults = outcome.faults.replies() + outcome.faults.reconnects;
    if faults > 0 {
        return Some(format!("{} faults", units::count(faults)));
    }
    let due = asked * outcome.elapsed_s();
    let least = 1.0 - SHORTFALL_MAX.max(DEVIATIONS / due.max(1.0).sqrt());
    if outcome.rate() < asked * least {
        let share = units::percent(outcome.rate() / asked);
        return Some(format!("{share} of the rate"));
    }
    slo.missed_by(&outcome.total())
        .map(|(limit, ns)| format!("{} {}", limit.figure, units::latency(ns)))
}

/// The table's lines as the search goes: a header, then a step each, in fixed columns.
pub(crate) fn progress_line(cells: &[String]) -> String {
    let (last, figures) = cells.split_last().map_or(("", cells), |(l, f)| (l.as_str(), f));
    let figures: String = figures.iter().map(|cell| format!("{cell:>11}")).collect();
    format!("{figures}  {last}")
}

/// What the terminal shows at the end.
pub(crate) fn render(search: &Search, best: Option<&Outcome>) -> String {
    let details = best.map(summary::render).unwrap_or_default();
    format!("\n{}\n{}\n\n{details}", search.table(), search.answer())
}

#[cfg(test)]
mod tests;
