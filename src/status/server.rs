//! What there is to tell that belongs to no backend: the process, its threads, its memory, and the
//! HTTP server that HA comes to.

use std::time::Duration;

use super::histogram::Distribution;

/// The process as it was when it was looked at last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// The name of this host.
    pub host: String,
    /// The folder of its state, an absolute path.
    pub state_path: String,
    /// What the workers wait for their connections with: `io_uring` or `mio`.
    pub engine: &'static str,
    /// The graceful end has begun.
    pub is_ending: bool,
    /// The folder of logs has been listed.
    pub logs_listed: bool,
    /// Every thread but the one that answers.
    pub threads: Vec<ThreadLiveness>,
    /// Bytes of log in memory.
    pub memory_bytes: u64,
    /// Bytes of log that may be in memory (`memory_budget`).
    pub memory_budget_bytes: u64,
    /// From the first byte of a checkpoint to its being on disk.
    pub checkpoint_times: Distribution,
    pub http_server: ListenerCounters,
    /// What the system says about the process; none where it says nothing.
    pub process: Option<ProcessFacts>,
}

/// A thread, and whether it gets on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadLiveness {
    pub name: String,
    /// For how long it has been at one and the same turn; none while it sleeps or goes on.
    pub stuck: Duration,
}

/// What has happened at the HTTP server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerCounters {
    /// Connections open now.
    pub connections: u64,
    /// Connections taken in.
    pub accepted: u64,
    /// Connections closed at once since their peer may not connect.
    pub denied: u64,
    /// Connections that had to go for others, or whose clients did not read their answers.
    pub evicted: u64,
    /// Requests answered.
    pub answered: u64,
    /// Times that accepting rested since the system had no room.
    pub pauses: u64,
}

/// What Linux says about a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFacts {
    /// When it was started, in seconds since 1970.
    pub start_seconds: f64,
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
    /// Bytes of memory that are resident.
    pub resident_bytes: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    pub threads: u64,
    /// Descriptors that are open.
    pub open_fds: u64,
    /// Descriptors that may be open.
    pub max_fds: u64,
}
