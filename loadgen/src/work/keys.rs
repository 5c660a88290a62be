//! Which keys are asked for: numbers from 0 to `--keys` - 1.
//!
//! | `--key-dist` | keys |
//! |---|---|
//! | `uniform` | each as likely as the others |
//! | `zipfian[:E]` | the key of rank r (from 1) in proportion to r^-E; E from 0 to 100, 0.99 if not given |
//! | `hotspot:F:P` | with probability P one of the first F of the keys, otherwise one of the others |
//! | `sequential` | one after the other, over and over |
//! | `latest[:E]` | writes go one after the other; reads take what was written lately, by a Zipf distribution of age |
//!
//! Zipf's ranks are scattered over the key space by a fixed bijection, so that hot keys are no neighbours
//! and the same for every seed, thread and process. `sequential` and `latest` deal the keys out to the
//! connections like cards: connection c of n has c, c + n, c + 2 n … in turn, so that together they pass over
//! the keys once a round, and each connection alone repeats what it did for the same seed.

use super::random::{Random, mix};
use super::zipf::{EXPONENT_MAX, Zipf};

/// Most keys: their numbers have twelve digits in key names, as redis-benchmark's do.
pub(super) const KEYS_MAX: u64 = 1_000_000_000_000;

/// YCSB's exponent, which papers on caches mean when they say Zipf and give no number.
const EXPONENT_USUAL: f64 = 0.99;

/// A key space and how keys are drawn from it.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    count: u64,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Uniform,
    Zipfian { zipf: Zipf, scatter: Scatter },
    Hotspot { hot: u64, probability: f64 },
    Sequential,
    Latest { age: Zipf },
}

/// Where one connection is in the keys that are dealt out to it.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    next: u64,
    /// What it wrote last; before it wrote anything the last key of all, as the fill phase leaves it.
    newest: u64,
    connection: u64,
    connections: u64,
}

impl Cursor {
    pub(super) fn new(keys: &Keys, connection: u64, connections: u64) -> Self {
        // More connections than keys: some share one.
        Self {
            next: connection % keys.count,
            newest: keys.count - 1,
            connection: connection % keys.count,
            connections,
        }
    }

    fn advance(&mut self, count: u64) -> u64 {
        let key = self.next;
        self.next += self.connections;
        if self.next >= count {
            self.next = self.connection;
        }
        key
    }
}

impl Keys {
    /// Understands `--keys` and `--key-dist`.
    pub(super) fn new(count: u64, text: &str) -> Result<Self, String> {
        if !(1..=KEYS_MAX).contains(&count) {
            return Err(format!("--keys {count}: must be from 1 to {KEYS_MAX}"));
        }
        let shape = Shape::new(count, text).map_err(|why| format!("--key-dist {text}: {why}"))?;
        Ok(Self { count, shape })
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Draws a key.
    pub(super) fn draw(&self, random: &mut Random, cursor: &mut Cursor, writes: bool) -> u64 {
        match &self.shape {
            Shape::Uniform => random.below(self.count),
            Shape::Zipfian { zipf, scatter } => scatter.of(zipf.draw(random)),
            Shape::Hotspot { hot, probability } => self.hot_or_cold(*hot, *probability, random),
            Shape::Sequential => cursor.advance(self.count),
            Shape::Latest { .. } if writes => {
                cursor.newest = cursor.advance(self.count);
                cursor.newest
            }
            Shape::Latest { age } => back(cursor.newest, age.draw(random), self.count),
        }
    }

    /// Another key of a request whose first key is `first`, the `index`th after it: drawn as the first
    /// was, but the neighbours where keys have an order.
    pub(super) fn draw_more(&self, first: u64, index: u64, random: &mut Random) -> u64 {
        match &self.shape {
            Shape::Uniform => random.below(self.count),
            Shape::Zipfian { zipf, scatter } => scatter.of(zipf.draw(random)),
            Shape::Hotspot { hot, probability } => self.hot_or_cold(*hot, *probability, random),
            Shape::Sequential => (first + index) % self.count,
            Shape::Latest { .. } => back(first, index % self.count, self.count),
        }
    }

    /// The key in place of `key` that connection `connection` of `connections` may write: the one of its
    /// own nearby. There are at least as many keys as connections.
    pub(super) fn own(&self, key: u64, connection: u64, connections: u64) -> u64 {
        let own = key - key % connections + connection;
        if own < self.count { own } else { own - connections }
    }

    fn hot_or_cold(&self, hot: u64, probability: f64, random: &mut Random) -> u64 {
        if hot == self.count || random.unit() < probability {
            random.below(hot)
        } else {
            hot + random.below(self.count - hot)
        }
    }
}

/// The key `steps` (below `count`) before `key` on the circle of keys.
fn back(key: u64, steps: u64, count: u64) -> u64 {
    if key >= steps { key - steps } else { key + count - steps }
}

impl Shape {
    fn new(count: u64, text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let numbers: Vec<&str> = parts.collect();
        match (name, numbers.as_slice()) {
            ("uniform", []) => Ok(Self::Uniform),
            ("sequential", []) => Ok(Self::Sequential),
            ("zipfian", [] | [_]) => Ok(Self::Zipfian {
                zipf: Zipf::new(count, exponent(&numbers)?),
                scatter: Scatter::new(count),
            }),
            ("latest", [] | [_]) => Ok(Self::Latest { age: Zipf::new(count, exponent(&numbers)?) }),
            ("hotspot", [fraction, probability]) => {
                let fraction = share(fraction, "the fraction of keys that is hot")?;
                if fraction == 0.0 {
                    return Err("no key would be hot".to_owned());
                }
                let probability = share(probability, "the probability of a hot key")?;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "at most count"
                )]
                let hot = ((count as f64 * fraction).ceil() as u64).clamp(1, count);
                Ok(Self::Hotspot { hot, probability })
            }
            _ => Err(
                "must be uniform, zipfian[:EXPONENT], hotspot:FRACTION:PROBABILITY, sequential \
                      or latest[:EXPONENT]"
                    .to_owned(),
            ),
        }
    }
}

