//! The HTTP server's end, in which nobody who was let in goes without an answer.
//!
//! ```text
//!  open ── begin_end ──▶ each answer closes its connection
//!       ── shut ──▶ no more connections are accepted
//!       ── is_quiet, or time is up ──▶ dropped
//! ```
//!
//! Whoever keeps a connection open learns by an answer that it ends, and comes back on a new one.
//! What waits to be accepted after [`Listener::shut`] is refused with a socket of our own; with one
//! that systemd holds it waits for the process that comes next.

use crate::engine::listener::Listener;

impl Listener {
    /// From now on each answer is the last of its connection, and says so.
    pub(crate) fn begin_end(&mut self) {
        self.is_ending = true;
        for (_, connection) in &mut self.connections {
            connection.http.end_with_next_answer();
        }
    }

    /// Lets nobody in any more.
    pub fn shut(&mut self) {
        // Closing the socket takes it out of the poller.
        self.socket = None;
        self.accept_at = None;
    }

    /// Whether nobody is owed an answer: all connections have had theirs, or have asked for nothing
    /// since the last.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.connections.iter().all(|(_, connection)| {
            let http = &connection.http;
            let was_answered = http.answered() > 0 && http.is_idle();
            was_answered || http.closing() && http.outgoing().is_empty()
        })
    }
}
