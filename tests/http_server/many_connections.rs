//! Ten thousand idle connections: the HTTP server in a process of its own, since both ends of each
//! would not fit into one.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdout, Command, Stdio};

use hustdbsync::internals::engine::listener::ListenerOptions;
use hustdbsync::internals::engine::os::open_files::raise_bound;

use crate::http_server::server::{Client, HttpServer, options};
use crate::support::{Process, eventually, proc};

/// Connections that the HTTP server may have.
const CONNECTIONS_MAX: usize = 10_000;
/// So many more come.
const TOO_MANY: usize = 500;
/// Other tests, and the process itself.
const OTHER_FILES: u64 = 1500;
/// What an idle connection may cost the server's own memory.
const IDLE_BYTES_MAX: u64 = 1024;

/// Not a test: the process that the next one leans on. Serves until its input ends, then tells how
/// it went.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn serve_many_connections() {
    raise_bound().unwrap();
    let http_server = HttpServer::open(ListenerOptions {
        connections_max: CONNECTIONS_MAX,
        ..options()
    });
    println!("port {}", http_server.address.port());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    // The last answer may be out before its turn is counted.
    let all = CONNECTIONS_MAX + TOO_MANY + 1;
    eventually("all are counted", || {
        http_server.counts().accepted >= all as u64
    });
    let counts = http_server.counts();
    println!(
        "accepted {} evicted {} buffers {}",
        counts.accepted,
        counts.evicted,
        http_server.buffer_bytes_most()
    );
}

struct Serving {
    process: Process,
    output: BufReader<ChildStdout>,
}

impl Serving {
    fn start() -> (Self, SocketAddr) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "http_server::many_connections::serve_many_connections",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = Process::of(child.unwrap());
        let output = BufReader::new(process.take_stdout());
        let mut serving = Self { process, output };
        let port = u16::try_from(serving.numbers("port ")[0]).unwrap();
        (serving, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The numbers in the next line that has this.
    fn numbers(&mut self, name: &str) -> Vec<usize> {
        let mut line = String::new();
        while !line.contains(name) {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "no {name}");
        }
        line[line.find(name).unwrap()..]
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    }

    fn open_files(&self) -> usize {
        proc::open_files(self.process.id())
    }

    /// Memory that it has in RAM, and that is its own.
    fn resident_bytes(&self) -> u64 {
        1024 * proc::number(self.process.id(), "status", "RssAnon:")
    }
}

fn poll(ha: &mut Client) {
    ha.send(b"GET /status.html HTTP/1.1\r\n\r\n");
    assert!(ha.answer().ends_with("\r\n\r\nok\n"));
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_do_not_lock_ha_out() {
    let bound = raise_bound().unwrap();
    let needed = (CONNECTIONS_MAX + TOO_MANY) as u64 + OTHER_FILES;
    if bound < needed {
        eprintln!(
            "SKIPPED: {bound} open files are allowed (ulimit -Hn), {needed} are needed for a many \
             clients at the HTTP server"
        );
        return;
    }
    let (mut serving, address) = Serving::start();
    let mut ha = Client::connect(address);
    poll(&mut ha);
    let (files_before, bytes_before) = (serving.open_files(), serving.resident_bytes());

    let mut idle: Vec<TcpStream> = Vec::new();
    let come = |count: usize, ha: &mut Client, idle: &mut Vec<TcpStream>| {
        for nth in 0..count {
            idle.push(TcpStream::connect(address).unwrap());
            if nth % 250 == 0 {
                poll(ha);
            }
        }
        poll(ha);
    };
    come(CONNECTIONS_MAX - 1, &mut ha, &mut idle);
    eventually("all are let in", || {
        serving.open_files() >= files_before + CONNECTIONS_MAX - 1
    });
    let grown = serving.resident_bytes().saturating_sub(bytes_before);
    println!(
        "{CONNECTIONS_MAX} idle connections: {} KiB, {} bytes each",
        grown / 1024,
        grown / CONNECTIONS_MAX as u64
    );
    assert!(
        grown < CONNECTIONS_MAX as u64 * IDLE_BYTES_MAX,
        "{} bytes each",
        grown / CONNECTIONS_MAX as u64
    );

    // Who comes beyond the bound takes the place of the idlest; HA, which asks now and then, keeps
    // its own, and gets a new one too.
    come(TOO_MANY, &mut ha, &mut idle);
    poll(&mut Client::connect(address));
    drop(serving.process.take_stdin());
    let told = serving.numbers("accepted ");
    let [accepted, evicted, buffers] = told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(accepted, CONNECTIONS_MAX + TOO_MANY + 1);
    assert_eq!(evicted, TOO_MANY + 1);
    assert!(buffers < 64 * 1024, "{buffers}");
    drop(idle);
}
