//! How all backends are, for other threads.

use std::sync::Arc;

use crate::status::counters::BackendCounters;

/// A backend's state as it is reported.
#[derive(Clone, Debug)]
pub struct ReportedState {
    /// Its name.
    pub name: Arc<str>,
    /// One word.
    pub state: &'static str,
    /// Why.
    pub why: String,
}

/// All backends with their states and numbers, for other threads.
#[derive(Debug, Default)]
pub struct States {
    /// The backends.
    pub backends: Vec<(ReportedState, Arc<BackendCounters>)>,
    /// Records processed and settled of backends that are forgotten.
    pub forgotten: (u64, u64),
}
