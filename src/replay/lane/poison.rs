//! Whose fault a failure is: the record's, or the backend's.
//!
//! A record that has failed `attempts_max` times is rejected where the backend is otherwise well
//! (guarantees, G8). So a failure counts only if the backend answered something else since this
//! record failed before: however long a backend is ill, and however often, it adds one failure a
//! spell to a record that would be taken. Where nothing else is answered between two failures, the
//! lane looks for itself before it tries the record again. Other lanes may be idle, or what they
//! would do may wait behind this very record:
//!
//! 1. A record of another key goes ahead of it, as a *canary*: one that has not failed so itself,
//!    as long as there is one.
//! 2. Where there is none, the keys are few, and all that the backend has in flight is in this
//!    lane, a harmless question stands in for it.
//!
//! Otherwise many keys or several lanes fail and none is answered: that is the backend's failure,
//! and nothing is rejected.

use std::collections::HashSet;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{Lane, LaneContext, Pending, State, Step};
use crate::binlog::key::order_hash;
use crate::binlog::{Method, Record};
use crate::limits::{CANARIES_LOOKED_AT_MAX, KEYS_FAILING_ALONE_MAX};
use crate::replay::batch_table::BatchTable;
use crate::replay::in_flight::Kind;
use crate::replay::messages::{FailedRecord, Trouble};

/// What the harmless question is about: a member of a sorted set that nobody has. The probe of a
/// password asks the same.
const PROBE_RECORD: Record<'static> = Record {
    version: 0,
    table: b"hustdbsync_probe",
    ..Record::new(Method::Zadd, b"probe", b"")
};

/// Failures of one record. They outlast a flush, after which the same record is fed again.
#[derive(Debug, Default)]
pub(super) struct PoisonDetector {
    /// Hash of the record's bytes.
    record: u64,
    /// Its first failure, and each before which something else was answered.
    failures: u32,
    /// It has failed again with nothing else answered meanwhile: from now on others are asked
    /// before each try.
    suspected: bool,
    /// The backend's answers when it failed last.
    answers_at_last: u64,
    /// The harmless question was answered since then.
    asked_well: bool,
    /// Keys that failed as canaries since the last failure that counts, by their order hash.
    failed_canaries: HashSet<u64>,
    /// Where the record at the front belongs, when it is there as a canary.
    canary: Option<usize>,
}

impl PoisonDetector {
    /// A record is settled, and leaves its place.
    pub(super) fn forget(&mut self, held: &BatchTable, settled: Pending) {
        self.canary = None;
        if self.failures > 0 && self.record == fingerprint(held, settled) {
            *self = Self::default();
        }
    }

    /// The harmless question was answered.
    pub(super) fn handle_well(&mut self) {
        self.asked_well = true;
    }

    /// The judged record's failures that count.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    fn backend_is_well(&self, answers: u64) -> bool {
        self.asked_well || answers > self.answers_at_last
    }
}

impl Lane {
    /// Whether what is out is the harmless question.
    pub(super) fn is_asking_health(&self) -> bool {
        self.in_flight.next().kind == Kind::Health
    }

    /// Whether the record at the front is there as a canary.
    pub(super) fn has_canary(&self) -> bool {
        self.poison.canary.is_some()
    }

    /// The record at the front failed. Whether something else was answered since it did before.
    pub(super) fn count_failure(&mut self, trouble: &Trouble, cx: &mut LaneContext<'_>) -> bool {
        let record = fingerprint(cx.held, self.pending[0]);
        let answers_at_last = cx.counters.answers.load();
        let is_first = self.poison.failures == 0 || self.poison.record != record;
        let is_well = !is_first && self.poison.backend_is_well(answers_at_last);
        if is_first || is_well {
            self.poison = PoisonDetector {
                record,
                failures: if is_first {
                    1
                } else {
                    self.poison.failures.saturating_add(1)
                },
                suspected: is_well && self.poison.suspected,
                ..PoisonDetector::default()
            };
        } else {
            self.poison.suspected = true;
        }
        self.poison.answers_at_last = answers_at_last;
        if is_well && self.poison.failures >= cx.settings.attempts_max {
            let detail = format!(
                "it failed {} times while the backend was otherwise well; last: {trouble}",
                self.poison.failures
            );
            self.reject_front("attempts", detail, cx);
        }
        is_well
    }

    /// The place of the record whose answer is due: the front, unless a lookup is ahead of its
    /// turn.
    pub(super) fn due_at(&self) -> usize {
        let at = self.in_flight.next().record - self.completed;
        usize::try_from(at).expect("it is a place in a queue")
    }

