//! What a connection's TCP says of itself.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use super::socket::set_option;

/// Bytes of one segment that the connection sends (its MSS). Loopback's is large, Ethernet's 1,448
/// or so.
///
/// # Errors
/// What the system says, as for a socket that is not connected.
pub fn segment_bytes(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    let mut len =
        libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("an int's size is small");
    // SAFETY: the descriptor is borrowed and so open; `bytes` and `len` are live for the call, and
    // `len` says how large `bytes` is.
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

/// Has TCP ask for a sign of life when the connection has been idle for `interval` (rounded up to
/// seconds), and each `interval` from then on; after `probes` in vain it is ended.
///
/// # Errors
/// Those of setsockopt(2), as they are.
pub(crate) fn keep_alive(
    socket: BorrowedFd<'_>,
    interval: Duration,
    probes: u32,
) -> io::Result<()> {
    let whole = |number: u64| libc::c_int::try_from(number).unwrap_or(libc::c_int::MAX);
    let seconds = whole(
        interval
            .as_millis()
            .div_ceil(1000)
            .try_into()
            .unwrap_or(u64::MAX),
    );
    for (name, value) in [
        (libc::TCP_KEEPIDLE, seconds),
        (libc::TCP_KEEPINTVL, seconds),
        (libc::TCP_KEEPCNT, whole(probes.into())),
    ] {
        set_option(&socket, libc::IPPROTO_TCP, name, value)?;
    }
    set_option(&socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)
}

/// Has nobody be woken for bytes that have come before so many are there (one at least). The end of
/// the connection and its errors wake at all times. Where they are there already, whoever waits is
/// woken now.
///
/// # Errors
/// Those of setsockopt(2), as they are.
pub(crate) fn set_low_mark(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
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

    #[test]
    fn a_connection_is_kept_alive_as_it_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for (interval_ms, seconds) in [(1000, 1), (1001, 2), (3_600_000, 3600)] {
            let interval = Duration::from_millis(interval_ms);
            keep_alive(stream.as_fd(), interval, 3).unwrap();
            let seconds = Duration::from_secs(seconds);
            assert!(rustix::net::sockopt::socket_keepalive(&stream).unwrap());
            assert_eq!(
                rustix::net::sockopt::tcp_keepidle(&stream).unwrap(),
                seconds
            );
            assert_eq!(
                rustix::net::sockopt::tcp_keepintvl(&stream).unwrap(),
                seconds
            );
            assert_eq!(rustix::net::sockopt::tcp_keepcnt(&stream).unwrap(), 3);
        }
    }
}
