//! What one seed stands for: how large everything is, and which faults there are. Drawn once, at
//! the start.

use std::time::Duration;

use fastrand::Rng;
use hustdbsync::internals::binlog::request::Template;
use hustdbsync::internals::limits::LOOKUP_HOLD;
use hustdbsync::internals::replay::lane::LaneSettings;
use hustdbsync::internals::replay::messages::{CheckpointerSettings, ReaderSettings};
use hustdbsync::internals::replay::monitor::MonitorSettings;
use hustdbsync::internals::replay::outcome::Outcomes;
use hustdbsync::internals::replay::reader::buffers::ReaderBounds;

use crate::late::LATE_MAX;

/// When the run begins, Unix seconds.
pub(crate) const BEGIN_UNIX: u64 = 1_800_000_000;
/// A short time to live is at most this long.
pub(crate) const TTL_SHORT_MAX_S: u32 = 12;
/// A key that expires is not written again for this long before and after: the backend's clock and
/// ours differ by what is on its way.
pub(crate) const TTL_REST_S: u64 = 60;

/// From these versions on live writes rise so far that the second, tenth or twentieth version is
/// lower than the one before; and 340 of them are different ones.
const VERSIONS_BEFORE_A_FALL: [u32; 3] = [65_346, 61_250, 57_154];

/// How often each kind of trouble comes, in thousandths of the chances that it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Of a delivery to a backend: the connection breaks, stalls, or goes half-open.
    pub(crate) net: u32,
    /// Of a delivery in either direction: it is cut anywhere. hustdb does not like that in a
    /// request line; its model here does not mind.
    pub(crate) splits: bool,
    /// Of a send: the system takes a part.
    pub(crate) partial_writes: u32,
    /// Backends die and restart, or answer badly for a while.
    pub(crate) backends: bool,
    /// State cannot be written or read for a while.
    pub(crate) disk: bool,
    /// Reads are short.
    pub(crate) short_reads: u32,
    /// Of a hint: it is lost or late.
    pub(crate) dirty_flags: u32,
    /// The server is killed, or its machine loses power.
    pub(crate) crashes: bool,
    /// The server is stopped gracefully and started again.
    pub(crate) stops: bool,
    /// Before each of these ends nothing can be rejected, and at it only just.
    pub(crate) hard_ends: bool,
    /// A checkpoint rots while the server is down.
    pub(crate) rot: bool,
    /// Lines that are none, or that the backend refuses.
    pub(crate) bad_lines: u32,
    /// Threads are held up.
    pub(crate) stalls: bool,
    /// Somebody truncates, deletes and replaces logs.
    pub(crate) operator: bool,
    /// Somebody renames, moves, links and copies logs, and remounts their disk.
    pub(crate) moves: bool,
    /// So are logs that are not delivered, and more: things are mounted over them, folders become
    /// links, clocks are set.
    pub(crate) mounts: bool,
    /// Lines come to logs of minutes long past, and to logs that have just been deleted.
    pub(crate) strays: bool,
    /// A connection that is idle for so long is forgotten by something in between.
    pub(crate) forgets: Option<Duration>,
}

/// Records that fail for ever, of each backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poison {
    /// So many, at most, not counting those that come last.
    pub(crate) records: u32,
    /// The very last lines are some, too.
    pub(crate) comes_last: bool,
    /// How many keys they are about, where there is but one lane.
    pub(crate) keys: u32,
    pub(crate) how: Failing,
}

/// What a backend does with a mutation that fails for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    /// It answers 500.
    Answers,
    /// It closes the connection.
    Resets,
    /// It says nothing any more on this connection.
    Hangs,
}

/// Who dies in the midst of what a backend missed, once that is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dying {
    Backend,
    Server,
}

