//! Forgets backends: adds their totals to those of forgotten backends, removes their state, and
//! reports to the controller.
//!
//! ```text
//!   totals, with the name ─▶ its files and folder are removed
//!                              ─▶ totals, without the name ─▶ Forgotten
//! ```
//!
//! Each of the three is durable before the next. If the process dies in between, the name stays,
//! and the next process removes what is left before it reads any state. So nothing is counted
//! twice, and no later checkpoint is mistaken for the old one.

use std::time::Duration;

use crate::clock::Now;
use crate::ledger::backend::BackendLedger;
use crate::ledger::forgotten::{Forgotten, ForgottenTotals};
use crate::limits::{FORGET_RETRY, FORGOTTEN_BYTES_MAX};
use crate::replay::checkpointer::backend_state::{BackendState, BackendStates, Context};
use crate::replay::checkpointer::store::{StoreError, doing, is_known_state};
use crate::replay::disk::{Area, Disk, read_state};
use crate::replay::messages::{BackendId, ControlMessage};

/// The folder of the totals, next to the backends' folders. No backend can have this name.
const FOLDER: &str = ".forgotten";
const TOTALS: &str = "totals";
const TOTALS_NEW: &str = "totals.new";

#[derive(Debug)]
struct Going {
    backend: BackendId,
    /// Its numbers, once the totals contain them.
    counted: Option<ForgottenTotals>,
    /// A checkpoint of it is under way; its completion wakes the checkpointer.
    waits: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// What is on disk; `None` until that has been read.
    kept: Option<Forgotten>,
    going: Vec<Going>,
    /// When the next attempt after a failure is due, monotonic.
    retry_at: Duration,
    is_failing: bool,
}

impl Leaving {
    /// When [`Leaving::work`] has something to do, monotonic.
    pub(super) fn deadline(&self) -> Duration {
        let is_idle = self.is_ready() && self.going.iter().all(|going| going.waits);
        if is_idle {
            Duration::MAX
        } else {
            self.retry_at
        }
    }

    /// Whether the backends that earlier processes began to remove are gone.
    fn is_ready(&self) -> bool {
        let mut counted = self.going.iter().filter(|going| going.counted.is_some());
        let kept = self.kept.as_ref();
        kept.is_some_and(|kept| kept.removing.is_empty() || counted.next().is_some())
    }

    /// Whether this backend's state is being removed, so that nothing may be written to it.
    pub(super) fn holds(&self, backend_state: &BackendState) -> bool {
        let mut named = self.kept.iter().flat_map(|kept| &kept.removing);
        named.any(|name| **name == **backend_state.name())
            || self
                .going
                .iter()
                .any(|going| going.backend == backend_state.info().id)
    }

    /// No other thread has anything of this backend any more.
    pub(super) fn handle_forget(&mut self, backend: BackendId) {
        self.going.push(Going {
            backend,
            counted: None,
            waits: false,
        });
    }

    /// Takes the next steps for all backends that are to be forgotten.
    pub(super) fn work<D: Disk>(
        &mut self,
        backend_states: &mut BackendStates,
        cx: &mut Context<'_, D>,
    ) {
        if cx.now.monotonic < self.retry_at {
            return;
        }
        let done = self
            .make_ready(backend_states, cx)
            .and_then(|()| self.count(backend_states, cx))
            .and_then(|()| self.remove_counted(backend_states, cx));
        match done {
            Ok(()) => self.is_failing = false,
            Err(error) => self.handle_failure(&error, cx.now),
        }
    }

    fn handle_failure(&mut self, error: &StoreError, now: Now) {
        self.retry_at = now.after(FORGET_RETRY);
        if !std::mem::replace(&mut self.is_failing, true) {
            let cause = error.to_string();
            tracing::error!(
                cause,
                "backends whose folders are gone cannot be forgotten yet; it is tried again"
            );
        }
    }

    /// Reads what earlier processes have left, once.
    fn make_ready<D: Disk>(
        &mut self,
        backend_states: &BackendStates,
        cx: &mut Context<'_, D>,
    ) -> Result<(), StoreError> {
        if self.kept.is_some() {
            return Ok(());
        }
        let mut kept = read(cx.disk)?;
        // If this could not be read at the start, some of these backends may have come back
        // meanwhile: then the state is the new backend's.
        let is_back = |name: &String| {
            let mut known = backend_states.iter().flatten();
            known.any(|backend_state| {
                **backend_state.name() == **name && backend_state.ledger().is_some()
            })
        };
        kept.removing.retain(|name| !is_back(name));
        if kept.totals != ForgottenTotals::default() {
            cx.outbox
                .control(ControlMessage::ForgottenBefore(kept.totals));
        }
        self.kept = Some(kept);
        Ok(())
    }

