//! A child process that does not outlive its test.

use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::{eventually_some, proc};

/// A process that a test has started. It is killed when this is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts the server, or whatever becomes it. Its stdout goes nowhere unless `command` was told
    /// otherwise by [`Process::of`].
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let command = command.env_remove("RUST_LOG").stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Takes a child that was started already.
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its stdin, once, if it was piped.
    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// Its stdout, once, which was piped.
    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().unwrap()
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.id().to_string())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "it has ended before {name}");
    }

    /// Stops it for so long, as a machine does that stands still.
    pub(crate) fn stop_for(&self, length: Duration) {
        self.signal("STOP");
        thread::sleep(length);
        self.signal("CONT");
    }

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually_some("the process ends", || self.ended())
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and its end, which must be a good one.
    pub(crate) fn end(&mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{status}");
    }

    /// CPU time so far, all threads, user and system.
    pub(crate) fn cpu_time(&self) -> Duration {
        proc::cpu_time(self.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
