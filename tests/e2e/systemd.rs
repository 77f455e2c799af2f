//! The binary under systemd, whose part this test plays: what it is told, and the HTTP server
//! handed over from one process to the next.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use hustdbsync::internals::fake_hustdb::{Act, On, Rule, Script};

use crate::harness::{DEADLINE, Home, eventually, fake_hustdb, value};
use crate::process::Process;

/// A service as systemd starts it: its HTTP server as descriptor 3, and where to tell how it is. A
/// shell becomes the server, with its number in `LISTEN_PID` and `WATCHDOG_PID`, which nobody can
/// know before.
fn start(home: &Home, http_server: Option<&TcpListener>, environment: &[(&str, &str)]) -> Process {
    let stdin = match http_server {
        Some(http_server) => Stdio::from(OwnedFd::from(http_server.try_clone().unwrap())),
        None => Stdio::null(),
    };
    let hand_over = match http_server {
        Some(_) => "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; ",
        None => "",
    };
    let stderr = File::options()
        .create(true)
        .append(true)
        .open(home.path("stderr"))
        .unwrap();
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "{hand_over}export WATCHDOG_PID=$$; exec \"$0\" run --config \"$1\""
        ))
        .arg(env!("CARGO_BIN_EXE_hustdbsync"))
        .arg(home.write_config())
        .envs(environment.iter().copied())
        .stdin(stdin)
        .stderr(stderr);
    Process::spawn(&mut command)
}

/// The socket that systemd listens on for words of its services.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(home: &Home) -> Self {
        let path = home.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let path = path.to_str().unwrap().to_owned();
        Self { socket, path }
    }

    /// The next word that begins so; others are passed over.
    fn hear(&self, begin: &str) -> String {
        let mut bytes = [0; 4096];
        let mut heard = Vec::new();
        let until = Instant::now() + DEADLINE;
        loop {
            assert!(
                Instant::now() < until,
                "{begin} is never said, but {heard:?}"
            );
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| {
                panic!("{begin} is never said ({error}), but {heard:?}");
            });
            let word = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if word.starts_with(begin) {
                return word;
            }
            heard.push(word);
        }
    }
}

/// Asks `/status.html` on a connection of its own.
fn poll(http_server: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(http_server)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(b"GET /status.html HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn systemd_is_told_of_the_start_of_a_reload_of_the_end_and_that_it_lives() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let manager = Manager::new(&home);
    let mut service = start(
        &home,
        None,
        &[
            ("NOTIFY_SOCKET", &manager.path),
            ("WATCHDOG_USEC", "400000"),
        ],
    );
    manager.hear("READY=1\n");
    manager.hear("STATUS=1 of 1 backends up, nothing left to replay\n");
    manager.hear("WATCHDOG=1\n");
    service.signal("HUP");
    let reloading = manager.hear("RELOADING=1\n");
    let time = reloading.lines().nth(1).unwrap();
    let microseconds = time.strip_prefix("MONOTONIC_USEC=").unwrap();
    assert!(microseconds.parse::<u64>().unwrap() > 0);
    manager.hear("READY=1\n");
    // Idle as it is, all its threads turn when they are asked to.
    for _ in 0..5 {
        manager.hear("WATCHDOG=1\n");
    }
    service.signal("TERM");
    let stopping = manager.hear("STOPPING=1\n");
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=35000000"),
        "{stopping}"
    );
    assert_eq!(service.wait().code(), Some(0));
}

#[test]
fn the_watchdog_of_another_process_is_none_of_ours() {
    let home = Home::new();
    let manager = Manager::new(&home);
    let mut service = start(&home, None, &[("NOTIFY_SOCKET", &manager.path)]);
    manager.hear("READY=1\n");
    service.end();
    manager.socket.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    while let Ok(length) = manager.socket.recv(&mut bytes) {
        assert!(!bytes[..length].starts_with(b"WATCHDOG"));
    }
}

#[test]
fn an_upgrade_refuses_no_poll_and_loses_none() {
    let http_server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = http_server.local_addr().unwrap();
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let home = home.with("network.port", address.port());
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let over = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU32::new(0));
    let pollers: Vec<_> = (0..3)
        .map(|_| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let answer = poll(address).expect("no poll is refused or cut off");
                    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer:?}");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..3 {
        let mut service = start(&home, Some(&http_server), &[]);
        let before = answered.load(Ordering::SeqCst);
        eventually("it answers", || {
            answered.load(Ordering::SeqCst) > before + 20
        });
        service.end();
        assert!(
            pollers.iter().all(|poller| !poller.is_finished()),
            "{round}"
        );
    }
    // Those who wait now are answered by the one that comes next.
    over.store(true, Ordering::SeqCst);
    let mut service = start(&home, Some(&http_server), &[]);
    for poller in pollers {
        poller.join().unwrap();
    }
    eventually("it works", || value(&fake_hustdb, "k").is_some());
    // One before it may have delivered that and answered the pollers: this one has to be up.
    poll(address).expect("it answers");
    service.end();
}

