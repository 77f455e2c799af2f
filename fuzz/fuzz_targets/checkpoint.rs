//! Any bytes as a checkpoint, and as the body of one whose checksum is right: what reads back is
//! written as it was and is what the ledger goes on from; damaged, it is refused.
#![no_main]

use hustdbsync::internals::ledger::backend::BackendLedger;
use hustdbsync::internals::ledger::checkpoint::Checkpoint;
use hustdbsync::internals::ledger::ids::FileId;
use hustdbsync::internals::ledger::plan::FileStart;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check_framed(bytes);
    // The seeds are whole files: their bodies are what mutations are to reach.
    if let Some(body) = bytes.get(32..) {
        check_framed(body);
    }
});

/// The format that is written; those before it are read.
const FORMAT: u8 = 3;

fn check_framed(body: &[u8]) {
    for format in 1..=FORMAT {
        check(&framed(body, format));
    }
}

fn check(bytes: &[u8]) {
    let Ok(checkpoint) = Checkpoint::decode(bytes) else {
        return;
    };
    let mut written = Vec::new();
    checkpoint.encode(&mut written);
    if bytes[8] == FORMAT {
        assert_eq!(written, bytes);
    } else {
        assert_eq!(Checkpoint::decode(&written).as_ref(), Ok(&checkpoint));
    }
    check_damage(bytes);
    check_resumed(&checkpoint);
}

fn check_damage(bytes: &[u8]) {
    // Places that differ from input to input.
    let place = xxh3_64(bytes) as usize;
    let mut damaged = bytes.to_vec();
    damaged[place % bytes.len()] ^= 1 << (place % 8);
    assert!(Checkpoint::decode(&damaged).is_err());
    damaged.copy_from_slice(bytes);
    damaged[place % bytes.len()..].fill(0);
    assert!(damaged == bytes || Checkpoint::decode(&damaged).is_err());
    assert!(Checkpoint::decode(&bytes[..place % bytes.len()]).is_err());
    damaged.copy_from_slice(bytes);
    damaged.push(place as u8);
    assert!(Checkpoint::decode(&damaged).is_err());
}

/// A ledger that begins with it has the same checkpoint, with its files unopened and opened.
fn check_resumed(checkpoint: &Checkpoint) {
    let mut ledger = BackendLedger::from_checkpoint(checkpoint.clone());
    assert_eq!(ledger.checkpoint(), *checkpoint);
    assert_eq!(ledger.totals(), checkpoint.totals);
    for (index, file) in checkpoint.resume.files.iter().enumerate() {
        ledger.open_file(
            FileId(index as u64),
            &file.name,
            file.identity,
            FileStart::Resumed(index),
        );
    }
    let opened = ledger.checkpoint();
    assert_eq!(opened.totals, checkpoint.totals);
    // What is opened is there.
    let mut files = checkpoint.resume.files.clone();
    files.iter_mut().for_each(|file| file.away_unix = 0);
    assert_eq!(opened.resume.files, files);
    assert_eq!(ledger.collapse().files, files);
}

/// `body` behind the head that it should have.
fn framed(body: &[u8], format: u8) -> Vec<u8> {
    let mut file = b"HUSTCKPT\0\0\0\0\0\0\0\0".to_vec();
    file[8] = format;
    file.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let sum = xxh3_64(&[&file, body].concat());
    file.extend_from_slice(&sum.to_le_bytes());
    file.extend_from_slice(body);
    file
}
