//! A setting that differs between two configurations.

use std::fmt;

use super::key::{Effect, Key};

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
