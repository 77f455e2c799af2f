//! Somebody who gives logs other names, moves them away and back, links and copies them, and
//! remounts their disk.
//!
//! What is promised then (G10): a log is what it holds. Whatever is done to its name, nothing of it
//! is sent as if for the first time, and its lines come in their order. What is copied here has
//! been delivered, durably, and so has most of what is moved away: its lines must not come again,
//! and where they do since the log is a copy, no increment counts twice. What was not delivered
//! when it was moved away comes when it is back, behind what is newer.

use std::time::Duration;

use hustdbsync::internals::ledger::checkpoint::Checkpoint;

use crate::oracle::Line;
use crate::world::{Event, World};

/// Between two deeds, at most.
const MOVE_GAP: Duration = Duration::from_secs(4);
/// For how long something is away, at most: a restart of the server can fall into it.
const AWAY: Duration = Duration::from_secs(12);

impl World {
    /// Does something to a name, and plans the next time.
    pub(crate) fn move_logs(&mut self, place: usize) {
        if self.writers[place].is_over {
            return;
        }
        let gap = u64::try_from(MOVE_GAP.as_micros()).expect("it is short");
        let next = Duration::from_micros(self.moves.u64(..gap));
        self.at(self.now + next, Event::Move { place });
        // Where increments are not asked for, copies and replacements are what is looked for; and
        // what has two names is not replaced.
        let is_copier = !self.plan.down_longer.is_zero();
        let deeds = if self.plan.faults.mounts { 14 } else { 8 };
        match self.moves.u32(..deeds) {
            _ if self.disk.inner.is_covered(&self.backends[place].name) => {}
            1..=5 if is_copier => self.replace_log(place),
            8..=9 => {
                if let Some(file) = self.some_whole_log(place) {
                    self.displace(place, &file);
                    self.note_loss(place, &file, 0);
                    self.move_away(place, &file);
                }
            }
            10..=11 => self.cover(place),
            12 => self.relocate(place),
            13 => self.set_clock(place),
            0 => self.remount(place),
            1..=2 => self.rename_log(place),
            3 => self.link_log(place),
            4..=5 => {
                // One, or the folder as it is.
                let all = self.moves.bool();
                for file in self.done_logs(place) {
                    self.move_away(place, &file);
                    if !all {
                        break;
                    }
                }
            }
            6 => self.copy_log(place),
            _ => self.replace_log(place),
        }
        self.hint_name_soon(place);
    }

    /// The disk is mounted anew. One of NFS may know no descriptor any more that was opened before.
    fn remount(&mut self, place: usize) {
        self.disk.inner.remount();
        self.note("somebody remounts the disk");
        if self.moves.bool() {
            let backend = self.backends[place].name.clone();
            for log in self.disk.inner.logs_of(&backend) {
                self.disk.inner.make_stale(&backend, &log.name);
            }
            self.note(format_args!("{place}: descriptors of its logs are stale"));
        }
    }

    /// Names have come or gone: inotify tells.
    pub(crate) fn hint_name_soon(&mut self, place: usize) {
        let new_file = true;
        let event = Event::Hint { place, new_file };
        self.soon(Duration::from_micros(300), event);
    }

    /// What was moved away comes back.
    pub(crate) fn move_back(&mut self, place: usize, name: &str, number: u64) {
        self.away.retain(|away| (away.0, &*away.1) != (place, name));
        let backend = self.backends[place].name.clone();
        self.disk.inner.move_in(&backend, name, number);
        self.note(format_args!("{place}: somebody moves {name} in"));
        self.hint_name_soon(place);
    }

    /// To a name that leaves it where it is in the order of the log.
    fn rename_log(&mut self, place: usize) {
        let Some(file) = self.some_whole_log(place) else {
            return;
        };
        let to = format!("{file}.1");
        let backend = self.backends[place].name.clone();
        self.disk.inner.rename_log(&backend, &file, &to);
        self.backends[place].oracle.handle_alias(&file, &to);
        self.note(format_args!("{place}: somebody renames {file}"));
    }

    fn link_log(&mut self, place: usize) {
        let Some(file) = self.some_whole_log(place) else {
            return;
        };
        let second = format!("{file}.2");
        let backend = self.backends[place].name.clone();
        self.disk.inner.link_log(&backend, &file, &second);
        self.backends[place].oracle.handle_alias(&file, &second);
        self.note(format_args!("{place}: somebody links {file}"));
    }

    fn move_away(&mut self, place: usize, file: &str) {
        let backend = self.backends[place].name.clone();
        let Some(number) = self.disk.inner.move_out(&backend, file) else {
            return;
        };
        self.note(format_args!("{place}: somebody moves {file} away"));
        self.move_in_later(place, file.to_owned(), number);
    }

    fn move_in_later(&mut self, place: usize, name: String, number: u64) {
        self.away.push((place, name.clone()));
        let away = u64::try_from(AWAY.as_micros()).expect("it is short");
        let back = self.now + Duration::from_micros(self.moves.u64(..away));
        let event = Event::MoveBack {
            place,
            name,
            number,
        };
        self.at(back, event);
    }

