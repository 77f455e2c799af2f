//! Clients' requests that change something or take time. They are carried out in the controller's
//! turns, and answered then or later.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Controller;
use super::action::{Action, Reply};
use super::backends::LeavingAnswer;
use super::sync_points::{Asked, Waiter};
use crate::clock::Now;
use crate::http::answer::{ClientId, Status};
use crate::limits::{ASKS_PER_TURN, REQUEUES_MAX};
use crate::replay::messages::{
    BackendId, BackendMessage, CheckpointerMessage, Filter, ReaderMessage, Requeued,
};
use crate::status::control_request::{
    BackendRequest, ControlRequest, Listed, RejectedFailure, RejectedReport, RejectedRequest,
    RejectedVerb, SyncPointRequest, unknown_backend,
};
use crate::status::sync_point::{PointBoard, SERVER_ENDS};

const FORGOTTEN: &str = "there is no such sync point: it was never taken, the server was restarted \
                         since, or nobody asked for it in a long time; take another, which covers \
     all that it did";

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
    /// Those that are not carried out yet.
    queue: VecDeque<(ClientId, ControlRequest)>,
    next: u64,
    requeues: Vec<Requeueing>,
    /// Questions for a list of rejected lines or logs, with who asks.
    lists: Vec<(u64, ClientId)>,
}

impl PendingRequests {
    pub(super) fn push(&mut self, client: ClientId, request: ControlRequest) {
        self.queue.push_back((client, request));
    }

    /// Whether none is left for the next turn.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Controller {
    /// Carries out the queued requests, and answers clients that need not wait any longer.
    pub(super) fn follow_requests(&mut self, now: Now) {
        for _ in 0..ASKS_PER_TURN {
            let Some((client, ask)) = self.requests.queue.pop_front() else {
                break;
            };
            let drains = ask == ControlRequest::Drain && self.phase.is_running();
            if let Some(reply) = self.follow_ask(client, ask, now) {
                self.reply(client, reply);
            }
            if drains {
                self.handle_stop(now);
            }
        }
        let end = !self.phase.is_running();
        while let Some(waiter) = self.sync_points.take_due(end, now) {
            self.answer_waiter(&waiter, now);
        }
        while let Some(id) = self.sync_points.take_expired(now) {
            self.forget_point(id);
        }
        let (points, waiters) = self.sync_points.counts();
        self.board.set_sync_points(points, waiters);
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
            ControlRequest::Rotate => {
                self.actions.push_back(Action::Rotate(client));
                None
            }
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
            ControlRequest::ListRejected { backend } => {
                self.list(client, &backend, |backend, ask| {
                    CheckpointerMessage::Of(backend, BackendMessage::ListRejected { ask })
                })
            }
            ControlRequest::ListLogs { backend } => self.list(client, &backend, |backend, ask| {
                CheckpointerMessage::ListLogs { backend, ask }
            }),
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
        match followed {
            Ok(said) => {
                tracing::info!(backend = name, "asked at the HTTP server: {said}");
                Reply::line(Status::Ok, &format!("{name}: {said}"))
            }
            Err(why) => Reply::line(Status::Conflict, &format!("{name}: {why}")),
        }
    }

    /// Answers the client that has asked for a backend to be forgotten, if one waits.
    pub(super) fn answer_leaving(&mut self, answer: Option<LeavingAnswer>) {
        let Some(answer) = answer else {
            return;
        };
        let reply = match &answer.said {
            Ok(said) => {
                tracing::info!("asked at the HTTP server: {said}");
                Reply::line(Status::Ok, said)
            }
            Err(why) => Reply::line(Status::Conflict, why),
        };
        self.reply(answer.client, reply);
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
        let is_backend = self.rules.is_backend;
        self.outbox
            .reader(ReaderMessage::SyncPoint { id, is_backend });
        // Find what belongs to the point and has not been reported by an event yet.
        self.dirty_flags.hint_overflow();
        None
    }

    fn forget_point(&mut self, id: u64) {
        self.outbox
            .checkpointer(CheckpointerMessage::ForgetSyncPoint { id });
    }

    fn ask_point(&mut self, client: ClientId, ask: SyncPointRequest, now: Now) -> Option<Reply> {
        let name = ask.backend.clone().unwrap_or_default();
        match self.sync_points.ask(client, ask, now) {
            Asked::Later => None,
            Asked::Unknown => Some(Reply::line(Status::NotFound, FORGOTTEN)),
            Asked::NoBackend(_) if self.backends.names().iter().any(|known| **known == *name) => {
                let why = format!("{name} had no folder of logs when this sync point was taken");
                Some(Reply::line(Status::NotFound, &why))
            }
            Asked::NoBackend(names) => Some(no_backend(&name, &names)),
            Asked::Answer(waiter) => {
                self.answer_waiter(&waiter, now);
                None
            }
        }
    }

    fn answer_waiter(&mut self, waiter: &Waiter, now: Now) {
        let reply = self.point_reply(&waiter.id, &waiter.board, waiter.backend.as_deref(), now);
        self.reply(waiter.client, reply);
    }

