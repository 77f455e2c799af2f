//! What HA, a browser, Prometheus and `hustdbsync status` are answered: from memory, whatever else goes on. What control has to follow first is
//! left for it.

use super::asks::{self, Asking};
use super::vitals::Vitals;
use crate::clock::Now;
use crate::engine::listener::{Answers, Asker};
use crate::http::answer::Answer;
use crate::http::request::Request;
use crate::status::answer::{Gate, Pages, answer};
use crate::status::ask::ask;
use crate::status::route::{Page, Route};
use crate::status::server::DoorCounts;
use crate::status::snapshot::Board;

/// See the module.
pub(super) struct Door {
    gate: Gate,
    pages: Pages,
    vitals: Vitals,
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
    pub(super) fn new(gate: Gate, vitals: Vitals, memory_budget_bytes: usize, now: Now) -> Self {
        let mut board = Board::new(now);
        board.server_mut().memory_budget_bytes = memory_budget_bytes as u64;
        Self {
            gate,
            pages: Pages::default(),
            vitals,
            board,
            states_changed: false,
            asking: Asking::new(),
            text: Vec::new(),
        }
    }

    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// What is told from control's turn to its next.
    pub(super) fn handle_turn(&mut self, counts: DoorCounts, is_ending: bool, now: Now) {
        self.vitals.look(now);
        let server = self.board.server_mut();
        server.door = counts;
        server.is_ending = is_ending;
    }

    pub(super) fn set_memory_budget(&mut self, bytes: usize) {
        self.board.server_mut().memory_budget_bytes = bytes as u64;
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
        match Route::of(request.path) {
            Some(Route::Read(Page::Health | Page::Readiness)) => {
                self.vitals.tell_health(self.board.server_mut(), now);
            }
            Some(Route::Read(Page::Metrics)) if self.gate.admits(request) => {
                self.vitals.tell_all(self.board.server_mut(), now);
                self.board.refresh_details();
            }
            _ => {}
        }
        Some(answer(
            request,
            &self.gate,
            self.board.snapshot(),
            &mut self.pages,
        ))
    }
}
