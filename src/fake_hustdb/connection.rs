//! One connection, as hustdb's libevhtp treats it: bytes in, bytes out, no socket.
//!
//! What a read brings is cut into requests; each whole one goes to a [`Handler`], which appends its
//! answer to `out`: one request a call ([`Connection::answer_one_by_one`]), as hustdb does it, or
//! all that are there. The limits are hustdb's: see the constants.
//!
//! ```text
//!            ┌──────────── a whole request: answer ───────────┐
//!            ▼                                                │
//!   (between requests) ── some bytes ──▶ (head begun) ── head ──▶ (body awaited)
//! ```
//! The three states are told by what is in `pending`: nothing; a head without its end; `need` more
//! than its length.

use super::query::{Method, Request};

/// hustdb reads at most this many bytes at a time.
pub const READ_BYTES_MAX: usize = 4096;
/// A request target longer than this overruns hustdb's heap and takes it down.
pub const TARGET_BYTES_MAX: usize = 8192;
/// A header line longer than this closes the connection.
pub const HEADER_LINE_BYTES_MAX: usize = 8192;
/// A whole head longer than this closes the connection. hustdb has no such bound; no client of ours
/// comes near.
pub const HEAD_BYTES_MAX: usize = 256 * 1024;
/// A body larger than this closes the connection.
pub const BODY_BYTES_MAX: usize = 33_554_432;
/// hustdb closes a connection after this many answers, without saying so.
pub const ANSWERS_MAX: u32 = 81_920;
/// More headers than this close the connection. hustdb has no such bound.
const HEADERS_MAX: usize = 64;

/// What a handler wants done with the connection behind its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Go on with the next request.
    Continue,
    /// Send what has been answered, then close.
    Close,
    /// Reset the connection at once; what has been answered but not sent is lost.
    Reset,
    /// Send what has been answered, then say nothing and read nothing any more.
    Hang,
    /// Send what has been answered, then a header without end.
    Endless,
    /// hustdb is down: every connection is gone.
    Crash,
}

/// Whoever answers requests.
pub trait Handler {
    /// Appends the answer to `request` to `out`. `close` says that the client asked for the end of
    /// the connection behind it.
    fn handle_request(&mut self, request: &Request<'_>, close: bool, out: &mut Vec<u8>) -> After;
}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    /// The beginning of the request that is not whole yet.
    pending: Vec<u8>,
    /// `pending` is not worth looking at before it has this many bytes.
    need: usize,
    /// At most so many requests are answered a call.
    requests_per_call: u32,
    /// `pending` may hold a whole request that the last call didn't come to.
    has_more: bool,
    answers: u32,
    answers_max: u32,
    cut_targets: u64,
    /// The last read ended inside a target, and this fake HustDB misreads then as hustdb does.
    misread_next: bool,
    misreads: bool,
}

impl Connection {
    /// A new connection that ends after `answers_max` answers ([`ANSWERS_MAX`] for a real hustdb).
    #[must_use]
    pub fn new(answers_max: u32) -> Self {
        Self {
            pending: Vec::new(),
            need: 0,
            requests_per_call: u32::MAX,
            has_more: false,
            answers: 0,
            answers_max,
            cut_targets: 0,
            misread_next: false,
            misreads: false,
        }
    }

    /// Whether a read that ends inside a target really spoils the request, as it can with hustdb.
    /// Off at first.
    ///
    /// hustdb's parser takes one octet from beyond what it has received. Here, the first octet of
    /// the next read has its lowest bit flipped: inside a key, the value is then stored under
    /// another key and answered 200.
    pub(crate) fn misread_cut_targets(&mut self, on: bool) {
        self.misreads = on;
        self.misread_next &= on;
    }

    /// Has each call answer one request at most. While [`Connection::has_more`], the next call
    /// brings no bytes.
    pub(crate) fn answer_one_by_one(&mut self) {
        self.requests_per_call = 1;
    }

    /// Whether there are bytes left that the last call didn't look at.
    #[must_use]
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    /// How many requests were answered so far.
    #[must_use]
    pub fn answers(&self) -> u32 {
        self.answers
    }

    /// How many reads ended inside a request line since this was last asked.
    pub fn take_cut_targets(&mut self) -> u64 {
        std::mem::take(&mut self.cut_targets)
    }

    /// Takes what one read brought (at most [`READ_BYTES_MAX`] bytes, if the alarm is to mean
    /// anything) and appends the answers to the requests that it completed to `out`. After anything
    /// but [`After::Continue`] the connection takes no more.
    pub fn handle_read(
        &mut self,
        bytes: &[u8],
        handler: &mut impl Handler,
        out: &mut Vec<u8>,
    ) -> After {
        if self.pending.is_empty() {
            let (taken, after) = self.take_requests(bytes, handler, out);
            if after == After::Continue {
                self.pending.extend_from_slice(&bytes[taken..]);
                self.look_for_cut_target();
            }
            return after;
        }

        let known = self.pending.len();
        self.pending.extend_from_slice(bytes);
        if std::mem::take(&mut self.misread_next)
            && let Some(first) = self.pending.get_mut(known)
        {
            *first ^= 1;
        }
        if self.pending.len() < self.need {
            return After::Continue;
        }
        let mut pending = std::mem::take(&mut self.pending);
        let (taken, after) = self.take_requests(&pending, handler, out);
        pending.drain(..taken);
        self.pending = pending;
        if after == After::Continue {
            self.look_for_cut_target();
        }
        after
    }

