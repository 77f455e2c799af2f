//! Lists the folders below the logs' path and the files in them, and finds out what has changed.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::rejected;
use crate::limits::{FIRST_LINES_KEPT_MAX, SEVERAL_NAMES_LOOK, UNLINKED_FILES_MAX};
use crate::replay::disk::{Area, Disk, LogEntry, LogMeta, OpenFile};
use crate::replay::messages::{
    AwayLog, BackendMessage, CheckpointerMessage, ControlMessage, EntriesMoved, FileId,
};
use crate::replay::reader::catalog::{Catalog, Moved};
use crate::replay::reader::entries::Entries;
use crate::replay::reader::log_file::{Loss, LossKind};
use crate::replay::reader::resume::{Resume, byte_counted_from, byte_of};
use crate::replay::reader::source::{Faults, Source};
use crate::replay::reader::{LogReader, Wake};
use crate::status::snapshot::SecondName;

/// By how much a log must be newer than another to count as newer: one of HA's workers may append
/// to a minute's log shortly after the next log exists.
const NAMES_SLACK_NANOS: u64 = 10_000_000_000;

/// For so many seconds a log without a line counts as one that has just been begun.
const JUST_BEGUN_S: u64 = 2;

/// First lines of logs that are not begun which are read with a listing: the disk may be slow.
const FIRST_LINES_PER_LISTING: usize = 8;

/// After the first listing, the next one waits at most this long if first lines are to be read. If
/// a log is replaced before then, nobody can tell whether the new one has its lines.
const FIRST_LINES_AFTER: Duration = Duration::from_millis(250);

/// Folders that are listed in one turn: a folder can have thousands of files.
const LISTINGS_PER_TURN: usize = 4;

impl<D: Disk> LogReader<D> {
    /// Schedules listings for the flags that inotify has set.
    pub(super) fn handle_dirty_flags(&mut self, now: Now) {
        let Some(hinted) = self.links.dirty_flags.take() else {
            return;
        };
        let all = hinted.all && !failpoint!(MissOverflow);
        if hinted.root || all {
            self.root.want(now);
        }
        for at in 0..self.sources.len() {
            let own = self.sources[at].info.dirty_flags.take();
            if own.listing || all {
                self.sources[at].listing.want(now);
            }
            if !own.grew && !all {
                continue;
            }
            let has_changed = matches!(self.observe_open(at, now), Ok(true));
            // The flag says nothing of how many have grown, nor which.
            let has_others = self.sources[at].catalog.has_closed();
            if has_others || !has_changed {
                self.sources[at].listing.want_for_growth(now);
            }
        }
    }

    /// Lists the folders that are due.
    pub(super) fn poll_listings(&mut self, now: Now, wake: &mut Wake) {
        if self.root.due_at(now) <= now.monotonic {
            self.list_root(now);
        }
        wake.at(self.root.due_at(now));
        let mut listings = 0;
        let mut from = 0;
        while let Some(at) = self.sources.first_awake(from) {
            from = at + 1;
            if self.sources[at].listing.due_at(now) <= now.monotonic && listings < LISTINGS_PER_TURN
            {
                listings += 1;
                self.list_folder(at, now);
            }
            wake.at(self.sources[at].listing.due_at(now));
        }
    }

