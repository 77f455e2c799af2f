//! An operator's commands: pauses, rate limits, configurations read again, sync points. What is
//! promised of each is looked at here.
//!
//! A command holds from its answer on, when it has reached all threads: some time later.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hustdbsync::internals::fake_hustdb::Verb;
use hustdbsync::internals::http::answer::{ClientId, Status};
use hustdbsync::internals::ledger::rejected::STAGED;
use hustdbsync::internals::replay::controller::ControllerSettings;
use hustdbsync::internals::replay::controller::action::Reply;
use hustdbsync::internals::status::control_request::{
    BackendRequest, ControlRequest, RejectedReport, RejectedRequest, RejectedVerb, SyncPointRequest,
};
use hustdbsync::internals::status::sync_point::PointReport;

use crate::control::{self, CREDENTIALS};
use crate::oracle::Place;
use crate::world::{Event, World};

/// Between two commands, at most.
const COMMAND_GAP: Duration = Duration::from_secs(3);
/// All threads have heard of a command so long after its answer: some are held up, and a full
/// mailbox makes others wait.
const HEARD_WITHIN: Duration = Duration::from_secs(4);
/// A rate is looked at over so long.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// Records that workers may send in such a time besides: what they have saved up, and begin anew
/// with at each opening.
const SAVED_UP_EACH: u32 = 4;
/// Rates, in records a second.
const RATES: std::ops::RangeInclusive<u32> = 2..=8;
/// A client waits so long for a sync point, at most.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Somebody who was told that a backend cannot be forgotten asks again, so much later.
const FORGET_AGAIN: Duration = Duration::from_millis(300);
/// One whose folder is gone is forgotten, where somebody asks for that.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(60);
/// Once all is over everything before any point is settled, and clients hear that so soon.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Who asks for something.
#[derive(Clone, Debug)]
enum Client {
    Backend {
        place: usize,
        what: BackendRequest,
    },
    /// For a sync point; these lines were written before, of each backend.
    Point {
        covered: Vec<Vec<Place>>,
    },
    /// Whether it is settled.
    Settled {
        covered: Vec<Vec<Place>>,
    },
    /// For lines to be replayed.
    Replay {
        place: usize,
    },
}

/// What holds for a backend.
#[derive(Debug, Default)]
struct InForce {
    /// It is paused since.
    paused_at: Option<Duration>,
    /// Its rate is bounded, since.
    rate: Option<(u32, Duration)>,
    /// When the last mutations were sent, of those that the rate holds for.
    sent: VecDeque<Duration>,
    /// What had been rejected when that was last replayed, or the backend was forgotten.
    rejected: Option<Vec<u8>>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    asked: u64,
    clients: BTreeMap<u64, Client>,
    /// By place.
    in_force: Vec<InForce>,
    /// The password by the configuration that was read last, and when; none: the seed's.
    password: Option<(Arc<str>, Duration)>,
}

impl Orders {
    pub(crate) fn new(backends: usize) -> Self {
        let mut orders = Self::default();
        orders.in_force.resize_with(backends, InForce::default);
        orders
    }

    /// The server is gone, and with it what it was asked for.
    pub(crate) fn handle_life_end(&mut self) {
        let in_force = self.in_force.iter_mut();
        let in_force = in_force.map(|in_force| InForce {
            rejected: in_force.rejected.take(),
            ..InForce::default()
        });
        *self = Self {
            in_force: in_force.collect(),
            asked: self.asked,
            ..Self::default()
        };
    }

    /// What had been rejected of a backend before that was taken away, if it was.
    pub(crate) fn take_rejected(&mut self, place: usize) -> Option<Vec<u8>> {
        self.in_force[place].rejected.take()
    }

    pub(crate) fn is_password_wrong(&self) -> bool {
        let password = self.password.as_ref();
        password.is_some_and(|(password, _)| **password != *CREDENTIALS)
    }
}

/// Whole mutations' targets among what is sent.
fn mutations(bytes: &[u8]) -> usize {
    const BEGIN: &[u8] = b"/hustdb/";
    let begins = bytes.windows(BEGIN.len()).enumerate();
    begins
        .filter(|(_, window)| *window == BEGIN)
        .filter(|(at, _)| {
            let target = &bytes[*at..];
            let end = target.iter().position(|byte| *byte == b'?');
            let verb = end.and_then(|end| Verb::of_path(&target[..end]));
            verb.is_some_and(Verb::is_mutation)
        })
        .count()
}

