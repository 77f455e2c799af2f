//! HA's part: for each backend a healthy master, and the log of what the backend misses.

use std::time::Duration;

use hustdbsync::internals::fake_hustdb::store::Store;
use hustdbsync::internals::replay::testdisk::Deletion;

use crate::bad_lines;
use crate::mutation::{Healthy, Mutation, SCORES};
use crate::oracle::Line;
use crate::server::READER;
use crate::world::{Event, World};

/// A prefix that tells this reader no time.
const PREFIX_WITHOUT_TIME: &[u8] = b"[2026-11-22 16:40:38] [DEBUG] | ";

/// A line's prefix, as long as HA's own. Its time is in Unix seconds: no zone has to be known.
fn prefix(unix: u64) -> Vec<u8> {
    format!("[{unix:019}] [DEBUG] | ").into_bytes()
}

/// Reads it.
pub(crate) fn written_unix(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"[")?.get(..19)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What stands before a mutation's record. Where the expiry tells what is needed, it may be of a
/// form that nobody can read.
fn prefix_of(mutation: &Mutation, operation: usize) -> Vec<u8> {
    let is_told = mutation.ends_unix() == u64::from(mutation.record().expires_unix);
    if is_told && operation.is_multiple_of(4) {
        return PREFIX_WITHOUT_TIME.to_vec();
    }
    prefix(mutation.unix)
}

/// What waits for nobody else's trouble does so no longer than this: a line without its end for
/// `closed_after`, one that comes late for its writer, one that nobody tells of for the next look.
const IN_TIME_S: u64 = 20;

/// The one that is added to late, where servers die meanwhile.
const LATE_TALLY: u32 = 0;

/// The chance of a record that always fails, in thousandths of the lines.
const POISON_ODDS: u32 = 30;

/// What is still to be written of a file that is not the last one any more, or of a line that was
/// begun.
#[derive(Debug)]
struct Rest {
    file: String,
    bytes: Vec<u8>,
    /// It ends a line that somebody has begun, who has the file open.
    begun: bool,
}

/// What HA calls the log of a minute.
fn minute_name(minute: u32) -> String {
    format!("2026-11-22-{:02}-{:02}.log", minute / 60, minute % 60)
}

/// One backend's HA.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) healthy: Healthy,
    pub(crate) file: String,
    /// Minutes so far.
    minute: u32,
    minute_ends: Duration,
    rests: std::collections::VecDeque<Rest>,
    pub(crate) is_over: bool,
    /// Whether HA holds the backend for alive.
    pub(crate) holds_alive: bool,
}

impl Writer {
    pub(crate) fn new(store: Store, poison_kind: usize) -> Self {
        Self {
            healthy: Healthy::new(store, poison_kind),
            file: String::new(),
            minute: 0,
            minute_ends: Duration::ZERO,
            rests: std::collections::VecDeque::new(),
            is_over: false,
            holds_alive: true,
        }
    }
}

impl Writer {
    /// Whether something is still to be written of a file that is not the last one, or of a line.
    pub(crate) fn has_rests(&self) -> bool {
        !self.rests.is_empty()
    }

    /// Lines that are to come to a log, and of which it has nothing yet.
    pub(crate) fn unwritten(&self, file: &str) -> u64 {
        let rests = self.rests.iter();
        rests
            .filter(|rest| rest.file == file && !rest.begun)
            .count() as u64
    }

    /// The names of this minute's log and of those of so many before; none where it has not
    /// written for so long.
    pub(crate) fn minutes_before(&self, minutes: u32) -> Option<Vec<String>> {
        let first = self
            .minute
            .checked_sub(minutes)
            .filter(|first| *first > 0)?;
        Some((first..=self.minute).map(minute_name).collect())
    }

    /// Its clock is set by so many minutes.
    pub(crate) fn set_clock(&mut self, by_minutes: i32) {
        self.minute = self.minute.saturating_add_signed(by_minutes);
        self.file = minute_name(self.minute);
    }
}

impl World {
    /// Some lines of one backend, and when the next ones come.
    pub(crate) fn write(&mut self, place: usize) {
        if self.now >= self.plan.writing {
            self.writers[place].is_over = true;
            if self.plan.poison.is_some_and(|poison| poison.comes_last) {
                self.write_poison(place);
            }
            return;
        }
        if self.plan.beside.is_some() && place > 0 {
            self.check_in_time(place);
        }
        let gap = self.plan.write_gap;
        let writer = &self.writers[place];
        if writer.rests.is_empty() && self.now >= writer.minute_ends {
            self.end_minute(place);
        }
        let lines = self.random.usize(1..=self.plan.write_lines);
        for _ in 0..lines {
            self.write_line(place);
        }
        self.soon(gap, Event::Write { place });
    }

