//! A checkpointer with a disk in memory and the tests in the places of reader, workers and control.
//! Every log line has ten bytes.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::file::Place;
use crate::ledger::identity::{Identity, LastRead};
use crate::ledger::rejected::{self, Piece, RejectedLine};
use crate::ledger::segment::NewSegment;
use crate::replay::checkpointer::{Checkpointer, Turn};
use crate::replay::links::{Links, Mailboxes};
use crate::replay::mailbox::{Mailbox, NoWaker};
use crate::replay::messages::{
    AwayLog, BackendId, BackendInfo, BackendMessage, CheckpointerMessage, CheckpointerSettings,
    Component, ControlMessage, FileId, FileOpened, FileStart, FinishedLog, LineInLog,
    ReaderMessage, ReconcilerMessage, Rejection, ResumePlan, SegmentId, Settled,
};
use crate::replay::outcome::Settlement;
use crate::replay::testdisk::TestDisk;
use crate::status::counters::{BackendCounters, Counts};
use crate::status::sync_point::PointBoard;

pub(super) const B: BackendId = BackendId(0);
pub(super) const NAME: &str = "127.0.0.1:9998";
pub(super) const OTHER: BackendId = BackendId(1);
pub(super) const LOG: &str = "2026-11-22-16-40.log";
pub(super) const LINE: &[u8; 10] = b"some line\n";
pub(super) const WORKERS: usize = 2;
const START_UNIX: u64 = 1_800_000_000;

pub(super) struct Fixture {
    pub(super) disk: TestDisk,
    pub(super) now: Now,
    pub(super) settings: CheckpointerSettings,
    pub(super) checkpointer: Checkpointer<TestDisk>,
    pub(super) links: Links,
    counters: Arc<BackendCounters>,
    /// What the reader was told since it was last asked.
    pub(super) fed: Vec<ReaderMessage>,
    /// What control was told since it was last asked.
    pub(super) told: Vec<ControlMessage>,
    /// What was kept of outages, as control was told at the last start.
    pub(super) outages: Option<Result<Option<Vec<u8>>, ()>>,
}

fn links() -> Links {
    let mailboxes = Mailboxes {
        checkpointer: Arc::new(Mailbox::new(4096, Box::new(NoWaker))),
        reconciler: Some(Arc::new(Mailbox::new(4, Box::new(NoWaker)))),
        ..Mailboxes::without_wakers(WORKERS, 4)
    };
    Links::new(mailboxes, 1, 4)
}

impl Fixture {
    /// A checkpointer that knows the backend `B`.
    pub(super) fn new(disk: TestDisk) -> Self {
        let settings = CheckpointerSettings {
            compares_keys: false,
            checkpoint_interval: Duration::from_secs(1),
            release_interval: Duration::from_secs(5),
            closed_after: Duration::from_secs(80),
            rejected_bytes_max: 1 << 20,
        };
        disk.set_time(START_UNIX);
        let links = links();
        let checkpointer = Checkpointer::new(disk.clone(), links.clone(), settings.clone());
        let now = Now::new(Duration::ZERO, START_UNIX);
        let mut fixture = Self {
            disk,
            now,
            settings,
            checkpointer,
            links,
            counters: Arc::default(),
            fed: Vec::new(),
            told: Vec::new(),
            outages: None,
        };
        fixture.add_backend(B, NAME);
        fixture
    }

    pub(super) fn add_backend(&mut self, id: BackendId, name: &str) {
        let counters = if id == B {
            Arc::clone(&self.counters)
        } else {
            Arc::default()
        };
        self.send(CheckpointerMessage::Backend(BackendInfo {
            id,
            name: name.into(),
            counters,
            dirty_flags: Arc::default(),
        }));
        self.turn();
    }

    /// Takes a step of each checkpoint under way, and a turn.
    pub(super) fn step(&mut self) {
        for job_id in self.disk.chains_under_way() {
            self.disk.step_chain(job_id);
        }
        self.turn();
    }

    /// The same until none is under way.
    pub(super) fn step_to_end(&mut self) {
        while !self.disk.chains_under_way().is_empty() {
            self.step();
        }
    }

    /// Backends that the next turn looks at even without mail.
    pub(super) fn awake(&self) -> usize {
        self.checkpointer.backend_states.awake_count()
    }

    /// When the checkpointer wants a turn although there is no mail.
    pub(super) fn next_deadline(&self) -> Duration {
        self.checkpointer.next_deadline(self.now)
    }

    /// The process starts anew, on the same disk.
    pub(super) fn restart(&mut self) {
        self.disk.drop_chains();
        self.links = links();
        self.checkpointer =
            Checkpointer::new(self.disk.clone(), self.links.clone(), self.settings.clone());
        self.counters = Arc::default();
        self.fed.clear();
        self.told.clear();
        self.add_backend(B, NAME);
    }

    pub(super) fn send(&self, message: CheckpointerMessage) {
        assert!(
            self.links.mailboxes.checkpointer.send(message).is_ok(),
            "the fixture sends little"
        );
    }

