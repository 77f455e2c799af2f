//! What comes back: answers, in the order of the requests.

use super::lookup::{Lookup, judge_lookup};
use super::{Lane, LaneContext, LaneSettings, State, Step, ready};
use crate::binlog::{Method, Record};
use crate::http::response::{self, Response};
use crate::limits::{GATHER_MAX, HUSTDB_READ_BYTES};
use crate::replay::in_flight::Kind;
use crate::replay::messages::Trouble;
use crate::replay::outcome::{Settlement, Verdict};

impl Lane {
    /// Bytes of answers that a driver may let gather before it looks at any, where a burst is out
    /// and sent to its end: what is due of it, as far as that is sure. 1 where the next answer has
    /// to be seen as soon as it comes.
    #[must_use]
    pub fn answer_bytes_due(&self, settings: &LaneSettings) -> Option<usize> {
        if !self.awaits_answer() {
            return None;
        }
        let answers = self.in_flight.unanswered();
        if answers < 2 || settings.response_timeout < 2 * GATHER_MAX {
            return Some(1);
        }
        Some(self.answer_sizes.bytes_due(answers, self.received.len()))
    }

    /// Takes whole answers off `received`. Gives how many bytes they had.
    pub(super) fn take_answers(
        &mut self,
        received: &[u8],
        cx: &mut LaneContext<'_>,
    ) -> (usize, Step) {
        let mut taken = 0;
        let mut answers = 0;
        let end = loop {
            if !self.is_busy() {
                break if taken < received.len() {
                    Err(Trouble::Garbage("more answers than requests".into()))
                } else {
                    Ok(None)
                };
            }
            let response = match response::parse(&received[taken..]) {
                Ok(Some(response)) => response,
                Ok(None) => break Ok(Some(self.wait_for_more(answers > 0, cx))),
                Err(fault) => break Err(Trouble::Garbage(fault.to_string())),
            };
            taken += response.bytes();
            match self.take_answer(&response, cx) {
                Ok(settled) => answers += settled,
                Err(trouble) => break Err(trouble),
            }
            if response.close {
                break self.close_after_answer().map(Some);
            }
        };
        // Counted before what comes next: whether others moved since a failure is told by this
        // number.
        if answers > 0 {
            cx.counters.answers.add(answers);
            let took = cx.now.monotonic.saturating_sub(self.composed_at);
            cx.counters.requests.observe(took, answers);
        }
        let step = match end {
            Ok(Some(step)) => step,
            Ok(None) => self.poll_step(cx),
            Err(trouble) => self.fail(trouble, cx),
        };
        (taken, step)
    }

    fn wait_for_more(&mut self, progress: bool, cx: &LaneContext<'_>) -> Step {
        if progress {
            self.state = State::Busy {
                deadline: cx.now.after(cx.settings.response_timeout),
            };
        }
        Step::Rest
    }

    fn close_after_answer(&mut self) -> Result<Step, Trouble> {
        if self.is_busy() {
            let why = "the backend closes the connection after an answer";
            return Err(Trouble::Connection(why.into()));
        }
        self.disconnect(State::Idle);
        Ok(Step::Close)
    }

    /// One answer, to the request that is due. Gives how many records it ended: none where it
    /// answers a lookup after which the record is to be written.
    fn take_answer(
        &mut self,
        response: &Response,
        cx: &mut LaneContext<'_>,
    ) -> Result<u64, Trouble> {
        if !self.in_flight.next_is_sent() {
            return Err(Trouble::Garbage(
                "an answer to a request that is not sent yet".into(),
            ));
        }
        let waited = self.pending.len();
        match self.in_flight.next().kind {
            Kind::Write => self.take_written(response, cx)?,
            Kind::Lookup => self.take_found(response, cx)?,
            Kind::Health => self.take_health(response)?,
        }
        self.answers += 1;
        self.answer_sizes.handle_answer(response.bytes());
        self.complete_front(cx);
        if self.in_flight.unanswered() == 0 {
            self.answer_sizes.handle_burst();
            if self.in_flight.is_long() {
                cx.long_trials.handle_answered();
            }
            self.window.grow();
            self.failures = 0;
            self.state = ready(cx);
            // Its batch may have been let go with this answer, and its body with it.
            self.in_flight.clear();
        }
        Ok((waited - self.pending.len()) as u64)
    }

