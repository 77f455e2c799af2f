//! One backend's state: whether it can be replayed to, and why not.
//!
//! ```text
//!                 resolved                    good probe, flushed, no pause
//!  Unresolved ───────────────▶ Down ─────────────────────────────────────────▶ Up
//!   (no address: why)          (why) ◀───────────────────────────────────────── │
//!                              │  ▲     bad probe / troubles of several lanes   │
//!      authenticated probe 401 │  │ bad probe                                   │ 401 with
//!                              ▼  │                                             │ a challenge
//!                             Refused ◀─────────────────────────────────────────┘
//!                                │       good probe, also with the password
//!                                └────────────────────────────────────────────▶ Up
//!  any ──pause──▶ Paused ──resume──▶ Down, or Unresolved
//!  any ──stop──▶ Ended
//! ```
//!
//! Leaving Up begins an epoch: `Flush` goes out at once, and Up is not entered again before the
//! checkpointer has said `Flushed` for it. Once a password was refused, Up asks for a good
//! *authenticated* probe.
//!
//! Contract with the shell: it calls `handle_*` for what happens, then [`Monitor::poll_order`]
//! until it yields none, and again at [`Monitor::deadline`]. Each `Probe` is answered by exactly
//! one of good, bad, refused or lost; each `Resolve` by one `handle_resolved`. `answers` is a
//! count, of this backend, of answers that settled or rejected a record: it never falls.

pub mod announcer;
mod failing;
mod operator;
pub mod repeats;
mod state;
mod timing;
mod trouble;

use std::time::Duration;

use crate::clock::Now;
use crate::replay::messages::Epoch;

use failing::Failing;
use state::{
    BACK, Flush, NOT_LOOKED_UP, NOT_PROBED, Probing, Resolving, Sent, State, Troubles, Up,
};

/// What a monitor goes by; can be told anew while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorSettings {
    /// Between probes of a backend that is up, or down without a backlog (`checkdb_interval`).
    pub probe_interval: Duration,
    /// Between probes of a backend that is down and has a backlog; with jitter.
    pub probe_interval_down: Duration,
    /// Between look-ups of the name of a backend that is up.
    pub resolve_interval: Duration,
    /// For how long a backend must have answered probes before records with a ttl may go.
    pub ttl_hold: Duration,
    /// Lanes that the backend has.
    pub lanes: u32,
}

