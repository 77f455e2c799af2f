//! The real process, killed at random moments, again and again, while HA writes and backends come
//! and go.
//!
//! ```text
//! HA: 2 threads a backend ─▶ logs ─▶ hustdbsync run ─▶ 3 fake HustDBs: killed, slow, resetting
//!                                     ▲ SIGKILL after 5 to 600 ms, 250 times; SIGSTOP, SIGCONT
//! ```
//!
//! Contract: each round ends with SIGKILL, the workers on mio and on io_uring by turns. When all is
//! healed, one more process runs until every log has gone; then every key of every fake HustDB is
//! compared with the healthy master's (G1 to G5), and rejected.jsonl with the bad lines (G9). After
//! each round, logs that have gone must have their markers on the backend (G10). What was sent
//! twice stays below a bound that follows from the configuration.
//!
//! `CRASH_ROUNDS=2000` runs longer, `CRASH_SEED=…` makes the same choices again (what the machine
//! does with them differs).

mod modes;
mod yardstick;

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::real::backend::Backend;
use crate::real::ha::{Load, Story, plain};
use crate::real::process::Process;
use crate::real::{Home, fake_hustdb, wait_for};
use crate::support::number;
use hustdbsync::internals::config::EngineName;
use hustdbsync::internals::engine::choice::{KernelRings, choose};
use hustdbsync::internals::fake_hustdb::{Act, On, Rule, Script};
use yardstick::Yardstick;

const ROUNDS: u64 = 250;
const BACKENDS: usize = 3;
const MINUTE: Duration = Duration::from_millis(250);
/// HA rests while a backend has so many lines to go: enough that no round runs dry.
const BACKLOG_LINES: u64 = 6000;
const DRAIN: Duration = Duration::from_secs(180);

const IN_FLIGHT: u64 = 128;
const RATE: u64 = 4000;
const CHECKPOINT_INTERVAL_MS: u64 = 10;
/// A rate may be saved up for so long (`replay::pace::Bucket`).
const SAVED_UP_MS: u64 = 50;
/// How long a machine that has nothing else to do may take from the instant of a checkpoint until
/// it is durable: two fsyncs. One on which they are slow takes longer, as [`Yardstick`] does.
const WRITE_MS: u64 = 100;
/// So many times the yardstick's: a checkpoint's file and folder are synced beside those of other
/// backends, and its thread has its turn as late as the yardstick's.
const WRITES: u32 = 4;

/// What one backend may be sent again after a kill: what was settled since the instant of the last
/// durable checkpoint, and what was in flight; where a write takes so long.
fn sent_again_max(write: Duration) -> u64 {
    let write_ms = WRITE_MS + u64::try_from((write * WRITES).as_millis()).unwrap();
    IN_FLIGHT + RATE * (CHECKPOINT_INTERVAL_MS + SAVED_UP_MS + write_ms) / 1000
}

#[test]
fn a_process_that_is_killed_at_any_moment_loses_nothing() {
    let rounds = number("CRASH_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("CRASH_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    eprintln!("again: CRASH_SEED={seed} CRASH_ROUNDS={rounds} cargo test --test system crash::");
    let mut drill = Drill::new(seed);
    for round in 0..rounds {
        drill.round(round);
    }
    drill.heal_and_compare(rounds);
}

/// What the workers run on: every other round on io_uring, where the system has it.
fn engine(round: u64) -> &'static str {
    static HAS_RINGS: LazyLock<bool> = LazyLock::new(|| {
        let choice = choose(EngineName::IoUring, 0, &KernelRings);
        choice
            .inspect_err(|missing| eprintln!("SKIPPED: all rounds are on mio: {missing}"))
            .is_ok()
    });
    match round % 2 == 1 && *HAS_RINGS {
        true => "io_uring",
        false => "mio",
    }
}

/// What goes wrong in a round, besides its end.
#[derive(Debug)]
enum Incident {
    Nothing,
    /// The process is stopped for a while.
    Stop(Duration),
    /// A backend is killed for a while, its data kept.
    Outage(usize, Duration),
    /// A backend takes its time from now on.
    Slow(usize, Duration),
    /// A backend resets the connections of some requests, which it has applied, or not.
    Resets(usize, u64, bool),
}

