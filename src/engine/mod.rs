//! The shell.

pub mod clock;
pub mod os;
pub mod worker_mio;
