//! How far this process is in its life.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::Thread;

/// How far this process is in its life. Written by control and by whoever waits for the end; read
/// here.
#[derive(Default)]
pub(crate) struct Lifecycle {
    pub(super) reloads_begun: AtomicU32,
    pub(super) reloads_ended: AtomicU32,
    pub(super) is_stopping: AtomicBool,
    pub(super) is_over: AtomicBool,
    pub(super) notifier: OnceLock<Thread>,
}

impl Lifecycle {
    pub(crate) fn begin_reload(&self) {
        self.reloads_begun.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn end_reload(&self) {
        // One end is for all that were asked for by then: they are read together.
        let begun = self.reloads_begun.load(Ordering::SeqCst);
        self.reloads_ended.store(begun, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// All threads have ended but this one.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if let Some(notifier) = self.notifier.get() {
            notifier.unpark();
        }
    }

    pub(super) fn now(&self) -> Stage {
        // The ends first: one that comes between the two reads is then told the next time.
        let ended = self.reloads_ended.load(Ordering::SeqCst);
        Stage {
            reloads_begun: self.reloads_begun.load(Ordering::SeqCst),
            reloads_ended: ended,
            is_stopping: self.is_stopping.load(Ordering::SeqCst),
        }
    }
}

/// [`Lifecycle`] at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) reloads_begun: u32,
    pub(super) reloads_ended: u32,
    pub(super) is_stopping: bool,
}
