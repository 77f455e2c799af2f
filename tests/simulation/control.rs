//! The driver of the controller: what `engine/control` does, with probes, look-ups and clients as
//! events of the world.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hustdbsync::internals::binlog::request::Template;
use hustdbsync::internals::clock::Now;
use hustdbsync::internals::http::answer::ClientId;
use hustdbsync::internals::reconcile::settings::ReconcileSettings;
use hustdbsync::internals::replay::controller::action::{ProbeResult, Reply};
use hustdbsync::internals::replay::controller::{
    Action, Controller, ControllerRules, ControllerSettings,
};
use hustdbsync::internals::replay::ending::Over;
use hustdbsync::internals::replay::lane::LaneSettings;
use hustdbsync::internals::replay::links::Links;
use hustdbsync::internals::replay::messages::{BackendId, BackendInfo};
use hustdbsync::internals::replay::monitor::Monitor;

use crate::plan::Plan;

pub(crate) const CREDENTIALS: &str = "dTpw";

/// What the world is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// Look a backend's name up.
    Resolve(BackendId),
    /// Probe it; the number names the probe.
    Probe(BackendId, bool, u64),
    /// A client has its answer.
    Reply(ClientId, Reply),
    /// Nobody has anything of the backend of this place any more.
    Forgotten(usize),
}

/// What a backend has had in this virtual second (G8).
#[derive(Debug, Default)]
struct Second {
    second: u64,
    /// Failures by its beginning.
    failures: u64,
    probes: u32,
}

pub(crate) struct Control {
    pub(crate) core: Controller,
    pub(crate) errands: Vec<Errand>,
    /// The probes that are out.
    probes: BTreeMap<BackendId, u64>,
    /// Probes so far.
    probed: u64,
    seconds: BTreeMap<BackendId, Second>,
    /// Of those that are not forgotten.
    places: BTreeMap<BackendId, usize>,
    lanes: u64,
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

pub(crate) fn place_of_name(name: &str) -> Option<usize> {
    let host = name.strip_suffix(":8085")?;
    let by_address = host.strip_prefix("10.0.0.");
    let by_name = || host.strip_prefix("db")?.strip_suffix(".example");
    let number: usize = by_address.or_else(by_name)?.parse().ok()?;
    let place = number.checked_sub(1)?;
    (self::name(place) == name).then_some(place)
}

fn rules() -> ControllerRules {
    ControllerRules {
        is_backend: |folder| place_of_name(folder).is_some(),
        address: |folder| {
            let place = place_of_name(folder).ok_or("it is no backend's")?;
            Ok(place.is_multiple_of(2).then(|| address(place)))
        },
    }
}

/// What the controller and the others go by.
pub(crate) fn settings(plan: &Plan) -> ControllerSettings {
    ControllerSettings {
        reconcile: ReconcileSettings::OFF,
        checkpointer: plan.checkpointer.clone(),
        reader: plan.reader.clone(),
        monitor: plan.monitor.clone(),
        ambiguity_window: plan.ambiguity_window,
        credentials: CREDENTIALS.into(),
        drain_timeout: plan.drain_timeout,
        lane: LaneSettings {
            template: Template::new("", None),
            ..plan.lane.clone()
        },
    }
}

impl Control {
    pub(crate) fn new(links: &Links, plan: &Plan, seed: u64, now: Now) -> Self {
        Self {
            core: Controller::new(links, rules(), settings(plan), seed, now),
            errands: Vec::new(),
            probes: BTreeMap::new(),
            probed: 0,
            seconds: BTreeMap::new(),
            places: BTreeMap::new(),
            lanes: u64::from(plan.monitor.lanes),
        }
    }

    /// The place of a backend's model; none: it is forgotten.
    pub(crate) fn place_of(&self, backend: BackendId) -> Option<usize> {
        self.places.get(&backend).copied()
    }

