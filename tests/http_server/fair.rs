//! HA's poll beside others on its host who ask for more than it does: it is never held back.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hustdbsync::internals::clock::Now;
use hustdbsync::internals::engine::listener::{Answers, Listener, ListenerOptions};
use hustdbsync::internals::http::answer::{Answer, ClientId, Status};
use hustdbsync::internals::http::request::Request;
use hustdbsync::internals::limits::{
    HTTP_SENT_PER_TURN_BYTES, HTTP_WORK_BODY_BYTES, HTTP_WORK_PER_TURN,
};
use mio::{Events, Poll, Token};

use crate::http_server::server::{Client, HttpServer, RIGHT, options};

/// What the server works for others while a poll waits, in CPU time: how long a poll takes hangs on
/// the cores that are left to it, as the clients have a hundred threads and the machine may be busy
/// with other tests. Behind the fifty a poll took 5.3 s of a core, and behind the two it failed
/// after 8 s.
const WORK_MAX: Duration = Duration::from_secs(1);
/// How long it is polled.
const ABUSE: Duration = Duration::from_secs(5);

/// Clients that pipeline one request without an end, and read what they are answered.
struct Flood {
    stop: Arc<AtomicBool>,
    answer_bytes: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    fn start(address: SocketAddr, clients: usize, request: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answer_bytes = Arc::new(AtomicU64::new(0));
        let clients = (0..clients).flat_map(|_| {
            let stream = TcpStream::connect(address).unwrap();
            let (reader, writer) = (stream.try_clone().unwrap(), stream);
            let (reads, writes) = (Arc::clone(&stop), Arc::clone(&stop));
            let bytes = Arc::clone(&answer_bytes);
            let requests = request.repeat(64);
            [
                std::thread::spawn(move || read(reader, &reads, &bytes)),
                std::thread::spawn(move || write(writer, requests.as_bytes(), &writes)),
            ]
        });
        let threads = clients.collect();
        Self {
            stop,
            answer_bytes,
            threads,
        }
    }

    /// Ends it; gives the bytes that it was answered.
    fn end(self) -> u64 {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.answer_bytes.load(Relaxed)
    }
}

fn read(mut stream: TcpStream, stop: &AtomicBool, bytes: &AtomicU64) {
    let tick = Some(Duration::from_millis(100));
    stream.set_read_timeout(tick).unwrap();
    let mut piece = vec![0; 64 * 1024];
    while !stop.load(Relaxed) {
        match stream.read(&mut piece) {
            Ok(0) => return,
            Ok(some) => drop(bytes.fetch_add(some as u64, Relaxed)),
            Err(_) => {}
        }
    }
}

fn write(mut stream: TcpStream, requests: &[u8], stop: &AtomicBool) {
    let tick = Some(Duration::from_millis(100));
    stream.set_write_timeout(tick).unwrap();
    // Where the last write ended within a request, the next goes on there.
    let mut at = 0;
    while !stop.load(Relaxed) {
        if let Ok(some) = stream.write(&requests[at..]) {
            at = (at + some) % requests.len();
        }
    }
}

/// HA polls on the connection that it keeps and on new ones, while others flood.
#[track_caller]
fn check(backends: usize, clients: usize, request: &str) {
    let http_server = HttpServer::open_with_backends(options(), backends);
    let mut ha: Client = http_server.client();
    ha.send(b"GET /status.html HTTP/1.1\r\n\r\n");
    ha.answer();
    let flood = Flood::start(http_server.address, clients, request);
    std::thread::sleep(Duration::from_millis(500));
    let (begun, mut slowest, mut polls) = (Instant::now(), Duration::ZERO, 0);
    let mut most_work = Duration::ZERO;
    let poll = format!("GET /sync_status?backend_count=1 HTTP/1.1\r\n{RIGHT}\r\n");
    while begun.elapsed() < ABUSE {
        for is_new in [false, true] {
            let (asked, worked) = (Instant::now(), http_server.cpu_time());
            let answer = if is_new {
                http_server.ask(&poll)
            } else {
                ha.send(poll.as_bytes());
                ha.answer()
            };
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            slowest = slowest.max(asked.elapsed());
            most_work = most_work.max(http_server.cpu_time() - worked);
            polls += 1;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let flooded = flood.end();
    eprintln!(
        "{clients} × {request:?}: {polls} polls, the slowest took {slowest:?}, with at most \
         {most_work:?} of work; the flood got {flooded} bytes"
    );
    assert!(most_work < WORK_MAX, "a poll took {most_work:?} of work");
    assert!(flooded > 0, "the others are answered, too");
}

#[test]
fn fifty_clients_that_pipeline_do_not_hold_up_a_poll() {
    check(2, 50, "GET /status.html HTTP/1.1\r\n\r\n");
}

#[test]
fn two_clients_that_pipeline_the_metrics_of_500_backends_do_not_hold_up_a_poll() {
    check(500, 2, &format!("GET /metrics HTTP/1.1\r\n{RIGHT}\r\n"));
}

#[test]
fn twenty_clients_that_come_again_for_the_metrics_of_500_backends_do_not_hold_up_a_poll() {
    check(500, 20, &format!("GET /metrics HTTP/1.1\r\n{RIGHT}\r\n"));
}

/// About the metrics of 500 backends.
const LONG_BYTES: usize = 3 << 20;

/// Answers that count what is asked of them.
struct Counted {
    long: Vec<u8>,
    longs: usize,
    polls: usize,
}

impl Answers for Counted {
    fn is_long(&self, request: &Request<'_>) -> bool {
        request.path == b"/long"
    }

    fn answer<'a>(
        &'a mut self,
        _: ClientId,
        _: IpAddr,
        request: &Request<'_>,
        _: Now,
    ) -> Option<Answer<'a>> {
        if self.is_long(request) {
            self.longs += 1;
            return Some(Answer::text(Status::Ok, &self.long));
        }
        self.polls += 1;
        Some(Answer::text(Status::Ok, b"ok\n"))
    }
}

