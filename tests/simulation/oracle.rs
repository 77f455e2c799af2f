//! The truth about one backend: every line that HA wrote, what has to become of it, and what has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use hustdbsync::internals::binlog::Method;
use hustdbsync::internals::fake_hustdb::query::Call;
use hustdbsync::internals::fake_hustdb::{Item, Space, Verb};
use hustdbsync::internals::ledger::checkpoint::Checkpoint;
use hustdbsync::internals::ledger::forgotten::ForgottenTotals;
use hustdbsync::internals::ledger::rejected::{Piece, RejectedLine, pieces};
use hustdbsync::internals::limits::IDENTITY_PREFIX_BYTES_MAX;
use hustdbsync::internals::replay::disk::LogEntry;
use hustdbsync::internals::replay::testdisk::Deletion;

use crate::counters::Counters;
use crate::mutation::{COUNTERS, Mutation, TALLIES, has_value};

/// What a line is.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// The operation of this number on this item.
    Good { item: Item, operation: usize },
    /// It has to be rejected, as it stands.
    Bad { raw: Vec<u8> },
    /// A good one at which the backend fails for ever: it has to be tried, and then rejected.
    Poison {
        item: Item,
        operation: usize,
        raw: Vec<u8>,
    },
    /// An increment of a counter, with the healthy master's version.
    Increment { item: Item, version: u32 },
    /// It came to a log that was deleted an instant ago: delivered or rejected.
    Stray {
        item: Item,
        operation: usize,
        raw: Vec<u8>,
    },
    /// It had been rejected, and is replayed to a backend that does not fail at it any more.
    Requeued { item: Item, operation: usize },
}

impl Line {
    /// The operation that it is of.
    fn operation(&self) -> Option<(&Item, usize)> {
        match self {
            Self::Good { item, operation }
            | Self::Poison {
                item, operation, ..
            }
            | Self::Stray {
                item, operation, ..
            }
            | Self::Requeued { item, operation } => Some((item, *operation)),
            Self::Bad { .. } | Self::Increment { .. } => None,
        }
    }

    /// Whether this is it, rejected for a reason that it gives.
    fn is_rejected_as(&self, aside: &RejectedLine) -> bool {
        match self {
            Self::Good { .. } | Self::Increment { .. } | Self::Requeued { .. } => false,
            Self::Bad { raw } => {
                let cut = aside.reason == "line_too_long" && raw.starts_with(&aside.raw);
                let unread = aside.detail.ends_with("could not be read again");
                *raw == aside.raw || cut || unread || is_gone(raw, aside)
            }
            Self::Poison { raw, .. } => {
                aside.reason == "attempts" && (*raw == aside.raw || is_gone(raw, aside))
            }
            Self::Stray { raw, .. } => {
                aside.reason == "written_after_deletion" && *raw == aside.raw
            }
        }
    }
}

/// Whether this is what is left of a long line whose log was changed or deleted before it was
/// written down.
fn is_gone(raw: &[u8], aside: &RejectedLine) -> bool {
    aside.detail.contains(NOT_IN_ITS_LOG) && raw.starts_with(&aside.raw)
}

/// What is said of a long line whose log could not be read when it was written down.
const NOT_IN_ITS_LOG: &str = "its log has not got it any more";

/// An operation as it is to arrive.
#[derive(Debug)]
struct Operation {
    verb: Verb,
    /// The delete that may come in its place once its time is over.
    deleted_as: Option<Verb>,
    version: u32,
    value: Vec<u8>,
    score: i64,
    opt: i32,
    /// Unix seconds; 0: never.
    expires_unix: u64,
    /// When the healthy master took it, Unix seconds.
    taken_unix: u64,
    arrived: bool,
    /// It arrived, or, where its line was taken away, an identical one did: arrivals do not tell
    /// them apart.
    may_have_arrived: bool,
    /// It arrived at a backend that did not fail at it.
    was_taken: bool,
    /// Somebody took its line away: it may come, and come again, or not.
    lost: bool,
    /// A lookup found a newer version, or no member and its time is over: it need not come.
    gone: bool,
    /// Its member was looked up since it last arrived.
    asked: bool,
}

impl Operation {
    /// Adds to a score: sent again only where it was not applied.
    fn adds_up(&self) -> bool {
        self.verb == Verb::Zadd && self.opt != 0
    }

    /// Whether the backend holds the item and its version after it.
    fn keeps_its_version(&self) -> bool {
        !self.verb.removes() && self.expires_unix == 0
    }