    /// By the place of its model.
    pub(crate) fn at(&self, place: usize) -> Option<(&BackendInfo, &Monitor)> {
        let mut all = self.core.backends();
        let name = name(place);
        all.find(|(info, _)| *info.name == *name)
    }

    /// All of them, each with the place of its model.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, &BackendInfo, &Monitor)> {
        let all = self.core.backends();
        all.map(|(info, monitor)| {
            let place = self.places[&info.id];
            (place, info, monitor)
        })
    }

    /// A probe has come to its end. One that was given up since says nothing.
    pub(crate) fn handle_probe(
        &mut self,
        backend: BackendId,
        probe: u64,
        result: ProbeResult,
        now: Now,
    ) {
        if self.probes.get(&backend) == Some(&probe) {
            self.probes.remove(&backend);
            self.core.handle_probe(backend, result, now);
        }
    }

    /// The connection of a probe was closed under us.
    pub(crate) fn handle_lost(&mut self, backend: BackendId, now: Now) {
        self.probes.remove(&backend);
        self.core.handle_probe(backend, ProbeResult::Lost, now);
    }

    pub(crate) fn turn(&mut self, now: Now) -> Option<Over> {
        self.core.receive_messages(now);
        self.core.turn(now);
        while let Some(action) = self.core.poll_action() {
            self.act(action, now);
        }
        self.count_failures(now);
        self.core.hand_over(now)
    }

    fn act(&mut self, action: Action, now: Now) {
        match action {
            Action::Add { backend, folder } => {
                let place = place_of_name(&folder).expect("only these are found");
                self.places.insert(backend, place);
            }
            Action::BeginShutdown => {}
            Action::Remove(backend) => {
                self.probes.remove(&backend);
                self.seconds.remove(&backend);
                let place = self.places.remove(&backend).expect("it was added");
                self.errands.push(Errand::Forgotten(place));
            }
            Action::Resolve { backend, .. } => self.errands.push(Errand::Resolve(backend)),
            Action::Probe(request) => {
                let backend = request.backend;
                self.probed += 1;
                self.probes.insert(backend, self.probed);
                let second = self.second(backend, now);
                second.probes += 1;
                assert!(second.probes <= 45, "G8: probes without a pause");
                let errand = Errand::Probe(backend, request.authenticated, self.probed);
                self.errands.push(errand);
            }
            Action::CloseProbe(backend) => {
                self.probes.remove(&backend);
            }
            Action::Reply(client, reply) => self.errands.push(Errand::Reply(client, reply)),
            Action::Rotate(_) => unreachable!("nobody asks for that here"),
        }
    }

    /// G8: a lane waits at least half of the first delay, whatever it is that fails.
    fn count_failures(&mut self, now: Now) {
        let all = self.core.backends().map(|(info, _)| info.id);
        let all: Vec<BackendId> = all.collect();
        for backend in all {
            let before = self.second(backend, now).failures;
            let failures = self.failures(backend) - before;
            assert!(
                failures <= 41 * self.lanes + 10,
                "G8: {failures} failures in a second"
            );
        }
    }

    fn second(&mut self, backend: BackendId, now: Now) -> &mut Second {
        let failures = self.failures(backend);
        let second = self.seconds.entry(backend).or_default();
        if second.second != now.monotonic.as_secs() {
            *second = Second {
                second: now.monotonic.as_secs(),
                failures,
                probes: 0,
            };
        }
        second
    }

    /// Of lanes, so far.
    fn failures(&self, backend: BackendId) -> u64 {
        let Some(info) = self.core.info(backend) else {
            return 0;
        };
        let failures = &info.counters.failures;
        [
            &failures.connection,
            &failures.timeout,
            &failures.garbage,
            &failures.answer,
            &failures.refused,
        ]
        .into_iter()
        .map(|counter| counter.load())
        .sum()
    }

    /// When the next turn is due if no waker rings.
    pub(crate) fn deadline(&self, now: Now) -> Duration {
        self.core.deadline(now).unwrap_or(Duration::MAX)
    }
}
