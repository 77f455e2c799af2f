//! How answers leave.

/// How answers leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As hustdb's do: a thread takes one request of a connection at a time, works on it for
    /// [`SERVICE_TIME`](super::SERVICE_TIME), writes its answer by itself and turns to its other connections.
    #[default]
    OneByOne,
    /// All requests of a read in one write, and without any work: faster than any hustdb, to
    /// measure what a client could do at most.
    AtOnce,
}
