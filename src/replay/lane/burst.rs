//! What goes in one burst: as many writes from the front as may go at once, then lookups of what is
//! behind them (see `lookup`).

use std::hint::black_box;

use super::lookup::Due;
use super::poison::order_of;
use super::resends::member_of;
use super::{Lane, LaneContext, LaneSettings, Pending, State, Step};
use crate::binlog::request::Composed;
use crate::binlog::{Lifetime, Record};
use crate::replay::batch_table::BatchTable;
use crate::replay::in_flight::Kind;
use crate::replay::outcome::Settlement;

/// Records whose bytes are asked for together: about as many cache lines as a core waits for at one
/// time.
const RECORDS_FETCHED: usize = 16;

/// Why a burst has no further write.
enum End {
    /// There is no further record, or no room for its request, or it must wait.
    Full,
    /// The record at this place must be looked up.
    Lookup(usize),
}

/// What became of a write on its way into a burst.
enum Write {
    /// Its request is in the burst. `is_last`: there is no room behind it.
    Added { is_last: bool },
    /// It needs no request, and is completed once those before it are.
    Waits,
    /// It was at the front, and has left the queue.
    Left,
    /// It is not part of this burst, which ends before it.
    Ends(End),
}

impl Lane {
    /// Composes as many requests as may go at once, from the front on.
    pub(super) fn compose_burst(&mut self, cx: &mut LaneContext<'_>) -> Step {
        if self.must_ask_others(cx) && !self.call_canary(cx) && self.is_alone(cx) {
            return self.compose_harmless(cx);
        }
        let answers_left = self.answers_left(cx.settings);
        let requests_max = self
            .window
            .records()
            .min(answers_left)
            .min(if self.has_canary() { 1 } else { usize::MAX })
            .min(cx.bucket.available(cx.now.monotonic));
        if requests_max == 0 {
            // The rate's turn has not come. A canary stays where it is: if it were called and
            // asked for again each time, it would never be sent.
            return Step::Rest;
        }
        let may_long_go = cx.long_trials.may_go(cx.now.monotonic);
        if !may_long_go && cx.held.long_body(self.pending[0].batch).is_some() {
            return Step::Rest;
        }
        self.in_flight.clear();
        self.fetch(requests_max, cx);
        let mut requests = 0;
        if let End::Lookup(from) = self.compose_writes(requests_max, &mut requests, cx) {
            let lookups_from = self.lookups_from.max(cx.lookups_from);
            let is_early = cx.now.monotonic < lookups_from;
            // The writes that follow go on this connection, too.
            let lookups_max = (answers_left - requests) / 2;
            if requests == 0 && is_early {
                self.dismiss_canary();
                self.disconnect(State::Waiting {
                    until: lookups_from,
                });
                return Step::Close;
            }
            if requests == 0 && lookups_max == 0 {
                self.disconnect(State::Idle);
                return Step::Close;
            }
            if !is_early {
                let lookups_max = lookups_max.min(requests_max - requests);
                requests += self.compose_lookups(from, lookups_max, cx);
            }
        }
        if requests == 0 {
            self.dismiss_canary();
            return Step::Rest;
        }
        cx.bucket.take(requests);
        if self.in_flight.is_long() {
            cx.long_trials
                .handle_begun(self.in_flight.bytes(), cx.now.monotonic);
        }
        self.state = State::Busy {
            deadline: cx.now.after(cx.settings.response_timeout),
        };
        Step::Transmit
    }

    /// Adds writes to the burst, and counts them in `requests`. Where it says that a record must be
    /// looked up, there is room for another request.
    fn compose_writes(
        &mut self,
        requests_max: usize,
        requests: &mut usize,
        cx: &mut LaneContext<'_>,
    ) -> End {
        let burst_bytes_max = self.burst_bytes_max(cx.settings);
        let mut at = 0;
        let mut resent = 0;
        let end = loop {
            if at == self.pending.len() || *requests == requests_max {
                break End::Full;
            }
            let was_sent = self.pending[at].sent;
            match self.compose_write(at, burst_bytes_max, cx) {
                Write::Added { is_last } => {
                    resent += u64::from(was_sent);
                    *requests += 1;
                    at += 1;
                    if is_last {
                        break End::Full;
                    }
                }
                Write::Waits => at += 1,
                Write::Left => {}
                Write::Ends(end) => break end,
            }
        };
        if resent > 0 {
            cx.counters.resent.add(resent);
        }
        end
    }

