//! What a hustdb holds and how a request changes it: a pure model, without sockets and without a
//! clock.
//!
//! - A replayed mutation (`is_dup`) is taken if its version is at least the stored one, and gets
//!   that version; a lower one changes nothing and is answered 200 with `VerError: true`.
//! - A live mutation gets the stored version plus one, starting at 1. One that names a version must
//!   name the stored one (401).
//! - From 64 on the version that is stored is another one ([`kept_version`]). The answer tells it
//!   where the key is new; else it tells the one that was given. Where 0 is stored, the answer is
//!   500, though the write is done, but for a `put`, `hset` or `sadd` of a key that is there.
//! - With a cache ([`Store::with_l2_cache`]), `get`, `hget` and `zscore` tell the version that the
//!   last write was given, if that replaced another one, until the cache is lost. `exist`, `hexist`
//!   and `zismember` tell what is stored all the same.
//! - There are no tombstones: what has been removed has no version.
//! - A table comes into being with its first addition, even one that is refused, and has one type
//!   until its last member goes, removed or expired: then there is none of that name.
//! - `zrem` says nothing of a version that is too low: it answers 200 with `VerError: false`, and
//!   changes nothing that can be looked up. A removal with version 0 is taken.
//! - A time to live does what it does on a live hustdb 1.9 (each of these was measured):
//!   - `get` and `hget` of what has expired answer 404 with the old version, and delete it.
//!     `zscore` answers so and deletes nothing.
//!   - `exist`, `hexist`, `sismember` and `zismember` don't look at it, and neither does a write:
//!     what has expired keeps its version.
//!   - Each write of a key, hash key or sorted set's member replaces it. A set's member only ever
//!     heeds the first one.
//!   - A sweep ([`SWEEP_INTERVAL_S`]) deletes by an index that is written when a key is made,
//!     whatever was written to it since. So a key that was made with a time to live goes, and one
//!     that was made without stays, though nobody can read it any more.
//!   - A `zadd` that sets the score that is there already changes nothing, its time to live
//!     included.
//! - A superseded `zadd` or `zrem` changes where its member is found by score, though not its
//!   score.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::answer::{Answer, Body};
use super::contents::{Contents, Item, Stored, Value};
use super::query::{Call, Request, Space, Verb};

/// The highest version that a request may have. None as high is ever stored.
pub const VERSION_MAX: u32 = 4_194_303;
/// A ttl above this many seconds counts as none.
pub const TTL_MAX_S: u32 = 2_592_000;

/// The sweep comes by at each multiple of so many seconds. hustdb counts them from its start.
pub const SWEEP_INTERVAL_S: u64 = 30;

/// What a call did, for counters and for assertions on order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing was to be changed, or nothing could be: a read, an absent key, a refusal.
    None,
    /// A mutation was applied.
    Applied {
        /// The version that it was given, or, live, got; of a removal, the one that was stored.
        version: u32,
        /// Whether this very mutation had been applied last already, with the same version and the
        /// same value.
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
    /// Tables and members of sorted sets that a superseded write has harmed: found by score where
    /// they are not, or not found. Nothing mends that.
    misordered: BTreeSet<(Vec<u8>, Vec<u8>)>,
    /// Answers as if it stored, and stores nothing: a sink for benches.
    discard: bool,
    /// It has a cache, as a hustdb has whose `l2_cache` is not 0.
    l2_cache: bool,
    /// Where keys are decoded to; kept between calls for its capacity.
    scratch: Vec<u8>,
}

type Map<T> = HashMap<Box<[u8]>, T, BuildHasherDefault<KeyHasher>>;

#[derive(Debug)]
struct Table {
    space: Space,
    members: Map<Entry>,
    /// When a sweep has something to delete next, at the earliest; Unix seconds, 0 for never.
    sweep_unix: u64,
}

impl Table {
    /// Deletes what a sweep has deleted by now. Returns whether anything is left of the table.
    fn sweep(&mut self, now_unix: u64) -> bool {
        if !(1..=last_sweep_unix(now_unix)).contains(&self.sweep_unix) {
            return true;
        }
        self.members.retain(|_, entry| !entry.is_swept(now_unix));
        let due = self.members.values().map(|entry| entry.swept_unix);
        self.sweep_unix = due.filter(|due| *due != 0).min().unwrap_or(0);
        !self.members.is_empty()
    }
}

/// When the last sweep was, Unix seconds.
fn last_sweep_unix(now_unix: u64) -> u64 {
    now_unix - now_unix % SWEEP_INTERVAL_S
}

