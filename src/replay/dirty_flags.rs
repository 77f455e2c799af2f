//! What inotify tells the reader: "look there". Lock-free, bounded and coalescing.
//!
//! A hint says that something may have changed, never what; so a thousand of them are one, and
//! there is no queue that could overflow. When the kernel's own queue has overflowed, everything is
//! looked at. A hint that is lost costs time only: the reader lists every folder each
//! `rescan_interval` anyway.
//!
//! Protocol. Whoever hints sets the flag, then `any`, then wakes the reader. The reader takes `any`
//! first and the flags second, and looks at the folder last: a change behind its look has set a
//! flag again that it will see.

use std::sync::Arc;

use super::mailbox::Mailbox;
use super::messages::ReaderMessage;
use super::sync::{AtomicBool, Ordering};

/// Hints on one backend's folder. A part of `BackendInfo`.
#[derive(Debug, Default)]
pub struct BackendDirtyFlags {
    grew: AtomicBool,
    listing: AtomicBool,
}

/// What was hinted on one backend's folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hinted {
    /// A log has grown.
    pub grew: bool,
    /// Names have come or gone.
    pub listing: bool,
}

impl BackendDirtyFlags {
    /// Takes what has been hinted.
    pub fn take(&self) -> Hinted {
        Hinted {
            grew: take(&self.grew),
            listing: take(&self.listing),
        }
    }
}

/// Hints on all folders, and the way to the reader's waker.
pub struct DirtyFlags {
    any: AtomicBool,
    root: AtomicBool,
    all: AtomicBool,
    reader: Arc<Mailbox<ReaderMessage>>,
}

/// What was hinted on no backend in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RootHinted {
    /// Folders have come or gone below the logs' path.
    pub root: bool,
    /// Hints were lost: everything may have changed.
    pub all: bool,
}

impl DirtyFlags {
    /// No hint yet; those to come wake the reader of `reader`.
    #[must_use]
    pub fn new(reader: Arc<Mailbox<ReaderMessage>>) -> Self {
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

    /// Hints were lost (`IN_Q_OVERFLOW`): everything is to be looked at.
    pub fn hint_overflow(&self) {
        self.set(&self.all);
    }

    /// Takes what was hinted on no backend in particular; none where nothing at all was hinted, so
    /// that the backends' hints need not be looked at either.
    pub fn take(&self) -> Option<RootHinted> {
        take(&self.any).then(|| RootHinted {
            root: take(&self.root),
            all: take(&self.all),
        })
    }

    /// Whether something was hinted that has not been taken.
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
