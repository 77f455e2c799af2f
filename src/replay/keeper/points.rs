//! "Synced up to here": how far all logs went at an instant, and whether that much is settled.
//!
//! A point remembers each log by what it is and how long it was then: the folders are listed for that, since a hint may not have come yet. A last
//! line without newline counts: it is settled when it has come to its end, or its log is closed. A log is settled up to there when the ledger says so,
//! or when it is gone and the ledger knows nothing of it any more; a backend is when all its logs are, and the checkpoint that says so is on disk.
//!
//! Logs are settled in their order, so only the first one that is not is looked at: a look costs the same whatever the backlog. Where nothing moves,
//! that log is looked at on the disk too: somebody may have deleted or emptied it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::ledger::backend::BackendLedger;
use crate::ledger::rejected;
use crate::limits::{SYNC_POINT_LOGS_MAX, SYNC_POINT_LOOK, SYNC_POINT_LOOK_IDLE};
use crate::replay::disk::{Disk, LogEntry, LogMeta};
use crate::replay::keeper::desk::{Desk, Tools};
use crate::replay::messages::ControlMail;
use crate::status::sync_point::{PointBackend, PointBoard};

/// All points that are not settled.
#[derive(Debug, Default)]
pub(super) struct Points {
    points: Vec<Point>,
    /// When to look at them again, monotonic.
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
#[derive(Debug)]
struct Pending {
    /// Its place on the board.
    place: usize,
    /// Its logs that are not known to be settled, the last one first.
    logs: Vec<Log>,
    /// Bytes of all of these.
    bytes: u64,
    /// Its ledger's counts at the last look.
    seen: Option<(u64, Option<u64>)>,
    /// When the disk was looked at last, monotonic.
    disk_seen_at: Option<Duration>,
    /// The ledger's count of changes when all its logs were settled first.
    settled_at: Option<u64>,
    /// Lines that had been set aside when the point was taken.
    set_aside_before: Option<u64>,
}

/// A log as it was when the point was taken.
#[derive(Debug)]
struct Log {
    name: Box<str>,
    device: u64,
    inode: u64,
    born_nanos: u64,
    bytes: u64,
}

impl Log {
    fn is(&self, meta: &LogMeta) -> bool {
        (self.device, self.inode, self.born_nanos) == (meta.device, meta.inode, meta.born_nanos)
    }
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

    /// Nobody asks for it any more.
    pub(super) fn forget(&mut self, id: u64) {
        self.points.retain(|point| point.id != id);
    }

    /// Takes a point, and tells control of it.
    pub(super) fn take<D: Disk>(
        &mut self,
        id: u64,
        is_backend: fn(&str) -> bool,
        desks: &[Option<Desk>],
        tools: &mut Tools<'_, D>,
    ) {
        let known = self.points.iter().flat_map(|point| &point.pending);
        let known: usize = known.map(|pending| pending.logs.len()).sum();
        let room = SYNC_POINT_LOGS_MAX.saturating_sub(known);
        let taken = list(tools.disk, is_backend, room).map(|backends| {
            let mut point = point(id, backends, tools.now.unix);
            point.look(desks, tools);
            let board = Arc::clone(&point.board);
            if !point.pending.is_empty() {
                self.look_at = tools.now.after(SYNC_POINT_LOOK);
                self.points.push(point);
            }
            board
        });
        tools
            .outbox
            .control(ControlMail::SyncPointTaken { id, taken });
    }

