//! What is wrong with a backend's state, and when the next attempt is due.

use std::time::Duration;

use crate::clock::Now;
use crate::pace::retry_delay;
use crate::replay::checkpointer::store::StoreError;
use crate::replay::messages::{BackendInfo, ControlMessage, ReaderMessage};
use crate::replay::outbox::Outbox;

/// Why state cannot be read or written, if it cannot.
#[derive(Debug, Default)]
pub(super) struct Fault(Option<Cause>);

#[derive(Debug)]
struct Cause {
    text: String,
    /// Failed attempts in a row.
    failures: u32,
    retry_at: Duration,
}

impl Fault {
    pub(super) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|cause| cause.text.as_str())
    }

    /// When the next attempt is due; `None` if nothing is wrong.
    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.0.as_ref().map(|cause| cause.retry_at)
    }

    /// Failed attempts in a row.
    pub(super) fn failures(&self) -> u32 {
        self.0.as_ref().map_or(0, |cause| cause.failures)
    }

    /// An attempt has failed. A new fault pauses the backend; its text is reported when it differs
    /// from the last one.
    pub(super) fn raise(
        &mut self,
        error: &StoreError,
        info: &BackendInfo,
        outbox: &mut Outbox,
        now: Now,
    ) {
        let (text, failures) = (error.to_string(), self.failures() + 1);
        info.counters.state_failures.add(1);
        info.counters.state_faulty.set(1);
        if self.text() != Some(&text) {
            tracing::error!(
                backend = &*info.name,
                cause = text,
                "its state cannot be written, so nothing more is read for it; it is tried again"
            );
            outbox.control(ControlMessage::StoreFault {
                backend: info.id,
                fault: Some(text.clone()),
            });
        }
        if !self.is_some() {
            outbox.reader(ReaderMessage::StorePaused {
                backend: info.id,
                paused: true,
            });
        }
        let retry_at = now.after(retry_delay(failures));
        self.0 = Some(Cause {
            text,
            failures,
            retry_at,
        });
    }

    /// An attempt has succeeded.
    pub(super) fn clear(&mut self, info: &BackendInfo, outbox: &mut Outbox) {
        if self.0.take().is_some() {
            info.counters.state_faulty.set(0);
            tracing::info!(backend = &*info.name, "its state can be written again");
            outbox.control(ControlMessage::StoreFault {
                backend: info.id,
                fault: None,
            });
            outbox.reader(ReaderMessage::StorePaused {
                backend: info.id,
                paused: false,
            });
        }
    }
}