#[derive(Debug)]
struct Entry {
    /// As it is stored.
    version: u32,
    /// That of the write that came last, as it was given.
    given_version: u32,
    /// The version that a read of the value tells, where hustdb has that in its cache.
    cached: Option<u32>,
    /// From when on it can't be read, by the last write; Unix seconds, 0 for never. Always 0 for a
    /// set's member.
    expires_unix: u64,
    /// From when on a sweep deletes it, by the write that made it; Unix seconds, 0 for never.
    swept_unix: u64,
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
    fn has_expired(&self, now_unix: u64) -> bool {
        (1..=now_unix).contains(&self.expires_unix)
    }

    /// Whether a sweep has deleted it by now.
    fn is_swept(&self, now_unix: u64) -> bool {
        (1..=last_sweep_unix(now_unix)).contains(&self.swept_unix)
    }

    /// Whether `call`, of a version that was given, writes what was written last.
    fn repeats(&self, call: &Call<'_>) -> bool {
        self.given_version == call.ver
            && match &self.data {
                Data::Bytes(bytes) => bytes == call.value,
                Data::Member => true,
                Data::Score { last, .. } => *last == (call.opt, call.score),
            }
    }

    /// What a write that was given `version`, and was applied, does to the cache. One that makes
    /// the key is cached only if it is a replayed one, and only if what it was given is stored.
    fn cache(&mut self, call: &Call<'_>, version: u32, is_new: bool) {
        let is_updated = match (call.is_dup, is_new) {
            (false, _) => version > 1,
            (true, true) => kept_version(version) == version,
            (true, false) => true,
        };
        let is_kept = is_cacheable(call) && call.value.len() < CACHED_VALUE_BYTES;
        if is_updated {
            // It takes a time to live of over 30 days for a date, which is past.
            self.cached = (is_kept && call.ttl <= TTL_MAX_S).then_some(version);
        }
    }

    /// When it ends, once the sweep that is due then has come by; 0 for never.
    fn ends_unix(&self) -> u64 {
        match (self.expires_unix, self.swept_unix) {
            (0, ends) | (ends, 0) => ends,
            (expires, swept) => expires.min(swept),
        }
    }
}

/// hustdb caches no value of this many bytes.
const CACHED_VALUE_BYTES: usize = 1_048_571;

/// Whether hustdb caches what `call` is about: not where the key is long.
fn is_cacheable(call: &Call<'_>) -> bool {
    let table = match call.verb.space() {
        Space::Kv => 0,
        Space::Hash | Space::Set | Space::SortedSet => call.table.len() + 2,
    };
    call.verb.space() != Space::Set && table + call.key.len() < 255
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

    /// The same store with a cache: reads of values tell the versions that writes were given.
    #[must_use]
    pub fn with_l2_cache(mut self) -> Self {
        self.l2_cache = true;
        self
    }

    /// Forgets what is cached, as a restart does.
    pub fn drop_l2_cache(&mut self) {
        let members = self.tables.values_mut();
        let members = members.flat_map(|table| table.members.values_mut());
        for entry in self.kv.values_mut().chain(members) {
            entry.cached = None;
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
        if space == Space::Kv {
            if let Some(entry) = self.kv.get(call.key)
                && entry.is_swept(now_unix)
            {
                self.kv.remove(call.key);
            }
            return carry_out(&mut self.kv, call, now_unix, self.l2_cache);
        }
        if let Some(table) = self.tables.get_mut(call.table)
            && !table.sweep(now_unix)
        {
            self.tables.remove(call.table);
        }
        let table = match self.tables.get_mut(call.table) {
            Some(table) if table.space == space => table,
            None if call.verb.adds() => self.tables.entry(call.table.into()).or_insert(Table {
                space,
                members: Map::default(),
                sweep_unix: 0,
            }),
            Some(_) | None => return (call.refusal(412), Effect::None),
        };
        let before = table.members.len();
        let carried_out = carry_out(&mut table.members, call, now_unix, self.l2_cache);
        let (answer, effect) = &carried_out;
        let changes_score = call.verb == Verb::Zrem || answer.version_error == Some(true);
        if space == Space::SortedSet && *effect == Effect::Superseded && changes_score {
            let member = (call.table.to_vec(), call.key.to_vec());
            self.misordered.insert(member);
        }
        let is_new = table.members.len() > before;
        if is_new && let Some(entry) = table.members.get(call.key) {
            table.sweep_unix = match (table.sweep_unix, entry.swept_unix) {
                (0, due) | (due, 0) => due,
                (next, due) => next.min(due),
            };
        }
        if table.members.is_empty() && before > 0 {
            self.tables.remove(call.table);
        }
        carried_out
    }

    /// Adds everything that has not ended at `now_unix` to `contents`. A sweep that is due counts
    /// as done, so that what is found doesn't hang on when the last one was.
    pub(crate) fn collect_into(&self, now_unix: u64, contents: &mut Contents) {
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
            if (1..=now_unix).contains(&entry.ends_unix()) {
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
                    expires_unix: entry.ends_unix(),
                    value,
                },
            );
        }
    }

    /// Members of sorted sets whose order by score was harmed by a superseded write.
    pub fn misordered(&self) -> impl Iterator<Item = Item> {
        let members = self.misordered.iter().cloned();
        members.map(|(table, key)| Item {
            space: Space::SortedSet,
            table,
            key,
        })
    }

    /// A snapshot of everything that has not ended at `now_unix`.
    #[must_use]
    pub fn contents(&self, now_unix: u64) -> Contents {
        let mut contents = Contents::new();
        self.collect_into(now_unix, &mut contents);
        contents
    }
}

