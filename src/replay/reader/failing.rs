//! Logs that can't be read.
//!
//! Reading is tried again and again, and the newer logs of the backend wait. But what fails may be
//! the descriptor alone: one of NFS is stale for good once the log was deleted on another host, or
//! the server's state is lost; and a log whose name is gone has no other one. So one that has
//! failed for [`DESCRIPTOR_FAILS`](crate::limits::DESCRIPTOR_FAILS) is closed:
//!
//! ```text
//!  fails for long ─┬─ has a name ─▶ opened anew by it, where reading goes on
//!                  └─ has none ───▶ away, with what was not read of it; newer logs are read
//! ```
//!
//! A line too long for memory is read twice: to scan it, and again while it is sent. If it can't be
//! read again and its log has no name, it is rejected.

use std::io;
use std::sync::Arc;

use crate::clock::Now;
use crate::replay::disk::{Disk, OpenFile};
use crate::replay::messages::{BodyRequest, FileId};
use crate::replay::reader::LogReader;
use crate::replay::reader::backoff::Backoff;
use crate::replay::reader::feed::Step;
use crate::replay::reader::resume::byte_of;

impl<D: Disk> LogReader<D> {
    /// A file could not be opened or read. The backend's newer files wait for it; other backends do
    /// not.
    pub(super) fn handle_failure(
        &mut self,
        at: usize,
        index: usize,
        error: &io::Error,
        now: Now,
    ) -> Step {
        let source = &mut self.sources[at];
        source.listing.want(now);
        let warn = source.reading.handle_failure(now);
        let until = source.reading.waits_until(now).unwrap_or(now.monotonic);
        // A file that has just been deleted is not a failure; the listing will show it.
        if error.kind() == io::ErrorKind::NotFound {
            return Step::Until(until);
        }
        if warn {
            let (backend, file) = (&source.info.name, source.catalog.find(index));
            let file = file.map_or("", |file| &*file.name);
            tracing::warn!(%backend, file, cause = %error, "the log can't be read; trying again, \
                newer ones of this backend wait for it");
        }
        self.note_faults(at, |faults| faults.reading = Some(error.to_string()));
        if is_stale(&self.sources[at].reading, now) {
            self.close_failing(at, index, now);
        }
        Step::Until(until)
    }

    /// A piece of a long line can't be read through the descriptor by which the line was scanned.
    pub(super) fn handle_failing_body(
        &mut self,
        at: usize,
        ask: BodyRequest,
        error: &io::Error,
        now: Now,
    ) -> Step {
        let source = &mut self.sources[at];
        let Some(line) = source.bodies.line_mut(ask.segment) else {
            return Step::Done;
        };
        let (file, failing, name) = (line.file, Arc::clone(&line.log), Arc::clone(&line.name));
        let backend = source.info.name.clone();
        if source.bodies.reading.handle_failure(now) {
            tracing::warn!(%backend, file = %name, cause = %error, "the log can't be read; trying \
                again, a long line of it waits to be sent");
        }
        let reading = source.bodies.reading;
        let until = reading.waits_until(now).unwrap_or(now.monotonic);
        self.note_faults(at, |faults| faults.body = Some(error.to_string()));
        if is_stale(&reading, now) {
            match self.open_anew(at, file, &failing, now) {
                Ok(Some(log)) => {
                    if let Some(line) = self.sources[at].bodies.line_mut(ask.segment) {
                        line.log = log;
                    }
                }
                Ok(None) => {
                    tracing::error!(%backend, file = %name, cause = %error, "a log that can't be \
                        read has no name any more; a long line of it that waited to be sent is \
                        rejected");
                    self.handle_readable_body(at);
                    self.send_piece(ask, None);
                    return Step::Done;
                }
                // Its listing will tell what became of it, or it can be opened later.
                Err(_) => self.sources[at].listing.want(now),
            }
        }
        self.sources[at].bodies.asks.push_front(ask);
        Step::Until(until)
    }

    /// The log by a descriptor other than the failing one; `None` if it has no name by which to
    /// open it.
    fn open_anew(
        &mut self,
        at: usize,
        file: FileId,
        failing: &Arc<D::File>,
        now: Now,
    ) -> io::Result<Option<Arc<D::File>>> {
        let catalog = &mut self.sources[at].catalog;
        let Some(index) = catalog.index_of(file) else {
            return Ok(None);
        };
        let held = catalog.file(index).log.as_ref();
        if held.is_none_or(|held| Arc::ptr_eq(held, failing)) {
            if catalog.file(index).unlinked {
                return Ok(None);
            }
            catalog.close(index);
            if !self.open(at, index, now)? {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        Ok(self.sources[at].catalog.file(index).log.clone())
    }

    /// A long line that waits to be sent could be read again, or is given up.
    pub(super) fn handle_readable_body(&mut self, at: usize) {
        self.note_faults(at, |faults| faults.body = None);
        self.sources[at].bodies.reading.handle_success();
    }

    /// Something was read of a log.
    pub(super) fn handle_readable(&mut self, at: usize) {
        self.note_faults(at, |faults| faults.reading = None);
        if self.sources[at].reading.handle_success() {
            tracing::info!(backend = %self.sources[at].info.name, "its logs can be read again");
        }
    }

    /// Closes the open logs that don't even tell their length, or, where all do, the one that was
    /// to be read.
    fn close_failing(&mut self, at: usize, index: usize, now: Now) {
        let catalog = &self.sources[at].catalog;
        let fails = |open: &usize| {
            let log = catalog.file(*open).log.as_ref();
            log.is_some_and(|log| log.meta().is_err())
        };
        let mut failing: Vec<usize> = catalog.open().iter().copied().filter(fails).collect();
        if failing.is_empty() {
            failing.extend(catalog.open().iter().copied().filter(|open| *open == index));
        }
        for index in failing {
            let catalog = &mut self.sources[at].catalog;
            catalog.close(index);
            // The checkpointer looks after those that it has deleted.
            let file = catalog.file(index);
            if file.unlinked && !file.deleted {
                self.give_up(at, index, now);
            }
        }
    }

    /// A log has neither a name nor a descriptor.
    fn give_up(&mut self, at: usize, index: usize, now: Now) {
        let source = &self.sources[at];
        let file = source.catalog.file(index);
        let unread_bytes = file.unread_bytes(byte_of(source.resume.as_ref()));
        let loss = file.handle_unlinked(false, unread_bytes);
        self.handle_loss(at, &loss);
        self.send_away(at, index, now);
    }
}

/// Whether reading has failed for so long that the descriptor may be the reason.
fn is_stale(reading: &Backoff, now: Now) -> bool {
    reading.has_lasted(now) && !failpoint!(KeepStale)
}
