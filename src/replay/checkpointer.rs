//! The checkpointer: one thread that keeps the ledgers and writes everything that is durable.
//!
//! ```text
//!   mailbox ─▶ backend state ─▶ ledger
//!                │ rejected lines: append, sync, and only then settled     (backend_state, store)
//!                │ each checkpoint_interval: one checkpoint per backend    (backend_state, store)
//!                │ each release_interval: delete finished logs             (reaper)
//!                │ on request: requeue rejected lines, or drop them        (requeue)
//!                │ on request: is everything up to an instant settled?     (points)
//!                ▼
//!   outbox ─▶ reader:     Plan, SegmentDone, FileDeleted, StorePaused
//!             controller: Flushed, StoreFault, SyncPoint…, Requeued, CheckpointerDone
//!             workers:    CheckpointDurable, where they have asked for one sooner
//! ```
//!
//! A driver calls [`Checkpointer::turn`] until it returns [`Turn::Done`]: at once after
//! [`Turn::Again`]; after [`Turn::Sleep`] when there is a message, when the disk has completed a
//! durable write, or when [`Checkpointer::next_deadline`] has come. No turn waits for another
//! thread. None waits for a checkpoint where the disk can write in the background
//! ([`Disk::begin`]): then the checkpoints of all backends are under way at the same time. A turn
//! does wait for other calls to the disk. It looks at backends that were changed or whose deadline
//! has come, and at no others ([`BackendStates`]).
//!
//! ```text
//!   Running ── Stop ──▶ Stopping: the mailbox is emptied ──▶ Ending: the last checkpoints are
//!                                                              │                  under way
//!                             done ◀── the outbox is empty ── Written
//! ```
//!
//! If state cannot be written, its backend is paused and the write is retried with growing delays;
//! nothing is lost or deleted meanwhile. A line that is settled twice, or was never in flight, is a
//! bug of this program and stops it: crashing beats deleting an unsent record.

mod backend_state;
mod comparing;
mod fault;
mod leaving;
mod open;
mod points;
mod reaper;
mod rejects;
mod requeue;
mod spare;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Now;
use crate::ledger::backend::ClosedFile;
use crate::limits::{
    CHECKPOINTER_GATHERS, CHECKPOINTER_MESSAGES_PER_TURN, DELETED_LOG_WATCHED, OUTBOX_RETRY,
};
use crate::replay::checkpointer::backend_state::{BackendState, BackendStates, Context};
use crate::replay::checkpointer::comparing::ComparingLogs;
use crate::replay::checkpointer::leaving::Leaving;
use crate::replay::checkpointer::points::Points;
use crate::replay::checkpointer::reaper::LogReaper;
use crate::replay::checkpointer::spare::Spare;
use crate::replay::disk::Disk;
use crate::replay::durable_write::JobId;
use crate::replay::links::Links;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    BackendId, BackendInfo, BackendMessage, CheckpointerMessage, CheckpointerSettings,
    ControlMessage, ReconcilerMessage,
};
use crate::replay::outbox::Outbox;
use crate::status::control_request::Listed;

pub(in crate::replay) use open::known_of;
pub use requeue::drop_rejected;
#[cfg(feature = "testing")]
pub use store::replace_checkpoint;

/// What the driver does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Call [`Checkpointer::turn`] again at once.
    Again,
    /// Sleep until there is a message, or until [`Checkpointer::next_deadline`].
    Sleep,
    /// End: everything is written and reported.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// `Stop` has come; messages before it in the mailbox are still handled.
    Stopping,
    /// The last checkpoints are being written.
    Ending,
    /// Everything is written; messages may still be in the outbox.
    Written,
}

type Reaper<D> = LogReaper<<D as Disk>::File>;

/// See the module.
pub struct Checkpointer<D: Disk> {
    disk: D,
    links: Links,
    settings: CheckpointerSettings,
    /// One rests that is not changed, until its [`BackendState::deadline`].
    backend_states: BackendStates,
    outbox: Outbox,
    log_reaper: Reaper<D>,
    comparing: ComparingLogs,
    points: Points,
    leaving: Leaving,
    spare: Spare,
    release_at: Duration,
    /// Until then what can wait need not wake it, monotonic.
    gathers_until: Duration,
    phase: Phase,
}

impl<D: Disk> Checkpointer<D> {
    /// A checkpointer that knows no backend yet.
    #[must_use]
    pub fn new(disk: D, links: Links, settings: CheckpointerSettings) -> Self {
        Self {
            outbox: Outbox::new(&links.mailboxes),
            disk,
            links,
            settings,
            backend_states: BackendStates::default(),
            log_reaper: LogReaper::default(),
            comparing: ComparingLogs::default(),
            points: Points::default(),
            leaving: Leaving::default(),
            spare: Spare::default(),
            release_at: Duration::ZERO,
            gathers_until: Duration::ZERO,
            phase: Phase::Running,
        }
    }

