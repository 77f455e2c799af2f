//! One keep-alive connection to a master: bursts of whole requests out, answers in, by hustdb's
//! rules (docs/hustdb.md, "What hustdb cannot take").
//!
//! ```text
//!            connect         made          a burst          its last answer
//!   closed ──────────▶ connecting ──▶ open ───────▶ open, busy ───────────▶ open
//!     ▲                   │            │                │
//!     └───────────────────┴────────────┴────────────────┘ closed, failed, or retired
//! ```
//!
//! A burst goes on a connection only when nothing is outstanding there. Requests that had no answer
//! when their connection ended are returned: lookups are asked again, writes are decided again.

use std::collections::VecDeque;
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

use crate::clock::Now;
use crate::http::response::{Response, parse_head};
use crate::limits::{
    HUSTDB_READ_BYTES, RECONCILE_SEND_WITHIN, RESPONSE_BYTES_MAX, VALUE_BYTES_MAX,
};
use crate::reconcile::ask::{Answer, Ask};
use crate::reconcile::check::CheckId;
use crate::reconcile::decision::{Meaning, meaning, seen};
use crate::reconcile::key::Kind;

/// A request about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which check wants it.
    pub check: CheckId,
    pub ask: Ask,
    /// The key's kind.
    pub kind: Kind,
    /// When its check asked for it, monotonic: a write was decided then. Stays as it is while the
    /// request waits, and where it is sent again.
    pub asked_at: Duration,
    /// Answers to it that no healthy master gives.
    pub bad_answers: BadAnswers,
}

/// What a request has been answered instead of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BadAnswers {
    /// How often, with answers to other requests in between.
    pub times: u32,
    /// How many answers the master had given by the last time.
    pub answers: u64,
    /// When the first one came, monotonic; 0: none has.
    pub first_at: Duration,
}

impl Request {
    /// Whether it changes something.
    #[must_use]
    pub fn is_mend(&self) -> bool {
        matches!(self.ask, Ask::Write | Ask::Remove)
    }

    /// Whether it writes something that was decided too long ago: the key may be another by now.
    #[must_use]
    pub fn is_stale(&self, now: Now) -> bool {
        let age = now.monotonic.saturating_sub(self.asked_at);
        self.is_mend() && age > RECONCILE_SEND_WITHIN
    }
}

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Bytes of one burst; 0: one request a send.
    pub burst_bytes: usize,
    /// Answers after which a connection is retired.
    pub requests_per_connection: u32,
    /// For making a connection.
    pub connect_timeout: Duration,
    /// For the next answer.
    pub response_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Connecting,
    Open,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The master is not well; a sentence.
    Failed(String),
    /// It answers the first request that waits as no healthy master does, with this status.
    BadAnswer(u16),
    /// It had its number of answers, or the master closes it.
    Retired,
}

/// What an answer's body is for.
enum Sink {
    Keep(Vec<u8>),
    Digest(Box<Xxh3>),
    Discard,
}

struct Body {
    response: Response,
    left: usize,
    sink: Sink,
}

/// See the module.
pub struct Connection {
    state: State,
    segment_bytes: usize,
    outgoing: Vec<u8>,
    sent: usize,
    /// Requests without an answer, in their order.
    burst: VecDeque<Request>,
    /// The bytes of an answer's head, as far as they are here.
    received: Vec<u8>,
    body: Option<Body>,
    answers: u32,
    deadline: Duration,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            state: State::Closed,
            segment_bytes: usize::MAX,
            outgoing: Vec::new(),
            sent: 0,
            burst: VecDeque::new(),
            received: Vec::new(),
            body: None,
            answers: 0,
            deadline: Duration::MAX,
        }
    }
}

