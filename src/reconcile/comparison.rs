//! Keys of one backend that are being compared with their peers: many at a time, over connections
//! of their own.
//!
//! Its owner hands in keys ([`Comparison::begin`]) while there is room, does what
//! [`Comparison::poll_action`] says, and takes outcomes ([`Comparison::poll_compared`]). It says
//! which masters have to wait, as there are records to be replayed first ([`Master::set_paused`]),
//! and which are not waited for any longer ([`Comparison::give_up`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::connections::{Action, Connected};
use crate::limits::{RECONCILE_KEYS_WAITING_MAX, RECONCILE_VALUES_MAX};
use crate::reconcile::ask::{Answer, Ask, Side};
use crate::reconcile::check::{Check, CheckId, Step};
use crate::reconcile::connection::{BadAnswers, ConnectionLimits, Request};
use crate::reconcile::decision::{Seen, Trust};
use crate::reconcile::delete_guard::DeleteGuard;
use crate::reconcile::key::{KeyId, Logged};
use crate::reconcile::master::Master;
use crate::reconcile::outcome::{Outcome, Skipped, WhyLeft};
use crate::reconcile::request::compose;
use crate::reconcile::settings::{Deletes, ReconcileSettings};
use crate::reconcile::window::KeyWindow;

/// The status of a request that is not sent, as hustdb could not read its target: HTTP's "URI too
/// long".
const TARGET_TOO_LONG: u16 = 414;

/// What a comparison goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparisonSettings {
    /// What is compared, and what is done about it.
    pub reconcile: ReconcileSettings,
    /// How connections are used.
    pub limits: ConnectionLimits,
    /// Connections to each master.
    pub connections: usize,
    /// `Basic` credentials in base64, for every master.
    pub credentials: Option<Arc<str>>,
    /// A master makes progress with so many answers, or with those of a second at its rate.
    pub progress_answers_max: u32,
    /// TCP asks for a sign of life on a connection that is idle for so long.
    pub keepalive_interval: Duration,
}

/// A key's outcome.
#[derive(Clone, Debug)]
pub struct Compared {
    pub key: KeyId,
    /// The master that it was compared with.
    pub peer: Arc<str>,
    /// What the backend was last seen to have.
    pub on_backend: Seen,
    /// What the peer was last seen to have.
    pub on_peer: Seen,
    /// Whether a record of it carried a ttl.
    pub had_ttl: bool,
    /// How it ended.
    pub outcome: Outcome,
}

/// For how long masters have been asked without progress, where a comparison ended before that
/// was of any consequence.
pub type Stalled = BTreeMap<Arc<str>, Duration>;

/// A check that is under way.
#[derive(Debug)]
struct Running {
    check: Check,
    /// The peer's place among the masters.
    peer: usize,
    /// Whether it has a value in memory, or has asked for one.
    has_value_in_memory: bool,
}

/// See the module.
pub struct Comparison {
    settings: ComparisonSettings,
    /// For how long masters were asked before without progress.
    stalled_before: Stalled,
    /// The backend, and behind it the peers.
    masters: Vec<Master>,
    /// Of each master, whether what it lacks may be deleted.
    guards: Vec<DeleteGuard>,
    /// Masters that are not waited for any longer.
    given_up: BTreeSet<usize>,
    running: BTreeMap<CheckId, Running>,
    next_check: u64,
    /// How many checks may run that do not wait for a moment.
    window: KeyWindow,
    /// Checks that wait for a moment, by its end.
    waiting: BTreeSet<(Duration, CheckId)>,
    values_in_memory: usize,
    /// Checks that wait until fewer values are in memory, and what they want.
    value_queue: VecDeque<(CheckId, [Option<Ask>; 2])>,
    /// The last time that it was told, monotonic.
    now: Duration,
    compared: VecDeque<Compared>,
    actions: VecDeque<Action>,
    /// Whether anything has happened since the masters were looked at.
    is_changed: bool,
}

