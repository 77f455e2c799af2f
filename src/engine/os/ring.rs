//! An io_uring with the sockets on it, and the memory of everything that is under way, as a safe
//! type.
//!
//! ```text
//!            connect, send, receive        wait              poll_done
//!   driver ──────────────────────▶ queue ───────▶ kernel ───▶ completions ──────▶ driver
//!                                    └─ memory belongs to the ring ──┘
//! ```
//!
//! **Soundness.** What the kernel may read or write is owned by the ring from before an operation
//! is pushed until its last completion was taken: addresses, heads (copied) and shares of chunks by
//! their `Socket`, received bytes by `Buffers`. A closed socket is kept, with all its memory, until
//! nothing of it is under way. A ring that goes while something is (a panic, a kernel that does not
//! complete) leaks that memory rather than freeing it.
//!
//! Sent and connected come before received among what was completed at one time: an answer can't
//! overtake the end of its request.

mod buffers;
mod completion;
pub mod facts;
pub mod fault_injector;
mod kernel;
mod pages;
pub mod setup;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};
use slab::Slab;

use self::buffers::{Buffers, GROUP};
use self::completion::{Completion, WAKER, user_data};
use self::fault_injector::{FaultInjector, InjectedResult, Operation};
use self::setup::Sizes;
use self::socket::Socket;
use crate::engine::os::eventfd::Eventfd;
use crate::engine::os::socket::stream;
use crate::replay::chunk::{Chunk, Share};

pub use self::buffers::Filled;
pub use self::socket::SendMode;

/// A socket on a ring. It is not to be used any more once it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketId(usize);

/// Something that was under way and is done.
#[derive(Debug)]
pub enum Done {
    /// The waker was rung.
    Wake,
    /// A socket is connected, or not. `tag` is its owner's name for it, here and below.
    Connected {
        socket: SocketId,
        /// Its owner's name for it.
        tag: usize,
        /// What came of it.
        result: io::Result<()>,
    },
    /// So many bytes of what was to be sent were taken.
    Sent {
        socket: SocketId,
        /// Its owner's name for it.
        tag: usize,
        /// What came of it.
        result: io::Result<usize>,
    },
    /// Bytes have come; none: the other side has sent all that it will.
    Received {
        socket: SocketId,
        /// Its owner's name for it.
        tag: usize,
        /// What came. To be given back by [`Ring::recycle`].
        result: io::Result<Option<Filled>>,
        /// Whether more comes without being asked for.
        more: bool,
    },
}

/// What the kernel may touch.
struct Memory {
    sockets: Slab<Socket>,
    buffers: Buffers,
    waker: Arc<Eventfd>,
}

/// See the module.
pub struct Ring {
    uring: ManuallyDrop<IoUring>,
    memory: ManuallyDrop<Memory>,
    /// Operations whose last completion was not taken.
    under_way: usize,
    is_waker_heard: bool,
    /// Why the waker can't be heard any more.
    waker_fault: Option<io::Error>,
    /// Entries that the queue had no room for.
    backlog: VecDeque<Entry>,
    /// Completions, taken from the queue all at once.
    taken: Vec<Completion>,
    /// Of those that tests made fail.
    invented: Vec<Completion>,
    /// Those that a test holds back.
    held_back: Vec<Completion>,
    done: VecDeque<Done>,
    received: VecDeque<Done>,
    /// Shares that are no longer needed.
    released: Vec<Arc<Chunk>>,
    fault_injector: Option<Box<dyn FaultInjector>>,
}

impl Ring {
    /// A ring whose reader is woken by `waker`. It works from [`Ring::enable`] on, for the thread
    /// that calls that.
    ///
    /// # Errors
    /// What the system says where it gives none.
    pub fn new(waker: Arc<Eventfd>, sizes: Sizes) -> io::Result<Self> {
        let (uring, _) = setup::make(sizes, setup::START_DISABLED)?;
        let buffers = Buffers::register(&uring, sizes.buffers)?;
        Ok(Self {
            uring: ManuallyDrop::new(uring),
            memory: ManuallyDrop::new(Memory {
                sockets: Slab::new(),
                buffers,
                waker,
            }),
            under_way: 0,
            is_waker_heard: false,
            waker_fault: None,
            backlog: VecDeque::new(),
            taken: Vec::new(),
            invented: Vec::new(),
            held_back: Vec::new(),
            done: VecDeque::new(),
            received: VecDeque::new(),
            released: Vec::new(),
            fault_injector: None,
        })
    }