fn exponent(numbers: &[&str]) -> Result<f64, String> {
    let Some(text) = numbers.first() else { return Ok(EXPONENT_USUAL) };
    match text.parse() {
        Ok(exponent) if (0.0..=EXPONENT_MAX).contains(&exponent) => Ok(exponent),
        _ => Err(format!("`{text}` is no exponent from 0 to {EXPONENT_MAX}")),
    }
}

fn share(text: &str, what: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("{what} must be from 0 to 1, not `{text}`")),
    }
}

/// A fixed bijection of the numbers below `count`: a few rounds of mixing on as many bits as `count` has,
/// repeated while the result is out of range ("cycle walking", Black and Rogaway, 2002), which it is less
/// than every second time.
#[derive(Clone, Debug)]
struct Scatter {
    count: u64,
    bits: u32,
}

impl Scatter {
    fn new(count: u64) -> Self {
        Self { count, bits: (u64::BITS - (count - 1).leading_zeros()).max(1) }
    }

    fn of(&self, rank: u64) -> u64 {
        let mut number = rank;
        loop {
            number = self.round(number);
            if number < self.count {
                return number;
            }
        }
    }

    /// Every step can be undone on `bits` bits: adding, multiplying by an odd number, and folding the
    /// upper half onto the lower.
    fn round(&self, number: u64) -> u64 {
        let mask = u64::MAX >> (u64::BITS - self.bits);
        let half = self.bits.div_ceil(2);
        let mut mixed = number.wrapping_add(mix(u64::from(self.bits))) & mask;
        for odd in [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
            mixed = mixed.wrapping_mul(odd) & mask;
            mixed ^= mixed >> half;
        }
        mixed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Cursor, Keys, Random, Scatter};

    const DRAWS: u32 = 200_000;

