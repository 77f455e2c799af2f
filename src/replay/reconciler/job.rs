//! The comparison of one backend's finished logs.
//!
//! ```text
//!  reading: the keys of a pass ──▶ comparing ──▶ writing differences ──▶ the next pass, or done
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::limits::{RECONCILE_KEY_BYTES_MAX, RECONCILE_LOOK};
use crate::reconcile::comparison::{Comparison, ComparisonSettings, Stalled};
use crate::reconcile::decision::Trust;
use crate::reconcile::key::KeyId;
use crate::reconcile::keys::{Keys, LoggedKey, Pass};
use crate::reconcile::outcome::{Mend, Outcome, Skipped};
use crate::reconcile::settings::ReconcileSettings;
use crate::reconcile::table::Table;
use crate::replay::disk::{Disk, OpenFile};
use crate::replay::messages::{BackendInfo, FinishedLog};
use crate::replay::reconciler::differences::Differences;
use crate::replay::reconciler::scan::{self, Scan, ScanStep};
use crate::replay::reconciler::surroundings::{Surroundings, find};
use crate::status::counters::ReconcileCounters;

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to do at once.
    Busy,
    /// There is nothing to do before this time, monotonic, or an event.
    Waiting { until: Duration },
    /// The logs are compared.
    Done,
}

/// What a step needs.
pub(super) struct JobContext<'a, D> {
    pub(super) disk: &'a mut D,
    pub(super) differences: &'a mut Differences,
    pub(super) surroundings: &'a mut dyn Surroundings,
    pub(super) written_unix: fn(&[u8]) -> Option<u64>,
    /// The backend is not up, or its records are replayed first.
    pub(super) is_blocked: bool,
    /// No later log of the backend has been compared, or is to be.
    pub(super) has_newest: bool,
    /// Why a master cannot be believed yet, as the end of a sentence that begins with its name.
    pub(super) peer_waits: &'a dyn Fn(&str) -> Option<&'static str>,
    /// Keys that earlier jobs may have given a peer without having looked at them again.
    pub(super) given: &'a BTreeSet<KeyId>,
    /// Whether a master has logs that are not compared.
    pub(super) has_logs: &'a dyn Fn(&str) -> bool,
    /// Whether a key of a master was left different when its own log was compared.
    pub(super) is_left: &'a dyn Fn(&str, &KeyId) -> bool,
    /// Why keys of the backend were not compared the last time.
    pub(super) said: &'a mut String,
    pub(super) now: Now,
}

/// Keys that were not compared for one reason.
struct NotCompared {
    /// The reason of the first of them, as a sentence.
    why: String,
    keys: u64,
}

enum Phase {
    Reading,
    Comparing,
    Writing,
}

/// See the module.
pub(super) struct Job<L> {
    info: BackendInfo,
    logs: Vec<FinishedLog>,
    /// The last of them, in their order.
    newest: Option<Arc<str>>,
    pub(super) comparison: Comparison,
    /// The driver's slots of its connections.
    pub(super) slots: Vec<usize>,
    settings: ReconcileSettings,
    phase: Phase,
    scan: Scan<L>,
    keys: Keys,
    /// The keys of this pass that have not begun.
    pass: Pass,
    /// As it was last looked at, or why it could not be read when this pass began.
    table: Result<Arc<Table>, String>,
    /// When it is looked at again, monotonic.
    table_at: Duration,
    /// Since when it cannot be read, monotonic.
    table_lacks_since: Option<Duration>,
    /// Whether peers may be taken for the truth.
    trusts_peers: bool,
    /// Since when it stands still, as the backend is not in order, monotonic.
    blocked_since: Option<Duration>,
    /// When it last took a step in which only masters kept it from going on, monotonic.
    asking_at: Option<Duration>,
    /// Logs that were not there when they were to be read.
    gone: Vec<Arc<str>>,
    /// Keys that were compared.
    compared: u64,
    /// By the reason's code.
    skipped: BTreeMap<&'static str, NotCompared>,
    /// When the disk is tried again, monotonic.
    retry_at: Duration,
    /// What the disk said, as a sentence; of interest until then.
    disk_fault: String,
}

