//! In place of `replay/sync.rs`: loom's atomics, and crossbeam's queue written out over them.
//!
//! The queue follows `ArrayQueue` step by step, with its orderings, since a simpler one (a locked
//! `VecDeque`) would order more than crossbeam does, and so hide what our own code lacks. Only the
//! value itself is under a lock: it is touched by one thread at a time, and neither `is_empty` nor
//! the waker goes by it.

use std::cell::Cell;

use loom::sync::Mutex;
use loom::sync::atomic::AtomicUsize;
pub(super) use loom::sync::atomic::Ordering;
use loom::thread::yield_now;

/// What is done wrong, to show that it would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failpoint {
    /// The queue is not looked at again once the reader has said that it sleeps.
    NoSecondLook,
    /// There is no fence between saying so and looking, nor between sending and looking for a
    /// sleeper.
    NoFence,
    /// Flags are written and read in no order with anything else.
    RelaxedFlags,
}

thread_local! {
    static FAILPOINT: Cell<Option<Failpoint>> = const { Cell::new(None) };
}

/// Plants a fault for the models that this thread runs. Loom runs a model's threads on the one that
/// calls it.
pub(super) fn plant(fault: Failpoint) {
    FAILPOINT.set(Some(fault));
}

fn is_failpoint(fault: Failpoint) -> bool {
    FAILPOINT.get() == Some(fault)
}

pub(super) fn fence(ordering: Ordering) {
    if !is_failpoint(Failpoint::NoFence) {
        loom::sync::atomic::fence(ordering);
    }
}

/// Loom's, unless its orderings are injected away.
#[derive(Debug, Default)]
pub(super) struct AtomicBool(loom::sync::atomic::AtomicBool);

fn weakened(ordering: Ordering) -> Ordering {
    if is_failpoint(Failpoint::RelaxedFlags) {
        Ordering::Relaxed
    } else {
        ordering
    }
}

impl AtomicBool {
    pub(super) fn new(value: bool) -> Self {
        Self(loom::sync::atomic::AtomicBool::new(value))
    }

    pub(super) fn load(&self, ordering: Ordering) -> bool {
        self.0.load(weakened(ordering))
    }

    pub(super) fn store(&self, value: bool, ordering: Ordering) {
        self.0.store(value, weakened(ordering));
    }

    pub(super) fn swap(&self, value: bool, ordering: Ordering) -> bool {
        self.0.swap(value, weakened(ordering))
    }
}

/// `crossbeam_queue::ArrayQueue`. Positions count up and never wrap: models are short.
pub(super) struct ArrayQueue<T> {
    head: AtomicUsize,
    tail: AtomicUsize,
    slots: Vec<Slot<T>>,
}

struct Slot<T> {
    /// `2n`: free for the value of position n; `2n + 1`: holds it.
    stamp: AtomicUsize,
    value: Mutex<Option<T>>,
}

impl<T> ArrayQueue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let slot = |n: usize| Slot {
            stamp: AtomicUsize::new(2 * n),
            value: Mutex::new(None),
        };
        Self {
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
            slots: (0..capacity).map(slot).collect(),
        }
    }

    pub(super) fn push(&self, value: T) -> Result<(), T> {
        let mut tail = self.tail.load(Ordering::Relaxed);
        loop {
            let slot = &self.slots[tail % self.slots.len()];
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == 2 * tail {
                match self.tail.compare_exchange(
                    tail,
                    tail + 1,
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        *slot.value.lock().unwrap() = Some(value);
                        slot.stamp.store(2 * tail + 1, Ordering::Release);
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
            } else {
                if stamp < 2 * tail {
                    loom::sync::atomic::fence(Ordering::SeqCst);
                    let head = self.head.load(Ordering::Relaxed);
                    if head + self.slots.len() == tail {
                        return Err(value);
                    }
                }
                yield_now();
                tail = self.tail.load(Ordering::Relaxed);
            }
        }
    }

    pub(super) fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let slot = &self.slots[head % self.slots.len()];
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == 2 * head + 1 {
                match self.head.compare_exchange(
                    head,
                    head + 1,
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => {
                        let value = slot.value.lock().unwrap().take();
                        let free = 2 * (head + self.slots.len());
                        slot.stamp.store(free, Ordering::Release);
                        return value;
                    }
                    Err(now) => head = now,
                }
            } else {
                if stamp == 2 * head {
                    loom::sync::atomic::fence(Ordering::SeqCst);
                    if self.tail.load(Ordering::Relaxed) == head {
                        return None;
                    }
                }
                yield_now();
                head = self.head.load(Ordering::Relaxed);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        if is_failpoint(Failpoint::NoSecondLook) {
            return true;
        }
        let head = self.head.load(Ordering::SeqCst);
        let tail = self.tail.load(Ordering::SeqCst);
        tail == head
    }

    pub(super) fn len(&self) -> usize {
        let head = self.head.load(Ordering::SeqCst);
        self.tail.load(Ordering::SeqCst) - head
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }
}
