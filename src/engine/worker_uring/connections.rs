//! A worker's connections on its ring: what the worker wants done becomes operations, and what is
//! done is told to it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Now;
use crate::connections::{Action, Connected};
use crate::engine::gather::Gather;
use crate::engine::os::ring::{Done, Filled, Ring, SendMode, SocketId};
use crate::engine::os::tcp;
use crate::limits::{KEEPALIVE_PROBES, RING_BATCH_WAIT, RING_END};
use crate::replay::worker::Worker;

/// A connection of a slot.
#[derive(Clone, Copy)]
struct Connection {
    socket: SocketId,
    is_made: bool,
    sending: Option<Sending>,
    /// Whole requests were sent since bytes last came: an answer comes without anything more being
    /// done here.
    is_asked: bool,
    gather: Gather,
}

/// A send that is under way.
#[derive(Clone, Copy)]
struct Sending {
    send_mode: SendMode,
    bytes: usize,
}

/// The connections by slot, and their ring.
pub(super) struct Connections {
    ring: Ring,
    by_slot: Vec<Option<Connection>>,
    /// Sends without patience were pushed and not submitted: each is done as soon as it is.
    has_unsubmitted: bool,
    /// Connections whose answers are to come.
    asked: usize,
    /// No connection's answers are late before this, monotonic; it may be too early.
    late_at: Duration,
}

impl Connections {
    pub(super) fn new(ring: Ring) -> Self {
        Self {
            ring,
            by_slot: Vec::new(),
            has_unsubmitted: false,
            asked: 0,
            late_at: Duration::MAX,
        }
    }

    /// Connections whose answers are to come.
    pub(super) fn asked(&self) -> usize {
        self.asked
    }

    /// Submits sends that don't wait for room, and tells the worker what the system took of them.
    ///
    /// This comes before any wait. What follows a send that was short, refused or failed is pushed
    /// here, so its answer never depends on a completion that somebody would have to take first;
    /// and the time for the answer begins when the send ends, not when the wait does.
    pub(super) fn submit(&mut self, worker: &mut Worker, now: Now) -> io::Result<()> {
        if !std::mem::take(&mut self.has_unsubmitted) {
            return Ok(());
        }
        self.ring.wait(0, Duration::ZERO)?;
        self.ring.take_completions();
        while let Some(done) = self.ring.poll_done_but_received() {
            self.handle(done, worker, now);
        }
        self.give_back(worker);
        Ok(())
    }

    /// Submits what is left, and waits until `want` answers are there, for a while, or for anything
    /// until `timeout` is over.
    ///
    /// Whatever it waits for comes by itself: `want` is at most the number of connections whose
    /// requests are sent to their end.
    pub(super) fn wait(&mut self, want: usize, timeout: Duration) -> io::Result<()> {
        let here = self.ring.received();
        let left = want.saturating_sub(here);
        if timeout.is_zero() || left == 0 {
            return match here {
                0 => self.ring.wait(0, Duration::ZERO),
                _ => Ok(()),
            };
        }
        if left == 1 && here == 0 {
            return self.ring.wait(1, timeout);
        }
        self.ring.wait(left, timeout.min(RING_BATCH_WAIT))?;
        if here > 0 || self.ring.has_completions() || timeout <= RING_BATCH_WAIT {
            return Ok(());
        }
        self.ring.wait(1, timeout - RING_BATCH_WAIT)
    }

    pub(super) fn act_all(&mut self, worker: &mut Worker, now: Now) {
        self.by_slot.resize_with(worker.slots(), || None);
        while let Some(action) = worker.poll_action(now) {
            match action {
                Action::Connect(slot, address) => self.connect(slot, address, worker, now),
                Action::Transmit(slot) => self.transmit(slot, SendMode::None, worker, now),
                Action::Close(slot) => self.close(slot),
            }
        }
    }

    /// When [`Connections::handle_late`] wants to be called, monotonic.
    pub(super) fn late_at(&self) -> Duration {
        self.late_at
    }

