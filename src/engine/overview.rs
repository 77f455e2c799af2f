//! The snapshot for whoever is not on control's thread: from what control published, and the counters.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::Now;
use crate::engine::shared::Published;
use crate::status::snapshot::{Board, Snapshot};

/// A board that follows what is published.
pub(super) struct Overview {
    board: Board,
    /// What was taken over last.
    taken: Published,
    /// State and reason of each backend that the board has.
    told: HashMap<Arc<str>, (&'static str, String)>,
}

impl Overview {
    pub(super) fn new(now: Now) -> Self {
        Self {
            board: Board::new(now),
            taken: Published::default(),
            told: HashMap::new(),
        }
    }

    pub(super) fn snapshot(&mut self, published: &Published, now: Now) -> Snapshot {
        if !Arc::ptr_eq(&self.taken, published) {
            for (backend, counters) in published.iter() {
                let told = self
                    .told
                    .entry(Arc::clone(&backend.name))
                    .or_insert_with(|| {
                        self.board.add(&backend.name, Arc::clone(counters), now);
                        ("", String::new())
                    });
                if (told.0, &told.1) != (backend.state, &backend.why) {
                    self.board
                        .set_state(&backend.name, backend.state, &backend.why, now);
                    *told = (backend.state, backend.why.clone());
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
    use crate::engine::control::BackendState;

    #[test]
    fn it_follows_what_is_published() {
        let now = Now::default();
        let mut overview = Overview::new(now);
        let published = |why: &str| -> Published {
            let state = BackendState {
                name: "a:1".into(),
                state: "down",
                why: why.to_owned(),
            };
            Arc::new(vec![(state, Arc::default())])
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
    }
}
