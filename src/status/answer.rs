//! From a request to its answer.
//!
//! | path | answer |
//! |---|---|
//! | `/status.html` | 200 `ok\n`, to any method, to anyone |
//! | `/sync_status?backend_count=N` | the JSON that HA knows; 404 without a count |
//! | `/v1/status` | the report (`super::report`) |
//! | `/v1/history[?since=T]` | the last hour, or of it what came after T (`super::history`) |
//! | `/metrics` | the metrics (`super::metrics`) |
//! | `/` | the page (`super::page`) |
//! | `/guide` | the operator's guide (`super::guide`) |
//! | `/v1/session` | whether who asks may act, and the token for that (`super::auth`) |
//! | `/healthz`, `/readyz` | to anyone: 200 or 503 and a line or more (`super::health`) |
//! | any other | 404 |
//!
//! All but the first and the last two rows answer 401 without credentials, and 405 to all but GET.
//! `/healthz` and `/readyz` answer 405 to all but GET and HEAD. The page, its guide and `/v1`
//! answer 421 to who calls the server by a name that it does not have.
//!
//! The paths are in [`super::route`]. What changes something, or is answered later, is in
//! [`super::control_request`].
//!
//! Nothing waits, and nothing is allocated once the buffers have their size: [`BodyCache`] keeps
//! the last bodies. A long one is made once a second for all who ask: that of /metrics takes tens
//! of milliseconds with hundreds of backends, in which HA's poll would wait.

use std::time::Duration;

use super::auth::Auth;
use super::route::{Page, Route};
use super::snapshot::{Snapshot, StatusBoard};
use super::{guide, health, metrics, page, report, sync_status};
use crate::http::answer::{Answer, Status};
use crate::http::request::{Method, Request};
use crate::limits::{HTTP_BODY_FRESH_BYTES_MAX, HTTP_LONG_FROM_BACKENDS};

/// The bodies made last, kept so that the next ones need no memory, and none at all if nothing has
/// changed.
#[derive(Debug, Default)]
pub struct BodyCache {
    sync_status: Vec<u8>,
    /// The snapshot's generation and the count that `sync_status` was made for.
    sync_status_of: Option<(u64, usize)>,
    report: Vec<u8>,
    /// The second that `report` tells.
    report_of: Option<u64>,
    history: Vec<u8>,
    /// When the newest sample of `history` was due to be followed, and since when it tells.
    history_of: Option<(Duration, u64)>,
    /// By their forms.
    metrics: [Metrics; 2],
    health: Vec<u8>,
}

/// The metrics in one form.
#[derive(Debug, Default)]
struct Metrics {
    text: String,
    /// The second that it tells.
    of: Option<u64>,
}

impl Metrics {
    fn is_due(&self, now_unix: u64) -> bool {
        self.of != Some(now_unix) || self.text.len() <= HTTP_BODY_FRESH_BYTES_MAX
    }
}

impl BodyCache {
    fn sync_status(&mut self, snapshot: &Snapshot, count: usize) -> &[u8] {
        // Counts beyond what there is give the same body.
        let of = Some((snapshot.generation(), count.min(snapshot.backends().len())));
        if self.sync_status_of != of {
            self.sync_status.clear();
            sync_status::write(snapshot, count, &mut self.sync_status);
            self.sync_status_of = of;
        }
        &self.sync_status
    }

    /// Whether the next report is made anew, so that what it tells has to be up to date.
    #[must_use]
    pub(crate) fn makes_report(&self, now_unix: u64) -> bool {
        self.report_of != Some(now_unix) || self.report.len() <= HTTP_BODY_FRESH_BYTES_MAX
    }

    fn report(&mut self, snapshot: &Snapshot) -> &[u8] {
        if self.makes_report(snapshot.now_unix) {
            self.report.clear();
            report::write(snapshot, &mut self.report);
            self.report_of = Some(snapshot.now_unix);
        }
        &self.report
    }

    /// The whole hour is the same for all who ask until another sample is taken.
    fn history(&mut self, board: &StatusBoard, since: u64) -> &[u8] {
        let of = Some((board.sample_at(), since));
        if self.history_of != of || self.history.len() <= HTTP_BODY_FRESH_BYTES_MAX {
            self.history.clear();
            board.write_history(since, &mut self.history);
            self.history_of = of;
        }
        &self.history
    }

