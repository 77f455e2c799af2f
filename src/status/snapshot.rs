//! All backends at an instant: what every answer is made from.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counters::{BackendCounters, Counts};
use super::histogram::Distribution;
use super::history::{self, SampleTimes, Samples};
use super::hour::{LatencyWindow, StateTimes};
use super::rate::RateMeter;
use super::reconcile::{self, Reconcile};
use super::server::Server;
use crate::clock::Now;

/// One backend at an instant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendSnapshot {
    /// `host:port`, as HA names its folder.
    pub name: String,
    /// Its state in one word.
    pub state: Cow<'static, str>,
    /// Why it is in that state, as a sentence; empty if there is nothing to say.
    pub why: String,
    /// Since when, in seconds since 1970.
    pub since_unix: u64,
    /// Its numbers.
    #[serde(flatten)]
    pub counts: Counts,
    /// Bytes of log that aren't settled.
    pub backlog_bytes: u64,
    /// Records settled a second, over the last five seconds or so.
    pub rate_per_second: f64,
    /// Bytes of log settled a second, over the same time.
    pub bytes_per_second: f64,
    /// Age of the oldest unsettled record, in seconds; 0 if there is none.
    pub lag_seconds: u64,
    /// Seconds until the backlog is gone at the present rate; `None` while nothing moves.
    pub drain_seconds: Option<u64>,
    /// The bound of its rate, in records a second; 0 if there is none.
    pub rate_max: u64,
    /// Bytes of log settled since nothing was left, or since the start: this of `cleared_bytes +
    /// backlog_bytes` is done.
    pub cleared_bytes: u64,
    /// Its folder of logs is gone.
    pub folder_gone: bool,
    /// The first of the `away_logs` in the order of their names; empty if there are none.
    pub away_log: String,
    /// What comparing with the other master has found; `None` where keys are not compared, and were
    /// not in this run.
    pub reconcile: Option<Reconcile>,
    /// What its last probe had for an answer.
    #[serde(flatten)]
    pub probe: LastProbe,
    /// What [`StatusBoard::refresh_times`] computes.
    #[serde(flatten)]
    pub times: Times,
    /// What only `/metrics` tells. As it was when [`StatusBoard::refresh_details`] was called last.
    #[serde(skip)]
    pub details: Details,
}

/// The last probe of a backend that had a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastProbe {
    /// When that was, in seconds since 1970; 0 if there was none.
    pub probe_unix: u64,
    /// The result: `good`, or what was wrong.
    pub probe_answer: Cow<'static, str>,
    /// Milliseconds from its beginning to its result; `None` where nothing was asked, as when an
    /// idle connection is closed.
    pub probe_ms: Option<f64>,
}

/// What was with a backend lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// Seconds for which it has been in its state.
    pub state_seconds: u64,
    /// Seconds until it is tried again, where it waits because its records fail; `None` if it does
    /// not wait for that.
    pub retry_seconds: Option<u64>,
    /// Seconds of this run in which it should have been replayed to and was not up. Pauses do not
    /// count.
    pub down_seconds: u64,
    /// How often it ceased to be up in the last hour, pauses not counted; to a minute.
    pub flaps_last_hour: u64,
    /// Failures on connections to it, each followed by another try, in this run.
    pub lane_failures: u64,
    /// In how many milliseconds half of its answers came, within the last minute or two; `None`
    /// where there was none.
    pub latency_p50_ms: Option<f64>,
    /// The same of 99 of 100 answers.
    pub latency_p99_ms: Option<f64>,
}

