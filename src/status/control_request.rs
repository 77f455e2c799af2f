//! Requests that change something, or that are answered later: from a request to what it asks for.
//! Pure; who asks without credentials learns nothing.
//!
//! | request | asks |
//! |---|---|
//! | `POST /sync_point` | for a mark at the end of all logs |
//! | `GET /sync_point?id=…[&wait=30s][&backend=B]` | whether all before that mark is settled |
//! | `POST /v1/control/pause?backend=B` | to stop replaying to a backend |
//! | `POST /v1/control/resume?backend=B` | to go on |
//! | `POST /v1/control/rate?backend=B&rate=1000` | for another rate limit |
//! | `POST /v1/control/probe?backend=B` | to probe a backend now |
//! | `POST /v1/control/forget?backend=B[&yes=true]` | to forget a backend whose folder is gone |
//! | `POST /v1/control/rotate` | to begin the server's own log file anew |
//! | `POST /v1/control/drain` | to finish what is in flight and end |
//! | `GET /v1/rejected?backend=B` | for the lines that were rejected last |
//! | `POST /v1/rejected/replay?…` | to replay lines that were rejected |
//! | `POST /v1/rejected/drop?…` | to throw lines away that were rejected |
//!
//! `B` is `host:port`. A sync point is answered after `wait` at the latest. A rate is in records a
//! second; `0` is no limit, `default` is the configuration's. With `yes`, a backend is forgotten
//! with whatever is left of it.
//!
//! The last two select by `backend`, `reason`, `since`, `until` (seconds since 1970, both included)
//! and `id` (one or more, with commas); all that are given must hold, and where none is, `all=true`
//! must. A parameter that is not known is refused, not passed over: a slip must not widen what is
//! dropped.
//!
//! Who may ask is decided by [`super::auth`].
//!
//! Order: 421 for another's name, 401 without credentials, 403 for a user who may look only and for
//! a page that is not ours, 404 for a path that is none, 405 for another method, 400 for a
//! parameter that is missing, unknown or wrong.

mod parameters;
mod refusal;
#[cfg(test)]
mod tests;
mod unknown;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::auth::Auth;
pub use super::route::RejectedVerb;
use super::route::{ControlVerb, Route, control_words, rejected_words};
use crate::http::answer::Status;
use crate::http::request::{Method, Request};
use crate::limits::{RATE_MAX, REJECTED_IDS_MAX, SYNC_POINT_WAIT_MAX};
use crate::text::parse_duration;
use parameters::{Parameters, digits};
pub use refusal::Refusal;
pub use unknown::unknown_backend;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// Something that concerns one backend.
    Backend {
        /// Whom, `host:port`.
        backend: String,
        what: BackendRequest,
    },
    /// To begin the server's own log file anew.
    Rotate,
    /// To finish what is in flight and end.
    Drain,
    /// For a mark at the end of all logs.
    TakeSyncPoint,
    /// Whether everything before a mark is settled.
    SyncPoint(SyncPointRequest),
    /// For the lines that were rejected last.
    ListRejected {
        /// Whose, `host:port`.
        backend: String,
    },
    /// For a backend's logs.
    ListLogs {
        /// Whose, `host:port`.
        backend: String,
    },
    /// Something about lines that were rejected.
    Rejected(RejectedRequest),
}

impl ControlRequest {
    /// What it is to do, if it changes something: "asked to …".
    #[must_use]
    pub(crate) fn act(&self) -> Option<&'static str> {
        Some(match self {
            Self::Backend { what, .. } => match what {
                BackendRequest::Pause => "pause it",
                BackendRequest::Resume => "resume it",
                BackendRequest::Rate(_) => "change its rate limit",
                BackendRequest::Probe => "probe it",
                BackendRequest::Forget { .. } => "forget it",
            },
            Self::Rotate => "begin the log file anew",
            Self::Drain => "end",
            Self::Rejected(request) => match request.verb {
                RejectedVerb::Replay => "replay rejected lines",
                RejectedVerb::Drop => "throw rejected lines away",
            },
            Self::TakeSyncPoint
            | Self::SyncPoint(_)
            | Self::ListRejected { .. }
            | Self::ListLogs { .. } => return None,
        })
    }

    /// The one backend that it is about, if it is about one.
    #[must_use]
    pub(crate) fn backend(&self) -> Option<&str> {
        match self {
            Self::Backend { backend, .. }
            | Self::ListRejected { backend }
            | Self::ListLogs { backend } => Some(backend),
            Self::Rejected(request) => request.backend.as_deref(),
            Self::SyncPoint(request) => request.backend.as_deref(),
            Self::Rotate | Self::Drain | Self::TakeSyncPoint => None,
        }
    }
}

/// What is asked for concerning one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendRequest {
    /// To stop replaying to it.
    Pause,
    /// To go on.
    Resume,
    /// For another bound, in records a second; 0 is none, `None` the configuration's.
    Rate(Option<u32>),
    /// To probe it now.
    Probe,
    /// To forget it, its folder being gone.
    Forget {
        /// Whatever is left of it.
        yes: bool,
    },
}

