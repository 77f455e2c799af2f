//! A connection that nothing is sent on, and what may become of it meanwhile.
//!
//! Firewalls, balancers and address translators forget connections that are idle, most of them
//! without a word to either end. What is sent next is then answered with a reset, or not at all.
//! That is no outage of the backend: it says nothing about what becomes of another connection.

use std::time::Duration;

use super::{Lane, LaneContext, LaneSettings, State, Step};
use crate::limits::IDLE_MAY_BE_LOST;
use crate::replay::in_flight::Kind;

/// The state of a connection that has nothing outstanding from now on.
pub(super) fn ready(cx: &LaneContext<'_>) -> State {
    State::Ready {
        since: cx.now.monotonic,
    }
}

/// Until when a connection may be idle that has been since then, monotonic.
pub(super) fn idle_until(since: Duration, settings: &LaneSettings) -> Duration {
    since.saturating_add(settings.idle_timeout)
}

impl Lane {
    /// Whether the burst that is out, and that has failed with its connection, may never have
    /// reached the backend because its connection had been idle. Once for each record: otherwise
    /// one whose fault it is would be tried without end, and nobody would count. And only where the
    /// connection had worked: one that never did is not one that was forgotten.
    pub(super) fn may_be_lost_idle(&self) -> bool {
        let front_is_lost = self.pending.front().is_none_or(|front| front.lost_idle);
        self.idle_before >= IDLE_MAY_BE_LOST
            && self.answers > 0
            && self.in_flight.is_unanswered()
            && self.received.is_empty()
            && self.in_flight.next().kind != Kind::Health
            && !self.has_canary()
            && !front_is_lost
    }

    /// Makes another connection at once, and starts at the front again. What was sent may have been
    /// applied, as after any other loss.
    pub(super) fn connect_again(&mut self, cx: &LaneContext<'_>) -> Step {
        self.lookups_from = cx.settings.lookups_from(cx.now);
        if failpoint!(ForgetIdleLoss) {
            let out = self.pending.iter_mut().take(self.in_flight.unanswered());
            out.for_each(|lost| lost.maybe_sent = false);
        }
        self.pending[0].lost_idle = true;
        self.disconnect(State::Idle);
        Step::Close
    }
}
