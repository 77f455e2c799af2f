//! What can be wrong with a configuration: each fault says where, what was found, why it can't be,
//! and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

/// All faults of one file. Its text is one line for the file and one for each fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    path: PathBuf,
    faults: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(super) fn new(path: &Path, faults: Vec<ConfigError>) -> Self {
        Self {
            path: path.to_owned(),
            faults,
        }
    }

    pub(super) fn of_file(path: &Path, fault: ConfigError) -> Self {
        Self::new(path, vec![fault])
    }

    /// The faults, in the order of the settings' table. Never empty.
    #[must_use]
    pub fn faults(&self) -> &[ConfigError] {
        &self.faults
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        write!(
            f,
            "the configuration {} has {count} {}:",
            self.path.display(),
            if count == 1 { "fault" } else { "faults" }
        )?;
        self.faults
            .iter()
            .try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("it can't be read: {reason}; {advice}")]
    Unreadable {
        /// What the system says.
        reason: String,
        advice: &'static str,
    },
    /// The file is no JSON, or has the wrong outer form.
    #[error(
        "line {line}, column {column}: {reason}; mend the JSON there (a comma or quote too many or \
         missing is the usual cause)"
    )]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1; 0 stands for the place before the first character.
        column: usize,
        /// What was expected or found.
        reason: String,
    },
    /// A setting has a value that it can't have.
    #[error("{setting}: {value} {reason}; {advice}")]
    Setting {
        /// Such as `sync.threads`.
        setting: String,
        /// As it stands in the file; `***` for a password.
        value: String,
        /// Why it can't be, as the rest of a sentence that begins with the value.
        reason: String,
        advice: String,
    },
}

impl ConfigError {
    pub(super) fn unreadable(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let advice = match error.kind() {
            ErrorKind::NotFound => "give the right path with --config, or put the file there",
            ErrorKind::PermissionDenied => "let the user that runs hustdbsync read it",
            _ => "give the path of a sync_server.json with --config",
        };
        Self::Unreadable {
            reason: error.to_string(),
            advice,
        }
    }
}

/// Something odd in the file that doesn't stop the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Such as `sync.thread`.
    pub setting: String,
    /// What is odd, and what to do, as the rest of a sentence that begins with the setting.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.text)
    }
}
