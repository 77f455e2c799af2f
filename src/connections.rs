//! What a part of the core that has connections asks of its driver.
//!
//! Connections are named by *slots*, small numbers that their owner gives out. A driver keeps one
//! connection for each, tells the owner what happens to it, and has it closed when asked to.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Now;

/// What a driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the slot's connection, to this address.
    Connect(usize, SocketAddr),
    /// Send what its owner has for the slot.
    Transmit(usize),
    /// Close the slot's connection.
    Close(usize),
}

/// The owner of connections, without the system calls.
pub trait Connected {
    /// Slots there are.
    fn slots(&self) -> usize;

    /// The next thing for the driver to do.
    fn poll_action(&mut self, now: Now) -> Option<Action>;

    /// What is left to be sent on a slot's connection: two pieces, one behind the other.
    fn outgoing(&self, slot: usize) -> [&[u8]; 2];

    /// Bytes of answers that may gather on a slot's connection before they are looked at. `None`
    /// where no answer is to come, or not before more is sent, or each is looked at as it comes.
    fn answer_bytes_due(&self, slot: usize) -> Option<usize> {
        let _ = slot;
        None
    }

    /// How long a slot's connection may be idle before TCP asks for a sign of life.
    fn keepalive_interval(&self, slot: usize) -> Duration;

    /// A slot's connection is made; its segments have so many bytes.
    fn handle_connected(&mut self, slot: usize, segment_bytes: usize, now: Now);

    /// The system has taken so many bytes of what is outgoing.
    fn handle_sent(&mut self, slot: usize, bytes: usize, now: Now);

    /// Bytes have come on a slot's connection.
    fn handle_received(&mut self, slot: usize, bytes: &[u8], now: Now);

    /// A slot's connection was closed, or could not be made; a sentence.
    fn handle_closed(&mut self, slot: usize, why: String, now: Now);
}
