//! A socket on a ring, with the memory of what is under way on it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use crate::engine::os::socket::RawAddress;
use crate::replay::chunk::Share;

/// Something in a place of its own, which does not move when its owner does, and which the kernel
/// may read.
#[derive(Debug)]
pub(super) struct PinnedBox<T>(NonNull<T>);

// SAFETY: it owns what it points to.
unsafe impl<T: Send> Send for PinnedBox<T> {}

impl<T> PinnedBox<T> {
    pub(super) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for PinnedBox<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a box in `new`, and nobody else frees it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// What sendmsg(2) takes: a head and a body.
pub(super) struct Message {
    pub(super) header: libc::msghdr,
    pub(super) parts: [libc::iovec; 2],
}

// SAFETY: its pointers are to memory that its socket owns; they are used by the kernel only,
// between a push and its completion.
unsafe impl Send for Message {}

impl Message {
    pub(super) fn empty() -> Self {
        // SAFETY: all zeros is a valid header and valid parts: no address, no parts, null pointers
        // with no length.
        unsafe { std::mem::zeroed() }
    }
}

/// See the module.
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    /// What its owner calls it.
    pub(super) tag: usize,
    /// Its owner has let go of it. It goes when nothing is under way any more.
    pub(super) is_closing: bool,
    pub(super) is_connecting: bool,
    pub(super) is_sending: bool,
    pub(super) is_receiving: bool,
    /// Operations under way, those three and cancellations.
    pub(super) under_way: usize,
    /// For a connect.
    pub(super) address: PinnedBox<RawAddress>,
    /// For a send: its head, copied, and a share of the chunk that its body is in.
    pub(super) head: Vec<u8>,
    pub(super) body: Option<Share>,
    pub(super) message: PinnedBox<Message>,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd, address: &SocketAddr, tag: usize) -> Self {
        Self {
            fd,
            tag,
            is_closing: false,
            is_connecting: false,
            is_sending: false,
            is_receiving: false,
            under_way: 0,
            address: PinnedBox::new(RawAddress::new(address)),
            head: Vec::new(),
            body: None,
            message: PinnedBox::new(Message::empty()),
        }
    }

    /// Where the address is, as connect(2) takes it.
    pub(super) fn address_parts(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        let address = self.address.as_ptr();
        // SAFETY: the place is valid and nobody writes to it; the reference ends with this line.
        let bytes = unsafe { (*address).bytes() };
        (address.cast_const().cast(), bytes)
    }
}

/// What a send does while the system has no room for what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendMode {
    /// It is done by the time it is submitted: with what there was room for, or with `WouldBlock`.
    None,
    /// It waits for room, and is done with what there is then.
    Any,
}
