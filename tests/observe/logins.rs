//! Who may ask the server for what: two users, names, and pages from elsewhere.

use std::fs;
use std::net::SocketAddr;

use crate::observe::client::{LOGIN, ask, ask_named};
use crate::observe::harness::{Home, Running, eventually, fake_hustdb};

/// `viewer:looks`.
const VIEWER: &str = "Authorization: Basic dmlld2VyOmxvb2tz\r\n";
/// `viewer:other`.
const OTHER: &str = "Authorization: Basic dmlld2VyOm90aGVy\r\n";

fn address(server: &Running) -> SocketAddr {
    server.engine().local_addr()
}

#[test]
fn a_viewer_sees_everything_and_changes_nothing() {
    let home = Home::new();
    let password = home.path("viewer-password");
    fs::write(&password, "looks\n").unwrap();
    let home = home
        .with("network.viewer_user", "viewer")
        .with("network.viewer_password_file", password.to_str().unwrap());
    let fake_hustdb = fake_hustdb();
    let name = fake_hustdb.name();
    home.log(&name).put("k", 1, "v");
    let server = home.start();
    server.wait_settled(&name, 1);
    let addr = address(&server);
    for target in ["/", "/guide", "/v1/status", "/v1/history", "/metrics"] {
        assert_eq!(ask(addr, "GET", target, VIEWER).status, 200, "{target}");
        assert_eq!(ask(addr, "GET", target, OTHER).status, 401, "{target}");
    }
    let session = ask(addr, "GET", "/v1/session", VIEWER);
    assert_eq!(session.body, "{\"controls\":false}\n");
    for target in [
        format!("/v1/control/pause?backend={name}"),
        "/v1/control/drain".to_owned(),
        "/v1/rejected/drop?all=true".to_owned(),
    ] {
        let refused = ask(addr, "POST", &target, VIEWER);
        assert_eq!(refused.status, 403, "{target}");
        assert!(refused.body.contains("network.user"), "{}", refused.body);
    }
    assert_eq!(server.backend(&name).unwrap().state, "up");
    // A viewer may wait until all is in sync, and no page elsewhere may.
    assert_eq!(ask(addr, "POST", "/sync_point", VIEWER).status, 200);
    let elsewhere = format!("{VIEWER}Origin: http://evil.example\r\n");
    assert_eq!(ask(addr, "POST", "/sync_point", &elsewhere).status, 403);

    // A password that is written anew is taken with the next reload.
    fs::write(&password, "other\n").unwrap();
    server.engine().reload();
    eventually("the other password holds", || {
        ask(addr, "GET", "/", OTHER).status == 200
    });
    assert_eq!(ask(addr, "GET", "/", VIEWER).status, 401);
    assert_eq!(ask(addr, "GET", "/", LOGIN).status, 200);
}

#[test]
fn commands_log_in_with_a_password_from_a_file() {
    let home = Home::new().with_port();
    let password = home.path("password");
    fs::write(&password, "in a file\n").unwrap();
    let home = home.with("network.passwd_file", password.to_str().unwrap());
    let server = home.start();
    let (code, _, said) = home.command(&["status"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(ask(address(&server), "GET", "/", LOGIN).status, 401);
    fs::remove_file(&password).unwrap();
    let (code, _, said) = home.command(&["status"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("network.passwd_file: "), "{said}");
}

#[test]
fn a_page_whose_name_points_here_learns_and_changes_nothing() {
    let home = Home::new().with("network.host_names", "sync.example");
    let server = home.start();
    let addr = address(&server);
    for (host, status) in [
        ("evil.example", 421),
        ("evil.example:8089", 421),
        ("sync.example", 200),
        ("localhost", 200),
        ("127.0.0.1:8089", 200),
    ] {
        for target in ["/", "/v1/status", "/v1/session"] {
            let answer = ask_named(host, addr, "GET", target, LOGIN);
            assert_eq!(answer.status, status, "{host}{target}");
            let told = answer.body.contains("network.host_names");
            assert_eq!(told, status == 421, "{host}{target}: {}", answer.body);
        }
        let points = ask_named(host, addr, "POST", "/sync_point", LOGIN).status;
        assert_eq!(points, status, "{host}");
        // What HA and Prometheus ask for.
        for target in ["/status.html", "/sync_status?backend_count=1", "/metrics"] {
            let answer = ask_named(host, addr, "GET", target, LOGIN);
            assert_eq!(answer.status, 200, "{host}{target}");
        }
    }
}
