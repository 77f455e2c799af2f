//! Any bytes as a record: whatever is accepted is written back as it was, the checksum of no table excepted.
#![no_main]

use hustdbsync::binlog::{Record, key};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = Record::parse(bytes) else {
        return;
    };
    assert_eq!(Record::parse_checked(bytes), record);
    let mut encoded = Vec::new();
    record.encode(&mut encoded);
    assert_eq!(encoded, bytes);
    let _ = key::order_hash(&record, &mut Vec::new());
});
