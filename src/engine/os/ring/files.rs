//! An io_uring for files: writes, syncs and renames that nobody waits for, as a safe type.
//!
//! ```text
//!            push, submit                    eventfd rings
//!   owner ──────────────▶ queue ──▶ kernel ───────────────▶ poll_done ──▶ owner, with what it gave
//!                           └─ file, bytes and names belong to the ring ─┘
//! ```
//!
//! **Soundness.** What a call names is moved into the ring and moved out again with its completion.
//! A ring that goes while calls are under way waits for them, at most for `RING_END`, and leaks
//! what they name if they do not end.
//!
//! **Calls are not linked** (`IOSQE_IO_LINK`): Linux, at the time of writing, goes on behind a sync
//! or a rename that failed; only a read or a write that failed breaks a link (seen on 6.18). A
//! checkpoint whose sync failed would so get its name. Whoever wants an order pushes a call when
//! the one before is over.
//!
//! **A kernel without a thread for it** (a bound on tasks: `TasksMax`, a container's pids,
//! `RLIMIT_NPROC`) cancels a call before it has begun. Such a call is made by the owner's thread,
//! and so are all that follow: whoever is at that bound once is likely to be there again.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::squeue::Entry;
use io_uring::{IoUring, Probe, opcode, types};
use slab::Slab;

use super::completion::checked;
use super::fault_injector::{FaultInjector, FileOperation, InjectedResult};
use super::kernel;
use crate::engine::os::eventfd::Eventfd;
use crate::limits::{RING_CHAIN_THREADS, RING_END};

/// Operations that it needs: number, name, and the Linux that had it first.
const NEEDED: [(u8, &str, &str); 3] = [
    (opcode::Write::CODE, "IORING_OP_WRITE", "5.6"),
    (opcode::Fsync::CODE, "IORING_OP_FSYNC", "5.1"),
    (opcode::RenameAt::CODE, "IORING_OP_RENAMEAT", "5.11"),
];

/// A system call to be, with all that it names.
#[derive(Debug)]
pub enum Call {
    /// Writes what of `bytes` is behind `from`, at that place of the file.
    Write {
        /// Open for writing.
        file: File,
        /// The file's content.
        bytes: Vec<u8>,
        /// So many are written.
        from: usize,
    },
    /// Makes a file or a folder durable (fsync).
    Sync {
        /// Open.
        file: File,
    },
    /// Gives a file another name.
    Rename {
        /// Path.
        from: CString,
        /// Path.
        to: CString,
    },
}

impl Call {
    /// Makes it now, and waits for it.
    fn make(&self) -> io::Result<usize> {
        match self {
            Self::Write { file, bytes, from } => file.write_at(&bytes[*from..], *from as u64),
            Self::Sync { file } => file.sync_all().map(|()| 0),
            Self::Rename { from, to } => {
                let path = |path: &CString| PathBuf::from(OsStr::from_bytes(path.as_bytes()));
                fs::rename(path(from), path(to)).map(|()| 0)
            }
        }
    }
}

/// A call that is over.
#[derive(Debug)]
pub struct Done {
    /// Its owner's name for it.
    pub tag: usize,
    /// As it was pushed.
    pub call: Call,
    /// What the system says; of a write, how many bytes it took.
    pub result: io::Result<usize>,
}

/// See the module.
pub struct FileRing {
    uring: ManuallyDrop<IoUring>,
    /// What the kernel may read, by the number of the call.
    calls: ManuallyDrop<Slab<(usize, Call)>>,
    /// Calls that the kernel's queue had no room for.
    backlog: VecDeque<(usize, Entry)>,
    /// Those in the kernel's queue that it has not taken, in its order.
    queued: VecDeque<usize>,
    /// Results of calls that never reached the kernel.
    invented: VecDeque<(usize, i32)>,
    /// Why the kernel takes no more calls.
    broken: Option<i32>,
    /// The kernel had no thread for a call: they are made here.
    lacks_threads: bool,
    waker: Arc<Eventfd>,
    fault_injector: Option<Box<dyn FaultInjector>>,
}

