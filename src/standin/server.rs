//! The stand-in's threads: sockets around [`Connection`]s.
//!
//! Each thread has its own reactor and its own connections; the first one listens too and deals new connections out in turn. A read is
//! answered before the next one is made, and a connection whose client doesn't take its answers is not read from.
//!
//! What the handle wants changed goes through [`Control`]: it raises the generation, wakes all threads, and waits until each has
//! seen it. So when `kill` returns, nobody listens and no connection stands.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::connection::{After, Connection, READ_BYTES_MAX};
use super::port::Port;
use super::script::Accept;
use super::service::{Service, Shared, lock};

const LISTENER: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX);
/// Reads of one connection before the others have their turn.
const READS_PER_TURN: u32 = 64;
/// How long accepting rests after an error that is not the client's (no more descriptors).
const ACCEPT_RETRY: Duration = Duration::from_millis(10);
/// What an endless header is made of.
const FILLER: &[u8] = b"X-Filler: ........................................................................................\r\n";

/// What the handle and the threads say to each other.
#[derive(Debug)]
pub(super) struct Control {
    orders: Mutex<Orders>,
    obeyed: Condvar,
    /// One a thread.
    wakers: Box<[Waker]>,
    /// Connections that the first thread accepted for another, one a thread.
    inboxes: Box<[Mutex<Vec<TcpStream>>]>,
    /// How often hustdb has gone down; each time every thread drops its connections.
    crashes: AtomicU64,
    requests_per_connection: u32,
    clock_zero_for: Duration,
}

#[derive(Debug)]
struct Orders {
    generation: u64,
    mode: Mode,
    /// When the stand-in last came up.
    started: Instant,
    /// How many threads have carried out this generation.
    done: usize,
    error: Option<io::Error>,
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
            clock_zero_for,
        };
        Ok((Arc::new(control), polls))
    }

    /// Puts the threads into `mode` (or leaves them in theirs, to take over new settings) and waits until they are.
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
                "a thread of the stand-in does not answer any more",
            ));
        }
        orders.error.take().map_or(Ok(()), Err)
    }

    fn wake_all(&self) -> io::Result<()> {
        self.wakers.iter().try_for_each(Waker::wake)
    }

    fn is_running(&self) -> bool {
        lock(&self.orders).mode == Mode::Running
    }
}

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
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
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

struct Client {
    stream: TcpStream,
    connection: Connection,
    out: Vec<u8>,
    /// How much of `out` has been written.
    written: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Reads and answers.
    Open,
    /// Its answers leave when this time has come; nothing is read before.
    Held(Instant),
    /// Closed as soon as all answers are out.
    Closing,
    /// Says nothing any more.
    Hung,
    /// Sends a header without end.
    Endless,
}

/// What becomes of a connection after it had its turn.
enum Turn {
    /// It waits for the next event.
    Wait,
    /// It waits for its time.
    Hold,
    /// It wants another turn.
    Again,
    /// It is over.
    Drop,
    /// It is over, with a reset.
    Reset,
    /// hustdb is down.
    Crash,
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
            clients: Vec::new(),
            free: Vec::new(),
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
                    // Nothing can be served without a reactor: say so to whoever asks next, and end.
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
        let held = self
            .held
            .iter()
            .filter_map(|&token| match self.clients.get(token) {
                Some(Some(Client {
                    state: State::Held(until),
                    ..
                })) => Some(*until),
                _ => None,
            });
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
                match self.clients.get_mut(token) {
                    Some(Some(client)) if matches!(client.state, State::Held(until) if until <= now) =>
                    {
                        client.state = State::Open;
                        self.handle_ready(token);
                    }
                    Some(Some(Client {
                        state: State::Held(_),
                        ..
                    })) => self.held.push(token),
                    _ => {}
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
        let token = self.free.pop().unwrap_or(self.clients.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self
            .poll
            .registry()
            .register(&mut stream, Token(token), interest)
            .is_err()
        {
            self.free
                .extend((token < self.clients.len()).then_some(token));
            return;
        }
        let client = Some(Client {
            stream,
            connection: Connection::new(self.control.requests_per_connection),
            out: Vec::new(),
            written: 0,
            state: State::Open,
        });
        match self.clients.get_mut(token) {
            Some(slot) => *slot = client,
            None => self.clients.push(client),
        }
        self.shared.tallies.opened();
    }

    fn handle_ready(&mut self, token: usize) {
        let Some(Some(client)) = self.clients.get_mut(token) else {
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
                reset(&client.stream);
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
        if self.clients[token].take().is_some() {
            self.free.push(token);
            self.shared.tallies.closed();
        }
    }

    fn drop_clients(&mut self) {
        for token in 0..self.clients.len() {
            self.drop_client(token);
        }
        self.held.clear();
        self.again.clear();
    }
}

impl Client {
    /// Writes and reads until there is nothing to do or others must have their turn.
    fn take_turn(&mut self, service: &mut Service<'_>) -> Turn {
        self.connection
            .misread_cut_targets(service.misread_cut_targets());
        for _ in 0..READS_PER_TURN {
            if let State::Held(_) = self.state {
                return Turn::Wait;
            }
            match self.flush() {
                Ok(true) => {}
                Ok(false) => return Turn::Wait,
                Err(_) => return Turn::Drop,
            }
            match self.state {
                State::Open | State::Hung => {}
                State::Held(_) => return Turn::Wait,
                State::Closing => return Turn::Drop,
                State::Endless => {
                    self.out.extend_from_slice(&FILLER.repeat(64));
                    continue;
                }
            }

            let mut buffer = [0u8; READ_BYTES_MAX];
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Turn::Drop,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Wait,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Turn::Drop,
            };
            service.tally.bytes_in += count as u64;
            if self.state == State::Hung {
                continue;
            }
            let answers = self.connection.answers();
            let after = self
                .connection
                .handle_read(&buffer[..count], service, &mut self.out);
            service.tally.cut_targets += self.connection.take_cut_targets();
            // Whoever has the answer may look at the counters.
            service.flush_tally();
            self.state = match after {
                After::Continue => State::Open,
                After::Close => State::Closing,
                After::Hang => State::Hung,
                After::Endless => State::Endless,
                After::Reset => return Turn::Reset,
                After::Crash => return Turn::Crash,
            };
            let delay = service.delay(self.connection.answers() - answers);
            if self.state == State::Open && !self.out.is_empty() && !delay.is_zero() {
                self.state = State::Held(Instant::now() + delay);
                return Turn::Hold;
            }
        }
        Turn::Again
    }

    /// Writes what is to be written; says whether it is all out.
    fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }
}

/// Makes the end of this connection a reset, whatever is in its buffers.
fn reset(stream: &TcpStream) {
    // Where this fails the connection is closed instead, which a client has to take as well.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
