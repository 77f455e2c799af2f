//! What a master is asked about a key, and what it answers.

use crate::binlog::Lifetime;
use crate::reconcile::decision::Seen;

/// One of the two masters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one whose log is replayed.
    Backend,
    /// The one that HA's table names beside it.
    Peer,
}

impl Side {
    /// Its place in pairs.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Backend => 0,
            Self::Peer => 1,
        }
    }
}

/// What a master is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether it has the key, and which version.
    Look,
    /// The value's digest.
    ReadDigest {
        /// Not of a value above `sync.reconcile_value_bytes_max`.
        is_bounded: bool,
    },
    ReadValue,
    /// To take this version of the key.
    Write,
    /// To delete the key, at this version.
    Remove,
}

/// What a master has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Ask::Look`].
    Seen(Seen),
    /// To [`Ask::ReadDigest`].
    Digest {
        /// The version that the value has.
        version: u32,
        /// The value's hash; `None`: it is too large to be compared.
        digest: Option<u128>,
    },
    /// To [`Ask::ReadValue`].
    Value { version: u32, value: Vec<u8> },
    /// The key is not there any more.
    Gone,
    /// None: a write was not sent, as it was decided too long ago, or may have been lost.
    Lost,
    /// One to a write that says nothing of the key, such as a 500, or none to one that was sent.
    Bad,
    /// The write or delete is done, or a newer version stands.
    Done,
    /// The master declines, now and for ever; with the answer's status.
    Declined(u16),
}

/// What is written to a key, or the version that is deleted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The version that it is given, of which hustdb may store another one
    /// ([`stored`](crate::binlog::version::stored)).
    pub version: u32,
    /// The score, of a sorted set's member.
    pub score: i64,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// The value, of keys that have one.
    pub value: Vec<u8>,
}
