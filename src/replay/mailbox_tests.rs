//! The mailbox on one thread; `tests/model` has it on several.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::mailbox::{Mailbox, Wake};

struct Counted(Arc<AtomicUsize>);

impl Wake for Counted {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn mailbox(capacity: usize) -> (Mailbox<u32>, Arc<AtomicUsize>) {
    let wakes = Arc::new(AtomicUsize::new(0));
    (
        Mailbox::new(capacity, Box::new(Counted(Arc::clone(&wakes)))),
        wakes,
    )
}

#[test]
fn a_full_mailbox_gives_the_message_back() {
    let (mailbox, _) = mailbox(1);
    assert_eq!(mailbox.send(1), Ok(()));
    assert_eq!(mailbox.send(2), Err(2));
    assert_eq!(mailbox.receive(), Some(1));
}

#[test]
fn the_waker_rings_once_for_a_sleeper_and_never_for_the_wakeful() {
    let (mailbox, wakes) = mailbox(8);
    mailbox.send(1).unwrap();
    assert_eq!(wakes.load(Ordering::Relaxed), 0);
    assert!(!mailbox.prepare_sleep(), "a message waits");
    mailbox.receive();
    assert!(mailbox.prepare_sleep());
    mailbox.send(2).unwrap();
    mailbox.send(3).unwrap();
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
}
