//! What checkpoints cost at full rate.
//!
//! One a second is too few to be seen in a run's CPU time. So the two threads that make them, the
//! checkpointer's and the one that writes, are measured with (nearly) none and with many: the
//! difference, divided by how many there were, is one checkpoint's cost; what they cost at the
//! default is that times their number, as a share of the whole process's CPU.

use inotify::{EventMask, Inotify, WatchMask};
use serde_json::json;

use crate::backlog::Backlog;
use crate::figure::median;
use crate::process::Scheduled;
use crate::report::{Bound, Row};
use crate::rows::wire::SMALL;
use crate::server::Home;
use crate::sink::Sink;
use crate::{Options, Outcome};

/// A multiple of the logs that rounds against wrk have: some seconds to the fake HustDB.
const PARTS: u32 = 6;
const NONE: &str = "1h";
const DEFAULT: &str = "1s";
const MANY: &str = "10ms";
const INTERVALS: [&str; 3] = [NONE, DEFAULT, MANY];

/// What one run took.
struct Run {
    /// CPU seconds of the two threads, and of all.
    checkpointer: f64,
    all: f64,
    checkpoints: f64,
}

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let sink = Sink::fake_hustdb()?;
    let backlog = Backlog::make_parts(PARTS, SMALL.records, SMALL.value_bytes)?;
    let (mut one, mut share, mut share_direct, mut a_second) = (vec![], vec![], vec![], vec![]);
    for round in 0..options.rounds as usize {
        // Each of them is first, second and last in turn.
        let mut runs: [Option<Run>; 3] = [const { None }; 3];
        for place in 0..INTERVALS.len() {
            let which = (round + place) % INTERVALS.len();
            runs[which] = Some(run(&backlog, &sink, INTERVALS[which])?);
        }
        let [Some(none), Some(usual), Some(many)] = runs else {
            unreachable!("all three have run")
        };
        let made = many.checkpoints - none.checkpoints;
        if made < 10.0 {
            return Err(format!(
                "only {made} checkpoints more at {MANY} than at {NONE}"
            ));
        }
        let cost = (many.checkpointer - none.checkpointer) / made;
        one.push(cost);
        share.push(cost * usual.checkpoints / usual.all);
        share_direct.push((usual.checkpointer - none.checkpointer) / usual.all);
        a_second.push(usual.checkpointer / usual.all);
    }
    let (one, share) = (median(one) * 1e6, median(share) * 100.0);
    let (direct, checkpointer) = (median(share_direct) * 100.0, median(a_second) * 100.0);
    eprintln!(
        "\ncheckpoints at full rate, 100 B values, to the fake HustDB at once\n  one costs \
         {one:.0} µs of CPU; at the default {share:.2} % of all CPU \
         (by direct difference {direct:.2} %); the two threads are \
         {checkpointer:.1} %"
    );
    Ok(vec![Row {
        what: "checkpoints at full rate: share of CPU".to_owned(),
        goal: "< 1 %".to_owned(),
        figure: format!("{share:.2} % ({one:.0} µs each)"),
        passed: Some(Bound::AtMost(1.0).holds(share)),
        numbers: json!({
            "percent": share,
            "percent_by_difference": direct,
            "microseconds_each": one,
            "checkpointer_percent": checkpointer,
        }),
    }])
}

fn run(backlog: &Backlog, sink: &Sink, interval: &str) -> Outcome<Run> {
    let home = Home::make()?.with("checkpoint_interval", interval);
    backlog.link(&home.logs(), sink.name())?;
    let mut server = home.start()?;
    let (_, _, _) = server.look_until(1)?;
    let mut renames = Renames::of(&home.state().join(sink.name()))?;
    server.look_until(backlog.records)?;
    let writer = server.process.thread("checkpoint").ok();
    let writer = writer.map(|writer| Scheduled::of_thread(&writer));
    let checkpointer = Scheduled::of_thread(&server.process.thread("checkpointer")?)?;
    Ok(Run {
        checkpointer: checkpointer.ran + writer.transpose()?.map_or(0.0, |writer| writer.ran),
        all: server.process.cpu()?.total(),
        checkpoints: renames.count()?,
    })
}

/// Counts the renames in a folder: each checkpoint is one. Both ends of each are watched, since the
/// kernel merges events that are alike and follow each other.
struct Renames(Inotify);

impl Renames {
    fn of(folder: &std::path::Path) -> Outcome<Self> {
        let inotify = Inotify::init().map_err(|error| error.to_string())?;
        inotify
            .watches()
            .add(folder, WatchMask::MOVE)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(inotify))
    }

    fn count(&mut self) -> Outcome<f64> {
        let mut buffer = [0; 16 * 1024];
        let mut count = 0;
        loop {
            match self.0.read_events(&mut buffer) {
                Ok(events) => {
                    let ends = events.filter(|event| event.mask.contains(EventMask::MOVED_TO));
                    count += ends.count();
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    return Ok(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
