//! Lookups: what the backend is asked before a record is sent, and what its answer decides.
//!
//! Two kinds of records are looked up (`zscore`, for a sadd `sismember`):
//!
//! - a zadd or zrem that may be applied already: one that adds must not count twice, and none may
//!   come behind a later write of its member, which harms the set's order by score (guarantees,
//!   G4);
//! - a sadd or zadd whose time is over: what it did on the healthy master hangs on what was there
//!   (G5).
//!
//! ```text
//!                    ┌─ member not there ─┬─ time is over ────────────▶ completed: nothing is sent
//!  waits ─▶ looked up┤                    └─ else ────────────────────▶ written
//!    ▲               ├─ older version ────────────────────────────────▶ written (as below)
//!    │               ├─ its version ┬─ adds and may be applied, or
//!    │               │              │  sets and its time is over ─────▶ completed: nothing is sent
//!    │               │              └─ else ──────────────────────────▶ written
//!    │               └─ newer ┬─ may be applied, or
//!    │                        │  sets and its time is over ───────────▶ completed: nothing is sent
//!    │                        └─ else ────────────────────────────────▶ written
//!    └── any other answer, or none: the connection is closed, the answers had on it are forgotten
//! ```
//!
//! **What is written once the time is over** is what ends as on the healthy master (measured there
//! and on a replayed peer, hustdb 1.9):
//!
//! - hustdb heeds a sadd's ttl only for a member that it creates. One that exists lives on: it is
//!   written without a ttl. One that has the record's version needs nothing written; and if this
//!   record had made it, with a ttl, hustdb could sweep it before the write, which would make it
//!   again for ever.
//! - A zadd that changes a member's score or version takes its ttl with it, and nobody can read the
//!   member from then on, until another zadd. hustdb keeps it, with its version and its score, to
//!   which the next zadd adds. So it is written with a ttl of a second, also onto a member whose
//!   own time is over.
//! - A zadd that sets the score that is there changes nothing: neither version nor ttl, and HA logs
//!   the version that was there. So one that sets, and finds its own version, has nothing to do.
//! - One that adds and was surely not applied, but finds its version, comes late: live increments
//!   were counted past it. What they left can be read, so it is added without a ttl.
//!
//! What was found is kept, not what follows from it: a record's time may be over between the lookup
//! and the write. The decision is made again when the record is to be written.
//!
//! **In bursts.** A burst is writes from the front up to the first record that must be looked up,
//! and then lookups of that one and others behind it, each a whole request. Answers come in that
//! order. A finding holds until the first write of its key behind it, so a record is looked up only
//! if no record of its key between the last write of the burst and itself is still to be written.
//! (A write of its key in the same burst is done before the lookup: hustdb takes a connection's
//! requests one by one.) A finding is forgotten when its record is written, and with its
//! connection.

use std::cmp::Ordering::{self, Equal, Greater, Less};
use std::collections::HashSet;

use super::poison::order_of;
use super::resends::member_of;
use super::{Lane, LaneContext};
use crate::binlog::method::Ttl;
use crate::binlog::version::Origin;
use crate::binlog::{Lifetime, Record, version};
use crate::http::response::Response;
use crate::replay::in_flight::Kind;
use crate::replay::outcome::Settlement;

/// What the backend has of a record's member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Missing,
    /// A member, and how its version compares with the record's.
    Live(Ordering),
    /// The same, of a member whose time is over: nobody can read it, but the next zadd adds to it.
    Lapsed(Ordering),
}

/// What an answer to a lookup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// It says what the backend has.
    Found(Found),
    /// Our password is wrong.
    Refused,
    /// It is not an answer of a healthy hustdb.
    Trouble,
}

/// What is to be done about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Write it, as if it had so long to live.
    Write(Lifetime),
    /// Look it up first.
    Lookup,
    /// Nothing: it is completed so.
    Nothing(Settlement),
}

