//! What whoever started the engine, and its own threads when they fail, share with the control
//! thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::lifecycle::Lifecycle;
use crate::replay::controller::States;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::ControlMessage;

/// Backends with their states and numbers.
pub(crate) type Published = Arc<States>;

/// See the module.
pub struct Shared {
    control: Arc<Mailbox<ControlMessage>>,
    stop: AtomicBool,
    reload: AtomicBool,
    /// How the first thread failed that did.
    failure: OnceLock<String>,
    /// Replaced as a whole when a state changes; its lock is held for a pointer's copy only.
    published: Mutex<Published>,
    /// How far this process is in its life, for systemd.
    pub(crate) lifecycle: Lifecycle,
}

impl Shared {
    /// Nothing asked for, nothing failed.
    #[must_use]
    pub fn new(control: Arc<Mailbox<ControlMessage>>) -> Self {
        Self {
            control,
            stop: AtomicBool::new(false),
            reload: AtomicBool::new(false),
            failure: OnceLock::new(),
            published: Mutex::default(),
            lifecycle: Lifecycle::default(),
        }
    }

    /// Asks for the graceful end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.control.wake();
    }

    /// Whether the graceful end is asked for.
    #[must_use]
    pub(crate) fn is_stop_wanted(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Asks for the configuration to be read again, as SIGHUP does.
    #[cfg(feature = "testing")]
    pub fn reload(&self) {
        self.reload.store(true, Ordering::SeqCst);
        self.control.wake();
    }

    /// Whether the configuration is to be read again.
    #[must_use]
    pub(crate) fn is_reload_wanted(&self) -> bool {
        self.reload.load(Ordering::SeqCst)
    }

    /// The same, once.
    pub(crate) fn take_reload(&self) -> bool {
        self.reload.swap(false, Ordering::SeqCst)
    }

    /// A thread has failed: all must end. The first failure counts.
    pub fn fail(&self, how: String) {
        let _ = self.failure.set(how);
        self.control.wake();
    }

    /// Whether a thread has failed.
    #[must_use]
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// How a thread has failed, if one has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    pub(crate) fn publish(&self, states: States) {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(states);
    }

    pub(crate) fn published(&self) -> Published {
        Arc::clone(
            &self
                .published
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}
