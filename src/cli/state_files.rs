//! Which backends have a file of the state.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The backends whose folder of the state has a file of this name, in the order of their names;
/// only the wanted one, if one is.
pub(super) fn backends_with(
    state: &Path,
    file: &str,
    wanted: Option<&str>,
) -> io::Result<Vec<String>> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", state.display()));
    let folders = match fs::read_dir(state) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        folders => folders.map_err(named)?,
    };
    let mut names = Vec::new();
    for folder in folders {
        let folder = folder.map_err(named)?;
        names.extend(folder.file_name().into_string().ok().filter(|name| {
            wanted.is_none_or(|wanted| wanted == name) && folder.path().join(file).exists()
        }));
    }
    names.sort();
    Ok(names)
}
