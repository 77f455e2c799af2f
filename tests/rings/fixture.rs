//! A home, a fake HustDB, a server on rings that are made to fail.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use hustdbsync::internals::config::{Config, EngineName};
use hustdbsync::internals::engine::choice::{KernelRings, Rings, choose};
use hustdbsync::internals::engine::os::eventfd::Eventfd;
use hustdbsync::internals::engine::os::ring::Ring;
use hustdbsync::internals::engine::os::ring::facts::Facts;
use hustdbsync::internals::engine::os::ring::fault_injector::{
    FaultInjector, InjectedResult, Operation,
};
use hustdbsync::internals::engine::os::ring::setup::Sizes;
use hustdbsync::internals::engine::{Engine, EngineOptions};
use hustdbsync::internals::fake_hustdb::{FakeHustdb, Options, Script, differences};
use hustdbsync::internals::workload::{Workload, Written};
use serde_json::json;

use crate::support::holds_within;

const LONG: Duration = Duration::from_secs(240);
const RECORDS: u64 = 3000;
const EXPIRY_TOLERANCE_S: u64 = 10;

/// Whether this system gives rings; says so where it does not.
pub(crate) fn has_rings() -> bool {
    match choose(EngineName::IoUring, 0, &KernelRings) {
        Ok(_) => true,
        Err(unavailable) => {
            eprintln!("SKIPPED: {unavailable}");
            false
        }
    }
}

/// What fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Operation(Operation, InjectedResult),
    Enter(i32),
}

/// A fault that all rings of a server share.
pub(crate) struct Fault {
    what: What,
    is_armed: AtomicBool,
    /// How often it still strikes.
    left: AtomicI64,
    hits: AtomicU32,
}

impl Fault {
    /// Not armed yet. Without `times` it strikes for as long as it is armed.
    pub(crate) fn new(what: What, times: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            what,
            is_armed: AtomicBool::new(false),
            left: AtomicI64::new(times.map_or(i64::MAX, i64::from)),
            hits: AtomicU32::new(0),
        })
    }

    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn disarm(&self) {
        self.is_armed.store(false, Ordering::SeqCst);
    }

    pub(crate) fn hits(&self) -> u32 {
        self.hits.load(Ordering::SeqCst)
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }

    fn strikes(&self) -> bool {
        let strikes =
            self.is_armed.load(Ordering::SeqCst) && self.left.fetch_sub(1, Ordering::SeqCst) > 0;
        self.hits.fetch_add(u32::from(strikes), Ordering::SeqCst);
        strikes
    }
}

/// One ring's view of it.
struct Strike(Arc<Fault>);

impl FaultInjector for Strike {
    fn injected(&mut self, operation: Operation) -> InjectedResult {
        match self.0.what {
            What::Operation(struck, injected) if struck == operation && self.0.strikes() => {
                injected
            }
            _ => InjectedResult::Goes,
        }
    }

    fn enter_fails(&mut self) -> Option<i32> {
        match self.0.what {
            What::Enter(error) if self.0.strikes() => Some(error),
            _ => None,
        }
    }
}

/// Where the server's rings come from.
#[derive(Default)]
pub(crate) struct Given {
    fault: Option<Arc<Fault>>,
    sizes: Sizes,
    /// So many are given, then this error.
    most: Option<(u32, i32)>,
    given: AtomicU32,
}

impl Given {
    pub(crate) fn interfered(fault: &Arc<Fault>) -> Self {
        Self {
            fault: Some(Arc::clone(fault)),
            ..Self::default()
        }
    }

    pub(crate) fn sized(sizes: Sizes) -> Self {
        Self {
            sizes,
            ..Self::default()
        }
    }

    pub(crate) fn only(most: u32, error: i32) -> Self {
        Self {
            most: Some((most, error)),
            ..Self::default()
        }
    }
}

impl Rings for Given {
    fn facts(&self) -> Facts {
        Facts::of_kernel()
    }

    fn make(&self, waker: Arc<Eventfd>) -> io::Result<Ring> {
        let before = self.given.fetch_add(1, Ordering::SeqCst);
        match self.most {
            Some((most, error)) if before >= most => {
                return Err(io::Error::from_raw_os_error(error));
            }
            _ => {}
        }
        let ring = Ring::new(waker, self.sizes)?;
        Ok(match &self.fault {
            None => ring,
            Some(fault) => ring.interfered(Box::new(Strike(Arc::clone(fault)))),
        })
    }
}

/// A server that works through a log, slowly enough that something can happen meanwhile.
pub(crate) struct Fixture {
    name: String,
    _home: tempfile::TempDir,
    fake_hustdb: FakeHustdb,
    written: Written,
    records: u64,
    /// Requests are cut on purpose, which the fake HustDB notices.
    are_cut: bool,
    engine: Engine,
}

