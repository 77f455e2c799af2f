//! What an operator asks of comparing: the settings `sync.reconcile` and `sync.reconcile_*`.

use std::time::Duration;

/// What is done with a key on which the masters differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileMode {
    /// Nothing is compared: not a request is sent.
    Off,
    /// Keys are compared, and what differs is written down.
    Report,
    /// What differs is mended where the masters show which of them is right; the rest is written
    /// down.
    Repair,
}

impl ReconcileMode {
    /// The words of the configuration, in this order.
    pub const WORDS: &'static [&'static str] = &["off", "report", "repair"];
    pub(crate) const ALL: [Self; 3] = [Self::Off, Self::Report, Self::Repair];

    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Which keys are deleted that only one master has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deletes {
    /// None: `sync.reconcile_deletes` is off.
    Never,
    /// Those that the peer was just given, and the backend has lost since.
    OfGiven,
    /// And those that the peer lacks, at most as many as
    /// [`DeleteGuard`](super::delete_guard::DeleteGuard) allows.
    Bounded,
    /// All: somebody has asked for these keys.
    All,
}

/// How keys are compared, and how much that can cost. Every value can change at a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconcileSettings {
    /// `sync.reconcile`.
    pub mode: ReconcileMode,
    /// `sync.reconcile_values`: compare the values of keys and hashes too.
    pub values: bool,
    /// `sync.reconcile_value_bytes_max`: bytes above which a value is not compared.
    pub value_bytes_max: usize,
    /// `sync.reconcile_rate`: requests a second to each master, for each backend that is compared.
    /// 0 is no limit.
    pub rate: u32,
    /// `sync.reconcile_deletes`: delete from the backend what the peer lacks, and from the peer
    /// what it was given and the backend has lost since.
    pub deletes: Deletes,
    /// `sync.reconcile_attempts`: mends tried on a key before it is reported. Looks that find it
    /// different or changed are counted, from the second one on, whether or not a mend follows.
    pub attempts: u32,
    /// `sync.reconcile_delay`: for how long a master has to be up before keys are compared with it.
    pub delay: Duration,
    /// `sync.reconcile_timeout`: how long a peer that cannot be asked keeps a log.
    pub timeout: Duration,
}

#[cfg(feature = "testing")]
impl ReconcileSettings {
    /// Nothing is compared.
    pub const OFF: Self = Self {
        mode: ReconcileMode::Off,
        values: false,
        value_bytes_max: 0,
        rate: 0,
        deletes: Deletes::Never,
        attempts: 1,
        delay: Duration::ZERO,
        timeout: Duration::ZERO,
    };
}