    /// Sends one about its backend.
    pub(super) fn tell(&self, message: BackendMessage) {
        self.send(CheckpointerMessage::Of(B, message));
    }

    /// Turns until there is nothing to do at once.
    pub(super) fn turn(&mut self) -> Turn {
        loop {
            let turn = self.checkpointer.turn(self.now);
            let said = self.fed.len() + self.told.len();
            self.fed
                .extend(std::iter::from_fn(|| self.links.mailboxes.reader.receive()));
            while let Some(message) = self.links.mailboxes.control.receive() {
                match message {
                    ControlMessage::OutagesRead { backend: B, kept } => self.outages = Some(kept),
                    message => self.told.push(message),
                }
            }
            if turn != Turn::Again && said == self.fed.len() + self.told.len() {
                return turn;
            }
        }
    }

    /// Lets time pass, with a turn at each deadline of the checkpointer's.
    pub(super) fn pass(&mut self, seconds: u64) {
        let end = self.now.after(Duration::from_secs(seconds));
        let started = self.now;
        while self.now.monotonic < end {
            let next = self
                .checkpointer
                .next_deadline(self.now)
                .clamp(self.now.monotonic + Duration::from_millis(1), end);
            self.now.monotonic = next;
            self.now.unix = started.unix + (next - started.monotonic).as_secs();
            self.disk.set_time(self.now.unix);
            self.turn();
        }
    }

    /// `sync.reconcile` is switched on.
    pub(super) fn compare_keys(&mut self) {
        self.settings.compares_keys = true;
        self.send(CheckpointerMessage::Settings(self.settings.clone()));
        self.turn();
    }

    /// The logs that the reconciler was told to compare since this was last asked.
    pub(super) fn to_compare(&self) -> Vec<FinishedLog> {
        let reconciler = self
            .links
            .mailboxes
            .reconciler
            .as_ref()
            .expect("it has one");
        let messages = std::iter::from_fn(|| reconciler.receive());
        let logs = messages.filter_map(|message| match message {
            ReconcilerMessage::Compare { backend: B, logs } => Some(logs),
            _ => None,
        });
        logs.flatten().collect()
    }

    /// Takes a sync point; gives its board.
    pub(super) fn take_point(&mut self) -> Result<Arc<PointBoard>, String> {
        self.send(CheckpointerMessage::SyncPoint {
            id: 3,
            is_backend: |folder| folder.contains(':'),
        });
        self.turn();
        let told = std::mem::take(&mut self.told);
        let taken = told.into_iter().find_map(|message| match message {
            ControlMessage::SyncPointTaken { id: 3, taken } => Some(taken),
            _ => None,
        });
        taken.expect("each question is answered")
    }

    /// How many logs wait to be compared, and since when the first does.
    pub(super) fn uncompared(&self) -> (u64, u64) {
        let counters = &self.counters.reconcile;
        (counters.logs_waiting.load(), counters.since_unix.load())
    }

    /// The reconciler has read that so many keys are left different.
    pub(super) fn differ(&self, keys: u64) {
        self.counters.reconcile.left.set(keys);
        self.counters.reconcile.left_known.set(1);
    }

    pub(super) fn counts(&self) -> Counts {
        self.counters.load()
    }

    /// The last plan that the reader was told, which is forgotten.
    pub(super) fn plan(&mut self) -> Option<ResumePlan> {
        let at = self
            .fed
            .iter()
            .rposition(|message| matches!(message, ReaderMessage::Plan { .. }))?;
        match self.fed.remove(at) {
            ReaderMessage::Plan { plan, .. } => Some(plan),
            _ => unreachable!("that is one"),
        }
    }

    pub(super) fn identity(&self, name: &str) -> Identity {
        let meta = self.disk.meta_of(NAME, name).expect("the log is there");
        Identity::new(
            meta.device,
            meta.inode,
            meta.born_nanos,
            &self.disk.log(NAME, name).expect("the log is there"),
        )
    }

    /// HA writes `lines` lines.
    pub(super) fn write_log(&self, name: &str, lines: u64) {
        self.disk
            .append_log(NAME, name, &LINE.repeat(lines as usize));
    }

    /// The reader lets go of a log.
    pub(super) fn tell_gone(&self, file: u64) {
        let file = FileId(file);
        self.tell(BackendMessage::FileGone { file });
    }

    pub(super) fn open(&self, file: u64, name: &str, start: FileStart) {
        let identity = self.identity(name);
        self.tell(BackendMessage::FileOpened(FileOpened {
            file: FileId(file),
            name: name.into(),
            identity,
            start,
        }));
    }

    /// The log goes from its folder, which the reader has seen. Gives it for [`TestDisk::move_in`].
    pub(super) fn take_away(&self, name: &str) -> u64 {
        let meta = self.disk.meta_of(NAME, name).expect("the log is there");
        let taken = self.disk.move_out(NAME, name).expect("the log is there");
        self.send(CheckpointerMessage::LogAway(AwayLog {
            backend: B,
            name: name.into(),
            key: meta.key(),
            bytes: meta.bytes,
            unread_bytes: 0,
        }));
        taken
    }

