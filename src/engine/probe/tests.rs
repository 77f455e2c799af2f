//! Probes of peers on loopback that answer by script.

use std::net::{Shutdown, TcpListener};
use std::sync::mpsc;
use std::thread;

use mio::{Events, Poll};

use super::*;
use crate::engine::clock::Clock;

const LIMITS: ProbeLimits = ProbeLimits {
    connect_timeout: Duration::from_secs(60),
    response_timeout: Duration::from_secs(60),
    requests_per_connection: 1000,
};
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n\r\nok\n";
const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: Basic \
    realm=\"libevhtp\"\r\n\r\n";

/// What a scripted peer does with a request.
#[derive(Clone)]
enum Act {
    Answer(String),
    AnswerAndClose(String),
    /// The same when the test says so.
    AnswerAndCloseOnSignal(String),
    Hangup,
    /// A header without end.
    Endless,
    /// Nothing, until the other side closes.
    Silence,
    /// Closes the connection when the test says so, without a request.
    CloseOnSignal,
}

/// A peer that takes connections one after the other and acts for each request.
struct Peer {
    address: SocketAddr,
    requests: mpsc::Receiver<String>,
    close: mpsc::Sender<()>,
}

impl Peer {
    fn start(connections: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (said, requests) = mpsc::channel();
        let (close, closing) = mpsc::channel();
        thread::spawn(move || {
            for acts in connections {
                let (stream, _) = listener.accept().unwrap();
                serve(stream, acts, &said, &closing);
            }
        });
        Self {
            address,
            requests,
            close,
        }
    }
}

fn serve(
    mut stream: std::net::TcpStream,
    acts: Vec<Act>,
    said: &mpsc::Sender<String>,
    closing: &mpsc::Receiver<()>,
) {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    for act in acts {
        if matches!(act, Act::CloseOnSignal) {
            let _ = closing.recv();
            return;
        }
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => request.push(byte[0]),
                _ => return,
            }
        }
        let _ = said.send(String::from_utf8(request).unwrap());
        match act {
            Act::Answer(answer) => stream.write_all(answer.as_bytes()).unwrap(),
            Act::AnswerAndClose(answer) => {
                stream.write_all(answer.as_bytes()).unwrap();
                return;
            }
            Act::AnswerAndCloseOnSignal(answer) => {
                let _ = closing.recv();
                stream.write_all(answer.as_bytes()).unwrap();
                return;
            }
            Act::Hangup => {
                stream.shutdown(Shutdown::Both).unwrap();
                return;
            }
            Act::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").unwrap();
                while stream.write_all(&[b'y'; 1000]).is_ok() {}
            }
            Act::Silence | Act::CloseOnSignal => {
                let _ = stream.read(&mut byte);
            }
        }
    }
    // Until the other side closes.
    let _ = stream.read(&mut [0]);
}

/// A probe with its own reactor.
struct Bench {
    poll: Poll,
    probe: Probe,
    clock: Clock,
    address: SocketAddr,
    limits: ProbeLimits,
}

impl Bench {
    fn new(address: SocketAddr, limits: ProbeLimits) -> Self {
        Self {
            poll: Poll::new().unwrap(),
            probe: Probe::new("db.example:9998", Token(0)),
            clock: Clock::default(),
            address,
            limits,
        }
    }

    fn ask(&mut self, credentials: Option<&str>) -> ProbeResult {
        let now = self.clock.now();
        let registry = self.poll.registry();
        let at_once = self
            .probe
            .begin(credentials, self.address, self.limits, registry, now);
        at_once.unwrap_or_else(|| self.wait())
    }

    /// The next result; fails the test when there is none for long.
    fn wait(&mut self) -> ProbeResult {
        let mut events = Events::with_capacity(8);
        let give_up = self.clock.now().after(Duration::from_secs(90));
        loop {
            let now = self.clock.now();
            assert!(now.monotonic < give_up, "a result in time");
            if let Some(result) = self.probe.handle_deadline(now) {
                return result;
            }
            let until = self.probe.deadline().unwrap_or(give_up).min(give_up);
            self.poll
                .poll(&mut events, Some(until.saturating_sub(now.monotonic)))
                .unwrap();
            for event in &events {
                if let Some(result) = self.probe.handle_event(event, self.clock.now()) {
                    return result;
                }
            }
        }
    }
}

fn good() -> ProbeResult {
    ProbeResult::Good { watched: true }
}

fn bad(why: &str) -> ProbeResult {
    ProbeResult::Bad(why.to_owned())
}

/// What one probe of a fresh connection that acts so results in.
fn check(act: Act, expected: &ProbeResult) {
    check_within(LIMITS.response_timeout, act, expected);
}

