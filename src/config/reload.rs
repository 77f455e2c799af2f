//! SIGHUP: the file is read again, and what can change while running does.

use std::path::Path;

use super::Config;
use super::change::Change;
use super::error::{ConfigError, ConfigErrors};

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
        merged.from_environment = new.from_environment;
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
