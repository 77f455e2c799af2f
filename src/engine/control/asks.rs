//! What is asked for at HA's door that changes something or takes its time: followed between two polls, and answered then or later.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;

use super::Control;
use super::backends::LeavingAnswer;
use super::sync_points::{Asked, Waiter};
use crate::clock::Now;
use crate::config::BackendName;
use crate::engine::listener::Asker;
use crate::http::answer::{Answer, Status};
use crate::limits::{ASKS_PER_TURN, REWORKS_MAX};
use crate::replay::messages::{BackendId, FeederMail, Filter, KeeperMail, Rework, Reworked};
use crate::replay::post::After;
use crate::status::ask::{
    Ask, BackendAsk, PointAsk, Refusal, RejectedAsk, RejectedFailure, RejectedReport, RejectedVerb,
};
use crate::status::sync_point::PointBoard;
use crate::text::nearest;

/// Begins the server's own log file anew, and says what became of that; it must not wait for a disk.
pub type Rotate = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Names that a message repeats.
const NAMES_SHOWN_MAX: usize = 20;
/// Letters that may differ between a name and what was meant.
const SLIPS_MAX: usize = 3;

const ENDS: &str = "the server ends";
const FORGOTTEN: &str = "there is no such sync point: it was never taken, the server was restarted since, or nobody asked for it in a long time; take another, which covers \
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

/// A question that the keeper answers, one backend after the other.
struct Reworking {
    ask: u64,
    asker: Asker,
    /// Backends that have not been answered for.
    waits_for: usize,
    report: RejectedReport,
}

/// What was asked for and is not answered.
#[derive(Default)]
pub(super) struct Asks {
    next: u64,
    reworks: Vec<Reworking>,
}

/// What waits at the door to be followed.
pub(super) type Asking = VecDeque<(Asker, Ask)>;

impl Control {
    /// Follows what was asked for at the door, and answers those who need not wait any more.
    pub(super) fn follow_asks(&mut self, now: Now) {
        for _ in 0..ASKS_PER_TURN {
            let Some((asker, ask)) = self.door.asking.pop_front() else {
                break;
            };
            let drains = ask == Ask::Drain && self.phase.is_running();
            if let Some(reply) = self.follow_ask(asker, ask, now) {
                self.reply(asker, &reply, now);
            }
            if drains {
                self.begin_end(now);
            }
        }
        self.busy |= !self.door.asking.is_empty();
        let end = !self.phase.is_running();
        while let Some(waiter) = self.sync_points.take_due(end, now) {
            self.answer_waiter(&waiter, now);
        }
        while let Some(id) = self.sync_points.take_expired(now) {
            self.forget_point(id);
        }
        let (points, waiters) = self.sync_points.counts();
        self.door.board.set_sync_points(points, waiters);
    }

    /// The answer, if it is ready.
    fn follow_ask(&mut self, asker: Asker, ask: Ask, now: Now) -> Option<Reply> {
        if !self.phase.is_running() {
            return Some(Reply::line(Status::Unavailable, ENDS));
        }
        match ask {
            Ask::Backend { backend, what } => {
                let Some(id) = self.backends.find(&backend) else {
                    return Some(self.no_backend(&backend));
                };
                if let BackendAsk::Forget { yes } = what {
                    let why = self.backends.want_forgotten(id, asker, yes, now)?;
                    return Some(Reply::line(Status::Conflict, &format!("{backend}: {why}")));
                }
                Some(self.follow_backend(id, &backend, what, now))
            }
            Ask::Rotate => Some(match (self.rotate)() {
                Ok(said) => Reply::line(Status::Ok, &said),
                Err(why) => Reply::line(Status::Conflict, &why),
            }),
            Ask::Drain => Some(Reply::line(
                Status::Ok,
                &format!(
                    "what is in flight has {:?} to be answered, then the server ends",
                    self.settings.drain_timeout
                ),
            )),
            Ask::TakeSyncPoint => self.take_point(asker, now),
            Ask::SyncPoint(ask) => self.ask_point(asker, ask, now),
            Ask::Rejected(ask) => self.rework(asker, ask),
        }
    }

    fn follow_backend(&mut self, id: BackendId, name: &str, what: BackendAsk, now: Now) -> Reply {
        let (backends, mut hands) = self.hands(now);
        let followed = backends.handle_ask(id, what, &mut hands);
        // Whoever asks next how it is hears of it.
        backends.turn(&mut hands);
        if followed.is_ok() {
            tracing::info!(backend = name, "asked at the door: {what:?}");
        }
        match followed {
            Ok(said) => Reply::line(Status::Ok, &format!("{name}: {said}")),
            Err(why) => Reply::line(Status::Conflict, &format!("{name}: {why}")),
        }
    }

    /// Answers who asked for a backend to be forgotten.
    pub(super) fn answer_leaving(&mut self, answer: LeavingAnswer, now: Now) {
        let reply = match &answer.said {
            Ok(said) => {
                tracing::info!("asked at the door: {said}");
                Reply::line(Status::Ok, said)
            }
            Err(why) => Reply::line(Status::Conflict, why),
        };
        self.reply(answer.asker, &reply, now);
    }