/// The same where it is waited for no longer than this.
fn check_within(response_timeout: Duration, act: Act, expected: &ProbeResult) {
    let peer = Peer::start(vec![vec![act]]);
    let limits = ProbeLimits {
        response_timeout,
        ..LIMITS
    };
    assert_eq!(Bench::new(peer.address, limits).ask(None), *expected);
}

#[test]
fn only_200_with_exactly_ok_is_good() {
    check(Act::Answer(OK.into()), &good());
    check(
        Act::Answer(OK.replace("200 OK", "503 Busy")),
        &bad("/status.html is answered 503, not 200"),
    );
    check(
        Act::Answer(OK.replace("ok\n", "OK\n")),
        &bad("/status.html is answered \"OK\\n\", not \"ok\\n\": is it a hustdb?"),
    );
    check(
        Act::Answer(format!("{OK}more")),
        &bad("it sends more than it was asked for"),
    );
}

#[test]
fn what_is_no_answer_says_which_way() {
    let none_of_a_hustdb = "its answer to the probe is none of a hustdb: ";
    check(
        Act::Answer("<html><body>It works!</body></html>".into()),
        &bad(&format!(
            "{none_of_a_hustdb}the answer is no HTTP/1.1: its version"
        )),
    );
    check(
        Act::Answer("HTTP/1.1 200 OK\r\nContent-Length: 3221225472\r\n\r\n".into()),
        &bad(&format!(
            "{none_of_a_hustdb}the answer is larger than 65536 bytes"
        )),
    );
    check(
        Act::Endless,
        &bad(&format!(
            "{none_of_a_hustdb}the answer is larger than 65536 bytes"
        )),
    );
    check_within(
        Duration::from_millis(300),
        Act::Silence,
        &ProbeResult::Silent("it did not answer its probe within 300ms".to_owned()),
    );
    // So long that the half comes within it, however busy the machine is.
    check_within(
        Duration::from_secs(2),
        Act::Answer(OK[..30].into()),
        &bad("it sent only half an answer to its probe within 2s"),
    );
    check(
        Act::AnswerAndClose(OK[..30].into()),
        &bad("only half an answer to the probe: it closed the connection"),
    );
    check(
        Act::Hangup,
        &ProbeResult::Closed("no answer to the probe: it closed the connection".to_owned()),
    );
}

/// The event that makes the connection tells of its end, too, and no other one comes.
#[test]
fn a_new_connection_whose_other_side_ends_before_it_is_asked_is_closed_and_not_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bench = Bench::new(
        listener.local_addr().unwrap(),
        ProbeLimits {
            response_timeout: Duration::from_secs(2),
            ..LIMITS
        },
    );
    let (now, registry) = (bench.clock.now(), bench.poll.registry());
    let begun = bench
        .probe
        .begin(None, bench.address, bench.limits, registry, now);
    assert_eq!(begun, None);
    let (peer, _) = listener.accept().unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let closed = ProbeResult::Closed("no answer to the probe: it closed the connection".to_owned());
    assert_eq!(bench.wait(), closed);
}

#[test]
fn nobody_there_is_a_bad_probe() {
    // And nobody is given that port who asks for any.
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let ProbeResult::Closed(why) = Bench::new(address, LIMITS).ask(None) else {
        panic!("nobody listens there");
    };
    assert!(
        why.starts_with("no connection: ") && why.contains("refused"),
        "{why}"
    );
}

#[test]
fn a_connection_is_kept_and_its_loss_told() {
    let peer = Peer::start(vec![vec![
        Act::Answer(OK.into()),
        Act::Answer(OK.into()),
        Act::CloseOnSignal,
    ]]);
    let mut bench = Bench::new(peer.address, LIMITS);
    assert_eq!(bench.ask(None), good());
    assert_eq!(bench.ask(None), good());
    peer.close.send(()).unwrap();
    assert_eq!(bench.wait(), ProbeResult::Lost);
    assert_eq!(
        peer.requests.recv().unwrap(),
        "GET /status.html HTTP/1.1\r\nHost: db.example:9998\r\n\r\n"
    );
}

#[test]
fn a_kept_connection_that_ends_before_its_answer_is_lost_not_bad() {
    let peer = Peer::start(vec![
        vec![Act::Answer(OK.into()), Act::Hangup],
        vec![Act::Answer(OK.into())],
    ]);
    let mut bench = Bench::new(peer.address, LIMITS);
    assert_eq!(bench.ask(None), good());
    assert_eq!(bench.ask(None), ProbeResult::Lost);
    assert_eq!(bench.ask(None), good());
}

