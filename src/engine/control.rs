//! The controller's thread: the HTTP server, probes, signals and timers on one reactor.
//! What they mean, and what the other threads are to do, is decided by
//! [`replay::controller`](crate::replay::controller), which this drives.
//!
//! ```text
//!  Running ── SIGTERM, SIGINT, stop ──▶ Draining ── all flushed, or drain_timeout ──▶ Writing
//!     │                                    │                                             │
//!     │                                    │      over ◀── Closing ◀── CheckpointerDone ─┤
//!     └── a thread failed ─────────────────┴──── a second signal ────────────────────────┴──▶ over
//! ```
//!
//! It waits only in its own poll: never for a disk, a backend, or room in another thread's mailbox.

mod ending;
mod http_server;
mod probes;
mod process_stats;
mod reload;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::clock::Now;
use crate::config::{AccessList, BackendName};
use crate::engine::clock::Clock;
use crate::engine::listener::{ListenError, Listener, ListenerOptions};
use crate::engine::liveness::MonitoredThreads;
use crate::engine::os::facts::host_name;
use crate::engine::resolve::{Resolver, written_address};
use crate::engine::settings::Settings;
use crate::engine::shared::Shared;
use crate::engine::signals::Signals;
use crate::engine::wait::wait;
use crate::http::answer::{ClientId, Status};
use crate::replay::controller::action::Reply;
use crate::replay::controller::{Action, Controller, ControllerRules};
use crate::replay::links::Links;

pub use ending::Ending;
use http_server::HttpServer;
use probes::Probes;
use process_stats::ProcessStats;
use reload::Reloading;
pub use reload::{Reload, Reloaded};

/// Reopens the server's own log file, and returns whether that worked; it must not wait for a disk.
pub type Rotate = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// The token of the controller's waker.
pub const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
/// The HTTP server's first token. The probes' tokens follow its last.
const HTTP_SERVER: Token = Token(16);

/// How many events are taken from the system at once.
const EVENTS: usize = 1024;

/// What the thread shares with the others.
#[derive(Clone)]
pub struct ControlLinks {
    /// What all threads share.
    pub replay: Links,
    /// The state and requests that the engine's owner shares with the controller.
    pub shared: Arc<Shared>,
    /// The other threads.
    pub(crate) threads: MonitoredThreads,
}

/// The parts of which the controller is made.
pub struct ControlParts {
    /// The reactor; [`WAKER`] is registered with it.
    pub poll: Poll,
    pub clock: Clock,
    /// The others.
    pub links: ControlLinks,
    /// The settings that all threads use.
    pub settings: Settings,
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
    /// The folder of the state, an absolute path, to tell whoever asks.
    pub state_path: String,
    /// What the workers run on.
    pub engine: &'static str,
    /// For jitter.
    pub seed: u64,
}

/// See the module.
pub struct Control {
    poll: Poll,
    clock: Clock,
    links: ControlLinks,
    settings: Settings,
    controller: Controller,
    probes: Probes,
    signals: Option<Signals>,
    listener: Listener,
    http_server: HttpServer,
    reloading: Reloading,
    rotate: Rotate,
}

