//! When an open loop means to send: the rate over time, and the moments that follow from it.
//!
//! The k-th request is due when the integral of the rate reaches k (or, for Poisson arrivals, the sum of k
//! exponential steps of mean 1). Moments follow from the rate alone, never from what the server did, so
//! a stall moves nothing; and a schedule that is behind holds no queue, only its next moment.

use std::fmt;
use std::time::Duration;

const NS_PER_S: f64 = 1e9;

/// How single requests are spread in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// At equal distances.
    Constant,
    /// Independently of one another, as from many users.
    Poisson,
}

/// The rate over time: straight pieces; the last value holds for ever.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    pieces: Vec<Piece>,
    /// Requests a second after the last piece.
    last: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    from: f64,
    to: f64,
    seconds: f64,
}

impl Piece {
    /// Requests due within the piece.
    fn requests(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.seconds
    }

    /// Seconds into the piece at which `requests` of them are due.
    fn time_of(&self, requests: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        // The solution of `from t + slope t²/2 = requests` in the form that holds for slope 0 too.
        let root = (self.from * self.from + 2.0 * slope * requests).max(0.0).sqrt();
        let denominator = self.from + root;
        if denominator > 0.0 { (2.0 * requests / denominator).min(self.seconds) } else { 0.0 }
    }
}

impl Curve {
    /// One rate.
    pub(crate) fn constant(rate: f64) -> Self {
        Self { pieces: Vec::new(), last: rate }
    }

    /// From one rate to another, evenly over `seconds`.
    pub(crate) fn ramp(from: f64, to: f64, length: Duration) -> Self {
        Self { pieces: vec![Piece { from, to, seconds: length.as_secs_f64() }], last: to }
    }

    /// One rate after another, each for `length`.
    pub(crate) fn steps(rates: &[f64], length: Duration) -> Self {
        let seconds = length.as_secs_f64();
        let pieces: Vec<Piece> =
            rates.iter().map(|&rate| Piece { from: rate, to: rate, seconds }).collect();
        Self { last: rates.last().copied().unwrap_or(0.0), pieces }
    }

    /// Its first rate for `lead` first: the warm-up.
    pub(crate) fn after(mut self, lead: Duration) -> Self {
        if !lead.is_zero() {
            let rate = self.rate_at(Duration::ZERO);
            let seconds = lead.as_secs_f64();
            self.pieces.insert(0, Piece { from: rate, to: rate, seconds });
        }
        self
    }

    /// How long the rate changes; nothing if it never does.
    pub(crate) fn length(&self) -> Option<Duration> {
        let seconds = self.pieces.iter().map(|piece| piece.seconds).sum();
        (!self.pieces.is_empty()).then(|| Duration::from_secs_f64(seconds))
    }

    /// Requests a second at a moment.
    pub(crate) fn rate_at(&self, time: Duration) -> f64 {
        let mut seconds = time.as_secs_f64();
        for piece in &self.pieces {
            if seconds < piece.seconds {
                return piece.from + (piece.to - piece.from) * seconds / piece.seconds;
            }
            seconds -= piece.seconds;
        }
        self.last
    }
}

/// For reports.
impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Piece { from, to, seconds } in &self.pieces {
            if from == to {
                write!(f, "{from}/s for {seconds} s, ")?;
            } else {
                write!(f, "{from}/s to {to}/s in {seconds} s, ")?;
            }
        }
        write!(f, "{}{}/s", if self.pieces.is_empty() { "" } else { "then " }, self.last)
    }
}

/// For reports.
impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant arrivals",
            Self::Poisson => "Poisson arrivals",
        })
    }
}

/// One thread's moments: of all threads' requests every `threads`-th.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    curve: Curve,
    arrivals: Arrivals,
    threads: f64,
    /// Requests of all threads due before the next of ours.
    position: f64,
    /// The piece it lies in, and what came before that piece.
    piece: usize,
    piece_starts_s: f64,
    piece_starts_at: f64,
    due_ns: u64,
    random: Random,
}

