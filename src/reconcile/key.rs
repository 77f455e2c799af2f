//! A key whose records a log has: what it is looked up by, and what its last record knows of it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::binlog::key::decoded;
use crate::binlog::method::Ttl;
use crate::binlog::version::stored;
use crate::binlog::{Lifetime, Method, Record};

/// What kind of thing a key names; each has its own lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A key with a value.
    Key,
    /// A key of a hash.
    Hash,
    /// A member of a set.
    Set,
    /// A member of a sorted set, with a score.
    SortedSet,
}

/// The methods that concern one kind.
#[derive(Clone, Copy, Debug)]
pub struct KindMethods {
    pub write: Method,
    pub remove: Method,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Key, Self::Hash, Self::Set, Self::SortedSet];

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What a method writes or removes; `None` for those of an older hustdb, which has no lookup
    /// for them.
    #[must_use]
    pub fn of(method: Method) -> Option<Self> {
        match method {
            Method::Put | Method::Del => Some(Self::Key),
            Method::Hset | Method::Hdel => Some(Self::Hash),
            Method::Sadd | Method::Srem => Some(Self::Set),
            Method::Zadd | Method::Zrem => Some(Self::SortedSet),
            Method::TbPut | Method::TbUpdate | Method::TbDelete => None,
        }
    }

    /// What writes and what removes it.
    #[must_use]
    pub fn methods(self) -> KindMethods {
        let (write, remove) = match self {
            Self::Key => (Method::Put, Method::Del),
            Self::Hash => (Method::Hset, Method::Hdel),
            Self::Set => (Method::Sadd, Method::Srem),
            Self::SortedSet => (Method::Zadd, Method::Zrem),
        };
        KindMethods { write, remove }
    }

    /// Whether it has a value that can be read.
    #[must_use]
    pub fn has_value(self) -> bool {
        matches!(self, Self::Key | Self::Hash)
    }

    /// Its name, in files and on screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "sorted_set",
        }
    }
}

/// Which key it is, in one of its spellings: by that HA chooses the masters. All spellings of a key
/// are equal.
#[derive(Clone, Debug)]
pub struct KeyId {
    pub kind: Kind,
    /// The table, query text; empty for [`Kind::Key`].
    pub table: Box<[u8]>,
    /// The record's key: query text, or a set's raw member.
    pub key: Box<[u8]>,
    /// The member that a request carries in its body, where it is not `key`; only sets and sorted
    /// sets have one.
    pub body: Option<Box<[u8]>>,
}

/// A key whose bytes are borrowed; [`KeyId`] owns them.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef<'a> {
    pub kind: Kind,
    /// The table, query text; empty for [`Kind::Key`].
    pub table: &'a [u8],
    /// The record's key: query text, or a set's raw member.
    pub key: &'a [u8],
    body: Option<&'a [u8]>,
}

impl<'a> KeyRef<'a> {
    /// The key of a record whose value is whole, where that is the member. `None`: its method
    /// cannot be looked up, or it lacks a name.
    #[must_use]
    pub fn of(record: &Record<'a>) -> Option<Self> {
        let kind = Kind::of(record.method)?;
        let has_member = !kind.has_value() && record.value != record.key;
        record.has_names(record.value.len()).then(|| Self {
            kind,
            table: record.table,
            key: record.key,
            body: has_member.then_some(record.value),
        })
    }

