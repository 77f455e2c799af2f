//! When a backend surely could not be reached, by what its probes and lanes showed: what an
//! increment may be told from that was never applied (guarantees, G4).
//!
//! HA logs a write that failed, and one whose answer it lost although the backend applied it. Where
//! the backend was surely dead when the line was written, it is the former: nobody has to ask.
//!
//! ```text
//!   reached ──▶ ╳ first bad sign      + 2 s, or ambiguity_window       last bad sign ╳ ──▶ reached
//!               ├── may be applied ──────────┤├──────── an Outage ────────┤├ may be ──┤
//! ```
//!
//! A backend that refuses or closes connections has lost what HA had on its way to it, and HA logs
//! that within two seconds. One that hangs may have applied it, and HA logs it when its own
//! timeouts pass. Everything that is unclear counts as reached, so that the backend is asked: times
//! before the first sign, between two signs that are far apart, and around a step of the clock. A
//! backend that comes and goes between two probes is not seen; HA, which probes every five seconds,
//! does not see it either.
//!
//! Times of lines are the wall clock's, in whole seconds, and so are these. [`gate`] keeps them
//! over restarts.

pub mod gate;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Now;
use crate::ledger::identity::LogKey;
use crate::limits::{OUTAGE_SIGNS_GAP, OUTAGES_MAX, REFUSED_AMBIGUITY};

/// A time in which a backend was surely dead, Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What was written in this second or later was not applied.
    pub from: u64,
    /// It was seen to be dead at the end of the second before this one.
    pub until: u64,
}

impl Outage {
    fn covers(self, written_unix: u64) -> bool {
        self.from <= written_unix && written_unix < self.until
    }

    fn is_empty(self) -> bool {
        self.from >= self.until
    }
}

/// What is known when a backend comes up, for whoever reads its lines.
#[derive(Clone, Debug, Default)]
pub struct KnownOutages {
    /// Seen by this process.
    own: Arc<[Outage]>,
    /// Seen by earlier ones, and since then none has sent anything.
    inherited: Arc<[Outage]>,
    /// Seconds from the monotonic clock to the wall clock.
    clock: i64,
}

impl KnownOutages {
    #[cfg(test)]
    pub(crate) fn of(own: &[Outage], inherited: &[Outage], now: Now) -> Self {
        Self {
            own: own.into(),
            inherited: inherited.into(),
            clock: clock_of(now),
        }
    }

    /// Whether the backend was surely dead when a line was written; 0: nobody knows when that was.
    /// `is_old`: it was there when this process started, so an earlier one may have sent it.
    #[must_use]
    pub fn cover(&self, written_unix: u64, is_old: bool, now: Now) -> bool {
        if failpoint!(AskAlways) || written_unix == 0 {
            return false;
        }
        // The line may be newer than a step of the clock that nobody has seen yet.
        if clock_of(now).abs_diff(self.clock) > CLOCK_STEP_S + 1 {
            return false;
        }
        let outages = if is_old { &self.inherited } else { &self.own };
        outages
            .iter()
            .rev()
            .any(|outage| outage.covers(written_unix))
    }
}

/// A clock that differs by more from what it should be has been set. Whole seconds differ by one by
/// themselves.
const CLOCK_STEP_S: u64 = 1;

fn clock_of(now: Now) -> i64 {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    seconds(now.unix).saturating_sub(seconds(now.monotonic.as_secs()))
}

/// See the module.
#[derive(Debug)]
pub struct Reachability {
    /// `ambiguity_window`.
    window: Duration,
    /// This process's, in their order; none is empty but the last.
    own: VecDeque<Outage>,
    /// Earlier processes'.
    inherited: Vec<Outage>,
    /// The monotonic instant of the last bad sign, where no good one came since: the last outage
    /// goes on.
    bad_at: Option<Duration>,
    clock: i64,
    clock_set: bool,
}

impl Reachability {
    /// Nothing is known.
    #[must_use]
    pub fn new(window: Duration, now: Now) -> Self {
        Self {
            window,
            own: VecDeque::new(),
            inherited: Vec::new(),
            bad_at: None,
            clock: clock_of(now),
            clock_set: false,
        }
    }

    /// Another `ambiguity_window`, for outages to come.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// It has answered, whatever.
    pub fn handle_answered(&mut self, now: Now) {
        self.watch_clock(now);
        self.bad_at = None;
        self.drop_empty();
    }

    /// It refused or closed a connection, without a word.
    pub fn handle_refused(&mut self, now: Now) {
        let from = now.unix + 1 + REFUSED_AMBIGUITY.as_secs();
        self.handle_bad(from, now.unix, now.monotonic, now);
    }

    /// It has said nothing since `asked_at`, monotonic.
    pub fn handle_silent(&mut self, asked_at: Duration, now: Now) {
        let waited = now.monotonic.saturating_sub(asked_at);
        let window = if failpoint!(IgnoreAmbiguity) {
            REFUSED_AMBIGUITY
        } else {
            self.window
        };
        // What is unclear of a second counts as reached: the outage begins late and ends early.
        let from = (now.unix + 1 + whole_seconds(window)).saturating_sub(waited.as_secs());
        let until = now.unix.saturating_sub(whole_seconds(waited));
        self.handle_bad(from, until, asked_at, now);
    }

