//! The truth about one backend: every line that HA wrote, what has to become of it, and what has.

use std::collections::BTreeMap;

use hustdbsync::binlog::Method;
use hustdbsync::ledger::checkpoint::Checkpoint;
use hustdbsync::ledger::rejected::{Piece, RejectedLine, pieces};
use hustdbsync::standin::query::Call;
use hustdbsync::standin::{Item, Verb};

use crate::disk::Deletion;
use crate::mutation::Mutation;

/// What a line is.
#[derive(Debug)]
enum Line {
    /// The operation of this number on this item.
    Good { item: Item, operation: usize },
    /// It has to be set aside, as it stands.
    Bad { raw: Vec<u8> },
}

/// An operation as it is to arrive.
#[derive(Debug)]
struct Operation {
    verb: Verb,
    version: u32,
    value: Vec<u8>,
    score: i64,
    opt: i32,
    expires: bool,
    arrived: bool,
}

impl Operation {
    /// Adds to a score: sent again only where it was not applied.
    fn adds_up(&self) -> bool {
        self.verb == Verb::Zadd && self.opt != 0
    }

    fn is(&self, call: &Call<'_>) -> bool {
        let as_written = self.verb == call.verb
            && self.version == call.ver
            && (call.verb.removes()
                || (self.value == call.value
                    && self.score == call.score
                    && self.opt == call.opt
                    && self.expires == (call.ttl != 0)));
        let expired = self.expires && deleting(self.verb) == call.verb && self.version == call.ver;
        as_written || expired
    }
}

fn verb(method: Method) -> Verb {
    match method {
        Method::Put => Verb::Put,
        Method::Del => Verb::Del,
        Method::Hset => Verb::Hset,
        Method::Hdel => Verb::Hdel,
        Method::Sadd => Verb::Sadd,
        Method::Srem => Verb::Srem,
        Method::Zadd => Verb::Zadd,
        Method::Zrem => Verb::Zrem,
        _ => unreachable!("HA writes no others for good"),
    }
}

fn deleting(verb: Verb) -> Verb {
    match verb {
        Verb::Put => Verb::Del,
        Verb::Hset => Verb::Hdel,
        Verb::Sadd => Verb::Srem,
        Verb::Zadd => Verb::Zrem,
        other => other,
    }
}

/// One item's operations in the order of the log, and where the backend is among them.
#[derive(Debug, Default)]
struct History {
    operations: Vec<Operation>,
    /// The operation that arrived last could be any of these.
    at: Vec<usize>,
    /// All before this one have arrived.
    arrived: usize,
}

impl History {
    /// The operation that is due next, unless it begins again at an earlier one.
    fn next(&self) -> usize {
        let mut next = self.at.iter().max().map_or(0, |at| at + 1);
        let is_done = |operation: &Operation| operation.adds_up() && operation.arrived;
        while self.operations.get(next).is_some_and(is_done) {
            next += 1;
        }
        next
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// By file and line, from 0. A file that was deleted and made again is its name's second one.
    lines: BTreeMap<(String, u32, u64), Line>,
    /// Which file of this name there is.
    again: BTreeMap<String, u32>,
    histories: BTreeMap<Item, History>,
    /// Highest numbers that were ever durable.
    pub(crate) durable_settled: u64,
    pub(crate) durable_processed: u64,
    /// A checkpoint has rotted: numbers may start anew.
    pub(crate) rotted: bool,
    pub(crate) lines_bad: u64,
}

impl Oracle {
    pub(crate) fn lines(&self) -> u64 {
        self.lines.len() as u64
    }

    /// The healthy master has taken a mutation. Its line comes behind those of all before it of the same item. Gives its number.
    pub(crate) fn expect(&mut self, mutation: &Mutation) -> usize {
        let history = self.histories.entry(mutation.item.clone()).or_default();
        let adds_value = matches!(mutation.method, Method::Put | Method::Hset);
        let is_zadd = mutation.method == Method::Zadd;
        history.operations.push(Operation {
            verb: verb(mutation.method),
            version: mutation.version,
            value: if adds_value {
                mutation.body.clone()
            } else {
                Vec::new()
            },
            score: if is_zadd { mutation.score } else { 0 },
            opt: if is_zadd { i32::from(mutation.opt) } else { 0 },
            expires: mutation.ttl != 0,
            arrived: false,
        });
        history.operations.len() - 1
    }

    /// The line of an operation was written.
    pub(crate) fn expect_line(&mut self, file: &str, line: u64, item: Item, operation: usize) {
        let place = self.place(file, line);
        self.lines.insert(place, Line::Good { item, operation });
    }

    /// A file of this name is made again.
    pub(crate) fn begin_again(&mut self, file: &str) {
        *self.again.entry(file.to_owned()).or_insert(0) += 1;
    }

    fn place(&self, file: &str, line: u64) -> (String, u32, u64) {
        (file.to_owned(), self.which(file), line)
    }

    fn which(&self, file: &str) -> u32 {
        self.again.get(file).copied().unwrap_or(0)
    }

    /// A line was written that is to be set aside.
    pub(crate) fn expect_rejected(&mut self, file: &str, line: u64, raw: &[u8]) {
        self.lines_bad += 1;
        let raw = raw.to_vec();
        let place = self.place(file, line);
        self.lines.insert(place, Line::Bad { raw });
    }

