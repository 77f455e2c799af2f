//! End to end against wrk: the same bytes to the same sink over as many connections, in turns.

use crate::backlog::Backlog;
use crate::figure::{Figure, Runs};
use crate::report::{Bound, Row};
use crate::server::Home;
use crate::sink::Sink;
use crate::wrk::Wrk;
use crate::{Options, Outcome, turns};

/// Bodies of one size, and how many make a run of about as long as wrk's.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) value_bytes: usize,
    pub(crate) records: u64,
}

pub(crate) const SMALL: Size = Size {
    name: "100 B",
    value_bytes: 100,
    records: 500_000,
};
pub(crate) const KILOBYTE: Size = Size {
    name: "1 KB",
    value_bytes: 1024,
    records: 250_000,
};
pub(crate) const LARGE: Size = Size {
    name: "64 KB",
    value_bytes: 65_536,
    records: 16_000,
};
const WRK_SECONDS: u32 = 2;
/// Of a machine on which wrk takes 13.5 for one of its own.
const LARGE_CPU_US_MAX: f64 = 32.0;

/// Who is measured.
pub(crate) enum Contender {
    /// It posts one request made before.
    Wrk(Wrk),
    /// A home with a backlog of so many records.
    Ours(Home, u64),
}

impl Contender {
    pub(crate) fn run(&self) -> Outcome<Figure> {
        match self {
            Self::Wrk(wrk) => wrk.run(),
            Self::Ours(home, records) => home.replay(*records),
        }
    }
}

/// A home with this backlog for this sink.
pub(crate) fn home(backlog: &Backlog, sink: &Sink, burst_bytes: Option<u32>) -> Outcome<Home> {
    let home = Home::make()?;
    backlog.link(&home.logs(), sink.name())?;
    Ok(match burst_bytes {
        Some(bytes) => home.with("burst_bytes", bytes),
        None => home,
    })
}

/// Measures one size, and says how it stands with the goals for it.
pub(crate) fn compare(size: Size, options: &Options) -> Outcome<Vec<Row>> {
    let nginx = Sink::nginx(1)?;
    let backlog = Backlog::make(size.records, size.value_bytes)?;
    let wrk = Wrk::new(nginx.name(), size.value_bytes, WRK_SECONDS)?;
    let ours = |home| Contender::Ours(home, size.records);
    let mut contenders = vec![
        ("wrk, one request a send", Contender::Wrk(wrk)),
        (
            "ours, one request a send",
            ours(home(&backlog, &nginx, Some(0))?),
        ),
        ("ours, bursts", ours(home(&backlog, &nginx, None)?)),
    ];
    let fake_hustdb = Sink::fake_hustdb()?;
    contenders.push((
        "ours, bursts, to the fake HustDB at once",
        ours(home(&backlog, &fake_hustdb, None)?),
    ));
    let title = format!("{} values", size.name);
    let runs = turns(&title, options.rounds, &contenders, Contender::run)?;
    Ok(rows(size, &runs))
}

fn rows(size: Size, runs: &[Runs]) -> Vec<Row> {
    let [wrk, single, bursts, fake_hustdb] = runs else {
        unreachable!("four are measured")
    };
    let least = |bound| Some(Bound::AtLeast(bound));
    let most = |bound| Some(Bound::AtMost(bound));
    let row = |who: &str, what: &str, of: &str, figure, bound| {
        Row::ratio(&format!("{}, {who}: {what}", size.name), of, figure, bound)
    };
    let both = |who: &str, runs: &Runs, rate: Option<Bound>, cpu: Option<Bound>| {
        [
            row(
                who,
                "records/s",
                "wrk's requests/s",
                runs.rate_over(wrk),
                rate,
            ),
            row(
                who,
                "CPU a record",
                "wrk's a request",
                runs.cpu_over(wrk),
                cpu,
            ),
        ]
    };
    if size.value_bytes == SMALL.value_bytes {
        let mut rows = Vec::from(both("one request a send", single, least(1.0), most(1.0)));
        rows.extend(both("bursts", bursts, least(1.2), most(0.6)));
        rows.extend(both(
            "bursts to the fake HustDB at once",
            fake_hustdb,
            None,
            most(0.3),
        ));
        rows
    } else {
        // wrk's buffer is hot; of large values what nobody can avoid is the measure, in `floor`.
        let is_judged = size.value_bytes < LARGE.value_bytes;
        let bound = |bound: Option<Bound>| bound.filter(|_| is_judged);
        let mut rows = Vec::from(both("one request a send", single, None, None));
        rows.extend(both(
            "bursts (default)",
            bursts,
            bound(least(0.95)),
            bound(most(1.0)),
        ));
        if !is_judged {
            rows.push(Row::number(
                &format!("{}, bursts (default): CPU a record", size.name),
                bursts.cpu_us().0,
                "µs",
                Bound::AtMost(LARGE_CPU_US_MAX),
            ));
        }
        rows.extend(both(
            "bursts to the fake HustDB at once",
            fake_hustdb,
            None,
            None,
        ));
        rows
    }
}
