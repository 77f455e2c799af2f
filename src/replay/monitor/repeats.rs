//! Which lane keeps failing while its backend is up: said once, and not for every lane of a broken
//! backend.
//!
//! A lane says when it fails, not when it goes on. So failures count as in a row while each comes
//! as soon behind the last as the lane's own delay and its waiting for an answer explain.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Now;
use crate::limits::{LANE_FAILURE_GAP, LANE_FAILURES_TO_WARN, LANE_WARN_INTERVAL};
use crate::replay::logged::LoggedRarely;
use crate::replay::messages::Epoch;

/// The failures of one backend's lanes. Bounded by the lanes that it has.
#[derive(Debug, Default)]
pub struct Repeats {
    epoch: Epoch,
    lanes: BTreeMap<u16, Row>,
    warned: LoggedRarely,
}

/// One lane's failures in a row.
#[derive(Debug)]
struct Row {
    failures: u32,
    last: Duration,
}

/// What there is to say about a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// Its failures in a row.
    pub failures: u32,
    /// Other lanes of the backend that have failed as often, and of which nothing is said.
    pub other_lanes: usize,
}

impl Repeats {
    /// A lane of a backend that is up has failed. Something is to be said after a few failures in a
    /// row, and about one lane of the backend at a time.
    pub fn handle_trouble(&mut self, lane: u16, epoch: Epoch, now: Now) -> Option<Repeated> {
        if epoch != self.epoch {
            // All lanes began anew; what was said about the backend being down is said.
            self.lanes.clear();
            self.epoch = epoch;
        }
        self.lanes
            .retain(|_, row| now.monotonic.saturating_sub(row.last) <= LANE_FAILURE_GAP);
        let row = self.lanes.entry(lane).or_insert(Row {
            failures: 0,
            last: now.monotonic,
        });
        row.failures = row.failures.saturating_add(1);
        row.last = now.monotonic;
        let failures = row.failures;
        if failures < LANE_FAILURES_TO_WARN || !self.warned.comes(LANE_WARN_INTERVAL, now) {
            return None;
        }
        let failing = self.lanes.values();
        let others = failing.filter(|row| row.failures >= LANE_FAILURES_TO_WARN);
        Some(Repeated {
            failures,
            other_lanes: others.count() - 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures `(milliseconds, lane, epoch)`, and the indices of those after which something is
    /// said.
    #[track_caller]
    fn check(failures: impl IntoIterator<Item = (u64, u16, Epoch)>, said: &[(usize, u32, usize)]) {
        let mut repeats = Repeats::default();
        let found: Vec<_> = failures
            .into_iter()
            .enumerate()
            .filter_map(|(nth, (ms, lane, epoch))| {
                let now = Now::new(Duration::from_millis(ms), 0);
                let said = repeats.handle_trouble(lane, epoch, now)?;
                Some((nth, said.failures, said.other_lanes))
            })
            .collect();
        assert_eq!(found, said);
    }

    #[test]
    fn the_third_failure_in_a_row_is_said_and_then_one_a_minute() {
        check((0..8).map(|nth| (nth * 100, 7, 1)), &[(2, 3, 0)]);
        check(
            (0..14).map(|nth| (nth * 10_000, 7, 1)),
            &[(2, 3, 0), (8, 9, 0)],
        );
    }

    #[test]
    fn failures_far_apart_or_of_several_lanes_or_epochs_are_no_row() {
        check((0..50).map(|nth| (nth * 31_000, 7, 1)), &[]);
        check(
            (0..8).map(|nth| (nth, u16::try_from(nth % 4).unwrap(), 1)),
            &[],
        );
        check([(0, 7, 1), (1, 7, 1), (2, 7, 2), (3, 7, 2)], &[]);
    }

    #[test]
    fn many_failing_lanes_are_one_line_which_counts_them() {
        let rounds = (0..300_u64).map(|nth| (nth * 20, u16::try_from(nth % 16).unwrap(), 1));
        check(rounds, &[(32, 3, 0)]);
        let rounds =
            (0..9_u64).flat_map(|round| (0..16).map(move |lane| (round * 10_000, lane, 1)));
        check(rounds, &[(2 * 16, 3, 0), (8 * 16, 9, 15)]);
    }
}
