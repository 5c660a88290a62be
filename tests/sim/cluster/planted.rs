//! Faults that are planted, to see that the simulator catches them. One that it takes a rare hour to show has a scene of
//! its own: `fresh`.

use super::{SEEDS, run, run_with_changing_members, run_with_retries};
use crate::plant::{Fault, plant};
use crate::sim::{Outcome, number};

/// Seeds that are tried until one catches a planted fault.
const PLANT_SEEDS: u64 = 10 * SEEDS;

fn is_caught(fault: Fault) {
    is_caught_from(0, fault, run);
}

/// Faults that it takes a rare hour to show are looked for where one was seen.
fn is_caught_from(first: u64, fault: Fault, run: fn(u64) -> Outcome<u64>) {
    let first = number("RINGMAIN_SIM_FROM").unwrap_or(first);
    plant(Some(fault));
    let caught = (first..first + PLANT_SEEDS).find(|seed| {
        let result = std::panic::catch_unwind(|| run(*seed));
        !matches!(result, Ok(Ok(_)))
    });
    plant(None);
    eprintln!("{fault:?} is caught by seed {caught:?}");
    assert!(caught.is_some(), "{fault:?} goes unseen");
}

#[test]
fn a_vote_that_is_not_kept_is_caught() {
    is_caught(Fault::ForgetVote);
}

#[test]
fn a_vote_that_is_said_before_it_is_kept_is_caught() {
    is_caught_from(1290, Fault::VoteBeforeSaved, run);
}

#[test]
fn a_vote_in_doubt_is_caught() {
    is_caught_from(170, Fault::VoteInDoubt, run);
}

#[test]
fn an_acknowledgement_before_a_quorum_is_caught() {
    is_caught(Fault::AcknowledgeBeforeQuorum);
}

#[test]
fn a_lease_without_a_clock_is_caught() {
    is_caught_from(1170, Fault::LeaseWithoutClock, run);
}

#[test]
fn an_entry_in_place_of_a_lease_is_caught() {
    is_caught_from(2430, Fault::EntryForLease, run);
}

#[test]
fn an_entry_that_is_applied_twice_is_caught() {
    is_caught(Fault::ApplyTwice);
}

#[test]
fn a_token_that_is_forgotten_is_caught() {
    is_caught(Fault::ForgetToken);
}

#[test]
fn a_write_that_is_done_again_is_caught() {
    is_caught_from(0, Fault::ApplyRetry, run_with_retries);
}

#[test]
fn a_retry_that_has_changed_nothing_and_is_forgotten_is_caught() {
    is_caught_from(0, Fault::ForgetUnchanged, run_with_retries);
}

#[test]
fn a_log_that_is_not_cut_is_caught() {
    is_caught(Fault::ForgetCut);
}

#[test]
fn a_configuration_that_is_not_kept_is_caught() {
    is_caught_from(0, Fault::ForgetConfiguration, run_with_changing_members);
}

#[test]
fn data_that_is_made_again_over_what_never_happened_is_caught() {
    is_caught_from(1560, Fault::RebuildOverTainted, run_with_retries);
}
