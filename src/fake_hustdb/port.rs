//! A port that stays ours while nobody listens on it.
//!
//! A fake HustDB that is down must come back on its port, and in between connecting to it must be
//! refused, not answered by a socket of another test that the system gave the same port. So the
//! port is held by a bound socket that doesn't listen; connecting to that is refused by the kernel.
//!
//! ```text
//! reserve ─▶ Reserved ── listen ─▶ Listening
//!               ▲                      │
//!               └──────── hush ────────┘
//! ```

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Port {
    addr: SocketAddr,
    state: State,
}

#[derive(Debug)]
enum State {
    Listening(TcpListener),
    Reserved(OwnedFd),
    /// Only while one of the others becomes the other, or where that failed.
    Lost,
}

impl Port {
    /// Takes `addr` (with port 0: one that is free) without listening on it.
    pub(super) fn reserve(addr: SocketAddr) -> io::Result<Self> {
        let socket = bind(addr, Share::No)?;
        let addr = std::net::TcpListener::from(socket.try_clone()?).local_addr()?;
        Ok(Self {
            addr,
            state: State::Reserved(socket),
        })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens, with events under `token`, if it doesn't yet.
    pub(super) fn listen(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if let State::Listening(_) = self.state {
            return Ok(());
        }
        let socket = match std::mem::replace(&mut self.state, State::Lost) {
            State::Reserved(socket) => socket,
            State::Listening(_) | State::Lost => bind(self.addr, Share::No)?,
        };
        rustix::net::listen(&socket, BACKLOG)?;
        let mut listener = TcpListener::from_std(std::net::TcpListener::from(socket));
        registry.register(&mut listener, token, Interest::READABLE)?;
        self.state = State::Listening(listener);
        Ok(())
    }

    /// Listens no more, and keeps the port.
    pub(super) fn hush(&mut self) -> io::Result<()> {
        if let State::Listening(_) = self.state {
            // The port is bound again before the listener goes, so that there is no moment in which
            // somebody else could get it.
            self.state = State::Reserved(bind(self.addr, Share::Yes)?);
        }
        Ok(())
    }

    /// The next connection that waits.
    pub(super) fn accept(&self) -> io::Result<TcpStream> {
        match &self.state {
            State::Listening(listener) => Ok(listener.accept()?.0),
            State::Reserved(_) | State::Lost => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Whether the port may be another socket's already: one that was bound here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    No,
    Yes,
}

fn bind(addr: SocketAddr, share: Share) -> io::Result<OwnedFd> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let named = |error: rustix::io::Errno| {
        let error = io::Error::from(error);
        io::Error::new(
            error.kind(),
            format!("the fake HustDB cannot have {addr}: {error}"),
        )
    };
    let socket =
        rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(named)?;
    sockopt::set_socket_reuseaddr(&socket, true).map_err(named)?;
    if share == Share::Yes {
        sockopt::set_socket_reuseport(&socket, true).map_err(named)?;
    }
    rustix::net::bind(&socket, &addr).map_err(named)?;
    // Only a socket that asks for it before it is bound shares: another fake HustDB on this port is
    // still refused.
    sockopt::set_socket_reuseport(&socket, true).map_err(named)?;
    Ok(socket)
}