    /// G6: what a backend is to get that was never in trouble has come, whatever others are in.
    fn check_in_time(&self, place: usize) {
        let oldest = self.backends[place].oracle.oldest_due_unix();
        let waits_s = self.unix() - oldest.unwrap_or(self.unix());
        assert!(
            waits_s <= IN_TIME_S,
            "G6: a line of {place}, which is well, waits since {waits_s} s: {}",
            self.describe()
        );
    }

    /// The file has its last line. Sometimes that has no newline; sometimes lines of its minute
    /// come when the next has begun.
    pub(crate) fn end_minute(&mut self, place: usize) {
        let (name, file) = (&self.backends[place].name, &self.writers[place].file);
        if self.disk.inner.meta_of(name, file).is_some() {
            match self.random.u32(..8) {
                0 => self.tear(place),
                1 => self.begin_line(place),
                2..=4 => self.delay_lines(place),
                _ => {}
            }
        }
        let minute = self.plan.minute;
        let writer = &mut self.writers[place];
        writer.minute += 1;
        writer.minute_ends = self.now + minute;
        writer.file = minute_name(writer.minute);
        if self.plan.dies_at_minutes {
            self.write_tally(place, LATE_TALLY);
        }
        // Whoever is late is so while the next minute is being written.
        self.write_line(place);
    }

    /// A line of text and what it is; none where the healthy master has refused.
    fn draw_line(&mut self, place: usize) -> Option<(Vec<u8>, Line)> {
        if self.odds(self.plan.faults.bad_lines) {
            let text = bad_lines::draw(&self.plan, &prefix(self.unix()), &mut self.random);
            let raw = text.clone();
            return Some((text, Line::Bad { raw }));
        }
        let unix = self.unix();
        let healthy = &mut self.writers[place].healthy;
        let mutation = healthy.mutate(&self.plan, unix, &mut self.random)?;
        Some(self.good_line(place, &mutation))
    }

    /// The line of a mutation.
    fn good_line(&mut self, place: usize, mutation: &Mutation) -> (Vec<u8>, Line) {
        let operation = self.backends[place].oracle.expect(mutation);
        let text = bad_lines::encoded(&prefix_of(mutation, operation), &mutation.record());
        if self.trace.prints() {
            println!(
                "             {place}: {:?} {}/{} ver {} ttl {} score {} opt {} is taken",
                mutation.method,
                mutation.table.escape_ascii(),
                mutation.item.key.escape_ascii(),
                mutation.version,
                mutation.ttl,
                mutation.score,
                mutation.opt
            );
        }
        let item = mutation.item.clone();
        (text, Line::Good { item, operation })
    }

    fn write_line(&mut self, place: usize) {
        let file = self.writers[place].file.clone();
        if self.plan.faults.operator && self.backends[place].oracle.next_line(&file) == 0 {
            // By its first line a file is known from the one that it was.
            self.write_alone(place, &file);
        }
        let poison = self.plan.poison.map_or(0, |poison| poison.records);
        if self.writers[place].healthy.poisons() < poison && self.whims.u32(..1000) < POISON_ODDS {
            self.write_poison(place);
        }
        if self.plan.tallies && self.moves.u32(..4) == 0 {
            // One that is added to once is looked up for that addition only, and no later version
            // keeps hustdb from adding again.
            let is_copier = self.plan.faults.moves && !self.plan.down_longer.is_zero();
            let number = match is_copier && self.moves.bool() {
                true => SCORES + self.backends[place].oracle.next_item(),
                false => self.moves.u32(..SCORES),
            };
            self.write_tally(place, number);
        }
        if let Some((text, line)) = self.draw_line(place) {
            self.write_whole(place, &file, text, line);
        }
    }

    fn write_tally(&mut self, place: usize, number: u32) {
        let file = self.writers[place].file.clone();
        let (text, line) = self.draw_tally(place, number);
        self.write_whole(place, &file, text, line);
    }

