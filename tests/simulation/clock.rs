//! HA's clock is set: the hour that comes twice, or one that never comes. An hour here has a few
//! minutes.
//!
//! Names of logs are then before those that are there, or are those. Lines come by their logs'
//! names, so what was not delivered may come behind what was written later.

//! That has to be logged, where a listing shows it.

use std::time::Duration;

use hustdbsync::internals::replay::disk::LogEntry;

use crate::world::World;

/// One of HA's workers may append to a minute's log shortly after the next log exists.
const SLACK_NANOS: u64 = 10_000_000_000;

/// It is logged so soon: the reader may be held up.
const SAID_WITHIN: Duration = Duration::from_secs(3);

/// Whether a listing is to be warned of.
#[derive(Debug, Default)]
pub(crate) struct NamesGoBack {
    /// Since when a listing has shown it.
    shown: Option<Duration>,
    is_said: bool,
}

/// Whether a log was made and written to after the next one by name.
pub(crate) fn do_names_go_back(entries: &[LogEntry]) -> bool {
    let mut logs: Vec<&LogEntry> = entries.iter().collect();
    logs.sort_by(|one, other| one.name.cmp(&other.name));
    let is_after = |one: u64, other: u64| one > other + SLACK_NANOS;
    logs.windows(2).any(|pair| {
        let (one, other) = (&pair[0].meta, &pair[1].meta);
        is_after(one.modified_nanos, other.modified_nanos)
            && is_after(one.born_nanos, other.born_nanos)
    })
}

impl World {
    /// Looks whether a listing has shown names that go back, and whether that was logged.
    pub(crate) fn watch_names(&mut self) {
        for at in 0..self.backends.len() {
            let name = &self.backends[at].name;
            let names = &mut self.names_go_back[at];
            if names.shown.is_none() && self.disk.has_shown_names_go_back(name) {
                names.shown = Some(self.now);
            }
            let is_due = names
                .shown
                .is_some_and(|shown| self.now > shown + SAID_WITHIN);
            assert!(
                names.is_said || !is_due,
                "G10: {name}: logs are newer than those that their names put behind them, and \
                 nobody says so"
            );
        }
    }

    /// A warning of a backend's logs.
    pub(crate) fn note_names_warning(&mut self, place: usize, text: &str) {
        self.names_go_back[place].is_said |= text.contains("newer than one that its name puts");
    }

    /// The next life of the server has to say it again.
    pub(crate) fn forget_names(&mut self) {
        self.names_go_back.fill_with(NamesGoBack::default);
    }

    /// Sets the clock of one backend's HA, forward or back.
    pub(crate) fn set_clock(&mut self, place: usize) {
        let minutes = self.moves.u32(2..6);
        let by_minutes = i32::try_from(minutes).expect("they are few");
        if self.moves.u32(..3) == 0 {
            return self.writers[place].set_clock(by_minutes);
        }
        let is_away = self.away.iter().any(|away| away.0 == place);
        if self.writers[place].has_rests() || is_away || !self.may_write_again(place, minutes) {
            return;
        }
        for file in self.logs(place) {
            self.displace(place, &file);
        }
        self.writers[place].set_clock(-by_minutes);
        let file = &self.writers[place].file;
        let note = format_args!("{place}: HA's clock is set back, it writes to {file}");
        self.trace.note(self.now, note);
    }

    /// Whether HA may append to what it finds under the names of so many minutes: a line without
    /// its end would not be one any more, and a log that was renamed would not be it.
    fn may_write_again(&self, place: usize, minutes: u32) -> bool {
        let backend = &self.backends[place];
        let is_plain = |file: &String| {
            let bytes = self.disk.inner.log(&backend.name, file).unwrap_or_default();
            bytes.last().is_none_or(|last| *last == b'\n') && backend.oracle.has_one_name(file)
        };
        let names = self.writers[place].minutes_before(minutes);
        names.is_some_and(|names| names.iter().all(is_plain))
    }
}