/// Carries out `call` among the entries of its table, or among the keys without one.
fn carry_out(
    entries: &mut Map<Entry>,
    call: &Call<'_>,
    now_unix: u64,
    l2_cache: bool,
) -> (Answer, Effect) {
    if call.verb.adds() {
        add(entries, call, now_unix, l2_cache)
    } else if call.verb.removes() {
        remove(entries, call)
    } else {
        (read(entries, call, now_unix, l2_cache), Effect::None)
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
    if call.ver > VERSION_MAX || (call.is_dup && call.ver == 0 && call.verb.adds()) {
        return invalid(0, call.verb == Verb::Zadd);
    }
    match (call.is_dup, call.ver, stored) {
        (true, ver, Some(stored)) if (1..stored).contains(&ver) => Verdict::Superseded(stored),
        (true, ver, _) => Verdict::Apply(ver),
        (false, 0, None) => Verdict::Apply(1),
        (false, 0, Some(stored)) => Verdict::Apply(stored + 1),
        (false, _, None) => invalid(0, false),
        (false, ver, Some(stored)) if ver != stored => invalid(stored, true),
        (false, _, Some(stored)) => Verdict::Apply(stored + 1),
    }
}

/// What hustdb reads back of a version that it was given: its index has 6 bits of the number of
/// 64s, each of which then counts 16, and the low 16 bits of the whole.
#[must_use]
pub fn kept_version(version: u32) -> u32 {
    let (of_64, low) = ((version / 64) & 0x3f, version & 0xffff);
    of_64 * 16 + low
}

/// The versions that live writes of a key get, one behind the other, where `stored` is there.
#[cfg(feature = "testing")]
pub fn live_versions(stored: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(stored + 1), |version| Some(kept_version(*version) + 1))
}

fn add(
    entries: &mut Map<Entry>,
    call: &Call<'_>,
    now_unix: u64,
    l2_cache: bool,
) -> (Answer, Effect) {
    let found = entries.get(call.key);
    let stored_version = found.map(|entry| entry.version);
    let stored_score = match found {
        Some(Entry {
            data: Data::Score { score, .. },
            ..
        }) => Some(*score),
        _ => None,
    };
    let before = stored_score.unwrap_or(0);
    let score = match call.opt {
        0 => call.score,
        1.. => before.wrapping_add(call.score),
        _ => before.wrapping_sub(call.score),
    };
    let answer = |status, version, version_error| {
        let mut answer = Answer::write(status, version, version_error);
        if call.verb == Verb::Zadd && status == 200 {
            // Also where the version was too low: hustdb says what the score would have become.
            answer.body = Body::Score(score);
        }
        answer
    };
    let verdict = judge(call, stored_version);
    if let (Some(stored), Some(entry)) = (stored_version, found)
        && call.verb == Verb::Zadd
        && call.opt == 0
        && stored_score == Some(call.score)
        && entry.cached.unwrap_or(stored) >= call.ver
    {
        // Before the version is looked at any further.
        let effect = match call.is_dup {
            true if call.ver == 0 => Effect::None,
            false => Effect::None,
            true if call.ver < stored => Effect::Superseded,
            true => Effect::Applied {
                version: stored,
                duplicate: entry.repeats(call),
            },
        };
        let mut answer = Answer::write(200, entry.cached.unwrap_or(stored), false);
        if entry.cached.is_some() {
            answer.body = Body::Score(call.score);
        }
        return (answer, effect);
    }
    let version = match verdict {
        Verdict::Apply(version) => version,
        Verdict::Superseded(stored) => return (answer(200, stored, true), Effect::Superseded),
        Verdict::Invalid {
            version,
            version_error,
        } => return (answer(401, version, version_error), Effect::None),
    };

    let duplicate = call.is_dup && found.is_some_and(|entry| entry.repeats(call));
    let is_new = found.is_none();
    keep(entries, call, version, score, now_unix);
    if l2_cache && let Some(entry) = entries.get_mut(call.key) {
        entry.cache(call, version, is_new);
    }
    let effect = Effect::Applied { version, duplicate };
    let kept = kept_version(version);
    let status = match kept == 0 && (is_new || call.verb == Verb::Zadd) {
        true => 500,
        false => 200,
    };
    let told = if is_new { kept } else { version };
    (answer(status, told, false), effect)
}

