//! Wakers for mailboxes: one ends its reader's poll, one ends its reader's wait on an io_uring.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token, Waker};

use crate::engine::os::eventfd::Eventfd;
use crate::replay::mailbox::Wake;

/// Wakes a poll by an event with its token.
pub struct PollWaker(Waker);

impl PollWaker {
    /// A waker in this poll.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        Waker::new(poll.registry(), token).map(Self)
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

    /// The same, which also ends the wait of `poll`: for a reader that waits there and has a ring
    /// as well.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn in_poll(poll: &Poll, token: Token) -> io::Result<(Self, Arc<Eventfd>)> {
        let (waker, eventfd) = Self::new()?;
        let raw = eventfd.as_fd().as_raw_fd();
        // Each wake is an event of its own, whether or not the counter was read.
        poll.registry()
            .register(&mut SourceFd(&raw), token, Interest::READABLE)?;
        Ok((waker, eventfd))
    }
}

impl Wake for EventfdWaker {
    fn wake(&self) {
        self.0.wake();
    }
}
