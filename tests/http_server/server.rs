//! The smallest program around a [`Listener`]: one thread, one poller, the real answers; and
//! clients to call on it.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hustdbsync::internals::clock::Now;
use hustdbsync::internals::engine::listener::{Answers, Listener, ListenerOptions};
use hustdbsync::internals::engine::os::socket::SocketOptions;
use hustdbsync::internals::http::answer::{Answer, ClientId, Status};
use hustdbsync::internals::http::request::Request;
use hustdbsync::internals::http::server::ServerLimits;
use hustdbsync::internals::limits::HTTP_UNSENT_BYTES_MAX;
use hustdbsync::internals::status::answer::{BodyCache, answer, is_long};
use hustdbsync::internals::status::auth::Auth;
use hustdbsync::internals::status::counters::BackendCounters;
use hustdbsync::internals::status::server::ListenerCounters;
use hustdbsync::internals::status::snapshot::StatusBoard;
use mio::{Events, Poll, Token, Waker};

use crate::support::{DEADLINE, proc};

/// Whatever a test waits for comes within this, or the test fails.
pub(crate) const PATIENCE: Duration = DEADLINE;

/// `sync:sync`.
pub(crate) const RIGHT: &str = "Authorization: Basic c3luYzpzeW5j\r\n";

const BASE: Token = Token(100);
const WAKE: Token = Token(0);

/// An HTTP server that is open until it is dropped.
pub(crate) struct HttpServer {
    pub(crate) address: SocketAddr,
    pub(crate) counters: Arc<BackendCounters>,
    shared: Arc<Shared>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    connections: AtomicUsize,
    buffer_bytes_most: AtomicUsize,
    turns: AtomicUsize,
    counts: Mutex<ListenerCounters>,
    /// Its thread's folder in `/proc`.
    task: OnceLock<PathBuf>,
}

/// Options for an HTTP server on a free port of loopback.
pub(crate) fn options() -> ListenerOptions {
    ListenerOptions {
        address: "127.0.0.1:0".parse().unwrap(),
        socket: SocketOptions {
            backlog: 512,
            reuse_port: true,
            no_delay: true,
            defer_accept: None,
        },
        limits: ServerLimits::default(),
        connections_max: 1024,
        unsent_bytes_max: HTTP_UNSENT_BYTES_MAX,
    }
}

/// What a control thread would know, and a path whose answer comes only when another is asked for.
struct Knowing {
    board: StatusBoard,
    auth: Auth,
    pages: BodyCache,
    waiting: Vec<ClientId>,
    released: Vec<ClientId>,
}

impl Answers for Knowing {
    fn is_long(&self, request: &Request<'_>) -> bool {
        is_long(request, &self.auth, self.board.snapshot())
    }

    fn answer<'a>(
        &'a mut self,
        client: ClientId,
        _: IpAddr,
        request: &Request<'_>,
        now: Now,
    ) -> Option<Answer<'a>> {
        match request.path {
            b"/wait" => {
                self.waiting.push(client);
                None
            }
            b"/release" => {
                self.released.append(&mut self.waiting);
                Some(Answer::text(Status::Ok, b"released\n"))
            }
            _ => {
                self.board.refresh(now);
                Some(answer(request, &self.auth, &self.board, &mut self.pages))
            }
        }
    }
}

impl HttpServer {
    pub(crate) fn open(options: ListenerOptions) -> Self {
        Self::open_to(options, |peer| peer.is_loopback())
    }

    /// One that has so many backends to tell of.
    pub(crate) fn open_with_backends(options: ListenerOptions, backends: usize) -> Self {
        Self::open_as(options, |peer| peer.is_loopback(), backends)
    }

    pub(crate) fn open_to(
        options: ListenerOptions,
        access: impl Fn(IpAddr) -> bool + Send + 'static,
    ) -> Self {
        Self::open_as(options, access, 2)
    }