    /// The answer to a write: of the record at the front, since answers come in order.
    fn take_written(
        &mut self,
        response: &Response,
        cx: &mut LaneContext<'_>,
    ) -> Result<(), Trouble> {
        let due = self.in_flight.next();
        let (method, expired) = (due.method, due.expired);
        let may_be_spoilt = response.status == 401 && due.ends_with_a_read();
        assert_eq!(
            due.record, self.completed,
            "only the record at the front can be acknowledged"
        );
        match cx.settings.outcomes.judge(method, response) {
            Verdict::Refused => return Err(Trouble::Refused),
            Verdict::Trouble => return Err(Trouble::Answer(describe(response))),
            // Sent again, on another connection, as often as any record that fails by itself.
            Verdict::Reject(_) if may_be_spoilt => {
                let answer = describe(response);
                return Err(Trouble::Answer(format!(
                    "{answer}, to a target that ends exactly at octet {HUSTDB_READ_BYTES}, where \
                     hustdb may misread it"
                )));
            }
            Verdict::Reject(reason) => {
                self.in_flight.answered();
                let (reason, detail) = self.rejection(reason, method, response, cx);
                self.reject_front(reason, detail, cx);
            }
            Verdict::Settle(settlement) => {
                self.in_flight.answered();
                self.settle_front(settlement, expired, cx);
            }
        }
        Ok(())
    }

    /// Why the record at the front is rejected: one word and a sentence.
    fn rejection(
        &self,
        reason: &'static str,
        method: Method,
        response: &Response,
        cx: &LaneContext<'_>,
    ) -> (&'static str, String) {
        let front = self.pending[0];
        let record = Record::parse_checked(cx.held.bytes(front.batch, front.at, front.bytes));
        if response.status == 404 && method.row().val_argument && record.value.is_empty() {
            let detail = "HA did not keep the value: the client wrote it as `val=` in the query, \
                          or sent none. Read the key from the healthy master and write it again, \
                          with the value as the request's body";
            return ("value_not_kept", detail.into());
        }
        let answer = describe(response);
        let detail = format!("the backend answered {answer} to {}", method.name());
        (reason, detail)
    }

    /// The answer to a lookup.
    fn take_found(&mut self, response: &Response, cx: &LaneContext<'_>) -> Result<(), Trouble> {
        let at = self.due_at();
        let pending = &mut self.pending[at];
        let bytes = cx.held.bytes(pending.batch, pending.at, pending.bytes);
        match judge_lookup(response, &Record::parse_checked(bytes)) {
            Lookup::Refused => return Err(Trouble::Refused),
            Lookup::Trouble => return Err(Trouble::Answer(describe(response))),
            Lookup::Found(found) => pending.found = Some(found),
        }
        self.has_findings = true;
        self.in_flight.answered();
        Ok(())
    }

    /// The answer to the harmless question.
    fn take_health(&mut self, response: &Response) -> Result<(), Trouble> {
        match judge_health(response) {
            Verdict::Refused => return Err(Trouble::Refused),
            Verdict::Settle(_) => {}
            Verdict::Trouble | Verdict::Reject(_) => {
                return Err(Trouble::Answer(describe(response)));
            }
        }
        self.in_flight.answered();
        self.poison.handle_well();
        Ok(())
    }
}

/// What the answer to the harmless question means: hustdb's own answers, or something else. That
/// the member is there only a hustdb can say, with its version; a stranger says 200 to everything.
fn judge_health(response: &Response) -> Verdict {
    match response.status {
        404 | 412 => Verdict::Settle(Settlement::Absent),
        200 if response.version.is_some() => Verdict::Settle(Settlement::Absent),
        401 if response.challenge => Verdict::Refused,
        _ => Verdict::Trouble,
    }
}

fn describe(response: &Response) -> String {
    match (response.status, response.version_error) {
        (200, None) => "200 without VerError: is it a hustdb?".into(),
        (status, _) => status.to_string(),
    }
}