    fn list_root(&mut self, now: Now) {
        let names = match self.disk.folders(Area::Logs) {
            Ok(names) => names,
            Err(error) => {
                self.links.counters.logs_listed.set(0);
                if self.root.backoff.handle_failure(now) {
                    tracing::warn!(cause = %error, "the logs' path can't be listed; new backends \
                        are not found until it can");
                }
                return;
            }
        };
        if self.root.backoff.handle_success() {
            tracing::info!("the logs' path can be listed again");
        }
        self.root
            .handle_listed(names.len(), self.settings.rescan_interval, now);
        let names = self.without_second_names(names);
        // A folder that is gone is reported again when it is back: its watch is lost.
        let (outbox, sources) = (&mut self.outbox, &mut self.sources);
        self.announced.retain(|name, _| {
            let is_there = names.contains(name);
            if !is_there {
                outbox.control(ControlMessage::FolderGone(name.clone()));
                // Its logs are gone too, and no event reports them.
                let is_it = |source: &Source<D::File>| *source.info.name == **name;
                let at = sources.iter().position(is_it);
                if let Some(at) = at {
                    sources[at].listing.want(now);
                    if failpoint!(ForgetFolder) {
                        sources[at].catalog = Catalog::default();
                    }
                }
            }
            is_there
        });
        self.unrecognized.retain(|name| names.contains(name));
        for name in names {
            if self.announced.contains_key(&name) || self.unrecognized.contains(&name) {
                continue;
            }
            match (self.rules.is_backend)(&name) {
                Ok(()) => {
                    self.announced.insert(name.clone(), !self.root_listed);
                    self.outbox.control(ControlMessage::BackendFound(name));
                }
                Err(why) => {
                    self.unrecognized.insert(name.clone());
                    self.outbox
                        .control(ControlMessage::FolderUnrecognized { name, why });
                }
            }
        }
        self.root_listed = true;
        self.links.counters.logs_listed.set(1);
        if self.without_folder.is_none() {
            self.find_without_folder();
        }
    }

    /// Reports backends to the controller that an earlier process knew and whose folders are gone.
    /// The controller treats them like backends whose folders disappear now.
    fn find_without_folder(&mut self) {
        let found = self.disk.folders(Area::State).and_then(|names| {
            let mut found = BTreeSet::new();
            for name in names {
                let is_gone = !self.announced.contains_key(&name);
                if is_gone
                    && (self.rules.is_backend)(&name).is_ok()
                    && !self.disk.entries(Area::State, &name)?.is_empty()
                {
                    found.insert(name);
                }
            }
            Ok(found)
        });
        let found = found.unwrap_or_else(|error| {
            tracing::warn!(cause = %error, "the state cannot be listed: backends whose folders are \
                gone are not shown, and not forgotten, before the next start");
            BTreeSet::new()
        });
        for name in &found {
            if !self.second_names.contains_key(name) {
                tracing::info!(backend = %name, "replayed to by an earlier run, and its folder of \
                    logs is gone since: it is forgotten once nothing is left of it");
            }
            self.outbox
                .control(ControlMessage::BackendFound(name.clone()));
            self.outbox
                .control(ControlMessage::FolderGone(name.clone()));
        }
        self.without_folder = Some(found);
    }

    /// What is in a backend's folder; nothing where that is another backend's under a second name.
    /// `None`: it can't be listed.
    fn entries(&mut self, at: usize, now: Now) -> Option<Vec<LogEntry>> {
        let name = Arc::clone(&self.sources[at].info.name);
        let mut entries = match self.disk.entries(Area::Logs, &name) {
            Ok(entries) => entries,
            Err(error) => {
                if self.sources[at].listing.backoff.handle_failure(now) {
                    tracing::warn!(
                        backend = %name, cause = %error,
                        "the backend's log folder can't be listed; trying again"
                    );
                }
                self.note_faults(at, |faults| faults.listing = Some(error.to_string()));
                return None;
            }
        };
        let same_as = self.folder_is_of(at);
        if same_as.is_some() {
            entries.clear();
            // The controller is told when the root is listed.
            self.root.want(now);
        }
        self.note_faults(at, |faults| {
            faults.listing = same_as.map(|first| {
                let name = name.to_string();
                SecondName { name, first }.why()
            });
        });
        Some(entries)
    }

