//! The checkpointer over a disk in memory that dies, fills up and lies about syncs.

mod comparing;
mod durable;
mod durable_writes;
mod fixture;
mod forgetting;
mod outages;
mod points;
mod reaping;
mod rejects;
mod requeue;
mod rest;
mod starts;
