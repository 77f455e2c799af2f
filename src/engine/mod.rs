//! The shell: every system call.

pub mod os;
