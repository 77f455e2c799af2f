//! What is read: files, folders of logs or of state, and stdin.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::filter::{Filter, backend_of};
use crate::cli::output;
use crate::config::BackendName;

/// Names stdin.
pub(super) const STDIN: &str = "-";

/// Bytes between two steps of the progress bar.
const STEP_BYTES: u64 = 1 << 16;

/// The files that `paths` mean, in their order, a folder's by name and then by age: the order in
/// which they are replayed. A backend's folder means its files, another one the files of the
/// backends' folders in it.
///
/// # Errors
/// A folder can't be read, or has nothing to read in it.
pub(super) fn expand(path: &Path, filter: &Filter) -> io::Result<Vec<PathBuf>> {
    if path == Path::new(STDIN) || !path.is_dir() {
        let is_wanted = filter.backend.is_none() || filter.admits_backend(backend_of(path));
        return Ok(is_wanted.then(|| path.to_owned()).into_iter().collect());
    }
    // `.` and the like have a name too, once they are written out.
    let folder = fs::canonicalize(path)?;
    if is_backend(folder.file_name()) {
        return match filter.admits_backend(backend_of(&folder.join("x"))) {
            true => files(path),
            false => Ok(Vec::new()),
        };
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        if is_backend(entry.file_name()) && entry.is_dir() {
            folders.push(entry);
        }
    }
    if folders.is_empty() {
        return Err(io::Error::other(
            "no backend's folder (host:port) is in it; name a log, a backend's folder or the \
             folder of those",
        ));
    }
    folders.sort();
    folders.retain(|folder| filter.admits_backend(backend_of(&folder.join("x"))));
    let mut all = Vec::new();
    for folder in folders {
        all.extend(files(&folder)?);
    }
    Ok(all)
}

fn is_backend(name: Option<&OsStr>) -> bool {
    name.and_then(OsStr::to_str)
        .is_some_and(|name| BackendName::parse(name).is_ok())
}

/// A folder's regular files, by name and then by age.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<(PathBuf, SystemTime)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // One that goes away meanwhile is none.
        if let Ok(metadata) = fs::metadata(&path)
            && metadata.is_file()
        {
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push((path, modified));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(path, _)| path).collect())
}

/// Opens a file, or stdin.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new(STDIN) {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(File::open(path)?))
}

/// How far it is, by bytes, on a terminal that shows nothing else.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Bytes since the last step.
    unshown: u64,
}

impl Progress {
    /// For reading all of `paths`. `is_wanted`: not where `--quiet` was asked for, or where the
    /// records themselves go to the terminal.
    pub(super) fn of(paths: &[PathBuf], is_wanted: bool) -> Self {
        let total = paths.iter().filter_map(|path| fs::metadata(path).ok());
        let total = total.map(|metadata| metadata.len()).sum();
        let bar = match is_wanted && io::stderr().is_terminal() {
            true => ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr())
                .with_style(style()),
            false => ProgressBar::hidden(),
        };
        Self { bar, unshown: 0 }
    }

    pub(super) fn advance(&mut self, bytes: u64) {
        self.unshown += bytes;
        if self.unshown >= STEP_BYTES {
            self.bar.inc(std::mem::take(&mut self.unshown));
        }
    }

    /// Says something above the bar.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| output::complain(text));
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{wide_bar:.green} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left",
    )
    .expect("our own template is well formed")
    .progress_chars("█▉▊▋▌▍▎▏░")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files that `path` means below a home with two backends, for this backend.
    fn check(path: &str, backend: Option<&str>, expected: &[&str]) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        for name in [
            "h:1/2.log",
            "h:1/1.log",
            "h:2/1.log",
            "error.log",
            "x/1.log",
        ] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "").unwrap();
        }
        let filter = Filter {
            backend: backend.map(|backend| backend.parse().unwrap()),
            ..Filter::default()
        };
        let found = expand(&root.join(path), &filter).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(root).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{path} {backend:?}");
    }

    #[test]
    fn a_folder_means_its_logs_in_the_order_of_replay() {
        check("", None, &["h:1/1.log", "h:1/2.log", "h:2/1.log"]);
        check("h:1", None, &["h:1/1.log", "h:1/2.log"]);
        check(
            "h:1/../h:1",
            None,
            &["h:1/../h:1/1.log", "h:1/../h:1/2.log"],
        );
        check("error.log", None, &["error.log"]);
        check("x/1.log", None, &["x/1.log"]);
    }

    #[test]
    fn of_another_backend_nothing_is_read() {
        check("", Some("h:2"), &["h:2/1.log"]);
        check("", Some("*:1"), &["h:1/1.log", "h:1/2.log"]);
        check("h:1", Some("h:2"), &[]);
        check("h:1/1.log", Some("h:2"), &[]);
        check("h:1/1.log", Some("h:1"), &["h:1/1.log"]);
    }

    #[test]
    fn a_folder_without_backends_is_told() {
        let home = tempfile::tempdir().unwrap();
        let why = expand(home.path(), &Filter::default()).unwrap_err();
        assert!(why.to_string().starts_with("no backend's folder"), "{why}");
    }
}
