//! The fake HustDB's threads: sockets around [`Connection`](super::connection::Connection)s.
//!
//! Each thread has its own reactor and its own connections; the first one listens too and deals new
//! connections out in turn, as hustdb's worker threads do. A read is answered before the next one
//! is made, and a connection whose client doesn't take its answers is not read from.
//!
//! What the handle wants changed comes by way of [`Control`].

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::client::{Client, Turn, reset};
use super::control::{Control, Mode, WAKER};
use super::port::Port;
use super::script::Accept;
use super::service::{Service, Shared, lock};

const LISTENER: Token = Token(usize::MAX - 1);
/// How long accepting rests after an error that is not the client's (no more descriptors).
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// One thread. It runs until it is told to stop.
pub(super) struct Server<'a> {
    index: usize,
    control: &'a Control,
    shared: &'a Shared,
    service: Service<'a>,
    poll: Poll,
    /// The first thread's.
    port: Option<Port>,
    /// Connections by token.
    clients: Slab<Client>,
    /// Connections whose answers wait for their time.
    held: Vec<usize>,
    /// Connections that have more to read but had to let others go first.
    again: Vec<usize>,
    /// When accepting is tried again though nothing was signalled.
    accept_at: Option<Instant>,
    next_thread: usize,
    generation: u64,
    crashes: u64,
    started: Instant,
}

impl<'a> Server<'a> {
    pub(super) fn new(
        index: usize,
        poll: Poll,
        port: Option<Port>,
        control: &'a Control,
        shared: &'a Shared,
    ) -> Self {
        Self {
            index,
            control,
            shared,
            service: Service::new(shared),
            poll,
            port,
            clients: Slab::new(),
            held: Vec::new(),
            again: Vec::new(),
            accept_at: None,
            next_thread: 0,
            generation: 0,
            crashes: 0,
            started: Instant::now(),
        }
    }

    /// The thread's life.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        while self.handle_orders() != Mode::Stopping {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Nothing can be served without a reactor: say so to whoever asks next, and
                    // end.
                    lock(&self.control.orders).error = Some(error);
                    break;
                }
            }
            self.service.now_unix = self.now_unix();
            self.handle_crashes();
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => self.take_inbox(),
                    Token(token) => self.handle_ready(token),
                }
            }
            self.handle_due();
        }
        self.drop_clients();
    }

    /// Carries out what the handle wants, if it has not been yet. Says what it wants.
    fn handle_orders(&mut self) -> Mode {
        let orders = lock(&self.control.orders);
        let (generation, mode) = (orders.generation, orders.mode);
        if generation == self.generation {
            return mode;
        }
        self.started = orders.started;
        drop(orders);

        self.generation = generation;
        self.service.refresh();
        if mode != Mode::Running {
            self.drop_clients();
            // Whoever listens deals connections out, so none can come in behind this.
            if self.port.is_some() {
                self.control
                    .inboxes
                    .iter()
                    .for_each(|inbox| lock(inbox).clear());
            }
        }
        let listens = mode == Mode::Running && self.shared.accept() != Accept::Refuse;
        let done = match &mut self.port {
            Some(port) if listens => port.listen(self.poll.registry(), LISTENER),
            Some(port) => port.hush(),
            None => Ok(()),
        };

        let mut orders = lock(&self.control.orders);
        if let Err(error) = done {
            orders.error = Some(error);
        }
        if orders.generation == generation {
            orders.done += 1;
            self.control.obeyed.notify_all();
        }
        mode
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let clients = &self.clients;
        let held = self
            .held
            .iter()
            .filter_map(|&token| clients.get(token)?.held_until());
        let due = held.chain(self.accept_at).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn now_unix(&self) -> u64 {
        if self.started.elapsed() < self.control.clock_zero_for {
            return 0;
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        since_epoch.map_or(0, |since| since.as_secs())
    }

    /// Gives their turn to those whose time has come and to those who want to go on.
    fn handle_due(&mut self) {
        if self.accept_at.is_some_and(|at| at <= Instant::now()) {
            self.accept_at = None;
            self.accept();
        }
        if !self.held.is_empty() {
            let now = Instant::now();
            for token in std::mem::take(&mut self.held) {
                let Some(client) = self.clients.get_mut(token) else {
                    continue;
                };
                match client.held_until() {
                    Some(until) if until > now => self.held.push(token),
                    Some(_) => {
                        client.release();
                        self.handle_ready(token);
                    }
                    None => {}
                }
            }
        }
        for token in std::mem::take(&mut self.again) {
            self.handle_ready(token);
        }
    }

    fn accept(&mut self) {
        while let Some(port) = &self.port {
            match port.accept() {
                Ok(stream) => self.handle_accepted(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    self.accept_at = Some(Instant::now() + ACCEPT_RETRY);
                    return;
                }
            }
        }
    }

    fn handle_accepted(&mut self, stream: TcpStream) {
        self.service.tally.accepted += 1;
        self.service.flush_tally();
        if self.shared.accept() == Accept::Reset {
            reset(&stream);
            return;
        }
        let thread = self.next_thread;
        self.next_thread = (thread + 1) % self.control.wakers.len();
        if thread == self.index {
            self.admit(stream);
            return;
        }
        lock(&self.control.inboxes[thread]).push(stream);
        // A waker fails only where its reactor is gone, and then nobody waits for this connection.
        let _ = self.control.wakers[thread].wake();
    }

    fn take_inbox(&mut self) {
        let streams = std::mem::take(&mut *lock(&self.control.inboxes[self.index]));
        for stream in streams {
            if self.control.is_running() {
                self.admit(stream);
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream) {
        // Answers are small and written whole: waiting for more could only slow them.
        let _ = stream.set_nodelay(true);
        let client = self.clients.vacant_entry();
        let (token, interest) = (Token(client.key()), Interest::READABLE | Interest::WRITABLE);
        let registered = self.poll.registry().register(&mut stream, token, interest);
        if registered.is_err() {
            return;
        }
        client.insert(Client::new(
            stream,
            self.control.requests_per_connection,
            self.control.manner,
        ));
        self.shared.tallies.opened();
    }

    fn handle_ready(&mut self, token: usize) {
        let Some(client) = self.clients.get_mut(token) else {
            return;
        };
        self.service.refresh();
        let turn = client.take_turn(&mut self.service);
        self.service.flush_tally();
        match turn {
            Turn::Wait => {}
            Turn::Hold => self.held.push(token),
            Turn::Again => self.again.push(token),
            Turn::Drop => self.drop_client(token),
            Turn::Reset => {
                reset(client.stream());
                self.drop_client(token);
            }
            Turn::Crash => {
                self.service.tally.crashes += 1;
                self.service.flush_tally();
                self.control.crashes.fetch_add(1, Ordering::AcqRel);
                // As in `handle_accepted`: a waker that fails has nobody to wake.
                let _ = self.control.wake_all();
                self.handle_crashes();
            }
        }
    }

    /// Drops all connections if hustdb has gone down since this was last looked at.
    fn handle_crashes(&mut self) {
        let crashes = self.control.crashes.load(Ordering::Acquire);
        if crashes != self.crashes {
            self.crashes = crashes;
            self.drop_clients();
        }
    }

    fn drop_client(&mut self, token: usize) {
        if self.clients.try_remove(token).is_some() {
            self.shared.tallies.closed();
        }
    }

    fn drop_clients(&mut self) {
        for client in self.clients.drain() {
            drop(client);
            self.shared.tallies.closed();
        }
        self.held.clear();
        self.again.clear();
    }
}
