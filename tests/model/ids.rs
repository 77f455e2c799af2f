//! In place of `replay/ids.rs`: as much of it as the modelled files name.

/// Whose a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackendId(pub(crate) u16);
