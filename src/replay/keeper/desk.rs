//! One backend at the keeper's: its ledger, what waits to be written, and what is wrong.
//!
//! ```text
//!             state is read             cannot write
//!   Opening ────────────────▶ Writing ───────────────▶ faulty ──┐ back off, try again
//!      └─ cannot read ─▶ faulty  ▲                        └─────┘
//!                                └──────── written ────────┘
//! ```
//!
//! A checkpoint is a chain that the disk takes the steps of (`store`); mail is taken in meanwhile, and what is settled then is in the next one. At most one is
//! under way, and a fault ends with a try that has gone well to its end.
//!
//! **Order.** A rejected line counts as settled only when it is on disk. What was settled behind it waits with it, so that the ledger is at any
//! time a prefix of what was told (G3). Lines of a segment are booked at once: they settle nothing.

mod writing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::backend::{BackendLedger, ClosedFile};
use crate::ledger::rejected;
use crate::ledger::segment::SegmentDone;
use crate::ledger::totals::Tally;
use crate::replay::chain::Chain;
use crate::replay::disk::Disk;
use crate::replay::keeper::fault::Fault;
use crate::replay::keeper::outbox::Outbox;
use crate::replay::keeper::rejects::RejectedLog;
use crate::replay::keeper::spare::Spare;
use crate::replay::messages::{
    BackendInfo, ControlMail, Epoch, FeederMail, FileId, FileOpened, Filter, KeeperMail,
    KeeperSettings, Party, Rejection, Rework, Reworked, Segment, SegmentId, Settled,
};
use crate::replay::outcome::Settlement;
use crate::replay::spares::Spares;

/// What a desk works with.
pub(super) struct Tools<'a, D> {
    pub(super) disk: &'a mut D,
    pub(super) outbox: &'a mut Outbox,
    pub(super) settings: &'a KeeperSettings,
    pub(super) spares: &'a Spares<Settled>,
    /// Files whose books are closed. Where we have deleted one, what is in it behind this is nobody's but ours.
    pub(super) closed: &'a mut Vec<ClosedFile>,
    /// For when there is no room.
    pub(super) spare: &'a mut Spare,
    /// Parties of a flush: workers and the feeder.
    pub(super) parties: usize,
    pub(super) now: Now,
}

/// What setting aside a piece of a deleted log changes in the totals: a line counts once.
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
    Flushed(Epoch, Party, Vec<(SegmentId, u32)>),
}

/// A flush under way.
#[derive(Debug)]
struct Flush {
    epoch: Epoch,
    /// Who has let go.
    gone: Vec<Party>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Desk {
    info: BackendInfo,
    /// None while its state could not be read.
    ledger: Option<BackendLedger>,
    /// Epoch of the last plan.
    epoch: Epoch,
    flush: Option<Flush>,
    /// Empty, or a rejected line stands first, or there is no ledger.
    held: VecDeque<Held>,
    rejected: RejectedLog,
    /// Lines that were set aside in this run.
    set_aside: u64,
    /// Files of the original's that the next checkpoint replaces.
    replaced: Vec<String>,
    /// What is kept of outages is to be removed.
    forgets_outages: bool,
    /// When the next checkpoint may be written.
    checkpoint_at: Duration,
    /// The chain that writes checkpoints; none while it is under way.
    chain: Option<Chain>,
    /// Bytes of the last checkpoint that was begun.
    checkpoint_bytes: u64,
    /// When the checkpoint under way is held to hang; for ever where that was told.
    hangs_at: Duration,
    /// The last checkpoint that was tried has failed.
    checkpoint_failed: bool,
    /// Rejected lines could not be written when that was tried last.
    rejected_failed: bool,
    /// At the end: the last checkpoint was begun, or nothing is left for one.
    is_last_begun: bool,
    /// What is wrong, as it was told.
    fault: Fault,
    /// Set when numbers have changed that are not told yet.
    untold: bool,
}

impl Desk {
    pub(super) fn new(info: BackendInfo) -> Self {
        Self {
            chain: Some(Chain::new(Arc::clone(&info.name))),
            info,
            ledger: None,
            epoch: 0,
            flush: None,
            held: VecDeque::new(),
            rejected: RejectedLog::default(),
            set_aside: 0,
            replaced: Vec::new(),
            forgets_outages: false,
            checkpoint_at: Duration::ZERO,
            checkpoint_bytes: 0,
            hangs_at: Duration::MAX,
            checkpoint_failed: false,
            rejected_failed: false,
            is_last_begun: false,
            fault: Fault::default(),
            untold: false,
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.info.name
    }

    pub(super) fn info(&self) -> &BackendInfo {
        &self.info
    }

    /// Bytes of its last checkpoint.
    pub(super) fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_bytes
    }

    /// Lines that were set aside in this run, those among them that had been before.
    pub(super) fn lines_set_aside(&self) -> u64 {
        self.set_aside
    }

    /// Its ledger; none while its state could not be read.
    pub(super) fn ledger(&self) -> Option<&BackendLedger> {
        self.ledger.as_ref()
    }