    /// Whether this request makes the metrics anew, so that what they tell has to be up to date.
    #[must_use]
    pub(crate) fn makes_metrics(&self, request: &Request<'_>, now_unix: u64) -> bool {
        let form = metrics::Form::accepted(request.accept);
        self.metrics[form as usize].is_due(now_unix)
    }

    fn metrics(&mut self, snapshot: &Snapshot, form: metrics::Form) -> Answer<'_> {
        let metrics = &mut self.metrics[form as usize];
        if metrics.is_due(snapshot.now_unix) {
            metrics::write(snapshot, form, &mut metrics.text);
            metrics.of = Some(snapshot.now_unix);
        }
        Answer {
            status: Status::Ok,
            content_type: Some(form.content_type()),
            fields: &[("Cache-Control", "no-store"), ("Vary", "Accept")],
            body: metrics.text.as_bytes(),
        }
    }

    fn health(&mut self, method: Method, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Answer<'_> {
        if !matches!(method, Method::Get | Method::Head) {
            return Answer::empty(Status::MethodNotAllowed).with_fields(&[("Allow", "GET, HEAD")]);
        }
        self.health.clear();
        let is_well = write(&mut self.health);
        let status = if is_well {
            Status::Ok
        } else {
            Status::Unavailable
        };
        Answer::text(status, &self.health).with_fields(&[("Cache-Control", "no-store")])
    }
}

/// Whether the answer to `request` is long: its copy takes a millisecond, and once a second it is
/// made.
#[must_use]
pub fn is_long(request: &Request<'_>, auth: &Auth, snapshot: &Snapshot) -> bool {
    let route = Route::of(request.path);
    let may_be = matches!(
        route,
        Some(Route::Read(Page::Metrics | Page::Report | Page::History) | Route::SyncPoint)
    );
    may_be && snapshot.backends().len() > HTTP_LONG_FROM_BACKENDS && auth.admits(request)
}

/// The answer to `request`. `body_cache` must see one board's snapshots only.
pub fn answer<'a>(
    request: &Request<'_>,
    auth: &'a Auth,
    board: &StatusBoard,
    body_cache: &'a mut BodyCache,
) -> Answer<'a> {
    let snapshot = board.snapshot();
    let Some(Route::Read(asked)) = Route::of(request.path) else {
        return Answer::empty(Status::NotFound);
    };
    if asked.is_for_people()
        && let Some(refusal) = auth.misdirected(request)
    {
        return refusal;
    }
    if !asked.is_for_anyone()
        && let Some(refusal) = auth.refusal(request)
    {
        return refusal;
    }
    match asked {
        Page::Alive => Answer::text(Status::Ok, b"ok\n"),
        Page::SyncStatus => match request.parameter("backend_count") {
            None | Some([]) => Answer::empty(Status::NotFound),
            Some(value) => {
                let count = sync_status::backend_count(value);
                Answer::text(Status::Ok, body_cache.sync_status(snapshot, count))
            }
        },
        Page::Report => json(body_cache.report(snapshot)),
        Page::History => match since(request) {
            Some(since) => json(body_cache.history(board, since)),
            None => Answer::text(Status::BadRequest, b"since is seconds since 1970\n"),
        },
        Page::Metrics => body_cache.metrics(snapshot, metrics::Form::accepted(request.accept)),
        Page::Home => page::answer(),
        Page::Session => json(auth.session(request).as_bytes()),
        Page::Guide => guide::answer(),
        Page::Health => {
            body_cache.health(request.method, |body| health::write_health(snapshot, body))
        }
        Page::Readiness => body_cache.health(request.method, |body| {
            health::write_readiness(snapshot, body)
        }),
    }
}

fn json(body: &[u8]) -> Answer<'_> {
    Answer {
        status: Status::Ok,
        content_type: Some("application/json"),
        fields: &[("Cache-Control", "no-store")],
        body,
    }
}

