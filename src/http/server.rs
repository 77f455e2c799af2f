//! One connection at the HTTP server: bytes in, requests out, answers in, bytes out. Pure.
//!
//! ```text
//!             ┌───────────────────── respond, kept ─────────────────────┐
//!             ▼                                                         │
//!  new ──▶ Head ── whole ──▶ Body ── whole ──▶ Ready ── poll_request ──▶ Asked
//!            │ │               │                                          │ respond, not kept
//!            │ └── refused ────┴──────────────────────────────────────┐   │
//!            │ idle too long, peer gone                               ▼   ▼
//!            │                                                       Finishing
//!            ▼                     the peer has closed too            │ all is sent
//!           Over ◀──────────────── or HTTP_LINGER is past ── Lingering ◀┘
//! ```
//!
//! The contract of the one who drives it:
//! - While [`ServerConnection::wants_input`], read and hand what came to
//!   [`ServerConnection::handle_received`]; tell the end of the peer's bytes by
//!   [`ServerConnection::handle_end`].
//! - After each event take the request that [`ServerConnection::poll_request`] yields and answer it
//!   by [`ServerConnection::respond`], at once or later; requests come one at a time, so answers
//!   are in order. Then send [`ServerConnection::outgoing`] and tell how much went.
//! - When [`ServerConnection::poll_shutdown`] says so, shut the sending side; when
//!   [`ServerConnection::is_over`], drop the socket.
//!
//! What a peer can make us hold is bounded: a head, one read after it, and
//! [`HTTP_OUTPUT_BYTES_MAX`] plus one answer. Time is bounded too: a head, a body and the answers
//! under way each have a deadline from their beginning, which single bytes don't extend.

mod intake;

use std::time::Duration;

use self::intake::Body;
use super::answer::{Answer, Status};
use super::chunked::Progress;
use super::request::{Head, Method, Refusal, Request};
use crate::clock::Now;
use crate::limits::{
    HTTP_BUFFER_KEPT_BYTES_MAX, HTTP_BUFFERS_IDLE, HTTP_HEAD_BYTES_MAX, HTTP_LINGER,
    HTTP_OUTPUT_BYTES_MAX,
};

/// What the operator sets for every connection.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Bytes of a request's body (`max_body_size`); more is refused with 413.
    pub body_bytes_max: u64,
    /// Requests on one connection (`max_keepalive_requests`); the last one's answer says
    /// `Connection: close`. At least 1 is answered.
    pub requests_max: u32,
    /// For a whole head, for a whole body, and for being idle (`recv_timeout`).
    pub recv_timeout: Duration,
    /// For all answers under way to be taken (`send_timeout`).
    pub send_timeout: Duration,
    /// Send `100 Continue` to those who wait for it (not `disable_100_cont`).
    pub send_continue: bool,
}

impl Default for ServerLimits {
    /// The configuration's defaults.
    fn default() -> Self {
        Self {
            body_bytes_max: 16 * 1024 * 1024,
            requests_max: 1024,
            recv_timeout: Duration::from_secs(300),
            send_timeout: Duration::from_secs(300),
            send_continue: false,
        }
    }
}

/// One connection, seen from the server.
#[derive(Debug)]
pub struct ServerConnection {
    limits: ServerLimits,
    phase: Phase,
    /// From `head_at` on: the head of the request at hand (from `Body` to `Asked`); from `next_at`
    /// on: bytes not looked at yet.
    input: Vec<u8>,
    /// Where the request at hand begins. Before it is nothing of use.
    head_at: usize,
    /// Where the bytes after the request at hand begin; equals `head_at` in `Head`. `head_at <=
    /// next_at <= input.len()`.
    next_at: usize,
    /// Answers; those before `sent` are sent. Empty if all are.
    output: Vec<u8>,
    sent: usize,
    /// When `output` must be empty; `Some` exactly while it isn't.
    send_until: Option<Duration>,
    /// Too much output is waiting: no further head is parsed until it is sent.
    is_throttled: bool,
    /// The peer sends nothing more.
    peer_ended: bool,
    /// Requests answered.
    answered: u32,
    /// Bytes of answers sent.
    sent_bytes: u64,
    /// The next answer is the last.
    is_ending: bool,
}

