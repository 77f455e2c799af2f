//! The reader: finds the logs, reads them in order, and sends their records to the workers.
//!
//! ```text
//!  inotify's flags, timers ─▶ look: folders, names ─▶ catalog ─┐
//!  checkpointer: Plan, SegmentDone ─▶ credit ──────────────────┤
//!  controller: Backend, Up, Down ──────────────────────────────┤
//!                                                              ▼
//!                                     feed: begin a file, read a piece, split it
//!                                       │ outbox: the checkpointer first, then the workers
//!                                       ▼
//!                                     FileOpened, Segment, Rejected │ Batch
//! ```
//!
//! One [`LogReader::turn`] does a bounded piece of work and returns when the next is due. All
//! system calls go through [`Disk`] and the time is a parameter, so a simulation drives the same
//! code.
//!
//! **What holds it back.** A backend's logs are read only while the backend is up, its plan for
//! this epoch has come, its folder has been listed since, and it has credit: bytes of its own share
//! of the memory budget, and lines that may be in flight. No backend waits for another's credit.
//! While the checkpointer or a worker has no room for a message, nothing is read.
//!
//! **Who is looked at.** A turn looks at backends that have a backlog, were changed, or whose time
//! has come ([`Agenda`]); of a thousand that are idle it does not even know.

mod backoff;
mod begin;
mod bodies;
pub mod buffers;
mod catalog;
pub mod cursor;
mod emit;
mod entries;
mod failing;
mod feed;
mod folders;
mod hidden;
mod hour;
mod log_file;
mod long_lines;
mod look;
mod points;
mod resume;
mod source;
pub mod split;
#[cfg(test)]
mod tests;
mod zone;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::identity::LogKey;
use crate::ledger::segment::SegmentDone;
use crate::limits::{BODY_PIECES_MAX, CHUNKS_MISSED, MAILBOX_MESSAGES};
use crate::replay::agenda::Agenda;
use crate::replay::dirty_flags::DirtyFlags;
use crate::replay::disk::{Disk, OpenFile};
use crate::replay::links::Links;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    BackendId, BackendInfo, BackendMessage, CheckpointerMessage, Component, ControlMessage, Epoch,
    FileId, ReaderMessage, ReaderSettings, ResumePlan, SegmentId,
};
use crate::replay::outbox::Outbox;
use crate::replay::reachability::KnownOutages;
pub use crate::replay::turn::Turn;

use buffers::{Buffers, ReaderBounds};
use points::WaitingPoint;
use source::{Listing, Source};
use split::Splitter;

/// Rules that the reader is given, since they depend on the configuration or the system.
#[derive(Clone, Copy)]
pub struct ReaderRules {
    /// Whether a folder's name is a backend's, or why not.
    pub is_backend: fn(&str) -> Result<(), String>,
    /// When a line was written, Unix seconds, from its prefix; the payload must not be looked at.
    pub written_unix: fn(&[u8]) -> Option<u64>,
    /// The time zone in which lines are read, as a person would name it.
    pub zone: fn() -> String,
}

/// How many chunks, including pieces of bodies, can be in use at once with this memory budget and
/// this many backends: the capacity for [`BufferReturns`](crate::replay::chunk::BufferReturns).
#[must_use]
pub fn chunks_max(memory_budget_bytes: usize, backends_max: usize) -> usize {
    let lines = memory_budget_bytes / ReaderBounds::default().chunk_bytes_min + backends_max;
    lines + backends_max * BODY_PIECES_MAX + 1
}

/// See the module.
pub struct LogReader<D: Disk> {
    disk: D,
    settings: ReaderSettings,
    bounds: ReaderBounds,
    rules: ReaderRules,
    links: Links,
    outbox: Outbox,
    splitter: Splitter,
    buffers: Buffers,
    /// Chunks in use, without pieces of bodies.
    chunks: usize,
    /// For bytes that are looked at and not kept: searches, a file's first bytes.
    scratch: Vec<u8>,
    /// The backends. One rests that neither has a backlog nor is changed, until its next look.
    sources: Agenda<Source<D::File>>,
    /// How many backends are read for, as of this turn: the memory budget is theirs.
    read_for: usize,
    places: HashMap<BackendId, usize>,
    /// Plans that came before their backend did.
    early_plans: HashMap<BackendId, (Epoch, ResumePlan)>,
    /// Bytes that the current step is about.
    step_bytes: usize,
    /// Which backend has the next turn.
    first: usize,
    root: Listing,
    /// Backends' folders that were reported to the controller, and whether they were there at the
    /// start.
    announced: BTreeMap<String, bool>,
    unrecognized: BTreeSet<String>,
    /// Names of folders that have another name already, with that other name.
    second_names: BTreeMap<String, String>,
    root_listed: bool,
    /// Backends that an earlier process knew and whose folders were gone at the start; `None` until
    /// that has been looked up.
    without_folder: Option<BTreeSet<String>>,
    /// When open logs were looked at last, monotonic.
    open_logs_seen_at: Duration,
    /// Sync points that wait for a look at all folders.
    points: Vec<WaitingPoint>,
    actions: VecDeque<Action>,
    next_file: u64,
    next_segment: u64,
}

