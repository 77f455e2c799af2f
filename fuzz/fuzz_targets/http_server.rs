//! Any bytes at the HTTP server, whole, one by one and cut anyhow: the same answers, each of them
//! HTTP as httparse reads it, in memory that is bounded whatever comes; a request that is taken
//! ends where another reader says that it does, so that nothing is smuggled; and when the peer has
//! gone, all is over.
#![no_main]

use hustdbsync::internals::clock::Now;
use hustdbsync::internals::http::request::Method;
use hustdbsync::internals::http::server::{ServerConnection, ServerLimits};
use hustdbsync::internals::status::answer::{BodyCache, answer};
use hustdbsync::internals::status::auth::Auth;
use hustdbsync::internals::status::snapshot::StatusBoard;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

/// What the engine reads at a time, at most.
const READ_BYTES: usize = 16 * 1024;
/// Two buffers of a head and a read, or of the output that throttles, each doubled by its growth.
const HELD_BYTES_MAX: usize = 4 * (READ_BYTES + 64 * 1024);

fuzz_target!(|bytes: &[u8]| {
    let limits = ServerLimits::default();
    let whole = run(bytes, limits, |_| READ_BYTES, true);
    check_answers(&whole, limits.requests_max);
    check_ends(bytes, &whole.taken);
    let mut random = xxh3_64(bytes);
    let cut = |_| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % 40 + 1
    };
    assert_eq!(run(bytes, limits, cut, true), whole);
    assert_eq!(run(bytes, limits, |_| 1, true), whole);

    // A peer that takes nothing before it has said all, waits for `100 Continue` and has but a few
    // requests.
    let few = ServerLimits {
        send_continue: true,
        requests_max: 3,
        body_bytes_max: 100,
        ..limits
    };
    let greedy = run(bytes, few, |_| READ_BYTES, false);
    check_answers(&greedy, few.requests_max);
    check_ends(bytes, &greedy.taken);
    assert_eq!(run(bytes, few, |_| 7, true).taken, greedy.taken);
});

/// A request that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    method: Method,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    body_bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Run {
    taken: Vec<Taken>,
    sent: Vec<u8>,
}

/// What is taken of `bytes` and sent to a peer that sends them in pieces of `piece_bytes` and then
/// ends.
fn run(
    bytes: &[u8],
    limits: ServerLimits,
    mut piece_bytes: impl FnMut(usize) -> usize,
    takes: bool,
) -> Run {
    let now = Now::default();
    let gate = Auth::new("u", "p");
    let (board, mut pages) = (StatusBoard::new(now), BodyCache::default());
    let mut connection = ServerConnection::new(limits, now);
    let mut run = Run {
        taken: Vec::new(),
        sent: Vec::new(),
    };
    let mut serve = |connection: &mut ServerConnection, run: &mut Run, takes: bool| loop {
        let request = connection.poll_request();
        if let Some(request) = request {
            run.taken.push(Taken {
                method: request.method,
                path: request.path.to_vec(),
                query: request.query.map(<[u8]>::to_vec),
                body_bytes: request.body_bytes,
            });
            let answer = answer(&request, &gate, &board, &mut pages);
            connection.respond(&answer, now);
            continue;
        }
        assert!(
            connection.buffer_bytes() <= HELD_BYTES_MAX,
            "{} bytes are held",
            connection.buffer_bytes()
        );
        if !takes || connection.outgoing().is_empty() {
            break;
        }
        let outgoing = connection.outgoing().len();
        run.sent.extend_from_slice(connection.outgoing());
        connection.handle_sent(outgoing, now);
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        if connection.wants_input() {
            let (piece, after) = rest.split_at(piece_bytes(rest.len()).min(rest.len()));
            rest = after;
            connection.handle_received(piece, now);
            serve(&mut connection, &mut run, takes);
        } else {
            // It waits for the peer to take its answers, or wants nothing any more.
            serve(&mut connection, &mut run, true);
            if !connection.wants_input() {
                assert!(connection.closing());
                break;
            }
        }
    }
    serve(&mut connection, &mut run, true);
    connection.handle_end(now);
    serve(&mut connection, &mut run, true);
    assert!(
        connection.is_over(),
        "the peer has ended, took all, and the connection goes on"
    );
    assert!(
        connection
            .deadline()
            .is_none_or(|due| due <= limits.recv_timeout)
    );
    run
}

