//! A short run of the frame reader's fuzz target on any compiler: the bytes of `docs/protocol.md`, changed
//! at random from a fixed seed. `RINGMAIN_FUZZ_ITERATIONS` makes it longer, `RINGMAIN_FUZZ_SEED` different.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[path = "feed/binary.rs"]
mod feed;
mod harness;

use harness::number_from_env;
use harness::random::Random;

const ITERATIONS: u64 = 10_000;
const INPUT_BYTES_MAX: usize = 1024;

/// All golden blocks of the page, and nothing.
fn corpus() -> Vec<Vec<u8>> {
    let page = include_str!("../docs/protocol.md");
    let blocks = page.split("```golden ").skip(1).filter_map(|block| block.split_once("```"));
    let bytes = |(lines, _): (&str, _)| -> Vec<u8> {
        let lines = lines.lines().skip(1).filter_map(|line| line.split('#').next());
        let digits = lines.flat_map(str::split_whitespace);
        digits.map(|byte| u8::from_str_radix(byte, 16).expect("it fits")).collect()
    };
    let corpus: Vec<_> = blocks.map(bytes).chain([Vec::new()]).collect();
    assert!(corpus.len() > 30);
    corpus
}

/// Changes `input` in one place.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.index(input.len() + 1);
    let end = (at + random.index(16)).min(input.len());
    let byte = u8::try_from(random.index(256)).expect("it fits");
    match random.index(8) {
        0 => input.insert(at, byte),
        1 => drop(input.drain(at..end)),
        2 => input.truncate(at),
        3 => {
            let piece = input[at..end].to_vec();
            let to = random.index(input.len() + 1);
            drop(input.splice(to..to, piece));
        }
        4 => {
            let other = &corpus[random.index(corpus.len())];
            drop(input.splice(at..at, other.iter().copied()));
        }
        5 => input.extend_from_slice(&corpus[random.index(corpus.len())]),
        6 => {
            if let Some(changed) = input.get_mut(at) {
                *changed = changed.wrapping_add(1);
            }
        }
        _ => {
            if let Some(changed) = input.get_mut(at) {
                *changed = byte;
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

#[test]
fn frames_that_changed_at_random_keep_the_invariants() {
    let iterations = number_from_env("RINGMAIN_FUZZ_ITERATIONS").unwrap_or(ITERATIONS);
    let seed = number_from_env("RINGMAIN_FUZZ_SEED").unwrap_or(0);
    let mut random = Random::new(seed);
    let corpus = corpus();
    for _ in 0..iterations {
        let mut input = corpus[random.index(corpus.len())].clone();
        for _ in 0..random.index(6) {
            mutate(&mut input, &corpus, &mut random);
        }
        if random.index(2) == 0 {
            feed::seal(&mut input);
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| feed::check_invariants(&input))) {
            eprintln!("seed {seed}; the input: b\"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}
