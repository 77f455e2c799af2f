//! What comes back: answers, each for the record at the front.

use super::{Lane, LaneContext, Sink, State, Step, ready};
use crate::binlog::Record;
use crate::http::response::{self, Parsed, Response};
use crate::replay::exchange::Kind;
use crate::replay::held::HeldBatches;
use crate::replay::messages::Trouble;
use crate::replay::outcome::{Settlement, Verdict};

impl Lane {
    /// Takes whole answers off `received`. Gives how many bytes they had.
    pub(super) fn take_answers<S: Sink>(
        &mut self,
        received: &[u8],
        cx: &mut LaneContext<'_, S>,
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
                Ok(Parsed::Complete(response)) => response,
                Ok(Parsed::Partial) => break Ok(Some(self.wait_for_more(answers > 0, cx))),
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
        // Counted before what comes next: whether others moved since a failure is told by this number.
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

    fn wait_for_more<S: Sink>(&mut self, progress: bool, cx: &LaneContext<'_, S>) -> Step {
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

    /// One answer, to the record at the front. Gives how many records it ended: one, or none where it answers a question.
    fn take_answer<S: Sink>(
        &mut self,
        response: &Response,
        cx: &mut LaneContext<'_, S>,
    ) -> Result<u64, Trouble> {
        if !self.exchange.next_is_sent() {
            return Err(Trouble::Garbage(
                "an answer to a request that is not sent yet".into(),
            ));
        }
        let (kind, method, expired) = self.exchange.next();
        let verdict = match kind {
            Kind::Question => self.judge_stored(response, cx.held),
            Kind::Health => judge_health(response),
            Kind::Mutation => cx.settings.outcomes.judge(method, response),
        };
        let waited = self.pending.len();
        match (kind, verdict) {
            (_, Verdict::Refused) => return Err(Trouble::Refused),
            (_, Verdict::Trouble) | (Kind::Question | Kind::Health, Verdict::Reject(_)) => {
                return Err(Trouble::Answer(describe(response)));
            }
            (Kind::Mutation, Verdict::Reject(reason)) => {
                let detail = format!(
                    "the backend answered {} to {}",
                    describe(response),
                    method.name()
                );
                self.exchange.answered();
                self.reject_front(reason, detail, cx);
            }
            (Kind::Question, Verdict::Settle(Settlement::Absent)) => {
                self.exchange.answered();
                self.cleared = true;
            }
            (Kind::Health, Verdict::Settle(_)) => {
                self.exchange.answered();
                self.blame.handle_well();
            }
            (_, Verdict::Settle(settlement)) => {
                self.exchange.answered();
                self.settle_front(settlement, expired, cx);
            }
        }
        self.answers += 1;
        if self.exchange.unanswered() == 0 {
            self.window.grow();
            self.failures = 0;
            self.state = ready(cx);
            // Its batch may have been let go with this answer, and its body with it.
            self.exchange.clear();
        }
        Ok((waited - self.pending.len()) as u64)
    }

    /// What the answer to a question means: applied before, or `Absent`: not applied.
    fn judge_stored(&self, response: &Response, held: &HeldBatches) -> Verdict {
        let pending = self.pending[0];
        let record = Record::parse_checked(held.bytes(pending.batch, pending.at, pending.bytes));
        match (response.status, response.version) {
            (200, Some(stored)) if stored >= record.version => {
                Verdict::Settle(Settlement::AppliedBefore)
            }
            (200, Some(_)) | (404 | 412, _) => Verdict::Settle(Settlement::Absent),
            (401, None) if response.challenge => Verdict::Refused,
            _ => Verdict::Trouble,
        }
    }
}

/// What the answer to the harmless question means: hustdb's own answers, or something else. That the member is there only a hustdb can say,
/// with its version; a stranger says 200 to everything.
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
