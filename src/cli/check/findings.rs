//! What a check has found.

/// What was found. Each text is a sentence that begins with what it is about.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Vec<String>,
    pub(super) warnings: Vec<String>,
    /// A label and what would be used.
    pub(super) facts: Vec<(&'static str, String)>,
}

impl Findings {
    pub(super) fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }

    pub(super) fn warning(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    pub(super) fn fact(&mut self, label: &'static str, text: impl Into<String>) {
        self.facts.push((label, text.into()));
    }
}
