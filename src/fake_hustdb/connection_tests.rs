//! Bytes in, bytes out, byte for byte, at every place where a read may end.

use proptest::prelude::*;

use super::super::store::Store;
use super::*;

/// Answers from a store; no script, no password.
struct Plain(Store);

impl Handler for Plain {
    fn handle_request(&mut self, request: &Request<'_>, close: bool, out: &mut Vec<u8>) -> After {
        self.0.apply(request, 1000).write_to(close, out);
        After::Continue
    }
}

/// What `reads` bring about: the bytes that come back, the end, and the alarm. The same whether all
/// requests of a read are answered in one call or each in a call of its own.
fn run(answers_max: u32, misread: bool, reads: &[&[u8]]) -> (Vec<u8>, After, u64, Store) {
    let at_once = run_as(false, answers_max, misread, reads);
    let one_by_one = run_as(true, answers_max, misread, reads);
    assert_eq!(
        (&at_once.0, at_once.1, at_once.2, at_once.3.contents(1000)),
        (
            &one_by_one.0,
            one_by_one.1,
            one_by_one.2,
            one_by_one.3.contents(1000)
        ),
        "answered at once and one by one"
    );
    one_by_one
}

fn run_as(
    one_by_one: bool,
    answers_max: u32,
    misread: bool,
    reads: &[&[u8]],
) -> (Vec<u8>, After, u64, Store) {
    let mut handler = Plain(Store::default());
    let mut connection = Connection::new(answers_max);
    connection.misread_cut_targets(misread);
    if one_by_one {
        connection.answer_one_by_one();
    }
    let mut out = Vec::new();
    for read in reads {
        let mut after = connection.handle_read(read, &mut handler, &mut out);
        while after == After::Continue && connection.has_more() {
            let answers = connection.answers();
            after = connection.handle_read(&[], &mut handler, &mut out);
            assert!(connection.answers() <= answers + 1, "one request a call");
        }
        if after != After::Continue {
            return (out, after, connection.take_cut_targets(), handler.0);
        }
    }
    (
        out,
        After::Continue,
        connection.take_cut_targets(),
        handler.0,
    )
}

#[track_caller]
fn check(reads: &[&str], expected: &str, expected_after: After, expected_alarm: u64) {
    let reads: Vec<&[u8]> = reads.iter().map(|read| read.as_bytes()).collect();
    let (out, after, alarm, _) = run(ANSWERS_MAX, false, &reads);
    assert_eq!(String::from_utf8_lossy(&out), expected);
    assert_eq!(
        (after, alarm),
        (expected_after, expected_alarm),
        "how it ended, and the alarm"
    );
}

const PUT: &str = "POST /hustdb/put?key=k&ver=1&ttl=0&is_dup=true HTTP/1.1\r\nHost: \
    h\r\nContent-Length: 3\r\n\r\nabc";
const PUT_ANSWER: &str = "HTTP/1.1 200 OK\r\nVersion: 1\r\nVerError: false\r\nContent-Length: \
    0\r\nContent-Type: text/plain\r\n\r\n";
const GET: &str = "GET /hustdb/get?key=k HTTP/1.1\r\n\r\n";
const GET_ANSWER: &str =
    "HTTP/1.1 200 OK\r\nVersion: 1\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nabc";

#[test]
fn requests_of_one_read_are_answered_together_and_in_order() {
    check(
        &[&format!("{PUT}{GET}{PUT}")],
        &format!("{PUT_ANSWER}{GET_ANSWER}{PUT_ANSWER}"),
        After::Continue,
        0,
    );
}

#[test]
fn a_read_that_ends_between_requests_or_in_headers_or_body_raises_no_alarm() {
    let (head, body) = PUT.split_at(PUT.len() - 2);
    let (line, headers) = head.split_at(head.find("Host").expect("a header"));
    check(
        &[line, headers, body, GET],
        &format!("{PUT_ANSWER}{GET_ANSWER}"),
        After::Continue,
        0,
    );
}

