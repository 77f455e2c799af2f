//! Mailboxes' wakers: one that ends its reader's poll, one that ends its reader's wait on a ring.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token, Waker};

use crate::engine::os::eventfd::Eventfd;
use crate::replay::mailbox::Wake;

/// Rings by an event under its token.
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

/// Rings by a counter that the reader's ring listens to all the time. One that is rung before it
/// does ends its next wait.
pub struct EventfdWaker(Arc<Eventfd>);

impl EventfdWaker {
    /// A waker, and what is to be given to the ring.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<(Self, Arc<Eventfd>)> {
        let eventfd = Arc::new(Eventfd::new()?);
        Ok((Self(Arc::clone(&eventfd)), eventfd))
    }

    /// The same, which ends the wait of `poll` too: for a reader that waits there and has a ring
    /// besides.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn in_poll(poll: &Poll, token: Token) -> io::Result<(Self, Arc<Eventfd>)> {
        let (waker, eventfd) = Self::new()?;
        let raw = eventfd.as_fd().as_raw_fd();
        // Each ring of it is an event of its own, whether or not it was read.
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
