//! Requests that change something, or that are answered later: from a request to what it asks for. Pure; who asks without credentials learns nothing.
//!
//! | request | asks |
//! |---|---|
//! | `POST /sync_point` | for a mark at the end of all logs |
//! | `GET /sync_point?id=…[&wait=30s][&backend=host:port]` | whether everything before that mark is settled, at the latest after `wait` |
//! | `POST /v1/control/pause?backend=host:port` | to stop replaying to a backend |
//! | `POST /v1/control/resume?backend=host:port` | to go on |
//! | `POST /v1/control/rate?backend=host:port&rate=1000` | for another bound: records a second, `0` for none, `default` for the configuration's |
//! | `POST /v1/control/probe?backend=host:port` | to probe a backend now |
//! | `POST /v1/control/rotate` | to begin the server's own log file anew |
//! | `POST /v1/control/drain` | to finish what is in flight and end |
//! | `POST /v1/rejected/replay?…` | to replay lines that were set aside |
//! | `POST /v1/rejected/drop?…` | to throw lines away that were set aside |
//!
//! The last two select by `backend`, `reason`, `since`, `until` (seconds since 1970, both included) and `id` (one or more, with commas); all that are given must
//! hold, and where none is, `all=true` must. A parameter that is not known is refused, not passed over: a slip must not widen what is dropped.
//!
//! Order: 401 without credentials, 404 for a path that is none, 405 for another method, 400 for a parameter that is missing, unknown or wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::Gate;
use crate::http::answer::{Answer, Status};
use crate::http::request::{Method, Request};
use crate::limits::{RATE_MAX, REJECTED_IDS_MAX, SYNC_POINT_WAIT_MAX};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Something that concerns one backend.
    Backend {
        /// Whom, `host:port`.
        backend: String,
        /// What.
        what: BackendAsk,
    },
    /// To begin the server's own log file anew.
    Rotate,
    /// To finish what is in flight and end.
    Drain,
    /// For a mark at the end of all logs.
    TakeSyncPoint,
    /// Whether everything before a mark is settled.
    SyncPoint(PointAsk),
    /// Something about lines that were set aside.
    Rejected(RejectedAsk),
}

/// What is asked for concerning one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendAsk {
    /// To stop replaying to it.
    Pause,
    /// To go on.
    Resume,
    /// For another bound, in records a second; 0 is none, `None` the configuration's.
    Rate(Option<u32>),
    /// To probe it now.
    Probe,
}

/// Whether everything before a mark is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointAsk {
    /// Which mark.
    pub id: String,
    /// For how long to wait until it is.
    pub wait: Duration,
    /// Of one backend only.
    pub backend: Option<String>,
}

/// What is to be done with lines that were set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedVerb {
    /// They are replayed.
    Replay,
    /// They are thrown away.
    Drop,
}

/// Something about lines that were set aside: of those, with all that is given here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedAsk {
    /// What.
    pub verb: RejectedVerb,
    /// Of one backend only.
    pub backend: Option<String>,
    /// With this reason.
    pub reason: Option<String>,
    /// Set aside at this time or later, Unix seconds.
    pub since: Option<u64>,
    /// Set aside at this time or before, Unix seconds.
    pub until: Option<u64>,
    /// One of these; empty: any.
    pub ids: Vec<u64>,
}

/// What became of lines that were set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RejectedReport {
    /// Lines that are being replayed, or are thrown away.
    pub done: u64,
    /// Lines that were to be replayed and stay, since only a part of them was kept.
    pub cut: u64,
    /// Lines that are set aside now, of the backends that were asked for.
    pub left: u64,
    /// Backends for which it could not be done.
    pub failed: Vec<RejectedFailure>,
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

/// Why a request is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The answer's status.
    pub status: Status,
    /// Further fields of the answer.
    pub fields: &'static [(&'static str, &'static str)],
    /// One line for people, without its newline; may be empty.
    pub why: String,
}

impl Refusal {
    /// A refusal with a reason.
    #[must_use]
    pub fn new(status: Status, why: impl Into<String>) -> Self {
        Self {
            status,
            fields: &[],
            why: why.into(),
        }
    }

    fn bad(why: impl Into<String>) -> Self {
        Self::new(Status::BadRequest, why)
    }

    fn of(answer: &Answer<'static>) -> Self {
        Self {
            status: answer.status,
            fields: answer.fields,
            why: String::new(),
        }
    }
}

