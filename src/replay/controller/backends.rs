//! The backends that the controller knows: each with its monitor, and what follows from the
//! monitors' orders.
//!
//! A turn looks at those that something has happened to or that are due ([`Agenda`]). Other threads
//! change a backend's counters without a word: one that waits for that is due every
//! [`COUNTERS_LOOK`].

mod leaving;
mod names;
mod operator;
mod outages;
mod troubles;

pub(super) use leaving::LeavingAnswer;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::leaving::Leaving;
use super::action::{Action, ProbeRequest, ProbeResult, Wanted};
use super::settings::{ControllerRules, ControllerSettings};
use super::states::{ReportedState, States};
use crate::clock::Now;
use crate::limits::{BACKENDS_MAX, COUNTERS_LOOK};
use crate::replay::agenda::Agenda;
use crate::replay::lane::LaneSettings;
use crate::replay::logged::LoggedOnce;
use crate::replay::messages::{BackendId, BackendInfo, Epoch, WorkerMessage};
use crate::replay::monitor::announcer::{Announcement, Announcer};
use crate::replay::monitor::repeats::Repeats;
use crate::replay::monitor::{Monitor, Order};
use crate::replay::outbox::Outbox;
use crate::replay::reachability::Reachability;
use crate::replay::reachability::gate::Gate;
use crate::status::snapshot::{LastProbe, StatusBoard};

/// The parts of `Controller` that backend handlers need.
pub(super) struct Context<'a> {
    pub(super) outbox: &'a mut Outbox,
    pub(super) actions: &'a mut VecDeque<Action>,
    pub(super) board: &'a mut StatusBoard,
    pub(super) states_changed: &'a mut bool,
    pub(super) rules: ControllerRules,
    pub(super) settings: &'a ControllerSettings,
    /// During shutdown: until when records in flight may be answered, monotonic.
    pub(super) drain_until: Option<Duration>,
    pub(super) now: Now,
}

/// A backend.
pub(super) struct Backend {
    info: BackendInfo,
    address: Option<SocketAddr>,
    /// Which of the resolved addresses the next look-up is to return.
    wanted: Wanted,
    /// The last look-up has failed, although there is an address from an earlier one.
    is_name_lost: bool,
    monitor: Monitor,
    /// Lanes that keep failing while it is up.
    repeats: Repeats,
    /// A probe is out.
    is_probing: bool,
    /// What came of its last probe, until that is reported.
    probed: Option<LastProbe>,
    /// What is known of its outages, and whether records may be sent to it.
    pub(super) gate: Gate,
    /// Its count of answers when the gate was last told, and when its probe began.
    answers_seen: u64,
    probe_begun: (Duration, u64),
    lane: Arc<LaneSettings>,
    /// The rate limit that an operator has set, in records a second; 0 if there is none.
    rate_max: Option<u32>,
    /// Why its state cannot be written.
    pub(super) store_fault: Option<String>,
    /// Why its logs cannot be read.
    pub(super) log_fault: Option<String>,
    /// Whether its folder exists, and how far it is forgotten.
    leaving: Leaving,
    /// What was last reported.
    reported: ReportedState,
    /// Likewise whether its folder is gone, and when it is tried again, monotonic.
    reported_times: (bool, Option<Duration>),
    /// Which states and causes are logged.
    announcer: Announcer,
}

/// See the module.
pub(super) struct Backends {
    /// By their ids; `None` is a free place.
    all: Agenda<Option<Backend>>,
    /// The free places, the one that has been free longest first.
    free: VecDeque<BackendId>,
    by_name: HashMap<String, BackendId>,
    /// Records processed and settled of backends that are forgotten.
    forgotten: (u64, u64),
    random: fastrand::Rng,
    too_many: LoggedOnce,
}

