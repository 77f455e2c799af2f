//! What the handle and the threads of a fake HustDB say to each other.
//!
//! The handle raises the generation, wakes all threads and waits until each has said that it has
//! carried the order out. So when `kill` returns, nobody listens and no connection stands.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Poll, Token, Waker};

use super::Manner;
use super::service::lock;

/// The token under which a thread is woken.
pub(super) const WAKER: Token = Token(usize::MAX);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) orders: Mutex<Orders>,
    pub(super) obeyed: Condvar,
    /// One a thread.
    pub(super) wakers: Box<[Waker]>,
    /// Connections that the first thread accepted for another, one a thread.
    pub(super) inboxes: Box<[Mutex<Vec<TcpStream>>]>,
    /// How often hustdb has gone down; each time every thread drops its connections.
    pub(super) crashes: AtomicU64,
    pub(super) requests_per_connection: u32,
    pub(super) manner: Manner,
    pub(super) clock_zero_for: Duration,
}

#[derive(Debug)]
pub(super) struct Orders {
    pub(super) generation: u64,
    pub(super) mode: Mode,
    /// When the fake HustDB last came up.
    pub(super) started: Instant,
    /// How many threads have carried out this generation.
    pub(super) done: usize,
    pub(super) error: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Running,
    /// No listener, no connections.
    Down,
    /// The threads end.
    Stopping,
}

impl Control {
    /// The control and the reactors of `threads` threads.
    pub(super) fn new(
        threads: usize,
        requests_per_connection: u32,
        manner: Manner,
        clock_zero_for: Duration,
    ) -> io::Result<(Arc<Self>, Vec<Poll>)> {
        let polls = (0..threads.max(1))
            .map(|_| Poll::new())
            .collect::<io::Result<Vec<_>>>()?;
        let wakers = polls
            .iter()
            .map(|poll| Waker::new(poll.registry(), WAKER))
            .collect::<io::Result<_>>()?;
        let control = Self {
            orders: Mutex::new(Orders {
                generation: 1,
                mode: Mode::Running,
                started: Instant::now(),
                done: 0,
                error: None,
            }),
            obeyed: Condvar::new(),
            wakers,
            inboxes: polls.iter().map(|_| Mutex::default()).collect(),
            crashes: AtomicU64::new(0),
            requests_per_connection,
            manner,
            clock_zero_for,
        };
        Ok((Arc::new(control), polls))
    }

    /// Puts the threads into `mode` (or leaves them in theirs, to take over new settings) and waits
    /// until they are.
    pub(super) fn order(&self, mode: Option<Mode>) -> io::Result<()> {
        self.announce(mode)?;
        self.wait()
    }

    /// The first half of [`Control::order`]: doesn't wait.
    pub(super) fn announce(&self, mode: Option<Mode>) -> io::Result<()> {
        let mut orders = lock(&self.orders);
        let before = orders.mode;
        orders.mode = mode.unwrap_or(before);
        if orders.mode == Mode::Running && before != Mode::Running {
            orders.started = Instant::now();
        }
        orders.generation += 1;
        orders.done = 0;
        drop(orders);
        self.wake_all()
    }

    /// Waits until all threads have carried out the newest order.
    pub(super) fn wait(&self) -> io::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(20);
        let orders = lock(&self.orders);
        let (mut orders, timeout) = self
            .obeyed
            .wait_timeout_while(orders, PATIENCE, |orders| orders.done < self.wakers.len())
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if timeout.timed_out() {
            return Err(io::Error::other(
                "a thread of the fake HustDB does not answer any more",
            ));
        }
        orders.error.take().map_or(Ok(()), Err)
    }

    pub(super) fn wake_all(&self) -> io::Result<()> {
        self.wakers.iter().try_for_each(Waker::wake)
    }

    pub(super) fn is_running(&self) -> bool {
        lock(&self.orders).mode == Mode::Running
    }
}
