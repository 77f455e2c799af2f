//! The versions that hustdb keeps of a key (docs/hustdb.md, "Versions").
//!
//! hustdb does not store the version that it is given: read back, from 64 on, it is another one
//! ([`stored`]). A live write counts on from there. So the versions of a key that is written again
//! and again rise in steps, fall once they have passed 65,536, and come round:
//!
//! ```text
//!  given   63   64   81   98 … 65,643   124 …  (192 later) 65,643 …
//!  stored  63   80   97  114 …    123   140 …
//! ```
//!
//! A lower number is then no older one. Which is older is told by how many writes lead from one to
//! the other.
//!
//! What is stored depends on the low 16 bits of what is given. So whatever one master tells can be
//! stored on the other one, too, over any version that is there ([`to_store`]).

use std::cmp::Ordering;

/// Below this a version is stored as it is given.
pub(crate) const STORED_OTHERWISE_FROM: u32 = 64;

/// So many writes at most are looked ahead: as many as may have been sent of one key without its
/// being known, and fewer than the 192 after which a version comes round. So what is up to 32
/// writes behind is told from what is ahead.
pub(crate) const WRITES_AHEAD_MAX: usize = 160;

/// What is fewer writes behind than this is told from what is ahead, also where the version has
/// fallen since.
pub const WRITES_BEHIND_MAX: usize = 192 - WRITES_AHEAD_MAX;

/// What hustdb reads back of a version that it was given (`set_version` and `version` of its
/// `md5db/bucket.h`: 6 bits of the number of 64s, which count 16 each, and the low 16 bits).
#[must_use]
pub fn stored(version: u32) -> u32 {
    version % 65_536 + 16 * (version / 64 % 64)
}

/// What the version of a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The one that the write was given.
    Given,
    /// That, or the one that was stored: a removal tells it, and so does a zadd that sets the score
    /// that is there.
    GivenOrStored,
}

/// How what a backend has, by the version that it tells, stands to a record of `version`: `Less` is
/// what was there before that was written, else it is what it left, or what later writes did.
///
/// A backend with a cache (`l2_cache`) tells the version that a write was given as long as it is
/// cached, else the one that is stored.
#[must_use]
pub fn compare(found: u32, version: u32, origin: Origin) -> Ordering {
    if found == version {
        return Ordering::Equal;
    }
    if found.checked_add(1) == Some(version) {
        return Ordering::Less;
    }
    let (left, kept) = (stored(version), stored(found));
    if found < version && [found, kept].contains(&left) {
        return Ordering::Equal;
    }
    let is_behind = |start| leads_to(start, found) || leads_to(start, kept);
    let is_later = is_behind(left) || origin == Origin::GivenOrStored && is_behind(version);
    // The version has fallen since.
    let has_fallen = || {
        let before = version.saturating_sub(1);
        let writes = |from| writes_between(from, before).unwrap_or(usize::MAX);
        kept == before || writes(kept).min(writes(found)) < WRITES_BEHIND_MAX
    };
    if is_later || found > version && !has_fallen() {
        Ordering::Greater
    } else {
        Ordering::Less
    }
}

/// The version that is stored of what a look has `seen`, where a read of its value tells `told`: a
/// backend with a cache (`l2_cache`) may tell what was given.
#[must_use]
pub fn as_seen(told: u32, seen: u32) -> u32 {
    if stored(told) == seen { seen } else { told }
}

/// How two versions that are stored stand: the later one is that to which fewer writes lead from
/// the other one. Where none lead from either to the other, the numbers say it.
#[must_use]
pub fn order_of_stored(one: u32, other: u32) -> Ordering {
    let writes = |from, to| writes_between(from, to).unwrap_or(usize::MAX);
    let by_writes = writes(one, other).cmp(&writes(other, one));
    by_writes.then_with(|| one.cmp(&other))
}

/// The version to be given, so that `wanted` is stored where `over` is (0: nothing): the lowest one
/// that hustdb takes. One above `over`, unless that is wanted: hustdb does not take a zadd of the
/// score that is there otherwise. `None`: nothing is stored as `wanted`.
#[must_use]
pub fn to_store(wanted: u32, over: u32) -> Option<u32> {
    let at_least = over.saturating_add(u32::from(wanted != over));
    let given = (0..64).filter_map(|of_64| {
        let low = wanted.checked_sub(16 * of_64)?;
        let raised = at_least
            .saturating_sub(low)
            .checked_next_multiple_of(65_536)?;
        (low < 65_536 && low / 64 % 64 == of_64).then(|| low + raised)
    });
    given.min()
}

/// The version to be given to replace what is stored, by the least that hustdb takes: the same one,
/// or that of the next write. A live write that came first is later, and is not lost, unless it is
/// the one whose version falls.
#[must_use]
pub fn to_replace(stored_version: u32) -> u32 {
    match stored(stored_version) == stored_version {
        true => stored_version,
        false => stored_version.saturating_add(1),
    }
}

/// Whether some writes, one behind the other, make what is stored this.
fn leads_to(stored_version: u32, found: u32) -> bool {
    writes_between(stored_version, found).is_some()
}

