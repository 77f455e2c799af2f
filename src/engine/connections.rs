//! Connections on mio for any part of the core that owns some: nonblocking, keep-alive,
//! edge-triggered and registered once.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};

use crate::clock::Now;
use crate::connections::{Action, Connected};
use crate::engine::gather::Gather;
use crate::engine::os::tcp;
use crate::limits::{KEEPALIVE_PROBES, RECEIVE_BYTES};

/// The token of the owner's waker; slots have theirs from 0.
pub(super) const WAKER: Token = Token(usize::MAX);

/// A connection, made or being made.
struct Connection {
    stream: TcpStream,
    is_made: bool,
    gather: Gather,
}

/// The connections by slot, and where they are read into.
pub(super) struct Connections {
    by_slot: Vec<Option<Connection>>,
    received: Vec<u8>,
    /// No connection's answers are late before this, monotonic; it may be too early.
    late_at: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            by_slot: Vec::new(),
            received: vec![0; RECEIVE_BYTES],
            late_at: Duration::MAX,
        }
    }
}

impl Connections {
    /// Does all that the owner wants done.
    pub(super) fn act_all<O: Connected>(&mut self, owner: &mut O, poll: &Poll, now: Now) {
        self.by_slot.resize_with(owner.slots(), || None);
        while let Some(action) = owner.poll_action(now) {
            match action {
                Action::Connect(slot, address) => {
                    self.connect(slot, address, owner, poll, now);
                }
                Action::Transmit(slot) => self.transmit(slot, owner, now),
                Action::Close(slot) => self.by_slot[slot] = None,
            }
        }
    }

    fn connect<O: Connected>(
        &mut self,
        slot: usize,
        address: SocketAddr,
        owner: &mut O,
        poll: &Poll,
        now: Now,
    ) {
        match start_connection(slot, address, owner.keepalive_interval(slot), poll) {
            Ok(stream) => {
                self.by_slot[slot] = Some(Connection {
                    stream,
                    is_made: false,
                    gather: Gather::new(),
                });
            }
            Err(error) => {
                owner.handle_closed(slot, format!("no connection to {address}: {error}"), now);
            }
        }
    }

    /// Sends as much as the system takes. What is left goes when it says that there is room.
    fn transmit<O: Connected>(&mut self, slot: usize, owner: &mut O, now: Now) {
        let Some(connection) = &mut self.by_slot[slot] else {
            return;
        };
        loop {
            let sent = match owner.outgoing(slot) {
                [[], []] => return self.gather(slot, owner, now),
                [head, []] => connection.stream.write(head),
                [head, body] => connection
                    .stream
                    .write_vectored(&[IoSlice::new(head), IoSlice::new(body)]),
            };
            match sent {
                Ok(bytes) => owner.handle_sent(slot, bytes, now),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.closed(slot, error.to_string(), owner, now),
            }
        }
    }

    /// The burst is sent to its end, or has been: its answers may gather.
    fn gather<O: Connected>(&mut self, slot: usize, owner: &mut O, now: Now) {
        let Some(Connection { stream, gather, .. }) = &mut self.by_slot[slot] else {
            return;
        };
        let Some(due) = owner.answer_bytes_due(slot) else {
            return;
        };
        let told = gather.handle_sent(due, now.monotonic, stream.as_fd());
        self.late_at = self.late_at.min(gather.late_at());
        if let Err(error) = told {
            self.closed(slot, error.to_string(), owner, now);
        }
    }

    /// When [`Connections::handle_late`] wants to be called, monotonic.
    pub(super) fn late_at(&self) -> Duration {
        self.late_at
    }

    /// Looks whether answers that are gathered are late.
    pub(super) fn handle_late<O: Connected>(&mut self, owner: &mut O, now: Now) {
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
                self.closed(slot, error.to_string(), owner, now);
            }
        }
    }

    /// Tells the owner what has happened to a connection.
    pub(super) fn handle_event<O: Connected>(&mut self, event: &Event, owner: &mut O, now: Now) {
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
                    owner.handle_connected(slot, segment_bytes, now);
                }
                Err(error) => return self.closed(slot, error.to_string(), owner, now),
            }
        }
        let is_ending = event.is_read_closed() || event.is_error();
        if event.is_readable() || is_ending {
            self.receive(slot, is_ending, owner, now);
        }
        if event.is_writable() {
            self.transmit(slot, owner, now);
        }
    }

    /// Reads until nothing is left: until a read is short (epoll(7), edge-triggered), but where the
    /// connection ends, to that end, as no event comes for it any more.
    fn receive<O: Connected>(&mut self, slot: usize, is_ending: bool, owner: &mut O, now: Now) {
        while let Some(Connection { stream, gather, .. }) = &mut self.by_slot[slot] {
            match stream.read(&mut self.received) {
                Ok(0) => {
                    let why = "it closed the connection".to_owned();
                    return self.closed(slot, why, owner, now);
                }
                Ok(bytes) => {
                    owner.handle_received(slot, &self.received[..bytes], now);
                    let due = owner.answer_bytes_due(slot);
                    let told = gather.handle_received(due, now.monotonic, stream.as_fd());
                    if let Err(error) = told {
                        return self.closed(slot, error.to_string(), owner, now);
                    }
                    if bytes < self.received.len() && !is_ending {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.closed(slot, error.to_string(), owner, now),
            }
        }
    }

    fn closed<O: Connected>(&mut self, slot: usize, why: String, owner: &mut O, now: Now) {
        self.by_slot[slot] = None;
        owner.handle_closed(slot, why, now);
    }
}

/// Begins a connection, whose events have the slot for their token.
fn start_connection(
    slot: usize,
    address: SocketAddr,
    keepalive_interval: Duration,
    poll: &Poll,
) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    tcp::keep_alive(stream.as_fd(), keepalive_interval, KEEPALIVE_PROBES)?;
    poll.registry().register(
        &mut stream,
        Token(slot),
        Interest::READABLE | Interest::WRITABLE,
    )?;
    Ok(stream)
}

/// The bytes of the connection's segments, if it stands by now.
fn finish_connection(stream: &TcpStream) -> io::Result<Option<usize>> {
    is_connected(stream)?
        .then(|| tcp::segment_bytes(stream.as_fd()))
        .transpose()
}

/// Whether the connection stands by now.
pub(super) fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}
