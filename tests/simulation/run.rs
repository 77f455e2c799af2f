//! One run, from its seed to its verdict.

use std::collections::BTreeSet;
use std::time::Duration;

use hustdbsync::internals::fake_hustdb::differences;
use hustdbsync::internals::ledger::checkpoint::Checkpoint;

use crate::plan::Plan;
use crate::world::World;

/// All has to be delivered and deleted so long after all is well.
const DRAIN_MAX: Duration = Duration::from_secs(240);
/// Besides, for each record that always fails: so long it takes to be tried often enough.
const DRAIN_PER_POISON: Duration = Duration::from_secs(150);
/// The same where a backend has one lane only: each failure marks it down, and its pauses grow.
const DRAIN_PER_POISON_ALONE: Duration = Duration::from_secs(700);
/// Then nothing happens for so long, and little is done.
const QUIET: Duration = Duration::from_secs(5);
const QUIET_TURNS_MAX: u64 = 2_000;
/// What soon expires has, so much later.
const LATER_S: u64 = 200;
/// Two expiries may be so far apart: what was on its way for a while lives longer by that.
const EXPIRY_TOLERANCE_S: u64 = 60;

/// Runs a seed; panics where a guarantee does not hold. Gives the trace's hash.
pub(crate) fn run(seed: u64, prints: bool) -> u64 {
    run_as(seed, prints, |_| {})
}

/// The same, with something else than what the seed stands for.
pub(crate) fn run_as(seed: u64, prints: bool, change: fn(&mut Plan)) -> u64 {
    let mut world = World::new(seed, prints, change);
    while !world.healed {
        world.step();
    }
    world.drain_beside_the_ill();
    world.drain(world.drain_max());
    world.answer_all();
    if world.plan.points && world.plan.poison.is_some() {
        world.replay_rejected();
        world.answer_all();
        world.drain(DRAIN_MAX);
    }
    if world.plan.forgets {
        world.forget_all();
        world.drain(DRAIN_MAX);
        world.answer_all();
    }
    world.rest();
    world.check();
    world.trace.hash()
}

impl World {
    /// The others have everything delivered beside a backend that fails all; then it is well.
    fn drain_beside_the_ill(&mut self) {
        if !self.plan.is_first_ill {
            return;
        }
        let end = self.now + DRAIN_MAX;
        let mut steps = 0_u64;
        while !(steps.is_multiple_of(128) && self.are_drained(1)) {
            self.step();
            steps += 1;
            assert!(
                self.now < end,
                "G6: one backend keeps others from theirs: {}",
                self.describe()
            );
        }
        self.backends[0].is_ill = false;
    }

    /// Steps until all is delivered and deleted.
    fn drain(&mut self, longest: Duration) {
        let end = self.now + longest;
        let mut steps = 0_u64;
        loop {
            self.step();
            steps += 1;
            if steps.is_multiple_of(128) && self.is_drained() {
                break;
            }
            assert!(self.now < end, "G1: it never ends: {}", self.describe());
        }
    }

    /// Lets time pass in which there is nothing to do. A crash that was planned at one of the last
    /// deletions may undo it: then that has to happen once more.
    fn rest(&mut self) {
        loop {
            let starts = self.starts;
            self.turns = 0;
            let end = self.now + QUIET;
            while self.now < end {
                self.step();
            }
            if self.starts == starts && self.server.is_some() {
                break;
            }
            self.drain(DRAIN_MAX);
        }
        assert!(
            self.turns < QUIET_TURNS_MAX,
            "G8: {} turns while there is nothing to do",
            self.turns
        );
    }

    fn drain_max(&self) -> Duration {
        let poisons = self.writers.iter().map(|writer| writer.healthy.poisons());
        let each = match self.plan.lane.lanes {
            1 => DRAIN_PER_POISON_ALONE,
            _ => DRAIN_PER_POISON,
        };
        DRAIN_MAX + each * poisons.max().unwrap_or(0)
    }

    /// Whether every log has been delivered and deleted.
    fn is_drained(&self) -> bool {
        self.are_drained(0)
    }