    /// Makes operations fail as `fault_injector` says. For tests.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn interfered(mut self, fault_injector: Box<dyn FaultInjector>) -> Self {
        self.fault_injector = Some(fault_injector);
        self
    }

    /// Lets it begin to work for the calling thread, and no other from then on.
    ///
    /// # Errors
    /// What io_uring_register(2) says.
    pub fn enable(&mut self) -> io::Result<()> {
        self.uring.submitter().register_enable_rings()
    }

    /// Operations whose last completion was not taken.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// A socket that is being connected. `tag` comes back with all that is done on it.
    ///
    /// # Errors
    /// The system has no socket, or does not take an option.
    pub fn connect(&mut self, address: &SocketAddr, tag: usize) -> io::Result<SocketId> {
        let fd = stream(address)?;
        let key = self.memory.sockets.insert(Socket::new(fd, address, tag));
        let socket = &mut self.memory.sockets[key];
        socket.is_connecting = true;
        let (start, bytes) = socket.address_parts();
        let entry = opcode::Connect::new(types::Fd(socket.fd.as_raw_fd()), start, bytes).build();
        self.push(Operation::Connect, key, entry);
        Ok(SocketId(key))
    }

    /// Sends a head, which is copied, and a body, which is kept. Gives whether it does: not while
    /// an earlier one is under way.
    ///
    /// # Panics
    /// Where the share is not within its chunk.
    pub fn send(
        &mut self,
        id: SocketId,
        head: &[u8],
        body: Option<Share>,
        send_mode: SendMode,
    ) -> bool {
        let injected = match &mut self.fault_injector {
            None => InjectedResult::Goes,
            Some(fault_injector) => fault_injector.send_injected(send_mode),
        };
        let socket = &mut self.memory.sockets[id.0];
        if socket.is_sending || socket.is_closing {
            self.released.extend(body.map(|share| share.chunk));
            return false;
        }
        let all = head.len() + body.as_ref().map_or(0, |share| share.len);
        let most = match injected {
            InjectedResult::Part => all.div_ceil(2),
            InjectedResult::Goes | InjectedResult::Fails(_) => all,
        };
        socket.is_sending = true;
        socket.head.clear();
        socket.head.extend_from_slice(&head[..head.len().min(most)]);
        let body_bytes = most - socket.head.len();
        let flags = match send_mode {
            SendMode::None => libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
            SendMode::Any => libc::MSG_NOSIGNAL,
        };
        let fd = types::Fd(socket.fd.as_raw_fd());
        let head_bytes = u32::try_from(socket.head.len()).expect("heads are small");
        let entry = match &body {
            None => opcode::Send::new(fd, socket.head.as_ptr(), head_bytes)
                .flags(flags)
                .build(),
            Some(share) => {
                let body = &share.bytes()[..body_bytes];
                let message = socket.message.as_ptr();
                // SAFETY: no send is under way, so the kernel does not look at the message; it is
                // valid memory of this socket. The parts point to the head, which is not touched,
                // and into the chunk, which is held, until this send is done.
                let header = unsafe {
                    (*message).parts = [part(&socket.head), part(body)];
                    (*message).header.msg_iov = (&raw mut (*message).parts).cast();
                    (*message).header.msg_iovlen = 2;
                    &raw const (*message).header
                };
                opcode::SendMsg::new(fd, header)
                    .flags(flags.cast_unsigned())
                    .build()
            }
        };
        socket.body = body;
        self.push_fated(Operation::Send, id.0, entry, injected);
        true
    }

    /// Receives from now on, until a [`Done::Received`] says that there is no more.
    pub fn receive(&mut self, id: SocketId) {
        let injected = self.injected(Operation::Receive);
        let socket = &mut self.memory.sockets[id.0];
        if socket.is_receiving || socket.is_closing {
            return;
        }
        socket.is_receiving = true;
        let fd = types::Fd(socket.fd.as_raw_fd());
        let entry = match injected {
            InjectedResult::Part => opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(GROUP)
                .build()
                .flags(io_uring::squeue::Flags::BUFFER_SELECT),
            InjectedResult::Goes | InjectedResult::Fails(_) => {
                opcode::RecvMulti::new(fd, GROUP).build()
            }
        };
        self.push_fated(Operation::Receive, id.0, entry, injected);
    }

    /// Lets go of a socket: what is under way on it is cancelled, and nothing more is told of it.
    /// It is closed when all of that has ended.
    pub fn close(&mut self, id: SocketId) {
        let socket = &mut self.memory.sockets[id.0];
        if socket.is_closing {
            return;
        }
        socket.is_closing = true;
        let under_way = [
            (socket.is_connecting, Operation::Connect),
            (socket.is_sending, Operation::Send),
            (socket.is_receiving, Operation::Receive),
        ];
        for (_, operation) in under_way.into_iter().filter(|(is, _)| *is) {
            let entry = opcode::AsyncCancel::new(user_data(operation, id.0)).build();
            self.push(Operation::Cancel, id.0, entry);
        }
        self.free_if_over(id.0);
    }

    /// The socket itself, to ask the system of it.
    #[must_use]
    pub fn fd(&self, id: SocketId) -> BorrowedFd<'_> {
        self.memory.sockets[id.0].fd.as_fd()
    }

    /// Whether there are completions to be taken.
    pub fn has_completions(&mut self) -> bool {
        self.has_own_completions() || !self.uring.completion().is_empty()
    }

    /// Whether a test has made or kept some, of which the kernel knows nothing.
    fn has_own_completions(&self) -> bool {
        !self.invented.is_empty() || !self.held_back.is_empty()
    }

    /// The next thing that is done. Gives none when all that was there at the last call is told,
    /// and looks again at the next.
    pub fn poll_done(&mut self) -> Option<Done> {
        self.done.pop_front().or_else(|| self.received.pop_front())
    }

    /// The same, but for bytes that have come: they stay for [`Ring::poll_done`].
    pub fn poll_done_but_received(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// How often bytes came, or an end, that [`Ring::poll_done`] has not told.
    #[must_use]
    pub fn received(&self) -> usize {
        self.received.len()
    }

    /// The bytes that have come.
    #[must_use]
    pub fn bytes(&self, filled: &Filled) -> &[u8] {
        self.memory.buffers.bytes(filled)
    }

    /// Gives their buffer back.
    pub fn recycle(&mut self, filled: Filled) {
        self.memory.buffers.recycle(filled);
    }

    /// Shares that were sent and are no longer needed.
    pub fn released(&mut self) -> impl Iterator<Item = Arc<Chunk>> + '_ {
        self.released.drain(..)
    }

    /// Ends all that is under way, and waits for it at most for `longest`. Gives how many
    /// operations would not end; their memory is leaked.
    pub fn finish(&mut self, longest: Duration) -> usize {
        let give_up = Instant::now() + longest;
        // It has seen all that it could see.
        self.fault_injector = None;
        let sockets: Vec<usize> = self.memory.sockets.iter().map(|(key, _)| key).collect();
        for key in sockets {
            // What can't be cancelled ends with its connection.
            super::socket::shut_down(self.memory.sockets[key].fd.as_fd());
            self.close(SocketId(key));
        }
        if self.is_waker_heard {
            let entry = opcode::AsyncCancel::new(user_data(Operation::Wake, WAKER)).build();
            self.push(Operation::Cancel, WAKER, entry);
        }
        while self.under_way > 0 {
            let left = give_up.saturating_duration_since(Instant::now());
            let failed = self.enter_all(left).is_err();
            self.take_completions();
            self.drop_done();
            if failed || left.is_zero() {
                break;
            }
        }
        self.under_way
    }

    fn drop_done(&mut self) {
        while let Some(done) = self.poll_done() {
            if let Done::Received {
                result: Ok(Some(filled)),
                ..
            } = done
            {
                self.recycle(filled);
            }
        }
    }

    /// Listens to the waker, once and for all: each time that it is rung there is a completion. Its
    /// counter is never read, which would take an operation each time, and is not full before it
    /// has been rung 2⁶⁴ times.
    fn hear_waker(&mut self) {
        if self.is_waker_heard {
            return;
        }
        self.is_waker_heard = true;
        let injected = self.injected(Operation::Wake);
        let fd = types::Fd(self.memory.waker.as_fd().as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32)
            .multi(injected != InjectedResult::Part)
            .build();
        self.push_fated(Operation::Wake, WAKER, entry, injected);
    }

    fn injected(&mut self, operation: Operation) -> InjectedResult {
        match &mut self.fault_injector {
            None => InjectedResult::Goes,
            Some(fault_injector) => fault_injector.injected(operation),
        }
    }

    fn push(&mut self, operation: Operation, socket: usize, entry: Entry) {
        let injected = self.injected(operation);
        self.push_fated(operation, socket, entry, injected);
    }

    fn push_fated(
        &mut self,
        operation: Operation,
        socket: usize,
        entry: Entry,
        injected: InjectedResult,
    ) {
        self.under_way += 1;
        if let Some(socket) = self.memory.sockets.get_mut(socket) {
            socket.under_way += 1;
        }
        let user_data = user_data(operation, socket);
        if let InjectedResult::Fails(error) = injected {
            self.invented.push(Completion {
                user_data,
                result: -error,
                flags: 0,
            });
            return;
        }
        self.backlog.push_back(entry.user_data(user_data));
        self.fill_queue();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: it is not used again; its mappings and its descriptor go, and with it nothing of
        // ours.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
        if self.under_way == 0 {
            // SAFETY: it is not used again, and nothing is under way that could touch it.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}

fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}
