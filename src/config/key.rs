//! One row of the settings' table, and how a value becomes a field.

use super::entries::Entries;
use super::error::ConfigError;
use super::kind::Kind;
use super::value::{Typed, read};

/// Everything that there is to know about one setting.
#[derive(Debug)]
pub struct Key {
    /// `network` or `sync`.
    pub section: &'static str,
    /// Its name in the file.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default, as it would stand in the file. `null` where a rule decides.
    pub default: &'static str,
    /// When a change takes effect.
    pub effect: Effect,
    /// Whose key it is.
    pub origin: Origin,
    /// What it does, in a sentence or two.
    pub meaning: &'static str,
}

/// When a change to the file takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// On SIGHUP.
    Immediate,
    /// With the next start.
    NeedsRestart,
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The original `hustdbsync` reads it too.
    Original,
    /// Ours alone.
    New,
}

impl Key {
    /// Such as `sync.threads`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The typed value from the file, or the default. A fault is added to `faults` and the default
    /// taken, so that the rest is looked at too.
    pub(super) fn value<T: Typed>(
        &self,
        entries: &Entries<'_>,
        faults: &mut Vec<ConfigError>,
    ) -> T {
        if let Some(found) = entries.value(self.name) {
            match read(&self.kind, found) {
                Ok(value) => return value,
                Err(fault) => faults.push(ConfigError::Setting {
                    setting: self.path(),
                    value: fault.value,
                    reason: fault.reason,
                    advice: match self.default {
                        "null" => format!("write {}, or leave it out", self.kind),
                        default => format!(
                            "write {}, or leave it out for the default {default}",
                            self.kind
                        ),
                    },
                }),
            }
        }
        let default = serde_json::from_str(self.default).ok();
        let default = default.and_then(|default| read(&self.kind, &default).ok());
        default.expect("the table's defaults are of their own kind and type: every load reads them")
    }
}
