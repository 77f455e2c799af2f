//! The control thread: inotify, HA's door, probes, signals and timers on one reactor; it owns the monitors and tells the others what to do.
//!
//! ```text
//!  Running ── SIGTERM, SIGINT, stop ──▶ Draining ── all flushed, or drain_timeout ──▶ Writing ── KeeperDone ──▶ Closing ──▶ over
//!     │                                    │                                             │
//!     └── a thread failed ─────────────────┴──── a second signal ────────────────────────┴──▶ over, at once
//! ```
//!
//! It waits for nothing but its own poll: not for a disk, not for a backend, not for a full mailbox of another thread ([`Post`]).

mod asks;
mod backends;
mod door;
mod ending;
mod reload;
mod sync_points;
#[cfg(test)]
mod tests;
mod vitals;

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::clock::Now;
use crate::config::AccessList;
use crate::engine::clock::Clock;
use crate::engine::listener::{ListenError, Listener, ListenerOptions};
use crate::engine::resolve::Resolver;
use crate::engine::settings::Settings;
use crate::engine::shared::Shared;
use crate::engine::signals::Signals;
use crate::engine::watch::{Seen, Watch};
use crate::limits::{BACKLOG_LOOK_MS, MAILBOX_MESSAGES, OUTBOX_RETRY};
use crate::replay::ending::Phase;
use crate::replay::hints::Hints;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{ControlMail, FeederMail, KeeperMail, WorkerMail};
use crate::replay::post::{After, Post};
use crate::status::counters::ServerCounters;

use asks::Asks;
pub use asks::Rotate;
pub(crate) use backends::BackendState;
use backends::{Backends, Hands};
use door::Door;
pub use ending::Ending;
use reload::Reloading;
pub use reload::{Reload, Reloaded};
use sync_points::SyncPoints;
use vitals::{Vitals, door_counts};

/// The token of control's bell.
pub const BELL: Token = Token(0);
const WATCH: Token = Token(1);
const SIGNALS: Token = Token(2);
/// The door's first; behind its last come the probes'.
const DOOR: Token = Token(16);

/// Events taken from the system at once.
const EVENTS: usize = 1024;

/// The mailboxes and hints that control shares with the others.
pub struct ControlLinks {
    /// Its own.
    pub mailbox: Arc<Mailbox<ControlMail>>,
    /// The feeder's.
    pub feeder: Arc<Mailbox<FeederMail>>,
    /// The keeper's.
    pub keeper: Arc<Mailbox<KeeperMail>>,
    /// The workers', by number.
    pub workers: Vec<Arc<Mailbox<WorkerMail>>>,
    /// Where inotify's hints go.
    pub hints: Arc<Hints>,
    /// What whoever started us can ask and say.
    pub shared: Arc<Shared>,
    /// The process's numbers.
    pub counters: Arc<ServerCounters>,
}

/// What control is made of.
pub struct ControlParts {
    /// The reactor; [`BELL`] is registered with it.
    pub poll: Poll,
    /// The clock.
    pub clock: Clock,
    /// The others.
    pub links: ControlLinks,
    /// What everyone goes by.
    pub settings: Settings,
    /// HA's logs.
    pub logs: PathBuf,
    /// HA's door.
    pub door: ListenerOptions,
    /// Its socket, where systemd has handed one over.
    pub handed_over: Option<std::net::TcpListener>,
    /// Who may come to it.
    pub access: AccessList,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Begins the server's own log file anew.
    pub rotate: Rotate,
    /// Looks names of backends up.
    pub resolver: Resolver,
    /// Whether the process's signals are ours.
    pub signals: bool,
    /// For jitter.
    pub seed: u64,
}

