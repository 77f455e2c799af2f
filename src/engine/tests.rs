//! The whole engine over real files and sockets, against a fake HustDB.

use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::binlog::{Method, Record, line};
use crate::config::Config;
use crate::fake_hustdb::{FakeHustdb, Options};
use crate::patience::eventually;

/// A folder as HA has it: logs, htpasswd, and a configuration with short intervals.
struct House {
    home: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("logs")).unwrap();
        std::fs::write(home.path().join("htpasswd"), "u:p\n").unwrap();
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn config(&self) -> Config {
        let text = format!(
            r#"{{"network": {{"port": 0}}, "sync": {{
                "logs_path": {:?}, "ngx_path": {:?}, "auth_path": {:?}, "threads": 2,
                "checkdb_interval": 200, "probe_interval_down": 20, "checkpoint_interval": 50,
                "connections_per_backend": 4, "ttl_hold": "50ms", "drain_timeout": "2s"}}}}"#,
            self.path("logs"),
            self.home.path(),
            self.path("htpasswd"),
        );
        Config::parse(text, &self.path("sync_server.json")).unwrap()
    }

    fn start(&self) -> Engine {
        Engine::start_with(self.config(), quiet()).unwrap()
    }

    /// Appends puts of these keys to a log of `backend`.
    fn log(&self, backend: &str, name: &str, keys: std::ops::Range<u32>) {
        let folder = self.path("logs").join(backend);
        std::fs::create_dir_all(&folder).unwrap();
        let mut lines = Vec::new();
        for key in keys {
            let key = format!("key{key}");
            let mut record = Vec::new();
            Record::new(Method::Put, key.as_bytes(), b"value").encode(&mut record);
            line::encode(b"[2026-11-22 16:40:38] [DEBUG] | ", &record, &mut lines);
        }
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(name))
            .unwrap()
            .write_all(&lines)
            .unwrap();
    }
}

fn quiet() -> EngineOptions {
    EngineOptions {
        signals: false,
        ..EngineOptions::default()
    }
}

fn fake_hustdb() -> FakeHustdb {
    FakeHustdb::start(Options {
        credentials: Some(("u".to_owned(), "p".to_owned())),
        ..Options::default()
    })
    .unwrap()
}

fn settled(engine: &Engine) -> u64 {
    engine.snapshot().totals().1
}

fn end(engine: Engine) -> ExitReport {
    engine.stop();
    let report = engine.wait();
    assert_eq!(report.ending, Ending::Clean, "{report}");
    report
}

#[test]
fn logs_from_before_and_lines_that_come_arrive_on_their_backend() {
    let (house, backend) = (House::new(), fake_hustdb());
    house.log(&backend.name(), "2026-11-22-16-40.log", 0..1000);
    let engine = house.start();
    eventually("what was there", || backend.contents().len() == 1000);
    house.log(&backend.name(), "2026-11-22-16-40.log", 1000..1500);
    eventually("what came", || backend.contents().len() == 1500);
    let later = fake_hustdb();
    house.log(&later.name(), "2026-11-22-16-41.log", 0..100);
    eventually("a backend that came", || later.contents().len() == 100);
    eventually("all settled", || settled(&engine) == 1600);
    let report = end(engine);
    assert_eq!((report.settled, report.backlog_bytes), (1600, 0));
    assert_eq!(backend.counters().cut_targets, 0);
    assert_eq!(backend.counters().duplicates, 0);
}

#[test]
fn a_backend_that_was_away_gets_its_backlog_at_once_when_it_is_back() {
    let (house, backend) = (House::new(), fake_hustdb());
    backend.kill().unwrap();
    house.log(&backend.name(), "1.log", 0..300);
    let engine = house.start();
    eventually("known as down", || {
        engine
            .snapshot()
            .backends()
            .iter()
            .any(|backend| backend.state == "down" && backend.why.starts_with("no connection: "))
    });
    backend.restart().unwrap();
    eventually("replayed", || backend.contents().len() == 300);
    backend.kill().unwrap();
    house.log(&backend.name(), "1.log", 300..600);
    backend.restart().unwrap();
    eventually("replayed again", || backend.contents().len() == 600);
    eventually("all settled", || settled(&engine) == 600);
    assert!(end(engine).is_success());
}

#[test]
fn a_second_run_goes_on_where_the_first_ended_and_counts_go_on_too() {
    let (house, backend) = (House::new(), fake_hustdb());
    house.log(&backend.name(), "1.log", 0..500);
    let first = house.start();
    eventually("all settled", || settled(&first) == 500);
    end(first);
    house.log(&backend.name(), "1.log", 500..700);
    let second = house.start();
    eventually("all settled", || settled(&second) == 700);
    assert_eq!(end(second).settled, 700);
    assert_eq!(backend.contents().len(), 700);
    assert_eq!(backend.counters().duplicates, 0, "nothing was sent again");
}

#[test]
fn a_wrong_password_sets_nothing_aside_and_another_is_taken_without_a_restart() {
    let (house, backend) = (House::new(), fake_hustdb());
    std::fs::write(house.path("sync_server.json"), "{}").unwrap();
    std::fs::write(house.path("htpasswd"), "u:wrong\n").unwrap();
    house.log(&backend.name(), "1.log", 0..200);
    let text = {
        let config = house.config();
        format!(
            r#"{{"network": {{"port": 0}},
                 "sync": {{"logs_path": {:?}, "ngx_path": {:?}, "auth_path": {:?},
                           "threads": 2, "checkdb_interval": 200}}}}"#,
            config.sync.logs_path, config.sync.ngx_path, config.sync.auth_path
        )
    };
    std::fs::write(house.path("sync_server.json"), text).unwrap();
    let engine = house.start();
    eventually("refused", || {
        engine
            .snapshot()
            .backends()
            .iter()
            .any(|backend| backend.state == "refused")
    });
    assert_eq!(settled(&engine), 0);
    std::fs::write(house.path("htpasswd"), "u:p\n").unwrap();
    engine.reload();
    eventually("replayed", || backend.contents().len() == 200);
    eventually("all settled", || settled(&engine) == 200);
    assert_eq!(
        engine.snapshot().backends()[0].counts.rejected,
        0,
        "nothing is rejected"
    );
    end(engine);
}

#[test]
fn what_keeps_it_from_starting_is_named() {
    let check = |house: &House, config: Config, expected: &str| {
        let Err(error) = Engine::start_with(config, quiet()) else {
            panic!("it does not start: {expected}");
        };
        assert!(error.to_string().contains(expected), "{error}");
        // Nothing of the attempt is left: the lock is free.
        end(house.start());
    };
    let house = House::new();
    let mut config = house.config();
    config.sync.logs_path = house.path("nowhere");
    check(&house, config, "sync.logs_path ");
    let mut config = house.config();
    config.sync.auth_path = house.path("nowhere");
    check(&house, config, "sync.auth_path ");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = house.config();
    config.network.port = taken.local_addr().unwrap().port();
    check(&house, config, "is in use");

    let running = house.start();
    let Err(error) = Engine::start_with(house.config(), quiet()) else {
        panic!("two on one state");
    };
    assert!(error.to_string().contains("another sync server"), "{error}");
    // Polls would be answered by either.
    let mut config = House::new().config();
    config.network.port = running.local_addr().port();
    assert!(config.network.enable_reuseport);
    let other = House::new();
    config.sync = other.config().sync;
    check(&other, config, "is in use");
    end(running);
}
