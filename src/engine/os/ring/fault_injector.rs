//! Where tests make a ring's operations fail, and their completions come in another order: the
//! kernel can't be asked to.
//!
//! An operation that is made to fail never reaches the kernel, so that its memory is not in use
//! when its completion says so.

use super::socket::SendMode;

/// An operation, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Connect,
    Send,
    /// Receives, again and again.
    Receive,
    /// Ends another one.
    Cancel,
    /// Listens to the waker.
    Wake,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectedResult {
    /// What the kernel makes of it.
    Goes,
    /// It completes with this error.
    #[cfg_attr(
        not(feature = "testing"),
        allow(dead_code, reason = "the product injects nothing")
    )]
    Fails(i32),
    /// Half of what is to be sent is; what is received or rung comes once, and the operation is
    /// over.
    Part,
}

/// Decides.
pub trait FaultInjector: Send {
    /// About an operation that is about to be pushed.
    fn injected(&mut self, _: Operation) -> InjectedResult {
        InjectedResult::Goes
    }

    /// About a send, which waits for room or does not.
    fn send_injected(&mut self, _: SendMode) -> InjectedResult {
        self.injected(Operation::Send)
    }

    /// About completions that have come: which of so many is handled next, or `None` where they
    /// wait for the next look. What the kernel keeps in order stays so.
    fn next_completion(&mut self, waiting: usize) -> Option<usize> {
        (waiting > 0).then_some(0)
    }

    /// About a call that submits and waits: the error that it ends with, instead of being made.
    fn enter_fails(&mut self) -> Option<i32> {
        None
    }
}
