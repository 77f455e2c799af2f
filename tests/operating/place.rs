//! A host as the documents describe it, in a temporary folder: HA's home, a backend, a server that
//! runs.
//!
//! The documents say `/data/hustdbha`, `/etc/hustdbsync`, `10.0.0.7:8085` and port 8089; a command
//! of theirs is run with the place's own in their stead.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hustdbsync::internals::fake_hustdb::{FakeHustdb, Options};
use hustdbsync::internals::workload::Workload;
use serde_json::json;

use crate::port;
use crate::support::{Process, eventually_some};

/// See the module.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    backend: FakeHustdb,
    port: u16,
    server: Option<Process>,
}

impl Place {
    /// With some records in the backend's logs and one that can't be read, and no server yet.
    pub(crate) fn new() -> Self {
        let backend = FakeHustdb::start(Options {
            credentials: Some(("user".to_owned(), "password".to_owned())),
            ..Options::default()
        })
        .unwrap();
        let port = port::free();
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            backend,
            port,
            server: None,
        };
        for folder in ["data/logs", "data/conf", "data/sync", "etc", "bin"] {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        fs::write(place.path("data/conf/htpasswd"), "user:password\n").unwrap();
        let settings = json!({
            "network": { "port": port },
            "sync": {
                "logs_path": place.path("data/logs"),
                "ngx_path": place.path("data"),
                "auth_path": place.path("data/conf/htpasswd"),
                "threads": 1, "connections_per_backend": 2, "checkdb_interval": "100ms",
                "probe_interval_down": "20ms", "ttl_hold": "0s", "checkpoint_interval": "20ms",
                // Logs stay for as long as a test looks at them.
                "checklog_interval": "1h",
            }
        });
        for file in ["etc/sync_server.json", "data/sync/sync_server.json"] {
            fs::write(place.path(file), settings.to_string()).unwrap();
        }
        Workload::mixed(50, 0)
            .write(&place.path("data/logs"), &place.backend.name())
            .unwrap();
        let bad = place
            .path("data/logs")
            .join(place.backend.name())
            .join("0.log");
        fs::write(bad, "faulty!\n").unwrap();
        // Commands without --config find what stands beside the program. It is copied by a process
        // of its own: a descriptor of this one's that writes could be open in a child that another
        // test has just forked, and what is open for writing cannot be run.
        fs::copy(
            place.path("etc/sync_server.json"),
            place.path("bin/sync_server.json"),
        )
        .unwrap();
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_hustdbsync"))
            .arg(place.path("bin/hustdbsync"))
            .status();
        assert!(copied.unwrap().success());
        place
    }

    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(below)
    }

    /// A command of the documents with this place's own paths, names and port.
    pub(crate) fn localise(&self, command: &str) -> String {
        let path = |below: &str| self.path(below).to_str().unwrap().to_owned();
        command
            .replace("/data/hustdbha", &path("data"))
            .replace("/etc/hustdbsync", &path("etc"))
            .replace("10.0.0.7:8085", &self.backend.name())
            .replace(":8089", &format!(":{}", self.port))
    }

    /// A shell in this place that runs `command`.
    pub(crate) fn shell(&self, command: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell
            .arg("-euc")
            .arg(self.localise(command))
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.folder.path())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        shell
    }

    /// Starts a server, and waits until HA would be answered.
    pub(crate) fn start(&mut self) {
        let mut command =
            self.shell("exec hustdbsync run --config /etc/hustdbsync/sync_server.json");
        self.server = Some(Process::spawn(command.stderr(Stdio::null())));
        self.wait_until_it_answers();
    }

    pub(crate) fn wait_until_it_answers(&self) {
        eventually_some("the server answers", || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            stream
                .write_all(b"GET /status.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.ends_with("ok\n").then_some(())
        });
    }

    /// Ends the server, which must be a good end.
    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.end();
        }
    }

    /// Whether a server that somebody else started runs here.
    pub(crate) fn answers(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.server.take());
        // And a daemon that a command has started.
        let _ = self
            .shell("hustdbsync -q --config /etc/hustdbsync/sync_server.json")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
