//! The whole server over real files and sockets, against a fake HustDB in a process of its own; and
//! HA's polls, idle and while it replays. CPU a record is printed beside criterion's times.

mod common;

use std::fs;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::{Home, Sink, cpu_time, now_unix};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hustdbsync::internals::binlog::{Method, Record, line};
use hustdbsync::internals::config::Config;
use hustdbsync::internals::engine::{Engine, EngineOptions};
use hustdbsync::internals::workload::Workload;
use serde_json::json;

/// Value sizes, and records of a run that takes about a second.
const SIZES: [(usize, u64); 3] = [(100, 200_000), (1024, 100_000), (65_536, 8_000)];

fn start(config: Config) -> Engine {
    Engine::start_with(
        config,
        EngineOptions {
            signals: false,
            ..EngineOptions::default()
        },
    )
    .expect("the engine starts")
}

fn settled(engine: &Engine) -> u64 {
    engine.snapshot().totals().1
}

/// Replays everything in `home` once. Gives the time from the start to the last acknowledgement.
fn replay(home: &Home, config: Config, records: u64) -> Duration {
    home.forget_state();
    let begin = Instant::now();
    let engine = start(config);
    while settled(&engine) < records {
        thread::sleep(Duration::from_millis(1));
    }
    let took = begin.elapsed();
    engine.stop();
    let _ = engine.wait();
    took
}

/// Records a second, with bursts and with one request a send.
fn replays(criterion: &mut Criterion) {
    let sink = Sink::start();
    for (value_bytes, records) in SIZES {
        let home = Home::make();
        Workload::uniform(records, value_bytes, now_unix())
            .write(&home.logs(), &sink.name)
            .expect("the logs can be written");
        let mut group = criterion.benchmark_group(format!("replay/{value_bytes} B values"));
        group
            .throughput(Throughput::Elements(records))
            .sample_size(10);
        for (name, burst_bytes, engine) in [
            ("bursts", 4096, "mio"),
            ("one request a send", 0, "mio"),
            // mio once more where the system gives no rings.
            ("bursts, auto", 4096, "auto"),
            ("one request a send, auto", 0, "auto"),
        ] {
            // The logs stay: a closed log would be deleted, and the next run have nothing to do.
            let config = || {
                home.config(&[
                    ("engine", json!(engine)),
                    ("burst_bytes", json!(burst_bytes)),
                    ("release_interval", json!("1h")),
                ])
            };
            let (mut cpu, mut runs) = (Duration::ZERO, 0);
            group.bench_function(name, |bench| {
                bench.iter_custom(|iterations| {
                    let before = cpu_time();
                    let took = (0..iterations)
                        .map(|_| replay(&home, config(), records))
                        .sum();
                    cpu += cpu_time() - before;
                    runs += iterations;
                    took
                });
            });
            let a_record = cpu.as_secs_f64() * 1e6 / (runs * records) as f64;
            println!(
                "{:24}cpu:    {a_record:.2} µs a record, user and system, this process alone",
                ""
            );
        }
        group.finish();
    }
}

/// A log of puts or increments, each of another key and written now, in the folder of this backend.
fn write_log(home: &Home, backend: &str, method: Method, records: u64) {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    let now = jiff::Zoned::now();
    let prefix = now.strftime("[%Y-%m-%d %H:%M:%S] [DEBUG] | ").to_string();
    for number in 0..records {
        let key = format!("key:{number:010}");
        let value = match method {
            Method::Zadd => key.clone(),
            _ => "v".repeat(100),
        };
        let record = Record {
            table: if method == Method::Zadd {
                b"scores"
            } else {
                b""
            },
            score: 1,
            opt: i8::from(method == Method::Zadd),
            ..Record::new(method, key.as_bytes(), value.as_bytes())
        };
        bytes.clear();
        record.encode(&mut bytes);
        line::encode(prefix.as_bytes(), &bytes, &mut text);
    }
    let log = now.strftime("%Y-%m-%d-%H-%M.log").to_string();
    fs::write(home.logs().join(backend).join(log), text).expect("a log can be written");
}

/// How long a backend must have refused connections until a line counts as missed for sure, and a
/// little.
const SURELY_DEAD_AFTER: Duration = Duration::from_secs(4);