    fn list_folder(&mut self, at: usize, now: Now) {
        let Some(entries) = self.entries(at, now) else {
            return;
        };
        let name = Arc::clone(&self.sources[at].info.name);
        let interval = self.settings.rescan_interval;
        let source = &mut self.sources[at];
        if source.listing.backoff.handle_success() {
            tracing::info!(backend = %name, "the backend's log folder can be listed again");
        }
        source.info.counters.logs_unlisted.set(0);
        source.listing.handle_listed(entries.len(), interval, now);
        source.listing.has_just_begun = entries.iter().any(|entry| just_begun(&entry.meta, now));
        if entries.iter().any(|entry| entry.meta.links > 1) {
            source.listing.handle_several_names(now);
        }
        let entries = Entries::new(entries);
        let known_hidden = self.known_hidden(at, &entries);
        let source = &mut self.sources[at];
        let starting = std::mem::take(&mut source.starting);
        if !source.said_names_go_back && !failpoint!(SayNoOrder) {
            source.said_names_go_back = say_names_go_back(&name, &entries);
        }
        let resume = source.resume.as_ref();
        let (byte_of, counted_from) = (byte_of(resume), byte_counted_from(resume));
        let name_of = |key| known_hidden.get(&key).cloned();
        let catalog = &mut source.catalog;
        let listed =
            catalog.handle_listing(&entries, now, starting, byte_of, counted_from, name_of);
        if !failpoint!(TrustSettledLines) {
            source.forget_shrunk();
        }
        if let Some(resume) = &mut source.resume {
            source.listed = true;
            let moved = resume.handle_listing(&entries, now.unix);
            self.tell_entries_moved(at, moved);
            self.tell_forgotten(at);
        }
        self.say_hidden(at, &entries);
        self.note_first_lines(at, starting, &listed.losses, now);
        for loss in &listed.losses {
            self.handle_loss(at, loss);
        }
        self.tell_copies(at, &listed.losses);
        for moved in listed.moves {
            self.handle_moved(at, &moved);
        }
        self.forget_away(at, now);
        if self.sources[at].catalog.has_unlinked() {
            // A file without a name is in no listing; its descriptor shows its present state. If
            // that fails, reading it will fail too, and report it.
            let _ = self.observe_open(at, now);
        }
        self.sources[at].count_files();
    }

    /// Reads first lines of logs that are not begun: if one of them is replaced, they show whether
    /// the new one has what it had. At a start the backends come first.
    fn note_first_lines(&mut self, at: usize, starting: bool, losses: &[Loss], now: Now) {
        let source = &mut self.sources[at];
        if starting {
            if !source.up && !source.catalog.without_first_line(1).is_empty() {
                source.listing.want_in(FIRST_LINES_AFTER, now);
            }
            return;
        }
        // Of each that is replaced, the new one.
        let files_max = FIRST_LINES_PER_LISTING + losses.len().min(FIRST_LINES_KEPT_MAX);
        for index in source.catalog.without_first_line(files_max) {
            let place = Arc::clone(&self.sources[at].catalog.file(index).place);
            // One that cannot be read now is looked at again with the next listing.
            let Ok(identity) = self.read_identity(at, &place) else {
                continue;
            };
            let file = self.sources[at].catalog.file_mut(index);
            if file.meta.key() == identity.key() {
                file.lead_hash = identity.lead_hash;
            }
        }
    }

    /// Tells the checkpointer which files have what the lost ones had.
    fn tell_copies(&mut self, at: usize, losses: &[Loss]) {
        let backend = self.sources[at].info.id;
        for (key, copy) in self.sources[at].catalog.copies_of(losses) {
            self.outbox
                .checkpointer(CheckpointerMessage::LogCopied { backend, key, copy });
        }
    }

    /// Notes what is wrong with a backend's logs, or no longer is, and reports a change to the
    /// controller.
    pub(super) fn note_faults(&mut self, at: usize, note: impl FnOnce(&mut Faults)) {
        let source = &mut self.sources[at];
        let before = source.faults.text().cloned();
        note(&mut source.faults);
        let fault = source.faults.text().cloned();
        if fault != before {
            source.info.counters.logs_faulty.set(fault.is_some().into());
            let backend = source.info.id;
            self.outbox
                .control(ControlMessage::LogFault { backend, fault });
        }
    }

    /// A log has left the folder and can't be read any more. What is known of it is kept.
    pub(super) fn send_away(&mut self, at: usize, index: usize, now: Now) {
        let source = &mut self.sources[at];
        let moved = source.catalog.send_away(index, now);
        source.count_file(index);
        if let Some(moved) = moved {
            self.handle_moved(at, &moved);
        }
    }

