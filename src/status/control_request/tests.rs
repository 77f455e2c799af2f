//! Requests, and what they ask for.

use super::*;

const RIGHT: Option<&str> = Some("Basic c3luYzpzeW5j");

fn asked(
    method: Method,
    target: &str,
    auth: Option<&str>,
) -> Option<Result<ControlRequest, Refusal>> {
    let request = Request::plain(method, target, auth);
    ask(&request, &Auth::new("sync", "sync"))
}

#[track_caller]
fn check(target: &str, expected: ControlRequest) {
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

fn of(backend: &str, what: BackendRequest) -> ControlRequest {
    ControlRequest::Backend {
        backend: backend.to_owned(),
        what,
    }
}

#[test]
fn each_control_is_understood() {
    check(
        "/v1/control/pause?backend=a:1",
        of("a:1", BackendRequest::Pause),
    );
    check(
        "/v1/control/resume?backend=a%3A1",
        of("a:1", BackendRequest::Resume),
    );
    check(
        "/v1/control/forget?backend=a:1&yes=true",
        of("a:1", BackendRequest::Forget { yes: true }),
    );
    check(
        "/v1/control/forget?backend=a:1",
        of("a:1", BackendRequest::Forget { yes: false }),
    );
    check(
        "/v1/control/probe?backend=[::1]:8",
        of("[::1]:8", BackendRequest::Probe),
    );
    for (text, rate) in [("0", Some(0)), ("1500", Some(1500)), ("default", None)] {
        check(
            &format!("/v1/control/rate?rate={text}&backend=a:1"),
            of("a:1", BackendRequest::Rate(rate)),
        );
    }
    check("/v1/control/rotate", ControlRequest::Rotate);
    check("/v1/control/drain?", ControlRequest::Drain);
    check("/sync_point", ControlRequest::TakeSyncPoint);
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
        let expected = ControlRequest::SyncPoint(SyncPointRequest {
            id: "1f-2".into(),
            wait,
            backend: None,
        });
        assert_eq!(asked(Method::Get, &target, RIGHT), Some(Ok(expected)));
    }
    let Some(Ok(ControlRequest::SyncPoint(of_one))) =
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
        "/v1/rejected/replay?backend=a:1&reason=table_type&since=5&until=9\
         &id=00000000000000ff,0000000000000001",
        ControlRequest::Rejected(RejectedRequest {
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
        ControlRequest::Rejected(RejectedRequest {
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
fn the_list_of_rejected_lines_is_of_one_backend_and_changes_nothing() {
    let viewer = Some("Basic dmlld2VyOnY=");
    let auth = Auth::new("sync", "sync").with_viewer("viewer", "v");
    for authorization in [RIGHT, viewer] {
        let request = Request::plain(Method::Get, "/v1/rejected?backend=a:1", authorization);
        let expected = ControlRequest::ListRejected {
            backend: "a:1".to_owned(),
        };
        assert_eq!(ask(&request, &auth), Some(Ok(expected)));
        let request = Request::plain(Method::Get, "/v1/logs?backend=a:1", authorization);
        let expected = ControlRequest::ListLogs {
            backend: "a:1".to_owned(),
        };
        assert_eq!(ask(&request, &auth), Some(Ok(expected)));
    }
    let get = Method::Get;
    check_refused(
        get,
        "/v1/rejected",
        Status::BadRequest,
        "backend is missing",
    );
    check_refused(
        get,
        "/v1/rejected?backend=a:1&all=true",
        Status::BadRequest,
        "all",
    );
    let posted = "/v1/rejected?backend=a:1";
    check_refused(Method::Post, posted, Status::MethodNotAllowed, "");
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

#[test]
fn pages_and_users_who_may_not_act_change_nothing() {
    let auth = Auth::new("sync", "sync")
        .with_viewer("viewer", "v")
        .with_token(Some("abc".to_owned()));
    let viewer = Some("Basic dmlld2VyOnY=");
    for (method, target) in [
        (Method::Post, "/v1/control/drain"),
        (Method::Post, "/v1/rejected/drop?all=true"),
        (Method::Post, "/sync_point"),
        (Method::Get, "/sync_point?id=1"),
    ] {
        let asked = |authorization, host: &'static str, origin: Option<&'static str>, token| {
            let request = Request {
                host: Some(host.as_bytes()),
                origin: origin.map(str::as_bytes),
                token,
                ..Request::plain(method, target, authorization)
            };
            ask(&request, &auth)
                .unwrap()
                .map_err(|refusal| refusal.status)
        };
        let expected = match method {
            Method::Get => None,
            _ => Some(Status::Forbidden),
        };
        let token = Some(&b"abc"[..]);
        let ours = Some("http://127.0.0.1:1");
        for (authorization, origin, token) in [
            (viewer, None, None),
            (viewer, ours, token),
            (RIGHT, Some("http://evil.example"), token),
            (RIGHT, Some("null"), token),
            (RIGHT, ours, None),
            (RIGHT, ours, Some(&b"abd"[..])),
        ] {
            let refused = asked(authorization, "127.0.0.1:1", origin, token).err();
            // A viewer's command may wait until all is in sync.
            let is_wait = target == "/sync_point" && origin.is_none();
            let expected = expected.filter(|_| !is_wait);
            assert_eq!(refused, expected, "{target} {origin:?}");
        }
        assert!(asked(RIGHT, "127.0.0.1:1", ours, token).is_ok(), "{target}");
        assert!(asked(RIGHT, "127.0.0.1:1", None, None).is_ok(), "{target}");
        for authorization in [None, RIGHT] {
            let refused = asked(authorization, "evil.example", None, None);
            assert_eq!(refused, Err(Status::Misdirected), "{target}");
        }
        let unknown = asked(None, "127.0.0.1:1", None, None);
        assert_eq!(unknown, Err(Status::Unauthorized), "{target}");
    }
}