impl Due {
    /// Of a record that `may_be_applied`, where the backend was found to have `found`; `None` means
    /// that it was not asked.
    pub(super) fn of(
        record: &Record<'_>,
        value_bytes: usize,
        lifetime: Lifetime,
        may_be_applied: bool,
        found: Option<Found>,
    ) -> Self {
        let row = record.method.row();
        let has_expired =
            row.ttl == Ttl::OfMember && lifetime == Lifetime::Expired && !failpoint!(RemoveExpired);
        let is_resent = may_be_applied && record.is_harmful_twice();
        let may_add_twice = is_resent && record.adds() && !failpoint!(ResendZadd);
        // A removal without a version is taken whatever is there.
        let may_be_late =
            is_resent && !record.adds() && record.version > 0 && !failpoint!(ResendLate);
        // The answer to a write that lacks a name tells more than that to its lookup.
        if !(has_expired || may_add_twice || may_be_late) || !record.has_names(value_bytes) {
            return Self::Write(lifetime);
        }
        let is_score = row.score;
        match found {
            None if has_expired && failpoint!(SkipLookup) => Self::Write(lifetime),
            None => Self::Lookup,
            Some(Found::Live(Equal | Greater) | Found::Lapsed(Equal | Greater))
                if may_add_twice =>
            {
                Self::Nothing(Settlement::AppliedBefore)
            }
            Some(Found::Live(Greater) | Found::Lapsed(Greater)) if may_be_late => {
                Self::Nothing(Settlement::Superseded)
            }
            Some(Found::Missing | Found::Lapsed(Equal | Greater)) if has_expired => {
                Self::Nothing(Settlement::Absent)
            }
            Some(Found::Live(Equal | Greater)) if has_expired && !record.adds() => {
                Self::Nothing(Settlement::AppliedBefore)
            }
            Some(Found::Live(Less) | Found::Lapsed(Less))
                if has_expired && is_score && !failpoint!(KeepExpired) =>
            {
                Self::Write(Lifetime::Left(1))
            }
            Some(_) => Self::Write(lifetime),
        }
    }
}

/// What the answer to a lookup of this record says. Every answer that hustdb gives once it has
/// looked has a `Version`; one without is not its own, and says nothing of what it has.
pub(super) fn judge_lookup(response: &Response, record: &Record<'_>) -> Lookup {
    let origin = match record.adds() {
        true => Origin::Given,
        false => Origin::GivenOrStored,
    };
    let compare = |found: u32| match failpoint!(CompareNumbers) {
        true => found.cmp(&record.version),
        false => version::compare(found, record.version, origin),
    };
    match (response.status, response.version) {
        (200, Some(found)) => Lookup::Found(Found::Live(compare(found))),
        // hustdb keeps the version of what has expired, and adds to it. No member has version 0.
        (404, Some(found @ 1..)) => Lookup::Found(Found::Lapsed(compare(found))),
        // 412: no such table; 400: none can have this name. The write's answer will tell.
        (404 | 412 | 400, Some(_)) => Lookup::Found(Found::Missing),
        (401, None) if response.challenge => Lookup::Refused,
        _ => Lookup::Trouble,
    }
}

