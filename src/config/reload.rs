//! SIGHUP: the file is read again, and what can change while running does.

use std::fmt;
use std::path::Path;

use super::error::ConfigErrors;
use super::key::{Effect, Key};
use super::{Config, ConfigError};

/// One setting that differs between two configurations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Such as `sync.threads`.
    pub setting: String,
    /// When the new value takes effect.
    pub effect: Effect,
    /// The old value, for people; `***` for a password.
    pub old: String,
    /// The new value, for people; `***` for a password.
    pub new: String,
}

impl Change {
    pub(super) fn new(key: &Key, old: String, new: String) -> Self {
        Self {
            setting: key.path(),
            effect: key.effect,
            old,
            new,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting,
            effect,
            old,
            new,
        } = self;
        match effect {
            Effect::Immediate => write!(f, "{setting} changes from {old} to {new} now"),
            Effect::NeedsRestart => write!(
                f,
                "{setting} stays at {old}: the new value {new} takes a restart"
            ),
        }
    }
}

impl Config {
    /// What differs in `new`, in the order of the file.
    #[must_use]
    pub fn differences(&self, new: &Self) -> Vec<Change> {
        let mut changes = self.network.differences(&new.network);
        changes.extend(self.sync.differences(&new.sync));
        changes
    }

    /// Reads the file at `path` again. The result is what holds from now on: new where a setting
    /// can change while running, old where it can't; and all changes, for the log.
    ///
    /// # Errors
    /// The file has faults. Nothing is to change then.
    pub fn reload(&self, path: &Path) -> Result<(Self, Vec<Change>), ConfigErrors> {
        let new = Self::load(path)?;
        let changes = self.differences(&new);
        let mut merged = self.clone();
        merged.network.take_immediate(new.network);
        merged.sync.take_immediate(new.sync);
        merged.warnings = new.warnings;
        // Each value is right alone; old and new ones together must be too.
        let mut faults: Vec<ConfigError> = Vec::new();
        merged.check_relations(&mut faults);
        merged.check_logins(&mut faults);
        if faults.is_empty() {
            Ok((merged, changes))
        } else {
            Err(ConfigErrors::new(path, faults))
        }
    }
}
