//! Zipf's distribution over ranks, for any exponent from 0 up, by rejection-inversion (Hörmann and
//! Derflinger, "Rejection-inversion to generate variates from monotone discrete distributions", 1996).
//!
//! Rank k of n has a probability in proportion to k^-e. The method inverts the integral of x^-e, rounds,
//! and rejects what the rounding adds; most draws pass the first, cheap test, and the second is tabulated for
//! the ranks that come often. 10^12 ranks cost what a thousand do.

use super::random::Random;

/// Ranks from 0, the likeliest, to `ranks` - 1.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    ranks: f64,
    exponent: f64,
    /// The integral at 1.5 less the weight of rank 1: where the inverted area begins.
    area_start: f64,
    /// The integral at `ranks` + 0.5, less `area_start`.
    area: f64,
    /// How far below a rank an inverted number may lie and be sure to pass.
    sure: f64,
    /// The area from which on a rank passes, for the first ranks, from 0.
    passes: Box<[f64]>,
    /// 1 / (1 - exponent), where that is no huge number.
    root: Option<f64>,
}

/// Above it every rank but the first has a probability that no run would ever meet, and the arithmetic
/// would leave what a double can hold.
pub(super) const EXPONENT_MAX: f64 = 100.0;

/// Ranks whose test is tabulated; half of all draws at the usual exponent, in 8 KiB.
const TABULATED: u32 = 1_024;

/// Exponents so near to 1 need the formulas that lose no digits there, which take longer.
const NEAR_ONE: f64 = 1e-3;

impl Zipf {
    /// `ranks` from 1, `exponent` from 0 to [`EXPONENT_MAX`].
    pub(super) fn new(ranks: u64, exponent: f64) -> Self {
        assert!(ranks >= 1 && (0.0..=EXPONENT_MAX).contains(&exponent));
        let ranks = ranks as f64;
        let area_start = integral(1.5, exponent) - 1.0;
        let area = integral(ranks + 0.5, exponent) - area_start;
        let sure = 2.0 - inverse(integral(2.5, exponent) - weight(2.0, exponent), exponent);
        let passes = (0..TABULATED).map(|rank| passes(f64::from(rank.max(1)), exponent)).collect();
        let root = ((1.0 - exponent).abs() > NEAR_ONE).then(|| (1.0 - exponent).recip());
        Self { ranks, exponent, area_start, area, sure, passes, root }
    }

    /// A rank, from 0.
    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let at = self.area_start + self.area * (1.0 - random.unit());
            let x = match self.root {
                // The area ends where the logarithm does, and rounding may go a little beyond.
                Some(root) => ((1.0 + at * (1.0 - self.exponent)).max(0.0).ln() * root).exp(),
                None => inverse(at, self.exponent),
            };
            let rank = (x + 0.5).floor().clamp(1.0, self.ranks);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "1 to ranks"
            )]
            let number = rank as u64;
            if rank - x <= self.sure || at >= self.passes(number, rank) {
                return number - 1;
            }
        }
    }

    fn passes(&self, number: u64, rank: f64) -> f64 {
        let tabulated = usize::try_from(number).ok().and_then(|number| self.passes.get(number));
        tabulated.copied().unwrap_or_else(|| passes(rank, self.exponent))
    }
}

/// The area from which on `rank` passes: below it rounding has added to it.
fn passes(rank: f64, exponent: f64) -> f64 {
    integral(rank + 0.5, exponent) - weight(rank, exponent)
}

/// x^-e.
fn weight(x: f64, exponent: f64) -> f64 {
    (-exponent * x.ln()).exp()
}

/// The integral of t^-e from 1 to x: (x^(1-e) - 1) / (1-e), which tends to ln x as e tends to 1. Written so
/// that no digits are lost in between.
fn integral(x: f64, exponent: f64) -> f64 {
    let log = x.ln();
    let power = (1.0 - exponent) * log;
    if power.abs() < NEAR_ZERO { log * (1.0 + power / 2.0) } else { power.exp_m1() / power * log }
}

