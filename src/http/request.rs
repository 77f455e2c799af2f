//! A request's head: bytes up to the empty line, parsed once, strictly.
//!
//! httparse knows the grammar. What is added here is what keeps two readers of the same bytes from
//! disagreeing about where a request ends: one `Content-Length` at most and of digits only, never
//! together with `Transfer-Encoding`, and of the latter nothing but `chunked`. (Line ends are
//! looked at in [`super::server`], before a head is whole.)
//!
//! `Host` may be missing: HA's older modules compose requests without it.

use super::answer::Status;
use crate::limits::HTTP_FIELDS_MAX;

/// The methods that anything here tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    /// HEAD: answered without a body
    Head,
    Post,
    /// Any other
    Other,
}

/// The field with the token that the server has told its own page.
pub const TOKEN_FIELD: &str = "x-hustdbsync-token";

/// One request, whole, its body read and thrown away. Borrowed from the connection that it came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: Method,
    /// What stands before the `?`, as sent: nothing is decoded.
    pub path: &'a [u8],
    /// What stands after the `?`, as sent.
    pub query: Option<&'a [u8]>,
    /// The value of `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// The value of `Accept`; of several the first.
    pub accept: Option<&'a [u8]>,
    /// The value of `Host`.
    pub host: Option<&'a [u8]>,
    /// The value of `Origin`: some page in a browser sends it.
    pub origin: Option<&'a [u8]>,
    /// The value of [`TOKEN_FIELD`].
    pub token: Option<&'a [u8]>,
    /// Bytes that its body had.
    pub body_bytes: u64,
}

impl<'a> Request<'a> {
    /// The value of the query's parameter `name`, as sent; of several the last. A parameter without
    /// `=` is empty.
    #[must_use]
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        self.query?
            .split(|&byte| byte == b'&')
            .rev()
            .find_map(|pair| {
                let rest = pair.strip_prefix(name.as_bytes())?;
                if rest.is_empty() {
                    Some(rest)
                } else {
                    rest.strip_prefix(b"=")
                }
            })
    }
}

/// Why a connection's bytes are no request that we take. Answered with `status`, then the
/// connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is answered with.
    pub status: Status,
    /// Why, in words.
    pub why: &'static str,
}

impl Refusal {
    pub(super) fn new(status: Status, why: &'static str) -> Self {
        Self { status, why }
    }

    pub(super) fn bad(why: &'static str) -> Self {
        Self::new(Status::BadRequest, why)
    }
}

/// A piece of the head, by its place in it.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: usize,
    len: usize,
}

impl Span {
    /// Where `part` stands in `whole`, which it is a slice of.
    fn of(part: &[u8], whole: &[u8]) -> Self {
        let at = part.as_ptr() as usize - whole.as_ptr() as usize;
        debug_assert!(at + part.len() <= whole.len());
        Self {
            at,
            len: part.len(),
        }
    }

    fn in_bytes(self, head: &[u8]) -> &[u8] {
        &head[self.at..self.at + self.len]
    }
}

/// How the end of the body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// A parsed head, by places in its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Bytes of the head, its empty line included.
    pub(super) bytes: usize,
    pub(super) method: Method,
    pub(super) framing: Framing,
    /// Sent as HTTP/1.0.
    pub(super) is_old: bool,
    /// The peer wants to ask more on this connection.
    pub(super) keep_alive: bool,
    /// The peer waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    path: Span,
    query: Option<Span>,
    authorization: Option<Span>,
    accept: Option<Span>,
    host: Option<Span>,
    origin: Option<Span>,
    token: Option<Span>,
}