    /// Looks whether answers that are gathered are late.
    pub(super) fn handle_late(&mut self, worker: &mut Worker, now: Now) {
        if now.monotonic < self.late_at {
            return;
        }
        self.late_at = Duration::MAX;
        for slot in 0..self.by_slot.len() {
            let Some(connection) = &mut self.by_slot[slot] else {
                continue;
            };
            let gather = &mut connection.gather;
            if gather.late_at() > now.monotonic {
                self.late_at = self.late_at.min(gather.late_at());
            } else if let Err(error) = gather.handle_late(self.ring.fd(connection.socket)) {
                self.closed(slot, error.to_string(), worker, now);
            }
        }
    }

    /// Tells the worker of all that is done. Gives on how many connections something came or ended.
    pub(super) fn handle_all(&mut self, worker: &mut Worker, now: Now) -> usize {
        let mut came = 0;
        self.ring.take_completions();
        while let Some(done) = self.ring.poll_done() {
            came += self.handle(done, worker, now);
        }
        self.give_back(worker);
        came
    }

    /// Ends all connections. Gives how many operations would not end.
    pub(super) fn finish(mut self, worker: &Worker) -> usize {
        let left = self.ring.finish(RING_END);
        self.give_back(worker);
        left
    }

    /// Returns the shares that were sent. This comes before any wait: without them the reader may
    /// have no room for the piece that is waited for.
    fn give_back(&mut self, worker: &Worker) {
        for share in self.ring.released() {
            worker.release(share);
        }
    }

    fn connect(&mut self, slot: usize, address: SocketAddr, worker: &mut Worker, now: Now) {
        match self.ring.connect(&address, slot) {
            Ok(socket) => {
                let interval = worker.keepalive_interval(slot);
                if let Err(error) =
                    tcp::keep_alive(self.ring.fd(socket), interval, KEEPALIVE_PROBES)
                {
                    self.ring.close(socket);
                    let why = format!("no connection to {address}: {error}");
                    return worker.handle_closed(slot, why, now);
                }
                self.by_slot[slot] = Some(Connection {
                    socket,
                    is_made: false,
                    sending: None,
                    is_asked: false,
                    gather: Gather::new(),
                });
            }
            Err(error) => {
                worker.handle_closed(slot, format!("no connection to {address}: {error}"), now)
            }
        }
    }

    /// Sends what is outgoing, unless something is on its way: then the rest goes when that is
    /// done. Where all is sent, an answer is to come; where a piece of a body is not here yet, none
    /// is.
    fn transmit(&mut self, slot: usize, send_mode: SendMode, worker: &mut Worker, now: Now) {
        let Some(connection) = &mut self.by_slot[slot] else {
            return;
        };
        if connection.sending.is_some() || !connection.is_made {
            return;
        }
        let [head, body] = worker.outgoing(slot);
        if head.is_empty() && body.is_empty() {
            return self.handle_all_sent(slot, worker, now);
        }
        let share = match body {
            [] => None,
            _ => worker.outgoing_body(slot),
        };
        let bytes = head.len() + body.len();
        if !self.ring.send(connection.socket, head, share, send_mode) {
            return;
        }
        connection.sending = Some(Sending { send_mode, bytes });
        self.has_unsubmitted |= send_mode == SendMode::None;
    }

    /// All that is outgoing is sent: an answer is to come, unless a piece of a body is not here
    /// yet.
    fn handle_all_sent(&mut self, slot: usize, worker: &mut Worker, now: Now) {
        let Some(connection) = &mut self.by_slot[slot] else {
            return;
        };
        let Some(due) = worker.answer_bytes_due(slot) else {
            return;
        };
        if !std::mem::replace(&mut connection.is_asked, true) {
            self.asked += 1;
        }
        let gather = &mut connection.gather;
        let socket = self.ring.fd(connection.socket);
        let told = gather.handle_sent(due, now.monotonic, socket);
        self.late_at = self.late_at.min(gather.late_at());
        if let Err(error) = told {
            self.closed(slot, error.to_string(), worker, now);
        }
    }