impl Fixture {
    #[track_caller]
    pub(crate) fn start(name: &str, value_bytes: usize, given: Given, wanted: EngineName) -> Self {
        let records = if value_bytes > 10_000 {
            RECORDS / 10
        } else {
            RECORDS
        };
        let (home, fake_hustdb) = (home(), fake_hustdb());
        let workload = Workload {
            value_bytes,
            ..Workload::mixed(records, now_unix())
        };
        let written = workload
            .write(&home.path().join("logs"), &fake_hustdb.name())
            .unwrap();
        slow(&fake_hustdb, Duration::from_millis(5));
        let are_cut = given.fault.as_ref().is_some_and(|fault| {
            matches!(
                fault.what,
                What::Operation(Operation::Send, InjectedResult::Part)
            )
        });
        let engine = start(&home, given, wanted)
            .unwrap_or_else(|error| panic!("{name}: it does not start: {error}"));
        Self {
            name: name.to_owned(),
            _home: home,
            fake_hustdb,
            written,
            records,
            are_cut,
            engine,
        }
    }

    /// Why it does not start.
    pub(crate) fn start_error(given: Given, wanted: EngineName) -> String {
        match start(&home(), given, wanted) {
            Ok(_) => panic!("it starts"),
            Err(error) => error,
        }
    }

    /// Waits until it is so.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_so: impl FnMut() -> bool) {
        assert!(
            holds_within(LONG, is_so),
            "{}: not within {LONG:?}: {what}; {:?}",
            self.name,
            self.engine.snapshot().backends()
        );
    }

    #[track_caller]
    pub(crate) fn wait_applied(&self, records: u64) {
        self.wait("some records are applied", || {
            self.fake_hustdb.counters().applied >= records
        });
    }

    /// Restarts the fake HustDB again and again, until it is enough: connections close and are
    /// made, and what is slow takes its time.
    #[track_caller]
    pub(crate) fn restart_until(&self, mut enough: impl FnMut() -> bool) {
        let mut looks = 0;
        self.wait("the fault has struck as often as it was to", || {
            looks += 1;
            if looks % 20 == 0 {
                self.fake_hustdb.restart().unwrap();
            }
            enough()
        });
    }

    /// Makes the fake HustDB so slow that its connections are given up, until it is enough: what is
    /// under way on them is cancelled.
    #[track_caller]
    pub(crate) fn mute_until(&self, enough: impl FnMut() -> bool) {
        slow(&self.fake_hustdb, LONG);
        self.wait("the fault has struck as often as it was to", enough);
    }

    /// Lets time pass, with a restart in between.
    pub(crate) fn work(&self, length: Duration) {
        thread::sleep(length / 2);
        self.fake_hustdb.restart().unwrap();
        thread::sleep(length / 2);
    }

    /// All goes on: everything arrives.
    #[track_caller]
    pub(crate) fn finish(self) {
        slow(&self.fake_hustdb, Duration::ZERO);
        // Answers that are late by now would be so all the same.
        self.fake_hustdb.restart().unwrap();
        self.wait("all is settled", || {
            self.engine.snapshot().totals().1 >= self.records
        });
        let found = self.fake_hustdb.contents();
        let expected = self.written.expected(now_unix());
        if let Some(differences) = differences(&expected, &found, EXPIRY_TOLERANCE_S, 20) {
            panic!("{}:\n{differences}", self.name);
        }
        let counters = self.fake_hustdb.counters();
        assert_eq!(counters.crashes, 0, "{}", self.name);
        assert!(self.are_cut || counters.cut_targets == 0, "{}", self.name);
        self.engine.stop();
        let report = self.engine.wait();
        assert!(report.is_success(), "{}: {report}", self.name);
    }
}

pub(crate) fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("logs")).unwrap();
    fs::write(home.path().join("htpasswd"), "user:password\n").unwrap();
    home
}

pub(crate) fn fake_hustdb() -> FakeHustdb {
    FakeHustdb::start(Options {
        credentials: Some(("user".to_owned(), "password".to_owned())),
        ..Options::default()
    })
    .unwrap()
}

fn slow(fake_hustdb: &FakeHustdb, delay: Duration) {
    fake_hustdb
        .set_script(Script::default().answer_delay(delay))
        .unwrap();
}

fn start(home: &tempfile::TempDir, given: Given, wanted: EngineName) -> Result<Engine, String> {
    let root = home.path();
    let text = json!({
        "network": { "port": 0 },
        "sync": {
            "logs_path": root.join("logs"),
            "ngx_path": root,
            "auth_path": root.join("htpasswd"),
            "engine": wanted.as_str(),
            "threads": 2,
            "connections_per_backend": 8,
            "pin_workers": false,
            "checkdb_interval": "100ms",
            "probe_interval_down": "20ms",
            "checkpoint_interval": "50ms",
            "response_timeout": "500ms",
            "connect_timeout": "500ms",
            "attempts_max": 1_000_000,
            "ttl_hold": "0s",
        }
    });
    let config = Config::parse(text.to_string(), &root.join("sync_server.json")).unwrap();
    let options = EngineOptions {
        signals: false,
        rings: Box::new(given),
        ..EngineOptions::default()
    };
    Engine::start_with(config, options).map_err(|error| error.to_string())
}

pub(crate) fn now_unix() -> u64 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
}