/// What `request` asks for; none where it is for [`super::answer`].
#[must_use]
pub fn ask(request: &Request<'_>, gate: &Gate) -> Option<Result<Ask, Refusal>> {
    let (room, rest) = Room::of(request.path)?;
    if let Some(answer) = gate.unauthorized(request) {
        return Some(Err(Refusal::of(&answer)));
    }
    Some(match room {
        Room::SyncPoint => sync_point(request),
        Room::Control => control(request, rest),
        Room::Rejected => rejected(request, rest),
    })
}

enum Room {
    SyncPoint,
    Control,
    Rejected,
}

impl Room {
    /// The room of a path, and what follows.
    fn of(path: &[u8]) -> Option<(Self, &[u8])> {
        if path == b"/sync_point" {
            return Some((Self::SyncPoint, b""));
        }
        let control = path.strip_prefix(b"/v1/control/");
        let rejected = || path.strip_prefix(b"/v1/rejected/");
        control
            .map(|verb| (Self::Control, verb))
            .or_else(|| rejected().map(|verb| (Self::Rejected, verb)))
    }
}

fn sync_point(request: &Request<'_>) -> Result<Ask, Refusal> {
    match request.method {
        Method::Post => {
            Parameters::of(request, &[])?;
            Ok(Ask::TakeSyncPoint)
        }
        Method::Get => {
            let parameters = Parameters::of(request, &["id", "wait", "backend"])?;
            let wait = parameters.find("wait").map_or(Ok(Duration::ZERO), wait)?;
            Ok(Ask::SyncPoint(PointAsk {
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

fn control(request: &Request<'_>, verb: &[u8]) -> Result<Ask, Refusal> {
    let needed: &[&str] = match verb {
        b"pause" | b"resume" | b"probe" => &["backend"],
        b"rate" => &["backend", "rate"],
        b"rotate" | b"drain" => &[],
        _ => {
            return Err(Refusal::new(
                Status::NotFound,
                "there is pause, resume, rate, probe, rotate and drain",
            ));
        }
    };
    need_post(request)?;
    let parameters = Parameters::of(request, needed)?;
    let what = match verb {
        b"rotate" => return Ok(Ask::Rotate),
        b"drain" => return Ok(Ask::Drain),
        b"pause" => BackendAsk::Pause,
        b"resume" => BackendAsk::Resume,
        b"probe" => BackendAsk::Probe,
        _ => BackendAsk::Rate(rate(&parameters.need("rate", RATE)?)?),
    };
    let backend = parameters.need("backend", "the backend, host:port")?;
    Ok(Ask::Backend { backend, what })
}

const RATE: &str = "records a second, 0 for no bound, or default";

fn rate(text: &str) -> Result<Option<u32>, Refusal> {
    if text == "default" {
        return Ok(None);
    }
    let count = digits(text)
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count <= RATE_MAX);
    count
        .map(Some)
        .ok_or_else(|| Refusal::bad(format!("rate is {RATE}; the most is {RATE_MAX}")))
}

fn rejected(request: &Request<'_>, verb: &[u8]) -> Result<Ask, Refusal> {
    let verb = match verb {
        b"replay" => RejectedVerb::Replay,
        b"drop" => RejectedVerb::Drop,
        _ => return Err(Refusal::new(Status::NotFound, "there is replay and drop")),
    };
    need_post(request)?;
    let known = ["backend", "reason", "since", "until", "id", "all"];
    let parameters = Parameters::of(request, &known)?;
    let all = parameters.find("all");
    if all.is_some_and(|all| all != "true") {
        return Err(Refusal::bad("all is true, or left out"));
    }
    if parameters.0.is_empty() {
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
    Ok(Ask::Rejected(RejectedAsk {
        verb,
        backend: parameters.find("backend").map(str::to_owned),
        reason: parameters.find("reason").map(str::to_owned),
        since: time("since")?,
        until: time("until")?,
        ids: parameters.find("id").map_or(Ok(Vec::new()), ids)?,
    }))
}

fn ids(text: &str) -> Result<Vec<u64>, Refusal> {
    let id = |id: &str| {
        let is_hex = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(id, 16).ok().filter(|_| is_hex)
    };
    let ids: Option<Vec<u64>> = text.split(',').map(id).collect();
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
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("", 1000)];
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let unit = units
        .iter()
        .find(|(unit, _)| *unit == &text[number.len()..]);
    let millis = unit.and_then(|(_, millis)| digits(number)?.checked_mul(*millis));
    let longest = SYNC_POINT_WAIT_MAX.as_secs();
    millis
        .map(Duration::from_millis)
        .filter(|wait| *wait <= SYNC_POINT_WAIT_MAX)
        .ok_or_else(|| {
            Refusal::bad(format!(
                "wait is a time such as 30s, 500ms or 2m; the most is {longest} s"
            ))
        })
}

/// A number of nothing but digits.
fn digits(text: &str) -> Option<u64> {
    let are_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| are_digits)
}

/// A query's parameters, decoded.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// All of them; each known, each once, each with a value.
    fn of(request: &Request<'_>, known: &[&str]) -> Result<Self, Refusal> {
        let mut found: Vec<(String, String)> = Vec::new();
        let query = request.query.unwrap_or_default();
        for pair in query
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
        {
            let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let value = pair.get(end + 1..).unwrap_or_default();
            let (Some(name), Some(value)) = (decoded(&pair[..end]), decoded(value)) else {
                return Err(Refusal::bad("a parameter is not text in percent-encoding"));
            };
            let why = if !known.contains(&name.as_str()) {
                format!("there is no parameter {name:?} here")
            } else if value.is_empty() {
                format!("{name} has no value")
            } else if found.iter().any(|(before, _)| *before == name) {
                format!("{name} is there twice")
            } else {
                found.push((name, value));
                continue;
            };
            return Err(Refusal::bad(why));
        }
        Ok(Self(found))
    }

    fn find(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    fn need(&self, name: &str, what: &str) -> Result<String, Refusal> {
        let found = self.find(name).map(str::to_owned);
        found.ok_or_else(|| Refusal::bad(format!("{name} is missing: {what}")))
    }
}

/// Percent-encoding undone; none where what comes out is no text, or what stands behind a `%` no octet.
fn decoded(bytes: &[u8]) -> Option<String> {
    let mut octets = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            octets.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        octets.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: Option<&str> = Some("Basic c3luYzpzeW5j");

    fn asked(method: Method, target: &str, auth: Option<&str>) -> Option<Result<Ask, Refusal>> {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let request = Request {
            method,
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
            authorization: auth.map(str::as_bytes),
            accept: None,
            body_bytes: 0,
        };
        ask(&request, &Gate::new("sync", "sync"))
    }

    #[track_caller]
    fn check(target: &str, expected: Ask) {
        assert_eq!(
            asked(Method::Post, target, RIGHT),
            Some(Ok(expected)),
            "{target}"
        );
    }

    #[track_caller]
    fn check_refused(method: Method, target: &str, status: Status, why: &str) {
        let refusal = asked(method, target, RIGHT).unwrap().unwrap_err();
        assert_eq!(refusal.status, status, "{target}: {refusal:?}");
        assert!(
            refusal.why.contains(why) && !refusal.why.contains('\n'),
            "{target}: {refusal:?}"
        );
    }

    fn of(backend: &str, what: BackendAsk) -> Ask {
        Ask::Backend {
            backend: backend.to_owned(),
            what,
        }
    }

    #[test]
    fn each_control_is_understood() {
        check(
            "/v1/control/pause?backend=a:1",
            of("a:1", BackendAsk::Pause),
        );
        check(
            "/v1/control/resume?backend=a%3A1",
            of("a:1", BackendAsk::Resume),
        );
        check(
            "/v1/control/probe?backend=[::1]:8",
            of("[::1]:8", BackendAsk::Probe),
        );
        for (text, rate) in [("0", Some(0)), ("1500", Some(1500)), ("default", None)] {
            check(
                &format!("/v1/control/rate?rate={text}&backend=a:1"),
                of("a:1", BackendAsk::Rate(rate)),
            );
        }
        check("/v1/control/rotate", Ask::Rotate);
        check("/v1/control/drain?", Ask::Drain);
        check("/sync_point", Ask::TakeSyncPoint);
    }

    #[test]
    fn a_sync_point_is_asked_for_with_a_time_to_wait_and_a_backend() {
        for (text, wait) in [
            ("", Duration::ZERO),
            ("&wait=30s", Duration::from_secs(30)),
            ("&wait=250ms", Duration::from_millis(250)),
            ("&wait=2m", Duration::from_secs(120)),
            ("&wait=7", Duration::from_secs(7)),
        ] {
            let target = format!("/sync_point?id=1f-2{text}");
            let expected = Ask::SyncPoint(PointAsk {
                id: "1f-2".into(),
                wait,
                backend: None,
            });
            assert_eq!(asked(Method::Get, &target, RIGHT), Some(Ok(expected)));
        }
        let Some(Ok(Ask::SyncPoint(of_one))) =
            asked(Method::Get, "/sync_point?id=x&backend=a:1", RIGHT)
        else {
            panic!("a point is asked for")
        };
        assert_eq!(of_one.backend.as_deref(), Some("a:1"));
        for wait in [
            "-1",
            "1h",
            "s",
            "11m",
            "99999999999999999999s",
            "1.5s",
            "ms1",
        ] {
            let target = format!("/sync_point?id=1&wait={wait}");
            check_refused(Method::Get, &target, Status::BadRequest, "wait is a time");
        }
        check_refused(
            Method::Get,
            "/sync_point",
            Status::BadRequest,
            "id is missing",
        );
        check_refused(
            Method::Head,
            "/sync_point?id=1",
            Status::MethodNotAllowed,
            "",
        );
    }

    #[test]
    fn rejected_lines_are_selected_by_all_that_is_given() {
        check(
            "/v1/rejected/replay?backend=a:1&reason=table_type&since=5&until=9&id=00000000000000ff,0000000000000001",
            Ask::Rejected(RejectedAsk {
                verb: RejectedVerb::Replay,
                backend: Some("a:1".into()),
                reason: Some("table_type".into()),
                since: Some(5),
                until: Some(9),
                ids: vec![255, 1],
            }),
        );
        check(
            "/v1/rejected/drop?all=true",
            Ask::Rejected(RejectedAsk {
                verb: RejectedVerb::Drop,
                backend: None,
                reason: None,
                since: None,
                until: None,
                ids: Vec::new(),
            }),
        );
        for (query, why) in [
            ("", "say which"),
            ("?all=yes", "all is true"),
            ("?reson=x", "no parameter \"reson\""),
            ("?reason=", "reason has no value"),
            ("?reason=a&reason=b", "reason is there twice"),
            ("?since=yesterday", "since is seconds"),
            ("?until=-1", "until is seconds"),
            ("?id=xyz", "16 hexadecimal"),
            ("?id=+00000000000000f", "16 hexadecimal"),
            ("?reason=%zz", "percent-encoding"),
            ("?reason=%ff", "percent-encoding"),
        ] {
            let target = format!("/v1/rejected/drop{query}");
            check_refused(Method::Post, &target, Status::BadRequest, why);
        }
        let many = vec!["0000000000000001"; REJECTED_IDS_MAX + 1].join(",");
        let target = format!("/v1/rejected/drop?id={many}");
        check_refused(Method::Post, &target, Status::BadRequest, "more than once");
    }

    #[test]
    fn wrong_use_is_refused_with_a_line() {
        for (target, status, why) in [
            ("/v1/control/", Status::NotFound, "there is pause"),
            (
                "/v1/control/paus?backend=a:1",
                Status::NotFound,
                "there is pause",
            ),
            ("/v1/rejected/list", Status::NotFound, "there is replay"),
            (
                "/v1/control/pause",
                Status::BadRequest,
                "backend is missing",
            ),
            (
                "/v1/control/rate?backend=a:1",
                Status::BadRequest,
                "rate is missing",
            ),
            (
                "/v1/control/rate?backend=a:1&rate=-1",
                Status::BadRequest,
                "rate is records",
            ),
            (
                "/v1/control/rate?backend=a:1&rate=1e3",
                Status::BadRequest,
                "rate is records",
            ),
            (
                "/v1/control/rate?backend=a:1&rate=100000001",
                Status::BadRequest,
                "the most is",
            ),
            (
                "/v1/control/drain?now=1",
                Status::BadRequest,
                "no parameter",
            ),
        ] {
            check_refused(Method::Post, target, status, why);
        }
        for method in [Method::Get, Method::Head, Method::Other] {
            for target in ["/v1/control/drain", "/v1/rejected/drop?all=true"] {
                check_refused(method, target, Status::MethodNotAllowed, "");
            }
        }
    }

    #[test]
    fn nobody_without_credentials_learns_anything() {
        for target in [
            "/sync_point",
            "/sync_point?id=1",
            "/v1/control/drain",
            "/v1/control/nonsense",
            "/v1/control/",
            "/v1/rejected/drop?all=true",
            "/v1/rejected/nonsense",
        ] {
            for method in [Method::Get, Method::Head, Method::Post, Method::Other] {
                for auth in [None, Some("Basic c3luYzp3cm9uZw=="), Some("nonsense")] {
                    let refusal = asked(method, target, auth).unwrap().unwrap_err();
                    assert_eq!(refusal.status, Status::Unauthorized, "{target}");
                    assert!(refusal.why.is_empty());
                    assert_eq!(refusal.fields[0].0, "WWW-Authenticate");
                }
            }
        }
    }

    #[test]
    fn other_paths_are_not_for_this() {
        for target in [
            "/",
            "/sync_status?backend_count=1",
            "/sync_point/",
            "/v1/control",
            "/v1/status",
        ] {
            assert_eq!(asked(Method::Post, target, RIGHT), None, "{target}");
        }
    }
}
