//! The part of a backend state that reads and writes the disk.

use std::time::Duration;

use crate::clock::Now;
use crate::ledger::backend::BackendLedger;
use crate::ledger::rejected::RejectedLine;
use crate::limits::{
    CHECKPOINT_BYTES_MAX, CHECKPOINT_HANGS, CHECKPOINT_REST_PER_MIB, REJECTED_WRITE_BYTES_MAX,
};
use crate::replay::checkpointer::backend_state::{BackendState, Context, Held, LateCounts};
use crate::replay::checkpointer::open;
use crate::replay::checkpointer::rejects::rejected_line;
use crate::replay::checkpointer::store::{
    StoreError, forget_outages, keep_outages, not_replaced, replace_checkpoint,
};
use crate::replay::disk::{Area, Disk, unless_missing};
use crate::replay::durable_write::{Completed, JobId, Submitted};
use crate::replay::messages::{ControlMessage, WorkerMessage};

impl<D: Disk> Context<'_, D> {
    /// Releases the spare room if the write failed because the disk is full. Returns whether a
    /// retry is worthwhile. It is, too, if the room was released for another write since this one
    /// began, when that had been done `times_before`.
    fn makes_room_after<T>(&mut self, result: &Result<T, StoreError>, times_before: u32) -> bool {
        let lacks_room = result.as_ref().is_err_and(StoreError::lacks_room);
        let is_released = self.spare.times_given_up() > times_before;
        lacks_room && (is_released || self.spare.give_up(self.disk, self.now))
    }
}

/// How long the next checkpoint waits at least after one of this many bytes.
fn rest_after(bytes: u64) -> Duration {
    let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    CHECKPOINT_REST_PER_MIB.saturating_mul(mebibytes)
}

impl BackendState {
    /// Does what is due: reads state, writes rejected lines, begins a checkpoint.
    pub(in crate::replay::checkpointer) fn work<D: Disk>(&mut self, cx: &mut Context<'_, D>) {
        if self.is_under_way() && self.hangs_at <= cx.now.monotonic {
            self.hangs_at = Duration::MAX;
            self.note_tried(Err(StoreError::CheckpointHangs(CHECKPOINT_HANGS)), cx);
        }
        let retries = self.fault.is_some();
        let retry_at = self.fault.retry_at();
        if retry_at.is_some_and(|retry_at| cx.now.monotonic < retry_at) {
            return;
        }
        let stored = self.store(retries, cx);
        self.note_tried(stored, cx);
    }

    /// At shutdown: does the same with whatever there is, and as soon as no earlier checkpoint is
    /// under way. Once, unless that fails on a full disk and room is made on it.
    pub(in crate::replay::checkpointer) fn work_last<D: Disk>(&mut self, cx: &mut Context<'_, D>) {
        while !self.is_last_begun && !self.is_under_way() {
            self.is_last_begun = true;
            let stored = self.store(true, cx);
            self.note_tried(stored, cx);
        }
    }

    /// At shutdown, before the last checkpoint: reads state and writes rejected lines at once.
    pub(in crate::replay::checkpointer) fn work_before_last<D: Disk>(
        &mut self,
        cx: &mut Context<'_, D>,
    ) {
        let stored = self.store_rejected(cx);
        self.note_tried(stored, cx);
    }

    /// Handles the completion of the checkpoint that was under way.
    pub(in crate::replay::checkpointer) fn handle_completed<D: Disk>(
        &mut self,
        completed: Completed,
        cx: &mut Context<'_, D>,
    ) {
        match self.end_checkpoint(completed, cx) {
            // The fault is reported already, and both are retried at the same time.
            Err(_) if self.rejected_failed => {}
            result => self.note_tried(result, cx),
        }
    }

    /// Raises or clears the fault after an attempt. It is cleared only if everything has succeeded.
    fn note_tried<D: Disk>(&mut self, result: Result<(), StoreError>, cx: &mut Context<'_, D>) {
        match result {
            Err(error) => self.fault.raise(&error, &self.info, cx.outbox, cx.now),
            Ok(()) if self.rejected_failed || self.checkpoint_failed || self.is_under_way() => {}
            Ok(()) => self.fault.clear(&self.info, cx.outbox),
        }
        self.answer_waiting(cx);
    }

