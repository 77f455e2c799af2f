//! The graceful end, in steps that each have an end: let what is in flight be answered, let the keeper write, let everyone go.

use std::time::Duration;

use super::Control;
use crate::clock::Now;
use crate::engine::post::After;
use crate::limits::{DRAIN_EXTRA_MS, KEEPER_END_MS, THREAD_END_MS};
use crate::replay::messages::{FeederMail, KeeperMail, WorkerMail};

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything in flight was answered for or given up in time, and all is on disk.
    Clean,
    /// Some was not: what. It is sent again at the next start.
    Cut(String),
    /// A second signal: at once.
    AtOnce,
    /// A thread failed: which, and how.
    Failed(String),
}

/// How far it is.
pub(super) enum Phase {
    /// Not begun.
    Running,
    /// Everyone lets go of what is in flight.
    Draining { until: Duration },
    /// The keeper writes what there is.
    Writing {
        until: Duration,
        cut: Option<String>,
    },
    /// The others are told to end.
    Closing {
        until: Duration,
        cut: Option<String>,
    },
}

impl Phase {
    /// When it goes on whatever happens, on the monotonic clock.
    pub(super) fn until(&self) -> Option<Duration> {
        match self {
            Self::Running => None,
            Self::Draining { until }
            | Self::Writing { until, .. }
            | Self::Closing { until, .. } => Some(*until),
        }
    }
}

impl Control {
    pub(super) fn begin_end(&mut self, now: Now) {
        let drain_until = now.after(self.settings.drain_timeout);
        tracing::info!(
            "ending: what is in flight has {:?} to be answered",
            self.settings.drain_timeout
        );
        self.drain_until = Some(drain_until);
        self.phase = Phase::Draining {
            until: drain_until.saturating_add(Duration::from_millis(DRAIN_EXTRA_MS)),
        };
        self.backends.handle_stop(now);
    }

    /// The steps of the graceful end, as far as they go by now.
    pub(super) fn end_further(&mut self, now: Now) -> Option<Ending> {
        if let Phase::Draining { until } = self.phase {
            let is_drained = self.backends.are_flushed() && self.post.is_empty();
            if !is_drained && until > now.monotonic {
                return None;
            }
            let cut = (!self.backends.are_flushed()).then(|| {
                "not everything in flight was answered in time; it is sent again at the next start"
                    .to_owned()
            });
            self.post.keeper(After::Nothing, KeeperMail::Stop);
            self.phase = Phase::Writing {
                until: now.after(Duration::from_millis(KEEPER_END_MS)),
                cut,
            };
        }
        if let Phase::Writing { until, cut } = &mut self.phase {
            if !self.keeper_done && *until > now.monotonic {
                return None;
            }
            let mut cut = cut.take();
            if !self.keeper_done {
                cut = Some(
                    "the state could not be written in time; what it lacks is sent again at the next start"
                        .to_owned(),
                );
            }
            self.post.feeder(After::Nothing, FeederMail::Stop);
            self.post.workers(After::Nothing, || WorkerMail::Stop);
            self.phase = Phase::Closing {
                until: now.after(Duration::from_millis(THREAD_END_MS)),
                cut,
            };
        }
        let Phase::Closing { until, cut } = &mut self.phase else {
            return None;
        };
        if !self.post.deliver() && *until > now.monotonic {
            return None;
        }
        Some(cut.take().map_or(Ending::Clean, Ending::Cut))
    }
}