    fn open_as(
        options: ListenerOptions,
        access: impl Fn(IpAddr) -> bool + Send + 'static,
        backends: usize,
    ) -> Self {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).unwrap());
        let listener = Listener::bind(options, Box::new(access), poll.registry(), BASE).unwrap();
        let counters = Arc::new(BackendCounters::default());
        counters.processed.set(12);
        counters.durable_processed.set(12);
        counters.settled.set(10);
        counters.durable_settled.set(10);
        let mut board = StatusBoard::new(Now::default());
        board.add("127.0.0.1:9998", Arc::clone(&counters), Now::default());
        for port in (9999..).take(backends - 1) {
            board.add(&format!("127.0.0.1:{port}"), Arc::default(), Now::default());
        }
        let knowing = Knowing {
            board,
            auth: Auth::new("sync", "sync"),
            pages: BodyCache::default(),
            waiting: Vec::new(),
            released: Vec::new(),
        };
        let shared = Arc::new(Shared::default());
        let address = listener.local_addr();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || run(poll, listener, knowing, &shared)
        });
        Self {
            address,
            counters,
            shared,
            waker,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own, with its answer.
    pub(crate) fn ask(&self, request: &str) -> String {
        let mut client = self.client();
        client.send(request.as_bytes());
        client.answer()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// The most that connections held in buffers at the end of any turn.
    pub(crate) fn buffer_bytes_most(&self) -> usize {
        self.shared.buffer_bytes_most.load(SeqCst)
    }

    /// How often the poller returned.
    pub(crate) fn turns(&self) -> usize {
        self.shared.turns.load(SeqCst)
    }

    /// CPU time that its thread has used, to some milliseconds.
    pub(crate) fn cpu_time(&self) -> Duration {
        let task = self.shared.task.get().expect("it has answered");
        proc::cpu_time_in(&fs::read_to_string(task.join("stat")).unwrap())
    }

    pub(crate) fn counts(&self) -> ListenerCounters {
        *self.shared.counts.lock().unwrap()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        let _ = self.waker.wake();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(
                ended.is_some_and(|ended| ended.is_ok()),
                "the HTTP server's thread has panicked"
            );
        }
    }
}

fn run(mut poll: Poll, mut listener: Listener, mut knowing: Knowing, shared: &Shared) {
    let start = Instant::now();
    let now = || Now::new(start.elapsed(), start.elapsed().as_secs());
    let task = fs::read_link("/proc/thread-self").unwrap();
    let _ = shared.task.set(Path::new("/proc").join(task));
    let mut events = Events::with_capacity(256);
    while !shared.stop.load(SeqCst) {
        let wait = listener
            .next_deadline()
            .map(|deadline| deadline.saturating_sub(now().monotonic));
        if let Err(error) = poll.poll(&mut events, wait) {
            assert_eq!(error.kind(), ErrorKind::Interrupted);
            continue;
        }
        for event in &events {
            if listener.owns(event.token()) {
                listener.handle_event(event, poll.registry(), now(), &mut knowing);
            }
        }
        listener.handle_deadlines(poll.registry(), now(), &mut knowing);
        for client in std::mem::take(&mut knowing.released) {
            listener.respond(
                client,
                &Answer::text(Status::Ok, b"late\n"),
                now(),
                &mut knowing,
            );
        }
        shared.connections.store(listener.connections(), SeqCst);
        shared
            .buffer_bytes_most
            .fetch_max(listener.buffer_bytes(), SeqCst);
        shared.turns.fetch_add(1, SeqCst);
        *shared.counts.lock().unwrap() = listener.counts();
    }
}

/// A client whose every wait ends.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Bytes received and not taken yet.
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next answer, head and body. To HEAD there is none; see [`Self::rest`].
    pub(crate) fn answer(&mut self) -> String {
        loop {
            if let Some(bytes) = whole_answer(&self.received) {
                let rest = self.received.split_off(bytes);
                return String::from_utf8(std::mem::replace(&mut self.received, rest)).unwrap();
            }
            assert!(
                self.read(),
                "closed after {:?}",
                String::from_utf8_lossy(&self.received)
            );
        }
    }

    /// All that comes until the HTTP server closes the connection.
    pub(crate) fn rest(&mut self) -> String {
        while self.read() {}
        String::from_utf8(std::mem::take(&mut self.received)).unwrap()
    }

    fn read(&mut self) -> bool {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(bytes) => {
                self.received.extend_from_slice(&piece[..bytes]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}

fn whole_answer(received: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(received);
    let head = text.find("\r\n\r\n")? + 4;
    let length = text[..head]
        .split("Content-Length: ")
        .nth(1)
        .map_or(0, |rest| {
            rest.split("\r\n").next().unwrap().parse().unwrap()
        });
    (received.len() >= head + length).then_some(head + length)
}
