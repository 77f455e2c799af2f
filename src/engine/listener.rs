//! The HTTP server: the listening socket and its connections, driven by the control thread's
//! reactor.
//!
//! The contract:
//! - Sockets are registered with edge-triggered readiness. [`Listener::handle_event`] takes the
//!   events whose token [`Listener::owns`].
//! - Poll no longer than until [`Listener::next_deadline`], then call
//!   [`Listener::handle_deadlines`]. It closes connections that took too long and continues with
//!   work that was deferred. One call does a bounded amount of work, so a flood of requests delays
//!   nothing else.
//! - Answers come from an [`Answers`], at once or, by [`Listener::respond`], later.
//! - Work beyond a budget waits its turn: a flood costs a few percent of a core. Connections that
//!   keep to their share, as HA's do, do not wait for those that don't (`budget`); among themselves
//!   they wait for at most one turn of each of the others.
//!
//! Bounded: at most [`ListenerOptions::connections_max`] connections, or as many as the process has
//! file descriptors for. A further connection takes the place of the one that has gone longest
//! without an answer, so idle connections can't lock HA out. Answers that clients do not read have
//! [`ListenerOptions::unsent_bytes_max`] in total.

mod accept;
mod budget;
mod shutdown;

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Registry, Token};
use slab::Slab;

pub use accept::ListenError;
use budget::{Budget, Share, Weight};

use super::os::socket::SocketOptions;
use crate::clock::Now;
use crate::http::answer::{Answer, ClientId};
use crate::http::request::Request;
use crate::http::server::{ServerConnection, ServerLimits};
use crate::limits::{
    HTTP_ANSWERS_PER_TURN, HTTP_DEADLINE_TICK, HTTP_READ_BYTES, HTTP_READS_PER_TURN,
    HTTP_SENT_PER_TURN_BYTES, HTTP_WORK_BODY_BYTES, HTTP_WORK_PER_TURN,
};
use crate::status::server::ListenerCounters;

/// Who may connect.
pub type Access = Box<dyn Fn(IpAddr) -> bool + Send>;

/// Where to listen, and with which bounds.
#[derive(Clone, Copy, Debug)]
pub struct ListenerOptions {
    /// The address. Port 0 means any free port.
    pub address: SocketAddr,
    /// The socket's options.
    pub socket: SocketOptions,
    /// The bounds of each connection.
    pub limits: ServerLimits,
    /// Connections at a time, at least 1. Each takes a descriptor: stay well below the process's
    /// limit.
    pub connections_max: usize,
    /// Bytes of answers that clients have not read yet, over all connections; a single answer may
    /// be larger.
    pub unsent_bytes_max: usize,
}

/// Answers requests.
pub trait Answers {
    /// Whether the answer to `request` is long. Such a request waits for its turn among the
    /// connections that exceed their share, whoever asks.
    fn is_long(&self, request: &Request<'_>) -> bool;

    /// The answer to `request`, or `None` if it will come by [`Listener::respond`] to `client`, who
    /// asks from `peer`.
    fn answer<'a>(
        &'a mut self,
        client: ClientId,
        peer: IpAddr,
        request: &Request<'_>,
        now: Now,
    ) -> Option<Answer<'a>>;
}

/// The listening socket and its connections.
pub struct Listener {
    /// `None` once no more connections are accepted.
    socket: Option<TcpListener>,
    /// systemd has the socket, too, and goes on listening.
    is_handed_over: bool,
    address: SocketAddr,
    options: ListenerOptions,
    access: Access,
    /// The listening socket's token; that of the connection in slot `n` is `base + 1 + n`.
    base: usize,
    connections: Slab<Connection>,
    /// Slots by their `touched`: the idlest first.
    by_touch: BTreeMap<u64, usize>,
    /// Touches so far.
    touches: u64,
    /// Connections that have more to do, in the order of their turns: light ones, heavy ones.
    again: [VecDeque<usize>; 2],
    /// The budget of light and new connections.
    light: Budget,
    /// The budget of all connections together, and so what is left for heavy ones.
    all: Budget,
    /// Connections are accepted before the light ones have their turns; next time it is the other
    /// way round.
    accepts_first: bool,
    /// When to continue to accept, if that was suspended.
    accept_at: Option<Duration>,
    /// No connection's deadline is before this.
    earliest: Option<Duration>,
    /// The buffer into which sockets are read.
    scratch: Box<[u8]>,
    serial: u64,
    /// Work that connections have had in their turns, sending what was charged before included.
    work: u64,
    /// Each answer is the last of its connection.
    is_ending: bool,
    /// The sum of all connections' `unsent_bytes`.
    unsent_bytes: usize,
    /// Its `connections` is not kept.
    counts: ListenerCounters,
}

