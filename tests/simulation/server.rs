//! One life of the server: the engine's own parts over simulated surroundings, each with what its
//! thread has besides.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hustdbsync::internals::clock::Now;
use hustdbsync::internals::config::BackendName;
use hustdbsync::internals::limits::BODY_PIECES_MAX;
use hustdbsync::internals::replay::checkpointer::Checkpointer;
use hustdbsync::internals::replay::dirty_flags::{BackendDirtyFlags, DirtyFlags};
use hustdbsync::internals::replay::links::{Links, Mailboxes};
use hustdbsync::internals::replay::mailbox::{Mailbox, Wake};
use hustdbsync::internals::replay::messages::{BackendId, ReaderMessage};
use hustdbsync::internals::replay::reader::{Action, LogReader, ReaderRules};
use hustdbsync::internals::replay::testdisk::TestDisk;
use hustdbsync::internals::replay::worker::Worker;
use hustdbsync::internals::status::counters::ServerCounters;

use crate::control::{Control, place_of_name};
use crate::disk::SimDisk;
use crate::net::Arrival;
use crate::plan::Plan;

/// A thread, by its place in [`Server::threads`].
pub(crate) const CONTROL: usize = 0;
pub(crate) const READER: usize = 1;
pub(crate) const CHECKPOINTER: usize = 2;
pub(crate) const WORKERS: usize = 3;

struct SimWaker(Arc<AtomicBool>);

impl Wake for SimWaker {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// When a thread is on.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    rung: Arc<AtomicBool>,
    /// It sleeps until its waker rings or its next turn is due.
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
    /// Whether its waker has rung since this was last asked.
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
    pub(crate) reader: LogReader<TestDisk>,
    pub(crate) checkpointer: Checkpointer<TestDisk>,
    pub(crate) workers: Vec<Driven>,
    pub(crate) threads: Vec<Thread>,
    pub(crate) reader_mailbox: Arc<Mailbox<ReaderMessage>>,
    pub(crate) dirty_flags: Arc<DirtyFlags>,
    /// The backends, by their places, whose folders are watched.
    watched: BTreeMap<usize, BackendId>,
    pub(crate) counters: Arc<ServerCounters>,
}

impl Server {
    pub(crate) fn start(plan: &Plan, disk: &SimDisk, seed: u64, now: Now) -> Self {
        let threads: Vec<Thread> = (0..WORKERS + plan.workers)
            .map(|_| Thread::default())
            .collect();
        let links = links(plan, &threads);
        let rules = ReaderRules {
            is_backend: |name| {
                BackendName::parse(name)
                    .map(|_| ())
                    .map_err(|why| why.to_string())
            },
            written_unix: crate::writer::written_unix,
            zone: || "the simulation's".to_owned(),
        };
        let workers = (0..plan.workers).map(|index| {
            let seed = seed ^ index as u64;
            Driven {
                worker: Worker::new(index, links.clone(), seed),
                by_slot: Vec::new(),
                arrivals: VecDeque::new(),
            }
        });
        Self {
            control: Control::new(&links, plan, seed, now),
            reader: LogReader::with_bounds(
                disk.inner.clone(),
                plan.reader.clone(),
                rules,
                links.clone(),
                plan.bounds,
            ),
            // It says nothing of what it lists.
            checkpointer: Checkpointer::new(
                disk.inner.unobserved(),
                links.clone(),
                plan.checkpointer.clone(),
            ),
            workers: workers.collect(),
            threads,
            reader_mailbox: links.mailboxes.reader,
            dirty_flags: links.dirty_flags,
            watched: BTreeMap::new(),
            counters: links.counters,
        }
    }

    /// Does what the reader asks for: hints come of these folders.
    pub(crate) fn watch(&mut self, action: Action) {
        match action {
            Action::Watch { backend, folder } => {
                let place = place_of_name(&folder).expect("only these are found");
                self.watched.insert(place, backend);
            }
            Action::Unwatch(backend) => self.watched.retain(|_, watched| *watched != backend),
        }
    }

    /// The flags of the backend of this place, if its folder is watched.
    pub(crate) fn flags_of(&self, place: usize) -> Option<&BackendDirtyFlags> {
        let backend = self.watched.get(&place)?;
        Some(&*self.reader.info(*backend)?.dirty_flags)
    }
}

fn links(plan: &Plan, threads: &[Thread]) -> Links {
    let mailboxes = Mailboxes {
        control: mailbox(plan, &threads[CONTROL]),
        reader: mailbox(plan, &threads[READER]),
        checkpointer: mailbox(plan, &threads[CHECKPOINTER]),
        workers: threads[WORKERS..]
            .iter()
            .map(|thread| mailbox(plan, thread))
            .collect(),
        reconciler: None,
    };
    let chunks = plan.reader.memory_budget_bytes / plan.bounds.chunk_bytes_min
        + plan.backends * (1 + BODY_PIECES_MAX)
        + 4;
    Links::new(mailboxes, chunks, 16)
}

fn mailbox<T>(plan: &Plan, thread: &Thread) -> Arc<Mailbox<T>> {
    let waker = SimWaker(Arc::clone(&thread.rung));
    Arc::new(Mailbox::new(plan.mailbox_messages, Box::new(waker)))
}

/// What a thread does behind a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Another turn, at once.
    Again,
    /// It sleeps until its waker rings, at most until this monotonic instant.
    Sleep(Duration),
    /// It has ended.
    Over,
}
