//! Connections fed whole, in pieces, byte by byte, in any order of events.

use super::*;
use proptest::prelude::*;

/// What a client sees of a connection that is fed `pieces`, each request answered at once by its
/// path.
struct Seen {
    output: Vec<u8>,
    paths: Vec<String>,
    open: bool,
    /// The most that was held in buffers at a time.
    held_bytes: usize,
}

const START: Now = Now::new(Duration::from_secs(1000), 0);

fn at(seconds: u64) -> Now {
    Now::new(START.monotonic + Duration::from_secs(seconds), 0)
}

fn run<'a>(limits: ServerLimits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut connection = ServerConnection::new(limits, START);
    let mut seen = Seen {
        output: Vec::new(),
        paths: Vec::new(),
        open: true,
        held_bytes: 0,
    };
    for piece in pieces {
        connection.handle_received(piece, START);
        serve(&mut connection, &mut seen);
    }
    seen.open = !connection.closing();
    seen
}

fn serve(connection: &mut ServerConnection, seen: &mut Seen) {
    loop {
        let path = connection
            .poll_request()
            .map(|request| String::from_utf8_lossy(request.path).into_owned());
        if let Some(path) = path {
            connection.respond(&Answer::text(Status::Ok, path.as_bytes()), START);
            seen.paths.push(path);
        }
        seen.held_bytes = seen.held_bytes.max(connection.buffer_bytes());
        // The peer takes all that there is, but only between requests, so that pipelined answers
        // come together.
        if connection.peek_request().is_some() {
            continue;
        }
        if connection.outgoing().is_empty() {
            break;
        }
        seen.output.extend_from_slice(connection.outgoing());
        connection.handle_sent(connection.outgoing().len(), START);
    }
}

/// The statuses of the answers to `input`, and whether the connection stays open; whole and byte by
/// byte.
#[track_caller]
fn check_with(limits: ServerLimits, input: &str, expected: &[&str], open: bool) {
    let whole = run(limits, [input.as_bytes()]);
    let dribbled = run(limits, input.as_bytes().chunks(1));
    assert_eq!(
        String::from_utf8_lossy(&whole.output),
        String::from_utf8_lossy(&dribbled.output),
        "{input:?} split"
    );
    let text = String::from_utf8(whole.output).unwrap();
    let statuses: Vec<&str> = text
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(statuses, expected, "{input:?}");
    assert_eq!(whole.open, open, "{input:?}");
    assert_eq!(dribbled.open, open, "{input:?} split");
}

#[track_caller]
fn check(input: &str, expected: &[&str], open: bool) {
    check_with(ServerLimits::default(), input, expected, open);
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let seen = run(
        ServerLimits::default(),
        [
            &b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET /c?d \
            HTTP/1.1\r\nHost: h\r\n\r\n"[..],
        ],
    );
    assert_eq!(seen.paths, ["/a", "/b", "/c"]);
    assert!(seen.open);
    let answer = |path| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\n{path}")
    };
    assert_eq!(
        String::from_utf8(seen.output).unwrap(),
        ["/a", "/b", "/c"].map(answer).concat()
    );
}

#[test]
fn a_connection_is_closed_when_the_peer_or_its_version_asks_for_it() {
    check(
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        &["200"],
        false,
    );
    check(
        "GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
        &["200"],
        false,
    );
    check(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        &["200", "200"],
        true,
    );
    let seen = run(
        ServerLimits::default(),
        [&b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"[..]],
    );
    assert!(
        String::from_utf8(seen.output)
            .unwrap()
            .contains("\r\nConnection: keep-alive\r\n")
    );
}

#[test]
fn the_last_request_of_a_connection_is_told_so() {
    let limits = ServerLimits {
        requests_max: 3,
        ..ServerLimits::default()
    };
    let input = "GET / HTTP/1.1\r\n\r\n".repeat(5);
    check_with(limits, &input, &["200", "200", "200"], false);
    let output = String::from_utf8(run(limits, [input.as_bytes()]).output).unwrap();
    assert_eq!(output.matches("Connection: close").count(), 1);
    assert!(output.ends_with("Connection: close\r\n\r\n/"));
}

#[test]
fn to_head_no_body_is_sent() {
    let seen = run(
        ServerLimits::default(),
        [&b"HEAD /abc HTTP/1.1\r\n\r\n"[..]],
    );
    assert!(
        seen.output
            .ends_with(b"Content-Length: 4\r\nContent-Type: text/plain\r\n\r\n")
    );
}

#[test]
fn forms_that_smuggle_are_refused_and_nothing_after_them_is_taken() {
    for head in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na0\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
    ] {
        check(
            &format!("{head}GET /smuggled HTTP/1.1\r\n\r\n"),
            &["400"],
            false,
        );
    }
    check(
        "GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        &["501"],
        false,
    );
    check(
        "GET / HTTP/1.1\r\n\r\nnonsense\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        &["200", "400"],
        false,
    );
}

