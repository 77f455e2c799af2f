//! One backend as the reader sees it: whether its logs may be read, what is in flight, and when its
//! folder is listed.
//!
//! ```text
//!                 Up(e) and Plan(e), in any order, then a listing
//!  waiting (e) ─────────────────────────────────────────────────▶ fed (e)
//!      ▲                                                             │
//!      └──────────────────────────── Down(e + 1) ────────────────────┘
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::identity::LogKey;
use crate::limits::{FIRST_LINES_KEPT_MAX, SEVERAL_NAMES_LOOK};
use crate::replay::messages::{BackendInfo, Epoch, ResumePlan};
use crate::replay::reachability::KnownOutages;
use crate::replay::reader::backoff::Backoff;
use crate::replay::reader::catalog::Catalog;
use crate::replay::reader::log_file::{Loss, Observed};
use crate::replay::reader::long_lines::Bodies;
use crate::replay::reader::resume::{Resume, byte_counted_from, byte_of};
use crate::replay::reader::zone::Zone;

/// If inotify reports growth, and none of the open logs has grown, the folder is listed no earlier
/// than this after the last listing.
const LISTING_FOR_GROWTH_INTERVAL: Duration = Duration::from_secs(1);

/// The same while a log has just been made and has no line yet.
const LISTING_FOR_FIRST_LINE_INTERVAL: Duration = Duration::from_millis(20);

/// After a listing, the next one waits this long for each file, so that listings of a large folder
/// take a small part of the time.
const LISTING_REST_PER_FILE: Duration = Duration::from_micros(20);

/// The assumed length of a line before any has been seen, in bytes.
const LINE_BYTES_GUESS: u64 = 160;

/// When a folder is listed next.
#[derive(Debug, Default)]
pub(super) struct Listing {
    wanted_at: Option<Duration>,
    rescan_at: Duration,
    last: Duration,
    rest: Duration,
    /// The last one showed a log that has just been made and has no line yet. Its first one is not
    /// to wait: until it is seen, nobody knows of it.
    pub(super) has_just_begun: bool,
    /// Delays after failed listings.
    pub(super) backoff: Backoff,
}

/// After a listing that shows logs with several names, the next one waits this many times as long
/// as after another one, so that looks at a large folder take a very small part of the time.
const SEVERAL_NAMES_RESTS: u32 = 20;

impl Listing {
    /// List it at once.
    pub(super) fn want_now(&mut self, now: Now) {
        self.want_at(now.monotonic);
    }

    /// Names have been added or removed: list it soon.
    pub(super) fn want(&mut self, now: Now) {
        self.want_at(now.monotonic.max(self.last + self.rest));
    }

    /// List it within this time.
    pub(super) fn want_in(&mut self, time: Duration, now: Now) {
        self.want_at(now.after(time));
    }

    /// Some log has grown that may not be open.
    pub(super) fn want_for_growth(&mut self, now: Now) {
        let interval = match self.has_just_begun {
            true => LISTING_FOR_FIRST_LINE_INTERVAL,
            false => LISTING_FOR_GROWTH_INTERVAL,
        };
        let rest = self.rest.max(interval);
        self.want_at(now.monotonic.max(self.last + rest));
    }

    fn want_at(&mut self, at: Duration) {
        self.wanted_at = Some(self.wanted_at.map_or(at, |wanted| wanted.min(at)));
    }

    /// When it is due. At once before the first.
    #[must_use]
    pub(super) fn due_at(&self, now: Now) -> Duration {
        let due = self
            .wanted_at
            .map_or(self.rescan_at, |wanted| wanted.min(self.rescan_at));
        self.backoff
            .waits_until(now)
            .map_or(due, |until| until.max(due))
    }

    /// When it was listed last, monotonic. `now` if it cannot be listed, so that nobody waits for
    /// it.
    #[must_use]
    pub(super) fn listed_at(&self, now: Now) -> Duration {
        match self.backoff.waits_until(now) {
            Some(_) => now.monotonic,
            None => self.last,
        }
    }