    /// Whether this call is it, at this time.
    fn is(&self, call: &Call<'_>, unix: u64) -> bool {
        let as_written = self.verb == call.verb
            && self.version == call.ver
            && (call.verb.removes()
                || (self.value == call.value
                    && self.score == call.score
                    && self.opt == call.opt
                    && ((self.expires_unix != 0) == (call.ttl != 0)
                        || (self.is_member() && self.has_expired(unix)))));
        // Before its time it is nobody's delete: one of the same version is another operation.
        let expired = self.has_expired(unix)
            && self.deleted_as == Some(call.verb)
            && self.version == call.ver;
        as_written || expired
    }

    fn has_expired(&self, unix: u64) -> bool {
        (1..=unix).contains(&self.expires_unix)
    }

    /// A backend that does not fail at it has it.
    fn is_replayed(&self) -> bool {
        self.was_taken || (self.adds_up() && self.asked)
    }

    /// Harms its set's order where it comes behind a later one.
    fn is_ordered(&self) -> bool {
        self.verb.space() == Space::SortedSet && !self.adds_up()
    }

    fn sets_score(&self) -> bool {
        self.verb == Verb::Zadd && self.opt == 0
    }

    /// Adds a member of a set.
    fn is_member(&self) -> bool {
        self.verb.adds() && matches!(self.verb.space(), Space::Set | Space::SortedSet)
    }
}

/// How a method arrives, and as which delete when its time is over. This is told apart from the
/// rows that the server reads, so that a wrong row is found.
fn arrives_as(method: Method) -> (Verb, Option<Verb>) {
    match method {
        Method::Put => (Verb::Put, Some(Verb::Del)),
        Method::Del => (Verb::Del, None),
        Method::Hset => (Verb::Hset, Some(Verb::Hdel)),
        Method::Hdel => (Verb::Hdel, None),
        Method::Sadd => (Verb::Sadd, None),
        Method::Srem => (Verb::Srem, None),
        Method::Zadd => (Verb::Zadd, None),
        Method::Zrem => (Verb::Zrem, None),
        Method::TbPut | Method::TbUpdate | Method::TbDelete => {
            unreachable!("HA writes no lines of an older hustdb's tables")
        }
    }
}

/// A lookup's answer may take so long, and the time of the record that it is about may end
/// meanwhile.
const LOOKUP_COUNTS_S: u64 = 10;

/// Whether an item is only ever added to. What is read again of it is asked for, so it comes once
/// and in order, whoever copies its lines.
fn is_tally(item: &Item) -> bool {
    item.table == TALLIES
}

/// One item's operations in the order of the log, and where the backend is among them.
#[derive(Debug, Default)]
struct History {
    operations: Vec<Operation>,
    /// The operation that arrived last could be any of these.
    at: Vec<usize>,
    /// All before this one have arrived.
    arrived: usize,
    /// Some were left out, as somebody took their lines away: nobody knows what the backend holds.
    has_gaps: bool,
    /// A log that shrank is read again as a new one: what is left of it comes behind what is newer.
    is_free: bool,
}

impl History {
    /// Lines of it are read again behind what is newer, unless they are a tally's.
    fn handle_read_again(&mut self, item: &Item) {
        if !is_tally(item) {
            (self.is_free, self.has_gaps) = (true, true);
        }
    }

    /// The operation that is due next, unless it begins again at an earlier one.
    fn next(&self) -> usize {
        let mut next = self.at.iter().max().map_or(0, |at| at + 1);
        while self.operations.get(next).is_some_and(Self::is_done) {
            next += 1;
        }
        next
    }

    /// Whether the operation of this number has arrived, and all before it.
    fn has_arrived(&self, operation: usize) -> bool {
        if self.is_free {
            let operation = &self.operations[operation];
            return operation.arrived || operation.gone || operation.adds_up();
        }
        let mut not_seen = self.arrived.min(operation + 1)..=operation;
        not_seen.all(|at| self.may_be_left_out(&self.operations[at]))
    }

    fn may_be_left_out(&self, operation: &Operation) -> bool {
        // What was taken away may also be what tells that an addition has not been made: a delete.
        let has_lost = || self.operations.iter().any(|operation| operation.lost);
        operation.lost || Self::is_done(operation) || (operation.adds_up() && has_lost())
    }

    /// The last one that may come next: those whose lines somebody took away need not.
    fn reach(&self) -> usize {
        let mut reach = self.next();
        while self
            .operations
            .get(reach)
            .is_some_and(|operation| self.may_be_left_out(operation))
        {
            reach += 1;
        }
        reach
    }