    /// The record at this place, as one that failed.
    pub(super) fn failed(&self, at: usize, cx: &LaneContext<'_>) -> Option<FailedRecord> {
        let failed = self.pending.get(at)?;
        let origin = cx.held.origin(failed.batch);
        Some(FailedRecord {
            log: Arc::clone(&origin.log),
            line: origin.first_line + u64::from(failed.line) + 1,
            others_answered: false,
        })
    }

    /// What is out has failed; where it is a canary, another one is to be asked first.
    pub(super) fn note_failed_canary(&mut self, cx: &LaneContext<'_>) {
        if self.has_canary() {
            let key = order_of(cx.held, &self.pending[0], &mut Vec::new());
            self.poison.failed_canaries.insert(key);
        }
    }

    /// Whether the record at the front keeps failing, and nothing tells whether the backend has
    /// been well since it did last.
    pub(super) fn must_ask_others(&self, cx: &LaneContext<'_>) -> bool {
        self.poison.suspected
            && !self.poison.backend_is_well(cx.counters.answers.load())
            && !self.has_canary()
            && self.pending[0].found.is_none()
            && self.poison.record == fingerprint(cx.held, self.pending[0])
    }

    /// Whether all that the backend has in flight is in this lane, as far as the checkpointer has
    /// taken it in. It is not waited for: a backend's only lane sends before that, and where its
    /// record takes the backend down each time it would never be alone.
    pub(super) fn is_alone(&self, cx: &LaneContext<'_>) -> bool {
        cx.counters.in_flight_records.load() <= self.pending.len() as u64
    }

    /// Puts a record of another key at the front. False: there is none to put there.
    pub(super) fn call_canary(&mut self, cx: &LaneContext<'_>) -> bool {
        let mut scratch = Vec::new();
        let mut order = |pending: &Pending| order_of(cx.held, pending, &mut scratch);
        let mut keys = HashSet::from([order(&self.pending[0])]);
        // Only the first record of a key may go ahead of others (guarantees, G2).
        let firsts = (1..self.pending.len().min(CANARIES_LOOKED_AT_MAX)).filter_map(|at| {
            let key = order(&self.pending[at]);
            keys.insert(key).then_some((at, key))
        });
        let has_failed = &self.poison.failed_canaries;
        let (failed, others): (Vec<_>, Vec<_>) =
            firsts.partition(|(_, key)| has_failed.contains(key));
        let canaries = match others.len() {
            0 if failed.len() < KEYS_FAILING_ALONE_MAX && self.is_alone(cx) => return false,
            0 if failed.is_empty() => return false,
            0 => failed,
            _ => others,
        };
        let (at, _) = canaries[cx.jitter as usize % canaries.len()];
        let canary = self.pending.remove(at).expect("it is one of them");
        self.pending.push_front(canary);
        self.poison.canary = Some(at);
        true
    }

    /// Asks something that changes nothing, in place of a record.
    pub(super) fn compose_harmless(&mut self, cx: &LaneContext<'_>) -> Step {
        self.in_flight.clear();
        let template = &cx.settings.template;
        let question = template.compose_lookup(&PROBE_RECORD, self.in_flight.head());
        let front = self.pending[0];
        self.in_flight.push(
            Kind::Health,
            question,
            PROBE_RECORD.value,
            front.batch,
            front.at,
            self.completed,
        );
        cx.counters.asked.add(1);
        self.state = State::Busy {
            deadline: cx.now.after(cx.settings.response_timeout),
        };
        Step::Transmit
    }

    /// A canary that is not settled goes back to its place.
    pub(super) fn dismiss_canary(&mut self) {
        let Some(at) = self.poison.canary.take() else {
            return;
        };
        if let Some(canary) = self.pending.pop_front() {
            self.pending.insert(at.min(self.pending.len()), canary);
        }
    }
}

pub(super) fn order_of(held: &BatchTable, pending: &Pending, scratch: &mut Vec<u8>) -> u64 {
    if let Some(body) = held.long_body(pending.batch) {
        return body.order;
    }
    let bytes = held.bytes(pending.batch, pending.at, pending.bytes);
    order_hash(&Record::parse_checked(bytes), scratch)
}

fn fingerprint(held: &BatchTable, pending: Pending) -> u64 {
    if let Some(body) = held.long_body(pending.batch) {
        return body.line.digest;
    }
    xxh3_64(held.bytes(pending.batch, pending.at, pending.bytes))
}