    /// Rejects lines that were never read from a log: those in a deleted file after its last
    /// settled line. Each line, or piece of a line, comes with what it counts as.
    pub(in crate::replay::checkpointer) fn reject<D: Disk>(
        &mut self,
        reason: &'static str,
        lines: &[(RejectedLine, LateCounts)],
        cx: &mut Context<'_, D>,
    ) -> Result<(), StoreError> {
        let times_before = cx.spare.times_given_up();
        let (backend, rejected) = (&*self.info.name, &mut self.rejected);
        let mut write = |disk: &mut D| {
            let lines = lines.iter().map(|(line, _)| (line.clone(), None));
            rejected.write(disk, backend, lines, usize::MAX, u64::MAX)
        };
        let mut written = write(cx.disk);
        if cx.makes_room_after(&written, times_before) {
            written = write(cx.disk);
        }
        written?;
        self.count_rejected(cx);
        let counted = lines
            .iter()
            .filter(|(_, counts)| *counts != LateCounts::Nothing);
        for (_, counts) in counted {
            self.rejected_total += 1;
            let was_counted = *counts == LateCounts::Settled;
            self.expect_ledger().count_rejected(was_counted);
            self.info.counters.rejections.add(reason, 1);
        }
        self.unpublished = true;
        Ok(())
    }

    fn store<D: Disk>(
        &mut self,
        now_or_never: bool,
        cx: &mut Context<'_, D>,
    ) -> Result<(), StoreError> {
        let rejected = self.store_rejected(cx);
        let forgotten = self.forget_outages(cx);
        let due = now_or_never || self.checkpoint_at <= cx.now.monotonic;
        let changed = self.ledger.as_ref().is_some_and(BackendLedger::is_changed);
        // A full rejected.jsonl must not keep what is settled from being written.
        let checkpoint = if due && changed && !self.is_under_way() {
            self.begin_checkpoint(cx)
        } else {
            Ok(())
        };
        rejected.and(forgotten).and(checkpoint)
    }

    /// Removes the stored outages, if that was requested. After that, records may be sent to the
    /// backend.
    fn forget_outages<D: Disk>(&mut self, cx: &mut Context<'_, D>) -> Result<(), StoreError> {
        if !self.forgets_outages {
            return Ok(());
        }
        forget_outages(cx.disk, &self.info.name)?;
        self.forgets_outages = false;
        let backend = self.info.id;
        cx.outbox
            .control(ControlMessage::OutagesForgotten { backend });
        Ok(())
    }

    /// Stores the known outages. If that fails, less is known after a restart, and the scores of
    /// more increments are looked up.
    pub(in crate::replay::checkpointer) fn keep_outages<D: Disk>(
        &mut self,
        bytes: &[u8],
        cx: &mut Context<'_, D>,
    ) {
        let backend = &*self.info.name;
        if let Err(error) = keep_outages(cx.disk, backend, bytes) {
            let cause = error.to_string();
            tracing::debug!(backend, cause, "its outages could not be stored");
        }
    }

    fn store_rejected<D: Disk>(&mut self, cx: &mut Context<'_, D>) -> Result<(), StoreError> {
        if self.ledger.is_none() {
            self.open(cx)?;
        }
        let times_before = cx.spare.times_given_up();
        let mut rejected = self.write_rejected(cx);
        if cx.makes_room_after(&rejected, times_before) {
            rejected = self.write_rejected(cx);
        }
        self.rejected_failed = rejected.is_err();
        rejected
    }