    /// One whose line was taken away is not made again where a suffix begins before it.
    fn is_done(operation: &Operation) -> bool {
        operation.gone || (operation.adds_up() && operation.arrived && !operation.lost)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Other names of files, and what they are called here.
    aliases: BTreeMap<String, String>,
    /// By file and line, from 0. A file that was deleted and made again is its name's second one.
    lines: BTreeMap<Place, Line>,
    /// Which file of this name there is.
    again: BTreeMap<String, u32>,
    histories: BTreeMap<Item, History>,
    pub(crate) counters: Counters,
    /// Highest numbers that were ever durable.
    pub(crate) durable_settled: u64,
    pub(crate) durable_processed: u64,
    /// A checkpoint has rotted: numbers may start anew.
    pub(crate) rotted: bool,
    /// Files that the server has deleted: what they are called here, and which of this name.
    deleted: BTreeSet<(String, u32)>,
    lines_bad: u64,
    /// Somebody took lines away, or put them where nobody may look any more: nobody knows how many
    /// are counted.
    is_uncountable: bool,
    /// Lines that somebody took away.
    taken: BTreeSet<Place>,
    /// Lines that came to deleted logs in this life of the server.
    strays: BTreeSet<Place>,
    /// Of all of them, so many were rejected.
    strays_aside: u64,
}

/// A file's name, which file of this name it is, and the line's number from 0.
pub(crate) type Place = (String, u32, u64);

impl Oracle {
    /// The number of the next item that no line is about yet.
    pub(crate) fn next_item(&self) -> u32 {
        u32::try_from(self.histories.len()).expect("there are few")
    }

    /// Whether the backend has to hold of this item what the healthy master does.
    pub(crate) fn is_exact(&self, item: &Item) -> bool {
        if item.table == COUNTERS {
            return false;
        }
        let history = self.histories.get(item);
        history.is_none_or(|history| !history.has_gaps)
    }

    /// Lines of the file that has this name now of which no mutation has arrived: the number of
    /// each, and which operation on which item it is.
    pub(crate) fn undelivered(&self, file: &str) -> Vec<(u64, Item, usize)> {
        let lines = self.lines.range(self.all_of(file));
        lines
            .filter_map(|((_, _, line), what)| {
                let (item, number) = what.operation()?;
                let is_left = !self.is_delivered(item, number);
                is_left.then(|| (*line, item.clone(), number))
            })
            .collect()
    }

    /// Whether an operation has arrived, or need not come.
    pub(crate) fn is_delivered(&self, item: &Item, number: usize) -> bool {
        let operation = &self.histories[item].operations[number];
        let has_arrived = operation.arrived || operation.may_have_arrived;
        has_arrived || operation.gone || (operation.adds_up() && operation.asked)
    }

    /// When the oldest operation that has not arrived was taken, Unix seconds.
    pub(crate) fn oldest_due_unix(&self) -> Option<u64> {
        let due = |history: &History| Some(history.operations.get(history.next())?.taken_unix);
        self.histories.values().filter_map(due).min()
    }

    /// The number of the next line of the file that has this name now.
    pub(crate) fn next_line(&self, file: &str) -> u64 {
        let last = self.lines.range(self.all_of(file)).next_back();
        last.map_or(0, |((_, _, line), _)| line + 1)
    }

    /// The places of the file that has this name now.
    fn all_of(&self, file: &str) -> RangeInclusive<Place> {
        self.place(file, 0)..=self.place(file, u64::MAX)
    }

    /// Somebody takes a file's lines away, but for the first `kept`, which are read again as those
    /// of a new one.
    pub(crate) fn handle_taken(&mut self, file: &str, kept: u64) {
        self.is_uncountable = true;
        let all: Vec<(Place, Line)> = self
            .lines
            .range(self.all_of(file))
            .map(|(place, line)| (place.clone(), line.clone()))
            .collect();
        self.begin_again(file);
        for (place, line) in all {
            if place.2 < kept {
                if let Some((item, _)) = line.operation() {
                    let history = self.histories.get_mut(item).expect("it was expected");
                    history.handle_read_again(item);
                }
                self.lines.insert(self.place(file, place.2), line);
            } else if let Some((item, operation)) = line.operation() {
                let history = self.histories.get_mut(item).expect("it was expected");
                history.operations[operation].lost = true;
            }
            self.taken.insert(place);
        }
    }