    /// Looks how far all points are.
    pub(super) fn look<D: Disk>(&mut self, desks: &[Option<Desk>], tools: &mut Tools<'_, D>) {
        self.look_at = tools.now.after(SYNC_POINT_LOOK);
        self.points.retain_mut(|point| {
            let before = point.pending.len();
            point.look(desks, tools);
            if point.pending.len() < before {
                let id = point.id;
                tools.outbox.control(ControlMail::SyncPointMoved { id });
            }
            !point.pending.is_empty()
        });
    }
}

/// Every backend's logs, in the order of their names.
fn list(
    disk: &mut impl Disk,
    is_backend: fn(&str) -> bool,
    room: usize,
) -> Result<BTreeMap<String, Vec<Log>>, String> {
    let mut backends = BTreeMap::new();
    let mut count = 0;
    let failed = |error: io::Error| format!("the logs cannot be listed: {error}");
    for backend in disk.backend_folders().map_err(failed)? {
        if !is_backend(&backend) {
            continue;
        }
        let mut entries = disk.log_entries(&backend).map_err(failed)?;
        entries.retain(|entry| entry.meta.bytes > 0 && entry.name != rejected::STAGED);
        count += entries.len();
        if count > room {
            return Err(format!(
                "there are too many logs: all sync points together remember {SYNC_POINT_LOGS_MAX}; wait until more of the backlog is gone"
            ));
        }
        entries.sort_by(|one, other| other.name.cmp(&one.name));
        let log = |LogEntry { name, meta }| Log {
            name: name.into(),
            device: meta.device,
            inode: meta.inode,
            born_nanos: meta.born_nanos,
            bytes: meta.bytes,
        };
        backends.insert(backend, entries.into_iter().map(log).collect());
    }
    Ok(backends)
}

fn point(id: u64, backends: BTreeMap<String, Vec<Log>>, unix: u64) -> Point {
    let (mut told, mut pending) = (Vec::new(), Vec::new());
    for (place, (name, logs)) in backends.into_iter().enumerate() {
        let bytes = logs.iter().map(|log| log.bytes).sum();
        let backend = PointBackend::new(name.into(), logs.len() as u64, bytes);
        if logs.is_empty() {
            backend.settled.store(true, Ordering::Release);
        } else {
            pending.push(Pending {
                place,
                logs,
                bytes,
                seen: None,
                disk_seen_at: None,
                settled_at: None,
                set_aside_before: None,
            });
        }
        told.push(backend);
    }
    let board = Arc::new(PointBoard {
        taken_unix: unix,
        backends: told,
    });
    Point { id, board, pending }
}

impl Point {
    fn look<D: Disk>(&mut self, desks: &[Option<Desk>], tools: &mut Tools<'_, D>) {
        let board = &self.board;
        self.pending.retain_mut(|pending| {
            let told = &board.backends[pending.place];
            let mut known = desks.iter().flatten();
            let desk = known.find(|desk| **desk.name() == *told.name);
            // One that has just come is not known yet, or its state has not been read.
            desk.is_none_or(|desk| !pending.look(told, desk, tools))
        });
    }
}

impl Pending {
    /// Looks how far it is. True: all is settled, durably.
    fn look<D: Disk>(
        &mut self,
        told: &PointBackend,
        desk: &Desk,
        tools: &mut Tools<'_, D>,
    ) -> bool {
        let Some(ledger) = desk.ledger() else {
            return false;
        };
        let seen = (ledger.changes(), ledger.durable_changes());
        let now = tools.now.monotonic;
        let looks_at_disk = self
            .disk_seen_at
            .is_none_or(|at| at.saturating_add(SYNC_POINT_LOOK_IDLE) <= now);
        if self.seen == Some(seen) && !looks_at_disk {
            return false;
        }
        self.seen = Some(seen);
        let mut folder = looks_at_disk.then(|| {
            self.disk_seen_at = Some(now);
            Folder {
                disk: &mut *tools.disk,
                backend: &told.name,
                listed: None,
            }
        });
        let set_aside = desk.lines_set_aside();
        let before = *self.set_aside_before.get_or_insert(set_aside);
        told.set_aside.set(set_aside.saturating_sub(before));
        let mut missing = 0;
        while let Some(log) = self.logs.last() {
            missing = missing_of(log, ledger, folder.as_mut());
            if missing > 0 {
                missing += self.bytes - log.bytes;
                break;
            }
            self.bytes -= log.bytes;
            self.logs.pop();
        }
        told.missing_bytes.set(missing);
        told.missing_logs.set(self.logs.len() as u64);
        if missing > 0 {
            return false;
        }
        let settled_at = *self.settled_at.get_or_insert(ledger.changes());
        let is_durable = ledger
            .durable_changes()
            .is_some_and(|durable| durable >= settled_at);
        if is_durable {
            told.settled.store(true, Ordering::Release);
        }
        is_durable
    }
}

/// A backend's folder, looked at as far as needed.
struct Folder<'a, D> {
    disk: &'a mut D,
    backend: &'a str,
    listed: Option<Vec<LogEntry>>,
}

impl<D: Disk> Folder<'_, D> {
    /// How long a log is now; none where it is gone.
    fn bytes_of(&mut self, log: &Log) -> io::Result<Option<u64>> {
        if let Ok(open) = self.disk.open_log(self.backend, &log.name) {
            let meta = self.disk.log_meta(&open)?;
            if log.is(&meta) {
                return Ok(Some(meta.bytes));
            }
        }
        // It may have another name.
        if self.listed.is_none() {
            self.listed = Some(self.disk.log_entries(self.backend)?);
        }
        let mut listed = self.listed.iter().flatten();
        let found = listed.find(|entry| log.is(&entry.meta));
        Ok(found.map(|entry| entry.meta.bytes))
    }
}

/// Bytes of a log, of those that it had when the point was taken, that are not settled.
fn missing_of<D: Disk>(
    log: &Log,
    ledger: &BackendLedger,
    folder: Option<&mut Folder<'_, D>>,
) -> u64 {
    let known = ledger.settled_to(log.device, log.inode, log.born_nanos);
    let settled = known.unwrap_or(0);
    let missing = log.bytes.saturating_sub(settled);
    if missing == 0 {
        return 0;
    }
    let Some(folder) = folder else {
        return missing;
    };
    match folder.bytes_of(log) {
        // What is not there any more cannot be settled.
        Ok(Some(bytes)) => log.bytes.min(bytes).saturating_sub(settled),
        Ok(None) if known.is_none() => 0,
        // Lines of it are in flight, or it cannot be looked at.
        Ok(None) | Err(_) => missing,
    }
}