    /// It has been listed and has this many entries.
    pub(super) fn handle_listed(&mut self, entries: usize, rescan_interval: Duration, now: Now) {
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        self.wanted_at = None;
        self.last = now.monotonic;
        self.rest = LISTING_REST_PER_FILE.saturating_mul(entries);
        self.rescan_at = now.after(rescan_interval);
        if failpoint!(MissOverflow) {
            self.rescan_at = Duration::MAX;
        }
    }

    /// There is another `rescan_interval`: it is listed no later than after that.
    pub(super) fn hasten(&mut self, rescan_interval: Duration, now: Now) {
        if !failpoint!(MissOverflow) {
            self.rescan_at = self.rescan_at.min(now.after(rescan_interval));
        }
    }

    /// It has logs with several names, of which one is a link or in another folder. inotify tells
    /// of a log by the name under which it is written to, so what is written under another name is
    /// looked for.
    pub(super) fn handle_several_names(&mut self, now: Now) {
        let rest = (self.rest * SEVERAL_NAMES_RESTS).max(SEVERAL_NAMES_LOOK);
        self.rescan_at = self.rescan_at.min(now.after(rest));
    }
}

/// What a backend has in flight: bytes of chunks, and lines that are not settled.
#[derive(Debug, Default)]
pub(super) struct Credit {
    pub(super) chunk_bytes: usize,
    /// Bytes of log in segments that are not done, without those of lines too long for memory.
    /// Rejected lines count here although they are in no chunk.
    pub(super) log_bytes: u64,
    /// Bytes of lines too long for memory that are not done.
    long_bytes: u64,
    /// Lines in segments that are not done.
    pub(super) lines: u64,
    /// A moving average of the bytes of a line.
    line_bytes: u64,
}

impl Credit {
    /// Whether `bytes` more fit the backend's share. They always fit if the backend has nothing in
    /// flight.
    #[must_use]
    pub(super) fn fits(&self, bytes: usize, share_bytes: usize) -> bool {
        let log_bytes = usize::try_from(self.log_bytes).unwrap_or(usize::MAX);
        (self.chunk_bytes == 0 || self.chunk_bytes + bytes <= share_bytes)
            && (log_bytes == 0 || log_bytes.saturating_add(bytes) <= share_bytes)
    }

    /// How many more lines may be read; 0 while that is only a few, so that each read is
    /// worthwhile.
    #[must_use]
    pub(super) fn lines_left(&self, lines_max: u32) -> u32 {
        let lines_max = u64::from(lines_max.max(1));
        let left = lines_max.saturating_sub(self.lines);
        if left < (lines_max / 8).max(1) {
            return 0;
        }
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// About how many bytes that many lines have.
    #[must_use]
    pub(super) fn bytes_of(&self, lines: u32) -> usize {
        let line_bytes = if self.line_bytes == 0 {
            LINE_BYTES_GUESS
        } else {
            self.line_bytes
        };
        usize::try_from(u64::from(lines).saturating_mul(line_bytes)).unwrap_or(usize::MAX)
    }

    /// A segment has been fed.
    pub(super) fn charge(&mut self, lines: u32, bytes: u64) {
        let lines = u64::from(lines);
        self.lines += lines;
        self.log_bytes += bytes;
        self.line_bytes = (3 * self.line_bytes + bytes / lines.max(1)) / 4 + 1;
    }

    /// A line that is not held has been fed.
    pub(super) fn charge_long(&mut self, bytes: u64) {
        self.lines += 1;
        self.long_bytes += bytes;
    }

    /// A segment is done; `was_long`: it was a line that is not held.
    pub(super) fn give_back(&mut self, lines: u32, bytes: u64, was_long: bool) {
        self.lines = self.lines.saturating_sub(u64::from(lines));
        let kind = match was_long {
            true => &mut self.long_bytes,
            false => &mut self.log_bytes,
        };
        *kind = kind.saturating_sub(bytes);
    }

    /// Everything that was fed is forgotten; its chunks are returned when those who have them let
    /// go. Gives the bytes of log that were in flight.
    pub(super) fn forget_lines(&mut self) -> u64 {
        self.lines = 0;
        std::mem::take(&mut self.log_bytes) + std::mem::take(&mut self.long_bytes)
    }
}

/// First lines of logs that are known, and of some that were finished: who has one of them, and is
/// another file, is a copy.
#[derive(Debug, Default)]
pub(super) struct FirstLines {
    /// By the line's hash, the log that had it first.
    logs: HashMap<u64, FirstLog>,
    /// In the order in which they came.
    hashes: VecDeque<u64>,
}

/// The log that had a first line first.
#[derive(Debug)]
struct FirstLog {
    /// Its inode and birth time.
    key: LogKey,
    /// There is a copy of it.
    is_copied: bool,
}

/// How a log relates to others with the same first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    /// There is no other, as far as is known.
    Only,
    /// It had that line first, and a copy of it was seen.
    Copied,
    /// It is a copy of the log with this inode and birth time.
    CopyOf(LogKey),
}

