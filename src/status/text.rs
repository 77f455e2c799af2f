//! A sentence that one thread writes and any may read.

use std::sync::{Mutex, PoisonError};

/// A text that one thread replaces and another reads; `None` if there is none.
#[derive(Debug, Default)]
pub(crate) struct Text(Mutex<Option<Box<str>>>);

impl Text {
    pub(crate) fn set(&self, text: Option<&str>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != text {
            *known = text.map(Into::into);
        }
    }

    /// The text; empty if there is none.
    pub(crate) fn load(&self) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_deref().unwrap_or_default().to_owned()
    }
}
