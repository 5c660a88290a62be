//! `LCS`: the longest common subsequence of two values.
//!
//! The table of dynamic programming has a cell for each pair of bytes, and a cell is larger than its
//! left neighbour by one or not at all. So a row is a string of bits, and a whole word of them is
//! computed at a time (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004). The bits are
//! also all that the way back through the table needs: the row above holds more than the cell to the
//! left exactly if the cell is larger than its left neighbour. This takes a 32nd of the memory and a
//! fraction of the time of a table of counts; which of several longest subsequences is answered, and
//! which inputs are refused as too long, is as in Redis.

use super::exec::Exec;
use super::numbers::integer;
use super::strings::{look_up, read, reply_length};
use super::{Command, Error, Flags, Group, Handler, Keys};
use crate::cache::Access;
use crate::protocol::{Args, Reply};
use crate::types::Key;

/// The command.
pub const COMMANDS: &[Command] = &[Command {
    name: "lcs",
    arity: -3,
    flags: Flags::READONLY.union(Flags::LONG),
    keys: Keys::TWO,
    handler: Handler::Keyed(lcs),
    group: Group::String,
    summary: "Answers the longest sequence of bytes that two values have in common.",
    since: "7.0.0",
    steps: None,
    complexity: "O(N*M) with the lengths of the two values",
}];