/// One seed's world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) backends: usize,
    pub(crate) workers: usize,
    pub(crate) mailbox_messages: usize,
    pub(crate) bounds: ReaderBounds,
    pub(crate) reader: ReaderSettings,
    pub(crate) checkpointer: CheckpointerSettings,
    pub(crate) monitor: MonitorSettings,
    pub(crate) lane: LaneSettings,
    /// HA logs a write that a backend may have applied so long after that hung.
    pub(crate) ambiguity_window: Duration,
    pub(crate) drain_timeout: Duration,
    /// Between two minutes of the log.
    pub(crate) minute: Duration,
    /// How long HA writes.
    pub(crate) writing: Duration,
    /// Between two bursts of lines of one backend, at most.
    pub(crate) write_gap: Duration,
    /// Lines of a burst, at most.
    pub(crate) write_lines: usize,
    /// Bytes of most values, at most; some may have up to `value_bytes_max`.
    pub(crate) value_bytes: usize,
    pub(crate) value_bytes_max: usize,
    /// Of sixteen values so many may be so long.
    pub(crate) values_long: u32,
    /// Keys of each space.
    pub(crate) keys: u64,
    /// Between two injected faults, at most.
    pub(crate) strike_gap: Duration,
    pub(crate) leases: bool,
    /// How long a step of a checkpoint takes at most; none: nobody sees it take time.
    pub(crate) chain_step: Option<Duration>,
    pub(crate) poison: Option<Poison>,
    /// A backend that refuses connections does so for longer by this.
    pub(crate) down_longer: Duration,
    /// HA also writes to scores that are only ever added to.
    pub(crate) tallies: bool,
    /// HA also writes counters, live where it can.
    pub(crate) counters: bool,
    /// The version that scores which are added to begin with: they fall soon after. 0: none.
    pub(crate) first_version: u32,
    /// The backends have caches (`l2_cache`), which tell the versions that writes were given.
    pub(crate) l2_cache: bool,
    /// With one of the first increments that a backend missed, somebody dies.
    pub(crate) dies_in_drains: Option<Dying>,
    /// For so long at most a backend may still apply what it was sent on a connection that has
    /// ended; none: not at all.
    pub(crate) applies_late: Duration,
    /// The first backend fails all mutations until the others have everything (G6).
    pub(crate) is_first_ill: bool,
    /// Nothing but the first backend is ever in trouble, which fails long values so besides:
    /// whatever the others are sent comes in time (G6).
    pub(crate) beside: Option<Failing>,
    /// A backend is dead for minutes, and the server ends once in that time and at no other.
    pub(crate) long_outages: bool,
    /// The server often dies while lines of a minute that is over have not come, and starts at
    /// once.
    pub(crate) dies_at_minutes: bool,
    /// A backend often dies as a log of its is deleted, and that is heard late.
    pub(crate) dies_at_deletions: bool,
    /// An operator gives commands.
    pub(crate) commands: bool,
    /// Lines are where they were written, so that it is known which of them a sync point covers,
    /// and what was rejected can be replayed.
    pub(crate) points: bool,
    /// In the end all backends are forgotten, and come again.
    pub(crate) forgets: bool,
    pub(crate) faults: Faults,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Whether something is so that is in so many seeds of a hundred.
fn percent(random: &mut Rng, odds: u32) -> bool {
    random.u32(..100) < odds
}

impl Faults {
    fn draw(random: &mut Rng) -> Self {
        Self {
            net: [0, 5, 20, 80][random.usize(..4)],
            splits: percent(random, 50),
            partial_writes: [0, 20, 200][random.usize(..3)],
            backends: percent(random, 70),
            disk: percent(random, 40),
            short_reads: [0, 100, 500][random.usize(..3)],
            dirty_flags: [0, 100, 500, 1000][random.usize(..4)],
            crashes: percent(random, 60),
            stops: percent(random, 40),
            rot: percent(random, 30),
            bad_lines: [0, 20, 100][random.usize(..3)],
            stalls: percent(random, 50),
            ..Self::default()
        }
    }
}

fn draw_monitor(random: &mut Rng, lanes: u32) -> MonitorSettings {
    MonitorSettings {
        resolve_interval: ms(30_000),
        probe_interval: ms(1_000),
        probe_interval_down: ms(random.u64(100..500)),
        ttl_hold: ms(2_000),
        lanes,
    }
}

fn draw_lane(random: &mut Rng, lanes: u32) -> LaneSettings {
    LaneSettings {
        template: Template::new("", None),
        outcomes: Outcomes::default(),
        lanes,
        burst_bytes: [0, 700, 4096, 4096][random.usize(..4)],
        head_bytes_max: 4096,
        requests_per_connection: [3, 50, 80_000][random.usize(..3)],
        // A record that is rejected since it failed so often would be missing on the backend: not
        // asked for here.
        attempts_max: u32::MAX,
        records_per_second_max: if percent(random, 15) { 400 } else { 0 },
        connect_timeout: ms(800),
        response_timeout: ms(random.u64(600..1_500)),
        idle_timeout: ms(60_000),
        keepalive_interval: ms(15_000),
        lookup_hold: LOOKUP_HOLD,
    }
}

