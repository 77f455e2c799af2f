//! What a backend was lately: how often it ceased to be up within an hour, for how long it was
//! down, and how long its requests took in the last minute or two.
//!
//! Bounded: a fixed number of bytes for each backend, whatever happens to it.

use std::time::Duration;

use super::histogram::{Distribution, Histogram};
use crate::limits::{LATENCY_WINDOW, STATE_COUNT_SLOTS};

/// Seconds that one slot of [`HourCount`] counts.
const SLOT_SECONDS: u64 = 3600 / STATE_COUNT_SLOTS as u64;

/// Counts events of the last hour, to a minute.
#[derive(Debug)]
pub(crate) struct HourCount {
    slots: [u16; STATE_COUNT_SLOTS],
    /// Which minute of the monotonic clock the newest slot counts.
    minute: u64,
}

impl Default for HourCount {
    fn default() -> Self {
        Self {
            slots: [0; STATE_COUNT_SLOTS],
            minute: 0,
        }
    }
}

impl HourCount {
    /// One more.
    pub(crate) fn add(&mut self, now: Duration) {
        let slot = self.advance(now);
        self.slots[slot] = self.slots[slot].saturating_add(1);
    }

    /// How many there were.
    pub(crate) fn sum(&mut self, now: Duration) -> u64 {
        self.advance(now);
        self.slots.iter().map(|&count| u64::from(count)).sum()
    }

    /// Empties the slots of minutes that are over an hour ago; gives that of `now`.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a remainder by the number of slots"
    )]
    fn advance(&mut self, now: Duration) -> usize {
        let minute = now.as_secs() / SLOT_SECONDS;
        let passed = minute.saturating_sub(self.minute);
        let slots = STATE_COUNT_SLOTS as u64;
        for empty in (1..=passed.min(slots)).map(|ahead| self.minute + ahead) {
            self.slots[(empty % slots) as usize] = 0;
        }
        if passed > 0 {
            self.minute = minute;
        }
        (self.minute % slots) as usize
    }
}

/// For how long a backend has been in its state, and was down in this run.
#[derive(Debug)]
pub(crate) struct StateTimes {
    /// Since when it has been in its state, monotonic.
    since: Duration,
    is_down: bool,
    /// For how long it was down before.
    down: Duration,
    flaps: HourCount,
}

impl StateTimes {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            since: now,
            is_down: false,
            down: Duration::ZERO,
            flaps: HourCount::default(),
        }
    }

    /// Its state was `from` and is `to`, in words.
    pub(crate) fn handle_change(&mut self, from: &str, to: &str, now: Duration) {
        self.down = self.down(now);
        self.since = now;
        self.is_down = is_down(to);
        if from == "up" && self.is_down {
            self.flaps.add(now);
        }
    }

    /// For how long it has been in its state.
    pub(crate) fn in_state(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// For how long it was down in this run.
    pub(crate) fn down(&self, now: Duration) -> Duration {
        if self.is_down {
            self.down + self.in_state(now)
        } else {
            self.down
        }
    }

    /// How often it ceased to be up in the last hour, but for pauses.
    pub(crate) fn flaps(&mut self, now: Duration) -> u64 {
        self.flaps.sum(now)
    }
}

/// Whether a state means that a backend should be replayed to and cannot be.
fn is_down(state: &str) -> bool {
    !matches!(state, "up" | "paused" | "ended" | "unknown")
}

/// How long requests took in the last one or two [`LATENCY_WINDOW`]s.
#[derive(Debug, Default)]
pub(crate) struct LatencyWindow {
    /// What was counted one to two windows ago.
    older: Distribution,
    /// What was counted when the last window began, and when that was.
    newer: Distribution,
    newer_at: Duration,
}

impl LatencyWindow {
    /// Begins another window where that is due.
    pub(crate) fn advance(&mut self, requests: &Histogram, now: Duration) {
        if now.saturating_sub(self.newer_at) >= LATENCY_WINDOW {
            self.older = std::mem::replace(&mut self.newer, requests.load());
            self.newer_at = now;
        }
    }

    /// What was counted since.
    pub(crate) fn load(&self, requests: &Histogram) -> Distribution {
        requests.load().since(&self.older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    #[test]
    fn events_count_for_an_hour() {
        let mut count = HourCount::default();
        for at in [0, 0, 1, 59] {
            count.add(minutes(at));
        }
        let mut check = |at, expected| assert_eq!(count.sum(minutes(at)), expected, "minute {at}");
        check(59, 4);
        check(60, 2);
        check(61, 1);
        check(118, 1);
        check(119, 0);
        // A clock that does not go on empties nothing.
        check(7, 0);
    }

    #[test]
    fn an_hour_of_silence_leaves_nothing_and_one_slot_never_overflows() {
        let mut count = HourCount::default();
        for _ in 0..70_000 {
            count.add(minutes(5));
        }
        assert_eq!(count.sum(minutes(5)), u64::from(u16::MAX));
        assert_eq!(count.sum(minutes(100_000)), 0);
        count.add(minutes(100_000));
        assert_eq!(count.sum(minutes(100_001)), 1);
    }

    #[test]
    fn time_counts_as_down_where_it_should_be_replayed_to_and_is_not() {
        let mut times = StateTimes::new(minutes(0));
        let mut word = "unknown";
        let mut change = |to, at| {
            times.handle_change(word, to, minutes(at));
            word = to;
            (times.down(minutes(at + 1)), times.flaps(minutes(at)))
        };
        assert_eq!(change("down", 1), (minutes(1), 0));
        assert_eq!(change("up", 4), (minutes(3), 0));
        assert_eq!(change("refused", 10), (minutes(4), 1));
        assert_eq!(change("paused", 11), (minutes(4), 1));
        assert_eq!(change("up", 20), (minutes(4), 1));
        assert_eq!(change("paused", 21), (minutes(4), 1));
        assert_eq!(change("up", 22), (minutes(4), 1));
        assert_eq!(change("unresolved", 30), (minutes(5), 2));
        assert_eq!(change("ended", 31), (minutes(5), 2));
        assert_eq!(times.in_state(minutes(33)), minutes(2));
    }

    #[test]
    fn latencies_are_those_of_the_last_minutes() {
        let requests = Histogram::default();
        let mut window = LatencyWindow::default();
        let ms = Duration::from_millis;
        requests.observe(ms(3), 10);
        let mut counts = |at: Duration, more: u64| {
            window.advance(&requests, at);
            requests.observe(ms(70), more);
            window.load(&requests).count()
        };
        assert_eq!(counts(ms(0), 0), 10, "the first window is open");
        assert_eq!(counts(LATENCY_WINDOW, 5), 15);
        assert_eq!(counts(LATENCY_WINDOW * 2, 7), 12, "the first ten are gone");
        assert_eq!(counts(LATENCY_WINDOW * 3, 0), 7);
        assert_eq!(counts(LATENCY_WINDOW * 4, 0), 0);
    }
}