#[derive(Debug)]
enum Phase {
    /// Waiting for the end of a head. Of it, the bytes before `scanned` hold no end; the line under
    /// way begins at `line_at` (both count from `head_at`).
    Head {
        scanned: usize,
        line_at: usize,
        begun: bool,
        since: Duration,
    },
    /// Throwing a body away.
    Body {
        head: Head,
        body: Body,
        since: Duration,
    },
    /// A request is whole and nobody has taken it yet.
    Ready {
        head: Head,
        body_bytes: u64,
    },
    /// It has been taken, and its answer is awaited.
    Asked {
        head: Head,
    },
    /// The last answer is being sent.
    Finishing,
    /// All is sent and the sending side is shut (if `told`); what the peer still sends is thrown
    /// away.
    Lingering {
        until: Duration,
        told: bool,
    },
    Over,
}

impl ServerConnection {
    /// A connection just accepted.
    #[must_use]
    pub fn new(limits: ServerLimits, now: Now) -> Self {
        Self {
            limits,
            phase: Phase::fresh(now),
            input: Vec::new(),
            head_at: 0,
            next_at: 0,
            output: Vec::new(),
            sent: 0,
            send_until: None,
            is_throttled: false,
            peer_ended: false,
            answered: 0,
            sent_bytes: 0,
            is_ending: false,
        }
    }

    /// The next answer will be the last one, and say so.
    pub(crate) fn end_with_next_answer(&mut self) {
        self.is_ending = true;
    }