impl Backends {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            all: Agenda::default(),
            free: VecDeque::new(),
            by_name: HashMap::new(),
            forgotten: (0, 0),
            random: fastrand::Rng::with_seed(seed),
            too_many: LoggedOnce::default(),
        }
    }

    /// The reader has found a backend's folder.
    pub(super) fn handle_found(&mut self, folder: String, cx: &mut Context<'_>) {
        if let Some(&id) = self.by_name.get(&folder) {
            return self.handle_folder_back(id, cx.now);
        }
        let address = match (cx.rules.address)(&folder) {
            Ok(address) => address,
            Err(fault) => return self.handle_unrecognized(&folder, &fault),
        };
        if self.by_name.len() == BACKENDS_MAX {
            if self.too_many.begins() {
                tracing::error!(
                    backend = %folder,
                    "there are more than {BACKENDS_MAX} backends; this and further ones are not \
                     replayed to until others are forgotten, whose folders are gone"
                );
            }
            return;
        }
        let id = self
            .free
            .pop_front()
            .unwrap_or_else(|| BackendId::from_index(self.all.len()));
        let info = BackendInfo {
            id,
            name: folder.as_str().into(),
            counters: Arc::default(),
            dirty_flags: Arc::default(),
        };
        info.counters.logs_unlisted.set(1);
        tracing::info!(backend = %folder, "found; it is probed next");
        cx.actions.push_back(Action::Add {
            backend: id,
            folder: Arc::clone(&info.name),
        });
        cx.board.add(&folder, Arc::clone(&info.counters), cx.now);
        cx.outbox.introduce(&info);
        let backend = Backend::new(info, address, self.random.u64(..), cx);
        cx.board
            .set_rate_max(&folder, backend.lane.records_per_second_max);
        match self.all.get_mut(id.index()) {
            Some(place) => *place = Some(backend),
            None => self.all.push(Some(backend)),
        }
        self.by_name.insert(folder, id);
        self.warn_of_second_name(id);
    }

    /// The reader has found a folder that is not a backend's.
    #[expect(clippy::unused_self, reason = "one of the events of this table")]
    pub(super) fn handle_unrecognized(&self, folder: &str, why: &str) {
        tracing::warn!(
            "the folder {folder:?} below sync.logs_path is not a backend's: {why}; it is ignored"
        );
    }

    pub(super) fn handle_settings(&mut self, other_password: bool, cx: &mut Context<'_>) {
        for backend in self.all.iter_mut().flatten() {
            if !failpoint!(KeepOldSettings) {
                backend.set_lane(cx);
            }
            backend
                .monitor
                .handle_settings(cx.settings.monitor.clone(), cx.now);
            backend
                .gate
                .history
                .set_window(cx.settings.ambiguity_window);
            backend.leaving.hasten(cx);
            if other_password {
                backend.monitor.handle_password(cx.now);
            }
        }
    }

    /// The backend of this name.
    pub(super) fn find(&self, name: &str) -> Option<BackendId> {
        self.by_name.get(name).copied()
    }

    /// All of them, except for those that are being forgotten.
    pub(super) fn ids(&self) -> Vec<BackendId> {
        let all = self.all.iter().flatten();
        all.filter(|backend| !backend.leaving.is_under_way())
            .map(|backend| backend.info.id)
            .collect()
    }

    /// This backend; `None` if it was forgotten.
    pub(super) fn get_mut(&mut self, id: BackendId) -> Option<&mut Backend> {
        let backend = self.all.get_mut(id.index())?.as_mut();
        backend.filter(|backend| backend.info.id == id)
    }

    /// A backend's description; `None` if it was forgotten.
    pub(super) fn info(&self, id: BackendId) -> Option<&BackendInfo> {
        let info = &self.all.get(id.index())?.as_ref()?.info;
        (info.id == id).then_some(info)
    }

    /// All of them, with their monitors.
    #[cfg(feature = "testing")]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&BackendInfo, &Monitor)> {
        let all = self.all.iter().flatten();
        all.map(|backend| (&backend.info, &backend.monitor))
    }

    /// All names, in their order.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let names = self.all.iter().flatten().map(|backend| &backend.info.name);
        let mut names: Vec<_> = names.cloned().collect();
        names.sort();
        names
    }

    pub(super) fn handle_stop(&mut self) {
        for backend in self.all.iter_mut().flatten() {
            backend.monitor.handle_stop();
            backend.gate.handle_stop();
        }
    }

    /// Whether nothing is in flight any more, after [`Backends::handle_stop`].
    pub(super) fn are_flushed(&self) -> bool {
        self.all
            .iter()
            .flatten()
            .all(|backend| backend.monitor.is_flushed())
    }

    /// Does what is due for the backends that are awake.
    pub(super) fn turn(&mut self, cx: &mut Context<'_>) {
        self.all.wake_due(cx.now.monotonic);
        self.all.for_each_awake(|backend| {
            if let Some(backend) = backend {
                backend.turn(cx);
            }
        });
        self.all.rest_each(|backend| {
            let due_at = backend.as_ref().and_then(|backend| backend.due_at(cx.now));
            Some(due_at.unwrap_or(Duration::MAX))
        });
        #[cfg(debug_assertions)]
        self.check_resting(cx.now);
    }

    /// Panics if a backend rests beyond what is due.
    #[cfg(debug_assertions)]
    fn check_resting(&self, now: Now) {
        for (until, _, backend) in self.all.resting() {
            let Some(backend) = backend else {
                continue;
            };
            let own = [backend.monitor.deadline(), backend.leaving.deadline(now)];
            let name = &backend.info.name;
            assert!(
                own.iter().flatten().all(|due_at| until <= *due_at),
                "{name} rests beyond what is due"
            );
        }
    }

    /// Whether something has happened to one since the last [`Backends::turn`].
    pub(super) fn have_work(&self) -> bool {
        self.all.awake_count() > 0
    }

    /// When [`Backends::turn`] is due if nothing happens before, on the monotonic clock; the
    /// maximum if it is not.
    pub(super) fn due_at(&self) -> Duration {
        self.all.next_due()
    }

    /// All states, for other threads.
    pub(super) fn states(&self) -> States {
        let backends = self
            .all
            .iter()
            .flatten()
            .map(|backend| (backend.reported.clone(), Arc::clone(&backend.info.counters)))
            .collect();
        States {
            backends,
            forgotten: self.forgotten,
        }
    }
}

