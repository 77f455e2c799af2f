//! One backend's numbers, shared by the threads.

use std::sync::atomic::AtomicU64;

/// Numbers of one backend.
#[derive(Debug, Default)]
#[expect(
    missing_docs,
    reason = "a place holder for the branch that documents them"
)]
pub struct BackendCounters {
    pub processed: AtomicU64,
    pub settled: AtomicU64,
    pub applied: AtomicU64,
    pub superseded: AtomicU64,
    pub absent: AtomicU64,
    pub rejected: AtomicU64,
    pub expired: AtomicU64,
    pub resent: AtomicU64,
    pub asked: AtomicU64,
    pub long_targets: AtomicU64,
    pub unread_bytes: AtomicU64,
    pub in_flight_bytes: AtomicU64,
    pub in_flight_records: AtomicU64,
    pub log_files: AtomicU64,
    pub oldest_unsettled_unix: AtomicU64,
    pub connections_open: AtomicU64,
    pub answers: AtomicU64,
}
