//! "Synced up to here": how far all logs went at an instant, and whether that much is settled.
//!
//! A point records each log's identity and its length at that instant. The folders are listed for
//! that, since an inotify event may not have come yet. A last line without newline counts: it is
//! settled when the rest of it has been written, or its log is closed. A log is settled up to its
//! recorded length when the ledger has it so, or had it so when it closed the log. A backend is
//! settled when all its logs are, and a durable checkpoint contains that.
//!
//! A backend whose folder cannot be listed is not settled, and holds up nobody else (G6). Its part
//! of the point is taken once its folder can be listed: that is at least what it had before.
//!
//! Logs that had left their folder before the point was taken, and of which something is not
//! delivered, are part of it too (`away`).
//!
//! A log that is not settled and has left its folder (deleted, moved away, emptied, its folder
//! covered by a mount) is *gone*: its bytes are missing, and are reported as gone, since nobody
//! will deliver them as long as they are away. It is looked for again, as it may come back. If all
//! that it had is in a copy (it was replaced), it is settled once the copy is, as far as it went.
//!
//! Logs are settled in their order, so only the first unsettled one is checked, after those that
//! are gone: a check costs the same for any backlog. If nothing changes, that log is checked on the
//! disk too.

mod away;
mod listing;
mod log;
mod logs;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::backend::{BackendLedger, ClosedFile};
use crate::ledger::identity::LogKey;
use crate::limits::{
    SYNC_POINT_GONE_PER_LOOK, SYNC_POINT_LOGS_MAX, SYNC_POINT_LOOK, SYNC_POINT_LOOK_IDLE,
};
use crate::replay::checkpointer::backend_state::{BackendState, BackendStates, Context};
use crate::replay::disk::{Area, Disk, OpenFile};
use crate::replay::messages::{AwayLog, BackendId, BackendInfo, ControlMessage};
use crate::status::sync_point::{PointBackend, PointBoard};
use away::{AwayLogs, unread_entries};
use listing::{Backends, Listed, Lister, NotListed, named};
use log::Log;

/// All points that are not settled.
#[derive(Debug, Default)]
pub(super) struct Points {
    points: Vec<Point>,
    /// Logs that a new point has to count although no folder has them.
    away: AwayLogs,
    /// The first of them, as the controller was told it last.
    told_away: BTreeMap<BackendId, Box<str>>,
    /// When the points are checked next, monotonic.
    look_at: Duration,
}

#[derive(Debug)]
struct Point {
    id: u64,
    board: Arc<PointBoard>,
    /// Backends that are not settled.
    pending: Vec<Pending>,
}

/// A backend of a point that is not settled.
#[derive(Debug, Default)]
struct Pending {
    /// Its place on the board.
    place: usize,
    /// Whether its folder was listed. Until then it has no logs.
    is_listed: bool,
    /// Its logs that are not known to be settled, the last one first.
    logs: Vec<Log>,
    /// Bytes of all these logs.
    bytes: u64,
    /// Logs that are gone; the one that was looked for longest ago is first.
    gone: VecDeque<Gone>,
    /// Its ledger's counts at the last look.
    seen: Option<(u64, Option<u64>)>,
    /// When the disk was looked at last, monotonic.
    disk_seen_at: Option<Duration>,
    /// The ledger's count of changes when all its logs were first seen to be settled.
    settled_at: Option<u64>,
    /// How many logs were gone when all others were first seen to be settled, and the ledger's
    /// count of changes then.
    rest_settled_at: Option<(usize, u64)>,
    /// Lines that had been rejected when the point was taken.
    rejected_before: Option<u64>,
    /// Logs that were there when it was taken, and whose keys are not compared.
    uncompared: BTreeSet<LogKey>,
}

/// A log that is not settled and not in its folder.
#[derive(Debug)]
struct Gone {
    log: Log,
    /// Bytes of it that are not settled.
    missing: u64,
}

/// How a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Settled,
    /// So many of its bytes are not settled.
    Missing(u64),
    /// The same, and they are not in its folder.
    Gone(u64),
}

impl Points {
    /// When [`Points::look`] is due, monotonic.
    pub(super) fn deadline(&self) -> Duration {
        if self.points.is_empty() {
            Duration::MAX
        } else {
            self.look_at
        }
    }

