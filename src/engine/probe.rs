//! Looking up a backend whether it is there, on one nonblocking connection that is kept while it
//! answers.
//!
//! ```text
//!            begin                connected, request sent
//!  Closed ──────────▶ Connecting ────────────────────────▶ Asked ── good ──▶ Idle
//!    ▲                    │                                  │ ▲              │ │
//!    └──── bad ───────────┴──────────────────────────────────┘ └─── begin ────┘ │
//!    └──── lost: closed under us ───────────────────────────────────────────────┘
//! ```
//!
//! Each `begin` has one [`ProbeResult`], at once, from an event or by the deadline. The end of a
//! connection that was kept is told as [`ProbeResult::Lost`], idle or just behind a good answer:
//! this is how a restart between two probes is noticed. What a peer can make us hold is bounded by
//! [`parse`], and the time for its whole answer by the deadline, which single bytes don't extend.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::clock::Now;
use crate::engine::connections::is_connected;
use crate::http::response::{Response, parse};
use crate::replay::controller::action::ProbeResult;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// `GET /status.html`: 200 and `ok\n`.
    Status,
    /// A request that needs the password and changes nothing: anything but a challenge.
    Password,
}

/// How long a probe may take and a connection may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeLimits {
    /// For making the connection.
    pub connect_timeout: Duration,
    /// For the whole answer.
    pub response_timeout: Duration,
    /// Answers after which the connection is retired.
    pub requests_per_connection: u32,
}

enum State {
    Closed,
    Connecting {
        stream: TcpStream,
        attempt: Attempt,
        until: Duration,
    },
    Asked {
        connection: Connection,
        attempt: Attempt,
        until: Duration,
    },
    Idle(Connection),
}

struct Connection {
    stream: TcpStream,
    /// Answers that came on it.
    answers: u32,
}

impl Connection {
    /// Whether nothing has come that nobody asked for; an end and bytes alike, after which no
    /// answer could be trusted.
    fn is_quiet(&mut self) -> bool {
        loop {
            match self.stream.read(&mut [0; 1]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
                Ok(_) => return false,
            }
        }
    }
}

struct Attempt {
    question: Question,
    request: Vec<u8>,
    /// The request has left, whole.
    sent: bool,
    received: Vec<u8>,
    limits: ProbeLimits,
}

/// One backend's probe.
pub struct Probe {
    name: String,
    token: Token,
    state: State,
    /// Connections in a row that were closed under us after their first answer.
    lost_young: u32,
}

/// A peer that does so this often closes after every answer: its connections are no sign of life,
/// and are not kept.
const LOST_YOUNG_MAX: u32 = 3;

impl Probe {
    /// For the backend of this name, whose connection is registered under `token`.
    #[must_use]
    pub fn new(name: &str, token: Token) -> Self {
        Self {
            name: name.to_owned(),
            token,
            state: State::Closed,
            lost_young: 0,
        }
    }