    fn no_backend(&self, name: &str) -> Reply {
        no_backend(name, &self.backends.names())
    }

    fn take_point(&mut self, asker: Asker, now: Now) -> Option<Reply> {
        let Some((id, forgotten)) = self.sync_points.begin(asker, now) else {
            let why = "too many sync points are being taken; try again in a moment";
            return Some(Reply::line(Status::Unavailable, why));
        };
        if let Some(forgotten) = forgotten {
            self.forget_point(forgotten);
        }
        let is_backend = |folder: &str| BackendName::parse(folder).is_ok();
        self.post
            .feeder(After::Nothing, FeederMail::SyncPoint { id, is_backend });
        // What the point has and no hint has told of is to be found now.
        self.links.hints.hint_overflow();
        None
    }

    fn forget_point(&mut self, id: u64) {
        self.post
            .keeper(After::Nothing, KeeperMail::ForgetSyncPoint { id });
    }

    fn ask_point(&mut self, asker: Asker, ask: PointAsk, now: Now) -> Option<Reply> {
        let name = ask.backend.clone().unwrap_or_default();
        match self.sync_points.ask(asker, ask, now) {
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
        self.reply(waiter.asker, &reply, now);
    }

    fn point_reply(
        &mut self,
        id: &str,
        point: &PointBoard,
        backend: Option<&str>,
        now: Now,
    ) -> Reply {
        self.door.board.refresh(now);
        let mut body = Vec::new();
        point.write(id, backend, self.door.board.snapshot(), &mut body);
        Reply::json(Status::Ok, body)
    }

    /// The keeper has made a point, or why not.
    pub(super) fn handle_point_taken(
        &mut self,
        id: u64,
        taken: Result<Arc<PointBoard>, String>,
        now: Now,
    ) {
        let Some(asker) = self
            .sync_points
            .handle_taken(id, taken.as_ref().ok().cloned())
        else {
            return;
        };
        let reply = match taken {
            Ok(point) => self.point_reply(&self.sync_points.id(id), &point, None, now),
            Err(why) => Reply::line(Status::Unavailable, &why),
        };
        self.reply(asker, &reply, now);
    }

    fn rework(&mut self, asker: Asker, ask: RejectedAsk) -> Option<Reply> {
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
        if self.asks.reworks.len() >= REWORKS_MAX {
            let why =
                "too many questions about rejected lines wait for an answer; try again in a moment";
            return Some(Reply::line(Status::Unavailable, why));
        }
        if backends.is_empty() {
            return Some(rejected_reply(&RejectedReport::default()));
        }
        self.asks.next += 1;
        let number = self.asks.next;
        let what = match ask.verb {
            RejectedVerb::Replay => Rework::Replay,
            RejectedVerb::Drop => Rework::Drop,
        };
        let filter = Filter {
            reason: ask.reason,
            since: ask.since,
            until: ask.until,
            ids: ask.ids,
        };
        for backend in &backends {
            let mail = KeeperMail::Rework {
                backend: *backend,
                ask: number,
                what,
                filter: filter.clone(),
            };
            self.post.keeper(After::Nothing, mail);
        }
        self.asks.reworks.push(Reworking {
            ask: number,
            asker,
            waits_for: backends.len(),
            report: RejectedReport::default(),
        });
        None
    }

    /// The keeper has done something with a backend's rejected lines.
    pub(super) fn handle_reworked(
        &mut self,
        backend: BackendId,
        ask: u64,
        outcome: Result<Reworked, String>,
        now: Now,
    ) {
        let mut reworks = self.asks.reworks.iter();
        let Some(at) = reworks.position(|known| known.ask == ask) else {
            return;
        };
        let known = &mut self.asks.reworks[at];
        let info = self.backends.info(backend);
        match outcome {
            Ok(Reworked { done, cut, left }) => {
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
            self.links.hints.hint_listing(&info.hints);
        }
        known.waits_for -= 1;
        if known.waits_for == 0 {
            let known = self.asks.reworks.remove(at);
            self.reply(known.asker, &rejected_reply(&known.report), now);
        }
    }

    fn reply(&mut self, asker: Asker, reply: &Reply, now: Now) {
        let answer = Answer {
            status: reply.status,
            content_type: Some(reply.content_type),
            fields: &[("Cache-Control", "no-store")],
            body: &reply.body,
        };
        // Who asked may have gone.
        self.listener.respond(asker, &answer, now, &mut self.door);
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

/// There is no such backend; there are these.
fn no_backend(name: &str, names: &[Arc<str>]) -> Reply {
    let shown: String = name.chars().filter(|letter| !letter.is_control()).collect();
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

/// Writes a refusal's line.
pub(super) fn refusal<'a>(refusal: &Refusal, text: &'a mut Vec<u8>) -> Answer<'a> {
    if refusal.why.is_empty() {
        return Answer::empty(refusal.status).with_fields(refusal.fields);
    }
    text.clear();
    text.extend_from_slice(refusal.why.as_bytes());
    text.push(b'\n');
    Answer::text(refusal.status, text).with_fields(refusal.fields)
}
