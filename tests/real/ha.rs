//! HA, played: threads that append to the minute's log, late to the one before, while minutes pass
//! quickly.
//!
//! ```text
//! thread 0 ─ keys 0..n   ─┐                                all threads      m - 1 is aged:
//! thread 1 ─ keys n..2n  ─┼▶ minute m, some still in m - 1 ──────────────▶ it looks long
//! thread 2 ─ keys 2n..3n ─┘                                have gone on     finished
//! ```
//!
//! Each line is one open, one write, one close, as HA's workers do it. A key's lines come from one
//! thread, so their order in the logs is that of their versions. Beside the workload's records
//! there are **bad lines**, which must end in rejected.jsonl, and **markers**, puts of keys that
//! occur once: when a log has gone, its markers must be on the backend.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use hustdbsync::internals::binlog::{Method, Record, line};
use hustdbsync::internals::fake_hustdb::{
    Contents, FakeHustdb, Item, Space, Stored, Value, differences,
};
use hustdbsync::internals::workload::{Generator, Workload};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Home, now_unix};

const MARKER_ONE_IN: u64 = 40;
const BAD_ONE_IN: u64 = 150;
/// A thread goes on to a new minute at one of so many lines: until then it is late.
const GO_ON_ONE_IN: u64 = 12;
/// Keys of a thread in each of hustdb's spaces; few, so that each is written, deleted and made
/// again.
const KEYS: u64 = 150;
/// How old a finished log is made: older than the server's grace period.
const AGE: Duration = Duration::from_secs(300);
/// A time to live is rounded to seconds on its way, and ends by another clock.
const EXPIRY_TOLERANCE_S: u64 = 10;

/// How much HA has to do for one backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) threads: u64,
    /// Of the workload's records, a thread; markers and bad lines come on top. It ends early when
    /// it is told to.
    pub(crate) records: u64,
    pub(crate) value_bytes: usize,
    /// What a thread waits after each line.
    pub(crate) line_pause: Duration,
    /// Lines that may be written before [`Ha::allow`] says more.
    pub(crate) lines_at_first: u64,
    /// The minute that it begins in: its logs' names are behind those of the minutes before.
    pub(crate) first_minute: u64,
    pub(crate) seed: u64,
}

/// What HA has written.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// What the backend must hold.
    pub(crate) expected: Contents,
    /// The lines that must be in rejected.jsonl, and nothing else.
    pub(crate) bad: BTreeSet<Vec<u8>>,
    /// Good lines.
    pub(crate) records: u64,
}

impl Story {
    /// Fails unless the backend has every key as it should be, and rejected.jsonl every bad line
    /// and no other.
    pub(crate) fn assert_replayed(&self, home: &Home, fake_hustdb: &FakeHustdb) {
        let name = fake_hustdb.name();
        let found = fake_hustdb.contents();
        if let Some(differences) = differences(&self.expected, &found, EXPIRY_TOLERANCE_S, 20) {
            panic!("{name} at {}:\n{differences}\n{}", now_unix(), home.said());
        }
        let rejected = home.rejected(&name).into_iter().map(|line| line.raw);
        let rejected: BTreeSet<Vec<u8>> = rejected.collect();
        let missing = self.bad.difference(&rejected).count();
        let extra = rejected.difference(&self.bad).count();
        assert!(
            (missing, extra) == (0, 0),
            "{name}: {missing} bad lines are not in rejected.jsonl, {extra} lines there are not bad"
        );
    }
}

/// The threads of one backend share this.
struct BackendState {
    folder: PathBuf,
    minute: AtomicU64,
    /// The minute that each thread writes to.
    minutes: Vec<AtomicU64>,
    /// HA rests when it has written so many lines.
    allowed: AtomicU64,
    stop: AtomicBool,
    written: AtomicU64,
    /// Keys that only occur once, by the log they are in.
    markers: Mutex<BTreeMap<String, Vec<String>>>,
}

