//! Deletes finished logs: the last thing that happens to a line (G10).
//!
//! ```text
//!   every line is settled, and a durable checkpoint contains that
//!     ──▶ it is the same file, no longer than what is settled, and quiet for the grace period
//!     ──▶ nobody has it open for writing (lease) ──▶ it has not grown meanwhile
//!     ──▶ the reconciler has compared its keys, where `sync.reconcile` is on
//!     ──▶ deleted; the reader is told; we keep it open
//!     ──▶ reader and workers have released it ──▶ looked at once more ──▶ closed
//! ```
//!
//! A log with a second hard link loses only the name that it has here. The ledger keeps its entry,
//! as for a log that was moved away.
//!
//! A log that cannot be deleted does not hold up others. (If the checkpoint is lost too, that log
//! is sent again, after newer logs that are gone.)
//!
//! A writer may have opened the file in the instant before it was deleted, and nothing can prevent
//! that. So the file stays open until a later look, and what was written meanwhile is rejected, not
//! lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::backend::{ClosedFile, FinishedFile};
use crate::ledger::file::Place;
use crate::ledger::rejected::RejectedLine;
use crate::limits::{
    DELETED_LOG_WATCHED, DELETED_LOGS_WATCHED_MAX, IDENTITY_PREFIX_BYTES_MAX, RECONCILE_LOGS_MAX,
    REJECTED_WRITE_BYTES_MAX, WRITERS_LOOK_INTERVAL,
};
use crate::replay::checkpointer::backend_state::{
    BackendState, BackendStates, Context, LateCounts,
};
use crate::replay::checkpointer::comparing::CompareState;
use crate::replay::disk::{Area, Disk, LogLease, LogMeta, OpenFile, has_last_read, read_fully};
use crate::replay::logged::LoggedOnce;
use crate::replay::messages::{BackendId, FileId, FinishedLog, ReaderMessage, ReconcilerMessage};

/// The reason code of lines that came too late.
const REASON: &str = "written_after_deletion";
const DETAIL: &str = "the line was written to the log after the log had been finished and deleted";

/// A deleted log that is still open.
#[derive(Debug)]
struct Watched<L> {
    backend: BackendId,
    log: L,
    /// When it was deleted, monotonic.
    since: Duration,
    /// Where the unsettled rest begins; `None` while other threads may still settle some of it.
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    closed: ClosedFile,
    /// Where the next look begins, and how many lines begin before that. It may be inside the last
    /// of those lines.
    next: Place,
}

/// A log whose modification time lies in the future, and since when it has looked the same.
#[derive(Debug)]
struct Observed {
    bytes: u64,
    modified_nanos: u64,
    since: Duration,
}

/// What became of a log that is finished according to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reaping {
    Deleted,
    /// It may still grow. Newer logs wait too, since logs are deleted in order, from the oldest.
    NotYet,
    /// It is not at its name any more. The reader will report that; other logs do not wait.
    Elsewhere,
    /// Somebody has it open for writing, or it cannot be deleted. Other logs do not wait.
    Kept,
    /// Its keys are to be compared first. Newer logs can be compared with it, and are deleted after
    /// it.
    Compare(FinishedLog),
}

/// A finished log that could not be deleted.
#[derive(Debug)]
struct Kept {
    /// When that was tried last, monotonic.
    tried_at: Duration,
    /// It is at its name.
    is_there: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct LogReaper<L> {
    watched: BTreeMap<FileId, Watched<L>>,
    observed: BTreeMap<FileId, Observed>,
    /// Logs that could not be deleted.
    kept: BTreeMap<FileId, Kept>,
    /// When the processes that have a log open may be looked up next, monotonic.
    writers_looked_at: Duration,
    /// What has been logged about a file, and is not logged again.
    logged: BTreeSet<(FileId, String)>,
    /// That leases do not work here.
    unknown: LoggedOnce,
}

impl<L> Default for LogReaper<L> {
    fn default() -> Self {
        Self {
            watched: BTreeMap::new(),
            observed: BTreeMap::new(),
            kept: BTreeMap::new(),
            writers_looked_at: Duration::ZERO,
            logged: BTreeSet::new(),
            unknown: LoggedOnce::default(),
        }
    }
}

impl<L: OpenFile> LogReaper<L> {
    /// Whether a deleted log of this backend is still to be looked at.
    pub(super) fn watches(&self, backend: BackendId) -> bool {
        let mut watched = self.watched.values();
        watched.any(|watched| watched.backend == backend)
    }

