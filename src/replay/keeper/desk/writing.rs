//! A desk's dealings with the disk.

use crate::ledger::backend::BackendLedger;
use crate::ledger::rejected::RejectedLine;
use crate::limits::{CHECKPOINT_BYTES_MAX, REJECTED_WRITE_BYTES_MAX};
use crate::replay::disk::Disk;
use crate::replay::keeper::desk::{Desk, Held, Tools};
use crate::replay::keeper::open;
use crate::replay::keeper::rejects::rejected_line;
use crate::replay::keeper::store::{StoreError, doing, replace_checkpoint};

impl Desk {
    /// Does what is due: reads state, writes rejected lines, writes a checkpoint. `last` writes whatever there is.
    pub(in crate::replay::keeper) fn work<D: Disk>(
        &mut self,
        last: bool,
        tools: &mut Tools<'_, D>,
    ) {
        let retries = self.fault.is_some();
        if !last
            && self
                .fault
                .retry_at()
                .is_some_and(|retry_at| tools.now.monotonic < retry_at)
        {
            return;
        }
        match self.store(retries || last, tools) {
            Ok(()) => self.fault.clear(&self.info, tools.outbox),
            Err(error) => self
                .fault
                .raise(&error, &self.info, tools.outbox, tools.now),
        }
    }

    /// Sets lines aside that were never fed: what stands in a deleted file behind what was settled. With each line, whether it has been counted as
    /// processed.
    pub(in crate::replay::keeper) fn set_aside<D: Disk>(
        &mut self,
        reason: &'static str,
        lines: &[(RejectedLine, bool)],
        tools: &mut Tools<'_, D>,
    ) -> Result<(), StoreError> {
        let written = lines.iter().map(|(line, _)| line.clone());
        self.rejected
            .write(tools.disk, &self.info.name, written, usize::MAX, u64::MAX)?;
        for (_, was_counted) in lines {
            self.set_aside += 1;
            self.expect_ledger().count_set_aside(*was_counted);
        }
        self.info
            .counters
            .rejections
            .add(reason, lines.len() as u64);
        self.untold = true;
        Ok(())
    }

    fn store<D: Disk>(
        &mut self,
        now_or_never: bool,
        tools: &mut Tools<'_, D>,
    ) -> Result<(), StoreError> {
        if self.ledger.is_none() {
            self.open(tools)?;
        }
        let rejected = self.write_rejected(tools);
        let due = now_or_never || self.checkpoint_at <= tools.now.monotonic;
        let changed = self.ledger.as_ref().is_some_and(BackendLedger::is_changed);
        // A full rejected.jsonl is no reason to forget what is settled.
        let checkpoint = if due && changed {
            self.write_checkpoint(tools)
        } else {
            Ok(())
        };
        rejected.and(checkpoint)
    }

    fn open<D: Disk>(&mut self, tools: &mut Tools<'_, D>) -> Result<(), StoreError> {
        let attempt = self.fault.failures() + 1;
        let found = open::find(tools.disk, &self.info.name, attempt)?;
        self.ledger = Some(found.ledger);
        self.replaced = found.replaced;
        self.untold = true;
        self.info.counters.state_read.set(1);
        if !self.expect_ledger().is_changed() {
            self.remove_replaced(tools);
        }
        if self.flush.is_none() {
            self.send_plan(tools);
        }
        Ok(())
    }

    /// Writes what is to be set aside, as much as goes at once, and then books it and what was waiting behind it.
    fn write_rejected<D: Disk>(&mut self, tools: &mut Tools<'_, D>) -> Result<(), StoreError> {
        loop {
            while let Some(Held::Settled(_) | Held::Flushed(..)) = self.held.front() {
                let held = self.held.pop_front().expect("there is one in front");
                self.apply(held, tools);
            }
            if self.held.is_empty() {
                return Ok(());
            }
            let mut written = self.write_held(tools)?;
            while written > 0 {
                let held = self.held.pop_front().expect("what was written is held");
                written -= usize::from(matches!(held, Held::Rejected(_)));
                self.apply(held, tools);
            }
        }
    }

    /// Writes held rejections from the front; gives how many.
    fn write_held<D: Disk>(&mut self, tools: &mut Tools<'_, D>) -> Result<usize, StoreError> {
        let ledger = self
            .ledger
            .as_ref()
            .expect("rejections are of booked segments");
        let backend = &*self.info.name;
        let lines = self.held.iter().filter_map(|held| match held {
            Held::Rejected(rejection) => Some(rejected_line(backend, rejection, ledger)),
            Held::Settled(_) | Held::Flushed(..) => None,
        });
        self.rejected.write(
            tools.disk,
            backend,
            lines,
            REJECTED_WRITE_BYTES_MAX,
            tools.settings.rejected_bytes_max,
        )
    }

    fn write_checkpoint<D: Disk>(&mut self, tools: &mut Tools<'_, D>) -> Result<(), StoreError> {
        let ledger = self
            .ledger
            .as_mut()
            .expect("a backend with a changed ledger has one");
        if ledger.forgets_files() {
            tools
                .disk
                .sync_log_folder(&self.info.name)
                .map_err(doing("sync the log folder"))?;
        }
        ledger.checkpoint().encode(&mut self.encoded);
        if self.encoded.len() > CHECKPOINT_BYTES_MAX {
            return Err(StoreError::CheckpointTooLarge(self.encoded.len()));
        }
        replace_checkpoint(tools.disk, &self.info.name, &self.encoded)?;
        ledger.note_durable();
        let counters = &self.info.counters;
        counters.checkpoints.add(1);
        counters.checkpoint_unix.set(tools.now.unix);
        self.checkpoint_at = tools.now.after(tools.settings.checkpoint_interval);
        self.remove_replaced(tools);
        Ok(())
    }

    /// Removes what our durable checkpoint replaces. A file that cannot be removed stays for the next start: it is not read beside a good checkpoint.
    fn remove_replaced<D: Disk>(&mut self, tools: &mut Tools<'_, D>) {
        for file in std::mem::take(&mut self.replaced) {
            let backend = &*self.info.name;
            match tools.disk.remove_state(backend, &file) {
                Ok(()) => tracing::info!(
                    backend,
                    file,
                    "the original's status is taken over, its file removed"
                ),
                Err(cause) => {
                    tracing::warn!(backend, file, %cause, "a status file of the original cannot be removed; it stays until the next start, and is not read beside our checkpoint")
                }
            }
        }
    }
}