/// A backend, and what was seen of it.
struct Seen {
    backend: Backend,
    /// Logs that have gone and were looked into.
    gone: BTreeSet<String>,
    sent_again_before: u64,
}

impl Seen {
    /// Mutations that the fake HustDB saw to come a second time. A delete that finds nothing the
    /// second time is not among them.
    fn sent_again(&self) -> u64 {
        let counters = self.backend.fake_hustdb.counters();
        counters.duplicates + counters.superseded
    }
}

#[derive(Debug, Default)]
struct Figures {
    stops: u64,
    outages: u64,
    resets: u64,
    /// The most that a backend was sent again in one round.
    sent_again_max: u64,
    /// The sum of the bounds of that.
    sent_again_bound: u64,
    logs_gone: u64,
}

struct Drill {
    /// Ended before its folder goes.
    yardstick: Yardstick,
    random: fastrand::Rng,
    home: Home,
    backends: Vec<Seen>,
    minute_ends: Instant,
    /// What it took in the round before, whose checkpoints count at this one's start.
    write_before: Duration,
    figures: Figures,
}

impl Drill {
    fn new(seed: u64) -> Self {
        let home = Home::new()
            .with("sync.in_flight_per_backend", IN_FLIGHT)
            .with("sync.max_rate_per_backend", RATE)
            .with("sync.checkpoint_interval", CHECKPOINT_INTERVAL_MS);
        let yardstick = Yardstick::start(home.path("yardstick"));
        let backends = (0..BACKENDS).map(|index| {
            let load = Load {
                threads: 2,
                records: u64::MAX >> 1,
                value_bytes: 60,
                line_pause: Duration::ZERO,
                lines_at_first: BACKLOG_LINES,
                first_minute: 0,
                seed: seed.wrapping_mul(7).wrapping_add(index as u64 * 1000),
            };
            Seen {
                backend: Backend::start(&home, fake_hustdb(), load),
                gone: BTreeSet::new(),
                sent_again_before: 0,
            }
        });
        let backends = backends.collect();
        Self {
            yardstick,
            random: fastrand::Rng::with_seed(seed),
            home,
            backends,
            minute_ends: Instant::now() + MINUTE,
            write_before: Duration::ZERO,
            figures: Figures::default(),
        }
    }

    fn round(&mut self, round: u64) {
        // What one engine has left the other one finds.
        self.home.set("sync.engine", engine(round));
        self.home.write_config();
        let process = Process::start(&self.home);
        let begun = Instant::now();
        let life = Duration::from_millis(match self.random.u64(..8) {
            0 => self.random.u64(150..600),
            _ => self.random.u64(5..150),
        });
        let mut incident = Some((life.mul_f64(self.random.f64()), self.incident()));
        while begun.elapsed() < life {
            self.tick();
            if let Some((_, incident)) = incident.take_if(|(at, _)| *at <= begun.elapsed()) {
                self.cause(&incident, &process);
            }
            thread::sleep(Duration::from_millis(1));
        }
        process.kill();
        self.look_at_all(round);
    }

    fn incident(&mut self) -> Incident {
        let random = &mut self.random;
        let backend = random.usize(..BACKENDS);
        let mut ms = |least, most| Duration::from_millis(random.u64(least..most));
        let (stop, outage, slow) = (ms(5, 60), ms(1, 120), ms(0, 4));
        match random.u64(..100) {
            0..15 => Incident::Stop(stop),
            // Longer than the time for an answer.
            15 => Incident::Stop(Duration::from_millis(1100)),
            16..36 => Incident::Outage(backend, outage),
            36..46 => Incident::Slow(backend, slow),
            46..60 => Incident::Resets(backend, random.u64(1..8), random.bool()),
            _ => Incident::Nothing,
        }
    }

    fn cause(&mut self, incident: &Incident, process: &Process) {
        match incident {
            Incident::Nothing => {}
            Incident::Stop(length) => {
                self.figures.stops += 1;
                process.stop_for(*length);
            }
            Incident::Outage(index, length) => {
                self.figures.outages += 1;
                self.backends[*index].backend.take_down(*length);
            }
            Incident::Slow(index, delay) => {
                let script = Script::default().burst_delay(*delay);
                self.set_script(*index, script);
            }
            Incident::Resets(index, times, applied) => {
                self.figures.resets += 1;
                let rule = Rule {
                    applied: *applied,
                    ..Rule::new(On::Mutations, Act::Reset).times(*times)
                };
                let script = Script::default().rule(rule);
                self.set_script(*index, script);
            }
        }
    }

