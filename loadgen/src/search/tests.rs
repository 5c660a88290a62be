//! The search against a model of a server whose knee is known.

use std::convert::Infallible;

use super::*;
use crate::report::outcome::{CommandOutcome, Outcome, ThreadUse};

const STEP_S: f64 = 10.0;

/// A server with one queue: latency grows as 1 / (capacity - rate), and beyond its capacity it
/// answers at its capacity and no faster.
fn model(capacity: f64, rate: f64) -> Outcome {
    let mut get = CommandOutcome::new("get");
    let achieved = rate.min(capacity * 0.999);
    let latency_ns = 1e9 / (capacity - achieved);
    get.latencies.saturating_record_n(units::whole(latency_ns), units::whole(achieved * STEP_S));
    Outcome { commands: vec![get], elapsed_ns: units::whole(STEP_S * 1e9), ..Outcome::default() }
}

fn find(slo: &str, range: Range, run: &mut dyn FnMut(f64) -> Outcome) -> (Search, Option<Outcome>) {
    let mut told = 0;
    let result =
        search::<Infallible>(&slo.parse().unwrap(), range, &mut |rate| Ok(run(rate)), &mut |_| {
            told += 1
        });
    let (search, best) = result.unwrap();
    assert_eq!(told, search.steps.len(), "every step is told");
    (search, best)
}

fn best_rate(search: &Search) -> f64 {
    search.best_step().unwrap().asked
}

#[test]
fn a_knee_is_found_within_the_precision() {
    // 1 / (100,000 - rate) is 1 ms at 99,000, 0.1 ms at 90,000 and 50 us at 80,000 requests/s.
    for (slo, knee) in [("p99.9<1ms", 99_000.0), ("p99<100us", 90_000.0), ("max<50us", 80_000.0)] {
        for from in [1.0, 1000.0, 77_777.0, 5e6] {
            let range = Range { from, precision: 0.01, ..Range::default() };
            let (search, best) = find(slo, range, &mut |rate| model(100_000.0, rate));
            let found = best_rate(&search);
            assert!(
                found <= knee * 1.002 && found >= knee * 0.985,
                "{slo} from {from}: {found}, not {knee}"
            );
            assert!((best.unwrap().rate() - found).abs() < found * 0.001);
            assert!(search.steps.len() < 35, "{} steps", search.steps.len());
        }
    }
}

#[test]
fn a_server_that_falls_behind_does_not_meet_a_generous_objective() {
    let (search, _) = find("p99<10s", Range::default(), &mut |rate| model(50_000.0, rate));
    assert!((49_000.0..=51_500.0).contains(&best_rate(&search)), "{}", search.answer());
    let missed = search.steps.iter().find(|step| !step.is_met()).unwrap();
    assert!(missed.missed.as_ref().unwrap().ends_with("% of the rate"), "{missed:?}");
}

#[test]
fn errors_and_faults_never_meet_an_objective() {
    let (search, best) = find("p99<1s", Range { from: 8.0, ..Range::default() }, &mut |rate| {
        let mut outcome = model(1e9, rate);
        outcome.commands[0].count_errors(b"OOM", 1);
        outcome
    });
    assert_eq!((search.best, best.is_none()), (None, true));
    assert_eq!(search.answer(), "No rate tried meets p99 < 1.00 s.");
    assert!(search.steps.iter().all(|step| step.missed.as_deref() == Some("1 errors")));
    let (search, _) = find("p99<1s", Range { from: 8.0, ..Range::default() }, &mut |rate| {
        let mut outcome = model(1e9, rate);
        outcome.faults.stale = u64::from(rate > 4000.0);
        outcome
    });
    assert!((3900.0..=4000.0).contains(&best_rate(&search)), "{}", search.answer());
}

#[test]
fn one_bad_moment_does_not_end_the_way_up() {
    let mut steps = 0;
    let (search, _) = find("p99.9<1ms", Range::default(), &mut |rate| {
        steps += 1;
        // The third step, far below the knee, is spoilt.
        model(if steps == 3 { rate } else { 100_000.0 }, rate)
    });
    assert!(best_rate(&search) > 95_000.0, "{}", search.answer());
}

#[test]
fn a_server_faster_than_the_range_ends_the_search_at_its_end() {
    let range = Range { from: 1000.0, to: 20_000.0, precision: 0.02 };
    let (search, _) = find("p99<1ms", range, &mut |rate| model(1e9, rate));
    assert!((best_rate(&search) - 20_000.0).abs() < 1e-9);
}

#[test]
fn an_interrupted_step_ends_the_search_with_what_there_is() {
    let (search, best) = find("p99<1ms", Range::default(), &mut |rate| {
        let mut outcome = model(1e9, rate);
        outcome.interrupted = rate > 3000.0;
        outcome
    });
    assert!(search.interrupted && best.is_some());
    assert_eq!(search.steps.len(), 3);
    assert!(search.answer().contains("2,000 requests/s"), "{}", search.answer());
    assert!(search.answer().contains("interrupted"));
}

#[test]
fn a_failure_of_the_run_is_handed_on() {
    let slo = "p99<1ms".parse().unwrap();
    let error = search(&slo, Range::default(), &mut |_| Err("no server"), &mut |_| {});
    assert_eq!(error.unwrap_err(), "no server");
}

#[test]
fn a_limit_set_by_the_tool_is_said() {
    let (search, _) = find("p99<1ms", Range::default(), &mut |rate| {
        let mut outcome = model(60_000.0, rate);
        let busy_fraction = if rate > 50_000.0 { 0.99 } else { 0.5 };
        outcome.threads = vec![ThreadUse { busy_fraction, cpu_s: busy_fraction }];
        outcome
    });
    assert!(search.answer().contains("itself the bottleneck"), "{}", search.answer());
}

#[test]
fn the_curve_is_shown_by_rate() {
    let (search, best) = find("p99<1ms", Range::default(), &mut |rate| model(60_000.0, rate));
    let rates: Vec<f64> = search.by_rate().map(|step| step.asked).collect();
    assert!(rates.is_sorted() && rates.len() == search.steps.len());
    let text = render(&search, best.as_ref());
    assert!(text.contains("highest rate that meets p99 < 1.00 ms"), "{text}");
    assert_eq!(search.table().rows().len(), search.steps.len());
    let line = progress_line(&search.steps[0].row());
    assert!(line.starts_with("      1,000      1,000"), "{line}");
}