/// What the rest of a run is drawn from, where its plan was.
pub(crate) struct Sources {
    pub(crate) random: Rng,
    /// For what only every third seed has.
    pub(crate) whims: Rng,
    /// For who moves logs.
    pub(crate) moves: Rng,
    /// For how long the steps of checkpoints take.
    pub(crate) steps: Rng,
}

impl Plan {
    /// What a seed stands for.
    pub(crate) fn of(seed: u64) -> (Self, Sources) {
        let mut random = Rng::with_seed(seed);
        let mut plan = Self::draw(&mut random);
        let mut whims = Rng::with_seed(seed ^ 0x7f4a_7c15);
        plan.widen(seed, &mut whims);
        plan.idle(seed, &mut Rng::with_seed(seed ^ 0x5851_f42d));
        plan.add_counters(seed);
        if seed % 4 == 1 {
            let first = usize::try_from(seed / 4 % 3).expect("it is below 3");
            plan.first_version = VERSIONS_BEFORE_A_FALL[first];
            plan.l2_cache = seed / 12 % 2 == 1;
        }
        let mut moves = Rng::with_seed(seed ^ 0x9e37_79b9);
        plan.widen_by_moves(seed, &mut moves);
        plan.add_lateness(seed);
        plan.set_beside(seed, &mut Rng::with_seed(seed ^ 0x3c6e_f372));
        let mut steps = Rng::with_seed(seed ^ 0x2545_f491);
        // Every second seed stays what it was.
        if !seed.is_multiple_of(2) {
            plan.chain_step = Some(ms([2, 30, 150][steps.usize(..3)]));
        }
        plan.dies_at_minutes = seed % 4 == 3 && plan.faults.crashes && !plan.counters;
        let is_free = plan.beside.is_none() && !plan.is_first_ill && !plan.counters;
        if seed % 10 == 6 && is_free {
            plan.dies_at_deletions = true;
            plan.mailbox_messages = 1;
        }
        plan.commands = seed.is_multiple_of(4) && !plan.counters;
        let faults = &plan.faults;
        plan.points = !(plan.counters || faults.operator || faults.moves || faults.strays);
        plan.forgets = seed % 8 == 5 && plan.points && plan.poison.is_none();
        let sources = Sources {
            random,
            whims,
            moves,
            steps,
        };
        (plan, sources)
    }

    fn draw(random: &mut Rng) -> Self {
        let backends = random.usize(1..=4);
        let big = random.u32(..8) == 0;
        let line_bytes_max = if big { 48 * 1024 } else { 8 * 1024 };
        let chunk_bytes_min = [512, 1024, 4096][random.usize(..3)];
        let bounds = ReaderBounds {
            chunk_bytes_min,
            chunk_bytes_max: chunk_bytes_min << random.u32(0..=1),
            line_bytes_max,
        };
        let share = [2, 8, 32][random.usize(..3)] * bounds.chunk_bytes_max;
        let lanes = random.u32(1..=5);
        let closed_after = ms(random.u64(5_000..8_000));
        let faults = Faults::draw(random);
        Self {
            backends,
            workers: random.usize(1..=3),
            mailbox_messages: [8, 64, 1024][random.usize(..3)],
            bounds,
            reader: ReaderSettings {
                lanes_per_backend: lanes,
                memory_budget_bytes: share * backends,
                in_flight_per_backend: [10, 100, 2000][random.usize(..3)],
                rescan_interval: ms(random.u64(500..4_000)),
                closed_after,
            },
            checkpointer: CheckpointerSettings {
                compares_keys: false,
                checkpoint_interval: ms([20, 200, 1500][random.usize(..3)]),
                release_interval: ms(random.u64(100..1_500)),
                closed_after,
                rejected_bytes_max: 1 << 30,
            },
            monitor: draw_monitor(random, lanes),
            lane: draw_lane(random, lanes),
            ambiguity_window: ms(6_000),
            drain_timeout: ms(random.u64(100..1_500)),
            minute: ms(random.u64(2_500..9_000)),
            writing: ms(random.u64(8_000..60_000)),
            write_gap: ms([100, 600, 2_500][random.usize(..3)]),
            write_lines: [1, 4, 24][random.usize(..3)],
            value_bytes: [20, 200][random.usize(..2)],
            value_bytes_max: if big { 30_000 } else { 3_000 },
            values_long: 1,
            keys: random.u64(2..=6),
            strike_gap: ms([700, 2_000, 5_000][random.usize(..3)]),
            leases: percent(random, 80),
            chain_step: None,
            poison: None,
            down_longer: Duration::ZERO,
            tallies: false,
            counters: false,
            first_version: 0,
            l2_cache: false,
            dies_in_drains: None,
            applies_late: Duration::ZERO,
            is_first_ill: false,
            beside: None,
            long_outages: false,
            dies_at_minutes: false,
            dies_at_deletions: false,
            commands: false,
            points: false,
            forgets: false,
            faults,
        }
    }

