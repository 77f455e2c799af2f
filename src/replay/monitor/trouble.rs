//! What lanes' failures mean for their backend.
//!
//! One lane that fails alone has one record's failure, which the lane settles by `attempts_max`.
//! Several that fail while none is answered have the backend's. A lane that has asked others knows
//! better: then the failure is the record's own.

use std::time::Duration;

use crate::clock::Now;
use crate::limits::{TROUBLE_PAUSE_FIRST_MS, TROUBLE_PAUSE_LAST_MS, TROUBLES_TO_DOWN};
use crate::replay::messages::{Epoch, Trouble};

use super::Monitor;
use super::state::State;

impl Monitor {
    /// A lane failed; by a fault of the record's own, where others were answered meanwhile.
    pub fn handle_trouble(
        &mut self,
        lane: u16,
        epoch: Epoch,
        trouble: &Trouble,
        others_answered: bool,
        answers: u64,
        now: Now,
    ) {
        let State::Up(up) = &mut self.state else {
            return;
        };
        if epoch != self.epoch {
            return;
        }
        if answers > up.answers_at_up {
            self.pause = Duration::ZERO;
        }
        let at_once = matches!(trouble, Trouble::Connection(_) | Trouble::Timeout);
        if matches!(trouble, Trouble::Connection(_)) && !up.watched {
            up.begin_hold();
        }
        let failed = if others_answered {
            0
        } else {
            up.troubles.count(lane, trouble, answers)
        };
        if failed > 0 && *trouble != Trouble::Refused {
            self.note_failure(trouble, answers);
        }
        if *trouble == Trouble::Refused {
            self.password_suspected = true;
            self.pause_longer(now);
            self.leave_up(State::Refused);
            self.schedule(now);
        } else if failed >= TROUBLES_TO_DOWN.min(self.settings.lanes.max(1)) as usize {
            self.pause_longer(now);
            self.note_relapse();
            self.leave_up(State::Down {
                why: format!(
                    "{failed} connections failed and none was answered, the last: {trouble}"
                ),
            });
            self.schedule(now);
        } else if at_once {
            self.probe_at_once(now);
        }
        self.check_invariants();
    }

    /// Failures although the probe is good: each time without an answer in between doubles the
    /// pause, so that nothing circles.
    fn pause_longer(&mut self, now: Now) {
        let first = Duration::from_millis(TROUBLE_PAUSE_FIRST_MS);
        let last = Duration::from_millis(TROUBLE_PAUSE_LAST_MS);
        self.pause = (self.pause * 2).clamp(first, last);
        self.paused_until = now.after(self.pause);
    }
}
