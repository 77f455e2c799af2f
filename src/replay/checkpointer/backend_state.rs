//! The checkpointer's state of one backend: its ledger, what waits to be written, and its fault.
//!
//! ```text
//!             state is read             cannot write
//!   Opening ────────────────▶ Writing ───────────────▶ faulty ──┐ back off, try again
//!      └─ cannot read ─▶ faulty  ▲                        └─────┘
//!                                └──────── written ────────┘
//! ```
//!
//! A checkpoint is a durable write whose steps the disk takes (`store`). Messages are handled
//! meanwhile, and what they settle is in the next checkpoint. At most one is under way. A fault
//! ends when a retry has succeeded completely.
//!
//! **Order.** A rejected line counts as settled only when it is on disk. Whatever was settled after
//! it waits with it, so that the ledger always contains a prefix of what was reported (G3). The
//! lines of a new segment are registered at once, since that settles nothing.

mod writing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::backend::{BackendLedger, ClosedFile};
use crate::ledger::rejected;
use crate::ledger::segment::{NewSegment, SegmentDone};
use crate::ledger::totals::Tally;
use crate::reconcile::difference;
use crate::replay::agenda::Agenda;
use crate::replay::checkpointer::comparing::ComparingLogs;
use crate::replay::checkpointer::fault::Fault;
use crate::replay::checkpointer::rejects::RejectedLog;
use crate::replay::checkpointer::spare::Spare;
use crate::replay::disk::{Disk, state_bytes};
use crate::replay::durable_write::DurableWrite;
use crate::replay::messages::{
    BackendInfo, BackendMessage, CheckpointerSettings, Component, ControlMessage, Epoch, FileId,
    FileOpened, Filter, ReaderMessage, RejectedVerb, Rejection, Requeued, SegmentId, Settled,
};
use crate::replay::outbox::{After, Outbox};
use crate::replay::outcome::Settlement;
use crate::replay::vec_pool::VecPool;
use crate::status::control_request::Listed;

/// What a backend state works with.
pub(super) struct Context<'a, D> {
    pub(super) disk: &'a mut D,
    pub(super) outbox: &'a mut Outbox,
    pub(super) settings: &'a CheckpointerSettings,
    pub(super) pool: &'a VecPool<Settled>,
    /// Files that a backend's ledger has closed. If we have deleted such a file, nobody else
    /// handles what is written to it from now on.
    pub(super) closed: &'a mut Vec<(BackendInfo, ClosedFile)>,
    /// Room for when the disk is full.
    pub(super) spare: &'a mut Spare,
    /// Logs whose keys are compared before they are deleted.
    pub(super) comparing: &'a mut ComparingLogs,
    /// How many threads take part in a flush: the workers and the reader.
    pub(super) parties: usize,
    pub(super) now: Now,
}

/// How rejecting a piece of a deleted log changes the totals; a line counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LateCounts {
    /// A line that nobody has read: processed and settled.
    Processed,
    /// A line that was read and not settled.
    Settled,
    /// The rest of a line that counts already.
    Nothing,
}

/// Something that has to wait until rejected lines before it are on disk.
#[derive(Debug)]
enum Held {
    Settled(Vec<Settled>),
    Rejected(Box<Rejection>),
    Flushed(Epoch, Component, Vec<(SegmentId, u32)>),
}

/// A flush under way.
#[derive(Debug)]
struct Flush {
    epoch: Epoch,
    /// Who has reported `Flushed`.
    flushed: Vec<Component>,
}

/// All of them, by the backends' ids; `None` is a free place.
pub(super) type BackendStates = Agenda<Option<BackendState>>;

