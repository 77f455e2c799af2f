//! `/healthz` and `/readyz` of a running server.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::observe::client::ask;
use crate::observe::harness::{Home, eventually, fake_hustdb};

#[test]
fn a_server_is_ready_when_its_state_is_read_whatever_its_backends_do() {
    let home = Home::new();
    let (up, down) = (fake_hustdb(), fake_hustdb());
    down.kill().unwrap();
    home.log(&up.name()).put("k", 1, "v");
    home.log(&down.name()).put("k", 1, "v");
    let server = home.start();
    let addr = server.engine().local_addr();
    server.wait_for_state(&down.name(), "down");
    eventually("it is ready", || {
        ask(addr, "GET", "/readyz", "").body == "ready\n"
    });
    let health = ask(addr, "GET", "/healthz", "");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let head = ask(addr, "HEAD", "/healthz", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("Content-Length: 3\r\n"), "{}", head.head);
}

#[test]
fn a_server_whose_logs_are_not_there_is_not_ready() {
    let home = Home::new();
    let server = home.start();
    let addr = server.engine().local_addr();
    let is_ready = || ask(addr, "GET", "/readyz", "").status == 200;
    eventually("it is ready", is_ready);
    fs::rename(home.path("logs"), home.path("away")).unwrap();
    eventually("it is not ready", || !is_ready());
    let ready = ask(addr, "GET", "/readyz", "").body;
    assert!(ready.contains("cannot be listed"), "{ready}");
    fs::rename(home.path("away"), home.path("logs")).unwrap();
    eventually("it is ready again", is_ready);
}

#[test]
fn a_server_whose_state_cannot_be_read_is_not_ready_until_it_can() {
    let home = Home::new();
    let fake_hustdb = fake_hustdb();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    // A folder in the checkpoint's place cannot be read, not even by root.
    let checkpoint = home.state(&fake_hustdb.name(), "checkpoint");
    fs::create_dir_all(&checkpoint).unwrap();
    let server = home.start();
    let addr = server.engine().local_addr();
    eventually("it says so", || {
        let ready = ask(addr, "GET", "/readyz", "");
        ready.status == 503 && ready.body.contains("cannot be read or written: 1")
    });
    let ready = ask(addr, "GET", "/readyz", "").body;
    for secret in [fake_hustdb.name(), home.path("").display().to_string()] {
        assert!(!ready.contains(&secret), "{ready}");
    }
    fs::set_permissions(&checkpoint, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir(&checkpoint).unwrap();
    eventually("it is ready", || {
        ask(addr, "GET", "/readyz", "").status == 200
    });
    server.wait_settled(&fake_hustdb.name(), 1);
}
