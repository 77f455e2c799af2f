//! HA's live part: counters that clients add to, on the backend where it can be reached, and in its
//! log where HA knows nothing of that.
//!
//! HA logs what failed, and also what was applied when only the answer was lost. For each increment
//! the oracle knows whether the backend has it. What was applied must not be added again unasked;
//! what surely was not must be added, whatever live increments have come since (G4).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hustdbsync::internals::binlog::version::WRITES_BEHIND_MAX;
use hustdbsync::internals::fake_hustdb::Item;
use hustdbsync::internals::fake_hustdb::store::{kept_version, live_versions};

use crate::backend::{Life, Mood};
use crate::mutation::{ADDED_MAX, Mutation, SCORES};
use crate::plan::Dying;
use crate::world::{Event, World};

/// Between two increments of one backend's, at most.
const COUNT_GAP: Duration = Duration::from_millis(300);
/// Of a thousand answers to live increments so many are lost.
const ANSWERS_LOST: u32 = 60;
/// HA logs what it had on its way to a backend that closes its connections within this.
const REFUSED_AFTER: Duration = Duration::from_millis(1_900);

/// A backend that is up for so long has been probed.
const SEEN_UP_AFTER: Duration = Duration::from_secs(2);

/// So long after a backend's end, or its server's start, the server surely knows that it is dead:
/// probes come every second, and two seconds, or HA's timeouts, are waited for.
const KNOWN_REFUSED_S: u64 = 8;
const KNOWN_SILENT_S: u64 = 12;
/// Of so long before its return it may not know.
const UNKNOWN_BEFORE_RETURN_S: u64 = 6;
/// Nor of so long before it was killed.
const UNKNOWN_BEFORE_KILL_S: u64 = 10;

/// An increment as the healthy master has it.
#[derive(Debug)]
struct Increment {
    /// The backend has it from HA.
    is_applied: bool,
    /// When HA logged it.
    logged_unix: Option<u64>,
    /// It surely was not applied: in which life of the server it must be sent.
    must_be_sent: Option<u64>,
    /// The server has sent it, and it has arrived.
    is_sent: bool,
    /// Asked for since it was applied or sent, and the answer was that the backend has not got it.
    is_cleared: bool,
    /// Asked for, and the answer was that the backend has it.
    is_done: bool,
}

/// An outage of a backend, as it really is.
#[derive(Debug)]
struct Outage {
    refuses: bool,
    /// When the server was running in it, Unix seconds, and when it ended.
    watched: Vec<(u64, Option<u64>)>,
}

/// The truth about one backend's counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// That of a counter nobody has added to yet; 0 where it is not there.
    first_version: u32,
    /// By counter and version.
    increments: BTreeMap<Item, BTreeMap<u32, Increment>>,
    outage: Option<Outage>,
    /// Applied once the stopped process goes on. One that dies never does.
    frozen: Vec<Mutation>,
    /// When it went on last, and what it applied then.
    thawed: Option<(Duration, Vec<Mutation>)>,
    /// The life and epoch that the server is in with this backend.
    now: (u64, u32),
    /// Versions, of whatever counter, with which something has left the server in this life,
    /// whether or not it arrived.
    left: BTreeSet<u32>,
}

/// The versions with which these requests add.
fn added_versions(requests: &[u8]) -> impl Iterator<Item = u32> {
    const ADDS: &[u8] = b"/hustdb/zadd?ver=";
    memchr::memmem::find_iter(requests, ADDS).map(|at| {
        let digits = requests[at + ADDS.len()..].iter();
        let digits = digits.take_while(|octet| octet.is_ascii_digit());
        digits.fold(0, |version, digit| version * 10 + u32::from(digit - b'0'))
    })
}

impl Counters {
    /// Counters that begin with this version, on both masters.
    pub(crate) fn new(first_version: u32) -> Self {
        Self {
            first_version,
            ..Self::default()
        }
    }

