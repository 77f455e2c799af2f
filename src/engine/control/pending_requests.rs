//! HTTP requests that change something or take time. The controller carries them out between two
//! polls, and answers them then or later.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use super::Control;
use super::backends::LeavingAnswer;
use super::sync_points::{Asked, Waiter};
use crate::clock::Now;
use crate::config::BackendName;
use crate::engine::listener::ClientId;
use crate::http::answer::{Answer, Status};
use crate::limits::{ASKS_PER_TURN, REQUEUES_MAX};
use crate::replay::messages::{
    BackendId, CheckpointerMessage, Filter, ReaderMessage, Requeue, Requeued,
};
use crate::replay::outbox::After;
use crate::status::control_request::{
    BackendRequest, ControlRequest, Refusal, RejectedFailure, RejectedReport, RejectedRequest,
    RejectedVerb, SyncPointRequest,
};
use crate::status::sync_point::{PointBoard, SERVER_ENDS};
use crate::text::nearest;

/// Reopens the server's own log file, and returns whether that worked; it must not wait for a disk.
pub type Rotate = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Names that a message repeats.
const NAMES_SHOWN_MAX: usize = 20;
/// How many characters may differ between an unknown name and the name that is suggested.
const SLIPS_MAX: usize = 3;

const FORGOTTEN: &str = "there is no such sync point: it was never taken, the server was restarted \
                         since, or nobody asked for it in a long time; take another, which covers \
     all that it did";

/// An answer that is ready.
struct Reply {
    status: Status,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Reply {
    fn line(status: Status, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain",
            body: format!("{text}\n").into_bytes(),
        }
    }

    fn json(status: Status, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: "application/json",
            body,
        }
    }
}

/// A request about rejected lines, which the checkpointer answers for one backend after the other.
struct Requeueing {
    ask: u64,
    client: ClientId,
    /// Backends without an answer yet.
    waits_for: usize,
    report: RejectedReport,
}

/// Requests that are not answered yet.
#[derive(Default)]
pub(super) struct PendingRequests {
    next: u64,
    requeues: Vec<Requeueing>,
}

/// Carrying out requests of the HTTP server.
pub(super) type RequestQueue = VecDeque<(ClientId, ControlRequest)>;

impl Control {
    /// Carries out the queued requests, and answers clients that need not wait any longer.
    pub(super) fn follow_requests(&mut self, now: Now) {
        for _ in 0..ASKS_PER_TURN {
            let Some((client, ask)) = self.http_server.pending.pop_front() else {
                break;
            };
            let drains = ask == ControlRequest::Drain && self.phase.is_running();
            if let Some(reply) = self.follow_ask(client, ask, now) {
                self.reply(client, &reply, now);
            }
            if drains {
                self.begin_end(now);
            }
        }
        self.busy |= !self.http_server.pending.is_empty();
        let end = !self.phase.is_running();
        while let Some(waiter) = self.sync_points.take_due(end, now) {
            self.answer_waiter(&waiter, now);
        }
        while let Some(id) = self.sync_points.take_expired(now) {
            self.forget_point(id);
        }
        let (points, waiters) = self.sync_points.counts();
        self.http_server.board.set_sync_points(points, waiters);
    }

    /// The answer, if it is ready.
    fn follow_ask(&mut self, client: ClientId, ask: ControlRequest, now: Now) -> Option<Reply> {
        if !self.phase.is_running() {
            return Some(Reply::line(Status::Unavailable, SERVER_ENDS));
        }
        match ask {
            ControlRequest::Backend { backend, what } => {
                let Some(id) = self.backends.find(&backend) else {
                    return Some(self.no_backend(&backend));
                };
                if let BackendRequest::Forget { yes } = what {
                    let why = self.backends.want_forgotten(id, client, yes, now)?;
                    return Some(Reply::line(Status::Conflict, &format!("{backend}: {why}")));
                }
                Some(self.follow_backend(id, &backend, what, now))
            }
            ControlRequest::Rotate => Some(match (self.rotate)() {
                Ok(said) => Reply::line(Status::Ok, &said),
                Err(why) => Reply::line(Status::Conflict, &why),
            }),
            ControlRequest::Drain => Some(Reply::line(
                Status::Ok,
                &format!(
                    "what is in flight has {:?} to be answered, then the server ends",
                    self.settings.drain_timeout
                ),
            )),
            ControlRequest::TakeSyncPoint => self.take_point(client, now),
            ControlRequest::SyncPoint(ask) => self.ask_point(client, ask, now),
            ControlRequest::Rejected(ask) => self.requeue(client, ask),
        }
    }

