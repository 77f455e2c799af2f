//! The snapshot for whoever is not on control's thread: from what control published, and the
//! counters.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::clock::Now;
use crate::engine::shared::Published;
use crate::status::counters::BackendCounters;
use crate::status::snapshot::{Snapshot, StatusBoard};

/// A board that follows what is published.
pub(super) struct Overview {
    board: StatusBoard,
    /// What was taken over last.
    taken: Published,
    /// State, reason and numbers of each backend that the board has.
    told: HashMap<Arc<str>, (&'static str, String, Arc<BackendCounters>)>,
}

impl Overview {
    pub(super) fn new(now: Now) -> Self {
        Self {
            board: StatusBoard::new(now),
            taken: Published::default(),
            told: HashMap::new(),
        }
    }

    pub(super) fn snapshot(&mut self, published: &Published, now: Now) -> Snapshot {
        if !Arc::ptr_eq(&self.taken, published) {
            let (processed, settled) = published.forgotten;
            self.board.set_forgotten(processed, settled);
            let names: HashSet<&str> = published
                .backends
                .iter()
                .map(|(backend, _)| &*backend.name)
                .collect();
            self.told.retain(|name, _| {
                let is_known = names.contains(&**name);
                if !is_known {
                    self.board.remove(name);
                }
                is_known
            });
            for (backend, counters) in &published.backends {
                // One that was forgotten and has come back has other numbers.
                let known = self.told.get(&backend.name);
                let known = known.filter(|(_, _, known)| Arc::ptr_eq(known, counters));
                if known.is_none() {
                    self.board.add(&backend.name, Arc::clone(counters), now);
                }
                if known.is_none_or(|known| (known.0, &known.1) != (backend.state, &backend.why)) {
                    let (state, why) = (backend.state, &backend.why);
                    self.board.set_state(&backend.name, state, why, now);
                    let told = (state, why.clone(), Arc::clone(counters));
                    self.told.insert(Arc::clone(&backend.name), told);
                }
            }
            self.taken = Arc::clone(published);
        }
        self.board.refresh(now);
        self.board.snapshot().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::controller::States;
    use crate::replay::controller::states::ReportedState;

    #[test]
    fn it_follows_what_is_published() {
        let now = Now::default();
        let mut overview = Overview::new(now);
        let published = |why: &str| -> Published {
            let state = ReportedState {
                name: "a:1".into(),
                state: "down",
                why: why.to_owned(),
            };
            Arc::new(States {
                backends: vec![(state, Arc::default())],
                forgotten: (7, 5),
            })
        };
        assert!(
            overview
                .snapshot(&Published::default(), now)
                .backends()
                .is_empty()
        );
        for why in ["refused", "timed out"] {
            let snapshot = overview.snapshot(&published(why), now);
            let backend = &snapshot.backends()[0];
            assert_eq!(
                (&*backend.name, &*backend.state, &*backend.why),
                ("a:1", "down", why)
            );
        }
        let counted = overview.snapshot(&published("refused"), now);
        assert_eq!(counted.totals(), (7, 5));
        let forgotten = overview.snapshot(&Arc::default(), now);
        assert!(forgotten.backends().is_empty(), "{forgotten:?}");
    }
}