    /// A segment of lines of ten bytes each.
    pub(super) fn segment(
        &self,
        segment: u64,
        file: u64,
        first_line: u64,
        lines: u32,
        settled_before: &[u32],
    ) {
        let end_byte = (first_line + u64::from(lines)) * 10;
        self.send_segment(NewSegment {
            first: Place {
                line: first_line,
                byte: first_line * 10,
            },
            settled_before: settled_before.to_vec(),
            ..new_segment(segment, file, lines, end_byte)
        });
    }

    /// A segment of lines that have other lengths than ten.
    pub(super) fn send_segment_of(
        &self,
        segment: u64,
        file: u64,
        first_line: u64,
        lines: u32,
        end_byte: u64,
    ) {
        self.send_segment(NewSegment {
            first: Place {
                line: first_line,
                byte: 0,
            },
            ..new_segment(segment, file, lines, end_byte)
        });
    }

    fn send_segment(&self, segment: NewSegment) {
        self.tell(BackendMessage::Segment { segment });
    }

    pub(super) fn settle(&self, segment: u64, lines: &[u32]) {
        let settled = |&line: &u32| Settled {
            segment: SegmentId(segment),
            line,
            settlement: Settlement::Applied,
        };
        self.tell(BackendMessage::Settled {
            batch: lines.iter().map(settled).collect(),
        });
    }

    pub(super) fn reject(&self, segment: u64, line: u32) {
        self.reject_of(1, segment, line);
    }

    pub(super) fn reject_of(&self, file: u64, segment: u64, line: u32) {
        self.tell(BackendMessage::Rejected(Box::new(Rejection {
            file: FileId(file),
            segment: SegmentId(segment),
            line,
            offset: Some(line * 10),
            reason: "not_found",
            detail: "404".to_owned(),
            raw: b"some line".to_vec(),
            in_log: None,
            unix: START_UNIX,
        })));
    }

    /// A line of the log `LOG` that the checkpointer is to read itself, and of which `digest` is
    /// told.
    pub(super) fn reject_in_log(&self, segment: u64, line: u32, digest: u64) {
        self.tell(BackendMessage::Rejected(Box::new(Rejection {
            file: FileId(1),
            segment: SegmentId(segment),
            line,
            offset: Some(line * 10),
            reason: "not_found",
            detail: "404".to_owned(),
            raw: b"its".to_vec(),
            in_log: Some(LineInLog { bytes: 9, digest }),
            unix: START_UNIX,
        })));
    }

    /// Everybody lets go of the backend.
    pub(super) fn flush(&self, epoch: u32) {
        self.tell(BackendMessage::Flush { epoch });
        for component in [
            Component::Worker(0),
            Component::LogReader,
            Component::Worker(1),
        ] {
            self.tell(BackendMessage::Flushed {
                epoch,
                component,
                sent: Vec::new(),
            });
        }
    }

    /// Whole lines of rejected.jsonl, by their numbers from 0.
    pub(super) fn rejected(&self) -> Vec<RejectedLine> {
        let content = self.disk.state(NAME, rejected::NAME).unwrap_or_default();
        let line = |piece| {
            if let Piece::Line(line) = piece {
                Some(line)
            } else {
                None
            }
        };
        rejected::pieces(&content).filter_map(line).collect()
    }

    pub(super) fn has_fault(&self) -> bool {
        let last = self.told.iter().rev().find_map(|message| {
            if let ControlMessage::StoreFault { fault, .. } = message {
                Some(fault.is_some())
            } else {
                None
            }
        });
        last.unwrap_or(false)
    }

    pub(super) fn is_paused(&self) -> bool {
        let last = self.fed.iter().rev().find_map(|message| {
            if let ReaderMessage::StorePaused { paused, .. } = message {
                Some(*paused)
            } else {
                None
            }
        });
        last.unwrap_or(false)
    }
}

/// Settled lines of the plan's only file.
pub(super) fn settled_lines(plan: &ResumePlan) -> Vec<u64> {
    let Some(file) = plan.files.first() else {
        return Vec::new();
    };
    assert_eq!((plan.files.len(), file.byte), (1, file.line * 10));
    let above = file
        .settled
        .as_slice()
        .iter()
        .flat_map(|run| run.first..run.end());
    (0..file.line).chain(above).collect()
}

/// A segment from the file's beginning on, of which nothing was settled before.
fn new_segment(segment: u64, file: u64, lines: u32, end_byte: u64) -> NewSegment {
    NewSegment {
        id: SegmentId(segment),
        file: FileId(file),
        first: Place { line: 0, byte: 0 },
        end_byte,
        lines,
        settled_before: Vec::new(),
        written_unix: START_UNIX,
        last_read: LastRead::default(),
    }
}
