//! Logs that are written once and lie in many homes: as hard links, so that a home costs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use hustdbsync::internals::workload::Workload;
use tempfile::TempDir;

use crate::Outcome;
use crate::common::now_unix;

/// The logs of one backend, whatever its name will be.
pub(crate) struct Backlog {
    _folder: TempDir,
    /// In order.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Backlog {
    /// Puts of values of this many bytes, each key once, over four minutes' files.
    pub(crate) fn make(records: u64, value_bytes: usize) -> Outcome<Self> {
        Self::write(&[Workload::uniform(records, value_bytes, now_unix())])
    }

    /// The same in so many parts, each with its own keys and one file of its own.
    pub(crate) fn make_parts(parts: u32, records: u64, value_bytes: usize) -> Outcome<Self> {
        let now_unix = now_unix();
        let part = |part: u32| {
            let last = Workload::uniform(records, value_bytes, now_unix);
            Workload {
                first_key: u64::from(part) * records,
                minutes: 1,
                // Whole minutes, so that no part reaches into the next one's file.
                begin_unix: (last.begin_unix / 60 - u64::from(parts - part)) * 60,
                ..last
            }
        };
        Self::write(&(0..parts).map(part).collect::<Vec<_>>())
    }

    fn write(workloads: &[Workload]) -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut backlog = Self {
            files: Vec::new(),
            records: 0,
            bytes: 0,
            _folder: folder,
        };
        for workload in workloads {
            let written = workload
                .write(backlog._folder.path(), "127.0.0.1:1")
                .map_err(|error| format!("the logs can't be written: {error}"))?;
            backlog.files.extend(written.files);
            backlog.records += written.records;
            backlog.bytes += written.bytes;
        }
        Ok(backlog)
    }

    /// Puts the files into the folder of a backend.
    pub(crate) fn link(&self, logs: &Path, backend: &str) -> Outcome<()> {
        self.link_from(logs, backend, 0)
    }

    /// The same beside so many files of another backlog: the names go on from there.
    pub(crate) fn link_from(&self, logs: &Path, backend: &str, first: usize) -> Outcome<()> {
        let files: Vec<_> = (first..).zip(self.files.iter()).collect();
        link(&files, &logs.join(backend))
    }

    /// Deals the files out to backends.
    pub(crate) fn deal(&self, logs: &Path, backends: &[String]) -> Outcome<()> {
        for (place, backend) in backends.iter().enumerate() {
            let dealt = self.files.iter().skip(place).step_by(backends.len());
            let files: Vec<_> = (0..).zip(dealt).collect();
            link(&files, &logs.join(backend))?;
        }
        Ok(())
    }
}

/// Links each file under the name of its minute.
fn link(files: &[(usize, &PathBuf)], folder: &Path) -> Outcome<()> {
    let named = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(named)?;
    for (minute, file) in files {
        fs::hard_link(file, folder.join(minute_name(*minute))).map_err(named)?;
    }
    Ok(())
}

/// A log's name, in a year when nothing was written: the first, second … minute of it.
fn minute_name(minute: usize) -> String {
    let (day, hour) = (minute / 1440, minute / 60 % 24);
    format!("2020-01-{:02}-{hour:02}-{:02}.log", day + 1, minute % 60)
}
