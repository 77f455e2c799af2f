//! The fake HustDB over real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::*;

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long silence is listened to before it counts as silence.
const SILENCE: Duration = Duration::from_millis(150);

const OK: &str = "HTTP/1.1 200 OK\r\nVersion: 1\r\nVerError: false\r\nContent-Length: \
    0\r\nContent-Type: text/plain\r\n\r\n";
const PROBE: &str = "GET /status.html HTTP/1.1\r\n\r\n";
const PROBE_OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nok\n";

fn put(key: &str) -> String {
    format!(
        "POST /hustdb/put?key={key}&ver=1&ttl=0&is_dup=true HTTP/1.1\r\nHost: h\r\nContent-Length: \
         1\r\n\r\nv"
    )
}

fn start(options: Options) -> FakeHustdb {
    FakeHustdb::start(options).expect("a fake HustDB")
}

fn with_rule(rule: Rule) -> FakeHustdb {
    start(Options {
        script: Script::default().rule(rule),
        ..Options::default()
    })
}

fn connect(fake_hustdb: &FakeHustdb) -> TcpStream {
    let stream = TcpStream::connect(fake_hustdb.addr()).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn send(stream: &mut TcpStream, bytes: &str) {
    stream
        .write_all(bytes.as_bytes())
        .expect("the request to leave");
}

#[track_caller]
fn expect(stream: &mut TcpStream, expected: &str) {
    let mut found = vec![0; expected.len()];
    let read = stream.read_exact(&mut found);
    assert_eq!(
        String::from_utf8_lossy(&found),
        expected,
        "what came back ({read:?})"
    );
}

/// Sends `bytes` on a new connection and gives back that connection when `expected` has come back.
#[track_caller]
fn check(fake_hustdb: &FakeHustdb, bytes: &str, expected: &str) -> TcpStream {
    let mut stream = connect(fake_hustdb);
    send(&mut stream, bytes);
    expect(&mut stream, expected);
    stream
}

/// That the connection ends now, in whichever way.
#[track_caller]
fn expect_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(
            error.kind(),
            ErrorKind::ConnectionReset,
            "the end of a connection"
        ),
    }
    assert_eq!(
        String::from_utf8_lossy(&rest),
        "",
        "what came before the end"
    );
}

#[track_caller]
fn expect_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[track_caller]
fn expect_silence(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let error = stream.read(&mut [0; 1]).expect_err("silence");
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "silence, but: {error}"
    );
}

