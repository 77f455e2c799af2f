//! A backend, as everyone is told of it.

use std::sync::Arc;

use crate::replay::dirty_flags::BackendDirtyFlags;
use crate::replay::ids::BackendId;
use crate::status::counters::BackendCounters;

/// A backend that everyone shall know.
#[derive(Clone, Debug)]
pub struct BackendInfo {
    /// Its place.
    pub id: BackendId,
    /// Its name, `host:port`, which is its folder's.
    pub name: Arc<str>,
    /// Its numbers.
    pub counters: Arc<BackendCounters>,
    /// Where inotify's hints on its folder are left for the reader.
    pub dirty_flags: Arc<BackendDirtyFlags>,
}