/// Makes what the call writes the entry's; `version` is the one that it is given, and `score` what
/// a member's becomes.
fn keep(entries: &mut Map<Entry>, call: &Call<'_>, version: u32, score: i64, now_unix: u64) {
    let ends_unix = match call.ttl {
        0 => 0,
        ttl if ttl > TTL_MAX_S => 0,
        ttl => now_unix + u64::from(ttl),
    };
    let expires_unix = match call.verb.space() {
        Space::Set => 0,
        Space::Kv | Space::Hash | Space::SortedSet => ends_unix,
    };
    match entries.get_mut(call.key) {
        Some(entry) => {
            entry.version = kept_version(version);
            entry.given_version = version;
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
                version: kept_version(version),
                given_version: version,
                cached: None,
                expires_unix,
                swept_unix: ends_unix,
                data,
            };
            entries.insert(call.key.into(), entry);
        }
    }
}

fn remove(entries: &mut Map<Entry>, call: &Call<'_>) -> (Answer, Effect) {
    let stored = entries.get(call.key).map(|entry| entry.version);
    match (judge(call, stored), stored) {
        (
            Verdict::Invalid {
                version,
                version_error,
            },
            Some(_),
        ) => (Answer::write(401, version, version_error), Effect::None),
        (Verdict::Superseded(stored), _) => {
            let is_told = call.verb != Verb::Zrem;
            (Answer::write(200, stored, is_told), Effect::Superseded)
        }
        (Verdict::Apply(_), Some(version)) => {
            entries.remove(call.key);
            let effect = Effect::Applied {
                version,
                duplicate: false,
            };
            (Answer::write(200, version, false), effect)
        }
        // Only a version that is out of range comes before an absent key; one that doesn't match
        // has nothing to match with.
        (Verdict::Invalid { .. }, None) if call.ver > VERSION_MAX => {
            (Answer::write(401, 0, false), Effect::None)
        }
        (Verdict::Invalid { .. } | Verdict::Apply(_), None) => {
            (Answer::write(404, 0, false), Effect::None)
        }
    }
}

fn read(entries: &mut Map<Entry>, call: &Call<'_>, now_unix: u64, l2_cache: bool) -> Answer {
    let Some(entry) = entries.get_mut(call.key) else {
        return Answer::read(404, 0, Body::Empty);
    };
    let mut version = entry.version;
    let reads_value = matches!(call.verb, Verb::Get | Verb::Hget | Verb::Zscore);
    if l2_cache && reads_value && !entry.has_expired(now_unix) {
        if entry.cached.is_none() && is_cacheable(call) {
            entry.cached = Some(version);
        }
        version = entry.cached.unwrap_or(version);
    }
    let body = match (&entry.data, call.verb) {
        (_, Verb::Get | Verb::Hget) if entry.has_expired(now_unix) => {
            entries.remove(call.key);
            return Answer::read(404, version, Body::Empty);
        }
        (_, Verb::Zscore) if entry.has_expired(now_unix) => {
            return Answer::read(404, version, Body::Empty);
        }
        (Data::Bytes(bytes), Verb::Get | Verb::Hget) => Body::Bytes(bytes.clone()),
        (Data::Score { score, .. }, Verb::Zscore) => Body::Score(*score),
        _ => Body::Empty,
    };
    Answer::read(200, version, body)
}

/// Hashes keys by XXH3, which is fast on the short keys that these are. Nobody hostile chooses
/// them.
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
