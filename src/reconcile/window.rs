//! How many keys are asked for at a time: as many as the slower of their masters answers within a
//! moment, so that what is seen and what is decided by it are young.
//!
//! It grows by one and closes by half, as [`crate::pace::Window`] does for the records of a lane;
//! that one halves on failures, this one on late answers, and once for all that were late together.

use std::time::Duration;

use crate::limits::{
    RECONCILE_ANSWERED_WITHIN, RECONCILE_KEYS_ASKED_FIRST, RECONCILE_KEYS_ASKED_MAX,
};

/// One more with each lookup that is answered in time while the window is full; half of them where
/// one is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyWindow {
    keys: usize,
    /// When it may be halved again, monotonic: answers to what was asked for before come late, too.
    halve_at: Duration,
}

impl Default for KeyWindow {
    fn default() -> Self {
        Self {
            keys: RECONCILE_KEYS_ASKED_FIRST,
            halve_at: Duration::ZERO,
        }
    }
}

impl KeyWindow {
    /// How many keys, at least one.
    #[must_use]
    pub fn keys(self) -> usize {
        self.keys
    }

    /// A lookup that was asked for at `asked_at` is answered now, with so many keys asked for.
    pub fn handle_answer(&mut self, asked_at: Duration, asked: usize, now: Duration) {
        if now.saturating_sub(asked_at) > RECONCILE_ANSWERED_WITHIN {
            if self.halve_at <= now {
                self.keys = (self.keys / 2).max(1);
                self.halve_at = now + RECONCILE_ANSWERED_WITHIN;
            }
        } else if asked >= self.keys {
            self.keys = (self.keys + 1).min(RECONCILE_KEYS_ASKED_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A master that answers so many lookups a second, each in its turn; the keys that are asked
    /// for at the end.
    fn settled_at(per_second: u32) -> usize {
        let mut window = KeyWindow::default();
        let mut asked: std::collections::VecDeque<Duration> = std::collections::VecDeque::new();
        let mut now = Duration::ZERO;
        while now < Duration::from_secs(60) {
            while asked.len() < window.keys() {
                asked.push_back(now);
            }
            now += Duration::from_secs(1) / per_second;
            let len = asked.len();
            let asked_at = asked.pop_front().expect("a window is never empty");
            window.handle_answer(asked_at, len, now);
        }
        window.keys()
    }

    #[test]
    fn it_is_as_wide_as_its_answers_are_fast() {
        assert_eq!(settled_at(1), 1);
        assert!((4..=30).contains(&settled_at(50)), "{}", settled_at(50));
        assert!(
            (60..=600).contains(&settled_at(1_000)),
            "{}",
            settled_at(1_000)
        );
        assert_eq!(settled_at(100_000), RECONCILE_KEYS_ASKED_MAX);
    }
}
