//! Whether what a peer lacks may be deleted from the backend.
//!
//! Where one HA host writes, a key that the peer lacks was deleted there by a live write that raced
//! with the replay. So it is, too, where somebody has emptied the peer, or put an empty one in its
//! place; but then the backend has the last copy, and of most keys. So as many are deleted as races
//! explain.

use crate::limits::RECONCILE_DELETES_FREE;

/// What was seen of one peer in one comparison.
#[derive(Debug, Default)]
pub struct DeleteGuard {
    /// Compared keys that it has.
    present: u64,
    /// Deletes that were sent to the backend, of keys that the peer lacks.
    deleted: u64,
    /// Whether a key was kept that would have been deleted.
    has_held: bool,
}

impl DeleteGuard {
    /// Whether another key may be deleted.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.deleted < RECONCILE_DELETES_FREE + self.present / 4
    }

    /// The peer has a key.
    pub fn handle_present(&mut self) {
        self.present += 1;
    }

    /// A delete is sent.
    pub fn handle_delete(&mut self) {
        self.deleted += 1;
    }

    /// A key is kept that would have been deleted.
    pub fn hold(&mut self) {
        self.has_held = true;
    }

    /// Whether one was.
    #[must_use]
    pub fn has_held(&self) -> bool {
        self.has_held
    }
}
