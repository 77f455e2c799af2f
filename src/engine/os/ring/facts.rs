//! What the kernel says when it is asked for a ring: facts only, which `engine::choice` judges.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::{IoUring, Probe, cqueue, opcode, types};

use super::buffers::{Buffers, GROUP};
use super::setup::{self, Mode, Sizes};

/// Where Linux tells who may have rings, since 6.6.
const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// How long the kernel may take to receive a byte that is there.
const RECEIVE_MAX: Duration = Duration::from_secs(1);

/// Operations that a worker needs: number, name, and the Linux that had it first.
pub const NEEDED: [(u8, &str, &str); 6] = [
    (opcode::Connect::CODE, "IORING_OP_CONNECT", "5.5"),
    (opcode::Send::CODE, "IORING_OP_SEND", "5.6"),
    (opcode::SendMsg::CODE, "IORING_OP_SENDMSG", "5.3"),
    (opcode::Recv::CODE, "IORING_OP_RECV", "5.6"),
    (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD", "5.1"),
    (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL", "5.5"),
];

/// What was found. Errors are numbers of the system's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's release; empty where it does not tell.
    pub release: String,
    /// `kernel.io_uring_disabled`, where there is such a thing.
    pub disabled: Option<String>,
    /// Bytes that may be locked in memory; none: no bound.
    pub memlock_bytes: Option<u64>,
    /// Whether there is a ring, and what it can do.
    pub ring: Result<RingFacts, i32>,
}

/// What a ring can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingFacts {
    /// When the kernel finishes what has become ready.
    pub mode: Mode,
    /// Completions are never lost (`IORING_FEAT_NODROP`, Linux 5.5).
    pub keeps_completions: bool,
    /// A wait can have an end (`IORING_FEAT_EXT_ARG`, Linux 5.11).
    pub waits_with_timeout: bool,
    /// Sockets are waited for without threads (`IORING_FEAT_FAST_POLL`, Linux 5.7).
    pub waits_for_sockets: bool,
    /// The operations of [`NEEDED`] that it has; the error where it does not tell.
    pub operations: Result<Vec<u8>, i32>,
    /// Registering buffers to receive into (Linux 5.19).
    pub buffers: Result<(), i32>,
    /// Receiving again and again (Linux 6.0), tried out.
    pub multishot: Result<(), i32>,
}

impl Facts {
    /// Asks the kernel. It takes a ring for a moment.
    #[must_use]
    pub fn of_kernel() -> Self {
        let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        Self {
            release: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            disabled: line(SYSCTL).ok(),
            memlock_bytes: memlock_bytes(),
            ring: ring_facts().map_err(|error| number(&error)),
        }
    }
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn memlock_bytes() -> Option<u64> {
    let mut bound = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: `bound` is a whole rlimit and lives through the call. Where it fails the bound stays
    // none.
    let _ = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut bound) };
    (bound.rlim_cur != libc::RLIM_INFINITY).then_some(bound.rlim_cur)
}

fn ring_facts() -> io::Result<RingFacts> {
    let sizes = Sizes::default();
    let (mut uring, mode) = setup::make(sizes, !setup::START_DISABLED)?;
    let mut probe = Probe::new();
    let operations = uring.submitter().register_probe(&mut probe).map(|()| {
        let codes = NEEDED.iter().map(|(code, _, _)| *code);
        codes.filter(|code| probe.is_supported(*code)).collect()
    });
    let (keeps_completions, waits_with_timeout, waits_for_sockets) = {
        let parameters = uring.params();
        (
            parameters.is_feature_nodrop(),
            parameters.is_feature_ext_arg(),
            parameters.is_feature_fast_poll(),
        )
    };
    let registered = Buffers::register(&uring, sizes.buffers);
    let buffers = registered.as_ref().map(drop).map_err(number);
    let multishot = match registered {
        Err(_) => Err(libc::EINVAL),
        Ok(mut buffers) => {
            let tried = try_multishot(&mut uring, &mut buffers, waits_with_timeout);
            // The ring goes first, and with it whatever may still receive.
            drop(uring);
            if tried.is_err() {
                // It may still do so for a moment: 1 MiB of address space is let go of for good, at
                // most once a start.
                std::mem::forget(buffers);
            }
            tried.map_err(|error| number(&error))
        }
    };
    Ok(RingFacts {
        mode,
        keeps_completions,
        waits_with_timeout,
        waits_for_sockets,
        operations: operations.map_err(|error| number(&error)),
        buffers,
        multishot,
    })
}

/// Receives one byte, and waits for the end of it.
fn try_multishot(uring: &mut IoUring, buffers: &mut Buffers, has_timeout: bool) -> io::Result<()> {
    if !has_timeout {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.write_all(b"x")?;
    let entry = opcode::RecvMulti::new(types::Fd(theirs.as_raw_fd()), GROUP).build();
    // SAFETY: the entry names no memory but the registered buffers, which outlive the operation: it
    // has ended when this function says that all is well, and the caller leaks them where it does
    // not. Its descriptor is open until it was submitted.
    unsafe { uring.submission().push(&entry) }.map_err(|_| io::ErrorKind::OutOfMemory)?;
    let timeout = types::Timespec::from(RECEIVE_MAX);
    let arguments = types::SubmitArgs::new().timespec(&timeout);
    uring.submitter().submit_with_args(1, &arguments)?;
    let (result, flags) = next(uring)?;
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    let filled = cqueue::buffer_select(flags)
        .and_then(|buffer| buffers.filled(buffer, usize::try_from(result).unwrap_or(0)));
    let Some(filled) = filled else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let came = buffers.bytes(&filled) == b"x" && cqueue::more(flags);
    buffers.recycle(filled);
    drop(ours);
    uring.submitter().submit_with_args(1, &arguments)?;
    let (result, flags) = next(uring)?;
    if came && result == 0 && !cqueue::more(flags) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

fn next(uring: &mut IoUring) -> io::Result<(i32, u32)> {
    let entry = uring.completion().next();
    entry
        .map(|entry| (entry.result(), entry.flags()))
        .ok_or_else(|| io::ErrorKind::TimedOut.into())
}
