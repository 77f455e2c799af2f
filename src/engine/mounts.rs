//! Tells when something is mounted or unmounted, which no inotify watch tells: a watch stays with
//! the folder that it was set on.
//!
//! The kernel wakes whoever polls `/proc/self/mountinfo` at each change (proc(5)). So this costs
//! nothing while nothing changes; a look at each folder at short intervals would cost a system call
//! for each backend, for something that happens once a year.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::clock::Now;
use crate::engine::files::MOUNTS;
use crate::limits::MOUNT_LOOKS_REST;

/// See the module.
pub(super) struct Mounts {
    /// Held open, as long as changes are to be told; `None` where the system does not tell them.
    _file: Option<File>,
    looked_at: Option<Duration>,
    /// When to look what has changed; `None`: nothing has.
    due: Option<Duration>,
}

impl Mounts {
    /// Registers with `token`. Where the system does not tell of mounts, they are found by a look
    /// at the folders each `rescan_interval`, and that is logged.
    pub(super) fn new(registry: &Registry, token: Token) -> Self {
        let file = open(registry, token).inspect_err(|error| {
            tracing::info!(%error, "the system does not tell when something is mounted ({MOUNTS}); \
                a mount over the logs is found each sync.rescan_interval only");
        });
        Self {
            _file: file.ok(),
            looked_at: None,
            due: None,
        }
    }

    /// Something was mounted or unmounted, somewhere.
    pub(super) fn handle_event(&mut self, now: Now) {
        let rested = self.looked_at.map(|at| at + MOUNT_LOOKS_REST);
        let due = rested.map_or(now.monotonic, |rested| rested.max(now.monotonic));
        self.due.get_or_insert(due);
    }

    /// When [`Mounts::poll_look`] is due, monotonic.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// Whether it is time to look which folders are others than before.
    pub(super) fn poll_look(&mut self, now: Now) -> bool {
        let is_due = self.due.take_if(|due| *due <= now.monotonic).is_some();
        if is_due {
            self.looked_at = Some(now.monotonic);
        }
        is_due
    }
}

fn open(registry: &Registry, token: Token) -> io::Result<File> {
    let file = File::open(MOUNTS)?;
    registry.register(&mut SourceFd(&file.as_raw_fd()), token, Interest::PRIORITY)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::Poll;

    #[test]
    fn a_change_is_looked_at_at_once_and_a_storm_of_them_now_and_then() {
        let poll = Poll::new().unwrap();
        let mut mounts = Mounts::new(poll.registry(), Token(7));
        let at = Now::at_ms;
        assert_eq!(mounts.deadline(), None);
        mounts.handle_event(at(1000));
        assert!(mounts.poll_look(at(1000)));
        let mut looks = 0;
        for ms in 1000..11_000 {
            mounts.handle_event(at(ms));
            looks += u32::from(mounts.poll_look(at(ms)));
        }
        let expected = 10_000 / MOUNT_LOOKS_REST.as_millis();
        assert!(u128::from(looks).abs_diff(expected) <= 1, "{looks}");
        // The last one is not forgotten.
        assert!(mounts.poll_look(at(12_000)));
        assert!(!mounts.poll_look(at(20_000)));
    }
}
