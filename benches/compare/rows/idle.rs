//! 1,000 backends: what they cost while nothing is to be replayed, and what those that have a
//! backlog lose by the others.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use hustdbsync::internals::engine::os::open_files;

use crate::backlog::Backlog;
use crate::figure::Figure;
use crate::report::{Bound, Row};
use crate::server::{Home, Server};
use crate::sink::Sink;
use crate::{Options, Outcome, turns};

const BACKENDS: usize = 1000;
/// Of these have a backlog.
const BUSY: usize = 16;
const RECORDS_EACH: u64 = 80_000;
const VALUE_BYTES: usize = 100;
/// Until all are found and probed.
const WARM_UP: Duration = Duration::from_secs(6);
/// Two rounds of probes.
const IDLE: Duration = Duration::from_secs(10);

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    // A listener for each.
    open_files::raise_bound().map_err(|error| error.to_string())?;
    let nginx = Sink::nginx(BACKENDS)?;
    let backlog = Backlog::make_parts(BUSY as u32, RECORDS_EACH, VALUE_BYTES)?;
    let mut idle = Vec::new();
    let contenders = [
        (format!("{BUSY} backends"), BUSY),
        (format!("{BACKENDS} backends, {BUSY} busy"), BACKENDS),
    ];
    let title = "backends with a backlog among idle ones, 100 B values, nginx";
    let runs = turns(title, options.rounds, &contenders, |backends| {
        let home = Home::make()?.with("connections_per_backend", 2);
        for name in &nginx.names[..*backends] {
            let folder = home.logs().join(name);
            fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let mut server = home.start()?;
        thread::sleep(WARM_UP);
        if *backends == BACKENDS {
            idle.push(idle_cpu(&server)?);
        }
        busy(&home, &mut server, &backlog, &nginx)
    })?;
    let [alone, among] = &runs[..] else {
        unreachable!("two are measured")
    };
    Ok(vec![
        Row::ratio(
            &format!("{BUSY} backends with a backlog among {BACKENDS}: records/s"),
            &format!("that of {BUSY} alone"),
            among.rate_over(alone),
            Some(Bound::AtLeast(0.95)),
        ),
        Row::number(
            &format!("{BACKENDS} idle backends: CPU"),
            100.0 * crate::figure::median(idle),
            "% of a core",
            Bound::AtMost(0.5),
        ),
    ])
}

/// The share of a core while nothing happens.
fn idle_cpu(server: &Server) -> Outcome<f64> {
    let (before, begun) = (server.process.cpu()?, Instant::now());
    thread::sleep(IDLE);
    let cpu = server.process.cpu()? - before;
    Ok(cpu.total() / begun.elapsed().as_secs_f64())
}

fn busy(home: &Home, server: &mut Server, backlog: &Backlog, nginx: &Sink) -> Outcome<Figure> {
    let (before, begun) = (server.process.cpu()?, Instant::now());
    backlog.deal(&home.logs(), &nginx.names[..BUSY])?;
    let (settled, ended, cpu) = server.look_seldom_until(backlog.records)?;
    let records = settled as f64;
    Ok(Figure {
        rate: records / (ended - begun).as_secs_f64(),
        cpu: (cpu - before).over(records),
        sleeps: 0.0,
    })
}
