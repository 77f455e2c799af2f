//! The reader against a disk in memory, with the test as everybody else.

mod backlog;
mod bodies;
mod changes;
mod comeback;
mod credit;
mod failing;
mod fixture;
mod model;
mod order;
mod rest;
mod resume;