    fn follow_backend(
        &mut self,
        id: BackendId,
        name: &str,
        what: BackendRequest,
        now: Now,
    ) -> Reply {
        let (backends, mut cx) = self.cx(now);
        let followed = backends.handle_ask(id, what, &mut cx);
        // The next answer about its state shows the change.
        backends.turn(&mut cx);
        if followed.is_ok() {
            tracing::info!(backend = name, "asked at the HTTP server: {what:?}");
        }
        match followed {
            Ok(said) => Reply::line(Status::Ok, &format!("{name}: {said}")),
            Err(why) => Reply::line(Status::Conflict, &format!("{name}: {why}")),
        }
    }

    /// Answers the client that has asked for a backend to be forgotten.
    pub(super) fn answer_leaving(&mut self, answer: LeavingAnswer, now: Now) {
        let reply = match &answer.said {
            Ok(said) => {
                tracing::info!("asked at the HTTP server: {said}");
                Reply::line(Status::Ok, said)
            }
            Err(why) => Reply::line(Status::Conflict, why),
        };
        self.reply(answer.client, &reply, now);
    }

    fn no_backend(&self, name: &str) -> Reply {
        no_backend(name, &self.backends.names())
    }

    fn take_point(&mut self, client: ClientId, now: Now) -> Option<Reply> {
        let Some((id, forgotten)) = self.sync_points.begin(client, now) else {
            let why = "too many sync points are being taken; try again in a moment";
            return Some(Reply::line(Status::Unavailable, why));
        };
        if let Some(forgotten) = forgotten {
            self.forget_point(forgotten);
        }
        let is_backend = |folder: &str| BackendName::parse(folder).is_ok();
        self.outbox
            .reader(After::Nothing, ReaderMessage::SyncPoint { id, is_backend });
        // Find what belongs to the point and has not been reported by an event yet.
        self.links.dirty_flags.hint_overflow();
        None
    }

    fn forget_point(&mut self, id: u64) {
        self.outbox
            .checkpointer(After::Nothing, CheckpointerMessage::ForgetSyncPoint { id });
    }

    fn ask_point(&mut self, client: ClientId, ask: SyncPointRequest, now: Now) -> Option<Reply> {
        let name = ask.backend.clone().unwrap_or_default();
        match self.sync_points.ask(client, ask, now) {
            Asked::Later => None,
            Asked::Unknown => Some(Reply::line(Status::NotFound, FORGOTTEN)),
            Asked::NoBackend(names) => Some(no_backend(&name, &names)),
            Asked::Answer(waiter) => {
                self.answer_waiter(&waiter, now);
                None
            }
        }
    }

    fn answer_waiter(&mut self, waiter: &Waiter, now: Now) {
        let reply = self.point_reply(&waiter.id, &waiter.board, waiter.backend.as_deref(), now);
        self.reply(waiter.client, &reply, now);
    }

    fn point_reply(
        &mut self,
        id: &str,
        point: &PointBoard,
        backend: Option<&str>,
        now: Now,
    ) -> Reply {
        self.http_server.board.refresh(now);
        let mut body = Vec::new();
        point.write(id, backend, self.http_server.board.snapshot(), &mut body);
        Reply::json(Status::Ok, body)
    }

    /// The checkpointer has taken a point, or has failed to.
    pub(super) fn handle_point_taken(
        &mut self,
        id: u64,
        taken: Result<Arc<PointBoard>, String>,
        now: Now,
    ) {
        let Some(client) = self
            .sync_points
            .handle_taken(id, taken.as_ref().ok().cloned())
        else {
            return;
        };
        let reply = match taken {
            Ok(point) => self.point_reply(&self.sync_points.id(id), &point, None, now),
            Err(why) => Reply::line(Status::Unavailable, &why),
        };
        self.reply(client, &reply, now);
    }

