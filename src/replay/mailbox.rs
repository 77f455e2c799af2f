//! A thread's mailbox: one bounded lock-free queue, and a waker that is used only when its reader
//! sleeps.
//!
//! Protocol. The reader sets a flag that it is about to sleep ([`Mailbox::prepare_sleep`]), looks
//! into the queue once more, and only then blocks. A sender pushes its message first and checks the
//! flag second. Whichever of the two comes later in the total order of these sequentially
//! consistent steps sees the other's, so no message waits for a reader that nobody wakes. The same
//! holds for other shared state that is followed by [`Mailbox::wake`], if the reader checks it in
//! [`Mailbox::prepare_sleep_unless`]. `tests/model` runs every interleaving.
//!
//! A reader that has nothing to do may be content ([`Mailbox::set_content`]): then what can wait
//! ([`Mailbox::send_for_later`]) does not wake it, unless much of it has come. Whoever begins to
//! need what a content reader leaves waiting says so by [`Mailbox::wake_content`].

use std::sync::atomic::AtomicU64;

use super::sync::{ArrayQueue, AtomicBool, Ordering, fence};

/// Wakes the thread that reads a mailbox. Waking it twice is harmless.
pub trait Wake: Send + Sync {
    /// Ends the reader's blocking wait: the current one, or else the next.
    fn wake(&self);

    /// Ends it only where the reader waits for what can wait, too.
    fn wake_for_later(&self) {
        self.wake();
    }
}

/// A waker for a reader that never sleeps, as in a simulation.
#[cfg(feature = "testing")]
#[derive(Debug, Default)]
pub struct NoWaker;

#[cfg(feature = "testing")]
impl Wake for NoWaker {
    fn wake(&self) {}
}

/// The queue and its waker. Any thread may send, one reads.
pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    asleep: AtomicBool,
    /// Its reader, asleep, does not wait for what can wait. Only the reader writes it, and before
    /// it says that it sleeps.
    content: AtomicBool,
    /// From so many messages on a content reader is woken all the same.
    many: usize,
    waker: Box<dyn Wake>,
    /// Turns that its reader has begun; reported only, no decision depends on it.
    turns: AtomicU64,
}

impl<T> Mailbox<T> {
    /// A mailbox for `capacity` messages.
    #[must_use]
    pub fn new(capacity: usize, waker: Box<dyn Wake>) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            asleep: AtomicBool::new(false),
            content: AtomicBool::new(false),
            many: capacity.div_ceil(2),
            waker,
            turns: AtomicU64::new(0),
        }
    }

    /// Puts a message in and wakes the reader if it sleeps.
    ///
    /// # Errors
    /// Returns the message when the mailbox is full; the sender keeps it and tries again.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.queue.push(message)?;
        self.wake();
        Ok(())
    }

    /// Puts a message in that can wait until its reader wakes up for something else. It does not
    /// wake the reader: call [`Mailbox::wake_for_later`] behind it.
    ///
    /// # Errors
    /// As [`Mailbox::send`].
    pub fn send_for_later(&self, message: T) -> Result<(), T> {
        self.queue.push(message)
    }

    /// Wakes the reader only if it is not content, or if the mailbox is half full.
    pub fn wake_for_later(&self) {
        fence(Ordering::SeqCst);
        if !self.content.load(Ordering::Relaxed) || self.queue.len() >= self.many {
            self.wake();
        }
    }

    /// Wakes the reader if it sleeps, as after a change of shared state that it will look at.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Wakes the reader if it sleeps content, as what it leaves waiting is needed from now on.
    pub fn wake_content(&self) {
        fence(Ordering::SeqCst);
        if self.content.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// The oldest message.
    pub fn receive(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether the reader, when it sleeps next, does not wait for what can wait. Only the reader
    /// calls this, while it is awake.
    pub fn set_content(&self, content: bool) {
        self.content.store(content, Ordering::Relaxed);
    }

    /// What its reader said last by [`Mailbox::set_content`].
    #[must_use]
    pub fn is_content(&self) -> bool {
        self.content.load(Ordering::Relaxed)
    }

    /// Announces that the reader is about to block. Returns false if there is a message: then it
    /// must not.
    #[must_use]
    pub fn prepare_sleep(&self) -> bool {
        self.prepare_sleep_unless(|| false)
    }

    /// The same, for a reader that waits for more than its messages: `came` returns whether any of
    /// that has come. Its writer writes it first and calls [`Mailbox::wake`] second.
    #[must_use]
    pub fn prepare_sleep_unless(&self, came: impl FnOnce() -> bool) -> bool {
        // A swap costs what such a store does, and its place among the senders' swaps is known even
        // to the model checker.
        self.asleep.swap(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() && !came() {
            return true;
        }
        self.awake();
        false
    }

    /// The reader is awake: senders need not wake it.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// The reader begins a turn, or gets on in one that is long. Only the reader calls this.
    pub fn note_turn(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        self.turns.store(turns.wrapping_add(1), Ordering::Relaxed);
    }

    /// How many turns the reader has begun, whether it sleeps or not. If this does not grow
    /// although the reader was woken, the reader hangs.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// How many turns the reader has begun; `None` while it sleeps.
    #[must_use]
    pub fn liveness(&self) -> Option<u64> {
        (!self.asleep.load(Ordering::Relaxed)).then(|| self.turns.load(Ordering::Relaxed))
    }

    /// Messages waiting.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl<T: Send> Wake for Mailbox<T> {
    fn wake(&self) {
        Self::wake(self);
    }

    fn wake_for_later(&self) {
        Self::wake_for_later(self);
    }
}
