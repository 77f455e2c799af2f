//! A thread's mailbox: one bounded lock-free queue, and a bell that is rung only when its reader sleeps.
//!
//! Protocol of the bell. The reader says that it is about to sleep ([`Mailbox::prepare_sleep`]), looks into the queue once
//! more, and only then blocks. A sender pushes first and looks for a sleeper second. Whichever of the two comes
//! later in the total order of these sequentially consistent steps sees the other's: no message waits for a bell that nobody rings.

use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::ArrayQueue;

/// Wakes the thread that reads a mailbox. Ringing twice is harmless.
pub trait Bell: Send + Sync {
    /// Makes the reader's blocking wait return, now or the next time it is entered.
    fn ring(&self);
}

/// A bell for a reader that never sleeps, as in a simulation.
#[derive(Debug, Default)]
pub struct NoBell;

impl Bell for NoBell {
    fn ring(&self) {}
}

/// The queue and its bell. Any thread may send, one reads.
pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    asleep: AtomicBool,
    bell: Box<dyn Bell>,
}

impl<T> Mailbox<T> {
    /// A mailbox for `capacity` messages.
    #[must_use]
    pub fn new(capacity: usize, bell: Box<dyn Bell>) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            asleep: AtomicBool::new(false),
            bell,
        }
    }

    /// Puts a message in and wakes the reader if it sleeps.
    ///
    /// # Errors
    /// Gives the message back when the mailbox is full; the sender keeps it and tries again.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.queue.push(message)?;
        self.wake();
        Ok(())
    }

    /// Wakes the reader if it sleeps, as after a change of shared state that it will look at.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            self.bell.ring();
        }
    }

    /// The oldest message.
    pub fn receive(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Says that the reader is about to block. False: a message is there, do not.
    pub fn prepare_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.awake();
        false
    }

    /// Says that the reader is awake: senders need not ring.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Messages waiting.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Counted(Arc<AtomicUsize>);

    impl Bell for Counted {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn mailbox(capacity: usize) -> (Mailbox<u32>, Arc<AtomicUsize>) {
        let rings = Arc::new(AtomicUsize::new(0));
        (
            Mailbox::new(capacity, Box::new(Counted(Arc::clone(&rings)))),
            rings,
        )
    }

    #[test]
    fn a_full_mailbox_gives_the_message_back() {
        let (mailbox, _) = mailbox(1);
        assert_eq!(mailbox.send(1), Ok(()));
        assert_eq!(mailbox.send(2), Err(2));
        assert_eq!(mailbox.receive(), Some(1));
    }

    #[test]
    fn the_bell_rings_once_for_a_sleeper_and_never_for_the_wakeful() {
        let (mailbox, rings) = mailbox(8);
        mailbox.send(1).unwrap();
        assert_eq!(rings.load(Ordering::Relaxed), 0);
        assert!(!mailbox.prepare_sleep(), "a message waits");
        mailbox.receive();
        assert!(mailbox.prepare_sleep());
        mailbox.send(2).unwrap();
        mailbox.send(3).unwrap();
        assert_eq!(rings.load(Ordering::Relaxed), 1);
    }
}
