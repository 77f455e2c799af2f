//! The real binary in a process of its own, over real files, with fake HustDBs in the test's
//! process. For `crash` and `faults`.
//!
//! Contract: only processes that were started here are signalled, by their own handle or number. A
//! home is kept, and named, when its test fails.
pub(crate) mod backend;
pub(crate) mod ha;
pub(crate) mod process;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use hustdbsync::internals::fake_hustdb::{FakeHustdb, Options};
use hustdbsync::internals::ledger::rejected::{self, RejectedLine};
use serde_json::{Value as Json, json};

pub(crate) use crate::support::holds_within as wait_for;

pub(crate) const USER: &str = "user";
/// A word that occurs nowhere else, to be looked for where it must not stand.
pub(crate) const PASSWORD: &str = "pa55-of-the-backends";
/// HA's password at our HTTP server, likewise.
pub(crate) const HTTP_SERVER_PASSWORD: &str = "pa55-of-the-server";

/// HA's home: logs, login, configuration, our state. It goes away with this, unless a test has
/// failed.
pub(crate) struct Home {
    root: PathBuf,
    /// What goes away.
    folder: Option<tempfile::TempDir>,
    settings: Json,
}

impl Home {
    /// A home whose settings make everything happen soon.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut home = Self::at(folder.path());
        home.folder = Some(folder);
        home
    }

    /// The same in this folder, which stays, with what is there.
    pub(crate) fn at(root: &Path) -> Self {
        fs::create_dir_all(root.join("logs")).unwrap();
        fs::write(root.join("htpasswd"), format!("{USER}:{PASSWORD}\n")).unwrap();
        let settings = json!({
            "network": { "port": 0, "passwd": HTTP_SERVER_PASSWORD },
            "sync": {
                "logs_path": root.join("logs"),
                "ngx_path": root,
                "auth_path": root.join("htpasswd"),
                "threads": 2,
                "connections_per_backend": 4,
                "pin_workers": false,
                "checkdb_interval": "100ms",
                "probe_interval_down": "20ms",
                "checkpoint_interval": "10ms",
                "release_interval": "20ms",
                "rescan_interval": "1s",
                "checklog_interval": "1ms",
                "connect_timeout": "1s",
                "response_timeout": "1s",
                "drain_timeout": "5s",
                "ttl_hold": "0s",
            }
        });
        Self {
            root: root.to_owned(),
            folder: None,
            settings,
        }
    }

    /// With another value for `key`, such as `sync.threads`.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.set(key, value);
        self
    }

    pub(crate) fn set(&mut self, key: &str, value: impl Into<Json>) {
        let (section, name) = key.split_once('.').unwrap();
        self.settings[section][name] = value.into();
    }

    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// The folder of HA's logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path("logs")
    }

    /// Writes the configuration; gives its path.
    pub(crate) fn write_config(&self) -> PathBuf {
        let path = self.path("sync_server.json");
        fs::write(&path, self.settings.to_string()).unwrap();
        path
    }

    /// Writes the configuration by which a command finds the process at this port; gives its path.
    pub(crate) fn write_config_for_commands(&self, port: u16) -> PathBuf {
        let path = self.path("commands.json");
        let mut settings = self.settings.clone();
        settings["network"]["port"] = port.into();
        fs::write(&path, settings.to_string()).unwrap();
        path
    }

    /// What the processes have written to stderr, all of them.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }

    /// Names of a backend's logs.
    pub(crate) fn log_names(&self, backend: &str) -> BTreeSet<String> {
        let Ok(entries) = fs::read_dir(self.logs().join(backend)) else {
            return BTreeSet::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The whole lines of a backend's `rejected.jsonl`, each of which must read back. A last one
    /// without its line feed is still being written.
    pub(crate) fn rejected(&self, backend: &str) -> Vec<RejectedLine> {
        let path = self.path("status").join(backend).join(rejected::NAME);
        let text = fs::read(&path).unwrap_or_default();
        text.split_inclusive(|&byte| byte == b'\n')
            .filter_map(|line| line.strip_suffix(b"\n"))
            .map(|line| {
                RejectedLine::parse(line).unwrap_or_else(|fault| {
                    panic!("{}: {fault}: {}", path.display(), line.escape_ascii())
                })
            })
            .collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("kept: {}", folder.keep().display());
        }
    }
}

/// A fake HustDB that wants the home's login.
pub(crate) fn fake_hustdb() -> FakeHustdb {
    fake_hustdb_at(Options::default().listen)
}

/// The same, at this address.
pub(crate) fn fake_hustdb_at(listen: SocketAddr) -> FakeHustdb {
    FakeHustdb::start(Options {
        listen,
        credentials: Some((USER.to_owned(), PASSWORD.to_owned())),
        ..Options::default()
    })
    .unwrap()
}

pub(crate) fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
