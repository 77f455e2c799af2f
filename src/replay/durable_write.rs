//! A durable write: steps on a disk that are taken in their order, without anybody waiting for
//! them.
//!
//! ```text
//!   begin ──▶ under way: one step after the other ──▶ completed: all succeeded, or
//!         └─ at once, on a disk that waits ─────────▶            the first that failed, and why
//! ```
//!
//! A durable write is data: the caller lists the steps, and the disk takes them in that order. It
//! takes a step only if all before it succeeded, and none after one that failed. At most one
//! durable write of a backend is under way.

use std::io;
use std::sync::Arc;

/// Identifies a durable write while it is under way; its owner chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub usize);

/// One step; each is a method of [`Disk`](crate::replay::disk::Disk).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes names in the backend's log folder durable.
    SyncLogFolder,
    /// Creates or empties this state file, and writes the bytes to it.
    Write(&'static str),
    /// Makes this state file's content durable.
    Sync(&'static str),
    /// Gives a state file another name.
    Rename {
        /// Its old name.
        from: &'static str,
        /// Its new name.
        to: &'static str,
    },
    /// Makes names in the backend's state folder durable, and the folder's own.
    SyncStateFolder,
}

/// The steps for one backend, and the bytes that are written. It is returned on completion, so that
/// its memory is reused.
#[derive(Debug)]
pub struct DurableWrite {
    /// The backend's folder.
    pub backend: Arc<str>,
    /// In this order.
    pub steps: Vec<Step>,
    /// What [`Step::Write`] writes.
    pub bytes: Vec<u8>,
}

/// Why a durable write ended before its last step. No step after this one was taken.
#[derive(Debug)]
pub struct StepError {
    /// The step that failed.
    pub step: Step,
    /// The system's error; its text names the path.
    pub cause: io::Error,
}

/// A durable write that is no longer under way.
#[derive(Debug)]
pub struct Completed {
    /// The id that it was begun with.
    pub job_id: JobId,
    /// The durable write itself.
    pub durable_write: DurableWrite,
    /// Whether all steps succeeded.
    pub result: Result<(), StepError>,
}

/// The state of a durable write when [`Disk::begin`](crate::replay::disk::Disk::begin) returns.
#[derive(Debug)]
pub enum Submitted {
    /// It is completed already.
    Completed(Completed),
    /// [`Disk::completed`](crate::replay::disk::Disk::completed) will return it.
    UnderWay,
}

impl DurableWrite {
    /// A durable write without steps.
    #[must_use]
    pub fn new(backend: Arc<str>) -> Self {
        Self {
            backend,
            steps: Vec::new(),
            bytes: Vec::new(),
        }
    }
}
