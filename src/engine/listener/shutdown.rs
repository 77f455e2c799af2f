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

use std::os::fd::AsFd;

use crate::engine::listener::Listener;
use crate::engine::os::socket::shut_down;

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
        // Closing the socket takes it out of the poller. That alone would not end its listening at
        // once: between its fork and its exec, a child process has it open, too.
        if let Some(socket) = self.socket.take()
            && !self.is_handed_over
        {
            shut_down(socket.as_fd());
        }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mio::{Poll, Token};

    use super::*;
    use crate::config::Config;
    use crate::engine::listen_options::listener_options;
    use crate::engine::os::socket::listen;

    #[test]
    fn its_port_is_free_although_a_child_process_still_has_the_socket() {
        let poll = Poll::new().unwrap();
        let text = r#"{"network": {"port": 0, "bind": "127.0.0.1"}}"#;
        let config = Config::parse(text, Path::new("sync_server.json")).unwrap();
        let options = listener_options(&config, 100);
        let access = Box::new(|_| true);
        let mut listener = Listener::bind(options, access, poll.registry(), Token(0)).unwrap();
        let socket = listener.socket.as_ref().unwrap();
        let childs = socket.as_fd().try_clone_to_owned().unwrap();
        listener.shut();
        let again = listen(listener.local_addr(), &listener.options.socket);
        assert!(again.is_ok(), "{again:?}");
        drop(childs);
    }
}
