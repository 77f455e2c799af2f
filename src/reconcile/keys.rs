//! The distinct keys of any number of records, in bounded memory.
//!
//! The records are read several times. Each pass keeps the keys whose hash lies in one range, with
//! what the last record of each says. Where they grow beyond the bound, the range is halved and
//! the keys beyond it are dropped; the next pass begins where this one ended. So a log of any size
//! is compared with as much memory as a small one, and no key is compared twice.
//!
//! All spellings of a key are one key, in its first spelling. HA may have other masters for
//! another one.
//!
//! The keys of a pass lie encoded behind one another, without an allocation of their own, so that
//! the bound is what they take, save for what vectors keep in reserve.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashTable;

use super::key::{KeyId, KeyRef, Logged};
use super::table::slot_of;

/// Bytes that a key takes besides its own: its entry, and its share of a table that is half full.
const ENTRY_BYTES: usize = size_of::<Entry>() + 2 * (size_of::<u32>() + 1);

/// Bytes that a slot of another spelling takes: the first one of a key has a node of two trees.
const OTHER_SLOT_BYTES: usize = 128;

/// The keys of one range of hashes, in the order in which they first came: what lies side by side
/// in a log does so on a master.
#[derive(Debug)]
pub struct Keys {
    /// No key's hash is less.
    first: u64,
    /// No key's hash is more.
    last: u64,
    entries: Vec<Entry>,
    /// The keys of the entries, encoded.
    encoded: Vec<u8>,
    /// Where in `entries` a key is.
    places: HashTable<u32>,
    /// Where other spellings of a key have other slots of HA's table: these, by the key's hash.
    other_slots: BTreeMap<u64, BTreeSet<u16>>,
    /// How many slots these are in all.
    other_slots_count: usize,
    /// The key that comes, encoded.
    coming: Vec<u8>,
    bytes_max: usize,
}

/// A key of a pass.
#[derive(Debug)]
struct Entry {
    hash: u64,
    /// Where it ends among the encoded keys; it begins where the one before it ends.
    end: u32,
    logged: Logged,
}