/// The query's `since`; 0 without one.
fn since(request: &Request<'_>) -> Option<u64> {
    match request.parameter("since") {
        None => Some(0),
        Some(text) => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::status::counters::BackendCounters;
    use crate::status::snapshot::StatusBoard;
    use std::sync::Arc;

    fn board() -> (StatusBoard, Arc<BackendCounters>) {
        let counters = Arc::new(BackendCounters::default());
        counters.durable_processed.set(12);
        counters.durable_settled.set(10);
        let mut board = StatusBoard::new(Now::default());
        board.add("127.0.0.1:9998", Arc::clone(&counters), Now::default());
        board.add("127.0.0.1:9999", Arc::default(), Now::default());
        (board, counters)
    }

    const RIGHT: Option<&str> = Some("Basic c3luYzpzeW5j");

    /// Asks for `target`; gives the status and the body.
    #[track_caller]
    fn check(
        method: Method,
        target: &str,
        authorization: Option<&str>,
        status: Status,
        in_body: &str,
    ) {
        let request = Request::plain(method, target, authorization);
        let (board, _) = board();
        let (auth, mut body_cache) = (Auth::new("sync", "sync"), BodyCache::default());
        let answer = answer(&request, &auth, &board, &mut body_cache);
        assert_eq!(answer.status, status, "{target}");
        let body = std::str::from_utf8(answer.body).unwrap();
        assert!(
            body.contains(in_body) && (in_body.is_empty() == body.is_empty()),
            "{target}: {body}"
        );
        assert_eq!(answer.content_type.is_some(), !body.is_empty());
        let challenge = answer
            .fields
            .iter()
            .find(|field| field.0 == "WWW-Authenticate");
        assert_eq!(challenge.is_some(), status == Status::Unauthorized);
    }

    #[test]
    fn anyone_may_ask_whether_we_are_alive() {
        for method in [Method::Get, Method::Head, Method::Post, Method::Other] {
            check(method, "/status.html", None, Status::Ok, "ok\n");
        }
        check(
            Method::Get,
            "/status.html?a=b",
            Some("nonsense"),
            Status::Ok,
            "ok\n",
        );
    }

    #[test]
    fn credentials_are_looked_at_before_the_method_and_the_method_before_the_count() {
        for path in [
            "/sync_status",
            "/sync_status?backend_count=1",
            "/v1/status",
            "/v1/history",
            "/v1/session",
            "/metrics",
            "/",
            "/?x",
            "/guide",
        ] {
            for method in [Method::Get, Method::Head, Method::Post, Method::Other] {
                check(method, path, None, Status::Unauthorized, "");
                check(
                    method,
                    path,
                    Some("Basic c3luYzp3cm9uZw=="),
                    Status::Unauthorized,
                    "",
                );
            }
            for method in [Method::Head, Method::Post, Method::Other] {
                check(method, path, RIGHT, Status::MethodNotAllowed, "");
            }
        }
    }

    #[test]
    fn a_count_must_be_there_but_need_not_be_one() {
        for target in [
            "",
            "?",
            "?backend_count",
            "?backend_count=",
            "?backend_counts=1",
            "?BACKEND_COUNT=1",
            "?backend_count=1&backend_count=",
        ] {
            check(
                Method::Get,
                &format!("/sync_status{target}"),
                RIGHT,
                Status::NotFound,
                "",
            );
        }
        for value in ["0", "-1", "abc", "x1", "1&backend_count=0"] {
            check(
                Method::Get,
                &format!("/sync_status?backend_count={value}"),
                RIGHT,
                Status::Ok,
                "\"status\": {}",
            );
        }
        for value in [
            "1",
            "2",
            "1abc",
            "99999999999999999999",
            "0&a=b&backend_count=1",
        ] {
            check(
                Method::Get,
                &format!("/sync_status?backend_count={value}"),
                RIGHT,
                Status::Ok,
                "127.0.0.1:9998",
            );
        }
    }

    #[test]
    fn any_other_path_is_not_found_to_anyone() {
        for path in [
            "",
            "*",
            "//",
            "/metrics/",
            "/healthz/",
            "/readyz/",
            "/index.html",
            "/sync_status/",
            "/status.html/",
            "//status.html",
            "/sync%5fstatus",
            "/STATUS.HTML",
            "/v1",
            "/v1/status/",
        ] {
            for authorization in [None, RIGHT] {
                check(Method::Get, path, authorization, Status::NotFound, "");
                check(Method::Post, path, authorization, Status::NotFound, "");
            }
        }
    }

    #[test]
    fn the_body_follows_the_numbers_and_needs_no_new_memory() {
        let (mut board, counters) = board();
        let auth = Auth::new("sync", "sync");
        let mut body_cache = BodyCache::default();
        let request = Request::plain(Method::Get, "/sync_status?backend_count=9", RIGHT);
        let first = answer(&request, &auth, &board, &mut body_cache)
            .body
            .to_vec();
        let place = body_cache.sync_status.as_ptr();
        assert_eq!(answer(&request, &auth, &board, &mut body_cache).body, first);
        counters.durable_settled.set(11);
        board.refresh(Now::default());
        let second = answer(&request, &auth, &board, &mut body_cache)
            .body
            .to_vec();
        assert_eq!(
            String::from_utf8(second).unwrap(),
            String::from_utf8(first).unwrap().replace(": 10", ": 11")
        );
        assert_eq!(body_cache.sync_status.as_ptr(), place);
    }

    #[test]
    fn anyone_may_ask_whether_we_are_healthy_and_ready() {
        for method in [Method::Get, Method::Head] {
            check(method, "/healthz", None, Status::Ok, "ok\n");
            let unread = "has not been read yet: 2\n";
            check(
                method,
                "/readyz",
                Some("nonsense"),
                Status::Unavailable,
                unread,
            );
        }
        for path in ["/healthz", "/readyz"] {
            for method in [Method::Post, Method::Other] {
                check(method, path, None, Status::MethodNotAllowed, "");
            }
        }
    }

    #[test]
    fn the_metrics_and_the_page_are_for_those_who_may_see_them() {
        check(
            Method::Get,
            "/metrics",
            RIGHT,
            Status::Ok,
            "hustdbsync_backend_up{backend=\"127.0.0.1:9998\"} 0\n",
        );
        check(Method::Get, "/", RIGHT, Status::Ok, "<!doctype html>");
        check(Method::Get, "/?x", RIGHT, Status::Ok, "<!doctype html>");
    }

    #[test]
    fn a_long_body_is_made_once_a_second_and_a_short_one_for_each_who_asks() {
        let (mut board, counters) = board();
        let auth = Auth::new("sync", "sync");
        let mut body_cache = BodyCache::default();
        let mut bodies = |board: &mut StatusBoard, unix: u64| -> Vec<Vec<u8>> {
            let now = Now {
                unix,
                ..Now::default()
            };
            board.refresh(now);
            let mut body = |target| {
                let request = Request::plain(Method::Get, target, RIGHT);
                answer(&request, &auth, board, &mut body_cache)
                    .body
                    .to_vec()
            };
            vec![body("/metrics"), body("/v1/status")]
        };
        for backends in [2, 400] {
            for number in 2..backends {
                board.add(
                    &format!("10.0.0.1:{number}"),
                    Arc::default(),
                    Now::default(),
                );
            }
            let is_long = backends > 2;
            let first = bodies(&mut board, 1);
            counters.settled.add(1);
            counters.durable_applied.add(1);
            let same_second = bodies(&mut board, 1);
            let next_second = bodies(&mut board, 2);
            for at in 0..2 {
                assert_eq!(
                    first[at] == same_second[at],
                    is_long,
                    "{backends}, body {at}"
                );
                assert_ne!(first[at], next_second[at], "{backends}, body {at}");
            }
        }
    }

    #[test]
    fn each_form_of_long_metrics_is_made_once_a_second() {
        let (mut board, counters) = board();
        for number in 2..400 {
            let name = format!("10.0.0.1:{number}");
            board.add(&name, Arc::default(), Now::default());
        }
        let auth = Auth::new("sync", "sync");
        let mut body_cache = BodyCache::default();
        let mut bodies = |board: &StatusBoard| {
            [None, Some(&b"text/plain"[..])].map(|accept| {
                let request = Request {
                    accept,
                    ..Request::plain(Method::Get, "/metrics", RIGHT)
                };
                answer(&request, &auth, board, &mut body_cache)
                    .body
                    .to_vec()
            })
        };
        let first = bodies(&board);
        assert_ne!(first[0], first[1]);
        counters.durable_applied.add(1);
        board.refresh(Now::default());
        assert_eq!(bodies(&board), first);
    }

    #[test]
    fn what_is_long_is_so_for_those_only_who_may_have_it() {
        let auth = Auth::new("sync", "sync");
        let (mut board, _) = board();
        for (more, is_long_there) in [(0, false), (HTTP_LONG_FROM_BACKENDS, true)] {
            for number in 0..more {
                let name = format!("10.0.0.1:{number}");
                board.add(&name, Arc::default(), Now::default());
            }
            let long = |target, authorization| {
                let request = Request::plain(Method::Get, target, authorization);
                is_long(&request, &auth, board.snapshot())
            };
            for target in [
                "/metrics",
                "/v1/status",
                "/v1/history?since=9",
                "/sync_point?id=1",
            ] {
                assert_eq!(long(target, RIGHT), is_long_there, "{target}");
                assert!(!long(target, None), "{target}");
            }
            for target in ["/status.html", "/sync_status?backend_count=9", "/", "/x"] {
                assert!(!long(target, RIGHT), "{target}");
            }
        }
    }

    #[test]
    fn who_calls_us_by_another_name_is_told_only_what_ha_and_prometheus_ask_for() {
        let (board, _) = board();
        let auth = Auth::new("sync", "sync");
        let status = |target: &str, host: &str, authorization| {
            let request = Request {
                host: Some(host.as_bytes()),
                ..Request::plain(Method::Get, target, authorization)
            };
            answer(&request, &auth, &board, &mut BodyCache::default()).status
        };
        for target in ["/", "/guide", "/v1/status", "/v1/history", "/v1/session"] {
            for authorization in [None, RIGHT] {
                let refused = status(target, "evil.example", authorization);
                assert_eq!(refused, Status::Misdirected, "{target}");
            }
            assert_eq!(status(target, "127.0.0.1:8089", RIGHT), Status::Ok);
            assert_eq!(status(target, "[::1]", None), Status::Unauthorized);
        }
        for target in [
            "/status.html",
            "/sync_status?backend_count=1",
            "/metrics",
            "/healthz",
        ] {
            assert_eq!(
                status(target, "evil.example", RIGHT),
                Status::Ok,
                "{target}"
            );
        }
    }

    #[test]
    fn the_history_is_told_from_a_second_on() {
        let sample = |since: &str, status, in_body: &str| {
            let target = format!("/v1/history{since}");
            check(Method::Get, &target, RIGHT, status, in_body);
        };
        let nothing = "\"times_unix\":[],\"backends\":[{\"name\":\"127.0.0.1:9998\",";
        sample("", Status::Ok, nothing);
        sample("?since=5", Status::Ok, nothing);
        for wrong in ["?since=", "?since=x", "?since=-1", "?since=1&since=y"] {
            sample(wrong, Status::BadRequest, "seconds since 1970");
        }
    }

    #[test]
    fn a_long_history_is_made_once_for_each_sample() {
        let (mut board, _) = board();
        for number in 2..900 {
            let name = format!("10.0.0.1:{number}");
            board.add(&name, Arc::default(), Now::default());
        }
        let auth = Auth::new("sync", "sync");
        let mut body_cache = BodyCache::default();
        let mut body = |board: &StatusBoard, since: &str| {
            let target = format!("/v1/history{since}");
            let request = Request::plain(Method::Get, &target, RIGHT);
            answer(&request, &auth, board, &mut body_cache)
                .body
                .to_vec()
        };
        board.sample(Now {
            unix: 1,
            ..Now::default()
        });
        let first = body(&board, "");
        board.refresh(Now {
            unix: 5,
            ..Now::default()
        });
        assert_eq!(body(&board, ""), first, "its time is that of its making");
        assert_ne!(body(&board, "?since=4"), first);
        board.sample(Now::new(crate::limits::HISTORY_INTERVAL, 30));
        let second = String::from_utf8(body(&board, "")).unwrap();
        assert!(second.contains("\"times_unix\":[1,30]"), "{second:.200}");
    }

    #[test]
    fn the_report_is_json() {
        check(
            Method::Get,
            "/v1/status",
            RIGHT,
            Status::Ok,
            "\"name\":\"127.0.0.1:9998\",\"state\":\"unknown\"",
        );
    }
}
