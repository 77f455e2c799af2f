//! The shell: every system call, every thread.

pub mod clock;
pub mod files;
pub mod listener;
pub mod os;
pub mod post;
pub mod probe;
mod recency;
pub mod resolve;
pub mod signals;
pub mod watch;
pub mod worker_mio;
