//! `demo --reconcile`: an outage of one of two masters, with clients that go on writing.
//!
//! ```text
//! HA writes to both ─▶ one is down: its log ─▶ HA writes to both, while the log is replayed
//!     ─▶ keys are wrong ─▶ the log is finished: its keys are compared with the other master
//!     ─▶ none is
//! ```

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{DecimalBytes, HumanCount};
use serde_json::json;

use super::drain::{LOOK_INTERVAL, PATIENCE, drain};
use super::home::{Home, start_fake_hustdb};
use crate::cli::failure::Failure;
use crate::cli::local_time::now_unix;
use crate::cli::logging::LevelHandle;
use crate::cli::output;
use crate::cli::run::{start, wait};
use crate::fake_hustdb::{Contents, FakeHustdb, Request, Space};
use crate::workload::live_pair::{LiveLog, LivePair, Master, Reach, Reply};
use crate::workload::{Generator, Mutation, Workload};

/// A log that looks this old is finished.
const FINISHED_AFTER: Duration = Duration::from_secs(3600);
/// One write of so many comes before the outage, and one after it.
const AROUND_ONE_IN: u64 = 4;
/// Writes between two looks at how far the replay is.
const WRITES_A_LOOK: usize = 50;

/// A fake HustDB, reached without a socket: what is shown is the server's work.
struct Direct<'a>(&'a FakeHustdb);

impl Master for Direct<'_> {
    fn answer(&mut self, request: &Request<'_>, _: u64) -> Option<Reply> {
        let answer = self.0.apply(request);
        Some(Reply {
            status: answer.status,
            version: answer.version.unwrap_or(0),
        })
    }
}

/// The story. False where a key is wrong at its end.
pub(super) fn tell(
    records: u64,
    value_bytes: usize,
    home: &Home,
    interrupted: &AtomicBool,
) -> Result<bool, Failure> {
    output::tell(format_args!(
        "hustdbsync demo: an outage of one of two masters, with {} writes and more before and \
         after it\n",
        HumanCount(records)
    ));
    let masters = [start_fake_hustdb(home)?, start_fake_hustdb(home)?];
    let names = masters.each_ref().map(FakeHustdb::name);
    home.write_table(&json!({"table": [{"item": {"key": [0, 1024], "val": names}}]}).to_string())?;
    let [backend, peer] = &names;
    output::tell(format_args!(
        "1. HA's table names two fake HustDBs for every key: {backend} and {peer}"
    ));

    let around = records / AROUND_ONE_IN;
    // Seldom enough that a key is written about twice while its master is down.
    let workload = Workload {
        value_bytes,
        keys: (records / 8).max(1),
        varied: false,
        ..Workload::mixed(records + 3 * around, now_unix())
    };
    let mut writes = Generator::new(&workload);
    let folder = home.logs().join(backend);
    let mut ha = Ha::new(&masters, &folder)?;
    ha.write(&mut writes, around)?;
    ha.write_in_outage(&mut writes, records)?;
    let bytes = log_bytes(&folder)?;
    output::tell(format_args!(
        "2. Clients write to both; then {backend} is down, and HA logs what it misses: {} lines, \
         {}",
        HumanCount(ha.logged),
        DecimalBytes(bytes)
    ));

    output::tell(
        "3. It is back. Clients write to both again, before and while the log is replayed:",
    );
    ha.write(&mut writes, around)?;
    let engine = start(home.config()?, LevelHandle::fixed(), false)
        .map_err(|error| format!("could not start: {error}"))?;
    let mut live = around;
    let lines = [(backend.clone(), ha.logged)];
    let replayed = drain(&engine, &lines, interrupted, || {
        for _ in 0..WRITES_A_LOOK {
            live += u64::from(ha.write_next(&mut writes)?);
        }
        Ok(())
    });
    let compared = replayed.and_then(|()| {
        let (keys, wrong) = count(&masters);
        output::tell(format_args!(
            "4. Every record is replayed, in order, beside {} writes of clients. Wrong on \
             {backend}: {} of {} keys",
            HumanCount(live),
            HumanCount(wrong),
            HumanCount(keys)
        ));
        compare(&folder, &masters[1], interrupted)
    });
    engine.stop();
    let ended = wait(engine);
    let took = compared?;
    ended?;

    let (keys, wrong) = count(&masters);
    output::tell(format_args!(
        "5. The log is finished, so its keys are compared with {peer}, and repaired \
         (sync.reconcile; {:.1} s). Wrong: {} of {} keys{}",
        took.as_secs_f64(),
        HumanCount(wrong),
        HumanCount(keys),
        if wrong == 0 { "" } else { ", which is WRONG" }
    ));
    Ok(wrong == 0)
}

