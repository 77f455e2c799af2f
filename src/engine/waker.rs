//! Wakers for mailboxes: one ends its reader's poll, one ends its reader's wait on an io_uring.

use std::io;
use std::sync::Arc;

use mio::{Poll, Token, Waker};

use crate::engine::os::eventfd::Eventfd;
use crate::replay::mailbox::Wake;

/// Wakes a poll by an event with its token. A poll has one; clones are the same.
#[derive(Clone)]
pub struct PollWaker(Arc<Waker>);

impl PollWaker {
    /// A waker in this poll.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        Waker::new(poll.registry(), token).map(|waker| Self(Arc::new(waker)))
    }
}

impl Wake for PollWaker {
    fn wake(&self) {
        // It fails only where its descriptor is closed, and then nobody polls any more.
        let _ = self.0.wake();
    }
}

/// Wakes an io_uring by a counter that the ring reads all the time. A wake before the ring begins
/// to read ends its next wait.
pub struct EventfdWaker(Arc<Eventfd>);

impl EventfdWaker {
    /// A waker, and the counter for the ring to read.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<(Self, Arc<Eventfd>)> {
        let eventfd = Arc::new(Eventfd::new()?);
        Ok((Self(Arc::clone(&eventfd)), eventfd))
    }
}

impl Wake for EventfdWaker {
    fn wake(&self) {
        self.0.wake();
    }
}
