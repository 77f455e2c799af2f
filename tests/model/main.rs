//! The hand-off between threads under every interleaving and every reordering that the memory model
//! allows (loom).
//!
//! The sources are those of the server, compiled once more over loom's atomics: mailbox with its
//! waker, hints, and the return for buffers. Each model ends only if its reader gets all that it
//! waits for; a lost wake-up is a deadlock, which loom finds. Faults are injected in `sync`, to
//! show that each would be found.

use std::sync::Arc;

use loom::model::Builder;
use loom::sync::atomic::AtomicUsize;
use loom::sync::{Condvar, Mutex};
use loom::thread;

#[path = "../../src/replay/chunk.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a library's source, of which the models need a part"
)]
mod chunk;
#[path = "../../src/replay/dirty_flags.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a library's source, of which the models need a part"
)]
mod dirty_flags;
mod ids;
#[path = "../../src/replay/mailbox.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a library's source, of which the models need a part"
)]
mod mailbox;
mod sync;

use chunk::{BufferReturns, Chunk};
use dirty_flags::{BackendDirtyFlags, DirtyFlags};
use ids::BackendId;
use mailbox::{Mailbox, Wake};
use sync::{Failpoint, Ordering, plant};

/// What an eventfd in a poll is: rung once or more, it ends one wait, now or later.
#[derive(Clone, Default)]
struct Eventfd(Arc<(Mutex<bool>, Condvar)>);

