//! A backend's books, line by line.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::ledger::file::Place;
use crate::ledger::identity::LastRead;

/// What a test does to the books. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The next segment of a file, of so many lines.
    Register(usize, u32),
    /// Settles an unsettled line in flight.
    Settle(usize),
    /// Flushes, and opens all files again.
    Collapse,
    /// Writes a checkpoint and starts anew from it, as after a crash.
    Restart,
    /// Begins a checkpoint, if none is under way.
    Begin,
    /// Says that it is durable, or that it failed.
    End(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize, 1..6_u32).prop_map(|(file, lines)| Step::Register(file, lines)),
        8 => any::<usize>().prop_map(Step::Settle),
        1 => Just(Step::Collapse),
        1 => Just(Step::Restart),
        2 => Just(Step::Begin),
        3 => any::<bool>().prop_map(Step::End),
    ]
}

/// The naive model: every line ever settled, every line in flight. Files are known by their place.
struct Model {
    ledger: BackendLedger,
    settled: [BTreeSet<u64>; 3],
    /// What of them the last durable checkpoint has.
    durable: [BTreeSet<u64>; 3],
    /// The same of the one that is being written.
    begun: Option<[BTreeSet<u64>; 3]>,
    /// Segments with their file and lines, which are numbers within the file.
    in_flight: Vec<(SegmentId, usize, u64, u64)>,
    registered: [u64; 3],
    /// The most lines of each file that were ever registered.
    read: [u64; 3],
    ids: [FileId; 3],
    next: u64,
}

const LINE_BYTES: u64 = 7;

/// A checkpoint that takes no time.
fn note_durable(ledger: &mut BackendLedger) {
    let _ = ledger.begin_checkpoint();
    ledger.checkpoint_durable();
}

fn identity(file: usize) -> Identity {
    Identity::new(1, file as u64, 0, b"")
}

fn name(file: usize) -> Arc<str> {
    ["a.log", "b.log", "c.log"][file].into()
}

impl Model {
    fn new() -> Self {
        let mut model = Self {
            ledger: BackendLedger::default(),
            settled: Default::default(),
            durable: Default::default(),
            begun: None,
            in_flight: Vec::new(),
            registered: [0; 3],
            read: [0; 3],
            ids: [FileId(0); 3],
            next: 0,
        };
        (0..3).for_each(|file| model.open(file, FileStart::New));
        model
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn open(&mut self, file: usize, start: FileStart) {
        self.ids[file] = FileId(self.number());
        self.ledger
            .open_file(self.ids[file], &name(file), identity(file), start);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Register(file, lines) => self.register(file, lines),
            Step::Settle(which) => self.settle(which),
            Step::Collapse => {
                let plan = self.ledger.collapse();
                self.resume(&plan);
            }
            Step::Restart => {
                let mut bytes = Vec::new();
                self.ledger.checkpoint().encode(&mut bytes);
                let checkpoint = Checkpoint::decode(&bytes).expect("it was just written");
                self.ledger = BackendLedger::from_checkpoint(checkpoint);
                (self.begun, self.durable) = (None, self.settled.clone());
                let plan = self.ledger.collapse();
                self.resume(&plan);
            }
            Step::Begin => {
                if self.begun.is_none() {
                    let _ = self.ledger.begin_checkpoint();
                    self.begun = Some(self.settled.clone());
                }
            }
            Step::End(well) => match self.begun.take() {
                None => {}
                Some(settled) if well => {
                    self.ledger.checkpoint_durable();
                    self.durable = settled;
                }
                Some(_) => self.ledger.checkpoint_failed(),
            },
        }
    }

    fn register(&mut self, file: usize, lines: u32) {
        let first = self.registered[file];
        let end = first + u64::from(lines);
        let before = self.settled[file].range(first..end);
        let before: Vec<u32> = before
            .map(|line| u32::try_from(line - first).unwrap())
            .collect();
        let id = SegmentId(self.number());
        let registered = self.ledger.register(&NewSegment {
            id,
            file: self.ids[file],
            first: Place {
                line: first,
                byte: first * LINE_BYTES,
            },
            end_byte: end * LINE_BYTES,
            lines,
            settled_before: before.clone(),
            written_unix: 0,
            last_read: LastRead::default(),
        });
        assert_eq!(
            registered.processed,
            end.saturating_sub(self.read[file].max(first))
        );
        assert_eq!(registered.done.is_some(), before.len() == lines as usize);
        self.read[file] = self.read[file].max(end);
        self.registered[file] = end;
        if registered.done.is_none() {
            self.in_flight.push((id, file, first, end));
        }
    }