impl Comparison {
    /// A comparison of this backend's keys.
    #[must_use]
    pub fn new(
        backend: Arc<str>,
        settings: ComparisonSettings,
        stalled_before: Stalled,
        now: Now,
    ) -> Self {
        let mut comparison = Self {
            settings,
            stalled_before,
            masters: Vec::new(),
            guards: Vec::new(),
            given_up: BTreeSet::new(),
            running: BTreeMap::new(),
            next_check: 0,
            window: KeyWindow::default(),
            waiting: BTreeSet::new(),
            values_in_memory: 0,
            value_queue: VecDeque::new(),
            now: now.monotonic,
            compared: VecDeque::new(),
            actions: VecDeque::new(),
            is_changed: false,
        };
        comparison.master(&backend, now);
        comparison
    }

    /// The place of a master, which is added where it is new. The backend's is 0.
    pub fn master(&mut self, name: &str, now: Now) -> usize {
        if let Some(at) = self.masters.iter().position(|master| *master.name == *name) {
            return at;
        }
        self.guards.push(DeleteGuard::default());
        self.masters.push(Master::new(
            name.into(),
            self.settings.credentials.as_deref(),
            self.settings.connections,
            self.settings.reconcile.rate,
            self.settings.progress_answers_max,
            self.stalled_before.get(name).copied().unwrap_or_default(),
            now,
        ));
        self.masters.len() - 1
    }

    /// All masters, the backend first.
    pub fn masters(&mut self) -> &mut [Master] {
        self.is_changed = true;
        &mut self.masters
    }

    /// So much time has passed in which only the masters kept the keys from being compared.
    pub fn handle_time(&mut self, passed: Duration) {
        for master in &mut self.masters {
            master.handle_time(passed);
        }
    }

    /// For how long its masters have been asked without progress, to be told to the next one.
    #[must_use]
    pub fn stalled(&self) -> Stalled {
        let masters = self.masters.iter();
        let stalled = masters.map(|master| (Arc::clone(&master.name), master.stalled()));
        stalled.filter(|(_, time)| !time.is_zero()).collect()
    }

    /// A master that lacks so many keys that some of them were not deleted from the backend.
    #[must_use]
    pub fn emptied(&self) -> Option<&str> {
        let at = self.guards.iter().position(DeleteGuard::has_held)?;
        Some(&self.masters[at].name)
    }

