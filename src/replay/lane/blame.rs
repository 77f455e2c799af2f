//! Whose fault a failure is: the record's, or the backend's.
//!
//! A record that has failed `attempts_max` times is set aside where the backend is otherwise well (guarantees, G8): it answered other
//! records since this one failed first. Where none is answered the lane looks for itself. Other lanes may be idle, or what
//! they would do may wait behind this very record:
//!
//! 1. A record of another key goes ahead of it, as a *witness*. Which one is left to chance, for it may be another that always fails.
//! 2. Where there is no other key, and all that the backend has in flight is in this lane, a harmless question stands in for it.
//!
//! Otherwise several lanes fail and none is answered: that is the backend's failure, and nothing is set aside.

use std::collections::HashSet;

use xxhash_rust::xxh3::xxh3_64;

use super::{Lane, LaneContext, Pending, Sink, State, Step};
use crate::binlog::key::order_hash;
use crate::binlog::{Method, Record};
use crate::limits::WITNESSES_LOOKED_AT_MAX;
use crate::replay::exchange::Kind;
use crate::replay::held::HeldBatches;
use crate::replay::messages::Trouble;

/// What the harmless question is about: a member of a sorted set that nobody has. The probe of a password asks the same.
const NOBODYS: Record<'static> = Record {
    method: Method::Zadd,
    version: 0,
    key: b"probe",
    expires_unix: 0,
    table: b"hustdbsync_probe",
    score: 0,
    opt: 0,
    value: b"",
};

/// Failures of one record. They outlast a flush, after which the same record is fed again.
#[derive(Debug, Default)]
pub(super) struct Blame {
    /// Hash of the record's bytes.
    record: u64,
    failures: u32,
    /// The backend's answers when it failed first.
    answers_at_first: u64,
    /// The harmless question was answered since then.
    asked_well: bool,
    /// Where the record at the front belongs, when it is there as a witness.
    witness: Option<usize>,
}

impl Blame {
    /// A record is settled, and leaves its place.
    pub(super) fn forget(&mut self, held: &HeldBatches, settled: Pending) {
        self.witness = None;
        if self.failures > 0 && self.record == fingerprint(held, settled) {
            *self = Self::default();
        }
    }

    /// The harmless question was answered.
    pub(super) fn handle_well(&mut self) {
        self.asked_well = true;
    }

    fn backend_is_well(&self, answers: u64) -> bool {
        self.asked_well || answers > self.answers_at_first
    }
}

impl Lane {
    /// Whether what is out is not the record that is to be judged, but another, or a question.
    pub(super) fn is_asking_others(&self) -> bool {
        self.blame.witness.is_some() || self.exchange.next().0 == Kind::Health
    }

    /// Whether the record at the front is there as a witness.
    pub(super) fn has_witness(&self) -> bool {
        self.blame.witness.is_some()
    }

    /// The record at the front failed.
    pub(super) fn count_failure<S: Sink>(
        &mut self,
        trouble: &Trouble,
        cx: &mut LaneContext<'_, S>,
    ) {
        let record = fingerprint(cx.held, self.pending[0]);
        let answers = cx.counters.answers.load();
        if self.blame.failures == 0 || self.blame.record != record {
            self.blame = Blame {
                record,
                answers_at_first: answers,
                ..Blame::default()
            };
        }
        self.blame.failures = self.blame.failures.saturating_add(1);
        if self.blame.failures >= cx.settings.attempts_max && self.blame.backend_is_well(answers) {
            let detail = format!(
                "it failed {} times while the backend was otherwise well; last: {trouble}",
                self.blame.failures
            );
            self.reject_front("attempts", detail, cx);
        }
    }

    /// Whether the record at the front has failed often enough, and nothing tells whether the backend is otherwise well.
    pub(super) fn must_ask_others<S: Sink>(&self, cx: &LaneContext<'_, S>) -> bool {
        self.blame.failures >= cx.settings.attempts_max
            && !self.blame.backend_is_well(cx.counters.answers.load())
            && !self.has_witness()
            && !self.cleared
            && self.blame.record == fingerprint(cx.held, self.pending[0])
    }

    /// Whether all that the backend has in flight is in this lane.
    pub(super) fn is_alone<S: Sink>(&self, cx: &LaneContext<'_, S>) -> bool {
        cx.counters.in_flight_records.load() <= self.pending.len() as u64
    }

    /// Puts a record of another key at the front. False: there is none.
    pub(super) fn call_witness<S: Sink>(&mut self, cx: &LaneContext<'_, S>) -> bool {
        let mut scratch = Vec::new();
        let mut order = |pending: &Pending| {
            let bytes = cx.held.bytes(pending.batch, pending.at, pending.bytes);
            order_hash(&Record::parse_checked(bytes), &mut scratch)
        };
        let mut keys = HashSet::from([order(&self.pending[0])]);
        // Only the first record of a key may go ahead of others (guarantees, G2).
        let firsts: Vec<usize> = (1..self.pending.len().min(WITNESSES_LOOKED_AT_MAX))
            .filter(|at| keys.insert(order(&self.pending[*at])))
            .collect();
        if firsts.is_empty() {
            return false;
        }
        let at = firsts[cx.jitter as usize % firsts.len()];
        let witness = self.pending.remove(at).expect("it is one of them");
        self.pending.push_front(witness);
        self.blame.witness = Some(at);
        true
    }

    /// Asks something that changes nothing, in place of a record.
    pub(super) fn compose_harmless<S: Sink>(&mut self, cx: &LaneContext<'_, S>) -> Step {
        self.exchange.clear();
        let template = &cx.settings.template;
        let question = template.compose_question(&NOBODYS, self.exchange.head());
        let front = self.pending[0];
        self.exchange
            .push(Kind::Health, question, NOBODYS.value, front.batch, front.at);
        cx.counters.asked.add(1);
        self.state = State::Busy {
            deadline: cx.now.after(cx.settings.response_timeout),
        };
        Step::Transmit
    }

    /// A witness that is not settled goes back to its place.
    pub(super) fn dismiss_witness(&mut self) {
        let Some(at) = self.blame.witness.take() else {
            return;
        };
        if let Some(witness) = self.pending.pop_front() {
            self.pending.insert(at.min(self.pending.len()), witness);
        }
    }
}

fn fingerprint(held: &HeldBatches, pending: Pending) -> u64 {
    xxh3_64(held.bytes(pending.batch, pending.at, pending.bytes))
}
