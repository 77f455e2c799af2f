//! What a connection's TCP says of itself.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of one segment that the connection sends (its MSS). Loopback's is large, Ethernet's 1,448 or so.
///
/// # Errors
/// What the system says, as for a socket that is not connected.
pub fn segment_bytes(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    let mut len =
        libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("an int's size is small");
    // SAFETY: the descriptor is borrowed and so open; `bytes` and `len` are live for the call, and `len` says how large `bytes` is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MAXSEG,
            (&raw mut bytes).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    usize::try_from(bytes).map_err(|_| io::Error::other("the system says a negative segment size"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_connection_tells_its_segment_size() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(segment_bytes(stream.as_fd()).unwrap() >= 500);
    }
}
