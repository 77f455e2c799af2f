//! One history: writes, outages, replay, comparing, crashes, and at the end a look at everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hustdbsync::internals::binlog::line;
use hustdbsync::internals::clock::Now;
use hustdbsync::internals::connections::{Action, Connected};
use hustdbsync::internals::fake_hustdb::contents::Item;
use hustdbsync::internals::fake_hustdb::query::{self, Space};
use hustdbsync::internals::fake_hustdb::store::live_versions;
use hustdbsync::internals::limits::{RECONCILE_DELETES_FREE, RECONCILE_PROGRESS_ANSWERS};
use hustdbsync::internals::reconcile::comparison::ComparisonSettings;
use hustdbsync::internals::reconcile::connection::ConnectionLimits;
use hustdbsync::internals::reconcile::difference::{Difference, FILE_NAME, Line, Settlement};
use hustdbsync::internals::reconcile::settings::{Deletes, ReconcileMode, ReconcileSettings};
use hustdbsync::internals::reconcile::table::Table;
use hustdbsync::internals::replay::dirty_flags::BackendDirtyFlags;
use hustdbsync::internals::replay::links::Mailboxes;
use hustdbsync::internals::replay::mailbox::{Mailbox, NoWaker};
use hustdbsync::internals::replay::messages::{
    BackendId, BackendInfo, CheckpointerMessage, FinishedLog, ReconcilerMessage,
};
use hustdbsync::internals::replay::reconciler::{Address, Reconciler, Surroundings, Turn};
use hustdbsync::internals::replay::testdisk::TestDisk;
use hustdbsync::internals::status::counters::BackendCounters;
use hustdbsync::internals::workload::Mutation;

use crate::ha::{self, Leaves, item, leaves, random_write};
use crate::masters::{Master, Mood, NAMES, Rules, difference};
use crate::network::{Arrival, Network, REQUESTS_PER_CONNECTION};

const START_UNIX: u64 = 1_800_000_000;

/// Comparing has to end so long after the last fault.
const QUIET: Duration = Duration::from_secs(7200);

/// A key is busy that was written so often in so long: looks find it changed.
const BUSY_WRITES: usize = 3;
const BUSY_S: u64 = 60;

/// How many writes there are, and to how many keys.
struct Extent {
    /// Of each kind.
    keys: usize,
    writes: std::ops::Range<u32>,
    /// Between two writes there are fewer.
    gap_ms: u64,
    /// The lowest bound of lookups a second.
    rate: u32,
}

/// Keys are written many times each.
const USUAL: Extent = Extent {
    keys: 10,
    writes: 100..400,
    gap_ms: 150,
    rate: 3,
};

/// More keys differ than are asked for at one time, and than values are in memory.
const MANY_KEYS: Extent = Extent {
    keys: 1000,
    writes: 5000..8000,
    gap_ms: 8,
    rate: 100,
};

impl Extent {
    fn of(seed: u64) -> &'static Self {
        match seed % 100 {
            99 => &MANY_KEYS,
            _ => &USUAL,
        }
    }
}

/// HA's table and the masters' addresses.
struct Known(Arc<Table>);

impl Surroundings for Known {
    fn table(&mut self) -> Result<Arc<Table>, String> {
        Ok(Arc::clone(&self.0))
    }

    fn address(&mut self, name: &str, _failures: u32) -> Address {
        Address::Known(name.parse().unwrap())
    }
}

/// A write that a master has missed.
struct Missed {
    write: Mutation,
    version: u32,
    written: u64,
    log: String,
}

/// The log of what one master has missed.
#[derive(Default)]
struct Logs {
    missed: VecDeque<Missed>,
    /// Every log that is on disk, by its name, with how many of its records are not replayed.
    files: BTreeMap<String, usize>,
    /// Those that whoever compares was told of, in this process's life.
    told: BTreeSet<String>,
}

/// What happens next, besides the network.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write,
    /// The second master gets the write of this number.
    SecondWrite(u64),
    Replay(usize),
    /// The other HA host's sync server replays to this master.
    OtherReplay(usize),
    Outage(usize),
    Back(usize),
    Mood(usize),
    Crash,
}

