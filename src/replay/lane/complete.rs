//! How records leave a lane: acknowledged or rejected, always from the front.

use super::raw_line::line_of;
use super::{Lane, LaneContext};
use crate::replay::outcome::Settlement;

impl Lane {
    pub(super) fn settle_front(
        &mut self,
        settlement: Settlement,
        expired: bool,
        cx: &mut LaneContext<'_>,
    ) {
        let front = self.pending[0];
        if expired {
            cx.counters.expired.add(1);
        }
        cx.results
            .settle(cx.held, front.batch, front.line, settlement);
        self.pop_front(cx);
    }

    pub(super) fn reject_front(
        &mut self,
        reason: &'static str,
        detail: String,
        cx: &mut LaneContext<'_>,
    ) {
        let front = self.pending[0];
        let raw = line_of(cx.held, front.batch, front.at, front.bytes);
        cx.results
            .reject(cx.held, front.batch, front.line, reason, detail, raw);
        self.pop_front(cx);
    }

    fn pop_front(&mut self, cx: &mut LaneContext<'_>) {
        let front = self
            .pending
            .pop_front()
            .expect("a settled record was waiting");
        self.completed += 1;
        if let Some(member) = front.member {
            self.resends.handle_settled(member);
        }
        self.poison.forget(cx.held, front);
        if let Some(chunk) = cx.held.complete_one(front.batch) {
            cx.results.release(chunk);
        }
    }
}
