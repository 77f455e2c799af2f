//! What HA and `hustdbsync status` are answered: from memory, whatever else goes on. What control has to follow first is left for it.

use super::asks::{self, Asking};
use crate::clock::Now;
use crate::engine::listener::{Answers, Asker};
use crate::http::answer::Answer;
use crate::http::request::Request;
use crate::status::answer::{Gate, Pages, answer};
use crate::status::ask::ask;
use crate::status::snapshot::Board;

/// See the module.
pub(super) struct Door {
    gate: Gate,
    pages: Pages,
    /// The backends as the answers tell them.
    pub(super) board: Board,
    /// A backend's state has changed since this was last taken back.
    pub(super) states_changed: bool,
    /// What was asked for and is to be followed.
    pub(super) asking: Asking,
    /// The last refusal's line.
    text: Vec<u8>,
}

impl Door {
    pub(super) fn new(gate: Gate, now: Now) -> Self {
        Self {
            gate,
            pages: Pages::default(),
            board: Board::new(now),
            states_changed: false,
            asking: Asking::new(),
            text: Vec::new(),
        }
    }

    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }
}

impl Answers for Door {
    fn answer<'a>(
        &'a mut self,
        asker: Asker,
        request: &Request<'_>,
        now: Now,
    ) -> Option<Answer<'a>> {
        match ask(request, &self.gate) {
            Some(Ok(ask)) => {
                self.asking.push_back((asker, ask));
                return None;
            }
            Some(Err(refusal)) => return Some(asks::refusal(&refusal, &mut self.text)),
            None => {}
        }
        // Straight from the counters: some ten nanoseconds a backend, so every answer tells this very instant.
        self.board.refresh(now);
        Some(answer(
            request,
            &self.gate,
            self.board.snapshot(),
            &mut self.pages,
        ))
    }
}
