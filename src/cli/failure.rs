//! Why a command failed.

use std::fmt;

/// Why a command failed, as a sentence for stderr.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

impl<T: fmt::Display> From<T> for Failure {
    fn from(reason: T) -> Self {
        Self(reason.to_string())
    }
}
