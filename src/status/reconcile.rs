//! What comparing the keys of one backend with the other master's has found, at an instant
//! (docs/reconcile.md).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::counters::ReconcileCounters;

/// The word of `sync.reconcile` with which nothing is compared.
pub const OFF: &str = "off";

/// Why keys are not compared, so that each reason always has a sample.
pub const NOT_COMPARED: [&str; 9] = [
    "declined",
    "log_gone",
    "no_lookup",
    "no_other_master",
    "no_table",
    "not_in_table",
    "other_masters",
    "peer_unavailable",
    "slot_without_row",
];

/// See the module. All but the last four grow from the start of the process on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reconcile {
    /// `sync.reconcile`: `off`, `report` or `repair`.
    pub mode: Cow<'static, str>,
    /// Keys that were looked up on both masters.
    pub compared: u64,
    /// Of those: equal as they were found.
    pub equal: u64,
    /// Of those: copied from the peer.
    pub copied: u64,
    /// Of those: equal but for the version, which was raised on the peer.
    pub raised: u64,
    /// Of those: made anew on the peer, and written to both.
    pub made_anew: u64,
    /// Of those: deleted from the backend.
    pub deleted: u64,
    /// Of those: left different.
    pub reported: u64,
    /// Keys that were not compared.
    pub not_compared: u64,
    /// Keys in differences.jsonl on which the masters still differ.
    pub differences_left: u64,
    /// Finished logs that are kept until their keys are compared.
    pub logs_waiting: u64,
    /// Seconds for which the first of them has waited; 0 if there is none.
    pub lag_seconds: u64,
    /// What keeps them from being compared, as a sentence; empty where nothing does.
    pub waits_for: String,
}

impl Reconcile {
    /// Reads the counters. `None` where nothing is compared, and nothing was.
    #[must_use]
    pub fn load(counters: &ReconcileCounters, mode: &'static str, now_unix: u64) -> Option<Self> {
        let lag_seconds = match counters.since_unix.load() {
            0 => 0,
            since => now_unix.saturating_sub(since),
        };
        let found = Self {
            mode: Cow::Borrowed(OFF),
            equal: counters.equal.load(),
            copied: counters.copied.load(),
            raised: counters.raised.load(),
            made_anew: counters.made_anew.load(),
            deleted: counters.deleted.load(),
            reported: counters.reported.load(),
            not_compared: counters.skipped.total(),
            differences_left: counters.left.load(),
            logs_waiting: counters.logs_waiting.load(),
            lag_seconds,
            waits_for: counters.waits_for.load(),
            // Last, so that each key of those above is among them.
            compared: counters.compared.load(),
        };
        let nothing = Self {
            mode: Cow::Borrowed(OFF),
            ..Self::default()
        };
        (mode != OFF || found != nothing).then_some(Self {
            mode: Cow::Borrowed(mode),
            ..found
        })
    }

    /// Whether keys are compared by now.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.mode != OFF
    }

    /// Keys that were made equal.
    #[must_use]
    pub fn mended(&self) -> u64 {
        self.copied + self.raised + self.made_anew + self.deleted
    }
}

/// Keys that were not compared, by reason.
pub(super) fn not_compared(counters: &ReconcileCounters) -> Vec<(&'static str, u64)> {
    let known = counters.skipped.load();
    let count = |reason| {
        let found = known.iter().find(|(word, _)| *word == reason);
        found.map_or(0, |(_, count)| *count)
    };
    let mut all: Vec<_> = NOT_COMPARED
        .iter()
        .map(|reason| (*reason, count(*reason)))
        .collect();
    let others = known
        .iter()
        .filter(|(word, _)| !NOT_COMPARED.contains(word));
    all.extend(others);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_told_under_its_own_name() {
        let counters = ReconcileCounters::default();
        assert_eq!(Reconcile::load(&counters, OFF, 100), None);
        let on = Reconcile::load(&counters, "report", 100).unwrap();
        assert!(on.is_on());
        assert_eq!((on.compared, on.lag_seconds), (0, 0));

        let all = [
            ("compared", &counters.compared),
            ("equal", &counters.equal),
            ("copied", &counters.copied),
            ("raised", &counters.raised),
            ("made_anew", &counters.made_anew),
            ("deleted", &counters.deleted),
            ("reported", &counters.reported),
            ("differences_left", &counters.left),
            ("logs_waiting", &counters.logs_waiting),
        ];
        for (number, (_, counter)) in all.iter().enumerate() {
            counter.set(number as u64 + 1);
        }
        counters.skipped.add("no_table", 40);
        counters.skipped.add("declined", 2);
        counters.since_unix.set(70);
        counters.waits_for.set(Some("a:1 has records waiting"));
        let told = Reconcile::load(&counters, "repair", 100).unwrap();
        assert_eq!(told.mended(), 3 + 4 + 5 + 6);
        let told = serde_json::to_value(told).unwrap();
        for (number, (name, _)) in all.iter().enumerate() {
            assert_eq!(told[name], number as u64 + 1, "{name}");
        }
        assert_eq!(told["not_compared"], 42);
        assert_eq!(told["lag_seconds"], 30);
        assert_eq!(told["mode"], "repair");
        assert_eq!(told["waits_for"], "a:1 has records waiting");
        assert_eq!(told.as_object().unwrap().len(), all.len() + 4);
    }

    #[test]
    fn what_was_compared_before_it_was_switched_off_is_still_told() {
        let counters = ReconcileCounters::default();
        counters.left.set(3);
        let told = Reconcile::load(&counters, OFF, 100).unwrap();
        assert!(!told.is_on());
        assert_eq!(told.differences_left, 3);
    }

    #[test]
    fn every_reason_has_a_count_and_unknown_ones_do_too() {
        let counters = ReconcileCounters::default();
        counters.skipped.add("no_table", 4);
        counters.skipped.add("new", 1);
        let all = not_compared(&counters);
        assert_eq!(all.len(), NOT_COMPARED.len() + 1);
        assert!(all.contains(&("no_table", 4)) && all.contains(&("declined", 0)));
        assert_eq!(all.last(), Some(&("new", 1)));
    }
}