    /// Gives 1 where something came or ended, 0 where something of ours was done.
    fn handle(&mut self, done: Done, worker: &mut Worker, now: Now) -> usize {
        match done {
            Done::Wake => 1,
            Done::Connected {
                socket,
                tag,
                result,
            } => {
                if self.is_current(tag, socket) {
                    self.handle_connected(tag, socket, result, worker, now);
                }
                1
            }
            Done::Sent {
                socket,
                tag,
                result,
            } => {
                if self.is_current(tag, socket) {
                    self.handle_sent(tag, result, worker, now);
                }
                0
            }
            Done::Received {
                socket,
                tag,
                result,
                more,
            } => {
                if self.is_current(tag, socket) {
                    self.handle_received(tag, socket, result, more, worker, now);
                } else if let Ok(Some(filled)) = result {
                    self.ring.recycle(filled);
                }
                1
            }
        }
    }

    /// Whether the slot's connection is still the one on this socket.
    fn is_current(&self, slot: usize, socket: SocketId) -> bool {
        self.by_slot[slot].is_some_and(|connection| connection.socket == socket)
    }

    fn handle_connected(
        &mut self,
        slot: usize,
        socket: SocketId,
        result: io::Result<()>,
        worker: &mut Worker,
        now: Now,
    ) {
        match result.and_then(|()| tcp::segment_bytes(self.ring.fd(socket))) {
            Ok(segment_bytes) => {
                if let Some(connection) = &mut self.by_slot[slot] {
                    connection.is_made = true;
                }
                self.ring.receive(socket);
                worker.handle_connected(slot, segment_bytes, now);
            }
            Err(error) => self.closed(slot, error.to_string(), worker, now),
        }
    }

    fn handle_sent(
        &mut self,
        slot: usize,
        result: io::Result<usize>,
        worker: &mut Worker,
        now: Now,
    ) {
        let connection = self.by_slot[slot].as_mut();
        let Some(sending) = connection.and_then(|connection| connection.sending.take()) else {
            return;
        };
        match result {
            Ok(bytes) => worker.handle_sent(slot, bytes.min(sending.bytes), now),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // There was no room, and it was not to wait for any. One that was to wait is never done
            // so.
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock
                    && sending.send_mode == SendMode::None => {}
            Err(error) => return self.closed(slot, error.to_string(), worker, now),
        }
        // What is left goes as soon as there is room for it.
        self.transmit(slot, SendMode::Any, worker, now);
    }

    fn handle_received(
        &mut self,
        slot: usize,
        socket: SocketId,
        result: io::Result<Option<Filled>>,
        more: bool,
        worker: &mut Worker,
        now: Now,
    ) {
        match result {
            Ok(Some(filled)) => {
                self.answered(slot);
                worker.handle_received(slot, self.ring.bytes(&filled), now);
                self.ring.recycle(filled);
                if let Err(error) = self.gather(slot, worker, now) {
                    return self.closed(slot, error.to_string(), worker, now);
                }
            }
            Ok(None) => {
                let why = "it closed the connection".to_owned();
                return self.closed(slot, why, worker, now);
            }
            // A signal came first, or all buffers were in use: by now they are free, and what has
            // come is still there.
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted
                    || error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) => return self.closed(slot, error.to_string(), worker, now),
        }
        if !more {
            self.ring.receive(socket);
        }
    }

    /// Bytes have come and were looked at: more of them may gather.
    fn gather(&mut self, slot: usize, worker: &Worker, now: Now) -> io::Result<()> {
        let Some(connection) = &mut self.by_slot[slot] else {
            return Ok(());
        };
        let due = worker.answer_bytes_due(slot);
        let socket = self.ring.fd(connection.socket);
        connection
            .gather
            .handle_received(due, now.monotonic, socket)
    }

    /// The slot's connection is of no more use.
    fn closed(&mut self, slot: usize, why: String, worker: &mut Worker, now: Now) {
        self.close(slot);
        worker.handle_closed(slot, why, now);
    }

    fn close(&mut self, slot: usize) {
        self.answered(slot);
        if let Some(connection) = self.by_slot[slot].take() {
            self.ring.close(connection.socket);
        }
    }

    fn answered(&mut self, slot: usize) {
        if let Some(connection) = &mut self.by_slot[slot]
            && connection.is_asked
        {
            connection.is_asked = false;
            self.asked -= 1;
        }
    }
}