impl Schedule {
    /// The moments of thread number `thread` of `threads`.
    pub(crate) fn new(
        curve: Curve,
        arrivals: Arrivals,
        thread: usize,
        threads: usize,
        seed: u64,
    ) -> Self {
        let mut schedule = Self {
            curve,
            arrivals,
            threads: threads as f64,
            position: thread as f64,
            piece: 0,
            piece_starts_s: 0.0,
            piece_starts_at: 0.0,
            due_ns: 0,
            random: Random::new(seed ^ (thread as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        if arrivals == Arrivals::Poisson {
            schedule.position = schedule.threads * schedule.random.exponential();
        }
        schedule.locate();
        schedule
    }

    /// When the next request is due, in nanoseconds since the start.
    pub(crate) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Goes on to the next request.
    pub(crate) fn advance(&mut self) {
        self.position += match self.arrivals {
            Arrivals::Constant => self.threads,
            Arrivals::Poisson => self.threads * self.random.exponential(),
        };
        self.locate();
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    fn locate(&mut self) {
        while let Some(piece) = self.curve.pieces.get(self.piece) {
            let within = self.position - self.piece_starts_at;
            if within < piece.requests() {
                let seconds = self.piece_starts_s + piece.time_of(within);
                self.due_ns = (seconds * NS_PER_S) as u64;
                return;
            }
            self.piece_starts_at += piece.requests();
            self.piece_starts_s += piece.seconds;
            self.piece += 1;
        }
        let within = self.position - self.piece_starts_at;
        self.due_ns = ((self.piece_starts_s + within / self.curve.last) * NS_PER_S) as u64;
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): all that arrival times need.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Exponentially distributed, mean 1.
    fn exponential(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        // In (0, 1], so that the logarithm is finite.
        let uniform = ((self.next() >> 11) + 1) as f64 * STEP;
        -uniform.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, Curve, Schedule};
    use std::time::Duration;

    fn moments(schedule: &mut Schedule, until_s: u64) -> Vec<f64> {
        let mut moments = Vec::new();
        while schedule.due_ns() < until_s * 1_000_000_000 {
            moments.push(schedule.due_ns() as f64 / 1e9);
            schedule.advance();
        }
        moments
    }

    fn constant(curve: Curve, threads: usize, until_s: u64) -> Vec<f64> {
        let mut all: Vec<f64> = (0..threads)
            .flat_map(|thread| {
                let mut one = Schedule::new(curve.clone(), Arrivals::Constant, thread, threads, 1);
                moments(&mut one, until_s)
            })
            .collect();
        all.sort_by(f64::total_cmp);
        all
    }

    #[test]
    fn a_constant_rate_is_evenly_spread_over_all_threads_together() {
        for threads in [1, 3] {
            let all = constant(Curve::constant(1000.0), threads, 3);
            assert_eq!(all.len(), 3000);
            for (index, at) in all.iter().enumerate() {
                assert!((at - index as f64 / 1000.0).abs() < 1e-6, "{index}: {at}");
            }
        }
    }

    #[test]
    fn a_ramp_has_as_many_requests_as_its_area_and_goes_on_at_its_end() {
        let curve = Curve::ramp(0.0, 1000.0, Duration::from_secs(2));
        let all = constant(curve.clone(), 2, 4);
        let before = |s: f64| all.iter().filter(|&&at| at < s).count() as f64;
        for (second, expected) in [(1.0, 250.0), (2.0, 1000.0), (3.0, 2000.0), (4.0, 3000.0)] {
            assert!((before(second) - expected).abs() <= 2.0, "{second}: {}", before(second));
        }
        assert_eq!(curve.rate_at(Duration::from_secs(1)), 500.0);
        assert_eq!(curve.rate_at(Duration::from_secs(9)), 1000.0);
        let down = constant(Curve::ramp(1000.0, 0.0, Duration::from_secs(2)), 1, 2);
        assert!((down.len() as f64 - 1000.0).abs() <= 1.0, "{}", down.len());
    }

    #[test]
    fn steps_follow_one_another_and_the_warm_up_goes_first() {
        let curve = Curve::steps(&[100.0, 400.0], Duration::from_secs(1));
        assert_eq!(curve.length(), Some(Duration::from_secs(2)));
        let all = constant(curve.clone().after(Duration::from_secs(1)), 1, 3);
        let within = |from: f64| all.iter().filter(|&&at| at >= from && at < from + 1.0).count();
        assert_eq!([within(0.0), within(1.0), within(2.0)], [100, 100, 400]);
        let rates = [500, 1500, 2500].map(|ms| curve.rate_at(Duration::from_millis(ms)));
        assert_eq!(rates, [100.0, 400.0, 400.0]);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_their_name() {
        let curve = Curve::constant(10_000.0);
        let mut counts = vec![0_u32; 1000];
        for thread in 0..2 {
            let mut one = Schedule::new(curve.clone(), Arrivals::Poisson, thread, 2, 7);
            for at in moments(&mut one, 10) {
                #[expect(clippy::cast_possible_truncation, reason = "below the count of buckets")]
                let bucket = (at * 100.0) as usize;
                counts[bucket] += 1;
            }
        }
        // A hundred are due every 10 ms; for a Poisson process the variance is the mean.
        let mean = f64::from(counts.iter().sum::<u32>()) / 1000.0;
        let variance =
            counts.iter().map(|&count| (f64::from(count) - mean).powi(2)).sum::<f64>() / 1000.0;
        assert!((mean - 100.0).abs() < 1.0, "{mean}");
        assert!((variance - 100.0).abs() < 15.0, "{variance}");
    }

    #[test]
    fn the_same_seed_gives_the_same_moments() {
        let schedule = |seed| Schedule::new(Curve::constant(1e5), Arrivals::Poisson, 0, 1, seed);
        assert_eq!(moments(&mut schedule(5), 1), moments(&mut schedule(5), 1));
        assert_ne!(moments(&mut schedule(5), 1), moments(&mut schedule(6), 1));
    }
}
