//! To a sink that answers as hustdb does, each request by itself some 25 µs after the one before;
//! and beside an earlier commit on all sinks.

use super::wire::{SMALL, Size};
use crate::backlog::Backlog;
use crate::figure::Runs;
use crate::report::{Bound, Row};
use crate::server::Home;
use crate::sink::Sink;
use crate::{Options, Outcome, turns};

/// Fewer than for the sinks that answer at once: it takes ten times as long.
const SIZE: Size = Size {
    records: 200_000,
    ..SMALL
};
/// Of hustdb's own cores and ours: what a record may cost in sleeps.
const SLEEPS_MAX: f64 = 0.05;
/// Two medians of one and the same differ by so much.
const NOISE: f64 = 0.03;
/// What `sync.threads` is by default.
const THREADS: u32 = 4;

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for threads in [1, THREADS] {
        let sink = Sink::in_hustdbs_manner()?;
        let how = format!("in hustdb's manner, sync.threads {threads}");
        rows.extend(beside_before(&how, &sink, SIZE, threads, true, options)?);
    }
    for (name, sink) in [
        ("nginx", Sink::nginx(1)?),
        ("the fake HustDB at once", Sink::fake_hustdb()?),
    ] {
        rows.extend(beside_before(name, &sink, SMALL, 1, false, options)?);
    }
    Ok(rows)
}

/// Ours, and the earlier commit's where there is one, on one sink.
fn beside_before(
    name: &str,
    sink: &Sink,
    size: Size,
    threads: u32,
    as_hustdb: bool,
    options: &Options,
) -> Outcome<Vec<Row>> {
    let before = options.before.as_deref();
    if before.is_none() && !as_hustdb {
        return Ok(Vec::new());
    }
    let backlog = Backlog::make(size.records, size.value_bytes)?;
    let home = || -> Outcome<Home> {
        let home = Home::make()?
            .with("threads", threads)
            .with("connections_per_backend", 16);
        backlog.link(&home.logs(), sink.name())?;
        Ok(home)
    };
    let mut contenders = vec![("ours", home()?)];
    if let Some(before) = before {
        contenders.push(("before", home()?.by(before)));
    }
    let what = format!("{}, bursts, {name}", size.name);
    let runs = turns(&what, options.rounds, &contenders, |home| {
        home.replay(size.records)
    })?;
    let mut rows = Vec::new();
    if as_hustdb {
        let sleeps = runs[0].sleeps();
        rows.push(Row::number(
            &format!("{what}: sleeps a record"),
            sleeps,
            "",
            Bound::AtMost(SLEEPS_MAX),
        ));
    }
    if let [ours, before] = &runs[..] {
        rows.extend(ratios(&what, ours, before, as_hustdb));
    }
    Ok(rows)
}

fn ratios(what: &str, ours: &Runs, before: &Runs, as_hustdb: bool) -> [Row; 2] {
    let cpu = if as_hustdb { 0.5 } else { 1.0 + NOISE };
    let row = |of: &str, ratio, bound| {
        Row::ratio(
            &format!("{what}: {of}"),
            "the earlier commit's",
            ratio,
            Some(bound),
        )
    };
    [
        row("CPU a record", ours.cpu_over(before), Bound::AtMost(cpu)),
        row(
            "records/s",
            ours.rate_over(before),
            Bound::AtLeast(1.0 - NOISE),
        ),
    ]
}