    /// Its ledger, while state can be written: otherwise nothing may be deleted.
    pub(super) fn ledger_in_good_order(&mut self) -> Option<&mut BackendLedger> {
        self.ledger.as_mut().filter(|_| !self.fault.is_some())
    }

    /// When [`Desk::work`] has something to do. While a checkpoint is under way its end wakes the keeper, and only lines that could not be set aside are
    /// tried again.
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

    /// Whether a checkpoint is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.chain.is_none()
    }

    /// Takes a message in.
    pub(super) fn handle_mail<D: Disk>(&mut self, mail: KeeperMail, tools: &mut Tools<'_, D>) {
        self.untold = true;
        match mail {
            KeeperMail::FileOpened(opened) => self.open_file(&opened),
            KeeperMail::Segment(segment) => self.register(segment, tools),
            KeeperMail::FileIdentified { file, identity, .. } => {
                self.expect_ledger().identify_file(file, identity)
            }
            KeeperMail::FileGone { file, .. } => self.file_gone(file, tools),
            KeeperMail::FileMoved {
                file,
                name,
                away_unix,
                ..
            } => self.expect_ledger().file_moved(file, &name, away_unix),
            KeeperMail::EntriesMoved { files, legacy, .. } => {
                self.expect_ledger().entries_moved(&files, &legacy);
            }
            KeeperMail::EntriesForgotten { files, legacy, .. } => {
                self.expect_ledger().forget_entries(&files, &legacy);
            }
            KeeperMail::Settled { batch, .. } => self.hold_or_apply(Held::Settled(batch), tools),
            KeeperMail::Rejected(rejection) => self.held.push_back(Held::Rejected(rejection)),
            KeeperMail::Flush { epoch, .. } => self.begin_flush(epoch),
            KeeperMail::Flushed {
                epoch, party, sent, ..
            } => self.hold_or_apply(Held::Flushed(epoch, party, sent), tools),
            KeeperMail::Rework {
                ask, what, filter, ..
            } => self.rework(ask, what, &filter, tools),
            KeeperMail::KeepOutages { bytes, .. } => self.keep_outages(&bytes, tools),
            KeeperMail::ForgetOutages { .. } => self.forgets_outages = true,
            KeeperMail::Backend(_)
            | KeeperMail::LogAway(_)
            | KeeperMail::SyncPoint { .. }
            | KeeperMail::ForgetSyncPoint { .. }
            | KeeperMail::AskLeft { .. }
            | KeeperMail::Forget { .. }
            | KeeperMail::Settings(_)
            | KeeperMail::Stop => {
                unreachable!("these are the keeper's own")
            }
        }
    }

