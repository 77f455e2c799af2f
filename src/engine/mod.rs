//! The shell: every system call, every thread.
//!
//! [`LockedLogs::take`] takes the locks. [`Engine::start_locked`] makes the mailboxes, opens the
//! HTTP server, and starts the threads: the checkpointer, the reader, the workers, control. From
//! then on control leads, and its end is the engine's (see [`control`]).

pub mod choice;
pub mod clock;
mod connections;
pub mod control;
mod drivers;
pub mod files;
mod gather;
mod lifecycle;
mod links;
pub mod listen_options;
pub mod listener;
mod liveness;
pub mod log_timestamp;
mod mounts;
pub mod os;
mod overview;
pub mod probe;
mod reader_mio;
mod reconciler_mio;
pub mod resolve;
mod service;
pub mod settings;
pub mod shared;
pub mod signals;
mod start;
mod start_error;
pub(crate) mod surroundings;
pub mod threads;
pub(crate) mod verify;
mod wait;
pub mod waker;
pub mod watch;
pub mod worker_mio;
pub mod worker_uring;

use std::fmt;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::engine::clock::Clock;
use crate::engine::control::Ending;
use crate::engine::files::Locks;
use crate::engine::overview::Overview;
use crate::engine::shared::Shared;
use crate::engine::threads::Threads;
use crate::limits::THREAD_END_MS;
use crate::status::snapshot::Snapshot;

pub use service::Service;
pub use start::{EngineOptions, LockedLogs};
pub use start_error::StartError;

/// A running server.
pub struct Engine {
    #[cfg_attr(
        not(feature = "testing"),
        allow(dead_code, reason = "who gave port 0 asks which it became: tests")
    )]
    address: SocketAddr,
    clock: Clock,
    shared: Arc<Shared>,
    overview: Mutex<Overview>,
    threads: Threads,
    /// How control ended; control is the one of `threads` that is always waited for.
    ending: Receiver<Result<Ending, String>>,
    /// Tells everyone but control to end, where control could not.
    stop_all: Box<dyn Fn() + Send>,
    /// Held until every thread has ended that could write.
    locks: Arc<Locks>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitReport {
    pub ending: Ending,
    /// Records settled, over all backends and runs.
    pub settled: u64,
    /// Bytes of log that are not settled.
    pub backlog_bytes: u64,
}

impl ExitReport {
    /// Whether the process can end with 0: it ended because it was told to.
    #[must_use]
    pub fn is_success(&self) -> bool {
        !matches!(self.ending, Ending::Failed(_))
    }
}

impl fmt::Display for ExitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ending {
            Ending::Clean => f.write_str("ended")?,
            Ending::Cut(what) => write!(f, "ended, but {what}")?,
            Ending::AtOnce => f.write_str(
                "ended at once, by a second signal; what was in flight is sent again at the next \
                 start",
            )?,
            Ending::Failed(how) => {
                write!(
                    f,
                    "failed: {how}; nothing is lost, it goes on from its last checkpoint"
                )?;
            }
        }
        write!(
            f,
            "; {} records completed so far, {} bytes of log left",
            self.settled, self.backlog_bytes
        )
    }
}

impl Engine {
    /// Where the HTTP server is, with the port that port 0 became.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// All backends as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.overview
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .snapshot(&self.shared.published(), self.clock.now())
    }

    /// Asks for the graceful end, as SIGTERM does; returns at once.
    pub fn stop(&self) {
        self.shared.stop();
    }

    /// Reads the configuration again, as SIGHUP does; returns at once.
    #[cfg(feature = "testing")]
    pub fn reload(&self) {
        self.shared.reload();
    }

    /// Waits for the end, whoever asks for it.
    #[must_use]
    pub fn wait(self) -> ExitReport {
        let ending = match self.ending.recv() {
            Ok(Ok(ending)) => ending,
            Ok(Err(how)) => Ending::Failed(format!("the thread control failed: {how}")),
            Err(_) => Ending::Failed("the thread control ended without a word".to_owned()),
        };
        let snapshot = self.snapshot();
        let (_, settled) = snapshot.totals();
        let backlog_bytes = snapshot
            .backends()
            .iter()
            .map(|backend| backend.backlog_bytes)
            .sum();
        (self.stop_all)();
        let longest = if ending == Ending::AtOnce {
            Duration::ZERO
        } else {
            Duration::from_millis(THREAD_END_MS)
        };
        self.shared.lifecycle.end();
        let left = self.threads.wait(longest);
        if !left.is_empty() && ending != Ending::AtOnce {
            tracing::warn!(
                threads = left.join(", "),
                "these threads did not end in time; the process ends without them, and what they \
                 had in hand is sent again at the next start"
            );
        }
        if left.is_empty() {
            drop(self.locks);
        } else {
            // One of them may still write: the locks stay until the process has ended.
            std::mem::forget(self.locks);
        }
        ExitReport {
            ending,
            settled,
            backlog_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
