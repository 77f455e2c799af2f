//! What the reconciler is told: which logs' keys to compare, and what it goes by.

use std::sync::Arc;

use crate::ledger::identity::LogKey;
use crate::reconcile::comparison::ComparisonSettings;
use crate::replay::messages::{BackendId, BackendInfo};

/// To the reconciler.
#[derive(Debug)]
pub enum ReconcilerMessage {
    /// From the controller: a backend that may have logs.
    Backend(BackendInfo),
    /// From the controller: records are sent to the backend, or no longer.
    Up { backend: BackendId, is_up: bool },
    /// From the controller: what holds from now on.
    Settings(Box<ComparisonSettings>),
    /// From the checkpointer: finished logs, which are kept until their keys are compared.
    Compare {
        backend: BackendId,
        /// In their order.
        logs: Vec<FinishedLog>,
    },
    /// From the checkpointer: a backend is forgotten.
    Forget { backend: BackendId },
    /// From the controller.
    Stop,
}

/// A log of which every line is completed, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedLog {
    pub name: Arc<str>,
    /// Which file it is.
    pub key: LogKey,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last written to, in nanoseconds since 1970.
    pub modified_nanos: u64,
}