struct Connection {
    stream: TcpStream,
    peer: IpAddr,
    http: ServerConnection,
    serial: u64,
    /// There may be bytes to read: no read has returned `WouldBlock` since the last readiness.
    is_readable: bool,
    /// The same for writing.
    is_writable: bool,
    /// It is in one of the queues `again`.
    is_queued: bool,
    share: Share,
    /// Its part of the listener's `unsent_bytes`.
    unsent_bytes: usize,
    /// The number of its last touch.
    touched: u64,
}

/// Why a connection has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// By an event: connections that wait go first.
    New,
    /// After waiting in this queue.
    ByTurn(Weight),
}

/// How a connection's turn ended.
enum Turn {
    /// It waits for its peer, or for a late answer.
    Waits,
    /// It has more to do, but it is the others' turn.
    More,
    /// Its next answer is long, and so is for another turn.
    Long,
    /// It is to be closed.
    Over,
}

/// How sending ended.
enum Sent {
    /// There is nothing left to send, or the peer takes nothing more for now.
    Done,
    /// There is more, but it is the others' turn.
    Enough,
}

impl Listener {
    /// Listens as `options` say, and registers with tokens `base` up to and including `base +
    /// connections_max`.
    ///
    /// # Errors
    /// [`ListenError`], which names the address and what to do.
    #[cfg(feature = "testing")]
    pub fn bind(
        options: ListenerOptions,
        access: Access,
        registry: &Registry,
        base: Token,
    ) -> Result<Self, ListenError> {
        Self::open(options, None, access, registry, base)
    }

    /// The same with a socket that listens already, if there is one. Its address has to be the one
    /// in `options`.
    ///
    /// # Errors
    /// [`ListenError`], which names the address and what to do.
    pub fn open(
        options: ListenerOptions,
        handed_over: Option<std::net::TcpListener>,
        access: Access,
        registry: &Registry,
        base: Token,
    ) -> Result<Self, ListenError> {
        let is_handed_over = handed_over.is_some();
        let (socket, address) = accept::open(&options, handed_over, registry, base)?;
        Ok(Self {
            socket: Some(socket),
            is_handed_over,
            address,
            options,
            access,
            base: base.0,
            connections: Slab::new(),
            by_touch: BTreeMap::new(),
            touches: 0,
            again: [VecDeque::new(), VecDeque::new()],
            light: Budget::default(),
            all: Budget::default(),
            accepts_first: false,
            accept_at: None,
            earliest: None,
            scratch: vec![0; HTTP_READ_BYTES].into_boxed_slice(),
            serial: 0,
            work: 0,
            is_ending: false,
            unsent_bytes: 0,
            counts: ListenerCounters::default(),
        })
    }

    /// Where it listens, with the port that port 0 became.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The counters so far.
    #[must_use]
    pub fn counts(&self) -> ListenerCounters {
        ListenerCounters {
            connections: self.connections() as u64,
            ..self.counts
        }
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Bytes of memory that connections hold for buffers.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        self.connections
            .iter()
            .map(|(_, connection)| connection.http.buffer_bytes())
            .sum()
    }

    /// Whether events with `token` are for [`Self::handle_event`].
    #[must_use]
    pub fn owns(&self, token: Token) -> bool {
        (self.base..=self.base + self.options.connections_max).contains(&token.0)
    }

    /// Takes a readiness event.
    pub fn handle_event(
        &mut self,
        event: &Event,
        registry: &Registry,
        now: Now,
        answers: &mut dyn Answers,
    ) {
        let Some(slot) = event.token().0.checked_sub(self.base + 1) else {
            // While accepting is suspended, a new connection does not resume it.
            if self.accept_at.is_some_and(|at| at > now.monotonic) {
                return;
            }
            if self.again[Weight::Light as usize].is_empty() {
                self.accept(registry, now, answers);
            } else {
                // Accepting happens in its turn.
                self.accept_at = Some(Duration::ZERO);
            }
            return;
        };
        // An event may be older than the connection in the slot now. Then a read or write returns
        // `WouldBlock`, and nothing else happens.
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        connection.is_writable |= event.is_writable() || event.is_error();
        self.run(slot, Came::New, now, answers);
    }

    /// Sends a late answer. Returns false if the client is gone.
    pub fn respond(
        &mut self,
        client: ClientId,
        answer: &Answer<'_>,
        now: Now,
        answers: &mut dyn Answers,
    ) -> bool {
        let Some(connection) = self
            .connections
            .get_mut(client.slot)
            .filter(|connection| connection.serial == client.serial)
        else {
            return false;
        };
        if !connection.http.is_asked() {
            return false;
        }
        connection.http.respond(answer, now);
        let work = body_work(answer);
        connection.share.charge(work, now);
        self.all.charge(work, now);
        self.counts.answered += 1;
        self.touch(client.slot);
        self.run(client.slot, Came::New, now, answers);
        true
    }