    /// Adds those that have no checkpoint under way to the totals, durably.
    fn count<D: Disk>(
        &mut self,
        backend_states: &BackendStates,
        cx: &mut Context<'_, D>,
    ) -> Result<(), StoreError> {
        let mut next = self.kept.clone().expect("it was read");
        let mut counted = Vec::new();
        for (at, going) in self.going.iter_mut().enumerate() {
            if going.counted.is_some() {
                continue;
            }
            let backend_state = backend_state_at(backend_states, going.backend);
            going.waits = backend_state.is_under_way();
            if going.waits {
                continue;
            }
            let totals = backend_state
                .ledger()
                .map(BackendLedger::totals)
                .unwrap_or_default();
            let totals = ForgottenTotals {
                processed: totals.processed,
                settled: totals.settled,
            };
            next.totals = next.totals.with(totals);
            next.removing.push(backend_state.name().to_string());
            counted.push((at, totals));
        }
        if !counted.is_empty() {
            write(cx.disk, &next)?;
            self.kept = Some(next);
            for (at, totals) in counted {
                self.going[at].counted = Some(totals);
            }
        }
        Ok(())
    }

    /// Removes the state of those that are counted. One that cannot be removed does not hold up
    /// others.
    fn remove_counted<D: Disk>(
        &mut self,
        backend_states: &mut BackendStates,
        cx: &mut Context<'_, D>,
    ) -> Result<(), StoreError> {
        let mut next = self.kept.clone().expect("it was read");
        let mut failure = Ok(());
        next.removing.retain(|name| match remove(cx.disk, name) {
            Ok(()) => false,
            Err(error) => {
                failure = Err(error);
                true
            }
        });
        if self.kept.as_ref().map(|kept| kept.removing.len()) == Some(next.removing.len()) {
            return failure;
        }
        write(cx.disk, &next)?;
        let is_left = |going: &Going, backend_states: &BackendStates| {
            let name = backend_state_at(backend_states, going.backend).name();
            going.counted.is_none() || next.removing.iter().any(|left| **left == **name)
        };
        // The controller still counts the remaining ones by itself.
        let left = self
            .going
            .iter()
            .filter(|going| is_left(going, backend_states));
        let left = left.filter_map(|going| going.counted);
        let totals = left.fold(next.totals, ForgottenTotals::without);
        self.going.retain(|going| {
            if is_left(going, backend_states) {
                return true;
            }
            let backend_state = backend_state_at(backend_states, going.backend);
            tracing::info!(
                backend = &**backend_state.name(),
                "its folder is gone, and it is forgotten; should the folder come back, it is a new \
                 backend"
            );
            cx.outbox.control(ControlMessage::Forgotten {
                backend: going.backend,
                totals,
            });
            backend_states[going.backend.index()] = None;
            false
        });
        self.kept = Some(next);
        failure
    }
}

fn backend_state_at(backend_states: &BackendStates, backend: BackendId) -> &BackendState {
    let backend_state = backend_states[backend.index()].as_ref();
    backend_state.expect("who is to be forgotten has a backend state")
}

fn read(disk: &mut impl Disk) -> Result<Forgotten, StoreError> {
    let bytes = read_state(disk, FOLDER, TOTALS, FORGOTTEN_BYTES_MAX)
        .map_err(doing("read the totals of forgotten backends"))?;
    let Some(bytes) = bytes else {
        return Ok(Forgotten::default());
    };
    Ok(Forgotten::decode(&bytes).unwrap_or_else(|| {
        tracing::warn!(
            file = format!("{FOLDER}/{TOTALS}"),
            "the totals of forgotten backends are not whole; they start anew at zero"
        );
        Forgotten::default()
    }))
}

fn write(disk: &mut impl Disk, forgotten: &Forgotten) -> Result<(), StoreError> {
    disk.write(Area::State, FOLDER, TOTALS_NEW, &forgotten.encode())
        .map_err(doing("write the totals of forgotten backends"))?;
    disk.sync(Area::State, FOLDER, TOTALS_NEW)
        .map_err(doing("sync the totals of forgotten backends"))?;
    disk.rename(Area::State, FOLDER, TOTALS_NEW, TOTALS)
        .map_err(doing(
            "put the totals of forgotten backends into their place",
        ))?;
    disk.sync_folder(Area::State, FOLDER)
        .map_err(doing("sync the folder of forgotten backends' totals"))
}

/// Removes the files that we and the original write for a backend, and leaves all others.
fn remove(disk: &mut impl Disk, backend: &str) -> Result<(), StoreError> {
    let files = disk
        .entries(Area::State, backend)
        .map_err(doing("list the state's folder"))?;
    let removing = doing("remove a forgotten backend's state");
    let mut were_there = false;
    for file in files.iter().filter(|file| is_known_state(&file.name)) {
        disk.remove(Area::State, backend, &file.name)
            .map_err(&removing)?;
        were_there = true;
    }
    if were_there {
        disk.sync_folder(Area::State, backend).map_err(&removing)?;
    }
    disk.remove_folder(Area::State, backend).map_err(&removing)
}
