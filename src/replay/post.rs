//! What control has to tell the other threads: in order to each of them, never waiting for any.
//!
//! A full mailbox must not stop control, which has to answer HA. So what a mailbox does not take stays here and is tried again by
//! [`Post::deliver`]. Where the order matters across receivers, a letter waits [`After`] all that one group was told before: the keeper
//! hears of a flush before anyone who could answer it; workers of a backend that is up before the feeder that sends them its records.
//!
//! Bounded by what there is to say: a few letters an epoch of each backend.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{FeederMail, KeeperMail, WorkerMail};

/// Whom a letter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nobody.
    Nothing,
    /// All that the feeder was told so far.
    Feeder,
    /// All that the keeper was told so far.
    Keeper,
    /// All that any worker was told so far.
    Workers,
}

struct Letter<T> {
    number: u64,
    after: After,
    mail: T,
}

struct Tray<T> {
    mailbox: Arc<Mailbox<T>>,
    /// By ascending numbers.
    letters: VecDeque<Letter<T>>,
}

impl<T> Tray<T> {
    fn new(mailbox: Arc<Mailbox<T>>) -> Self {
        Self {
            mailbox,
            letters: VecDeque::new(),
        }
    }

    /// The number of the oldest letter that is still here.
    fn oldest(&self) -> u64 {
        self.letters
            .front()
            .map_or(u64::MAX, |letter| letter.number)
    }

    /// Delivers what may go. True: something went.
    fn deliver(&mut self, oldest: Oldest) -> bool {
        let mut went = false;
        while let Some(letter) = self.letters.pop_front() {
            if !oldest.lets(letter.after, letter.number) {
                self.letters.push_front(letter);
                break;
            }
            let Letter {
                number,
                after,
                mail,
            } = letter;
            if let Err(mail) = self.mailbox.send(mail) {
                self.letters.push_front(Letter {
                    number,
                    after,
                    mail,
                });
                break;
            }
            went = true;
        }
        went
    }
}

/// The oldest letter that each group has not got.
#[derive(Clone, Copy)]
struct Oldest {
    feeder: u64,
    keeper: u64,
    workers: u64,
}

impl Oldest {
    fn lets(self, after: After, number: u64) -> bool {
        match after {
            After::Nothing => true,
            After::Feeder => self.feeder > number,
            After::Keeper => self.keeper > number,
            After::Workers => self.workers > number,
        }
    }
}

/// See the module.
pub struct Post {
    feeder: Tray<FeederMail>,
    keeper: Tray<KeeperMail>,
    workers: Vec<Tray<WorkerMail>>,
    /// Letters written so far.
    written: u64,
}

impl Post {
    /// Post for these mailboxes.
    #[must_use]
    pub fn new(
        feeder: Arc<Mailbox<FeederMail>>,
        keeper: Arc<Mailbox<KeeperMail>>,
        workers: impl IntoIterator<Item = Arc<Mailbox<WorkerMail>>>,
    ) -> Self {
        Self {
            feeder: Tray::new(feeder),
            keeper: Tray::new(keeper),
            workers: workers.into_iter().map(Tray::new).collect(),
            written: 0,
        }
    }

    /// To the feeder.
    pub fn feeder(&mut self, after: After, mail: FeederMail) {
        let number = self.number();
        self.feeder.letters.push_back(Letter {
            number,
            after,
            mail,
        });
    }

    /// To the keeper.
    pub fn keeper(&mut self, after: After, mail: KeeperMail) {
        let number = self.number();
        self.keeper.letters.push_back(Letter {
            number,
            after,
            mail,
        });
    }

    /// To every worker.
    pub fn workers(&mut self, after: After, mut mail: impl FnMut() -> WorkerMail) {
        for index in 0..self.workers.len() {
            let number = self.number();
            self.workers[index].letters.push_back(Letter {
                number,
                after,
                mail: mail(),
            });
        }
    }

    /// Delivers what can be. True: all is delivered; otherwise try again soon.
    pub fn deliver(&mut self) -> bool {
        loop {
            let mut went = self.keeper.deliver(self.oldest());
            for index in 0..self.workers.len() {
                let oldest = self.oldest();
                went |= self.workers[index].deliver(oldest);
            }
            went |= self.feeder.deliver(self.oldest());
            if !went {
                return self.is_empty();
            }
        }
    }

