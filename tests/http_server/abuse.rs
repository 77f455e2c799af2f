//! Those who lean on the HTTP server: slow ones, idle ones, greedy ones, sly ones. It stays open
//! for HA, and what it holds stays bounded.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hustdbsync::internals::engine::listener::ListenerOptions;
use hustdbsync::internals::http::server::ServerLimits;
use hustdbsync::internals::limits::HTTP_HEAD_BYTES_MAX;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{self, AddressFamily, SocketType};

use crate::http_server::server::{Client, HttpServer, PATIENCE, RIGHT, options};
use crate::support::{eventually, shrink_send_buffers};

fn with(limits: ServerLimits) -> ListenerOptions {
    ListenerOptions {
        limits,
        ..options()
    }
}

/// HA's poll, on a connection of its own, is answered, and soon.
#[track_caller]
fn check_open(http_server: &HttpServer) {
    let start = Instant::now();
    assert!(
        http_server
            .ask("GET /status.html HTTP/1.1\r\n\r\n")
            .ends_with("\r\n\r\nok\n")
    );
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
}

#[test]
fn a_head_that_is_dribbled_is_cut_off_in_time() {
    let recv_timeout = Duration::from_millis(500);
    let http_server = HttpServer::open(with(ServerLimits {
        recv_timeout,
        ..ServerLimits::default()
    }));
    for start in [
        "GET /status.html HTTP/1.1\r\nA: ",
        "POST /status.html HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n",
    ] {
        let begun = Instant::now();
        let mut client = http_server.client();
        client.send(start.as_bytes());
        client
            .stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let mut answer = Vec::new();
        // A byte every 20 ms, for ever, if the HTTP server let us.
        while answer.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "the HTTP server waits for ever");
            let mut piece = [0; 1024];
            match client.stream.read(&mut piece) {
                Ok(bytes) => answer.extend_from_slice(&piece[..bytes]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            let _ = client.stream.write(b"x");
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 408 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        assert!(begun.elapsed() >= recv_timeout, "{:?}", begun.elapsed());
        check_open(&http_server);
    }
}

#[test]
fn an_idle_connection_is_closed_in_time_without_a_word() {
    let recv_timeout = Duration::from_millis(200);
    let http_server = HttpServer::open(with(ServerLimits {
        recv_timeout,
        ..ServerLimits::default()
    }));
    let mut silent = http_server.client();
    let mut satisfied = http_server.client();
    satisfied.send(b"GET /status.html HTTP/1.1\r\n\r\n");
    satisfied.answer();
    assert_eq!(silent.rest(), "");
    assert_eq!(satisfied.rest(), "");
    drop((silent, satisfied));
    eventually("both are gone", || http_server.connections() == 0);
}

/// Descriptors that this process may open.
fn descriptors_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    line.split_whitespace()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap_or(usize::MAX)
}

#[test]
fn idle_connections_cost_little_and_lock_nobody_out() {
    // Both ends are in this process, and other tests run beside this one.
    let idle_count = (descriptors_max() / 5 * 2).min(2000) / 100 * 100;
    let connections_max = idle_count / 4;
    let http_server = HttpServer::open(ListenerOptions {
        connections_max,
        ..options()
    });
    let mut ha = http_server.client();
    let mut idle = Vec::new();
    for round in 0..20 {
        idle.extend((0..idle_count / 20).map(|_| http_server.client()));
        // HA asks often enough not to be the idlest.
        ha.send(b"GET /status.html HTTP/1.1\r\n\r\n");
        assert!(ha.answer().ends_with("ok\n"), "round {round}");
        check_open(&http_server);
    }
    eventually("all were let in", || {
        http_server.counts().accepted == idle_count as u64 + 1 + 20
    });
    assert!(http_server.connections() <= connections_max);
    assert!(http_server.counts().evicted as usize >= idle_count - connections_max);
    assert!(
        http_server.buffer_bytes_most() < 64 * 1024,
        "{}",
        http_server.buffer_bytes_most()
    );
    // Those let in last are served; those that had to go were told so.
    let mut last = idle.pop().unwrap();
    last.send(b"GET /status.html HTTP/1.1\r\n\r\n");
    assert!(last.answer().ends_with("ok\n"));
    assert_eq!(idle.remove(0).rest(), "");
}

#[test]
fn slow_heads_lock_nobody_out_either() {
    let http_server = HttpServer::open(ListenerOptions {
        connections_max: 50,
        ..options()
    });
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..200 {
        let mut client = http_server.client();
        let _ = client.stream.write_all(b"GET / HTTP/1.1\r\nA:");
        slow.push(client);
        // Those before dribble on, as far as they are still connected.
        for client in slow.iter_mut().rev().take(10) {
            let _ = client.stream.write(b"x");
        }
    }
    check_open(&http_server);
    assert!(http_server.connections() <= 50);
}

