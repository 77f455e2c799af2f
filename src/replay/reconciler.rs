//! The reconciler: compares the keys of finished logs with the other master that HA's table names,
//! before the checkpointer deletes those logs (docs/reconcile.md, R1 to R6).
//!
//! ```text
//!  checkpointer ── Compare: finished logs ──▶ reconciler ── Compared ──▶ checkpointer: deletes
//!                                              │    ▲
//!                    keys, a pass at a time ◀──┘    └── answers of both masters
//! ```
//!
//! Logs of one backend that wait are compared together, so that a key in several of them is
//! compared once, after the last. A backend with records to be replayed waits, and so does a peer:
//! only one that no record waits for is the truth. Where both masters of a pair have missed writes,
//! the newest logs are compared first: of a key in logs of both, the master that did not miss the
//! last write is the truth, and once that is done the key is equal. Nothing is kept on disk but the
//! differences, so a crash has the logs compared again.
//!
//! A driver calls [`Reconciler::turn`], does what [`Connected::poll_action`] says, and sleeps until
//! there is a message, an event, or that turn's time has come.

mod backend;
mod differences;
mod job;
mod scan;
mod surroundings;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::connections::{Action, Connected};
use crate::limits::{
    OUTBOX_RETRY, RECONCILE_BACKENDS_MAX, RECONCILE_BLOCKED_MAX, RECONCILE_COUNT_INTERVAL,
    RECONCILE_GIVES_WAY_MAX, RECONCILE_LOOK, RECONCILE_NEWER_LOGS_WAIT,
};
use crate::reconcile::comparison::ComparisonSettings;
use crate::reconcile::key::KeyId;
use crate::reconcile::settings::ReconcileMode;
use crate::replay::disk::Disk;
use crate::replay::links::Mailboxes;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{BackendId, CheckpointerMessage, ReconcilerMessage};
use crate::replay::outbox::Outbox;
pub use crate::replay::turn::Turn;

use backend::Backend;
pub use differences::difference_of;
use differences::{Differences, Work};
use job::{Job, JobContext, Progress};
pub(crate) use scan::read_keys;
pub(crate) use surroundings::find;
pub use surroundings::{Address, Surroundings};

/// See the module.
pub struct Reconciler<D: Disk, S> {
    disk: D,
    surroundings: S,
    mailbox: Arc<Mailbox<ReconcilerMessage>>,
    settings: ComparisonSettings,
    written_unix: fn(&[u8]) -> Option<u64>,
    outbox: Outbox,
    backends: BTreeMap<BackendId, Backend<D::File>>,
    by_name: BTreeMap<Arc<str>, BackendId>,
    /// When some backend's differences are read again, monotonic.
    count_at: Duration,
    /// When it is looked whether jobs can begin or have to give way, monotonic.
    look_at: Duration,
    /// Whose connection a slot is, and which of its job's.
    slots: Vec<Option<(BackendId, usize)>>,
    free_slots: Vec<usize>,
    actions: VecDeque<Action>,
    /// Backends whose jobs heard of a connection since they were asked what they want done.
    heard: BTreeSet<BackendId>,
    is_stopped: bool,
}

impl<D: Disk, S: Surroundings> Reconciler<D, S> {
    /// A reconciler that knows no backend yet. `written_unix` says when a line was written, from
    /// its prefix.
    #[must_use]
    pub fn new(
        disk: D,
        surroundings: S,
        mailbox: Arc<Mailbox<ReconcilerMessage>>,
        mailboxes: &Mailboxes,
        settings: ComparisonSettings,
        written_unix: fn(&[u8]) -> Option<u64>,
    ) -> Self {
        Self {
            disk,
            surroundings,
            mailbox,
            settings,
            written_unix,
            outbox: Outbox::new(mailboxes),
            backends: BTreeMap::new(),
            by_name: BTreeMap::new(),
            count_at: Duration::ZERO,
            look_at: Duration::ZERO,
            slots: Vec::new(),
            free_slots: Vec::new(),
            actions: VecDeque::new(),
            heard: BTreeSet::new(),
            is_stopped: false,
        }
    }

