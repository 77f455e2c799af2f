//! A section's keys and values.

use serde_json::Value;

/// The keys and values of one section.
#[derive(Default)]
pub(super) struct Entries<'a>(pub(super) &'a [(String, Value)]);

impl<'a> Entries<'a> {
    /// The value of a key; the first where there are several, as the original has it.
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }
}
