//! What several targets need: records out of any bytes, so that no mutation dies at a checksum.

use hustdbsync::internals::binlog::{Method, Record};
use hustdbsync::internals::fake_hustdb::query::decode;

/// Bytes of a record's head besides key and table.
const FIXED_BYTES: usize = 38;

/// The record that `bytes` would be with the right method, lengths, opt and checksums. Bytes of a
/// real record give that record.
#[must_use]
pub fn mended(bytes: &[u8]) -> Option<Record<'_>> {
    let room = bytes.len().checked_sub(FIXED_BYTES)?;
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let length_at =
        |at: usize, room: usize| usize::try_from(u32_at(at)).map_or(room, |said| said.min(room));
    let key_len = length_at(9, room);
    let after_key = 13 + key_len;
    let table_len = length_at(after_key + 8, room - key_len);
    let after_table = after_key + 12 + table_len;
    let method = Method::from_code(bytes[4])
        .unwrap_or(Method::ALL[usize::from(bytes[4]) % Method::ALL.len()]);
    let opt = i8::from_le_bytes([bytes[after_table + 12]]);
    Some(Record {
        method,
        version: u32_at(5),
        key: &bytes[13..after_key],
        expires_unix: u32_at(after_key + 4),
        table: &bytes[after_key + 12..after_table],
        score: i64::from_le_bytes(
            bytes[after_table + 4..after_table + 12]
                .try_into()
                .expect("eight bytes"),
        ),
        opt: if method.row().score {
            opt.clamp(-1, 1)
        } else {
            opt
        },
        value: &bytes[after_table + 13..],
    })
}

/// A record's bytes.
#[must_use]
pub fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

/// What hustdb makes of query text, by the fake HustDB's decoder.
#[must_use]
pub fn as_stored(spelt: &[u8]) -> Vec<u8> {
    decode(spelt, &mut Vec::new()).to_vec()
}