    /// A copy is taken aside, whatever of the log is delivered, and comes later: under another
    /// name, or under its own, when its original is finished.
    fn copy_log(&mut self, place: usize) {
        let Some(file) = self.some_whole_log(place) else {
            return;
        };
        let backend = self.backends[place].name.clone();
        let Some(number) = self.disk.inner.copy_out(&backend, &file, 0) else {
            return;
        };
        self.note(format_args!("{place}: somebody copies {file}"));
        let to = match self.moves.bool() {
            true => format!("{file}.3"),
            false => file.clone(),
        };
        let lines = self.backends[place].oracle.lines_of(&file);
        self.copies += 1;
        let away = u64::try_from(AWAY.as_micros()).expect("it is short");
        let later = self.now + Duration::from_micros(self.moves.u64(..away));
        let event = Event::Restore {
            place,
            to,
            number,
            lines,
        };
        self.at(later, event);
    }

    /// A copy is put where nothing else is, or is going to be.
    pub(crate) fn restore(&mut self, place: usize, to: &str, number: u64, lines: Vec<Line>) {
        self.copies -= 1;
        let disk = self.disk.inner.clone();
        let backend = self.backends[place].name.clone();
        let there = disk.logs_of(&backend).into_iter().map(|entry| entry.name);
        let away = self.away.iter().filter(|away| away.0 == place);
        let mut names = there.chain(away.map(|away| away.1.clone()));
        let oracle = &mut self.backends[place].oracle;
        if names.any(|name| oracle.are_names_of_one(&name, to)) {
            return;
        }
        oracle.handle_copied(lines, to);
        disk.move_in(&backend, to, number);
        self.disk.handle_renewed(&backend, to);
        self.note(format_args!("{place}: somebody puts a copy there as {to}"));
        self.hint_name_soon(place);
    }

    /// `cp a b && mv b a`, or `sed -i`, which leaves out the first lines: then nothing but the name
    /// tells whose place it took.
    fn replace_log(&mut self, place: usize) {
        let mut logs = self.done_logs(place);
        // A name that the server has taken away may come back with a crash, and lead to what was
        // replaced.
        logs.retain(|file| self.backends[place].oracle.has_one_name(file));
        if logs.is_empty() {
            return;
        }
        let file = logs.swap_remove(self.moves.usize(..logs.len()));
        let backend = self.backends[place].name.clone();
        let lines = self.backends[place].oracle.next_line(&file);
        let first = match self.moves.bool() {
            true => 0,
            // Without the first line it is not known for a copy.
            false => self.moves.u64(1..5).min(lines.saturating_sub(1)),
        };
        let first_line = usize::try_from(first).expect("it is one of a few");
        if let Some(number) = self.disk.inner.copy_out(&backend, &file, first_line) {
            self.disk.handle_renewed(&backend, &file);
            self.backends[place].oracle.handle_replaced(&file, first);
            self.note(format_args!(
                "{place}: somebody replaces {file} by its lines from {first}"
            ));
            self.disk.inner.move_in(&backend, &file, number);
        }
    }

    /// A log that HA will not write to, under a name that is not taken.
    fn some_whole_log(&mut self, place: usize) -> Option<String> {
        let mut logs = self.past_logs(place);
        logs.retain(|file| !file.ends_with(".3"));
        (!logs.is_empty()).then(|| logs.swap_remove(self.moves.usize(..logs.len())))
    }

    /// Logs that HA will not write to, nor will where its clock was set back.
    fn past_logs(&self, place: usize) -> Vec<String> {
        let mut logs = self.logs(place);
        let current = &self.writers[place].file;
        logs.retain(|file| file < current && !self.is_being_written(place, file));
        logs
    }

    /// All logs of a backend.
    pub(crate) fn logs(&self, place: usize) -> Vec<String> {
        let entries = self.disk.inner.logs_of(&self.backends[place].name);
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// What of a log is not delivered, durably, comes at another time than it otherwise would.
    pub(crate) fn displace(&mut self, place: usize, file: &str) {
        let backend = &mut self.backends[place];
        let checkpoint = self.disk.inner.durable_state(&backend.name, "checkpoint");
        let checkpoint = checkpoint.and_then(|bytes| Checkpoint::decode(&bytes).ok());
        let meta = self.disk.inner.meta_of(&backend.name, file);
        let line = meta.zip(checkpoint).and_then(|(meta, checkpoint)| {
            let mut files = checkpoint.resume.files.into_iter();
            let entry = files.find(|entry| entry.identity.key() == meta.key());
            entry.map(|entry| entry.line)
        });
        backend.oracle.handle_displaced(file, line.unwrap_or(0));
    }

    /// Those of them of which everything is delivered, and durably so.
    fn done_logs(&self, place: usize) -> Vec<String> {
        let backend = &self.backends[place];
        let checkpoint = self.disk.inner.durable_state(&backend.name, "checkpoint");
        let Some(Ok(checkpoint)) = checkpoint.as_deref().map(Checkpoint::decode) else {
            return Vec::new();
        };
        let mut logs = self.past_logs(place);
        logs.retain(|file| {
            let Some(meta) = self.disk.inner.meta_of(&backend.name, file) else {
                return false;
            };
            let lines = backend.oracle.next_line(file);
            checkpoint.resume.files.iter().any(|entry| {
                entry.identity.key() == meta.key()
                    && (entry.line, entry.byte) == (lines, meta.bytes)
            })
        });
        logs
    }
}
