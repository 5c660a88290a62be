//! A short run of the parser's fuzz target on any compiler: a corpus, changed at random from a fixed
//! seed. `RINGMAIN_FUZZ_ITERATIONS` makes it longer, `RINGMAIN_FUZZ_SEED` different.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

mod feed;

const ITERATIONS: u64 = 20_000;
const INPUT_BYTES_MAX: usize = 512;

const CORPUS: [&[u8]; 12] = [
    b"",
    b"PING\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n",
    b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n",
    b"*0\r\n*-1\r\n\r\n\nPING\r\n",
    b"*11\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n",
    b"SET \"a\\x41\\n\" 'it\\'s'\r\n*1\r\n$0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"*1\r\n$536870913\r\n",
    b"*2\r\n$16385\r\n",
    b"*1\r\n$18\r\nabc\r\n\0\xff\"'\\ *$\r\nxyz\r\n",
];

/// Pieces that a random byte would seldom come to.
const TOKENS: [&[u8]; 20] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"*",
    b"$",
    b"*1\r\n",
    b"*3\r\n",
    b"$0\r\n\r\n",
    b"$1\r\nx\r\n",
    b"-1",
    b"0",
    b"9",
    b"536870912",
    b"9223372036854775808",
    b"\"",
    b"'",
    b"\\",
    b"\\x41",
    b" ",
    b"\0",
];

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Changes `input` in one place.
fn mutate(input: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + random.below(16)).min(input.len());
    match random.below(7) {
        0 => input.insert(at, random.byte()),
        1 => drop(input.drain(at..end)),
        2 => input.truncate(at),
        3 => {
            let token = TOKENS[random.below(TOKENS.len())];
            drop(input.splice(at..at, token.iter().copied()));
        }
        4 => {
            let piece = input[at..end].to_vec();
            let to = random.below(input.len() + 1);
            drop(input.splice(to..to, piece));
        }
        5 => {
            let other = CORPUS[random.below(CORPUS.len())];
            drop(input.splice(at..at, other.iter().copied()));
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add_signed(if random.below(2) == 0 { 1 } else { -1 });
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

#[test]
fn requests_that_changed_at_random_keep_the_invariants() {
    let iterations = from_environment("RINGMAIN_FUZZ_ITERATIONS").unwrap_or(ITERATIONS);
    let seed = from_environment("RINGMAIN_FUZZ_SEED").unwrap_or(0);
    let mut random = Random(seed);
    for _ in 0..iterations {
        let mut input = CORPUS[random.below(CORPUS.len())].to_vec();
        for _ in 0..random.below(8) {
            mutate(&mut input, &mut random);
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| feed::check_invariants(&input))) {
            eprintln!("seed {seed}; a row for CORPUS: b\"{}\"", input.escape_ascii());
            resume_unwind(panic);
        }
    }
}
