//! What is between a worker and a backend: bytes that are late, cut anywhere, lost with their
//! connection, or answered into nothing.

use std::collections::VecDeque;
use std::time::Duration;

use hustdbsync::internals::fake_hustdb::connection::{self, After, READ_BYTES_MAX};
use hustdbsync::internals::replay::controller::action::ProbeResult;
use hustdbsync::internals::replay::messages::{BackendId, ControlMessage};

use crate::backend::{Life, Mood};
use crate::control::{Control, Errand, address};
use crate::server::{CONTROL, WORKERS};
use crate::world::{Event, World};

const PROBE_TIMEOUT: Duration = Duration::from_millis(900);
const NET_LATENCY: Duration = Duration::from_micros(1500);

/// What a worker's driver is told of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It stands; one segment has so many bytes.
    Connected(usize),
    Bytes(Vec<u8>),
    /// There is room to send more.
    Room,
    Closed(&'static str),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connection {
    worker: usize,
    pub(crate) place: usize,
    /// The backend's end.
    server: connection::Connection,
    /// What was sent and has not arrived.
    pub(crate) up: VecDeque<Vec<u8>>,
    /// Nothing sent from here on arrives earlier.
    up_at: Duration,
    down_at: Duration,
    /// The backend's end is not there any more, and ours has not been told.
    pub(crate) dead: bool,
    /// Nothing is read of it before it ends.
    pub(crate) is_stuck: bool,
    /// Our end is closed, and what was sent may still arrive.
    pub(crate) has_ended: bool,
    /// Its backend was ill when it read some of it.
    pub(crate) met_illness: bool,
    /// It waits while its backend is stopped.
    pub(crate) has_waited: bool,
    /// What arrives for a dead one is answered with a reset, once its machine is back.
    pub(crate) opened: Duration,
    /// When something last went over it, either way.
    used: Duration,
}

impl World {
    /// Begins a connection; none where the system refuses at once.
    pub(crate) fn connect(&mut self, worker: usize, place: usize) -> Option<u64> {
        if self.odds(self.plan.faults.net / 8) {
            return None;
        }
        let number = self.random.u64(..);
        self.connections.insert(
            number,
            Connection {
                worker,
                place,
                server: connection::Connection::new(connection::ANSWERS_MAX),
                up: VecDeque::new(),
                up_at: self.now,
                down_at: self.now,
                dead: false,
                is_stuck: false,
                has_ended: false,
                met_illness: false,
                has_waited: false,
                opened: self.now,
                used: self.now,
            },
        );
        self.soon(NET_LATENCY, Event::Knock { connection: number });
        Some(number)
    }

    /// Whose a connection is.
    pub(crate) fn place_of(&self, connection: u64) -> Option<usize> {
        self.connections.get(&connection).map(|it| it.place)
    }

    pub(crate) fn handle_knock(&mut self, connection: u64) {
        let Some(place) = self.connections.get(&connection).map(|it| it.place) else {
            return;
        };
        if self.odds(self.plan.faults.net / 4) {
            // It is lost, and so are those that TCP sends after it.
            return;
        }
        let what = match self.backends[place].life {
            Life::Up { .. } => Arrival::Connected([536, 1460, 65_483][self.random.usize(..3)]),
            Life::Down => Arrival::Closed("refused"),
            Life::Gone => return,
        };
        self.tell(connection, what);
    }

    /// Something leaves the backend for the worker.
    fn tell(&mut self, connection: u64, what: Arrival) {
        let latency = self.up_to(NET_LATENCY);
        let Some(it) = self.connections.get_mut(&connection) else {
            return;
        };
        it.used = self.now;
        it.down_at = it.down_at.max(self.now + latency);
        let at = it.down_at;
        self.at(at, Event::Down { connection, what });
    }

    pub(crate) fn handle_down(&mut self, connection: u64, what: Arrival) {
        let Some(worker) = self.connections.get(&connection).map(|it| it.worker) else {
            return;
        };
        if let Some(server) = &mut self.server {
            server.workers[worker]
                .arrivals
                .push_back((connection, what));
            self.wake(WORKERS + worker);
        }
    }