#[test]
fn empty_lines_before_a_request_are_let_pass() {
    check(
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n",
        &["200", "200"],
        true,
    );
    check("\r\nx", &[], true);
    check("\r\r\n\r\n", &["400"], false);
}

#[test]
fn a_head_may_have_its_bound_and_no_byte_more() {
    let head = |bytes: usize| {
        let frame = "GET / HTTP/1.1\r\nA: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "b".repeat(bytes - frame))
    };
    check(&head(HTTP_HEAD_BYTES_MAX), &["200"], true);
    check(&head(HTTP_HEAD_BYTES_MAX + 1), &["431"], false);
    check(&"x".repeat(HTTP_HEAD_BYTES_MAX - 1), &[], true);
    check(&"x".repeat(HTTP_HEAD_BYTES_MAX), &["431"], false);
}

#[test]
fn a_body_may_have_its_bound_and_no_byte_more() {
    let limits = ServerLimits {
        body_bytes_max: 100,
        ..ServerLimits::default()
    };
    let post = |bytes: usize| {
        format!(
            "POST / HTTP/1.1\r\nContent-Length: {bytes}\r\n\r\n{}",
            "x".repeat(bytes)
        )
    };
    check_with(
        limits,
        &[post(100), post(100)].concat(),
        &["200", "200"],
        true,
    );
    check_with(limits, &post(101), &["413"], false);
    let chunked = |size: &str, body: &str| {
        format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    check_with(
        limits,
        &[chunked("64", &"x".repeat(100)), post(1)].concat(),
        &["200", "200"],
        true,
    );
    check_with(limits, &chunked("65", &"x".repeat(101)), &["413"], false);
}

#[test]
fn memory_does_not_grow_with_the_body() {
    let mut pieces = vec![b"POST / HTTP/1.1\r\nContent-Length: 16000000\r\n\r\n".to_vec()];
    pieces.extend(std::iter::repeat_n(vec![b'x'; 16_000], 1000));
    let seen = run(ServerLimits::default(), pieces.iter().map(Vec::as_slice));
    assert_eq!(seen.paths, ["/"]);
    assert!(seen.open);
    assert!(seen.held_bytes < 1024, "{}", seen.held_bytes);
}

#[test]
fn continue_is_sent_only_if_it_is_switched_on() {
    let input = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
    check(input, &["200"], true);
    let limits = ServerLimits {
        send_continue: true,
        ..ServerLimits::default()
    };
    check_with(limits, input, &["100", "200"], true);
    check_with(
        limits,
        "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n",
        &["413"],
        false,
    );
    check_with(
        limits,
        "GET / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
        &["200"],
        true,
    );
    check_with(
        limits,
        "GET / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        &["200"],
        false,
    );
}

#[test]
fn a_peer_that_takes_no_answers_gets_no_more_of_them() {
    let mut connection = ServerConnection::new(
        ServerLimits {
            requests_max: u32::MAX,
            ..ServerLimits::default()
        },
        START,
    );
    let flood = "GET / HTTP/1.1\r\n\r\n".repeat(800);
    let body = [b'x'; 1000];
    let mut answers = 0;
    for _ in 0..100 {
        if connection.wants_input() {
            connection.handle_received(flood.as_bytes(), START);
        }
        while connection.poll_request().is_some() {
            connection.respond(&Answer::text(Status::Ok, &body), START);
            answers += 1;
        }
    }
    assert!(!connection.wants_input());
    assert!(
        connection.outgoing().len() <= HTTP_OUTPUT_BYTES_MAX + 1100,
        "{}",
        connection.outgoing().len()
    );
    assert!(
        connection.buffer_bytes() < 4 * HTTP_OUTPUT_BYTES_MAX,
        "{}",
        connection.buffer_bytes()
    );
    // Part of it taken changes nothing; all of it lets the next ones through.
    connection.handle_sent(10, START);
    assert!(connection.peek_request().is_none());
    connection.handle_sent(connection.outgoing().len(), START);
    assert!(connection.peek_request().is_some());
    assert!(answers < 80);
}

#[test]
fn a_late_answer_is_awaited_and_what_was_pipelined_meanwhile_is_bounded() {
    let mut connection = ServerConnection::new(ServerLimits::default(), START);
    connection.handle_received(
        b"GET /wait HTTP/1.1\r\n\r\nGET /next HTTP/1.1\r\n\r\n",
        START,
    );
    assert_eq!(connection.poll_request().unwrap().path, b"/wait");
    assert!(connection.is_asked() && connection.poll_request().is_none());
    assert_eq!(connection.deadline(), None);
    while connection.wants_input() {
        connection.handle_received(&[b'x'; 1000], START);
    }
    assert!(connection.buffer_bytes() < 4 * HTTP_HEAD_BYTES_MAX);
    connection.respond(&Answer::empty(Status::Ok), at(30));
    assert_eq!(connection.poll_request().unwrap().path, b"/next");
}

#[test]
fn an_answer_that_comes_after_the_end_is_dropped() {
    let mut connection = ServerConnection::new(ServerLimits::default(), START);
    connection.respond(&Answer::empty(Status::Ok), START);
    assert!(connection.outgoing().is_empty());
}

#[test]
fn dribbling_does_not_extend_the_time_for_a_head() {
    let mut connection = ServerConnection::new(ServerLimits::default(), START);
    for second in 0..=299 {
        connection.handle_received(b"G", at(second));
        connection.handle_deadline(at(second));
        assert!(!connection.closing(), "after {second} s");
        assert_eq!(connection.deadline(), Some(at(300).monotonic));
    }
    connection.handle_deadline(at(300));
    assert!(connection.outgoing().starts_with(b"HTTP/1.1 408 "));
    connection.handle_sent(connection.outgoing().len(), at(300));
    assert!(connection.poll_shutdown() && !connection.poll_shutdown());
    connection.handle_deadline(at(302));
    assert!(connection.is_over());
}

#[test]
fn dribbling_does_not_extend_the_time_for_a_body() {
    for head in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut connection = ServerConnection::new(ServerLimits::default(), START);
        connection.handle_received(
            format!("POST / HTTP/1.1\r\n{head}\r\n\r\n").as_bytes(),
            START,
        );
        for second in 0..299 {
            connection.handle_received(if second == 0 { b"0" } else { b"" }, at(second));
            assert_eq!(connection.deadline(), Some(at(300).monotonic));
        }
        connection.handle_deadline(at(300));
        assert!(connection.outgoing().starts_with(b"HTTP/1.1 408 "));
    }
}