#[test]
fn huge_heads_are_refused_when_they_pass_the_bound() {
    let http_server = HttpServer::open(options());
    for head in [
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(100_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(20_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65)),
        "x".repeat(100_000),
    ] {
        let mut client = http_server.client();
        let _ = client.stream.write_all(head.as_bytes());
        assert!(client.rest().starts_with("HTTP/1.1 431 "));
    }
    assert!(
        http_server.buffer_bytes_most() < 256 * 1024,
        "{}",
        http_server.buffer_bytes_most()
    );
    check_open(&http_server);
}

#[test]
fn large_bodies_pass_by_and_too_large_ones_are_refused() {
    let http_server = HttpServer::open(options());
    let mut client = http_server.client();
    client.send(b"POST /status.html HTTP/1.1\r\nContent-Length: 16777216\r\n\r\n");
    for _ in 0..256 {
        client.send(&[b'x'; 65_536]);
    }
    assert!(client.answer().ends_with("ok\n"));
    client.send(b"POST /status.html HTTP/1.1\r\nContent-Length: 16777217\r\n\r\n");
    assert!(client.rest().starts_with("HTTP/1.1 413 "));
    assert!(
        http_server.buffer_bytes_most() < 64 * 1024,
        "{}",
        http_server.buffer_bytes_most()
    );
}

#[test]
fn sly_forms_are_refused_and_what_they_carry_is_not_answered() {
    let http_server = HttpServer::open(options());
    for (head, status) in [
        (
            "GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nContent-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: \
             identity\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "GET / HTTP/1.1\r\nA: b\r\n Transfer-Encoding: chunked\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\nA: b\n\n", "400"),
        ("GET / HTTP/1.1\r\nA: b\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "501"),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/3.0\r\n\r\n", "505"),
    ] {
        let mut client = http_server.client();
        client.send(format!("{head}GET /status.html HTTP/1.1\r\nX: smuggled\r\n\r\n").as_bytes());
        let answer = client.rest();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{head:?}: {answer}"
        );
        assert_eq!(
            answer.matches("Content-Length: ").count(),
            1,
            "{head:?}: {answer}"
        );
        assert!(answer.contains("Connection: close\r\n"));
    }
    check_open(&http_server);
}

#[test]
fn a_flood_that_takes_no_answers_is_held_back_and_then_dropped() {
    let send_timeout = Duration::from_millis(700);
    let limits = ServerLimits {
        send_timeout,
        requests_max: u32::MAX,
        ..ServerLimits::default()
    };
    let http_server = HttpServer::open(with(limits));
    let mut greedy = http_server.client();
    greedy
        .stream
        .set_write_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let flood = "GET /status.html HTTP/1.1\r\n\r\n".repeat(2000);
    let start = Instant::now();
    // It goes on writing until the HTTP server drops it, though nothing more goes through.
    loop {
        match greedy.stream.write(flood.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => check_open(&http_server),
            Err(_) => break,
        }
        assert!(start.elapsed() < PATIENCE, "the HTTP server never drops it");
    }
    assert!(
        http_server.buffer_bytes_most() < 512 * 1024,
        "{}",
        http_server.buffer_bytes_most()
    );
    check_open(&http_server);
}

#[test]
fn a_flood_that_takes_its_answers_leaves_room_for_others() {
    let http_server = HttpServer::open(with(ServerLimits {
        requests_max: u32::MAX,
        ..ServerLimits::default()
    }));
    let client = http_server.client();
    let mut sending = client.stream.try_clone().unwrap();
    let mut taking = client.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let flood = "GET /status.html HTTP/1.1\r\n\r\n".repeat(2000);
            while sending.write_all(flood.as_bytes()).is_ok() {}
        });
        scope.spawn(move || {
            let mut piece = vec![0; 65_536];
            while taking.read(&mut piece).is_ok_and(|bytes| bytes > 0) {}
        });
        let begun = Instant::now();
        // For a second, and until it is a flood.
        let is_none = || http_server.counts().answered <= 1000;
        while begun.elapsed() < Duration::from_secs(1) || begun.elapsed() < PATIENCE && is_none() {
            check_open(&http_server);
        }
        client.stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    assert!(
        http_server.counts().answered > 1000,
        "that was no flood: {}",
        http_server.counts().answered
    );
    assert!(
        http_server.buffer_bytes_most() < 512 * 1024,
        "{}",
        http_server.buffer_bytes_most()
    );
}