    /// The versions of a counter, one behind the other, whichever master numbers.
    fn order(&self, key: &[u8]) -> Vec<u32> {
        let is_there = !key.contains(&b'.');
        let stored = kept_version(if is_there { self.first_version } else { 0 });
        live_versions(stored).take(ADDED_MAX as usize).collect()
    }

    /// The healthy master has taken it.
    fn expect(&mut self, mutation: &Mutation) {
        let increment = Increment {
            is_applied: false,
            logged_unix: None,
            must_be_sent: None,
            is_sent: false,
            is_cleared: false,
            is_done: false,
        };
        let of_item = self.increments.entry(mutation.item.clone()).or_default();
        let before = of_item.insert(mutation.version, increment);
        assert!(
            before.is_none(),
            "the healthy master gives each its version"
        );
    }

    fn of(&mut self, mutation: &Mutation) -> &mut Increment {
        let of_item = self.increments.get_mut(&mutation.item);
        let increment = of_item.and_then(|all| all.get_mut(&mutation.version));
        increment.expect("it was expected")
    }

    fn handle_applied(&mut self, mutation: &Mutation) {
        let increment = self.of(mutation);
        assert!(!increment.is_sent, "HA is first");
        (increment.is_applied, increment.is_cleared) = (true, false);
    }

    pub(crate) fn handle_logged(&mut self, mutation: &Mutation, unix: u64) {
        self.of(mutation).logged_unix = Some(unix);
    }

    /// The server has asked for a counter; the version that the backend has.
    pub(crate) fn handle_question(&mut self, key: &[u8], stored: Option<u32>) {
        let now = self.now;
        let order = self.order(key);
        let written = stored.map(|stored| {
            let mut left = order.iter().map(|version| kept_version(*version));
            left.position(|left| left == stored).map_or(0, |at| at + 1)
        });
        let of_key = self
            .increments
            .iter_mut()
            .filter(|(item, _)| item.key == key);
        for (version, increment) in of_key.flat_map(|(_, all)| all) {
            let at = order.iter().position(|other| other == version);
            let at = at.expect("it is one of those that live writes get");
            if written.is_none_or(|written| written <= at) {
                increment.is_cleared = true;
            } else {
                increment.is_done = true;
            }
            // Behind a fall: over a version from before it hustdb takes none.
            increment.is_done |= stored.is_some_and(|stored| stored >= *version);
            // A replay gave the counter an older record's version, behind many live increments: a
            // version so far back is no longer told from one that comes later (G4, "Not promised").
            increment.is_done |= written.is_some_and(|written| at >= written + WRITES_BEHIND_MAX);
            // What it has sent and what did not arrive may have been applied, for all that the
            // server knows; so may what an earlier process may have sent.
            let has_left = self.left.contains(version);
            if increment.must_be_sent.is_some_and(|life| life != now.0) || has_left {
                increment.must_be_sent = None;
            }
        }
    }

    /// These requests leave the server.
    pub(crate) fn handle_leaving(&mut self, requests: &[u8]) {
        self.left.extend(added_versions(requests));
    }

    /// Whether one of these requests adds, or seems to, what must be sent.
    pub(crate) fn has_missed(&self, requests: &[u8]) -> bool {
        let is_missed = |version| {
            let all = self.increments.values();
            let mut of_version = all.filter_map(|of_item| of_item.get(&version));
            of_version.any(|increment| increment.must_be_sent.is_some())
        };
        added_versions(requests).any(is_missed)
    }

    /// The server asks for increments, whatever it knows of when they were logged.
    pub(crate) fn handle_asked_for(&mut self) {
        for increment in self.increments.values_mut().flat_map(BTreeMap::values_mut) {
            increment.must_be_sent = None;
        }
    }

