//! What is logged once, and not each time that it is met with.
//!
//! The log itself leaves out lines that are alike, and counts them (`cli/logging/repeated.rs`).
//! Here is what only the code that logs can know: that something lasts, and when it is over.

use std::time::Duration;

use crate::clock::Now;

/// Something that lasts: it is logged when it begins, and may be logged when it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoggedOnce(bool);

impl LoggedOnce {
    /// It is so. Returns whether that is to be logged.
    pub(crate) fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.0, true)
    }

    /// It is so no longer. Returns whether it was logged that it is.
    pub(crate) fn ends(&mut self) -> bool {
        std::mem::take(&mut self.0)
    }
}

/// Something that comes again and again: it is logged at most once in an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoggedRarely(Option<Duration>);

impl LoggedRarely {
    /// It has come. Returns whether that is to be logged.
    pub(crate) fn comes(&mut self, interval: Duration, now: Now) -> bool {
        let is_due = |last: Duration| now.monotonic >= last.saturating_add(interval);
        let is_logged = self.0.is_none_or(is_due);
        if is_logged {
            self.0 = Some(now.monotonic);
        }
        is_logged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_logged_when_it_begins_and_again_once_it_was_over() {
        let mut lacks = LoggedOnce::default();
        assert!(!lacks.ends(), "it has not begun");
        assert!(lacks.begins());
        assert!(!lacks.begins());
        assert!(lacks.ends());
        assert!(!lacks.ends());
        assert!(lacks.begins());
    }

    #[test]
    fn what_comes_often_is_logged_once_in_an_interval() {
        let mut fails = LoggedRarely::default();
        let mut comes = |ms| fails.comes(Duration::from_secs(60), Now::at_ms(ms));
        assert!(comes(5));
        assert!(!comes(60_004));
        assert!(comes(60_005));
        assert!(!comes(60_006));
    }
}
