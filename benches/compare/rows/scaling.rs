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

/// As many records over as many connections, over more and more backends.
pub(crate) fn backends(options: &Options) -> Outcome<Vec<Row>> {
    let most = BACKENDS[BACKENDS.len() - 1];
    let nginx = Sink::nginx(most)?;
    let backlog = Backlog::make_parts(PARTS, RECORDS_A_PART, VALUE_BYTES)?;
    let shared = |backends: usize, connections_each: u32| {
        let home = Home::make()?.with("connections_per_backend", connections_each);
        backlog.deal(&home.logs(), &nginx.names[..backends])?;
        Outcome::Ok(home)
    };
    let mut contenders = Vec::new();
    for backends in BACKENDS {
        let home = shared(backends, (most / backends) as u32)?;
        contenders.push((backends.to_string(), home));
    }
    // Told, not judged: the defaults, with which more backends are more connections; and how much
    // of the difference is the connections', whoever they belong to, and how much the disk's, which
    // syncs a checkpoint a second for each backend.
    let defaults = [1, most];
    for backends in defaults {
        let home = shared(backends, CONNECTIONS_A_BACKEND)?;
        contenders.push((format!("{backends}, {CONNECTIONS_A_BACKEND} each"), home));
    }
    let connections = CONNECTIONS_A_BACKEND * most as u32;
    contenders.push((format!("1, {connections}"), shared(1, connections)?));
    let home = shared(most, CONNECTIONS_A_BACKEND)?.with("checkpoint_interval", "1h");
    let name = format!("{most}, {CONNECTIONS_A_BACKEND} each, no checkpoints");
    contenders.push((name, home));
    let title = format!("backends, 100 B values, nginx, {most} connections in all, or as it says");
    let runs = turns(&title, options.rounds, &contenders, |home| {
        let mut server = home.start()?;
        let drained = server.drain(backlog.records)?;
        Ok(Figure {
            rate: drained.rate,
            cpu: drained.cpu,
            sleeps: 0.0,
        })
    })?;
    let names = BACKENDS.map(|backends| backends.to_string());
    let (judged, told) = runs.split_at(BACKENDS.len());
    let each = format!("records a CPU second, 1 to {most} backends");
    Ok(vec![
        row(
            &format!("{each}, {most} connections in all"),
            &names,
            judged,
        ),
        Row {
            goal: "–".to_owned(),
            passed: None,
            ..row(
                &format!("{each}, {CONNECTIONS_A_BACKEND} connections each"),
                &defaults.map(|backends| backends.to_string()),
                &told[..defaults.len()],
            )
        },
    ])
}

/// The same server with more and more to do. Each run begins behind the first delivery: a server
/// that has replayed a little is given the backlog, and its CPU is counted from there.
pub(crate) fn backlogs(options: &Options) -> Outcome<Vec<Row>> {
    let fake_hustdb = Sink::fake_hustdb()?;
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
        "backlog, 100 B values, to the fake HustDB at once, behind the first delivery",
        options.rounds,
        &contenders,
        |backlog| {
            // Small ones are over at once: several make one figure.
            let repeats = (200_000 / backlog.records).clamp(1, 10);
            let runs: Outcome<Vec<Figure>> = (0..repeats)
                .map(|_| behind_the_first(&warm, backlog, &fake_hustdb))
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
        sleeps: 0.0,
    })
}

/// How far each is from the middle of the least and the most, in records a CPU second.
fn row(what: &str, names: &[String], runs: &[Runs]) -> Row {
    let to_first: Vec<f64> = runs.iter().map(|run| runs[0].cpu_over(run)).collect();
    let least = to_first.iter().copied().fold(f64::INFINITY, f64::min);
    let most = to_first.iter().copied().fold(0.0, f64::max);
    let middle = (least + most) / 2.0;
    let relative: Vec<f64> = to_first.iter().map(|ratio| ratio / middle).collect();
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
