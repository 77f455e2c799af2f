//! Hours of good and bad days, at a bounded rate: nothing is lost, and what the process takes does
//! not grow.
//!
//! ```text
//! HA: 2 threads a backend ─▶ logs, a minute is 5 s ─▶ hustdbsync run ─▶ 3 fake HustDBs
//!                              ▲ outages, resets, slow answers; SIGSTOP, SIGHUP with another rate;
//!                              │ now and then SIGTERM and SIGKILL
//! ```
//!
//! Contract: a run goes in **legs**. At a leg's end all is healed and drained; then every key of
//! every fake HustDB is compared with the healthy master's, and rejected.jsonl with the bad lines.
//! The next leg finds the same process, with its state, before empty fake HustDBs. At the end of
//! all legs, memory, open files and checkpoints must not have grown from the first third to the
//! last.
//!
//! `SOAK_MINUTES=480 SOAK_FOLDER=/data/soak cargo test --release --test system endurance::` takes
//! eight hours, in legs of `SOAK_LEG_MINUTES` (20), at `SOAK_RATE` lines a second and backend
//! (1000). A leg that has ended well leaves its samples in the folder. So a run that was stopped
//! goes on with the same command, at its last whole leg.

mod incident;
mod samples;

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::real::backend::Backend;
use crate::real::ha::{Load, Story};
use crate::real::process::Process;
use crate::real::{Home, fake_hustdb, fake_hustdb_at, wait_for};
use crate::support::{eventually_some, number};
use incident::{Figures, Incident};
use samples::{Sample, Samples};

const BACKENDS: usize = 3;
const THREADS_A_BACKEND: u64 = 2;
const VALUE_BYTES: usize = 100;
/// As long as HA writes to one log.
const MINUTE: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(300);
/// What is looked at between two turns of the loop can wait so long.
const TURN: Duration = Duration::from_millis(5);

/// What is to be done, as the environment has it.
struct Plan {
    length: Duration,
    leg: Duration,
    /// Lines a second, for each backend.
    rate: u64,
    /// Where a run that is stopped leaves what it has; without one it is a short run.
    folder: Option<PathBuf>,
    incidents: Duration,
    samples: Duration,
}

impl Plan {
    /// Long where a folder is named, or a time; otherwise short, for everyday.
    fn of_environment() -> Self {
        let minutes = |minutes: f64| Duration::from_secs_f64(minutes * 60.0);
        let folder = env::var_os("SOAK_FOLDER").map(PathBuf::from);
        let length = number("SOAK_MINUTES");
        if folder.is_none() && length.is_none() {
            return Self {
                length: Duration::from_secs(12),
                leg: Duration::from_secs(6),
                rate: 100,
                folder,
                incidents: Duration::from_millis(500),
                samples: Duration::from_secs(1),
            };
        }
        let length = minutes(length.unwrap_or(480.0));
        Self {
            length,
            leg: minutes(number("SOAK_LEG_MINUTES").unwrap_or(20.0)).min(length),
            rate: number("SOAK_RATE").unwrap_or(1000),
            folder,
            incidents: Duration::from_secs(5),
            samples: Duration::from_secs(20),
        }
    }
}

#[test]
fn a_process_takes_no_more_after_hours_of_outages_kills_and_reloads() {
    let plan = Plan::of_environment();
    let mut soak = Soak::new(&plan);
    let legs = plan.length.as_secs_f64() / plan.leg.as_secs_f64();
    for leg in soak.samples.legs()..legs.ceil() as u64 {
        soak.leg(&plan, leg);
    }
    if let Some(process) = &mut soak.process {
        process.end();
    }
    let said = soak.home.said();
    assert!(!said.contains("panicked"), "{said}");
    soak.samples.judge();
}

struct Soak {
    home: Home,
    /// Of the fake HustDBs: the same in all legs.
    addresses: Vec<SocketAddr>,
    samples: Samples,
    /// Lives from leg to leg.
    process: Option<Process>,
    begun: Instant,
    random: fastrand::Rng,
}

impl Soak {
    fn new(plan: &Plan) -> Self {
        let home = match &plan.folder {
            Some(folder) => Home::at(&folder.join("home")),
            None => Home::new(),
        }
        .with("sync.checkpoint_interval", "100ms");
        let samples = Samples::open(plan.folder.as_deref());
        // What a leg has left that was stopped: nobody knows any more what should become of it.
        fs::remove_dir_all(home.logs()).unwrap();
        fs::create_dir(home.logs()).unwrap();
        Self {
            home,
            addresses: Vec::new(),
            samples,
            process: None,
            begun: Instant::now(),
            random: fastrand::Rng::new(),
        }
    }

