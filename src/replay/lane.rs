//! A lane.

use std::time::Duration;

use crate::binlog::request::Template;
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
    /// Bytes of a request's head; a longer one is rejected.
    pub head_bytes_max: usize,
    /// Answers after which a connection is retired.
    pub requests_per_connection: u32,
    /// Tries after which a record that fails while the backend is otherwise well is set aside.
    pub attempts_max: u32,
    /// Records a second, over all lanes; 0: no bound.
    pub records_per_second_max: u64,
    /// For making a connection.
    pub connect_timeout: Duration,
    /// For the next answer.
    pub response_timeout: Duration,
}
