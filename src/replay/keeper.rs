//! The keeper: everything that is durable goes through it, on one thread.
//!
//! ```text
//!   mailbox ─▶ desk of the backend ─▶ ledger
//!                  │ rejected lines: append, sync, and only then settled      (desk, store)
//!                  │ each checkpoint_interval: one checkpoint a backend       (desk, store)
//!                  │ each release_interval: delete finished logs              (release)
//!                  │ asked to: take rejected lines back, or drop them         (rework)
//!                  │ asked to: is everything up to an instant settled?        (points)
//!                  ▼
//!   outbox ─▶ feeder: Plan, SegmentDone, FileDeleted, StorePaused   control: Flushed, StoreFault, SyncPoint…, Reworked, KeeperDone
//! ```
//!
//! A driver calls [`Keeper::turn`] for ever: at once after [`Turn::Again`], after [`Turn::Sleep`] when there is mail, a chain of the disk's has ended, or
//! [`Keeper::next_deadline`] has come. No turn waits for another thread, and none for a checkpoint where the disk has chains ([`Disk::begin`]): those of
//! all backends are under way at one time. For other dealings with the disk it waits.
//!
//! ```text
//!   Running ──Stop──▶ Stopping: the mailbox is emptied ──▶ Ending: the last checkpoints are under way ──▶ Written ──all is said──▶ done
//! ```
//!
//! What cannot be written pauses its backend and is tried again with growing pauses; nothing is lost or deleted meanwhile. What is settled more than once,
//! or never was in flight, is a fault of this program and stops it: crashing beats deleting an unsent record.

mod desk;
mod fault;
mod leaving;
mod open;
mod outbox;
mod points;
mod rejects;
mod release;
mod rework;
mod spare;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::ledger::backend::ClosedFile;
use crate::limits::{DELETED_LOG_WATCHED, KEEPER_MAILS_PER_TURN, OUTBOX_RETRY};
use crate::replay::chain::Ticket;
use crate::replay::disk::Disk;
use crate::replay::keeper::desk::{Desk, Tools};
use crate::replay::keeper::leaving::Leaving;
use crate::replay::keeper::outbox::Outbox;
use crate::replay::keeper::points::Points;
use crate::replay::keeper::release::Releaser;
use crate::replay::keeper::spare::Spare;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    BackendId, BackendInfo, ControlMail, FeederMail, KeeperMail, KeeperSettings, Settled,
};
use crate::replay::spares::Spares;

pub use rework::drop_rejected;
pub use store::replace_checkpoint;

/// What the keeper shares with the other threads.
#[derive(Clone)]
pub struct KeeperLinks {
    /// Its own mailbox.
    pub mailbox: Arc<Mailbox<KeeperMail>>,
    /// The feeder's.
    pub feeder: Arc<Mailbox<FeederMail>>,
    /// Control's.
    pub control: Arc<Mailbox<ControlMail>>,
    /// Vectors of outcomes, emptied here.
    pub settled_spares: Arc<Spares<Settled>>,
}

/// What comes after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Another, at once.
    Again,
    /// A sleep, until there is mail or [`Keeper::next_deadline`].
    Sleep,
    /// Nothing: everything is written and said.
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Told to end; what is in the mailbox is still taken in.
    Stopping,
    /// The last checkpoints are being written.
    Ending,
    /// Everything is written; something may still have to be said.
    Written,
}

/// See the module.
pub struct Keeper<D: Disk> {
    disk: D,
    links: KeeperLinks,
    settings: KeeperSettings,
    workers: usize,
    desks: Vec<Option<Desk>>,
    outbox: Outbox,
    releaser: Releaser<D::Log>,
    points: Points,
    leaving: Leaving,
    spare: Spare,
    release_at: Duration,
    phase: Phase,
}

impl<D: Disk> Keeper<D> {
    /// A keeper that knows no backend yet; `workers` take part in a flush, and the feeder.
    #[must_use]
    pub fn new(disk: D, links: KeeperLinks, settings: KeeperSettings, workers: usize) -> Self {
        Self {
            disk,
            links,
            settings,
            workers,
            desks: Vec::new(),
            outbox: Outbox::default(),
            releaser: Releaser::default(),
            points: Points::default(),
            leaving: Leaving::default(),
            spare: Spare::default(),
            release_at: Duration::ZERO,
            phase: Phase::Running,
        }
    }

