//! A reader with everybody around it played by the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::binlog::{Method, Record, line};
use crate::clock::Now;
use crate::ledger::backend::BackendLedger;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::segment::NewSegment;
use crate::ledger::totals::{Tally, Totals};
use crate::limits::IDENTITY_PREFIX_BYTES_MAX;
use crate::replay::chunk::Share;
use crate::replay::links::{Links, Mailboxes};
use crate::replay::messages::{
    BackendId, BackendInfo, BackendMessage, Batch, BodyReader, BodyRequest, CheckpointerMessage,
    ControlMessage, EntriesForgotten, FileId, FileOpened, FileStart, ReaderMessage, ReaderSettings,
    Rejection, ResumePlan, SegmentId, WorkerMessage,
};
use crate::replay::reachability::KnownOutages;
use crate::replay::reader::buffers::ReaderBounds;
use crate::replay::reader::{LogReader, ReaderRules, Turn};
use crate::replay::testdisk::TestDisk;

pub(super) const WORKERS: usize = 2;
pub(super) const A: BackendId = BackendId(0);
pub(super) const B: BackendId = BackendId(1);

/// Small lengths, so that little input shows what much does.
pub(super) const BOUNDS: ReaderBounds = ReaderBounds {
    chunk_bytes_min: 256,
    chunk_bytes_max: 1024,
    line_bytes_max: 4000,
};

/// A record that a worker got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    pub(super) maybe_sent: bool,
    pub(super) lane: u16,
}

/// A record whose value comes in pieces.
pub(super) struct Reading {
    got: Got,
    batch: Batch,
    bytes: usize,
}

pub(super) struct Fixture {
    pub(super) disk: TestDisk,
    pub(super) reader: LogReader<TestDisk>,
    pub(super) links: Links,
    pub(super) now: Now,
    pub(super) infos: Vec<BackendInfo>,
    pub(super) epochs: BTreeMap<BackendId, u32>,
    /// What has come, by backend.
    pub(super) got: BTreeMap<BackendId, Vec<Got>>,
    pub(super) opened: Vec<FileOpened>,
    pub(super) segments: BTreeMap<SegmentId, NewSegment>,
    pub(super) owners: BTreeMap<SegmentId, BackendId>,
    pub(super) rejected: Vec<Rejection>,
    pub(super) gone: Vec<FileId>,
    pub(super) moved: Vec<(FileId, u64)>,
    /// Logs that have gone, and how long they were.
    pub(super) away: Vec<(String, u64)>,
    /// The same logs, and how much of each was not read.
    pub(super) unread: Vec<(String, u64)>,
    /// Logs that have gone, and the files that have all that they had, by inode and birth time.
    pub(super) copied: Vec<((u64, u64), (u64, u64))>,
    /// Sync points that were passed on, each with how many logs had gone by then.
    pub(super) points: Vec<(u64, usize)>,
    /// Entries of plans that will not be used: of files, and of the original's.
    pub(super) forgotten: Vec<EntriesForgotten>,
    /// A real ledger for each backend, so that what the reader says is held against what the
    /// checkpointer makes of it.
    pub(super) ledgers: BTreeMap<BackendId, (u32, BackendLedger)>,
    next_ledgers: BTreeMap<BackendId, (u32, BackendLedger)>,
    pub(super) flushed: Vec<u32>,
    pub(super) identified: Vec<FileId>,
    /// By how many of its first bytes the checkpointer knows each log.
    known_by: BTreeMap<FileId, u64>,
    pub(super) control: Vec<ControlMessage>,
    /// Backends whose records nobody settles: their batches are kept.
    pub(super) stuck: Vec<BackendId>,
    pub(super) kept: Vec<Batch>,
    /// Lines of segments that have not come yet; a segment is settled with its last.
    left: BTreeMap<SegmentId, u32>,
    /// Values that come in pieces, by the number under which they are asked for.
    pub(super) reading: BTreeMap<u64, Reading>,
    readings: u64,
    /// Lines whose values turned out to be others.
    pub(super) changed: Vec<String>,
    /// The most bytes that pieces had at one time, of all backends.
    pub(super) piece_bytes_max: usize,
}

pub(super) fn settings() -> ReaderSettings {
    ReaderSettings {
        lanes_per_backend: 4,
        memory_budget_bytes: 20_000,
        in_flight_per_backend: 1000,
        rescan_interval: Duration::from_secs(30),
        closed_after: Duration::from_secs(80),
    }
}

