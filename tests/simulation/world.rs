//! Everything there is, on one thread and one clock: the server, the disk, the backends, what is
//! between them, and HA.
//!
//! What happens next is always the earliest event. Who is how late is drawn from the seed, and so
//! is everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use fastrand::Rng;
use hustdbsync::internals::clock::Now;
use hustdbsync::internals::fake_hustdb::store::Store;
use hustdbsync::internals::http::answer::ClientId;
use hustdbsync::internals::ledger::forgotten::{Forgotten, ForgottenTotals};
use hustdbsync::internals::ledger::rejected::STAGED;
use hustdbsync::internals::replay::controller::action::ProbeResult;
use hustdbsync::internals::replay::durable_write::JobId;
use hustdbsync::internals::replay::messages::BackendId;
use hustdbsync::internals::replay::testdisk::{Deletion, Op};
use hustdbsync::internals::status::control_request::SyncPointRequest;
use tracing::subscriber::DefaultGuard;

use crate::backend::Backend;
use crate::bad_lines;
use crate::clock::NamesGoBack;
use crate::commands::Orders;
use crate::control::{self, CREDENTIALS};
use crate::counters::Counters;
use crate::disk::SimDisk;
use crate::injected::Blow;
use crate::log_lines::LogLines;
use crate::losses::Loss;
use crate::mutation::{Mutation, begin_scores};
use crate::net::{Arrival, Connection};
use crate::oracle::Line;
use crate::plan::{BEGIN_UNIX, Plan, Sources};
use crate::server::{CHECKPOINTER, Server, WORKERS};
use crate::trace::Trace;
use crate::writer::Writer;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// What a backend has not read of a connection that has ended is applied.
    Late { connection: u64 },
    /// A thread's turn, if it is still this one.
    Turn { life: u64, thread: usize, turn: u64 },
    /// A connection is asked for.
    Knock { connection: u64 },
    /// Bytes arrive at a backend.
    Up { connection: u64 },
    /// Something arrives at a worker.
    Down { connection: u64, what: Arrival },
    /// A probe arrives at its backend.
    Probe {
        life: u64,
        backend: BackendId,
        authenticated: bool,
        probe: u64,
    },
    /// A probe is given up.
    ProbeLate {
        life: u64,
        backend: BackendId,
        probe: u64,
    },
    /// A probe's connection ends.
    ProbeLost { life: u64, place: usize },
    /// A name is looked up.
    Resolved { life: u64, backend: BackendId },
    /// HA writes.
    Write { place: usize },
    /// HA ends a line that it has begun, or writes one late.
    WriteRest { place: usize },
    /// inotify tells.
    Hint { place: usize, new_file: bool },
    /// An operator lays hands on a log.
    Operate { place: usize },
    /// An operator moves logs.
    Move { place: usize },
    /// A log that was moved away comes back.
    MoveBack {
        place: usize,
        name: String,
        number: u64,
    },
    /// What was mounted over a backend's folder goes; none: over the logs' path.
    Uncover { place: Option<usize> },
    /// A copy of a log comes under this name.
    Restore {
        place: usize,
        to: String,
        number: u64,
        lines: Vec<Line>,
    },
    /// A line comes to a log that should get none any more.
    Stray { place: usize },
    /// A client counts.
    Count { place: usize },
    /// HA logs an increment that it has waited for.
    LogIncrement {
        place: usize,
        mutation: Box<Mutation>,
    },
    /// An operator's next command.
    Command,
    /// An operator has a backend forgotten.
    Forget { life: u64, place: usize, yes: bool },
    /// A client asks whether a sync point is settled.
    AskPoint {
        life: u64,
        client: ClientId,
        request: Box<SyncPointRequest>,
    },
    /// The next step of a checkpoint is taken.
    ChainStep { life: u64, job_id: JobId },
    /// A fault is injected.
    Strike,
    /// The server is stopped after a while in which this failed.
    Stop { failing: Op },
    /// The server is stopped or killed in the midst of an outage, or just behind it.
    EndMidway,
    /// A blow is over.
    Mend { blow: Blow },
    /// The server is started.
    Start,
}