impl Head {
    /// Parses `bytes`, which are exactly one head.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut fields = [httparse::EMPTY_HEADER; HTTP_FIELDS_MAX];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(used)) if used == bytes.len() => {}
            Ok(_) => return Err(Refusal::bad("the head is malformed")),
            Err(error) => return Err(refusal(error)),
        }
        let (Some(method), Some(target), Some(minor)) =
            (parsed.method, parsed.path, parsed.version)
        else {
            return Err(Refusal::bad("the request line is malformed"));
        };
        let (path, query) = split_target(target.as_bytes());
        let is_old = minor == 0;
        let fields = Fields::collect(parsed.headers)?;
        Ok(Self {
            bytes: bytes.len(),
            method: match method {
                "GET" => Method::Get,
                "HEAD" => Method::Head,
                "POST" => Method::Post,
                _ => Method::Other,
            },
            framing: fields.framing(is_old)?,
            is_old,
            keep_alive: !fields.close && (!is_old || fields.keep_alive),
            expects_continue: !is_old && fields.expects_continue()?,
            path: Span::of(path, bytes),
            query: query.map(|query| Span::of(query, bytes)),
            authorization: fields.authorization.map(|value| Span::of(value, bytes)),
            accept: fields.accept.map(|value| Span::of(value, bytes)),
            host: fields.host.map(|value| Span::of(value, bytes)),
            origin: fields.origin.map(|value| Span::of(value, bytes)),
            token: fields.token.map(|value| Span::of(value, bytes)),
        })
    }

    /// The request, given the bytes that the head was parsed from.
    pub(super) fn request<'a>(&self, head: &'a [u8], body_bytes: u64) -> Request<'a> {
        Request {
            method: self.method,
            path: self.path.in_bytes(head),
            query: self.query.map(|query| query.in_bytes(head)),
            authorization: self.authorization.map(|value| value.in_bytes(head)),
            accept: self.accept.map(|value| value.in_bytes(head)),
            host: self.host.map(|value| value.in_bytes(head)),
            origin: self.origin.map(|value| value.in_bytes(head)),
            token: self.token.map(|value| value.in_bytes(head)),
            body_bytes,
        }
    }
}

fn refusal(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => {
            Refusal::new(Status::FieldsTooLarge, "the head has too many fields")
        }
        httparse::Error::Version => Refusal::new(
            Status::VersionNotSupported,
            "only HTTP/1.0 and HTTP/1.1 are spoken here",
        ),
        httparse::Error::HeaderName | httparse::Error::HeaderValue => {
            Refusal::bad("a field of the head is malformed")
        }
        _ => Refusal::bad("the request line is malformed"),
    }
}

/// Path and query of a request's target; of `http://host/path` the part from the path on.
fn split_target(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let authority = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .map(|scheme| &target[scheme.len()..]);
    let local = match authority {
        Some(rest) => &rest[memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len())..],
        None => target,
    };
    match memchr::memchr(b'?', local) {
        Some(mark) => (&local[..mark], Some(&local[mark + 1..])),
        None => (local, None),
    }
}

/// The fields that decide anything.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    accept: Option<&'a [u8]>,
    origin: Option<&'a [u8]>,
    token: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
}

impl<'a> Fields<'a> {
    fn collect(headers: &[httparse::Header<'a>]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let single = if is("content-length") {
                &mut fields.content_length
            } else if is("transfer-encoding") {
                &mut fields.transfer_encoding
            } else if is("authorization") {
                &mut fields.authorization
            } else if is("host") {
                &mut fields.host
            } else if is("origin") {
                &mut fields.origin
            } else if is(TOKEN_FIELD) {
                &mut fields.token
            } else if is("expect") {
                &mut fields.expect
            } else {
                if is("connection") {
                    for option in header
                        .value
                        .split(|&byte| byte == b',')
                        .map(<[u8]>::trim_ascii)
                    {
                        fields.close |= option.eq_ignore_ascii_case(b"close");
                        fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                } else if is("accept") {
                    fields.accept.get_or_insert(header.value);
                }
                continue;
            };
            // Even two that agree: a proxy before us may have read the other one.
            if single.replace(header.value).is_some() {
                return Err(Refusal::bad("a field that may stand once stands twice"));
            }
        }
        Ok(fields)
    }