impl Lane {
    /// Adds lookups to the burst, at most `lookups_max`: of the record at `from`, which needs one,
    /// and of others behind it. Gives how many.
    pub(super) fn compose_lookups(
        &mut self,
        from: usize,
        lookups_max: usize,
        cx: &mut LaneContext<'_>,
    ) -> usize {
        let burst_bytes_max = self.burst_bytes_max(cx.settings);
        let end = self
            .pending
            .len()
            .min(from.saturating_add(self.window.records()));
        let (mut unwritten, mut scratch) = (HashSet::new(), Vec::new());
        let mut lookups = 0;
        for at in from..end {
            if lookups == lookups_max {
                break;
            }
            let pending = self.pending[at];
            if pending.done.is_some() {
                continue;
            }
            let record =
                Record::parse_checked(cx.held.bytes(pending.batch, pending.at, pending.bytes));
            let value_bytes = cx.held.value_bytes(pending.batch, &record);
            let is_long = cx.held.long_body(pending.batch).is_some();
            let order = order_of(cx.held, &pending, &mut scratch);
            let is_first = unwritten.insert(order);
            let lifetime = Lifetime::of(&record, pending.written_unix, cx.now.unix);
            let (maybe_sent, found) = (pending.maybe_sent, pending.found);
            let due = Due::of(&record, value_bytes, lifetime, maybe_sent, found);
            if due != Due::Lookup || !(is_first || failpoint!(AskOnceForAll)) {
                continue;
            }
            let start = self.in_flight.bytes();
            let template = &cx.settings.template;
            let head = self.in_flight.head();
            let lookup = template.compose_lookup_sized(&record, value_bytes, head);
            if lookup.target_end() > cx.settings.head_bytes_max {
                // So is its write's, for which it is rejected when it comes to the front.
                self.in_flight.truncate(start);
                continue;
            }
            let bytes = lookup.head_bytes + lookup.body_bytes;
            if start > 0 && (is_long || start + bytes > burst_bytes_max) {
                self.in_flight.truncate(start);
                break;
            }
            self.pending[at].member = member_of(&record, || order);
            self.push_request(Kind::Lookup, lookup, at, cx.held);
            lookups += 1;
            if is_long || start + bytes >= burst_bytes_max {
                break;
            }
        }
        cx.counters.asked.add(lookups as u64);
        lookups
    }

