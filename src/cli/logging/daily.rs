//! A file a day, `YYYY-MM-DD.log`, by local time as the original names them.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use crate::cli::rotation::Followed;
use crate::engine::files::{FILE_MODE, FOLDER_MODE};
use crate::engine::os::files::{Links, open_regular};

/// Writes to the file of the day that `today` tells.
pub(super) struct DailyFile<F> {
    folder: PathBuf,
    today: F,
    date: Date,
    file: File,
    rotation: Followed,
    /// Whether it was said that the next file can't be made, while it can't.
    is_said: bool,
}

impl<F: FnMut() -> Date> DailyFile<F> {
    /// Opens today's file, and makes the folder if it is missing.
    ///
    /// # Errors
    /// Neither can be made; the sentence names the folder.
    pub(super) fn open(folder: PathBuf, mut today: F) -> io::Result<Self> {
        let named = |error: io::Error| {
            let text = format!(
                "the log folder {}: {error}; it must be writable",
                folder.display()
            );
            io::Error::new(error.kind(), text)
        };
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(&folder)
            .map_err(named)?;
        let date = today();
        let rotation = Followed::new();
        let file = append(&folder, date).map_err(named)?;
        Ok(Self {
            folder,
            today,
            date,
            file,
            rotation,
            is_said: false,
        })
    }
}

fn append(folder: &Path, date: Date) -> io::Result<File> {
    let path = folder.join(format!("{date}.log"));
    let mut options = File::options();
    options.create(true).append(true).mode(FILE_MODE);
    open_regular(&path, &mut options, Links::Followed)
}

impl<F: FnMut() -> Date> Write for DailyFile<F> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let date = (self.today)();
        let rotation = Followed::now();
        // The file goes on where the next one can't be made, and each line tries again: a line in
        // the wrong file is better than none.
        if date != self.date || rotation != self.rotation {
            match append(&self.folder, date) {
                Ok(file) => {
                    self.file = file;
                    self.date = date;
                    self.rotation = rotation;
                    self.is_said = false;
                }
                Err(error) if !self.is_said => {
                    self.is_said = true;
                    // It comes back here, as a line behind those that wait.
                    tracing::warn!(
                        folder = %self.folder.display(), %error,
                        "the log's next file {date}.log cannot be opened; lines go on to the old \
                         one, and each tries again"
                    );
                }
                Err(_) => {}
            }
        }
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of a day that does not end, and its name.
    fn one_day(folder: &Path) -> (DailyFile<impl FnMut() -> Date + use<>>, PathBuf) {
        let today = || "2026-11-22".parse().unwrap();
        let file = DailyFile::open(folder.to_owned(), today).unwrap();
        (file, folder.join("2026-11-22.log"))
    }

    #[test]
    fn a_new_day_gets_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        let mut days = ["2026-11-22", "2026-11-22", "2026-11-23"]
            .iter()
            .map(|day| day.parse().unwrap());
        let mut file = DailyFile::open(logs.clone(), move || days.next().unwrap()).unwrap();
        file.write_all(b"one\n").unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(
            std::fs::read_to_string(logs.join("2026-11-22.log")).unwrap(),
            "one\n"
        );
        assert_eq!(
            std::fs::read_to_string(logs.join("2026-11-23.log")).unwrap(),
            "two\n"
        );
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew_when_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, name) = one_day(folder.path());
        let moved = folder.path().join("1");
        file.write_all(b"one\n").unwrap();
        std::fs::rename(&name, &moved).unwrap();
        crate::cli::rotation::ask().unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(name).unwrap(), "two\n");
    }

    #[test]
    fn a_file_that_can_not_be_begun_anew_is_as_soon_as_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, name) = one_day(folder.path());
        let moved = folder.path().join("1");
        std::fs::rename(&name, &moved).unwrap();
        std::fs::create_dir(&name).unwrap();
        crate::cli::rotation::ask().unwrap();
        file.write_all(b"one\n").unwrap();
        std::fs::remove_dir(&name).unwrap();
        file.write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(name).unwrap(), "two\n");
    }

    #[test]
    fn others_than_the_group_read_no_log() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        let day = "2026-11-22";
        drop(DailyFile::open(logs.clone(), || day.parse().unwrap()).unwrap());
        for (path, mode) in [
            (logs.clone(), 0o750),
            (logs.join(format!("{day}.log")), 0o640),
        ] {
            let has = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(has & !mode, 0, "{} is {has:o}", path.display());
        }
    }

    #[test]
    fn a_file_of_the_day_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut file =
                DailyFile::open(folder.path().to_owned(), || "2026-11-22".parse().unwrap())
                    .unwrap();
            file.write_all(b"line\n").unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(folder.path().join("2026-11-22.log")).unwrap(),
            "line\nline\n"
        );
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let folder = file.path().join("logs");
        let error = DailyFile::open(folder.clone(), || Date::MIN)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with(&format!("the log folder {}: ", folder.display())),
            "{error}"
        );
    }
}
