//! What an operator does to logs, against the real reader and the real checkpointer over a real
//! folder.
//!
//! The bytes of an input are deeds: HA appends; somebody renames, moves away and back, copies,
//! links, replaces, cuts or deletes logs; answers are held back; the pipeline is flushed, the
//! process ends or dies and starts again. Whatever it is, in the end
//!
//! - each line that nobody has taken away has been delivered (G1), and none twice as new (G4);
//! - the lines of a log come in their order (G2, G3);
//! - nothing panics (G10).
//!
//! Shared by `tests/deeds` and the fuzz target `deeds`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hustdbsync::internals::binlog::{Method, Record, line};
use hustdbsync::internals::clock::Now;
use hustdbsync::internals::engine::files::RealDisk;
use hustdbsync::internals::replay::checkpointer::{self, Checkpointer};
use hustdbsync::internals::replay::links::{Links, Mailboxes};
use hustdbsync::internals::replay::messages::{
    BackendId, BackendInfo, BackendMessage, Batch, CheckpointerMessage, CheckpointerSettings,
    Component, ControlMessage, ReaderMessage, ReaderSettings, Settled, WorkerMessage,
};
use hustdbsync::internals::replay::outcome::Settlement;
use hustdbsync::internals::replay::reachability::{KnownOutages, Reachability};
use hustdbsync::internals::replay::reader::{LogReader, ReaderRules, Turn, chunks_max};

const NAME: &str = "127.0.0.1:9998";
const BACKEND: BackendId = BackendId(0);
const BUDGET_BYTES: usize = 4 << 20;
/// Time that passes between two looks.
const STEP: Duration = Duration::from_millis(250);
/// The monotonic clock at the beginning of an input.
const BEGIN: Duration = Duration::from_secs(1000);
/// A day of outage, so that a line which was not there at a start is asked for only if it may have
/// been sent.
const OUTAGE_S: u64 = 86_400;
/// Deeds of one input.
const DEEDS_MAX: usize = 40;
/// Logs are called by one of so many names; as many have room outside.
const NAMES: u8 = 4;

/// Plays an input below `home`, whose content goes.
///
/// # Panics
/// When something does not hold.
pub(crate) fn play(input: &[u8], home: &Path) {
    let mut world = World::new(home);
    let mut bytes = input.iter().copied();
    for _ in 0..DEEDS_MAX {
        let Some(deed) = bytes.next() else {
            break;
        };
        let (what, more) = (bytes.next().unwrap_or(0), bytes.next().unwrap_or(0));
        world.act(deed, what, more);
    }
    world.end();
}

/// One life of the process, as far as it is about logs.
struct Server {
    reader: LogReader<RealDisk>,
    checkpointer: Checkpointer<RealDisk>,
    links: Links,
    info: BackendInfo,
    epoch: u32,
    is_known: bool,
    is_up: bool,
    is_over: bool,
}

/// See the module.
struct World {
    logs: PathBuf,
    aside: PathBuf,
    state: PathBuf,
    server: Server,
    now: Now,
    /// Answers do not come.
    holds: bool,
    held: Vec<Batch>,
    /// Where each line was written first: a log's inode at that time, and how often that number had
    /// been given.
    written: Vec<(u64, u64)>,
    /// How often an inode's number was given.
    given: BTreeMap<u64, u64>,
    /// Lines that somebody took away.
    taken: BTreeSet<usize>,
    /// Copies that are outside.
    copies: BTreeSet<PathBuf>,
    /// Lines that were outside when the process died: nobody can know what was sent of them since
    /// the last checkpoint. And those of copies that were outside at a start: what is finished and
    /// deleted is not known any more then.
    unsure: BTreeSet<usize>,
    /// Lines that were there when the process died. Until their log is begun again nobody knows its
    /// first line, and so not what is a copy of it.
    survived: BTreeSet<usize>,
    /// Lines that were delivered, and those that were as new.
    delivered: BTreeSet<usize>,
    new: BTreeSet<usize>,
    /// Logs of which a line was taken out here that is still elsewhere: nobody can tell their
    /// order.
    mixed: BTreeSet<(u64, u64)>,
    /// The last line of each log that was delivered first.
    last: BTreeMap<(u64, u64), usize>,
}

