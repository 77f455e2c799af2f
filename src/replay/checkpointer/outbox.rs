//! The checkpointer's messages to the reader and the controller. It never waits for a full mailbox,
//! but tries again each turn.

use std::collections::VecDeque;

use crate::replay::checkpointer::CheckpointerLinks;
use crate::replay::messages::{ControlMessage, ReaderMessage};

/// Undelivered messages, in order. There are at most as many as segments in flight, and a few.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    reader: VecDeque<ReaderMessage>,
    /// Each with the number of messages that must have been sent to the reader before.
    control: VecDeque<(u64, ControlMessage)>,
    /// Messages ever queued for the reader.
    reader_queued: u64,
}

impl Outbox {
    pub(super) fn reader(&mut self, message: ReaderMessage) {
        self.reader_queued += 1;
        self.reader.push_back(message);
    }

    pub(super) fn control(&mut self, message: ControlMessage) {
        self.control.push_back((0, message));
    }

    /// Queues a message for the controller that is sent only after everything that is queued for
    /// the reader now.
    pub(super) fn control_after_reader(&mut self, message: ControlMessage) {
        self.control.push_back((self.reader_queued, message));
    }

    /// Drops what is queued for the reader, which has no use for it any more.
    pub(super) fn forget_reader(&mut self) {
        self.reader.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reader.is_empty() && self.control.is_empty()
    }

    /// Sends what the mailboxes have room for.
    pub(super) fn send(&mut self, links: &CheckpointerLinks) {
        while let Some(message) = self.reader.pop_front() {
            if let Err(message) = links.reader.send(message) {
                self.reader.push_front(message);
                break;
            }
        }
        let reader_sent = self.reader_queued - self.reader.len() as u64;
        while self
            .control
            .front()
            .is_some_and(|(after, _)| *after <= reader_sent)
        {
            let Some((after, message)) = self.control.pop_front() else {
                break;
            };
            if let Err(message) = links.control.send(message) {
                self.control.push_front((after, message));
                break;
            }
        }
    }
}
