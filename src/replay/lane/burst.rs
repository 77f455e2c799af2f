//! What goes in one burst: as many records from the front as may go at once.

use std::hint::black_box;

use super::{Lane, LaneContext, Sink, State, Step};
use crate::binlog::{Method, Record};
use crate::replay::exchange::Kind;

/// Records whose bytes are asked for together: about as many cache lines as a core waits for at one time.
const RECORDS_FETCHED: usize = 16;

impl Lane {
    /// Composes as many requests as may go at once, from the front on.
    pub(super) fn compose_burst<S: Sink>(&mut self, cx: &mut LaneContext<'_, S>) -> Step {
        if self.must_ask_others(cx) && !self.call_witness(cx) && self.is_alone(cx) {
            return self.compose_harmless(cx);
        }
        let settings = cx.settings;
        let burst_bytes_max = settings.burst_bytes.min(self.segment_bytes_max);
        let records_max = self
            .window
            .records()
            .min((settings.requests_per_connection - self.answers) as usize)
            .min(if self.has_witness() { 1 } else { usize::MAX })
            .min(cx.bucket.available(cx.now.monotonic));
        if records_max == 0 {
            // The rate's turn has not come. A witness stays where it is: if it were called and
            // asked for again each time, it would never be sent.
            return Step::Rest;
        }
        self.exchange.clear();
        self.fetch(records_max, cx);
        let mut resent = 0;
        let mut at = 0;
        while at < self.pending.len().min(records_max) {
            let pending = self.pending[at];
            let record =
                Record::parse_checked(cx.held.bytes(pending.batch, pending.at, pending.bytes));
            let start = self.exchange.bytes();
            let composed = settings
                .template
                .compose(&record, cx.now.unix, self.exchange.head());
            let first = at == 0;
            if composed.head_bytes > settings.head_bytes_max {
                self.exchange.truncate(start);
                if !first {
                    break;
                }
                let detail = format!(
                    "its request's head would have {} bytes, more than head_bytes_max ({}): hustdb would store it wrongly or crash",
                    composed.head_bytes, settings.head_bytes_max
                );
                self.reject_front("head_too_long", detail, cx);
                continue;
            }
            if planted!(SkipExpired) && first && composed.expired {
                self.exchange.truncate(start);
                self.settle_front(crate::replay::outcome::Settlement::Absent, true, cx);
                continue;
            }
            // The answer was about the front alone.
            let answered = self.cleared && (first || planted!(AskOnceForAll));
            let adds = composed.method == Method::Zadd && record.opt != 0;
            let must_ask = pending.maybe_sent && adds && !answered && !planted!(ResendZadd);
            let must_wait = composed.ttl && !cx.ttl_ready && !planted!(IgnoreTtlHold);
            let bytes = composed.head_bytes + composed.body_bytes;
            if must_wait || (!first && (must_ask || start + bytes > burst_bytes_max)) {
                self.exchange.truncate(start);
                break;
            }
            if must_ask {
                self.exchange.truncate(start);
                let question = settings
                    .template
                    .compose_question(&record, self.exchange.head());
                self.exchange.push(
                    Kind::Question,
                    question,
                    record.value,
                    pending.batch,
                    pending.at + pending.bytes,
                );
                cx.counters.asked.add(1);
                at += 1;
                break;
            }
            if composed.target_bytes > self.segment_bytes_max {
                cx.counters.long_targets.add(1);
            }
            self.exchange.push(
                Kind::Mutation,
                composed,
                record.value,
                pending.batch,
                pending.at + pending.bytes,
            );
            resent += u64::from(pending.sent);
            self.pending[at].sent = true;
            self.pending[at].maybe_sent = true;
            at += 1;
            if bytes >= burst_bytes_max {
                break;
            }
        }
        if at == 0 {
            self.dismiss_witness();
            return Step::Rest;
        }
        if resent > 0 {
            cx.counters.resent.add(resent);
        }
        cx.bucket.take(at);
        self.state = State::Busy {
            deadline: cx.now.after(settings.response_timeout),
        };
        Step::Transmit
    }

    /// Has the first records come into this core's cache all at one time. The feeder has written them on another core, and composing would wait for one
    /// after the other.
    fn fetch<S: Sink>(&self, records_max: usize, cx: &LaneContext<'_, S>) {
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
