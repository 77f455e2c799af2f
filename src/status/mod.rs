//! What is going on, as numbers and as answers.

pub mod counters;