pub(crate) struct World {
    random: fastrand::Rng,
    now: Duration,
    steps: BTreeMap<(Duration, u64), Step>,
    numbers: u64,
    masters: [Master; 2],
    logs: [Logs; 2],
    counters: [Arc<BackendCounters>; 2],
    /// Live writes that the second master has yet to get.
    under_way: BTreeMap<u64, (Mutation, usize, Option<u32>)>,
    /// What any log ever had.
    items: BTreeSet<Item>,
    /// Whether half of the writes come by another HA host, which has logs and a sync server of its
    /// own.
    has_other_host: bool,
    /// What its logs have for each master.
    missed_by_other: [VecDeque<(Mutation, u32, u64)>; 2],
    /// What the last write of each item leaves.
    last: BTreeMap<Item, Leaves>,
    /// When it was written, Unix seconds.
    written: BTreeMap<Item, Vec<u64>>,
    /// Items of writes that went to one master only, while older records of it waited, or a mend of
    /// it was on its way: they may be overwritten there, before anybody compares.
    overwritten: BTreeSet<Item>,
    /// Items that nobody can answer for: written with a ttl, by which each hustdb sweeps in its own
    /// time, or missed by a master without HA having logged it here.
    excused: BTreeSet<Item>,
    disk: TestDisk,
    network: Network,
    settings: ReconcileSettings,
    mailbox: Arc<Mailbox<ReconcilerMessage>>,
    checkpointer: Arc<Mailbox<CheckpointerMessage>>,
    reconciler: Reconciler<TestDisk, Known>,
    extent: &'static Extent,
    writes_left: u32,
    outages_left: u32,
    crashes_left: u32,
    moods_left: u32,
    with_ttl: bool,
    pub(crate) is_traced: bool,
}

fn table() -> Arc<Table> {
    let [a, b] = NAMES;
    let json = format!(
        r#"{{"table": [{{"item": {{"key": [0, 512], "val": ["{a}", "{b}"]}}}},
            {{"item": {{"key": [512, 1024], "val": ["{b}", "{a}"]}}}}]}}"#
    );
    Arc::new(Table::parse(json.as_bytes()).unwrap())
}

fn id(master: usize) -> BackendId {
    BackendId::from_index(master)
}