    /// Forgets a point that nobody asks about any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.points.retain(|point| point.id != id);
    }

    /// The ledger has closed a log. From now on what it knew of the log is kept here.
    pub(super) fn handle_closed(&mut self, backend: &BackendInfo, closed: &ClosedFile) {
        self.away.handle_closed(backend.id, closed);
        let key = closed.resume.identity.key();
        for pending in self.pending_of(&backend.name) {
            for gone in &mut pending.gone {
                gone.log.handle_closed(closed);
            }
            if let Some(log) = pending.find(&closed.resume.name, key) {
                log.handle_closed(closed);
            }
        }
    }

    /// What is not settled of a backend, in each point.
    fn pending_of(&mut self, backend: &str) -> impl Iterator<Item = &mut Pending> {
        self.points.iter_mut().flat_map(move |point| {
            let backends = &point.board.backends;
            let pending = point.pending.iter_mut();
            pending.filter(move |pending| *backends[pending.place].name == *backend)
        })
    }

    /// All that a log had which has gone is in another file.
    pub(super) fn handle_copied<D: Disk>(
        &mut self,
        backend: BackendId,
        key: LogKey,
        copy: LogKey,
        backend_states: &BackendStates,
        cx: &Context<'_, D>,
    ) {
        let backend_state = backend_states.get(backend.index()).and_then(Option::as_ref);
        let Some(backend_state) = backend_state else {
            return;
        };
        // One that an earlier process had read.
        let unread = unread_entries(backend_state).find(|log| log.key == key);
        self.away
            .handle_copied(backend, key, copy, unread, cx.now.unix);
        for pending in self.pending_of(backend_state.name()) {
            let gone = pending.gone.iter_mut().map(|gone| &mut gone.log);
            for log in pending.logs.iter_mut().chain(gone) {
                log.handle_copied(key, copy);
            }
        }
    }

    /// A log has left its folder.
    pub(super) fn handle_away<D: Disk>(
        &mut self,
        away: AwayLog,
        backend_states: &BackendStates,
        cx: &mut Context<'_, D>,
    ) {
        let backend_state = backend_states
            .get(away.backend.index())
            .and_then(Option::as_ref);
        let ledger = backend_state.and_then(BackendState::ledger);
        let (name, was_read) = (Arc::clone(&away.name), away.unread_bytes == 0);
        let bytes = self.away.handle_away(away, ledger, cx.now.unix);
        if let Some(backend_state) = backend_state
            && was_read
            && bytes > 0
            && !failpoint!(SayNoLoss)
        {
            let (backend, file) = (&**backend_state.name(), &*name);
            tracing::warn!(
                backend,
                file,
                bytes,
                "the log was moved away or deleted under us when these bytes were read and not \
                 acknowledged: they are delivered, unless the backend or this server fails before; \
                 should it come back within a day, it goes on where it was"
            );
        }
        if let Some(backend_state) = backend_state {
            self.count_away(backend_state, cx);
        }
    }

    /// A backend is forgotten.
    pub(super) fn forget_backend(&mut self, backend: BackendId) {
        self.away.forget(backend);
        self.told_away.remove(&backend);
    }

    /// Counts what has left the folder of a backend undelivered, and tells the controller the first
    /// such log.
    pub(super) fn count_away<D: Disk>(
        &mut self,
        backend_state: &BackendState,
        cx: &mut Context<'_, D>,
    ) {
        let info = backend_state.info();
        let away = if self.away.may_miss(backend_state) {
            // Nothing tells of one that is back and was never begun.
            let there = match cx.disk.entries(Area::Logs, &info.name) {
                // What is in it is not known. The reader says so.
                Err(_) => return,
                Ok(entries) => entries.iter().map(|entry| entry.meta.key()).collect(),
            };
            self.away.undelivered(backend_state, there, cx.now.unix)
        } else {
            Vec::new()
        };
        // What a copy has is still to be delivered, as the copy's.
        let lost = || away.iter().filter(|log| log.copy.is_none());
        let bytes = lost().map(|log| log.bytes - log.settled).sum();
        info.counters.away_logs.set(lost().count() as u64);
        info.counters.away_bytes.set(bytes);
        let first = lost().map(|log| &log.name).min();
        if first != self.told_away.get(&info.id) {
            let first = first.cloned();
            match &first {
                Some(first) => self.told_away.insert(info.id, first.clone()),
                None => self.told_away.remove(&info.id),
            };
            let backend = info.id;
            cx.outbox
                .control(ControlMessage::LogsAway { backend, first });
        }
    }

    /// What is undelivered in logs of a backend that are away and may come back, as a sentence, if
    /// anything is.
    pub(super) fn left(&mut self, backend_state: &BackendState, unix: u64) -> Option<String> {
        let (backend, there) = (backend_state.info().id, HashSet::new());
        let away = self
            .away
            .missing(backend, &there, backend_state.ledger(), unix);
        let unsettled = |log: &Log| log.bytes - log.settled;
        let bytes: u64 = away.iter().map(unsettled).sum();
        (bytes > 0).then(|| {
            let logs = away.iter().filter(|log| unsettled(log) > 0).count();
            format!("{bytes} bytes in {logs} logs that are not there and were not delivered")
        })
    }

    /// Takes a point, and reports it to the controller.
    pub(super) fn take<D: Disk>(
        &mut self,
        id: u64,
        is_backend: fn(&str) -> bool,
        backend_states: &BackendStates,
        cx: &mut Context<'_, D>,
    ) {
        let mut lister = Lister {
            away: &mut self.away,
            backend_states,
            room: room(&self.points),
            unix: cx.now.unix,
        };
        let taken = lister.list(cx.disk, is_backend).map(|listed| {
            let mut point = point(id, listed, cx.now);
            point.look(&mut lister, cx);
            let board = Arc::clone(&point.board);
            if !point.pending.is_empty() {
                self.look_at = cx.now.after(SYNC_POINT_LOOK);
                self.points.push(point);
            }
            board
        });
        cx.outbox
            .control(ControlMessage::SyncPointTaken { id, taken });
    }

    /// Checks how far all points are settled.
    pub(super) fn look<D: Disk>(
        &mut self,
        backend_states: &BackendStates,
        cx: &mut Context<'_, D>,
    ) {
        self.look_at = cx.now.after(SYNC_POINT_LOOK);
        let mut lister = Lister {
            away: &mut self.away,
            backend_states,
            room: room(&self.points),
            unix: cx.now.unix,
        };
        self.points.retain_mut(|point| {
            let before = point.pending.len();
            point.look(&mut lister, cx);
            if point.pending.len() < before {
                cx.outbox.control(ControlMessage::SyncPointMoved);
            }
            !point.pending.is_empty()
        });
    }
}

