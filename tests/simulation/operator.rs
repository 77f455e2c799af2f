//! Somebody who lays hands on HA's logs, and writers who come too late.
//!
//! What is promised then (G10): a log that shrank or was replaced is read again as a new one, and
//! said so. Lines that were taken away are delivered or not; all others are, in their order, and
//! what is left of a key's operations is a sequence with gaps.

use std::ops::Range;
use std::time::Duration;

use hustdbsync::internals::ledger::checkpoint::Checkpoint;
use hustdbsync::internals::ledger::identity::Identity;
use hustdbsync::internals::replay::disk::LogMeta;

use crate::world::{Event, World};

/// Between two deeds, at most.
const OPERATE_GAP: Duration = Duration::from_secs(8);
const STRAY_GAP: Duration = Duration::from_secs(4);
/// Lines that are written at once to a log that was emptied, at most: it can be longer than it was
/// before anybody looks.
const REGROWN_LINES_MAX: u32 = 60;
/// One that had no more than this is, always.
const REGROWN_BYTES_MAX: u64 = 16 * 1024;

fn is_of(identity: &Identity, meta: &LogMeta) -> bool {
    identity.key() == meta.key()
}

impl World {
    /// Lays hands on a log, and plans the next time.
    pub(crate) fn operate(&mut self, place: usize) {
        if self.writers[place].is_over {
            return;
        }
        let next = Duration::from_micros(self.whims.u64(..OPERATE_GAP.as_micros() as u64));
        self.at(self.now + next, Event::Operate { place });
        let gapped = self.gapped_log(place);
        let gapped = gapped.filter(|_| self.whims.bool());
        let (deed, file) = match gapped {
            Some(file) => (2, Some(file)),
            None => (self.whims.u32(..6), self.some_log(place)),
        };
        // One that is being read, as most are that HA writes to, is known by more than its name.
        let current = &self.writers[place].file;
        let is_whole = deed < 2 && self.whole_logs(place).contains(current);
        let file = match is_whole && self.whims.bool() {
            true => Some(self.writers[place].file.clone()),
            false => file,
        };
        let Some(file) = file else {
            return;
        };
        let name = self.backends[place].name.clone();
        let lines = self.backends[place].oracle.next_line(&file);
        let before = self.bytes_of(place, &file);
        let (kept, what) = match deed {
            // logrotate's copytruncate.
            0..=1 => (0, "empties"),
            2..=3 => (self.draw_cut(place, &file, lines), "cuts"),
            _ => (0, "deletes"),
        };
        self.note(format_args!(
            "{place}: somebody {what} {file}, {kept} of {lines} lines are left"
        ));
        if what == "deletes" {
            self.note_loss(place, &file, 0);
            self.disk.inner.remove_log(&name, &file);
        } else {
            let bytes = self.disk.inner.log(&name, &file).unwrap_or_default();
            let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let end = match kept {
                0 => 0,
                kept => ends
                    .map(|(at, _)| at + 1)
                    .nth(kept as usize - 1)
                    .unwrap_or(bytes.len()),
            };
            self.note_loss(place, &file, end);
            self.disk.inner.truncate_log(&name, &file, end);
        }
        self.backends[place].oracle.handle_taken(&file, kept);
        if self.whims.bool() {
            for _ in 0..self.whims.u32(1..=REGROWN_LINES_MAX) {
                self.write_alone(place, &file);
            }
            // Then nothing but its bytes tells that it is another.
            while what != "deletes"
                && before <= REGROWN_BYTES_MAX
                && self.bytes_of(place, &file) <= before
            {
                self.write_alone(place, &file);
            }
        }
    }

    /// How long a log is.
    fn bytes_of(&self, place: usize, file: &str) -> u64 {
        let meta = self.disk.inner.meta_of(&self.backends[place].name, file);
        meta.map_or(0, |meta| meta.bytes)
    }

    /// How many lines are left of a log: any number, or so many that of what is settled some have
    /// gone, and not of what is settled without a gap.
    fn draw_cut(&mut self, place: usize, file: &str, lines: u64) -> u64 {
        match self.settled_ahead(place, file) {
            Some(ahead) if self.whims.bool() => self.whims.u64(ahead).min(lines),
            _ => self.whims.u64(..=lines),
        }
    }

    /// The lines of a log that begin behind the first one that is due and end with the last one
    /// that is settled, durably, where there are any.
    fn settled_ahead(&self, place: usize, file: &str) -> Option<Range<u64>> {
        let name = &self.backends[place].name;
        let state = self.disk.inner.durable_state(name, "checkpoint")?;
        let checkpoint = Checkpoint::decode(&state).ok()?;
        let meta = self.disk.inner.meta_of(name, file)?;
        let mut files = checkpoint.resume.files.iter();
        let entry = files.find(|entry| is_of(&entry.identity, &meta))?;
        let ahead = entry.line + 1..entry.settled.end();
        (!ahead.is_empty()).then_some(ahead)
    }

    /// A log that HA has done with, of which lines are settled behind one that is due.
    fn gapped_log(&self, place: usize) -> Option<String> {
        let mut logs = self.whole_logs(place).into_iter();
        logs.find(|file| {
            *file != self.writers[place].file && self.settled_ahead(place, file).is_some()
        })
    }

    /// A line to a log of whatever age, and when the next one comes.
    pub(crate) fn stray(&mut self, place: usize) {
        if self.writers[place].is_over {
            return;
        }
        let next = Duration::from_micros(self.whims.u64(..STRAY_GAP.as_micros() as u64));
        self.at(self.now + next, Event::Stray { place });
        if let Some(file) = self.some_log(place) {
            self.write_alone(place, &file);
        }
    }

    /// A log that nobody is in the midst of writing a line to.
    fn some_log(&mut self, place: usize) -> Option<String> {
        let mut logs = self.whole_logs(place);
        (!logs.is_empty()).then(|| logs.swap_remove(self.whims.usize(..logs.len())))
    }

    /// All such logs.
    fn whole_logs(&self, place: usize) -> Vec<String> {
        let name = &self.backends[place].name;
        let mut logs = self.logs(place);
        logs.retain(|file| {
            let bytes = self.disk.inner.log(name, file).unwrap_or_default();
            bytes.last().is_none_or(|last| *last == b'\n') && !self.is_being_written(place, file)
        });
        logs
    }
}
