//! What is settled: the state that outlives the process.
//!
//! ```text
//!  BackendLedger ── one for each backend: its files, its totals, what is in flight
//!    ├─ FileLedger    watermark + pieces above it        (file)
//!    ├─ OpenSegments  which lines in flight are settled  (acks)
//!    └─ ResumePlan    where to start again               (plan)
//!  Checkpoint ── a ledger at one instant, as bytes       (checkpoint)
//! ```
//!
//! Pure: no disk, no clock. What is written where and when is the checkpointer's
//! (`replay::checkpointer`).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod acks;
pub mod backend;
pub mod checkpoint;
pub mod file;
pub mod forgotten;
pub mod identity;
pub mod ids;
pub mod legacy;
pub mod plan;
pub mod rejected;
pub mod runs;
pub mod segment;
pub mod totals;
