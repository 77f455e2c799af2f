//! The engine's threads: what drives the checkpointer, and what becomes of a thread that fails.
//!
//! A thread that panics or whose poll fails takes all down with it: control is told, ends at once,
//! and the reason is the process's. Nobody is left waiting for a thread that is not there.

use std::any::Any;
use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::engine::clock::Clock;
use crate::engine::os::{affinity, priority};
use crate::engine::shared::Shared;
use crate::engine::wait::wait;
use crate::limits::CONTROL_NICE;
use crate::replay::checkpointer::{self, Checkpointer};
use crate::replay::disk::Disk;

/// Runs the checkpointer until everything is written after it was told to stop. `poll` has its
/// waker.
///
/// # Errors
/// When the system's poll fails, which it does only for a defect of ours or no memory.
pub(crate) fn run_checkpointer<D: Disk>(
    mut checkpointer: Checkpointer<D>,
    mut poll: Poll,
    clock: Clock,
) -> io::Result<()> {
    let mut events = Events::with_capacity(4);
    loop {
        match checkpointer.turn(clock.now()) {
            checkpointer::Turn::Again => {}
            checkpointer::Turn::Done => return Ok(()),
            checkpointer::Turn::Sleep => {
                let now = clock.now();
                if let Some(until) = checkpointer.prepare_sleep(now) {
                    let longest = until.saturating_sub(now.monotonic);
                    wait(&mut poll, &mut events, Some(longest))?;
                    checkpointer.mailbox().awake();
                }
            }
        }
    }
}

/// Keeps the calling worker on its core, where there is one for each of them.
pub(crate) fn pin_worker(index: usize, workers: usize) {
    let pinned = affinity::cores().and_then(|cores| {
        if cores.len() < workers {
            return Ok(None);
        }
        affinity::pin(cores[index]).map(|()| Some(cores[index]))
    });
    match pinned {
        Ok(Some(core)) => tracing::debug!(worker = index, core, "pinned"),
        Ok(None) => {}
        Err(error) => tracing::debug!(worker = index, "not pinned: {error}"),
    }
}

/// Lets the calling thread, control's, get a core before the workers when it wakes, where we may:
/// HA and whoever looks at the server wait for it.
pub(crate) fn prefer_control() {
    if let Err(error) = priority::set_nice(CONTROL_NICE) {
        tracing::debug!("answers may wait for a core while all are busy: {error}");
    }
}

/// The threads that run.
pub struct Threads {
    shared: Arc<Shared>,
    running: BTreeSet<String>,
    ends: (Sender<String>, Receiver<String>),
}

impl Threads {
    /// None yet.
    #[must_use]
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            running: BTreeSet::new(),
            ends: channel(),
        }
    }

    /// Starts a thread. When it fails, all end.
    ///
    /// # Errors
    /// The system gives none.
    pub fn start(
        &mut self,
        name: &str,
        body: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let (shared, ended) = (Arc::clone(&self.shared), self.ends.0.clone());
        let own_name = name.to_owned();
        thread::Builder::new()
            .name(own_name.clone())
            .spawn(move || {
                if let Err(how) = run_whole(body) {
                    shared.fail(format!("the thread {own_name} failed: {how}"));
                }
                let _ = ended.send(own_name);
            })?;
        self.running.insert(name.to_owned());
        Ok(())
    }

    /// Waits until all have ended, at most for `longest`. Gives the names of those that have not.
    pub fn wait(mut self, longest: Duration) -> Vec<String> {
        let give_up = Instant::now() + longest;
        while !self.running.is_empty() {
            let left = give_up.saturating_duration_since(Instant::now());
            match self.ends.1.recv_timeout(left) {
                Ok(name) => self.running.remove(&name),
                Err(_) => break,
            };
        }
        self.running.into_iter().collect()
    }
}

/// Runs `body`; how it failed, panics included.
///
/// # Errors
/// The panic's message, or the error.
pub(crate) fn run_whole<T>(body: impl FnOnce() -> io::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(message(&*panic)),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", said.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::mailbox::{Mailbox, NoWaker};

    fn threads() -> (Threads, Arc<Shared>) {
        let shared = Arc::new(Shared::new(Arc::new(Mailbox::new(1, Box::new(NoWaker)))));
        (Threads::new(Arc::clone(&shared)), shared)
    }

    #[test]
    fn a_thread_that_panics_or_fails_says_so_with_its_name() {
        let (mut threads, shared) = threads();
        threads
            .start("w0", || panic!("settled twice: line {}", 7))
            .unwrap();
        assert!(threads.wait(Duration::from_secs(20)).is_empty());
        assert_eq!(
            shared.failure().as_deref(),
            Some("the thread w0 failed: panic: settled twice: line 7")
        );
    }

    #[test]
    fn a_thread_that_ends_is_no_failure_and_one_that_does_not_is_named() {
        let (mut threads, shared) = threads();
        let (release, held) = channel::<()>();
        threads.start("w0", || Ok(())).unwrap();
        threads
            .start("w1", move || {
                let _ = held.recv();
                Ok(())
            })
            .unwrap();
        assert_eq!(threads.wait(Duration::from_millis(200)), ["w1"]);
        assert_eq!(shared.failure(), None);
        drop(release);
    }
}
