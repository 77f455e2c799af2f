//! Whether the threads get on: for `/healthz` and `/metrics`, and for systemd's watchdog.
//!
//! A thread counts its turns in its mailbox, and its mailbox knows whether it sleeps. It costs a
//! thread one store a turn, and no wake-up. Two questions are answered from that:
//!
//! - Since when has a thread been at one and the same turn? Control looks at each of its own turns,
//!   and takes a thread that sleeps for well.
//! - Has every thread begun a turn since this was last so? The watchdog asks, and wakes those that
//!   sleep: so it finds a thread that cannot be woken, too.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::replay::mailbox::Mailbox;
use crate::status::server::ThreadLiveness;

/// A thread whose turns can be counted.
pub(crate) trait Monitored: Send + Sync {
    /// Grows with each turn.
    fn turns(&self) -> u64;
    /// Its turn; `None` while it sleeps.
    fn liveness(&self) -> Option<u64>;
    /// Makes it turn if it sleeps.
    fn wake(&self);
}

impl<T: Send> Monitored for Mailbox<T> {
    fn turns(&self) -> u64 {
        Mailbox::turns(self)
    }

    fn liveness(&self) -> Option<u64> {
        Mailbox::liveness(self)
    }

    fn wake(&self) {
        Mailbox::wake(self);
    }
}

/// Threads, with their names.
pub(crate) type MonitoredThreads = Vec<(String, Arc<dyn Monitored>)>;

/// The reader of a mailbox, under this name.
pub(super) fn monitored<T: Send + 'static>(
    name: impl Into<String>,
    mailbox: &Arc<Mailbox<T>>,
) -> (String, Arc<dyn Monitored>) {
    (name.into(), Arc::<Mailbox<T>>::clone(mailbox))
}

/// See the module. Whoever asks has one of its own.
pub(super) struct Liveness(Vec<Watched>);

struct Watched {
    name: String,
    thread: Arc<dyn Monitored>,
    /// The turn that it was at when it was looked at last, and when it was first seen at it; none:
    /// it slept.
    at: Option<(u64, Duration)>,
    /// Its turns when the watchdog asked last.
    turns: u64,
    /// It has turned since all had.
    has_turned: bool,
}

impl Liveness {
    /// These threads are watched.
    pub(super) fn new(threads: MonitoredThreads) -> Self {
        let watched = threads.into_iter().map(|(name, thread)| Watched {
            name,
            at: None,
            turns: thread.turns(),
            has_turned: false,
            thread,
        });
        Self(watched.collect())
    }

    /// Looks at all.
    pub(super) fn look(&mut self, now: Now) {
        for Watched { thread, at, .. } in &mut self.0 {
            *at = thread.liveness().map(|turn| match *at {
                Some((same, since)) if same == turn => (same, since),
                _ => (turn, now.monotonic),
            });
        }
    }

    /// How all were when they were looked at last.
    pub(super) fn tell(&self, now: Now, into: &mut Vec<ThreadLiveness>) {
        into.resize_with(self.0.len(), ThreadLiveness::default);
        for (thread, told) in self.0.iter().zip(into) {
            told.stuck = thread.at.map_or(Duration::ZERO, |(_, since)| {
                now.monotonic.saturating_sub(since)
            });
            if told.name != thread.name {
                told.name.clone_from(&thread.name);
            }
        }
    }

    /// Whether every thread has begun a turn since this last returned true.
    pub(super) fn have_all_turned(&mut self) -> bool {
        for watched in &mut self.0 {
            let turns = watched.thread.turns();
            watched.has_turned |= watched.turns != turns;
            watched.turns = turns;
        }
        let have_all = self.0.iter().all(|watched| watched.has_turned);
        if have_all {
            self.0
                .iter_mut()
                .for_each(|watched| watched.has_turned = false);
        }
        have_all
    }

    /// Has every thread turn that sleeps.
    pub(super) fn wake_all(&self) {
        self.0.iter().for_each(|watched| watched.thread.wake());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::mailbox::NoWaker;

    fn mailbox() -> Arc<Mailbox<()>> {
        Arc::new(Mailbox::new(1, Box::new(NoWaker)))
    }

    #[test]
    fn a_thread_that_neither_sleeps_nor_turns_is_stuck_since_it_was_first_seen_so() {
        let mailbox = mailbox();
        let mut liveness = Liveness::new(vec![monitored("w0", &mailbox)]);
        let mut told = Vec::new();
        let mut check = |second, expected| {
            let now = Now::new(Duration::from_secs(second), 0);
            liveness.look(now);
            liveness.tell(now, &mut told);
            assert_eq!(told[0].stuck.as_secs(), expected, "{told:?}");
        };
        mailbox.note_turn();
        check(10, 0);
        check(50, 40);
        mailbox.note_turn();
        check(60, 0);
        check(61, 1);
        assert!(mailbox.prepare_sleep());
        check(100, 0);
        mailbox.awake();
        check(200, 0);
        check(205, 5);
    }

    #[test]
    fn all_have_turned_only_when_each_has_since_all_had() {
        let (one, other) = (mailbox(), mailbox());
        let mut liveness = Liveness::new(vec![monitored("w0", &one), monitored("w1", &other)]);
        let mut check = |turning: &[&Arc<Mailbox<()>>], expected, why| {
            turning.iter().for_each(|mailbox| mailbox.note_turn());
            assert_eq!(liveness.have_all_turned(), expected, "{why}");
        };
        check(&[], false, "nothing has turned yet");
        check(&[&one, &other], true, "both have");
        check(&[&one], false, "the second hangs");
        check(&[&one, &one], false, "however busy the first is");
        check(&[&other], true, "both have turned since");
        check(&[], false, "and not again");
    }
}
