//! The log reader's driver on mio: its mailbox, inotify and the table of mounts on one epoll.
//!
//! What has changed below the logs' path becomes a flag ([`DirtyFlags`](crate::replay::dirty_flags::DirtyFlags)) that the reader's next
//! turn takes. A folder is watched before it is listed, so what comes behind the listing is told.
//! While the reader waits for a disk, the kernel keeps what there is to tell; where that is too
//! much, everything is looked at.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::clock::Clock;
use super::mounts::Mounts;
use super::wait::wait;
use super::watch::{FsEvent, Watch};
use crate::limits::HINTS_WITHIN;
use crate::replay::disk::Disk;
use crate::replay::reader::{Action, LogReader, Turn};

/// The token of the waker of the reader's mailbox.
pub(super) const WAKER: Token = Token(0);
const WATCH: Token = Token(1);
const MOUNTS: Token = Token(2);

struct Driver<D: Disk> {
    reader: LogReader<D>,
    poll: Poll,
    events: Events,
    watch: Watch,
    mounts: Mounts,
    /// When watches that are missing, or on another folder by now, were set last.
    restored_at: Duration,
    /// inotify events were left for the next look; the poll will not report them again.
    events_left: bool,
}

/// Runs the reader of `logs` until it is told to stop. `poll` has [`WAKER`].
///
/// # Errors
/// When the system's poll fails, which it does only for a defect of ours or no memory.
pub(super) fn run<D: Disk>(
    reader: LogReader<D>,
    poll: Poll,
    logs: PathBuf,
    clock: Clock,
) -> io::Result<()> {
    // First: what is mounted after the watches are set is told.
    let mounts = Mounts::new(poll.registry(), MOUNTS);
    let watch = Watch::new(logs, poll.registry(), WATCH);
    let mut driver = Driver {
        reader,
        poll,
        events: Events::with_capacity(4),
        watch,
        mounts,
        restored_at: clock.now().monotonic,
        events_left: false,
    };
    let mut polled_at = Duration::ZERO;
    loop {
        let turn = driver.reader.turn(clock.now());
        driver.act();
        driver.restore_watches(&clock);
        let now = clock.now();
        let wait = match turn {
            Turn::Stopped => return Ok(()),
            Turn::Busy if now.monotonic < polled_at + HINTS_WITHIN => continue,
            Turn::Busy => Duration::ZERO,
            Turn::Idle { .. } if driver.events_left || !driver.reader.prepare_sleep() => {
                Duration::ZERO
            }
            Turn::Idle { until } => driver.until(until).saturating_sub(now.monotonic),
        };
        driver.wait(wait, &clock)?;
        polled_at = now.monotonic;
    }
}

impl<D: Disk> Driver<D> {
    /// Does what the reader asks for.
    fn act(&mut self) {
        while let Some(action) = self.reader.poll_action() {
            match action {
                Action::Watch { backend, folder } => self.watch.add(backend, &folder),
                Action::Unwatch(backend) => self.watch.forget(backend),
            }
        }
    }

    /// Sets watches anew where something was mounted, and every now and then.
    fn restore_watches(&mut self, clock: &Clock) {
        let now = clock.now();
        let is_mounted = self.mounts.poll_look(now);
        if is_mounted || self.restore_at() <= now.monotonic {
            if self.watch.restore(self.poll.registry()) > 0 {
                self.reader.dirty_flags().hint_overflow();
            }
            // Of many folders on a slow disk it takes long; the interval begins behind it.
            self.restored_at = clock.now().monotonic;
        }
    }

    fn restore_at(&self) -> Duration {
        self.restored_at
            .saturating_add(self.reader.rescan_interval())
    }

    /// Until when it may sleep, if the reader may until `until`.
    fn until(&self, until: Duration) -> Duration {
        let mounts = self.mounts.deadline().unwrap_or(Duration::MAX);
        until.min(self.restore_at()).min(mounts)
    }

    /// Waits for a message or an event, at most for `longest`, and takes what inotify tells.
    fn wait(&mut self, longest: Duration, clock: &Clock) -> io::Result<()> {
        wait(&mut self.poll, &mut self.events, Some(longest))?;
        self.reader.mailbox().awake();
        let came = |token| self.events.iter().any(|event| event.token() == token);
        if came(MOUNTS) {
            self.mounts.handle_event(clock.now());
        }
        if came(WATCH) || self.events_left {
            self.take_events();
        }
        Ok(())
    }

    fn take_events(&mut self) {
        let (reader, dirty_flags) = (&self.reader, self.reader.dirty_flags());
        self.events_left = self.watch.take(|event| match event {
            FsEvent::Folders => dirty_flags.hint_root(),
            FsEvent::Grew(backend) => {
                if let Some(info) = reader.info(backend) {
                    dirty_flags.hint_grew(&info.dirty_flags);
                }
            }
            FsEvent::Listing(backend) => {
                if let Some(info) = reader.info(backend) {
                    dirty_flags.hint_listing(&info.dirty_flags);
                }
            }
            FsEvent::Lost => dirty_flags.hint_overflow(),
        });
    }
}

#[cfg(test)]
mod tests;
