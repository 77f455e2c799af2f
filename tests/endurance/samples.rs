//! What the process took, from the first leg to the last, and whether that has grown.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hustdbsync::internals::ledger::rejected;
use serde::{Deserialize, Serialize};

use crate::real::Home;
use crate::support::folder::bytes_below;
use crate::support::proc;

/// A process that is younger than this has not had its share of everything.
const GROWN_UP_S: u64 = 60;
/// Fewer do not show a trend.
const JUDGED_FROM: usize = 60;
/// What a process may take at any time: the memory budget (64 MiB) and 32 MiB.
const RESIDENT_KIB_MAX: u64 = (64 + 32) << 10;
/// Of three backends with four connections each, their logs and what is deleted of them.
const OPEN_FILES_MAX: u64 = 200;
const CHECKPOINT_BYTES_MAX: u64 = 1 << 20;

/// What a process took at one moment.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Sample {
    leg: u64,
    /// How old the process was.
    age_s: u64,
    resident_kib: u64,
    open_files: u64,
    /// All of its state but rejected lines.
    checkpoint_bytes: u64,
    /// What is left of HA's logs.
    log_bytes: u64,
    /// Records that were applied by the backends, in this leg.
    delivered: u64,
}

impl Sample {
    pub(super) fn take(leg: u64, age: Duration, process: u32, home: &Home, delivered: u64) -> Self {
        Self {
            leg,
            age_s: age.as_secs(),
            resident_kib: proc::number(process, "status", "VmRSS:"),
            open_files: proc::open_files(process) as u64,
            checkpoint_bytes: bytes_below(&home.path("status"), &|name| name != rejected::NAME),
            log_bytes: bytes_below(&home.logs(), &|_| true),
            delivered,
        }
    }
}

/// The samples of all legs that have ended well, in a folder if there is one: a file for each leg,
/// a line of JSON for each sample.
pub(super) struct Samples {
    folder: Option<PathBuf>,
    legs: Vec<Vec<Sample>>,
}

impl Samples {
    /// Those of the runs before.
    pub(super) fn open(folder: Option<&Path>) -> Self {
        let mut samples = Self {
            folder: folder.map(Path::to_owned),
            legs: Vec::new(),
        };
        while let Some(path) = samples.path(samples.legs())
            && let Ok(text) = fs::read_to_string(&path)
        {
            let parse = |line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
            };
            samples.legs.push(text.lines().map(parse).collect());
        }
        samples
    }

    /// How many legs there are.
    pub(super) fn legs(&self) -> u64 {
        self.legs.len() as u64
    }

    /// Adds a leg: all of its samples, or none if that is interrupted.
    pub(super) fn add(&mut self, leg: u64, samples: Vec<Sample>) {
        if let Some(path) = self.path(leg) {
            let begun = path.with_extension("begun");
            let mut file = File::create(&begun).unwrap();
            for sample in &samples {
                writeln!(file, "{}", serde_json::to_string(sample).unwrap()).unwrap();
            }
            file.sync_all().unwrap();
            fs::rename(begun, path).unwrap();
        }
        self.legs.push(samples);
    }

    fn path(&self, leg: u64) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(folder.join(format!("leg-{leg:04}.jsonl")))
    }

    /// Fails where something is more than it may ever be, or has grown.
    pub(super) fn judge(&self) {
        let all: Vec<&Sample> = self.legs.iter().flatten().collect();
        assert!(!all.is_empty(), "no sample was taken, so nothing was shown");
        let figures: [(&str, Figure, u64, u64); 3] = [
            ("resident KiB", |s| s.resident_kib, RESIDENT_KIB_MAX, 4096),
            ("open files", |s| s.open_files, OPEN_FILES_MAX, 8),
            (
                "checkpoint bytes",
                |s| s.checkpoint_bytes,
                CHECKPOINT_BYTES_MAX,
                4096,
            ),
        ];
        for (name, of, most, slack) in figures {
            let found = all.iter().map(|sample| of(sample)).max().unwrap_or(0);
            eprintln!(
                "{name}: at most {found}, by the process's age: {}",
                by_age(&all, of)
            );
            assert!(found <= most, "{name}: {found}, and {most} is the bound");
            let grown_up = all.iter().filter(|sample| sample.age_s >= GROWN_UP_S);
            let values: Vec<u64> = grown_up.map(|sample| of(sample)).collect();
            if values.len() < JUDGED_FROM {
                continue;
            }
            let third = values.len() / 3;
            let (first, last) = (
                median(&values[..third]),
                median(&values[values.len() - third..]),
            );
            eprintln!("{name}: {first} in the first third, {last} in the last");
            assert!(
                last <= first + first / 10 + slack,
                "{name} has grown from {first} to {last}"
            );
        }
    }
}

type Figure = fn(&Sample) -> u64;

/// Medians of those that are younger than a minute, five minutes, twenty, and older.
fn by_age(samples: &[&Sample], of: Figure) -> String {
    let ages = [(0, 60), (60, 300), (300, 1200), (1200, u64::MAX)];
    let medians = ages.map(|(from, until)| {
        let within = samples
            .iter()
            .filter(|sample| (from..until).contains(&sample.age_s));
        let values: Vec<u64> = within.map(|sample| of(sample)).collect();
        match values.is_empty() {
            true => "–".to_owned(),
            false => median(&values).to_string(),
        }
    });
    medians.join(", ")
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values[values.len() / 2]
}
