//! The decisions: what is read, what is sent, in which order, what an answer means. No system call, no clock.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod chain;
pub mod chunk;
pub mod disk;
pub mod ending;
pub mod exchange;
pub mod feeder;
pub mod held;
pub mod hints;
#[cfg(test)]
mod hints_tests;
pub mod keeper;
pub mod lane;
pub mod letters;
pub mod mailbox;
#[cfg(test)]
mod mailbox_tests;
pub mod messages;
pub mod monitor;
pub mod outcome;
pub mod pace;
pub mod post;
pub mod reachability;
pub mod spares;
mod sync;
#[doc(hidden)]
pub mod testdisk;
pub mod worker;
