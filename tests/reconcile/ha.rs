//! What HA does: a client's write goes to both masters, each numbers it by its own counter, and
//! what one has missed goes to its log with the version that the other gave it.

use hustdbsync::internals::binlog::record::Record;
use hustdbsync::internals::binlog::request::Template;
use hustdbsync::internals::binlog::{Lifetime, Method};
use hustdbsync::internals::fake_hustdb::Request;
use hustdbsync::internals::fake_hustdb::contents::{Item, Stored, Value};
use hustdbsync::internals::fake_hustdb::query::{self, Space};
use hustdbsync::internals::fake_hustdb::store::Store;

/// What a write leaves of its item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    Nothing,
    Value(Vec<u8>),
    /// A member, with whatever score.
    Member,
}

impl Leaves {
    pub(crate) fn is(&self, stored: Option<&Stored>) -> bool {
        match (self, stored.map(|stored| &stored.value)) {
            (Self::Nothing, stored) => stored.is_none(),
            (Self::Value(value), Some(Value::Bytes(bytes))) => value == bytes,
            (Self::Member, Some(Value::Member | Value::Score(_))) => true,
            _ => false,
        }
    }
}

/// A client's write.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) method: Method,
    key: String,
    value: String,
    score: i64,
    opt: i8,
    /// Seconds; 0: for ever.
    pub(crate) ttl: u32,
}

impl Write {
    /// One of so many keys of each kind.
    pub(crate) fn random(
        random: &mut fastrand::Rng,
        number: u64,
        keys: usize,
        with_ttl: bool,
    ) -> Self {
        let method = match random.u8(..16) {
            0..=4 => Method::Put,
            5 => Method::Del,
            6..=8 => Method::Hset,
            9 => Method::Hdel,
            10..=11 => Method::Sadd,
            12 => Method::Srem,
            13..=14 => Method::Zadd,
            _ => Method::Zrem,
        };
        let has_ttl = with_ttl && random.u8(..8) == 0;
        let adds = random.u8(..3) == 0;
        Self {
            method,
            key: format!("key%20{}", random.usize(..keys)),
            value: format!("value {number}"),
            score: random.i64(1..1000),
            opt: if adds { 1 } else { 0 },
            ttl: if has_ttl { random.u32(1..60) } else { 0 },
        }
    }

    fn table(&self) -> &'static [u8] {
        match self.method {
            Method::Hset | Method::Hdel => b"hash",
            Method::Sadd | Method::Srem => b"set",
            Method::Zadd | Method::Zrem => b"zset",
            _ => b"",
        }
    }

    /// The record that HA logs.
    pub(crate) fn record(&self, version: u32, unix: u64) -> Record<'_> {
        let expires = u32::try_from(unix).unwrap() + self.ttl;
        Record {
            method: self.method,
            version,
            key: self.key.as_bytes(),
            expires_unix: if self.ttl > 0 { expires } else { 0 },
            table: self.table(),
            score: self.score,
            opt: self.opt,
            value: match self.method {
                Method::Put | Method::Hset => self.value.as_bytes(),
                Method::Sadd | Method::Srem | Method::Zadd | Method::Zrem => self.key.as_bytes(),
                _ => b"",
            },
        }
    }

    pub(crate) fn leaves(&self) -> Leaves {
        match self.method {
            Method::Put | Method::Hset => Leaves::Value(self.value.clone().into_bytes()),
            Method::Sadd | Method::Zadd => Leaves::Member,
            _ => Leaves::Nothing,
        }
    }

    /// What it is stored under.
    pub(crate) fn item(&self) -> Item {
        let (space, is_raw) = match self.method {
            Method::Hset | Method::Hdel => (Space::Hash, false),
            Method::Sadd | Method::Srem => (Space::Set, true),
            Method::Zadd | Method::Zrem => (Space::SortedSet, false),
            _ => (Space::Kv, false),
        };
        let mut scratch = Vec::new();
        let key = match is_raw {
            true => self.key.clone().into_bytes(),
            false => query::decode(self.key.as_bytes(), &mut scratch).to_vec(),
        };
        Item {
            space,
            table: self.table().to_vec(),
            key,
        }
    }

    /// A live write to one master, which numbers it. Gives the version, if it was taken.
    pub(crate) fn apply(&self, store: &mut Store, unix: u64) -> Option<u32> {
        let record = self.record(0, unix);
        let mut target = Vec::new();
        Template::new("h:1", None).compose(&record, self.lifetime(), &mut target);
        let target = String::from_utf8(target).unwrap();
        let target = target.replace("&is_dup=true", "");
        send(store, &target, &record, unix)
    }

    fn lifetime(&self) -> Lifetime {
        match self.ttl {
            0 => Lifetime::Unlimited,
            ttl => Lifetime::Left(ttl),
        }
    }
}

/// Sends what was composed to a store; gives the version of a 200.
fn send(store: &mut Store, head: &str, record: &Record<'_>, unix: u64) -> Option<u32> {
    let mut words = head.split(' ');
    let method = match words.next() {
        Some("GET") => query::Method::Get,
        _ => query::Method::Post,
    };
    let target = words.next().unwrap();
    let request = Request::new(method, target.as_bytes(), record.value);
    let answer = store.apply(&request, unix);
    (answer.status == 200).then_some(answer.version).flatten()
}

/// Replays a record to a master.
pub(crate) fn replay(record: &Record<'_>, written: u64, store: &mut Store, unix: u64) {
    let lifetime = Lifetime::of(record, u32::try_from(written).unwrap(), unix);
    let mut head = Vec::new();
    Template::new("h:1", None).compose(record, lifetime, &mut head);
    let _ = send(store, &String::from_utf8(head).unwrap(), record, unix);
}