/// Numbers of one backend that take more than a load each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// How long requests took.
    pub requests: Distribution,
    /// Lines rejected in this run, by reason.
    pub rejections: Vec<(&'static str, u64)>,
    /// Probes by what came of them.
    pub probes: [(&'static str, u64); 4],
    /// Failures of lanes by cause.
    pub failures: [(&'static str, u64); 5],
    /// Keys that were not compared, by reason.
    pub not_compared: Vec<(&'static str, u64)>,
    /// How often what was on its way was taken back.
    pub flushes: u64,
}

impl Details {
    fn load(counters: &BackendCounters) -> Self {
        let probes = &counters.probes;
        Self {
            requests: counters.requests.load(),
            rejections: counters.rejections.load(),
            probes: [
                ("good", probes.good.load()),
                ("bad", probes.bad.load()),
                ("refused", probes.refused.load()),
                ("lost", probes.lost.load()),
            ],
            failures: (counters.failures.all()).map(|(cause, counter)| (cause, counter.load())),
            not_compared: reconcile::not_compared(&counters.reconcile),
            flushes: counters.flushes.load(),
        }
    }
}

/// A name below the logs' path that leads to another backend's folder, by a symbolic link or a
/// mount. What is in the folder is delivered to that backend only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecondName {
    pub name: String,
    /// The backend under whose name the folder is read.
    pub first: String,
}

impl SecondName {
    /// What is the matter with it and what to do, for an operator to read.
    #[must_use]
    pub fn why(&self) -> String {
        let first = &self.first;
        format!(
            "it is the folder {first:?} under a second name (a symbolic link, or a mount), and its \
             logs are delivered to that backend only; give this one a folder of its own"
        )
    }
}

/// All backends at an instant, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// When the process started, in seconds since 1970.
    pub started_unix: u64,
    /// When this was taken, in seconds since 1970.
    pub now_unix: u64,
    /// Sync points that are known.
    pub sync_points: u64,
    /// Questions that wait until a sync point is settled.
    pub sync_point_waiters: u64,
    /// What belongs to no backend.
    pub server: Server,
    /// Names that are not backends, as each leads to a backend's folder; in their order.
    pub second_names: Vec<SecondName>,
    backends: Vec<BackendSnapshot>,
    /// Records processed and settled of backends that are forgotten: the totals have them still.
    forgotten: (u64, u64),
    /// Changes with each change of anything above.
    generation: u64,
}

impl Snapshot {
    /// A snapshot of these backends; they are put in order.
    #[must_use]
    pub fn new(started_unix: u64, now_unix: u64, mut backends: Vec<BackendSnapshot>) -> Self {
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            started_unix,
            now_unix,
            backends,
            ..Self::default()
        }
    }

    /// The backends, in the order of their names.
    #[must_use]
    pub fn backends(&self) -> &[BackendSnapshot] {
        &self.backends
    }

    /// A number that tells two states of one board's snapshot apart.
    #[must_use]
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The sum over all backends, those that are forgotten among them, of (records processed,
    /// records settled).
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.sum(|counts| (counts.processed, counts.settled))
    }

    /// The same of what is durable: it does not become less, whatever kills the process.
    #[must_use]
    pub(crate) fn durable_totals(&self) -> (u64, u64) {
        self.sum(|counts| (counts.durable_processed, counts.durable_settled))
    }

    fn sum(&self, of: fn(&Counts) -> (u64, u64)) -> (u64, u64) {
        let counts = self.backends.iter().map(|backend| of(&backend.counts));
        counts.fold(self.forgotten, |(processed, settled), more| {
            (processed.wrapping_add(more.0), settled.wrapping_add(more.1))
        })
    }
}

/// The control thread's view of all backends: takes their states as they change and their numbers
/// when it is told to.
#[derive(Debug)]
pub struct StatusBoard {
    snapshot: Snapshot,
    /// One for each of `snapshot.backends`, in the same order.
    watched: Vec<Watched>,
    sample_times: SampleTimes,
    /// `sync.reconcile`.
    reconcile_mode: &'static str,
}

/// Two weeks. A backlog that takes longer at its present rate is not being drained.
const FORECAST_SECONDS_MAX: f64 = 14.0 * 86_400.0;

#[derive(Debug)]
struct Watched {
    counters: Arc<BackendCounters>,
    records: RateMeter,
    bytes: RateMeter,
    /// Bytes of log that were settled when nothing was left the last time.
    cleared_from: u64,
    /// Records that earlier processes had settled, once that is known.
    settled_before: Option<u64>,
    states: StateTimes,
    /// When it is tried again, monotonic, where it waits because its records fail.
    retry_at: Option<Duration>,
    latency: LatencyWindow,
    samples: Samples,
}

impl StatusBoard {
    /// A board without backends.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            snapshot: Snapshot::new(now.unix, now.unix, Vec::new()),
            watched: Vec::new(),
            sample_times: SampleTimes::default(),
            reconcile_mode: reconcile::OFF,
        }
    }

    /// Takes in a backend, or gives a known one other counters.
    pub fn add(&mut self, name: &str, counters: Arc<BackendCounters>, now: Now) {
        let watched = Watched {
            counters,
            records: RateMeter::default(),
            bytes: RateMeter::default(),
            cleared_from: 0,
            settled_before: None,
            states: StateTimes::new(now.monotonic),
            retry_at: None,
            latency: LatencyWindow::default(),
            samples: Samples::default(),
        };
        match self.place(name) {
            Ok(known) => self.watched[known] = watched,
            Err(place) => {
                let backend = BackendSnapshot {
                    name: name.to_owned(),
                    state: Cow::Borrowed("unknown"),
                    since_unix: now.unix,
                    ..BackendSnapshot::default()
                };
                self.snapshot.backends.insert(place, backend);
                self.watched.insert(place, watched);
            }
        }
        self.refresh(now);
    }

    /// Drops a backend.
    pub fn remove(&mut self, name: &str) {
        if let Ok(place) = self.place(name) {
            self.snapshot.backends.remove(place);
            self.watched.remove(place);
            self.snapshot.generation += 1;
        }
    }

    /// Notes what all backends that are forgotten had come to.
    pub(crate) fn set_forgotten(&mut self, processed: u64, settled: u64) {
        self.snapshot.forgotten = (processed, settled);
        self.snapshot.generation += 1;
    }

    /// Notes `sync.reconcile`.
    pub(crate) fn set_reconcile_mode(&mut self, mode: &'static str) {
        self.reconcile_mode = mode;
    }

    /// Notes a backend's state: one word, and why. `since_unix` moves only if the word changes.
    pub(crate) fn set_state(&mut self, name: &str, state: &'static str, why: &str, now: Now) {
        let Ok(place) = self.place(name) else {
            return;
        };
        let backend = &mut self.snapshot.backends[place];
        if backend.state != state {
            let states = &mut self.watched[place].states;
            states.handle_change(&backend.state, state, now.monotonic);
            backend.state = Cow::Borrowed(state);
            backend.since_unix = now.unix;
        }
        if backend.why != why {
            why.clone_into(&mut backend.why);
        }
        self.snapshot.generation += 1;
    }

    /// Notes the bound of a backend's rate, in records a second; 0 is none.
    pub(crate) fn set_rate_max(&mut self, name: &str, rate_max: u64) {
        self.edit(name, |backend| backend.rate_max = rate_max);
    }

    /// Notes the first log that has left the backend's folder undelivered, if any has.
    pub(crate) fn set_away_log(&mut self, name: &str, log: Option<&str>) {
        self.edit(name, |backend| {
            log.unwrap_or_default().clone_into(&mut backend.away_log);
        });
    }

    /// Notes when a backend is tried again whose records fail, monotonic.
    pub(crate) fn set_retry_at(&mut self, name: &str, retry_at: Option<Duration>) {
        if let Ok(place) = self.place(name) {
            self.watched[place].retry_at = retry_at;
        }
    }

    /// Notes whether a backend's folder of logs is gone.
    pub(crate) fn set_folder_gone(&mut self, name: &str, is_gone: bool) {
        self.edit(name, |backend| backend.folder_gone = is_gone);
    }

    /// Notes what came of a backend's last probe.
    pub(crate) fn set_probe(&mut self, name: &str, probe: LastProbe) {
        self.edit(name, |backend| backend.probe = probe);
    }

    /// Notes how many sync points there are, and how many questions wait for one.
    pub(crate) fn set_sync_points(&mut self, points: usize, waiters: usize) {
        self.snapshot.sync_points = points as u64;
        self.snapshot.sync_point_waiters = waiters as u64;
    }

    /// Notes the names that lead to folders of backends; gives those that are new.
    pub(crate) fn set_second_names(&mut self, names: Vec<SecondName>) -> Vec<SecondName> {
        let before = std::mem::replace(&mut self.snapshot.second_names, names);
        let new = self.snapshot.second_names.iter();
        new.filter(|name| !before.contains(name)).cloned().collect()
    }

    /// Reads all counters. Allocates nothing; some ten nanoseconds a backend.
    pub fn refresh(&mut self, now: Now) {
        let mut changed = self.snapshot.now_unix != now.unix;
        self.snapshot.now_unix = now.unix;
        for (backend, watched) in self.snapshot.backends.iter_mut().zip(&mut self.watched) {
            changed |= watched.refresh(backend, self.reconcile_mode, now);
        }
        self.snapshot.generation += u64::from(changed);
    }

    /// Computes what the report and `/metrics` tell, and nobody else.
    pub(crate) fn refresh_times(&mut self, now: Now) {
        for (backend, watched) in self.snapshot.backends.iter_mut().zip(&mut self.watched) {
            backend.times = watched.times(now);
        }
    }

    /// When [`Self::sample`] is due, on the monotonic clock.
    #[must_use]
    pub(crate) fn sample_at(&self) -> Duration {
        self.sample_times.next_at()
    }

    /// Takes a sample of every backend for the last hour, where one is due.
    pub fn sample(&mut self, now: Now) {
        if now.monotonic < self.sample_at() {
            return;
        }
        self.refresh(now);
        self.sample_times.take(now);
        for (backend, watched) in self.snapshot.backends.iter().zip(&mut self.watched) {
            let counts = &backend.counts;
            let settled = (counts.state_read > 0).then_some(counts.settled);
            let samples = &mut watched.samples;
            samples.take(settled, backend.backlog_bytes, backend.lag_seconds, now);
        }
    }

    /// Appends to `body` the samples that were taken later than `since`, in seconds since 1970, as
    /// JSON.
    pub(super) fn write_history(&self, since: u64, body: &mut Vec<u8>) {
        let backends = self.snapshot.backends.iter().zip(&self.watched);
        let backends = backends.map(|(backend, watched)| (&*backend.name, &watched.samples));
        let now_unix = self.snapshot.now_unix;
        history::write(&self.sample_times, backends, since, now_unix, body);
    }

    /// Reads what only `/metrics` tells, too.
    pub(crate) fn refresh_details(&mut self) {
        for (backend, watched) in self.snapshot.backends.iter_mut().zip(&self.watched) {
            backend.details = Details::load(&watched.counters);
        }
    }

    /// What belongs to no backend, to be kept up to date.
    pub(crate) fn server_mut(&mut self) -> &mut Server {
        &mut self.snapshot.server
    }

    /// What was read last.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn edit(&mut self, name: &str, edit: impl FnOnce(&mut BackendSnapshot)) {
        if let Ok(place) = self.place(name) {
            edit(&mut self.snapshot.backends[place]);
            self.snapshot.generation += 1;
        }
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.snapshot
            .backends
            .binary_search_by(|backend| backend.name.as_str().cmp(name))
    }
}