/// See the module.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Rng,
    /// For what only every third seed has.
    pub(crate) whims: Rng,
    /// For what only seeds with counters have.
    pub(crate) counting: Rng,
    /// For an operator's commands.
    pub(crate) commands: Rng,
    /// What was commanded, and who waits for an answer.
    pub(crate) orders: Orders,
    /// For who moves logs.
    pub(crate) moves: Rng,
    /// Logs that are away and will come back: whose, and their names.
    pub(crate) away: Vec<(usize, String)>,
    /// Copies of logs that were taken and have not been put anywhere.
    pub(crate) copies: usize,
    /// Things that are mounted over logs.
    pub(crate) covers: usize,
    /// What was taken away of logs, and has not been logged.
    pub(crate) losses: Vec<Loss>,
    /// Of each backend, whether its logs' names are not in order.
    pub(crate) names_go_back: Vec<NamesGoBack>,
    /// What the server logs.
    pub(crate) log_lines: LogLines,
    _subscriber: DefaultGuard,
    /// For how long the steps of checkpoints take.
    pub(crate) steps: Rng,
    pub(crate) trace: Trace,
    pub(crate) now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    /// Events so far, planned ones too.
    numbered: u64,
    pub(crate) disk: SimDisk,
    pub(crate) backends: Vec<Backend>,
    pub(crate) writers: Vec<Writer>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    /// Places of the backends that a worker has sent to in the turn that it takes.
    pub(crate) sent_to: BTreeSet<usize>,
    pub(crate) server: Option<Box<Server>>,
    /// Raised at each start and end of the server.
    pub(crate) life: u64,
    /// How often the server was or is to be started.
    pub(crate) starts: usize,
    /// The totals of those that are known to be forgotten, at most what is durable of them.
    forgotten: ForgottenTotals,
    /// All is to be well from now on.
    pub(crate) healed: bool,
    /// Somebody had taken logs away, or moved them, by then.
    pub(crate) logs_were_moved: bool,
    /// Calls to the disk fail, or did a moment ago: what is rejected at an end may not be written.
    pub(crate) disk_fails: bool,
    /// It failed while the server ended, whether or not it does still.
    pub(crate) failed_at_end: bool,
    /// Increments that HA has not logged yet.
    pub(crate) increments_to_log: usize,
    /// Turns of all threads since this was last set to 0.
    pub(crate) turns: u64,
}

/// What both masters have of a backend's keys before all that is simulated.
fn first_store(plan: &Plan) -> Store {
    let mut store = Store::new(false);
    bad_lines::prepare(&mut store);
    if plan.first_version > 0 {
        begin_scores(&mut store, plan.first_version);
    }
    if plan.l2_cache {
        store = store.with_l2_cache();
    }
    store
}

