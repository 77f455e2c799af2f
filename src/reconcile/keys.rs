//! The distinct keys of any number of records, in bounded memory.
//!
//! The records are read several times. Each pass keeps the keys whose hash lies in one range, with
//! what the last record of each says. Where they grow beyond the bound, the range is halved and
//! the keys beyond it are dropped; the next pass begins where this one ended. So a log of any size
//! is compared with as much memory as a small one, and no key is compared twice.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use indexmap::IndexMap;
use indexmap::map::{Entry, IntoIter};
use xxhash_rust::xxh3::Xxh3;

use super::key::{KeyId, Logged};

/// Bytes that a key takes besides its own: its entry, its allocations.
const ENTRY_BYTES: usize = 128;

/// The keys of one range of hashes, in the order in which they first came: what lies side by side
/// in a log does so on a master.
#[derive(Debug)]
pub struct Keys {
    /// No key's hash is less.
    first: u64,
    /// No key's hash is more.
    last: u64,
    keys: IndexMap<Hashed, Logged, BuildHasherDefault<TakenHash>>,
    bytes: usize,
    bytes_max: usize,
}

impl Keys {
    /// The first pass, with room for about `bytes_max` bytes of keys.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            first: 0,
            last: u64::MAX,
            keys: IndexMap::default(),
            bytes: 0,
            bytes_max,
        }
    }

    /// A record of a key comes, after all that came before it.
    pub fn push(&mut self, key: KeyId, logged: Logged) {
        let hash = hash(&key);
        if !(self.first..=self.last).contains(&hash) {
            return;
        }
        let bytes = key.bytes() + ENTRY_BYTES;
        match self.keys.entry(Hashed { hash, key }) {
            Entry::Occupied(mut known) => known.get_mut().followed_by(logged),
            Entry::Vacant(place) => {
                place.insert(logged);
                self.bytes += bytes;
                while self.bytes > self.bytes_max && self.first < self.last {
                    self.halve();
                }
            }
        }
    }

    /// Whether this is the first pass.
    #[must_use]
    pub fn is_first_pass(&self) -> bool {
        self.first == 0
    }

    fn halve(&mut self) {
        self.last = self.first + (self.last - self.first) / 2;
        let (last, mut dropped) = (self.last, 0);
        self.keys.retain(|Hashed { hash, key }, _| {
            let stays = *hash <= last;
            if !stays {
                dropped += key.bytes() + ENTRY_BYTES;
            }
            stays
        });
        self.bytes -= dropped;
    }

    /// The pass is over: its keys, in the order in which they first came.
    pub fn take(&mut self) -> Pass {
        self.bytes = 0;
        Pass(std::mem::take(&mut self.keys).into_iter())
    }

    /// Begins the next pass. False: all hashes have been passed.
    #[must_use]
    pub fn begin_next(&mut self) -> bool {
        let Some(first) = self.last.checked_add(1) else {
            return false;
        };
        self.first = first;
        self.last = u64::MAX;
        true
    }
}

/// The keys of one pass, each with what its last record says.
#[derive(Debug, Default)]
pub struct Pass(IntoIter<Hashed, Logged>);

impl Iterator for Pass {
    type Item = (KeyId, Logged);

    fn next(&mut self) -> Option<Self::Item> {
        let (hashed, logged) = self.0.next()?;
        Some((hashed.key, logged))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Pass {}

/// A key with its hash, which is taken once.
#[derive(Debug, PartialEq, Eq)]
struct Hashed {
    hash: u64,
    key: KeyId,
}

impl Hash for Hashed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The hash that is there already.
#[derive(Default)]
struct TakenHash(u64);

impl Hasher for TakenHash {
    fn write(&mut self, _: &[u8]) {
        unreachable!("a Hashed writes its hash alone");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn hash(key: &KeyId) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&[key.kind as u8]);
    for part in [&*key.table, &*key.key, key.member()] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::reconcile::key::Kind;

    fn key(number: u32) -> KeyId {
        KeyId {
            kind: Kind::Key,
            table: Box::default(),
            key: format!("key.{number}").into_bytes().into(),
            body: None,
        }
    }

    fn logged(version: u32) -> Logged {
        Logged {
            version,
            version_max: version,
            ..Logged::default()
        }
    }

    /// All keys of all passes, how many passes there were, and the most keys that one held.
    fn all(records: &[u32], bytes_max: usize) -> (BTreeMap<KeyId, Logged>, usize, usize) {
        let mut keys = Keys::new(bytes_max);
        let (mut found, mut passes, mut most) = (BTreeMap::new(), 0, 0);
        loop {
            for (version, number) in (1..).zip(records) {
                keys.push(key(*number), logged(version));
                most = most.max(keys.keys.len());
            }
            passes += 1;
            for (key, logged) in keys.take() {
                assert_eq!(found.insert(key, logged), None, "a key of two passes");
            }
            if !keys.begin_next() {
                return (found, passes, most);
            }
        }
    }

    #[test]
    fn memory_is_bounded_however_many_keys_there_are() {
        let records: Vec<u32> = (0..20_000).collect();
        let (found, passes, most) = all(&records, 100 * (ENTRY_BYTES + 9));
        assert_eq!(found.len(), records.len());
        assert!(most <= 102, "{most} keys at once");
        assert!(passes < 900, "{passes} passes");
        let (found, passes, _) = all(&records, 1 << 30);
        assert_eq!((found.len(), passes), (records.len(), 1));
    }

    proptest! {
        #[test]
        fn every_key_comes_once_with_what_its_last_record_says(
            records in proptest::collection::vec(0..40_u32, 0..200),
            keys_max in 1..60_usize,
        ) {
            let (found, _, _) = all(&records, keys_max * (ENTRY_BYTES + 6));
            let expected: BTreeMap<KeyId, Logged> = (1..)
                .zip(&records)
                .map(|(version, number)| (key(*number), logged(version)))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
