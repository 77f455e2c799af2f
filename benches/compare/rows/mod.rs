//! One file for each group of goals.

pub(crate) mod checkpoint;
pub(crate) mod engines;
pub(crate) mod floor;
pub(crate) mod idle;
pub(crate) mod manner;
pub(crate) mod methods;
pub(crate) mod peer;
pub(crate) mod polls;
pub(crate) mod reader;
pub(crate) mod scaling;
pub(crate) mod trickle;
pub(crate) mod wire;
