//! What a hustdb holds and how a request changes it: a pure model, without sockets and without a clock.
//!
//! - A replayed mutation (`is_dup`) is taken if its version is at least the stored one, and gets that version; a lower one changes nothing
//!   and is answered 200 with `VerError: true`.
//! - A live mutation gets the stored version plus one, starting at 1. One that names a version must name the stored one (401).
//! - There are no tombstones: what has been removed has no version.
//! - A table comes into being with its first addition, has one type, and stays when it is empty.
//! - What has expired is absent, from its second on.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::answer::{Answer, Body};
use super::contents::{Contents, Item, Stored, Value};
use super::query::{Call, Request, Space, Verb};

/// Versions run from 1 to this; a live write behind the last one starts again at 1.
pub const VERSION_MAX: u32 = 4_194_303;
/// A ttl above this many seconds counts as none.
pub const TTL_MAX_S: u32 = 2_592_000;

/// What a call did, for counters and for assertions on order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing was to be changed, or nothing could be: a read, an absent key, a refusal.
    None,
    /// A mutation was applied and left this version (for a removal: the version removed).
    Applied {
        /// The version.
        version: u32,
        /// Whether this very mutation had been applied last already, with the same version and the same value.
        duplicate: bool,
    },
    /// A replayed mutation came with a version below the stored one.
    Superseded,
}

/// An in-memory hustdb. See the module's documentation for what it promises.
#[derive(Debug, Default)]
pub struct Store {
    kv: Map<Entry>,
    tables: Map<Table>,
    /// Answers as if it stored, and stores nothing: a sink for benches.
    discard: bool,
    /// Where keys are decoded to; kept between calls for its capacity.
    scratch: Vec<u8>,
}

type Map<T> = HashMap<Box<[u8]>, T, BuildHasherDefault<KeyHasher>>;

#[derive(Debug)]
struct Table {
    space: Space,
    members: Map<Entry>,
}

#[derive(Debug)]
struct Entry {
    version: u32,
    /// Unix seconds; 0 for never.
    expires_unix: u64,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Bytes(Vec<u8>),
    Member,
    Score {
        score: i64,
        /// The opt and score of the zadd that came last: what tells one that was sent twice.
        last: (i32, i64),
    },
}

impl Entry {
    fn lives(&self, now_unix: u64) -> bool {
        self.expires_unix == 0 || self.expires_unix > now_unix
    }
}

/// What the versions say about a mutation.
enum Verdict {
    Apply(u32),
    Superseded(u32),
    /// 401: a version that is out of range, or not the one a live write had to name.
    Invalid {
        version: u32,
        version_error: bool,
    },
}

impl Store {
    /// An empty store. With `discard` it answers every mutation as applied and keeps nothing.
    #[must_use]
    pub fn new(discard: bool) -> Self {
        Self {
            discard,
            ..Self::default()
        }
    }