impl Connection {
    /// Whether there is none.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Requests that have no answer yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.burst.len()
    }

    /// The first request without an answer.
    #[cfg(test)]
    pub(super) fn first(&self) -> Option<&Request> {
        self.burst.front()
    }

    /// Whether a burst can go.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.state == State::Open && self.burst.is_empty()
    }

    /// When it is given up, monotonic.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// It is being made.
    pub fn begin(&mut self, limits: &ConnectionLimits, now: Now) {
        *self = Self {
            state: State::Connecting,
            deadline: now.after(limits.connect_timeout),
            outgoing: std::mem::take(&mut self.outgoing),
            received: std::mem::take(&mut self.received),
            ..Self::default()
        };
        self.outgoing.clear();
        self.received.clear();
    }

    /// It is made.
    pub fn handle_connected(&mut self, segment_bytes: usize) {
        self.state = State::Open;
        self.segment_bytes = segment_bytes;
        self.deadline = Duration::MAX;
    }

    /// Composes a burst of the requests that `next` gives, each appended by `compose`, which says
    /// false where it cannot be sent. Returns those, and whether there is anything to send.
    pub fn compose(
        &mut self,
        queue: &mut VecDeque<Request>,
        requests_max: usize,
        limits: &ConnectionLimits,
        now: Now,
        mut compose: impl FnMut(&Request, &mut Vec<u8>) -> bool,
    ) -> (bool, Vec<Request>) {
        let mut refused = Vec::new();
        let answers_left = limits.requests_per_connection.saturating_sub(self.answers) as usize;
        let burst_bytes = limits.burst_bytes.min(self.segment_bytes);
        self.outgoing.clear();
        self.sent = 0;
        while self.burst.len() < requests_max.min(answers_left.max(1)) {
            let Some(request) = queue.front() else {
                break;
            };
            let start = self.outgoing.len();
            if !compose(request, &mut self.outgoing) {
                refused.extend(queue.pop_front());
                continue;
            }
            if start > 0 && self.outgoing.len() > burst_bytes {
                self.outgoing.truncate(start);
                break;
            }
            self.burst.extend(queue.pop_front());
        }
        if !self.burst.is_empty() {
            self.deadline = now.after(limits.response_timeout);
        }
        (!self.burst.is_empty(), refused)
    }

    /// What is left to be sent.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing[self.sent..]
    }

    /// So many bytes were sent.
    ///
    /// # Errors
    /// They may end within a request's target, which hustdb does not stand: close the connection.
    pub fn handle_sent(
        &mut self,
        bytes: usize,
        limits: &ConnectionLimits,
        now: Now,
    ) -> Result<(), End> {
        self.sent += bytes;
        self.deadline = now.after(limits.response_timeout);
        if self.sent < self.outgoing.len().min(HUSTDB_READ_BYTES) {
            return Err(End::Failed("a request would be cut in its target".into()));
        }
        Ok(())
    }

    /// Bytes have come; gives each whole answer to `on_answer`.
    ///
    /// # Errors
    /// The connection has ended: call [`Connection::close`].
    pub fn handle_received(
        &mut self,
        mut bytes: &[u8],
        value_bytes_max: usize,
        limits: &ConnectionLimits,
        now: Now,
        mut on_answer: impl FnMut(Request, Answer),
    ) -> Result<(), End> {
        self.deadline = now.after(limits.response_timeout);
        loop {
            if self.body.is_none() {
                let Some(rest) = self.take_head(bytes, value_bytes_max)? else {
                    return Ok(());
                };
                bytes = rest;
            }
            let Some(body) = &mut self.body else {
                return Ok(());
            };
            let (taken, rest) = bytes.split_at(body.left.min(bytes.len()));
            match &mut body.sink {
                Sink::Keep(kept) => kept.extend_from_slice(taken),
                Sink::Digest(digest) => digest.update(taken),
                Sink::Discard => {}
            }
            body.left -= taken.len();
            bytes = rest;
            if body.left > 0 {
                return Ok(());
            }
            let body = self.body.take().expect("it was there");
            let closes = body.response.close;
            let request = *self.burst.front().expect("a head belongs to a request");
            let answer = answer(&request, body)?;
            self.burst.pop_front();
            on_answer(request, answer);
            self.answers += 1;
            if closes || self.answers >= limits.requests_per_connection {
                return Err(End::Retired);
            }
            if self.burst.is_empty() {
                self.deadline = Duration::MAX;
                self.outgoing.clear();
                self.sent = 0;
            }
        }
    }

    /// Reads a head off the front of `bytes`, with what came before it. Gives the bytes behind it;
    /// `None` where there is none, or not all of it.
    fn take_head<'a>(
        &mut self,
        bytes: &'a [u8],
        value_bytes_max: usize,
    ) -> Result<Option<&'a [u8]>, End> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some(request) = self.burst.front() else {
            return Err(End::Failed("more answers than requests came".into()));
        };
        let before = self.received.len();
        let parsed = if before == 0 {
            parse_head(bytes)
        } else {
            self.received.extend_from_slice(bytes);
            parse_head(&self.received)
        };
        let Some(response) = parsed.map_err(|fault| End::Failed(fault.to_string()))? else {
            if before == 0 {
                self.received.extend_from_slice(bytes);
            }
            return Ok(None);
        };
        self.received.clear();
        let sink = sink(request.ask, &response, value_bytes_max)?;
        self.body = Some(Body {
            response,
            left: response.body_bytes,
            sink,
        });
        Ok(Some(&bytes[response.head_bytes - before..]))
    }

    /// It is closed. What had no answer is returned, in its order.
    pub fn close(&mut self) -> VecDeque<Request> {
        let unanswered = std::mem::take(&mut self.burst);
        self.state = State::Closed;
        self.body = None;
        self.deadline = Duration::MAX;
        self.outgoing.clear();
        self.sent = 0;
        unanswered
    }

    /// Why it is given up at its deadline.
    #[must_use]
    pub fn timeout(&self) -> String {
        match self.state {
            State::Connecting => "no connection in time".into(),
            State::Open | State::Closed => "no answer in time".into(),
        }
    }
}

