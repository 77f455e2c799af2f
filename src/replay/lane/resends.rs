//! How many writes of one member of a sorted set a lane may be ahead of what a checkpoint has.
//!
//! Should this process be killed, the next one looks up what may have been sent since the last
//! checkpoint. From version 64 on a lookup tells no more than [`WRITES_AHEAD_MAX`] writes of a
//! member apart (guarantees, G4). So a lane begins no further one once it has [`SETTLED_MAX`] of
//! that member that are settled and not durable; with the burst that is out then, it is no further
//! ahead than that. It asks for a checkpoint when it has half of them.
//!
//! Members are told apart by eight bits of their hashes: those that share them count as one.

use crate::binlog::Record;
use crate::binlog::version::{STORED_OTHERWISE_FROM, WRITES_AHEAD_MAX};
use crate::limits::BURST_REQUESTS_MAX;

/// So many settled writes of a member may be missing from the checkpoint.
const SETTLED_MAX: u8 = (WRITES_AHEAD_MAX - BURST_REQUESTS_MAX) as u8;

/// Which member a write is of: eight bits of a hash, none of those that its lane was chosen by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member(u8);

/// See the module. It has a count only once there is something to count.
#[derive(Debug, Default)]
pub(super) struct Resends(Option<Box<Counts>>);

/// Writes that are settled or rejected, and not in a durable checkpoint, by member.
#[derive(Debug)]
struct Counts {
    /// Since a checkpoint was asked for.
    settled: [u8; 256],
    /// Before that.
    asked: [u8; 256],
    /// Of any member, in all.
    most: u8,
}

impl Resends {
    /// Whether another write of this member may go.
    pub(super) fn may_go(&self, member: Member) -> bool {
        let counts = self.0.as_ref();
        counts.is_none_or(|counts| counts.of(member) < SETTLED_MAX)
    }

    /// One is settled or rejected.
    pub(super) fn handle_settled(&mut self, member: Member) {
        let counts = self.0.get_or_insert_with(Box::default);
        let of_member = &mut counts.settled[usize::from(member.0)];
        *of_member = of_member.saturating_add(1);
        counts.most = counts.most.max(counts.of(member));
    }

    /// Whether it is time to ask for a checkpoint.
    pub(super) fn wants_checkpoint(&self) -> bool {
        let counts = self.0.as_ref();
        counts.is_some_and(|counts| counts.most >= SETTLED_MAX / 2)
    }

    /// A checkpoint was asked for, behind all that is settled.
    pub(super) fn handle_asked(&mut self) {
        if let Some(counts) = &mut self.0 {
            for (asked, settled) in counts.asked.iter_mut().zip(&mut counts.settled) {
                *asked = asked.saturating_add(std::mem::take(settled));
            }
        }
    }

    /// It is durable.
    pub(super) fn handle_durable(&mut self) {
        if let Some(counts) = &mut self.0 {
            counts.asked = [0; 256];
            counts.most = counts.settled.iter().copied().max().unwrap_or_default();
        }
    }
}

impl Counts {
    fn of(&self, member: Member) -> u8 {
        let at = usize::from(member.0);
        self.settled[at].saturating_add(self.asked[at])
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            settled: [0; 256],
            asked: [0; 256],
            most: 0,
        }
    }
}

/// The member that a record writes, of which `order_hash` is known; `None` where a lookup tells all
/// of its writes apart, or where it may be sent twice.
pub(super) fn member_of(record: &Record<'_>, order_hash: impl FnOnce() -> u64) -> Option<Member> {
    let counts = record.version >= STORED_OTHERWISE_FROM && record.is_harmful_twice();
    counts.then(|| Member((order_hash() >> 32) as u8))
}
