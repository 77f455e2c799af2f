//! Any bytes as a line: a record or a fault, never a panic; and what is a record is one again when it is written anew.
#![no_main]

use hustdbsync::binlog::{Record, line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut text = bytes.to_vec();
    let Ok(range) = line::decode_in_place(&mut text) else {
        return;
    };
    let record = Record::parse(&text[range.clone()]).expect("a decoded line is a checked record");
    let (mut encoded, mut again) = (Vec::new(), Vec::new());
    record.encode(&mut encoded);
    line::encode(&bytes[..range.start], &encoded, &mut again);
    assert!(again.pop() == Some(b'\n'));
    let range = line::decode_in_place(&mut again).expect("a line written anew is a line");
    assert_eq!(Record::parse(&again[range]), Ok(record));
});