impl FileRing {
    /// A ring with so many entries, which rings `waker` whenever a call is over.
    ///
    /// # Errors
    /// What the system says where it gives none, or what its rings lack.
    pub fn new(waker: Arc<Eventfd>, entries: u32) -> io::Result<Self> {
        // No task work is deferred: completions come while nobody is in the kernel, and wake the
        // reader.
        let uring = IoUring::builder().dontfork().setup_clamp().build(entries)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        if let Some(lacks) = lacking(|code| probe.is_supported(code)) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, lacks));
        }
        uring
            .submitter()
            .register_eventfd(waker.as_fd().as_raw_fd())?;
        // Since Linux 5.15. Without, there are a few threads a core.
        let _ = uring
            .submitter()
            .register_iowq_max_workers(&mut [RING_CHAIN_THREADS, 0]);
        Ok(Self {
            uring: ManuallyDrop::new(uring),
            calls: ManuallyDrop::new(Slab::new()),
            backlog: VecDeque::new(),
            queued: VecDeque::new(),
            invented: VecDeque::new(),
            broken: None,
            lacks_threads: false,
            waker,
            fault_injector: None,
        })
    }

    /// Makes calls fail as `fault_injector` says. For tests.
    #[must_use]
    pub fn interfered(mut self, fault_injector: Box<dyn FaultInjector>) -> Self {
        self.fault_injector = Some(fault_injector);
        self
    }

    /// Calls that may be under way at one time, so that each completion has its place.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.uring.params().cq_entries() as usize
    }

    /// Calls that are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.calls.len()
    }

    /// Why the kernel takes no more calls, once it does not. Those that it had taken are done all
    /// the same; all others fail with this.
    #[must_use]
    pub fn broken(&self) -> Option<io::Error> {
        self.broken.map(io::Error::from_raw_os_error)
    }

    /// Whether the kernel had no thread for a call, so that it and all others are made by the
    /// thread that pushes them or takes them out.
    #[must_use]
    pub fn lacks_threads(&self) -> bool {
        self.lacks_threads
    }

    /// Rings its waker, as if a call were over.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Takes a call. `tag` comes back with it.
    pub fn push(&mut self, tag: usize, call: Call) {
        if self.lacks_threads && self.broken.is_none() {
            let result = result_of(&call);
            let key = self.calls.insert((tag, call));
            self.invented.push_back((key, result));
            return self.wake();
        }
        let injected = match &mut self.fault_injector {
            None => InjectedResult::Goes,
            Some(fault_injector) => fault_injector.file_injected(operation(&call)),
        };
        let key = self.calls.insert((tag, call));
        if let Some(error) = self.broken {
            return self.invent(key, error);
        }
        if let InjectedResult::Fails(error) = injected {
            return self.invent(key, error);
        }
        let entry = entry(&self.calls[key].1, injected).user_data(key as u64);
        self.backlog.push_back((key, entry));
    }

    /// Hands over to the kernel what was pushed. Where it takes no more, all that it has not taken
    /// fails.
    pub fn submit(&mut self) {
        while self.broken.is_none() {
            self.fill_queue();
            if self.queued.is_empty() {
                return;
            }
            let refused = self.fault_injector.as_mut().and_then(|it| it.enter_fails());
            let submitted = match refused {
                Some(error) => Err(io::Error::from_raw_os_error(error)),
                None => self.uring.submit(),
            };
            match submitted {
                Ok(0) => self.give_up(libc::EAGAIN),
                Ok(taken) => drop(self.queued.drain(..taken.min(self.queued.len()))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.give_up(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
    }

    /// The next call that is over.
    pub fn poll_done(&mut self) -> Option<Done> {
        let (key, result) = self.invented.pop_front().or_else(|| self.completion())?;
        let (tag, call) = self.calls.remove(key);
        let mut result = checked(result);
        if self.broken.is_none() && result.as_ref().is_err_and(was_not_begun) {
            self.lacks_threads = true;
            result = call.make();
        }
        Some(Done { tag, call, result })
    }

    fn completion(&mut self) -> Option<(usize, i32)> {
        let entry = self.uring.completion().next()?;
        let key = usize::try_from(entry.user_data()).expect("it was an index");
        Some((key, entry.result()))
    }

    /// Moves calls to the kernel's queue as long as it has room.
    fn fill_queue(&mut self) {
        let mut queue = self.uring.submission();
        while let Some((key, entry)) = self.backlog.front() {
            // SAFETY: all that the entry names is in `calls` under its number until its completion
            // was taken: the descriptor is open, and bytes and paths are on the heap, where they
            // stay when their owners move. Nobody changes them there.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.queued.push_back(*key);
            self.backlog.pop_front();
        }
    }

    /// The kernel takes no more calls. What stands in its queue stays there: nothing is ever
    /// submitted again.
    fn give_up(&mut self, error: i32) {
        self.broken = Some(error);
        let backlog = std::mem::take(&mut self.backlog).into_iter();
        let untaken = std::mem::take(&mut self.queued).into_iter();
        for key in untaken.chain(backlog.map(|(key, _)| key)) {
            self.invent(key, error);
        }
    }

    fn invent(&mut self, key: usize, error: i32) {
        self.invented.push_back((key, -error));
        self.wake();
    }

    /// Waits for what the kernel has, at most for `longest`. Gives whether it has none of it any
    /// more.
    fn finish(&mut self, longest: Duration) -> bool {
        self.give_up(libc::ECANCELED);
        let give_up = Instant::now() + longest;
        loop {
            while self.poll_done().is_some() {}
            let left = give_up.saturating_duration_since(Instant::now());
            if self.calls.is_empty() || left.is_zero() {
                return self.calls.is_empty();
            }
            match kernel::enter(&self.uring, 0, 1, left) {
                Err(error) if !kernel::passes(&error) => return false,
                _ => {}
            }
        }
    }
}

impl Drop for FileRing {
    fn drop(&mut self) {
        let is_over = self.finish(RING_END);
        // SAFETY: it is not used again; its mappings and its descriptor go, and with it nothing of
        // ours.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
        if is_over {
            // SAFETY: it is not used again, and the kernel has none of it.
            unsafe { ManuallyDrop::drop(&mut self.calls) };
        } else {
            tracing::warn!(
                calls = self.calls.len(),
                "what was being written did not end within {RING_END:?}; its memory is left to it"
            );
        }
    }
}

/// Whether a call ended so because the kernel never began it: nobody here cancels one, and no call
/// on a regular file or a folder would have to wait.
fn was_not_begun(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::EAGAIN))
}

/// What comes of it where it is made now, as the kernel gives it in a completion.
fn result_of(call: &Call) -> i32 {
    match call.make() {
        Ok(bytes) => i32::try_from(bytes).unwrap_or(i32::MAX),
        Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
    }
}

fn operation(call: &Call) -> FileOperation {
    match call {
        Call::Write { .. } => FileOperation::Write,
        Call::Sync { .. } => FileOperation::Sync,
        Call::Rename { .. } => FileOperation::Rename,
    }
}

fn entry(call: &Call, injected: InjectedResult) -> Entry {
    const HERE: types::Fd = types::Fd(libc::AT_FDCWD);
    match call {
        Call::Write { file, bytes, from } => {
            let rest = &bytes[*from..];
            let most = match injected {
                InjectedResult::Part => rest.len().div_ceil(2),
                InjectedResult::Goes | InjectedResult::Fails(_) => rest.len(),
            };
            let most = u32::try_from(most).unwrap_or(u32::MAX);
            opcode::Write::new(types::Fd(file.as_raw_fd()), rest.as_ptr(), most)
                .offset(*from as u64)
                .build()
        }
        Call::Sync { file } => opcode::Fsync::new(types::Fd(file.as_raw_fd())).build(),
        Call::Rename { from, to } => {
            opcode::RenameAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build()
        }
    }
}

/// What a kernel lacks that has these operations.
fn lacking(is_supported: impl Fn(u8) -> bool) -> Option<String> {
    let missing = NEEDED.iter().find(|(code, _, _)| !is_supported(*code));
    missing.map(|(_, name, since)| {
        format!("the kernel lacks {name}, which Linux has since {since}, or something forbids it")
    })
}
