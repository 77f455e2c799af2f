//! A whole replay: reader, worker and checkpointer as their threads drive them, on one thread, over
//! a log on a disk, with a backend that answers all requests of a burst at once.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use hustdbsync::internals::binlog::request::Template;
use hustdbsync::internals::clock::Now;
use hustdbsync::internals::connections::{Action, Connected};
use hustdbsync::internals::engine::files::RealDisk;
use hustdbsync::internals::replay::checkpointer::Checkpointer;
use hustdbsync::internals::replay::lane::LaneSettings;
use hustdbsync::internals::replay::links::{Links, Mailboxes};
use hustdbsync::internals::replay::mailbox::Mailbox;
use hustdbsync::internals::replay::messages::{
    BackendId, BackendInfo, CheckpointerMessage, CheckpointerSettings, ControlMessage,
    ReaderMessage, ReaderSettings, WorkerMessage,
};
use hustdbsync::internals::replay::outcome::Outcomes;
use hustdbsync::internals::replay::reachability::KnownOutages;
use hustdbsync::internals::replay::reader::{LogReader, ReaderRules, chunks_max};
use hustdbsync::internals::replay::worker::Worker;
use tempfile::TempDir;

use crate::paths::{ANSWER, log};
use crate::{RECORDS, VALUE_BYTES, measured};

const BACKEND: BackendId = BackendId(0);
const NAME: &str = "127.0.0.1:9998";
const LANES: u32 = 16;
const BUDGET_BYTES: usize = 64 << 20;
const START: Now = Now::new(Duration::from_secs(1000), 1_800_000_000);
const READER: ReaderSettings = ReaderSettings {
    lanes_per_backend: LANES,
    memory_budget_bytes: BUDGET_BYTES,
    in_flight_per_backend: 65_536,
    rescan_interval: Duration::from_secs(30),
    closed_after: Duration::from_secs(80),
};
const CHECKPOINTER: CheckpointerSettings = CheckpointerSettings {
    checkpoint_interval: Duration::from_secs(3600),
    release_interval: Duration::from_secs(3600),
    closed_after: Duration::from_secs(80),
    rejected_bytes_max: 1 << 30,
    compares_keys: false,
};

struct Threads {
    reader: LogReader<RealDisk>,
    worker: Worker,
    checkpointer: Checkpointer<RealDisk>,
    backend: BackendInfo,
    reader_mailbox: Arc<Mailbox<ReaderMessage>>,
    control: Arc<Mailbox<ControlMessage>>,
    now: Now,
    /// Requests that are sent and not answered, by slot.
    asked: Vec<(usize, usize)>,
    /// Bytes of a request: all have as many.
    request_bytes: usize,
    /// Answers to as many requests as a burst may have.
    answers: Vec<u8>,
    _folder: TempDir,
}

/// Replays the log, and counts it.
pub(crate) fn replay() {
    let mut threads = Threads::new();
    threads.begin();
    measured(|| {
        while threads.settled() < RECORDS as u64 {
            threads.turn();
        }
    });
}

impl Threads {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (logs, state) = (folder.path().join("logs"), folder.path().join("status"));
        fs::create_dir_all(logs.join(NAME)).expect("a folder can be made");
        fs::create_dir(&state).expect("a folder can be made");
        let file = logs.join(NAME).join("2026-11-22-16-40.log");
        fs::write(file, log()).expect("a log can be written");

        let mailboxes = Mailboxes::without_wakers(1, 1024);
        let links = Links::new(mailboxes, chunks_max(BUDGET_BYTES, 16), 64);
        let rules = ReaderRules {
            is_backend: |_| Ok(()),
            written_unix: |_| None,
            zone: String::new,
        };
        let disk = || RealDisk::new(logs.clone(), state.clone());
        Self {
            reader: LogReader::new(disk(), READER, rules, links.clone()),
            worker: Worker::new(0, links.clone(), 1),
            checkpointer: Checkpointer::new(disk(), links.clone(), CHECKPOINTER),
            backend: BackendInfo {
                id: BACKEND,
                name: NAME.into(),
                counters: Arc::default(),
                dirty_flags: Arc::default(),
            },
            reader_mailbox: links.mailboxes.reader,
            control: links.mailboxes.control,
            now: START,
            asked: Vec::new(),
            request_bytes: 0,
            answers: ANSWER.repeat(64),
            _folder: folder,
        }
    }

    /// All three come to know the backend, which is up.
    fn begin(&mut self) {
        while !matches!(
            self.control.receive(),
            Some(ControlMessage::BackendFound(_))
        ) {
            self.reader.turn(self.now);
        }
        let info = || self.backend.clone();
        let checkpointer = self.checkpointer.mailbox();
        assert!(
            checkpointer
                .send(CheckpointerMessage::Backend(info()))
                .is_ok()
        );
        self.reader_mailbox
            .send(ReaderMessage::Backend(info()))
            .expect("there is room");
        self.checkpointer.turn(self.now);
        let opened = self.worker.mailbox().send(WorkerMessage::Open {
            backend: BACKEND,
            epoch: 0,
            address: NAME.parse().expect("it is one"),
            settings: Arc::new(LaneSettings {
                template: Template::new(NAME, Some("aHVzdHN0b3JlOmh1c3RzdG9yZQ==")),
                outcomes: Outcomes::default(),
                lanes: LANES,
                burst_bytes: 4096,
                head_bytes_max: 4096,
                requests_per_connection: 80_000,
                attempts_max: 3,
                records_per_second_max: 0,
                connect_timeout: Duration::from_secs(1),
                response_timeout: Duration::from_secs(5),
                idle_timeout: Duration::from_secs(60),
                keepalive_interval: Duration::from_secs(15),
                lookup_hold: Duration::ZERO,
            }),
            counters: Arc::clone(&self.backend.counters),
        });
        assert!(opened.is_ok());
        let up = ReaderMessage::Up {
            backend: BACKEND,
            epoch: 0,
            outages: KnownOutages::default(),
        };
        self.reader_mailbox.send(up).expect("there is room");
    }

    fn settled(&self) -> u64 {
        self.backend.counters.settled.load()
    }

    fn turn(&mut self) {
        self.now.monotonic += Duration::from_millis(1);
        self.reader.turn(self.now);
        while self.reader.poll_action().is_some() {}
        self.worker.receive_messages(self.now);
        while let Some(action) = self.worker.poll_action(self.now) {
            match action {
                Action::Connect(slot, _) => self.worker.handle_connected(slot, 65_483, self.now),
                Action::Transmit(slot) => {
                    let [head, body] = self.worker.outgoing(slot);
                    assert!(body.is_empty(), "values are short");
                    if self.request_bytes == 0 {
                        let end = memchr::memmem::find(head, b"\r\n\r\n");
                        self.request_bytes = end.expect("a head ends") + 4 + VALUE_BYTES;
                    }
                    assert_eq!(head.len() % self.request_bytes, 0, "requests are alike");
                    let requests = head.len() / self.request_bytes;
                    let bytes = head.len();
                    self.worker.handle_sent(slot, bytes, self.now);
                    self.asked.push((slot, requests));
                }
                Action::Close(slot) => unreachable!("{slot} has no trouble"),
            }
        }
        for (slot, requests) in std::mem::take(&mut self.asked) {
            let answers = &self.answers[..requests * ANSWER.len()];
            self.worker.handle_received(slot, answers, self.now);
        }
        self.worker.hand_over(self.now);
        self.checkpointer.turn(self.now);
    }
}