/// When this process began, and that the backend was dead long before and after.
static OUTAGES: LazyLock<(u64, KnownOutages)> = LazyLock::new(|| {
    let began = unix_now();
    let at = |second: u64| {
        Now::new(
            Duration::from_secs(second),
            began - BEGIN.as_secs() + second,
        )
    };
    let mut history = Reachability::new(Duration::from_secs(62), at(0));
    for second in (0..OUTAGE_S).step_by(4) {
        history.handle_refused(at(second));
    }
    (began, history.known())
});

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is later than 1970").as_secs()
}

fn at(monotonic: Duration) -> Now {
    Now::new(monotonic, OUTAGES.0 + (monotonic - BEGIN).as_secs())
}

impl Server {
    fn start(logs: &Path, state: &Path) -> Self {
        let mailboxes = Mailboxes::without_wakers(1, 1024);
        let links = Links::new(mailboxes, chunks_max(BUDGET_BYTES, 2), 16);
        let settings = ReaderSettings {
            lanes_per_backend: 2,
            memory_budget_bytes: BUDGET_BYTES,
            in_flight_per_backend: 4096,
            rescan_interval: Duration::from_secs(2),
            closed_after: Duration::from_secs(3),
        };
        let rules = ReaderRules {
            is_backend: |_| Ok(()),
            written_unix: |_| Some(unix_now()),
            zone: String::new,
        };
        let checkpointer_settings = CheckpointerSettings {
            compares_keys: false,
            checkpoint_interval: Duration::from_millis(500),
            release_interval: Duration::from_secs(1),
            // Times of files are the real clock's, which hardly moves: a log is finished once it is
            // settled.
            closed_after: Duration::ZERO,
            rejected_bytes_max: 1 << 20,
        };
        let disk = || RealDisk::new(logs.to_owned(), state.to_owned());
        Self {
            reader: LogReader::new(disk(), settings, rules, links.clone()),
            checkpointer: Checkpointer::new(disk(), links.clone(), checkpointer_settings),
            links,
            info: BackendInfo {
                id: BACKEND,
                name: NAME.into(),
                counters: Arc::default(),
                dirty_flags: Arc::default(),
            },
            epoch: 0,
            is_known: false,
            is_up: false,
            is_over: false,
        }
    }

    fn feed(&self, mail: ReaderMessage) {
        self.links
            .mailboxes
            .reader
            .send(mail)
            .expect("there is room");
    }

    fn keep(&self, mail: CheckpointerMessage) {
        self.links
            .mailboxes
            .checkpointer
            .send(mail)
            .expect("there is room");
    }

    /// What control does.
    fn handle_control(&mut self) {
        while let Some(mail) = self.links.mailboxes.control.receive() {
            match mail {
                ControlMessage::BackendFound(_) if !self.is_known => {
                    self.is_known = true;
                    self.keep(CheckpointerMessage::Backend(self.info.clone()));
                    self.feed(ReaderMessage::Backend(self.info.clone()));
                    self.up();
                }
                ControlMessage::Flushed { epoch, .. } if epoch == self.epoch => self.up(),
                ControlMessage::CheckpointerDone => self.is_over = true,
                _ => {}
            }
        }
    }

    fn up(&mut self) {
        self.is_up = true;
        self.feed(ReaderMessage::Up {
            backend: BACKEND,
            epoch: self.epoch,
            outages: OUTAGES.1.clone(),
        });
    }

    fn begin_flush(&mut self) {
        self.epoch += 1;
        self.is_up = false;
        let (backend, epoch) = (BACKEND, self.epoch);
        self.keep(CheckpointerMessage::Of(
            backend,
            BackendMessage::Flush { epoch },
        ));
        self.feed(ReaderMessage::Down { backend, epoch });
    }
}