    /// Asks for `/status.html`; with `credentials`, `user:password` in base64, something harmless
    /// that needs the password. A result only if it is there at once; otherwise it comes by an
    /// event or the deadline.
    pub(crate) fn begin(
        &mut self,
        credentials: Option<&str>,
        address: SocketAddr,
        limits: ProbeLimits,
        registry: &Registry,
        now: Now,
    ) -> Option<ProbeResult> {
        let name = &self.name;
        let (question, request) = match credentials {
            None => (
                Question::Status,
                format!("GET /status.html HTTP/1.1\r\nHost: {name}\r\n\r\n"),
            ),
            Some(credentials) => (
                Question::Password,
                format!(
                    "GET /hustdb/zscore?tb=hustdbsync_probe&key=probe HTTP/1.1\r\nHost: \
                     {name}\r\nAuthorization: Basic {credentials}\r\n\r\n"
                ),
            ),
        };
        let attempt = Attempt {
            question,
            request: request.into_bytes(),
            sent: false,
            received: Vec::new(),
            limits,
        };
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Idle(connection) => {
                self.state = State::Asked {
                    connection,
                    attempt,
                    until: now.after(limits.response_timeout),
                };
                self.advance(false, now)
            }
            _ => match connect(address, self.token, registry) {
                Ok(stream) => {
                    self.state = State::Connecting {
                        stream,
                        attempt,
                        until: now.after(limits.connect_timeout),
                    };
                    None
                }
                Err(error) => Some(no_connection(&error)),
            },
        }
    }

    /// Takes an event of its token: whatever it says, the socket is asked.
    pub fn handle_event(&mut self, event: &Event, now: Now) -> Option<ProbeResult> {
        let is_end_told = event.is_read_closed();
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Closed => None,
            State::Idle(mut connection) => {
                if connection.is_quiet() {
                    self.state = State::Idle(connection);
                    return None;
                }
                if connection.answers == 1 {
                    self.lost_young += 1;
                }
                Some(ProbeResult::Lost)
            }
            State::Connecting {
                stream,
                attempt,
                until,
            } => match is_connected(&stream) {
                Ok(false) => {
                    self.state = State::Connecting {
                        stream,
                        attempt,
                        until,
                    };
                    None
                }
                Ok(true) => {
                    let until = now.after(attempt.limits.response_timeout);
                    self.state = State::Asked {
                        connection: Connection { stream, answers: 0 },
                        attempt,
                        until,
                    };
                    self.advance(is_end_told, now)
                }
                Err(error) => Some(no_connection(&error)),
            },
            asked @ State::Asked { .. } => {
                self.state = asked;
                self.advance(is_end_told, now)
            }
        }
    }

    /// Ends what has taken too long.
    pub(crate) fn handle_deadline(&mut self, now: Now) -> Option<ProbeResult> {
        if self.deadline().is_none_or(|until| until > now.monotonic) {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Connecting { attempt, .. } => Some(ProbeResult::Silent(format!(
                "no connection within {:?}",
                attempt.limits.connect_timeout
            ))),
            State::Asked { attempt, .. } => {
                let within = attempt.limits.response_timeout;
                Some(if attempt.received.is_empty() {
                    ProbeResult::Silent(format!("it did not answer its probe within {within:?}"))
                } else {
                    ProbeResult::Bad(format!(
                        "it sent only half an answer to its probe within {within:?}"
                    ))
                })
            }
            idle => {
                self.state = idle;
                None
            }
        }
    }

    /// When to call [`Probe::handle_deadline`], on the monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Connecting { until, .. } | State::Asked { until, .. } => Some(*until),
            State::Closed | State::Idle(_) => None,
        }
    }

    /// Closes the connection, as when the backend has moved. What was asked on it has no result.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Sends what is to be sent, and reads what may be there. `is_end_told`: an event says that the
    /// peer has ended the connection; then no later one will.
    fn advance(&mut self, is_end_told: bool, now: Now) -> Option<ProbeResult> {
        let State::Asked {
            mut connection,
            mut attempt,
            until,
        } = std::mem::replace(&mut self.state, State::Closed)
        else {
            return None;
        };
        let was_sent = attempt.sent;
        let answer = send(&mut connection, &mut attempt).and_then(|()| {
            // On a connection that was kept, whatever comes from now on has an event of its own.
            // The event that made a new one may have told its end, too.
            if attempt.sent && !was_sent && connection.answers > 0 {
                return Ok(None);
            }
            receive(&mut connection, &mut attempt)
        });
        match answer {
            Ok(None) => {
                self.state = State::Asked {
                    connection,
                    attempt,
                    until,
                };
                self.handle_deadline(now)
            }
            Ok(Some((response, is_emptied))) => {
                connection.answers += 1;
                if connection.answers > 1 {
                    self.lost_young = 0;
                }
                let may_stay = !response.close
                    && connection.answers < attempt.limits.requests_per_connection
                    && attempt.received.len() == response.bytes()
                    && self.lost_young < LOST_YOUNG_MAX
                    && is_emptied;
                // What comes behind the last read, bytes or the end, has an event of its own.
                let keep = may_stay && !is_end_told;
                let result = judge(&attempt, &response, keep);
                // It was kept before, and nobody has said that it ends: as if that came later.
                let is_lost = may_stay && !keep && connection.answers > 1;
                if is_lost && matches!(result, ProbeResult::Good { .. }) {
                    return Some(ProbeResult::Lost);
                }
                if keep && !matches!(result, ProbeResult::Bad(_)) {
                    self.state = State::Idle(connection);
                }
                Some(result)
            }
            Err(result) => Some(result),
        }
    }
}

