//! Compares what both masters of a key hold once its records are replayed, and mends what differs.
//!
//! Replaying a log in order makes a backend right only if nobody else wrote to it meanwhile. Live
//! writes do: they are numbered by the backend's own, lower counter, and the waiting record
//! overwrites them. The log alone does not show this; the peer does, and HA's table says who it is.
//!
//! Pure: no disk, no clock, no socket. The driver is in `engine`. docs/operations.md has the
//! settings, `sync.reconcile` and those beside it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod difference;
pub mod settings;
pub mod table;
