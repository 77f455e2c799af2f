//! Two names of one folder below the logs' path, by a symbolic link or a mount: it is read under
//! one of them.
//!
//! If it were read under both, each of its lines would go to both backends, and the faster backend
//! would delete what the other has not read. So the second name is not a backend, as long as it is
//! a second one. The second name is the one that came later; of names that are found at the same
//! time, as at a start, it is the one for which less speaks ([`Claim`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::replay::checkpointer::known_of;
use crate::replay::disk::{Disk, FolderMeta};
use crate::replay::messages::ControlMessage;
use crate::replay::reader::LogReader;
use crate::status::snapshot::SecondName;

/// What speaks for a name of a folder that has several, the strongest first. The greatest claim
/// wins; of equal ones, the first name in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// The folder is read under it already.
    is_read: bool,
    /// Logs in the folder that an earlier run has begun under it. Under another name they would be
    /// sent to another backend, and this one would not get what is left of them.
    logs_begun: usize,
    /// It is not a symbolic link.
    is_no_link: bool,
    /// It is not where the folder is mounted.
    is_no_mount: bool,
    /// An earlier run has known it.
    has_state: bool,
}

/// Which of these names are second ones, each with the first name. `claim` is asked only about
/// names of folders that have several.
fn second_names(
    folders: Vec<(String, FolderMeta)>,
    mut claim: impl FnMut(&str, &FolderMeta) -> Claim,
) -> BTreeMap<String, String> {
    let mut by_folder: BTreeMap<(u64, u64), Vec<(String, FolderMeta)>> = BTreeMap::new();
    for (name, meta) in folders {
        by_folder.entry(meta.key()).or_default().push((name, meta));
    }
    let mut seconds = BTreeMap::new();
    for mut names in by_folder.into_values().filter(|names| names.len() > 1) {
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        let claims = names.iter().map(|(name, meta)| claim(name, meta));
        // Of equal ones, `max` gives the last.
        let first = claims.zip((0..names.len()).rev()).max();
        let first = first.map_or(0, |(_, from_end)| names.len() - 1 - from_end);
        let (first, _) = names.remove(first);
        seconds.extend(names.into_iter().map(|(name, _)| (name, first.clone())));
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
        let seconds = second_names(folders, |name, meta| self.claim(name, meta));
        if seconds != self.second_names {
            let told = seconds.iter().map(|(name, first)| SecondName {
                name: name.clone(),
                first: first.clone(),
            });
            self.outbox
                .control(ControlMessage::SecondNames(told.collect()));
        }
        names.retain(|name| !seconds.contains_key(name));
        self.second_names = seconds;
        names
    }

    /// What speaks for a name of this folder.
    fn claim(&mut self, name: &str, meta: &FolderMeta) -> Claim {
        let mut sources = self.sources.iter();
        let source = sources.find(|source| *source.info.name == *name);
        let folder = source.and_then(|source| source.folder);
        // One that is announced and was not listed yet is about to be read, unless that has failed.
        let has_failed = source.is_some_and(|source| source.faults.listing.is_some());
        let is_same = folder.map_or(!has_failed, |folder| folder == meta.key());
        if is_same && self.announced.contains_key(name) {
            return Claim {
                is_read: true,
                ..Claim::default()
            };
        }
        // It is new, or led to another folder before.
        let known = known_of(&mut self.disk, name).unwrap_or_else(|error| {
            tracing::warn!(backend = %name, cause = %error, "what an earlier run knew of this \
                backend's logs cannot be read, and does not count in the choice between the names \
                of its folder");
            Default::default()
        });
        Claim {
            is_read: false,
            logs_begun: known.logs_begun,
            is_no_link: !meta.is_link,
            is_no_mount: !self.disk.is_mount(name),
            has_state: known.has_state,
        }
    }

    /// The name under which the folder of this second name is read; `None` if it is not a second
    /// name, or leads elsewhere by now.
    fn first_name(&mut self, name: &str) -> Option<String> {
        let first = self.second_names.get(name)?.clone();
        let mut key = |name: &str| Some(self.disk.folder_meta(name).ok()??.key());
        let folder = key(name)?;
        (key(&first) == Some(folder)).then_some(first)
    }

    /// The other backend to whose folder this backend's name leads now; `None` means that its
    /// folder is its own. To be called after the folder was listed: if the name led elsewhere then,
    /// an inotify event leads to another call.
    pub(super) fn folder_is_of(&mut self, at: usize) -> Option<String> {
        let name = Arc::clone(&self.sources[at].info.name);
        if let Some(first) = self.first_name(&name) {
            return Some(first);
        }
        let meta = self.disk.folder_meta(&name);
        let folder = meta.ok().flatten().map(|meta| meta.key());
        if folder == self.sources[at].folder {
            return None;
        }
        let others = (0..self.sources.len()).filter(|other| *other != at);
        let same: Vec<usize> = others
            .filter(|other| folder.is_some() && self.sources[*other].folder == folder)
            .collect();
        for other in same {
            let name = Arc::clone(&self.sources[other].info.name);
            let meta = self.disk.folder_meta(&name).ok().flatten();
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

    /// What is to be said of a name: its folder's inode, and what speaks for it.
    #[derive(Clone, Copy, Default)]
    struct Told {
        inode: u64,
        claim: Claim,
    }

    fn of(inode: u64) -> Told {
        let claim = Claim {
            is_no_link: true,
            is_no_mount: true,
            ..Claim::default()
        };
        Told { inode, claim }
    }

    impl Told {
        fn with(mut self, change: impl FnOnce(&mut Claim)) -> Self {
            change(&mut self.claim);
            self
        }
    }

    fn link(claim: &mut Claim) {
        claim.is_no_link = false;
    }

    fn mount(claim: &mut Claim) {
        claim.is_no_mount = false;
    }

    fn read(claim: &mut Claim) {
        claim.is_read = true;
    }

    fn begun(logs: usize) -> impl FnOnce(&mut Claim) {
        move |claim| (claim.logs_begun, claim.has_state) = (logs, true)
    }

    #[track_caller]
    fn check(folders: &[(&str, Told)], expected: &[(&str, &str)]) {
        let metas = folders.iter().map(|(name, told)| {
            let meta = FolderMeta {
                device: 1,
                inode: told.inode,
                is_link: !told.claim.is_no_link,
            };
            ((*name).to_owned(), meta)
        });
        let claims: BTreeMap<&str, Claim> = folders
            .iter()
            .map(|(name, told)| (*name, told.claim))
            .collect();
        let seconds = second_names(metas.collect(), |name, meta| {
            let several = folders.iter().filter(|(_, told)| told.inode == meta.inode);
            assert!(several.count() > 1, "{name} is not asked about");
            claims[name]
        });
        let seconds: Vec<_> = seconds
            .iter()
            .map(|(second, first)| (second.as_str(), first.as_str()))
            .collect();
        assert_eq!(seconds, expected);
    }

    #[test]
    fn a_folder_is_read_under_the_name_that_was_known_then_under_its_own() {
        check(&[("a", of(1)), ("b", of(2).with(link))], &[]);
        check(&[("a", of(1).with(link)), ("b", of(1))], &[("a", "b")]);
        check(&[("a", of(1).with(mount)), ("b", of(1))], &[("a", "b")]);
        let (linked, mounted) = (of(1).with(link), of(1).with(mount));
        check(&[("a", linked), ("b", mounted)], &[("a", "b")]);
        check(
            &[("a", linked.with(read)), ("b", of(1).with(begun(9)))],
            &[("b", "a")],
        );
        check(
            &[("c", of(1)), ("b", of(1)), ("a", linked)],
            &[("a", "b"), ("c", "b")],
        );
    }

    #[test]
    fn the_logs_that_an_earlier_run_began_decide_before_the_kind_of_the_name() {
        check(&[("a", of(1)), ("b", of(1).with(begun(1)))], &[("a", "b")]);
        check(
            &[("a", of(1)), ("b", of(1).with(mount).with(begun(1)))],
            &[("a", "b")],
        );
        let more = of(1).with(link).with(begun(2));
        check(&[("a", of(1).with(begun(1))), ("b", more)], &[("a", "b")]);
        // None of its logs is there any more: then a folder comes before a link, whoever was known.
        check(
            &[("a", of(1)), ("b", of(1).with(link).with(begun(0)))],
            &[("b", "a")],
        );
        check(&[("a", of(1)), ("b", of(1).with(begun(0)))], &[("a", "b")]);
    }
}
