//! The burst that a lane has in flight: requests composed together, how far they are sent, and how
//! far they are answered.
//!
//! A body that is too long for memory arrives in pieces while it is sent. The lane requests a piece
//! when the one before has arrived, and releases it when it is sent. There are never more than two.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::binlog::Method;
use crate::binlog::request::{Composed, REQUEST_LINE_END_BYTES};
use crate::limits::{BODY_COPY_BYTES_MAX, HUSTDB_READ_BYTES};
use crate::replay::batch_table::{BatchKey, BatchTable};
use crate::replay::chunk::{Chunk, Share};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Replays a record.
    Write,
    /// Looks up what the backend has for a record's member.
    Lookup,
    /// A harmless request that shows whether the backend is well.
    Health,
}

/// A request of a burst.
#[derive(Clone, Debug)]
pub struct Sent {
    pub kind: Kind,
    /// The method that is sent; for a lookup, the record's.
    pub method: Method,
    /// Whether the record's ttl has passed.
    pub expired: bool,
    /// The record's number in its lane.
    pub record: u64,
    /// Where the request line is in the burst's bytes.
    target: Range<usize>,
    /// Where the request ends in the burst's bytes.
    end: usize,
}

impl Sent {
    /// Whether the target ends exactly where hustdb's first read of it does. Then hustdb may take
    /// an octet that was never sent for a part of it, and refuse the request for that.
    #[must_use]
    pub fn ends_with_a_read(&self) -> bool {
        self.target.len() == HUSTDB_READ_BYTES + REQUEST_LINE_END_BYTES
    }
}

/// A burst. Its bytes are `head`, followed by a `body` that is not copied, if there is one.
#[derive(Debug, Default)]
pub struct InFlight {
    head: Vec<u8>,
    /// A large body. Only a request that is sent alone has one.
    body: Option<Body>,
    /// How many bodies so far came in pieces; that is the number of the current one, if there is
    /// one.
    long_bodies: u64,
    /// Pieces that are no longer needed.
    spent: Vec<Arc<Chunk>>,
    requests: Vec<Sent>,
    /// Bytes that the system has accepted.
    sent: usize,
    /// Answered requests.
    answers: usize,
}

/// A body that is not copied into `head`.
#[derive(Debug)]
enum Body {
    /// In the chunk of its batch, at this place.
    Held {
        batch: BatchKey,
        at: u32,
        bytes: u32,
    },
    /// In its log.
    Long {
        batch: BatchKey,
        bytes: usize,
        /// Bytes of it before the first piece, all of them sent.
        before: usize,
        pieces: VecDeque<Share>,
        /// The next piece has been requested.
        is_asked: bool,
    },
}

impl Body {
    fn bytes(&self) -> usize {
        match self {
            Self::Held { bytes, .. } => *bytes as usize,
            Self::Long { bytes, .. } => *bytes,
        }
    }
}

/// Pieces of one body: one that is being sent, and the next.
const PIECES_MAX: usize = 2;

/// A head buffer that has grown past this for one request releases its memory.
const HEAD_KEPT_BYTES: usize = BODY_COPY_BYTES_MAX + 8192;

impl InFlight {
    /// The burst that follows this one, which is clear. It continues to count bodies, so that no
    /// late piece is taken for one of its own.
    #[must_use]
    pub fn successor(&self) -> Self {
        debug_assert!(self.body.is_none() && self.spent.is_empty(), "it is clear");
        Self {
            long_bodies: self.long_bodies,
            ..Self::default()
        }
    }

    /// Forgets everything that is in flight.
    pub fn clear(&mut self) {
        self.head.clear();
        self.head.shrink_to(HEAD_KEPT_BYTES);
        if let Some(Body::Long { pieces, .. }) = self.body.take() {
            self.spent
                .extend(pieces.into_iter().map(|piece| piece.chunk));
        }
        self.requests.clear();
        self.sent = 0;
        self.answers = 0;
    }

    /// The buffer to which the next request's head is appended.
    pub fn head(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Removes an appended head again.
    pub fn truncate(&mut self, bytes: usize) {
        self.head.truncate(bytes);
    }

    /// Bytes of the whole burst.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.as_ref().map_or(0, Body::bytes)
    }

