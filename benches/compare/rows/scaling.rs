//! Records a CPU second from 1 to 64 backends and from 1 MB to 10 GB of backlog.

use serde_json::json;

use crate::backlog::Backlog;
use crate::figure::{Figure, Runs};
use crate::report::{Bound, Row};
use crate::server::Home;
use crate::sink::Sink;
use crate::{Options, Outcome, turns};

/// Backends of a run.
const BACKENDS: [usize; 4] = [1, 4, 16, 64];
/// Logs, which are dealt out to the backends.
const PARTS: u32 = 64;
const RECORDS_A_PART: u64 = 20_000;
/// A line of a value of 100 bytes.
const VALUE_BYTES: usize = 100;
const RECORDS_A_LOG: u64 = 400_000;
/// Replayed before the backlog that is measured.
const WARM_RECORDS: u64 = 100_000;
/// The product's default: what 64 backends have each.
const CONNECTIONS_A_BACKEND: u32 = 16;

/// As many records, over more and more backends.
pub(crate) fn backends(options: &Options) -> Outcome<Vec<Row>> {
    let nginx = Sink::nginx(BACKENDS[BACKENDS.len() - 1])?;
    let backlog = Backlog::make_parts(PARTS, RECORDS_A_PART, VALUE_BYTES)?;
    let mut contenders = Vec::new();
    for backends in BACKENDS {
        let home = Home::make()?.with("connections_per_backend", CONNECTIONS_A_BACKEND);
        backlog.deal(&home.logs(), &nginx.names[..backends])?;
        contenders.push((backends.to_string(), home));
    }
    // Told, not judged: how much of the difference is the disk's, which syncs a checkpoint a second for each backend, and how much the
    // kernel's, for which so many connections cost more whoever they belong to.
    let most = nginx.names.len();
    let home = Home::make()?
        .with("connections_per_backend", CONNECTIONS_A_BACKEND)
        .with("checkpoint_interval", "1h");
    backlog.deal(&home.logs(), &nginx.names)?;
    contenders.push((format!("{most}, no checkpoints"), home));
    let connections = CONNECTIONS_A_BACKEND * most as u32;
    let home = Home::make()?.with("connections_per_backend", connections);
    backlog.deal(&home.logs(), &nginx.names[..1])?;
    contenders.push((format!("1, {connections} connections"), home));
    let runs = turns(
        "backends, 100 B values, nginx, 16 connections each",
        options.rounds,
        &contenders,
        |home| {
            let mut server = home.start()?;
            let drained = server.drain(backlog.records)?;
            Ok(Figure {
                rate: drained.rate,
                cpu: drained.cpu,
            })
        },
    )?;
    let names = BACKENDS.map(|backends| backends.to_string());
    Ok(vec![row(
        "records a CPU second, 1 to 64 backends",
        &names,
        &runs[..names.len()],
    )])
}

/// The same server with more and more to do. Each run begins behind the first delivery: a server that has replayed a little is given the
/// backlog, and its CPU is counted from there.
pub(crate) fn backlogs(options: &Options) -> Outcome<Vec<Row>> {
    let standin = Sink::standin()?;
    let line_bytes = Backlog::make(1000, VALUE_BYTES)?.bytes / 1000;
    let warm = Backlog::make_parts(1, WARM_RECORDS, VALUE_BYTES)?;
    let mut contenders = Vec::new();
    let mut bytes = 1_000_000;
    while bytes <= options.backlog_max {
        let records = bytes / line_bytes;
        let parts =
            u32::try_from(records.div_ceil(RECORDS_A_LOG)).map_err(|error| error.to_string())?;
        let backlog = Backlog::make_parts(parts, records / u64::from(parts), VALUE_BYTES)?;
        contenders.push((size_name(bytes), backlog));
        bytes *= 10;
    }
    let names: Vec<String> = contenders.iter().map(|(name, _)| name.clone()).collect();
    let runs = turns(
        "backlog, 100 B values, to the stand-in, behind the first delivery",
        options.rounds,
        &contenders,
        |backlog| {
            // Small ones are over at once: several make one figure.
            let repeats = (200_000 / backlog.records).clamp(1, 10);
            let runs: Outcome<Vec<Figure>> = (0..repeats)
                .map(|_| behind_the_first(&warm, backlog, &standin))
                .collect();
            let runs = Runs(runs?);
            Ok(runs.median())
        },
    )?;
    Ok(vec![row(
        &format!(
            "records a CPU second, {} to {} of backlog",
            names[0],
            names[names.len() - 1]
        ),
        &names,
        &runs,
    )])
}

/// A backlog for a server that is warm.
fn behind_the_first(warm: &Backlog, backlog: &Backlog, sink: &Sink) -> Outcome<Figure> {
    let home = Home::make()?;
    warm.link(&home.logs(), sink.name())?;
    let mut server = home.start()?;
    let (_, begun, cpu_before) = server.look_until(warm.records)?;
    backlog.link_from(&home.logs(), sink.name(), warm.files.len())?;
    let (_, ended, cpu) = server.look_until(warm.records + backlog.records)?;
    let records = backlog.records as f64;
    Ok(Figure {
        rate: records / (ended - begun).as_secs_f64(),
        cpu: (cpu - cpu_before).over(records),
    })
}

/// How far the others are from the first, in records a CPU second.
fn row(what: &str, names: &[String], runs: &[Runs]) -> Row {
    let relative: Vec<f64> = runs.iter().map(|run| runs[0].cpu_over(run)).collect();
    let flat = |ratio: &f64| Bound::AtLeast(0.9).holds(*ratio) && Bound::AtMost(1.1).holds(*ratio);
    let told: Vec<String> = names
        .iter()
        .zip(&relative)
        .map(|(name, ratio)| format!("{name}: {ratio:.2}"))
        .collect();
    Row {
        what: what.to_owned(),
        goal: "flat ± 10 %".to_owned(),
        figure: told.join(", "),
        passed: Some(relative.iter().all(flat)),
        numbers: json!({ "names": names, "relative": relative }),
    }
}

fn size_name(bytes: u64) -> String {
    match bytes / 1_000_000 {
        megabytes @ 0..1000 => format!("{megabytes} MB"),
        megabytes => format!("{} GB", megabytes / 1000),
    }
}
