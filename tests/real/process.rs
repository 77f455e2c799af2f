//! One process of the server.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::listening::listening_port;
use super::{Home, wait_for};

/// A server in a process of its own. It is killed when this goes.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it on this home, its stderr behind what the ones before have said.
    pub(crate) fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// As [`Process::start`], with these variables in its environment.
    pub(crate) fn start_with(home: &Home, environment: &[(&str, &str)]) -> Self {
        Self::spawn(home, environment, "")
    }

    /// As [`Process::start`], with so many open files at the most.
    pub(crate) fn start_bounded(home: &Home, open_files: u32) -> Self {
        Self::spawn(home, &[], &format!("ulimit -n {open_files} && "))
    }

    /// As [`Process::start`], with files of so many blocks (of 512 bytes) at the most.
    pub(crate) fn start_with_short_files(home: &Home, blocks: u32) -> Self {
        Self::spawn(home, &[], &format!("ulimit -f {blocks} && "))
    }

    fn spawn(home: &Home, environment: &[(&str, &str)], bound: &str) -> Self {
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
        let child = Command::new("sh")
            .arg("-c")
            // As systemd says whose watchdog it is: a number that nobody can know before.
            .arg(format!(
                "{bound}export WATCHDOG_PID=$$; exec \"$0\" run --config \"$1\""
            ))
            .arg(env!("CARGO_BIN_EXE_hustdbsync"))
            .arg(config)
            .env_remove("RUST_LOG")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
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

    /// Its exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and its end, which must be a good one.
    pub(crate) fn terminate(mut self) {
        self.signal("TERM");
        let mut status = None;
        wait_for(Duration::from_secs(30), || {
            status = self.ended();
            status.is_some()
        });
        let status = status.expect("SIGTERM ends it");
        assert_eq!(status.code(), Some(0), "{status}");
    }

    /// The port of its door, once it listens.
    pub(crate) fn door(&self) -> Option<u16> {
        listening_port(self.id())
    }

    /// CPU time so far, all threads, user and system.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // The name in parentheses may hold anything; utime and stime are the 12th and 13th behind it.
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        let ticks: u64 = behind
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        // Linux tells user space 100 ticks a second on every architecture that this runs on.
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