/// When the counters are looked at next, monotonic: at one time for all that wait, so that a
/// thousand backends wake the controller no more often than one.
fn next_look(now: Now) -> Duration {
    let looks = now.monotonic.as_nanos() / COUNTERS_LOOK.as_nanos() + 1;
    COUNTERS_LOOK.saturating_mul(u32::try_from(looks).unwrap_or(u32::MAX))
}

/// Everything that is wrong with the backend, its state and its logs, as one text.
fn all_that_is_wrong<'a>(
    why: Option<&'a str>,
    store_fault: Option<&str>,
    log_fault: Option<&str>,
) -> Cow<'a, str> {
    if store_fault.is_none() && log_fault.is_none() {
        return why.unwrap_or_default().into();
    }
    let store = store_fault.map(|fault| format!("its state cannot be written: {fault}"));
    let logs = log_fault.map(|fault| format!("its logs cannot be read: {fault}"));
    let all: Vec<String> = why
        .map(str::to_owned)
        .into_iter()
        .chain(store)
        .chain(logs)
        .collect();
    all.join("; and ").into()
}

fn log_state(name: &str, state: &str, cause: &str) {
    let until = match state {
        "up" => {
            tracing::info!(backend = %name, "up: its records are replayed");
            return;
        }
        "ended" => return,
        "paused" => " until it is resumed",
        "unresolved" => ", and its name is looked up until it has an address",
        _ => ", and it is probed until it is well",
    };
    tracing::warn!(backend = %name, cause = %cause, "{state}; its records wait{until}");
}

impl Backend {
    fn new(info: BackendInfo, address: Option<SocketAddr>, seed: u64, cx: &Context<'_>) -> Self {
        let monitor = cx.settings.monitor.clone();
        Self {
            monitor: Monitor::new(monitor, address.is_none(), seed, cx.now),
            repeats: Repeats::default(),
            gate: Gate::new(Reachability::new(cx.settings.ambiguity_window, cx.now)),
            answers_seen: 0,
            probe_begun: (Duration::ZERO, 0),
            is_probing: false,
            probed: None,
            lane: cx.settings.lane(&info.name),
            rate_max: None,
            address,
            wanted: Wanted::default(),
            is_name_lost: false,
            store_fault: None,
            log_fault: None,
            leaving: Leaving::default(),
            reported: ReportedState {
                name: Arc::clone(&info.name),
                state: "",
                why: String::new(),
            },
            reported_times: (false, None),
            announcer: Announcer::default(),
            info,
        }
    }

    /// Does what is due.
    fn turn(&mut self, cx: &mut Context<'_>) {
        let counters = &self.info.counters;
        self.monitor.handle_answers(counters.answers.load());
        self.monitor.handle_backlog(counters.has_backlog(), cx.now);
        while let Some(order) = self.monitor.poll_order(cx.now) {
            self.follow(order, cx);
        }
        self.leave(cx);
        if !self.leaving.is_under_way() {
            self.pass_gate(cx);
            self.tell(cx);
        }
    }

