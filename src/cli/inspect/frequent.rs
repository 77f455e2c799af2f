//! Keys that repeat, in bounded memory: the space-saving algorithm (Metwally, Agrawal and El
//! Abbadi, 2005).
//!
//! So many counters are kept. A key without one takes over that of the least count, and with it the
//! count, which then may be too high by what it was: `error`. Every key that comes more often than
//! the records divided by the counters has one at the end, and its true count lies between `count -
//! error` and `count`.

use std::collections::{BTreeSet, HashMap};

/// Counters.
const COUNTERS: usize = 1024;

/// Octets of a name that are kept for showing it.
const NAME_BYTES_MAX: usize = 256;

/// A key that came often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frequent {
    /// How often at the most.
    pub(super) count: u64,
    /// By how much that may be too high.
    pub(super) error: u64,
    /// Its table and key as they were spelt first, cut to a length that can be shown.
    pub(super) table: Vec<u8>,
    /// See `table`.
    pub(super) key: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keys {
    counters_max: usize,
    by_key: HashMap<u64, Frequent>,
    /// Every counter's count and key, for the least.
    by_count: BTreeSet<(u64, u64)>,
}

impl Default for Keys {
    fn default() -> Self {
        Self::with_counters(COUNTERS)
    }
}

impl Keys {
    fn with_counters(counters_max: usize) -> Self {
        Self {
            counters_max,
            by_key: HashMap::new(),
            by_count: BTreeSet::new(),
        }
    }

    /// Counts one more of what has this hash.
    pub(super) fn add(&mut self, hash: u64, table: &[u8], key: &[u8]) {
        if let Some(known) = self.by_key.get_mut(&hash) {
            self.by_count.remove(&(known.count, hash));
            known.count += 1;
            self.by_count.insert((known.count, hash));
            return;
        }
        let error = if self.by_key.len() < self.counters_max {
            0
        } else {
            let (least, rarest) = self
                .by_count
                .pop_first()
                .expect("there are as many as in the map, and that is full");
            self.by_key.remove(&rarest);
            least
        };
        let cut = |name: &[u8]| name[..name.len().min(NAME_BYTES_MAX)].to_vec();
        self.by_key.insert(
            hash,
            Frequent {
                count: error + 1,
                error,
                table: cut(table),
                key: cut(key),
            },
        );
        self.by_count.insert((error + 1, hash));
    }

    /// Those that came more than once for certain, the most frequent first, `most` at the most.
    pub(super) fn top(&self, most: usize) -> Vec<&Frequent> {
        self.by_count
            .iter()
            .rev()
            .map(|(_, hash)| &self.by_key[hash])
            .filter(|found| found.count - found.error > 1)
            .take(most)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_that_repeat_are_counted_and_those_that_do_not_are_not_shown() {
        let mut keys = Keys::default();
        for (hash, times) in [(1, 5), (2, 1), (3, 2)] {
            for _ in 0..times {
                keys.add(hash, b"t", format!("k{hash}").as_bytes());
            }
        }
        let top = keys.top(10);
        let said: Vec<_> = top
            .iter()
            .map(|found| (&found.key[..], found.count, found.error))
            .collect();
        assert_eq!(said, [(&b"k1"[..], 5, 0), (b"k3", 2, 0)]);
        assert_eq!(keys.top(1).len(), 1);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_whatever_is_frequent_is_found(
            stream in proptest::collection::vec(0..40_u64, 0..600),
        ) {
            let mut keys = Keys::with_counters(8);
            let mut exact = HashMap::<u64, u64>::new();
            for &hash in &stream {
                keys.add(hash, b"", &hash.to_le_bytes());
                *exact.entry(hash).or_default() += 1;
            }
            prop_assert!(keys.by_key.len() <= 8 && keys.by_key.len() == keys.by_count.len());
            for (hash, found) in &keys.by_key {
                let count = exact[hash];
                prop_assert!(found.count - found.error <= count && count <= found.count);
            }
            for (hash, count) in exact {
                prop_assert!(count <= stream.len() as u64 / 8 || keys.by_key.contains_key(&hash));
            }
        }
    }
}
