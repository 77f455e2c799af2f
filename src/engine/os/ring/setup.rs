//! Making a ring, in the best of the ways that the kernel has.

use std::io;

use io_uring::IoUring;

use crate::limits::{RING_BUFFERS, RING_COMPLETIONS, RING_ENTRIES};

/// How much a ring has room for. Tests make it run out of all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Entries that wait to be submitted.
    pub entries: u32,
    /// Completions that wait to be taken; no fewer than entries.
    pub completions: u32,
    /// Buffers to receive into; a power of two.
    pub buffers: u16,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            entries: RING_ENTRIES,
            completions: RING_COMPLETIONS,
            buffers: RING_BUFFERS,
        }
    }
}

/// When the kernel finishes what has become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When the worker waits (`DEFER_TASKRUN`, Linux 6.1): nothing interrupts it, and it wakes up
    /// for many at once.
    Deferred,
    /// At the worker's next system call (`COOP_TASKRUN`, Linux 5.19).
    Cooperative,
    /// At once, interrupting the worker.
    Plain,
}

impl Mode {
    /// The best first.
    pub const ALL: [Self; 3] = [Self::Deferred, Self::Cooperative, Self::Plain];

    /// What to say of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deferred => "deferred task work",
            Self::Cooperative => "cooperative task work",
            Self::Plain => "plain task work",
        }
    }
}

/// Whether the ring begins to work with the thread that [`super::Ring::enable`]s it, which is then
/// the only one that may use it.
pub(super) const START_DISABLED: bool = true;

/// Makes a ring in the best mode that there is.
///
/// # Errors
/// What io_uring_setup(2) says where it has none.
pub(super) fn make(sizes: Sizes, disabled: bool) -> io::Result<(IoUring, Mode)> {
    let mut refused = None;
    for mode in Mode::ALL {
        match make_in(mode, sizes, disabled) {
            Ok(uring) => return Ok((uring, mode)),
            // A kernel that does not know a flag says EINVAL; for any other error the next mode
            // would not do either.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

fn make_in(mode: Mode, sizes: Sizes, disabled: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_clamp()
        .setup_cqsize(sizes.completions);
    if disabled {
        builder.setup_r_disabled();
    }
    match mode {
        Mode::Deferred => {
            builder
                .setup_submit_all()
                .setup_single_issuer()
                .setup_defer_taskrun();
        }
        Mode::Cooperative => {
            builder.setup_submit_all().setup_coop_taskrun();
        }
        Mode::Plain => {}
    }
    builder.build(sizes.entries)
}
