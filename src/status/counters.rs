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
use super::text::Text;

/// Begins a new pair of cache lines in a `repr(C)` struct: x86 fetches lines in pairs. Takes no
/// room itself.
#[derive(Debug, Default)]
#[repr(align(128))]
struct CacheLine;

/// A metric that tells a value of [`Counts`] of each backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountMetric {
    /// It only grows. Otherwise it is a gauge.
    pub(crate) is_counter: bool,
    /// Its name, without `_total`.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: fn(&Counts) -> u64,
}

/// Declares each counter once, in the block of the thread that writes it. From that come its field
/// in [`BackendCounters`], its value in [`Counts`] and so its field in the JSON, and its metric, if
/// it has one: then the metric's help is what describes it. What is not a plain number follows in
/// `others`.
macro_rules! backend_counters {
    (@is_counter counter) => { true };
    (@is_counter gauge) => { false };
    ($(
        $line:ident {
            $( $(#[$doc:meta])* $name:ident $( : $kind:ident $metric:literal $help:literal )?, )*
        }
        others { $( $(#[$other_doc:meta])* $other:ident : $other_type:ty, )* }
    )*) => {
        /// All counters of one backend; shared in an `Arc`. What is not called a gauge only grows.
        /// The fields come in blocks, by the thread that writes them.
        #[derive(Debug, Default)]
        #[repr(C)]
        pub struct BackendCounters {
            $(
                $line: CacheLine,
                $( $(#[$doc])* $(#[doc = $help])? pub $name: Counter, )*
                $( $(#[$other_doc])* pub $other: $other_type, )*
            )*
        }

        /// The numbers of one backend as they were at an instant; the same names and units.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Counts {
            $( $( $(#[$doc])* $(#[doc = $help])? pub $name: u64, )* )*
        }

        /// The metrics that have a sample of each backend, its value of [`Counts`].
        pub(crate) const COUNT_METRICS: &[CountMetric] = &[
            $( $( $( CountMetric {
                is_counter: backend_counters!(@is_counter $kind),
                name: $metric,
                help: $help,
                value: |counts| counts.$name,
            }, )? )* )*
        ];

        impl BackendCounters {
            fn load_each(&self) -> Counts {
                Counts { $( $( $name: self.$name.load(), )* )* }
            }
        }
    };
}

backend_counters! {
    _reader {
        /// Bytes in the logs that haven't been read yet; in [`Counts`] also those that were read
        /// and are not in flight yet. A gauge.
        unread_bytes,
        log_files: gauge "hustdbsync_log_files"
            "Log files that exist. Finished ones go some time after their last line is completed.",
        read_bytes: counter "hustdbsync_read_bytes"
            "Bytes of log read and handed on, since this process started; those that were read \
             again are counted again.",
        logs_faulty: gauge "hustdbsync_logs_faulty"
            "1 while the backend's folder cannot be listed or one of its logs cannot be read, so \
             that its backlog is not known and its records wait, else 0. /v1/status says why.",
        logs_unlisted: gauge "hustdbsync_logs_unlisted"
            "1 until the backend's folder has been listed for the first time, so that its backlog \
             is not known yet, else 0.",
        zone_off_seconds: gauge "hustdbsync_log_zone_off_seconds"
            "By how much the times in the backend's log lines are off, as those of another time \
             zone than this server's; 0 where they are of the same.",
    }
    others {
        /// About when the oldest record that hasn't been read was written, in seconds since 1970; 0
        /// if there is none. A gauge.
        oldest_unread_unix: Counter,
        /// Bytes of log whose lines were announced to the checkpointer.
        announced_bytes: Counter,
        /// About when the last of these were written, in seconds since 1970. A gauge.
        announced_unix: Counter,
    }

    _workers {
        /// Answers that settled a record, or after which it is rejected. Answers to lookups and to
        /// health checks are not counted.
        answers,
        resent: counter "hustdbsync_records_resent"
            "Records sent again after a failure, since this process started.",
        asked: counter "hustdbsync_questions"
            "Lookups (zscore, sismember): before a zadd that may be applied already or a member \
             of a set whose time to live has passed, or whether the backend is well.",
        expired: counter "hustdbsync_records_expired"
            "Records whose time to live had passed, since this process started: values were \
             deleted, members of sets written only where they exist.",
        ttl_unclear: counter "hustdbsync_ttl_unclear"
            "Records with a time to live whose line does not tell when it was written, since this \
             process started: their expiry is taken as it is.",
        long_targets: counter "hustdbsync_long_targets"
            "Records whose request line is longer than one segment of the connection to the \
             backend.",
        connections_open: gauge "hustdbsync_connections"
            "Connections to the backend that are open or being made, its probe's not counted.",
        connections_made: counter "hustdbsync_connections_made"
            "Connections to the backend that were made, its probe's not counted.",
    }
    others {
        /// From the instant a burst of requests was composed to the read that brought its answers;
        /// counts each of `answers`.
        requests: Histogram,
    }

    _checkpointer {
        /// Records read from logs. Counts a record once, across restarts too.
        processed,
        /// Records settled: acknowledged or rejected. Counts a record once, across restarts too.
        settled,
        settled_bytes: counter "hustdbsync_settled_bytes"
            "Bytes of log that the completed records took, since this process started.",
        /// Of the settled: taken by the backend.
        applied,
        /// Of the settled: the backend had a newer version.
        superseded,
        /// Of the settled: deletes of what wasn't there, and writes of a set's member that has
        /// expired there.
        absent,
        /// Of the settled: rejected in `rejected.jsonl`, whatever became of them there.
        rejected,
        /// When the oldest record in flight was written to the log, in seconds since 1970; 0 if
        /// there is none. A gauge. [`Counts`] has the older of this and `oldest_unread_unix`.
        oldest_unsettled_unix,
        checkpoints: counter "hustdbsync_checkpoints"
            "Checkpoints of the backend that were written and are on disk.",
        /// When the last of them was, in seconds since 1970; 0 if there was none in this run. A
        /// gauge.
        checkpoint_unix,
        state_failures: counter "hustdbsync_state_failures"
            "Tries to read or write the backend's state (checkpoint, rejected.jsonl) that failed.",
        state_faulty: gauge "hustdbsync_state_faulty"
            "1 while the backend's state cannot be read or written, so that nothing more is read \
             for it, else 0. /v1/status says why.",
        /// 1 once the state of earlier runs is taken in, else 0. A gauge.
        state_read,
        logs_kept: gauge "hustdbsync_logs_kept"
            "Finished logs that stay, since somebody has them open for writing or they cannot be \
             deleted.",
        rejected_lines: gauge "hustdbsync_rejected_lines"
            "Lines in rejected.jsonl: neither replayed nor dropped since they were rejected.",
        away_logs: gauge "hustdbsync_away_logs"
            "Logs that have left the backend's folder (moved, deleted, covered) with lines that \
             are not delivered. They are counted for a day, or until they are back.",
        away_bytes: gauge "hustdbsync_away_bytes"
            "Bytes of these lines, as far as known; of a log that left while this process did not \
             run, one for each line that was read at least.",
        durable_processed: counter "hustdbsync_records_read"
            "Records read from logs. Goes on across restarts and counts each record once: as of \
             the last durable checkpoint, so that a kill does not make it fall.",
        /// `settled` in the last durable checkpoint.
        durable_settled,
        /// `applied` in the last durable checkpoint.
        durable_applied,
        /// `superseded` in the last durable checkpoint.
        durable_superseded,
        /// `absent` in the last durable checkpoint.
        durable_absent,
        /// `rejected` in the last durable checkpoint.
        durable_rejected,
        /// The part of `durable_settled` that the original sync server had settled; it recorded no
        /// outcomes.
        durable_taken_over,
        logs_deleted: counter "hustdbsync_logs_deleted"
            "Finished logs that were deleted.",
    }
    others {
        /// Lines rejected in this run, by reason.
        rejections: Reasons,
    }

    _control {}
    others {
        /// Probes by result.
        probes: Probes,
        /// Failures of lanes by cause.
        failures: Failures,
        /// How often everything in flight was taken back because the backend was no longer up.
        flushes: Counter,
    }

    _reconciler {}
    others {
        /// What comparing with the other master has found.
        reconcile: ReconcileCounters,
    }

    // Written by the checkpointer, and apart from its other counters because workers read them.
    _in_flight {
        in_flight_records: gauge "hustdbsync_in_flight_records"
            "Records that were read and are not completed.",
        in_flight_bytes: gauge "hustdbsync_in_flight_bytes"
            "Bytes of log that were read and are not completed.",
    }
    others {
        /// Of `announced_bytes`, those that are or were in flight.
        registered_bytes: Counter,
    }
}

impl BackendCounters {
    /// Whether it has lines that are not settled, as far as they have been found.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        // Twice: where the backend goes down, what is in flight becomes unread again.
        self.bytes_before_flight() > 0
            || self.in_flight_records.load() > 0
            || self.bytes_before_flight() > 0
    }

    /// Whether its state has been read, and its logs are known.
    pub(crate) fn is_backlog_known(&self) -> bool {
        self.state_read.load() > 0 && self.logs_faulty.load() == 0 && self.logs_unlisted.load() == 0
    }

    /// Bytes of log whose lines are on their way from the reader to what is in flight.
    fn unregistered_bytes(&self) -> u64 {
        let announced = self.announced_bytes.load();
        announced.saturating_sub(self.registered_bytes.load())
    }

    /// Bytes of log that are unread, or on their way to what is in flight. The loads follow the
    /// lines' way, so that none is passed over on it.
    fn bytes_before_flight(&self) -> u64 {
        let unread = self.unread_bytes.load();
        unread + self.unregistered_bytes()
    }

    /// About when the oldest of [`Self::bytes_before_flight`] was written, in seconds since 1970; 0
    /// if there is none.
    fn oldest_before_flight_unix(&self) -> u64 {
        let unread_unix = self.oldest_unread_unix.load();
        match self.unregistered_bytes() {
            0 => unread_unix,
            _ => oldest(unread_unix, self.announced_unix.load()),
        }
    }

    /// All numbers, now.
    #[must_use]
    pub fn load(&self) -> Counts {
        // First, so that what was processed before it is settled is seen too.
        let (settled, durable_settled) = (self.settled.load(), self.durable_settled.load());
        let unread_bytes = self.bytes_before_flight();
        let unread_unix = self.oldest_before_flight_unix();
        let counts = self.load_each();
        Counts {
            settled,
            durable_settled,
            // As for `has_backlog`.
            unread_bytes: unread_bytes.max(self.bytes_before_flight()),
            oldest_unsettled_unix: oldest(unread_unix, counts.oldest_unsettled_unix),
            ..counts
        }
    }
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
    /// 1 once `left` is known, 0 before, and while differences.jsonl cannot be read. A gauge.
    pub left_known: Counter,
    /// Finished logs that are kept until their keys are compared. A gauge, which the checkpointer
    /// writes.
    pub logs_waiting: Counter,
    /// Finished logs whose keys are compared, and that are not deleted yet. A gauge, which the
    /// checkpointer writes.
    pub logs_compared: Counter,
    /// Finished logs that the reconciler has not been asked for, as there are too many. A gauge,
    /// which the checkpointer writes.
    pub logs_not_asked: Counter,
    /// Since when the first of them waits, in seconds since 1970; 0: none does. A gauge, which the
    /// checkpointer writes.
    pub since_unix: Counter,
    /// What keeps them from being compared, as a sentence.
    pub(crate) waits_for: Text,
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

    /// Whether its folder was listed and its logs can be read, so that its backlog is all there is.
    pub(crate) fn are_logs_known(&self) -> bool {
        self.logs_faulty == 0 && self.logs_unlisted == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
            std::mem::offset_of!(BackendCounters, unread_bytes),
            std::mem::offset_of!(BackendCounters, answers),
            std::mem::offset_of!(BackendCounters, processed),
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
    fn lines_on_their_way_from_the_reader_to_what_is_in_flight_are_backlog() {
        let counters = BackendCounters::default();
        let check = |has_backlog, unread_bytes, oldest_unix| {
            assert_eq!(counters.has_backlog(), has_backlog);
            let counts = counters.load();
            assert_eq!(counts.unread_bytes, unread_bytes);
            assert_eq!(counts.oldest_unsettled_unix, oldest_unix);
        };
        counters.unread_bytes.set(100);
        counters.oldest_unread_unix.set(7);
        check(true, 100, 7);
        counters.announced_unix.set(8);
        counters.announced_bytes.add(100);
        counters.unread_bytes.set(0);
        counters.oldest_unread_unix.set(0);
        assert_eq!(counters.unregistered_bytes(), 100);
        check(true, 100, 8);
        counters.in_flight_records.set(2);
        counters.registered_bytes.set(100);
        assert_eq!(counters.unregistered_bytes(), 0);
        check(true, 0, 0);
        counters.in_flight_records.set(0);
        check(false, 0, 0);
    }

    #[test]
    fn a_count_is_told_under_its_own_name_and_has_the_older_time() {
        let counters = BackendCounters::default();
        counters.settled.set(1);
        counters.durable_settled.set(2);
        counters.rejected_lines.set(3);
        counters.oldest_unread_unix.set(4);
        counters.oldest_unsettled_unix.set(5);
        let told = serde_json::to_value(counters.load()).unwrap();
        let check = |name: &str, expected: u64| assert_eq!(told[name], expected, "{name}");
        check("settled", 1);
        check("durable_settled", 2);
        check("rejected_lines", 3);
        check("oldest_unsettled_unix", 4);
        check("processed", 0);
        assert!(told.get("oldest_unread_unix").is_none());
    }

    #[test]
    fn each_metric_has_a_name_and_a_value_of_its_own() {
        let metric = |name| COUNT_METRICS.iter().find(|metric| metric.name == name);
        let kept = metric("hustdbsync_logs_kept").unwrap();
        let counts = Counts {
            logs_kept: 7,
            ..Counts::default()
        };
        assert_eq!(((kept.value)(&counts), kept.is_counter), (7, false));
        assert!(metric("hustdbsync_checkpoints").unwrap().is_counter);
        let names: BTreeSet<&str> = COUNT_METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), COUNT_METRICS.len());
    }
}