    /// Logs that a file was moved, and tells the checkpointer.
    fn handle_moved(&mut self, at: usize, moved: &Moved) {
        let (backend, from, file) = (&self.sources[at].info.name, &moved.from, &moved.to);
        if moved.is_back {
            tracing::info!(%backend, %file, %from, "the log is back; it goes on where it was");
        } else if moved.away_unix == 0 {
            tracing::info!(%backend, %file, %from, "the log was renamed; it goes on where it was");
        }
        let backend = self.sources[at].info.id;
        if let Some(file) = moved.file {
            self.outbox.backend_message(
                backend,
                BackendMessage::FileMoved {
                    file,
                    name: Arc::clone(&moved.to),
                    away_unix: moved.away_unix,
                },
            );
        } else if moved.away_unix > 0 {
            // The ledger does not know it, and it is to be read all the same.
            self.tell_away(at, &moved.to, &moved.meta, moved.meta.bytes);
        }
    }

    fn tell_entries_moved(&mut self, at: usize, moved: EntriesMoved) {
        if moved != EntriesMoved::default() {
            self.outbox.backend_message(
                self.sources[at].info.id,
                BackendMessage::EntriesMoved(moved),
            );
        }
    }

    /// Forgets logs that have been away for too long, or of which there are too many.
    fn forget_away(&mut self, at: usize, now: Now) {
        while let Some(file) = self.sources[at].catalog.forget_one_away(now) {
            let backend = &self.sources[at].info.name;
            tracing::warn!(%backend, file = %file.name, "the log has been away for too long, or \
                too many are; what was known of it is forgotten, and should it come back, each of \
                its lines may have been sent");
            if let Some(begun) = file.begun {
                self.tell_gone(at, begun.file);
            }
        }
    }

    /// Tells the checkpointer of entries of the plan that will never be used.
    pub(super) fn tell_forgotten(&mut self, at: usize) {
        let source = &mut self.sources[at];
        if let Some(forgotten) = source.resume.as_mut().and_then(Resume::take_forgotten) {
            self.outbox
                .backend_message(source.info.id, BackendMessage::EntriesForgotten(forgotten));
        }
    }

    /// Logs what was lost, and closes a file that can't be read any more.
    pub(super) fn handle_loss(&mut self, at: usize, loss: &Loss) {
        let (backend, file, bytes) = (&self.sources[at].info.name, &loss.name, loss.unread_bytes);
        match loss.kind {
            _ if failpoint!(SayNoLoss) => {}
            LossKind::Cut => {
                tracing::warn!(%backend, %file, bytes, "the log was cut or emptied under us: these \
                    bytes at its end had not been delivered, as far as is known; unless they are \
                    in a copy of it in this folder, they are lost");
            }
            LossKind::Shrunk if bytes > 0 => {
                tracing::warn!(%backend, %file, bytes, "the log is not what was read of it: it \
                    shrank or was written anew under us before these bytes were read; unless they \
                    are in it now, or in a copy of it in this folder, they are lost; reading it \
                    again as a new file");
            }
            LossKind::Shrunk => {
                tracing::warn!(%backend, %file, "the log is not what was read of it: it shrank or \
                    was written anew under us; reading it again as a new file");
            }
            LossKind::Replaced if loss.readable || bytes == 0 => {
                tracing::warn!(%backend, %file, bytes, "the log was replaced under us; reading \
                    what is left of the old one, then the new one");
            }
            LossKind::Replaced => {
                tracing::warn!(%backend, %file, bytes, "the log was replaced under us before these \
                    bytes of it were read: those that the new one does not have are lost, unless \
                    the old one comes back within a day; reading the new one as one of which each \
                    line may have been sent");
            }
            // The usual end of a log: the checkpointer has deleted it, and its message is still on
            // the way.
            LossKind::Deleted if bytes == 0 => {
                tracing::debug!(%backend, %file, "the log is gone");
            }
            LossKind::Deleted if loss.readable => {
                tracing::warn!(%backend, %file, bytes, "the log was moved away or deleted under \
                    us; reading what is left while it is open");
            }
            LossKind::Deleted => {
                tracing::warn!(%backend, %file, bytes, "the log was moved away or deleted under us \
                    before these bytes were read; should it come back within a day, it goes on \
                    where it was");
            }
        }
        if loss.kind != LossKind::Shrunk || bytes > 0 {
            self.tell_away(at, &loss.name, &loss.meta, bytes);
        }
        // It is still there, as another one.
        if loss.kind == LossKind::Shrunk
            && let Some(file) = loss.file
        {
            self.tell_gone(at, file);
        }
    }