    /// Its mailbox, for its driver's sleep.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox<KeeperMail> {
        &self.links.mailbox
    }

    /// Takes in what has come, does what is due, says what is to be said.
    pub fn turn(&mut self, now: Now) -> Turn {
        self.links.mailbox.note_turn();
        self.take_ended(now);
        let has_more = match self.phase {
            Phase::Running | Phase::Stopping => self.take_mail(now),
            Phase::Ending | Phase::Written => self.drop_mail(),
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
        for desk in self.desks.iter_mut().flatten() {
            desk.tell();
        }
        self.outbox.send(&self.links);
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
        match self.phase {
            Phase::Written if self.outbox.is_empty() => Turn::Done,
            _ if has_more => Turn::Again,
            _ => Turn::Sleep,
        }
    }

    /// When a turn is wanted although there is no mail, monotonic.
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
        let desks = self.desks.iter().flatten();
        let desks = desks.filter(|desk| !self.leaving.holds(desk));
        let desks = desks.filter_map(Desk::deadline);
        let others = outbox
            .min(self.release_at)
            .min(self.points.deadline())
            .min(self.leaving.deadline());
        desks.fold(others, Duration::min)
    }

    /// Panics where something does not fit.
    pub fn check_invariants(&self) {
        self.desks.iter().flatten().for_each(Desk::check_invariants);
    }

    /// Takes in which checkpoints are not under way any more.
    fn take_ended(&mut self, now: Now) {
        while let Some(ended) = self.disk.ended() {
            let Ticket(index) = ended.ticket;
            self.at_desks(now, |desks, _, tools| {
                let desk = desks.get_mut(index).and_then(Option::as_mut);
                desk.expect("a desk has begun it")
                    .handle_ended(ended, tools);
            });
        }
    }

    /// What comes behind the end is for nobody.
    fn drop_mail(&self) -> bool {
        while self.links.mailbox.receive().is_some() {}
        false
    }

    /// Takes in a turn's worth of mail; tells whether there is more.
    fn take_mail(&mut self, now: Now) -> bool {
        for _ in 0..KEEPER_MAILS_PER_TURN {
            let Some(mail) = self.links.mailbox.receive() else {
                return false;
            };
            self.handle_mail(mail, now);
        }
        !self.links.mailbox.is_empty()
    }

    fn handle_mail(&mut self, mail: KeeperMail, now: Now) {
        match mail {
            KeeperMail::Backend(info) => self.add_desk(info),
            KeeperMail::Settings(settings) => self.settings = settings,
            KeeperMail::SyncPoint { id, is_backend } => {
                self.at_points(now, |points, desks, tools| {
                    points.take(id, is_backend, desks, tools);
                })
            }
            KeeperMail::ForgetSyncPoint { id } => self.points.forget(id),
            KeeperMail::LogAway(away) => self.at_points(now, |points, desks, tools| {
                points.handle_away(away, desks, tools);
            }),
            KeeperMail::AskLeft { backend } => self.tell_left(backend, now),
            KeeperMail::Forget { backend } => {
                self.points.forget_backend(backend);
                self.leaving.handle_forget(backend);
            }
            KeeperMail::Stop => self.phase = Phase::Stopping,
            mail => {
                let backend = mail
                    .backend()
                    .expect("what is not the keeper's own is a backend's");
                self.at_desks(now, |desks, _, tools| {
                    desk_of(desks, backend).handle_mail(mail, tools)
                });
            }
        }
    }

    fn add_desk(&mut self, info: BackendInfo) {
        let index = info.id.index();
        if self.desks.len() <= index {
            self.desks.resize_with(index + 1, || None);
        }
        assert!(
            self.desks[index].is_none(),
            "a backend's place is given once"
        );
        self.desks[index] = Some(Desk::new(info));
    }

    /// Tells control what would be lost with a backend.
    fn tell_left(&mut self, backend: BackendId, now: Now) {
        let desk = desk_of(&mut self.desks, backend);
        let left = if self.releaser.watches(backend) {
            Err("a log that was just deleted is looked at once more first".to_owned())
        } else {
            let undelivered = self.points.left(desk, now.unix);
            desk.left(undelivered, &mut self.disk)
        };
        self.outbox
            .control(ControlMail::StateLeft { backend, left });
    }

    fn work(&mut self, now: Now) {
        let releases = now.monotonic >= self.release_at;
        let mut has_more = false;
        if releases {
            let checkpoints = self.desks.iter().flatten().map(Desk::checkpoint_bytes);
            self.spare.take(&mut self.disk, checkpoints.sum(), now);
        }
        let mut leaving = std::mem::take(&mut self.leaving);
        self.at_desks(now, |desks, releaser, tools| {
            leaving.work(desks, tools);
            for desk in desks.iter_mut().flatten() {
                if !leaving.holds(desk) {
                    desk.work(tools);
                }
            }
            if releases {
                releaser.look_again(desks, false, tools);
                has_more = releaser.release(desks, tools);
            }
        });
        self.leaving = leaving;
        if releases {
            let interval = self.settings.release_interval;
            let next = if has_more {
                interval.min(DELETED_LOG_WATCHED)
            } else {
                interval
            };
            self.release_at = now.after(next);
        }
        if self.points.deadline() <= now.monotonic {
            self.at_points(now, |points, desks, tools| points.look(desks, tools));
        }
    }

    fn at_points(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut Points, &[Option<Desk>], &mut Tools<'_, D>),
    ) {
        let mut points = std::mem::take(&mut self.points);
        self.at_desks(now, |desks, _, tools| work(&mut points, desks, tools));
        self.points = points;
    }

    /// Writes what has to be on disk before the last checkpoints: first what waits to be set aside, then the late lines of deleted logs.
    fn begin_end(&mut self, now: Now) {
        self.at_desks(now, |desks, _, tools| {
            for desk in desks.iter_mut().flatten() {
                desk.work_before_last(tools);
                desk.let_go_of_deleted(tools);
            }
        });
        self.at_desks(now, |desks, releaser, tools| {
            releaser.look_again(desks, true, tools);
        });
        self.phase = Phase::Ending;
    }

    /// Begins the last checkpoints, which have both, all at one time; says so when none is under way any more.
    fn finish(&mut self, now: Now) {
        self.at_desks(now, |desks, _, tools| {
            for desk in desks.iter_mut().flatten() {
                desk.work_last(tools);
            }
        });
        if self.desks.iter().flatten().any(Desk::is_under_way) {
            return;
        }
        for desk in self.desks.iter().flatten() {
            if let Some(why) = desk.fault() {
                tracing::error!(
                    backend = &**desk.name(),
                    why,
                    "the last checkpoint is not written: what was settled since the one before will be sent again"
                );
            }
        }
        self.phase = Phase::Written;
        self.outbox.forget_feeder();
        self.outbox.control(ControlMail::KeeperDone);
    }

    /// Runs `work` with what desks need, and tells points and releaser of the logs that they have closed.
    fn at_desks(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut [Option<Desk>], &mut Releaser<D::Log>, &mut Tools<'_, D>),
    ) {
        let mut closed: Vec<ClosedFile> = Vec::new();
        let mut tools = Tools {
            disk: &mut self.disk,
            outbox: &mut self.outbox,
            settings: &self.settings,
            spares: &self.links.settled_spares,
            closed: &mut closed,
            spare: &mut self.spare,
            parties: self.workers + 1,
            now,
        };
        work(&mut self.desks, &mut self.releaser, &mut tools);
        for closed in closed {
            self.points.handle_closed(&closed);
            if closed.deleted {
                self.releaser.handle_let_go(closed);
            }
        }
    }
}

fn desk_of(desks: &mut [Option<Desk>], backend: BackendId) -> &mut Desk {
    let desk = desks.get_mut(backend.index()).and_then(Option::as_mut);
    desk.expect("control tells of a backend before anyone speaks of it")
}
