//! The reader alone, driven as its thread drives it, from files to batches that are taken and let
//! go at once.

#![allow(dead_code, reason = "not every bench feeds")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hustdbsync::internals::clock::Now;
use hustdbsync::internals::engine::files::RealDisk;
use hustdbsync::internals::replay::links::{Links, Mailboxes};
use hustdbsync::internals::replay::messages::{
    BackendId, BackendInfo, BackendMessage, CheckpointerMessage, ControlMessage, ReaderMessage,
    ReaderSettings, ResumePlan, WorkerMessage,
};
use hustdbsync::internals::replay::reachability::KnownOutages;
use hustdbsync::internals::replay::reader::{LogReader, ReaderRules, chunks_max};

use super::{Home, now_unix};

/// The name of the backend whose logs are fed.
pub(crate) const BACKEND: &str = "127.0.0.1:9998";
const BUDGET_BYTES: usize = 64 << 20;

/// A reader with one backend, whose every batch is taken and let go at once.
struct Fixture {
    reader: LogReader<RealDisk>,
    links: Links,
    now: Now,
    records: u64,
}

impl Fixture {
    fn new(home: &Home, reads_ahead: bool) -> Self {
        let mailboxes = Mailboxes::without_wakers(1, 1024);
        let links = Links::new(mailboxes, chunks_max(BUDGET_BYTES, 16), 64);
        let settings = ReaderSettings {
            lanes_per_backend: 16,
            memory_budget_bytes: BUDGET_BYTES,
            in_flight_per_backend: 65_536,
            rescan_interval: Duration::from_secs(30),
            closed_after: Duration::from_secs(80),
        };
        let rules = ReaderRules {
            is_backend: |_| Ok(()),
            written_unix: |_| None,
            zone: String::new,
        };
        let mut disk = RealDisk::new(home.logs(), home.logs().with_file_name("status"));
        if reads_ahead {
            disk = disk.with_read_ahead();
        }
        Self {
            reader: LogReader::new(disk, settings, rules, links.clone()),
            links,
            now: Now::new(Duration::from_secs(1000), now_unix()),
            records: 0,
        }
    }

    /// Makes the reader know its backend, and lets it begin.
    fn begin(&mut self) {
        let backend = BackendId(0);
        while !matches!(
            self.links.mailboxes.control.receive(),
            Some(ControlMessage::BackendFound(_))
        ) {
            self.reader.turn(self.now);
        }
        let info = BackendInfo {
            id: backend,
            name: BACKEND.into(),
            counters: Arc::default(),
            dirty_flags: Arc::default(),
        };
        let plan = ResumePlan::default();
        for mail in [
            ReaderMessage::Backend(info),
            ReaderMessage::Plan {
                backend,
                epoch: 0,
                plan,
            },
            ReaderMessage::Up {
                backend,
                epoch: 0,
                outages: KnownOutages::default(),
            },
        ] {
            self.links
                .mailboxes
                .reader
                .send(mail)
                .expect("there is room");
        }
    }

    fn turn(&mut self) {
        self.reader.turn(self.now);
        while self.reader.poll_action().is_some() {}
        while let Some(mail) = self.links.mailboxes.workers[0].receive() {
            if let WorkerMessage::Batch(batch) = mail {
                self.records += batch.records.len() as u64;
                self.links.fed_pool.give(batch.records);
                self.links.returns.release(batch.chunk);
            }
        }
        while let Some(mail) = self.links.mailboxes.checkpointer.receive() {
            if let CheckpointerMessage::Of(backend, BackendMessage::Segment { segment }) = mail {
                let done = ReaderMessage::SegmentDone {
                    backend,
                    done: segment.done(),
                    epoch: 0,
                };
                self.links
                    .mailboxes
                    .reader
                    .send(done)
                    .expect("there is room");
            }
        }
    }
}

/// How long it takes to feed `records` records.
pub(crate) fn feed(home: &Home, records: u64) -> Duration {
    feed_reading(home, records, true)
}

/// The same; what is not in memory is requested ahead, or not.
pub(crate) fn feed_reading(home: &Home, records: u64, reads_ahead: bool) -> Duration {
    let mut fixture = Fixture::new(home, reads_ahead);
    fixture.begin();
    let begin = Instant::now();
    while fixture.records < records {
        fixture.turn();
        // Files are quiet for long; time need not pass for real.
        fixture.now.monotonic += Duration::from_millis(1);
    }
    begin.elapsed()
}

/// The payloads of all lines, still in base64.
pub(crate) fn payloads(files: &[PathBuf]) -> Vec<Vec<u8>> {
    let text = files
        .iter()
        .flat_map(|file| fs::read(file).expect("it was just written"));
    let text: Vec<u8> = text.collect();
    text.split(|octet| *octet == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            line[line
                .iter()
                .rposition(|octet| *octet == b' ')
                .map_or(0, |at| at + 1)..]
                .to_vec()
        })
        .collect()
}
