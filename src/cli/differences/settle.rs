//! Appends settlements to a file of differences.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cli::local_time::now_unix;
use crate::cli::state_files::at;
use crate::engine::files::is_other;
use crate::engine::os::files::{Links, open_folder, open_regular};
use crate::engine::os::process::lock;
use crate::reconcile::difference::{How, Settlement};

/// Settlements are appended when they have so many bytes.
const APPENDED_BYTES: usize = 64 * 1024;

/// And after so long: one who is killed has to look again at no more.
const APPENDED_WITHIN: Duration = Duration::from_secs(1);

/// Settlements for one file. What is not on disk when this is dropped is lost; the differences are
/// left then.
pub(super) struct Settlements<'a> {
    path: &'a Path,
    lines: Vec<u8>,
    appended_at: Instant,
}

impl<'a> Settlements<'a> {
    pub(super) fn new(path: &'a Path) -> Self {
        Self {
            path,
            lines: Vec::new(),
            appended_at: Instant::now(),
        }
    }

    /// Settles the difference with this id, as far as the line with this hash is the last one about
    /// it; on disk some time later.
    pub(super) fn add(&mut self, id: u64, line: u64, how: How) -> io::Result<()> {
        let settlement = Settlement {
            id,
            line: Some(line),
            how,
            unix: now_unix(),
        };
        settlement.encode(&mut self.lines);
        let is_due = self.appended_at.elapsed() >= APPENDED_WITHIN;
        match is_due || self.lines.len() >= APPENDED_BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Has all of them on disk. After an error, the next call tries again.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        append(self.path, &self.lines).map_err(at(self.path))?;
        self.lines.clear();
        self.appended_at = Instant::now();
        Ok(())
    }
}

/// Appends lines durably. A running server may append at the same time, so it is one write; after
/// a line that a crash has torn, it begins with a newline.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = open_locked(path)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    let mut last = [b'\n'];
    if bytes > 0 {
        file.seek(SeekFrom::Start(bytes - 1))?;
        file.read_exact(&mut last)?;
    }
    match last {
        [b'\n'] => file.write_all(lines)?,
        _ => file.write_all(&[b"\n", lines].concat())?,
    }
    file.sync_all()?;
    // The server may have given the file its name and not synced that.
    open_folder(path.parent().unwrap_or(path))?.sync_all()
}

/// Opens the file so that the server does not replace it until it is closed.
fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let options = &mut File::options();
        let file = open_regular(path, options.read(true).append(true), Links::Followed)?;
        // On a file system without locks the server replaces no file: it needs the lock for that.
        let is_locked = lock(&file).is_ok();
        if !is_locked || is_other(&file, path) == Some(false) {
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::os::process::try_lock_shared;

    #[test]
    fn settlements_are_on_disk_before_the_last_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("differences.jsonl");
        fs::write(&path, b"{\"torn").unwrap();
        let mut settlements = Settlements::new(&path);
        let mut added = 0;
        while fs::metadata(&path).unwrap().len() < 64 * 1024 {
            settlements.add(added, 7, How::Equal).unwrap();
            added += 1;
        }
        assert!(added > 400, "several are appended in one write: {added}");
        settlements.add(added, 7, How::Mended).unwrap();
        settlements.write().unwrap();
        settlements.write().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"torn\n{\"settles\":\"0000000000000000\",\"line\":"));
        assert_eq!(text.lines().count() as u64, added + 2);
    }

    #[test]
    fn a_file_that_is_replaced_while_one_waits_for_it_gets_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("differences.jsonl");
        fs::write(&path, b"").unwrap();
        let server = File::open(&path).unwrap();
        assert!(try_lock_shared(&server).unwrap());
        std::thread::scope(|scope| {
            let appends = scope.spawn(|| append(&path, b"{}\n"));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!appends.is_finished());
            let next = folder.path().join("next");
            fs::write(&next, b"").unwrap();
            fs::rename(next, &path).unwrap();
            drop(server);
            appends.join().unwrap().unwrap();
        });
        assert_eq!(fs::read(&path).unwrap(), b"{}\n");
    }

    #[test]
    fn what_cannot_be_appended_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("differences.jsonl");
        let mut settlements = Settlements::new(&path);
        settlements.add(1, 7, How::Equal).unwrap();
        let error = settlements.write().unwrap_err().to_string();
        assert!(error.starts_with(&*path.to_string_lossy()), "{error}");
        fs::write(&path, b"").unwrap();
        settlements.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }
}
