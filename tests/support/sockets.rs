//! The sockets that a server in this process has, which nobody hands out.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};

/// Gives this process's connections to these peers send buffers of so many bytes.
pub(crate) fn shrink_send_buffers(peers: &[SocketAddr], bytes: usize) {
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let name = entry.file_name();
        if let Some(raw) = name.to_str().and_then(|name| name.parse().ok()) {
            shrink_send_buffer(raw, peers, bytes);
        }
    }
}

/// Where it is a connection to one of these peers.
#[expect(
    unsafe_code,
    reason = "the server's own sockets can be had by their numbers only"
)]
fn shrink_send_buffer(raw: RawFd, peers: &[SocketAddr], bytes: usize) {
    // SAFETY: it may be closed at any time, and another file may get its number; the calls then
    // fail, or ask a file that is no socket of these.
    let socket = unsafe { BorrowedFd::borrow_raw(raw) };
    let peer = rustix::net::getpeername(socket);
    if let Ok(Some(peer)) = peer
        && SocketAddr::try_from(peer).is_ok_and(|peer| peers.contains(&peer))
    {
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(socket, bytes);
    }
}