/// Sends the request, whole or not at all: hustdb can't stand one that is cut inside its target.
fn send(connection: &mut Connection, attempt: &mut Attempt) -> Result<(), ProbeResult> {
    while !attempt.sent {
        match connection.stream.write(&attempt.request) {
            Ok(bytes) if bytes == attempt.request.len() => attempt.sent = true,
            Ok(_) => {
                return Err(ProbeResult::Bad(
                    "its connection took only a part of the probe".to_owned(),
                ));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(broken(connection, attempt, &error.to_string())),
        }
    }
    Ok(())
}

/// Reads until an answer is whole, the connection ends, or nothing more is there. Gives the answer,
/// and whether there was nothing behind what was read.
fn receive(
    connection: &mut Connection,
    attempt: &mut Attempt,
) -> Result<Option<(Response, bool)>, ProbeResult> {
    let mut piece = [0; 4096];
    loop {
        let bytes = match connection.stream.read(&mut piece) {
            Ok(0) => return Err(broken(connection, attempt, "it closed the connection")),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(broken(connection, attempt, &error.to_string())),
        };
        attempt.received.extend_from_slice(&piece[..bytes]);
        if !attempt.sent {
            return Err(ProbeResult::Bad("it talks before it is asked".to_owned()));
        }
        // Each read is looked at before the next, so what is held stays below the parser's bound
        // and one read.
        match parse(&attempt.received) {
            Ok(None) => {}
            Ok(Some(response)) => return Ok(Some((response, bytes < piece.len()))),
            Err(fault) => {
                return Err(ProbeResult::Bad(format!(
                    "its answer to the probe is none of a hustdb: {fault}"
                )));
            }
        }
    }
}

/// What the end of a connection means. On one that was good before it may be the end of an earlier
/// life of the backend.
fn broken(connection: &Connection, attempt: &Attempt, how: &str) -> ProbeResult {
    if connection.answers > 0 && attempt.received.is_empty() {
        ProbeResult::Lost
    } else if attempt.received.is_empty() {
        ProbeResult::Closed(format!("no answer to the probe: {how}"))
    } else {
        ProbeResult::Bad(format!("only half an answer to the probe: {how}"))
    }
}

fn judge(attempt: &Attempt, response: &Response, watched: bool) -> ProbeResult {
    let body = &attempt.received[response.head_bytes..response.bytes()];
    match attempt.question {
        Question::Password if is_challenge(response) => ProbeResult::Refused,
        Question::Password => ProbeResult::Good { watched },
        Question::Status if response.status != 200 => ProbeResult::Bad(format!(
            "/status.html is answered {}, not 200",
            response.status
        )),
        Question::Status if body != b"ok\n" => ProbeResult::Bad(format!(
            "/status.html is answered \"{}\", not \"ok\\n\": is it a hustdb?",
            body[..body.len().min(40)].escape_ascii()
        )),
        Question::Status if attempt.received.len() > response.bytes() => {
            ProbeResult::Bad("it sends more than it was asked for".to_owned())
        }
        Question::Status => ProbeResult::Good { watched },
    }
}

fn is_challenge(response: &Response) -> bool {
    response.status == 401 && response.challenge && response.version.is_none()
}

fn no_connection(error: &io::Error) -> ProbeResult {
    let why = format!("no connection: {error}");
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => ProbeResult::Closed(why),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut => {
            ProbeResult::Silent(why)
        }
        // The system has no port or no memory for us: that says nothing of the backend.
        _ => ProbeResult::Bad(why),
    }
}

fn connect(address: SocketAddr, token: Token, registry: &Registry) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