    /// Adds the request whose head was just appended. `value` is the body, which ends at
    /// `value_end` in the batch's chunk. `record` is the record's number in its lane.
    pub fn push(
        &mut self,
        kind: Kind,
        composed: Composed,
        value: &[u8],
        batch: BatchKey,
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
            let at = value_end - bytes;
            self.body = Some(Body::Held { batch, at, bytes });
        } else if composed.body_bytes > 0 {
            self.head.extend_from_slice(value);
        }
        self.add(kind, composed, start, record);
    }

    /// The same for a body that is in its log only: `batch` is its record's.
    pub fn push_long(&mut self, kind: Kind, composed: Composed, batch: BatchKey, record: u64) {
        assert!(
            self.requests.is_empty() && composed.body_bytes > 0,
            "a request with a long body is sent alone"
        );
        self.long_bodies += 1;
        self.body = Some(Body::Long {
            batch,
            bytes: composed.body_bytes,
            before: 0,
            pieces: VecDeque::new(),
            is_asked: false,
        });
        let start = self.head.len() - composed.head_bytes;
        self.add(kind, composed, start, record);
    }

    fn add(&mut self, kind: Kind, composed: Composed, start: usize, record: u64) {
        self.requests.push(Sent {
            kind,
            method: composed.method,
            expired: composed.expired,
            record,
            target: start..start + composed.target_bytes,
            end: self.bytes(),
        });
    }

    /// What the system has not accepted yet, as far as it is in memory.
    #[must_use]
    pub fn outgoing<'a>(&'a self, held: &'a BatchTable) -> [&'a [u8]; 2] {
        let head_sent = self.sent.min(self.head.len());
        let head = &self.head[head_sent..];
        let sent = self.sent - head_sent;
        let body = match &self.body {
            None => &[][..],
            Some(Body::Held { batch, at, bytes }) => &held.bytes(*batch, *at, *bytes)[sent..],
            Some(Body::Long { before, pieces, .. }) => pieces
                .front()
                .map_or(&[][..], |piece| &piece.bytes()[sent - before..]),
        };
        [head, body]
    }

    /// What the system has not accepted yet of the body; `None` if no part of a body is to be sent.
    #[must_use]
    pub fn outgoing_body(&self, held: &BatchTable) -> Option<Share> {
        let sent = self.sent.saturating_sub(self.head.len());
        match self.body.as_ref()? {
            Body::Held { batch, at, bytes } => Some(Share {
                chunk: held.share(*batch),
                at: *at as usize + sent,
                len: *bytes as usize - sent,
            }),
            Body::Long { before, pieces, .. } => {
                let piece = pieces.front()?;
                let sent = sent - before;
                Some(Share {
                    chunk: Arc::clone(&piece.chunk),
                    at: piece.at + sent,
                    len: piece.len - sent,
                })
            }
        }
    }

    /// The system has accepted `bytes` more.
    pub fn handle_sent(&mut self, bytes: usize) {
        self.sent += bytes;
        assert!(
            self.sent <= self.bytes(),
            "no more can be sent than there is"
        );
        let sent = self.sent.saturating_sub(self.head.len());
        let Some(Body::Long { before, pieces, .. }) = &mut self.body else {
            return;
        };
        while let Some(piece) = pieces.pop_front() {
            if *before + piece.len > sent {
                pieces.push_front(piece);
                break;
            }
            *before += piece.len;
            self.spent.push(piece.chunk);
        }
        assert!(
            sent == *before || !pieces.is_empty(),
            "no more can be sent than is in memory"
        );
    }

    /// The piece to request now, if any: the batch of its record, the first byte in the value, and
    /// the number of the body.
    #[must_use]
    pub fn poll_body_request(&mut self) -> Option<(BatchKey, u64, u64)> {
        let Some(Body::Long {
            batch,
            bytes,
            before,
            pieces,
            is_asked,
        }) = &mut self.body
        else {
            return None;
        };
        let has = *before + pieces.iter().map(|piece| piece.len).sum::<usize>();
        if *is_asked || has == *bytes || pieces.len() == PIECES_MAX {
            return None;
        }
        *is_asked = true;
        Some((*batch, has as u64, self.long_bodies))
    }

    /// Whether a piece of this body has been requested and has not arrived.
    #[must_use]
    pub fn wants_body(&self, nth: u64) -> bool {
        let is_asked = matches!(&self.body, Some(Body::Long { is_asked: true, .. }));
        is_asked && nth == self.long_bodies
    }

    /// The requested piece has arrived.
    pub fn handle_body(&mut self, piece: Share) {
        if let Some(Body::Long {
            pieces, is_asked, ..
        }) = &mut self.body
        {
            *is_asked = false;
            pieces.push_back(piece);
        }
    }

    /// Whether there is more to send, none of which has arrived yet.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        let has_none = matches!(&self.body, Some(Body::Long { pieces, .. }) if pieces.is_empty());
        has_none && self.sent >= self.head.len() && !self.is_sent()
    }

    /// Whether the burst is a request with a body in pieces.
    #[must_use]
    pub fn is_long(&self) -> bool {
        matches!(self.body, Some(Body::Long { .. }))
    }

    /// Bytes that the system has accepted.
    #[must_use]
    pub fn sent_bytes(&self) -> usize {
        self.sent
    }

    /// A piece that is no longer needed, to be returned to the pool.
    pub fn poll_spent(&mut self) -> Option<Arc<Chunk>> {
        self.spent.pop()
    }

    /// Whether everything is sent.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.sent == self.bytes()
    }

    /// Whether the bytes sent so far end inside a request line.
    #[must_use]
    pub fn is_cut_in_target(&self) -> bool {
        !self.is_sent()
            && self
                .requests
                .iter()
                .any(|request| request.target.start < self.sent && self.sent < request.target.end)
    }

    /// Requests that are not answered yet.
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

    /// Whether that request is sent completely.
    #[must_use]
    pub fn next_is_sent(&self) -> bool {
        self.requests[self.answers].end <= self.sent
    }

    /// The next answer has arrived.
    pub fn answered(&mut self) {
        self.answers += 1;
        assert!(
            self.answers <= self.requests.len(),
            "no more answers than requests"
        );
    }
}