    /// Answers `request` as hustdb would at `now_unix` (seconds), passwords apart.
    pub fn apply(&mut self, request: &Request<'_>, now_unix: u64) -> Answer {
        let Some(verb) = Verb::of_path(request.path) else {
            return match request.path {
                b"/status.html" => Answer::status_page(),
                _ => Answer::bare(404),
            };
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let answer = match Call::parse(verb, request, &mut scratch) {
            Ok(call) => self.execute(&call, now_unix).0,
            Err(answer) => answer,
        };
        self.scratch = scratch;
        answer
    }

    /// Carries out `call` at `now_unix` (seconds).
    pub fn execute(&mut self, call: &Call<'_>, now_unix: u64) -> (Answer, Effect) {
        if self.discard && call.verb.is_mutation() {
            return discarded(call);
        }
        let space = call.verb.space();
        let entries = match (space, self.tables.get_mut(call.table)) {
            (Space::Kv, _) => &mut self.kv,
            (_, Some(table)) if table.space == space => &mut table.members,
            (_, None) if call.verb.adds() => {
                let members = Map::default();
                &mut self
                    .tables
                    .entry(call.table.into())
                    .or_insert(Table { space, members })
                    .members
            }
            (_, Some(_) | None) => return (call.refusal(412), Effect::None),
        };
        if call.verb.adds() {
            add(entries, call, now_unix)
        } else if call.verb.removes() {
            remove(entries, call, now_unix)
        } else {
            (read(entries, call, now_unix), Effect::None)
        }
    }

    /// Adds everything that has not expired at `now_unix` to `contents`.
    pub fn collect_into(&self, now_unix: u64, contents: &mut Contents) {
        let kv = self
            .kv
            .iter()
            .map(|(key, entry)| (Space::Kv, &[][..], key, entry));
        let members = self.tables.iter().flat_map(|(name, table)| {
            table
                .members
                .iter()
                .map(move |(key, entry)| (table.space, &name[..], key, entry))
        });
        for (space, table, key, entry) in kv.chain(members) {
            if !entry.lives(now_unix) {
                continue;
            }
            let item = Item {
                space,
                table: table.to_vec(),
                key: key.to_vec(),
            };
            let value = match &entry.data {
                Data::Bytes(bytes) => Value::Bytes(bytes.clone()),
                Data::Member => Value::Member,
                Data::Score { score, .. } => Value::Score(*score),
            };
            contents.insert(
                item,
                Stored {
                    version: entry.version,
                    expires_unix: entry.expires_unix,
                    value,
                },
            );
        }
    }

    /// A snapshot of everything that has not expired at `now_unix`.
    #[must_use]
    pub fn contents(&self, now_unix: u64) -> Contents {
        let mut contents = Contents::new();
        self.collect_into(now_unix, &mut contents);
        contents
    }

    /// Forgets everything, tables too.
    pub fn clear(&mut self) {
        self.kv.clear();
        self.tables.clear();
    }
}

fn discarded(call: &Call<'_>) -> (Answer, Effect) {
    if call.is_dup && !(1..=VERSION_MAX).contains(&call.ver) {
        return (Answer::write(401, 0, false), Effect::None);
    }
    let version = call.ver.max(1);
    let mut answer = Answer::write(200, version, false);
    if call.verb == Verb::Zadd {
        answer.body = Body::Score(call.score);
    }
    let effect = Effect::Applied {
        version,
        duplicate: false,
    };
    (answer, effect)
}

fn judge(call: &Call<'_>, stored: Option<u32>) -> Verdict {
    let invalid = |version, version_error| Verdict::Invalid {
        version,
        version_error,
    };
    if call.ver > VERSION_MAX || (call.is_dup && call.ver == 0) {
        return invalid(0, false);
    }
    match (call.is_dup, call.ver, stored) {
        (true, ver, Some(stored)) if ver < stored => Verdict::Superseded(stored),
        (true, ver, _) => Verdict::Apply(ver),
        (false, 0, None) => Verdict::Apply(1),
        (false, 0, Some(stored)) => Verdict::Apply(next_version(stored)),
        (false, _, None) => invalid(0, false),
        (false, ver, Some(stored)) if ver != stored => invalid(stored, true),
        (false, _, Some(stored)) => Verdict::Apply(next_version(stored)),
    }
}

fn next_version(version: u32) -> u32 {
    if version < VERSION_MAX {
        version + 1
    } else {
        1
    }
}

fn add(entries: &mut Map<Entry>, call: &Call<'_>, now_unix: u64) -> (Answer, Effect) {
    let found = entries.get_mut(call.key);
    let living = found.as_deref().filter(|entry| entry.lives(now_unix));
    let stored_score = match living {
        Some(Entry {
            data: Data::Score { score, .. },
            ..
        }) => Some(*score),
        _ => None,
    };
    let version = match judge(call, living.map(|entry| entry.version)) {
        Verdict::Apply(version) => version,
        Verdict::Superseded(stored) => {
            let mut answer = Answer::write(200, stored, true);
            if let Some(score) = stored_score {
                answer.body = Body::Score(score);
            }
            return (answer, Effect::Superseded);
        }
        Verdict::Invalid {
            version,
            version_error,
        } => return (Answer::write(401, version, version_error), Effect::None),
    };
    // hustdb leaves a member alone that has the score already (read); a replay with a higher version still raises the version.
    if let Some(stored) = living
        && call.verb == Verb::Zadd
        && call.opt == 0
        && !call.is_dup
        && stored_score == Some(call.score)
    {
        let version = stored.version;
        let mut answer = Answer::write(200, version, false);
        answer.body = Body::Score(call.score);
        return (answer, Effect::None);
    }

    let duplicate = call.is_dup
        && living.is_some_and(|entry| {
            entry.version == version
                && match &entry.data {
                    Data::Bytes(bytes) => bytes == call.value,
                    Data::Member => true,
                    Data::Score { last, .. } => *last == (call.opt, call.score),
                }
        });
    let before = stored_score.unwrap_or(0);
    let score = match call.opt {
        0 => call.score,
        1.. => before.wrapping_add(call.score),
        _ => before.wrapping_sub(call.score),
    };
    let expires_unix = match call.ttl {
        0 => 0,
        ttl if ttl > TTL_MAX_S => 0,
        ttl => now_unix + u64::from(ttl),
    };
    match found {
        Some(entry) => {
            entry.version = version;
            entry.expires_unix = expires_unix;
            match &mut entry.data {
                Data::Bytes(bytes) => {
                    bytes.clear();
                    bytes.extend_from_slice(call.value);
                }
                Data::Member => {}
                Data::Score { score: kept, last } => {
                    *kept = score;
                    *last = (call.opt, call.score);
                }
            }
        }
        None => {
            let data = match call.verb.space() {
                Space::Kv | Space::Hash => Data::Bytes(call.value.to_vec()),
                Space::Set => Data::Member,
                Space::SortedSet => Data::Score {
                    score,
                    last: (call.opt, call.score),
                },
            };
            let entry = Entry {
                version,
                expires_unix,
                data,
            };
            entries.insert(call.key.into(), entry);
        }
    }
    let mut answer = Answer::write(200, version, false);
    if call.verb == Verb::Zadd {
        answer.body = Body::Score(score);
    }
    (answer, Effect::Applied { version, duplicate })
}

fn remove(entries: &mut Map<Entry>, call: &Call<'_>, now_unix: u64) -> (Answer, Effect) {
    let stored = entries
        .get(call.key)
        .filter(|entry| entry.lives(now_unix))
        .map(|entry| entry.version);
    match (judge(call, stored), stored) {
        (
            Verdict::Invalid {
                version,
                version_error,
            },
            Some(_),
        ) => (Answer::write(401, version, version_error), Effect::None),
        (Verdict::Superseded(stored), _) => (Answer::write(200, stored, true), Effect::Superseded),
        (Verdict::Apply(_), Some(version)) => {
            entries.remove(call.key);
            let effect = Effect::Applied {
                version,
                duplicate: false,
            };
            (Answer::write(200, version, false), effect)
        }
        // Only a version that is out of range comes before an absent key; one that doesn't match has nothing to match with.
        (Verdict::Invalid { .. }, None) if call.is_dup || call.ver > VERSION_MAX => {
            (Answer::write(401, 0, false), Effect::None)
        }
        (Verdict::Invalid { .. } | Verdict::Apply(_), None) => {
            // What has expired is dropped here, so that a store that only ever sees removals doesn't grow.
            entries.remove(call.key);
            (Answer::write(404, 0, false), Effect::None)
        }
    }
}

fn read(entries: &Map<Entry>, call: &Call<'_>, now_unix: u64) -> Answer {
    let Some(entry) = entries.get(call.key).filter(|entry| entry.lives(now_unix)) else {
        return Answer::read(404, 0, Body::Empty);
    };
    let body = match (&entry.data, call.verb) {
        (Data::Bytes(bytes), Verb::Get | Verb::Hget) => Body::Bytes(bytes.clone()),
        (Data::Score { score, .. }, Verb::Zscore) => Body::Score(*score),
        _ => Body::Empty,
    };
    Answer::read(200, entry.version, body)
}

/// Hashes keys by XXH3, which is fast on the short keys that these are. Nobody hostile chooses them.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    fn write_usize(&mut self, number: usize) {
        // A slice's length comes before its octets; it need not be hashed as octets too.
        self.0 ^= number as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