    /// What hustdb calls it, in its table.
    #[must_use]
    pub fn name(&self) -> Cow<'a, [u8]> {
        name(self.kind, self.key, self.body)
    }

    /// What all spellings of a key have in common, and no other key has.
    fn identity(&self) -> (Kind, &'a [u8], Cow<'a, [u8]>) {
        (self.kind, self.table, self.name())
    }

    /// Whether it is the same key, maybe in another spelling.
    #[must_use]
    pub fn is(&self, other: &KeyRef<'_>) -> bool {
        self.identity() == other.identity()
    }

    /// The same for all spellings of a key.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let table = xxh3_64_with_seed(self.table, self.kind as u64);
        xxh3_64_with_seed(&self.name(), table)
    }

    /// Bytes that it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.len() + self.key.len() + self.body.map_or(0, <[u8]>::len)
    }

    /// Appends it as bytes that [`KeyRef::decode`] reads; no two spellings have the same.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let code = self.kind as u8 * 2 + u8::from(self.body.is_some());
        out.push(code);
        for part in [self.table, self.key] {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        }
        for part in [self.table, self.key, self.body.unwrap_or_default()] {
            out.extend_from_slice(part);
        }
    }

    /// Reads what [`KeyRef::encode`] has written.
    #[must_use]
    pub fn decode(encoded: &'a [u8]) -> Self {
        let (code, rest) = (encoded[0], &encoded[1..]);
        let length = |at: usize| {
            let bytes = rest[at..at + 4].try_into().expect("it is four bytes");
            u32::from_le_bytes(bytes) as usize
        };
        let (table, rest_of_it) = rest[8..].split_at(length(0));
        let (key, body) = rest_of_it.split_at(length(4));
        Self {
            kind: Kind::ALL[usize::from(code / 2)],
            table,
            key,
            body: (code % 2 == 1).then_some(body),
        }
    }

    /// The same, owned.
    #[must_use]
    pub fn to_id(self) -> KeyId {
        KeyId {
            kind: self.kind,
            table: self.table.into(),
            key: self.key.into(),
            body: self.body.map(Into::into),
        }
    }
}

impl KeyId {
    /// The same, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> KeyRef<'_> {
        KeyRef {
            kind: self.kind,
            table: &self.table,
            key: &self.key,
            body: self.body.as_deref(),
        }
    }

    /// Whether it can be looked up, as it has the names that its kind needs.
    #[must_use]
    pub fn has_names(&self) -> bool {
        let record = self.record(self.kind.methods().write, 0);
        record.has_names(record.value.len())
    }

    /// The member as a request's body; empty for kinds that have none.
    #[must_use]
    pub fn member(&self) -> &[u8] {
        match (&self.body, self.kind.has_value()) {
            (Some(body), _) => body,
            (None, false) => &self.key,
            (None, true) => b"",
        }
    }

    /// A record that does `method` to this key, with a member for its body where there is one.
    #[must_use]
    pub fn record(&self, method: Method, version: u32) -> Record<'_> {
        Record {
            version,
            table: &self.table,
            ..Record::new(method, &self.key, self.member())
        }
    }
}

/// What hustdb calls the key that a record spells so: it takes a set's member as it is, and decodes
/// everything else. A sorted set's member without a body is the record's key.
#[must_use]
pub fn name<'a>(kind: Kind, key: &'a [u8], body: Option<&'a [u8]>) -> Cow<'a, [u8]> {
    let body = body.filter(|body| !body.is_empty() && !kind.has_value());
    let spelled = body.unwrap_or(key);
    match kind {
        Kind::Set => Cow::Borrowed(spelled),
        _ if failpoint!(CompareSpellingsApart) => Cow::Borrowed(spelled),
        Kind::Key | Kind::Hash | Kind::SortedSet => decoded(spelled),
    }
}

impl PartialEq for KeyId {
    fn eq(&self, other: &Self) -> bool {
        self.borrowed().is(&other.borrowed())
    }
}

impl Eq for KeyId {}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().identity().hash(state);
    }
}

impl PartialOrd for KeyId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyId {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = self.borrowed().identity();
        key.cmp(&other.borrowed().identity())
    }
}

/// What the log's records say of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// The last record's version.
    pub version: u32,
    /// The highest version of any record.
    pub version_max: u32,
    /// The last record's expiry, Unix seconds; 0: never.
    pub expires_unix: u32,
    /// When the last record was written, Unix seconds; 0 where that is not known, or it has no ttl.
    pub written_unix: u32,
    /// Whether any record of the key carried a ttl.
    pub had_ttl: bool,
    /// Whether the last record removes the key.
    pub is_removed: bool,
    /// Hash of the value or score that the last record leaves ([`content_hash`]); `None` where it
    /// does not tell, as an increment.
    pub content: Option<u64>,
}