impl<L: OpenFile> Job<L> {
    pub(super) fn new(
        info: &BackendInfo,
        logs: Vec<FinishedLog>,
        settings: ComparisonSettings,
        stalled_before: Stalled,
        now: Now,
    ) -> Self {
        let name = Arc::clone(&info.name);
        Self {
            settings: settings.reconcile,
            comparison: Comparison::new(name, settings, stalled_before, now),
            info: info.clone(),
            newest: logs.iter().map(|log| Arc::clone(&log.name)).max(),
            logs,
            slots: Vec::new(),
            phase: Phase::Reading,
            scan: Scan::default(),
            keys: Keys::new(RECONCILE_KEY_BYTES_MAX),
            pass: Pass::default(),
            table: Err(String::new()),
            table_at: Duration::ZERO,
            table_lacks_since: None,
            trusts_peers: true,
            blocked_since: None,
            asking_at: None,
            gone: Vec::new(),
            compared: 0,
            skipped: BTreeMap::new(),
            retry_at: Duration::ZERO,
            disk_fault: String::new(),
        }
    }

    /// Other settings apply from now on.
    pub(super) fn set(&mut self, settings: ReconcileSettings) {
        self.settings = settings;
        self.comparison.set(settings);
    }

    /// Nothing is mended from now on: a peer has newer logs that are not compared.
    pub(super) fn trust_no_peer(&mut self) {
        self.trusts_peers = false;
        self.comparison.trust_no_peer();
    }

    /// The logs that are being compared.
    pub(super) fn logs(&self) -> &[FinishedLog] {
        &self.logs
    }

    /// The last of the logs, in their order.
    pub(super) fn newest(&self) -> Option<&Arc<str>> {
        self.newest.as_ref()
    }

    /// For how long it has stood still.
    pub(super) fn blocked_for(&self, now: Now) -> Duration {
        let since = self.blocked_since.unwrap_or(now.monotonic);
        now.monotonic.saturating_sub(since)
    }

    /// What keeps it from going on, as a sentence, besides its own backend.
    pub(super) fn waits_for(&self, now: Now) -> Option<String> {
        if self.retry_at > now.monotonic {
            return Some(self.disk_fault.clone());
        }
        match (&self.phase, &self.table) {
            (Phase::Reading, Err(fault)) if self.table_lacks_since.is_some() => {
                Some(format!("HA's table cannot be read: {fault}"))
            }
            _ => self.comparison.waits_for(),
        }
    }

    /// For how long masters have been asked without progress, for the next job.
    pub(super) fn stalled(&self) -> Stalled {
        self.comparison.stalled()
    }

    /// The logs, which are compared, or are to be compared by another job.
    pub(super) fn take_logs(&mut self) -> Vec<FinishedLog> {
        std::mem::take(&mut self.logs)
    }

    /// Ends it. Gives its slots, whose connections are to be closed.
    pub(super) fn end(self) -> Vec<usize> {
        self.slots
    }

    pub(super) fn step<D: Disk<File = L>>(&mut self, cx: &mut JobContext<'_, D>) -> Progress {
        self.blocked_since = match cx.is_blocked {
            true => self.blocked_since.or(Some(cx.now.monotonic)),
            false => None,
        };
        let is_asking = matches!(self.phase, Phase::Comparing) && !cx.is_blocked;
        let asking_at = self.asking_at.take();
        if let Some(at) = asking_at.filter(|_| is_asking) {
            let passed = cx.now.monotonic.saturating_sub(at);
            self.comparison.handle_time(passed);
        }
        self.asking_at = is_asking.then_some(cx.now.monotonic);
        if self.retry_at > cx.now.monotonic {
            return Progress::Waiting {
                until: self.retry_at,
            };
        }
        match self.phase {
            Phase::Reading => self.read(cx),
            Phase::Comparing => self.compare(cx),
            Phase::Writing => self.write(cx),
        }
    }

    fn read<D: Disk<File = L>>(&mut self, cx: &mut JobContext<'_, D>) -> Progress {
        if cx.is_blocked {
            return self.look_again(cx.now);
        }
        let mut without_lookup = 0;
        let mut into = scan::KeySink {
            keys: &mut self.keys,
            without_lookup: &mut without_lookup,
            written_unix: cx.written_unix,
        };
        let read = self
            .scan
            .step(&self.info.name, &self.logs, cx.disk, &mut into);
        if without_lookup > 0 && self.keys.is_first_pass() {
            self.skip(Skipped::NoLookup, without_lookup);
        }
        match read {
            Ok(ScanStep::More) => Progress::Busy,
            Ok(ScanStep::Gone(name)) => {
                self.handle_gone(name);
                Progress::Busy
            }
            Ok(ScanStep::All) => {
                self.table = cx.surroundings.table();
                if self.table.is_ok() {
                    self.table_lacks_since = None;
                } else if self.waits_for_table(cx.now) {
                    return self.look_again(cx.now);
                }
                self.pass = self.keys.take();
                self.phase = Phase::Comparing;
                Progress::Busy
            }
            Err(cause) => {
                let log = self.scan.log(&self.logs).map_or("", |log| &*log.name);
                self.retry(format!("{log} cannot be read: {cause}"), cx.now)
            }
        }
    }

