//! The original's status file with any head and any digits (the input: twelve bytes of head, then
//! the digits of the first lines, in the order of the lines), and its totals: never a panic, and
//! what it says is what a plain count says.
#![no_main]

use std::cell::RefCell;

use hustdbsync::internals::ledger::legacy::{
    LegacyStatus, LegacyTotals, STATUS_BYTES, TOTALS_BYTES, first_totals,
};
use libfuzzer_sys::fuzz_target;

const HEAD_BYTES: usize = 12;

thread_local! {
    /// A file of no synced line, the same for every input: it is large.
    static STATUS: RefCell<Vec<u8>> = RefCell::new(vec![b'0'; STATUS_BYTES]);
}

fuzz_target!(|bytes: &[u8]| {
    let totals = LegacyTotals::decode(bytes);
    assert_eq!(totals.is_ok(), bytes.len() == TOTALS_BYTES);
    assert!(LegacyStatus::decode(bytes).is_err());
    let (head, digits) = bytes.split_at(bytes.len().min(HEAD_BYTES));
    let digits = &digits[..digits.len().min(4096)];
    STATUS.with_borrow_mut(|status| {
        status[..HEAD_BYTES].fill(0);
        status[..head.len()].copy_from_slice(head);
        // All counts but the greatest are made small, or most inputs would be a walk over the whole
        // file.
        if status[4..8] != [0xff; 4] {
            status[6..8].fill(0);
        }
        for (line, digit) in digits.iter().enumerate() {
            status[STATUS_BYTES - 1 - line] = *digit;
        }
        check(status, digits, totals.ok());
        status[STATUS_BYTES - digits.len()..].fill(b'0');
    });
});

fn check(status: &[u8], digits: &[u8], totals: Option<LegacyTotals>) {
    let number = |at: usize| {
        u64::from(u32::from_le_bytes(
            status[at..at + 4].try_into().expect("four bytes"),
        ))
    };
    let read = LegacyStatus::decode(status).expect("a file of this size is a status file");
    assert_eq!((read.bytes_read, read.lines_read), (number(0), number(4)));
    let known =
        usize::try_from(read.lines_read).map_or(digits.len(), |lines| lines.min(digits.len()));
    let synced = digits[..known]
        .iter()
        .filter(|digit| **digit == b'1')
        .count() as u64;
    let line = digits[..known]
        .iter()
        .position(|digit| *digit != b'1')
        .unwrap_or(known) as u64;
    assert_eq!((read.line, read.synced_above), (line, synced - line));
    let resume = read.into_resume("a.log");
    assert_eq!(
        (resume.line, resume.lines_read, resume.bytes_read),
        (line, read.lines_read, read.bytes_read)
    );
    let first = first_totals(totals, &[read, read]);
    assert!(first.is_plausible());
}
