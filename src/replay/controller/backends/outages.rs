//! Passes signs of life to a backend's [`Gate`](crate::replay::reachability::gate::Gate), which
//! knows when the backend could be reached, and decides when records may be sent to it.

use super::{Backend, Context, ProbeResult};
use crate::clock::Now;

impl Backend {
    /// Tells the gate if there were answers since it was told last. Called before a probe's result
    /// is noted: an outage must not go on over answers that are older than it (G4).
    pub(super) fn note_answers(&mut self, answers: u64, now: Now) {
        if std::mem::replace(&mut self.answers_seen, answers) != answers {
            self.gate.history.handle_answered(now);
        }
    }

    /// Passes a probe's result to the gate.
    pub(super) fn note_sign(&mut self, result: &ProbeResult, answers: u64, now: Now) {
        let history = &mut self.gate.history;
        let (begun, answers_then) = self.probe_begun;
        match result {
            ProbeResult::Closed(_) => history.handle_refused(now),
            ProbeResult::Silent(_) if answers == answers_then => history.handle_silent(begun, now),
            // A process that has ended since may have closed the connection; the next probe shows
            // the present state.
            ProbeResult::Lost => {}
            _ => history.handle_answered(now),
        }
    }

    /// Has records sent to it once the stored outages are removed, since they would claim that
    /// nothing was sent (guarantees, G4).
    pub(super) fn pass_gate(&mut self, cx: &mut Context<'_>) {
        self.note_answers(self.info.counters.answers.load(), cx.now);
        cx.outbox.keep_outages(self.info.id, &mut self.gate);
        let Some(address) = self.address else {
            return;
        };
        if let Some(opened) = self.gate.poll_opened() {
            cx.outbox.open(&self.info, opened, address, &self.lane);
        }
    }
}
