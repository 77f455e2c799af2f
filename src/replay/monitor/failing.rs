//! What is the matter with a backend whose probes are good and whose records fail.
//!
//! Such a backend is up, or comes up again and again. As long as no record is answered, what failed
//! last is its reason, also while it is up; and one that has gone down [`RELAPSES_TO_DOWN`] times
//! so is shown as down while it is tried, since that is what it is to whoever waits for its
//! records.

use crate::clock::Now;
use crate::limits::RELAPSES_TO_DOWN;
use crate::replay::messages::Trouble;

use super::Monitor;
use super::state::State;

/// Failures since a record was answered last.
#[derive(Debug)]
pub(super) struct Failing {
    /// When the first of them was.
    since: Now,
    /// The backend's answers then; more of them end this.
    answers: u64,
    /// How often it went down by them.
    relapses: u32,
    /// The last of them: in which lane, and what it was.
    lane: u16,
    trouble: String,
    /// What there is to say.
    why: String,
}

impl Failing {
    fn tell(&mut self) {
        let (lane, trouble) = (self.lane, &self.trouble);
        self.why = match self.relapses {
            0 => format!("every record of lane {lane} fails: {trouble}; trying again"),
            times => format!(
                "it answers probes and no record, down by that {times} times so far; the last \
                 failure: {trouble}; trying again"
            ),
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
    pub(super) fn note_failure(&mut self, lane: u16, trouble: &Trouble, answers: u64, now: Now) {
        self.handle_answers(answers);
        let failing = self.failing.get_or_insert_with(|| Failing {
            since: now,
            answers,
            relapses: 0,
            lane,
            trouble: String::new(),
            why: String::new(),
        });
        failing.lane = lane;
        failing.trouble = trouble.to_string();
        failing.tell();
    }

    /// It went down by what was noted.
    pub(super) fn note_relapse(&mut self) {
        if let Some(failing) = &mut self.failing {
            failing.relapses = failing.relapses.saturating_add(1);
            failing.tell();
        }
    }

    /// What fails while it is up.
    pub(super) fn failing_while_up(&self) -> Option<&str> {
        let failing = self.failing.as_ref()?;
        matches!(self.state, State::Up(_)).then_some(&failing.why)
    }

    /// Since when it has been shown as down, Unix seconds, where it is up only to be tried.
    pub(super) fn relapsed_since_unix(&self) -> Option<u64> {
        let failing = self.failing.as_ref()?;
        let is_tried = matches!(self.state, State::Up(_)) && failing.relapses >= RELAPSES_TO_DOWN;
        is_tried.then_some(failing.since.unix)
    }
}
