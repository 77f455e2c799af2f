//! io_uring beside mio beside wrk: the same bytes to the same nginx over 64 connections, in turns;
//! calls to the kernel, counted; how long requests take.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::backlog::Backlog;
use crate::figure::{Runs, median};
use crate::process::Process;
use crate::report::{Bound, Row};
use crate::rows::wire::{self, Contender, Size};
use crate::server::Home;
use crate::sink::Sink;
use crate::wrk::Wrk;
use crate::{Options, Outcome, turns};

const CONNECTIONS: u32 = 64;
const WRK_SECONDS: u32 = 2;
/// Before calls are counted: connections are made, and the batches are as large as they get.
const WARM_UP: Duration = Duration::from_millis(300);
const COUNTED: Duration = Duration::from_millis(500);

const ENGINES: [&str; 2] = ["mio", "io_uring"];

/// All of it.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let nginx = Sink::nginx(1)?;
    let mut rows = Vec::new();
    for size in [wire::SMALL, wire::KILOBYTE, wire::LARGE] {
        rows.extend(of_size(size, &nginx, options)?);
    }
    Ok(rows)
}

fn home(backlog: &Backlog, sink: &Sink, engine: &str, burst_bytes: u32) -> Outcome<Home> {
    Ok(wire::home(backlog, sink, Some(burst_bytes))?
        .with("engine", engine)
        .with("connections_per_backend", CONNECTIONS))
}

fn of_size(size: Size, nginx: &Sink, options: &Options) -> Outcome<Vec<Row>> {
    let backlog = Backlog::make(size.records, size.value_bytes)?;
    let wrk = Wrk::new(nginx.name(), size.value_bytes, WRK_SECONDS)?.over(CONNECTIONS);
    let mut contenders = vec![("wrk, one request a send".to_owned(), Contender::Wrk(wrk))];
    for (how, burst_bytes) in [("one request a send", 0), ("bursts", 4096)] {
        for engine in ENGINES {
            let home = home(&backlog, nginx, engine, burst_bytes)?;
            contenders.push((
                format!("{engine}, {how}"),
                Contender::Ours(home, size.records),
            ));
        }
    }
    let title = format!("engines, {} values, {CONNECTIONS} connections", size.name);
    let runs = turns(&title, options.rounds, &contenders, Contender::run)?;
    let mut rows = cpu_rows(size, &runs);
    if size.value_bytes == wire::SMALL.value_bytes {
        rows.extend(inside(size, &backlog, nginx, options)?);
    }
    Ok(rows)
}

fn cpu_rows(size: Size, runs: &[Runs]) -> Vec<Row> {
    let [wrk, mio, ring, mio_bursts, ring_bursts] = runs else {
        unreachable!("five are measured")
    };
    let is_small = size.value_bytes == wire::SMALL.value_bytes;
    let row = |how: &str, of: &str, ratio: f64, most: Option<f64>| {
        let what = format!("io_uring, {}, {how}: CPU a record", size.name);
        Row::ratio(&what, of, ratio, most.map(Bound::AtMost))
    };
    let bound = |small: f64| Some(if is_small { small } else { 1.0 });
    vec![
        row(
            "one request a send",
            "mio's",
            ring.cpu_over(mio),
            bound(0.7),
        ),
        row(
            "one request a send",
            "wrk's",
            ring.cpu_over(wrk),
            is_small.then_some(0.75),
        ),
        row(
            "bursts",
            "mio's",
            ring_bursts.cpu_over(mio_bursts),
            bound(0.9),
        ),
    ]
}

/// What one server does inside: calls to the kernel a record, and how long requests take.
#[derive(Clone, Copy)]
struct Inside {
    /// None where nobody counts.
    calls: Option<f64>,
    p99_us: f64,
    mean_us: f64,
}

