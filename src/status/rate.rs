//! How fast a count grows, smoothed.
//!
//! An exponentially weighted mean over uneven intervals: an interval of `dt` seconds weighs `1 -
//! e^(-dt/τ)`, so it doesn't matter how often one looks. After a change the figure has gone two
//! thirds of the way in [`RATE_WINDOW_SECONDS`]; a growth that begins after a standstill is told as
//! it is at once, for who waits for a backend's return wants to know when it will be whole.

use std::time::Duration;

/// The mean's time constant, in seconds.
pub const RATE_WINDOW_SECONDS: f64 = 5.0;

/// A growth this many times the mean is a new beginning.
const BEGINNING: f64 = 100.0;

/// The rate of one count.
#[derive(Clone, Debug, Default)]
pub struct RateMeter {
    last: Option<(u64, Duration)>,
    /// Sum of weighted growths, and of their weights: below 1 while the beginning is less than some
    /// windows ago.
    sum: f64,
    weights: f64,
}

impl RateMeter {
    /// Takes what the count is at the monotonic instant `now`.
    pub(crate) fn handle_count(&mut self, count: u64, now: Duration) {
        let Some((last_count, last_at)) = self.last else {
            self.last = Some((count, now));
            return;
        };
        let seconds = now.saturating_sub(last_at).as_secs_f64();
        if seconds <= 0.0 {
            // No time has passed: what came since belongs to the next interval.
            return;
        }
        // A count that went back has been started anew; nothing is known about this interval.
        #[allow(clippy::cast_precision_loss, reason = "a rate is told to three digits")]
        let grown = count.saturating_sub(last_count) as f64;
        let growth = grown / seconds;
        if growth > BEGINNING * self.per_second() {
            (self.sum, self.weights) = (0.0, 0.0);
        }
        let weight = 1.0 - (-seconds / RATE_WINDOW_SECONDS).exp();
        self.sum += weight * (growth - self.sum);
        self.weights += weight * (1.0 - self.weights);
        self.last = Some((count, now));
    }

    /// The rate, a second.
    #[must_use]
    pub(crate) fn per_second(&self) -> f64 {
        // What is left long after the last growth is noise.
        if self.sum < 0.01 {
            0.0
        } else {
            self.sum / self.weights
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate after looks at (milliseconds, count).
    fn rate(looks: impl IntoIterator<Item = (u64, u64)>) -> f64 {
        let mut meter = RateMeter::default();
        for (at_ms, count) in looks {
            meter.handle_count(count, Duration::from_millis(at_ms));
        }
        meter.per_second()
    }

    #[track_caller]
    fn check(looks: impl IntoIterator<Item = (u64, u64)>, expected: f64) {
        let got = rate(looks);
        assert!(
            (got - expected).abs() <= expected * 0.01 + 0.001,
            "{got} is not {expected}"
        );
    }

    #[test]
    fn a_steady_growth_is_told_as_it_is_however_often_one_looks() {
        check((0..=60).map(|second| (second * 1000, second * 500)), 500.0);
        check((0..=60_000).map(|ms| (ms, ms / 2)), 500.0);
        check([(0, 0), (60_000, 30_000)], 500.0);
    }

    #[test]
    fn one_look_tells_nothing() {
        check([], 0.0);
        check([(5, 1_000_000)], 0.0);
        check([(5, 1_000_000), (5, 2_000_000)], 0.0);
    }

    #[test]
    fn the_rate_fades_when_growth_ends() {
        let looks = || (0..=60).map(|second| (second * 1000, second * 500));
        check(
            looks().chain([(65_000, 30_000)]),
            500.0 / std::f64::consts::E,
        );
        check(looks().chain([(600_000, 30_000)]), 0.0);
    }

    #[test]
    fn a_growth_that_begins_is_told_as_it_is() {
        check([(0, 0), (100, 50)], 500.0);
        check([(0, 0), (100, 50), (200, 150)], 755.0);
        check([(0, 7), (60_000, 7), (60_100, 57), (60_200, 107)], 500.0);
    }

    #[test]
    fn a_count_that_starts_anew_makes_no_negative_rate() {
        check([(0, 1000), (1000, 0)], 0.0);
    }

    #[test]
    fn growth_seen_at_the_same_instant_counts_in_the_next_interval() {
        check([(0, 0), (0, 500), (60_000, 30_000)], 500.0);
    }
}
