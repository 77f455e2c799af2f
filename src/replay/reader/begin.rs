//! Begins a file: which file is it, and at which line does reading continue?

use std::io;
use std::sync::Arc;

use crate::clock::Now;
use crate::ledger::identity::{Identity, LastRead};
use crate::limits::{IDENTITY_PREFIX_BYTES_MAX, LINE_TIME_BYTES_MAX};
use crate::replay::disk::{Area, Disk, LogMeta, OpenFile, has_last_read, last_read_at, read_fully};
use crate::replay::messages::{BackendMessage, CheckpointerMessage, FileOpened, FileStart};
use crate::replay::reader::LogReader;
use crate::replay::reader::feed::Step;
use crate::replay::reader::hour::clock_s;
use crate::replay::reader::log_file::{Begun, LogFile, Observed};
use crate::replay::reader::resume::Start;
use crate::replay::reader::source::Likeness;
use crate::replay::reader::zone::as_hours;

impl<D: Disk> LogReader<D> {
    /// Begins a file: opens it, finds out which one it is and where to continue, and reports that
    /// to the checkpointer.
    pub(super) fn begin(&mut self, at: usize, index: usize, now: Now) -> io::Result<Step> {
        if self.has_older_changed(at, index, now)? {
            return Ok(Step::Done);
        }
        if !self.open(at, index, now)? {
            return Ok(Step::Nothing);
        }
        let prefix_bytes = self.read_prefix(at, index)?;
        let ends_so = self.ends_as_read(at, index, prefix_bytes)?;
        let number = self.new_file();
        let source = &mut self.sources[at];
        let file = source.catalog.file_mut(index);
        let (meta, prefix) = (file.meta, &self.scratch[..prefix_bytes]);
        let resume = source.resume.as_mut().expect("a backend is fed by a plan");
        let shrank = std::mem::take(&mut file.shrank) && !failpoint!(TrustSettledLines);
        let start = match shrank || !ends_so {
            true => resume.start_anew(&file.name, &meta),
            false => resume.start(&file.name, &meta, prefix),
        };
        let identity = meta.identity(prefix);
        let alike = resume.away_with(identity.lead_hash);
        let likeness = source.first_lines.handle(identity.lead_hash, meta.key());
        let is_copy = matches!(likeness, Likeness::CopyOf(_));
        let (backend, name) = (&source.info.name, Arc::clone(&file.name));
        note_maybe_sent(file, backend, &start, shrank, is_copy);
        tracing::debug!(
            %backend, file = %name, line = start.cursor.line(), entry = ?start.entry,
            "reading a log"
        );
        (file.was_begun, file.lead_hash) = (true, identity.lead_hash);
        let checked = file.last_change();
        match likeness {
            Likeness::CopyOf(key) => source.catalog.handle_copied(key, meta.bytes),
            Likeness::Copied => file.handle_copied(0),
            Likeness::Only => {}
        }
        let begun = Begun {
            file: number,
            identity,
            cursor: start.cursor,
            settled: start.settled,
            sent: start.sent,
            last_read: start.last_read,
            first_s: clock_s(&self.scratch[..prefix_bytes]),
            scan: None,
            checked,
        };
        source.catalog.handle_begun(index, begun);
        source.catalog.close_others(index);
        let backend = source.info.id;
        self.tell_forgotten(at);
        self.look_at_zone(at, &meta, prefix_bytes, &name);
        self.outbox.backend_message(
            backend,
            BackendMessage::FileOpened(FileOpened {
                file: number,
                name,
                identity,
                start: start.entry,
            }),
        );
        self.tell_originals(at, index, &alike);
        Ok(Step::Done)
    }

