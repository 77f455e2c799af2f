//! Durable writes on an io_uring: each step is a call to the kernel, made when the one before has
//! succeeded, for all backends at the same time.
//!
//! ```text
//!  begin ──▶ waiting ── a place is free ──▶ running: open the step's file, push its call ◀─┐
//!                                            │ ▲ interrupted, or a part was written        │ next
//!                                            ▼ └──────────────┐                            │ step
//!                                         under way ──────▶ done ── succeeded ─────────────┘
//!                                                             └─ the last step, or failed ─▶ ended
//! ```
//!
//! Files are opened and made by plain calls, which don't wait for the disk to have written
//! anything. The steps are those of [`RealDisk`](super::RealDisk), and so are the texts of their
//! errors.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use super::paths::{Paths, at};
use super::read_only;
use crate::engine::os::files::open_folder;
use crate::engine::os::ring::files::{Call, Done, FileRing};
use crate::limits::RING_CHAINS;
use crate::replay::durable_write::{Completed, DurableWrite, JobId, Step, StepError};
use crate::status::counters::ServerCounters;

/// What is missing, and what to do.
const NO_THREADS: &str = "the kernel has no thread for them, since there may be no more tasks \
                          (systemd: TasksMax=; a container's bound on pids; RLIMIT_NPROC); \
    raise the bound and restart to have the ring back";

/// See the module.
pub(super) struct DurableWrites {
    ring: FileRing,
    waiting: VecDeque<Running>,
    running: Slab<Running>,
    ended: VecDeque<Completed>,
    counters: Arc<ServerCounters>,
    /// That the ring is of no more use was said.
    said_useless: bool,
}

struct Running {
    job_id: JobId,
    durable_write: DurableWrite,
    /// Steps that went well.
    taken: usize,
    /// The first call of a step that has two went well.
    is_second: bool,
    /// What the call under way is about.
    path: PathBuf,
    /// What was written, still open: its sync tells whatever has gone wrong since.
    written: Option<File>,
    begun: Instant,
}

impl DurableWrites {
    pub(super) fn new(ring: FileRing, counters: Arc<ServerCounters>) -> Self {
        Self {
            ring,
            waiting: VecDeque::new(),
            running: Slab::new(),
            ended: VecDeque::new(),
            counters,
            said_useless: false,
        }
    }

    /// Whether durable writes can be begun.
    pub(super) fn works(&self) -> bool {
        self.useless().is_none()
    }

    /// Why they can't, or why a ring is of no use to them.
    fn useless(&self) -> Option<String> {
        if let Some(error) = self.ring.broken() {
            return Some(error.to_string());
        }
        self.ring.lacks_threads().then(|| NO_THREADS.to_owned())
    }

    pub(super) fn begin(&mut self, job_id: JobId, durable_write: DurableWrite, paths: &Paths) {
        self.waiting.push_back(Running {
            job_id,
            durable_write,
            taken: 0,
            is_second: false,
            path: PathBuf::new(),
            written: None,
            begun: Instant::now(),
        });
        self.fill(paths);
        if !self.ended.is_empty() {
            // It did not come as far as a call to the kernel, whose end would be heard.
            self.ring.wake();
        }
    }

    /// The next completed durable write; the others continue with their next step.
    pub(super) fn completed(&mut self, paths: &Paths) -> Option<Completed> {
        while let Some(done) = self.ring.poll_done() {
            self.handle_done(done, paths);
        }
        self.fill(paths);
        self.ended.pop_front()
    }

    /// Begins what waits, as far as there is room, and hands over what was pushed.
    fn fill(&mut self, paths: &Paths) {
        let most = RING_CHAINS.min(self.ring.capacity());
        while self.running.len() < most
            && let Some(running) = self.waiting.pop_front()
        {
            let key = self.running.insert(running);
            self.go_on(key, paths);
        }
        self.ring.submit();
        if !self.said_useless
            && let Some(why) = self.useless()
        {
            self.said_useless = true;
            tracing::warn!(
                "the checkpointer's ring takes no more calls, so checkpoints are written by plain \
                 ones from now on: {why}"
            );
        }
    }

    /// Makes the next call of a durable write, or completes it.
    fn go_on(&mut self, key: usize, paths: &Paths) {
        let running = &mut self.running[key];
        while let Some(&step) = running.durable_write.steps.get(running.taken) {
            match running.call(step, paths) {
                Ok(Some(call)) => return self.ring.push(key, call),
                Ok(None) => running.taken += 1,
                Err(cause) => return self.end(key, Err(StepError { step, cause })),
            }
        }
        self.end(key, Ok(()));
    }

