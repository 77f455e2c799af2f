//! When a backend is probed and looked up next.

use std::time::Duration;

use crate::clock::Now;
use crate::limits::{PROBE_AT_ONCE_GAP_MS, PROBE_HOLD_MS, PROBE_JITTER_PERCENT};

use super::Monitor;
use super::state::{Flush, State, Up};

impl Monitor {
    /// When [`Monitor::poll_order`] has something next if nothing happens, on the monotonic clock;
    /// what is past is due now.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let told = match &self.state {
            State::Up(up) => up.opened && up.ttl_told == Some(up.ttl_ready),
            _ => true,
        };
        if self.flush == Flush::Due || !told {
            return Some(Duration::ZERO);
        }
        [self.probe_at(), self.resolve_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sets when to probe next, after a probe or a change of state.
    pub(super) fn schedule(&mut self, now: Now) {
        if self.probing.again {
            self.probing.at = self.earliest(now.monotonic);
            return;
        }
        let begun = self.probing.last.unwrap_or(now.monotonic);
        let mut at = begun.saturating_add(self.interval());
        match &self.state {
            State::Up(Up {
                answering_since: Some(since),
                ttl_ready: false,
                ..
            }) => {
                let end = since.saturating_add(self.settings.ttl_hold);
                if end > now.monotonic {
                    at = at.min(end);
                }
            }
            State::Refused if self.paused_until > now.monotonic => {
                at = at.max(self.paused_until);
            }
            // A pause ends with a probe. Those before it bring no end of it: they show when the
            // backend dies, which tells what HA's increments meanwhile have not been applied to.
            State::Down { .. } if self.paused_until > now.monotonic => {
                let at_interval = begun.saturating_add(self.settings.probe_interval);
                at = at_interval.min(self.paused_until);
            }
            _ => {}
        }
        self.probing.at = self.earliest(at.max(now.monotonic));
    }

    /// Brings the next probe or look-up forward where what has changed asks for it sooner.
    pub(super) fn hasten(&mut self, now: Now) {
        let interval = self.interval();
        if self.probing.out.is_none() && self.paused_until <= now.monotonic {
            let begun = self.probing.last.unwrap_or(now.monotonic);
            let at = begun.saturating_add(interval).max(now.monotonic);
            self.probing.at = self.earliest(at.min(self.probing.at));
        }
        let interval = match &self.state {
            State::Unresolved { .. } => Some(interval),
            State::Up(_) => Some(self.settings.resolve_interval),
            _ => None,
        };
        if let (Some(interval), Some(resolving)) = (interval, &mut self.resolving) {
            resolving.at = resolving.at.min(now.after(interval));
        }
        self.check_invariants();
    }

    /// As soon as may be; while one is out, behind it; in a pause, at its interval.
    pub(super) fn probe_at_once(&mut self, now: Now) {
        if !matches!(self.state, State::Up(_)) && self.paused_until > now.monotonic {
            self.probing.again = false;
            return self.schedule(now);
        }
        self.probing.again = self.probing.out.is_some();
        self.probing.at = self.earliest(now.monotonic);
    }

    /// `at`, or later where that would be too close to the last probe.
    pub(super) fn earliest(&self, at: Duration) -> Duration {
        let gap = Duration::from_millis(PROBE_AT_ONCE_GAP_MS);
        self.probing
            .last
            .map_or(at, |last| at.max(last.saturating_add(gap)))
    }

    pub(super) fn interval(&mut self) -> Duration {
        match &self.state {
            State::Up(up) if !up.ttl_ready => self
                .settings
                .probe_interval
                .min(Duration::from_millis(PROBE_HOLD_MS)),
            State::Down { .. } | State::Unresolved { .. } if self.backlog => {
                let percent =
                    100 - PROBE_JITTER_PERCENT + self.random.u64(0..=2 * PROBE_JITTER_PERCENT);
                self.settings.probe_interval_down * percent as u32 / 100
            }
            _ => self.settings.probe_interval,
        }
    }

    /// When to probe next; none: not before something happens.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        match self.state {
            State::Unresolved { .. } | State::Paused { .. } | State::Ended => None,
            _ if self.probing.out.is_some() => None,
            _ if self.probing.password_next => Some(Duration::ZERO),
            _ => Some(self.probing.at),
        }
    }

    /// When to look the name up next. One that has an address is looked up again: it may have
    /// moved, also where the old address still answers.
    pub(super) fn resolve_at(&self) -> Option<Duration> {
        let resolving = self.resolving.as_ref().filter(|resolving| !resolving.out)?;
        match self.state {
            State::Unresolved { .. } | State::Down { .. } | State::Refused | State::Up(_) => {
                Some(resolving.at)
            }
            State::Paused { .. } | State::Ended => None,
        }
    }
}