/// No line's prefix says when it was written but ours.
fn written_unix(prefix: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(prefix).ok()?;
    text.trim_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .ok()
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let extent = Extent::of(seed);
        let modes = [
            ReconcileMode::Repair,
            ReconcileMode::Repair,
            ReconcileMode::Report,
        ];
        let has_other_host = seed % 10 == 8;
        let settings = ReconcileSettings {
            mode: modes[random.usize(..3)],
            values: random.u8(..4) != 0,
            value_bytes_max: 1 << 20,
            rate: [0, 0, 500, extent.rate][random.usize(..4)],
            // With several HA hosts it is to be off (docs/reconcile.md).
            deletes: match random.bool() && !has_other_host {
                true => Deletes::Bounded,
                false => Deletes::Never,
            },
            attempts: 5,
            delay: Duration::from_secs(random.u64(..3)),
            timeout: QUIET,
        };
        let disk = TestDisk::default();
        let counters = [(); 2].map(|()| Arc::new(BackendCounters::default()));
        counters.iter().for_each(|one| one.state_read.set(1));
        let mailbox = Arc::new(Mailbox::new(1024, Box::new(NoWaker)));
        let checkpointer = Arc::new(Mailbox::new(1024, Box::new(NoWaker)));
        let reconciler = reconciler(&disk, &mailbox, &checkpointer, settings);
        let mut world = Self {
            now: Duration::from_secs(10),
            steps: BTreeMap::new(),
            numbers: 0,
            masters: [Master::new(), Master::new()],
            logs: [Logs::default(), Logs::default()],
            counters,
            under_way: BTreeMap::new(),
            items: BTreeSet::new(),
            has_other_host,
            missed_by_other: [const { VecDeque::new() }; 2],
            last: BTreeMap::new(),
            written: BTreeMap::new(),
            overwritten: BTreeSet::new(),
            excused: BTreeSet::new(),
            disk,
            network: Network::new(
                [0, 20, 100][random.usize(..3)],
                [2, 10, 100][random.usize(..3)],
                (
                    random.usize(..2),
                    Duration::from_millis([0, 0, 0, 300, 1500][random.usize(..5)]),
                ),
            ),
            settings,
            mailbox,
            checkpointer,
            reconciler,
            writes_left: random.u32(extent.writes.clone()),
            extent,
            outages_left: random.u32(1..4),
            crashes_left: random.u32(..3),
            moods_left: random.u32(..4),
            with_ttl: random.u8(..4) == 0,
            is_traced: false,
            random,
        };
        if seed % 5 == 1 {
            world.begin_written_often();
        }
        world.introduce();
        world.schedule_first();
        world
    }

    fn schedule_first(&mut self) {
        self.after_ms(0..100, Step::Write);
        self.after_ms(200..2000, Step::Outage(0));
        if self.crashes_left > 0 {
            self.after_ms(2000..20_000, Step::Crash);
        }
        if self.moods_left > 0 {
            self.after_ms(1000..20_000, Step::Mood(0));
        }
    }

    /// Both masters have keys that were written so often that hustdb stores other versions than it
    /// is given, soon to fall, or fallen.
    fn begin_written_often(&mut self) {
        let unix = self.unix();
        for number in 0..self.extent.keys * 8 {
            let (number, keys) = (number as u64, self.extent.keys);
            let write = random_write(&mut self.random, number, keys, false, unix);
            let writes = self.random.usize(55..600);
            let version = live_versions(0).nth(writes).unwrap();
            for master in &mut self.masters {
                ha::replay(&write.record(version), unix, &mut master.store, unix);
            }
        }
    }

    /// Prints what happens, where one seed is repeated.
    fn trace(&self, what: std::fmt::Arguments<'_>) {
        if self.is_traced {
            println!("{:?} {what}", self.now);
        }
    }

    fn unix(&self) -> u64 {
        START_UNIX + self.now.as_secs()
    }

    fn after_ms(&mut self, ms: std::ops::Range<u64>, step: Step) {
        self.numbers += 1;
        let at = self.now + Duration::from_millis(self.random.u64(ms));
        self.steps.insert((at, self.numbers), step);
    }

    /// Runs the history. What is wrong with it, if anything is.
    pub(crate) fn run(mut self) -> Result<(), String> {
        let mut quiet_since = self.now;
        loop {
            let turn = self.turn();
            let step = self
                .steps
                .keys()
                .next()
                .map_or(Duration::MAX, |(at, _)| *at);
            let until = match turn {
                Turn::Busy => self.now + Duration::from_micros(20),
                Turn::Idle { until } => until,
                Turn::Stopped => return Err("it has stopped".into()),
            };
            let minute_ends = self.now + Duration::from_secs(1);
            let next = step.min(until).min(self.network.next()).min(minute_ends);
            let is_quiet =
                self.steps.is_empty() && self.logs.iter().all(|logs| logs.files.is_empty());
            if is_quiet {
                return self.check();
            }
            if !self.steps.is_empty() {
                quiet_since = self.now;
            }
            if self.now > quiet_since + QUIET {
                let files: Vec<_> = self.logs.iter().map(|logs| &logs.files).collect();
                return Err(format!("logs are never compared: {files:?}"));
            }
            self.now = self.now.max(next);
            let nanos = u128::from(START_UNIX) * 1_000_000_000 + self.now.as_nanos();
            self.disk.set_nanos(u64::try_from(nanos).unwrap());
            while let Some((slot, arrival)) = self.network.take(self.now) {
                self.arrive(slot, arrival);
            }
            if step <= self.now
                && let Some(((_, _), step)) = self.steps.pop_first()
            {
                self.step(step);
            }
        }
    }

    fn clock(&self) -> Now {
        Now::new(self.now, self.unix())
    }

    fn turn(&mut self) -> Turn {
        for master in 0..2 {
            self.tell_finished(master);
        }
        let turn = self.reconciler.turn(self.clock());
        while let Some(action) = self.reconciler.poll_action(self.clock()) {
            match action {
                Action::Connect(slot, address) => self.connect(slot, address),
                Action::Transmit(slot) => {
                    let bytes = self.reconciler.outgoing(slot).concat();
                    self.network
                        .transmit(slot, &bytes, self.now, &mut self.random);
                    self.reconciler.handle_sent(slot, bytes.len(), self.clock());
                }
                Action::Close(slot) => self.network.close(slot),
            }
        }
        while let Some(message) = self.checkpointer.receive() {
            let CheckpointerMessage::Compared { backend, logs } = message else {
                panic!("{message:?}");
            };
            self.trace(format_args!("{backend:?} compared {logs:?}"));
            for log in logs {
                self.delete(backend.index(), file_number(&log.name), log.bytes);
            }
        }
        turn
    }

    fn connect(&mut self, slot: usize, address: SocketAddr) {
        let name = address.to_string();
        let master = NAMES.iter().position(|known| *known == name).unwrap();
        self.network
            .connect(slot, master, self.now, &mut self.random);
    }

    fn arrive(&mut self, slot: usize, arrival: Arrival) {
        let clock = self.clock();
        match arrival {
            Arrival::Made => {
                let master = self.network.master_of(slot).unwrap();
                if self.masters[master].is_up {
                    self.reconciler.handle_connected(slot, 1400, clock);
                } else {
                    self.network.close(slot);
                    self.reconciler.handle_closed(slot, "refused".into(), clock);
                }
            }
            Arrival::Broken => {
                self.network.close(slot);
                self.reconciler.handle_closed(slot, "reset".into(), clock);
            }
            Arrival::Answer(bytes) => self.reconciler.handle_received(slot, &bytes, clock),
            Arrival::AtMaster(bytes) => {
                let rules = Rules {
                    unix: clock.unix,
                    may_delete: self.settings.deletes != Deletes::Never,
                    may_write: self.settings.mode == ReconcileMode::Repair,
                };
                if self.is_traced {
                    self.trace(format_args!("{slot}: {}", bytes.escape_ascii()));
                }
                self.network.arrive(
                    slot,
                    &bytes,
                    &mut self.masters,
                    rules,
                    clock.monotonic,
                    &mut self.random,
                );
            }
        }
    }

    fn step(&mut self, step: Step) {
        if !matches!(
            step,
            Step::Write | Step::SecondWrite(_) | Step::Replay(_) | Step::OtherReplay(_)
        ) {
            self.trace(format_args!("{step:?}"));
        }
        match step {
            Step::Write => {
                self.write();
                self.writes_left -= 1;
                if self.writes_left > 0 {
                    self.after_ms(1..self.extent.gap_ms, Step::Write);
                }
            }
            Step::SecondWrite(number) => {
                let (write, master, version) = self.under_way.remove(&number).unwrap();
                self.give(&write, master, version);
            }
            Step::Replay(master) => self.replay(master),
            Step::OtherReplay(master) => self.replay_other(master),
            Step::Outage(master) => {
                self.masters[master].is_up = false;
                self.network.break_all(master, self.now, &mut self.random);
                self.tell_up(master, false);
                self.after_ms(1000..10_000, Step::Back(master));
            }
            Step::Back(master) => {
                self.masters[master].is_up = true;
                self.tell_up(master, true);
                self.after_ms(0..1000, Step::Replay(master));
                if self.has_other_host {
                    self.after_ms(0..10_000, Step::OtherReplay(master));
                }
                self.outages_left -= 1;
                if self.outages_left > 0 {
                    let next = self.random.usize(..2);
                    self.after_ms(100..15_000, Step::Outage(next));
                }
            }
            Step::Mood(master) => {
                let moods = [Mood::Ill, Mood::Refuses, Mood::Garbage];
                let is_well = self.masters[master].mood == Mood::Well;
                self.masters[master].mood = match is_well {
                    true => moods[self.random.usize(..3)],
                    false => Mood::Well,
                };
                if is_well {
                    self.after_ms(100..5000, Step::Mood(master));
                } else {
                    self.moods_left -= 1;
                    if self.moods_left > 0 {
                        let next = self.random.usize(..2);
                        self.after_ms(500..10_000, Step::Mood(next));
                    }
                }
            }
            Step::Crash => self.crash(),
        }
    }

    /// A client writes through HA: first to one master, then to the other.
    fn write(&mut self) {
        let number = u64::from(self.writes_left);
        let (unix, keys) = (self.unix(), self.extent.keys);
        let write = random_write(&mut self.random, number, keys, self.with_ttl, unix);
        // Two clients that write a key at once are HA's own race.
        let written = item(&write);
        let mut under_way = self.under_way.values();
        if under_way.any(|(other, ..)| item(other) == written) {
            return;
        }
        if write.ttl > 0 {
            self.excused.insert(written.clone());
        }
        self.written.entry(written.clone()).or_default().push(unix);
        self.last.insert(written, leaves(&write));
        let first = self.random.usize(..2);
        if !self.masters[0].is_up && !self.masters[1].is_up {
            return;
        }
        let first = if self.masters[first].is_up {
            first
        } else {
            1 - first
        };
        let version = self.give(&write, first, None);
        let second = 1 - first;
        self.numbers += 1;
        let number = self.numbers;
        self.under_way.insert(number, (write, second, version));
        self.after_ms(0..5, Step::SecondWrite(number));
    }

    /// Gives a master a live write, or HA's log where it has gone down meanwhile.
    fn give(&mut self, write: &Mutation, master: usize, version: Option<u32>) -> Option<u32> {
        if !self.masters[master].is_up {
            self.miss(write.clone(), master, version);
            return None;
        }
        let version = ha::write_one(write, &mut self.masters[master].store);
        self.trace(format_args!("{master} takes {write:?} as {version:?}"));
        version
    }

    /// HA logs a write that a master has missed, unless the other did not take it.
    fn miss(&mut self, write: Mutation, master: usize, version: Option<u32>) {
        let unix = self.unix();
        let Some(version) = version else {
            // The other master had nothing to delete; this one may have.
            self.excused.insert(item(&write));
            return;
        };
        if self.has_other_host && self.random.bool() {
            // Its own sync server compares it.
            self.excused.insert(item(&write));
            return self.missed_by_other[master].push_back((write, version, unix));
        }
        self.items.insert(item(&write));
        let is_mended = self.network.carries_mend_of(&item(&write).key);
        if is_mended || !self.logs[1 - master].missed.is_empty() {
            self.overwritten.insert(item(&write));
        }
        let record = write.record(version);
        let (mut bytes, mut text) = (Vec::new(), Vec::new());
        record.encode(&mut bytes);
        line::encode(format!("[{unix}] ").as_bytes(), &bytes, &mut text);
        let name = self.log_name();
        let logs = &mut self.logs[master];
        self.disk.append_log(NAMES[master], &name, &text);
        *logs.files.entry(name.clone()).or_default() += 1;
        logs.missed.push_back(Missed {
            write,
            version,
            written: unix,
            log: name,
        });
        self.publish_backlog(master);
    }

    /// HA's log of this minute, of which this world's have some seconds.
    fn log_name(&self) -> String {
        let minute = self.now.as_secs() / 4;
        format!("2026-11-26-{:02}-{:02}.log", minute / 60, minute % 60)
    }

    fn publish_backlog(&self, master: usize) {
        let logs = self.logs[master].files.len() as u64;
        self.counters[master].log_files.set(logs);
        let missed = self.logs[master].missed.len() as u64;
        self.counters[master].unread_bytes.set(missed * 100);
    }

    fn replay(&mut self, master: usize) {
        if !self.masters[master].is_up {
            return;
        }
        let unix = self.unix();
        let Some(missed) = self.logs[master].missed.pop_front() else {
            return;
        };
        let record = missed.write.record(missed.version);
        // An increment whose answer was lost may count twice.
        let times = if self.random.u8(..30) == 0 { 2 } else { 1 };
        let write = &missed.write;
        self.trace(format_args!(
            "{master} gets {write:?} {times} times, as {}",
            missed.version
        ));
        for _ in 0..times {
            ha::replay(
                &record,
                missed.written,
                &mut self.masters[master].store,
                unix,
            );
        }
        *self.logs[master].files.get_mut(&missed.log).unwrap() -= 1;
        self.publish_backlog(master);
        self.after_ms(1..40, Step::Replay(master));
    }

    fn replay_other(&mut self, master: usize) {
        if !self.masters[master].is_up {
            return;
        }
        let Some((write, version, written)) = self.missed_by_other[master].pop_front() else {
            return;
        };
        let unix = self.unix();
        let record = write.record(version);
        ha::replay(&record, written, &mut self.masters[master].store, unix);
        self.after_ms(1..40, Step::OtherReplay(master));
    }

    /// As the checkpointer does with finished logs that are no longer written to.
    fn tell_finished(&mut self, master: usize) {
        let current = self.log_name();
        let logs = &mut self.logs[master];
        let mut finished = Vec::new();
        for (name, left) in &logs.files {
            if *left > 0 || *name >= current {
                break;
            }
            if logs.told.insert(name.clone()) {
                let meta = self.disk.meta_of(NAMES[master], name).unwrap();
                finished.push(FinishedLog {
                    name: name.as_str().into(),
                    key: meta.key(),
                    bytes: meta.bytes,
                    modified_nanos: meta.modified_nanos,
                });
            }
        }
        if !finished.is_empty() {
            let backend = id(master);
            let logs = finished;
            let sent = self
                .mailbox
                .send(ReconcilerMessage::Compare { backend, logs });
            assert!(sent.is_ok());
        }
    }

    fn delete(&mut self, master: usize, number: u64, bytes: u64) {
        let name = format!("2026-11-26-{:02}-{:02}.log", number / 60, number % 60);
        let meta = self.disk.meta_of(NAMES[master], &name);
        assert_eq!(meta.map(|meta| meta.bytes), Some(bytes), "{name}");
        self.disk.remove_log(NAMES[master], &name);
        self.logs[master].files.remove(&name);
        self.publish_backlog(master);
    }

    fn introduce(&mut self) {
        for (master, name) in NAMES.into_iter().enumerate() {
            let info = BackendInfo {
                id: id(master),
                name: name.into(),
                counters: Arc::clone(&self.counters[master]),
                dirty_flags: Arc::new(BackendDirtyFlags::default()),
            };
            assert!(self.mailbox.send(ReconcilerMessage::Backend(info)).is_ok());
            self.tell_up(master, self.masters[master].is_up);
        }
    }

    fn tell_up(&self, master: usize, is_up: bool) {
        let backend = id(master);
        let sent = self.mailbox.send(ReconcilerMessage::Up { backend, is_up });
        assert!(sent.is_ok());
    }

    /// The process dies, and a new one begins.
    fn crash(&mut self) {
        while self.mailbox.receive().is_some() {}
        while self.checkpointer.receive().is_some() {}
        self.network = self.network.renewed();
        let (mailbox, checkpointer) = (&self.mailbox, &self.checkpointer);
        self.reconciler = reconciler(&self.disk, mailbox, checkpointer, self.settings);
        for logs in &mut self.logs {
            logs.told.clear();
        }
        self.introduce();
        self.crashes_left -= 1;
        if self.crashes_left > 0 {
            self.after_ms(1000..20_000, Step::Crash);
        }
    }

    fn mends_all(&self) -> bool {
        self.settings.mode == ReconcileMode::Repair && self.settings.deletes != Deletes::Never
    }

    /// Whether all that was promised holds, now that all is quiet.
    fn check(self) -> Result<(), String> {
        let broken = self.masters.iter().flat_map(|master| &master.broken_rules);
        let mut faults: Vec<String> = broken.cloned().collect();
        // Long after the last ttl.
        let unix = self.unix() + 3600;
        let contents = self
            .masters
            .each_ref()
            .map(|master| master.store.contents(unix));
        let left = NAMES.map(|name| left_in(&self.disk, name));
        for item in self.items.difference(&self.excused) {
            let Some(difference) = difference(item, &contents) else {
                let mends_all = self.mends_all();
                let found = contents[0].get(item);
                if mends_all && !self.overwritten.contains(item) && !self.last[item].is(found) {
                    let last = &self.last[item];
                    faults.push(format!("{item:?} is {found:?} on both, should be {last:?}"));
                }
                continue;
            };
            let is_it = |difference: &&Difference| is_of(difference, item);
            let of_key: Vec<&Difference> = left.iter().flatten().filter(is_it).collect();
            let is_written = !of_key.is_empty();
            // Where nothing says which value counts, it is left to a person; and so is a key that
            // was written whenever it was looked at, if only its versions differ, or whose masters
            // never answer within a moment of each other.
            let [ours, theirs] = contents.each_ref().map(|all| all.get(item));
            let is_seen_apart = self.network.is_far_apart();
            let is_same_value = ours
                .zip(theirs)
                .is_some_and(|(ours, theirs)| ours.value == theirs.value);
            let is_busy = |until_unix: u64| {
                let busy = until_unix - BUSY_S..=until_unix;
                let written = self.written[item].iter();
                written.filter(|unix| busy.contains(*unix)).count() >= BUSY_WRITES
            };
            let is_unclear = of_key.iter().any(|difference| match &*difference.why {
                "backend_newer" | "peer_unsettled" => true,
                // Somebody may have emptied the peer.
                "peer_lacks" => self.items.len() as u64 > RECONCILE_DELETES_FREE,
                "still_differs" => is_same_value && is_busy(difference.unix) || is_seen_apart,
                _ => false,
            });
            let must_be_equal = self.mends_all() && !is_unclear;
            let only_values_differ = !self.settings.values
                && ours.map(|stored| stored.version) == theirs.map(|stored| stored.version);
            if (must_be_equal || !is_written) && !only_values_differ {
                faults.push(format!("{difference}, written down: {is_written}"));
            }
        }
        match faults.is_empty() {
            true => Ok(()),
            false => Err(format!("{:?}: {}", self.settings, faults.join("; "))),
        }
    }
}

