//! Random numbers: one generator for everything, named so that a seed means the same run for good.
//!
//! xoshiro256++ (Blackman and Vigna, 2019), seeded by SplitMix64. A stream is a seed and a number, so that
//! connections draw independently of one another and of the order in which they are made.

use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(Xoshiro256PlusPlus);

impl Random {
    /// Stream `stream` of `seed`.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(mix(seed) ^ mix(!stream)))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, by multiplying rather than dividing (Lemire, 2019); its bias is below one
    /// in 2^64 / `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        scale(self.next(), bound)
    }

    /// A number from 0 up to but not including 1, of 53 bits.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number from the normal distribution around 0 with deviation 1.
    pub(super) fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// Fills `bytes`.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// `random` scaled from all of 64 bits to the numbers below `bound`.
pub(super) fn scale(random: u64, bound: u64) -> u64 {
    let wide = u128::from(random) * u128::from(bound);
    u64::try_from(wide >> 64).unwrap_or_default()
}

/// A number that looks unrelated to `number`: SplitMix64's output function (Steele, Lea and Flood, 2014).
pub(super) fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::Random;

    /// The same run for good: a change of these numbers makes recorded runs unrepeatable.
    #[test]
    fn a_stream_is_what_it_was() {
        let mut random = Random::new(1, 0);
        assert_eq!(
            [random.next(), random.next(), random.next()],
            [0x941f_33fa_8af8_c8e0, 0x5c6b_fcc3_90cf_ce8c, 0xd816_4872_2123_2705]
        );
        assert_ne!(Random::new(1, 1).next(), Random::new(1, 0).next());
        assert_ne!(Random::new(2, 0).next(), Random::new(1, 0).next());
    }

    #[test]
    fn numbers_are_within_their_bounds_and_even() {
        let mut random = Random::new(7, 3);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[usize::try_from(random.below(10)).unwrap()] += 1;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
        let mean = (0..100_000).map(|_| random.normal()).sum::<f64>() / 100_000.0;
        assert!(mean.abs() < 0.02, "{mean}");
    }
}