    /// Looks once more at the logs before this one, which were quiet when last looked at, so that
    /// no newer line overtakes one that was written meanwhile. Says whether any has changed.
    fn has_older_changed(&mut self, at: usize, index: usize, now: Now) -> io::Result<bool> {
        if self.look_at_closed_before(at, index, now)? || self.observe_open(at, now)? {
            return Ok(true);
        }
        for open in self.sources[at].catalog.open().to_vec() {
            if !self.identify(at, open, true)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells the checkpointer of which of these logs, that are away and begin alike, a file has all
    /// that was read.
    fn tell_originals(&mut self, at: usize, index: usize, alike: &[(Identity, LastRead)]) {
        let source = &self.sources[at];
        let file = source.catalog.file(index);
        let (Some(log), copy) = (&file.log, file.meta.key()) else {
            return;
        };
        for (identity, last_read) in alike {
            let key = identity.key();
            let end = last_read_at(&**log, last_read.end());
            // Where that cannot be read now, the log counts as missing, which is no worse than it
            // was.
            if key != copy && end.is_ok_and(|end| end == *last_read) {
                let backend = source.info.id;
                self.outbox
                    .checkpointer(CheckpointerMessage::LogCopied { backend, key, copy });
            }
        }
    }

    /// Opens the last begun file before this one, and those without a line in between, and says
    /// whether any has changed. The one is closed once older files came in and were read; the
    /// others never were open.
    pub(super) fn look_at_closed_before(
        &mut self,
        at: usize,
        index: usize,
        now: Now,
    ) -> io::Result<bool> {
        let mut has_changed = false;
        for before in self.sources[at].catalog.closed_before(index) {
            let known = self.sources[at].catalog.file(before).last_change();
            match self.open(at, before, now) {
                Ok(true) => {
                    self.sources[at].count_file(before);
                    has_changed |= self.sources[at].catalog.file(before).last_change() != known;
                }
                Ok(false) => has_changed = true,
                // Its name is gone: the listing tells what became of it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.sources[at].listing.want(now);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(has_changed)
    }

    /// Finds out from a log's first line whether HA uses our time zone, and logs a change.
    fn look_at_zone(&mut self, at: usize, meta: &LogMeta, prefix_bytes: usize, name: &str) {
        let line = &self.scratch[..prefix_bytes.min(LINE_TIME_BYTES_MAX)];
        let source = &mut self.sources[at];
        let before = source.zone.off_s();
        if !source
            .zone
            .handle_first_line((self.rules.written_unix)(line), meta)
        {
            return;
        }
        let (off_s, backend) = (source.zone.off_s(), &source.info.name);
        source
            .info
            .counters
            .zone_off_seconds
            .set(off_s.unsigned_abs());
        let (ours, differ_by) = ((self.rules.zone)(), as_hours(off_s));
        if off_s == 0 {
            let differed_by = as_hours(before);
            tracing::info!(%backend, file = name, %ours, %differed_by, "HA's lines are of this \
                server's time zone again");
        } else {
            tracing::warn!(%backend, file = name, %ours, %differ_by, "HA's lines are of another \
                time zone than this server's, by what the log's own times say: their times are not \
                used, so the backend is asked before any increment, and a time to live ends when \
                its expiry says; give both the same TZ (best: UTC), and restart");
        }
    }

    /// Opens a file if it is not open. Returns false if the name belongs to another file now: then
    /// the folder is to be listed first.
    pub(super) fn open(&mut self, at: usize, index: usize, now: Now) -> io::Result<bool> {
        let source = &mut self.sources[at];
        let file = source.catalog.file(index);
        if file.log.is_some() {
            return Ok(true);
        }
        let log = self.disk.open(Area::Logs, &source.info.name, &file.place)?;
        let meta = log.meta()?;
        if !file.is_same(&meta) {
            source.listing.want(now);
            return Ok(false);
        }
        source.catalog.handle_opened(index, log);
        let observed = self.observe(at, index, meta, now);
        Ok(!matches!(observed, Observed::Shrunk(_)))
    }

    /// Reads a file's first bytes into `scratch`; returns how many.
    fn read_prefix(&mut self, at: usize, index: usize) -> io::Result<usize> {
        let file = self.sources[at].catalog.file(index);
        let log = file.log.as_ref().expect("only an open file is read");
        let scratch = scratch(&mut self.scratch, prefix_bytes_of(&file.meta));
        read_fully(&**log, 0, scratch)
    }

    /// What a file that is not open is, and by its first bytes, which are read into `scratch`.
    /// `place`: its name.
    pub(super) fn read_identity(&mut self, at: usize, place: &str) -> io::Result<Identity> {
        let log = self
            .disk
            .open(Area::Logs, &self.sources[at].info.name, place)?;
        let meta = log.meta()?;
        let scratch = scratch(&mut self.scratch, prefix_bytes_of(&meta));
        let bytes = read_fully(&log, 0, scratch)?;
        let prefix = &self.scratch[..bytes];
        Ok(meta.identity(prefix))
    }

    /// Whether a file of which something is known has the bytes that were last read of it.
    /// `scratch` has its first ones.
    fn ends_as_read(&mut self, at: usize, index: usize, prefix_bytes: usize) -> io::Result<bool> {
        let source = &self.sources[at];
        let file = source.catalog.file(index);
        let prefix = &self.scratch[..prefix_bytes];
        let resume = source.resume.as_ref().expect("a backend is fed by a plan");
        match (&file.log, resume.last_read(&file.meta, prefix)) {
            (Some(log), Some((identity, last_read))) => {
                has_last_read(&**log, &identity, &last_read)
            }
            _ => Ok(true),
        }
    }

    /// Looks at an open file again. Returns false if lines that were read are gone: then it is to
    /// be begun again as a new file.
    pub(super) fn look(&mut self, at: usize, index: usize, now: Now) -> io::Result<bool> {
        let file = self.sources[at].catalog.file(index);
        let Some(log) = &file.log else {
            return Ok(true);
        };
        let meta = log.meta()?;
        if file.is_unchanged(&meta) {
            return Ok(true);
        }
        let observed = self.observe(at, index, meta, now);
        self.sources[at].count_file(index);
        Ok(!matches!(observed, Observed::Shrunk(_)))
    }

    /// Takes over a file's present metadata, and handles what that shows to be lost.
    pub(super) fn observe(&mut self, at: usize, index: usize, meta: LogMeta, now: Now) -> Observed {
        let source = &mut self.sources[at];
        let observed = source.catalog.file_mut(index).observe(meta, now);
        if let Some(loss) = source.loss_of(index, observed) {
            self.handle_loss(at, &loss);
        }
        observed
    }

    /// Checks a file's first bytes, and the last ones that were read, if the file has changed since
    /// they were last checked: a file that was emptied or cut and has grown again beyond what was
    /// read looks like one that has just grown. Returns false if the bytes differ, since the file
    /// was then rewritten.
    ///
    /// Sends the checkpointer a longer identity prefix when one is available: whole lines before
    /// they are read, and the full prefix once the file has that many bytes, or at its `end`. So
    /// the prefix covers whatever a checkpoint counts as settled (G1): if the file is rewritten
    /// while nobody looks, the next look shows it.
    pub(super) fn identify(&mut self, at: usize, index: usize, end: bool) -> io::Result<bool> {
        let file = self.sources[at].catalog.file(index);
        let Some(begun) = &file.begun else {
            return Ok(true);
        };
        let (known, whole) = (
            u64::from(begun.identity.prefix_bytes),
            IDENTITY_PREFIX_BYTES_MAX as u64,
        );
        let has = file.meta.bytes.min(whole);
        let is_whole = has == whole || end;
        let tells_all = known < has && is_whole;
        let trusts = [failpoint!(TrustFirstBytes), failpoint!(TrustShrunkLog)].contains(&true);
        if !tells_all && !file.is_unchecked() {
            return Ok(true);
        }
        let prefix_bytes = self.read_prefix(at, index)?;
        let file = self.sources[at].catalog.file(index);
        let ends_so = match (&file.log, &file.begun) {
            (Some(log), Some(begun)) => has_last_read(&**log, &begun.identity, &begun.last_read)?,
            _ => true,
        };
        let source = &mut self.sources[at];
        let file = source.catalog.file_mut(index);
        let checked = file.last_change();
        let (meta, prefix) = (file.meta, &self.scratch[..prefix_bytes]);
        let begun = file.begun.as_mut().expect("seen above");
        let begins_so = begun.identity.is_of(meta.key(), prefix);
        let is_same = (begins_so && ends_so) || trusts;
        if !is_same {
            let loss = source.catalog.handle_rewritten(index);
            self.handle_loss(at, &loss);
            return Ok(false);
        }
        begun.checked = checked;
        let fed = usize::try_from(begun.cursor.byte()).unwrap_or(usize::MAX);
        let lines_end = match memchr::memrchr(b'\n', prefix) {
            Some(at) if !failpoint!(IdentifyLate) => at + 1,
            _ => 0,
        };
        let tells = match is_whole {
            true => prefix.len(),
            false => lines_end.max(fed.min(prefix.len())),
        };
        if tells > begun.identity.prefix_bytes as usize {
            let prefix = &prefix[..tells];
            let known_lead = begun.identity.lead_hash;
            begun.identity = meta.identity(prefix);
            let (lead_hash, key) = (begun.identity.lead_hash, meta.key());
            file.lead_hash = lead_hash;
            self.outbox.backend_message(
                source.info.id,
                BackendMessage::FileIdentified {
                    file: begun.file,
                    identity: begun.identity,
                },
            );
            match source.first_lines.handle(lead_hash, key) {
                Likeness::CopyOf(first) => {
                    if !failpoint!(TrustCopy) {
                        file.sent_below = u64::MAX;
                    }
                    source.catalog.handle_copied(first, meta.bytes);
                }
                // What came to it since that was seen is not in the copy.
                Likeness::Copied if lead_hash == known_lead => {}
                Likeness::Copied => file.handle_copied(0),
                Likeness::Only => {}
            }
        }
        Ok(true)
    }
}

/// Notes below which byte lines of a file that begins so may have been sent already. Tells where
/// that is because the file is not what was known of it.
fn note_maybe_sent<L>(
    file: &mut LogFile<L>,
    backend: &str,
    start: &Start,
    shrank: bool,
    is_copy: bool,
) {
    let name = &file.name;
    if start.entry != FileStart::New {
        if !file.was_begun && file.sent_below == 0 {
            // An earlier process had begun it.
            file.old_below = file.old_below.max(file.meta.bytes);
        }
        return;
    }
    if shrank || start.is_rewritten {
        file.sent_below = u64::MAX;
        tracing::warn!(%backend, file = %name, "the log is not what was read of it before: it \
            shrank or was written anew; reading it as a new one, of which each line may have \
            been sent");
    } else if is_copy && !failpoint!(TrustCopy) {
        file.sent_below = u64::MAX;
        tracing::warn!(%backend, file = %name, "the log begins as one that is known and is \
            another file, a copy; reading it as a new one, of which each line may have been \
            sent");
    }
    // It is no longer known which of them were sent.
    file.sent_below = file.sent_below.max(file.fed_below);
}

/// How many first bytes of a file are read. Not beyond its known end: reading there would look as
/// if it were not in memory.
fn prefix_bytes_of(meta: &LogMeta) -> usize {
    let bytes = usize::try_from(meta.bytes).unwrap_or(usize::MAX);
    bytes.min(IDENTITY_PREFIX_BYTES_MAX)
}

/// The first `bytes` bytes of `scratch`, which grows as needed.
pub(super) fn scratch(scratch: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    if scratch.len() < bytes {
        scratch.resize(bytes, 0);
    }
    &mut scratch[..bytes]
}