    /// The server adds.
    pub(crate) fn handle_call(&mut self, item: &Item, version: u32) {
        let of_item = self.increments.get_mut(item);
        let increment = of_item.and_then(|all| all.get_mut(&version));
        let increment =
            increment.unwrap_or_else(|| panic!("nobody has counted {item:?} to {version}"));
        assert!(
            !(increment.is_applied || increment.is_sent) || increment.is_cleared,
            "G4: {item:?} version {version} is added again unasked: {increment:?}"
        );
        (increment.is_sent, increment.is_cleared) = (true, false);
    }

    pub(crate) fn is_settled(&self, item: &Item, version: u32) -> bool {
        let increment = &self.increments[item][&version];
        increment.is_sent || increment.is_done
    }

    pub(crate) fn check_end(&self, whose: &str) {
        for (item, all) in &self.increments {
            for (version, increment) in all.iter().filter(|(_, one)| one.logged_unix.is_some()) {
                assert!(
                    increment.is_sent || increment.is_done,
                    "G1: {whose}: {item:?} version {version} was neither sent nor asked for"
                );
                assert!(
                    increment.is_sent || increment.must_be_sent.is_none(),
                    "G4: {whose}: {item:?} version {version} was missed, and counted as done: \
                     {increment:?}"
                );
            }
        }
    }

    /// The backend is back: what was logged while the server knew that it was dead must be sent.
    fn end_outage(&mut self, unix: u64) {
        let Some(outage) = self.outage.take() else {
            return;
        };
        let Some((_, None)) = outage.watched.last() else {
            return;
        };
        let known = if outage.refuses {
            KNOWN_REFUSED_S
        } else {
            KNOWN_SILENT_S
        };
        let is_known = |logged: u64| {
            outage.watched.iter().any(|(from, until)| {
                let until = until.map_or(unix - UNKNOWN_BEFORE_RETURN_S, |until| {
                    until - UNKNOWN_BEFORE_KILL_S
                });
                (from + known..until).contains(&logged)
            })
        };
        let now = self.now;
        for increment in self.increments.values_mut().flat_map(BTreeMap::values_mut) {
            let is_open = !increment.is_sent && !increment.is_done && !increment.is_applied;
            if is_open && increment.logged_unix.is_some_and(is_known) {
                increment.must_be_sent = Some(now.0);
            }
        }
    }
}

impl World {
    /// A client counts, and when the next one does.
    pub(crate) fn count(&mut self, place: usize) {
        if self.writers[place].is_over || self.healed {
            return;
        }
        self.count_once(place);
        let gap = u64::try_from(COUNT_GAP.as_micros()).expect("it is short");
        let next = Duration::from_micros(self.counting.u64(..gap));
        self.at(self.now + next, Event::Count { place });
    }

    /// Whether the backend has been up for so long that a probe has shown it. What is applied in a
    /// shorter moment between two ends, and not answered, is counted twice (docs/guarantees.md,
    /// G4).
    fn was_seen_up(&self, place: usize) -> bool {
        let thawed = &self.backends[place].oracle.counters.thawed;
        if thawed
            .as_ref()
            .is_some_and(|(at, _)| self.now < *at + SEEN_UP_AFTER)
        {
            return false;
        }
        match self.backends[place].life {
            Life::Up { since } => since.is_zero() || self.now >= since + SEEN_UP_AFTER,
            Life::Down | Life::Gone => false,
        }
    }

    fn count_once(&mut self, place: usize) {
        let mutation = self.draw_increment(place);
        let backend = &self.backends[place];
        let is_well = backend.is_up() && backend.mood == Mood::Well;
        let hangs = backend.life == Life::Gone || backend.mood == Mood::Frozen;
        let writer = &mut self.writers[place];
        if !writer.holds_alive && is_well {
            writer.holds_alive = self.counting.u32(..4) == 0;
        }
        if !writer.holds_alive {
            return self.write_increment(place, &mutation);
        }
        if is_well {
            self.apply_live(place, &mutation);
            if self.counting.u32(..1000) < ANSWERS_LOST && self.was_seen_up(place) {
                self.write_increment(place, &mutation);
            }
            return;
        }
        self.writers[place].holds_alive = self.counting.bool();
        if hangs {
            // It never gets there: HA's own timeouts pass.
            self.log_later(place, mutation, self.plan.ambiguity_window);
        } else {
            self.write_increment(place, &mutation);
        }
    }

