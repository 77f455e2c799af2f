//! `--follow`: the newest log as it grows, then the next, until SIGINT or SIGTERM.
//!
//! HA writes one file a minute. A file is over when there is a newer one (by name) and nothing has
//! come for [`QUIET`] since: HA's workers append to a minute's file shortly after the next one
//! exists. One that shrinks or is replaced under us is read from its start. It waits by looking:
//! each [`LOOK`] it asks for more bytes and for newer names.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::source::files;
use crate::limits::FILE_QUIET_MS;

const LOOK: Duration = Duration::from_millis(100);
const QUIET: Duration = Duration::from_millis(FILE_QUIET_MS);

/// Set by SIGINT and SIGTERM.
#[derive(Clone)]
pub(super) struct Over(Arc<AtomicBool>);

impl Over {
    /// From now on the signals end the following, not the process.
    ///
    /// # Errors
    /// They can't be taken over.
    pub(super) fn on_signals() -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&over))?;
        }
        Ok(Self(over))
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// The logs of one folder, one after the other.
pub(super) struct Followed {
    folder: PathBuf,
    /// The file to be read next, once there is one.
    next: Option<PathBuf>,
    over: Over,
}

impl Followed {
    /// Follows a log and those after it, or a folder from its newest log on.
    pub(super) fn new(path: &Path, over: Over) -> Self {
        match path.is_dir() {
            true => Self {
                folder: path.to_owned(),
                next: None,
                over,
            },
            false => Self {
                folder: match path.parent() {
                    Some(folder) if folder != Path::new("") => folder.to_owned(),
                    _ => PathBuf::from("."),
                },
                next: Some(path.to_owned()),
                over,
            },
        }
    }

    /// The next log, read as it grows; none when it is over. Waits for the first one where there is
    /// none yet.
    ///
    /// # Errors
    /// The folder or the file can't be read.
    pub(super) fn next(&mut self) -> io::Result<Option<(PathBuf, Tail)>> {
        loop {
            if self.over.is_set() {
                return Ok(None);
            }
            let newest = match self.next.take() {
                Some(path) => Some(path),
                None => files(&self.folder)?.pop(),
            };
            let Some(path) = newest else {
                thread::sleep(LOOK);
                continue;
            };
            match File::open(&path) {
                Ok(file) => {
                    let tail = Tail {
                        inode: file.metadata()?.ino(),
                        file,
                        path: path.clone(),
                        folder: self.folder.clone(),
                        newer_since: None,
                        over: self.over.clone(),
                    };
                    return Ok(Some((path, tail)));
                }
                // Finished and deleted before we came.
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.folder.is_dir() => {
                    self.next = newer(&self.folder, &path)?;
                    if self.next.is_none() {
                        thread::sleep(LOOK);
                        self.next = Some(path);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What comes after `path`, which is over.
    ///
    /// # Errors
    /// The folder can't be read.
    pub(super) fn advance(&mut self, path: &Path) -> io::Result<()> {
        self.next = newer(&self.folder, path)?.or_else(|| Some(path.to_owned()));
        Ok(())
    }
}

/// The next file by name.
fn newer(folder: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let mut names = files(folder)?.into_iter();
    Ok(names.find(|found| found.file_name() > path.file_name()))
}

/// A log's bytes, and the wait for more. Ends where the log is over, or following is.
pub(super) struct Tail {
    file: File,
    path: PathBuf,
    folder: PathBuf,
    inode: u64,
    /// Since when there is a newer file and nothing has come.
    newer_since: Option<Instant>,
    over: Over,
}

impl Tail {
    /// Tells whether all that the file has now was read.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(super) fn watch_end(&self) -> io::Result<impl FnMut() -> bool + use<>> {
        // It shares the place of reading.
        let mut file = self.file.try_clone()?;
        Ok(move || {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            file.stream_position().is_ok_and(|place| place >= length)
        })
    }

    /// Whether this file is over, by what its folder says.
    fn is_over(&mut self) -> io::Result<bool> {
        let replaced = match fs::metadata(&self.path) {
            Ok(metadata) if metadata.ino() == self.inode => {
                if metadata.len() < self.file.stream_position()? {
                    self.file.rewind()?;
                    return Ok(false);
                }
                false
            }
            // Deleted when it was finished: what comes next has a newer name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Ok(_) => true,
            Err(error) => return Err(error),
        };
        if !replaced && newer(&self.folder, &self.path)?.is_none() {
            self.newer_since = None;
            return Ok(false);
        }
        let since = *self.newer_since.get_or_insert_with(Instant::now);
        Ok(since.elapsed() >= QUIET)
    }
}

impl Read for Tail {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let bytes = self.file.read(into)?;
            if bytes > 0 {
                self.newer_since = None;
                return Ok(bytes);
            }
            if self.over.is_set() || self.is_over()? {
                return Ok(0);
            }
            thread::sleep(LOOK);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::channel;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_folder_is_followed_from_its_newest_log_over_the_next_ones_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        append(&path("1.log"), "old\n");
        append(&path("2.log"), "a\n");
        let over = Over(Arc::default());
        let mut followed = Followed::new(folder.path(), over.clone());
        let (send, read) = channel();
        let reader = thread::spawn(move || {
            while let Some((path, mut tail)) = followed.next().unwrap() {
                let mut bytes = [0; 64];
                loop {
                    let length = tail.read(&mut bytes).unwrap();
                    if length == 0 {
                        break;
                    }
                    send.send(String::from_utf8_lossy(&bytes[..length]).into_owned())
                        .unwrap();
                }
                followed.advance(&path).unwrap();
            }
        });
        let next = || read.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(next(), "a\n");
        append(&path("2.log"), "b\n");
        assert_eq!(next(), "b\n");
        append(&path("3.log"), "a longer line\n");
        // A worker of HA's that is late.
        append(&path("2.log"), "c\n");
        assert_eq!(next(), "c\n");
        assert_eq!(next(), "a longer line\n");
        // Cut and begun anew under us, and shorter than what was read whenever we look.
        File::create(path("3.log")).unwrap();
        append(&path("3.log"), "e\n");
        assert_eq!(next(), "e\n");
        // Deleted when it was finished; the next one comes later.
        fs::remove_file(path("3.log")).unwrap();
        append(&path("4.log"), "f\n");
        assert_eq!(next(), "f\n");
        over.0.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    }

    #[test]
    fn a_log_that_is_named_without_its_folder_is_gone_as_one_with_it_is() {
        // The files of the folder in which tests run have later names.
        for name in ["./0.log", "0.log"] {
            let mut followed = Followed::new(Path::new(name), Over(Arc::default()));
            assert!(followed.next().unwrap().is_some(), "{name}");
        }
    }

    #[test]
    fn an_empty_folder_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log");
        let over = Over(Arc::default());
        let mut followed = Followed::new(folder.path(), over);
        let reader = thread::spawn(move || followed.next().unwrap().unwrap().0);
        append(&path, "a\n");
        assert_eq!(reader.join().unwrap(), path);
    }
}