/// As when a backend restarts just behind its answer, and control has its turn after that.
#[test]
fn a_kept_connection_whose_end_comes_with_its_answer_is_lost() {
    let peer = Peer::start(vec![
        vec![
            Act::Answer(OK.into()),
            Act::AnswerAndCloseOnSignal(OK.into()),
        ],
        vec![Act::Answer(OK.into())],
    ]);
    let mut bench = Bench::new(peer.address, LIMITS);
    assert_eq!(bench.ask(None), good());
    let (registry, now) = (bench.poll.registry(), bench.clock.now());
    let begun = bench.probe.begin(None, peer.address, LIMITS, registry, now);
    assert_eq!(begun, None);
    peer.close.send(()).unwrap();
    // It answers on the next connection once it has closed this one.
    let mut next = std::net::TcpStream::connect(peer.address).unwrap();
    next.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    next.read_exact(&mut [0]).unwrap();
    assert_eq!(bench.wait(), ProbeResult::Lost);
}

#[test]
fn a_connection_is_retired_and_one_that_says_close_is_not_kept() {
    let unwatched = ProbeResult::Good { watched: false };
    let closing = OK.replace("Content-Type", "Connection: close\r\nContent-Type");
    let peer = Peer::start(vec![
        vec![Act::Answer(OK.into()), Act::Answer(OK.into())],
        vec![Act::Answer(closing)],
        vec![Act::Answer(OK.into())],
    ]);
    let limits = ProbeLimits {
        requests_per_connection: 2,
        ..LIMITS
    };
    let mut bench = Bench::new(peer.address, limits);
    assert_eq!(bench.ask(None), good());
    assert_eq!(bench.ask(None), unwatched);
    assert_eq!(bench.ask(None), unwatched);
    assert_eq!(bench.ask(None), good());
}

/// No event tells of what is there already.
#[test]
fn a_connection_is_not_kept_where_an_answer_fills_the_buffer_and_more_may_be_behind_it() {
    let filler = "y".repeat(4096 - OK.len() - "X: \r\n".len());
    let full = OK.replace("Content-Type", &format!("X: {filler}\r\nContent-Type"));
    assert_eq!(full.len(), 4096);
    let unwatched = ProbeResult::Good { watched: false };
    check(Act::Answer(format!("{full}more")), &unwatched);
}

#[test]
fn a_peer_that_closes_after_every_answer_is_in_the_end_not_kept() {
    let connections = vec![vec![Act::Answer(OK.into()), Act::CloseOnSignal]; 4];
    let peer = Peer::start(connections);
    let mut bench = Bench::new(peer.address, LIMITS);
    for _ in 0..3 {
        assert_eq!(bench.ask(None), good());
        peer.close.send(()).unwrap();
        assert_eq!(bench.wait(), ProbeResult::Lost);
    }
    assert_eq!(bench.ask(None), ProbeResult::Good { watched: false });
}

#[test]
fn a_probe_that_is_called_off_has_no_result_and_the_next_one_has() {
    let peer = Peer::start(vec![vec![Act::Silence], vec![Act::Answer(OK.into())]]);
    let mut bench = Bench::new(peer.address, LIMITS);
    let now = bench.clock.now();
    let begun = bench
        .probe
        .begin(None, peer.address, LIMITS, bench.poll.registry(), now);
    assert_eq!(begun, None);
    bench.probe.close();
    assert_eq!(bench.probe.deadline(), None);
    assert_eq!(bench.ask(None), good());
}

#[test]
fn the_password_is_asked_for_with_a_request_that_changes_nothing() {
    let version = "HTTP/1.1 404 Not Found\r\nVersion: 0\r\nContent-Length: 0\r\n\r\n";
    let invalid = "HTTP/1.1 401 Unauthorized\r\nVersion: 0\r\nContent-Length: 0\r\n\r\n";
    let peer = Peer::start(vec![vec![
        Act::Answer(REFUSED.into()),
        Act::Answer(version.into()),
        Act::Answer(invalid.into()),
    ]]);
    let mut bench = Bench::new(peer.address, LIMITS);
    assert_eq!(bench.ask(Some("dTpw")), ProbeResult::Refused);
    assert_eq!(bench.ask(Some("dTpw")), good());
    assert_eq!(bench.ask(Some("dTpw")), good());
    assert_eq!(
        peer.requests.recv().unwrap(),
        "GET /hustdb/zscore?tb=hustdbsync_probe&key=probe HTTP/1.1\r\nHost: \
         db.example:9998\r\nAuthorization: Basic dTpw\r\n\r\n"
    );
}