impl Watched {
    /// True if a number has changed.
    fn refresh(&mut self, backend: &mut BackendSnapshot, mode: &'static str, now: Now) -> bool {
        let counts = self.counters.load();
        if counts.state_read > 0 {
            // Before, nothing is known of what an earlier process had settled.
            self.records.handle_count(counts.settled, now.monotonic);
            self.settled_before.get_or_insert(counts.settled);
        }
        self.bytes.handle_count(counts.settled_bytes, now.monotonic);
        let reconcile = Reconcile::load(&self.counters.reconcile, mode, now.unix);
        let changed = backend.counts != counts || backend.reconcile != reconcile;
        backend.counts = counts;
        backend.reconcile = reconcile;
        backend.backlog_bytes = counts.backlog_bytes();
        backend.rate_per_second = self.records.per_second();
        backend.bytes_per_second = self.bytes.per_second();
        backend.lag_seconds = match counts.oldest_unsettled_unix {
            0 => 0,
            written => now.unix.saturating_sub(written),
        };
        backend.drain_seconds = match backend.backlog_bytes {
            _ if !counts.are_logs_known() => None,
            // Nothing shows when what is gone comes back.
            0 if counts.away_logs > 0 => None,
            // Nothing more is read.
            1.. if counts.state_faulty > 0 => None,
            0 => Some(0),
            // Who is not replayed to drains at no rate, whatever the last seconds' was.
            _ if backend.state != "up" => None,
            // Records of other lengths may be next: under a limit the greater of both is likelier.
            bytes => {
                let settled = counts.settled - self.settled_before.unwrap_or(counts.settled);
                let limited = limited_drain_seconds(backend, settled);
                drain_seconds(bytes, backend.bytes_per_second).max(limited)
            }
        };
        if backend.backlog_bytes == 0 {
            self.cleared_from = counts.settled_bytes;
        }
        backend.cleared_bytes = counts.settled_bytes.saturating_sub(self.cleared_from);
        self.latency.advance(&self.counters.requests, now.monotonic);
        changed
    }

