//! How a key's comparison ends, with the codes and sentences by which that is reported.

use crate::reconcile::table::NoPeer;

/// How a key was made equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mend {
    /// The peer's version and value were copied to the backend.
    Copied,
    /// The peer was given the backend's version: the values were equal, or a live write that came
    /// to the backend meanwhile is the newer one.
    Raised,
    /// The peer's value was written to the backend, and the backend's version to the peer.
    MadeAnew,
    /// It was deleted: on the backend, or on the peer, where that was just given it.
    Deleted,
}

/// Why a key that differs was left so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyLeft {
    /// `sync.reconcile` is `report`.
    ReportOnly,
    /// The backend's version is later, the values differ, and nothing says which one counts.
    BackendNewer,
    /// Only the backend has it, and `sync.reconcile_deletes` is off, or the peer lacks too many.
    PeerLacks,
    /// It has, or had, a ttl that nobody can read.
    TtlUnknown,
    /// It differed, or its masters' answers came too late, more often than
    /// `sync.reconcile_attempts` allows; the backend lost it while it was mended; or a master could
    /// not be asked for `sync.reconcile_timeout` after it was found to differ.
    StillDiffers,
    /// A master declines the mend.
    Declined,
    /// The other master has a difference of its own about it that is not settled, or newer logs
    /// that are not compared; or it may have been given the key by a job that was interrupted; or
    /// it has missed writes, too, and another value of the same version.
    PeerUnsettled,
}

impl WhyLeft {
    /// One word, for files and screens.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::ReportOnly => "report_only",
            Self::BackendNewer => "backend_newer",
            Self::PeerLacks => "peer_lacks",
            Self::TtlUnknown => "ttl_unknown",
            Self::StillDiffers => "still_differs",
            Self::Declined => "declined",
            Self::PeerUnsettled => "peer_unsettled",
        }
    }

    /// A sentence's end: why it was left different.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::ReportOnly => "sync.reconcile is report",
            Self::BackendNewer => {
                "the backend has the later version and another value: either may count"
            }
            Self::PeerLacks => {
                "only the backend has it, and sync.reconcile_deletes is off, or the other master \
                 lacks so many keys that it may have been emptied or replaced"
            }
            Self::TtlUnknown => "its time to live is not known, and a copy would have none",
            Self::StillDiffers => {
                "it still differed when sync.reconcile_attempts was used up, the backend lost it \
                 meanwhile, or a master was too slow or could not be asked any more"
            }
            Self::PeerUnsettled => {
                "the other master's own log left a difference about it, or is not compared yet, or \
                 that master was just written to when the comparison was interrupted"
            }
            Self::Declined => "a master declines the mend, as where the table has another type",
        }
    }
}

/// How a key's comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Equal as it was found.
    Equal,
    /// Equal now.
    Mended(Mend),
    /// It differs.
    Reported(WhyLeft),
    /// It was not compared.
    Skipped(Skipped),
}

/// Why a key was not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skipped {
    /// A master does not answer for this key; with the status that it gave.
    #[error("a master declines to look it up ({0})")]
    Declined(u16),
    /// The peer, or the backend, could not be asked for `sync.reconcile_timeout`.
    #[error("a master was not available")]
    PeerUnavailable,
    /// HA's table cannot be read.
    #[error("HA's table cannot be read")]
    NoTable,
    /// HA's table names no other master beside the backend for this key.
    #[error(transparent)]
    NoPeer(NoPeer),
    /// An older hustdb's method wrote it, which has no lookup, or it is too long to be kept.
    #[error("hustdb has no lookup for it, or it is too long")]
    NoLookup,
    /// Its log left the folder before its keys were read.
    #[error("its log was moved away or deleted")]
    LogGone,
}

impl Skipped {
    /// One word, for metrics and screens.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Declined(_) => "declined",
            Self::PeerUnavailable => "peer_unavailable",
            Self::NoTable => "no_table",
            Self::NoPeer(why) => why.code(),
            Self::NoLookup => "no_lookup",
            Self::LogGone => "log_gone",
        }
    }
}
