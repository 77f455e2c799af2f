//! How many completions are worth waiting for before the worker wakes up.
//!
//! A worker that wakes up for every answer pays a switch to it and back for each. Waiting for
//! several costs at most [`RING_BATCH_WAIT`], and is done only where answers come so fast that it
//! costs less:
//!
//! ```text
//!              as many came within half the time: twice as many
//!            ┌────────────────────────────────────────────────┐
//!   one ─────┴──▶ some, at most half of what is asked ◀────────┘
//!    ▲               │ the time was up: as many as came; they are far apart: half as many
//!    └───────────────┘
//! ```

use std::time::Duration;

use crate::limits::RING_BATCH_WAIT;

/// Answers that are further apart than this are not gathered: the timer that bounds the wait would
/// cost more than is saved.
const APART: Duration = Duration::from_nanos(RING_BATCH_WAIT.as_nanos() as u64 / 8);

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchWait {
    want: usize,
}

impl BatchWait {
    pub(super) fn new() -> Self {
        Self { want: 1 }
    }

    /// How many answers to wait for, of `asked` questions that are out.
    pub(super) fn want(self, asked: usize) -> usize {
        self.want.min(asked / 2).max(1)
    }

    /// So many answers were waited for, so many came, and so long it took.
    pub(super) fn learn(&mut self, wanted: usize, came: usize, took: Duration) {
        let many = u32::try_from(came).unwrap_or(u32::MAX);
        if took >= RING_BATCH_WAIT {
            self.want = came.clamp(1, wanted);
        } else if took > APART.saturating_mul(many) {
            self.want = (self.want / 2).max(1);
        } else if came >= wanted && took < RING_BATCH_WAIT / 2 {
            self.want = (2 * wanted).max(self.want);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it waits for at last, where an answer comes each `each`, of `asked`.
    fn settled(asked: usize, each: Duration) -> usize {
        let mut batch_wait = BatchWait::new();
        for _ in 0..50 {
            let want = batch_wait.want(asked);
            let took = each * u32::try_from(want).unwrap();
            if took > RING_BATCH_WAIT && want > 1 {
                let came = (RING_BATCH_WAIT.as_nanos() / each.as_nanos()) as usize;
                batch_wait.learn(want, came, RING_BATCH_WAIT);
            } else {
                batch_wait.learn(want, want, took);
            }
        }
        batch_wait.want(asked)
    }

    #[test]
    fn many_answers_are_gathered_and_few_are_not_waited_for() {
        let us = Duration::from_micros;
        assert_eq!(settled(64, us(1)), 32, "never more than half");
        assert!((8..=16).contains(&settled(64, us(6))));
        assert_eq!(settled(64, us(20)), 1);
        assert_eq!(settled(64, us(200)), 1);
        assert_eq!(settled(64, us(2000)), 1);
        assert_eq!(settled(1, us(1)), 1);
        assert_eq!(settled(0, us(1)), 1);
    }

    #[test]
    fn it_gets_used_to_fewer_at_once() {
        let mut batch_wait = BatchWait::new();
        for _ in 0..10 {
            batch_wait.learn(batch_wait.want(64), 64, Duration::ZERO);
        }
        assert_eq!(batch_wait.want(64), 32);
        batch_wait.learn(32, 0, RING_BATCH_WAIT);
        assert_eq!(batch_wait.want(64), 1);
    }
}
