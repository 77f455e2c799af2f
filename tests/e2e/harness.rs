//! HA's home in a temporary folder, a server on it, and patience.

#[path = "port.rs"]
mod port;

use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hustdbsync::internals::config::{Config, EngineName};
use hustdbsync::internals::engine::choice::{KernelRings, choose};
use hustdbsync::internals::engine::resolve::{Resolver, system_resolver};
use hustdbsync::internals::engine::{Engine, EngineOptions, StartError};
use hustdbsync::internals::fake_hustdb::{
    Contents, FakeHustdb, Options, Script, Space, Value, differences,
};
use hustdbsync::internals::status::snapshot::BackendSnapshot;
use serde_json::{Value as Json, json};

use super::log::Log;
#[allow(
    unused_imports,
    reason = "not each of the crates that share this uses all"
)]
pub(crate) use super::support::{DEADLINE, eventually, eventually_some, holds_within};
#[allow(
    unused_imports,
    reason = "not each of the crates that share this uses all"
)]
pub(crate) use port::free as free_port;

/// A time to live is relative when it is sent, in whole seconds, so an expiry may be off by the
/// time a test takes.
const EXPIRY_TOLERANCE_S: u64 = 10;

pub(crate) const USER: &str = "user";
pub(crate) const PASSWORD: &str = "password";

pub(crate) fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// HA's home: logs, login, configuration, and our state.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    settings: Json,
}

impl Home {
    /// A home whose settings make everything happen soon.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("logs")).unwrap();
        fs::write(root.join("htpasswd"), format!("{USER}:{PASSWORD}\n")).unwrap();
        let settings = json!({
            "network": { "port": 0 },
            "sync": {
                "logs_path": root.join("logs"),
                "ngx_path": root,
                "auth_path": root.join("htpasswd"),
                "threads": 2,
                "connections_per_backend": 4,
                "engine": engine(),
                "pin_workers": false,
                "checkdb_interval": "100ms",
                "probe_interval_down": "20ms",
                "checkpoint_interval": "50ms",
                "release_interval": "50ms",
                "rescan_interval": "1s",
                "connect_timeout": "5s",
                "response_timeout": "5s",
                "drain_timeout": "5s",
                "ttl_hold": "0s",
            }
        });
        Self { folder, settings }
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
        self.folder.path().join(below)
    }

    /// A file of our state.
    pub(crate) fn state(&self, backend: &str, name: &str) -> PathBuf {
        self.path("status").join(backend).join(name)
    }

    /// Writes the configuration; gives its path.
    pub(crate) fn write_config(&self) -> PathBuf {
        let path = self.path("sync_server.json");
        let text = self.settings.to_string();
        // A command that runs may be reading it.
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            fs::write(&path, text).unwrap();
        }
        path
    }

    pub(crate) fn config(&self) -> Config {
        Config::load(&self.write_config()).unwrap()
    }

    /// Starts a server on this home.
    pub(crate) fn start(&self) -> Running {
        self.start_with(system_resolver())
    }

    /// Starts one that looks names up so.
    pub(crate) fn start_with(&self, resolver: Resolver) -> Running {
        let engine = start(self.config(), resolver)
            .unwrap_or_else(|error| panic!("the server could not start: {error}"));
        Running {
            engine: Some(engine),
        }
    }

    /// Why a server doesn't start on this home.
    pub(crate) fn start_error(&self) -> String {
        match start(self.config(), system_resolver()) {
            Ok(engine) => {
                engine.stop();
                let _ = engine.wait();
                panic!("the server started")
            }
            Err(error) => error.to_string(),
        }
    }

    /// With a port of its own, so that the configuration tells commands where the server is. It is
    /// none of those that the system gives to whoever asks for any, so that nobody else has it
    /// while the server is not there.
    pub(crate) fn with_port(self) -> Self {
        self.with("network.port", port::free())
    }

    /// Runs a command on this home's configuration; gives its exit code, stdout and stderr.
    pub(crate) fn command(&self, args: &[&str]) -> (i32, String, String) {
        self.command_reading("", args)
    }

    /// Runs a command that finds this text on its stdin.
    pub(crate) fn command_reading(&self, text: &str, args: &[&str]) -> (i32, String, String) {
        let mut stdin = tempfile::tempfile().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.rewind().unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
            .args(args)
            .arg("--config")
            .arg(self.write_config())
            .env_remove("RUST_LOG")
            .stdin(stdin)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap();
        (code, text(&output.stdout), text(&output.stderr))
    }

    /// The log that HA keeps for a backend now.
    pub(crate) fn log(&self, backend: &str) -> Log {
        Log::new(self.path("logs").join(backend), "2026-11-22-16-40.log")
    }

    /// The whole lines of a backend's `rejected.jsonl`.
    pub(crate) fn rejected(&self, backend: &str) -> Vec<Json> {
        let path = self.state(backend, "rejected.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        whole_lines(&text)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Whether the file `name` of a backend's log folder exists.
    pub(crate) fn has_log(&self, backend: &str, name: &str) -> bool {
        self.path("logs").join(backend).join(name).exists()
    }
}

/// The lines of a file that another process is appending to: a last one without its line feed is
/// still being written.
pub(crate) fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
}