    /// The ledger has closed a deleted file: no other thread has anything of it any more.
    pub(super) fn handle_closed(&mut self, closed: ClosedFile) {
        let next = Place {
            line: closed.resume.line,
            byte: closed.resume.byte,
        };
        if let Some(watched) = self.watched.get_mut(&closed.id) {
            watched.rest = Some(Rest { closed, next });
        }
    }

    /// Looks once more at deleted files that the ledger has closed, and closes them. With `last`,
    /// the others are closed too.
    pub(super) fn look_again<D: Disk<File = L>>(
        &mut self,
        backend_states: &mut BackendStates,
        last: bool,
        cx: &mut Context<'_, D>,
    ) {
        self.watched.retain(|_, watched| {
            let backend_state = backend_states[watched.backend.index()]
                .as_mut()
                .expect("a deleted log's backend has a backend state");
            let Some(rest) = &mut watched.rest else {
                return !last;
            };
            let is_new = watched.since.saturating_add(DELETED_LOG_WATCHED) > cx.now.monotonic;
            if is_new && !last {
                return true;
            }
            match reject_rest(&watched.log, rest, backend_state, cx) {
                Ok(()) => false,
                Err(why) => {
                    let (backend, file) = (&**backend_state.name(), &*rest.closed.resume.name);
                    let outlook = match last {
                        true => {
                            "this process ends, so they are lost: make the state folder \
                                 writable, and compare the masters (sync.reconcile)"
                        }
                        false => "it is tried again",
                    };
                    tracing::error!(
                        backend,
                        file,
                        why,
                        "lines written to a log after it was deleted can't be rejected; {outlook}"
                    );
                    !last
                }
            }
        });
    }

    /// Deletes each backend's finished logs in their order, up to the first that is not finished.
    /// Returns whether another look is worthwhile soon: some logs were deleted, so others may
    /// follow, or as many as allowed are still open.
    pub(super) fn reap<D: Disk<File = L>>(
        &mut self,
        backend_states: &mut BackendStates,
        cx: &mut Context<'_, D>,
    ) -> bool {
        let mut looked_at: BTreeSet<FileId> = BTreeSet::new();
        let mut has_more = false;
        // Kept logs come first in the order, so there must be room for others after them.
        let files_max = match cx.settings.compares_keys {
            true => RECONCILE_LOGS_MAX,
            false => DELETED_LOGS_WATCHED_MAX + self.kept.len() + 1,
        };
        for backend_state in backend_states.iter_mut().flatten() {
            let (files, not_asked) = finished_logs(backend_state, files_max, cx);
            let deletable: Vec<FileId> = files.iter().map(|(file, _)| *file).collect();
            looked_at.extend(&deletable);
            has_more |= self.reap_in_order(backend_state, files, cx);
            let counters = &backend_state.info().counters;
            counters.logs_kept.set(self.logs_kept(&deletable));
            count_comparisons(backend_state, not_asked, cx);
        }
        forget_compared(backend_states, cx);
        self.kept.retain(|file, _| looked_at.contains(file));
        self.observed.retain(|file, _| looked_at.contains(file));
        self.logged.retain(|(file, _)| looked_at.contains(file));
        has_more
    }