/// What the reader's driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hints are wanted of this folder.
    Watch {
        backend: BackendId,
        /// Its name below the logs' path.
        folder: Arc<str>,
    },
    /// None are wanted any more.
    Unwatch(BackendId),
}

/// When the next turn is due, collected during this one.
#[derive(Clone, Copy, Debug)]
struct Wake {
    busy: bool,
    until: Duration,
}

impl Wake {
    fn at(&mut self, at: Duration) {
        self.until = self.until.min(at);
    }
}

impl<D: Disk> LogReader<D> {
    /// A reader that knows no backend yet.
    #[must_use]
    pub fn new(disk: D, settings: ReaderSettings, rules: ReaderRules, links: Links) -> Self {
        Self::with_bounds(disk, settings, rules, links, ReaderBounds::default())
    }

    /// The same with other bounds than the usual limits.
    #[must_use]
    pub fn with_bounds(
        disk: D,
        settings: ReaderSettings,
        rules: ReaderRules,
        links: Links,
        bounds: ReaderBounds,
    ) -> Self {
        Self {
            disk,
            settings,
            bounds,
            rules,
            splitter: Splitter::new(links.mailboxes.workers.len(), rules.written_unix),
            outbox: Outbox::new(&links.mailboxes),
            links,
            buffers: Buffers::new(bounds),
            chunks: 0,
            scratch: Vec::new(),
            sources: Agenda::default(),
            read_for: 0,
            places: HashMap::new(),
            early_plans: HashMap::new(),
            step_bytes: 0,
            first: 0,
            root: Listing::default(),
            announced: BTreeMap::new(),
            unrecognized: BTreeSet::new(),
            second_names: BTreeMap::new(),
            root_listed: false,
            without_folder: None,
            open_logs_seen_at: Duration::ZERO,
            points: Vec::new(),
            actions: VecDeque::new(),
            next_file: 0,
            next_segment: 0,
        }
    }

    /// Handles messages, lists the folders that are due, reads a few pieces, and returns when it
    /// must be called again.
    pub fn turn(&mut self, now: Now) -> Turn {
        self.links.mailboxes.reader.note_turn();
        let mut wake = Wake {
            busy: false,
            until: now.after(self.settings.rescan_interval),
        };
        self.handle_returns();
        for handled in 0.. {
            if handled == MAILBOX_MESSAGES {
                wake.busy = true;
                break;
            }
            match self.links.mailboxes.reader.receive() {
                Some(ReaderMessage::Stop) => return Turn::Stopped,
                Some(message) => self.handle_message(message, now),
                None => break,
            }
        }
        if !self.actions.is_empty() {
            // Folders are listed once they are watched.
            return Turn::Busy;
        }
        self.handle_dirty_flags(now);
        self.sources.wake_due(now.monotonic);
        self.poll_open_logs(now, &mut wake);
        self.poll_listings(now, &mut wake);
        self.pass_points_on(now);
        self.poll_pieces(now, &mut wake);
        let held = self.buffers.bytes() as u64;
        self.links.counters.memory_bytes.set(held);
        #[cfg(debug_assertions)]
        self.check_resting(now);
        wake.at(self.sources.next_due());
        self.tell_need();
        if wake.busy || wake.until <= now.monotonic {
            return Turn::Busy;
        }
        if self.chunks > 0 {
            // Nobody need say that they are back; the memory that is held is told all the same.
            wake.at(now.after(CHUNKS_MISSED));
        }
        Turn::Idle { until: wake.until }
    }

