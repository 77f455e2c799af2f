//! A home, a server on one engine, and backends behind proxies.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hustdbsync::internals::config::{Config, EngineName};
use hustdbsync::internals::engine::choice::{KernelRings, Rings, choose};
use hustdbsync::internals::engine::os::eventfd::Eventfd;
use hustdbsync::internals::engine::os::ring::Ring;
use hustdbsync::internals::engine::os::ring::facts::Facts;
use hustdbsync::internals::engine::os::ring::fault_injector::FaultInjector;
use hustdbsync::internals::engine::os::ring::setup::Sizes;
use hustdbsync::internals::engine::{Engine, EngineOptions};
use hustdbsync::internals::fake_hustdb::{FakeHustdb, Options, differences};
use hustdbsync::internals::workload::{Workload, Written};
use serde_json::{Map, Value, json};

use crate::engines::proxy::{Manner, Proxy};
use crate::support::{holds_within, shrink_send_buffers};

const LONG: Duration = Duration::from_secs(240);
const EXPIRY_TOLERANCE_S: u64 = 10;

/// Both engines, or only mio where this system gives no rings, which is said.
pub(crate) fn engines() -> Vec<EngineName> {
    match choose(EngineName::IoUring, 0, &KernelRings) {
        Ok(_) => vec![EngineName::Mio, EngineName::IoUring],
        Err(unavailable) => {
            eprintln!("SKIPPED for rings: {unavailable}");
            vec![EngineName::Mio]
        }
    }
}

/// Makes the fault injection of each ring.
pub(crate) type Tampering = Arc<dyn Fn() -> Box<dyn FaultInjector> + Send + Sync>;

/// The kernel's rings, tampered with.
struct Tampered(Tampering);

impl Rings for Tampered {
    fn facts(&self) -> Facts {
        Facts::of_kernel()
    }

    fn make(&self, waker: Arc<Eventfd>) -> io::Result<Ring> {
        Ok(Ring::new(waker, Sizes::default())?.interfered((self.0)()))
    }
}

/// A backend as the server sees it.
pub(crate) struct Backend {
    pub(crate) fake_hustdb: FakeHustdb,
    pub(crate) proxy: Proxy,
    written: Vec<Written>,
    records: u64,
}

impl Backend {
    pub(crate) fn name(&self) -> String {
        self.proxy.address().to_string()
    }
}

/// See the module.
pub(crate) struct Fixture {
    home: tempfile::TempDir,
    pub(crate) backends: Vec<Backend>,
    engine: Option<Engine>,
}

impl Fixture {
    /// A home with so many backends, behind proxies of this manner.
    pub(crate) fn new(backends: usize, manner: Manner) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("logs")).unwrap();
        fs::write(home.path().join("htpasswd"), "user:password\n").unwrap();
        let backends = (0..backends).map(|_| {
            let fake_hustdb = FakeHustdb::start(Options {
                credentials: Some(("user".to_owned(), "password".to_owned())),
                ..Options::default()
            });
            let fake_hustdb = fake_hustdb.unwrap();
            Backend {
                proxy: Proxy::start(fake_hustdb.addr(), manner),
                fake_hustdb,
                written: Vec::new(),
                records: 0,
            }
        });
        Self {
            backends: backends.collect(),
            home,
            engine: None,
        }
    }

    /// Puts of so many bytes each to every backend, with keys from `first_key` on.
    pub(crate) fn write(&mut self, first_key: u64, records: u64, value_bytes: usize) {
        self.write_all(&Workload {
            first_key,
            minutes: 1,
            ..Workload::uniform(records, value_bytes, now_unix())
        });
    }

    /// Records of all methods to every backend, several of a key.
    pub(crate) fn write_mixed(&mut self, records: u64) {
        self.write_all(&Workload::mixed(records, now_unix()));
    }

    fn write_all(&mut self, workload: &Workload) {
        let records = workload.records;
        let logs = self.home.path().join("logs");
        for backend in &mut self.backends {
            let written = workload.write(&logs, &backend.name()).unwrap();
            backend.written.push(written);
            backend.records += records;
        }
    }

    /// Starts the server with these settings beside the usual ones.
    pub(crate) fn start(&mut self, engine: EngineName, sync: Value, tampering: Option<Tampering>) {
        let root = self.home.path();
        let mut settings = Map::new();
        settings.extend(object(json!({
            "logs_path": root.join("logs"),
            "ngx_path": root,
            "auth_path": root.join("htpasswd"),
            "engine": engine.as_str(),
            "pin_workers": false,
            "checkdb_interval": "100ms",
            "probe_interval_down": "20ms",
            "checkpoint_interval": "50ms",
            "rescan_interval": "1s",
            "attempts_max": 1_000_000,
            "ttl_hold": "0s",
        })));
        settings.extend(object(sync));
        let text = json!({ "network": { "port": 0 }, "sync": settings });
        let config = Config::parse(text.to_string(), &root.join("sync_server.json")).unwrap();
        let rings: Box<dyn Rings> = match tampering {
            None => Box::new(KernelRings),
            Some(tampering) => Box::new(Tampered(tampering)),
        };
        let options = EngineOptions {
            signals: false,
            rings,
            ..EngineOptions::default()
        };
        self.engine = Some(Engine::start_with(config, options).unwrap());
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it was started")
    }

    /// Waits until it is so.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl FnMut() -> bool) {
        assert!(
            holds_within(LONG, is_so),
            "not within {LONG:?}: {what}; {:?}",
            self.engine().snapshot().backends()
        );
    }

    /// Waits until all that was written is settled. `meanwhile` is done again and again.
    #[track_caller]
    pub(crate) fn wait_settled(&self, mut meanwhile: impl FnMut(&Self)) {
        let records: u64 = self.backends.iter().map(|backend| backend.records).sum();
        self.wait("all is settled", || {
            meanwhile(self);
            self.engine().snapshot().totals().1 >= records
        });
    }

    /// Gives the server's connections to its backends send buffers of so many bytes.
    pub(crate) fn shrink_send_buffers(&self, bytes: usize) {
        let peers: Vec<SocketAddr> = self
            .backends
            .iter()
            .map(|backend| backend.proxy.address())
            .collect();
        shrink_send_buffers(&peers, bytes);
    }

    /// Everything is where it belongs, and the end is clean.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        for backend in &self.backends {
            let found = backend.fake_hustdb.contents();
            let mut expected = hustdbsync::internals::fake_hustdb::Contents::default();
            for written in &backend.written {
                expected.extend(written.expected(now_unix()));
            }
            if let Some(differences) = differences(&expected, &found, EXPIRY_TOLERANCE_S, 20) {
                panic!("{differences}");
            }
            let counters = backend.fake_hustdb.counters();
            assert_eq!((counters.crashes, counters.cut_targets), (0, 0));
        }
        let engine = self.engine.take().expect("it was started");
        engine.stop();
        let report = engine.wait();
        assert!(report.is_success(), "{report}");
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("no object: {other}"),
    }
}

fn now_unix() -> u64 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
}
