//! What a lane has out on its connection: requests composed together, how far they are sent, how
//! far they are answered.
//!
//! A body that is too long to be held comes in pieces while it is sent: one is asked for when the
//! one before has come, and dropped when it is sent. There are never more than two of them here.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::binlog::Method;
use crate::binlog::request::Composed;
use crate::limits::BODY_COPY_BYTES_MAX;
use crate::replay::batch_table::{BatchKey, BatchTable};
use crate::replay::chunk::Chunk;
use crate::replay::messages::BodyPiece;

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

/// Requests of a burst. Its bytes are `head` and behind it, where there is one, a `body` that is
/// not copied.
#[derive(Debug, Default)]
pub struct InFlight {
    head: Vec<u8>,
    /// A large body. Only a request that goes alone has one.
    body: Option<Body>,
    /// Bodies so far that came in pieces: the number of the one that is out, if one is.
    long_bodies: u64,
    /// Pieces that nobody needs any more.
    spent: Vec<Arc<Chunk>>,
    requests: Vec<Sent>,
    /// Bytes that the system has taken.
    sent: usize,
    /// Requests that are answered.
    answers: usize,
}

/// A body that is not copied behind its head.
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
        pieces: VecDeque<BodyPiece>,
        /// The next piece has been asked for.
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

/// A head buffer that grew past this for one request gives its memory back.
const HEAD_KEPT_BYTES: usize = BODY_COPY_BYTES_MAX + 8192;

impl InFlight {
    /// One in the place of this one, which is clear: it goes on counting bodies, so that no late
    /// piece is taken for one of its own.
    #[must_use]
    pub fn successor(&self) -> Self {
        debug_assert!(self.body.is_none() && self.spent.is_empty(), "it is clear");
        Self {
            long_bodies: self.long_bodies,
            ..Self::default()
        }
    }

    /// Nothing is out.
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
        self.head.len() + self.body.as_ref().map_or(0, Body::bytes)
    }

    /// Adds the request whose head was just appended. `value` is the body, it ends at `value_end`
    /// in the batch's chunk. `record` is the record's number in its lane.
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
            "a request with a long body goes alone"
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

    /// What the system has not taken yet, as far as it is here.
    #[must_use]
    pub fn outgoing<'a>(&'a self, held: &'a BatchTable) -> [&'a [u8]; 2] {
        let head_sent = self.sent.min(self.head.len());
        let head = &self.head[head_sent..];
        let sent = self.sent - head_sent;
        let body = match &self.body {
            None => &[][..],
            Some(Body::Held { batch, at, bytes }) => &held.bytes(*batch, *at, *bytes)[sent..],
            Some(Body::Long { before, pieces, .. }) => pieces.front().map_or(&[][..], |piece| {
                &piece.chunk.bytes()[piece.at..piece.at + piece.bytes][sent - before..]
            }),
        };
        [head, body]
    }

    /// What the system has not taken yet of the body, as a share of its chunk and a place in that;
    /// none where there is no such body.
    #[must_use]
    pub fn outgoing_body(&self, held: &BatchTable) -> Option<(Arc<Chunk>, Range<usize>)> {
        let sent = self.sent.saturating_sub(self.head.len());
        match self.body.as_ref()? {
            Body::Held { batch, at, bytes } => {
                let at = *at as usize;
                Some((held.share(*batch), at + sent..at + *bytes as usize))
            }
            Body::Long { before, pieces, .. } => {
                let piece = pieces.front()?;
                let range = piece.at + sent - before..piece.at + piece.bytes;
                Some((Arc::clone(&piece.chunk), range))
            }
        }
    }

    /// The system has taken `bytes` more.
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
            if *before + piece.bytes > sent {
                pieces.push_front(piece);
                break;
            }
            *before += piece.bytes;
            self.spent.push(piece.chunk);
        }
        assert!(
            sent == *before || !pieces.is_empty(),
            "no more can be sent than is here"
        );
    }

    /// The piece to ask for now, where one is to be: of which batch's record, from which byte of
    /// the value on, and which body this is.
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
        let has = *before + pieces.iter().map(|piece| piece.bytes).sum::<usize>();
        if *is_asked || has == *bytes || pieces.len() == PIECES_MAX {
            return None;
        }
        *is_asked = true;
        Some((*batch, has as u64, self.long_bodies))
    }

    /// Whether the answer to the last question for a piece is waited for, and the question was this
    /// body's.
    #[must_use]
    pub fn wants_body(&self, nth: u64) -> bool {
        let is_asked = matches!(&self.body, Some(Body::Long { is_asked: true, .. }));
        is_asked && nth == self.long_bodies
    }

    /// The piece that was asked for.
    pub fn handle_body(&mut self, piece: BodyPiece) {
        if let Some(Body::Long {
            pieces, is_asked, ..
        }) = &mut self.body
        {
            *is_asked = false;
            pieces.push_back(piece);
        }
    }

    /// Whether there is more to send, and all of it has yet to come.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        let has_none = matches!(&self.body, Some(Body::Long { pieces, .. }) if pieces.is_empty());
        has_none && self.sent >= self.head.len() && !self.is_sent()
    }

    /// A piece that is not needed any more, to be given back.
    pub fn poll_spent(&mut self) -> Option<Arc<Chunk>> {
        self.spent.pop()
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