/// What the workers run on: in the end-to-end tests mio, or io_uring if `E2E_ENGINE` says so;
/// whatever the server takes in others.
fn engine() -> &'static str {
    static ENGINE: LazyLock<&str> = LazyLock::new(|| {
        if env!("CARGO_CRATE_NAME") != "e2e" {
            return "auto";
        }
        match std::env::var("E2E_ENGINE").as_deref() {
            Err(_) | Ok("mio") => "mio",
            Ok("io_uring") => match choose(EngineName::IoUring, 0, &KernelRings) {
                Ok(_) => "io_uring",
                Err(unavailable) => {
                    eprintln!("SKIPPED: these tests run over mio once more, since {unavailable}");
                    "mio"
                }
            },
            Ok(other) => panic!("E2E_ENGINE is mio or io_uring, not {other}"),
        }
    });
    &ENGINE
}

fn start(config: Config, resolver: Resolver) -> Result<Engine, StartError> {
    let options = EngineOptions {
        // This process runs many servers at once; `process.rs` sends signals to one of its own.
        signals: false,
        resolver,
        ..EngineOptions::default()
    };
    Engine::start_with(config, options)
}

/// A server that runs. It is ended gracefully when this goes.
pub(crate) struct Running {
    engine: Option<Engine>,
}

impl Running {
    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// How a backend is; none while it isn't known.
    pub(crate) fn backend(&self, name: &str) -> Option<BackendSnapshot> {
        let snapshot = self.engine().snapshot();
        let mut backends = snapshot.backends().iter();
        backends.find(|backend| backend.name == name).cloned()
    }

    /// Waits until something holds for a backend.
    #[track_caller]
    fn wait_for(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&BackendSnapshot) -> bool,
    ) -> BackendSnapshot {
        let mut last = None;
        let came = holds_within(DEADLINE, || {
            last = self.backend(name);
            last.as_ref().is_some_and(&holds)
        });
        assert!(came, "not within {DEADLINE:?}: {what}, but {last:?}");
        last.expect("it was found")
    }

    /// Waits until a backend is in this state.
    #[track_caller]
    pub(crate) fn wait_for_state(&self, name: &str, state: &str) -> BackendSnapshot {
        let what = format!("it is {state}");
        self.wait_for(name, &what, |backend| backend.state == state)
    }

    /// Waits until so many records of a backend are settled, and none is left.
    #[track_caller]
    pub(crate) fn wait_settled(&self, name: &str, records: u64) -> BackendSnapshot {
        let what = format!("{records} records are settled");
        let backend = self.wait_for(name, &what, |backend| {
            backend.counts.settled >= records
                && backend.backlog_bytes == 0
                && backend.counts.in_flight_records == 0
        });
        assert_eq!(backend.counts.settled, records, "{backend:?}");
        assert_eq!(backend.counts.processed, records, "{backend:?}");
        backend
    }

    /// Ends it gracefully; gives what it says about its end.
    pub(crate) fn stop(mut self) -> String {
        let engine = self.engine.take().unwrap();
        engine.stop();
        engine.wait().to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.stop();
            let _ = engine.wait();
        }
    }
}

/// A fake HustDB that wants the home's login and keeps its history.
pub(crate) fn fake_hustdb() -> FakeHustdb {
    fake_hustdb_with(Options::default())
}

pub(crate) fn fake_hustdb_with(options: Options) -> FakeHustdb {
    FakeHustdb::start(Options {
        credentials: Some((USER.to_owned(), PASSWORD.to_owned())),
        record_history: true,
        ..options
    })
    .unwrap()
}

/// Makes a fake HustDB so slow that a test has time to do something while it is fed: some thousand
/// records a second, over all lanes.
pub(crate) fn slow_down(fake_hustdb: &FakeHustdb) {
    let delay = Duration::from_millis(2);
    fake_hustdb
        .set_script(Script::default().answer_delay(delay))
        .unwrap();
}

/// Fails with the differences if there are any, or if a real hustdb would have suffered.
#[track_caller]
pub(crate) fn assert_holds(fake_hustdb: &FakeHustdb, expected: &Contents) {
    if let Some(differences) =
        differences(expected, &fake_hustdb.contents(), EXPIRY_TOLERANCE_S, 20)
    {
        panic!("{}:\n{differences}", fake_hustdb.name());
    }
    assert_unharmed(fake_hustdb);
}

/// Fails if something was sent that a real hustdb can't stand.
#[track_caller]
pub(crate) fn assert_unharmed(fake_hustdb: &FakeHustdb) {
    let counters = fake_hustdb.counters();
    assert_eq!((counters.cut_targets, counters.crashes), (0, 0));
}

/// The plain keys that a fake HustDB holds, with their values.
pub(crate) fn values(fake_hustdb: &FakeHustdb) -> Vec<(String, String)> {
    let contents = fake_hustdb.contents();
    let kv = contents.iter().filter(|(item, _)| item.space == Space::Kv);
    kv.map(|(item, stored)| {
        let Value::Bytes(value) = &stored.value else {
            panic!("a key without a value")
        };
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        (text(&item.key), text(value))
    })
    .collect()
}

/// The value of a plain key.
pub(crate) fn value(fake_hustdb: &FakeHustdb, key: &str) -> Option<String> {
    let mut values = values(fake_hustdb).into_iter();
    values
        .find(|(found, _)| found == key)
        .map(|(_, value)| value)
}

/// The versions in which the puts of each key were applied must never go down: a key's records
/// arrived in order, and what was sent again was a suffix. Of logs that put keys with growing
/// versions and nothing else.
#[track_caller]
pub(crate) fn assert_in_order(fake_hustdb: &FakeHustdb) {
    let mut last = std::collections::HashMap::new();
    for applied in fake_hustdb.history() {
        let before = last.insert(applied.key.clone(), applied.ver).unwrap_or(0);
        assert!(
            before <= applied.ver,
            "{}: version {} after {before}",
            applied.key.escape_ascii(),
            applied.ver
        );
    }
}