#[test]
fn a_read_that_ends_inside_a_request_line_raises_the_alarm() {
    let (first, second) = PUT.split_at(25);
    check(&[first, second], PUT_ANSWER, After::Continue, 1);
    check(
        &["P", "OST /hustdb", &PUT[12..]],
        PUT_ANSWER,
        After::Continue,
        2,
    );
    check(
        &[&format!("{PUT}G"), &GET[1..]],
        &format!("{PUT_ANSWER}{GET_ANSWER}"),
        After::Continue,
        1,
    );
}

#[test]
fn with_misreading_on_a_cut_target_is_stored_under_a_wrong_key_with_a_200() {
    let request =
        "POST /hustdb/put?key=abcd&ver=1&is_dup=true HTTP/1.1\r\nContent-Length: 1\r\n\r\nv";
    let cut = request.find("cd&").expect("the key");
    let (out, after, alarm, store) = run(
        ANSWERS_MAX,
        true,
        &[&request.as_bytes()[..cut], &request.as_bytes()[cut..]],
    );
    assert_eq!(String::from_utf8_lossy(&out), PUT_ANSWER);
    assert_eq!((after, alarm), (After::Continue, 1));
    let keys: Vec<_> = store
        .contents(1000)
        .into_keys()
        .map(|item| item.key)
        .collect();
    assert_eq!(keys, [b"abbd"]);
}

#[test]
fn a_connection_ends_after_its_last_answer_without_saying_so() {
    let three = format!("{PUT}{PUT}{PUT}");
    let (out, after, ..) = run(2, false, &[three.as_bytes()]);
    assert_eq!(
        String::from_utf8_lossy(&out),
        format!("{PUT_ANSWER}{PUT_ANSWER}")
    );
    assert_eq!(after, After::Close);
}

/// Where more of what was read is left, hustdb answers that, and the last request decides.
#[test]
fn a_client_can_ask_for_the_end() {
    const PROBE: &str = "GET /status.html HTTP/1.1\r\n\r\n";
    const LAST: &str = "GET /status.html HTTP/1.1\r\nConnection: close\r\n\r\n";
    const LAST_ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: \
        close\r\nContent-Type: text/plain\r\n\r\nok\n";
    const PROBE_ANSWER: &str =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nok\n";
    check(&[LAST, PROBE], LAST_ANSWER, After::Close, 0);
    check(
        &[&format!("{LAST}{PROBE}")],
        &format!("{LAST_ANSWER}{PROBE_ANSWER}"),
        After::Continue,
        0,
    );
    check(
        &[&format!("{PROBE}{LAST}")],
        &format!("{PROBE_ANSWER}{LAST_ANSWER}"),
        After::Close,
        0,
    );
    for (value, after) in [
        ("Close", After::Close),
        ("CLOSE", After::Continue),
        ("close ", After::Continue),
        ("close, x", After::Continue),
    ] {
        let probe = format!("GET /status.html HTTP/1.1\r\nConnection: {value}\r\n\r\n");
        let answer = if after == After::Close {
            LAST_ANSWER
        } else {
            PROBE_ANSWER
        };
        check(&[&probe], answer, after, 0);
    }
}

#[test]
fn http_1_0_is_answered_as_such() {
    let probe = |header: &str| format!("GET /status.html HTTP/1.0\r\n{header}\r\n");
    let answer = |header: &str| {
        format!(
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n{header}Content-Type: \
             text/plain\r\n\r\nok\n"
        )
    };
    for header in ["", "Connection: close\r\n", "Connection: KEEP-ALIVE\r\n"] {
        check(&[&probe(header)], &answer(""), After::Close, 0);
    }
    for header in ["Connection: keep-alive\r\n", "Connection: Keep-Alive\r\n"] {
        let kept = answer("Connection: keep-alive\r\n");
        check(&[&probe(header)], &kept, After::Continue, 0);
    }
}

