//! The shell: every system call.

pub mod clock;
pub mod files;
pub mod listener;
pub mod os;
mod recency;
pub mod worker_mio;