    /// Adds the write at this place to the burst, where it is due and there is room.
    fn compose_write(
        &mut self,
        at: usize,
        burst_bytes_max: usize,
        cx: &mut LaneContext<'_>,
    ) -> Write {
        let settings = cx.settings;
        let is_front = at == 0;
        let pending = self.pending[at];
        let record = Record::parse_checked(cx.held.bytes(pending.batch, pending.at, pending.bytes));
        let value_bytes = cx.held.value_bytes(pending.batch, &record);
        let is_long = cx.held.long_body(pending.batch).is_some();
        let lifetime = Lifetime::of(&record, pending.written_unix, cx.now.unix);
        let member = member_of(&record, || order_of(cx.held, &pending, &mut Vec::new()));
        self.pending[at].member = member;
        let due = match pending.done {
            Some(settlement) => Due::Nothing(settlement),
            None => {
                let (maybe_sent, found) = (pending.maybe_sent, pending.found);
                Due::of(&record, value_bytes, lifetime, maybe_sent, found)
            }
        };
        let written_with = match due {
            Due::Nothing(settlement) => {
                // Behind a write it waits for that one's answer: what is completed is in order.
                self.pending[at].done = Some(settlement);
                if !is_front {
                    return Write::Waits;
                }
                self.complete_front(cx);
                return Write::Left;
            }
            Due::Write(lifetime) => lifetime,
            Due::Lookup => lifetime,
        };
        let may_go = member.is_none_or(|member| self.resends.may_go(member));
        if due != Due::Lookup && !may_go {
            return Write::Ends(End::Full);
        }
        let start = self.in_flight.bytes();
        let head = self.in_flight.head();
        let template = &settings.template;
        let composed = Composed {
            expired: lifetime == Lifetime::Expired,
            ..template.compose_sized(&record, value_bytes, written_with, head)
        };
        if composed.target_end() > settings.head_bytes_max {
            self.in_flight.truncate(start);
            if !is_front {
                return Write::Ends(End::Full);
            }
            self.reject_long(&composed, cx);
            return Write::Left;
        }
        if due == Due::Lookup {
            self.in_flight.truncate(start);
            return Write::Ends(End::Lookup(at));
        }
        if failpoint!(SkipExpired) && is_front && composed.expired {
            self.in_flight.truncate(start);
            self.settle_front(Settlement::Absent, true, cx);
            return Write::Left;
        }
        let must_wait = composed.ttl && !cx.ttl_ready && !failpoint!(IgnoreTtlHold);
        let bytes = composed.head_bytes + composed.body_bytes;
        if must_wait || (start > 0 && (is_long || start + bytes > burst_bytes_max)) {
            self.in_flight.truncate(start);
            return Write::Ends(End::Full);
        }
        if !pending.sent {
            self.count_first_send(&record, pending, &composed, cx);
        }
        self.push_request(Kind::Write, composed, at, cx.held);
        let written = &mut self.pending[at];
        (written.sent, written.maybe_sent, written.found) = (true, true, None);
        let is_last = is_long || start + bytes >= burst_bytes_max;
        Write::Added { is_last }
    }

    /// Adds the request whose head was just composed, with the value of the record at this place,
    /// where the request has a body.
    pub(super) fn push_request(
        &mut self,
        kind: Kind,
        composed: Composed,
        at: usize,
        held: &BatchTable,
    ) {
        let number = self.completed + at as u64;
        let Pending {
            batch,
            at: start,
            bytes,
            ..
        } = self.pending[at];
        if composed.body_bytes > 0 && held.long_body(batch).is_some() {
            return self.in_flight.push_long(kind, composed, batch, number);
        }
        let value = Record::parse_checked(held.bytes(batch, start, bytes)).value;
        let value_end = start + bytes;
        self.in_flight
            .push(kind, composed, value, batch, value_end, number);
    }

    /// Bytes of a burst on this connection. A request that is larger goes alone.
    pub(super) fn burst_bytes_max(&self, settings: &LaneSettings) -> usize {
        settings.burst_bytes.min(self.segment_bytes_max)
    }

    /// Rejects the record at the front, whose request's target is too long.
    fn reject_long(&mut self, composed: &Composed, cx: &mut LaneContext<'_>) {
        let detail = format!(
            "its request's target would end at octet {}, and head_bytes_max is {}: hustdb reads \
             4,096 octets at a time, and would store it wrongly or crash",
            composed.target_end(),
            cx.settings.head_bytes_max
        );
        self.reject_front("head_too_long", detail, cx);
    }

    fn count_first_send(
        &self,
        record: &Record<'_>,
        pending: Pending,
        composed: &Composed,
        cx: &LaneContext<'_>,
    ) {
        if pending.written_unix == 0 && record.has_ttl() {
            cx.counters.ttl_unclear.add(1);
        }
        if composed.target_bytes > self.segment_bytes_max {
            if cx.counters.long_targets.load() == 0 {
                tracing::warn!(
                    backend = cx.settings.template.backend(),
                    bytes = composed.target_bytes,
                    segment_bytes = self.segment_bytes_max,
                    "a key is so long that its request line needs more than one segment of the \
                     connection. It is sent alone, as HA sends it; a backend that receives only a \
                     part of it may store it under a wrong key. Further ones are counted \
                     (long_targets)"
                );
            }
            cx.counters.long_targets.add(1);
        }
    }

    /// Has the first records come into this core's cache all at one time. The reader has written
    /// them on another core, and composing would wait for one after the other.
    fn fetch(&self, records_max: usize, cx: &LaneContext<'_>) {
        let count = self.pending.len().min(records_max).min(RECORDS_FETCHED);
        if count < 2 {
            return;
        }
        let records = self.pending.iter().take(count);
        let ends = records.map(|pending| {
            let bytes = cx.held.bytes(pending.batch, pending.at, pending.bytes);
            let first = bytes.first().map_or(0, |&octet| octet);
            let last = bytes.last().map_or(0, |&octet| octet);
            first.wrapping_add(last)
        });
        black_box(ends.fold(0, u8::wrapping_add));
    }
}