/// What the controller's rules are in the product.
fn rules() -> ControllerRules {
    ControllerRules {
        is_backend: |folder| BackendName::parse(folder).is_ok(),
        address: |folder| {
            BackendName::parse(folder)
                .map(|name| written_address(&name))
                .map_err(|fault| fault.to_string())
        },
    }
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
    /// Opens the HTTP server.
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
        let first_probe = Token(HTTP_SERVER.0 + parts.http_server.connections_max + 1);
        let links = parts.links;
        let mailbox = &links.replay.mailboxes.control;
        let mut controller = Controller::new(
            &links.replay,
            rules(),
            parts.settings.controller.clone(),
            parts.seed,
            now,
        );
        let server = controller.board_mut().server_mut();
        server.host = host_name();
        server.state_path = parts.state_path;
        server.engine = parts.engine;
        Ok(Self {
            controller,
            probes: Probes::new(first_probe, parts.resolver, Arc::clone(mailbox)),
            signals,
            listener,
            http_server: HttpServer::new(
                parts.settings.auth.clone(),
                ProcessStats::new(links.threads.clone(), Arc::clone(&links.replay.counters)),
            ),
            reloading: Reloading::new(parts.reload, Arc::clone(mailbox)),
            rotate: parts.rotate,
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
            wait(&mut self.poll, &mut events, timeout)?;
            self.links.replay.mailboxes.control.awake();
            let now = self.clock.now();
            for event in &events {
                self.handle_event(event, now);
            }
        }
    }

    /// Does everything except for the poll's events: passes on messages and requests, does what is
    /// due, and what the controller asks for.
    fn turn(&mut self, now: Now) -> Option<Ending> {
        self.links.replay.mailboxes.control.note_turn();
        self.controller.receive_messages(now);
        if let Some(ending) = self.take_requests(now) {
            return Some(ending);
        }
        // Before any deadline of probes: some are closed.
        self.act(now);
        for (backend, result) in self.probes.handle_deadlines(now) {
            self.controller.handle_probe(backend, result, now);
        }
        let is_ending = !self.controller.is_running();
        self.http_server.handle_turn(
            self.controller.board_mut(),
            self.listener.counts(),
            is_ending,
            now,
        );
        let mut answers = self.http_server.with(self.controller.board_mut());
        self.listener
            .handle_deadlines(self.poll.registry(), now, &mut answers);
        for (client, request) in self.http_server.pending.drain(..) {
            self.controller.handle_request(client, request);
        }
        self.controller.turn(now);
        self.act(now);
        self.controller.board_mut().sample(now);
        if let Some(states) = self.controller.poll_states() {
            self.links.shared.publish(states);
        }
        let over = self.controller.hand_over(now)?;
        Some(
            over.cut
                .map_or(Ending::Clean, |cut| Ending::Cut(cut.to_owned())),
        )
    }

    /// Does what the controller asks for.
    fn act(&mut self, now: Now) {
        while let Some(action) = self.controller.poll_action() {
            match action {
                Action::Add { backend, folder } => self.probes.add(backend, &folder),
                Action::Remove(backend) => self.probes.remove(backend),
                Action::Resolve { backend, wanted } => {
                    if let Err(why) = self.probes.resolve(backend, wanted) {
                        self.controller.handle_resolved(backend, Err(why), now);
                    }
                }
                Action::Probe(request) => {
                    let registry = self.poll.registry();
                    let result = self.probes.begin(&request, &self.settings, registry, now);
                    if let Some(result) = result {
                        self.controller.handle_probe(request.backend, result, now);
                    }
                }
                Action::CloseProbe(backend) => self.probes.close(backend),
                Action::Reply(client, reply) => self.reply(client, &reply, now),
                Action::Rotate(client) => {
                    let reply = match (self.rotate)() {
                        Ok(said) => Reply::line(Status::Ok, &said),
                        Err(why) => Reply::line(Status::Conflict, &why),
                    };
                    self.reply(client, &reply, now);
                }
                Action::BeginShutdown => {
                    self.listener.begin_end();
                    self.links.shared.lifecycle.stop();
                }
            }
        }
    }

    fn reply(&mut self, client: ClientId, reply: &Reply, now: Now) {
        let mut answers = self.http_server.with(self.controller.board_mut());
        // The client may be gone.
        self.listener
            .respond(client, &reply.answer(), now, &mut answers);
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
            if !self.controller.is_running() {
                return Some(Ending::AtOnce);
            }
            self.controller.handle_stop(now);
        }
        if self.controller.is_running() {
            if self.links.shared.is_stop_wanted() {
                self.controller.handle_stop(now);
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
        let stop = self.controller.is_running() && shared.is_stop_wanted();
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
        self.settings = reloaded.settings;
        self.http_server.set_auth(self.settings.auth.clone());
        let settings = self.settings.controller.clone();
        self.controller.handle_settings(settings, now);
    }

    fn handle_event(&mut self, event: &mio::event::Event, now: Now) {
        match event.token() {
            // Both are handled in each turn.
            WAKER | SIGNALS => {}
            token if self.listener.owns(token) => {
                let mut answers = self.http_server.with(self.controller.board_mut());
                self.listener
                    .handle_event(event, self.poll.registry(), now, &mut answers);
            }
            token if self.probes.owns(token) => {
                if let Some((backend, result)) = self.probes.handle_event(event, now) {
                    self.controller.handle_probe(backend, result, now);
                }
            }
            _ => {}
        }
    }

    /// How long the poll may wait.
    fn timeout(&self, now: Now) -> Option<Duration> {
        let mailbox = &self.links.replay.mailboxes.control;
        if self.controller.has_work()
            || !self.http_server.pending.is_empty()
            || !mailbox.prepare_sleep_unless(|| self.has_requests())
        {
            return Some(Duration::ZERO);
        }
        let until = [
            Some(self.controller.board().sample_at()),
            self.probes.deadline(),
            self.listener.next_deadline(),
            self.controller.deadline(now),
        ];
        until
            .into_iter()
            .flatten()
            .min()
            .map(|until| until.saturating_sub(now.monotonic))
    }
}