/// What may follow the two keys.
#[derive(Debug, Default)]
struct Options {
    length: bool,
    matches: bool,
    match_lengths: bool,
    match_length_min: i64,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut rest = args.from(3);
        while let Some(word) = rest.next() {
            if word.eq_ignore_ascii_case(b"IDX") {
                options.matches = true;
            } else if word.eq_ignore_ascii_case(b"LEN") {
                options.length = true;
            } else if word.eq_ignore_ascii_case(b"WITHMATCHLEN") {
                options.match_lengths = true;
            } else if word.eq_ignore_ascii_case(b"MINMATCHLEN") {
                options.match_length_min = integer(rest.next().ok_or(Error::Syntax)?)?;
            } else {
                return Err(Error::Syntax);
            }
        }
        if options.matches && options.length {
            return Err(Error::Static(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

fn lcs(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let (first, second) = (exec.key(args.at(1)), exec.key(args.at(2)));
    let lengths = [operand_length(exec, first)?, operand_length(exec, second)?];
    let options = Options::parse(args)?;
    check_lengths(lengths, exec.value_bytes_max)?;
    let (first, second) = (copy_operand(exec, first)?, copy_operand(exec, second)?);
    if options.length {
        // The length is the same either way, and long rows are cheaper than many.
        let (short, long) =
            if first.len() < second.len() { (&first, &second) } else { (&second, &first) };
        reply_length(reply, compute_rows(short, long, |_| ()));
        return Ok(());
    }
    let table = Table::new(&first, &second);
    if options.matches {
        reply_matches(reply, &table, &options);
    } else {
        reply.bulk(&table.subsequence());
    }
    Ok(())
}

/// How long the value is; a missing key counts as an empty one.
fn operand_length(exec: &mut Exec<'_>, key: Key<'_>) -> Result<usize, Error> {
    match read(exec, key) {
        Ok(value) => Ok(value.map_or(0, <[u8]>::len)),
        Err(Error::WrongType) => {
            Err(Error::Static("ERR The specified keys must contain string values"))
        }
        Err(error) => Err(error),
    }
}

/// A copy of the value, since two shards can't be looked into at the same time.
fn copy_operand(exec: &mut Exec<'_>, key: Key<'_>) -> Result<Vec<u8>, Error> {
    Ok(look_up(exec, key, Access::Peek)?.unwrap_or_default().to_vec())
}

/// Refuses what Redis refuses, whose table has four bytes a cell.
fn check_lengths([first, second]: [usize; 2], bytes_max: usize) -> Result<(), Error> {
    const CELL_BYTES: usize = 4;
    let table_bytes = (first + 1).checked_mul(second + 1).and_then(|n| n.checked_mul(CELL_BYTES));
    match table_bytes {
        Some(bytes) if bytes <= bytes_max => Ok(()),
        _ => Err(Error::Static(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        )),
    }
}

fn reply_matches(reply: &mut Reply<'_>, table: &Table<'_>, options: &Options) {
    let mut runs = table.runs();
    runs.retain(|run| {
        i64::try_from(run.length).is_ok_and(|length| length >= options.match_length_min)
    });
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(runs.len());
    for run in &runs {
        reply.array(2 + usize::from(options.match_lengths));
        for start in [run.first, run.second] {
            reply.array(2);
            reply_length(reply, start);
            reply_length(reply, start + run.length - 1);
        }
        if options.match_lengths {
            reply_length(reply, run.length);
        }
    }
    reply.bulk(b"len");
    reply_length(reply, table.length);
}

/// A stretch of the subsequence that is contiguous in both values.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    first: usize,
    second: usize,
    length: usize,
}

/// The table of `first` by `second`. Row `i` is for the first `i + 1` bytes of `first`; bit `j` of it
/// is zero if these have a longer subsequence with the first `j + 1` bytes of `second` than with `j`.
struct Table<'a> {
    first: &'a [u8],
    second: &'a [u8],
    rows: Vec<u8>,
    row_bytes: usize,
    length: usize,
}

impl<'a> Table<'a> {
    fn new(first: &'a [u8], second: &'a [u8]) -> Self {
        let row_bytes = second.len().div_ceil(8);
        let mut rows = Vec::with_capacity(first.len() * row_bytes);
        let length = compute_rows(first, second, |row| {
            let start = rows.len();
            rows.extend(row.iter().flat_map(|word| word.to_le_bytes()));
            rows.truncate(start + row_bytes);
        });
        Self { first, second, rows, row_bytes, length }
    }

    fn is_longer_than_left(&self, i: usize, j: usize) -> bool {
        self.rows[i * self.row_bytes + j / 8] >> (j % 8) & 1 == 0
    }

    /// Visits the pairs of positions of the subsequence, the last pair first.
    fn walk_back(&self, mut visit: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (self.first.len(), self.second.len());
        while i > 0 && j > 0 {
            if self.first[i - 1] == self.second[j - 1] {
                (i, j) = (i - 1, j - 1);
                visit(i, j);
            } else if self.is_longer_than_left(i - 1, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }

    fn subsequence(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.length);
        self.walk_back(|i, _| bytes.push(self.first[i]));
        bytes.reverse();
        bytes
    }

    /// The runs of the subsequence, the last one first.
    fn runs(&self) -> Vec<Run> {
        let mut runs = Vec::<Run>::new();
        self.walk_back(|first, second| match runs.last_mut() {
            Some(run) if run.first == first + 1 && run.second == second + 1 => {
                *run = Run { first, second, length: run.length + 1 };
            }
            _ => runs.push(Run { first, second, length: 1 }),
        });
        runs
    }
}

/// Shows each row to `keep`; the length of the longest common subsequence.
fn compute_rows(first: &[u8], second: &[u8], mut keep: impl FnMut(&[u64])) -> usize {
    let width = second.len().div_ceil(64);
    let masks = Masks::new(first, second, width);
    let mut row = vec![u64::MAX; width];
    for &byte in first {
        let mut carry = false;
        for (word, mask) in row.iter_mut().zip(masks.of(byte)) {
            let matches = *word & mask;
            let (sum, overflow) = word.overflowing_add(matches);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            carry = overflow | again;
            *word = sum | (*word & !matches);
        }
        keep(&row);
    }
    row.iter().map(|word| word.count_zeros() as usize).sum()
}

/// Where each byte of the first value stands in the second.
struct Masks {
    width: usize,
    /// By byte: which stretch of `words` is its.
    index: [usize; 256],
    words: Vec<u64>,
}

impl Masks {
    fn new(first: &[u8], second: &[u8], width: usize) -> Self {
        const ABSENT: usize = usize::MAX;
        let mut index = [ABSENT; 256];
        let mut count = 0;
        for &byte in first {
            if index[usize::from(byte)] == ABSENT {
                index[usize::from(byte)] = count;
                count += 1;
            }
        }
        let mut words = vec![0; count * width];
        for (j, &byte) in second.iter().enumerate() {
            let mask = index[usize::from(byte)];
            if mask != ABSENT {
                words[mask * width + j / 64] |= 1_u64 << (j % 64);
            }
        }
        Self { width, index, words }
    }

    /// The mask of a byte that the first value holds.
    fn of(&self, byte: u8) -> &[u64] {
        let start = self.index[usize::from(byte)] * self.width;
        &self.words[start..start + self.width]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Run, Table, check_lengths, compute_rows};
    use crate::command::replay::check;
    use crate::limits::BULK_BYTES_MAX;

    pub(crate) const SCRIPT: &[(&str, &str)] = &[
        ("LCS a", "-ERR wrong number of arguments for 'lcs' command"),
        ("LCS a b", "$0⏎"),
        ("LCS a b LEN", ":0"),
        ("LCS a b IDX", "*4⏎$7⏎matches⏎*0⏎$3⏎len⏎:0"),
        ("MSET a ohmytext b mynewtext", "+OK"),
        ("LCS a b", "$6⏎mytext"),
        ("LCS b a", "$6⏎mytext"),
        ("LCS a b LEN", ":6"),
        ("LCS a b IDX", "*4⏎$7⏎matches⏎*2⏎*2⏎*2⏎:4⏎:7⏎*2⏎:5⏎:8⏎*2⏎*2⏎:2⏎:3⏎*2⏎:0⏎:1⏎$3⏎len⏎:6"),
        (
            "LCS a b idx withmatchlen",
            "*4⏎$7⏎matches⏎*2⏎*3⏎*2⏎:4⏎:7⏎*2⏎:5⏎:8⏎:4⏎*3⏎*2⏎:2⏎:3⏎*2⏎:0⏎:1⏎:2⏎$3⏎len⏎:6",
        ),
        ("LCS a b IDX MINMATCHLEN 4", "*4⏎$7⏎matches⏎*1⏎*2⏎*2⏎:4⏎:7⏎*2⏎:5⏎:8⏎$3⏎len⏎:6"),
        (
            "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
            "*4⏎$7⏎matches⏎*1⏎*3⏎*2⏎:4⏎:7⏎*2⏎:5⏎:8⏎:4⏎$3⏎len⏎:6",
        ),
        ("LCS a b IDX MINMATCHLEN 5", "*4⏎$7⏎matches⏎*0⏎$3⏎len⏎:6"),
        (
            "LCS a b IDX MINMATCHLEN 0",
            "*4⏎$7⏎matches⏎*2⏎*2⏎*2⏎:4⏎:7⏎*2⏎:5⏎:8⏎*2⏎*2⏎:2⏎:3⏎*2⏎:0⏎:1⏎$3⏎len⏎:6",
        ),
        (
            "LCS a b IDX MINMATCHLEN -3",
            "*4⏎$7⏎matches⏎*2⏎*2⏎*2⏎:4⏎:7⏎*2⏎:5⏎:8⏎*2⏎*2⏎:2⏎:3⏎*2⏎:0⏎:1⏎$3⏎len⏎:6",
        ),
        ("LCS a b MINMATCHLEN 100", "$6⏎mytext"),
        ("LCS a b LEN WITHMATCHLEN", ":6"),
        ("LCS a missing", "$0⏎"),
        ("LCS a missing IDX", "*4⏎$7⏎matches⏎*0⏎$3⏎len⏎:0"),
        ("LCS a a", "$8⏎ohmytext"),
        ("LCS a a IDX", "*4⏎$7⏎matches⏎*1⏎*2⏎*2⏎:0⏎:7⏎*2⏎:0⏎:7⏎$3⏎len⏎:8"),
        ("LCS a b IDX LEN", "-ERR If you want both the length and indexes, please just use IDX."),
        ("LCS a b MINMATCHLEN", "-ERR syntax error"),
        ("LCS a b IDX MINMATCHLEN x", "-ERR value is not an integer or out of range"),
        ("LCS a b foo", "-ERR syntax error"),
        ("LCS a b IDX LEN foo", "-ERR syntax error"),
        ("MSET c axbxc d abcxx", "+OK"),
        ("LCS c d", "$3⏎abc"),
        ("LCS d c", "$3⏎axx"),
        (
            "LCS c d IDX",
            "*4⏎$7⏎matches⏎*3⏎*2⏎*2⏎:4⏎:4⏎*2⏎:2⏎:2⏎*2⏎*2⏎:2⏎:2⏎*2⏎:1⏎:1⏎*2⏎*2⏎:0⏎:0⏎*2⏎:0⏎:0⏎$3⏎len⏎:3",
        ),
        ("SETRANGE e 20000 x", ":20001"),
        (
            "LCS e e LEN",
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ),
    ];

    #[test]
    fn replies_are_those_of_redis() {
        check(SCRIPT);
    }

    #[test]
    fn lengths_are_limited_as_in_redis() {
        // The table of Redis, of four bytes a cell, may take 512 MiB.
        assert!(check_lengths([134_217_727, 0], BULK_BYTES_MAX).is_ok());
        assert!(check_lengths([134_217_728, 0], BULK_BYTES_MAX).is_err());
        assert!(check_lengths([11_584, 11_584], BULK_BYTES_MAX).is_ok());
        assert!(check_lengths([11_585, 11_585], BULK_BYTES_MAX).is_err());
        assert!(check_lengths([usize::MAX / 2, usize::MAX / 2], BULK_BYTES_MAX).is_err());
    }

    /// The table as textbooks have it, ties resolved as Redis resolves them.
    fn textbook(first: &[u8], second: &[u8]) -> Vec<(usize, usize)> {
        let mut table = vec![vec![0; second.len() + 1]; first.len() + 1];
        for i in 1..=first.len() {
            for j in 1..=second.len() {
                table[i][j] = if first[i - 1] == second[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j) = (first.len(), second.len());
        let mut pairs = Vec::new();
        while i > 0 && j > 0 {
            if first[i - 1] == second[j - 1] {
                (i, j) = (i - 1, j - 1);
                pairs.push((i, j));
            } else if table[i - 1][j] > table[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        pairs
    }

    #[test]
    fn bits_give_what_the_textbook_table_gives() {
        // A linear congruential generator: repeatable, and the seed of a failure is its index.
        for seed in 0..400_u64 {
            let mut state = seed;
            let mut next = |below: u64| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) % below
            };
            let letters = 1 + next(5);
            let mut text = |length_max| -> Vec<u8> {
                let length = next(length_max);
                (0..length).map(|_| b'a' + u8::try_from(next(letters)).expect("few")).collect()
            };
            let (first, second) = (text(200), text(150));
            let table = Table::new(&first, &second);
            let mut pairs = Vec::new();
            table.walk_back(|i, j| pairs.push((i, j)));
            assert_eq!(pairs, textbook(&first, &second), "seed {seed}");
            assert_eq!(table.length, pairs.len(), "seed {seed}");
            assert_eq!(compute_rows(&second, &first, |_| ()), pairs.len(), "seed {seed}");
        }
    }

    #[test]
    fn runs_are_the_contiguous_stretches() {
        let table = Table::new(b"ohmytext", b"mynewtext");
        assert_eq!(
            table.runs(),
            [Run { first: 4, second: 5, length: 4 }, Run { first: 2, second: 0, length: 2 }]
        );
        assert_eq!(table.subsequence(), b"mytext");
    }
}