/// How many logs more all points together can remember.
fn room(points: &[Point]) -> usize {
    let known = points.iter().flat_map(|point| &point.pending);
    let known = known.map(|pending| pending.logs.len() + pending.gone.len());
    SYNC_POINT_LOGS_MAX.saturating_sub(known.sum())
}

fn point(id: u64, backends: Backends, now: Now) -> Point {
    let (mut told, mut pending) = (Vec::new(), Vec::new());
    for (place, (name, listed)) in backends.into_iter().enumerate() {
        let mut one = Pending {
            place,
            ..Pending::default()
        };
        let backend = match listed {
            Ok(listed) => {
                let backend = PointBackend::new(name.into(), listed.listing());
                one.handle_listed(listed);
                backend
            }
            Err(why) => {
                one.disk_seen_at = Some(now.monotonic);
                PointBackend::unreadable(name.into(), &why)
            }
        };
        if one.is_listed && one.logs.is_empty() {
            backend.settled.store(true, Ordering::Release);
        } else {
            pending.push(one);
        }
        told.push(backend);
    }
    let board = Arc::new(PointBoard {
        taken_unix: now.unix,
        backends: told,
    });
    Point { id, board, pending }
}

impl Point {
    fn look<D: Disk>(&mut self, lister: &mut Lister<'_>, cx: &mut Context<'_, D>) {
        let board = &self.board;
        self.pending.retain_mut(|pending| {
            let told = &board.backends[pending.place];
            if !pending.is_listed && !pending.list(told, lister, cx) {
                return true;
            }
            let backend_state = named(lister.backend_states, &told.name);
            // A new backend is not known yet, or its state has not been read.
            backend_state.is_none_or(|backend_state| !pending.look(told, backend_state, cx))
        });
    }
}

impl Pending {
    fn handle_listed(&mut self, listed: Listed) {
        self.is_listed = true;
        self.bytes = listed.logs.iter().map(|log| log.bytes).sum();
        self.uncompared = listed.logs.iter().map(|log| log.key).collect();
        self.logs = listed.logs;
        self.disk_seen_at = None;
    }

