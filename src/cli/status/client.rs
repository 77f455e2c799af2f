//! One question to a running server, with an end to every wait.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::table::plain;
use super::target::StatusTarget;
use crate::http::basic::Credentials;
use crate::limits::{REPORT_BYTES_MAX, RESPONSE_HEADERS_MAX};
use crate::status::report::Report;

/// Why there is no status to show.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody listens there, or not for us.
    #[error(
        "cannot reach the sync server at {addr}: {cause}; is it running, and with this \
         network.port?"
    )]
    Unreachable {
        /// Where it should be.
        addr: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// It took too long.
    #[error(
        "no answer from {addr} within {} s; it may be stopped or overloaded",
        .timeout.as_secs_f32()
    )]
    Silent {
        /// Where we asked.
        addr: SocketAddr,
        /// How long we waited.
        timeout: Duration,
    },
    /// It closed the connection.
    #[error(
        "{addr} closed the connection without an answer; is this machine in network.access_allow?"
    )]
    Closed {
        /// Where we asked.
        addr: SocketAddr,
    },
    /// It wants other credentials.
    #[error(
        "{addr} refuses the user and the password; they must be network.user and network.passwd of \
         the configuration that it runs with"
    )]
    Denied {
        /// Where we asked.
        addr: SocketAddr,
    },
    /// Something answers, but not as a server of this kind does.
    #[error(
        "{addr} answers {what}; another program, or the original hustdbsync, may have that port"
    )]
    Foreign {
        /// Where we asked.
        addr: SocketAddr,
        /// What came.
        what: String,
    },
    /// It does not do what it was asked for.
    #[error("{why}")]
    Refused {
        /// What it says, in one line.
        why: String,
    },
    /// It can't do so now, since it ends.
    #[error("{why}")]
    Ends {
        /// What it says, in one line.
        why: String,
    },
    /// It can't do so now, and may be able to later.
    #[error("{why}")]
    NotNow {
        /// What it says, in one line.
        why: String,
    },
    /// Nothing can be printed.
    #[error("cannot print the status: {0}")]
    Output(io::Error),
}

/// An answer.
#[derive(Debug)]
pub(in crate::cli) struct Reply {
    /// Its status code.
    pub(in crate::cli) code: u16,
    /// Its body.
    pub(in crate::cli) body: Vec<u8>,
}

impl Reply {
    /// What it says for people, in one line; none where it says nothing.
    pub(in crate::cli) fn line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.body);
        let line = plain(text.lines().next()?.trim());
        (!line.is_empty()).then_some(line)
    }
}

/// Asks for the report; gives its JSON as it came.
pub(super) fn ask(target: &StatusTarget, timeout: Duration) -> Result<Vec<u8>, StatusError> {
    let reply = send(target, "GET", "/v1/status", timeout)?;
    match reply.code {
        200 => Ok(reply.body),
        code => Err(foreign(target.addr, &format!("with status {code}"))),
    }
}

/// The report of a server.
pub(in crate::cli) fn report(
    target: &StatusTarget,
    timeout: Duration,
) -> Result<Report, StatusError> {
    let body = ask(target, timeout)?;
    parse(target.addr, &body)
}

/// Sends a request without a body, `path` with its query; gives the answer, unless it is that we
/// may not ask.
pub(in crate::cli) fn send(
    target: &StatusTarget,
    method: &str,
    path: &str,
    timeout: Duration,
) -> Result<Reply, StatusError> {
    let addr = target.addr;
    let end = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&addr, timeout)
        .map_err(|cause| StatusError::Unreachable { addr, cause })?;
    let authorization = Credentials::new(&target.user, &target.passwd).authorization();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: \
         {authorization}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => StatusError::Silent { addr, timeout },
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => StatusError::Closed { addr },
        _ => StatusError::Unreachable { addr, cause: error },
    };
    stream
        .set_write_timeout(Some(timeout))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .map_err(failed)?;

    let mut received = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    loop {
        if let Some((code, body)) = reply_of(addr, &received)? {
            let body = body.to_vec();
            return Ok(Reply { code, body });
        }
        // Zero would mean no timeout at all.
        let left = end
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        match stream
            .set_read_timeout(Some(left))
            .and_then(|()| stream.read(&mut piece))
        {
            Ok(0) if received.is_empty() => return Err(StatusError::Closed { addr }),
            Ok(0) => return Err(foreign(addr, "a response that is cut off")),
            Ok(bytes) => received.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
        if Instant::now() >= end {
            return Err(StatusError::Silent { addr, timeout });
        }
    }
}

/// `text` as a value in a query.
pub(in crate::cli) fn in_query(text: &str) -> String {
    let mut query = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b':' | b',' => {
                query.push(char::from(byte));
            }
            // Writing to a `String` cannot fail.
            _ => drop(write!(query, "%{byte:02X}")),
        }
    }
    query
}

/// The report in `body`.
pub(super) fn parse(addr: SocketAddr, body: &[u8]) -> Result<Report, StatusError> {
    serde_json::from_slice(body)
        .map_err(|error| foreign(addr, &format!("JSON that is no status ({error})")))
}

/// The report in `body` without the backends that `report` does not have.
pub(super) fn only(body: &[u8], report: &Report) -> String {
    let mut json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(serde_json::Value::Array(backends)) = json.get_mut("backends") {
        backends.retain(|backend| {
            let mut shown = report.backends.iter();
            shown.any(|shown| backend["name"] == *shown.name)
        });
    }
    format!("{json}\n")
}

/// Status and body of the response in `received`, once it is whole.
fn reply_of(addr: SocketAddr, received: &[u8]) -> Result<Option<(u16, &[u8])>, StatusError> {
    let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(received) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if received.len() > REPORT_BYTES_MAX => {
            return Err(foreign(addr, "a response that is too large"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(foreign(addr, "what is no HTTP")),
    };
    let code = response.code.unwrap_or_default();
    if code == 401 {
        return Err(StatusError::Denied { addr });
    }
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| {
            std::str::from_utf8(header.value)
                .ok()?
                .parse::<usize>()
                .ok()
        })
        .ok_or_else(|| foreign(addr, "a response without a length"))?;
    if length > REPORT_BYTES_MAX {
        return Err(foreign(addr, "a response that is too large"));
    }
    let body = received.get(head_bytes..head_bytes + length);
    Ok(body.map(|body| (code, body)))
}

/// Something answers, but not as a server of this kind does.
pub(in crate::cli) fn foreign(addr: SocketAddr, what: &str) -> StatusError {
    StatusError::Foreign {
        addr,
        what: what.to_owned(),
    }
}

/// How long the server may take for an answer. It answers from memory.
pub(in crate::cli) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
