//! The numbers of one backend, shared by the threads that make them and the one that tells them.
//!
//! Each is one atomic: a reader sees every number some microseconds old, and two numbers maybe not of the same instant, but never an effect
//! without its cause (additions release, loads acquire): not more records settled than processed. Numbers that one kind of thread writes share cache lines, and no others, so that threads don't take
//! lines from each other. Several workers write the same lines: they add once a batch, not once a record.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::{Deserialize, Serialize};

/// One number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Release);
    }

    /// Takes `amount` away; below 0 it stays at 0, so that a slip in bookkeeping shows as 0 and not as 2⁶⁴.
    pub fn sub(&self, amount: u64) {
        let _ = self
            .0
            .fetch_update(Release, Relaxed, |value| Some(value.saturating_sub(amount)));
    }

    /// Makes it `value`.
    pub fn set(&self, value: u64) {
        self.0.store(value, Release);
    }

    /// What it is.
    #[must_use]
    pub fn load(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// Begins a new pair of cache lines in a `repr(C)` struct: x86 fetches lines in pairs. Takes no room itself.
#[derive(Debug, Default)]
#[repr(align(128))]
struct CacheLine;

/// All numbers of one backend; shared in an `Arc`. Those without another word only grow.
#[derive(Debug, Default)]
#[repr(C)]
pub struct BackendCounters {
    _feeder: CacheLine,
    /// Records read from logs. Counts a record once, across restarts too.
    pub processed: Counter,
    /// Records whose request target is longer than what the backend reads at once.
    pub long_targets: Counter,
    /// Bytes in the logs that haven't been read yet. A gauge.
    pub unread_bytes: Counter,
    /// Log files that exist. A gauge.
    pub log_files: Counter,
    /// About when the oldest record that hasn't been read was written, in seconds since 1970; 0 if there is none. A gauge.
    pub oldest_unread_unix: Counter,

    _workers: CacheLine,
    /// Answers that settled a record or set it aside. Those to questions are not among them.
    pub answers: Counter,
    /// Records sent again after a failure.
    pub resent: Counter,
    /// Questions for a score (`zscore`): before a zadd was sent again, or whether the backend is well.
    pub asked: Counter,
    /// Records replayed as deletes since their time to live had passed.
    pub expired: Counter,
    /// Open connections to the backend. A gauge.
    pub connections_open: Counter,

    _keeper: CacheLine,
    /// Records settled: acknowledged or set aside. Counts a record once, across restarts too.
    pub settled: Counter,
    /// Bytes of log that the settled records took, line ends included.
    pub settled_bytes: Counter,
    /// Of the settled: taken by the backend.
    pub applied: Counter,
    /// Of the settled: the backend had a newer version.
    pub superseded: Counter,
    /// Of the settled: deletes of what wasn't there.
    pub absent: Counter,
    /// Of the settled: set aside in `rejected.jsonl`.
    pub rejected: Counter,
    /// When the oldest record in flight was written to the log, in seconds since 1970; 0 if there is none. A gauge. [`Counts`] has the older of
    /// this and `oldest_unread_unix`.
    pub oldest_unsettled_unix: Counter,

    /// Feeder and keeper both: the one adds, the other takes away.
    _in_flight: CacheLine,
    /// Records read and not settled. A gauge.
    pub in_flight_records: Counter,
    /// Bytes of log that they took. A gauge.
    pub in_flight_bytes: Counter,
}

/// The numbers of one backend as they were at an instant; the same names and units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Records read from logs.
    pub processed: u64,
    /// Records settled.
    pub settled: u64,
    /// Bytes of log settled.
    pub settled_bytes: u64,
    /// Records taken by the backend.
    pub applied: u64,
    /// Records of which the backend had a newer version.
    pub superseded: u64,
    /// Deletes of what wasn't there.
    pub absent: u64,
    /// Records set aside.
    pub rejected: u64,
    /// Records replayed as deletes since their time had passed.
    pub expired: u64,
    /// Records sent again.
    pub resent: u64,
    /// Questions for a score.
    pub asked: u64,
    /// Answers that settled a record or set it aside.
    pub answers: u64,
    /// Records with a target longer than one read of the backend.
    pub long_targets: u64,
    /// Bytes of log not read yet.
    pub unread_bytes: u64,
    /// Bytes of log read and not settled.
    pub in_flight_bytes: u64,
    /// Records read and not settled.
    pub in_flight_records: u64,
    /// Log files that exist.
    pub log_files: u64,
    /// When the oldest unsettled record was written, in seconds since 1970; 0 if there is none.
    pub oldest_unsettled_unix: u64,
    /// Open connections to the backend.
    pub connections_open: u64,
}