    /// Whether bytes are to be read from the peer now. If not, they stay in the kernel, and in the
    /// end with the peer.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Head { .. } | Phase::Body { .. } | Phase::Ready { .. } | Phase::Asked { .. } => {
                !self.peer_ended && self.input.len() - self.next_at < HTTP_HEAD_BYTES_MAX
            }
            Phase::Lingering { .. } => true,
            Phase::Finishing | Phase::Over => false,
        }
    }

    /// Takes bytes that came from the peer.
    pub fn handle_received(&mut self, bytes: &[u8], now: Now) {
        let mut rest = bytes;
        match &mut self.phase {
            Phase::Finishing | Phase::Lingering { .. } | Phase::Over => return,
            // A body goes by without being stored.
            Phase::Body { body, .. } => match body.handle_piece(rest, self.limits.body_bytes_max) {
                Ok(Progress::More) => return,
                Ok(Progress::Done { used }) => {
                    rest = &rest[used..];
                    self.finish_body();
                }
                Err(refusal) => return self.refuse(refusal, now),
            },
            _ => {}
        }
        if self.head_at > 0 {
            self.input.drain(..self.head_at);
            self.next_at -= self.head_at;
            self.head_at = 0;
        }
        self.input.extend_from_slice(rest);
        self.advance(now);
        self.check_invariants();
    }

    /// The peer has shut its sending side, or is gone. Requests that are whole are still answered.
    pub fn handle_end(&mut self, now: Now) {
        self.peer_ended = true;
        if matches!(self.phase, Phase::Lingering { .. }) {
            self.phase = Phase::Over;
        }
        self.advance(now);
        self.check_invariants();
    }

    /// The request to be answered now, once. It stays the one to be answered until
    /// [`Self::respond`].
    pub fn poll_request(&mut self) -> Option<Request<'_>> {
        let Phase::Ready { head, body_bytes } = self.phase else {
            return None;
        };
        self.phase = Phase::Asked { head };
        Some(head.request(
            &self.input[self.head_at..self.head_at + head.bytes],
            body_bytes,
        ))
    }

    /// The request that [`Self::poll_request`] would yield.
    #[must_use]
    pub(crate) fn peek_request(&self) -> Option<Request<'_>> {
        let Phase::Ready { head, body_bytes } = self.phase else {
            return None;
        };
        let head_bytes = &self.input[self.head_at..self.head_at + head.bytes];
        Some(head.request(head_bytes, body_bytes))
    }

    /// Whether a request has been taken and not been answered yet.
    #[must_use]
    pub(crate) fn is_asked(&self) -> bool {
        matches!(self.phase, Phase::Asked { .. })
    }

    /// Bytes of memory that answers take which the peer has not taken yet.
    #[must_use]
    pub(crate) fn unsent_bytes(&self) -> usize {
        if self.output.is_empty() {
            0
        } else {
            self.output.capacity()
        }
    }

    /// Answers the request last taken. Without one (the connection has ended meanwhile) nothing
    /// happens.
    pub fn respond(&mut self, answer: &Answer<'_>, now: Now) {
        let Phase::Asked { head } = self.phase else {
            return;
        };
        self.answered = self.answered.saturating_add(1);
        let keep = head.keep_alive && self.answered < self.limits.requests_max && !self.is_ending;
        let connection = match (keep, head.is_old) {
            (false, _) => Some("close"),
            (true, true) => Some("keep-alive"),
            (true, false) => None,
        };
        answer.write(&mut self.output, connection, head.method != Method::Head);
        self.note_output(now);
        if keep {
            self.head_at = self.next_at;
            self.phase = Phase::fresh(now);
            self.is_throttled = self.outgoing().len() > HTTP_OUTPUT_BYTES_MAX;
            self.advance(now);
        } else {
            self.finish(now);
        }
        self.check_invariants();
    }

    /// The bytes to be sent now.
    #[must_use]
    pub fn outgoing(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// The first `bytes` of [`Self::outgoing`] are sent.
    pub fn handle_sent(&mut self, bytes: usize, now: Now) {
        self.sent += bytes;
        self.sent_bytes += bytes as u64;
        assert!(
            self.sent <= self.output.len(),
            "more bytes sent than there were"
        );
        if self.sent < self.output.len() || self.output.is_empty() {
            return;
        }
        self.output.clear();
        self.sent = 0;
        self.send_until = None;
        if self.output.capacity() > HTTP_OUTPUT_BYTES_MAX {
            self.output = Vec::new();
        }
        if self.is_throttled {
            self.is_throttled = false;
            self.phase = Phase::fresh(now);
        }
        match self.phase {
            Phase::Finishing => self.finish(now),
            _ => self.advance(now),
        }
        self.check_invariants();
    }

    /// When [`Self::handle_deadline`] is due. `None` while an answer is awaited from us.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Head { .. } if self.is_throttled => None,
            Phase::Head {
                begun: false,
                since,
                ..
            } if self.holds_buffers() => {
                Some(since.saturating_add(HTTP_BUFFERS_IDLE.min(self.limits.recv_timeout)))
            }
            Phase::Head { since, .. } | Phase::Body { since, .. } => {
                Some(since.saturating_add(self.limits.recv_timeout))
            }
            Phase::Lingering { until, .. } => Some(until),
            Phase::Ready { .. } | Phase::Asked { .. } | Phase::Finishing | Phase::Over => None,
        };
        match (phase, self.send_until) {
            (Some(phase), Some(send)) => Some(phase.min(send)),
            (phase, send) => phase.or(send),
        }
    }

    /// Does what time asks for. Called too early, it does nothing.
    pub(crate) fn handle_deadline(&mut self, now: Now) {
        if self.send_until.is_some_and(|until| until <= now.monotonic) {
            // The peer takes nothing: what is left cannot be told to it.
            self.end();
            return;
        }
        let late =
            |since: Duration| since.saturating_add(self.limits.recv_timeout) <= now.monotonic;
        match self.phase {
            Phase::Head { .. } if self.is_throttled => {}
            Phase::Head {
                begun: false,
                since,
                ..
            } if late(since) => self.finish(now),
            Phase::Head { begun: false, .. }
                if self.deadline().is_some_and(|due| due <= now.monotonic) =>
            {
                self.release_buffers()
            }
            Phase::Head { since, .. } | Phase::Body { since, .. } if late(since) => {
                self.refuse(
                    Refusal::new(
                        Status::RequestTimeout,
                        "the request took too long to arrive",
                    ),
                    now,
                );
            }
            Phase::Lingering { until, .. } if until <= now.monotonic => self.end(),
            _ => {}
        }
        self.check_invariants();
    }

    /// Whether nothing is under way: no byte of a request and none of an answer.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Head { begun: false, .. }) && self.output.is_empty()
    }

    /// Whether no further request will be taken.
    #[must_use]
    pub fn closing(&self) -> bool {
        matches!(
            self.phase,
            Phase::Finishing | Phase::Lingering { .. } | Phase::Over
        )
    }

    /// True once, when the sending side of the socket is to be shut.
    pub(crate) fn poll_shutdown(&mut self) -> bool {
        match &mut self.phase {
            Phase::Lingering { told, .. } => !std::mem::replace(told, true),
            _ => false,
        }
    }

    /// Whether the socket is to be dropped.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Requests answered so far, those refused not counted.
    #[must_use]
    pub fn answered(&self) -> u32 {
        self.answered
    }

    /// Bytes of answers sent so far.
    #[must_use]
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Bytes of memory held for buffers.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        self.input.capacity() + self.output.capacity()
    }

    /// Answers what is no request that we take, as the last on this connection.
    fn refuse(&mut self, refusal: Refusal, now: Now) {
        let why = refusal.why.as_bytes();
        Answer::text(refusal.status, why).write(&mut self.output, Some("close"), true);
        self.note_output(now);
        self.finish(now);
        self.check_invariants();
    }

    /// Takes no more requests; ends when what there is to send is sent.
    fn finish(&mut self, now: Now) {
        self.clear_input();
        self.input = Vec::new();
        self.is_throttled = false;
        self.phase = match (self.output.is_empty(), self.peer_ended) {
            (false, _) => Phase::Finishing,
            (true, false) => Phase::Lingering {
                until: now.after(HTTP_LINGER),
                told: false,
            },
            (true, true) => Phase::Over,
        };
    }

    fn end(&mut self) {
        self.clear_input();
        self.output.clear();
        self.sent = 0;
        self.send_until = None;
        self.is_throttled = false;
        self.phase = Phase::Over;
    }

    fn note_output(&mut self, now: Now) {
        if self.send_until.is_none() && !self.output.is_empty() {
            self.send_until = Some(now.after(self.limits.send_timeout));
        }
    }

    fn clear_input(&mut self) {
        self.input.clear();
        self.head_at = 0;
        self.next_at = 0;
        if self.input.capacity() > HTTP_BUFFER_KEPT_BYTES_MAX {
            self.input = Vec::new();
        }
    }

    fn holds_buffers(&self) -> bool {
        self.output.is_empty() && self.buffer_bytes() > 0 && self.head_at == self.input.len()
    }

    fn release_buffers(&mut self) {
        if self.holds_buffers() {
            self.clear_input();
            self.input = Vec::new();
            self.output = Vec::new();
        }
    }

    fn check_invariants(&self) {
        debug_assert!(self.head_at <= self.next_at && self.next_at <= self.input.len());
        debug_assert!(self.sent < self.output.len() || self.output.is_empty() && self.sent == 0);
        debug_assert_eq!(self.send_until.is_some(), !self.output.is_empty());
        debug_assert!(!matches!(self.phase, Phase::Head { .. }) || self.head_at == self.next_at);
        debug_assert!(!self.is_throttled || matches!(self.phase, Phase::Head { begun: false, .. }));
        debug_assert!(
            !matches!(self.phase, Phase::Lingering { .. } | Phase::Over) || self.output.is_empty()
        );
    }
}

impl Phase {
    fn fresh(now: Now) -> Self {
        Self::Head {
            scanned: 0,
            line_at: 0,
            begun: false,
            since: now.monotonic,
        }
    }
}

#[cfg(test)]
mod tests;
