//! One file for each group of goals.

pub(crate) mod wire;