    /// Deletes these logs of a backend in their order, up to the first that is not finished, and
    /// has those compared whose keys are to be. Returns what [`LogReaper::reap`] does.
    fn reap_in_order<D: Disk<File = L>>(
        &mut self,
        backend_state: &mut BackendState,
        files: Vec<(FileId, Arc<str>)>,
        cx: &mut Context<'_, D>,
    ) -> bool {
        let backend = backend_state.info().id;
        let mut has_more = false;
        let mut to_compare = Vec::new();
        let mut older_waits = false;
        for (file, name) in files {
            if self.watched.len() >= DELETED_LOGS_WATCHED_MAX {
                has_more = true;
                break;
            }
            let is_kept = |kept: &Kept| {
                let until = kept.tried_at.saturating_add(cx.settings.release_interval);
                cx.now.monotonic < until
            };
            if self.kept.get(&file).is_some_and(is_kept) {
                continue;
            }
            self.kept.remove(&file);
            match compare_state(backend_state, file, cx) {
                CompareState::Waiting => {
                    older_waits = true;
                    continue;
                }
                CompareState::Compared if older_waits => break,
                CompareState::Compared | CompareState::NotAsked => {}
            }
            let is_there = match self.try_reap(backend_state, file, &name, cx) {
                Reaping::Compare(log) => {
                    older_waits = true;
                    cx.comparing.handle_asked(backend, &log, cx.now.unix);
                    to_compare.push(log);
                    continue;
                }
                Reaping::Deleted => {
                    has_more = true;
                    continue;
                }
                Reaping::NotYet => break,
                Reaping::Elsewhere => false,
                Reaping::Kept => true,
            };
            let tried_at = cx.now.monotonic;
            self.kept.insert(file, Kept { tried_at, is_there });
        }
        if !to_compare.is_empty() {
            cx.outbox.reconciler(ReconcilerMessage::Compare {
                backend,
                logs: to_compare,
            });
        }
        has_more
    }

    /// How many of these logs are kept.
    fn logs_kept(&self, files: &[FileId]) -> u64 {
        let kept = files.iter().filter_map(|file| self.kept.get(file));
        kept.filter(|kept| kept.is_there).count() as u64
    }

    fn try_reap<D: Disk<File = L>>(
        &mut self,
        backend_state: &mut BackendState,
        file: FileId,
        name: &Arc<str>,
        cx: &mut Context<'_, D>,
    ) -> Reaping {
        self.reap_one(backend_state, file, name, cx)
            .unwrap_or_else(|cause| {
                let why = cause.to_string();
                if self.logged.insert((file, why.clone())) {
                    tracing::warn!(
                        backend = &**backend_state.name(),
                        file = &**name,
                        why,
                        "cannot delete a finished log; it is tried again, and others do not wait"
                    );
                }
                Reaping::Kept
            })
    }

    /// Deletes a log if it is finished.
    fn reap_one<D: Disk<File = L>>(
        &mut self,
        backend_state: &mut BackendState,
        file: FileId,
        name: &Arc<str>,
        cx: &mut Context<'_, D>,
    ) -> io::Result<Reaping> {
        let backend = Arc::clone(backend_state.name());
        let ledger = backend_state.ledger_in_good_order().expect("it was there");
        let finished = ledger
            .finished(file)
            .expect("a deletable file is durably settled");
        let log = match cx.disk.open(Area::Logs, &backend, name) {
            Ok(log) => log,
            // The reader will notice, and report it.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Reaping::Elsewhere),
            Err(cause) => return Err(cause),
        };
        let meta = log.meta()?;
        if !is_same(&log, &meta, &finished)? {
            return Ok(Reaping::Elsewhere);
        }
        let may_go = meta.bytes == finished.end.byte
            && self.has_been_quiet(file, &meta, cx.settings.closed_after, cx.now);
        if !may_go {
            return Ok(Reaping::NotYet);
        }
        if !self.is_ours_alone(&backend, file, name, &log, cx)? {
            return Ok(Reaping::Kept);
        }
        let last = log.meta()?;
        if (last.bytes, last.modified_nanos) != (meta.bytes, meta.modified_nanos) {
            return Ok(Reaping::NotYet);
        }
        if compare_state(backend_state, file, cx) == CompareState::NotAsked {
            return Ok(Reaping::Compare(FinishedLog {
                name: Arc::clone(name),
                key: meta.key(),
                bytes: finished.end.byte,
                modified_nanos: meta.modified_nanos,
            }));
        }
        let is_elsewhere = delete(backend_state, file, name, &finished, &log, &last, cx)?;
        if !is_elsewhere {
            let watched = Watched {
                backend: backend_state.info().id,
                log,
                since: cx.now.monotonic,
                rest: None,
            };
            self.watched.insert(file, watched);
        }
        Ok(Reaping::Deleted)
    }