/// Whether a difference is one of this item, in whatever spelling.
fn is_of(difference: &Difference, item: &Item) -> bool {
    let spelt = difference
        .member
        .as_ref()
        .filter(|member| !member.is_empty());
    let spelt = spelt.unwrap_or(&difference.key);
    let name = match item.space {
        Space::Set => spelt.clone(),
        _ => query::decode(spelt, &mut Vec::new()).to_vec(),
    };
    name == item.key
}

/// The differences of a backend that are left.
fn left_in(disk: &TestDisk, name: &str) -> Vec<Difference> {
    let text = disk.state(name, FILE_NAME).unwrap_or_default();
    let mut left = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        match Line::parse(line) {
            Ok(Line::Difference(id, difference)) => {
                left.insert(id, *difference);
            }
            Ok(Line::Settlement(Settlement { id, .. })) => {
                left.remove(&id);
            }
            // What a crash has torn.
            Err(_) => {}
        }
    }
    left.into_values().collect()
}

fn file_number(name: &str) -> u64 {
    let minute = name
        .strip_prefix("2026-11-26-")
        .unwrap()
        .strip_suffix(".log")
        .unwrap();
    let (hours, minutes) = minute.split_once('-').unwrap();
    hours.parse::<u64>().unwrap() * 60 + minutes.parse::<u64>().unwrap()
}

fn reconciler(
    disk: &TestDisk,
    mailbox: &Arc<Mailbox<ReconcilerMessage>>,
    checkpointer: &Arc<Mailbox<CheckpointerMessage>>,
    reconcile: ReconcileSettings,
) -> Reconciler<TestDisk, Known> {
    let mailboxes = Mailboxes {
        checkpointer: Arc::clone(checkpointer),
        ..Mailboxes::without_wakers(0, 1)
    };
    let settings = ComparisonSettings {
        reconcile,
        limits: ConnectionLimits {
            burst_bytes: 4096,
            requests_per_connection: REQUESTS_PER_CONNECTION,
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(3),
        },
        connections: 3,
        credentials: None,
        progress_answers_max: RECONCILE_PROGRESS_ANSWERS,
        keepalive_interval: Duration::from_secs(30),
    };
    let mailbox = Arc::clone(mailbox);
    Reconciler::new(
        disk.clone(),
        Known(table()),
        mailbox,
        &mailboxes,
        settings,
        written_unix,
    )
}