    fn draw_increment(&mut self, place: usize) -> Mutation {
        let (number, unix) = (self.counting.u32(..SCORES), self.unix());
        let mutation = self.writers[place].healthy.increment(number, unix);
        self.backends[place].oracle.counters.expect(&mutation);
        mutation
    }

    fn apply_live(&mut self, place: usize, mutation: &Mutation) {
        let backend = &mut self.backends[place];
        let version = mutation.apply_live(&mut backend.store);
        backend.oracle.counters.handle_applied(mutation);
        self.note(format_args!(
            "{place}: HA adds to {}, ver {version} there and {} on the healthy one",
            mutation.item.key.escape_ascii(),
            mutation.version
        ));
    }

    fn log_later(&mut self, place: usize, mutation: Mutation, within: Duration) {
        let micros = u64::try_from(within.as_micros()).expect("it is short");
        let later = self.now + Duration::from_micros(self.counting.u64(..micros));
        self.increments_to_log += 1;
        self.at(
            later,
            Event::LogIncrement {
                place,
                mutation: Box::new(mutation),
            },
        );
    }

    /// The backend's connections are closed: HA logs at once what it still waits for there.
    fn log_soon(&mut self, place: usize) {
        let latest = self.now + REFUSED_AFTER;
        let is_its = |event: &Event| match event {
            Event::LogIncrement { place: of, .. } => *of == place,
            _ => false,
        };
        for event in self.take_events(|at, event| at > latest && is_its(event)) {
            self.soon(REFUSED_AFTER, event);
        }
    }

    /// A backend is about to fail so. Gives how much longer than otherwise, or nothing where it is
    /// to go on.
    pub(crate) fn draw_outage(&mut self, place: usize, life: Life, mood: Mood) -> Option<Duration> {
        let refuses = life == Life::Down;
        if !refuses && life != Life::Gone && mood != Mood::Frozen {
            return None;
        }
        let was_seen_up = self.was_seen_up(place);
        self.excuse_unseen(place);
        if self.plan.dies_in_drains == Some(Dying::Backend) && mood != Mood::Frozen {
            // What one that hung has not read dies with it.
            self.backends[place].oracle.counters.frozen.clear();
        }
        // What is on its way just now: HA will not hear of it.
        let mut on_its_way = self.counting.u32(..3);
        if !was_seen_up {
            on_its_way = 0;
        }
        if self.backends[place].mood == Mood::Frozen {
            // A stopped process takes nothing more, and one that dies applies nothing of what it
            // was sent before.
            on_its_way = 0;
            if refuses || life == Life::Gone {
                self.backends[place].oracle.counters.frozen.clear();
            }
        }
        if refuses {
            self.log_soon(place);
        }
        for _ in 0..on_its_way {
            let mutation = self.draw_increment(place);
            if refuses {
                self.apply_live(place, &mutation);
                self.log_later(place, mutation, REFUSED_AFTER);
            } else if life == Life::Gone {
                self.apply_live(place, &mutation);
                self.log_later(place, mutation, self.plan.ambiguity_window);
            } else {
                let counters = &mut self.backends[place].oracle.counters;
                counters.frozen.push(mutation.clone());
                self.log_later(place, mutation, self.plan.ambiguity_window);
            }
        }
        let begin = self.unix();
        let watched = self.server.iter().map(|_| (begin, None)).collect();
        let counters = &mut self.backends[place].oracle.counters;
        counters.outage = Some(Outage { refuses, watched });
        if self.plan.dies_in_drains == Some(Dying::Server) {
            // So long that it is known, and kept.
            return Some(Duration::from_secs(self.counting.u64(20..40)));
        }
        if !self.plan.long_outages {
            return Some(Duration::from_secs(self.counting.u64(0..30)));
        }
        let (before, behind) = (self.counting.u64(22..40), self.counting.u64(8..24));
        self.at(self.now + Duration::from_secs(before), Event::EndMidway);
        Some(Duration::from_secs(before + behind))
    }