#[test]
fn empty_lines_do_not_extend_the_time_for_being_idle() {
    let mut connection = ServerConnection::new(ServerLimits::default(), START);
    for second in 0..=299 {
        connection.handle_received(b"\r\n", at(second));
        connection.handle_deadline(at(second));
        assert!(!connection.closing(), "after {second} s");
    }
    connection.handle_deadline(at(300));
    assert!(connection.closing() && connection.outgoing().is_empty());
}

#[test]
fn an_idle_connection_gives_its_buffers_back_then_is_closed() {
    let mut connection = ServerConnection::new(ServerLimits::default(), START);
    assert_eq!(connection.buffer_bytes(), 0);
    connection.handle_received(b"GET / HTTP/1.1\r\n\r\n", START);
    assert!(connection.poll_request().is_some());
    connection.respond(&Answer::empty(Status::Ok), START);
    connection.handle_sent(connection.outgoing().len(), START);
    assert!(connection.is_idle() && connection.buffer_bytes() > 0);
    assert_eq!(
        connection.deadline(),
        Some(START.monotonic + HTTP_BUFFERS_IDLE)
    );
    connection.handle_deadline(at(6));
    assert_eq!(connection.buffer_bytes(), 0);
    assert_eq!(connection.deadline(), Some(at(300).monotonic));
    connection.handle_deadline(at(300));
    assert!(connection.closing() && connection.outgoing().is_empty());
}

#[test]
fn a_peer_that_takes_too_long_for_its_answers_is_dropped() {
    let mut connection = ServerConnection::new(
        ServerLimits {
            send_timeout: Duration::from_secs(7),
            ..ServerLimits::default()
        },
        START,
    );
    connection.handle_received(b"GET / HTTP/1.1\r\n\r\n", START);
    assert!(connection.poll_request().is_some());
    connection.respond(&Answer::text(Status::Ok, &[b'x'; 1000]), START);
    for second in 0..7 {
        connection.handle_sent(1, at(second));
        connection.handle_deadline(at(second));
        assert_eq!(connection.deadline(), Some(at(7).monotonic));
    }
    connection.handle_deadline(at(7));
    assert!(connection.is_over() && connection.outgoing().is_empty());
}