/// What was sent is one answer a request, then perhaps a refusal, and nothing behind one that
/// closes.
fn check_answers(run: &Run, requests_max: u32) {
    assert!(run.taken.len() <= requests_max as usize);
    let (mut rest, mut answers, mut closed) = (&run.sent[..], 0, false);
    while !rest.is_empty() {
        assert!(!closed, "something follows the last answer");
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(head_bytes)) = head.parse(rest) else {
            panic!("an answer is no HTTP: {}", rest.escape_ascii());
        };
        rest = &rest[head_bytes..];
        let status = head.code.expect("an answer has a status");
        if status == 100 {
            assert!(head.headers.is_empty());
            continue;
        }
        let field = |name: &str| {
            let mut all = head
                .headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name));
            let value = all
                .next()
                .map(|header| std::str::from_utf8(header.value).expect("fields are text"));
            assert!(all.next().is_none(), "{name} stands twice");
            value
        };
        let length: usize = field("Content-Length")
            .and_then(|said| said.parse().ok())
            .expect("an answer has a length");
        closed = field("Connection").is_some_and(|said| said == "close");
        let body_bytes = match run.taken.get(answers) {
            Some(taken) if taken.method == Method::Head => 0,
            Some(_) => length,
            None => {
                assert!(
                    closed && status >= 400,
                    "an answer of {status} to no request"
                );
                length
            }
        };
        rest = rest.get(body_bytes..).expect("an answer is whole");
        answers += 1;
    }
    assert!((run.taken.len()..=run.taken.len() + 1).contains(&answers));
}

/// Every request that was taken, read by httparse, from where the one before it ended.
fn check_ends(bytes: &[u8], taken: &[Taken]) {
    let mut rest = bytes;
    for request in taken {
        while let Some(after) = rest.strip_prefix(b"\r\n") {
            rest = after;
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(head_bytes)) = head.parse(rest) else {
            panic!("what was taken is no request: {}", rest.escape_ascii());
        };
        assert!(
            !rest[..head_bytes]
                .windows(2)
                .any(|pair| pair[1] == b'\n' && pair[0] != b'\r')
        );
        let method = match head.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            _ => Method::Other,
        };
        assert_eq!(request.method, method);
        let target = head.path.expect("a request has a target").as_bytes();
        let local = [
            request.path.as_slice(),
            request.query.as_ref().map_or(b"", |_| b"?"),
            request.query.as_deref().unwrap_or_default(),
        ];
        assert!(target.ends_with(&local.concat()));
        let field = |name: &str| -> Vec<&[u8]> {
            let named = head
                .headers
                .iter()
                .filter(|header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| header.value).collect()
        };
        rest = &rest[head_bytes..];
        let body_bytes = match (
            &field("Content-Length")[..],
            &field("Transfer-Encoding")[..],
        ) {
            ([], []) => 0,
            ([length], []) => {
                assert!(length.iter().all(u8::is_ascii_digit));
                let length = std::str::from_utf8(length)
                    .expect("digits")
                    .parse()
                    .expect("a length that was taken");
                rest = &rest[length..];
                length as u64
            }
            ([], [encoding]) => {
                assert!(encoding.eq_ignore_ascii_case(b"chunked") && head.version == Some(1));
                skip_chunks(&mut rest)
            }
            other => panic!("a request with {other:?} was taken"),
        };
        assert_eq!(request.body_bytes, body_bytes);
    }
}

/// Goes behind a chunked body; gives the bytes of its data.
fn skip_chunks(rest: &mut &[u8]) -> u64 {
    let mut body_bytes = 0;
    loop {
        let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(rest) else {
            panic!(
                "a chunk that was taken has no size: {}",
                rest.escape_ascii()
            );
        };
        *rest = &rest[at..];
        if size == 0 {
            break;
        }
        body_bytes += size;
        *rest = rest[usize::try_from(size).expect("it was taken")..]
            .strip_prefix(b"\r\n")
            .expect("a chunk ends its line");
    }
    // Trailers, then an empty line.
    loop {
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .expect("a body that was taken has its end");
        *rest = &rest[end + 2..];
        if end == 0 {
            return body_bytes;
        }
    }
}
