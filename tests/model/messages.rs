//! In place of `replay/messages.rs`: as much of it as the modelled files name.

/// Whose a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackendId(pub(crate) u16);

/// What the reader is told; here it is nothing but told.
#[derive(Debug)]
pub(crate) struct ReaderMessage;
