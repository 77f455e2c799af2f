//! The reading half of a connection: from bytes to a whole request, or to a refusal.

use super::{Phase, ServerConnection};
use crate::clock::Now;
use crate::http::answer::Status;
use crate::http::chunked::{Chunked, Progress};
use crate::http::request::{Framing, Head, Refusal};
use crate::limits::HTTP_HEAD_BYTES_MAX;

/// What is left of a body that is being thrown away.
#[derive(Debug)]
pub(super) enum Body {
    Length { left: u64, bytes: u64 },
    Chunked(Chunked),
}

impl ServerConnection {
    pub(super) fn advance(&mut self, now: Now) {
        loop {
            let goes_on = match self.phase {
                Phase::Head { .. } if self.is_throttled => break,
                Phase::Head { .. } => self.advance_head(now),
                Phase::Body { .. } => self.advance_body(now),
                _ => break,
            };
            if !goes_on {
                // The rest of this request will never come.
                if self.peer_ended && !self.closing() {
                    self.finish(now);
                }
                break;
            }
        }
    }

    /// Looks for the end of a head; true if the phase has changed.
    fn advance_head(&mut self, now: Now) -> bool {
        let Phase::Head {
            scanned,
            line_at,
            begun,
            since,
        } = &mut self.phase
        else {
            return false;
        };
        if !*begun {
            // Empty lines before a request are let pass (RFC 9112, 2.2). They aren't the beginning
            // of one, so no deadline moves.
            while self.input[self.head_at..].starts_with(b"\r\n") {
                self.head_at += 2;
            }
            self.next_at = self.head_at;
            if matches!(self.input[self.head_at..], [] | [b'\r']) {
                if self.head_at == self.input.len() {
                    self.clear_input();
                }
                return false;
            }
            *begun = true;
            *since = now.monotonic;
        }
        let bytes = &self.input[self.head_at..];
        let looked_at = &bytes[..bytes.len().min(HTTP_HEAD_BYTES_MAX)];
        while let Some(found) = memchr::memchr(b'\n', &looked_at[*scanned..]) {
            let line_end = *scanned + found;
            let line = &looked_at[*line_at..line_end];
            *scanned = line_end + 1;
            *line_at = line_end + 1;
            match line {
                [b'\r'] => {
                    let head = &bytes[..line_end + 1];
                    match Head::parse(head) {
                        Ok(head) => self.begin_body(head, now),
                        Err(refusal) => self.refuse(refusal, now),
                    }
                    return true;
                }
                [.., b'\r'] => {}
                // httparse would take it for a line end, others take it for a part of the line.
                _ => {
                    self.refuse(Refusal::bad("a line ends without a carriage return"), now);
                    return true;
                }
            }
        }
        *scanned = looked_at.len();
        if bytes.len() >= HTTP_HEAD_BYTES_MAX {
            self.refuse(
                Refusal::new(Status::FieldsTooLarge, "the head is too long"),
                now,
            );
            return true;
        }
        false
    }

    fn begin_body(&mut self, head: Head, now: Now) {
        self.next_at = self.head_at + head.bytes;
        let body = match head.framing {
            Framing::Length(bytes) if bytes > self.limits.body_bytes_max => {
                let refusal = Refusal::new(
                    Status::ContentTooLarge,
                    "the body is larger than max_body_size",
                );
                return self.refuse(refusal, now);
            }
            Framing::Length(0) => {
                self.phase = Phase::Ready {
                    head,
                    body_bytes: 0,
                };
                return;
            }
            Framing::Length(bytes) => Body::Length { left: bytes, bytes },
            Framing::Chunked => Body::Chunked(Chunked::new()),
        };
        if head.expects_continue && self.limits.send_continue {
            self.output
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.note_output(now);
        }
        self.phase = Phase::Body {
            head,
            body,
            since: now.monotonic,
        };
    }

    /// Throws away what the input has of the body; true if the phase has changed.
    fn advance_body(&mut self, now: Now) -> bool {
        let Phase::Body { body, .. } = &mut self.phase else {
            return false;
        };
        match body.handle_piece(&self.input[self.next_at..], self.limits.body_bytes_max) {
            Ok(Progress::More) => {
                self.input.truncate(self.next_at);
                false
            }
            Ok(Progress::Done { used }) => {
                self.next_at += used;
                self.finish_body();
                true
            }
            Err(refusal) => {
                self.refuse(refusal, now);
                true
            }
        }
    }

    pub(super) fn finish_body(&mut self) {
        if let Phase::Body { head, body, .. } = &self.phase {
            self.phase = Phase::Ready {
                head: *head,
                body_bytes: body.bytes(),
            };
        }
    }
}

impl Body {
    pub(super) fn handle_piece(
        &mut self,
        piece: &[u8],
        body_bytes_max: u64,
    ) -> Result<Progress, Refusal> {
        match self {
            Self::Length { left, .. } => {
                let used = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(piece.len());
                *left -= used as u64;
                Ok(if *left == 0 {
                    Progress::Done { used }
                } else {
                    Progress::More
                })
            }
            Self::Chunked(chunked) => chunked.handle_piece(piece, body_bytes_max),
        }
    }

    /// Bytes of the body as announced.
    fn bytes(&self) -> u64 {
        match self {
            Self::Length { bytes, .. } => *bytes,
            Self::Chunked(chunked) => chunked.body_bytes(),
        }
    }
}
