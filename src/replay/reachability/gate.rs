//! Stores outages on disk, and sends nothing before they are removed from there.
//!
//! The score of an increment that an earlier process may have sent must be looked up. So stored
//! outages mean more than that the backend was dead: nothing has been sent since. They are written
//! while the backend is dead and nothing is in flight, and durably removed before anything is sent
//! again:
//!
//! ```text
//!            flushed, and dead for a while                    Open wanted
//!  nothing kept ─────────────────────▶ kept, and kept anew ─────────────▶ being forgotten ─▶ Open
//!      └───────────────────────── Open wanted ────────────────────────────────────────────▲
//! ```
//!
//! So a process that is killed at any instant leaves what is true, or nothing.

use crate::clock::Now;
use crate::limits::OUTAGE_KEPT_EACH_MAX_S;
use crate::replay::messages::Epoch;
use crate::replay::reachability::{KnownOutages, Outage, Reachability};

/// What the checkpointer is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Keep(Vec<u8>),
    /// Remove what is kept, durably, and say so.
    Forget,
}

/// What is to be told of a backend that may be sent to now.
#[derive(Debug)]
pub struct Opened {
    pub epoch: Epoch,
    /// Whether records with a ttl may go; `None`: that was not said yet.
    pub ttl_ready: Option<bool>,
    /// What is known of the past.
    pub outages: KnownOutages,
}

/// What is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// The checkpointer has not read it yet.
    Unread,
    Nothing,
    /// Something, or nobody knows.
    Something,
    BeingForgotten,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    epoch: Epoch,
    ttl_ready: Option<bool>,
}

/// See the module.
#[derive(Debug)]
pub struct Gate {
    /// What the backend showed.
    pub history: Reachability,
    kept: Kept,
    /// How far the outage goes that was kept last, Unix seconds.
    kept_until: u64,
    /// Since when nobody has anything of it to send, Unix seconds. `None`: somebody may have.
    idle_from: Option<u64>,
    /// It was never sent to in this process.
    is_unused: bool,
    /// What there is, is to be kept now.
    is_ending: bool,
    wanted: Option<Wanted>,
}

impl Gate {
    /// For a backend of which nothing is known, and to which nothing was sent.
    #[must_use]
    pub fn new(history: Reachability) -> Self {
        Self {
            history,
            kept: Kept::Unread,
            kept_until: 0,
            idle_from: Some(0),
            is_unused: true,
            is_ending: false,
            wanted: None,
        }
    }

    /// The checkpointer has read what is kept; `Err`: that could not be read.
    pub fn handle_read(&mut self, kept: Result<Option<&[u8]>, ()>, now: Now) {
        self.kept = match kept {
            Ok(None) => Kept::Nothing,
            Ok(Some(_)) | Err(()) => Kept::Something,
        };
        if let Ok(Some(kept)) = kept {
            self.history.inherit(kept, now);
        }
    }

    /// The backend is up: it is to be opened as soon as may be.
    pub fn handle_open(&mut self, epoch: Epoch) {
        self.wanted = Some(Wanted {
            epoch,
            ttl_ready: None,
        });
    }

    /// Whether records with a ttl may go. True: say so; false: it comes with the opening.
    #[must_use]
    pub fn handle_ttl(&mut self, ready: bool) -> bool {
        match &mut self.wanted {
            Some(wanted) => {
                wanted.ttl_ready = Some(ready);
                false
            }
            None => true,
        }
    }

    /// An epoch begins: what was to be opened is not.
    pub fn handle_flush(&mut self) {
        self.wanted = None;
    }

    /// All threads have let go of its records.
    pub fn handle_flushed(&mut self, now: Now) {
        if self.idle_from.is_none() {
            self.idle_from = Some(now.unix + 1);
        }
    }

    /// What was kept is durably gone.
    pub fn handle_forgotten(&mut self) {
        self.kept = Kept::Nothing;
        self.kept_until = 0;
    }

    /// The server ends.
    pub fn handle_stop(&mut self) {
        self.is_ending = true;
    }

    /// What the checkpointer is to do now.
    pub fn poll_request(&mut self) -> Option<Request> {
        let clock_set = self.history.take_clock_set();
        let is_void = clock_set || (self.wanted.is_some() && !failpoint!(OpenBeforeForgotten));
        match self.kept {
            Kept::Unread | Kept::BeingForgotten => None,
            Kept::Something if is_void => {
                self.kept = Kept::BeingForgotten;
                Some(Request::Forget)
            }
            Kept::Nothing | Kept::Something => self.poll_keep(),
        }
    }

    /// What may be opened now.
    pub fn poll_opened(&mut self) -> Option<Opened> {
        let may_open = match self.kept {
            Kept::Nothing => true,
            Kept::Something => failpoint!(OpenBeforeForgotten),
            Kept::Unread | Kept::BeingForgotten => false,
        };
        if !may_open {
            return None;
        }
        let Wanted { epoch, ttl_ready } = self.wanted.take()?;
        self.idle_from = None;
        self.is_unused = false;
        Some(Opened {
            epoch,
            ttl_ready,
            outages: self.history.known(),
        })
    }

    /// The longer an outage is, the less often it is kept anew: some backends never come back.
    fn poll_keep(&mut self) -> Option<Request> {
        let idle_from = self.idle_from?;
        let Outage { from, until } = self.history.current()?;
        let each = if self.kept_until == 0 || self.is_ending {
            1
        } else {
            (until.saturating_sub(from) / 4).clamp(1, OUTAGE_KEPT_EACH_MAX_S)
        };
        let due = until >= self.kept_until.saturating_add(each);
        if !due {
            return None;
        }
        let bytes = self.history.encode(self.is_unused, idle_from)?;
        self.kept = Kept::Something;
        self.kept_until = until;
        Some(Request::Keep(bytes))
    }
}
