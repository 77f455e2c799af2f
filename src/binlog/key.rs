//! Which records must keep their order: those of the same table and key, as hustdb understands them.
//!
//! A key stands in a record as it was spelt in the query (`a%20b`), or raw where it was a body. hustdb decodes a spelling
//! once; two spellings of one key are one key (guarantees, G2). For the order alone a wrong *same* costs nothing, since
//! other keys may share a lane anyhow, and a wrong *different* is a user's wrong data. So keys are folded more than
//! hustdb folds them: every key is percent-decoded, also a raw member; `+` and space are one; a NUL ends a key.

use memchr::memchr3;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::binlog::Record;

/// Hash of a record's table and key, the same for all spellings of both. Stable within a process only.
///
/// `scratch` is used for keys that need decoding; it only grows.
#[must_use]
pub fn order_hash(record: &Record<'_>, scratch: &mut Vec<u8>) -> u64 {
    let table = folded_hash(record.table, 0, scratch);
    folded_hash(record.key, table, scratch)
}

fn folded_hash(text: &[u8], seed: u64, scratch: &mut Vec<u8>) -> u64 {
    if memchr3(b'%', b'+', 0, text).is_none() {
        return xxh3_64_with_seed(text, seed);
    }
    scratch.clear();
    fold(text, scratch);
    xxh3_64_with_seed(scratch, seed)
}

/// Appends `text` with escapes decoded once, `+` as a space, up to the first NUL.
fn fold(text: &[u8], folded: &mut Vec<u8>) {
    let mut at = 0;
    while at < text.len() {
        let (byte, width) = unescape(&text[at..]);
        match byte {
            0 => return,
            b'+' => folded.push(b' '),
            _ => folded.push(byte),
        }
        at += width;
    }
}

/// The first octet of `text` and how many bytes spell it: a percent-escape is one octet in three bytes; a `%` before
/// anything but two hexadecimal digits is itself.
#[must_use]
pub fn unescape(text: &[u8]) -> (u8, usize) {
    if let [b'%', high, low, ..] = text
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return (high << 4 | low, 3);
    }
    (text[0], 1)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::binlog::Method;

    fn hash(table: &[u8], key: &[u8]) -> u64 {
        let record = Record {
            method: Method::Hset,
            version: 1,
            key,
            expires_unix: 0,
            table,
            score: 0,
            opt: 0,
            value: b"",
        };
        order_hash(&record, &mut Vec::new())
    }

    #[test]
    fn spellings_of_one_key_are_one_key() {
        for spelling in [
            &b"a%20b"[..],
            b"a+b",
            b"%61%20%62",
            b"a b\0rest",
            b"a%20b%00rest",
        ] {
            assert_eq!(
                hash(b"t", spelling),
                hash(b"t", b"a b"),
                "{}",
                spelling.escape_ascii()
            );
        }
        assert_eq!(hash(b"t", b"%e4%BD"), hash(b"t", b"\xe4\xbd"));
        assert_eq!(hash(b"%74", b"k"), hash(b"t", b"k"));
    }

    #[test]
    fn other_keys_and_tables_differ() {
        assert_ne!(hash(b"t", b"a"), hash(b"t", b"b"));
        assert_ne!(hash(b"t", b"a"), hash(b"u", b"a"));
        assert_ne!(hash(b"ta", b"b"), hash(b"t", b"ab"));
        assert_ne!(hash(b"t", b"%2"), hash(b"t", b"%"));
    }

    proptest! {
        #[test]
        fn escaping_any_octets_of_a_key_changes_nothing(key in proptest::collection::vec(any::<u8>(), 0..60), mask: u64) {
            let mut escaped = Vec::new();
            for (i, byte) in key.iter().enumerate() {
                if mask >> (i % 64) & 1 == 1 || *byte == b'%' {
                    escaped.extend_from_slice(format!("%{byte:02X}").as_bytes());
                } else {
                    escaped.push(*byte);
                }
            }
            // `key` itself is raw: spell its percent signs, so that both are query text for the same octets.
            let plain: Vec<u8> = key.iter().flat_map(|b| if *b == b'%' { b"%25".to_vec() } else { vec![*b] }).collect();
            prop_assert_eq!(hash(b"t", &escaped), hash(b"t", &plain));
        }
    }
}
