//! Any bytes as a record, as they are and mended: whatever is accepted is written back as it was; a
//! changed byte of the head is refused or means another record; all spellings of one stored key
//! have one order (G2), and decode to it, as the fake HustDB decodes them.
#![no_main]

use hustdbsync::internals::binlog::{Record, key};
use hustdbsync_fuzz::{as_stored, encoded, mended};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::parse(bytes) {
        assert_eq!(Record::parse_checked(bytes), record);
        assert_eq!(encoded(&record), bytes);
        assert_eq!(mended(bytes), Some(record));
    }
    let Some(record) = mended(bytes) else {
        assert!(Record::parse(bytes).is_err());
        return;
    };
    let whole = encoded(&record);
    assert_eq!(Record::parse(&whole), Ok(record));
    assert_eq!(Record::parse_checked(&whole), record);
    check_damage(&whole, record);
    check_order(record);
});

fn check_damage(whole: &[u8], record: Record<'_>) {
    let head_bytes = whole.len() - record.value.len();
    for cut in [0, 37, head_bytes - 1] {
        assert!(Record::parse(&whole[..cut]).is_err());
    }
    // One place of the head, which one is as good as random.
    let at = record.version as usize % head_bytes;
    let mut damaged = whole.to_vec();
    damaged[at] ^= 1 << (record.expires_unix % 8);
    let key = 13..13 + record.key.len();
    let table = key.end + 12..key.end + 12 + record.table.len();
    match Record::parse(&damaged) {
        Ok(_) if key.contains(&at) || table.contains(&at) => {
            panic!("a changed key or table has the checksum of before")
        }
        Ok(other) => assert_eq!(encoded(&other), damaged),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

/// Every octet of what is stored, escaped, is another spelling of the same key.
fn check_order(record: Record<'_>) {
    let stored = as_stored(record.key);
    let mut escaped = Vec::new();
    for octet in &stored {
        // `%?` is the one spelling of a `?` that doesn't end the key.
        let spelt = if *octet == b'?' {
            "%?".to_owned()
        } else {
            format!("%{octet:02x}")
        };
        escaped.extend_from_slice(spelt.as_bytes());
    }
    assert_eq!(as_stored(&escaped), stored);
    assert_eq!(*key::decoded(record.key), *stored);
    let hash = |key| key::order_hash(&Record { key, ..record }, &mut Vec::new());
    assert_eq!(hash(record.key), hash(&escaped));
}
