//! `demo`: the whole job in one command, on parts of its own.
//!
//! ```text
//! fake HustDBs listen ─▶ logs are written ─▶ the server starts ─▶ all is settled
//!                     ─▶ every key is compared ─▶ the rate
//! ```
//!
//! Contract: everything is on loopback and below one temporary folder, which goes away unless
//! something was wrong or `--keep` was given. Exit code 0 means that every key on every backend was
//! as it should be.

mod drain;
mod home;
mod logs;
mod progress;
mod reconcile;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{DecimalBytes, HumanCount};
use rustix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::failure::Failure;
use super::logging::LevelHandle;
use super::output;
use super::run::{start, wait};
use crate::fake_hustdb::FakeHustdb;

use drain::drain;
use home::{Home, start_fake_hustdb};
use logs::{Job, Source};

/// What `demo` takes.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Records to replay, shared by all backends
    #[arg(
        long, value_name = "N", default_value_t = 200_000, conflicts_with = "logs",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    records: u64,
    /// Bytes of each value
    #[arg(
        long, value_name = "N", default_value_t = 100, conflicts_with = "logs",
        value_parser =
            clap::value_parser!(u32).range(1..=crate::limits::VALUE_BYTES_MAX as i64)
    )]
    value_bytes: u32,
    /// Backends: fake HustDBs in this process [default: 2, or one for each folder of
    /// --logs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    backends: Option<u16>,
    /// Replay these logs instead: FOLDER/*.log to each backend, or each FOLDER/<name>/*.log to one
    /// of its own
    #[arg(long, value_name = "FOLDER")]
    logs: Option<PathBuf>,
    /// Show an outage of one of two masters while clients write on: the log alone leaves keys
    /// wrong, and comparing with the other master repairs them (sync.reconcile)
    #[arg(long, conflicts_with_all = ["logs", "backends"])]
    reconcile: bool,
    /// Workers of the server [default: the configuration's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Keep the folder with logs, configuration and state, and say where it is
    #[arg(long)]
    keep: bool,
}

/// Runs the demo. False where something is not as it should be.
pub(super) fn demo(args: &DemoArgs) -> Result<bool, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|error| format!("signals can't be received: {error}"))?;
    }
    let home = Home::make(args.threads, args.reconcile)?;
    let kept = args.keep;
    let told = match args.reconcile {
        true => {
            let value_bytes = args.value_bytes as usize;
            reconcile::tell(args.records, value_bytes, &home, &interrupted)
        }
        false => tell(args, &home, &interrupted),
    };
    let good = matches!(told, Ok(true));
    if kept || !good {
        output::tell(format_args!(
            "\nLogs, configuration and state are kept: {}",
            home.keep().display()
        ));
    }
    told
}

/// The demo's story.
fn tell(args: &DemoArgs, home: &Home, interrupted: &AtomicBool) -> Result<bool, Failure> {
    let source = match &args.logs {
        Some(folder) => Source::find(folder, args.backends.map(usize::from))?,
        None => Source::Made {
            records: args.records,
            value_bytes: args.value_bytes as usize,
            backends: args.backends.unwrap_or(2).into(),
        },
    };
    output::tell(format_args!("hustdbsync demo: {source}\n"));

    let fake_hustdbs = (0..source.backends())
        .map(|_| start_fake_hustdb(home))
        .collect::<Result<Vec<_>, _>>()?;
    output::tell(format_args!(
        "1. Fake HustDBs listen, as masters that have come back, empty: {}",
        names(&fake_hustdbs)
    ));

    let jobs = source.write(&home.logs(), &fake_hustdbs, !args.keep)?;
    let (lines, bytes) = totals(&jobs);
    let files = jobs.iter().map(|job| job.files).sum::<usize>();
    output::tell(format_args!(
        "2. Logs lie there as HA left them: {} lines in {files} file{}, {}",
        HumanCount(lines),
        if files == 1 { "" } else { "s" },
        DecimalBytes(bytes)
    ));
    if args.logs.is_none() {
        output::tell(format_args!(
            "   (all eight methods; keys in many spellings, overwritten, deleted and made again; \
             some expired)"
        ));
    }

    output::tell("3. The sync server starts, finds them and replays them:");
    let (begun, cpu_before) = (Instant::now(), cpu_time());
    let engine = start(home.config()?, LevelHandle::fixed(), false)
        .map_err(|error| format!("could not start: {error}"))?;
    let each: Vec<_> = jobs
        .iter()
        .map(|job| (job.backend.clone(), job.lines))
        .collect();
    let drained = drain(&engine, &each, interrupted, || Ok(()));
    let (took, cpu) = (begun.elapsed(), cpu_time().saturating_sub(cpu_before));
    engine.stop();
    let ended = wait(engine);
    drained?;
    ended?;

    output::tell("4. Every key on every backend is compared with what a healthy master holds:");
    let good = verify::verify(&jobs, &fake_hustdbs);
    if good {
        output::tell(format_args!("\n{}", speed(lines, bytes, took, cpu)));
    }
    Ok(good)
}

fn names(fake_hustdbs: &[FakeHustdb]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = fake_hustdbs
        .iter()
        .take(SHOWN)
        .map(FakeHustdb::name)
        .collect();
    match fake_hustdbs.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn totals(jobs: &[Job]) -> (u64, u64) {
    jobs.iter().fold((0, 0), |(lines, bytes), job| {
        (lines + job.lines, bytes + job.bytes)
    })
}

/// CPU time of this process, all threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(time.tv_nsec.unsigned_abs())
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people, of three digits or so"
)]
fn speed(lines: u64, bytes: u64, took: Duration, cpu: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-9);
    let mut text = format!(
        "{} records in {seconds:.2} s: {} records/s, {:.1} MB/s of log, {:.1} µs of CPU a record\n\
         (from the server's start to the last acknowledgement; the fake HustDBs run in this \
         process, so their CPU is in it: {} µs of \
         work a request, each answered by itself, as hustdb does)",
        HumanCount(lines),
        HumanCount((lines as f64 / seconds) as u64),
        bytes as f64 / seconds / 1e6,
        cpu.as_secs_f64() * 1e6 / lines.max(1) as f64,
        crate::fake_hustdb::SERVICE_TIME.as_micros(),
    );
    if cfg!(debug_assertions) {
        text.push_str(
            "\nThis is a debug build; `cargo run --release -- demo` is several times faster.",
        );
    }
    text
}