    /// The worker's system has taken these bytes.
    pub(crate) fn send(&mut self, connection: u64, bytes: &[u8]) {
        let latency = self.up_to(NET_LATENCY);
        let splits = self.plan.faults.splits;
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut length = rest.len().min(READ_BYTES_MAX);
            if splits && self.odds(100) {
                length = self.random.usize(1..=length);
            }
            let it = self
                .connections
                .get_mut(&connection)
                .expect("a slot's connection is there");
            it.up.push_back(rest[..length].to_vec());
            it.up_at = it.up_at.max(self.now + latency);
            let at = it.up_at;
            rest = &rest[length..];
            self.at(at, Event::Up { connection });
        }
    }

    /// The next bytes arrive at the backend.
    pub(crate) fn handle_up(&mut self, connection: u64) {
        let Some(it) = self.connections.get_mut(&connection) else {
            return;
        };
        if it.is_stuck || it.has_ended {
            return;
        }
        let (place, opened) = (it.place, it.opened);
        let reborn = match self.backends[place].life {
            Life::Up { since } => since > opened,
            Life::Down => true,
            Life::Gone => return,
        };
        if it.dead || reborn {
            it.dead = true;
            if reborn {
                self.tell(connection, Arrival::Closed("reset"));
            }
            return;
        }
        let idle = self.now - std::mem::replace(&mut it.used, self.now);
        if self.plan.faults.forgets.is_some_and(|after| idle >= after) {
            return self.forget(connection);
        }
        if self.backends[place].mood == Mood::Frozen {
            it.has_waited = true;
            let later = self.now + Duration::from_millis(20);
            self.at(later, Event::Up { connection });
            return;
        }
        let next = it.up.front().map_or(&[][..], Vec::as_slice);
        if !self.healed && self.backends[place].brings_death(next) {
            self.arrive(connection, 0);
            // Where it may not be down once more, only its answers are lost.
            self.break_off(connection);
            return self.die_in_drain(place);
        }
        if !self.odds(self.plan.faults.net) {
            return self.arrive(connection, usize::MAX);
        }
        self.fail_to_arrive(connection, place);
    }

    /// The next bytes are lost with their connection, or their answers are, or both are held up.
    fn fail_to_arrive(&mut self, connection: u64, place: usize) {
        let may_be_late = !self.plan.applies_late.is_zero();
        match self.random.u32(..6) {
            0 if may_be_late => {
                self.note(format_args!(
                    "{place}: reset before it is read, by who is in between"
                ));
                self.get_stuck(connection);
                self.tell(connection, Arrival::Closed("reset"));
            }
            3 if may_be_late => {
                self.note(format_args!("{place}: stuck, unread"));
                self.get_stuck(connection);
            }
            0 => {
                self.note(format_args!("{place}: reset before it is read"));
                self.break_off(connection);
            }
            1 | 2 => {
                let answered = self.random.usize(..300);
                self.note(format_args!(
                    "{place}: reset behind {answered} bytes of answers"
                ));
                self.arrive(connection, answered);
                self.break_off(connection);
            }
            3 => {
                self.note(format_args!("{place}: half-open, unread"));
                self.fall_silent(connection);
            }
            4 => {
                let answered = self.random.usize(..300);
                self.note(format_args!(
                    "{place}: half-open behind {answered} bytes of answers"
                ));
                self.arrive(connection, answered);
                self.fall_silent(connection);
            }
            _ => {
                self.note(format_args!("{place}: stalls"));
                self.soon(Duration::from_secs(2), Event::Up { connection });
            }
        }
    }

    /// Something in between has forgotten the connection: what is sent on it is dropped or answered
    /// with a reset, or gets through and its answer does not.
    fn forget(&mut self, connection: u64) {
        match self.random.u32(..3) {
            0 => self.break_off(connection),
            how => {
                if how == 1 {
                    self.arrive(connection, 0);
                }
                self.fall_silent(connection);
            }
        }
        self.note(format_args!("{connection:x}: forgotten in between"));
    }

    /// The backend reads the next bytes. At most `answer_bytes` of what it says to them get away.
    pub(crate) fn arrive(&mut self, connection: u64, answer_bytes: usize) {
        self.take_late_before(connection);
        let unix = self.unix();
        let Some(it) = self.connections.get_mut(&connection) else {
            return;
        };
        let Some(bytes) = it.up.pop_front() else {
            return;
        };
        let mut out = Vec::new();
        it.met_illness |= self.backends[it.place].mood != Mood::Well;
        let mut service = self.backends[it.place].at(self.now, unix);
        let after = it.server.handle_read(&bytes, &mut service, &mut out);
        let cut_targets = it.server.take_cut_targets();
        assert!(
            cut_targets == 0 || self.plan.faults.splits || self.plan.faults.partial_writes > 0,
            "G12: a request was cut in its target"
        );
        let place = it.place;
        let (sent, back) = (bytes.len(), out.len());
        self.note(format_args!("{place}: {sent} bytes, {back} back"));
        let talk = self.backends[place].talk.as_mut().map(std::mem::take);
        for words in talk.into_iter().flatten() {
            self.note(format_args!("{place}: {words}"));
        }
        out.truncate(answer_bytes);
        let mut rest = &out[..];
        while !rest.is_empty() {
            let mut length = rest.len();
            if self.plan.faults.splits && self.odds(300) {
                length = self.random.usize(1..=length);
            }
            self.tell(connection, Arrival::Bytes(rest[..length].to_vec()));
            rest = &rest[length..];
        }
        match after {
            After::Continue => {}
            After::Hang | After::Endless => self.fall_silent(connection),
            After::Close | After::Reset => self.break_off(connection),
            After::Crash => panic!("G12: a request that takes hustdb down"),
        }
    }

    /// The backend's end is not there any more; ours is not told.
    fn fall_silent(&mut self, connection: u64) {
        if let Some(it) = self.connections.get_mut(&connection) {
            it.dead = true;
        }
    }

    /// The backend's end is closed; ours will be told.
    pub(crate) fn break_off(&mut self, connection: u64) {
        if let Some(it) = self.connections.get_mut(&connection) {
            it.dead = true;
            it.up.clear();
            self.tell(connection, Arrival::Closed("reset"));
        }
    }

    /// Our end is closed. What is on its way arrives now or never, unless its backend applies late.
    pub(crate) fn close(&mut self, connection: u64) {
        let Some(it) = self.connections.get(&connection) else {
            return;
        };
        if it.has_ended {
            return;
        }
        if self.may_be_late(connection) {
            return self.leave_behind(connection);
        }
        let backend = &self.backends[it.place];
        let arrives = !it.dead
            && backend.mood != Mood::Frozen
            && matches!(backend.life, Life::Up { since } if since <= it.opened);
        let waiting = it.up.len();
        if arrives && self.random.bool() {
            for _ in 0..waiting {
                self.arrive(connection, 0);
            }
        }
        self.connections.remove(&connection);
    }

    /// Ends all connections to a backend. `silently`: nobody is told.
    pub(crate) fn cut_off(&mut self, place: usize, silently: bool) {
        let numbers = self.connections.iter();
        let to_it: Vec<u64> = numbers
            .filter(|(_, it)| it.place == place)
            .map(|(number, _)| *number)
            .collect();
        for connection in to_it {
            match silently {
                true => self.fall_silent(connection),
                false => self.break_off(connection),
            }
        }
        if !silently {
            let life = self.life;
            self.soon(Duration::from_millis(40), Event::ProbeLost { life, place });
        }
    }

    pub(crate) fn run_errands(&mut self, control: &mut Control) {
        let life = self.life;
        for errand in std::mem::take(&mut control.errands) {
            match errand {
                Errand::Resolve(backend) => {
                    let event = Event::Resolved { life, backend };
                    self.soon(Duration::from_millis(30), event);
                }
                Errand::Probe(backend, authenticated, probe) => {
                    if let Some(place) = control.place_of(backend) {
                        self.note_probe(place);
                    }
                    let event = Event::Probe {
                        life,
                        backend,
                        authenticated,
                        probe,
                    };
                    self.soon(NET_LATENCY, event);
                }
                Errand::Reply(client, reply) => self.handle_reply(client, &reply),
                Errand::Forgotten(place) => {
                    self.note(format_args!("{place}: it is forgotten"));
                    self.handle_forgotten(place);
                }
            }
        }
    }

    pub(crate) fn handle_resolved(&mut self, backend: BackendId) {
        let fails = !self.healed && self.odds(200);
        let Some(server) = &mut self.server else {
            return;
        };
        let Some(place) = server.control.place_of(backend) else {
            return;
        };
        let address = match fails {
            true => Err("no such name".to_owned()),
            false => Ok(address(place)),
        };
        let message = ControlMessage::Resolved { backend, address };
        if server.control.core.mailbox().send(message).is_err() {
            let life = self.life;
            self.soon(Duration::from_millis(5), Event::Resolved { life, backend });
        }
    }

    pub(crate) fn handle_probe(&mut self, backend: BackendId, authenticated: bool, probe: u64) {
        let is_lost = self.odds(self.plan.faults.net / 4);
        let Some(server) = &self.server else {
            return;
        };
        let Some(place) = server.control.place_of(backend) else {
            return;
        };
        let model = &self.backends[place];
        let result = match (model.life, model.mood) {
            (Life::Down, _) => ProbeResult::Closed("refused".to_owned()),
            (Life::Gone, _) | (_, Mood::Frozen) => {
                let life = self.life;
                let event = Event::ProbeLate {
                    life,
                    backend,
                    probe,
                };
                self.at(self.now + PROBE_TIMEOUT, event);
                return;
            }
            (_, Mood::Refuses) if authenticated => ProbeResult::Refused,
            _ if authenticated && self.orders.is_password_wrong() => ProbeResult::Refused,
            (_, Mood::Garbage) => ProbeResult::Bad("no HTTP".to_owned()),
            (_, Mood::Status(_)) if model.probe_shares_mood => {
                ProbeResult::Bad("bad status".to_owned())
            }
            _ if is_lost => ProbeResult::Silent("late".to_owned()),
            _ => ProbeResult::Good { watched: true },
        };
        self.answer_probe(backend, probe, result);
    }

    pub(crate) fn answer_probe(&mut self, backend: BackendId, probe: u64, result: ProbeResult) {
        let now = self.clock();
        if let Some(server) = &mut self.server {
            server.control.handle_probe(backend, probe, result, now);
            self.wake(CONTROL);
        }
    }

    pub(crate) fn lose_probe(&mut self, place: usize) {
        let now = self.clock();
        let Some(server) = &mut self.server else {
            return;
        };
        if let Some(backend) = server.control.at(place).map(|(info, _)| info.id) {
            server.control.handle_lost(backend, now);
            self.wake(CONTROL);
        }
    }
}
