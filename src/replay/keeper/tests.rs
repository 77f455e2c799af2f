//! The keeper over a disk in memory that dies, fills up and lies about syncs.

mod durable;
mod rejects;
mod releases;
mod rig;
mod starts;
