//! The real binary in a process of its own, and what Linux tells about it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::proc;

/// `hustdbsync run`. It is killed when this goes.
pub(crate) struct Server {
    process: Child,
}

impl Server {
    /// Starts it with this configuration. What it says from warnings on goes to stderr.
    pub(crate) fn start(config: &Path) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_hustdbsync"))
            .arg("run")
            .arg("--config")
            .arg(config)
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        Self { process }
    }

    /// CPU time so far, user and system, all threads.
    pub(crate) fn cpu_time(&self) -> Duration {
        proc::cpu_time(self.process.id())
    }

    /// The most memory that was resident so far, in bytes: the kernel keeps count, so that no peak
    /// falls between two looks.
    pub(crate) fn resident_bytes_max(&self) -> u64 {
        1024 * proc::number(self.process.id(), "status", "VmHWM:")
    }

    /// Bytes that it has asked of files and sockets so far.
    pub(crate) fn read_bytes(&self) -> u64 {
        proc::number(self.process.id(), "io", "rchar:")
    }

    /// Files, sockets and the like that are open now.
    pub(crate) fn open_files(&self) -> usize {
        proc::open_files(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
