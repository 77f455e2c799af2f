//! What we answer to a request: a status, a few fields, a body that somebody else owns.
//!
//! An answer is written straight into a connection's output; nothing is allocated for it.

use std::io::Write;

/// The statuses that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200
    Ok,
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408
    RequestTimeout,
    /// 409
    Conflict,
    /// 413
    ContentTooLarge,
    /// 417
    ExpectationFailed,
    /// 421
    Misdirected,
    /// 431
    FieldsTooLarge,
    /// 501
    NotImplemented,
    /// 503
    Unavailable,
    /// 505
    VersionNotSupported,
}

impl Status {
    /// The number and its words, as the status line has them.
    #[must_use]
    pub fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::Conflict => "409 Conflict",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::ExpectationFailed => "417 Expectation Failed",
            Self::Misdirected => "421 Misdirected Request",
            Self::FieldsTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// The client that a late answer is for. It is of no use once the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId {
    /// The place of its connection.
    pub slot: usize,
    /// Which of the connections that had that place.
    pub serial: u64,
}

/// One answer. `Content-Length` and `Connection` are the connection's business and must not be
/// among `fields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    pub status: Status,
    /// The body's `Content-Type`; `None` where there is no body.
    pub content_type: Option<&'a str>,
    /// Further fields. Names and values are ours: no line ends in them.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body; not sent where the request was HEAD, though its length is.
    pub body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// An answer without a body.
    #[must_use]
    pub fn empty(status: Status) -> Self {
        Self {
            status,
            content_type: None,
            fields: &[],
            body: &[],
        }
    }

    /// Text, as `text/plain`.
    #[must_use]
    pub fn text(status: Status, body: &'a [u8]) -> Self {
        Self {
            status,
            content_type: Some("text/plain"),
            fields: &[],
            body,
        }
    }

    /// The same with these further fields.
    #[must_use]
    pub(crate) fn with_fields(self, fields: &'a [(&'a str, &'a str)]) -> Self {
        Self { fields, ..self }
    }

    /// Appends the answer to `output`. `connection` is the `Connection` field's value, where one is
    /// called for.
    pub(super) fn write(&self, output: &mut Vec<u8>, connection: Option<&str>, with_body: bool) {
        output.extend_from_slice(b"HTTP/1.1 ");
        output.extend_from_slice(self.status.line().as_bytes());
        // Writing to a `Vec` cannot fail.
        let _ = write!(output, "\r\nContent-Length: {}\r\n", self.body.len());
        if let Some(content_type) = self.content_type {
            write_field(output, "Content-Type", content_type);
        }
        for (name, value) in self.fields {
            write_field(output, name, value);
        }
        if let Some(connection) = connection {
            write_field(output, "Connection", connection);
        }
        output.extend_from_slice(b"\r\n");
        if with_body {
            output.extend_from_slice(self.body);
        }
    }
}

fn write_field(output: &mut Vec<u8>, name: &str, value: &str) {
    debug_assert!(!name.contains(['\r', '\n', ':']) && !value.contains(['\r', '\n']));
    output.extend_from_slice(name.as_bytes());
    output.extend_from_slice(b": ");
    output.extend_from_slice(value.as_bytes());
    output.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: Answer<'_>, connection: Option<&str>, with_body: bool, expected: &str) {
        let mut output = Vec::new();
        answer.write(&mut output, connection, with_body);
        assert_eq!(String::from_utf8_lossy(&output), expected);
    }

    #[test]
    fn an_answer_has_its_length_its_type_and_its_fields() {
        check(
            Answer::text(Status::Ok, b"ok\n"),
            None,
            true,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nok\n",
        );
        check(
            Answer::empty(Status::MethodNotAllowed).with_fields(&[("Allow", "GET")]),
            Some("close"),
            true,
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nAllow: GET\r\nConnection: \
             close\r\n\r\n",
        );
    }

    #[test]
    fn to_head_the_length_is_told_and_the_body_is_not() {
        check(
            Answer::text(Status::Ok, b"ok\n"),
            None,
            false,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\n",
        );
    }
}
