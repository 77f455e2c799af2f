//! What is done with rejected lines, and what came of it.

/// What becomes of rejected lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// They are given to the reader again, as a log of their own.
    Replay,
    /// They are thrown away.
    Drop,
}

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
