//! Answers as hustdb 1.9 writes them, byte for byte.
//!
//! libevhtp writes an answer's headers in the order in which the handler added them: `Version`,
//! `VerError`, then `Content-Length` (a refused login adds `WWW-Authenticate` after it),
//! `Connection: close` where the client asked for it, and last `Content-Type`. There is no `Date`
//! and no `Server`.

/// What follows the head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing; `Content-Length: 0`.
    Empty,
    /// A sorted set's score, in decimal.
    Score(i64),
    /// A stored value.
    Bytes(Vec<u8>),
    /// What `/status.html` says.
    StatusPage,
}

/// One answer, not yet bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Version` header: on every answer of a handler, on none that was given before one was
    /// reached.
    pub version: Option<u32>,
    /// The `VerError` header: on every answer to a mutation that reached its handler.
    pub version_error: Option<bool>,
    /// Whether `WWW-Authenticate` is there: only on a 401 that means a wrong password.
    pub challenge: bool,
    pub body: Body,
}

impl Answer {
    /// An answer given before any handler was reached: no `Version`, no body.
    #[must_use]
    pub fn bare(status: u16) -> Self {
        Self {
            status,
            version: None,
            version_error: None,
            challenge: false,
            body: Body::Empty,
        }
    }

    /// A wrong or missing password.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self {
            challenge: true,
            ..Self::bare(401)
        }
    }

    /// `/status.html`.
    #[must_use]
    pub(crate) fn status_page() -> Self {
        Self {
            body: Body::StatusPage,
            ..Self::bare(200)
        }
    }

    /// What a handler of a read says.
    #[must_use]
    pub fn read(status: u16, version: u32, body: Body) -> Self {
        Self {
            version: Some(version),
            body,
            ..Self::bare(status)
        }
    }

    /// What a handler of a mutation says.
    #[must_use]
    pub fn write(status: u16, version: u32, version_error: bool) -> Self {
        Self {
            version: Some(version),
            version_error: Some(version_error),
            ..Self::bare(status)
        }
    }

    /// Appends the bytes of this answer. `close` says that the client asked for `Connection:
    /// close`, which is then echoed.
    pub fn write_to(&self, close: bool, out: &mut Vec<u8>) {
        let (mut digits, mut number) = (itoa::Buffer::new(), itoa::Buffer::new());
        let body: &[u8] = match &self.body {
            Body::Empty => &[],
            Body::Score(score) => digits.format(*score).as_bytes(),
            Body::Bytes(bytes) => bytes,
            Body::StatusPage => b"ok\n",
        };

        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(number.format(self.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(reason(self.status).as_bytes());
        if let Some(version) = self.version {
            out.extend_from_slice(b"\r\nVersion: ");
            out.extend_from_slice(number.format(version).as_bytes());
        }
        match self.version_error {
            Some(false) => out.extend_from_slice(b"\r\nVerError: false"),
            Some(true) => out.extend_from_slice(b"\r\nVerError: true"),
            None => {}
        }
        out.extend_from_slice(b"\r\nContent-Length: ");
        out.extend_from_slice(number.format(body.len()).as_bytes());
        if self.challenge {
            out.extend_from_slice(b"\r\nWWW-Authenticate: Basic realm=\"libevhtp\"");
        }
        if close {
            out.extend_from_slice(b"\r\nConnection: close");
        }
        out.extend_from_slice(b"\r\nContent-Type: text/plain\r\n\r\n");
        out.extend_from_slice(body);
    }

    /// The bytes alone; for tests and simulations.
    #[must_use]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_to(false, &mut out);
        out
    }
}

/// The words that libevhtp puts behind a status.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        412 => "Precondition Failed",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &Answer, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&answer.to_bytes()), expected);
    }

    #[test]
    fn an_applied_mutation_is_answered_byte_for_byte() {
        check(
            &Answer::write(200, 1, false),
            "HTTP/1.1 200 OK\r\nVersion: 1\r\nVerError: false\r\nContent-Length: \
             0\r\nContent-Type: \
             text/plain\r\n\r\n",
        );
    }

    #[test]
    fn a_wrong_password_is_answered_byte_for_byte() {
        check(
            &Answer::unauthorized(),
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic \
             realm=\"libevhtp\"\r\nContent-Type: text/plain\r\n\r\n",
        );
    }

    #[test]
    fn a_refused_version_is_a_401_that_has_a_version() {
        check(
            &Answer::write(401, 0, false),
            "HTTP/1.1 401 Unauthorized\r\nVersion: 0\r\nVerError: false\r\nContent-Length: \
             0\r\nContent-Type: text/plain\r\n\r\n",
        );
    }

    #[test]
    fn a_score_is_the_body() {
        check(
            &Answer::read(200, 7, Body::Score(-12)),
            "HTTP/1.1 200 OK\r\nVersion: 7\r\nContent-Length: 3\r\nContent-Type: \
             text/plain\r\n\r\n-12",
        );
    }

    #[test]
    fn the_status_page_says_ok_and_a_newline() {
        check(
            &Answer::status_page(),
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nok\n",
        );
    }

    #[test]
    fn every_failure_before_a_handler_is_a_bare_status() {
        for (status, words) in [
            (404, "Not Found"),
            (405, "Not Allowed"),
            (500, "Internal Server Error"),
        ] {
            check(
                &Answer::bare(status),
                &format!(
                    "HTTP/1.1 {status} {words}\r\nContent-Length: 0\r\nContent-Type: \
                     text/plain\r\n\r\n"
                ),
            );
        }
    }

    #[test]
    fn a_client_that_asks_for_the_end_of_the_connection_is_told_so() {
        let mut out = Vec::new();
        Answer::bare(404).write_to(true, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\nContent-Type: \
             text/plain\r\n\r\n"
        );
    }
}
