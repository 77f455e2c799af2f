//! Keys that are left different by several backends: each is the other's peer, and neither can be
//! believed about such a key before the other's difference is settled, as in the server.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use super::read::each;
use super::selection::Selection;
use crate::cli::state_files::backends_with;
use crate::reconcile::decision::Trust;
use crate::reconcile::difference::{FILE_NAME, id_of};
use crate::reconcile::key::KeyId;

/// The differences that are left, by their backends' names.
#[derive(Default)]
pub(in crate::cli) struct Left {
    by_backend: HashMap<String, HashSet<u64>>,
}

impl Left {
    /// Reads those of every backend.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(in crate::cli) fn read(state: &Path) -> io::Result<Self> {
        let mut by_backend = HashMap::new();
        for backend in backends_with(state, FILE_NAME, None)? {
            let mut ids = HashSet::new();
            let path = state.join(&backend).join(FILE_NAME);
            each(&path, &Selection::default(), &mut |found| {
                ids.insert(found.id);
                Ok(())
            })?;
            by_backend.insert(backend, ids);
        }
        Ok(Self { by_backend })
    }

    /// How far a peer counts: not at all about a key of which it has a difference of its own.
    pub(in crate::cli) fn trust(&self, peer: &str, key: &KeyId) -> Trust {
        match self.by_backend.get(peer) {
            Some(ids) if ids.contains(&id_of(key)) => Trust::Nothing,
            _ => Trust::Everything,
        }
    }

    /// The backends that have a difference of this id, by name.
    pub(super) fn backends_with(&self, id: u64) -> Vec<&str> {
        let backends = self.by_backend.iter();
        let with = backends.filter(|(_, ids)| ids.contains(&id));
        let mut names: Vec<&str> = with.map(|(backend, _)| backend.as_str()).collect();
        names.sort_unstable();
        names
    }
}