#[test]
fn a_connection_that_is_kept_learns_by_an_answer_that_it_ends() {
    let (home, fake_hustdb) = (Home::new(), fake_hustdb());
    let http_server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Something in flight that is never answered keeps the end waiting, for as long as this takes.
    let home = home
        .with("network.port", http_server.local_addr().unwrap().port())
        .with("sync.response_timeout", "1h")
        .with("sync.drain_timeout", "5m");
    let silence = Rule::new(On::Mutations, Act::Silence);
    fake_hustdb
        .set_script(Script::default().rule(silence))
        .unwrap();
    home.log(&fake_hustdb.name()).put("k", 1, "v");
    let service = start(&home, Some(&http_server), &[]);
    let mut stream = TcpStream::connect(http_server.local_addr().unwrap()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut ask = || {
        stream
            .write_all(b"GET /status.html HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap()
    };
    assert!(!ask().contains("Connection: close"));
    eventually("the record is under way", || {
        fake_hustdb.counters().beside_probes() > 0
    });
    service.signal("TERM");
    let said = || fs::read_to_string(home.path("stderr")).unwrap();
    eventually("it ends", || said().contains("ending: "));
    assert!(ask().contains("Connection: close"));
    drop(service);
}

#[test]
fn who_may_come_is_the_configurations_to_say_whoever_opened_the_http_server() {
    let http_server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = http_server.local_addr().unwrap();
    let home = Home::new()
        .with("network.port", address.port())
        .with("network.bind", "127.0.0.1")
        .with("network.access_allow", "10.9.8.7");
    let mut service = start(&home, Some(&http_server), &[]);
    let said = || fs::read_to_string(home.path("stderr")).unwrap();
    eventually("it runs", || said().contains("The HTTP server takes"));
    assert!(
        poll(address).is_ok_and(|answer| answer.is_empty())
            || poll(address)
                .is_err_and(|error| error.kind() != std::io::ErrorKind::ConnectionRefused)
    );
    service.end();
}

#[test]
fn a_http_server_elsewhere_than_the_configuration_says_is_no_http_server() {
    let http_server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = http_server.local_addr().unwrap().port();
    for (key, other) in [
        (
            "network.port",
            serde_json::Value::from(port.wrapping_add(1).max(1024)),
        ),
        ("network.bind", "0.0.0.0".into()),
    ] {
        let home = Home::new().with("network.port", port).with(key, other);
        let mut service = start(&home, Some(&http_server), &[]);
        assert_eq!(service.wait().code(), Some(1));
        let said = fs::read_to_string(home.path("stderr")).unwrap();
        let expected = format!(
            "the socket that systemd handed over is at 127.0.0.1:{port}; make ListenStream="
        );
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn what_is_no_http_server_is_said() {
    let home = Home::new();
    let file = File::open("/dev/null").unwrap();
    let status = Command::new("sh")
        .arg("-c")
        .arg(
            "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" run --config \
            \"$1\"",
        )
        .arg(env!("CARGO_BIN_EXE_hustdbsync"))
        .arg(home.write_config())
        .stdin(file)
        .stderr(File::create(home.path("stderr")).unwrap())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    let said = fs::read_to_string(home.path("stderr")).unwrap();
    assert!(
        said.contains("the socket that systemd handed over cannot be used: "),
        "{said}"
    );
}

#[test]
fn a_drain_is_waited_for_although_the_http_server_stays_open() {
    let http_server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = http_server.local_addr().unwrap();
    let home = Home::new().with("network.port", address.port());
    let mut service = start(&home, Some(&http_server), &[]);
    poll(address).unwrap();
    let drained = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
        .args(["ctl", "stop", "--config"])
        .arg(home.path("sync_server.json"))
        .output()
        .unwrap();
    assert!(drained.status.success(), "{drained:?}");
    assert_eq!(service.wait().code(), Some(0));
    // Another one can start at once.
    let mut next = start(&home, Some(&http_server), &[]);
    poll(address).unwrap();
    next.end();
}
