//! A worker's driver on mio: one epoll, and its connections.

use std::io;

use mio::{Events, Poll};

use crate::engine::clock::Clock;
use crate::engine::connections::{Connections, WAKER};
use crate::engine::wait::wait;
use crate::replay::worker::Worker;

/// Events taken from the system at once.
const EVENTS: usize = 1024;

/// Runs a worker until it is told to stop. `poll` has the worker's waker registered under
/// [`WAKER`].
///
/// # Errors
/// When the system's poll fails, which it does only for a defect of ours or no memory.
pub fn run(mut worker: Worker, mut poll: Poll, clock: Clock) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let mut connections = Connections::default();
    loop {
        let now = clock.now();
        worker.receive_messages(now);
        connections.act_all(&mut worker, &poll, now);
        let handed_over = worker.hand_over(now);
        if worker.is_stopped() && handed_over {
            return Ok(());
        }

        let timeout = worker.prepare_wait(handed_over, now);
        let timeout = timeout.min(connections.late_at().saturating_sub(now.monotonic));
        wait(&mut poll, &mut events, Some(timeout))?;
        worker.mailbox().awake();

        let now = clock.now();
        for event in events.iter().filter(|event| event.token() != WAKER) {
            connections.handle_event(event, &mut worker, now);
        }
        connections.handle_late(&mut worker, now);
        worker.handle_deadlines(now);
    }
}