    /// Whether nobody has a log open for writing, as far as can be told; from then on, its lease
    /// tells. Logs who has, or that it cannot be told.
    fn is_ours_alone<D: Disk<File = L>>(
        &mut self,
        backend: &str,
        file: FileId,
        name: &str,
        log: &L,
        cx: &mut Context<'_, D>,
    ) -> io::Result<bool> {
        match log.lease()? {
            LogLease::Alone => {}
            LogLease::Writers => {
                self.log_writers(backend, file, name, log, cx);
                return Ok(false);
            }
            LogLease::Unknown | LogLease::NotPermitted if !self.unknown.begins() => {}
            LogLease::NotPermitted => {
                tracing::warn!(
                    backend,
                    file = name,
                    "this process may not ask whether somebody writes to a log, as the log is \
                     another user's and it lacks CAP_LEASE: only the grace period protects \
                     finished logs; run it as the logs' owner, or with that capability (systemd: \
                     AmbientCapabilities=CAP_LEASE)"
                );
            }
            LogLease::Unknown => {
                tracing::warn!(
                    backend,
                    file = name,
                    "this file system cannot tell whether somebody writes to a log: only the grace \
                     period protects finished logs"
                );
            }
        }
        Ok(true)
    }

    /// Logs once that a finished log is kept as long as somebody has it open for writing.
    fn log_writers<D: Disk<File = L>>(
        &mut self,
        backend: &str,
        file: FileId,
        name: &str,
        log: &L,
        cx: &mut Context<'_, D>,
    ) {
        let why = "somebody has it open for writing";
        if self.logged.insert((file, why.to_owned())) {
            // Finding out takes a look at every process.
            let looks = cx.now.monotonic >= self.writers_looked_at;
            let who = looks.then(|| log.writers()).flatten();
            if looks {
                self.writers_looked_at = cx.now.after(WRITERS_LOOK_INTERVAL);
            }
            let who = who.as_deref().unwrap_or("not known");
            tracing::warn!(
                backend,
                file = name,
                who,
                "a finished log is kept: somebody has it open for writing; others do not wait"
            );
        }
    }

