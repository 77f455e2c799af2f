//! A worker's driver on an io_uring: a call to the kernel a turn for all that is to be sent, and
//! one for all that is to come.
//!
//! It drives the same [`Worker`] as `worker_mio` does, and keeps the same promises. A connection,
//! by what is under way on it:
//!
//! ```text
//!   connect ──▶ connecting ──▶ made: receiving all the time, at most one send
//!                          ──▶ closed: its operations are cancelled, nothing more is reported
//! ```
//!
//! What the system took of a send is told to the worker when it is done, so that a part of a target
//! closes the connection as it does with mio: no send waits in the kernel for the rest of itself
//! (no `MSG_WAITALL`).
//!
//! **No wait asks for a completion that may not come before another is handled.** So what came of
//! the sends is taken before the wait, and what is waited for are answers to requests that are sent
//! to their end. Memory is the ring's matter ([`Ring`]).

mod batch_wait;
mod connections;

use std::io;
use std::time::Duration;

use crate::engine::clock::Clock;
use crate::engine::os::ring::Ring;
use crate::limits::RING_END;
use crate::replay::worker::Worker;

use batch_wait::BatchWait;
use connections::Connections;

/// Runs a worker until it is told to stop. `ring` has the waker of its mailbox.
///
/// # Errors
/// When the ring fails, which it does only for a defect of ours or of the kernel.
pub fn run(mut worker: Worker, mut ring: Ring, clock: Clock) -> io::Result<()> {
    ring.enable()?;
    let mut connections = Connections::new(ring);
    let result = drive(&mut worker, &mut connections, clock);
    let left = connections.finish(&worker);
    if left > 0 {
        tracing::warn!(
            "{left} operations of a ring did not end within {RING_END:?}; their memory is left to \
             them"
        );
    }
    result
}

fn drive(worker: &mut Worker, connections: &mut Connections, clock: Clock) -> io::Result<()> {
    let mut batch_wait = BatchWait::new();
    loop {
        let now = clock.now();
        worker.receive_messages(now);
        connections.act_all(worker, now);
        connections.submit(worker, now)?;
        let handed_over = worker.hand_over(now);
        if worker.is_stopped() && handed_over {
            return Ok(());
        }

        let timeout = worker.prepare_wait(handed_over, now);
        let late = connections.late_at().saturating_sub(now.monotonic);
        let timeout = whole_ms(timeout.min(late));
        let want = batch_wait.want(connections.asked());
        let waited = connections.wait(want, timeout);
        worker.mailbox().awake();
        waited?;

        let now_after = clock.now();
        let came = connections.handle_all(worker, now_after);
        if !timeout.is_zero() {
            let took = now_after.monotonic.saturating_sub(now.monotonic);
            batch_wait.learn(want, came, took);
        }
        connections.handle_late(worker, now_after);
        worker.handle_deadlines(now_after);
    }
}

/// The same or a little later, as epoll's timeouts are: a rate's next record is due each few
/// microseconds, and nobody has to wake up for each.
fn whole_ms(timeout: Duration) -> Duration {
    let ms = timeout.as_nanos().div_ceil(1_000_000);
    u64::try_from(ms).map_or(Duration::MAX, Duration::from_millis)
}
