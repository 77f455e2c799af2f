//! G7: bounded, whatever the backlog. 20 million lines lie there for eight backends as the server
//! starts, one of them dead until the others are almost done. The server is the real binary in a
//! process of its own, every setting as it is shipped; the fake HustDBs are in this process.
//!
//! ```text
//! logs are written ─▶ the server starts ─▶ first delivery ─▶ …
//!                  ─▶ the dead one returns ─▶ its first record ─▶ … ─▶ every log is gone
//! ```
//!
//! What is measured stands in [`Figures`]; what must hold, in [`judge`]. Exit code 1 where
//! something does not. `--lines` makes it smaller: `cargo bench --bench soak -- --lines 400000`
//! takes some seconds. Everything lies in the system's folder for temporary files, 240 bytes a
//! line, and goes away again.

mod common;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use common::folder::bytes_below;
use common::server::Server;
use common::{Home, now_unix};
use hustdbsync::internals::config::Config;
use hustdbsync::internals::fake_hustdb::{FakeHustdb, Options, differences};
use hustdbsync::internals::limits::DELETED_LOGS_WATCHED_MAX;
use hustdbsync::internals::workload::{Workload, Written};
use indicatif::{BinaryBytes, DecimalBytes, HumanCount};

const BACKENDS: usize = 8;
/// The dead one returns when of the others' lines so many percent are delivered.
const RETURN_PERCENT: u64 = 90;
/// Of each backend. Few, so that the fake HustDBs have room: most records are of a key that was
/// written before.
const KEYS: u64 = 50_000;
/// And so log files of each backend.
const MINUTES: u32 = 60;
/// What the process may have beside its memory budget.
const RESIDENT_EXTRA_BYTES: u64 = 32 << 20;
/// How much later than a probe's interval the first record may be.
const FIRST_RECORD_EXTRA: Duration = Duration::from_millis(500);
/// What the process may have open beside what each backend has: threads' polls and wakers, inotify,
/// the HTTP server.
const OPEN_FILES_BASE: usize = 48;
/// Of each backend, beside its lanes: the probe, its logs that are read, its state that is written.
const OPEN_FILES_A_BACKEND: usize = 8;
const STATE_BYTES_MAX: u64 = 1 << 20;
/// So long without one more record delivered or log deleted means that something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

#[derive(Parser)]
struct Arguments {
    /// Lines of backlog, for all backends together
    #[arg(long, default_value_t = 20_000_000)]
    lines: u64,
    /// Bytes of each value: short lines make many records, long ones few
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// What cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let home = Home::make();
    let mut soak = Soak::prepare(
        &home,
        arguments.lines / BACKENDS as u64,
        arguments.value_bytes,
    );
    println!(
        "{} lines for {BACKENDS} backends, one of them dead: {} in {} logs",
        HumanCount(soak.lines * BACKENDS as u64),
        DecimalBytes(soak.written.iter().map(|written| written.bytes).sum()),
        soak.written
            .iter()
            .map(|written| written.files.len())
            .sum::<usize>(),
    );
    let path = home.write_config(&[]);
    let config = Config::load(&path).expect("the settings are right");
    let figures = soak.run(&home, &path);
    let good = judge(&figures, &config) & soak.compare();
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What was measured.
#[derive(Default)]
struct Figures {
    /// From the process's start to the first record at a backend.
    first_delivery: Duration,
    /// What the process had read by then, from files and sockets.
    first_delivery_read_bytes: u64,
    /// From the moment that the dead one listens to its first record.
    first_after_return: Duration,
    resident_bytes_max: u64,
    open_files_max: usize,
    /// The files in the state folder.
    state_bytes_max: u64,
    /// From the process's start to the last record.
    took: Duration,
    cpu: Duration,
    lines: u64,
}

/// Says what was measured, and whether it is as it must be.
fn judge(figures: &Figures, config: &Config) -> bool {
    let first_max = config.sync.probe_interval_down + FIRST_RECORD_EXTRA;
    let resident_max = config.sync.memory_budget as u64 + RESIDENT_EXTRA_BYTES;
    let open_files_max = OPEN_FILES_BASE
        + DELETED_LOGS_WATCHED_MAX
        + BACKENDS * (config.sync.connections_per_backend + OPEN_FILES_A_BACKEND);
    println!(
        "{:.0} records/s, {:.2} µs of CPU a record",
        figures.lines as f64 / figures.took.as_secs_f64(),
        figures.cpu.as_secs_f64() * 1e6 / figures.lines as f64
    );
    let mut good = true;
    let mut check = |what: &str, is: String, most: String, holds: bool| {
        good &= holds;
        let verdict = if holds { "" } else { "  MISSED" };
        println!("  {what:<38} {is:>11}, at most {most}{verdict}");
    };
    let bytes = |bytes| BinaryBytes(bytes).to_string();
    check(
        "start to first delivery",
        format!("{:.0?}", figures.first_delivery),
        format!("{first_max:.0?}"),
        figures.first_delivery <= first_max,
    );
    check(
        "read by then",
        bytes(figures.first_delivery_read_bytes),
        bytes(config.sync.memory_budget as u64),
        figures.first_delivery_read_bytes <= config.sync.memory_budget as u64,
    );
    check(
        "a backend's return to its first record",
        format!("{:.0?}", figures.first_after_return),
        format!("{first_max:.0?}"),
        figures.first_after_return <= first_max,
    );
    check(
        "resident memory",
        bytes(figures.resident_bytes_max),
        bytes(resident_max),
        figures.resident_bytes_max <= resident_max,
    );
    check(
        "open files",
        figures.open_files_max.to_string(),
        open_files_max.to_string(),
        figures.open_files_max <= open_files_max,
    );
    check(
        "state on disk",
        bytes(figures.state_bytes_max),
        bytes(STATE_BYTES_MAX),
        figures.state_bytes_max <= STATE_BYTES_MAX,
    );
    good
}

struct Soak {
    fake_hustdbs: Vec<FakeHustdb>,
    written: Vec<Written>,
    /// Of each backend.
    lines: u64,
}

impl Soak {
    /// Eight fake HustDBs, the last one dead, and so many lines for each.
    fn prepare(home: &Home, lines: u64, value_bytes: usize) -> Self {
        let fake_hustdbs: Vec<_> = (0..BACKENDS)
            .map(|_| FakeHustdb::start(Options::default()).expect("a fake HustDB starts"))
            .collect();
        fake_hustdbs[BACKENDS - 1]
            .kill()
            .expect("it can be taken down");
        let now_unix = now_unix();
        let workload = |seed| Workload {
            keys: KEYS,
            minutes: MINUTES,
            seed,
            begin_unix: now_unix - 60 * u64::from(MINUTES) - 600,
            ..Workload::uniform(lines, value_bytes, now_unix)
        };
        let written = thread::scope(|scope| {
            let writers: Vec<_> = fake_hustdbs
                .iter()
                .zip(1..)
                .map(|(fake_hustdb, seed)| {
                    let logs = home.logs();
                    scope.spawn(move || workload(seed).write(&logs, &fake_hustdb.name()))
                })
                .collect();
            let written = writers.into_iter().map(|writer| {
                let written = writer.join().expect("a writer ends");
                written.expect("the logs can be written")
            });
            written.collect()
        });
        Self {
            fake_hustdbs,
            written,
            lines,
        }
    }

