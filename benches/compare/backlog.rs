//! Logs that are written once and lie in many homes: as hard links, so that a home costs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use hustdbsync::workload::Workload;
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
    /// Puts of values of this many bytes, each key once.
    pub(crate) fn make(records: u64, value_bytes: usize) -> Outcome<Self> {
        Self::write(&Workload::uniform(records, value_bytes, now_unix()))
    }

    /// The logs of a workload.
    pub(crate) fn write(workload: &Workload) -> Outcome<Self> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let written = workload
            .write(folder.path(), "127.0.0.1:1")
            .map_err(|error| format!("the logs can't be written: {error}"))?;
        Ok(Self {
            _folder: folder,
            files: written.files,
            records: written.records,
            bytes: written.bytes,
        })
    }

    /// Puts the files into the folder of a backend.
    pub(crate) fn link(&self, logs: &Path, backend: &str) -> Outcome<()> {
        let folder = logs.join(backend);
        let named = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(named)?;
        for file in &self.files {
            let name = file.file_name().expect("a log has a name");
            fs::hard_link(file, folder.join(name)).map_err(named)?;
        }
        Ok(())
    }
}