    /// Tells the checkpointer what a log was that is gone, and how long. It knows nothing else
    /// about a log that was never begun, whose lines are not delivered either.
    fn tell_away(&mut self, at: usize, name: &Arc<str>, meta: &LogMeta, unread_bytes: u64) {
        self.outbox
            .checkpointer(CheckpointerMessage::LogAway(AwayLog {
                backend: self.sources[at].info.id,
                name: Arc::clone(name),
                key: meta.key(),
                bytes: meta.bytes,
                unread_bytes,
            }));
    }

    pub(super) fn tell_gone(&mut self, at: usize, file: FileId) {
        let backend = self.sources[at].info.id;
        self.outbox
            .backend_message(backend, BackendMessage::FileGone { file });
    }

    /// Looks at open logs that HA may still write to. inotify tells of what is written to a log by
    /// a name in its folder only; somebody may have given it a name elsewhere, and writes there.
    pub(super) fn poll_open_logs(&mut self, now: Now, wake: &mut Wake) {
        let due_at = self.open_logs_seen_at.saturating_add(SEVERAL_NAMES_LOOK);
        let is_due = due_at <= now.monotonic;
        let mut from = 0;
        while let Some(at) = self.sources.first_awake(from) {
            from = at + 1;
            if self.open_logs_due_at(at, now).is_none() {
                continue;
            }
            if is_due {
                self.open_logs_seen_at = now.monotonic;
                // If that fails, reading will fail too, and report it.
                let _ = self.observe_open(at, now);
            }
            wake.at(self.open_logs_seen_at.saturating_add(SEVERAL_NAMES_LOOK));
        }
    }

    /// When the open logs of a backend are looked at next; `None` if HA writes to none of them any
    /// more.
    pub(super) fn open_logs_due_at(&self, at: usize, now: Now) -> Option<Duration> {
        let catalog = &self.sources[at].catalog;
        let quiet_for = |index: &usize| catalog.file(*index).quiet_for(now);
        let quiet = catalog.open().iter().map(quiet_for).min()?;
        let is_written = quiet < self.settings.closed_after;
        is_written.then(|| self.open_logs_seen_at.saturating_add(SEVERAL_NAMES_LOOK))
    }

    /// Looks at the open files again. Returns whether one of them has changed.
    ///
    /// The newest comes first, so that whatever was written before a line that is seen is seen,
    /// too. Where it is not the last log that grows, as once HA's clock was set back, the log
    /// before it may be closed, and is looked at as well (G2).
    pub(super) fn observe_open(&mut self, at: usize, now: Now) -> io::Result<bool> {
        let mut changed = false;
        let newest_first = self.sources[at].catalog.open_newest_first();
        for index in newest_first.iter().copied() {
            let source = &mut self.sources[at];
            let Some(log) = &source.catalog.file(index).log else {
                continue;
            };
            let meta = log.meta()?;
            if meta.links > 1 {
                self.sources[at].listing.handle_several_names(now);
            }
            if self.sources[at].catalog.file(index).is_unchanged(&meta) {
                continue;
            }
            changed = true;
            if Some(&index) != newest_first.first() {
                self.look_at_closed_before(at, index, now)?;
            }
            self.observe(at, index, meta, now);
            self.sources[at].count_file(index);
        }
        Ok(changed)
    }