#[test]
fn a_peer_that_has_said_all_still_gets_its_answers() {
    let mut connection = ServerConnection::new(ServerLimits::default(), START);
    connection.handle_received(
        b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c",
        START,
    );
    connection.handle_end(START);
    let mut seen = Seen {
        output: Vec::new(),
        paths: Vec::new(),
        open: true,
        held_bytes: 0,
    };
    serve(&mut connection, &mut seen);
    assert_eq!(seen.paths, ["/a", "/b"]);
    assert!(connection.is_over());

    let mut idle = ServerConnection::new(ServerLimits::default(), START);
    idle.handle_end(START);
    assert!(idle.is_over());
}

#[test]
fn a_connection_that_we_close_lingers_for_the_last_answer_to_arrive() {
    let mut connection = ServerConnection::new(ServerLimits::default(), START);
    connection.handle_received(b"nonsense\r\n\r\n", START);
    assert!(!connection.wants_input() && !connection.poll_shutdown());
    connection.handle_sent(connection.outgoing().len(), START);
    assert!(connection.poll_shutdown() && connection.wants_input() && !connection.is_over());
    connection.handle_received(&[b'x'; 100_000], START);
    assert_eq!(connection.buffer_bytes(), connection.output.capacity());
    connection.handle_end(START);
    assert!(connection.is_over());
}

/// Bytes in which requests, bodies and faults of every kind are likely.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        &b"GET /a HTTP/1.1\r\n"[..],
        b"HEAD /b?c=1 HTTP/1.1\r\n",
        b"POST /d HTTP/1.0\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"\n",
        b"hello",
        b"5\r\nhello\r\n0\r\n\r\n",
        b": ",
        b"\0\xff",
        b"Authorization: Basic c3luYzpzeW5j\r\n",
    ]);
    let whole = proptest::sample::select(vec![
        &b"GET /a HTTP/1.1\r\n\r\n"[..],
        b"POST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST /d HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    ]);
    let any = proptest::collection::vec(any::<u8>(), 0..20);
    proptest::collection::vec(
        prop_oneof![
            4 => piece.prop_map(<[u8]>::to_vec),
            6 => whole.prop_map(<[u8]>::to_vec),
            1 => any,
        ],
        0..20,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_split_anyhow_get_the_same_answers(
        bytes in stream(),
        cuts in proptest::collection::vec(1usize..40, 1..20),
        send_continue in any::<bool>(),
    ) {
        let limits = ServerLimits {
            send_continue,
            requests_max: 10,
            ..ServerLimits::default()
        };
        let whole = run(limits, [bytes.as_slice()]);
        let mut rest = bytes.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let split = run(limits, pieces);
        prop_assert_eq!(&split.paths, &whole.paths);
        prop_assert_eq!(split.open, whole.open);
        prop_assert_eq!(
            String::from_utf8_lossy(&split.output),
            String::from_utf8_lossy(&whole.output)
        );
    }

    #[test]
    fn any_order_of_events_ends_within_its_deadlines(
        events in proptest::collection::vec(
            (0u8..6, proptest::collection::vec(any::<u8>(), 0..30)),
            0..60,
        ),
        start in stream(),
    ) {
        let mut connection = ServerConnection::new(ServerLimits::default(), START);
        connection.handle_received(&start, START);
        let mut second = 0;
        for (event, bytes) in events {
            second += 1;
            match event {
                0 => connection.handle_received(&bytes, at(second)),
                1 => {
                    connection.poll_request();
                }
                2 => connection.respond(&Answer::text(Status::Ok, &bytes), at(second)),
                3 => {
                    connection.handle_sent(connection.outgoing().len().min(bytes.len()), at(second))
                }
                4 => connection.handle_deadline(at(second)),
                _ => {
                    connection.poll_shutdown();
                }
            }
        }
        // Left alone by the peer, and answered by us, it ends.
        for _ in 0..40 {
            connection.poll_request();
            connection.respond(&Answer::empty(Status::Ok), at(second));
            second += 300;
            connection.handle_deadline(at(second));
        }
        prop_assert!(connection.is_over());
    }
}