fn inside(size: Size, backlog: &Backlog, nginx: &Sink, options: &Options) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (how, burst_bytes) in [("one request a send", 0), ("bursts", 4096)] {
        let homes = [
            home(backlog, nginx, ENGINES[0], burst_bytes)?,
            home(backlog, nginx, ENGINES[1], burst_bytes)?,
        ];
        let mut found: [Vec<Inside>; 2] = [Vec::new(), Vec::new()];
        for round in 0..options.rounds as usize {
            for place in [round % 2, 1 - round % 2] {
                found[place].push(look_inside(&homes[place], size.records)?);
            }
        }
        for (engine, found) in ENGINES.iter().zip(&found) {
            eprintln!(
                "  {:32} p99 {:.0} µs, mean {:.0} µs, {} calls a record",
                format!("{engine}, {how}"),
                of(found, |inside| inside.p99_us),
                of(found, |inside| inside.mean_us),
                calls(found).map_or("uncounted".to_owned(), |calls| format!("{calls:.3}"))
            );
        }
        let name = |what: &str| format!("io_uring, {}, {how}: {what}", size.name);
        rows.push(match calls(&found[1]) {
            Some(calls) => Row {
                what: name("system calls a record, all threads"),
                goal: "< 0.1".to_owned(),
                figure: format!("{calls:.3}"),
                passed: Some(calls < 0.1),
                numbers: json!({ "calls": calls }),
            },
            None => Row {
                what: name("system calls a record"),
                goal: "< 0.1".to_owned(),
                figure: "not counted: perf can't trace raw_syscalls here".to_owned(),
                passed: Some(false),
                numbers: json!(null),
            },
        });
        let pairs = found[1].iter().zip(&found[0]);
        let ratio = median(pairs.map(|(ring, mio)| ring.p99_us / mio.p99_us).collect());
        rows.push(Row::ratio(
            &name("p99 of a request"),
            "mio's",
            ratio,
            Some(Bound::AtMost(1.0)),
        ));
    }
    Ok(rows)
}

fn of(found: &[Inside], what: impl Fn(&Inside) -> f64) -> f64 {
    median(found.iter().map(what).collect())
}

fn calls(found: &[Inside]) -> Option<f64> {
    let calls: Option<Vec<f64>> = found.iter().map(|inside| inside.calls).collect();
    calls.map(median)
}

/// Counts the calls of half a second, and takes the durations of all requests from the server's own
/// histogram: of a run without counting.
fn look_inside(home: &Home, records: u64) -> Outcome<Inside> {
    let mut server = home.start()?;
    server.look_until(1)?;
    thread::sleep(WARM_UP);
    let (before, _, _) = server.look_until(1)?;
    let calls = count_calls(&server.process)?;
    let (after, _, _) = server.look_until(before)?;
    let counted = (after - before) as f64;
    if after >= records {
        return Err("the log was over while calls were counted".to_owned());
    }
    drop(server);
    let mut server = home.start()?;
    server.drain(records)?;
    let text = server.http_server.metrics()?;
    let (p99_us, mean_us) =
        durations(&text).ok_or_else(|| format!("no durations in {text:.2000}"))?;
    Ok(Inside {
        calls: calls.map(|calls| calls / counted),
        p99_us,
        mean_us,
    })
}

/// System calls of a process in [`COUNTED`], by the kernel's own trace points; none where they
/// can't be had.
fn count_calls(process: &Process) -> Outcome<Option<f64>> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("calls");
    let counted = Command::new("perf")
        .args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p"])
        .arg(process.id().to_string())
        .arg("-o")
        .arg(&file)
        .args(["sleep", &COUNTED.as_secs_f64().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !counted.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
    let line = text.lines().find(|line| line.contains("sys_enter"));
    Ok(line.and_then(|line| line.split(',').next()?.parse().ok()))
}

/// The 99th of a hundred requests and their mean, in µs; between a bucket's bounds they are taken
/// to be spread evenly.
fn durations(metrics: &str) -> Option<(f64, f64)> {
    let name = "hustdbsync_request_duration_seconds";
    let number = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    let line = |suffix: &str| {
        let begin = format!("{name}_{suffix}");
        metrics.lines().find(|line| line.starts_with(&begin))
    };
    let (sum, count) = (number(line("sum")?)?, number(line("count")?)?);
    let buckets = metrics.lines().filter_map(|line| {
        let (_, behind) = line
            .strip_prefix(&format!("{name}_bucket"))?
            .split_once("le=\"")?;
        let (bound, _) = behind.split_once('"')?;
        Some((bound.parse::<f64>().ok()?, number(line)?))
    });
    let (wanted, mut low) = (0.99 * count, (0.0, 0.0));
    for (bound, up_to) in buckets {
        if up_to >= wanted && bound.is_finite() {
            let share = (wanted - low.1) / (up_to - low.1).max(1.0);
            let p99 = low.0 + share * (bound - low.0);
            return Some((p99 * 1e6, sum / count * 1e6));
        }
        low = (bound, up_to);
    }
    None
}
