//! The feeder against a disk in memory, with the test as everybody else.

mod bodies;
mod changes;
mod comeback;
mod credit;
mod disk;
mod order;
mod resume;
mod rig;
mod twin;