/// What becomes of an answer's body.
fn sink(ask: Ask, response: &Response, value_bytes_max: usize) -> Result<Sink, End> {
    let keep_max = match ask {
        Ask::ReadValue => VALUE_BYTES_MAX,
        _ => RESPONSE_BYTES_MAX,
    };
    match (meaning(response), ask) {
        (Meaning::Trouble, _) if response.challenge => {
            Err(End::Failed("it refuses our user and password (401)".into()))
        }
        (Meaning::Trouble, _) => Err(End::BadAnswer(response.status)),
        (Meaning::Good, Ask::ReadDigest { is_bounded })
            if is_bounded && response.body_bytes > value_bytes_max =>
        {
            Ok(Sink::Discard)
        }
        (Meaning::Good, Ask::ReadDigest { .. }) => Ok(Sink::Digest(Box::default())),
        (Meaning::Good, Ask::Look | Ask::ReadValue) if response.body_bytes > keep_max => Err(
            End::Failed(format!("it answers with {} bytes", response.body_bytes)),
        ),
        (Meaning::Good, Ask::Look | Ask::ReadValue) => Ok(Sink::Keep(Vec::new())),
        _ => Ok(Sink::Discard),
    }
}

/// What a whole answer says to a request.
fn answer(request: &Request, body: Body) -> Result<Answer, End> {
    let response = body.response;
    let meaning = meaning(&response);
    let version = response.version.unwrap_or(0);
    Ok(match (request.ask, body.sink) {
        _ if meaning == Meaning::Declined => Answer::Declined(response.status),
        (Ask::Look, sink) => {
            let body = match sink {
                Sink::Keep(body) => body,
                _ => Vec::new(),
            };
            match seen(request.kind, &response, &body) {
                Some(seen) => Answer::Seen(seen),
                None => return Err(End::BadAnswer(response.status)),
            }
        }
        (Ask::Write, _) if meaning == Meaning::Missing => Answer::Declined(response.status),
        (Ask::Write | Ask::Remove, _) => Answer::Done,
        _ if meaning == Meaning::Missing => Answer::Gone,
        (Ask::ReadValue, Sink::Keep(value)) => Answer::Value { version, value },
        (_, Sink::Digest(digest)) => Answer::Digest {
            version,
            digest: Some(digest.digest128()),
        },
        _ => Answer::Digest {
            version,
            digest: None,
        },
    })
}
