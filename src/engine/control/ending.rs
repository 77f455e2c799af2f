//! The graceful end: its steps are [`Phase`](crate::replay::ending::Phase)'s.

use super::Control;
use crate::clock::Now;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything in flight was answered for or given up in time, and all is on disk.
    Clean,
    /// Some was not: what. It is sent again at the next start.
    Cut(String),
    /// A second signal: at once.
    AtOnce,
    /// A thread failed: which, and how.
    Failed(String),
}

impl Control {
    pub(super) fn begin_end(&mut self, now: Now) {
        tracing::info!(
            "ending: what is in flight has {:?} to be answered",
            self.settings.drain_timeout
        );
        self.drain_until = Some(self.phase.begin(self.settings.drain_timeout, now));
        self.backends.handle_stop(now);
    }

    /// The steps of the graceful end, as far as they go by now.
    pub(super) fn end_further(&mut self, now: Now) -> Option<Ending> {
        let are_flushed = self.backends.are_flushed();
        let over = self
            .phase
            .advance(are_flushed, self.keeper_done, &mut self.post, now)?;
        Some(
            over.cut
                .map_or(Ending::Clean, |cut| Ending::Cut(cut.to_owned())),
        )
    }
}
