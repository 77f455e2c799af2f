//! The controller: inotify, the HTTP server, probes, signals and timers on one reactor. It owns the
//! monitors and tells the other threads what to do.
//!
//! ```text
//!  Running ── SIGTERM, SIGINT, stop ──▶ Draining ── all flushed, or drain_timeout ──▶ Writing
//!     │                                    │                                             │
//!     │                                    │      over ◀── Closing ◀── CheckpointerDone ─┤
//!     └── a thread failed ─────────────────┴──── a second signal ────────────────────────┴──▶ over
//! ```
//!
//! It waits only in its own poll: never for a disk, a backend, or room in another thread's mailbox
//! ([`Outbox`]).

mod backends;
mod ending;
mod http_server;
mod pending_requests;
mod process_stats;
mod reload;
mod sync_points;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::clock::Now;
use crate::config::AccessList;
use crate::engine::clock::Clock;
use crate::engine::listener::{ListenError, Listener, ListenerOptions};
use crate::engine::mounts::Mounts;
use crate::engine::resolve::Resolver;
use crate::engine::settings::Settings;
use crate::engine::shared::Shared;
use crate::engine::signals::Signals;
use crate::engine::watch::{FsEvent, Watch};
use crate::limits::{BACKLOG_LOOK_MS, MAILBOX_MESSAGES, OUTBOX_RETRY};
use crate::replay::dirty_flags::DirtyFlags;
use crate::replay::ending::Phase;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{CheckpointerMessage, ControlMessage, ReaderMessage, WorkerMessage};
use crate::replay::outbox::{After, Outbox};
use crate::status::counters::ServerCounters;

pub(crate) use backends::BackendState;
use backends::{Backends, Context};
pub use ending::Ending;
use http_server::HttpServer;
use pending_requests::PendingRequests;
pub use pending_requests::Rotate;
use process_stats::{ProcessStats, listener_counters};
use reload::Reloading;
pub use reload::{Reload, Reloaded};
use sync_points::SyncPoints;

/// The token of the controller's waker.
pub const WAKER: Token = Token(0);
const WATCH: Token = Token(1);
const SIGNALS: Token = Token(2);
const MOUNTS: Token = Token(3);
/// The HTTP server's first token. The probes' tokens follow its last.
const HTTP_SERVER: Token = Token(16);

/// How many events are taken from the system at once.
const EVENTS: usize = 1024;

/// What the controller shares with the other threads.
pub struct ControlLinks {
    /// Its own.
    pub mailbox: Arc<Mailbox<ControlMessage>>,
    /// The reader's.
    pub reader: Arc<Mailbox<ReaderMessage>>,
    /// The checkpointer's.
    pub checkpointer: Arc<Mailbox<CheckpointerMessage>>,
    /// The workers', by number.
    pub workers: Vec<Arc<Mailbox<WorkerMessage>>>,
    /// The flags that inotify events set.
    pub dirty_flags: Arc<DirtyFlags>,
    /// The state and requests that the engine's owner shares with the controller.
    pub shared: Arc<Shared>,
    /// The process's counters.
    pub counters: Arc<ServerCounters>,
}

/// The parts of which the controller is made.
pub struct ControlParts {
    /// The reactor; [`WAKER`] is registered with it.
    pub poll: Poll,
    /// The clock.
    pub clock: Clock,
    /// The others.
    pub links: ControlLinks,
    /// The settings that all threads use.
    pub settings: Settings,
    /// HA's logs.
    pub logs: PathBuf,
    /// The HTTP server.
    pub http_server: ListenerOptions,
    /// Its socket, if systemd has passed one.
    pub handed_over: Option<std::net::TcpListener>,
    /// Who may use it.
    pub access: AccessList,
    /// Reads the configuration again.
    pub reload: Reload,
    /// Reopens the server's own log file.
    pub rotate: Rotate,
    /// Resolves names of backends.
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
    outbox: Outbox,
    watch: Watch,
    mounts: Mounts,
    signals: Option<Signals>,
    listener: Listener,
    http_server: HttpServer,
    backends: Backends,
    reloading: Reloading,
    rotate: Rotate,
    pending_requests: PendingRequests,
    sync_points: SyncPoints,
    phase: Phase,
    drain_until: Option<Duration>,
    checkpointer_done: bool,
    /// When missing inotify watches are set again.
    restore_at: Duration,
    /// Messages were left for the next turn.
    busy: bool,
    /// inotify events were left for the next turn; the poll will not report them again.
    dirty_flags_left: bool,
}

/// Why the controller could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The HTTP server.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The signals.
    #[error("cannot take over the signals: {0}")]
    Signals(io::Error),
}