    /// Closes files without a name of which everything was read. They stay open as long as lines of
    /// them may be in flight: if the backend goes down meanwhile, unsettled lines can be read again
    /// only through the open file.
    pub(super) fn close_finished(&mut self, at: usize, now: Now) {
        if !self.sources[at].catalog.has_unlinked() {
            return;
        }
        loop {
            let source = &mut self.sources[at];
            let mut read = source.catalog.read_to_the_end(now);
            let first = read.next();
            let too_many = read.count() >= UNLINKED_FILES_MAX;
            let settled = source.credit.lines == 0;
            // If a file that the checkpointer has deleted must be read again, it does so itself.
            let may_go = |index: &usize| settled || too_many || source.catalog.file(*index).deleted;
            let Some(index) = first.filter(may_go) else {
                return;
            };
            // A last look, as before a newer file is begun.
            if self.observe_open(at, now).unwrap_or(false) {
                return;
            }
            let source = &mut self.sources[at];
            let file = source.catalog.file(index);
            let meta = file.log.as_ref().map(|log| log.meta());
            let is_nowhere = matches!(meta, Some(Ok(LogMeta { links: 0, .. })));
            if !file.deleted && !is_nowhere {
                // It was probably moved.
                self.send_away(at, index, now);
                continue;
            }
            let file = source.catalog.remove(index);
            let begun = file
                .begun
                .expect("only a file that was begun is read to its end");
            source.count_file(index);
            self.tell_gone(at, begun.file);
        }
    }
}

/// Whether a log has been made and has no line yet, which will be there in a moment.
fn just_begun(meta: &LogMeta, now: Now) -> bool {
    let changed_unix = meta.modified_nanos / 1_000_000_000;
    meta.bytes == 0 && now.unix.saturating_sub(changed_unix) <= JUST_BEGUN_S
}

/// Logs it if names are not in the order of time; tells whether they are not.
fn say_names_go_back(backend: &str, entries: &Entries) -> bool {
    let Some((newer, older)) = names_go_back(entries) else {
        return false;
    };
    tracing::warn!(
        backend,
        file = newer,
        before = older,
        "a log is newer than one that its name \
        puts behind it, as when clocks are set back in HA's time zone: logs are replayed in the \
        order of their names, so what was written to one key in both may end with the earlier \
        value; run HA in UTC (TZ=UTC)"
    );
    true
}

/// Two logs whose names are not in the order in which they were written: the first was created and
/// last written to after the second, whose name is greater.
fn names_go_back(entries: &Entries) -> Option<(&str, &str)> {
    let is_by_ha = |entry: &&LogEntry| !entry.is_hidden() && !rejected::is_returned(&entry.name);
    let logs = || entries.in_order().iter().filter(is_by_ha);
    let is_after = |one: u64, other: u64| one > other.saturating_add(NAMES_SLACK_NANOS);
    let goes_back = |pair: &(&LogEntry, &LogEntry)| {
        let (one, other) = (&pair.0.meta, &pair.1.meta);
        is_after(one.modified_nanos, other.modified_nanos)
            && (one.born_nanos == 0 || is_after(one.born_nanos, other.born_nanos))
    };
    let (one, other) = logs().zip(logs().skip(1)).find(goes_back)?;
    Some((&one.name, &other.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs by their names, and when each was made and changed, in minutes.
    #[track_caller]
    fn check(logs: &[(&str, u64, u64)], expected: Option<(&str, &str)>) {
        let minute = 60_000_000_000;
        let entry = |&(name, born, modified): &(&str, u64, u64)| LogEntry {
            name: name.to_owned(),
            meta: LogMeta {
                born_nanos: born * minute,
                modified_nanos: modified * minute,
                ..LogMeta::default()
            },
        };
        let entries = Entries::new(logs.iter().map(entry).collect());
        assert_eq!(names_go_back(&entries), expected, "{logs:?}");
    }

    #[test]
    fn the_hour_that_comes_twice_is_noticed() {
        let first = ("2026-10-25-02-59.log", 59, 59);
        let second = ("2026-10-25-02-00.log", 60, 61);
        check(&[first, second], Some((second.0, first.0)));
        check(&[("2026-10-25-02-00.log", 1, 1), first], None);
        // Lines of both in one log: it is the last in time, and no name tells.
        check(&[("2026-10-25-02-00.log", 1, 61), first], None);
        check(
            &[("02", 0, 61), ("01", 0, 60), ("03", 0, 59)],
            Some(("02", "03")),
        );
    }

    #[test]
    fn what_ha_did_not_name_is_not_looked_at() {
        let first = ("2026-10-25-02-59.log", 59, 59);
        check(&[(".nfs0001", 90, 90), first], None);
        check(&[], None);
        check(&[first], None);
    }
}