    /// A process that went on, and fails before a probe has shown it, was alive for nobody: what it
    /// applied meanwhile counts twice (docs/guarantees.md, G4).
    fn excuse_unseen(&mut self, place: usize) {
        let counters = &mut self.backends[place].oracle.counters;
        let Some((at, applied)) = counters.thawed.take() else {
            return;
        };
        if self.now < at + SEEN_UP_AFTER {
            for mutation in applied {
                counters.of(&mutation).is_cleared = true;
            }
        }
    }

    /// The server ends, and the next process finds what this one has kept of an outage.
    pub(crate) fn end_midway(&mut self) {
        if self.healed || self.server.is_none() {
            return;
        }
        if self.counting.bool() {
            self.die();
        } else {
            self.begin_stop();
        }
    }

    /// A backend is back. HA may see that at once, or only later.
    pub(crate) fn note_return(&mut self, place: usize) {
        if !self.plan.counters {
            return;
        }
        let frozen = std::mem::take(&mut self.backends[place].oracle.counters.frozen);
        for mutation in &frozen {
            self.apply_live(place, mutation);
        }
        self.backends[place].oracle.counters.thawed = Some((self.now, frozen));
        let known = self.server.as_ref();
        let known = known.and_then(|server| server.control.at(place));
        let epoch = known.map(|(_, monitor)| monitor.epoch());
        let (unix, life) = (self.unix(), self.life);
        let counters = &mut self.backends[place].oracle.counters;
        match epoch {
            Some(epoch) => {
                counters.now = (life, epoch);
                counters.end_outage(unix);
            }
            None => counters.outage = None,
        }
        if self.plan.long_outages && self.counting.bool() {
            // What is kept of an outage must be gone before anything is sent.
            let soon = Duration::from_millis(self.counting.u64(..2_000));
            self.at(self.now + soon, Event::EndMidway);
        }
        if self.counting.bool() && !self.healed {
            self.writers[place].holds_alive = true;
            // More than were missed while that was not known yet.
            let most = if self.plan.long_outages { 120 } else { 6 };
            for _ in 0..self.counting.u32(..most) {
                let mutation = self.draw_increment(place);
                // It is another instant: the backend takes it when it is well.
                self.apply_live(place, &mutation);
            }
        }
    }

    /// These requests leave the server, all that goes in one burst.
    pub(crate) fn note_leaving(&mut self, connection: u64, requests: &[u8]) {
        if let Some(place) = self.place_of(connection) {
            let counters = &mut self.backends[place].oracle.counters;
            counters.handle_leaving(requests);
        }
    }

    pub(crate) fn note_server_start(&mut self) {
        let unix = self.unix();
        for backend in &mut self.backends {
            backend.oracle.counters.left.clear();
            // One whose name is looked up is probed only then: nobody knows when.
            let has_address = backend.name.starts_with("10.");
            if let Some(outage) = &mut backend.oracle.counters.outage {
                let from = if has_address { unix } else { u64::MAX / 2 };
                outage.watched.push((from, None));
            }
        }
    }

    pub(crate) fn note_server_end(&mut self) {
        let unix = self.unix();
        for backend in &mut self.backends {
            if let Some(outage) = &mut backend.oracle.counters.outage
                && let Some((_, until @ None)) = outage.watched.last_mut()
            {
                *until = Some(unix);
            }
        }
    }

    /// Tells the oracles in which epoch the server is.
    pub(crate) fn note_epochs(&mut self) {
        let Some(server) = &self.server else {
            return;
        };
        for (place, _, monitor) in server.control.all() {
            self.backends[place].oracle.counters.now = (self.life, monitor.epoch());
        }
    }
}
