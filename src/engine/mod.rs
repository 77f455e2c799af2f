//! The shell: every system call.

pub mod clock;
pub mod os;
pub mod worker_mio;
