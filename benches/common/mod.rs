//! A home for HA's logs in a temporary folder, a sink and the server in processes of their own, and
//! CPU time.

#![allow(dead_code, reason = "each bench uses a part of it")]

pub(crate) mod feeding;
pub(crate) mod folder;
pub(crate) mod proc;
pub(crate) mod server;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hustdbsync::internals::config::Config;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A fake HustDB that stores nothing and answers all requests of a read at once (our ceiling, not
/// hustdb's), in its own process, so that its CPU time is not ours.
pub(crate) struct Sink {
    process: Child,
    /// Its address, which is the backend's name.
    pub(crate) name: String,
}

impl Sink {
    /// Starts one on a free port.
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    /// Starts one at this address.
    pub(crate) fn start_at(listen: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
            .args(["fake-hustdb", "--at-once", "--threads", "1", "--discard"])
            .args(["--listen", listen])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the fake HustDB starts");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("it is piped"))
            .read_line(&mut line)
            .expect("the fake HustDB says where it listens");
        let name = line.split_whitespace().find_map(|word| {
            let word = word.trim_end_matches(';');
            word.starts_with("127.0.0.1:").then(|| word.to_owned())
        });
        Self {
            process,
            name: name.expect("an address stands in the line"),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// HA's home, without logs.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    /// A new one.
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        fs::create_dir(folder.path().join("logs")).expect("a folder can be made");
        fs::write(folder.path().join("htpasswd"), "huststore:huststore\n")
            .expect("a file can be written");
        Self { folder }
    }

    /// Where the logs go.
    pub(crate) fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// A configuration for one worker, with these settings under `sync`.
    pub(crate) fn config(&self, settings: &[(&str, Value)]) -> Config {
        let defaults = [("threads", json!(1)), ("ttl_hold", json!("0s"))];
        let text = self.document([&defaults, settings].concat());
        Config::parse(text, &self.config_path()).expect("the settings are right")
    }

    /// Writes a configuration for a process of its own, with these settings under `sync`; all
    /// others are as they are shipped.
    pub(crate) fn write_config(&self, settings: &[(&str, Value)]) -> PathBuf {
        let path = self.config_path();
        fs::write(&path, self.document(settings.to_vec())).expect("a file can be written");
        path
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("sync_server.json")
    }

    fn document(&self, settings: Vec<(&str, Value)>) -> String {
        let root = self.folder.path();
        let mut text = json!({
            "network": { "port": 0 },
            "sync": {
                "logs_path": root.join("logs"),
                "ngx_path": root,
                "auth_path": root.join("htpasswd"),
            }
        });
        for (key, value) in settings {
            text["sync"][key] = value;
        }
        text.to_string()
    }

    /// Where the server keeps its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("status")
    }

    /// Forgets what is settled.
    pub(crate) fn forget_state(&self) {
        let _ = fs::remove_dir_all(self.state());
    }
}

/// CPU time of this process, user and system, all threads.
pub(crate) fn cpu_time() -> Duration {
    proc::cpu_time("self")
}

/// Seconds since 1970.
pub(crate) fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970")
        .as_secs()
}