    fn draw_tally(&mut self, place: usize, number: u32) -> (Vec<u8>, Line) {
        let unix = self.unix();
        let mutation = self.writers[place].healthy.tally(number, unix);
        self.good_line(place, &mutation)
    }

    /// The line of an increment, when HA knows or believes that the backend has not got it.
    pub(crate) fn write_increment(&mut self, place: usize, mutation: &Mutation) {
        let file = self.writers[place].file.clone();
        if file.is_empty() {
            return;
        }
        let unix = self.unix();
        let text = bad_lines::encoded(&prefix(unix), &mutation.record());
        self.backends[place]
            .oracle
            .counters
            .handle_logged(mutation, unix);
        let line = Line::Increment {
            item: mutation.item.clone(),
            version: mutation.version,
        };
        self.write_whole(place, &file, text, line);
    }

    fn write_whole(&mut self, place: usize, file: &str, mut text: Vec<u8>, line: Line) {
        self.register(place, file, line);
        text.push(b'\n');
        self.append(place, file, &text);
    }

    /// One or two records that fail for ever.
    fn write_poison(&mut self, place: usize) {
        let (unix, file) = (self.unix(), self.writers[place].file.clone());
        for _ in 0..self.whims.u32(1..=2) {
            // In several lanes nobody can tell poison detection, where all of them fail and nobody
            // else moves.
            let poison = self.plan.poison.filter(|_| self.plan.lane.lanes == 1);
            let (keys, whims) = (poison.map_or(1, |poison| poison.keys), &mut self.whims);
            let mutation = self.writers[place].healthy.poison(keys, unix, whims);
            let (raw, line) = self.good_line(place, &mutation);
            if let Line::Good { item, operation } = line {
                let text = raw.clone();
                let line = Line::Poison {
                    item,
                    operation,
                    raw,
                };
                self.write_whole(place, &file, text, line);
            }
        }
    }

    /// A line about a key that no other line is about, so that it may come anywhere.
    pub(crate) fn write_alone(&mut self, place: usize, file: &str) {
        let unix = self.unix();
        let healthy = &mut self.writers[place].healthy;
        let mutation = healthy.alone(unix);
        healthy.take(&mutation);
        let (text, line) = self.good_line(place, &mutation);
        self.write_whole(place, file, text, line);
    }

    /// A log has just been deleted. Somebody may have opened it before, where nobody can tell, and
    /// writes to it now.
    pub(crate) fn write_behind(&mut self, place: usize, deletion: &Deletion) {
        let Deletion {
            backend,
            name,
            meta,
            bytes,
            ..
        } = deletion;
        let ends_a_line = bytes.last().is_none_or(|last| *last == b'\n');
        if !self.plan.faults.strays || !ends_a_line || self.whims.bool() {
            return;
        }
        let unix = self.unix();
        let mutation = self.writers[place].healthy.alone(unix);
        let (raw, line) = self.good_line(place, &mutation);
        let Line::Good { item, operation } = line else {
            return;
        };
        let text = [&raw[..], b"\n"].concat();
        let line = Line::Stray {
            item,
            operation,
            raw,
        };
        self.backends[place].oracle.expect_stray(name, line);
        self.disk.inner.append_unlinked(meta, &text);
        // Who has it open still sees lines in it that were not read, and may say so.
        self.disk.handle_renewed(backend, name);
        self.note(format_args!(
            "{backend}: somebody writes to {name}, which is deleted"
        ));
    }

    /// Tells the oracle of the file's next line.
    fn register(&mut self, place: usize, file: &str, line: Line) {
        let is_there = self
            .disk
            .inner
            .meta_of(&self.backends[place].name, file)
            .is_some();
        let oracle = &mut self.backends[place].oracle;
        if !is_there && oracle.next_line(file) > 0 {
            // It was quiet for so long that it was finished and deleted: another file begins under
            // its name.
            oracle.begin_again(file);
        }
        oracle.expect_line(file, line);
    }

    /// Whether somebody has not finished writing to a log.
    pub(crate) fn is_being_written(&self, place: usize, file: &str) -> bool {
        self.writers[place]
            .rests
            .iter()
            .any(|rest| rest.file == file)
    }

    /// The last line of a file never gets its newline: whole all the same, or cut in its midst.
    fn tear(&mut self, place: usize) {
        let Some((mut text, mut line)) = self.draw_line(place) else {
            return;
        };
        if text.is_empty() {
            return;
        }
        let file = self.writers[place].file.clone();
        if let Line::Bad { raw } = &mut line {
            text.truncate(self.random.usize(1..=text.len()));
            raw.clone_from(&text);
        }
        self.register(place, &file, line);
        self.append(place, &file, &text);
    }

