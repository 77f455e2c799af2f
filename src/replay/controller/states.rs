//! How all backends are, for other threads.

use std::sync::Arc;

use crate::status::counters::BackendCounters;

/// A backend's state as it is reported.
#[derive(Clone, Debug)]
pub struct ReportedState {
    pub name: Arc<str>,
    /// One word.
    pub state: &'static str,
    pub why: String,
}

/// All backends with their states and numbers, for other threads.
#[derive(Debug, Default)]
pub struct States {
    pub backends: Vec<(ReportedState, Arc<BackendCounters>)>,
    /// Records processed and settled of backends that are forgotten.
    pub forgotten: (u64, u64),
}
