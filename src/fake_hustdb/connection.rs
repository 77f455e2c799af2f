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
/// A header's value as long as this closes the connection. It has overrun hustdb's heap already.
pub const HEADER_LINE_BYTES_MAX: usize = 8192;
/// A header line longer than this takes hustdb down: one of 9,000 did not, one of 12,000 did.
const HEADER_LINE_BYTES_CRASH: usize = 12_000;
/// A whole head longer than this closes the connection. hustdb has no such bound; no client of ours
/// comes near.
pub const HEAD_BYTES_MAX: usize = 256 * 1024;
/// A body larger than this is read, and counts as none.
pub const BODY_BYTES_MAX: usize = 33_554_432;
/// A body larger than this closes the connection. hustdb has no such bound.
const BODY_BYTES_READ_MAX: usize = 8 * BODY_BYTES_MAX;
/// hustdb closes a connection after this many answers, without saying so.
pub const ANSWERS_MAX: u32 = 81_920;

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
                    is_http_1_0,
                    length,
                } => {
                    taken += length;
                    answered += 1;
                    let from = out.len();
                    let after = handler.handle_request(&request, close && !is_http_1_0, out);
                    if is_http_1_0 {
                        make_http_1_0(close, out, from);
                    }
                    self.answers += 1;
                    if after != After::Continue {
                        return (taken, after);
                    }
                    // hustdb goes on if there is more in the same read.
                    let closes = close && taken == input.len();
                    if closes || self.answers >= self.answers_max {
                        return (taken, After::Close);
                    }
                }
                Parsed::Incomplete { need } => {
                    self.need = need;
                    return (taken, After::Continue);
                }
                Parsed::Malformed => return (taken, After::Close),
                Parsed::TooLong => return (taken, After::Crash),
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
        is_http_1_0: bool,
        length: usize,
    },
    /// Not whole before there are `need` bytes; 0 where that is not known.
    Incomplete {
        need: usize,
    },
    Malformed,
    TooLong,
}

fn parse(input: &[u8]) -> Parsed<'_> {
    // Empty lines before a request are skipped.
    let skipped = input
        .iter()
        .take_while(|byte| matches!(byte, b'\r' | b'\n'));
    let skipped = skipped.count();
    let input = &input[skipped..];
    let line = match RequestLine::parse(input) {
        Ok(line) => line,
        Err(parsed) => return parsed,
    };
    let mut head = Head {
        // HTTP/1.0 closes unless told otherwise, HTTP/1.1 goes on unless told otherwise.
        close: line.is_http_1_0,
        body_bytes: 0,
        authorization: None,
    };
    let at = match head.handle_headers(input, line.length) {
        Ok(at) => at,
        Err(parsed) => return parsed,
    };

    let length = at + head.body_bytes;
    let Some(body) = input.get(at..length) else {
        return Parsed::Incomplete {
            need: skipped + length,
        };
    };
    // A larger one is read, and counts as none.
    let body = if body.len() > BODY_BYTES_MAX {
        &[]
    } else {
        body
    };
    let request = Request {
        authorization: head.authorization,
        ..Request::new(line.method, line.target, body)
    };
    Parsed::Request {
        request,
        close: head.close,
        is_http_1_0: line.is_http_1_0,
        length: skipped + length,
    }
}

struct RequestLine<'a> {
    method: Method,
    target: &'a [u8],
    is_http_1_0: bool,
    /// Up to the end of the line.
    length: usize,
}

impl<'a> RequestLine<'a> {
    fn parse(input: &'a [u8]) -> Result<Self, Parsed<'a>> {
        let end = memchr::memchr(b'\n', input);
        let line = end.map_or(input, |end| &input[..end]);
        if target_length(line) > TARGET_BYTES_MAX {
            return Err(Parsed::TooLong);
        }
        let letters = line
            .iter()
            .take_while(|byte| matches!(byte, b'A'..=b'Z' | b'_'));
        let (method, rest) = line.split_at(letters.count());
        if method == b"CONNECT" || rest.first().is_some_and(|byte| *byte != b' ') {
            return Err(Parsed::Malformed);
        }
        let Some(end) = end else {
            return Err(Parsed::Incomplete { need: 0 });
        };
        let rest = rest.strip_suffix(b"\r").and_then(target_and_version);
        let (target, is_http_1_0) = rest.ok_or(Parsed::Malformed)?;
        Ok(Self {
            method: match method {
                b"GET" => Method::Get,
                b"POST" => Method::Post,
                _ => Method::Other,
            },
            target,
            is_http_1_0,
            length: end + 1,
        })
    }
}

/// What a head says beside its request line.
struct Head<'a> {
    close: bool,
    body_bytes: usize,
    authorization: Option<&'a [u8]>,
}

