//! Connections on mio for any part of the core that owns some: nonblocking, keep-alive,
//! edge-triggered and registered once.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Poll, Token};

use crate::clock::Now;
use crate::connections::{Action, Connected};
use crate::engine::worker_mio::{finish_connection, start_connection};
use crate::limits::RECEIVE_BYTES;

/// The token of the owner's waker; slots have theirs from 0.
pub(super) const WAKER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    is_made: bool,
}

/// The connections by slot, and where they are read into.
pub(super) struct Connections {
    by_slot: Vec<Option<Connection>>,
    received: Vec<u8>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            by_slot: Vec::new(),
            received: vec![0; RECEIVE_BYTES],
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
        match start_connection(slot, address, owner.keepalive_interval(), poll) {
            Ok(stream) => {
                self.by_slot[slot] = Some(Connection {
                    stream,
                    is_made: false,
                });
            }
            Err(error) => {
                owner.handle_closed(slot, format!("no connection to {address}: {error}"), now);
            }
        }
    }

    /// Sends as much as the system takes. What is left goes when it says that there is room.
    fn transmit<O: Connected>(&mut self, slot: usize, owner: &mut O, now: Now) {
        while let Some(connection) = &mut self.by_slot[slot] {
            let outgoing = owner.outgoing(slot);
            if outgoing.is_empty() {
                return;
            }
            match connection.stream.write(outgoing) {
                Ok(bytes) => owner.handle_sent(slot, bytes, now),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => return self.closed(slot, error.to_string(), owner, now),
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
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.receive(slot, owner, now);
        }
        if event.is_writable() {
            self.transmit(slot, owner, now);
        }
    }

    /// Reads until nothing is left.
    fn receive<O: Connected>(&mut self, slot: usize, owner: &mut O, now: Now) {
        while let Some(connection) = &mut self.by_slot[slot] {
            match connection.stream.read(&mut self.received) {
                Ok(0) => {
                    let why = "the master closed the connection".to_owned();
                    return self.closed(slot, why, owner, now);
                }
                Ok(bytes) => owner.handle_received(slot, &self.received[..bytes], now),
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
