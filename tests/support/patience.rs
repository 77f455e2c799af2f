//! Waiting without a sleep of a fixed length: look again and again, with an end to it.

use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on a machine that is busy with other things.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
/// Between the first looks, and at most. A look may cost something, and takes it from what is
/// waited for: who has waited long looks less often.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
const LOOK_INTERVAL_MAX: Duration = Duration::from_millis(100);
const LOOKS_A_DOUBLING: u32 = 20;

/// Looks until `condition` holds, and fails the test if it does not within [`DEADLINE`].
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(
        holds_within(DEADLINE, condition),
        "not within {DEADLINE:?}: {what}"
    );
}

/// Looks until there is something, and fails the test if there is nothing within [`DEADLINE`].
#[track_caller]
pub(crate) fn eventually_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(what, || {
        found = look();
        found.is_some()
    });
    found.expect("it was found")
}

/// Looks until `condition` holds; false if it does not within `deadline`.
pub(crate) fn holds_within(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if condition() {
            return true;
        }
        let waited = begin.elapsed();
        if waited >= deadline {
            return false;
        }
        thread::sleep((waited / LOOKS_A_DOUBLING).clamp(LOOK_INTERVAL, LOOK_INTERVAL_MAX));
    }
}