    /// The server's life from its start until every log has gone.
    fn run(&mut self, home: &Home, config: &Path) -> Figures {
        let mut figures = Figures {
            lines: self.lines * BACKENDS as u64,
            ..Figures::default()
        };
        let return_at = self.lines * (BACKENDS as u64 - 1) * RETURN_PERCENT / 100;
        let begin = Instant::now();
        let server = Server::start(config);
        let mut returned = None;
        let (mut progress_before, mut moved) = ((0, 0), begin);
        loop {
            let delivered: u64 = self.fake_hustdbs.iter().map(applied).sum();
            if delivered > 0 && figures.first_delivery.is_zero() {
                figures.first_delivery = begin.elapsed();
                figures.first_delivery_read_bytes = server.read_bytes();
            }
            let last = &self.fake_hustdbs[BACKENDS - 1];
            match returned {
                None if delivered >= return_at => {
                    returned = Some(Instant::now());
                    last.restart().expect("it has its port");
                }
                Some(at) if figures.first_after_return.is_zero() && applied(last) > 0 => {
                    figures.first_after_return = Instant::now() - at;
                }
                _ => {}
            }
            if delivered >= figures.lines && figures.took.is_zero() {
                figures.took = begin.elapsed();
                figures.cpu = server.cpu_time();
            }
            figures.open_files_max = figures.open_files_max.max(server.open_files());
            figures.state_bytes_max = figures
                .state_bytes_max
                .max(bytes_below(&home.state(), &|_| true));
            figures.resident_bytes_max = server.resident_bytes_max();
            let all_delivered = !figures.took.is_zero();
            let logs_bytes = all_delivered.then(|| bytes_below(&home.logs(), &|_| true));
            if logs_bytes == Some(0) {
                return figures;
            }
            let progress = (delivered, logs_bytes.unwrap_or(0));
            if progress != progress_before {
                (progress_before, moved) = (progress, Instant::now());
            }
            assert!(
                moved.elapsed() < PATIENCE,
                "stuck: {delivered} of {} records are delivered; bytes of logs: {logs_bytes:?}",
                figures.lines,
            );
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Whether every backend holds what the healthy master does.
    fn compare(&self) -> bool {
        let mut good = true;
        for (fake_hustdb, written) in self.fake_hustdbs.iter().zip(&self.written) {
            let expected = written.expected(now_unix());
            if let Some(text) = differences(&expected, &fake_hustdb.contents(), 0, 5) {
                good = false;
                println!("MISSED: {} differs\n{text}", fake_hustdb.name());
            }
        }
        if good {
            println!("every log has gone, and every key is as it should be");
        }
        good
    }
}

fn applied(fake_hustdb: &FakeHustdb) -> u64 {
    fake_hustdb.counters().applied
}
