//! The controller: it decides when a backend is up, and tells the other threads what to do. Events
//! and `now` in, messages and [`Action`]s out; its driver is
//! [`engine::control`](crate::engine::control).
//!
//! ```text
//!   messages, requests, results of probes and look-ups, settings, stop
//!                        │
//!                        ▼                     monitors, gates, sync points, requests,
//!                   Controller ── owns ──▶     the status board, the shutdown's phase
//!                        │
//!        ┌───────────────┴───────────────┐
//!        ▼ poll_action                   ▼ hand_over
//!   probe, look up, reply           the other threads' mailboxes (Outbox)
//! ```
//!
//! Contract with the driver, for each of its turns: [`Controller::receive_messages`], any events
//! (`handle_*`), [`Controller::turn`], every [`Action`], and only then [`Controller::hand_over`],
//! which sends the messages. It turns again at [`Controller::deadline`], and at once while
//! [`Controller::has_work`]. The controller waits for nobody: not for a disk, a backend, or room in
//! another thread's mailbox ([`Outbox`]).

pub mod action;
mod backends;
mod requests;
pub mod settings;
pub mod states;
mod sync_points;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::http::answer::ClientId;
use crate::limits::{MAILBOX_MESSAGES, OUTBOX_RETRY};
use crate::replay::dirty_flags::DirtyFlags;
use crate::replay::ending::{Over, Phase};
use crate::replay::links::Links;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    BackendId, CheckpointerMessage, ControlMessage, ReaderMessage, ReconcilerMessage,
};
use crate::replay::outbox::{After, Outbox};
#[cfg(feature = "testing")]
use crate::replay::{messages::BackendInfo, monitor::Monitor};
use crate::status::control_request::ControlRequest;
use crate::status::snapshot::StatusBoard;

pub use action::Action;
use action::ProbeResult;
use backends::{Backends, Context};
use requests::PendingRequests;
pub use settings::{ControllerRules, ControllerSettings};
pub use states::States;
use sync_points::SyncPoints;

/// See the module.
pub struct Controller {
    mailbox: Arc<Mailbox<ControlMessage>>,
    dirty_flags: Arc<DirtyFlags>,
    outbox: Outbox,
    actions: VecDeque<Action>,
    rules: ControllerRules,
    settings: ControllerSettings,
    board: StatusBoard,
    backends: Backends,
    requests: PendingRequests,
    sync_points: SyncPoints,
    phase: Phase,
    /// During shutdown: until when records in flight may be answered, monotonic.
    drain_until: Option<Duration>,
    checkpointer_done: bool,
    /// A state has changed since [`Controller::poll_states`].
    states_changed: bool,
    /// Messages were left for the next turn.
    messages_left: bool,
}

impl Controller {
    /// A controller that knows no backend. `seed` is for jitter and for the sync points' names.
    #[must_use]
    pub fn new(
        links: &Links,
        rules: ControllerRules,
        settings: ControllerSettings,
        seed: u64,
        now: Now,
    ) -> Self {
        let mut board = StatusBoard::new(now);
        board.server_mut().memory_budget_bytes = settings.reader.memory_budget_bytes as u64;
        board.set_reconcile_mode(settings.reconcile.mode.as_str());
        Self {
            outbox: Outbox::new(&links.mailboxes),
            mailbox: Arc::clone(&links.mailboxes.control),
            dirty_flags: Arc::clone(&links.dirty_flags),
            actions: VecDeque::new(),
            rules,
            settings,
            board,
            backends: Backends::new(seed),
            requests: PendingRequests::default(),
            sync_points: SyncPoints::new(seed),
            phase: Phase::default(),
            drain_until: None,
            checkpointer_done: false,
            states_changed: false,
            messages_left: false,
        }
    }

