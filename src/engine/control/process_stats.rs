//! Statistics that belong to no backend: the threads, the process, and the HTTP server itself.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::engine::liveness::{Liveness, MonitoredThreads};
use crate::engine::os::facts::process_facts;
use crate::limits::PROCESS_FACTS_INTERVAL;
use crate::status::counters::ServerCounters;
use crate::status::server::Server;

/// See the module.
pub(super) struct ProcessStats {
    liveness: Liveness,
    counters: Arc<ServerCounters>,
    /// When the system's figures about the process were last read.
    asked_at: Option<Duration>,
}

impl ProcessStats {
    pub(super) fn new(threads: MonitoredThreads, counters: Arc<ServerCounters>) -> Self {
        Self {
            liveness: Liveness::new(threads),
            counters,
            asked_at: None,
        }
    }

    /// Checks the liveness of the other threads.
    pub(super) fn look(&mut self, now: Now) {
        self.liveness.look(now);
    }

    /// For `/healthz`, `/readyz` and `/v1/status`.
    pub(super) fn tell_health(&mut self, server: &mut Server, now: Now) {
        self.liveness.look(now);
        self.liveness.tell(now, &mut server.threads);
        server.logs_listed = self.counters.logs_listed.load() > 0;
    }

    /// For `/metrics`.
    pub(super) fn tell_all(&mut self, server: &mut Server, now: Now) {
        self.tell_health(server, now);
        server.memory_bytes = self.counters.memory_bytes.load();
        server.checkpoint_times = self.counters.checkpoint_times.load();
        let is_due = |asked_at| now.monotonic.saturating_sub(asked_at) >= PROCESS_FACTS_INTERVAL;
        if self.asked_at.is_none_or(is_due) {
            self.asked_at = Some(now.monotonic);
            server.process = process_facts()
                .inspect_err(
                    |error| tracing::debug!(%error, "the system tells nothing about this process"),
                )
                .ok();
        }
    }
}
