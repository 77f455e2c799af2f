//! What an operator says to a monitor: pause, resume, probe now.
//!
//! A pause is a way to be down: leaving Up begins an epoch and flushes, as always, so there is no
//! second path of recovery. While it lasts the backend is not probed and not looked up. It ends
//! with a resume or with the process; another configuration does not end it.

use std::time::Duration;

use crate::clock::Now;

use super::Monitor;
use super::state::State;

impl Monitor {
    /// Stops replaying to it. False: it was paused already, or the server ends.
    pub fn handle_pause(&mut self) -> bool {
        let is_unresolved = match self.state {
            State::Paused { .. } | State::Ended => return false,
            State::Unresolved { .. } => true,
            _ => false,
        };
        let paused = State::Paused { is_unresolved };
        match self.state {
            State::Up(_) if !failpoint!(SendWhilePaused) => self.leave_up(paused),
            _ => self.state = paused,
        }
        self.probing.password_next = false;
        self.check_invariants();
        true
    }

    /// Goes on: it is probed at once. False: it was not paused.
    pub fn handle_resume(&mut self, now: Now) -> bool {
        let State::Paused { is_unresolved } = self.state else {
            return false;
        };
        self.state = State::unknown(is_unresolved);
        self.begin_at_once(now);
        true
    }

    /// Probes it now, whatever pause its failures have earned; one without an address is looked up.
    /// False: it is paused, or the server ends.
    pub fn handle_probe_wanted(&mut self, now: Now) -> bool {
        if matches!(self.state, State::Paused { .. } | State::Ended) {
            return false;
        }
        self.begin_at_once(now);
        true
    }

    fn begin_at_once(&mut self, now: Now) {
        self.pause = Duration::ZERO;
        self.paused_until = self.paused_until.min(now.monotonic);
        if let (State::Unresolved { .. }, Some(resolving)) = (&self.state, &mut self.resolving) {
            resolving.at = now.monotonic;
        }
        self.probe_at_once(now);
        self.check_invariants();
    }
}