    fn set_script(&self, index: usize, script: Script) {
        let fake_hustdb = &self.backends[index].backend.fake_hustdb;
        fake_hustdb.set_script(script).unwrap();
    }

    /// What goes on beside: minutes pass, backends come back, HA rests and goes on.
    fn tick(&mut self) {
        let minute_ends = Instant::now() >= self.minute_ends;
        if minute_ends {
            self.minute_ends = Instant::now() + MINUTE;
        }
        for Seen { backend, .. } in &mut self.backends {
            backend.tick(minute_ends);
            let counters = backend.fake_hustdb.counters();
            let delivered = counters.applied - counters.duplicates;
            backend.ha.allow(delivered + BACKLOG_LINES);
        }
    }

    /// After a kill: what was sent again, and whether logs went that should not have.
    fn look_at_all(&mut self, round: u64) {
        let write = self.yardstick.longest();
        let most = sent_again_max(write.max(std::mem::replace(&mut self.write_before, write)));
        self.figures.sent_again_bound += most;
        for index in 0..self.backends.len() {
            self.look(index, round, most);
        }
    }

    fn look(&mut self, index: usize, round: u64, most: u64) {
        let seen = &mut self.backends[index];
        let sent_again = seen.sent_again() - seen.sent_again_before;
        seen.sent_again_before += sent_again;
        let Seen { backend, gone, .. } = seen;
        let name = backend.fake_hustdb.name();
        self.figures.sent_again_max = self.figures.sent_again_max.max(sent_again);
        assert!(
            sent_again <= most,
            "round {round}: {name} was sent {sent_again} mutations again, and {most} are the most"
        );
        let there = self.home.log_names(&name);
        let mut contents = None;
        for log in backend.ha.logs() {
            let markers = backend.ha.markers(&log);
            if there.contains(&log) || markers.is_empty() || !gone.insert(log.clone()) {
                continue;
            }
            self.figures.logs_gone += 1;
            let contents = contents.get_or_insert_with(|| backend.fake_hustdb.contents());
            for marker in markers {
                assert!(
                    contents.contains_key(&plain(&marker)),
                    "round {round}: {name}/{log} has gone before its {marker} was delivered"
                );
            }
        }
    }

    fn heal_and_compare(mut self, rounds: u64) {
        let stories: Vec<Story> = self
            .backends
            .iter_mut()
            .map(|seen| seen.backend.heal())
            .collect();
        let mut process = Process::start(&self.home);
        let drained = wait_for(DRAIN, || {
            let mut backends = self.backends.iter();
            backends.all(|seen| seen.backend.is_drained(&self.home))
        });
        self.look_at_all(rounds);
        assert!(
            drained,
            "not drained within {DRAIN:?}:\n{}",
            self.home.said()
        );
        process.end();
        let (mut records, mut mutations, mut rejected_again) = (0, 0, 0);
        for (Seen { backend, .. }, story) in self.backends.iter().zip(&stories) {
            backend.assert_replayed(&self.home, story);
            records += story.records;
            mutations += backend.fake_hustdb.counters().mutations;
            rejected_again +=
                self.home.rejected(&backend.fake_hustdb.name()).len() - story.bad.len();
        }
        let bad: usize = stories.iter().map(|story| story.bad.len()).sum();
        let said = self.home.said();
        assert!(!said.contains("panicked"), "{said}");
        let again = mutations.saturating_sub(records);
        eprintln!(
            "{rounds} kills, {BACKENDS} backends, {records} records and {bad} bad lines, all as \
             they should be; {:?}\n\
             sent again: {again} in all, at most {} a backend and kill; rejected again: \
             {rejected_again}",
            self.figures, self.figures.sent_again_max
        );
        assert!(again <= self.figures.sent_again_bound * BACKENDS as u64);
        assert!(
            self.figures.logs_gone > 0,
            "no log went, so nothing was shown"
        );
    }
}
