//! The original's status file with any head and any digits, and its totals: never a panic, and the first unset line is one.
#![no_main]

use hustdbsync::ledger::legacy::{LegacyStatus, LegacyTotals};
use libfuzzer_sys::fuzz_target;

const STATUS_BYTES: usize = 10_000_000;

fuzz_target!(|bytes: &[u8]| {
    let _ = LegacyTotals::decode(bytes);
    let _ = LegacyStatus::decode(bytes);
    let mut status = vec![b'0'; STATUS_BYTES];
    let (head, digits) = bytes.split_at(bytes.len().min(12));
    status[..head.len()].copy_from_slice(head);
    let digits = &digits[..digits.len().min(4096)];
    status[STATUS_BYTES - digits.len()..].copy_from_slice(digits);
    let read = LegacyStatus::decode(&status).expect("a file of this size is a status file");
    let resume = read.into_resume("a.log");
    let line = usize::try_from(resume.line).expect("a line stands in the file");
    assert!(status.iter().rev().take(line).all(|digit| *digit == b'1'));
});