    /// The same of all backends but the first few.
    fn are_drained(&self, but: usize) -> bool {
        self.server.is_some()
            && self.increments_to_log == 0
            && self.away.is_empty()
            && self.copies == 0
            && self.covers == 0
            && self.writers.iter().all(|writer| writer.is_over)
            && self.backends[but..]
                .iter()
                .all(|backend| self.disk.inner.logs_of(&backend.name).is_empty())
            && (but..self.backends.len()).all(|place| !self.is_trying(place))
    }

    /// Whether records are tried on whose lines somebody has taken away.
    fn is_trying(&self, place: usize) -> bool {
        let known = self
            .server
            .as_ref()
            .and_then(|server| server.control.at(place));
        known.is_some_and(|(info, _)| info.counters.has_backlog())
    }

    /// What is left, for a run that does not end.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for (place, backend) in self.backends.iter().enumerate() {
            let logs = self.disk.inner.logs_of(&backend.name);
            let known = self
                .server
                .as_ref()
                .and_then(|server| server.control.at(place));
            let state = known.map(|(info, monitor)| (monitor.state_word(), info.counters.load()));
            text.push_str(&format!(
                "{}: {} logs, {state:?}; ",
                backend.name,
                logs.len()
            ));
        }
        text
    }

    /// What was rejected of a backend, taken away since or not.
    fn all_rejected(&mut self, place: usize) -> Vec<u8> {
        let mut all = self.orders.take_rejected(place).unwrap_or_default();
        let name = &self.backends[place].name;
        let now = self.disk.inner.durable_state(name, "rejected.jsonl");
        let before: BTreeSet<Vec<u8>> = all
            .split_inclusive(is_newline)
            .map(<[u8]>::to_vec)
            .collect();
        for line in now.unwrap_or_default().split_inclusive(is_newline) {
            if !before.contains(line) {
                all.extend_from_slice(line);
            }
        }
        all
    }

    /// Everything is over: what does each backend hold, and what was said of it?
    fn check(&mut self) {
        let later = self.unix() + LATER_S;
        for place in 0..self.backends.len() {
            let rejected = self.all_rejected(place);
            let backend = &mut self.backends[place];
            let whose = &backend.name;
            backend.oracle.check_end(&rejected, self.starts, whose);
            let mut expected = self.writers[place].healthy.store.contents(later);
            let mut found = backend.store.contents(later);
            expected.retain(|item, _| backend.oracle.is_exact(item));
            found.retain(|item, _| backend.oracle.is_exact(item));
            if let Some(text) = differences(&expected, &found, EXPIRY_TOLERANCE_S, 5) {
                panic!("{whose} is not what the healthy master is:\n{text}");
            }
            let mut misordered = backend.store.misordered();
            if let Some(item) = misordered.find(|item| backend.oracle.is_exact(item)) {
                panic!("{whose}: {item:?} is not found by its score");
            }
            drop(misordered);
            let server = self.server.as_ref().expect("it is drained by a server");
            let Some((info, _)) = server.control.at(place) else {
                continue;
            };
            let counts = info.counters.load();
            // What somebody has taken away may be in flight still.
            let is_done = !info.counters.has_backlog() && counts.backlog_bytes() == 0;
            assert!(
                is_done || counts.away_logs > 0,
                "G13: {whose} has nothing left and yet a backlog: {counts:?}"
            );
            backend
                .oracle
                .check_totals(counts.processed, counts.settled, counts.rejected, whose);
            let checkpoint = self.disk.inner.durable_state(whose, "checkpoint");
            let checkpoint = checkpoint
                .as_deref()
                .map(Checkpoint::decode)
                .unwrap_or_else(|| Ok(Checkpoint::default()))
                .unwrap_or_else(|why| panic!("{whose}: the last checkpoint: {why}"));
            let totals = checkpoint.totals;
            assert_eq!(
                (totals.processed, totals.settled, totals.rejected),
                (counts.processed, counts.settled, counts.rejected),
                "{whose}: what is durable in the end"
            );
            // What somebody else may have taken, or a crash hidden from us that we did, is kept for
            // a while.
            let may_be_away = self.starts > 1 || self.logs_were_moved;
            let files = &checkpoint.resume.files;
            assert!(
                files.iter().all(|file| may_be_away && file.away_unix > 0),
                "G10: {whose}: the state of deleted logs goes too: {files:?}"
            );
        }
    }
}

fn is_newline(byte: &u8) -> bool {
    *byte == b'\n'
}
