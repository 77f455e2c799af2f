//! The control thread without its reactor: the engine's monitors, post and end, in the order in
//! which the real one calls them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hustdbsync::binlog::request::Template;
use hustdbsync::clock::Now;
use hustdbsync::limits::{BACKLOG_LOOK_MS, OUTBOX_RETRY};
use hustdbsync::replay::ending::{Over, Phase};
use hustdbsync::replay::lane::LaneSettings;
use hustdbsync::replay::mailbox::Mailbox;
use hustdbsync::replay::messages::{BackendId, BackendInfo, ControlMessage};
use hustdbsync::replay::monitor::{Monitor, MonitorSettings, Order};
use hustdbsync::replay::outbox::Outbox;
use hustdbsync::replay::reachability::Reachability;
use hustdbsync::replay::reachability::gate::Gate;

use crate::plan::Plan;

pub(crate) const CREDENTIALS: &str = "dTpw";

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Good,
    Bad(&'static str),
    /// Connections are refused.
    Closed,
    /// No answer in time.
    Silent,
    Refused,
    Lost,
}

/// What control asks of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Look a backend's name up.
    Resolve(BackendId),
    /// Probe it; the number names the probe.
    Probe(BackendId, bool, u64),
}

pub(crate) struct Known {
    pub(crate) info: BackendInfo,
    /// The place of its model.
    pub(crate) place: usize,
    pub(crate) monitor: Monitor,
    lane: Arc<LaneSettings>,
    address: Option<SocketAddr>,
    gate: Gate,
    answers_seen: u64,
    /// The probe that is out.
    probe: Option<u64>,
    /// When the last one went, and the answers then.
    probe_begun: (Duration, u64),
    /// Troubles and probes in this virtual second.
    second: u64,
    troubles: u32,
    probes: u32,
}

pub(crate) struct Control {
    pub(crate) mailbox: Arc<Mailbox<ControlMessage>>,
    outbox: Outbox,
    pub(crate) known: Vec<Known>,
    pub(crate) errands: Vec<Errand>,
    phase: Phase,
    drain_timeout: Duration,
    drain_until: Option<Duration>,
    checkpointer_done: bool,
    settings: MonitorSettings,
    ambiguity_window: Duration,
    lane: LaneSettings,
    random: fastrand::Rng,
    probes: u64,
}

/// Where a simulated backend is: its place is its port.
pub(crate) fn address(place: usize) -> SocketAddr {
    let port = u16::try_from(place).expect("there are few");
    SocketAddr::from((Ipv4Addr::LOCALHOST, 10_000 + port))
}

/// Backends have their place in their names, and every other one an address.
pub(crate) fn name(place: usize) -> String {
    if place.is_multiple_of(2) {
        format!("10.0.0.{}:8085", place + 1)
    } else {
        format!("db{}.example:8085", place + 1)
    }
}

fn place(name: &str) -> usize {
    (0..64)
        .find(|at| self::name(*at) == name)
        .expect("only these are found")
}

impl Control {
    pub(crate) fn new(
        mailbox: Arc<Mailbox<ControlMessage>>,
        outbox: Outbox,
        plan: &Plan,
        seed: u64,
    ) -> Self {
        Self {
            mailbox,
            outbox,
            known: Vec::new(),
            errands: Vec::new(),
            phase: Phase::default(),
            drain_timeout: plan.drain_timeout,
            drain_until: None,
            checkpointer_done: false,
            settings: plan.monitor.clone(),
            ambiguity_window: plan.ambiguity_window,
            lane: plan.lane.clone(),
            random: fastrand::Rng::with_seed(seed),
            probes: 0,
        }
    }

    /// The place of a backend's model.
    pub(crate) fn place_of(&self, backend: BackendId) -> usize {
        self.known[backend.index()].place
    }

    /// By the place of its model.
    pub(crate) fn known_at(&self, at: usize) -> Option<&Known> {
        self.known.iter().find(|known| known.place == at)
    }

    /// A probe has come to its end. One that was forgotten since says nothing.
    pub(crate) fn handle_probe(
        &mut self,
        backend: BackendId,
        probe: u64,
        result: &ProbeResult,
        now: Now,
    ) {
        let known = &mut self.known[backend.index()];
        if known.probe == Some(probe) {
            known.probe = None;
            known.handle_result(result, now);
        }
    }

