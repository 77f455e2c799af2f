//! Answers HA, browsers, Prometheus and `hustdbsync status` from memory, whatever else is going on.
//! Requests that the controller has to carry out first are queued for it.

use std::net::IpAddr;

use super::process_stats::ProcessStats;
use crate::clock::Now;
use crate::engine::listener::Answers;
use crate::engine::os::facts::random_token;
use crate::http::answer::{Answer, ClientId};
use crate::http::request::Request;
use crate::status::answer::{BodyCache, answer, is_long};
use crate::status::auth::Auth;
use crate::status::control_request::{ControlRequest, Refusal, ask};
use crate::status::route::{Page, Route};
use crate::status::server::ListenerCounters;
use crate::status::snapshot::StatusBoard;

/// See the module.
pub(super) struct HttpServer {
    auth: Auth,
    /// What lets our own page act, for the life of this process.
    token: Option<String>,
    body_cache: BodyCache,
    process_stats: ProcessStats,
    /// Requests that the controller has to carry out.
    pub(super) pending: Vec<(ClientId, ControlRequest)>,
    /// When the counters were last read.
    refreshed_at: Option<Now>,
    /// The last refusal's line.
    text: Vec<u8>,
}

impl HttpServer {
    pub(super) fn new(auth: Auth, process_stats: ProcessStats) -> Self {
        let token = random_token()
            .inspect_err(|error| {
                tracing::warn!(%error, "the page may show and not act: the system gives no random \
                    bytes");
            })
            .ok();
        Self {
            auth: auth.with_token(token.clone()),
            token,
            body_cache: BodyCache::default(),
            process_stats,
            pending: Vec::new(),
            refreshed_at: None,
            text: Vec::new(),
        }
    }

    pub(super) fn set_auth(&mut self, auth: Auth) {
        self.auth = auth.with_token(self.token.clone());
    }

    /// Takes over the numbers that are reported until the controller's next turn.
    pub(super) fn handle_turn(
        &mut self,
        board: &mut StatusBoard,
        counts: ListenerCounters,
        is_ending: bool,
        now: Now,
    ) {
        self.process_stats.look(now);
        let server = board.server_mut();
        server.http_server = counts;
        server.is_ending = is_ending;
    }

    /// What answers requests from what `board` has.
    pub(super) fn with<'a>(&'a mut self, board: &'a mut StatusBoard) -> Answering<'a> {
        Answering {
            server: self,
            board,
        }
    }
}

/// The server, and the backends as they are reported.
pub(super) struct Answering<'a> {
    server: &'a mut HttpServer,
    board: &'a mut StatusBoard,
}

impl Answers for Answering<'_> {
    fn is_long(&self, request: &Request<'_>) -> bool {
        is_long(request, &self.server.auth, self.board.snapshot())
    }

    fn answer<'a>(
        &'a mut self,
        client: ClientId,
        peer: IpAddr,
        request: &Request<'_>,
        now: Now,
    ) -> Option<Answer<'a>> {
        let Self { server, board } = self;
        match ask(request, &server.auth) {
            Some(Ok(ask)) => {
                if let Some(what) = ask.act() {
                    let (backend, user) = (ask.backend(), server.auth.user());
                    tracing::info!(
                        backend, %peer, user,
                        "somebody asks at the HTTP server to {what}"
                    );
                }
                server.pending.push((client, ask));
                return None;
            }
            Some(Err(refusal)) => return Some(refuse(&refusal, &mut server.text)),
            None => {}
        }
        let route = Route::of(request.path);
        // Read from the counters at most once an instant, which takes some hundred nanoseconds a
        // backend.
        let needs_counters = !matches!(route, None | Some(Route::Read(Page::Alive)));
        if needs_counters && server.refreshed_at != Some(now) {
            board.refresh(now);
            server.refreshed_at = Some(now);
        }
        match route {
            Some(Route::Read(Page::Health | Page::Readiness)) => {
                server.process_stats.tell_health(board.server_mut(), now);
            }
            Some(Route::Read(Page::Metrics))
                if server.body_cache.makes_metrics(request, now.unix)
                    && server.auth.admits(request) =>
            {
                server.process_stats.tell_all(board.server_mut(), now);
                board.refresh_details();
                board.refresh_times(now);
            }
            Some(Route::Read(Page::Report))
                if server.body_cache.makes_report(now.unix) && server.auth.admits(request) =>
            {
                server.process_stats.tell_health(board.server_mut(), now);
                board.refresh_times(now);
            }
            _ => {}
        }
        Some(answer(request, &server.auth, board, &mut server.body_cache))
    }
}

/// Writes the line of a refusal.
fn refuse<'a>(refusal: &Refusal, text: &'a mut Vec<u8>) -> Answer<'a> {
    if refusal.why.is_empty() {
        return Answer::empty(refusal.status).with_fields(refusal.fields);
    }
    text.clear();
    text.extend_from_slice(refusal.why.as_bytes());
    text.push(b'\n');
    Answer::text(refusal.status, text).with_fields(refusal.fields)
}
