//! Appending to a log as HA's workers do: one open, one write, one close for each line.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hustdbsync::internals::binlog::{Method, Record, line};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// zlog's, with its default format.
pub(crate) const PREFIX: &[u8] = b"[2026-11-22 16:40:38] [DEBUG] | ";

/// One file of a backend's log.
pub(crate) struct Log {
    folder: PathBuf,
    name: String,
}

impl Log {
    /// A log file; neither it nor its folder needs to exist.
    pub(crate) fn new(folder: PathBuf, name: &str) -> Self {
        Self {
            folder,
            name: name.to_owned(),
        }
    }

    /// Another file in the same folder.
    pub(crate) fn file(&self, name: &str) -> Self {
        Self::new(self.folder.clone(), name)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Appends octets as they are.
    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> &Self {
        fs::create_dir_all(&self.folder).unwrap();
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.path())
            .unwrap();
        let bytes = bytes.as_ref();
        assert_eq!(file.write(bytes).unwrap(), bytes.len());
        self
    }

    /// Appends a record's line.
    pub(crate) fn record(&self, record: &Record<'_>) -> &Self {
        self.raw(line_of(record))
    }

    /// A client put `key` and the healthy master gave it this version.
    pub(crate) fn put(&self, key: &str, version: u32, value: &str) -> &Self {
        self.record(&put(key, version, value))
    }

    /// A client deleted `key`, which had this version.
    pub(crate) fn del(&self, key: &str, version: u32) -> &Self {
        self.record(&Record {
            method: Method::Del,
            ..put(key, version, "")
        })
    }

    /// Makes the file look as if nothing had been written to it for so long.
    pub(crate) fn age(&self, age: Duration) -> &Self {
        let file = File::options().append(true).open(self.path()).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        self
    }
}

/// A put's record.
pub(crate) fn put<'a>(key: &'a str, version: u32, value: &'a str) -> Record<'a> {
    Record {
        version,
        ..Record::new(Method::Put, key.as_bytes(), value.as_bytes())
    }
}

/// A record's line, with its newline.
pub(crate) fn line_of(record: &Record<'_>) -> Vec<u8> {
    line_with(PREFIX, record)
}

/// The line of a record that was written at this time, as zlog writes it.
pub(crate) fn line_at(unix: u64, record: &Record<'_>) -> Vec<u8> {
    let time = Timestamp::from_second(i64::try_from(unix).unwrap()).unwrap();
    let local = time.to_zoned(TimeZone::system());
    let prefix = local.strftime("[%Y-%m-%d %H:%M:%S] [DEBUG] | ");
    line_with(prefix.to_string().as_bytes(), record)
}

fn line_with(prefix: &[u8], record: &Record<'_>) -> Vec<u8> {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    record.encode(&mut bytes);
    line::encode(prefix, &bytes, &mut text);
    text
}
