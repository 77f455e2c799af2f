//! Blocking signals in the first instants of the process, before there is a handler for them.

use std::io;
use std::ptr;

/// Blocks these signals for the calling thread, and for each thread that it starts. They stay
/// pending until [`unblock`].
///
/// # Errors
/// One of them is not a signal.
pub fn block(signals: &[i32]) -> io::Result<()> {
    change(libc::SIG_BLOCK, signals)
}

/// Delivers these signals again, those that are pending at once.
///
/// # Errors
/// One of them is not a signal.
pub(crate) fn unblock(signals: &[i32]) -> io::Result<()> {
    change(libc::SIG_UNBLOCK, signals)
}

fn change(how: i32, signals: &[i32]) -> io::Result<()> {
    // SAFETY: a sigset_t is plain memory, and sigemptyset makes a valid set of it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours for the time of the call.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in signals {
        // SAFETY: as above; a number that is not a signal is refused.
        if unsafe { libc::sigaddset(&raw mut set, *signal) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: the set is valid and ours, and the old one is not asked for.
    match unsafe { libc::pthread_sigmask(how, &raw const set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_signal_is_an_error() {
        for signal in [-1, 0, 1000] {
            assert!(block(&[signal]).is_err(), "{signal}");
            assert!(unblock(&[signal]).is_err(), "{signal}");
        }
    }
}