    /// A log of which everything is delivered is replaced by its lines from `first` on.
    pub(crate) fn handle_replaced(&mut self, file: &str, first: u64) {
        let lines = self.next_line(file);
        self.handle_taken(file, lines);
        if first == 0 {
            return;
        }
        let all: Vec<Line> = (0..lines)
            .map(|line| self.lines.remove(&self.place(file, line)))
            .map(|line| line.expect("it was expected"))
            .collect();
        for (number, line) in all.into_iter().skip(first as usize).enumerate() {
            self.lines.insert(self.place(file, number as u64), line);
        }
    }

    /// Has a line to the file that was deleted an instant ago: its number there.
    pub(crate) fn expect_stray(&mut self, file: &str, line: Line) {
        let place = self.place(file, self.next_line(file));
        self.strays.insert(place.clone());
        self.lines.insert(place, line);
    }

    /// The server was killed, or could not write at its end: what was written to deleted logs is
    /// nobody's.
    pub(crate) fn handle_death(&mut self) {
        let strays = std::mem::take(&mut self.strays);
        self.is_uncountable |= !strays.is_empty();
        for place in strays {
            if let Some((item, operation)) = self.lines[&place].operation() {
                let history = self.histories.get_mut(item).expect("it was expected");
                history.operations[operation].lost = true;
            }
            self.taken.insert(place);
        }
    }

    /// Where every line is that was written by now. `unwritten`: how many of a file's are not.
    pub(crate) fn places(&self, unwritten: impl Fn(&str) -> u64) -> Vec<Place> {
        let is_written = |place: &&Place| {
            let is_older = place.1 < self.which(&place.0);
            is_older || place.2 + unwritten(&place.0) < self.next_line(&place.0)
        };
        self.lines.keys().filter(is_written).cloned().collect()
    }

    /// Everything at these places is said to be settled.
    pub(crate) fn check_point(&self, covered: &[Place], rejected: &[u8], whose: &str) {
        let rejected: BTreeSet<(String, u64)> = rejected_lines(rejected)
            .iter()
            .map(|aside| (self.called(&aside.file).to_owned(), aside.line - 1))
            .collect();
        for place in covered {
            let line = &self.lines[place];
            let is_settled = match line {
                Line::Good { item, operation } | Line::Requeued { item, operation } => {
                    self.histories[item].has_arrived(*operation)
                }
                Line::Increment { .. } | Line::Stray { .. } => true,
                Line::Bad { .. } | Line::Poison { .. } => {
                    rejected.contains(&(place.0.clone(), place.2))
                }
            };
            assert!(
                is_settled,
                "{whose}: a sync point is told to be settled before the line {place:?}: {line:?}"
            );
        }
    }

    /// Rejected lines are in this log now, to be replayed: in their order, but behind what is
    /// newer. Gives how many.
    pub(crate) fn handle_requeued(&mut self, file: &str, bytes: &[u8]) -> u64 {
        let lines = bytes.split(|byte| *byte == b'\n');
        let lines: Vec<Line> = lines
            .filter(|raw| !raw.is_empty())
            .map(|raw| self.requeued(raw))
            .collect();
        let count = lines.len() as u64;
        for line in lines {
            if let Some((item, _)) = line.operation() {
                let history = self.histories.get_mut(item).expect("it was expected");
                history.handle_read_again(item);
            }
            let place = self.place(file, self.next_line(file));
            self.lines.insert(place, line);
        }
        count
    }

