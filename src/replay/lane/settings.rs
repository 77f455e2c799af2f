//! What a lane uses of the configuration.

use std::time::Duration;

use crate::binlog::request::Template;
use crate::clock::Now;
use crate::replay::outcome::Outcomes;

/// How a lane speaks to its backend.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// The constant part of every request's head.
    pub template: Template,
    /// What answers mean.
    pub outcomes: Outcomes,
    /// Lanes that the backend has, over all workers.
    pub lanes: u32,
    /// Bytes of one burst; 0: one request a send.
    pub burst_bytes: usize,
    /// Octet by which a request's target has to end; where it ends later the record is rejected.
    pub head_bytes_max: usize,
    /// Answers after which a connection is retired.
    pub requests_per_connection: u32,
    /// Tries after which a record that fails while the backend is otherwise well is rejected.
    pub attempts_max: u32,
    /// Records a second, over all lanes; 0: no bound.
    pub records_per_second_max: u64,
    /// For making a connection.
    pub connect_timeout: Duration,
    /// For the next answer, or for the next bytes to go out.
    pub response_timeout: Duration,
    /// A connection that nothing was sent on for so long is closed.
    pub idle_timeout: Duration,
    /// TCP asks for a sign of life on a connection that is idle for so long, and so often.
    pub keepalive_interval: Duration,
    /// Lookups wait for so long after the backend came up, or a connection ended with requests out.
    pub lookup_hold: Duration,
}

impl LaneSettings {
    /// When lookups may go, monotonic, where something that was sent until now may still be
    /// applied.
    #[must_use]
    pub fn lookups_from(&self, now: Now) -> Duration {
        match failpoint!(LookUpAtOnce) {
            true => now.monotonic,
            false => now.after(self.lookup_hold),
        }
    }
}