/// Whether everything before a mark is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncPointRequest {
    /// Which mark.
    pub id: String,
    /// For how long to wait until it is.
    pub wait: Duration,
    /// Of one backend only.
    pub backend: Option<String>,
}

/// Something about lines that were rejected: of those, with all that is given here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRequest {
    pub verb: RejectedVerb,
    /// Of one backend only.
    pub backend: Option<String>,
    pub reason: Option<String>,
    /// Rejected at this time or later, Unix seconds.
    pub since: Option<u64>,
    /// Rejected at this time or before, Unix seconds.
    pub until: Option<u64>,
    /// One of these; empty: any.
    pub ids: Vec<u64>,
}

/// What became of lines that were rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RejectedReport {
    /// Lines that are being replayed, or are thrown away.
    pub done: u64,
    /// Lines that were to be replayed and stay, since only a part of them was kept.
    pub cut: u64,
    /// Lines that are rejected now, of the backends that were asked for.
    pub left: u64,
    /// Backends for which it could not be done.
    pub failed: Vec<RejectedFailure>,
}

/// The lines of a backend that were rejected last, as far as they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RejectedList {
    /// The newest first.
    pub lines: Vec<RejectedPlace>,
    /// Lines that are rejected now.
    pub left: u64,
}

/// A rejected line, without what stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RejectedPlace {
    /// Its id: 16 hexadecimal digits.
    pub id: String,
    /// When it was rejected, in seconds since 1970.
    pub unix: u64,
    /// The log.
    pub file: String,
    /// The line's number in it.
    pub line: u64,
    /// Why, in one word.
    pub reason: String,
    /// Why, in more.
    pub detail: String,
}

/// A list that a client has asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Listed {
    /// Of lines that were rejected.
    Rejected(RejectedList),
    Logs(LogList),
}

/// The logs of a backend, as far as they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogList {
    /// Those that have left their folder undelivered, then those in it in the order of replay.
    pub logs: Vec<LogPlace>,
    /// How many more there are.
    pub more: u64,
}

/// A log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogPlace {
    pub name: String,
    /// Its length; of one that is gone, when it was seen last.
    pub bytes: u64,
    /// Up to which byte it is completed: acknowledged, or rejected.
    pub completed_bytes: u64,
    /// When it was changed last, in seconds since 1970; 0 if that is not known.
    pub changed_unix: u64,
    /// It has left its folder.
    pub gone: bool,
}

/// A backend for which it could not be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RejectedFailure {
    /// `host:port`
    pub backend: String,
    /// Why, as a sentence.
    pub why: String,
}

/// What `request` asks for; none where it is for [`super::answer`].
#[must_use]
pub fn ask(request: &Request<'_>, auth: &Auth) -> Option<Result<ControlRequest, Refusal>> {
    let route = Route::of(request.path)?;
    if matches!(route, Route::Read(_)) {
        return None;
    }
    let refusal = auth.misdirected(request);
    if let Some(answer) = refusal.or_else(|| auth.unauthorized(request)) {
        return Some(Err(Refusal::of(&answer)));
    }
    // A point changes nothing that anybody else sees, and a viewer's script may wait for one. No
    // page takes one.
    let is_point = matches!(route, Route::SyncPoint) && request.origin.is_none();
    if request.method != Method::Get
        && !is_point
        && let Some(why) = auth.may_not_act(request)
    {
        return Some(Err(Refusal::new(Status::Forbidden, why)));
    }
    match route {
        Route::Read(_) => None,
        Route::SyncPoint => Some(sync_point(request)),
        Route::Control(verb) => Some(control(request, verb)),
        Route::ListRejected => {
            Some(backend_to_list(request).map(|backend| ControlRequest::ListRejected { backend }))
        }
        Route::ListLogs => {
            Some(backend_to_list(request).map(|backend| ControlRequest::ListLogs { backend }))
        }
        Route::Rejected(verb) => Some(rejected(request, verb)),
    }
}

fn sync_point(request: &Request<'_>) -> Result<ControlRequest, Refusal> {
    match request.method {
        Method::Post => {
            Parameters::of(request, &[])?;
            Ok(ControlRequest::TakeSyncPoint)
        }
        Method::Get => {
            let parameters = Parameters::of(request, &["id", "wait", "backend"])?;
            let wait = parameters.find("wait").map_or(Ok(Duration::ZERO), wait)?;
            Ok(ControlRequest::SyncPoint(SyncPointRequest {
                id: parameters.need("id", "the id that POST /sync_point gave")?,
                wait,
                backend: parameters.find("backend").map(str::to_owned),
            }))
        }
        _ => Err(Refusal {
            fields: &[("Allow", "GET, POST")],
            ..Refusal::new(Status::MethodNotAllowed, "")
        }),
    }
}

fn need_post(request: &Request<'_>) -> Result<(), Refusal> {
    if request.method == Method::Post {
        return Ok(());
    }
    Err(Refusal {
        fields: &[("Allow", "POST")],
        ..Refusal::new(Status::MethodNotAllowed, "")
    })
}

