//! Reloads the configuration (SIGHUP) on a thread of its own, since the controller touches no disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::engine::settings::Settings;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::ControlMessage;

/// The result of a reload.
pub struct Reloaded {
    /// The settings that all threads use from now on.
    pub settings: Settings,
    /// What has changed and what needs a restart, a sentence each.
    pub said: Vec<String>,
}

/// Reads the configuration again. The error tells why nothing changes.
pub type Reload = Arc<dyn Fn() -> Result<Reloaded, String> + Send + Sync>;

/// Where the result is left.
type Slot = Mutex<Option<Result<Reloaded, String>>>;

fn locked(slot: &Slot) -> MutexGuard<'_, Option<Result<Reloaded, String>>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Reloading {
    reload: Reload,
    control: Arc<Mailbox<ControlMessage>>,
    slot: Arc<Slot>,
    /// A thread is reading it.
    is_running: bool,
    /// Another reload was requested meanwhile.
    again: bool,
}

impl Reloading {
    pub(super) fn new(reload: Reload, control: Arc<Mailbox<ControlMessage>>) -> Self {
        Self {
            reload,
            control,
            slot: Arc::default(),
            is_running: false,
            again: false,
        }
    }

    /// Begins a reload. One runs at a time; if more are requested meanwhile, one more follows.
    pub(super) fn begin(&mut self) {
        if self.is_running {
            self.again = true;
            return;
        }
        self.is_running = true;
        let (reload, control) = (Arc::clone(&self.reload), Arc::clone(&self.control));
        let slot = Arc::clone(&self.slot);
        let started = thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reload()));
                *locked(&slot) = Some(read.unwrap_or_else(|_| {
                    Err("reading it failed, which is a defect of hustdbsync".to_owned())
                }));
                control.wake();
            });
        if let Err(error) = started {
            *locked(&self.slot) = Some(Err(format!("there is no thread to read it on: {error}")));
        }
    }

    /// Whether [`Reloading::take`] has something.
    pub(super) fn is_ready(&self) -> bool {
        locked(&self.slot).is_some()
    }

    /// The result, once.
    pub(super) fn take(&mut self) -> Option<Result<Reloaded, String>> {
        let result = locked(&self.slot).take()?;
        self.is_running = false;
        if std::mem::take(&mut self.again) {
            self.begin();
        }
        Some(result)
    }
}
