//! `ctl rotate`: the process's own log file is begun anew with its next line, by the thread that
//! writes it; who asks waits for no disk.
//!
//! A process has one log, and so one of this.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static HAS_FILE: AtomicBool = AtomicBool::new(false);
/// How often it was asked for.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// What the writer has followed.
#[derive(Debug, Default)]
pub(super) struct Followed(u64);

impl Followed {
    /// Of a file that is opened now.
    pub(super) fn new() -> Self {
        HAS_FILE.store(true, Ordering::Relaxed);
        Self(ASKED.load(Ordering::Acquire))
    }

    /// Whether it was asked for since this was last asked.
    pub(super) fn take(&mut self) -> bool {
        let asked = ASKED.load(Ordering::Acquire);
        std::mem::replace(&mut self.0, asked) != asked
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
    // The line with which it begins.
    tracing::info!("the log file is begun anew, as asked");
    Ok("the log file is begun anew".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_follows_once() {
        let mut followed = Followed::new();
        assert!(ask().is_ok());
        assert!(followed.take());
    }
}