    fn times(&mut self, now: Now) -> Times {
        let latency = self.latency.load(&self.counters.requests);
        let failures = &self.counters.failures;
        Times {
            state_seconds: self.states.in_state(now.monotonic).as_secs(),
            retry_seconds: (self.retry_at)
                .filter(|at| *at > now.monotonic)
                .map(|at| at.saturating_sub(now.monotonic).as_millis().div_ceil(1000) as u64),
            down_seconds: self.states.down(now.monotonic).as_secs(),
            flaps_last_hour: self.states.flaps(now.monotonic),
            lane_failures: failures
                .all()
                .map(|(_, counter)| counter.load())
                .iter()
                .sum(),
            latency_p50_ms: latency.quantile_ms(0.5),
            latency_p99_ms: latency.quantile_ms(0.99),
        }
    }
}

/// Seconds, rounded up, in which `backlog_bytes` are gone. `None` where the rate is so low that it
/// forecasts nothing, as after a backend has ceased to answer.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate; it is cast where it is at most FORECAST_SECONDS_MAX"
)]
fn drain_seconds(backlog_bytes: u64, bytes_per_second: f64) -> Option<u64> {
    let seconds = (backlog_bytes as f64 / bytes_per_second).ceil();
    (seconds <= FORECAST_SECONDS_MAX).then_some(seconds as u64)
}

