//! Lines that somebody takes away before they are delivered: that has to be logged (G10), as far as
//! the server can know of it.
//!
//! It can know what a listing has shown it of a log, and that a later one shows less of that log,
//! or nothing. Then it says so soon, or delivers the lines all the same: it had read them, or has
//! the log open. What nobody has shown to it, or only to a process that is gone, is nobody's to
//! tell. Nor is it said of a log that the server has deleted itself (G13).

use std::time::Duration;

use hustdbsync::internals::fake_hustdb::Item;

use crate::log_lines::Warning;
use crate::world::World;

/// It is logged so soon: threads may be held up.
const SAID_WITHIN: Duration = Duration::from_secs(6);

/// What is said of a log that somebody has taken away.
const TAKEN_AWAY: &str = "was moved away or deleted under us";

/// For so long nobody makes a log anew that the server has deleted.
const DELETED_FOR: Duration = Duration::from_secs(2);

/// What is said of a log of which each increment is asked for before it is sent.
const HELD_FOR_A_COPY: &str = "is another file, a copy";

/// See the module.
#[derive(Debug)]
pub(crate) struct Loss {
    place: usize,
    file: String,
    /// The log's inode and birth.
    key: (u64, u64),
    /// How much of it the last listing before has shown, and which one that was.
    seen_bytes: u64,
    listing: u64,
    /// What they do, and which operation on it each is.
    lines: Vec<(Item, usize)>,
    /// When the server was shown that they are gone.
    shown: Option<Duration>,
}

impl World {
    /// Somebody is about to leave so many bytes of a log in its place.
    pub(crate) fn note_loss(&mut self, place: usize, file: &str, kept_bytes: usize) {
        let backend = &self.backends[place];
        let (Some(meta), Some(bytes)) = (
            self.disk.inner.meta_of(&backend.name, file),
            self.disk.inner.log(&backend.name, file),
        ) else {
            return;
        };
        let seen_bytes = self.disk.seen_bytes(&backend.name, meta.key());
        let mut ends = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            ends.push(ends.last().unwrap_or(&0) + line.len());
        }
        let undelivered = backend.oracle.undelivered(file).into_iter();
        let is_seen = |line: &u64| {
            let end = usize::try_from(*line).ok().and_then(|line| ends.get(line));
            end.is_some_and(|end| kept_bytes < *end && *end as u64 <= seen_bytes)
        };
        let lines = undelivered.filter(|(line, ..)| is_seen(line));
        let lines: Vec<_> = lines.map(|(_, item, number)| (item, number)).collect();
        // What comes in their place nobody has seen yet.
        self.disk
            .cut_seen(&backend.name, meta.key(), kept_bytes as u64);
        if self.server.is_some() && !lines.is_empty() {
            self.losses.push(Loss {
                place,
                file: file.to_owned(),
                key: meta.key(),
                seen_bytes,
                listing: self.disk.inner.listings(&backend.name),
                lines,
                shown: None,
            });
        }
    }

    /// Looks what the server was shown and what it has logged since.
    pub(crate) fn watch_losses(&mut self) {
        for warning in self.log_lines.take() {
            self.handle_warning(&warning);
        }
        let mut losses = std::mem::take(&mut self.losses);
        losses.retain_mut(|loss| self.is_open(loss));
        self.losses = losses;
    }

    fn handle_warning(&mut self, warning: &Warning) {
        let Warning {
            backend,
            file,
            text,
        } = warning;
        self.note(format_args!("{backend}: {file}: {text}"));
        let mut backends = self.backends.iter();
        let Some(place) = backends.position(|model| model.name == *backend) else {
            return;
        };
        self.note_names_warning(place, text);
        let deleted = self.disk.deleted.get(&(backend.clone(), file.clone()));
        // One that had another name was not deleted under that.
        let oracle = &self.backends[place].oracle;
        let is_deleted = deleted.is_some_and(|at| self.now < *at + DELETED_FOR);
        let is_deleted = is_deleted && oracle.has_one_name(file);
        assert!(
            !is_deleted || !text.contains(TAKEN_AWAY),
            "G13: {backend}: {file} is said to be taken away, and the server has deleted it"
        );
        if text.contains(HELD_FOR_A_COPY) {
            // Its first line may be a bad one, which is that of another log by chance.
            self.backends[place].oracle.counters.handle_asked_for();
        }
        let oracle = &self.backends[place].oracle;
        self.losses
            .retain(|loss| loss.place != place || !oracle.are_names_of_one(&loss.file, file));
    }

    /// Whether a loss is still to be logged.
    fn is_open(&self, loss: &mut Loss) -> bool {
        let backend = &self.backends[loss.place];
        let Some(shown) = loss.shown else {
            if self.disk.inner.listings(&backend.name) == loss.listing {
                return true;
            }
            let is_less = self.disk.seen_bytes(&backend.name, loss.key) < loss.seen_bytes;
            loss.shown = is_less.then_some(self.now);
            return is_less;
        };
        if !backend.is_up() {
            // What was read before still comes, once the backend takes it.
            loss.shown = Some(self.now);
            return true;
        }
        let is_due = self.now >= shown + SAID_WITHIN;
        let mut lines = loss.lines.iter();
        let lost = lines.find(|(item, number)| !backend.oracle.is_delivered(item, *number));
        if let Some(lost) = lost.filter(|_| is_due) {
            panic!(
                "G10: {}: {lost:?} was taken away from {} undelivered, and nobody says so",
                backend.name, loss.file
            );
        }
        lost.is_some()
    }
}
