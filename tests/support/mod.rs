//! What the tests of several crates need: patience, a child process, what Linux tells of one,
//! sockets.
//!
//! A crate takes it with `#[path = "../support/mod.rs"] mod support;`.
#![allow(
    dead_code,
    unused_imports,
    reason = "each of the test crates that share this uses a part of it"
)]

mod environment;
#[path = "../../benches/common/folder.rs"]
pub(crate) mod folder;
mod patience;
#[path = "../../benches/common/proc.rs"]
pub(crate) mod proc;
mod process;
mod sockets;

pub(crate) use environment::number;
pub(crate) use patience::{DEADLINE, eventually, eventually_some, holds_within};
pub(crate) use process::Process;
pub(crate) use sockets::shrink_send_buffers;