/// What the shell is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look up the backend's name.
    Resolve,
    Probe {
        /// With the password, by a request that changes nothing; otherwise `GET /status.html`.
        authenticated: bool,
    },
    /// Tell checkpointer, reader and workers, in this order, that an epoch has begun.
    Flush {
        /// The new epoch.
        epoch: Epoch,
    },
    /// Tell the workers, then the reader, that the backend is up.
    Open { epoch: Epoch },
    /// Tell the workers whether records with a ttl may go. A worker takes a backend just opened as
    /// not ready.
    Ttl {
        /// Whether they may.
        ready: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Monitor {
    settings: MonitorSettings,
    random: fastrand::Rng,
    state: State,
    /// Never falls. Up implies that its flush is done.
    epoch: Epoch,
    flush: Flush,
    backlog: bool,
    probing: Probing,
    /// None: the address is written out, there is nothing to look up.
    resolving: Option<Resolving>,
    /// The password was refused, and no authenticated request has passed since.
    password_suspected: bool,
    /// The pause that lanes' failures have earned last; zero after answers.
    pause: Duration,
    /// Not up before this.
    paused_until: Duration,
    /// Records fail, and none has been answered since.
    failing: Option<Failing>,
}

impl Monitor {
    /// A backend that nothing is known of. `named`: its address has to be looked up. `seed` gives
    /// the jitter.
    #[must_use]
    pub fn new(settings: MonitorSettings, named: bool, seed: u64, now: Now) -> Self {
        Self {
            settings,
            random: fastrand::Rng::with_seed(seed),
            state: State::unknown(named),
            epoch: 0,
            flush: Flush::Done,
            backlog: false,
            probing: Probing {
                out: None,
                at: now.monotonic,
                last: None,
                good: false,
                again: false,
                password_next: false,
            },
            resolving: named.then_some(Resolving {
                out: false,
                at: now.monotonic,
            }),
            password_suspected: false,
            pause: Duration::ZERO,
            paused_until: Duration::ZERO,
            failing: None,
        }
    }

    /// The name has been looked up: it has an address, or why not.
    pub fn handle_resolved(&mut self, found: Result<(), String>, now: Now) {
        // While it is unresolved nothing else can be tried; once it has had an address, another is
        // a rarity, above all where this one answers.
        let wait = match self.state {
            State::Unresolved { .. } => self.interval(),
            State::Up(_) => self.settings.resolve_interval,
            _ => self.settings.probe_interval,
        };
        let again_at = now.after(wait);
        let Some(resolving) = &mut self.resolving else {
            return;
        };
        resolving.out = false;
        resolving.at = again_at;
        if let (State::Paused { is_unresolved }, Ok(())) = (&mut self.state, &found) {
            *is_unresolved = false;
        }
        if let State::Unresolved { why } = &mut self.state {
            match found {
                Err(fault) => *why = fault,
                Ok(()) => {
                    self.state = State::Down {
                        why: NOT_PROBED.to_owned(),
                    };
                    self.probe_at_once(now);
                }
            }
        }
        self.check_invariants();
    }

    /// The name has other addresses than the one that was in use. Where it is up, what is on its
    /// way there is taken back before anything goes to the new one (G2, G3); that begins with a
    /// probe in any case. Told after [`Monitor::handle_resolved`].
    pub fn handle_moved(&mut self, why: String, now: Now) {
        match &mut self.state {
            State::Up(_) => self.leave_up(State::Down { why }),
            State::Down { why: before } => *before = why,
            State::Refused => self.state = State::Down { why },
            State::Unresolved { .. } | State::Paused { .. } | State::Ended => return,
        }
        self.probe_at_once(now);
        self.check_invariants();
    }

    /// The probe was answered as it should be; an authenticated one with anything but a challenge.
    /// `watched`: its connection is kept, its loss will be told.
    pub fn handle_probe_good(&mut self, watched: bool, answers: u64, now: Now) {
        let Some(sent) = self.probing.out.take() else {
            return;
        };
        self.probing.good = true;
        self.handle_answers(answers);
        match &mut self.state {
            State::Up(up) => {
                up.handle_good(watched, answers, self.settings.ttl_hold, now);
                if answers > up.answers_at_up {
                    self.pause = Duration::ZERO;
                }
            }
            State::Down { .. } | State::Refused => {
                if self.flush != Flush::Done {
                    if let State::Down { why } = &mut self.state {
                        BACK.clone_into(why);
                    }
                } else if now.monotonic >= self.paused_until {
                    if self.password_suspected && !sent.authenticated {
                        self.probing.password_next = true;
                    } else {
                        self.come_up(watched, answers, now);
                    }
                }
            }
            State::Unresolved { .. } | State::Paused { .. } | State::Ended => {}
        }
        self.schedule(now);
        self.check_invariants();
    }

    /// The probe failed, for this reason.
    pub fn handle_probe_bad(&mut self, why: String, answers: u64, now: Now) {
        if self.probing.out.take().is_none() {
            return;
        }
        self.probing.good = false;
        match &mut self.state {
            // The backend serves lanes and yet not the probe: busy, or it died just now.
            State::Up(up) if !up.suspected && answers > up.answers_at_good => {
                up.suspected = true;
                up.begin_hold();
                self.probing.again = false;
                self.probing.at = self.earliest(now.after(self.settings.probe_interval_down));
                self.check_invariants();
                return;
            }
            State::Up(_) => self.leave_up(State::Down { why }),
            State::Down { why: before } => *before = why,
            State::Refused => self.state = State::Down { why },
            State::Unresolved { .. } | State::Paused { .. } | State::Ended => {}
        }
        self.schedule(now);
        self.check_invariants();
    }

    /// The authenticated probe was answered 401 with a challenge.
    pub fn handle_probe_refused(&mut self, now: Now) {
        if self.probing.out.take().is_none() {
            return;
        }
        self.probing.good = true;
        if let State::Down { .. } = self.state {
            self.state = State::Refused;
        }
        self.schedule(now);
        self.check_invariants();
    }

    /// The probe's connection was closed under us, idle, before an answer on it began or just
    /// behind one: the backend may have restarted.
    pub fn handle_probe_lost(&mut self, answers: u64, now: Now) {
        if let State::Up(up) = &mut self.state {
            up.watched = false;
            up.begin_hold();
            self.probing.out = None;
            self.probe_at_once(now);
            self.check_invariants();
        } else {
            self.handle_probe_bad(
                "it closed the connection without an answer".to_owned(),
                answers,
                now,
            );
        }
    }

    /// The checkpointer has heard from everyone that this epoch has begun.
    pub fn handle_flushed(&mut self, epoch: Epoch, now: Now) {
        if epoch != self.epoch || self.flush != Flush::Waiting {
            return;
        }
        self.flush = Flush::Done;
        // It only waited for this; a new password may have come meanwhile.
        let refused_for_now =
            matches!(self.state, State::Refused) && self.paused_until > now.monotonic;
        if self.probing.good && !refused_for_now {
            self.probe_at_once(now);
        }
        self.check_invariants();
    }

    /// Whether there is anything to replay to it.
    pub fn handle_backlog(&mut self, backlog: bool, now: Now) {
        if !backlog {
            // What failed was rejected, or is gone: nothing does any more.
            self.failing = None;
        }
        if std::mem::replace(&mut self.backlog, backlog) != backlog {
            self.hasten(now);
        }
    }

    /// Other settings.
    pub fn handle_settings(&mut self, settings: MonitorSettings, now: Now) {
        self.settings = settings;
        self.hasten(now);
    }

    /// Another password: whoever was refused is tried at once.
    pub fn handle_password(&mut self, now: Now) {
        if !self.password_suspected {
            return;
        }
        self.pause = Duration::ZERO;
        self.paused_until = now.monotonic;
        self.probe_at_once(now);
        self.check_invariants();
    }

    /// The server ends: flush what is up, and nothing more.
    pub fn handle_stop(&mut self) {
        let ended = State::Ended;
        match self.state {
            State::Up(_) => self.leave_up(ended),
            State::Ended => {}
            _ => self.state = ended,
        }
        self.check_invariants();
    }

    /// What the shell is to do next; none: nothing before [`Monitor::deadline`].
    pub fn poll_order(&mut self, now: Now) -> Option<Order> {
        let order = self.next_order(now);
        self.check_invariants();
        order
    }

    fn next_order(&mut self, now: Now) -> Option<Order> {
        if self.flush == Flush::Due {
            self.flush = Flush::Waiting;
            return Some(Order::Flush { epoch: self.epoch });
        }
        if let State::Up(up) = &mut self.state {
            if !up.opened {
                up.opened = true;
                return Some(Order::Open { epoch: self.epoch });
            }
            if up.ttl_told != Some(up.ttl_ready) {
                up.ttl_told = Some(up.ttl_ready);
                return Some(Order::Ttl {
                    ready: up.ttl_ready,
                });
            }
        }
        if self.resolve_at().is_some_and(|at| at <= now.monotonic)
            && let Some(resolving) = &mut self.resolving
        {
            resolving.out = true;
            return Some(Order::Resolve);
        }
        if self.probe_at().is_some_and(|at| at <= now.monotonic) {
            let authenticated = std::mem::take(&mut self.probing.password_next);
            self.probing.out = Some(Sent { authenticated });
            self.probing.last = Some(now.monotonic);
            self.probing.again = false;
            return Some(Order::Probe { authenticated });
        }
        None
    }

    /// Whether nothing of it is in anyone's hands: what the end waits for.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.flush == Flush::Done && !matches!(self.state, State::Up(_))
    }

    /// Whether it is replayed to.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether it waits for what other threads count: while it is up and its records fail, for an
    /// answer or the end of the backlog; while it is not up, for a backlog, with which its next
    /// probe comes sooner.
    #[must_use]
    pub fn waits_for_counters(&self) -> bool {
        match self.is_up() {
            true => self.failing.is_some(),
            false => !self.backlog,
        }
    }

    /// Whether an operator has paused it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self.state, State::Paused { .. })
    }

    /// Whether records with a ttl may go.
    #[cfg(test)]
    #[must_use]
    pub fn is_ttl_ready(&self) -> bool {
        matches!(&self.state, State::Up(up) if up.ttl_ready)
    }

    /// The current epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The state in one word, for numbers and tables. One that is tried again after it has failed
    /// several times is down.
    #[must_use]
    pub fn state_word(&self) -> &'static str {
        if self.is_relapsed() {
            "down"
        } else {
            self.state.word()
        }
    }

    /// Why it is not up, or what fails while it is; none where it is up and well.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.failing_why().or_else(|| self.state.why())
    }

    /// Whether anything has been found out about it.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self.why(), Some(NOT_PROBED | NOT_LOOKED_UP))
    }

    fn come_up(&mut self, watched: bool, answers: u64, now: Now) {
        self.password_suspected = false;
        let mut up = Up {
            opened: false,
            answering_since: None,
            ttl_ready: false,
            ttl_told: None,
            watched,
            suspected: false,
            answers_at_up: answers,
            answers_at_good: answers,
            troubles: Troubles::default(),
        };
        up.handle_good(watched, answers, self.settings.ttl_hold, now);
        self.state = State::Up(up);
        if let Some(resolving) = &mut self.resolving {
            resolving.at = now.after(self.settings.resolve_interval);
        }
    }

    /// Begins an epoch. Nobody who was never told `Open` has anything to flush, but an epoch is
    /// cheap and one rule is enough.
    fn leave_up(&mut self, to: State) {
        self.state = to;
        self.epoch += 1;
        self.flush = Flush::Due;
        self.probing.again = false;
        // It may have left because it has moved.
        if let Some(resolving) = &mut self.resolving {
            resolving.at = Duration::ZERO;
        }
    }

    /// Panics, in debug builds, where what the fields promise does not hold.
    pub fn check_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        if let State::Up(up) = &self.state {
            assert_eq!(
                self.flush,
                Flush::Done,
                "up with an epoch that is not flushed"
            );
            assert!(!up.ttl_ready || up.answering_since.is_some());
            assert!(up.opened || up.ttl_told.is_none());
        }
        if self.epoch == 0 {
            assert_eq!(self.flush, Flush::Done, "epoch 0 needs no flush");
        }
        if self.probing.out.is_none() {
            assert_eq!(self.probing.at, self.earliest(self.probing.at));
            assert!(!self.probing.again || !self.is_up() || self.probe_at().is_some());
        }
        assert!(!self.probing.password_next || self.probing.out.is_none());
    }
}

#[cfg(test)]
mod tests;