    /// Tries to list a folder that could not be listed. Returns whether it was.
    fn list<D: Disk>(
        &mut self,
        told: &PointBackend,
        lister: &mut Lister<'_>,
        cx: &mut Context<'_, D>,
    ) -> bool {
        let now = cx.now.monotonic;
        if !self.is_disk_due(now) {
            return false;
        }
        match lister.list_folder(cx.disk, &told.name) {
            Ok(listed) => {
                told.set_listing(listed.listing());
                self.handle_listed(listed);
            }
            Err(NotListed::Unreadable(error)) => told.set_unreadable(&error.to_string()),
            Err(NotListed::TooMany(why)) => told.set_unreadable(&why),
        }
        self.disk_seen_at = (!self.is_listed).then_some(now);
        self.is_listed
    }

    /// Whether the disk is to be looked at again.
    fn is_disk_due(&self, now: Duration) -> bool {
        self.disk_seen_at
            .is_none_or(|at| at.saturating_add(SYNC_POINT_LOOK_IDLE) <= now)
    }

    /// Checks how far it is settled. Returns whether all of it is, durably.
    fn look<D: Disk>(
        &mut self,
        told: &PointBackend,
        backend_state: &BackendState,
        cx: &mut Context<'_, D>,
    ) -> bool {
        let Some(ledger) = backend_state.ledger() else {
            return false;
        };
        let seen = (ledger.changes(), ledger.durable_changes());
        let now = cx.now.monotonic;
        let looks_at_disk = self.is_disk_due(now);
        if self.seen == Some(seen) && !looks_at_disk {
            return false;
        }
        self.seen = Some(seen);
        let mut folder = looks_at_disk.then(|| {
            self.disk_seen_at = Some(now);
            Folder {
                disk: &mut *cx.disk,
                backend: &told.name,
                listed: None,
            }
        });
        let rejected = backend_state.rejected_lines();
        let before = *self.rejected_before.get_or_insert(rejected);
        told.rejected.set(rejected.saturating_sub(before));
        if let Some(folder) = &mut folder {
            self.look_for_gone(ledger, folder);
        }
        let missing = self.look_at_first(ledger, folder.as_mut());
        // What a copy has of one that is gone is still to be delivered.
        let (copied, lost): (Vec<&Gone>, Vec<&Gone>) =
            self.gone.iter().partition(|gone| gone.log.copy.is_some());
        let bytes = |all: &[&Gone]| all.iter().map(|gone| gone.missing).sum::<u64>();
        let (missing, gone) = (missing + bytes(&copied), bytes(&lost));
        told.gone_bytes.set(gone);
        told.gone_logs.set(lost.len() as u64);
        told.gone_log
            .set(lost.iter().map(|gone| &*gone.log.name).min());
        told.missing_bytes.set(missing + gone);
        told.missing_logs
            .set((self.logs.len() + self.gone.len()) as u64);
        let durable_changes = ledger.durable_changes();
        let is_durable = |changes| durable_changes.is_some_and(|durable| durable >= changes);
        if missing + gone > 0 && !failpoint!(SettlePointEarly) {
            let known = self
                .rest_settled_at
                .filter(|known| known.0 == self.gone.len());
            let rest = known.unwrap_or((self.gone.len(), ledger.changes()));
            self.rest_settled_at = (missing == 0).then_some(rest);
            let rest_is_durable = missing == 0 && is_durable(rest.1);
            told.rest_settled.store(rest_is_durable, Ordering::Release);
            return false;
        }
        let settled_at = *self.settled_at.get_or_insert(ledger.changes());
        let is_durable =
            is_durable(settled_at) && self.is_compared(backend_state.info().id, ledger, cx);
        if is_durable {
            told.settled.store(true, Ordering::Release);
        }
        is_durable
    }

    /// Whether the keys of its logs are compared, where they are to be. One that is not there any
    /// more was deleted after that, or nobody can compare it.
    fn is_compared<D: Disk>(
        &mut self,
        backend: BackendId,
        ledger: &BackendLedger,
        cx: &Context<'_, D>,
    ) -> bool {
        if !cx.settings.compares_keys {
            return true;
        }
        let there: BTreeSet<LogKey> = ledger.logs_there().collect();
        let comparing = &cx.comparing;
        self.uncompared
            .retain(|key| there.contains(key) && !comparing.is_compared(backend, *key));
        self.uncompared.is_empty()
    }

