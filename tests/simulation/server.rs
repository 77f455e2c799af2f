//! One life of the server: the engine's own parts over simulated surroundings, each with what its thread has besides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hustdbsync::config::BackendName;
use hustdbsync::limits::BODY_PIECES_MAX;
use hustdbsync::replay::chunk::Returns;
use hustdbsync::replay::feeder::{Feeder, FeederLinks, FeederRules};
use hustdbsync::replay::hints::Hints;
use hustdbsync::replay::keeper::{Keeper, KeeperLinks};
use hustdbsync::replay::mailbox::{Bell, Mailbox};
use hustdbsync::replay::messages::{ControlMail, FeederMail, WorkerMail};
use hustdbsync::replay::post::Post;
use hustdbsync::replay::spares::Spares;
use hustdbsync::replay::worker::{Worker, WorkerLinks};
use hustdbsync::status::counters::ServerCounters;

use crate::control::Control;
use crate::disk::SimDisk;
use crate::net::Arrival;
use crate::plan::Plan;

/// A thread, by its place in [`Server::threads`].
pub(crate) const CONTROL: usize = 0;
pub(crate) const FEEDER: usize = 1;
pub(crate) const KEEPER: usize = 2;
pub(crate) const WORKERS: usize = 3;

struct SimBell(Arc<AtomicBool>);

impl Bell for SimBell {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// When a thread is on.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    rung: Arc<AtomicBool>,
    /// It sleeps until its bell rings or its next turn is due.
    pub(crate) asleep: bool,
    /// Which of the planned turns counts.
    pub(crate) turn: u64,
    /// It has ended.
    pub(crate) over: bool,
    /// Turns in this virtual second.
    pub(crate) second: u64,
    pub(crate) turns: u32,
}

impl Thread {
    /// Whether its bell has rung since this was last asked.
    pub(crate) fn take_ring(&self) -> bool {
        self.rung.swap(false, Ordering::Relaxed)
    }
}

/// A worker and its driver's connections.
pub(crate) struct Driven {
    pub(crate) worker: Worker,
    /// By slot, the connection's number.
    pub(crate) by_slot: Vec<Option<u64>>,
    pub(crate) arrivals: VecDeque<(u64, Arrival)>,
}

/// See the module.
pub(crate) struct Server {
    pub(crate) control: Control,
    pub(crate) feeder: Feeder<SimDisk>,
    pub(crate) keeper: Keeper<SimDisk>,
    pub(crate) workers: Vec<Driven>,
    pub(crate) threads: Vec<Thread>,
    pub(crate) feeder_mailbox: Arc<Mailbox<FeederMail>>,
    pub(crate) hints: Arc<Hints>,
    pub(crate) counters: Arc<ServerCounters>,
}

impl Server {
    pub(crate) fn start(plan: &Plan, disk: &SimDisk, seed: u64) -> Self {
        let threads: Vec<Thread> = (0..WORKERS + plan.workers)
            .map(|_| Thread::default())
            .collect();
        let control: Arc<Mailbox<ControlMail>> = mailbox(plan, &threads[CONTROL]);
        let feeder: Arc<Mailbox<FeederMail>> = mailbox(plan, &threads[FEEDER]);
        let keeper = mailbox(plan, &threads[KEEPER]);
        let workers: Vec<Arc<Mailbox<WorkerMail>>> = threads[WORKERS..]
            .iter()
            .map(|thread| mailbox(plan, thread))
            .collect();
        let chunks = plan.feeder.memory_budget_bytes / plan.bounds.chunk_bytes_min
            + plan.backends * (1 + BODY_PIECES_MAX)
            + 4;
        let returns = Arc::new(Returns::new(chunks, Arc::clone(&feeder)));
        let hints = Arc::new(Hints::new(Arc::clone(&feeder)));
        let counters: Arc<ServerCounters> = Arc::default();
        let settled_spares = Arc::new(Spares::new(16));
        let fed_spares = Arc::new(Spares::new(16));
        let feeder_links = FeederLinks {
            mailbox: Arc::clone(&feeder),
            workers: workers.clone(),
            keeper: Arc::clone(&keeper),
            control: Arc::clone(&control),
            returns: Arc::clone(&returns),
            hints: Arc::clone(&hints),
            fed_spares: Arc::clone(&fed_spares),
            counters: Arc::clone(&counters),
        };
        let rules = FeederRules {
            is_backend: |name| {
                BackendName::parse(name)
                    .map(|_| ())
                    .map_err(|why| why.to_string())
            },
            written_unix: crate::writer::written_unix,
            zone: || "the simulation's".to_owned(),
        };
        let keeper_links = KeeperLinks {
            mailbox: Arc::clone(&keeper),
            feeder: Arc::clone(&feeder),
            control: Arc::clone(&control),
            settled_spares: Arc::clone(&settled_spares),
        };
        let driven = workers.iter().enumerate().map(|(index, own)| {
            let links = WorkerLinks {
                mailbox: Arc::clone(own),
                keeper: Arc::clone(&keeper),
                control: Arc::clone(&control),
                feeder: Arc::clone(&feeder),
                returns: Arc::clone(&returns),
                settled_spares: Arc::clone(&settled_spares),
                fed_spares: Arc::clone(&fed_spares),
            };
            Driven {
                worker: Worker::new(index, plan.workers, links, seed ^ index as u64),
                by_slot: Vec::new(),
                arrivals: VecDeque::new(),
            }
        });
        let driven = driven.collect();
        let settings = plan.feeder.clone();
        Self {
            control: Control::new(
                control,
                Post::new(Arc::clone(&feeder), Arc::clone(&keeper), workers),
                plan,
                seed,
            ),
            feeder: Feeder::with_bounds(disk.clone(), settings, rules, feeder_links, plan.bounds),
            keeper: Keeper::new(
                disk.clone(),
                keeper_links,
                plan.keeper.clone(),
                plan.workers,
            ),
            workers: driven,
            threads,
            feeder_mailbox: feeder,
            hints,
            counters,
        }
    }
}

fn mailbox<T>(plan: &Plan, thread: &Thread) -> Arc<Mailbox<T>> {
    let bell = SimBell(Arc::clone(&thread.rung));
    Arc::new(Mailbox::new(plan.mailbox_messages, Box::new(bell)))
}

/// What a thread does behind a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Another turn, at once.
    Again,
    /// It sleeps until its bell rings, at most until this monotonic instant.
    Sleep(Duration),
    /// It has ended.
    Over,
}