/// See the module.
#[derive(Debug)]
pub(super) struct BackendState {
    info: BackendInfo,
    /// `None` until its state has been read.
    ledger: Option<BackendLedger>,
    /// Epoch of the last plan.
    epoch: Epoch,
    flush: Option<Flush>,
    /// Empty, or a rejected line is first, or there is no ledger.
    held: VecDeque<Held>,
    rejected: RejectedLog,
    /// Lines that were rejected in this run.
    rejected_total: u64,
    /// The original's files that the next checkpoint replaces.
    replaced: Vec<String>,
    /// The stored outages are to be removed.
    forgets_outages: bool,
    /// When the next checkpoint may be written, and when the last one ended.
    checkpoint_at: Duration,
    checkpoint_ended_at: Duration,
    /// Workers that wait for a checkpoint which is not begun yet; and for the one under way.
    waiting: Vec<usize>,
    waiting_for_this: Vec<usize>,
    /// Writes checkpoints; `None` while a checkpoint is under way.
    durable_write: Option<DurableWrite>,
    /// Bytes of the last checkpoint that was begun.
    checkpoint_bytes: u64,
    /// How often room had been made on a full disk when it was begun.
    room_made_before: u32,
    /// When the checkpoint under way counts as hanging; the maximum once that is reported.
    hangs_at: Duration,
    /// The last checkpoint that was tried has failed.
    checkpoint_failed: bool,
    /// The last attempt to write rejected lines has failed.
    rejected_failed: bool,
    /// At shutdown: the last checkpoint was begun, or was not necessary.
    is_last_begun: bool,
    /// What is wrong, as it was reported.
    fault: Fault,
    /// The ledger has changed since the counters were published.
    unpublished: bool,
    /// Bytes of all segments that were registered.
    registered_bytes: u64,
}

impl BackendState {
    pub(super) fn new(info: BackendInfo) -> Self {
        Self {
            durable_write: Some(DurableWrite::new(Arc::clone(&info.name))),
            info,
            ledger: None,
            epoch: 0,
            flush: None,
            held: VecDeque::new(),
            rejected: RejectedLog::default(),
            rejected_total: 0,
            replaced: Vec::new(),
            forgets_outages: false,
            checkpoint_at: Duration::ZERO,
            checkpoint_ended_at: Duration::ZERO,
            waiting: Vec::new(),
            waiting_for_this: Vec::new(),
            checkpoint_bytes: 0,
            room_made_before: 0,
            hangs_at: Duration::MAX,
            checkpoint_failed: false,
            rejected_failed: false,
            is_last_begun: false,
            fault: Fault::default(),
            unpublished: false,
            registered_bytes: 0,
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.info.name
    }

    pub(super) fn info(&self) -> &BackendInfo {
        &self.info
    }

    pub(super) fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_bytes
    }

    /// Lines that were rejected in this run, including those that had been rejected before.
    pub(super) fn rejected_lines(&self) -> u64 {
        self.rejected_total
    }

    /// Its ledger; `None` until its state has been read.
    pub(super) fn ledger(&self) -> Option<&BackendLedger> {
        self.ledger.as_ref()
    }

    /// Its ledger if state can be written; otherwise no log may be deleted.
    pub(super) fn ledger_in_good_order(&mut self) -> Option<&mut BackendLedger> {
        self.ledger.as_mut().filter(|_| !self.fault.is_some())
    }

