//! Flags by which inotify events reach the reader: "look there". Lock-free, bounded, coalescing.
//!
//! A flag means that something may have changed, never what. So a thousand events are one flag, and
//! there is no queue that could overflow. When the kernel's own queue overflows, the reader looks
//! at everything. A lost event costs only time: the reader lists every folder each
//! `rescan_interval` anyway.
//!
//! Protocol. Whoever hints sets the flag, then `any`, then wakes the reader. The reader takes
//! `any` first, the flags second, and looks at the folder last. A change after that look sets a
//! flag again, which the reader will see.

use std::sync::Arc;

use super::mailbox::Wake;
use super::sync::{AtomicBool, Ordering};

/// The flags of one backend's folder. A part of `BackendInfo`.
#[derive(Debug, Default)]
pub struct BackendDirtyFlags {
    grew: AtomicBool,
    listing: AtomicBool,
}

/// The flags of one backend's folder, as they were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hinted {
    /// A log has grown.
    pub grew: bool,
    /// Names have been added or removed.
    pub listing: bool,
}

impl BackendDirtyFlags {
    /// Takes the flags, which clears them.
    pub fn take(&self) -> Hinted {
        Hinted {
            grew: take(&self.grew),
            listing: take(&self.listing),
        }
    }
}

/// The flags of the logs' path as a whole, and the thread that they wake.
pub struct DirtyFlags {
    any: AtomicBool,
    root: AtomicBool,
    all: AtomicBool,
    reader: Arc<dyn Wake>,
}

/// The flags that belong to no backend, as they were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootHinted {
    /// Folders have been added to the logs' path or removed from it.
    pub root: bool,
    /// Events were lost: everything may have changed.
    pub all: bool,
}

impl DirtyFlags {
    /// No flag is set yet. Setting one wakes the log reader, whose mailbox is `reader`.
    #[must_use]
    pub fn new(reader: Arc<impl Wake + 'static>) -> Self {
        Self {
            any: AtomicBool::new(false),
            root: AtomicBool::new(false),
            all: AtomicBool::new(false),
            reader,
        }
    }

    /// A log in this folder was written to.
    pub fn hint_grew(&self, backend: &BackendDirtyFlags) {
        self.set(&backend.grew);
    }

    /// A log in this folder was made, moved or deleted, or the folder itself was.
    pub fn hint_listing(&self, backend: &BackendDirtyFlags) {
        self.set(&backend.listing);
    }

    /// A folder was made, moved or deleted below the logs' path.
    pub fn hint_root(&self) {
        self.set(&self.root);
    }

    /// Events were lost (`IN_Q_OVERFLOW`): everything is to be looked at.
    pub fn hint_overflow(&self) {
        self.set(&self.all);
    }

    /// Takes the flags that belong to no backend. `None` means that no flag at all is set, so the
    /// backends' flags need not be looked at either.
    pub fn take(&self) -> Option<RootHinted> {
        take(&self.any).then(|| RootHinted {
            root: take(&self.root),
            all: take(&self.all),
        })
    }

    /// Whether a flag is set that has not been taken.
    #[must_use]
    pub fn are_pending(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    fn set(&self, flag: &AtomicBool) {
        // A swap costs what such a store does, and its place among the others' swaps is known even
        // to the model checker.
        flag.swap(true, Ordering::SeqCst);
        self.any.swap(true, Ordering::SeqCst);
        self.reader.wake();
    }
}

/// Takes a flag; a plain load where it is not set, as almost always, leaves the cache line shared.
fn take(flag: &AtomicBool) -> bool {
    flag.load(Ordering::SeqCst) && flag.swap(false, Ordering::SeqCst)
}
