//! How often one key is looked at again, and after how long.

use std::time::Duration;

use crate::clock::Now;
use crate::limits::{
    RECONCILE_BAD_ANSWERS_FOR, RECONCILE_BAD_ANSWERS_MAX, RECONCILE_LOOK_AGAIN,
    RECONCILE_WAIT_DOUBLINGS,
};
use crate::reconcile::settings::ReconcileSettings;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// How often the key was found to differ.
    differences: u32,
    /// How often answers came too late, or too far apart, for anything to be decided by them.
    late: u32,
    /// Since when its writes are answered wrongly or not at all, monotonic, and how often.
    bad: Option<(Duration, u32)>,
}

impl Patience {
    /// How often the key was found to differ, save by tries that a master did not answer.
    pub(super) fn differences(&self) -> u32 {
        self.differences
    }

    /// The key differs, or is another by now. Returns whether that was once too often.
    #[must_use]
    pub(super) fn handle_difference(&mut self, settings: &ReconcileSettings) -> bool {
        self.differences += 1;
        is_used_up(self.differences, settings)
    }

    /// Answers came too late. Returns whether that was once too often.
    #[must_use]
    pub(super) fn handle_late(&mut self, settings: &ReconcileSettings) -> bool {
        self.late += 1;
        is_used_up(self.late, settings)
    }

    /// A write may have been lost: the try does not count.
    pub(super) fn handle_lost(&mut self) {
        self.differences = self.differences.saturating_sub(1).max(1);
    }

    /// A write was answered wrongly or not at all. Returns whether none is to be tried again.
    #[must_use]
    pub(super) fn handle_bad_answer(&mut self, now: Now) -> bool {
        let (since, times) = self.bad.unwrap_or((now.monotonic, 0));
        self.bad = Some((since, times + 1));
        let lasts = now.monotonic.saturating_sub(since);
        times >= RECONCILE_BAD_ANSWERS_MAX && lasts > RECONCILE_BAD_ANSWERS_FOR
    }

    /// A write is done.
    pub(super) fn handle_written(&mut self) {
        self.bad = None;
    }

    /// How long to wait before the key is looked at again. One that is written again and again is
    /// given more time each time.
    pub(super) fn wait(&self) -> Duration {
        let doublings = self.differences.saturating_sub(1);
        RECONCILE_LOOK_AGAIN * (1 << doublings.min(RECONCILE_WAIT_DOUBLINGS))
    }
}

/// The first of them is no attempt of a mend.
fn is_used_up(times: u32, settings: &ReconcileSettings) -> bool {
    times > settings.attempts + 1
}
