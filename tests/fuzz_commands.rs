//! A short run of the fuzz target of command sequences on any compiler. `RINGMAIN_FUZZ_ITERATIONS` makes it
//! longer, `RINGMAIN_FUZZ_SEED` different.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[path = "feed/commands.rs"]
mod commands;
mod harness;

use harness::number_from_env;
use harness::random::Random;

const ITERATIONS: u64 = 3_000;
const INPUT_BYTES_MAX: usize = 800;

#[test]
fn any_sequence_of_commands_is_answered_and_made_again() {
    let iterations = number_from_env("RINGMAIN_FUZZ_ITERATIONS").unwrap_or(ITERATIONS);
    let seed = number_from_env("RINGMAIN_FUZZ_SEED").unwrap_or(0);
    let mut random = Random::new(seed);
    let (mut good, mut refused) = (0_u64, 0_u64);
    for _ in 0..iterations {
        let length = random.index(INPUT_BYTES_MAX);
        let input = random.bytes(length);
        match catch_unwind(AssertUnwindSafe(|| commands::run(&input))) {
            Ok(replies) => {
                let errors = replies.iter().filter(|reply| reply.starts_with(b"-")).count();
                refused += errors as u64;
                good += (replies.len() - errors) as u64;
            }
            Err(panic) => {
                eprintln!("seed {seed}; the input: b\"{}\"", input.escape_ascii());
                resume_unwind(panic);
            }
        }
    }
    // Neither is all of it refused, nor none.
    assert!(good > iterations && refused > iterations, "{good} good, {refused} refused");
}
