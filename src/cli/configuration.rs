//! The configuration that a command works with.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::config::{Config, NotFound, locate};

/// The path of the configuration, by the rule of [`locate`].
pub(super) fn config_path(given: Option<&Path>) -> Result<PathBuf, NotFound> {
    let executable = std::env::current_exe().ok();
    locate(given, executable.as_deref(), Path::exists)
}

pub(super) fn load_config(given: Option<&Path>) -> Result<Config, Failure> {
    Ok(Config::load(&config_path(given)?)?)
}