impl Eventfd {
    fn wait(&self) {
        let (rung, condvar) = &*self.0;
        let mut rung = rung.lock().unwrap();
        while !*rung {
            rung = condvar.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Wake for Eventfd {
    fn wake(&self) {
        let (rung, condvar) = &*self.0;
        *rung.lock().unwrap() = true;
        condvar.notify_one();
    }
}

fn mailbox<T>(capacity: usize) -> (Arc<Mailbox<T>>, Eventfd) {
    let waker = Eventfd::default();
    let mailbox = Mailbox::new(capacity, Box::new(waker.clone()));
    (Arc::new(mailbox), waker)
}

/// A mailbox that one message does not half fill, for which even a content reader is woken.
const NOT_HALF_FULL: usize = 4;

/// Goes through all schedules with at most so many preemptions; what takes more of them is rare
/// among defects, and costs hours.
fn check(preemptions_max: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions_max);
    builder.check(model);
}

/// Two send, one reads. `timeouts`: so many sleeps end by themselves before a waker is waited for,
/// as a poll's do.
fn messages(mut timeouts: u32) {
    let (mailbox, waker) = mailbox(2);
    let senders = [1, 2].map(|message| {
        let mailbox = Arc::clone(&mailbox);
        thread::spawn(move || mailbox.send(message).unwrap())
    });
    let mut sum = 0;
    while sum < 3 {
        while let Some(message) = mailbox.receive() {
            sum += message;
        }
        if sum < 3 && mailbox.prepare_sleep() {
            if timeouts == 0 {
                waker.wait();
            } else {
                timeouts -= 1;
            }
            mailbox.awake();
        }
    }
    for sender in senders {
        sender.join().unwrap();
    }
}

/// A log grows twice, and each time a hint says so; the reader has to see its last size.
fn growth() {
    let (mailbox, waker) = mailbox::<()>(1);
    let dirty_flags = Arc::new(DirtyFlags::new(Arc::clone(&mailbox)));
    let backend = Arc::new(BackendDirtyFlags::default());
    let bytes = Arc::new(AtomicUsize::new(0));
    let hinting = thread::spawn({
        let (dirty_flags, backend, bytes) = (dirty_flags.clone(), backend.clone(), bytes.clone());
        move || {
            for grown in [1, 2] {
                bytes.store(grown, Ordering::Relaxed);
                dirty_flags.hint_grew(&backend);
            }
        }
    });
    let mut seen = 0;
    while seen < 2 {
        if dirty_flags.take().is_some() && backend.take().grew {
            seen = bytes.load(Ordering::Relaxed);
        }
        if seen < 2 && mailbox.prepare_sleep_unless(|| dirty_flags.are_pending()) {
            waker.wait();
            mailbox.awake();
        }
    }
    hinting.join().unwrap();
}

/// Two workers share a chunk and let it go; its buffer has to is returned once.
fn returns() {
    let (mailbox, waker) = mailbox::<()>(1);
    let returns = Arc::new(BufferReturns::new(1, Arc::clone(&mailbox)));
    let chunk = Chunk::new(b"line".to_vec(), BackendId(7));
    let workers = [Arc::clone(&chunk), chunk].map(|share| {
        let returns = Arc::clone(&returns);
        thread::spawn(move || returns.release(share))
    });
    let home = loop {
        if let Some(home) = returns.receive() {
            break home;
        }
        if mailbox.prepare_sleep_unless(|| !returns.is_empty()) {
            waker.wait();
            mailbox.awake();
        }
    };
    assert_eq!((&*home.bytes, home.backend), (&b"line"[..], BackendId(7)));
    for worker in workers {
        worker.join().unwrap();
    }
    assert!(returns.is_empty());
}

/// A reader that was content and is not any more gets what could wait until then.
fn contentment() {
    let (mailbox, waker) = mailbox(NOT_HALF_FULL);
    let sender = thread::spawn({
        let mailbox = Arc::clone(&mailbox);
        move || {
            mailbox.send_for_later(1).unwrap();
            mailbox.wake_for_later();
        }
    });
    let mut contents = [true, false].into_iter();
    let mut received = None;
    while received.is_none() {
        let is_content = contents.next().unwrap_or(false);
        mailbox.set_content(is_content);
        if mailbox.prepare_sleep() {
            // A content sleep ends for something else.
            if !is_content {
                waker.wait();
            }
            mailbox.awake();
        }
        received = mailbox.receive();
    }
    sender.join().unwrap();
}

/// A reader is content as long as somebody else is, who then is not any more, and says so if it
/// `says`.
fn contentment_of_another(says: bool) {
    let (mailbox, waker) = mailbox(NOT_HALF_FULL);
    let (another, _) = self::mailbox::<()>(1);
    another.set_content(true);
    let sender = thread::spawn({
        let mailbox = Arc::clone(&mailbox);
        move || {
            mailbox.send_for_later(1).unwrap();
            mailbox.wake_for_later();
        }
    });
    let needing = thread::spawn({
        let (mailbox, another) = (Arc::clone(&mailbox), Arc::clone(&another));
        move || {
            another.set_content(false);
            if says {
                mailbox.wake_content();
            }
        }
    });
    while mailbox.receive().is_none() {
        let is_content = another.is_content();
        mailbox.set_content(is_content);
        if mailbox.prepare_sleep_unless(|| is_content && !another.is_content()) {
            waker.wait();
            mailbox.awake();
        }
    }
    sender.join().unwrap();
    needing.join().unwrap();
}

#[test]
fn what_can_wait_does_not_wait_for_whoever_has_begun_to_need_it() {
    check(3, || contentment_of_another(true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn whoever_begins_to_need_it_has_to_say_so() {
    check(3, || contentment_of_another(false));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_missing_fence_is_found_where_another_was_content() {
    plant(Failpoint::NoFence);
    check(3, || contentment_of_another(true));
}

#[test]
fn what_can_wait_does_not_wait_for_a_reader_that_is_not_content() {
    check(3, contentment);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_missing_fence_is_found_where_a_reader_was_content() {
    plant(Failpoint::NoFence);
    check(3, contentment);
}

#[test]
fn no_message_waits_for_a_waker_that_nobody_rings() {
    check(3, || messages(0));
}

#[test]
fn nor_when_a_sleep_has_ended_by_time() {
    check(2, || messages(1));
}

#[test]
fn the_last_growth_of_a_log_is_always_seen() {
    check(3, growth);
}

#[test]
fn a_buffer_comes_home_and_is_noticed() {
    check(3, returns);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_missing_second_look_at_the_queue_is_found() {
    plant(Failpoint::NoSecondLook);
    check(3, || messages(0));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_missing_fence_is_found() {
    plant(Failpoint::NoFence);
    check(3, || messages(0));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_missing_second_look_at_what_came_home_is_found() {
    plant(Failpoint::NoSecondLook);
    check(3, returns);
}

#[test]
#[should_panic(expected = "deadlock")]
fn relaxed_dirty_flags_are_found() {
    plant(Failpoint::RelaxedFlags);
    check(3, growth);
}
