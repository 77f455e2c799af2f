//! What the driver of a part does after the part's turn.

use std::time::Duration;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do: call again, once connections, if there are any, have been served.
    Busy,
    /// There is nothing to do before this monotonic instant, a message or an event.
    Idle {
        /// When to call again at the latest.
        until: Duration,
    },
    /// `Stop` has come.
    Stopped,
}
