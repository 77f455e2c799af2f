//! The steps of a graceful shutdown, each bounded in time.
//!
//! ```text
//!  Running ── begin ──▶ Draining ── all flushed, or drain_timeout ──▶ Writing
//!                                                                        │
//!  over ◀── all have Stop ── Closing ◀── the checkpointer is done ───────┘
//! ```

use std::time::Duration;

use crate::clock::Now;
use crate::limits::{CHECKPOINTER_END_MS, DRAIN_EXTRA_MS, THREAD_END_MS};
use crate::replay::messages::{
    CheckpointerMessage, ReaderMessage, ReconcilerMessage, WorkerMessage,
};
use crate::replay::outbox::Outbox;

const NOT_ANSWERED: &str =
    "not everything in flight was answered in time; the rest is sent again at the next start";
const NOT_WRITTEN: &str =
    "the state could not be written in time; what it lacks is sent again at the next start";

/// The current step. `cut` is what could not be finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No shutdown has begun.
    #[default]
    Running,
    /// Records in flight are being answered.
    Draining {
        /// Until this monotonic instant.
        until: Duration,
    },
    /// The checkpointer writes the last checkpoints.
    Writing {
        /// Until this monotonic instant.
        until: Duration,
        /// See the type.
        cut: Option<&'static str>,
    },
    /// Reader and workers are sent `Stop`.
    Closing {
        /// Until this monotonic instant.
        until: Duration,
        /// See the type.
        cut: Option<&'static str>,
    },
}

/// The shutdown is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// What could not be finished; `None` means that everything was.
    pub cut: Option<&'static str>,
}

impl Phase {
    /// Whether no shutdown has begun.
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self == Self::Running
    }

    /// Begins the shutdown. Records in flight have `drain_timeout` to be answered; returns the
    /// monotonic instant at which that has passed.
    pub fn begin(&mut self, drain_timeout: Duration, now: Now) -> Duration {
        let drain_until = now.after(drain_timeout);
        *self = Self::Draining {
            until: drain_until.saturating_add(Duration::from_millis(DRAIN_EXTRA_MS)),
        };
        drain_until
    }

    /// Takes all steps that can be taken by now. `are_flushed`: no backend has anything in flight.
    /// `checkpointer_done`: `CheckpointerDone` has been received.
    pub fn advance(
        &mut self,
        are_flushed: bool,
        checkpointer_done: bool,
        outbox: &mut Outbox,
        now: Now,
    ) -> Option<Over> {
        if let Self::Draining { until } = self {
            if *until > now.monotonic && !(are_flushed && outbox.is_empty()) {
                return None;
            }
            outbox.reconciler(ReconcilerMessage::Stop);
            outbox.checkpointer(CheckpointerMessage::Stop);
            *self = Self::Writing {
                until: now.after(Duration::from_millis(CHECKPOINTER_END_MS)),
                cut: (!are_flushed).then_some(NOT_ANSWERED),
            };
        }
        if let Self::Writing { until, cut } = self {
            if *until > now.monotonic && !checkpointer_done {
                return None;
            }
            let cut = if checkpointer_done {
                *cut
            } else {
                Some(NOT_WRITTEN)
            };
            outbox.reader(ReaderMessage::Stop);
            outbox.workers(|| WorkerMessage::Stop);
            *self = Self::Closing {
                until: now.after(Duration::from_millis(THREAD_END_MS)),
                cut,
            };
        }
        let Self::Closing { until, cut } = self else {
            return None;
        };
        (outbox.deliver() || *until <= now.monotonic).then_some(Over { cut: *cut })
    }

    /// When [`Phase::advance`] is due although nothing has happened, monotonic.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Running => None,
            Self::Draining { until }
            | Self::Writing { until, .. }
            | Self::Closing { until, .. } => Some(*until),
        }
    }
}
