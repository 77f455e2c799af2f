//! A backend's answer: status line, the few headers that matter, and where it ends.
//!
//! hustdb's usual answer has one shape, which is recognised byte for byte; whatever differs goes to
//! httparse, and both must agree (see the tests).

use memchr::memchr;

use crate::limits::{RESPONSE_BYTES_MAX, RESPONSE_HEADERS_MAX};

/// One complete answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// `Version`, where there is one that is a number.
    pub version: Option<u32>,
    /// `VerError`, where it is `true` or `false`.
    pub version_error: Option<bool>,
    /// Whether `WWW-Authenticate` asks for another password.
    pub challenge: bool,
    /// Whether the peer says that it closes the connection.
    pub close: bool,
    pub head_bytes: usize,
    /// Bytes of the body, behind the head.
    pub body_bytes: usize,
}

impl Response {
    /// Bytes of the whole answer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }
}

/// Why bytes are no answer of a hustdb.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseFault {
    /// Not HTTP/1.1.
    #[error("the answer is no HTTP/1.1: {0}")]
    NoHttp(&'static str),
    /// Head and body together are larger than we hold.
    #[error("the answer is larger than {RESPONSE_BYTES_MAX} bytes")]
    TooLarge,
    /// Where the body ends cannot be told, or only by closing.
    #[error("the answer's length cannot be told: {0}")]
    NoLength(&'static str),
}

/// Reads the first answer in `received`, whole with its body; the next begins behind
/// [`Response::bytes`]. `None`: its end is not here yet.
///
/// # Errors
/// When what is there can never become one.
pub fn parse(received: &[u8]) -> Result<Option<Response>, ResponseFault> {
    match parse_head(received)? {
        Some(response) if response.bytes() > RESPONSE_BYTES_MAX => Err(ResponseFault::TooLarge),
        whole_head => Ok(whole_head.filter(|response| response.bytes() <= received.len())),
    }
}

const USUAL_START: &[u8] = b"HTTP/1.1 200 OK\r\nVersion: ";
const USUAL_VERSION_ERROR: &[u8] = b"VerError: false\r\n";
const USUAL_END: &[u8] = b"Content-Length: 0\r\nContent-Type: text/plain\r\n\r\n";

/// The answer that hustdb gives to nearly every request: to a write that it is applied, to a lookup
/// that the key is there.
fn parse_usual(received: &[u8]) -> Option<Response> {
    let rest = received.strip_prefix(USUAL_START)?;
    let digits = memchr(b'\r', &rest[..rest.len().min(11)])?;
    let rest = rest[digits..].strip_prefix(b"\r\n")?;
    let (version_error, rest) = match rest.strip_prefix(USUAL_VERSION_ERROR) {
        Some(rest) => (Some(false), rest),
        None => (None, rest),
    };
    let rest = rest.strip_prefix(USUAL_END)?;
    Some(Response {
        status: 200,
        version: Some(decimal(&received[USUAL_START.len()..][..digits])?),
        version_error,
        challenge: false,
        close: false,
        head_bytes: received.len() - rest.len(),
        body_bytes: 0,
    })
}

/// Reads the head of the first answer in `received`, whether or not its body, of any length, is
/// there. `None`: its end is not here yet.
///
/// # Errors
/// When what is there can never become one.
pub fn parse_head(received: &[u8]) -> Result<Option<Response>, ResponseFault> {
    match parse_usual(received) {
        Some(usual) => Ok(Some(usual)),
        None => parse_any_head(received),
    }
}

fn parse_any_head(received: &[u8]) -> Result<Option<Response>, ResponseFault> {
    let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let head_bytes = match head.parse(received) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) if received.len() < RESPONSE_BYTES_MAX => {
            return Ok(None);
        }
        Ok(httparse::Status::Partial) => return Err(ResponseFault::TooLarge),
        Err(httparse::Error::Version) => return Err(ResponseFault::NoHttp("its version")),
        Err(httparse::Error::Status) => return Err(ResponseFault::NoHttp("its status line")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(ResponseFault::NoHttp("too many headers"));
        }
        Err(_) => return Err(ResponseFault::NoHttp("its head")),
    };
    let status = head.code.ok_or(ResponseFault::NoHttp("its status line"))?;
    let minor = head.version.ok_or(ResponseFault::NoHttp("its version"))?;

    let mut response = Response {
        status,
        version: None,
        version_error: None,
        challenge: false,
        close: minor == 0,
        head_bytes,
        body_bytes: 0,
    };
    let mut length = None;
    for header in head.headers.iter() {
        let value = header.value.trim_ascii();
        if header.name.eq_ignore_ascii_case("content-length") {
            let said =
                decimal(value).ok_or(ResponseFault::NoLength("Content-Length is no number"))?;
            if length.is_some_and(|before| before != said) {
                return Err(ResponseFault::NoLength("two Content-Lengths"));
            }
            length = Some(said);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(ResponseFault::NoLength(
                "it has a Transfer-Encoding, which hustdb never sends",
            ));
        } else if header.name.eq_ignore_ascii_case("version") {
            response.version = decimal(value);
        } else if header.name.eq_ignore_ascii_case("vererror") {
            response.version_error = match value {
                b"true" => Some(true),
                b"false" => Some(false),
                _ => None,
            };
        } else if header.name.eq_ignore_ascii_case("www-authenticate") {
            response.challenge = true;
        } else if header.name.eq_ignore_ascii_case("connection") {
            response.close |= value.eq_ignore_ascii_case(b"close");
        }
    }
    response.body_bytes = match length {
        _ if status < 200 => {
            return Err(ResponseFault::NoHttp(
                "an interim answer that nobody asked for",
            ));
        }
        _ if status == 204 || status == 304 => 0,
        Some(said) => said as usize,
        None => return Err(ResponseFault::NoLength("it has no Content-Length")),
    };
    Ok(Some(response))
}

