//! `-q`: ends the running daemon, found by its pid file.

use std::path::Path;
use std::time::{Duration, Instant};

use super::configuration::config_path;
use super::failure::Failure;
use super::pidfile::{self, Found};
use super::process::{self, PROC};

use crate::config::{Config, FILE_NAME};
use crate::engine::os::process::terminate;

/// What the end takes besides the drain: the last checkpoints.
const CHECKPOINT_ALLOWANCE: Duration = Duration::from_secs(5);
/// The drain's length where the configuration doesn't tell.
const DRAIN_DEFAULT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Sends SIGTERM and waits until the process has ended.
pub(super) fn quit(given: Option<&Path>) -> Result<(), Failure> {
    // The pid file stands beside the configuration, also where that has since been removed.
    let config_path = config_path(given).or_else(|error| {
        std::env::current_exe()
            .map(|path| path.with_file_name(FILE_NAME))
            .map_err(|_| error)
    })?;
    let drain =
        Config::load(&config_path).map_or(DRAIN_DEFAULT, |config| config.sync.drain_timeout);
    let path = pidfile::beside(&config_path);
    let proc = Path::new(PROC);
    let pid = match pidfile::look(&path, proc) {
        Ok(Found::Running(pid)) => pid,
        Ok(Found::Missing) => {
            return Err(format!("nothing to end: there is no {}", path.display()).into());
        }
        Ok(Found::Stale) => {
            return Err(format!(
                "nothing to end: {} names no running hustdbsync",
                path.display()
            )
            .into());
        }
        Err(error) => return Err(format!("the pid file {}: {error}", path.display()).into()),
    };
    terminate(pid).map_err(|error| format!("process {pid} could not be told to end: {error}"))?;
    let patience = drain + CHECKPOINT_ALLOWANCE;
    let deadline = Instant::now() + patience;
    while process::is_hustdbsync(proc, pid) {
        if Instant::now() > deadline {
            return Err(format!(
                "process {pid} was told to end and still runs after {} s",
                patience.as_secs()
            )
            .into());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}
