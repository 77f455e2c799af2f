//! What a backend's state holds, and how lanes' failures add up.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Now;
use crate::replay::messages::Trouble;

/// How far the flush of the current epoch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// To be ordered.
    Due,
    /// Ordered; the checkpointer has not said `Flushed`.
    Waiting,
    /// Done, or never needed (epoch 0).
    Done,
}

#[derive(Debug)]
pub(super) enum State {
    Unresolved {
        why: String,
    },
    Down {
        why: String,
    },
    Refused,
    Up(Up),
    /// An operator wants nothing replayed to it. `is_unresolved`: its name has not been looked up
    /// with success.
    Paused {
        is_unresolved: bool,
    },
    /// The server ends: nothing is probed or opened any more.
    Ended,
}

impl State {
    /// Of one that nothing is known of: it is looked up first, or probed.
    pub(super) fn unknown(is_unresolved: bool) -> Self {
        if is_unresolved {
            Self::Unresolved {
                why: NOT_LOOKED_UP.to_owned(),
            }
        } else {
            Self::Down {
                why: NOT_PROBED.to_owned(),
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Up {
    /// `Open` was ordered.
    pub(super) opened: bool,
    /// The first good probe since which there was no gap; none: a gap is open.
    pub(super) answering_since: Option<Duration>,
    /// Probes have been good for `ttl_hold`.
    pub(super) ttl_ready: bool,
    /// What `Ttl` said last.
    pub(super) ttl_told: Option<bool>,
    /// The probe's connection stands, so that its loss would be seen.
    pub(super) watched: bool,
    /// The last probe was bad while answers came in: the next one decides.
    pub(super) suspected: bool,
    /// Answers when it came up.
    pub(super) answers_at_up: u64,
    /// Answers at the last good probe.
    pub(super) answers_at_good: u64,
    pub(super) troubles: Troubles,
}

#[derive(Debug)]
pub(super) struct Probing {
    pub(super) out: Option<Sent>,
    /// When the next may go. At least [`PROBE_AT_ONCE_GAP_MS`](crate::limits::PROBE_AT_ONCE_GAP_MS)
    /// after `last`.
    pub(super) at: Duration,
    /// When the last one went.
    pub(super) last: Option<Duration>,
    /// Whether the last one was good.
    pub(super) good: bool,
    /// One was wanted at once while one was out.
    pub(super) again: bool,
    /// A good probe is to be followed by one with the password now.
    pub(super) password_next: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) authenticated: bool,
}

#[derive(Debug)]
pub(super) struct Resolving {
    pub(super) out: bool,
    pub(super) at: Duration,
}

pub(super) const NOT_LOOKED_UP: &str = "its name has not been looked up yet";
pub(super) const BACK: &str =
    "it answers again; what was on its way to it is being taken back first";
pub(super) const NOT_PROBED: &str = "it has not been probed yet";

impl State {
    /// The state in one word, for numbers and tables.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Unresolved { .. } => "unresolved",
            Self::Down { .. } => "down",
            Self::Refused => "refused",
            Self::Up(_) => "up",
            Self::Paused { .. } => "paused",
            Self::Ended => "ended",
        }
    }

    /// Why it is not up; none where it is.
    pub(super) fn why(&self) -> Option<&str> {
        match self {
            Self::Unresolved { why } | Self::Down { why } => Some(why),
            Self::Refused => Some(
                "it refuses our user and password (401): correct the file at sync.auth_path and \
                 send SIGHUP",
            ),
            Self::Paused { .. } => {
                Some("an operator paused it; `hustdbsync ctl resume`, or a restart, ends that")
            }
            Self::Ended => Some("the server ends"),
            Self::Up(_) => None,
        }
    }
}

impl Up {
    pub(super) fn handle_good(
        &mut self,
        watched: bool,
        answers: u64,
        ttl_hold: Duration,
        now: Now,
    ) {
        self.watched = watched;
        self.suspected = false;
        self.answers_at_good = answers;
        let since = *self.answering_since.get_or_insert(now.monotonic);
        if now.monotonic.saturating_sub(since) >= ttl_hold {
            self.ttl_ready = true;
        }
    }

    /// Records with a ttl wait again until probes have been good for long enough.
    pub(super) fn begin_hold(&mut self) {
        self.answering_since = None;
        self.ttl_ready = false;
    }
}

/// Lanes that failed while no answer came in.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Answers when the first of them failed; another count voids them.
    pub(super) answers: u64,
    /// Lanes whose connection broke once: all do when a backend restarts, and the probe tells
    /// whether it is back.
    pub(super) broke: BTreeSet<u16>,
    /// Lanes that failed otherwise, or again.
    pub(super) failed: BTreeSet<u16>,
}

impl Troubles {
    /// Counts one and says how many lanes have failed while no answer came in.
    pub(super) fn count(&mut self, lane: u16, trouble: &Trouble, answers: u64) -> usize {
        if answers != self.answers {
            *self = Self {
                answers,
                ..Self::default()
            };
        }
        let first_break = matches!(trouble, Trouble::Connection(_)) && self.broke.insert(lane);
        if !first_break {
            self.failed.insert(lane);
        }
        self.failed.len()
    }
}