/// See the module.
pub struct Control {
    poll: Poll,
    clock: Clock,
    links: ControlLinks,
    settings: Settings,
    post: Post,
    watch: Watch,
    signals: Option<Signals>,
    listener: Listener,
    door: Door,
    backends: Backends,
    reloading: Reloading,
    rotate: Rotate,
    asks: Asks,
    sync_points: SyncPoints,
    phase: Phase,
    drain_until: Option<Duration>,
    keeper_done: bool,
    /// When missing watches are set again.
    restore_at: Duration,
    /// Mail was left for the next turn.
    busy: bool,
    /// Hints were left for the next turn; no event will tell.
    hints_left: bool,
}

/// Why control could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// HA's door.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The signals.
    #[error("cannot take over the signals: {0}")]
    Signals(io::Error),
}

impl Control {
    /// Opens HA's door and watches the logs' path.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn new(parts: ControlParts) -> Result<Self, ControlError> {
        let registry = parts.poll.registry();
        let now = parts.clock.now();
        let access = parts.access;
        let listener = Listener::open(
            parts.door,
            parts.handed_over,
            Box::new(move |peer| access.admits(peer)),
            registry,
            DOOR,
        )?;
        let signals = parts
            .signals
            .then(|| Signals::new(registry, SIGNALS))
            .transpose()
            .map_err(ControlError::Signals)?;
        let probes = Token(DOOR.0 + parts.door.connections_max + 1);
        let links = parts.links;
        Ok(Self {
            post: Post::new(
                Arc::clone(&links.feeder),
                Arc::clone(&links.keeper),
                links.workers.iter().cloned(),
            ),
            watch: Watch::new(parts.logs, registry, WATCH),
            signals,
            listener,
            door: Door::new(
                parts.settings.gate.clone(),
                Vitals::new(&links),
                parts.settings.feeder.memory_budget_bytes,
                now,
            ),
            backends: Backends::new(probes, parts.resolver, parts.seed),
            reloading: Reloading::new(parts.reload, Arc::clone(&links.mailbox)),
            rotate: parts.rotate,
            asks: Asks::default(),
            sync_points: SyncPoints::new(parts.seed),
            phase: Phase::default(),
            drain_until: None,
            keeper_done: false,
            restore_at: now.after(parts.settings.feeder.rescan_interval),
            busy: false,
            hints_left: false,
            poll: parts.poll,
            clock: parts.clock,
            settings: parts.settings,
            links,
        })
    }

    /// Where HA's door is, with the port that port 0 became.
    #[must_use]
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.listener.local_addr()
    }

    /// Runs until the end.
    ///
    /// # Errors
    /// When the system's poll fails, which it does only for a defect of ours or no memory.
    pub fn run(mut self) -> io::Result<Ending> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = self.clock.now();
            if let Some(ending) = self.turn(now) {
                if matches!(ending, Ending::Clean | Ending::Cut(_)) {
                    self.part(&mut events)?;
                }
                return Ok(ending);
            }
            let timeout = self.timeout(self.clock.now());
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.links.mailbox.awake();
            let now = self.clock.now();
            for event in &events {
                self.handle_event(event, now);
            }
        }
    }

    /// Everything but the events: mail, requests, what is due, letters.
    fn turn(&mut self, now: Now) -> Option<Ending> {
        self.links.mailbox.note_turn();
        self.busy = false;
        self.take_mail(now);
        if let Some(ending) = self.take_requests(now) {
            return Some(ending);
        }
        if self.hints_left {
            self.take_hints();
        }
        if self.restore_at <= now.monotonic {
            self.restore_at = now.after(self.settings.feeder.rescan_interval);
            if self.watch.restore(self.poll.registry()) > 0 {
                self.links.hints.hint_overflow();
            }
        }
        let (backends, mut hands) = self.hands(now);
        backends.turn(&mut hands);
        if std::mem::take(&mut self.door.states_changed) {
            self.links.shared.publish(self.backends.told());
        }
        self.door
            .handle_turn(door_counts(&self.listener), !self.phase.is_running(), now);
        self.listener
            .handle_deadlines(self.poll.registry(), now, &mut self.door);
        self.follow_asks(now);
        let ending = self.end_further(now);
        self.post.deliver();
        ending
    }

    fn take_mail(&mut self, now: Now) {
        for taken in 0.. {
            if taken == MAILBOX_MESSAGES {
                self.busy = true;
                return;
            }
            let Some(mail) = self.links.mailbox.receive() else {
                return;
            };
            self.handle_mail(mail, now);
        }
    }

    fn handle_mail(&mut self, mail: ControlMail, now: Now) {
        match mail {
            ControlMail::BackendFound(folder) => {
                if self.phase.is_running() {
                    let (backends, mut hands) = self.hands(now);
                    backends.handle_found(folder, &mut hands);
                }
            }
            ControlMail::FolderGone(folder) => {
                let (backends, mut hands) = self.hands(now);
                backends.handle_folder_gone(&folder, &mut hands);
            }
            ControlMail::StateLeft { backend, left } => {
                let is_running = self.phase.is_running();
                let (backends, mut hands) = self.hands(now);
                if is_running
                    && let Some(answer) = backends.handle_state_left(backend, left, &mut hands)
                {
                    self.answer_leaving(answer, now);
                }
            }
            ControlMail::Forgotten { backend, totals } => {
                let (backends, mut hands) = self.hands(now);
                if let Some(answer) = backends.handle_forgotten(backend, totals, &mut hands) {
                    self.answer_leaving(answer, now);
                }
            }
            ControlMail::ForgottenBefore(totals) => {
                let (backends, mut hands) = self.hands(now);
                backends.set_forgotten(totals, &mut hands);
            }
            ControlMail::FolderStrange { name, why } => self.backends.handle_strange(&name, &why),
            ControlMail::Trouble {
                backend,
                lane,
                epoch,
                trouble,
                record,
            } => {
                let record = record.as_ref();
                self.backends
                    .handle_trouble(backend, lane, epoch, &trouble, record, now);
            }
            ControlMail::Flushed { backend, epoch } => {
                self.backends.handle_flushed(backend, epoch, now);
            }
            ControlMail::StoreFault { backend, fault } => {
                self.backends.handle_store_fault(backend, fault);
            }
            ControlMail::LogFault { backend, fault } => {
                self.backends.handle_log_fault(backend, fault);
            }
            ControlMail::Resolved { backend, address } => {
                self.backends.handle_resolved(backend, address, now);
            }
            ControlMail::OutagesRead { backend, kept } => {
                self.backends.handle_outages_read(backend, &kept, now);
            }
            ControlMail::OutagesForgotten { backend } => {
                self.backends.handle_outages_forgotten(backend);
            }
            ControlMail::SyncPointTaken { id, taken } => self.handle_point_taken(id, taken, now),
            // Who waits for it is looked at in each turn.
            ControlMail::SyncPointMoved { .. } => {}
            ControlMail::Reworked {
                backend,
                ask,
                outcome,
            } => self.handle_reworked(backend, ask, outcome, now),
            ControlMail::KeeperDone => self.keeper_done = true,
        }
    }

    /// What signals, whoever started us and the other threads ask for.
    fn take_requests(&mut self, now: Now) -> Option<Ending> {
        let mut signalled = self.signals.as_mut().map(Signals::take).unwrap_or_default();
        signalled.reload |= self.links.shared.take_reload();
        if signalled.rotate
            && let Err(why) = (self.rotate)()
        {
            tracing::warn!(cause = %why, "SIGUSR1 has no log file to begin anew, and is ignored");
        }
        for signal in &signalled.ignored {
            tracing::warn!("{signal} means nothing here, and is ignored");
        }
        if let Some(failure) = self.links.shared.failure() {
            return Some(Ending::Failed(failure));
        }
        for _ in 0..signalled.ends {
            if !self.phase.is_running() {
                return Some(Ending::AtOnce);
            }
            self.begin_end(now);
        }
        if self.phase.is_running() {
            if self.links.shared.is_stop_wanted() {
                self.begin_end(now);
            } else if signalled.reload {
                self.links.shared.stages.begin_reload();
                self.reloading.begin();
            }
        }
        if let Some(reloaded) = self.reloading.take() {
            self.apply(reloaded, now);
        }
        None
    }

    /// Whether [`Self::take_requests`] has something to do that only the bell tells.
    fn has_requests(&self) -> bool {
        let shared = &self.links.shared;
        let stop = self.phase.is_running() && shared.is_stop_wanted();
        stop || shared.is_reload_wanted() || shared.has_failed() || self.reloading.is_ready()
    }

    fn apply(&mut self, reloaded: Result<Reloaded, String>, now: Now) {
        let reloaded = match reloaded {
            Ok(reloaded) => reloaded,
            Err(fault) => {
                tracing::error!(cause = %fault, "the configuration can't be read again and stays as it is");
                self.links.shared.stages.end_reload();
                return;
            }
        };
        for change in &reloaded.said {
            tracing::info!("{change}");
        }
        tracing::info!("the configuration was read again");
        self.links.shared.stages.end_reload();
        let other_password = self.settings.credentials != reloaded.settings.credentials;
        self.settings = reloaded.settings;
        self.door.set_gate(self.settings.gate.clone());
        self.door
            .set_memory_budget(self.settings.feeder.memory_budget_bytes);
        let (keeper, feeder) = (self.settings.keeper.clone(), self.settings.feeder.clone());
        self.restore_at = self.restore_at.min(now.after(feeder.rescan_interval));
        self.post
            .keeper(After::Nothing, KeeperMail::Settings(keeper));
        self.post
            .feeder(After::Nothing, FeederMail::Settings(feeder));
        let (backends, mut hands) = self.hands(now);
        backends.handle_settings(other_password, &mut hands);
    }

    fn handle_event(&mut self, event: &mio::event::Event, now: Now) {
        match event.token() {
            // Both are looked at in each turn.
            BELL | SIGNALS => {}
            WATCH => self.take_hints(),
            token if self.listener.owns(token) => {
                self.listener
                    .handle_event(event, self.poll.registry(), now, &mut self.door);
            }
            token if self.backends.owns(token) => self.backends.handle_event(token, now),
            _ => {}
        }
    }

    fn take_hints(&mut self) {
        let Self {
            watch,
            links,
            backends,
            ..
        } = self;
        let more = watch.take(|seen| match seen {
            Seen::Folders => links.hints.hint_root(),
            Seen::Grew(backend) => {
                if let Some(hints) = backends.hints(backend) {
                    links.hints.hint_grew(hints);
                }
            }
            Seen::Listing(backend) => {
                if let Some(hints) = backends.hints(backend) {
                    links.hints.hint_listing(hints);
                }
            }
            Seen::Lost => links.hints.hint_overflow(),
        });
        self.hints_left = more;
    }

    /// How long the poll may wait.
    fn timeout(&self, now: Now) -> Option<Duration> {
        let mailbox = &self.links.mailbox;
        if self.busy || self.hints_left || !mailbox.prepare_sleep_unless(|| self.has_requests()) {
            return Some(Duration::ZERO);
        }
        let until = [
            Some(self.restore_at),
            self.backends.deadline(),
            self.listener.next_deadline(),
            self.phase.deadline(),
            self.sync_points.deadline(),
            (!self.post.is_empty()).then(|| now.after(OUTBOX_RETRY)),
            self.backends
                .wait_for_backlog()
                .then(|| now.after(Duration::from_millis(BACKLOG_LOOK_MS))),
        ];
        until
            .into_iter()
            .flatten()
            .min()
            .map(|until| until.saturating_sub(now.monotonic))
    }

    /// The backends, and what their events may need of the rest.
    fn hands(&mut self, now: Now) -> (&mut Backends, Hands<'_>) {
        let hands = Hands {
            post: &mut self.post,
            door: &mut self.door,
            watch: &mut self.watch,
            registry: self.poll.registry(),
            settings: &self.settings,
            mailbox: &self.links.mailbox,
            drain_until: self.drain_until,
            now,
        };
        (&mut self.backends, hands)
    }
}
