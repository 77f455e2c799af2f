//! The shell: every system call, every thread.

pub mod clock;
pub mod files;
pub mod listener;
pub mod os;
mod recency;
pub mod probe;
pub mod watch;
pub mod worker_mio;