    /// Histories that only every third seed has, drawn apart so that the others stay what they
    /// were.
    fn widen(&mut self, seed: u64, random: &mut Rng) {
        self.is_first_ill = seed % 6 == 1 && self.backends > 1;
        if !seed.is_multiple_of(3) {
            return;
        }
        self.faults.operator = random.u32(..3) == 0;
        self.faults.strays = random.u32(..3) == 0;
        if random.bool() {
            self.poison = Some(Poison {
                records: random.u32(0..=4),
                comes_last: random.bool(),
                keys: 1,
                how: [
                    Failing::Answers,
                    Failing::Answers,
                    Failing::Resets,
                    Failing::Hangs,
                ][random.usize(..4)],
            });
            // More tries than bad spells can make fail: each adds one; nor is a record as unlucky
            // as it can be elsewhere.
            self.lane.attempts_max = 10;
            self.faults.net = self.faults.net.min(20);
            self.faults.partial_writes = self.faults.partial_writes.min(20);
            if random.u32(..3) == 0 {
                self.set_lanes(1);
            }
        }
        if self.faults.operator {
            // Logs change while nobody reads them, and what is settled of them has gaps.
            self.faults.backends = true;
            self.faults.crashes |= random.bool();
        }
        if random.u32(..3) == 0 {
            (self.faults.stops, self.faults.hard_ends) = (true, true);
            self.faults.bad_lines = 100;
        }
    }

    /// What becomes of idle connections, which every second seed has, drawn apart too.
    fn idle(&mut self, seed: u64, random: &mut Rng) {
        if seed.is_multiple_of(2) {
            self.faults.forgets = Some(ms(random.u64(300..3_000)));
            self.lane.idle_timeout = ms([1_000, 2_000, 4_000, 60_000][random.usize(..4)]);
        }
        // Increments that surely were missed are not asked for, unless they are lost so. A record
        // that waits for the backend's clock lets the other lanes' connections be idle meanwhile.
        if seed % 12 == 5 {
            self.down_longer = ms(8_000);
            self.faults.backends = true;
            self.faults.crashes = false;
            self.faults.net = self.faults.net.min(5);
            self.faults.forgets = Some(ms(random.u64(300..1_000)));
            self.lane.idle_timeout = ms(60_000);
            self.monitor.ttl_hold = ms(4_000);
            self.reader.in_flight_per_backend = 10;
            self.set_lanes(random.u32(2..=5));
            self.tallies = true;
            self.writing = self.writing.max(ms(40_000));
        }
    }

