//! `ctl rotate`: the process's own log file is begun anew with its next line, by the thread that
//! writes it; who asks waits for no disk.
//!
//! A process has one log, and so one of this.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static HAS_FILE: AtomicBool = AtomicBool::new(false);
/// How often it was asked for.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// What the writer has followed with a file that it opens hereafter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Followed(u64);

impl Followed {
    /// Of the first file.
    pub(super) fn new() -> Self {
        HAS_FILE.store(true, Ordering::Relaxed);
        Self::now()
    }

    /// Of the next file. Another one than that of the file that is open: it was asked for since.
    pub(super) fn now() -> Self {
        Self(ASKED.load(Ordering::Acquire))
    }
}

/// Asks for it; says what comes of that.
pub(super) fn ask() -> Result<String, String> {
    if !HAS_FILE.load(Ordering::Relaxed) {
        return Err(
            "this server writes no log file of its own: it logs to stderr, which is whoever \
             started it's to rotate"
                .to_owned(),
        );
    }
    ASKED.fetch_add(1, Ordering::Release);
    // The line with which it begins, or the last of the old file where it cannot: the writer tells
    // why.
    tracing::info!("the log file is to be begun anew from here on, as asked");
    Ok(
        "asked for: the next line of the log begins its file anew; where that cannot be made, the \
        old one says why"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_opened_before_has_not_followed() {
        let followed = Followed::new();
        assert!(ask().is_ok());
        assert_ne!(Followed::now(), followed);
    }
}