impl BackendCounters {
    /// All of them, now.
    #[must_use]
    pub fn load(&self) -> Counts {
        // First, so that what was processed before it is settled is seen too.
        let settled = self.settled.load();
        Counts {
            processed: self.processed.load(),
            settled,
            settled_bytes: self.settled_bytes.load(),
            applied: self.applied.load(),
            superseded: self.superseded.load(),
            absent: self.absent.load(),
            rejected: self.rejected.load(),
            expired: self.expired.load(),
            resent: self.resent.load(),
            asked: self.asked.load(),
            answers: self.answers.load(),
            long_targets: self.long_targets.load(),
            unread_bytes: self.unread_bytes.load(),
            in_flight_bytes: self.in_flight_bytes.load(),
            in_flight_records: self.in_flight_records.load(),
            log_files: self.log_files.load(),
            oldest_unsettled_unix: oldest(
                self.oldest_unsettled_unix.load(),
                self.oldest_unread_unix.load(),
            ),
            connections_open: self.connections_open.load(),
        }
    }
}

/// The earlier of two times, of which 0 is none.
fn oldest(one: u64, other: u64) -> u64 {
    match one.min(other) {
        0 => one.max(other),
        earlier => earlier,
    }
}

impl Counts {
    /// Bytes of log that aren't settled.
    #[must_use]
    pub fn backlog_bytes(&self) -> u64 {
        self.unread_bytes.saturating_add(self.in_flight_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_take_away_and_never_go_below_nothing() {
        let counter = Counter::default();
        counter.add(5);
        counter.sub(2);
        assert_eq!(counter.load(), 3);
        counter.sub(9);
        assert_eq!(counter.load(), 0);
        counter.set(u64::MAX);
        assert_eq!(counter.load(), u64::MAX);
    }

    #[test]
    fn what_different_threads_write_shares_no_cache_line() {
        assert_eq!(std::mem::align_of::<BackendCounters>(), 128);
        assert_eq!(std::mem::size_of::<BackendCounters>(), 4 * 128);
        assert_eq!(std::mem::offset_of!(BackendCounters, processed), 0);
        assert_eq!(std::mem::offset_of!(BackendCounters, answers), 128);
        assert_eq!(std::mem::offset_of!(BackendCounters, settled), 256);
        assert_eq!(
            std::mem::offset_of!(BackendCounters, in_flight_records),
            384
        );
    }

    #[test]
    fn the_oldest_record_is_in_flight_or_unread() {
        assert_eq!(oldest(0, 0), 0);
        assert_eq!(oldest(7, 0), 7);
        assert_eq!(oldest(0, 7), 7);
        assert_eq!(oldest(9, 7), 7);
    }

    #[test]
    fn every_counter_is_told_under_its_own_name() {
        let counters = BackendCounters::default();
        let all = [
            ("processed", &counters.processed),
            ("settled", &counters.settled),
            ("settled_bytes", &counters.settled_bytes),
            ("applied", &counters.applied),
            ("superseded", &counters.superseded),
            ("absent", &counters.absent),
            ("rejected", &counters.rejected),
            ("expired", &counters.expired),
            ("resent", &counters.resent),
            ("asked", &counters.asked),
            ("answers", &counters.answers),
            ("long_targets", &counters.long_targets),
            ("unread_bytes", &counters.unread_bytes),
            ("in_flight_bytes", &counters.in_flight_bytes),
            ("in_flight_records", &counters.in_flight_records),
            ("log_files", &counters.log_files),
            ("oldest_unsettled_unix", &counters.oldest_unsettled_unix),
            ("connections_open", &counters.connections_open),
        ];
        for (number, (_, counter)) in all.iter().enumerate() {
            counter.set(number as u64 + 1);
        }
        let told = serde_json::to_value(counters.load()).unwrap();
        assert_eq!(told.as_object().unwrap().len(), all.len());
        for (number, (name, _)) in all.iter().enumerate() {
            assert_eq!(told[name], number as u64 + 1, "{name}");
        }
    }
}