    /// When [`Self::handle_deadlines`] is due, on the monotonic clock; in the past if work is left.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let due = |weight: Weight| {
            let waits = !self.again[weight as usize].is_empty();
            waits.then(|| self.budget(weight).rests_until())
        };
        let all = [
            due(Weight::Light),
            due(Weight::Heavy),
            self.accept_at,
            self.earliest,
        ];
        all.into_iter().flatten().min()
    }

    /// The budget that turns of such a connection need.
    fn budget(&self, weight: Weight) -> &Budget {
        match weight {
            Weight::Light => &self.light,
            Weight::Heavy => &self.all,
        }
    }

    /// Closes connections that took too long, and does a turn of the work that is left.
    pub fn handle_deadlines(&mut self, registry: &Registry, now: Now, answers: &mut dyn Answers) {
        let accepts = self.accept_at.is_some_and(|at| at <= now.monotonic);
        let accepts_first = accepts && self.accepts_first;
        if accepts_first {
            self.accept(registry, now, answers);
        }
        self.run_queued(Weight::Light, now, answers);
        if accepts && !accepts_first {
            self.accept(registry, now, answers);
        }
        self.accepts_first ^= accepts;
        self.run_queued(Weight::Heavy, now, answers);
        if self.earliest.is_some_and(|at| at <= now.monotonic) {
            self.handle_connection_deadlines(now, answers);
        }
    }

    /// Runs one turn of each waiting connection, as far as the budget allows. Heavy ones stop
    /// early, so that new events come first.
    fn run_queued(&mut self, weight: Weight, now: Now, answers: &mut dyn Answers) {
        let done = self.work;
        for _ in 0..self.again[weight as usize].len() {
            let is_enough = self.work - done >= u64::from(HTTP_WORK_PER_TURN);
            if self.budget(weight).is_spent(now) || weight == Weight::Heavy && is_enough {
                return;
            }
            let Some(slot) = self.again[weight as usize].pop_front() else {
                return;
            };
            if let Some(connection) = self
                .connections
                .get_mut(slot)
                .filter(|connection| connection.is_queued)
            {
                connection.is_queued = false;
                self.run(slot, Came::ByTurn(weight), now, answers);
            }
        }
    }

    fn handle_connection_deadlines(&mut self, now: Now, answers: &mut dyn Answers) {
        let due: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                connection
                    .http
                    .deadline()
                    .is_some_and(|at| at <= now.monotonic)
            })
            .map(|(slot, _)| slot)
            .collect();
        for slot in due {
            // One of those before it may have made it go.
            if let Some(connection) = self.connections.get_mut(slot) {
                connection.http.handle_deadline(now);
                self.run(slot, Came::New, now, answers);
            }
        }
        // Deadlines that are close to each other are handled together.
        self.earliest = self
            .connections
            .iter()
            .filter_map(|(_, connection)| connection.http.deadline())
            .min()
            .map(|at| at.max(now.after(HTTP_DEADLINE_TICK)));
    }

    /// Runs a connection's turn, and makes room if too many answers wait to be read.
    fn run(&mut self, slot: usize, came: Came, now: Now, answers: &mut dyn Answers) {
        self.take_turn(slot, came, now, answers);
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let unsent = connection.http.unsent_bytes();
        self.unsent_bytes =
            self.unsent_bytes + unsent - std::mem::replace(&mut connection.unsent_bytes, unsent);
        while self.unsent_bytes > self.options.unsent_bytes_max {
            let idlest = self
                .by_touch
                .values()
                .copied()
                .find(|&other| other != slot && self.connections[other].unsent_bytes > 0);
            let Some(idlest) = idlest else {
                return;
            };
            self.counts.evicted += 1;
            self.drop_connection(idlest);
        }
    }

    /// Runs a connection's turn and handles its result. The turn is deferred if the budget is
    /// spent, or if others wait.
    fn take_turn(&mut self, slot: usize, came: Came, now: Now, answers: &mut dyn Answers) {
        let connection = &mut self.connections[slot];
        if connection.is_queued {
            return;
        }
        let weight = match came {
            Came::New => connection.share.weight(now),
            Came::ByTurn(weight) => weight,
        };
        // Heavy ones have their turns after all events, as many of them as `run_queued` gives.
        let waits = came == Came::New
            && (weight == Weight::Heavy || !self.again[weight as usize].is_empty());
        if waits || self.budget(weight).is_spent(now) {
            return self.queue(slot, weight);
        }
        let connection = &mut self.connections[slot];
        let client = ClientId {
            slot,
            serial: connection.serial,
        };
        let answered = connection.http.answered();
        let (mut work, sent) = (0, connection.http.sent_bytes());
        let may_be_long = came == Came::ByTurn(Weight::Heavy);
        let turn = connection.turn(
            client,
            &mut self.scratch,
            now,
            answers,
            may_be_long,
            &mut work,
        );
        connection.share.charge(work, now);
        if weight == Weight::Light {
            self.light.charge(work, now);
        }
        self.all.charge(work, now);
        // What is sent was charged when it was made, and takes time now.
        let sent = connection.http.sent_bytes() - sent;
        self.work += u64::from(work) + sent / HTTP_WORK_BODY_BYTES as u64;
        let newly_answered = connection.http.answered() - answered;
        let deadline = connection.http.deadline();
        if newly_answered > 0 {
            self.counts.answered += u64::from(newly_answered);
            self.touch(slot);
        }
        match turn {
            Turn::Over => return self.drop_connection(slot),
            Turn::More => {
                let weight = self.connections[slot].share.weight(now);
                self.queue(slot, weight);
            }
            Turn::Long => self.queue(slot, Weight::Heavy),
            Turn::Waits => {}
        }
        if let Some(deadline) = deadline {
            self.earliest = Some(
                self.earliest
                    .map_or(deadline, |earliest| earliest.min(deadline)),
            );
        }
    }

    /// Queues it after those that wait already.
    fn queue(&mut self, slot: usize, weight: Weight) {
        self.connections[slot].is_queued = true;
        self.again[weight as usize].push_back(slot);
    }

    fn drop_connection(&mut self, slot: usize) {
        // Closing the socket removes it from the poller.
        let connection = self.connections.remove(slot);
        self.unsent_bytes -= connection.unsent_bytes;
        self.by_touch.remove(&connection.touched);
    }

    /// It was accepted or answered: it is the least idle one. Slow bytes of a request don't count.
    fn touch(&mut self, slot: usize) {
        self.touches += 1;
        let touched = std::mem::replace(&mut self.connections[slot].touched, self.touches);
        self.by_touch.remove(&touched);
        self.by_touch.insert(self.touches, slot);
    }
}