#[track_caller]
fn expect_refused(fake_hustdb: &FakeHustdb) {
    let error = TcpStream::connect(fake_hustdb.addr()).expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn keys(fake_hustdb: &FakeHustdb) -> Vec<String> {
    let name = |item: Item| String::from_utf8_lossy(&item.key).into_owned();
    fake_hustdb.contents().into_keys().map(name).collect()
}

#[test]
fn a_burst_is_carried_out_in_order_counted_and_remembered() {
    let fake_hustdb = start(Options {
        record_history: true,
        ..Options::default()
    });
    let burst = [put("b"), put("a"), put("b"), PROBE.to_owned()].concat();
    check(&fake_hustdb, &burst, &[OK, OK, OK, PROBE_OK].concat());

    let counters = fake_hustdb.counters();
    let expected = Counters {
        requests: 4,
        probes: 1,
        mutations: 3,
        applied: 3,
        duplicates: 1,
        accepted: 1,
        bytes_in: burst.len() as u64,
        ..Counters::default()
    };
    assert_eq!(
        Counters {
            open: 0,
            ..counters
        },
        expected
    );
    assert_eq!(keys(&fake_hustdb), ["a", "b"]);
    let order: Vec<_> = fake_hustdb
        .history()
        .into_iter()
        .map(|applied| applied.key)
        .collect();
    assert_eq!(order, [b"b", b"a", b"b"]);
    wait_until("the end of the connection", || {
        fake_hustdb.counters().open == 0
    });
}

#[test]
fn a_wrong_password_is_refused_and_can_be_changed_but_probes_need_none() {
    let fake_hustdb = start(Options {
        credentials: Some(("huststore".to_owned(), "huststore".to_owned())),
        ..Options::default()
    });
    let refused = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic \
        realm=\"libevhtp\"\r\nContent-Type: text/plain\r\n\r\n";
    let authorized = put("k").replace(
        "Host: h",
        "Authorization: Basic aHVzdHN0b3JlOmh1c3RzdG9yZQ==",
    );
    let mut stream = check(&fake_hustdb, &put("k"), refused);
    send(&mut stream, PROBE);
    expect(&mut stream, PROBE_OK);
    send(&mut stream, &authorized);
    expect(&mut stream, OK);

    fake_hustdb
        .set_credentials(Some(("huststore", "other")))
        .expect("another password");
    send(&mut stream, &authorized);
    expect(&mut stream, refused);
    fake_hustdb.set_credentials(None).expect("no password");
    send(&mut stream, &put("k"));
    expect(&mut stream, OK);
}

#[test]
fn killed_it_refuses_and_restarted_it_has_its_port_and_its_data() {
    let fake_hustdb = start(Options::default());
    let mut stream = check(&fake_hustdb, &put("k"), OK);
    fake_hustdb.kill().expect("its end");
    expect_end(&mut stream);
    expect_refused(&fake_hustdb);
    assert_eq!(fake_hustdb.counters().open, 0);

    fake_hustdb.restart().expect("its return");
    check(&fake_hustdb, PROBE, PROBE_OK);
    assert_eq!(keys(&fake_hustdb), ["k"]);
}

#[test]
fn dropped_it_is_gone() {
    let fake_hustdb = start(Options {
        threads: 2,
        ..Options::default()
    });
    let addr = fake_hustdb.addr();
    let mut stream = check(&fake_hustdb, PROBE, PROBE_OK);
    drop(fake_hustdb);
    expect_end(&mut stream);
    let error = TcpStream::connect(addr).expect_err("a refusal");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn new_connections_can_be_refused_while_old_ones_go_on() {
    let fake_hustdb = start(Options::default());
    let mut stream = check(&fake_hustdb, PROBE, PROBE_OK);
    fake_hustdb
        .script(|script| script.accept = Accept::Refuse)
        .expect("a script");
    expect_refused(&fake_hustdb);
    send(&mut stream, PROBE);
    expect(&mut stream, PROBE_OK);
    fake_hustdb.set_script(Script::default()).expect("a script");
    check(&fake_hustdb, PROBE, PROBE_OK);
}

#[test]
fn new_connections_can_be_reset() {
    let fake_hustdb = start(Options {
        script: Script::default().accept(Accept::Reset),
        ..Options::default()
    });
    expect_reset(&mut connect(&fake_hustdb));
}

#[test]
fn a_reset_after_some_requests_comes_before_or_after_applying() {
    let fake_hustdb = with_rule(Rule::new(On::Mutations, Act::Reset).after(1).times(1));
    let mut stream = check(&fake_hustdb, &put("a"), OK);
    send(&mut stream, &put("b"));
    expect_reset(&mut stream);
    assert_eq!(keys(&fake_hustdb), ["a"]);

    let fake_hustdb = with_rule(
        Rule::new(On::Mutations, Act::Reset)
            .after(1)
            .times(1)
            .applied(),
    );
    let mut stream = check(&fake_hustdb, &put("a"), OK);
    send(&mut stream, &[put("b"), put("c")].concat());
    expect_reset(&mut stream);
    assert_eq!(keys(&fake_hustdb), ["a", "b"]);
    check(&fake_hustdb, &put("c"), OK);
}

#[test]
fn an_answer_can_be_cut_or_missing_or_without_end() {
    let fake_hustdb = with_rule(Rule::new(On::Mutations, Act::Cut(20)).applied());
    let mut stream = check(&fake_hustdb, &put("a"), &OK[..20]);
    expect_end(&mut stream);
    assert_eq!(keys(&fake_hustdb), ["a"]);

    let fake_hustdb = with_rule(Rule::new(On::Mutations, Act::Half));
    let mut stream = check(
        &fake_hustdb,
        &[PROBE, &put("a")].concat(),
        &[PROBE_OK, &OK[..OK.len() / 2]].concat(),
    );
    expect_silence(&mut stream);
    assert!(fake_hustdb.contents().is_empty());

    let fake_hustdb = with_rule(Rule::new(On::Mutations, Act::Silence));
    expect_silence(&mut check(
        &fake_hustdb,
        &[PROBE, &put("a"), PROBE].concat(),
        PROBE_OK,
    ));

    let fake_hustdb = with_rule(Rule::new(On::Mutations, Act::EndlessHeader));
    let mut stream = check(
        &fake_hustdb,
        &put("a"),
        "HTTP/1.1 200 OK\r\nVersion: 1\r\nX-Filler: ",
    );
    let mut much = vec![0; 8 << 20];
    stream
        .read_exact(&mut much)
        .expect("a header of more than 8 MB");
    assert!(
        !much.windows(4).any(|window| window == b"\r\n\r\n"),
        "the header has an end"
    );
}

#[test]
fn an_answer_can_be_garbage_or_a_page() {
    let fake_hustdb = with_rule(Rule::new(On::Everything, Act::garbage()));
    let mut first = [0; 4];
    let mut stream = connect(&fake_hustdb);
    send(&mut stream, PROBE);
    stream.read_exact(&mut first).expect("garbage");
    assert_ne!(&first, b"HTTP");

    let fake_hustdb = with_rule(Rule::new(On::Everything, Act::html()));
    check(
        &fake_hustdb,
        PROBE,
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\n",
    );
}

#[test]
fn some_requests_can_get_a_status_while_the_others_are_fine() {
    let fake_hustdb = with_rule(Rule::new(On::Mutations, Act::status(403)).times(2));
    let forbidden =
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nContent-Type: text/plain\r\n\r\n";
    let requests = [&put("a"), PROBE, &put("a"), &put("a")].concat();
    check(
        &fake_hustdb,
        &requests,
        &[forbidden, PROBE_OK, forbidden, OK].concat(),
    );

    let fake_hustdb = with_rule(Rule::new(
        On::KeyPrefix(b"poison".to_vec()),
        Act::status(500),
    ));
    let broken = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nContent-Type: \
        text/plain\r\n\r\n";
    check(
        &fake_hustdb,
        &[put("poison%31"), put("pois")].concat(),
        &[broken, OK].concat(),
    );
    assert_eq!(keys(&fake_hustdb), ["pois"]);
}

#[test]
fn answers_can_be_late() {
    let fake_hustdb = start(Options {
        script: Script::default()
            .answer_delay(Duration::from_millis(30))
            .burst_delay(Duration::from_millis(20)),
        ..Options::default()
    });
    let begun = Instant::now();
    let mut stream = check(
        &fake_hustdb,
        &[put("a"), put("b")].concat(),
        &[OK, OK].concat(),
    );
    assert!(
        begun.elapsed() >= Duration::from_millis(80),
        "answered after {:?}",
        begun.elapsed()
    );
    fake_hustdb.set_script(Script::default()).expect("a script");
    send(&mut stream, PROBE);
    expect(&mut stream, PROBE_OK);
}

/// How long the answers to a burst take, and in how many pieces they were read.
fn burst(fake_hustdb: &FakeHustdb, count: usize) -> (Duration, usize) {
    let mut stream = connect(fake_hustdb);
    let begun = Instant::now();
    send(&mut stream, &put("a").repeat(count));
    let (mut left, mut pieces) = (OK.len() * count, 0);
    let mut buffer = [0; 4096];
    while left > 0 {
        let read = stream.read(&mut buffer).expect("answers");
        assert_ne!(read, 0, "the connection ended");
        left -= read;
        pieces += 1;
    }
    (begun.elapsed(), pieces)
}

#[test]
fn each_answer_is_a_write_of_its_own_and_takes_its_time() {
    const COUNT: usize = 12;
    let fake_hustdb = start(Options::default());
    // Whoever reads late on a busy machine finds several answers: so the best of many bursts
    // counts.
    let bursts: Vec<_> = (0..50).map(|_| burst(&fake_hustdb, COUNT)).collect();
    let least = SERVICE_TIME * u32::try_from(COUNT).unwrap();
    assert!(bursts.iter().all(|(took, _)| *took >= least), "{bursts:?}");
    assert!(
        bursts.iter().any(|(_, pieces)| *pieces > COUNT / 2),
        "{bursts:?}"
    );

    let fake_hustdb = start(Options::at_once());
    assert!((0..50).all(|_| burst(&fake_hustdb, COUNT).1 == 1));
}

#[test]
fn a_connection_with_a_long_burst_does_not_hold_up_another_of_its_thread() {
    let fake_hustdb = start(Options {
        threads: 1,
        ..Options::default()
    });
    let mut long = check(&fake_hustdb, PROBE, PROBE_OK);
    let mut short = check(&fake_hustdb, PROBE, PROBE_OK);
    // Half a second of work, of which nothing is in one read.
    let count = 20_000;
    let sender = std::thread::spawn(move || {
        let mut reader = long.try_clone().expect("another handle");
        let answers = std::thread::spawn(move || expect(&mut reader, &OK.repeat(count)));
        send(&mut long, &put("a").repeat(count));
        answers.join().expect("all answers");
    });
    wait_until("the beginning", || fake_hustdb.counters().applied > 0);
    send(&mut short, PROBE);
    expect(&mut short, PROBE_OK);
    assert!(fake_hustdb.counters().applied < count as u64);
    sender.join().expect("all was sent");
}

#[test]
fn a_target_that_arrives_in_two_reads_raises_the_alarm() {
    let fake_hustdb = start(Options::default());
    let mut stream = connect(&fake_hustdb);
    let request = put("key");
    send(&mut stream, &request[..20]);
    wait_until("the first read", || fake_hustdb.counters().bytes_in == 20);
    send(&mut stream, &request[20..]);
    expect(&mut stream, OK);
    assert_eq!(fake_hustdb.counters().cut_targets, 1);
}

#[test]
fn a_burst_of_4096_bytes_arrives_in_one_read() {
    let fake_hustdb = start(Options::default());
    let one = put("a");
    let mut burst = one.repeat(4096 / one.len() - 1);
    let count = burst.len() / one.len() + 1;
    burst.push_str(&put(&"k".repeat(4096 - burst.len() - put("").len())));
    assert_eq!(burst.len(), 4096);
    check(&fake_hustdb, &burst, &OK.repeat(count));
    assert_eq!(fake_hustdb.counters().cut_targets, 0);
}

#[test]
fn a_burst_beyond_4096_bytes_is_cut_by_the_read() {
    let fake_hustdb = start(Options::default());
    // The first request ends twenty bytes before the read does, so the read ends inside the second
    // one's target.
    let first = put(&"k".repeat(4076 - put("").len()));
    check(
        &fake_hustdb,
        &[first, put("b")].concat(),
        &[OK, OK].concat(),
    );
    assert_eq!(fake_hustdb.counters().cut_targets, 1);
}

#[test]
fn a_target_over_8_kb_takes_all_connections_down() {
    let fake_hustdb = start(Options {
        threads: 2,
        ..Options::default()
    });
    let mut others: Vec<_> = (0..4)
        .map(|_| check(&fake_hustdb, PROBE, PROBE_OK))
        .collect();
    let mut stream = connect(&fake_hustdb);
    send(&mut stream, &put(&"k".repeat(9000)));
    expect_end(&mut stream);
    others.iter_mut().for_each(expect_end);
    assert_eq!(fake_hustdb.counters().crashes, 1);
    check(&fake_hustdb, PROBE, PROBE_OK);
}

#[test]
fn a_connection_ends_after_its_last_answer() {
    let fake_hustdb = start(Options {
        requests_per_connection: 3,
        ..Options::default()
    });
    let mut stream = check(
        &fake_hustdb,
        &[put("a"), put("b")].concat(),
        &[OK, OK].concat(),
    );
    send(&mut stream, &[put("c"), put("d")].concat());
    expect(&mut stream, OK);
    expect_end(&mut stream);
    assert_eq!(keys(&fake_hustdb), ["a", "b", "c"]);
}

#[test]
fn while_its_clock_stands_at_zero_a_write_with_a_ttl_is_answered_and_gone() {
    let fake_hustdb = start(Options {
        clock_zero_for: PATIENCE,
        ..Options::default()
    });
    let with_ttl = put("short").replace("ttl=0", "ttl=1000");
    check(
        &fake_hustdb,
        &[with_ttl.clone(), put("long")].concat(),
        &[OK, OK].concat(),
    );
    assert_eq!(keys(&fake_hustdb), ["long"]);

    let fake_hustdb = start(Options::default());
    check(&fake_hustdb, &with_ttl, OK);
    let contents = fake_hustdb.contents();
    let expires = contents.values().next().expect("a key").expires_unix;
    assert!(
        expires.abs_diff(now_unix() + 1000) <= PATIENCE.as_secs(),
        "it ends at {expires}"
    );
}

#[test]
fn several_threads_serve_one_store() {
    let fake_hustdb = start(Options {
        threads: 3,
        ..Options::default()
    });
    std::thread::scope(|scope| {
        for client in 0..6 {
            let fake_hustdb = &fake_hustdb;
            scope.spawn(move || {
                let mut stream = connect(fake_hustdb);
                for n in 0..50 {
                    let sadd = format!(
                        "POST /hustdb/sadd?ver=1&tb=t{}&is_dup=true HTTP/1.1\r\nContent-Length: \
                         4\r\n\r\n{client}-{n:02}",
                        n % 5
                    );
                    send(&mut stream, &[put(&format!("{client}-{n}")), sadd].concat());
                    expect(&mut stream, &[OK, OK].concat());
                }
            });
        }
    });
    assert_eq!(fake_hustdb.contents().len(), 600);
    assert_eq!(fake_hustdb.counters().applied, 600);
    let get = |key: &str| {
        fake_hustdb.apply(&Request::new(
            Method::Get,
            format!("/hustdb/get?key={key}").as_bytes(),
            b"",
        ))
    };
    assert_eq!(get("5-49").status, 200);
    assert_eq!(get("5-50").status, 404);
}

#[test]
fn a_large_value_comes_back_whole() {
    let fake_hustdb = start(Options::default());
    let value: String = (0..3_000_000u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let request = format!(
        "POST /hustdb/put?key=k&ver=1&is_dup=true HTTP/1.1\r\nContent-Length: {}\r\n\r\n{value}",
        value.len()
    );
    let mut stream = check(&fake_hustdb, &request, OK);
    send(&mut stream, "GET /hustdb/get?key=k HTTP/1.1\r\n\r\n");
    let head = format!(
        "HTTP/1.1 200 OK\r\nVersion: 1\r\nContent-Length: {}\r\nContent-Type: text/plain\r\n\r\n",
        value.len()
    );
    expect(&mut stream, &[head, value].concat());
}

#[test]
fn a_port_is_one_fake_hustdbs_also_after_restarts() {
    let fake_hustdb = start(Options::default());
    for _ in 0..3 {
        let options = Options {
            listen: fake_hustdb.addr(),
            ..Options::default()
        };
        assert!(FakeHustdb::start(options).is_err());
        fake_hustdb.restart().unwrap();
    }
}
