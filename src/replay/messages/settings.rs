//! What checkpointer and reader go by, and can be told anew.

/// What the checkpointer can be told anew while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointerSettings {
    /// Between checkpoints of a backend that has something new to write.
    pub checkpoint_interval: std::time::Duration,
    /// Between looks for finished logs.
    pub release_interval: std::time::Duration,
    /// A log is closed when it has not changed for this long.
    pub closed_after: std::time::Duration,
    /// Bytes that a backend's rejected.jsonl may have.
    pub rejected_bytes_max: u64,
    /// Finished logs are deleted once the reconciler has compared their keys.
    pub compares_keys: bool,
}

/// What the reader can be told anew while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderSettings {
    /// Lanes a backend: `connections_per_backend`. Taken over by a backend with its next epoch.
    pub lanes_per_backend: u32,
    /// Bytes of log in memory, all backends together.
    pub memory_budget_bytes: usize,
    /// Lines fed and not settled, a backend.
    pub in_flight_per_backend: u32,
    /// Between listings of every folder, hints or not.
    pub rescan_interval: std::time::Duration,
    /// A log is closed when it has not changed for this long; then a last line without newline is a
    /// line.
    pub closed_after: std::time::Duration,
}
