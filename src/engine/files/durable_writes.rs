//! Threads that take durable writes, so that those of several backends overlap and their owner goes
//! on meanwhile.
//!
//! ```text
//!   begin ──▶ queue ──▶ a thread: one step after the other ──▶ ended, and the owner is woken
//! ```
//!
//! A thread is started when a durable write finds none idle, up to `CHECKPOINT_THREADS`, and stays.
//! The system may refuse one (`TasksMax`, a container's bound on pids, `RLIMIT_NPROC`). Then the
//! threads that are there do the work, and if there is none the owner's does.

#[cfg(test)]
mod tests;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::{CHECKPOINT_THREADS, CHECKPOINT_THREADS_END};
use crate::replay::disk::{Disk, take_at_once};
use crate::replay::durable_write::{Completed, DurableWrite, JobId};
use crate::replay::mailbox::Wake;

/// Of every thread: the kernel shows 15 bytes.
const THREAD_NAME: &str = "checkpoint";

/// A durable write, and when it was begun.
pub(super) struct Job {
    job_id: JobId,
    durable_write: DurableWrite,
    begun: Instant,
}

/// What became of a job: how it completed and how long that took, or the panic that ended it.
type Ended = Result<(Completed, Duration), Box<dyn Any + Send>>;

impl Job {
    pub(super) fn new(job_id: JobId, durable_write: DurableWrite) -> Self {
        Self {
            job_id,
            durable_write,
            begun: Instant::now(),
        }
    }

    /// Takes all its steps here. Returns how long it took since it was begun, too.
    pub(super) fn take(self, disk: &mut impl Disk) -> (Completed, Duration) {
        let completed = take_at_once(disk, self.job_id, self.durable_write);
        (completed, self.begun.elapsed())
    }
}

/// Takes a job's steps on a disk, and says how long that took.
pub(super) type Work = Arc<dyn Fn(Job) -> (Completed, Duration) + Send + Sync>;

/// See the module.
pub(super) struct DurableWrites {
    work: Work,
    waker: Arc<dyn Wake>,
    /// `None` only while this is dropped.
    jobs: Option<Sender<Job>>,
    queue: Arc<Mutex<Receiver<Job>>>,
    ended: Receiver<Ended>,
    /// Cloned for each thread.
    ends: Sender<Ended>,
    threads: usize,
    /// Jobs that a thread has or will have.
    under_way: usize,
}

impl DurableWrites {
    /// No thread yet. `waker` wakes the owner whenever a durable write has ended.
    pub(super) fn new(work: Work, waker: Arc<dyn Wake>) -> Self {
        let ((jobs, queue), (ends, ended)) = (channel(), channel());
        Self {
            work,
            waker,
            jobs: Some(jobs),
            queue: Arc::new(Mutex::new(queue)),
            ended,
            ends,
            threads: 0,
            under_way: 0,
        }
    }

    /// Passes a job to the threads. Returns it if there is none, which is logged.
    pub(super) fn begin(&mut self, job: Job) -> Result<(), Job> {
        if self.under_way >= self.threads
            && self.threads < CHECKPOINT_THREADS
            && let Err(error) = self.start_thread()
            && self.threads == 0
        {
            tracing::warn!(
                "the checkpointer writes checkpoints itself: it cannot start a thread for them \
                 ({error}). Raise the bound on tasks (systemd: TasksMax=; a container's bound on \
                 pids; RLIMIT_NPROC)"
            );
            return Err(job);
        }
        let jobs = self.jobs.as_ref().expect("this is not being dropped");
        jobs.send(job).map_err(|refused| refused.0)?;
        self.under_way += 1;
        Ok(())
    }

    /// The next completed durable write, and how long it took. A thread's panic goes on here.
    pub(super) fn completed(&mut self) -> Option<(Completed, Duration)> {
        let ended = self.ended.try_recv().ok()?;
        self.under_way -= 1;
        Some(ended.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    fn start_thread(&mut self) -> io::Result<()> {
        let (queue, ends) = (Arc::clone(&self.queue), self.ends.clone());
        let waker = Arc::clone(&self.waker);
        let work = Arc::clone(&self.work);
        let turns = move || {
            while let Some(job) = next(&queue) {
                let ended = catch_unwind(AssertUnwindSafe(|| work(job)));
                // Nobody may be left who takes it.
                let _ = ends.send(ended);
                waker.wake();
            }
        };
        let builder = thread::Builder::new().name(THREAD_NAME.to_owned());
        drop(builder.spawn(turns)?);
        self.threads += 1;
        Ok(())
    }
}

/// Waits for the next job; `None` once there will be no more.
fn next(queue: &Mutex<Receiver<Job>>) -> Option<Job> {
    let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.recv().ok()
}

impl Drop for DurableWrites {
    /// Begins nothing more, and waits some time for what was begun: whoever has the state next must
    /// not find a step being taken there.
    fn drop(&mut self) {
        self.jobs = None;
        while next(&self.queue).is_some() {
            self.under_way -= 1;
        }
        let give_up = Instant::now() + CHECKPOINT_THREADS_END;
        while self.under_way > 0 {
            let left = give_up.saturating_duration_since(Instant::now());
            if self.ended.recv_timeout(left).is_err() {
                let under_way = self.under_way;
                tracing::warn!(
                    under_way,
                    "checkpoints did not end within {CHECKPOINT_THREADS_END:?}: the disk hangs"
                );
                return;
            }
            self.under_way -= 1;
        }
    }
}
