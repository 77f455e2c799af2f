//! How long things take: counts by fixed bounds, shared by the threads that measure and the one
//! that tells.
//!
//! One observation is two atomic additions, whatever it stands for: a worker counts all answers of
//! one read at once. The bounds are fixed, from a backend in the same rack to one that is about to
//! be given up (`response_timeout` is 5 s unless set otherwise).

use std::time::Duration;

use super::counter::Counter;

/// Upper bounds of all buckets but the last, which has none, in microseconds.
pub const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Buckets, the one without a bound among them.
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Counts by duration.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Histogram {
    /// Not cumulative.
    buckets: [Counter; BUCKETS],
    sum_us: Counter,
}

/// A histogram as it was at an instant. Its sum and its counts may be some microseconds apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    buckets: [u64; BUCKETS],
    sum_us: u64,
}

impl Histogram {
    /// Something took `took`, and so did all `times` of it.
    pub fn observe(&self, took: Duration, times: u64) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|&bound| bound < us);
        self.sum_us.add(us.saturating_mul(times));
        self.buckets[bucket].add(times);
    }

    /// All of it, now.
    #[must_use]
    pub fn load(&self) -> Distribution {
        Distribution {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load()),
            sum_us: self.sum_us.load(),
        }
    }
}

impl Distribution {
    /// How many were observed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// What was counted since it was `earlier`.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|bucket| {
                self.buckets[bucket].saturating_sub(earlier.buckets[bucket])
            }),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// In how many milliseconds this share of all (0 to 1) was done: estimated within its bucket;
    /// of what is above all bounds, the last of them. `None` where nothing was counted.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = (count as f64 * share).max(1.0);
        let (mut below, mut lower) = (0.0, 0.0);
        for (&bound_us, &count) in BOUNDS_US.iter().zip(&self.buckets) {
            let upper = bound_us as f64 / 1e3;
            let count = count as f64;
            if below + count >= wanted {
                return Some(lower + (upper - lower) * (wanted - below) / count);
            }
            below += count;
            lower = upper;
        }
        Some(lower)
    }

    /// How long they took together, in seconds.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a sum is told to 15 digits")]
    pub(crate) fn sum_seconds(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// Upper bounds in seconds with the count of each bucket alone; the last bound is infinite.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "the bounds are small")]
    pub fn buckets(&self) -> [(f64, u64); BUCKETS] {
        std::array::from_fn(|bucket| {
            let bound = BOUNDS_US.get(bucket);
            (
                bound.map_or(f64::INFINITY, |&us| us as f64 / 1e6),
                self.buckets[bucket],
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(observed: &[(Duration, u64)], counts: &[(f64, u64)], sum: f64) {
        let histogram = Histogram::default();
        for &(took, times) in observed {
            histogram.observe(took, times);
        }
        let told = histogram.load();
        let filled: Vec<(f64, u64)> = told
            .buckets()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(filled, counts);
        assert_eq!(
            told.count(),
            counts.iter().map(|(_, count)| count).sum::<u64>()
        );
        assert!((told.sum_seconds() - sum).abs() < 1e-9, "{told:?}");
    }

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        let us = Duration::from_micros;
        check(&[], &[], 0.0);
        check(&[(us(0), 1), (us(100), 2)], &[(0.0001, 3)], 0.0002);
        check(&[(us(101), 30)], &[(0.00025, 30)], 0.00303);
        check(&[(us(5_000_000), 1)], &[(5.0, 1)], 5.0);
        check(&[(us(10_000_001), 2)], &[(f64::INFINITY, 2)], 20.000_002);
    }

    #[test]
    fn quantiles_lie_in_their_bucket_and_are_of_what_came_since() {
        let us = Duration::from_micros;
        let histogram = Histogram::default();
        assert_eq!(histogram.load().quantile_ms(0.5), None);
        histogram.observe(us(20_000_000), 5);
        let earlier = histogram.load();
        assert_eq!(
            earlier.quantile_ms(0.5),
            Some(10_000.0),
            "above all bounds, the last of them"
        );
        histogram.observe(us(700), 98);
        histogram.observe(us(40_000), 2);
        let told = histogram.load().since(&earlier);
        assert_eq!(told.count(), 100);
        let near = |share: f64, expected: f64| {
            let quantile = told.quantile_ms(share).unwrap();
            assert!(
                (quantile - expected).abs() < 0.01,
                "{quantile}, not {expected}"
            );
        };
        near(0.5, 0.5 + 0.5 * 50.0 / 98.0);
        near(0.98, 1.0);
        near(0.99, 37.5);
        near(1.0, 50.0);
        near(0.0, 0.5 + 0.5 / 98.0);
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS_US.is_sorted_by(|one, next| one < next));
    }
}