impl FirstLines {
    /// Whether this log had that first line first.
    #[must_use]
    pub(super) fn has(&self, lead_hash: u64, key: LogKey) -> bool {
        self.logs.get(&lead_hash).is_some_and(|log| log.key == key)
    }

    /// A log's first line is known.
    pub(super) fn handle(&mut self, lead_hash: u64, key: LogKey) -> Likeness {
        if lead_hash == 0 {
            return Likeness::Only;
        }
        if let Some(log) = self.logs.get_mut(&lead_hash) {
            if log.key != key {
                log.is_copied = true;
                return Likeness::CopyOf(log.key);
            }
            return if log.is_copied {
                Likeness::Copied
            } else {
                Likeness::Only
            };
        }
        if self.hashes.len() == FIRST_LINES_KEPT_MAX
            && let Some(oldest) = self.hashes.pop_front()
        {
            self.logs.remove(&oldest);
        }
        let is_copied = false;
        self.logs.insert(lead_hash, FirstLog { key, is_copied });
        self.hashes.push_back(lead_hash);
        Likeness::Only
    }
}

/// A backend.
#[derive(Debug)]
pub(super) struct Source<L> {
    pub(super) info: BackendInfo,
    /// Its current epoch.
    pub(super) epoch: Epoch,
    /// `Up` has come in this epoch.
    pub(super) up: bool,
    /// Its state cannot be written, so its logs must not be read.
    pub(super) paused: bool,
    /// Its lanes in this epoch.
    pub(super) lanes: u16,
    /// Where to continue in its files; `None` until the plan of this epoch has come.
    pub(super) resume: Option<Resume>,
    /// What was in flight when this epoch began: unread again, until the plan tells how much of it
    /// was settled.
    flushed: Flushed,
    /// Which folder its name led to at the last listing.
    pub(super) folder: Option<(u64, u64)>,
    /// Its folder has been listed since the plan came.
    pub(super) listed: bool,
    /// The logs of its first listing may have been sent by an earlier process.
    pub(super) starting: bool,
    /// What was known of its outages when it came up.
    pub(super) outages: KnownOutages,
    /// Its files.
    pub(super) catalog: Catalog<L>,
    /// First lines that are known.
    pub(super) first_lines: FirstLines,
    /// Whether HA's lines are of our time zone.
    pub(super) zone: Zone,
    /// Reads the time in a line's prefix, Unix seconds.
    unix_of: fn(&[u8]) -> Option<u64>,
    /// It has been logged that its logs' names are not in the order in which they were written.
    pub(super) said_names_go_back: bool,
    /// The same of a log that has lines of an hour that came twice.
    pub(super) said_hour_twice: bool,
    /// Files under hidden names that were logged, since nothing is known of them: by inode and
    /// birth time.
    pub(super) said_hidden: HashSet<LogKey>,
    /// What it has in flight.
    pub(super) credit: Credit,
    /// Its lines that are too long for memory.
    pub(super) bodies: Bodies<L>,
    /// When its folder is listed.
    pub(super) listing: Listing,
    /// Delays after failed reads.
    pub(super) reading: Backoff,
    /// Why its folder or its logs cannot be read, as last reported to the controller.
    pub(super) faults: Faults,
}

