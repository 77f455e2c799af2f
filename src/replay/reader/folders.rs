//! Two names of one folder below the logs' path, by a symbolic link or a mount: it is read under
//! one of them.
//!
//! If it were read under both, each of its lines would go to both backends, and the faster backend
//! would delete what the other has not read. So the second name is not a backend, as long as it is
//! a second one. The second name is the one that came later; at a start it is the one that is a
//! link, or else the later in order.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::replay::disk::{Disk, FolderMeta};
use crate::replay::messages::ControlMessage;
use crate::replay::reader::LogReader;

/// Why the name is not a backend, for an operator to read.
pub(super) fn why_refused(first: &str) -> String {
    format!(
        "it is the folder {first:?} under a second name (a symbolic link, or a mount), and its \
         logs are delivered to that backend only; give this one a folder \
         of its own"
    )
}

/// Which of these names are second ones, each with the first name. `is_known` returns whether a
/// folder is read under this name already.
fn second_names(
    mut folders: Vec<(String, FolderMeta)>,
    is_known: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    folders.sort_by_cached_key(|(name, meta)| (!is_known(name), meta.is_link, name.clone()));
    let (mut firsts, mut seconds) = (BTreeMap::new(), BTreeMap::new());
    for (name, meta) in folders {
        match firsts.entry(meta.key()) {
            Entry::Vacant(free) => _ = free.insert(name),
            Entry::Occupied(first) => _ = seconds.insert(name, first.get().clone()),
        }
    }
    seconds
}

impl<D: Disk> LogReader<D> {
    /// These names without second ones, which are reported to the controller.
    pub(super) fn without_second_names(&mut self, mut names: Vec<String>) -> Vec<String> {
        let mut folders = Vec::new();
        for name in names
            .iter()
            .filter(|name| (self.rules.is_backend)(name).is_ok())
        {
            // A folder that is gone by now is not there; one that can't be examined can't be read.
            if let Ok(Some(meta)) = self.disk.folder_meta(name) {
                folders.push((name.clone(), meta));
            }
        }
        let seconds = second_names(folders, |name| self.announced.contains_key(name));
        for (name, first) in &seconds {
            if self.second_names.get(name) != Some(first) {
                self.outbox
                    .tell_control(ControlMessage::FolderUnrecognized {
                        name: name.clone(),
                        why: why_refused(first),
                    });
            }
        }
        names.retain(|name| !seconds.contains_key(name));
        self.second_names = seconds;
        names
    }

    /// The other backend to whose folder this backend's name leads now; `None` means that its
    /// folder is its own. To be called after the folder was listed: if the name led elsewhere then,
    /// an inotify event leads to another call.
    pub(super) fn folder_is_of(&mut self, at: usize) -> Option<String> {
        let meta = self.disk.folder_meta(&self.sources[at].info.name);
        let folder = meta.ok().flatten().map(|meta| meta.key());
        if folder == self.sources[at].folder {
            return None;
        }
        let others = (0..self.sources.len()).filter(|other| *other != at);
        let same: Vec<usize> = others
            .filter(|other| folder.is_some() && self.sources[*other].folder == folder)
            .collect();
        for other in same {
            let name = &self.sources[other].info.name;
            let meta = self.disk.folder_meta(name).ok().flatten();
            if meta.map(|meta| meta.key()) == folder {
                return Some(name.to_string());
            }
        }
        self.sources[at].folder = folder;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(known: &[&str], folders: &[(&str, u64, bool)], expected: &[(&str, &str)]) {
        let folders = folders.iter().map(|&(name, inode, is_link)| {
            let meta = FolderMeta {
                device: 1,
                inode,
                is_link,
            };
            (name.to_owned(), meta)
        });
        let seconds = second_names(folders.collect(), |name| known.contains(&name));
        let seconds: Vec<_> = seconds
            .iter()
            .map(|(second, first)| (second.as_str(), first.as_str()))
            .collect();
        assert_eq!(seconds, expected);
    }

    #[test]
    fn a_folder_is_read_under_the_name_that_was_known_then_under_its_own() {
        check(&[], &[("a", 1, false), ("b", 2, true)], &[]);
        check(&[], &[("a", 1, true), ("b", 1, false)], &[("a", "b")]);
        check(&["a"], &[("a", 1, true), ("b", 1, false)], &[("b", "a")]);
        let mounts = [("c", 1, false), ("b", 1, false), ("a", 1, true)];
        check(&[], &mounts, &[("a", "b"), ("c", "b")]);
    }
}