    /// When [`BackendState::work`] has something to do. While a checkpoint is under way, its
    /// completion wakes the checkpointer, and only rejected lines that could not be written are
    /// retried.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let Some(ledger) = &self.ledger else {
            return Some(self.fault.retry_at().unwrap_or(Duration::ZERO));
        };
        if self.is_under_way() {
            let retry_at = self.fault.retry_at().filter(|_| self.rejected_failed);
            return Some(self.hangs_at.min(retry_at.unwrap_or(Duration::MAX)));
        }
        self.fault
            .retry_at()
            .or_else(|| ledger.is_changed().then_some(self.checkpoint_at))
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.durable_write.is_none()
    }

    pub(super) fn handle_message<D: Disk>(
        &mut self,
        message: BackendMessage,
        cx: &mut Context<'_, D>,
    ) {
        self.unpublished = true;
        match message {
            BackendMessage::FileOpened(opened) => self.open_file(&opened),
            BackendMessage::Segment { segment } => self.register(&segment, cx),
            BackendMessage::FileIdentified { file, identity } => {
                self.expect_ledger().identify_file(file, identity)
            }
            BackendMessage::FileGone { file } => self.file_gone(file, cx),
            BackendMessage::FileMoved {
                file,
                name,
                away_unix,
            } => self.expect_ledger().file_moved(file, &name, away_unix),
            BackendMessage::EntriesMoved(moved) => self.expect_ledger().entries_moved(&moved),
            BackendMessage::EntriesForgotten(forgotten) => {
                self.expect_ledger().forget_entries(&forgotten);
            }
            BackendMessage::Checkpoint { worker } => {
                self.waiting.push(worker);
                self.hasten_for_waiting();
                self.answer_waiting(cx);
            }
            BackendMessage::Settled { batch } => self.hold_or_apply(Held::Settled(batch), cx),
            BackendMessage::Rejected(rejection) => self.held.push_back(Held::Rejected(rejection)),
            BackendMessage::Flush { epoch } => self.begin_flush(epoch),
            BackendMessage::Flushed {
                epoch,
                component,
                sent,
            } => self.hold_or_apply(Held::Flushed(epoch, component, sent), cx),
            BackendMessage::Requeue { ask, what, filter } => self.requeue(ask, what, &filter, cx),
            BackendMessage::ListRejected { ask } => self.list_rejected(ask, cx),
            BackendMessage::KeepOutages { bytes } => self.keep_outages(&bytes, cx),
            BackendMessage::ForgetOutages => self.forgets_outages = true,
        }
    }

    /// What would be lost if this backend were forgotten, as a sentence that includes
    /// `undelivered`. An error means that it cannot be forgotten now.
    pub(super) fn left(
        &self,
        undelivered: Option<String>,
        disk: &mut impl Disk,
    ) -> Result<Option<String>, String> {
        if let Some(fault) = self.fault() {
            return Err(format!("its state is in trouble: {fault}"));
        }
        let Some(ledger) = &self.ledger else {
            return Err("its state has not been read yet; try again in a moment".to_owned());
        };
        if !self.held.is_empty() {
            return Err("lines of it are being rejected; try again in a moment".to_owned());
        }
        let mut bytes_of = |file| match state_bytes(disk, &self.info.name, file) {
            Ok(bytes) => Ok(bytes.unwrap_or(0)),
            Err(cause) => Err(cause.to_string()),
        };
        let rejected = bytes_of(rejected::NAME)?;
        let mut left = Vec::from_iter(undelivered);
        if rejected > 0 {
            left.push(format!(
                "{rejected} bytes of lines that were rejected (rejected.jsonl)"
            ));
        }
        let differences = bytes_of(difference::FILE_NAME)?;
        let counters = &self.info.counters.reconcile;
        if differences > 0 && counters.left_known.load() == 0 {
            return Err(
                "its differences.jsonl has not been read yet, or cannot be, then the log says \
                 why; try again in a moment, or move that file away"
                    .to_owned(),
            );
        }
        match counters.left.load() {
            0 => {}
            keys => left.push(format!(
                "{keys} keys on which it and its other master differ (differences.jsonl)"
            )),
        }
        match ledger.known_logs() {
            0 => {}
            1 => left.push(
                "its place in a log that is gone (if that came back, all its lines would be sent \
                 again)"
                    .to_owned(),
            ),
            logs => left.push(format!(
                "its places in {logs} logs that are gone (if one came back, all its lines would \
                 be sent again)"
            )),
        }
        Ok((!left.is_empty()).then(|| left.join(", and ")))
    }

    /// At shutdown: closes deleted files as if every thread had reported `Flushed`. Lines that
    /// could not be rejected are dropped; they are sent again at the next start.
    pub(super) fn close_deleted<D: Disk>(&mut self, cx: &mut Context<'_, D>) {
        if !failpoint!(EndTwice) {
            self.held.clear();
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.collapse();
            self.note_closed(cx);
        }
    }

    /// Why state could not be written, if it could not.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.text()
    }

    /// Publishes the ledger's totals as counters, if they have changed.
    pub(super) fn publish_counters(&mut self) {
        let Some(ledger) = self.ledger.as_ref().filter(|_| self.unpublished) else {
            return;
        };
        let (counters, totals) = (&self.info.counters, ledger.totals());
        // The whole first: a reader never sees a part that is larger than the whole.
        counters.processed.set(totals.processed);
        counters.settled.set(totals.settled);
        counters.applied.set(totals.applied);
        counters.superseded.set(totals.superseded);
        counters.absent.set(totals.absent);
        counters.rejected.set(totals.rejected);
        let durable = ledger.durable_totals();
        counters.durable_processed.set(durable.processed);
        counters.durable_settled.set(durable.settled);
        counters.durable_applied.set(durable.applied);
        counters.durable_superseded.set(durable.superseded);
        counters.durable_absent.set(durable.absent);
        counters.durable_rejected.set(durable.rejected);
        counters.durable_taken_over.set(durable.taken_over());
        counters.in_flight_records.set(ledger.in_flight());
        counters.in_flight_bytes.set(ledger.in_flight_bytes());
        counters
            .oldest_unsettled_unix
            .set(ledger.oldest_written_unix().unwrap_or(0));
        // Last: who sees these bytes as registered sees their lines in flight.
        counters.registered_bytes.set(self.registered_bytes);
        self.unpublished = false;
    }

    /// Panics if an invariant is broken.
    pub(super) fn check_invariants(&self) {
        if let Some(ledger) = &self.ledger {
            ledger.check_invariants();
            assert!(
                self.held
                    .front()
                    .is_none_or(|front| matches!(front, Held::Rejected(_))),
                "only a rejected line holds things up"
            );
        }
    }

    fn expect_ledger(&mut self) -> &mut BackendLedger {
        self.ledger
            .as_mut()
            .expect("nobody mentions a file before there is a plan")
    }

    fn open_file(&mut self, opened: &FileOpened) {
        let FileOpened {
            file,
            name,
            identity,
            start,
        } = opened;
        self.expect_ledger()
            .open_file(*file, name, *identity, *start);
    }

    fn register<D: Disk>(&mut self, segment: &NewSegment, cx: &mut Context<'_, D>) {
        self.registered_bytes += segment.bytes();
        let done = self.expect_ledger().register(segment).done;
        if let Some(done) = done {
            self.report_done(done, cx);
        }
    }

    fn file_gone<D: Disk>(&mut self, file: FileId, cx: &mut Context<'_, D>) {
        self.expect_ledger().file_gone(file);
        self.note_closed(cx);
    }

    fn hold_or_apply<D: Disk>(&mut self, held: Held, cx: &mut Context<'_, D>) {
        if self.held.is_empty() && self.ledger.is_some() {
            self.apply(held, cx);
        } else {
            self.held.push_back(held);
        }
    }

    fn apply<D: Disk>(&mut self, held: Held, cx: &mut Context<'_, D>) {
        self.unpublished = true;
        match held {
            Held::Settled(batch) => {
                for settled in &batch {
                    self.settle(settled, tally(settled.settlement), cx);
                }
                cx.pool.give(batch);
            }
            Held::Rejected(rejection) => {
                self.rejected_total += 1;
                let settled = Settled {
                    segment: rejection.segment,
                    line: rejection.line,
                    settlement: Settlement::Rejected,
                };
                self.settle(&settled, Tally::Rejected, cx);
                debug_assert!(rejected::REASONS.contains(&rejection.reason));
                self.info.counters.rejections.add(rejection.reason, 1);
            }
            Held::Flushed(epoch, component, sent) => {
                let ledger = self.expect_ledger();
                for (segment, line) in sent {
                    ledger.note_sent(segment, line);
                }
                self.handle_flushed(epoch, component, cx);
            }
        }
    }

    fn settle<D: Disk>(&mut self, settled: &Settled, tally: Tally, cx: &mut Context<'_, D>) {
        let done = self
            .expect_ledger()
            .settle(settled.segment, settled.line, tally);
        if let Some(done) = done {
            self.report_done(done, cx);
            self.note_closed(cx);
        }
    }

    fn report_done<D: Disk>(&mut self, done: SegmentDone, cx: &mut Context<'_, D>) {
        self.info.counters.settled_bytes.add(done.bytes);
        cx.outbox.reader(ReaderMessage::SegmentDone {
            backend: self.info.id,
            done,
            epoch: self.epoch,
        });
    }

    /// Tells which lines were rejected last.
    fn list_rejected<D: Disk>(&mut self, ask: u64, cx: &mut Context<'_, D>) {
        let listed = self.rejected.list(cx.disk, &self.info.name);
        let listed = listed
            .map(Listed::Rejected)
            .map_err(|error| error.to_string());
        cx.outbox.control(ControlMessage::Listed { ask, listed });
    }

    /// Requeues or drops rejected lines, as requested. It does so even if `rejected.jsonl` is full,
    /// since that makes room.
    fn requeue<D: Disk>(
        &mut self,
        ask: u64,
        what: RejectedVerb,
        filter: &Filter,
        cx: &mut Context<'_, D>,
    ) {
        let backend = &*self.info.name;
        let outcome = self
            .rejected
            .requeue(cx.disk, backend, what, filter, cx.now.unix)
            .map_err(|error| error.to_string());
        match &outcome {
            Ok(Requeued { done: 0, .. }) => {}
            Ok(Requeued { done, left, .. }) if what == RejectedVerb::Replay => {
                tracing::info!(
                    backend,
                    lines = done,
                    left,
                    "rejected lines are replayed, as asked"
                );
            }
            Ok(Requeued { done, left, .. }) => {
                tracing::warn!(
                    backend,
                    lines = done,
                    left,
                    "rejected lines were thrown away, as asked"
                );
            }
            Err(why) => tracing::error!(backend, why, "rejected lines stay where they are"),
        }
        self.count_rejected(cx);
        cx.outbox.control(ControlMessage::Requeued {
            backend: self.info.id,
            ask,
            outcome,
        });
    }

    fn begin_flush(&mut self, epoch: Epoch) {
        let current = self.flush.as_ref().map_or(self.epoch, |flush| flush.epoch);
        if epoch > current {
            self.flush = Some(Flush {
                epoch,
                flushed: Vec::new(),
            });
        }
    }

    fn handle_flushed<D: Disk>(
        &mut self,
        epoch: Epoch,
        component: Component,
        cx: &mut Context<'_, D>,
    ) {
        self.begin_flush(epoch);
        let Some(flush) = self.flush.as_mut().filter(|flush| flush.epoch == epoch) else {
            return;
        };
        if !flush.flushed.contains(&component) {
            flush.flushed.push(component);
        }
        if flush.flushed.len() == cx.parties || failpoint!(ForgetEpochBarrier) {
            self.flush = None;
            self.epoch = epoch;
            self.send_plan(cx);
            cx.outbox
                .after(After::LogReader)
                .control(ControlMessage::Flushed {
                    backend: self.info.id,
                    epoch,
                });
        }
    }

    fn send_plan<D: Disk>(&mut self, cx: &mut Context<'_, D>) {
        let plan = self.expect_ledger().collapse();
        self.note_closed(cx);
        cx.outbox.reader(ReaderMessage::Plan {
            backend: self.info.id,
            epoch: self.epoch,
            plan,
        });
    }

    fn note_closed<D: Disk>(&mut self, cx: &mut Context<'_, D>) {
        for closed in self.expect_ledger().take_closed() {
            if !closed.deleted && closed.unsettled > 0 {
                let (backend, file, lines) =
                    (&*self.info.name, &*closed.resume.name, closed.unsettled);
                tracing::warn!(
                    backend,
                    file,
                    lines,
                    "this log was deleted, moved away or replaced before its last lines were \
                     delivered: they are delivered only if it comes back"
                );
            }
            cx.closed.push((self.info.clone(), closed));
        }
    }
}

fn tally(settlement: Settlement) -> Tally {
    match settlement {
        Settlement::Applied | Settlement::AppliedBefore => Tally::Applied,
        Settlement::Superseded => Tally::Superseded,
        Settlement::Absent => Tally::Absent,
        Settlement::Rejected => panic!(
            "a line that is rejected comes with its reason, to be on disk before it counts as \
             settled"
        ),
    }
}