    fn framing(&self, is_old: bool) -> Result<Framing, Refusal> {
        match (self.transfer_encoding, self.content_length) {
            (Some(_), Some(_)) => Err(Refusal::bad(
                "Content-Length stands together with Transfer-Encoding",
            )),
            (Some(_), None) if is_old => Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding")),
            (Some(encoding), None) if encoding.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
                Ok(Framing::Chunked)
            }
            (Some(_), None) => Err(Refusal::new(
                Status::NotImplemented,
                "of transfer encodings only chunked is known",
            )),
            (None, Some(length)) => length_of(length)
                .map(Framing::Length)
                .ok_or(Refusal::bad("Content-Length is no number")),
            (None, None) => Ok(Framing::Length(0)),
        }
    }

    fn expects_continue(&self) -> Result<bool, Refusal> {
        match self.expect {
            None => Ok(false),
            Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(true),
            Some(_) => Err(Refusal::new(
                Status::ExpectationFailed,
                "of expectations only 100-continue is known",
            )),
        }
    }
}

/// Digits and nothing else, as a number.
fn length_of(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
impl<'a> Request<'a> {
    /// A request without a body, for what looks at requests.
    pub(crate) fn plain(method: Method, target: &'a str, authorization: Option<&'a str>) -> Self {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        Self {
            method,
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
            authorization: authorization.map(str::as_bytes),
            accept: None,
            host: None,
            origin: None,
            token: None,
            body_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Result<(&str, Option<&str>, Framing, bool), Status>) {
        let got = Head::parse(head.as_bytes());
        let got = match &got {
            Ok(parsed) => {
                let request = parsed.request(head.as_bytes(), 0);
                let text = |bytes| std::str::from_utf8(bytes).unwrap();
                Ok((
                    text(request.path),
                    request.query.map(text),
                    parsed.framing,
                    parsed.keep_alive,
                ))
            }
            Err(refusal) => Err(refusal.status),
        };
        assert_eq!(got, expected, "{head:?}");
    }

    const NONE: Framing = Framing::Length(0);

    #[test]
    fn targets_are_split_at_the_question_mark() {
        check("GET / HTTP/1.1\r\n\r\n", Ok(("/", None, NONE, true)));
        check(
            "GET /a?b=1&c HTTP/1.1\r\n\r\n",
            Ok(("/a", Some("b=1&c"), NONE, true)),
        );
        check(
            "GET /a?b?c HTTP/1.1\r\n\r\n",
            Ok(("/a", Some("b?c"), NONE, true)),
        );
        check(
            "GET HTTP://h:1/a?b HTTP/1.1\r\n\r\n",
            Ok(("/a", Some("b"), NONE, true)),
        );
        check(
            "GET http://h?b HTTP/1.1\r\n\r\n",
            Ok(("", Some("b"), NONE, true)),
        );
        check("OPTIONS * HTTP/1.1\r\n\r\n", Ok(("*", None, NONE, true)));
        check(
            "CONNECT h:1 HTTP/1.1\r\n\r\n",
            Ok(("h:1", None, NONE, true)),
        );
    }

    #[test]
    fn a_connection_is_kept_as_its_version_says_unless_told_otherwise() {
        check("GET / HTTP/1.0\r\n\r\n", Ok(("/", None, NONE, false)));
        check(
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            Ok(("/", None, NONE, true)),
        );
        check(
            "GET / HTTP/1.1\r\nConnection: te, Close\r\n\r\n",
            Ok(("/", None, NONE, false)),
        );
        check(
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
            Ok(("/", None, NONE, false)),
        );
    }

    #[test]
    fn bodies_are_framed_one_way_or_refused() {
        let post = |fields: &str| format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n");
        check(
            &post("Content-Length: 12"),
            Ok(("/", None, Framing::Length(12), true)),
        );
        check(
            &post("transfer-encoding: Chunked"),
            Ok(("/", None, Framing::Chunked, true)),
        );
        for bad in [
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: -1",
            "Content-Length: 0x1",
            "Content-Length: 1 2",
            "Content-Length:",
            "Content-Length: 18446744073709551616",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding : chunked",
            "Content-Length : 1",
            " Content-Length: 1",
            "A: b\r\n Content-Length: 1",
            "A: b\r\n\tc",
            "A\0: b",
            "A: b\rc",
            "A",
            ": b",
            "Host: a\r\nHost: b",
            "Authorization: Basic a\r\nAuthorization: Basic b",
        ] {
            check(&post(bad), Err(Status::BadRequest));
        }
        for unknown in [
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding:",
        ] {
            check(&post(unknown), Err(Status::NotImplemented));
        }
        check(
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(Status::BadRequest),
        );
    }

    #[test]
    fn what_is_accepted_is_told_as_it_was_sent() {
        for (fields, expected) in [
            ("", None),
            ("accept: a/b;q=1, */*\r\n", Some("a/b;q=1, */*")),
            ("Accept: a/b\r\nAccept: c/d\r\n", Some("a/b")),
        ] {
            let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
            let parsed = Head::parse(head.as_bytes()).unwrap();
            let request = parsed.request(head.as_bytes(), 0);
            assert_eq!(request.accept, expected.map(str::as_bytes));
        }
    }

    #[test]
    fn who_asks_whom_is_told_as_it_was_sent() {
        let check =
            |fields: &str, host: Option<&str>, origin: Option<&str>, token: Option<&str>| {
                let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
                let parsed = Head::parse(head.as_bytes()).unwrap();
                let request = parsed.request(head.as_bytes(), 0);
                assert_eq!(request.host, host.map(str::as_bytes), "{fields:?}");
                assert_eq!(request.origin, origin.map(str::as_bytes), "{fields:?}");
                assert_eq!(request.token, token.map(str::as_bytes), "{fields:?}");
            };
        check("", None, None, None);
        check("Referer: http://x/\r\n", None, None, None);
        check("origin: null\r\n", None, Some("null"), None);
        check(
            "Host: a:1\r\nOrigin: http://x\r\nX-HustDBsync-Token: t\r\n",
            Some("a:1"),
            Some("http://x"),
            Some("t"),
        );
        for twice in ["Origin: a\r\norigin: a\r\n", "X-Hustdbsync-Token: a\r\n"] {
            let head = format!("POST / HTTP/1.1\r\nX-Hustdbsync-Token: b\r\n{twice}\r\n");
            assert!(Head::parse(head.as_bytes()).is_err(), "{twice:?}");
        }
    }

    #[test]
    fn malformed_request_lines_are_refused() {
        check("GET  / HTTP/1.1\r\n\r\n", Err(Status::BadRequest));
        check("GET /\r\n\r\n", Err(Status::BadRequest));
        check("GET / a HTTP/1.1\r\n\r\n", Err(Status::VersionNotSupported));
        check("GET / HTTP/2.0\r\n\r\n", Err(Status::VersionNotSupported));
        check("G\x01T / HTTP/1.1\r\n\r\n", Err(Status::BadRequest));
        check("PRI * HTTP/2.0\r\n\r\n", Err(Status::VersionNotSupported));
    }

    #[test]
    fn too_many_fields_are_refused() {
        let head = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
        check(&head(HTTP_FIELDS_MAX), Ok(("/", None, NONE, true)));
        check(&head(HTTP_FIELDS_MAX + 1), Err(Status::FieldsTooLarge));
    }

    #[test]
    fn an_unknown_expectation_is_refused() {
        check(
            "POST / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n",
            Ok(("/", None, NONE, true)),
        );
        check(
            "POST / HTTP/1.1\r\nExpect: tea\r\n\r\n",
            Err(Status::ExpectationFailed),
        );
        check(
            "POST / HTTP/1.0\r\nExpect: tea\r\n\r\n",
            Ok(("/", None, NONE, false)),
        );
    }

    #[test]
    fn of_a_parameter_given_twice_the_last_counts() {
        let check = |query: Option<&'static str>, expected: Option<&str>| {
            let target = query.map_or("/".to_owned(), |query| format!("/?{query}"));
            let request = Request::plain(Method::Get, &target, None);
            let got = request.parameter("n");
            assert_eq!(got, expected.map(str::as_bytes), "{query:?}");
        };
        check(None, None);
        check(Some(""), None);
        check(Some("n=1"), Some("1"));
        check(Some("n=1&n=2"), Some("2"));
        check(Some("n=1&m=3"), Some("1"));
        check(Some("n=1&n="), Some(""));
        check(Some("n=1&n"), Some(""));
        check(Some("nn=1"), None);
        check(Some("m=1&&n=a=b"), Some("a=b"));
    }
}
