//! HA's poll beside others on its host who ask for more than it does: it is never held back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::{Client, HttpServer, RIGHT, options};

/// Behind the fifty a poll took 5.3 s, and behind the two it failed after 8 s. Now it takes some
/// hundred milliseconds, most of them for want of a core: the clients have a hundred threads, and
/// the machine may be busy with other tests.
const POLL_MAX: Duration = Duration::from_secs(3);
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
    let flood = Flood::start(http_server.address, clients, request);
    std::thread::sleep(Duration::from_millis(500));
    let (begun, mut slowest, mut polls) = (Instant::now(), Duration::ZERO, 0);
    let poll = format!("GET /sync_status?backend_count=1 HTTP/1.1\r\n{RIGHT}\r\n");
    while begun.elapsed() < ABUSE {
        for is_new in [false, true] {
            let asked = Instant::now();
            let answer = if is_new {
                http_server.ask(&poll)
            } else {
                ha.send(poll.as_bytes());
                ha.answer()
            };
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            slowest = slowest.max(asked.elapsed());
            polls += 1;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let flooded = flood.end();
    eprintln!(
        "{clients} × {request:?}: {polls} polls, the slowest took {slowest:?}; the flood got \
         {flooded} bytes"
    );
    assert!(slowest < POLL_MAX, "a poll took {slowest:?}");
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
