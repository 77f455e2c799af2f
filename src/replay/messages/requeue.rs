//! What came of a request about rejected lines.

/// What became of rejected lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requeued {
    /// Lines that were taken back or thrown away.
    pub done: u64,
    /// Lines that were to be taken back and stay, since only a part of them was kept.
    pub cut: u64,
    /// Lines that are in rejected.jsonl now.
    pub left: u64,
}
