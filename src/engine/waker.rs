//! Wakers for mailboxes: one ends its reader's poll, one ends its reader's wait on an io_uring.

use std::io;
use std::sync::Arc;

use mio::{Poll, Token, Waker};

use crate::engine::os::eventfd::Eventfd;
use crate::engine::start_error::{StartError, system};
use crate::limits::MAILBOX_MESSAGES;
use crate::replay::mailbox::{Mailbox, Wake};

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

/// A thread's poll, the waker in it, and the mailbox that uses this waker.
pub(super) fn mailbox<T>(token: Token) -> Result<(Poll, PollWaker, Arc<Mailbox<T>>), StartError> {
    let poll = Poll::new().map_err(system("epoll"))?;
    let waker = PollWaker::new(&poll, token).map_err(system("eventfd"))?;
    let mailbox = Arc::new(Mailbox::new(MAILBOX_MESSAGES, Box::new(waker.clone())));
    Ok((poll, waker, mailbox))
}