impl Control {
    /// Opens the HTTP server and watches the logs' path.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn new(parts: ControlParts) -> Result<Self, ControlError> {
        let registry = parts.poll.registry();
        let now = parts.clock.now();
        let access = parts.access;
        let listener = Listener::open(
            parts.http_server,
            parts.handed_over,
            Box::new(move |peer| access.admits(peer)),
            registry,
            HTTP_SERVER,
        )?;
        let signals = parts
            .signals
            .then(|| Signals::new(registry, SIGNALS))
            .transpose()
            .map_err(ControlError::Signals)?;
        let probes = Token(HTTP_SERVER.0 + parts.http_server.connections_max + 1);
        let links = parts.links;
        Ok(Self {
            outbox: Outbox::new(
                Arc::clone(&links.reader),
                Arc::clone(&links.checkpointer),
                links.workers.iter().cloned(),
            ),
            // First: what is mounted after the watches are set is told.
            mounts: Mounts::new(registry, MOUNTS),
            watch: Watch::new(parts.logs, registry, WATCH),
            signals,
            listener,
            http_server: HttpServer::new(
                parts.settings.auth.clone(),
                ProcessStats::new(&links),
                parts.settings.reader.memory_budget_bytes,
                now,
            ),
            backends: Backends::new(probes, parts.resolver, parts.seed),
            reloading: Reloading::new(parts.reload, Arc::clone(&links.mailbox)),
            rotate: parts.rotate,
            pending_requests: PendingRequests::default(),
            sync_points: SyncPoints::new(parts.seed),
            phase: Phase::default(),
            drain_until: None,
            checkpointer_done: false,
            restore_at: now.after(parts.settings.reader.rescan_interval),
            busy: false,
            dirty_flags_left: false,
            poll: parts.poll,
            clock: parts.clock,
            settings: parts.settings,
            links,
        })
    }

    /// Where the HTTP server is, with the port that port 0 became.
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
                    self.answer_last(&mut events)?;
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

    /// Does everything except for the poll's events: handles messages and requests, does what is
    /// due, and sends what is in the outbox.
    fn turn(&mut self, now: Now) -> Option<Ending> {
        self.links.mailbox.note_turn();
        self.busy = false;
        self.receive_messages(now);
        if let Some(ending) = self.take_requests(now) {
            return Some(ending);
        }
        if self.dirty_flags_left {
            self.take_dirty_flags();
        }
        let is_mounted = self.mounts.poll_look(now);
        if is_mounted || self.restore_at <= now.monotonic {
            self.restore_at = now.after(self.settings.reader.rescan_interval);
            if self.watch.restore(self.poll.registry()) > 0 {
                self.links.dirty_flags.hint_overflow();
            }
        }
        let (backends, mut cx) = self.cx(now);
        backends.turn(&mut cx);
        if std::mem::take(&mut self.http_server.states_changed) {
            self.links.shared.publish(self.backends.told());
        }
        self.http_server.handle_turn(
            listener_counters(&self.listener),
            !self.phase.is_running(),
            now,
        );
        self.listener
            .handle_deadlines(self.poll.registry(), now, &mut self.http_server);
        self.follow_requests(now);
        let ending = self.end_further(now);
        self.outbox.deliver();
        ending
    }

    fn receive_messages(&mut self, now: Now) {
        for taken in 0.. {
            if taken == MAILBOX_MESSAGES {
                self.busy = true;
                return;
            }
            let Some(message) = self.links.mailbox.receive() else {
                return;
            };
            self.handle_message(message, now);
        }
    }

    fn handle_message(&mut self, message: ControlMessage, now: Now) {
        match message {
            ControlMessage::BackendFound(folder) => {
                if self.phase.is_running() {
                    let (backends, mut cx) = self.cx(now);
                    backends.handle_found(folder, &mut cx);
                }
            }
            ControlMessage::FolderGone(folder) => {
                let (backends, mut cx) = self.cx(now);
                backends.handle_folder_gone(&folder, &mut cx);
            }
            ControlMessage::StateLeft { backend, left } => {
                let is_running = self.phase.is_running();
                let (backends, mut cx) = self.cx(now);
                if is_running
                    && let Some(answer) = backends.handle_state_left(backend, left, &mut cx)
                {
                    self.answer_leaving(answer, now);
                }
            }
            ControlMessage::Forgotten { backend, totals } => {
                let (backends, mut cx) = self.cx(now);
                if let Some(answer) = backends.handle_forgotten(backend, totals, &mut cx) {
                    self.answer_leaving(answer, now);
                }
            }
            ControlMessage::ForgottenBefore(totals) => {
                let (backends, mut cx) = self.cx(now);
                backends.set_forgotten(totals, &mut cx);
            }
            ControlMessage::FolderUnrecognized { name, why } => {
                self.backends.handle_unrecognized(&name, &why)
            }
            ControlMessage::SecondNames(names) => {
                for new in self.http_server.board.set_second_names(names) {
                    self.backends.handle_unrecognized(&new.name, &new.why());
                }
            }
            ControlMessage::Trouble {
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
            ControlMessage::Flushed { backend, epoch } => {
                self.backends.handle_flushed(backend, epoch, now);
            }
            ControlMessage::StoreFault { backend, fault } => {
                self.backends.handle_store_fault(backend, fault);
            }
            ControlMessage::LogFault { backend, fault } => {
                self.backends.handle_log_fault(backend, fault);
            }
            ControlMessage::Resolved { backend, address } => {
                self.backends.handle_resolved(backend, address, now);
            }
            ControlMessage::OutagesRead { backend, kept } => {
                self.backends.handle_outages_read(backend, &kept, now);
            }
            ControlMessage::OutagesForgotten { backend } => {
                self.backends.handle_outages_forgotten(backend);
            }
            ControlMessage::SyncPointTaken { id, taken } => self.handle_point_taken(id, taken, now),
            // Waiting clients are checked in each turn.
            ControlMessage::SyncPointMoved { .. } => {}
            ControlMessage::Requeued {
                backend,
                ask,
                outcome,
            } => self.handle_requeued(backend, ask, outcome, now),
            ControlMessage::CheckpointerDone => self.checkpointer_done = true,
        }
    }

    /// Handles requests by signals, by the engine's owner and by other threads.
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
                self.links.shared.lifecycle.begin_reload();
                self.reloading.begin();
            }
        }
        if let Some(reloaded) = self.reloading.take() {
            self.apply(reloaded, now);
        }
        None
    }

    /// Whether [`Self::take_requests`] has something to do, which only the waker reports.
    fn has_requests(&self) -> bool {
        let shared = &self.links.shared;
        let stop = self.phase.is_running() && shared.is_stop_wanted();
        stop || shared.is_reload_wanted() || shared.has_failed() || self.reloading.is_ready()
    }

    fn apply(&mut self, reloaded: Result<Reloaded, String>, now: Now) {
        let reloaded = match reloaded {
            Ok(reloaded) => reloaded,
            Err(fault) => {
                tracing::error!(cause = %fault, "the configuration can't be read again and stays \
                                                 as it is");
                self.links.shared.lifecycle.end_reload();
                return;
            }
        };
        for change in &reloaded.said {
            tracing::info!("{change}");
        }
        tracing::info!("the configuration was read again");
        self.links.shared.lifecycle.end_reload();
        let other_password = self.settings.credentials != reloaded.settings.credentials;
        self.settings = reloaded.settings;
        self.http_server.set_auth(self.settings.auth.clone());
        self.http_server
            .set_memory_budget(self.settings.reader.memory_budget_bytes);
        let (checkpointer, reader) = (
            self.settings.checkpointer.clone(),
            self.settings.reader.clone(),
        );
        self.restore_at = self.restore_at.min(now.after(reader.rescan_interval));
        self.outbox
            .checkpointer(After::Nothing, CheckpointerMessage::Settings(checkpointer));
        self.outbox
            .reader(After::Nothing, ReaderMessage::Settings(reader));
        let (backends, mut cx) = self.cx(now);
        backends.handle_settings(other_password, &mut cx);
    }

    fn handle_event(&mut self, event: &mio::event::Event, now: Now) {
        match event.token() {
            // Both are handled in each turn.
            WAKER | SIGNALS => {}
            WATCH => self.take_dirty_flags(),
            MOUNTS => self.mounts.handle_event(now),
            token if self.listener.owns(token) => {
                self.listener
                    .handle_event(event, self.poll.registry(), now, &mut self.http_server);
            }
            token if self.backends.owns(token) => self.backends.handle_event(token, now),
            _ => {}
        }
    }

    fn take_dirty_flags(&mut self) {
        let Self {
            watch,
            links,
            backends,
            ..
        } = self;
        let more = watch.take(|seen| match seen {
            FsEvent::Folders => links.dirty_flags.hint_root(),
            FsEvent::Grew(backend) => {
                if let Some(dirty_flags) = backends.dirty_flags(backend) {
                    links.dirty_flags.hint_grew(dirty_flags);
                }
            }
            FsEvent::Listing(backend) => {
                if let Some(dirty_flags) = backends.dirty_flags(backend) {
                    links.dirty_flags.hint_listing(dirty_flags);
                }
            }
            FsEvent::Lost => links.dirty_flags.hint_overflow(),
        });
        self.dirty_flags_left = more;
    }

    /// How long the poll may wait.
    fn timeout(&self, now: Now) -> Option<Duration> {
        let mailbox = &self.links.mailbox;
        if self.busy
            || self.dirty_flags_left
            || !mailbox.prepare_sleep_unless(|| self.has_requests())
        {
            return Some(Duration::ZERO);
        }
        let until = [
            Some(self.restore_at),
            self.mounts.deadline(),
            self.backends.deadline(),
            self.listener.next_deadline(),
            self.phase.deadline(),
            self.sync_points.deadline(),
            (!self.outbox.is_empty()).then(|| now.after(OUTBOX_RETRY)),
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

    /// The backends, and the context that their handlers need.
    fn cx(&mut self, now: Now) -> (&mut Backends, Context<'_>) {
        let cx = Context {
            outbox: &mut self.outbox,
            http_server: &mut self.http_server,
            watch: &mut self.watch,
            registry: self.poll.registry(),
            settings: &self.settings,
            mailbox: &self.links.mailbox,
            drain_until: self.drain_until,
            now,
        };
        (&mut self.backends, cx)
    }
}