    /// The connection of a probe was closed under us.
    pub(crate) fn handle_lost(&mut self, backend: BackendId, now: Now) {
        let known = &mut self.known[backend.index()];
        known.probe = None;
        known.handle_result(&ProbeResult::Lost, now);
    }

    pub(crate) fn begin_stop(&mut self, now: Now) {
        if self.phase.is_running() {
            self.drain_until = Some(self.phase.begin(self.drain_timeout, now));
            for known in &mut self.known {
                known.monitor.handle_stop(now);
                known.gate.handle_stop();
            }
        }
    }

    pub(crate) fn turn(&mut self, now: Now) -> Option<Over> {
        while let Some(message) = self.mailbox.receive() {
            self.handle_message(message, now);
        }
        for at in 0..self.known.len() {
            let known = &mut self.known[at];
            known.monitor.handle_backlog(known.has_backlog(), now);
            while let Some(order) = self.known[at].monitor.poll_order(now) {
                self.follow(at, order, now);
            }
            self.pass_gate(at, now);
        }
        let are_flushed = self.known.iter().all(|known| known.monitor.is_flushed());
        let over = self
            .phase
            .advance(are_flushed, self.checkpointer_done, &mut self.outbox, now);
        self.outbox.deliver();
        over
    }

    /// When the next turn is due if no waker rings.
    pub(crate) fn deadline(&self, now: Now) -> Duration {
        let monitors = self
            .known
            .iter()
            .filter_map(|known| known.monitor.deadline());
        let waits = self
            .known
            .iter()
            .any(|known| !known.monitor.is_up() && !known.has_backlog());
        let others = [
            self.phase.deadline(),
            (!self.outbox.is_empty()).then(|| now.after(OUTBOX_RETRY)),
            waits.then(|| now.after(Duration::from_millis(BACKLOG_LOOK_MS))),
        ];
        monitors
            .chain(others.into_iter().flatten())
            .min()
            .unwrap_or(Duration::MAX)
    }

    fn handle_message(&mut self, message: ControlMessage, now: Now) {
        match message {
            ControlMessage::BackendFound(folder) => self.handle_found(&folder, now),
            ControlMessage::FolderUnrecognized { .. }
            | ControlMessage::SecondNames(_)
            | ControlMessage::StoreFault { .. }
            | ControlMessage::LogFault { .. }
            | ControlMessage::SyncPointTaken { .. }
            | ControlMessage::SyncPointMoved { .. }
            | ControlMessage::Requeued { .. } => {}
            ControlMessage::Trouble {
                backend,
                lane,
                epoch,
                trouble,
                record,
            } => {
                let known = &mut self.known[backend.index()];
                known.count(now);
                known.troubles += 1;
                // G8: a lane waits at least half of the first delay, whatever it is that fails.
                assert!(
                    known.troubles <= 41 * self.settings.lanes + 10,
                    "G8: {} failures in a second: {trouble}",
                    known.troubles
                );
                let answers = known.info.counters.answers.load();
                let others_answered = record.is_some_and(|record| record.others_answered);
                known
                    .monitor
                    .handle_trouble(lane, epoch, &trouble, others_answered, answers, now);
            }
            ControlMessage::Flushed { backend, epoch } => {
                let known = &mut self.known[backend.index()];
                known.monitor.handle_flushed(epoch, now);
                if known.monitor.is_flushed() {
                    known.gate.handle_flushed(now);
                }
            }
            ControlMessage::OutagesRead { backend, kept } => {
                let kept = kept.as_ref().map(Option::as_deref).map_err(|&()| ());
                self.known[backend.index()].gate.handle_read(kept, now);
            }
            ControlMessage::OutagesForgotten { backend } => {
                self.known[backend.index()].gate.handle_forgotten();
            }
            ControlMessage::Resolved { backend, address } => {
                let known = &mut self.known[backend.index()];
                let found = address.map(|address| known.address = Some(address));
                known.monitor.handle_resolved(found, now);
            }
            // Nobody is forgotten here.
            ControlMessage::FolderGone(_)
            | ControlMessage::StateLeft { .. }
            | ControlMessage::Forgotten { .. }
            | ControlMessage::ForgottenBefore(_) => {}
            ControlMessage::CheckpointerDone => self.checkpointer_done = true,
        }
    }