/// A number of decimal digits only.
fn decimal(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const APPLIED: Response = Response {
        status: 200,
        version: Some(1),
        version_error: Some(false),
        challenge: false,
        close: false,
        head_bytes: 93,
        body_bytes: 0,
    };

    fn usual(version: u32) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nVersion: {version}\r\nVerError: false\r\nContent-Length: \
             0\r\nContent-Type: text/plain\r\n\r\n"
        )
    }

    fn check(received: &str, expected: Result<Option<Response>, ResponseFault>) {
        assert_eq!(parse(received.as_bytes()), expected, "{received}");
    }

    #[test]
    fn hustdbs_answers_are_read() {
        check(&usual(1), Ok(Some(APPLIED)));
        check(
            "HTTP/1.1 200 OK\r\nVersion: 4\r\nVerError: true\r\nContent-Length: 2\r\nContent-Type: \
             text/plain\r\n\r\n42HTTP",
            Ok(Some(Response {
                version: Some(4),
                version_error: Some(true),
                head_bytes: 92,
                body_bytes: 2,
                ..APPLIED
            })),
        );
        check(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic \
             realm=\"libevhtp\"\r\nContent-Type: text/plain\r\n\r\n",
            Ok(Some(Response {
                status: 401,
                version: None,
                version_error: None,
                challenge: true,
                head_bytes: 116,
                ..APPLIED
            })),
        );
    }

    #[test]
    fn what_is_cut_waits_for_the_rest() {
        let whole = usual(77);
        for cut in 0..whole.len() {
            check(&whole[..cut], Ok(None));
        }
    }

    #[test]
    fn what_can_be_no_answer_says_why() {
        check(
            "SSH-2.0-OpenSSH\r\n",
            Err(ResponseFault::NoHttp("its version")),
        );
        check(
            "<html>oh no</html>",
            Err(ResponseFault::NoHttp("its version")),
        );
        check(
            "HTTP/1.1 200 OK\r\n\r\n",
            Err(ResponseFault::NoLength("it has no Content-Length")),
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(ResponseFault::NoLength(
                "it has a Transfer-Encoding, which hustdb never sends",
            )),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            Err(ResponseFault::NoLength("Content-Length is no number")),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            Err(ResponseFault::NoLength("two Content-Lengths")),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3221225472\r\n\r\n",
            Err(ResponseFault::TooLarge),
        );
        check(
            &format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(RESPONSE_BYTES_MAX)),
            Err(ResponseFault::TooLarge),
        );
    }

    #[test]
    fn a_peer_that_closes_says_so() {
        for head in [
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        ] {
            let Ok(Some(response)) = parse(head.as_bytes()) else {
                panic!("{head} is an answer");
            };
            assert!(response.close);
        }
    }

    proptest! {
        #[test]
        fn the_fast_path_agrees_with_httparse(
            version: u32,
            is_write: bool,
            cut in 0..110_usize,
            flip in 0..110_usize,
            byte: u8,
        ) {
            let mut text = usual(version);
            if !is_write {
                text = text.replace("VerError: false\r\n", "");
            }
            let mut bytes = text.into_bytes();
            bytes.truncate(cut.max(1));
            prop_assert_eq!(parse_head(&bytes), parse_any_head(&bytes));
            let at = flip % bytes.len();
            bytes[at] = byte;
            prop_assert_eq!(parse_head(&bytes), parse_any_head(&bytes));
        }

        #[test]
        fn any_bytes_are_an_answer_a_part_of_one_or_a_fault(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = parse(&bytes);
        }
    }
}
