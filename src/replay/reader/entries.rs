//! A listing of a backend's folder, in order, in which a log is found by its name or by its inode
//! and birth time.

use crate::ledger::identity::LogKey;
use crate::ledger::rejected;
use crate::replay::disk::LogEntry;
use crate::replay::reader::log_file::LogFile;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// By name; those that are on their way out come last.
    all: Vec<LogEntry>,
    /// How many are not on their way out.
    staying: usize,
    /// Inode and birth of each, and its place in `all`; ascending.
    by_key: Vec<(LogKey, usize)>,
}

impl Entries {
    /// Sorts a listing.
    pub(super) fn new(mut all: Vec<LogEntry>) -> Self {
        // A staged log of requeued lines is not complete yet.
        all.retain(|entry| entry.name != rejected::STAGED);
        all.sort_unstable_by(|one, other| {
            let by_leaving = one.is_hidden().cmp(&other.is_hidden());
            by_leaving.then_with(|| one.name.cmp(&other.name))
        });
        let staying = all.partition_point(|entry| !entry.is_hidden());
        let keys = all.iter().map(|entry| entry.meta.key());
        let mut by_key: Vec<_> = keys.zip(0..).collect();
        by_key.sort_unstable();
        Self {
            all,
            staying,
            by_key,
        }
    }

    /// All of them, by name; those that are on their way out last.
    pub(super) fn in_order(&self) -> &[LogEntry] {
        &self.all
    }

    /// The places of those with this inode and birth, ascending.
    pub(super) fn of_key(&self, key: LogKey) -> &[(LogKey, usize)] {
        let first = self.by_key.partition_point(|(other, _)| *other < key);
        let behind = &self.by_key[first..];
        let same = behind.iter().take_while(|(other, _)| *other == key).count();
        &behind[..same]
    }

    /// Which of the entries with a file's inode and birth time it is: preferably the one on the
    /// same device, and with the same name.
    pub(super) fn pick<L>(&self, file: &LogFile<L>, taken: &[bool]) -> Option<usize> {
        let same = self.of_key(file.meta.key()).iter().map(|(_, at)| *at);
        same.filter(|at| !taken[*at]).min_by_key(|at| {
            let entry = &self.all[*at];
            (
                entry.meta.device != file.meta.device,
                *entry.name != *file.place,
                *at,
            )
        })
    }

    /// The place of the entry with this name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let (staying, hidden) = self.all.split_at(self.staying);
        let search = |within: &[LogEntry]| {
            within
                .binary_search_by(|entry| entry.name.as_str().cmp(name))
                .ok()
        };
        search(staying).or_else(|| search(hidden).map(|at| self.staying + at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::disk::LogMeta;

    #[test]
    fn each_is_found_by_its_name_and_by_what_it_is() {
        let entry = |name: &str, inode| LogEntry {
            name: name.to_owned(),
            meta: LogMeta {
                inode,
                ..LogMeta::default()
            },
        };
        let all = vec![
            entry(".nfs1", 1),
            entry("b", 2),
            entry(rejected::STAGED, 9),
            entry("a", 1),
            entry("c", 3),
        ];
        let entries = Entries::new(all);
        let names: Vec<_> = entries
            .in_order()
            .iter()
            .map(|entry| &*entry.name)
            .collect();
        assert_eq!(names, ["a", "b", "c", ".nfs1"]);
        assert_eq!(entries.of_key((1, 0)), [((1, 0), 0), ((1, 0), 3)]);
        assert_eq!(entries.of_key((3, 0)), [((3, 0), 2)]);
        assert_eq!(entries.of_key((9, 0)), []);
        assert_eq!(entries.find("c"), Some(2));
        assert_eq!(entries.find(".nfs1"), Some(3));
        assert_eq!(entries.find("d"), None);
    }
}
