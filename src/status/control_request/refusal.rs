//! Why a request is not done.

use crate::http::answer::{Answer, Status};

/// Why a request is not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The answer's status.
    pub status: Status,
    /// Further fields of the answer.
    pub fields: &'static [(&'static str, &'static str)],
    /// One line for people, without its newline; may be empty.
    pub why: String,
}

impl Refusal {
    /// A refusal with a reason.
    #[must_use]
    pub fn new(status: Status, why: impl Into<String>) -> Self {
        Self {
            status,
            fields: &[],
            why: why.into(),
        }
    }

    pub(super) fn bad(why: impl Into<String>) -> Self {
        Self::new(Status::BadRequest, why)
    }

    pub(super) fn of(answer: &Answer<'static>) -> Self {
        Self {
            status: answer.status,
            fields: answer.fields,
            why: String::from_utf8_lossy(answer.body.trim_ascii_end()).into_owned(),
        }
    }
}