    /// A line whose second half comes when the next minute has begun.
    fn begin_line(&mut self, place: usize) {
        let Some((text, line)) = self.draw_line(place) else {
            return;
        };
        if text.is_empty() {
            return;
        }
        let file = self.writers[place].file.clone();
        let at = self.random.usize(1..=text.len());
        let rest = Rest {
            file: file.clone(),
            bytes: [&text[at..], b"\n"].concat(),
            begun: true,
        };
        self.register(place, &file, line);
        self.append(place, &file, &text[..at]);
        self.disk
            .inner
            .set_writer(&self.backends[place].name, &file, true);
        self.writers[place].rests.push_back(rest);
        self.soon(Duration::from_millis(3_500), Event::WriteRest { place });
    }

    /// Lines of this minute that are written when the next has begun, within the second in which
    /// that is waited for.
    fn delay_lines(&mut self, place: usize) {
        let file = self.writers[place].file.clone();
        for _ in 0..self.random.usize(1..=2) {
            let drawn = match self.plan.dies_at_minutes {
                // The next minute begins with another: which of them comes first shows.
                true => Some(self.draw_tally(place, LATE_TALLY)),
                false => self.draw_line(place),
            };
            if let Some((mut bytes, line)) = drawn {
                self.register(place, &file, line);
                bytes.push(b'\n');
                self.writers[place].rests.push_back(Rest {
                    file: file.clone(),
                    bytes,
                    begun: false,
                });
            }
        }
        // The file must not have been quiet for a second before.
        self.touch(place);
        self.soon(Duration::from_millis(900), Event::WriteRest { place });
        if self.plan.dies_at_minutes && self.server.is_some() {
            // The next life sees the file first when it is old enough by whole seconds only.
            self.die();
            self.soon(Duration::from_millis(600), Event::Start);
        }
    }

    /// One more line, so that the file was not quiet until now.
    fn touch(&mut self, place: usize) {
        let file = self.writers[place].file.clone();
        let Some(first) = self.writers[place].rests.pop_front() else {
            return;
        };
        self.append(place, &file, &first.bytes);
    }

    pub(crate) fn write_rest(&mut self, place: usize) {
        while let Some(rest) = self.writers[place].rests.pop_front() {
            self.append(place, &rest.file, &rest.bytes);
            if rest.begun {
                self.disk
                    .inner
                    .set_writer(&self.backends[place].name, &rest.file, false);
            }
        }
    }

    /// The server's machine has lost its memory of who has files open; HA goes on.
    pub(crate) fn reopen(&mut self, place: usize) {
        let begun = self.writers[place].rests.iter().filter(|rest| rest.begun);
        for rest in begun {
            self.disk
                .inner
                .set_writer(&self.backends[place].name, &rest.file, true);
        }
    }

    /// HA's bytes reach the disk; inotify may tell.
    pub(crate) fn append(&mut self, place: usize, file: &str, bytes: &[u8]) {
        let name = self.backends[place].name.clone();
        let new_file = self.disk.inner.meta_of(&name, file).is_none();
        self.disk.inner.append_log(&name, file, bytes);
        self.disk.handle_renewed(&name, file);
        self.note(format_args!(
            "{place}: HA writes {} bytes to {file}",
            bytes.len()
        ));
        if self.odds(self.plan.faults.dirty_flags) {
            if self.odds(300) {
                self.soon(Duration::from_secs(1), Event::Hint { place, new_file });
            }
        } else {
            self.soon(Duration::from_micros(300), Event::Hint { place, new_file });
        }
    }

    /// inotify's hint arrives at the reader's driver, which leaves it for the reader's next turn.
    pub(crate) fn hint(&mut self, place: usize, new_file: bool) {
        let overflows = self.odds(self.plan.faults.dirty_flags / 8);
        let Some(server) = &self.server else {
            return;
        };
        if overflows {
            server.dirty_flags.hint_overflow();
        }
        match server.flags_of(place) {
            Some(flags) if new_file => server.dirty_flags.hint_listing(flags),
            Some(flags) => server.dirty_flags.hint_grew(flags),
            None => server.dirty_flags.hint_root(),
        }
        self.wake(READER);
    }
}
