//! What leaves: how far a burst is sent, and the pieces of a body that is too long to be held.

use std::sync::Arc;
use std::time::Duration;

use super::{Lane, LaneContext, State, Step};
use crate::replay::batch_table::BatchKey;
use crate::replay::chunk::{Chunk, Share};
use crate::replay::messages::Trouble;

impl Lane {
    /// Whether a burst is out of which something can happen without the reader.
    #[must_use]
    pub fn is_busy_by_itself(&self) -> bool {
        self.is_busy() && !self.in_flight.is_starved()
    }

    /// Whether a burst is out and sent to its end.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        self.is_busy() && self.in_flight.is_sent()
    }

    /// The driver has sent `bytes` of what is outgoing.
    pub fn handle_sent(&mut self, bytes: usize, cx: &mut LaneContext<'_>) -> Step {
        self.in_flight.handle_sent(bytes);
        if self.in_flight.is_cut_in_target() {
            // hustdb would read past what it received, or store under a wrong key: it must never
            // see the rest.
            return self.fail(
                Trouble::Connection("the system took only a part of a request line".into()),
                cx,
            );
        }
        if self.in_flight.is_starved() {
            // Whoever is late now is the reader, not the backend.
            self.state = State::Busy {
                deadline: Duration::MAX,
            };
            return Step::Rest;
        }
        self.state = State::Busy {
            deadline: cx.now.after(cx.settings.response_timeout),
        };
        if self.in_flight.is_sent() {
            Step::Rest
        } else {
            Step::Transmit
        }
    }

    /// The piece of a body to ask the reader for now, where one is to be: of which batch's record,
    /// from which byte of the value on, and which of the lane's bodies it is.
    #[must_use]
    pub fn poll_body_request(&mut self) -> Option<(BatchKey, u64, u64)> {
        self.in_flight.poll_body_request()
    }

    /// A piece of a body that is not needed any more, to be given back.
    pub fn poll_spent(&mut self) -> Option<Arc<Chunk>> {
        self.in_flight.poll_spent()
    }

    /// Whether a piece of the lane's `nth` body is waited for.
    #[must_use]
    pub fn wants_body(&self, nth: u64) -> bool {
        self.in_flight.wants_body(nth)
    }

    /// The piece that was asked for, and is wanted. None: the log has not got it any more, so the
    /// record is rejected. What was sent of it is no request, and the connection is closed before
    /// it could become one.
    pub fn handle_body(&mut self, piece: Option<Share>, cx: &mut LaneContext<'_>) -> Step {
        let Some(piece) = piece else {
            let detail =
                "its log has not got the bytes any more that were read of it: somebody changed it";
            self.reject_front("log_changed", detail.to_owned(), cx);
            self.disconnect(State::Idle);
            return Step::Close;
        };
        let was_starved = self.in_flight.is_starved();
        self.in_flight.handle_body(piece);
        if was_starved {
            self.state = State::Busy {
                deadline: cx.now.after(cx.settings.response_timeout),
            };
        }
        Step::Transmit
    }
}
