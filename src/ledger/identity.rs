//! Which file is it? A name can be given to another file, an inode number can be used again, a
//! device gets another number with a reboot or a remount: the inode together with the birth time
//! and a hash of the first bytes tells. A copy has the same first line and another inode.

use xxhash_rust::xxh3::xxh3_64;

use crate::limits::IDENTITY_PREFIX_BYTES_MAX;

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

    /// Whether this identity, taken earlier, is of the file that now has `inode`, `born_nanos` and
    /// starts with `prefix`.
    #[must_use]
    pub fn is_of(&self, inode: u64, born_nanos: u64, prefix: &[u8]) -> bool {
        let covered = self.prefix_bytes as usize;
        self.inode == inode
            && self.born_nanos == born_nanos
            && covered <= prefix.len()
            && xxh3_64(&prefix[..covered]) == self.prefix_hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grew_is_the_same_file() {
        let early = Identity::new(1, 2, 3, b"first line\n");
        assert!(early.is_of(2, 3, b"first line\nsecond line\n"));
    }

    #[test]
    fn another_inode_birth_start_or_a_shorter_file_is_another_file() {
        let early = Identity::new(1, 2, 3, b"first line\n");
        assert!(!early.is_of(9, 3, b"first line\n"));
        assert!(!early.is_of(2, 9, b"first line\n"));
        assert!(!early.is_of(2, 3, b"other line\n"));
        assert!(!early.is_of(2, 3, b"first"));
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