    /// When [`Backend::turn`] is due if nothing happens to it before, monotonic.
    fn due_at(&self, now: Now) -> Option<Duration> {
        let look_at = self.monitor.waits_for_counters().then(|| next_look(now));
        [self.monitor.deadline(), self.leaving.deadline(now), look_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Applies the settings, and the operator's rate limit, to its lanes.
    fn set_lane(&mut self, cx: &mut Context<'_>) {
        let mut lane = cx.settings.lane(&self.info.name);
        if let Some(rate_max) = self.rate_max
            && !failpoint!(IgnoreRate)
        {
            Arc::make_mut(&mut lane).records_per_second_max = u64::from(rate_max);
        }
        self.lane = lane;
        let backend = self.info.id;
        cx.outbox.workers(|| WorkerMessage::Settings {
            backend,
            settings: Arc::clone(&self.lane),
        });
        let name = &self.info.name;
        cx.board
            .set_rate_max(name, self.lane.records_per_second_max);
    }

    /// Nothing is in flight to it any more.
    pub(super) fn handle_flushed(&mut self, epoch: Epoch, now: Now) {
        self.monitor.handle_flushed(epoch, now);
        if self.monitor.is_flushed() {
            self.gate.handle_flushed(now);
        }
    }

    /// An idle connection may be lost at any time; all else answers the probe that is out.
    pub(super) fn handle_probe(&mut self, result: ProbeResult, now: Now) {
        let was_probing = std::mem::take(&mut self.is_probing);
        if !was_probing && result != ProbeResult::Lost {
            return;
        }
        let took = now.monotonic.saturating_sub(self.probe_begun.0);
        self.probed = Some(LastProbe {
            probe_unix: now.unix,
            probe_answer: result.answer(),
            probe_ms: was_probing.then_some(took.as_secs_f64() * 1e3),
        });
        let answers = self.info.counters.answers.load();
        let probes = &self.info.counters.probes;
        match &result {
            ProbeResult::Good { .. } => &probes.good,
            ProbeResult::Bad(_) | ProbeResult::Closed(_) | ProbeResult::Silent(_) => &probes.bad,
            ProbeResult::Refused => &probes.refused,
            ProbeResult::Lost => &probes.lost,
        }
        .add(1);
        self.note_answers(answers, now);
        self.note_sign(&result, answers, now);
        match result {
            ProbeResult::Good { watched } => self.monitor.handle_probe_good(watched, answers, now),
            ProbeResult::Bad(why) | ProbeResult::Closed(why) | ProbeResult::Silent(why) => {
                self.monitor.handle_probe_bad(why, answers, now);
            }
            ProbeResult::Refused => self.monitor.handle_probe_refused(now),
            ProbeResult::Lost => self.monitor.handle_probe_lost(answers, now),
        }
    }

    fn follow(&mut self, order: Order, cx: &mut Context<'_>) {
        match order {
            Order::Resolve => self.look_up(cx),
            Order::Probe { authenticated } => self.begin_probe(authenticated, cx),
            Order::Flush { epoch } => {
                self.info.counters.flushes.add(1);
                self.gate.handle_flush();
                cx.outbox.flush(self.info.id, epoch, cx.drain_until);
            }
            Order::Open { epoch } => self.open(epoch),
            Order::Ttl { ready } => {
                if self.gate.handle_ttl(ready) {
                    cx.outbox.ttl(self.info.id, ready);
                }
            }
        }
    }

    fn begin_probe(&mut self, authenticated: bool, cx: &mut Context<'_>) {
        self.probe_begun = (cx.now.monotonic, self.info.counters.answers.load());
        self.is_probing = true;
        let Some(address) = self.address else {
            let result = ProbeResult::Bad("it has no address".to_owned());
            return self.handle_probe(result, cx.now);
        };
        cx.actions.push_back(Action::Probe(ProbeRequest {
            backend: self.info.id,
            address,
            authenticated,
            is_up: self.monitor.is_up(),
        }));
    }

    fn open(&mut self, epoch: Epoch) {
        let Some(address) = self.address else {
            return;
        };
        self.wanted = Wanted {
            proven: Some(address),
            attempt: 0,
        };
        self.gate.handle_open(epoch);
    }

    /// Publishes its state, and logs what has changed.
    fn tell(&mut self, cx: &mut Context<'_>) {
        if let Some(probed) = self.probed.take() {
            cx.board.set_probe(&self.info.name, probed);
        }
        let leaving = (self.leaving.is_folder_gone(), self.monitor.retry_at());
        if self.reported_times != leaving {
            self.reported_times = leaving;
            cx.board.set_folder_gone(&self.info.name, leaving.0);
            cx.board.set_retry_at(&self.info.name, leaving.1);
        }
        let word = self.monitor.state_word();
        let why = all_that_is_wrong(
            self.monitor.why(),
            self.store_fault.as_deref(),
            self.log_fault.as_deref(),
        );
        let name = &self.info.name;
        if self.monitor.is_known() {
            let cause = self.monitor.why().unwrap_or_default();
            match self.announcer.poll(word, cause, cx.now) {
                Some(Announcement::State) => log_state(name, word, &why),
                Some(Announcement::Cause) if word != "up" => {
                    tracing::warn!(
                        backend = %name, cause = %why,
                        "still {word}, for another cause"
                    );
                }
                _ => {}
            }
        }
        if (self.reported.state, &*self.reported.why) == (word, &*why) {
            return;
        }
        cx.board.set_state(name, word, &why, cx.now);
        self.reported = ReportedState {
            name: Arc::clone(name),
            state: word,
            why: why.into_owned(),
        };
        *cx.states_changed = true;
    }
}