/// A line that HA would write.
pub(super) fn put(key: &str) -> Vec<u8> {
    put_value(key, b"value")
}

pub(super) fn put_value(key: &str, value: &[u8]) -> Vec<u8> {
    let (mut record, mut text) = (Vec::new(), Vec::new());
    Record::new(Method::Put, key.as_bytes(), value).encode(&mut record);
    line::encode(b"[2026-11-22 16:40:38] [DEBUG] | ", &record, &mut text);
    text
}

/// A line of a zadd that adds, of a year, which is its time in seconds here.
pub(super) fn increment(key: &str, year: u32) -> Vec<u8> {
    let (mut record, mut text) = (Vec::new(), Vec::new());
    Record {
        table: b"t",
        score: 1,
        opt: 1,
        ..Record::new(Method::Zadd, key.as_bytes(), b"")
    }
    .encode(&mut record);
    line::encode(format!("[{year}-11-22] | ").as_bytes(), &record, &mut text);
    text
}

pub(super) fn puts(keys: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<u8> {
    keys.into_iter().flat_map(|key| put(key.as_ref())).collect()
}

fn is_backend(name: &str) -> Result<(), String> {
    name.contains(':')
        .then_some(())
        .ok_or_else(|| "no port".to_owned())
}

/// Any prefix with a bracket: what stands where HA writes the year.
fn written_unix(prefix: &[u8]) -> Option<u64> {
    let prefix = prefix.strip_prefix(b"[")?;
    let year = prefix.split(|byte| *byte == b'-').next()?;
    std::str::from_utf8(year).ok()?.parse().ok()
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(settings(), BOUNDS, 64)
    }

    pub(super) fn with(
        settings: ReaderSettings,
        bounds: ReaderBounds,
        mailbox_room: usize,
    ) -> Self {
        let mailboxes = Mailboxes::without_wakers(WORKERS, mailbox_room);
        let own = Mailboxes::without_wakers(0, 1024).reader;
        let mailboxes = Mailboxes {
            reader: own,
            ..mailboxes
        };
        let links = Links::new(mailboxes, 256, 8);
        let disk = TestDisk::default();
        let rules = ReaderRules {
            is_backend,
            written_unix,
            zone: || "ours".to_owned(),
        };
        let now = Now::new(Duration::from_secs(5), 1_000_000);
        disk.set_time(now.unix - 10);
        Self {
            reader: LogReader::with_bounds(disk.clone(), settings, rules, links.clone(), bounds),
            disk,
            links,
            now,
            infos: Vec::new(),
            epochs: BTreeMap::new(),
            got: BTreeMap::new(),
            opened: Vec::new(),
            segments: BTreeMap::new(),
            owners: BTreeMap::new(),
            rejected: Vec::new(),
            gone: Vec::new(),
            moved: Vec::new(),
            away: Vec::new(),
            unread: Vec::new(),
            copied: Vec::new(),
            points: Vec::new(),
            forgotten: Vec::new(),
            ledgers: BTreeMap::new(),
            next_ledgers: BTreeMap::new(),
            flushed: Vec::new(),
            identified: Vec::new(),
            known_by: BTreeMap::new(),
            control: Vec::new(),
            stuck: Vec::new(),
            kept: Vec::new(),
            left: BTreeMap::new(),
            reading: BTreeMap::new(),
            readings: 0,
            changed: Vec::new(),
            piece_bytes_max: 0,
        }
    }

    /// A reader that has one backend, which is up, and nothing behind it.
    pub(super) fn fed(backends: &[&str]) -> Self {
        let mut fixture = Self::new();
        fixture.know(backends);
        fixture
    }

    /// Makes backends known, up, and with nothing behind them.
    pub(super) fn know(&mut self, backends: &[&str]) {
        for name in backends {
            let id = self.add(name);
            self.plan(id, ResumePlan::default());
            self.up(id);
        }
    }

    pub(super) fn add(&mut self, name: &str) -> BackendId {
        let info = BackendInfo {
            id: BackendId::from_index(self.infos.len()),
            name: Arc::from(name),
            counters: Arc::default(),
            dirty_flags: Arc::default(),
        };
        self.infos.push(info.clone());
        let id = info.id;
        self.epochs.insert(id, 0);
        self.send(ReaderMessage::Backend(info));
        id
    }

    pub(super) fn send(&self, message: ReaderMessage) {
        assert!(
            self.links.mailboxes.reader.send(message).is_ok(),
            "there is room"
        );
    }

    pub(super) fn plan(&mut self, backend: BackendId, plan: ResumePlan) {
        let epoch = self.epochs[&backend];
        let ledger = BackendLedger::from_checkpoint(Checkpoint {
            totals: Totals::default(),
            resume: plan.clone(),
        });
        if epoch == 0 || self.flushed.last() == Some(&epoch) {
            self.ledgers.insert(backend, (epoch, ledger));
        } else {
            self.next_ledgers.insert(backend, (epoch, ledger));
        }
        self.send(ReaderMessage::Plan {
            backend,
            epoch,
            plan,
        });
    }

    pub(super) fn up(&self, backend: BackendId) {
        self.up_with(backend, KnownOutages::default());
    }

    pub(super) fn up_with(&self, backend: BackendId, outages: KnownOutages) {
        let epoch = self.epochs[&backend];
        self.send(ReaderMessage::Up {
            backend,
            epoch,
            outages,
        });
    }

    pub(super) fn down(&mut self, backend: BackendId) {
        let epoch = self.epochs[&backend] + 1;
        self.epochs.insert(backend, epoch);
        self.send(ReaderMessage::Down { backend, epoch });
    }

    /// Files under hidden names that were logged since nothing is known of them, and are there.
    pub(super) fn said_hidden(&self) -> usize {
        self.reader.sources[0].said_hidden.len()
    }

    pub(super) fn hint_listing(&self, backend: BackendId) {
        self.links
            .dirty_flags
            .hint_listing(&self.infos[backend.index()].dirty_flags);
    }

    pub(super) fn hint_grew(&self, backend: BackendId) {
        self.links
            .dirty_flags
            .hint_grew(&self.infos[backend.index()].dirty_flags);
    }

    /// Appends and tells of it.
    pub(super) fn append(&self, backend: BackendId, file: &str, bytes: &[u8]) {
        self.disk.set_time(self.now.unix);
        self.disk
            .append_log(&self.infos[backend.index()].name, file, bytes);
        self.hint_grew(backend);
        self.hint_listing(backend);
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.unix += time.as_secs();
    }

    /// A turn, and what its driver does behind it: nothing needs to be watched here.
    pub(super) fn turn(&mut self) -> Turn {
        let turn = self.reader.turn(self.now);
        while self.reader.poll_action().is_some() {}
        turn
    }

    /// Lets turns and answers go on until nothing more happens at this instant.
    pub(super) fn run(&mut self) -> Turn {
        for _ in 0..100_000 {
            let turn = self.turn();
            let came = self.receive();
            if turn != Turn::Busy && !came && self.reader.prepare_sleep() {
                self.links.mailboxes.reader.awake();
                return turn;
            }
        }
        panic!("the reader does not come to rest");
    }

    /// Runs, lets time pass, and runs again.
    pub(super) fn run_for(&mut self, time: Duration) {
        self.run();
        self.pass(time);
        self.run();
    }

    /// Takes in what the reader said. Everything is settled at once, except for who is stuck.
    pub(super) fn receive(&mut self) -> bool {
        let mut came = false;
        while let Some(message) = self.links.mailboxes.checkpointer.receive() {
            came = true;
            self.handle_checkpointer_message(message);
        }
        for worker in self.links.mailboxes.workers.clone() {
            while let Some(message) = worker.receive() {
                came = true;
                match message {
                    WorkerMessage::Batch(batch) => self.take_batch(batch),
                    WorkerMessage::Body(reader, piece) => self.take_piece(reader.nth, piece),
                    other => panic!("the reader does not say {other:?}"),
                }
            }
        }
        while let Some(message) = self.links.mailboxes.control.receive() {
            came = true;
            self.control.push(message);
        }
        came
    }

    fn handle_checkpointer_message(&mut self, message: CheckpointerMessage) {
        match message {
            CheckpointerMessage::Of(backend, message) => self.handle_message(backend, message),
            CheckpointerMessage::LogAway(log) => {
                self.unread.push((log.name.to_string(), log.unread_bytes));
                self.away.push((log.name.to_string(), log.bytes));
            }
            CheckpointerMessage::LogCopied { key, copy, .. } => self.copied.push((key, copy)),
            CheckpointerMessage::SyncPoint { id, .. } => self.points.push((id, self.away.len())),
            other => panic!("the reader does not say {other:?}"),
        }
    }

    /// What the checkpointer is told of a backend.
    fn handle_message(&mut self, backend: BackendId, message: BackendMessage) {
        match message {
            BackendMessage::FileOpened(opened) => self.handle_opened(backend, opened),
            BackendMessage::Segment { segment } => self.handle_segment(backend, segment),
            BackendMessage::Rejected(rejection) => {
                let segment = rejection.segment;
                let ledger = self.ledger(backend);
                ledger.settle(segment, rejection.line, Tally::Rejected);
                self.rejected.push(*rejection);
                self.handle_lines(segment, 1);
            }
            BackendMessage::FileGone { file } => {
                self.ledger(backend).file_gone(file);
                self.gone.push(file);
            }
            BackendMessage::FileMoved {
                file,
                name,
                away_unix,
            } => {
                self.ledger(backend).file_moved(file, &name, away_unix);
                let opened = self.opened.iter_mut().find(|opened| opened.file == file);
                opened.expect("a file is opened before it moves").name = name;
                self.moved.push((file, away_unix));
            }
            BackendMessage::EntriesMoved(moved) => self.ledger(backend).entries_moved(&moved),
            BackendMessage::EntriesForgotten(forgotten) => {
                self.ledger(backend).forget_entries(&forgotten);
                self.forgotten.push(forgotten);
            }
            BackendMessage::Flushed { epoch, .. } => {
                if let Some(next) = self.next_ledgers.remove(&backend) {
                    self.ledgers.insert(backend, next);
                }
                self.flushed.push(epoch);
            }
            BackendMessage::FileIdentified { file, identity } => {
                self.ledger(backend).identify_file(file, identity);
                self.known_by.insert(file, u64::from(identity.prefix_bytes));
                self.identified.push(file);
            }
            other => panic!("the reader does not say {other:?}"),
        }
    }

    fn handle_opened(&mut self, backend: BackendId, opened: FileOpened) {
        let FileOpened {
            file,
            name,
            identity,
            start,
        } = &opened;
        let ledger = self.ledger(backend);
        ledger.open_file(*file, name, *identity, *start);
        self.known_by
            .insert(*file, u64::from(identity.prefix_bytes));
        self.opened.push(opened);
    }

    fn handle_segment(&mut self, backend: BackendId, segment: NewSegment) {
        assert!(self.opened.iter().any(|opened| opened.file == segment.file));
        let bytes = segment.end_byte.min(IDENTITY_PREFIX_BYTES_MAX as u64);
        let known = self.known_by[&segment.file];
        assert!(
            known >= bytes,
            "G1: {bytes} bytes of a log are read that is known by {known}: were it written anew, \
             nothing would tell"
        );
        self.ledger(backend).register(&segment);
        let counters = &self.infos[backend.index()].counters;
        counters.registered_bytes.add(segment.bytes());
        let id = segment.id;
        let settled = segment.settled_before.len();
        self.left.insert(id, segment.lines);
        self.segments.insert(id, segment);
        self.owners.insert(id, backend);
        self.handle_lines(id, u32::try_from(settled).unwrap());
    }

    fn ledger(&mut self, backend: BackendId) -> &mut BackendLedger {
        let known = self.ledgers.get_mut(&backend);
        &mut known.expect("a plan comes before files").1
    }

    /// So many lines of a segment have come.
    fn handle_lines(&mut self, id: SegmentId, lines: u32) {
        let left = self.left.get_mut(&id).expect("a segment is told of first");
        *left -= lines;
        let backend = self.owners[&id];
        if *left == 0 && !self.stuck.contains(&backend) {
            self.send(ReaderMessage::SegmentDone {
                backend,
                done: self.segments[&id].done(),
                epoch: self.epochs[&backend],
            });
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        let mut got = self.records_of(&batch);
        let is_stuck = self.stuck.contains(&batch.backend);
        match &batch.body {
            Some(body) if !is_stuck => {
                self.readings += 1;
                let bytes = body.bytes as usize;
                let got = got.pop().expect("a long line is a segment of its own");
                let reading = Reading { got, batch, bytes };
                self.reading.insert(self.readings, reading);
                self.go_on(self.readings);
            }
            _ => {
                let lines = u32::try_from(got.len()).unwrap();
                self.got.entry(batch.backend).or_default().extend(got);
                self.handle_lines(batch.origin.segment, lines);
                if is_stuck {
                    return self.kept.push(batch);
                }
                self.settle(&batch);
                self.links.returns.release(batch.chunk);
                self.links.fed_pool.give(batch.records);
            }
        }
    }

    /// Asks for the next piece of a value, or is done with it.
    fn go_on(&mut self, nth: u64) {
        let reading = &self.reading[&nth];
        if reading.got.value.len() < reading.bytes {
            return self.send(ReaderMessage::Body(BodyRequest {
                backend: reading.batch.backend,
                segment: reading.batch.origin.segment,
                from: reading.got.value.len() as u64,
                reader: BodyReader {
                    worker: 0,
                    slot: usize::try_from(nth).unwrap(),
                    nth,
                },
            }));
        }
        let Reading { got, batch, .. } = self.reading.remove(&nth).unwrap();
        self.got.entry(batch.backend).or_default().push(got);
        self.settle(&batch);
        self.handle_lines(batch.origin.segment, 1);
        self.links.returns.release(batch.chunk);
    }

    fn take_piece(&mut self, nth: u64, piece: Option<Share>) {
        let Some(piece) = piece else {
            let Reading { got, batch, .. } = self.reading.remove(&nth).unwrap();
            self.changed.push(got.key);
            self.settle(&batch);
            self.handle_lines(batch.origin.segment, 1);
            return self.links.returns.release(batch.chunk);
        };
        self.piece_bytes_max = self.piece_bytes_max.max(piece.chunk.bytes().len());
        let reading = self.reading.get_mut(&nth).expect("it was asked for");
        let value = &mut reading.got.value;
        value.extend_from_slice(piece.bytes());
        self.links.returns.release(piece.chunk);
        self.go_on(nth);
    }

    /// The batch's records are applied, as far as anybody still wants to know.
    fn settle(&mut self, batch: &Batch) {
        if let Some((epoch, ledger)) = self.ledgers.get_mut(&batch.backend)
            && *epoch == batch.epoch
        {
            for fed in &batch.records {
                ledger.settle(batch.origin.segment, fed.line, Tally::Applied);
            }
        }
    }

    fn records_of(&self, batch: &Batch) -> Vec<Got> {
        assert!(batch.epoch <= self.epochs[&batch.backend]);
        let origin = &batch.origin;
        let segment = &self.segments[&origin.segment];
        let opened = self.opened.iter().find(|opened| opened.file == origin.file);
        let opened = opened.expect("a file is told of first");
        assert_eq!(
            (&origin.log, origin.first_line),
            (&opened.name, segment.first.line)
        );
        let file = opened.name.to_string();
        let got = batch.records.iter().map(|fed| {
            let bytes = &batch.chunk.bytes()[fed.at as usize..][..fed.bytes as usize];
            let record = Record::parse(bytes).expect("what is fed is a record");
            Got {
                file: file.clone(),
                line: segment.first.line + u64::from(fed.line),
                key: String::from_utf8(record.key.to_vec()).unwrap(),
                value: record.value.to_vec(),
                maybe_sent: fed.maybe_sent,
                lane: fed.lane,
            }
        });
        got.collect()
    }

    /// What a backend got, in the log's order, as far as it can be told over several workers: by
    /// file as begun, then by line.
    pub(super) fn keys(&self, backend: BackendId) -> Vec<String> {
        let mut got = self.got.get(&backend).cloned().unwrap_or_default();
        let order = |file: &str| self.opened.iter().position(|opened| &*opened.name == file);
        got.sort_by_key(|got| (order(&got.file), got.line));
        got.into_iter().map(|got| got.key).collect()
    }

    /// Whether each key's records came in this order.
    pub(super) fn order_of(&self, backend: BackendId, key: &str) -> Vec<(String, u64)> {
        let got = self.got.get(&backend).into_iter().flatten();
        got.filter(|got| got.key == key)
            .map(|got| (got.file.clone(), got.line))
            .collect()
    }

    pub(super) fn starts(&self) -> Vec<(&str, FileStart)> {
        self.opened
            .iter()
            .map(|opened| (&*opened.name, opened.start))
            .collect()
    }
}
