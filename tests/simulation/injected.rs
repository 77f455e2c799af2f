//! What goes wrong, and that it goes well again.

use std::io::ErrorKind;
use std::time::Duration;

use hustdbsync::internals::replay::disk::Area;
use hustdbsync::internals::replay::testdisk::{Crash, Op};

use crate::backend::{Life, Mood};
use crate::plan::{Dying, Faults};
use crate::server::READER;
use crate::world::{Event, World};

/// Something that is to be over at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blow {
    /// To a backend, unless something else has happened to it since.
    Backend {
        place: usize,
        change: u64,
    },
    Disk,
}

/// Who dies in the midst of what a backend missed does so in one of the first sends with those
/// increments.
const ADDS_BEFORE_DEATH_MAX: u32 = 4;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl World {
    /// One blow of those that the plan has, and when the next one comes.
    pub(crate) fn strike(&mut self) {
        if self.healed {
            return;
        }
        if self.now > self.plan.writing + ms(4_000) {
            return self.heal();
        }
        let next = self.plan.strike_gap;
        self.soon(next, Event::Strike);
        let faults = self.plan.faults.clone();
        match self.random.u32(..12) {
            10 if faults.crashes => self.strike_server(),
            11 if faults.stops => self.stop(),
            0..=4 if faults.backends => self.strike_backend(),
            5..=6 if faults.disk => self.strike_disk(),
            7..=8 if faults.crashes => self.strike_server(),
            9 if faults.stops => self.stop(),
            _ => {}
        }
    }

    fn strike_backend(&mut self) {
        let place = match self.plan.beside {
            Some(_) => 0,
            None => self.random.usize(..self.backends.len()),
        };
        let (lasts, life, mood) = match self.random.u32(..10) {
            0..=3 => {
                let shortest = ms(300) + self.plan.down_longer;
                (shortest + self.up_to(ms(5_000)), Life::Down, Mood::Well)
            }
            // As long as it takes to be seen, and to start a machine.
            4 => (ms(8_000) + self.up_to(ms(4_000)), Life::Gone, Mood::Well),
            _ => {
                let moods = [
                    Mood::Status(500),
                    Mood::Status(403),
                    Mood::Garbage,
                    Mood::Stranger,
                    Mood::Mute,
                    Mood::Frozen,
                    Mood::Refuses,
                ];
                let mood = moods[self.random.usize(..moods.len())];
                (
                    ms(100) + self.up_to(ms(4_000)),
                    self.backends[place].life,
                    mood,
                )
            }
        };
        if self.backends[place].is_up() {
            self.fail_backend(place, life, mood, lasts);
        }
    }

    /// The backend has taken some of what it missed, and somebody is dead before that is known.
    pub(crate) fn die_in_drain(&mut self, place: usize) {
        match self.plan.dies_in_drains {
            Some(Dying::Backend) => {
                let lasts = ms(300) + self.up_to(ms(3_000));
                self.fail_backend(place, Life::Down, Mood::Well, lasts);
            }
            Some(Dying::Server) => self.die(),
            None => {}
        }
    }

    /// One of the backend's logs was deleted.
    pub(crate) fn die_at_deletion(&mut self, place: usize) {
        let dies = self.plan.dies_at_deletions && self.backends[place].is_up();
        if !dies || self.random.bool() {
            return;
        }
        let lasts = ms(300) + self.up_to(ms(1_000));
        self.fail_backend(place, Life::Down, Mood::Well, lasts);
        let late = self.now + self.up_to(ms(400));
        self.hold_up(READER, late);
    }

    /// A backend fails so, for so long at least.
    fn fail_backend(&mut self, place: usize, life: Life, mood: Mood, mut lasts: Duration) {
        if self.plan.counters {
            let Some(longer) = self.draw_outage(place, life, mood) else {
                return;
            };
            lasts += longer;
        }
        if self.random.u32(..4) == 0 {
            lasts *= 2;
        }
        let shares = self.random.bool();
        if matches!(life, Life::Up { .. }) {
            self.thaw(place);
        }
        let backend = &mut self.backends[place];
        (backend.life, backend.mood, backend.probe_shares_mood) = (life, mood, shares);
        backend.changes += 1;
        let change = backend.changes;
        self.note(format_args!("{place}: {life:?}, {mood:?} for {lasts:?}"));
        match life {
            Life::Up { .. } => {}
            Life::Down => self.cut_off(place, false),
            Life::Gone => self.cut_off(place, true),
        }
        let blow = Blow::Backend { place, change };
        self.at(self.now + lasts, Event::Mend { blow });
    }

    fn strike_disk(&mut self) {
        const OPS: [Op; 16] = [
            Op::Look(Area::State),
            Op::Open(Area::State),
            Op::Read(Area::State),
            Op::Write(Area::State),
            Op::Append(Area::State),
            Op::Truncate(Area::State),
            Op::Sync(Area::State),
            Op::Rename(Area::State),
            Op::Remove(Area::State),
            Op::SyncFolder(Area::State),
            Op::Look(Area::Logs),
            Op::Open(Area::Logs),
            Op::Read(Area::Logs),
            Op::Lease,
            Op::Remove(Area::Logs),
            Op::SyncFolder(Area::Logs),
        ];
        let op = OPS[self.random.usize(..OPS.len())];
        let kind = match op {
            Op::Write(Area::State) | Op::Append(Area::State) => ErrorKind::StorageFull,
            _ => ErrorKind::Other,
        };
        let spared = self.random.u32(..3);
        let times = match self.random.u32(..3) {
            0 => u32::MAX,
            _ => self.random.u32(1..4),
        };
        self.note(format_args!(
            "the disk: {op:?} fails {times} times after {spared}"
        ));
        self.disk.inner.fail(op, kind, spared, times);
        self.disk_fails = true;
        if [Op::Open(Area::State), Op::Read(Area::State)].contains(&op) {
            // A checkpoint that cannot be read time and again is held for lost.
            for backend in &mut self.backends {
                backend.oracle.rotted = true;
            }
        }
        let lasts = self.up_to(ms(3_000));
        let blow = Blow::Disk;
        self.at(self.now + lasts, Event::Mend { blow });
    }

    /// The process is killed or its machine dies: now, or in the midst of one of its next dealings
    /// with the disk.
    fn strike_server(&mut self) {
        if self.server.is_none() {
            return;
        }
        if self.random.bool() {
            self.die();
        } else {
            let step = self.disk.inner.steps() + self.random.u64(1..30);
            self.disk.inner.die_at(step);
        }
    }

    /// The server is gone, at once.
    pub(crate) fn die(&mut self) {
        let crash = match self.random.u32(..4) {
            0..2 => Crash::LosesNothing,
            2 => Crash::LosesAll,
            _ => Crash::LosesSome(self.random.u64(..)),
        };
        self.note(format_args!("the server dies: {crash:?}"));
        self.disk.inner.mend();
        self.disk.inner.crash(crash);
        for backend in &mut self.backends {
            backend.oracle.handle_death();
        }
        for place in 0..self.backends.len() {
            self.reopen(place);
        }
        if self.plan.faults.rot && self.random.bool() {
            self.rot();
        }
        self.end_life();
    }

    /// A checkpoint is not what it was: a sector is, of what was there before, or of nothing.
    fn rot(&mut self) {
        let place = self.random.usize(..self.backends.len());
        let backend = &mut self.backends[place];
        let bytes = self.disk.inner.durable_state(&backend.name, "checkpoint");
        // One of which nothing is left can rot no more.
        let Some(mut bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        match self.random.u32(..3) {
            0 => bytes.truncate(self.random.usize(..bytes.len())),
            1 => {
                let at = self.random.usize(..bytes.len());
                bytes[at..].fill(0);
            }
            _ => {
                let at = self.random.usize(..bytes.len());
                bytes[at] ^= 1 << self.random.u32(..8);
            }
        }
        let note = format_args!("{place}: its checkpoint rots");
        self.trace.note(self.now, note);
        backend.oracle.rotted = true;
        self.disk
            .inner
            .put_state(&backend.name, "checkpoint", &bytes);
    }

    fn stop(&mut self) {
        if self.plan.faults.hard_ends {
            // Nothing can be rejected for a while, so that there is something to be at the end.
            let op = [Op::Append(Area::State), Op::Sync(Area::State)][self.whims.usize(..2)];
            self.disk
                .inner
                .fail(op, ErrorKind::StorageFull, 0, u32::MAX);
            return self.soon(ms(2_000), Event::Stop { failing: op });
        }
        if self.begin_stop() && self.plan.faults.disk && self.random.bool() {
            // Not even the end can be written, or only just.
            let op = [Op::Append(Area::State), Op::Sync(Area::State)][self.random.usize(..2)];
            let times = [2, u32::MAX][self.random.usize(..2)];
            self.fail_at_end(op, times);
        }
    }

    /// The end of a server that could not set anything aside for a while: it can soon.
    pub(crate) fn stop_hard(&mut self, failing: Op) {
        self.disk.inner.mend();
        if !self.healed && self.begin_stop() {
            let times = self.whims.u32(1..=2);
            self.fail_at_end(failing, times);
        }
    }

    pub(crate) fn begin_stop(&mut self) -> bool {
        let now = self.clock();
        let Some(server) = &mut self.server else {
            return false;
        };
        self.trace.note(self.now, "the server is stopped");
        server.control.core.handle_stop(now);
        self.wake(crate::server::CONTROL);
        true
    }

    fn fail_at_end(&mut self, op: Op, times: u32) {
        self.disk.inner.fail(op, ErrorKind::StorageFull, 0, times);
        let blow = Blow::Disk;
        self.soon(ms(3_000), Event::Mend { blow });
        (self.disk_fails, self.failed_at_end) = (true, true);
    }

    pub(crate) fn mend(&mut self, blow: Blow) {
        match blow {
            Blow::Disk => {
                self.disk.inner.mend();
                self.disk_fails = false;
            }
            Blow::Backend { place, change } => {
                if self.backends[place].changes == change {
                    self.mend_backend(place);
                }
            }
        }
    }

    /// One that was stopped takes what its sockets hold, once it goes on.
    fn thaw(&mut self, place: usize) {
        if self.backends[place].mood == Mood::Frozen {
            self.backends[place].mood = Mood::Well;
            self.take_all_late(place);
        }
    }

    fn mend_backend(&mut self, place: usize) {
        let now = self.now;
        self.note_return(place);
        self.thaw(place);
        let backend = &mut self.backends[place];
        backend.changes += 1;
        backend.mood = Mood::Well;
        if self.plan.dies_in_drains.is_some() {
            backend.dies_after_adds = Some(self.counting.u32(1..=ADDS_BEFORE_DEATH_MAX));
        }
        if !backend.is_up() {
            backend.life = Life::Up { since: now };
            backend.store.drop_l2_cache();
        }
        self.note(format_args!("{place}: well again"));
    }

    /// All is well from now on.
    pub(crate) fn heal(&mut self) {
        self.note("all is well");
        self.healed = true;
        self.disk.inner.mend();
        self.backends[0].failing_long = None;
        for place in 0..self.backends.len() {
            // A machine takes its time.
            if self.backends[place].life != Life::Gone {
                self.mend_backend(place);
            }
            self.take_all_late(place);
        }
        let before = &self.plan.faults;
        self.logs_were_moved = before.operator || before.moves;
        self.plan.faults = Faults {
            dirty_flags: self.plan.faults.dirty_flags,
            splits: self.plan.faults.splits,
            ..Faults::default()
        };
        if self.server.is_none() {
            self.at(self.now, Event::Start);
        }
    }
}