    /// Its mailbox, on which its driver sleeps.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox<ReconcilerMessage> {
        &self.mailbox
    }

    /// Handles messages and deadlines, and takes every comparison a step further.
    pub fn turn(&mut self, now: Now) -> Turn {
        self.mailbox.note_turn();
        while let Some(message) = self.mailbox.receive() {
            self.handle_message(message, now);
        }
        if self.is_stopped {
            return Turn::Stopped;
        }
        let mut is_busy = self.count_differences(now);
        self.look(now);
        let mut until = self.count_at;
        for id in self.ids(|backend| backend.job.is_some()) {
            match self.step(id, now) {
                Progress::Busy => is_busy = true,
                Progress::Waiting { until: at } => until = until.min(at),
                Progress::Done => {}
            }
        }
        if !self.outbox.deliver() {
            until = until.min(now.after(OUTBOX_RETRY));
        }
        if self.backends.values().any(Backend::has_work) {
            until = until.min(self.look_at);
        }
        match is_busy {
            true => Turn::Busy,
            false => Turn::Idle { until },
        }
    }

    /// The backends of which this is true.
    fn ids(&self, is_wanted: impl Fn(&Backend<D::File>) -> bool) -> Vec<BackendId> {
        let backends = self.backends.iter();
        let found = backends.filter(|(_, backend)| is_wanted(backend));
        found.map(|(id, _)| *id).collect()
    }

    /// Has jobs give way and begin, where something has changed for them or some time has passed:
    /// that looks at HA's table, which is a file.
    fn look(&mut self, now: Now) {
        if self.look_at > now.monotonic {
            return;
        }
        self.look_at = now.after(RECONCILE_LOOK);
        for id in self.ids(Backend::has_work) {
            self.give_way(id, now);
            let begun = self.begin_job(id, now);
            let backend = &self.backends[&id];
            let waits_for = match begun {
                Ok(()) => backend.job.as_ref().and_then(|job| job.waits_for(now)),
                Err(why) => Some(why),
            };
            backend.tell_waits_for(waits_for.as_deref());
        }
    }

    fn handle_message(&mut self, message: ReconcilerMessage, now: Now) {
        self.look_at = Duration::ZERO;
        match message {
            ReconcilerMessage::Backend(info) => {
                self.by_name.insert(Arc::clone(&info.name), info.id);
                self.count_at = Duration::ZERO;
                let backend = self.backends.entry(info.id).or_default();
                backend.differences = Some(Differences::new(Arc::clone(&info.name)));
                backend.info = Some(info);
            }
            ReconcilerMessage::Up { backend, is_up } => {
                let known = self.backends.entry(backend).or_default();
                known.up_since = is_up.then_some(now.monotonic);
                if !is_up {
                    // It may come back as another one, at another address.
                    self.put_back(backend, now);
                }
            }
            ReconcilerMessage::Settings(settings) => self.set(*settings, now),
            // The checkpointer has asked before it knew.
            ReconcilerMessage::Compare { .. } if self.is_off() => {}
            ReconcilerMessage::Compare { backend, logs } => {
                let backend = self.backends.entry(backend).or_default();
                backend.handle_finished(logs, now);
            }
            ReconcilerMessage::Forget { backend } => {
                self.end_job(backend);
                let forgotten = self.backends.remove(&backend);
                if let Some(mut differences) = forgotten.and_then(|known| known.differences) {
                    differences.stop_compacting(&mut self.disk);
                }
                self.by_name.retain(|_, id| *id != backend);
            }
            ReconcilerMessage::Stop => self.is_stopped = true,
        }
    }

    fn is_off(&self) -> bool {
        self.settings.reconcile.mode == ReconcileMode::Off
    }

    fn set(&mut self, settings: ComparisonSettings, now: Now) {
        let reconcile = settings.reconcile;
        let before = std::mem::replace(&mut self.settings, settings);
        let is_other_access = self.settings
            != ComparisonSettings {
                reconcile,
                ..before
            };
        self.count_at = Duration::ZERO;
        for id in self.ids(|_| true) {
            let backend = self.backends.get_mut(&id).expect("it was listed");
            backend.read_at = Duration::ZERO;
            if reconcile.mode == ReconcileMode::Off {
                // The checkpointer no longer waits for an answer.
                backend.waiting.clear();
                if let Some(differences) = &mut backend.differences
                    && let Err(cause) = differences.write(&mut self.disk)
                {
                    tracing::error!(%cause, "the last lines of differences.jsonl are not written");
                    differences.drop_unwritten();
                }
                self.end_job(id);
            } else if is_other_access {
                self.put_back(id, now);
            } else if let Some(job) = &mut backend.job {
                job.set(reconcile);
            }
        }
    }

    /// Counts the differences that are left, where that is due: an operator's command may have
    /// settled some. Returns whether there is more to be done for that.
    fn count_differences(&mut self, now: Now) -> bool {
        if self.count_at > now.monotonic {
            return false;
        }
        let is_off = self.is_off();
        self.count_at = Duration::MAX;
        let (mut is_reading, mut is_compacting) = (false, false);
        for backend in self.backends.values_mut() {
            let (Some(info), Some(differences)) = (&backend.info, &mut backend.differences) else {
                continue;
            };
            // One after the other: memory is needed for one.
            if backend.read_at <= now.monotonic && !is_reading {
                let work = match is_off {
                    true => differences.count(&mut self.disk),
                    false => differences.step(&mut self.disk, !is_compacting, now),
                };
                if let Err(cause) = &work {
                    info.counters.state_failures.add(1);
                    let backend = &*info.name;
                    tracing::warn!(
                        backend,
                        %cause,
                        "differences.jsonl cannot be read: what it has is not counted"
                    );
                }
                is_reading = matches!(work, Ok(Work::Reading));
                is_compacting |= matches!(work, Ok(Work::Compacting));
                if is_reading {
                    continue;
                }
                let left = differences.left();
                info.counters.reconcile.left.set(left);
                let left_known = &info.counters.reconcile.left_known;
                left_known.set(u64::from(work.is_ok()));
                backend.read_at = match work {
                    Ok(Work::Compacting) => Duration::ZERO,
                    Ok(_) if is_off && left == 0 => Duration::MAX,
                    _ => now.after(RECONCILE_COUNT_INTERVAL),
                };
            }
            self.count_at = self.count_at.min(backend.read_at);
        }
        if is_reading {
            self.count_at = Duration::ZERO;
        }
        is_reading || is_compacting
    }

    /// Begins to compare the logs of a backend that wait, once its records are replayed. Else gives
    /// why there is no job, or why it stands still, as a sentence.
    fn begin_job(&mut self, id: BackendId, now: Now) -> Result<(), String> {
        const PEER_FIRST: &str = "the newer logs of its other master are compared first";
        let backend = &self.backends[&id];
        if let Some(why) = backend.why_not_in_order() {
            return Err(why.to_owned());
        }
        if backend.job.is_some() {
            return Ok(());
        }
        let delay = self.settings.reconcile.delay;
        if let Some(why) = backend.why_fresh(delay, now) {
            return Err(format!("it {why}"));
        }
        let waited = now.monotonic.saturating_sub(backend.waiting_since);
        if backend.has_unfinished_logs() && waited < RECONCILE_NEWER_LOGS_WAIT {
            return Err("newer logs of it are not finished".to_owned());
        }
        let others = self.backends.values();
        if others.filter(|other| other.job.is_some()).count() >= RECONCILE_BACKENDS_MAX {
            return Err("the logs of other backends are compared first".to_owned());
        }
        let mut lists = self.backends.values().flat_map(|other| &other.differences);
        if !lists.all(Differences::is_read) {
            return Err("differences.jsonl is read first".to_owned());
        }
        let newer = self.newer_than_rivals(id).ok_or(PEER_FIRST)?;
        let backend = self.backends.get_mut(&id).expect("it is known");
        let info = backend.info.as_ref().expect("it is introduced");
        let mut waiting = std::mem::take(&mut backend.waiting);
        // Of several records of a key the last one counts.
        waiting.sort_by(|one, other| one.name.cmp(&other.name));
        let goes_on = backend.gave_way >= RECONCILE_GIVES_WAY_MAX;
        let (logs, waiting): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|log| goes_on || log.modified_nanos >= newer);
        backend.waiting = waiting;
        if logs.is_empty() {
            return Err(PEER_FIRST.to_owned());
        }
        let has_older = logs.iter().any(|log| log.modified_nanos < newer);
        let stalled = std::mem::take(&mut backend.stalled);
        let mut job = Job::new(info, logs, self.settings.clone(), stalled, now);
        if has_older {
            job.trust_no_peer();
        }
        backend.job = Some(job);
        Ok(())
    }

    /// The time from which on a backend's finished logs are newer than those of its peers that
    /// wait; `None` while a peer's logs are being compared.
    fn newer_than_rivals(&mut self, id: BackendId) -> Option<u64> {
        let table = self.surroundings.table().ok();
        let name = self.backends[&id].info.as_ref()?.name.clone();
        let neighbours = table.iter().flat_map(|table| table.neighbours(&name));
        let mut newer = 0;
        for neighbour in neighbours {
            let Some(rival_id) = self.by_name.get(neighbour) else {
                continue;
            };
            let rival = &self.backends[rival_id];
            if rival.job.is_some() {
                return None;
            }
            if !rival.is_in_order() {
                // It may stay so for long: this backend does not wait for it.
                continue;
            }
            let newest = rival.waiting.iter().map(|log| log.modified_nanos).max();
            if let Some(newest) = newest {
                newer = newer.max(newest + u64::from(*rival_id < id));
            }
        }
        Some(newer)
    }

    /// Puts a job's logs back where a peer has newer ones by now, which come first, and where it
    /// has stood still for long: others wait for its place, or for their peer. One that has given
    /// way often goes on; as the peer may lack what its newer logs have, nothing is mended by it.
    fn give_way(&mut self, id: BackendId, now: Now) {
        if self.backends[&id].job.is_none() {
            return;
        }
        let newer = self.newer_than_rivals(id).unwrap_or(0);
        let backend = self.backends.get_mut(&id).expect("it is known");
        let Some(job) = &mut backend.job else {
            return;
        };
        let has_older = job.logs().iter().any(|log| log.modified_nanos < newer);
        let goes_on = backend.gave_way >= RECONCILE_GIVES_WAY_MAX;
        if has_older && goes_on {
            job.trust_no_peer();
        }
        let gives_way = has_older && !goes_on;
        if gives_way || job.blocked_for(now) > RECONCILE_BLOCKED_MAX {
            backend.gave_way += u32::from(gives_way);
            self.put_back(id, now);
        }
    }

    fn step(&mut self, id: BackendId, now: Now) -> Progress {
        let mut backend = self.backends.remove(&id).expect("it is known");
        let delay = self.settings.reconcile.delay;
        let is_blocked = !backend.is_in_order();
        let has_newest = backend.has_newest();
        let progress = match (&mut backend.job, &mut backend.differences) {
            (Some(job), Some(differences)) => {
                let (others, by_name) = (&self.backends, &self.by_name);
                let named = |name: &str| others.get(by_name.get(name)?);
                let peer_waits = |name: &str| {
                    let why = named(name)?.why_not_believed(delay, now);
                    why.filter(|_| !failpoint!(TrustBehindPeer))
                };
                let has_logs = |name: &str| named(name).is_some_and(Backend::has_logs);
                let is_left = |name: &str, key: &KeyId| {
                    let differences = named(name).and_then(|peer| peer.differences.as_ref());
                    differences.is_some_and(|differences| differences.may_have(key))
                };
                let mut cx = JobContext {
                    disk: &mut self.disk,
                    differences,
                    surroundings: &mut self.surroundings,
                    written_unix: self.written_unix,
                    is_blocked,
                    has_newest,
                    peer_waits: &peer_waits,
                    given: &backend.given,
                    has_logs: &has_logs,
                    is_left: &is_left,
                    said: &mut backend.said,
                    now,
                };
                let progress = job.step(&mut cx);
                if let Some(info) = &backend.info
                    && differences.is_read()
                {
                    info.counters.reconcile.left.set(differences.left());
                }
                progress
            }
            _ => Progress::Waiting {
                until: Duration::MAX,
            },
        };
        self.backends.insert(id, backend);
        self.take_actions(id, now);
        if progress == Progress::Done {
            self.report(id);
            self.end_job(id);
            // Another one can begin.
            self.look_at = Duration::ZERO;
        }
        progress
    }

    /// Tells the checkpointer that a job's logs are compared.
    fn report(&mut self, id: BackendId) {
        let backend = self.backends.get_mut(&id).expect("it is known");
        backend.gave_way = 0;
        if backend.waiting.is_empty() {
            backend.given.clear();
        }
        if let Some(job) = &mut backend.job {
            let logs = job.take_logs();
            backend.newest_compared = job.newest().cloned().max(backend.newest_compared.take());
            self.outbox
                .checkpointer(CheckpointerMessage::Compared { backend: id, logs });
        }
    }

    fn end_job(&mut self, id: BackendId) {
        if let Some(backend) = self.backends.get_mut(&id) {
            let ended = backend.job.take();
            if !backend.has_work() {
                backend.tell_waits_for(None);
            }
            self.close(ended);
        }
    }

    /// Ends a job, and has its logs wait for another one.
    fn put_back(&mut self, id: BackendId, now: Now) {
        if let Some(backend) = self.backends.get_mut(&id) {
            let ended = backend.put_back(now);
            self.close(ended);
        }
    }

    /// Closes a job's connections.
    fn close(&mut self, job: Option<Job<D::File>>) {
        for slot in job.into_iter().flat_map(Job::end) {
            self.actions.push_back(Action::Close(slot));
            self.slots[slot] = None;
            self.free_slots.push(slot);
        }
    }

    /// Translates what a job wants done on its connections.
    fn take_actions(&mut self, id: BackendId, now: Now) {
        let Some(job) = self
            .backends
            .get_mut(&id)
            .and_then(|backend| backend.job.as_mut())
        else {
            return;
        };
        while job.slots.len() < job.comparison.slots() {
            let slot = self.free_slots.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() - 1
            });
            self.slots[slot] = Some((id, job.slots.len()));
            job.slots.push(slot);
        }
        while let Some(action) = job.comparison.poll_action(now) {
            self.actions.push_back(match action {
                Action::Connect(at, address) => Action::Connect(job.slots[at], address),
                Action::Transmit(at) => Action::Transmit(job.slots[at]),
                Action::Close(at) => Action::Close(job.slots[at]),
            });
        }
    }

    /// Tells the job that a slot's connection is of; it may have ended. What it wants done is taken
    /// when the driver asks for it: what still comes of a connection that it wants closed must not
    /// be taken for the next one's.
    fn at_slot(&mut self, slot: usize, tell: impl FnOnce(&mut Job<D::File>, usize)) {
        let Some((id, at)) = self.slots[slot] else {
            return;
        };
        let backend = self.backends.get_mut(&id);
        if let Some(job) = backend.and_then(|backend| backend.job.as_mut()) {
            tell(job, at);
            self.heard.insert(id);
        }
    }
}

