//! The decisions: what is read, what is sent, in which order, what an answer means. No system call,
//! no clock.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod agenda;
pub mod batch_table;
pub mod checkpointer;
pub mod chunk;
pub mod controller;
pub mod dirty_flags;
#[cfg(test)]
mod dirty_flags_tests;
pub mod disk;
pub mod dispatch;
pub mod durable_write;
pub mod ending;
pub mod ids;
pub mod in_flight;
pub mod lane;
pub mod links;
pub(crate) mod logged;
pub mod mailbox;
#[cfg(test)]
mod mailbox_tests;
pub mod messages;
pub mod monitor;
pub mod outbox;
pub mod outcome;
pub mod reachability;
pub mod reader;
pub mod reconciler;
mod sync;
#[doc(hidden)]
#[cfg(feature = "testing")]
pub mod testdisk;
pub mod turn;
pub mod vec_pool;
pub mod worker;