    /// A mutation has arrived at the backend. G2: nothing is skipped, nothing overtakes; G3: what comes again is a suffix.
    pub(crate) fn handle_call(&mut self, call: &Call<'_>) {
        let item = Item {
            space: call.verb.space(),
            table: call.table.to_vec(),
            key: call.key.to_vec(),
        };
        // Lines that the backend is to refuse are about items of their own.
        let Some(history) = self.histories.get_mut(&item) else {
            return;
        };
        let next = history.next();
        let at: Vec<usize> = (0..=next.min(history.operations.len() - 1))
            .filter(|at| history.operations[*at].is(call))
            .collect();
        let Some(&last) = at.last() else {
            panic!(
                "G2/G3: {call:?} arrived where the {next}th operation on {item:?} or one before was due: {:?}; last arrived {:?}",
                history.operations.get(next),
                history.at,
            );
        };
        history.operations[last].arrived = true;
        history.arrived = history.arrived.max(last + 1);
        history.at = at;
    }

    /// A log has been deleted: G1, G9, G10.
    pub(crate) fn handle_deletion(&self, deletion: &Deletion) {
        let Deletion { name, meta, .. } = deletion;
        let set_aside = rejected_lines(&deletion.rejected);
        let mut lines = 0;
        let which = self.which(name);
        for ((_, _, line), what) in self
            .lines
            .range((name.clone(), which, 0)..=(name.clone(), which, u64::MAX))
        {
            lines += 1;
            match what {
                Line::Good { item, operation } => assert!(
                    *operation < self.histories[item].arrived,
                    "G1: {name} was deleted before its line {line} was delivered"
                ),
                Line::Bad { .. } => assert!(
                    set_aside
                        .iter()
                        .any(|aside| aside.file == *name && aside.line == line + 1),
                    "G9: {name} was deleted before its bad line {line} was durably set aside"
                ),
            }
        }
        let checkpoint = deletion.checkpoint.as_deref().map(Checkpoint::decode);
        let Some(Ok(checkpoint)) = checkpoint else {
            panic!("G10: {name} was deleted, and the durable checkpoint was {checkpoint:?}");
        };
        let entry = checkpoint.resume.files.iter().find(|file| {
            (file.identity.inode, file.identity.born_nanos) == (meta.inode, meta.born_nanos)
        });
        assert!(
            entry.is_some_and(|file| file.line == lines && file.byte == meta.bytes),
            "G10: {name} was deleted with {lines} lines and {} bytes, its durable checkpoint says {entry:?}",
            meta.bytes
        );
    }

    /// The server is down; what its next life finds must not be less than what was ever durable.
    pub(crate) fn handle_durable(&mut self, checkpoint: Option<&[u8]>, whose: &str) {
        let totals = checkpoint
            .and_then(|bytes| Checkpoint::decode(bytes).ok())
            .map_or((0, 0), |checkpoint| {
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

    /// Everything is over: each line was delivered to its last one, or set aside. `lives`: how often the server was started.
    pub(crate) fn check_end(&self, rejected: &[u8], lives: usize, whose: &str) {
        for (item, history) in &self.histories {
            let next = history.next();
            assert!(
                next == history.operations.len(),
                "G1/G3: {whose}: of {item:?} the operation {next} of {} is due, arrived last has {:?}",
                history.operations.len(),
                history.at
            );
        }
        let mut found = BTreeMap::new();
        for line in rejected_lines(rejected) {
            let is_it = |(place, what): &(&(String, u32, u64), &Line)| {
                let Line::Bad { raw } = what else {
                    return false;
                };
                let cut = line.reason == "line_too_long" && raw.starts_with(&line.raw);
                let unread = line.detail.ends_with("could not be read again");
                (&place.0, place.2 + 1) == (&line.file, line.line)
                    && (*raw == line.raw || cut || unread)
            };
            let Some((place, _)) = self.lines.iter().find(is_it) else {
                panic!("{whose}: this was set aside, and is no bad line: {line:?}");
            };
            *found.entry(place).or_insert(0) += 1;
        }
        for (place, line) in &self.lines {
            if let Line::Bad { .. } = line {
                let times = found.get(place).copied().unwrap_or(0);
                assert!(
                    (1..=lives).contains(&times) || place.1 < self.which(&place.0) || place.1 > 0,
                    "G9: {whose}: the bad line {place:?} was set aside {times} times in {lives} lives"
                );
            }
        }
    }

    /// Nothing was counted twice or not at all.
    pub(crate) fn check_totals(&self, processed: u64, settled: u64, rejected: u64, whose: &str) {
        if self.rotted {
            return;
        }
        let lines = self.lines();
        assert_eq!(
            (processed, settled, rejected),
            (lines, lines, self.lines_bad),
            "{whose}: processed, settled, rejected, where {lines} lines were written"
        );
    }
}

fn rejected_lines(bytes: &[u8]) -> Vec<RejectedLine> {
    pieces(bytes)
        .filter_map(|piece| match piece {
            Piece::Line(line) => Some(line),
            // A crash may leave some sectors of lines that were never synced: they are set aside again.
            Piece::Faulty(..) => None,
            Piece::Torn(bytes) => panic!("rejected.jsonl ends in {}", bytes.escape_ascii()),
        })
        .collect()
}
