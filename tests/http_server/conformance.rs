//! The table of docs/hustdb.md, "HA's polls", row by row, byte for byte.

use hustdbsync::internals::http::server::ServerLimits;

use crate::http_server::server::{Client, HttpServer, RIGHT, options};

/// Sends `request` with `Connection: close` and compares all that comes back.
#[track_caller]
fn check(http_server: &HttpServer, request: &str, fields: &str, expected: &str) {
    let mut client = http_server.client();
    client.send(
        format!("{request} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Connection: close\r\n\r\n")
            .as_bytes(),
    );
    assert_eq!(client.rest(), expected, "{request}");
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\nConnection: \
    close\r\n\r\nok\n";
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const NOT_ALLOWED: &str = "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nAllow: \
    GET\r\nConnection: close\r\n\r\n";
const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: \
    Basic realm=\"hustdbsync\"\r\nConnection: close\r\n\r\n";
const WRONG: &str = "Authorization: Basic d3Jvbmc6d3Jvbmc=\r\n";

fn with_body(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: text/plain\r\nConnection: \
         close\r\n\r\n{body}",
        body.len()
    )
}

const TOTAL: &str = "{\n    \"total_status\": {\n        \"processed_items\": 12,\n        \
                     \"synced_items\": 10\n    },\n    \"status\": {";
const FIRST: &str = "\n        \"127.0.0.1:9998\": \
    {\n            \"processed_items\": 12,\n            \"synced_items\": 10\n        }";
const SECOND: &str = ",\n        \"127.0.0.1:9999\": \
    {\n            \"processed_items\": 0,\n            \"synced_items\": 0\n        }";

#[test]
fn whether_it_is_alive_is_told_to_everyone_by_any_method() {
    let http_server = HttpServer::open(options());
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "FOO"] {
        check(&http_server, &format!("{method} /status.html"), "", OK);
        check(&http_server, &format!("{method} /status.html?x"), WRONG, OK);
    }
    let head = OK.strip_suffix("ok\n").unwrap();
    check(&http_server, "HEAD /status.html", "", head);
}

/// What only those get who know the password.
const GUARDED: [&str; 5] = [
    "/sync_status?backend_count=1",
    "/sync_status",
    "/v1/status",
    "/metrics",
    "/",
];

#[test]
fn without_the_password_it_is_asked_for() {
    let http_server = HttpServer::open(options());
    for method in ["GET", "HEAD", "POST", "PUT"] {
        for target in GUARDED {
            let request = format!("{method} {target}");
            check(&http_server, &request, "", UNAUTHORIZED);
            check(&http_server, &request, WRONG, UNAUTHORIZED);
        }
    }
}

#[test]
fn with_the_password_only_get_is_allowed() {
    let http_server = HttpServer::open(options());
    for method in ["HEAD", "POST", "PUT", "DELETE", "FOO"] {
        for target in GUARDED {
            let request = format!("{method} {target}");
            check(&http_server, &request, RIGHT, NOT_ALLOWED);
        }
    }
}

#[test]
fn a_status_is_of_as_many_backends_as_its_last_count_says() {
    let http_server = HttpServer::open(options());
    let none = &*with_body(&format!("{TOTAL}}}\n}}"));
    let one = &*with_body(&format!("{TOTAL}{FIRST}\n    }}\n}}"));
    let both = &*with_body(&format!("{TOTAL}{FIRST}{SECOND}\n    }}\n}}"));
    for (query, expected) in [
        ("", NOT_FOUND),
        ("?", NOT_FOUND),
        ("?backend_count", NOT_FOUND),
        ("?backend_count=", NOT_FOUND),
        ("?other=1", NOT_FOUND),
        ("?backend_count=1&backend_count=", NOT_FOUND),
        ("?backend_count=0", none),
        ("?backend_count=-1", none),
        ("?backend_count=abc", none),
        ("?backend_count=5&backend_count=0", none),
        ("?backend_count=1", one),
        ("?backend_count=1abc", one),
        ("?backend_count=0&backend_count=1", one),
        ("?backend_count=2", both),
        ("?backend_count=99", both),
    ] {
        let request = format!("GET /sync_status{query}");
        check(&http_server, &request, RIGHT, expected);
    }
}

#[test]
fn what_is_not_there_is_not_found_whoever_asks() {
    let http_server = HttpServer::open(options());
    for path in [
        "//",
        "/sync_status/",
        "/metrics/",
        "/healthz/",
        "/status.html/",
        "/index.html",
        "/sync_alive",
        "/status",
        "/v1/",
    ] {
        for fields in ["", RIGHT, WRONG] {
            check(&http_server, &format!("GET {path}"), fields, NOT_FOUND);
            check(&http_server, &format!("POST {path}"), fields, NOT_FOUND);
        }
    }
}

#[test]
fn a_kept_connection_is_answered_again_and_follows_the_numbers() {
    let http_server = HttpServer::open(options());
    let mut client = http_server.client();
    for settled in 10..200 {
        http_server.counters.settled.set(settled);
        http_server.counters.durable_settled.set(settled);
        client.send(format!("GET /sync_status?backend_count=1 HTTP/1.1\r\n{RIGHT}\r\n").as_bytes());
        let answer = client.answer();
        assert_eq!(
            answer
                .matches(&format!("\"synced_items\": {settled}\n"))
                .count(),
            2,
            "{answer}"
        );
        assert!(!answer.contains("Connection:"));
    }
    assert_eq!(http_server.counts().accepted, 1);
}

