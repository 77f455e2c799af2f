//! Hints on one thread; `tests/model` has them on several.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::hints::{BackendHints, Hinted, Hints, RootHinted};
use super::mailbox::{Bell, Mailbox, NoBell};

struct Counted(Arc<AtomicUsize>);

impl Bell for Counted {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_thousand_hints_are_one_and_ring_once() {
    let rings = Arc::new(AtomicUsize::new(0));
    let mailbox = Arc::new(Mailbox::new(1, Box::new(Counted(Arc::clone(&rings)))));
    let (hints, backend) = (Hints::new(Arc::clone(&mailbox)), BackendHints::default());
    assert!(mailbox.prepare_sleep());
    for _ in 0..1000 {
        hints.hint_grew(&backend);
    }
    assert_eq!(rings.load(Ordering::Relaxed), 1);
    assert!(hints.are_pending());
    assert_eq!(hints.take(), Some(RootHinted::default()));
    assert_eq!(
        backend.take(),
        Hinted {
            grew: true,
            listing: false
        }
    );
    assert_eq!((hints.take(), backend.take()), (None, Hinted::default()));
}

#[test]
fn an_overflow_says_that_everything_may_have_changed() {
    let mailbox = Arc::new(Mailbox::new(1, Box::new(NoBell)));
    let hints = Hints::new(mailbox);
    hints.hint_overflow();
    hints.hint_root();
    assert_eq!(
        hints.take(),
        Some(RootHinted {
            root: true,
            all: true
        })
    );
}