    fn point_reply(
        &mut self,
        id: &str,
        point: &PointBoard,
        backend: Option<&str>,
        now: Now,
    ) -> Reply {
        self.board.refresh(now);
        let mut body = Vec::new();
        point.write(id, backend, self.board.snapshot(), &mut body);
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
            // Another has its place by now.
            return self.forget_point(id);
        };
        let reply = match taken {
            Ok(point) => self.point_reply(&self.sync_points.id(id), &point, None, now),
            Err(why) => Reply::line(Status::Unavailable, &why),
        };
        self.reply(client, reply);
    }

    /// The backend of this name, which is not being forgotten; or what to answer in its place.
    fn present(&self, name: &str) -> Result<BackendId, Reply> {
        match self.backends.find(name) {
            Some(id) if !self.backends.ids().contains(&id) => {
                let why = format!("{name}: its folder is gone, and it is being forgotten");
                Err(Reply::line(Status::Conflict, &why))
            }
            Some(id) => Ok(id),
            None => Err(self.no_backend(name)),
        }
    }

    /// Whether no more questions that the checkpointer answers may wait; what to answer then.
    fn too_many_wait(&self) -> Option<Reply> {
        let waiting = self.requests.requeues.len() + self.requests.lists.len();
        let why = "too many questions about rejected lines or logs wait for an answer; try again \
                   in a moment";
        (waiting >= REQUEUES_MAX).then(|| Reply::line(Status::Unavailable, why))
    }

    fn list(
        &mut self,
        client: ClientId,
        name: &str,
        question: impl FnOnce(BackendId, u64) -> CheckpointerMessage,
    ) -> Option<Reply> {
        let backend = match self.present(name) {
            Ok(backend) => backend,
            Err(reply) => return Some(reply),
        };
        if let Some(reply) = self.too_many_wait() {
            return Some(reply);
        }
        self.requests.next += 1;
        let ask = self.requests.next;
        self.outbox.checkpointer(question(backend, ask));
        self.requests.lists.push((ask, client));
        None
    }

    /// The checkpointer has read the lines that were rejected last, or which logs there are.
    pub(super) fn handle_listed(&mut self, ask: u64, listed: Result<Listed, String>) {
        let mut lists = self.requests.lists.iter();
        let Some(at) = lists.position(|(known, _)| *known == ask) else {
            return;
        };
        let (_, client) = self.requests.lists.remove(at);
        let reply = match listed {
            Ok(list) => Reply::json(Status::Ok, json_line(&list)),
            Err(why) => Reply::line(Status::Unavailable, &why),
        };
        self.reply(client, reply);
    }

    fn requeue(&mut self, client: ClientId, ask: RejectedRequest) -> Option<Reply> {
        let mut backends = match &ask.backend {
            None => self.backends.ids(),
            Some(name) => match self.present(name) {
                Ok(id) => vec![id],
                Err(reply) => return Some(reply),
            },
        };
        if let Some(reply) = self.too_many_wait() {
            return Some(reply);
        }
        let what = ask.verb;
        let mut report = RejectedReport::default();
        if what == RejectedVerb::Replay {
            backends.retain(|backend| match self.why_not_replayed(*backend) {
                None => true,
                Some(failure) => {
                    report.failed.push(failure);
                    false
                }
            });
        }
        if backends.is_empty() {
            return Some(rejected_reply(&report));
        }
        self.requests.next += 1;
        let number = self.requests.next;
        let filter = Filter {
            reason: ask.reason,
            since: ask.since,
            until: ask.until,
            ids: ask.ids,
        };
        for backend in &backends {
            let message = BackendMessage::Requeue {
                ask: number,
                what,
                filter: filter.clone(),
            };
            self.outbox.backend_message(*backend, message);
        }
        self.requests.requeues.push(Requeueing {
            ask: number,
            client,
            waits_for: backends.len(),
            report,
        });
        None
    }

    /// Why no lines are replayed to a backend whose folder is another one's: they would go to that
    /// one.
    fn why_not_replayed(&self, backend: BackendId) -> Option<RejectedFailure> {
        let info = self.backends.info(backend)?;
        let mut second_names = self.board.snapshot().second_names.iter();
        let second_name = second_names.find(|second| second.name == *info.name)?;
        Some(RejectedFailure {
            backend: second_name.name.clone(),
            why: second_name.why(),
        })
    }

    /// The checkpointer has requeued or dropped a backend's rejected lines.
    pub(super) fn handle_requeued(
        &mut self,
        backend: BackendId,
        ask: u64,
        outcome: Result<Requeued, String>,
    ) {
        let mut requeues = self.requests.requeues.iter();
        let Some(at) = requeues.position(|known| known.ask == ask) else {
            return;
        };
        let known = &mut self.requests.requeues[at];
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
            self.dirty_flags.hint_listing(&info.dirty_flags);
        }
        known.waits_for -= 1;
        if known.waits_for == 0 {
            let known = self.requests.requeues.remove(at);
            self.reply(known.client, rejected_reply(&known.report));
        }
    }

    fn reply(&mut self, client: ClientId, reply: Reply) {
        self.actions.push_back(Action::Reply(client, reply));
    }
}

fn rejected_reply(report: &RejectedReport) -> Reply {
    let status = if report.failed.is_empty() {
        Status::Ok
    } else {
        Status::Unavailable
    };
    Reply::json(status, json_line(report))
}

fn json_line(value: &impl serde::Serialize) -> Vec<u8> {
    // Numbers and strings: neither can fail.
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    body
}

/// The answer for an unknown backend, which lists the known ones.
fn no_backend(name: &str, names: &[Arc<str>]) -> Reply {
    Reply::line(Status::NotFound, &unknown_backend(name, names))
}