    /// What is to be done next, behind a turn and before the next one.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Its mailbox, on which its driver sleeps.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox<ReaderMessage> {
        &self.links.mailboxes.reader
    }

    /// The flags by which it is told where to look.
    #[must_use]
    pub fn dirty_flags(&self) -> &DirtyFlags {
        &self.links.dirty_flags
    }

    /// A backend's description; `None` if it knows none.
    #[must_use]
    pub fn info(&self, backend: BackendId) -> Option<&BackendInfo> {
        let place = self.places.get(&backend)?;
        Some(&self.sources[*place].info)
    }

    /// How often folders are looked at that no hint has told of.
    #[must_use]
    pub fn rescan_interval(&self) -> Duration {
        self.settings.rescan_interval
    }

    /// Announces that the caller is about to block until the waker wakes it. Returns false if
    /// something has come meanwhile: then it must not. After blocking, call the mailbox's `awake`.
    #[must_use]
    pub fn prepare_sleep(&self) -> bool {
        self.links.mailboxes.reader.prepare_sleep_unless(|| {
            self.links.dirty_flags.are_pending() || !self.links.returns.is_empty()
        })
    }

    /// Tells whether credit and buffers are needed; the checkpointer may have left waiting what
    /// leads to credit.
    fn tell_need(&self) {
        let has_read_all = self.has_read_all();
        self.links.mailboxes.reader.set_content(has_read_all);
        if !has_read_all {
            self.links.mailboxes.checkpointer.wake_content();
        }
    }

    /// Whether there is nothing that credit, or a buffer, would let it read.
    fn has_read_all(&self) -> bool {
        let has_read = |source: &Source<D::File>| !source.has_unread() && source.bodies.is_idle();
        // Those that rest have.
        self.outbox.is_empty() && self.points.is_empty() && self.sources.awake().all(has_read)
    }

    fn handle_message(&mut self, message: ReaderMessage, now: Now) {
        match message {
            ReaderMessage::Backend(info) => self.handle_backend(info),
            ReaderMessage::Plan {
                backend,
                epoch,
                plan,
            } => self.handle_plan(backend, epoch, plan, now),
            ReaderMessage::Up {
                backend,
                epoch,
                outages,
            } => self.handle_up(backend, epoch, outages),
            ReaderMessage::Down { backend, epoch } => self.handle_down(backend, epoch),
            ReaderMessage::SegmentDone {
                backend,
                done,
                epoch,
            } => self.handle_segment_done(backend, epoch, done),
            ReaderMessage::FileDeleted {
                backend,
                file,
                key,
                is_elsewhere,
            } => self.handle_deleted(backend, file, key, is_elsewhere, now),
            ReaderMessage::StorePaused { backend, paused } => {
                if let Some(source) = self.source_mut(backend) {
                    source.paused = paused;
                }
            }
            ReaderMessage::Body(ask) => {
                if let Some(source) = self.source_mut(ask.backend) {
                    source.bodies.handle_ask(ask);
                }
            }
            ReaderMessage::SyncPoint { id, is_backend } => self.handle_point(id, is_backend, now),
            ReaderMessage::Forget { backend } => self.handle_forget(backend),
            ReaderMessage::TellFolders => self.tell_folders(),
            ReaderMessage::Settings(settings) => {
                self.settings = settings;
                let interval = self.settings.rescan_interval;
                self.root.hasten(interval, now);
                for source in self.sources.iter_mut() {
                    source.listing.hasten(interval, now);
                }
            }
            ReaderMessage::Stop => unreachable!("the turn ends with it"),
        }
    }

    fn handle_backend(&mut self, info: BackendInfo) {
        let id = info.id;
        if self.places.contains_key(&id) {
            return;
        }
        let at_start = self.announced.get(&*info.name).copied();
        let without_folder = self.without_folder.iter().flatten();
        let was_without = without_folder.into_iter().any(|name| **name == *info.name);
        let starting = at_start.unwrap_or(!self.root_listed || was_without);
        let mut source = Source::new(info, starting, self.rules.written_unix);
        if let Some((epoch, plan)) = self.early_plans.remove(&id)
            && epoch == source.epoch
        {
            source.set_resume(plan);
        }
        self.places.insert(id, self.sources.len());
        self.actions.push_back(Action::Watch {
            backend: id,
            folder: Arc::clone(&source.info.name),
        });
        self.sources.push(source);
    }

    /// Forgets a backend that is flushed and stays down. The checkpointer is told after everything
    /// else about it.
    fn handle_forget(&mut self, backend: BackendId) {
        self.early_plans.remove(&backend);
        if let Some(place) = self.places.remove(&backend) {
            self.actions.push_back(Action::Unwatch(backend));
            self.sources.remove(place);
            for at in self.places.values_mut().filter(|at| **at > place) {
                *at -= 1;
            }
        }
        self.outbox
            .checkpointer(CheckpointerMessage::Forget { backend });
    }

    /// Reports the folders again whose backends the controller had no room for.
    fn tell_folders(&mut self) {
        let known: BTreeSet<&str> = self
            .sources
            .iter()
            .map(|source| &*source.info.name)
            .collect();
        for name in self.announced.keys() {
            if !known.contains(&**name) {
                self.outbox
                    .control(ControlMessage::BackendFound(name.clone()));
            }
        }
    }

    fn handle_plan(&mut self, backend: BackendId, epoch: Epoch, plan: ResumePlan, now: Now) {
        let Some(source) = self.source_mut(backend) else {
            self.early_plans.insert(backend, (epoch, plan));
            return;
        };
        // A plan of an older epoch is out of date: `Flushed` has been sent since.
        if epoch == source.epoch && source.resume.is_none() {
            source.set_resume(plan);
            source.listing.want_now(now);
        }
    }

    fn handle_up(&mut self, backend: BackendId, epoch: Epoch, outages: KnownOutages) {
        let lanes = self.settings.lanes_per_backend;
        if let Some(source) = self.source_mut(backend)
            && epoch == source.epoch
        {
            source.up = true;
            source.outages = outages;
            source.lanes = u16::try_from(lanes.max(1)).unwrap_or(u16::MAX);
        }
    }

    fn handle_down(&mut self, backend: BackendId, epoch: Epoch) {
        let Some(source) = self.source_mut(backend) else {
            return;
        };
        if epoch <= source.epoch {
            return;
        }
        source.begin_epoch(epoch);
        for batch in self.outbox.take_batches(backend) {
            self.links.returns.release(batch.chunk);
        }
        self.outbox.backend_message(
            backend,
            BackendMessage::Flushed {
                epoch,
                component: Component::LogReader,
                sent: Vec::new(),
            },
        );
    }

    fn handle_segment_done(&mut self, backend: BackendId, epoch: Epoch, done: SegmentDone) {
        let Some(source) = self.source_mut(backend) else {
            return;
        };
        if epoch != source.epoch {
            source.handle_flushed_done(done.bytes);
            return;
        }
        let was_long = source.bodies.handle_done(done.segment);
        source.credit.give_back(done.lines, done.bytes, was_long);
    }

    /// The checkpointer has deleted a file. If it is open, what was written to it nevertheless is
    /// still read. One that `is_elsewhere` may appear again under its other name.
    fn handle_deleted(
        &mut self,
        backend: BackendId,
        file: FileId,
        key: LogKey,
        is_elsewhere: bool,
        now: Now,
    ) {
        let Some(&at) = self.places.get(&backend) else {
            return;
        };
        let source = &mut self.sources[at];
        let Some(index) = source.catalog.index_of(file) else {
            if !is_elsewhere
                && !failpoint!(KeepDeletedAfterFlush)
                && let Some(index) = source.catalog.remove_not_begun(key)
            {
                // Without birth times it may be a newer log that has got its inode.
                source.listing.want(now);
                source.count_file(index);
            }
            return;
        };
        if is_elsewhere {
            let _ = source.catalog.send_away(index, now);
            source.listing.want(now);
            source.count_file(index);
            return;
        }
        source.catalog.mark_deleted(index);
        let log = source.catalog.file_mut(index);
        if let Some(open) = &log.log
            && let Ok(meta) = open.meta()
        {
            let _ = log.observe(meta, now);
        }
        if log.log.is_none() || log.unread_bytes(|_| 0) == 0 {
            source.catalog.remove(index);
            self.outbox
                .backend_message(backend, BackendMessage::FileGone { file });
        }
        self.sources[at].count_file(index);
    }

    /// Takes back buffers that were returned.
    fn handle_returns(&mut self) {
        while let Some(returned) = self.links.returns.receive() {
            self.chunks -= usize::from(!returned.is_body);
            if let Some(source) = self.source_mut(returned.backend) {
                match returned.is_body {
                    true => source.bodies.pieces -= 1,
                    false => source.credit.chunk_bytes -= returned.bytes.len(),
                }
            }
            self.give_buffer(returned.bytes);
        }
    }

    fn source_mut(&mut self, backend: BackendId) -> Option<&mut Source<D::File>> {
        let place = *self.places.get(&backend)?;
        Some(&mut self.sources[place])
    }

    /// A buffer for `bytes` bytes of lines.
    fn take_buffer(&mut self, bytes: usize) -> Vec<u8> {
        self.buffers.take(bytes, self.settings.memory_budget_bytes)
    }

    /// Takes a buffer back.
    fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.buffers.give(buffer, self.settings.memory_budget_bytes);
    }

    fn new_file(&mut self) -> FileId {
        self.next_file += 1;
        FileId(self.next_file)
    }

    fn new_segment(&mut self) -> SegmentId {
        self.next_segment += 1;
        SegmentId(self.next_segment)
    }
}
