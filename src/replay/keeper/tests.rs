//! The keeper over a disk in memory that dies, fills up and lies about syncs.

mod chains;
mod durable;
mod forgetting;
mod outages;
mod points;
mod rejects;
mod releases;
mod rework;
mod rig;
mod starts;