    /// Its mailbox.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox<ControlMessage> {
        &self.mailbox
    }

    /// The backends, as they are reported.
    #[must_use]
    pub fn board(&self) -> &StatusBoard {
        &self.board
    }

    /// The same, for what belongs to no backend.
    pub fn board_mut(&mut self) -> &mut StatusBoard {
        &mut self.board
    }

    /// Whether no shutdown has begun.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.phase.is_running()
    }

    /// The backend of this name.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn find(&self, name: &str) -> Option<BackendId> {
        self.backends.find(name)
    }

    /// A backend's description; `None` if it was forgotten.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn info(&self, backend: BackendId) -> Option<&BackendInfo> {
        self.backends.info(backend)
    }

    /// Every backend, with the monitor that has its state.
    #[cfg(feature = "testing")]
    pub fn backends(&self) -> impl Iterator<Item = (&BackendInfo, &Monitor)> {
        self.backends.iter()
    }

    /// Handles the messages that have come, a bounded number of them.
    pub fn receive_messages(&mut self, now: Now) {
        self.messages_left = false;
        for taken in 0.. {
            if taken == MAILBOX_MESSAGES {
                self.messages_left = true;
                return;
            }
            let Some(message) = self.mailbox.receive() else {
                return;
            };
            self.handle_message(message, now);
        }
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each message")]
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
                if self.phase.is_running() {
                    let (backends, mut cx) = self.cx(now);
                    let answer = backends.handle_state_left(backend, left, &mut cx);
                    self.answer_leaving(answer);
                }
            }
            ControlMessage::Forgotten { backend, totals } => {
                let (backends, mut cx) = self.cx(now);
                let answer = backends.handle_forgotten(backend, totals, &mut cx);
                self.answer_leaving(answer);
            }
            ControlMessage::ForgottenBefore(totals) => {
                let (backends, mut cx) = self.cx(now);
                backends.set_forgotten(totals, &mut cx);
            }
            ControlMessage::FolderUnrecognized { name, why } => {
                self.backends.handle_unrecognized(&name, &why);
            }
            ControlMessage::SecondNames(names) => {
                for new in self.board.set_second_names(names) {
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
                if let Some(backend) = self.backends.get_mut(backend) {
                    backend.handle_trouble(lane, epoch, &trouble, record.as_ref(), now);
                }
            }
            ControlMessage::Flushed { backend, epoch } => {
                if let Some(backend) = self.backends.get_mut(backend) {
                    backend.handle_flushed(epoch, now);
                }
            }
            ControlMessage::StoreFault { backend, fault } => {
                // The checkpointer has logged it.
                if let Some(backend) = self.backends.get_mut(backend) {
                    backend.store_fault = fault;
                }
            }
            ControlMessage::LogFault { backend, fault } => {
                // The reader has logged it.
                if let Some(backend) = self.backends.get_mut(backend) {
                    backend.log_fault = fault;
                }
            }
            ControlMessage::LogsAway { backend, first } => {
                if let Some(info) = self.backends.info(backend) {
                    self.board.set_away_log(&info.name, first.as_deref());
                }
            }
            ControlMessage::Resolved { backend, address } => {
                self.handle_resolved(backend, address, now);
            }
            ControlMessage::OutagesRead { backend, kept } => {
                if let Some(backend) = self.backends.get_mut(backend) {
                    let kept = kept.as_ref().map(Option::as_deref).map_err(|&()| ());
                    backend.gate.handle_read(kept, now);
                }
            }
            ControlMessage::OutagesForgotten { backend } => {
                if let Some(backend) = self.backends.get_mut(backend) {
                    backend.gate.handle_forgotten();
                }
            }
            ControlMessage::SyncPointTaken { id, taken } => self.handle_point_taken(id, taken, now),
            // Waiting clients are checked in each turn.
            ControlMessage::SyncPointMoved => {}
            ControlMessage::Requeued {
                backend,
                ask,
                outcome,
            } => self.handle_requeued(backend, ask, outcome),
            ControlMessage::Listed { ask, listed } => self.handle_listed(ask, listed),
            ControlMessage::CheckpointerDone => self.checkpointer_done = true,
        }
    }

    /// A backend's name has been looked up: it has this address, or why it has none.
    pub fn handle_resolved(
        &mut self,
        backend: BackendId,
        address: Result<SocketAddr, String>,
        now: Now,
    ) {
        let (backends, mut cx) = self.cx(now);
        backends.handle_resolved(backend, address, &mut cx);
    }

    /// A probe has its result, or its idle connection was lost.
    pub fn handle_probe(&mut self, backend: BackendId, result: ProbeResult, now: Now) {
        if let Some(backend) = self.backends.get_mut(backend) {
            backend.handle_probe(result, now);
        }
    }

    /// A client asks for something that changes something or takes time. It is carried out in the
    /// next turn, and answered then or later.
    pub fn handle_request(&mut self, client: ClientId, request: ControlRequest) {
        self.requests.push(client, request);
    }

    /// The configuration was read again.
    pub fn handle_settings(&mut self, settings: ControllerSettings, now: Now) {
        let is_other_password = self.settings.credentials != settings.credentials;
        self.settings = settings;
        let mode = self.settings.reconcile.mode.as_str();
        self.board.set_reconcile_mode(mode);
        self.board.server_mut().memory_budget_bytes =
            self.settings.reader.memory_budget_bytes as u64;
        let (checkpointer, reader) = (
            self.settings.checkpointer.clone(),
            self.settings.reader.clone(),
        );
        // What the checkpointer asks for by these settings, the reconciler knows them first.
        let reconciler = Box::new(self.settings.comparison());
        self.outbox
            .reconciler(ReconcilerMessage::Settings(reconciler));
        self.outbox
            .after(After::Reconciler)
            .checkpointer(CheckpointerMessage::Settings(checkpointer));
        self.outbox.reader(ReaderMessage::Settings(reader));
        let (backends, mut cx) = self.cx(now);
        backends.handle_settings(is_other_password, &mut cx);
    }

    /// Begins the shutdown, unless one has begun.
    pub fn handle_stop(&mut self, now: Now) {
        if !self.phase.is_running() {
            return;
        }
        tracing::info!(
            "ending: what is in flight has {:?} to be answered",
            self.settings.drain_timeout
        );
        self.drain_until = Some(self.phase.begin(self.settings.drain_timeout, now));
        self.backends.handle_stop();
        self.actions.push_back(Action::BeginShutdown);
    }

    /// Does what is due.
    pub fn turn(&mut self, now: Now) {
        let (backends, mut cx) = self.cx(now);
        backends.turn(&mut cx);
        self.follow_requests(now);
    }

    /// What the driver is to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// All states, if one has changed since this was last called.
    pub fn poll_states(&mut self) -> Option<States> {
        std::mem::take(&mut self.states_changed).then(|| self.backends.states())
    }

    /// Sends what there is to send, after all actions, and takes all steps of the shutdown that can
    /// be taken by now.
    pub fn hand_over(&mut self, now: Now) -> Option<Over> {
        debug_assert!(self.actions.is_empty(), "all actions come first");
        let are_flushed = !self.phase.is_running() && self.backends.are_flushed();
        let over = self
            .phase
            .advance(are_flushed, self.checkpointer_done, &mut self.outbox, now);
        self.outbox.deliver();
        over
    }

    /// Whether the next turn is due at once.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.messages_left || !self.requests.is_empty() || self.backends.have_work()
    }

    /// When the next turn is due if nothing happens before, monotonic.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Option<Duration> {
        let until = [
            Some(self.backends.due_at()).filter(|due_at| *due_at < Duration::MAX),
            self.phase.deadline(),
            self.sync_points.deadline(),
            (!self.outbox.is_empty()).then(|| now.after(OUTBOX_RETRY)),
        ];
        until.into_iter().flatten().min()
    }

    /// The backends, and the context that their handlers need.
    fn cx(&mut self, now: Now) -> (&mut Backends, Context<'_>) {
        let cx = Context {
            outbox: &mut self.outbox,
            actions: &mut self.actions,
            board: &mut self.board,
            states_changed: &mut self.states_changed,
            rules: self.rules,
            settings: &self.settings,
            drain_until: self.drain_until,
            now,
        };
        (&mut self.backends, cx)
    }
}
