//! How much at once and how often: a backend that has just come back is fragile (guarantees, G12).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use crate::limits::{BURST_REQUESTS_MAX, RETRY_FIRST_MS, RETRY_LAST_MS, TRIAL_BYTES_PER_SECOND};

/// Records that a lane may have in flight: one at first, one more with each burst that is answered,
/// half on trouble. Keys that are compared have a window of their own
/// (`reconcile/window.rs`), which heeds how late answers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    records: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { records: 1 }
    }
}

impl Window {
    /// How many, at least one.
    #[must_use]
    pub fn records(self) -> usize {
        self.records
    }

    /// A burst has been answered in full.
    pub fn grow(&mut self) {
        self.records = (self.records + 1).min(BURST_REQUESTS_MAX);
    }

    /// Something went wrong.
    pub fn halve(&mut self) {
        self.records = (self.records / 2).max(1);
    }
}

/// The delay before try number `failures` + 1: doubled each time up to a bound.
#[must_use]
pub fn retry_delay(failures: u32) -> Duration {
    let doubled = RETRY_FIRST_MS << failures.saturating_sub(1).min(16);
    Duration::from_millis(doubled.min(RETRY_LAST_MS))
}

/// Somewhere between half of [`retry_delay`] and all of it (`jitter` is any number), so that lanes
/// do not come back in step.
#[must_use]
pub fn jittered_retry_delay(failures: u32, jitter: u64) -> Duration {
    let half_ms = retry_delay(failures).as_millis() as u64 / 2;
    Duration::from_millis(half_ms + jitter % (half_ms + 1))
}

/// A bound on records a second, for one worker's share of a backend. Saves up a twentieth of a
/// second at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    per_second: f64,
    records: f64,
    filled: Duration,
}

impl Bucket {
    /// A bucket that lets `per_second` records through; 0: all.
    #[must_use]
    pub fn new(per_second: f64, now: Duration) -> Self {
        Self {
            per_second,
            records: 1.0,
            filled: now,
        }
    }

    /// Changes the rate.
    pub fn set_rate(&mut self, per_second: f64) {
        self.per_second = per_second;
    }

    /// How many records may go now.
    pub fn available(&mut self, now: Duration) -> usize {
        if self.per_second == 0.0 {
            return usize::MAX;
        }
        let elapsed = now.saturating_sub(self.filled).as_secs_f64();
        self.filled = now;
        self.records =
            (self.records + elapsed * self.per_second).min((self.per_second / 20.0).max(1.0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a twentieth of a rate that was set"
        )]
        let whole = self.records as usize;
        whole
    }

    /// Takes what was sent.
    pub fn take(&mut self, records: usize) {
        if self.per_second != 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a burst's records are few")]
            let taken = records as f64;
            self.records -= taken;
        }
    }

    /// Whether it is this bound that the next record waits for, by the last look at it.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.per_second != 0.0 && self.records < 1.0
    }

    /// When the next record may go.
    #[must_use]
    pub fn next(&self) -> Duration {
        let missing = (1.0 - self.records).max(0.0) / self.per_second.max(1e-9);
        self.filled + Duration::from_secs_f64(missing.min(3600.0)) + Duration::from_millis(1)
    }
}

/// Bounds what long bodies cost a worker where they come to nothing: a backend's next one waits
/// until the last is paid for at [`TRIAL_BYTES_PER_SECOND`], unless one has been answered since the
/// last failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongTrials {
    is_proven: bool,
    next: Duration,
}

impl LongTrials {
    /// Whether a long body may go now.
    #[must_use]
    pub fn may_go(&self, now: Duration) -> bool {
        self.is_proven || self.next <= now
    }

    /// When the next one may go; none: now.
    #[must_use]
    pub fn waits_until(&self, now: Duration) -> Option<Duration> {
        (!self.may_go(now)).then_some(self.next)
    }

    /// One of so many bytes goes.
    pub fn handle_begun(&mut self, bytes: usize, now: Duration) {
        if !self.is_proven {
            self.charge(bytes, now);
        }
    }