    /// What would be lost if this backend were forgotten, as a sentence, what is known to be `undelivered` among it; an error where that cannot be done now.
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
            return Err("lines of it are being set aside; try again in a moment".to_owned());
        }
        let rejected = disk
            .state_bytes(&self.info.name, rejected::NAME)
            .map_err(|cause| cause.to_string())?
            .unwrap_or(0);
        let mut left = Vec::from_iter(undelivered);
        if rejected > 0 {
            left.push(format!(
                "{rejected} bytes of lines that were set aside (rejected.jsonl)"
            ));
        }
        match ledger.known_logs() {
            0 => {}
            logs => left.push(format!(
                "how far {logs} logs that are not there were delivered: should one come back, all its lines would be sent again"
            )),
        }
        Ok((!left.is_empty()).then(|| left.join(", and ")))
    }

    /// Takes deleted files as let go by everybody, at the end. What could not be set aside is let go of too: it is sent again.
    pub(super) fn let_go_of_deleted<D: Disk>(&mut self, tools: &mut Tools<'_, D>) {
        if !planted!(EndTwice) {
            self.held.clear();
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.collapse();
            self.note_closed(tools);
        }
    }

    /// Why the last of it could not be written.
    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.text()
    }

    /// Shows the numbers.
    pub(super) fn tell(&mut self) {
        let Some(ledger) = self.ledger.as_ref().filter(|_| self.untold) else {
            return;
        };
        let (counters, totals) = (&self.info.counters, ledger.totals());
        // What is a part of it is never more than the whole, whenever somebody looks.
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
        self.untold = false;
    }

    /// Panics where something does not fit.
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
            .expect("nobody tells of a file before there was a plan")
    }

    fn open_file(&mut self, opened: &FileOpened) {
        let FileOpened {
            file,
            name,
            identity,
            start,
            ..
        } = opened;
        self.expect_ledger()
            .open_file(*file, name, *identity, *start);
    }

    fn register<D: Disk>(&mut self, segment: Segment, tools: &mut Tools<'_, D>) {
        let done = self.expect_ledger().register((&segment).into()).done;
        if let Some(done) = done {
            self.say_done(done, tools);
        }
    }

    fn file_gone<D: Disk>(&mut self, file: FileId, tools: &mut Tools<'_, D>) {
        self.expect_ledger().file_gone(file);
        self.note_closed(tools);
    }

    fn hold_or_apply<D: Disk>(&mut self, held: Held, tools: &mut Tools<'_, D>) {
        if self.held.is_empty() && self.ledger.is_some() {
            self.apply(held, tools);
        } else {
            self.held.push_back(held);
        }
    }

    fn apply<D: Disk>(&mut self, held: Held, tools: &mut Tools<'_, D>) {
        self.untold = true;
        match held {
            Held::Settled(batch) => {
                for settled in &batch {
                    self.settle(settled, tally(settled.settlement), tools);
                }
                tools.spares.give(batch);
            }
            Held::Rejected(rejection) => {
                self.set_aside += 1;
                let settled = Settled {
                    segment: rejection.segment,
                    line: rejection.line,
                    settlement: Settlement::Rejected,
                };
                self.settle(&settled, Tally::Rejected, tools);
                self.info.counters.rejections.add(rejection.reason, 1);
            }
            Held::Flushed(epoch, party, sent) => {
                let ledger = self.expect_ledger();
                for (segment, line) in sent {
                    ledger.note_sent(segment, line);
                }
                self.let_go(epoch, party, tools);
            }
        }
    }

    fn settle<D: Disk>(&mut self, settled: &Settled, tally: Tally, tools: &mut Tools<'_, D>) {
        let done = self
            .expect_ledger()
            .settle(settled.segment, settled.line, tally);
        if let Some(done) = done {
            self.say_done(done, tools);
            self.note_closed(tools);
        }
    }

    fn say_done<D: Disk>(&mut self, done: SegmentDone, tools: &mut Tools<'_, D>) {
        self.info.counters.settled_bytes.add(done.bytes);
        let SegmentDone {
            segment,
            lines,
            bytes,
        } = done;
        tools.outbox.feeder(FeederMail::SegmentDone {
            backend: self.info.id,
            segment,
            lines,
            bytes,
            epoch: self.epoch,
        });
    }

    /// Does what is asked with rejected lines. A full file is no reason not to: it makes room.
    fn rework<D: Disk>(
        &mut self,
        ask: u64,
        what: Rework,
        filter: &Filter,
        tools: &mut Tools<'_, D>,
    ) {
        let backend = &*self.info.name;
        let outcome = self
            .rejected
            .rework(tools.disk, backend, what, filter, tools.now.unix)
            .map_err(|error| error.to_string());
        match &outcome {
            Ok(Reworked { done: 0, .. }) => {}
            Ok(Reworked { done, left, .. }) if what == Rework::Replay => {
                tracing::info!(
                    backend,
                    lines = done,
                    left,
                    "rejected lines are replayed, as asked"
                );
            }
            Ok(Reworked { done, left, .. }) => {
                tracing::warn!(
                    backend,
                    lines = done,
                    left,
                    "rejected lines were thrown away, as asked"
                );
            }
            Err(why) => tracing::error!(backend, why, "rejected lines stay where they are"),
        }
        tools.outbox.control(ControlMail::Reworked {
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
                gone: Vec::new(),
            });
        }
    }

    fn let_go<D: Disk>(&mut self, epoch: Epoch, party: Party, tools: &mut Tools<'_, D>) {
        self.begin_flush(epoch);
        let Some(flush) = self.flush.as_mut().filter(|flush| flush.epoch == epoch) else {
            return;
        };
        if !flush.gone.contains(&party) {
            flush.gone.push(party);
        }
        if flush.gone.len() == tools.parties || planted!(ForgetEpochBarrier) {
            self.flush = None;
            self.epoch = epoch;
            self.send_plan(tools);
            tools.outbox.control_after_feeder(ControlMail::Flushed {
                backend: self.info.id,
                epoch,
            });
        }
    }

    fn send_plan<D: Disk>(&mut self, tools: &mut Tools<'_, D>) {
        let plan = self.expect_ledger().collapse();
        self.note_closed(tools);
        tools.outbox.feeder(FeederMail::Plan {
            backend: self.info.id,
            epoch: self.epoch,
            plan,
        });
    }

    fn note_closed<D: Disk>(&mut self, tools: &mut Tools<'_, D>) {
        for closed in self.expect_ledger().take_closed() {
            if !closed.deleted && closed.unsettled > 0 {
                let (backend, file, lines) =
                    (&*self.info.name, &*closed.resume.name, closed.unsettled);
                tracing::warn!(
                    backend,
                    file,
                    lines,
                    "this log was deleted, moved away or replaced before its last lines were delivered: they are delivered only if it comes back"
                );
            }
            tools.closed.push(closed);
        }
    }
}

fn tally(settlement: Settlement) -> Tally {
    match settlement {
        Settlement::Applied | Settlement::AppliedBefore => Tally::Applied,
        Settlement::Superseded => Tally::Superseded,
        Settlement::Absent => Tally::Absent,
        Settlement::Rejected => panic!(
            "a line that is set aside comes with its reason, to be on disk before it counts as settled"
        ),
    }
}