    /// Answers the whole requests at the start of `input`, as many as one call may; says how many
    /// bytes they had.
    fn take_requests(
        &mut self,
        input: &[u8],
        handler: &mut impl Handler,
        out: &mut Vec<u8>,
    ) -> (usize, After) {
        let mut taken = 0;
        let mut answered = 0;
        self.need = 0;
        self.has_more = false;
        loop {
            let rest = &input[taken..];
            if rest.is_empty() {
                return (taken, After::Continue);
            }
            if answered == self.requests_per_call {
                self.has_more = true;
                return (taken, After::Continue);
            }
            match parse(rest) {
                Parsed::Request {
                    request,
                    close,
                    length,
                } => {
                    taken += length;
                    answered += 1;
                    let after = handler.handle_request(&request, close, out);
                    self.answers += 1;
                    if after != After::Continue {
                        return (taken, after);
                    }
                    if close || self.answers >= self.answers_max {
                        return (taken, After::Close);
                    }
                }
                Parsed::Incomplete { need } => {
                    self.need = need;
                    return (taken, After::Continue);
                }
                Parsed::Malformed => return (taken, After::Close),
                Parsed::TargetTooLong => return (taken, After::Crash),
            }
        }
    }

    fn look_for_cut_target(&mut self) {
        if !self.has_more
            && !self.pending.is_empty()
            && memchr::memchr(b'\n', &self.pending).is_none()
        {
            self.cut_targets += 1;
            self.misread_next = self.misreads;
        }
    }
}

enum Parsed<'a> {
    Request {
        request: Request<'a>,
        close: bool,
        length: usize,
    },
    /// Not whole before there are `need` bytes; 0 where that is not known.
    Incomplete {
        need: usize,
    },
    Malformed,
    TargetTooLong,
}

fn parse(input: &[u8]) -> Parsed<'_> {
    let line = memchr::memchr(b'\n', input).map_or(input, |end| &input[..end]);
    if target_length(line) > TARGET_BYTES_MAX {
        return Parsed::TargetTooLong;
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_length = match head.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => {
            let line_begin = memchr::memrchr(b'\n', input).map_or(0, |at| at + 1);
            let line_too_long = line_begin > 0 && input.len() - line_begin > HEADER_LINE_BYTES_MAX;
            return match line_too_long || input.len() > HEAD_BYTES_MAX {
                true => Parsed::Malformed,
                false => Parsed::Incomplete { need: 0 },
            };
        }
        Err(_) => return Parsed::Malformed,
    };

    let mut body_length = 0usize;
    let mut authorization = None;
    // HTTP/1.0 closes unless told otherwise, HTTP/1.1 goes on unless told otherwise.
    let mut close = head.version == Some(0);
    for header in head.headers.iter() {
        if header.name.len() + 2 + header.value.len() > HEADER_LINE_BYTES_MAX {
            return Parsed::Malformed;
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            match length {
                Some(length) if length <= BODY_BYTES_MAX => body_length = length,
                _ => return Parsed::Malformed,
            }
        } else if header.name.eq_ignore_ascii_case("authorization") {
            authorization = Some(header.value);
        } else if header.name.eq_ignore_ascii_case("connection") {
            if header.value.eq_ignore_ascii_case(b"close") {
                close = true;
            } else if header.value.eq_ignore_ascii_case(b"keep-alive") {
                close = false;
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            // No client of hustdb sends chunks, and to take them for requests would be worse than
            // to hang up.
            return Parsed::Malformed;
        }
    }

    let length = head_length + body_length;
    let Some(body) = input.get(head_length..length) else {
        return Parsed::Incomplete { need: length };
    };
    let method = match head.method {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        _ => Method::Other,
    };
    let target = head.path.unwrap_or_default().as_bytes();
    let request = Request {
        authorization,
        ..Request::new(method, target, body)
    };
    Parsed::Request {
        request,
        close,
        length,
    }
}

/// How long the target in `line`, a request line or the beginning of one, is so far.
fn target_length(line: &[u8]) -> usize {
    // A line that is short as a whole has no long target: the common case costs one comparison.
    if line.len() <= TARGET_BYTES_MAX {
        return 0;
    }
    let Some(begin) = memchr::memchr(b' ', line) else {
        return 0;
    };
    let rest = &line[begin + 1..];
    memchr::memchr(b' ', rest).unwrap_or(rest.len())
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