/// What was read in the epoch before and not settled, as far as the reader knows.
#[derive(Debug, Default)]
struct Flushed {
    /// Bytes of log.
    bytes: u64,
    /// When the oldest line that was unread or not settled was written, Unix seconds; 0: none.
    oldest_unix: u64,
}

/// Why a backend's logs cannot be read. It outlasts an epoch: only success ends it.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Its folder can't be listed.
    pub(super) listing: Option<String>,
    /// A log can't be opened or read.
    pub(super) reading: Option<String>,
    /// A long line that waits to be sent can't be read again.
    pub(super) body: Option<String>,
}

impl Faults {
    /// The fault to report: nothing can be read from a folder that can't be listed.
    #[must_use]
    pub(super) fn text(&self) -> Option<&String> {
        let reading = self.reading.as_ref().or(self.body.as_ref());
        self.listing.as_ref().or(reading)
    }
}

impl<L> Source<L> {
    /// A backend that waits for its first plan.
    #[must_use]
    pub(super) fn new(
        info: BackendInfo,
        starting: bool,
        unix_of: fn(&[u8]) -> Option<u64>,
    ) -> Self {
        Self {
            info,
            unix_of,
            epoch: 0,
            up: false,
            paused: false,
            lanes: 1,
            resume: None,
            flushed: Flushed::default(),
            folder: None,
            listed: false,
            starting,
            outages: KnownOutages::default(),
            catalog: Catalog::default(),
            first_lines: FirstLines::default(),
            zone: Zone::default(),
            said_names_go_back: false,
            said_hour_twice: false,
            said_hidden: HashSet::new(),
            credit: Credit::default(),
            bodies: Bodies::default(),
            listing: Listing::default(),
            reading: Backoff::default(),
            faults: Faults::default(),
        }
    }

    /// Takes over a plan: files continue where it says.
    pub(super) fn set_resume(&mut self, plan: ResumePlan) {
        let resume = Resume::new(plan);
        for identity in resume.identities() {
            let key = identity.key();
            let _ = self.first_lines.handle(identity.lead_hash, key);
        }
        self.resume = Some(resume);
        self.flushed = Flushed::default();
        self.count_files();
    }

    /// Forgets what is known of logs that have shrunk since, before they can grow again.
    pub(super) fn forget_shrunk(&mut self) {
        let Some(resume) = &mut self.resume else {
            return;
        };
        let shrunk = self.catalog.note_shrunk(|meta| resume.has_more_of(meta));
        let shrunk: Vec<_> = shrunk
            .map(|file| (Arc::clone(&file.name), file.meta))
            .collect();
        for (name, meta) in shrunk {
            resume.forget_log(&name, &meta);
        }
    }

    /// Whether its logs may be read now.
    #[must_use]
    pub(super) fn may_be_fed(&self) -> bool {
        self.up && self.listed && !self.paused && self.resume.is_some()
    }

    /// Whether there are bytes that may be read now, given credit.
    #[must_use]
    pub(super) fn has_unread(&self) -> bool {
        self.may_be_fed() && self.catalog.unread_bytes() > 0
    }

    /// Whether a share of the memory budget is its: it has something to be read, or holds memory.
    #[must_use]
    pub(super) fn is_read_for(&self) -> bool {
        self.credit.chunk_bytes > 0 || self.bodies.pieces > 0 || self.has_unread()
    }

    /// Whether something is to be done for it that may depend on more than its own state and the
    /// times of its looks, so that it must not rest: credit, and files without a name.
    #[must_use]
    pub(super) fn must_stay_awake(&self) -> bool {
        self.is_read_for() || !self.bodies.is_idle() || self.catalog.has_unlinked()
    }