    /// Its mailbox, on which its driver sleeps.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox<CheckpointerMessage> {
        &self.links.mailboxes.checkpointer
    }

    /// Handles messages, does what is due, and sends what is in the outbox.
    pub fn turn(&mut self, now: Now) -> Turn {
        self.links.mailboxes.checkpointer.note_turn();
        self.take_completed(now);
        let has_more = match self.phase {
            Phase::Running | Phase::Stopping => self.receive_messages(now),
            Phase::Ending | Phase::Written => self.discard_messages(),
        };
        match self.phase {
            Phase::Running => self.work(now),
            Phase::Stopping if !has_more => {
                self.begin_end(now);
                self.finish(now);
            }
            Phase::Ending => self.finish(now),
            Phase::Stopping | Phase::Written => {}
        }
        self.publish_counters();
        if matches!(self.phase, Phase::Running) {
            self.let_rest();
        }
        self.outbox.deliver();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
        match self.phase {
            Phase::Written if self.outbox.is_empty() => Turn::Done,
            _ if has_more => Turn::Again,
            _ => Turn::Sleep,
        }
    }

    /// Announces that the caller is about to block. Gives until when, monotonic; `None`: it must
    /// not, since something has come. After blocking, call the mailbox's `awake`.
    ///
    /// Behind a segment it waits for its outcomes, and for more of what can wait, as long as the
    /// reader needs no credit: otherwise it would be woken twice for each line that comes alone.
    #[must_use]
    pub fn prepare_sleep(&self, now: Now) -> Option<Duration> {
        let reader = &self.links.mailboxes.reader;
        let gathers = now.monotonic < self.gathers_until && reader.is_content();
        self.links.mailboxes.checkpointer.set_content(gathers);
        let is_needed = || gathers && !reader.is_content();
        if !self
            .links
            .mailboxes
            .checkpointer
            .prepare_sleep_unless(is_needed)
        {
            return None;
        }
        let deadline = self.next_deadline(now);
        Some(match gathers {
            true => deadline.min(self.gathers_until),
            false => deadline,
        })
    }

    /// When a turn is due although there is no message, monotonic.
    #[must_use]
    pub fn next_deadline(&self, now: Now) -> Duration {
        let outbox = if self.outbox.is_empty() {
            Duration::MAX
        } else {
            now.after(OUTBOX_RETRY)
        };
        if matches!(self.phase, Phase::Ending | Phase::Written) {
            return outbox;
        }
        let backend_states = self.backend_states.awake().flatten();
        let backend_states =
            backend_states.filter(|backend_state| !self.leaving.holds(backend_state));
        let backend_states = backend_states.filter_map(BackendState::deadline);
        let others = outbox
            .min(self.release_at)
            .min(self.points.deadline())
            .min(self.leaving.deadline())
            .min(self.backend_states.next_due());
        backend_states.fold(others, Duration::min)
    }

    /// Publishes the counters that have changed. Those of who rests have not.
    fn publish_counters(&mut self) {
        self.backend_states.for_each_awake(|backend_state| {
            if let Some(backend_state) = backend_state {
                backend_state.publish_counters();
            }
        });
    }

    /// Lets those rest that have done what was due. What is being removed is worked on by others.
    fn let_rest(&mut self) {
        let leaving = &self.leaving;
        self.backend_states
            .rest_each(|backend_state| match backend_state {
                Some(backend_state) if leaving.holds(backend_state) => None,
                Some(backend_state) => backend_state.deadline().or(Some(Duration::MAX)),
                None => Some(Duration::MAX),
            });
    }

    /// Panics if an invariant is broken.
    pub fn check_invariants(&self) {
        self.backend_states
            .iter()
            .flatten()
            .for_each(BackendState::check_invariants);
        #[cfg(debug_assertions)]
        for (until, _, backend_state) in self.backend_states.resting() {
            if let Some(backend_state) = backend_state {
                let deadline = backend_state.deadline().unwrap_or(Duration::MAX);
                assert!(until <= deadline, "it rests beyond what is due");
            }
        }
    }

    /// Takes completed checkpoints from the disk.
    fn take_completed(&mut self, now: Now) {
        while let Some(completed) = self.disk.completed() {
            let JobId(index) = completed.job_id;
            self.at_backend_states(now, |backend_states, _, cx| {
                let backend_state = backend_states.get_mut(index).and_then(Option::as_mut);
                backend_state
                    .expect("a backend state has begun it")
                    .handle_completed(completed, cx);
            });
        }
    }

    /// Drops messages that come after the end; they no longer matter.
    fn discard_messages(&self) -> bool {
        while self.links.mailboxes.checkpointer.receive().is_some() {}
        false
    }

    /// Handles a turn's worth of messages; returns whether there are more.
    fn receive_messages(&mut self, now: Now) -> bool {
        for _ in 0..CHECKPOINTER_MESSAGES_PER_TURN {
            let Some(message) = self.links.mailboxes.checkpointer.receive() else {
                return false;
            };
            if let CheckpointerMessage::Of(_, BackendMessage::Segment { .. }) = message {
                self.gathers_until = now.after(CHECKPOINTER_GATHERS);
            }
            self.handle_message(message, now);
        }
        !self.links.mailboxes.checkpointer.is_empty()
    }

    fn handle_message(&mut self, message: CheckpointerMessage, now: Now) {
        match message {
            CheckpointerMessage::Backend(info) => self.add_backend_state(info),
            CheckpointerMessage::Settings(settings) => {
                if !settings.compares_keys {
                    self.comparing.clear();
                }
                self.settings = settings;
                self.hasten(now);
            }
            CheckpointerMessage::SyncPoint { id, is_backend } => {
                self.at_points(now, |points, backend_states, cx| {
                    points.take(id, is_backend, backend_states, cx);
                })
            }
            CheckpointerMessage::ForgetSyncPoint { id } => self.points.forget(id),
            CheckpointerMessage::LogAway(away) => {
                self.at_points(now, |points, backend_states, cx| {
                    points.handle_away(away, backend_states, cx);
                })
            }
            CheckpointerMessage::LogCopied { backend, key, copy } => {
                self.at_points(now, |points, backend_states, cx| {
                    points.handle_copied(backend, key, copy, backend_states, cx);
                })
            }
            CheckpointerMessage::ListLogs { backend, ask } => {
                self.at_points(now, |points, backend_states, cx| {
                    let backend_state = backend_states.get(backend.index());
                    let backend_state = backend_state.and_then(Option::as_ref);
                    let known = backend_state.ok_or_else(|| "it is forgotten".to_owned());
                    let listed = known
                        .and_then(|backend_state| points.list_logs(backend_state, cx))
                        .map(Listed::Logs);
                    cx.outbox.control(ControlMessage::Listed { ask, listed });
                })
            }
            CheckpointerMessage::AskLeft { backend } => self.report_left(backend, now),
            CheckpointerMessage::Forget { backend } => {
                self.points.forget_backend(backend);
                self.leaving.handle_forget(backend);
                self.outbox
                    .reconciler(ReconcilerMessage::Forget { backend });
            }
            CheckpointerMessage::Compared { backend, logs } => {
                self.comparing.handle_compared(backend, &logs);
                // They can be deleted now.
                self.release_at = now.monotonic;
            }
            CheckpointerMessage::Stop => self.phase = Phase::Stopping,
            CheckpointerMessage::Of(backend, message) => {
                self.at_backend_states(now, |backend_states, _, cx| {
                    backend_state_of(backend_states, backend).handle_message(message, cx)
                });
            }
        }
    }

    /// Other intervals have begun: what is due by them is due no later than that.
    fn hasten(&mut self, now: Now) {
        let release_at = now.after(self.settings.release_interval);
        self.release_at = self.release_at.min(release_at);
        let interval = self.settings.checkpoint_interval;
        for backend_state in self.backend_states.iter_mut().flatten() {
            backend_state.hasten_checkpoint(interval, now);
        }
    }

    fn add_backend_state(&mut self, info: BackendInfo) {
        let index = info.id.index();
        while self.backend_states.len() <= index {
            self.backend_states.push(None);
        }
        assert!(
            self.backend_states[index].is_none(),
            "a backend's place is taken once"
        );
        self.backend_states[index] = Some(BackendState::new(info));
    }

    /// Reports to the controller what would be lost if a backend were forgotten.
    fn report_left(&mut self, backend: BackendId, now: Now) {
        let backend_state = backend_state_of(&mut self.backend_states, backend);
        let left = if self.log_reaper.watches(backend) {
            Err("a log that was just deleted is looked at once more first".to_owned())
        } else {
            let undelivered = self.points.left(backend_state, now.unix);
            backend_state.left(undelivered, &mut self.disk)
        };
        self.outbox
            .control(ControlMessage::StateLeft { backend, left });
    }

    fn work(&mut self, now: Now) {
        let releases = now.monotonic >= self.release_at;
        let mut has_more = false;
        if releases {
            let checkpoints = self
                .backend_states
                .iter()
                .flatten()
                .map(BackendState::checkpoint_bytes);
            let interval = self.settings.release_interval;
            self.spare
                .take(&mut self.disk, checkpoints.sum(), interval, now);
        }
        let mut leaving = std::mem::take(&mut self.leaving);
        self.at_backend_states(now, |backend_states, log_reaper, cx| {
            leaving.work(backend_states, cx);
            backend_states.wake_due(now.monotonic);
            backend_states.for_each_awake(|backend_state| {
                if let Some(backend_state) = backend_state
                    && !leaving.holds(backend_state)
                {
                    backend_state.work(cx);
                }
            });
            if releases {
                for backend_state in backend_states.iter_mut().flatten() {
                    backend_state.count_rejected(cx);
                }
                log_reaper.look_again(backend_states, false, cx);
                has_more = log_reaper.reap(backend_states, cx);
            }
        });
        self.leaving = leaving;
        if releases {
            self.at_points(now, |points, backend_states, cx| {
                for backend_state in backend_states.iter().flatten() {
                    points.count_away(backend_state, cx);
                }
            });
            let interval = self.settings.release_interval;
            let next = if has_more {
                interval.min(DELETED_LOG_WATCHED)
            } else {
                interval
            };
            self.release_at = now.after(next);
        }
        if self.points.deadline() <= now.monotonic {
            self.at_points(now, |points, backend_states, cx| {
                points.look(backend_states, cx)
            });
        }
    }

    fn at_points(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut Points, &BackendStates, &mut Context<'_, D>),
    ) {
        let mut points = std::mem::take(&mut self.points);
        self.at_backend_states(now, |backend_states, _, cx| {
            work(&mut points, backend_states, cx)
        });
        self.points = points;
    }

    /// Writes what has to be on disk before the last checkpoints: first the lines that are to be
    /// rejected, then the late lines of deleted logs.
    fn begin_end(&mut self, now: Now) {
        self.at_backend_states(now, |backend_states, _, cx| {
            for backend_state in backend_states.iter_mut().flatten() {
                backend_state.work_before_last(cx);
                backend_state.close_deleted(cx);
            }
        });
        self.at_backend_states(now, |backend_states, log_reaper, cx| {
            log_reaper.look_again(backend_states, true, cx);
        });
        self.phase = Phase::Ending;
    }

    /// Begins the last checkpoints, all at the same time; they contain both. Reports
    /// `CheckpointerDone` once none is under way any more.
    fn finish(&mut self, now: Now) {
        self.at_backend_states(now, |backend_states, _, cx| {
            for backend_state in backend_states.iter_mut().flatten() {
                backend_state.work_last(cx);
            }
        });
        if self
            .backend_states
            .iter()
            .flatten()
            .any(BackendState::is_under_way)
        {
            return;
        }
        for backend_state in self.backend_states.iter().flatten() {
            if let Some(why) = backend_state.fault() {
                tracing::error!(
                    backend = &**backend_state.name(),
                    why,
                    "the last checkpoint is not written: what was settled since the one before \
                     will be sent again"
                );
            }
        }
        self.phase = Phase::Written;
        self.outbox.forget_reader();
        self.outbox.control(ControlMessage::CheckpointerDone);
    }

    /// Runs `work` with the context that backend states need. Then passes the logs that they have
    /// closed to the sync points and the reaper.
    fn at_backend_states(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut BackendStates, &mut Reaper<D>, &mut Context<'_, D>),
    ) {
        let mut closed: Vec<(BackendInfo, ClosedFile)> = Vec::new();
        let mut cx = Context {
            disk: &mut self.disk,
            outbox: &mut self.outbox,
            settings: &self.settings,
            pool: &self.links.settled_pool,
            closed: &mut closed,
            spare: &mut self.spare,
            comparing: &mut self.comparing,
            parties: self.links.mailboxes.workers.len() + 1,
            now,
        };
        work(&mut self.backend_states, &mut self.log_reaper, &mut cx);
        for (backend, closed) in closed {
            self.points.handle_closed(&backend, &closed);
            if closed.deleted {
                self.log_reaper.handle_closed(closed);
            }
        }
    }
}

fn backend_state_of(backend_states: &mut BackendStates, backend: BackendId) -> &mut BackendState {
    let backend_state = backend_states
        .get_mut(backend.index())
        .and_then(Option::as_mut);
    backend_state.expect("the controller introduces a backend before anyone mentions it")
}