    fn settle(&mut self, which: usize) {
        let mut unsettled = Vec::new();
        for (at, &(_, file, first, end)) in self.in_flight.iter().enumerate() {
            let lines = (first..end).filter(|line| !self.settled[file].contains(line));
            unsettled.extend(lines.map(|line| (at, line)));
        }
        let Some(&(at, line)) = unsettled.get(which % unsettled.len().max(1)) else {
            return;
        };
        let (id, file, first, end) = self.in_flight[at];
        self.settled[file].insert(line);
        let done = self
            .ledger
            .settle(id, u32::try_from(line - first).unwrap(), Tally::Applied);
        let is_done = self.settled[file].range(first..end).count() as u64 == end - first;
        assert_eq!(done.is_some(), is_done);
        if is_done {
            self.in_flight.remove(at);
        }
    }

    /// Checks a plan against the peer, and opens all files by it.
    fn resume(&mut self, plan: &ResumePlan) {
        assert_eq!(plan.files.len(), 3);
        self.in_flight.clear();
        for (index, entry) in plan.files.iter().enumerate() {
            let file = usize::try_from(entry.identity.inode).unwrap();
            let above = entry
                .settled
                .as_slice()
                .iter()
                .flat_map(|run| run.first..run.end());
            let lines: BTreeSet<u64> = (0..entry.line).chain(above).collect();
            assert_eq!(lines, self.settled[file]);
            assert_eq!(
                (entry.byte, entry.lines_read),
                (entry.line * LINE_BYTES, self.read[file])
            );
            self.registered[file] = entry.line;
            self.open(file, FileStart::Resumed(index));
        }
    }

    fn check(&self) {
        self.ledger.check_invariants();
        let settled: usize = self.settled.iter().map(BTreeSet::len).sum();
        assert_eq!(self.ledger.totals().settled, settled as u64);
        assert_eq!(
            self.ledger.totals().processed,
            self.read.iter().sum::<u64>()
        );
        for (file, id) in self.ids.into_iter().enumerate() {
            if let Some(FinishedFile { end, .. }) = self.ledger.finished(id) {
                assert_eq!(end.line, self.registered[file]);
                assert_eq!(
                    self.durable[file], self.settled[file],
                    "all of it is in a durable checkpoint"
                );
                assert_eq!(
                    self.settled[file].range(..end.line).count() as u64,
                    end.line
                );
                assert!(
                    self.settled[file].range(end.line..).next().is_none(),
                    "nothing is known behind it"
                );
            }
        }
    }

    fn deletable(&self) -> Vec<String> {
        self.ledger
            .deletable_files(usize::MAX)
            .into_iter()
            .map(|(_, name)| name.to_string())
            .collect()
    }
}

proptest! {
    #[test]
    fn the_books_say_what_single_lines_say_over_flushes_and_restarts(
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
            model.check();
        }
    }
}

#[test]
fn a_file_is_deletable_from_the_checkpoint_that_says_so_until_it_grows() {
    let mut model = Model::new();
    model.register(0, 1);
    note_durable(&mut model.ledger);
    assert_eq!(
        model.deletable(),
        [""; 0],
        "the later ones wait for the first"
    );
    model.settle(0);
    assert_eq!(model.deletable(), [""; 0]);
    note_durable(&mut model.ledger);
    assert_eq!(model.deletable(), ["a.log", "b.log", "c.log"]);
    model.register(0, 1);
    assert_eq!(model.deletable(), [""; 0]);
}

#[test]
fn what_the_reader_forgets_is_forgotten() {
    let mut ledger = BackendLedger::default();
    ledger.open_file(FileId(1), &name(0), identity(0), FileStart::New);
    ledger.open_file(FileId(2), &name(1), identity(1), FileStart::New);
    assert_eq!(ledger.collapse().files.len(), 2);
    note_durable(&mut ledger);
    let first = EntriesForgotten {
        files: vec![0],
        legacy: Vec::new(),
    };
    ledger.forget_entries(&first);
    ledger.open_file(FileId(3), &name(0), identity(0), FileStart::New);
    let plan = ledger.checkpoint().resume;
    let known: Vec<_> = plan.files.iter().map(|file| file.identity.inode).collect();
    assert_eq!(known, [0, 1], "one entry an inode");
    assert!(ledger.forgets_files());
}

#[test]
#[should_panic(expected = "used or forgotten once")]
fn an_entry_cannot_be_forgotten_after_it_was_used() {
    let mut model = Model::new();
    model.ledger.collapse();
    model.open(0, FileStart::Resumed(0));
    let first = EntriesForgotten {
        files: vec![0],
        legacy: Vec::new(),
    };
    model.ledger.forget_entries(&first);
}

#[test]
#[should_panic(expected = "each is resumed once")]
fn an_entry_cannot_be_resumed_twice() {
    let mut model = Model::new();
    model.ledger.collapse();
    model.open(0, FileStart::Resumed(0));
    model.open(0, FileStart::Resumed(0));
}