/// The passwords in what is sent, where they are whole.
fn passwords(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    const BEGIN: &[u8] = b"Authorization: Basic ";
    let begins = bytes.windows(BEGIN.len()).enumerate();
    let begins = begins.filter(|(_, window)| *window == BEGIN);
    begins.filter_map(|(at, _)| {
        let rest = &bytes[at + BEGIN.len()..];
        let end = rest.iter().position(|byte| *byte == b'\r')?;
        Some(&rest[..end])
    })
}

impl World {
    /// An operator's next command. Once all is to be well, everything goes on as the seed's
    /// configuration says.
    pub(crate) fn command(&mut self) {
        let place = self.commands.usize(..self.backends.len());
        if self.healed {
            for place in 0..self.backends.len() {
                self.ask_backend(place, BackendRequest::Resume);
                self.ask_backend(place, BackendRequest::Rate(None));
            }
            self.reload(control::settings(&self.plan));
            if self.plan.points {
                self.take_point();
            }
            return;
        }
        match self.commands.u32(..8) {
            0..=2 => self.pause_or_resume(place),
            3..=4 => {
                let rate = self.commands.u32(RATES);
                let rate = self.commands.bool().then_some(rate);
                self.ask_backend(place, BackendRequest::Rate(rate));
            }
            5 => {
                let settings = self.draw_settings();
                self.reload(settings);
            }
            _ if self.plan.points => self.take_point(),
            _ => self.ask_backend(place, BackendRequest::Probe),
        }
        let gap = u64::try_from(COMMAND_GAP.as_micros()).expect("it is short");
        let next = Duration::from_micros(self.commands.u64(..gap));
        self.at(self.now + next, Event::Command);
    }

    fn pause_or_resume(&mut self, place: usize) {
        let is_paused = self.server.as_ref().is_some_and(|server| {
            let known = server.control.at(place);
            known.is_some_and(|(_, monitor)| monitor.is_paused())
        });
        let what = match is_paused {
            true => BackendRequest::Resume,
            false => BackendRequest::Pause,
        };
        self.ask_backend(place, what);
    }

    fn ask_backend(&mut self, place: usize, what: BackendRequest) {
        // What a command ends does not hold any more once it is on its way.
        let in_force = &mut self.orders.in_force[place];
        match what {
            BackendRequest::Resume => in_force.paused_at = None,
            BackendRequest::Rate(_) => in_force.rate = None,
            _ => {}
        }
        let backend = self.backends[place].name.clone();
        let request = ControlRequest::Backend { backend, what };
        self.ask(Client::Backend { place, what }, request);
    }

    fn take_point(&mut self) {
        let all = self.backends.iter().zip(&self.writers);
        let covered = all.map(|(model, writer)| model.oracle.places(|file| writer.unwritten(file)));
        let covered = covered.collect();
        self.ask(Client::Point { covered }, ControlRequest::TakeSyncPoint);
    }

    /// A client asks the server for something.
    fn ask(&mut self, client: Client, request: ControlRequest) {
        let Some(server) = &mut self.server else {
            return;
        };
        self.orders.asked += 1;
        let serial = self.orders.asked;
        let note = format_args!("client {serial} asks for {request:?}");
        self.trace.note(self.now, note);
        self.orders.clients.insert(serial, client);
        let id = ClientId { slot: 0, serial };
        server.control.core.handle_request(id, request);
        self.wake(crate::server::CONTROL);
    }

    /// A client has its answer.
    pub(crate) fn handle_reply(&mut self, id: ClientId, reply: &Reply) {
        let said = String::from_utf8_lossy(&reply.body);
        let serial = id.serial;
        self.note(format_args!(
            "client {serial} is answered: {}",
            said.trim_end()
        ));
        let client = self.orders.clients.remove(&serial);
        let client = client.expect("nobody is answered twice, nor who has not asked");
        if reply.status != Status::Ok {
            if let Client::Backend {
                place,
                what: BackendRequest::Forget { .. },
            } = client
            {
                // Its folder is not known to be gone yet, or something is left of it.
                let yes = said.contains("--yes");
                let life = self.life;
                let event = Event::Forget { life, place, yes };
                self.at(self.now + FORGET_AGAIN, event);
            }
            return;
        }
        match client {
            Client::Backend { place, what } => {
                let in_force = &mut self.orders.in_force[place];
                match what {
                    BackendRequest::Pause => in_force.paused_at = Some(self.now),
                    BackendRequest::Rate(Some(rate)) => {
                        in_force.rate = Some((rate, self.now));
                        in_force.sent.clear();
                    }
                    _ => {}
                }
            }
            Client::Point { covered } | Client::Settled { covered } => {
                self.handle_point(covered, &reply.body);
            }
            Client::Replay { place } => self.handle_replayed(place, &reply.body),
        }
    }

