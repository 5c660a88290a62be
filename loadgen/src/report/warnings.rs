//! What a reader must know before believing a figure, in sentences.

use super::outcome::{Outcome, ThreadUse, whole_seconds};
use super::units;

/// A thread of the tool busier than this may have set the pace itself.
const BUSY_FRACTION_MAX: f64 = 0.9;
/// A request sent later than this after its time counts as late.
const LATE_NS: u64 = 1_000_000;
/// More late requests than this share are worth a warning.
const LATE_SHARE_MAX: f64 = 0.01;
/// An achieved rate below this share of the asked one is worth a warning.
pub(crate) const RATE_SHARE_MIN: f64 = 0.98;

/// All that is to be said about a run.
pub(crate) fn warnings(outcome: &Outcome) -> Vec<String> {
    [
        interrupted(outcome),
        busy(&outcome.threads),
        late(outcome),
        behind(outcome),
        errors(outcome),
        wrongs(outcome),
        few(outcome),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those of them that tell of replies that were not right.
pub(crate) fn faults(outcome: &Outcome) -> Vec<String> {
    [errors(outcome), wrongs(outcome)].into_iter().flatten().collect()
}

/// Whether the tool, rather than the server, may have set the pace: it was busy, or sent late.
pub(crate) fn is_limited_by_tool(outcome: &Outcome) -> bool {
    let is_busy = outcome.threads.iter().any(|thread| thread.busy_fraction > BUSY_FRACTION_MAX);
    is_busy || late_share(outcome) > LATE_SHARE_MAX
}

/// The share of requests that were sent late though a connection was free for them.
fn late_share(outcome: &Outcome) -> f64 {
    let sent = outcome.lateness.len();
    let late = sent - outcome.lateness.count_between(0, LATE_NS).min(sent);
    if sent == 0 { 0.0 } else { late as f64 / sent as f64 }
}

/// Requests due a second over the run, if it was an open loop.
pub(crate) fn intended_rate(outcome: &Outcome) -> Option<f64> {
    let seconds = whole_seconds(&outcome.seconds);
    let rates = seconds.iter().filter_map(|(s, length_s)| Some((s.intended_rate?, *length_s)));
    let (due, all_s) =
        rates.fold((0.0, 0.0), |(due, all_s), (rate, s)| (due + rate * s, all_s + s));
    (all_s > 0.0).then(|| due / all_s)
}

fn interrupted(outcome: &Outcome) -> Option<String> {
    let after = units::span(outcome.elapsed_s());
    outcome.interrupted.then(|| {
        format!("The run was interrupted after {after}: these are the figures it had by then.")
    })
}

fn busy(threads: &[ThreadUse]) -> Option<String> {
    let busy = threads.iter().filter(|thread| thread.busy_fraction > BUSY_FRACTION_MAX).count();
    let most = threads.iter().map(|thread| thread.busy_fraction).fold(0.0, f64::max);
    (busy > 0).then(|| {
        format!(
            "The load generator was itself the bottleneck: {} more than 90 % busy (up to {}). The \
             server may be faster than this shows; give the tool more --threads or CPUs.",
            match (busy, threads.len()) {
                (1, 1) => "its thread was".to_owned(),
                (1, all) => format!("1 of its {all} threads was"),
                (busy, all) => format!("{busy} of its {all} threads were"),
            },
            units::percent(most.min(1.0)),
        )
    })
}

fn late(outcome: &Outcome) -> Option<String> {
    let share = late_share(outcome);
    (share > LATE_SHARE_MAX).then(|| {
        format!(
            "The load generator was itself late: {} of the requests were due, and a connection was \
             free for them, for more than {} before they were sent (p99 {}, max {}). Latencies are \
             counted from when a request was due, so this much of them is the tool's and not the \
             server's; give the tool more --threads, or CPUs that nothing else uses.",
            units::percent(share),
            units::latency(LATE_NS as f64),
            units::latency(outcome.lateness.value_at_quantile(0.99) as f64),
            units::latency(outcome.lateness.max() as f64),
        )
    })
}

fn behind(outcome: &Outcome) -> Option<String> {
    let intended = intended_rate(outcome)?;
    let achieved = outcome.rate();
    (achieved < intended * RATE_SHARE_MIN).then(|| {
        format!(
            "The asked rate was not reached: {} of {} requests/s.",
            units::rate(achieved),
            units::rate(intended)
        )
    })
}

fn errors(outcome: &Outcome) -> Option<String> {
    let kinds: Vec<String> = outcome
        .errors_by_kind()
        .into_iter()
        .map(|(kind, count)| format!("{} {kind}", units::count(count)))
        .collect();
    (!kinds.is_empty())
        .then(|| format!("Error replies, not counted as requests: {}.", kinds.join(", ")))
}

fn wrongs(outcome: &Outcome) -> Option<String> {
    let faults = &outcome.faults;
    let kinds = [
        (faults.wrong, "damaged values or replies of a wrong type"),
        (faults.lost, "lost values"),
        (faults.stale, "stale values"),
        (faults.foreign, "foreign values"),
        (faults.unanswered, "requests without a reply"),
        (faults.reconnects, "reconnects"),
    ];
    let there: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", units::count(*count)))
        .collect();
    (!there.is_empty()).then(|| format!("Faults: {}.", there.join(", ")))
}

/// With few requests the outermost percentiles are all the one longest latency.
fn few(outcome: &Outcome) -> Option<String> {
    let requests = outcome.requests();
    // A little more than the share: 1 - 0.99999 is a bit less than 0.00001.
    let beyond = |q: &f64| requests as f64 * (1.0 - q) * (1.0 + 1e-9);
    let known = super::QUANTILES.iter().rev().find(|q| beyond(q) >= 1.0);
    let last = super::QUANTILES[super::QUANTILES.len() - 1];
    if requests == 0 {
        return Some("No request was answered.".to_owned());
    }
    (known != Some(&last)).then(|| {
        format!(
            "With {} requests, percentiles beyond {} say no more than the maximum.",
            units::count(requests),
            units::quantile_name(*known.unwrap_or(&0.0)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::outcome::{CommandOutcome, Faults, Second};

    fn outcome(requests: u64) -> Outcome {
        let mut get = CommandOutcome::new("get");
        get.latencies.record_n(50_000, requests).unwrap();
        Outcome { commands: vec![get], elapsed_ns: 1_000_000_000, ..Outcome::default() }
    }

    #[test]
    fn a_clean_run_of_many_requests_needs_no_words() {
        assert_eq!(warnings(&outcome(100_000)), Vec::<String>::new());
    }

    #[test]
    fn each_reason_for_doubt_is_said() {
        let mut run = outcome(100_001);
        run.interrupted = true;
        assert!(!is_limited_by_tool(&run));
        run.threads = vec![
            ThreadUse { busy_fraction: 0.97, cpu_s: 0.97 },
            ThreadUse { busy_fraction: 0.5, cpu_s: 0.5 },
        ];
        run.lateness.record_n(5_000_000, 20).unwrap();
        run.lateness.record_n(1_000, 980).unwrap();
        run.seconds =
            vec![Second { at_s: 1.0, intended_rate: Some(200_000.0), ..Second::default() }];
        run.commands[0].count_errors(b"OOM", 1);
        run.faults = Faults { lost: 2, reconnects: 1, ..Faults::default() };
        let said = warnings(&run);
        let parts = [
            "interrupted after 1.0 s",
            "1 of its 2 threads was more than 90 % busy (up to 97 %)",
            "was itself late: 2 % of the requests were due, and a connection was free for them, for \
             more than 1.00 ms before they were sent (p99 5.00 ms",
            "not reached: 100,001 of 200,000 requests/s",
            "Error replies, not counted as requests: 1 OOM.",
            "Faults: 2 lost values, 1 reconnects.",
        ];
        assert_eq!(said.len(), parts.len(), "{said:#?}");
        said.iter().zip(parts).for_each(|(said, part)| assert!(said.contains(part), "{said}"));
    }

    #[test]
    fn a_tool_that_is_late_sets_the_pace_as_one_that_is_busy_does() {
        let (mut late, mut busy) = (outcome(1_000), outcome(1_000));
        late.lateness.record_n(1_000, 989).unwrap();
        late.lateness.record_n(2_000_000, 11).unwrap();
        busy.threads = vec![ThreadUse { busy_fraction: 0.91, cpu_s: 0.91 }];
        assert!(is_limited_by_tool(&late) && is_limited_by_tool(&busy));
    }

    #[test]
    fn few_requests_can_not_show_far_percentiles() {
        let said = warnings(&outcome(1_000));
        assert_eq!(
            said,
            ["With 1,000 requests, percentiles beyond p99.9 say no more than the maximum."]
        );
        assert_eq!(warnings(&outcome(0)), ["No request was answered."]);
    }
}