fn control(request: &Request<'_>, verb: Option<ControlVerb>) -> Result<ControlRequest, Refusal> {
    let verb = verb.ok_or_else(|| Refusal::new(Status::NotFound, control_words()))?;
    let needed: &[&str] = match verb {
        ControlVerb::Pause | ControlVerb::Resume | ControlVerb::Probe => &["backend"],
        ControlVerb::Rate => &["backend", "rate"],
        ControlVerb::Forget => &["backend", "yes"],
        ControlVerb::Rotate | ControlVerb::Drain => &[],
    };
    need_post(request)?;
    let parameters = Parameters::of(request, needed)?;
    let what = match verb {
        ControlVerb::Rotate => return Ok(ControlRequest::Rotate),
        ControlVerb::Drain => return Ok(ControlRequest::Drain),
        ControlVerb::Pause => BackendRequest::Pause,
        ControlVerb::Resume => BackendRequest::Resume,
        ControlVerb::Probe => BackendRequest::Probe,
        ControlVerb::Forget => {
            let yes = parameters.find("yes");
            if yes.is_some_and(|yes| yes != "true") {
                return Err(Refusal::bad("yes is true, or left out"));
            }
            BackendRequest::Forget { yes: yes.is_some() }
        }
        ControlVerb::Rate => BackendRequest::Rate(rate(&parameters.need("rate", RATE)?)?),
    };
    let backend = parameters.need("backend", "the backend, host:port")?;
    Ok(ControlRequest::Backend { backend, what })
}

const RATE: &str = "records a second, 0 for no bound, or default";

fn rate(text: &str) -> Result<Option<u32>, Refusal> {
    parse_rate(text).ok_or_else(|| Refusal::bad(format!("rate is {RATE}; the most is {RATE_MAX}")))
}

/// A rate as it is asked for: records a second, or none within for `default`; none where it is
/// neither.
#[must_use]
pub(crate) fn parse_rate(text: &str) -> Option<Option<u32>> {
    if text == "default" {
        return Some(None);
    }
    let count = digits(text).and_then(|count| u32::try_from(count).ok());
    count.filter(|count| *count <= RATE_MAX).map(Some)
}

/// The backend of which something is to be listed.
fn backend_to_list(request: &Request<'_>) -> Result<String, Refusal> {
    if request.method != Method::Get {
        return Err(Refusal {
            fields: &[("Allow", "GET")],
            ..Refusal::new(Status::MethodNotAllowed, "")
        });
    }
    Parameters::of(request, &["backend"])?.need("backend", "host:port")
}

fn rejected(request: &Request<'_>, verb: Option<RejectedVerb>) -> Result<ControlRequest, Refusal> {
    let verb = verb.ok_or_else(|| Refusal::new(Status::NotFound, rejected_words()))?;
    need_post(request)?;
    let known = ["backend", "reason", "since", "until", "id", "all"];
    let parameters = Parameters::of(request, &known)?;
    let all = parameters.find("all");
    if all.is_some_and(|all| all != "true") {
        return Err(Refusal::bad("all is true, or left out"));
    }
    if parameters.are_none() {
        return Err(Refusal::bad(
            "say which: by backend, reason, since, until or id, or all=true",
        ));
    }
    let time = |name: &str| match parameters.find(name) {
        None => Ok(None),
        Some(text) => digits(text)
            .map(Some)
            .ok_or_else(|| Refusal::bad(format!("{name} is seconds since 1970"))),
    };
    Ok(ControlRequest::Rejected(RejectedRequest {
        verb,
        backend: parameters.find("backend").map(str::to_owned),
        reason: parameters.find("reason").map(str::to_owned),
        since: time("since")?,
        until: time("until")?,
        ids: parameters.find("id").map_or(Ok(Vec::new()), ids)?,
    }))
}

/// A rejected line's id: 16 hexadecimal digits.
#[must_use]
pub(crate) fn parse_id(text: &str) -> Option<u64> {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

fn ids(text: &str) -> Result<Vec<u64>, Refusal> {
    let ids: Option<Vec<u64>> = text.split(',').map(parse_id).collect();
    let ids = ids.ok_or_else(|| {
        Refusal::bad("id is one or more of 16 hexadecimal digits each, with commas between them")
    })?;
    if ids.len() > REJECTED_IDS_MAX {
        return Err(Refusal::bad(format!(
            "there are more than {REJECTED_IDS_MAX} ids: ask more than once"
        )));
    }
    Ok(ids)
}

/// A time as people write it: `30s`, `500ms`, `2m`, or seconds.
fn wait(text: &str) -> Result<Duration, Refusal> {
    let longest = SYNC_POINT_WAIT_MAX.as_secs();
    parse_duration(text, Some(Duration::from_secs(1)))
        .ok()
        .filter(|wait| *wait <= SYNC_POINT_WAIT_MAX)
        .ok_or_else(|| {
            Refusal::bad(format!(
                "wait is a time such as 30s, 500ms or 2m; the most is {longest} s"
            ))
        })
}
