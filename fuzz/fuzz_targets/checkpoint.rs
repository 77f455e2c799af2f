//! Any bytes as a checkpoint, and as the body of one whose checksum is right: what reads back is written as it was,
//! everything else is a fault.
#![no_main]

use hustdbsync::ledger::checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&framed(bytes));
});

fn check(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::decode(bytes) {
        let mut written = Vec::new();
        checkpoint.encode(&mut written);
        assert_eq!(written, bytes);
    }
}

/// `body` behind the head that it should have.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut file = b"HUSTCKPT\x01\0\0\0\0\0\0\0".to_vec();
    file.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let sum = xxh3_64(&[&file, body].concat());
    file.extend_from_slice(&sum.to_le_bytes());
    file.extend_from_slice(body);
    file
}
