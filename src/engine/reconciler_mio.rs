//! The reconciler's driver on mio: one epoll, nonblocking keep-alive connections. Comparing comes
//! after replaying, so it needs no ring.

use std::io;
use std::time::Duration;

use mio::{Events, Poll};

use crate::engine::clock::Clock;
use crate::engine::connections::{Connections, WAKER};
use crate::engine::wait::wait;
use crate::replay::disk::Disk;
use crate::replay::reconciler::{Reconciler, Surroundings, Turn};

/// Events taken from the system at once.
const EVENTS: usize = 256;

/// Runs the reconciler until it is told to stop. `poll` has its waker registered under [`WAKER`].
///
/// # Errors
/// When the system's poll fails, which it does only for a defect of ours or no memory.
pub(super) fn run<D: Disk, S: Surroundings>(
    mut reconciler: Reconciler<D, S>,
    mut poll: Poll,
    clock: Clock,
) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let mut connections = Connections::default();
    loop {
        let turn = reconciler.turn(clock.now());
        connections.act_all(&mut reconciler, &poll, clock.now());
        let until = match turn {
            Turn::Stopped => return Ok(()),
            Turn::Busy => Duration::ZERO,
            Turn::Idle { until } => until,
        };
        let timeout = match until > Duration::ZERO && reconciler.mailbox().prepare_sleep() {
            true => until.saturating_sub(clock.now().monotonic),
            false => Duration::ZERO,
        };
        wait(&mut poll, &mut events, Some(timeout))?;
        reconciler.mailbox().awake();
        let now = clock.now();
        for event in events.iter().filter(|event| event.token() != WAKER) {
            connections.handle_event(event, &mut reconciler, now);
        }
    }
}
