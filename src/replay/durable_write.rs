//! Steps on a disk that are taken in their order, without anybody having to wait for them.
//!
//! ```text
//!   begin ──▶ under way: one step after the other ──▶ ended: all went well, or the first that did not and why
//!         └─ at once, on a disk that waits ─────────▶
//! ```
//!
//! A chain is data: who wants something durable writes its order down, and the disk keeps it. A
//! step is taken only when all before it went well, and none is taken after one that did not. At
//! most one chain of a backend is under way.

use std::io;
use std::sync::Arc;

use crate::replay::disk::Disk;

/// What a chain is known by while it is under way; its owner chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub usize);

/// One thing to be done, each as the method of [`Disk`] that has its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes names in the backend's log folder durable.
    SyncLogFolder,
    /// Creates or empties this state file, and writes the chain's bytes to it.
    Write(&'static str),
    /// Makes this state file's content durable.
    Sync(&'static str),
    /// Gives a state file another name.
    Rename {
        /// Its name so far.
        from: &'static str,
        /// What it is called then.
        to: &'static str,
    },
    /// Makes names in the backend's state folder durable, and the folder's own.
    SyncStateFolder,
}

/// Steps of one backend, and what is written on the way. It comes back when it has ended, so that
/// its memory is used again.
#[derive(Debug)]
pub struct DurableWrite {
    /// The backend's folder.
    pub backend: Arc<str>,
    /// In this order.
    pub steps: Vec<Step>,
    /// What [`Step::Write`] writes.
    pub bytes: Vec<u8>,
}

/// Why a chain ended before its last step: nothing behind this step was done.
#[derive(Debug)]
pub struct StepError {
    /// The step that failed.
    pub step: Step,
    /// What the system says; its text names the path.
    pub cause: io::Error,
}

/// A chain that is not under way any more.
#[derive(Debug)]
pub struct Ended {
    /// As it was begun.
    pub job_id: JobId,
    /// The chain itself.
    pub durable_write: DurableWrite,
    /// What came of it.
    pub result: Result<(), StepError>,
}

/// What became of a chain that was begun.
#[derive(Debug)]
pub enum Begun {
    /// It has ended already.
    Ended(Ended),
    /// [`Disk::ended`] will tell.
    UnderWay,
}

impl DurableWrite {
    /// One without steps.
    #[must_use]
    pub fn new(backend: Arc<str>) -> Self {
        Self {
            backend,
            steps: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Takes one step and waits for it.
    ///
    /// # Errors
    /// What the disk says, and the step.
    pub fn take_step(&self, step: Step, disk: &mut impl Disk) -> Result<(), StepError> {
        let backend = &*self.backend;
        match step {
            Step::SyncLogFolder => disk.sync_log_folder(backend),
            Step::Write(name) => disk.write_state(backend, name, &self.bytes),
            Step::Sync(name) => disk.sync_state(backend, name),
            Step::Rename { from, to } => disk.rename_state(backend, from, to),
            Step::SyncStateFolder => disk.sync_state_folder(backend),
        }
        .map_err(|cause| StepError { step, cause })
    }

    /// Takes all steps up to the first that fails, and waits for each: it has ended then.
    pub fn take_at_once(self, job_id: JobId, disk: &mut impl Disk) -> Ended {
        let steps = self.steps.iter();
        let result = steps
            .copied()
            .try_for_each(|step| self.take_step(step, disk));
        Ended {
            job_id,
            durable_write: self,
            result,
        }
    }
}
