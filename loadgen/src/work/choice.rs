//! A choice among a few things with weights, in constant time: Walker's alias method in Vose's form.

use super::random::{Random, scale};

/// Chooses an index with a probability in proportion to its weight, to about one in 2^32.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// One column a thing: below `.0` (of 2^32) it is chosen itself, otherwise `.1` is.
    columns: Box<[(u32, u32)]>,
}

/// Things that can be chosen among.
pub(super) const CHOICES_MAX: usize = 1_024;

impl Choice {
    /// A choice among `weights`, which the caller has found finite and above 0.
    pub(super) fn new(weights: &[f64]) -> Self {
        let count = weights.len();
        assert!((1..=CHOICES_MAX).contains(&count), "{count} choices");
        assert!(weights.iter().all(|weight| weight.is_finite() && *weight > 0.0));
        let largest = weights.iter().copied().fold(0.0, f64::max);
        // Divided first, so that the sum of huge weights stays finite.
        let sum: f64 = weights.iter().map(|weight| weight / largest).sum();
        let mut shares: Vec<f64> =
            weights.iter().map(|weight| weight / largest / sum * count as f64).collect();
        let mut columns: Vec<(u32, u32)> =
            (0..count).map(|index| (u32::MAX, cell(index))).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..count).partition(|&index| shares[index] < 1.0);
        while let (Some(less), Some(&more)) = (small.pop(), large.last()) {
            columns[less] = (threshold(shares[less]), cell(more));
            shares[more] -= 1.0 - shares[less];
            if shares[more] < 1.0 {
                small.push(more);
                large.pop();
            }
        }
        // What is left over has a share of 1 but for rounding, and keeps its own column.
        Self { columns: columns.into() }
    }

    /// Chooses.
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        if self.columns.len() == 1 {
            return 0;
        }
        let number = random.next();
        let column = scale(number, self.columns.len() as u64);
        let column = usize::try_from(column).unwrap_or_default();
        let (threshold, alias) = self.columns[column];
        // The product's upper bits chose the column; the number's lower half is free to choose within.
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        let within = number as u32;
        if within < threshold { column } else { alias as usize }
    }
}

fn cell(index: usize) -> u32 {
    u32::try_from(index).expect("below CHOICES_MAX")
}

/// A share from 0 to 1, of 2^32.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
fn threshold(share: f64) -> u32 {
    (share * 4_294_967_296.0).clamp(0.0, 4_294_967_295.0) as u32
}

#[cfg(test)]
mod tests {
    use super::{Choice, Random};

    fn check(weights: &[f64]) {
        const DRAWS: u32 = 200_000;
        let choice = Choice::new(weights);
        let mut random = Random::new(11, 0);
        let mut counts = vec![0_u32; weights.len()];
        for _ in 0..DRAWS {
            counts[choice.draw(&mut random)] += 1;
        }
        let sum: f64 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(weights) {
            let share = weight / sum;
            let expected = share * f64::from(DRAWS);
            // Five standard deviations of a binomial, and the rounding of the thresholds.
            let bound = 5.0 * (expected * (1.0 - share)).sqrt() + 1.0;
            assert!(
                (f64::from(*count) - expected).abs() <= bound,
                "{weights:?}: {counts:?}, expected {expected} +- {bound}"
            );
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        check(&[1.0]);
        check(&[90.0, 10.0]);
        check(&[1.0, 1.0, 1.0]);
        check(&[0.001, 5.0, 3.0, 1.999]);
        check(&[1e300, 1e300]);
        check(&(1..=50).map(f64::from).collect::<Vec<_>>());
    }
}
