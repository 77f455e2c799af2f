//! Becoming a daemon, so that whoever started it still learns how the start went.
//!
//! The starter waits on a pipe. The daemon writes `+` once it runs, or `-` and a sentence; a pipe
//! that ends before either means that the daemon ended without a word. So errors of the start reach
//! the terminal and the exit code.
//!
//! ```text
//! starter: fork ── wait on the pipe ── "+" → exit 0 · "-why" → print, exit 1 · end → exit 1
//! daemon:     └─ session, fork, /dev/null ── start ── "+" ── run …
//! ```

use std::io::{self, PipeReader, PipeWriter, Read, Write};

use crate::engine::os::process::{Daemonized, daemonize};

/// Most bytes of an error that the starter takes over.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

/// Where [`become_daemon`] returns: in both processes.
pub(super) enum Role {
    /// The starter, with how the start went.
    Starter(Result<(), String>),
    /// The daemon, which owes a report.
    Daemon(StartReport),
}

/// The daemon's end of the pipe.
pub(super) struct StartReport(PipeWriter);

/// To be called before any thread is started.
///
/// # Errors
/// The system refuses to fork.
pub(super) fn become_daemon() -> io::Result<Role> {
    Ok(match daemonize()? {
        Daemonized::Starter(pipe) => Role::Starter(await_report(pipe)),
        Daemonized::Daemon(pipe) => Role::Daemon(StartReport(pipe)),
    })
}

fn await_report(pipe: PipeReader) -> Result<(), String> {
    let mut said = Vec::new();
    let read = pipe.take(MESSAGE_BYTES_MAX).read_to_end(&mut said);
    match (read, said.split_first()) {
        (_, Some((b'+', _))) => Ok(()),
        (_, Some((_, reason))) => Err(String::from_utf8_lossy(reason).into_owned()),
        (Err(error), None) => Err(format!("it is unknown whether the daemon runs: {error}")),
        (Ok(_), None) => Err(
            "the daemon ended before it had started; logs beside the configuration may tell why"
                .to_owned(),
        ),
    }
}

// A report that can't be written means that the starter has gone, for instance by Ctrl-C. The
// daemon runs all the same.
impl StartReport {
    /// The daemon runs: the starter ends with 0.
    pub(super) fn started(mut self) {
        let _ = self.0.write_all(b"+");
    }

    /// It doesn't: the starter prints `reason` and ends with 1.
    pub(super) fn failed(mut self, reason: &str) {
        let _ = write!(self.0, "-{reason}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(report: impl FnOnce(StartReport), expected: Result<(), &str>) {
        let (reader, writer) = io::pipe().unwrap();
        report(StartReport(writer));
        assert_eq!(await_report(reader), expected.map_err(str::to_owned));
    }

    #[test]
    fn the_starter_learns_how_the_start_went() {
        check(StartReport::started, Ok(()));
        check(
            |report| report.failed("port 8089 is in use"),
            Err("port 8089 is in use"),
        );
        check(
            drop,
            Err(
                "the daemon ended before it had started; logs beside the configuration may tell \
                 why",
            ),
        );
    }
}
