//! What is the matter with a backend whose probes are good and whose records fail.
//!
//! Such a backend is up, or comes up again and again. As long as no record is answered, what failed
//! last is its reason, also while it is up; and one that has gone down [`RELAPSES_TO_DOWN`] times
//! so is shown as down while it is tried, since that is what it is to whoever waits for its
//! records.

use std::time::Duration;

use crate::limits::RELAPSES_TO_DOWN;
use crate::replay::messages::Trouble;

use super::Monitor;
use super::state::State;

/// Failures since a record was answered last.
#[derive(Debug)]
pub(super) struct Failing {
    /// The backend's answers then; more of them end this.
    answers: u64,
    /// How often it went down by them.
    relapses: u32,
    /// The last of them.
    trouble: String,
    /// What there is to say.
    why: String,
}

impl Failing {
    /// Once it has gone down by them, no number and no name of a connection is in the text: what an
    /// operator reads stays the same for as long as it is true.
    fn tell(&mut self) {
        let trouble = &self.trouble;
        self.why = match self.relapses {
            0 => {
                format!("every record on one of its connections fails: {trouble}; trying again")
            }
            _ => format!("it answers probes and no record; the last failure: {trouble}"),
        };
    }
}

impl Monitor {
    /// How many records the backend has answered so far.
    pub fn handle_answers(&mut self, answers: u64) {
        let is_over = |failing: &Failing| answers > failing.answers;
        if self.failing.as_ref().is_some_and(is_over) {
            self.failing = None;
        }
    }

    /// A lane failed by the backend's fault, or nobody knows by whose.
    pub(super) fn note_failure(&mut self, trouble: &Trouble, answers: u64) {
        self.handle_answers(answers);
        let failing = self.failing.get_or_insert_with(|| Failing {
            answers,
            relapses: 0,
            trouble: String::new(),
            why: String::new(),
        });
        failing.trouble = trouble.to_string();
        // While it is tried, the first failures of several are not yet what it goes down by.
        if failing.relapses == 0 {
            failing.tell();
        }
    }

    /// It went down by what was noted.
    pub(super) fn note_relapse(&mut self) {
        if let Some(failing) = &mut self.failing {
            failing.relapses = failing.relapses.saturating_add(1);
            failing.tell();
        }
    }

    /// What fails while it is up, or took it down more than once, its probes being good. The first
    /// time it may just have died, which a probe will show.
    pub(super) fn failing_why(&self) -> Option<&str> {
        let failing = self.failing.as_ref()?;
        let is_it = match self.state {
            State::Up(_) => true,
            State::Down { .. } => failing.relapses >= RELAPSES_TO_DOWN && self.probing.good,
            _ => false,
        };
        is_it.then_some(&failing.why)
    }

    /// When it is tried again, monotonic, if it waits only because its records have failed.
    #[must_use]
    pub fn retry_at(&self) -> Option<Duration> {
        let waits = matches!(self.state, State::Down { .. } | State::Refused);
        (waits && self.probing.good && !self.pause.is_zero()).then_some(self.paused_until)
    }

    /// Whether it is shown as down, though it is up to be tried.
    pub(super) fn is_relapsed(&self) -> bool {
        let Some(failing) = &self.failing else {
            return false;
        };
        matches!(self.state, State::Up(_)) && failing.relapses >= RELAPSES_TO_DOWN
    }
}