/// Replays a log that is written while its backend refuses connections. `seen`: the server runs by
/// then, and so knows that nothing of it was applied. Returns the time from the first
/// acknowledgement to the last, and how many lookups there were.
fn replay_once(method: Method, records: u64, seen: bool) -> (Duration, u64) {
    let home = Home::make();
    let listen = free_address();
    let backend = listen.to_string();
    fs::create_dir(home.logs().join(&backend)).expect("a folder can be made");
    let config = || home.config(&[("release_interval", json!("1h"))]);
    let engine = if seen {
        let engine = start(config());
        thread::sleep(SURELY_DEAD_AFTER);
        write_log(&home, &backend, method, records);
        thread::sleep(SURELY_DEAD_AFTER);
        engine
    } else {
        write_log(&home, &backend, method, records);
        start(config())
    };
    let _sink = Sink::start_at(&backend);
    while settled(&engine) == 0 {
        thread::yield_now();
    }
    let begin = Instant::now();
    while settled(&engine) < records {
        thread::sleep(Duration::from_millis(1));
    }
    let took = begin.elapsed();
    let snapshot = engine.snapshot();
    let lookups = snapshot.backends().iter().map(|it| it.counts.asked).sum();
    engine.stop();
    let _ = engine.wait();
    (took, lookups)
}

/// An address at which nobody listens.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has an address")
}

/// Records of a run of `increments`.
const INCREMENTS: u64 = 400_000;

/// Increments beside puts: those that may be applied are looked up, in bursts. What is printed is
/// the rate of puts that each has, of runs that follow each other.
fn increments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("increments");
    group
        .throughput(Throughput::Elements(INCREMENTS))
        .sample_size(10);
    let mut spent = [(Duration::ZERO, 0, 0); 3];
    for (at, (name, method, seen)) in [
        ("puts", Method::Put, false),
        ("not looked up", Method::Zadd, true),
        ("looked up", Method::Zadd, false),
    ]
    .into_iter()
    .enumerate()
    {
        group.bench_function(name, |bench| {
            bench.iter_custom(|iterations| {
                let mut all = Duration::ZERO;
                for _ in 0..iterations {
                    let (took, lookups) = replay_once(method, INCREMENTS, seen);
                    all += took;
                    spent[at].2 += lookups;
                }
                spent[at].0 += all;
                spent[at].1 += iterations;
                all
            });
        });
    }
    group.finish();
    let seconds = |(took, runs, _): (Duration, u64, u64)| took.as_secs_f64() / runs.max(1) as f64;
    for (name, spent_at) in [("not looked up", spent[1]), ("looked up", spent[2])] {
        println!(
            "{:24}{name}: {:.2} of the rate of puts, {:.2} lookups a record",
            "",
            seconds(spent[0]) / seconds(spent_at),
            spent_at.2 as f64 / (spent_at.1.max(1) * INCREMENTS) as f64
        );
    }
}

/// One poll of HA's, on a connection that is kept.
fn poll(stream: &mut TcpStream, answer: &mut [u8]) -> usize {
    const POLL: &[u8] =
        b"GET /sync_status?backend_count=64 HTTP/1.1\r\nHost: h\r\nAuthorization: Basic \
          c3luYzpzeW5j\r\n\r\n";
    stream.write_all(POLL).expect("the HTTP server is open");
    stream.read(answer).expect("the HTTP server answers")
}

fn http_server(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the HTTP server is open");
    stream.set_nodelay(true).expect("a socket has options");
    stream
}

/// Enough to be replaying for longer than the polls take.
const POLLED_RECORDS: u64 = 3_000_000;

/// Polls that are timed in one of criterion's samples.
const POLLS_PER_SAMPLE: u64 = 20;

/// `/sync_status`, a thousand polls a second, of a server that is idle and of one that replays at
/// full rate.
fn polls(criterion: &mut Criterion) {
    let sink = Sink::start();
    let mut group = criterion.benchmark_group("sync_status");
    group
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    for (name, records) in [("idle", 0), ("while replaying", POLLED_RECORDS)] {
        let home = Home::make();
        Workload::uniform(records, 100, now_unix())
            .write(&home.logs(), &sink.name)
            .expect("the logs can be written");
        let engine = start(home.config(&[]));
        let mut answer = vec![0; 64 * 1024];
        let mut stream = http_server(engine.local_addr());
        let mut polls = 0;
        let mut settled_last = 0;
        group.bench_function(name, |bench| {
            bench.iter_custom(|iterations| {
                // At a pace that the HTTP server doesn't take for a flood; so not every one that is
                // asked for.
                let done = iterations.min(POLLS_PER_SAMPLE);
                let mut took = Duration::ZERO;
                for _ in 0..done {
                    // A connection is closed after max_keepalive_requests.
                    polls += 1;
                    if polls % 1000 == 0 {
                        stream = http_server(engine.local_addr());
                    }
                    thread::sleep(Duration::from_millis(1));
                    let begin = Instant::now();
                    black_box(poll(&mut stream, &mut answer));
                    took += begin.elapsed();
                }
                settled_last = settled(&engine);
                took.mul_f64(iterations as f64 / done as f64)
            });
        });
        assert!(
            records == 0 || settled_last < records,
            "it replayed as long as it was polled"
        );
        engine.stop();
        let _ = engine.wait();
    }
    group.finish();
}

criterion_group!(end_to_end, replays, increments, polls);
criterion_main!(end_to_end);
