//! Completions: what the kernel says of each, and what its owner is told.

use std::io;
use std::os::fd::AsFd;

use io_uring::cqueue;

use super::buffers::Filled;
use super::fault_injector::Operation;
use super::{Done, Ring, SocketId};
use crate::engine::os::socket::shut_down;

/// A completion as the kernel says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

const OPERATION_BITS: u32 = 3;
/// In the place of a socket's number.
pub(super) const WAKER: usize = (u64::MAX >> OPERATION_BITS) as usize;

/// What an operation is known by, to the kernel and back.
pub(super) fn user_data(operation: Operation, socket: usize) -> u64 {
    (socket as u64) << OPERATION_BITS | operation as u64
}

fn operation(user_data: u64) -> Option<Operation> {
    use Operation::{Cancel, Connect, Receive, Send, Wake};
    let number = user_data & ((1 << OPERATION_BITS) - 1);
    [Connect, Send, Receive, Cancel, Wake]
        .into_iter()
        .find(|operation| *operation as u64 == number)
}

impl Ring {
    /// Takes all completions that there are, for [`Ring::poll_done`].
    pub fn take_completions(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        taken.append(&mut self.invented);
        taken.extend(self.uring.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
        if self.fault_injector.is_some() || !self.held_back.is_empty() {
            self.held_back.append(&mut taken);
            while let Some(completion) = self.next_in_any_order() {
                self.handle_completion(completion);
            }
        }
        for completion in taken.drain(..) {
            self.handle_completion(completion);
        }
        self.taken = taken;
    }

    /// The completion that a test wants to be next; without a test the first. Of one operation they
    /// stay in order, as the kernel has them, and of one socket until it is closed.
    fn next_in_any_order(&mut self) -> Option<Completion> {
        let waiting = self.held_back.len();
        let wanted = match &mut self.fault_injector {
            None => (waiting > 0).then_some(0),
            Some(fault_injector) => fault_injector.next_completion(waiting),
        }?;
        let wanted = self.held_back.get(wanted)?.user_data;
        let key = wanted >> OPERATION_BITS;
        let socket = usize::try_from(key).ok();
        let socket = socket.and_then(|key| self.memory.sockets.get(key));
        let is_open = socket.is_some_and(|socket| !socket.is_closing);
        let first = self.held_back.iter().position(|completion| {
            let is_of_socket = completion.user_data >> OPERATION_BITS == key;
            completion.user_data == wanted || (is_open && is_of_socket)
        })?;
        Some(self.held_back.remove(first))
    }

    fn handle_completion(&mut self, completion: Completion) {
        let Some(operation) = operation(completion.user_data) else {
            return;
        };
        let key = usize::try_from(completion.user_data >> OPERATION_BITS).unwrap_or(WAKER);
        let more = cqueue::more(completion.flags);
        if key == WAKER {
            self.handle_waker(operation, completion.result, more);
            return;
        }
        let filled = cqueue::buffer_select(completion.flags).and_then(|buffer| {
            let bytes = usize::try_from(completion.result).unwrap_or(0);
            self.memory.buffers.filled(buffer, bytes)
        });
        let Some(socket) = self.memory.sockets.get_mut(key) else {
            return;
        };
        if !more {
            self.under_way -= 1;
            socket.under_way -= 1;
        }
        let (id, tag, is_closing) = (SocketId(key), socket.tag, socket.is_closing);
        match operation {
            Operation::Connect => {
                socket.is_connecting = false;
                let result = checked(completion.result).map(drop);
                if !is_closing {
                    self.done.push_back(Done::Connected {
                        socket: id,
                        tag,
                        result,
                    });
                }
            }
            Operation::Send => {
                socket.is_sending = false;
                self.released
                    .extend(socket.body.take().map(|share| share.chunk));
                let result = checked(completion.result);
                if !is_closing {
                    self.done.push_back(Done::Sent {
                        socket: id,
                        tag,
                        result,
                    });
                }
            }
            Operation::Receive => {
                socket.is_receiving = more;
                self.handle_received(id, tag, is_closing, completion.result, filled, more);
            }
            Operation::Cancel => {
                // It runs and can't be taken back: it ends because the connection does.
                if completion.result == -libc::EALREADY {
                    shut_down(socket.fd.as_fd());
                }
            }
            Operation::Wake => {}
        }
        self.free_if_over(key);
    }

    /// Of the waker itself, or of what ends listening to it.
    fn handle_waker(&mut self, operation: Operation, result: i32, more: bool) {
        self.under_way -= usize::from(!more);
        if operation != Operation::Wake {
            return;
        }
        self.is_waker_heard = more;
        let passing = [libc::EINTR, libc::ECANCELED, libc::EAGAIN];
        match checked(result) {
            Err(fault) if !passing.contains(&-result) => self.waker_fault = Some(fault),
            _ => self.done.push_back(Done::Wake),
        }
    }

    fn handle_received(
        &mut self,
        socket: SocketId,
        tag: usize,
        is_closing: bool,
        result: i32,
        filled: Option<Filled>,
        more: bool,
    ) {
        let result = match (checked(result), filled) {
            (Ok(bytes), Some(filled)) if bytes > 0 && !is_closing => Ok(Some(filled)),
            (Ok(0), None) => Ok(None),
            (result, filled) => {
                if let Some(filled) = filled {
                    self.recycle(filled);
                }
                match result {
                    Ok(0) => Ok(None),
                    // Bytes without a buffer of ours: nobody knows where they are.
                    Ok(_) => Err(io::Error::from_raw_os_error(libc::EIO)),
                    Err(error) => Err(error),
                }
            }
        };
        if !is_closing {
            self.received.push_back(Done::Received {
                socket,
                tag,
                result,
                more,
            });
        }
    }

    /// Frees a closed socket of which nothing is under way.
    pub(super) fn free_if_over(&mut self, key: usize) {
        let is_over = self
            .memory
            .sockets
            .get(key)
            .is_some_and(|socket| socket.is_closing && socket.under_way == 0);
        if is_over {
            self.memory.sockets.remove(key);
        }
    }
}

/// A result as the kernel gives it: a number, or an error's number negated.
pub(super) fn checked(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
