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

/// What the feeder (and the catalog before it) writes.
#[derive(Debug, Default)]
#[repr(align(128))] // Two lines: x86 fetches lines in pairs.
pub struct FeederCounters {
    /// Records read from logs. Counts a record once, across restarts too.
    pub processed: Counter,
    /// Records whose request target is longer than what the backend reads at once.
    pub long_targets: Counter,
    /// Bytes in the logs that haven't been read yet. A gauge.
    pub unread_bytes: Counter,
    /// Log files that exist. A gauge.
    pub log_files: Counter,
}

/// What the workers write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Answers that came from the backend, whatever they said.
    pub answers: Counter,
    /// Records sent again after a failure.
    pub resent: Counter,
    /// Questions for a score (`zscore`) before a record was sent again.
    pub asked: Counter,
    /// Records replayed as deletes since their time to live had passed.
    pub expired: Counter,
    /// Open connections to the backend. A gauge.
    pub connections_open: Counter,
}

/// What the keeper writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct KeeperCounters {
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
    /// When the oldest record that isn't settled was written to the log, in seconds since 1970; 0 if there is none. A gauge.
    pub oldest_unsettled_unix: Counter,
}

/// What the feeder adds to and the keeper takes from.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct InFlightCounters {
    /// Records read and not settled. A gauge.
    pub in_flight_records: Counter,
    /// Bytes of log that they took. A gauge.
    pub in_flight_bytes: Counter,
}

/// All numbers of one backend; shared in an `Arc`.
#[derive(Debug, Default)]
pub struct BackendCounters {
    /// Written by the feeder.
    pub feeder: FeederCounters,
    /// Written by the workers.
    pub workers: WorkerCounters,
    /// Written by the keeper.
    pub keeper: KeeperCounters,
    /// Written by the feeder and the keeper.
    pub in_flight: InFlightCounters,
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
    /// Answers from the backend.
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
        let Self {
            feeder,
            workers,
            keeper,
            in_flight,
        } = self;
        // First, so that what was processed before it is settled is seen too.
        let settled = keeper.settled.load();
        Counts {
            processed: feeder.processed.load(),
            settled,
            settled_bytes: keeper.settled_bytes.load(),
            applied: keeper.applied.load(),
            superseded: keeper.superseded.load(),
            absent: keeper.absent.load(),
            rejected: keeper.rejected.load(),
            expired: workers.expired.load(),
            resent: workers.resent.load(),
            asked: workers.asked.load(),
            answers: workers.answers.load(),
            long_targets: feeder.long_targets.load(),
            unread_bytes: feeder.unread_bytes.load(),
            in_flight_bytes: in_flight.in_flight_bytes.load(),
            in_flight_records: in_flight.in_flight_records.load(),
            log_files: feeder.log_files.load(),
            oldest_unsettled_unix: keeper.oldest_unsettled_unix.load(),
            connections_open: workers.connections_open.load(),
        }
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
    }

    #[test]
    fn every_counter_is_told_under_its_own_name() {
        let counters = BackendCounters::default();
        let BackendCounters {
            feeder,
            workers,
            keeper,
            in_flight,
        } = &counters;
        let all = [
            ("processed", &feeder.processed),
            ("settled", &keeper.settled),
            ("settled_bytes", &keeper.settled_bytes),
            ("applied", &keeper.applied),
            ("superseded", &keeper.superseded),
            ("absent", &keeper.absent),
            ("rejected", &keeper.rejected),
            ("expired", &workers.expired),
            ("resent", &workers.resent),
            ("asked", &workers.asked),
            ("answers", &workers.answers),
            ("long_targets", &feeder.long_targets),
            ("unread_bytes", &feeder.unread_bytes),
            ("in_flight_bytes", &in_flight.in_flight_bytes),
            ("in_flight_records", &in_flight.in_flight_records),
            ("log_files", &feeder.log_files),
            ("oldest_unsettled_unix", &keeper.oldest_unsettled_unix),
            ("connections_open", &workers.connections_open),
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
