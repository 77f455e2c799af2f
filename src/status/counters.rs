//! The counters and gauges of one backend, shared by the threads that write them and the
//! controller, which reports them.
//!
//! Each is one atomic. Whoever reads them sees each value some microseconds late, and two values
//! perhaps not of the same instant, but never an effect without its cause (additions release, loads
//! acquire): not more records settled than processed.
//!
//! The counters that one kind of thread writes share cache lines with no others, so that threads
//! don't take cache lines from each other. All workers write the same block: they add once a batch,
//! not once a record.

use serde::{Deserialize, Serialize};

pub use super::counter::Counter;
use super::histogram::Histogram;
use super::reasons::Reasons;

/// Begins a new pair of cache lines in a `repr(C)` struct: x86 fetches lines in pairs. Takes no
/// room itself.
#[derive(Debug, Default)]
#[repr(align(128))]
struct CacheLine;

/// All counters of one backend; shared in an `Arc`. What is not called a gauge only grows. The
/// fields come in blocks, by the thread that writes them.
#[derive(Debug, Default)]
#[repr(C)]
pub struct BackendCounters {
    _reader: CacheLine,
    /// Records read from logs. Counts a record once, across restarts too.
    pub processed: Counter,
    /// Bytes in the logs that haven't been read yet. A gauge.
    pub unread_bytes: Counter,
    /// Log files that exist. A gauge.
    pub log_files: Counter,
    /// Bytes of log that were read and handed on, those that were read again counted again.
    pub read_bytes: Counter,
    /// About when the oldest record that hasn't been read was written, in seconds since 1970; 0 if
    /// there is none. A gauge.
    pub oldest_unread_unix: Counter,
    /// 1 while its folder cannot be listed or one of its logs cannot be read, else 0. A gauge.
    pub logs_faulty: Counter,
    /// By how many seconds the times in its lines differ from our time zone; 0 where they don't. A
    /// gauge.
    pub zone_off_seconds: Counter,

    _workers: CacheLine,
    /// Answers that settled a record, or after which it is rejected. Answers to lookups and to
    /// health checks are not counted.
    pub answers: Counter,
    /// Records sent again after a failure.
    pub resent: Counter,
    /// Lookups: `zscore` before an increment that may have been applied, `sismember` before a set's
    /// member whose ttl has passed, and harmless requests that show whether the backend is well.
    pub asked: Counter,
    /// Records whose ttl had passed, and that were replayed accordingly.
    pub expired: Counter,
    /// Records with a ttl whose line does not show when it was written.
    pub ttl_unclear: Counter,
    /// Records whose request line is longer than one segment of the connection.
    pub long_targets: Counter,
    /// Open connections to the backend, those being made among them. A gauge.
    pub connections_open: Counter,
    /// Connections that were made.
    pub connections_made: Counter,
    /// From the instant a burst of requests was composed to the read that brought its answers;
    /// counts each of `answers`.
    pub requests: Histogram,

    _checkpointer: CacheLine,
    /// Records settled: acknowledged or rejected. Counts a record once, across restarts too.
    pub settled: Counter,
    /// Bytes of log that the settled records took, line ends included.
    pub settled_bytes: Counter,
    /// Of the settled: taken by the backend.
    pub applied: Counter,
    /// Of the settled: the backend had a newer version.
    pub superseded: Counter,
    /// Of the settled: deletes of what wasn't there, and writes of a set's member that has expired
    /// there.
    pub absent: Counter,
    /// Of the settled: rejected in `rejected.jsonl`, whatever became of them there.
    pub rejected: Counter,
    /// When the oldest record in flight was written to the log, in seconds since 1970; 0 if there
    /// is none. A gauge. [`Counts`] has the older of this and `oldest_unread_unix`.
    pub oldest_unsettled_unix: Counter,
    /// Checkpoints that are on disk.
    pub checkpoints: Counter,
    /// When the last of them was, in seconds since 1970; 0 if there was none in this run. A gauge.
    pub checkpoint_unix: Counter,
    /// Tries to read or write state that failed.
    pub state_failures: Counter,
    /// 1 while state cannot be read or written, else 0. A gauge.
    pub state_faulty: Counter,
    /// 1 once the state of earlier runs is taken in, else 0. A gauge.
    pub state_read: Counter,
    /// Finished logs that are kept because somebody has them open for writing, or because they
    /// cannot be deleted. A gauge.
    pub logs_kept: Counter,
    /// Lines in rejected.jsonl. A gauge.
    pub rejected_lines: Counter,
    /// Logs that have left their folder with lines that are not delivered. A gauge.
    pub away_logs: Counter,
    /// Bytes of these lines, as far as known: of a log that left while no process ran, at least
    /// one for each line. A gauge.
    pub away_bytes: Counter,
    /// `processed` as the last durable checkpoint has it: no kill makes it less.
    pub durable_processed: Counter,
    /// `settled` in the last durable checkpoint.
    pub durable_settled: Counter,
    /// `applied` in the last durable checkpoint.
    pub durable_applied: Counter,
    /// `superseded` in the last durable checkpoint.
    pub durable_superseded: Counter,
    /// `absent` in the last durable checkpoint.
    pub durable_absent: Counter,
    /// `rejected` in the last durable checkpoint.
    pub durable_rejected: Counter,
    /// The part of `durable_settled` that the original sync server had settled; it recorded no
    /// outcomes.
    pub durable_taken_over: Counter,
    /// Finished logs that were deleted.
    pub logs_deleted: Counter,
    /// Lines rejected in this run, by reason.
    pub rejections: Reasons,

