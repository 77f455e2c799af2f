//! Graceful shutdown. Its steps are in [`Phase`](crate::replay::ending::Phase).

use std::io;

use mio::Events;

use super::Control;
use crate::engine::wait::wait;
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
    /// Accepts no more connections, and answers the requests of open ones for [`SHUTDOWN_GRACE`].
    pub(super) fn answer_last(&mut self, events: &mut Events) -> io::Result<()> {
        self.listener.shut();
        let until = self.clock.now().after(SHUTDOWN_GRACE);
        loop {
            let now = self.clock.now();
            let mut answers = self.http_server.with(self.controller.board_mut());
            self.listener
                .handle_deadlines(self.poll.registry(), now, &mut answers);
            let left = until.saturating_sub(now.monotonic);
            if self.listener.is_quiet() || left.is_zero() {
                return Ok(());
            }
            let due = self.listener.next_deadline();
            let timeout = due.map_or(left, |due| left.min(due.saturating_sub(now.monotonic)));
            wait(&mut self.poll, events, Some(timeout))?;
            let now = self.clock.now();
            for event in &*events {
                if self.listener.owns(event.token()) {
                    let mut answers = self.http_server.with(self.controller.board_mut());
                    self.listener
                        .handle_event(event, self.poll.registry(), now, &mut answers);
                }
            }
        }
    }
}