/// The same of a backend whose rate is limited, however long it takes: records go at that rate, and
/// those that were read in this run show how long they are. `settled` of them are settled; bytes
/// count as settled by many records at once, so only both together tell. `None` if nothing is known
/// of them, or if something else holds it up.
fn limited_drain_seconds(backend: &BackendSnapshot, settled: u64) -> Option<u64> {
    let counts = &backend.counts;
    let records = settled.saturating_add(counts.in_flight_records);
    if backend.rate_max == 0 || records == 0 || !backend.why.is_empty() {
        return None;
    }
    let bytes = counts.settled_bytes.saturating_add(counts.in_flight_bytes);
    let record_bytes = bytes.div_ceil(records);
    let bytes_per_second = record_bytes.saturating_mul(backend.rate_max).max(1);
    Some(backend.backlog_bytes.div_ceil(bytes_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Now {
        Now::new(Duration::from_secs(second), 1_000_000 + second)
    }

    #[test]
    fn backends_stand_in_the_order_of_their_names() {
        let mut board = StatusBoard::new(at(0));
        for name in ["b:1", "a:10", "c:1", "a:9"] {
            board.add(name, Arc::default(), at(0));
        }
        board.remove("c:1");
        board.remove("nobody:1");
        let names: Vec<&str> = board
            .snapshot()
            .backends()
            .iter()
            .map(|backend| backend.name.as_str())
            .collect();
        assert_eq!(names, ["a:10", "a:9", "b:1"]);
    }

    #[test]
    fn numbers_follow_from_counters_and_time() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        counters.state_read.set(1);
        board.add("a:1", Arc::clone(&counters), at(0));
        board.set_state("a:1", "up", "", at(0));
        let generation = board.snapshot().generation();
        for second in 1..=60 {
            counters.processed.set(second * 100 + 7);
            counters.settled.set(second * 100);
            counters.settled_bytes.set(second * 20_000);
            counters.unread_bytes.set(90_000);
            counters.in_flight_bytes.set(10_000);
            counters.oldest_unsettled_unix.set(1_000_000);
            board.refresh(at(second));
        }
        let backend = &board.snapshot().backends()[0];
        assert_eq!(
            (
                backend.backlog_bytes,
                backend.lag_seconds,
                backend.drain_seconds
            ),
            (100_000, 60, Some(5))
        );
        assert!((backend.rate_per_second - 100.0).abs() < 1.0);
        assert_eq!(board.snapshot().totals(), (6007, 6000));
        assert_ne!(board.snapshot().generation(), generation);
    }

    #[test]
    fn who_is_not_replayed_to_or_hardly_has_no_forecast() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        board.add("a:1", Arc::clone(&counters), at(0));
        board.set_state("a:1", "up", "", at(0));
        counters.unread_bytes.set(1 << 40);
        let drain = |board: &mut StatusBoard, bytes: u64, second: u64| {
            counters.settled_bytes.set(bytes);
            board.refresh(at(second));
            board.snapshot().backends()[0].drain_seconds
        };
        assert_eq!(drain(&mut board, 0, 1), None);
        assert_eq!(drain(&mut board, 1 << 40, 2), Some(1));
        assert_eq!(drain(&mut board, 1 << 40, 200), None, "it goes on no more");
        assert!(drain(&mut board, 2 << 40, 201).is_some());
        board.set_state("a:1", "paused", "", at(202));
        assert_eq!(drain(&mut board, 2 << 40, 202), None);
        counters.unread_bytes.set(0);
        assert_eq!(drain(&mut board, 2 << 40, 203), Some(0));
    }

    #[test]
    fn a_rate_limit_gives_a_forecast_however_slow_it_is() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        counters.state_read.set(1);
        board.add("a:1", Arc::clone(&counters), at(0));
        board.set_state("a:1", "up", "", at(0));
        board.set_rate_max("a:1", 2);
        counters.unread_bytes.set(400_000_000 - 10_000);
        let drain = |board: &mut StatusBoard, second: u64| {
            board.refresh(at(second));
            board.snapshot().backends()[0].drain_seconds
        };
        assert_eq!(
            drain(&mut board, 1),
            None,
            "how long records are is unknown"
        );
        counters.in_flight_records.set(100);
        counters.in_flight_bytes.set(10_000);
        assert_eq!(drain(&mut board, 2), Some(2_000_000), "23 days");
        board.set_state("a:1", "up", "every record fails", at(3));
        assert_eq!(drain(&mut board, 3), None);
        board.set_state("a:1", "paused", "", at(4));
        assert_eq!(drain(&mut board, 4), None);
        // Most of what was read is settled, though its bytes do not count so yet.
        board.set_state("a:1", "up", "", at(5));
        counters.settled.set(90);
        counters.in_flight_records.set(10);
        assert_eq!(drain(&mut board, 5), Some(2_000_000));
        // Long ones went first.
        counters.settled_bytes.set(4_000_000);
        assert_eq!(drain(&mut board, 6), Some(4_988), "40,100 bytes each");
    }

    #[test]
    fn a_backend_whose_state_cannot_be_written_has_no_forecast() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        board.add("a:1", Arc::clone(&counters), at(0));
        board.set_state("a:1", "up", "", at(0));
        counters.unread_bytes.set(1_000_000);
        counters.settled_bytes.set(0);
        board.refresh(at(0));
        counters.settled_bytes.set(1_000);
        board.refresh(at(1));
        assert_eq!(board.snapshot().backends()[0].drain_seconds, Some(1_000));
        counters.state_faulty.set(1);
        board.refresh(at(2));
        assert_eq!(board.snapshot().backends()[0].drain_seconds, None);
    }

    #[test]
    fn nothing_is_done_where_logs_cannot_be_read() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        counters.logs_faulty.set(1);
        board.add("a:1", Arc::clone(&counters), at(0));
        board.set_state("a:1", "up", "its logs cannot be read: no rights", at(0));
        board.refresh(at(1));
        assert_eq!(board.snapshot().backends()[0].drain_seconds, None);
        counters.logs_faulty.set(0);
        counters.away_logs.set(1);
        board.refresh(at(2));
        assert_eq!(board.snapshot().backends()[0].drain_seconds, None);
        counters.away_logs.set(0);
        board.refresh(at(2));
        assert_eq!(board.snapshot().backends()[0].drain_seconds, Some(0));
    }

    #[test]
    fn what_an_earlier_process_had_settled_is_no_rate() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        board.add("a:1", Arc::clone(&counters), at(0));
        board.refresh(at(1));
        counters.settled.set(1_000_000);
        counters.state_read.set(1);
        board.refresh(at(2));
        board.refresh(at(3));
        let rate = |board: &StatusBoard| board.snapshot().backends()[0].rate_per_second;
        assert_eq!(rate(&board), 0.0);
        counters.settled.set(1_000_100);
        board.refresh(at(4));
        assert!((rate(&board) - 100.0).abs() < 1.0);
    }

    #[test]
    fn what_is_cleared_counts_from_when_nothing_was_left() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        board.add("a:1", Arc::clone(&counters), at(0));
        let mut check = |settled, unread, expected| {
            counters.settled_bytes.set(settled);
            counters.unread_bytes.set(unread);
            board.refresh(at(1));
            assert_eq!(board.snapshot().backends()[0].cleared_bytes, expected);
        };
        check(0, 100, 0);
        check(70, 30, 70);
        check(100, 0, 0);
        check(100, 50, 0);
        check(130, 20, 30);
    }

    #[test]
    fn details_are_read_when_they_are_asked_for() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        board.add("a:1", Arc::clone(&counters), at(0));
        counters.requests.observe(Duration::from_millis(3), 4);
        counters.rejections.add("checksum", 2);
        counters.probes.lost.add(1);
        counters.failures.timeout.add(5);
        board.refresh(at(1));
        assert_eq!(board.snapshot().backends()[0].details, Details::default());
        board.refresh_details();
        let details = &board.snapshot().backends()[0].details;
        assert_eq!(details.requests.count(), 4);
        assert_eq!(details.rejections, [("checksum", 2)]);
        assert_eq!(details.probes[3], ("lost", 1));
        assert_eq!(details.failures[1], ("timeout", 5));
    }

    #[test]
    fn times_follow_from_states_failures_and_answers() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        board.add("a:1", Arc::clone(&counters), at(0));
        board.set_state("a:1", "up", "", at(10));
        board.set_state("a:1", "down", "timed out", at(20));
        board.set_state("a:1", "down", "refused", at(30));
        board.set_retry_at("a:1", Some(Duration::from_millis(53_100)));
        counters.failures.timeout.add(2);
        counters.failures.garbage.add(1);
        counters.requests.observe(Duration::from_micros(80), 100);
        board.refresh(at(50));
        assert_eq!(board.snapshot().backends()[0].times, Times::default());
        board.refresh_times(at(50));
        let expected = Times {
            state_seconds: 30,
            retry_seconds: Some(4),
            down_seconds: 30,
            flaps_last_hour: 1,
            lane_failures: 3,
            latency_p50_ms: Some(0.05),
            latency_p99_ms: Some(0.099),
        };
        assert_eq!(board.snapshot().backends()[0].times, expected);
        board.refresh_times(at(54));
        assert_eq!(board.snapshot().backends()[0].times.retry_seconds, None);
    }

    #[test]
    fn the_longest_history_fits_what_may_wait_at_the_http_server() {
        let mut board = StatusBoard::new(at(0));
        for number in 0..crate::limits::BACKENDS_MAX {
            let counters = Arc::new(BackendCounters::default());
            counters.state_read.set(1);
            counters.unread_bytes.set(1 << 40);
            counters.oldest_unread_unix.set(1);
            let name = format!("backend-{number:04}.hustdb.example.com:8085");
            board.add(&name, counters, at(0));
        }
        for number in 0..=crate::limits::HISTORY_SAMPLES as u64 {
            for watched in &board.watched {
                watched.counters.settled.add(3_333_333);
            }
            board.sample(at(number * 30));
            board.sample(at(number * 30 + 29));
        }
        let mut body = Vec::new();
        board.write_history(0, &mut body);
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let times = told["times_unix"].as_array().unwrap();
        assert_eq!(times.len(), crate::limits::HISTORY_SAMPLES);
        assert!(
            body.len() * 2 <= crate::limits::HTTP_UNSENT_BYTES_MAX,
            "{} bytes",
            body.len()
        );
    }

    #[test]
    fn time_to_drain_is_unknown_while_nothing_moves() {
        assert_eq!(drain_seconds(1, 0.0), None);
        assert_eq!(drain_seconds(3, 2.0), Some(2));
        assert_eq!(drain_seconds(u64::MAX, 1e-300), None);
    }

    #[test]
    fn a_state_begins_when_its_word_changes() {
        let mut board = StatusBoard::new(at(0));
        board.add("a:1", Arc::default(), at(0));
        assert_eq!(board.snapshot().backends()[0].state, "unknown");
        board.set_state("a:1", "down", "connection refused", at(5));
        board.set_state("a:1", "down", "timed out", at(9));
        board.set_state("nobody:1", "up", "", at(9));
        let backend = &board.snapshot().backends()[0];
        assert_eq!(
            (&*backend.state, backend.why.as_str(), backend.since_unix),
            ("down", "timed out", 1_000_005)
        );
    }

    #[test]
    fn a_generation_lasts_while_nothing_changes() {
        let counters = Arc::new(BackendCounters::default());
        let mut board = StatusBoard::new(at(0));
        board.add("a:1", Arc::clone(&counters), at(0));
        let generation = board.snapshot().generation();
        board.refresh(at(0));
        assert_eq!(board.snapshot().generation(), generation);
        counters.processed.add(1);
        board.refresh(at(0));
        assert_ne!(board.snapshot().generation(), generation);
    }
}
