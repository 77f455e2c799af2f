//! What the controller uses of the configuration, and passes on to the other threads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::binlog::request::Template;
use crate::limits::RECONCILE_PROGRESS_ANSWERS;
use crate::reconcile::comparison::ComparisonSettings;
use crate::reconcile::connection::ConnectionLimits;
use crate::reconcile::settings::ReconcileSettings;
use crate::replay::lane::LaneSettings;
use crate::replay::messages::{CheckpointerSettings, ReaderSettings};
use crate::replay::monitor::MonitorSettings;

/// See the module.
#[derive(Clone, Debug)]
pub struct ControllerSettings {
    /// The checkpointer's.
    pub checkpointer: CheckpointerSettings,
    /// The reader's.
    pub reader: ReaderSettings,
    /// Each monitor's.
    pub monitor: MonitorSettings,
    /// HA logs a write that a backend may have applied so long after that hung.
    pub ambiguity_window: Duration,
    /// `user:password` for the backends, in base64.
    pub credentials: Arc<str>,
    /// What is in flight may be answered for so long at the end.
    pub drain_timeout: Duration,
    /// Every lane's, except for the template.
    pub lane: LaneSettings,
    /// How keys are compared with the other master.
    pub reconcile: ReconcileSettings,
}

impl ControllerSettings {
    /// How to speak to the backend of this name.
    #[must_use]
    pub fn lane(&self, backend: &str) -> Arc<LaneSettings> {
        Arc::new(LaneSettings {
            template: Template::new(backend, Some(&self.credentials)),
            ..self.lane.clone()
        })
    }

    /// The reconciler's. Its connections are used as the lanes' are.
    #[must_use]
    pub fn comparison(&self) -> ComparisonSettings {
        ComparisonSettings {
            reconcile: self.reconcile,
            limits: ConnectionLimits {
                burst_bytes: self.lane.burst_bytes,
                requests_per_connection: self.lane.requests_per_connection,
                connect_timeout: self.lane.connect_timeout,
                response_timeout: self.lane.response_timeout,
            },
            connections: self.lane.lanes as usize,
            credentials: Some(Arc::clone(&self.credentials)),
            progress_answers_max: RECONCILE_PROGRESS_ANSWERS,
            keepalive_interval: self.lane.keepalive_interval,
        }
    }
}

/// What names of folders mean.
#[derive(Clone, Copy)]
pub struct ControllerRules {
    /// Whether a folder's name is a backend's.
    pub is_backend: fn(&str) -> bool,
    /// A backend's address, if its name is one; `None` if it has to be looked up. The error says
    /// why the name is not a backend's.
    pub address: fn(&str) -> Result<Option<SocketAddr>, String>,
}