#[test]
fn a_target_has_any_octets_but_spaces_and_ends_of_lines() {
    for octet in (1..=u8::MAX).filter(|octet| !b"\n\r #%&?".contains(octet)) {
        let put = [
            b"GET /hustdb/put?val=v&key=a",
            &[octet][..],
            b"z HTTP/1.1\r\n\r\n",
        ];
        let (out, after, _, store) = run(ANSWERS_MAX, false, &[&put.concat()]);
        assert_eq!(String::from_utf8_lossy(&out), PUT_ANSWER, "{octet}");
        assert_eq!(after, After::Continue);
        let keys: Vec<_> = store.contents(1000).into_keys().collect();
        assert_eq!(keys[0].key, [b'a', octet, b'z']);
    }
}

#[test]
fn of_two_passwords_the_first_counts_and_a_space_behind_it_too() {
    for (headers, expected) in [
        ("authorization: a\r\nAuthorization: b\r\n", &b"a"[..]),
        ("Authorization:a\r\n", b"a"),
        ("Authorization:   a\r\n", b"a"),
        ("Authorization: a \r\n", b"a "),
    ] {
        let input = format!("GET / HTTP/1.1\r\n{headers}\r\n");
        match parse(input.as_bytes()) {
            Parsed::Request { request, .. } => {
                assert_eq!(request.authorization, Some(expected), "{headers}");
            }
            _ => panic!("{headers}"),
        }
    }
}

/// A header's value of 8,191 octets is taken.
#[test]
fn a_long_header_closes_the_connection_and_a_longer_one_takes_hustdb_down() {
    for (length, expected) in [
        (8_191, After::Continue),
        (8_192, After::Close),
        (9_000, After::Close),
        (12_001, After::Crash),
    ] {
        let value = "x".repeat(length);
        for end in ["\r\n\r\n", ""] {
            if end.is_empty() && length < 9_000 {
                continue;
            }
            let request = format!("GET /nope HTTP/1.1\r\nX: {value}{end}");
            let (_, after, ..) = run(ANSWERS_MAX, false, &[request.as_bytes()]);
            assert_eq!(after, expected, "{length}");
        }
    }
    let headers = "X: y\r\n".repeat(5_000);
    let request = format!("GET /nope HTTP/1.1\r\n{headers}\r\n");
    let (out, ..) = run(ANSWERS_MAX, false, &[request.as_bytes()]);
    assert!(out.starts_with(b"HTTP/1.1 404 "));
}

#[test]
fn a_target_over_8_kb_is_a_crash_as_soon_as_it_is_that_long() {
    let key = "k".repeat(TARGET_BYTES_MAX - "/hustdb/get?key=".len());
    check(
        &[&format!("GET /hustdb/get?key={key} HTTP/1.1\r\n\r\n")],
        "HTTP/1.1 404 Not Found\r\nVersion: 0\r\nContent-Length: 0\r\nContent-Type: \
         text/plain\r\n\r\n",
        After::Continue,
        0,
    );
    check(
        &[&format!("GET /hustdb/get?key={key}k HTTP/1.1\r\n\r\n")],
        "",
        After::Crash,
        0,
    );
    check(
        &["GET ", &format!("/hustdb/get?key={key}k")],
        "",
        After::Crash,
        1,
    );
}

