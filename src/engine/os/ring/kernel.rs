//! Calls to the kernel: what is queued is submitted, and what is done is waited for.

use std::io;
use std::time::Duration;

use io_uring::types;

use super::Ring;
use crate::limits::RING_PAUSE;

/// Longer than this nobody waits at once; a system call's time has bounds.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// From `linux/io_uring.h`; the crate keeps them to itself.
const ENTER_GETEVENTS: u32 = 1;
/// See [`ENTER_GETEVENTS`].
const ENTER_EXT_ARG: u32 = 8;

/// `struct io_uring_getevents_arg`, also from there.
#[repr(C)]
struct WaitArgument {
    signal_mask: u64,
    signal_mask_bytes: u32,
    min_wait_us: u32,
    timeout: u64,
}

impl Ring {
    /// Submits what was asked for and waits until `want` operations are done, at most for
    /// `longest`; 0 does not wait.
    ///
    /// # Errors
    /// What io_uring_enter(2) says, but for what passes: nothing to wait for any longer, a signal,
    /// no memory at the moment (after a pause), completions to be taken first.
    pub fn wait(&mut self, want: usize, longest: Duration) -> io::Result<()> {
        if let Some(fault) = self.waker_fault.take() {
            return Err(fault);
        }
        self.hear_waker();
        loop {
            self.fill_queue();
            let is_whole = self.backlog.is_empty();
            let want = if is_whole && !self.has_own_completions() {
                want
            } else {
                0
            };
            let submitted = u32::try_from(self.uring.submission().len()).unwrap_or(u32::MAX);
            match self.enter(submitted, want, longest) {
                Ok(()) if is_whole => return Ok(()),
                Ok(()) => {}
                Err(error) => return self.pass(error, longest),
            }
        }
    }

    /// An error that passes ends the wait, if need be after a pause.
    fn pass(&mut self, error: io::Error, longest: Duration) -> io::Result<()> {
        match error.raw_os_error() {
            _ if passes(&error) => Ok(()),
            // The queue of completions is full, or there is no memory for an operation. What was
            // not submitted stays in the queue.
            Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM) => {
                match self.enter_kernel(0, 1, longest.min(RING_PAUSE)) {
                    Err(error) if !passes(&error) && error.raw_os_error() != Some(libc::EBUSY) => {
                        Err(error)
                    }
                    _ => Ok(()),
                }
            }
            _ => Err(error),
        }
    }

    /// Waits for anything, and hears no waker.
    pub(super) fn enter_all(&mut self, longest: Duration) -> io::Result<()> {
        self.fill_queue();
        let submitted = u32::try_from(self.uring.submission().len()).unwrap_or(u32::MAX);
        match self.enter(submitted, 1, longest) {
            Ok(()) => Ok(()),
            Err(error) => self.pass(error, longest),
        }
    }

    /// Moves entries to the kernel's queue as long as it has room.
    pub(super) fn fill_queue(&mut self) {
        let mut queue = self.uring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: all memory that an entry names is owned by `self.memory` and stays where and
            // what it is until the operation's completion, as each place where an entry is made
            // sees to; the descriptor is open until then, since its socket, or the waker, is kept.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn enter(&mut self, submitted: u32, want: usize, longest: Duration) -> io::Result<()> {
        if let Some(fault_injector) = &mut self.fault_injector
            && let Some(error) = fault_injector.enter_fails()
        {
            return Err(io::Error::from_raw_os_error(error));
        }
        self.enter_kernel(submitted, want, longest)
    }

    /// io_uring_enter(2): submits so much of what is queued, and waits.
    fn enter_kernel(&mut self, submitted: u32, want: usize, longest: Duration) -> io::Result<()> {
        let timeout = types::Timespec::from(longest.min(WAIT_MAX));
        let argument = WaitArgument {
            signal_mask: 0,
            signal_mask_bytes: 0,
            min_wait_us: 0,
            timeout: (&raw const timeout) as u64,
        };
        let want = u32::try_from(want).unwrap_or(u32::MAX);
        let flags = ENTER_GETEVENTS | ENTER_EXT_ARG;
        let submitter = self.uring.submitter();
        // SAFETY: the argument is the kernel's structure for these flags and lives through the
        // call, as does the time that it points to. What is queued is sound, as those who push it
        // see to.
        unsafe { submitter.enter(submitted, want, flags, Some(&argument)) }.map(drop)
    }
}

/// Whether a wait ended with this for no reason that lasts: its time was over, or a signal came.
fn passes(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR))
}