    fn requeued(&self, text: &[u8]) -> Line {
        let found = self.lines.values().find_map(|line| match line {
            Line::Poison {
                item,
                operation,
                raw,
            } if raw == text => Some(Line::Requeued {
                item: item.clone(),
                operation: *operation,
            }),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{} is replayed, and should not be", text.escape_ascii()))
    }

    /// The healthy master has taken a mutation. Its line comes behind those of all before it of the
    /// same item. Gives its number.
    pub(crate) fn expect(&mut self, mutation: &Mutation) -> usize {
        let history = self.histories.entry(mutation.item.clone()).or_default();
        let (verb, deleted_as) = arrives_as(mutation.method);
        let has_score = mutation.method.row().score;
        history.operations.push(Operation {
            verb,
            deleted_as,
            version: mutation.version,
            value: if has_value(mutation.method) {
                mutation.body.clone()
            } else {
                Vec::new()
            },
            score: if has_score { mutation.score } else { 0 },
            opt: if has_score {
                i32::from(mutation.opt)
            } else {
                0
            },
            expires_unix: mutation.ends_unix(),
            taken_unix: mutation.unix,
            arrived: false,
            may_have_arrived: false,
            was_taken: false,
            lost: false,
            gone: false,
            asked: false,
        });
        history.operations.len() - 1
    }

    /// The file's next line was written.
    pub(crate) fn expect_line(&mut self, file: &str, line: Line) {
        self.lines_bad += u64::from(matches!(line, Line::Bad { .. } | Line::Poison { .. }));
        let place = self.place(file, self.next_line(file));
        self.lines.insert(place, line);
    }

    /// A file of this name is made again.
    pub(crate) fn begin_again(&mut self, file: &str) {
        let called = self.called(file).to_owned();
        *self.again.entry(called).or_insert(0) += 1;
    }

    fn place(&self, file: &str, line: u64) -> Place {
        let (called, which) = self.file(file);
        (called, which, line)
    }

    /// The file that has this name now: what it is called here, and which of this name it is.
    fn file(&self, name: &str) -> (String, u32) {
        (self.called(name).to_owned(), self.which(name))
    }

    /// What a file is called here that has this name.
    fn called<'a>(&'a self, file: &'a str) -> &'a str {
        self.aliases.get(file).map_or(file, String::as_str)
    }

    /// A file has got another name, in place of its own or beside it.
    pub(crate) fn handle_alias(&mut self, file: &str, other: &str) {
        let called = self.called(file).to_owned();
        self.aliases.insert(other.to_owned(), called);
    }

    /// The lines of a file, as a copy of it has them.
    pub(crate) fn lines_of(&self, file: &str) -> Vec<Line> {
        let lines = self.lines.range(self.all_of(file));
        lines.map(|(_, line)| line.clone()).collect()
    }

    /// Whether two names are, or were, of one log.
    pub(crate) fn are_names_of_one(&self, one: &str, other: &str) -> bool {
        self.called(one) == self.called(other)
    }

    /// What of a file begins with this line comes at another time than its place in the order says.
    pub(crate) fn handle_displaced(&mut self, file: &str, from_line: u64) {
        let lines = self.place(file, from_line)..=self.place(file, u64::MAX);
        for line in self.lines.range(lines).map(|(_, line)| line) {
            if let Some((item, _)) = line.operation() {
                let history = self.histories.get_mut(item).expect("it was expected");
                (history.is_free, history.has_gaps) = (true, true);
            }
        }
    }

    /// Whether a log is, or was, known by this name only.
    pub(crate) fn has_one_name(&self, file: &str) -> bool {
        let mut aliases = self.aliases.iter().flat_map(|(one, other)| [one, other]);
        aliases.all(|name| name != file)
    }

    /// A copy of a file, with these lines, has come under a name that is free. It will be read as a
    /// new one: its lines come again, behind what is newer.
    pub(crate) fn handle_copied(&mut self, lines: Vec<Line>, copy: &str) {
        self.is_uncountable = true;
        if self.next_line(copy) > 0 {
            self.begin_again(copy);
        }
        for line in lines {
            if let Some((item, _)) = line.operation() {
                let history = self.histories.get_mut(item).expect("it was expected");
                history.handle_read_again(item);
            }
            let place = self.place(copy, self.next_line(copy));
            self.taken.insert(place.clone());
            self.lines.insert(place, line);
        }
    }

    /// A process starts that may hold the checkpoint for lost, and finds these logs: it sends them
    /// again, and not what newer ones had that are deleted. One that somebody has moved away it
    /// sends again when that is back, behind newer ones (G3, "Not promised").
    pub(crate) fn handle_checkpoint_lost(&mut self, logs: &[LogEntry]) {
        let there: BTreeSet<(String, u32)> = logs.iter().map(|log| self.file(&log.name)).collect();
        let mut oldest_there: BTreeMap<&Item, usize> = BTreeMap::new();
        let mut newest_deleted: BTreeMap<&Item, usize> = BTreeMap::new();
        let mut read_again: BTreeSet<&Item> = BTreeSet::new();
        for ((file, which, _), line) in &self.lines {
            let Some((item, operation)) = line.operation() else {
                continue;
            };
            let file = (file.clone(), *which);
            if there.contains(&file) {
                let oldest = oldest_there.entry(item).or_insert(operation);
                *oldest = operation.min(*oldest);
            } else if self.deleted.contains(&file) {
                let newest = newest_deleted.entry(item).or_insert(operation);
                *newest = operation.max(*newest);
            } else {
                read_again.insert(item);
            }
        }
        read_again.extend(oldest_there.into_iter().filter_map(|(item, oldest)| {
            let newest = newest_deleted.get(item)?;
            (*newest > oldest).then_some(item)
        }));
        for item in read_again {
            let history = self.histories.get_mut(item).expect("it was expected");
            history.handle_read_again(item);
        }
    }

    fn which(&self, file: &str) -> u32 {
        self.again.get(self.called(file)).copied().unwrap_or(0)
    }

    /// A mutation has arrived at the backend. G2: nothing is skipped, nothing overtakes; G3: what
    /// comes again is a suffix. `is_taken`: the backend does not fail at it.
    pub(crate) fn handle_call(&mut self, call: &Call<'_>, is_taken: bool, unix: u64) {
        let item = Item {
            space: call.verb.space(),
            table: call.table.to_vec(),
            key: call.key.to_vec(),
        };
        if item.table == COUNTERS {
            return self.counters.handle_call(&item, call.ver);
        }
        // Lines that the backend is to refuse are about items of their own.
        let Some(history) = self.histories.get_mut(&item) else {
            return;
        };
        if history.is_free {
            // Without its member the backend knows no version to compare with.
            let keeps = history.operations.iter().all(Operation::keeps_its_version);
            for operation in history.operations.iter_mut().filter(|it| it.is(call, unix)) {
                assert!(
                    !(operation.was_taken && operation.adds_up() && keeps),
                    "G4: {call:?} arrived twice, and added twice"
                );
                operation.arrived = true;
                operation.was_taken |= is_taken;
            }
            return;
        }
        let next = history.next();
        let reach = history.reach().min(history.operations.len() - 1);
        let at: Vec<usize> = (0..=reach)
            .filter(|at| history.operations[*at].is(call, unix))
            .collect();
        let Some(&last) = at.last() else {
            panic!(
                "G2/G3: {call:?} arrived where the {next}th operation on {item:?} or one before \
                 was due: {:?}; last arrived {:?}",
                history.operations.get(next),
                history.at,
            );
        };
        history.has_gaps |= last > next;
        for each in &at {
            history.operations[*each].may_have_arrived = true;
        }
        let operation = &mut history.operations[last];
        let is_again = operation.arrived && operation.adds_up();
        assert!(
            !is_again || operation.asked || operation.lost,
            "G4: {call:?} is added again unasked: {operation:?}"
        );
        (operation.arrived, operation.asked) = (true, false);
        operation.was_taken |= is_taken;
        history.arrived = history.arrived.max(last + 1);
        history.at = at;
    }

    /// A member was looked up: what adds to it may come again, and what is older need not come
    /// (G4). Where it is not there, what has expired need not come (G5), nor a score with a version
    /// that it has. `found`: the member's version; `stored`: the same, though its time be over.
    pub(crate) fn handle_lookup(
        &mut self,
        call: &Call<'_>,
        found: Option<u32>,
        stored: u32,
        unix: u64,
    ) {
        let item = Item {
            space: call.verb.space(),
            table: call.table.to_vec(),
            key: call.key.to_vec(),
        };
        let Some(history) = self.histories.get_mut(&item) else {
            return;
        };
        for operation in &mut history.operations {
            operation.asked = true;
        }
        let due = match history.is_free {
            true => 0..history.operations.len(),
            false => history.next()..(history.reach() + 1).min(history.operations.len()),
        };
        for operation in &mut history.operations[due] {
            let is_settled = match found {
                None => operation.is_member(),
                Some(version) => operation.sets_score() && version >= operation.version,
            };
            let is_late = operation.is_ordered() && (1..stored).contains(&operation.version);
            let is_over = operation.has_expired(unix + LOOKUP_COUNTS_S);
            operation.gone |= is_settled && is_over || is_late;
        }
    }

    /// Lines that were to be replayed have been deleted before they were a log: G9.
    pub(crate) fn handle_staged_deletion(&self, deletion: &Deletion) {
        let rejected = rejected_lines(
            deletion
                .state
                .get("rejected.jsonl")
                .map_or(&[], Vec::as_slice),
        );
        let lines = deletion.bytes.split_inclusive(|byte| *byte == b'\n');
        for line in lines.filter_map(|line| line.strip_suffix(b"\n")) {
            assert!(
                rejected.iter().any(|aside| aside.raw == line),
                "G9: {} was deleted with a line that is not in rejected.jsonl any more: {}",
                deletion.name,
                line.escape_ascii()
            );
        }
    }

    /// A log has been deleted: G1, G9, G10.
    pub(crate) fn handle_deletion(&mut self, deletion: &Deletion) {
        let Deletion { name, meta, .. } = deletion;
        self.deleted.insert(self.file(name));
        let called = self.called(name);
        let rejected: BTreeSet<u64> = rejected_lines(
            deletion
                .state
                .get("rejected.jsonl")
                .map_or(&[], Vec::as_slice),
        )
        .iter()
        .filter(|aside| self.called(&aside.file) == called)
        .map(|aside| aside.line)
        .collect();
        let mut lines = 0;
        for ((_, _, line), what) in self.lines.range(self.all_of(name)) {
            lines += 1;
            let has_arrived = what.operation().is_some_and(|(item, operation)| {
                let history = &self.histories[item];
                history.has_arrived(operation) || history.operations[operation].lost
            });
            let mut is_rejected = rejected.contains(&(line + 1));
            match what {
                Line::Good { .. } => assert!(
                    has_arrived,
                    "G1: {name} was deleted before its line {line} was delivered"
                ),
                Line::Increment { item, version } => assert!(
                    self.counters.is_settled(item, *version),
                    "G1: {name} was deleted before its line {line} was delivered or asked for"
                ),
                Line::Requeued { item, operation } => assert!(
                    self.histories[item].operations[*operation].is_replayed(),
                    "G1: {name} was deleted before its requeued line {line} was delivered"
                ),
                Line::Bad { .. } | Line::Poison { .. } | Line::Stray { .. } => {
                    is_rejected |= has_arrived && matches!(what, Line::Stray { .. });
                    assert!(
                        is_rejected,
                        "G9: {name} was deleted before its bad line {line} was durably rejected"
                    );
                }
            }
        }
        let checkpoint = deletion.state.get("checkpoint");
        let checkpoint = checkpoint.map(|bytes| Checkpoint::decode(bytes));
        let Some(Ok(checkpoint)) = checkpoint else {
            panic!("G10: {name} was deleted, and the durable checkpoint was {checkpoint:?}");
        };
        let entry = checkpoint
            .resume
            .files
            .iter()
            .find(|file| file.identity.key() == meta.key());
        assert!(
            entry.is_some_and(|file| file.line == lines && file.byte == meta.bytes),
            "G10: {name} was deleted with {lines} lines and {} bytes, its durable checkpoint says \
             {entry:?}",
            meta.bytes
        );
    }

    /// The server is down; what its next life finds must not be less than what was ever durable.
    pub(crate) fn handle_durable(&mut self, checkpoint: Option<&[u8]>, whose: &str) {
        let checkpoint = checkpoint.and_then(|bytes| Checkpoint::decode(bytes).ok());
        if let Some(checkpoint) = &checkpoint {
            check_identities(checkpoint, whose);
        }
        let totals = checkpoint.map_or((0, 0), |checkpoint| {
            (checkpoint.totals.settled, checkpoint.totals.processed)
        });
        if !self.rotted {
            assert!(
                totals.0 >= self.durable_settled && totals.1 >= self.durable_processed,
                "{whose}: settled {} and processed {} were durable, and now {totals:?}",
                self.durable_settled,
                self.durable_processed
            );
        }
        (self.durable_settled, self.durable_processed) = totals;
    }

    /// What was durably processed and settled of it when the server was last down.
    pub(crate) fn durable_totals(&self) -> ForgottenTotals {
        ForgottenTotals {
            processed: self.durable_processed,
            settled: self.durable_settled,
        }
    }

    /// The server has forgotten the backend, and counts anew.
    pub(crate) fn handle_forgotten(&mut self) {
        (self.durable_settled, self.durable_processed) = (0, 0);
        self.is_uncountable = true;
    }

    /// Everything is over: each line was delivered to its last one, or rejected. `lives`: how often
    /// the server was started.
    pub(crate) fn check_end(&mut self, rejected: &[u8], lives: usize, whose: &str) {
        let mut found: BTreeMap<Place, usize> = BTreeMap::new();
        let mut gone = BTreeSet::new();
        let mut places: HashMap<(&str, u64), Vec<&Place>> = HashMap::new();
        for place in self.lines.keys() {
            places.entry((&place.0, place.2)).or_default().push(place);
        }
        for aside in rejected_lines(rejected) {
            // A long line's value is in its log only: who takes that away takes the line.
            let was_changed = |place: &Place| {
                let is_older = place.1 < self.which(&place.0);
                aside.reason == "log_changed" && (is_older || self.taken.contains(place))
            };
            let is_it =
                |place: &&&Place| self.lines[**place].is_rejected_as(&aside) || was_changed(place);
            let known = places.get(&(self.called(&aside.file), aside.line - 1));
            let Some(&place) = known.into_iter().flatten().find(is_it) else {
                panic!("{whose}: this was rejected, and should not be: {aside:?}");
            };
            *found.entry(place.clone()).or_insert(0) += 1;
            if aside.detail.contains(NOT_IN_ITS_LOG) {
                gone.insert(place.clone());
            }
        }
        for (place, line) in &self.lines {
            let times = found.get(place).copied().unwrap_or(0);
            let is_older = place.1 > 0 || place.1 < self.which(&place.0);
            // A line is known again by all its bytes. A long one's were in its log only, which may
            // have been out of reach at one of the times.
            let may_be_unknown = gone.contains(place);
            match line {
                Line::Good { .. } | Line::Increment { .. } => {}
                Line::Requeued { item, operation } => assert!(
                    self.histories[item].operations[*operation].is_replayed(),
                    "{whose}: the rejected line {place:?} was replayed, and is not delivered"
                ),
                Line::Bad { .. } | Line::Poison { .. } => assert!(
                    times == 1
                        || is_older
                        || self.taken.contains(place)
                        || (may_be_unknown && (1..=lives).contains(&times)),
                    "G9: {whose}: the bad line {place:?} was rejected {times} times in {lives} \
                     lives"
                ),
                Line::Stray {
                    item, operation, ..
                } => {
                    // Without a place in the order of its log: it came behind the end of that.
                    let history = self.histories.get_mut(item).expect("it was expected");
                    history.operations[*operation].lost |= times > 0;
                    history.has_gaps = true;
                    self.strays_aside += u64::from(times > 0);
                }
            }
        }
        self.counters.check_end(whose);
        self.check_histories(whose);
    }

    /// Of each item, all operations have arrived that are not lost, and the last one last.
    fn check_histories(&mut self, whose: &str) {
        for (item, history) in &mut self.histories {
            if history.is_free {
                let all = 0..history.operations.len();
                let due = all
                    .into_iter()
                    .find(|at| !history.operations[*at].lost && !history.has_arrived(*at));
                assert_eq!(due, None, "G1: {whose}: of {item:?} this operation is due");
                continue;
            }
            let (next, reach) = (history.next(), history.reach());
            assert!(
                reach == history.operations.len(),
                "G1/G3: {whose}: of {item:?} the operation {next} of {} is due, arrived last has \
                 {:?}",
                history.operations.len(),
                history.at
            );
            let is_lost = |operation: &Operation| operation.lost && !operation.arrived;
            history.has_gaps |= next < reach || history.operations.iter().any(is_lost);
        }
    }

    /// Nothing was counted twice or not at all.
    pub(crate) fn check_totals(&self, processed: u64, settled: u64, rejected: u64, whose: &str) {
        if self.rotted || self.is_uncountable {
            return;
        }
        // What is replayed was counted when it was rejected.
        let is_new = |line: &&Line| !matches!(line, Line::Requeued { .. });
        let lines = self.lines.values().filter(is_new).count() as u64;
        assert_eq!(
            (processed, settled, rejected),
            (lines, lines, self.lines_bad + self.strays_aside),
            "{whose}: processed, settled, rejected, where {lines} lines were written"
        );
    }
}

/// Of each log its first bytes tell whether what is settled of it is still there: it may be written
/// anew before the next life looks.
fn check_identities(checkpoint: &Checkpoint, whose: &str) {
    for entry in &checkpoint.resume.files {
        let settled = entry.byte.min(IDENTITY_PREFIX_BYTES_MAX as u64);
        assert!(
            u64::from(entry.identity.prefix_bytes) >= settled,
            "G1: {whose}: {settled} bytes of a log are settled that is known by fewer: {entry:?}"
        );
    }
}

fn rejected_lines(bytes: &[u8]) -> Vec<RejectedLine> {
    pieces(bytes)
        .filter_map(|piece| match piece {
            Piece::Line(line) => Some(line),
            // A crash may leave some sectors of lines that were never synced, and a sync that fails
            // the beginning of one: they are rejected again.
            Piece::Faulty | Piece::Torn => None,
        })
        .collect()
}