/// HA for one backend, at work.
pub(crate) struct Ha {
    backend_state: Arc<BackendState>,
    threads: Vec<JoinHandle<Story>>,
    first: u64,
    /// Minutes before this one look old.
    aged: u64,
}

/// The name of a minute's log. Names grow with the minute.
fn name(minute: u64) -> String {
    format!(
        "2026-11-{:02}-{:02}-{:02}.log",
        1 + minute / 1440,
        minute / 60 % 24,
        minute % 60
    )
}

impl Ha {
    /// Begins to write to the logs of `backend` below `logs`.
    pub(crate) fn start(logs: &Path, backend: &str, load: Load) -> Self {
        let folder = logs.join(backend);
        fs::create_dir_all(&folder).unwrap();
        let backend_state = Arc::new(BackendState {
            folder,
            minute: AtomicU64::new(load.first_minute),
            minutes: (0..load.threads)
                .map(|_| AtomicU64::new(load.first_minute))
                .collect(),
            allowed: AtomicU64::new(load.lines_at_first),
            stop: AtomicBool::new(false),
            written: AtomicU64::new(0),
            markers: Mutex::default(),
        });
        let threads = (0..load.threads)
            .map(|thread| {
                let backend_state = Arc::clone(&backend_state);
                thread::spawn(move || write(&backend_state, thread, load))
            })
            .collect();
        Self {
            backend_state,
            threads,
            first: load.first_minute,
            aged: load.first_minute,
        }
    }

    /// Lines written so far, bad ones too.
    pub(crate) fn written(&self) -> u64 {
        self.backend_state.written.load(Ordering::Relaxed)
    }

    /// HA writes on until it has written so many lines in all, however long nobody looks.
    pub(crate) fn allow(&self, lines: u64) {
        self.backend_state.allowed.store(lines, Ordering::Relaxed);
    }

    /// The next minute begins, and those that nobody writes to any more look old.
    pub(crate) fn pass_minute(&mut self) {
        self.backend_state.minute.fetch_add(1, Ordering::SeqCst);
        self.age();
    }

    /// Logs that nobody writes to any more look old.
    pub(crate) fn age(&mut self) {
        let backend_state = &self.backend_state;
        let minutes = backend_state
            .minutes
            .iter()
            .map(|minute| minute.load(Ordering::SeqCst));
        let oldest = minutes.min().unwrap_or(0);
        while self.aged < oldest {
            age(&backend_state.folder.join(name(self.aged)));
            self.aged += 1;
        }
    }

    /// The markers in a log.
    pub(crate) fn markers(&self, log: &str) -> Vec<String> {
        let markers = self.backend_state.markers.lock().unwrap();
        markers.get(log).cloned().unwrap_or_default()
    }

    /// Names of all logs that it may have begun.
    pub(crate) fn logs(&self) -> Vec<String> {
        let last = self.backend_state.minute.load(Ordering::SeqCst);
        (self.first..=last).map(name).collect()
    }

    /// Ends its threads; all logs look old then.
    pub(crate) fn finish(&mut self) -> Story {
        self.backend_state.stop.store(true, Ordering::Relaxed);
        let mut story = Story::default();
        for thread in self.threads.drain(..) {
            let part = thread.join().unwrap();
            story.expected.extend(part.expected);
            story.bad.extend(part.bad);
            story.records += part.records;
        }
        for log in self.logs() {
            age(&self.backend_state.folder.join(log));
        }
        story
    }
}

impl Drop for Ha {
    fn drop(&mut self) {
        self.backend_state.stop.store(true, Ordering::Relaxed);
    }
}

fn age(path: &Path) {
    // It may never have been begun, and may be gone already.
    if let Ok(file) = File::options().append(true).open(path) {
        file.set_modified(SystemTime::now() - AGE).unwrap();
    }
}

