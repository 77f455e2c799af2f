//! A worker's driver on mio: one epoll, nonblocking keep-alive connections, edge-triggered and
//! registered once.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Poll};

use crate::clock::Now;
use crate::engine::clock::Clock;
use crate::engine::connections::{WAKER, finish_connection, start_connection};
use crate::engine::gather::Gather;
use crate::limits::RECEIVE_BYTES;
use crate::replay::worker::{Action, Worker};

/// Events taken from the system at once.
const EVENTS: usize = 1024;

/// Runs a worker until it is told to stop. `poll` has the worker's waker registered under
/// [`WAKER`].
///
/// # Errors
/// When the system's poll fails, which it does only for a defect of ours or no memory.
pub fn run(mut worker: Worker, mut poll: Poll, clock: Clock) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let mut connections = Connections::new();
    loop {
        let now = clock.now();
        worker.receive_messages(now);
        connections.act_all(&mut worker, &poll, now);
        let handed_over = worker.hand_over(now);
        if worker.is_stopped() && handed_over {
            return Ok(());
        }

        let timeout = worker.prepare_wait(handed_over, now);
        let timeout = timeout.min(connections.late_at.saturating_sub(now.monotonic));
        match poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        worker.mailbox().awake();

        let now = clock.now();
        for event in events.iter().filter(|event| event.token() != WAKER) {
            connections.handle_event(event, &mut worker, now);
        }
        connections.handle_late(&mut worker, now);
        worker.handle_deadlines(now);
    }
}

/// A connection, made or being made.
struct Connection {
    stream: TcpStream,
    is_made: bool,
    gather: Gather,
}

/// The connections by slot, and where they are read into.
struct Connections {
    by_slot: Vec<Option<Connection>>,
    received: Vec<u8>,
    /// No connection's answers are late before this, monotonic; it may be too early.
    late_at: Duration,
}

impl Connections {
    fn new() -> Self {
        Self {
            by_slot: Vec::new(),
            received: vec![0; RECEIVE_BYTES],
            late_at: Duration::MAX,
        }
    }

    fn act_all(&mut self, worker: &mut Worker, poll: &Poll, now: Now) {
        self.by_slot.resize_with(worker.slots(), || None);
        while let Some(action) = worker.poll_action(now) {
            match action {
                Action::Connect(slot, address) => self.connect(slot, address, worker, poll, now),
                Action::Transmit(slot) => self.transmit(slot, worker, now),
                Action::Close(slot) => self.by_slot[slot] = None,
            }
        }
    }

    fn connect(
        &mut self,
        slot: usize,
        address: SocketAddr,
        worker: &mut Worker,
        poll: &Poll,
        now: Now,
    ) {
        match start_connection(slot, address, worker.keepalive_interval(slot), poll) {
            Ok(stream) => {
                self.by_slot[slot] = Some(Connection {
                    stream,
                    is_made: false,
                    gather: Gather::new(),
                });
            }
            Err(error) => {
                worker.handle_closed(slot, format!("no connection to {address}: {error}"), now)
            }
        }
    }

    /// Sends as much as the system takes. What is left goes when it says that there is room.
    fn transmit(&mut self, slot: usize, worker: &mut Worker, now: Now) {
        let Some(connection) = &mut self.by_slot[slot] else {
            return;
        };
        loop {
            let outgoing = worker.outgoing(slot);
            let sent = match outgoing {
                [[], []] => return self.gather(slot, worker, now),
                [head, []] => connection.stream.write(head),
                [head, body] => connection
                    .stream
                    .write_vectored(&[IoSlice::new(head), IoSlice::new(body)]),
            };
            match sent {
                Ok(bytes) => worker.handle_sent(slot, bytes, now),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.closed(slot, error.to_string(), worker, now),
            }
        }
    }

    /// The burst is sent to its end, or has been: its answers may gather.
    fn gather(&mut self, slot: usize, worker: &mut Worker, now: Now) {
        let Some(Connection { stream, gather, .. }) = &mut self.by_slot[slot] else {
            return;
        };
        let Some(due) = worker.answer_bytes_due(slot) else {
            return;
        };
        let told = gather.handle_sent(due, now.monotonic, stream.as_fd());
        self.late_at = self.late_at.min(gather.late_at());
        if let Err(error) = told {
            self.closed(slot, error.to_string(), worker, now);
        }
    }

    /// Looks whether answers that are gathered are late.
    fn handle_late(&mut self, worker: &mut Worker, now: Now) {
        if now.monotonic < self.late_at {
            return;
        }
        self.late_at = Duration::MAX;
        for slot in 0..self.by_slot.len() {
            let Some(Connection { stream, gather, .. }) = &mut self.by_slot[slot] else {
                continue;
            };
            if gather.late_at() > now.monotonic {
                self.late_at = self.late_at.min(gather.late_at());
            } else if let Err(error) = gather.handle_late(stream.as_fd()) {
                self.closed(slot, error.to_string(), worker, now);
            }
        }
    }

    fn handle_event(&mut self, event: &Event, worker: &mut Worker, now: Now) {
        let slot = event.token().0;
        // A connection that was closed in this very turn may still have an event.
        let Some(connection) = &mut self.by_slot[slot] else {
            return;
        };
        if !connection.is_made {
            match finish_connection(&connection.stream) {
                Ok(None) => return,
                Ok(Some(segment_bytes)) => {
                    connection.is_made = true;
                    worker.handle_connected(slot, segment_bytes, now);
                }
                Err(error) => return self.closed(slot, error.to_string(), worker, now),
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.receive(
                slot,
                event.is_read_closed() || event.is_error(),
                worker,
                now,
            );
        }
        if event.is_writable() {
            self.transmit(slot, worker, now);
        }
    }

    /// Reads until nothing is left. A read that does not fill the buffer has emptied the socket,
    /// unless its end has come too.
    fn receive(&mut self, slot: usize, until_end: bool, worker: &mut Worker, now: Now) {
        let Some(connection) = &mut self.by_slot[slot] else {
            return;
        };
        loop {
            match connection.stream.read(&mut self.received) {
                Ok(0) => {
                    return self.closed(
                        slot,
                        "the backend closed the connection".into(),
                        worker,
                        now,
                    );
                }
                Ok(bytes) => {
                    worker.handle_received(slot, &self.received[..bytes], now);
                    let due = worker.answer_bytes_due(slot);
                    let Connection { stream, gather, .. } = connection;
                    let told = gather.handle_received(due, now.monotonic, stream.as_fd());
                    if let Err(error) = told {
                        return self.closed(slot, error.to_string(), worker, now);
                    }
                    if bytes < self.received.len() && !until_end {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.closed(slot, error.to_string(), worker, now),
            }
        }
    }

    fn closed(&mut self, slot: usize, why: String, worker: &mut Worker, now: Now) {
        self.by_slot[slot] = None;
        worker.handle_closed(slot, why, now);
    }
}