    _control: CacheLine,
    /// Probes by result.
    pub probes: Probes,
    /// Failures of lanes by cause.
    pub failures: Failures,
    /// How often everything in flight was taken back because the backend was no longer up.
    pub flushes: Counter,

    _reconciler: CacheLine,
    /// What comparing with the other master has found.
    pub reconcile: ReconcileCounters,

    /// Written by the checkpointer, and apart from its other counters because workers read them.
    _in_flight: CacheLine,
    /// Records read and not settled. A gauge.
    pub in_flight_records: Counter,
    /// Bytes of log that they took. A gauge.
    pub in_flight_bytes: Counter,
}

/// Keys of one backend that were compared with the other master (docs/reconcile.md).
#[derive(Debug, Default)]
pub struct ReconcileCounters {
    /// Keys that were looked up on both.
    pub compared: Counter,
    /// Of those: equal as they were found.
    pub equal: Counter,
    /// Of those: copied from the peer.
    pub copied: Counter,
    /// Of those: equal but for the version, which was raised on the peer.
    pub raised: Counter,
    /// Of those: made anew on the peer, and written to both.
    pub made_anew: Counter,
    /// Of those: deleted from the backend.
    pub deleted: Counter,
    /// Of those: left different.
    pub reported: Counter,
    /// Keys that were not compared, by reason.
    pub skipped: Reasons,
    /// Differences in differences.jsonl that nobody has settled. A gauge.
    pub left: Counter,
    /// Finished logs that are kept until their keys are compared. A gauge, which the checkpointer
    /// writes.
    pub logs_waiting: Counter,
    /// Since when the first of them waits, in seconds since 1970; 0: none does. A gauge, which the
    /// checkpointer writes.
    pub since_unix: Counter,
}

/// Probes of one backend, by what came of them.
#[derive(Debug, Default)]
pub struct Probes {
    /// It answered as it should.
    pub good: Counter,
    /// It did not, or not in time.
    pub bad: Counter,
    /// It refused our user and password.
    pub refused: Counter,
    /// A connection that had been good was closed.
    pub lost: Counter,
}

/// Failures of one backend's lanes, each of which closes a connection, by cause.
#[derive(Debug, Default)]
pub struct Failures {
    /// The connection could not be made, or broke.
    pub connection: Counter,
    /// No answer in time.
    pub timeout: Counter,
    /// What came was no answer.
    pub garbage: Counter,
    /// An answer that settles nothing.
    pub answer: Counter,
    /// Our user and password were refused.
    pub refused: Counter,
}