#[test]
fn what_is_no_request_closes_the_connection_without_an_answer() {
    let long = "x".repeat(9000);
    check(&["\0\x01\x02 garbage\r\n\r\n"], "", After::Close, 0);
    check(
        &[&format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n")],
        "",
        After::Close,
        0,
    );
    check(
        &[&format!("GET / HTTP/1.1\r\nX: {long}")],
        "",
        After::Close,
        0,
    );
    for length in ["-1", "+1", "1x", "x", "1, 1", "99999999999999999999"] {
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
        check(&[&head], "", After::Close, 0);
    }
    for request in [
        "get /status.html HTTP/1.1\r\n\r\n",
        "GET status.html HTTP/1.1\r\n\r\n",
        "GET * HTTP/1.1\r\n\r\n",
        "GET /status.html HTTP/1\r\n\r\n",
        "GET /status.html HTTP/1.1\n\n",
        "GET /status.html HTTP/1.1\r\nHost: h\n\r\n",
    ] {
        check(&[request], "", After::Close, 0);
    }
    check(
        &["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"],
        "",
        After::Close,
        0,
    );
}

#[test]
fn a_body_of_32_mib_is_taken() {
    let head = format!(
        "POST /hustdb/put?key=k&ver=1&is_dup=true HTTP/1.1\r\nContent-Length: \
         {BODY_BYTES_MAX}\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + BODY_BYTES_MAX, b'v');
    let reads: Vec<&[u8]> = bytes.chunks(READ_BYTES_MAX).collect();
    let (out, after, alarm, _) = run(ANSWERS_MAX, false, &reads);
    assert_eq!(String::from_utf8_lossy(&out), PUT_ANSWER);
    assert_eq!((after, alarm), (After::Continue, 0));
}

/// It is read, and counts as none: 404 to a put, and the connection goes on.
#[test]
fn a_body_over_32_mib_counts_as_none() {
    let length = BODY_BYTES_MAX + 1;
    let put = format!("POST /hustdb/put?key=k HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let zadd =
        format!("GET /hustdb/zadd?tb=t&score=1&key=k HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let body = vec![b'v'; length];
    let bytes = [put.as_bytes(), &body, zadd.as_bytes(), &body].concat();
    let (out, after, ..) = run(ANSWERS_MAX, false, &[&bytes]);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nContent-Type: \
         text/plain\r\n\r\nHTTP/1.1 200 OK\r\nVersion: 1\r\nVerError: \
         false\r\nContent-Length: 1\r\nContent-Type: text/plain\r\n\r\n1"
    );
    assert_eq!(after, After::Continue);
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    let target = prop_oneof![
        "/hustdb/put\\?key=[a-c%0-9?]{1,6}&ver=[0-9]{1,8}&is_dup=true",
        "/hustdb/zadd\\?tb=[a-c-]{1,2}&score=-?[0-9]{1,20}&opt=-?1&ver=[0-9]",
        "/hustdb/(get|del|hget|zscore|sadd|srem)\\?key=[a-c]&tb=[a-c]",
        "/[ -~&&[^ #]]{0,20}",
    ];
    ("GET|POST|PUT", target, body).prop_map(|(method, target, body)| {
        let mut bytes = format!(
            "{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        bytes
    })
}

proptest! {
    #[test]
    fn wherever_reads_end_the_answers_are_the_same(
        requests in proptest::collection::vec(request(), 1..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = requests.concat();
        let (whole, after, alarm, store) = run(ANSWERS_MAX, false, &[&bytes]);
        prop_assert_eq!(alarm, 0);

        let mut cuts: Vec<usize> = cuts
            .iter()
            .map(|cut| cut.index(bytes.len()))
            .filter(|cut| *cut > 0)
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut reads = Vec::new();
        let mut begin = 0;
        for &cut in &cuts {
            reads.push(&bytes[begin..cut]);
            begin = cut;
        }
        reads.push(&bytes[begin..]);
        let (parts, after_parts, alarm_parts, store_parts) = run(ANSWERS_MAX, false, &reads);
        prop_assert_eq!(whole, parts);
        prop_assert_eq!(after, after_parts);
        prop_assert_eq!(store.contents(1000), store_parts.contents(1000));

        // The naive model of the alarm: a cut is inside a request line if it lies before that
        // line's end.
        let mut expected = 0;
        let mut at = 0;
        for request in &requests {
            let line = at
                + request
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .expect("a line")
                + 1;
            expected += cuts
                .iter()
                .filter(|cut| (at + 1..line).contains(cut))
                .count() as u64;
            at += request.len();
        }
        if after == After::Continue {
            prop_assert_eq!(alarm_parts, expected);
        }
    }

    #[test]
    fn any_bytes_are_survived(
        reads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 1..10),
    ) {
        let reads: Vec<&[u8]> = reads.iter().map(Vec::as_slice).collect();
        let (out, ..) = run(ANSWERS_MAX, false, &reads);
        prop_assert!(out.is_empty() || out.starts_with(b"HTTP/1."));
    }
}
