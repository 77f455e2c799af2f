//! `-q`: ends the running daemon, found by its pid file.

use std::path::Path;
use std::time::Duration;

use super::configuration::config_path;
use super::ctl::wait_for_end;
use super::failure::Failure;
use super::pidfile::{self, Found};
use super::process::{self, PROC};

use crate::config::{Config, FILE_NAME};
use crate::engine::files::StateLock;
use crate::engine::os::process::terminate;

/// The drain's length where the configuration doesn't tell.
const DRAIN_DEFAULT: Duration = Duration::from_secs(10);

/// Sends SIGTERM and waits until the process has ended.
pub(super) fn quit(given: Option<&Path>) -> Result<(), Failure> {
    // The pid file stands beside the configuration, also where that has since been removed.
    let config_path = config_path(given).or_else(|error| {
        std::env::current_exe()
            .map(|path| path.with_file_name(FILE_NAME))
            .map_err(|_| error)
    })?;
    let config = Config::load(&config_path).ok();
    let drain = config
        .as_ref()
        .map_or(DRAIN_DEFAULT, |config| config.sync.drain_timeout);
    let path = pidfile::beside(&config_path);
    let proc = Path::new(PROC);
    let holder = config
        .as_ref()
        .and_then(|config| StateLock::holder(&config.state_path()));
    // Who has the lock is a server, whatever its executable is called.
    let renamed = holder.filter(|pid| pidfile::named(&path) == Some(*pid));
    let pid = match (pidfile::look(&path, proc), renamed) {
        (Ok(Found::Running(pid)), _) | (Ok(Found::Stale), Some(pid)) => pid,
        (Ok(Found::Missing), _) => {
            let other = other_server(holder);
            return Err(format!("nothing to end: there is no {}{other}", path.display()).into());
        }
        (Ok(Found::Stale), None) => {
            let other = other_server(holder);
            return Err(format!(
                "nothing to end: {} names no running hustdbsync{other}",
                path.display()
            )
            .into());
        }
        (Err(error), _) => return Err(format!("the pid file {}: {error}", path.display()).into()),
    };
    terminate(pid).map_err(|error| format!("process {pid} could not be told to end: {error}"))?;
    wait_for_end(drain, || process::lives(proc, pid)).map_err(|seconds| {
        format!("process {pid} was told to end and still runs after {seconds} s").into()
    })
}

/// A server that runs on these logs all the same, as the rest of a sentence. It is named and not
/// ended: it may be systemd's.
fn other_server(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| {
        format!(
            "; process {pid} has these logs, and no such file names it: it is a service (`run`), \
             or its disk was full. `hustdbsync ctl stop` ends it"
        )
    })
}