impl Keys {
    /// The first pass, with room for `bytes_max` bytes of keys, and for one key however long.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            first: 0,
            last: u64::MAX,
            entries: Vec::new(),
            encoded: Vec::new(),
            places: HashTable::new(),
            other_slots: BTreeMap::new(),
            other_slots_count: 0,
            coming: Vec::new(),
            bytes_max,
        }
    }

    /// A record of a key comes, after all that came before it. `logged` is called if the key
    /// belongs to this pass.
    pub fn push(&mut self, key: KeyRef<'_>, logged: impl FnOnce() -> Logged) {
        let hash = key.hash();
        if !(self.first..=self.last).contains(&hash) {
            return;
        }
        self.coming.clear();
        key.encode(&mut self.coming);
        let (entries, encoded, coming) = (&self.entries, &self.encoded, &self.coming);
        let spelled = |place: &u32| &encoded[span(entries, *place as usize)];
        let is_same = |place: &u32| {
            let is_candidate = entries[*place as usize].hash == hash;
            let first = spelled(place);
            let is_it = || *first == **coming || KeyRef::decode(first).is(&key);
            is_candidate && is_it()
        };
        if let Some(place) = self.places.find(hash, is_same) {
            let first = spelled(place);
            if *first != **coming {
                let slot = slot_of(&key);
                if slot_of(&KeyRef::decode(first)) != slot {
                    let slots = self.other_slots.entry(hash).or_default();
                    self.other_slots_count += usize::from(slots.insert(slot));
                }
            }
            self.entries[*place as usize].logged.followed_by(logged());
            return self.keep_within_bound();
        }
        self.encoded.extend_from_slice(&self.coming);
        self.entries.push(Entry {
            hash,
            end: u32::try_from(self.encoded.len()).expect("a pass is far less than 4 GiB"),
            logged: logged(),
        });
        self.place(self.entries.len() - 1);
        self.keep_within_bound();
    }

    fn keep_within_bound(&mut self) {
        while self.bytes() > self.bytes_max && self.first < self.last && self.entries.len() > 1 {
            self.halve();
        }
    }

    /// Whether this is the first pass.
    #[must_use]
    pub fn is_first_pass(&self) -> bool {
        self.first == 0
    }

    fn bytes(&self) -> usize {
        let other_slots = self.other_slots_count * OTHER_SLOT_BYTES;
        self.encoded.len() + self.entries.len() * ENTRY_BYTES + other_slots
    }

    fn place(&mut self, at: usize) {
        let entries = &self.entries;
        let place = u32::try_from(at).expect("a pass has far fewer than 2^32 keys");
        let hash_of = |place: &u32| entries[*place as usize].hash;
        self.places.insert_unique(entries[at].hash, place, hash_of);
    }

    fn halve(&mut self) {
        self.last = self.first + (self.last - self.first) / 2;
        let (mut begin, mut end) = (0, 0);
        let (last, encoded) = (self.last, &mut self.encoded);
        self.entries.retain_mut(|entry| {
            let key = begin..entry.end as usize;
            begin = key.end;
            let stays = entry.hash <= last;
            if stays {
                encoded.copy_within(key.clone(), end);
                end += key.len();
                entry.end = end as u32;
            }
            stays
        });
        self.encoded.truncate(end);
        self.other_slots.retain(|hash, _| *hash <= last);
        self.other_slots_count = self.other_slots.values().map(BTreeSet::len).sum();
        self.places.clear();
        (0..self.entries.len()).for_each(|at| self.place(at));
    }

    /// The pass is over: its keys, in the order in which they first came.
    pub fn take(&mut self) -> Pass {
        self.places = HashTable::new();
        self.other_slots_count = 0;
        Pass {
            entries: std::mem::take(&mut self.entries).into_iter(),
            encoded: std::mem::take(&mut self.encoded),
            other_slots: std::mem::take(&mut self.other_slots),
            begin: 0,
        }
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

/// Where the key of an entry is encoded.
fn span(entries: &[Entry], at: usize) -> std::ops::Range<usize> {
    let begin = at.checked_sub(1).map_or(0, |before| entries[before].end);
    begin as usize..entries[at].end as usize
}

/// The keys of one pass, each with what its last record says.
#[derive(Debug, Default)]
pub struct Pass {
    entries: std::vec::IntoIter<Entry>,
    encoded: Vec<u8>,
    other_slots: BTreeMap<u64, BTreeSet<u16>>,
    /// Where the next key begins.
    begin: usize,
}

/// A key of a pass.
#[derive(Clone, Debug)]
pub struct LoggedKey {
    /// In its first spelling.
    pub key: KeyId,
    /// What its last record says.
    pub logged: Logged,
    /// Where other spellings of it have other slots of HA's table: these.
    pub other_slots: BTreeSet<u16>,
}

impl Iterator for Pass {
    type Item = LoggedKey;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        let end = entry.end as usize;
        let key = KeyRef::decode(&self.encoded[self.begin..end]);
        self.begin = end;
        Some(LoggedKey {
            key: key.to_id(),
            logged: entry.logged,
            other_slots: self.other_slots.remove(&entry.hash).unwrap_or_default(),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for Pass {}

#[cfg(test)]
mod tests {
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

    /// All keys of all passes, how many passes there were, and the most keys that one had.
    fn all(records: &[u32], bytes_max: usize) -> (BTreeMap<KeyId, Logged>, usize, usize) {
        let mut keys = Keys::new(bytes_max);
        let (mut found, mut passes, mut most) = (BTreeMap::new(), 0, 0);
        loop {
            for (version, number) in (1..).zip(records) {
                keys.push(key(*number).borrowed(), || logged(version));
                most = most.max(keys.entries.len());
            }
            passes += 1;
            for LoggedKey { key, logged, .. } in keys.take() {
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
        let (found, passes, most) = all(&records, 100 * (ENTRY_BYTES + 18));
        assert_eq!(found.len(), records.len());
        assert!(most <= 104, "{most} keys at once");
        assert!(passes < 900, "{passes} passes");
        let (found, passes, _) = all(&records, 1 << 30);
        assert_eq!((found.len(), passes), (records.len(), 1));
    }

    #[test]
    fn spellings_of_a_key_are_one_whose_other_slots_are_told() {
        let spelled = |key: &[u8]| KeyId {
            kind: Kind::Key,
            table: Box::default(),
            key: key.into(),
            body: None,
        };
        let mut keys = Keys::new(1 << 20);
        for (version, key) in (1..).zip([&b"%6bey"[..], b"l", b"key", b"%6Bey", b"key"]) {
            keys.push(spelled(key).borrowed(), || logged(version));
        }
        let slot = |key: &[u8]| slot_of(&spelled(key).borrowed());
        let found: Vec<_> = keys
            .take()
            .map(|it| (it.key, it.logged, it.other_slots))
            .collect();
        let (first, other) = (&found[0], &found[1]);
        assert_eq!(*first.0.key, *b"%6bey", "the first spelling");
        assert_eq!(first.1, logged(5));
        assert_eq!(first.2, BTreeSet::from([slot(b"key"), slot(b"%6Bey")]));
        assert_eq!(
            (&other.0, &other.2, found.len()),
            (&spelled(b"l"), &BTreeSet::new(), 2)
        );
    }

    #[test]
    fn other_spellings_of_many_keys_are_within_the_bound() {
        let bytes_max = 200 * (ENTRY_BYTES + 18);
        let mut keys = Keys::new(bytes_max);
        for first in ["k", "%6b", "%6B"] {
            for number in 0..180 {
                let key = KeyId {
                    kind: Kind::Key,
                    table: Box::default(),
                    key: format!("{first}{number}").into_bytes().into(),
                    body: None,
                };
                keys.push(key.borrowed(), || logged(1));
                assert!(keys.bytes() <= bytes_max);
            }
        }
        assert!(keys.last < u64::MAX, "the pass has become smaller");
    }

    proptest! {
        #[test]
        fn every_key_comes_once_with_what_its_last_record_says(
            records in proptest::collection::vec(0..40_u32, 0..200),
            keys_max in 1..60_usize,
        ) {
            let (found, _, _) = all(&records, keys_max * (ENTRY_BYTES + 15));
            let expected: BTreeMap<KeyId, Logged> = (1..)
                .zip(&records)
                .map(|(version, number)| (key(*number), logged(version)))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