    fn open<D: Disk>(&mut self, cx: &mut Context<'_, D>) -> Result<(), StoreError> {
        let attempt = self.fault.failures() + 1;
        let found = open::find(cx.disk, &self.info.name, attempt)?;
        self.rejected.remember(cx.disk, &self.info.name)?;
        self.count_rejected(cx);
        let backend = self.info.id;
        cx.outbox.control(ControlMessage::OutagesRead {
            backend,
            kept: found.outages,
        });
        self.ledger = Some(found.ledger);
        self.replaced = found.replaced;
        self.unpublished = true;
        // Totals first: they are no growth of this process.
        self.publish_counters();
        self.info.counters.state_read.set(1);
        if !self.expect_ledger().is_changed() {
            self.remove_replaced(cx);
        }
        if self.flush.is_none() {
            self.send_plan(cx);
        }
        Ok(())
    }

    /// Writes lines to be rejected, as many as fit one write, then settles them and applies what
    /// was waiting after them; again until nothing is held.
    fn write_rejected<D: Disk>(&mut self, cx: &mut Context<'_, D>) -> Result<(), StoreError> {
        loop {
            while let Some(Held::Settled(_) | Held::Flushed(..)) = self.held.front() {
                let held = self.held.pop_front().expect("there is one in front");
                self.apply(held, cx);
            }
            if self.held.is_empty() {
                return Ok(());
            }
            let mut written = self.write_held(cx)?;
            self.count_rejected(cx);
            while written > 0 {
                let held = self.held.pop_front().expect("what was written is held");
                written -= usize::from(matches!(held, Held::Rejected(_)));
                self.apply(held, cx);
            }
        }
    }

    /// Publishes how many lines rejected.jsonl has. What somebody takes out of it by hand shows
    /// within a `release_interval`; a failure shows when the next line is rejected.
    pub(in crate::replay::checkpointer) fn count_rejected<D: Disk>(
        &mut self,
        cx: &mut Context<'_, D>,
    ) {
        if let Ok(lines) = self.rejected.lines(cx.disk, &self.info.name) {
            self.info.counters.rejected_lines.set(lines);
        }
    }

    /// Writes held rejections from the front; returns how many.
    fn write_held<D: Disk>(&mut self, cx: &mut Context<'_, D>) -> Result<usize, StoreError> {
        let ledger = self
            .ledger
            .as_ref()
            .expect("rejections are of registered segments");
        let backend = &*self.info.name;
        let lines = self.held.iter().filter_map(|held| match held {
            Held::Rejected(rejection) => {
                Some((rejected_line(backend, rejection, ledger), rejection.in_log))
            }
            Held::Settled(_) | Held::Flushed(..) => None,
        });
        self.rejected.write(
            cx.disk,
            backend,
            lines,
            REJECTED_WRITE_BYTES_MAX,
            cx.settings.rejected_bytes_max,
        )
    }

    /// Begins a checkpoint of the ledger as it is now.
    fn begin_checkpoint<D: Disk>(&mut self, cx: &mut Context<'_, D>) -> Result<(), StoreError> {
        let mut durable_write = self.durable_write.take().expect("none is under way");
        self.waiting_for_this.append(&mut self.waiting);
        let ledger = self.expect_ledger();
        replace_checkpoint(&mut durable_write.steps, ledger.forgets_files());
        ledger.begin_checkpoint().encode(&mut durable_write.bytes);
        if durable_write.bytes.len() > CHECKPOINT_BYTES_MAX {
            let bytes = durable_write.bytes.len();
            self.durable_write = Some(durable_write);
            self.checkpoint_failed = true;
            self.expect_ledger().checkpoint_failed();
            return Err(StoreError::CheckpointTooLarge(bytes));
        }
        self.checkpoint_bytes = durable_write.bytes.len() as u64;
        self.room_made_before = cx.spare.times_given_up();
        if failpoint!(DurableWhenBegun) {
            self.expect_ledger().checkpoint_durable();
        }
        match cx.disk.begin(JobId(self.info.id.index()), durable_write) {
            Submitted::Completed(completed) => self.end_checkpoint(completed, cx),
            Submitted::UnderWay => {
                self.hangs_at = cx.now.after(CHECKPOINT_HANGS);
                Ok(())
            }
        }
    }

