//! What the controller uses of the configuration, and passes on to the other threads.

use std::sync::Arc;
use std::time::Duration;

use crate::binlog::request::Template;
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
}
