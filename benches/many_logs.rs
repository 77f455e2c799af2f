//! What a log costs, and that it costs the same however many there are: 10,000 and 100,000 logs of
//! one line each lie there as the server starts.
//!
//! The server is the real binary in a process of its own, every setting as it is shipped; the
//! backend is a sink in another. The logs' last change is an hour ago, so that each may go as soon
//! as it is settled. Measured is from the start until the folder is empty: finding, reading,
//! sending, the checkpoints, the deletions. Exit code 1 where a log costs more CPU than it may, or
//! more among many than among few.
//!
//! `cargo bench --bench many_logs -- --logs 5000` is that many, and ten times as many.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use common::server::Server;
use common::{Home, Sink};
use hustdbsync::internals::binlog::{Method, Record, line};
use indicatif::{BinaryBytes, HumanCount};

/// CPU of the server, all threads.
const CPU_A_LOG_MAX: Duration = Duration::from_micros(100);
/// A log among ten times as many costs at most so many times as much. It should be once; a loaded
/// machine strays.
const RATIO_MAX: f64 = 1.5;
/// So long without one log less means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Parser)]
struct Arguments {
    /// Logs of the smaller backlog
    #[arg(long, default_value_t = 10_000)]
    logs: u32,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let Arguments { logs, .. } = Arguments::parse();
    let few = run(logs);
    let many = run(logs * 10);
    let ratio = many.as_secs_f64() / few.as_secs_f64();
    println!("a log among ten times as many costs {ratio:.2} times as much");
    if many <= CPU_A_LOG_MAX && ratio <= RATIO_MAX {
        ExitCode::SUCCESS
    } else {
        println!("MISSED: at most {CPU_A_LOG_MAX:?} a log, and {RATIO_MAX} times as much");
        ExitCode::FAILURE
    }
}

/// The server's life from its start until every log has gone; gives the CPU time of a log.
fn run(logs: u32) -> Duration {
    let home = Home::make();
    let sink = Sink::start();
    let folder = home.logs().join(&sink.name);
    write_logs(&folder, logs);
    let begin = Instant::now();
    let server = Server::start(&home.write_config(&[]));
    let (mut left_before, mut moved) = (0, begin);
    loop {
        let left = fs::read_dir(&folder).expect("it stays").count();
        if left == 0 {
            break;
        }
        if left != left_before {
            (left_before, moved) = (left, Instant::now());
        }
        assert!(moved.elapsed() < PATIENCE, "stuck: {left} logs are left");
        thread::sleep(LOOK_INTERVAL);
    }
    let (took, cpu) = (begin.elapsed(), server.cpu_time());
    println!(
        "{} logs of one line: gone in {took:.2?}, {:.1} µs a log; {:.1} µs of CPU a log; {} \
         resident",
        HumanCount(logs.into()),
        took.as_secs_f64() * 1e6 / f64::from(logs),
        cpu.as_secs_f64() * 1e6 / f64::from(logs),
        BinaryBytes(server.resident_bytes_max()),
    );
    cpu / logs
}

fn write_logs(folder: &Path, logs: u32) {
    fs::create_dir(folder).expect("a folder can be made");
    let old = SystemTime::now() - Duration::from_secs(3600);
    for number in 0..logs {
        let (mut record, mut text) = (Vec::new(), Vec::new());
        Record::new(Method::Put, format!("key{number}").as_bytes(), b"value").encode(&mut record);
        line::encode(b"[2026-11-22 16:40:38] [DEBUG] | ", &record, &mut text);
        let path = folder.join(format!("{number:07}.log"));
        fs::write(&path, text).expect("a file can be written");
        let file = File::options().append(true).open(&path);
        let file = file.expect("it was written");
        file.set_modified(old).expect("it is ours");
    }
}
