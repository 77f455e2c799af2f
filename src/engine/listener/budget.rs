//! What the HTTP server may cost: so much work a second, and a little ahead. More than that waits,
//! in the order in which it came.
//!
//! HA polls a few times a second, which is never held back. A flood is: the thread that answers it
//! is not the replay's, but the core may be. Work is counted in calls to the system and answers,
//! each some microseconds, not measured: the same requests always cost the same.
//!
//! ```text
//!   a connection ──▶ its own Share ─┬─ kept ─────▶ light: waits only while the light ones by
//!                                   │              themselves have spent the budget
//!                                   └─ exceeded ─▶ heavy: waits while all together have spent it,
//!                                                  after the light ones
//! ```
//!
//! All connections come from one host, so who is HA cannot be told from the address. It is told
//! from what a connection has asked for: newcomers begin light, and one that floods stays heavy
//! until its debt is paid with time.

use std::time::Duration;

use crate::clock::Now;
use crate::limits::{
    HTTP_SHARE_AHEAD, HTTP_SHARE_DEBT_MAX, HTTP_SHARE_EACH, HTTP_WORK_AHEAD, HTTP_WORK_EACH,
    HTTP_WORK_REST,
};

/// Whether a connection keeps to its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// It does.
    Light,
    /// It has asked for more, and has not paid yet.
    Heavy,
}

/// What one connection has had.
#[derive(Debug, Default)]
pub(super) struct Share {
    paid_until: Duration,
    is_heavy: bool,
}

impl Share {
    /// So much was done for it.
    pub(super) fn charge(&mut self, work: u32, now: Now) {
        let owed = self.paid_until.saturating_sub(now.monotonic) + HTTP_SHARE_EACH * work;
        self.is_heavy |= owed > HTTP_SHARE_AHEAD;
        self.paid_until = now.after(owed.min(HTTP_SHARE_DEBT_MAX));
    }

    /// Which it is now. A debt is paid in full before it counts as light again.
    pub(super) fn weight(&mut self, now: Now) -> Weight {
        self.is_heavy &= self.paid_until > now.monotonic;
        if self.is_heavy {
            Weight::Heavy
        } else {
            Weight::Light
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// Work that was done is paid for with the time up to here.
    paid_until: Duration,
    /// Nothing is done before this.
    rests_until: Duration,
}

impl Budget {
    /// So much was done.
    pub(super) fn charge(&mut self, work: u32, now: Now) {
        self.paid_until = self.paid_until.max(now.monotonic) + HTTP_WORK_EACH * work;
        if self.paid_until - now.monotonic > HTTP_WORK_AHEAD {
            // A moment longer than needed: waking up for each single call would cost more than the
            // call.
            self.rests_until = self.paid_until - HTTP_WORK_AHEAD + HTTP_WORK_REST;
        }
    }

    /// Whether nothing more is to be done now.
    pub(super) fn is_spent(&self, now: Now) -> bool {
        now.monotonic < self.rests_until
    }

    /// When it is no longer spent; in the past if it isn't.
    pub(super) fn rests_until(&self) -> Duration {
        self.rests_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does `work` at once whenever it may, for so many milliseconds; gives how much was done.
    fn check(work: u32, ms: u64) -> u32 {
        let (mut budget, mut done) = (Budget::default(), 0);
        for now in (1000..1000 + ms).map(Now::at_ms) {
            while !budget.is_spent(now) {
                budget.charge(work, now);
                done += work;
            }
        }
        done
    }

    #[test]
    fn a_flood_gets_the_rate_and_what_may_go_ahead_and_no_more() {
        let rate = 10_000;
        let ahead = 1000;
        for work in [1, 10, 200] {
            let done = check(work, 5000);
            assert!(
                (rate * 5 - 500..=rate * 5 + ahead + work).contains(&done),
                "{work}: {done}"
            );
        }
    }

    #[test]
    fn who_polls_stays_light_and_who_floods_is_heavy_until_its_debt_is_paid() {
        let mut polls = Share::default();
        for now in (0..60_000).step_by(200).map(Now::at_ms) {
            assert_eq!(polls.weight(now), Weight::Light);
            polls.charge(4, now);
        }
        let mut floods = Share::default();
        floods.charge(40, Now::at_ms(0));
        assert_eq!(
            floods.weight(Now::at_ms(0)),
            Weight::Light,
            "a newcomer's first questions"
        );
        floods.charge(1, Now::at_ms(0));
        assert_eq!(floods.weight(Now::at_ms(1000)), Weight::Heavy);
        assert_eq!(floods.weight(Now::at_ms(1025)), Weight::Light);
        floods.charge(u32::MAX / 1000, Now::at_ms(3000));
        assert_eq!(floods.weight(Now::at_ms(12_999)), Weight::Heavy);
        assert_eq!(
            floods.weight(Now::at_ms(13_000)),
            Weight::Light,
            "a debt has an end"
        );
    }

    #[test]
    fn a_thousand_polls_a_second_never_wait() {
        let mut budget = Budget::default();
        for now in (0..10_000).map(Now::at_ms) {
            assert!(!budget.is_spent(now));
            budget.charge(4, now);
        }
    }
}