/// How many writes, one behind the other, make of one stored version the other one.
fn writes_between(mut from: u32, to: u32) -> Option<usize> {
    (1..WRITES_AHEAD_MAX).find(|_| {
        from = stored(from.saturating_add(1));
        from == to
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Origin::{Given, GivenOrStored};
    use super::*;
    use crate::fake_hustdb::store::{VERSION_MAX, kept_version, live_versions};

    #[test]
    fn what_is_stored_is_what_the_fake_hustdb_keeps() {
        for version in 0..=VERSION_MAX {
            assert_eq!(stored(version), kept_version(version), "{version}");
        }
    }

    /// As a running hustdb 1.9 has numbered them.
    #[test]
    fn live_writes_are_numbered_as_by_hustdb() {
        let versions: Vec<u32> = live_versions(61).take(8).collect();
        assert_eq!(versions, [62, 63, 64, 81, 98, 115, 132, 165]);
        let versions: Vec<u32> = live_versions(1_247).take(6).collect();
        assert_eq!(versions, [1_248, 1_553, 1_938, 2_419, 3_012, 3_765]);
    }

    #[test]
    fn versions_that_are_stored_as_they_are_given_compare_as_numbers() {
        for found in 0..STORED_OTHERWISE_FROM {
            for version in 1..STORED_OTHERWISE_FROM {
                for origin in [Given, GivenOrStored] {
                    assert_eq!(compare(found, version, origin), found.cmp(&version));
                }
            }
        }
    }

    /// The record 65,643 is the last one before the version falls to 124, and 9,056 is 156 writes
    /// before that.
    #[test]
    fn what_a_cache_tells_across_the_fall_is_later_or_earlier_all_the_same() {
        for origin in [Given, GivenOrStored] {
            for (found, version, expected) in [
                (124, 65_643, Ordering::Greater),
                (124, 9_056, Ordering::Greater),
                (65_643, 124, Ordering::Less),
                (65_643, 141, Ordering::Less),
                (98, 98, Ordering::Equal),
                (114, 98, Ordering::Greater),
                (81, 98, Ordering::Less),
                (115, 98, Ordering::Greater),
                (u32::MAX, 5, Ordering::Greater),
            ] {
                assert_eq!(
                    compare(found, version, origin),
                    expected,
                    "{found} {version}"
                );
            }
        }
    }

    #[test]
    fn what_was_given_is_what_was_seen() {
        assert_eq!(as_seen(98, 114), 114);
        assert_eq!(as_seen(114, 114), 114);
        assert_eq!(as_seen(97, 114), 97);
        assert_eq!(as_seen(7, 7), 7);
        assert_eq!(as_seen(7, 0), 7);
    }

    proptest! {
        /// Of whatever a backend has: what one write after the other has left. It tells what is
        /// stored, or, with a cache, what was given.
        #[test]
        fn each_write_is_told_from_those_before_and_behind_it(
            first in 0_u32..66_000,
            at in 0_usize..600,
        ) {
            let versions: Vec<u32> = live_versions(first).take(at + WRITES_AHEAD_MAX).collect();
            let record = versions[at];
            prop_assert_eq!(compare(record - 1, record, Given), Ordering::Less);
            for &later in &versions[at..] {
                for found in [stored(later), later] {
                    prop_assert_ne!(compare(found, record, Given), Ordering::Less, "{}", found);
                }
            }
            // A few writes back, as where the masters number differently.
            for &earlier in &versions[at.saturating_sub(24)..at] {
                for found in [stored(earlier), earlier] {
                    prop_assert_eq!(compare(found, record, Given), Ordering::Less, "{}", found);
                }
            }
        }

        /// A zadd that sets the score that is there changes nothing, and tells what is stored.
        #[test]
        fn what_comes_behind_a_record_of_the_stored_version_is_told_too(
            first in 0_u32..66_000,
            at in 0_usize..600,
        ) {
            let versions: Vec<u32> = live_versions(first).take(at + WRITES_AHEAD_MAX).collect();
            let record = stored(versions[at]);
            for &later in &versions[at + 1..] {
                for found in [stored(later), later] {
                    prop_assert_ne!(compare(found, record, GivenOrStored), Ordering::Less);
                }
            }
        }

        #[test]
        fn of_two_versions_of_one_key_the_one_behind_more_writes_is_later(
            at in 0_usize..600,
            ahead in 1_usize..96,
        ) {
            let versions: Vec<u32> = live_versions(0).take(at + ahead + 1).map(stored).collect();
            let (older, later) = (versions[at], versions[at + ahead]);
            prop_assert_eq!(order_of_stored(older, later), Ordering::Less);
            prop_assert_eq!(order_of_stored(later, older), Ordering::Greater);
            prop_assert_eq!(order_of_stored(later, later), Ordering::Equal);
        }

        #[test]
        fn what_one_master_stores_the_other_one_can_over_whatever_it_has(
            wanted in 1..=VERSION_MAX,
            over in 0..=VERSION_MAX,
        ) {
            let [wanted, over] = [wanted, over].map(stored);
            prop_assume!(wanted > 0);
            let given = to_store(wanted, over).unwrap();
            let lowest = if wanted == over { over } else { over + 1 };
            prop_assert!((lowest..=VERSION_MAX).contains(&given));
            prop_assert_eq!(stored(given), wanted);
            let lower = (lowest..given).rev().take(70_000);
            prop_assert!(lower.into_iter().all(|version| stored(version) != wanted));
        }

        #[test]
        fn what_is_replaced_has_the_version_of_one_more_write_at_most(
            at in 0_usize..600,
        ) {
            let versions: Vec<u32> = live_versions(0).take(at + 2).collect();
            let (found, next) = (stored(versions[at]), versions[at + 1]);
            let given = to_replace(found);
            prop_assert!(given == found && stored(given) == found || given == next);
        }

        #[test]
        fn no_number_makes_it_panic(found: u32, version: u32) {
            let _ = compare(found, version, GivenOrStored);
            let _ = order_of_stored(found, version);
            let _ = to_store(found, version);
            let _ = to_replace(found);
            let _ = as_seen(found, version);
        }
    }
}
