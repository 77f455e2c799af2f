//! What the checkpointer has to say and could not say yet. It never waits for a mailbox: it offers
//! again each turn.

use std::collections::VecDeque;

use crate::replay::checkpointer::CheckpointerLinks;
use crate::replay::messages::{ControlMessage, ReaderMessage};

/// Messages on their way, in order. They are no more than there are segments in flight, and a few.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    reader: VecDeque<ReaderMessage>,
    /// Each with the count of messages that the reader must have been sent before.
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

    /// For control, but not before the reader has been sent everything that is queued for it.
    pub(super) fn control_after_reader(&mut self, message: ControlMessage) {
        self.control.push_back((self.reader_queued, message));
    }

    /// The reader does not read any more.
    pub(super) fn forget_reader(&mut self) {
        self.reader.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reader.is_empty() && self.control.is_empty()
    }

    /// Sends what goes.
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