/// The x at which [`integral`] is `area`.
fn inverse(area: f64, exponent: f64) -> f64 {
    // Rounding may take it below -1, where the logarithm ends.
    let scaled = (area * (1.0 - exponent)).max(-1.0);
    let log = if scaled.abs() < NEAR_ZERO {
        area * (1.0 - scaled / 2.0)
    } else {
        scaled.ln_1p() / scaled * area
    };
    log.exp()
}

/// Below it the first two terms of a series are exact to the last digit.
const NEAR_ZERO: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use super::{EXPONENT_MAX, Random, Zipf};

    const DRAWS: u32 = 400_000;

    fn counts(ranks: u64, exponent: f64) -> Vec<u32> {
        let zipf = Zipf::new(ranks, exponent);
        let mut random = Random::new(42, 0);
        let mut counts = vec![0_u32; usize::try_from(ranks).unwrap()];
        for _ in 0..DRAWS {
            counts[usize::try_from(zipf.draw(&mut random)).unwrap()] += 1;
        }
        counts
    }

    /// The first ranks one by one, then ever larger groups, against the exact probabilities: Pearson's
    /// chi-square over groups of at least 100 expected draws.
    fn check(ranks: u64, exponent: f64) {
        let counts = counts(ranks, exponent);
        let weights: Vec<f64> = (1..=ranks).map(|rank| (rank as f64).powf(-exponent)).collect();
        let sum: f64 = weights.iter().sum();
        let (mut chi_square, mut groups) = (0.0, 0_u32);
        let (mut expected, mut seen) = (0.0, 0.0);
        for (weight, count) in weights.iter().zip(&counts) {
            expected += weight / sum * f64::from(DRAWS);
            seen += f64::from(*count);
            if expected >= 100.0 {
                chi_square += (seen - expected).powi(2) / expected;
                groups += 1;
                (expected, seen) = (0.0, 0.0);
            }
        }
        // A chi-square of g degrees of freedom has mean g and variance 2 g; five deviations and a bit.
        let bound = f64::from(groups) + 5.0 * (2.0 * f64::from(groups)).sqrt() + 10.0;
        assert!(chi_square < bound, "{ranks} ranks, exponent {exponent}: {chi_square} > {bound}");
    }

    #[test]
    fn ranks_follow_the_law_for_any_exponent() {
        for exponent in
            [0.0, 0.5, 0.99, 0.9985, 1.0 - 1e-12, 1.0, 1.0 + 1e-9, 1.0015, 1.3, 2.0, 5.0]
        {
            for ranks in [1, 2, 10, 1_000, 100_000] {
                check(ranks, exponent);
            }
        }
    }

    /// The shares that the text books give for the head, so that the check above and the code can't be wrong
    /// together.
    #[test]
    fn the_head_is_as_likely_as_the_theory_says() {
        for (ranks, exponent, first, ten) in [
            // 1 / H(1000, e) and H(10, e) / H(1000, e), H being the generalized harmonic numbers.
            (1_000, 0.5, 0.016_181, 0.081_245),
            (1_000, 0.99, 0.129_384, 0.382_472),
            (1_000, 1.0, 0.133_592, 0.391_287),
            (1_000, 1.3, 0.284_708, 0.650_798),
        ] {
            let counts = counts(ranks, exponent);
            let share = |count: u32| f64::from(count) / f64::from(DRAWS);
            let (one, head) = (share(counts[0]), share(counts[..10].iter().sum()));
            assert!((one - first).abs() < 0.003, "{exponent}: rank 1 {one}, expected {first}");
            assert!((head - ten).abs() < 0.005, "{exponent}: ten ranks {head}, expected {ten}");
        }
    }

    #[test]
    fn huge_spaces_and_exponents_stay_in_bounds() {
        let mut random = Random::new(5, 0);
        for exponent in [0.0, 0.1, 1.0, 3.0, 40.0, EXPONENT_MAX] {
            for ranks in [1, 2, 1_000_000_000_000] {
                let zipf = Zipf::new(ranks, exponent);
                for _ in 0..1_000 {
                    let rank = zipf.draw(&mut random);
                    assert!(rank < ranks, "{rank} of {ranks} at {exponent}");
                    assert!(exponent < 40.0 || rank == 0, "{rank} at {exponent}");
                }
            }
        }
    }
}