    fn leg(&mut self, plan: &Plan, leg: u64) {
        let mut backends = self.start_backends(plan, leg);
        if self.process.is_none() {
            self.start_process();
        }
        let (begun, mut figures) = (Instant::now(), Figures::default());
        let (mut minute_ends, mut incident_at) = (begun + MINUTE, begun + plan.incidents);
        let mut sample_at = begun + plan.samples;
        let mut samples = Vec::new();
        while begun.elapsed() < plan.leg {
            let now = Instant::now();
            let has_minute_passed = now >= minute_ends;
            if has_minute_passed {
                minute_ends += MINUTE;
            }
            for backend in &mut backends {
                backend.tick(has_minute_passed);
            }
            if now >= incident_at {
                incident_at = now + plan.incidents;
                let incident = match (leg, figures.sum()) {
                    // However short the run, each of them was there.
                    (0, 0) => Incident::Kill,
                    (0, 1) => Incident::Restart,
                    _ => Incident::draw(&mut self.random, BACKENDS),
                };
                self.cause(incident, &mut backends, &mut figures);
            }
            // Until it listens, it may not yet have closed what it inherited.
            if now >= sample_at && self.port().is_some() {
                sample_at = now + plan.samples;
                samples.push(self.sample(leg, &backends));
            }
            thread::sleep(TURN);
        }
        let records = self.end_leg(backends);
        eprintln!("leg {leg}: {records} records, all as they should be; {figures:?}");
        self.samples.add(leg, samples);
    }

    /// Empty fake HustDBs, where those of the legs before were, and HA.
    fn start_backends(&mut self, plan: &Plan, leg: u64) -> Vec<Backend> {
        let minutes_a_leg = plan.leg.as_secs() / MINUTE.as_secs() + 2;
        let backends = (0..BACKENDS).map(|index| {
            let fake_hustdb = match self.addresses.get(index) {
                Some(address) => fake_hustdb_at(*address),
                None => fake_hustdb(),
            };
            let load = Load {
                threads: THREADS_A_BACKEND,
                records: u64::MAX >> 1,
                value_bytes: VALUE_BYTES,
                line_pause: Duration::from_secs(THREADS_A_BACKEND).div_f64(plan.rate as f64),
                lines_at_first: u64::MAX,
                first_minute: leg * minutes_a_leg,
                seed: leg * 1000 + index as u64,
            };
            Backend::start(&self.home, fake_hustdb, load)
        });
        let backends: Vec<_> = backends.collect();
        self.addresses = backends
            .iter()
            .map(|backend| backend.fake_hustdb.addr())
            .collect();
        backends
    }

    fn start_process(&mut self) {
        self.home.write_config();
        self.begun = Instant::now();
        self.process = Some(Process::start(&self.home));
    }

    fn cause(&mut self, incident: Incident, backends: &mut [Backend], figures: &mut Figures) {
        figures.count(&incident);
        match incident {
            Incident::Outage(index, length) => backends[index].take_down(length),
            Incident::Script(index, script) => {
                backends[index].fake_hustdb.set_script(script).unwrap();
            }
            Incident::Stop(length) => self.process.as_ref().expect("it runs").stop_for(length),
            Incident::Reload(rate_max) => self.reload(rate_max),
            Incident::Restart => {
                self.process.take().expect("it runs").end();
                self.start_process();
            }
            Incident::Kill => {
                self.process.take().expect("it runs").kill();
                self.start_process();
            }
        }
    }

    /// At most so many records a second for each backend from now on; 0 is no limit.
    fn reload(&mut self, rate_max: u64) {
        self.home.set("sync.max_rate_per_backend", rate_max);
        self.home.write_config();
        // Until it listens, it has no handler for the signal, which would end it.
        if self.port().is_some() {
            self.process.as_ref().expect("it runs").signal("HUP");
        }
    }

    /// Where the process listens, once it does.
    fn port(&self) -> Option<u16> {
        self.process.as_ref().expect("it runs").http_server()
    }

    fn sample(&self, leg: u64, backends: &[Backend]) -> Sample {
        let process = self.process.as_ref().expect("it runs").id();
        let delivered = |backend: &Backend| backend.fake_hustdb.counters().applied;
        Sample::take(
            leg,
            self.begun.elapsed(),
            process,
            &self.home,
            backends.iter().map(delivered).sum(),
        )
    }

    /// Heals all, waits until every log has gone, and compares. How many records there were.
    fn end_leg(&mut self, mut backends: Vec<Backend>) -> u64 {
        self.reload(0);
        let stories: Vec<Story> = backends.iter_mut().map(Backend::heal).collect();
        let drained = wait_for(DRAIN, || {
            backends
                .iter()
                .all(|backend| backend.is_drained(&self.home))
        });
        assert!(
            drained,
            "not drained within {DRAIN:?}: {}",
            self.home.said()
        );
        for (backend, story) in backends.iter().zip(&stories) {
            backend.assert_replayed(&self.home, story);
        }
        self.drop_rejected();
        stories.iter().map(|story| story.records).sum()
    }

    /// As an operator does who has looked at them: bad lines are no state that grows.
    fn drop_rejected(&self) {
        let port = eventually_some("it listens", || self.port());
        let output = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
            .args(["rejected", "drop", "--all", "--yes", "--config"])
            .arg(self.home.write_config_for_commands(port))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