    /// Counters, in every fifth seed, in a world where only backends and servers die: then the
    /// oracle knows which increments the server must not ask for.
    fn add_counters(&mut self, seed: u64) {
        if seed % 5 != 2 {
            return;
        }
        self.counters = true;
        self.tallies = false;
        self.poison = None;
        self.lane.attempts_max = u32::MAX;
        self.lane.records_per_second_max = 0;
        self.writing = self.writing.max(ms(45_000));
        self.strike_gap = self.strike_gap.max(ms(2_000));
        self.faults = Faults {
            net: 0,
            partial_writes: 0,
            disk: false,
            backends: true,
            hard_ends: false,
            operator: false,
            strays: false,
            forgets: None,
            ..self.faults.clone()
        };
        // What was sent and not answered is asked for when it is read again. An earlier process's
        // lines are in any case.
        if seed % 20 == 12 {
            self.dies_in_drains = Some(Dying::Backend);
            (self.faults.crashes, self.faults.stops) = (false, false);
        }
        // What a process has sent since an outage, the next must not hold for missed in it.
        if seed % 40 == 37 {
            self.dies_in_drains = Some(Dying::Server);
            self.backends = 1;
            self.is_first_ill = false;
            self.writing = ms(90_000);
            self.faults.rot = false;
            (self.faults.crashes, self.faults.stops) = (false, false);
        }
        // What one process knows of an outage is of use to the next only where it saw enough of it.
        if seed % 20 == 7 {
            self.long_outages = true;
            self.backends = 1;
            self.is_first_ill = false;
            self.writing = ms(120_000);
            self.strike_gap = ms(10_000);
            (self.faults.crashes, self.faults.stops) = (false, false);
        }
    }

    /// Histories that another third of the seeds has.
    fn widen_by_moves(&mut self, seed: u64, random: &mut Rng) {
        self.faults.mounts = seed % 12 == 11 && seed % 5 != 2;
        let moves = seed % 3 == 1 && seed % 5 != 2 && random.bool();
        self.faults.moves = moves || self.faults.mounts;
        if self.faults.moves {
            self.tallies = true;
            // What is away cannot be sent again when everything is.
            self.faults.rot = false;
            self.faults.operator = false;
            self.faults.strays = false;
            if random.bool() && !self.faults.mounts {
                // Increments that surely were missed are not asked for: who takes a copy of theirs
                // for a log adds them twice. Logs stay for a while after they are read, so that
                // there is one.
                self.down_longer = ms(6_000);
                self.faults.backends = true;
                self.writing = self.writing.max(ms(40_000));
                let closed_after = ms(random.u64(12_000..20_000));
                self.reader.closed_after = closed_after;
                self.checkpointer.closed_after = closed_after;
            }
        }
    }

    /// Backends that apply late, in every fifth seed, and values that a bad network lets through.
    fn add_lateness(&mut self, seed: u64) {
        if seed % 5 == 3 {
            self.applies_late = LATE_MAX;
            if self.down_longer.is_zero() {
                self.faults.net = self.faults.net.max(20);
            }
        }
        if self.poison.is_some() && self.faults.net > 0 {
            // One in hundreds of pieces never arrives whole (seeds 13746 and 38403).
            self.value_bytes_max = self.value_bytes_max.min(4_000);
        }
    }

    /// Long values, and one backend in trouble that holds on to its own.
    fn set_beside(&mut self, seed: u64, random: &mut Rng) {
        if seed % 24 != 14 || self.counters {
            return;
        }
        let how = [
            Failing::Hangs,
            Failing::Hangs,
            Failing::Answers,
            Failing::Resets,
        ][random.usize(..4)];
        self.beside = Some(how);
        self.backends = random.usize(2..=4);
        self.bounds = ReaderBounds {
            chunk_bytes_min: 512,
            chunk_bytes_max: 1024,
            line_bytes_max: 48 * 1024,
        };
        self.reader.memory_budget_bytes = 8 * self.bounds.chunk_bytes_max * self.backends;
        self.reader.in_flight_per_backend = self.reader.in_flight_per_backend.max(100);
        (self.value_bytes_max, self.values_long) = (30_000, 6);
        (self.write_gap, self.write_lines) = (ms(600), 4);
        self.writing = ms(60_000);
        self.set_lanes(random.u32(2..=5));
        // A real one is as patient.
        self.lane.response_timeout = ms(30_000);
        self.lane.records_per_second_max = 0;
        self.faults = Faults {
            splits: self.faults.splits,
            partial_writes: self.faults.partial_writes,
            short_reads: self.faults.short_reads,
            dirty_flags: self.faults.dirty_flags,
            bad_lines: self.faults.bad_lines,
            // One that only hangs is never flushed, which would end its hold.
            backends: how != Failing::Hangs,
            ..Faults::default()
        };
    }

    pub(crate) fn set_lanes(&mut self, lanes: u32) {
        self.reader.lanes_per_backend = lanes;
        self.monitor.lanes = lanes;
        self.lane.lanes = lanes;
    }
}
