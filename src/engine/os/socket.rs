//! TCP sockets: one that listens, our own or handed over by systemd, with the options that HA's
//! operators can set; and one for a ring to connect.

use std::io;
use std::mem::size_of;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a socket is to listen.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// Connections that wait to be accepted.
    pub backlog: i32,
    /// Let other sockets of this user that come later listen on the same port (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Send at once what is written (`TCP_NODELAY`); accepted connections inherit it.
    pub no_delay: bool,
    /// Wake us for a connection only when it has sent something, or after this long
    /// (`TCP_DEFER_ACCEPT`).
    pub defer_accept: Option<Duration>,
}

/// Opens a nonblocking socket that listens at `address`. The port can be bound again at once after
/// we end (`SO_REUSEADDR`). One on which somebody listens is in use, whether or not that can be
/// shared: who connects would reach either of us.
///
/// # Errors
/// Those of socket(2), setsockopt(2), bind(2) and listen(2), as they are.
pub fn listen(address: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    if options.reuse_port {
        drop(bound_alone(&address)?);
    }
    let socket = open(&address, libc::SOCK_NONBLOCK)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if options.reuse_port {
        set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    set_accepted(&socket, options)?;
    bind(&socket, &address)?;
    // SAFETY: no pointer is passed; the descriptor is open.
    check(unsafe { libc::listen(socket.as_raw_fd(), options.backlog) })?;
    Ok(TcpListener::from(socket))
}

/// A socket at an address at which nobody listens.
fn bound_alone(address: &SocketAddr) -> io::Result<OwnedFd> {
    let socket = open(address, 0)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    bind(&socket, address)?;
    Ok(socket)
}

/// What accepted connections inherit.
fn set_accepted(socket: &impl AsRawFd, options: &SocketOptions) -> io::Result<()> {
    if options.no_delay {
        set_option(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    }
    if let Some(delay) = options.defer_accept {
        let seconds = i32::try_from(delay.as_secs().max(1)).unwrap_or(i32::MAX);
        set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, seconds)?;
    }
    Ok(())
}

/// Gives a socket that listens already the options of ours, and makes it nonblocking. What waits to
/// be accepted goes on waiting.
///
/// # Errors
/// Those of fcntl(2), setsockopt(2) and listen(2), as they are.
pub(crate) fn adopt(socket: &TcpListener, options: &SocketOptions) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    set_accepted(socket, options)?;
    // SAFETY: no pointer is passed; the descriptor is open.
    check(unsafe { libc::listen(socket.as_raw_fd(), options.backlog) })
}

/// The listening TCP socket that systemd has handed over to this process (`LISTEN_FDS`,
/// `LISTEN_PID`), if it has. Once: later calls find none.
///
/// # Errors
/// It has handed over something else, or more than one; or the variables make no sense.
pub(crate) fn take_handed_over() -> io::Result<Option<TcpListener>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(None);
    }
    let mut descriptors = sd_notify::listen_fds()?;
    let Some(raw) = descriptors.next() else {
        return Ok(None);
    };
    let unrecognized = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
    if descriptors.len() > 0 {
        return Err(unrecognized(
            "there is more than one; give its .socket unit one ListenStream=",
        ));
    }
    // SAFETY: systemd opened it for this process alone, `listen_fds` has just found it open, and
    // `TAKEN` lets nobody take it twice.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    if option(&socket, libc::SOL_SOCKET, libc::SO_TYPE)? != libc::SOCK_STREAM
        || option(&socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? != 1
    {
        return Err(unrecognized("it is no TCP socket that listens"));
    }
    let socket = TcpListener::from(socket);
    // A Unix socket has no such address.
    socket
        .local_addr()
        .map_err(|_| unrecognized("it is no TCP socket that listens"))?;
    Ok(Some(socket))
}

fn option(socket: &OwnedFd, level: i32, name: i32) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut bytes = length::<libc::c_int>();
    // SAFETY: both pointers are to values that live through the call, and the length is that of the
    // first.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut bytes,
        )
    })?;
    Ok(value)
}

/// Sets an option whose value is an int.
///
/// # Errors
/// Those of setsockopt(2), as they are.
pub(super) fn set_option(
    socket: &impl AsRawFd,
    level: i32,
    name: i32,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the pointer is to an int that lives through the call, and the length is an int's.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length::<libc::c_int>(),
        )
    })
}