    /// Which master keeps keys from being compared, and why, as a sentence.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        self.masters.iter().find_map(Master::waits_for)
    }

    /// Changes what can be changed while it goes on.
    pub fn set(&mut self, reconcile: ReconcileSettings) {
        self.settings.reconcile = reconcile;
        for master in &mut self.masters {
            master.set_rate(reconcile.rate);
        }
        self.is_changed = true;
    }

    /// Whether another key can begin.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let waiting = self.waiting.len() + self.value_queue.len();
        self.asked() < self.window.keys() && waiting < RECONCILE_KEYS_WAITING_MAX
    }

    /// Keys that are being asked for. Those that wait for a value's place are not: only others that
    /// go on make room for them.
    fn asked(&self) -> usize {
        self.running.len() - self.waiting.len() - self.value_queue.len()
    }

    /// Whether no key is being compared, and every outcome was taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.compared.is_empty()
    }

    /// Begins to compare a key with the peer at this place, which counts as far as `trust` says.
    pub fn begin(&mut self, key: KeyId, logged: Logged, peer: usize, trust: Trust) {
        let id = CheckId(self.next_check);
        self.next_check += 1;
        let running = Running {
            check: Check::new(key, logged, trust),
            peer,
            has_value_in_memory: false,
        };
        self.running.insert(id, running);
        if self.given_up.contains(&0) || self.given_up.contains(&peer) {
            return self.finish(id, Outcome::Skipped(Skipped::PeerUnavailable));
        }
        self.step(id, |check, _| check.resume());
    }

    /// Nothing is mended any more of the keys that have begun.
    pub fn trust_no_peer(&mut self) {
        for running in self.running.values_mut() {
            running.check.trust_no_peer();
        }
    }

    /// Gives a peer up, or the backend: its keys are not compared.
    pub fn give_up(&mut self, at: usize) {
        self.given_up.insert(at);
        if at == 0 {
            (1..self.masters.len()).for_each(|peer| self.give_up(peer));
        }
        self.masters[at].give_up(at * self.settings.connections, &mut self.actions);
        let running = &self.running;
        let goes_on = |id: &CheckId| running.get(id).is_some_and(|check| check.peer != at);
        self.waiting.retain(|(_, id)| goes_on(id));
        self.value_queue.retain(|(id, _)| goes_on(id));
        for id in self.with_peer(at) {
            if let Some(running) = self.running.get(&id) {
                let outcome = running.check.outcome_without_peer();
                self.finish(id, outcome);
            }
        }
    }

    /// The checks that compare with the peer at this place.
    fn with_peer(&self, at: usize) -> Vec<CheckId> {
        let running = self.running.iter();
        let with_peer = running.filter(|(_, running)| running.peer == at);
        with_peer.map(|(id, _)| *id).collect()
    }

    /// Keys that a peer may have been given without anybody having looked at them since. If they
    /// differ later on, the peer is no evidence.
    pub fn given_keys(&self) -> impl Iterator<Item = &KeyId> {
        let checks = self.running.values().map(|running| &running.check);
        checks
            .filter(|check| check.is_given())
            .map(|check| &check.key)
    }

    /// The next outcome.
    pub fn poll_compared(&mut self) -> Option<Compared> {
        self.compared.pop_front()
    }

    /// When [`Comparison::handle_deadlines`] wants to be called, monotonic.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let waiting = match self.waiting.first() {
            Some((until, _)) if self.asked() < self.window.keys() => *until,
            // An answer makes room.
            _ => Duration::MAX,
        };
        let masters = self.masters.iter().map(Master::deadline);
        masters.fold(waiting, Duration::min)
    }

    /// Looks whether something is due or late.
    pub fn handle_deadlines(&mut self, now: Now) {
        self.now = now.monotonic;
        while self.asked() < self.window.keys()
            && let Some((until, id)) = self.waiting.first().copied()
            && until <= now.monotonic
        {
            self.waiting.remove(&(until, id));
            self.step(id, |check, _| check.resume());
        }
        self.is_changed = true;
    }

    fn place(&self, slot: usize) -> (usize, usize) {
        let connections = self.settings.connections;
        (slot / connections, slot % connections)
    }

    fn act(&mut self, now: Now) {
        let mut answers = Vec::new();
        let (running, actions) = (&self.running, &mut self.actions);
        for (at, master) in self.masters.iter_mut().enumerate() {
            let first_slot = at * self.settings.connections;
            let mut not_sent = Vec::new();
            master.act(
                first_slot,
                &self.settings.limits,
                now,
                actions,
                &mut not_sent,
                |request, bytes, template| {
                    running.get(&request.check).is_some_and(|running| {
                        let check = &running.check;
                        let (key, copy) = (&check.key, check.replacement());
                        !request.is_stale(now) && compose(request.ask, key, copy, template, bytes)
                    })
                },
            );
            let side = if at == 0 { Side::Backend } else { Side::Peer };
            answers.extend(not_sent.into_iter().map(|request| {
                let answer = match request.is_stale(now) {
                    true => Answer::Lost,
                    false => Answer::Declined(TARGET_TOO_LONG),
                };
                (side, request, answer)
            }));
            let ended = master.take_ended().into_iter();
            answers.extend(ended.map(|(request, answer)| (side, request, answer)));
        }
        for (side, request, answer) in answers {
            self.answered(request.check, side, answer, now);
        }
    }

    /// An answer for a check; one that was given up wants none.
    fn answered(&mut self, id: CheckId, side: Side, answer: Answer, now: Now) {
        self.step(id, |check, settings| {
            check.handle_answer(side, answer, settings, now)
        });
    }

    fn step(&mut self, id: CheckId, step: impl FnOnce(&mut Check, &ReconcileSettings) -> Step) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        let mut settings = self.settings.reconcile;
        let guard = &mut self.guards[running.peer];
        let is_held = settings.deletes == Deletes::Bounded && !guard.allows();
        if is_held {
            settings.deletes = Deletes::OfGiven;
        }
        let step = step(&mut running.check, &settings);
        match step {
            Step::Ask([Some(Ask::Remove), _]) => guard.handle_delete(),
            Step::Done(Outcome::Reported(WhyLeft::PeerLacks)) if is_held => guard.hold(),
            _ => {}
        }
        let reads = matches!(step, Step::Ask(asks) if asks.contains(&Some(Ask::ReadValue)));
        let waits =
            reads && !running.has_value_in_memory && self.values_in_memory >= RECONCILE_VALUES_MAX;
        if !reads && step != Step::Pending && running.check.replacement().value.is_empty() {
            self.release_value(id);
        }
        match step {
            Step::Pending => {}
            Step::Wait(until) => {
                self.waiting.insert((until, id));
            }
            Step::Done(outcome) => self.finish(id, outcome),
            Step::Ask(asks) if waits => {
                self.value_queue.push_back((id, asks));
            }
            Step::Ask(asks) => self.ask(id, asks),
        }
        self.is_changed = true;
    }

    fn ask(&mut self, id: CheckId, asks: [Option<Ask>; 2]) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        if asks.contains(&Some(Ask::ReadValue)) && !running.has_value_in_memory {
            running.has_value_in_memory = true;
            self.values_in_memory += 1;
        }
        running.check.handle_asked(self.now);
        let kind = running.check.key.kind;
        for (master, ask) in [0, running.peer].into_iter().zip(asks) {
            if let Some(ask) = ask {
                self.masters[master].ask(Request {
                    check: id,
                    ask,
                    kind,
                    asked_at: self.now,
                    bad_answers: BadAnswers::default(),
                });
            }
        }
    }

    fn release_value(&mut self, id: CheckId) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        if !std::mem::take(&mut running.has_value_in_memory) {
            return;
        }
        self.values_in_memory -= 1;
        if let Some((next, asks)) = self.value_queue.pop_front() {
            self.ask(next, asks);
        }
    }

    fn finish(&mut self, id: CheckId, outcome: Outcome) {
        self.release_value(id);
        let Some(Running { check, peer, .. }) = self.running.remove(&id) else {
            return;
        };
        let on_peer = check.seen(Side::Peer);
        if on_peer != Seen::Absent {
            self.guards[peer].handle_present();
        }
        self.compared.push_back(Compared {
            peer: Arc::clone(&self.masters[peer].name),
            on_backend: check.seen(Side::Backend),
            on_peer,
            had_ttl: check.logged.had_ttl,
            key: check.key,
            outcome,
        });
    }
}