    /// How far a point is settled. Whoever has asked asks again, as `status --wait` does.
    fn handle_point(&mut self, covered: Vec<Vec<Place>>, body: &[u8]) {
        let report: PointReport = serde_json::from_slice(body).expect("it is a report");
        for (place, covered) in covered.iter().enumerate() {
            let name = &self.backends[place].name;
            let told = report.backends.iter().find(|told| told.name == *name);
            if told.is_some_and(|told| told.settled) {
                let rejected = self.disk.inner.durable_state(name, "rejected.jsonl");
                let rejected = rejected.unwrap_or_default();
                let oracle = &self.backends[place].oracle;
                oracle.check_point(covered, &rejected, name);
            }
        }
        if report.settled {
            return;
        }
        let wait = u64::try_from(WAIT_MAX.as_micros()).expect("it is short");
        let wait = Duration::from_micros(self.commands.u64(1..=wait));
        let request = SyncPointRequest {
            id: report.id,
            wait,
            backend: None,
        };
        self.orders.asked += 1;
        let serial = self.orders.asked;
        self.orders
            .clients
            .insert(serial, Client::Settled { covered });
        let event = Event::AskPoint {
            life: self.life,
            client: ClientId { slot: 0, serial },
            request: Box::new(request),
        };
        self.soon(Duration::from_millis(100), event);
    }

    pub(crate) fn ask_point(&mut self, client: ClientId, request: SyncPointRequest) {
        if let Some(server) = &mut self.server {
            let request = ControlRequest::SyncPoint(request);
            server.control.core.handle_request(client, request);
            self.wake(crate::server::CONTROL);
        }
    }

    /// A configuration is read again.
    fn reload(&mut self, settings: ControllerSettings) {
        let now = self.clock();
        let Some(server) = &mut self.server else {
            return;
        };
        self.orders.password = Some((Arc::clone(&settings.credentials), self.now));
        let wrong = self.orders.is_password_wrong();
        let note = format_args!("the configuration is read again, wrong password: {wrong}");
        self.trace.note(self.now, note);
        server.control.core.handle_settings(settings, now);
        self.wake(crate::server::CONTROL);
    }

    /// What is in force from a reload on, where it is another than what the seed stands for.
    fn draw_settings(&mut self) -> ControllerSettings {
        let mut settings = control::settings(&self.plan);
        let random = &mut self.commands;
        let ms = Duration::from_millis;
        settings.checkpointer.checkpoint_interval = ms([20, 200, 1500][random.usize(..3)]);
        settings.checkpointer.release_interval = ms(random.u64(100..1_500));
        settings.monitor.probe_interval_down = ms(random.u64(100..500));
        settings.lane.burst_bytes = [0, 700, 4096][random.usize(..3)];
        settings.lane.requests_per_connection = [3, 50, 80_000][random.usize(..3)];
        settings.lane.response_timeout = ms(random.u64(600..1_500));
        if random.u32(..3) == 0 {
            settings.credentials = "d3Jvbmc=".into();
        }
        settings
    }

    /// The server has sent these bytes. A paused backend gets nothing; a rate is kept; the password
    /// is the one that was read last.
    pub(crate) fn note_sent(&mut self, connection: u64, bytes: &[u8]) {
        let Some(place) = self.place_of(connection) else {
            return;
        };
        let now = self.now;
        let is_heard = |at: Duration| now > at + HEARD_WITHIN;
        if let Some((password, since)) = &self.orders.password
            && is_heard(*since)
        {
            assert!(
                passwords(bytes).all(|sent| sent == password.as_bytes()),
                "{}: it is sent another password than the one that was read at {since:?}",
                self.backends[place].name
            );
        }
        let in_force = &mut self.orders.in_force[place];
        assert!(
            !in_force.paused_at.is_some_and(is_heard),
            "{}: something is sent to it while an operator has paused it",
            self.backends[place].name
        );
        let Some((rate, since)) = in_force.rate.filter(|(_, since)| is_heard(*since)) else {
            return;
        };
        for _ in 0..mutations(bytes) {
            in_force.sent.push_back(now);
        }
        while let Some(first) = in_force.sent.front()
            && *first + RATE_WINDOW < now
        {
            in_force.sent.pop_front();
        }
        let seconds = u32::try_from(RATE_WINDOW.as_secs()).expect("it is short");
        let workers = u32::try_from(self.plan.workers).expect("there are few");
        let most = rate * seconds + SAVED_UP_EACH * workers + 2;
        assert!(
            in_force.sent.len() <= most as usize,
            "{}: {} mutations within {RATE_WINDOW:?} where {rate} a second are the most, since \
             {since:?}",
            self.backends[place].name,
            in_force.sent.len()
        );
    }