impl World {
    pub(crate) fn new(seed: u64, prints: bool, change: fn(&mut Plan)) -> Self {
        let (mut plan, sources) = Plan::of(seed);
        let Sources {
            mut random,
            mut whims,
            moves,
            steps,
        } = sources;
        change(&mut plan);
        let disk = SimDisk::new(random.u64(..), plan.faults.short_reads);
        disk.inner.set_leases(plan.leases);
        disk.inner.set_chains_wait(plan.chain_step.is_some());
        let authorization = format!("Basic {CREDENTIALS}").into_bytes();
        let places = 0..plan.backends;
        let backends = places.clone().map(|place| {
            let store = first_store(&plan);
            let mut backend = Backend::new(control::name(place), store, authorization.clone());
            backend.oracle.counters = Counters::new(plan.first_version);
            backend.failing = plan.poison.map(|poison| poison.how);
            backend.is_ill = plan.is_first_ill && place == 0;
            backend.failing_long = plan.beside.filter(|_| place == 0);
            backend.talk = prints.then(Vec::new);
            backend
        });
        let backends = backends.collect();
        let writers = places
            .clone()
            .map(|_| Writer::new(first_store(&plan), whims.usize(..3)));
        let writers = writers.collect();
        let log_lines = LogLines::default();
        let mut world = Self {
            trace: Trace::new(prints),
            now: Duration::ZERO,
            events: BTreeMap::new(),
            numbered: 0,
            disk,
            backends,
            writers,
            connections: BTreeMap::new(),
            sent_to: BTreeSet::new(),
            server: None,
            life: 0,
            starts: 1,
            forgotten: ForgottenTotals::default(),
            healed: false,
            logs_were_moved: false,
            disk_fails: false,
            failed_at_end: false,
            increments_to_log: 0,
            turns: 0,
            random,
            whims,
            counting: Rng::with_seed(seed ^ 0x1b87_3593),
            commands: Rng::with_seed(seed ^ 0x5bd1_e995),
            orders: Orders::new(plan.backends),
            moves,
            away: Vec::new(),
            copies: 0,
            covers: 0,
            losses: Vec::new(),
            names_go_back: places.map(|_| NamesGoBack::default()).collect(),
            _subscriber: tracing::subscriber::set_default(log_lines.clone()),
            log_lines,
            steps,
            plan,
        };
        if prints {
            println!("{:#?}", world.plan);
        }
        world.plan_first_events();
        world
    }

    /// The server starts, and everyone whom the plan has begins; each goes on by itself.
    fn plan_first_events(&mut self) {
        self.at(Duration::ZERO, Event::Start);
        for place in 0..self.plan.backends {
            let begin = self.up_to(Duration::from_secs(2));
            self.at(begin, Event::Write { place });
            for (takes_part, event) in [
                (self.plan.faults.operator, Event::Operate { place }),
                (self.plan.faults.moves, Event::Move { place }),
                (self.plan.faults.strays, Event::Stray { place }),
                (self.plan.counters, Event::Count { place }),
            ] {
                if takes_part {
                    self.at(begin, event);
                }
            }
        }
        let strike = self.up_to(self.plan.strike_gap);
        self.at(strike, Event::Strike);
        if self.plan.commands {
            self.at(Duration::from_secs(1), Event::Command);
        }
    }

    pub(crate) fn unix(&self) -> u64 {
        BEGIN_UNIX + self.now.as_secs()
    }

    pub(crate) fn clock(&self) -> Now {
        Now::new(self.now, self.unix())
    }

