//! Handles failures of lanes: what they mean for their backend, and what is logged about them.

use super::Backend;
use crate::clock::Now;
use crate::replay::messages::{Epoch, FailedRecord, Trouble};
use crate::status::counters::{Counter, Failures};

impl Backend {
    pub(in crate::replay::controller) fn handle_trouble(
        &mut self,
        lane: u16,
        epoch: Epoch,
        trouble: &Trouble,
        record: Option<&FailedRecord>,
        now: Now,
    ) {
        let (log, line) = (
            record.map(|record| &*record.log),
            record.map(|record| record.line),
        );
        tracing::debug!(backend = %self.info.name, lane, epoch, log, line, "{trouble}");
        failures_like(trouble, &self.info.counters.failures).add(1);
        let others_answered = record.is_some_and(|record| record.others_answered);
        let answers = self.info.counters.answers.load();
        self.monitor
            .handle_trouble(lane, epoch, trouble, others_answered, answers, now);
        // A backend that is down by now logs the reason itself.
        if self.monitor.is_up()
            && epoch == self.monitor.epoch()
            && let Some(repeated) = self.repeats.handle_trouble(lane, epoch, now)
        {
            tracing::warn!(
                backend = %self.info.name,
                lane,
                log,
                line,
                failures = repeated.failures,
                other_lanes_failing = repeated.other_lanes,
                cause = %trouble,
                attempts_max = self.lane.attempts_max,
                "a connection keeps failing while its backend is up, the last time on this line; \
                 its records wait and are tried again, and one that fails attempts_max times while \
                 others are answered is rejected in rejected.jsonl"
            );
        }
    }
}

/// The counter for failures of this kind.
fn failures_like<'a>(trouble: &Trouble, failures: &'a Failures) -> &'a Counter {
    match trouble {
        Trouble::Connection(_) => &failures.connection,
        Trouble::Timeout => &failures.timeout,
        Trouble::Garbage(_) => &failures.garbage,
        Trouble::Answer(_) => &failures.answer,
        Trouble::Refused => &failures.refused,
    }
}