impl<D: Disk, S: Surroundings> Connected for Reconciler<D, S> {
    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn poll_action(&mut self, now: Now) -> Option<Action> {
        while self.actions.is_empty() {
            let id = self.heard.pop_first()?;
            self.take_actions(id, now);
        }
        self.actions.pop_front()
    }

    fn outgoing(&self, slot: usize) -> [&[u8]; 2] {
        let Some((id, at)) = self.slots[slot] else {
            return [&[]; 2];
        };
        let backend = self.backends.get(&id);
        let job = backend.and_then(|backend| backend.job.as_ref());
        job.map_or([&[]; 2], |job| job.comparison.outgoing(at))
    }

    fn keepalive_interval(&self, _slot: usize) -> Duration {
        self.settings.keepalive_interval
    }

    fn handle_connected(&mut self, slot: usize, segment_bytes: usize, now: Now) {
        self.at_slot(slot, |job, at| {
            job.comparison.handle_connected(at, segment_bytes, now)
        });
    }

    fn handle_sent(&mut self, slot: usize, bytes: usize, now: Now) {
        self.at_slot(slot, |job, at| job.comparison.handle_sent(at, bytes, now));
    }

    fn handle_received(&mut self, slot: usize, bytes: &[u8], now: Now) {
        self.at_slot(slot, |job, at| {
            job.comparison.handle_received(at, bytes, now)
        });
    }

    fn handle_closed(&mut self, slot: usize, why: String, now: Now) {
        self.at_slot(slot, |job, at| job.comparison.handle_closed(at, why, now));
    }
}
