//! Each method's rate beside puts', to the fake HustDB at once. Increments that HA may have applied
//! itself are looked up first.
//!
//! A mix of all methods is a mix of their costs, and an eighth of it is looked up first: it is held
//! against the rate that its parts had, each by itself.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hustdbsync::internals::binlog::{Method, Record, line};
use hustdbsync::internals::workload::Workload;

use crate::common::now_unix;
use crate::figure::{Figure, Runs};
use crate::report::{Bound, Row};
use crate::server::{Home, number_of_metric};
use crate::sink::{Sink, free_addresses};
use crate::{Options, Outcome, turns};

const RECORDS: u64 = 400_000;
/// Measured from when so many are settled. Lookups are held back for a quarter of a second when a
/// backend comes up; what waits behind none of them does not, and would begin before.
const FIRST: u64 = RECORDS / 10;
/// Places among the contenders.
const PUTS: usize = 0;
const DELETES: usize = 1;
const HSET: usize = 2;
const SADD: usize = 3;
const LOOKED_UP: usize = 4;
const MIXED: usize = 6;
/// How long a backend must have refused connections until a line counts as missed for sure, and a
/// little.
const SURELY_DEAD_AFTER: Duration = Duration::from_secs(4);

/// What a log has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Only(Method),
    /// Increments that are written while the server knows that the backend is dead.
    Missed,
    /// All eight methods; of plain keys, as the others, or as HA's clients may spell them, with
    /// times to live.
    Mixed {
        varied: bool,
    },
    /// Puts as HA's clients may spell them, with times to live.
    VariedPuts,
}

impl Lines {
    fn workload(self) -> Option<Workload> {
        let mixed = Workload::mixed(RECORDS, now_unix());
        match self {
            Self::Mixed { varied } => Some(Workload { varied, ..mixed }),
            Self::VariedPuts => Some(Workload {
                mix: vec![(Method::Put, 1)],
                ..mixed
            }),
            Self::Only(_) | Self::Missed => None,
        }
    }

    fn least(self) -> Option<f64> {
        match self {
            Self::Only(Method::Zadd) => Some(0.45),
            Self::Only(_) | Self::Missed => Some(0.9),
            Self::Mixed { .. } | Self::VariedPuts => None,
        }
    }

    /// Whether most of its records, or some, or none, are looked up first.
    fn lookups(self) -> Range<u64> {
        match self {
            Self::Only(Method::Zadd) => RECORDS / 2..u64::MAX,
            Self::Mixed { .. } => RECORDS / 20..RECORDS / 2,
            Self::Only(_) | Self::Missed | Self::VariedPuts => 0..RECORDS / 20,
        }
    }
}

/// Who among the contenders stands for a method of the mix.
fn part_of(method: Method) -> usize {
    match method {
        Method::Del | Method::Hdel => DELETES,
        Method::Hset => HSET,
        Method::Sadd | Method::Srem => SADD,
        Method::Zadd | Method::Zrem => LOOKED_UP,
        _ => PUTS,
    }
}

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let contenders = [
        ("puts", Lines::Only(Method::Put)),
        ("deletes", Lines::Only(Method::Del)),
        ("hset", Lines::Only(Method::Hset)),
        ("sadd", Lines::Only(Method::Sadd)),
        ("increments, looked up first", Lines::Only(Method::Zadd)),
        ("increments, not looked up", Lines::Missed),
        ("all methods", Lines::Mixed { varied: false }),
        (
            "all methods, spelt as by clients",
            Lines::Mixed { varied: true },
        ),
        ("puts, spelt as by clients", Lines::VariedPuts),
    ];
    let runs = turns(
        "methods, to the fake HustDB at once",
        options.rounds,
        &contenders,
        |lines| replay(*lines),
    )?;
    let beside_puts = contenders.iter().zip(&runs).skip(1);
    let mut rows: Vec<Row> = beside_puts
        .map(|((name, lines), own)| {
            Row::ratio(
                &format!("{name}: records/s"),
                "puts'",
                own.rate_over(&runs[PUTS]),
                lines.least().map(Bound::AtLeast),
            )
        })
        .collect();
    rows.push(Row::ratio(
        "all methods: records/s",
        "its parts'",
        runs[MIXED].rate_over(&parts(&runs)),
        Some(Bound::AtLeast(0.9)),
    ));
    Ok(rows)
}

/// The mix as it would be if each of its methods were replayed for as long as it takes by itself.
fn parts(runs: &[Runs]) -> Runs {
    let mix = Workload::mixed(1, now_unix()).mix;
    let all: u32 = mix.iter().map(|(_, weight)| weight).sum();
    let of_round = |(round, figure): (usize, &Figure)| {
        let took = mix.iter().map(|(method, weight)| {
            let share = f64::from(*weight) / f64::from(all);
            share / runs[part_of(*method)].0[round].rate
        });
        Figure {
            rate: 1.0 / took.sum::<f64>(),
            ..*figure
        }
    };
    Runs(runs[MIXED].0.iter().enumerate().map(of_round).collect())
}

fn replay(lines: Lines) -> Outcome<Figure> {
    let home = Home::make()?.with("ttl_hold", "0s");
    let backend = free_addresses(1)?.remove(0);
    let folder = home.logs().join(&backend);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut server;
    if lines == Lines::Missed {
        server = home.start()?;
        thread::sleep(SURELY_DEAD_AFTER);
        write(lines, &home.logs(), &backend)?;
        thread::sleep(SURELY_DEAD_AFTER);
    } else {
        write(lines, &home.logs(), &backend)?;
        server = home.start()?;
    }
    let _sink = Sink::fake_hustdb_at(&backend)?;
    let drained = server.drain_from(FIRST, RECORDS)?;
    let lookups = number_of_metric(&server.http_server.metrics()?, "hustdbsync_questions_total")?;
    if !lines.lookups().contains(&lookups) {
        return Err(format!("{lookups} lookups"));
    }
    Ok(Figure {
        rate: drained.rate,
        cpu: drained.cpu,
        sleeps: 0.0,
    })
}

fn write(lines: Lines, logs: &Path, backend: &str) -> Outcome<()> {
    if let Some(workload) = lines.workload() {
        let written = workload.write(logs, backend);
        return written.map(drop).map_err(|error| error.to_string());
    }
    let method = match lines {
        Lines::Only(method) => method,
        _ => Method::Zadd,
    };
    let value = "v".repeat(100);
    let now = jiff::Zoned::now();
    let prefix = now.strftime("[%Y-%m-%d %H:%M:%S] [DEBUG] | ").to_string();
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    for number in 0..RECORDS {
        let key = format!("key:{number:010}");
        let record = Record {
            table: match method {
                Method::Put | Method::Del => b"",
                _ => b"table",
            },
            score: 1,
            opt: i8::from(method == Method::Zadd),
            ..Record::new(
                method,
                key.as_bytes(),
                match method {
                    Method::Put | Method::Hset => value.as_bytes(),
                    Method::Sadd | Method::Zadd => key.as_bytes(),
                    _ => b"",
                },
            )
        };
        bytes.clear();
        record.encode(&mut bytes);
        line::encode(prefix.as_bytes(), &bytes, &mut text);
    }
    let log = logs
        .join(backend)
        .join(now.strftime("%Y-%m-%d-%H-%M.log").to_string());
    fs::write(&log, text).map_err(|error| format!("{}: {error}", log.display()))
}
