//! Answers HA, browsers, Prometheus and `hustdbsync status` from memory, whatever else is going on.
//! Requests that the controller has to carry out first are queued for it.

use super::pending_requests::{self, RequestQueue};
use super::process_stats::ProcessStats;
use crate::clock::Now;
use crate::engine::listener::{Answers, ClientId};
use crate::http::answer::Answer;
use crate::http::request::Request;
use crate::status::answer::{Auth, BodyCache, answer, is_long};
use crate::status::control_request::ask;
use crate::status::route::{Page, Route};
use crate::status::server::ListenerCounters;
use crate::status::snapshot::StatusBoard;

/// See the module.
pub(super) struct HttpServer {
    auth: Auth,
    body_cache: BodyCache,
    process_stats: ProcessStats,
    /// The backends, as they are reported.
    pub(super) board: StatusBoard,
    /// A backend's state has changed since this was last reset.
    pub(super) states_changed: bool,
    /// Requests that the controller has to carry out.
    pub(super) pending: RequestQueue,
    /// When the counters were last read.
    refreshed_at: Option<Now>,
    /// The last refusal's line.
    text: Vec<u8>,
}

impl HttpServer {
    pub(super) fn new(
        auth: Auth,
        process_stats: ProcessStats,
        memory_budget_bytes: usize,
        now: Now,
    ) -> Self {
        let mut board = StatusBoard::new(now);
        board.server_mut().memory_budget_bytes = memory_budget_bytes as u64;
        Self {
            auth,
            body_cache: BodyCache::default(),
            process_stats,
            board,
            states_changed: false,
            pending: RequestQueue::new(),
            refreshed_at: None,
            text: Vec::new(),
        }
    }

    pub(super) fn set_auth(&mut self, auth: Auth) {
        self.auth = auth;
    }

    /// Takes over the numbers that are reported until the controller's next turn.
    pub(super) fn handle_turn(&mut self, counts: ListenerCounters, is_ending: bool, now: Now) {
        self.process_stats.look(now);
        let server = self.board.server_mut();
        server.http_server = counts;
        server.is_ending = is_ending;
    }

    pub(super) fn set_memory_budget(&mut self, bytes: usize) {
        self.board.server_mut().memory_budget_bytes = bytes as u64;
    }
}

impl Answers for HttpServer {
    fn is_long(&self, request: &Request<'_>) -> bool {
        is_long(request, &self.auth, self.board.snapshot())
    }

    fn answer<'a>(
        &'a mut self,
        client: ClientId,
        request: &Request<'_>,
        now: Now,
    ) -> Option<Answer<'a>> {
        match ask(request, &self.auth) {
            Some(Ok(ask)) => {
                self.pending.push_back((client, ask));
                return None;
            }
            Some(Err(refusal)) => return Some(pending_requests::refusal(&refusal, &mut self.text)),
            None => {}
        }
        let route = Route::of(request.path);
        // Read from the counters at most once an instant, which takes some hundred nanoseconds a
        // backend.
        let needs_counters = !matches!(route, None | Some(Route::Read(Page::Alive)));
        if needs_counters && self.refreshed_at != Some(now) {
            self.board.refresh(now);
            self.refreshed_at = Some(now);
        }
        match route {
            Some(Route::Read(Page::Health | Page::Readiness)) => {
                self.process_stats.tell_health(self.board.server_mut(), now);
            }
            Some(Route::Read(Page::Metrics))
                if self.body_cache.makes_metrics(request, now.unix)
                    && self.auth.admits(request) =>
            {
                self.process_stats.tell_all(self.board.server_mut(), now);
                self.board.refresh_details();
            }
            _ => {}
        }
        Some(answer(
            request,
            &self.auth,
            self.board.snapshot(),
            &mut self.body_cache,
        ))
    }
}