    /// Begins a new epoch: everything in flight is forgotten.
    pub(super) fn begin_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.up = false;
        self.listed = false;
        self.reading = Backoff::default();
        self.bodies.forget();
        let counters = &self.info.counters;
        self.flushed = Flushed {
            bytes: self.flushed.bytes + self.credit.forget_lines(),
            oldest_unix: counters.load().oldest_unsettled_unix,
        };
        self.catalog
            .forget_positions(byte_counted_from(self.resume.as_ref()));
        self.resume = None;
        self.tell_counts();
    }

    /// A segment of the epoch before is done.
    pub(super) fn handle_flushed_done(&mut self, bytes: u64) {
        self.flushed.bytes = self.flushed.bytes.saturating_sub(bytes);
        self.tell_counts();
    }

    /// What a look at a file has shown to be lost. One that shrank is a new file from now on.
    pub(super) fn loss_of(&mut self, index: usize, observed: Observed) -> Option<Loss> {
        let byte_of = byte_of(self.resume.as_ref());
        self.catalog.loss_of(index, observed, byte_of)
    }

    /// Publishes the counters that change with a listing or a plan. Looks at every file.
    pub(super) fn count_files(&mut self) {
        let indices: Vec<usize> = self.catalog.indices().collect();
        indices.into_iter().for_each(|index| self.recount(index));
        self.tell_counts();
    }

    /// Publishes the counters that change with one file, which may be gone.
    pub(super) fn count_file(&mut self, index: usize) {
        self.recount(index);
        self.tell_counts();
    }

    fn recount(&mut self, index: usize) {
        let counted_from = byte_counted_from(self.resume.as_ref());
        self.catalog.recount(index, counted_from);
    }

    fn tell_counts(&self) {
        let counters = &self.info.counters;
        let unread_bytes = self.catalog.unread_bytes() + self.flushed.bytes;
        counters.unread_bytes.set(unread_bytes);
        counters.log_files.set(self.catalog.len() as u64);
        self.count_oldest();
    }

    /// Publishes the age of the oldest unread line.
    pub(super) fn count_oldest(&self) {
        let oldest = self.oldest_unread_unix().unwrap_or(0);
        self.info.counters.oldest_unread_unix.set(oldest);
    }

    /// About when the first unread line was written: no earlier than its file was created, or HA
    /// named it, and no later than it was modified.
    fn oldest_unread_unix(&self) -> Option<u64> {
        if self.flushed.bytes > 0 && self.flushed.oldest_unix > 0 {
            return Some(self.flushed.oldest_unix);
        }
        let counted_from = byte_counted_from(self.resume.as_ref());
        let mut unpassed = self.catalog.unpassed();
        let unread = unpassed.find(|file| file.unread_bytes(|_| counted_from(file)) > 0)?;
        let file_unix = unread.written_unix();
        Some(self.zone.begun_unix(&unread.name, file_unix, self.unix_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_folder_is_listed_less_often() {
        let mut listing = Listing::default();
        assert_eq!(listing.due_at(Now::at_ms(0)), Duration::ZERO);
        listing.handle_listed(10_000, Duration::from_secs(30), Now::at_ms(0));
        assert_eq!(listing.due_at(Now::at_ms(1)), Duration::from_secs(30));
        listing.want_for_growth(Now::at_ms(1));
        assert_eq!(listing.due_at(Now::at_ms(1)), Duration::from_secs(1));
        listing.want(Now::at_ms(1));
        assert_eq!(listing.due_at(Now::at_ms(1)), Duration::from_millis(200));
    }

    #[test]
    fn something_always_fits_who_has_nothing_out() {
        let mut credit = Credit::default();
        assert!(credit.fits(1000, 100));
        credit.chunk_bytes = 60;
        assert!(credit.fits(40, 100) && !credit.fits(41, 100));
        credit.chunk_bytes = 0;
        credit.charge(1, 60);
        assert!(credit.fits(40, 100) && !credit.fits(41, 100));
    }

    #[test]
    fn a_few_lines_of_credit_are_not_worth_a_read() {
        let mut credit = Credit::default();
        assert_eq!(credit.lines_left(80), 80);
        credit.charge(71, 7100);
        assert_eq!(credit.lines_left(80), 0);
        credit.give_back(1, 100, false);
        assert_eq!(credit.lines_left(80), 10);
        assert_eq!(Credit::default().lines_left(0), 1);
    }
}