/// A nonconnected, blocking TCP socket of the address's family that sends at once what is written:
/// for a ring, which does the waiting.
///
/// # Errors
/// Those of socket(2) and setsockopt(2), as they are.
pub fn stream(address: &SocketAddr) -> io::Result<OwnedFd> {
    let socket = open(address, 0)?;
    set_option(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    Ok(socket)
}

/// Ends a connection in both directions; whoever waits on it goes on. One that is none is no error.
pub(crate) fn shut_down(socket: BorrowedFd<'_>) {
    // SAFETY: no pointer is passed; the descriptor is borrowed and so open.
    let _ = unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

fn open(address: &SocketAddr, flags: libc::c_int) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    // SAFETY: no pointer is passed; the result is checked.
    let raw = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `raw` was just opened by us and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn bind(socket: &OwnedFd, address: &SocketAddr) -> io::Result<()> {
    let raw = RawAddress::new(address);
    // SAFETY: the pointer is to a whole address that lives through the call, and the length is its
    // own.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const raw).cast(), raw.bytes()) })
}

/// An address as system calls take it: a pointer to it, and [`RawAddress::bytes`].
#[repr(C)]
pub union RawAddress {
    /// What both begin with.
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    /// The same address.
    #[must_use]
    pub fn new(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self {
                v4: libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(address.ip().octets()),
                    },
                    sin_zero: [0; 8],
                },
            },
            SocketAddr::V6(address) => Self {
                v6: libc::sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: address.ip().octets(),
                    },
                    sin6_scope_id: address.scope_id(),
                },
            },
        }
    }

    /// How long it is.
    #[must_use]
    pub fn bytes(&self) -> libc::socklen_t {
        // SAFETY: both kinds begin with their family, which `new` has set.
        if libc::c_int::from(unsafe { self.family }) == libc::AF_INET {
            length::<libc::sockaddr_in>()
        } else {
            length::<libc::sockaddr_in6>()
        }
    }
}

fn family(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).expect("address families are small numbers")
}

fn length<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("socket structures are small")
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    const PLAIN: SocketOptions = SocketOptions {
        backlog: 8,
        reuse_port: false,
        no_delay: true,
        defer_accept: None,
    };

    /// Listens at `address` with port 0 and passes a byte through a connection.
    #[track_caller]
    fn check(address: &str, options: SocketOptions) {
        let listener = listen(address.parse().unwrap(), &options).unwrap();
        listener.set_nonblocking(false).unwrap();
        let local = listener.local_addr().unwrap();
        assert_eq!(local.ip(), address.parse::<SocketAddr>().unwrap().ip());
        assert_ne!(local.port(), 0);
        let mut client = TcpStream::connect(local).unwrap();
        client.write_all(b"x").unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        assert_eq!(accepted.nodelay().unwrap(), options.no_delay);
        let mut byte = [0];
        accepted.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_socket_listens_where_it_is_told_and_as_it_is_told() {
        check("127.0.0.1:0", PLAIN);
        check(
            "127.0.0.2:0",
            SocketOptions {
                no_delay: false,
                ..PLAIN
            },
        );
        let all = SocketOptions {
            reuse_port: true,
            defer_accept: Some(Duration::from_secs(1)),
            ..PLAIN
        };
        check("127.0.0.1:0", all);
    }

    #[test]
    fn an_adopted_socket_is_like_our_own_and_keeps_who_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut early = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        early.write_all(b"x").unwrap();
        let options = SocketOptions {
            defer_accept: Some(Duration::from_secs(1)),
            ..PLAIN
        };
        adopt(&listener, &options).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(accepted);
        let mut late = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        late.write_all(b"x").unwrap();
        listener.set_nonblocking(false).unwrap();
        assert!(listener.accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn nothing_is_taken_where_nothing_was_handed_over() {
        assert!(take_handed_over().unwrap().is_none());
    }

    #[test]
    fn a_port_on_which_somebody_listens_is_refused_also_where_it_could_be_shared() {
        let shared = SocketOptions {
            reuse_port: true,
            ..PLAIN
        };
        let first = listen("127.0.0.1:0".parse().unwrap(), &shared).unwrap();
        let address = first.local_addr().unwrap();
        for options in [shared, PLAIN] {
            assert_eq!(
                listen(address, &options).unwrap_err().kind(),
                io::ErrorKind::AddrInUse
            );
        }
        drop(first);
        assert!(listen(address, &shared).is_ok());
    }
}
