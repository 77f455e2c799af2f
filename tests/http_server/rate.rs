//! What an attack on the HTTP server costs the replay: figures, and not a part of CI, since they
//! hang on the machine.
//!
//! `cargo test --release --test system -- --ignored --nocapture replay_goes_on`
//!
//! The attackers are a process of their own that runs at the lowest priority: what they burn is not
//! the server's doing. What the server does for them is.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hustdbsync::internals::config::Config;
use hustdbsync::internals::engine::{Engine, EngineOptions};
use hustdbsync::internals::workload::Workload;
use serde_json::json;

use crate::support::{Process, proc};

/// Connections that send a head byte by byte.
const SLOW: usize = 500;
/// Connections that send requests as fast as they are answered.
const FLOODING: usize = 8;
/// Rounds of quiet and attacked, in turn; the best of each counts, since other programs can only
/// make one slower.
const ROUNDS: usize = 3;
/// Bounds of the rate, of which the first leaves the machine time for both; and records that take
/// some seconds.
const RUNS: [(Option<u64>, u64); 2] = [(Some(25_000), 100_000), (None, 1_500_000)];

/// Not a test: the attackers. They go on until their input ends.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn attack() {
    let address: SocketAddr = std::env::var("HTTP_SERVER").unwrap().parse().unwrap();
    for _ in 0..FLOODING {
        std::thread::spawn(move || flood(address));
    }
    std::thread::spawn(move || dribble(address));
    println!("attacking");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Pipelined requests, and a new connection when the old one is closed for their number.
fn flood(address: SocketAddr) {
    let requests =
        "GET /sync_status?backend_count=9 HTTP/1.1\r\nAuthorization: Basic c3luYzpzeW5j\r\n\r\n"
            .repeat(64);
    let mut answers = vec![0; 64 * 1024];
    loop {
        let Ok(mut stream) = TcpStream::connect(address) else {
            continue;
        };
        while stream.write_all(requests.as_bytes()).is_ok()
            && stream.read(&mut answers).is_ok_and(|bytes| bytes > 0)
        {}
    }
}

fn dribble(address: SocketAddr) {
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..SLOW).map(|_| connect()).collect();
    loop {
        for stream in &mut slow {
            if let Err(error) = stream.write(b"G")
                && error.kind() != ErrorKind::Interrupted
            {
                *stream = connect();
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A process that ends with this.
/// A helper that tells on stdout how it goes.
fn helper(command: &mut Command) -> Process {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Process::of(child.unwrap())
}

/// The first line of its stdout in which this stands.
fn line(process: &mut Process, word: &str) -> String {
    let lines = BufReader::new(process.take_stdout()).lines();
    lines
        .map(Result::unwrap)
        .find(|line| line.contains(word))
        .unwrap()
}

/// CPU time of this process's thread of this name.
fn cpu_time(thread: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    stats
        .filter(|stat| stat.contains(&format!("({thread})")))
        .map(|stat| proc::cpu_time_in(&stat))
        .sum()
}

/// HA's home with so many records for this backend.
fn home(sink: &str, records: u64) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let root = home.path();
    fs::create_dir(root.join("logs")).unwrap();
    fs::write(root.join("htpasswd"), "user:password\n").unwrap();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Workload::uniform(records, 100, unix.as_secs())
        .write(&root.join("logs"), sink)
        .unwrap();
    home
}

/// Replays all, attacked or not. Records a second, and the share of a core that control took.
fn replay(root: &Path, records: u64, paced: Option<u64>, attacked: bool) -> (f64, f64) {
    // What an earlier run has settled is forgotten, and its logs have stayed.
    let _ = fs::remove_dir_all(root.join("status"));
    let text = json!({
        "network": { "port": 0 },
        "sync": {
            "logs_path": root.join("logs"), "ngx_path": root, "auth_path": root.join("htpasswd"),
            "threads": 1, "ttl_hold": "0s", "max_rate_per_backend": paced.unwrap_or(0),
            "release_interval": "1h",
        }
    });
    let config = Config::parse(text.to_string(), &root.join("sync_server.json")).unwrap();
    let options = EngineOptions {
        signals: false,
        ..EngineOptions::default()
    };
    let engine = Engine::start_with(config, options).unwrap();
    let attackers = attacked.then(|| {
        let mut attacker = helper(
            Command::new("nice")
                .args(["-n", "19"])
                .arg(std::env::current_exe().unwrap())
                .args([
                    "--ignored",
                    "--exact",
                    "--nocapture",
                    "http_server::rate::attack",
                ])
                .env("HTTP_SERVER", engine.local_addr().to_string()),
        );
        line(&mut attacker, "attacking");
        attacker
    });
    let settled = || engine.snapshot().totals().1;
    // From where both run: the start is no part of the rate.
    while settled() < records / 10 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (from, begin, cpu) = (settled(), Instant::now(), cpu_time("control"));
    while settled() < records {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = begin.elapsed().as_secs_f64();
    let control = (cpu_time("control").saturating_sub(cpu)).as_secs_f64() / took;
    drop(attackers);
    engine.stop();
    let _ = engine.wait();
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
    let rate = (records - from) as f64 / took;
    (rate, control)
}

#[test]
#[ignore = "a bench: its figures hang on the machine"]
fn replay_goes_on_at_its_rate_while_the_http_server_is_attacked() {
    let mut sink = helper(Command::new(env!("CARGO_BIN_EXE_hustdbsync")).args([
        "fake-hustdb",
        "--at-once",
        "--threads",
        "1",
        "--discard",
        "--listen",
        "127.0.0.1:0",
    ]));
    let line = line(&mut sink, "127.0.0.1:");
    let name = line
        .split_whitespace()
        .map(|word| word.trim_end_matches(';'))
        .find(|word| word.starts_with("127.0.0.1:"))
        .unwrap();
    for (paced, records) in RUNS {
        let home = home(name, records);
        let best = |best: (f64, f64), run: (f64, f64)| if run.0 > best.0 { run } else { best };
        let (mut quiet, mut attacked) = ((0.0, 0.0), (0.0, 0.0));
        for _ in 0..ROUNDS {
            quiet = best(quiet, replay(home.path(), records, paced, false));
            attacked = best(attacked, replay(home.path(), records, paced, true));
        }
        let kept = attacked.0 / quiet.0;
        println!(
            "{}: quiet {:.0} records/s (control {:.0} % of a core), attacked {:.0} ({:.0} %): \
             {:.0} % kept",
            paced.map_or("unbounded".to_owned(), |rate| format!("paced at {rate}/s")),
            quiet.0,
            quiet.1 * 100.0,
            attacked.0,
            attacked.1 * 100.0,
            kept * 100.0
        );
        assert!(kept >= 0.9, "{:.0} % of the rate is kept", kept * 100.0);
    }
}
