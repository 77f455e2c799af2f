//! Compares what both masters of a key hold once its records are replayed (docs/reconcile.md).
//!
//! ```text
//!  keys of logs ──▶ comparison ──▶ check, one a key ──▶ outcome: equal, mended, left different
//!    (keys)            │    ▲            │ decision
//!                      ▼    │ answers    ▼ asks
//!                    masters: bursts of requests on connections of their own
//! ```
//!
//! Replaying a log in order makes a backend right only if nobody else wrote to it meanwhile. Live
//! writes do: they are numbered by the backend's own, lower counter, and the waiting record
//! overwrites them. The log alone does not show this; the peer does, and HA's table says who it is.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod ask;
pub mod check;
pub mod comparison;
pub mod connection;
pub mod decision;
pub mod delete_guard;
pub mod difference;
pub mod key;
pub mod keys;
pub mod master;
pub mod outcome;
pub mod request;
pub mod settings;
pub mod table;
mod window;
