//! What a lane has out on its connection: requests composed together, how far they are sent, how far they are answered.

use std::ops::Range;
use std::sync::Arc;

use crate::binlog::Method;
use crate::binlog::request::Composed;
use crate::limits::BODY_COPY_BYTES_MAX;
use crate::replay::chunk::Chunk;
use crate::replay::held::{HeldBatches, HeldKey};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Replays a record.
    Write,
    /// Asks what the backend has of a record's member.
    Lookup,
    /// Asks something harmless, to see whether the backend is well.
    Health,
}

/// A request of a burst.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What it is for.
    pub kind: Kind,
    /// The method that is sent, or for a lookup the record's.
    pub method: Method,
    /// Whether the record's time is over.
    pub expired: bool,
    /// The record's number in its lane.
    pub record: u64,
    /// The request line, in bytes of the exchange.
    target: Range<usize>,
    /// Where the request ends.
    end: usize,
}

/// Requests of a burst. Its bytes are `head` and behind it, where there is one, a `body` that is not copied.
#[derive(Debug, Default)]
pub struct Exchange {
    head: Vec<u8>,
    /// A large body: its batch and place in the chunk. Only a request that goes alone has one.
    body: Option<(HeldKey, u32, u32)>,
    requests: Vec<Sent>,
    /// Bytes that the system has taken.
    sent: usize,
    /// Requests that are answered.
    answers: usize,
}

/// A head buffer that grew past this for one request gives its memory back.
const HEAD_KEPT_BYTES: usize = BODY_COPY_BYTES_MAX + 8192;

impl Exchange {
    /// Nothing is out.
    pub fn clear(&mut self) {
        self.head.clear();
        self.head.shrink_to(HEAD_KEPT_BYTES);
        self.body = None;
        self.requests.clear();
        self.sent = 0;
        self.answers = 0;
    }

    /// Where the next request's head is appended.
    pub fn head(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Takes an appended head back.
    pub fn truncate(&mut self, bytes: usize) {
        self.head.truncate(bytes);
    }

    /// Bytes in all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.map_or(0, |(_, _, bytes)| bytes as usize)
    }

    /// Adds the request whose head was just appended. `value` is the body, it ends at `value_end` in
    /// the batch's chunk. `record` is the record's number in its lane.
    pub fn push(
        &mut self,
        kind: Kind,
        composed: Composed,
        value: &[u8],
        batch: HeldKey,
        value_end: u32,
        record: u64,
    ) {
        debug_assert!(
            self.body.is_none(),
            "a request with a large body is the last of its burst"
        );
        let start = self.head.len() - composed.head_bytes;
        if composed.body_bytes > BODY_COPY_BYTES_MAX {
            let bytes = u32::try_from(composed.body_bytes).expect("a chunk's offsets are u32");
            self.body = Some((batch, value_end - bytes, bytes));
        } else if composed.body_bytes > 0 {
            self.head.extend_from_slice(value);
        }
        self.requests.push(Sent {
            kind,
            method: composed.method,
            expired: composed.expired,
            record,
            target: start..start + composed.target_bytes,
            end: self.bytes(),
        });
    }

    /// What the system has not taken yet.
    #[must_use]
    pub fn outgoing<'a>(&'a self, held: &'a HeldBatches) -> [&'a [u8]; 2] {
        let body = self
            .body
            .map_or(&[][..], |(batch, at, bytes)| held.bytes(batch, at, bytes));
        let head_sent = self.sent.min(self.head.len());
        [&self.head[head_sent..], &body[self.sent - head_sent..]]
    }

    /// What the system has not taken yet of the body, as a share of its chunk and a place in that; none where there is no such body.
    #[must_use]
    pub fn outgoing_body(&self, held: &HeldBatches) -> Option<(Arc<Chunk>, Range<usize>)> {
        let (batch, at, bytes) = self.body?;
        let sent = self.sent.saturating_sub(self.head.len());
        let at = at as usize;
        Some((held.share(batch), at + sent..at + bytes as usize))
    }

    /// The system has taken `bytes` more.
    pub fn handle_sent(&mut self, bytes: usize) {
        self.sent += bytes;
        assert!(
            self.sent <= self.bytes(),
            "no more can be sent than there is"
        );
    }

    /// Whether everything is sent.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.sent == self.bytes()
    }

    /// Whether what is sent ends inside a request line.
    #[must_use]
    pub fn is_cut_in_target(&self) -> bool {
        !self.is_sent()
            && self
                .requests
                .iter()
                .any(|request| request.target.start < self.sent && self.sent < request.target.end)
    }

    /// Requests whose answers are to come.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.requests.len() - self.answers
    }

    /// Whether none is answered.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.answers == 0
    }

    /// The request that the next answer is for.
    ///
    /// # Panics
    /// Where all are answered.
    #[must_use]
    pub fn next(&self) -> &Sent {
        &self.requests[self.answers]
    }

    /// Whether that request is sent to its end.
    #[must_use]
    pub fn next_is_sent(&self) -> bool {
        self.requests[self.answers].end <= self.sent
    }

    /// The next answer is in.
    pub fn answered(&mut self) {
        self.answers += 1;
        assert!(
            self.answers <= self.requests.len(),
            "no more answers than requests"
        );
    }
}