struct Ha<'a> {
    pair: LivePair<Direct<'a>>,
    log: LiveLog,
    logged: u64,
}

impl<'a> Ha<'a> {
    fn new(masters: &'a [FakeHustdb; 2], folder: &Path) -> io::Result<Self> {
        Ok(Self {
            pair: LivePair::new(masters.each_ref().map(Direct)),
            log: LiveLog::new(folder.to_owned())?,
            logged: 0,
        })
    }

    /// Writes while the first master is down.
    fn write_in_outage(&mut self, writes: &mut Generator<'_>, count: u64) -> io::Result<()> {
        self.pair.reach[0] = Reach::Down;
        self.write(writes, count)?;
        self.pair.reach[0] = Reach::Up;
        Ok(())
    }

    fn write(&mut self, writes: &mut Generator<'_>, count: u64) -> io::Result<()> {
        for _ in 0..count {
            self.write_next(writes)?;
        }
        Ok(())
    }

    /// False where there is none left.
    fn write_next(&mut self, writes: &mut Generator<'_>) -> io::Result<bool> {
        let Some((write, _)) = writes.next() else {
            return Ok(false);
        };
        let unix = now_unix();
        let write = Mutation { unix, ..write };
        let taken = self.pair.write(&write, unix);
        if let Some(taken) = taken.filter(|taken| taken.missed == Some(0)) {
            self.log.append(&write, taken.version)?;
            self.logged += 1;
        }
        Ok(true)
    }
}

fn log_bytes(folder: &Path) -> io::Result<u64> {
    let files = fs::read_dir(folder)?;
    files.map(|file| Ok(file?.metadata()?.len())).sum()
}

/// Has the log look as if HA had ended it long ago, and waits until it is compared and deleted.
fn compare(
    folder: &Path,
    peer: &FakeHustdb,
    interrupted: &AtomicBool,
) -> Result<Duration, Failure> {
    for file in fs::read_dir(folder)? {
        let file = fs::File::options().append(true).open(file?.path())?;
        file.set_modified(SystemTime::now() - FINISHED_AFTER)?;
    }
    let begun = Instant::now();
    let (mut requests, mut moved) = (0, begun);
    while fs::read_dir(folder)?.next().is_some() {
        let now = peer.counters().requests;
        if now != requests {
            (requests, moved) = (now, Instant::now());
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        if moved.elapsed() > PATIENCE {
            return Err(format!("nothing is compared for {} s", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(begun.elapsed())
}

/// How many keys there are, and how many of them the masters do not have alike.
fn count(masters: &[FakeHustdb; 2]) -> (u64, u64) {
    let [backend, peer] = masters
        .each_ref()
        .map(|master| comparable(master.contents()));
    let only_on_backend = backend.keys().filter(|item| !peer.contains_key(*item));
    let only_on_backend = only_on_backend.count();
    let other = peer
        .iter()
        .filter(|(item, stored)| backend.get(*item) != Some(*stored));
    let wrong = other.count() + only_on_backend;
    ((peer.len() + only_on_backend) as u64, wrong as u64)
}

/// The versions of a set's members are nobody's business.
fn comparable(mut contents: Contents) -> Contents {
    for (item, stored) in &mut contents {
        if item.space == Space::Set {
            stored.version = 0;
        }
    }
    contents
}
