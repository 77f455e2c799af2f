//! What there is to tell while it runs: counters, what follows from them, and the answers to those
//! who ask. Pure.
//!
//! The engine's threads add to [`counters::BackendCounters`]; the control thread reads them into a
//! [`snapshot::StatusBoard`]; every answer is made from that board's [`snapshot::Snapshot`], so
//! nobody who asks waits for a disk, a backend or a replay. This is the one module that knows
//! another of its height: [`answer`] routes requests as `http` parsed them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod agreement;
pub mod answer;
pub mod auth;
pub mod control_request;
mod counter;
pub mod counters;
mod guide;
pub mod health;
pub mod histogram;
mod history;
mod hour;
pub mod metrics;
pub mod page;
pub mod rate;
pub mod reasons;
pub mod reconcile;
pub mod report;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod sync_point;
pub mod sync_status;
mod text;
