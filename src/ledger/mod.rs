//! What is settled: the state that outlives the process.

pub mod identity;