/// A hash by which a key's value, or its score, is recognized.
#[must_use]
pub fn content_hash(value: &[u8], score: i64) -> u64 {
    xxh3_64_with_seed(value, score as u64)
}

impl Logged {
    /// What this record says. `is_whole`: its value was not cut.
    #[must_use]
    pub fn of(record: &Record<'_>, written_unix: u32, is_whole: bool) -> Self {
        let has_ttl = record.has_ttl() && record.method.row().ttl != Ttl::None;
        Self {
            version: record.version,
            version_max: record.version,
            expires_unix: if has_ttl { record.expires_unix } else { 0 },
            written_unix,
            had_ttl: has_ttl,
            is_removed: record.method.row().removed_by.is_none(),
            content: match record.method {
                Method::Put | Method::Hset if is_whole => Some(content_hash(record.value, 0)),
                Method::Zadd if record.opt == 0 => Some(content_hash(b"", record.score)),
                _ => None,
            },
        }
    }

    /// A later record of the same key comes.
    pub fn followed_by(&mut self, later: Self) {
        *self = Self {
            version_max: self.version_max.max(later.version_max),
            had_ttl: self.had_ttl || later.had_ttl,
            ..later
        };
    }

    /// The same where a later log may have a later record of the key.
    #[must_use]
    pub fn without_last(self) -> Self {
        Self {
            is_removed: false,
            content: None,
            ..self
        }
    }

    /// Whether what has this version, as a lookup tells it, is what the last record left.
    #[must_use]
    pub fn is_last(&self, version: u32) -> bool {
        [self.version, stored(self.version)].contains(&version)
    }

    /// How long a copy of the peer's value, which has `version` there, may live. `None`: that is
    /// not known, as hustdb does not tell a ttl, and the log only knows its last record's.
    #[must_use]
    pub fn lifetime(&self, kind: Kind, version: u32, now_unix: u64) -> Option<Lifetime> {
        if !self.had_ttl {
            return Some(Lifetime::Unlimited);
        }
        if self.expires_unix == 0 || !self.is_last(version) {
            return None;
        }
        let last = Record {
            version,
            expires_unix: self.expires_unix,
            ..Record::new(kind.methods().write, b"", b"")
        };
        match Lifetime::of(&last, self.written_unix, now_unix) {
            Lifetime::Expired => None,
            lifetime => Some(lifetime),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(method: Method) -> Record<'static> {
        Record {
            version: 5,
            table: b"t",
            ..Record::new(method, b"k", b"v")
        }
    }

    #[test]
    fn what_the_last_record_left_is_known_by_either_version() {
        let last = Logged {
            version: 98,
            ..Logged::default()
        };
        let is_last = [97, 98, 114, 131].map(|version| last.is_last(version));
        assert_eq!(is_last, [false, true, true, false]);
    }

    #[test]
    fn each_method_has_a_kind_or_cannot_be_looked_up() {
        for method in Method::ALL {
            let kind = Kind::of(method);
            assert_eq!(
                kind.is_none(),
                method.name().starts_with("tb_"),
                "{method:?}"
            );
            if let Some(kind) = kind {
                let methods = kind.methods();
                assert!([methods.write, methods.remove].contains(&method));
                assert_eq!(methods.write.row().removed_by, Some(methods.remove));
            }
        }
    }

    #[test]
    fn a_member_is_owned_once_and_a_value_not_at_all() {
        let owned = |record: Record<'_>| {
            let key = KeyRef::of(&record).unwrap();
            let (bytes, id) = (key.bytes(), key.to_id());
            (bytes, id.member().to_owned(), id.body)
        };
        assert_eq!(owned(record(Method::Put)), (2, Vec::new(), None));
        let sadd = owned(record(Method::Sadd));
        assert_eq!(sadd, (3, b"v".to_vec(), Some(Box::from(&b"v"[..]))));
        let same = owned(Record {
            value: b"k",
            ..record(Method::Zrem)
        });
        assert_eq!(same, (2, b"k".to_vec(), None));
        let empty = owned(Record {
            value: b"",
            ..record(Method::Zadd)
        });
        assert_eq!(empty, (2, Vec::new(), Some(Box::default())));
    }