    /// A log is not there any more. How many keys it had, nobody knows.
    fn handle_gone(&mut self, name: Arc<str>) {
        if self.gone.contains(&name) {
            return;
        }
        tracing::warn!(
            backend = &*self.info.name,
            file = %name,
            "the log was moved away or deleted before its keys were compared with the other \
             master's"
        );
        self.skip(Skipped::LogGone, 1);
        self.gone.push(name);
    }

    /// Whether a table that cannot be read still keeps the logs, as a peer does that cannot be
    /// asked.
    fn waits_for_table(&mut self, now: Now) -> bool {
        let since = *self.table_lacks_since.get_or_insert(now.monotonic);
        now.monotonic.saturating_sub(since) <= self.settings.timeout
    }

    fn compare<D: Disk<File = L>>(&mut self, cx: &mut JobContext<'_, D>) -> Progress {
        self.watch_masters(cx);
        self.watch_table(cx);
        self.comparison.handle_deadlines(cx.now);
        while !cx.is_blocked && self.comparison.has_room() {
            let Some(next) = self.pass.next() else {
                break;
            };
            self.begin(next, cx);
        }
        while let Some(compared) = self.comparison.poll_compared() {
            cx.differences
                .handle(&self.info.name, &compared, cx.now.unix);
            match compared.outcome {
                Outcome::Skipped(why) => self.skip(why, 1),
                outcome => {
                    self.compared += 1;
                    count(&self.info.counters.reconcile, outcome);
                }
            }
        }
        if self.is_pass_over() || cx.differences.is_full() {
            self.phase = Phase::Writing;
            return Progress::Busy;
        }
        Progress::Waiting {
            until: self.comparison.deadline().min(cx.now.after(RECONCILE_LOOK)),
        }
    }

    /// HA's table may change while a pass lasts: from then on keys are compared with the master
    /// that it names now.
    fn watch_table<D: Disk>(&mut self, cx: &mut JobContext<'_, D>) {
        if self.table_at > cx.now.monotonic {
            return;
        }
        self.table_at = cx.now.after(RECONCILE_LOOK);
        if let Ok(table) = cx.surroundings.table() {
            self.table = Ok(table);
        }
    }

    /// Begins to compare a key with the first other master of its row.
    fn begin<D: Disk>(&mut self, next: LoggedKey, cx: &mut JobContext<'_, D>) {
        let LoggedKey {
            key,
            logged,
            other_slots,
        } = next;
        let Ok(table) = &self.table else {
            return self.skip(Skipped::NoTable, 1);
        };
        let peer = match table.peer_of_all(&self.info.name, &key, &other_slots) {
            Ok(peer) => peer,
            Err(why) => return self.skip(Skipped::NoPeer(why), 1),
        };
        let is_given = cx.given.contains(&key);
        let trust = match self.trusts_peers && !is_given && !(cx.is_left)(peer, &key) {
            true if (cx.has_logs)(peer) => Trust::OtherVersions,
            true => Trust::Everything,
            false => Trust::Nothing,
        };
        let logged = match cx.has_newest {
            true => logged,
            false => logged.without_last(),
        };
        let at = self.comparison.master(peer, cx.now);
        self.comparison.begin(key, logged, at, trust);
    }

    /// Finds out where masters are, has those wait for which there are records, and gives up peers
    /// that have kept the logs for too long.
    fn watch_masters<D: Disk>(&mut self, cx: &mut JobContext<'_, D>) {
        let mut given_up = Vec::new();
        for (at, master) in self.comparison.masters().iter_mut().enumerate() {
            find(master, cx.surroundings);
            let backend = cx.is_blocked.then_some("waits for its records");
            let peer = || (cx.peer_waits)(&master.name).filter(|_| at > 0);
            master.set_paused(backend.or_else(peer));
            if master.stalled() > self.settings.timeout {
                given_up.push(at);
            }
        }
        for at in given_up {
            let master = &self.comparison.masters()[at];
            tracing::warn!(
                backend = &*self.info.name,
                master = &*master.name,
                why = master
                    .waits_for()
                    .unwrap_or_else(|| "it is too slow".to_owned()),
                "this master could not be asked for sync.reconcile_timeout: keys of finished logs \
                 are not compared"
            );
            self.comparison.give_up(at);
        }
    }

