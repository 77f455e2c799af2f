//! The steps of a graceful end, each bounded in time.
//!
//! ```text
//!  Running ── begin ──▶ Draining ── all flushed, or drain_timeout ──▶ Writing ── checkpointer is done ──▶ Closing ── all are told ──▶ over
//! ```

use std::time::Duration;

use crate::clock::Now;
use crate::limits::{CHECKPOINTER_END_MS, DRAIN_EXTRA_MS, THREAD_END_MS};
use crate::replay::messages::{CheckpointerMessage, ReaderMessage, WorkerMessage};
use crate::replay::outbox::{After, Outbox};

const NOT_ANSWERED: &str =
    "not everything in flight was answered in time; it is sent again at the next start";
const NOT_WRITTEN: &str =
    "the state could not be written in time; what it lacks is sent again at the next start";

/// How far the end is. `cut`: what had to be left undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun.
    #[default]
    Running,
    /// What is in flight is being answered.
    Draining {
        /// Until this monotonic instant.
        until: Duration,
    },
    /// The checkpointer writes what there is.
    Writing {
        /// Until this monotonic instant.
        until: Duration,
        /// See the type.
        cut: Option<&'static str>,
    },
    /// Everyone is being told.
    Closing {
        /// Until this monotonic instant.
        until: Duration,
        /// See the type.
        cut: Option<&'static str>,
    },
}

/// The end is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// What had to be left undone; none: nothing.
    pub cut: Option<&'static str>,
}

impl Phase {
    /// Whether it has not begun.
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self == Self::Running
    }

    /// Begins it. What is in flight has `drain_timeout` to be answered; gives the monotonic instant
    /// of its end.
    pub fn begin(&mut self, drain_timeout: Duration, now: Now) -> Duration {
        let drain_until = now.after(drain_timeout);
        *self = Self::Draining {
            until: drain_until.saturating_add(Duration::from_millis(DRAIN_EXTRA_MS)),
        };
        drain_until
    }

    /// Goes as far as it can by now. `are_flushed`: nothing of any backend is in anyone's hands.
    /// `checkpointer_done`: it has said so.
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
            outbox.checkpointer(After::Nothing, CheckpointerMessage::Stop);
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
            outbox.reader(After::Nothing, ReaderMessage::Stop);
            outbox.workers(After::Nothing, || WorkerMessage::Stop);
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

    /// When [`Phase::advance`] is wanted although nothing has happened, monotonic.
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