    /// Checks logs in their order until one is neither settled nor gone. Returns the unsettled
    /// bytes of that log and of those after it.
    fn look_at_first<D: Disk>(
        &mut self,
        ledger: &BackendLedger,
        mut folder: Option<&mut Folder<'_, D>>,
    ) -> u64 {
        let mut newly_gone = 0;
        while let Some(log) = self.logs.last() {
            match state_of(log, ledger, folder.as_deref_mut()) {
                State::Settled => {}
                State::Gone(missing) if newly_gone < SYNC_POINT_GONE_PER_LOOK => {
                    newly_gone += 1;
                    let log = self.logs.pop().expect("it is the last one");
                    self.bytes -= log.bytes;
                    self.gone.push_back(Gone { log, missing });
                    continue;
                }
                State::Missing(missing) | State::Gone(missing) => {
                    return missing + self.bytes - log.bytes;
                }
            }
            self.bytes -= log.bytes;
            self.logs.pop();
        }
        0
    }

    /// Checks whether logs that were gone are back, or settled nevertheless: a deleted log is still
    /// read while it is open.
    fn look_for_gone<D: Disk>(&mut self, ledger: &BackendLedger, folder: &mut Folder<'_, D>) {
        for _ in 0..self.gone.len().min(SYNC_POINT_GONE_PER_LOOK) {
            let Some(Gone { log, .. }) = self.gone.pop_front() else {
                return;
            };
            match state_of(&log, ledger, Some(&mut *folder)) {
                State::Settled => {}
                State::Missing(_) => {
                    self.bytes += log.bytes;
                    let later = self.logs.partition_point(|other| other.name > log.name);
                    self.logs.insert(later, log);
                }
                State::Gone(missing) => self.gone.push_back(Gone { log, missing }),
            }
        }
    }

    /// The log with this key and, unless it was renamed, this name.
    fn find(&mut self, name: &str, key: LogKey) -> Option<&mut Log> {
        let mut gone = self.gone.iter();
        if let Some(nth) = gone.position(|gone| gone.log.key == key) {
            return Some(&mut self.gone[nth].log);
        }
        let at = self.logs.partition_point(|log| *log.name > *name);
        let is_there = self.logs.get(at).is_some_and(|log| log.key == key);
        // None has it: most likely it is settled.
        if is_there || at == self.logs.len() {
            return self.logs.get_mut(at);
        }
        self.logs.iter_mut().find(|log| log.key == key)
    }
}

/// A backend's folder, which is examined only as far as needed.
struct Folder<'a, D> {
    disk: &'a mut D,
    backend: &'a str,
    /// The bytes of its logs.
    listed: Option<HashMap<LogKey, u64>>,
}

impl<D: Disk> Folder<'_, D> {
    /// How long a log is now; `None` if it is gone.
    fn bytes_of(&mut self, log: &Log) -> io::Result<Option<u64>> {
        if self.listed.is_none()
            && let Ok(open) = self.disk.open(Area::Logs, self.backend, &log.name)
        {
            let meta = open.meta()?;
            if log.key == meta.key() {
                return Ok(Some(meta.bytes));
            }
        }
        // It may have been renamed.
        if self.listed.is_none() {
            let entries = self.disk.entries(Area::Logs, self.backend)?;
            let listed = entries
                .iter()
                .map(|entry| (entry.meta.key(), entry.meta.bytes));
            self.listed = Some(listed.collect());
        }
        let listed = self.listed.as_ref().expect("it is listed by now");
        Ok(listed.get(&log.key).copied())
    }
}

/// The state of a log, up to its length when the point was taken. Without a folder none is gone.
fn state_of<D: Disk>(
    log: &Log,
    ledger: &BackendLedger,
    folder: Option<&mut Folder<'_, D>>,
) -> State {
    let known = ledger.settled_to(log.key);
    let settled = known.unwrap_or(0).max(log.settled);
    let missing = log.bytes.saturating_sub(settled);
    if missing == 0 || log.is_settled_as_copy(ledger) {
        return State::Settled;
    }
    match folder.map(|folder| folder.bytes_of(log)) {
        // What was truncated is not there any more.
        Some(Ok(Some(bytes))) if bytes.min(log.bytes) <= settled => State::Gone(missing),
        // It is not in the folder: what is known about it remains valid while it is away.
        Some(Ok(None)) => {
            let known = ledger.settled_anywhere(log.key);
            match log.bytes.saturating_sub(known.unwrap_or(0).max(settled)) {
                0 => State::Settled,
                missing => State::Gone(missing),
            }
        }
        // It is there, or cannot be examined.
        Some(Ok(Some(_)) | Err(_)) | None => State::Missing(missing),
    }
}