    fn write<D: Disk<File = L>>(&mut self, cx: &mut JobContext<'_, D>) -> Progress {
        match cx.differences.write(cx.disk) {
            Ok(true) => {}
            // Which keys are left is known before the logs go.
            Ok(false) => return Progress::Busy,
            Err(cause) => {
                self.info.counters.state_failures.add(1);
                let fault = format!("differences.jsonl cannot be written: {cause}");
                return self.retry(fault, cx.now);
            }
        }
        self.phase = Phase::Comparing;
        if !self.is_pass_over() {
            return Progress::Busy;
        }
        // Its memory is free before the next pass takes some.
        self.pass = Pass::default();
        if self.keys.begin_next() {
            self.scan = Scan::default();
            self.phase = Phase::Reading;
            return Progress::Busy;
        }
        for (code, skipped) in &self.skipped {
            self.info.counters.reconcile.skipped.add(code, skipped.keys);
        }
        self.log_end(cx.said);
        if let Some(peer) = self.comparison.emptied() {
            tracing::warn!(
                backend = &*self.info.name,
                peer,
                "the other master lacks so many keys that it may have been emptied or replaced: \
                 some were not deleted, whatever sync.reconcile_deletes says, and are in \
                 differences.jsonl (hustdbsync differences list)"
            );
        }
        Progress::Done
    }

    /// Whether all keys of this pass have their outcome.
    fn is_pass_over(&self) -> bool {
        self.pass.len() == 0 && (self.comparison.is_idle() || failpoint!(ForgetKeys))
    }

    /// Says what came of it: a warning where keys were not compared for a reason that has not been
    /// said yet.
    fn log_end(&self, said: &mut String) {
        let not_compared: u64 = self.skipped.values().map(|skipped| skipped.keys).sum();
        let reasons = self.skipped.iter();
        let whys: Vec<String> = reasons
            .map(|(code, skipped)| format!("{code}: {}", skipped.why))
            .collect();
        let mut why = whys.join("; ");
        if let Err(fault) = &self.table {
            why = format!("{why}: {fault}");
        }
        let (backend, logs, compared) = (&*self.info.name, self.logs.len(), self.compared);
        let codes: Vec<&str> = self.skipped.keys().copied().collect();
        let codes = codes.join(" ");
        let is_new = !codes.is_empty() && *said != codes;
        if is_new {
            tracing::warn!(
                backend,
                logs,
                compared,
                not_compared,
                why,
                "keys of finished logs are not compared with the other master"
            );
        } else {
            tracing::info!(
                backend,
                logs,
                compared,
                not_compared,
                why,
                "the keys of finished logs are compared"
            );
        }
        *said = codes;
    }

    fn skip(&mut self, why: Skipped, keys: u64) {
        let skipped = self
            .skipped
            .entry(why.code())
            .or_insert_with(|| NotCompared {
                why: why.to_string(),
                keys: 0,
            });
        skipped.keys += keys;
    }

    fn look_again(&self, now: Now) -> Progress {
        Progress::Waiting {
            until: now.after(RECONCILE_LOOK),
        }
    }

    fn retry(&mut self, fault: String, now: Now) -> Progress {
        tracing::error!(
            backend = &*self.info.name,
            "{fault}; it is tried again, and finished logs stay until then"
        );
        self.disk_fault = fault;
        self.retry_at = now.after(crate::limits::RECONCILE_RETRY);
        Progress::Waiting {
            until: self.retry_at,
        }
    }
}

/// Counts a key that was compared.
fn count(counters: &ReconcileCounters, outcome: Outcome) {
    counters.compared.add(1);
    let counter = match outcome {
        Outcome::Equal => &counters.equal,
        Outcome::Mended(Mend::Copied) => &counters.copied,
        Outcome::Mended(Mend::Raised) => &counters.raised,
        Outcome::Mended(Mend::MadeAnew) => &counters.made_anew,
        Outcome::Mended(Mend::Deleted) => &counters.deleted,
        Outcome::Reported(_) | Outcome::Skipped(_) => &counters.reported,
    };
    counter.add(1);
}