    /// Completes records at the front of which it is known that nothing is to be sent.
    pub(super) fn complete_front(&mut self, cx: &mut LaneContext<'_>) {
        while let Some(&front) = self.pending.front() {
            let done = front.done.or_else(|| {
                front.found?;
                let bytes = cx.held.bytes(front.batch, front.at, front.bytes);
                let record = Record::parse_checked(bytes);
                let lifetime = Lifetime::of(&record, front.written_unix, cx.now.unix);
                let value_bytes = cx.held.value_bytes(front.batch, &record);
                match Due::of(
                    &record,
                    value_bytes,
                    lifetime,
                    front.maybe_sent,
                    front.found,
                ) {
                    Due::Nothing(settlement) => Some(settlement),
                    Due::Write(_) | Due::Lookup => None,
                }
            });
            let Some(settlement) = done else {
                return;
            };
            self.settle_front(settlement, settlement == Settlement::Absent, cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::binlog::Method;

    fn record(method: Method, opt: i8) -> Record<'static> {
        Record {
            method,
            version: 5,
            key: b"m",
            expires_unix: 0,
            table: b"t",
            score: 1,
            opt,
            value: b"m",
        }
    }

    const FOUND: [Option<Found>; 8] = [
        None,
        Some(Found::Missing),
        Some(Found::Live(Less)),
        Some(Found::Lapsed(Less)),
        Some(Found::Live(Equal)),
        Some(Found::Lapsed(Equal)),
        Some(Found::Live(Greater)),
        Some(Found::Lapsed(Greater)),
    ];

    fn due(
        record: &Record<'_>,
        lifetime: Lifetime,
        may_be_applied: bool,
        found: Option<Found>,
    ) -> Due {
        Due::of(record, record.value.len(), lifetime, may_be_applied, found)
    }

    #[track_caller]
    fn check(record: &Record<'_>, lifetime: Lifetime, may_be_applied: bool, expected: [Due; 8]) {
        let due = FOUND.map(|found| due(record, lifetime, may_be_applied, found));
        assert_eq!(due, expected);
    }

    #[test]
    fn each_answer_decides_for_each_kind_of_record() {
        use Due::{Lookup, Nothing, Write};
        let (over, left) = (Lifetime::Expired, Lifetime::Left(9));
        let (write, write_over) = (Write(left), Write(over));
        let lapse = Write(Lifetime::Left(1));
        let gone = Nothing(Settlement::Absent);
        let before = Nothing(Settlement::AppliedBefore);
        let late = Nothing(Settlement::Superseded);
        for may in [false, true] {
            for method in Method::ALL {
                let expected = match (may, method) {
                    (true, Method::Zadd | Method::Zrem) => {
                        [Lookup, write, write, write, write, write, late, late]
                    }
                    _ => [write; 8],
                };
                check(&record(method, 0), left, may, expected);
            }
            check(&record(Method::Put, 0), over, may, [write_over; 8]);
            check(&record(Method::Hset, 0), over, may, [write_over; 8]);
            let expected = [
                Lookup, gone, write_over, write_over, before, gone, before, gone,
            ];
            check(&record(Method::Sadd, 0), over, may, expected);
        }
        let zadd = record(Method::Zadd, 0);
        let expected = [Lookup, gone, lapse, lapse, before, gone, before, gone];
        check(&zadd, over, false, expected);
        let expected = [Lookup, gone, lapse, lapse, before, gone, late, late];
        check(&zadd, over, true, expected);
        for opt in [i8::MIN, -1, 1, 2, i8::MAX] {
            let zadd = record(Method::Zadd, opt);
            check(&zadd, left, false, [write; 8]);
            let expected = [Lookup, write, write, write, before, before, before, before];
            check(&zadd, left, true, expected);
            let expected = [
                Lookup, gone, lapse, lapse, write_over, gone, write_over, gone,
            ];
            check(&zadd, over, false, expected);
            let expected = [Lookup, gone, lapse, lapse, before, before, before, before];
            check(&zadd, over, true, expected);
        }
    }

    /// hustdb takes it whatever version is there.
    #[test]
    fn a_removal_without_a_version_is_not_looked_up() {
        let zrem = Record {
            version: 0,
            ..record(Method::Zrem, 0)
        };
        let left = Lifetime::Left(9);
        check(&zrem, left, true, [Due::Write(left); 8]);
    }

    #[test]
    fn what_names_no_member_or_table_is_not_looked_up() {
        let mut zadd = record(Method::Zadd, 1);
        zadd.value = b"";
        assert_eq!(due(&zadd, Lifetime::Expired, true, None), Due::Lookup);
        zadd.key = b"";
        let write = Due::Write(Lifetime::Expired);
        assert_eq!(due(&zadd, Lifetime::Expired, true, None), write);
        let mut sadd = record(Method::Sadd, 0);
        sadd.table = b"";
        assert_eq!(due(&sadd, Lifetime::Expired, true, None), write);
    }

    #[test]
    fn an_answer_without_a_version_is_not_hustdbs_own() {
        for status in 200..600 {
            for version in [None, Some(0), Some(4), Some(5), Some(6)] {
                for challenge in [false, true] {
                    let response = Response {
                        status,
                        version,
                        version_error: None,
                        challenge,
                        close: false,
                        head_bytes: 0,
                        body_bytes: 0,
                    };
                    let expected = match (status, version) {
                        (200, Some(found)) => Lookup::Found(Found::Live(found.cmp(&5))),
                        (404, Some(found @ 1..)) => Lookup::Found(Found::Lapsed(found.cmp(&5))),
                        (404 | 412 | 400, Some(_)) => Lookup::Found(Found::Missing),
                        (401, None) if challenge => Lookup::Refused,
                        _ => Lookup::Trouble,
                    };
                    let record = record(Method::Zadd, 1);
                    assert_eq!(judge_lookup(&response, &record), expected, "{response:?}");
                }
            }
        }
    }

    proptest! {
        /// A time that ends between the lookup and the write needs no second lookup.
        #[test]
        fn what_was_found_decides_whatever_time_has_passed(opt: i8, may: bool, at in 1..8_usize) {
            for method in [Method::Sadd, Method::Zadd, Method::Zrem] {
                for lifetime in [Lifetime::Unlimited, Lifetime::Left(1), Lifetime::Expired] {
                    let found = due(&record(method, opt), lifetime, may, FOUND[at]);
                    prop_assert_ne!(found, Due::Lookup);
                }
            }
        }
    }
}