    fn handle_done(&mut self, done: Done, paths: &Paths) {
        let Done { tag, call, result } = done;
        let running = &mut self.running[tag];
        match running.handle(call, result) {
            Ok(Some(again)) => self.ring.push(tag, again),
            Ok(None) => self.go_on(tag, paths),
            Err(cause) => {
                let step = running.durable_write.steps[running.taken];
                let cause = at(&running.path)(cause);
                self.end(tag, Err(StepError { step, cause }));
            }
        }
    }

    fn end(&mut self, key: usize, result: Result<(), StepError>) {
        let running = self.running.remove(key);
        if result.is_ok() {
            let took = running.begun.elapsed();
            self.counters.checkpoint_times.observe(took, 1);
        }
        self.ended.push_back(Completed {
            job_id: running.job_id,
            durable_write: running.durable_write,
            result,
        });
    }
}

impl Running {
    /// The call that a step asks for next; none where there is nothing to be done.
    fn call(&mut self, step: Step, paths: &Paths) -> io::Result<Option<Call>> {
        let backend = &*self.durable_write.backend;
        Ok(Some(match step {
            Step::SyncLogFolder => {
                self.path = paths.log_folder(backend)?;
                match open_folder(&self.path) {
                    // What does not exist has no names.
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                    opened => Call::Sync {
                        file: opened.map_err(at(&self.path))?,
                    },
                }
            }
            Step::Write(name) => {
                let mut options = OpenOptions::new();
                let options = options.write(true).truncate(true);
                let (file, path) = paths.open_state(backend, name, options)?;
                self.path = path;
                Call::Write {
                    file,
                    bytes: std::mem::take(&mut self.durable_write.bytes),
                    from: 0,
                }
            }
            Step::Sync(name) => {
                self.path = paths.state(backend, name)?;
                let file = match self.written.take() {
                    Some(file) => file,
                    None => read_only(&self.path).map_err(at(&self.path))?,
                };
                Call::Sync { file }
            }
            Step::Rename { from, to } => {
                self.path = paths.state(backend, from)?;
                let to = paths.state(backend, to)?;
                Call::Rename {
                    from: c_path(&self.path)?,
                    to: c_path(&to)?,
                }
            }
            Step::SyncStateFolder => {
                self.path = if self.is_second {
                    paths.state.clone()
                } else {
                    paths.state_folder(backend)?
                };
                let file = open_folder(&self.path).map_err(at(&self.path))?;
                Call::Sync { file }
            }
        }))
    }

    /// Takes in that the call is over. Gives the one to be made in its place, if it is not done;
    /// none: it is.
    fn handle(&mut self, call: Call, result: io::Result<usize>) -> io::Result<Option<Call>> {
        if let Err(error) = &result
            && error.kind() == ErrorKind::Interrupted
        {
            return Ok(Some(call));
        }
        match call {
            Call::Write { file, bytes, from } => {
                let all = bytes.len();
                let written = match result {
                    Ok(0) if from < all => Err(ErrorKind::WriteZero.into()),
                    other => other,
                };
                match written {
                    Ok(more) if from + more < all => {
                        let from = from + more;
                        return Ok(Some(Call::Write { file, bytes, from }));
                    }
                    Ok(_) => {
                        self.durable_write.bytes = bytes;
                        self.written = Some(file);
                    }
                    Err(error) => {
                        self.durable_write.bytes = bytes;
                        return Err(short(error, from, all));
                    }
                }
            }
            Call::Sync { .. } => {
                result?;
                let step = self.durable_write.steps[self.taken];
                if step == Step::SyncStateFolder && !std::mem::replace(&mut self.is_second, true) {
                    return Ok(None);
                }
                self.is_second = false;
            }
            Call::Rename { .. } => drop(result?),
        }
        self.taken += 1;
        Ok(None)
    }
}

/// Says how much was written before it failed, where that was not nothing.
fn short(error: io::Error, from: usize, all: usize) -> io::Error {
    if from == 0 {
        return error;
    }
    io::Error::new(
        error.kind(),
        format!("{error}, after {from} of {all} bytes"),
    )
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| ErrorKind::InvalidInput.into())
}
