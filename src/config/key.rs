//! One row of the settings' table, and how a value becomes a field.

use std::fmt;
use std::time::Duration;

use super::document::Entries;
use super::error::ConfigError;
use super::value::{Read, Typed, read};

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

/// What values a setting takes. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Count {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// Bytes, as a number or as a string with a unit.
    Size {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// Time, as a number in `unit` or as a string with a unit.
    Time {
        /// The unit of a plain number.
        unit: Unit,
        /// Least.
        min: Duration,
        /// Most.
        max: Duration,
    },
    /// A user's name: one character at least, no control characters, and no colon, at which basic
    /// authentication would end it.
    User,
    /// A password; can be empty, and is never shown.
    Password,
    /// A path; not empty.
    Path,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An IP address, or null.
    Address,
    /// An access list.
    Access,
    /// Names of hosts.
    Names,
    /// Such a value, or null.
    Optional(&'static Kind),
    /// An object from strings to strings.
    Outcomes,
}

/// The unit of a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// ms
    Milliseconds,
    /// s
    Seconds,
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
                Ok(value) => return self.typed(value),
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
        let default = serde_json::from_str(self.default)
            .ok()
            .and_then(|default| read(&self.kind, &default).ok());
        self.typed(default.expect(
            "the table's defaults are values that their own kind takes: every load reads them",
        ))
    }

    fn typed<T: Typed>(&self, value: Read) -> T {
        T::from_read(value)
            .expect("the table's kinds fit the types of their fields: every load converts each")
    }
}

/// What to write, for the end of an error's sentence.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("true or false"),
            Self::Count { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Size { min, max } => {
                write!(
                    f,
                    "bytes, or a string such as \"64MiB\", from {} to {}",
                    super::value::show_size(*min),
                    super::value::show_size(*max)
                )
            }
            Self::Time { unit, min, max } => {
                write!(
                    f,
                    "{unit}, or a string such as \"5s\" or \"500ms\", from {} to {}",
                    super::value::show_time(*min),
                    super::value::show_time(*max)
                )
            }
            Self::User => f.write_str("a string without a colon"),
            Self::Password => f.write_str("a string"),
            Self::Path => f.write_str("a path as a string"),
            Self::Word(words) => write!(f, "one of \"{}\"", words.join("\", \"")),
            Self::Address => f.write_str("an IP address as a string"),
            Self::Access => f.write_str(
                "addresses, a-b ranges and networks as one string, \
                separated by commas; an empty one admits everyone",
            ),
            Self::Names => {
                f.write_str("names of hosts as one string, separated by commas; * stands for any")
            }
            Self::Optional(kind) => kind.fmt(f),
            Self::Outcomes => f.write_str("an object of strings"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
        })
    }
}
