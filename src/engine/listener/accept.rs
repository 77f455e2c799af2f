//! Opens the listening socket, and accepts connections.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::budget::Share;
use super::{Answers, Came, Connection, Listener, ListenerOptions};
use crate::clock::Now;
use crate::engine::os::socket;
use crate::http::server::ServerConnection;
use crate::limits::{HTTP_ACCEPT_PAUSE, HTTP_ACCEPTS_PER_TURN};

/// Why we can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else listens there.
    #[error("cannot listen on {address}: port {} is in use; stop the program that has it (`ss \
        -ltnp` tells which), or set another network.port", .address.port())]
    InUse {
        /// Where we were to listen.
        address: SocketAddr,
    },
    /// The port is reserved.
    #[error("cannot listen on {address}: port {} needs a right that this user lacks \
        (CAP_NET_BIND_SERVICE); set a network.port above 1023", .address.port())]
    Forbidden {
        /// Where we were to listen.
        address: SocketAddr,
    },
    /// The machine has no such address.
    #[error("cannot listen on {address}: this machine has no address {}; set network.bind to one \
        that it has, or to 0.0.0.0", .address.ip())]
    NoSuchAddress {
        /// Where we were to listen.
        address: SocketAddr,
    },
    /// systemd's socket has another address.
    #[error(
        "cannot listen on {address}: the socket that systemd handed over is at {found}; make \
         ListenStream= of the .socket unit and network.bind and network.port of the configuration \
         say the same"
    )]
    Elsewhere {
        /// Where we were to listen.
        address: SocketAddr,
        found: SocketAddr,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {cause}")]
    Other {
        /// Where we were to listen.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
}

impl ListenError {
    fn new(address: SocketAddr, cause: io::Error) -> Self {
        match cause.kind() {
            ErrorKind::AddrInUse => Self::InUse { address },
            ErrorKind::PermissionDenied => Self::Forbidden { address },
            ErrorKind::AddrNotAvailable => Self::NoSuchAddress { address },
            _ => Self::Other { address, cause },
        }
    }
}

/// Opens the listening socket, or takes the one that was `handed_over`, and registers it.
pub(super) fn open(
    options: &ListenerOptions,
    handed_over: Option<TcpListener>,
    registry: &Registry,
    token: Token,
) -> Result<(mio::net::TcpListener, SocketAddr), ListenError> {
    if let Some(found) = handed_over.as_ref().map(TcpListener::local_addr) {
        let found = found.map_err(|cause| ListenError::new(options.address, cause))?;
        // Any port will do if the configuration leaves it open. Another address would change who
        // can reach us.
        let address = SocketAddr::new(
            options.address.ip(),
            match options.address.port() {
                0 => found.port(),
                port => port,
            },
        );
        if found != address {
            return Err(ListenError::Elsewhere { address, found });
        }
    }
    let attempt = || {
        let socket = match handed_over {
            None => socket::listen(options.address, &options.socket)?,
            Some(socket) => {
                socket::adopt(&socket, &options.socket)?;
                socket
            }
        };
        let address = socket.local_addr()?;
        let mut socket = mio::net::TcpListener::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok((socket, address))
    };
    attempt().map_err(|cause| ListenError::new(options.address, cause))
}

/// What to do after a failed accept(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// There is nothing more to accept.
    Done,
    /// This connection is lost; there may be another.
    Next,
    /// There is no descriptor left.
    NoDescriptor,
    /// There is no memory, or the error is unknown.
    Rest,
}

fn classify(error: &io::Error) -> Failed {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Failed::NoDescriptor,
        Some(libc::ENOMEM | libc::ENOBUFS) => Failed::Rest,
        _ if error.kind() == ErrorKind::WouldBlock => Failed::Done,
        // accept(2): these are pending errors of the new connection itself.
        Some(
            libc::EINTR
            | libc::ECONNABORTED
            | libc::EPERM
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH,
        ) => Failed::Next,
        _ => Failed::Rest,
    }
}

impl Listener {
    /// Accepts until there is no connection left, or it is the others' turn, or the system has no
    /// room.
    pub(super) fn accept(&mut self, registry: &Registry, now: Now, answers: &mut dyn Answers) {
        self.accept_at = None;
        let (mut may_evict, mut accepted) = (true, 0);
        for _ in 0..HTTP_ACCEPTS_PER_TURN {
            if self.light.is_spent(now) {
                self.accept_at = Some(self.light.rests_until());
                return;
            }
            self.light.charge(1, now);
            self.all.charge(1, now);
            let Some(socket) = &self.socket else {
                return;
            };
            match socket.accept() {
                Ok((stream, peer)) => {
                    (may_evict, accepted) = (true, accepted + 1);
                    self.admit(stream, peer, registry, now, answers);
                }
                Err(error) => match classify(&error) {
                    Failed::Done => return,
                    Failed::Next => {}
                    Failed::NoDescriptor if may_evict && self.evict() => may_evict = false,
                    Failed::NoDescriptor | Failed::Rest => {
                        tracing::warn!(
                            address = %self.address, %error,
                            pause_ms = HTTP_ACCEPT_PAUSE.as_millis(),
                            "cannot accept a connection; resting for a moment"
                        );
                        return self.rest(now);
                    }
                },
            }
        }
        if accepted == 0 {
            // Every one of so many connections was lost before it was accepted: continuing at once
            // might never end.
            return self.rest(now);
        }
        // Readiness is not reported again for connections that still wait.
        self.accept_at = Some(Duration::ZERO);
    }

    fn rest(&mut self, now: Now) {
        self.counts.pauses += 1;
        self.accept_at = Some(now.after(HTTP_ACCEPT_PAUSE));
    }

    fn admit(
        &mut self,
        mut stream: TcpStream,
        peer: SocketAddr,
        registry: &Registry,
        now: Now,
        answers: &mut dyn Answers,
    ) {
        // On a socket for both families, an IPv4 peer has the address ::ffff:a.b.c.d.
        let address = peer.ip().to_canonical();
        if !(self.access)(address) {
            tracing::debug!(%peer, "peer is not in network.access_allow; connection closed");
            self.counts.denied += 1;
            return;
        }
        while self.connections.len() >= self.options.connections_max.max(1) {
            self.evict();
        }
        let entry = self.connections.vacant_entry();
        let slot = entry.key();
        let token = Token(self.base + 1 + slot);
        if let Err(error) =
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
        {
            tracing::warn!(%peer, %error, "cannot watch a connection; connection closed");
            return;
        }
        self.serial += 1;
        let mut http = ServerConnection::new(self.options.limits, now);
        if self.is_ending {
            http.end_with_next_answer();
        }
        entry.insert(Connection {
            stream,
            peer: address,
            http,
            serial: self.serial,
            // A deferred accept means that the request is here already.
            is_readable: true,
            is_writable: true,
            is_queued: false,
            share: Share::default(),
            unsent_bytes: 0,
            touched: 0,
        });
        self.counts.accepted += 1;
        self.touch(slot);
        self.run(slot, Came::New, now, answers);
    }

    /// Closes the connection that has gone longest without an answer; one that waits for a late
    /// answer only if all do. Returns false if there is none.
    fn evict(&mut self) -> bool {
        let mut idlest_first = self.by_touch.values().copied();
        let idlest = idlest_first
            .clone()
            .find(|&slot| !self.connections[slot].http.is_asked())
            .or_else(|| idlest_first.next());
        let Some(slot) = idlest else {
            return false;
        };
        self.counts.evicted += 1;
        self.drop_connection(slot);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_rests_only_where_going_on_would_spin() {
        for (errno, expected) in [
            (libc::EAGAIN, Failed::Done),
            (libc::EINTR, Failed::Next),
            (libc::ECONNABORTED, Failed::Next),
            (libc::EPERM, Failed::Next),
            (libc::EMFILE, Failed::NoDescriptor),
            (libc::ENFILE, Failed::NoDescriptor),
            (libc::ENOBUFS, Failed::Rest),
            (libc::ENOMEM, Failed::Rest),
            (libc::EINVAL, Failed::Rest),
        ] {
            assert_eq!(
                classify(&io::Error::from_raw_os_error(errno)),
                expected,
                "{errno}"
            );
        }
    }

    #[test]
    fn an_error_says_where_why_and_what_to_do() {
        let said = |errno| {
            ListenError::new(
                "127.0.0.1:8089".parse().unwrap(),
                io::Error::from_raw_os_error(errno),
            )
            .to_string()
        };
        for (errno, words) in [
            (
                libc::EADDRINUSE,
                ["127.0.0.1:8089", "port 8089 is in use", "network.port"],
            ),
            (
                libc::EACCES,
                ["127.0.0.1:8089", "CAP_NET_BIND_SERVICE", "network.port"],
            ),
            (
                libc::EADDRNOTAVAIL,
                ["127.0.0.1:8089", "no address 127.0.0.1", "network.bind"],
            ),
            (
                libc::EMFILE,
                ["127.0.0.1:8089", "cannot listen", "Too many open files"],
            ),
        ] {
            for word in words {
                assert!(said(errno).contains(word), "{}", said(errno));
            }
        }
    }
}