impl Connected for Comparison {
    fn keepalive_interval(&self, _slot: usize) -> Duration {
        self.settings.keepalive_interval
    }

    fn slots(&self) -> usize {
        self.masters.len() * self.settings.connections
    }

    fn poll_action(&mut self, now: Now) -> Option<Action> {
        self.now = now.monotonic;
        if std::mem::take(&mut self.is_changed) {
            self.act(now);
        }
        self.actions.pop_front()
    }

    fn outgoing(&self, slot: usize) -> [&[u8]; 2] {
        let (master, at) = self.place(slot);
        [self.masters[master].outgoing(at), &[]]
    }

    fn handle_connected(&mut self, slot: usize, segment_bytes: usize, _now: Now) {
        let (master, at) = self.place(slot);
        debug_assert!(
            !self.masters[master].is_closed(at),
            "slot {slot}: the end of the connection before was taken for its end"
        );
        self.masters[master].handle_connected(at, segment_bytes);
        self.is_changed = true;
    }

    fn handle_sent(&mut self, slot: usize, bytes: usize, now: Now) {
        let (master, at) = self.place(slot);
        let limits = self.settings.limits;
        if !self.masters[master].handle_sent(at, bytes, &limits, now) {
            self.actions.push_back(Action::Close(slot));
        }
        self.is_changed = true;
    }