impl Failures {
    /// All of them, by cause.
    #[must_use]
    pub(crate) fn all(&self) -> [(&'static str, &Counter); 5] {
        [
            ("connection", &self.connection),
            ("timeout", &self.timeout),
            ("garbage", &self.garbage),
            ("answer", &self.answer),
            ("refused", &self.refused),
        ]
    }
}

/// The numbers of the process that belong to no backend; shared in an `Arc`.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Bytes of log in memory, buffers that wait to be used again among them. A gauge.
    pub memory_bytes: Counter,
    /// 1 once the folder of logs has been listed, else 0. A gauge.
    pub logs_listed: Counter,
    /// From the first byte of a checkpoint to its being on disk.
    pub checkpoint_times: Histogram,
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
    /// Records rejected.
    pub rejected: u64,
    /// Records replayed after their time had passed.
    pub expired: u64,
    /// Records with a time to live whose line does not tell when it was written.
    pub ttl_unclear: u64,
    /// Records sent again.
    pub resent: u64,
    /// Lookups.
    pub asked: u64,
    /// Answers that settled a record or rejects it.
    pub answers: u64,
    /// Records with a request line longer than one segment of the connection.
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
    /// Connections that were made.
    pub connections_made: u64,
    /// Bytes of log read.
    pub read_bytes: u64,
    /// Checkpoints that are on disk.
    pub checkpoints: u64,
    /// When the last of them was, in seconds since 1970; 0 if there was none in this run.
    pub checkpoint_unix: u64,
    /// Tries to read or write state that failed.
    pub state_failures: u64,
    /// 1 while state cannot be read or written.
    pub state_faulty: u64,
    /// 1 once the state of earlier runs is taken in.
    pub state_read: u64,
    /// 1 while its folder cannot be listed or one of its logs cannot be read.
    pub logs_faulty: u64,
    /// By how many seconds the times in its lines are off, as another time zone's.
    pub zone_off_seconds: u64,
    /// Finished logs that stay: somebody has them open for writing, or they cannot be deleted.
    pub logs_kept: u64,
    /// Lines in rejected.jsonl: neither replayed nor dropped since they were rejected.
    pub rejected_lines: u64,
    /// Logs that have left their folder with lines that are not delivered.
    pub away_logs: u64,
    /// Bytes of these lines, as far as known.
    pub away_bytes: u64,
    /// `processed` as the last durable checkpoint has it.
    pub durable_processed: u64,
    /// `settled` as the last durable checkpoint has it.
    pub durable_settled: u64,
    /// `applied` as the last durable checkpoint has it.
    pub durable_applied: u64,
    /// `superseded` as the last durable checkpoint has it.
    pub durable_superseded: u64,
    /// `absent` as the last durable checkpoint has it.
    pub durable_absent: u64,
    /// `rejected` as the last durable checkpoint has it.
    pub durable_rejected: u64,
    /// Of `durable_settled`: what the original's server had settled.
    pub durable_taken_over: u64,
    /// Finished logs that were deleted.
    pub logs_deleted: u64,
}

impl BackendCounters {
    /// All of them, now.
    #[must_use]
    pub fn load(&self) -> Counts {
        // First, so that what was processed before it is settled is seen too.
        let settled = self.settled.load();
        let durable_settled = self.durable_settled.load();
        Counts {
            processed: self.processed.load(),
            settled,
            settled_bytes: self.settled_bytes.load(),
            applied: self.applied.load(),
            superseded: self.superseded.load(),
            absent: self.absent.load(),
            rejected: self.rejected.load(),
            expired: self.expired.load(),
            ttl_unclear: self.ttl_unclear.load(),
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
            connections_made: self.connections_made.load(),
            read_bytes: self.read_bytes.load(),
            checkpoints: self.checkpoints.load(),
            checkpoint_unix: self.checkpoint_unix.load(),
            state_failures: self.state_failures.load(),
            state_faulty: self.state_faulty.load(),
            state_read: self.state_read.load(),
            logs_faulty: self.logs_faulty.load(),
            zone_off_seconds: self.zone_off_seconds.load(),
            logs_kept: self.logs_kept.load(),
            rejected_lines: self.rejected_lines.load(),
            away_logs: self.away_logs.load(),
            away_bytes: self.away_bytes.load(),
            durable_processed: self.durable_processed.load(),
            durable_settled,
            durable_applied: self.durable_applied.load(),
            durable_superseded: self.durable_superseded.load(),
            durable_absent: self.durable_absent.load(),
            durable_rejected: self.durable_rejected.load(),
            durable_taken_over: self.durable_taken_over.load(),
            logs_deleted: self.logs_deleted.load(),
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
        let first = [
            std::mem::offset_of!(BackendCounters, processed),
            std::mem::offset_of!(BackendCounters, answers),
            std::mem::offset_of!(BackendCounters, settled),
            std::mem::offset_of!(BackendCounters, probes),
            std::mem::offset_of!(BackendCounters, in_flight_records),
        ];
        for (one, next) in first.iter().zip(&first[1..]) {
            assert!(one % 128 == 0 && next % 128 == 0 && one < next, "{first:?}");
        }
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
            ("ttl_unclear", &counters.ttl_unclear),
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
            ("connections_made", &counters.connections_made),
            ("read_bytes", &counters.read_bytes),
            ("checkpoints", &counters.checkpoints),
            ("checkpoint_unix", &counters.checkpoint_unix),
            ("state_failures", &counters.state_failures),
            ("state_faulty", &counters.state_faulty),
            ("state_read", &counters.state_read),
            ("logs_faulty", &counters.logs_faulty),
            ("zone_off_seconds", &counters.zone_off_seconds),
            ("logs_kept", &counters.logs_kept),
            ("rejected_lines", &counters.rejected_lines),
            ("away_logs", &counters.away_logs),
            ("away_bytes", &counters.away_bytes),
            ("durable_processed", &counters.durable_processed),
            ("durable_settled", &counters.durable_settled),
            ("durable_applied", &counters.durable_applied),
            ("durable_superseded", &counters.durable_superseded),
            ("durable_absent", &counters.durable_absent),
            ("durable_rejected", &counters.durable_rejected),
            ("durable_taken_over", &counters.durable_taken_over),
            ("logs_deleted", &counters.logs_deleted),
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