    #[test]
    fn a_key_is_decoded_as_it_was_encoded() {
        for method in Method::ALL {
            for value in [&b""[..], b"k", b"v\0\r\n"] {
                let record = Record {
                    value,
                    ..record(method)
                };
                let Some(key) = KeyRef::of(&record) else {
                    continue;
                };
                let mut encoded = Vec::new();
                key.encode(&mut encoded);
                // All spellings are equal, and this is about one.
                let spelling = |key: KeyRef<'_>| format!("{key:?}");
                assert_eq!(spelling(KeyRef::decode(&encoded)), spelling(key));
            }
        }
    }

    #[test]
    fn all_spellings_of_a_key_are_equal_and_no_others() {
        let of = |kind, key: &[u8], body: Option<&[u8]>| KeyId {
            kind,
            table: Box::from(&b"t"[..]),
            key: key.into(),
            body: body.map(Box::from),
        };
        let plain = of(Kind::SortedSet, b"k", None);
        for same in [
            of(Kind::SortedSet, b"%6b", None),
            of(Kind::SortedSet, b"k", Some(b"")),
            of(Kind::SortedSet, b"", Some(b"%6B")),
        ] {
            assert_eq!(same, plain);
            assert_eq!(same.borrowed().hash(), plain.borrowed().hash());
        }
        for other in [
            of(Kind::Hash, b"k", None),
            of(Kind::SortedSet, b"K", None),
            of(Kind::SortedSet, b"k", Some(b"m")),
        ] {
            assert_ne!(other, plain);
            assert_ne!(other.borrowed().hash(), plain.borrowed().hash());
        }
        // hustdb takes a set's member as it is.
        assert_ne!(of(Kind::Set, b"%6b", None), of(Kind::Set, b"k", None));
        assert_eq!(
            of(Kind::Set, b"k", Some(b"k\0x")),
            of(Kind::Set, b"k\0x", None)
        );
    }

    #[test]
    fn what_lacks_a_name_is_no_key() {
        for (method, has_table) in [
            (Method::Put, false),
            (Method::Hset, true),
            (Method::Srem, true),
        ] {
            let whole = record(method);
            assert!(KeyRef::of(&whole).is_some());
            let nameless = Record {
                key: b"",
                value: b"",
                ..whole
            };
            assert!(KeyRef::of(&nameless).is_none(), "{method:?}");
            let without_table = Record {
                table: b"",
                ..whole
            };
            assert_eq!(
                KeyRef::of(&without_table).is_none(),
                has_table,
                "{method:?}"
            );
        }
    }

    #[test]
    fn a_copy_lives_as_long_as_the_last_record_says_or_nobody_knows() {
        let put = |version, expires_unix| Record {
            version,
            expires_unix,
            ..record(Method::Put)
        };
        let written = 1_800_000_000;
        let now = u64::from(written) + 10;
        let mut logged = Logged::of(&put(3, 0), written, true);
        assert_eq!(
            logged.lifetime(Kind::Key, 9, now),
            Some(Lifetime::Unlimited)
        );
        logged.followed_by(Logged::of(&put(4, written + 60), written, true));
        assert_eq!(logged.lifetime(Kind::Key, 4, now), Some(Lifetime::Left(50)));
        assert_eq!(logged.lifetime(Kind::Key, 5, now), None);
        assert_eq!(logged.lifetime(Kind::Key, 4, now + 90), None);
        logged.followed_by(Logged::of(&put(5, 0), written, true));
        assert_eq!(logged.lifetime(Kind::Key, 5, now), None);
    }
}
