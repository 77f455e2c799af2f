//! Each method's rate beside puts', to the fake HustDB at once. Increments that HA may have applied
//! itself are looked up first.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hustdbsync::internals::binlog::{Method, Record, line};
use hustdbsync::internals::workload::Workload;

use crate::common::now_unix;
use crate::figure::Figure;
use crate::report::{Bound, Row};
use crate::server::{Home, number_of_metric};
use crate::sink::{Sink, free_addresses};
use crate::{Options, Outcome, turns};

const RECORDS: u64 = 400_000;
/// How long a backend must have refused connections until a line counts as missed for sure, and a
/// little.
const SURELY_DEAD_AFTER: Duration = Duration::from_secs(4);

/// What a log has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Only(Method),
    /// Increments that are written while the server knows that the backend is dead.
    Missed,
    /// All eight methods, as HA's clients may use them.
    Mixed,
}

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let contenders = [
        ("puts", Lines::Only(Method::Put)),
        ("deletes", Lines::Only(Method::Del)),
        ("hset", Lines::Only(Method::Hset)),
        ("sadd", Lines::Only(Method::Sadd)),
        ("all methods", Lines::Mixed),
        ("increments, not looked up", Lines::Missed),
        ("increments, looked up first", Lines::Only(Method::Zadd)),
    ];
    let runs = turns(
        "methods, to the fake HustDB at once",
        options.rounds,
        &contenders,
        |lines| replay(*lines),
    )?;
    let puts = &runs[0];
    let judged = contenders.iter().zip(&runs).skip(1);
    Ok(judged
        .map(|((name, lines), runs)| {
            let least = match lines {
                Lines::Only(Method::Zadd) => 0.45,
                _ => 0.9,
            };
            Row::ratio(
                &format!("{name}: records/s"),
                "puts'",
                runs.rate_over(puts),
                Some(Bound::AtLeast(least)),
            )
        })
        .collect())
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
    let drained = server.drain(RECORDS)?;
    let lookups = number_of_metric(&server.http_server.metrics()?, "hustdbsync_questions_total")?;
    let is_looked_up = lookups >= RECORDS / 2;
    if is_looked_up != (lines == Lines::Only(Method::Zadd)) {
        return Err(format!("{lookups} lookups"));
    }
    Ok(Figure {
        rate: drained.rate,
        cpu: drained.cpu,
        sleeps: 0.0,
    })
}

fn write(lines: Lines, logs: &Path, backend: &str) -> Outcome<()> {
    let method = match lines {
        Lines::Only(method) => method,
        Lines::Missed => Method::Zadd,
        Lines::Mixed => {
            let workload = Workload::mixed(RECORDS, now_unix());
            let written = workload.write(logs, backend);
            return written.map(drop).map_err(|error| error.to_string());
        }
    };
    let value = "v".repeat(100);
    let now = jiff::Zoned::now();
    let prefix = now.strftime("[%Y-%m-%d %H:%M:%S] [DEBUG] | ").to_string();
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    for number in 0..RECORDS {
        let key = format!("key:{number:010}");
        let record = Record {
            method,
            version: 1,
            key: key.as_bytes(),
            expires_unix: 0,
            table: match method {
                Method::Put | Method::Del => b"",
                _ => b"table",
            },
            score: 1,
            opt: i8::from(method == Method::Zadd),
            value: match method {
                Method::Put | Method::Hset => value.as_bytes(),
                Method::Sadd | Method::Zadd => key.as_bytes(),
                _ => b"",
            },
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
