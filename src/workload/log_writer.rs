//! Minute after minute of one backend's log, as zlog writes it: local time in the names and in each
//! line's prefix.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Writes lines to the file of their minute.
pub(super) struct LogWriter {
    folder: PathBuf,
    aged: bool,
    zone: TimeZone,
    open: Option<Open>,
    /// The prefix of lines of `prefix_unix`: it changes once a second.
    prefix: Vec<u8>,
    prefix_unix: Option<u64>,
    files: Vec<PathBuf>,
    bytes: u64,
}

struct Open {
    minute: u64,
    last_unix: u64,
    path: PathBuf,
    file: BufWriter<File>,
}

impl LogWriter {
    /// Makes the folder, if it is missing.
    pub(super) fn new(folder: PathBuf, aged: bool) -> io::Result<Self> {
        std::fs::create_dir_all(&folder).map_err(|error| named(&folder, &error))?;
        Ok(Self {
            folder,
            aged,
            zone: TimeZone::system(),
            open: None,
            prefix: Vec::new(),
            prefix_unix: None,
            files: Vec::new(),
            bytes: 0,
        })
    }

    /// What zlog puts before a payload: `[2026-11-22 16:40:38] [DEBUG] | `.
    pub(super) fn prefix(&mut self, unix: u64) -> &[u8] {
        if self.prefix_unix != Some(unix) {
            self.prefix_unix = Some(unix);
            self.prefix = self
                .local(unix, "[%Y-%m-%d %H:%M:%S] [DEBUG] | ")
                .into_bytes();
        }
        &self.prefix
    }

    /// Appends a line, newline included, that was written at `unix` (seconds). Times may not go
    /// back.
    pub(super) fn write(&mut self, unix: u64, line: &[u8]) -> io::Result<()> {
        let minute = unix / 60;
        if self.open.as_ref().is_none_or(|open| open.minute != minute) {
            self.close()?;
            let name = self.local(unix, "%Y-%m-%d-%H-%M.log");
            let path = self.folder.join(name);
            let file = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|error| named(&path, &error))?;
            self.open = Some(Open {
                minute,
                last_unix: unix,
                path,
                file: BufWriter::with_capacity(1 << 20, file),
            });
        }
        if let Some(open) = &mut self.open {
            open.last_unix = unix;
            open.file
                .write_all(line)
                .map_err(|error| named(&open.path, &error))?;
            self.bytes += line.len() as u64;
        }
        Ok(())
    }

    /// The files, in order, and how many bytes were written.
    pub(super) fn finish(mut self) -> io::Result<(Vec<PathBuf>, u64)> {
        self.close()?;
        Ok((self.files, self.bytes))
    }

    /// Hands all that was appended to the system, and closes the file.
    pub(super) fn close(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let file = open
            .file
            .into_inner()
            .map_err(|error| named(&open.path, error.error()))?;
        if self.aged {
            file.set_modified(UNIX_EPOCH + Duration::from_secs(open.last_unix))
                .map_err(|error| named(&open.path, &error))?;
        }
        if self.files.last() != Some(&open.path) {
            self.files.push(open.path);
        }
        Ok(())
    }

    fn local(&self, unix: u64, format: &str) -> String {
        let second = i64::try_from(unix).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        time.to_zoned(self.zone.clone())
            .strftime(format)
            .to_string()
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
