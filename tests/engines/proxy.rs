//! What is between the server and a backend: it passes bytes on, as slowly as it is told to, and
//! knows what became of each connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

/// How a proxy reads what the server sends.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Of its sockets; none: the system's.
    pub(crate) receive_buffer_bytes: Option<usize>,
    /// Bytes of a read, and how long it rests after each.
    pub(crate) slowly: Option<(usize, Duration)>,
    /// A connection that nothing went over for so long is forgotten: what comes for it is dropped,
    /// and nobody is told. As firewalls and address translators do.
    pub(crate) forgets_after: Option<Duration>,
}

/// What became of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    /// When the server first sent something.
    pub(crate) began: Option<Instant>,
    /// When the server closed it.
    pub(crate) ended: Option<Instant>,
    /// The first bytes.
    pub(crate) head: Vec<u8>,
    /// When something last went over it, either way.
    used: Instant,
    /// It is forgotten, and the server has sent something since.
    pub(crate) is_forgotten: bool,
}

impl Passed {
    /// Something comes for it. False: it is dropped.
    fn passes(&mut self, forgets_after: Option<Duration>) -> bool {
        self.is_forgotten |= forgets_after.is_some_and(|after| self.used.elapsed() >= after);
        self.used = Instant::now();
        !self.is_forgotten
    }
}

/// See the module. Dropping it ends and joins its threads.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    backend: SocketAddr,
    manner: Manner,
    is_over: AtomicBool,
    passed: Mutex<Vec<Passed>>,
}

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
const HEAD_BYTES: usize = 64;

impl Proxy {
    pub(crate) fn start(backend: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Some(bytes) = manner.receive_buffer_bytes {
            // Accepted sockets inherit it.
            sockopt::set_socket_recv_buffer_size(&listener, bytes).unwrap();
        }
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            backend,
            manner,
            is_over: AtomicBool::new(false),
            passed: Mutex::default(),
        });
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept_all(&listener, &shared))
        };
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What became of connections on which anything but probes was sent.
    pub(crate) fn passed(&self) -> Vec<Passed> {
        let passed = self.shared.lock().clone();
        let is_probe = |one: &Passed| one.head.starts_with(b"GET /status.html");
        passed
            .into_iter()
            .filter(|one| one.began.is_some() && !is_probe(one))
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Passed>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while !shared.is_over() {
        match listener.accept() {
            Ok((client, _)) => threads.extend(pass_both_ways(client, shared)),
            Err(_) => thread::sleep(LOOK / 20),
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn pass_both_ways(client: TcpStream, shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    client.set_nonblocking(false).unwrap();
    let Ok(backend) = TcpStream::connect(shared.backend) else {
        return Vec::new();
    };
    let number = {
        let mut passed = shared.lock();
        passed.push(Passed {
            began: None,
            ended: None,
            head: Vec::new(),
            used: Instant::now(),
            is_forgotten: false,
        });
        passed.len() - 1
    };
    for stream in [&client, &backend] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LOOK)).unwrap();
    }
    let (from_client, to_client) = (client.try_clone().unwrap(), client);
    let (from_backend, to_backend) = (backend.try_clone().unwrap(), backend);
    let (up, down) = (Arc::clone(shared), Arc::clone(shared));
    vec![
        thread::spawn(move || pass_up(from_client, to_backend, number, &up)),
        thread::spawn(move || pass_down(from_backend, to_client, number, &down)),
    ]
}

/// What the server sends. One end's end is passed on, too.
fn pass_up(mut from: TcpStream, mut to: TcpStream, number: usize, shared: &Shared) {
    let (bytes_max, rest) = shared.manner.slowly.unwrap_or((64 * 1024, Duration::ZERO));
    let mut buffer = vec![0; bytes_max];
    while let Some(bytes) = read(&mut from, &mut buffer, shared) {
        {
            let mut passed = shared.lock();
            let one = &mut passed[number];
            one.began.get_or_insert_with(Instant::now);
            let room = HEAD_BYTES.saturating_sub(one.head.len()).min(bytes);
            one.head.extend_from_slice(&buffer[..room]);
            if !one.passes(shared.manner.forgets_after) {
                continue;
            }
        }
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
        if !rest.is_zero() {
            thread::sleep(rest);
        }
    }
    shared.lock()[number].ended = Some(Instant::now());
    let _ = to.shutdown(Shutdown::Both);
}

fn pass_down(mut from: TcpStream, mut to: TcpStream, number: usize, shared: &Shared) {
    let mut buffer = vec![0; 64 * 1024];
    while let Some(bytes) = read(&mut from, &mut buffer, shared) {
        if !shared.lock()[number].passes(shared.manner.forgets_after) {
            continue;
        }
        if to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// The next bytes; none: the end, of the connection or of the test.
fn read(from: &mut TcpStream, buffer: &mut [u8], shared: &Shared) -> Option<usize> {
    loop {
        match from.read(buffer) {
            Ok(0) => return None,
            Ok(bytes) => return Some(bytes),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                if shared.is_over() {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
}
