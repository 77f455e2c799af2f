//! Which file is it? A name can be given to another file, an inode number can be used again, a
//! device gets another number with a reboot or a remount: the inode together with the birth time
//! and a hash of the first bytes tells. A copy has the same first line and another inode.

use xxhash_rust::xxh3::xxh3_64;

use crate::limits::{IDENTITY_PREFIX_BYTES_MAX, LAST_READ_BYTES_MAX};

/// Inode number and birth time of a log: what tells it from others without reading it. The device's
/// number is left out, as it changes with a reboot, a remount, a loop device.
pub type LogKey = (u64, u64);

/// What makes a log file the same file as before.
///
/// The prefix grows with the file until it is [`IDENTITY_PREFIX_BYTES_MAX`] long, so an identity
/// taken early covers fewer bytes than one taken later; [`Identity::is_of`] compares what the
/// earlier one covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device that held the file (`st_dev`) when this was taken: a hint, it takes no part in what
    /// the file is.
    pub device: u64,
    /// Inode number (`st_ino`).
    pub inode: u64,
    /// Birth time in nanoseconds since 1970; 0 where the file system does not keep it.
    pub born_nanos: u64,
    /// Bytes from the file's start that `prefix_hash` covers.
    pub prefix_bytes: u32,
    /// XXH3-64 of those bytes.
    pub prefix_hash: u64,
    /// XXH3-64 of the first line with its newline, or of the whole prefix where the line is longer;
    /// 0 while the line has no end. Files that share it are copies of one another, or begin as
    /// copies.
    pub lead_hash: u64,
}

impl Identity {
    /// See [`LogKey`].
    #[must_use]
    pub fn key(&self) -> LogKey {
        (self.inode, self.born_nanos)
    }

    /// The identity of a file that starts with `prefix` (cut at [`IDENTITY_PREFIX_BYTES_MAX`]).
    #[must_use]
    pub fn new(device: u64, inode: u64, born_nanos: u64, prefix: &[u8]) -> Self {
        let prefix = &prefix[..prefix.len().min(IDENTITY_PREFIX_BYTES_MAX)];
        let is_whole = prefix.len() == IDENTITY_PREFIX_BYTES_MAX;
        let line_end = memchr::memchr(b'\n', prefix).map(|at| at + 1);
        let lead = line_end.or(is_whole.then_some(prefix.len()));
        Self {
            device,
            inode,
            born_nanos,
            prefix_bytes: u32::try_from(prefix.len()).expect("the prefix is bounded"),
            prefix_hash: xxh3_64(prefix),
            lead_hash: lead.map_or(0, |end| xxh3_64(&prefix[..end])),
        }
    }

    /// Whether this identity, taken earlier, is of the file that now has `key` and starts with
    /// `prefix`.
    #[must_use]
    pub fn is_of(&self, key: LogKey, prefix: &[u8]) -> bool {
        let covered = self.prefix_bytes as usize;
        self.key() == key
            && covered <= prefix.len()
            && xxh3_64(&prefix[..covered]) == self.prefix_hash
    }
}

/// The last bytes that were read of a log, at most [`LAST_READ_BYTES_MAX`]. A log that was cut in
/// its midst and has grown again begins as before and has other bytes there.
///
/// The default covers nothing, and is of any log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastRead {
    /// Where they begin in the log.
    pub byte: u64,
    /// How many they are.
    pub bytes: u32,
    /// Their XXH3-64.
    pub hash: u64,
}

impl LastRead {
    /// The last ones of `read`, which begins at byte `at` of the log.
    #[must_use]
    pub fn new(at: u64, read: &[u8]) -> Self {
        let start = read.len().saturating_sub(LAST_READ_BYTES_MAX);
        let last = &read[start..];
        Self {
            byte: at + start as u64,
            bytes: u32::try_from(last.len()).expect("they are bounded"),
            hash: xxh3_64(last),
        }
    }

    /// Where they end in the log; 0 if they are not known.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.byte + u64::from(self.bytes)
    }

    /// Whether the log still has them, if it has `found` where they were.
    #[must_use]
    pub fn is_of(&self, found: &[u8]) -> bool {
        self.bytes == 0 || (found.len() == self.bytes as usize && xxh3_64(found) == self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grew_is_the_same_file() {
        let early = Identity::new(1, 2, 3, b"first line\n");
        assert!(early.is_of((2, 3), b"first line\nsecond line\n"));
    }

    #[test]
    fn another_inode_birth_start_or_a_shorter_file_is_another_file() {
        let early = Identity::new(1, 2, 3, b"first line\n");
        assert!(!early.is_of((9, 3), b"first line\n"));
        assert!(!early.is_of((2, 9), b"first line\n"));
        assert!(!early.is_of((2, 3), b"other line\n"));
        assert!(!early.is_of((2, 3), b"first"));
    }

    #[test]
    fn a_log_that_was_cut_and_has_grown_again_has_other_last_bytes() {
        let last = LastRead::new(100, b"a line\nthe last line\n");
        assert_eq!((last.byte, last.end()), (100, 121));
        assert!(last.is_of(b"a line\nthe last line\n"));
        assert!(!last.is_of(b"a line\nanother line\n"));
        assert!(!last.is_of(b"a line\n"), "it is shorter now");
        assert!(LastRead::default().is_of(b""), "nothing is known of it");
        let long = LastRead::new(100, &[b'x'; LAST_READ_BYTES_MAX + 7]);
        assert_eq!((long.byte, long.bytes as usize), (107, LAST_READ_BYTES_MAX));
    }

    #[test]
    fn a_copy_shares_the_first_line_whatever_follows() {
        let lead = |prefix: &[u8]| Identity::new(1, 2, 3, prefix).lead_hash;
        assert_eq!(lead(b"first line\nsecond"), lead(b"first line\n"));
        assert_ne!(lead(b"first line\n"), lead(b"other line\n"));
        assert_eq!(lead(b"first li"), 0, "it has no end yet");
        let long = [b'x'; IDENTITY_PREFIX_BYTES_MAX + 1];
        assert_ne!(lead(&long), 0);
    }
}
