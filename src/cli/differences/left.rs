//! Keys that are left different by several backends: each is the other's peer, and neither can be
//! believed about such a key before the other's difference is settled, as in the server.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use super::read::{each, files};
use super::selection::Selection;
use crate::reconcile::difference::id_of;
use crate::reconcile::key::KeyId;

/// The differences that are left, by their backends' names.
pub(in crate::cli) struct Left {
    by_backend: HashMap<String, HashSet<u64>>,
}

impl Left {
    /// Reads those of every backend.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(in crate::cli) fn read(state: &Path) -> io::Result<Self> {
        let all = Selection::default();
        let mut by_backend: HashMap<String, HashSet<u64>> = HashMap::new();
        for path in files(state, &all)? {
            each(&path, &all, &mut |found| {
                let backend = &found.difference.backend;
                match by_backend.get_mut(backend) {
                    Some(ids) => ids.insert(found.id),
                    None => by_backend
                        .entry(backend.clone())
                        .or_default()
                        .insert(found.id),
                };
                Ok(())
            })?;
        }
        Ok(Self { by_backend })
    }

    /// Whether this master has a difference of its own about a key, and so is not believed.
    pub(in crate::cli) fn has(&self, master: &str, key: &KeyId) -> bool {
        let ids = self.by_backend.get(master);
        ids.is_some_and(|ids| ids.contains(&id_of(key)))
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
