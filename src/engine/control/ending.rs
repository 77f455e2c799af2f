//! Graceful shutdown. Its steps are in [`Phase`](crate::replay::ending::Phase).

use std::io::{self, ErrorKind};

use mio::Events;

use super::Control;
use crate::clock::Now;
use crate::limits::SHUTDOWN_GRACE;

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All records in flight were answered or given up in time, and everything is on disk.
    Clean,
    /// Something could not be finished: what. It is sent again at the next start.
    Cut(String),
    /// At once, by a second signal.
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
        self.listener.begin_end();
        self.links.shared.lifecycle.stop();
    }

    /// Accepts no more connections, and answers the requests of open ones for [`SHUTDOWN_GRACE`].
    pub(super) fn answer_last(&mut self, events: &mut Events) -> io::Result<()> {
        self.listener.shut();
        let until = self.clock.now().after(SHUTDOWN_GRACE);
        loop {
            let now = self.clock.now();
            self.listener
                .handle_deadlines(self.poll.registry(), now, &mut self.http_server);
            let left = until.saturating_sub(now.monotonic);
            if self.listener.is_quiet() || left.is_zero() {
                return Ok(());
            }
            let due = self.listener.next_deadline();
            let timeout = due.map_or(left, |due| left.min(due.saturating_sub(now.monotonic)));
            match self.poll.poll(events, Some(timeout)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = self.clock.now();
            for event in &*events {
                if self.listener.owns(event.token()) {
                    self.listener.handle_event(
                        event,
                        self.poll.registry(),
                        now,
                        &mut self.http_server,
                    );
                }
            }
        }
    }

    /// Takes all steps of the shutdown that can be taken by now.
    pub(super) fn end_further(&mut self, now: Now) -> Option<Ending> {
        let are_flushed = self.backends.are_flushed();
        let over =
            self.phase
                .advance(are_flushed, self.checkpointer_done, &mut self.outbox, now)?;
        Some(
            over.cut
                .map_or(Ending::Clean, |cut| Ending::Cut(cut.to_owned())),
        )
    }
}