#[test]
#[should_panic(expected = "was deleted after it was settled")]
fn deleting_what_is_not_durably_settled_stops_everything() {
    let mut model = Model::new();
    model.ledger.file_deleted(model.ids[0]);
}

#[test]
fn a_file_that_is_gone_keeps_its_books_until_what_is_in_flight_is_settled() {
    let mut model = Model::new();
    model.register(0, 2);
    model.ledger.file_gone(model.ids[0]);
    assert_eq!(model.ledger.take_closed(), []);
    assert!(
        model.ledger.forgets_files(),
        "the next checkpoint is without it, lines in flight or not"
    );
    model.settle(0);
    model.settle(0);
    let closed = model.ledger.take_closed();
    assert_eq!(
        (closed.len(), closed[0].unsettled, closed[0].deleted),
        (1, 0, false)
    );
    assert!(model.ledger.forgets_files());
    assert_eq!(model.ledger.checkpoint().resume.files.len(), 2);
}

#[test]
fn what_was_in_flight_of_a_file_that_is_gone_is_told_at_a_flush() {
    let mut model = Model::new();
    model.register(0, 5);
    model.settle(0);
    model.ledger.file_gone(model.ids[0]);
    assert_eq!(model.ledger.collapse().files.len(), 2);
    assert_eq!(model.ledger.take_closed()[0].unsettled, 4);
}

/// One file with so many lines in flight, and one settled.
fn one_settled_of(lines: u32) -> Model {
    let mut model = Model::new();
    model.register(0, lines);
    model.settle(0);
    model
}

#[test]
fn what_changes_while_a_checkpoint_is_written_is_not_durable_with_it() {
    let mut model = one_settled_of(2);
    let begun = model.ledger.changes();
    let checkpoint = model.ledger.begin_checkpoint();
    model.settle(0);
    assert_eq!(checkpoint.totals.settled, 1);
    model.ledger.checkpoint_durable();
    assert_eq!(model.ledger.durable_changes(), Some(begun));
    assert!(model.ledger.is_changed());
    assert_eq!(
        model.deletable(),
        [""; 0],
        "its last line was settled since"
    );
    note_durable(&mut model.ledger);
    assert!(!model.ledger.is_changed());
    assert_eq!(model.deletable(), ["a.log", "b.log", "c.log"]);
}

#[test]
fn nothing_is_durable_before_a_checkpoint_is_or_when_it_fails() {
    let mut model = one_settled_of(1);
    let _ = model.ledger.begin_checkpoint();
    assert_eq!(
        (model.deletable(), model.ledger.durable_changes()),
        (vec![], None)
    );
    model.ledger.checkpoint_failed();
    assert_eq!(
        (model.deletable(), model.ledger.durable_changes()),
        (vec![], None)
    );
    assert!(model.ledger.is_changed());
    note_durable(&mut model.ledger);
    let durable = model.ledger.durable_changes();
    assert_eq!(model.deletable().len(), 3);
    // What was durable before stays so, whatever becomes of the next one.
    let _ = model.ledger.begin_checkpoint();
    assert_eq!(model.deletable().len(), 3);
    model.ledger.checkpoint_failed();
    assert_eq!(
        (model.deletable().len(), model.ledger.durable_changes()),
        (3, durable)
    );
}

#[test]
fn what_is_forgotten_while_a_checkpoint_is_written_is_forgotten_by_the_next() {
    let mut model = Model::new();
    model.ledger.file_gone(model.ids[0]);
    assert_eq!(model.ledger.begin_checkpoint().resume.files.len(), 2);
    model.ledger.file_gone(model.ids[1]);
    model.ledger.checkpoint_failed();
    assert!(model.ledger.forgets_files());
    assert_eq!(model.ledger.begin_checkpoint().resume.files.len(), 1);
    model.ledger.file_gone(model.ids[2]);
    model.ledger.checkpoint_durable();
    assert!(
        model.ledger.forgets_files() && model.ledger.is_changed(),
        "the last one still stands in it"
    );
    note_durable(&mut model.ledger);
    assert!(!model.ledger.forgets_files() && !model.ledger.is_changed());
}

#[test]
fn a_file_opened_while_a_checkpoint_is_written_has_no_durable_end_by_it() {
    let mut model = one_settled_of(1);
    let _ = model.ledger.begin_checkpoint();
    let plan = model.ledger.collapse();
    model.resume(&plan);
    model.ledger.checkpoint_durable();
    assert_eq!(model.deletable(), [""; 0], "these are new books");
    assert!(model.ledger.is_changed());
    note_durable(&mut model.ledger);
    assert_eq!(model.deletable().len(), 3);
}

#[test]
#[should_panic(expected = "written at a time")]
fn a_second_checkpoint_waits_for_the_first() {
    let mut ledger = BackendLedger::default();
    let _ = ledger.begin_checkpoint();
    let _ = ledger.begin_checkpoint();
}
