//! What the keeper has to say and could not say yet. It never waits for a mailbox: it offers again each turn.

use std::collections::VecDeque;

use crate::replay::keeper::KeeperLinks;
use crate::replay::messages::{ControlMail, FeederMail};

/// Messages on their way, in order. They are no more than there are segments in flight, and a few.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    feeder: VecDeque<FeederMail>,
    /// Each with the count of messages that the feeder must have been sent before.
    control: VecDeque<(u64, ControlMail)>,
    /// Messages ever queued for the feeder.
    feeder_queued: u64,
}

impl Outbox {
    pub(super) fn feeder(&mut self, mail: FeederMail) {
        self.feeder_queued += 1;
        self.feeder.push_back(mail);
    }

    pub(super) fn control(&mut self, mail: ControlMail) {
        self.control.push_back((0, mail));
    }

    /// For control, but not before the feeder has been sent everything that is queued for it.
    pub(super) fn control_after_feeder(&mut self, mail: ControlMail) {
        self.control.push_back((self.feeder_queued, mail));
    }

    /// The feeder does not read any more.
    pub(super) fn forget_feeder(&mut self) {
        self.feeder.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.feeder.is_empty() && self.control.is_empty()
    }

    /// Sends what goes.
    pub(super) fn send(&mut self, links: &KeeperLinks) {
        while let Some(mail) = self.feeder.pop_front() {
            if let Err(mail) = links.feeder.send(mail) {
                self.feeder.push_front(mail);
                break;
            }
        }
        let feeder_sent = self.feeder_queued - self.feeder.len() as u64;
        while self
            .control
            .front()
            .is_some_and(|(after, _)| *after <= feeder_sent)
        {
            let Some((after, mail)) = self.control.pop_front() else {
                break;
            };
            if let Err(mail) = links.control.send(mail) {
                self.control.push_front((after, mail));
                break;
            }
        }
    }
}
