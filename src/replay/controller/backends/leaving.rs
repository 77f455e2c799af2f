//! Forgets a backend whose folder is gone, so that its place is free for another.
//!
//! ```text
//!   here ◀──folder is back── gone ──a while, or asked to──▶ asked: what is left?
//!                             ▲                               │ nothing, or that does not matter
//!                             ├── something, or folder back ──┤
//!                             │                               ▼
//!                             └──────────────────── held: paused, flushed, asked once more
//!                                                             │ nobody has anything of it
//!                                                             ▼
//!                       forgotten by workers, reader, checkpointer ──▶ its place is free
//! ```
//!
//! Once it is flushed, what is left can only become less, so the checkpointer's answer remains
//! valid. From then on there is no way back: a folder that comes back is a new backend.

use std::time::Duration;

use super::{Action, Backend, Backends, Context};
use crate::clock::Now;
use crate::http::answer::ClientId;
use crate::limits::{FORGET_AFTER_RESCANS, FORGET_AGAIN};
use crate::replay::messages::{BackendId, Epoch, ForgottenTotals, ReaderMessage};

/// Whether a backend's folder exists, and how far the backend is forgotten.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// When the checkpointer is to be asked what is left, monotonic; `None` while its folder
    /// exists.
    due: Option<Duration>,
    /// Set once the checkpointer was asked what is left, to the epoch if that was flushed by then.
    asked: Option<Option<Epoch>>,
    /// It is paused in order to be forgotten, and not by an operator.
    is_held: bool,
    /// There is no way back.
    is_going: bool,
    /// Its folder has come back since.
    is_back: bool,
    wanted: Option<Wanted>,
}

/// An operator's request to forget it.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    client: ClientId,
    /// Forget it whatever is left.
    yes: bool,
}

/// An answer for the client that has asked.
pub(in crate::replay::controller) struct LeavingAnswer {
    pub(in crate::replay::controller) client: ClientId,
    /// What was done, or why nothing.
    pub(in crate::replay::controller) said: Result<String, String>,
}

impl Leaving {
    /// Whether it is being forgotten.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_held || self.is_going
    }

    /// Whether its folder is gone.
    pub(super) fn is_folder_gone(&self) -> bool {
        self.due.is_some()
    }

    /// There is another `rescan_interval`: what is left is asked for no later than it says.
    pub(super) fn hasten(&mut self, cx: &Context<'_>) {
        if let Some(due) = &mut self.due {
            *due = gone_until(cx).min(*due);
        }
    }

    /// When [`Backend::leave`] is due, monotonic. One that is held waits for its flush only, unless
    /// its folder has come back and gone again meanwhile.
    pub(super) fn deadline(&self, now: Now) -> Option<Duration> {
        let waits = self.asked.is_some() || self.is_going;
        self.due
            .filter(|due| !waits && (!self.is_held || *due > now.monotonic))
    }
}

/// Until when a folder that is gone from now on is waited for, monotonic.
fn gone_until(cx: &Context<'_>) -> Duration {
    let grace = cx.settings.reader.rescan_interval * FORGET_AFTER_RESCANS;
    cx.now.after(grace)
}

impl Backend {
    /// Takes the next step of forgetting it, if that is due.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>) {
        let leaving = &mut self.leaving;
        let Some(due) = leaving.due else {
            return;
        };
        if leaving.asked.is_some() || leaving.is_going || due > cx.now.monotonic {
            return;
        }
        let is_flushed = self.monitor.is_flushed();
        if leaving.is_held {
            // Every thread must have released it before the last question.
            if !is_flushed {
                return;
            }
        } else if self.monitor.is_paused() && leaving.wanted.is_none() {
            // An operator has paused it, and the pause would be forgotten too.
            leaving.due = Some(cx.now.after(FORGET_AGAIN));
            return;
        }
        leaving.asked = Some(is_flushed.then(|| self.monitor.epoch()));
        cx.outbox.ask_left(self.info.id);
    }

    fn stay(&mut self, now: Now) {
        if std::mem::take(&mut self.leaving.is_held) {
            self.monitor.handle_resume(now);
        }
    }
}

impl Backends {
    /// A backend's folder is gone.
    pub(in crate::replay::controller) fn handle_folder_gone(
        &mut self,
        folder: &str,
        cx: &mut Context<'_>,
    ) {
        let due = gone_until(cx);
        let known = self.find(folder).and_then(|id| self.get_mut(id));
        if let Some(backend) = known {
            backend.leaving.is_back = false;
            backend.leaving.due.get_or_insert(due);
        }
    }

