//! Which lines of the state's files a command is about, as far as `rejected` and `differences` ask
//! alike.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use clap::Args;

use super::output;
use super::values::{backend_name, id, unix};
use crate::config::Config;

/// Those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct Scope {
    /// Of this backend, host:port
    #[arg(long, value_name = "BACKEND", value_parser = backend_name)]
    pub(super) backend: Option<String>,
    /// Written at this time or later: 2026-11-22, "2026-11-22 16:40", seconds since 1970, or 30m,
    /// 2h, 3d ago
    #[arg(long, value_name = "TIME", value_parser = unix)]
    pub(super) since: Option<u64>,
    /// Written at this time or before
    #[arg(long, value_name = "TIME", value_parser = unix)]
    pub(super) until: Option<u64>,
    /// These, by the ids that `list` shows
    #[arg(long = "id", value_name = "ID", value_delimiter = ',', value_parser = id)]
    pub(super) ids: Vec<u64>,
}

impl Scope {
    /// An error where it names a backend that has neither state nor logs here: its name was
    /// probably mistyped.
    pub(super) fn must_be_here(&self, config: &Config) -> Result<(), String> {
        let Some(backend) = &self.backend else {
            return Ok(());
        };
        let (state, logs) = (config.state_path(), &config.sync.logs_path);
        for folder in [&state, logs].map(|path| path.join(backend)) {
            match std::fs::metadata(&folder).map_err(|error| (error.kind(), error)) {
                Ok(metadata) if metadata.is_dir() => return Ok(()),
                Ok(_) | Err((ErrorKind::NotFound | ErrorKind::NotADirectory, _)) => {}
                Err((_, error)) => return Err(format!("{}: {error}", folder.display())),
            }
        }
        Err(format!(
            "{backend} is not a backend here: neither {} nor {} has a folder of that name",
            state.display(),
            logs.display()
        ))
    }

    /// This id, if it is one of those that are given.
    pub(super) fn asked_for(&self, id: u64) -> Option<u64> {
        self.ids.contains(&id).then_some(id)
    }

    /// Whether so many of what is left are as many as there are ids, where ids are given. If not,
    /// says so: an id was mistyped, or somebody was faster.
    pub(super) fn has_all_ids(&self, found: u64) -> bool {
        let ids = self.ids.iter().collect::<BTreeSet<_>>().len() as u64;
        if found < ids {
            output::complain(format_args!(
                "hustdbsync: of {ids} given by --id, {} are not left, or are none of those asked \
                 for: `list` shows which ids there are",
                ids - found
            ));
        }
        found >= ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_nothing_has_is_missed() {
        let scope = |ids: &[u64]| Scope {
            ids: ids.to_vec(),
            ..Scope::default()
        };
        for (ids, found, has_all) in [
            (&[][..], 0, true),
            (&[1], 0, false),
            (&[1, 1], 1, true),
            (&[1, 2], 1, false),
            (&[1, 2], 2, true),
        ] {
            assert_eq!(scope(ids).has_all_ids(found), has_all, "{ids:?} {found}");
        }
    }
}
