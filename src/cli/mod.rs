//! The commands.

pub mod status;
