//! Clients' writes, what they leave, and how a record of one is replayed.

use hustdbsync::internals::binlog::record::Record;
use hustdbsync::internals::binlog::request::Template;
use hustdbsync::internals::binlog::{Lifetime, Method};
use hustdbsync::internals::fake_hustdb::Request;
use hustdbsync::internals::fake_hustdb::contents::{Item, Stored, Value};
use hustdbsync::internals::fake_hustdb::query::{self, Space};
use hustdbsync::internals::fake_hustdb::store::Store;
use hustdbsync::internals::workload::Mutation;
use hustdbsync::internals::workload::live_pair;

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

/// A client's write: of one of so many keys of each kind.
pub(crate) fn random_write(
    random: &mut fastrand::Rng,
    number: u64,
    keys: usize,
    with_ttl: bool,
    unix: u64,
) -> Mutation {
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
    let number_of_key = random.usize(..keys);
    // Clients may spell a key in two ways, which HA logs as they are.
    let first = if random.u8(..4) == 0 { "%6B" } else { "k" };
    let key = format!("{first}ey%20{number_of_key}").into_bytes();
    let member = format!("key%20{number_of_key}").into_bytes();
    let value = || format!("value {number}").into_bytes();
    let (table, key, body): (&[u8], _, _) = match method {
        Method::Put => (b"", key, value()),
        Method::Hset => (b"hash", key, value()),
        Method::Hdel => (b"hash", key, Vec::new()),
        Method::Sadd | Method::Srem => (b"set", Vec::new(), member),
        Method::Zadd | Method::Zrem if random.bool() => (b"zset", key, Vec::new()),
        Method::Zadd | Method::Zrem => (b"zset", Vec::new(), key),
        _ => (b"", key, Vec::new()),
    };
    Mutation {
        method,
        unix,
        table: table.to_vec(),
        key,
        body,
        score: random.i64(1..1000),
        opt: if adds { 1 } else { 0 },
        ttl: if has_ttl { random.u32(1..60) } else { 0 },
    }
}

/// What a write leaves of its item.
pub(crate) fn leaves(write: &Mutation) -> Leaves {
    match write.method {
        Method::Put | Method::Hset => Leaves::Value(write.body.clone()),
        Method::Sadd | Method::Zadd => Leaves::Member,
        _ => Leaves::Nothing,
    }
}

/// What a write is stored under.
pub(crate) fn item(write: &Mutation) -> Item {
    let decoded = |text: &[u8]| query::decode(text, &mut Vec::new()).to_vec();
    let (space, key) = match write.method {
        Method::Hset | Method::Hdel => (Space::Hash, decoded(&write.key)),
        Method::Sadd | Method::Srem => (Space::Set, write.body.clone()),
        Method::Zadd | Method::Zrem if write.body.is_empty() => {
            (Space::SortedSet, decoded(&write.key))
        }
        Method::Zadd | Method::Zrem => (Space::SortedSet, decoded(&write.body)),
        _ => (Space::Kv, decoded(&write.key)),
    };
    Item {
        space,
        table: write.table.clone(),
        key,
    }
}

/// Gives one master a live write, which it numbers. `None`: it has not taken it.
pub(crate) fn write_one(write: &Mutation, store: &mut Store) -> Option<u32> {
    let reply = live_pair::write_one(store, write, write.unix, &mut Vec::new())?;
    (reply.status == 200).then_some(reply.version)
}

/// Replays a record, of which HA wrote the line at `written`, to a master.
pub(crate) fn replay(record: &Record<'_>, written: u64, store: &mut Store, unix: u64) {
    let lifetime = Lifetime::of(record, u32::try_from(written).unwrap(), unix);
    let mut head = Vec::new();
    Template::new("h:1", None).compose(record, lifetime, &mut head);
    let head = String::from_utf8(head).unwrap();
    let mut words = head.split(' ');
    let method = match words.next() {
        Some("GET") => query::Method::Get,
        _ => query::Method::Post,
    };
    let target = words.next().unwrap();
    store.apply(&Request::new(method, target.as_bytes(), record.value), unix);
}