impl Connection {
    /// Reads, answers and sends until one of them has to wait, or it is the others' turn. Adds the
    /// work that it took to `work`.
    fn turn(
        &mut self,
        client: ClientId,
        scratch: &mut [u8],
        now: Now,
        answers: &mut dyn Answers,
        may_be_long: bool,
        work: &mut u32,
    ) -> Turn {
        let (mut reads, mut asked) = (0, 0);
        loop {
            while asked < HTTP_ANSWERS_PER_TURN && *work < HTTP_WORK_PER_TURN {
                let is_long = |request| answers.is_long(&request);
                if !may_be_long && self.http.peek_request().is_some_and(is_long) {
                    break;
                }
                let Some(request) = self.http.poll_request() else {
                    break;
                };
                asked += 1;
                *work += 1;
                let Some(answer) = answers.answer(client, self.peer, &request, now) else {
                    break;
                };
                *work += body_work(&answer);
                self.http.respond(&answer, now);
            }
            match self.send(now, work) {
                Err(_) => return Turn::Over,
                Ok(Sent::Enough) => return Turn::More,
                Ok(Sent::Done) => {}
            }
            if let Some(request) = self.http.peek_request() {
                if !may_be_long && answers.is_long(&request) {
                    return Turn::Long;
                }
                if asked == HTTP_ANSWERS_PER_TURN || *work >= HTTP_WORK_PER_TURN {
                    return Turn::More;
                }
                continue;
            }
            if self.http.poll_shutdown() && self.stream.shutdown(Shutdown::Write).is_err() {
                return Turn::Over;
            }
            if self.http.is_over() {
                return Turn::Over;
            }
            if !self.is_readable || !self.http.wants_input() {
                return Turn::Waits;
            }
            if reads == HTTP_READS_PER_TURN {
                return Turn::More;
            }
            reads += 1;
            *work += 1;
            match self.stream.read(scratch) {
                Ok(0) => {
                    self.is_readable = false;
                    self.http.handle_end(now);
                }
                Ok(bytes) => self.http.handle_received(&scratch[..bytes], now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Turn::Over,
            }
        }
    }

    /// Sends what there is, as far as the peer takes it and the turn allows.
    fn send(&mut self, now: Now, work: &mut u32) -> std::io::Result<Sent> {
        let mut left = HTTP_SENT_PER_TURN_BYTES;
        while self.is_writable && !self.http.outgoing().is_empty() {
            if left == 0 {
                return Ok(Sent::Enough);
            }
            *work += 1;
            let outgoing = self.http.outgoing();
            match self.stream.write(&outgoing[..outgoing.len().min(left)]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    left -= bytes;
                    self.http.handle_sent(bytes, now);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Sent::Done)
    }
}

/// The work that an answer's body is charged as.
fn body_work(answer: &Answer<'_>) -> u32 {
    u32::try_from(answer.body.len() / HTTP_WORK_BODY_BYTES).unwrap_or(u32::MAX)
}
