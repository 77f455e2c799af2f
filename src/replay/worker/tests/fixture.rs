//! A worker whose driver, backend and neighbours are the test.

use super::super::*;
use crate::binlog::request::Template;
use crate::binlog::{Method, Record, line};
use crate::replay::chunk::{Chunk, Share};
use crate::replay::links::{Links, Mailboxes};
use crate::replay::messages::{
    BackendMessage, BodyRequest, CheckpointerMessage, Component, ControlMessage, FailedRecord, Fed,
    FileId, LineInLog, LongBody, Origin, ReaderMessage, SegmentId, Trouble,
};
use crate::replay::outcome::Outcomes;

pub(super) const BACKEND: BackendId = BackendId(0);
pub(super) const LOG: &str = "202608180600.log";
pub(super) const APPLIED: &str = "HTTP/1.1 200 OK\r\nVersion: 1\r\nVerError: \
    false\r\nContent-Length: 0\r\nContent-Type: text/plain\r\n\r\n";

pub(super) fn answer(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nContent-Type: text/plain\r\n\r\n")
}

/// One worker, one backend, its lanes' connections held by the test.
pub(super) struct Fixture {
    pub(super) worker: Worker,
    pub(super) links: Links,
    pub(super) counters: Arc<BackendCounters>,
    pub(super) now: Now,
    pub(super) epoch: Epoch,
    /// The lane that records are fed to.
    pub(super) lane: u16,
    pub(super) segments: u64,
    /// Connections asked for and not made yet, made ones.
    pub(super) asked: Vec<usize>,
    pub(super) made: Vec<usize>,
    pub(super) closed: Vec<usize>,
    /// What the worker wants to send, by slot, whole bursts.
    pub(super) sent: Vec<(usize, String)>,
}

pub(super) fn settings() -> LaneSettings {
    LaneSettings {
        template: Template::new("h:1", None),
        outcomes: Outcomes::default(),
        lanes: 1,
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
    }
}

impl Fixture {
    pub(super) fn new(settings: LaneSettings) -> Self {
        let links = Links::new(Mailboxes::without_wakers(1, 1024), 64, 8);
        let mut fixture = Self {
            worker: Worker::new(0, links.clone(), 1),
            links,
            counters: Arc::default(),
            now: Now::new(Duration::from_secs(100), 1_000_000),
            epoch: 0,
            lane: 0,
            segments: 0,
            asked: vec![],
            made: vec![],
            closed: vec![],
            sent: vec![],
        };
        fixture.message(WorkerMessage::Open {
            backend: BACKEND,
            epoch: 0,
            address: "127.0.0.1:1".parse().unwrap(),
            settings: Arc::new(settings),
            counters: Arc::clone(&fixture.counters),
        });
        fixture.set_ttl_ready(true);
        fixture
    }

    pub(super) fn message(&mut self, message: WorkerMessage) {
        self.links.mailboxes.workers[0].send(message).unwrap();
        self.turn();
    }

    /// Lets the worker act until it rests. Everything outgoing is taken by the "system".
    pub(super) fn turn(&mut self) {
        self.worker.receive_messages(self.now);
        while let Some(action) = self.worker.poll_action(self.now) {
            match action {
                Action::Connect(slot, _) => self.asked.push(slot),
                Action::Close(slot) => {
                    self.made.retain(|made| *made != slot);
                    self.asked.retain(|asked| *asked != slot);
                    self.closed.push(slot);
                }
                Action::Transmit(slot) => {
                    let burst = self.worker.outgoing(slot).concat();
                    self.worker.handle_sent(slot, burst.len(), self.now);
                    self.sent.push((slot, String::from_utf8(burst).unwrap()));
                }
            }
        }
        // As if some time had passed: what is settled does not wait to be handed over.
        let later = Now {
            monotonic: self.now.after(HAND_OVER_WITHIN),
            ..self.now
        };
        self.worker.hand_over(later);
        self.worker.check_invariants();
    }