/// A thread's work.
fn write(backend_state: &BackendState, thread: u64, load: Load) -> Story {
    let mut random = fastrand::Rng::with_seed(load.seed ^ (thread + 1));
    let workload = Workload {
        keys: KEYS,
        first_key: thread * KEYS,
        seed: load.seed.wrapping_mul(31).wrapping_add(thread),
        value_bytes: load.value_bytes,
        ..Workload::mixed(load.records, now_unix())
    };
    let mut generator = Generator::new(&workload);
    let mut story = Story::default();
    let mut markers = Contents::new();
    let mut text = Vec::new();
    let mut minute = load.first_minute;
    while !backend_state.stop.load(Ordering::Relaxed) {
        if backend_state.written.load(Ordering::Relaxed)
            >= backend_state.allowed.load(Ordering::Relaxed)
        {
            thread::sleep(Duration::from_millis(2));
            continue;
        }
        if minute != backend_state.minute.load(Ordering::SeqCst) && random.u64(..GO_ON_ONE_IN) == 0
        {
            // Published when nothing more goes to the minutes before.
            minute = backend_state.minute.load(Ordering::SeqCst);
            backend_state.minutes[usize::try_from(thread).unwrap()].store(minute, Ordering::SeqCst);
        }
        let log = name(minute);
        text.clear();
        if random.u64(..BAD_ONE_IN) == 0 {
            bad_line(thread, story.bad.len(), &mut random, &mut text);
            story.bad.insert(text.clone());
            text.push(b'\n');
        } else if random.u64(..MARKER_ONE_IN) == 0 {
            let key = format!("marker:{thread}:{}", markers.len());
            put(&key, &mut text);
            markers.insert(plain(&key), MARKED.clone());
            backend_state
                .markers
                .lock()
                .unwrap()
                .entry(log.clone())
                .or_default()
                .push(key);
            story.records += 1;
        } else if let Some((mutation, version)) = generator.next() {
            let mut record = Vec::new();
            mutation.record(version).encode(&mut record);
            line::encode(&prefix(mutation.unix), &record, &mut text);
            story.records += 1;
        } else {
            break;
        }
        append(&backend_state.folder.join(log), &text);
        backend_state.written.fetch_add(1, Ordering::Relaxed);
        if !load.line_pause.is_zero() {
            thread::sleep(load.line_pause);
        }
    }
    // It holds no minute back.
    backend_state.minutes[usize::try_from(thread).unwrap()].store(u64::MAX >> 1, Ordering::SeqCst);
    story.expected = generator.into_healthy().contents(now_unix());
    story.expected.extend(markers);
    story
}

/// What stands behind a marker.
static MARKED: std::sync::LazyLock<Stored> = std::sync::LazyLock::new(|| Stored {
    version: 1,
    expires_unix: 0,
    value: Value::Bytes(b"here".to_vec()),
});

/// A key without a table.
pub(crate) fn plain(key: &str) -> Item {
    Item {
        space: Space::Kv,
        table: Vec::new(),
        key: key.as_bytes().to_vec(),
    }
}

/// The line of a put of this key, which no other record may be about.
pub(crate) fn put(key: &str, text: &mut Vec<u8>) {
    let record = Record::new(Method::Put, key.as_bytes(), b"here");
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    line::encode(&prefix(now_unix()), &bytes, text);
}

/// What zlog puts before a payload, in local time: a ttl is told by it.
fn prefix(unix: u64) -> Vec<u8> {
    let time = Timestamp::from_second(i64::try_from(unix).unwrap()).unwrap();
    let local = time.to_zoned(TimeZone::system());
    let text = local.strftime("[%Y-%m-%d %H:%M:%S] [DEBUG] | ");
    text.to_string().into_bytes()
}

/// A line that no record can be read from, or whose request may not be sent; without its newline.
fn bad_line(thread: u64, number: usize, random: &mut fastrand::Rng, text: &mut Vec<u8>) {
    if random.bool() {
        text.extend_from_slice(format!("no line of HA's: {thread} {number} \u{fc}").as_bytes());
    } else {
        let key = format!("too:long:{thread}:{number}:{}", "x".repeat(4500));
        put(&key, text);
        assert_eq!(text.pop(), Some(b'\n'));
    }
}

fn append(path: &Path, text: &[u8]) {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    assert_eq!(file.write(text).unwrap(), text.len());
}