    /// The folder is back.
    pub(super) fn handle_folder_back(&mut self, id: BackendId, now: Now) {
        let Some(backend) = self.get_mut(id) else {
            return;
        };
        if backend.leaving.is_going {
            backend.leaving.is_back = true;
            return;
        }
        backend.leaving.due = None;
        backend.stay(now);
    }

    /// An operator wants a backend forgotten. Returns an answer if there is one already.
    pub(in crate::replay::controller) fn want_forgotten(
        &mut self,
        id: BackendId,
        client: ClientId,
        yes: bool,
        now: Now,
    ) -> Option<&'static str> {
        let Some(backend) = self.get_mut(id) else {
            return Some("it is not there any more");
        };
        let leaving = &mut backend.leaving;
        if leaving.due.is_none() {
            return Some(
                "its folder is there; move it away first, and it is forgotten a while later",
            );
        }
        if leaving.wanted.is_some() || leaving.is_going {
            return Some("it is being forgotten already");
        }
        leaving.wanted = Some(Wanted { client, yes });
        leaving.due = Some(now.monotonic);
        None
    }

    /// The checkpointer has answered what is left of a backend.
    pub(in crate::replay::controller) fn handle_state_left(
        &mut self,
        id: BackendId,
        left: Result<Option<String>, String>,
        cx: &mut Context<'_>,
    ) -> Option<LeavingAnswer> {
        let backend = self.get_mut(id)?;
        let asked_at = backend.leaving.asked.take()?;
        let wanted = backend.leaving.wanted;
        let why_not = match left {
            _ if backend.leaving.due.is_none() => Some("its folder is there again".to_owned()),
            Err(why) => Some(why),
            Ok(Some(left))
                if wanted.is_none_or(|wanted| !wanted.yes) && !failpoint!(ForgetWhatIsLeft) =>
            {
                Some(format!(
                    "it still has {left}; --yes (yes=true) throws that away"
                ))
            }
            Ok(_) => None,
        };
        if let Some(why_not) = why_not {
            backend.stay(cx.now);
            if let Some(due) = &mut backend.leaving.due {
                *due = cx.now.after(FORGET_AGAIN);
            }
            let Wanted { client, .. } = backend.leaving.wanted.take()?;
            let said = Err(format!("{}: {why_not}", backend.info.name));
            return Some(LeavingAnswer { client, said });
        }
        if !backend.leaving.is_held && backend.monitor.handle_pause() {
            backend.leaving.is_held = true;
        }
        let is_same = asked_at == Some(backend.monitor.epoch());
        if is_same && backend.monitor.is_flushed() && backend.monitor.is_paused() {
            backend.leaving.is_going = true;
            cx.outbox.forget(id);
        }
        None
    }

    /// All threads have forgotten a backend: its place is free. Returns its name if its folder is
    /// back, and an answer if a client waits.
    pub(in crate::replay::controller) fn handle_forgotten(
        &mut self,
        id: BackendId,
        totals: ForgottenTotals,
        cx: &mut Context<'_>,
    ) -> Option<LeavingAnswer> {
        self.get_mut(id)?;
        let backend = self.all[id.index()].take()?;
        let name = &backend.info.name;
        self.by_name.remove(&**name);
        self.free.push_back(id.next_at_place());
        cx.actions.push_back(Action::Remove(id));
        // Both at once, so that the totals that HA gets do not change.
        cx.board.remove(name);
        self.set_forgotten(totals, cx);
        *cx.states_changed = true;
        if backend.leaving.is_back {
            self.handle_found(name.to_string(), cx);
        }
        if self.too_many.ends() {
            cx.outbox.reader(ReaderMessage::TellFolders);
        }
        let Wanted { client, .. } = backend.leaving.wanted?;
        let said = Ok(format!("{name}: forgotten"));
        Some(LeavingAnswer { client, said })
    }

    /// Sets the totals of all backends that were ever forgotten.
    pub(in crate::replay::controller) fn set_forgotten(
        &mut self,
        totals: ForgottenTotals,
        cx: &mut Context<'_>,
    ) {
        self.forgotten = (totals.processed, totals.settled);
        cx.board.set_forgotten(totals.processed, totals.settled);
        *cx.states_changed = true;
    }
}
