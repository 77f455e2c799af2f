//! Whether the other threads get on, for `/healthz` and `/metrics`.
//!
//! A thread counts its turns in its mailbox, and its mailbox knows whether it sleeps. Whoever
//! looks, control at each of its own turns, so sees who has been at one and the same turn since an
//! earlier look. It costs a thread one store a turn, and no wake-up.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::replay::mailbox::Mailbox;
use crate::status::server::ThreadLiveness;

/// The threads that are watched.
pub(super) struct Liveness(Vec<Watched>);

struct Watched {
    name: String,
    liveness: Box<dyn Fn() -> Option<u64> + Send>,
    /// The turn that it was at when it was looked at last, and when it was first seen at it; none:
    /// it slept.
    at: Option<(u64, Duration)>,
}

impl Liveness {
    /// Nobody is watched.
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// The reader of this mailbox is watched, too.
    pub(super) fn watch<T: Send + 'static>(
        mut self,
        name: String,
        mailbox: &Arc<Mailbox<T>>,
    ) -> Self {
        let mailbox = Arc::clone(mailbox);
        self.0.push(Watched {
            name,
            liveness: Box::new(move || mailbox.liveness()),
            at: None,
        });
        self
    }

    /// Looks at all.
    pub(super) fn look(&mut self, now: Now) {
        for thread in &mut self.0 {
            thread.at = (thread.liveness)().map(|turn| match thread.at {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::mailbox::NoWaker;

    #[test]
    fn a_thread_that_neither_sleeps_nor_turns_is_stuck_since_it_was_first_seen_so() {
        let mailbox: Arc<Mailbox<()>> = Arc::new(Mailbox::new(1, Box::new(NoWaker)));
        let mut liveness = Liveness::new().watch("w0".into(), &mailbox);
        let mut told = Vec::new();
        let mut check = |second, expected| {
            let now = Now {
                monotonic: Duration::from_secs(second),
                unix: 0,
            };
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
}