    /// Reads what an earlier process has kept. What cannot be read, or is of a time to come, is
    /// nothing.
    pub fn inherit(&mut self, kept: &[u8], now: Now) {
        let outages = decode(kept).unwrap_or_default();
        let is_past = outages.iter().all(|outage| outage.until <= now.unix);
        if is_past && !failpoint!(ForgetOutages) {
            self.inherited = outages;
        }
    }

    /// For whoever reads lines from now on.
    #[must_use]
    pub fn known(&self) -> KnownOutages {
        KnownOutages {
            own: self.own.iter().copied().collect(),
            inherited: self.inherited.as_slice().into(),
            clock: self.clock,
        }
    }

    /// The outage that goes on, once it is more than nothing.
    #[must_use]
    pub fn current(&self) -> Option<Outage> {
        self.bad_at?;
        self.own.back().copied().filter(|last| !last.is_empty())
    }

    /// Whether the wall clock was set since this was last asked: what was known before holds no
    /// longer.
    pub fn take_clock_set(&mut self) -> bool {
        std::mem::take(&mut self.clock_set)
    }

    /// What the next process is to know, as it is kept: outages, and of this process's what is
    /// behind `idle_from`. `None`: nothing.
    #[must_use]
    pub fn encode(&self, with_inherited: bool, idle_from: u64) -> Option<Vec<u8>> {
        let own = self.own.iter().map(|outage| Outage {
            from: outage.from.max(idle_from),
            until: outage.until,
        });
        let inherited = self.inherited.iter().copied().filter(|_| with_inherited);
        let all: Vec<Outage> = inherited
            .chain(own)
            .filter(|outage| !outage.is_empty())
            .collect();
        let kept = &all[all.len().saturating_sub(OUTAGES_MAX)..];
        (!kept.is_empty()).then(|| encode(kept))
    }

    fn handle_bad(&mut self, from: u64, until: u64, at: Duration, now: Now) {
        self.watch_clock(now);
        let goes_on = self
            .bad_at
            .is_some_and(|bad_at| at.saturating_sub(bad_at) <= OUTAGE_SIGNS_GAP);
        if !goes_on {
            // It may have lived in between.
            self.drop_empty();
            if self.own.len() == OUTAGES_MAX {
                self.own.pop_front();
            }
            self.own.push_back(Outage { from, until: 0 });
        }
        let last = self.own.back_mut().expect("there is one by now");
        // One that hung and refuses now has lost what was on its way to it.
        last.from = last.from.min(from);
        last.until = last.until.max(until);
        self.bad_at = Some(
            self.bad_at
                .filter(|_| goes_on)
                .map_or(at, |bad| bad.max(at)),
        );
    }

    fn drop_empty(&mut self) {
        if self.own.back().is_some_and(|last| last.is_empty()) {
            self.own.pop_back();
        }
    }

    /// Forgets everything where the wall clock was set: a line's time may mean another instant.
    fn watch_clock(&mut self, now: Now) {
        let clock = clock_of(now);
        if clock.abs_diff(self.clock) > CLOCK_STEP_S {
            self.own.clear();
            self.inherited.clear();
            self.bad_at = None;
            self.clock_set = true;
        }
        self.clock = clock;
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The first line of a file `outages`.
pub(crate) const HEAD: &str = "hustdbsync outages 1\n";

/// The beginning of its last line.
const FILE_LINE: &str = "file ";

/// A file `outages` that says this.
pub(crate) fn encode(outages: &[Outage]) -> Vec<u8> {
    let mut text = HEAD.to_owned();
    for Outage { from, until } in outages {
        text.push_str(&format!("{from} {until}\n"));
    }
    let sum = xxh3_64(text.as_bytes());
    text.push_str(&format!("{sum:016x}\n"));
    text.into_bytes()
}

/// The line behind that: which file it is. One that was copied, as into a backup and back, is
/// another one, and its presence does not say that nothing has been sent since.
pub(crate) fn file_line((inode, born_nanos): LogKey) -> String {
    format!("{FILE_LINE}{inode} {born_nanos}\n")
}

/// What a file says, without that line if it has one, and the line.
pub(crate) fn split_file_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let before = bytes.strip_suffix(b"\n").unwrap_or_default();
    let last = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let is_it = bytes[last..].starts_with(FILE_LINE.as_bytes());
    bytes.split_at(if is_it { last } else { bytes.len() })
}

/// What a file `outages` says. `None` where it is not whole.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Outage>> {
    let (bytes, _) = split_file_line(bytes);
    let text = std::str::from_utf8(bytes).ok()?;
    let (lines, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let summed = &text[..lines.len() + 1];
    if format!("{:016x}", xxh3_64(summed.as_bytes())) != sum {
        return None;
    }
    let outage = |line: &str| {
        let (from, until) = line.split_once(' ')?;
        Some(Outage {
            from: from.parse().ok()?,
            until: until.parse().ok()?,
        })
    };
    let outages = summed.strip_prefix(HEAD)?.lines().map(outage);
    outages.take(OUTAGES_MAX).collect()
}