    /// A probe goes out.
    pub(crate) fn note_probe(&mut self, place: usize) {
        let paused_at = self.orders.in_force[place].paused_at;
        assert!(
            paused_at.is_none_or(|at| self.now <= at + HEARD_WITHIN),
            "{}: it is probed while an operator has paused it",
            self.backends[place].name
        );
    }

    /// All folders are gone, and an operator has their backends forgotten. Then they are back, and
    /// HA writes to them.
    pub(crate) fn forget_all(&mut self) {
        self.covers += 1;
        self.disk.inner.set_covered(None, true);
        for place in 0..self.backends.len() {
            self.keep_rejected(place);
            self.forget_backend(place, false);
        }
        let end = self.now + FORGOTTEN_WITHIN;
        let are_known = |world: &Self| {
            let server = world.server.as_ref();
            server.is_some_and(|server| server.control.all().next().is_some())
        };
        while are_known(self) {
            self.step();
            assert!(
                self.now < end,
                "they are not forgotten: {}",
                self.describe()
            );
        }
        self.uncover(None);
        for place in 0..self.backends.len() {
            self.end_minute(place);
            let file = self.writers[place].file.clone();
            self.write_alone(place, &file);
        }
    }

    pub(crate) fn forget_backend(&mut self, place: usize, yes: bool) {
        let server = self.server.as_ref();
        if !self.disk.inner.is_covered(&self.backends[place].name)
            || server.is_none_or(|server| server.control.at(place).is_none())
        {
            return;
        }
        self.ask_backend(place, BackendRequest::Forget { yes });
    }

    /// Steps until whoever has asked has been answered.
    pub(crate) fn answer_all(&mut self) {
        let end = self.now + ANSWERED_WITHIN;
        while !self.orders.clients.is_empty() {
            assert!(
                self.now < end,
                "all is settled, and these are not answered: {:?}",
                self.orders.clients
            );
            self.step();
        }
    }

    /// The backends do not fail at any record any more, and an operator has those replayed that
    /// were rejected since they did.
    pub(crate) fn replay_rejected(&mut self) {
        // A crash that was planned at the last deletion would now come in the midst of this, and
        // nobody would hear which lines are on their way.
        self.disk.inner.die_at(u64::MAX);
        for place in 0..self.backends.len() {
            self.backends[place].failing = None;
            self.keep_rejected(place);
            let name = self.backends[place].name.clone();
            let request = RejectedRequest {
                verb: RejectedVerb::Replay,
                backend: Some(name),
                reason: Some("attempts".to_owned()),
                since: None,
                until: None,
                ids: Vec::new(),
            };
            let client = Client::Replay { place };
            self.ask(client, ControlRequest::Rejected(request));
        }
    }

    /// What is rejected will not be where it was.
    fn keep_rejected(&mut self, place: usize) {
        let name = &self.backends[place].name;
        let rejected = self.disk.inner.durable_state(name, "rejected.jsonl");
        self.orders.in_force[place].rejected = rejected;
    }

    /// They are in a log of their own.
    fn handle_replayed(&mut self, place: usize, body: &[u8]) {
        let report: RejectedReport = serde_json::from_slice(body).expect("it is a report");
        let backend = &mut self.backends[place];
        let logs = self.disk.inner.logs_of(&backend.name).into_iter();
        let mut lines = 0;
        for log in logs.filter(|log| log.name != STAGED) {
            let bytes = self.disk.inner.log(&backend.name, &log.name);
            let bytes = bytes.unwrap_or_default();
            lines += backend.oracle.handle_requeued(&log.name, &bytes);
        }
        assert_eq!(
            lines, report.done,
            "{}: lines that are replayed, and those in logs",
            backend.name
        );
    }
}