    /// Some time, at most this much.
    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).expect("durations are short");
        Duration::from_micros(self.random.u64(0..=micros))
    }

    /// Whether something comes about that does so in `of_thousand`.
    pub(crate) fn odds(&mut self, of_thousand: u32) -> bool {
        of_thousand > 0 && self.random.u32(..1000) < of_thousand
    }

    /// Notes what happens now.
    pub(crate) fn note(&mut self, what: impl Display) {
        self.trace.note(self.now, what);
    }

    /// Plans an event.
    pub(crate) fn at(&mut self, at: Duration, event: Event) {
        self.numbered += 1;
        self.events.insert((at.max(self.now), self.numbered), event);
    }

    /// Plans an event for soon.
    pub(crate) fn soon(&mut self, longest: Duration, event: Event) {
        let delay = self.up_to(longest);
        self.at(self.now + delay, event);
    }

    /// Takes out what is to happen and is such.
    pub(crate) fn take_events(&mut self, is_it: impl Fn(Duration, &Event) -> bool) -> Vec<Event> {
        let all = std::mem::take(&mut self.events).into_iter();
        let (taken, left): (Vec<_>, Vec<_>) = all.partition(|((at, _), event)| is_it(*at, event));
        self.events = left.into_iter().collect();
        taken.into_iter().map(|(_, event)| event).collect()
    }

    /// Lets the next thing happen.
    pub(crate) fn step(&mut self) {
        let ((at, number), event) = self.events.pop_first().expect("HA and the server go on");
        self.now = at;
        let nanos = BEGIN_UNIX * 1_000_000_000 + u64::try_from(at.as_nanos()).unwrap_or(0);
        self.disk.inner.set_nanos(nanos);
        self.trace.count(at, number);
        self.handle(event);
        for deletion in self.disk.inner.take_deletions() {
            let Deletion { backend, name, .. } = &deletion;
            self.note(format_args!("{backend}: {name} is deleted"));
            let place = self
                .backends
                .iter()
                .position(|model| model.name == *backend);
            let place = place.expect("only its logs are deleted");
            if *name == STAGED {
                self.backends[place]
                    .oracle
                    .handle_staged_deletion(&deletion);
                continue;
            }
            self.backends[place].oracle.handle_deletion(&deletion);
            let log = (backend.clone(), name.clone());
            self.disk.deleted.insert(log, self.now);
            self.write_behind(place, &deletion);
            self.die_at_deletion(place);
        }
        for job_id in self.disk.inner.take_begun() {
            self.plan_step(job_id);
        }
        self.watch_losses();
        self.watch_names();
        if self.disk.inner.is_dead() {
            self.die();
        }
        self.wake_rung();
    }

    fn handle(&mut self, event: Event) {
        match event {
            // Of a life that is over.
            Event::Turn { life, .. }
            | Event::Probe { life, .. }
            | Event::ProbeLate { life, .. }
            | Event::ProbeLost { life, .. }
            | Event::Resolved { life, .. }
            | Event::Forget { life, .. }
            | Event::AskPoint { life, .. }
            | Event::ChainStep { life, .. }
                if life != self.life => {}
            Event::Turn { thread, turn, .. } => self.take_turn(thread, turn),
            Event::Knock { connection } => self.handle_knock(connection),
            Event::Up { connection } => self.handle_up(connection),
            Event::Down { connection, what } => self.handle_down(connection, what),
            Event::Late { connection } => self.handle_late(connection),
            Event::Probe {
                backend,
                authenticated,
                probe,
                ..
            } => self.handle_probe(backend, authenticated, probe),
            Event::ProbeLate { backend, probe, .. } => {
                self.answer_probe(backend, probe, ProbeResult::Silent("late".to_owned()));
            }
            Event::ProbeLost { place, .. } => self.lose_probe(place),
            Event::Resolved { backend, .. } => self.handle_resolved(backend),
            Event::Write { place } => self.write(place),
            Event::WriteRest { place } => self.write_rest(place),
            Event::Hint { place, new_file } => self.hint(place, new_file),
            Event::Operate { place } => self.operate(place),
            Event::Move { place } => self.move_logs(place),
            Event::MoveBack {
                place,
                name,
                number,
            } => self.move_back(place, &name, number),
            Event::Uncover { place } => self.uncover(place),
            Event::Restore {
                place,
                to,
                number,
                lines,
            } => self.restore(place, &to, number, lines),
            Event::Stray { place } => self.stray(place),
            Event::Count { place } => self.count(place),
            Event::LogIncrement { place, mutation } => {
                self.increments_to_log -= 1;
                self.write_increment(place, &mutation);
            }
            Event::Command => self.command(),
            Event::Forget { place, yes, .. } => self.forget_backend(place, yes),
            Event::AskPoint {
                client, request, ..
            } => self.ask_point(client, *request),
            Event::ChainStep { job_id, .. } => self.step_chain(job_id),
            Event::Strike => self.strike(),
            Event::Stop { failing } => self.stop_hard(failing),
            Event::EndMidway => self.end_midway(),
            Event::Mend { blow } => self.mend(blow),
            Event::Start => self.start(),
        }
    }

    /// Plans the next step of a checkpoint.
    fn plan_step(&mut self, job_id: JobId) {
        let longest = self.plan.chain_step.unwrap_or_default();
        let micros = u64::try_from(longest.as_micros()).expect("steps are short");
        let delay = Duration::from_micros(self.steps.u64(0..=micros));
        let life = self.life;
        self.at(self.now + delay, Event::ChainStep { life, job_id });
    }

    fn step_chain(&mut self, job_id: JobId) {
        if self.disk.inner.step_chain(job_id) {
            self.wake(CHECKPOINTER);
        } else {
            self.plan_step(job_id);
        }
    }

    fn start(&mut self) {
        if self.server.is_some() {
            return;
        }
        self.life += 1;
        let life = self.life;
        self.note(format_args!("life {life} begins"));
        self.note_server_start();
        for backend in &mut self.backends {
            if backend.oracle.rotted {
                let logs = self.disk.inner.logs_of(&backend.name);
                backend.oracle.handle_checkpoint_lost(&logs);
            }
        }
        let seed = self.random.u64(..);
        let server = Server::start(&self.plan, &self.disk, seed, self.clock());
        self.server = Some(Box::new(server));
        for thread in 0..WORKERS + self.plan.workers {
            self.plan_turn(thread, self.now);
        }
    }

    /// The server has forgotten a backend, and counts anew.
    pub(crate) fn handle_forgotten(&mut self, place: usize) {
        let oracle = &mut self.backends[place].oracle;
        let counted = self.forgotten.with(oracle.durable_totals());
        oracle.handle_forgotten();
        let kept = self.kept_of_forgotten();
        self.forgotten = if self.server.is_some() && kept.removing.is_empty() {
            kept.totals
        } else {
            counted
        };
    }

    /// The durable totals of those that were forgotten.
    fn kept_of_forgotten(&self) -> Forgotten {
        let kept = self.disk.inner.durable_state(".forgotten", "totals");
        kept.and_then(|bytes| Forgotten::decode(&bytes))
            .unwrap_or_default()
    }

    /// Whether what a backend has durably come to is in the durable totals of those that were
    /// forgotten: the process may die before it says that it has forgotten one.
    fn is_counted_as_forgotten(&self, place: usize) -> bool {
        let durable = self.backends[place].oracle.durable_totals();
        let (kept, expected) = (
            self.kept_of_forgotten().totals,
            self.forgotten.with(durable),
        );
        // Nothing of it may have been durable when the server was last down.
        kept != self.forgotten
            && kept.settled >= expected.settled
            && kept.processed >= expected.processed
    }

    /// The server is gone. Its connections end.
    pub(crate) fn end_life(&mut self) {
        self.server = None;
        self.orders.handle_life_end();
        let failed_at_end = std::mem::take(&mut self.failed_at_end);
        if self.disk_fails || failed_at_end {
            for backend in &mut self.backends {
                backend.oracle.handle_death();
            }
        }
        self.note_server_end();
        // Nobody knows any more what the logs had.
        self.losses.clear();
        self.disk.forget_seen();
        self.forget_names();
        self.life += 1;
        self.disk.inner.drop_chains();
        let open: Vec<u64> = self.connections.keys().copied().collect();
        for connection in open {
            self.close(connection);
        }
        for place in 0..self.backends.len() {
            let name = self.backends[place].name.clone();
            let mut checkpoint = self.disk.inner.durable_state(&name, "checkpoint");
            // The next life removes what is named there before it reads any state.
            if self.kept_of_forgotten().removing.contains(&name) {
                checkpoint = None;
            }
            if checkpoint.is_none() && self.is_counted_as_forgotten(place) {
                self.handle_forgotten(place);
            }
            let oracle = &mut self.backends[place].oracle;
            oracle.handle_durable(checkpoint.as_deref(), &name);
        }
        self.starts += 1;
        let longest = [300, 3_000][self.random.usize(..2)];
        let restart = self.up_to(Duration::from_millis(longest));
        self.at(self.now + restart, Event::Start);
    }
}