#[test]
fn pipelined_requests_are_answered_in_order_however_they_are_cut() {
    let http_server = HttpServer::open(options());
    let requests = format!(
        "GET /status.html HTTP/1.1\r\n\r\nPOST /none HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody\
         POST /status.html HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n\
         GET /sync_status?backend_count=0 HTTP/1.1\r\n{RIGHT}Connection: close\r\n\r\n"
    );
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nok\n";
    let expected = format!(
        "{ok}HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n{ok}{}",
        with_body(&format!("{TOTAL}}}\n}}"))
    );
    for piece in [1, 3, 50, requests.len()] {
        let mut client = http_server.client();
        for piece in requests.as_bytes().chunks(piece) {
            client.send(piece);
        }
        assert_eq!(client.rest(), expected);
    }
}

#[test]
fn after_so_many_requests_a_connection_is_closed() {
    let limits = ServerLimits {
        requests_max: 3,
        ..ServerLimits::default()
    };
    let http_server = HttpServer::open(hustdbsync::internals::engine::listener::ListenerOptions {
        limits,
        ..options()
    });
    let mut client = http_server.client();
    client.send("GET /status.html HTTP/1.1\r\n\r\n".repeat(10).as_bytes());
    let all = client.rest();
    assert_eq!(all.matches("ok\n").count(), 3);
    assert!(all.ends_with("Connection: close\r\n\r\nok\n"));
}

#[test]
fn old_clients_are_kept_only_if_they_ask_for_it() {
    let http_server = HttpServer::open(options());
    let mut client = http_server.client();
    client.send(b"GET /status.html HTTP/1.0\r\n\r\n");
    assert_eq!(client.rest(), OK);
    let mut client = http_server.client();
    client.send(b"GET /status.html HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.answer(), OK.replace("close", "keep-alive"));
    client.send(b"GET /status.html HTTP/1.0\r\n\r\n");
    assert_eq!(client.rest(), OK);
}

#[test]
fn a_client_that_has_shut_its_side_still_gets_its_answer() {
    let http_server = HttpServer::open(options());
    let mut client = http_server.client();
    client.send(b"GET /status.html HTTP/1.1\r\n\r\n");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.rest(), OK.replace("Connection: close\r\n", ""));
}

#[test]
fn an_answer_may_come_later_than_those_to_others() {
    let http_server = HttpServer::open(options());
    let mut waiting: Vec<Client> = (0..3).map(|_| http_server.client()).collect();
    for client in &mut waiting {
        client.send(b"GET /wait HTTP/1.1\r\n\r\nGET /status.html HTTP/1.1\r\n\r\n");
    }
    drop(waiting.remove(1));
    crate::support::eventually("all are in", || http_server.counts().accepted == 3);
    // Each of these goes through the same loop after the requests before it.
    assert!(
        http_server
            .ask("GET /status.html HTTP/1.1\r\n\r\n")
            .ends_with("ok\n")
    );
    assert!(
        http_server
            .ask("GET /release HTTP/1.1\r\n\r\n")
            .starts_with("HTTP/1.1 200 ")
    );
    for client in &mut waiting {
        assert!(client.answer().ends_with("\r\n\r\nlate\n"));
        assert!(client.answer().ends_with("\r\n\r\nok\n"));
    }
}

#[test]
fn a_peer_outside_the_access_list_is_closed_without_a_word() {
    let http_server = HttpServer::open_to(options(), |_| false);
    for _ in 0..5 {
        // The connection may be gone before anything can be sent on it.
        let mut client = http_server.client();
        assert_eq!(client.rest(), "");
    }
    crate::support::eventually("all are counted", || http_server.counts().denied == 5);
    assert_eq!(
        (http_server.counts().accepted, http_server.connections()),
        (0, 0)
    );
}

#[test]
fn the_report_is_what_our_own_client_reads() {
    let http_server = HttpServer::open(options());
    let answer = http_server.ask(&format!("GET /v1/status HTTP/1.1\r\n{RIGHT}\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("\r\nContent-Type: application/json\r\nCache-Control: no-store"),
        "{head}"
    );
    let report: hustdbsync::internals::status::report::Report = serde_json::from_str(body).unwrap();
    assert_eq!(
        (report.processed, report.settled, report.backends.len()),
        (12, 10, 2)
    );
    assert_eq!(report.backends[0].name, "127.0.0.1:9998");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let poll = mio::Poll::new().unwrap();
    let options = hustdbsync::internals::engine::listener::ListenerOptions {
        address,
        ..options()
    };
    let error = hustdbsync::internals::engine::listener::Listener::bind(
        options,
        Box::new(|_| true),
        poll.registry(),
        mio::Token(1),
    )
    .err()
    .unwrap();
    assert!(
        error
            .to_string()
            .contains(&format!("port {} is in use", address.port())),
        "{error}"
    );
}
