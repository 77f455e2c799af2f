//! What the workers run on: a driver for each, by the configuration and what the system gives.

use std::io;
use std::sync::Arc;

use mio::Poll;

use super::start_error::StartError;
use super::waker::mailbox;
use crate::config::{Config, EngineName};
use crate::engine::choice::{Choice, Rings, choose, give_up};
use crate::engine::clock::Clock;
use crate::engine::os::ring::Ring;
use crate::engine::waker::EventfdWaker;
use crate::engine::{connections, worker_mio, worker_uring};
use crate::limits::MAILBOX_MESSAGES;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::WorkerMessage;
use crate::replay::worker::Worker;

/// A mailbox for each worker.
pub(super) type WorkerMailboxes = Vec<Arc<Mailbox<WorkerMessage>>>;

/// What each worker waits with.
pub(super) enum Drivers {
    Mio(Vec<Poll>),
    IoUring(Vec<Ring>),
}

/// One for each worker, with its mailbox: the ring where it is chosen and the system gives all of
/// them.
pub(super) fn drivers(
    config: &Config,
    rings: &dyn Rings,
) -> Result<(Drivers, WorkerMailboxes), StartError> {
    let (wanted, workers) = (config.sync.engine, config.sync.threads);
    let mut choice = choose(wanted, config.sync.max_rate_per_backend, rings)?;
    if let Choice::IoUring(_) = choice {
        match (0..workers)
            .map(|_| ring(rings))
            .collect::<io::Result<Vec<_>>>()
        {
            Ok(made) => {
                tracing::info!("workers run on {choice}");
                let (made, mailboxes) = made.into_iter().unzip();
                return Ok((Drivers::IoUring(made), mailboxes));
            }
            Err(error) => choice = give_up(wanted, &error, &rings.facts())?,
        }
    }
    tracing::info!("workers run on {choice}");
    let made: Result<Vec<_>, _> = (0..workers)
        .map(|_| mailbox(connections::WAKER).map(|(poll, _, mailbox)| (poll, mailbox)))
        .collect();
    let (polls, mailboxes) = made?.into_iter().unzip();
    Ok((Drivers::Mio(polls), mailboxes))
}

fn ring(rings: &dyn Rings) -> io::Result<(Ring, Arc<Mailbox<WorkerMessage>>)> {
    let (waker, eventfd) = EventfdWaker::new()?;
    let ring = rings.make(eventfd)?;
    let mailbox = Arc::new(Mailbox::new(MAILBOX_MESSAGES, Box::new(waker)));
    Ok((ring, mailbox))
}

/// A worker's thread: its driver, by what it has.
pub(super) type WorkerBody = Box<dyn FnOnce(Worker, Clock) -> io::Result<()> + Send>;

impl Drivers {
    /// What they are called in `sync.engine`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Mio(_) => EngineName::Mio.as_str(),
            Self::IoUring(_) => EngineName::IoUring.as_str(),
        }
    }

    /// What each worker's thread does.
    pub(super) fn into_bodies(self) -> Vec<WorkerBody> {
        match self {
            Self::Mio(polls) => polls
                .into_iter()
                .map(|poll| -> WorkerBody {
                    Box::new(move |worker, clock| worker_mio::run(worker, poll, clock))
                })
                .collect(),
            Self::IoUring(rings) => rings
                .into_iter()
                .map(|ring| -> WorkerBody {
                    Box::new(move |worker, clock| worker_uring::run(worker, ring, clock))
                })
                .collect(),
        }
    }
}