    /// Whether a log has not changed for `closed_after`. A modification time in the future means
    /// nothing; then what counts is how long the log has looked the same.
    fn has_been_quiet(
        &mut self,
        file: FileId,
        meta: &LogMeta,
        closed_after: Duration,
        now: Now,
    ) -> bool {
        let now_nanos = u128::from(now.unix) * 1_000_000_000;
        if let Some(age) = now_nanos.checked_sub(meta.modified_nanos.into()) {
            return age >= closed_after.as_nanos();
        }
        let seen = Observed {
            bytes: meta.bytes,
            modified_nanos: meta.modified_nanos,
            since: now.monotonic,
        };
        let before = self.observed.entry(file).or_insert(seen);
        if (before.bytes, before.modified_nanos) != (meta.bytes, meta.modified_nanos) {
            *before = Observed {
                bytes: meta.bytes,
                modified_nanos: meta.modified_nanos,
                since: now.monotonic,
            };
        }
        now.monotonic.saturating_sub(before.since) >= closed_after
    }
}

/// The first `files_max` logs of a backend that its ledger has as finished, in their order, and how
/// many more are to be compared.
fn finished_logs<D: Disk>(
    backend_state: &mut BackendState,
    files_max: usize,
    cx: &Context<'_, D>,
) -> (Vec<(FileId, Arc<str>)>, usize) {
    let counted = match cx.settings.compares_keys {
        true => usize::MAX,
        false => files_max,
    };
    let mut files = backend_state
        .ledger_in_good_order()
        .map_or_else(Vec::new, |ledger| ledger.deletable_files(counted));
    let not_asked = files.len().saturating_sub(files_max);
    files.truncate(files_max);
    (files, not_asked)
}

/// Publishes how far the comparison of a backend's logs is.
fn count_comparisons<D: Disk>(backend_state: &BackendState, not_asked: usize, cx: &Context<'_, D>) {
    let backend = backend_state.info().id;
    let counters = &backend_state.info().counters.reconcile;
    let (waiting, since) = cx.comparing.waiting(backend);
    counters.since_unix.set(since);
    counters.logs_waiting.set(waiting);
    counters.logs_compared.set(cx.comparing.compared(backend));
    counters.logs_not_asked.set(not_asked as u64);
}

/// Deletes an open log that may go, of which `meta` was just looked up, and reports that. Returns
/// whether it still exists under another name, and with it its entry in the ledger.
fn delete<D: Disk>(
    backend_state: &mut BackendState,
    file: FileId,
    name: &Arc<str>,
    finished: &FinishedFile,
    log: &D::File,
    meta: &LogMeta,
    cx: &mut Context<'_, D>,
) -> io::Result<bool> {
    let backend = Arc::clone(backend_state.name());
    let ledger = backend_state.ledger_in_good_order().expect("it was there");
    let end = finished.end;
    let is_elsewhere = meta.links > 1;
    // Every line up to here is settled, that is on disk, and nothing follows.
    assert_eq!(
        ledger.finished(file).as_ref(),
        Some(finished),
        "{backend}/{name} is deleted when it is durably settled"
    );
    assert_eq!(
        meta.bytes, end.byte,
        "{backend}/{name} is deleted when all of it is settled"
    );
    cx.disk.remove(Area::Logs, &backend, name)?;
    log.end_lease().unwrap_or_else(
        |why| tracing::debug!(file = &**name, %why, "a lease could not be released"),
    );
    if is_elsewhere {
        ledger.file_moved(file, name, cx.now.unix.max(1));
    } else {
        ledger.file_deleted(file);
    }
    tracing::info!(
        backend = &*backend,
        file = &**name,
        lines = end.line,
        bytes = end.byte,
        is_elsewhere,
        "finished and deleted"
    );
    backend_state.info().counters.logs_deleted.add(1);
    cx.outbox.reader(ReaderMessage::FileDeleted {
        backend: backend_state.info().id,
        file,
        key: meta.key(),
        is_elsewhere,
    });
    Ok(is_elsewhere)
}

/// Whether an open log is this finished file.
fn is_same(log: &impl OpenFile, meta: &LogMeta, finished: &FinishedFile) -> io::Result<bool> {
    let identity = &finished.identity;
    let mut prefix = [0; IDENTITY_PREFIX_BYTES_MAX];
    let covered = (identity.prefix_bytes as usize).min(prefix.len());
    let filled = read_fully(log, 0, &mut prefix[..covered])?;
    let begins_so = identity.is_of(meta.key(), &prefix[..filled]);
    Ok(begins_so && has_last_read(log, identity, &finished.last_read)?)
}

/// Rejects the lines in a deleted log that nobody has settled.
fn reject_rest<D: Disk>(
    log: &D::File,
    rest: &mut Rest,
    backend_state: &mut BackendState,
    cx: &mut Context<'_, D>,
) -> Result<(), String> {
    while !failpoint!(LookNoMore) {
        let piece = read_late(log, rest.next.byte).map_err(|why| why.to_string())?;
        let Some(piece) = piece else {
            return Ok(());
        };
        let (lines, next) = late_lines(&piece, rest, backend_state.name(), cx.now);
        backend_state
            .reject(REASON, &lines, cx)
            .map_err(|why| why.to_string())?;
        let (backend, file) = (&**backend_state.name(), &*rest.closed.resume.name);
        tracing::warn!(
            backend,
            file,
            line = rest.next.line + 1,
            lines = lines.len(),
            "lines were written to a log after it had been deleted: they are rejected"
        );
        rest.next = next;
    }
    Ok(())
}

/// What was found in a deleted log.
struct LatePiece {
    bytes: Vec<u8>,
    /// It begins inside a line.
    is_within: bool,
}

/// The bytes of a log from `from` on: up to its end or the last line end, if they are not too many.
/// A line that is longer than a piece, or whose rest comes later, is read in pieces.
fn read_late(log: &impl OpenFile, from: u64) -> io::Result<Option<LatePiece>> {
    let end = log.meta()?.bytes;
    let left = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
    if left == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; left.min(REJECTED_WRITE_BYTES_MAX)];
    let filled = read_fully(log, from, &mut bytes)?;
    if filled == 0 {
        return Ok(None);
    }
    bytes.truncate(filled);
    let is_within = is_within_line(log, from)?;
    let is_end = from + filled as u64 >= end;
    if !is_end && let Some(at) = memchr::memrchr(b'\n', &bytes) {
        bytes.truncate(at + 1);
    }
    Ok(Some(LatePiece { bytes, is_within }))
}