impl World {
    fn new(home: &Path) -> Self {
        let _ = fs::remove_dir_all(home);
        let path = |name: &str| home.join(name);
        let logs = path("logs").join(NAME);
        for folder in [&logs, &path("aside"), &path("status")] {
            fs::create_dir_all(folder).expect("a folder can be made");
        }
        Self {
            server: Server::start(&path("logs"), &path("status")),
            logs,
            aside: path("aside"),
            state: path("status"),
            now: at(BEGIN),
            holds: false,
            held: Vec::new(),
            written: Vec::new(),
            given: BTreeMap::new(),
            taken: BTreeSet::new(),
            copies: BTreeSet::new(),
            unsure: BTreeSet::new(),
            survived: BTreeSet::new(),
            delivered: BTreeSet::new(),
            new: BTreeSet::new(),
            mixed: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }

    fn act(&mut self, deed: u8, what: u8, more: u8) {
        let (log, other) = (self.log(what), self.log(more));
        let outside = self.aside.join(format!("{}", more % NAMES));
        match deed % 16 {
            0 | 1 => self.append(&log, 1 + more % 5),
            2 => self.rename(&log, &other),
            3 => self.rename(&log, &outside),
            4 => self.rename(&outside, &log),
            5 if !other.exists() => self.copy(&log, &other),
            6 if !outside.exists() => {
                self.copy(&log, &outside);
                self.copies.insert(outside);
            }
            7 if !other.exists() => _ = fs::hard_link(&log, &other),
            8 => {
                self.take(&log);
                let _ = fs::remove_file(&log);
            }
            9 => self.cut(&log, more),
            10 => self.edit(&log, more),
            11 => self.link(&log, &outside),
            12 => self.pass(1 + what % 16),
            13 => self.holds = what & 1 == 0,
            14 => self.flush(),
            15 => self.restart(what & 1 == 0),
            _ => {}
        }
        // Inotify tells of all this.
        self.look();
    }

    fn log(&self, which: u8) -> PathBuf {
        self.logs.join(format!("0{}.log", which % NAMES))
    }

    /// HA writes lines.
    fn append(&mut self, log: &Path, lines: u8) {
        let is_new = !log.exists();
        let file = File::options().append(true).create(true).open(log);
        let Ok(mut file) = file else {
            return;
        };
        let inode = file.metadata().expect("it is open").ino();
        let given = self.given.entry(inode).or_default();
        *given += u64::from(is_new);
        let origin = (inode, *given);
        let mut text = Vec::new();
        for _ in 0..lines {
            let mut record = Vec::new();
            Record {
                table: b"table",
                score: 1,
                opt: 1,
                ..Record::new(Method::Zadd, self.written.len().to_string().as_bytes(), b"")
            }
            .encode(&mut record);
            line::encode(b"[2026-11-22 16:40:38] [DEBUG] | ", &record, &mut text);
            self.written.push(origin);
        }
        file.write_all(&text).expect("there is room");
    }

    /// Somebody gives a log another name, which may be another one's.
    fn rename(&mut self, from: &Path, to: &Path) {
        if from == to || !from.exists() {
            return;
        }
        let inode = |path| Some(fs::symlink_metadata(path).ok()?.ino());
        if inode(from) != inode(to) {
            self.take(to);
        }
        self.copies.remove(from);
        self.copies.remove(to);
        let _ = fs::rename(from, to);
    }

    fn copy(&mut self, from: &Path, to: &Path) {
        if from.exists() {
            let lines = lines_of(from).into_iter();
            self.unsure
                .extend(lines.filter(|id| self.survived.contains(id)));
            let _ = fs::copy(from, to);
        }
    }

    /// Lines of a log that is about to go: they may be lost.
    fn take(&mut self, log: &Path) {
        self.taken.extend(lines_of(log));
    }

    /// Somebody cuts a log, and it is looked at before more comes: what grew again meanwhile could
    /// not be told.
    fn cut(&mut self, log: &Path, keep: u8) {
        let Ok(content) = fs::read(log) else {
            return;
        };
        let whole = content.split_inclusive(|byte| *byte == b'\n');
        let kept: usize = whole.take(usize::from(keep % 4)).map(<[u8]>::len).sum();
        self.take(log);
        let file = File::options().write(true).open(log);
        file.and_then(|file| file.set_len(kept as u64))
            .expect("it was read");
        self.note_mixed();
        self.pass(1);
    }

    /// Somebody takes a line out, not the first, with an editor, which writes a new file in the old
    /// one's place.
    fn edit(&mut self, log: &Path, line: u8) {
        let Ok(content) = fs::read(log) else {
            return;
        };
        let without = 1 + usize::from(line % 4);
        let lines = content.split_inclusive(|byte| *byte == b'\n').enumerate();
        let left = lines.filter(|(nth, _)| *nth != without);
        let left: Vec<u8> = left.flat_map(|(_, line)| line.to_vec()).collect();
        self.take(log);
        let next = self.aside.join("edited");
        fs::write(&next, left).expect("there is room");
        fs::rename(&next, log).expect("it is there");
        self.note_mixed();
    }

    /// Something was taken out of a log: whoever has it still is a log of its own.
    fn note_mixed(&mut self) {
        let everywhere = lines_in(&self.logs)
            .into_iter()
            .chain(lines_in(&self.aside));
        let still = everywhere.filter(|id| self.taken.contains(id));
        self.mixed.extend(still.map(|id| self.written[id]));
    }

    /// Somebody moves a log away and leaves a symbolic link.
    fn link(&mut self, log: &Path, outside: &Path) {
        if outside.exists() || !log.exists() {
            return;
        }
        if fs::rename(log, outside).is_ok() {
            std::os::unix::fs::symlink(outside, log).expect("its name is free");
        }
    }

    /// The backend goes down and comes up: what was not answered is sent again.
    fn flush(&mut self) {
        if !self.server.is_up {
            return;
        }
        self.server.begin_flush();
        self.turns();
        let mut unanswered = self.drop_batches();
        unanswered.extend(std::mem::take(&mut self.held));
        let lines = unanswered.iter().flat_map(|batch| {
            let segment = batch.origin.segment;
            batch.records.iter().map(move |fed| (segment, fed.line))
        });
        let sent = lines.collect();
        for batch in unanswered {
            self.server.links.returns.release(batch.chunk);
        }
        self.server.keep(CheckpointerMessage::Of(
            BACKEND,
            BackendMessage::Flushed {
                epoch: self.server.epoch,
                component: Component::Worker(0),
                sent,
            },
        ));
        self.turns();
    }

    /// What came to the worker since it was last looked: it may have been sent.
    fn drop_batches(&mut self) -> Vec<Batch> {
        let mut dropped = Vec::new();
        while let Some(mail) = self.server.links.mailboxes.workers[0].receive() {
            if let WorkerMessage::Batch(batch) = mail {
                self.note(&batch);
                dropped.push(batch);
            }
        }
        dropped
    }

    /// The process ends, in good order or not, and starts again.
    fn restart(&mut self, in_order: bool) {
        if in_order {
            self.flush();
            self.server.keep(CheckpointerMessage::Stop);
            for _ in 0..100 {
                if self.server.checkpointer.turn(self.now) == checkpointer::Turn::Done {
                    break;
                }
            }
            self.server.handle_control();
            assert!(self.server.is_over, "the checkpointer ends");
            let copies = self.copies.iter().flat_map(|copy| lines_of(copy));
            self.unsure.extend(copies);
        } else {
            let _ = self.drop_batches();
            self.unsure.extend(lines_in(&self.aside));
            self.survived = lines_in(&self.logs);
        }
        self.held.clear();
        let logs = self.logs.parent().expect("it is below").to_owned();
        self.server = Server::start(&logs, &self.state);
    }

    /// Quarters of a second pass.
    fn pass(&mut self, steps: u8) {
        for _ in 0..steps {
            self.look();
            self.now = at(self.now.monotonic + STEP);
        }
    }

    /// Everybody is told that something may have changed, and does what there is to do.
    fn look(&mut self) {
        let links = &self.server.links;
        links.dirty_flags.hint_grew(&self.server.info.dirty_flags);
        links
            .dirty_flags
            .hint_listing(&self.server.info.dirty_flags);
        self.turns();
    }

    fn turns(&mut self) {
        for _ in 0..1000 {
            let reads = self.server.reader.turn(self.now);
            while self.server.reader.poll_action().is_some() {}
            let keeps = self.server.checkpointer.turn(self.now);
            self.server.handle_control();
            let came = self.answer();
            let rests = matches!(reads, Turn::Idle { .. }) && keeps == checkpointer::Turn::Sleep;
            let mail = !self.server.links.mailboxes.reader.is_empty()
                || !self.server.links.mailboxes.checkpointer.is_empty();
            if rests && !came && !mail {
                return;
            }
        }
        panic!("there is always something to do");
    }

    /// The backend takes what there is, unless answers are held back. True: something came.
    fn answer(&mut self) -> bool {
        let mut came = false;
        while let Some(mail) = self.server.links.mailboxes.workers[0].receive() {
            if let WorkerMessage::Batch(batch) = mail {
                self.note(&batch);
                self.held.push(batch);
                came = true;
            }
        }
        if self.holds || !self.server.is_up {
            return came;
        }
        for batch in std::mem::take(&mut self.held) {
            let settled = batch.records.iter().map(|fed| Settled {
                segment: batch.origin.segment,
                line: fed.line,
                settlement: Settlement::Applied,
            });
            self.server.keep(CheckpointerMessage::Of(
                BACKEND,
                BackendMessage::Settled {
                    batch: settled.collect(),
                },
            ));
            self.server.links.returns.release(batch.chunk);
            came = true;
        }
        came
    }

    /// Holds what came against what may come.
    fn note(&mut self, batch: &Batch) {
        for fed in &batch.records {
            let (from, to) = (fed.at as usize, (fed.at + fed.bytes) as usize);
            let record = Record::parse(&batch.chunk.bytes()[from..to]).expect("we wrote it");
            let id = id_of(record.key);
            if !fed.maybe_sent && !self.unsure.contains(&id) {
                assert!(self.new.insert(id), "line {id} came twice as new");
                assert!(
                    !self.delivered.contains(&id),
                    "line {id} came as new, and had come before"
                );
            }
            if self.delivered.insert(id) {
                let origin = self.written[id];
                let before = self.last.insert(origin, id);
                assert!(
                    before.is_none_or(|before| before < id) || self.mixed.contains(&origin),
                    "line {id} came first behind {before:?} of the same log"
                );
            }
        }
    }

    /// Waits until all is over, and looks what is missing.
    fn end(&mut self) {
        self.holds = false;
        self.pass(48);
        let (outside, there) = (lines_in(&self.aside), lines_in(&self.logs));
        for id in 0..self.written.len() {
            let may_be_lost = self.taken.contains(&id) || outside.contains(&id);
            assert!(
                self.delivered.contains(&id) || may_be_lost && !there.contains(&id),
                "line {id} was not delivered"
            );
        }
    }
}

fn id_of(key: &[u8]) -> usize {
    let key = std::str::from_utf8(key).expect("we wrote digits");
    key.parse().expect("we wrote digits")
}

/// The lines of all logs in a folder.
fn lines_in(folder: &Path) -> BTreeSet<usize> {
    let entries = fs::read_dir(folder).expect("it is there").flatten();
    entries.flat_map(|entry| lines_of(&entry.path())).collect()
}

/// The lines of a log, by their numbers.
fn lines_of(log: &Path) -> Vec<usize> {
    let content = fs::read(log).unwrap_or_default();
    let lines = content.split(|byte| *byte == b'\n');
    lines
        .filter(|text| !text.is_empty())
        .map(|text| {
            let mut text = text.to_vec();
            let range = line::decode_in_place(&mut text).expect("we wrote it");
            id_of(Record::parse(&text[range]).expect("we wrote it").key)
        })
        .collect()
}
