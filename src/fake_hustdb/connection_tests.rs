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

#[test]
fn a_client_can_ask_for_the_end() {
    check(
        &[
            "GET /status.html HTTP/1.1\r\nConnection: close\r\n\r\nGET /status.html \
             HTTP/1.1\r\n\r\n",
        ],
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\nContent-Type: \
         text/plain\r\n\r\nok\n",
        After::Close,
        0,
    );
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
    check(
        &["POST / HTTP/1.1\r\nContent-Length: 33554433\r\n\r\n"],
        "",
        After::Close,
        0,
    );
    check(
        &["POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"],
        "",
        After::Close,
        0,
    );
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
        prop_assert!(out.is_empty() || out.starts_with(b"HTTP/1.1 "));
    }
}
