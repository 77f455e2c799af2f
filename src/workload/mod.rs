//! Logs as HA writes them, made up, with what a backend has to hold once they are replayed. For the
//! demo, tests and benches.
//!
//! A workload is the story of two masters, one of which is down: each mutation is applied live to
//! the healthy one, here a [`Store`], which numbers it; then its record, with that number, goes
//! into the log of the other. So the healthy store's contents are what the other must end with, and
//! they come from no code that the replay uses.
//!
//! ```text
//! Workload ─ Generator ─▶ mutation ─ live ─▶ Store (the healthy master) ─▶ Written::expected
//!                             └─ its version ─▶ record ─▶ line ─▶ <logs>/<host:port>/<minute>.log
//! ```
//!
//! The same workload makes the same records and lines, byte for byte. Its story is long over when
//! it is written: all times to live that have passed have done so before the first replay, and no
//! other ends within a day.

mod generator;
#[cfg(feature = "testing")]
pub mod live_connection;
pub mod live_pair;
mod log_writer;
mod mutation;
mod replayed;
mod spelling;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use crate::binlog::{Method, line};
use crate::fake_hustdb::Contents;
use crate::fake_hustdb::store::Store;

pub use generator::Generator;
use log_writer::LogWriter;
pub use mutation::Mutation;
pub use replayed::Replayed;

/// How much time a workload leaves between its last record and now, in seconds: more than
/// [`TTL_SHORT_MAX_S`], so that what ends soon has ended.
const AGE_S: u64 = 600;
/// A short time to live is at most so many seconds.
const TTL_SHORT_MAX_S: u32 = 60;
/// A long time to live is at least so many seconds, and short of 30 days, above which hustdb takes
/// it for none.
const TTL_LONG_MIN_S: u32 = 86_400;

const _: () = assert!(AGE_S > 2 * TTL_SHORT_MAX_S as u64);

/// What a log is to hold.
#[derive(Clone, Debug)]
pub struct Workload {
    /// How many records.
    pub records: u64,
    /// Bytes of the value of each put and hset; at least 1, since hustdb has no empty values.
    pub value_bytes: usize,
    /// How many keys or members there are in each of hustdb's four spaces. Fewer than records: some
    /// are written again and again.
    pub keys: u64,
    /// The number of the first key: two workloads whose ranges of keys don't meet can be written to
    /// one backend at a time.
    pub first_key: u64,
    /// How often each method occurs, relative to the others.
    pub mix: Vec<(Method, u32)>,
    /// Whether keys are spelt in all the ways that clients find (escapes, UTF-8, raw octets), some
    /// write a time to live, and sorted sets are added to. Otherwise every key is plain and nothing
    /// expires.
    pub varied: bool,
    /// Two workloads that differ in nothing else differ in this.
    pub seed: u64,
    /// When the first record was written, Unix seconds.
    pub begin_unix: u64,
    /// Over how many minutes, and so files, the records are spread.
    pub minutes: u32,
    /// Whether each file's modification time is that of its last line, as if it had been left by a
    /// HA of that time. Otherwise it is the time of writing, and a server holds the file for one
    /// that may still get lines.
    pub aged: bool,
}

/// A log that was written.
#[derive(Debug)]
pub struct Written {
    /// How many records it has.
    pub records: u64,
    /// How many bytes its files have.
    pub bytes: u64,
    /// Its files, in order.
    pub files: Vec<PathBuf>,
    /// The healthy master.
    healthy: Store,
}

impl Written {
    /// What a backend must hold at `now_unix` (seconds) once all is replayed.
    #[must_use]
    pub fn expected(&self, now_unix: u64) -> Contents {
        self.healthy.contents(now_unix)
    }
}

impl Workload {
    /// All eight methods that HA writes, keys of all spellings, overwritten, deleted and made
    /// again, on values of 100 bytes. It ends ten minutes before `now_unix` (seconds).
    #[must_use]
    pub fn mixed(records: u64, now_unix: u64) -> Self {
        let minutes = 4;
        Self {
            records,
            value_bytes: 100,
            keys: (records / 8).max(1),
            first_key: 0,
            mix: vec![
                (Method::Put, 50),
                (Method::Del, 8),
                (Method::Hset, 12),
                (Method::Hdel, 4),
                (Method::Sadd, 10),
                (Method::Srem, 4),
                (Method::Zadd, 9),
                (Method::Zrem, 3),
            ],
            varied: true,
            seed: 1,
            begin_unix: now_unix.saturating_sub(AGE_S + 60 * u64::from(minutes)),
            minutes,
            aged: true,
        }
    }

    /// Puts of plain keys, each key once: for measuring.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn uniform(records: u64, value_bytes: usize, now_unix: u64) -> Self {
        Self {
            value_bytes,
            keys: records.max(1),
            mix: vec![(Method::Put, 1)],
            varied: false,
            ..Self::mixed(records, now_unix)
        }
    }

    /// Writes the log of `backend` (its name, `host:port`) below `logs`.
    ///
    /// # Errors
    /// What the system says about a folder or file, which is named.
    pub fn write(&self, logs: &Path, backend: &str) -> io::Result<Written> {
        let mut writer = LogWriter::new(logs.join(backend), self.aged)?;
        let mut generator = Generator::new(self);
        let (mut record, mut text) = (Vec::new(), Vec::new());
        while let Some((mutation, version)) = generator.next() {
            let unix = mutation.unix;
            record.clear();
            mutation.record(version).encode(&mut record);
            text.clear();
            line::encode(writer.prefix(unix), &record, &mut text);
            writer.write(unix, &text)?;
        }
        let (files, bytes) = writer.finish()?;
        Ok(Written {
            records: self.records,
            bytes,
            files,
            healthy: generator.into_healthy(),
        })
    }
}