/// A server whose turns and whose time are the test's.
struct Stage {
    poll: Poll,
    listener: Listener,
    answers: Counted,
    now: Now,
}

impl Stage {
    fn new() -> Self {
        let poll = Poll::new().unwrap();
        let options = ListenerOptions {
            unsent_bytes_max: 1 << 30,
            ..options()
        };
        let listener =
            Listener::bind(options, Box::new(|_| true), poll.registry(), Token(0)).unwrap();
        let answers = Counted {
            long: vec![b'x'; LONG_BYTES],
            longs: 0,
            polls: 0,
        };
        let now = Now::new(Duration::from_secs(100), 100);
        Self {
            poll,
            listener,
            answers,
            now,
        }
    }

    /// One turn; gives how many long answers it had.
    fn turn(&mut self) -> usize {
        let before = self.answers.longs;
        let mut events = Events::with_capacity(256);
        self.poll
            .poll(&mut events, Some(Duration::from_millis(1)))
            .unwrap();
        for event in &events {
            self.listener
                .handle_event(event, self.poll.registry(), self.now, &mut self.answers);
        }
        self.listener
            .handle_deadlines(self.poll.registry(), self.now, &mut self.answers);
        self.answers.longs - before
    }

    fn client(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.listener.local_addr()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }
}

#[test]
fn long_answers_come_one_a_turn_and_take_nothing_of_a_polls_budget() {
    const POLL: &str = "GET /status.html HTTP/1.1\r\n\r\n";
    let mut stage = Stage::new();
    let mut ha = stage.client("");
    // Each counts as a newcomer, who has done nothing yet.
    let long = "GET /long HTTP/1.1\r\n\r\n".repeat(4);
    let _flood: Vec<TcpStream> = (0..40).map(|_| stage.client(&long)).collect();
    let mut kept = Vec::new();
    for nth in 1..=8 {
        ha.write_all(POLL.as_bytes()).unwrap();
        kept.push(stage.client(POLL));
        // The time stands still: what is spent is not had again.
        for _ in 0..3 {
            let longs = stage.turn();
            assert!(longs <= 1, "{longs} long answers in one turn");
        }
        assert_eq!(stage.answers.polls, 2 * nth, "both polls are answered");
    }
    // The others are answered, too, as time goes on.
    let before = stage.answers.longs;
    for _ in 0..200 {
        stage.now.monotonic += Duration::from_millis(10);
        assert!(stage.turn() <= 1);
    }
    assert!(stage.answers.longs > before + 20, "{}", stage.answers.longs);
}

#[test]
fn long_answers_are_sent_in_pieces_between_which_others_have_their_turns() {
    const READERS: usize = 20;
    // Two turns: one is taken after as much as is allowed before it.
    let most = 2 * HTTP_SENT_PER_TURN_BYTES + HTTP_WORK_PER_TURN as usize * HTTP_WORK_BODY_BYTES;
    let mut stage = Stage::new();
    let request = "GET /long HTTP/1.1\r\n\r\n";
    let mut readers: Vec<TcpStream> = (0..READERS).map(|_| stage.client(request)).collect();
    let (mut received, mut turns) = (0, 0);
    let mut piece = vec![0; 1 << 20];
    while received < READERS * LONG_BYTES {
        stage.now.monotonic += Duration::from_millis(10);
        stage.turn();
        turns += 1;
        for reader in &mut readers {
            loop {
                match reader.read(&mut piece) {
                    Ok(bytes) => received += bytes,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(
            received <= turns * most,
            "{received} bytes in {turns} turns"
        );
        assert!(turns < 100_000, "{received} bytes in {turns} turns");
    }
}