    pub(super) fn connect(&mut self) {
        for slot in std::mem::take(&mut self.asked) {
            self.made.push(slot);
            self.worker.handle_connected(slot, 65_000, self.now);
        }
        self.turn();
    }

    /// Feeds lines of these records, in one batch, to one lane.
    pub(super) fn feed(&mut self, records: &[Record<'_>]) {
        self.feed_as(records, false);
    }

    pub(super) fn feed_as(&mut self, records: &[Record<'_>], maybe_sent: bool) {
        self.feed_written(records, maybe_sent, 0);
    }

    /// Feeds lines that were written at this time, Unix seconds.
    pub(super) fn feed_written(
        &mut self,
        records: &[Record<'_>],
        maybe_sent: bool,
        written_unix: u32,
    ) {
        let mut chunk = Vec::new();
        let mut fed = Vec::new();
        for (index, record) in (0..).zip(records) {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            let start = chunk.len();
            line::encode(b"[now] | ", &bytes, &mut chunk);
            let end = chunk.len() - 1;
            let range = line::decode_in_place(&mut chunk[start..end]).unwrap();
            fed.push(Fed {
                at: u32::try_from(start + range.start).unwrap(),
                bytes: u32::try_from(range.len()).unwrap(),
                line: index,
                lane: self.lane,
                written_unix,
                maybe_sent,
            });
        }
        self.segments += 1;
        self.mail_batch(chunk, fed, None);
    }

    /// Hands over a batch of the last segment.
    fn mail_batch(&mut self, chunk: Vec<u8>, records: Vec<Fed>, body: Option<LongBody>) {
        self.message(WorkerMessage::Batch(Batch {
            backend: BACKEND,
            epoch: self.epoch,
            origin: Origin {
                segment: SegmentId(self.segments),
                file: FileId(1),
                log: LOG.into(),
                first_line: 100,
            },
            chunk: Chunk::new(chunk, BACKEND),
            records,
            body,
        }));
    }

    /// Feeds one record whose value of so many bytes is in the log only.
    pub(super) fn feed_long(&mut self, record: &Record<'_>, bytes: u32, maybe_sent: bool) {
        let mut chunk = b"[now] | ".to_vec();
        let at = u32::try_from(chunk.len()).unwrap();
        record.encode(&mut chunk);
        let fed = Fed {
            at,
            bytes: u32::try_from(chunk.len()).unwrap() - at,
            line: 0,
            lane: self.lane,
            written_unix: 0,
            maybe_sent,
        };
        self.segments += 1;
        let line = LineInLog {
            bytes: 999,
            digest: self.segments,
        };
        let body = LongBody {
            bytes,
            order: self.segments,
            line,
        };
        self.mail_batch(chunk, vec![fed], Some(body));
    }

    /// The piece that the reader was asked for last, and from where on; none where it was not
    /// asked.
    pub(super) fn body_request(&mut self) -> Option<BodyRequest> {
        let asks = std::iter::from_fn(|| self.links.mailboxes.reader.receive());
        let asks = asks.map(|message| match message {
            ReaderMessage::Body(ask) => ask,
            other => panic!("a worker does not say {other:?}"),
        });
        asks.last()
    }

    /// Answers it.
    pub(super) fn give_body(&mut self, ask: BodyRequest, bytes: &[u8]) {
        let piece = Share {
            chunk: Chunk::of_body([b"??", bytes].concat(), BACKEND),
            at: 2,
            len: bytes.len(),
        };
        self.message(WorkerMessage::Body(ask.reader, Some(piece)));
    }

    pub(super) fn answer(&mut self, slot: usize, bytes: &str) {
        self.worker
            .handle_received(slot, bytes.as_bytes(), self.now);
        self.turn();
    }

    pub(super) fn break_connection(&mut self, slot: usize) {
        self.made.retain(|made| *made != slot);
        self.worker.handle_closed(slot, "reset".into(), self.now);
        self.turn();
    }

    /// Lets time pass, past any retry delay.
    pub(super) fn wait(&mut self, seconds: u64) {
        self.now.monotonic += Duration::from_secs(seconds);
        self.now.unix += seconds;
        self.worker.handle_deadlines(self.now);
        self.turn();
    }

    /// Keys of the requests sent since the last call, one string a burst.
    pub(super) fn bursts(&mut self) -> Vec<String> {
        let keys = |burst: &str| {
            let requests = burst
                .split(" HTTP/1.1\r\n")
                .filter_map(|text| text.rsplit_once("?key="));
            let keys: Vec<_> = requests
                .map(|(_, rest)| rest.split('&').next().unwrap())
                .collect();
            keys.join(" ")
        };
        std::mem::take(&mut self.sent)
            .iter()
            .map(|(_, burst)| keys(burst))
            .collect()
    }

    /// What the checkpointer was told: settled lines as "segment.line=outcome", rejections with
    /// their reasons, flushes.
    pub(super) fn told(&mut self) -> Vec<String> {
        let mut told = vec![];
        while let Some(message) = self.links.mailboxes.checkpointer.receive() {
            match message {
                CheckpointerMessage::Of(_, BackendMessage::Settled { batch }) => told.extend(
                    batch
                        .iter()
                        .map(|one| format!("{}.{}={:?}", one.segment.0, one.line, one.settlement)),
                ),
                CheckpointerMessage::Of(_, BackendMessage::Rejected(one)) => {
                    told.push(format!("{}.{}!{}", one.segment.0, one.line, one.reason))
                }
                CheckpointerMessage::Of(
                    _,
                    BackendMessage::Flushed {
                        epoch,
                        component,
                        sent,
                        ..
                    },
                ) => {
                    assert_eq!(component, Component::Worker(0));
                    told.extend(
                        sent.iter()
                            .map(|(segment, line)| format!("{}.{line} sent", segment.0)),
                    );
                    told.push(format!("flushed {epoch}"));
                }
                CheckpointerMessage::Of(_, BackendMessage::Checkpoint { worker: 0 }) => {
                    told.push("checkpoint".to_owned());
                }
                other => panic!("a worker does not say {other:?}"),
            }
        }
        told
    }

    pub(super) fn troubles(&mut self) -> Vec<Trouble> {
        let troubles = self.failures().into_iter();
        troubles.map(|(trouble, _)| trouble).collect()
    }

    /// The troubles that control was told of, with their records.
    pub(super) fn failures(&mut self) -> Vec<(Trouble, Option<FailedRecord>)> {
        let mut failures = vec![];
        while let Some(message) = self.links.mailboxes.control.receive() {
            let ControlMessage::Trouble {
                trouble, record, ..
            } = message
            else {
                panic!("a worker does not say {message:?}");
            };
            failures.push((trouble, record));
        }
        failures
    }

    /// One whose connection stands and that has these records.
    pub(super) fn fed(settings: LaneSettings, records: &[Record<'_>]) -> Self {
        let mut fixture = Self::new(settings);
        fixture.feed(records);
        fixture.connect();
        fixture
    }

    pub(super) fn set_ttl_ready(&mut self, ready: bool) {
        self.message(WorkerMessage::Ttl {
            backend: BACKEND,
            ready,
        });
    }

    pub(super) fn flush(&mut self, epoch: Epoch, drain_until: Option<Duration>) {
        self.message(WorkerMessage::Flush {
            backend: BACKEND,
            epoch,
            drain_until,
        });
    }

    pub(super) fn chunks_home(&mut self) -> usize {
        std::iter::from_fn(|| self.links.returns.receive()).count()
    }
}

pub(super) fn put(key: &'static str) -> Record<'static> {
    Record::new(Method::Put, key.as_bytes(), b"v")
}

pub(super) const KEYS: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];

pub(super) fn puts(count: usize) -> Vec<Record<'static>> {
    KEYS[..count].iter().map(|key| put(key)).collect()
}

pub(super) fn zadd(value: &'static [u8]) -> Record<'static> {
    Record {
        method: Method::Zadd,
        version: 5,
        table: b"z",
        opt: 1,
        value,
        ..put("m")
    }
}
