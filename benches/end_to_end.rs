//! The whole server over real files and sockets, against a fake HustDB in a process of its own; and
//! HA's polls, idle and while it replays. CPU a record is printed beside criterion's times.

mod common;

use std::fs;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::{Home, Sink, cpu_time, now_unix};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hustdbsync::binlog::{Method, Record, line};
use hustdbsync::config::Config;
use hustdbsync::engine::{Engine, EngineOptions};
use hustdbsync::workload::Workload;
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

/// A log of puts or increments, each of another key, in the folder of this backend.
fn write_log(home: &Home, backend: &str, method: Method, records: u64) {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    for number in 0..records {
        let key = format!("key:{number:010}");
        let value = match method {
            Method::Zadd => key.clone(),
            _ => "v".repeat(100),
        };
        let record = Record {
            method,
            version: 1,
            key: key.as_bytes(),
            expires_unix: 0,
            table: if method == Method::Zadd {
                b"scores"
            } else {
                b""
            },
            score: 1,
            opt: i8::from(method == Method::Zadd),
            value: value.as_bytes(),
        };
        bytes.clear();
        record.encode(&mut bytes);
        line::encode(b"[2026-11-22 16:40:38] [DEBUG] | ", &bytes, &mut text);
    }
    let folder = home.logs().join(backend);
    fs::create_dir_all(&folder).expect("a folder can be made");
    fs::write(folder.join("2026-11-22-16-40.log"), text).expect("a log can be written");
}

/// Replays a log that is there at the start, whose increments are looked up, or that comes later.
/// Gives the time from then to the last acknowledgement, and how many lookups there were.
fn replay_once(backend: &str, method: Method, records: u64, is_there: bool) -> (Duration, u64) {
    let home = Home::make();
    let config = home.config(&[("release_interval", json!("1h"))]);
    if is_there {
        write_log(&home, backend, method, records);
    }
    let mut begin = Instant::now();
    let engine = start(config);
    if !is_there {
        let aside = Home::make();
        write_log(&aside, backend, method, records);
        fs::create_dir(home.logs().join(backend)).expect("a folder can be made");
        thread::sleep(Duration::from_secs(1));
        begin = Instant::now();
        let name = format!("{backend}/2026-11-22-16-40.log");
        fs::rename(aside.logs().join(&name), home.logs().join(&name)).expect("it can be moved");
    }
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

/// Records of a run of `increments`.
const INCREMENTS: u64 = 100_000;

/// Increments beside puts: those that may be applied are looked up, in bursts. What is printed is
/// the rate of puts that each has, of runs that follow each other.
fn increments(criterion: &mut Criterion) {
    let sink = Sink::start();
    let mut group = criterion.benchmark_group("increments");
    group
        .throughput(Throughput::Elements(INCREMENTS))
        .sample_size(10);
    let mut spent = [(Duration::ZERO, 0, 0); 3];
    for (at, (name, method, is_there)) in [
        ("puts", Method::Put, true),
        ("not looked up", Method::Zadd, false),
        ("looked up", Method::Zadd, true),
    ]
    .into_iter()
    .enumerate()
    {
        group.bench_function(name, |bench| {
            bench.iter_custom(|iterations| {
                let mut all = Duration::ZERO;
                for _ in 0..iterations {
                    let (took, lookups) = replay_once(&sink.name, method, INCREMENTS, is_there);
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
        b"GET /sync_status?backend_count=64 HTTP/1.1\r\nHost: h\r\nAuthorization: Basic c3luYzpzeW5j\r\n\r\n";
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
