//! Hints on one thread; `tests/model` has them on several.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::dirty_flags::{BackendDirtyFlags, DirtyFlags, Hinted, RootHinted};
use super::mailbox::{Mailbox, NoWaker, Wake};

struct Counted(Arc<AtomicUsize>);

impl Wake for Counted {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_thousand_dirty_flags_are_one_and_ring_once() {
    let wakes = Arc::new(AtomicUsize::new(0));
    let mailbox = Arc::new(Mailbox::<()>::new(1, Box::new(Counted(Arc::clone(&wakes)))));
    let (dirty_flags, backend) = (
        DirtyFlags::new(Arc::clone(&mailbox)),
        BackendDirtyFlags::default(),
    );
    assert!(mailbox.prepare_sleep());
    for _ in 0..1000 {
        dirty_flags.hint_grew(&backend);
    }
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
    assert!(dirty_flags.are_pending());
    assert_eq!(dirty_flags.take(), Some(RootHinted::default()));
    assert_eq!(
        backend.take(),
        Hinted {
            grew: true,
            listing: false
        }
    );
    assert_eq!(
        (dirty_flags.take(), backend.take()),
        (None, Hinted::default())
    );
}

#[test]
fn an_overflow_says_that_everything_may_have_changed() {
    let mailbox = Arc::new(Mailbox::<()>::new(1, Box::new(NoWaker)));
    let dirty_flags = DirtyFlags::new(mailbox);
    dirty_flags.hint_overflow();
    dirty_flags.hint_root();
    assert_eq!(
        dirty_flags.take(),
        Some(RootHinted {
            root: true,
            all: true
        })
    );
}