    /// Whether all is delivered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keeper.letters.is_empty()
            && self.feeder.letters.is_empty()
            && self.workers.iter().all(|tray| tray.letters.is_empty())
    }

    fn oldest(&self) -> Oldest {
        Oldest {
            feeder: self.feeder.oldest(),
            keeper: self.keeper.oldest(),
            workers: self
                .workers
                .iter()
                .map(Tray::oldest)
                .min()
                .unwrap_or(u64::MAX),
        }
    }

    fn number(&mut self) -> u64 {
        self.written += 1;
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::mailbox::NoBell;
    use crate::replay::messages::BackendId;
    use crate::replay::reachability::KnownOutages;

    const BACKEND: BackendId = BackendId(0);

    struct Bench {
        feeder: Arc<Mailbox<FeederMail>>,
        keeper: Arc<Mailbox<KeeperMail>>,
        workers: Vec<Arc<Mailbox<WorkerMail>>>,
        post: Post,
    }

    fn mailbox<T>() -> Arc<Mailbox<T>> {
        Arc::new(Mailbox::new(1, Box::new(NoBell)))
    }

    fn bench() -> Bench {
        let (feeder, keeper) = (mailbox(), mailbox());
        let workers = vec![mailbox(), mailbox()];
        let post = Post::new(Arc::clone(&feeder), Arc::clone(&keeper), workers.clone());
        Bench {
            feeder,
            keeper,
            workers,
            post,
        }
    }

    fn up(epoch: u32) -> FeederMail {
        FeederMail::Up {
            backend: BACKEND,
            epoch,
            outages: KnownOutages::default(),
        }
    }

    fn ttl() -> WorkerMail {
        WorkerMail::Ttl {
            backend: BACKEND,
            ready: true,
        }
    }

    #[test]
    fn what_a_full_mailbox_does_not_take_stays_in_order() {
        let mut bench = bench();
        for epoch in 0..3 {
            bench.post.feeder(After::Nothing, up(epoch));
        }
        for epoch in 0..3 {
            assert_eq!(bench.post.deliver(), epoch == 2);
            let Some(FeederMail::Up { epoch: got, .. }) = bench.feeder.receive() else {
                panic!("letter {epoch}");
            };
            assert_eq!(got, epoch);
        }
        assert!(bench.post.is_empty());
    }

    #[test]
    fn the_feeder_hears_of_up_after_every_worker_did() {
        let mut bench = bench();
        bench.workers[1].send(ttl()).unwrap();
        bench.post.workers(After::Nothing, ttl);
        bench.post.feeder(After::Workers, up(0));
        assert!(!bench.post.deliver());
        assert_eq!(bench.workers[0].len(), 1);
        assert!(bench.feeder.is_empty(), "worker 1 does not know yet");
        bench.workers[1].receive();
        assert!(bench.post.deliver());
        assert_eq!(bench.feeder.len(), 1);
    }

    #[test]
    fn a_letter_does_not_wait_for_what_was_written_after_it() {
        let mut bench = bench();
        bench.keeper.send(KeeperMail::Stop).unwrap();
        bench.post.workers(After::Nothing, ttl);
        bench.post.feeder(After::Workers, up(0));
        bench.post.workers(After::Keeper, ttl);
        bench.post.keeper(After::Nothing, KeeperMail::Stop);
        assert!(!bench.post.deliver());
        assert_eq!(bench.feeder.len(), 1, "its workers have been told");
    }

    #[test]
    fn everyone_hears_of_a_flush_after_the_keeper_did() {
        let mut bench = bench();
        bench.keeper.send(KeeperMail::Stop).unwrap();
        let flush = KeeperMail::Flush {
            backend: BACKEND,
            epoch: 1,
        };
        bench.post.keeper(After::Nothing, flush);
        bench.post.workers(After::Keeper, ttl);
        bench.post.feeder(After::Keeper, up(1));
        assert!(!bench.post.deliver());
        assert!(bench.workers[0].is_empty() && bench.feeder.is_empty());
        bench.keeper.receive();
        assert!(bench.post.deliver());
        assert_eq!((bench.workers[0].len(), bench.feeder.len()), (1, 1));
    }
}