    fn handle_received(&mut self, slot: usize, bytes: &[u8], now: Now) {
        self.now = now.monotonic;
        let (master, at) = self.place(slot);
        let limits = self.settings.limits;
        let value_bytes_max = self.settings.reconcile.value_bytes_max;
        let mut answers = Vec::new();
        let is_well = self.masters[master].handle_received(
            at,
            bytes,
            value_bytes_max,
            &limits,
            now,
            |request, answer| answers.push((request, answer)),
        );
        if !is_well {
            self.actions.push_back(Action::Close(slot));
        }
        let side = if master == 0 {
            Side::Backend
        } else {
            Side::Peer
        };
        for (request, answer) in answers {
            if request.ask == Ask::Look {
                let asked = self.asked();
                self.window
                    .handle_answer(request.asked_at, asked, now.monotonic);
            }
            self.answered(request.check, side, answer, now);
        }
        self.is_changed = true;
    }

    fn handle_closed(&mut self, slot: usize, why: String, now: Now) {
        let (master, at) = self.place(slot);
        self.masters[master].handle_closed(at, why, now);
        self.is_changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{
        RECONCILE_DELETES_FREE, RECONCILE_KEYS_ASKED_FIRST, RECONCILE_PROGRESS_ANSWERS,
    };
    use crate::reconcile::key::Kind;
    use crate::reconcile::settings::ReconcileMode;

    fn comparison() -> Comparison {
        let settings = ComparisonSettings {
            reconcile: ReconcileSettings {
                mode: ReconcileMode::Repair,
                attempts: 5,
                ..ReconcileSettings::OFF
            },
            limits: ConnectionLimits {
                burst_bytes: 4096,
                requests_per_connection: 100,
                connect_timeout: Duration::from_secs(1),
                response_timeout: Duration::from_secs(1),
            },
            connections: 1,
            credentials: None,
            progress_answers_max: RECONCILE_PROGRESS_ANSWERS,
            keepalive_interval: Duration::from_secs(15),
        };
        Comparison::new("a:1".into(), settings, Stalled::new(), Now::default())
    }

    const THERE: Seen = Seen::Present {
        version: 2,
        score: 0,
    };

    fn key(number: usize) -> KeyId {
        KeyId {
            kind: Kind::Key,
            table: Box::default(),
            key: format!("k{number}").into_bytes().into(),
            body: None,
        }
    }

    /// Begins keys of this peer that the backend lacks; they want the peer's value in the end.
    fn begin(comparison: &mut Comparison, peer: usize, keys: usize, now: &mut Now) {
        begin_seen(comparison, peer, keys, Seen::Absent, now);
    }

    /// Begins keys of this peer of which the backend is seen to have this.
    fn begin_seen(
        comparison: &mut Comparison,
        peer: usize,
        keys: usize,
        on_backend: Seen,
        now: &mut Now,
    ) {
        let first = comparison.running.len();
        for number in first..first + keys {
            let logged = Logged {
                is_removed: true,
                ..Logged::default()
            };
            comparison.begin(key(number), logged, peer, Trust::Everything);
        }
        look_twice(comparison, peer, [on_backend, THERE], now);
    }

    /// Each key of this peer is looked at twice, and this is seen on the backend and the peer.
    fn look_twice(comparison: &mut Comparison, peer: usize, seen: [Seen; 2], now: &mut Now) {
        let [on_backend, on_peer] = seen;
        for _ in 0..2 {
            for id in comparison.with_peer(peer) {
                let running = comparison.running.get(&id);
                if running.is_some_and(|running| running.check.is_looking()) {
                    comparison.answered(id, Side::Backend, Answer::Seen(on_backend), *now);
                    comparison.answered(id, Side::Peer, Answer::Seen(on_peer), *now);
                }
            }
            now.monotonic += Duration::from_secs(1);
            comparison.handle_deadlines(*now);
        }
    }

    #[test]
    fn a_key_that_waits_behind_those_of_a_peer_that_is_given_up_has_its_turn() {
        let mut now = Now::default();
        let mut comparison = comparison();
        let [gone, peer] = ["b:1", "c:1"].map(|name| comparison.master(name, now));
        let at = now.monotonic;
        (0..RECONCILE_VALUES_MAX).for_each(|_| comparison.window.handle_answer(at, 99, at));
        begin(&mut comparison, peer, RECONCILE_VALUES_MAX, &mut now);
        let holders = comparison.with_peer(peer);
        begin(&mut comparison, gone, RECONCILE_VALUES_MAX, &mut now);
        begin(&mut comparison, peer, 1, &mut now);
        assert_eq!(comparison.values_in_memory, RECONCILE_VALUES_MAX);
        assert_eq!(comparison.value_queue.len(), RECONCILE_VALUES_MAX + 1);
        comparison.give_up(gone);
        for id in holders {
            comparison.answered(id, Side::Peer, Answer::Declined(400), now);
        }
        assert_eq!(
            (comparison.values_in_memory, comparison.running.len()),
            (1, 1)
        );
    }

    #[test]
    fn keys_whose_mends_fail_are_tried_again_though_others_wait_for_their_places() {
        let mut now = Now::default();
        let mut comparison = comparison();
        let [first, second] = ["b:1", "c:1"].map(|name| comparison.master(name, now));
        let newer = Seen::Present {
            version: 5,
            score: 0,
        };
        begin_seen(
            &mut comparison,
            first,
            RECONCILE_VALUES_MAX,
            newer,
            &mut now,
        );
        let holders = comparison.with_peer(first);
        for id in &holders {
            let (version, digest) = (5, Some(1));
            comparison.answered(*id, Side::Backend, Answer::Digest { version, digest }, now);
            let (version, value) = (2, b"value".to_vec());
            comparison.answered(*id, Side::Peer, Answer::Value { version, value }, now);
        }
        begin(
            &mut comparison,
            second,
            2 * RECONCILE_KEYS_ASKED_FIRST,
            &mut now,
        );
        for id in &holders {
            comparison.answered(*id, Side::Peer, Answer::Lost, now);
        }
        (0..3).for_each(|_| begin(&mut comparison, second, 0, &mut now));
        assert_eq!(comparison.values_in_memory, RECONCILE_VALUES_MAX);
        let is_tried = |id: &CheckId| comparison.running[id].check.is_looking();
        assert!(holders.iter().all(is_tried));
    }

    /// Compares so many keys, as many as are asked for at once, which the backend has and the peer
    /// has or lacks. Gives how many are being deleted.
    fn deleted(comparison: &mut Comparison, keys: usize, on_peer: Seen, now: &mut Now) -> usize {
        let peer = comparison.master("b:1", *now);
        for number in 0..keys {
            comparison.begin(key(number), Logged::default(), peer, Trust::Everything);
        }
        look_twice(comparison, peer, [THERE, on_peer], now);
        comparison.running.len()
    }

    #[test]
    fn no_more_is_deleted_than_races_explain_unless_each_was_asked_for() {
        let (mut now, free) = (Now::default(), RECONCILE_DELETES_FREE as usize);
        for (deletes, present, lacking, expected) in [
            (Deletes::Never, 0, 10, 0),
            (Deletes::Bounded, 0, free, free),
            (Deletes::Bounded, 0, 15, free),
            (Deletes::Bounded, 16, 12, 12),
            (Deletes::Bounded, 16, 15, 4 + free),
            (Deletes::All, 0, 15, 15),
        ] {
            let mut comparison = comparison();
            comparison.settings.reconcile.deletes = deletes;
            assert_eq!(deleted(&mut comparison, present, THERE, &mut now), 0);
            let found = deleted(&mut comparison, lacking, Seen::Absent, &mut now);
            assert_eq!(found, expected, "{deletes:?} {present} {lacking}");
            let is_held = deletes == Deletes::Bounded && expected < lacking;
            assert_eq!(comparison.emptied(), is_held.then_some("b:1"));
        }
    }

    #[test]
    fn an_outcome_that_nobody_has_taken_is_no_idleness() {
        let mut now = Now::default();
        let mut comparison = comparison();
        let peer = comparison.master("b:1", now);
        begin(&mut comparison, peer, 1, &mut now);
        comparison.give_up(peer);
        assert!(!comparison.is_idle());
        let compared = comparison.poll_compared().unwrap();
        assert_eq!(compared.outcome, Outcome::Reported(WhyLeft::StillDiffers));
        assert!(comparison.is_idle());
    }
}
