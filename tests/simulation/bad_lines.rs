//! Lines that are to be rejected: no records, records that are none of HA's, and records that the
//! backend refuses.

use fastrand::Rng;
use hustdbsync::internals::binlog::{Method, Record, line};
use hustdbsync::internals::fake_hustdb::store::Store;
use hustdbsync::internals::fake_hustdb::{self, Request};

use crate::plan::Plan;

/// A table that is a set on every backend, so that nothing else can be stored in it.
const SET: &[u8] = b"a_set";

/// A line that is too long is so by less than this.
pub(crate) const TOO_LONG_BY_MAX: usize = 3000;

/// Makes [`SET`].
pub(crate) fn prepare(store: &mut Store) {
    let request = Request::new(
        fake_hustdb::Method::Get,
        b"/hustdb/sadd?tb=a_set&key=first",
        b"",
    );
    assert_eq!(store.apply(&request, 1).status, 200);
}

/// A line without its newline.
pub(crate) fn draw(plan: &Plan, prefix: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let good = record(Method::Put, b"unharmed", b"", b"value");
    good.encode(&mut bytes);
    match random.u32(..15) {
        0 => return Vec::new(),
        1 => return prefix.to_vec(),
        2 => return [prefix, b"!!!not*base64!!!"].concat(),
        3 => return vec![0; random.usize(1..100)],
        4 => return vec![b'x'; plan.bounds.line_bytes_max + random.usize(1..TOO_LONG_BY_MAX)],
        5 => bytes.truncate(random.usize(..38)),
        6 => bytes[0] ^= 1,
        7 => bytes[4] = 99,
        8 => bytes[9..13].copy_from_slice(&u32::MAX.to_le_bytes()),
        9 => bytes[13] ^= 0x20,
        10 => return encoded(prefix, &record(Method::Put, &[b'k'; 4100], b"", b"value")),
        11 => return encoded(prefix, &record(Method::Hset, b"key", SET, b"value")),
        12 => return encoded(prefix, &record(Method::TbPut, b"key", b"table", b"value")),
        13 => return encoded(prefix, &record(Method::Put, b"unharmed", b"", b"")),
        _ => {
            let mut nought = record(Method::Put, b"unharmed", b"", b"value");
            nought.version = 0;
            return encoded(prefix, &nought);
        }
    }
    let mut text = Vec::new();
    line::encode(prefix, &bytes, &mut text);
    text.pop();
    text
}

fn record<'a>(method: Method, key: &'a [u8], table: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record {
        table,
        ..Record::new(method, key, value)
    }
}

/// The line of a record, without its newline.
pub(crate) fn encoded(prefix: &[u8], record: &Record<'_>) -> Vec<u8> {
    let (mut bytes, mut text) = (Vec::new(), Vec::new());
    record.encode(&mut bytes);
    line::encode(prefix, &bytes, &mut text);
    text.pop();
    text
}
