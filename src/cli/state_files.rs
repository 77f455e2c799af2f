//! Which backends have a file of the state, and what an error of one says.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::config::BackendName;

/// The backends whose folder of the state has a file of this name, in the order of their names;
/// only the wanted one, if one is.
pub(super) fn backends_with(
    state: &Path,
    file: &str,
    wanted: Option<&str>,
) -> io::Result<Vec<String>> {
    let folders = match fs::read_dir(state) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        folders => folders.map_err(at(state))?,
    };
    let mut names = Vec::new();
    for folder in folders {
        let folder = folder.map_err(at(state))?;
        let name = folder.file_name().into_string().ok();
        let is_wanted = |name: &String| match wanted {
            Some(wanted) => wanted == name,
            // Others may have folders there, too, such as `lost+found`.
            None => BackendName::parse(name.as_str()).is_ok(),
        };
        let Some(name) = name.filter(is_wanted) else {
            continue;
        };
        if exists(&folder.path().join(file))? {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Puts the path in front of what the system says.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + Copy + '_ {
    |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Whether there is such a file. If that can't be seen, as in another user's folder, it is an
/// error, not a no.
fn exists(path: &Path) -> io::Result<bool> {
    match path.try_exists() {
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        exists => exists.map_err(at(path)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_cannot_be_seen_is_not_taken_for_missing() {
        let home = tempfile::tempdir().unwrap();
        let backends = || backends_with(home.path(), "rejected.jsonl", None);
        fs::write(home.path().join(".lock"), "1\n").unwrap();
        fs::create_dir(home.path().join("b:1")).unwrap();
        symlink("x".repeat(300), home.path().join("lost+found")).unwrap();
        fs::create_dir(home.path().join("a:1")).unwrap();
        fs::write(home.path().join("a:1/rejected.jsonl"), "").unwrap();
        assert_eq!(backends().unwrap(), ["a:1"]);
        symlink("x".repeat(300), home.path().join("c:1")).unwrap();
        let error = backends().unwrap_err().to_string();
        assert!(error.contains("c:1/rejected.jsonl: "), "{error}");
    }
}
