//! The percentile distribution as HdrHistogram's own tools print it (`.hgrm`), values in
//! microseconds; its plotter reads several of them into one picture.
//!
//! Layout as in Java's `AbstractHistogram.outputPercentileDistribution` with five ticks per half
//! distance: columns of 12, 14, 10 and 14, the last row without its fourth column, three lines of
//! footer.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Steps in each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 5;
/// A microsecond in the histogram's nanoseconds.
const SCALE: f64 = 1000.0;

/// The whole file. `histogram` is in nanoseconds.
pub fn render(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        count += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / SCALE;
        let quantile = step.quantile_iterated_to();
        let _ = write!(text, "{value:12.3} {quantile:2.12} {count:10}");
        if quantile < 1.0 {
            let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    let footer = Footer::of(histogram);
    let _ = write!(
        text,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n\
         #[Max     = {:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        footer.mean,
        footer.deviation,
        footer.max,
        histogram.len(),
        histogram.buckets(),
        footer.sub_buckets,
    );
    text
}

struct Footer {
    mean: f64,
    deviation: f64,
    max: f64,
    sub_buckets: u64,
}

impl Footer {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            mean: histogram.mean() / SCALE,
            deviation: histogram.stdev() / SCALE,
            max: histogram.max() as f64 / SCALE,
            // The reference rounds twice the resolution asked for up to a power of two.
            sub_buckets: (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::render;

    fn empty() -> Histogram<u64> {
        Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap()
    }

    /// Seven values of 1 us to 7 us, worked out by hand. Ticks are 0.1 wide up to a half, 0.05 up to
    /// three quarters, then 0.025; a row has the least value whose share, a multiple of a seventh,
    /// is at or above its tick, and after the last value comes the end. A value shows the top of its
    /// step: 3000 ns shares one with 3001, 5000 with 5003. The mean is over the steps' middles.
    #[test]
    fn seven_values_come_out_as_the_reference_prints_them() {
        let mut seven = empty();
        (1..=7).for_each(|us| seven.record(us * 1000).expect("within bounds"));
        let expected = "       Value     Percentile TotalCount 1/(1-Percentile)

       1.000 0.000000000000          1           1.00
       1.000 0.100000000000          1           1.11
       2.000 0.200000000000          2           1.25
       3.001 0.300000000000          3           1.43
       3.001 0.400000000000          3           1.67
       4.001 0.500000000000          4           2.00
       4.001 0.550000000000          4           2.22
       5.003 0.600000000000          5           2.50
       5.003 0.650000000000          5           2.86
       5.003 0.700000000000          5           3.33
       6.003 0.750000000000          6           4.00
       6.003 0.775000000000          6           4.44
       6.003 0.800000000000          6           5.00
       6.003 0.825000000000          6           5.71
       6.003 0.850000000000          6           6.67
       7.003 0.875000000000          7           8.00
       7.003 1.000000000000          7
#[Mean    =        4.001, StdDeviation   =        2.001]
#[Max     =        7.003, Total count    =            7]
#[Buckets =           32, SubBuckets     =         2048]
";
        assert_eq!(render(&seven), expected);
    }

    #[test]
    fn a_histogram_without_values_has_its_header_and_footer() {
        let text = render(&empty());
        assert!(text.starts_with("       Value     Percentile TotalCount 1/(1-Percentile)\n\n#["));
        assert!(text.contains("Total count    =            0]"));
    }
}