    /// The checkpoint under way has become durable, or has failed.
    fn end_checkpoint<D: Disk>(
        &mut self,
        completed: Completed,
        cx: &mut Context<'_, D>,
    ) -> Result<(), StoreError> {
        let durable_write = completed.durable_write;
        let was_under_way = self.durable_write.replace(durable_write).is_none();
        assert!(was_under_way, "a durable write completes once");
        if !failpoint!(DurableWhenBegun) {
            self.checkpoint_failed = completed.result.is_err();
            let ledger = self.expect_ledger();
            if let Err(error) = completed.result {
                ledger.checkpoint_failed();
                let failed = Err(not_replaced(cx.disk, &self.info.name, error));
                if cx.makes_room_after(&failed, self.room_made_before) {
                    // It is retried in this turn or the next, before anybody else takes the room.
                    self.checkpoint_at = Duration::ZERO;
                    self.waiting.append(&mut self.waiting_for_this);
                    self.is_last_begun = false;
                    return Ok(());
                }
                return failed;
            }
            ledger.checkpoint_durable();
        }
        self.unpublished = true;
        let counters = &self.info.counters;
        counters.checkpoints.add(1);
        counters.checkpoint_unix.set(cx.now.unix);
        self.checkpoint_at = self.next_checkpoint_at(cx.settings.checkpoint_interval, cx.now);
        self.checkpoint_ended_at = cx.now.monotonic;
        if !self.waiting.is_empty() {
            self.hasten_for_waiting();
        }
        self.remove_replaced(cx);
        Ok(())
    }

    /// Workers wait for the next checkpoint: it is due as soon as the last one lets it.
    pub(in crate::replay::checkpointer) fn hasten_for_waiting(&mut self) {
        let at = self.checkpoint_ended_at;
        let at = at.saturating_add(rest_after(self.checkpoint_bytes));
        self.checkpoint_at = self.checkpoint_at.min(at);
    }

    /// Answers workers that wait for a checkpoint, but for those whose one is under way or to come.
    /// While none can be written, they are not held up.
    pub(in crate::replay::checkpointer) fn answer_waiting<D: Disk>(
        &mut self,
        cx: &mut Context<'_, D>,
    ) {
        if self.waiting.is_empty() && self.waiting_for_this.is_empty() {
            return;
        }
        let is_changed = self.ledger.as_ref().is_some_and(BackendLedger::is_changed);
        let has_ended = self.fault.is_some() || !self.is_under_way();
        let mut answered = Vec::new();
        if has_ended {
            answered.append(&mut self.waiting_for_this);
        }
        if self.fault.is_some() || has_ended && !is_changed && self.held.is_empty() {
            answered.append(&mut self.waiting);
        }
        let backend = self.info.id;
        for worker in answered {
            cx.outbox
                .worker(worker, WorkerMessage::CheckpointDurable { backend });
        }
    }

    fn next_checkpoint_at(&self, interval: Duration, now: Now) -> Duration {
        now.after(interval.max(rest_after(self.checkpoint_bytes)))
    }

    /// There is another `checkpoint_interval`: the next checkpoint is due no later than after that.
    pub(in crate::replay::checkpointer) fn hasten_checkpoint(
        &mut self,
        interval: Duration,
        now: Now,
    ) {
        let at = self.next_checkpoint_at(interval, now);
        self.checkpoint_at = self.checkpoint_at.min(at);
    }

    /// Removes the original's files that our durable checkpoint replaces. A file that cannot be
    /// removed stays until the next start; it is not read if there is a good checkpoint.
    fn remove_replaced<D: Disk>(&mut self, cx: &mut Context<'_, D>) {
        for file in std::mem::take(&mut self.replaced) {
            let backend = &*self.info.name;
            match unless_missing(cx.disk.remove(Area::State, backend, &file)) {
                Ok(_) => tracing::info!(
                    backend,
                    file,
                    "the original's status is taken over, its file removed"
                ),
                Err(cause) => {
                    tracing::warn!(backend, file, %cause, "a status file of the original cannot be \
                        removed; it stays until the next start, and is not read beside our \
                        checkpoint")
                }
            }
        }
    }
}
