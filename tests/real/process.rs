//! One process of the server.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use super::Home;
pub(crate) use crate::support::Process;
use crate::support::proc::listening_port;

impl Process {
    /// Starts it on this home, its stderr behind what the ones before have said.
    pub(crate) fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// As [`Process::start`], with these variables in its environment.
    pub(crate) fn start_with(home: &Home, environment: &[(&str, &str)]) -> Self {
        Self::start_as("run", home, environment)
    }

    /// As [`Process::start_with`], but in another way than `run`.
    pub(crate) fn start_as(way: &str, home: &Home, environment: &[(&str, &str)]) -> Self {
        Self::start_in_shell(home, way, environment, "")
    }

    /// As [`Process::start`], with so many open files at the most.
    pub(crate) fn start_bounded(home: &Home, open_files: u32) -> Self {
        Self::start_in_shell(home, "run", &[], &format!("ulimit -n {open_files} && "))
    }

    /// As [`Process::start`], with files of so many blocks (of 512 bytes) at the most.
    pub(crate) fn start_with_short_files(home: &Home, blocks: u32) -> Self {
        Self::start_in_shell(home, "run", &[], &format!("ulimit -f {blocks} && "))
    }

    fn start_in_shell(home: &Home, way: &str, environment: &[(&str, &str)], bound: &str) -> Self {
        let config = home.path("sync_server.json");
        if !config.exists() {
            home.write_config();
        }
        let mut stderr = File::options()
            .create(true)
            .append(true)
            .open(home.path("stderr"))
            .unwrap();
        writeln!(stderr, "-- a process starts").unwrap();
        // A shell sets the bound and becomes the server, with its number.
        let mut command = Command::new("sh");
        command
            .arg("-c")
            // As systemd says whose watchdog it is: a number that nobody can know before.
            .arg(format!(
                "{bound}export WATCHDOG_PID=$$; exec \"$0\" {way} --config \"$1\""
            ))
            .arg(env!("CARGO_BIN_EXE_hustdbsync"))
            .arg(config)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(stderr);
        Self::spawn(&mut command)
    }

    /// The port of its HTTP server, once it listens.
    pub(crate) fn http_server(&self) -> Option<u16> {
        listening_port(self.id())
    }
}