    /// One was answered.
    pub fn handle_answered(&mut self) {
        self.is_proven = true;
    }

    /// The same for the backend's next epoch: what is owed stays.
    #[must_use]
    pub fn begun_anew(self) -> Self {
        Self {
            is_proven: false,
            ..self
        }
    }

    /// One failed, of which so many bytes had been sent.
    pub fn handle_failed(&mut self, sent: usize, now: Duration) {
        if std::mem::take(&mut self.is_proven) {
            self.charge(sent, now);
        }
    }

    fn charge(&mut self, bytes: usize, now: Duration) {
        let seconds = bytes as f64 / f64::from(TRIAL_BYTES_PER_SECOND);
        self.next = self.next.max(now) + Duration::from_secs_f64(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_by_one_and_closes_by_half() {
        let mut window = Window::default();
        assert_eq!(window.records(), 1);
        for _ in 0..1000 {
            window.grow();
        }
        assert_eq!(window.records(), BURST_REQUESTS_MAX);
        window.halve();
        assert_eq!(window.records(), BURST_REQUESTS_MAX / 2);
        for _ in 0..10 {
            window.halve();
        }
        assert_eq!(window.records(), 1);
    }

    #[test]
    fn delays_double_up_to_a_bound_and_are_spread() {
        for (failures, full) in [(1, 50), (2, 100), (3, 200), (8, 5000), (4_000_000, 5000)] {
            let delays =
                (0..1000).map(|jitter| jittered_retry_delay(failures, jitter * 7919).as_millis());
            let (low, high) = delays.fold((u128::MAX, 0), |(low, high), ms| {
                (low.min(ms), high.max(ms))
            });
            assert!(
                low >= full / 2 && high <= full && high - low > full / 4,
                "{failures}: {low}..{high}"
            );
        }
    }

    #[test]
    fn a_bucket_lets_its_rate_through_and_no_more() {
        let mut bucket = Bucket::new(1000.0, Duration::ZERO);
        let mut sent = 0;
        for ms in 0..10_000_u64 {
            let now = Duration::from_millis(ms);
            let records = bucket.available(now).min(7);
            bucket.take(records);
            sent += records;
        }
        assert!((9_900..=10_100).contains(&sent), "{sent} in 10 s at 1000/s");
    }

    #[test]
    fn a_bucket_says_when_it_has_a_record_again() {
        let mut bucket = Bucket::new(10.0, Duration::ZERO);
        bucket.take(bucket.clone().available(Duration::ZERO));
        assert_eq!(bucket.available(Duration::from_millis(50)), 0);
        assert!(bucket.is_spent());
        assert!(bucket.available(bucket.next()) >= 1);
        assert!(!bucket.is_spent());
    }

    #[test]
    fn long_bodies_that_come_to_nothing_are_paid_for() {
        const BYTES: usize = 2 * TRIAL_BYTES_PER_SECOND as usize;
        let at = Duration::from_secs;
        let mut trials = LongTrials::default();
        assert!(trials.may_go(at(10)), "the first one goes at once");
        trials.handle_begun(BYTES, at(10));
        assert_eq!(trials.waits_until(at(10)), Some(at(12)));
        trials.handle_failed(BYTES, at(11));
        assert_eq!(trials.waits_until(at(11)), Some(at(12)), "it is paid once");
        assert!(trials.may_go(at(12)));
    }

    #[test]
    fn a_long_body_that_is_answered_lets_all_go_until_one_fails() {
        const BYTES: usize = 2 * TRIAL_BYTES_PER_SECOND as usize;
        let at = Duration::from_secs;
        let mut trials = LongTrials::default();
        trials.handle_begun(BYTES, at(10));
        trials.handle_answered();
        trials.handle_begun(BYTES, at(10));
        assert!(trials.may_go(at(10)));
        trials.handle_failed(BYTES / 2, at(20));
        assert_eq!(trials.waits_until(at(20)), Some(at(21)));
    }

    #[test]
    fn no_rate_is_no_bound() {
        assert_eq!(
            Bucket::new(0.0, Duration::ZERO).available(Duration::ZERO),
            usize::MAX
        );
    }
}
