//! Waiting on a poll.

use std::io::{self, ErrorKind};
use std::time::Duration;

use mio::{Events, Poll};

/// Waits for events, at most for `longest`; without one where a signal came first.
///
/// # Errors
/// When the system's poll fails, which it does only for a defect of ours or no memory.
pub(super) fn wait(
    poll: &mut Poll,
    events: &mut Events,
    longest: Option<Duration>,
) -> io::Result<()> {
    match poll.poll(events, longest) {
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}