/// The lines of a piece that are to be rejected, each with what it counts as, and where the next
/// piece begins. A line in pieces counts once.
fn late_lines(
    piece: &LatePiece,
    rest: &Rest,
    backend: &str,
    now: Now,
) -> (Vec<(RejectedLine, LateCounts)>, Place) {
    let mut is_within = piece.is_within;
    let mut next = rest.next;
    let mut lines = Vec::new();
    for raw in piece.bytes.split_inclusive(|&byte| byte == b'\n') {
        let (line, counts) = if is_within {
            (next.line.saturating_sub(1), LateCounts::Nothing)
        } else if next.line < rest.closed.resume.lines_read {
            (next.line, LateCounts::Settled)
        } else {
            (next.line, LateCounts::Processed)
        };
        let begun = Place {
            line,
            byte: next.byte,
        };
        // A piece that is only the end of a line has nothing to reject.
        let is_mere_end = is_within && raw == b"\n";
        if !is_mere_end && !rest.closed.resume.settled.contains(line) {
            lines.push((late_line(backend, rest, begun, raw, now), counts));
        }
        next = Place {
            line: line + 1,
            byte: next.byte + raw.len() as u64,
        };
        is_within = !raw.ends_with(b"\n");
    }
    (lines, next)
}

/// Whether `byte` is inside a line.
fn is_within_line(log: &impl OpenFile, byte: u64) -> io::Result<bool> {
    let Some(before) = byte.checked_sub(1) else {
        return Ok(false);
    };
    let mut last = [b'\n'];
    read_fully(log, before, &mut last)?;
    Ok(last != *b"\n")
}

fn late_line(backend: &str, rest: &Rest, place: Place, raw: &[u8], now: Now) -> RejectedLine {
    RejectedLine {
        unix: now.unix,
        backend: backend.to_owned(),
        file: rest.closed.resume.name.to_string(),
        line: place.line + 1,
        byte: Some(place.byte),
        log: {
            let identity = &rest.closed.resume.identity;
            Some(identity.key())
        },
        reason: REASON.to_owned(),
        detail: DETAIL.to_owned(),
        raw: raw.strip_suffix(b"\n").unwrap_or(raw).to_vec(),
    }
}

/// Whether a finished log's keys are compared; they need not be where nothing is.
fn compare_state<D: Disk>(
    backend_state: &mut BackendState,
    file: FileId,
    cx: &Context<'_, D>,
) -> CompareState {
    if !cx.settings.compares_keys {
        return CompareState::Compared;
    }
    let backend = backend_state.info().id;
    let ledger = backend_state.ledger_in_good_order();
    let finished = ledger.and_then(|ledger| ledger.finished(file));
    finished.map_or(CompareState::NotAsked, |finished| {
        let key = finished.identity.key();
        cx.comparing.state(backend, key, finished.end.byte)
    })
}

/// Forgets what is known of the comparison of logs that are not there any more. While the state
/// cannot be read, all may be.
fn forget_compared<D: Disk>(backend_states: &BackendStates, cx: &mut Context<'_, D>) {
    for backend in cx.comparing.backends() {
        let backend_state = backend_states.get(backend.index()).and_then(Option::as_ref);
        match backend_state.map(BackendState::ledger) {
            None => cx.comparing.retain(backend, &BTreeSet::new()),
            Some(None) => {}
            Some(Some(ledger)) => {
                let known = ledger.logs_there().collect();
                cx.comparing.retain(backend, &known);
            }
        }
    }
}