    fn counts(count: u64, text: &str) -> Vec<u32> {
        let keys = Keys::new(count, text).unwrap();
        let (mut random, mut cursor) = (Random::new(9, 1), Cursor::new(&keys, 0, 1));
        let mut counts = vec![0; usize::try_from(count).unwrap()];
        for _ in 0..DRAWS {
            counts[usize::try_from(keys.draw(&mut random, &mut cursor, false)).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn uniform_keys_are_even() {
        let counts = counts(1_000, "uniform");
        let expected = f64::from(DRAWS) / 1_000.0;
        let chi_square: f64 =
            counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        // 999 degrees of freedom: five deviations around the mean.
        assert!((999.0 - 224.0..999.0 + 224.0).contains(&chi_square), "{chi_square}");
    }

    #[test]
    fn zipfian_keys_are_scattered_and_as_hot_as_their_ranks() {
        for (exponent, first) in
            [("0.5", 0.016_181), ("0.99", 0.129_384), ("1", 0.133_592), ("1.3", 0.284_708)]
        {
            let counts = counts(1_000, &format!("zipfian:{exponent}"));
            let mut order: Vec<usize> = (0..1_000).collect();
            order.sort_by_key(|&key| std::cmp::Reverse(counts[key]));
            let share = f64::from(counts[order[0]]) / f64::from(DRAWS);
            assert!((share - first).abs() < 0.004, "{exponent}: {share}, expected {first}");
            let neighbours =
                order[..20].windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
            assert!(neighbours <= 2, "{exponent}: {:?}", &order[..20]);
        }
        assert_eq!(counts(1_000, "zipfian"), counts(1_000, "zipfian:0.99"));
    }

    #[test]
    fn a_hot_spot_gets_its_share() {
        let counts = counts(1_000, "hotspot:0.1:0.9");
        let hot: u32 = counts[..100].iter().sum();
        let share = f64::from(hot) / f64::from(DRAWS);
        assert!((share - 0.9).abs() < 0.005, "{share}");
        assert!(counts[..100].iter().all(|count| (1_500..2_100).contains(count)), "{counts:?}");
        assert!(counts[100..].iter().all(|count| (0..80).contains(count)), "{counts:?}");
        assert!(self::counts(10, "hotspot:1:0").iter().all(|count| *count > 15_000));
    }

    #[test]
    fn sequential_connections_pass_over_all_keys_together() {
        let keys = Keys::new(10, "sequential").unwrap();
        let mut random = Random::new(1, 1);
        let mut drawn = |connection, connections, count| {
            let mut cursor = Cursor::new(&keys, connection, connections);
            (0..count).map(|_| keys.draw(&mut random, &mut cursor, true)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(0, 3, 6), [0, 3, 6, 9, 0, 3]);
        assert_eq!(drawn(1, 3, 5), [1, 4, 7, 1, 4]);
        assert_eq!(drawn(2, 3, 5), [2, 5, 8, 2, 5]);
        assert_eq!(drawn(12, 20, 3), [2, 2, 2], "more connections than keys");
    }

    #[test]
    fn latest_reads_follow_the_writes() {
        let keys = Keys::new(1_000, "latest").unwrap();
        let (mut random, mut cursor) = (Random::new(1, 1), Cursor::new(&keys, 0, 1));
        let mut ages = vec![0_u32; 1_000];
        for round in 0..100_000_u64 {
            let read = keys.draw(&mut random, &mut cursor, false);
            let newest = (round + 999) % 1_000;
            ages[usize::try_from((newest + 1_000 - read) % 1_000).unwrap()] += 1;
            assert_eq!(keys.draw(&mut random, &mut cursor, true), round % 1_000);
        }
        let newest = f64::from(ages[0]) / 100_000.0;
        assert!((newest - 0.129_384).abs() < 0.006, "{newest}");
        assert!(ages[0] > ages[1] && ages[1] > ages[4] && ages[4] > ages[30], "{ages:?}");
    }

    #[test]
    fn more_keys_of_a_request_are_drawn_or_neighbours() {
        let mut random = Random::new(1, 1);
        let more = |text, first, random: &mut Random| {
            let keys = Keys::new(10, text).unwrap();
            (1..4).map(|index| keys.draw_more(first, index, random)).collect::<Vec<_>>()
        };
        assert_eq!(more("sequential", 8, &mut random), [9, 0, 1]);
        assert_eq!(more("latest", 1, &mut random), [0, 9, 8]);
        for text in ["uniform", "zipfian:1.2", "hotspot:0.5:0.5"] {
            assert!(more(text, 0, &mut random).iter().all(|key| *key < 10));
        }
    }

    #[test]
    fn own_keys_belong_to_one_connection() {
        let keys = Keys::new(11, "uniform").unwrap();
        for connection in 0..4 {
            for key in 0..11 {
                let own = keys.own(key, connection, 4);
                assert!(own < 11 && own % 4 == connection, "{key} of {connection}: {own}");
                assert!(key.abs_diff(own) < 4 || key > 7);
            }
        }
    }

    #[test]
    fn scattering_is_a_bijection() {
        for count in [1_u64, 2, 3, 7, 8, 9, 1_000, 4_096, 4_097] {
            let scatter = Scatter::new(count);
            let image: HashSet<u64> = (0..count).map(|rank| scatter.of(rank)).collect();
            assert_eq!(image.len() as u64, count);
            assert!(image.iter().all(|key| *key < count));
        }
    }

    #[test]
    fn nonsense_is_refused_in_a_sentence() {
        for (count, text, part) in [
            (0, "uniform", "--keys 0: must be from 1"),
            (1_000_000_000_001, "uniform", "--keys 1000000000001: must be from 1"),
            (9, "", "--key-dist : must be uniform"),
            (9, "gauss", "must be uniform"),
            (9, "uniform:1", "must be uniform"),
            (9, "zipfian:", "`` is no exponent"),
            (9, "zipfian:-1", "`-1` is no exponent"),
            (9, "zipfian:NaN", "`NaN` is no exponent"),
            (9, "zipfian:inf", "`inf` is no exponent"),
            (9, "zipfian:1:2", "must be uniform"),
            (9, "hotspot:0.1", "must be uniform"),
            (9, "hotspot:0:1", "no key would be hot"),
            (9, "hotspot:0.1:1.1", "the probability of a hot key must be from 0 to 1, not `1.1`"),
        ] {
            let error = Keys::new(count, text).err().unwrap();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