    fn requeue(&mut self, client: ClientId, ask: RejectedRequest) -> Option<Reply> {
        let backends = match &ask.backend {
            None => self.backends.ids(),
            Some(name) => match self.backends.find(name) {
                Some(id) if !self.backends.ids().contains(&id) => {
                    let why = format!("{name}: its folder is gone, and it is being forgotten");
                    return Some(Reply::line(Status::Conflict, &why));
                }
                Some(id) => vec![id],
                None => return Some(self.no_backend(name)),
            },
        };
        if self.pending_requests.requeues.len() >= REQUEUES_MAX {
            let why =
                "too many questions about rejected lines wait for an answer; try again in a moment";
            return Some(Reply::line(Status::Unavailable, why));
        }
        if backends.is_empty() {
            return Some(rejected_reply(&RejectedReport::default()));
        }
        self.pending_requests.next += 1;
        let number = self.pending_requests.next;
        let what = match ask.verb {
            RejectedVerb::Replay => Requeue::Replay,
            RejectedVerb::Drop => Requeue::Drop,
        };
        let filter = Filter {
            reason: ask.reason,
            since: ask.since,
            until: ask.until,
            ids: ask.ids,
        };
        for backend in &backends {
            let message = CheckpointerMessage::Requeue {
                backend: *backend,
                ask: number,
                what,
                filter: filter.clone(),
            };
            self.outbox.checkpointer(After::Nothing, message);
        }
        self.pending_requests.requeues.push(Requeueing {
            ask: number,
            client,
            waits_for: backends.len(),
            report: RejectedReport::default(),
        });
        None
    }

    /// The checkpointer has requeued or dropped a backend's rejected lines.
    pub(super) fn handle_requeued(
        &mut self,
        backend: BackendId,
        ask: u64,
        outcome: Result<Requeued, String>,
        now: Now,
    ) {
        let mut requeues = self.pending_requests.requeues.iter();
        let Some(at) = requeues.position(|known| known.ask == ask) else {
            return;
        };
        let known = &mut self.pending_requests.requeues[at];
        let info = self.backends.info(backend);
        match outcome {
            Ok(Requeued { done, cut, left }) => {
                known.report.done += done;
                known.report.cut += cut;
                known.report.left += left;
            }
            Err(why) => known.report.failed.push(RejectedFailure {
                backend: info.map(|info| info.name.to_string()).unwrap_or_default(),
                why,
            }),
        }
        if let Some(info) = info {
            self.links.dirty_flags.hint_listing(&info.dirty_flags);
        }
        known.waits_for -= 1;
        if known.waits_for == 0 {
            let known = self.pending_requests.requeues.remove(at);
            self.reply(known.client, &rejected_reply(&known.report), now);
        }
    }

    fn reply(&mut self, client: ClientId, reply: &Reply, now: Now) {
        let answer = Answer {
            status: reply.status,
            content_type: Some(reply.content_type),
            fields: &[("Cache-Control", "no-store")],
            body: &reply.body,
        };
        // The client may be gone.
        self.listener
            .respond(client, &answer, now, &mut self.http_server);
    }
}

fn rejected_reply(report: &RejectedReport) -> Reply {
    let status = if report.failed.is_empty() {
        Status::Ok
    } else {
        Status::Unavailable
    };
    let mut body = serde_json::to_vec(report).unwrap_or_default();
    body.push(b'\n');
    Reply::json(status, body)
}

/// The answer for an unknown backend, which lists the known ones.
fn no_backend(name: &str, names: &[Arc<str>]) -> Reply {
    let shown: String = name
        .chars()
        .filter(|envelope| !envelope.is_control())
        .collect();
    let mut text = format!("there is no backend {shown:?}");
    let near = nearest(name, names.iter().map(|known| (&**known, known)))
        .filter(|(_, slips)| *slips <= SLIPS_MAX);
    // Writing to a `String` cannot fail.
    let _ = match near {
        Some((near, _)) => write!(text, "; did you mean {near}?"),
        None => Ok(()),
    };
    let list: Vec<&str> = names
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|name| &**name)
        .collect();
    let more = names.len().saturating_sub(list.len());
    let _ = match (list.is_empty(), more) {
        (true, _) => write!(text, "; no backend has a log folder"),
        (false, 0) => write!(text, "; there is {}", list.join(", ")),
        (false, more) => write!(text, "; there is {}, and {more} more", list.join(", ")),
    };
    Reply::line(Status::NotFound, &text)
}

/// Writes the line of a refusal.
pub(super) fn refusal<'a>(refusal: &Refusal, text: &'a mut Vec<u8>) -> Answer<'a> {
    if refusal.why.is_empty() {
        return Answer::empty(refusal.status).with_fields(refusal.fields);
    }
    text.clear();
    text.extend_from_slice(refusal.why.as_bytes());
    text.push(b'\n');
    Answer::text(refusal.status, text).with_fields(refusal.fields)
}
