//! Where the configuration is looked for.

use std::path::{Path, PathBuf};

/// The name that the original gives the file.
pub const FILE_NAME: &str = "sync_server.json";
/// The last place to look.
pub const FALLBACK_PATH: &str = "/etc/hustdbsync/sync_server.json";

/// No configuration at any of the usual places.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no configuration found: looked for {}; put one there, or name it with --config \
         FILE", .tried.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" \
    and "))]
pub struct NotFound {
    /// The paths at which there is none.
    pub tried: Vec<PathBuf>,
}

/// The configuration to use: the `given` one (whether or not it exists, so that an error names it),
/// else the one beside `executable`, as the original has it, else [`FALLBACK_PATH`]. `exists` is
/// asked for the last two.
///
/// # Errors
/// None was given and none exists.
pub fn locate(
    given: Option<&Path>,
    executable: Option<&Path>,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, NotFound> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let beside = executable.map(|path| path.with_file_name(FILE_NAME));
    let mut tried: Vec<PathBuf> = beside
        .into_iter()
        .chain([PathBuf::from(FALLBACK_PATH)])
        .collect();
    match tried.iter().position(|path| exists(path)) {
        Some(place) => Ok(tried.swap_remove(place)),
        None => Err(NotFound { tried }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: Option<&str>, existing: &[&str], expected: &str) {
        let found = locate(
            given.map(Path::new),
            Some(Path::new("/opt/sync/hustdbsync")),
            |path| existing.iter().any(|there| path == Path::new(there)),
        );
        assert_eq!(
            found.map_or_else(|error| error.to_string(), |path| path.display().to_string()),
            expected
        );
    }

    #[test]
    fn the_given_file_is_taken_also_where_it_is_missing() {
        check(
            Some("/x/a.json"),
            &["/opt/sync/sync_server.json"],
            "/x/a.json",
        );
    }

    #[test]
    fn the_file_beside_the_executable_comes_before_the_one_in_etc() {
        check(
            None,
            &["/opt/sync/sync_server.json", FALLBACK_PATH],
            "/opt/sync/sync_server.json",
        );
        check(None, &[FALLBACK_PATH], FALLBACK_PATH);
    }

    #[test]
    fn where_there_is_none_the_error_names_all_places() {
        check(
            None,
            &[],
            "no configuration found: looked for /opt/sync/sync_server.json and \
             /etc/hustdbsync/sync_server.json; put one there, or name it with --config FILE",
        );
    }
}