#[test]
fn passwords_tried_fast_get_nowhere() {
    let http_server = HttpServer::open(options());
    let mut client = http_server.client();
    for attempt in 0..1000 {
        let token = base64_simd::STANDARD.encode_to_string(format!("sync:{attempt}"));
        client.send(
            format!(
                "GET /sync_status?backend_count=1 HTTP/1.1\r\nAuthorization: Basic {token}\r\n\r\n"
            )
            .as_bytes(),
        );
        assert!(client.answer().starts_with("HTTP/1.1 401 "));
    }
    assert!(
        http_server
            .ask(&format!(
                "GET /sync_status?backend_count=1 HTTP/1.1\r\n{RIGHT}\r\n"
            ))
            .starts_with("HTTP/1.1 200 ")
    );
}

/// Not a test: what the next one runs as a process with few descriptors. Serves until its input
/// ends, then tells how it went.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn serve_with_few_descriptors() {
    let http_server = HttpServer::open(options());
    println!("port {}", http_server.address.port());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    // The last answer may be out before its turn is counted.
    eventually("all are counted", || http_server.counts().accepted == 201);
    println!(
        "turns {} evicted {} pauses {}",
        http_server.turns(),
        http_server.counts().evicted,
        http_server.counts().pauses
    );
}

#[test]
fn without_descriptors_the_idlest_connection_makes_room_and_nothing_spins() {
    let mut child = Command::new("sh")
        .args([
            "-c",
            "ulimit -n 40 && exec \"$0\" --ignored --exact --nocapture \
            http_server::abuse::serve_with_few_descriptors",
        ])
        .arg(std::env::current_exe().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut value = |name: &str| -> Vec<u64> {
        let line = lines.find(|line| line.contains(name)).unwrap();
        line[line.find(name).unwrap()..]
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    let port = u16::try_from(value("port ")[0]).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let idle: Vec<Client> = (0..200).map(|_| Client::connect(address)).collect();
    let mut client = Client::connect(address);
    client.send(b"GET /status.html HTTP/1.1\r\n\r\n");
    assert!(client.answer().ends_with("ok\n"));
    drop(child.stdin.take());
    let told = value("turns ");
    assert!(child.wait().unwrap().success());
    drop(idle);
    assert!(told[1] > 100, "evicted {}", told[1]);
    assert!(told[0] < 5000, "{} turns for 201 connections", told[0]);
}

#[test]
fn answers_that_nobody_takes_are_bounded_together() {
    const GREEDY: usize = 12;
    let http_server = HttpServer::open(ListenerOptions {
        unsent_bytes_max: 512 * 1024,
        ..options()
    });
    // More than the kernels take of it: some megabytes on loopback.
    let requests = format!("GET / HTTP/1.1\r\n{RIGHT}\r\n").repeat(240);
    let mut greedy: Vec<Client> = (0..GREEDY).map(|_| http_server.client()).collect();
    for client in &mut greedy {
        client.send(requests.as_bytes());
    }
    eventually("some went for the others", || {
        http_server.counts().evicted > 0
    });
    check_open(&http_server);
    let inputs = GREEDY * 2 * HTTP_HEAD_BYTES_MAX;
    let most = http_server.buffer_bytes_most();
    assert!(most <= 512 * 1024 + inputs, "{most} bytes");
    // One that takes its answers gets all of them.
    let mut client = http_server.client();
    client.send(requests.as_bytes());
    for _ in 0..240 {
        assert!(client.answer().ends_with("</html>\n"));
    }
}

/// A connection on which little is on its way at a time.
fn narrow(http_server: &HttpServer) -> TcpStream {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_recv_buffer_size(&socket, 2304).unwrap();
    net::connect(&socket, &http_server.address()).unwrap();
    TcpStream::from(socket)
}

#[test]
fn connections_whose_time_is_up_together_may_go_for_one_another() {
    const GREEDY: usize = 24;
    let http_server = HttpServer::open(ListenerOptions {
        unsent_bytes_max: 512 * 1024,
        ..with(ServerLimits {
            recv_timeout: Duration::from_millis(500),
            ..ServerLimits::default()
        })
    });
    let mut greedy: Vec<TcpStream> = (0..GREEDY).map(|_| narrow(&http_server)).collect();
    let addresses = greedy.iter().map(|client| client.local_addr().unwrap());
    let addresses: Vec<SocketAddr> = addresses.collect();
    eventually("all are known", || http_server.connections() == GREEDY);
    shrink_send_buffers(&addresses, 4096);
    for client in &mut greedy {
        let request = format!("GET / HTTP/1.1\r\n{RIGHT}\r\n");
        client.write_all(request.as_bytes()).unwrap();
    }
    let evicted = || http_server.counts().evicted;
    eventually("all are answered", || {
        http_server.counts().answered == GREEDY as u64
    });
    let evicted_before = evicted();
    assert!(evicted_before > 0, "some go for others");
    // A head that does not end, behind a page that nobody takes: its 408 makes that larger.
    for client in &mut greedy {
        let _ = client.write_all(b"GET / HTTP/1.1\r\n");
    }
    eventually("more go for others when their time is up", || {
        evicted() > evicted_before
    });
    check_open(&http_server);
}