    fn handle_found(&mut self, folder: &str, now: Now) {
        let is_known = self.known.iter().any(|known| &*known.info.name == folder);
        if is_known || !self.phase.is_running() {
            return;
        }
        let at = place(folder);
        let named = !at.is_multiple_of(2);
        let info = BackendInfo {
            id: BackendId::from_index(self.known.len()),
            name: folder.into(),
            counters: Arc::default(),
            dirty_flags: Arc::default(),
        };
        self.outbox.introduce(&info);
        let seed = self.random.u64(..);
        self.known.push(Known {
            monitor: Monitor::new(self.settings.clone(), named, seed, now),
            lane: Arc::new(LaneSettings {
                template: Template::new(folder, Some(CREDENTIALS)),
                ..self.lane.clone()
            }),
            info,
            place: at,
            address: (!named).then(|| address(at)),
            gate: Gate::new(Reachability::new(self.ambiguity_window, now)),
            answers_seen: 0,
            probe: None,
            probe_begun: (Duration::ZERO, 0),
            second: 0,
            troubles: 0,
            probes: 0,
        });
    }

    fn follow(&mut self, at: usize, order: Order, now: Now) {
        let known = &mut self.known[at];
        let backend = known.info.id;
        match order {
            Order::Resolve => self.errands.push(Errand::Resolve(backend)),
            Order::Probe { authenticated } => {
                self.probes += 1;
                known.probe = Some(self.probes);
                known.probe_begun = (now.monotonic, known.info.counters.answers.load());
                known.count(now);
                known.probes += 1;
                assert!(known.probes <= 45, "G8: probes without a pause");
                let errand = Errand::Probe(backend, authenticated, self.probes);
                self.errands.push(errand);
            }
            Order::Flush { epoch } => {
                known.gate.handle_flush();
                self.outbox.flush(backend, epoch, self.drain_until);
            }
            Order::Open { epoch } => known.gate.handle_open(epoch),
            Order::Ttl { ready } => {
                if known.gate.handle_ttl(ready) {
                    self.outbox.ttl(backend, ready);
                }
            }
        }
    }

    fn pass_gate(&mut self, at: usize, now: Now) {
        let known = &mut self.known[at];
        let answers = known.info.counters.answers.load();
        if std::mem::replace(&mut known.answers_seen, answers) != answers {
            known.gate.history.handle_answered(now);
        }
        self.outbox.keep_outages(known.info.id, &mut known.gate);
        if let Some(opened) = known.gate.poll_opened() {
            let address = known.address.expect("one that is up has an address");
            self.outbox.open(&known.info, opened, address, &known.lane);
        }
    }
}

impl Known {
    fn has_backlog(&self) -> bool {
        let counters = &self.info.counters;
        counters.unread_bytes.load() > 0 || counters.in_flight_records.load() > 0
    }

    fn count(&mut self, now: Now) {
        let second = now.monotonic.as_secs();
        if second != self.second {
            (self.second, self.troubles, self.probes) = (second, 0, 0);
        }
    }

    fn handle_result(&mut self, result: &ProbeResult, now: Now) {
        let answers = self.info.counters.answers.load();
        let (begun, answers_then) = self.probe_begun;
        let history = &mut self.gate.history;
        match result {
            ProbeResult::Closed => history.handle_refused(now),
            ProbeResult::Silent if answers == answers_then => history.handle_silent(begun, now),
            ProbeResult::Lost => {}
            _ => history.handle_answered(now),
        }
        match result {
            ProbeResult::Good => self.monitor.handle_probe_good(true, answers, now),
            ProbeResult::Bad(why) => {
                self.monitor
                    .handle_probe_bad((*why).to_owned(), answers, now);
            }
            ProbeResult::Closed => {
                self.monitor
                    .handle_probe_bad("refused".to_owned(), answers, now);
            }
            ProbeResult::Silent => {
                self.monitor
                    .handle_probe_bad("late".to_owned(), answers, now);
            }
            ProbeResult::Refused => self.monitor.handle_probe_refused(now),
            ProbeResult::Lost => self.monitor.handle_probe_lost(answers, now),
        }
    }
}