impl<'a> Head<'a> {
    /// Takes in the headers of `input`, which begin at `at`. Returns where its body begins.
    fn handle_headers(&mut self, input: &'a [u8], mut at: usize) -> Result<usize, Parsed<'a>> {
        loop {
            let rest = &input[at..];
            let end = memchr::memchr(b'\n', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            if line.len() > HEADER_LINE_BYTES_CRASH {
                return Err(Parsed::TooLong);
            }
            if line.len() > HEADER_LINE_BYTES_MAX + ": \r".len() || at > HEAD_BYTES_MAX {
                return Err(Parsed::Malformed);
            }
            let Some(end) = end else {
                return Err(Parsed::Incomplete { need: 0 });
            };
            at += end + 1;
            let line = line.strip_suffix(b"\r").ok_or(Parsed::Malformed)?;
            if line.is_empty() {
                return Ok(at);
            }
            self.handle_header(line).ok_or(Parsed::Malformed)?;
        }
    }

    /// Takes in a line. `None` means that hustdb closes the connection.
    fn handle_header(&mut self, line: &'a [u8]) -> Option<()> {
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // Spaces in front don't count, those behind do.
        let value = &value[value.iter().take_while(|byte| **byte == b' ').count()..];
        if value.len() >= HEADER_LINE_BYTES_MAX {
            return None;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.trim_ascii_end();
            let digits = if digits.is_empty() { b"0" } else { digits };
            let is_number = digits.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(digits).ok().filter(|_| is_number)?;
            self.body_bytes = length.parse().ok()?;
            if self.body_bytes > BODY_BYTES_READ_MAX {
                return None;
            }
        } else if name.eq_ignore_ascii_case(b"authorization") {
            // Of two, the first counts.
            self.authorization.get_or_insert(value);
        } else if name.eq_ignore_ascii_case(b"connection") {
            match value {
                b"close" | b"Close" => self.close = true,
                b"keep-alive" | b"Keep-Alive" | b"keep-Alive" | b"Keep-alive" => self.close = false,
                _ => {}
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding")
            && matches!(value, b"chunked" | b"Chunked")
        {
            // No client of hustdb sends chunks, and to take them for requests would be worse than
            // to hang up.
            return None;
        }
        Some(())
    }
}

/// What is behind the method: the target, which may have any octets but spaces and ends of lines,
/// and whether it is HTTP/1.0.
fn target_and_version(text: &[u8]) -> Option<(&[u8], bool)> {
    let text = text.trim_ascii_start();
    let end = memchr::memchr(b' ', text)?;
    let (target, version) = (&text[..end], &text[end..]);
    if !target.starts_with(b"/") || memchr::memchr(b'\r', target).is_some() {
        return None;
    }
    match version.trim_ascii() {
        b"HTTP/1.1" => Some((target, false)),
        b"HTTP/1.0" => Some((target, true)),
        _ => None,
    }
}

/// Makes an answer that was written for HTTP/1.1 one for HTTP/1.0.
fn make_http_1_0(close: bool, out: &mut Vec<u8>, from: usize) {
    if !out[from..].starts_with(b"HTTP/1.1 ") {
        return;
    }
    out[from + "HTTP/1.".len()] = b'0';
    let type_at = memchr::memmem::find(&out[from..], b"\r\nContent-Type: ");
    if let Some(at) = type_at.filter(|_| !close) {
        let header = b"\r\nConnection: keep-alive";
        out.splice(from + at..from + at, header.iter().copied());
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
