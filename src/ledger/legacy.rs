//! What the original server left on disk, for an upgrade in place (docs/format.md).
//!
//! A log in progress has a status file of exactly 10,000,000 bytes: bytes read, lines read and
//! lines synced as three little-endian `u32`, then one ASCII digit a line, from the end of the file
//! backwards. The original sent records in no order, so a `1` above the first gap proves nothing
//! about order: everything from the first gap on is sent again.
//!
//! `total_status.log` holds two little-endian `u64`: records read and records synced, ever.

use std::sync::Arc;

use crate::ledger::plan::LegacyResume;
use crate::ledger::totals::Totals;

/// Length of a status file.
pub const STATUS_BYTES: usize = 10_000_000;

/// Length of the file with the totals.
pub const TOTALS_BYTES: usize = 16;

/// Name of the file with the totals, in each backend's folder.
pub const TOTALS_NAME: &str = "total_status.log";

const HEAD_BYTES: usize = 12;

/// Why bytes are not the original's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegacyFault {
    /// Of a status file.
    #[error("it has {0} bytes, and a status file of the original has {STATUS_BYTES}")]
    StatusLength(usize),
    /// Of the totals.
    #[error("it has {0} bytes, and the original's totals have {TOTALS_BYTES}")]
    TotalsLength(usize),
}

/// What a status file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyStatus {
    /// The first line that is not synced, from 0.
    pub line: u64,
    pub lines_read: u64,
    pub bytes_read: u64,
    /// Lines behind the first gap that the original has counted as synced. They will be settled,
    /// and counted, again.
    pub synced_above: u64,
}

impl LegacyStatus {
    /// Reads a status file.
    ///
    /// # Errors
    /// When it is of another size: then it is not the original's.
    pub fn decode(bytes: &[u8]) -> Result<Self, LegacyFault> {
        if bytes.len() != STATUS_BYTES {
            return Err(LegacyFault::StatusLength(bytes.len()));
        }
        let (head, digits) = bytes.split_at(HEAD_BYTES);
        let number = |at: usize| {
            u64::from(u32::from_le_bytes(
                head[at..at + 4].try_into().expect("four bytes"),
            ))
        };
        let (bytes_read, lines_read) = (number(0), number(4));
        // Digits behind the last line that was read mean nothing.
        let known =
            usize::try_from(lines_read).map_or(digits.len(), |lines| lines.min(digits.len()));
        let mut known_digits = digits[digits.len() - known..].iter().rev();
        let line = known_digits
            .by_ref()
            .take_while(|&&digit| digit == b'1')
            .count() as u64;
        let synced_above = known_digits.filter(|&&digit| digit == b'1').count() as u64;
        Ok(Self {
            line,
            lines_read,
            bytes_read,
            synced_above,
        })
    }

    /// The same as an entry of a plan.
    #[must_use]
    pub fn into_resume(self, name: &str) -> LegacyResume {
        LegacyResume {
            name: Arc::from(name),
            line: self.line,
            lines_read: self.lines_read,
            bytes_read: self.bytes_read,
            away_unix: 0,
        }
    }
}

/// What the original counted for a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyTotals {
    /// Records read.
    pub processed: u64,
    /// Records synced.
    pub synced: u64,
}

impl LegacyTotals {
    /// Reads `total_status.log`.
    ///
    /// # Errors
    /// When it is of another size.
    pub fn decode(bytes: &[u8]) -> Result<Self, LegacyFault> {
        let (processed, synced) = bytes
            .split_at_checked(8)
            .ok_or(LegacyFault::TotalsLength(bytes.len()))?;
        let synced = synced
            .try_into()
            .map_err(|_| LegacyFault::TotalsLength(bytes.len()))?;
        let processed = processed.try_into().expect("eight bytes");
        Ok(Self {
            processed: u64::from_le_bytes(processed),
            synced: u64::from_le_bytes(synced),
        })
    }
}

/// The totals to begin with: what the original counted, less what will be counted again. Without
/// its totals, what its status files tell.
#[must_use]
pub fn first_totals(totals: Option<LegacyTotals>, statuses: &[LegacyStatus]) -> Totals {
    let sum = |of: fn(&LegacyStatus) -> u64| statuses.iter().map(of).fold(0, u64::saturating_add);
    let (processed, settled) = match totals {
        Some(totals) => (
            totals.processed,
            totals
                .synced
                .saturating_sub(sum(|status| status.synced_above)),
        ),
        None => (sum(|status| status.lines_read), sum(|status| status.line)),
    };
    Totals {
        processed,
        settled,
        ..Totals::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(lines_read: u32, digits: &[bool]) -> Vec<u8> {
        let mut bytes = vec![b'0'; STATUS_BYTES];
        bytes[..4].copy_from_slice(&777_u32.to_le_bytes());
        bytes[4..8].copy_from_slice(&lines_read.to_le_bytes());
        bytes[8..12].copy_from_slice(&5_u32.to_le_bytes());
        for (line, _) in digits.iter().enumerate().filter(|(_, set)| **set) {
            bytes[9_999_999 - line] = b'1';
        }
        bytes
    }

    fn check(lines_read: u32, digits: &[bool]) {
        let read = &digits[..digits.len().min(lines_read as usize)];
        let line = read.iter().position(|set| !set).unwrap_or(read.len());
        let expected = LegacyStatus {
            line: line as u64,
            lines_read: lines_read.into(),
            bytes_read: 777,
            synced_above: read[line..].iter().filter(|set| **set).count() as u64,
        };
        assert_eq!(
            LegacyStatus::decode(&file(lines_read, digits)),
            Ok(expected)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn lines_are_counted_from_the_end_backwards(
            lines_read in 0..80_u32,
            digits in proptest::collection::vec(proptest::bool::weighted(0.8), 0..60),
        ) {
            check(lines_read, &digits);
        }

        #[test]
        fn files_of_another_size_are_not_the_originals(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            prop_assert_eq!(
                LegacyStatus::decode(&bytes),
                Err(LegacyFault::StatusLength(bytes.len()))
            );
            prop_assert_eq!(
                LegacyTotals::decode(&bytes).is_ok(),
                bytes.len() == TOTALS_BYTES
            );
        }
    }

    #[test]
    fn a_file_full_of_lines_ends_at_its_head() {
        let mut bytes = vec![b'1'; STATUS_BYTES];
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        let status = LegacyStatus::decode(&bytes).unwrap();
        assert_eq!((status.line, status.synced_above), (9_999_988, 0));
    }

    #[test]
    fn a_record_that_is_sent_again_is_counted_once() {
        let totals = LegacyTotals {
            processed: 100,
            synced: 90,
        };
        let status = LegacyStatus {
            line: 4,
            lines_read: 20,
            bytes_read: 0,
            synced_above: 7,
        };
        let first = first_totals(Some(totals), &[status, status]);
        assert_eq!((first.processed, first.settled), (100, 76));
        let without = first_totals(None, &[status, status]);
        assert_eq!((without.processed, without.settled), (40, 8));
    }
}
