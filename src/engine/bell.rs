//! A mailbox's bell that ends its reader's poll.

use std::io;

use mio::{Poll, Token, Waker};

use crate::replay::mailbox::Bell;

/// Rings by an event under its token.
pub struct WakerBell(Waker);

impl WakerBell {
    /// A bell in this poll.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(poll: &Poll, token: Token) -> io::Result<Self> {
        Waker::new(poll.registry(), token).map(Self)
    }
}

impl Bell for WakerBell {
    fn ring(&self) {
        // It fails only where its descriptor is closed, and then nobody polls any more.
        let _ = self.0.wake();
    }
}
